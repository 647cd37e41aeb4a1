r"""Implicit Q-learning: better than the data's policy without ever asking for the value of an action that the data lack.

With Q and V expected discounted COSTS to come (less is better), A = V(o) - Q(o, a) the advantage of the action taken,

    V: mean |expectile - 1[A < 0]| A^2          an expectile near 1 takes the best of the actions seen in a state
    Q: mean (Q(o, a) - cost - gamma (1 - terminated) V(o'))^2
    policy: mean min(exp(sharpness A), 100) (- log pi(a | o))

V uses the larger (dearer) of two Q of a slowly following copy. Only `terminated` cuts a target, not `truncated`.

Reference: Kostrikov, Nair & Levine (2022), arXiv:2110.06169, equations 5 to 7.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsci._checks import is_traced
from jaxsci._types import Key, Progress
from jaxsci.control.behaviour_cloning import misfit
from jaxsci.control.checks import check_range
from jaxsci.control.conservative_q import ActionValue, action_value, check_choices
from jaxsci.control.datasets import Transitions, check_data, minibatch
from jaxsci.control.policies import CategoricalPolicy
from jaxsci.control.policy_gradient import PolicySearch, in_chunks
from jaxsci.networks import MLP

_MOST = 100.0  # the weight that no row exceeds


class ImplicitValues(NamedTuple):
    """What was learnt besides the policy: `action` (the action values; of a choice they take the one-hot) and `state`, the values
    of the states as an `ActionValue` that takes ``()`` for the action.
    """

    action: ActionValue
    state: ActionValue


def implicit_q(
    policy: Callable[..., Any],
    params: Any,
    data: Transitions,
    *,
    key: Key,
    discount: Any = 0.99,
    expectile: Any = 0.7,
    sharpness: Any = 3.0,
    network: Any = MLP((64, 64), "silu"),  # noqa: B008
    iterations: int = 5000,
    batch: int = 256,
    learning_rate: float = 1e-3,
    following: float = 0.01,
    progress: Progress = None,
) -> PolicySearch:
    """Implicit Q-learning from data alone.

    Args:
      policy: with ``log_prob``, such as `GaussianPolicy` or `CategoricalPolicy`, or a deterministic one (weighted least squares).
      params: of the policy; where it starts.
      data: `Transitions`.
      discount: gamma.
      expectile: between 1/2 (the mean over the data's actions) and 1 (the best of them).
      sharpness: of the weights of the policy's fit, per unit of cost; 0 is behaviour cloning.
      network: of the values.
      iterations, batch, learning_rate: of Adam, its rate falling to 0 by a cosine.
      following: the share by which the copy follows in each iteration.
      progress: called with a line of text ten times.
    Returns:
      A `PolicySearch` with "loss" (of the action values), "value" (the mean of V) and "weight" (the mean of the weights) in its
      history, and `ImplicitValues` as its state.
    Raises:
      TypeError: data that are no `Transitions`.
      ValueError: an expectile outside [0.5, 1), another number out of its range, no iterations or batch, choices that the policy
        lacks.
    """
    check_data("implicit_q", data, iterations, batch)
    check_range("implicit_q", 0, 1, discount=discount, following=following)
    check_range("implicit_q", 0, np.inf, sharpness=sharpness)
    check_range("implicit_q", 0, np.inf, open_low=True, learning_rate=learning_rate)
    if not is_traced(expectile) and not 0.5 <= expectile < 1:
        raise ValueError(f"implicit_q: the expectile lies in [0.5, 1), got {expectile!r}.")
    features = lambda action: action  # noqa: E731
    if isinstance(policy, CategoricalPolicy):
        check_choices("implicit_q", policy, data)
        features = lambda action: jax.nn.one_hot(action, policy.choices)  # noqa: E731
    q_key, v_key, step_key = jax.random.split(key, 3)
    q = action_value(network, q_key, data.observation, features(data.action))
    v = action_value(network, v_key, data.observation, (), critics=1)
    trained = {"action": q.params, "state": v.params, "policy": jax.tree.map(jnp.asarray, params)}
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, iterations))

    def one(trained, target, row):
        state_value = lambda params, observation: dataclasses.replace(v, params=params)(observation, ())[0]  # noqa: E731
        action = features(row.action)
        slow = jnp.max(dataclasses.replace(q, params=target)(row.observation, action))
        advantage = state_value(trained["state"], row.observation) - slow
        asymmetric = jnp.abs(expectile - (advantage < 0)) * advantage**2
        later = jnp.where(row.terminated, 0.0, state_value(trained["state"], row.next_observation))
        goal = jax.lax.stop_gradient(row.cost + discount * later)
        error = jnp.sum((dataclasses.replace(q, params=trained["action"])(row.observation, action) - goal) ** 2)
        weight = jax.lax.stop_gradient(jnp.minimum(jnp.exp(sharpness * advantage), _MOST))
        clones = weight * misfit(policy, trained["policy"], row.observation, row.action)
        return asymmetric + error + clones, {"loss": error, "value": advantage + slow, "weight": weight}

    def loss(trained, target, rows):
        each, seen = jax.vmap(lambda row: one(trained, target, row))(rows)
        return jnp.mean(each), jax.tree.map(jnp.mean, seen)

    def iteration(carry: Any, i: Any) -> Any:
        trained, target, state = carry
        drawn = minibatch(data, jax.random.fold_in(step_key, i), batch)
        (_, seen), slope = jax.value_and_grad(loss, has_aux=True)(trained, target, drawn)
        updates, state = optimiser.update(slope, state, trained)
        trained: Any = optax.apply_updates(trained, updates)
        return (trained, optax.incremental_update(trained["action"], target, following), state), seen

    carry = (trained, trained["action"], optimiser.init(trained))
    (trained, _, _), history = in_chunks(iteration, carry, iterations, progress)
    values = ImplicitValues(
        dataclasses.replace(q, params=trained["action"]), dataclasses.replace(v, params=trained["state"])
    )
    return PolicySearch(trained["policy"], history, 0, values)
