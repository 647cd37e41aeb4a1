r"""Functions of coordinates without divergence: slopes of an antisymmetric matrix.

    u_i = sum_j d A_ij / d x_j,   A_ij = -A_ji:       div u = sum_ij d^2 A_ij / (d x_i d x_j) = 0.

In the plane this is (psi_y, -psi_x) of a stream function psi = A_12; in space the curl of the vector potential
(A_23, A_31, A_12). With time as one of the coordinates it is the continuity equation: (density, momentum) without divergence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def divergence_free(potential: Callable[[Any], Any]) -> Callable[[Any], Any]:
    r"""The velocity without divergence that a potential has, whatever function it is.

    One derivative in forward mode: as much as d evaluations of the potential. The divergence is zero as far as mixed derivatives
    agree: to round-off.

    Args:
      potential: of ONE point x ``[d]``: ``[d (d - 1) / 2]``, smooth. For d = 2 the stream function (a number will do), for d = 3
        the vector potential, from d = 4 the upper triangle of A, row by row.
    Returns:
      A function of points ``[..., d]``, velocities ``[..., d]``.
    Raises:
      ValueError: for another number of potentials than d needs.
    Reference: Richter-Powell, Lipman & Chen (2022), "Neural conservation laws", NeurIPS, section 3; Barbarosie (2011),
      Q. Appl. Math. 69, 309.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> u = js.constraints.divergence_free(lambda x: jnp.sin(x[0]) * x[1] ** 2)
      >>> print(u(jnp.array([0.0, 3.0])), jnp.trace(jax.jacfwd(u)(jnp.array([0.5, 3.0]))))
      [ 0. -9.] 0.0
    """

    def velocity(x):
        slopes = jnp.atleast_2d(jax.jacfwd(potential)(x))  # [potential, j]
        dims = x.shape[-1]
        wanted = dims * (dims - 1) // 2
        if slopes.shape != (wanted, dims) or dims < 2:
            raise ValueError(
                f"divergence_free: in {dims} dimensions the potential has {wanted} values, one for each pair of axes; it "
                f"returned the shape {slopes.shape[:-1]}."
            )
        matrix: list[list[Any]] = [[jnp.zeros((), slopes.dtype)] * dims for _ in range(dims)]  # d A_ij / d x_j
        for k, (i, j) in enumerate(_pairs(dims)):
            matrix[i][j], matrix[j][i] = slopes[k, j], -slopes[k, i]
        return jnp.stack([jnp.sum(jnp.stack(row)) for row in matrix])

    return jnp.vectorize(velocity, signature="(d)->(d)")


def _pairs(dims: int) -> list[tuple[int, int]]:
    """The entries of A that the potential's values are."""
    if dims == 3:
        return [(1, 2), (2, 0), (0, 1)]
    return [(int(i), int(j)) for i, j in zip(*np.triu_indices(dims, 1), strict=True)]
