"""Where the equation is asked for: collocation points, evenly spread or denser where the residual is large."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxsci.learning.collocation import in_domain
from jaxsci.learning.objective import Coefficients, Objective, Unknowns


class Sampling(Protocol):
    """How collocation points are drawn: pure, frozen and hashable."""

    def draw(
        self,
        objective: Objective,
        unknowns: Unknowns,
        coefficients: Coefficients,
        key: Any,
        count: int,
        previous: Any = None,
    ) -> Any:
        """``[count, coordinates]``; `previous` are the points before, None at the first draw."""
        ...


@dataclasses.dataclass(frozen=True)
class Even:
    """Evenly spread points, drawn anew each time."""

    def draw(self, objective, unknowns, coefficients, key, count, previous=None):
        return even_points(objective, key, count)


@dataclasses.dataclass(frozen=True)
class ResidualDensity:
    """Points drawn without replacement, with probability proportional to |r|^k / mean |r|^k + c, out of quasi-random ones.

    Reference: Wu et al. (2023), Comput. Methods Appl. Mech. Eng. 403, 115671, eq. 2 (residual-based adaptive distribution).
    """

    k: float = 1.0
    c: float = 1.0
    pool: int = 4  # candidates per point

    def draw(self, objective, unknowns, coefficients, key, count, previous=None):
        return _draw(self, objective, unknowns, coefficients, key, count)


@functools.partial(jax.jit, static_argnames=("sampling", "objective", "count"))
def _draw(sampling: ResidualDensity, objective: Objective, unknowns, coefficients, key, count: int) -> Any:
    spread, choice = jax.random.split(key)
    pool = even_points(objective, spread, sampling.pool * count)
    size = jnp.linalg.norm(objective.residual(unknowns, coefficients, pool), axis=-1) ** sampling.k
    weight = sampling.c + size / jnp.maximum(jnp.mean(size), jnp.finfo(size.dtype).tiny)
    return pool[jax.random.choice(choice, len(pool), (count,), replace=False, p=weight / jnp.sum(weight))]


def even_points(objective: Objective, key: Any, count: int) -> Any:
    """Evenly spread points of the problem's domain, ``[count, coordinates]``."""
    return jnp.stack(in_domain(objective.conditions.problem, count, key), axis=-1)
