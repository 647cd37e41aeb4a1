"""Direct solves with sums of one-dimensional operators: fast diagonalisation, and the FFT where it is the diagonalisation.

On a tensor grid the five-point Laplacian is L = L_x + L_y, each along one axis.  With L_a = V_a diag(lambda_a) V_a^-1,

    f(L) b = V f(lambda_x + lambda_y) V^-1 b,

for any function f: 1/s is the Poisson solve, 1/(1 - c s) the Helmholtz solve.  It costs two dense products along each axis,
is linear in b with known factors, and so has exact derivatives of either mode at the cost of another solve.

Reference: Lynch, Rice & Thomas (1964), Numer. Math. 6, 185; Schumann & Sweet (1988), J. Comput. Phys. 75, 123, for staggered
and stretched grids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.solvers.mac_grid import MacAxis


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Diagonal:
    """An operator along one axis, diagonalised: by matrices, or (both None) by the discrete Fourier transform."""

    eigenvalues: Any  # [m]
    vectors: Any = None  # [points, m]
    inverse: Any = None  # [m, points]


def apply_function(axes: tuple[Diagonal, ...], function: Callable[[Any], Any], b: Any) -> Any:
    """f(sum of the axes' operators) b.

    Args:
      axes: one `Diagonal` for each axis of b.
      function: f, elementwise.
      b: ``[*points]``, real.
    """
    dense = [i for i, axis in enumerate(axes) if axis.vectors is not None]
    fourier = [i for i, axis in enumerate(axes) if axis.vectors is None]
    shape = tuple(b.shape[i] for i in fourier)
    for i in dense:
        b = along_axis(axes[i].inverse, b, i)
    if fourier:
        b = jnp.fft.rfftn(b, axes=fourier)
    total = sum(
        _half(axis.eigenvalues, b.shape[i]).reshape([-1 if k == i else 1 for k in range(b.ndim)])
        for i, axis in enumerate(axes)
    )
    b = b * function(total)
    if fourier:
        b = jnp.fft.irfftn(b, s=shape, axes=fourier)
    for i in dense:
        b = along_axis(axes[i].vectors, b, i)
    return b


def _half(eigenvalues: Any, size: int) -> Any:
    """The part that a real transform keeps of the eigenvalues of its last axis."""
    return eigenvalues[:size]


def along_axis(matrix: Any, values: Any, axis: int) -> Any:
    """A matrix applied along one axis."""
    return jnp.moveaxis(jnp.tensordot(matrix, values, axes=(1, axis), precision="highest"), 0, axis)


def inverse_or_zero(total: Any) -> Any:
    """1 / s, and 0 for s = 0: the Poisson solve whose solution has no mean."""
    return jnp.where(total == 0, 0.0, 1.0 / jnp.where(total == 0, 1.0, total))


def for_centres(axis: MacAxis, held: tuple[bool, bool], dtype: Any) -> Diagonal:
    """d2/dx2 of values at centres: zero at the ends that are held, without slope at the others."""
    if axis.periodic and axis.is_uniform:
        return _circulant(axis, dtype)
    conductances = 1 / axis.spacings
    if not axis.periodic:
        conductances = conductances * np.array([held[0], *[True] * (axis.n - 1), held[1]])
    return _diagonalise(conductances, axis.widths, axis.periodic, np.ones(axis.n, bool), dtype)


def for_faces(axis: MacAxis, dtype: Any) -> Diagonal:
    """d2/dx2 of values on faces along their own axis: zero on walls, without slope at open ends."""
    if axis.periodic and axis.is_uniform:
        return _circulant(axis, dtype)
    if axis.periodic:  # face k lies between the cells k - 1 and k
        return _diagonalise(1 / np.append(axis.widths[-1:], axis.widths), axis.face_widths[:-1], True,
                            np.ones(axis.n, bool), dtype)  # fmt: skip
    volumes = axis.face_widths * np.array([0.5, *[1.0] * (axis.n - 1), 0.5])
    kept = np.array([axis.open_ends[0], *[True] * (axis.n - 1), axis.open_ends[1]])
    return _diagonalise(np.concatenate([[0.0], 1 / axis.widths, [0.0]]), volumes, False, kept, dtype)


def _circulant(axis: MacAxis, dtype: Any) -> Diagonal:
    modes = np.arange(axis.n)
    return Diagonal(jnp.asarray(-((2 * np.sin(np.pi * modes / axis.n) / axis.widths[0]) ** 2), dtype))


def _diagonalise(conductances: np.ndarray, volumes: np.ndarray, periodic: bool, kept: np.ndarray, dtype: Any) -> Diagonal:
    """volume_i (L u)_i = g_i+1 (u_i+1 - u_i) - g_i (u_i - u_i-1), restricted to the points that are kept.

    Similar to a symmetric matrix through the roots of the volumes, so that its eigenvectors are well conditioned.
    """
    size = len(volumes)
    matrix = -np.diag(conductances[1:] + conductances[:-1])
    inner = np.arange(size - 1)
    matrix[inner, inner + 1] = matrix[inner + 1, inner] = conductances[1:-1]
    if periodic:
        matrix[0, -1] += conductances[0]
        matrix[-1, 0] += conductances[0]
    roots = np.sqrt(volumes[kept])
    eigenvalues, vectors = np.linalg.eigh(matrix[np.ix_(kept, kept)] / np.outer(roots, roots))
    eigenvalues = np.where(np.abs(eigenvalues) < 1e-12 * np.abs(eigenvalues).max(), 0.0, eigenvalues)
    full, inverse = np.zeros((size, len(roots))), np.zeros((len(roots), size))
    full[kept], inverse[:, kept] = vectors / roots[:, None], vectors.T * roots
    return Diagonal(*(jnp.asarray(array, dtype) for array in (eigenvalues, full, inverse)))
