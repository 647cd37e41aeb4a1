"""Solved trajectories on one grid: what surrogates learn from and are scored against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
from jaxtyping import Array, Float

from jaxsci.problems import Problem, stepper
from jaxsci.solvers import Spectral, Stepper


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Runs of one equation from different starts, and with different coefficients where `numbers` says so.

    Attributes:
      problem: one of the runs' problems; the others have other starts, and the coefficients in `numbers`.
      fields: ``[runs, saves, channels, *space]`` on the grid of ``js.Spectral(n)``: the evolved components in the order of the
        solver's, ``u``, and ``u_t`` where the equation has u.tt; unknowns without a time derivative are not stored.
      numbers: by the name of a coefficient in which the runs differ, its values ``[runs]``.
      dt: time between saves, the step of a surrogate.
    """

    problem: Problem
    fields: Float[Array, "runs saves channels ..."]
    numbers: Mapping[str, Float[Array, " runs"]]
    dt: float = dataclasses.field(metadata={"static": True})

    @property
    def intervals(self) -> tuple[int, ...]:
        """Grid intervals per axis, the `n` of a solver on this grid: an axis with walls has a point more."""
        space = self.problem.domain.space
        return tuple(size - bool(self.problem.walls(axis)) for axis, size in zip(space, self.fields.shape[3:], strict=True))

    @property
    def method(self) -> Spectral:
        """The spectral solver on this grid with this step."""
        return Spectral(n=self.intervals, dt=self.dt)

    def frame(self) -> Stepper:
        """Its stepper: the grid, the fields, the algebraic unknowns."""
        return stepper(self.problem, self.method)

    def __len__(self) -> int:
        return self.fields.shape[0]

    def __repr__(self) -> str:
        varying = f", varying {', '.join(self.numbers)}" if self.numbers else ""
        return f"Trajectories({self.problem.name}, fields {self.fields.shape} {self.fields.dtype}, dt {self.dt}{varying})"
