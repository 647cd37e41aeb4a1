"""The numbers of a polytope and of a batch of points, with the members along the last axis."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO


class Data(NamedTuple):
    """The numbers of a batch; matrices that all members share have two axes, other arrays that they share a last axis of 1."""

    y: Any  # [n, B]
    A: Any  # [m, n] or [B, m, n], or None
    b: Any  # [m, B or 1]
    lower: Any  # [n, B or 1]
    upper: Any
    C: Any  # [p, n] or [B, p, n], or None
    C_lower: Any  # [p, B or 1]
    C_upper: Any


def where_known(data: Data, known: Any) -> Data:
    """Members whose numbers are not known get others, without conditions: NaN must reach no other member and no gradient.

    What all members share is known for all of them, or for nobody.
    """

    def vector(array, other):
        return jnp.where(known if array.shape[-1] == len(known) else known.any(), array, other)

    def matrix(array):
        if array is None or isinstance(array, BCOO):
            return jax.tree.map(
                lambda a: jnp.where(known.any(), a, 0) if jnp.issubdtype(a.dtype, jnp.floating) else a, array
            )
        return jnp.where(known[:, None, None] if array.ndim == 3 else known.any(), array, 0)

    return Data(
        vector(data.y, 0),
        matrix(data.A),
        vector(data.b, 0),
        vector(data.lower, -jnp.inf),
        vector(data.upper, jnp.inf),
        matrix(data.C),
        vector(data.C_lower, -jnp.inf),
        vector(data.C_upper, jnp.inf),
    )
