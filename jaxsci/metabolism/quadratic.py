r"""The nearest flux, robustly: Newton's method on the dual with exact line searches, for a batch.

    min_x |x - y|^2 / 2,   Q x = 0,   lower <= x <= upper,       Q with orthonormal rows;     x = clip(y + Q^T mu, lower, upper)

The dual D is concave and piecewise quadratic, and flat where more bounds meet than there are dimensions, as in every metabolic
network: reactions that cannot run. Newton steps on it, damped or not, then free a few bounds each and go around. So it is
climbed by proximal points (Rockafellar 1976): each is the one maximum of  D(mu) - s |mu - c|^2 / 2, which Newton steps with exact
line searches reach after finitely many (Li & Swetits 1997; Qi & Sun 2006), and is the next centre c. As s falls few are needed.

A reference far outside, y = c / e of a small regularisation, has multipliers as large: the way there is walked by y / T from a
T at which it is near, each time from T / 10 of the last multipliers, which are those of a linear programme by then.
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

_FIRST, _LAST = 1e-3, 1e-12  # the weight s of the distance from the centre
_SMALL = 1e-6  # below it s falls only where the last centre did not help
_PATIENCE = 25  # Newton steps for one centre, after which s rises again
_NEAR = 100.0  # y / T is so far outside at most, in units of the largest bound, where the walk begins
_SEARCH = 40  # trials along a step at most
_SMALL_PROBLEM = 200  # rows


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


class _State(NamedTuple):
    """Of the search; the leading axis is the batch."""

    mu: Any
    center: Any
    weight: Any  # s
    last: Any  # |gradient| at the centre before
    inner: Any  # steps since
    nearer: Any  # T
    going: Any
    proven: Any  # infeasible
    steps: Any


def dual_newton(rows: Any, y: Any, lower: Any, upper: Any, max_steps: int = 1500) -> Dual:
    """The multipliers of the nearest points.

    Small problems go in step, large ones one after the other: there a step is work enough, and none waits for the slowest.

    Args:
      rows: Q, ``[rows, n]``, orthonormal.
      y, lower, upper: ``[B, n]``; bounds may be infinite.
    """
    if len(rows) <= _SMALL_PROBLEM:
        return _search(rows, y, lower, upper, max_steps)
    alone = lambda member: jax.tree.map(lambda x: x[0], _search(rows, *(x[None] for x in member), max_steps))  # noqa: E731
    return jax.lax.map(alone, (y, lower, upper))


def _search(rows: Any, y: Any, lower: Any, upper: Any, max_steps: int) -> Dual:
    dtype = y.dtype
    eps = jnp.finfo(dtype).eps
    least = max(_LAST, 10 * float(eps))
    size_of = lambda x: jnp.max(jnp.abs(x), axis=1, initial=0)  # noqa: E731
    eye = jnp.eye(rows.shape[0], dtype=dtype)
    bounds = jnp.maximum(*(size_of(jnp.where(jnp.isfinite(b), b, 0)) for b in (lower, upper)))
    furthest = jnp.maximum(1, size_of(y) / jnp.where(bounds > 0, _NEAR * bounds, jnp.inf))

    def at(mu, nearer):
        """z, the gradient of D, and what its rounding errors are."""
        z = y / nearer[:, None] + mu @ rows
        gradient = -jnp.clip(z, lower, upper) @ rows.T
        return z, gradient, eps * (1 + size_of(y) / nearer + size_of(mu))

    def body(carry):
        count, s = carry
        z, g, rounding = at(s.mu, s.nearer)
        size = size_of(g)
        residual = g - s.weight[:, None] * (s.mu - s.center)
        # At the proximal point: it is the next centre.
        there = (s.inner > 0) & (size_of(residual) <= jnp.maximum(0.1 * size, 2 * rounding))
        eager = there & ((size > 0.1 * s.last) | (s.weight > _SMALL))
        late = ~there & (s.inner >= _PATIENCE)
        weight = jnp.where(eager, jnp.maximum(0.1 * s.weight, least), jnp.where(late, 10 * s.weight, s.weight))
        center = jnp.where(there[:, None], s.mu, s.center)
        last, inner = jnp.where(there, size, s.last), jnp.where(there | late, 0, s.inner)
        residual = g - weight[:, None] * (s.mu - center)

        free = ((z > lower) & (z < upper)).astype(dtype)
        matrix = (rows * free[:, None, :]) @ rows.T + weight[:, None, None] * eye
        step = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), residual[..., None])[..., 0]
        step = jnp.where(jnp.isfinite(step).all(1, keepdims=True), step, residual)
        slope = step @ rows
        pull = (weight * jnp.sum((s.mu - center) * step, axis=1), weight * jnp.sum(step**2, axis=1))
        length = _line_search(z, slope, lower, upper, jnp.sum(step * residual, axis=1), pull, s.going)
        mu = s.mu + jnp.where(s.going, length, 0)[:, None] * step

        z, g, rounding = at(mu, s.nearer)
        # Where the set is empty, all tend to a proof: the step first, as the dual then rises for ever along it.
        rays = (step, mu, mu - center, g)
        proven = s.proven | s.going & functools.reduce(jnp.logical_or, (_proves(rows, r, lower, upper) for r in rays))
        done = size_of(g) <= jnp.where(s.nearer > 1, jnp.sqrt(eps) * (1 + bounds), 8 * rounding)
        # The next stage of the walk: the multipliers grow as y does.
        nearer = jnp.where(done, jnp.maximum(s.nearer / 10, 1), s.nearer)
        mu = mu * (s.nearer / nearer)[:, None]
        staged = done & (s.nearer > 1)
        center, inner = jnp.where(staged[:, None], mu, center), jnp.where(staged, 0, inner + 1)
        weight, last = jnp.where(staged, _FIRST, weight), jnp.where(staged, jnp.inf, last)
        after = _State(mu, center, weight, last, inner, nearer, s.going & ~proven & ~(done & ~staged), proven, s.steps + 1)
        keep = lambda new, old: jnp.where(s.going.reshape(-1, *[1] * (new.ndim - 1)), new, old)  # noqa: E731
        return count + 1, jax.tree.map(keep, after, s)

    batch = y.shape[0]
    mu = jnp.zeros((batch, rows.shape[0]), dtype)
    crossed = (lower > upper).any(axis=1)
    _, g, rounding = at(mu, furthest)
    going = ~crossed & ((size_of(g) > 8 * rounding) | (furthest > 1))
    full = lambda value: jnp.full(batch, value, dtype)  # noqa: E731
    zero = jnp.zeros(batch, int)
    start = _State(mu, mu, full(_FIRST), full(jnp.inf), zero, furthest.astype(dtype), going, crossed, zero)
    _, end = jax.lax.while_loop(lambda c: (c[0] < max_steps) & c[1].going.any(), body, (jnp.asarray(0), start))
    return Dual(end.mu, ~end.going & ~end.proven, end.proven, end.steps)


def _line_search(z: Any, slope: Any, lower: Any, upper: Any, gain: Any, pull: Any, going: Any) -> Any:
    """Where the derivative along a step, piecewise linear and falling, has come down to a tenth: Newton in a bracket.

    `pull` is what the centre takes from it: a number, and one more for every unit of the length.
    """
    held, more = pull

    def derivative(t):
        w = z + t[:, None] * slope
        inside = (w > lower) & (w < upper)
        value = -jnp.sum(jnp.clip(w, lower, upper) * slope, axis=1) - held - t * more
        return value, jnp.sum(jnp.where(inside, slope**2, 0), axis=1) + more

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
