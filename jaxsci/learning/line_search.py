"""A line search for the strong Wolfe conditions, compiled into one loop with one gradient per trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_TRIALS = 25


class Trial(NamedTuple):
    """A place on the line."""

    step: Any
    value: Any
    slope: Any  # along the line
    gradient: Any  # [parameters]


class _Search(NamedTuple):
    low: Trial  # the best place with sufficient decrease
    high: Trial  # the other end of the bracket; infinite while there is none
    step: Any  # the next trial's
    found: Any
    trials: Any


def strong_wolfe(
    evaluate: Callable[[Any], tuple[Any, Any, Any]], start: Trial, first: Any, decrease: float = 1e-4, curvature: float = 0.9
) -> Trial:
    """A step a with  f(a) <= f(0) + decrease a f'(0)  and  |f'(a)| <= curvature |f'(0)|.

    Steps double until a minimum is bracketed; then the cubic through the bracket's ends, kept away from them, is minimised.

    Args:
      evaluate: of a step, (value, slope along the line, gradient).
      start: step zero; its slope must be negative.
      first: the first trial.
    Returns:
      The accepted trial; after 25 trials the best one with sufficient decrease, which may be the start.
    Reference: Nocedal & Wright (2006), *Numerical Optimization*, algorithms 3.5 and 3.6, eq. 3.59.
    """

    def body(search: _Search) -> _Search:
        low, high = search.low, search.high
        trial = Trial(search.step, *evaluate(search.step))
        good = (trial.value <= start.value + decrease * trial.step * start.slope) & (trial.value <= low.value)  # not for NaN
        flat = jnp.abs(trial.slope) <= -curvature * start.slope
        turned = trial.slope * (high.step - low.step) >= 0  # the minimum lies between the old best and the new one
        new_low = _either(good, trial, low)
        new_high = _either(good, _either(turned, low, high), trial)
        step = jnp.where(jnp.isinf(new_high.step), 2 * trial.step, _cubic(new_low, new_high))
        return _Search(new_low, new_high, step, good & flat, search.trials + 1)

    infinite = start._replace(step=jnp.full_like(start.step, jnp.inf))
    search = _Search(start, infinite, first, jnp.asarray(False), 0)
    return jax.lax.while_loop(lambda s: ~s.found & (s.trials < _TRIALS), body, search).low


def _either(condition: Any, a: Trial, b: Trial) -> Trial:
    return jax.tree.map(lambda p, q: jnp.where(condition, p, q), a, b)


def _cubic(low: Trial, high: Trial) -> Any:
    """The minimum of the cubic through both ends, at least a tenth of their distance inside; the middle where it has none."""
    length = high.step - low.step
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / -length
    root = jnp.sqrt(d1**2 - low.slope * high.slope) * jnp.sign(length)
    step = high.step - length * (high.slope + root - d1) / (high.slope - low.slope + 2 * root)
    fraction = (step - low.step) / length
    return low.step + length * jnp.where(jnp.isfinite(fraction), jnp.clip(fraction, 0.1, 0.9), 0.5)
