r"""Conservative Q-learning: action values that are pessimistic where the data say nothing.

With Q(o, a) the expected discounted COST to come (less is better), and the targets of a slowly following copy Q^-,

    loss = mean (Q(o, a) - y)^2 + conservatism * mean [ log sum_b exp(-Q(o, b)) + Q(o, a) ]
    y = cost + gamma (1 - terminated) Q^-(o', a'),      a' = argmin_b Q(o', b), or drawn from the policy

The bracket raises the cost of actions that the data do not have against that of the one they have. Only `terminated` cuts a
target: where a record is merely truncated the value of o' is still to come. For continuous actions the sum is an integral, by
importance sampling of uniform draws and of draws of the policy, and the policy descends E [max of two Q + temperature log pi].

Reference: Kumar et al. (2020), arXiv:2006.04779, equation 4 (CQL(H)) and appendix F; van Hasselt et al. (2016), arXiv:1509.06461.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxsci._types import Key, Progress
from jaxsci.control.checks import check_counts, check_range
from jaxsci.control.datasets import Transitions, check_data, flat_row, minibatch, standard
from jaxsci.control.policies import CategoricalPolicy, GaussianPolicy
from jaxsci.control.policy_gradient import PolicySearch, in_chunks
from jaxsci.networks import MLP


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ActionValue:
    """Networks Q_k(observation, action), each the expected cost to come. Every call is for ONE row.

    Attributes:
      params: of the networks, leaves ``[critics, ...]``.
      center, scale: of the flat observation and action.
      network: from `jaxsci.networks`.
    """

    params: Any
    center: Float[Array, " inputs"]
    scale: Float[Array, " inputs"]
    network: Any = dataclasses.field(metadata={"static": True})

    def __call__(self, observation: Any, action: Any) -> Float[Array, " critics"]:
        z = (flat_row(observation, action, self.center.dtype) - self.center) / self.scale
        return jax.vmap(lambda params: self.network.apply(params, z)[0])(self.params)


def action_value(network: Any, key: Key, observation: Any, action: Any, critics: int = 2) -> ActionValue:
    """Fresh networks for rows like these, ``[rows, ...]``."""
    x = jax.vmap(lambda o, a: flat_row(o, a, jnp.result_type(float)))(observation, action)
    starts = [network.init(k, x.shape[1], 1) for k in jax.random.split(key, critics)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    return ActionValue(params, *standard(x), network)


def conservative_q(
    policy: CategoricalPolicy | GaussianPolicy,
    params: Any,
    data: Transitions,
    *,
    key: Key,
    discount: Any = 0.99,
    conservatism: Any = 1.0,
    temperature: Any = 0.01,
    samples: int = 10,
    network: Any = MLP((64, 64), "silu"),  # noqa: B008
    iterations: int = 5000,
    batch: int = 256,
    learning_rate: float = 1e-3,
    following: float = 0.01,
    progress: Progress = None,
) -> PolicySearch:
    """Conservative Q-learning from data alone.

    Args:
      policy: a `CategoricalPolicy`, whose logits are minus the action values, so that its ``mode`` is the greedy action; or a
        `GaussianPolicy` with bounds.
      params: of the policy; where it starts.
      data: `Transitions`.
      discount: gamma.
      conservatism: the weight of the bracket, in units of cost times a value; 0 is plain Q-learning.
      temperature: of the entropy of a Gaussian policy, in units of cost.
      samples: draws of each kind for the integral over continuous actions.
      network: of the two action values beside a Gaussian policy.
      iterations, batch, learning_rate: of Adam, its rate falling to 0 by a cosine.
      following: the share by which Q^- follows Q in each iteration.
      progress: called with a line of text ten times.
    Returns:
      A `PolicySearch` with "loss" and "value" (the mean of Q on the data) in its history. Its state is the `ActionValue` of a
      Gaussian policy; None for a categorical one, whose parameters are the action values.
    Raises:
      TypeError: another kind of policy; a Gaussian one without bounds; data that are no `Transitions`.
      ValueError: a number out of its range, no iterations, no batch, no samples.
    """
    check_data("conservative_q", data, iterations, batch)
    check_counts("conservative_q", samples=samples)
    check_range("conservative_q", 0, 1, discount=discount, following=following)
    check_range("conservative_q", 0, np.inf, conservatism=conservatism, temperature=temperature)
    check_range("conservative_q", 0, np.inf, open_low=True, learning_rate=learning_rate)
    schedule = optax.cosine_decay_schedule(learning_rate, iterations)
    params = jax.tree.map(jnp.asarray, params)
    if isinstance(policy, CategoricalPolicy):
        check_choices("conservative_q", policy, data)
        loss, carry = _discrete(policy, params, discount, conservatism)
    elif isinstance(policy, GaussianPolicy) and policy.low is not None:
        value_key, key = jax.random.split(key)
        value = action_value(network, value_key, data.observation, data.action)
        loss, carry = _continuous(policy, params, value, discount, conservatism, temperature, samples)
    else:
        raise TypeError("conservative_q: the policy is a CategoricalPolicy, or a GaussianPolicy with bounds low and high.")
    optimiser = optax.adam(schedule)

    def iteration(carry, i):
        trained, target, state = carry
        here = jax.random.fold_in(key, i)
        drawn = minibatch(data, here, batch)
        (_, seen), slope = jax.value_and_grad(loss, has_aux=True)(trained, target, drawn, jax.random.fold_in(here, 1))
        updates, state = optimiser.update(slope, state, trained)
        trained = optax.apply_updates(trained, updates)
        return (trained, optax.incremental_update(trained, target, following), state), seen

    (trained, _, _), history = in_chunks(iteration, (carry, carry, optimiser.init(carry)), iterations, progress)
    if isinstance(policy, CategoricalPolicy):
        return PolicySearch(trained, history, 0)
    return PolicySearch(trained["policy"], history, 0, dataclasses.replace(value, params=trained["value"]))


def _discrete(policy: CategoricalPolicy, params: Any, discount: Any, conservatism: Any) -> tuple[Any, Any]:
    def one(params, target, row):
        values = -policy.logits(params, row.observation)
        chosen = jnp.argmin(-policy.logits(params, row.next_observation))
        later = -policy.logits(target, row.next_observation)[chosen]
        goal = jax.lax.stop_gradient(row.cost + discount * jnp.where(row.terminated, 0.0, later))
        taken = values[row.action]
        return (taken - goal) ** 2, jax.nn.logsumexp(-values) + taken, taken

    def loss(params, target, rows, key):
        error, bracket, taken = jax.tree.map(jnp.mean, jax.vmap(lambda row: one(params, target, row))(rows))
        total = error + conservatism * bracket
        return total, {"loss": total, "value": taken}

    return loss, params


def _continuous(
    policy: GaussianPolicy, params: Any, value: ActionValue, discount: Any, conservatism: Any, temperature: Any, samples: int
) -> tuple[Any, Any]:
    low, high = jnp.asarray(policy.low), jnp.asarray(policy.high)
    shape = (policy.actions,) if policy.actions else ()
    log_volume = jnp.sum(jnp.log(jnp.broadcast_to(high - low, shape)))

    def q(parts, row_observation, action):
        return dataclasses.replace(value, params=parts)(row_observation, action)

    def one(trained, target, row, key):
        keys = jax.random.split(key, 4)
        fixed = jax.lax.stop_gradient(trained["policy"])
        follow = policy(fixed, row.next_observation, key=keys[0])
        later = jnp.max(q(target["value"], row.next_observation, follow))  # of two estimates the dearer
        goal = jax.lax.stop_gradient(row.cost + discount * jnp.where(row.terminated, 0.0, later))
        taken = q(trained["value"], row.observation, row.action)

        uniform = low + (high - low) * jax.random.uniform(keys[1], (samples, *shape), taken.dtype)
        own = jax.vmap(lambda k: policy(fixed, row.observation, key=k))(jax.random.split(keys[2], samples))
        log_own = jax.vmap(lambda a: policy.log_prob(fixed, row.observation, a))(own)
        proposals = jnp.concatenate([uniform, own])
        log_proposal = jnp.concatenate([jnp.full(samples, -log_volume, taken.dtype), log_own])
        others = jax.vmap(lambda a: q(trained["value"], row.observation, a))(proposals)  # [2 samples, critics]
        integral = jax.nn.logsumexp(-others - log_proposal[:, None], axis=0) - np.log(2 * samples)

        action = policy(trained["policy"], row.observation, key=keys[3])
        pays = jnp.max(q(jax.lax.stop_gradient(trained["value"]), row.observation, action))
        descent = pays + temperature * policy.log_prob(trained["policy"], row.observation, action)
        return jnp.sum((taken - goal) ** 2 + conservatism * (integral + taken)), descent, jnp.mean(taken)

    def loss(trained, target, rows, key):
        keys = jax.random.split(key, rows.cost.shape[0])
        critic, descent, taken = jax.tree.map(jnp.mean, jax.vmap(lambda row, k: one(trained, target, row, k))(rows, keys))
        return critic + descent, {"loss": critic, "value": taken}

    return loss, {"policy": params, "value": value.params}


def check_choices(who: str, policy: CategoricalPolicy, data: Transitions) -> None:
    """The data's actions are choices of the policy."""
    actions = np.asarray(data.action)
    if not np.issubdtype(actions.dtype, np.integer) or actions.min() < 0 or actions.max() >= policy.choices:
        raise ValueError(
            f"{who}: the actions of a CategoricalPolicy are whole numbers from 0 to {policy.choices - 1}; the data have "
            f"{actions.dtype} from {actions.min()} to {actions.max()}."
        )
