"""Shapes of a sequence: monotone and convex along the last axis.

Both are finite searches for the blocks (the pieces that are constant, or straight), made without derivatives; the point is
then a formula in `y` and the constraint's numbers on these blocks, and differentiated as such.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.constraints.constraint import (
    CONVERGED,
    MAX_STEPS,
    Constraint,
    ProjectionInfo,
    check_numbers,
    closed_form,
    constraint,
)
from jaxsci.constraints.sets import positive_part


@constraint("decreasing")
class Monotone(Constraint):
    r"""{x : x_{i+1} - x_i >= gap}, isotonic regression; with `decreasing`, {x : x_i - x_{i+1} >= gap}.

    Pool adjacent violators: neighbouring blocks in the wrong order are pooled, all in one step, until none are; a block then
    has the mean of its entries. The derivative takes means over the same blocks; where two blocks are level, they count as two.

    Args:
      gap: the least rise, ``[...]``.
      decreasing: falling instead of rising.
    Reference:
      Ayer, Brunk, Ewing, Reid and Silverman (1955), Ann. Math. Statist. 26; Best and Chakravarti (1990), Math. Programming 47.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, info = js.constraints.Monotone().project(jnp.array([1.0, 3.0, 2.0, 4.0]))
      >>> print(x, info.active)
      [1.  2.5 2.5 4. ] [ 0 -1  0]
    """

    gap: Any = 0.0
    decreasing: bool = False

    def __post_init__(self):
        check_numbers("Monotone", gap=self.gap)

    def _rising(self, x):
        return -x if self.decreasing else x

    def residual(self, x: Any) -> Any:
        """By how much each rise falls short;  [..., n - 1]."""
        return positive_part(jnp.asarray(self.gap, x.dtype)[..., None] - jnp.diff(self._rising(x), axis=-1))

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        line = jnp.asarray(self.gap, y.dtype)[..., None] * jnp.arange(y.shape[-1], dtype=y.dtype)
        level = self._rising(y) - line
        starts, steps = _pooled(jax.lax.stop_gradient(level))
        x = self._rising(_block_means(level, starts) + line)
        x, info = closed_form(self, x, active=-(~starts[..., 1:]).astype(int))
        return x, info._replace(steps=steps)


@constraint("concave")
class Convex(Constraint):
    r"""{x : the slopes (x_{i+1} - x_i) / (t_{i+1} - t_i) do not fall}, convex regression; with `concave`, they do not rise.

    A point is the least-squares fit of a piecewise straight function, its knots found by a primal active-set method that
    lowers the distance with every knot set. With hat functions on the knots a fit is a tridiagonal system, whose condition
    grows only as the number of points (that of the multipliers does as its fourth power).

    Args:
      positions: t, rising, ``[..., n]``; None for 0, 1, 2, ...
      concave: falling slopes instead.
    Raises:
      ValueError: for positions that do not rise.
    Reference:
      Lawson and Hanson (1974), "Solving least squares problems", chapter 23;
      Groeneboom, Jongbloed and Wellner (2008), "The support reduction algorithm", Scand. J. Statist. 35.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, _ = js.constraints.Convex().project(jnp.array([4.0, 1.0, 2.5, 1.0, 4.0]))
      >>> print(x.round(2))
      [4.  1.5 1.5 1.5 4. ]
    """

    positions: Any = None
    concave: bool = False

    def __post_init__(self):
        check_numbers("Convex", positions=self.positions)
        known = isinstance(self.positions, list | tuple | np.ndarray | jax.Array) and not is_traced(self.positions)
        if known and not (np.diff(np.asarray(self.positions), axis=-1) > 0).all():
            raise ValueError(f"Convex: positions must rise, got {self.positions}.")

    def _curved(self, x):
        return -x if self.concave else x

    def _positions(self, x):
        if self.positions is None:
            return jnp.arange(x.shape[-1], dtype=x.dtype)
        t = jnp.asarray(self.positions, x.dtype)
        if t.shape[-1:] != x.shape[-1:]:
            raise ValueError(f"Convex: positions have the shape {t.shape} but points have {x.shape[-1]} entries.")
        return t

    def residual(self, x: Any) -> Any:
        """By how much the slope falls at each inner position;  [..., n - 2]."""
        return positive_part(-_bends(self._curved(x), self._positions(x)))

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        t, level = self._positions(y), self._curved(y)
        if y.shape[-1] < 3:
            return closed_form(self, y, active=jnp.zeros((*y.shape[:-1], 0), int))
        level, t = jnp.broadcast_arrays(level, t)
        most = 20 * y.shape[-1] if max_steps is None else max_steps
        knots, steps, done = _knots(*jax.lax.stop_gradient((level, t)), most)
        x, info = closed_form(self, self._curved(_fit(level, t, knots)), active=-(~knots[..., 1:-1]).astype(int))
        status = jnp.where((info.status == CONVERGED) & ~done, MAX_STEPS, info.status)
        return x, info._replace(steps=steps, status=status, converged=status == CONVERGED)


def _pooled(y):
    """Where blocks start, and the rounds it took."""

    def pool(state):
        starts, steps, _ = state
        means = _block_means(y, starts)
        rises = jnp.concatenate([jnp.ones_like(starts[..., :1]), means[..., :-1] <= means[..., 1:]], axis=-1)
        changed = jnp.any(starts & ~rises, axis=-1)
        return starts & rises, steps + changed, changed

    starts = jnp.ones(y.shape, bool)
    none = jnp.zeros(y.shape[:-1], int)
    starts, steps, _ = jax.lax.while_loop(lambda state: state[2].any(), pool, (starts, none, none == 0))
    return starts, steps


def _block_means(y, starts):
    blocks = jnp.cumsum(starts, axis=-1) - 1
    sums = _sums(jnp.stack([y, jnp.ones_like(y)], axis=-1), blocks)
    return _at(sums[..., 0] / jnp.maximum(sums[..., 1], 1), blocks)


def _bends(x, t):
    return jnp.diff(jnp.diff(x, axis=-1) / jnp.diff(t, axis=-1), axis=-1)


def _fit(y, t, knots):
    """The least-squares fit of a piecewise straight function with these knots, the two ends among them."""
    n = y.shape[-1]
    count = jnp.sum(knots, axis=-1, keepdims=True)
    right = jnp.clip(jnp.cumsum(knots, axis=-1), 1, count - 1)  # the knot at or after each position, counted from 0
    left = right - 1
    place = jnp.where(knots, jnp.cumsum(knots, axis=-1) - 1, n - 1)
    at = _sums((t * knots)[..., None], place)[..., 0]  # the places of the knots, then nothing
    share = (t - _at(at, left)) / (_at(at, right) - _at(at, left))
    sides = ((left, 1 - share), (right, share))
    used = jnp.arange(n) < count
    diagonal = sum(_sums((w * w)[..., None], k)[..., 0] for k, w in sides) + ~used
    above = _sums((share * (1 - share))[..., None], left)[..., 0]  # between a knot and the next
    below = jnp.concatenate([jnp.zeros_like(above[..., :1]), above[..., :-1]], axis=-1)
    values = sum(_sums((w * y)[..., None], k)[..., 0] for k, w in sides)

    def gram(c):
        zero = jnp.zeros_like(c[..., :1])
        next_one, one_before = (jnp.concatenate(p, -1) for p in (([c[..., 1:], zero]), ([zero, c[..., :-1]])))
        return diagonal * c + above * next_one + below * one_before

    bands = jax.lax.stop_gradient((below, diagonal, above))

    def solve(_, b):
        return jax.lax.linalg.tridiagonal_solve(*bands, b[..., None])[..., 0]

    c = jax.lax.custom_linear_solve(gram, values, solve, symmetric=True)
    return (1 - share) * _at(c, left) + share * _at(c, right)


def _knots(y, t, max_steps):
    """The knots of the nearest convex sequence, the fits it took, and whether the search is at its end.

    Between two feasible fits x and z a step goes from x towards z until a slope would fall, and that knot is taken away; after
    a feasible fit the knots with the most negative multipliers are set, one between each two neighbours. If those stand in
    each other's way (the distance to y has not shrunk), only the worst of all is: then it does.
    """
    n, eps = y.shape[-1], jnp.finfo(y.dtype).eps
    ends = (jnp.arange(n) == 0) | (jnp.arange(n) == n - 1)
    scale = jnp.max(jnp.abs(y), axis=-1, keepdims=True)
    spacing = jnp.diff(t, axis=-1)
    bend_floor = -16 * eps * scale / jnp.min(spacing, axis=-1, keepdims=True)
    multiplier_floor = -eps * scale * n * jnp.sum(spacing, axis=-1, keepdims=True)

    def step(state):
        knots, x_bends, best, single, shrinking, steps, done = state
        z = _fit(y, t, knots)
        bends = jnp.where(knots[..., 1:-1], _bends(z, t), 0)
        falls = bends < bend_floor
        feasible = ~falls.any(axis=-1, keepdims=True)

        # Towards the fit, as far as no slope falls; at first, before there is a feasible point, without all that fall.
        reach = jnp.where(falls, x_bends / jnp.where(falls, x_bends - bends, 1), jnp.inf)
        part = jnp.where(feasible, 1, jnp.min(reach, axis=-1, keepdims=True, initial=1.0))
        blocked = falls & ((reach <= part) | shrinking)

        multipliers = jnp.cumsum(spacing * jnp.cumsum(z - y, axis=-1)[..., :-1], axis=-1)[..., :-1]
        negative = jnp.where(knots[..., 1:-1], 0, jnp.where(multipliers < multiplier_floor, multipliers, 0))
        worst = jnp.min(negative, axis=-1, keepdims=True, initial=0.0)
        distance = jnp.sum((z - y) ** 2, axis=-1, keepdims=True)
        shrunk = distance < best
        added = (negative < 0) & (negative <= jnp.where(shrunk, _least_between(negative, knots), worst))
        ended = feasible & ((worst == 0) | (~shrunk & single))

        change = jnp.where(feasible, added & ~ended, blocked)
        new = (
            knots ^ (_framed(change) & ~ends),
            jnp.maximum(x_bends + part * (bends - x_bends), 0) * ~blocked,
            jnp.where(feasible & shrunk, distance, best),
            jnp.where(feasible, ~shrunk, single),
            shrinking & ~feasible,
            steps + 1,
            ended,
        )
        return tuple(jnp.where(done, old, now) for old, now in zip(state, new, strict=True))

    alone = jnp.zeros((*y.shape[:-1], 1), bool)
    bends = jnp.zeros((*y.shape[:-1], n - 2), y.dtype)
    state = (jnp.ones(y.shape, bool), bends, jnp.inf + 0 * scale, alone, ~alone, jnp.zeros(alone.shape, int), alone)

    def going(state):
        return (~state[6] & (state[5] < max_steps)).any()

    knots, _, _, _, _, steps, done = jax.lax.while_loop(going, step, state)
    return knots, steps[..., 0], done[..., 0]


def _least_between(values, knots):
    """At each inner place the least of the values from the knot before to the knot after."""
    blocks = jnp.cumsum(knots, axis=-1)[..., 1:-1]
    n = knots.shape[-1]
    rows = blocks.reshape(-1, n - 2)
    rows = rows + n * jnp.arange(rows.shape[0])[:, None]
    least = jnp.zeros(n * rows.shape[0], values.dtype).at[rows.ravel()].min(values.ravel())
    return least[rows].reshape(values.shape)


def _framed(inner):
    return jnp.pad(inner, [(0, 0)] * (inner.ndim - 1) + [(1, 1)])


def _sums(values, blocks):
    """Of `values` [..., n, k] over the entries of each block; as many blocks as entries."""
    n, k = values.shape[-2:]
    rows = blocks.reshape(-1, n)
    rows = rows + n * jnp.arange(rows.shape[0])[:, None]
    sums = jnp.zeros((rows.size, k), values.dtype).at[rows.ravel()].add(values.reshape(-1, k))
    return sums.reshape(values.shape)


def _at(values, index):
    return jnp.take_along_axis(values, index, axis=-1)
