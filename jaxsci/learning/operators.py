"""Operators with physics: trained on the residual of a family of problems, then evaluated for any of them."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci._checks import is_traced, is_whole
from jaxsci._timing import Cost, Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.learning.collocation import in_domain
from jaxsci.learning.first_order import FirstOrder
from jaxsci.learning.grid_operator import GridObjective, check_grid_problem
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt
from jaxsci.learning.objective import Batch, Objective, equal_weights
from jaxsci.learning.operator_objective import Members, OperatorObjective
from jaxsci.learning.optimiser import Optimiser
from jaxsci.learning.training import Scheme, minimise, start
from jaxsci.networks import FNO, Network
from jaxsci.problems import Problem, Solution, saved_times
from jaxsci.problems.solution import sample


@dataclasses.dataclass(frozen=True)
class PhysicsInformedOperator:
    """An operator from a family of problems to their solutions, trained on the residual; data are optional.

    Initial and boundary conditions hold exactly for every member. Each collocation point has a member of its own, drawn anew
    with the points.

    Args:
      family: ``key -> Problem``, a pure function of a `jax.random.key`. Its draws are one problem with different coefficients:
        ``lambda key: js.problems.burgers(viscosity=jax.random.uniform(key, minval=0.02, maxval=0.1))``, or different starts by
        `Problem.with_initial`.
      network: of the members' numbers (standardised) followed by the coordinates: `jaxsci.networks.DeepONet`, or any network;
        or a `jaxsci.networks.FNO`, from the start on a grid and the scalar coefficients to the whole evolution, for problems
        that are periodic in space and of first order in time.
      optimiser: one, or several that run one after another. By default Adam and Levenberg-Marquardt; for an FNO Adam alone,
        whose `points` are then members, each with all of its grid (128 at most are looked at in a step).
      scheme: where and how much the residual counts; weights do not concern an FNO.
      budget: seconds of wall time, compilation included; None leaves it to the optimisers' steps.
      grid: intervals per axis of the saved fields, and points of an FNO's grid (one more where that is even).
      nodes: of an FNO in time (Chebyshev).
    Fails when: solutions of the family move or steepen by more than a few bases can follow; the error estimate of a solution,
      which comes from its own residual, says so, and also for a problem outside of the family's range.
    Raises:
      ValueError: the family's draws are all one problem, or no hard ansatz holds its conditions.
    Reference: Wang, Wang & Perdikaris (2021), Sci. Adv. 7, eabi8605.
    Example:
      >>> import jax, jaxsci as js
      >>> family = lambda key: js.problems.heat(diffusivity=jax.random.uniform(key, minval=0.1, maxval=0.5))
      >>> network = js.networks.DeepONet(js.networks.MLP((8,)), js.networks.MLP((8,)), sensors=1, rank=4)
      >>> method = js.learning.PhysicsInformedOperator(family, network, budget=0.01)  # seconds; a minute is useful
      >>> with jax.enable_x64(True):
      ...     operator = method.fit(jax.random.key(0))
      ...     solution = operator(js.problems.heat(diffusivity=0.3))
      >>> solution.fields.shape
      (51, 1, 65)
    """

    family: Callable[[Key], Problem]
    network: Network
    optimiser: Optimiser | tuple[Optimiser, ...] | None = None
    scheme: Scheme = dataclasses.field(default_factory=Scheme)
    budget: float | None = 300.0
    grid: int = 64
    nodes: int = 12

    def __post_init__(self):
        if not callable(self.family):
            raise TypeError(f"PhysicsInformedOperator: family must be a function key -> Problem, got {self.family!r}.")
        if not (callable(getattr(self.network, "init", None)) and callable(getattr(self.network, "apply", None))):
            raise TypeError(
                "PhysicsInformedOperator: network must have init and apply, as js.networks.DeepONet(...) has, got "
                f"{self.network!r}."
            )
        if not (is_whole(self.grid) and self.grid > 0):
            raise ValueError(f"PhysicsInformedOperator: grid must be a positive whole number, got {self.grid!r}.")
        if not (is_whole(self.nodes) and self.nodes >= 3):
            raise ValueError(f"PhysicsInformedOperator: nodes must be a whole number above 2, got {self.nodes!r}.")

    def fit(
        self, key: Key | None = None, *, data: Sequence[Solution] = (), samples: int = 256, progress: Progress = None
    ) -> TrainedOperator:
        """Train.

        Args:
          key: a `jax.random.key`; ``jax.random.key(0)`` by default.
          data: solutions of members, of any method; their mean square misfit joins the residual's.
          samples: points at which each of them is looked at.
          progress: called with a line of text now and then.
        """
        keys = jax.random.split(jax.random.key(0) if key is None else key, 16)
        with Stopwatch() as watch:
            deadline = time.perf_counter() + (math.inf if self.budget is None else self.budget)
            problem = self.family(jax.random.key(0))
            objective = self._objective(problem)
            observed = _observed(objective, data, samples, keys[0]) if len(data) else None
            fit = start(objective, problem.coefficients, keys[1], observed)
            for optimiser, draw in zip(self._optimisers, keys[2:], strict=False):
                fit = minimise(
                    objective, optimiser, fit, problem.coefficients, draw,
                    scheme=self.scheme, observed=observed, deadline=deadline, progress=progress,
                )  # fmt: skip
        stats = {"residual": fit.residual, "steps": fit.steps, "stopped": fit.stopped}
        stats["parameters"] = sum(np.size(leaf) for leaf in jax.tree.leaves(fit.unknowns))
        return TrainedOperator(objective, fit.unknowns, stats, watch.cost(training=True), self.grid)

    @property
    def _optimisers(self) -> tuple[Optimiser, ...]:
        if self.optimiser is None:
            on_grid = isinstance(self.network, FNO)
            return (FirstOrder(points=16),) if on_grid else (FirstOrder(), LevenbergMarquardt(steps=200))
        return self.optimiser if isinstance(self.optimiser, tuple) else (self.optimiser,)

    def _objective(self, problem: Problem) -> OperatorObjective:
        if not isinstance(problem, Problem):
            raise TypeError(f"PhysicsInformedOperator: family(key) must be a Problem, got {type(problem).__name__}.")
        plain, members = Objective.of(problem, self.network), Members.of(self.family)
        parts = (plain.conditions, plain.network, plain.equation)
        if isinstance(self.network, FNO):
            check_grid_problem(problem)
            return GridObjective(*parts, members=members, n=self.grid + 1 - self.grid % 2, nodes=self.nodes)
        sensors, count = getattr(self.network, "sensors", len(members.varying)), len(members.varying)
        if sensors != count:
            raise ValueError(
                f"PhysicsInformedOperator: the members of the family differ in {count} numbers, but the network has "
                f"{sensors} sensors; give it sensors={count}."
            )
        return OperatorObjective(*parts, members=members)


def _observed(objective: OperatorObjective, data: Sequence[Solution], samples: int, key: Any) -> Batch:
    """Solutions as the data of a batch."""
    for solution in data:
        _check_member(objective, solution.problem)
    seen = [objective.observe(solution, samples, jax.random.fold_in(key, i)) for i, solution in enumerate(data)]
    points, targets = (jnp.concatenate(parts) for parts in zip(*seen, strict=True))
    return Batch({"data": points}, equal_weights({"data": points}, {"data": targets.shape[1]}), {"data": targets})


def _check_member(objective: OperatorObjective, problem: Any) -> None:
    template = objective.conditions.problem
    if not (isinstance(problem, Problem) and problem._static() == template._static()):
        raise ValueError(f"The operator was trained for the family of {template!r}, to which {problem!r} does not belong.")
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(problem.coefficients)]
    if shapes != [np.shape(leaf) for leaf in jax.tree.leaves(template.coefficients)]:
        raise ValueError(
            f"{problem.name}: its coefficients have the shapes {shapes}, those of the family "
            f"{[np.shape(leaf) for leaf in jax.tree.leaves(template.coefficients)]}."
        )
    if is_traced(problem):
        return
    numbers, mean = np.asarray(ravel_pytree(problem.coefficients)[0]), np.asarray(objective.members.mean)
    fixed = np.setdiff1d(np.arange(len(mean)), objective.members.varying)
    if not np.allclose(numbers[fixed], mean[fixed], rtol=1e-5, atol=1e-12):
        raise ValueError(f"{problem.name} differs from the family in a coefficient that all its members share: {problem!r}.")


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedOperator:
    """A trained operator: ``operator(problem) -> Solution``; also a method for `jaxsci.solve` and `jaxsci.compare`.

    Attributes:
      unknowns: the parameters of the network.
      stats, cost: of the training.
    """

    objective: OperatorObjective
    unknowns: Any
    stats: dict[str, Any]
    cost: Cost
    grid: int

    def __call__(self, problem: Problem, ts: SavedTimes = None) -> Solution:
        return self.solve(problem, ts=ts)

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """The solution of a member: one evaluation, nothing is fitted. Its cost is that of the evaluation.

        Raises:
          ValueError: the problem is no member of the family.
        """
        del key, progress
        _check_member(self.objective, problem)
        ts = None if problem.is_steady else jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
        grid = {name: jnp.linspace(*problem.domain[name], self.grid + 1) for name in problem.domain.space}
        with Stopwatch() as watch:
            field = OperatorField(self.objective, self.unknowns, problem)
            fields = jax.block_until_ready(sample(field, ts, grid, problem.solids))
        residual = _own_residual(self.objective, self.unknowns, problem)
        duration = 1.0 if problem.is_steady else problem.domain["t"][1] - problem.domain["t"][0]
        error = duration * residual / jnp.sqrt(jnp.mean(fields**2))  # as `Neural` estimates it
        cost = Cost() if is_traced(problem) else watch.cost()
        return Solution(problem, ts, grid, fields, field, error, {"residual": residual}, cost)


@functools.partial(jax.jit, static_argnames=("objective",))
def _own_residual(objective: OperatorObjective, unknowns: Any, problem: Problem) -> Any:
    """Root mean square of the residual of one member."""
    points = jnp.stack(in_domain(problem, 1024, jax.random.key(0)), axis=-1)
    field = objective.field(unknowns, problem.coefficients)
    return jnp.sqrt(jnp.mean(objective.equation(field, problem.coefficients, points) ** 2))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OperatorField:
    """The solution of a member as a field of ONE point."""

    objective: OperatorObjective = dataclasses.field(metadata={"static": True})
    unknowns: Any
    problem: Problem

    def __call__(self, *point: Any) -> Any:
        return self.objective.field(self.unknowns, self.problem.coefficients)(*point)
