"""Collocation points: quasi-random sequences, scaled to a box, outside of what is cut out of it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.problems import Box, Problem


@functools.partial(jax.jit, static_argnames=("count", "dimensions"))
def quasi_random(count: int, dimensions: int, key: Any) -> Any:
    """Points of an additive recurrence in the unit cube, randomly shifted: ``[count, dimensions]``.

    Evenly spread for every count and dimension, without the powers of two that Sobol points want.

    Reference: Roberts (2018), *The unreasonable effectiveness of quasirandom sequences*: multiples of the powers of the
    generalised golden ratio, the root of g^(d+1) = g + 1.
    """
    golden = 2.0
    for _ in range(64):
        golden = (1 + golden) ** (1 / (dimensions + 1))
    steps = (1 / golden) ** np.arange(1, dimensions + 1)
    points = np.arange(1, count + 1)[:, None] * steps
    shift = jax.random.uniform(key, (dimensions,), jnp.result_type(float))
    return (jnp.asarray(points % 1.0) + shift) % 1.0


def in_box(domain: Box, unit: Any) -> tuple[Any, ...]:
    """Points of the unit cube, ``[count, coordinates]``, as one column per coordinate of the box."""
    return tuple(domain[name][0] + (domain[name][1] - domain[name][0]) * unit[:, i] for i, name in enumerate(domain))


_MARGIN = 1e-4  # distance to the boundary of a solid, relative to its size: derivatives are singular at its corners


def is_free(problem: Problem, columns: tuple[Any, ...]) -> Any:
    """Whether points, one column per coordinate, lie outside all solids."""
    point = dict(zip(problem.coordinates, columns, strict=True))
    free = jnp.ones(jnp.shape(columns[0]), bool)
    for solid in problem.solids:
        margin = _MARGIN * min(solid.shape.size, *problem.domain.lengths)
        free &= solid.shape(*(point[axis] for axis in problem.domain.space)) > margin
    return free


@functools.lru_cache(maxsize=64)
def _share_that_is_free(domain: Box, solids: tuple[Any, ...]) -> float:
    with jax.ensure_compile_time_eval():
        columns = in_box(domain, np.random.default_rng(0).uniform(size=(4096, len(domain.coordinates))))
        point = dict(zip(domain.coordinates, columns, strict=True))
        inside = [np.asarray(solid.shape(*(point[axis] for axis in domain.space))) <= 0 for solid in solids]
    return max(1 - float(np.mean(np.any(inside, axis=0))), 1e-3)


def in_domain(problem: Problem, count: int, key: Any) -> tuple[Any, ...]:
    """Evenly spread points of a problem's domain, `count` of them, one column per coordinate. Passes jit.

    With solids they are the first that lie outside, out of as many in the box as it takes.
    """
    if not problem.solids:
        return in_box(problem.domain, quasi_random(count, len(problem.coordinates), key))
    enough = int(1.2 * count / _share_that_is_free(problem.domain, problem.solids)) + 32
    columns = in_box(problem.domain, quasi_random(enough, len(problem.coordinates), key))
    chosen = jnp.argsort(~is_free(problem, columns), stable=True)[:count]
    return tuple(column[chosen] for column in columns)
