"""The simulations of a tree search: mctx's tree and choices, grown for all members of a batch at once.

mctx writes the way back up as a loop for one member under `jax.vmap`. A loop whose members end at different times keeps the
values of those that have ended by a selection, and there it selects between whole trees, at every edge of every simulation:
the time of a simulation grows with the size of the trees. Here the loop is written for the batch. It changes one entry of each
member's tree, and who has ended writes beyond the tree's end, where nothing is. The trees are the same to the last bit (tested).

Reference: Danihelka et al. (2022), ICLR, "Policy improvement by planning with Gumbel"; mctx's `search`, which this follows.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_ROOT, _UNVISITED = 0, -1  # mctx's numbers of the root, and of a child that is not there


def grower(
    recurrent: Callable[..., Any], *, simulations: int, considered: int, max_depth: int | None = None
) -> Callable[..., Any]:
    """A ``loop_fn`` of ``mctx.gumbel_muzero_policy``: it runs the simulations in place of the loop body that it is given.

    Args:
      recurrent: ``(params, key, index, embedding) -> (mctx.RecurrentFnOutput, embedding)`` of a batch; params are None.
      simulations, considered, max_depth: as the policy's num_simulations, max_num_considered_actions and max_depth.
    """
    mctx: Any = importlib.import_module("mctx")
    at_root = functools.partial(
        mctx.gumbel_muzero_root_action_selection, num_simulations=simulations, max_num_considered_actions=considered
    )
    inside = mctx.gumbel_muzero_interior_action_selection
    depth_limit = simulations if max_depth is None else max_depth

    def down(tree: Any) -> tuple[Any, Any]:
        """The node and the action where the tree of ONE member is to grow. The choices are not random: they need no key."""

        def open_end(node, action, depth):
            return (tree.children_index[node, action] == _UNVISITED) | (depth >= depth_limit)

        def onward(at):
            node, action, depth = at
            node = tree.children_index[node, action]
            return node, inside(None, tree, node, depth), depth + 1

        root = jnp.int32(_ROOT)
        first = (root, at_root(None, tree, root), jnp.int32(1))
        node, action, _ = jax.lax.while_loop(lambda at: ~open_end(*at), onward, first)
        return node, action

    def grown(tree: Any, key: Any, fresh: Any) -> tuple[Any, Any]:
        """Every tree with one more node (or a node at the limit of depth looked at again), and the numbers of these."""
        members = jnp.arange(tree.node_visits.shape[0])
        node, action = jax.vmap(down)(tree)
        child = tree.children_index[members, node, action]
        child = jnp.where(child == _UNVISITED, fresh, child)
        told, embedding = recurrent(None, key, action, jax.tree.map(lambda leaf: leaf[members, node], tree.embeddings))
        return tree.replace(
            children_prior_logits=tree.children_prior_logits.at[members, child].set(told.prior_logits),
            raw_values=tree.raw_values.at[members, child].set(told.value),
            node_values=tree.node_values.at[members, child].set(told.value),
            node_visits=tree.node_visits.at[members, child].add(1),
            embeddings=jax.tree.map(lambda leaf, new: leaf.at[members, child].set(new), tree.embeddings, embedding),
            children_index=tree.children_index.at[members, node, action].set(child),
            children_rewards=tree.children_rewards.at[members, node, action].set(told.reward),
            children_discounts=tree.children_discounts.at[members, node, action].set(told.discount),
            parents=tree.parents.at[members, child].set(node),
            action_from_parent=tree.action_from_parent.at[members, child].set(action),
        ), child

    def backed_up(tree: Any, leaf: Any) -> Any:
        """The mean values and the visits on the way from `leaf` to the root."""
        members, beyond = jnp.arange(leaf.shape[0]), tree.node_visits.shape[1]

        def onward(carry):
            node_values, node_visits, children_values, children_visits, value, child = carry
            goes_on = child != _ROOT
            parent, action = tree.parents[members, child], tree.action_from_parent[members, child]
            paid = tree.children_rewards[members, parent, action] + tree.children_discounts[members, parent, action] * value
            value = jnp.where(goes_on, paid, value)
            count = node_visits[members, parent]
            mean = (node_values[members, parent] * count + value) / (count + 1.0)
            of_child, child_count = node_values[members, child], children_visits[members, parent, action] + 1
            at = jnp.where(goes_on, parent, beyond)
            return (
                node_values.at[members, at].set(mean, mode="drop"),
                node_visits.at[members, at].set(count + 1, mode="drop"),
                children_values.at[members, at, action].set(of_child, mode="drop"),
                children_visits.at[members, at, action].set(child_count, mode="drop"),
                value,
                jnp.where(goes_on, parent, _ROOT),
            )

        names = ("node_values", "node_visits", "children_values", "children_visits")
        start = (*(getattr(tree, name) for name in names), tree.node_values[jnp.arange(leaf.shape[0]), leaf], leaf)
        *found, _, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[-1] != _ROOT), onward, start)
        return tree.replace(**dict(zip(names, found, strict=True)))

    def simulation(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        key, tree = carry
        key, _, grow_key = jax.random.split(key, 3)  # mctx's draws, so that its trees come out
        return key, backed_up(*grown(tree, grow_key, i + 1))

    return lambda first, last, _, carry: jax.lax.fori_loop(first, last, simulation, carry)
