"""What is left of a linear system, in twice the working precision: b - A x with rounding errors carried along.

Reference: Dekker (1971), Numer. Math. 18, 224 (products); Knuth (1969) (sums); Ogita, Rump & Oishi (2005), SIAM J. Sci. Comput.
26, 1955, algorithm 5.3 (dot products).
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
        product, error = _product(-entry, factor[:, None])
        total, rounding = _sum(total, product)
        return (total, rest + (rounding + error)), None

    start = jnp.broadcast_to(right, (x.shape[0], right.shape[-1]))
    (total, rest), _ = jax.lax.scan(body, (start, jnp.zeros_like(start)), (columns, x.T))
    return total + rest


def _sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b and its rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    """a b and its rounding error, from halves whose products are exact."""
    a, b = jnp.broadcast_arrays(a, b)
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def _halves(a: Any) -> tuple[Any, Any]:
    bits = jnp.finfo(a.dtype).nmant + 1
    large = a * (2 ** ((bits + 1) // 2) + 1)
    high = large - (large - a)
    return high, a - high
