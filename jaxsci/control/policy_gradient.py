"""Analytic policy gradients: a first-order optimiser on the objective, its gradient through the dynamics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxsci._types import Key, Progress
from jaxsci.control.checks import check_counts, check_derivative, check_options
from jaxsci.control.objective import objective
from jaxsci.control.task import Task

_OPTIONS = ("gradient", "remat", "truncate", "critic", "surrogate", "mesh")  # those of the objective that are handed on


class PolicySearch(NamedTuple):
    """What every search for a policy returns.

    Attributes:
      params: of the policy found.
      history: arrays over the iterations: "cost", "environment_steps" until then, and what the algorithm adds
        ("gradient_norm", "violation['name']", ...).
      environment_steps: how often the dynamics were evaluated, over all members.
      state: what the algorithm carries besides (multipliers, a critic); None where there is nothing.
    """

    params: Any
    history: dict[str, np.ndarray]
    environment_steps: int
    state: Any = None


def analytic_policy_gradient(
    task: Task,
    policy: Callable[..., Any],
    params: Any,
    *,
    key: Key | None = None,
    iterations: int = 200,
    batch: int | None = 64,
    optimiser: optax.GradientTransformation | None = None,
    constraints: Any = None,
    multiplier_every: int | None = None,
    progress: Progress = None,
    **options: Any,
) -> PolicySearch:
    """Minimise the objective of a policy by its gradient.

    Args:
      task, policy, params: as in `jaxsci.control.rollout`; `params` is where it starts.
      key: for random tasks; a new draw in each iteration.
      iterations, batch: steps of the optimiser, members of each.
      optimiser: from optax; by default Adam at 3e-3 falling to 0 by a cosine, behind a clip of the gradient's norm at 1.
      constraints: an `AugmentedLagrangian` or a `PIDLagrangian`.
      multiplier_every: iterations between updates of the multipliers; by default 20 of an `AugmentedLagrangian`, 1 else.
      progress: called with a line of text ten times.
      options: of `jaxsci.control.objective`: gradient, remat, truncate, surrogate, mesh.
    Returns:
      A `PolicySearch` with "cost", "gradient_norm" and the violations in its history, the multipliers as its state. An
      iteration whose gradient is not finite changes nothing and counts in "skipped".
    Raises:
      ValueError: no iterations, actions without a derivative, or what `objective` says.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=20)
      >>> found = js.control.analytic_policy_gradient(task, lambda gain, s: -gain * s, jnp.asarray(0.5), batch=None)
      >>> bool(found.history["cost"][-1] < found.history["cost"][0])
      True
    """
    check_counts("analytic_policy_gradient", iterations=iterations)
    check_options("analytic_policy_gradient", options, _OPTIONS)
    if optimiser is None:
        optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, iterations)))
    loss = objective(task, policy, batch=batch, constraints=constraints, has_aux=True, **options)
    params = jax.tree.map(jnp.asarray, params)
    if options.get("gradient") != "score":
        check_derivative("analytic_policy_gradient", task, policy, params)
    multipliers, every = None, multiplier_every or getattr(constraints, "every", 1)
    if constraints is not None:
        free = objective(task, policy, batch=batch, has_aux=True, **options)
        like = jax.eval_shape(lambda p: free(p, jax.random.key(0)), params)[1].violation
        multipliers = constraints.init(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))

    def iteration(carry, i):
        params, state, multipliers = carry
        here = None if key is None else jax.random.fold_in(key, i)
        (_, aux), slope = jax.value_and_grad(loss, has_aux=True)(params, here, multipliers=multipliers)
        norm = optax.tree.norm(slope)
        updates, new_state = optimiser.update(slope, state, params)
        kept = functools.partial(jnp.where, jnp.isfinite(norm))
        params, state = jax.tree.map(kept, (optax.apply_updates(params, updates), new_state), (params, state))
        if constraints is not None:
            later = constraints.update(jax.lax.stop_gradient(aux.violation), multipliers)
            due = (i % every == every - 1) & jnp.isfinite(norm)
            multipliers = jax.tree.map(functools.partial(jnp.where, due), later, multipliers)
        seen = {"cost": aux.cost, "gradient_norm": norm, "skipped": ~jnp.isfinite(norm)}
        return (params, state, multipliers), seen | named_violations(aux.violation)

    carry = (params, optimiser.init(params), multipliers)
    carry, history = in_chunks(iteration, carry, iterations, progress)
    return counted(carry[0], history, (batch or 1) * task.horizon, carry[2])


def in_chunks(
    iteration: Callable[[Any, Any], tuple[Any, dict[str, Any]]], carry: Any, iterations: int, progress: Progress
) -> tuple[Any, dict[str, np.ndarray]]:
    """``lax.scan`` over the numbers of the iterations, in ten parts where somebody watches."""
    size = iterations if progress is None else max(1, iterations // 10)
    run = jax.jit(lambda carry, numbers: jax.lax.scan(iteration, carry, numbers))
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, iterations, size):
        carry, seen = run(carry, jnp.arange(start, min(start + size, iterations)))
        parts.append({name: np.asarray(values) for name, values in seen.items()})
        if progress is not None:
            last = {name: f"{np.mean(values[-1]):.4g}" for name, values in parts[-1].items()}
            progress(f"{min(start + size, iterations)}/{iterations}: " + ", ".join(f"{k} {v}" for k, v in last.items()))
    return carry, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def counted(params: Any, history: dict[str, np.ndarray], steps: int, state: Any = None) -> PolicySearch:
    """The result of a search that evaluates the dynamics `steps` times in each iteration."""
    counts = steps * np.arange(1, len(history["cost"]) + 1)
    return PolicySearch(params, history | {"environment_steps": counts}, int(counts[-1]), state)


def named_violations(violation: Any) -> dict[str, Any]:
    """Violations by the names of their leaves, for a history."""
    if violation is None:
        return {}
    leaves = jax.tree_util.tree_leaves_with_path(violation)
    return {f"violation{jax.tree_util.keystr(path)}": leaf for path, leaf in leaves}
