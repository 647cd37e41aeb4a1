"""The stages of an inverse problem: the equation held more and more strictly, until the answer no longer depends on it."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci._types import Progress
from jaxsci.learning.budget import Budget
from jaxsci.learning.features import draw
from jaxsci.learning.free import LearnedField, SolvedField, values_of
from jaxsci.learning.levenberg_marquardt import LevenbergMarquardt
from jaxsci.learning.neural import Neural
from jaxsci.learning.objective import Batch, Coefficients, Unknowns, residual_at
from jaxsci.learning.observations import Data
from jaxsci.learning.optimiser import NOT_FINITE, RUNNING
from jaxsci.learning.posterior import Posterior, posterior
from jaxsci.learning.random_features import RandomFeatures
from jaxsci.learning.sampling import even_points
from jaxsci.learning.tabulated import TabulatedField
from jaxsci.learning.training import minimise, start
from jaxsci.problems import Problem

_SHARES = tuple(10.0**-k for k in range(8))  # tau, stage by stage
_FINE_SHARES = tuple(10.0 ** (-k / 2) for k in range(12))  # in a window, where it is the features that end the descent
NOISE = 1e-2  # of an unknown's size: what is assumed until the misfit says better
_SETTLED = 0.1  # standard deviations by which coefficients may move in the last stage, and share by which these may change
_WORSE = 1.2  # factor on the mean square misfit that shows that the field cannot follow
_STRICT = 1e-2  # tau from which on a misfit of unknown noise says something
_CHANCE = 4.0  # standard deviations of a chi-square variable that do not happen by chance
_MANY = 100  # degrees of freedom that tell the noise to a tenth
_STEPS = 30  # of one stage at most


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage's outcome."""

    objective: Any
    unknowns: Unknowns
    coefficients: Coefficients  # the first guesses, which the scaled variables refer to
    positive: tuple[str, ...]
    posterior: Posterior
    tau: float
    stopped: str
    known: bool
    count: int
    steps: int = 0
    settled: bool = True
    residual: float = 0.0  # root mean square of the equation's residual beside its largest term


def run_stages(stages: Iterator[Stage], progress: Progress) -> Stage:
    """Stage after stage, until the coefficients and their standard deviations no longer depend on tau.

    Where the field cannot obey the equation more strictly (the misfit grows by more than chance, or the residual no longer
    falls while it grows), what is left is the ansatz' own error, and the stage before is the answer.
    """
    last: Stage | None = None
    for done in stages:
        settled = False
        if last is not None:
            spread, before = (np.sqrt(np.diag(stage.posterior.covariance)) for stage in (done, last))
            moved = np.abs(_flat(done) - _flat(last))
            settled = bool((moved <= _SETTLED * spread).all() and (np.abs(spread - before) <= _SETTLED * spread).all())
            misfits = [float(stage.posterior.misfit) for stage in (last, done)]
            worse = not misfits[1] < _WORSE * misfits[0]
            wrong = not misfits[1] < _WORSE if done.known else last.tau <= _STRICT  # misfits grow while tau is large
            stuck = done.residual > last.residual / 2 and worse and wrong
            if not settled and (stuck or _contradicts(last, done)):
                return last
        done = dataclasses.replace(done, settled=settled, steps=done.steps + (last.steps if last else 0))
        if progress is not None:
            values = values_of(done.unknowns["coefficients"], done.coefficients, done.positive)
            shown = {name: float(value) for name, value in values.items() if np.ndim(value) == 0 and not callable(value)}
            progress(f"fit, tau = {done.tau:.0e}: {shown}, misfit {float(done.posterior.misfit) ** 0.5:.1e}, "
                     f"equation {done.residual:.1e}")  # fmt: skip
        if done.settled or done.stopped in ("not finite", "budget"):
            return done
        last = done
    assert last is not None  # This is a bug in jaxsci: there are several stages.
    return last


def _contradicts(last: Stage, done: Stage) -> bool:
    """Whether the stricter equation costs more than the freedom that it takes away: a likelihood ratio test.

    Where field and equation are right, the sum of whitened squares rises by a chi-square variable with as many degrees of
    freedom as tau took from the effective parameters (Wilks 1938, Ann. Math. Stat. 9, 60).
    """
    freedom = last.count - float(last.posterior.effective)
    if freedom < max(_MANY, last.count / 2):  # a field that goes through the data says nothing about their noise
        return False
    before, after = (stage.count * float(stage.posterior.misfit) for stage in (last, done))
    variance = max(before / freedom, 1.0 if last.known else 0.0)  # more than one where the noise was understated
    taken = max(float(last.posterior.effective - done.posterior.effective), 1.0)
    return not after - before < variance * (taken + _CHANCE * math.sqrt(2 * taken))


def _flat(done: Stage) -> np.ndarray:
    return np.asarray(ravel_pytree(done.unknowns["coefficients"])[0])


def feature_stages(
    problem: Problem, data: Data, names: Any, positive: Any, method: RandomFeatures, key: Any, progress: Progress
) -> Iterator[Stage]:
    """Frozen features: Levenberg-Marquardt with hardly any damping, at points that stay."""
    draws, spots = jax.random.split(key)
    layer = Frozen.of(method, len(problem.coordinates), int(jax.random.randint(draws, (), 0, 2**31 - 1)))
    kind = (
        TabulatedField if problem.is_window else LearnedField
    )  # behind conditions a field need not be linear in its features
    objective = kind.with_free(problem, layer, names, positive, data.seen)
    coefficients = problem.coefficients
    unknowns = objective.init(key, coefficients)
    points = objective.at_equation(even_points(objective, spots, method.points or 4 * _units(method)))
    observed = objective.at_data(_observed(data))
    least = min(1e-2, 1 / data.total)  # share by which the loss must fall: the likelihood knows differences of order one
    optimiser = LevenbergMarquardt(damping=1e-8)
    deadline = time.perf_counter() + (math.inf if method.budget is None else method.budget)
    size = None
    for tau in _FINE_SHARES if problem.is_window else _SHARES:
        size = _term_size(objective, unknowns, coefficients, points) if size is None else size
        batch = _batch(objective, observed, points, tau, size)
        state = optimiser.init(objective, unknowns, coefficients)
        losses, stopped = [math.inf], "steps"
        while len(losses) < _STEPS:
            state = optimiser.advance(objective, coefficients, state, batch, 1)
            losses.append(float(state.loss))  # before the step
            if int(state.status) != RUNNING or not losses[-1] < (1 - least) * losses[max(len(losses) - 4, 0)]:
                stopped = "not finite" if int(state.status) == NOT_FINITE else "converged"
                break
            if time.perf_counter() > deadline:
                stopped = "budget"
                break
        unknowns, steps = state.unknowns, len(losses)
        gaussian = posterior(objective, unknowns, coefficients, batch, data.total, data.known)
        yield Stage(
            objective,
            unknowns,
            coefficients,
            positive,
            gaussian,
            tau,
            stopped,
            data.known,
            data.total,
            steps,
            residual=_relative(objective, unknowns, coefficients, points, size),
        )
        size = _term_size(objective, unknowns, coefficients, points)  # of the field that the data have drawn


def network_stages(
    problem: Problem, data: Data, names: Any, positive: Any, method: Neural, key: Any, progress: Progress
) -> Iterator[Stage]:
    """A network: all optimisers of the method for the first stage, the last of them for the others."""
    optimisers = method.optimisers
    objective = LearnedField.with_free(problem, method.network, names, positive, data.seen, method.outputs)
    coefficients, keys = problem.coefficients, jax.random.split(key, 64)
    state = start(objective, coefficients, keys[0])
    count = optimisers[-1].count(sum(leaf.size for leaf in jax.tree.leaves(state.unknowns)), len(problem.equation.residuals))
    points = even_points(objective, keys[1], count)
    deadline = time.perf_counter() + Budget.of(method.budget).seconds
    for stage, tau in enumerate(_SHARES[:5]):
        size = _term_size(objective, state.unknowns, coefficients, points)
        whole = _batch(objective, _observed(data), points, tau, size)
        observed = Batch(*({"data": group["data"]} for group in whole))
        # The equation counts by its mean square; the data are scaled to it.
        factor = len(points) * whole.weights["equation"][0, 0]
        observed = observed._replace(weights={"data": whole.weights["data"] / factor})
        state = state._replace(residual=math.inf, steps=0)
        left = (deadline - time.perf_counter()) / (len(_SHARES[:5]) - stage)
        until = time.perf_counter() + left
        for index, optimiser in enumerate(optimisers if stage == 0 else optimisers[-1:]):
            state = minimise(
                objective, optimiser, state, coefficients, keys[2 + 8 * stage + index],
                scheme=method.scheme, observed=observed, deadline=until, progress=progress,
            )  # fmt: skip
        over = time.perf_counter() > deadline
        stopped = "budget" if over else state.stopped if state.stopped != "budget" else "steps"
        gaussian = posterior(objective, state.unknowns, coefficients, whole, data.total, data.known)
        yield Stage(
            objective,
            state.unknowns,
            coefficients,
            positive,
            gaussian,
            tau,
            stopped,
            data.known,
            data.total,
            state.steps,
            residual=_relative(objective, state.unknowns, coefficients, points, size),
        )


def _batch(objective: LearnedField, observed: Batch, points: Any, tau: float, size: Any) -> Batch:
    """Collocation points and observations, weighted so that the loss is the mean square misfit in standard deviations."""
    count, rows = len(jax.tree.leaves(points)[0]), len(objective.equation.equation.residuals)
    weights = {"equation": jnp.full((count, rows), 1 / (count * (tau * size) ** 2))}
    return Batch({"equation": points} | observed.points, weights | observed.weights, dict(observed.targets))


def _observed(data: Data) -> Batch:
    weights = data.weights if data.known else data.weights / NOISE**2
    return Batch({"data": data.points}, {"data": weights}, {"data": data.targets})


@functools.partial(jax.jit, static_argnames=("objective",))
def _term_size(objective: LearnedField, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> Any:
    """Root mean square of the largest term of the linearised equations, over points and equations: a scalar."""
    values = objective.all_coefficients(unknowns, coefficients)
    columns = objective.columns(points)
    partials = objective.partials(unknowns, coefficients, points)
    zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
    function = lambda given: objective.equation.from_partials(given, columns, values)  # noqa: E731
    terms = [jax.jvp(function, (partials,), (zeros | {key: value},))[1] for key, value in partials.items()]
    size = jnp.sqrt(jnp.max(jnp.stack([jnp.mean(term**2) for term in terms])))
    return jnp.where(size > 0, size, 1.0)


def _relative(objective: LearnedField, unknowns: Unknowns, coefficients: Coefficients, points: Any, size: Any) -> float:
    return float(jnp.sqrt(jnp.mean(residual_at(objective, unknowns, coefficients, points) ** 2)) / size)


# --- through a solver ------------------------------------------------------------------------------------------------


def through_solver(problem: Problem, data: Data, names: Any, positive: Any, method: Any, progress: Progress) -> Stage:
    """Levenberg-Marquardt on the coefficients alone."""
    derivative = next((name for name, (_, letters) in zip(data.names, data.seen, strict=True) if letters), None)
    if derivative is not None:
        raise ValueError(
            f"fit: {derivative} is a derivative, which only js.RandomFeatures(...) and js.Neural(...) can be fitted to."
        )
    objective = SolvedField.of(problem, method, _times(problem, data), names, positive, data.seen)
    coefficients = problem.coefficients
    unknowns = objective.init(None, coefficients)
    batch = _observed(data)
    optimiser = LevenbergMarquardt()
    state, best, steps, stopped = optimiser.init(objective, unknowns, coefficients), math.inf, 0, "steps"
    while steps < 100:
        state = optimiser.advance(objective, coefficients, state, batch, 1)
        steps, loss = steps + 1, float(state.loss)
        if steps == 1 and int(state.status) == NOT_FINITE:
            raise FloatingPointError(
                f"fit: {type(method).__name__} finds no finite solution of {problem.name} at the first guess {coefficients}; "
                "start nearer, or use js.RandomFeatures(...), which integrates nothing."
            )
        if progress is not None:
            progress(f"fit, step {steps}: misfit {loss**0.5:.2e}")
        if int(state.status) != RUNNING or not loss < (1 - 1e-6) * best:
            stopped = "not finite" if int(state.status) == NOT_FINITE else "converged"
            break
        best = loss
    gaussian = posterior(objective, state.unknowns, coefficients, batch, data.total, data.known)
    return Stage(objective, state.unknowns, coefficients, positive, gaussian, 0.0, stopped, data.known, data.total, steps)


def _times(problem: Problem, data: Data) -> np.ndarray:
    """Where a solver saves: at the observations' times where these are few, else densely, for its own interpolation."""
    if problem.is_steady:
        return np.zeros(0)
    start_, end = problem.domain["t"]
    seen = np.unique(np.clip(np.asarray(data.points[:, 0], float), start_, end))
    if len(seen) > 300:
        return np.linspace(start_, seen[-1], 257)
    return seen if len(seen) > 1 else np.unique([start_, *seen, end])


# --- features as a network ------------------------------------------------------------------------------------------


def _units(method: RandomFeatures) -> int:
    return method.n or 200


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A network whose only parameters are those of its last layer: tanh units with random slopes of many sizes.

    The slopes are spread evenly in their logarithm from 1/2 to `steepest`, so that no scale has to be known.
    """

    units: int
    flattest: float
    steepest: float
    seed: int

    @staticmethod
    def of(method: RandomFeatures, inputs: int, seed: int) -> Frozen:
        units = _units(method)
        if method.scale is not None:
            return Frozen(units, method.scale, method.scale, seed)
        return Frozen(units, 0.5, max(min(units ** (1 / inputs) / 2, 20.0), 2.0), seed)

    def init(self, key: Any, inputs: int, outputs: int) -> dict[str, Any]:
        return {"coefficients": jnp.zeros((outputs, self.units))}

    def apply(self, parameters: Mapping[str, Any], z: Any) -> Any:
        return parameters["coefficients"] @ self.units_at(z.astype(parameters["coefficients"].dtype))

    def units_at(self, z: Any) -> Any:
        """All units at inputs, ``[M]``."""
        # Behind a barrier, or the compiler multiplies constants with constants for seconds.
        weights, biases = jax.lax.optimization_barrier([jnp.asarray(a, z.dtype) for a in _frozen(self, z.shape[-1])])
        return jnp.tanh(z @ weights + biases)


@functools.lru_cache(maxsize=16)
def _frozen(layer: Frozen, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases as constants: some kilobytes."""
    sizes = np.geomspace(layer.flattest, layer.steepest, layer.units)
    with jax.ensure_compile_time_eval():
        weights, biases = draw(jax.random.key(layer.seed), inputs, layer.units, jnp.asarray(sizes))
    return np.asarray(weights), np.asarray(biases)
