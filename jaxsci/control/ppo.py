r"""Proximal policy optimisation: no derivative but the policy's, and steps that stay near the policy that acted.

    maximise E min(r_t B_t, clip(r_t, 1 - epsilon, 1 + epsilon) B_t) + entropy bonus,    r_t = pi(a_t | o_t) / pi_old(a_t | o_t)

with B_t = -A_t, the advantage of costs with its sign changed, brought to mean 0 and deviation 1 over the batch.

References: Schulman et al. (2017), arXiv:1707.06347, equation 7; Schulman et al. (2016), arXiv:1506.02438, for the advantages;
Pardo et al. (2018), arXiv:1712.00378, for the end of the horizon.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsci._types import Key, Progress
from jaxsci.control.checks import check_counts, check_range
from jaxsci.control.critic import Critic, new_critic, samples, values_of
from jaxsci.control.policies import StochasticPolicy
from jaxsci.control.policy_gradient import PolicySearch, counted, in_chunks, named_violations
from jaxsci.control.returns import advantages
from jaxsci.control.task import Task
from jaxsci.control.windows import (
    check_windows,
    live,
    new_members,
    of_finished,
    priced,
    restarted,
    staggered,
    updated,
    window_length,
)


def ppo(
    task: Task,
    policy: StochasticPolicy,
    params: Any,
    *,
    key: Key,
    iterations: int = 400,
    batch: int = 64,
    window: int = 32,
    trace: float = 0.95,
    clip: float = 0.2,
    epochs: int = 8,
    minibatches: int = 8,
    entropy: float = 0.0,
    most_divergence: float = 0.03,
    optimiser: optax.GradientTransformation | None = None,
    critic: Critic = Critic(epochs=8, minibatches=8, averaging=0.0),  # noqa: B008  frozen
    endless: bool = False,
    constraints: Any = None,
    multiplier_every: int | None = None,
    evaluate: Any = None,
    progress: Progress = None,
) -> PolicySearch:
    """Minimise a task's expected cost from samples alone: the dynamics may be a black box, the actions whole numbers.

    Args:
      task: any.
      policy: a random one with densities: `GaussianPolicy`, `CategoricalPolicy`.
      params: where it starts.
      key: for starts, draws and minibatches.
      iterations, batch, window: rounds, members, steps of each member in a round (at most); members are spread over the episode.
      trace: lambda of the advantages.
      clip: epsilon.
      epochs, minibatches: passes over a round's samples, and steps of the optimiser in a pass.
      entropy: weight of the entropy bonus.
      most_divergence: a round takes no more steps once the mean of (r - 1) - log r, an estimate of the Kullback-Leibler
        divergence from the policy that acted, is above this in a minibatch.
      optimiser: from optax; by default Adam at 1e-3 falling to 0 linearly, behind a clip of the gradient's norm at 0.5.
      critic, endless, constraints, multiplier_every, evaluate, progress: as of `jaxsci.control.shac`.
    Returns:
      A `PolicySearch` like that of `shac`; its history has "divergence" (of the last minibatch), "clipped" (share of the
      samples) and "skipped" (share of the steps not taken) besides.
    Raises:
      ValueError: no iterations; an endless task without a discount; a policy without densities; a number out of its range.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p, key: jax.random.normal(key), horizon=20)
      >>> policy = js.control.GaussianPolicy(network=js.networks.MLP((8,)))
      >>> start = policy.init(jax.random.key(1), task)
      >>> found = js.control.ppo(task, policy, start, key=jax.random.key(0), iterations=30, window=20)
      >>> bool(found.history["cost"][-5:].mean() < found.history["cost"][:5].mean())
      True
    """
    check_windows("ppo", task, iterations, batch, window, endless, constraints, multiplier_every)
    if not callable(getattr(policy, "log_prob", None)) or not callable(getattr(policy, "entropy", None)):
        raise ValueError(
            "ppo: needs a policy with log_prob and entropy, such as jaxsci.control.GaussianPolicy or CategoricalPolicy; got "
            f"{policy!r}."
        )
    check_counts("ppo", epochs=epochs, minibatches=minibatches)
    check_range("ppo", 0, 1, trace=trace)
    check_range("ppo", 0, np.inf, open_low=True, clip=clip, most_divergence=most_divergence)
    check_range("ppo", 0, np.inf, entropy=entropy)
    task.spaces(policy, params)
    if optimiser is None:
        rate = optax.linear_schedule(1e-3, 0.0, iterations * epochs * minibatches)
        optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate))
    params = jax.tree.map(jnp.asarray, params)
    steps, count = window_length(task, window)
    start_key, critic_key, key = jax.random.split(key, 3)
    members = new_members(task, policy, params, start_key, batch)
    critic_state = new_critic(critic, critic_key, task, members, endless)
    multipliers = None if constraints is None else constraints.init(of_finished(members)[1])
    every = count if multiplier_every is None else multiplier_every
    size = max(1, batch * steps // minibatches)

    def surrogate(params, data):
        observations, actions, old, worth, weights = data
        log_probs = jax.vmap(policy.log_prob, in_axes=(None, 0, 0))(params, observations, actions)
        logs = jnp.where(weights > 0, log_probs - old, 0.0)
        ratio, total = jnp.exp(logs), jnp.maximum(jnp.sum(weights), 1e-8)
        mean = lambda x: jnp.sum(weights * x) / total  # noqa: E731
        gain = mean(jnp.minimum(ratio * worth, jnp.clip(ratio, 1 - clip, 1 + clip) * worth))
        bonus = entropy * mean(jax.vmap(policy.entropy, in_axes=(None, 0))(params, observations)) if entropy else 0.0
        return -gain - bonus, (mean(ratio - 1 - logs), mean(jnp.abs(ratio - 1) > clip))

    def improve(key, params, state, data):
        """Epochs of minibatches, until the policy has moved too far."""

        def step(carry, chosen):
            params, state, stopped = carry
            (_, (divergence, clipped)), slope = jax.value_and_grad(surrogate, has_aux=True)(
                params, jax.tree.map(lambda leaf: leaf[chosen], data)
            )
            stopped = stopped | (divergence > most_divergence) | ~jnp.isfinite(optax.tree.norm(slope))
            updates, new_state = optimiser.update(slope, state, params)
            kept = functools.partial(jnp.where, ~stopped)
            params, state = jax.tree.map(kept, (optax.apply_updates(params, updates), new_state), (params, state))
            return (params, state, stopped), (divergence, clipped, stopped)

        def epoch(carry, key):
            order = jax.random.permutation(key, batch * steps)[: size * minibatches]
            return jax.lax.scan(step, carry, order.reshape(-1, size))

        keys = jax.random.split(key, epochs)
        (params, state, _), (divergence, clipped, stopped) = jax.lax.scan(epoch, (params, state, jnp.asarray(False)), keys)
        seen = {"divergence": divergence[-1, -1], "clipped": jnp.mean(clipped), "skipped": jnp.mean(stopped)}
        return params, state, seen

    def iteration(carry, i):
        params, state, members, critic_state, multipliers = carry
        restart_key, fit_key, improve_key = jax.random.split(jax.random.fold_in(key, i), 3)
        members = restarted(task, policy, params, restart_key, members, staggered(batch, count, i))
        violation = of_finished(members)[1]
        members, windows = jax.vmap(lambda m: live(task, policy, params, m, steps))(members)
        windows, _ = priced(constraints, multipliers, windows, violation)
        values, after = jax.vmap(lambda w: values_of(critic, critic_state, task, w, endless))(windows)
        gains = jax.vmap(functools.partial(advantages, discount=task.discount, trace=trace))(
            windows.costs, values, after, windows.terminated, windows.truncated
        )
        critic_state, error = critic.fit(fit_key, critic_state, *samples(task, windows, values + gains, endless))

        flat = lambda tree: jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)  # noqa: E731
        observations = flat(jax.tree.map(lambda leaf: leaf[:, :-1], windows.observations))
        actions, worth = flat(windows.actions), -flat(gains)
        weights = flat(windows.alive) & jnp.isfinite(worth)
        worth, weights = jnp.where(weights, worth, 0.0), weights.astype(worth.dtype)
        total = jnp.maximum(jnp.sum(weights), 1e-8)
        worth = worth - jnp.sum(weights * worth) / total
        worth = worth / (jnp.sqrt(jnp.sum(weights * worth**2) / total) + 1e-8)
        old = jax.vmap(policy.log_prob, in_axes=(None, 0, 0))(params, observations, actions)
        params, state, told = improve(improve_key, params, state, (observations, actions, old, worth, weights))
        cost, violation = of_finished(members)
        if constraints is not None:
            multipliers = updated(constraints, multipliers, members, violation, i % every == every - 1)
        seen = {"cost": cost, "critic_error": error} | told | named_violations(violation)
        seen |= {} if evaluate is None else {"evaluation": evaluate(params)}
        return (params, state, members, critic_state, multipliers), seen

    carry = (params, optimiser.init(params), members, critic_state, multipliers)
    carry, history = in_chunks(iteration, carry, iterations, progress)
    return counted(carry[0], history, batch * steps, {"critic": carry[3], "multipliers": carry[4]})
