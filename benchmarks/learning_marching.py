"""RandomFeatures marching in time against the best published figures: errors, CPU seconds, and the solver's seconds beside them.

    python benchmarks/learning.py --only marching

Nothing is told to the method about symmetry or the place of a shock.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from command import medians, timed

import jaxsci as js


class Row(NamedTuple):
    name: str
    problem: js.Problem
    method: js.RandomFeatures
    target: float
    within: float  # seconds
    theirs: float | None  # best known elsewhere
    solver: Any  # the numerical method to the same error


def table() -> list[Row]:
    problems, features = js.problems, js.RandomFeatures
    return [
        Row("heat", problems.heat(), features(60, tolerance=1e-10), 1e-9, 30, 2e-8, js.Spectral(n=64)),
        Row("wave", problems.wave(), features(60, tolerance=1e-10), 1e-9, 30, 6.7e-6, js.Spectral(n=64)),
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
        Row("robertson", problems.robertson(), features(tolerance=1e-8), 1e-6, 10, None, js.Adaptive(rtol=1e-8, atol=1e-13)),
    ]


def measure(row: Row, seeds: Sequence[int]) -> dict[str, Any]:
    """Fits and the solver's solution against the certified reference."""
    reference = row.problem.reference()
    runs = [timed(lambda k=seed: js.solve(row.problem, row.method, key=jax.random.key(k))) for seed in seeds]
    solutions = [run.result for run in runs]
    more = {"floor": float(reference.error_estimate)}
    more["estimate"] = statistics.median(float(solution.error_estimate) for solution in solutions)
    if row.name == "robertson":  # masses add up to 1
        more["mass"] = max(float(np.abs(np.asarray(solution.fields).sum(axis=1) - 1).max()) for solution in solutions)
    solver = timed(lambda: js.solve(row.problem, row.solver))
    more |= {"solver_seconds": solver.seconds, "solver_error": js.relative_l2(solver.result, reference)}
    errors = [js.relative_l2(solution, reference) for solution in solutions]
    return medians(f"{row.name}, RandomFeatures", seeds, errors, runs, row.target, row.within, theirs=row.theirs, **more)


def rows(seeds: Sequence[int] = range(5), only: str = "") -> Iterator[dict[str, Any]]:
    """Every row whose name contains `only`."""
    return (measure(row, seeds) for row in table() if only in row.name)
