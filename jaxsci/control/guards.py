r"""What can be wrong with a gradient through a rollout, found and named before anyone trains on it.

The adjoint lambda_t = dJ / ds_t of a member is a product of Jacobians, lambda_t = (ds_{t+1} / ds_t)^T lambda_{t+1} + ...: its
norm over time shows where a gradient explodes or is lost, and the leading Lyapunov exponent of the closed loop says how fast,

    |delta s_T| ~ exp(lambda T) |delta s_0|

Where exp(lambda T) is large the sampled gradient is spread by that factor around the derivative of the mean, and no number of
members that fits a computer averages it out.

References: Metz et al. (2021), arXiv:2111.05803, section 4; Benettin et al. (1980), Meccanica 15, 9, for the exponent.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.control.calling import Followed
from jaxsci.control.rollout import advance, begin, check_call, ending, mapped
from jaxsci.control.task import Task

_MEANINGLESS = math.log(1e4)  # growth of perturbations over the horizon beyond which a pathwise gradient is noise
_EXPLODED = 1e8  # adjoints this much longer than at the end


class GradientReport(NamedTuple):
    """The gradient of a policy's objective, step by step.

    Attributes:
      costs: discounted cost of each member, ``[batch]``.
      gradient: of the mean cost, like the policy's parameters.
      state_norms: |dJ / ds_t| over all leaves of the state, ``[batch, horizon]``.
      action_norms: |dJ / da_t|, ``[batch, horizon]``.
      lyapunov: leading exponent of the closed loop per step, over the horizon, ``[batch]``.
      problems: what is wrong, in words; empty where nothing is.
    """

    costs: Any
    gradient: Any
    state_norms: Any
    action_norms: Any
    lyapunov: Any
    problems: tuple[str, ...]

    def check(self) -> None:
        """Say it: a warning for each problem of size, an error where something is not finite.

        Raises:
          FloatingPointError: naming step, member and leaf.
        """
        for problem in self.problems:
            if "not finite" in problem:
                raise FloatingPointError(problem)
            warnings.warn(problem, stacklevel=2)


def gradient_report(
    task: Task, policy: Callable[..., Any], params: Any, key: Any = None, *, batch: int = 8, initial: Any = None
) -> GradientReport:
    """Look at the pathwise gradient of a policy in a task; run on the host, before training or when it fails.

    Args:
      task, policy, params, key, batch, initial: as in `jaxsci.control.rollout`.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> double = js.control.Task(
      ...     dynamics=lambda p, s, a: 2 * s + a, cost=lambda p, s, a, s1: s1**2, init=lambda p: jnp.asarray(1.0), horizon=30)
      >>> report = js.control.gradient_report(double, lambda gain, s: -gain * s, 0.0, batch=1)
      >>> print(report.problems[0][:77])
      task: perturbations grow by 0.69 per step, a factor 1e+09 over the horizon of
    """
    check_call(task, policy, params, key, batch, initial)
    seen = jax.jit(lambda params, key, initial: _look(task, policy, params, key, batch, initial))(params, key, initial)
    costs, values, gradient, by_state, by_action, lyapunov = jax.tree.map(np.asarray, seen)
    problems = _problems(task, costs, values, gradient, by_state, by_action, lyapunov)
    return GradientReport(costs, gradient, _norms(by_state), _norms(by_action), lyapunov, problems)


def _look(task, policy, params, key, batch, initial):
    """Everything at once, as arrays: ``[batch, horizon, ...]`` leaves of dJ / ds_t and dJ / da_t."""
    state, _, action = task.spaces(policy, params)
    nudges = jax.tree.map(_zeros_over(task.horizon), (state, action))

    def member(params, nudges, key, start):
        carry, step_key = begin(task, policy, key, start)

        def once(carried, inputs):
            carry, cost = carried
            t, (by_state, by_action) = inputs
            carry = carry._replace(state=_nudged(carry.state, by_state))
            act = Followed(policy, lambda action: _nudged(action, by_action))
            weight = carry.weight
            carry, step = advance(task, act, params, step_key, carry, t)
            return (carry, cost + weight * step.cost), {"the state": step.state, "the cost": step.cost}

        carry, values = jax.lax.scan(once, (carry, jnp.zeros(())), (jnp.arange(task.horizon), nudges))
        carry, cost = carry
        return cost + ending(task, carry), values

    slope = jax.value_and_grad(member, argnums=(0, 1), has_aux=True)

    def both(key, start):
        return slope(params, nudges, key, start), _exponent(task, policy, params, key, start)

    everything = mapped(both, key, initial, batch)
    ((costs, values), (gradients, (by_state, by_action))), lyapunov = everything
    return costs, values, jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), gradients), by_state, by_action, lyapunov


def _exponent(task, policy, params, key, start):
    """The mean growth of a tangent vector per step, renormalised in every step; the draws are held."""
    carry, step_key = begin(task, policy, key, start)

    def once(carried, t):
        carry, tangent = carried

        def step(state):
            return _inexact(
                advance(task, policy, params, step_key, carry._replace(state=_put(carry.state, state)), t)[0].state
            )

        _, pushed = jax.jvp(step, (_inexact(carry.state),), (tangent,))
        length = _length(pushed)
        safe = jnp.where(length > 0, length, 1.0)
        following = advance(task, policy, params, step_key, carry, t)[0]
        return (following, jax.tree.map(lambda leaf: leaf / safe, pushed)), jnp.log(jnp.where(length > 0, length, 1e-300))

    first = jax.tree.map(lambda leaf: jnp.ones_like(leaf), _inexact(carry.state))
    length = _length(first)
    tangent = jax.tree.map(lambda leaf: leaf / length, first)
    (_, _), growth = jax.lax.scan(once, (carry, tangent), jnp.arange(task.horizon))
    return jnp.mean(growth)


def _problems(task, costs, values, gradient, by_state, by_action, lyapunov) -> tuple[str, ...]:
    found = []
    derivatives = {"the derivative by the state": by_state, "the derivative by the action": by_action}
    inspected = {what: values[what] for what in ("the state", "the cost")} | derivatives
    places = {what: _first_bad(tree, last=what in derivatives) for what, tree in inspected.items()}
    if (state := places["the state"]) and (cost := places["the cost"]) and cost[0] < state[0] - 1:
        places["the state"] = None  # the cost was bad before the state that follows it
    for what, place in places.items():
        if place is not None:
            step, member, leaf, others = place
            more = f" ({others} members in all)" if others > 1 else ""
            origin = "counted from the end, first" if what in derivatives else "first"
            found.append(f"{task.name}: {what}{leaf} is not finite, {origin} at step {step} of member {member}{more}.")
            break
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        if not found and not np.isfinite(leaf).all():
            found.append(f"{task.name}: the gradient by params{jax.tree_util.keystr(path)} is not finite.")
    if not found and not np.isfinite(costs).all():
        found.append(f"{task.name}: the cost of member {int(np.argmin(np.isfinite(costs)))} is not finite.")
    if found:
        return tuple(found)
    exponent = float(np.median(lyapunov))
    if exponent * task.horizon > _MEANINGLESS:
        steps = max(1, int(math.log(100.0) / exponent))
        growth = math.exp(min(exponent * task.horizon, 700))
        found.append(
            f"{task.name}: perturbations grow by {exponent:.2g} per step, a factor {growth:.0e} "
            f"over the horizon of {task.horizon} steps: pathwise gradients are noise. Cut them, truncate={steps} with a critic "
            '(jaxsci.control.shac), or take gradient="score".'
        )
    norms = _norms(by_state)
    end = np.maximum(norms[:, -1:], np.finfo(norms.dtype).tiny)
    if not found and np.any(norms) and np.max(norms / end) > _EXPLODED:
        member, step = np.unravel_index(np.argmax(norms / end), norms.shape)
        found.append(
            f"{task.name}: the derivative by the state of member {member} grows to {norms[member, step]:.1e} at step {step}, "
            f"from {norms[member, -1]:.1e} at the end: clip gradients, shorten the horizon or truncate."
        )
    leaves = jax.tree.leaves(gradient)
    if not found and leaves and all(not np.any(leaf) for leaf in leaves):
        found.append(
            f"{task.name}: the gradient by params is exactly zero: on the way from them to the cost something has no derivative "
            "(whole numbers, round, sign, a comparison, a draw of agents), or nothing depends on them. Round with a derivative "
            '(jaxsci.control.through), take gradient="score", or a surrogate by gradient="mixed".'
        )
    return tuple(found)


def _first_bad(tree: Any, *, last: bool) -> tuple[int, int, str, int] | None:
    """(step, member, leaf, members) of what is not finite: the earliest step, or the latest for what is computed backward."""
    worst = None
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not np.issubdtype(leaf.dtype, np.inexact):
            continue
        bad = ~np.isfinite(leaf).reshape(*leaf.shape[:2], -1).all(axis=-1)  # [batch, horizon]
        if not bad.any():
            continue
        steps = np.flatnonzero(bad.any(axis=0))
        step = int(steps[-1] if last else steps[0])
        place = (step, int(np.argmax(bad[:, step])), jax.tree_util.keystr(path), int(bad.any(axis=1).sum()))
        if worst is None or (step > worst[0] if last else step < worst[0]):
            worst = place
    return worst


def _zeros_over(steps: int) -> Callable[[Any], Any]:
    def zeros(leaf):
        exact = not jnp.issubdtype(leaf.dtype, jnp.inexact)
        return jnp.zeros((steps,) if exact else (steps, *leaf.shape), jnp.result_type(float) if exact else leaf.dtype)

    return zeros


def _nudged(tree: Any, nudge: Any) -> Any:
    return jax.tree.map(lambda x, d: x + d if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else x, tree, nudge)


def _inexact(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]


def _put(tree: Any, leaves: list[Any]) -> Any:
    moving = iter(leaves)
    return jax.tree.map(lambda leaf: next(moving) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) else leaf, tree)


def _length(leaves: list[Any]) -> Any:
    return jnp.sqrt(sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in leaves))


def _norms(tree: Any) -> np.ndarray:
    """``[batch, horizon]``, over all leaves."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return np.sqrt(sum(np.sum(np.abs(leaf.reshape(*leaf.shape[:2], -1)) ** 2, axis=-1) for leaf in leaves))
