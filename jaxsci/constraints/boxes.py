"""A domain cut into boxes, one for each expert: what meets what, and what lies in which.

The boxes come from cuts of one of them at a time, so that they need not be a grid. All of this is for the host, in double
precision: a face is found by numbers that are equal, and cuts are copied, never computed twice.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsci._checks import check_keys, is_whole, listed


class Faces(NamedTuple):
    """Where boxes meet.

    Attributes:
      pairs: (k, l), the upper end of k along the normal is the lower one of l; around a periodic domain too;  F of them.
      normal: the number of the axis;  [F].
      lower, upper: the ends of the face along the other axes; along the normal both are the upper end of k;  [F, d].
    """

    pairs: tuple[tuple[int, int], ...]
    normal: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """K boxes that fill one, without overlap.

    Args:
      axes: the names of the coordinates, in order; d of them.
      lower, upper: the ends of each box, ``[K, d]``.
    Raises:
      ValueError: a shape is wrong, a box is empty or not finite, two overlap, or there are holes.
    Example:
      >>> import jaxsci as js
      >>> boxes = js.constraints.Boxes.grid({"t": (0.0, 1.0), "x": (0.0, 2.0)}, {"x": 2})
      >>> boxes = boxes.cut(1, "t", 0.25)  # the right one in two
      >>> boxes.count, boxes.volumes.tolist(), boxes.faces().pairs
      (3, [1.0, 0.25, 0.75], ((1, 2), (0, 1), (0, 2)))
    """

    axes: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self):
        lower, upper = (np.array(end, dtype=float) for end in (self.lower, self.upper))
        for name, value in (("axes", tuple(self.axes)), ("lower", lower), ("upper", upper)):
            object.__setattr__(self, name, value)
        if lower.ndim != 2 or lower.shape != upper.shape or lower.shape[1] != len(self.axes) or not lower.size:
            raise ValueError(
                f"Boxes: lower and upper must have the shape [K, {len(self.axes)}], one column for each of "
                f"{listed(self.axes)}; got {lower.shape} and {upper.shape}."
            )
        if not (np.isfinite(lower).all() and np.isfinite(upper).all() and (lower < upper).all()):
            raise ValueError("Boxes: every box must be finite, with lower < upper along every axis.")
        for k in range(self.count - 1):
            inside = (np.minimum(upper[k], upper[k + 1 :]) > np.maximum(lower[k], lower[k + 1 :])).all(axis=1)
            if inside.any():
                raise ValueError(f"Boxes: {k} and {k + 1 + int(np.argmax(inside))} overlap.")
        low, high = self.ends
        if abs(self.volumes.sum() - np.prod(high - low)) > 1e-9 * np.prod(high - low):
            raise ValueError("Boxes: together they must fill one box; there are holes.")

    @staticmethod
    def grid(domain: Any, split: Mapping[str, int] | None = None) -> Boxes:
        """Boxes of one size; the last axis runs fastest.

        Args:
          domain: a `jaxsci.Box`, or a mapping of (lower, upper) by axis.
          split: the number of parts by axis: ``{"x": 4}``; 1 where nothing is said.
        Raises:
          KeyError, ValueError: an axis is unknown, or a number of parts is not a positive integer.
        Example:
          >>> import jaxsci as js
          >>> js.constraints.Boxes.grid(js.Box(t=(0, 1), x=(-1, 1)), {"t": 2, "x": 3}).count
          6
        """
        axes, split = tuple(domain), dict(split or {})
        check_keys("split of", split, axes)
        wrong = {c: n for c, n in split.items() if not is_whole(n) or n < 1}
        if wrong:
            raise ValueError(f"Boxes.grid: the numbers of parts must be positive integers, got {wrong}.")
        edges = [np.linspace(*domain[c], split.get(c, 1) + 1) for c in axes]
        ends = [np.array(list(itertools.product(*of))) for of in ([e[:-1] for e in edges], [e[1:] for e in edges])]
        return Boxes(axes, *ends)

    @property
    def count(self) -> int:
        """K."""
        return len(self.lower)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the domain, each [d]."""
        return self.lower.min(axis=0), self.upper.max(axis=0)

    @property
    def volumes(self) -> np.ndarray:
        """[K]."""
        return np.prod(self.upper - self.lower, axis=1)

    def cut(self, box: int, axis: str, at: float) -> Boxes:
        """One box in two: the lower part keeps its number, the upper one is the last.

        Raises:
          KeyError, ValueError: there is no such box or axis, or `at` is not inside.
        """
        check_keys("axis", {axis: at}, self.axes)
        i = self.axes.index(axis)
        if not is_whole(box) or not 0 <= box < self.count:
            raise ValueError(f"Boxes.cut: the box must be among 0 to {self.count - 1}, got {box!r}.")
        if not self.lower[box, i] < at < self.upper[box, i]:
            raise ValueError(
                f"Boxes.cut: box {box} goes from {self.lower[box, i]:g} to {self.upper[box, i]:g} along {axis}, "
                f"it cannot be cut at {at:g}."
            )
        lower, upper = np.concatenate([self.lower, self.lower[[box]]]), np.concatenate([self.upper, self.upper[[box]]])
        upper[box, i] = lower[-1, i] = at
        return Boxes(self.axes, lower, upper)

    def faces(self, periodic: Sequence[str] = ()) -> Faces:
        """Where two boxes share more than an edge, axis by axis; those that are `periodic` close around the domain."""
        check_keys("axis", dict.fromkeys(periodic), self.axes)
        low, high = self.ends
        found = []
        for i, c in enumerate(self.axes):
            others = [j for j in range(len(self.axes)) if j != i]
            for k, l in itertools.product(range(self.count), repeat=2):  # noqa: E741
                meet = self.upper[k, i] == self.lower[l, i] and k != l
                around = c in periodic and self.upper[k, i] == high[i] and self.lower[l, i] == low[i]
                begin, end = np.maximum(self.lower[k], self.lower[l]), np.minimum(self.upper[k], self.upper[l])
                if (meet or around) and (begin[others] < end[others]).all():
                    begin[i] = end[i] = self.upper[k, i]
                    found.append(((k, l), i, begin, end))
        if not found:
            none = np.zeros((0, len(self.axes)))
            return Faces((), np.zeros(0, int), none, none)
        pairs, normal, begin, end = zip(*found, strict=True)
        return Faces(pairs, np.array(normal), np.array(begin), np.array(end))

    def find(self, points: Mapping[str, Any]) -> np.ndarray:
        """The number of the box that each point lies in, the lowest where several meet;  ``[...]``.

        Args:
          points: the columns of all coordinates, which broadcast against each other.
        Raises:
          KeyError, ValueError: a coordinate is missing, or a point lies outside.
        """
        check_keys("coordinate", points, self.axes, complete=True)
        columns = np.broadcast_arrays(*(np.asarray(points[c], float) for c in self.axes))
        place = np.stack(columns, -1)
        low, high = self.ends
        slack = 1e-6 * (high - low)  # of points in single precision
        if not ((place >= low - slack) & (place <= high + slack)).all():
            raise ValueError("Boxes.find: a point lies outside of the boxes.")
        place = np.clip(place, low, high)
        number = np.full(place.shape[:-1], -1)
        for k in reversed(range(self.count)):
            number = np.where(((place >= self.lower[k]) & (place <= self.upper[k])).all(axis=-1), k, number)
        return number


def gauss_points(counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Gauss points of [-1, 1]^d, ``[m, d]``, the last axis fastest, and their shares of the volume, ``[m]``."""
    each = [np.polynomial.legendre.leggauss(n) for n in counts]
    nodes = np.array(list(itertools.product(*(x for x, _ in each))))
    weights = np.array([math.prod(w) for w in itertools.product(*(w / 2 for _, w in each))])
    return nodes, weights


def face_points(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """n^(d - 1) points of which every d - 1 coordinates are all of a Gauss grid, and shares of a face, ``[n^(d - 1), d]``.

    So that one set of points serves the faces normal to any axis, whose coordinate is then left out. A Latin hypercube: the
    numbers of a point's nodes add up to a multiple of n.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n)
    free = np.array(list(itertools.product(range(n), repeat=d - 1)), dtype=int).reshape(n ** (d - 1), d - 1)
    number = np.concatenate([free, -free.sum(axis=1, keepdims=True) % n], axis=1)
    share = weights[number] / 2
    others = np.stack([np.prod(np.delete(share, i, axis=1), axis=1) for i in range(d)], -1)
    return nodes[number], others
