"""The one objective of every fit: the residual of an equation for a network behind hard conditions."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsci.equations.residual import PointwiseResidual, residual
from jaxsci.learning.collocation import in_domain
from jaxsci.learning.conditions import HardConditions
from jaxsci.networks import Network, Parameters
from jaxsci.problems import Problem


@dataclasses.dataclass(frozen=True)
class Objective:
    """Residuals of a network at points. Static and hashable; parameters and problem are arguments."""

    conditions: HardConditions
    network: Network
    equation: PointwiseResidual

    @staticmethod
    def of(problem: Problem, network: Network) -> Objective:
        equation = dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
        return Objective(HardConditions(problem), network, equation)

    def init(self, key: Any) -> Parameters:
        return self.network.init(key, self.conditions.input_size, len(self.conditions.problem.unknowns))

    def field(self, parameters: Parameters, problem: Problem) -> Any:
        """The field: a function of ONE point, ``[unknowns]``, that holds the conditions for any parameters."""
        return self.conditions.field(functools.partial(self.network.apply, parameters), problem.coefficients)

    def __call__(
        self, parameters: Parameters, problem: Problem, points: Float[Array, "points coordinates"]
    ) -> Float[Array, "points equations"]:
        return self.equation(self.field(parameters, problem), problem.coefficients, points)


@functools.partial(jax.jit, static_argnames=("objective",))
def residuals(objective: Objective, parameters: Parameters, problem: Problem, points: Any) -> Any:
    """The residual at points, ``[points, equations]``."""
    return objective(parameters, problem, points)


@functools.partial(jax.jit, static_argnames=("objective", "count"))
def draw_points(objective: Objective, parameters: Parameters, problem: Problem, key: Any, count: int) -> Any:
    """Collocation points, ``[count, coordinates]``, denser where the residual is large.

    Out of four times as many quasi-random candidates, points are drawn without replacement with probability proportional to
    1 + |r| / mean |r|.

    Reference: Wu et al. (2023), Comput. Methods Appl. Mech. Eng. 403, 115671, eq. 2 (RAD with k = c = 1).
    """
    spread, choice = jax.random.split(key)
    pool = jnp.stack(in_domain(problem, 4 * count, spread), axis=-1)
    size = jnp.linalg.norm(objective(parameters, problem, pool), axis=-1)
    weight = 1.0 + size / jnp.maximum(jnp.mean(size), jnp.finfo(size.dtype).tiny)
    return pool[jax.random.choice(choice, 4 * count, (count,), replace=False, p=weight / jnp.sum(weight))]


def even_points(objective: Objective, key: Any, count: int) -> Any:
    """Evenly spread points, ``[count, coordinates]``."""
    return jnp.stack(in_domain(objective.conditions.problem, count, key), axis=-1)
