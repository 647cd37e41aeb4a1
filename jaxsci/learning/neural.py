"""Physics-informed networks: a network behind hard conditions, fitted to the equation's residual."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, results_are_traced
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.learning.first_order import FirstOrder
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt
from jaxsci.learning.objective import Objective
from jaxsci.learning.optimiser import Optimiser
from jaxsci.learning.training import Scheme, minimise, start
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
            "jax.config.update('jax_enable_x64', True).",
            stacklevel=4,
        )


@dataclasses.dataclass(frozen=True)
class Neural:
    """A physics-informed neural network.

    The network is wrapped so that initial and boundary conditions hold exactly (`jaxsci.learning.HardConditions`); its
    parameters minimise the equation's residual at collocation points, by a first-order start and Levenberg-Marquardt.

    Args:
      network: a `jaxsci.networks.MLP`, or anything with the same ``init`` and ``apply``. Narrow and deep by default: a
        least-squares step costs the cube of the number of parameters.
      optimiser: one optimiser, or several that run one after another.
      scheme: where and how much the residual counts: sampling and weighting.
      budget: seconds of wall time for the whole fit, compilation included; None leaves it to the optimisers' steps.
      grid: points per axis of the saved fields.
    Error estimate: the residual integrated over time (for a steady problem the residual itself) relative to the field: the
      error where the equation is of first order in time and does not amplify it, and an indication elsewhere.
    Fails when: the problem is chaotic or long in time (fit it in pieces), or float64 is off (a warning says so).
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
    budget: float | None = 60.0
    grid: int = 64

    def __post_init__(self):
        if self.budget is not None and not self.budget > 0:
            raise ValueError(f"Neural: budget must be a positive number of seconds or None, got {self.budget!r}.")
        if not (is_whole(self.grid) and self.grid > 0):
            raise ValueError(f"Neural: grid must be a positive whole number, got {self.grid!r}.")
        if not (callable(getattr(self.network, "init", None)) and callable(getattr(self.network, "apply", None))):
            raise TypeError(
                f"Neural: network must have init and apply, as js.networks.MLP((20, 20)) has, got {self.network!r}."
            )
        if not self._optimisers or not all(callable(getattr(o, "advance", None)) for o in self._optimisers):
            raise TypeError(
                "Neural: optimiser must be js.learning.FirstOrder(...), js.learning.LevenbergMarquardt(...), or a tuple of "
                f"such, got {self.optimiser!r}."
            )

    @property
    def _optimisers(self) -> tuple[Optimiser, ...]:
        return self.optimiser if isinstance(self.optimiser, tuple) else (self.optimiser,)

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`."""
        require_concrete(problem, "Neural")
        advise_float64("Neural")
        ts = None if problem.is_steady else jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
        keys = jax.random.split(jax.random.key(0) if key is None else key, max(16, 1 + len(self._optimisers)))
        objective = Objective.of(problem, self.network)
        with Stopwatch() as watch:
            deadline = time.perf_counter() + (math.inf if self.budget is None else self.budget)
            fit = start(objective, problem.coefficients, keys[0])
            for optimiser, key in zip(self._optimisers, keys[1:], strict=False):
                fit = minimise(
                    objective, optimiser, fit, problem.coefficients, key,
                    scheme=self.scheme, deadline=deadline, progress=progress,
                )  # fmt: skip
        field = NeuralField(objective, fit.unknowns, problem)
        grid = {name: jnp.linspace(*problem.domain[name], self.grid + 1) for name in problem.domain.space}
        fields = sample(field, ts, grid, problem.solids)
        stats = {"residual": fit.residual, "steps": fit.steps, "stopped": fit.stopped}
        stats["parameters"] = sum(np.size(leaf) for leaf in jax.tree.leaves(fit.unknowns))
        error = jnp.asarray(estimate_error(problem, fit.residual, fields), fields.dtype)
        return Solution(problem, ts, grid, fields, field, error, stats, watch.cost(training=True))


def estimate_error(problem: Problem, residual: float, fields: Any) -> float:
    """A relative error from a root mean square residual; see `Neural`, Error estimate."""
    size = float(jnp.sqrt(jnp.mean(fields**2)))
    duration = 1.0 if problem.is_steady else problem.domain["t"][1] - problem.domain["t"][0]
    return residual * duration / max(size, 1e-300)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeuralField:
    """A fitted network as a field of ONE point."""

    objective: Objective = dataclasses.field(metadata={"static": True})
    unknowns: Any
    problem: Problem

    def __call__(self, *point: Any) -> Any:
        return self.objective.field(self.unknowns, self.problem.coefficients)(*point)
