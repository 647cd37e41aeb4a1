"""A function of one member, over the members of a batch: what a member has of its own is mapped, the rest is shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def batch_shape(tree: Any, event_ndims: Any) -> tuple[int, ...]:
    """The common shape of the leading axes of arrays whose trailing axes are one member's."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(event_ndims), strict=True)
    return jnp.broadcast_shapes(*(jnp.shape(x)[: jnp.ndim(x) - n] for x, n in pairs))


def over_members(function: Callable[[Any], Any], tree: Any, event_ndims: Any, *, one_by_one: bool = False) -> Any:
    """``function(tree of one member)`` for every member of the batch that the leading axes span.

    Args:
      event_ndims: a tree of the same structure: how many trailing axes of each leaf are one member's.
      one_by_one: one member after the other (`jax.lax.map`), each with as many iterations as it needs; all at once otherwise.
    """
    leaves, structure = jax.tree.flatten(tree)
    ndims = jax.tree.leaves(event_ndims)
    batch = batch_shape(leaves, ndims)
    if not batch:
        return function(tree)
    count = math.prod(batch)
    own = [jnp.ndim(x) > n for x, n in zip(leaves, ndims, strict=True)]

    def mapped(leaf: Any, n: int) -> Any:
        event = jnp.shape(leaf)[jnp.ndim(leaf) - n :]
        return jnp.broadcast_to(leaf, batch + event).reshape(count, *event)

    def member(moving: list[Any]) -> Any:
        left = iter(moving)
        return function(structure.unflatten([next(left) if o else x for x, o in zip(leaves, own, strict=True)]))

    moving = [mapped(x, n) for x, n, o in zip(leaves, ndims, own, strict=True) if o]
    out = jax.lax.map(member, moving) if one_by_one else jax.vmap(member)(moving)
    return jax.tree.map(lambda x: x.reshape(batch + x.shape[1:]), out)
