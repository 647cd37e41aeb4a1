"""Random features of space and time: frozen hidden units, in coordinates that can be stretched around a front."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.learning.conditions import HardConditions, Point


class Stretch(NamedTuple):
    """A smooth coordinate along one axis, asinh(steepness (x - centre)) scaled to [-1, 1]: fine near the centre.

    A steepness far below 1 / length leaves the coordinate as it is, so one formula serves both cases.
    """

    centre: Any
    steepness: Any

    def forward(self, x: Any, lower: float, upper: float) -> Any:
        low, high = (jnp.arcsinh(self.steepness * (end - self.centre)) for end in (lower, upper))
        return 2 * (jnp.arcsinh(self.steepness * (x - self.centre)) - low) / (high - low) - 1

    def inverse(self, s: Any, lower: float, upper: float) -> Any:
        low, high = (jnp.arcsinh(self.steepness * (end - self.centre)) for end in (lower, upper))
        return self.centre + jnp.sinh(low + (high - low) * (s + 1) / 2) / self.steepness


class Slab(NamedTuple):
    """The frozen features of one time slab, and their fitted coefficients."""

    weights: Any  # [inputs, M]
    biases: Any  # [M]
    stretch: Stretch  # of the stretched axis; unused where there is none
    start: Any  # times between which the slab lives; unused in steady problems
    end: Any
    coefficients: Any  # [unknowns, M]


@functools.partial(jax.jit, static_argnames=("inputs", "count"))
def draw(key: Any, inputs: int, count: int, scale: Any) -> tuple[Any, Any]:
    """Weights and biases of tanh units: normal directions of the given scale, each unit's zero somewhere in [-1, 1]^inputs.

    A unit tanh(a . z + b) varies along the hyperplane a . z = -b; drawing a point of the cube and setting b = -a . point
    spreads these hyperplanes over the domain, which drawing b alone does not.
    """
    directions, places = jax.random.split(key)
    dtype = jnp.result_type(float)
    weights = jax.random.normal(directions, (inputs, count), dtype) * scale
    centres = jax.random.uniform(places, (inputs, count), dtype, -1.0, 1.0)
    return weights, -jnp.sum(weights * centres, axis=0)


def stretched_axis(conditions: HardConditions) -> str | None:
    """The axis that is stretched: the only one of space, where it has walls."""
    space = conditions.problem.domain.space
    if len(space) == 1 and conditions.axis_kind(space[0]) == "plain":
        return space[0]
    return None


def inputs(conditions: HardConditions, slab: Slab, point: Point) -> Any:
    """The network inputs of a point, with time scaled to the slab and the stretched axis stretched."""
    problem = conditions.problem
    z = []
    for axis in problem.coordinates:
        lower, upper = problem.domain[axis]
        if axis == "t":
            z.append(2 * (point["t"] - slab.start) / (slab.end - slab.start) - 1)
        elif axis == stretched_axis(conditions):
            z.append(slab.stretch.forward(point[axis], lower, upper))
        else:
            z += conditions.axis_inputs(axis, point[axis])
    return jnp.stack(z)


def basis(conditions: HardConditions, slab: Slab, point: Point) -> Any:
    """The features times the distance function, at ONE point: ``[unknowns, M]``.

    In a time slab the distance rises from the slab's start as ((t - start) / length)^order.  After its end a slab's
    contribution stays (and goes on linearly, where the equation is of second order in time): the next slab starts from it.
    """
    problem = conditions.problem
    if problem.is_steady:
        return _basis_in_slab(conditions, slab, point)
    t = point["t"]
    inside = jnp.clip(t, slab.start, slab.end)

    def at(time):
        return _basis_in_slab(conditions, slab, {**point, "t": time})

    if max(problem.time_order(u) for u in problem.unknowns) < 2:
        return at(inside)
    value, slope = jax.jvp(at, (inside,), (jnp.ones_like(inside),))
    return value + (t - inside) * slope


def _basis_in_slab(conditions: HardConditions, slab: Slab, point: Point) -> Any:
    problem = conditions.problem

    def hidden(point):
        return jnp.tanh(inputs(conditions, slab, point) @ slab.weights + slab.biases)

    units, rows = hidden(point), []
    for name in problem.unknowns:
        held = None
        if conditions.needs_slopes(name):  # a factor does not hold them; rates are numbers here, `Fitter.of` sees to it
            held, distance = conditions.homogeneous(name, hidden, {}, in_time=False)(point), jnp.ones_like(point["t"])
        else:
            distance = conditions.distance_in_space(name, point)
        if not problem.is_steady:
            distance = distance * ((point["t"] - slab.start) / (slab.end - slab.start)) ** problem.time_order(name)
        rows.append(distance * (units if held is None else held))
    return jnp.stack(rows)


@functools.partial(jax.jit, static_argnames=("conditions",))
def place(conditions: HardConditions, slab: Slab, unit: Any) -> tuple[tuple[Any, ...], Any]:
    """Points of the unit cube to points of the slab, denser where the axis is stretched.

    Returns:
      One column per coordinate, and the volume that each point stands for relative to even spacing, ``[points]``: weighting
      squares by it turns a mean over these points into one over space and time.
    """
    problem = conditions.problem
    columns, volume = [], jnp.ones(len(unit), unit.dtype)
    for i, axis in enumerate(problem.coordinates):
        lower, upper = problem.domain[axis]
        if axis == "t":
            columns.append(slab.start + (slab.end - slab.start) * unit[:, i])
        elif axis == stretched_axis(conditions):
            s = 2 * unit[:, i] - 1
            x, dx = jax.jvp(lambda s: slab.stretch.inverse(s, lower, upper), (s,), (jnp.ones_like(s),))  # noqa: B023
            columns.append(jnp.clip(x, lower, upper))
            volume = volume * dx * 2 / (upper - lower)
        else:
            columns.append(lower + (upper - lower) * unit[:, i])
    return tuple(columns), volume
