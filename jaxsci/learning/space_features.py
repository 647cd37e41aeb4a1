"""Frozen features of space: random tanh units between walls, waves of whole numbers on periodic boxes and between mirrors."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations.expression import multi_index
from jaxsci.equations.partials import partial_derivatives
from jaxsci.learning.collocation import quasi_random
from jaxsci.learning.conditions import HardConditions, Point
from jaxsci.learning.coordinates import Coordinate
from jaxsci.learning.features import draw
from jaxsci.learning.standing_waves import StandingWaves
from jaxsci.problems import Problem


class Basis(NamedTuple):
    """The frozen units of a group of slabs."""

    weights: Any  # [inputs, M]
    biases: Any  # [M]; of waves [axes, M]
    coordinate: Coordinate  # of the only axis; unused where there are several


def adapted_axis(conditions: HardConditions) -> str | None:
    """The axis whose coordinate follows the field: the only one, unless it is mirrored at its walls."""
    space = conditions.problem.domain.space
    return space[0] if len(space) == 1 and conditions.axis_kind(space[0]) in ("plain", "periodic") else None


def is_periodic(conditions: HardConditions) -> bool:
    """Whether all of space is periodic."""
    space = conditions.problem.domain.space
    return bool(space) and all(conditions.axis_kind(axis) == "periodic" for axis in space)


def are_waves(conditions: HardConditions) -> bool:
    """Whether the units are waves: all of space is periodic, or between walls that standing waves hold."""
    return is_periodic(conditions) or isinstance(conditions, StandingWaves)


def draw_basis(conditions: HardConditions, coordinate: Coordinate, count: int, scale: float | None, key: Any) -> Basis:
    """Units of space.

    Between walls: tanh units of random directions and places (`features.draw`); by default so steep that `count` of them tell
    apart places at a few times their mean distance.  On periodic boxes: the cosines and sines of the longest waves; between
    walls that reflect: the longest standing waves.
    """
    problem = conditions.problem
    dtype = jnp.result_type(float)
    if not problem.domain.space:
        return Basis(jnp.zeros((0, 1), dtype), jnp.zeros(1, dtype), coordinate)
    if are_waves(conditions):
        halves, phases = _waves(tuple(_fewest(conditions, axis) for axis in problem.domain.space), count).transpose(2, 1, 0)
        return Basis(jnp.asarray(math.pi / 2 * halves, dtype), jnp.asarray(math.pi / 2 * phases, dtype), coordinate)
    inputs = sum(len(conditions.axis_inputs(axis, jnp.zeros(()))) for axis in problem.domain.space)
    steep = scale if scale is not None else count / 10 if inputs == 1 else 2.0
    return Basis(*draw(key, inputs, count, jnp.full((inputs, 1), steep, dtype)), coordinate)


def _fewest(conditions: HardConditions, axis: str) -> int | None:
    """How many half waves a standing wave along an axis has at least; None where waves are periodic."""
    if not isinstance(conditions, StandingWaves) or not conditions.problem.walls(axis):
        return None
    return 0 if 1 in conditions.signs(axis) else 1


@functools.cache
def _waves(fewest: tuple[int | None, ...], count: int) -> np.ndarray:
    """Half waves over each axis and their phases in quarter turns at its middle, ``[M, axes, 2]``: the longest, `count` or fewer.

    A periodic axis has whole waves, each as cosine and sine; a standing one has all half waves, each as the cosine of the
    distance from the lower wall. Waves of one length are taken together or not at all.
    """
    reach = 4 * math.ceil(count ** (1 / len(fewest))) + 8  # half waves: more than are taken
    axes = [
        [(0, 0)] + [(2 * n, phase) for n in range(1, reach // 2) for phase in (0, -1)]
        if lowest is None
        else [(n, n) for n in range(lowest, reach)]
        for lowest in fewest
    ]
    rows = list(itertools.product(*axes))
    lengths = np.asarray([sum(halves**2 for halves, _ in row) for row in rows])
    order = np.argsort(lengths, kind="stable")
    return np.asarray([rows[i] for i in order[:count] if lengths[i] < lengths[order[count]]], float)


def units(conditions: HardConditions, basis: Basis, point: Point) -> Any:
    """The units times the distance in space, at ONE point of space: ``[unknowns, M]``."""
    problem = conditions.problem
    if not problem.domain.space:
        return jnp.ones((len(problem.unknowns), 1), basis.biases.dtype)
    axis, waves = adapted_axis(conditions), are_waves(conditions)
    z = []
    for name in problem.domain.space:
        lower, upper = problem.domain[name]
        if name == axis:
            z.append(basis.coordinate.forward(point[name], lower, upper, waves))
        elif waves:
            z.append(2 * (point[name] - lower) / (upper - lower) - 1)
        else:
            z += conditions.axis_inputs(name, point[name])
    if not waves:
        values = jnp.tanh(jnp.stack(z) @ basis.weights + basis.biases)
        return jnp.stack([conditions.distance_in_space(name, point) * values for name in problem.unknowns])
    arguments = jnp.stack(z)[:, None] * basis.weights + basis.biases
    if isinstance(conditions, StandingWaves):  # sines in place of cosines where the mirror is odd
        odd = np.asarray([[sign < 0 for sign in conditions.signs(name)] for name in problem.domain.space]).T
        return jnp.prod(jnp.cos(arguments - math.pi / 2 * odd[..., None]), axis=1)
    return jnp.broadcast_to(jnp.prod(jnp.cos(arguments), axis=0), (len(problem.unknowns), arguments.shape[1]))


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

    indices = {letters: multi_index(letters, problem.domain.space) for letters in orders}
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
