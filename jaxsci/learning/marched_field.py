"""The field of a march through time: slab after slab of polynomials of time times features of space."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.learning.conditions import Point
from jaxsci.learning.slab_fit import Slab
from jaxsci.learning.space_features import Basis, units
from jaxsci.learning.time_polynomials import integrals
from jaxsci.problems import Problem


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MarchedField:
    """The fitted slabs as a field of ONE point."""

    conditions: Any = dataclasses.field(metadata={"static": True})
    problem: Problem
    bases: Basis  # [groups, ...]
    slabs: Slab  # [slabs, ...]
    group: Any  # [slabs], which basis
    reached: Any  # [slabs, groups, orders in time, unknowns, M]

    def __call__(self, *coordinates: Any) -> Any:
        problem, conditions = self.problem, self.conditions
        point = dict(zip(problem.coordinates, coordinates, strict=True))
        lift = jnp.stack([conditions.lift(u, point, problem.coefficients) for u in problem.unknowns])
        n = jnp.clip(jnp.searchsorted(self.slabs.start, point["t"], side="right") - 1, 0, len(self.slabs.start) - 1)
        slab = jax.tree.map(lambda leaf: leaf[n], self.slabs)
        elapsed = point["t"] - slab.start
        weights = sum(self.reached[n, :, q] * elapsed**q / math.factorial(q) for q in range(self.reached.shape[2]))
        orders = [problem.time_order(u) for u in problem.unknowns]
        tau, count = elapsed / slab.length, len(slab.coefficients)
        inside = [integrals(tau, order, count) @ slab.coefficients[:, i] for i, order in enumerate(orders)]
        weights = weights.at[self.group[n]].add(jnp.stack(inside))
        values = jax.vmap(lambda basis: units(conditions, basis, _in_space(point)))(self.bases)
        return lift + jnp.einsum("gum,gum->u", values, weights)


def _in_space(point: Point) -> Point:
    return {name: value for name, value in point.items() if name != "t"}


@functools.partial(jax.jit, static_argnames=("orders",))
def advance(reached: Any, slab: Slab, orders: tuple[int, ...]) -> Any:
    """What is reached at a slab's end: ``[orders in time, unknowns, M]``, by the slab's own group."""
    length = slab.length
    out = []
    for q in range(reached.shape[0]):
        value = sum(reached[p] * length ** (p - q) / math.factorial(p - q) for p in range(q, reached.shape[0]))
        gained = jnp.stack([_integrated(slab, i, order - q) for i, order in enumerate(orders)])
        out.append(value + gained / length**q)
    return jnp.stack(out)


@jax.jit
def settle(features: dict[str, Any], reached: Any) -> dict[str, Any]:
    """The values of what is reached, ``{letters: [orders in time, points, unknowns]}``."""
    return {k: jnp.einsum("num,qum->qnu", values, reached) for k, values in features.items()}


def _integrated(slab: Slab, unknown: int, times: int) -> Any:
    """An unknown's polynomials integrated over the slab, ``[M]``; nothing where it has no such derivative in time."""
    coefficients = slab.coefficients[:, unknown]
    return integrals(1.0, times, len(coefficients)) @ coefficients if times > 0 else jnp.zeros_like(coefficients[0])
