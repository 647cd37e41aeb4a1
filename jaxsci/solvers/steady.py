"""Steady problems: one linear solve, mode by mode or dense."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import results_are_traced
from jaxsci._timing import Stopwatch
from jaxsci.equations import residual
from jaxsci.problems import Cost, Problem, Solution
from jaxsci.solvers.semidiscrete import Lines, SteadyField

_POINTS = 64  # at which a steady solution is put into its equation


def solve_steady(problem: Problem, lines: Lines) -> tuple[Solution, Stopwatch | None]:
    """The solution of a steady linear problem, and the time that its error estimate took.

    Error estimate: the share of the field in the highest modes, plus the pointwise residual relative to the load, which
    sees what no mode does: a load that the equation cannot balance, as one with a mean on a periodic box.

    Raises:
      ValueError: the equation is not linear in its unknowns, or the problem has no solution.
    """
    if not lines.is_linear:
        raise ValueError(
            f"Spectral: {problem.name} is steady and nonlinear, which this method does not solve; use js.Neural or "
            "js.RandomFeatures, or give it a time derivative and step to the steady state."
        )
    dtype = jnp.result_type(float)
    profile, fields, tail = jax.block_until_ready(_solve(lines, problem, jnp.zeros((), dtype)))
    grid = {name: jnp.asarray(x, dtype) for name, x in lines.grid().items()}
    solution = Solution(problem, None, grid, fields, SteadyField(lines, profile), tail, {}, Cost())
    if results_are_traced(problem):
        return solution, None
    with Stopwatch() as extra:
        left = float(_relative_residual(problem, solution.field, jnp.zeros((), dtype)))
    if not (left < 0.5 or float(tail) > 1e-3):  # a grid that is too coarse leaves a residual too, and shows in the tail
        raise ValueError(
            f"Spectral: {problem.name} is left with a residual of {left:.1g} of its load. Either it has no solution (a load "
            "with a mean on a periodic box or between Neumann walls, a resonant wavenumber) or n is too small to see the load."
        )
    return dataclasses.replace(solution, error_estimate=tail + left), extra


@jax.jit
def _relative_residual(problem: Problem, field: Any, zero: Any) -> Any:
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(*problem.domain[c], size=_POINTS) for c in problem.coordinates], axis=-1)
    at_points = residual(problem)
    here = at_points(field, problem.coefficients, jnp.asarray(points, zero.dtype))
    nothing = jnp.zeros(len(problem.unknowns), zero.dtype)
    load = at_points(lambda *_: nothing, problem.coefficients, jnp.asarray(points, zero.dtype))
    size = jnp.sqrt(jnp.mean(load**2))
    left = jnp.sqrt(jnp.mean(here**2))
    return jnp.where(size > 0, left / jnp.where(size > 0, size, 1.0), 0.0)


@functools.partial(jax.jit, static_argnames=("lines",))
def _solve(lines: Lines, problem: Problem, zero: Any) -> tuple[Any, Any, Any]:
    profile = lines.steady_profile(problem, zero.dtype)
    return profile, lines.decode(profile), lines.tail(profile)
