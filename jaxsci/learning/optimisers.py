"""Optimisers of a least-squares objective: first order by optax, and Levenberg-Marquardt by orthogonal factorisation.

An optimiser is a frozen description with one verb, ``minimise``.  Optimisers run one after another, each starting from the
best parameters of the last.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxsci._checks import is_whole
from jaxsci.learning.least_squares import damped, triangle
from jaxsci.learning.objective import Objective, draw_points, even_points
from jaxsci.problems import Problem


class Fit(NamedTuple):
    """Parameters, and what became of them."""

    parameters: Any
    residual: float  # root mean square at evenly spread points that no step has seen
    steps: int
    stopped: str  # why: "steps", "budget", "converged", "not finite"


class Optimiser(Protocol):
    """How to make residuals small. `deadline` is a time on the clock of `time.perf_counter`."""

    def minimise(
        self, objective: Objective, fit: Fit, problem: Problem, key: Any, deadline: float, progress: Callable | None
    ) -> Fit: ...


def _check_positive(optimiser: Any, *names: str) -> None:
    for name in names:
        value = getattr(optimiser, name)
        if not (is_whole(value) and value > 0):
            raise ValueError(f"{type(optimiser).__name__}: {name} must be a positive whole number, got {value!r}.")


@functools.partial(jax.jit, static_argnames=("objective",))
def _root_mean_square(objective: Objective, parameters: Any, problem: Problem, points: Any) -> Any:
    return jnp.sqrt(jnp.mean(objective(parameters, problem, points) ** 2))


_CHECKS = 4096  # points at which parameters are judged


def start(objective: Objective, problem: Problem, key: Any) -> Fit:
    """Fresh parameters."""
    parameters = objective.init(key)
    return Fit(parameters, _judge(objective, parameters, problem), 0, "steps")


def _judge(objective: Objective, parameters: Any, problem: Problem) -> float:
    """Residual at fixed points: the measure by which the best parameters of a run are kept."""
    points = even_points(objective, jax.random.key(20261121), _CHECKS)
    return float(_root_mean_square(objective, parameters, problem, points))


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    """Stochastic descent of the mean square residual by an optax transformation: a rough start for a second-order method.

    Args:
      transformation: any `optax.GradientTransformation`; by default Adam from 3e-3, halved four times on the way.
      steps: how many.
      points: per step; drawn anew every hundred steps, denser where the residual is large.
    """

    transformation: optax.GradientTransformation | None = None
    steps: int = 1000
    points: int = 2000

    def __post_init__(self):
        _check_positive(self, "steps", "points")

    def minimise(
        self, objective: Objective, fit: Fit, problem: Problem, key: Any, deadline: float, progress: Callable | None
    ) -> Fit:
        transformation = self.transformation or _default_adam(self.steps)
        parameters, state = fit.parameters, transformation.init(fit.parameters)
        done, stopped, chunk = 0, "steps", min(100, self.steps)
        while done < self.steps:
            chunk = min(chunk, self.steps - done)
            if time.perf_counter() > deadline:
                stopped = "budget"
                break
            points = draw_points(objective, parameters, problem, jax.random.fold_in(key, done), self.points)
            parameters, state, loss = _descend(objective, transformation, chunk, parameters, state, problem, points)
            done += chunk
            if not jnp.isfinite(loss):
                return Fit(fit.parameters, fit.residual, fit.steps + done, "not finite")
            if progress is not None:
                progress(f"{type(self).__name__} step {done}: residual {float(loss) ** 0.5:.1e}")
        return Fit(parameters, _judge(objective, parameters, problem), fit.steps + done, stopped)


@functools.lru_cache(maxsize=8)
def _default_adam(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.exponential_decay(3e-3, max(steps // 4, 1), 0.5))


@functools.partial(jax.jit, static_argnames=("objective", "transformation", "count"))
def _descend(objective, transformation, count, parameters, state, problem, points):
    def loss(parameters):
        return jnp.mean(objective(parameters, problem, points) ** 2)

    def body(carry, _):
        parameters, state = carry
        value, gradient = jax.value_and_grad(loss)(parameters)
        updates, state = transformation.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), value

    (parameters, state), losses = jax.lax.scan(body, (parameters, state), length=count)
    return parameters, state, losses[-1]


@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt:
    r"""min_p |r(p)|^2 by steps  argmin |r + J d|^2 + mu^2 |d|^2,  each from a QR factorisation of the Jacobian.

    J is never squared: its small singular values, which carry the last digits, survive.  The damping follows the *target
    ratio* rule: the boldest step is taken whose actual decrease is at least `target_ratio` of the predicted one.

    Args:
      points: collocation points; by default 2.2 per parameter.
      resample: draw new points after so many steps. Keeping them for some steps matters: drawn at every step, their noise
        stalls the descent.
      target_ratio: of actual to predicted decrease.
      damping: the first one; afterwards it is halved or doubled.
      max_steps: where to stop without a budget.
    Reference: Levenberg (1944); Marquardt (1963); Nocedal & Wright (2006), *Numerical Optimization*, section 10.3.
    """

    points: int | None = None
    resample: int = 10
    target_ratio: float = 0.15
    damping: float = 1.0
    max_steps: int = 2000

    def __post_init__(self):
        _check_positive(self, "resample", "max_steps", *(["points"] if self.points is not None else []))
        if not (0 < self.target_ratio < 1 and self.damping > 0):
            raise ValueError(
                "LevenbergMarquardt: target_ratio must lie between 0 and 1 and damping be positive, got "
                f"{self.target_ratio!r} and {self.damping!r}."
            )

    def minimise(
        self, objective: Objective, fit: Fit, problem: Problem, key: Any, deadline: float, progress: Callable | None
    ) -> Fit:
        flat, unravel = ravel_pytree(fit.parameters)
        equations = len(problem.equation.residuals)
        count = self.points or max(256, int(2.2 * flat.size / equations))
        best, damping, step, stopped, failures = fit, self.damping, 0, "steps", 0
        points = None
        while step < self.max_steps:
            if step % self.resample == 0:
                if step:
                    judged = _judge(objective, unravel(flat), problem)
                    if judged < best.residual:
                        best = Fit(unravel(flat), judged, fit.steps + step, stopped)
                    if progress is not None and step % (10 * self.resample) == 0:
                        progress(f"{type(self).__name__} step {step}: residual {judged:.1e}, damping {damping:.1e}")
                points = draw_points(objective, unravel(flat), problem, jax.random.fold_in(key, step), count)
            if time.perf_counter() > deadline:
                stopped = "budget"
                break
            factor, right, square = _factorise(objective, unravel(flat), problem, points)
            if not jnp.isfinite(square):
                stopped = "not finite"
                break
            damping, accepted = damping / 2, False
            for _ in range(30):
                candidate, ratio = _attempt(objective, flat, unravel(flat), factor, right, damping, problem, points, square)
                if float(ratio) >= self.target_ratio:  # false for NaN
                    flat, accepted = candidate, True
                    break
                damping *= 2
            failures = 0 if accepted else failures + 1
            step += 1
            if failures == 3 or float(square) == 0.0:
                stopped = "converged"
                break
        judged = _judge(objective, unravel(flat), problem)
        if judged < best.residual:
            best = Fit(unravel(flat), judged, fit.steps + step, stopped)
        return best._replace(steps=fit.steps + step, stopped=stopped)


@functools.partial(jax.jit, static_argnames=("objective",))
def _factorise(objective: Objective, parameters: Any, problem: Problem, points: Any) -> tuple[Any, Any, Any]:
    """R and -Q'r of the Jacobian of all residuals, and their sum of squares.

    One reverse pass per point gives its row: each residual depends on its own point only.
    """
    flat, unravel = ravel_pytree(parameters)

    def at_point(point):
        def of_parameters(flat):
            return objective(unravel(flat), problem, point[None])[0]

        return of_parameters(flat), jax.jacrev(of_parameters)(flat)

    values, rows = jax.vmap(at_point)(points)
    factor, right = triangle(rows.reshape(-1, flat.size), -values.reshape(-1))
    return factor, right, jnp.sum(values**2)


@functools.partial(jax.jit, static_argnames=("objective",))
def _attempt(objective, flat, parameters, factor, right, damping, problem, points, square) -> tuple[Any, Any]:
    """The damped step, and the ratio of actual to predicted decrease of the sum of squares."""
    unravel = ravel_pytree(parameters)[1]
    change = damped(factor, right, damping)
    predicted = jnp.sum(right**2) - jnp.sum((right - factor @ change) ** 2)
    actual = square - jnp.sum(objective(unravel(flat + change), problem, points) ** 2)
    return flat + change, actual / predicted
