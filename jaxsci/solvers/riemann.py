"""The flux through a face between two states: HLL, with the wave speeds that the flux Jacobian has.

    F = (S_R F_L - S_L F_R + S_L S_R (Q_R - Q_L)) / (S_R - S_L),    S_L <= 0 <= S_R

bound the speeds of all waves.  For a scalar law this is upwinding wherever the speeds agree in sign.

Reference: Harten, Lax & van Leer (1983), SIAM Rev. 25, 35; Davis (1988), SIAM J. Sci. Stat. Comput. 9, 445.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def hll(left: Any, right: Any, flux_left: Any, flux_right: Any, slowest: Any, fastest: Any) -> Any:
    """The HLL flux of the densities ``[rows, ...]`` on either side, for speeds ``[...]`` that bound the waves."""
    slowest, fastest = jnp.minimum(slowest, 0), jnp.maximum(fastest, 0)
    width = fastest - slowest
    moves = width > 0
    fan = fastest * flux_left - slowest * flux_right + fastest * slowest * (right - left)
    return jnp.where(moves, fan / jnp.where(moves, width, 1), (flux_left + flux_right) / 2)


def extreme_eigenvalues(matrix: list[list[Any]]) -> tuple[Any, Any]:
    """Bounds of the eigenvalues of matrices with real ones, elementwise over their entries.

    Args:
      matrix: rows of entries, each of one common shape.
    Returns:
      The smallest and the largest eigenvalue, in closed form for up to three; beyond, minus and plus a bound of their
      modulus, |A^64|^(1/64), which exceeds it by a few per cent (the condition number of the eigenvectors to the 1/64).
    """
    size = len(matrix)
    if size == 1:
        return matrix[0][0], matrix[0][0]
    if size == 2:
        (a, b), (c, d) = matrix
        spread = safe_root(((a - d) / 2) ** 2 + b * c)
        return (a + d) / 2 - spread, (a + d) / 2 + spread
    if size == 3:
        return _cubic(matrix)
    radius = _radius(jnp.stack([jnp.stack(row, axis=-1) for row in matrix], axis=-2))
    return -radius, radius


def safe_root(value: Any) -> Any:
    """sqrt of what is positive but for rounding, with slope 0 where it is not."""
    positive = value > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)


def _cubic(matrix: list[list[Any]]) -> tuple[Any, Any]:
    """The trigonometric roots: with B = A - tr(A)/3, they are tr(A)/3 + 2 p cos(phi + 2 pi k / 3)."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    mean = (a + e + i) / 3
    a, e, i = a - mean, e - mean, i - mean
    p = safe_root((a**2 + e**2 + i**2 + 2 * (b * d + c * g + f * h)) / 6)
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    cube = 2 * p**3
    ratio = determinant / jnp.where(cube > 0, cube, 1)
    edge = 1 - 4 * jnp.finfo(ratio.dtype).eps  # a double root, where the angle has no slope
    angle = jnp.arccos(jnp.clip(ratio, -edge, edge)) / 3
    return mean + 2 * p * jnp.cos(angle + 2 * jnp.pi / 3), mean + 2 * p * jnp.cos(angle)


def _radius(matrix: Any) -> Any:
    """A bound of the spectral radius of ``[..., n, n]``: six squarings, each scaled by its Frobenius norm."""
    logarithm, power = jnp.zeros(matrix.shape[:-2], matrix.dtype), 1.0
    tiny = jnp.finfo(matrix.dtype).tiny
    for squaring in range(7):
        norm = safe_root(jnp.sum(matrix**2, axis=(-2, -1))) + tiny
        logarithm = logarithm + jnp.log(norm) / power
        matrix = matrix / norm[..., None, None]
        if squaring < 6:
            matrix, power = jnp.einsum("...ij,...jk->...ik", matrix, matrix), power * 2
    return jnp.exp(logarithm)
