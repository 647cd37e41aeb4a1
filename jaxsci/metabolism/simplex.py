r"""The simplex method for many programmes that share a matrix: max c.x with [A, -1] x = 0, lower <= x <= upper, all finite.

x holds the m rows' values after the n variables, N = n + m of them; a basis is m of its columns, B = [A, -1][:, basis]. All
members start at the same basis, whose tableau T_0 = B_0^-1 [A, -1] they share; a pivot of one member is a matrix of rank one,

    T_k = T_{k-1} - u_k w_k^T,    w_k = row r of T_{k-1},    u_k = column q / T_rq,  with 1 - 1 / T_rq at r,

so that a member that is k pivots away keeps k pairs of vectors and no matrix of its own. Knock-outs and media of a metabolic
model are a few pivots away. Who is farther gets a tableau of its own, in rounds.

The dual method (Lemke 1954; all bounds are finite, so that every basis is dual feasible with every variable at the right bound)
changes bounds best, the primal one (Dantzig 1951) objectives. Product form of the inverse: Dantzig & Orchard-Hays (1954).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.compensated import shortfall

OPTIMAL, INFEASIBLE, UNBOUNDED, MAX_STEPS, NOT_FINITE = range(5)
_RUNNING = -1
_PIVOTS = 500  # at the least; else as many as there are columns. Members end within a tenth of that, or go in circles

_DOUBTFUL = 1e-8  # a certificate so wide (relative to 1 + value) is looked at again


class Tolerances(NamedTuple):
    """What counts as zero: a violated bound, an entry of a pivot's row, two equal ratios, an improving reduced cost."""

    bound: float
    pivot: float
    tie: float
    cost: float


class Basis(NamedTuple):
    """A vertex: which columns are basic, and at which bound the others are."""

    basic: Any  # [..., m] whole numbers
    at_upper: Any  # [..., N] true or false


class Programs(NamedTuple):
    """What members have of their own; all bounds are finite, some in the place of infinite ones."""

    cost: Any  # [B, N]
    lower: Any
    upper: Any
    no_lower: Any  # [B, N]: the lower bound stands for none
    no_upper: Any


class Vertex(NamedTuple):
    """Where a member ended."""

    x: Any  # [B, N]
    prices: Any  # [B, m]: the dual variables of [A, -1] x = 0
    reduced: Any  # [B, N]: cost - prices [A, -1]
    status: Any  # [B]
    steps: Any  # [B]
    basis: Basis
    ray: Any  # [B, m]: where infeasible, pi with min over the box of pi [A, -1] x > 0
    direction: Any  # [B, N]: where a variable that improves is held by no bound of its own, how x moves with it; else 0


def tolerances(dtype: Any) -> Tolerances:
    """For float64, or for float32."""
    return Tolerances(1e-9, 1e-9, 1e-12, 1e-9) if dtype == jnp.float64 else Tolerances(2e-5, 1e-4, 1e-6, 1e-5)


def _row(tableau: Any, r: Any) -> Any:
    return tableau[r] if tableau.ndim == 2 else tableau[jnp.arange(len(r)), r]


def _column(tableau: Any, q: Any) -> Any:
    return tableau.T[q] if tableau.ndim == 2 else tableau[jnp.arange(len(q)), :, q]


def _times(tableau: Any, x: Any) -> Any:
    return x @ tableau.T if tableau.ndim == 2 else jnp.einsum("bmn,bn->bm", tableau, x)


def _transposed_times(tableau: Any, y: Any) -> Any:
    return y @ tableau if tableau.ndim == 2 else jnp.einsum("bmn,bm->bn", tableau, y)


class _State(NamedTuple):
    k: Any
    xb: Any  # [B, m] values of the basic variables, and their bounds
    lb: Any
    ub: Any
    d: Any  # [B, N] reduced costs
    side: Any  # [B, N] 1 at the lower, -1 at the upper bound, 0 where basic or fixed
    x: Any  # [B, N] where nonbasic
    basis: Basis
    u: Any  # [K, B, m]
    w: Any  # [K, B, N]
    r: Any  # [K, B]
    status: Any
    steps: Any
    ray: Any


def _begin(tableau: Any, basis: Basis, programs: Programs, rounds: int, tol: Tolerances, *, primal: bool) -> _State:
    cost, lower, upper, *_ = programs
    (batch, count), dtype, rows = cost.shape, cost.dtype, basis.basic.shape[-1]
    members = jnp.arange(batch)[:, None]
    basic = jnp.broadcast_to(basis.basic, (batch, rows))
    is_basic = jnp.zeros((batch, count), bool).at[members, basic].set(True)
    d = cost - _transposed_times(tableau, jnp.take_along_axis(cost, basic, 1))
    d = jnp.where(is_basic, 0.0, d)
    at_upper = jnp.broadcast_to(basis.at_upper, (batch, count))
    if not primal:  # every variable goes to the bound that its reduced cost asks for
        at_upper = jnp.where(jnp.abs(d) <= tol.tie, at_upper, d > 0)
    x = jnp.where(is_basic, 0.0, jnp.where(at_upper, upper, lower))
    side = jnp.where(is_basic | (lower == upper), 0.0, jnp.where(at_upper, -1.0, 1.0)).astype(dtype)
    return _State(
        k=jnp.asarray(0),
        xb=-_times(tableau, x),
        lb=jnp.take_along_axis(lower, basic, 1),
        ub=jnp.take_along_axis(upper, basic, 1),
        d=d,
        side=side,
        x=x,
        basis=Basis(basic, at_upper),
        u=jnp.zeros((rounds, batch, rows), dtype),
        w=jnp.zeros((rounds, batch, count), dtype),
        r=jnp.zeros((rounds, batch), basic.dtype),
        status=jnp.full(batch, _RUNNING, jnp.int32),
        steps=jnp.zeros(batch, jnp.int32),
        ray=jnp.zeros((batch, rows), dtype),
    )


def allowed(xb: Any) -> Any:
    """By how much a vertex with these basic variables [..., m] may violate a bound: large numbers carry their round-off."""
    return tolerances(xb.dtype).bound * jnp.maximum(1.0, 1e-3 * jnp.abs(xb).max(-1))


def _noise(k: Any, count: int, dtype: Any) -> Any:
    """Numbers in [1/2, 3/2] that change with the step: choices that vary cannot go in circles. Ones in the first round."""
    wave = jnp.sin(12.9898 * jnp.arange(count, dtype=dtype) + 78.233 * (k + 1)) * 4375.85
    return jnp.where(k < 0, 1.0, 0.5 + wave - jnp.floor(wave))


class _Pivot(NamedTuple):
    r: Any
    q: Any
    row: Any
    column: Any
    above: Any  # the leaving variable goes to its upper bound
    length: Any  # by how much the entering variable changes
    flips: Any  # the entering variable goes to its other bound, and no variable leaves
    status: Any


def _current_row(state: _State, tableau: Any, r: Any) -> Any:
    members = jnp.arange(len(r))
    return _row(tableau, r) - jnp.einsum("kb,kbn->bn", state.u[:, members, r], state.w)


def _current_column(state: _State, tableau: Any, q: Any) -> Any:
    members = jnp.arange(len(q))
    return _column(tableau, q) - jnp.einsum("kb,kbm->bm", state.w[:, members, q], state.u)


def _dual_pivot(state: _State, tableau: Any, tol: Tolerances, jitter: Any) -> _Pivot:
    members = jnp.arange(len(state.status))
    violation = jnp.maximum(state.lb - state.xb, state.xb - state.ub)
    violated = violation > allowed(state.xb)[:, None]
    r = jnp.argmax(
        jnp.where(violated, violation * _noise(jitter, violation.shape[1], violation.dtype), -1.0),
        1,
    )
    done = ~violated.any(1)
    above = state.xb[members, r] > state.ub[members, r]
    row = _current_row(state, tableau, r)
    slope = jnp.where(above, 1.0, -1.0).astype(row.dtype)[:, None] * row * state.side
    eligible = slope > tol.pivot
    ratio = jnp.where(eligible, jnp.maximum(-state.d * state.side, 0.0) / jnp.where(eligible, slope, 1.0), jnp.inf)
    q = jnp.argmax(jnp.where(ratio <= (ratio.min(1) + tol.tie)[:, None], jnp.where(eligible, slope, -1.0), -1.0), 1)
    column = _current_column(state, tableau, q)
    target = jnp.where(above, state.ub[members, r], state.lb[members, r])
    pivot = jnp.where(done | ~eligible.any(1), 1.0, row[members, q])
    status = jnp.where(done, OPTIMAL, jnp.where(eligible.any(1), _RUNNING, INFEASIBLE))
    return _Pivot(r, q, row, column, above, (state.xb[members, r] - target) / pivot, jnp.zeros_like(done), status)


def _primal_pivot(state: _State, tableau: Any, programs: Programs, tol: Tolerances, jitter: Any) -> _Pivot:
    members = jnp.arange(len(state.status))
    merit = state.d * state.side
    improves = merit > tol.cost
    q = jnp.argmax(jnp.where(improves, merit * _noise(jitter, merit.shape[1], merit.dtype), -1.0), 1)
    done = ~improves.any(1)
    column = _current_column(state, tableau, q)
    sign = state.side[members, q]
    change = -sign[:, None] * column  # of the basic variables, a unit of the way
    moves = jnp.abs(change) > tol.pivot
    room = jnp.where(change > 0, state.ub - state.xb, state.xb - state.lb)
    ratio = jnp.where(moves, jnp.maximum(room, 0.0) / jnp.where(moves, jnp.abs(change), 1.0), jnp.inf)
    r = jnp.argmax(
        jnp.where(ratio <= (ratio.min(1) * (1 + 1e-12) + tol.tie)[:, None], jnp.where(moves, jnp.abs(change), -1.0), -1.0), 1
    )
    reach = programs.upper[members, q] - programs.lower[members, q]
    flips = reach <= ratio[members, r]
    row = _current_row(state, tableau, r)
    length = sign * jnp.where(flips, reach, ratio[members, r])
    return _Pivot(r, q, row, column, change[members, r] > 0, length, flips & ~done, jnp.where(done, OPTIMAL, _RUNNING))


def _step(state: _State, tableau: Any, programs: Programs, tol: Tolerances, jitter: Any, *, primal: bool) -> _State:
    p = _primal_pivot(state, tableau, programs, tol, jitter) if primal else _dual_pivot(state, tableau, tol, jitter)
    members, dtype = jnp.arange(len(p.r)), state.xb.dtype
    fresh = state.status == _RUNNING
    status = jnp.where(fresh, p.status, state.status)
    moves = status == _RUNNING
    pivots = moves & ~p.flips
    found = (fresh & (status == INFEASIBLE))[:, None]
    count = state.xb.shape[1]
    ray = jnp.where(found, jnp.where(p.above, 1.0, -1.0).astype(dtype)[:, None] * p.row[:, -count:], state.ray)

    pivot = jnp.where(pivots, p.row[members, p.q], 1.0)
    length = jnp.where(moves, p.length, 0.0)
    theta = jnp.where(pivots, state.d[members, p.q] / pivot, 0.0)
    at_row = jnp.arange(count) == p.r[:, None]
    leaves_row = at_row & pivots[:, None]
    columns = jnp.arange(state.d.shape[1])
    enters = (columns == p.q[:, None]) & pivots[:, None]
    leaving = state.basis.basic[members, p.r]
    leaves = (columns == leaving[:, None]) & pivots[:, None]
    flipped = (columns == p.q[:, None]) & (moves & p.flips)[:, None]

    value = state.x[members, p.q] + length
    target = jnp.where(p.above, state.ub[members, p.r], state.lb[members, p.r])
    held = state.lb[members, p.r] == state.ub[members, p.r]
    left = jnp.where(held, 0.0, jnp.where(p.above, -1.0, 1.0)).astype(dtype)
    xb = state.xb - p.column * length[:, None]
    at_upper = jnp.where(leaves, p.above[:, None], state.basis.at_upper ^ flipped)
    u = jnp.where(at_row, 1 - 1 / pivot[:, None], p.column / pivot[:, None]) * pivots[:, None]
    return _State(
        k=state.k + 1,
        xb=jnp.where(leaves_row, value[:, None], xb),
        lb=jnp.where(leaves_row, programs.lower[members, p.q][:, None], state.lb),
        ub=jnp.where(leaves_row, programs.upper[members, p.q][:, None], state.ub),
        d=jnp.where(enters, 0.0, jnp.where(leaves, -theta[:, None], state.d - theta[:, None] * p.row)),
        side=jnp.where(enters, 0.0, jnp.where(leaves, left[:, None], jnp.where(flipped, -state.side, state.side))),
        x=jnp.where(leaves, target[:, None], jnp.where(flipped, value[:, None], state.x)),
        basis=Basis(jnp.where(leaves_row, p.q[:, None], state.basis.basic), at_upper),
        u=jax.lax.dynamic_update_index_in_dim(state.u, u.astype(dtype), state.k, 0),
        w=jax.lax.dynamic_update_index_in_dim(state.w, p.row, state.k, 0),
        r=jax.lax.dynamic_update_index_in_dim(state.r, p.r.astype(state.r.dtype), state.k, 0),
        status=status,
        steps=state.steps + moves,
        ray=ray,
    )


def _solve_basis(state: _State, inverse: Any, g: Any) -> Any:
    """B^-1 g for the basis of each member."""
    members = jnp.arange(len(g))

    def factor(k: Any, z: Any) -> Any:
        return z - state.u[k] * z[members, state.r[k]][:, None]

    return jax.lax.fori_loop(0, state.k, factor, _times(inverse, g))


def _solve_transposed(state: _State, inverse: Any, h: Any) -> Any:
    """B^-T h for the basis of each member."""
    members = jnp.arange(len(h))

    def factor(i: Any, z: Any) -> Any:
        k = state.k - 1 - i
        return z.at[members, state.r[k]].add(-(state.u[k] * z).sum(1))

    return _transposed_times(inverse, jax.lax.fori_loop(0, state.k, factor, h))


def _in_twice_the_precision(state: _State, matrix: Any, inverse: Any, cost: Any, prices: Any) -> tuple[Any, Any]:
    """Prices and reduced costs where the basis is ill-conditioned and prices are large: the round-off of B'y, which is that of
    c_B, comes back through B^-T as reduced costs of the wrong sign, and bounds of 1,000 make a wide certificate of it."""
    members, transposed = jnp.arange(len(prices))[:, None], matrix.swapaxes(-1, -2)

    def costs(prices: Any) -> Any:
        count = matrix.shape[-1]
        return jnp.concatenate([shortfall(transposed, prices.T, cost[:, :count].T).T, cost[:, count:] + prices], 1)

    def refine(_: Any, prices: Any) -> Any:
        return prices + _solve_transposed(state, inverse, jnp.take_along_axis(costs(prices), state.basis.basic, 1))

    prices = jax.lax.fori_loop(0, 2, refine, prices)
    return prices, costs(prices).at[members, state.basis.basic].set(0.0)


def _finish(state: _State, matrix: Any, tableau: Any, programs: Programs, tol: Tolerances) -> Vertex:
    """The vertex of the last basis, refined: what pivots have left of round-off goes with one residual of each kind."""
    members = jnp.arange(len(state.status))[:, None]
    basic, count = state.basis.basic, matrix.shape[-1]
    inverse = -tableau[..., count:]
    x = state.x.at[members, basic].set(state.xb)
    residual = _times(matrix, x[:, :count]) - x[:, count:]
    x = x.at[members, basic].add(-_solve_basis(state, inverse, residual))

    def refine(_: Any, prices: Any) -> Any:
        reduced = programs.cost - jnp.concatenate([_transposed_times(matrix, prices), -prices], 1)
        return prices + _solve_transposed(state, inverse, jnp.take_along_axis(reduced, basic, 1))

    prices = jax.lax.fori_loop(0, 2, refine, state.d[:, count:])  # the second pass is for the round-off of the first
    reduced = programs.cost - jnp.concatenate([_transposed_times(matrix, prices), -prices], 1)
    reduced = reduced.at[members, basic].set(0.0)
    at_upper = state.basis.at_upper
    if x.dtype == jnp.float64:
        wrong = jnp.maximum(jnp.where(at_upper, -reduced, reduced), 0.0) * (programs.upper - programs.lower)
        doubtful = wrong.sum(1) > _DOUBTFUL * (1 + jnp.abs((programs.cost * x).sum(1)))
        again = (doubtful & (state.status == OPTIMAL)).any()
        refined = lambda prices, _: _in_twice_the_precision(state, matrix, inverse, programs.cost, prices)  # noqa: E731
        prices, reduced = jax.lax.cond(again, refined, lambda *same: same, prices, reduced)
    endless = jnp.where(at_upper, programs.no_upper, programs.no_lower) & (jnp.abs(reduced) > tol.cost)
    moves = jnp.where(endless, jnp.where(at_upper, 1.0, -1.0), 0.0).astype(x.dtype)
    change = _solve_basis(state, inverse, _times(matrix, moves[:, :count]) - moves[:, count:])
    direction = moves.at[members, basic].add(-change)
    status = jnp.where(state.status == _RUNNING, MAX_STEPS, state.status)
    return Vertex(x, prices, reduced, status, state.steps, state.basis, state.ray, direction)


def _round(
    matrix: Any, tableau: Any, basis: Basis, programs: Programs, steps: int, primal: bool, jitter: Any
) -> tuple[Vertex, _State]:
    tol = tolerances(programs.cost.dtype)

    def step(state: _State) -> _State:
        return _step(state, tableau, programs, tol, jitter + jnp.where(jitter < 0, 0, state.k), primal=primal)

    def going(state: _State) -> Any:
        return (state.k < steps) & (state.status == _RUNNING).any()

    state = jax.lax.while_loop(going, step, _begin(tableau, basis, programs, steps, tol, primal=primal))
    return _finish(state, matrix, tableau, programs, tol), state


def difficulty(tableau: Any, basis: Basis, programs: Programs, *, primal: bool) -> Any:
    """How many bounds a member violates at the start, or how many variables would improve it: about how far it has to go."""
    tol = tolerances(programs.cost.dtype)
    state = _begin(tableau, basis, programs, 0, tol, primal=primal)
    if primal:
        return (state.d * state.side > tol.cost).sum(1)
    return (jnp.maximum(state.lb - state.xb, state.xb - state.ub) > allowed(state.xb)[:, None]).sum(1)


@partial(jax.jit, static_argnames=("primal", "pivots"))
def solve(matrix: Any, tableau: Any, basis: Basis, programs: Programs, *, primal: bool = False, pivots: int = 16) -> Vertex:
    """Every member's optimal vertex, from a basis and its tableau [m, N] that they share.

    Args:
      matrix: A, [m, n].
      tableau: [m, N], of the basis; or one a member.
      primal: the method: the start must then be feasible for every member.
      pivots: a round, after which whoever goes on renews its tableau.
    """
    batch, rows = programs.cost.shape[0], basis.basic.shape[-1]
    small = tableau.ndim == 3 or tableau.size <= 200_000

    def going(carry: Any) -> Any:
        return (carry[0] * pivots < max(_PIVOTS, programs.cost.shape[1])) & (carry[1].status == MAX_STEPS).any()

    def again(carry: Any) -> Any:
        number, old, (u, w), own = carry
        own = jax.lax.cond(number > 0, lambda: own - jnp.einsum("kbm,kbn->bmn", u, w), lambda: own)
        new, state = _round(matrix, own, old.basis, programs, pivots, primal, jnp.where(number > 0, number * pivots, -1))
        moved = old.status == MAX_STEPS
        pick = lambda n, o: jnp.where(moved.reshape((batch,) + (1,) * (n.ndim - 1)), n, o)  # noqa: E731
        kept = jax.tree.map(pick, new._replace(steps=old.steps + new.steps), old)
        return number + 1, kept, (state.u, state.w), own

    def rounds(vertex: Vertex, pairs: Any) -> Vertex:
        own = tableau if tableau.ndim == 3 else jnp.broadcast_to(tableau, (batch, *tableau.shape))
        first = jnp.asarray(0 if small else 1)
        return jax.lax.while_loop(going, again, (first, vertex, pairs, own))[1]

    if not small:  # a tableau a member costs more than most searches: only for who needs one
        vertex, state = _round(matrix, tableau, basis, programs, pivots, primal, jnp.asarray(-1))
        pairs = (state.u, state.w)
        return jax.lax.cond((vertex.status == MAX_STEPS).any(), rounds, lambda vertex, _: vertex, vertex, pairs)
    zeros = lambda *shape: jnp.zeros((batch, *shape), programs.cost.dtype)  # noqa: E731
    basis = Basis(*(jnp.broadcast_to(x, (batch, x.shape[-1])) for x in basis))
    count = programs.cost.shape[1]
    waiting = jnp.full(batch, MAX_STEPS, jnp.int32)
    vertex = Vertex(
        zeros(count), zeros(rows), zeros(count), waiting, jnp.zeros_like(waiting), basis, zeros(rows), zeros(count)
    )
    none = jnp.zeros((pivots, batch, rows), programs.cost.dtype), jnp.zeros((pivots, batch, count), programs.cost.dtype)
    return rounds(vertex, none)
