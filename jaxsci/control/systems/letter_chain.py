r"""A chain of reasoning as a rollout: letters in an embedding space, rules that lead from one to the next, an answer at the end.

A thought is a vector z in R^d, at first the embedding e_A of the first letter. A rule a is a matrix W_a that sends the embeddings
of some letters to those of others (A to B, B to C, a wrong turn A to D, ...) and leaves the rest where they are:

    z_{k+1} = f(z_k, a_k) = (1 - eta) z_k + eta W_a z_k,      reward = quality(z_K) - c K,      quality = cos(z_K, e_goal)

with K the number of rules used before the action "answer". The embeddings are orthonormal, so that rules act on letters exactly;
with eta < 1 a rule does part of its work, has to be repeated, and how often is a trade of quality against c. Nothing here is
particular to words: dynamics act on embeddings, a policy picks the next step, and tree search is an improvement of the policy.

An action is a whole number (0 answers, 1, 2, ... are the rules), or weights over these choices that sum to 1, such as
`jaxsci.control.categorical_through` makes; both give the same costs where the weights are one-hot.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci.control.task import Task

RULES = (("AB",), ("BC",), ("AD", "BA"), ("CA", "DB"))


class ChainParameters(NamedTuple):
    """The parameters of the task.

    Attributes:
      embeddings: of the letters, rows of length 1.
      rules: W, ``[rules, d, d]``.
      goal: the embedding of the right answer.
      effect: eta.
      price: c, of one step.
    """

    embeddings: Float[Array, "letters d"]
    rules: Float[Array, "rules d d"]
    goal: Float[Array, " d"]
    effect: Any
    price: Any


class ChainState(NamedTuple):
    """The thought z, and the weight with which no answer has been given yet: 1 or 0 where actions are whole numbers."""

    thought: Float[Array, " d"]
    thinking: Float[Array, ""]


def letter_chain(
    rules: Sequence[Sequence[str]] = RULES,
    *,
    start: str = "A",
    goal: str = "C",
    dimension: int = 8,
    effect: Any = 1.0,
    price: Any = 0.1,
    horizon: int = 5,
    seed: int = 0,
) -> Task:
    """The chain as a task; cost = c for every rule used, minus the quality of the answer.

    Where the horizon ends an answer is given as it stands. No state is `terminated`: after an answer nothing costs any more, but
    weights still tell what going on would have brought, which is what a gradient through choices needs.

    Args:
      rules: for each the pairs of letters it connects, "AB" sends A to B.
      start, goal: letters.
      dimension: of the embedding space, at least the number of letters.
      effect: eta, in (0, 1].
      price: c.
      horizon: the most rules that can be used.
      seed: of the embeddings.
    Raises:
      ValueError: a space too small for the letters, a start or goal that no rule knows, two ends for one letter in a rule.
    Example:
      >>> import jaxsci as js
      >>> from jaxsci.control.systems.letter_chain import best_chain, letter_chain
      >>> actions, reward = best_chain(letter_chain())
      >>> print(actions, round(reward, 3))
      [1 2 0 0 0] 0.8
    """
    letters = sorted({letter for rule in rules for pair in rule for letter in pair})
    for name, letter in (("start", start), ("goal", goal)):
        if letter not in letters:
            raise ValueError(f"letter_chain: {name} {letter!r} is in no rule; there are {', '.join(letters)}.")
    if not is_whole(dimension) or dimension < len(letters):
        raise ValueError(f"letter_chain: {len(letters)} letters need a dimension of as many, got {dimension!r}.")
    for rule in rules:
        if any(len(pair) != 2 for pair in rule) or len({pair[0] for pair in rule}) != len(rule):
            raise ValueError(f"letter_chain: a rule has pairs of letters and one end for each beginning, got {rule!r}.")
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))
    place = {letter: i for i, letter in enumerate(letters)}
    matrices = []
    for rule in rules:
        matrix = np.eye(dimension)
        for begin, end in rule:
            matrix += np.outer(basis[place[end]] - basis[place[begin]], basis[place[begin]])
        matrices.append(matrix)
    dtype = jnp.result_type(float)
    embeddings = jnp.asarray(basis[: len(letters)], dtype)
    parameters = ChainParameters(
        embeddings,
        jnp.asarray(np.stack(matrices), dtype),
        embeddings[place[goal]],
        jnp.asarray(effect, dtype),
        jnp.asarray(price, dtype),
    )
    return Task(
        dynamics=_think,
        cost=_pay,
        terminal=lambda p, state: -state.thinking * quality(p, state.thought),
        init=lambda p: ChainState(p.embeddings[place[start]], jnp.ones((), dtype)),
        observe=lambda p, state: state.thought,
        horizon=horizon,
        parameters=parameters,
        name="letter_chain",
    )


def quality(p: ChainParameters, thought: Float[Array, " d"]) -> Float[Array, ""]:
    """The cosine of the angle between a thought and the goal."""
    return jnp.vdot(thought, p.goal) / jnp.maximum(jnp.linalg.norm(thought), 1e-12)


def best_chain(task: Task) -> tuple[np.ndarray, float]:
    """The best sequence of actions and its reward, by trying all of them: the truth for whatever searches or learns.

    Raises:
      ValueError: more than a million sequences.
    """
    p, choices = task.parameters, task.parameters.rules.shape[0] + 1
    if choices**task.horizon > 1_000_000:
        raise ValueError(f"best_chain: {choices}^{task.horizon} sequences are too many to try; shorten the horizon.")

    def reward(actions):
        def step(state, action):
            after = _think(p, state, action)
            return after, _pay(p, state, action, after)

        state, costs = jax.lax.scan(step, task.first_state(), actions)
        return -(jnp.sum(costs) - state.thinking * quality(p, state.thought))

    sequences = np.array(list(itertools.product(range(choices), repeat=task.horizon)))
    rewards = np.asarray(jax.jit(jax.vmap(reward))(jnp.asarray(sequences)))
    # Of equal rewards the first in order, which answers (0) as early as it can; rounding does not decide.
    best = int(np.flatnonzero(rewards >= rewards.max() - 1e-6)[0])
    return sequences[best], float(rewards[best])


def _weights(p: ChainParameters, action: Any) -> Any:
    """Over the choices (answer, rules), from a whole number or as given."""
    choices = p.rules.shape[0] + 1
    if jnp.issubdtype(jnp.result_type(action), jnp.integer):
        return jax.nn.one_hot(action, choices, dtype=p.rules.dtype)
    if jnp.shape(action) != (choices,):
        raise ValueError(
            f"letter_chain: an action is a whole number or {choices} weights (answer, rules), got shape {jnp.shape(action)}."
        )
    return action


def _think(p: ChainParameters, state: ChainState, action: Any) -> ChainState:
    weights = _weights(p, action)
    moved = jnp.einsum("a,aij,j->i", weights[1:], p.rules, state.thought)
    # The weight of "answer" leaves the thought where it is.
    thought = state.thought + p.effect * (moved - jnp.sum(weights[1:]) * state.thought)
    return ChainState(thought, state.thinking * (1 - weights[0]))


def _pay(p: ChainParameters, state: ChainState, action: Any, after: ChainState) -> Any:
    answers = _weights(p, action)[0]
    return state.thinking * ((1 - answers) * p.price - answers * quality(p, state.thought))
