"""Steady problems by random features: rows for `benchmarks/learning.py`, or on their own.

    python benchmarks/learning_steady.py                 one JSON object per line
    python benchmarks/learning_steady.py --only poisson  rows whose name contains the word
    python benchmarks/learning_steady.py --seeds 5

An error is the median over the seeds, relative L2; so are seconds of wall time and of the processor, compilation included and
certificates left out. `solver_seconds` is what a numerical solver of this package takes to the same error, null where none
solves the problem. The two rows of COMSOL files need the folder of data that others made: `--data FOLDER`; they are left out
without.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js

DATA = Path(__file__).parents[2] / "shared" / "data"
Score = Callable[[js.Solution], float]


def measured(name: str, problem: js.Problem, method: Any, score: Score, target: float, within: float, seeds, **more) -> dict:
    """One row: a fresh fit for every seed."""
    method = dataclasses.replace(method, estimate=False)
    errors, walls, cpus = [], [], []
    for seed in seeds:
        jax.clear_caches()
        wall, cpu = time.perf_counter(), time.process_time()
        solution = js.solve(problem, method, key=jax.random.key(seed))
        jax.block_until_ready(solution.fields)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        errors.append(score(solution))
    error, seconds = statistics.median(errors), statistics.median(walls)
    theirs = more.pop("theirs", None)
    basics = {"name": name, "ours": error, "theirs": theirs, "ratio": error / theirs if theirs else None, "target": target}
    return basics | {
        "meets": error <= target and seconds <= within, "precision": "float64", "seed": list(seeds), "errors": errors,
        "seconds": round(seconds, 2), "cpu_seconds": round(statistics.median(cpus), 2), "within_seconds": within,
        "solver_seconds": more.pop("solver_seconds", None), "method": repr(method),
    } | more  # fmt: skip


def timed(solve: Callable[[], Any]) -> float:
    """Seconds of one fresh numerical solution."""
    jax.clear_caches()
    start = time.perf_counter()
    jax.block_until_ready(jax.tree.leaves(solve()))
    return round(time.perf_counter() - start, 2)


def poisson(seeds: Sequence[int]) -> dict:
    problem = js.problems.poisson()
    solver = timed(lambda: js.solve(problem, js.Spectral(n=24)).fields)
    return measured(
        "poisson", problem, js.RandomFeatures(400, scale=1.0), lambda s: js.relative_l2(s, problem.reference()), 1e-12, 5, seeds,
        theirs=6e-8, solver_seconds=solver,
    )  # fmt: skip


def kovasznay(seeds: Sequence[int]) -> dict:
    problem = js.problems.steady_kovasznay()
    method = js.RandomFeatures(500, scale=2.0, points=1500)
    score = lambda s: js.relative_l2(s, problem.reference())
    return measured("kovasznay, Re = 40, u v p", problem, method, score, 1e-8, 60, seeds, theirs=4.5e-3)


def velocity_error(flow: Callable, velocity: Callable) -> float:
    points = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (3000, 2)))
    truth, ours = (jax.jit(jax.vmap(f))(*points.T) for f in (flow, velocity))
    return float(jnp.linalg.norm(ours - truth) / jnp.linalg.norm(truth))


def stream_velocity(solution: js.Solution) -> Callable:
    """The velocity of a stream function."""
    psi = lambda x, y: solution.field(x, y)[0]

    def velocity(x, y):
        psi_x, psi_y = jax.grad(psi, argnums=(0, 1))(x, y)
        return jnp.stack([psi_y, -psi_x])

    return velocity


def regularised_cavity(seeds: Sequence[int]) -> dict:
    problem = js.problems.steady_regularised_cavity()
    flow = js.solvers.steady_cavity(0.01, n=56, regularised=True).check()
    solver = timed(lambda: js.solvers.steady_cavity(0.01, n=32, regularised=True))
    score = lambda s: velocity_error(flow, stream_velocity(s))
    method = js.RandomFeatures(900, scale=1.5, points=2304, corners=True, weak=True)
    return measured(
        "cavity, Re = 100, lid 16 x^2 (1 - x)^2", problem, method, score, 1e-6, 300, seeds,
        reference_error=float(flow.error_estimate), solver_seconds=solver,
    )  # fmt: skip


def lift_of_unit_lid(x, y):
    """Of one Reynolds number for all steps of the continuation, so that their coefficients mean the same."""
    return js.solvers.cavity_lift(x, y, 1e-3)


def cavity(seeds: Sequence[int]) -> dict:
    problem = js.problems.steady_lid_driven_cavity()
    flow = js.solvers.steady_cavity(1e-3, n=48).check()
    solver = timed(lambda: js.solvers.steady_cavity(1e-3, n=18))
    score = lambda s: velocity_error(flow, stream_velocity(s))
    method = js.RandomFeatures(
        1000, scale=2.0, points=2304, corners=True, weak=True, lifts=(("psi", lift_of_unit_lid),),
        continuation=("viscosity", (0.01, 0.004, 0.002)),
    )  # fmt: skip
    return measured(
        "cavity, Re = 1000, unit lid", problem, method, score, 1e-2, 600, seeds, theirs=1e-1,
        reference_error=float(flow.error_estimate), solver_seconds=solver,
    )  # fmt: skip


def against_file(name: str, problem: js.Problem, path: Path, method: Any, target: float, seeds: Sequence[int]) -> dict:
    """All unknowns of a COMSOL file together, as its benchmark scores them; each alone beside it."""
    data = np.loadtxt(path, comments="%")
    clipped = {axis: np.clip(data[:, i], *problem.domain[axis]) for i, axis in enumerate(problem.domain.space)}
    truth = data[:, 2:]
    alone = []

    def score(solution):
        ours = np.atleast_2d(np.asarray(solution.evaluate(**clipped))).T
        alone.append((np.linalg.norm(ours - truth, axis=0) / np.linalg.norm(truth, axis=0)).tolist())
        return float(np.linalg.norm(ours - truth) / np.linalg.norm(truth))

    found = measured(name, problem, method, score, target, 300, seeds)
    return found | {"errors_by_unknown": alone}


def rows(seeds: Sequence[int] = (0, 1, 2, 3, 4), only: str = "", data: Path = DATA) -> Iterator[dict]:
    """The rows, one after another."""
    comsol = data / "comsol"
    makers: dict[str, Callable[[Sequence[int]], dict]] = {
        "poisson": poisson,
        "kovasznay": kovasznay,
        "cavity, regularised": regularised_cavity,
        "cavity, unit lid": cavity,
    }
    if comsol.is_dir():
        makers["comsol, four discs"] = lambda seeds: against_file(
            "comsol, laplace with four discs", js.problems.laplace_four_discs(), comsol / "poisson_four_discs.dat",
            js.RandomFeatures(800, scale=1.0), 5e-3, seeds,
        )  # fmt: skip
        makers["comsol, two discs"] = lambda seeds: against_file(
            "comsol, flow past two discs", js.problems.flow_past_two_discs(), comsol / "ns2d.dat",
            js.RandomFeatures(400, scale=2.0, points=1200), 3e-2, seeds,
        )  # fmt: skip
    for name, maker in makers.items():
        if only in name:
            yield maker(seeds)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    for row in rows(range(options.seeds), options.only, options.data):
        print(json.dumps(row), flush=True)
