"""The solver itself on a coarser grid, as a surrogate without learning: what every surrogate must beat."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci._checks import is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.problems import stepper
from jaxsci.solvers import Spectral, State, Stepper
from jaxsci.solvers.lines import FourierLines
from jaxsci.solvers.torus import Torus
from jaxsci.surrogates.closed_form import checked_fields, fitted
from jaxsci.surrogates.solver_step import proportional, substeps
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Coarse:
    """A coarse solver beside the grid that its fields come from."""

    solver: Stepper
    fine: FourierLines = dataclasses.field(metadata={"static": True})  # all modes of the grid below Nyquist

    @property
    def lines(self) -> FourierLines:
        lines = self.solver.lines
        assert isinstance(lines, FourierLines)  # This is a bug in jaxsci: `fit` lets nothing else through.
        return lines


@dataclasses.dataclass(frozen=True)
class CoarseRule:
    """Steps of the coarse solver, whose modes are what is carried."""

    method: Spectral
    steps: int  # per save
    intervals: tuple[int, ...]  # of the data's grid, beside which method.n is meant

    def prepare(self, parameters: Any, frame: Stepper) -> _Coarse:
        """The coarse solver's tables for the frame's coefficients; in a longer box it has proportionally more points."""
        fine = frame.lines
        assert isinstance(fine, FourierLines)
        sizes = proportional(self.method.n, self.intervals, tuple(axis.intervals for axis in fine.torus.axes))
        solver = stepper(frame.problem, dataclasses.replace(self.method, n=sizes))
        every = dataclasses.replace(fine, torus=dataclasses.replace(fine.torus, kept=1.0))
        return _Coarse(solver, every)

    def encode(self, parameters: _Coarse, fields: Any) -> Any:
        modes = resized(parameters.fine.torus, parameters.lines.torus, parameters.fine.encode(fields))
        return modes.astype(jnp.result_type(modes, parameters.solver.operators.linear))

    def step(self, parameters: _Coarse, carry: Any, coefficients: Any, t: Any) -> Any:
        solver = parameters.solver
        state = State(carry, jnp.asarray(t, solver.tables.h.dtype))
        if self.steps == 1:
            return solver.step(state).values
        return jax.lax.scan(lambda s, _: (solver.step(s), None), state, length=self.steps)[0].values

    def decode(self, parameters: _Coarse, carry: Any) -> Any:
        return parameters.fine.decode(resized(parameters.lines.torus, parameters.fine.torus, carry))


def resized(source: Torus, target: Torus, modes: Any) -> Any:
    """Kept modes ``[..., *kept of source]`` to those that the target keeps: cut off, or filled up with zeros."""
    first = modes.ndim - len(source.axes)
    for i, (m, n) in enumerate(zip(source.highest, target.highest, strict=True)):
        if m == n:
            continue
        modes, axis, common = jnp.moveaxis(modes, first + i, -1), first + i, min(m, n)
        zeros = lambda count, modes=modes: jnp.zeros((*modes.shape[:-1], count), modes.dtype)  # noqa: E731
        if i == len(source.axes) - 1:
            parts = [modes[..., : common + 1], zeros(n - common)]
        else:
            parts = [modes[..., : common + 1], zeros(2 * (n - common)), modes[..., modes.shape[-1] - common :]]
        modes = jnp.moveaxis(jnp.concatenate(parts, axis=-1), -1, axis)
    return modes


@dataclasses.dataclass(frozen=True)
class CoarseSolver:
    r"""The spectral solver on `n` intervals with steps of `dt`, between the saves of the data: no learning, no cost of training.

    Fields come in and out by their Fourier modes: those that the coarse grid carries, exactly. Between saves the solver's own
    state is carried, so that a rollout is that of ``js.Spectral(n, order, dt)``. Coefficients may be any.

    Args:
      n: grid intervals per axis, one number or one per axis; more than the data's is allowed.
      dt: the longest step; the time between saves is divided evenly. None for one step per save.
      order: of the time stepping, 1 to 4.
    Fails when: dt is beyond stability (the rollout is not finite), or the fields have more scales than n points carry. Axes with
      walls need a mirror (homogeneous Dirichlet or Neumann conditions).
    Reference: McGreivy & Hakim (2024), Nature Machine Intelligence 6, 1256: most surrogates are compared with weak solvers.
    Example:
      >>> import jaxsci as js
      >>> problem = js.problems.kuramoto_sivashinsky()
      >>> run = js.rollout(js.stepper(problem, js.Spectral(n=64, dt=0.01)), 4, save_every=1)
      >>> data = js.surrogates.Trajectories(problem, run.fields[None], {}, dt=0.01)
      >>> s = js.stepper(problem, js.surrogates.CoarseSolver(n=32, dt=0.005).fit(data))
      >>> js.rollout(s, 4).fields.shape
      (2, 1, 64)
    """

    n: int | tuple[int, ...]
    dt: float | None = None
    order: int = 4

    def __post_init__(self):
        method = "CoarseSolver"
        sizes = self.n if isinstance(self.n, tuple) else (self.n,)
        if not all(is_whole(n) and n >= 4 for n in sizes):
            raise ValueError(f"{method}: n must be whole numbers >= 4, got {self.n!r}.")
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"{method}: order must be 1, 2, 3 or 4, got {self.order!r}.")
        if self.dt is not None and not (isinstance(self.dt, int | float) and math.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"{method}: dt must be positive, or None for the time between saves, got {self.dt!r}.")

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class. Only the grid, the time between saves and the equation of the data are looked at.

        Raises:
          TypeError, ValueError: no trajectories, an n of another number of axes, or walls without a mirror.
        """
        with Stopwatch() as watch:
            checked_fields("CoarseSolver", data, saves=1)
            axes = data.problem.domain.space
            if isinstance(self.n, tuple) and len(self.n) != len(axes):
                raise ValueError(
                    f"CoarseSolver: n has {len(self.n)} entries for the {len(axes)} axes {', '.join(axes)} of "
                    f"{data.problem.name}; give one number or one per axis."
                )
            if not isinstance(data.frame().lines, FourierLines):
                raise ValueError(
                    f"CoarseSolver: {data.problem.name} has walls without a mirror, between whose Chebyshev grids no modes are "
                    "exchanged; take a solver of the ladder, js.Spectral, instead."
                )
            steps = substeps(data.dt, self.dt) if self.dt else 1
            method = Spectral(n=self.n, order=self.order, dt=data.dt / steps)
            rule = CoarseRule(method, steps, data.intervals)
        return fitted(rule, {}, data, watch, {"parameters": 0, "steps_per_save": steps, "dt": method.dt})
