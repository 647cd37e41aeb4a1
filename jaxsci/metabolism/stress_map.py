"""A layout for any network: the largest fluxes, drawn so that near in the network is near on the page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse.csgraph

from jaxsci.metabolism.core_map import Edge, Layout
from jaxsci.metabolism.model import StoichiometricModel

_COFACTORS = """
h h2o atp adp amp pi ppi nad nadh nadp nadph coa co2 o2 nh4 q8 q8h2 mqn8 mql8 fad fadh2 gtp gdp gmp ctp cdp cmp utp udp ump
itp idp hco3 h2 h2o2 na1 k cl thf mlthf 5mthf 10fthf ACP trdox trdrd
"""
_CROWD = 8  # a reaction of more metabolites is a sum of many (growth) and would tie everything to itself
_STEP, _ROUNDS = 1.25, 150
_STARTS, _NEAR = 24, 0.7  # layouts to choose from; a place so near to a line that is not its own is on it


def largest_fluxes(model: StoichiometricModel, fluxes: Mapping[str, float], count: int = 40) -> Layout:
    """The `count` largest fluxes without cofactors, sources at the top.

    The places minimise the stress sum_ab ((|x_a - x_b| - d_ab) / d_ab)^2, d the number of steps between metabolites and
    reactions (Kamada & Kawai 1989), by majorisation (Gansner, Koren & North 2004). It has many minima: of some, the one with
    the fewest crossings is drawn.
    """
    edges: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    boundary = set(model.network.boundary)
    for reaction in sorted(fluxes, key=lambda name: (-abs(fluxes[name]), name)):
        if len(edges) == count or abs(fluxes[reaction]) < 1e-7:
            break
        used, made = _sides(model, reaction, fluxes[reaction])
        if (used and made and len(used) + len(made) <= _CROWD) or (reaction in boundary and (used or made)):
            edges.append((reaction, used, made))
    names = list(dict.fromkeys([name for _, used, made in edges for name in (*used, *made)]))
    number = {name: k for k, name in enumerate(names)}
    links = [(number[name], len(names) + k) for k, (_, used, made) in enumerate(edges) for name in (*used, *made)]
    if not links:
        return Layout({}, ())
    x = _least_tangled(links, len(names) + len(edges))
    x = _downwards(x, [(number[a], number[b]) for _, used, made in edges for a in used for b in made], len(names))
    places = {name: (float(x[k, 0]), float(x[k, 1])) for name, k in number.items()}
    made_edges = []
    for k, (reaction, used, made) in enumerate(edges):
        middle = (float(x[len(names) + k, 0]), float(x[len(names) + k, 1]))
        made_edges.append(Edge(reaction, *((used, made) if fluxes[reaction] > 0 else (made, used)), 0.0, middle))
    return Layout(places, tuple(made_edges))


def _sides(model: StoichiometricModel, reaction: str, flux: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is used and what is made, as the flux runs, without cofactors."""
    matrix, j, cofactors = model.network.matrix, model.index(reaction), set(_COFACTORS.split())
    part = slice(matrix.indptr[j], matrix.indptr[j + 1])
    used, made = [], []
    for i, value in zip(matrix.indices[part], matrix.data[part], strict=True):
        name = model.metabolites[i]
        if name.rpartition("_")[0] not in cofactors:
            (used if value * flux < 0 else made).append(name)
    return tuple(used), tuple(made)


def _least_tangled(links: list[tuple[int, int]], n: int) -> np.ndarray:
    """The places [n, 2] of least stress from several starts; the first ones where two are equally tangled."""
    rows, columns = np.array(links).T
    graph = scipy.sparse.coo_array((np.ones(len(links)), (rows, columns)), shape=(n, n)).tocsr()
    steps = scipy.sparse.csgraph.shortest_path(graph, directed=False, unweighted=True)
    longest = steps[np.isfinite(steps)].max()
    apart = np.where(np.isfinite(steps), steps, 0.6 * longest + 2.0) * _STEP
    weights = 1.0 / np.where(apart == 0, 1.0, apart) ** 2
    np.fill_diagonal(weights, 0.0)
    solve = np.linalg.pinv(np.diag(weights.sum(1)) - weights)
    # A start without crossings where it can be had: the two smoothest functions on the graph of distances.
    centred = -0.5 * (apart**2 - (apart**2).mean(0) - (apart**2).mean(1)[:, None] + (apart**2).mean())
    values, vectors = np.linalg.eigh(centred)
    smooth = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 1e-9))
    draw = np.random.default_rng(0)
    best, least = smooth, np.inf
    for k in range(_STARTS):
        x = _relaxed(smooth + (1e-3 + 0.5 * k) * draw.standard_normal(smooth.shape), apart, weights, solve)
        tangle = _tangle(links, x)
        if tangle < least:
            best, least = x, tangle
        if not least:
            break
    return best


def _relaxed(x: np.ndarray, apart: np.ndarray, weights: np.ndarray, solve: np.ndarray) -> np.ndarray:
    """Places of least stress, from these on, downhill."""
    pull = weights * apart
    for _ in range(_ROUNDS):
        flat = x @ x.T
        squares = np.diag(flat)[:, None] + np.diag(flat) - 2 * flat
        b = np.where(squares > 1e-12, pull / np.sqrt(np.maximum(squares, 1e-12)), 0.0)
        x = solve @ (b.sum(1)[:, None] * x - b @ x)
    return x


def _tangle(links: list[tuple[int, int]], x: np.ndarray) -> int:
    """How many pairs of lines cross, and twice how many places are on lines that are not theirs."""
    ends = np.array(links)
    a, b = x[ends[:, 0]], x[ends[:, 1]]

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.sign((q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0])

    first, second = (side(a[:, None], b[:, None], end[None]) for end in (a, b))
    apart = (ends[:, None, :, None] != ends[None, :, None, :]).all((-1, -2))
    crossings = (first * second < 0) & (first * second < 0).T & apart
    along = b - a
    t = ((x[:, None] - a) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9)
    gap = np.linalg.norm(x[:, None] - a - np.clip(t, 0.0, 1.0)[..., None] * along, axis=-1)
    strange = (np.arange(len(x))[:, None, None] != ends).all(-1)
    return int(crossings.sum()) // 2 + 2 * int(((gap < _NEAR) & strange).sum())


def _downwards(x: np.ndarray, ways: list[tuple[int, int]], n: int) -> np.ndarray:
    """Turned so that most ways lead down."""
    x = x - x.mean(0)
    down = sum((x[b] - x[a] for a, b in ways), np.zeros(2))
    if np.linalg.norm(down) < 1e-9:
        return x
    down = down / np.linalg.norm(down)
    return x @ np.array([[-down[1], -down[0]], [down[0], -down[1]]])
