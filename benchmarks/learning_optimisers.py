"""Optimisers of `js.Neural` against each other and against published figures, and the forward Laplacian against Hessians.

    python benchmarks/learning.py --only optimisers

Errors are relative L2 against the problem's certified reference. Budgets are seconds of wall time, compilation included;
`cpu_seconds` stand beside. For the Laplacian `ours` and `theirs` are CPU seconds of a value and gradient
and the ratio is theirs over ours.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from command import medians, row, timed

import jaxsci as js
from jaxsci.networks import MLP

L = js.learning


def fitted(
    name: str,
    problem: js.Problem,
    network: Any,
    optimiser: Any,
    budget: float,
    target: float,
    theirs: float,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Fits within a budget of wall seconds."""
    method = js.Neural(network, optimiser=optimiser, budget=budget, estimate=False)
    runs = [timed(lambda k=seed: js.solve(problem, method, key=jax.random.key(k))) for seed in seeds]
    errors = [js.relative_l2(run.result, problem.reference()) for run in runs]
    stats = {k: [run.result.stats[k] for run in runs] for k in ("steps", "stopped")}
    return medians(name, seeds, errors, runs, target, 1.2 * budget, theirs=theirs, **stats)


def laplacian(name: str, dimensions: int, points: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Value and gradient of a mean squared Laplacian: one forward pass against the trace of `jax.hessian`."""
    names = [f"x{i}" for i in range(1, dimensions + 1)]
    equation = js.Equation(lambda u: -sum(u.d(c, c) for c in names) + u, "u")
    residual, network = js.residual(equation), MLP((64, 64, 64))
    seed = seeds[0]
    parameters = network.init(jax.random.key(seed), dimensions, 1)
    at = jax.random.uniform(jax.random.key(seed + 1), (points, dimensions))

    def forward(p):
        return jnp.mean(residual(lambda *x: network.apply(p, jnp.stack(x)), {}, at) ** 2)

    def hessian(p):
        def at_point(x):
            field = lambda x: network.apply(p, x)[0]
            return field(x) - jnp.trace(jax.hessian(field)(x))

        return jnp.mean(jax.vmap(at_point)(at) ** 2)

    def cost(function: Callable) -> tuple[float, float]:
        start = time.process_time()
        program = jax.jit(jax.value_and_grad(function)).lower(parameters).compile()
        compiling = time.process_time() - start
        jax.block_until_ready(program(parameters))
        start = time.process_time()
        for _ in range(5):
            jax.block_until_ready(program(parameters))
        return (time.process_time() - start) / 5, compiling

    (ours, our_compiling), (theirs, their_compiling) = cost(forward), cost(hessian)
    made = row(name, ours=ours, theirs=theirs, target=1.5, meets=theirs / ours >= 1.5, seed=seed)
    return made | {"compile_seconds": our_compiling, "their_compile_seconds": their_compiling}


def benchmarks() -> dict[str, Callable[[Sequence[int]], dict[str, Any]]]:
    """The rows by name; each is a function of the seeds."""
    adam, burgers, poisson = L.FirstOrder(steps=500), js.problems.burgers, js.problems.poisson
    halving = optax.exponential_decay(3e-3, 2000, 0.5)
    race = {
        "Adam": L.FirstOrder(optax.adam(halving), steps=100_000),
        "SOAP": L.FirstOrder(L.soap(halving), steps=100_000),
        "Muon": L.FirstOrder(optax.contrib.muon(halving), steps=100_000),
        "L-BFGS": (adam, L.FirstOrder(optax.lbfgs(), steps=100_000, points=4000, resample=200)),
        "SSBFGS": (adam, L.SelfScaledBroyden("bfgs")),
        "SSBroyden": (adam, L.SelfScaledBroyden()),
        "LevenbergMarquardt": (adam, L.LevenbergMarquardt()),
        "SketchedGaussNewton": (adam, L.SketchedGaussNewton(columns=300, points=4000)),
    }
    least_squares = {
        "LevenbergMarquardt": L.LevenbergMarquardt(),
        "VariableProjection": L.VariableProjection(),
        "NaturalGradient": L.NaturalGradient(),
    }
    out: dict[str, Callable[[Sequence[int]], dict[str, Any]]] = {}
    for label, optimiser in least_squares.items():
        name = f"poisson, {label}"
        out[name] = functools.partial(fitted, name, poisson(), MLP((24, 24)), optimiser, 20.0, 1e-8, 6.2e-8)
    for label, optimiser in race.items():
        name = f"burgers 60 s, {label}"
        out[name] = functools.partial(fitted, name, burgers(), MLP((20,) * 4), optimiser, 60.0, 1e-4, 4e-5)
    long = "burgers 300 s, SSBroyden"
    out[long] = functools.partial(fitted, long, burgers(), MLP((20,) * 4), race["SSBroyden"], 300.0, 1e-8, 1.6e-8)
    for dimensions, points in ((10, 500), (100, 100)):
        name = f"laplacian, d = {dimensions}"
        out[name] = functools.partial(laplacian, name, dimensions, points)
    return out


def rows(seeds: Sequence[int] = (0,), only: str = "") -> Iterator[dict[str, Any]]:
    """Every row whose name contains `only`."""
    for name, make in benchmarks().items():
        if only in name:
            yield make(seeds)
