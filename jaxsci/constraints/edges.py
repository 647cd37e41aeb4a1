r"""The edges and corners of a polygon, as an ansatz sees them: functions that vanish on one edge and nowhere else.

For an edge of length L on the line f = 0 (f > 0 in the domain next to it), with the disc around it t = (L^2/4 - |x - m|^2) / L,

    q = f^2 + e^2,    e = (sqrt(t^2 + (f^2 / L)^2) - t) / 2,

is zero on the edge, positive elsewhere, and smooth but at the edge's ends: Rvachev's trimming of a line. On the edge e is zero
to fourth order, so that d = f sqrt(1 + (e/f)^2) is a distance of first order with a sign, smooth through f = 0.

Reference: Rvachev, Sheiko, Shapiro & Tsukanov (2001), Comput. Aided Geom. Des. 18, 195, section 4; Sukumar & Srivastava (2022),
Comput. Methods Appl. Mech. Eng. 389, 114333, eq. 12.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci.constraints.parts import Point
from jaxsci.problems import Formula
from jaxsci.problems.geometry import Polygon


@dataclasses.dataclass(frozen=True)
class Edge:
    """An edge and what is prescribed there: a value, or the slope along the normal out of the domain; a rate makes it Robin.

    `size` is that of the polygon, over which functions saturate; `inside` says which side the domain is on.
    """

    where: str
    start: tuple[float, float]
    end: tuple[float, float]
    inside: bool
    size: float
    value: Formula | None
    slope: Formula | None
    rate: Formula | None

    @property
    def length(self) -> float:
        return math.dist(self.start, self.end)

    @property
    def tangent(self) -> np.ndarray:
        """From start to end."""
        return (np.asarray(self.end) - self.start) / self.length

    @property
    def outward(self) -> np.ndarray:
        """The unit normal out of the domain: a polygon runs counterclockwise, its inside is on the left."""
        x, y = self.tangent
        return np.array([y, -x]) if self.inside else np.array([-y, x])

    @property
    def holds(self) -> bool:
        return self.value is not None or self.slope is not None


@dataclasses.dataclass(frozen=True)
class Corner:
    """Where an edge ends and the next begins."""

    place: tuple[float, float]
    before: Edge
    after: Edge

    @property
    def edges(self) -> tuple[Edge, Edge]:
        return self.before, self.after

    @property
    def holds_a_value(self) -> bool:
        return any(edge.value is not None for edge in self.edges)

    @property
    def holds_a_slope(self) -> bool:
        return any(edge.slope is not None for edge in self.edges)


def edges_of(polygon: Polygon, inside: bool, name: str, held: Any) -> tuple[tuple[Edge, ...], tuple[Corner, ...]]:
    """The edges of a polygon, from each vertex to the next, with (value, slope, rate) for each; and its corners."""
    vertices, count = polygon.vertices, len(polygon.vertices)
    edges = tuple(
        Edge(f"edge {i} of {name}", vertices[i], vertices[(i + 1) % count], inside, polygon.size, *held[i])
        for i in range(count)
    )
    return edges, tuple(Corner(vertices[i], edges[i - 1], edges[i]) for i in range(count))


# --- functions of several edges at once, at one point x [2] -------------------------------------------------------------------


def of_each(items: Sequence[Any], name: str, x: Any) -> Any:
    """An attribute of all, ``[items, ...]``."""
    return jnp.asarray(np.array([getattr(item, name) for item in items]), x.dtype)


def depths(edges: Sequence[Edge], x: Any) -> Any:
    """f."""
    return -jnp.sum((x - of_each(edges, "start", x)) * of_each(edges, "outward", x), axis=-1)


def on_lines(edges: Sequence[Edge], x: Any) -> Any:
    """The nearest point of each line, ``[edges, 2]``."""
    return x + depths(edges, x)[:, None] * of_each(edges, "outward", x)


def bumps(edges: Sequence[Edge], x: Any) -> Any:
    """Functions without value on the line, with slope 1 out of the domain."""
    f = depths(edges, x)
    return -f / (1 + (f / of_each(edges, "size", x)) ** 2)


def _trimmed(edges: Sequence[Edge], x: Any) -> tuple[Any, Any, Any]:
    """f, e, and e / f^2 where the line is the edge (t > 0), else 0."""
    f, length = depths(edges, x), of_each(edges, "length", x)
    middle = (of_each(edges, "start", x) + of_each(edges, "end", x)) / 2
    t = (length / 2) ** 2 - jnp.sum((x - middle) ** 2, axis=-1)
    t = t / length
    root = _root(t**2 + (f**2 / length) ** 2)
    on = t > 0
    share = jnp.where(on, f**2 / length**2 / (2 * (root + jnp.where(on, t, 1.0))), 0.0)  # without cancellation
    return f, jnp.where(on, f**2 * share, (root - t) / 2), share


def squares(edges: Sequence[Edge], x: Any) -> Any:
    """q, and 1 far away."""
    f, e, _ = _trimmed(edges, x)
    q = f**2 + e**2
    return q / (q + of_each(edges, "size", x) ** 2)


def distances(edges: Sequence[Edge], x: Any) -> Any:
    """d, and 1 far away."""
    f, e, share = _trimmed(edges, x)
    # On the other side of the line there is another part of the domain, where d must not be negative.
    near = ((share > 0) | ((f == 0) & (e == 0))) & (f > -1e-3 * of_each(edges, "length", x))
    d = jnp.where(near, f * jnp.sqrt(1 + (f * share) ** 2), jnp.sqrt(jnp.where(near, 1.0, f**2 + e**2)))
    return d / (d + of_each(edges, "size", x))


def to_corners(corners: Sequence[Corner], x: Any) -> tuple[Any, Any]:
    """x - place ``[corners, 2]``, and its length squared over that of the polygon."""
    away = x - of_each(corners, "place", x)
    sizes = jnp.asarray(np.array([corner.before.size for corner in corners]), x.dtype)
    return away, jnp.sum(away**2, axis=-1) / sizes**2


def corner_distances(corners: Sequence[Corner], x: Any) -> Any:
    """Of first order, and 1 far away."""
    r = _root(to_corners(corners, x)[1])
    return r / (r + 1)


def corner_shares(corners: Sequence[Corner], x: Any) -> Any:
    """Weights that add up to 1, each 1 to fourth order in its own corner."""
    quartic = to_corners(corners, x)[1] ** 2
    return shares(quartic / (quartic + 1))


def shares(vanishing: Any) -> Any:
    """Weights that add up to 1, each 1 where its own of some functions >= 0 is zero: 1 / q_i over the sum of these.

    Where two of them are zero there is no such weight: all are zero, and so are their slopes.
    """
    count = vanishing.shape[0]
    products = jnp.prod(jnp.where(np.eye(count, dtype=bool), 1.0, vanishing), axis=1)
    total = jnp.sum(products)
    return jnp.where(total > 0, products / jnp.where(total > 0, total, 1.0), 0.0)


def point_of(x: Any) -> Point:
    """A point by coordinate."""
    return dict(zip("xyz", x, strict=False))


def _root(square: Any) -> Any:
    """The square root, whose slope in 0 is taken as 0."""
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
