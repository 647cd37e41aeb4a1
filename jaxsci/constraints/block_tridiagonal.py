"""Symmetric positive definite matrices of graphs, as block-tridiagonal ones: ordering, assembly, Cholesky factor, solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Band(NamedTuple):
    """Where the entries of the elements go."""

    order: np.ndarray  # of the unknowns, padded to whole blocks: -1 for none
    place: np.ndarray  # of each unknown in that order
    target: np.ndarray  # of the elements' entries in the flat band; the last slot is for those above the diagonal
    blocks: int
    width: int  # unknowns of a block


def band(groups: Sequence[tuple[int, ...]], nodes: int, unknowns: int) -> Band:
    """The band of elements that couple groups of nodes with so many unknowns each; groups of one size come together."""
    order = _cuthill_mckee(groups, nodes)
    rank = np.empty(nodes, int)
    rank[order] = np.arange(nodes)
    reach = max(1, *(int(np.ptp(rank[list(group)])) for group in groups))
    blocks, width = -(-nodes // reach), reach * unknowns
    padded = np.full(blocks * width, -1)
    padded[: nodes * unknowns] = (order[:, None] * unknowns + np.arange(unknowns)).reshape(-1)
    place = (rank[:, None] * unknowns + np.arange(unknowns)).reshape(-1)
    targets = []
    for group in groups:
        at = (rank[list(group)][:, None] * unknowns + np.arange(unknowns)).reshape(-1)
        row, column = np.meshgrid(at, at, indexing="ij")
        inside = (row % width) * width + column % width
        diagonal = (row // width) * width**2 + inside
        below = (blocks + column // width) * width**2 + inside
        unused = (2 * blocks - 1) * width**2
        side = row // width - column // width
        targets.append(np.select([side == 0, side == 1], [diagonal, below], unused).reshape(-1))
    return Band(padded, place, np.concatenate(targets), blocks, width)


def factor(shape: Band, entries: Any, diagonal: Any) -> tuple[Any, Any]:
    """The Cholesky factor (diagonal blocks, blocks below) of the assembled elements and a diagonal, and whether it exists."""
    blocks, width = shape.blocks, shape.width
    flat = jnp.zeros((2 * blocks - 1) * width**2 + 1, entries.dtype).at[shape.target].add(entries)[:-1]
    here = flat[: blocks * width**2].reshape(blocks, width, width)
    below = flat[blocks * width**2 :].reshape(blocks - 1, width, width)
    more = jnp.where(shape.order >= 0, diagonal[shape.order], 1).reshape(blocks, width)
    here = here + more[:, :, None] * jnp.eye(width, dtype=entries.dtype)

    def eliminate(lower, blocks):
        here, below = blocks
        across = jax.scipy.linalg.solve_triangular(lower, below.T, lower=True).T
        lower = jnp.linalg.cholesky(here - across @ across.T)
        return lower, (lower, across)

    first = jnp.linalg.cholesky(here[0])
    _, (rest, across) = jax.lax.scan(eliminate, first, (here[1:], below))
    lower = jnp.concatenate([first[None], rest])
    exists = jnp.isfinite(lower).all()
    return (jnp.where(exists, lower, jnp.eye(width, dtype=entries.dtype)), jnp.where(exists, across, 0)), exists


def solve(shape: Band, factors: tuple[Any, Any], v: Any) -> Any:
    """The solution for a right-hand side in the order of the unknowns."""
    lower, across = factors
    right = jnp.where(shape.order >= 0, v[shape.order], 0).reshape(shape.blocks, shape.width)
    none = jnp.zeros_like(across, shape=(1, shape.width, shape.width))
    triangular = jax.scipy.linalg.solve_triangular

    def forward(before, blocks):
        lower, across, right = blocks
        here = triangular(lower, right - across @ before, lower=True)
        return here, here

    def backward(after, blocks):
        lower, across, right = blocks
        here = triangular(lower, right - across.T @ after, lower=True, trans=1)
        return here, here

    start = jnp.zeros_like(right[0])
    half = jax.lax.scan(forward, start, (lower, jnp.concatenate([none, across]), right))[1]
    whole = jax.lax.scan(backward, start, (lower, jnp.concatenate([across, none]), half), reverse=True)[1]
    return whole.reshape(-1)[shape.place]


def _cuthill_mckee(groups: Sequence[tuple[int, ...]], nodes: int) -> np.ndarray:
    """The reverse Cuthill-McKee order: breadth first from a node at the rim, neighbours with few neighbours first."""
    near: list[set[int]] = [set() for _ in range(nodes)]
    for group in groups:
        for node in group:
            near[node] |= set(group) - {node}
    order: list[int] = []
    left = set(range(nodes))
    while left:
        start = min(left, key=lambda node: len(near[node]))
        for _ in range(2):  # to a node that is far from another
            start = _breadth_first(start, near)[-1]
        found = _breadth_first(start, near)
        order += found
        left -= set(found)
    return np.asarray(order[::-1])


def _breadth_first(start: int, near: list[set[int]]) -> list[int]:
    found, seen = [start], {start}
    for node in found:
        fresh = sorted(near[node] - seen, key=lambda other: (len(near[other]), other))
        found += fresh
        seen |= set(fresh)
    return found
