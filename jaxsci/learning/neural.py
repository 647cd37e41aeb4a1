"""Physics-informed networks: a network behind hard conditions, fitted to the equation's residual."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, results_are_traced
from jaxsci._timing import Cost, Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.learning.budget import Budget
from jaxsci.learning.certificate import certified
from jaxsci.learning.checkpoints import Record
from jaxsci.learning.course import Course, Piece
from jaxsci.learning.fields import NeuralField as NeuralField
from jaxsci.learning.fields import field_of, unscaled_residual
from jaxsci.learning.first_order import FirstOrder
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt
from jaxsci.learning.objective import Objective
from jaxsci.learning.optimiser import Optimiser
from jaxsci.learning.outputs import Output
from jaxsci.learning.scheme import Scheme
from jaxsci.networks import MLP, Network
from jaxsci.problems import Problem, Solution, saved_times
from jaxsci.problems.solution import sample


def require_concrete(problem: Problem, method: str) -> None:
    """Fits run on the host: their number of steps depends on the values."""
    if results_are_traced(problem):
        raise TypeError(
            f"{method} fits on the host and cannot run under jit, grad or vmap; use js.Spectral or js.Adaptive there, or "
            "differentiate js.residual."
        )


def advise_float64(method: str) -> None:
    """Residuals lose half their digits to differentiation, and least squares the other half of float32's."""
    if jnp.result_type(float) != jnp.float64:
        warnings.warn(
            f"{method} works in float32 and will stop near 1e-3; for accuracy switch on float64 at the start of the program: "
            "jax.config.update('jax_enable_x64', True); on the command line, --precision float64.",
            stacklevel=4,
        )


@dataclasses.dataclass(frozen=True)
class Neural:
    """A physics-informed neural network.

    The network is wrapped so that initial and boundary conditions hold exactly (`jaxsci.learning.HardConditions`); its
    parameters minimise the equation's residual at collocation points, by a first-order start and Levenberg-Marquardt. What
    the network gives and the rows of the residual are scaled, so that a fit does not depend on units.

    Args:
      network: a `jaxsci.networks.MLP`, or anything with the same ``init`` and ``apply``. Narrow and deep by default: a
        least-squares step costs the cube of the number of parameters.
      optimiser: one optimiser, or several that run one after another.
      scheme: where, how much and in what order the residual counts: sampling, weighting, windows of time, a curriculum.
      outputs: what holds exactly beside the conditions, one after another: `learning.DivergenceFree("u v")`,
        `learning.Positive("u")`, `learning.Conserved("u", total)`.
      budget: what ends the whole fit, compilation included: seconds, a text as "60s", "5min", "2000 steps",
        "residual 1e-6" or several ("5min, residual 1e-6"), or a `jaxsci.learning.Budget`; None leaves it to the optimisers.
      grid: points per axis of the saved fields.
      checkpoint: a folder for the record of the fit. Whatever stops the program, the same fit started again with it goes on
        where the record ends, bit for bit; Ctrl-C and SIGTERM save before they act.
      estimate: compute the error estimate from the equation of the error (`jaxsci.learning.certify`, seconds, most of them
        compilation; they are in ``stats["estimate_seconds"]`` and not in the cost). Without it the estimate is the residual
        integrated over time, relative to the field: an indication.
    Error estimate: that of `jaxsci.learning.Certificate`.
    Fails when: the problem is chaotic or long in time (fit it in windows), or float64 is off (a warning says so).
    Reference: Raissi, Perdikaris & Karniadakis (2019), J. Comput. Phys. 378, 686, and those of the parts.
    Example:
      >>> import jax, jaxsci as js
      >>> method = js.Neural(js.networks.MLP((8,)), optimiser=js.learning.LevenbergMarquardt(steps=20))
      >>> with jax.enable_x64(True):
      ...     problem = js.problems.heat()
      ...     error = js.relative_l2(js.solve(problem, method), problem.reference())
      >>> error < 1e-2
      True
    """

    network: Network = dataclasses.field(default_factory=lambda: MLP((12,) * 5))
    optimiser: Optimiser | tuple[Optimiser, ...] = (FirstOrder(), LevenbergMarquardt())
    scheme: Scheme = dataclasses.field(default_factory=Scheme)
    outputs: tuple[Output, ...] = ()
    budget: float | str | Budget | None = 60.0
    grid: int = 64
    checkpoint: str | os.PathLike[str] | None = None
    estimate: bool = True

    def __post_init__(self):
        Budget.of(self.budget, "Neural: budget")
        if not (is_whole(self.grid) and self.grid > 0):
            raise ValueError(f"Neural: grid must be a positive whole number, got {self.grid!r}.")
        if not (callable(getattr(self.network, "init", None)) and callable(getattr(self.network, "apply", None))):
            raise TypeError(
                f"Neural: network must have init and apply, as js.networks.MLP((20, 20)) has, got {self.network!r}."
            )
        if not (isinstance(self.outputs, tuple) and all(callable(getattr(o, "change", None)) for o in self.outputs)):
            raise TypeError(
                'Neural: outputs must be a tuple of outputs such as js.learning.Positive("u"), as in '
                f'(js.learning.DivergenceFree("u v"),), got {self.outputs!r}.'
            )
        if not isinstance(self.scheme, Scheme):
            cure = "weighting" if callable(getattr(self.scheme, "weigh", None)) else "sampling"
            raise TypeError(
                f"Neural: scheme must be a js.learning.Scheme, as js.learning.Scheme({cure}=...), got {self.scheme!r}."
            )
        if not self.optimisers or not all(callable(getattr(o, "advance", None)) for o in self.optimisers):
            raise TypeError(
                "Neural: optimiser must be js.learning.FirstOrder(...), which takes any of optax, "
                f"js.learning.LevenbergMarquardt(...) or a tuple of such, got {self.optimiser!r}."
            )

    @property
    def optimisers(self) -> tuple[Optimiser, ...]:
        """In the order in which they run."""
        return self.optimiser if isinstance(self.optimiser, tuple) else (self.optimiser,)

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`."""
        require_concrete(problem, "Neural")
        advise_float64("Neural")
        if problem.is_steady and self.scheme.windows is not None:
            raise ValueError(f"Neural: {problem.name} is steady and has no windows of time; leave them out of the scheme.")
        ts = None if problem.is_steady else jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
        key = jax.random.key(0) if key is None else key
        objective = Objective.of(problem, self.network, outputs=self.outputs)
        with Stopwatch() as watch, contextlib.ExitStack() as stack:
            record = None if self.checkpoint is None else Record(self.checkpoint, self._identity(problem, key))
            if record is not None:
                stack.enter_context(record.watching())
            budget = Budget.of(self.budget)
            pieces = Course(problem, objective, self.optimisers, self.scheme, key, budget, progress, record).run()
        solution = assembled(objective, problem, pieces, ts, self.grid, watch.cost(training=True))
        return certified(solution) if self.estimate else solution

    def _identity(self, problem: Problem, key: Any) -> dict[str, str]:
        """What a record must agree in; budget and grid may change."""
        method = repr(dataclasses.replace(self, budget=None, grid=1, checkpoint=None, estimate=False))
        return {
            "problem": f"{problem.name} {problem.identity}",
            "method": re.sub(r" at 0x[0-9a-f]+", "", method),
            "key": str(np.asarray(jax.random.key_data(key)).tolist()),
            "precision": str(jnp.result_type(float)),
        }


def assembled(
    objective: Objective, problem: Problem, pieces: list[Piece], ts: Any, grid_points: int, cost: Cost
) -> Solution:
    """The solution that fitted pieces are, with its residual and its error estimate."""
    field = field_of(objective, problem, pieces)
    grid = {name: jnp.linspace(*problem.domain[name], grid_points + 1) for name in problem.domain.space}
    fields = sample(field, ts, grid, problem.solids)
    lengths = [1.0 if p.frame.window is None else float(p.frame.window.end - p.frame.window.start) for p in pieces]
    sizes = [unscaled_residual(objective, problem, piece) for piece in pieces]
    stats: dict[str, Any] = {
        "residual": math.sqrt(sum(length * size**2 for length, size in zip(lengths, sizes, strict=True)))
    }
    last = pieces[-1].fit
    stats |= {"steps": sum(piece.fit.steps for piece in pieces), "stopped": last.stopped}
    stats["parameters"] = sum(np.size(leaf) for piece in pieces for leaf in jax.tree.leaves(piece.fit.unknowns))
    if len(pieces) > 1:
        stats["windows"] = len(pieces)
    broke = [piece.fit.broke for piece in pieces if piece.fit.broke]
    if broke:
        stats["broke"] = broke[0]
    integrated = sum(length * size for length, size in zip(lengths, sizes, strict=True))
    error = jnp.asarray(estimate_error(problem, integrated, fields), fields.dtype)
    return Solution(problem, ts, grid, fields, field, error, stats, cost)


def estimate_error(problem: Problem, residual: float, fields: Any) -> float:
    """A relative error from a root mean square residual; see `Neural`, Error estimate."""
    size = float(jnp.sqrt(jnp.mean(fields**2)))
    duration = 1.0 if problem.is_steady else problem.domain["t"][1] - problem.domain["t"][0]
    return residual * duration / max(size, 1e-300)
