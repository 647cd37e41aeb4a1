r"""Gaussian-process dynamic programming: the best policy under everything that the data leave possible.

    P(cell j | s, a) = sum_k w_k [Phi((e_{j+1} - m_k) / d_k) - Phi((e_j - m_k) / d_k)],      d_k^2 = variance_k + noise_k^2

with mean m_k and variance of process k at the features of (s, a), its weight w_k, and cells that end half-way between neighbours.
What has not been seen has a wide distribution, and a policy that may end badly there is avoided by its expected cost alone.

Reference: Deisenroth, Rasmussen & Peters (2009), Neurocomputing 72, 1508; Boettiger, Mangel & Munch (2015), Proc. R. Soc. B 282,
20141631, for fisheries. Their released code leaves the noise out of d_k; see docs/control.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsci.control.gaussian_process import ProcessPosterior, Regression
from jaxsci.control.grid_programming import Shares, binned, discretised, normal
from jaxsci.control.tables import TabularMDP
from jaxsci.control.task import Task


def process_shares(
    process: Regression | ProcessPosterior,
    states: Float[Array, " points"],
    features: Callable[[Any, Any], Any],
    *,
    absorbed: Callable[[Any, Any], Any] | None = None,
    noise: bool = True,
) -> Shares:
    """Probabilities of the next state on a grid, from the predictive distribution of a process; for `discretised`.

    Args:
      process: a `Regression`, or a `ProcessPosterior` over kernels.
      states: the grid of a scalar state.
      features: ``(state, action) -> inputs`` of the process.
      absorbed: ``(state, action) -> bool``, where the first state of the grid is known to follow: nothing grows from nothing.
      noise: whether d_k holds the noise of the process, as the next state does; without it the uncertainty of the mean alone.
    """
    if isinstance(process, Regression):
        process = ProcessPosterior(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], process), jnp.ones(1))
    shared = process.processes.kernel.noise * (1.0 if noise else 0.0)

    def cumulative(p, state, action, x):
        at = jnp.asarray(features(state, action))[None]
        means, variances = jax.vmap(lambda each: each.predict(at))(process.processes)
        deviations = jnp.sqrt(variances[:, 0] + shared**2 + jnp.finfo(variances.dtype).tiny)
        below = process.weights @ normal(x[None], means, deviations[:, None])
        return below if absorbed is None else jnp.where(absorbed(state, action), jnp.ones_like(below), below)

    return binned(cumulative, states)


def process_programming(
    task: Task,
    process: Regression | ProcessPosterior,
    states: Float[Array, " points"],
    actions: Any,
    features: Callable[[Any, Any], Any],
    *,
    absorbed: Callable[[Any, Any], Any] | None = None,
) -> TabularMDP:
    """A task on grids with a process in place of its dynamics; solve it by `policy_iteration`.

    Args:
      task: its cost and its discount count; of its state, a scalar, only the grid.
      process, states, features, absorbed: as in `process_shares`.
      actions: the grid of the actions.
    Raises:
      ValueError: as `discretised`.
    """
    return discretised(task, states, actions, shares=process_shares(process, states, features, absorbed=absorbed))
