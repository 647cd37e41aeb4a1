"""Partial derivatives of a field, all that are wanted, from one batched forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.equations.taylor import MultiIndex, NoRule, propagate


def partial_derivatives(
    field: Callable[..., Any], coordinates: Sequence[jax.Array], wanted: Sequence[MultiIndex]
) -> dict[MultiIndex, Any]:
    """Partial derivatives of a field at many points.

    Args:
      field: a function of one point, ``field(*coordinates) -> pytree of arrays``; the batching is done here.
      coordinates: one array of shape ``[points]`` per argument of the field.
      wanted: multi-indices, one entry per coordinate: ``(1, 0)`` is the first derivative in the first coordinate.
    Returns:
      ``{multi-index: pytree like the field's result, each array with a leading axis of points}``.
    Method:
      Taylor arithmetic on the field's jaxpr (`jaxsci.equations.taylor`); nested `jax.jvp` where the field contains an
      operation without a Taylor rule.  Differentiable again, forward and reverse.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.equations import partial_derivatives
      >>> values = partial_derivatives(lambda t, x: t * x**2, (jnp.ones(3), jnp.full(3, 2.0)), [(0, 2), (1, 1)])
      >>> float(values[0, 2][0]), float(values[1, 1][0])
      (2.0, 4.0)
    """
    batched = jax.vmap(field)
    try:
        streams = propagate(batched, coordinates, wanted)
    except NoRule:
        return {index: _nested_jvp(batched, index)(*coordinates) for index in wanted}
    is_stream = lambda node: isinstance(node, dict) and next(iter(node), None) in set(wanted)  # noqa: E731
    return {index: jax.tree.map(lambda s, index=index: s[index], streams, is_leaf=is_stream) for index in wanted}


def _nested_jvp(batched: Callable[..., Any], index: MultiIndex) -> Callable[..., Any]:
    """The derivative `index` of a batched function: one `jax.jvp` inside another per order."""
    for axis, order in enumerate(index):
        for _ in range(order):
            batched = _slope(batched, axis)
    return batched


def _slope(batched: Callable[..., Any], axis: int) -> Callable[..., Any]:
    def slope(*coordinates):
        def along(value):
            return batched(*coordinates[:axis], value, *coordinates[axis + 1 :])

        return jax.jvp(along, (coordinates[axis],), (jnp.ones_like(coordinates[axis]),))[1]

    return slope
