"""The one training loop: one optimiser from where a fit stands, with the clock, the record and the best kept."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsci.learning.broken import first_broken
from jaxsci.learning.checkpoints import Record, restored
from jaxsci.learning.leg import Leg, Loop
from jaxsci.learning.leg import judge as judge
from jaxsci.learning.leg import with_observations as with_observations
from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns
from jaxsci.learning.optimiser import NOT_FINITE, RUNNING, STOPPED, Optimiser
from jaxsci.learning.progress import Event, tell
from jaxsci.learning.scheme import Scheme as Scheme


class Fit(NamedTuple):
    """What was fitted, and what became of it."""

    unknowns: Unknowns
    residual: float  # root mean square of the judged parts, at evenly spread points that no step has seen
    steps: int
    stopped: str  # why: "steps", "budget", "target", "converged", "not finite"
    broke: str = ""  # what was not finite first


class Limits(NamedTuple):
    """What stops a leg before its optimiser does."""

    deadline: float = math.inf  # on the clock of `time.perf_counter`
    steps: float = math.inf
    residual: float = 0.0  # good enough
    whole: float = math.inf  # the deadline of the whole fit, where that of the leg is a share


def start(objective: Objective, coefficients: Coefficients, key: Any, observed: Batch | None = None) -> Fit:
    """Fresh parameters."""
    unknowns = objective.init(key, coefficients)
    return Fit(unknowns, float(judge(objective, unknowns, coefficients, observed)), 0, "steps")


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
    limits: Limits | None = None,
    progress: Any = None,
    record: Record | None = None,
    where: str = "",
) -> Fit:
    """One optimiser from where a fit stands: the best unknowns on the way, by the residual at points that no step has seen.

    Args:
      observed: a batch of observations (points, weights and targets, no equation), which goes into every step.
      deadline: on the clock of `time.perf_counter`; or `limits`, which say more.
      progress: a function of a text, or a logger.
      record: where the leg is kept on disk.
      where: the window or the stage, for `progress`.
    """
    limits = limits or Limits(deadline, whole=deadline)
    known = None if record is None else record.begin()
    if known is not None and known.finished:
        return Fit(restored(fit.unknowns, known.arrays), **known.numbers)
    leg = Leg(objective, optimiser, coefficients, key, scheme, observed)
    loop = leg.begin(fit.unknowns, fit.residual)
    step, seconds = 0, 0.0
    if known is not None:
        loop, step, seconds = restored(loop, known.arrays), known.numbers["step"], known.numbers["seconds"]
    loop, step, stopped = run(leg, loop, step, limits, progress, record, where, time.perf_counter() - seconds)
    broke = ""
    if stopped == STOPPED[NOT_FINITE]:
        broke = first_broken(objective, loop.state.unknowns, coefficients, leg.batch(loop))
    result = Fit(loop.best, float(loop.residual), fit.steps + step, stopped, broke)
    if record is not None:
        record.finish(jax.tree.leaves(result.unknowns), {k: v for k, v in result._asdict().items() if k != "unknowns"})
    return result


def run(
    leg: Leg,
    loop: Loop,
    step: int,
    limits: Limits,
    progress: Any = None,
    record: Record | None = None,
    where: str = "",
    began: float | None = None,
) -> tuple[Loop, int, str]:
    """A leg from a step on, until something stops it: the loop, the step and what it was."""
    optimiser = leg.optimiser
    began = time.perf_counter() if began is None else began
    most = int(min(optimiser.steps, limits.steps))
    while True:
        judged = step % optimiser.resample == 0
        loop = leg.judged(loop) if step and judged else loop
        stopped = _reason(loop, step, optimiser, limits, judged)
        if record is not None:
            numbers = {"step": step, "seconds": time.perf_counter() - began}
            last = stopped == "budget" and (step >= limits.steps or time.perf_counter() > limits.whole)
            record.keep(lambda loop=loop: jax.tree.leaves(loop), numbers, last=last)
        if stopped:
            return leg.judged(loop) if step else loop, step, stopped
        loop = leg.drawn(loop, step) if step and judged else loop
        length = min(optimiser.chunk, optimiser.resample - step % optimiser.resample, most - step)
        loop = leg.advanced(loop, length)
        step += length
        running = np.any(np.asarray(loop.state.status) == RUNNING)
        if progress is not None and (step % max(100, optimiser.chunk) == 0 or step == optimiser.steps or not running):
            loss = float(np.max(loop.state.loss)) ** 0.5
            seconds, left = time.perf_counter() - began, limits.deadline - time.perf_counter()
            name = type(optimiser).__name__
            tell(progress, Event(name, step, optimiser.steps, loss, leg.parts(loop), seconds, left, where))


def _reason(loop: Loop, step: int, optimiser: Optimiser, limits: Limits, judged: bool) -> str:
    """Why a leg stops here; empty where it goes on."""
    status = np.asarray(loop.state.status)
    if not np.any(status == RUNNING):
        return STOPPED[int(np.max(status))]
    if judged and limits.residual > 0 and np.all(np.asarray(loop.residual) <= limits.residual):
        return "target"
    if step >= optimiser.steps:
        return "steps"
    return "budget" if step >= limits.steps or time.perf_counter() > limits.deadline else ""
