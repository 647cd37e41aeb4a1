r"""The task: what is to be decided, apart from how. Every algorithm of this folder takes the same one.

    s_0 = init(p)      a_t = policy(phi, observe(p, s_t))      s_{t+1} = dynamics(p, s_t, a_t)

    J = E sum_{t < T} gamma^t cost(p, s_t, a_t, s_{t+1}) + gamma^T terminal(p, s_T),      constraint(p, s_t, a_t) <= 0

A cost is minimised; a reward is a negative cost. States, actions, observations and parameters are any pytrees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci.control.calling import call, check_arguments, is_random

_FUNCTIONS = {  # and what each is called with
    "dynamics": ("parameters", "state", "action"),
    "cost": ("parameters", "state", "action", "next_state"),
    "init": ("parameters",),
    "observe": ("parameters", "state"),
    "terminal": ("parameters", "state"),
    "constraint": ("parameters", "state", "action"),
    "terminated": ("parameters", "state"),
}
_OPTIONAL = ("observe", "terminal", "constraint", "terminated")
_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    r"""A decision problem in discrete time over a fixed horizon.

    Every function is written for ONE member and is pure; a function that is random has a keyword ``key``, one that depends on
    the number of the step has a keyword ``t``, and neither gets what it does not name. `parameters` is a pytree of leaves:
    what is to be differentiated, varied or batched (coefficients, a stepper with its tables, a network) belongs there.

    Args:
      dynamics: ``(parameters, state, action) -> state``, one step later. Whatever its type, the next state has the shapes and
        dtypes of the state. See `jaxsci.control.ode`, `actuated`, `mixed`.
      cost: ``(parameters, state, action, next_state) -> scalar``.
      init: ``(parameters) -> state``, or with ``key``.
      horizon: T, the number of steps.
      parameters: any pytree.
      observe: ``(parameters, state) -> observation`` for the policy; the state by default.
      terminal: ``(parameters, state) -> scalar``, the cost of what is still to come where the horizon ends; 0 by default.
        Who has terminated does not pay it: the price of an end of that kind belongs to `cost`.
      constraint: ``(parameters, state, action) -> g``, a scalar or a pytree of scalars; g <= 0 is what is asked for.
      terminated: ``(parameters, state) -> bool``: from such a state nothing goes on, costs nothing more and moves no more.
        The end of the horizon is another thing: a rollout reports it as `truncated`.
      discount: gamma.
    Raises:
      TypeError: something that must be a function is none, or takes other arguments than those above.
      ValueError: a horizon that is no positive whole number, a discount outside [0, 1].
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + p["dt"] * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=20, parameters={"dt": 0.1})
      >>> run = js.control.rollout(task, lambda gain, s: -gain * s, 2.0)
      >>> print(f"{run.total:.3f}")
      2.889
    """

    dynamics: Callable[..., Any] = dataclasses.field(metadata=_STATIC)
    cost: Callable[..., Any] = dataclasses.field(metadata=_STATIC)
    init: Callable[..., Any] = dataclasses.field(metadata=_STATIC)
    horizon: int = dataclasses.field(metadata=_STATIC)
    parameters: Any = None
    observe: Callable[..., Any] | None = dataclasses.field(metadata=_STATIC, default=None)
    terminal: Callable[..., Any] | None = dataclasses.field(metadata=_STATIC, default=None)
    constraint: Callable[..., Any] | None = dataclasses.field(metadata=_STATIC, default=None)
    terminated: Callable[..., Any] | None = dataclasses.field(metadata=_STATIC, default=None)
    discount: Any = 1.0
    name: str = dataclasses.field(metadata=_STATIC, default="task")

    def __post_init__(self):
        for field, wanted in _FUNCTIONS.items():
            value = getattr(self, field)
            if value is None and field in _OPTIONAL:
                continue
            if not callable(value):
                raise TypeError(f"Task: {field} must be a function, got {value!r}.")
            check_arguments(f"Task: {field}", value, wanted)
        if not is_whole(self.horizon) or self.horizon < 1:
            raise ValueError(f"Task: the horizon is a number of steps, a whole number >= 1, got {self.horizon!r}.")
        if isinstance(self.discount, float | int) and not 0 <= self.discount <= 1:
            raise ValueError(f"Task: the discount lies between 0 and 1, got {self.discount!r}.")

    def replace(self, **changes: Any) -> Task:
        """The same task but for some fields."""
        return dataclasses.replace(self, **changes)

    def observation(self, state: Any) -> Any:
        """What the policy sees of a state."""
        return state if self.observe is None else call(self.observe, self.parameters, state)

    @property
    def is_random(self) -> bool:
        """Its start or its dynamics draw random numbers."""
        return is_random(self.init) or is_random(self.dynamics)

    def first_state(self, key: Any = None) -> Any:
        """A start, as arrays."""
        if is_random(self.init) and key is None:
            raise ValueError(f"{self.name}: init is random and needs a key: pass key=jax.random.key(0).")
        return jax.tree.map(jnp.asarray, call(self.init, self.parameters, key=key))

    def spaces(self, policy: Callable[..., Any], params: Any) -> tuple[Any, Any, Any]:
        """Shapes and dtypes of state, observation and action, found without computing anything.

        Raises:
          ValueError: the dynamics return another structure, shape or dtype than the state's; a cost that is no scalar. The
            message names the leaf and both shapes.
        """

        def one(parameters, params, key):
            task = self.replace(parameters=parameters)
            state = task.first_state(key)
            observation = task.observation(state)
            action = call(policy, params, observation, key=key, t=0)
            after = call(task.dynamics, parameters, state, action, key=key, t=0)
            cost = call(task.cost, parameters, state, action, after, t=0)
            bounds = None if task.constraint is None else call(task.constraint, parameters, state, action, t=0)
            last = None if task.terminal is None else call(task.terminal, parameters, state)
            return state, observation, action, after, (cost, last), bounds

        state, observation, action, after, (cost, last), bounds = jax.eval_shape(
            one, self.parameters, params, jax.random.key(0)
        )
        _check_same(self.name, state, after)
        kinds = {
            "cost": "a scalar",
            "terminal cost": "a scalar",
            "constraint": "a scalar, or a dict (any pytree) of scalars",
        }
        leaves_of = {"cost": [cost], "terminal cost": jax.tree.leaves(last), "constraint": jax.tree.leaves(bounds)}
        for what, leaves in leaves_of.items():
            for leaf in leaves:
                if np.shape(leaf) != ():
                    raise ValueError(
                        f"{self.name}: the {what} of one member is {kinds[what]}, got shape {np.shape(leaf)}. Write it for ONE "
                        "state and ONE action; the library maps it over the batch."
                    )
        return state, observation, action


def _check_same(name: str, state: Any, after: Any) -> None:
    if jax.tree.structure(state) != jax.tree.structure(after):
        raise ValueError(
            f"{name}: dynamics return another structure than the state's: {jax.tree.structure(after)} after "
            f"{jax.tree.structure(state)}."
        )
    for (path, before), later in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(after), strict=True):
        if before.shape != later.shape or before.dtype != later.dtype:
            leaf = jax.tree_util.keystr(path) or "the state"
            raise ValueError(
                f"{name}: {leaf} is {before.dtype}{list(before.shape)} at the start and {later.dtype}{list(later.shape)} "
                "after a step of the dynamics. Return the same shapes and dtypes, or begin with theirs."
            )
