"""Policies made of a network: functions of parameters and ONE observation, with what algorithms ask of them.

Any function ``(params, observation) -> action`` is a policy. Those of this file also make their parameters (``init``), and the
random ones tell the density of an action, which is what score functions, PPO and offline learning need.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from jaxsci._types import Key
from jaxsci.control.checks import check_bounds
from jaxsci.control.task import Task
from jaxsci.networks import MLP

_NETWORK = MLP((32, 32))


class StochasticPolicy(Protocol):
    """What algorithms that need densities ask of a policy."""

    def __call__(self, params: Any, observation: Any, *, key: Key) -> Any:
        """Draw an action."""
        ...

    def log_prob(self, params: Any, observation: Any, action: Any) -> Float[Array, ""]:
        """The logarithm of the density (or probability) of an action."""
        ...

    def mode(self, params: Any, observation: Any) -> Any:
        """The action of an evaluation without noise."""
        ...

    def entropy(self, params: Any, observation: Any) -> Float[Array, ""]:
        """The entropy, exact or an upper bound (before squashing)."""
        ...


@dataclasses.dataclass(frozen=True)
class NetworkPolicy:
    """A deterministic policy: a = low + (high - low) (1 + tanh(network(z))) / 2, or network(z) where there are no bounds.

    Args:
      network: from `jaxsci.networks`, or anything with its ``init`` and ``apply``.
      actions: how many numbers an action has; None for a scalar action.
      low, high: bounds of the actions, numbers or tuples; None for none.
      center, scale: the network sees z = (observation - center) / scale; numbers or tuples as long as the flat observation.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> policy = js.control.NetworkPolicy(actions=2, low=-1.0, high=1.0)
      >>> params = policy.init(jax.random.key(0), jnp.zeros(3))
      >>> policy(params, jnp.ones(3)).shape
      (2,)
    """

    network: Any = _NETWORK
    actions: int | None = None
    low: Any = None
    high: Any = None
    center: Any = 0.0
    scale: Any = 1.0

    def __post_init__(self):
        check_bounds(type(self).__name__, self.low, self.high)

    def init(self, key: Key, observation: Any) -> Any:
        """Parameters for observations like the given one (or for those of a `Task`)."""
        return self.network.init(key, _size(observation), self.actions or 1)

    def __call__(self, params: Any, observation: Any) -> Any:
        raw = self.network.apply(params, _flat(self, observation))
        action = raw if self.low is None else _between(self, jnp.tanh(raw))
        return action if self.actions else action[0]


@dataclasses.dataclass(frozen=True)
class GaussianPolicy:
    """A normal draw around a network's output, squashed between bounds by tanh where there are some.

    The standard deviation is a parameter per action (``"log_std"``), before squashing; densities are of the squashed action.

    Args:
      network, actions, low, high, center, scale: as of `NetworkPolicy`.
      log_std: where the logarithm of the standard deviation starts.
    Reference: Haarnoja et al. (2018), arXiv:1801.01290, appendix C, for the density after tanh.
    """

    network: Any = _NETWORK
    actions: int | None = None
    low: Any = None
    high: Any = None
    center: Any = 0.0
    scale: Any = 1.0
    log_std: float = -0.5

    def __post_init__(self):
        check_bounds(type(self).__name__, self.low, self.high)

    def init(self, key: Key, observation: Any) -> Any:
        """Parameters for observations like the given one (or for those of a `Task`)."""
        count = self.actions or 1
        params = self.network.init(key, _size(observation), count)
        return params | {"log_std": jnp.full((count,), self.log_std, jnp.result_type(float))}

    def _mean(self, params: Any, observation: Any) -> Any:
        weights = {name: leaf for name, leaf in params.items() if name != "log_std"}
        return self.network.apply(weights, _flat(self, observation))

    def _action(self, raw: Any) -> Any:
        action = raw if self.low is None else _between(self, jnp.tanh(raw))
        return action if self.actions else action[0]

    def __call__(self, params: Any, observation: Any, *, key: Key) -> Any:
        mean = self._mean(params, observation)
        return self._action(mean + jnp.exp(params["log_std"]) * jax.random.normal(key, mean.shape, mean.dtype))

    def mode(self, params: Any, observation: Any) -> Any:
        return self._action(self._mean(params, observation))

    def log_prob(self, params: Any, observation: Any, action: Any) -> Float[Array, ""]:
        mean, log_std = self._mean(params, observation), params["log_std"]
        raw = jnp.reshape(action, mean.shape)
        squash = 0.0
        if self.low is not None:
            half = (jnp.asarray(self.high) - jnp.asarray(self.low)) / 2
            unit = (raw - jnp.asarray(self.low)) / half - 1
            unit = jnp.clip(unit, -1 + 1e-6, 1 - 1e-6)
            raw = jnp.arctanh(unit)
            squash = jnp.log1p(-(unit**2)) + jnp.log(half)
        normal = -0.5 * ((raw - mean) / jnp.exp(log_std)) ** 2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
        return jnp.sum(normal - squash)

    def entropy(self, params: Any, observation: Any) -> Float[Array, ""]:
        return jnp.sum(params["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))


@dataclasses.dataclass(frozen=True)
class CategoricalPolicy:
    """One of a few choices, an integer, with probabilities softmax(network(z)).

    Args:
      choices: how many.
      network, center, scale: as of `NetworkPolicy`.
    """

    choices: int
    network: Any = _NETWORK
    center: Any = 0.0
    scale: Any = 1.0

    def init(self, key: Key, observation: Any) -> Any:
        """Parameters for observations like the given one (or for those of a `Task`)."""
        return self.network.init(key, _size(observation), self.choices)

    def logits(self, params: Any, observation: Any) -> Float[Array, " choices"]:
        """Unnormalised logarithms of the probabilities."""
        return self.network.apply(params, _flat(self, observation))

    def __call__(self, params: Any, observation: Any, *, key: Key) -> Int[Array, ""]:
        return jax.random.categorical(key, self.logits(params, observation))

    def mode(self, params: Any, observation: Any) -> Int[Array, ""]:
        return jnp.argmax(self.logits(params, observation))

    def log_prob(self, params: Any, observation: Any, action: Any) -> Float[Array, ""]:
        return jax.nn.log_softmax(self.logits(params, observation))[action]

    def entropy(self, params: Any, observation: Any) -> Float[Array, ""]:
        logs = jax.nn.log_softmax(self.logits(params, observation))
        return -jnp.sum(jnp.exp(logs) * logs)


def sequence(params: Any, observation: Any, *, t: Any) -> Any:
    """The policy that plays a list of actions: `params` has the actions, with time as the leading axis."""
    return jax.tree.map(lambda leaf: leaf[t], params)


def _size(observation: Any) -> int:
    if isinstance(observation, Task):
        observation = jax.eval_shape(lambda: observation.observation(observation.first_state(jax.random.key(0))))
    return sum(int(np.prod(np.shape(leaf))) for leaf in jax.tree.leaves(observation))


def _flat(policy: Any, observation: Any) -> Any:
    z = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), observation))[0]
    return (z - jnp.asarray(policy.center, z.dtype)) / jnp.asarray(policy.scale, z.dtype)


def _between(policy: Any, unit: Any) -> Any:
    low, high = jnp.asarray(policy.low, unit.dtype), jnp.asarray(policy.high, unit.dtype)
    return low + (high - low) * (unit + 1) / 2
