"""The course of a fit: optimisers one after another, on the whole interval, through a curriculum or window by window."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.learning.budget import Budget
from jaxsci.learning.checkpoints import Record
from jaxsci.learning.frame import FRAME, Frame, Window, first_window, next_window
from jaxsci.learning.objective import Coefficients, Objective, Unknowns
from jaxsci.learning.optimiser import Optimiser
from jaxsci.learning.scaling import with_frame
from jaxsci.learning.scheme import Scheme
from jaxsci.learning.training import Fit, Limits, judge, minimise
from jaxsci.learning.windows import EqualWindows, Windows
from jaxsci.problems import Problem


class Piece(NamedTuple):
    """What was fitted, and the frame that it belongs to."""

    fit: Fit
    frame: Frame


@dataclasses.dataclass
class Course:
    """One fit while it runs."""

    problem: Problem
    objective: Objective
    optimisers: tuple[Optimiser, ...]
    scheme: Scheme
    key: Any
    budget: Budget = dataclasses.field(default_factory=Budget)
    progress: Any = None
    record: Record | None = None

    def __post_init__(self):
        spent = 0.0 if self.record is None else self.record.elapsed
        self._deadline = time.perf_counter() + self.budget.seconds - spent
        self._legs = self._steps = 0

    def run(self) -> list[Piece]:
        """The whole fit: one piece, or one for every window of time."""
        unknowns = self.objective.init(jax.random.fold_in(self.key, 0), self.problem.coefficients)
        coefficients = with_frame(self.objective, unknowns, self.problem.coefficients)
        windows = self.scheme.windows
        if windows is not None:
            windows = windows if isinstance(windows, Windows) else EqualWindows(windows)
            return self._march(unknowns, coefficients, windows)
        curriculum = self.scheme.curriculum
        stages = [] if curriculum is None else curriculum.stages(self.problem)
        good_enough = 0.0 if curriculum is None else curriculum.tolerance
        for i, values in enumerate(stages):
            easier = dict(values) | {FRAME: coefficients[FRAME]}
            left = len(stages) - i  # together they have half of the time
            fit = self._descend(
                unknowns, easier, warm=i > 0, share=1 / (left + len(stages)), target=good_enough,
                where=f"stage {i + 1} of {len(stages)}",
            )  # fmt: skip
            unknowns = fit.unknowns
        fit = self._descend(unknowns, coefficients, warm=bool(stages), target=self.budget.residual)
        return [Piece(fit, coefficients[FRAME])]

    # --- windows -------------------------------------------------------------------------------------------------------

    def _march(self, unknowns: Unknowns, coefficients: Coefficients, windows: Windows | EqualWindows) -> list[Piece]:
        whole, target = coefficients[FRAME], max(windows.tolerance, self.budget.residual)
        done, length, pieces, hopeless = 0.0, windows.first, [], False
        while done < 1:
            rest = 1 - done
            length = rest if rest < 1.5 * length else length  # no sliver at the end

            def attempt(length: float, share: float) -> Piece:
                window = _window(pieces, unknowns, done + length)  # noqa: B023
                frame = whole._replace(window=window)
                name, warm = self._interval(done, done + length), bool(pieces)  # noqa: B023
                here = dict(coefficients) | {FRAME: frame}
                return Piece(self._descend(unknowns, here, warm=warm, share=share, target=target, where=name), frame)  # noqa: B023

            shorter = None if hopeless or (length == rest and pieces) else windows.shorter(length)
            # What is decided here depends on results alone, not on the clock: a fit that is resumed decides as it did.
            piece = attempt(length, length / rest)
            while shorter is not None and piece.fit.residual > target and piece.fit.stopped != "budget":
                half = attempt(shorter, shorter / rest)
                hopeless = not half.fit.residual < piece.fit.residual / 2  # the network is the limit, not the window
                piece, length, shorter = half, shorter, None if hopeless else windows.shorter(shorter)
            pieces.append(piece)
            unknowns, done = piece.fit.unknowns, 1.0 if length == rest else done + length
            length *= 1.5 if isinstance(windows, Windows) and piece.fit.stopped == "target" else 1.0
        return pieces

    def _interval(self, start: float, end: float) -> str:
        low, high = self.problem.domain["t"]
        return f"t = {low + (high - low) * start:.3g} to {low + (high - low) * end:.3g}"

    # --- one descent ---------------------------------------------------------------------------------------------------

    def _descend(
        self,
        unknowns: Unknowns,
        coefficients: Coefficients,
        *,
        warm: bool = False,
        share: float = 1.0,
        target: float = 0.0,
        where: str = "",
    ) -> Fit:
        """The optimisers one after another, from a warm start only the last, with a share of the time that is left."""
        fit = Fit(unknowns, float(judge(self.objective, unknowns, coefficients)), 0, "steps")
        now = time.perf_counter()
        deadline = now + share * (self._deadline - now) if math.isfinite(self._deadline) else math.inf
        for optimiser in self.optimisers[-1:] if warm else self.optimisers:
            self._legs += 1
            most = math.inf if self.budget.steps is None else self.budget.steps - self._steps
            before = fit.steps
            fit = minimise(
                self.objective, optimiser, fit, coefficients, jax.random.fold_in(self.key, self._legs), scheme=self.scheme,
                limits=Limits(deadline, most, target, self._deadline),
                progress=self.progress, record=self.record, where=where,
            )  # fmt: skip
            self._steps += fit.steps - before
            if fit.stopped in ("budget", "target"):
                break
        return fit


def _window(pieces: list[Piece], unknowns: Unknowns, end: float) -> Window:
    """The window that ends there, after those that were fitted."""
    dtype = jnp.result_type(*jax.tree.leaves(unknowns))
    if not pieces:
        return first_window(unknowns["network"], end, dtype)
    before = pieces[-1].frame.window
    assert before is not None
    return next_window(before, pieces[-1].fit.unknowns["network"], end)
