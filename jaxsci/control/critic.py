r"""A critic: a network for the cost that is still to come.

    V(z) = m + s network((z - center) / scale)

with the running means and standard deviations of inputs and targets, so that the network sees and gives numbers of size one
whatever the units. It is fitted to targets by steps of Adam on minibatches of the squared error; its target is a slow average of
it, phi' <- alpha phi' + (1 - alpha) phi, which is what targets are made of.

References: Xu et al. (2022), arXiv:2204.07137, section 4; van Hasselt et al. (2016), arXiv:1602.07714, for the scale of targets.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxsci._types import Key
from jaxsci.control.checks import check_counts, check_range
from jaxsci.control.task import Task
from jaxsci.control.windows import Window
from jaxsci.networks import MLP

_NETWORK = MLP((64, 64))


class Moments(NamedTuple):
    """Running means and variances, and how many batches went into them."""

    mean: Any
    variance: Any
    batches: Any


class CriticState(NamedTuple):
    """Parameters, their slow average, the optimiser's state, the moments of inputs and of targets."""

    params: Any
    target: Any
    optimiser: Any
    inputs: Moments
    values: Moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Critic:
    """How a critic is built and fitted; see the head of this file.

    Args:
      network: from `jaxsci.networks`.
      learning_rate: of Adam.
      epochs: passes over the data of an iteration.
      minibatches: in a pass.
      averaging: alpha of the target; 0 for none.
      memory: moments forget at the rate 1 / memory a batch.
    Raises:
      ValueError: counts that are no whole numbers >= 1, a rate that is not above 0, an average outside [0, 1].
    """

    network: Any = _NETWORK
    learning_rate: float = 1e-3
    epochs: int = 16
    minibatches: int = 4
    averaging: float = 0.2
    memory: int = 20

    def __post_init__(self):
        check_counts("Critic", epochs=self.epochs, minibatches=self.minibatches, memory=self.memory)
        check_range("Critic", 0, np.inf, open_low=True, learning_rate=self.learning_rate)
        check_range("Critic", 0, 1, averaging=self.averaging)

    @property
    def _adam(self) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(self.learning_rate))

    def init(self, key: Key, size: int, dtype: Any = None) -> CriticState:
        """A state for inputs of so many numbers."""
        params = self.network.init(key, size, 1)
        dtype = jnp.result_type(float) if dtype is None else dtype
        count = jnp.zeros((), dtype)
        inputs = Moments(jnp.zeros(size, dtype), jnp.ones(size, dtype), count)
        values = Moments(jnp.zeros((), dtype), jnp.ones((), dtype), count)
        return CriticState(params, params, self._adam.init(params), inputs, values)

    def value(self, state: CriticState, z: Float[Array, " size"], *, target: bool = False) -> Float[Array, ""]:
        """V of ONE input, by the parameters or by their slow average."""
        params = state.target if target else state.params
        return state.values.mean + _scale(state.values) * self._normalised(params, state.inputs, z)

    def _normalised(self, params: Any, inputs: Moments, z: Any) -> Any:
        return self.network.apply(params, (z - inputs.mean) / _scale(inputs))[0]

    def fit(
        self,
        key: Key,
        state: CriticState,
        z: Float[Array, "samples size"],
        targets: Float[Array, " samples"],
        weights: Float[Array, " samples"],
    ) -> tuple[CriticState, Float[Array, ""]]:
        """The state after `epochs` passes over inputs and targets, and the last pass's error in units of the targets' scale.

        Args:
          weights: 0 for a sample that is none. Samples that are not finite count as such.
        """
        usable = (weights > 0) & jnp.isfinite(targets) & jnp.all(jnp.isfinite(z), axis=1)
        weights = jnp.where(usable, weights, 0.0)
        z, targets = jnp.where(usable[:, None], z, 0.0), jnp.where(usable, targets, 0.0)
        inputs = _moved(state.inputs, z, weights, self.memory)
        values = _moved(state.values, targets, weights, self.memory)
        wanted = (targets - values.mean) / _scale(values)
        size = max(1, len(targets) // self.minibatches)

        def loss(params, chosen):
            error = jax.vmap(lambda z: self._normalised(params, inputs, z))(z[chosen]) - wanted[chosen]
            return jnp.sum(weights[chosen] * error**2) / jnp.maximum(jnp.sum(weights[chosen]), 1e-8)

        def step(carry, chosen):
            params, optimiser = carry
            error, slope = jax.value_and_grad(loss)(params, chosen)
            updates, optimiser = self._adam.update(slope, optimiser, params)
            return (optax.apply_updates(params, updates), optimiser), error

        def epoch(carry, key):
            order = jax.random.permutation(key, len(targets))[: size * self.minibatches]
            carry, errors = jax.lax.scan(step, carry, order.reshape(-1, size))
            return carry, jnp.mean(errors)

        (params, optimiser), errors = jax.lax.scan(
            epoch, (state.params, state.optimiser), jax.random.split(key, self.epochs)
        )
        slow = jax.tree.map(lambda old, new: self.averaging * old + (1 - self.averaging) * new, state.target, params)
        return CriticState(params, slow, optimiser, inputs, values), errors[-1]


def critic_input(task: Task, observation: Any, t: Any, endless: bool) -> Float[Array, " size"]:
    """What a critic sees: the flat observation and, where the horizon is the end of the task, the share of it that has passed."""
    flat = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), observation))[0]
    return flat if endless else jnp.append(flat, jnp.asarray(t, flat.dtype) / task.horizon)


def values_of(
    critic: Critic, state: CriticState, task: Task, window: Window, endless: bool, *, target: bool = False
) -> tuple[Any, Any]:
    """V_t and V'_t along ONE member's window; where the horizon ended the episode, V' is the task's terminal cost.

    Unless the task is endless: then the horizon ended nothing but the episode, and V' is the critic's.
    """
    seen = jax.vmap(lambda o, t: critic_input(task, o, t, endless))(window.observations, window.times)
    values = jax.vmap(lambda z: critic.value(state, z, target=target))(seen)
    after = values[1:] if endless else jnp.where(window.truncated, window.terminal, values[1:])
    return values[:-1], after


def new_critic(critic: Critic, key: Any, task: Task, members: Any, endless: bool) -> Any:
    """A critic's state for what it will see."""
    first = jax.tree.map(lambda leaf: leaf[0], members)
    seen = jax.eval_shape(lambda m: critic_input(task, task.observation(m.carry.state), m.t, endless), first)
    return critic.init(key, seen.shape[0], seen.dtype)


def samples(task: Task, windows: Any, targets: Any, endless: bool) -> tuple[Any, Any, Any]:
    """What a critic is fitted to, over all members and steps: inputs, targets, weights."""
    seen = jax.vmap(jax.vmap(lambda o, t: critic_input(task, o, t, endless)))(windows.observations, windows.times)[:, :-1]
    flat = jax.lax.stop_gradient((seen.reshape(-1, seen.shape[-1]), targets.reshape(-1)))
    return *flat, windows.alive.reshape(-1).astype(targets.dtype)


def _scale(moments: Moments) -> Any:
    """The standard deviation; 1 for what does not vary."""
    spread = jnp.sqrt(moments.variance)
    return jnp.where(spread > 1e-6 * (1e-3 + jnp.abs(moments.mean)), spread, 1.0)


def _moved(moments: Moments, samples: Any, weights: Any, memory: int) -> Moments:
    """Moments of the mixture of what was and a new batch."""
    total = jnp.sum(weights)
    shares = (weights / jnp.maximum(total, 1e-8)).reshape((-1,) + (1,) * (samples.ndim - 1))
    mean = jnp.sum(shares * samples, axis=0)
    variance = jnp.sum(shares * (samples - mean) ** 2, axis=0)
    rate = jnp.where(total > 0, jnp.maximum(1 / (moments.batches + 1), 1 / memory), 0.0)
    centre = (1 - rate) * moments.mean + rate * mean
    spread = (1 - rate) * (moments.variance + (moments.mean - centre) ** 2) + rate * (variance + (mean - centre) ** 2)
    return Moments(centre, spread, moments.batches + (total > 0))
