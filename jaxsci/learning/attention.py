r"""Weights of single points that follow their residuals.

Points change from draw to draw: a new point takes over the multiplier of the nearest point before, which is its own where
points are kept (`Even(keep=True)`, `Retain`).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.learning.objective import Objective

_CHUNK = 512  # points whose distances to all others are in memory at once


@dataclasses.dataclass(frozen=True)
class ResidualAttention:
    r"""Residual-based attention: multipliers lambda, whose squares are the weights, grow where residuals are large.

        lambda <- decay * lambda + rate * |r| / max |r|

    at every draw; they stay between 0 and rate / (1 - decay), whatever the residuals.

    Args:
      decay, rate: of the multipliers, which start from one.
    Reference: Anagnostopoulos et al. (2024), Comput. Methods Appl. Mech. Eng. 421, 116805, eq. 5.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(js.learning.Even(keep=True), weighting=js.learning.ResidualAttention())
    """

    decay: float = 0.9
    rate: float = 0.1

    def __post_init__(self):
        if not (0 <= self.decay < 1 and self.rate > 0):
            raise ValueError(
                f"ResidualAttention: decay must lie in [0, 1) and rate be positive, got {self.decay!r} and {self.rate!r}."
            )

    def init(self, objective, batch):
        return _first(batch)

    def weigh(self, objective, unknowns, coefficients, batch, state):
        return _weigh(self, objective, unknowns, coefficients, batch, state)

    def updated(self, multipliers: Any, residual: Any) -> tuple[Any, Any]:
        """New multipliers, and the factors of the weights that they give."""
        size = jnp.abs(residual)
        largest = jnp.max(size, axis=0)
        new = self.decay * multipliers + self.rate * size / jnp.where(largest > 0, largest, 1.0)
        return new, new**2


@dataclasses.dataclass(frozen=True)
class SelfAdaptive:
    r"""Self-adaptive weights: the loss is maximised in the weights of its points while it is minimised in the unknowns.

        lambda <- lambda + rate * r^2 / mean r^2

    at every draw: gradient ascent, with a rate that does not depend on how small the loss is.

    Args:
      rate: of the ascent, from one.
    Reference: McClenny & Braga-Neto (2023), J. Comput. Phys. 474, 111722, eq. 11 with the mask m(lambda) = lambda.
    Example:
      >>> import jaxsci as js
      >>> scheme = js.learning.Scheme(js.learning.Even(keep=True), weighting=js.learning.SelfAdaptive())
    """

    rate: float = 0.1

    def __post_init__(self):
        if not self.rate > 0:
            raise ValueError(f"SelfAdaptive: rate must be positive, got {self.rate!r}.")

    def init(self, objective, batch):
        return _first(batch)

    def weigh(self, objective, unknowns, coefficients, batch, state):
        return _weigh(self, objective, unknowns, coefficients, batch, state)

    def updated(self, multipliers: Any, residual: Any) -> tuple[Any, Any]:
        """New multipliers, and the factors of the weights that they give."""
        mean = jnp.mean(residual**2, axis=0)
        new = multipliers + self.rate * residual**2 / jnp.where(mean > 0, mean, 1.0)
        return new, new


def _first(batch: Any) -> tuple[Any, Any]:
    """The points, and their multipliers."""
    return batch.points["equation"], jnp.ones_like(batch.weights["equation"])


@functools.partial(jax.jit, static_argnames=("weighting", "objective"))
def _weigh(weighting: ResidualAttention | SelfAdaptive, objective, unknowns, coefficients, batch, state):
    before, multipliers = state
    points, weights = batch.points["equation"], batch.weights["equation"]
    multipliers = multipliers[nearest(objective, points, before)]
    multipliers, factors = weighting.updated(multipliers, objective.residual(unknowns, coefficients, points))
    return {**batch.weights, "equation": weights * factors}, (points, multipliers)


def nearest(objective: Objective, points: Any, others: Any) -> Any:
    """For every point the index of the nearest of the others, with the box's sides for units."""
    domain = objective.conditions.problem.domain
    sides = jnp.asarray([np.ptp(domain[name]) for name in domain.coordinates], points.dtype)
    scaled = others / sides

    def index(point):
        return jnp.argmin(jnp.sum((scaled - point / sides) ** 2, axis=-1))

    return jax.lax.map(index, points, batch_size=min(_CHUNK, len(points)))
