r"""A pendulum with a motor, the swing-up task that every library of environments has.

    theta'' = 3 g / (2 l) sin theta + 3 u / (m l^2),      |u| <= 2,  |theta'| <= 8,      theta = 0 upright

by semi-implicit Euler steps of 0.05: first the speed, then the angle with the new speed. A step costs theta^2 + 0.1 theta'^2 +
0.001 u^2 of the state before it, with theta in [-pi, pi) and the torque after the limit. Here nothing is reset and nothing is
detached: derivatives pass through states, limits and costs.

The torque of a limit that holds has no derivative: a policy that saturates learns nothing there.

Reference: the equations of Gymnasium's Pendulum-v1 (Towers et al. (2024), arXiv:2407.17032), step by step.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.control.task import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Pendulum:
    """Its numbers, which can be differentiated, varied and batched.

    Attributes:
      dt: length of a step.
      gravity, mass, length: of the rod, which is homogeneous.
      torque, speed: the limits.
    """

    dt: Any = 0.05
    gravity: Any = 10.0
    mass: Any = 1.0
    length: Any = 1.0
    torque: Any = 2.0
    speed: Any = 8.0


class State(NamedTuple):
    """The angle from upright, not wrapped, and its rate."""

    angle: Any
    rate: Any


def pendulum(parameters: Pendulum | None = None, *, horizon: int = 200) -> Task:
    """Swing a pendulum up and hold it.

    It begins at random in [-pi, pi] x [-1, 1]. The observation is (cos theta, sin theta, theta'), the action a number: one of
    shape [] or [1].

    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.control.systems.pendulum import State, pendulum
      >>> task = pendulum(horizon=40)
      >>> hanging = State(jnp.asarray(jnp.pi), jnp.asarray(0.0))
      >>> run = js.control.rollout(task, lambda p, seen: jnp.asarray(0.0), initial=hanging)  # needs no key: nothing is random
      >>> print(f"{run.total / 40:.4f}")  # it hangs: pi^2 a step
      9.8696
    """
    return Task(
        dynamics=_step,
        cost=_cost,
        init=_init,
        observe=_observe,
        horizon=horizon,
        parameters=Pendulum() if parameters is None else parameters,
        name="pendulum",
    )


def _torque(p: Pendulum, action: Any) -> Any:
    return jnp.clip(jnp.reshape(action, ()), -p.torque, p.torque)


def _step(p: Pendulum, state: State, action: Any) -> State:
    push = 3 * p.gravity / (2 * p.length) * jnp.sin(state.angle) + 3 / (p.mass * p.length**2) * _torque(p, action)
    rate = jnp.clip(state.rate + push * p.dt, -p.speed, p.speed)
    return State(state.angle + rate * p.dt, rate)


def _cost(p: Pendulum, state: State, action: Any, after: State) -> Any:
    wrapped = state.angle - 2 * jnp.pi * jnp.floor((state.angle + jnp.pi) / (2 * jnp.pi))  # % is a slow scalar call on CPUs
    return wrapped**2 + 0.1 * state.rate**2 + 0.001 * _torque(p, action) ** 2


def _init(p: Pendulum, *, key: Any) -> State:
    angle, rate = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    return State(jnp.pi * angle, rate)


def _observe(p: Pendulum, state: State) -> Any:
    return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.rate])
