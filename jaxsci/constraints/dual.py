r"""The solver beneath `Polytope`: the nearest point of {Q x = c, l <= x <= u} by its dual, for a whole batch at once.

With multipliers mu of the rows, x(mu) = clip(y + Q^T mu, l, u) and the dual

    d(mu) = |x(mu) - y|^2 / 2 + mu . F(mu),      F(mu) = c - Q x(mu) = grad d,

is concave, smooth and piecewise quadratic; -(Q D Q^T), D = diag(l < y + Q^T mu < u), is an element of its generalised Hessian.
Where the rows of Q are orthonormal both have at most unit norm, which makes all step lengths known:

1. ascent mu <- mu + F with Nesterov's momentum and restarts, until most are near their solution;
2. semismooth Newton steps (Q D Q^T + tau I) d = F by conjugate gradients, each as long as the dual's derivative along it says;
   tau is the larger of min(|F|, 10^-3)^2 and a damping that grows while steps are cut short. Nothing preconditions them:
   Q D Q^T is the identity less what the bounds hold.

On a processor an eighth of a batch at a time, which stays in its cache: first all of them, to where few of each are left, in
float32 but for F, which says in full whether a step was good; then those that are left, in full, so that hard members do not
hold up the others. Both are turns of one loop, which is compiled once. Each member has its own step lengths, restarts and inner
products, and is left alone once it has converged. Members are along the last axis: inner products are then sums of rows, which
processors do several members at a time (1.7 times faster in float32).

No point satisfies the constraint where some r has  r . c > max of r . Q x over the box  (Farkas). F, mu and the step are tried
at every Newton step of a later turn, because on such data F tends to the least violation, which is such a vector, and mu grows
along it. What is returned then minimises |c - Q x|^2 + delta |x - y|^2 over the box, delta = 1e-7.

Reference: Nesterov (1983), Soviet Math. Dokl. 27, 372; O'Donoghue & Candes (2015), Found. Comput. Math. 15, 715, section 3.2
(restarts); Qi & Sun (2006), SIAM J. Matrix Anal. Appl. 28, 360 (Newton's method for duals of projections); Li, Sun & Toh
(2020), Math. Program. 179, 419 (polytopes); Chiche & Gilbert (2016), J. Convex Anal. 23, 425 (infeasible data).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.batched_cg import ROUGH, conjugate_gradients, dot, low
from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS

_NEAR = 3e-5  # of the size of the data: from here Newton's method has little left to do
_MOSTLY = 0.25  # of the batch may be farther away when it starts
_ASCENT = 100  # steps of the first stage at most
_TRIALS, _FEW = 40, 4  # of the length of a step at most, and while whoever needs more can wait
_WHOLE = 4  # Newton steps of a part at its first turn at most
_SHARE = 8  # parts of a batch; how many of a part may be left at its first turn
_SMALLEST, _LARGEST = 32, 256  # members of a part
_EXTRA = 5  # numbers of a member beside its multipliers
_PATIENCE = 20  # Newton steps before less damping is tried
_PATIENT = 1e-4  # the damping from there, which is then halved at each step
_FORCING = 0.01  # how well a Newton step is solved at least
_DELTA = 1e-7  # of the regularisation of infeasible data


class Rows(NamedTuple):
    """Q x = c with bounds, for a batch of B. Arrays that all members share have a last axis of 1, and Q none."""

    matrix: Any  # [rows, n], [B, rows, n] or BCOO [rows, n]
    right: Any  # [rows, B or 1]
    lower: Any  # [n, B or 1]
    upper: Any  # [n, B or 1]
    norm: Any  # of the matrix, at least: 1 where its rows are orthonormal;  [] or [B]
    source: Any = None  # A, b and W with F = W^T (b - A x), where residuals are to be those of A to its rounding errors


class Found(NamedTuple):
    """What the solver found, one entry per member."""

    z: Any  # y + Q^T mu, [n, B]
    multipliers: Any  # [rows, B]
    status: Any  # [B]
    steps: Any  # [B]


def times(matrix: Any, x: Any) -> Any:
    """Q x for each member:  [n, B] -> [rows, B]."""
    return matrix @ x if matrix.ndim == 2 else jnp.einsum("bmn,nb->mb", matrix, x)


def transposed(matrix: Any, multipliers: Any) -> Any:
    """Q^T mu for each member:  [rows, B] -> [n, B]."""
    return matrix.T @ multipliers if matrix.ndim == 2 else jnp.einsum("bmn,mb->nb", matrix, multipliers)


def clip(z: Any, lower: Any, upper: Any) -> Any:
    """min(max(z, lower), upper); its derivative belongs to `z` strictly between the bounds and to a bound otherwise."""
    return jnp.where(z <= lower, lower, jnp.where(z >= upper, upper, z))


def solve(rows: Rows, y: Any, tol: Any, warm: Any, max_steps: int, climb: Any = True) -> Found:
    """The multipliers of the nearest points to `y` [n, B]; `tol` [B] bounds the largest entry of F, and without `climb` the
    first stage is left out: `warm` is near."""
    batch = y.shape[-1]
    none = jnp.zeros((1, batch), y.dtype)
    size = none + largest(rows.right) + largest(y)
    state = jnp.concatenate([warm, y, size, none, none, none, none + 1])
    share = min(max(-(-batch // _SHARE), _SMALLEST), _LARGEST) if jax.default_backend() == "cpu" else batch
    if share >= batch:
        state = _work(rows, y, tol, state, max_steps, 0, climb, True)
    else:
        state = _by_parts(rows, y, tol, state, share, max_steps, climb)
    multipliers, z, (_, delta, size, steps, _) = _apart(state, len(y))
    done = jnp.where(size <= _reachable(multipliers, tol), CONVERGED, MAX_STEPS)
    return Found(z, multipliers, jnp.where(delta > 0, INFEASIBLE, done), steps.astype(int))


def _apart(state: Any, n: int) -> tuple[Any, Any, Any]:
    """Multipliers, z, and of each member: the size of its data, delta, |F|, steps, and whether it goes on. One array holds
    them all, as each one more is compiled for and moved by itself."""
    return state[: -_EXTRA - n], state[-_EXTRA - n : -_EXTRA], state[-_EXTRA:]


def _by_parts(rows: Rows, y: Any, tol: Any, state: Any, share: int, max_steps: int, climb: Any) -> Any:
    """A part of the batch at a time: first all of them, to where few are left in each, then those that are left."""
    batch = y.shape[-1]
    first = -(-batch // share)

    def body(carry):
        count, state, left = carry
        fresh = count < first
        begin = jnp.minimum(count * share, batch - share)  # the last part may see some again
        chosen = jnp.argsort(~left)[:share]  # those that are left first

        def pick(array, axis=-1):
            slices = lambda: jax.lax.dynamic_slice_in_dim(array, begin, share, axis)  # noqa: E731  the tenth of the time
            return jax.lax.cond(fresh, slices, lambda: jnp.take(array, chosen, axis))

        def put(array, part):
            slices = lambda: jax.lax.dynamic_update_slice_in_dim(array, part, begin, -1)  # noqa: E731
            return jax.lax.cond(fresh, slices, lambda: array.at[..., chosen].set(part))

        limit, leave = jnp.where(fresh, min(_WHOLE, max_steps), max_steps), jnp.where(fresh, share // _SHARE, 0)
        part = _work(_take(rows, pick, batch), pick(y), pick(tol), pick(state), limit, leave, climb, ~fresh)
        return count + 1, put(state, part), put(left, fresh & (part[-1] > 0))

    carry = (0, state, jnp.zeros(batch, bool))
    going = lambda c: (c[0] < first) | ((c[0] <= 2 * first + 1) & c[2].any())  # noqa: E731
    return jax.lax.while_loop(going, body, carry)[1]


def _work(rows: Rows, y: Any, tol: Any, state: Any, limit: Any, leave: Any, climb: Any, watch: Any) -> Any:
    """All stages for some members; `watch` for infeasible ones."""
    multipliers, z, (scale, delta, _, steps, going) = _apart(state, len(y))
    if climb is not False:
        far = (steps == 0) & climb
        near = jnp.maximum(tol, _NEAR * scale)  # which float32 can tell
        found, count = _ascent(low(rows._replace(source=None)), low(y), low(multipliers), low(near), far)
        multipliers, steps = jnp.where(far, found.astype(y.dtype), multipliers), steps + jnp.where(far, count, 0)
    z = jnp.where(going > 0, y + transposed(rows.matrix, multipliers), z)  # who is done keeps what it ended at
    return _newton(rows, y, tol, (multipliers, z, scale, delta, steps, going > 0), limit, leave, watch)


def _ascent(rows: Rows, y: Any, start: Any, near: Any, far: Any) -> tuple[Any, Any]:
    length = 1 / rows.norm**2

    def body(carry):
        count, mu, ahead, momentum, far = carry
        short = rows.right - times(rows.matrix, clip(y + transposed(rows.matrix, ahead), rows.lower, rows.upper))
        new = jnp.where(far, ahead + length * short, mu)
        momentum = jnp.where(dot(short, new - mu) < 0, 1.0, momentum)
        after = 0.5 * (1 + jnp.sqrt(1 + 4 * momentum**2))
        ahead = new + (momentum - 1) / after * (new - mu)
        # The excess is that of `ahead`, a step behind: it decides when to stop, nothing else.
        return count + 1, new, ahead, after, far & (largest(short) > near)

    allowed = _MOSTLY * len(near)
    carry = (0, start, start, jnp.ones_like(near), far)
    count, mu, *_ = jax.lax.while_loop(lambda c: (c[0] < _ASCENT) & (c[-1].sum() > allowed), body, carry)
    return mu, count


def _newton(rows: Rows, y: Any, tol: Any, start: Any, limit: Any, leave: Any, watch: Any) -> Any:
    dtype, eps = y.dtype, jnp.finfo(y.dtype).eps
    multipliers, z, scale, delta, steps, going = start
    narrow = low(rows.matrix)

    def body(carry):
        count, mu, z, excess, delta, damping, going, steps = carry
        size, reach = jnp.maximum(largest(excess), jnp.finfo(dtype).tiny), _reachable(mu, tol)
        fine = size <= 100 * eps * scale  # of which rounding errors may be a part
        # Who takes long has a dual without a maximum, as a rule: less and less damping gets far along its ray, to the proof.
        late = (count >= _PATIENCE) & (delta == 0)
        ease = _PATIENT * 0.5 ** jnp.maximum(count - _PATIENCE, 0).astype(dtype)
        damping = jnp.where(late, jnp.minimum(damping, ease), damping)
        damping = jnp.maximum(damping, jnp.minimum(size, 1e-3) ** 2)
        tau = delta + damping * rows.norm**2
        free = (z > rows.lower) & (z < rows.upper)
        aim = jnp.maximum(0.3 * tol / size, jnp.minimum(_FORCING, size))
        right = excess / size

        def solved(matrix, aim, most):
            kind = matrix.dtype
            shift = tau.astype(kind)

            def product(p):
                return times(matrix, jnp.where(free, transposed(matrix, p), 0)) + shift * p

            return conjugate_gradients(product, right.astype(kind), aim.astype(kind), most).astype(dtype)

        # In float32 at the first turn; what is left then may be too ill-conditioned for that.
        late_turn = jnp.logical_and(watch, dtype == jnp.float64)
        step = solved(narrow, jnp.where(going & ~late_turn, jnp.maximum(aim, ROUGH), jnp.inf), 2 * len(right))
        if dtype == jnp.float64:
            step = step + solved(rows.matrix, jnp.where(going & late_turn, aim, jnp.inf), 2 * len(right))
        step = size * step
        slope = transposed(rows.matrix, step)
        length = _longest_step(rows, z, step, slope, dot(excess, step), going, delta, jnp.where(watch, _TRIALS, _FEW))
        new_mu, new_z = mu + length * step, z + length * slope
        new = _excess(rows, new_z, new_mu, delta)
        after = largest(new)
        # The dual has risen, unless that was rounding: there the residual decides, as steps could go in circles. A few that do
        # not lessen it may pass a kink, behind which it falls.
        told = length * dot(excess, step) > 100 * eps * (dot(z - y, z - y) + jnp.abs(dot(mu, rows.right)))
        better = (length > 0) & (told | ~fine | (after <= 0.9 * size))
        good = going & (better | ((length > 0) & (after <= 2 * size)))
        stuck = ~better & (late | (damping >= 1))
        # A short step has met a bound that the model did not know of: shorter steps then bend towards ascent, which always gains.
        damping = jnp.where(better & (length >= 0.3), 0.1 * damping, jnp.minimum(jnp.maximum(10 * damping, 1e-12), 1))
        mu, z, after = jnp.where(good, new_mu, mu), jnp.where(good, new_z, z), jnp.where(good, after, size)
        # A member that turns out to be infeasible goes on, with the problem that has a solution. What would be given up, or ended
        # by what rounding leaves of large multipliers, may have a proof that drowns in it.
        lost = stuck | (after <= _reachable(mu, tol))
        proof = _unsolvable(rows, (excess, new, mu, step), going & watch & (delta == 0) & (after > tol), lost)
        infeasible = going & (delta == 0) & (after > tol) & proof
        delta = jnp.where(infeasible, _DELTA, delta)
        stuck &= ~infeasible & watch  # before that, whoever is left gets a turn
        excess = jnp.where(good, new, excess) - jnp.where(infeasible, _DELTA, 0) * mu
        damping = jnp.where(infeasible, 0, damping)
        # Multipliers of infeasible members are large, and their rounding errors too.
        goal = jnp.where(delta > 0, jnp.maximum(tol, eps**0.5 * (1 + scale)), reach if rows.source is None else tol)
        return count + 1, mu, z, excess, delta, damping, going & ~stuck & (after > goal), steps + going

    excess = _excess(rows, z, multipliers, delta)
    going &= largest(excess) > tol
    carry = (0, multipliers, z, excess, delta, jnp.zeros_like(tol), going, steps)
    last = jax.lax.while_loop(lambda c: (c[0] < limit) & (c[-2].sum() > leave), body, carry)
    _, multipliers, z, excess, delta, _, going, steps = last
    return jnp.concatenate([multipliers, z, jnp.stack([scale, delta, largest(excess), steps, going.astype(dtype)])])


def _excess(rows: Rows, z: Any, multipliers: Any, delta: Any) -> Any:
    """F, of the dual less delta |mu|^2 / 2."""
    x = clip(z, rows.lower, rows.upper)
    if rows.source is None:
        return rows.right - times(rows.matrix, x) - delta * multipliers
    A, b, W = rows.source
    return transposed(W, b - times(A, x)) - delta * multipliers


def _reachable(multipliers: Any, tol: Any) -> Any:
    """`tol`, or what rounding leaves where multipliers are large, at a corner of the set."""
    return jnp.maximum(tol, 16 * jnp.finfo(tol.dtype).eps * largest(multipliers))


def _longest_step(rows: Rows, z: Any, step: Any, slope: Any, square: Any, going: Any, delta: Any, most: Any) -> Any:
    """The part of a step where the dual's derivative along it, at first `square`, is a tenth: Newton's method in a bracket.

    It may be far above 1: where long boxes meet at a corner, or nothing is feasible, the dual rises along what the bounds hold.
    """
    x, push = clip(z, rows.lower, rows.upper), delta * dot(step, step)

    def body(carry):
        count, t, low, high, going = carry
        w = z + t * slope
        value = square - t * push - dot(clip(w, rows.lower, rows.upper) - x, slope)
        bend = push + dot(jnp.where((w > rows.lower) & (w < rows.upper), slope, 0), slope)
        low, high = jnp.where(value > 0, jnp.maximum(t, low), low), jnp.where(value > 0, high, jnp.minimum(t, high))
        going &= jnp.abs(value) > 0.1 * square
        new = t + value / jnp.where(bend > 0, bend, 1)
        middle = jnp.where(jnp.isinf(high), 4 * t, 0.5 * (low + high))
        new = jnp.where((bend > 0) & (new > low) & (new < high), new, middle)
        return count + 1, jnp.where(going, new, t), low, high, going

    one = jnp.ones_like(square)
    carry = (0, one, 0 * one, jnp.inf * one, going)
    _, t, low, _, going = jax.lax.while_loop(lambda c: (c[0] < most) & c[-1].any(), body, carry)
    return jnp.where(going, low, t)


def _unsolvable(rows: Rows, rays: Any, going: Any, lost: Any) -> Any:
    """Which of those that are going have a ray among the `rays` that proves that no point satisfies their constraint.

    Those that are lost are tried again, less what has a slope where the box has no end at all. With U the columns without ends,
    a ray r is a proof only where U^T r = 0, and r - d with U U^T d = U U^T r is the nearest such ray.
    """
    kinds, batch = len(rays), len(going)
    many = lambda array: jnp.tile(array, kinds) if array.shape[-1] == batch else array  # noqa: E731
    right, lower, upper, lost = (many(array) for array in (rows.right, rows.lower, rows.upper, lost))
    free = jnp.isinf(lower) & jnp.isinf(upper)

    def each(product, array):
        parts = jnp.split(array, kinds, axis=-1) if rows.matrix.ndim == 3 else [array]
        return jnp.concatenate([product(rows.matrix, part) for part in parts], axis=-1)

    def product(p):
        return each(times, jnp.where(free, each(transposed, p), 0))

    def body(carry):
        count, r, proof = carry
        r = r / jnp.maximum(largest(r), jnp.finfo(r.dtype).tiny)
        along = jnp.where(lost & (count > 0), product(r), 0)
        r = r - conjugate_gradients(product, along, jnp.finfo(r.dtype).eps, 2 * len(r) + 10)
        found = _farkas(rows._replace(right=right, lower=lower, upper=upper), r, each(transposed, r))
        return count + 1, r, proof | (going & found.reshape(kinds, batch).any(0))

    def unsettled(carry):
        count, _, proof = carry  # as they are, without slopes, and less what rounding has left of these
        return (going & ~proof & (lost[:batch] | (count == 0))).any() & (count < 3)

    return jax.lax.while_loop(unsettled, body, (0, jnp.concatenate(rays, axis=-1), jnp.zeros_like(going)))[2]


def _farkas(rows: Rows, r: Any, slope: Any) -> Any:
    """Whether r proves that no point satisfies the constraint: r . c is beyond what r . Q x can be in the box."""
    eps = jnp.finfo(r.dtype).eps
    doubt = 1e3 * eps * jnp.sqrt(dot(r, r)) * jnp.max(rows.norm)  # of a slope, by rounding

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


def _take(rows: Rows, pick: Callable[..., Any], batch: int) -> Rows:
    """Some members' rows; `pick` takes them of an array, along an axis."""

    def take(array: Any) -> Any:
        return pick(array) if array.shape[-1:] == (batch,) else array

    def member(matrix: Any) -> Any:
        return pick(matrix, 0) if matrix.ndim == 3 else matrix

    source = rows.source and (member(rows.source[0]), take(rows.source[1]), member(rows.source[2]))
    vectors = (take(array) for array in rows[1:5])
    return Rows(member(rows.matrix), *vectors, source)
