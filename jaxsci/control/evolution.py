r"""Evolution strategies: no derivative at all, costs of whole rollouts at randomly changed parameters.

With a distribution over parameters phi and mirrored draws phi +- sigma e, e ~ N(0, I), the gradient of the expected cost is

    OpenAI-ES   grad J = E [ (u(phi + sigma e) - u(phi - sigma e)) e ] / (2 sigma)
    PGPE        the same with a sigma for each parameter, learned too: grad_{log sigma} J = E [ (u_+ + u_-) / 2 (e^2 - 1) ]

where u are the ranks of the costs among the population, from -1/2 to 1/2: whatever the units, and no outlier counts for more
than another. All of a generation have the same starts and draws, so that they differ by their parameters alone.

References: Salimans et al. (2017), arXiv:1703.03864; Sehnke et al. (2010), Neural Networks 23, 551, with symmetric sampling;
Wierstra et al. (2014), J. Mach. Learn. Res. 15, 949, for ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxsci._types import Key, Progress
from jaxsci.control.checks import check_counts, check_range
from jaxsci.control.objective import objective
from jaxsci.control.policy_gradient import PolicySearch, counted, in_chunks
from jaxsci.control.task import Task


def evolution_strategy(
    task: Task,
    policy: Callable[..., Any],
    params: Any,
    *,
    key: Key,
    iterations: int = 200,
    population: int = 64,
    batch: int = 16,
    deviation: float = 0.05,
    optimiser: optax.GradientTransformation | None = None,
    constraints: Any = None,
    evaluate: Callable[[Any], Any] | None = None,
    progress: Progress = None,
) -> PolicySearch:
    """Minimise a task's expected cost by the evolution strategy of Salimans et al.

    Args:
      task, policy, params: as in `jaxsci.control.rollout`; `params` is the mean's start, real numbers all.
      key: for the population, starts and draws.
      iterations, population, batch: generations; parameters tried in each, an even number; rollouts of each of them.
      deviation: sigma.
      optimiser: from optax; by default Adam at 1e-2 falling to 0 by a cosine.
      constraints: an `AugmentedLagrangian` or a `PIDLagrangian`: its loss of each candidate's mean cost and violation is what is
        ranked, its multipliers follow the population's mean violation: with a limit of 0 it keeps a few sigma off the border.
      evaluate, progress: as of `jaxsci.control.shac`.
    Returns:
      A `PolicySearch`: "cost" is the population's mean, "best" its least, "environment_steps" as everywhere the evaluations of
      the dynamics: population x batch x horizon in a generation. The state has the multipliers and, for PGPE, "deviation".
    Raises:
      ValueError: no iterations; an odd population; parameters that are no real numbers.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p, key: jax.random.normal(key), horizon=20)
      >>> found = js.control.evolution_strategy(
      ...     task, lambda gain, s: -gain * s, jnp.asarray(0.5), key=jax.random.key(0), iterations=50)
      >>> bool(found.params > 0.6), found.environment_steps
      (True, 1024000)
    """
    if optimiser is None:
        optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, iterations))
    shared = (task, policy, params, key, iterations, population, batch, constraints, evaluate, progress)
    return _evolve("evolution_strategy", *shared, deviation, optimiser, 0.0)


def pgpe(
    task: Task,
    policy: Callable[..., Any],
    params: Any,
    *,
    key: Key,
    iterations: int = 200,
    population: int = 64,
    batch: int = 16,
    deviation: float = 0.1,
    deviation_rate: float = 0.1,
    optimiser: optax.GradientTransformation | None = None,
    constraints: Any = None,
    evaluate: Callable[[Any], Any] | None = None,
    progress: Progress = None,
) -> PolicySearch:
    """Minimise a task's expected cost by parameter-exploring policy gradients: as `evolution_strategy`, with learned deviations.

    Args:
      deviation: sigma of every parameter at the start.
      deviation_rate: of the steps of log sigma; none is longer than 0.2.
      task, policy, params, key, iterations, population, batch, optimiser, constraints, evaluate, progress: as of
        `evolution_strategy`.
    Returns:
      As `evolution_strategy`.
    Raises:
      ValueError: no iterations; an odd population; parameters that are no real numbers.
    """
    if optimiser is None:
        optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, iterations))
    check_range("pgpe", 0, np.inf, deviation_rate=deviation_rate)
    shared = (task, policy, params, key, iterations, population, batch, constraints, evaluate, progress)
    return _evolve("pgpe", *shared, deviation, optimiser, deviation_rate)


def ranks(costs: Float[Array, " population"]) -> Float[Array, " population"]:
    """Ranks from -1/2 (the least) to 1/2, the same for the same costs; what is no number ranks last."""
    costs = jnp.where(jnp.isnan(costs), jnp.inf, costs)
    less = jnp.sum(costs[:, None] > costs[None, :], axis=1)
    same = jnp.sum(costs[:, None] == costs[None, :], axis=1)
    return (less + (same - 1) / 2).astype(costs.dtype) / max(1, len(costs) - 1) - 0.5


def _evolve(
    name,
    task,
    policy,
    params,
    key,
    iterations,
    population,
    batch,
    constraints,
    evaluate,
    progress,
    deviation,
    optimiser,
    rate,
):
    _check(name, iterations, population, batch, params)
    check_range(name, 0, np.inf, open_low=True, deviation=deviation)
    params = jax.tree.map(jnp.asarray, params)
    mean, back = ravel_pytree(params)
    loss = objective(task, policy, batch=batch, constraints=constraints, has_aux=True)
    silent = objective(task, policy, batch=batch, has_aux=True)
    pairs = population // 2
    multipliers = None
    if constraints is not None:
        like = jax.eval_shape(lambda p: silent(p, jax.random.key(0))[1].violation, params)
        multipliers = constraints.init(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))

    def iteration(carry, i):
        mean, state, spread, multipliers = carry
        draw_key, run_key = jax.random.split(jax.random.fold_in(key, i))
        draws = jax.random.normal(draw_key, (pairs, mean.size), mean.dtype)
        tried = jnp.concatenate([mean + jnp.exp(spread) * draws, mean - jnp.exp(spread) * draws])
        values, aux = jax.vmap(lambda phi: loss(back(phi), run_key, multipliers=multipliers))(tried)
        worse = ranks(values)
        odd, even = (worse[:pairs] - worse[pairs:]) / 2, (worse[:pairs] + worse[pairs:]) / 2
        updates, state = optimiser.update(odd @ (draws / jnp.exp(spread)) / pairs, state, mean)
        mean = optax.apply_updates(mean, updates)
        if rate:
            slope = even @ (draws**2 - 1) / jnp.sqrt(pairs)
            spread = spread - jnp.clip(rate * slope, -0.2, 0.2)
        finite = jnp.isfinite(aux.cost)
        average = lambda v: jnp.sum(jnp.where(finite, v, 0.0)) / jnp.sum(finite)  # noqa: E731
        violation = jax.tree.map(average, aux.violation)
        if constraints is not None:
            multipliers = constraints.update(violation, multipliers)
        seen = {
            "cost": average(aux.cost),
            "best": jnp.min(jnp.where(finite, aux.cost, jnp.inf)),
            "broken": jnp.mean(~finite),
        }
        seen |= {f"violation{jax.tree_util.keystr(p)}": v for p, v in jax.tree_util.tree_leaves_with_path(violation)}
        seen |= {} if evaluate is None else {"evaluation": evaluate(back(jnp.asarray(mean)))}
        return (mean, state, spread, multipliers), seen

    spread = jnp.full_like(mean, jnp.log(deviation))
    carry, history = in_chunks(iteration, (mean, optimiser.init(mean), spread, multipliers), iterations, progress)
    state = {"multipliers": carry[3], "deviation": back(jnp.exp(carry[2]))}
    return counted(back(carry[0]), history, population * batch * task.horizon, state)


def _check(name: str, iterations: int, population: int, batch: int, params: Any) -> None:
    check_counts(name, iterations=iterations, population=population, batch=batch)
    if population % 2:
        raise ValueError(f"{name}: the population is made of pairs, an even number; got {population}.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{name}: params{jax.tree_util.keystr(path)} has dtype {jnp.result_type(leaf)}; real numbers only."
            )
