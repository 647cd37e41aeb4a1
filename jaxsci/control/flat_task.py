"""A task as functions of flat vectors, with the quadratic models of a trajectory that second-order planners take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci.control.calling import call
from jaxsci.control.riccati import Quadratic, costates, nearest_semidefinite
from jaxsci.control.rollout import discounts
from jaxsci.control.task import Task


class FlatTask(NamedTuple):
    """The task in flat states x and actions u. Functions of `numbers`: all that is traced and not x or u."""

    step: Callable[..., Any]  # (numbers, t, x, u) -> x1
    cost: Callable[..., Any]  # (numbers, t, x, u, x1), discounted
    final: Callable[..., Any]  # (numbers, x), discounted
    horizon: int

    def follow(self, numbers: Any, x0: Any, actions: Any) -> tuple[Any, Any]:
        """States ``[T + 1, n]`` and costs ``[T + 1]``, the last one terminal."""
        return self.steered(numbers, x0, lambda t, x: actions[t])[::2]

    def steered(self, numbers: Any, x0: Any, policy: Callable[..., Any]) -> tuple[Any, Any, Any]:
        """States, actions and costs under ``u = policy(t, x)``."""

        def once(x, t):
            u = policy(t, x)
            return self.step(numbers, t, x, u), (x, u)

        times = jnp.arange(self.horizon)
        last, (xs, us) = jax.lax.scan(once, x0, times)
        states = jnp.concatenate([xs, last[None]])
        costs = jax.vmap(functools.partial(self.cost, numbers))(times, xs, us, states[1:])
        return states, us, jnp.concatenate([costs, self.final(numbers, last)[None]])

    def total(self, numbers: Any, x0: Any, actions: Any) -> Any:
        return jnp.sum(self.follow(numbers, x0, actions)[1])

    def expand(self, numbers: Any, states: Any, actions: Any, *, exact: Any) -> Quadratic:
        """The quadratic model; `exact` may be traced, or None for Gauss-Newton alone."""
        size = states.shape[1]
        times, z = jnp.arange(self.horizon), jnp.concatenate([states[:-1], actions], axis=1)

        def moved(t, z):
            return self.step(numbers, t, z[:size], z[size:])

        def paid(t, z):
            return self.cost(numbers, t, z[:size], z[size:], moved(t, z))

        def last(x):
            return self.final(numbers, x)

        def along(function):
            return jax.vmap(function)(times, z)

        transition, slope = along(jax.jacfwd(moved, argnums=1)), along(jax.grad(paid, argnums=1))
        curvature = along(jax.jacfwd(jax.grad(paid, argnums=1), argnums=1))
        final = jax.grad(last)(states[-1]), jax.jacfwd(jax.grad(last))(states[-1])
        model = Quadratic(transition, slope, curvature, *final)
        semidefinite = lambda m: m._replace(  # noqa: E731
            curvature=nearest_semidefinite(m.curvature), final_curvature=nearest_semidefinite(m.final_curvature)
        )
        if exact is None:
            return semidefinite(model)
        hamiltonian = lambda t, z, after: moved(t, z) @ after  # noqa: E731
        bent = jax.vmap(jax.jacfwd(jax.grad(hamiltonian, argnums=1), argnums=1))(times, z, costates(model))
        newton = model._replace(curvature=curvature + bent)
        if exact is True:
            return newton
        # Where Newton's model is taken, the other's projection has nothing to decompose.
        kept = jax.tree.map(lambda m: jnp.where(exact, jnp.zeros_like(m), m), model)
        return jax.tree.map(lambda a, b: jnp.where(exact, a, b), newton, semidefinite(kept))


def flat_task(task: Task, x0: Any, u0: Any, to_state: Any, to_action: Any) -> tuple[FlatTask, Any]:
    """The problem, and the numbers that its functions were found to close over (the parameters among them)."""
    dtype = x0.dtype
    weights = discounts(task, task.horizon + 1).astype(dtype)

    def step(t, x, u):
        return ravel_pytree(call(task.dynamics, task.parameters, to_state(x), to_action(u), t=t))[0]

    def cost(t, x, u, x1):
        value = call(task.cost, task.parameters, to_state(x), to_action(u), to_state(x1), t=t)
        return weights[t] * jnp.asarray(value, dtype)

    def final(x):
        if task.terminal is None:
            return jnp.zeros((), dtype)
        return weights[-1] * jnp.asarray(call(task.terminal, task.parameters, to_state(x)), dtype)

    functions, numbers = [], []
    for function, examples in ((step, (0, x0, u0)), (cost, (0, x0, u0, x0)), (final, (x0,))):
        closed, found = jax.closure_convert(function, *examples)
        place = len(numbers)
        functions.append(lambda numbers, *args, closed=closed, place=place: closed(*args, *numbers[place]))
        numbers.append(found)
    return FlatTask(*functions, task.horizon), numbers
