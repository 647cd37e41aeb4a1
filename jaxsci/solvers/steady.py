"""Steady problems: one linear solve, mode by mode or dense."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci._timing import Stopwatch
from jaxsci.problems import Problem, Solution
from jaxsci.solvers.rollout import Lines, SteadyField


def solve_steady(problem: Problem, lines: Lines) -> Solution:
    """The solution of a steady linear problem.

    Raises:
      ValueError: the equation is not linear in its unknowns.
    """
    if not lines.is_linear:
        raise ValueError(
            f"Spectral: {problem.name} is steady and nonlinear, which this method does not solve; use js.Neural or "
            "js.RandomFeatures, or give it a time derivative and step to the steady state."
        )
    dtype = jnp.result_type(float)
    with Stopwatch() as watch:
        profile, fields, tail = jax.block_until_ready(_solve(lines, problem, jnp.zeros((), dtype)))
    grid = {name: jnp.asarray(x, dtype) for name, x in lines.grid().items()}
    return Solution(problem, None, grid, fields, SteadyField(lines, profile), tail, {}, watch.cost())


@functools.partial(jax.jit, static_argnames=("lines",))
def _solve(lines: Lines, problem: Problem, zero: Any) -> tuple[Any, Any, Any]:
    profile = lines.steady_profile(problem, zero.dtype)
    return profile, lines.decode(profile), lines.tail(profile)
