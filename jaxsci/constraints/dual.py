r"""The solver beneath `Polytope`: the nearest point of {Q x = c, l <= x <= u} by its dual, for a whole batch at once.

With multipliers mu of the rows, x(mu) = clip(y + Q^T mu, l, u) and the dual

    d(mu) = |x(mu) - y|^2 / 2 + mu . F(mu),      F(mu) = c - Q x(mu) = grad d,

is concave, smooth and piecewise quadratic; -(Q D Q^T), D = diag(l < y + Q^T mu < u), is an element of its generalised Hessian.
Where the rows of Q are orthonormal both have at most unit norm, which makes all step lengths known:

1. ascent mu <- mu + F with Nesterov's momentum and restarts, until most of the batch is near its solution;
2. semismooth Newton steps (Q D Q^T + tau I) d = F by conjugate gradients, and a line search; tau is the larger of min(|F|,
   10^-3)^2 and a damping that grows while steps are cut short. Nothing preconditions them: Q D Q^T is the identity less what
   the bounds hold;
3. the same for those that are left, an eighth of the batch at a time, so that hard members do not hold up the others.

The first two work in float32, whatever the precision of the data: it is F, in full, that says whether a step was good. Each
member has its own step lengths, restarts and inner products, and is left alone once it has converged. Members are along the
last axis: inner products are then sums of rows, which processors do several members at a time (1.7 times faster in float32).

No point satisfies the constraint where some r has  r . c > max of r . Q x over the box  (Farkas). F, mu and the step are tried at
every Newton step, because on such data F tends to the least violation, which is such a vector, and mu grows along it. What is
returned then minimises |c - Q x|^2 + delta |x - y|^2 over the box, delta = 1e-7.

Reference: Nesterov (1983), Soviet Math. Dokl. 27, 372; O'Donoghue & Candes (2015), Found. Comput. Math. 15, 715, section 3.2
(restarts); Qi & Sun (2006), SIAM J. Matrix Anal. Appl. 28, 360 (Newton's method for duals of projections); Li, Sun & Toh
(2020), Math. Program. 179, 419 (polytopes); Chiche & Gilbert (2016), J. Convex Anal. 23, 425 (infeasible data).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS

_NEAR = 3e-5  # of the size of the data: from here Newton's method has little left to do
_MOSTLY = 0.1  # of the batch may be farther away when it starts
_ASCENT = 100  # steps of the first stage at most
_HALVINGS = 25  # of a step by the line search at most
_TRIALS = 40  # of its length before that at most
_WHOLE = 4  # Newton steps of the whole batch at most
_SHARE = 8  # parts of the batch that the last stage works on
_SMALLEST = 32  # batches below this many are not divided
_PATIENCE = 20  # Newton steps before less damping is tried
_PATIENT = 1e-4  # the damping from there, which is then halved at each step
_FORCING = 0.01  # how well a Newton step is solved at least
_ROUGH = 1e-6  # accuracy of a solution in float32 that is refined
_REFINEMENTS = 6  # of such solutions at most
_DELTA = 1e-7  # of the regularisation of infeasible data


class Rows(NamedTuple):
    """Q x = c with bounds, for a batch of B. Arrays that all members share have a last axis of 1, and Q none."""

    matrix: Any  # [rows, n], [B, rows, n] or BCOO [rows, n]
    right: Any  # [rows, B or 1]
    lower: Any  # [n, B or 1]
    upper: Any  # [n, B or 1]
    norm: Any  # of the matrix, at least: 1 where its rows are orthonormal;  [] or [B]


class Found(NamedTuple):
    """What the solver found, one entry per member."""

    multipliers: Any  # [rows, B]
    status: Any  # [B]
    steps: Any  # [B]


class _Point(NamedTuple):
    """The dual at some multipliers."""

    multipliers: Any
    excess: Any  # F, [rows, B]
    free: Any  # D, [n, B]
    value: Any  # d, [B]


class _State(NamedTuple):
    """Of Newton's method, one entry per member."""

    point: _Point
    delta: Any  # of the regularisation: 0, until a member is known to be infeasible
    damping: Any  # Levenberg's, beside that by the size of F
    going: Any
    steps: Any


def times(matrix: Any, x: Any) -> Any:
    """Q x for each member:  [n, B] -> [rows, B]."""
    return matrix @ x if matrix.ndim == 2 else jnp.einsum("bmn,nb->mb", matrix, x)


def transposed(matrix: Any, multipliers: Any) -> Any:
    """Q^T mu for each member:  [rows, B] -> [n, B]."""
    return matrix.T @ multipliers if matrix.ndim == 2 else jnp.einsum("bmn,mb->nb", matrix, multipliers)


def clip(z: Any, lower: Any, upper: Any) -> Any:
    """min(max(z, lower), upper); its derivative belongs to `z` strictly between the bounds and to a bound otherwise."""
    return jnp.where(z <= lower, lower, jnp.where(z >= upper, upper, z))


def conjugate_gradients(product: Any, right: Any, tol: Any, steps: int) -> Any:
    """Solve `product(d) = right` for each member of a batch by itself, product symmetric and at least semi-definite.

    A member stops at |residual| <= tol |right|, or where a direction has no curvature (the system is singular there, and its
    part in the range has been solved).
    """

    def body(carry):
        count, d, residual, direction, square, direction_square, going = carry
        applied = product(direction)
        curvature = _dot(direction, applied)
        going &= curvature > singular * direction_square
        length = jnp.where(going, square / jnp.where(going, curvature, 1), 0)
        d, residual = d + length * direction, residual - length * applied
        new = _dot(residual, residual)
        turn = jnp.where(going, new / jnp.where(square > 0, square, 1), 0)
        direction = residual + turn * direction
        return count + 1, d, residual, direction, new, new + turn**2 * direction_square, going & (new > goal)

    singular = jnp.finfo(right.dtype).eps ** 0.75  # for operators of unit norm
    square = _dot(right, right)
    goal = tol**2 * square
    start = (0, jnp.zeros_like(right), right, right, square, square, square > goal)
    return jax.lax.while_loop(lambda c: (c[0] < steps) & c[-1].any(), body, start)[1]


def refined(product: Callable[[Any, Any], Any], matrices: Any, right: Any, tol: Any) -> Any:
    """Solve ``product(matrices, w) = right`` by conjugate gradients: in float32 as long as that helps, what it leaves in full.

    Args:
      product: linear in `w` [rows, B], symmetric and at least semi-definite, in the precision of the `matrices` that it is given.
    """
    steps, w, left = 2 * len(right) + 10, jnp.zeros_like(right), right
    goal = tol * jnp.sqrt(_dot(right, right))
    if right.dtype == jnp.float64:
        narrow = low(matrices)

        def body(carry):
            count, w, left, size, going = carry
            unit = (left / jnp.where(size > 0, size, 1)).astype(jnp.float32)
            aim = jnp.where(going, jnp.maximum(0.5 * goal / jnp.where(size > 0, size, 1), _ROUGH), 1).astype(jnp.float32)
            new = w + size * conjugate_gradients(lambda p: product(narrow, p), unit, aim, steps)
            after = right - product(matrices, new)
            length = jnp.sqrt(_dot(after, after))
            better = going & (length < 0.1 * size)
            w, left, size = (jnp.where(better, a, b) for a, b in ((new, w), (after, left), (length, size)))
            return count + 1, w, left, size, better & (size > goal)

        size = jnp.sqrt(_dot(right, right))
        carry = (0, w, left, size, size > goal)
        _, w, left, *_ = jax.lax.while_loop(lambda c: (c[0] < _REFINEMENTS) & c[-1].any(), body, carry)
    size = jnp.sqrt(_dot(left, left))
    return w + conjugate_gradients(lambda p: product(matrices, p), left, goal / jnp.where(size > 0, size, 1), steps)


def low(tree: Any) -> Any:
    """Floating-point arrays in float32."""
    cast = lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf  # noqa: E731
    return jax.tree.map(cast, tree)


def solve(rows: Rows, y: Any, tol: Any, warm: Any, max_steps: int, climb: Any = True) -> Found:
    """The multipliers of the nearest points to `y` [n, B]; `tol` [B] bounds the largest entry of F, and without `climb` the
    first stage is left out: `warm` is near."""
    batch = y.shape[-1]
    none = jnp.zeros(batch, y.dtype)
    scale = largest(rows.right) + largest(y)
    near = jnp.maximum(tol, _NEAR * scale)  # which float32 can tell
    far = jnp.full(batch, climb)
    multipliers, count = _ascent(low(rows), low(y), low(warm), low(near), far)
    point = _evaluate(rows, y, jnp.where(far, multipliers.astype(y.dtype), warm), none)
    state = _State(point, none, none, _size(point) > tol, jnp.where(far, count, 0))
    share = max(batch // _SHARE, _SMALLEST)
    if share < batch:
        state = _newton(rows, y, tol, state, min(_WHOLE, max_steps), single=True, leave=share)
        state = _divided(rows, y, tol, state, share, max_steps)
    else:
        state = _newton(rows, y, tol, state, max_steps)
    status = jnp.where(
        state.delta > 0, INFEASIBLE, jnp.where(_size(state.point) <= _reachable(state.point, tol), CONVERGED, MAX_STEPS)
    )
    return Found(state.point.multipliers, status, state.steps)


def _evaluate(rows: Rows, y: Any, multipliers: Any, delta: Any) -> _Point:
    """The dual less delta |mu|^2 / 2."""
    z = y + transposed(rows.matrix, multipliers)
    free = (z > rows.lower) & (z < rows.upper)
    x = clip(z, rows.lower, rows.upper)
    short = rows.right - times(rows.matrix, x)
    push = delta * multipliers
    value = 0.5 * _dot(x - y, x - y) + _dot(multipliers, short - 0.5 * push)
    return _Point(multipliers, short - push, free, value)


def _ascent(rows: Rows, y: Any, start: Any, near: Any, far: Any) -> tuple[Any, Any]:
    length = 1 / rows.norm**2

    def body(carry):
        count, mu, ahead, momentum, far = carry
        short = rows.right - times(rows.matrix, clip(y + transposed(rows.matrix, ahead), rows.lower, rows.upper))
        new = jnp.where(far, ahead + length * short, mu)
        momentum = jnp.where(_dot(short, new - mu) < 0, 1.0, momentum)
        after = 0.5 * (1 + jnp.sqrt(1 + 4 * momentum**2))
        ahead = new + (momentum - 1) / after * (new - mu)
        # The excess is that of `ahead`, a step behind: it decides when to stop, nothing else.
        return count + 1, new, ahead, after, far & (largest(short) > near)

    allowed = _MOSTLY * len(near)
    carry = (0, start, start, jnp.ones_like(near), far)
    count, mu, *_ = jax.lax.while_loop(lambda c: (c[0] < _ASCENT) & (c[-1].sum() > allowed), body, carry)
    return mu, count


def _newton(rows: Rows, y: Any, tol: Any, state: _State, max_steps: int, single: bool = False, leave: int = 0) -> _State:
    matrix = low(rows.matrix) if single else rows.matrix
    dtype = jnp.float32 if single else y.dtype
    rough = jnp.finfo(y.dtype).eps ** 0.5 * (1 + largest(rows.right))

    def body(carry):
        count, (point, delta, damping, going, steps) = carry
        size = jnp.maximum(_size(point), jnp.finfo(y.dtype).tiny)
        # Who takes long has a dual without a maximum, as a rule: less and less damping gets far along its ray, to the proof.
        ease = _PATIENT * 0.5 ** jnp.maximum(count - _PATIENCE, 0).astype(y.dtype)
        late = (count >= _PATIENCE) & (delta == 0)
        damping = jnp.where(late, jnp.minimum(damping, ease), damping)
        damping = jnp.maximum(damping, jnp.minimum(size, 1e-3) ** 2)
        tau = (delta + damping * rows.norm**2).astype(dtype)

        def product(p):
            return times(matrix, jnp.where(point.free, transposed(matrix, p), 0)) + tau * p

        aim = jnp.where(going, jnp.maximum(0.3 * tol / size, jnp.minimum(_FORCING, size)), jnp.inf)
        right = (point.excess / size).astype(dtype)
        step = conjugate_gradients(product, right, aim.astype(dtype), 2 * len(right))
        # With the whole batch one trial has to do: who needs shorter steps is worked on in the last stage.
        step = size * step.astype(y.dtype)
        point, length, good = _line_search(rows, y, point, step, going, delta, 1 if single else _HALVINGS)
        # Where even ascent gains nothing, rounding is all that is left; else each step would be tried again and again.
        stuck = ~good & (late | (damping >= 1))
        # A short step has met a bound that the model did not know of: shorter steps then bend towards ascent, which always gains.
        damping = jnp.where(length < 0.3, jnp.minimum(10 * damping, 1), 0.1 * damping)
        if not single:  # a member that turns out to be infeasible goes on, with the problem that has a solution
            proof = _farkas(rows, point.excess) | _farkas(rows, point.multipliers) | _farkas(rows, step)
            infeasible = going & (delta == 0) & (_size(point) > tol) & proof
            delta = jnp.where(infeasible, _DELTA, delta)
            # As far along its multipliers as the regularised dual has a maximum: they may have gone well beyond.
            far = _dot(point.multipliers, point.multipliers)
            share = jnp.clip(_dot(point.multipliers, point.excess) / jnp.where(far > 0, _DELTA * far, 1), 1e-6, 1)
            again = _evaluate(rows, y, share * point.multipliers, delta)
            point, damping = _where(infeasible, again, point), jnp.where(infeasible, 0, damping)
            stuck &= ~infeasible
        # Multipliers of infeasible members are large, and their rounding errors too.
        goal = jnp.where(delta > 0, jnp.maximum(tol, rough), _reachable(point, tol))
        return count + 1, _State(point, delta, damping, going & ~stuck & (_size(point) > goal), steps + going)

    return jax.lax.while_loop(lambda c: (c[0] < max_steps) & (c[1].going.sum() > leave), body, (0, state))[1]


def _reachable(point: _Point, tol: Any) -> Any:
    """`tol`, or what rounding leaves where multipliers are large, at a corner of the set."""
    return jnp.maximum(tol, 16 * jnp.finfo(tol.dtype).eps * largest(point.multipliers))


def _line_search(
    rows: Rows, y: Any, point: _Point, step: Any, going: Any, delta: Any, halvings: int
) -> tuple[_Point, Any, Any]:
    """Halve a step until the dual, or the residual, is better by it; the point, the part of it, and whether it was taken."""
    slope, size = _dot(point.excess, step), _size(point)
    rounding = 100 * jnp.finfo(y.dtype).eps * (jnp.abs(point.value) + jnp.abs(_dot(point.multipliers, rows.right)))

    def body(carry):
        count, length, _, good = carry
        length = jnp.where(good, length, 0.5 * length)
        new = _evaluate(rows, y, point.multipliers + length * step, delta)
        # Where the dual no longer tells, by its rounding errors, the residual decides; alone it could go round in circles.
        gained, even = new.value >= point.value + 1e-4 * length * slope, new.value >= point.value - rounding
        good = ~going | gained | (even & (_size(new) <= 0.9 * size))
        return count + 1, length, new, good

    first = jnp.ones_like(slope) if halvings == 1 else _longest_step(rows, y, point, step, going, delta)
    carry = (0, jnp.where(going, 2 * first, 0), point, ~going)
    _, length, new, good = jax.lax.while_loop(lambda c: (c[0] < halvings) & ~c[3].all(), body, carry)
    return _where(good & going, new, point), length, good


def _longest_step(rows: Rows, y: Any, point: _Point, step: Any, going: Any, delta: Any) -> Any:
    """The part of a step where the dual's derivative along it has come down to a tenth: Newton's method in a bracket.

    It may be far above 1: where long boxes meet at a corner, or nothing is feasible, the dual rises along what the bounds hold.
    """
    z, slope = y + transposed(rows.matrix, point.multipliers), transposed(rows.matrix, step)
    fixed, push, square = (
        _dot(step, rows.right - delta * point.multipliers),
        delta * _dot(step, step),
        _dot(point.excess, step),
    )

    def body(carry):
        count, t, low, high, going = carry
        w = z + t * slope
        value = fixed - t * push - _dot(clip(w, rows.lower, rows.upper), slope)
        bend = push + jnp.sum(jnp.where((w > rows.lower) & (w < rows.upper), slope**2, 0), axis=0)
        low, high = jnp.where(value > 0, jnp.maximum(t, low), low), jnp.where(value > 0, high, jnp.minimum(t, high))
        going &= jnp.abs(value) > 0.1 * square
        new = t + value / jnp.where(bend > 0, bend, 1)
        middle = jnp.where(jnp.isinf(high), 4 * t, 0.5 * (low + high))
        new = jnp.where((bend > 0) & (new > low) & (new < high), new, middle)
        return count + 1, jnp.where(going, new, t), low, high, going

    one = jnp.ones_like(square)
    carry = (0, one, 0 * one, jnp.inf * one, going)
    return jax.lax.while_loop(lambda c: (c[0] < _TRIALS) & c[-1].any(), body, carry)[1]


def _divided(rows: Rows, y: Any, tol: Any, state: _State, share: int, max_steps: int) -> _State:
    """Newton steps for the members that are left, some of the batch at a time."""
    batch = y.shape[-1]

    def body(carry):
        count, state, left = carry
        chosen = jnp.argsort(~left)[:share]  # stable: those that are left come first
        part = jax.tree.map(lambda leaf: leaf[..., chosen], state)
        part = _newton(_take(rows, chosen, batch), y[:, chosen], tol[chosen], part, max_steps)
        state = jax.tree.map(lambda old, new: old.at[..., chosen].set(new), state, part)
        return count + 1, state, left.at[chosen].set(False)

    going = lambda c: (c[0] <= batch // share + 1) & c[2].any()  # noqa: E731
    return jax.lax.while_loop(going, body, (0, state, state.going))[1]


def _farkas(rows: Rows, r: Any) -> Any:
    """Whether r proves that no point satisfies the constraint: r . c beyond what r . Q x can be in the box."""
    slope = transposed(rows.matrix, r)
    eps = jnp.finfo(r.dtype).eps
    doubt = 1e3 * eps * jnp.sqrt(_dot(r, r)) * jnp.max(rows.norm)  # of a slope, by rounding

    def at(bound):
        # A slope counts for whatever it may be. Where a bound is missing only zero has a maximum: there doubt counts as zero.
        value = jnp.where(jnp.isinf(bound), 0, bound)
        missing = jnp.where(jnp.abs(slope) <= doubt, 0, slope * jnp.where(jnp.isinf(bound), bound, 0))
        return jnp.where(jnp.isinf(bound), missing, slope * value + doubt * jnp.abs(value))

    most = jnp.maximum(at(rows.lower), at(rows.upper))
    claimed = r * rows.right
    rounding = 1e2 * eps * (jnp.abs(claimed).sum(0) + jnp.abs(most).sum(0))
    return claimed.sum(0) > most.sum(0) + rounding


def largest(array: Any) -> Any:
    """The largest absolute entry of each member."""
    return jnp.max(jnp.abs(array), axis=0, initial=0)


def _size(point: _Point) -> Any:
    return largest(point.excess)


def _dot(a: Any, b: Any) -> Any:
    return jnp.sum(a * b, axis=0)


def _where(mask: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(mask, n, o), new, old)


def _take(rows: Rows, chosen: Any, batch: int) -> Rows:
    def take(array: Any) -> Any:
        return array[..., chosen] if array.shape[-1:] == (batch,) else array

    matrix = rows.matrix[chosen] if rows.matrix.ndim == 3 else rows.matrix
    return Rows(matrix, take(rows.right), take(rows.lower), take(rows.upper), take(rows.norm))
