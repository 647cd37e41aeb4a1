r"""What steps were worth: returns over n steps, TD(lambda), advantages.

With V_t the value (the cost expected to come) of the state before step t and V'_t that of the state which the step led to,

    n-step      G_t^(1) = c_t + gamma m_t V'_t,    G_t^(n) = c_t + gamma m_t (b_t V'_t + (1 - b_t) G_{t+1}^(n-1))
    TD(lambda)  G_t = c_t + gamma m_t ((1 - l_t) V'_t + l_t G_{t+1}),    l_t = lambda (1 - b_t)
    advantage   A_t = d_t + gamma l_t m_t A_{t+1},    d_t = c_t + gamma m_t V'_t - V_t

m_t = 0 where the step led to a state from which nothing goes on (terminated), else 1; b_t = 1 where the next record is not that
of the next step of the same episode (truncated, or the last record), else 0. Two things, never one flag: after termination
nothing is to come; after truncation V'_t is to come, the value of the state in which the episode was cut, not of the state with
which the next one begins.

References: Sutton & Barto (2018), chapters 7 and 12; Schulman et al. (2016), arXiv:1506.02438, equation 16; Pardo et al. (2018),
arXiv:1712.00378, for the two kinds of end.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxsci._checks import is_whole


def advantages(
    costs: Float[Array, " steps *members"],
    values: Float[Array, " steps *members"],
    next_values: Float[Array, " steps *members"],
    terminated: Bool[Array, " steps *members"],
    truncated: Bool[Array, " steps *members"],
    *,
    discount: Any = 1.0,
    trace: Any = 0.95,
) -> Float[Array, " steps *members"]:
    """Generalised advantage estimation: by how much each action cost more than expected. Time is the leading axis.

    Args:
      costs: c_t.
      values, next_values: V_t and V'_t, those of the states before and after each step.
      terminated: the step led to a state from which nothing goes on.
      truncated: the episode was cut after the step, though it might have gone on. The last record counts as such.
      discount: gamma.
      trace: lambda; 0 for the temporal difference alone, 1 for the whole return.
    Raises:
      ValueError: shapes that differ.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> cut = jnp.array([False, False, True])
      >>> print(js.control.advantages(jnp.ones(3), jnp.zeros(3), jnp.array([0.0, 0, 5]), ~cut & False, cut, trace=1.0))
      [8. 7. 6.]
      >>> print(js.control.advantages(jnp.ones(3), jnp.zeros(3), jnp.array([0.0, 0, 5]), cut, ~cut & False, trace=1.0))
      [3. 2. 1.]
    """
    _check_shapes("advantages", costs, values, next_values, terminated, truncated)
    goes_on = jnp.where(terminated, 0.0, jnp.asarray(discount, costs.dtype))
    differences = costs + goes_on * next_values - values
    carried = goes_on * jnp.where(truncated, 0.0, jnp.asarray(trace, costs.dtype))

    def before(later, step):
        difference, share = step
        now = difference + share * later
        return now, now

    return jax.lax.scan(before, jnp.zeros_like(costs[0]), (differences, carried), reverse=True)[1]


def lambda_returns(
    costs: Float[Array, " steps *members"],
    next_values: Float[Array, " steps *members"],
    terminated: Bool[Array, " steps *members"],
    truncated: Bool[Array, " steps *members"],
    *,
    discount: Any = 1.0,
    trace: Any = 0.95,
) -> Float[Array, " steps *members"]:
    """TD(lambda) targets: the mean of the returns over 1, 2, ... steps with weights (1 - lambda) lambda^(n-1).

    Args: as of `advantages`. With V'_t = V_{t+1} within an episode the targets are values + advantages.
    Raises:
      ValueError: shapes that differ.
    """
    _check_shapes("lambda_returns", costs, next_values, terminated, truncated)
    goes_on = jnp.where(terminated, 0.0, jnp.asarray(discount, costs.dtype))
    share = jnp.where(truncated, 0.0, jnp.asarray(trace, costs.dtype))

    def before(later, step):
        cost, goes_on, share, value = step
        now = cost + goes_on * ((1 - share) * value + share * later)
        return now, now

    return jax.lax.scan(before, next_values[-1], (costs, goes_on, share, next_values), reverse=True)[1]


def n_step_returns(
    costs: Float[Array, " steps *members"],
    next_values: Float[Array, " steps *members"],
    terminated: Bool[Array, " steps *members"],
    truncated: Bool[Array, " steps *members"],
    *,
    steps: int,
    discount: Any = 1.0,
) -> Float[Array, " steps *members"]:
    """The costs of up to `steps` steps and the value of the state after them; fewer where the episode or the record ends.

    Args: as of `advantages`.
    Raises:
      ValueError: shapes that differ; a number of steps that is no whole number >= 1.
    """
    _check_shapes("n_step_returns", costs, next_values, terminated, truncated)
    if not is_whole(steps) or steps < 1:
        raise ValueError(f"n_step_returns: steps is a whole number >= 1, got {steps!r}.")
    goes_on = jnp.where(terminated, 0.0, jnp.asarray(discount, costs.dtype))
    cut = truncated.at[-1].set(True)

    def longer(_, returns):
        following = jnp.concatenate([returns[1:], next_values[-1:]])
        return costs + goes_on * jnp.where(cut, next_values, following)

    return jax.lax.fori_loop(1, steps, longer, costs + goes_on * next_values)


def _check_shapes(name: str, costs: Any, *others: Any) -> None:
    for other in others:
        if jnp.shape(other) != jnp.shape(costs):
            raise ValueError(
                f"{name}: costs, values and ends have one shape, [steps, ...]; got {jnp.shape(costs)} and {jnp.shape(other)}."
            )
