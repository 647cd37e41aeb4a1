r"""A learned step: a network in the place of a solver, with the solver's signature.

    s' = s + d * network((s - c) / d_s, (a - c_a) / d_a)

fitted to rollouts of the task it stands for, on several steps in a row (Sanchez-Gonzalez et al. 2020 add noise instead; unrolled
steps train on the surrogate's own errors). Centre and scale are those of the data and are parameters like the weights.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxsci._checks import is_whole
from jaxsci._types import Key, Progress
from jaxsci.control.calling import OfPart, of_task
from jaxsci.control.checks import check_counts
from jaxsci.control.policy_gradient import in_chunks
from jaxsci.control.rollout import Rollout, states_after
from jaxsci.control.task import Task
from jaxsci.networks import MLP

_NETWORK = MLP((128, 128), activation="gelu")


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """Dynamics ``(parameters, state, action) -> state`` made of a network; see the head of this file.

    Args:
      network: from `jaxsci.networks`, of flat states and actions.
    """

    network: Any = _NETWORK

    def init(self, key: Key, runs: Rollout) -> Any:
        """Parameters, with the scales of the states, steps and actions of some rollouts ``[batch, horizon, ...]``."""
        states, actions, alive = _rows(runs.states, 2), _rows(runs.actions, 2), np.asarray(runs.alive)
        steps = (states[:, 1:] - states[:, :-1])[alive[:, 1:]]
        inputs = jnp.concatenate([states, actions], axis=-1)[alive]
        spread = lambda rows: jnp.maximum(jnp.std(rows, axis=0), 1e-6 * (1 + jnp.max(jnp.abs(rows))))  # noqa: E731
        return {
            "network": self.network.init(key, inputs.shape[-1], states.shape[-1]),
            "center": jnp.mean(inputs, axis=0),
            "scale": spread(inputs),
            "step": spread(steps),
        }

    def __call__(self, parameters: Any, state: Any, action: Any) -> Any:
        flat, back = ravel_pytree(state)
        act = ravel_pytree(action)[0]
        z = (jnp.concatenate([flat, act]) - parameters["center"]) / parameters["scale"]
        return back(flat + parameters["step"] * self.network.apply(parameters["network"], z))


class SurrogateFit(NamedTuple):
    """A fitted surrogate.

    Attributes:
      parameters: of the `Surrogate`.
      history: the loss of each iteration.
      one_step_error: relative L2 error of the step s' - s on rollouts that were held out.
    """

    parameters: Any
    history: np.ndarray
    one_step_error: float


def fit_surrogate(
    surrogate: Surrogate,
    runs: Rollout,
    *,
    key: Key,
    iterations: int = 2000,
    batch: int = 256,
    unroll: int = 1,
    learning_rate: float = 1e-3,
    held_out: float = 0.1,
    progress: Progress = None,
) -> SurrogateFit:
    """Fit a surrogate to rollouts ``[batch, horizon, ...]`` of the task that it stands for.

    Args:
      surrogate: what to fit.
      runs: from `jaxsci.control.rollout`, with actions that explore what a policy will do. Steps after an end are not used.
      iterations, batch: of Adam with a cosine schedule, on pieces of `unroll` steps drawn at random.
      unroll: steps in a row whose errors are summed, the surrogate fed with its own output.
      held_out: the share of the members that the reported error is measured on.
    Raises:
      ValueError: rollouts without a batch, states that are not floating point, fewer steps than `unroll`.
    """
    check_counts("fit_surrogate", iterations=iterations, batch=batch)
    _check(runs, unroll, held_out)
    states = _rows(runs.states, 2)
    following = _rows(states_after(runs), 2)
    members, horizon = states.shape[:2]
    test = max(1, int(members * held_out))
    one = jax.tree.map(lambda leaf: leaf[0, 0], runs.states)
    back = ravel_pytree(one)[1]
    start_key, key = jax.random.split(key)
    parameters = surrogate.init(start_key, jax.tree.map(lambda leaf: leaf[test:], runs))
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, iterations))

    def piece_error(network, scales, member, t):
        """Squared errors of `unroll` steps from s_t, in units of the scale of a step; steps after an end weigh nothing."""
        parameters = scales | {"network": network}

        def once(state, i):
            action = jax.tree.map(lambda leaf: leaf[member, t + i], runs.actions)
            after = ravel_pytree(surrogate(parameters, back(state), action))[0]
            error = jnp.mean(((after - following[member, t + i]) / parameters["step"]) ** 2)
            return after, jnp.where(runs.alive[member, t + i], error, 0.0)

        return jnp.mean(jax.lax.scan(once, states[member, t], jnp.arange(unroll))[1])

    scales = {name: leaf for name, leaf in parameters.items() if name != "network"}

    def iteration(carry, i):
        network, state = carry
        drawn = jax.random.split(jax.random.fold_in(key, i))
        member = jax.random.randint(drawn[0], (batch,), test, members)
        t = jax.random.randint(drawn[1], (batch,), 0, horizon - unroll + 1)

        def loss(network):
            return jnp.mean(jax.vmap(lambda m, t: piece_error(network, scales, m, t))(member, t))

        value, slope = jax.value_and_grad(loss)(network)
        updates, state = optimiser.update(slope, state, network)
        return (optax.apply_updates(network, updates), state), {"loss": value}

    carry = (parameters["network"], optimiser.init(parameters["network"]))
    (network, _), history = in_chunks(iteration, carry, iterations, progress)
    parameters = scales | {"network": network}

    def step_of(state, action):
        return ravel_pytree(surrogate(parameters, back(state), action))[0]

    guess = jax.jit(jax.vmap(jax.vmap(step_of)))(states[:test], jax.tree.map(lambda leaf: leaf[:test], runs.actions))
    alive = runs.alive[:test, :, None]
    truth = jnp.where(alive, following[:test] - states[:test], 0.0)
    wrong = jnp.where(alive, guess - following[:test], 0.0)
    return SurrogateFit(parameters, history["loss"], float(jnp.linalg.norm(wrong) / jnp.linalg.norm(truth)))


class SurrogateParameters(NamedTuple):
    """Of a task on a surrogate: the task's own, and the surrogate's."""

    task: Any
    surrogate: Any


def with_surrogate(task: Task, surrogate: Callable[..., Any], fitted: Any) -> Task:
    """The task with a surrogate for its dynamics; its parameters are `SurrogateParameters`.

    Args:
      task: whose costs, start and ends stay.
      surrogate: dynamics ``(parameters, state, action) -> state``.
      fitted: the surrogate's parameters, or the `SurrogateFit` that has them.
    """
    fitted = fitted.parameters if isinstance(fitted, SurrogateFit) else fitted
    names = ("cost", "init", "observe", "terminal", "constraint", "terminated")
    return task.replace(
        dynamics=OfPart(surrogate, operator.attrgetter("surrogate")),
        parameters=SurrogateParameters(task.parameters, fitted),
        name=f"{task.name} (surrogate)",
        **{name: of_task(getattr(task, name)) for name in names},
    )


def _rows(tree: Any, leading: int) -> Any:
    """Every state as one flat row, after the leading axes."""
    flatten = lambda t: ravel_pytree(t)[0]  # noqa: E731
    for _ in range(leading):
        flatten = jax.vmap(flatten)
    return flatten(tree)


def _check(runs: Any, unroll: int, held_out: float) -> None:
    if not isinstance(runs, Rollout) or np.ndim(runs.alive) != 2:
        raise ValueError("fit_surrogate: give rollouts with a batch, jaxsci.control.rollout(..., batch=64).")
    for path, leaf in jax.tree_util.tree_leaves_with_path(runs.states):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"fit_surrogate: the state's leaf {jax.tree_util.keystr(path)} is {leaf.dtype}; a surrogate steps real numbers. "
                "Make a task whose state has floating-point leaves only."
            )
    if not is_whole(unroll) or not 1 <= unroll <= runs.alive.shape[1]:
        raise ValueError(f"fit_surrogate: unroll is between 1 and the horizon, {runs.alive.shape[1]}, got {unroll!r}.")
    if not 0 < held_out < 1 or runs.alive.shape[0] < 2:
        raise ValueError(f"fit_surrogate: held_out lies between 0 and 1 and needs two members, got {held_out!r}.")
