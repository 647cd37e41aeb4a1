"""Conjugate gradients for each member of a batch by itself, and what they leave in float32 made good in full precision.

Members are along the last axis. Reference: Hestenes & Stiefel (1952), J. Res. NBS 49, 409; Moler (1967), J. ACM 14, 316
(refinement in mixed precision).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

ROUGH = 1e-6  # accuracy of a solution in float32 that is refined
_REFINEMENTS = 6  # of such solutions at most


def conjugate_gradients(product: Any, right: Any, tol: Any, steps: int) -> Any:
    """Solve `product(d) = right` for each member of a batch by itself, product symmetric and at least semi-definite.

    A member stops at |residual| <= tol |right|, or where a direction has no curvature (the system is singular there, and its
    part in the range has been solved).
    """

    def body(carry):
        count, d, residual, direction, square, direction_square, going = carry
        applied = product(direction)
        curvature = dot(direction, applied)
        going &= curvature > singular * direction_square
        length = jnp.where(going, square / jnp.where(going, curvature, 1), 0)
        d, residual = d + length * direction, residual - length * applied
        new = dot(residual, residual)
        turn = jnp.where(going, new / jnp.where(square > 0, square, 1), 0)
        direction = residual + turn * direction
        return count + 1, d, residual, direction, new, new + turn**2 * direction_square, going & (new > goal)

    singular = jnp.finfo(right.dtype).eps ** 0.75  # for operators of unit norm
    square = dot(right, right)
    goal = tol**2 * square
    start = (0, jnp.zeros_like(right), right, right, square, square, square > goal)
    return jax.lax.while_loop(lambda c: (c[0] < steps) & c[-1].any(), body, start)[1]


def refined(product: Callable[[Any, Any], Any], matrices: Any, right: Any, tol: Any) -> Any:
    """Solve ``product(matrices, w) = right`` by conjugate gradients: in float32 as long as that helps, what it leaves in full.

    Args:
      product: linear in `w` [rows, B], symmetric and at least semi-definite, in the precision of the `matrices` that it is given.
    """
    steps, w, left = 2 * len(right) + 10, jnp.zeros_like(right), right
    goal = tol * jnp.sqrt(dot(right, right))
    if right.dtype == jnp.float64:
        narrow = low(matrices)

        def body(carry):
            count, w, left, size, going = carry
            unit = (left / jnp.where(size > 0, size, 1)).astype(jnp.float32)
            aim = jnp.where(going, jnp.maximum(0.5 * goal / jnp.where(size > 0, size, 1), ROUGH), 1).astype(jnp.float32)
            new = w + size * conjugate_gradients(lambda p: product(narrow, p), unit, aim, steps)
            after = right - product(matrices, new)
            length = jnp.sqrt(dot(after, after))
            better = going & (length < 0.1 * size)
            w, left, size = (jnp.where(better, a, b) for a, b in ((new, w), (after, left), (length, size)))
            return count + 1, w, left, size, better & (size > goal)

        size = jnp.sqrt(dot(right, right))
        carry = (0, w, left, size, size > goal)
        _, w, left, *_ = jax.lax.while_loop(lambda c: (c[0] < _REFINEMENTS) & c[-1].any(), body, carry)
    size = jnp.sqrt(dot(left, left))
    return w + conjugate_gradients(lambda p: product(matrices, p), left, goal / jnp.where(size > 0, size, 1), steps)


def low(tree: Any) -> Any:
    """Floating-point arrays in float32."""
    cast = lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf  # noqa: E731
    return jax.tree.map(cast, tree)


def dot(a: Any, b: Any) -> Any:
    """The inner product of each member."""
    return jnp.sum(a * b, axis=0)
