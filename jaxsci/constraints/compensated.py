"""What is left of a linear system, in twice the working precision: b - A x with rounding errors carried along.

Reference: Knuth (1969), The Art of Computer Programming 2, theorem B of section 4.2.2 (sums); Ogita, Rump & Oishi (2005), SIAM J.
Sci. Comput. 26, 1955 (dot products).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def shortfall(matrix: Any, x: Any, right: Any) -> Any:
    """right - matrix x, rounded once.

    Args:
      matrix: ``[rows, n]`` or ``[B, rows, n]``.
      x: ``[B, n]``.
      right: ``[B or 1, rows]``.
    Returns:
      ``[B, rows]``: relative to |matrix| |x| its error is the square of the rounding unit.
    """
    columns = jnp.moveaxis(jnp.broadcast_to(matrix, (*matrix.shape[:-1], x.shape[-1])), -1, 0)  # [n, (B,) rows]

    def body(carry, column):
        total, rest = carry
        entry, factor = column
        for a in _halves(-entry):
            for b in _halves(factor[:, None]):
                # The product of halves is exact, so that it does not matter whether the compiler fuses it with the sum.
                total, rounding = _sum(total, a * b)
                rest = rest + rounding
        return (total, rest), None

    start = jnp.broadcast_to(right, (x.shape[0], right.shape[-1]))
    (total, rest), _ = jax.lax.scan(body, (start, jnp.zeros_like(start)), (columns, x.T))
    return total + rest


def _sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b and its rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _halves(a: Any) -> tuple[Any, Any]:
    """The leading half of the digits, and the rest: masked, as a compiler may fuse what Dekker's splitting multiplies."""
    kinds = jnp.finfo(a.dtype)
    high = jax.lax.reduce_precision(a, kinds.nexp, (kinds.nmant - 1) // 2)
    return high, a - high
