r"""The frame of a fit: what is neither fitted nor physics, and known only when the fit begins. Scales, and the window of time.

    outputs of the network = scale * N(z),        loss = sum of weight * (residual / row scale)^2

With inputs in [-1, 1] and these two scales a fit does not know the units of the problem.  In a window of time the network
sees the window's own time s in [0, 1] and is joined to the window before at its end:

    N_k(s, x) = h_0(s) N_{k-1}(1, x) + h_1(s) d/ds N_{k-1}(1, x) + s^order M_k(s, x)

with Hermite's polynomials h, which vanish at s = 1 with their slopes: what the next window starts from is this window's
network alone, however many came before.  The conditions hold for any network, so they hold for this one, and the field goes on
with all the time derivatives that the equation needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

FRAME = "frame of the fit"  # no coefficient of a problem has a name with blanks


class Window(NamedTuple):
    """A window of time, in fractions of the problem's interval, and what it starts from."""

    start: Any
    end: Any
    before: Any  # parameters of the network of the window before; of any in the first
    follows: Any  # 1 where there is a window before, 0 in the first: the conditions hold its start
    followed: Any  # the same of the window before
    ratio: Any  # of this window's length to that of the one before


class Frame(NamedTuple):
    """Scales, and the window of time; None is the whole of it."""

    outputs: Any  # [outputs], the size of what the network gives
    rows: Any  # [equations], by which the loss divides residuals
    window: Window | None = None


def framed(apply: Callable[..., Any], parameters: Any, frame: Frame, order: int) -> Callable[[Any], Any]:
    """The network ``z -> outputs`` in its frame; `order` is that of the equation in time."""
    window = frame.window
    if window is None:
        return lambda z: frame.outputs * apply(parameters, z)

    def network(z):
        s = ((z[0] + 1) / 2 - window.start) / (window.end - window.start)  # of all inputs, time is the first
        own = apply(parameters, jnp.concatenate([(2 * s - 1)[None], z[1:]]))
        joined = _continued(apply, window, order, s, z[1:])
        return frame.outputs * (own + window.follows * (joined + (s**order - 1) * own))

    return network


def _continued(apply: Callable[..., Any], window: Window, order: int, s: Any, others: Any) -> Any:
    """What goes on from the window before: its value at its end and, of second order in time, its slope; both fade."""

    def before(time):
        return apply(window.before, jnp.concatenate([time[None], others]))

    end = jnp.ones_like(s)
    if order < 2:
        return (1 - s) * before(end)
    value, slope = jax.jvp(before, (end,), (jnp.full_like(s, 2.0),))  # [-1, 1] is two long, s is one
    slope = (slope + window.followed * order * value) * window.ratio  # of s^order M: both factors have a slope
    return (1 - s) ** 2 * (1 + 2 * s) * value + s * (1 - s) ** 2 * slope


def first_window(parameters: Any, end: Any, dtype: Any) -> Window:
    """From the start of the problem; `end` is a fraction of its interval."""
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    return Window(zero, jnp.asarray(end, dtype), parameters, zero, zero, one)


def next_window(window: Window, parameters: Any, end: Any) -> Window:
    """The window that follows one with fitted parameters."""
    end = jnp.asarray(end, window.end.dtype)
    ratio = (end - window.end) / (window.end - window.start)
    return Window(window.end, end, parameters, jnp.ones_like(end), window.follows, ratio)
