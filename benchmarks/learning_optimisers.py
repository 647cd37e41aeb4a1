"""Optimisers of `js.Neural` against each other and against published figures, and the forward Laplacian against Hessians.

    python benchmarks/learning_optimisers.py [--json] [--only poisson] [--seeds 0 1 2]

Errors are relative L2 against the problem's certified reference. Budgets are seconds of wall time, compilation included;
`cpu_seconds` stand beside. For the Laplacian `ours` and `theirs` are CPU seconds of a value and gradient
and the ratio is theirs over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import optax

import jaxsci as js
from jaxsci.networks import MLP

jax.config.update("jax_enable_x64", True)
L = js.learning


def fitted(name: str, problem: js.Problem, network, optimiser, budget: float, target: float, seed: int, theirs=None) -> dict:
    """One fit within a budget of wall seconds."""
    jax.clear_caches()
    cpu, wall = time.process_time(), time.perf_counter()
    method = js.Neural(network, optimiser=optimiser, budget=budget)
    solution = js.solve(problem, method, key=jax.random.key(seed))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    error = js.relative_l2(solution, problem.reference())
    row = {"name": name, "ours": error, "theirs": theirs, "ratio": error / theirs if theirs else None, "target": target}
    row |= {"meets": error <= target, "precision": "float64", "seed": seed}
    row |= {"seconds": round(wall, 1), "cpu_seconds": round(cpu, 1), "within_seconds": budget}
    return row | {k: solution.stats[k] for k in ("steps", "stopped", "parameters")}


def laplacian(name: str, dimensions: int, points: int, seed: int) -> dict:
    """Value and gradient of a mean squared Laplacian: one forward pass against the trace of `jax.hessian`."""
    names = [f"x{i}" for i in range(1, dimensions + 1)]
    equation = js.Equation(lambda u: -sum(u.d(c, c) for c in names) + u, "u")
    residual, network = js.residual(equation), MLP((64, 64, 64))
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

    wall, cpu = time.perf_counter(), time.process_time()
    (ours, our_compiling), (theirs, their_compiling) = cost(forward), cost(hessian)
    row = {
        "name": name,
        "ours": ours,
        "theirs": theirs,
        "ratio": theirs / ours,
        "target": 1.5,
        "meets": theirs / ours >= 1.5,
    }
    row |= {"precision": "float64", "seed": seed, "seconds": round(time.perf_counter() - wall, 1)}
    row |= {"cpu_seconds": round(time.process_time() - cpu, 1)}
    return row | {"compile_seconds": our_compiling, "their_compile_seconds": their_compiling}


def benchmarks() -> dict[str, Callable[[int], dict]]:
    """The rows by name; each is a function of the seed."""
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
    out: dict[str, Callable[[int], dict]] = {}
    for label, optimiser in least_squares.items():
        name = f"poisson, {label}"
        out[name] = lambda s, n=name, o=optimiser: fitted(n, poisson(), MLP((24, 24)), o, 20.0, 1e-8, s, 6.2e-8)
    for label, optimiser in race.items():
        name = f"burgers 60 s, {label}"
        out[name] = lambda s, n=name, o=optimiser: fitted(n, burgers(), MLP((20,) * 4), o, 60.0, 1e-4, s, 4e-5)
    long = "burgers 300 s, SSBroyden"
    out[long] = lambda s: fitted(long, burgers(), MLP((20,) * 4), race["SSBroyden"], 300.0, 4e-5, s, 1.6e-8)
    out["laplacian, d = 10"] = lambda s: laplacian("laplacian, d = 10", 10, 500, s)
    out["laplacian, d = 100"] = lambda s: laplacian("laplacian, d = 100", 100, 100, s)
    return out


def rows(seeds: tuple[int, ...] = (0,), only: str = "") -> Iterator[dict]:
    """Every row whose name contains `only`, for every seed."""
    for name, make in benchmarks().items():
        if only in name:
            for seed in seeds:
                yield make(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for row in rows(tuple(options.seeds), options.only):
        print(json.dumps(row) if options.json else row, flush=True)


if __name__ == "__main__":
    main()
