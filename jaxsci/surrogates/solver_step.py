"""A solver's steps between two saves, from fields to fields: what a network corrects, and what a residual compares with."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxsci._checks import listed
from jaxsci.problems import stepper
from jaxsci.solvers import Spectral, State, Stepper
from jaxsci.surrogates.resample import resample
from jaxsci.surrogates.stepper import components


@dataclasses.dataclass(frozen=True)
class SolverStep:
    """A method with a step, and how often it is taken between two saves. Static and hashable.

    Args:
      method: whose `n` may be smaller than that of the fields, on periodic axes.
      dt: between two saves; it is divided evenly, into steps no longer than the method's.
      intervals: of the grid of the fields, on which `method.n` is meant; a longer box takes proportionally more of both.
    """

    method: Spectral
    dt: float
    intervals: tuple[int, ...]

    @property
    def substeps(self) -> int:
        assert self.method.dt is not None  # This is a bug in jaxsci: checked where the method came in.
        return substeps(self.dt, self.method.dt)

    def solver(self, frame: Stepper) -> Stepper:
        """The solver for the frame's problem, its tables computed.

        Raises:
          ValueError: a grid whose fields it cannot take over.
        """
        problem, space = frame.problem, frame.problem.domain.space
        walled = [bool(problem.walls(axis)) for axis in space]
        here = tuple(len(axis) - wall for axis, wall in zip(frame.grid.values(), walled, strict=True))
        sizes = proportional(self.method.n, self.intervals, here)
        bad = [axis for axis, wall, n, m in zip(space, walled, sizes, here, strict=True) if wall and n != m]
        if bad:
            raise ValueError(
                f"a solver with n = {self.method.n} inside a surrogate: between walls (axis {listed(bad)}) fields cannot be "
                f"brought to another grid; give n = {here}."
            )
        return stepper(problem, dataclasses.replace(self.method, n=sizes, dt=self.dt / self.substeps))

    def advance(self, solver: Stepper, fields: Float[Array, "channels ..."], t: Any) -> Float[Array, "channels ..."]:
        """Fields one save later."""
        here, there = fields.shape[1:], tuple(map(len, solver.grid.values()))
        alike = (False,) * len(here)  # axes with walls have the same points on both
        state = solver.encode(resample(fields, alike, there), t)
        if self.substeps == 1:
            state = solver.step(state)
        else:
            state = jax.lax.scan(lambda s, _: (solver.step(s), None), state, length=self.substeps)[0]
        return resample(components(solver, State(*state)), alike, here).astype(fields.dtype)


def substeps(dt: float, longest: float) -> int:
    """Equal steps between two saves, none longer than `longest` but for rounding."""
    return max(1, math.ceil(dt / longest - 1e-6))


def proportional(n: int | tuple[int, ...], intervals: tuple[int, ...], here: tuple[int, ...]) -> tuple[int, ...]:
    """The n that was meant beside a grid of `intervals`, on a grid of `here`: a longer box takes proportionally more."""
    sizes = n if isinstance(n, tuple) else (n,) * len(intervals)
    return tuple(size * now // then for size, now, then in zip(sizes, here, intervals, strict=True))
