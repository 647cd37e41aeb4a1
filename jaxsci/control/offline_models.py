r"""Model-based offline learning: dynamics learnt from data, and a policy that stays where they were learnt.

    s' = s + center + scale * network_m(s, a)         m = 1..M: an ensemble, each with its own start and resampled rows

    min_phi  J(phi)   subject to   J_guard(phi) = E sum gamma^t max(log tau - log p(s, a), 0) <= limit     (a `Guardian`)
                                   J_safety(phi) = E sum gamma^t max(g(s, a), 0) <= limit        (the user's; positive is bad)

by analytic policy gradients through the model with a multiplier for each constraint. Without the guard a policy goes where the
model errs in its favour (model exploitation): it promises more than it keeps.

References: Lakshminarayanan et al. (2017), arXiv:1612.01474 and Chua et al. (2018), arXiv:1805.12114, for ensembles; Yan et al.
(2025), arXiv:2505.16242, for the two kinds of constraints; Stooke et al. (2020), arXiv:2007.03964, for the multipliers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxsci._types import Key, Progress
from jaxsci.control.calling import call, of_task
from jaxsci.control.checks import check_counts
from jaxsci.control.datasets import Transitions, check_data, minibatch, standard
from jaxsci.control.guardian import Guardian, fit_guardian, guarded
from jaxsci.control.lagrangian import AugmentedLagrangian
from jaxsci.control.policy_gradient import PolicySearch, analytic_policy_gradient, in_chunks
from jaxsci.control.task import Task
from jaxsci.networks import MLP


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DynamicsEnsemble:
    """Networks that predict the next observation; made by `fit_dynamics`. Every method is for ONE row.

    Attributes:
      params: of the networks, leaves ``[members, ...]``.
      inputs, outputs: (center, scale) of observation and action, and of the change of the observation.
      network: from `jaxsci.networks`.
    """

    params: Any
    inputs: tuple[Float[Array, " inputs"], Float[Array, " inputs"]]
    outputs: tuple[Float[Array, " outputs"], Float[Array, " outputs"]]
    network: Any = dataclasses.field(metadata={"static": True})

    def members(self, observation: Any, action: Any) -> Any:
        """The next observation by each member, leaves ``[members, ...]``."""
        now, back = ravel_pytree(observation)
        z = (jnp.concatenate([now, ravel_pytree(action)[0]]) - self.inputs[0]) / self.inputs[1]
        change = jax.vmap(lambda params: self.network.apply(params, z))(self.params)
        return jax.vmap(back)(now + self.outputs[0] + self.outputs[1] * change)

    def __call__(self, observation: Any, action: Any) -> Any:
        """The mean of the members."""
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), self.members(observation, action))

    def spread(self, observation: Any, action: Any) -> Float[Array, ""]:
        """The members' standard deviation in units of the data's changes, the largest over the columns."""
        apart = jax.vmap(lambda member: ravel_pytree(member)[0])(self.members(observation, action))
        return jnp.max(jnp.std(apart, axis=0) / self.outputs[1])


def fit_dynamics(
    data: Transitions,
    *,
    key: Key,
    network: Any = MLP((64, 64)),  # noqa: B008
    members: int = 5,
    iterations: int = 2000,
    batch: int = 256,
    optimiser: optax.GradientTransformation | None = None,
    progress: Progress = None,
) -> tuple[DynamicsEnsemble, dict[str, np.ndarray]]:
    """An ensemble of dynamics, by least squares on the changes of the observation in units of their spread.

    Each member has its own resampled rows (with replacement) as its data, so that members agree where the rows are dense.

    Args:
      data: `Transitions` with floating-point observations and actions.
      key: of the starts, the resampling and the minibatches.
      network, members: what is trained, and how many of them.
      iterations, batch, optimiser: of each member; by default Adam at 3e-3 falling to 0 by a cosine.
      progress: called with a line of text ten times.
    Returns:
      The ensemble, and a history with "loss" ``[iterations]``: 1 is what the mean change alone would give.
    Raises:
      TypeError: actions or observations that are whole numbers.
      ValueError: no members, no iterations, no batch.
    """
    check_data("fit_dynamics", data, iterations, batch)
    check_counts("fit_dynamics", members=members)
    for leaf in jax.tree.leaves((data.observation, data.action)):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"fit_dynamics: observations and actions are floating point, got {leaf.dtype}; convert them.")
    flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])
    now, later = flat(data.observation), flat(data.next_observation)
    x, y = jnp.concatenate([now, flat(data.action)], axis=1), later - now
    inputs, outputs = standard(x), standard(y)
    x, y = (x - inputs[0]) / inputs[1], (y - outputs[0]) / outputs[1]
    rows = x.shape[0]
    start_key, resample_key, step_key = jax.random.split(key, 3)
    starts = [network.init(k, x.shape[1], y.shape[1]) for k in jax.random.split(start_key, members)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves).astype(x.dtype), *starts)
    own = jax.vmap(lambda k: jax.random.randint(k, (rows,), 0, rows))(jax.random.split(resample_key, members))
    optimiser = optimiser or optax.adam(optax.cosine_decay_schedule(3e-3, iterations))

    def loss(params, x, y):
        return jnp.mean((jax.vmap(lambda z: network.apply(params, z))(x) - y) ** 2)

    def step(params, state, own, key):
        drawn = minibatch(own, key, batch)
        value, slope = jax.value_and_grad(loss)(params, x[drawn], y[drawn])
        updates, state = optimiser.update(slope, state, params)
        return optax.apply_updates(params, updates), state, value

    def iteration(carry, i):
        params, state, values = jax.vmap(step)(*carry, own, jax.random.split(jax.random.fold_in(step_key, i), members))
        return (params, state), {"loss": jnp.mean(values)}

    (params, _), history = in_chunks(iteration, (params, jax.vmap(optimiser.init)(params)), iterations, progress)
    return DynamicsEnsemble(params, inputs, outputs, network), history


class ModelParameters(NamedTuple):
    """Of a task whose dynamics were learnt: the user's own, the ensemble, and observations to begin with ``[starts, ...]``."""

    task: Any
    model: DynamicsEnsemble
    starts: Any


def model_task(
    model: DynamicsEnsemble,
    data: Transitions,
    *,
    cost: Callable[..., Any],
    horizon: int,
    constraint: Callable[..., Any] | None = None,
    terminated: Callable[..., Any] | None = None,
    discount: Any = 1.0,
    parameters: Any = None,
    draw: bool = False,
) -> Task:
    """A task whose states are observations, that begins where the data's episodes began and moves as the model says.

    Args:
      model: a `DynamicsEnsemble`.
      data: `Transitions`; the first row of each episode is a start, drawn at random.
      cost, constraint, terminated, discount, horizon: as of `Task`, of the user's `parameters`.
      draw: move by a member drawn in each step instead of the mean of all.
    """
    number = np.asarray(data.episode)
    first = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
    starts = jax.tree.map(lambda leaf: leaf[first], data.observation)

    def init(p, *, key):
        return minibatch(p.starts, key, None)

    def mean(p, s, a):
        return p.model(s, a)

    def drawn(p, s, a, *, key):
        return minibatch(p.model.members(s, a), key, None)

    return Task(
        dynamics=drawn if draw else mean,
        cost=of_task(cost),
        init=init,
        constraint=of_task(constraint),
        terminated=of_task(terminated),
        horizon=horizon,
        discount=discount,
        parameters=ModelParameters(parameters, model, starts),
        name="learnt task",
    )


class GuardedSearch(NamedTuple):
    """What `guarded_policy` carries besides the policy: the task in the model, the guardian (or None), the multipliers."""

    task: Task
    guardian: Guardian | None
    multipliers: Any


def guarded_policy(
    policy: Callable[..., Any],
    params: Any,
    data: Transitions,
    *,
    key: Key,
    cost: Callable[..., Any],
    horizon: int,
    constraint: Callable[..., Any] | None = None,
    limit: Any = 0.0,
    guard_limit: Any = 0.0,
    alpha: float | None = 0.05,
    guardian: Guardian | None = None,
    model: DynamicsEnsemble | None = None,
    parameters: Any = None,
    discount: Any = 1.0,
    iterations: int = 500,
    batch: int = 64,
    penalty: Any = 1.0,
    optimiser: optax.GradientTransformation | None = None,
    progress: Progress = None,
) -> PolicySearch:
    """A policy from data alone: model, guardian, and a policy gradient through the model under both kinds of constraints.

    Args:
      policy, params: as of `analytic_policy_gradient`; a good start is `behaviour_cloning`.
      data: `Transitions`; the observation is taken for the state.
      key: of everything random.
      cost, horizon, discount, parameters: as of `Task`.
      constraint: safety, ``(parameters, observation, action) -> g``: g <= 0 is safe; a scalar or a pytree of scalars.
      limit: of E sum gamma^t max(g, 0) over the horizon, a number or a pytree like the constraint's.
      guard_limit: of the guardian's E sum gamma^t max(log tau - log p, 0).
      alpha: of `fit_guardian`; None for no guardian.
      guardian, model: ready ones, instead of those that would be fitted here.
      iterations, batch, optimiser, progress: of `analytic_policy_gradient`.
      penalty: rho of the `AugmentedLagrangian`.
    Returns:
      A `PolicySearch`: `state` is a `GuardedSearch`; no step in the true system was made, `environment_steps` is 0.
    Raises:
      ValueError: costs and constraints as `Task` and `objective` say; a limit without a constraint.
    """
    check_data("guarded_policy", data, iterations, batch)
    model_key, guard_key, search_key = jax.random.split(key, 3)
    if model is None:
        model, _ = fit_dynamics(data, key=model_key)
    if guardian is None and alpha is not None:
        guardian = fit_guardian(data, alpha=alpha, key=guard_key)
    task = model_task(
        model, data, cost=cost, horizon=horizon, constraint=constraint, discount=discount, parameters=parameters
    )
    if constraint is None and jax.tree.leaves(limit) != [0.0]:
        raise ValueError(f"guarded_policy: limit={limit!r} belongs to a constraint, and there is none; see guard_limit.")
    if guardian is not None:
        task = guarded(task, guardian)
        limit = _limits(task, policy, params, limit, guard_limit)
    multipliers = None if task.constraint is None else AugmentedLagrangian(penalty=penalty, limit=limit)
    found = analytic_policy_gradient(
        task,
        policy,
        params,
        key=search_key,
        iterations=iterations,
        batch=batch,
        optimiser=optimiser,
        constraints=multipliers,
        multiplier_every=10,
        progress=progress,
    )
    history = {name: values for name, values in found.history.items() if name != "environment_steps"}  # the model's
    return PolicySearch(found.params, history, 0, GuardedSearch(task, guardian, found.state))


def _limits(task: Task, policy: Callable[..., Any], params: Any, limit: Any, guard_limit: Any) -> Any:
    """The limits of a guarded task, in the structure of its constraint."""
    state, _, action = task.spaces(policy, params)
    constraint: Any = task.constraint
    like = jax.eval_shape(lambda p, s, a: call(constraint, p, s, a, t=0), task.parameters, state, action)
    if "task" not in like:
        return {"guard": guard_limit}
    if jax.tree.structure(limit) != jax.tree.structure(like["task"]):
        limit = jax.tree.map(lambda _: limit, like["task"])
    return {"guard": guard_limit, "task": limit}
