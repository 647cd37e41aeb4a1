r"""Presolve: the same fluxes in fewer variables, exactly, and the way back for fluxes and for prices.

    {v : S v = 0, l <= v <= u}     ->     {v_j = ratio_j z_{group(j)} : A z = 0, l' <= z <= u'}

Only the structure of S is used, never a flux, a bound or an optimum, so one presolve serves every medium and knock-out:

1. A metabolite with one reaction blocks it: v_j = 0.
2. A metabolite with two reactions ties them: a v_j + b v_k = 0. Both become one variable, and again until nothing changes.
3. A row that is a combination of others goes. A row with a variable that no other row left has is independent of them whatever
   the numbers are; of the small core that remains a pivoted QR decides.
4. Rows and columns are scaled by powers of two (geometric mean of the largest and the smallest entry), which rounds nothing.

Reductions 1 and 2 are the oldest of linear programming (Brearley, Mitra & Williams 1975); flux analysis knows the groups of 2
as enzyme subsets (Pfeiffer et al. 1999). Deleting what a flux variability analysis calls blocked is not among them: with a
threshold of 1e-9 that turns iJO1366's growth from 0.98 to 0.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from jax import Array

from jaxsci.metabolism.network import Network

_CANCELLED = 1e-12  # a sum of terms this much smaller than the largest of them is 0
_DEPENDENT = 1e-11  # a pivot of the scaled rows this much smaller than the first is 0
_DENSE = 2**16  # matrices up to so many entries are multiplied as dense ones
ROUNDING = 100.0  # machine epsilons by which scaled bounds of one group may cross and still be equal


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Presolved:
    r"""A presolved network: the reduced matrix and the maps to and fro.

    `matrix` (``csc_array``) and `A` (dense NumPy) are [m', n'], scaled. The maps are pure JAX, take any leading batch axes, and
    keep the dtype of what they are given; the scaling is inside them.

    - ``reduce_bounds(lower, upper) -> (lower', upper', ok)``: the tightest of a group's scaled bounds; `ok` is False where a
      blocked reaction's bounds exclude 0 or a group's interval is empty. The derivative goes to the reaction whose bound it is,
      the first of equals.
    - ``reduce_objective(c) -> c'``: c'.z = c.v.
    - ``expand(z) -> v``.
    - ``expand_duals(y', d', lower, upper, c) -> (y, d)``: prices of all metabolites, reduced costs of all reactions,
      d = c - S'y. A group's reduced cost belongs to the reaction whose bound is the binding one, so that
      sum_j max(d_j l_j, d_j u_j) is the same number before and after. Removed rows have price 0.
    - ``conflict(lower, upper) -> (y, d)``: where `ok` is False, a Farkas ray: d = -S'y and sum_j max(d_j l_j, d_j u_j) < 0
      (d = 0 where a reaction's own lower bound is above its upper one).

    Attributes:
      group: [reactions] the variable that carries a reaction, -1 for a blocked one.
      ratio: [reactions] v_j = ratio_j z_group; 0 for a blocked one.
      rows: [m'] the metabolites whose rows are kept; `row_scale` their power of two.
      blocked: the reactions that no steady state uses.
    """

    network: Network
    matrix: scipy.sparse.csc_array
    group: np.ndarray
    ratio: np.ndarray
    rows: np.ndarray
    row_scale: np.ndarray
    pivot_rows: np.ndarray  # metabolites that removed a variable each ...
    pivot_columns: np.ndarray  # ... and the reactions that they removed

    @functools.cached_property
    def A(self) -> np.ndarray:
        """The reduced matrix, dense; it cannot be written to."""
        dense = self.matrix.toarray()
        dense.flags.writeable = False
        return dense

    @functools.cached_property
    def blocked(self) -> tuple[str, ...]:
        """Reactions that carry no flux in any steady state, whatever the bounds."""
        return tuple(self.network.reactions[j] for j in np.flatnonzero(self.group < 0))

    @functools.cached_property
    def members(self) -> tuple[np.ndarray, ...]:
        """Layers: the k-th reaction of every variable that has as many. Variables come with most reactions first."""
        kept = np.flatnonzero(self.group >= 0)
        order = kept[np.argsort(self.group[kept], kind="stable")]
        counts = np.bincount(self.group[kept], minlength=self.matrix.shape[1])
        first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
        return tuple(order[first[counts > k] + k] for k in range(counts.max(initial=0)))

    def __repr__(self) -> str:
        (m, n), (rows, columns) = self.network.matrix.shape, self.matrix.shape
        return f"Presolved({self.network.name}: {m} x {n} -> {rows} x {columns}, {len(self.blocked)} blocked)"

    def reduce_bounds(self, lower: Any, upper: Any) -> tuple[Array, Array, Array]:
        """Bounds [..., n] of the reactions -> bounds [..., n'] of the variables, and whether they leave something."""
        lower, upper = _together(lower, upper)
        (low, _), (high, _) = self._tightest(lower, upper)
        slack = ROUNDING * jnp.finfo(low.dtype).eps * jnp.where(jnp.isinf(low), 0, abs(low))
        ok = jnp.all(~(low > high + slack), -1)
        none = np.flatnonzero(self.group < 0)
        if none.size:
            ok &= jnp.all(~((lower[..., none] > 0) | (upper[..., none] < 0)), -1)
        # Two fixed fluxes that agree up to rounding are one fixed flux.
        return low, jnp.where((low > high) & (low <= high + slack), low, high), ok

    def reduce_objective(self, objective: Any) -> Array:
        """Weights [..., n] of the reactions -> weights [..., n'] of the variables."""
        return _product(self._spread.T, jnp.asarray(objective))

    def expand(self, z: Any) -> Array:
        """Variables [..., n'] -> fluxes [..., n]."""
        z = jnp.asarray(z)
        return self._carried(z) * jnp.asarray(self.ratio, z.dtype)

    def expand_duals(self, prices: Any, costs: Any, lower: Any, upper: Any, objective: Any) -> tuple[Array, Array]:
        """Prices [..., m'] and reduced costs [..., n'] of the reduced problem -> those of all metabolites and reactions."""
        lower, upper = _together(lower, upper)
        prices, costs, objective = (jnp.asarray(x) for x in (prices, costs, objective))
        (_, at_low), (_, at_high) = self._tightest(lower, upper)
        holder = jnp.where(costs > 0, at_high, at_low)
        own = self._carried(holder) == np.arange(self.group.size)
        d = jnp.where(own, self._carried(costs) * self._inverse_ratio(costs.dtype), 0)
        return self._all_prices(prices, objective - d), d

    def conflict(self, lower: Any, upper: Any) -> tuple[Array, Array]:
        """The Farkas ray (y [..., m], d [..., n]) of bounds that `reduce_bounds` finds infeasible; of no meaning elsewhere."""
        lower, upper = _together(lower, upper)
        (low, at_low), (high, at_high) = self._tightest(lower, upper)
        d = jnp.where(lower > 0, -1.0, jnp.where(upper < 0, 1.0, 0.0)).astype(lower.dtype)
        wrong = jnp.where(self.group < 0, jnp.maximum(lower, -upper), -jnp.inf)
        blocked = jnp.max(wrong, -1, keepdims=True, initial=-jnp.inf) > 0
        d = jnp.where((wrong == jnp.max(wrong, -1, keepdims=True, initial=-jnp.inf)) & blocked, d, 0)
        if self.matrix.shape[1]:
            worst = jnp.argmax(low - high, -1)[..., None]
            mine = (self.group == worst) & ~blocked
            index = np.arange(self.group.size)
            ends = [jnp.take_along_axis(holder, worst, -1) == index for holder in (at_high, at_low)]
            d = d + jnp.where(mine, (ends[0] * 1.0 - ends[1] * 1.0) * self._inverse_ratio(d.dtype), 0).astype(d.dtype)
        return self._all_prices(jnp.zeros((*d.shape[:-1], len(self.rows)), d.dtype), -d), d

    def _tightest(self, lower: Array, upper: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """(lower', whose it is), (upper', whose it is)."""
        size = self.matrix.shape[1]
        inverse = self._inverse_ratio(lower.dtype)
        forward = self.ratio > 0
        # One over the ratio times a bound that is infinite stays infinite, of the right sign.
        a, b = lower * inverse, upper * inverse
        low, high = jnp.where(forward, a, b), jnp.where(forward, b, a)
        best_low, best_high = jnp.zeros((*low.shape[:-1], size), low.dtype), jnp.zeros((*low.shape[:-1], size), low.dtype)
        at_low = at_high = jnp.zeros(best_low.shape, int)
        for k, layer in enumerate(self.members):
            new_low, new_high = low[..., layer], high[..., layer]
            if k == 0:
                best_low, best_high = new_low, new_high
                at_low = at_high = jnp.broadcast_to(layer, new_low.shape)
                continue
            head = layer.size
            tighter, lesser = new_low > best_low[..., :head], new_high < best_high[..., :head]
            best_low, best_high = (
                jnp.concatenate([jnp.where(choose, new, old[..., :head]), old[..., head:]], -1)
                for choose, new, old in ((tighter, new_low, best_low), (lesser, new_high, best_high))
            )
            at_low, at_high = (
                jnp.concatenate([jnp.where(choose, layer, old[..., :head]), old[..., head:]], -1)
                for choose, old in ((tighter, at_low), (lesser, at_high))
            )
        return (best_low, at_low), (best_high, at_high)

    def _all_prices(self, prices: Array, rest: Array) -> Array:
        """y [..., m] with S'y = rest [..., n], given the prices of the kept rows."""
        y = jnp.zeros((*rest.shape[:-1], self.network.matrix.shape[0]), rest.dtype)
        kept = prices * jnp.asarray(self.row_scale, prices.dtype)
        y = y.at[..., self.rows].set(kept)
        if self.pivot_rows.size:
            left = rest[..., self.pivot_columns] - _product(self._kept_of_pivots, kept)
            y = y.at[..., self.pivot_rows].set(_product(self._inverse_of_pivots, left))
        return y

    def _carried(self, of_variables: Array) -> Array:
        """[..., n'] -> [..., n]: the number of each reaction's variable; the first one's for a blocked reaction."""
        if not self.matrix.shape[1]:
            return jnp.zeros((*of_variables.shape[:-1], self.group.size), of_variables.dtype)
        return of_variables[..., np.maximum(self.group, 0)]

    def _inverse_ratio(self, dtype: Any) -> Array:
        safe = np.where(self.ratio == 0, 1.0, self.ratio)
        return jnp.asarray(np.where(self.ratio == 0, 0.0, 1 / safe), dtype)

    @functools.cached_property
    def _spread(self) -> scipy.sparse.csr_array:
        kept = np.flatnonzero(self.group >= 0)
        shape = (self.group.size, self.matrix.shape[1])
        return scipy.sparse.csr_array((self.ratio[kept], (kept, self.group[kept])), shape)

    @functools.cached_property
    def _inverse_of_pivots(self) -> scipy.sparse.csr_array:
        """S[pivot_rows, pivot_columns]^-T, sparse: chains of ties are short."""
        block = scipy.sparse.csc_array(self.network.matrix.tocsr()[self.pivot_rows][:, self.pivot_columns])
        inverse = scipy.sparse.linalg.splu(block).solve(np.eye(self.pivot_rows.size)).T
        inverse[abs(inverse) <= _CANCELLED * abs(inverse).max(1, keepdims=True)] = 0.0
        return scipy.sparse.csr_array(inverse)

    @functools.cached_property
    def _kept_of_pivots(self) -> scipy.sparse.csr_array:
        return scipy.sparse.csr_array(self.network.matrix.tocsr()[self.rows][:, self.pivot_columns].T)


@functools.lru_cache(maxsize=64)
def presolve(network: Network) -> Presolved:
    """Rewrite a network's steady states in fewer variables. On the host, once per network (kept by its digest).

    Args:
      network: a `Network`.
    Returns:
      A `Presolved`.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> from jaxsci.metabolism.presolve import presolve
      >>> S = np.array([[1.0, -1.0, -1.0, 0.0], [0.0, 2.0, 0.0, -1.0]])
      >>> small = presolve(js.metabolism.Network(S, ("in", "turn", "other", "out"), ("a", "b")))
      >>> small
      Presolved(network: 2 x 4 -> 1 x 3, 0 blocked)
      >>> lower, upper, ok = small.reduce_bounds(np.zeros(4), np.array([10.0, 8.0, 9.0, 4.0]))
      >>> v = small.expand(upper)
      >>> float(v[1]), float(v[3]), bool(ok)
      (2.0, 4.0, True)
    """
    columns, ratios, pivots, rows = _lump(network.matrix)
    n = network.matrix.shape[1]
    # Variables in the order of how many reactions they carry, then of their first reaction.
    order = sorted(columns, key=lambda g: (-len(columns[g]), min(columns[g])))
    group, ratio = np.full(n, -1), np.zeros(n)
    for place, g in enumerate(order):
        for j in columns[g]:
            group[j], ratio[j] = place, ratios[j]
    left = sorted(i for i, row in rows.items() if row)
    place = {g: k for k, g in enumerate(order)}
    entries = [(r, place[g], a) for r, i in enumerate(left) for g, a in rows[i].items()]
    at = np.array([e[:2] for e in entries], int).reshape(-1, 2)
    matrix = scipy.sparse.csr_array(
        (np.array([e[2] for e in entries], float), (at[:, 0], at[:, 1])), (len(left), len(order))
    )
    row_scale, column_scale = _power_of_two_scales(matrix)
    matrix.data *= np.repeat(row_scale, np.diff(matrix.indptr)) * column_scale[matrix.indices]
    kept = independent_rows(matrix)
    if len(order):
        ratio *= np.where(group >= 0, column_scale[np.maximum(group, 0)], 0.0)
    pivot_rows, pivot_columns = (np.array(x, int) for x in (list(pivots), list(pivots.values())))
    return Presolved(
        network=network,
        matrix=scipy.sparse.csc_array(matrix if kept.size == matrix.shape[0] else matrix[kept]),
        group=group,
        ratio=ratio,
        rows=np.array(left, int)[kept],
        row_scale=row_scale[kept],
        pivot_rows=pivot_rows,
        pivot_columns=pivot_columns,
    )


def _lump(S: scipy.sparse.csc_array):
    """Reductions 1 and 2 to their end.

    Returns the reactions of every variable, the ratio of every reaction, {pivot row: the reaction it removed}, and the rows
    that are left as {variable: coefficient}.
    """
    rows: dict[int, dict[int, float]] = {i: {} for i in range(S.shape[0])}
    size: dict[int, dict[int, float]] = {i: {} for i in range(S.shape[0])}  # the largest term that went into a coefficient
    uses: dict[int, set[int]] = {j: set() for j in range(S.shape[1])}
    entries = S.tocoo()
    for i, j, a in zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True):
        rows[i][j], size[i][j] = a, abs(a)
        uses[j].add(i)
    columns = {j: [j] for j in uses}
    ratios = dict.fromkeys(uses, 1.0)
    pivots: dict[int, int] = {}
    todo = [i for i in rows if 0 < len(rows[i]) <= 2]
    while todo:
        i = todo.pop()
        if i in pivots or not 0 < len(rows[i]) <= 2:
            continue
        terms = rows.pop(i)
        for g in terms:
            uses[g].discard(i)
        if len(terms) == 1:
            (gone,) = terms
            pivots[i] = gone
            del columns[gone]
            for k in uses.pop(gone):
                del rows[k][gone]
                todo.append(k)
            continue
        # The variable with fewer rows goes into the other one: v_gone = factor v_kept.
        kept, gone = sorted(terms, key=lambda g: (-len(uses[g]), g))
        factor = -terms[kept] / terms[gone]
        pivots[i] = gone
        for j in columns[gone]:
            ratios[j] *= factor
        columns[kept] += columns.pop(gone)
        for k in uses.pop(gone):
            more = rows[k].pop(gone) * factor
            largest = max(size[k].pop(gone) * abs(factor), size[k].get(kept, 0.0))
            total = rows[k].get(kept, 0.0) + more
            if abs(total) <= _CANCELLED * largest:
                rows[k].pop(kept, None)
                uses[kept].discard(k)
            else:
                rows[k][kept], size[k][kept] = total, largest
                uses[kept].add(k)
            todo.append(k)
    return columns, ratios, pivots, rows


def _power_of_two_scales(matrix: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Geometric scaling, rounded to powers of two: rows, then columns, four times."""
    logs = [np.zeros(size) for size in matrix.shape]
    coo = matrix.tocoo()
    if coo.nnz:
        entry = np.log2(abs(coo.data))
        for _ in range(4):
            for axis in (0, 1):
                index = coo.coords[axis]
                here = entry + logs[0][coo.coords[0]] + logs[1][coo.coords[1]]
                most, least = np.full(matrix.shape[axis], -np.inf), np.full(matrix.shape[axis], np.inf)
                np.maximum.at(most, index, here)
                np.minimum.at(least, index, here)
                empty = np.isinf(most)
                logs[axis] -= np.where(empty, 0.0, (np.where(empty, 0.0, most) + np.where(empty, 0.0, least)) / 2)
    return 2.0 ** np.round(logs[0]), 2.0 ** np.round(logs[1])


def independent_rows(matrix: scipy.sparse.csr_array) -> np.ndarray:
    """Places of rows that span all of them."""
    m, n = matrix.shape
    by_row = [set(matrix.indices[matrix.indptr[i] : matrix.indptr[i + 1]].tolist()) for i in range(m)]
    by_column: list[set[int]] = [set() for _ in range(n)]
    for i, row in enumerate(by_row):
        for j in row:
            by_column[j].add(i)
    # A row with an entry that no other row left has there is independent of them, whatever they are.
    sure: list[int] = []
    todo = [j for j in range(n) if len(by_column[j]) == 1]
    while todo:
        j = todo.pop()
        if len(by_column[j]) != 1:
            continue
        (i,) = by_column[j]
        sure.append(i)
        for k in by_row[i]:
            by_column[k].discard(i)
            if len(by_column[k]) == 1:
                todo.append(k)
    core = np.array(sorted(set(range(m)) - set(sure)), int)
    if core.size:
        dense = matrix[core].toarray()
        r, order = scipy.linalg.qr(dense[:, abs(dense).any(0)].T, mode="r", pivoting=True)
        pivots = abs(np.diag(r))
        core = core[order[: int(np.sum(pivots > _DEPENDENT * pivots.max(initial=0)))]]
    return np.sort(np.concatenate([np.array(sure, int), core]))


def _together(lower: Any, upper: Any) -> tuple[Array, Array]:
    lower, upper = jnp.asarray(lower), jnp.asarray(upper)
    dtype = jnp.result_type(lower, upper)
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    lower, upper = jnp.broadcast_arrays(lower, upper)
    return lower.astype(dtype), upper.astype(dtype)


def _product(matrix: Any, x: Array) -> Array:
    """matrix @ x over the last axis of x; the matrix is a constant."""
    if matrix.shape[0] * matrix.shape[1] <= _DENSE:
        return jnp.matmul(x, jnp.asarray(matrix.toarray().T, x.dtype), precision="highest")
    rows = matrix.tocsr()
    index = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    terms = x[..., rows.indices] * jnp.asarray(rows.data, x.dtype)
    return jnp.zeros((*x.shape[:-1], rows.shape[0]), x.dtype).at[..., index].add(terms, indices_are_sorted=True)
