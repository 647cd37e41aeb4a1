r"""Shapes: what is cut out of a box, as functions that vanish on the boundary to first order.

A shape is a solid: its function phi is positive outside, negative inside, and near the boundary the distance to it,

    phi = 0,   d phi / d nu = 1   on the boundary, nu pointing out of the shape.

Sets are combined by R-functions, which keep both properties wherever the boundary is smooth:

    a | b:  a + b - sqrt(a^2 + b^2),     a & b:  a + b + sqrt(a^2 + b^2),     ~a:  -a.

Away from corners phi is smooth. At a corner its gradient jumps, and derivatives of second order grow as 1 / distance: points at
which an equation is asked for must not lie there.

Reference: Rvachev (1982), *Theory of R-functions and some applications*; Shapiro (2007), Acta Numerica 16, 239, section 3;
Dobkin, Guibas, Hershberger & Snoeyink (1988), SIGGRAPH, for the half planes of a polygon.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_real

Points = tuple[Any, ...]  # one number or array per coordinate of space


class Shape:
    """A solid in the plane or in space: ``shape(x, y)`` is positive outside, zero on the boundary and negative inside.

    Shapes are combined by ``|`` (either), ``&`` (both), ``-`` (the first without the second) and ``~`` (all but it).
    Static and hashable.
    """

    @property
    def size(self) -> float:
        """A length over which the function changes."""
        raise NotImplementedError

    def __call__(self, *point: Any) -> Any:
        """phi, elementwise."""
        raise NotImplementedError

    def leaves(self, inverted: bool = False) -> Iterator[tuple[Shape, bool]]:
        """The shapes that it is made of, and whether it is their outside that counts."""
        yield self, inverted

    def __or__(self, other: Shape) -> Shape:
        return Union(self, other)

    def __and__(self, other: Shape) -> Shape:
        return Complement(Union(Complement(self), Complement(other)))

    def __sub__(self, other: Shape) -> Shape:
        return self & ~other

    def __invert__(self) -> Shape:
        return self.shape if isinstance(self, Complement) else Complement(self)


@dataclasses.dataclass(frozen=True)
class Complement(Shape):
    """All but a shape: what bounds a domain that is no box. Written ``~shape``."""

    shape: Shape

    def __call__(self, *point: Any) -> Any:
        return -self.shape(*point)

    @property
    def size(self) -> float:
        return self.shape.size

    def leaves(self, inverted: bool = False) -> Iterator[tuple[Shape, bool]]:
        return self.shape.leaves(not inverted)


@dataclasses.dataclass(frozen=True)
class Union(Shape):
    """Two shapes together. Written ``a | b``."""

    first: Shape
    second: Shape

    def __call__(self, *point: Any) -> Any:
        return both(self.first(*point), self.second(*point))

    @property
    def size(self) -> float:
        return max(self.first.size, self.second.size)

    def leaves(self, inverted: bool = False) -> Iterator[tuple[Shape, bool]]:
        yield from self.first.leaves(inverted)
        yield from self.second.leaves(inverted)


def both(a: Any, b: Any) -> Any:
    """The R-conjunction, positive where both are: a + b - sqrt(a^2 + b^2). Its slope at a = b = 0 is taken as 0, not NaN."""
    square = a**2 + b**2
    safe = jnp.where(square > 0, square, 1.0)
    return a + b - jnp.where(square > 0, jnp.sqrt(safe), 0.0)


def either(a: Any, b: Any) -> Any:
    """The R-disjunction, positive where one of them is."""
    return -both(-a, -b)


# --- primitives --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Disc(Shape):
    """A disc in the plane, a ball in space: (|x - centre|^2 - radius^2) / (2 radius), a polynomial.

    Example:
      >>> import jaxsci as js
      >>> hole = js.Disc((0.3, 0.3), 0.1)
      >>> print(f"{hole(0.4, 0.3):.3f} {hole(0.3, 0.3):.3f}")
      0.000 -0.050
    """

    centre: tuple[float, ...]
    radius: float

    def __post_init__(self):
        object.__setattr__(self, "centre", _floats("Disc: centre", self.centre))
        check_real("Disc: radius", self.radius)
        if not 0 < self.radius < math.inf:
            raise ValueError(f"Disc: radius must be positive, got {self.radius!r}.")

    def __call__(self, *point: Any) -> Any:
        square = sum((x - c) ** 2 for x, c in zip(point, self.centre, strict=True))
        return (square - self.radius**2) / (2 * self.radius)

    @property
    def size(self) -> float:
        return self.radius


@dataclasses.dataclass(frozen=True)
class HalfPlane(Shape):
    """All points on one side of a line (in space, of a plane): the solid lies where `normal` does not point to.

    Args:
      point: on the line.
      normal: pointing out of the solid; of any length.
    Example:
      >>> import jaxsci as js
      >>> floor = js.HalfPlane((0, 0), normal=(0, 1))
      >>> floor(3.0, 0.5), floor(3.0, -0.5)
      (0.5, -0.5)
    """

    point: tuple[float, ...]
    normal: tuple[float, ...]

    def __post_init__(self):
        normal = _floats("HalfPlane: normal", self.normal)
        length = math.hypot(*normal)
        if not length > 0:
            raise ValueError(f"HalfPlane: normal must have a direction, got {self.normal!r}.")
        object.__setattr__(self, "point", _floats("HalfPlane: point", self.point))
        object.__setattr__(self, "normal", tuple(n / length for n in normal))

    def __call__(self, *point: Any) -> Any:
        return sum((x - p) * n for x, p, n in zip(point, self.point, self.normal, strict=True))

    @property
    def size(self) -> float:
        return math.inf


@dataclasses.dataclass(frozen=True)
class Polygon(Shape):
    """A simple polygon: a Boolean formula of the half planes of its edges, in which each occurs once.

    Args:
      vertices: ``[(x, y), ...]`` in order around it, in either sense; edges do not cross.
    Example:
      >>> import jaxsci as js
      >>> room = js.Polygon([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)])  # an L
      >>> bool(room(0.5, 1.5) < 0), bool(room(1.5, 1.5) > 0)
      (True, True)
    """

    vertices: tuple[tuple[float, float], ...]

    def __post_init__(self):
        corners = [_floats("Polygon: vertices", vertex) for vertex in self.vertices]
        if len(corners) < 3 or any(len(corner) != 2 for corner in corners):
            raise ValueError(f"Polygon: vertices must be three or more points (x, y), got {self.vertices!r}.")
        if _area(corners) < 0:
            corners = corners[::-1]
        turns = [_turn(*(corners[(i + k) % len(corners)] for k in (-1, 0, 1))) for i in range(len(corners))]
        scale = max(map(abs, turns), default=0.0)
        kept = tuple(corner for corner, turn in zip(corners, turns, strict=True) if abs(turn) > 1e-12 * scale)
        if len(kept) < 3 or _edges_cross(kept):
            raise ValueError(f"Polygon: the edges must enclose an area and not cross each other, got {self.vertices!r}.")
        object.__setattr__(self, "vertices", kept)

    def __call__(self, *point: Any) -> Any:
        x, y = point
        return -_evaluate(_formula(self.vertices), self.vertices, x, y)

    @property
    def size(self) -> float:
        return math.sqrt(abs(_area(list(self.vertices)))) / 2


def rectangle(x: tuple[float, float], y: tuple[float, float]) -> Polygon:
    """The `Polygon` with these sides.

    Example:
      >>> import jaxsci as js
      >>> len(js.problems.rectangle(x=(0, 2), y=(0, 1)).vertices)
      4
    """
    return Polygon(((x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])))


# --- the formula of a polygon ------------------------------------------------------------------------------------------------

# An edge, by the index of its first vertex, or ("and" | "or", formulas): where the interior is.
_Formula = int | tuple[str, tuple[Any, ...]]


@functools.lru_cache(maxsize=256)
def _formula(vertices: tuple[tuple[float, float], ...]) -> _Formula:
    """The interior as a formula of the edges' left sides: cut the boundary at the vertices of its convex hull, "and" the
    pieces; cut each piece at the vertices of its own hull, "or" what results; and so on."""
    count = len(vertices)
    first = min(range(count), key=lambda i: vertices[i])  # on the hull
    return _cut(vertices, [(first + k) % count for k in range(count + 1)], "and")


def _cut(vertices: Sequence[tuple[float, float]], chain: list[int], operation: str) -> _Formula:
    if len(chain) == 2:
        return chain[0]
    sign = 1 if operation == "and" else -1  # a piece of "and" bulges to the left of its chord, one of "or" to the right
    hull = _outer(vertices, chain, sign)
    pieces = [chain[a : b + 1] for a, b in itertools.pairwise(hull)]
    other = "or" if operation == "and" else "and"
    return operation, tuple(_cut(vertices, piece, other) for piece in pieces)


def _outer(vertices: Sequence[tuple[float, float]], chain: list[int], sign: int) -> list[int]:
    """Positions in the chain, its ends among them, of the vertices of its hull on the side that `sign` says."""
    place = {v: k for k, v in enumerate(chain[:-1])} if chain[0] == chain[-1] else {v: k for k, v in enumerate(chain)}
    points = sorted(place, key=lambda v: vertices[v])
    slack = (
        -1e-12 * max(1.0, *(abs(c) for vertex in vertices for c in vertex)) ** 2
    )  # vertices on the hull's edges belong to it
    hull: list[int] = []
    for sequence in (points, points[::-1]):
        part: list[int] = []
        for v in sequence:
            while len(part) > 1 and _turn(*(vertices[i] for i in (part[-2], part[-1], v))) < slack:
                part.pop()
            part.append(v)
        hull += part[:-1]
    if chain[0] == chain[-1]:
        return [*sorted(place[v] for v in hull), len(chain) - 1]
    start, end = hull.index(chain[0]), hull.index(chain[-1])  # the hull runs counterclockwise
    size = len(hull)
    if sign > 0:
        return [place[hull[(start + k) % size]] for k in range((end - start) % size + 1)]
    return [place[hull[(start - k) % size]] for k in range((start - end) % size + 1)]


def _evaluate(formula: _Formula, vertices: Sequence[tuple[float, float]], x: Any, y: Any) -> Any:
    if isinstance(formula, int):
        (ax, ay), (bx, by) = vertices[formula], vertices[(formula + 1) % len(vertices)]
        length = math.hypot(bx - ax, by - ay)
        return ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length  # positive to the left
    operation, parts = formula
    return functools.reduce(both if operation == "and" else either, (_evaluate(p, vertices, x, y) for p in parts))


def _turn(a: Sequence[float], b: Sequence[float], c: Sequence[float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _area(corners: Sequence[Sequence[float]]) -> float:
    x, y = np.asarray(corners, float).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _edges_cross(corners: Sequence[Sequence[float]]) -> bool:
    count = len(corners)
    for i in range(count):
        for j in range(i + 2, count - (i == 0)):
            a, b, c, d = corners[i], corners[(i + 1) % count], corners[j], corners[(j + 1) % count]
            if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
                return True
    return False


def _floats(what: str, values: Any) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in values)
    except TypeError:
        raise TypeError(f"{what} must be numbers, as in (0.3, 0.3); got {values!r}.") from None


# --- points ------------------------------------------------------------------------------------------------------------------


def boundary_points(shape: Shape, box: Sequence[tuple[float, float]], count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Points on a shape's boundary inside a box, at most `count`: random ones, moved along the slope of its function.

    Made on the host; one column per coordinate. Points near corners, where the slope is not 1, are left out.
    """
    random = np.random.default_rng(seed)
    low, high = np.asarray(box, float).T
    points = random.uniform(low, high, size=(8 * count, len(low)))
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        slope = jax.jit(jax.vmap(jax.value_and_grad(lambda point: shape(*point))))
        for _ in range(30):
            value, gradient = map(np.asarray, slope(jnp.asarray(points)))
            square = np.maximum((gradient**2).sum(1), 1e-12)
            points = points - (value / square)[:, None] * gradient
        value, gradient = map(np.asarray, slope(jnp.asarray(points)))
    length = np.sqrt((gradient**2).sum(1))
    scale = np.max(high - low)
    good = (np.abs(value) < 1e-14 * scale) & (np.abs(length - 1) < 1e-6)
    good &= ((points >= low) & (points <= high)).all(1)
    return tuple(points[good][:count].T)
