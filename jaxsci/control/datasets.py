"""Transitions: what offline learning learns from, made of rollouts or of a user's records, and checked before anything is learnt.

One row is (o_t, a_t, cost_t, o_{t+1}). Two ends are kept apart: after a `terminated` row nothing more is to come and a target has
no value of o_{t+1}; after a `truncated` one the record merely stops, and the value of o_{t+1} belongs into the target. Rows of
different episodes (patients) are never joined: every row has its own next observation and the number of its episode.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxsci._types import Key
from jaxsci.control.checks import check_counts
from jaxsci.control.rollout import Rollout, states_after
from jaxsci.control.task import Task


class Transitions(NamedTuple):
    """Rows of experience; every leaf has the row as its leading axis.

    Attributes:
      observation, action: pytrees of arrays ``[rows, ...]``.
      cost: of the step, what is minimised (a reward is a negative cost). ``[rows]``.
      next_observation: like `observation`: of the same episode, one step later.
      terminated: the step ended the episode for good.
      truncated: the record ends after this step, though the episode would go on.
      constraint: costs of safety, a pytree of arrays ``[rows]`` >= 0 (0: nothing was violated), or None.
      episode: the number of the episode, ``[rows]``, non-decreasing; rows of an episode are in the order of time.
    """

    observation: Any
    action: Any
    cost: Float[Array, " rows"]
    next_observation: Any
    terminated: Bool[Array, " rows"]
    truncated: Bool[Array, " rows"]
    constraint: Any
    episode: Int[Array, " rows"]


def transitions(task: Task, run: Rollout) -> Transitions:
    """The rows of a rollout, without the steps after an episode's end. Constraint costs are max(g, 0).

    Args:
      task: which the rollout is of; it observes the states after the last action and after an end.
      run: a `Rollout`, with a batch or without. Not to be traced: how many rows there are depends on its values.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> task = js.control.Task(dynamics=lambda p, s, a: s + a, cost=lambda p, s, a, s1: s1**2, init=lambda p: jnp.asarray(0.0),
      ...     horizon=5, terminated=lambda p, s: s >= 3)
      >>> data = transitions(task, js.control.rollout(task, lambda p, s: jnp.ones(()), batch=2))
      >>> data.cost.tolist(), data.terminated.tolist()
      ([1.0, 4.0, 9.0, 1.0, 4.0, 9.0], [False, False, True, False, False, True])
    """
    if run.alive.ndim == 1:
        run = jax.tree.map(lambda leaf: leaf[None], run)
    batch, horizon = run.alive.shape
    alive = np.asarray(run.alive)
    # A rollout shows a policy that has ended the START state; what a row needs is the observation of the state that was reached.
    next_observation = jax.vmap(jax.vmap(task.observation))(states_after(run))
    goes_on = np.concatenate([alive[:, 1:], ~np.asarray(run.terminated)[:, None]], axis=1)
    last = np.arange(horizon) == horizon - 1
    kept = np.flatnonzero(alive.reshape(-1))
    rows = lambda tree: jax.tree.map(lambda leaf: jnp.reshape(leaf, (batch * horizon, *leaf.shape[2:]))[kept], tree)  # noqa: E731
    return Transitions(
        rows(run.observations),
        rows(run.actions),
        rows(run.costs),
        rows(next_observation),
        rows(jnp.asarray(alive & ~goes_on)),
        rows(jnp.asarray(alive & goes_on & last)),
        jax.tree.map(lambda g: jnp.maximum(g, 0.0), rows(run.constraints)),
        rows(jnp.broadcast_to(jnp.arange(batch)[:, None], (batch, horizon))),
    )


def records(
    observation: Any,
    action: Any,
    cost: Any,
    episode: Any,
    *,
    ended: Any,
    constraint: Any = None,
    next_observation: Any = None,
) -> Transitions:
    """Transitions of a user's arrays, one row a time step, patients (episodes) one after another and each in the order of time.

    The next observation of a row is that of the next row OF THE SAME EPISODE. The last row of an episode that has not ended has
    none and is left out, unless `next_observation` gives it; the row before is then where the record is truncated.

    Args:
      observation, action: arrays ``[rows, ...]`` or pytrees of them.
      cost: ``[rows]``; a reward is a negative cost.
      episode: ``[rows]``, an identifier of the patient or the stay, numbers or strings.
      ended: ``[rows]`` of bool: the patient's course ended with this step (death, discharge); not: the record stops here.
      constraint: costs of safety ``[rows]`` >= 0, or a pytree of them.
      next_observation: where the rows have it themselves.
    Raises:
      ValueError: lengths that differ, NaN or infinite numbers, rows of an episode that are not consecutive, an end before an
        episode's last row, negative constraint costs, nothing left.
    Example:
      >>> import numpy as np
      >>> data = records(np.arange(5.0), np.zeros(5), np.ones(5), ["ann", "ann", "ann", "bob", "bob"],
      ...     ended=[False, False, True, False, False])
      >>> data.next_observation.tolist(), data.terminated.tolist(), data.truncated.tolist()
      ([1.0, 2.0, 2.0, 4.0], [False, False, True, False], [False, False, False, True])
    """
    episode, ended = np.asarray(episode), np.asarray(ended)
    observation, action, cost, constraint, next_observation = map(
        _without_lists, (observation, action, cost, constraint, next_observation)
    )
    rows = len(episode)
    given = {"observation": observation, "action": action, "cost": cost, "ended": ended, "constraint": constraint}
    for name, tree in (given | {"next_observation": next_observation}).items():
        _check_rows(name, tree, rows)
    if ended.dtype != bool:
        raise ValueError(f"records: ended is an array of bool, got dtype {ended.dtype}; write deaths == 1 or the like.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(constraint):
        if np.min(np.asarray(leaf)) < 0:
            raise ValueError(
                f"records: constraint{jax.tree_util.keystr(path)} has negative costs, least {np.min(np.asarray(leaf))}. "
                "A violation costs more than none: costs of safety are >= 0, as in 1.0 * (spo2 < 92)."
            )
    starts = np.concatenate([[True], episode[1:] != episode[:-1]])
    number = np.cumsum(starts) - 1
    if len(np.unique(episode)) != number[-1] + 1:
        again = [name for name in np.unique(episode) if np.sum(starts & (episode == name)) > 1]
        raise ValueError(f"records: the rows of episode {again[0]!r} are not consecutive; sort them by episode and time.")
    last = np.concatenate([starts[1:], [True]])
    if np.any(ended & ~last):
        where = int(np.flatnonzero(ended & ~last)[0])
        raise ValueError(f"records: episode {episode[where]!r} has ended in row {where} and goes on after it.")

    kept = np.ones(rows, bool) if next_observation is not None else ~last | ended
    if not kept.any():
        raise ValueError("records: no episode has two rows or an end: there is no transition in these rows.")
    follower = np.where(
        last, np.arange(rows), np.arange(rows) + 1
    )  # an ended row follows itself: its target does not look there
    if next_observation is None:
        next_observation = jax.tree.map(lambda leaf: np.asarray(leaf)[follower], observation)
    ends = np.concatenate([number[kept][1:] != number[kept][:-1], [True]])
    take = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[kept]), tree)  # noqa: E731
    return Transitions(
        take(observation),
        take(action),
        take(np.asarray(cost, np.result_type(np.asarray(cost), np.float32))),
        take(next_observation),
        take(ended),
        jnp.asarray(ends & ~ended[kept]),
        take(constraint),
        jnp.asarray(np.unique(number[kept], return_inverse=True)[1]),
    )


def split_by_episode(data: Transitions, shares: tuple[float, ...], key: Key) -> tuple[Transitions, ...]:
    """Parts of the data with whole episodes: training and validation without a patient in both.

    Args:
      shares: of the episodes, positive, with sum 1.
    Raises:
      ValueError: other shares; a part that would have no episode.
    """
    if any(share <= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"split_by_episode: shares are positive with sum 1, got {shares}.")
    names = np.unique(np.asarray(data.episode))
    names = np.asarray(jax.random.permutation(key, names))
    cuts = np.round(np.cumsum(shares) * len(names)).astype(int)
    parts = np.split(names, cuts[:-1])
    if any(len(part) == 0 for part in parts):
        raise ValueError(f"split_by_episode: {len(names)} episodes do not fill parts of {shares}.")
    inside = [np.flatnonzero(np.isin(np.asarray(data.episode), part)) for part in parts]
    return tuple(jax.tree.map(lambda leaf: leaf[rows], data) for rows in inside)  # noqa: B023


def cost_to_go(data: Transitions, discount: Any = 1.0) -> Float[Array, " rows"]:
    """Discounted sums of the costs from each row to the end of ITS episode's record."""

    def back(later, row):
        cost, last = row
        total = cost + discount * jnp.where(last, 0.0, later)
        return total, total

    last = jnp.concatenate([data.episode[1:] != data.episode[:-1], jnp.ones(1, bool)])
    return jax.lax.scan(back, jnp.zeros_like(data.cost[0]), (data.cost, last), reverse=True)[1]


def minibatch(data: Any, key: Key, size: int | None) -> Any:
    """Rows of a pytree of arrays ``[rows, ...]``, drawn with replacement; for None one row, without that axis."""
    rows = jax.random.randint(key, () if size is None else (size,), 0, jax.tree.leaves(data)[0].shape[0])
    return jax.tree.map(lambda leaf: leaf[rows], data)


def flat_row(observation: Any, action: Any, dtype: Any) -> Float[Array, " numbers"]:
    """ONE observation and action as a flat vector."""
    return ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (observation, action)))[0]


def check_data(who: str, data: Any, iterations: Any, batch: Any) -> None:
    """What every offline algorithm asks of its arguments."""
    if not isinstance(data, Transitions):
        raise TypeError(
            f"{who}: data are Transitions (of jaxsci.control.transitions or records), got {type(data).__name__}."
        )
    check_counts(who, iterations=iterations, batch=batch)


def standard(rows: Float[Array, "rows columns"]) -> tuple[Float[Array, " columns"], Float[Array, " columns"]]:
    """Centre and spread of each column; a column that never varies keeps its unit."""
    spread = jnp.std(rows, axis=0)
    return jnp.mean(rows, axis=0), jnp.where(spread > 0, spread, 1.0)


def _without_lists(tree: Any) -> Any:
    """Lists are columns of numbers here, no containers."""
    return jax.tree.map(lambda leaf: np.asarray(leaf), tree, is_leaf=lambda leaf: isinstance(leaf, list))


def _check_rows(name: str, tree: Any, rows: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        where = name + jax.tree_util.keystr(path)
        if leaf.ndim == 0 or leaf.shape[0] != rows:
            raise ValueError(f"records: {where} has shape {leaf.shape}, but there are {rows} rows of episode.")
        if not (np.issubdtype(leaf.dtype, np.number) or leaf.dtype == bool):
            raise ValueError(f"records: {where} must have numbers, got dtype {leaf.dtype}.")
        bad = ~np.isfinite(leaf).reshape(rows, -1).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"records: {where} has {int(bad.sum())} rows that are not finite, the first in row {row}; fill or drop them."
            )
