"""Sets whose projection is a formula: a half-space, the simplex, a ball.

The formulas are differentiated as they stand; which piece of them holds is found first, without derivatives. On the border
between two pieces the derivative is that of the piece inside the set: the identity where `y` satisfies the constraint.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import (
    CONVERGED,
    INFEASIBLE,
    Constraint,
    ProjectionInfo,
    check_numbers,
    closed_form,
    constraint,
)


@constraint()
class HalfSpace(Constraint):
    r"""{x : a . x <= b}, with the projection  y - max(a . y - b, 0) a / |a|^2.

    Args:
      normal: a, ``[..., n]``.
      offset: b, ``[...]``; leading axes broadcast against the batch of the points.
    Raises:
      ValueError: for NaN, or a normal without an axis.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, info = js.constraints.HalfSpace(jnp.array([3.0, 4.0]), 5.0).project(jnp.array([3.0, 4.0]))
      >>> print(jnp.array_str(x, precision=3, suppress_small=True), info.active)
      [0.6 0.8] [1]
    """

    normal: Any
    offset: Any

    def __post_init__(self):
        check_numbers("HalfSpace", normal=self.normal, offset=self.offset)
        if isinstance(self.normal, int | float) or getattr(self.normal, "ndim", 1) < 1:
            raise ValueError(f"HalfSpace: normal must be a vector of n entries, got {self.normal!r}.")

    def _excess(self, x):
        a, b = (jnp.asarray(value, x.dtype) for value in (self.normal, self.offset))
        check_length("HalfSpace", x, normal=a)
        return a, b, jnp.sum(a * x, axis=-1) - b

    def residual(self, x: Any) -> Any:
        return positive_part(self._excess(x)[-1])[..., None]

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        a, b, excess = self._excess(y)
        square = jnp.sum(a * a, axis=-1)
        step = positive_part(excess) / jnp.where(square > 0, square, 1)
        x, info = closed_form(self, y - step[..., None] * a, active=(excess >= 0).astype(int)[..., None])
        return x, unless_empty(info, (square == 0) & (b < 0))


@constraint()
class Simplex(Constraint):
    r"""{x : x >= 0, sum x = total}: distributions, shares, mixtures.

    The projection is max(y - t, 0) with the threshold t = (sum of y over its support - total) / (size of the support); the
    support is found by sorting (n log n).

    Args:
      total: of the entries, ``[...]``; the set is empty where it is negative.
    Reference:
      Held, Wolfe and Crowder (1974), "Validation of subgradient optimization", Mathematical Programming 6.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, _ = js.constraints.Simplex().project(jnp.array([0.9, 0.6, -0.4]))
      >>> print(jnp.array_str(x, precision=3, suppress_small=True))
      [0.65 0.35 0.  ]
    """

    total: Any = 1.0

    def __post_init__(self):
        check_numbers("Simplex", total=self.total)

    def residual(self, x: Any) -> Any:
        total = jnp.asarray(self.total, x.dtype)
        return jnp.concatenate([(jnp.sum(x, axis=-1) - total)[..., None], positive_part(-x)], axis=-1)

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        total = jnp.asarray(self.total, y.dtype)
        empty, total = total < 0, jnp.where(total >= 0, total, 0)  # at 0 the derivative is that from above
        y = y - jax.lax.stop_gradient(jnp.max(y, axis=-1, keepdims=True))  # moves t, not x; sums then lose nothing
        descending = -jnp.sort(-jax.lax.stop_gradient(y), axis=-1)
        counts = jnp.arange(1, y.shape[-1] + 1)
        thresholds = (jnp.cumsum(descending, axis=-1) - jax.lax.stop_gradient(total)[..., None]) / counts
        last = jnp.sum(descending > thresholds, axis=-1, keepdims=True).clip(1) - 1
        smallest = jnp.take_along_axis(*_together(descending, last), axis=-1)
        support = jax.lax.stop_gradient(y) >= smallest
        threshold = (jnp.sum(jnp.where(support, y, 0), axis=-1) - total) / jnp.sum(support, axis=-1)
        above = y - threshold[..., None]
        x = jnp.where(support & (above >= 0), above, 0)
        x, info = closed_form(self, x, active=-(~support).astype(int))
        return x, unless_empty(info, empty)


@constraint()
class Ball(Constraint):
    r"""{x : |x - center| <= radius}, with the projection  center + radius (y - center) / |y - center|  from outside.

    Args:
      radius: ``[...]``; the set is empty where it is negative.
      center: ``[..., n]`` or a number.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, _ = js.constraints.Ball(1.0).project(jnp.array([3.0, 4.0]))
      >>> print(jnp.array_str(x, precision=3, suppress_small=True))
      [0.6 0.8]
    """

    radius: Any
    center: Any = 0.0

    def __post_init__(self):
        check_numbers("Ball", radius=self.radius, center=self.center)

    def _distance(self, x):
        center = jnp.asarray(self.center, x.dtype)
        if center.ndim:
            check_length("Ball", x, center=center)
        return center, length(x - center)

    def residual(self, x: Any) -> Any:
        return positive_part(self._distance(x)[1] - jnp.asarray(self.radius, x.dtype))[..., None]

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        radius = jnp.asarray(self.radius, y.dtype)
        empty, radius = radius < 0, jnp.where(radius >= 0, radius, 0)  # at 0 the derivative is that from above
        center, distance = self._distance(y)
        outside = distance > radius
        scale = radius / jnp.where(outside, distance, 1)
        x = jnp.where(outside[..., None], center + scale[..., None] * (y - center), y)
        x, info = closed_form(self, x, active=(distance >= radius).astype(int)[..., None])
        return x, unless_empty(info, empty)


def positive_part(x: Any) -> Any:
    """max(x, 0), with derivative 0 at 0 (where `jnp.maximum` has 1/2)."""
    return jnp.where(x > 0, x, 0)


def length(x: Any) -> Any:
    """|x| along the last axis, with derivative 0 at 0."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    largest = jnp.where(largest > 0, largest, 1)  # squares neither overflow nor vanish
    square = jnp.sum((x / largest[..., None]) ** 2, axis=-1)
    return jnp.where(square > 0, largest * jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def unless_empty(info: ProjectionInfo, empty: Any) -> ProjectionInfo:
    """The same information, INFEASIBLE where the set is empty."""
    status = jnp.where(empty & (info.status == CONVERGED), INFEASIBLE, info.status)
    return info._replace(status=status, converged=status == CONVERGED)


def check_length(owner: str, x: Any, **given: Any) -> None:
    """Vectors among a constraint's data have the points' number of entries.

    Raises:
      ValueError: naming the vector, and both shapes.
    """
    for name, value in given.items():
        if value.shape[-1:] != x.shape[-1:]:
            raise ValueError(f"{owner}: {name} has the shape {value.shape} but points have {x.shape[-1]} entries.")


def _together(a: Any, b: Any) -> tuple[Any, Any]:
    """Both with all leading axes."""
    batch = jnp.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return jnp.broadcast_to(a, batch + a.shape[-1:]), jnp.broadcast_to(b, batch + b.shape[-1:])
