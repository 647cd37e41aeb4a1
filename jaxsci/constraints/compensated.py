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
      x: ``[n, B]``.
      right: ``[rows, B or 1]``.
    Returns:
      ``[rows, B]``: relative to |matrix| |x| its error is the square of the rounding unit.
    """
    columns = matrix.T[..., None] if matrix.ndim == 2 else jnp.moveaxis(matrix, 0, -1).swapaxes(0, 1)  # [n, rows, B or 1]

    def body(carry, column):
        total, rest = carry
        entry, factor = column
        for a in _halves(-entry):
            for b in _halves(factor):
                # The product of halves is exact, so that it does not matter whether the compiler fuses it with the sum.
                total, rounding = _sum(total, a * b)
                rest = rest + rounding
        return (total, rest), None

    start = jnp.broadcast_to(right, (len(right), x.shape[-1]))
    (total, rest), _ = jax.lax.scan(body, (start, jnp.zeros_like(start)), (columns, x))
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
