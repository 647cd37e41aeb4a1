r"""Monte-Carlo tree search in a task: among a few choices, or among actions drawn from a policy.

A tree grows from a state, one node a simulation: down along the most promising actions, one step of the task's own dynamics
into a new state, a guess of the cost to come there, and back up with it. The search is mctx's "Gumbel" variant, whose root
policy is an improvement in expectation whatever the number of simulations. Continuous actions follow sampled MuZero: every node
draws K proposals from the policy and the tree chooses among their numbers; being draws from the prior, they weigh the same.

Costs are negative rewards; the horizon, the terminal cost, the discount and `terminated` are respected, so that with enough
simulations nothing is left to the guess.

References: Danihelka et al. (2022), ICLR, "Policy improvement by planning with Gumbel"; Hubert et al. (2021), arXiv:2104.06303,
for sampled actions; Schrittwieser et al. (2020), Nature 588, 604.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.control.calling import call, is_random
from jaxsci.control.checks import check_range
from jaxsci.control.task import Task
from jaxsci.control.tree_growth import grower

_TREE = 2**22  # bytes of the trees that are searched together, so that they stay in a cache


class Search(NamedTuple):
    """What a search found. With a batch every leaf has it as the leading axis.

    Attributes:
      action: to be played, like those of the dynamics (an integer where the prior gives logits).
      index: its number among the choices or proposals.
      weights: the improved policy at the root, a target for the prior's training.
      proposals: the actions that were drawn at the root; None where the prior gives logits.
      cost: the discounted cost to come from the root, a mean over all that was tried in the tree, what is worse than the action
        too: above the cost of playing well, and nearing it as simulations grow.
      visits: how often each choice was taken at the root.
    """

    action: Any
    index: Int[Array, "*batch"]
    weights: Float[Array, "*batch choices"]
    proposals: Any
    cost: Float[Array, "*batch"]
    visits: Int[Array, "*batch choices"]


class _Node(NamedTuple):
    """What the tree remembers of a state."""

    state: Any
    t: Any
    alive: Any
    proposals: Any


def tree_search(
    task: Task,
    prior: Callable[..., Any],
    params: Any = None,
    *,
    key: Key,
    value: Callable[..., Any] | None = None,
    value_params: Any = None,
    proposals: int | None = None,
    initial: Any = None,
    t: Any = 0,
    batch: int | None = None,
    simulations: int = 32,
    max_depth: int | None = None,
    noise: float = 1.0,
    together: int | None = None,
) -> Search:
    """Search a tree of the task's states for the next action; jit and vmap go through it, derivatives do not.

    Args:
      task: any task. Random dynamics are drawn once for each edge of the tree.
      prior: ``(params, observation) -> logits`` over choices, which the dynamics then receive as an integer
        (``CategoricalPolicy(...).logits``); with `proposals` a policy with a keyword ``key`` that draws an action.
      params: of the prior.
      key: of the search.
      value: ``(value_params, observation) -> expected discounted cost to come``, or with a keyword ``t``; 0 by default.
      value_params: of the value.
      proposals: K, how many actions are drawn at each node; None where the prior gives logits.
      initial: the state to begin from (with a batch, states); ``task.init`` by default.
      t: how many steps of the horizon have been made.
      batch: members; None for one, without a leading axis.
      simulations: nodes of the tree.
      max_depth: actions in a row at most.
      noise: scale of the Gumbel noise at the root; 0 for the best action that was found.
      together: how many members of the batch are searched at once, by default as many as fit a cache; the result does not
        depend on it but for the draws.
    Raises:
      ImportError: mctx is not installed.
      ValueError: numbers that are not positive; a prior of the other kind than `proposals` asks for; logits that are no vector.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js  # doctest: +SKIP
      >>> task = js.control.Task(
      ...     dynamics=lambda p, s, a: s + jnp.array([-1.0, 1.0])[a], cost=lambda p, s, a, s1: (s1 - 2.0) ** 2,
      ...     init=lambda p: jnp.asarray(0.0), horizon=4)  # doctest: +SKIP
      >>> found = js.control.tree_search(task, lambda p, s: jnp.zeros(2), key=jax.random.key(0), noise=0.0)  # doctest: +SKIP
      >>> int(found.action)  # doctest: +SKIP
      1
    """
    mctx = _mctx()
    _check(task, prior, proposals, simulations, max_depth, batch, together, noise)

    def look(node: _Node, key: Any) -> tuple[Any, Any, _Node]:
        """Logits, guess of the value, and the node with its proposals."""
        observation = task.observation(node.state)
        guess = 0.0 if value is None else call(value, value_params, observation, t=node.t)
        if proposals is None:
            logits = prior(params, observation)
            if jnp.ndim(logits) != 1:
                raise ValueError(f"tree_search: the prior gives logits, one for each choice; got shape {jnp.shape(logits)}.")
        else:
            drawn = jax.vmap(lambda k: call(prior, params, observation, key=k))(jax.random.split(key, proposals))
            logits = jnp.zeros(proposals, jnp.result_type(*jax.tree.leaves(drawn)))
            node = node._replace(proposals=drawn)
        return logits, -jnp.asarray(guess, logits.dtype), node  # the tree's numbers have the precision of the prior

    def step(key: Any, index: Any, node: _Node) -> tuple[Any, _Node]:
        """One edge: what mctx calls the recurrent function, of one member."""
        move_key, look_key = jax.random.split(key)
        p = task.parameters
        action = index if proposals is None else jax.tree.map(lambda leaf: leaf[index], node.proposals)
        after = call(task.dynamics, p, node.state, action, key=move_key, t=node.t)
        cost = call(task.cost, p, node.state, action, after, t=node.t)
        goes_on = node.alive
        if task.terminated is not None:
            goes_on = goes_on & jnp.logical_not(call(task.terminated, p, after))
        last = node.t + 1 >= task.horizon
        if task.terminal is not None:
            cost = cost + jnp.where(last & goes_on, task.discount * call(task.terminal, p, after), 0)
        reward = jnp.where(node.alive, -cost, 0)  # beyond an end nothing is paid any more
        goes_on = goes_on & ~last
        logits, guess, after_node = look(_Node(after, node.t + 1, goes_on, node.proposals), look_key)
        guess = jnp.where(goes_on, guess, 0)
        discount = jnp.where(goes_on, jnp.asarray(task.discount, guess.dtype), 0)
        out = mctx.RecurrentFnOutput(reward=reward.astype(guess.dtype), discount=discount, prior_logits=logits, value=guess)
        return out, after_node

    def recurrent(_, key, index, node):
        return jax.vmap(step)(jax.random.split(key, index.shape[0]), index, node)

    def begin(key: Any, state: Any) -> tuple[Any, Any, _Node]:
        init_key, look_key = jax.random.split(key)
        state = task.first_state(init_key) if state is None else jax.tree.map(jnp.asarray, state)
        alive = jnp.asarray(t) < task.horizon
        if task.terminated is not None:
            alive = alive & jnp.logical_not(call(task.terminated, task.parameters, state))
        return look(_Node(state, jnp.asarray(t, jnp.int32), alive, None), look_key)

    def search(keys: Any, states: Any) -> Search:
        members = keys.shape[0]
        logits, guess, nodes = jax.vmap(begin)(jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys), states)
        root = mctx.RootFnOutput(prior_logits=logits, value=guess, embedding=nodes)
        considered = min(logits.shape[1], simulations)
        out = mctx.gumbel_muzero_policy(
            None,
            jax.random.fold_in(keys[0], 1),
            root,
            recurrent,
            simulations,
            max_depth=max_depth,
            loop_fn=grower(recurrent, simulations=simulations, considered=considered, max_depth=max_depth),
            max_num_considered_actions=considered,
            gumbel_scale=noise,
        )
        taken = (
            out.action
            if proposals is None
            else jax.tree.map(lambda leaf: leaf[jnp.arange(members), out.action], nodes.proposals)
        )
        summary = out.search_tree.summary()
        return Search(taken, out.action, out.action_weights, nodes.proposals, -summary.value, summary.visit_counts)

    if batch is None:
        states = None if initial is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], initial)
        return jax.tree.map(lambda leaf: leaf[0], search(key[None], states))
    keys = jax.random.split(key, batch)
    size = together or _fitting(jax.eval_shape(lambda: search(keys, initial)).weights.shape[1], simulations, batch)
    return _in_parts(search, keys, initial, batch, size)


def _in_parts(search: Callable[..., Any], keys: Any, states: Any, batch: int, size: int) -> Any:
    """`search` over parts of the batch, one after the other; the last part is filled up with members that are dropped."""
    if size >= batch:
        return search(keys, states)
    parts = -(-batch // size)
    size = -(-batch // parts)
    numbers = jnp.minimum(jnp.arange(parts * size), batch - 1).reshape(parts, size)
    found = jax.lax.map(lambda n: search(keys[n], jax.tree.map(lambda leaf: jnp.asarray(leaf)[n], states)), numbers)
    return jax.tree.map(lambda leaf: leaf.reshape(parts * size, *leaf.shape[2:])[:batch], found)


def _fitting(choices: int, simulations: int, batch: int) -> int:
    """How many trees fit a cache; a node has six numbers of four bytes for each choice, and an embedding."""
    return max(1, min(batch, _TREE // (24 * choices * (simulations + 1))))


def _mctx() -> Any:
    try:
        return importlib.import_module("mctx")
    except ImportError as error:
        raise ImportError("tree_search needs mctx: pip install jaxsci[planning]") from error


def _check(task, prior, proposals, simulations, max_depth, batch, together, noise):
    if not isinstance(task, Task):
        raise TypeError(f"tree_search: the task is a jaxsci.control.Task, got {type(task).__name__}.")
    numbers = {
        "proposals": proposals, "simulations": simulations, "max_depth": max_depth, "batch": batch, "together": together,
    }  # fmt: skip
    for name, number in numbers.items():
        if number is not None and (not is_whole(number) or number < 1):
            raise ValueError(f"tree_search: {name} is a whole number >= 1, got {number!r}.")
    check_range("tree_search", 0, np.inf, noise=noise)
    if proposals is None and is_random(prior):
        raise ValueError(
            "tree_search: this prior draws actions; say how many with proposals=16, or give logits (policy.logits)."
        )
    if proposals is not None and not is_random(prior):
        raise ValueError("tree_search: proposals are drawn by a prior with a keyword key, such as a GaussianPolicy.")
