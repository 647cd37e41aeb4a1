r"""Linear programmes in batches, with exact vertices, certificates and derivatives.

    max c.x     with    row_lower <= A x <= row_upper,    lower <= x <= upper

The optimum's value is differentiated by its prices (the envelope theorem), its point by its basis; see `maximise`.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism import simplex
from jaxsci.metabolism.simplex import INFEASIBLE, MAX_STEPS, NOT_FINITE, OPTIMAL, UNBOUNDED, Basis, Programs, Vertex
from jaxsci.metabolism.starting_vertex import Start, optimal_start, slack_start

STATUS = ("optimal", "infeasible", "unbounded", "not converged", "not finite")
_GAP = 1e-7


class LinearSolution(NamedTuple):
    """What `maximise` returns; leading axes are the batch."""

    value: Any
    x: Any  # [..., n]
    row_prices: Any  # [..., m]: d value / d (the bound that holds a row)
    reduced_costs: Any  # [..., n]: c - row_prices A, d value / d (the bound that holds a variable)
    status: Any  # OPTIMAL, INFEASIBLE, UNBOUNDED, MAX_STEPS, NOT_FINITE
    gap: Any  # what the prices leave between value and its upper bound
    ray: Any  # [..., n + m]: where infeasible, pi [A, -1] (of the variables, then the rows); where unbounded a direction
    steps: Any
    basis: Basis


def starting_vertex(A: Any, c: Any, lower: Any, upper: Any, row_lower: Any = 0.0, row_upper: Any = 0.0) -> Start:
    """The optimal basis of one programme, for `maximise` of others like it; found on the host, once (by HiGHS).

    Every number must be known. Where the programme has no optimum, it is the basis of the rows.
    """
    A = np.asarray(A, np.float64)
    lower, upper = _joined(A, lower, upper, row_lower, row_upper, np)
    cost = np.concatenate([np.broadcast_to(np.asarray(c, np.float64), A.shape[1]), np.zeros(len(A))])
    return optimal_start(A, cost, lower, upper)


def maximise(
    c: Any,
    A: Any,
    lower: Any,
    upper: Any,
    row_lower: Any = 0.0,
    row_upper: Any = 0.0,
    *,
    start: Start | None = None,
    primal: bool = False,
) -> LinearSolution:
    r"""The optimum of a linear programme, or of a batch of them: a vertex, exact to round-off, with its prices.

        max c.x     with    row_lower <= A x <= row_upper,    lower <= x <= upper

    **Derivatives.** The value's is that of Lagrange's function, dc.x + reduced_costs . d(bounds) + row_prices . d(row bounds)
    - row_prices dA x, and the point's and the prices' are those of the vertex whose basis was found. They are the derivatives
    where vertex and prices are unique. Where the prices are not (a basic variable at a bound), the value has a kink: the
    derivative is that of one side of it. Where the point is not unique, it is that of the vertex returned.
    Members without an optimum have NaN for value and point, and derivative 0.

    Args:
      c: [..., n]. A: [..., m, n]; one NumPy array for all is best. lower, upper: [..., n] or a number, infinite for no bound.
      row_lower, row_upper: [..., m] or a number.
      start: from `starting_vertex`; a good one saves most of the work. Without one the search begins far away.
      primal: the primal simplex method instead of the dual one: faster where only `c` differs from the start's programme, whose
        vertex must be feasible here.
    Returns:
      A `LinearSolution`. Its `status` says OPTIMAL, INFEASIBLE (`ray`: a combination of the rows whose least value over the
      bounds is positive though it must be 0; Farkas 1902), UNBOUNDED (`ray`: a direction that is allowed for ever and
      improves), MAX_STEPS, or NOT_FINITE (NaN came in).
    Reference: Lemke (1954), Dantzig & Orchard-Hays (1954); the derivative is that of Freund (1985), Math. Program. 33, 1.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> A = jnp.array([[1.0, 1.0]])
      >>> best = lambda room: js.metabolism.maximise(jnp.array([2.0, 3.0]), A, 0.0, jnp.array([4.0, 3.0]), -jnp.inf, room)
      >>> float(best(5.0).value), best(5.0).x.tolist(), float(jax.grad(lambda room: best(room).value)(5.0))
      (13.0, [2.0, 3.0], 2.0)
    """
    if not isinstance(A, jax.Array):
        A = np.asarray(A)
    if np.ndim(A) < 2:
        raise ValueError(f"maximise: A is [..., m, n], got shape {list(np.shape(A))}.")
    m, n = A.shape[-2:]
    if not m:  # nothing but bounds: one row of zeros, which says nothing
        found = maximise(c, np.zeros((*A.shape[:-2], 1, n)), lower, upper, primal=primal)
        return found._replace(row_prices=found.row_prices[..., :0], ray=found.ray[..., :n])
    dtype = jnp.result_type(float, *(x for x in (c, A, lower, upper, row_lower, row_upper) if isinstance(x, jax.Array)))
    lower, upper = _joined(A, lower, upper, row_lower, row_upper, jnp, dtype)
    cost = jnp.concatenate(
        [jnp.broadcast_to(jnp.asarray(c, dtype), (*np.shape(c)[:-1], n)), jnp.zeros((*np.shape(c)[:-1], m), dtype)], -1
    )
    batch = jnp.broadcast_shapes(lower.shape[:-1], upper.shape[:-1], cost.shape[:-1], A.shape[:-2])
    if start is None:
        known = isinstance(A, np.ndarray) and A.ndim == 2
        start = slack_start(A) if known else _slack_of(jnp.asarray(A, dtype), batch)
    flat = lambda x: jnp.broadcast_to(x, (*batch, n + m)).reshape(-1, n + m)  # noqa: E731
    matrix = jnp.asarray(A, dtype)
    if matrix.ndim > 2:
        matrix = jnp.broadcast_to(matrix, (*batch, m, n)).reshape(-1, m, n)
    found = _flat(matrix, flat(cost), flat(lower), flat(upper), start, primal)
    return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), found)


def _slack_of(A: Any, batch: tuple[int, ...]) -> Start:
    """The slack basis of a traced matrix, or of one a member."""
    m, n = A.shape[-2:]
    tableau = jnp.concatenate([-A, jnp.broadcast_to(jnp.eye(m, dtype=A.dtype), (*A.shape[:-2], m, m))], -1)
    if A.ndim > 2:
        tableau = jnp.broadcast_to(tableau, (*batch, m, n + m)).reshape(-1, m, n + m)
    return Start(Basis(np.arange(n, n + m), np.zeros(n + m, bool)), tableau)


def _joined(A: Any, lower: Any, upper: Any, row_lower: Any, row_upper: Any, xp: Any, dtype: Any = np.float64) -> Any:
    """The bounds of the variables and of the rows, one after the other."""
    m, n = A.shape[-2:]

    def both(of_variables: Any, of_rows: Any) -> Any:
        v, r = xp.asarray(of_variables, dtype), xp.asarray(of_rows, dtype)
        batch = np.broadcast_shapes(v.shape[:-1], r.shape[:-1])
        return xp.concatenate([xp.broadcast_to(v, (*batch, n)), xp.broadcast_to(r, (*batch, m))], -1)

    return both(lower, row_lower), both(upper, row_upper)


@functools.partial(jax.jit, static_argnames="primal")
def _flat(matrix: Any, cost: Any, lower: Any, upper: Any, start: Start, primal: bool) -> LinearSolution:
    """One batch axis: the vertices, then their derivatives."""
    # Large tables that are constants of a caller's program are not for the compiler to fold.
    matrix, start = jax.lax.optimization_barrier((matrix, start))
    found = jax.lax.stop_gradient(_search(primal)(*jax.lax.stop_gradient((matrix, start, cost, lower, upper))))
    optimal, basis = found.status == OPTIMAL, found.basis
    keep = lambda a: jnp.where(optimal[:, None], a, 0.0)  # noqa: E731  # others have derivative 0
    cost, lower, upper = keep(cost), keep(lower), keep(upper)
    x, prices = _attached(matrix, cost, lower, upper, basis, keep(found.x), keep(found.prices))
    reduced = cost - jnp.concatenate([_left(prices, matrix), -prices], 1)
    reduced = reduced.at[jnp.arange(len(cost))[:, None], basis.basic].set(0.0, unique_indices=True)
    value = _value(matrix, cost, lower, upper, basis.at_upper, x, prices, reduced)
    nan = lambda a: jnp.where(optimal.reshape(optimal.shape + (1,) * (a.ndim - 1)), a, jnp.nan)  # noqa: E731
    n = matrix.shape[-1]
    return LinearSolution(
        nan(value),
        nan(x[:, :n]),
        nan(prices),
        nan(reduced[:, :n]),
        found.status,
        nan(found.gap),
        found.ray,
        found.steps,
        basis,
    )


class _Found(NamedTuple):
    """What the search ends with, before derivatives: [B, ...]."""

    x: Any
    prices: Any
    status: Any
    gap: Any
    ray: Any
    steps: Any
    basis: Basis


def _judged(matrix: Any, cost: Any, lower: Any, upper: Any, start: Start, primal: bool) -> _Found:
    """Searches, and says what was found: the gap that the prices certify, or the ray that shows why there is no optimum."""
    programs, finite, crossed = _boxed(cost, lower, upper)
    vertex = _chunked(matrix, start, programs, primal)
    d, endless = vertex.reduced, (vertex.direction != 0).any(1)
    # A variable that cannot move is at the bound that its reduced cost presses against: that one has the derivative.
    at_upper = jnp.where(programs.lower == programs.upper, d > 0, vertex.basis.at_upper)
    value = (programs.cost * vertex.x).sum(1)
    gap = jnp.maximum(jnp.maximum(_product(d, lower), _product(d, upper)).sum(1) - value, 0.0)
    wide = gap > (_GAP if cost.dtype == jnp.float64 else 1e-2) * (1 + jnp.abs(value))
    status = jnp.where((vertex.status == OPTIMAL) & endless, UNBOUNDED, vertex.status)
    status = jnp.where((status == OPTIMAL) & wide, MAX_STEPS, status)
    status = jnp.where(finite, jnp.where(crossed, INFEASIBLE, status), NOT_FINITE)
    pi = jnp.where(crossed[:, None], 0.0, vertex.ray)
    farkas = jnp.concatenate([_left(pi, matrix), -pi], 1)
    # A row that no variable seemed to mend is a proof only if those of tiny coefficients could not do it either.
    least = jnp.minimum(_product(farkas, lower), _product(farkas, upper))
    doubt = 1e-6 if cost.dtype == jnp.float64 else 1e-3
    proven = crossed | (least.sum(1) >= -doubt * jnp.abs(least).sum(1))
    status = jnp.where((status == INFEASIBLE) & ~proven, MAX_STEPS, status)
    direction = jnp.where((status == UNBOUNDED)[:, None], vertex.direction, 0.0)
    ray = jnp.where((status == INFEASIBLE)[:, None], farkas, direction)
    return _Found(vertex.x, vertex.prices, status, gap, ray, vertex.steps, vertex.basis._replace(at_upper=at_upper))


def _product(d: Any, bound: Any) -> Any:
    """d * bound, where nothing times an infinite bound is nothing."""
    return jnp.where(jnp.isinf(bound) & (jnp.abs(d) <= 1e-9), 0.0, d * bound)


def _left(y: Any, matrix: Any) -> Any:
    return y @ matrix if matrix.ndim == 2 else jnp.einsum("bm,bmn->bn", y, matrix)


def _boxed(cost: Any, lower: Any, upper: Any) -> tuple[Programs, Any, Any]:
    """Finite bounds for infinite ones, something harmless for NaN; which members are finite, and whose bounds cross."""
    finite = jnp.isfinite(cost).all(1) & ~(jnp.isnan(lower) | jnp.isnan(upper)).any(1)
    clean = lambda x: jnp.where(finite[:, None], x, 0.0)  # noqa: E731
    cost, lower, upper = clean(cost), clean(lower), clean(upper)
    largest = lambda x: jnp.where(jnp.isinf(x), 0.0, jnp.abs(x)).max(1)  # noqa: E731
    far = 1e3 * jnp.maximum(1.0, jnp.maximum(largest(lower), largest(upper)))[:, None]
    low, high = jnp.clip(lower, -far, far), jnp.clip(upper, -far, far)
    crossed = (low > high).any(1)
    return Programs(cost, jnp.minimum(low, high), high, jnp.isinf(lower), jnp.isinf(upper)), finite, crossed


@functools.cache
def _search(primal: bool) -> Any:
    """Solves a batch; a `jax.vmap` around it makes the batch larger instead of running it in step."""

    @jax.custom_batching.custom_vmap
    def search(matrix: Any, start: Start, cost: Any, lower: Any, upper: Any) -> _Found:
        return _judged(matrix, cost, lower, upper, start, primal)

    @search.def_vmap
    def rule(size: int, batched: Any, matrix: Any, start: Start, *own: Any) -> Any:
        spread = lambda x, is_batched: x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))  # noqa: E731
        own = tuple(spread(x, b) for x, b in zip(own, batched[2:], strict=True))
        members = own[0].shape[1]
        if any(jax.tree.leaves(batched[:2])):  # a matrix, or a start, for each: every member gets its own
            matrix = _each(matrix, batched[0], size, members, 2)
            start = jax.tree.map(lambda x, b, k: _each(x, b, size, members, k), start, batched[1], Start(Basis(1, 1), 2))
        out = search(matrix, start, *(x.reshape(size * members, *x.shape[2:]) for x in own))
        return jax.tree.map(lambda x: x.reshape(size, members, *x.shape[1:]), out), jax.tree.map(lambda _: True, out)

    return search


def _each(x: Any, is_batched: bool, size: int, members: int, event: int) -> Any:
    """[size, members, ...] of what may lack either axis, as [size * members, ...]."""
    x = jnp.asarray(x)
    if not is_batched:
        x = jnp.broadcast_to(x, (size, *x.shape))
    if x.ndim == event + 1:
        x = jnp.broadcast_to(x[:, None], (size, members, *x.shape[1:]))
    return x.reshape(size * members, *x.shape[2:])


def _chunked(matrix: Any, start: Start, programs: Programs, primal: bool) -> Vertex:
    """So many members at a time that their vectors stay in the cache, members of like difficulty together."""
    batch, (m, n) = len(programs.cost), matrix.shape[-2:]
    large = m * (n + m) > 200_000
    pivots, chunk = (64, 4) if large else (16, 16)
    basis = jax.tree.map(jnp.asarray, start.basis)
    tableau = jnp.asarray(start.tableau, programs.cost.dtype)

    def solve(parts: Any) -> Vertex:
        matrix, tableau, basis, programs = parts
        return simplex.solve(matrix, tableau, basis, programs, primal=primal, pivots=pivots)

    if batch <= chunk:
        return solve((matrix, tableau, basis, programs))
    order = (
        jnp.argsort(simplex.difficulty(tableau, basis, programs, primal=primal)) if tableau.ndim == 2 else jnp.arange(batch)
    )
    count = math.ceil(batch / chunk)
    order = jnp.concatenate([order, jnp.broadcast_to(order[-1], count * chunk - batch)])
    own = {"programs": programs}
    if tableau.ndim == 3:
        own["tableau"] = tableau
    if matrix.ndim == 3:
        own["matrix"] = matrix
    if basis.basic.ndim == 2:
        own["basis"] = basis
    shared = {"matrix": matrix, "tableau": tableau, "basis": basis}
    chunks = jax.tree.map(lambda x: x[order].reshape(count, chunk, *x.shape[1:]), own)

    def one(part: Any) -> Vertex:
        whole = {**shared, **part}
        return solve((whole["matrix"], whole["tableau"], whole["basis"], whole["programs"]))

    found = jax.tree.map(lambda x: x.reshape(count * chunk, *x.shape[2:]), jax.lax.map(one, chunks))
    back = jnp.zeros(batch, order.dtype).at[order].set(jnp.arange(len(order)))
    return jax.tree.map(lambda x: x[back], found)


def _columns(matrix: Any, basic: Any) -> Any:
    """B^T of every member, [B, m, m]."""
    m = matrix.shape[-2]
    full = jnp.concatenate([matrix, jnp.broadcast_to(-jnp.eye(m, dtype=matrix.dtype), (*matrix.shape[:-2], m, m))], -1)
    if full.ndim == 2:
        return full.T[basic]
    return jnp.take_along_axis(full.swapaxes(-1, -2), basic[..., None], 1)


def _row_values(matrix: Any, x: Any) -> Any:
    return x @ matrix.T if matrix.ndim == 2 else jnp.einsum("bmn,bn->bm", matrix, x)


@jax.custom_jvp
def _attached(matrix: Any, cost: Any, lower: Any, upper: Any, basis: Basis, x: Any, prices: Any) -> tuple[Any, Any]:
    """The vertex and its prices, with the derivative of a vertex:  B dx_B = -N dx_N - dA x,   B^T dy = dc_B - dA_B^T y."""
    return x, prices


@_attached.defjvp
def _attached_jvp(primals: Any, tangents: Any) -> Any:
    matrix, _, _, _, basis, x, prices = primals
    d_matrix, d_cost, d_lower, d_upper, *_ = tangents
    n, members = matrix.shape[-1], jnp.arange(len(x))[:, None]
    transposed = _columns(matrix, basis.basic)
    is_basic = jnp.zeros(x.shape, bool).at[members, basis.basic].set(True)
    moved = jnp.where(is_basic, 0.0, jnp.where(basis.at_upper, d_upper, d_lower))
    rows = _row_values(matrix, moved[:, :n]) - moved[:, n:] + _row_values(d_matrix, x[:, :n])
    change = jnp.linalg.solve(transposed.swapaxes(-1, -2), -rows[..., None])[..., 0]
    dx = moved.at[members, basis.basic].add(change)
    target = d_cost - jnp.concatenate([_left(prices, d_matrix), jnp.zeros_like(prices)], 1)
    dy = jnp.linalg.solve(transposed, jnp.take_along_axis(target, basis.basic, 1)[..., None])[..., 0]
    return (x, prices), (dx, dy)


@jax.custom_jvp
def _value(matrix: Any, cost: Any, lower: Any, upper: Any, at_upper: Any, x: Any, prices: Any, reduced: Any) -> Any:
    """c.x, with the derivative of Lagrange's function."""
    return (cost * x).sum(1)


@_value.defjvp
def _value_jvp(primals: Any, tangents: Any) -> Any:
    matrix, _, _, _, at_upper, x, prices, reduced = primals
    d_matrix, d_cost, d_lower, d_upper, *_ = tangents
    n = matrix.shape[-1]
    bounds = jnp.where(at_upper, d_upper, d_lower)
    change = (d_cost * x + reduced * bounds).sum(1) - (prices * _row_values(d_matrix, x[:, :n])).sum(1)
    return _value(*primals), change
