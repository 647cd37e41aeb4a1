r"""The nearest point of {A x = b, cl <= C x <= cu, l <= x <= u} for a batch, and its derivative.

Forward, without rows C: `jaxsci.constraints.dual` on orthonormal rows, then Newton steps on the optimality conditions with the
active bounds that were found, where its residuals are not those of A already: in float32, in which they carry their rounding
errors along, and for sparse rows.

With rows C a primal-dual active set (semismooth Newton steps on all conditions at once, no line search) finds rows and bounds,
as a rule in about six steps; the optimality conditions are then checked in full precision. Members that fail, infeasible ones
among them, go a way that always ends: slacks s for the rows, which the distance does not count, and a proximal iteration that
makes it strongly convex in them, s_new = argmin |x - y|^2 + |s - s_old|^2 and the constraints, by the solver above.

Derivative: with the multipliers lambda, the solution is x = clip(y + G^T lambda, l, u), G the rows of A and the active ones of C,
and G x = g. So, D the diagonal of what is strictly between its bounds,

    (G D G^T) dlambda = dg - dG x - G D (dy + dG^T lambda) - G (dl at the lower bounds, du at the upper ones)
    dx = D (dy + dG^T lambda + G^T dlambda) + dl, du at their bounds,

one symmetric solve (in the triangular form of the rows), linear in the tangents and therefore transposable. Where G D G^T is
singular, its least-norm solution is taken. A variable or a row that touches its bound without a force is counted as held
(variable) or free (row).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

from jaxsci.constraints import dual
from jaxsci.constraints.batched_cg import low, refined
from jaxsci.constraints.compensated import shortfall
from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS
from jaxsci.constraints.dual import clip, largest, times, transposed
from jaxsci.constraints.factor import Factor, lifted, row_lengths
from jaxsci.constraints.polytope_data import Data, where_known

_ACTIVE = 12  # steps of the active set at most
_COARSE = 1e-3  # accuracy of those
_PROXIMAL = 60  # steps for the slacks at most
_POLISH = 8  # Newton steps on the optimality conditions at most


class Warm(NamedTuple):
    """What the projection of a nearby point starts from."""

    multipliers: Any  # of the rows of A, then C;  [m + p, B]
    slack: Any  # C x;  [p, B]


class Nearest(NamedTuple):
    """The solution for a batch."""

    x: Any
    multipliers: Any
    status: Any
    steps: Any
    slack: Any  # C x, [p, B]
    held: Any  # of each row of A and C: 2 an equation, -1 or 1 at a bound that pushes, 0 where nothing does


def nearest(data: Data, factor: Factor | None, tol: Any, enough: Any, warm: Warm | None, max_steps: int) -> Nearest:
    """The projection; not differentiable as such: see `attach`. `tol` [B] bounds the violation of a row; `enough` [B] will do."""
    batch, dtype = data.y.shape[-1], data.y.dtype
    if factor is None:
        none, done = jnp.zeros((0, batch), dtype), jnp.full(batch, CONVERGED)
        return Nearest(clip(data.y, data.lower, data.upper), none, done, jnp.zeros_like(done), none, none.astype(jnp.int8))
    tol_rows = jnp.maximum(0.3 * tol / longest(data), 30 * jnp.finfo(dtype).eps * (1 + largest(data.y)))
    equations = jnp.full((_equations(data), batch), 2, jnp.int8)
    contradicted = _inconsistent(data, factor, tol)
    if data.C is None:
        start = jnp.zeros((factor.rows.shape[-2], batch), dtype) if warm is None else factor.contract(warm.multipliers)
        exact = (
            dtype == jnp.float64 and factor.right.ndim > 1
        )  # else `_polish` takes the multipliers to their rounding errors
        rows = dual.Rows(factor.rows, factor.reduce(data.b), data.lower, data.upper, factor.norm)
        rows = rows._replace(source=(data.A, data.b, factor.right)) if exact else rows
        found = dual.solve(
            rows, data.y, 0.1 * tol / longest(data) if exact else tol_rows, start, max_steps, climb=warm is None
        )
        status = jnp.where(contradicted, INFEASIBLE, found.status)
        x, multipliers = clip(found.z, data.lower, data.upper), factor.expand(found.multipliers)
        # The dual may end at its rounding errors, a little above what was asked of it, and the point be as good as any.
        if exact:
            good = violation(data, x) <= enough
        else:
            x, multipliers = _polish(data, factor, multipliers, equations, status != INFEASIBLE, tol)
            good = _optimal(data, x, multipliers, equations, tol)
        status = jnp.where((status == MAX_STEPS) & good, CONVERGED, status)
        return Nearest(x, multipliers, status, found.steps, jnp.zeros((0, batch), dtype), equations)

    start = jnp.zeros((len(equations) + data.C.shape[-2], batch), dtype) if warm is None else warm.multipliers
    multipliers, held, steps = _active_set(low(data), low(factor), low(start), max_steps)
    x, multipliers = _polish(data, factor, multipliers.astype(dtype), held, jnp.full(batch, True), tol)
    optimal = _optimal(data, x, multipliers, held, tol)
    # Whoever is done takes no part, and nobody has to where all are. (That the rows for it depend on what was found also keeps
    # two decompositions of large batches from running at once, which wedges XLA's pool of threads on processors.)
    slow = jax.lax.cond(
        optimal.all(),
        lambda data: _nothing(data, optimal),
        lambda data: _proximal(data, tol_rows, max_steps, optimal),
        where_known(data, ~optimal),
    )
    found = join(equations, slow.at)
    others, pushes = _polish(data, factor, slow.multipliers, found, ~optimal & (slow.status == CONVERGED), tol)
    pick = lambda quick, other: jnp.where(optimal, quick, other)  # noqa: E731
    slack = pick(clip(times(data.C, x), data.C_lower, data.C_upper), slow.slack)
    status = pick(CONVERGED, jnp.where(contradicted, INFEASIBLE, slow.status))
    return Nearest(pick(x, others), pick(multipliers, pushes), status, steps + slow.steps, slack, pick(held, found))


def _active_set(data: Data, factor: Factor, multipliers: Any, max_steps: int) -> tuple[Any, Any, Any]:
    """Multipliers, what holds, and steps: semismooth Newton steps on all of the optimality conditions.

    A row of C is taken to be at a bound where  C_i x - |C_i|^2 nu_i  is beyond it: it is violated, or pushes.
    """
    squares = jnp.square(jnp.atleast_2d(row_lengths(data.C)).T)
    m, batch = _equations(data), data.y.shape[-1]
    small = 1e-5 * (1 + largest(data.y)) * longest(data)

    def body(carry):
        count, multipliers, held, free, going, steps = carry
        x = clip(data.y + _transposed(data, multipliers), data.lower, data.upper)
        beyond = times(data.C, x) - squares * multipliers[m:]
        at = jnp.where(beyond > data.C_upper, 1, jnp.where(beyond < data.C_lower, -1, 0))
        after = join(held[:m], _pinned(data, at))
        multipliers = jnp.where(after == 0, 0, multipliers)
        z = data.y + _transposed(data, multipliers)
        inside = (z > data.lower) & (z < data.upper)
        short = jnp.where(after == 0, 0, _short(data, after, clip(z, data.lower, data.upper)))
        same = (after == held).all(0) & (inside == free).all(0)
        going &= ~(same & (largest(short) <= small))
        step = solve_active(data, factor, inside, after, jnp.where(going, short, 0), _COARSE)
        return count + 1, multipliers + step, after, inside, going, steps + going

    held = join(jnp.full((m, batch), 2, jnp.int8), jnp.zeros((squares.shape[0], batch), jnp.int8))
    going = jnp.full(batch, True)
    carry = (0, multipliers, held, jnp.zeros(data.y.shape, bool), going, jnp.zeros(batch, int))
    limit = min(_ACTIVE, max_steps)
    _, multipliers, held, *_, steps = jax.lax.while_loop(lambda c: (c[0] < limit) & c[4].any(), body, carry)
    return jnp.where(held == 0, 0, multipliers), held, steps


def _pinned(data: Data, at: Any) -> Any:
    """What is active of the rows of C, those with one value allowed as equations."""
    return jnp.where(data.C_lower == data.C_upper, 2, at).astype(jnp.int8)


def _optimal(data: Data, x: Any, multipliers: Any, held: Any, tol: Any) -> Any:
    """Which members satisfy all of the optimality conditions."""
    m = _equations(data)
    z = clip(data.y + _transposed(data, multipliers), data.lower, data.upper)
    rounding = 1e3 * jnp.finfo(x.dtype).eps * (1 + largest(data.y) + largest(x))
    push = (held[m:] * multipliers[m:] <= 0) | (held[m:] == 2)
    at_target = largest(jnp.where(held == 0, 0, _short(data, held, x, _accurate(data)))) <= tol
    feasible = violation(data, x) <= tol
    return at_target & feasible & push.all(0) & (largest(z - x) <= rounding + tol / longest(data))


class _Slow(NamedTuple):
    """What the proximal iteration found."""

    multipliers: Any  # of the rows of A, then C
    slack: Any
    at: Any  # of the rows of C, as `held` of `Nearest`
    status: Any
    steps: Any


def _nothing(data: Data, done: Any) -> _Slow:
    p, batch = data.C.shape[-2], data.y.shape[-1]
    zeros = jnp.zeros((_equations(data) + p, batch), data.y.dtype)
    return _Slow(zeros, zeros[:p], zeros[:p].astype(jnp.int8), jnp.where(done, CONVERGED, MAX_STEPS), jnp.zeros(batch, int))


def _proximal(data: Data, tol: Any, max_steps: int, done: Any) -> _Slow:
    """The iteration for the slacks, of the members that are not done."""
    n, batch = data.y.shape
    m = _equations(data)
    factor, scale = lifted(data.A, data.C)
    scale = jnp.atleast_2d(scale).T
    zeros = jnp.zeros((len(scale), 1), data.y.dtype)
    right = zeros if data.A is None else join(data.b, zeros)
    lower, upper = join(data.lower, data.C_lower / scale), join(data.upper, data.C_upper / scale)
    rows = dual.Rows(factor.rows, factor.reduce(right), lower, upper, factor.norm)

    def body(carry):
        count, multipliers, slack, moved, status, steps = carry
        going = status == MAX_STEPS
        y = join(data.y, slack)
        aim = jnp.maximum(tol, 0.01 * moved)  # no better than the slacks' next step deserves
        found = dual.solve(rows, y, jnp.where(going, aim, jnp.inf), multipliers, max_steps, climb=count == 0)
        new = clip(slack + transposed(rows.matrix, found.multipliers)[n:], rows.lower[n:], rows.upper[n:])
        moved = largest(new - slack)
        settled = (moved <= still * tol) & (aim <= tol)  # a loose solution may leave slacks where they are
        after = jnp.where(found.status == CONVERGED, jnp.where(settled, CONVERGED, MAX_STEPS), found.status)
        keep = lambda new, old: jnp.where(going, new, old)  # noqa: E731
        new = (keep(found.multipliers, multipliers), keep(new, slack), moved, keep(after, status))
        return count + 1, *new, steps + jnp.where(going, found.steps, 0)

    still = 30 if data.y.dtype == jnp.float64 else 1  # in float32 thirty times the tolerance may be a slow approach
    start = jnp.zeros((factor.rows.shape[-2], batch), data.y.dtype)
    centre = clip(times(data.C, data.y), data.C_lower, data.C_upper) / scale
    size = 1e-2 * (1 + largest(data.y))
    carry = (0, start, centre, size, jnp.where(done, CONVERGED, MAX_STEPS), jnp.zeros(batch, int))
    _, multipliers, slack, _, status, steps = jax.lax.while_loop(
        lambda c: (c[0] < _PROXIMAL) & (c[4] == MAX_STEPS).any(), body, carry
    )
    multipliers = factor.expand(multipliers)
    at = jnp.where(slack <= rows.lower[n:], -1, jnp.where(slack >= rows.upper[n:], 1, 0))
    at = _pinned(data, jnp.where(at * multipliers[m:] < 0, at, 0))
    multipliers = jnp.where(join(jnp.ones((m, batch), bool), at != 0), multipliers, 0)
    return _Slow(multipliers, slack * scale, at, status, steps)


def _polish(data: Data, factor: Factor, multipliers: Any, held: Any, going: Any, tol: Any) -> tuple[Any, Any]:
    """Newton steps on the optimality conditions with what is active, as long as they help: the point and its multipliers."""
    accurate = _accurate(data)
    z = data.y + _transposed(data, multipliers)
    free = (z > data.lower) & (z < data.upper)

    def short(x, accurate=False):
        return jnp.where(held == 0, 0, _short(data, held, x, accurate))

    def body(carry):
        count, x, multipliers, before, going = carry
        aim = jnp.maximum(0.1 * tol / jnp.maximum(before, tol), 30 * jnp.finfo(x.dtype).eps)
        step = solve_active(data, factor, free, held, jnp.where(going, short(x, accurate), 0), aim)
        # On the point itself: adding to the multipliers and starting from y again would round once more.
        new = clip(x + jnp.where(free, _transposed(data, step), 0), data.lower, data.upper)
        after = largest(short(new, accurate))
        better = going & (after < 0.5 * before)
        pick = lambda a, b: jnp.where(better, a, b)  # noqa: E731
        new = (pick(new, x), pick(multipliers + step, multipliers), pick(after, before))
        return count + 1, *new, better & (accurate | (after > tol))

    x = clip(z, data.lower, data.upper)
    before = largest(short(x, accurate))
    carry = (0, x, multipliers, before, going & (accurate | (before > tol)))
    _, x, multipliers, *_ = jax.lax.while_loop(lambda c: (c[0] < _POLISH) & c[-1].any(), body, carry)
    return x, multipliers


@jax.custom_jvp
def attach(data: Data, factor: Factor, x: Any, multipliers: Any, held: Any) -> tuple[Any, Any]:
    """The solution `x` with its multipliers, as functions of the data by the implicit function theorem."""
    del data, factor, held
    return x, multipliers


@attach.defjvp
def _tangent(primals, tangents):
    data, factor, x, multipliers, held = primals
    x, multipliers = attach(data, factor, x, multipliers, held)  # so that they have tangents in turn

    def excess(data):
        z = data.y + _transposed(data, multipliers)
        short = _short(data, held, clip(z, data.lower, data.upper))
        return jnp.where(held == 0, 0, short)

    z = data.y + _transposed(data, multipliers)
    free = (z > data.lower) & (z < data.upper)
    _, right = jax.jvp(excess, (data,), (tangents[0],))
    d_multipliers = solve_active(data, factor, free, held, right)
    _, d_x = jax.jvp(
        lambda data, multipliers: clip(data.y + _transposed(data, multipliers), data.lower, data.upper),
        (data, multipliers),
        (tangents[0], d_multipliers),
    )
    return (x, multipliers), (d_x, d_multipliers)


def solve_active(data: Data, factor: Factor, free: Any, held: Any, right: Any, aim: Any = None) -> Any:
    """(G D G^T) w = right on the rows that are held, to the relative accuracy `aim`; w = 0 on the others."""
    aim = (1e-12 if right.dtype == jnp.float64 else 1e-6) if aim is None else aim
    on, p = held != 0, 0 if data.C is None else data.C.shape[-2]
    rank = factor.rows.shape[-2] - p
    mask = join(jnp.ones((rank, 1), bool), on[len(on) - p :])

    def product(w):
        inner = _rows_times(data, jnp.where(free, _transposed(data, jnp.where(on, w, 0)), 0))
        return jnp.where(on, inner, w)

    def inner(rows, w):
        return jnp.where(mask, times(rows, jnp.where(free, transposed(rows, w), 0)), w)

    def solve(_, right):
        return factor.expand(refined(inner, factor.rows, jnp.where(mask, factor.reduce(right), 0), aim))

    return jax.lax.custom_linear_solve(product, jnp.where(on, right, 0), solve, symmetric=True)


def violation(data: Data, x: Any) -> Any:
    """The largest violation of a row, without the rounding errors of its terms in float32; bounds hold by construction."""
    accurate = x.dtype == jnp.float32

    def short(matrix, right):
        return shortfall(matrix, x, right) if accurate and not isinstance(matrix, BCOO) else right - times(matrix, x)

    worst = jnp.zeros(x.shape[-1], x.dtype)
    if data.A is not None:
        worst = largest(short(data.A, data.b))
    if data.C is not None:
        value = -short(data.C, jnp.zeros((data.C.shape[-2], 1), x.dtype))
        worst = jnp.maximum(worst, jnp.max(jnp.maximum(data.C_lower - value, value - data.C_upper), axis=0, initial=0))
    return worst


def join(*parts: Any) -> Any:
    """One above the other, a last axis of 1 spread to the others' batch."""
    batch = max(part.shape[-1] for part in parts)
    return jnp.concatenate([jnp.broadcast_to(part, (len(part), batch)) for part in parts])


def _equations(data: Data) -> int:
    return 0 if data.A is None else data.A.shape[-2]


def _rows_times(data: Data, x: Any) -> Any:
    return join(*(times(matrix, x) for matrix in (data.A, data.C) if matrix is not None))


def _transposed(data: Data, multipliers: Any) -> Any:
    m = _equations(data)
    total = 0.0 if data.A is None else transposed(data.A, multipliers[:m])
    return total if data.C is None else total + transposed(data.C, multipliers[m:])


def _target(data: Data, held: Any) -> Any:
    """What the rows that are held are to be."""
    if data.C is None:
        return data.b
    m = _equations(data)
    at = jnp.where(held[m:] < 0, data.C_lower, jnp.where(held[m:] > 0, data.C_upper, 0))
    return at if data.A is None else join(data.b, at)


def _short(data: Data, held: Any, x: Any, accurate: bool = False) -> Any:
    """Target less value of each row."""
    target = _target(data, held)
    if not accurate:
        return target - _rows_times(data, x)
    m = _equations(data)
    parts = [(data.A, target[:m]), (data.C, target[m:])]
    return join(*(shortfall(matrix, x, right) for matrix, right in parts if matrix is not None))


def _accurate(data: Data) -> bool:
    """Whether residuals carry their rounding errors: in float32, for matrices that are not sparse."""
    return data.y.dtype == jnp.float32 and not any(isinstance(matrix, BCOO) for matrix in (data.A, data.C))


def _row_lengths(data: Data) -> Any:
    found = (row_lengths(jax.lax.stop_gradient(matrix)) for matrix in (data.A, data.C) if matrix is not None)
    return join(*(jnp.atleast_2d(lengths).T for lengths in found))


def longest(data: Data) -> Any:
    """The length of the longest row;  [B or 1]."""
    if data.A is None and data.C is None:
        return jnp.zeros(1, data.y.dtype)
    return jnp.maximum(jnp.max(_row_lengths(data), axis=0), jnp.finfo(data.y.dtype).tiny)


def _inconsistent(data: Data, factor: Factor, tol: Any) -> Any:
    """Dependent rows with contradictory right-hand sides: b is not in the range of A."""
    if data.A is None or factor.right.ndim < 2:  # sparse: the certificate of `dual` finds it
        return jnp.zeros(data.y.shape[-1], bool)
    right = data.b if data.C is None else join(data.b, jnp.zeros((data.C.shape[-2], 1), data.b.dtype))
    reached = factor.restore(factor.reduce(right))[: len(data.b)]
    rounding = 1e3 * jnp.finfo(data.y.dtype).eps * largest(data.b)
    return largest(data.b - reached) > jnp.maximum(tol, rounding)
