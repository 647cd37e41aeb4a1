r"""Short-horizon actor-critic: the gradient goes through the dynamics for h steps, a critic tells what comes after them.

    L(phi) = 1 / (N h) sum_i [ sum_{k < h} gamma^k cost(s_k, a_k, s_{k+1}) + gamma^h V'(s_h) ]

over N members that go on from where the window before left them. A window too short to be chaotic, with a smooth value at
its end, has a gradient of small variance and no local minima of a far future; the critic V is fitted to TD(lambda) targets
made of its slow average V'.

Reference: Xu et al. (2022), arXiv:2204.07137, algorithm 1; Pardo et al. (2018), arXiv:1712.00378, for the end of the horizon.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxsci._types import Key, Progress
from jaxsci.control.checks import check_derivative, check_range
from jaxsci.control.critic import Critic, new_critic, samples, values_of
from jaxsci.control.objective import tape_fits
from jaxsci.control.policy_gradient import PolicySearch, counted, in_chunks, named_violations
from jaxsci.control.returns import lambda_returns
from jaxsci.control.rollout import advance
from jaxsci.control.task import Task
from jaxsci.control.windows import (
    check_windows,
    live,
    new_members,
    of_finished,
    priced,
    restarted,
    staggered,
    updated,
    window_length,
)


def shac(
    task: Task,
    policy: Callable[..., Any],
    params: Any,
    *,
    key: Key,
    iterations: int = 400,
    batch: int = 64,
    window: int = 32,
    trace: float = 0.95,
    optimiser: optax.GradientTransformation | None = None,
    critic: Critic = Critic(),  # noqa: B008  frozen
    endless: bool = False,
    constraints: Any = None,
    multiplier_every: int | None = None,
    remat: Literal["auto", "tape", "step"] = "auto",
    evaluate: Callable[[Any], Any] | None = None,
    progress: Progress = None,
) -> PolicySearch:
    """Minimise a task's expected cost by gradients through short windows of it, with a critic at their end.

    Args:
      task: with dynamics and cost that have derivatives.
      policy: any function ``(params, observation) -> action`` with a derivative; a `GaussianPolicy` explores.
      params: where it starts.
      key: for starts, draws and minibatches.
      iterations, batch: windows, and members in each; a step of the optimiser to a window.
      window: h, at most; an episode is cut into windows as equal as possible, and members are spread over them.
      trace: lambda of the critic's targets.
      optimiser: from optax; by default Adam (0.7, 0.95) at 2e-3 falling to 0 linearly, behind a clip of the gradient's norm at 1.
      critic: see `Critic`.
      endless: the horizon is not the end of the task but of its episodes: where it cuts, the critic tells what is still to come
        and does not see the time. By default the task is what it says, T steps and the terminal cost: the critic sees the time.
      constraints: an `AugmentedLagrangian` or a `PIDLagrangian`. There is one critic, of the costs with the violations at the
        multipliers' prices; the expected violation is that of the last finished episodes.
      multiplier_every: iterations between updates of the multipliers; by default as many as an episode has windows.
      remat: what the reverse pass remembers: "tape" everything, "step" states; "auto" the tape where it is small.
      evaluate: ``(params) -> scalar``, in the history as "evaluation" after each iteration; its steps are not counted.
      progress: called with a line of text ten times.
    Returns:
      A `PolicySearch`: "cost" is the mean discounted cost of the members' last finished episodes (NaN before the first end),
      "environment_steps" the evaluations of the dynamics up to the iteration (those of the reverse pass are not counted),
      then "gradient_norm", "skipped" (gradients that were not finite: nothing is changed), "critic_error", "violation...". The
      state has the critic's and the multipliers.
    Raises:
      ValueError: no iterations; an endless task without a discount; a policy of whole numbers; a window that is no whole number.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p, key: jax.random.normal(key), horizon=20)
      >>> found = js.control.shac(
      ...     task, lambda gain, s: -gain * s, jnp.asarray(0.5), key=jax.random.key(0), iterations=50, window=10, batch=16)
      >>> bool(found.params > 0.54), found.environment_steps
      (True, 8000)
    """
    check_windows("shac", task, iterations, batch, window, endless, constraints, multiplier_every)
    check_range("shac", 0, 1, trace=trace)
    check_derivative("shac", task, policy, params)
    if optimiser is None:
        rate = optax.linear_schedule(2e-3, 0.0, iterations)
        optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.7, b2=0.95))
    params = jax.tree.map(jnp.asarray, params)
    steps, count = window_length(task, window)
    start_key, critic_key, key = jax.random.split(key, 3)
    members = new_members(task, policy, params, start_key, batch)
    tape = remat == "tape"
    if remat == "auto":
        one = jax.tree.map(lambda leaf: leaf[0], members)
        tape = tape_fits(lambda c: advance(task, policy, params, one.key, c, one.t)[0], one.carry, batch * steps)
    critic_state = new_critic(critic, critic_key, task, members, endless)
    multipliers = None if constraints is None else constraints.init(of_finished(members)[1])
    every = count if multiplier_every is None else multiplier_every

    def iteration(carry, i):
        params, state, members, critic_state, multipliers = carry
        restart_key, fit_key = jax.random.split(jax.random.fold_in(key, i))
        members = restarted(task, policy, params, restart_key, members, staggered(batch, count, i))
        violation = of_finished(members)[1]

        def loss(params):
            later, windows = jax.vmap(lambda m: live(task, policy, params, m, steps, tape))(members)
            windows, _ = priced(constraints, multipliers, windows, violation)
            after = jax.vmap(lambda w: values_of(critic, critic_state, task, w, endless, target=True)[1])(windows)
            discount = jnp.asarray(task.discount, windows.costs.dtype)
            ended = jnp.any(windows.terminated, axis=1)
            to_come = jnp.where(ended, 0.0, discount ** jnp.sum(windows.alive, axis=1) * _at_end(windows, after))
            total = jnp.sum(discount ** jnp.arange(steps) * windows.costs, axis=1) + to_come
            return jnp.mean(total) / steps, (later, windows, after)

        (_, (members, windows, after)), slope = jax.value_and_grad(loss, has_aux=True)(params)
        norm = optax.tree.norm(slope)
        updates, new_state = optimiser.update(slope, state, params)
        kept = functools.partial(jnp.where, jnp.isfinite(norm))
        params, state = jax.tree.map(kept, (optax.apply_updates(params, updates), new_state), (params, state))

        targets = jax.vmap(functools.partial(lambda_returns, discount=task.discount, trace=trace))(
            windows.costs, after, windows.terminated, windows.truncated
        )
        critic_state, error = critic.fit(fit_key, critic_state, *samples(task, windows, targets, endless))
        cost, violation = of_finished(members)
        if constraints is not None:
            multipliers = updated(constraints, multipliers, members, violation, i % every == every - 1)
        seen = {"cost": cost, "gradient_norm": norm, "skipped": ~jnp.isfinite(norm), "critic_error": error}
        seen |= named_violations(violation) | ({} if evaluate is None else {"evaluation": evaluate(params)})
        return (params, state, members, critic_state, multipliers), seen

    carry = (params, optimiser.init(params), members, critic_state, multipliers)
    carry, history = in_chunks(iteration, carry, iterations, progress)
    return counted(carry[0], history, batch * steps, {"critic": carry[3], "multipliers": carry[4]})


def _at_end(windows: Any, after: Any) -> Any:
    """The value that stands where a window ends: that after its last step that took place."""
    last = jnp.maximum(jnp.sum(windows.alive, axis=1) - 1, 0)
    return jnp.take_along_axis(after, last[:, None], axis=1)[:, 0]
