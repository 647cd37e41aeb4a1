r"""Places where a solution varies fast because of the domain's shape, and coordinates in which it varies slowly there.

Around a disc of radius R, in polar coordinates about its centre, (R / r) (cos a, sin a) and log r: harmonic functions outside
the disc, and those of creeping flow, are smooth in them.  At a corner of angle w > pi, seen from the domain,
(r / l)^(pi / w) (cos, sin)(pi a / w): there u - u(corner) grows as r^(pi / w).

Reference: Kondrat'ev (1967), Trans. Moscow Math. Soc. 16, 227, for corners; Moffatt (1964), J. Fluid Mech. 18, 1, for flow in
them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.constraints.parts import Point
from jaxsci.problems import Disc, Polygon, Problem


@dataclasses.dataclass(frozen=True)
class Place:
    """The neighbourhood of a disc (`power` 1: its outside) or of a corner (its opening mapped to a half plane)."""

    axes: tuple[str, str]
    centre: tuple[float, float]
    scale: float  # the disc's radius; the length of the corner's edges
    reach: float  # the farthest point of the domain
    power: float = 1.0
    direction: float = 0.0  # of the middle of a corner's opening, radians
    is_corner: bool = False

    @property
    def size(self) -> int:
        """How many inputs."""
        return 2 if self.is_corner else 3

    def inputs(self, point: Point) -> Any:
        """What units of this place see, ``[size]``, within [-1, 1]."""
        x, y = (point[axis] - c for axis, c in zip(self.axes, self.centre, strict=True))
        if not self.is_corner:
            square = x**2 + y**2
            depth = jnp.log(square / self.scale**2) / math.log((self.reach / self.scale) ** 2)
            return jnp.stack([self.scale * x / square, self.scale * y / square, 2 * depth - 1])
        cos, sin = math.cos(self.direction), math.sin(self.direction)
        along, across = cos * x + sin * y, cos * y - sin * x
        r = (jnp.sqrt(along**2 + across**2) / self.reach) ** self.power
        angle = self.power * jnp.arctan2(across, along)
        return jnp.stack([r * jnp.cos(angle), r * jnp.sin(angle)])

    def around(self, problem: Problem, count: int, key: Any) -> tuple[Any, ...]:
        """Points around the place, one column per coordinate: evenly spread in angle and in the logarithm of the distance."""
        first, second = jax.random.split(key)
        near = 1e-3 * self.scale if self.is_corner else self.scale
        far = self.scale if self.is_corner else min(4 * self.scale, self.reach)
        r = near * (far / near) ** jax.random.uniform(first, (count,))
        angle = 2 * math.pi * jax.random.uniform(second, (count,))
        return self.centre[0] + r * jnp.cos(angle), self.centre[1] + r * jnp.sin(angle)


@functools.lru_cache(maxsize=64)
def _places(domain: Any, solids: tuple[Any, ...]) -> tuple[Place, ...]:
    if domain.coordinates != ("x", "y"):
        return ()
    corners = [(x, y) for x in domain["x"] for y in domain["y"]]
    out = []
    for solid in solids:
        for leaf, inverted in solid.shape.leaves():
            if isinstance(leaf, Disc) and not inverted:
                reach = max(math.dist(corner, leaf.centre) for corner in corners)
                out.append(Place(("x", "y"), (leaf.centre[0], leaf.centre[1]), leaf.radius, reach))
            if isinstance(leaf, Polygon):
                out += _corners(leaf, inverted, corners)
    return tuple(out)


def _corners(polygon: Polygon, inverted: bool, box: list[tuple[float, float]]) -> list[Place]:
    """The corners whose angle, seen from the domain, is larger than pi."""
    out, vertices = [], polygon.vertices
    for before, here, after in zip(vertices[-1:] + vertices[:-1], vertices, vertices[1:] + vertices[:1], strict=True):
        to_after = math.atan2(after[1] - here[1], after[0] - here[0])
        to_before = math.atan2(before[1] - here[1], before[0] - here[0])
        inside = (to_before - to_after) % (2 * math.pi)  # the polygon's own angle: it runs counterclockwise
        angle = inside if inverted else 2 * math.pi - inside
        if angle > math.pi * 1.001:
            middle = to_after + inside / 2 + (0 if inverted else math.pi)
            length = min(math.dist(here, before), math.dist(here, after))
            reach = max(math.dist(corner, here) for corner in box)
            out.append(Place(("x", "y"), here, length, reach, math.pi / angle, middle, True))
    return out


def places_of(problem: Problem, corners: bool = False) -> tuple[Place, ...]:
    """The places of a problem's solids, in the plane; where asked the corners of the box too.

    There a solution that the walls determine is not smooth either: creeping flow grows as r^2.74 (Moffatt 1964), a potential as
    r^2 log r. In the square root of the distance it is smoother.
    """
    places = _places(problem.domain, problem.solids)
    if not corners or problem.domain.coordinates != ("x", "y"):
        return places
    box, reach = problem.domain, math.hypot(*problem.domain.lengths)
    middle = [sum(box[axis]) / 2 for axis in ("x", "y")]
    return places + tuple(
        Place(("x", "y"), (x, y), 0.4 * min(box.lengths), reach, 0.5, math.atan2(middle[1] - y, middle[0] - x), True)
        for x in box["x"]
        for y in box["y"]
    )
