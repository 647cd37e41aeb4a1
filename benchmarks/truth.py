"""Truth: exact flows to round-off, and the lid-driven cavity against Botella & Peyret (1998). Prints JSON lines when run.

`python benchmarks/truth.py` takes about a minute. Float64; exact solutions have no peer: `theirs` is the truth itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js

# Re = 1000, mirrored to a lid that moves in +x: value, place where there is one.
BOTELLA_PEYRET = {
    "u_min on x = 1/2": -0.3885698,
    "v_max on y = 1/2": 0.3769447,
    "v_min on y = 1/2": -0.5270771,
    "psi of the main vortex": -0.1189366,
    "w of the main vortex": -2.067753,
}


def row(name: str, ours: Any, theirs: Any, target: Any, meets: bool, **more: Any) -> dict[str, Any]:
    ratio = ours / theirs if isinstance(theirs, float) and theirs else None
    more = {"precision": "float64", "seed": None} | more
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "meets": bool(meets), **more}


def exact_flow(name: str, n: int) -> dict[str, Any]:
    """The largest error at t = 1 on the grid, relative to the largest value, of 20 steps of 0.05."""
    problem = getattr(js.problems, name)()
    start = time.process_time()
    solution = js.solve(problem, js.Spectral(n, dt=0.05), ts=[0.0, 0.5, 1.0])
    seconds = time.process_time() - start
    mesh = np.meshgrid(*map(np.asarray, solution.grid.values()), indexing="ij")
    exact = np.asarray(jax.vmap(lambda *x: problem.exact_field(1.0, *x))(*(m.ravel() for m in mesh)))
    gap = np.abs(exact.T.reshape(solution.fields[-1].shape) - solution.fields[-1])
    error = float(gap.max() / np.abs(exact).max())
    return row(f"{name}, n = {n}: largest error", error, 0.0, 1e-12, error <= 1e-12, cpu_seconds=seconds)


def cavity_values(flow: Any) -> dict[str, float]:
    """The extrema that Botella & Peyret list, from polynomials through samples of the spectral flow."""
    velocities = jax.jit(jax.vmap(flow))
    nodes = np.cos(np.pi * np.arange(81) / 80)
    along, half = jnp.asarray((nodes + 1) / 2), jnp.full(81, 0.5)
    u, v = velocities(half, along)[:, 0], velocities(along, half)[:, 1]

    def extremum(values, sign):
        line = np.polynomial.Chebyshev.fit(nodes, np.asarray(values), 80, domain=[-1, 1])
        places = [r.real for r in line.deriv().roots() if abs(r.imag) < 1e-9 and abs(r.real) < 0.98]
        return float(sign * max(sign * line(place) for place in places))

    psi, vorticity = jax.jit(flow.stream_function), jax.jit(flow.vorticity)
    slope = jax.jit(lambda z: jnp.stack([-flow(*z)[1], flow(*z)[0]]))
    centre, step = np.array([0.53, 0.565]), 1e-4
    for _ in range(5):  # Newton's method, its matrix by differences
        columns = [(slope(centre + e) - slope(centre - e)) / (2 * step) for e in step * np.eye(2)]
        centre = centre - np.linalg.solve(np.stack(columns, 1), np.asarray(slope(centre)))
    values = extremum(u, -1), extremum(v, 1), extremum(v, -1), float(psi(*centre)), float(vorticity(*centre))
    return dict(zip(BOTELLA_PEYRET, values, strict=True))


def cavity(n: int) -> Iterator[dict[str, Any]]:
    start = time.process_time()
    flow = jax.block_until_ready(js.solvers.steady_cavity(1e-3, n=n)).check()
    seconds = time.process_time() - start
    for what, value in cavity_values(flow).items():
        theirs = BOTELLA_PEYRET[what]
        meets = abs(value - theirs) <= 5e-6 * abs(theirs)
        more = {"cpu_seconds": seconds, "error_estimate": float(flow.error_estimate)}
        yield row(f"cavity Re = 1000, n = {n}: {what}", value, theirs, "5 digits of Botella & Peyret (1998)", meets, **more)


def rows() -> Iterator[dict[str, Any]]:
    with jax.enable_x64(True):
        for name, n in (("navier_stokes_vorticity", 16), ("shear_decay", 16), ("abc_flow", 8)):
            yield exact_flow(name, n)
        yield from cavity(60)


if __name__ == "__main__":
    for line in rows():
        print(json.dumps(line))
