"""Finite volumes: what deriving the flux from the equation costs, what a shock costs, and how accurate the answers are.

    python benchmarks/finite_volume.py         one JSON object per line

A time is the least CPU time of several runs after compilation, both sides taken in turns in this process. `theirs` is the
peer named in the row: the same scheme with fluxes and wave speeds typed by hand in JAX, or `js.Adaptive` on as many points.
"""

from __future__ import annotations

import functools
import json
import math
import os
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js

jax.config.update("jax_enable_x64", True)


def row(name: str, *, ours: float, target: float | None, meets: bool, theirs: float | None = None, **more) -> dict:
    ratio = ours / theirs if theirs else None
    basics = {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "meets": bool(meets)}
    return basics | {"precision": "float64", "seed": None} | more


def interleaved(*runs: Callable[[], object], repeats: int = 15) -> list[float]:
    """The least CPU time of each run, taken in turns; the first call, which compiles, does not count."""
    best = [math.inf] * len(runs)
    for run in runs:
        jax.block_until_ready(run())
    for _ in range(repeats):
        for k, run in enumerate(runs):
            start = time.process_time()
            jax.block_until_ready(run())
            best[k] = min(best[k], time.process_time() - start)
    return best


# --- the same scheme by hand -----------------------------------------------------------------------------------------------


def van_leer(a, b):
    rises = a * b > 0
    return jnp.where(rises, 2 * a * b / jnp.where(rises, a + b, 1), 0)


def muscl_rates(u, h, to_conserved, flux, speeds, periodic, hll):
    """-dF/dx of cell averages ``[fields, n]``: limited slopes and the HLL flux, or Rusanov's."""
    if periodic:
        extended = jnp.concatenate([u[:, -2:], u, u[:, :2]], axis=1)
    else:
        extended = jnp.concatenate([u[:, :1], u[:, :1], u, u[:, -1:], u[:, -1:]], axis=1)
    difference = jnp.diff(extended, axis=1)
    half = van_leer(difference[:, :-1], difference[:, 1:]) / 2
    left, right = (extended[:, 1:-1] + half)[:, :-1], (extended[:, 1:-1] - half)[:, 1:]
    jump = to_conserved(right) - to_conserved(left)
    lowest, highest = speeds(extended[:, 1:-1])  # of the cells
    lowest, highest = jnp.minimum(lowest[:-1], lowest[1:]), jnp.maximum(highest[:-1], highest[1:])
    if hll:
        lowest, highest = jnp.minimum(lowest, 0), jnp.maximum(highest, 0)
        width = highest - lowest
        between = (highest * flux(left) - lowest * flux(right) + highest * lowest * jump) / jnp.where(width > 0, width, 1)
        through = jnp.where(width > 0, between, (flux(left) + flux(right)) / 2)
    else:
        through = (flux(left) + flux(right)) / 2 - jnp.maximum(-lowest, highest) / 2 * jump
    return -jnp.diff(through, axis=1) / h


@functools.partial(jax.jit, static_argnames=("steps", "which", "periodic", "hll"))
def by_hand(u, h, dt, coefficients, steps, which, periodic, hll=True):
    to_conserved, to_unknowns, flux, speeds = which(**coefficients)
    rates = functools.partial(
        muscl_rates, h=h, to_conserved=to_conserved, flux=flux, speeds=speeds, periodic=periodic, hll=hll
    )

    def step(u, _):
        q = to_conserved(u)
        first = rates(u)
        second = rates(to_unknowns(q + dt * first))
        return to_unknowns(q + dt / 2 * (first + second)), None

    return jax.lax.scan(step, u, length=steps)[0]


def burgers(**_):
    return lambda u: u, lambda q: q, lambda u: u**2 / 2, lambda u: (u[0], u[0])


def gas(gamma):
    def energy(u):
        return u[2] / (gamma - 1) + u[0] * u[1] ** 2 / 2

    def unknowns(q):
        v = q[1] / q[0]
        return jnp.stack([q[0], v, (gamma - 1) * (q[2] - q[1] * v / 2)])

    return (
        lambda u: jnp.stack([u[0], u[0] * u[1], energy(u)]),
        unknowns,
        lambda u: jnp.stack([u[0] * u[1], u[0] * u[1] ** 2 + u[2], (energy(u) + u[2]) * u[1]]),
        lambda u: (u[1] - jnp.sqrt(gamma * u[2] / u[0]), u[1] + jnp.sqrt(gamma * u[2] / u[0])),
    )


def against_hand_written(name: str, problem: js.Problem, which, end: float, n: int, steps: int) -> dict:
    from jaxsci.solvers.finite_volume import volumes_of
    from jaxsci.solvers.marching import march_with_static_steps
    from jaxsci.solvers.semidiscrete import Times

    volumes = volumes_of(problem, n, "van_leer")
    times = Times.of(problem, [0.0, end])
    start = jax.jit(volumes.initial_state, static_argnums=1)(problem, jnp.float64)
    h, periodic = volumes.width(0), not problem.walls("x")
    mine = lambda: march_with_static_steps(volumes, steps, True, problem, times).states[-1]
    theirs = lambda: by_hand(start, h, end / steps, problem.coefficients, steps, which, periodic)
    rusanov = lambda: by_hand(start, h, end / steps, problem.coefficients, steps, which, periodic, False)
    ours_seconds, theirs_seconds, simpler = (seconds / steps for seconds in interleaved(mine, theirs, rusanov))
    gap = float(jnp.linalg.norm(mine() - theirs()) / jnp.linalg.norm(theirs()))
    return row(
        name, ours=ours_seconds, theirs=theirs_seconds, target=1.1, meets=ours_seconds <= 1.1 * theirs_seconds,
        unit="CPU seconds per step", peer="MUSCL, van Leer, HLL and Heun in JAX, flux and speeds typed by hand",
        n=n, steps=steps, difference=gap, by_hand_with_rusanov=simpler,
    )  # fmt: skip


# --- shocks ------------------------------------------------------------------------------------------------------------------


def cell_averages(function, n: int, lower: float, upper: float) -> np.ndarray:
    nodes, weights = np.polynomial.legendre.leggauss(5)
    points = lower + (np.arange(n)[:, None] + 0.5 + nodes / 2) * (upper - lower) / n
    return np.asarray(jax.jit(jax.vmap(jax.vmap(function)))(jnp.asarray(points))) @ (weights / 2)


def against_adaptive(n: int = 256) -> Iterator[dict]:
    problem = js.problems.burgers_shock()
    ts = np.array([0.0, 2.0])
    x = np.linspace(0, 2 * np.pi, 4 * n, endpoint=False) + 1e-3
    exact = np.asarray(jax.jit(jax.vmap(lambda x: problem.exact_field(jnp.asarray(2.0), x)))(jnp.asarray(x)))[:, 0]
    error = lambda solution: float(np.abs(solution.evaluate(t=2.0, x=x) - exact).mean())
    volume, lines = js.FiniteVolume(n=n, estimate=False), js.Adaptive(n=n, rtol=1e-4, atol=1e-4, estimate=False)
    ours, theirs = js.solve(problem, volume, ts=ts), js.solve(problem, lines, ts=ts)
    seconds = interleaved(
        lambda: js.solve(problem, volume, ts=ts).fields, lambda: js.solve(problem, lines, ts=ts).fields, repeats=5
    )
    yield row(
        "Burgers shock, whole solve: finite volumes / js.Adaptive (Fourier) on as many points", ours=seconds[0],
        theirs=seconds[1], target=1.0, meets=seconds[0] <= seconds[1], unit="CPU seconds", n=n,
        steps=ours.stats["steps"], their_steps=theirs.stats["steps"],
    )  # fmt: skip
    yield row(
        "Burgers shock, mean error after breaking: finite volumes / js.Adaptive (Fourier)", ours=error(ours),
        theirs=error(theirs), target=1.0, meets=error(ours) <= error(theirs), unit="mean |error|", n=n,
    )  # fmt: skip


def order_on_smooth_waves() -> Iterator[dict]:
    from jaxsci.problems.shocks import breaking_wave, inviscid_burgers_equation

    wave = js.Problem(
        inviscid_burgers_equation, js.Box(t=(0, 0.5), x=(0, 2 * np.pi)), initial={"u": lambda x: 0.5 + js.sin(x)}
    )
    for limiter in ("van_leer", "mc", "none"):
        errors = []
        for n in (128, 256):
            solution = js.solve(wave, js.FiniteVolume(n=n, limiter=limiter, estimate=False), ts=[0.0, 0.5])
            exact = cell_averages(lambda x: breaking_wave(jnp.asarray(0.5), x, 0.5, 1.0), n, 0.0, 2 * np.pi)
            errors.append(float(np.abs(solution["u"][-1] - exact).mean()))
        order = math.log2(errors[0] / errors[1])
        name = f"order in L1 on Burgers before the shock, limiter {limiter}"
        yield row(name, ours=order, target=2.0, meets=abs(order - 2) <= 0.1, error=errors[1], n=256)


def sod_errors() -> Iterator[dict]:
    problem, errors = js.problems.sod(), []
    for n in (100, 200, 400):
        solution = js.solve(problem, js.FiniteVolume(n=n, estimate=False), ts=[0.0, 0.2]).check()
        exact = cell_averages(lambda x: problem.exact_field(jnp.asarray(0.2), x)[0], n, 0.0, 1.0)
        errors.append(float(np.abs(solution["density"][-1] - exact).mean()))
        order = math.log2(errors[-2] / errors[-1]) if len(errors) > 1 else None
        positive = min(solution.stats["least_density"], solution.stats["least_pressure"]) > 0
        mass = abs(float(solution["density"][-1].mean()) / 0.5625 - 1)
        yield row(
            f"Sod's tube, mean density error, {n} cells", ours=errors[-1], target=None,
            meets=positive and mass < 1e-13 and (order is None or order > 0.8), order=order, mass_error=mass,
        )  # fmt: skip


def porous_medium() -> dict:
    problem = js.problems.diffusion_sorption()
    truth = problem.reference()
    method = js.FiniteVolume(n=1024, estimate=False)
    error = js.relative_l2(js.solve(problem, method), truth)
    (seconds,) = interleaved(lambda: js.solve(problem, method).fields, repeats=5)
    return row(
        "diffusion and sorption, 1,024 cells, relative L2 error", ours=error, target=1e-4, meets=error <= 1e-4,
        cpu_seconds=seconds, reference_error=float(truth.error_estimate),
    )  # fmt: skip


def rows() -> Iterator[dict]:
    yield against_hand_written(
        "Burgers step: flux from the equation / by hand", js.problems.burgers_shock(), burgers, 0.5, 1024, 400
    )
    yield against_hand_written("Euler step: flux from the equation / by hand", js.problems.sod(), gas, 0.2, 1024, 1000)
    yield from against_adaptive()
    yield from order_on_smooth_waves()
    yield from sod_errors()
    yield porous_medium()


if __name__ == "__main__":
    for line in rows():
        print(json.dumps(line), flush=True)
