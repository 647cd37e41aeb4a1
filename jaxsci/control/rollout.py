"""Rollouts: a policy in a task, step by step (`jax.lax.scan`), for many members at once (`jax.vmap`), over devices if asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from jaxsci._checks import is_whole
from jaxsci.control.calling import call, check_arguments, is_random
from jaxsci.control.policies import sequence
from jaxsci.control.task import Task


class Rollout(NamedTuple):
    """What happened. With a batch every leaf has it as the leading axis.

    Attributes:
      states: s_t before each action, ``[horizon, ...]``.
      observations: what the policy saw; after the end, that of the start.
      actions: a_t.
      costs: of each step, not discounted; 0 after the end. ``[horizon]``.
      constraints: g_t, where the task has a constraint; 0 after the end. None otherwise.
      alive: the member had not terminated before step t; ``[horizon]``.
      final: s_T.
      terminated: the member came to an end of its own.
      truncated: the horizon ended it: the opposite of `terminated`, and the case in which a value of `final` is still to come.
      total: the discounted cost with the terminal one.
    """

    states: Any
    observations: Any
    actions: Any
    costs: Float[Array, "*batch horizon"]
    constraints: Any
    alive: Bool[Array, "*batch horizon"]
    final: Any
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]
    total: Float[Array, "*batch"]


class Carry(NamedTuple):
    """What passes from step to step."""

    state: Any
    start: Any  # where the dynamics of those who have ended are evaluated, so that no derivative there is NaN; or None
    alive: Any
    weight: Any  # gamma^t


class Step(NamedTuple):
    """What one step gives."""

    state: Any
    observation: Any
    action: Any
    cost: Any
    constraint: Any
    alive: Any


def rollout(
    task: Task,
    policy: Callable[..., Any],
    params: Any = None,
    key: Any = None,
    *,
    batch: int | None = None,
    initial: Any = None,
    mesh: Mesh | None = None,
) -> Rollout:
    """Run a policy in a task; jit, vmap and grad go through it.

    Args:
      task: a `Task`.
      policy: ``(params, observation) -> action``, or with a keyword ``key`` (random) or ``t`` (depends on time).
      params: of the policy, any pytree.
      key: needed where the start, the dynamics or the policy are random, and only there.
      batch: members; None for one, without a leading axis.
      initial: states to begin from instead of ``task.init``; with a batch they have it as the leading axis.
      mesh: devices to spread the batch over, along the mesh's first axis. No step communicates.
    Raises:
      ValueError: a key is missing, a batch that is no positive whole number, dynamics that change the state's shapes.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> def walk(p, s, a, *, key):
      ...     return s + a + 0.1 * jax.random.normal(key)
      >>> task = js.control.Task(dynamics=walk, cost=lambda p, s, a, s1: s1**2, init=lambda p: jnp.asarray(1.0), horizon=10)
      >>> run = js.control.rollout(task, lambda gain, s: -gain * s, 0.5, jax.random.key(0), batch=100)
      >>> run.costs.shape, bool(run.truncated.all())
      ((100, 10), True)
    """
    check_call(task, policy, params, key, batch, initial)

    def member(key, state):
        carry, start_key = begin(task, policy, key, state)
        carry, steps = jax.lax.scan(
            lambda carry, t: advance(task, policy, params, start_key, carry, t), carry, jnp.arange(task.horizon)
        )
        return gathered(task, carry, steps)

    return mapped(member, key, initial, batch, mesh)


def mapped(member: Callable[[Any, Any], Any], key: Any, initial: Any, batch: int | None, mesh: Mesh | None = None) -> Any:
    """``member(key, state)`` over the batch, with a key for each."""
    if batch is None:
        return member(key, initial)
    keys = None if key is None else jax.random.split(key, batch)
    if mesh is not None:
        spread = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))
        keys, initial = jax.lax.with_sharding_constraint((keys, initial), spread)
    axes = (None if key is None else 0, None if initial is None else 0)
    return jax.vmap(member, in_axes=axes, axis_size=batch)(keys, initial)


def begin(task: Task, policy: Callable[..., Any], key: Any, state: Any = None) -> tuple[Carry, Any]:
    """The carry at the start, and the key of the steps."""
    init_key, step_key = jax.random.split(key) if is_random(task.init) and key is not None else (None, key)
    state = task.first_state(init_key) if state is None else jax.tree.map(jnp.asarray, state)
    start = None if task.terminated is None else state
    dtype = jnp.result_type(float)
    alive = jnp.asarray(True) if task.terminated is None else jnp.logical_not(call(task.terminated, task.parameters, state))
    return Carry(state, start, alive, jnp.ones((), dtype)), step_key


def advance(task: Task, policy: Callable[..., Any], params: Any, key: Any, carry: Carry, t: Any) -> tuple[Carry, Step]:
    """One step. Who has terminated stays where it is and costs nothing."""
    p, alive = task.parameters, carry.alive
    # Two draws a step, whoever is random: the dynamics draw the same numbers under every policy.
    dynamics_key = jax.random.fold_in(key, 2 * t) if is_random(task.dynamics) else None
    policy_key = jax.random.fold_in(key, 2 * t + 1) if is_random(policy) else None
    state = carry.state if carry.start is None else _where(alive, carry.state, carry.start)
    observation = task.observation(state)
    action = call(policy, params, observation, key=policy_key, t=t)
    after = call(task.dynamics, p, state, action, key=dynamics_key, t=t)
    cost = call(task.cost, p, state, action, after, t=t)
    bounds = None if task.constraint is None else call(task.constraint, p, state, action, t=t)
    if task.terminated is None:
        next_carry = carry._replace(state=after, weight=carry.weight * task.discount)
        return next_carry, Step(state, observation, action, cost, bounds, alive)
    cost, bounds = _where(alive, (cost, bounds), jax.tree.map(jnp.zeros_like, (cost, bounds)))
    goes_on = alive & jnp.logical_not(call(task.terminated, p, after))
    after = _where(alive, after, carry.state)
    next_carry = carry._replace(state=after, alive=goes_on, weight=carry.weight * task.discount)
    return next_carry, Step(carry.state, observation, action, cost, bounds, alive)


def ending(task: Task, carry: Carry) -> Any:
    """The discounted terminal cost of those whom the horizon ended; nothing is to come for those who have terminated."""
    if task.terminal is None:
        return jnp.zeros((), carry.weight.dtype)
    state = carry.state if carry.start is None else _where(carry.alive, carry.state, carry.start)
    return jnp.where(carry.alive, carry.weight * call(task.terminal, task.parameters, state), 0.0)


def gathered(task: Task, carry: Carry, steps: Step) -> Rollout:
    """The rollout of ONE member, from its last carry and its steps ``[horizon, ...]``."""
    total = jnp.sum(discounts(task, task.horizon) * steps.cost) + ending(task, carry)
    ended = jnp.logical_not(carry.alive)
    seen = (steps.state, steps.observation, steps.action, steps.cost, steps.constraint, steps.alive)
    return Rollout(*seen, final=carry.state, terminated=ended, truncated=carry.alive, total=total)


def states_after(run: Rollout) -> Any:
    """The states that the steps led to, s_1 ... s_T, of rollouts with a batch: ``[batch, horizon, ...]``."""
    return jax.tree.map(lambda s, end: jnp.concatenate([s[:, 1:], end[:, None]], axis=1), run.states, run.final)


def discounts(task: Task, steps: int) -> Any:
    """gamma^t, ``[steps]``."""
    return jnp.asarray(task.discount, jnp.result_type(float)) ** jnp.arange(steps)


def check_call(task: Task, policy: Callable[..., Any], params: Any, key: Any, batch: int | None, initial: Any) -> None:
    """Raise what a rollout says of bad arguments."""
    if not isinstance(task, Task):
        raise TypeError(f"rollout: the task is a jaxsci.control.Task, got {type(task).__name__}.")
    if not callable(policy):
        raise TypeError(f"rollout: the policy is a function (params, observation) -> action, got {policy!r}.")
    check_arguments("rollout: the policy", policy, ("params", "observation"))
    if batch is not None and (not is_whole(batch) or batch < 1):
        raise ValueError(f"rollout: batch is a whole number >= 1, or None for one member, got {batch!r}.")
    random = [
        name
        for name, function in (("init", None if initial is not None else task.init), ("dynamics", task.dynamics))
        if is_random(function)
    ] + (["the policy"] if is_random(policy) else [])
    if random and key is None:
        verb = "draws" if len(random) == 1 else "draw"
        raise ValueError(f"{task.name}: {' and '.join(random)} {verb} random numbers: pass a key, jax.random.key(0) say.")
    if isinstance(key, int | float):
        raise TypeError(f"rollout: a key is made by jax.random.key({key!r}), got the number {key!r}.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(initial):
        if batch is not None and (jnp.ndim(leaf) == 0 or jnp.shape(leaf)[0] != batch):
            raise ValueError(
                f"rollout: initial{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}; "
                f"its leading axis is the batch, {batch}."
            )
    if policy is sequence and any(jnp.shape(leaf)[:1] != (task.horizon,) for leaf in jax.tree.leaves(params)):
        raise ValueError(
            f"rollout: a sequence has the horizon, {task.horizon}, as leading axis; got shapes "
            f"{[jnp.shape(leaf) for leaf in jax.tree.leaves(params)]}."
        )
    if initial is None:
        task.spaces(policy, params)


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
