"""What a surrogate is worth against a ladder of solver rungs: ratios at equal error and at equal time, and the break-even.

With E_j the mean error over starts of rung j and T_j its seconds per trajectory, the front is the set of rungs that no cheaper
one beats. Between neighbours of the front log T is linear in log E: the solver at a resolution in between. A rung without any
error (it is the truth itself) has no neighbours: there is nothing between it and the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxsci.compare.study_report import Bound, Interval, Measurement, Verdict

RESAMPLES = 2000


class Matched(NamedTuple):
    """Seconds of the solver at some errors.

    Attributes:
      seconds: ``[...]``; where `side` is not 0, a bound.
      side: ``[...]``, 0 where the ladder reaches the error; -1 where its cheapest rung is more accurate, so that the seconds are
        an upper bound; 1 where no rung is as accurate, so that those of the most accurate rung are a lower bound.
    """

    seconds: np.ndarray
    side: np.ndarray


def seconds_at_error(errors: np.ndarray, seconds: np.ndarray, error: np.ndarray) -> Matched:
    """The seconds that a ladder needs for an error, log-log between the rungs of its front.

    Args:
      errors: ``[..., rungs]``, of the rungs; inf where one blew up.
      seconds: ``[rungs]``, positive.
      error: ``[...]``, positive.
    Raises:
      ValueError: no rung has a finite error and finite, positive seconds.
    Example:
      >>> import numpy as np
      >>> from jaxsci.compare.verdicts import seconds_at_error
      >>> errors, seconds = np.array([0.1, 0.01, 0.001]), np.array([1.0, 4.0, 16.0])  # T = 0.25 E^(-log 4 / log 10)
      >>> found = seconds_at_error(errors, seconds, np.array([0.5, 0.01, 10**-2.5, 1e-4]))
      >>> [f"{t:.2f}" for t in found.seconds], found.side.tolist()
      (['1.00', '4.00', '8.00', '16.00'], [-1, 0, 0, 1])
    """
    times, least = _front(errors, seconds)
    shape = np.broadcast_shapes(np.shape(error), least.shape[:-1])
    rungs = least.shape[-1]
    error, least = np.broadcast_to(np.asarray(error, float), shape), np.broadcast_to(least, (*shape, rungs))
    k = np.sum(least > error[..., None], axis=-1)  # the first rung that is as accurate
    above = k == rungs
    k = np.minimum(k, rungs - 1)
    upper = np.where(above, np.inf, _take(least, np.maximum(k - 1, 0)))  # the front's point before it
    below = (k == 0) | ~np.isfinite(upper)
    before = _first_with(least, np.where(np.isfinite(upper), upper, least[..., 0]))
    low, high = _log(_take(least, k)), _log(np.where(np.isfinite(upper), upper, 1.0))
    share = np.where(
        _take(least, k) == 0, 1.0, (high - _log(np.where(below, 1.0, error))) / np.where(high > low, high - low, 1.0)
    )
    between = np.exp((1 - share) * np.log(times[before]) + share * np.log(times[k]))
    value = np.where(above, times[_first_with(least, least[..., -1])], np.where(below, times[k], between))
    return Matched(value, np.where(above, 1, np.where(below, -1, 0)))


def error_at_seconds(errors: np.ndarray, seconds: np.ndarray, at: float) -> np.ndarray:
    """The error that a ladder reaches in a time, log-log between the rungs of its front, ``[...]``.

    NaN where even the cheapest rung takes longer; the error of the most accurate rung where there is more time than it needs.

    Args:
      errors, seconds: as of `seconds_at_error`.
      at: seconds.
    Example:
      >>> import numpy as np
      >>> from jaxsci.compare.verdicts import error_at_seconds
      >>> [f"{error_at_seconds(np.array([0.1, 0.01]), np.array([1.0, 4.0]), t):.4f}" for t in (0.5, 1, 2, 4, 100)]
      ['nan', '0.1000', '0.0316', '0.0100', '0.0100']
    """
    times, least = _front(errors, seconds)
    count = int(np.sum(times <= at))
    if count == 0:
        return np.full(least.shape[:-1], np.nan)
    here = least[..., count - 1]
    from_ = _first_with(least, here)
    better = least < here[..., None]
    until = np.where(better.any(axis=-1), np.argmax(better, axis=-1), from_)
    start, end = np.log(times[from_]), np.log(times[until])
    share = np.where(end > start, (math.log(at) - start) / np.where(end > start, end - start, 1.0), 0.0)
    share = np.where(_take(least, until) == 0, 0.0, share)
    safe = np.where(np.isfinite(here), here, 1.0)
    value = np.exp((1 - share) * _log(safe) + share * _log(np.where(np.isfinite(here), _take(least, until), 1.0)))
    return np.where(here == 0, 0.0, np.where(np.isfinite(here), value, np.nan))


def judge(
    surrogate: Sequence[Measurement],
    ladder: Sequence[Measurement],
    batch: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    coarser: bool = True,
) -> Verdict:
    r"""One surrogate, all its seeds, against the ladder at one batch size.

    - speed ratio: T_solver(E_surrogate) / T_surrogate, see `seconds_at_error`;
    - error ratio: E_surrogate / E_solver(T_surrogate), see `error_at_seconds`;
    - break-even: N* = (data + training + tuning) / (T_solver(E_surrogate) - T_surrogate), infinite where the surrogate is not
      faster: the trajectories after which what was spent before the first one has been saved.

    Errors are means over starts; of the seeds of a surrogate the median counts, of their errors as of what was spent on them. The
    bounds are percentiles 5 and 95 of a bootstrap: the starts, the same for the surrogate and for every rung, and the seeds are
    drawn anew with replacement. Times are minima, and not drawn.

    Where the ladder does not reach the error of the surrogate, `Verdict.speed_bound` says what the ratio is, "at most" or "at
    least" that, and the break-even is the opposite bound. Where no rung takes as long as the surrogate, a finer one would err
    less: the error ratio is "at least" what is told, its upper bound infinite, and `Verdict.error_bound` says so.

    Args:
      surrogate: its seeds.
      ladder: the solver's rungs, scored on the same starts.
      batch: one of the sizes that were timed.
      resamples: of the bootstrap.
      seed: of the bootstrap.
      coarser: whether the solver could be coarser than the cheapest rung, and finer than the dearest. Where it could not (a
        linear programme is solved or is not), that rung is what one has at every larger error, and there is no bound.
    Raises:
      ValueError: nothing to judge, other starts, or a batch size that was not timed.
    Reference: McGreivy & Hakim (2024), Nature Machine Intelligence 6, 1256 (equal accuracy or equal time); Efron (1979), Annals
      of Statistics 7, 1 (the bootstrap).
    Example:
      >>> import numpy as np
      >>> from jaxsci.compare.study_report import Measurement
      >>> from jaxsci.compare.verdicts import judge
      >>> def made(name, error, seconds, **more):
      ...     errors = np.full(16, error)
      ...     return Measurement(name, "solver", "", None, None, None, errors, errors, {1: seconds}, {}, 0.0, **more)
      >>> ladder = [made("ETDRK4", 2.0**-k, 4.0**k) for k in range(6)]
      >>> found = judge([made("FNO", 0.125, 16.0, training_seconds=480.0)], ladder, 1)
      >>> print(f"{found.speed_ratio.value:.2f} {found.error_ratio.value:.2f} {found.break_even.value:.2f}")
      4.00 0.50 10.00
    """
    if not surrogate or not ladder:
        raise ValueError(f"judge: needs a surrogate and a ladder, got {len(surrogate)} seeds and {len(ladder)} rungs.")
    name = surrogate[0].name
    starts = {len(m.errors) for m in (*surrogate, *ladder)}
    if len(starts) > 1:
        raise ValueError(f"judge: {name} and the ladder must be scored on the same starts, got {sorted(starts)} of them.")
    untimed = [m.name for m in (*surrogate, *ladder) if batch not in m.seconds]
    if untimed:
        raise ValueError(f"judge: {untimed[0]} was not timed at batch {batch}; there is {sorted(surrogate[0].seconds)}.")
    own = float(np.median([m.seconds[batch] for m in surrogate]))
    upfront = float(np.median([m.upfront_seconds for m in surrogate]))
    seconds = np.array([m.seconds[batch] for m in ladder])
    rungs = _known(np.stack([m.errors for m in ladder]))
    errors = _known(np.stack([m.errors for m in surrogate]))  # [seeds, starts]
    generator = np.random.default_rng(seed)
    drawn, members = (  # the first is the sample itself
        np.concatenate([np.arange(n)[None], generator.integers(0, n, (resamples, n))]) for n in errors.shape[::-1]
    )
    means = np.stack([np.mean(of[drawn], axis=-1) for of in errors], axis=-1)  # [1 + resamples, seeds]
    error = _median(np.take_along_axis(means, members, axis=-1))
    if not math.isfinite(error[0]):
        unknown, never = Interval(math.nan, math.nan, math.nan), Interval(math.inf, math.inf, math.inf)
        return Verdict(name, batch, _interval(error), unknown, "at most", unknown, never, upfront)
    ladders = np.mean(rungs[:, drawn], axis=-1).T  # [1 + resamples, rungs]
    matched = seconds_at_error(ladders, seconds, error)
    matched = matched._replace(seconds=np.where(np.isfinite(error), matched.seconds, 0.0))  # who blew up saves nothing
    gain = matched.seconds - own
    break_even = np.where(gain > 0, upfront / np.where(gain > 0, gain, 1.0), np.inf)
    pays = _interval(break_even)
    bound: Bound = ("", "at least", "at most" if coarser else "")[int(matched.side[0])]
    if bound == "at most":
        pays = pays._replace(high=math.inf)
    elif bound == "at least":
        pays = pays._replace(low=0.0) if math.isfinite(pays.value) else Interval(math.nan, 0.0, math.inf)
    theirs = error_at_seconds(ladders, seconds, own)
    ratio = _interval(np.where(theirs == 0, np.inf, error / np.where(theirs == 0, 1.0, theirs)))
    finest = seconds[ladders[0] == ladders[0].min()].min()
    outlasts = bool(coarser and own > finest and theirs[0] > 0)  # a finer rung than any would take that long
    if outlasts:
        ratio = ratio._replace(high=math.inf)
    speed = _interval(matched.seconds / own)
    return Verdict(name, batch, _interval(error), speed, bound, ratio, pays, upfront, "at least" if outlasts else "")


def _front(errors: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds in rising order, ``[rungs]``, and the least error that each of them buys, ``[..., rungs]``."""
    seconds, errors = np.asarray(seconds, float), _known(np.asarray(errors, float))
    if not (np.isfinite(seconds).all() and (seconds > 0).all() and np.isfinite(errors).any()):
        raise ValueError("the ladder has no rung with a finite error, or seconds that are not positive.")
    order = np.argsort(seconds, kind="stable")
    return seconds[order], np.minimum.accumulate(errors[..., order], axis=-1)


def _median(errors: np.ndarray) -> np.ndarray:
    """Over the last axis; of two in the middle that are infinite, infinite."""
    middle = np.sort(errors, axis=-1)[..., (errors.shape[-1] - 1) // 2 : errors.shape[-1] // 2 + 1]
    return np.mean(middle, axis=-1)


def _known(errors: np.ndarray) -> np.ndarray:
    """NaN is as bad as infinite."""
    return np.where(np.isnan(errors), np.inf, errors)


def _take(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values, np.asarray(index)[..., None], axis=-1)[..., 0]


def _first_with(least: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The cheapest rung that buys this error."""
    return np.argmax(least <= value[..., None], axis=-1)


def _log(value: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(value, np.finfo(float).tiny))


def _interval(samples: np.ndarray) -> Interval:
    """The value of the sample itself, and the percentiles of the others, some of which may be infinite."""
    if np.isnan(samples).any():
        return Interval(float(samples[0]), math.nan, math.nan)
    low, high = np.percentile(samples[1:], [5, 95], method="nearest")
    return Interval(float(samples[0]), float(low), float(high))
