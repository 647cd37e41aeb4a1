"""Checks that several algorithms of this folder make of their arguments, each in one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxsci._checks import is_traced, is_whole, unknown_name


def check_counts(who: str, least: int = 1, **counts: Any) -> None:
    """Numbers of iterations, members, steps: whole, and no fewer than `least`."""
    for name, value in counts.items():
        if not is_whole(value) or value < least:
            raise ValueError(f"{who}: {name} is a whole number >= {least}, got {value!r}.")


def check_derivative(who: str, task: Any, policy: Any, params: Any) -> None:
    """The policy's actions are real numbers: whole ones have no derivative, and what is trained by one would never move."""
    for leaf in jax.tree.leaves(task.spaces(policy, params)[2]):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ValueError(
                f"{who}: an action of dtype {leaf.dtype} has no derivative. Use js.control.ppo, or a policy whose actions are "
                "rounded with a derivative (js.control.round_through)."
            )


def check_range(who: str, low: float, high: float, *, open_low: bool = False, **numbers: Any) -> None:
    """Numbers that are known here lie between two ends, which belong to the range (the lower one unless `open_low`)."""
    for name, value in numbers.items():
        if is_traced(value):
            continue
        known = np.asarray(value, float)
        if not np.all((known > low if open_low else known >= low) & (known <= high)):
            ends = f"{'above' if open_low else 'from'} {low:g}" + (f" to {high:g}" if np.isfinite(high) else "")
            raise ValueError(f"{who}: {name} is a number {ends}, got {value!r}.")


def check_options(who: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Every option that is handed on exists."""
    known = list(known)
    for name in options:
        if name not in known:
            raise TypeError(f"{who}: {unknown_name('option', name, known)}")


def check_bounds(who: str, low: Any, high: Any, flat: tuple[Any, Any] | None = None) -> None:
    """Both bounds or none, and the lower below the upper one where they (or the flat ones made of them) are known here."""
    if (low is None) != (high is None):
        raise ValueError(f"{who}: give both bounds, or none; got low={low!r}, high={high!r}. Infinite ones never hold.")
    if low is None or is_traced((low, high, flat)):
        return
    below, above = map(np.asarray, flat or (low, high))
    if not np.all(below < above):
        raise ValueError(f"{who}: low must be below high, got low={low!r}, high={high!r}.")


def flat_like(who: str, what: str, value: Any, action: Any) -> Float[Array, " numbers"]:
    """A number (or an array that broadcasts to an action of one leaf), or a pytree like one action, as a flat vector."""
    structure = jax.tree.structure(action)
    if jax.tree.structure(value) == jax.tree.structure(0) and jnp.ndim(value) == 0:
        value = jax.tree.unflatten(structure, [value] * structure.num_leaves)
    if jax.tree.structure(value) != structure:
        raise ValueError(f"{who}: {what} is a number or has an action's structure, got {value!r}.")
    full = jax.tree.map(lambda v, leaf: jnp.broadcast_to(jnp.asarray(v, leaf.dtype), leaf.shape), value, action)
    return ravel_pytree(full)[0]


def flat_bounds(who: str, low: Any, high: Any, action: Any) -> tuple[Any, Any] | None:
    """Bounds like one action as flat vectors; None for none."""
    if low is None or high is None:
        return check_bounds(who, low, high)
    flat = flat_like(who, "low", low, action), flat_like(who, "high", high, action)
    check_bounds(who, low, high, flat)
    return flat
