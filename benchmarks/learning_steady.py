"""Steady problems by random features.

    python benchmarks/learning.py --only steady

An error is the median over the seeds, relative L2; so are seconds of wall time and of the processor, compilation included and
certificates left out. `solver_seconds` is what a numerical solver of this package takes to the same error, null where none
solves the problem. The two rows of COMSOL files need the folder of data that others made; they are left out without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import medians, timed

import jaxsci as js
from jaxsci.problems.steady_flow import stress_terms

DATA = Path(__file__).parents[2] / "shared" / "data"
Score = Callable[[js.Solution], float]


def measured(
    name: str,
    problem: js.Problem,
    method: Any,
    score: Score,
    target: float,
    within: float,
    seeds: Sequence[int],
    **more: Any,
) -> dict[str, Any]:
    """One row: a fresh fit for every seed."""
    method = dataclasses.replace(method, estimate=False)
    runs = [timed(lambda k=seed: js.solve(problem, method, key=jax.random.key(k))) for seed in seeds]
    errors = [score(run.result) for run in runs]
    return medians(name, seeds, errors, runs, target, within, **{"solver_seconds": None} | more)


def poisson(seeds: Sequence[int]) -> dict[str, Any]:
    problem = js.problems.poisson()
    solver = timed(lambda: js.solve(problem, js.Spectral(n=24)).fields).seconds
    return measured(
        "poisson", problem, js.RandomFeatures(400, scale=1.0), lambda s: js.relative_l2(s, problem.reference()), 1e-12, 5, seeds,
        theirs=6e-8, solver_seconds=solver,
    )  # fmt: skip


def kovasznay(seeds: Sequence[int]) -> dict[str, Any]:
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


def regularised_cavity(seeds: Sequence[int]) -> dict[str, Any]:
    problem = js.problems.steady_regularised_cavity()
    flow = js.solvers.steady_cavity(0.01, n=56, regularised=True).check()
    solver = timed(lambda: js.solvers.steady_cavity(0.01, n=32, regularised=True)).seconds
    score = lambda s: velocity_error(flow, stream_velocity(s))
    method = js.RandomFeatures(900, scale=1.5, points=2304, corners=True, weak=True)
    return measured(
        "cavity, Re = 100, lid 16 x^2 (1 - x)^2", problem, method, score, 1e-6, 300, seeds,
        reference_error=float(flow.error_estimate), solver_seconds=solver,
    )  # fmt: skip


def lift_of_unit_lid(x, y):
    """Of one Reynolds number for all steps of the continuation, so that their coefficients mean the same."""
    return js.solvers.cavity_lift(x, y, 1e-3)


def cavity(seeds: Sequence[int]) -> dict[str, Any]:
    problem = js.problems.steady_lid_driven_cavity()
    flow = js.solvers.steady_cavity(1e-3, n=48).check()
    solver = timed(lambda: js.solvers.steady_cavity(1e-3, n=18)).seconds
    score = lambda s: velocity_error(flow, stream_velocity(s))
    method = js.RandomFeatures(
        1000, scale=2.0, points=2304, corners=True, weak=True, lifts=(("psi", lift_of_unit_lid),),
        continuation=("viscosity", (0.01, 0.004, 0.002)),
    )  # fmt: skip
    return measured(
        "cavity, Re = 1000, unit lid", problem, method, score, 1e-2, 600, seeds, theirs=1e-1,
        reference_error=float(flow.error_estimate), solver_seconds=solver,
    )  # fmt: skip


def weighted_stress_flow(problem: js.Problem) -> js.Problem:
    """The same flow with rows that count as they matter: ten times for mass, whose loss takes the pressure along, and not at the
    outlet's corners, where the stress has no square."""

    def weighted(u, v, q, s, viscosity, weight, x, y):
        along, across, stress, mass = stress_terms(u, v, q, s, viscosity)
        return weight(x, y) * along, weight(x, y) * across, stress, 10 * mass

    def weight(x, y):
        corner = lambda height: 1 - js.exp(-((8 - x) ** 2) - (y - height) ** 2)
        return corner(0) * corner(8)

    return js.Problem(
        js.Equation(weighted, "u v q s", name="weighted_stress_flow"),
        problem.domain,
        coefficients={**problem.coefficients, "weight": weight},
        boundary={**problem.boundary, **{solid.name: solid.wall for solid in problem.solids}},
        solid={solid.name: solid.shape for solid in problem.solids},
    )


def velocity_and_pressure(solution: js.Solution) -> Callable:
    """u, v and p = q + 2 nu u_x of ONE point, with nu = 1."""

    def values(x, y):
        here, slope = jax.jvp(lambda x: solution.field(x, y), (x,), (jnp.ones_like(x),))
        return jnp.stack([here[0], here[1], here[2] + 2 * slope[0]])

    return values


def against_file(
    name: str, problem: js.Problem, path: Path, method: Any, target: float, seeds: Sequence[int],
    fields: Callable[[js.Solution], Callable], singular: tuple[float, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All unknowns of a COMSOL file together, as its benchmark scores them; each alone beside it, and all without the
    neighbourhood of a point where the solution has no bound."""
    data = np.loadtxt(path, comments="%")
    points = [jnp.asarray(np.clip(data[:, i], *problem.domain[axis])) for i, axis in enumerate(problem.domain.space)]
    truth = data[:, 2:]
    far = np.ones(len(data), bool) if singular is None else np.hypot(*(data[:, :2] - singular).T) > 0.3
    found: dict[str, Any] = {"errors_by_unknown": [], "errors_but_there": []}

    def score(solution):
        ours = np.asarray(jax.jit(jax.vmap(fields(solution)))(*points))
        found["errors_by_unknown"].append((np.linalg.norm(ours - truth, axis=0) / np.linalg.norm(truth, axis=0)).tolist())
        found["errors_but_there"].append(float(np.linalg.norm((ours - truth)[far]) / np.linalg.norm(truth[far])))
        return float(np.linalg.norm(ours - truth) / np.linalg.norm(truth))

    made = measured(name, problem, method, score, target, 300, seeds)
    if singular is None:
        del found["errors_but_there"]
    else:
        found |= {"there": list(singular), "points_there": int((~far).sum())}
    return made | found


def four_discs(seeds: Sequence[int]) -> dict[str, Any]:
    path, problem = DATA / "comsol" / "poisson_four_discs.dat", js.problems.laplace_four_discs()
    method = js.RandomFeatures(800, scale=1.0)
    return against_file("laplace less four discs, COMSOL", problem, path, method, 5e-3, seeds, lambda s: s.field)


def two_discs(seeds: Sequence[int]) -> dict[str, Any]:
    path, problem = DATA / "comsol" / "ns2d.dat", weighted_stress_flow(js.problems.flow_past_two_discs())
    method = js.RandomFeatures(500, scale=2.0, points=1500)
    return against_file(
        "flow past two discs, COMSOL", problem, path, method, 3e-2, seeds, velocity_and_pressure, singular=(8.0, 0.0)
    )


ROWS: dict[str, Callable[[Sequence[int]], dict[str, Any]]] = {
    "poisson": poisson,
    "kovasznay": kovasznay,
    "cavity, regularised": regularised_cavity,
    "cavity, unit lid": cavity,
    "four discs": four_discs,
    "two discs": two_discs,
}


def rows(seeds: Sequence[int] = (0, 1, 2, 3, 4), only: str = "") -> Iterator[dict[str, Any]]:
    """The rows, one after another."""
    for name, make in ROWS.items():
        if only in name and ("discs" not in name or (DATA / "comsol").is_dir()):
            yield make(seeds)
