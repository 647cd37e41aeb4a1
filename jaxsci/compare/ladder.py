"""The ladder: the strongest solver at several resolutions, each with the largest step that it can take.

A solver that is timed at the step of the truth loses against a surrogate by an accident. Here every rung has a step of its own,
found by bisection on starts that are not scored.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxsci._types import Progress
from jaxsci.compare.measure import Candidate, Scored, errors_of, search_rollouts
from jaxsci.problems import Problem, stepper
from jaxsci.solvers import Spectral, Stepper


class LargestStep(NamedTuple):
    """The fewest steps between two saves.

    Attributes:
      substeps: with which the error is at most `tolerance` above that of small steps.
      error: then, of the starts of the search.
      stable_substeps: with which the fields stay finite, at most `substeps`.
      stable_error: then.
      small_error: with small steps, what is left is the error of the grid.
    """

    substeps: int
    error: float
    stable_substeps: int
    stable_error: float
    small_error: float


def fewest_substeps(
    error_of: Callable[[int], float], small: int, *, tolerance: float = 0.1, most: int = 4096
) -> LargestStep | None:
    """The fewest substeps at which steps cost at most a tenth of the error, by bisection.

    With `small` substeps the error E is that of the grid. Bisection between powers of two finds the fewest substeps with an error
    of at most (1 + tolerance) E, and the fewest with a finite one. Both are taken to hold for all larger numbers.

    Args:
      error_of: from a number of substeps to an error, inf or NaN where the rollout is not finite.
      small: substeps with which steps cost nothing; doubled where they are not stable.
      tolerance: share of the error that the steps may cost.
      most: substeps that are tried.
    Returns:
      A `LargestStep`; None where no number up to `most` is stable.
    Example:
      >>> from jaxsci.compare.ladder import fewest_substeps
      >>> found = fewest_substeps(lambda m: float("inf") if m < 3 else 1e-3 + m**-4.0, small=64)  # 1e-3 is of the grid
      >>> found.substeps, found.stable_substeps  # 10**-4 is a tenth of 1e-3
      (10, 3)
    """
    known: dict[int, float] = {}

    def error(m: int) -> float:
        if m not in known:
            value = float(error_of(m))
            known[m] = value if not math.isnan(value) else math.inf
        return known[m]

    while not math.isfinite(error(small)):
        small *= 2
        if small > most:
            return None

    def first(is_good: Callable[[int], bool]) -> int:
        low, high = 0, 1
        while high < small and not is_good(high):
            low, high = high, min(2 * high, small)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_good(middle) else (middle, high)
        return high

    accurate = first(lambda m: error(m) <= (1 + tolerance) * error(small))
    stable = first(lambda m: math.isfinite(error(m)))
    return LargestStep(accurate, error(accurate), stable, error(stable), error(small))


def largest_stable_step(
    n: int, starts: Scored, small: int, *, order: int = 4, tolerance: float = 0.1, most: int = 4096
) -> LargestStep | None:
    """The largest step dt / m of a grid, m whole, that is stable and costs at most a tenth of its error.

    "Stable" is that the rollouts of all starts stay finite over the horizon. The error is the mean over starts and saves of the
    nRMSE against the truth. See `fewest_substeps` for the search.

    Args:
      n: grid intervals per axis.
      starts: to roll out, with their truth: others than those that are scored. The step is the same for all of them.
      small: substeps with which steps cost nothing, those of the truth: what is found is compared with them.
      order: of the solver.
      tolerance, most: as of `fewest_substeps`.
    Returns:
      A `LargestStep`, None where no step is stable.
    Reference: McGreivy & Hakim (2024), Nature Machine Intelligence 6, 1256: a baseline is to be run at its own best settings.
    """

    def error_of(m: int) -> float:
        return float(np.mean(errors_of(search_rollouts(_Make(n, starts.dt / m, order), starts, m), starts)))

    return fewest_substeps(error_of, small, tolerance=tolerance, most=most)


def ladder(
    probes: Scored,
    sizes: Sequence[int],
    small: int,
    *,
    stable_on: Scored | None = None,
    order: int = 4,
    tolerance: float = 0.1,
    progress: Progress = None,
) -> tuple[list[Candidate], list[str]]:
    """The rungs, each with its largest step, and sentences on those that could not be made.

    Where a grid is stable at a longer step than the one that keeps its error, that is a rung of its own: cheaper, less
    accurate, and perhaps on the front.

    Args:
      probes: starts for the search, with their truth.
      sizes: grid intervals per axis, one number for each rung.
      small: as of `largest_stable_step`.
      stable_on: starts that must not blow up either: the scored ones, whose truth is not looked at. A step that is too long for
        one of them is made shorter, by an eighth at a time: anyone sees that a run has blown up, without a truth. To blow up is
        to be not finite, or to have a root mean square above twice the largest of the starts and of the probes' truth.
      order: of the solver.
      tolerance: share of its error that the step of a rung may cost.
      progress: called with a line of text for each rung.
    """
    rungs, notes = [], []
    bound = math.inf if stable_on is None else 2 * max(_amplitude(f, probes.space) for f in (probes.truth, stable_on.starts))
    for n in sizes:
        found = largest_stable_step(n, probes, small, order=order, tolerance=tolerance)
        if found is None:
            notes.append(f"ETDRK{order} on n = {n} has no rung: it is not stable with up to 4096 steps between saves.")
            continue
        tried = {found.substeps, found.stable_substeps}
        steps = sorted({_stable(n, m, order, stable_on, bound=bound, small=small) for m in tried}, reverse=True)
        rungs += [rung(n, probes.dt, m, order) for m in steps]
        if progress is not None:
            also = f"; also {probes.dt / steps[-1]:.4g}, stable and less accurate" if len(steps) > 1 else ""
            progress(f"ladder: n = {n}, largest step {probes.dt / steps[0]:.4g}, error {found.error:.2e}{also}")
    return rungs, notes


def _stable(n: int, substeps: int, order: int, starts: Scored | None, *, bound: float, small: int) -> int:
    """The substeps, more of them where a start blows up: the bound is dropped where small steps do not keep to it either."""
    while starts is not None and substeps <= 4096:
        make = _Make(n, starts.dt / substeps, order)
        largest = _amplitude(search_rollouts(make, starts, substeps), starts.space)
        if largest <= bound or (substeps >= small and math.isfinite(largest)):
            break
        substeps += max(1, substeps // 8)
    return substeps


def _amplitude(fields: np.ndarray, space: int) -> float:
    """The largest root mean square of a state, ``[..., channels, *space]``; inf where one is not finite."""
    with np.errstate(over="ignore"):
        largest = np.sqrt(np.mean(np.square(fields, dtype=float), axis=tuple(range(-space - 1, 0)))).max()
    return float(largest) if np.isfinite(largest) else math.inf


def rung(n: int, dt: float, substeps: int, order: int = 4) -> Candidate:
    """The solver on a grid, with a step that divides the time between saves."""
    step = dt / substeps
    return Candidate(
        name=f"ETDRK{order}", family="solver", detail=f"n = {n}, dt = {step:.4g}",
        make=_Make(n, step, order), resolution=n, dt=step, substeps=substeps,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Make:
    """The solver's stepper of a problem."""

    n: int
    dt: float
    order: int

    def __call__(self, problem: Problem) -> Stepper:
        return stepper(problem, Spectral(n=self.n, dt=self.dt, order=self.order))
