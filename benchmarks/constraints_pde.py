"""The PDE-constrained layer and its mixture of experts.

    taskset -c 0 python benchmarks/constraints.py --only pde

The Levenberg-Marquardt iteration: CPU seconds of a given number of steps less those of fewer, per step, the least of several
runs, interleaved with the peers on the same residual function in one process. The steps are forced: no tolerance is met.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import row

import jaxsci as js
from jaxsci.constraints import descent, normal_equations
from jaxsci.problems.flow import vorticity_equation

C = js.constraints


def least_cpu(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The least CPU seconds of each call, interleaved."""
    best = dict.fromkeys(calls, np.inf)
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            before = time.process_time()
            jax.block_until_ready(call())
            best[name] = min(best[name], time.process_time() - before)
    return best


def vortex_basis(n: int, m: int, seed: int) -> tuple[dict, dict]:
    """Partial derivatives of n random smooth functions w and their stream functions at m points of [0, 1]^3."""
    rng = np.random.default_rng(seed)
    t, x, y = rng.uniform(size=(3, m))
    partials = {p: np.empty((m, n)) for p in sorted(vorticity_equation.partials)}
    for i in range(n):
        k = 2 * np.pi * rng.integers(1, 4, 2)
        rate, phase = rng.uniform(0.5, 3.0), rng.uniform(0, 6, 2)
        a, b, g = k[0] * x + phase[0], k[1] * y + phase[1], np.sin(rate * t)
        w = {
            "": g * np.sin(a) * np.sin(b), "t": rate * np.cos(rate * t) * np.sin(a) * np.sin(b),
            "x": k[0] * g * np.cos(a) * np.sin(b), "y": k[1] * g * np.sin(a) * np.cos(b),
        }  # fmt: skip
        w |= {"xx": -(k[0] ** 2) * w[""], "yy": -(k[1] ** 2) * w[""]}
        for (name, letters), out in partials.items():
            out[:, i] = w[letters] / (1 if name == "w" else k @ k)
    start = {p: 3 * v[:, :4].sum(1) for p, v in partials.items()}  # the field that is added: an initial vorticity
    return {p: jnp.asarray(v) for p, v in partials.items()}, {p: jnp.asarray(v) for p, v in start.items()}


def iteration(n: int, m: int, seed: int, repeats: int, dtype: Any = jnp.float64) -> dict[str, float]:
    """CPU seconds of one iteration by program."""
    partials, offset = jax.tree.map(lambda x: x.astype(dtype), vortex_basis(n, m, seed))
    points = {c: jnp.zeros(m, dtype) for c in "txy"}

    def rows_of(partials: Any) -> Any:
        return C.equation_rows(
            vorticity_equation, partials, points, {"viscosity": 1e-4}, offset=offset, equations=(0,), target=1.0
        )

    few, many = 1, 5  # before any program converges and rejects its steps, which is cheaper

    def ours(steps: int) -> Callable[[], Any]:
        @jax.jit
        def run(partials: Any) -> Any:
            chunks = (normal_equations.in_chunks(rows_of(partials)),)
            here = lambda omega: normal_equations.model(chunks, omega)
            state = descent.start(here, jnp.zeros(n, dtype), jnp.zeros((), int))
            mask = jnp.ones(n, bool)
            state = descent.descend(state, here, descent.damped_step, jnp.eye(n, dtype=dtype), mask, -1.0, steps)
            return state.omega, state.model.cost, state.steps

        return lambda: run(partials)

    calls = {f"ours {steps}": ours(steps) for steps in (few, many)}
    residual = lambda omega, partials: rows_of(partials).values(omega).reshape(-1)
    for name, peer in (("optimistix", optimistix_steps), ("jaxopt", jaxopt_steps)):
        try:
            calls |= {f"{name} {steps}": peer(residual, partials, n, steps, dtype) for steps in (few, many)}
        except ImportError:
            continue
    best = least_cpu(calls, repeats)
    names = sorted({name.split()[0] for name in calls})
    return {name: (best[f"{name} {many}"] - best[f"{name} {few}"]) / (many - few) for name in names}


def optimistix_steps(residual: Any, partials: Any, n: int, steps: int, dtype: Any) -> Callable[[], Any]:
    import optimistix

    solver = optimistix.LevenbergMarquardt(rtol=1e-30, atol=1e-30)

    @jax.jit
    def run(partials: Any) -> Any:
        out = optimistix.least_squares(residual, solver, jnp.zeros(n, dtype), args=partials, max_steps=steps, throw=False)
        return out.value, out.stats["num_steps"]

    return lambda: run(partials)


def jaxopt_steps(residual: Any, partials: Any, n: int, steps: int, dtype: Any) -> Callable[[], Any]:
    import jaxopt

    solver = jaxopt.LevenbergMarquardt(residual, maxiter=steps, tol=0.0, xtol=0.0, gtol=0.0, materialize_jac=True)

    @jax.jit
    def run(partials: Any) -> Any:
        out = solver.run(jnp.zeros(n, dtype), partials)
        return out.params, out.state.iter_num

    return lambda: run(partials)


def rows_iteration(options: Any) -> Iterator[dict[str, Any]]:
    """PI-HC: one iteration at the size of Navier-Stokes."""
    n, m = (8, 500) if options.smoke else (64, 20_000)
    cost = iteration(n, m, 0, 2 if options.smoke else 7)
    for name in ("optimistix", "jaxopt"):
        theirs = cost.get(name)
        yield row(
            f"PI-HC Levenberg-Marquardt iteration, N = {n}, m = {m:,}: {name} / ours", ours=cost["ours"], theirs=theirs,
            target="ratio >= 4, stretch 8", meets=theirs is not None and theirs >= 4 * cost["ours"], unit="CPU s",
        )  # fmt: skip
