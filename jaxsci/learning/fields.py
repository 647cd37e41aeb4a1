"""Fitted networks as fields of ONE point."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxsci.learning.frame import FRAME, Frame
from jaxsci.learning.leg import judge
from jaxsci.learning.objective import Objective
from jaxsci.problems import Problem

if TYPE_CHECKING:
    from jaxsci.learning.course import Piece


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeuralField:
    """A fitted network as a field of ONE point."""

    objective: Objective = dataclasses.field(metadata={"static": True})
    unknowns: Any
    problem: Problem
    frame: Frame | None = None

    def __call__(self, *point: Any) -> Any:
        framed = {} if self.frame is None else {FRAME: self.frame}
        return self.objective.field(self.unknowns, dict(self.problem.coefficients) | framed)(*point)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WindowedField:
    """The fitted networks of windows of time, stacked along a leading axis, as one field of ONE point.

    At a time where two windows meet it is the later one; they agree there.
    """

    objective: Objective = dataclasses.field(metadata={"static": True})
    unknowns: Any
    problem: Problem
    frames: Frame

    def __call__(self, *point: Any) -> Any:
        start, end = self.problem.domain["t"]
        window = self.frames.window
        assert window is not None  # This is a bug in jaxsci: only windows are stacked.
        elapsed = (point[0] - start) / (end - start)
        values = jax.vmap(lambda unknowns, frame: NeuralField(self.objective, unknowns, self.problem, frame)(*point))
        later = jnp.concatenate([window.start[1:], jnp.full_like(window.start[:1], math.inf)])
        is_first = jnp.arange(len(later)) == 0
        chosen = (is_first | (window.start <= elapsed)) & (elapsed < later)
        return jnp.sum(jnp.where(chosen[:, None], values(self.unknowns, self.frames), 0.0), axis=0)


def field_of(objective: Objective, problem: Problem, pieces: list[Piece]) -> NeuralField | WindowedField:
    """The field that fitted pieces are."""
    if len(pieces) == 1:
        return NeuralField(objective, pieces[0].fit.unknowns, problem, pieces[0].frame)
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    unknowns, frames = stack([p.fit.unknowns for p in pieces]), stack([p.frame for p in pieces])
    return WindowedField(objective, unknowns, problem, frames)


def unscaled_residual(objective: Objective, problem: Problem, piece: Piece) -> float:
    """The root mean square of the residual in the units of the equation."""
    frame = piece.frame._replace(rows=jnp.ones_like(piece.frame.rows))
    return float(judge(objective, piece.fit.unknowns, dict(problem.coefficients) | {FRAME: frame}))
