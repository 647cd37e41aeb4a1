"""Frozen features of space: random tanh units between walls, waves of whole numbers on periodic boxes."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations.partials import partial_derivatives
from jaxsci.learning.collocation import quasi_random
from jaxsci.learning.conditions import HardConditions, Point
from jaxsci.learning.coordinates import Coordinate
from jaxsci.learning.features import draw
from jaxsci.problems import Problem


class Basis(NamedTuple):
    """The frozen units of a group of slabs."""

    weights: Any  # [inputs, M]
    biases: Any  # [M]
    coordinate: Coordinate  # of the only axis; unused where there are several


def adapted_axis(conditions: HardConditions) -> str | None:
    """The axis whose coordinate follows the field: the only one, unless it is mirrored at its walls."""
    space = conditions.problem.domain.space
    return space[0] if len(space) == 1 and conditions.axis_kind(space[0]) != "even" else None


def is_periodic(conditions: HardConditions) -> bool:
    """Whether all of space is periodic, so that the units are waves."""
    space = conditions.problem.domain.space
    return bool(space) and all(conditions.axis_kind(axis) == "periodic" for axis in space)


def draw_basis(conditions: HardConditions, coordinate: Coordinate, count: int, scale: float | None, key: Any) -> Basis:
    """Units of space.

    Between walls: tanh units of random directions and places (`features.draw`); by default so steep that `count` of them tell
    apart places at a few times their mean distance.  On periodic boxes: the cosines and sines of the longest waves.
    """
    problem = conditions.problem
    dtype = jnp.result_type(float)
    if not problem.domain.space:
        return Basis(jnp.zeros((0, 1), dtype), jnp.zeros(1, dtype), coordinate)
    if is_periodic(conditions):
        waves = _waves(len(problem.domain.space), count)
        return Basis(
            jnp.asarray(math.pi * waves[:, :-1].T, dtype), jnp.asarray(-math.pi / 2 * waves[:, -1], dtype), coordinate
        )
    inputs = sum(len(conditions.axis_inputs(axis, jnp.zeros(()))) for axis in problem.domain.space)
    steep = scale if scale is not None else count / 10 if inputs == 1 else 2.0
    return Basis(*draw(key, inputs, count, jnp.full((inputs, 1), steep, dtype)), coordinate)


@functools.cache
def _waves(dimensions: int, count: int) -> np.ndarray:
    """The constant, then cosine and sine (last column 0 and 1) of wave vectors by length, ``[count, dimensions + 1]``."""
    reach = math.ceil(count ** (1 / dimensions)) + 1
    half = [k for k in itertools.product(range(-reach, reach + 1), repeat=dimensions) if k > (0,) * dimensions]
    half.sort(key=lambda k: (sum(n * n for n in k), k))
    rows = [(*([0] * dimensions), 0)] + [(*k, phase) for k in half for phase in (0, 1)]
    return np.asarray(rows[: count - 1 + count % 2], float)  # every cosine with its sine


def units(conditions: HardConditions, basis: Basis, point: Point) -> Any:
    """The units times the distance in space, at ONE point of space: ``[unknowns, M]``."""
    problem = conditions.problem
    if not problem.domain.space:
        return jnp.ones((len(problem.unknowns), 1), basis.biases.dtype)
    axis, periodic = adapted_axis(conditions), is_periodic(conditions)
    z = []
    for name in problem.domain.space:
        lower, upper = problem.domain[name]
        if name == axis:
            z.append(basis.coordinate.forward(point[name], lower, upper, periodic))
        elif periodic:
            z.append(2 * (point[name] - lower) / (upper - lower) - 1)
        else:
            z += conditions.axis_inputs(name, point[name])
    argument = jnp.stack(z) @ basis.weights + basis.biases
    values = jnp.cos(argument) if periodic else jnp.tanh(argument)
    return jnp.stack([conditions.distance_in_space(name, point) * values for name in problem.unknowns])


def space_letters(letters: str) -> str:
    """The part of "txx" that concerns space."""
    return letters.replace("t", "")


@functools.partial(jax.jit, static_argnames=("conditions", "orders"))
def unit_partials(
    conditions: HardConditions, basis: Basis, columns: tuple[Any, ...], orders: tuple[str, ...]
) -> dict[str, Any]:
    """Partial derivatives in space of all units at points, ``{letters: [points, unknowns, M]}``."""
    problem = conditions.problem
    if not problem.domain.space:
        return dict.fromkeys(orders, units(conditions, basis, {})[None])

    def at_point(*point):
        return units(conditions, basis, dict(zip(problem.domain.space, point, strict=True)))

    indices = {letters: tuple(letters.count(name) for name in problem.domain.space) for letters in orders}
    values = partial_derivatives(at_point, columns, sorted(set(indices.values())))
    return {letters: values[index] for letters, index in indices.items()}


def place(conditions: HardConditions, basis: Basis, count: int, key: Any | None) -> tuple[tuple[Any, ...], Any]:
    """Points of space, denser where the coordinate is, and the volume that each stands for.

    Args:
      key: of a random shift; None puts them evenly, halfway between one another.
    Returns:
      One column per axis, and ``[points]`` volumes relative to even spacing.
    """
    problem: Problem = conditions.problem
    space, dtype = problem.domain.space, jnp.result_type(float)
    if not space:
        return (), jnp.ones(1, dtype)
    axis = adapted_axis(conditions)
    if axis is None:
        unit = quasi_random(count, len(space), jax.random.key(0) if key is None else key)
        columns = tuple(problem.domain[a][0] + np.ptp(problem.domain[a]) * unit[:, i] for i, a in enumerate(space))
        return columns, jnp.ones(count, dtype)
    lower, upper = problem.domain[axis]
    shift = 0.5 if key is None else float(jax.random.uniform(key))
    wanted = 2 * (np.arange(count) + shift) / count - 1
    x = inverse(basis.coordinate, wanted, lower, upper, is_periodic(conditions))
    edges = inverse(basis.coordinate, np.linspace(-1, 1, count + 1), lower, upper, is_periodic(conditions))
    volume = np.interp(wanted, (np.linspace(-1, 1, count + 1)[1:] + np.linspace(-1, 1, count + 1)[:-1]) / 2, np.diff(edges))
    return (jnp.asarray(x, dtype),), jnp.asarray(volume * count / (upper - lower), dtype)


def inverse(coordinate: Coordinate, s: np.ndarray, lower: float, upper: float, periodic: bool) -> np.ndarray:
    """x(s) by bisection on the host: collocation points need not be exact to the last digit."""
    low, high = np.full(len(s), lower), np.full(len(s), upper)
    for _ in range(48):
        middle = (low + high) / 2
        below = np.asarray(_forward(coordinate, jnp.asarray(middle), lower, upper, periodic)) < s
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


@functools.partial(jax.jit, static_argnames=("lower", "upper", "periodic"))
def _forward(coordinate: Coordinate, x: Any, lower: float, upper: float, periodic: bool) -> Any:
    return coordinate.forward(x, lower, upper, periodic)
