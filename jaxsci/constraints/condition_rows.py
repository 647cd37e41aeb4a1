"""A problem's initial and boundary conditions as rows: what the coefficients of basis functions must satisfy there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxsci._checks import check_keys
from jaxsci.constraints.basis_partials import basis_partials, partials_of
from jaxsci.constraints.basis_rows import Rows, equation_rows, linear_rows
from jaxsci.constraints.pde_layer import PDEConstraint
from jaxsci.problems import Problem


def pde_constraint(
    problem: Problem,
    basis: Callable[..., Any],
    points: Mapping[str, Any],
    coefficients: Mapping[str, Any] | None = None,
    *,
    conditions: str = "least squares",
    weight: Any = 1.0,
    floor: Mapping[str, float] | None = None,
) -> PDEConstraint:
    """The coefficients of basis functions for which a problem's equation and all of its conditions hold at sampled points.

    Args:
      problem: the `jaxsci.Problem`: its equation, initial and boundary conditions are taken as they stand there.
      basis: of ONE point's coordinates, in the problem's order; ``[N]``, or a dict of that by unknown.
      points: the columns of all coordinates, ``[m]``. Conditions hold where these points meet the start and the walls.
      coefficients: the problem's own where not given.
      conditions: "least squares", with this `weight`, or "exact".
      floor: as in `equation_rows`.
    Raises:
      ValueError: a condition that cannot be held, or another word in `conditions`.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> heat = js.problems.heat()  # sin(pi x) decays
      >>> def basis(t, x):
      ...     return jnp.stack([jnp.exp(-((n * jnp.pi) ** 2) * t / 10) * jnp.sin(n * jnp.pi * x) for n in (1, 2, 3)])
      >>> points = {c: jax.random.uniform(jax.random.key(i), (50,)) for i, c in enumerate("tx")}
      >>> constraint = js.constraints.pde_constraint(heat, basis, points, {"diffusivity": 0.1})
      >>> omega, info = js.constraints.project(constraint, jnp.zeros(3))
      >>> print(jnp.abs(omega.round(3)), bool(info.converged))
      [1. 0. 0.] True
    """
    if conditions not in ("least squares", "exact"):
        raise ValueError(f"pde_constraint: conditions must be 'least squares' or 'exact', got {conditions!r}.")
    partials = basis_partials(problem, basis, points)
    rows = equation_rows(problem, partials, points, coefficients, floor=floor)
    held = condition_rows(problem, basis, points, coefficients, weight=weight)
    return PDEConstraint((rows,), held) if conditions == "exact" else PDEConstraint((rows, *held))


def condition_rows(
    problem: Problem,
    basis: Callable[..., Any],
    points: Mapping[str, Any],
    coefficients: Mapping[str, Any] | None = None,
    *,
    weight: Any = 1.0,
) -> tuple[Rows, ...]:
    """One `Rows` for every initial value and every condition on a wall; periodic walls: values and slopes agree.

    Args:
      problem, basis, points, coefficients: see `pde_constraint`.
      weight: see `equation_rows`.
    Raises:
      ValueError: the problem has solids, or an outflow.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> points = {"t": jnp.linspace(0.0, 1.0, 5), "x": jnp.linspace(0.0, 1.0, 5)}
      >>> rows = js.constraints.condition_rows(js.problems.heat(), lambda t, x: jnp.stack([t, x, t * x]), points)
      >>> len(rows)  # the start and two walls
      3
    """
    check_keys("coordinate", points, problem.coordinates, complete=True)
    points = {c: jnp.asarray(v) for c, v in points.items()}

    def at(name: str, letters: str, place: Mapping[str, Any]) -> Any:
        return partials_of(basis, problem.unknowns, problem.coordinates, place, {(name, letters)})[name, letters]

    ends = {c: problem.domain[c] for c in problem.coordinates}
    found = conditions_at(problem, at, points, ends, problem.coefficients | dict(coefficients or {}))
    return tuple(linear_rows(condition.matrix, condition.target, weight=weight) for condition in found)


class Condition(NamedTuple):
    """matrix omega = target at one end of an axis: 0 the lower, 1 the upper, None for what both ends have in common."""

    axis: str
    end: int | None
    matrix: Any
    target: Any


def conditions_at(
    problem: Problem,
    at: Callable[[str, str, Mapping[str, Any]], Any],
    points: Mapping[str, Any],
    ends: Mapping[str, tuple[Any, Any]],
    values: Mapping[str, Any],
) -> Iterator[Condition]:
    """The conditions one by one: the start, then the walls axis by axis.

    Args:
      at: the values [m, N] of the basis' partial derivative (unknown, letters) at a place, columns of coordinates.
      points: those columns; a condition replaces that of its axis by the axis' end.
      ends: the lower and the upper end by axis.
      values: all coefficients.
    """
    if problem.solids or problem.solid is not None:
        raise ValueError(f"condition_rows: {problem.name} has solids, whose conditions are not sampled; give linear_rows.")
    unknowns = problem.unknowns

    def on(axis: str, end: Any) -> dict[str, Any]:
        return dict(points) | {axis: jnp.zeros_like(points[axis]) + end}

    for key, formula in problem.initial.items():
        name, letters = (key, "") if key in unknowns else (key.split("_")[0], "t" * key.split("_")[1].count("t"))
        place = on("t", ends["t"][0])
        target = formula({c: v for c, v in place.items() if c != "t"}, values)
        yield Condition("t", 0, at(name, letters, place), target)
    for axis in problem.domain.space:
        walls = problem.walls(axis)
        if not walls:
            low, high = (on(axis, end) for end in ends[axis])
            second = {name for name, letters in problem.equation.partials if letters.count(axis) > 1}
            for name in unknowns:
                for letters in ("", axis) if name in second else ("",):
                    yield Condition(axis, None, at(name, letters, low) - at(name, letters, high), 0.0)
        for i, wall in enumerate(walls):
            place, outward = on(axis, ends[axis][i]), (-1.0, 1.0)[i]
            here = {c: v for c, v in place.items() if c != axis}
            for part in wall.parts:
                if part.kind not in ("dirichlet", "neumann", "robin"):
                    raise ValueError(f"condition_rows: {problem.name} has an {part.kind} wall, which fields cannot hold.")
                rates = part.rates_for(unknowns)
                for name, formula in part.for_unknowns(unknowns).items():
                    matrix = at(name, "" if part.kind == "dirichlet" else axis, place)
                    if part.kind == "robin":
                        matrix = outward * matrix + rates[name](here, values)[:, None] * at(name, "", place)
                    yield Condition(axis, i, matrix, formula(here, values))
