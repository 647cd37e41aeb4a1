r"""The ansatz of `jaxsci.constraints.boundary` on shapes: polygons with a condition for each edge, discs and others with one.

See there for the formulas; here they are, for one point and all parts at once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.constraints.edges import (
    Corner,
    Edge,
    bumps,
    corner_distances,
    corner_shares,
    distances,
    of_each,
    on_lines,
    point_of,
    shares,
    squares,
    to_corners,
)
from jaxsci.constraints.parts import SolidPart

Function = Callable[[Any], Any]  # of ONE point ``[d]``


@dataclasses.dataclass(frozen=True)
class OnShapes:
    """What holds on edges, on other shapes, and in the corners between edges."""

    edges: tuple[Edge, ...]  # that hold something
    curves: tuple[SolidPart, ...]
    corners: tuple[Corner, ...]
    coefficients: Mapping[str, Any]

    @functools.cached_property
    def at_values(self) -> tuple[Corner, ...]:
        return tuple(corner for corner in self.corners if corner.holds_a_value)

    @functools.cached_property
    def between_slopes(self) -> tuple[Corner, ...]:
        return tuple(corner for corner in self.corners if corner.holds_a_slope and not corner.holds_a_value)

    def in_space(self, dims: int) -> OnShapes:
        """The same for points of so many coordinates."""
        return dataclasses.replace(self, curves=tuple(dataclasses.replace(c, space=c.space[:dims]) for c in self.curves))

    def hold(self, function: Function) -> Function:
        """The function, changed so that it holds all."""
        changed = lambda x: jnp.asarray(function(x))  # noqa: E731
        changed = self._with_values(changed)
        changed = self._with_corners(changed)
        return self._with_slopes(changed)

    # --- the stages -------------------------------------------------------------------------------------------------------

    def _with_values(self, function: Function) -> Function:
        """v."""
        edges, curves = _with(self.edges, "value"), _with(self.curves, "value")
        if not edges and not curves:
            return function

        def changed(x):
            start = self._start(function, x.dtype)
            total = start(x) + self._factor(x) * function(x)
            places = [on_lines(edges, x)] if edges else []
            places = jnp.concatenate([*places, jnp.broadcast_to(x, (len(curves), len(x)))])
            wanted = [part.value(point_of(p), self.coefficients) for part, p in zip((*edges, *curves), places, strict=True)]
            starts = jax.vmap(start)(places)
            lacking = jnp.stack([jnp.broadcast_to(w, starts.shape[1:]) for w in map(jnp.asarray, wanted)]) - starts
            return total + jnp.tensordot(_weights(edges, curves, x), lacking, axes=1)

        return changed

    def _with_corners(self, function: Function) -> Function:
        """The slopes that both edges of a corner hold."""
        if not self.between_slopes:
            return function

        def changed(x):
            places = of_each(self.between_slopes, "place", x)
            values, jacobians = jax.vmap(lambda place: _value_and_jacobian(function, place))(places)
            factors = jax.vmap(self._factor)(places)
            slopes = []
            for corner, place, value, jacobian, factor in zip(
                self.between_slopes, places, values, jacobians, factors, strict=True
            ):
                edges = _with(corner.edges, "slope")
                gaps = [self._gap(edge, place, edge.outward, value, jacobian) for edge in edges]
                inverse = np.linalg.pinv(np.stack([edge.outward for edge in edges]))
                slopes.append(jnp.tensordot(jnp.asarray(inverse, x.dtype), jnp.stack(gaps), axes=1) / factor)
            value = function(x)
            return value + self._factor(x) * _spread(self.between_slopes, self.corners, 0 * values, jnp.stack(slopes), x)

        return changed

    def _with_slopes(self, function: Function) -> Function:
        """u."""
        edges, curves = _with(self.edges, "slope"), _with(self.curves, "slope")
        if not edges and not curves:
            return function
        kept = np.array([part.slope is not None for part in (*self.edges, *self.curves)])

        def changed(x):
            value, jacobian = _value_and_jacobian(function, x)
            gaps = [
                self._gap(edge, place, edge.outward, value, jacobian)
                for edge, place in zip(edges, on_lines(edges, x) if edges else (), strict=True)
            ]
            gaps += [self._gap(curve, x, _normal(curve, x), value, jacobian) for curve in curves]
            weights = _weights(self.edges, self.curves, x)[kept] * jnp.concatenate([
                bumps(edges, x) if edges else jnp.zeros(0, x.dtype),
                jnp.asarray([curve.bump(point_of(x)) for curve in curves], x.dtype),
            ])  # fmt: skip
            return value + jnp.tensordot(weights, jnp.stack(gaps), axes=1)

        return changed

    # --- what they are made of --------------------------------------------------------------------------------------------

    def _factor(self, x: Any) -> Any:
        """D."""
        edges, d = _with(self.edges, "value"), jnp.ones((), x.dtype)
        if edges:
            d = jnp.prod(distances(edges, x)) * jnp.prod(corner_distances(self.at_values, x))
        for curve in _with(self.curves, "value"):
            d = d * curve.distance(point_of(x))
        return d

    def _start(self, function: Function, dtype: Any) -> Function:
        """T: values and slopes in the corners where a value is held."""
        if not self.at_values:
            return lambda x: jnp.zeros((), dtype)
        jets = [self._jet(corner, function, dtype) for corner in self.at_values]
        shape = jnp.broadcast_shapes(*(jnp.shape(v) for v, _ in jets), *(jnp.shape(s)[1:] for _, s in jets))
        values = jnp.stack([jnp.broadcast_to(v, shape) for v, _ in jets])
        slopes = jnp.stack([jnp.broadcast_to(s.reshape(2, *(1,) * (len(shape) + 1 - s.ndim), *s.shape[1:]), (2, *shape))
                            for _, s in jets])  # fmt: skip
        return lambda x: _spread(self.at_values, self.at_values, values, slopes, x)

    def _jet(self, corner: Corner, function: Function, dtype: Any) -> tuple[Any, Any]:
        """Value and slopes ``[2, *value]`` in a corner: what both edges say of them, the rest from the function."""
        place = jnp.asarray(corner.place, dtype)
        first, *second = _with(corner.edges, "value")

        def along(edge):
            value = lambda x: jnp.asarray(edge.value(point_of(x), self.coefficients))  # noqa: E731
            return jax.jvp(value, (place,), (jnp.asarray(edge.tangent, dtype),))

        value, slope = along(first)
        if second:
            both = jnp.stack([slope, along(second[0])[1]])
            matrix = np.linalg.inv(np.stack([first.tangent, second[0].tangent]))
            return value, jnp.tensordot(jnp.asarray(matrix, dtype), both, axes=1)
        (other,) = [edge for edge in corner.edges if edge is not first]
        across = float(np.dot(other.outward, first.outward))
        if other.slope is None or abs(across) < 1e-6:  # the slope across the first edge is free
            free = function(place) / first.size
        else:
            known = jnp.multiply.outer(jnp.asarray(first.tangent, dtype), slope)
            free = self._gap(other, place, other.outward, value, known) / across
        tangent, outward = (jnp.asarray(v, dtype) for v in (first.tangent, first.outward))
        return value, jnp.multiply.outer(tangent, slope + 0 * free) + jnp.multiply.outer(outward, free)

    def _gap(self, part: Any, place: Any, normal: Any, value: Any, jacobian: Any) -> Any:
        """What the slope out of the domain lacks to the one prescribed."""
        at = point_of(place)
        rate = 0.0 if part.rate is None else part.rate(at, self.coefficients)
        along = jnp.tensordot(jnp.asarray(normal, place.dtype), jacobian, axes=1)
        return part.slope(at, self.coefficients) - along - rate * value

    def check(self) -> None:
        """Two edges that hold values have the same one in their corner."""
        for corner in self.corners:
            formulas = [edge.value for edge in corner.edges if edge.value is not None]
            if len(formulas) == 2:
                at = point_of(jnp.asarray(corner.place, float))
                one, two = (np.asarray(formula(at, self.coefficients)) for formula in formulas)
                if not np.abs(one - two).max() <= 1e-5 * max(1.0, np.abs(one).max(), np.abs(two).max()):
                    raise ValueError(
                        f"hold_boundary: {corner.before.where} and {corner.after.where} prescribe the values {one} and {two} in "
                        f"their corner {corner.place}; a continuous function cannot hold both. Change one of them."
                    )


def _with(parts: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    return tuple(part for part in parts if getattr(part, what) is not None)


def _weights(edges: tuple[Edge, ...], curves: tuple[SolidPart, ...], x: Any) -> Any:
    """w, of the edges and then of the curves."""
    on_edges = squares(edges, x) if edges else jnp.zeros(0, x.dtype)
    return shares(jnp.concatenate([on_edges, jnp.asarray([c.distance(point_of(x)) ** 2 for c in curves], x.dtype)]))


def _normal(curve: SolidPart, x: Any) -> Any:
    """Out of the domain."""
    return -jnp.stack(jax.grad(curve.shape, argnums=tuple(range(len(x))))(*x))


def _value_and_jacobian(function: Function, x: Any) -> tuple[Any, Any]:
    """The value, and its derivatives ``[d, *value]``."""
    along = jax.vmap(lambda unit: jax.jvp(function, (x,), (unit,)), out_axes=(None, 0))
    return along(jnp.eye(len(x), dtype=x.dtype))


def _spread(some: tuple[Corner, ...], corners: tuple[Corner, ...], values: Any, slopes: Any, x: Any) -> Any:
    """A smooth function with values and slopes ``[some, 2, *value]`` in some of the corners, none in the others."""
    kept = np.array([any(corner is one for one in some) for corner in corners])
    weights, away = corner_shares(corners, x)[kept], to_corners(some, x)[0]
    linear = values + jax.vmap(lambda a, s: jnp.tensordot(a, s, axes=1))(away, slopes)
    return jnp.tensordot(weights, linear, axes=1)
