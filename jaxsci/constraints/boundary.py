r"""Boundary values that hold exactly, whatever the function: on boxes, on polygons with corners, on discs and other shapes.

On a box: transfinite interpolation, one axis after another (`jaxsci.constraints.parts.blend`), smooth everywhere.

On shapes, the edges of polygons among them, with weights w_i that are 1 on part i, vanish to second order on the others and add
up to 1, and functions d_i that vanish on part i to first order:

    v = T + sum_i w_i (g_i - T)(p_i x) + D f            the parts i that hold values g_i,
    u = v + sum_j w_j b_j (h_j - n_j . grad v - r_j v)  the parts j that hold slopes; b_j = 0 and n_j . grad b_j = 1 there.

p_i x is the nearest point of an edge's line. T takes the values and slopes that both edges of a corner hold, so that
what the weights multiply is of second order in the distance to the corner: weights jump in a corner, and still all second
derivatives of u stay bounded. D is the product of d_i, and of the distances to those corners. Where both edges hold slopes v gets
a linear term that has them. In the corner itself, where the normal is two, u has T's value and slopes, those of both edges.

Reference: Coons (1967) for boxes; Rvachev, Sheiko, Shapiro & Tsukanov (2001), Comput. Aided Geom. Des. 18, 195; Sukumar &
Srivastava (2022), Comput. Methods Appl. Mech. Eng. 389, 114333, for weights and Robin conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.constraints.edges import Corner, Edge, edges_of
from jaxsci.constraints.on_shapes import OnShapes
from jaxsci.constraints.parts import SolidPart, WallPart, blend, prescribed
from jaxsci.problems import Box, Shape
from jaxsci.problems.conditions import Mixed, Outflow, Periodic, Wall
from jaxsci.problems.geometry import Complement, Polygon

Function = Callable[[Any], Any]  # of ONE point ``[d]``


def hold_boundary(
    function: Function,
    conditions: Mapping[Any, Any],
    *,
    box: Box | None = None,
    coefficients: Mapping[str, Any] | None = None,
) -> Function:
    r"""The function, changed so that it takes given values and slopes on a boundary: Dirichlet, Neumann and Robin conditions.

    Args:
      function: of ONE point x ``[d]``, to a number or an array, whose entries satisfy the same conditions.
      conditions: by shape, the solids that are cut out of the domain: ``~shape`` where the domain is inside of it. Each has a
        `js.Dirichlet`, `js.Neumann` or `js.Robin`; a polygon also a tuple of them, for the edges from each of its ``vertices`` to
        the next (counterclockwise), None where nothing holds. With a `box`, by axis a condition, or a pair of them, as for a
        `js.Problem`. Data are numbers or functions of x, y, z and coefficients; those on an edge are asked for on its whole line.
        As everywhere: slopes are out of the domain on shapes, along the coordinate on a box's walls.
      box: its walls are the boundary, rather than shapes. For a box with holes give ``~js.problems.rectangle(...)``.
      coefficients: what data depend on, traced or not.
    Returns:
      A function of points ``[..., d]``. Slopes take one derivative of `function`. Of any order smooth but in corners, where
      second derivatives are bounded if the data admit it (a slope that a perpendicular edge's values contradict does not).
    Raises:
      ValueError: for edges that prescribe two values in their corner, walls that disagree where they meet, or conditions that
        cannot be held.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> room = js.Polygon([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)])  # an L
      >>> held = (js.Dirichlet(1), js.Neumann(0), js.Robin(2, 0), js.Neumann(0), js.Dirichlet(lambda x: x), js.Neumann(0))
      >>> u = js.constraints.hold_boundary(lambda x: jnp.sin(3 * x[0] + x[1]), {~room: held})  # any network
      >>> print(jax.jit(u)(jnp.array([[0.4, 0.0], [1.3, 0.0], [0.3, 2.0]])).round(3))
      [1.  1.  0.3]
    """
    coefficients = dict(coefficients or {})
    if not isinstance(conditions, Mapping) or not conditions:
        raise ValueError("hold_boundary: conditions are a dictionary, {~js.Polygon(...): js.Dirichlet(0)}; got none.")
    if box is None:
        return over_points(_on_shapes(function, conditions, coefficients))
    return over_points(_on_box(function, conditions, box, coefficients))


def over_points(function: Function) -> Function:
    """A function of ONE point ``[d]`` as one of points ``[..., d]``."""

    def batched(x):
        x = jnp.asarray(x)
        x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
        mapped = function
        for _ in range(x.ndim - 1):
            mapped = jax.vmap(mapped)
        return mapped(x)

    return batched


def hold_periodic(function: Function, periods: tuple[Any, ...]) -> Function:
    r"""A function that is periodic with all its derivatives: it sees cos and sin of 2 pi x / period in the place of x.

    Args:
      function: of the inputs z ``[d + number of periods]``: for each axis (cos, sin) or the coordinate.
      periods: for each axis its period, None where it has none.
    Returns:
      A function of ONE point x ``[d]``, to be used alone or in `hold_boundary` (whose walls along other axes keep it periodic).
    Reference: Dong & Ni (2021), J. Comput. Phys. 435, 110242.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> u = js.constraints.hold_periodic(lambda z: z[0] * z[2] + z[1], (2.0, None))
      >>> print(f"{u(jnp.array([0.25, 3.0])):.4f} {u(jnp.array([2.25, 3.0])):.4f}")
      2.8284 2.8284
    """

    def held(x):
        if len(periods) != x.shape[-1]:
            raise ValueError(
                f"hold_periodic: {len(periods)} periods for points with {x.shape[-1]} coordinates; give None for plain."
            )
        inputs = []
        for value, period in zip(x, periods, strict=True):
            inputs += [value] if period is None else periodic_inputs(value / period)
        return function(jnp.stack(inputs))

    return held


def periodic_inputs(fraction: Any) -> list[Any]:
    """What tells the points of a period from each other, and not one period from the next."""
    return [jnp.cos(2 * jnp.pi * fraction), jnp.sin(2 * jnp.pi * fraction)]


# --- boxes ----------------------------------------------------------------------------------------------------------------


def _held(condition: Any, where: str) -> tuple[Any, Any, Any]:
    """Value, slope and rate of a condition, of which there is one unknown."""
    if isinstance(condition, Periodic):
        raise ValueError(f"hold_boundary: {where} is periodic; give the function as js.constraints.hold_periodic(...).")
    if condition is None or condition == ():
        return None, None, None
    if not isinstance(condition, Wall) or isinstance(condition, Outflow | Mixed) or condition.single is None:
        raise ValueError(
            f"hold_boundary: {where} needs one js.Dirichlet, js.Neumann or js.Robin without names, as in js.Dirichlet(0), or "
            f"None; got {condition!r}."
        )
    return prescribed(condition, "u", ("u",))


def _on_box(function: Function, conditions: Mapping[Any, Any], box: Box, coefficients: Mapping[str, Any]) -> Function:
    names = box.space
    unknown = [axis for axis in conditions if axis not in names]
    if unknown:
        raise ValueError(f"hold_boundary: with a box give conditions by axis, {', '.join(names)}; got {unknown[0]!r}.")
    walls: list[tuple[WallPart, ...]] = []
    for axis, pair in conditions.items():
        ends = pair if isinstance(pair, tuple) and len(pair) == 2 else (pair, pair)
        parts = []
        for upper, condition in enumerate(ends):
            where = f"the wall {axis} = {box[axis][upper]:g}"
            parts.append(WallPart(where, *_held(condition, where), axis, box[axis], bool(upper)))
        walls.append(tuple(part for part in parts if part.value is not None or part.slope is not None))

    def held_by(function):
        changed = lambda point: function(jnp.stack([point[name] for name in names]))  # noqa: E731
        for parts in walls:
            changed = blend(changed, parts, coefficients) if parts else changed
        return lambda x: changed(dict(zip(names, x, strict=True)))

    if not is_traced(coefficients):
        with jax.ensure_compile_time_eval():
            _check_walls(held_by(lambda x: jnp.zeros(())), [part for parts in walls for part in parts], box, coefficients)
    return held_by(function)


def _check_walls(lift: Function, parts: list[WallPart], box: Box, coefficients: Mapping[str, Any]) -> None:
    """Walls that disagree where they meet undo each other's condition."""
    low, high = np.asarray([box[axis] for axis in box.space]).T
    inside = jnp.asarray(np.random.default_rng(0).uniform(low, high, (16, len(low))), float)
    named = dict(zip(box.space, inside.T, strict=True))
    function = lambda point: lift(jnp.stack([point[name] for name in box.space]))  # noqa: E731
    for part in parts:
        at = part.on(named)
        if part.value is not None:
            wanted = part.value(at, coefficients)
            gap = jax.vmap(function)(at) - wanted
        else:
            assert part.slope is not None  # This is a bug in jaxsci: parts hold something.
            wanted = part.slope(at, coefficients)
            gap = jax.vmap(lambda point, part=part: part.slope_gap(function, point, coefficients)[1])(at)
        worst = float(jnp.max(jnp.abs(gap)))
        if not worst <= 1e-4 * max(1.0, float(jnp.max(jnp.abs(wanted)))):
            raise ValueError(
                f"hold_boundary: {part.where} disagrees by {worst:.2g} with what the other walls prescribe where they meet; a "
                "smooth function cannot hold both. Change one of them."
            )


# --- shapes ---------------------------------------------------------------------------------------------------------------


def _on_shapes(function: Function, conditions: Mapping[Any, Any], coefficients: Mapping[str, Any]) -> Function:
    edges: list[Edge] = []
    corners: list[Corner] = []
    curves: list[SolidPart] = []
    for k, (shape, condition) in enumerate(conditions.items()):
        if not isinstance(shape, Shape):
            raise ValueError(f"hold_boundary: conditions are by shape, or by axis with box=js.Box(...); got {shape!r}.")
        polygon = shape.shape if isinstance(shape, Complement) else shape
        if isinstance(polygon, Polygon):
            name = "the polygon" if len(conditions) == 1 else f"shape {k}"
            count = len(polygon.vertices)
            each = condition if isinstance(condition, tuple) and condition else (condition,) * count
            if len(each) != count:
                raise ValueError(
                    f"hold_boundary: {len(each)} conditions for a polygon with {count} edges; give one for each, None where "
                    f"nothing holds, from each of its vertices {polygon.vertices} to the next."
                )
            held = [_held(one, f"edge {i} of {name}") for i, one in enumerate(each)]
            sides, ends = edges_of(polygon, isinstance(shape, Complement), name, held)
            edges += [side for side in sides if side.holds]
            corners += ends
        else:
            held = _held(condition, repr(shape))
            if held[:2] != (None, None):
                scale = shape.size / 2 if np.isfinite(shape.size) else 1.0
                curves.append(SolidPart(repr(shape), *held, shape, ("x", "y", "z"), scale))
    ansatz = OnShapes(tuple(edges), tuple(curves), tuple(corners), coefficients)
    if not is_traced(coefficients):
        with jax.ensure_compile_time_eval():
            ansatz.check()
    return lambda x: ansatz.in_space(len(x)).hold(function)(x)
