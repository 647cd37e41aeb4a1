r"""Finite Markov decision processes: dynamic programming on tables, exact to round-off.

    V*(s) = min_a [ c(s, a) + gamma sum_s' P(s' | s, a) V*(s') ]

References: Bellman (1957), Dynamic Programming; Howard (1960), for policy iteration; Puterman (1994), Markov Decision Processes,
chapters 4 and 6, for everything here.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsci._checks import is_traced, is_whole
from jaxsci.control.task import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TabularMDP:
    """States and actions that can be counted.

    Args:
      transitions: P(s' | s, a) as ``[state, action, next state]``. For tables ordered ``[action, state, next state]`` see
        `by_actions`.
      costs: the expected cost of an action in a state, ``[state, action]``; +inf where an action is not available.
      discount: gamma.
      start: the distribution of the first state, ``[state]``; None where only values of states are asked for.
    An end is a state that costs nothing and leads to itself.
    """

    transitions: Float[Array, "states actions states"]
    costs: Float[Array, "states actions"]
    discount: Any = 0.99
    start: Float[Array, " states"] | None = None

    @classmethod
    def by_actions(cls, transitions: Any, costs: Any, discount: Any = 0.99, start: Any = None) -> TabularMDP:
        """From tables ``[action, state, next state]``; the costs are ``[state, action]`` all the same."""
        return cls(jnp.swapaxes(jnp.asarray(transitions), 0, 1), costs, discount, start)

    @property
    def states(self) -> int:
        """How many states there are."""
        return self.transitions.shape[0]

    @property
    def actions(self) -> int:
        """How many actions there are."""
        return self.transitions.shape[1]

    def check(self) -> None:
        """Look at everything that is known here; what is being traced is only looked at for its shape.

        Raises:
          ValueError: shapes that do not belong together, probabilities that are negative or do not sum to one, costs that are
            NaN or -inf, a state without an action, a discount outside [0, 1].
        """
        _check_shapes(self)
        if not is_traced(self.transitions):
            _check_distribution("transitions", np.asarray(self.transitions), "state, action")
        if self.start is not None and not is_traced(self.start):
            _check_distribution("start", np.asarray(self.start), "")
        if not is_traced(self.costs):
            costs = np.asarray(self.costs)
            if np.isnan(costs).any() or np.isneginf(costs).any():
                raise ValueError("TabularMDP: costs are numbers, or +inf where an action is not available; got NaN or -inf.")
            if np.isposinf(costs).all(axis=1).any():
                state = int(np.isposinf(costs).all(axis=1).argmax())
                raise ValueError(f"TabularMDP: state {state} has no action, all its costs are +inf.")
        if not is_traced(self.discount) and not 0 <= float(self.discount) <= 1:
            raise ValueError(f"TabularMDP: the discount lies between 0 and 1, got {self.discount!r}.")

    def action_values(self, values: Float[Array, " states"]) -> Float[Array, "states actions"]:
        """Q(s, a) = c(s, a) + gamma sum_s' P(s' | s, a) V(s')."""
        return self.costs + self.discount * (self.transitions @ values)

    def task(self, horizon: int) -> Task:
        """The same problem for the algorithms that draw: states and actions are whole numbers."""
        if self.start is None:
            raise ValueError("TabularMDP: a task begins somewhere; give start, a distribution over the states.")

        def dynamics(mdp, state, action, *, key):
            return jax.random.categorical(key, jnp.log(mdp.transitions[state, action])).astype(jnp.int32)

        def init(mdp, *, key):
            return jax.random.categorical(key, jnp.log(mdp.start)).astype(jnp.int32)

        def cost(mdp, state, action, after):
            return mdp.costs[state, action]

        return Task(
            dynamics=dynamics,
            cost=cost,
            init=init,
            horizon=horizon,
            parameters=self,
            discount=self.discount,
            name="tabular task",
        )


class TabularSolution(NamedTuple):
    """What dynamic programming returns.

    Attributes:
      values: V*, ``[state]``; differentiable in transitions, costs and discount.
      policy: the number of the best action in each state, ``[state]``.
      iterations: sweeps, or improvements of the policy.
      bound: of the error of the values, in the maximum norm, by their Bellman residual: |V - V*| <= max |TV - V| / (1 - gamma).
      converged: the tolerance was met, or the policy did not change any more.
    """

    values: Float[Array, " states"]
    policy: Int[Array, " states"]
    iterations: Int[Array, ""]
    bound: Float[Array, ""]
    converged: Bool[Array, ""]


class FiniteHorizonSolution(NamedTuple):
    """What a finite horizon asks for: `values` ``[horizon + 1, state]``, the last of them the terminal costs, and `policy`
    ``[horizon, state]``.
    """

    values: Float[Array, "steps states"]
    policy: Int[Array, "horizon states"]


def value_iteration(mdp: TabularMDP, *, tolerance: float | None = None, sweeps: int = 100_000) -> TabularSolution:
    """V <- min_a Q(s, a) until V is within the tolerance of V*. A sweep is cheap; there are about log(tolerance)/log(gamma).

    Args:
      mdp: a `TabularMDP` with a discount below 1.
      tolerance: the error of the values that is let pass; by default what rounding permits.
      sweeps: the most of them.
    Raises:
      ValueError: tables that are none (`TabularMDP.check`), a discount of 1 (see `finite_horizon`).
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> stay, go = [[1.0, 0.0], [0.0, 1.0]], [[0.1, 0.9], [0.0, 1.0]]
      >>> mdp = js.control.TabularMDP.by_actions(jnp.array([stay, go]), jnp.array([[1.0, 1.5], [0.0, 0.0]]), 0.9)
      >>> found = js.control.value_iteration(mdp)
      >>> print(found.policy, f"{found.values[0]:.6f} {1.5 / (1 - 0.9 * 0.1):.6f}")
      [1 0] 1.648352 1.648352
    """
    _check_discounted("value_iteration", mdp)
    return _solution(mdp, *_swept(jax.lax.stop_gradient(mdp), tolerance, sweeps))


@jax.jit
def _swept(mdp: TabularMDP, tolerance: Any, sweeps: Any) -> tuple[Any, Any, Any]:
    def threshold(values):
        floor = 4 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
        return floor if tolerance is None else jnp.maximum(floor, tolerance * (1 - mdp.discount) / mdp.discount)

    def sweep(carry):
        values, _, count = carry
        after = jnp.min(mdp.action_values(values), axis=1)
        return after, jnp.max(jnp.abs(after - values)), count + 1

    def goes_on(carry):
        values, change, count = carry
        return (change > threshold(values)) & (count < sweeps)

    first = jnp.min(mdp.costs, axis=1)
    values, change, count = jax.lax.while_loop(goes_on, sweep, (first, jnp.full((), jnp.inf, first.dtype), jnp.asarray(0)))
    return values, count, change <= threshold(values)


def policy_iteration(mdp: TabularMDP, *, initial: Any = None, improvements: int = 1000) -> TabularSolution:
    """Evaluate a policy exactly, take the best action against its values, until nothing changes. A few improvements suffice.

    An action is changed only for one that is better by more than rounding, so that ties end it too.

    Args:
      mdp: a `TabularMDP` with a discount below 1.
      initial: the policy to begin with, ``[state]`` whole numbers; by default the one of least cost at once.
      improvements: the most of them.
    Raises:
      ValueError: as `value_iteration`.
    """
    _check_discounted("policy_iteration", mdp)
    policy = jnp.argmin(mdp.costs, axis=1) if initial is None else _policy("policy_iteration", mdp, initial)
    if policy.ndim != 1:
        raise ValueError(f"policy_iteration: begins with whole numbers [{mdp.states}], not with probabilities.")
    return _solution(mdp, *_bettered(jax.lax.stop_gradient(mdp), policy, improvements))


@jax.jit
def _bettered(mdp: TabularMDP, policy: Any, improvements: Any) -> tuple[Any, Any, Any]:
    def improve(carry):
        policy, _, _, count = carry
        values = _evaluated(mdp, policy)
        return *_improved(mdp, policy, values), values, count + 1

    def goes_on(carry):
        return carry[1] & (carry[3] < improvements)

    start = (policy, jnp.asarray(True), jnp.zeros(mdp.states, mdp.costs.dtype), jnp.asarray(0))
    _, changes, values, count = jax.lax.while_loop(goes_on, improve, start)
    return values, count, ~changes


def policy_evaluation(mdp: TabularMDP, policy: Any) -> Float[Array, " states"]:
    """V of a policy, V = (I - gamma P_pi)^-1 c_pi by a linear solve; differentiable in everything.

    Args:
      mdp: a `TabularMDP` with a discount below 1.
      policy: whole numbers ``[state]``, or probabilities ``[state, action]``.
    Raises:
      ValueError: a policy of another shape, as `value_iteration`.
    """
    _check_discounted("policy_evaluation", mdp)
    return _evaluated(mdp, _policy("policy_evaluation", mdp, policy))


def occupancy(mdp: TabularMDP, policy: Any) -> Float[Array, "states actions"]:
    """mu(s, a) = sum_t gamma^t P(s_t = s, a_t = a) from the start of the table; its sum is 1 / (1 - gamma).

    The expected discounted cost of a policy is sum mu c, linear in mu: constrained problems are linear programmes in it.

    Raises:
      ValueError: a table without a start; as `policy_evaluation`.
    """
    _check_discounted("occupancy", mdp)
    if mdp.start is None:
        raise ValueError("occupancy: the table has no start, a distribution over the states; give one.")
    return _visits(mdp, _policy("occupancy", mdp, policy))


@jax.jit
def _visits(mdp: TabularMDP, policy: Any) -> Any:
    matrix, _ = _under(mdp, policy)
    visits = jnp.linalg.solve(jnp.eye(mdp.states, dtype=matrix.dtype) - mdp.discount * matrix.T, mdp.start)
    shares = policy if policy.ndim == 2 else jax.nn.one_hot(policy, mdp.actions, dtype=visits.dtype)
    return visits[:, None] * shares


def finite_horizon(mdp: TabularMDP, horizon: int, *, terminal: Any = None) -> FiniteHorizonSolution:
    """Backward induction over a number of steps, discount 1 included; differentiable.

    Args:
      mdp: a `TabularMDP`.
      horizon: steps.
      terminal: the cost of the last state, ``[state]``; 0 by default.
    Raises:
      ValueError: tables that are none, a horizon that is no positive whole number.
    """
    mdp.check()
    if not is_whole(horizon) or horizon < 1:
        raise ValueError(f"finite_horizon: the horizon is a number of steps, a whole number >= 1, got {horizon!r}.")
    last = jnp.zeros(mdp.states, mdp.costs.dtype) if terminal is None else jnp.asarray(terminal, mdp.costs.dtype)
    return _planned(mdp, last, horizon)


@functools.partial(jax.jit, static_argnames="horizon")
def _planned(mdp: TabularMDP, last: Any, horizon: int) -> FiniteHorizonSolution:
    def back(values, _):
        each = mdp.action_values(values)
        best = jnp.argmin(each, axis=1)
        values = jnp.take_along_axis(each, best[:, None], axis=1)[:, 0]
        return values, (values, best)

    _, (values, policy) = jax.lax.scan(back, last, length=horizon, reverse=True)
    return FiniteHorizonSolution(jnp.concatenate([values, last[None]]), policy)


def _under(mdp: TabularMDP, policy: Any) -> tuple[Any, Any]:
    """Transitions ``[state, next state]`` and costs ``[state]`` under a policy."""
    if policy.ndim == 2:
        costs = jnp.where(policy > 0, mdp.costs, 0.0)  # 0 times +inf is no cost
        return jnp.einsum("sa,sat->st", policy, mdp.transitions), jnp.sum(policy * costs, axis=1)
    rows = jnp.arange(mdp.states)
    return mdp.transitions[rows, policy], mdp.costs[rows, policy]


@jax.jit
def _evaluated(mdp: TabularMDP, policy: Any) -> Any:
    matrix, costs = _under(mdp, policy)
    return jnp.linalg.solve(jnp.eye(mdp.states, dtype=matrix.dtype) - mdp.discount * matrix, costs)


def _improved(mdp: TabularMDP, policy: Any, values: Any) -> tuple[Any, Any]:
    """The policy that is greedy against the values, and whether it differs."""
    each = mdp.action_values(values)
    best = jnp.argmin(each, axis=1).astype(policy.dtype)
    gain = jnp.take_along_axis(each, policy[:, None], axis=1)[:, 0] - jnp.min(each, axis=1)
    rounding = 64 * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values)) / (1 - mdp.discount)
    better = gain > rounding
    return jnp.where(better, best, policy), jnp.any(better)


@jax.jit
def _solution(mdp: TabularMDP, values: Any, count: Any, converged: Any) -> TabularSolution:
    fixed = jax.lax.stop_gradient(mdp)
    each = fixed.action_values(values)
    policy = jnp.argmin(each, axis=1)
    bound = jnp.max(jnp.abs(jnp.min(each, axis=1) - values)) / (1 - fixed.discount)
    discount = jnp.asarray(mdp.discount, values.dtype)
    values = _optimal(values, mdp.transitions, mdp.costs, discount, policy)
    return TabularSolution(values, policy, count, bound, converged)


@jax.custom_jvp
def _optimal(values: Any, transitions: Any, costs: Any, discount: Any, policy: Any) -> Any:
    """The values; their derivative is that of the best policy's value with the policy held (the envelope theorem)."""
    return values


@_optimal.defjvp
def _(primals, tangents):
    values, transitions, _, discount, policy = primals
    rows = jnp.arange(len(values))
    _, transitions_dot, costs_dot, discount_dot, _ = tangents
    matrix = transitions[rows, policy]
    push = costs_dot[rows, policy] + discount_dot * (matrix @ values) + discount * (transitions_dot[rows, policy] @ values)
    return values, jnp.linalg.solve(jnp.eye(len(values), dtype=values.dtype) - discount * matrix, push)


def _policy(where: str, mdp: TabularMDP, policy: Any) -> Any:
    policy = jnp.asarray(policy)
    whole = jnp.issubdtype(policy.dtype, jnp.integer)
    wanted = (mdp.states,) if whole else (mdp.states, mdp.actions)
    if policy.shape != wanted:
        raise ValueError(
            f"{where}: a policy is whole numbers [{mdp.states}] or probabilities [{mdp.states}, {mdp.actions}]; "
            f"got {policy.dtype}{list(policy.shape)}."
        )
    if is_traced(policy):
        return policy
    known = np.asarray(policy)
    if whole and (known.min() < 0 or known.max() >= mdp.actions):
        raise ValueError(
            f"{where}: actions are whole numbers from 0 to {mdp.actions - 1}; the policy has {_outside(known, mdp)}."
        )
    if not whole:
        _check_distribution("the policy", known, "state")
    return policy


def _outside(policy: np.ndarray, mdp: TabularMDP) -> str:
    state = int(np.argmax((policy < 0) | (policy >= mdp.actions)))
    return f"{int(policy[state])} in state {state}"


def _check_shapes(mdp: TabularMDP) -> None:
    for name in ("transitions", "costs"):
        kind = getattr(getattr(mdp, name), "dtype", None)
        if kind is None or not jnp.issubdtype(kind, jnp.floating):
            got = type(getattr(mdp, name)).__name__ if kind is None else kind
            raise TypeError(f"TabularMDP: {name} is an array of floating-point numbers, got {got}; jnp.asarray(..., float).")
    found = {name: np.shape(getattr(mdp, name)) for name in ("transitions", "costs")}
    states, actions = found["costs"] if len(found["costs"]) == 2 else (-1, -1)
    if found["transitions"] != (states, actions, states):
        hint = " Use TabularMDP.by_actions(...)." if found["transitions"] == (actions, states, states) else ""
        raise ValueError(
            "TabularMDP: transitions are [state, action, next state] and costs [state, action]; got "
            f"{list(found['transitions'])} and {list(found['costs'])}.{hint}"
        )
    if mdp.start is not None and np.shape(mdp.start) != (states,):
        raise ValueError(f"TabularMDP: start is a distribution over the {states} states; got shape {np.shape(mdp.start)}.")


def _check_distribution(name: str, table: np.ndarray, axes: str) -> None:
    """The last axis is a distribution, to rounding: a chance that is a difference may be -1e-16."""
    sums = table.sum(axis=-1)
    tolerance = 8 * table.shape[-1] * np.finfo(table.dtype).eps + 1e-9
    if (table < -tolerance).any():
        raise ValueError(f"TabularMDP: probabilities are not negative; {name} holds {table.min():.6g}.")
    wrong = ~(np.abs(sums - 1) <= tolerance)
    if wrong.any():
        place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        where = f" of {axes} {tuple(int(i) for i in place)}" if axes else ""
        raise ValueError(
            f"TabularMDP: probabilities sum to one; {name}{where} sums to {sums[place]:.6g} ({int(wrong.sum())} such). Divide by "
            "the sum, or let what is missing lead to a state of its own."
        )


def _check_discounted(where: str, mdp: TabularMDP) -> None:
    mdp.check()
    if not is_traced(mdp.discount) and float(mdp.discount) >= 1:
        raise ValueError(
            f"{where}: needs a discount below 1, got {mdp.discount!r}; for a discount of 1 take finite_horizon."
        )
