"""Waves between walls that reflect them: units that are standing waves hold the walls by themselves.

A wall with u = 0 continues a field oddly and one with u_x = 0 evenly, so between such walls a field is a sum of sines or of
cosines of whole numbers of half waves, where the equation and the start keep the symmetry.  The operator of a wave equation
then has no spurious modes that grow, which units that are multiplied by a distance from the walls have.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.learning.conditions import HardConditions, Point
from jaxsci.problems import Problem
from jaxsci.solvers.discretise import mirror_signs

_SMOOTH = 1e-6  # a derivative that should vanish at a wall may be this share of its largest value


@dataclasses.dataclass(frozen=True, eq=False)
class StandingWaves(HardConditions):
    """Hard conditions of a problem whose walls are held by standing waves; the lift is the start alone."""

    mirror: tuple[tuple[int, ...], ...] = ()  # signs by unknown and axis, `mirror_signs`

    @classmethod
    def of(cls, problem: Problem) -> StandingWaves | None:
        """None where no mirror continues the problem through its walls, or not its start (up to the fourth derivative)."""
        signs = None if problem.solids else mirror_signs(problem)
        if signs is None:
            return None
        conditions = cls(problem, mirror=signs)
        with jax.ensure_compile_time_eval():
            return conditions if conditions._starts_mirrored() else None

    def axis_kind(self, axis: str) -> str:
        """How an axis enters: "plain" for time, "periodic", or "standing"."""
        return "standing" if self.problem.walls(axis) else super().axis_kind(axis)

    def signs(self, axis: str) -> tuple[int, ...]:
        """By unknown how a mirror at the walls continues it; without walls 1."""
        return tuple(row[self.problem.domain.space.index(axis)] for row in self.mirror)

    def _check_lift_along(self, axis: str, inside: Point) -> None:
        if self.axis_kind(axis) != "standing":
            super()._check_lift_along(axis, inside)

    def _starts_mirrored(self) -> bool:
        return all(
            self._is_mirrored(key, axis, sign)
            for axis in self.problem.domain.space
            if self.problem.walls(axis)
            for name, sign in zip(self.problem.unknowns, self.signs(axis), strict=True)
            for key in (name + "_t" * q for q in range(self.problem.time_order(name)))
        )

    def _is_mirrored(self, key: str, axis: str, sign: int) -> bool:
        """Whether the derivatives of a start that the mirror forbids vanish at both walls."""
        problem = self.problem
        space, dtype = problem.domain.space, jnp.result_type(float)
        random = jax.random.uniform(jax.random.key(0), (64, len(space)), dtype)
        inside = {a: low + (high - low) * random[:, i] for i, a in enumerate(space) for low, high in [problem.domain[a]]}
        start = problem.initial[key]

        def derivative(order: int):
            def value(x: Any, rest: Point) -> Any:
                return jnp.asarray(start({**rest, axis: x}, problem.coefficients), dtype)

            slope = functools.reduce(lambda function, _: jax.grad(function), range(order), value)
            return jax.vmap(lambda point: slope(point[axis], point))

        for order in range(0 if sign < 0 else 1, 5, 2):
            largest = jnp.max(jnp.abs(derivative(order)(inside)))
            for end in problem.domain[axis]:
                at_wall = derivative(order)({**inside, axis: jnp.full(64, end, dtype)})
                if not float(jnp.max(jnp.abs(at_wall))) <= _SMOOTH * max(float(largest), 1e-300):
                    return False
        return True
