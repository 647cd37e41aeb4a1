"""RandomFeatures marching in time against the best published figures: errors, CPU seconds, and the solver's seconds beside them.

    python benchmarks/learning_marching.py [--seeds 5] [--only burgers]

Nothing is told to the method about symmetry or the place of a shock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxsci as js


class Row(NamedTuple):
    name: str
    problem: js.Problem
    method: js.RandomFeatures
    target: float
    within: float  # seconds
    theirs: float  # best known elsewhere; NaN where there is none
    solver: Any  # the numerical method to the same error


def table() -> list[Row]:
    problems, features = js.problems, js.RandomFeatures
    nan = float("nan")
    return [
        Row("heat", problems.heat(), features(60, tolerance=1e-10), 1e-9, 30, 2e-8, js.Spectral(n=64)),
        Row("wave", problems.wave(), features(600, tolerance=1e-9), 1e-9, 30, 6.7e-6, js.Spectral(n=64)),
        Row("advection, c = 80", problems.advection(), features(33, tolerance=1e-10), 1e-8, 60, 6.9e-4, js.Spectral(n=32)),
        Row("burgers, 0.01 / pi", problems.burgers(), features(200, tolerance=1e-9), 1e-8, 300, 1.6e-8, js.Spectral(n=2048)),
        Row(
            "burgers, 0.01",
            problems.burgers(viscosity=0.01),
            features(200, tolerance=1e-9),
            1e-9,
            60,
            8e-14,
            js.Spectral(n=1024),
        ),
        Row(
            "allen-cahn",
            problems.allen_cahn(),
            features(257, points=500, tolerance=1e-7),
            1e-5,
            120,
            9.4e-7,
            js.Spectral(n=4096),
        ),
        Row("kdv", problems.kdv(), features(257, points=400, tolerance=1e-8), 1e-5, 300, 1.5e-4, js.Spectral(n=256)),
        Row(
            "kuramoto-sivashinsky",
            problems.kuramoto_sivashinsky(),
            features(385, points=520, tolerance=1e-6),
            1e-3,
            600,
            6.5e-4,
            js.Spectral(n=256),
        ),
        Row("robertson", problems.robertson(), features(tolerance=1e-8), 1e-6, 10, nan, js.Adaptive(rtol=1e-8, atol=1e-13)),
    ]


def measure(row: Row, seed: int) -> dict[str, Any]:
    """One fit from nothing, compilation included."""
    jax.clear_caches()
    wall, cpu = time.perf_counter(), time.process_time()
    solution = js.solve(row.problem, row.method, key=jax.random.key(seed))
    jax.block_until_ready(solution.fields)
    seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return {"solution": solution, **seconds}


def rows(seeds: Sequence[int] = range(5), only: str = "") -> Iterator[dict[str, Any]]:
    for row in table():
        if only not in row.name:
            continue
        reference = row.problem.reference()
        runs = [measure(row, seed) for seed in seeds]
        errors = [js.relative_l2(run["solution"], reference) for run in runs]
        start = time.perf_counter()
        js.solve(row.problem, row.solver)
        solver_seconds = time.perf_counter() - start
        ours = statistics.median(errors)
        seconds = statistics.median(run["seconds"] for run in runs)
        out = {
            "name": f"{row.name}, RandomFeatures",
            "ours": ours,
            "theirs": row.theirs,
            "ratio": row.theirs / ours,
            "target": f"{row.target:g} in {row.within:g} s",
            "meets": bool(ours <= row.target and seconds <= row.within),
            "precision": "float64",
            "seed": list(seeds),
            "seconds": seconds,
            "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
            "solver_seconds": solver_seconds,
            "floor": float(reference.error_estimate),
            "estimate": statistics.median(float(run["solution"].error_estimate) for run in runs),
        }
        if row.name == "robertson":  # the solver's mass, and ours
            out["mass"] = max(float(np.abs(np.asarray(run["solution"].fields).sum(axis=1) - 1).max()) for run in runs)
        yield out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    for row in rows(range(arguments.seeds), arguments.only):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
