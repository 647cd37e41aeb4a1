"""Moments of a distribution over finitely many states: shares p >= 0 of sum one with  sum_i f_k(i) p_i = m_k.

A prevalence is such a moment (f is one in the states that have the property), a mean dose, a budget. `TiltedMoments` takes the
nearest distribution in relative entropy, which keeps positive shares positive.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import (
    CONVERGED,
    INFEASIBLE,
    MAX_STEPS,
    Constraint,
    ProjectionInfo,
    check_numbers,
    constraint,
)
from jaxsci.constraints.members import joined, select
from jaxsci.constraints.polytope import Polytope
from jaxsci.constraints.sets import positive_part

DERIVATIVES = 3  # orders that are exact: steps of the chord method at the solution
HALVINGS = 40  # of a Newton step


def moment_polytope(values: Any, targets: Any) -> Polytope:
    r"""{p >= 0, sum_i p_i = 1, sum_i f_k(i) p_i = m_k}, whose projection is the nearest in |p - y|; see `TiltedMoments`.

    Args:
      values: f, ``[..., moments, states]``.
      targets: m, ``[..., moments]``.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> prevalence = js.constraints.moment_polytope(jnp.array([[1.0, 1.0, 0.0, 0.0]]), jnp.array([0.8]))
      >>> p, info = prevalence.project(jnp.array([0.1, 0.3, 0.4, 0.2]))
      >>> print(jnp.array_str(p, precision=4, suppress_small=True), bool(info.converged))
      [0.3 0.5 0.2 0. ] True
    """
    values, targets = jnp.asarray(values), jnp.asarray(targets)
    one = jnp.ones((), values.dtype)
    sums = jnp.broadcast_to(one, (*values.shape[:-2], 1, values.shape[-1]))
    total = jnp.broadcast_to(one, (*targets.shape[:-1], 1))
    return Polytope(jnp.concatenate([values, sums], axis=-2), jnp.concatenate([targets, total], axis=-1), lower=0.0)


@constraint()
class TiltedMoments(Constraint):
    r"""Distributions with given moments, "projected" in relative entropy (the I-projection, minimum discrimination information):

        argmin_p sum_i p_i log(p_i / y_i)   over   p >= 0,  sum_i p_i = 1,  sum_i f_k(i) p_i = m_k.

    NOT the Euclidean projection of the other constraints: a point y is a vector of weights, not negative, of any positive sum,
    and the result is y tilted,  p_i ~ y_i exp(theta . f(i)).  States of weight zero keep it. Newton's method with a line search
    minimises the dual  log sum_i y_i exp(theta . (f(i) - m)),  smooth and convex; the derivative is the implicit one of
    its minimum (three derivatives are exact). Moments that are combinations of others do no harm as long as their targets agree.
    Where the targets are no mean of the values of states with weight, a direction theta with theta . (f(i) - m) < 0 in all of
    these proves it: the status is INFEASIBLE, and the point the tilt that was reached.

    Args:
      values: f, ``[..., moments, states]``.
      targets: m, ``[..., moments]``.
    Raises:
      ValueError: for NaN, or shapes that do not fit.
    Reference:
      Csiszár (1975), "I-divergence geometry of probability distributions and minimization problems", Ann. Probab. 3.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> prevalence = js.constraints.TiltedMoments(jnp.array([[1.0, 1.0, 0.0, 0.0]]), jnp.array([0.8]))
      >>> p, info = prevalence.project(jnp.array([0.1, 0.3, 0.4, 0.2]))
      >>> print(jnp.array_str(p, precision=4, suppress_small=True), bool(info.converged))
      [0.2    0.6    0.1333 0.0667] True
    """

    values: Any
    targets: Any

    def __post_init__(self):
        check_numbers("TiltedMoments", values=self.values, targets=self.targets)

    def _data(self, x):
        values, targets = jnp.asarray(self.values, x.dtype), jnp.asarray(self.targets, x.dtype)
        check_moments("TiltedMoments", values, targets, x)
        return values, targets

    def residual(self, x: Any) -> Any:
        """Sum less one, moments less targets, and negative shares;  [..., 1 + moments + states]."""
        values, targets = self._data(x)
        moments = jnp.einsum("...ki,...i->...k", values, x) - targets
        parts = (jnp.sum(x, axis=-1, keepdims=True) - 1, moments, positive_part(-x))
        return joined(parts)

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        values, targets = self._data(y)
        offsets = values - targets[..., None]
        batch = jnp.broadcast_shapes(y.shape[:-1], offsets.shape[:-2])
        y, offsets = jnp.broadcast_to(y, (*batch, y.shape[-1])), jnp.broadcast_to(offsets, (*batch, *offsets.shape[-2:]))
        weights = positive_part(y)
        empty = ~(weights > 0).any(axis=-1)
        weights = jnp.where(empty[..., None], 1, weights)
        # Rows of size one in theta's units; a row of zeros stays one.
        size = jnp.max(
            jnp.where(weights[..., None, :] > 0, jnp.abs(jax.lax.stop_gradient(offsets)), 0), axis=-1, keepdims=True
        )
        offsets = offsets / jnp.where(size > 0, size, 1)

        theta = jnp.zeros((*batch, offsets.shape[-2]), y.dtype) if warm is None else jnp.asarray(warm, y.dtype)
        fixed = jax.lax.stop_gradient((offsets, weights))
        tolerance = 8 * jnp.finfo(y.dtype).eps if tol is None else tol / jnp.maximum(jnp.max(size, axis=(-2, -1)), 1e-30)
        theta, status, steps = _minimised(
            *fixed, jax.lax.stop_gradient(theta), tolerance, 200 if max_steps is None else max_steps
        )

        inverse = _pseudo_inverse(_covariance(fixed[0], _tilted(*fixed, theta)))
        inverse = jnp.where((status == CONVERGED)[..., None, None], inverse, 0)
        warm = theta
        for _ in range(DERIVATIVES):
            theta = theta - _times(inverse, _times(offsets, _tilted(offsets, weights, theta)))
        point = _tilted(offsets, weights, theta)

        finite = jnp.isfinite(point).all(axis=-1)
        point = jnp.where(finite[..., None], point, 0)
        status = jnp.where(empty | (y < 0).any(axis=-1), INFEASIBLE, status)
        return point, ProjectionInfo(status == CONVERGED, status, self.violation(point), steps, None, warm)


def check_moments(owner: str, values: Any, targets: Any, x: Any) -> None:
    """The shapes of moments fit each other and the points.

    Raises:
      ValueError: with the shapes.
    """
    if values.ndim < 2 or values.shape[-1] != x.shape[-1] or targets.shape[-1:] != values.shape[-2:-1]:
        raise ValueError(
            f"{owner}: values must be [..., moments, states] and targets [..., moments], for points of {x.shape[-1]} states; "
            f"got the shapes {values.shape} and {targets.shape}."
        )


def _tilted(offsets, weights, theta):
    exponents = jnp.einsum("...k,...ki->...i", theta, offsets)
    highest = jnp.max(jnp.where(weights > 0, exponents, -jnp.inf), axis=-1, keepdims=True)
    p = weights * jnp.exp(jnp.where(weights > 0, exponents - jax.lax.stop_gradient(highest), 0))
    return p / jnp.sum(p, axis=-1, keepdims=True)


def _dual(offsets, weights, theta):
    exponents = jnp.einsum("...k,...ki->...i", theta, offsets)
    highest = jnp.max(jnp.where(weights > 0, exponents, -jnp.inf), axis=-1, keepdims=True)
    return jnp.log(jnp.sum(weights * jnp.exp(jnp.where(weights > 0, exponents - highest, 0)), axis=-1)) + highest[..., 0]


def _covariance(offsets, p):
    centred = offsets - _times(offsets, p)[..., None]
    return jnp.einsum("...ki,...i,...li->...kl", centred, p, centred)


def _pseudo_inverse(matrix):
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(matrix))
    largest = values[..., -1:]
    kept = values > 4 * matrix.shape[-1] * jnp.finfo(matrix.dtype).eps * largest
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)
    return (vectors * inverse[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


def _times(matrix, vector):
    return jnp.einsum("...ki,...i->...k", matrix, vector)


def _minimised(offsets, weights, theta, tolerance, max_steps):
    """Newton's method on the dual: theta, status and steps, for each member of the batch."""

    def judged(theta, stalled):
        p = _tilted(offsets, weights, theta)
        gradient = _times(offsets, p)
        error = jnp.max(jnp.abs(gradient), axis=-1, initial=0.0)
        exponents = jnp.einsum("...k,...ki->...i", theta, offsets)
        highest = jnp.max(jnp.where(weights > 0, exponents, -jnp.inf), axis=-1)
        round_off = 64 * jnp.finfo(p.dtype).eps * jnp.max(jnp.abs(theta), axis=-1, initial=0.0)
        status = jnp.where(highest < -round_off, INFEASIBLE, MAX_STEPS)
        return jnp.where((error <= tolerance) | (stalled & (error <= 1000 * tolerance)), CONVERGED, status), gradient, p

    def step(state):
        theta, status, steps, gradient, p, value = state
        direction = -_times(_pseudo_inverse(_covariance(offsets, p)), gradient)
        slope = jnp.sum(direction * gradient, axis=-1)

        def shorter(carry):
            part, tried, _, _ = carry
            return trial(jnp.where(carry[3], part, part / 2), tried + 1)

        def trial(part, tried):
            value_now = _dual(offsets, weights, theta + part[..., None] * direction)
            # At round-off a step that does not raise the value passes; it is seen below whether anything still improves.
            return (
                part,
                tried,
                value_now,
                value_now <= value + 1e-4 * part * slope + 4 * jnp.finfo(p.dtype).eps * (1 + jnp.abs(value)),
            )

        def going(carry):
            return (carry[1] < HALVINGS) & ~carry[3].all()

        part, _, value_now, _ = jax.lax.while_loop(going, shorter, trial(jnp.ones_like(value), 0))
        moved = theta + part[..., None] * direction
        before = jnp.max(jnp.abs(gradient), axis=-1, initial=0.0)
        now = jnp.max(jnp.abs(_times(offsets, _tilted(offsets, weights, moved))), axis=-1, initial=0.0)
        status_now, gradient_now, p_now = judged(moved, now >= before / 2)
        new = (moved, status_now, steps + 1, gradient_now, p_now, value_now)
        done = (status != MAX_STEPS) | (steps >= max_steps)

        return select(done, state, new)

    theta = jnp.broadcast_to(theta, offsets.shape[:-1])
    status, gradient, p = judged(theta, False)
    state = (theta, status, jnp.zeros_like(status), gradient, p, _dual(offsets, weights, theta))

    def going(state):
        return ((state[1] == MAX_STEPS) & (state[2] < max_steps)).any()

    theta, status, steps, *_ = jax.lax.while_loop(going, step, state)
    return theta, status, steps
