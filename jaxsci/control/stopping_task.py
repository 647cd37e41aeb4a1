r"""Sequential tests as tasks: a policy that learns when to stop asking.

`stopping_task` is the same problem for policies that are trained: an action is the PROBABILITY of stopping now. The chance of
still being asked is carried along instead of being drawn, so that the pathwise gradient of a threshold is that of the expected
cost; only the outcomes are random. `query_task` is the one with whole-numbered actions (stop, query 1, ...), for tree search and
for policies with probabilities.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci.control.stopping import SequentialTest, answer_loss, posteriors, predictive
from jaxsci.control.task import Task


class AskingState(NamedTuple):
    """The state of `stopping_task`.

    Attributes:
      belief: P(h | what was seen).
      asking: the probability that the policy has not stopped yet.
    """

    belief: Float[Array, " hypotheses"]
    asking: Float[Array, ""]


def stopping_task(test: SequentialTest, *, prior: Any = None, horizon: int = 100) -> Task:
    """The problem with one query as a task for gradients: the action is the probability of stopping, the observation a belief.

    Args:
      test: with a single query.
      prior: the belief at the start; None for one drawn evenly from the simplex in each episode. The best policy is the same for
        every prior; a single prior shows a policy only the few beliefs that follow from it, so that the cost of a threshold is
        constant between them.
      horizon: queries until an answer is forced.
    Raises:
      ValueError: several queries, which a probability of stopping does not tell apart: see `query_task`.
    Example:
      >>> import jax, jaxsci as js
      >>> task = js.control.stopping_task(js.control.bernoulli_test((0.4, 0.6), cost=0.01), prior=(0.5, 0.5))
      >>> policy = js.control.ConfidenceThreshold()
      >>> run = js.control.rollout(task, policy, 0.8, jax.random.key(0), batch=2000)
      >>> print(f"{run.total.mean():.2f}")
      0.30
    """
    if test.costs.shape[0] != 1:
        raise ValueError(
            f"stopping_task: the test has {test.costs.shape[0]} queries; a probability of stopping does not say which to ask. "
            "Use query_task, whose actions are 0 (answer), 1, 2, ..."
        )
    first = _first_belief("stopping_task", test, prior)

    def init_at(test):
        return AskingState(first, jnp.ones((), first.dtype))

    def init_random(test, *, key):
        return AskingState(_even(key, test), jnp.ones((), test.losses.dtype))

    def dynamics(test, state, stop, *, key):
        belief = _asked(test, state.belief, 0, key)
        return AskingState(belief, state.asking * (1 - stop))

    def cost(test, state, stop, after):
        return state.asking * (stop * answer_loss(test, state.belief) + (1 - stop) * test.costs[0])

    return Task(
        dynamics=dynamics,
        cost=cost,
        terminal=lambda test, state: state.asking * answer_loss(test, state.belief),
        init=init_random if first is None else init_at,
        observe=lambda test, state: state.belief,
        horizon=horizon,
        parameters=test,
        name="stopping_task",
    )


class QueryState(NamedTuple):
    """The state of `query_task`: the belief, and whether an answer was given."""

    belief: Float[Array, " hypotheses"]
    answered: Any


def query_task(test: SequentialTest, *, prior: Any = None, horizon: int = 100) -> Task:
    """The problem with any number of queries as a task: action 0 answers, action q = 1, 2, ... asks query q; the belief is seen.

    Args:
      test, prior, horizon: as of `stopping_task`.
    """
    first = _first_belief("query_task", test, prior)

    def init_at(test):
        return QueryState(first, jnp.asarray(False))

    def init_random(test, *, key):
        return QueryState(_even(key, test), jnp.asarray(False))

    def dynamics(test, state, action, *, key):
        belief = _asked(test, state.belief, jnp.maximum(action - 1, 0), key)
        return QueryState(jnp.where(action == 0, state.belief, belief), state.answered | (action == 0))

    def cost(test, state, action, after):
        return jnp.where(action == 0, answer_loss(test, state.belief), test.costs[jnp.maximum(action - 1, 0)])

    return Task(
        dynamics=dynamics,
        cost=cost,
        terminal=lambda test, state: answer_loss(test, state.belief),
        terminated=lambda test, state: state.answered,
        init=init_random if first is None else init_at,
        observe=lambda test, state: state.belief,
        horizon=horizon,
        parameters=test,
        name="query_task",
    )


@dataclasses.dataclass(frozen=True)
class ConfidenceThreshold:
    """Stop where max_h b(h) >= X: a policy of `stopping_task` whose parameter is the number X.

    With a temperature the action is sigmoid((max_h b(h) - X) / temperature), a probability of stopping, and X can be trained;
    ``hard=True`` stops for sure or not at all, and has the derivative of the other (straight-through).

    Args:
      temperature: in units of the belief; None for the step function, which has no derivative.
      hard: whether the value is that of the step function.
    """

    temperature: float | None = None
    hard: bool = False

    def __call__(self, threshold: Any, belief: Float[Array, " hypotheses"]) -> Float[Array, ""]:
        excess = jnp.max(belief) - threshold
        step = (excess >= 0).astype(belief.dtype)
        if self.temperature is None:
            return step
        soft = jax.nn.sigmoid(excess / self.temperature)
        return soft + jax.lax.stop_gradient(step - soft) if self.hard else soft


def _first_belief(name: str, test: SequentialTest, prior: Any) -> Any:
    if prior is None:
        return None
    belief = jnp.asarray(prior, test.losses.dtype)
    if belief.shape != test.losses.shape[1:] or not np.allclose(np.sum(belief), 1) or (np.asarray(belief) < 0).any():
        raise ValueError(f"{name}: a prior has a probability for each of {test.losses.shape[1]} hypotheses, got {prior!r}.")
    return belief


def _even(key: Any, test: SequentialTest) -> Any:
    """A belief drawn evenly from the simplex."""
    waits = jax.random.exponential(key, test.losses.shape[1:], test.losses.dtype)
    return waits / jnp.sum(waits)


def _asked(test: SequentialTest, belief: Any, query: Any, key: Any) -> Any:
    """The belief after a query, its outcome drawn as the belief expects it."""
    outcome = jax.random.categorical(key, jnp.log(predictive(test, belief)[query]))
    return posteriors(test, belief)[query, outcome]
