r"""Parts of a boundary, as the ansatz sees them: where one is, what is prescribed there, and functions that are zero there.

Every part has a *distance* d >= 0 that is zero on it, of first order, and about 1 far away:

    a wall at s = 0:  d = 2 s,                   s the fraction of the way to the opposite wall;
    a solid:          d = phi / (phi + l),       phi its function (`jaxsci.problems.Shape`), l half its size,

and a *weight* that is 1 on it and zero on all others, psi = o / (delta + o), 1 / o = sum_j 1 / delta_j over the others. There
delta are the solids' functions and the product of the walls' distances, squared where a part holds a slope, so that psi is of
second order there. With psi, one part's condition is put right without touching the others: transfinite interpolation by
inverse distances.

Reference: Rvachev, Sheiko, Shapiro & Tsukanov (2001), Comput. Aided Geom. Des. 18, 195; Sukumar & Srivastava (2022), Comput.
Methods Appl. Mech. Eng. 389, 114333, section 4.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.problems import Formula, Shape
from jaxsci.problems.conditions import Wall

Point = dict[str, Any]  # ONE point, by coordinate
Function = Callable[[Point], Any]  # of one point: a number, or an array with one entry per feature


@dataclasses.dataclass(frozen=True)
class Part:
    """A wall or a solid, and what one unknown satisfies there: a value, a slope, or both.

    The slope is that along the coordinate on a wall, along the normal out of the domain on a solid; with a rate it is
    n . grad u + rate u on both.
    """

    where: str
    value: Formula | None
    slope: Formula | None
    rate: Formula | None

    @property
    def needs_slope(self) -> bool:
        """Whether the slope has to be put right: a factor that vanishes to second order does it where the value is held too."""
        return self.slope is not None and self.value is None

    @property
    def order(self) -> int:
        """How often a factor has to vanish here."""
        return 0 if self.value is None else 2 if self.slope is not None else 1

    def along(self, function: Function, point: Point) -> tuple[Any, Any]:
        """A function and its derivative along the coordinate (a wall) or out of the domain (a solid), at a point."""
        raise NotImplementedError

    def outward(self) -> float:
        """1 where that derivative is the one out of the domain, -1 where it is its opposite."""
        return 1.0

    def slope_gap(
        self, function: Function, point: Point, coefficients: Mapping[str, Any], zero: bool = False
    ) -> tuple[Any, Any]:
        """A function at a point of the part, and what its slope lacks to the one prescribed, or to `zero`."""
        assert self.slope is not None  # This is a bug in jaxsci: only parts with a slope are asked.
        value, slope = self.along(function, point)
        wanted = 0.0 if zero else self.slope(point, coefficients)
        if self.rate is not None:
            wanted = self.outward() * (wanted - self.rate(point, coefficients) * value)
        return value, wanted - slope


@dataclasses.dataclass(frozen=True)
class WallPart(Part):
    """A wall of the box."""

    axis: str
    interval: tuple[float, float]
    upper: bool

    def fraction(self, point: Point) -> Any:
        """s: 0 here, 1 at the opposite wall."""
        low, high = self.interval
        return (high - point[self.axis]) / (high - low) if self.upper else (point[self.axis] - low) / (high - low)

    def distance(self, point: Point) -> Any:
        return 2 * self.fraction(point)

    def on(self, point: Point) -> Point:
        """The nearest point of the wall."""
        return {**point, self.axis: jnp.full_like(point[self.axis], self.interval[self.upper])}

    def along(self, function: Function, point: Point) -> tuple[Any, Any]:
        x = point[self.axis]
        return jax.jvp(lambda x: function({**point, self.axis: x}), (x,), (jnp.ones_like(x),))

    def outward(self) -> float:
        return 1.0 if self.upper else -1.0

    def bump(self, point: Point) -> Any:
        """A cubic with slope 1 here, and otherwise neither value nor slope on this wall and the opposite one."""
        s, length = self.fraction(point), self.interval[1] - self.interval[0]
        return (-length if self.upper else length) * s * (1 - s) ** 2


@dataclasses.dataclass(frozen=True)
class SolidPart(Part):
    """The boundary of a solid."""

    shape: Shape
    space: tuple[str, ...]
    scale: float  # over which the distance saturates

    def length(self, point: Point) -> Any:
        """The distance as a length."""
        return self.shape(*(point[axis] for axis in self.space))

    def distance(self, point: Point) -> Any:
        phi = self.length(point)
        return phi / (phi + self.scale)

    def along(self, function: Function, point: Point) -> tuple[Any, Any]:
        place = tuple(point[axis] for axis in self.space)
        gradient = jax.grad(self.shape, argnums=tuple(range(len(place))))(*place)
        there = lambda *place: function({**point, **dict(zip(self.space, place, strict=True))})  # noqa: E731
        return jax.jvp(there, place, tuple(-g for g in gradient))  # grad phi points into the domain

    def bump(self, point: Point) -> Any:
        """A function with slope 1 along the normal and no value here, and small far away."""
        d = self.distance(point)
        return -self.scale * d * (1 - d) ** 2  # (1 - d)^2 outweighs the growth of grad phi around a disc


def prescribed(wall: Wall, unknown: str, unknowns: tuple[str, ...]) -> tuple[Formula | None, Formula | None, Formula | None]:
    """What a condition says of one unknown: value, slope and rate."""
    value = slope = rate = None
    for part in wall.parts:
        formula = part.for_unknowns(unknowns).get(unknown)
        if formula is not None and part.kind == "dirichlet":
            value = formula
        elif formula is not None:
            slope, rate = formula, part.rates_for(unknowns).get(unknown)
    return value, slope, rate


def weight(part: SolidPart, others: tuple[WallPart | SolidPart, ...], point: Point) -> Any:
    """psi: 1 on a solid, zero on the other parts, of second order where they hold a slope.

    The walls of the box count as one part, by the product of their distances, which is smooth in the box's corners.
    """
    if not others:
        return jnp.ones_like(point[part.space[0]])
    length, product, lengths = 2 * part.scale, None, []
    for other in others:
        order = 1 if other.slope is None else 2
        if isinstance(other, WallPart):
            factor = other.distance(point) ** order
            product = factor if product is None else product * factor
        else:
            lengths.append(other.length(point) ** order / length ** (order - 1))
    if product is not None:
        lengths.append(length * product)
    least = functools.reduce(lambda a, b: a * b / (a + b), lengths)
    return least / (part.length(point) + least)


# --- corrections ---------------------------------------------------------------------------------------------------------------


def blend(before: Function, parts: tuple[WallPart, ...], coefficients: Mapping[str, Any]) -> Function:
    """The function with the prescribed values and slopes on the walls of one axis."""
    slopes = any(part.slope is not None for part in parts)

    def after(point: Point) -> Any:
        total = before(point)
        for part in parts:
            wall, s = part.on(point), part.fraction(point)
            if part.value is not None:
                rise = (1 - s) ** 2 * (1 + 2 * s) if slopes else 1 - s if len(parts) == 2 else jnp.ones_like(s)
                total = total + rise * (part.value(wall, coefficients) - before(wall))
            if part.slope is not None:
                total = total + part.bump(point) * part.slope_gap(before, wall, coefficients)[1]
        return total

    return after


def with_value(
    function: Function, part: SolidPart, coefficients: Mapping[str, Any], others: tuple[WallPart | SolidPart, ...]
) -> Function:
    """The function with the prescribed value on a solid."""

    def after(point: Point) -> Any:
        value = function(point)
        assert part.value is not None  # This is a bug in jaxsci: only parts with a value are asked.
        return value + weight(part, others, point) * (part.value(point, coefficients) - value)

    return after


def with_slope(
    function: Function,
    part: WallPart | SolidPart,
    coefficients: Mapping[str, Any],
    others: tuple[WallPart | SolidPart, ...] = (),
    zero: bool = False,
) -> Function:
    """The function with the prescribed slope, or a slope of zero, on a wall or a solid."""

    def after(point: Point) -> Any:
        if isinstance(part, WallPart):
            return function(point) + part.bump(point) * part.slope_gap(function, part.on(point), coefficients, zero)[1]
        value, gap = part.slope_gap(function, point, coefficients, zero)
        return value + weight(part, others, point) * part.bump(point) * gap

    return after
