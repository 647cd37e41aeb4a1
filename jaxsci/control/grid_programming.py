r"""A continuous task on grids of states and actions: a finite Markov decision process, solved by `value_iteration` and the like.

Where a next state falls between the points of a grid it is given to them

- by `interpolated`: in the shares of (multi)linear interpolation, so that its mean is kept; for dynamics without noise, or with
  a noise that takes a few values with given weights (a quadrature);
- by `binned`: in the probabilities of their cells, from a cumulative distribution (`normal`, `lognormal` or any other), which
  ends half-way between neighbours and goes to infinity at the ends of the grid.

Reference: Kushner & Dupuis (2001), Numerical Methods for Stochastic Control Problems in Continuous Time, chapter 5.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from jaxsci._checks import is_traced
from jaxsci.control.calling import call, is_random, names
from jaxsci.control.tables import TabularMDP
from jaxsci.control.task import Task

Grid = Any  # the points of each axis, increasing: an array for a scalar, a tuple of arrays for a vector
Shares = Callable[[Any, Any, Any], Float[Array, " states"]]


def discretised(task: Task, states: Grid, actions: Grid, *, shares: Shares | None = None, start: Any = None) -> TabularMDP:
    """A task on grids.

    Args:
      task: its state and its action are scalars or vectors. Neither its constraint, its horizon nor its terminal
        cost takes part; ``finite_horizon(mdp, horizon, terminal=)`` asks for the last two.
      states, actions: the points of each axis, increasing: an array where the task has a scalar, a tuple of arrays where it has a
        vector; states are then numbered with the last axis running fastest (`points`).
      shares: ``(parameters, state, action) -> [state]``, the probabilities of the next one: `interpolated` or `binned`. By
        default the task's own dynamics, interpolated, which must draw no random numbers.
      start: where the task begins, to be shared among the neighbouring points; by default its init, if that is not random.
    Returns:
      A `TabularMDP` with the task's discount. Who has terminated stays where he is and costs nothing.
    Raises:
      ValueError: a grid that is not increasing, random dynamics without `shares`, dynamics or a cost that depend on time.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(dynamics=lambda p, s, a: s + a, cost=lambda p, s, a, s1: s**2 + a**2,
      ...     init=lambda p: jnp.asarray(1.0), horizon=50, discount=0.95)
      >>> mdp = js.control.discretised(task, jnp.linspace(-1, 1, 81), jnp.linspace(-1, 1, 81))
      >>> print(f"{mdp.start @ js.control.policy_iteration(mdp).values:.1f}")  # Riccati: 1.59
      1.6
    """
    every_state, every_action = points(states), points(actions)
    p = task.parameters
    for what in ("dynamics", "cost", "terminated"):
        function = getattr(task, what)
        if function is not None and "t" in names(function) and not (what == "dynamics" and shares is not None):
            raise ValueError(f"{task.name}: {what} depends on time, and a table does not; make t a part of the state.")
    if shares is None:
        if is_random(task.dynamics):
            raise ValueError(
                f"{task.name}: the dynamics draw random numbers, and a grid needs their distribution: "
                "give shares=binned(...) or interpolated(...)."
            )
        shares = interpolated(task.dynamics, states)

    def one(state, action):
        reached = shares(p, state, action)
        costs = jax.vmap(lambda after: call(task.cost, p, state, action, after))(every_state)
        cost = jnp.sum(jnp.where(reached > 0, costs, 0.0) * reached)
        if task.terminated is None:
            return reached, cost
        ended = call(task.terminated, p, state)
        here = jnp.all(jnp.reshape(every_state == state, (len(every_state), -1)), axis=1).astype(reached.dtype)
        return jnp.where(ended, here, reached), jnp.where(ended, 0.0, cost)

    transitions, costs = jax.lax.map(lambda s: jax.vmap(lambda a: one(s, a))(every_action), every_state)
    if start is None and not is_random(task.init):
        start = task.first_state()
    first = None if start is None else _neighbours(jnp.asarray(start), states)
    return TabularMDP(transitions, costs, task.discount, first)


def points(grid: Grid) -> Any:
    """All points of a grid: ``[n]`` for an array, ``[n1 * n2 ..., axes]`` for a tuple, the last axis running fastest.

    Raises:
      ValueError: an axis that is not increasing or has fewer than two points.
    """
    for axis in grid if isinstance(grid, tuple) else (grid,):
        if (
            np.ndim(axis) != 1
            or np.shape(axis)[0] < 2
            or (not is_traced(axis) and not np.all(np.diff(np.asarray(axis)) > 0))
        ):
            raise ValueError(
                f"A grid is an increasing array of at least two points, or a tuple of such; got a shape {np.shape(axis)}."
            )
    if not isinstance(grid, tuple):
        return jnp.asarray(grid)
    return jnp.stack([jnp.ravel(axis) for axis in jnp.meshgrid(*grid, indexing="ij")], axis=-1)


def interpolated(dynamics: Callable[..., Any], states: Grid, noise: Any = None, weights: Any = None) -> Shares:
    """Shares by (multi)linear interpolation. What leaves the grid is held at its edge.

    Args:
      dynamics: ``(parameters, state, action) -> state``, or, with noise, ``(parameters, state, action, noise) -> state``.
      states: the grid of the states.
      noise, weights: values of the noise ``[nodes, ...]`` and their probabilities ``[nodes]``: `gauss_hermite`, or draws.
    """
    if noise is None:
        return lambda p, state, action: _neighbours(dynamics(p, state, action), states)
    nodes, chances = jnp.asarray(noise), jnp.asarray(weights)

    def shares(p, state, action):
        each = jax.vmap(lambda value: _neighbours(dynamics(p, state, action, value), states))(nodes)
        return chances @ each

    return shares


def gauss_hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities that stand for a standard normal: exact means of polynomials up to degree 2 nodes - 1."""
    values, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return values, weights / math.sqrt(2 * math.pi)


def binned(cumulative: Callable[[Any, Any, Any, Any], Any], states: Float[Array, " points"]) -> Shares:
    """Shares by the probability of each point's cell, for a scalar state.

    Args:
      cumulative: ``(parameters, state, action, x) -> P(next state <= x)``, x being numbers ``[points - 1]``.
      states: the grid of the states.
    Raises:
      ValueError: a grid of several axes.
    """
    if isinstance(states, tuple):
        raise ValueError("binned: cells are for scalar states; with several axes take interpolated(...) and a quadrature.")
    edges = (jnp.asarray(states)[1:] + jnp.asarray(states)[:-1]) / 2

    def shares(p, state, action):
        below = cumulative(p, state, action, edges)
        ends = jnp.zeros(1, below.dtype)
        return jnp.diff(jnp.concatenate([ends, below, ends + 1]))

    return shares


def normal(x: Any, mean: Any, deviation: Any) -> Any:
    """P(mean + deviation z <= x) of a standard normal z."""
    return norm.cdf(x, mean, deviation)


def lognormal(x: Any, median: Any, deviation: Any) -> Any:
    """P(median exp(deviation z) <= x) of a standard normal z; a median of 0 is 0 for certain."""
    positive = median > 0
    safe = jnp.where(positive, median, 1.0)
    below = norm.cdf(jnp.log(jnp.maximum(x, jnp.finfo(jnp.result_type(float)).tiny) / safe) / deviation)
    return jnp.where(x > 0, jnp.where(positive, below, 1.0), jnp.where(positive, 0.0, x >= 0))


@dataclasses.dataclass(frozen=True, eq=False)
class GridPolicy:
    """The policy of a table for continuous states; its params are the numbers of the actions, ``solution.policy``.

    Args:
      states, actions: the grids.
      nearest: take the action of the nearest point; otherwise interpolate between the actions of the neighbours.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> policy = js.control.GridPolicy(jnp.linspace(0, 1, 3), jnp.linspace(0, 1, 11))
      >>> print(f"{policy(jnp.array([0, 4, 10]), 0.75):.2f}")
      0.70
    """

    states: Grid
    actions: Grid
    nearest: bool = False

    def __call__(self, params: Int[Array, " states"], observation: Any) -> Any:
        chosen = points(self.actions)[params]
        if not isinstance(self.states, tuple):
            i, share = _cell(jnp.asarray(observation), jnp.asarray(self.states))
            share = jnp.where(share > 0.5, 1.0, 0.0) if self.nearest else share
            return (1 - share) * chosen[i] + share * chosen[i + 1]
        weights = _neighbours(jnp.asarray(observation), self.states)
        if self.nearest:
            return chosen[jnp.argmax(weights)]
        return jnp.tensordot(weights, chosen, axes=1)


def _neighbours(state: Any, grid: Grid) -> Float[Array, " states"]:
    """The weights with which the points of a grid interpolate a state."""
    if not isinstance(grid, tuple):
        return _line(state, jnp.asarray(grid))
    weights = _line(state[0], jnp.asarray(grid[0]))
    for axis, coordinate in zip(grid[1:], state[1:], strict=True):
        weights = jnp.outer(weights, _line(coordinate, jnp.asarray(axis))).ravel()
    return weights


def _cell(x: Any, axis: Any) -> tuple[Any, Any]:
    """The cell of an axis that holds x, and how far across it x is."""
    x = jnp.clip(x, axis[0], axis[-1])
    i = jnp.clip(jnp.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2)
    return i, (x - axis[i]) / (axis[i + 1] - axis[i])


def _line(x: Any, axis: Any) -> Any:
    i, share = _cell(x, axis)
    return jnp.zeros(len(axis), share.dtype).at[i].set(1 - share).at[i + 1].set(share)
