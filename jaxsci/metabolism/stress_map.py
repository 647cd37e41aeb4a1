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


def largest_fluxes(model: StoichiometricModel, fluxes: Mapping[str, float], count: int = 40) -> Layout:
    """The `count` largest fluxes without cofactors, sources at the top.

    The places minimise the stress sum_ab ((|x_a - x_b| - d_ab) / d_ab)^2, d the number of steps between metabolites and
    reactions (Kamada & Kawai 1989), by majorisation (Gansner, Koren & North 2004).
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
    x = _stress(links, len(names) + len(edges))
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


def _stress(links: list[tuple[int, int]], n: int) -> np.ndarray:
    rows, columns = np.array(links).T
    graph = scipy.sparse.coo_array((np.ones(len(links)), (rows, columns)), shape=(n, n)).tocsr()
    steps = scipy.sparse.csgraph.shortest_path(graph, directed=False, unweighted=True)
    longest = steps[np.isfinite(steps)].max()
    apart = np.where(np.isfinite(steps), steps, 0.6 * longest + 2.0) * _STEP
    weights = 1.0 / np.where(apart == 0, 1.0, apart) ** 2
    np.fill_diagonal(weights, 0.0)
    laplacian = np.diag(weights.sum(1)) - weights
    solve = np.linalg.pinv(laplacian)
    # A start without crossings where it can be had: the two smoothest functions on the graph of distances.
    centred = -0.5 * (apart**2 - (apart**2).mean(0) - (apart**2).mean(1)[:, None] + (apart**2).mean())
    values, vectors = np.linalg.eigh(centred)
    x = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 1e-9))
    x += 1e-3 * np.random.default_rng(0).standard_normal(x.shape)
    for _ in range(_ROUNDS):
        distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
        pull = np.where(distance > 1e-9, weights * apart / np.where(distance > 1e-9, distance, 1.0), 0.0)
        x = solve @ ((np.diag(pull.sum(1)) - pull) @ x)
    return x


def _downwards(x: np.ndarray, ways: list[tuple[int, int]], n: int) -> np.ndarray:
    """Turned so that most ways lead down."""
    x = x - x.mean(0)
    down = sum((x[b] - x[a] for a, b in ways), np.zeros(2))
    if np.linalg.norm(down) < 1e-9:
        return x
    down = down / np.linalg.norm(down)
    return x @ np.array([[-down[1], -down[0]], [down[0], -down[1]]])
