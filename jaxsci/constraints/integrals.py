r"""Integrals that are given: masses, moments and an energy of a field, by the smallest change of it.

    sum_i W_ki x_i = total_k,      and either  x >= lower  or  sum_i x_i^2 / v_i = energy.

The change is measured by |x - y|^2 = sum_i (x_i - y_i)^2 / v_i, v the variances: what is known well changes little.
With V = diag(v) (or a full covariance) and the linear integrals alone,

    x = y - V W^T (W V W^T)^-1 (W y - total),

twice, for what rounding leaves. With bounds the dual has as many unknowns as there are integrals,

    W max(lower, y + V W^T m) = total,

piecewise linear and monotone, solved by Newton steps in finitely many. The energy is that of the metric, so that the sphere
meets the plane of the integrals in a sphere around c = V W^T (W V W^T)^-1 total, and x lies on it in the direction of the
projection on the plane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.constraints.constraint import (
    CONVERGED,
    INFEASIBLE,
    MAX_STEPS,
    NOT_FINITE,
    Constraint,
    ProjectionInfo,
    check_numbers,
    constraint,
)
from jaxsci.constraints.members import joined, select


@constraint("event_ndim")
class Integral(Constraint):
    r"""Fields with given integrals: sum_i W_ki x_i = total_k, the plain ones, positive ones, or those of a given energy.

    Args:
      weights: ``[..., m, *event]``, of a quadrature, of moments; for one integral with a scalar `total` also ``[*event]``.
      total: ``[..., m]`` or a scalar.
      lower: the least value, a number or ``[..., *event]``: 0 for positive fields. Exact, by the nearest such field.
      energy: ``[...]``: sum_i x_i^2 / variance_i as well. Not together with `lower` or `covariance`.
      variance: ``[..., *event]``: of each entry, the inverse of its weight in the distance; by default 1. For the L2 distance of
        fields give 1 / (quadrature weights).
      covariance: ``[..., N, N]`` of the N numbers of a point, in the place of the variance. Not together with `lower`.
      event_ndim: axes of one point: 2 for fields in the plane.
    Points: ``[..., *event]``. The residual is W x - total, then the energy's excess, then what lies below the bound. Integrals
      that contradict each other, bounds above the total, and an energy that is less than the totals need give INFEASIBLE and
      the point that was found to violate the least.
    Derivatives: exact in all numbers, of any order. An entry that is just at its bound counts as bounded; where the projection
      on a sphere is not unique (its centre) the derivative in the direction is zero.
    Reference: Hansen, Maddix, Alizadeh, Gupta & Mahoney (2023), "Learning physical models that can respect conservation laws",
      ICML, eq. 10; Helgason, Kennington & Lall (1980), Math. Program. 18, 338, for the bounded case.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> mass = js.constraints.Integral(jnp.full(4, 0.25), 1.0, lower=0.0)
      >>> x, info = js.constraints.project(mass, jnp.array([-1.0, 0.5, 1.0, 1.5]))
      >>> print(jnp.array_str(x, precision=3, suppress_small=True))
      [0.    0.833 1.333 1.833]
    """

    weights: Any
    total: Any
    lower: Any = None
    energy: Any = None
    variance: Any = None
    covariance: Any = None
    event_ndim: int = 1  # ty: ignore[incompatible-attribute-override]

    def __post_init__(self):
        names = ("weights", "total", "lower", "energy", "variance", "covariance")
        given = {name: getattr(self, name) for name in names}
        check_numbers("Integral", **given)
        together = [n for n in ("lower", "energy", "covariance") if given[n] is not None]
        if len(together) > 1 or (self.variance is not None and self.covariance is not None):
            raise ValueError(
                "Integral: give one of lower, energy and covariance at most, and not both of variance and covariance; "
                f"got {', '.join(n for n in names[2:] if given[n] is not None)}."
            )
        if not all(hasattr(given[n], "shape") or isinstance(given[n], int | float | list | tuple) for n in names[:2]):
            return  # not numbers but what a tree was mapped to
        rows = jnp.ndim(jnp.asarray(self.total)) > 0
        if jnp.ndim(jnp.asarray(self.weights)) < self.event_ndim + rows:
            raise ValueError(
                f"Integral: weights of several integrals are [m, *event], those of one with a scalar total [*event]; got the "
                f"shape {jnp.shape(jnp.asarray(self.weights))} with event_ndim={self.event_ndim} and totals of the shape "
                f"{jnp.shape(jnp.asarray(self.total))}."
            )

    def residual(self, x: Any) -> Any:
        flat, rows, total = self._flat(x)
        parts = [_times(rows, flat) - total]
        if self.energy is not None:
            parts.append((_length(flat, self._variance(flat)) - jnp.asarray(self.energy, x.dtype))[..., None])
        if self.lower is not None:
            parts.append(jnp.maximum(self._lower(flat) - flat, 0))
        return joined(parts)

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        """Closed forms, or Newton on the dual where there are bounds."""
        if self.variance is not None and not is_traced(self.variance) and not (np.asarray(self.variance) > 0).all():
            raise ValueError(f"Integral: the variance must be positive, got {np.min(self.variance)} among it.")
        flat, rows, total = self._flat(y)
        event = y.shape[y.ndim - self.event_ndim :]
        if self.lower is not None:
            variance, lower = self._variance(flat), self._lower(flat)
            x, warm, steps, infeasible = _bounded(flat, rows, total, variance, lower, max_steps, warm)
            active = -(x <= lower).astype(jnp.int8).reshape(*x.shape[:-1], *event)
            otherwise = jnp.where(infeasible, INFEASIBLE, MAX_STEPS)
        else:
            x = self._on_plane(flat, rows, total)
            x = x if self.energy is None else self._on_sphere(x, rows, total)
            steps, active, warm, otherwise = jnp.zeros(x.shape[:-1], int), None, None, INFEASIBLE
        finite = jnp.isfinite(x).all(-1)
        point = jnp.where(finite[..., None], x, 0).reshape(*x.shape[:-1], *event)
        violation = jnp.where(finite, self.violation(point), jnp.inf)
        status = jnp.where(violation <= self._limit(flat, rows, total, tol), CONVERGED, otherwise)
        status = jnp.where(finite, status, NOT_FINITE)
        return point, ProjectionInfo(status == CONVERGED, status, violation, steps, active, warm)

    def posterior(self, mean: Any, noise: Any = 0.0) -> tuple[Any, Any]:
        r"""A normal distribution, given that the integrals are the totals up to noise: soft to hard as the noise goes to 0.

            mean - V W^T K^-1 (W mean - total),    V - V W^T K^-1 W V,    K = W V W^T + noise.

        Args:
          mean: ``[..., *event]``; its covariance is the constraint's covariance or variance.
          noise: the variance of what is known of the totals, a number or ``[..., m]``.
        Returns:
          (mean, covariance ``[..., N, N]``).
        """
        flat, rows, total = self._flat(jnp.asarray(mean))
        spread = self._spread(rows)
        gram = rows @ spread
        gram = gram + jnp.eye(gram.shape[-1], dtype=gram.dtype) * jnp.asarray(noise, gram.dtype)[..., None]
        gain = jnp.swapaxes(jnp.linalg.solve(gram, jnp.swapaxes(spread, -1, -2)), -1, -2)
        changed = flat - _times(gain, _times(rows, flat) - total)
        covariance = self.covariance
        if covariance is None:
            covariance = jnp.eye(flat.shape[-1], dtype=flat.dtype) * self._variance(flat)[..., None]
        shape = jnp.shape(mean)[jnp.ndim(mean) - self.event_ndim :]
        return changed.reshape(*changed.shape[:-1], *shape), covariance - gain @ jnp.swapaxes(spread, -1, -2)

    # --- parts -----------------------------------------------------------------------------------------------------------

    def _flat(self, x: Any) -> tuple[Any, Any, Any]:
        """The point ``[..., N]``, the weights ``[..., m, N]`` and the totals ``[..., m]``."""
        event = x.shape[x.ndim - self.event_ndim :]
        rows, total = jnp.asarray(self.weights, x.dtype), jnp.asarray(self.total, x.dtype)
        if rows.shape[rows.ndim - self.event_ndim :] != event:
            raise ValueError(
                f"Integral: the weights are for points of the shape {rows.shape[rows.ndim - self.event_ndim :]}, got {event}."
            )
        if total.ndim == 0 and rows.ndim == self.event_ndim:
            rows = rows[None]
        total = jnp.atleast_1d(total)
        flat = x.reshape(*x.shape[: x.ndim - self.event_ndim], -1)
        return flat, rows.reshape(*rows.shape[: rows.ndim - self.event_ndim], -1), total

    def _entries(self, values: Any, flat: Any) -> Any:
        """A number or ``[..., *event]`` as ``[..., N]``."""
        values = jnp.asarray(values, flat.dtype)
        if values.ndim < self.event_ndim:
            return jnp.broadcast_to(values, flat.shape[-1:])
        return values.reshape(*values.shape[: values.ndim - self.event_ndim], -1)

    def _variance(self, flat: Any) -> Any:
        return self._entries(1.0 if self.variance is None else self.variance, flat)

    def _lower(self, flat: Any) -> Any:
        return self._entries(self.lower, flat)

    def _spread(self, rows: Any) -> Any:
        """V W^T, ``[..., N, m]``."""
        columns = jnp.swapaxes(rows, -1, -2)
        if self.covariance is not None:
            return jnp.asarray(self.covariance, rows.dtype) @ columns
        return self._variance(rows[..., 0, :])[..., None] * columns

    def _on_plane(self, flat: Any, rows: Any, total: Any) -> Any:
        spread = self._spread(rows)
        gram = rows @ spread
        for _ in range(2):  # the second time for what rounding left
            flat = flat - _times(spread, _solve(gram, _times(rows, flat) - total))
        return flat

    def _on_sphere(self, x: Any, rows: Any, total: Any) -> Any:
        variance = self._variance(x)
        length = lambda z: _length(z, variance)[..., None]  # noqa: E731
        centre = self._on_plane(jnp.zeros_like(x), rows, total)
        away = x - centre
        # At the centre all directions are equally near: any fixed one, with no derivative.
        fixed = jnp.broadcast_to(jnp.cos(jnp.arange(x.shape[-1], dtype=x.dtype) ** 2), x.shape)
        other = jax.lax.stop_gradient(self._on_plane(fixed, rows, jnp.zeros_like(total)))
        unclear = length(away) <= (100 * jnp.finfo(x.dtype).eps) ** 2 * (length(x) + length(centre))
        away = jnp.where(unclear, other, away)
        away = self._on_plane(
            away / jnp.sqrt(length(away)), rows, jnp.zeros_like(total)
        )  # what rounding left of the difference
        radius = jnp.asarray(self.energy, x.dtype)[..., None] - length(centre)
        possible = radius > 0
        stretch = jnp.where(possible, jnp.sqrt(jnp.where(possible, radius / length(away), 1.0)), 0.0)
        x = centre + stretch * away
        # Rounding leaves the plane and the sphere by as much as the numbers are long: once more, to first order.
        x = self._on_plane(x, rows, total)
        along = x - centre
        excess = jnp.asarray(self.energy, x.dtype)[..., None] - length(x)
        step = jnp.where(possible, excess / (2 * jnp.where(possible, length(along), 1.0)), 0.0)
        return x + step * along

    def _limit(self, flat: Any, rows: Any, total: Any, tol: float | None) -> Any:
        """The violation that rounding explains."""
        if tol is not None:
            return jnp.asarray(tol, flat.dtype)
        size = jnp.max(_times(jnp.abs(rows), jnp.abs(flat)) + jnp.abs(total), axis=-1)
        if self.energy is not None:
            size = size + jnp.abs(jnp.asarray(self.energy, flat.dtype)) + _length(flat, self._variance(flat))
        return 1e3 * jnp.finfo(flat.dtype).eps * size


# --- bounds ---------------------------------------------------------------------------------------------------------------


def _bounded(
    y: Any, rows: Any, total: Any, variance: Any, lower: Any, max_steps: int | None, warm: Any
) -> tuple[Any, Any, Any, Any]:
    """The nearest x >= lower with W x = total; its multipliers, the steps, and whether there is proof that there is none."""
    scale = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(variance[..., None, :] * rows**2, -1)))
    scale = jnp.where(scale > 0, scale, 1.0)
    rows, total = rows / scale[..., None], total / scale
    batch = jnp.broadcast_shapes(y.shape[:-1], rows.shape[:-2], total.shape[:-1], variance.shape[:-1], lower.shape[:-1])
    total = jnp.broadcast_to(total, (*batch, total.shape[-1]))
    warm = jnp.zeros_like(total) if warm is None else jnp.broadcast_to(jnp.asarray(warm, y.dtype), total.shape)

    def primal(m):
        z = y + variance * _times(jnp.swapaxes(rows, -1, -2), m)
        return z, jnp.where(z > lower, z, lower)

    def gap(m):
        return _times(rows, primal(m)[1]) - total

    def tangent_solve(linear, b):  # the batch's blocks, column by column
        units = jnp.eye(b.shape[-1], dtype=b.dtype)
        return _solve(jnp.stack([linear(jnp.broadcast_to(unit, b.shape)) for unit in units], axis=-1), b)

    newton = lambda gap, m: _newton(gap, primal, m, rows, total, variance, lower, max_steps)  # noqa: E731
    multipliers, found = jax.lax.custom_root(gap, warm, newton, tangent_solve, has_aux=True)
    steps, infeasible = jax.lax.stop_gradient(found)
    return primal(multipliers)[1], jax.lax.stop_gradient(multipliers), steps.astype(int), infeasible > 0


def _newton(
    gap: Any, primal: Any, start: Any, rows: Any, total: Any, variance: Any, lower: Any, max_steps: int | None
) -> tuple[Any, tuple[Any, Any]]:
    """Minimises the dual  sum_i h_i / v_i - m . total,  h' = max(lower, z):  a convex function, quadratic in pieces.

    Levenberg-Marquardt steps, whose damping falls with every one that succeeds: where there is no minimum they grow without
    bound, and their direction proves it. Members that are done keep their multipliers.
    """
    eps, identity = jnp.finfo(start.dtype).eps, jnp.eye(start.shape[-1], dtype=start.dtype)
    columns = jnp.swapaxes(rows, -1, -2)

    def height(m):
        z, x = primal(m)
        return jnp.sum((x * z - x**2 / 2) / variance, -1) - jnp.sum(m * total, -1)

    def size(m):  # of what is added up in the gap
        z, x = primal(m)
        return jnp.max(_times(jnp.abs(rows), jnp.abs(x) + eps * jnp.abs(z)) + jnp.abs(total), -1)

    def step(m, f, damping):
        free = jnp.where(primal(m)[0] > lower, variance, 0.0)
        hessian = (rows * free[..., None, :]) @ columns  # its diagonal is at most 1
        return -jnp.linalg.solve(hessian + damping[..., None, None] * identity, f[..., None])[..., 0]

    def certificate(m):
        """n . total > n . W x for all x >= lower that are not a million times (float32: a few hundred) larger than this one."""
        n = m / jnp.maximum(jnp.linalg.norm(m, axis=-1, keepdims=True), jnp.finfo(m.dtype).tiny)
        slope, x = _times(columns, n), primal(m)[1]
        bounds = jnp.sum(slope * lower, -1)
        proof = jnp.sum(n * total, -1) - bounds
        rise = jnp.max(jnp.maximum(slope, 0), -1) * jnp.sum(jnp.abs(x) + jnp.abs(lower), -1)
        rounding = jnp.sum(jnp.abs(n * total), -1) + jnp.sum(jnp.abs(slope * lower), -1)
        return proof > 0.1 * eps**-0.5 * rise + 1e3 * eps * rounding

    def turn(state):
        m, f, damping, done, _, steps, best, least = state
        d = step(m, f, damping)
        trial, here = m + d, height(m)
        new = gap(trial)
        good = height(trial) <= here + 1e-4 * jnp.sum(d * f, -1) + 8 * eps * jnp.abs(here)
        good |= jnp.linalg.norm(new, axis=-1) <= 0.5 * jnp.linalg.norm(f, axis=-1)
        m_, f_ = jnp.where(good[..., None], trial, m), jnp.where(good[..., None], new, f)
        damping_ = jnp.clip(jnp.where(good, damping / 30, damping * 10), 30 * eps, 1e12)
        length = jnp.linalg.norm(f_, axis=-1)
        nearer = length < least
        best_ = jnp.where(nearer[..., None], m_, best)
        proof = certificate(m_)
        now_done = (jnp.max(jnp.abs(f_), -1) <= 2 * eps * size(m_)) | proof | (damping_ >= 1e12) | (steps + 1 >= limit)
        return select(done, state, (m_, f_, damping_, now_done, proof, steps + 1, best_, jnp.minimum(least, length)))

    limit = 200 if max_steps is None else max_steps
    f, none = gap(start), jnp.zeros(start.shape[:-1], bool)
    done = (jnp.max(jnp.abs(f), -1) <= 2 * eps * size(start)) | (limit <= 0)
    least = jnp.linalg.norm(f, axis=-1)
    state = (start, f, jnp.full(none.shape, 1e-3, start.dtype), done, none, none.astype(int), start, least)
    state = jax.lax.while_loop(lambda state: jnp.any(~state[3]), turn, state)
    return state[6], (state[5].astype(start.dtype), state[4].astype(start.dtype))  # real: custom_root has tangents for them


def _times(matrix: Any, vector: Any) -> Any:
    """Matrices ``[..., m, n]`` times vectors ``[..., n]``; long sums in pairs of pairs, for rounding as log n, not as n."""
    terms = matrix * vector[..., None, :]
    while (n := terms.shape[-1]) > 64:
        half = n // 2
        rest = terms[..., 2 * half :]
        terms = terms[..., :half] + terms[..., half : 2 * half]
        terms = jnp.concatenate([terms, rest], axis=-1) if n % 2 else terms
    return jnp.sum(terms, axis=-1)


def _length(z: Any, variance: Any) -> Any:
    """sum_i z_i^2 / v_i."""
    return _times((z / variance)[..., None, :], z)[..., 0]


def _solve(gram: Any, b: Any) -> Any:
    """The shortest solution with a symmetric matrix ``[..., m, m]``, singular where integrals depend on each other."""
    batch = jnp.broadcast_shapes(gram.shape[:-2], b.shape[:-1])
    b = jnp.broadcast_to(b, (*batch, b.shape[-1]))
    fixed = jax.lax.stop_gradient(gram)
    inverse = jnp.linalg.pinv(fixed, rtol=20 * b.shape[-1] * jnp.finfo(b.dtype).eps, hermitian=True)
    return jax.lax.custom_linear_solve(
        lambda x: _times(gram, x), b, lambda _, b: _times(inverse, b), transpose_solve=lambda _, b: _times(inverse, b)
    )


# --- functions ------------------------------------------------------------------------------------------------------------


def hold_integral(
    function: Callable[[Any], Any], total: Any, points: Any, weights: Any, bump: Callable[[Any], Any] | None = None
) -> Callable[[Any], Any]:
    r"""The function plus what its integral lacks:  f + (total - Q f) / (Q b) b,  Q a quadrature.

    Args:
      function: of ONE point, to a number or an array.
      total: the integral, of the shape of the values.
      points: of the quadrature, ``[k, *point]``, or a tree of such arrays where a point is a tree.
      weights: ``[k]``.
      bump: b, a function that may be added: zero where values of f must stay; by default 1.
    Returns:
      A function of ONE point; every value costs k evaluations, shared by all points under `jax.vmap`.
    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxsci as js
      >>> nodes, weights = np.polynomial.legendre.leggauss(20)
      >>> u = js.constraints.hold_integral(jnp.exp, 1.0, jnp.asarray(nodes), jnp.asarray(weights))
      >>> print(f"{weights @ u(jnp.asarray(nodes)):.4f}")
      1.0000
    """
    bump = (lambda _: 1.0) if bump is None else bump

    def integral(f):
        values = jax.vmap(lambda point: jnp.asarray(f(point)))(points)
        return jnp.tensordot(jnp.asarray(weights, values.dtype), values, axes=1)

    def held(point):
        # Scaled so that the bump's integral is 1; one more time than the function itself.
        missing = total - integral(function)
        return function(point) + missing / integral(bump) * bump(point)

    return held
