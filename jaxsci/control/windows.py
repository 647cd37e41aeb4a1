"""Members that go on from window to window, for learners that see a few steps at a time (SHAC, PPO).

The core restarts nobody; here a member whose episode has ended, in either way, begins a new one with a start of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxsci._checks import is_traced
from jaxsci.control.calling import call
from jaxsci.control.checks import check_counts
from jaxsci.control.rollout import Carry, advance, begin
from jaxsci.control.task import Task


class Member(NamedTuple):
    """Where a member is in its episode. With several, every leaf has them as the leading axis.

    Attributes:
      carry: of the rollout.
      key: of the steps of the episode.
      t: the number of the next step.
      total, violation: discounted sums of this episode so far.
      finished: some episode has come to an end.
      last_total, last_violation: the sums of the last finished one.
    """

    carry: Carry
    key: Any
    t: Any
    total: Any
    violation: Any
    finished: Any
    last_total: Any
    last_violation: Any


class Window(NamedTuple):
    """What a member lived through in a number of steps. After an end it waits, and `alive` is False.

    Attributes:
      observations: of the states, the last one included: ``[steps + 1, ...]``.
      times: t of the same, ``[steps + 1]``.
      actions, costs, violations: of the steps; violations are max(g, 0).
      alive: the step took place.
      terminated, truncated: the step was the last of its episode: by itself, or by the horizon.
      terminal: the task's terminal cost of the final state, where the horizon ended the episode; else 0.
    """

    observations: Any
    times: Any
    actions: Any
    costs: Any
    violations: Any
    alive: Any
    terminated: Any
    truncated: Any
    terminal: Any


def window_length(task: Task, asked: int) -> tuple[int, int]:
    """The length of a window, at most as asked, and how many make an episode: as equal as whole numbers allow."""
    count = -(-task.horizon // min(asked, task.horizon))
    return -(-task.horizon // count), count


def new_members(task: Task, policy: Callable[..., Any], params: Any, key: Any, batch: int) -> Member:
    """Members at the start of an episode, each with a start of its own."""

    def new(key):
        carry, step_key = begin(task, policy, key)
        like = jax.eval_shape(lambda: advance(task, policy, params, step_key, carry, 0)[1])
        zero = jnp.zeros((), carry.weight.dtype)
        violation = jax.tree.map(lambda g: jnp.zeros(g.shape, jnp.result_type(g.dtype, zero.dtype)), like.constraint)
        total = jnp.zeros((), jnp.result_type(like.cost.dtype, zero.dtype))
        return Member(carry, step_key, jnp.zeros((), int), total, violation, jnp.asarray(False), total, violation)

    return jax.vmap(new)(jax.random.split(key, batch))


def restarted(
    task: Task, policy: Callable[..., Any], params: Any, key: Any, members: Member, also: Bool[Array, " batch"]
) -> Member:
    """Members of whom those that have ended, those whose state is no longer finite and those of `also` begin a new episode."""
    fresh = new_members(task, policy, params, key, len(members.t))
    fresh = fresh._replace(finished=members.finished, last_total=members.last_total, last_violation=members.last_violation)
    broken = jax.vmap(lambda state: jnp.logical_not(_is_finite(state)))(members.carry.state)
    due = also | broken | jnp.logical_not(members.carry.alive) | (members.t >= task.horizon)
    return jax.vmap(lambda due, new, old: jax.tree.map(lambda a, b: jnp.where(due, a, b), new, old))(due, fresh, members)


def live(
    task: Task, policy: Callable[..., Any], params: Any, member: Member, steps: int, tape: bool = True
) -> tuple[Member, Window]:
    """A window of ONE member. The derivative goes through all of it; without `tape` it remembers the states alone.

    Who comes to an end within the window waits until it is over; its waiting steps are evaluations of the dynamics too.
    """

    def once(carried, _):
        carry, t = carried
        going = t < task.horizon
        after, step = advance(task, policy, params, member.key, carry, t)
        alive = step.alive & going
        after = jax.tree.map(lambda a, b: jnp.where(going, a, b), after, carry)
        over = t + 1 == task.horizon
        seen = {
            "observation": step.observation,
            "t": t,
            "action": step.action,
            "cost": jnp.where(alive, step.cost, 0.0),
            "violation": jax.tree.map(lambda g: jnp.where(alive, jnp.maximum(g, 0.0), 0.0), step.constraint),
            "alive": alive,
            "terminated": alive & jnp.logical_not(after.alive),
            "truncated": alive & after.alive & over,
            "weight": carry.weight,
        }
        return (after, t + going), seen

    body = once if tape else jax.checkpoint(once)
    (carry, t), seen = jax.lax.scan(body, (member.carry, member.t), length=steps)
    cut = jnp.any(seen["truncated"])
    terminal, last = jnp.zeros_like(member.total), carry.state
    if carry.start is not None:  # as in the core: no derivative is taken where somebody has ended
        last = jax.tree.map(lambda a, b: jnp.where(carry.alive, a, b), last, carry.start)
    if task.terminal is not None:
        terminal = jnp.where(cut, call(task.terminal, task.parameters, last), terminal)
    join = lambda seen, last: jnp.concatenate([seen, jnp.asarray(last, seen.dtype)[None]])  # noqa: E731
    window = Window(
        jax.tree.map(join, seen["observation"], task.observation(last)),
        join(seen["t"], t),
        seen["action"],
        seen["cost"],
        seen["violation"],
        seen["alive"],
        seen["terminated"],
        seen["truncated"],
        terminal,
    )
    total = member.total + jnp.sum(seen["weight"] * seen["cost"]) + jnp.where(cut, carry.weight * terminal, 0.0)
    violation = jax.tree.map(lambda v, g: v + jnp.sum(seen["weight"] * g), member.violation, seen["violation"])
    ended = (cut | jnp.any(seen["terminated"])) & jnp.isfinite(total)
    kept = lambda new, old: jnp.where(ended, new, old)  # noqa: E731
    member = Member(
        carry,
        member.key,
        t,
        total,
        violation,
        member.finished | ended,
        kept(total, member.last_total),
        jax.tree.map(kept, violation, member.last_violation),
    )
    return member, window


def of_finished(members: Member) -> tuple[Any, Any]:
    """The mean discounted cost of the members' last finished episodes, NaN where there is none, and that of the violations, 0."""
    count = jnp.sum(members.finished)
    total = jnp.sum(jnp.where(members.finished, members.last_total, 0.0)) / count
    mean = lambda v: jnp.sum(jnp.where(members.finished, v, 0.0)) / jnp.maximum(count, 1)  # noqa: E731
    return total, jax.tree.map(mean, members.last_violation)


def priced(constraints: Any, multipliers: Any, window: Window, violation: Any) -> tuple[Window, Any]:
    """The window with the constraints' violations in its costs, at the prices that the multipliers put on them.

    An objective L(J, v) of the expected cost and violations has the gradient dL/dJ grad J + sum_i dL/dv_i grad v_i: that of the
    expected sum of dL/dJ c_t + sum_i dL/dv_i max(g_i, 0), so that one critic is enough. The terminal cost is priced too.
    """
    if constraints is None:
        return window, jnp.ones(())
    zero = jnp.zeros_like(window.terminal, shape=())
    of_cost, of_violation = jax.lax.stop_gradient(jax.grad(constraints.loss, argnums=(0, 1))(zero, violation, multipliers))
    costs = of_cost * window.costs
    for price, excess in zip(jax.tree.leaves(of_violation), jax.tree.leaves(window.violations), strict=True):
        costs = costs + price * excess
    return window._replace(costs=costs, terminal=of_cost * window.terminal), of_cost


def _is_finite(tree: Any) -> Any:
    inexact = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in inexact])) if inexact else jnp.asarray(True)


def staggered(batch: int, count: int, i: Any) -> Any:
    """Who begins anew in the first episode so that the members are spread over its windows.

    A window's end always has a value, so that cutting an episode there is no bias; in step, all members would be in the same
    part of the episode at a time, and the critic would forget the others.
    """
    return (i > 0) & (i < count) & (jnp.arange(batch) % count == i)


def updated(constraints: Any, multipliers: Any, members: Any, violation: Any, due: Any) -> Any:
    """Multipliers where an update is due and somebody has finished an episode."""
    later = constraints.update(jax.lax.stop_gradient(violation), multipliers)
    return jax.tree.map(functools.partial(jnp.where, due & jnp.any(members.finished)), later, multipliers)


def check_windows(
    name: str, task: Task, iterations: int, batch: int, window: int, endless: bool, constraints: Any, multiplier_every: Any
) -> None:
    """Raise what is wrong with the arguments of SHAC and PPO."""
    check_counts(name, iterations=iterations, batch=batch, window=window)
    if multiplier_every is not None:
        check_counts(name, multiplier_every=multiplier_every)
    if endless and not is_traced(task.discount) and float(task.discount) >= 1:
        raise ValueError(f"{name}: the cost of an endless task is only finite with a discount below 1; {task.name} has 1.")
    if constraints is not None and task.constraint is None:
        raise ValueError(f"{name}: {task.name} has no constraint for {type(constraints).__name__} to hold.")
