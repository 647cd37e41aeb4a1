r"""Operators with physics: one network for a family of problems, trained on the residual of their equation.

A family is a function ``key -> Problem`` whose draws differ in coefficients, those of a start (`Problem.with_initial`) included.
Its members' numbers s join the coordinates: the network sees (s, z), and a collocation point is a point of space and time together
with a member. So the objective is that of a single problem in more dimensions, and every optimiser, sampling and weighting of
`jaxsci.learning` works on it as it is.

Reference: Wang, Wang & Perdikaris (2021), Sci. Adv. 7, eabi8605 (physics-informed DeepONet); here with hard conditions, so that
the residual is the only loss, and a member of its own for every point.
"""

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
from jaxsci.learning.collocation import in_box, quasi_random
from jaxsci.learning.first_order import FirstOrder
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt
from jaxsci.learning.objective import Batch, Objective, equal_weights
from jaxsci.learning.optimiser import Optimiser
from jaxsci.learning.training import Scheme, minimise, start
from jaxsci.networks import Network
from jaxsci.problems import Problem, Solution, saved_times
from jaxsci.problems.solution import sample

_DRAWS = 1024  # members from which the ranges of their numbers are taken


@dataclasses.dataclass(frozen=True)
class Members:
    """The numbers in which the members of a family differ. Static."""

    family: Callable[[Any], Problem]
    mean: tuple[float, ...]  # of all coefficients, flattened
    deviation: tuple[float, ...]

    @staticmethod
    def of(family: Callable[[Any], Problem]) -> Members:
        keys = jax.random.split(jax.random.key(0), _DRAWS)
        numbers = np.asarray(jax.jit(jax.vmap(lambda key: ravel_pytree(family(key).coefficients)[0]))(keys))
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
        numbers = jax.vmap(lambda key: ravel_pytree(self.family(key).coefficients)[0])(jax.random.split(key, count))
        return numbers[:, self.varying]

    def numbers(self, coefficients: Any) -> Any:
        return ravel_pytree(coefficients)[0][self.varying]

    def coefficients(self, like: Any, numbers: Any) -> Any:
        """The coefficients of the member with these numbers."""
        return ravel_pytree(like)[1](jnp.asarray(self.mean, numbers.dtype).at[self.varying].set(numbers))

    def standardised(self, numbers: Any) -> Any:
        """Mean zero and deviation one over the family: the sensors of the network."""
        mean, deviation = (np.asarray(part)[self.varying] for part in (self.mean, self.deviation))
        return (numbers - mean.astype(numbers.dtype)) / deviation.astype(numbers.dtype)


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

    def _split(self, like: Any, point: Any) -> tuple[Any, Any]:
        """The coordinates and the coefficients of the member."""
        count = len(self.conditions.problem.coordinates)
        return point[:count], self.members.coefficients(like, point[count:])


@dataclasses.dataclass(frozen=True)
class PhysicsInformedOperator:
    """An operator from a family of problems to their solutions, trained on the residual; data are optional.

    Initial and boundary conditions hold exactly for every member. Each collocation point has a member of its own, drawn anew
    with the points.

    Args:
      family: ``key -> Problem``, a pure function of a `jax.random.key`. Its draws are one problem with different coefficients:
        ``lambda key: js.problems.burgers(viscosity=jax.random.uniform(key, minval=0.02, maxval=0.1))``, or different starts by
        `Problem.with_initial`.
      network: of the members' numbers (standardised) followed by the coordinates: `jaxsci.networks.DeepONet`, or any network.
      optimiser: one, or several that run one after another. Levenberg-Marquardt with many points for a small network.
      scheme: where and how much the residual counts.
      budget: seconds of wall time, compilation included; None leaves it to the optimisers' steps.
      grid: points per axis of the saved fields.
    Fails when: solutions of the family move or steepen by more than a few bases can follow; the error estimate of a solution,
      which comes from its own residual, says so, and also for a problem outside of the family's range.
    Raises:
      ValueError: the family's draws are all one problem, or no hard ansatz holds its conditions.
    Reference: Wang, Wang & Perdikaris (2021), Sci. Adv. 7, eabi8605.
    Example:
      >>> import jax, jaxsci as js
      >>> family = lambda key: js.problems.heat(diffusivity=jax.random.uniform(key, minval=0.1, maxval=0.5))
      >>> network = js.networks.DeepONet(js.networks.MLP((8,)), js.networks.MLP((8,)), sensors=1, rank=4)
      >>> adam = js.learning.FirstOrder(steps=100, points=100)
      >>> with jax.enable_x64(True):
      ...     operator = js.learning.PhysicsInformedOperator(family, network, adam).fit(jax.random.key(0))
      ...     solution = operator(js.problems.heat(diffusivity=0.3))
      >>> solution.fields.shape
      (51, 1, 65)
    """

    family: Callable[[Key], Problem]
    network: Network
    optimiser: Optimiser | tuple[Optimiser, ...] = (FirstOrder(steps=2000), LevenbergMarquardt(steps=200))
    scheme: Scheme = dataclasses.field(default_factory=Scheme)
    budget: float | None = 300.0
    grid: int = 64

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
            optimisers = self.optimiser if isinstance(self.optimiser, tuple) else (self.optimiser,)
            for optimiser, draw in zip(optimisers, keys[2:], strict=False):
                fit = minimise(
                    objective, optimiser, fit, problem.coefficients, draw,
                    scheme=self.scheme, observed=observed, deadline=deadline, progress=progress,
                )  # fmt: skip
        stats = {"residual": fit.residual, "steps": fit.steps, "stopped": fit.stopped}
        stats["parameters"] = sum(np.size(leaf) for leaf in jax.tree.leaves(fit.unknowns))
        return TrainedOperator(objective, fit.unknowns, stats, watch.cost(training=True), self.grid)

    def _objective(self, problem: Problem) -> OperatorObjective:
        if not isinstance(problem, Problem):
            raise TypeError(f"PhysicsInformedOperator: family(key) must be a Problem, got {type(problem).__name__}.")
        plain, members = Objective.of(problem, self.network), Members.of(self.family)
        sensors, count = getattr(self.network, "sensors", len(members.varying)), len(members.varying)
        if sensors != count:
            raise ValueError(
                f"PhysicsInformedOperator: the members of the family differ in {count} numbers, but the network has "
                f"{sensors} sensors; give it sensors={count}."
            )
        return OperatorObjective(plain.conditions, plain.network, plain.equation, members=members)


def _observed(objective: OperatorObjective, data: Sequence[Solution], samples: int, key: Any) -> Batch:
    """Solutions at random points, with the numbers of their members."""
    domain, points, targets = objective.conditions.problem.domain, [], []
    for i, solution in enumerate(data):
        _check_member(objective, solution.problem)
        unit = jax.random.uniform(jax.random.fold_in(key, i), (samples, len(domain.coordinates)), jnp.result_type(float))
        low, high = jnp.asarray([domain[c] for c in domain.coordinates]).T
        place = low + (high - low) * unit
        values = solution.evaluate(**{c: place[:, k] for k, c in enumerate(domain.coordinates)})
        numbers = objective.members.numbers(solution.problem.coefficients)
        points.append(jnp.concatenate([place, jnp.broadcast_to(numbers, (samples, len(numbers)))], axis=1))
        targets.append(jnp.atleast_2d(values).T)
    together = {"data": jnp.concatenate(points)}
    return Batch(together, equal_weights(together, {"data": targets[0].shape[1]}), {"data": jnp.concatenate(targets)})


def _check_member(objective: OperatorObjective, problem: Any) -> None:
    template = objective.conditions.problem
    if not (isinstance(problem, Problem) and problem._static() == template._static()):
        raise ValueError(f"The operator was trained for the family of {template!r}, to which {problem!r} does not belong.")
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
            fields = jax.block_until_ready(sample(field, ts, grid))
        residual = _own_residual(self.objective, self.unknowns, problem)
        duration = 1.0 if problem.is_steady else problem.domain["t"][1] - problem.domain["t"][0]
        error = duration * residual / jnp.sqrt(jnp.mean(fields**2))  # as `Neural` estimates it
        cost = Cost() if is_traced(problem) else watch.cost()
        return Solution(problem, ts, grid, fields, field, error, {"residual": residual}, cost)


@functools.partial(jax.jit, static_argnames=("objective",))
def _own_residual(objective: OperatorObjective, unknowns: Any, problem: Problem) -> Any:
    """Root mean square of the residual of one member."""
    domain = problem.domain
    points = jnp.stack(in_box(domain, quasi_random(1024, len(domain.coordinates), jax.random.key(0))), axis=-1)
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
