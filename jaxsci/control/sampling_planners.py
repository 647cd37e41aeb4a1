r"""Plans by sampling sequences of actions: model predictive path integrals (MPPI) and the cross-entropy method (CEM).

Both draw sequences around a mean, roll each out in the task, and move the mean towards the cheap ones; neither needs derivatives.

    MPPI   mean <- sum_k w_k a^k,    w_k ~ exp(-(J_k - min J) / (temperature std J))
    CEM    mean, std <- those of the cheapest sequences (the elite), mixed with the old ones

The noise is eps_t = c eps_{t-1} + sqrt(1 - c^2) n_t with n_t standard normal: a correlation c above 0 gives slow actions, which
explore systems that integrate what they are given.

References: Williams et al. (2017), ICRA, for MPPI (weights with their parameter alpha = 1, which drops the price of the noise;
the temperature here is in units of the sampled costs' standard deviation); Rubinstein (1999), Methodol. Comput. Appl. Probab. 1,
127, and Pinneri et al. (2020), arXiv:2008.06389, for CEM with correlated noise and elites that are kept.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.control.calling import is_random
from jaxsci.control.checks import check_counts, check_range, flat_bounds, flat_like
from jaxsci.control.ilqr import CONVERGED, NOT_FINITE, Plan
from jaxsci.control.policies import sequence
from jaxsci.control.rollout import rollout
from jaxsci.control.task import Task


def mppi(
    task: Task,
    actions: Any,
    state: Any = None,
    *,
    key: Key,
    std: Any,
    parameters: Any = None,
    low: Any = None,
    high: Any = None,
    samples: int = 256,
    iterations: int = 10,
    temperature: Any = 0.1,
    shrink: Any = 0.9,
    correlation: Any = 0.0,
) -> Plan:
    """A plan by path integrals: the mean of sampled sequences, weighted by the exponential of what they cost.

    Args:
      task: any task, random ones and those that terminate too; all sequences of an iteration meet the same random numbers.
      actions: the mean to begin with, the horizon as leading axis (of a floating-point type).
      state: the first state; ``task.init`` by default.
      key: of the samples.
      std: of the noise, a number or a pytree like one action.
      parameters: instead of the task's.
      low, high: bounds of the actions, numbers or pytrees like one action; both or neither. Samples are clipped.
      samples, iterations: sequences of an iteration, and how many iterations.
      temperature: in standard deviations of the sampled costs, so that a cost's unit does not matter; towards 0 the cheapest
        sequence is taken.
      shrink: the noise shrinks by this factor from iteration to iteration; with 1, the usual MPPI, the plan keeps jittering
        around the optimum by its noise.
      correlation: c, from 0 (white noise) to below 1.
    Returns:
      A `Plan` without gains; its states are those of one rollout, its status says whether its cost is finite. A sequence whose
      cost is not finite has no weight.
    Raises:
      ValueError: actions without the horizon as leading axis, bad bounds, less than two samples.
      TypeError: actions that are not floating point.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s**2 + 0.1 * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=20)
      >>> plan = js.control.mppi(task, jnp.zeros(20), key=jax.random.key(0), std=1.0, correlation=0.9, iterations=30)
      >>> best = js.control.ilqr(task, jnp.zeros(20))
      >>> bool(best.cost < plan.cost < 1.02 * best.cost)
      True
    """
    problem = _Sampled("mppi", task, actions, state, parameters, low, high, samples, iterations, correlation)
    check_range("mppi", 0, np.inf, temperature=temperature)
    check_range("mppi", 0, 1, shrink=shrink)
    noise_std = problem.spread(std, "std")

    def iteration(mean, given):
        key, width = given
        noise_key, rollout_key = jax.random.split(key)
        tried = problem.clipped(
            mean + width * noise_std * _noise(noise_key, (samples, *mean.shape), mean.dtype, correlation)
        )
        costs = problem.costs(tried, rollout_key)
        finite = jnp.isfinite(costs)
        least = jnp.min(jnp.where(finite, costs, jnp.inf))
        spread = _std_where(costs, finite)
        tiny = jnp.finfo(costs.dtype).tiny
        weights = jax.nn.softmax(jnp.where(finite, (least - costs) / (temperature * spread + tiny), -jnp.inf))
        weighted = jnp.tensordot(weights, tried, axes=1).astype(mean.dtype)
        return jnp.where(finite.any(), weighted, mean), None

    run_key, last_key = jax.random.split(key)
    widths = jnp.asarray(shrink, problem.start.dtype) ** jnp.arange(iterations)
    mean, _ = jax.lax.scan(iteration, problem.start, (jax.random.split(run_key, iterations), widths))
    return problem.plan(mean, last_key, iterations)


def cem(
    task: Task,
    actions: Any,
    state: Any = None,
    *,
    key: Key,
    std: Any,
    parameters: Any = None,
    low: Any = None,
    high: Any = None,
    samples: int = 256,
    elite: int = 25,
    iterations: int = 20,
    keep: Any = 0.1,
    correlation: Any = 0.0,
) -> Plan:
    """A plan by the cross-entropy method: the mean and the spread of the cheapest sequences, again and again.

    The cheapest tenth of an elite is among the samples of the next iteration, and so is the mean.

    Args:
      task, actions, state, key, parameters, low, high, samples, iterations, correlation: as of `mppi`.
      std: of the noise in the first iteration, a number or a pytree like one action.
      elite: how many of the cheapest sequences make the next mean and standard deviation.
      keep: the share of the old mean and standard deviation that is kept.
    Returns:
      A `Plan` without gains: the cheapest sequence of the last iteration (of a random task: the mean of its elite).
    Raises:
      ValueError, TypeError: as `mppi` does; an elite that is not from 2 to `samples`.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s**2 + 0.1 * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=20)
      >>> plan = js.control.cem(task, jnp.zeros(20), key=jax.random.key(0), std=1.0, correlation=0.5, iterations=30)
      >>> best = js.control.ilqr(task, jnp.zeros(20))
      >>> bool(best.cost < plan.cost < 1.02 * best.cost)
      True
    """
    problem = _Sampled("cem", task, actions, state, parameters, low, high, samples, iterations, correlation)
    check_range("cem", 0, 1, keep=keep)
    if not is_whole(elite) or not 2 <= elite <= samples:
        raise ValueError(f"cem: elite is a whole number from 2 to samples, {samples}; got {elite!r}.")
    first = jnp.broadcast_to(problem.spread(std, "std"), problem.start.shape)
    kept = max(1, elite // 10)

    def iteration(carry, key):
        mean, spread, best = carry
        noise_key, rollout_key = jax.random.split(key)
        drawn = mean + spread * _noise(noise_key, (samples, *mean.shape), mean.dtype, correlation)
        tried = problem.clipped(jnp.concatenate([drawn, best, mean[None]]))
        costs = problem.costs(tried, rollout_key)
        costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
        negative, chosen = jax.lax.top_k(-costs, elite)
        good = jnp.isfinite(negative)
        count = jnp.maximum(jnp.sum(good), 1)
        share = (good / count).astype(mean.dtype)
        middle = jnp.tensordot(share, tried[chosen], axes=1)
        width = jnp.sqrt(jnp.tensordot(share, (tried[chosen] - middle) ** 2, axes=1))
        enough = jnp.sum(good) >= 2
        mixed = lambda old, new: jnp.where(enough, keep * old + (1 - keep) * new, old)  # noqa: E731
        best = jnp.where(good[:kept, None, None], tried[chosen[:kept]], mean)
        return (mixed(mean, middle), mixed(spread, width), best), None

    run_key, last_key = jax.random.split(key)
    start = (problem.start, first, jnp.broadcast_to(problem.start, (kept, *problem.start.shape)))
    (mean, _, best), _ = jax.lax.scan(iteration, start, jax.random.split(run_key, iterations))
    return problem.plan(mean if problem.random else best[0], last_key, iterations)


class _Sampled:
    """A task whose sequences of actions are flat, ``[horizon, numbers]``."""

    def __init__(self, name, task, actions, state, parameters, low, high, samples, iterations, correlation):
        if not isinstance(task, Task):
            raise TypeError(f"{name}: the task is a jaxsci.control.Task, got {type(task).__name__}.")
        check_counts(name, least=2, samples=samples)
        check_counts(name, iterations=iterations)
        actions = jax.tree.map(jnp.asarray, actions)
        leaves = jax.tree.leaves(actions)
        if not leaves or any(np.ndim(leaf) == 0 or leaf.shape[0] != task.horizon for leaf in leaves):
            shapes = [np.shape(leaf) for leaf in leaves]
            raise ValueError(f"{name}: actions have the horizon, {task.horizon}, as leading axis; got shapes {shapes}.")
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
            raise TypeError(f"{name}: actions are floating point; for choices among a few, see tree_search.")
        check_range(name, 0, 0.999999, correlation=correlation)
        self.name, self.state = name, state
        self.task = task if parameters is None else task.replace(parameters=parameters)
        self.random = is_random(task.dynamics) or (state is None and is_random(task.init))
        self.like = jax.tree.map(lambda leaf: leaf[0], actions)
        self.to_action = ravel_pytree(self.like)[1]
        self.start = jax.vmap(lambda action: ravel_pytree(action)[0])(actions)
        self.bounds = flat_bounds(name, low, high, self.like)

    def spread(self, value: Any, what: str) -> Float[Array, " numbers"]:
        """A number, or a pytree like one action, as a flat vector."""
        flat = flat_like(self.name, what, value, self.like)
        check_range(self.name, 0, np.inf, open_low=True, **{what: flat})
        return flat

    def clipped(self, actions: Any) -> Any:
        return actions if self.bounds is None else jnp.clip(actions, *self.bounds)

    def run(self, actions: Any, key: Any) -> Any:
        key = key if self.random or is_random(self.task.init) else None
        return rollout(self.task, sequence, jax.vmap(self.to_action)(actions), key, initial=self.state)

    def costs(self, actions: Any, key: Any) -> Float[Array, " samples"]:
        return jax.vmap(lambda one: self.run(one, key).total)(actions)

    def plan(self, actions: Any, key: Any, iterations: int) -> Plan:
        actions = self.clipped(actions)
        run = self.run(actions, key)
        states = jax.tree.map(lambda path, last: jnp.concatenate([path, last[None]]), run.states, run.final)
        status = jnp.where(jnp.isfinite(run.total), CONVERGED, NOT_FINITE)
        return Plan(jax.vmap(self.to_action)(actions), states, None, run.total, status, jnp.asarray(iterations))


def _noise(key: Key, shape: tuple[int, int, int], dtype: Any, correlation: Any) -> Float[Array, "samples horizon numbers"]:
    """Standard normal at each step, correlated from step to step."""
    white = jax.random.normal(key, shape, dtype)
    if isinstance(correlation, float | int) and correlation == 0:
        return white
    correlation = jnp.asarray(correlation, dtype)
    fresh = jnp.sqrt(1 - correlation**2)

    def once(before, now):
        now = correlation * before + fresh * now
        return now, now

    later = jax.lax.scan(once, white[:, 0], jnp.moveaxis(white[:, 1:], 1, 0))[1]
    return jnp.concatenate([white[:, :1], jnp.moveaxis(later, 0, 1)], axis=1)


def _std_where(values: Any, kept: Any) -> Any:
    count = jnp.maximum(jnp.sum(kept), 1)
    mean = jnp.sum(jnp.where(kept, values, 0)) / count
    return jnp.sqrt(jnp.sum(jnp.where(kept, (values - mean) ** 2, 0)) / count)
