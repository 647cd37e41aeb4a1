r"""The value function of flux balance: growth as a function of all bounds, from a pool of solved programmes, with a certificate.

    g(l, u) = max {c.v : S v = 0, l <= v <= u} = min over y of  sum_j max(d_j l_j, d_j u_j),     d = c - S'y

Every programme that was solved leaves prices, a basis and a flux, and each of them says something of all other bounds, media and
knock-outs alike:

- Its prices y are feasible for the dual of every other: their plane is an upper bound on g everywhere (weak duality).
- Its basis, with the nonbasic variables at the new bounds, is a flux; where that keeps the new bounds, c.v is a lower bound.
- Its flux itself, times a number t that keeps the new bounds, is another.
- A Farkas ray shows that there is no flux wherever its plane is below 0.

Where the two bounds meet, g is known without a search, as exactly as if it had been solved. Few planes are enough: 1,000 media of
E. coli have some twenty, of which seven differ in the four uptakes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsci.metabolism.linear_program import INFEASIBLE, MAX_STEPS, OPTIMAL, UNBOUNDED, maximise
from jaxsci.metabolism.model import Nominal, StoichiometricModel, check_model
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.optimum import reduced, start_of
from jaxsci.metabolism.presolve import presolve
from jaxsci.metabolism.starting_vertex import by_highs

_BATCH = 32  # programmes solved at a time
_ENTRIES = 2**24  # numbers that all tables of bases together may have
_SAME = 1e-9  # two planes (relative to the largest price) so near each other are one
_FAR = 1e30  # in the place of an infinite bound


class CertifiedValue(NamedTuple):
    """lower <= g <= upper. Where both are -inf there is no flux; where `settled` they are one number up to round-off."""

    upper: Any
    lower: Any
    settled: Any


class Pool(NamedTuple):
    """What solved programmes left, in the presolved network's n' variables and m' rows."""

    planes: Any  # [k, n'] reduced costs
    rays: Any  # [r, n'] Farkas rays
    fluxes: Any  # [f, n'] the first one, and those without a table
    basic: Any  # [b, m'] basic variables; from n' on they are rows' values
    at_upper: Any  # [b, n']
    tables: Any  # [b, m' + 1, n'] basic variables, and last the objective, as functions of the others


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ValueFunction:
    r"""Growth as a function of the bounds, with its certificate: ``function(lower, upper) -> CertifiedValue``.

    Bounds are [..., reactions]. The call is pure JAX: products with a few matrices and no search. `upper` is concave and
    piecewise affine in the bounds and has the derivative of the plane that decides. Made by `value_function`.

    Example:
      >>> import numpy as np, jaxsci as js
      >>> from jaxsci.metabolism.value_function import value_function
      >>> model = js.metabolism.load("e_coli_core")
      >>> media = model.with_medium({**model.medium, "EX_o2_e": np.linspace(0.0, 40.0, 20)})
      >>> growth = value_function(model, media.lower, media.upper)
      >>> unseen = model.with_medium({**model.medium, "EX_o2_e": 12.3})
      >>> value = growth(unseen.lower, unseen.upper)
      >>> print(f"{value.upper:.4f} {value.lower:.4f} {value.settled}")
      0.6338 0.6338 True
    """

    network: Network = dataclasses.field(metadata={"static": True})
    nominal: Nominal = dataclasses.field(metadata={"static": True})
    objective: Any  # [n'] of the presolved network
    pool: Pool

    def __repr__(self) -> str:
        p = self.pool
        return f"ValueFunction({self.network.name}: {len(p.planes)} planes, {len(p.basic)} bases, {len(p.rays)} rays)"

    def __call__(self, lower: Any, upper: Any) -> CertifiedValue:
        """Bounds [..., reactions] -> upper and lower bound of the optimum, and whether they have met."""
        return self._certified(*presolve(self.network).reduce_bounds(lower, upper))

    def solve(self, lower: Any, upper: Any) -> tuple[np.ndarray, np.ndarray]:
        """(optimum, status) [...] on the host: certified where it can be, else by the simplex method. NaN: no optimum."""
        low, high, whole = presolve(self.network).reduce_bounds(lower, upper)
        value = jax.tree.map(np.array, _certified(self, low, high, whole))
        shape = np.shape(value.upper)
        optimum, settled = value.upper.reshape(-1), value.settled.reshape(-1)
        status = np.where(np.isneginf(optimum), INFEASIBLE, OPTIMAL)
        left = np.flatnonzero(~settled)
        low, high = (np.asarray(x).reshape(len(settled), -1) for x in (low, high))
        for start in range(0, len(left), _BATCH):
            part = left[start : start + _BATCH]
            found = _solve_padded(self, low[part], high[part])
            optimum[part], status[part] = found.value, found.status
        return np.where(status == OPTIMAL, optimum, np.nan).reshape(shape), status.reshape(shape)

    def _certified(self, low: Any, high: Any, whole: Any) -> CertifiedValue:
        dtype = low.dtype
        pool = jax.tree.map(lambda x: jnp.asarray(x, dtype if jnp.issubdtype(x.dtype, jnp.floating) else None), self.pool)
        cost = jnp.asarray(self.objective, dtype)
        # Round-off, no more: a flux that breaks a bound by the simplex method's tolerance is no certificate.
        near, met = (1e-12, 1e-9) if dtype == jnp.float64 else (1e-5, 1e-4)
        finite = (jnp.clip(low, -_FAR, _FAR), jnp.clip(high, -_FAR, _FAR))
        upper = jnp.min(_worth(pool.planes, *finite), -1, initial=jnp.inf)
        none = ~whole | (jnp.min(_worth(pool.rays, *finite), -1, initial=jnp.inf) < -met)
        lower = jnp.maximum(_of_bases(pool, low, high, near), _of_fluxes(pool.fluxes, cost, low, high, near))
        settled = none | (upper - lower <= met * (1 + jnp.abs(upper)))
        return CertifiedValue(jnp.where(none, -jnp.inf, upper), jnp.where(none, -jnp.inf, lower), settled)


def _worth(planes: Any, low: Any, high: Any) -> Any:
    """sum_j max(d_j l_j, d_j u_j) of every plane, [..., k]."""
    return high @ jnp.maximum(planes, 0).T + low @ jnp.minimum(planes, 0).T


def _of_bases(pool: Pool, low: Any, high: Any, near: float) -> Any:
    """The best of the fluxes of all bases at these bounds; -inf where none keeps them."""
    count, rows = pool.basic.shape
    if not count:
        return jnp.full(low.shape[:-1], -jnp.inf, low.dtype)
    least, most = jnp.where(jnp.isinf(low), jnp.minimum(high, 0), low), jnp.where(jnp.isinf(high), jnp.maximum(low, 0), high)
    least, most = (jnp.where(jnp.isinf(x), 0, x) for x in (least, most))
    above = pool.at_upper[:, None, :]
    x = jnp.einsum("...n,bmn->...bm", least, jnp.where(above, 0, pool.tables))
    x = x + jnp.einsum("...n,bmn->...bm", most, jnp.where(above, pool.tables, 0))
    x, worth = x[..., :-1], x[..., -1]
    zero = jnp.zeros((*low.shape[:-1], rows), low.dtype)
    ends = [jnp.concatenate([bound, zero], -1)[..., pool.basic] for bound in (low, high)]
    slack = near * (1 + jnp.abs(x))
    keeps = jnp.all((x >= ends[0] - slack) & (x <= ends[1] + slack), -1)
    return jnp.max(jnp.where(keeps, worth, -jnp.inf), -1)


def _of_fluxes(fluxes: Any, cost: Any, low: Any, high: Any, near: float) -> Any:
    """The best multiple of a flux of the pool that these bounds allow; -inf where they allow none."""
    low, high = low[..., None, :] - near, high[..., None, :] + near
    moves = jnp.abs(fluxes) > near
    safe = jnp.where(moves, fluxes, 1.0)
    first, second = low / safe, high / safe
    least = jnp.max(jnp.where(moves, jnp.minimum(first, second), -jnp.inf), -1)
    most = jnp.min(jnp.where(moves, jnp.maximum(first, second), jnp.inf), -1)
    allowed = (least <= most) & jnp.all(moves | ((low <= 0) & (high >= 0)), -1)
    worth = fluxes @ cost
    times = jnp.where(worth > 0, most, least)
    times = jnp.where(jnp.isinf(times), jnp.clip(1.0, least, most), times)
    return jnp.max(jnp.where(allowed, times * worth, -jnp.inf), -1, initial=-jnp.inf)


def value_function(model: StoichiometricModel, lower: Any = None, upper: Any = None, *, most: int = 256) -> ValueFunction:
    """Build a `ValueFunction` that knows the growth of these bounds; it is valid for all others.

    The model is solved, then of the bounds those that the pool does not settle, a batch at a time, until it settles all.

    Args:
      model: its objective counts; on the host, so its numbers must be known.
      lower, upper: [..., reactions], such bounds as will come: media, knock-outs, points of a trajectory.
      most: programmes that may be solved; what then is unsettled stays so, and `ValueFunction.solve` solves it when asked.
    Returns:
      A `ValueFunction`.
    Raises:
      ValueError: a batch of objectives.
    """
    check_model("value_function", model)
    if np.ndim(model.objective) != 1:
        raise ValueError(f"{model.name}: a value function is of one objective, got shape {list(np.shape(model.objective))}.")
    n = len(model.reactions)
    small = presolve(model.network)
    bounds = [np.asarray(own if given is None else given) for own, given in ((model.lower, lower), (model.upper, upper))]
    bounds = [x.reshape(-1, n) for x in np.broadcast_arrays(*bounds)]
    nominal = model.nominal or Nominal(bounds[0][0], bounds[1][0], model.objective)
    m, size = small.A.shape
    empty = Pool(
        np.zeros((0, size)), np.zeros((0, size)), np.zeros((0, size)), np.zeros((0, m), int), np.zeros((0, size), bool),
        np.zeros((0, m + 1, size)),
    )  # fmt: skip
    function = ValueFunction(model.network, nominal, np.asarray(small.reduce_objective(model.objective)), empty)
    low, high, whole = (np.asarray(x) for x in small.reduce_bounds(*bounds))
    unsettled, first, solved = np.flatnonzero(whole), True, 0
    while unsettled.size and solved < most:
        # The first few alone: one of them often settles most.
        chosen = unsettled[:: max(1, len(unsettled) // (4 if first else _BATCH))][: min(_BATCH, most - solved)]
        found = _solve_padded(function, low[chosen], high[chosen])
        function = dataclasses.replace(function, pool=_with(function.pool, small.A, function.objective, found))
        solved, first = solved + len(chosen), False
        unsettled = np.setdiff1d(unsettled, chosen)
        keep = [~np.asarray(_certified(function, low[p], high[p], whole[p]).settled) for p in _parts(unsettled)]
        unsettled = unsettled[np.concatenate([np.zeros(0, bool), *keep])]
    return function


def _parts(places: np.ndarray, size: int = 1024) -> list[np.ndarray]:
    return np.array_split(places, -(-len(places) // size)) if len(places) else []


def _with(pool: Pool, A: np.ndarray, c: np.ndarray, found: Any) -> Pool:
    """The pool with what these programmes left that it did not have."""
    optimal, infeasible = found.status == OPTIMAL, found.status == INFEASIBLE
    d = np.where(abs(found.reduced_costs) <= 1e-3 * _SAME, 0.0, found.reduced_costs)[optimal]
    rays = -found.ray[infeasible][:, : A.shape[1]]
    rays = rays / np.maximum(abs(rays).max(1, keepdims=True, initial=0.0), 1e-300)
    exact = optimal & (found.steps >= 0)
    basic, at_upper = np.sort(found.basis.basic[exact], axis=1), found.basis.at_upper[exact][:, : A.shape[1]]
    known = {_key(b, u) for b, u in zip(pool.basic, pool.at_upper, strict=True)}
    room = _ENTRIES // max(1, A.size)
    tables: list[np.ndarray] = []
    new: list[int] = []
    full = np.concatenate([A, -np.eye(len(A))], axis=1)
    keep = np.flatnonzero(optimal)[: 0 if len(pool.fluxes) else 1].tolist()
    keep += np.flatnonzero(optimal & ~exact).tolist()
    for place, (k, b, u) in enumerate(zip(np.flatnonzero(exact).tolist(), basic, at_upper, strict=True)):
        if _key(b, u) in known:
            continue
        if len(known) >= room:
            keep.append(k)
        else:
            known.add(_key(b, u))
            outside = A.copy()
            outside[:, b[b < A.shape[1]]] = 0.0
            of_basic = -np.linalg.solve(full[:, b], outside) if len(A) else outside
            cost = np.where(np.isin(np.arange(A.shape[1]), b), 0.0, c) + np.append(c, np.zeros(len(A)))[b] @ of_basic
            tables.append(np.concatenate([of_basic, cost[None]]))
            new.append(place)
    return Pool(
        _distinct(np.concatenate([pool.planes, d])),
        _distinct(np.concatenate([pool.rays, rays])),
        _distinct(np.concatenate([pool.fluxes, found.x[keep]])),
        np.concatenate([pool.basic, basic[new]]),
        np.concatenate([pool.at_upper, at_upper[new]]),
        np.concatenate([pool.tables, np.array(tables).reshape(-1, len(A) + 1, A.shape[1])]),
    )


def _key(basic: np.ndarray, at_upper: np.ndarray) -> bytes:
    outside = np.array(at_upper)
    outside[basic[basic < len(outside)]] = False
    return basic.astype(np.int64).tobytes() + outside.tobytes()


def _distinct(rows: np.ndarray) -> np.ndarray:
    """Rows that differ by more than round-off, in their order."""
    scale = np.maximum(abs(rows).max(1, keepdims=True, initial=0.0), 1e-300)
    _, first = np.unique(np.round(rows / scale / _SAME) + 0.0, axis=0, return_index=True)
    return rows[np.sort(first)]


def _solve_padded(function: ValueFunction, low: np.ndarray, high: np.ndarray) -> Any:
    small, start = presolve(function.network), start_of(function.network, function.nominal)
    easy = reduced(function.network, function.nominal)
    return solve_batch(small.A, start, np.asarray(function.objective), low, high, (easy.low, easy.high), _BATCH)


def solve_batch(A: np.ndarray, start: Any, cost: np.ndarray, low: np.ndarray, high: np.ndarray, easy: Any, size: int) -> Any:
    """`maximise` of at most `size` programmes, always in a batch of that size so that it is compiled once, as NumPy arrays.

    The rest of the batch is `easy`, bounds (low, high) [n'] that need no steps.

    What the batched search gives up (a certificate that is too wide) HiGHS (Huangfu & Hall 2018) solves, one by one; such a
    member has -1 steps, and no basis or ray.
    """
    count = len(low)
    rest = [np.broadcast_to(x, (size - count, len(x))) for x in easy]
    filled = [np.concatenate([own, more]) for own, more in zip((low, high), rest, strict=True)]
    found = jax.tree.map(lambda x: np.array(x)[:count], _solve(A, start, cost, *filled))
    sparse = scipy.sparse.csc_array(A) if (found.status == MAX_STEPS).any() else None
    for k in np.flatnonzero(found.status == MAX_STEPS):
        other = by_highs(cost, sparse, low[k], high[k])
        found.steps[k], found.ray[k] = -1, 0.0
        if other.status == 0:
            found.status[k], found.value[k], found.x[k] = OPTIMAL, -other.fun, other.x
            found.reduced_costs[k] = cost + A.T @ other.eqlin.marginals
        elif other.status in (2, 3):
            found.status[k] = INFEASIBLE if other.status == 2 else UNBOUNDED
    return found


@jax.jit
def _solve(matrix: Any, start: Any, cost: Any, low: Any, high: Any) -> Any:
    return maximise(cost, matrix, low, high, start=start)


@jax.jit
def _certified(function: ValueFunction, low: Any, high: Any, whole: Any) -> CertifiedValue:
    return function._certified(low, high, whole)
