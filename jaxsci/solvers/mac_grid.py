"""The staggered grid of Harlow and Welch: pressure at cell centres, each velocity component on the faces it crosses.

Along one axis of n cells the nodes are x_0 < ... < x_n and the centres lie halfway between them.  A component lives on the
nodes of its own axis (on n of them where the axis is periodic, x_0 standing for x_n too) and on the centres of the others.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from jaxsci._checks import listed
from jaxsci.problems import Problem


@dataclasses.dataclass(frozen=True)
class MacAxis:
    """One axis of the grid. Static and hashable.

    Attributes:
      nodes: cell boundaries, both ends included.
      open_ends: at which ends the pressure is given and the velocity free.
    """

    name: str
    nodes: tuple[float, ...]
    periodic: bool
    open_ends: tuple[bool, bool] = (False, False)

    @property
    def n(self) -> int:
        return len(self.nodes) - 1

    @property
    def faces(self) -> int:
        """How many faces a component has along its own axis."""
        return self.n if self.periodic else self.n + 1

    @functools.cached_property
    def x(self) -> np.ndarray:
        return np.asarray(self.nodes)

    @functools.cached_property
    def widths(self) -> np.ndarray:
        """Of the cells, ``[n]``."""
        return np.diff(self.x)

    @functools.cached_property
    def centres(self) -> np.ndarray:
        return (self.x[1:] + self.x[:-1]) / 2

    @functools.cached_property
    def extended(self) -> np.ndarray:
        """The centres with one more point at either end, ``[n + 2]``: the wall, or the neighbour across a periodic end."""
        if self.periodic:
            length = self.x[-1] - self.x[0]
            return np.concatenate([self.centres[-1:] - length, self.centres, self.centres[:1] + length])
        return np.concatenate([self.x[:1], self.centres, self.x[-1:]])

    @functools.cached_property
    def spacings(self) -> np.ndarray:
        """Between the extended centres, ``[n + 1]``: half a cell at walls."""
        return np.diff(self.extended)

    @functools.cached_property
    def face_widths(self) -> np.ndarray:
        """Of the control volumes of the faces, ``[n + 1]``; at walls of the one that a mirror completes."""
        if self.periodic:
            return self.spacings
        return np.concatenate([self.widths[:1], np.diff(self.centres), self.widths[-1:]])

    @functools.cached_property
    def above(self) -> np.ndarray:
        """Weight of the upper neighbour in a value at a node that is interpolated from extended centres, ``[n + 1]``."""
        weight = (self.x - self.extended[:-1]) / self.spacings
        return weight if self.periodic else np.concatenate([[0.0], weight[1:-1], [1.0]])

    @property
    def is_uniform(self) -> bool:
        return bool(np.ptp(self.widths) <= 1e-10 * self.widths.max())

    def coarser(self) -> MacAxis:
        """Every second node."""
        return dataclasses.replace(self, nodes=self.nodes[::2])


def lagrange_weights(points: np.ndarray, targets: np.ndarray, count: int = 4) -> np.ndarray:
    """The matrix ``[targets, points]`` that interpolates (at the ends extrapolates) by polynomials through `count` points."""
    count = min(count, len(points))
    first = np.clip(np.searchsorted(points, targets) - count // 2, 0, len(points) - count)
    matrix = np.zeros((len(targets), len(points)))
    for row, (start, target) in enumerate(zip(first, targets, strict=True)):
        near = points[start : start + count]
        for k in range(count):
            others = np.delete(near, k)
            matrix[row, start + k] = np.prod((target - others) / (near[k] - others))
    return matrix


def periodic_weights(points: np.ndarray, targets: np.ndarray, length: float) -> np.ndarray:
    """The same on a circle: `points` are one period, without the end that repeats the start."""
    n, reach = len(points), 2
    around = np.concatenate([points[-reach:] - length, points, points[:reach] + length])
    wide = lagrange_weights(around, targets)
    matrix = wide[:, reach : n + reach].copy()
    matrix[:, n - reach :] += wide[:, :reach]
    matrix[:, :reach] += wide[:, n + reach :]
    return matrix


def tanh_stretched(interval: tuple[float, float], n: int, strength: float) -> np.ndarray:
    """n + 1 nodes that cluster at both ends: x = middle + half length * tanh(strength s) / tanh(strength), s from -1 to 1."""
    low, high = interval
    s = np.tanh(strength * np.linspace(-1, 1, n + 1)) / np.tanh(strength)
    return np.concatenate([[low], (low + high) / 2 + (high - low) / 2 * s[1:-1], [high]])


def clustered(
    interval: tuple[float, float], around: tuple[float, float], spacing: float, growth: float = 1.05
) -> tuple[float, ...]:
    """Nodes with an even, fine spacing inside one part of an interval, growing geometrically outside: for `Staggered` nodes.

    Args:
      interval: the whole axis.
      around: the part that is resolved, for example a body and its surroundings.
      spacing: the cell width there; made a little smaller so that whole cells fit.
      growth: the largest ratio of neighbouring cells outside.
    Returns:
      An odd number of nodes, so that every second one makes the coarser grid of an error estimate.
    Example:
      >>> import jaxsci as js
      >>> nodes = js.solvers.clustered((0, 2.2), (0.1, 0.3), 0.01)
      >>> len(nodes), nodes[0], nodes[-1]
      (81, 0.0, 2.2)
    """
    low, high = map(float, interval)
    first, last = map(float, around)
    if not (low <= first < last <= high and 0 < spacing < last - first and growth > 1):
        raise ValueError(
            "clustered: needs low <= first < last <= high, a spacing that fits between first and last, and a growth above 1; "
            f"got {interval}, {around}, {spacing}, {growth}."
        )
    cells = 2 * int(np.ceil((last - first) / spacing / 2))
    h = (last - first) / cells
    below = first - _graded(first - low, h, growth)[::-1]
    above = last + _graded(high - last, h, growth)
    return tuple(map(float, np.concatenate([below, np.linspace(first, last, cells + 1), above])))


def _graded(length: float, h: float, growth: float) -> np.ndarray:
    """Distances from the fine part to the ends of an even number of cells that fill the length, each the same ratio wider."""
    if length <= 1e-12:
        return np.zeros(0)
    count = 2 * int(np.ceil(np.log1p(length / h * (growth - 1)) / np.log(growth) / 2))
    total = lambda ratio: h * sum(ratio**k for k in range(1, count + 1))  # noqa: E731
    low, high = 1e-3, growth
    for _ in range(100):  # bisection: total() grows with the ratio
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < length else (low, middle)
    ends = np.cumsum(h * high ** np.arange(1, count + 1))
    return ends * (length / ends[-1])


def axes_of(
    problem: Problem,
    n: int | tuple[int, ...],
    stretch: Sequence[tuple[str, float]],
    nodes: Sequence[tuple[str, Sequence[float]]],
    open_ends: Sequence[tuple[bool, bool]],
) -> tuple[MacAxis, ...]:
    """The axes of a problem's grid.

    Raises:
      ValueError: sizes, stretching or nodes that do not fit the problem's box.
    """
    space, domain = problem.domain.space, problem.domain
    given, strengths = dict(nodes), dict(stretch)
    unknown = [name for name in itertools.chain(given, strengths) if name not in space]
    if unknown:
        raise ValueError(f"Staggered: stretch and nodes name axes of the problem, {listed(space)}; got {listed(unknown)}.")
    sizes = n if isinstance(n, tuple) else (n,) * len(space)
    if len(sizes) != len(space):
        raise ValueError(f"Staggered: n has {len(sizes)} entries for the {len(space)} axes {', '.join(space)}.")
    axes = []
    for name, size, ends in zip(space, sizes, open_ends, strict=True):
        low, high = domain[name]
        if name in given:
            x = np.asarray(given[name], float)
            slack = 1e-9 * (high - low)
            if len(x) < 5 or (np.diff(x) <= 0).any() or abs(x[0] - low) > slack or abs(x[-1] - high) > slack:
                raise ValueError(
                    f"Staggered: the nodes of {name} must increase from {low:g} to {high:g} and be five or more, "
                    f"got {len(x)} from {x[0]:g} to {x[-1]:g}."
                )
        elif name in strengths:
            x = tanh_stretched((low, high), size, strengths[name])
        else:
            x = np.linspace(low, high, size + 1)
        axes.append(MacAxis(name, tuple(map(float, x)), not problem.walls(name), ends))
    return tuple(axes)
