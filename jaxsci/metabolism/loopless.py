r"""The loop law: no flux goes around in a cycle inside the network, for nothing would drive it.

    v is loopless     iff     there is no w != 0 with  S_internal w = 0,  0 <= w_j sign(v_j) <= |v_j|

(the boundary reactions have w = 0). A flux that has such cycles loses them without any change at the boundary by taking off a
largest w. On the host, with HiGHS (Huangfu & Hall 2018) by way of SciPy.
"""

from __future__ import annotations

import functools
import heapq
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.sparse

from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.presolve import presolve

_ZERO = 1e-9
_NODES = 20_000


class _Cycles(NamedTuple):
    """What can be a part of a cycle, whatever the bounds: reactions, and the rows of S that they have."""

    reactions: np.ndarray
    matrix: Any


@functools.lru_cache(maxsize=64)
def _cycles(network: Network) -> _Cycles:
    inner = np.setdiff1d(np.arange(len(network.reactions)), [network.reaction_index[name] for name in network.boundary])
    S = network.matrix[:, inner]
    small = presolve(Network(S, tuple(network.reactions[j] for j in inner), network.metabolites))
    # Of what presolve leaves, only the columns that some solution of A z = 0 uses.
    used = np.zeros(small.matrix.shape[1], bool)
    if small.matrix.shape[1]:
        _, values, right = np.linalg.svd(small.A)
        rank = int((values > 1e-9 * values.max(initial=1.0)).sum())
        used = np.abs(right[rank:]).max(0, initial=0.0) > 1e-9
    kept = inner[(small.group >= 0) & used[np.maximum(small.group, 0)]]
    matrix = network.matrix[:, kept].tocsr()
    return _Cycles(kept, scipy.sparse.csc_array(matrix[np.diff(matrix.indptr) > 0]))


def _largest_cycle(cycles: _Cycles, room_low: np.ndarray, room_high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """w of the cycles' reactions, max weight.w with S w = 0 between the rooms (which have 0 inside)."""
    if not len(cycles.reactions) or not (np.abs(room_low) + np.abs(room_high) > 0).any():
        return np.zeros(len(cycles.reactions))
    found = scipy.optimize.linprog(
        -weight, A_eq=cycles.matrix, b_eq=np.zeros(cycles.matrix.shape[0]), bounds=np.stack([room_low, room_high], 1),
        method="highs-ds",
    )  # fmt: skip
    return found.x


def _room(v: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What may be taken off v without a change of sign, or a bound crossed."""
    v = np.where(np.abs(v) <= _ZERO, 0.0, v)
    high = np.where(v > 0, np.maximum(v - np.maximum(lower, 0.0), 0.0), 0.0)
    low = np.where(v < 0, np.minimum(v - np.minimum(upper, 0.0), 0.0), 0.0)
    return low, high


def is_loopless(model: StoichiometricModel, fluxes: Any) -> bool:
    """Whether fluxes [reactions] obey the loop law.

    Example:
      >>> import jaxsci as js
      >>> from jaxsci.metabolism.loopless import is_loopless, remove_loops
      >>> toy = js.metabolism.from_equations({"in": "-> a", "there": "a -> b", "back": "b -> a", "out": "b ->"}, "out")
      >>> is_loopless(toy, [1.0, 5.0, 4.0, 1.0]), is_loopless(toy, [1.0, 1.0, 0.0, 1.0])
      (False, True)
      >>> remove_loops(toy, [1.0, 5.0, 4.0, 1.0])
      array([1., 1., 0., 1.])
    """
    cycles, v = _cycles(model.network), _fluxes("is_loopless", model, fluxes)
    v = v[cycles.reactions]
    free = np.full(len(v), np.inf)
    w = _largest_cycle(cycles, *_room(v, -free, free), np.sign(np.where(np.abs(v) <= _ZERO, 0.0, v)))
    return not (np.abs(w) > _ZERO).any()


def remove_loops(model: StoichiometricModel, fluxes: Any) -> np.ndarray:
    """The fluxes without their internal cycles: no flux changes sign or grows, exchanges and objective stay, bounds are kept.

    A cycle that a bound forces stays. On the host, of one flux distribution [reactions]. Reference: Desouki et al. (2015),
    Bioinformatics 31, 2159.
    """
    v = _fluxes("remove_loops", model, fluxes)
    held = np.flatnonzero(np.asarray(model.objective))
    return _without_cycles(model, v, np.asarray(model.lower, float), np.asarray(model.upper, float), held)


def _fluxes(what: str, model: StoichiometricModel, fluxes: Any) -> np.ndarray:
    v = np.array(fluxes, float)
    if v.shape != (len(model.reactions),):
        raise ValueError(f"{what}: fluxes are of one distribution, [{len(model.reactions)} reactions], got {list(v.shape)}.")
    return v


def _without_cycles(
    model: StoichiometricModel, v: np.ndarray, lower: np.ndarray, upper: np.ndarray, held: np.ndarray
) -> np.ndarray:
    """v less a largest sum of cycles that do not go through `held`."""
    cycles = _cycles(model.network)
    mine = cycles.reactions
    low, high = _room(v[mine], lower[mine], upper[mine])
    low, high = (np.where(np.isin(mine, held), 0.0, end) for end in (low, high))
    w = _largest_cycle(cycles, low, high, np.sign(low + high))
    v = v.copy()
    v[mine] -= w
    return v


def loopless_extreme(model: StoichiometricModel, reaction: int, sign: float, floor: float, vertex: Any = None) -> float:
    """The largest sign * v_reaction over loopless fluxes with c.v >= floor: branch and bound.

    A node is a box. If its best flux has a cycle through the reaction (others are taken off), one member of that cycle must
    not run in its direction: a child for each member. No large constants, no integer tolerance; exact to the programmes' own.

    Args:
      vertex: the fluxes of the first node, where they are known.
    Raises:
      RuntimeError: more than 20,000 nodes.
    """
    c = np.asarray(model.objective, float)
    held = np.append(np.flatnonzero(c), reaction)
    first = (np.asarray(model.lower, float), np.asarray(model.upper, float))
    if vertex is None:
        vertex = _best(model, reaction, sign, floor, *first)
    if vertex is None:
        return np.nan
    queue, count = [(-sign * vertex[reaction], 0, vertex, first)], 0
    while queue:
        value, _, v, (lower, upper) = heapq.heappop(queue)
        v = _without_cycles(model, v, lower, upper, held)
        cycle = _a_cycle(model, v)
        if cycle is None:
            return -sign * value
        for j in cycle:
            low, high = lower.copy(), upper.copy()
            if v[j] > 0:
                high[j] = min(high[j], 0.0)
            else:
                low[j] = max(low[j], 0.0)
            child = _best(model, reaction, sign, floor, low, high) if low[j] <= high[j] else None
            if child is not None:
                count += 1
                heapq.heappush(queue, (-sign * child[reaction], count, child, (low, high)))
        if count > _NODES:
            raise RuntimeError(
                f"{model.name}: the loopless extreme of {model.reactions[reaction]!r} takes more than {_NODES:,} programmes; "
                "give fewer reactions, or narrower bounds."
            )
    return np.nan


def _a_cycle(model: StoichiometricModel, v: np.ndarray) -> np.ndarray | None:
    """The members of one elementary cycle in v, or None: of those through each reaction that still has one, the shortest."""
    cycles = _cycles(model.network)
    mine = cycles.reactions
    free = np.full(len(mine), np.inf)
    low, high = _room(v[mine], -free, free)
    unit = np.sign(low + high)
    whole = _largest_cycle(cycles, low, high, unit)
    if not (np.abs(whole) > _ZERO).any():
        return None
    start = int(np.argmax(np.abs(whole)))
    # The least total that carries one unit through `start` is a vertex: one elementary cycle.
    low, high = np.where(unit < 0, -np.inf, 0.0), np.where(unit > 0, np.inf, 0.0)
    low[start] = high[start] = unit[start]
    found = _largest_cycle(cycles, low, high, -unit)
    return mine[np.abs(found) > _ZERO]


def _best(
    model: StoichiometricModel, reaction: int, sign: float, floor: float, lower: np.ndarray, upper: np.ndarray
) -> np.ndarray | None:
    """The fluxes of the largest sign * v_reaction with c.v >= floor in a box."""
    c = np.asarray(model.objective, float)
    weight = np.zeros(len(c))
    weight[reaction] = -sign
    S = model.network.matrix
    found = scipy.optimize.linprog(
        weight, A_ub=-c[None], b_ub=[-floor], A_eq=S, b_eq=np.zeros(S.shape[0]), bounds=np.stack([lower, upper], 1),
        method="highs-ds",
    )  # fmt: skip
    return found.x if found.status == 0 else None


def loopless_ranges(
    model: StoichiometricModel, index: np.ndarray, minimum: np.ndarray, maximum: np.ndarray, vertices: np.ndarray,
    floor: float, group: np.ndarray, groups: int, progress: Any = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Ranges with the loop law, from those without it and the vertices [2 groups, reactions] (largest, then least) they have."""
    in_cycle = np.zeros(len(model.reactions), bool)
    in_cycle[_cycles(model.network).reactions] = True
    minimum, maximum = minimum.copy(), maximum.copy()
    for k, j in enumerate(index):
        if not in_cycle[j]:  # other cycles can be taken off without it
            continue
        for ends, sign in ((maximum, 1.0), (minimum, -1.0)):
            if ends[k] == 0:
                continue
            rows = vertices[[group[k], groups + group[k]]]
            vertex = rows[int(np.argmin(np.abs(rows[:, j] - ends[k])))]
            known = (
                vertex if np.isfinite(vertex).all() and abs(vertex[j] - ends[k]) <= _ZERO * max(1, abs(ends[k])) else None
            )
            ends[k] = loopless_extreme(model, j, sign, floor, known)
        if progress is not None:
            progress(f"{k + 1:,} of {len(index):,} reactions without loops")
    return minimum, maximum
