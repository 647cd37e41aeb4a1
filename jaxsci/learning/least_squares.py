"""Least squares by orthogonal factorisation: never by the normal equations, which square the condition number."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def triangle(
    matrix: Float[Array, "rows columns"], target: Float[Array, " rows"]
) -> tuple[Float[Array, "columns columns"], Float[Array, " columns"]]:
    """R and Q'b of min |A x - b|, A = Q R, without forming Q: the target rides along as one more column.

    From them the damped problem is solved for any damping at the cost of a small factorisation.
    """
    columns = matrix.shape[1]
    factor = jnp.linalg.qr(jnp.concatenate([matrix, target[:, None]], axis=1), mode="r")
    return factor[:columns, :columns], factor[:columns, columns]


def damped(
    factor: Float[Array, "columns columns"], target: Float[Array, " columns"], damping: Any
) -> Float[Array, " columns"]:
    """argmin |R x - c|^2 + |diag(damping) x|^2, by QR of the stacked matrix."""
    columns = factor.shape[1]
    stacked = jnp.concatenate([factor, jnp.diag(jnp.broadcast_to(damping, (columns,)))])
    square, right = triangle(stacked, jnp.concatenate([target, jnp.zeros(columns, target.dtype)]))
    return jax.scipy.linalg.solve_triangular(square, right)


def least_squares(matrix: Float[Array, "rows columns"], target: Float[Array, " rows"]) -> Float[Array, " columns"]:
    """The minimiser of |A x - b|, regularised at the level of round-off so that dependent columns do no harm.

    The damping of each column is eps times its norm times sqrt(columns): it changes the residual by round-off and keeps the
    coefficients of nearly dependent features from growing without bound.
    """
    scale = jnp.linalg.norm(matrix, axis=0)
    scale = jnp.where(scale > 0, scale, 1.0)
    factor, right = triangle(matrix / scale, target)
    damping = jnp.sqrt(jnp.asarray(float(matrix.shape[1]))) * jnp.finfo(matrix.dtype).eps
    return damped(factor, right, damping) / scale
