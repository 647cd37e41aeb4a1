"""The one training loop: optimisers one after another, points and weights drawn anew, the clock and the best kept."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns, equal_weights
from jaxsci.learning.optimiser import NOT_FINITE, RUNNING, STOPPED, Optimiser
from jaxsci.learning.sampling import ResidualDensity, Sampling, even_points
from jaxsci.learning.weighting import Equal, Weighting

_CHECKS = 4096  # points at which parameters are judged


class Fit(NamedTuple):
    """What was fitted, and what became of it."""

    unknowns: Unknowns
    residual: float  # root mean square of the judged parts, at evenly spread points that no step has seen
    steps: int
    stopped: str  # why: "steps", "budget", "converged", "not finite"


@dataclasses.dataclass(frozen=True)
class Scheme:
    """Where and how much the residual counts while a fit goes on.

    Args:
      sampling: of the collocation points.
      weighting: of the squares.
    """

    sampling: Sampling = dataclasses.field(default_factory=ResidualDensity)
    weighting: Weighting = dataclasses.field(default_factory=Equal)


@functools.partial(jax.jit, static_argnames=("objective",))
def _root_mean_square(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Any:
    return jnp.sqrt(objective.loss(unknowns, coefficients, batch))


def judge(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, observed: Batch | None = None) -> float:
    """The measure by which the best of a run is kept: the residual at fixed points, and the misfit of the data."""
    batch = with_observations(objective, even_points(objective, jax.random.key(20261121), _CHECKS), observed)
    return float(_root_mean_square(objective, unknowns, coefficients, batch))


def with_observations(objective: Objective, points: Any, observed: Batch | None) -> Batch:
    """Collocation points with equal weights, and the observations with theirs."""
    rows = len(objective.conditions.problem.equation.residuals)
    weights = equal_weights({"equation": points}, {"equation": rows})
    if observed is None:
        return Batch({"equation": points}, weights, {})
    return Batch({"equation": points} | observed.points, weights | observed.weights, dict(observed.targets))


def start(objective: Objective, coefficients: Coefficients, key: Any, observed: Batch | None = None) -> Fit:
    """Fresh parameters."""
    unknowns = objective.init(key, coefficients)
    return Fit(unknowns, judge(objective, unknowns, coefficients, observed), 0, "steps")


def minimise(
    objective: Objective,
    optimiser: Optimiser,
    fit: Fit,
    coefficients: Coefficients,
    key: Any,
    *,
    scheme: Scheme,
    observed: Batch | None = None,
    deadline: float = math.inf,
    progress: Callable[[str], None] | None = None,
) -> Fit:
    """One optimiser from where a fit stands: the best unknowns on the way, by the residual at points that no step has seen.

    Args:
      observed: a batch of observations (points, weights and targets, no equation), which goes into every step.
      deadline: on the clock of `time.perf_counter`.
    """
    name, step, stopped, best = type(optimiser).__name__, 0, "steps", fit
    state = optimiser.init(objective, fit.unknowns, coefficients)
    count = optimiser.count(
        sum(leaf.size for leaf in jax.tree.leaves(fit.unknowns)), len(objective.conditions.problem.equation.residuals)
    )
    points = weighting = None
    while step < optimiser.steps:
        if step % optimiser.resample == 0:
            if step:
                best = _better(objective, best, state.unknowns, coefficients, observed)
            draw = jax.random.fold_in(key, step)
            points = scheme.sampling.draw(objective, state.unknowns, coefficients, draw, count, points)
            equal = with_observations(objective, points, observed)
            weighting = scheme.weighting.init(objective, equal) if weighting is None else weighting
            weights, weighting = scheme.weighting.weigh(objective, state.unknowns, coefficients, equal, weighting)
            batch = equal._replace(weights=weights)
        if time.perf_counter() > deadline:
            stopped = "budget"
            break
        length = min(optimiser.chunk, optimiser.resample - step % optimiser.resample, optimiser.steps - step)
        state = optimiser.advance(objective, coefficients, state, batch, length)
        step += length
        status = int(state.status)
        if progress is not None and (step % max(100, optimiser.chunk) == 0 or step == optimiser.steps or status != RUNNING):
            progress(f"{name} step {step}: residual {float(state.loss) ** 0.5:.1e}")
        if status != RUNNING:
            stopped = STOPPED[status]
            break
    if int(state.status) != NOT_FINITE and step:
        best = _better(objective, best, state.unknowns, coefficients, observed)
    return best._replace(steps=fit.steps + step, stopped=stopped)


def _better(objective: Objective, best: Fit, unknowns: Unknowns, coefficients: Coefficients, observed: Batch | None) -> Fit:
    judged = judge(objective, unknowns, coefficients, observed)
    return best._replace(unknowns=unknowns, residual=judged) if judged < best.residual else best
