r"""A guardian against actions that the data do not know: the density of what was seen, and a threshold below which nobody goes.

    p(o, a) = 1/N sum_i N((o, a); (o_i, a_i), h^2 Sigma)         Sigma: the covariance of the data (whitened coordinates)

    tau = the alpha-quantile of the LEAVE-ONE-OUT densities p_{-i}(o_i, a_i):   a share alpha of the data's own kind lies outside
    excess = log tau - log p(o, a)  <= 0 inside                   soft: softplus(excess), positive, smooth, nearly 0 well inside

A density that counts a point's own kernel is never small at that point, so that its quantiles promise more than fresh data keep.
Positive is bad, as of every constraint here; the guard is of the action taken, in the state in which it is taken.

References: Silverman (1986), Density Estimation, sections 3.4.3 (leave-one-out likelihood) and 4.2 (the whitened kernel); Yan et
al. (2025), arXiv:2505.16242, for a guardian of offline treatment policies.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.control.calling import call, of_task
from jaxsci.control.datasets import Transitions, flat_row
from jaxsci.control.task import Task

# Of the largest standard deviation of a combination of columns: what never varied in the data may not vary now.
_LEAST_SPREAD = 1e-2
_BANDWIDTHS = 2.0 ** np.arange(-2.5, 1.01, 0.5)  # times Scott's
_CHUNK = 512  # rows whose distances to all points are in memory at once


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Guardian:
    """A density of observations and actions with a threshold; made by `fit_guardian`. Every method is for ONE row.

    Attributes:
      points: whitened observations and actions of the data, ``[points, columns]``.
      center, whiten: z = whiten (x - center).
      bandwidth: h, in whitened coordinates.
      log_threshold: log tau.
    """

    points: Float[Array, "points columns"]
    center: Float[Array, " columns"]
    whiten: Float[Array, "columns columns"]
    bandwidth: Float[Array, ""]
    log_threshold: Float[Array, ""]

    def log_density(self, observation: Any, action: Any) -> Float[Array, ""]:
        """log p(o, a), per unit of the observation's and the action's own units."""
        z = self.whiten @ (flat_row(observation, action, self.center.dtype) - self.center)
        logs = -0.5 * jnp.sum((z - self.points) ** 2, axis=1) / self.bandwidth**2
        return jax.nn.logsumexp(logs) + _log_mass(self.points.shape, self.bandwidth, self.whiten)

    def excess(self, observation: Any, action: Any) -> Float[Array, ""]:
        """log tau - log p: what is to be <= 0."""
        return self.log_threshold - self.log_density(observation, action)

    def soft(self, observation: Any, action: Any) -> Float[Array, ""]:
        """softplus(log tau - log p): log 2 on the border, nearly 0 well inside, the excess far outside."""
        return jax.nn.softplus(self.excess(observation, action))

    def outside(self, observation: Any, action: Any) -> Bool[Array, ""]:
        """The density is below the threshold."""
        return self.excess(observation, action) > 0


def fit_guardian(
    data: Transitions,
    *,
    alpha: float = 0.05,
    bandwidth: float | None = None,
    points: int = 1000,
    key: Key | None = None,
) -> Guardian:
    """A guardian of the observations and actions of the data.

    Args:
      data: `Transitions` with floating-point actions (of a discrete action, its one-hot).
      alpha: the share of the data's own kind that is called outside.
      bandwidth: in units of the data's whitened spread; by default the one, among multiples of Scott's, of the largest
        leave-one-out likelihood.
      points: how many rows carry a kernel, drawn with `key` (by default jax.random.key(0)) where there are more.
    Raises:
      TypeError: actions that are whole numbers.
      ValueError: alpha outside (0, 1), fewer than 20 rows, a bandwidth that is not positive.
    Example:
      >>> import jax, numpy as np
      >>> from jaxsci.control.datasets import flat_row, records
      >>> o, noise = np.asarray(jax.random.normal(jax.random.key(0), (2, 500)))
      >>> data = records(o, -o + 0.1 * noise, np.zeros(500), np.zeros(500), ended=np.arange(500) == 499)
      >>> guardian = fit_guardian(data)
      >>> bool(guardian.outside(1.0, -1.0)), bool(guardian.outside(1.0, 1.0))  # either number alone was seen often
      (False, True)
    """
    if not 0 < alpha < 1:
        raise ValueError(f"fit_guardian: alpha is a share between 0 and 1, got {alpha!r}.")
    if bandwidth is not None and not bandwidth > 0:
        raise ValueError(f"fit_guardian: the bandwidth is positive, or None to have it chosen; got {bandwidth!r}.")
    if not is_whole(points) or points < 20:
        raise ValueError(f"fit_guardian: points is a whole number >= 20, got {points!r}.")
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(data.action)):
        raise TypeError(
            "fit_guardian: actions are floating point; of a discrete action give jax.nn.one_hot(action, choices)."
        )
    dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves((data.observation, data.action))), jnp.float32)
    x = jax.vmap(lambda o, a: flat_row(o, a, dtype))(data.observation, data.action)
    rows, columns = x.shape
    if rows < 20:
        raise ValueError(f"fit_guardian: a density needs 20 rows at least, got {rows}.")
    center = jnp.mean(x, axis=0)
    whiten = _whitening(np.asarray(x - center, float))
    z = (x - center) @ jnp.asarray(whiten.T, dtype)
    if rows > points:
        z = z[jax.random.permutation(jax.random.key(0) if key is None else key, rows)]
    kernels = z[:points]
    # The first rows carry kernels, and leave their own out; the others carry none, and there is nothing to leave out.
    own = jnp.where(jnp.arange(rows) < len(kernels), jnp.arange(rows), -1)
    scott = len(kernels) ** (-1 / (columns + 4))
    candidates = scott * _BANDWIDTHS if bandwidth is None else np.array([bandwidth])
    logs = _left_out(z, own, kernels, jnp.asarray(candidates, dtype))  # [candidates, rows]
    # The rarest hundredth counts as its border: one row far from all others must not widen the kernels of the rest.
    best = int(jnp.argmax(jnp.mean(jnp.maximum(logs, jnp.quantile(logs, 0.01, axis=1, keepdims=True)), axis=1)))
    chosen, whiten = jnp.asarray(candidates[best], dtype), jnp.asarray(whiten, dtype)
    threshold = jnp.quantile(logs[best], alpha) + jnp.linalg.slogdet(whiten)[1]
    return Guardian(kernels, center, whiten, chosen, threshold)


def outside_share(guardian: Guardian, data: Transitions) -> Float[Array, ""]:
    """The share of rows whose density is below the threshold: what a guarded policy keeps near alpha in the true system."""
    return _share(guardian, data.observation, data.action)


@jax.jit
def _share(guardian: Guardian, observation: Any, action: Any) -> Any:
    outside = jax.lax.map(lambda row: guardian.outside(*row), (observation, action), batch_size=_CHUNK)
    return jnp.mean(outside.astype(guardian.center.dtype))


class GuardedParameters(NamedTuple):
    """Of a guarded task: those of the task, and the guardian."""

    task: Any
    guardian: Guardian


def guarded(task: Task, guardian: Guardian, *, soft: bool = False) -> Task:
    """The same task with the guardian as one more constraint, "guard"; the task's own is "task" beside it.

    Args:
      task: its observations and actions are like those of the guardian's data.
      soft: ask for softplus(excess) instead of the excess: never 0, so that a limit above 0 is needed and margin is rewarded.
    """

    def constraint(p, s, a, *, t):
        observation = s if task.observe is None else call(task.observe, p.task, s)
        guard = p.guardian.soft(observation, a) if soft else p.guardian.excess(observation, a)
        return (
            {"guard": guard}
            if task.constraint is None
            else {"guard": guard, "task": call(task.constraint, p.task, s, a, t=t)}
        )

    names = ("dynamics", "cost", "init", "observe", "terminal", "terminated")
    inner = {name: of_task(getattr(task, name)) for name in names}
    return task.replace(parameters=GuardedParameters(task.parameters, guardian), constraint=constraint, **inner)


def _log_mass(shape: tuple[int, ...], bandwidth: Any, whiten: Any) -> Any:
    count, columns = shape
    log_volume = columns * (jnp.log(bandwidth) + 0.5 * jnp.log(2 * jnp.pi)) - jnp.linalg.slogdet(whiten)[1]
    return -jnp.log(count) - log_volume


def _whitening(x: np.ndarray) -> np.ndarray:
    """A matrix under which the rows have unit covariance; directions in which they hardly vary are not blown up without end."""
    scale = x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(np.cov((x / scale).T).reshape(len(scale), len(scale)))
    deviations = np.sqrt(np.maximum(values, 0.0))
    return (vectors / np.maximum(deviations, _LEAST_SPREAD * max(deviations.max(), _LEAST_SPREAD))).T / scale


@jax.jit
def _left_out(z: Any, own: Any, kernels: Any, bandwidths: Any) -> Any:
    """Leave-one-out log densities in whitened coordinates, ``[bandwidths, rows]``."""
    count, columns = kernels.shape
    index = jnp.arange(count)

    def one(row):
        place, mine = row
        squares = jnp.where(index == mine, jnp.inf, jnp.sum((place - kernels) ** 2, axis=1))
        others = count - (mine >= 0)
        logs = jax.nn.logsumexp(-0.5 * squares / bandwidths[:, None] ** 2, axis=1) - jnp.log(others)
        return logs - columns * (jnp.log(bandwidths) + 0.5 * jnp.log(2 * jnp.pi))

    return jax.lax.map(one, (z, own), batch_size=_CHUNK).T
