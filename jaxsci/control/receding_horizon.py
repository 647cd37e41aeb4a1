"""Model predictive control: plan from where you are, play the first action, plan again.

The model in which is planned and the task in which is played may differ: in parameters, dynamics, horizon.

Reference: Rawlings, Mayne & Diehl (2017), Model Predictive Control, chapter 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.control.calling import call, is_random
from jaxsci.control.ilqr import Plan, ilqr
from jaxsci.control.rollout import Rollout, advance, begin, gathered, mapped
from jaxsci.control.task import Task


@dataclasses.dataclass(frozen=True)
class RecedingHorizon:
    """A planner as a policy.

    Called as a policy it plans from the same first guess each time, knows nothing of the steps before, and can be differentiated
    in its parameters, which are those of the model (differentiable predictive control). `run` begins each plan with the one
    before, shifted by a step: the same optimum in fewer sweeps.

    Args:
      model: the task that is planned in; its horizon is how far is looked ahead. Its clock ``t`` starts anew with each plan.
      actions: the first guess, with the model's horizon as leading axis.
      planner: ``(model, actions, state) -> Plan`` (or with a keyword ``key``): `ilqr`, ``functools.partial(mppi, std=1.0)``.
      state: ``observation -> state of the model``; the observation itself by default.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: p * s + a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=30, parameters=1.2)
      >>> control = js.control.RecedingHorizon(task.replace(horizon=10, parameters=1.0), jnp.zeros(10))
      >>> run = control.run(task)  # in a world that drifts faster than the model
      >>> print(f"{run.total:.3f}")
      0.179
    """

    model: Task
    actions: Any
    planner: Callable[..., Plan] = ilqr
    state: Callable[[Any], Any] | None = None

    def __post_init__(self):
        if not callable(self.planner):
            raise TypeError(
                f"RecedingHorizon: the planner is a function (model, actions, state) -> Plan, got {self.planner!r}."
            )

    def plan(self, parameters: Any, observation: Any, actions: Any = None, key: Any = None) -> Plan:
        """The plan from an observation; `parameters` are the model's, or None for its own."""
        model = self.model if parameters is None else self.model.replace(parameters=parameters)
        state = observation if self.state is None else self.state(observation)
        return call(self.planner, model, self.actions if actions is None else actions, state, key=key)

    def __call__(self, parameters: Any, observation: Any) -> Any:
        if is_random(self.planner):
            raise ValueError("RecedingHorizon: a planner that draws needs keys: use run(task, key=...).")
        return jax.tree.map(lambda leaf: leaf[0], self.plan(parameters, observation).actions)

    def run(
        self, task: Task, *, parameters: Any = None, key: Any = None, batch: int | None = None, initial: Any = None
    ) -> Rollout:
        """The rollout in a task, each plan begun with the one before, shifted.

        Args:
          task: what is played in.
          parameters: of the model; its own by default.
          key, batch, initial: as of `jaxsci.control.rollout`.
        Raises:
          ValueError: a key is missing.
        """
        random = [what for what in (task.init, task.dynamics, self.planner) if is_random(what)]
        if key is None and [what for what in random if initial is None or what is not task.init]:
            raise ValueError(
                "RecedingHorizon: the task or the planner draw random numbers: pass a key, jax.random.key(0) say."
            )

        def member(key, state):
            plan_key, task_key = (None, None) if key is None else jax.random.split(key)
            carry, step_key = begin(task, sequence_of_one, task_key, state)

            def once(carried, t):
                carry, guess = carried
                here = None if plan_key is None else jax.random.fold_in(plan_key, t)
                plan = self.plan(parameters, task.observation(carry.state), guess, here)
                action = jax.tree.map(lambda leaf: leaf[0], plan.actions)
                carry, step = advance(task, sequence_of_one, action, step_key, carry, t)
                shifted = jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), plan.actions)
                return (carry, shifted), step

            guess = jax.tree.map(jnp.asarray, self.actions)
            (carry, _), steps = jax.lax.scan(once, (carry, guess), jnp.arange(task.horizon))
            return gathered(task, carry, steps)

        return mapped(member, key, initial, batch)


def sequence_of_one(params: Any, observation: Any) -> Any:
    """The policy whose parameters are the action."""
    return params
