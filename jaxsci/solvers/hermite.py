"""Interpolation in time between saved states, from values and two derivatives at both ends."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def locate(ts: Any, t: Any) -> Any:
    """The index of the interval [ts[i], ts[i + 1]] that holds t."""
    return jnp.clip(jnp.searchsorted(ts, t, side="right") - 1, 0, ts.shape[0] - 2)


def quintic(ts: Any, values: Any, slopes: Any, curvatures: Any, t: Any) -> Any:
    """Quintic Hermite interpolation at ONE time t: error O(interval^6), its slope at the saved times exact.

    Args:
      ts: increasing times, ``[T]``.
      values, slopes, curvatures: ``[T, ...]``, with their first and second time derivatives.
    """
    i = locate(ts, t)
    h = ts[i + 1] - ts[i]
    s = (t - ts[i]) / h
    r = 1.0 - s
    left = values[i] * (r**3 * (1 + 3 * s + 6 * s**2))
    left = left + slopes[i] * (h * r**3 * s * (1 + 3 * s)) + curvatures[i] * (h**2 * r**3 * s**2 / 2)
    right = values[i + 1] * (s**3 * (1 + 3 * r + 6 * r**2))
    right = right - slopes[i + 1] * (h * s**3 * r * (1 + 3 * r)) + curvatures[i + 1] * (h**2 * s**3 * r**2 / 2)
    return left + right
