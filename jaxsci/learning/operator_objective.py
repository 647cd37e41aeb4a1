r"""Operators with physics: one network for a family of problems, trained on the residual of their equation.

A family is a function ``key -> Problem`` whose draws differ in coefficients, those of a start (`Problem.with_initial`) included.
Its members' numbers s join the coordinates: the network sees (s, z), and a collocation point is a point of space and time
together with a member. So the objective is that of a single problem in more dimensions, and every optimiser, sampling and
weighting of `jaxsci.learning` works on it as it is.

Reference: Wang, Wang & Perdikaris (2021), Sci. Adv. 7, eabi8605 (physics-informed DeepONet); here with hard conditions, so that
the residual is the only loss, and a member of its own for every point.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci.learning.collocation import in_domain
from jaxsci.learning.objective import Objective
from jaxsci.problems import Problem, Solution

_DRAWS = 1024  # members from which the ranges of their numbers are taken


@dataclasses.dataclass(frozen=True)
class Members:
    """The numbers in which the members of a family differ. Static."""

    family: Callable[[Any], Problem]
    mean: tuple[float, ...]  # of all coefficients, flattened
    deviation: tuple[float, ...]

    @staticmethod
    def of(family: Callable[[Any], Problem]) -> Members:
        numbers = np.asarray(_numbers(family, jax.random.key(0), _DRAWS))
        mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
        deviation = np.where(deviation > 1e-6 * np.abs(mean), deviation, 0.0)  # rounding of a constant
        if not deviation.any():
            raise ValueError("PhysicsInformedOperator: all draws of the family are one problem; use its key, or js.Neural.")
        return Members(family, tuple(mean.tolist()), tuple(deviation.tolist()))

    @property
    def varying(self) -> np.ndarray:
        return np.flatnonzero(self.deviation)

    def draw(self, key: Any, count: int) -> Any:
        """The numbers of random members, ``[count, numbers]``."""
        return _numbers(self.family, key, count)[:, self.varying]

    def numbers(self, coefficients: Any) -> Any:
        return ravel_pytree(coefficients)[0][self.varying]

    def coefficients(self, like: Any, numbers: Any) -> Any:
        """The coefficients of the member with these numbers."""
        return ravel_pytree(like)[1](jnp.asarray(self.mean, numbers.dtype).at[self.varying].set(numbers))

    def standardised(self, numbers: Any) -> Any:
        """Mean zero and deviation one over the family: the sensors of the network."""
        mean, deviation = (np.asarray(part)[self.varying] for part in (self.mean, self.deviation))
        return (numbers - mean.astype(numbers.dtype)) / deviation.astype(numbers.dtype)


@functools.partial(jax.jit, static_argnames=("family", "count"))
def _numbers(family: Callable[[Any], Problem], key: Any, count: int) -> Any:
    """All coefficients of random members, ``[count, coefficients]``: the family is traced once."""
    return jax.vmap(lambda key: ravel_pytree(family(key).coefficients)[0])(jax.random.split(key, count))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorObjective(Objective):
    """The residual over a family; a point is ``[coordinates, numbers of its member]``."""

    members: Members

    def init(self, key, coefficients):
        del coefficients
        inputs = len(self.members.varying) + self.conditions.input_size
        return {"network": self.network.init(key, inputs, len(self.conditions.problem.unknowns)), "coefficients": {}}

    def field(self, unknowns, coefficients):
        sensors = self.members.standardised(self.members.numbers(coefficients))

        def network(z):
            return self.network.apply(unknowns["network"], jnp.concatenate([sensors, z]))

        return self.conditions.field(network, coefficients)

    def residual(self, unknowns, coefficients, points):
        def at_point(point):
            place, member = self._split(coefficients, point)
            return self.equation(self.field(unknowns, member), member, place[None])[0]

        return jax.vmap(at_point)(points)

    def part(self, name, unknowns, coefficients, points, target):
        if name == "equation":
            return self.residual(unknowns, coefficients, points)

        def at_point(point):
            place, member = self._split(coefficients, point)
            return self.field(unknowns, member)(*place)

        return jax.vmap(at_point)(points) - target

    def extend(self, points, key):
        return jnp.concatenate([points, self.members.draw(key, len(points))], axis=1)

    def observe(self, solution: Solution, samples: int, key: Any) -> tuple[Any, Any]:
        """Points of a solution ``[samples, coordinates + numbers]``, and its values there."""
        numbers = self.members.numbers(solution.problem.coefficients)
        columns = in_domain(solution.problem, samples, key)
        values = solution.evaluate(**dict(zip(solution.problem.coordinates, columns, strict=True)))
        sensors = jnp.broadcast_to(numbers, (samples, len(numbers)))
        return jnp.concatenate([jnp.stack(columns, axis=-1), sensors], axis=1), jnp.atleast_2d(values).T

    def _split(self, like: Any, point: Any) -> tuple[Any, Any]:
        """The coordinates and the coefficients of the member."""
        count = len(self.conditions.problem.coordinates)
        return point[:count], self.members.coefficients(like, point[count:])
