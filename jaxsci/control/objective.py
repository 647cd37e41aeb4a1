r"""The objective of a policy and four ways to its gradient, with the memory of the reverse pass under control.

    "pathwise"          d/d phi of the rollout itself, through policy, dynamics and cost
    "straight_through"  the same with actions rounded to whole numbers forward (`jaxsci.control.through`)
    "mixed"             the same with the values of the dynamics and the derivatives of a surrogate (`jaxsci.control.mixed`)
    "score"             E [(sum_t grad log pi(a_t | o_t)) (return to go - baseline)]: nothing is differentiated but the policy

The pathwise gradient over T steps multiplies T Jacobians: where the leading Lyapunov exponent is positive it explodes.
`truncate` cuts the product every so many steps and a critic stands for what is cut (SHAC).

References: Mohamed et al. (2020), J. Mach. Learn. Res. 21, 132, for the estimators; Metz et al. (2021), arXiv:2111.05803, for
chaos; Xu et al. (2022), arXiv:2204.07137 (SHAC).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxsci._checks import is_whole, unknown_name
from jaxsci.control.calling import Followed
from jaxsci.control.dynamics import mixed
from jaxsci.control.rollout import advance, begin, check_call, discounts, ending, mapped
from jaxsci.control.task import Task
from jaxsci.control.through import round_through
from jaxsci.solvers.gradients import GradientPolicy, check_policy, repeat, residual_bytes, state_bytes

Gradient = Literal["pathwise", "score", "straight_through", "mixed"]

_TAPE = 2**23  # bytes of residuals that stay in a cache: up to here recomputing costs more than remembering
_STATES = 2**30  # bytes of states, one a step, up to which a single level of checkpoints is taken


class Aux(NamedTuple):
    """What comes with the loss.

    Attributes:
      cost: the mean discounted cost, without multipliers.
      violation: the mean discounted sums of max(g, 0), like the task's constraint; None without one.
    """

    cost: Any
    violation: Any


def objective(
    task: Task,
    policy: Callable[..., Any],
    *,
    gradient: Gradient = "pathwise",
    batch: int | None = None,
    remat: GradientPolicy = "auto",
    truncate: int | None = None,
    critic: Callable[[Any, Any], Any] | None = None,
    constraints: Any = None,
    surrogate: Callable[..., Any] | None = None,
    has_aux: bool = False,
    mesh: Mesh | None = None,
) -> Callable[..., Any]:
    """The expected discounted cost of a policy, a function to differentiate.

    Args:
      task, policy: as in `jaxsci.control.rollout`.
      gradient: "pathwise", "score", "straight_through" or "mixed"; see the head of this file. "score" needs a policy with
        ``log_prob``, such as `GaussianPolicy`, and a batch of at least two: each member's baseline is the mean of the others.
      batch: members of the mean.
      remat: what the reverse pass remembers: "tape" everything, "step" the state of every step, "sqrt" or "recursive" fewer
        states; "auto" the tape where it is small, states where they fit, else "sqrt". Values and gradients do not depend on it.
        "forward" is for `jax.jvp` and `jax.jacfwd` alone.
      truncate: cut the derivative every so many steps; the value stays.
      critic: ``(critic_params, observation) -> expected cost to come``; with `truncate`, the derivative of the critic at a cut
        stands for what is cut. The value stays.
      constraints: an `AugmentedLagrangian` or a `PIDLagrangian`; then the loss takes ``multipliers``.
      surrogate: the dynamics that "mixed" differentiates.
      has_aux: return ``(loss, Aux(cost, violation))``.
      mesh: devices to spread the batch over.
    Returns:
      ``loss(params, key=None, *, parameters=None, critic_params=None, multipliers=None, initial=None)``, a scalar;
      `parameters` replaces the task's, so that they can be differentiated too.
    Raises:
      ValueError: names that do not exist, options that need one another.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=20)
      >>> loss = js.control.objective(task, lambda gain, s: -gain * s)
      >>> print(f"{jax.grad(loss)(2.0):.3f}")
      -0.615
    """
    _check_options(task, policy, gradient, batch, remat, truncate, critic, constraints, surrogate)
    if surrogate is not None:
        task = task.replace(dynamics=mixed(task.dynamics, surrogate))
    act = policy
    if gradient == "straight_through":
        act = Followed(policy, round_through)

    def loss(params, key=None, *, parameters=None, critic_params=None, multipliers=None, initial=None):
        now = task if parameters is None else task.replace(parameters=parameters)
        check_call(now, act, params, key, batch, initial)
        if constraints is not None and multipliers is None:
            raise ValueError("objective: with constraints the loss takes multipliers=, constraints.init(...) at the start.")
        if gradient == "score":
            cost, violation = _score(now, act, params, key, batch, initial, mesh)
        else:
            cut = None if truncate is None else _Cut(truncate, critic, critic_params)
            cost, violation = _pathwise(now, act, params, key, batch, initial, mesh, remat, cut)
        value = cost if constraints is None else constraints.loss(cost, violation, multipliers)
        return (value, Aux(cost, violation)) if has_aux else value

    return loss


class _Cut(NamedTuple):
    every: int
    critic: Callable[[Any, Any], Any] | None
    critic_params: Any


def _pathwise(task, policy, params, key, batch, initial, mesh, remat, cut):
    def member(key, state):
        carry, step_key = begin(task, policy, key, state)
        steps = task.horizon

        def once(carried, t):
            carry, cost, violation = carried
            if cut is not None:
                carry, stands = _cut_here(task, carry, t, cut)
                cost = cost + stands
            weight = carry.weight
            carry, step = advance(task, policy, params, step_key, carry, t)
            violation = jax.tree.map(lambda v, g: v + weight * jnp.maximum(g, 0.0), violation, step.constraint)
            return carry, cost + weight * step.cost, violation

        like = jax.eval_shape(lambda: advance(task, policy, params, step_key, carry, 0)[1])
        zero = lambda leaf: jnp.zeros(leaf.shape, leaf.dtype)  # noqa: E731
        total = jnp.zeros((), jnp.result_type(like.cost.dtype, carry.weight.dtype))
        carried = (carry, total, jax.tree.map(zero, like.constraint))
        chosen = _memory(once, carried, steps, batch) if remat == "auto" else remat
        carry, cost, violation = repeat(once, carried, steps, chosen)
        return cost + ending(task, carry), violation

    return _mean(mapped(member, key, initial, batch, mesh), batch)


def _cut_here(task: Task, carry: Any, t: Any, cut: _Cut) -> tuple[Any, Any]:
    """At every `every`-th step the state loses its derivative, and a term of value 0 has that of the critic."""
    here = (t % cut.every == 0) & (t > 0)
    stopped = jax.tree.map(lambda leaf: jnp.where(here, jax.lax.stop_gradient(leaf), leaf), carry.state)
    stands = jnp.zeros((), carry.weight.dtype)
    if cut.critic is not None:
        value = cut.critic(jax.lax.stop_gradient(cut.critic_params), task.observation(carry.state))
        value = carry.weight * (value - jax.lax.stop_gradient(value))
        stands = jnp.where(here & carry.alive, value, 0.0)
    return carry._replace(state=stopped), stands


def _memory(once: Callable[..., Any], carried: Any, steps: int, batch: int | None) -> GradientPolicy:
    """The tape where it is small, the states of all steps where they fit, else some of them."""
    members = batch or 1
    if tape_fits(lambda c: once(c, jnp.zeros((), int)), carried, members * steps):
        return "tape"
    return "step" if members * steps * state_bytes(carried) <= _STATES else "sqrt"


def tape_fits(step: Callable[[Any], Any], carried: Any, count: int) -> bool:
    """What so many steps of one member leave for the reverse pass fits a cache."""
    return count * residual_bytes(step, carried) <= _TAPE


def _score(task, policy, params, key, batch, initial, mesh):
    def member(key, state):
        carry, step_key = begin(task, policy, key, state)

        def once(carry, t):
            carry, step = advance(task, policy, jax.lax.stop_gradient(params), step_key, carry, t)
            log_prob = policy.log_prob(params, *jax.lax.stop_gradient((step.observation, step.action)))
            return carry, (jnp.where(step.alive, log_prob, 0.0), step.cost, step.constraint)

        carry, (log_probs, costs, bounds) = jax.lax.scan(once, carry, jnp.arange(task.horizon))
        weights = discounts(task, task.horizon)
        costs = (weights * costs).at[-1].add(ending(task, carry))
        return log_probs, (costs, jax.tree.map(lambda g: weights * jnp.maximum(g, 0.0), bounds))

    log_probs, sums = mapped(member, key, initial, batch, mesh)  # [batch, horizon] each

    def with_score(terms):
        terms = jax.lax.stop_gradient(terms)
        to_go = jnp.cumsum(terms[:, ::-1], axis=1)[:, ::-1]
        others = (jnp.sum(to_go, axis=0) - to_go) / (batch - 1)
        slope = jnp.mean(jnp.sum(log_probs * (to_go - others), axis=1))
        return jnp.mean(to_go[:, 0]) + slope - jax.lax.stop_gradient(slope)

    return jax.tree.map(with_score, sums)


def _check_options(task, policy, gradient, batch, remat, truncate, critic, constraints, surrogate):
    if gradient not in get_args(Gradient):
        raise ValueError(f"objective: {unknown_name('gradient', str(gradient), get_args(Gradient))}")
    check_policy("objective: remat", remat)
    if (gradient == "mixed") != (surrogate is not None):
        raise ValueError('objective: gradient="mixed" and surrogate=... (the dynamics to differentiate) go together.')
    if gradient == "score" and not callable(getattr(policy, "log_prob", None)):
        raise ValueError(
            'objective: gradient="score" needs a policy with log_prob(params, observation, action), such as '
            "jaxsci.control.GaussianPolicy or CategoricalPolicy."
        )
    if gradient == "score" and (batch is None or batch < 2):
        raise ValueError('objective: gradient="score" needs batch >= 2: the baseline of a member is the mean of the others.')
    if truncate is not None and (not is_whole(truncate) or truncate < 1):
        raise ValueError(f"objective: truncate is a number of steps >= 1, or None, got {truncate!r}.")
    if critic is not None and truncate is None:
        raise ValueError("objective: a critic stands for what truncate cuts; give truncate=32 say.")
    if constraints is not None and not (hasattr(constraints, "init") and hasattr(constraints, "loss")):
        raise TypeError(
            "objective: constraints is a method, AugmentedLagrangian(limit=...) or PIDLagrangian(limit=...), got "
            f"{constraints!r}."
        )
    if constraints is not None and task.constraint is None:
        raise ValueError(f"objective: {task.name} has no constraint for {type(constraints).__name__} to hold.")


def _mean(tree: Any, batch: int | None) -> Any:
    return tree if batch is None else jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), tree)
