"""Batches: leading axes that broadcast against each other. What a member has of its own is mapped, the rest is shared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def batch_shape(tree: Any, event_ndims: Any) -> tuple[int, ...]:
    """The common shape of the leading axes of arrays whose trailing axes are one member's."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(event_ndims), strict=True)
    return jnp.broadcast_shapes(*(jnp.shape(x)[: jnp.ndim(x) - n] for x, n in pairs))


def joined(parts: Sequence[Any], axis: int = -1) -> Any:
    """One after the other along `axis` (negative), the batches before the last ``-axis`` axes spread to that of all."""
    batch = jnp.broadcast_shapes(*(part.shape[:axis] for part in parts))
    return jnp.concatenate([jnp.broadcast_to(part, (*batch, *part.shape[axis:])) for part in parts], axis=axis)


def select(mask: Any, new: Any, old: Any) -> Any:
    """Trees of arrays whose leading axes are those of `mask`: of `new` the members where it is true, of `old` the others."""
    pick = lambda n, o: jnp.where(mask.reshape(mask.shape + (1,) * (jnp.ndim(n) - mask.ndim)), n, o)  # noqa: E731
    return jax.tree.map(pick, new, old)


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
