r"""Behaviour cloning: the policy that does what the data did.

    loss = - mean_i w_i log pi(a_i | o_i)       or       mean_i w_i |pi(o_i) - a_i|^2      for a deterministic policy

Reference: Pomerleau (1991), Neural Computation 3, 88.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxsci._types import Key, Progress
from jaxsci.control.datasets import Transitions, check_data, minibatch
from jaxsci.control.policy_gradient import PolicySearch, in_chunks


def behaviour_cloning(
    policy: Callable[..., Any],
    params: Any,
    data: Transitions,
    *,
    key: Key,
    weights: Float[Array, " rows"] | None = None,
    iterations: int = 1000,
    batch: int = 256,
    optimiser: optax.GradientTransformation | None = None,
    progress: Progress = None,
) -> PolicySearch:
    """Fit a policy to the actions of the data.

    Args:
      policy: with ``log_prob``, such as `GaussianPolicy` or `CategoricalPolicy`; or a deterministic one, fitted by least squares.
      params: where it starts.
      data: `Transitions`.
      weights: of the rows, >= 0; 1 for all by default.
      iterations, batch: steps of the optimiser, rows of each.
      optimiser: from optax; by default Adam at 3e-3 falling to 0 by a cosine.
      progress: called with a line of text ten times.
    Returns:
      A `PolicySearch` with "loss" in its history; no step in any environment was made.
    Raises:
      TypeError: data that are no Transitions.
      ValueError: weights that are negative or of another length; no iterations; no batch.
    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, jaxsci as js
      >>> from jaxsci.control.datasets import records
      >>> o = np.linspace(-1, 1, 100)
      >>> data = records(o, -0.5 * o, np.zeros(100), np.zeros(100), ended=np.arange(100) == 99)
      >>> found = behaviour_cloning(lambda gain, o: gain * o, jnp.asarray(0.0), data, key=jax.random.key(0))
      >>> print(f"{found.params:.3f}")
      -0.500
    """
    check_data("behaviour_cloning", data, iterations, batch)
    rows = data.cost.shape[0]
    if weights is None:
        weights = jnp.ones(rows, data.cost.dtype)
    if jnp.shape(weights) != (rows,):
        raise ValueError(f"behaviour_cloning: weights are {rows} numbers, one a row; got shape {jnp.shape(weights)}.")
    known = np.asarray(weights)
    if not (np.isfinite(known).all() and (known >= 0).all() and known.any()):
        raise ValueError("behaviour_cloning: weights are finite and >= 0, and not all of them 0.")
    _check_actions(policy, params, data)
    optimiser = optimiser or optax.adam(optax.cosine_decay_schedule(3e-3, iterations))

    weights = jnp.asarray(weights)

    def loss(params, rows, weights):
        return jnp.mean(weights * jax.vmap(lambda o, a: misfit(policy, params, o, a))(rows.observation, rows.action))

    def iteration(carry, i):
        params, state = carry
        drawn = minibatch((data, weights), jax.random.fold_in(key, i), batch)
        value, slope = jax.value_and_grad(loss)(params, *drawn)
        updates, state = optimiser.update(slope, state, params)
        return (optax.apply_updates(params, updates), state), {"loss": value}

    params = jax.tree.map(jnp.asarray, params)
    (params, _), history = in_chunks(iteration, (params, optimiser.init(params)), iterations, progress)
    return PolicySearch(params, history, 0)


def _check_actions(policy: Callable[..., Any], params: Any, data: Transitions) -> None:
    """A deterministic policy's actions have the shapes of the data's: nothing is broadcast."""
    if callable(getattr(policy, "log_prob", None)):
        return
    observation, logged = jax.tree.map(lambda leaf: leaf[0], (data.observation, data.action))
    ours = jax.eval_shape(lambda: policy(params, observation))
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (ours, logged)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"behaviour_cloning: the policy's actions have shape {shapes[0]}, those of the data {shapes[1]}.")


def misfit(policy: Callable[..., Any], params: Any, observation: Any, action: Any) -> Any:
    """Of a policy and one logged action: the negative logarithm of its density, or the squared distance."""
    log_prob = getattr(policy, "log_prob", None)
    if callable(log_prob):
        return -log_prob(params, observation, action)
    apart = jax.tree.map(lambda ours, logged: jnp.sum((ours - logged) ** 2), policy(params, observation), action)
    return sum(jax.tree.leaves(apart))
