r"""The nearest flux, robustly: Newton's method on the dual with exact line searches, for a batch.

    min_x |x - y|^2 / 2,   Q x = 0,   lower <= x <= upper,       Q with orthonormal rows;     x = clip(y + Q^T mu, lower, upper)

The dual is concave and piecewise quadratic: Newton steps that are a little damped, each as long as the dual allows, end after
finitely many (Li & Swetits 1997; Qi & Sun 2006). Metabolic networks need this: their polytopes are long (1,000 to 1) and have
corners where far more bounds meet than there are dimensions, so that shorter or undamped steps go around in circles.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from jaxsci.metabolism.presolve import Presolved

_DAMPING = 1e-4
_SEARCH = 40  # trials along a step at most


@functools.lru_cache(maxsize=64)
def euclidean(presolved: Presolved) -> tuple[np.ndarray, np.ndarray]:
    """The scales s of the variables, and orthonormal rows Q of A / s: with x = s z distances are those of the fluxes."""
    kept = presolved.group >= 0
    squares = np.bincount(presolved.group[kept], presolved.ratio[kept] ** 2, minlength=presolved.matrix.shape[1])
    scales = np.sqrt(squares)
    return scales, np.ascontiguousarray(scipy.linalg.qr((presolved.A / scales).T, mode="economic")[0].T)


@jax.custom_jvp
def nearest_flux(rows: Any, y: Any, lower: Any, upper: Any, multipliers: Any) -> Any:
    r"""The point of the multipliers, with the derivative of the nearest point by the implicit function theorem.

    With D the diagonal of what is strictly between its bounds, and dw what the held ones are moved by,

        (Q D Q^T) dmu = -Q (D dy + dw),      dx = D (dy + Q^T dmu) + dw,

    by the least-norm solution where corners make it singular. A flux that touches its bound without a force counts as held.
    """
    return jnp.clip(y + multipliers @ rows, lower, upper)


@nearest_flux.defjvp
def _tangent(primals, tangents):
    rows, y, lower, upper, multipliers = primals
    _, dy, dlower, dupper, _ = tangents
    z = y + multipliers @ rows
    free = (z > lower) & (z < upper)
    move = jnp.where(z <= lower, dlower, jnp.where(z >= upper, dupper, dy))
    matrix = (rows * free[:, None, :].astype(y.dtype)) @ rows.T
    inverse = jnp.linalg.pinv(matrix, rtol=100 * jnp.finfo(y.dtype).eps * rows.shape[0], hermitian=True)
    dmu = -jnp.einsum("bij,bj->bi", inverse, move @ rows.T)
    return nearest_flux(*primals), move + jnp.where(free, dmu @ rows, 0)


class Dual(NamedTuple):
    """What the search found for a batch, which is the leading axis."""

    multipliers: Any  # mu, [B, rows]
    converged: Any
    infeasible: Any  # mu is then a proof of it
    steps: Any


def dual_newton(rows: Any, y: Any, lower: Any, upper: Any, max_steps: int = 100) -> Dual:
    """The multipliers of the nearest points.

    Args:
      rows: Q, ``[rows, n]``, orthonormal.
      y, lower, upper: ``[B, n]``; bounds may be infinite.
    """
    dtype = y.dtype
    eps = jnp.finfo(dtype).eps
    scale = 1 + jnp.max(jnp.abs(y), axis=1, initial=0)
    eye = jnp.eye(rows.shape[0], dtype=dtype)

    def excess(mu):
        z = y + mu @ rows
        return z, -jnp.clip(z, lower, upper) @ rows.T

    def body(carry):
        count, mu, z, g, going, proven, steps = carry
        size = jnp.max(jnp.abs(g), axis=1, initial=0)
        free = ((z > lower) & (z < upper)).astype(dtype)
        damping = jnp.maximum(_DAMPING * jnp.sqrt(jnp.minimum(1, size / scale)), 100 * eps)
        matrix = (rows * free[:, None, :]) @ rows.T + damping[:, None, None] * eye
        factor = jnp.linalg.cholesky(matrix)
        step = jax.scipy.linalg.cho_solve((factor, True), g[..., None])[..., 0]
        step = jnp.where(jnp.isfinite(step).all(1, keepdims=True), step, g)
        slope = step @ rows
        length = _line_search(z, slope, lower, upper, jnp.sum(step * g, axis=1), going)
        mu = mu + jnp.where(going, length, 0)[:, None] * step
        z, g = excess(mu)
        proven |= going & (_proves(rows, mu, lower, upper) | _proves(rows, g, lower, upper))
        return count + 1, mu, z, g, going & ~proven & _is_short(mu, z, g), proven, steps + going

    def _is_short(mu, z, g):
        reach = 8 * eps * (scale + jnp.max(jnp.abs(mu), axis=1, initial=0))
        return jnp.max(jnp.abs(g), axis=1, initial=0) > reach

    mu = jnp.zeros((y.shape[0], rows.shape[0]), dtype)
    z, g = excess(mu)
    crossed = (lower > upper).any(axis=1)
    start = (0, mu, z, g, ~crossed & _is_short(mu, z, g), crossed, jnp.zeros(y.shape[0], int))
    _, mu, z, g, going, proven, steps = jax.lax.while_loop(lambda c: (c[0] < max_steps) & c[4].any(), body, start)
    return Dual(mu, ~going & ~proven, proven, steps)


def _line_search(z: Any, slope: Any, lower: Any, upper: Any, gain: Any, going: Any) -> Any:
    """Where the dual's derivative along a step, piecewise linear and falling, has come down to a tenth: Newton in a bracket."""

    def derivative(t):
        w = z + t[:, None] * slope
        inside = (w > lower) & (w < upper)
        value = -jnp.sum(jnp.clip(w, lower, upper) * slope, axis=1)
        return value, jnp.sum(jnp.where(inside, slope**2, 0), axis=1)

    def body(carry):
        count, t, low, high, going = carry
        value, bend = derivative(t)
        low, high = jnp.where(value > 0, jnp.maximum(t, low), low), jnp.where(value > 0, high, jnp.minimum(t, high))
        near = jnp.abs(value) <= 0.1 * gain
        new = t + value / jnp.where(bend > 0, bend, 1)
        middle = jnp.where(jnp.isinf(high), 4 * t, 0.5 * (low + high))
        new = jnp.where((bend > 0) & (new > low) & (new < high), new, middle)
        going &= ~near
        return count + 1, jnp.where(going, new, t), low, high, going

    one = jnp.ones_like(gain)
    carry = (0, one, 0 * one, jnp.inf * one, going)
    return jax.lax.while_loop(lambda c: (c[0] < _SEARCH) & c[4].any(), body, carry)[1]


def _proves(rows: Any, r: Any, lower: Any, upper: Any) -> Any:
    """Whether r proves that the set is empty: r Q x < 0 for every x between the bounds (Farkas)."""
    slope = r @ rows
    small = 1e3 * jnp.finfo(r.dtype).eps * jnp.linalg.norm(r, axis=1, keepdims=True)
    end = jnp.where(slope > 0, upper, lower)
    # A slope that is rounding alone says nothing where a bound is missing; where there is one it is counted for what it may be.
    known = jnp.isfinite(end)
    most = jnp.where(known, slope * jnp.where(known, end, 0), jnp.where(jnp.abs(slope) <= small, 0, jnp.inf))
    doubt = jnp.where(known, small * jnp.maximum(jnp.abs(jnp.where(known, end, 0)), 1), small)
    return most.sum(axis=1) < -doubt.sum(axis=1)
