"""Many fits at once: seeds, or values of coefficients, mapped over by vmap."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys
from jaxsci._timing import Cost, Stopwatch
from jaxsci._types import SavedTimes
from jaxsci.learning.budget import Budget
from jaxsci.learning.course import Piece
from jaxsci.learning.frame import FRAME
from jaxsci.learning.leg import Leg, judge
from jaxsci.learning.neural import Neural, advise_float64, assembled
from jaxsci.learning.objective import Objective
from jaxsci.learning.optimiser import RUNNING, STOPPED
from jaxsci.learning.scaling import with_frame
from jaxsci.learning.training import Fit, Limits, run
from jaxsci.problems import Problem, Solution, saved_times


def fit_many(
    problem: Problem,
    method: Neural,
    *,
    keys: Any = None,
    coefficients: Mapping[str, Any] | None = None,
    ts: SavedTimes = None,
    progress: Any = None,
) -> list[Solution]:
    """One method on many seeds or many values of coefficients, all in one program: what the loop over them gives.

    Every fit has its own points, weights, steps and best; one that has converged waits for the others.  On a CPU this saves
    compiling once for each and what small matrices cost in overhead; on an accelerator it fills it.

    Args:
      problem: what to solve.
      method: the `Neural`. Without windows, curriculum, mesh and checkpoint; its budget is for all fits together.
      keys: random keys ``[fits]``, as of ``jax.random.split``; without them the fits share ``jax.random.key(0)``.
      coefficients: values by name, ``[fits]`` each; the problem's own where none are given.
      ts: see `jaxsci.solve`.
      progress: see `jaxsci.solve`; the residual that it tells is the largest.
    Returns:
      The solutions, each of its own problem. The cost of all is shared equally.
    Raises:
      KeyError, TypeError, ValueError: a coefficient that does not exist, numbers of values that disagree, or a method that
        cannot be mapped.
    Example:
      >>> import jax, jaxsci as js
      >>> method = js.Neural(js.networks.MLP((4,)), optimiser=js.learning.FirstOrder(steps=5, points=50))
      >>> with jax.enable_x64(True):
      ...     solutions = js.learning.fit_many(js.problems.heat(), method, coefficients={"diffusivity": [0.05, 0.1]})
      >>> [s.problem.coefficients["diffusivity"] for s in solutions]
      [0.05, 0.1]
    """
    problems, keys = _members(problem, method, keys, coefficients)
    advise_float64("fit_many")
    times = None if problem.is_steady else jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
    objective, budget = Objective.of(problem, method.network, outputs=method.outputs), Budget.of(method.budget)
    # Keys of legs as in `Course`: so every member is the fit that it would be alone.
    fold = lambda number: jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)  # noqa: E731
    with Stopwatch() as watch:
        deadline = time.perf_counter() + budget.seconds
        given = jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *[p.coefficients for p in problems]
        )
        unknowns = jax.vmap(objective.init)(fold(0), given)
        given = jax.vmap(lambda u, c: with_frame(objective, u, c))(unknowns, given)
        best, residual = unknowns, jax.vmap(lambda u, c: judge(objective, u, c))(unknowns, given)
        steps, stopped, status = 0, "steps", np.full(len(problems), RUNNING)
        for number, optimiser in enumerate(method.optimisers, start=1):
            leg = Leg(objective, optimiser, given, fold(number), method.scheme, many=True)
            most = math.inf if budget.steps is None else budget.steps - steps
            limits = Limits(deadline, most, budget.residual)
            loop, taken, stopped = run(leg, leg.begin(best, residual), 0, limits, progress)
            best, residual, status, steps = loop.best, loop.residual, np.asarray(loop.state.status), steps + taken
            if stopped in ("budget", "target"):
                break
    cost = watch.cost(training=True)
    cost = Cost(*(seconds / len(problems) for seconds in cost))
    solutions = []
    for i, member in enumerate(problems):
        why = stopped if status[i] == RUNNING else STOPPED[status[i]]
        fit = Fit(jax.tree.map(lambda leaf, i=i: leaf[i], best), float(residual[i]), steps, why)
        frame = jax.tree.map(lambda leaf, i=i: leaf[i], given[FRAME])
        solutions.append(assembled(objective, member, [Piece(fit, frame)], times, method.grid, cost))
    return solutions


def _members(problem: Problem, method: Neural, keys: Any, coefficients: Any) -> tuple[list[Problem], Any]:
    """The problem and the key of every fit."""
    if not isinstance(method, Neural):
        raise TypeError(f"fit_many: method must be a js.Neural, got {type(method).__name__}.")
    scheme = method.scheme
    options = {
        "windows": scheme.windows,
        "curriculum": scheme.curriculum,
        "mesh": scheme.mesh,
        "checkpoint": method.checkpoint,
    }
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(f"fit_many: {' and '.join(given)} cannot be mapped over many fits; solve them one by one.")
    coefficients = dict(coefficients or {})
    check_keys("fit_many: coefficient", coefficients, problem.coefficients)
    counts = {name: len(np.atleast_1d(np.asarray(values))) for name, values in coefficients.items()}
    counts |= {} if keys is None else {"keys": len(keys)}
    if not counts or len(set(counts.values())) != 1:
        raise ValueError(f"fit_many: give keys, or coefficients, and as many of each; got {counts or 'neither'}.")
    count = next(iter(counts.values()))
    keys = jnp.stack([jax.random.key(0)] * count) if keys is None else keys
    values = [{name: float(np.asarray(given)[i]) for name, given in coefficients.items()} for i in range(count)]
    return [problem.with_coefficients(**value) for value in values], keys
