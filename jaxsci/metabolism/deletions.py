r"""Deletions: the growth of every mutant without one or two genes or reactions, each value to 1e-9, few of them searched for.

A mutant is a set K of variables of the presolved network that carry no flux. What was solved for some mutants says it for others:

- Prices are valid for every mutant:  growth(K) <= sum_{j not in K} max(d_j l_j, d_j u_j),  d = c - S'y of any y.
- A flux that avoids K is one of the mutant:  growth(K) >= c.v.
- A Farkas ray (d = -S'y) with  sum_{j not in K} max(d_j l_j, d_j u_j) < 0  says that the mutant has no flux at all.

Where the bounds meet, the value is known. Who is left is solved by the simplex method, a batch at a time, and its prices and flux
join the pool, until none is left. On the core model 4,560 double deletions need about 200 programmes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse

from jaxsci.metabolism.linear_program import INFEASIBLE, OPTIMAL, STATUS
from jaxsci.metabolism.model import Nominal, StoichiometricModel, check_model
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.optimum import reduced, start_of
from jaxsci.metabolism.presolve import Presolved, presolve
from jaxsci.metabolism.summary import aligned
from jaxsci.metabolism.value_function import solve_batch

Kind = Literal["gene", "reaction"]
_SETTLED = 1e-9  # bounds of a growth that are so near each other (relative to 1 + growth) have met
_ROUND_OFF = 1e-12  # a growth so small (relative to 1 + that of the wild type) is 0
_ZERO = 1e-9  # a flux, or a price of a variable without bound, so small is 0
_LARGE = 200_000  # entries of a tableau from which a batch is small
_CELLS = 20_000_000  # numbers of a scan in memory at a time


class Deletions(NamedTuple):
    """What `single_deletion` and `double_deletion` return."""

    kind: str
    identifiers: tuple[str, ...]  # all genes, or all reactions
    deleted: np.ndarray  # [k, 1 or 2] places in identifiers
    growth: np.ndarray  # [k] the optimum of the objective; NaN where there is none
    status: np.ndarray  # [k] OPTIMAL 0, INFEASIBLE 1, ...: as `fba`
    wild_type: float
    distinct: int  # mutants that differ, of the k
    solved: int  # programmes that were solved for them
    pool: KnockOutPool  # what was learned; give it to the next scan of the same model

    @property
    def names(self) -> list[tuple[str, ...]]:
        """What was deleted; a pair of the same name twice is the single deletion."""
        return [tuple(self.identifiers[i] for i in dict.fromkeys(row)) for row in self.deleted.tolist()]

    def lethal(self, fraction: float = 0.01) -> np.ndarray:
        """[k]: infeasible, or growing slower than this fraction of the wild type."""
        return (self.status == INFEASIBLE) | (self.growth < fraction * self.wild_type)

    def table(self, most: int | None = 50) -> str:
        """The slowest first, as text; None for all."""
        slow = np.where(self.status == INFEASIBLE, -np.inf, self.growth)
        order = np.argsort(slow, kind="stable")[:most].tolist()
        rows = [
            (
                " ".join(dict.fromkeys(self.identifiers[i] for i in self.deleted[k].tolist())),
                f"{self.growth[k]:.6g}",
                f"{100 * self.growth[k] / self.wild_type:.2f}%"
                if self.wild_type and self.growth[k] == self.growth[k]
                else "-",
                STATUS[self.status[k]],
            )
            for k in order
        ]
        more = len(self.growth) - len(rows)
        return aligned((self.kind, "growth", "of wild type", "status"), rows, left=(0, 3)) + (
            f"\n... and {more:,} more" if more else ""
        )

    def __repr__(self) -> str:
        return (
            f"Deletions({len(self.growth):,} of {self.kind}s: {int(self.lethal().sum()):,} lethal, "
            f"{int((self.status == INFEASIBLE).sum()):,} of them infeasible; {self.solved:,} programmes solved)"
        )


class KnockOutPool(NamedTuple):
    """Solved mutants of one model, as what they say of other mutants. Variables are those of the presolved network."""

    key: Nominal  # the numbers that it is valid for
    top: np.ndarray  # [planes] sum_j max(d_j l_j, d_j u_j) of the wild type's bounds
    drop: np.ndarray  # [variables, planes] what every variable has in it
    ray_top: np.ndarray  # [rays]
    ray_drop: np.ndarray  # [variables, rays]
    value: np.ndarray  # [fluxes]
    clash: np.ndarray  # [variables, fluxes] what a mutant without this variable adds; a flux is one of the mutants with ...
    clash_free: np.ndarray  # [fluxes] ... this sum


def single_deletion(
    model: StoichiometricModel,
    names: Iterable[str] | None = None,
    *,
    kind: Kind = "gene",
    pool: KnockOutPool | None = None,
    progress: Callable[[str], None] | None = None,
) -> Deletions:
    """Growth without each gene, or each reaction.

    A gene stops the reactions whose rule needs it. Mutants that stop the same reactions are solved once.

    Args:
      model: one model, no batch; its bounds and objective must be known (this runs on the host).
      names: which ones; all by default.
      kind: "gene" or "reaction".
      pool: of an earlier scan of the same model, which saves its programmes.
      progress: called with a line of text after every batch.
    Returns:
      `Deletions`, in the order of the names.
    Raises:
      ValueError: a batch of models, another kind, a pool of another model. KeyError: an unknown name.
      RuntimeError: the model itself has no optimum.
    Example:
      >>> import jaxsci as js
      >>> from jaxsci.metabolism.deletions import single_deletion
      >>> model = js.metabolism.load("e_coli_core")
      >>> single = single_deletion(model, ["b1779", "b2925", "b0008"])
      >>> single.lethal().tolist(), [round(float(x), 4) for x in single.growth]
      ([True, False, False], [0.0, 0.8739, 0.8739])
    """
    places = _places(model, kind, names)
    return _scan(model, kind, places[:, None], pool, progress)


def double_deletion(
    model: StoichiometricModel,
    pairs: Iterable[tuple[str, str]] | None = None,
    *,
    kind: Kind = "gene",
    pool: KnockOutPool | None = None,
    progress: Callable[[str], None] | None = None,
) -> Deletions:
    """Growth without each pair of genes, or of reactions: the search for synthetic lethality.

    Two genes together stop what either stops, and what needs one of the two.

    Args:
      model: as in `single_deletion`.
      pairs: of names; by default all pairs, each name with itself (the single deletion) among them.
      kind, pool, progress: as in `single_deletion`. A pool of the single deletions settles nearly all pairs of a large model.
    Returns:
      `Deletions`, in the order of the pairs; of all pairs (0, 0), (0, 1), ..., (1, 1), (1, 2), ...
    Raises:
      As `single_deletion`.
    Example:
      >>> import jaxsci as js
      >>> from jaxsci.metabolism.deletions import double_deletion
      >>> model = js.metabolism.load("e_coli_core")
      >>> double = double_deletion(model, [("PFK", "PGI"), ("PFK", "PFK"), ("PFK", "NH4t")], kind="reaction")
      >>> double.names[1], [round(float(x), 3) for x in double.growth], double.status.tolist()
      (('PFK',), [nan, 0.704, 0.0], [1, 0, 0])
    """
    _check(model, kind)
    if pairs is None:
        count = len(model.genes if kind == "gene" else model.reactions)
        return _scan(model, kind, np.stack(np.triu_indices(count), 1), pool, progress)
    listed = [tuple(pair) for pair in pairs]
    wrong = [pair for pair in listed if len(pair) != 2]
    if wrong:
        raise ValueError(f"double_deletion: pairs are of two names, got {wrong[0]!r}.")
    places = _places(model, kind, [name for pair in listed for name in pair])
    return _scan(model, kind, places.reshape(-1, 2), pool, progress)


def _check(model: StoichiometricModel, kind: str) -> None:
    check_model("deletions", model)
    if kind not in ("gene", "reaction"):
        raise ValueError(f"deletions are of kind 'gene' or 'reaction', got {kind!r}.")
    if any(np.ndim(x) != 1 for x in (model.lower, model.upper, model.objective)):
        raise ValueError(
            f"{model.name}: deletions are of one model, got a batch of shape {list(np.shape(model.lower)[:-1])}."
        )


def _places(model: StoichiometricModel, kind: str, names: Iterable[str] | None) -> np.ndarray:
    _check(model, kind)
    index = model.network.gene_index if kind == "gene" else model.network.reaction_index
    if names is None:
        return np.arange(len(index))
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in index:
            raise unknown(f"{model.name}: {kind}", name, index)
    return np.array([index[name] for name in names], int)


def _scan(
    model: StoichiometricModel,
    kind: Kind,
    deleted: np.ndarray,
    pool: KnockOutPool | None,
    progress: Callable[[str], None] | None,
) -> Deletions:
    model.check()
    problem = _Problem(model)
    if pool is not None and pool.key != problem.key:
        raise ValueError(
            f"{model.name}: the pool is of other bounds or another objective; leave it out, or scan that model."
        )
    off = _stopped(model.network, kind, deleted)  # [k, reactions]
    sets = scipy.sparse.csr_array(off @ problem.variables)
    torn = np.zeros(len(deleted), bool)  # a reaction is stopped, and another of its group must run
    for j in problem.must_run:
        torn |= (_column(sets, problem.small.group[j]) > 0) & (_column(off, j) == 0)
    sets, which = _distinct(scipy.sparse.csr_array(scipy.sparse.diags_array(1.0 - torn) @ sets))
    solved = 0
    if pool is None:
        pool, solved = problem.first_pool(), 1
    wild_type = float(pool.value[0])
    growth, status = np.full(sets.shape[0], np.nan), np.full(sets.shape[0], OPTIMAL, np.int32)
    best, least = np.full(sets.shape[0], np.inf), np.full(sets.shape[0], -np.inf)
    unsettled = np.arange(sets.shape[0])
    fresh = pool
    # Small sets first: what holds for one deletion says most about others. The order within is no order at all.
    rank = np.diff(sets.indptr) + np.random.default_rng(0).random(sets.shape[0])
    while True:
        top, bottom, impossible = _bounds(fresh, sets[unsettled])
        best[unsettled] = np.minimum(best[unsettled], top)
        least[unsettled] = np.maximum(least[unsettled], bottom)
        met = best[unsettled] - least[unsettled] <= _SETTLED * (1 + abs(best[unsettled]))
        growth[unsettled[met]] = least[unsettled[met]]
        status[unsettled[impossible]] = INFEASIBLE
        unsettled = unsettled[~(met | impossible)]
        if progress is not None:
            done = int(len(deleted) - np.isin(which, unsettled).sum())
            progress(f"{done:,} of {len(deleted):,} deletions known, {solved:,} programmes solved")
        if not unsettled.size:
            break
        chosen = unsettled[np.argsort(rank[unsettled])[: problem.batch]]
        growth[chosen], status[chosen], fresh = problem.solve(sets[chosen])
        pool = _joined(pool, fresh)
        solved += len(chosen)
        unsettled = np.setdiff1d(unsettled, chosen, assume_unique=True)
    identifiers = model.genes if kind == "gene" else model.reactions
    growth = np.where(abs(growth) <= _ROUND_OFF * (1 + abs(wild_type)), 0.0, growth)
    growth, status = np.where(torn, np.nan, growth[which]), np.where(torn, INFEASIBLE, status[which])
    return Deletions(kind, identifiers, deleted, growth, status, wild_type, sets.shape[0], solved, pool)


def _stopped(network: Network, kind: Kind, deleted: np.ndarray) -> scipy.sparse.csr_array:
    """[k, reactions]: 1 where a mutant's reaction cannot go on."""
    k, n = len(deleted), len(network.reactions)
    if kind == "reaction":
        rows = np.repeat(np.arange(k), deleted.shape[1])
        return _ones(rows, deleted.ravel(), (k, n))
    rules, count = network.rules, len(network.genes)
    singles, together = _of_genes(network)
    if deleted.shape[1] == 1:
        return singles[deleted[:, 0]]
    first, second = deleted.T
    off = singles[first] + singles[second]
    # More than the two alone stop is only what has both in its rule.
    meet = np.flatnonzero(np.asarray(together[first, second]).ravel() * (first != second))
    for part in np.array_split(meet, max(1, -(-len(meet) // 2000))):
        present = np.ones((len(part), count), bool)
        present[np.arange(len(part)), first[part]] = present[np.arange(len(part)), second[part]] = False
        rows, columns = np.nonzero(~rules.reactions_active(present))
        off = off + _ones(part[rows], columns, (k, n))
    return off


@functools.lru_cache(maxsize=16)
def _of_genes(network: Network) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
    """[genes, reactions] that each gene alone stops; [genes, genes] not 0 for two that some rule both has."""
    rules, count = network.rules, len(network.genes)
    singles = scipy.sparse.csr_array(~rules.reactions_active(~np.eye(count, dtype=bool)), dtype=float)
    named = [(j, network.gene_index[name]) for j in range(len(network.reactions)) for name in rules.genes_of(j)]
    at = np.array(named, int).reshape(-1, 2)
    in_rule = _ones(at[:, 0], at[:, 1], (len(network.reactions), count))
    return singles, scipy.sparse.csr_array(in_rule.T @ in_rule)


def _ones(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape)


def _column(matrix: scipy.sparse.csr_array, j: int) -> np.ndarray:
    return matrix[:, [j]].toarray()[:, 0]


def _distinct(sets: scipy.sparse.csr_array) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """The rows that differ in where they are not 0, with ones there, and which of them every row is."""
    sets.eliminate_zeros()
    sets.sort_indices()
    ends, indices = sets.indptr.tolist(), sets.indices.astype(np.int32)
    seen: dict[bytes, int] = {}
    which = np.empty(sets.shape[0], int)
    rows = []
    for k in range(sets.shape[0]):
        content = indices[ends[k] : ends[k + 1]].tobytes()
        place = seen.get(content)
        if place is None:
            place = seen[content] = len(rows)
            rows.append(k)
        which[k] = place
    unique = scipy.sparse.csr_array(sets[np.array(rows, int)])
    unique.data[:] = 1.0
    return unique, which


def _bounds(pool: KnockOutPool, sets: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(upper bound, lower bound, certainly infeasible) of every set, as the pool has it."""
    count = sets.shape[0]
    top, bottom, impossible = np.full(count, np.inf), np.full(count, -np.inf), np.zeros(count, bool)
    widest = max(1, len(pool.top), len(pool.value), len(pool.ray_top))
    step = max(1, _CELLS // widest)
    for start in range(0, count, step):
        part, here = sets[start : start + step], slice(start, start + step)
        if len(pool.top):
            top[here] = np.min(pool.top - part @ pool.drop, axis=1)
        if len(pool.value):
            bottom[here] = np.max(np.where(part @ pool.clash == pool.clash_free, pool.value, -np.inf), axis=1)
        if len(pool.ray_top):
            impossible[here] = np.min(pool.ray_top - part @ pool.ray_drop, axis=1) < -_ZERO
    return top, bottom, impossible


def _joined(a: KnockOutPool, b: KnockOutPool) -> KnockOutPool:
    return KnockOutPool(a.key, *(np.concatenate([x, y], axis=-1) for x, y in zip(a[1:], b[1:], strict=True)))


class _Problem:
    """One model's presolved programme, and its mutants in batches."""

    def __init__(self, model: StoichiometricModel):
        lower, upper, objective = (np.asarray(x, np.float64) for x in (model.lower, model.upper, model.objective))
        self.key = Nominal(lower, upper, objective)
        self.small: Presolved = presolve(model.network)
        self.low, self.high, self.cost, whole = reduced(model.network, self.key)
        if not whole:
            raise RuntimeError(f"{model.name}: the model itself has no flux that meets its bounds; see `fba` for the ray.")
        self.start = start_of(model.network, self.key)
        variables = _ones(*np.array([(j, g) for j, g in enumerate(self.small.group) if g >= 0], int).reshape(-1, 2).T,
                          (len(self.small.group), len(self.low)))  # fmt: skip
        open_ = (self.low != 0) | (self.high != 0)  # closing what is closed changes nothing
        self.variables = variables @ scipy.sparse.diags_array(open_.astype(float))
        self.forced = (self.low > 0) | (self.high < 0)
        self.must_run = np.flatnonzero((lower > 0) | (upper < 0))
        m, n = self.small.A.shape
        self.batch = 32 if m * (m + n) > _LARGE else 64

    def first_pool(self) -> KnockOutPool:
        """The wild type's."""
        _, status, pool = self.solve(scipy.sparse.csr_array((1, len(self.low))))
        if status[0] != OPTIMAL:
            raise RuntimeError(
                f"{self.small.network.name}: the model itself is {STATUS[status[0]]}; see `fba` for the reason."
            )
        return pool

    def solve(self, sets: scipy.sparse.csr_array) -> tuple[np.ndarray, np.ndarray, KnockOutPool]:
        """Growth, status, and the pool of these mutants."""
        low, high = (np.where(sets.toarray() > 0, 0.0, bound) for bound in (self.low, self.high))
        found = solve_batch(self.small.A, self.start, self.cost, low, high, (self.low, self.high), self.batch)
        value, status = found.value, found.status
        optimal, infeasible = status == OPTIMAL, status == INFEASIBLE
        top, drop = self._parts(found.reduced_costs[optimal])
        rays = -found.ray[infeasible][:, : len(self.low)]
        rays = rays / np.maximum(abs(rays).max(1, keepdims=True, initial=0.0), 1e-300)
        ray_top, ray_drop = self._parts(rays)
        # A flux is one of every mutant that stops nothing it uses, and all that must run in the wild type and does not in it.
        used = abs(found.x[optimal]).T > _ZERO
        missing = self.forced[:, None] & ~used
        clash = np.where(used, len(self.low) + 1.0, -1.0 * missing)
        return value, status, KnockOutPool(self.key, top, drop, ray_top, ray_drop, value[optimal], clash, -missing.sum(0))

    def _parts(self, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum_j max(d_j l_j, d_j u_j) of every row of d, and its terms [variables, rows]; rows without bound are left out."""
        with np.errstate(invalid="ignore"):
            terms = np.maximum(d * self.low, d * self.high)
        endless = np.isinf(self.low) | np.isinf(self.high)
        terms = np.where(endless & (abs(d) <= _ZERO), 0.0, terms)
        terms = terms[np.isfinite(terms).all(1)]
        return terms.sum(1), terms.T.copy()
