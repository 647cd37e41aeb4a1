"""Collocation points: quasi-random sequences, scaled to a box."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.problems import Box


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
