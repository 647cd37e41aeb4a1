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
from jaxsci.metabolism.simplex import INFEASIBLE, MAX_STEPS, OPTIMAL

_DAMPING = 1e-4
_PATIENCE = 25  # steps with that damping
_SEARCH = 40  # trials along a step at most


class Nearest(NamedTuple):
    """What `nearest_fluxes` returns; leading axes are the batch."""

    fluxes: Any
    shadow_prices: Any  # y of  w - v = S'y + what the bounds push; of no derivative
    status: Any  # OPTIMAL, INFEASIBLE or MAX_STEPS
    steps: Any


@functools.partial(jax.jit, static_argnums=0)
def nearest_fluxes(presolved: Presolved, reference: Any, lower: Any, upper: Any) -> Nearest:
    """The steady state nearest to the reference w: min |v - w|^2 / 2 with S v = 0, lower <= v <= upper; all [..., reactions].

    Of no meaning where `status` is not OPTIMAL. The derivative of the fluxes is that of `nearest_flux`.
    """
    dtype, batch, count = reference.dtype, reference.shape[:-1], reference.shape[-1]
    w, lower, upper = (x.reshape(-1, count) for x in (reference, lower, upper))
    low, high, possible = presolved.reduce_bounds(lower, upper)
    numbers, rows, inverse = euclidean(presolved)
    scales, rows = jnp.asarray(numbers, dtype), jnp.asarray(rows, dtype)
    y, low, high = presolved.reduce_objective(w) / scales, low * scales, high * scales
    found = dual_newton(rows, *jax.lax.stop_gradient((y, low, high)))
    x = nearest_flux(rows, y, low, high, found.multipliers)
    v = presolved.expand(x / scales)
    # A reference far outside, as of a tiny regularisation, drowns the fluxes in its rounding errors.
    most = lambda array: jnp.max(jnp.abs(array), axis=-1, initial=0)  # noqa: E731
    balanced = most(x @ rows.T) <= jnp.finfo(dtype).eps ** 0.5 * (1 + most(x))
    status = jnp.where(found.infeasible | ~possible, INFEASIBLE, jnp.where(found.converged & balanced, OPTIMAL, MAX_STEPS))
    # x - y - Q'mu is what the bounds push; as prices and reduced costs of the reduced rows, then of all metabolites.
    prices = -found.multipliers @ jnp.asarray(inverse, dtype)
    costs = (y + found.multipliers @ rows - x) * scales
    prices, _ = presolved.expand_duals(*jax.lax.stop_gradient((prices, costs, lower, upper, w - v)))
    shape = lambda a: a.reshape(*batch, *a.shape[1:])  # noqa: E731
    return Nearest(*map(shape, (v, prices, status, found.steps)))


@functools.lru_cache(maxsize=64)
def euclidean(presolved: Presolved) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scales s of the variables, orthonormal rows Q of A / s, and P with Q = P A / s.

    With x = s z distances are those of the fluxes.
    """
    kept = presolved.group >= 0
    squares = np.bincount(presolved.group[kept], presolved.ratio[kept] ** 2, minlength=presolved.matrix.shape[1])
    scales = np.sqrt(squares)
    rows = np.ascontiguousarray(scipy.linalg.qr((presolved.A / scales).T, mode="economic")[0].T)
    return scales, rows, rows @ np.linalg.pinv(presolved.A / scales)


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
        # Who takes long has a dual without a maximum, as a rule: less damping gets far along its ray sooner, to the proof.
        ease = 0.5 ** jnp.maximum(count - _PATIENCE, 0).astype(dtype)
        damping = jnp.maximum(_DAMPING * ease * jnp.sqrt(jnp.minimum(1, size / scale)), 100 * eps)
        matrix = (rows * free[:, None, :]) @ rows.T + damping[:, None, None] * eye
        factor = jnp.linalg.cholesky(matrix)
        step = jax.scipy.linalg.cho_solve((factor, True), g[..., None])[..., 0]
        step = jnp.where(jnp.isfinite(step).all(1, keepdims=True), step, g)
        slope = step @ rows
        length = _line_search(z, slope, lower, upper, jnp.sum(step * g, axis=1), going)
        mu = mu + jnp.where(going, length, 0)[:, None] * step
        z, g = excess(mu)
        # Where the set is empty, all three tend to a proof: the step first, as the dual then rises for ever along it.
        proven |= going & functools.reduce(jnp.logical_or, (_proves(rows, r, lower, upper) for r in (step, mu, g)))
        return count + 1, mu, z, g, going & ~proven & _is_short(mu, z, g), proven, steps + going

    def _is_short(mu, z, g):
        reach = 8 * eps * (scale + jnp.max(jnp.abs(mu), axis=1, initial=0))
        return jnp.max(jnp.abs(g), axis=1, initial=0) > reach

    mu = jnp.zeros((y.shape[0], rows.shape[0]), dtype)
    z, g = excess(mu)
    crossed = (lower > upper).any(axis=1)
    start = (jnp.asarray(0), mu, z, g, ~crossed & _is_short(mu, z, g), crossed, jnp.zeros(y.shape[0], int))
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
