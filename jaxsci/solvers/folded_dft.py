r"""The transforms of a short axis as small matrices: what beats a fast Fourier transform there is its overhead.

A real series splits four ways, cosines and sines, even and odd wavenumbers. Each part is symmetric or antisymmetric about
x = 0 and about a quarter of the period, so that a quarter of the grid holds it:

    u(x_j) = sum_k w_k Re(c_k) cos(2 pi k j / n) - sum_k w_k Im(c_k) sin(2 pi k j / n),    w_0 = 1, w_k = 2,

four matrices of (n / 4 + 1) x (m + 1) / 2 numbers instead of one of n x 2 (m + 1). The four sums and differences of the parts
are the values at x_j and at its three mirror images. They stay in that order, with the mirrors' own points twice: what is
done with them is pointwise. A 1-D step of one trajectory is twice as fast as with library transforms up to n = 256
(`python benchmarks/solvers.py --only ks`).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def applies_to(n: int) -> bool:
    """Whether an axis of n points is short enough, as measured, and can be folded twice."""
    return n % 4 == 0 and n <= 256


def order(n: int) -> np.ndarray:
    """Which grid point each of the n + 4 nodes is: x_j, pi - x_j, -x_j and pi + x_j for a quarter of the j."""
    j = np.arange(n // 4 + 1)
    return np.concatenate([j, n // 2 - j, -j, n // 2 + j]) % n


@functools.cache
def _matrices(n: int, m: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """(to the grid, from it): for cosines of even and odd k, then sines of even and odd k; [k, quarter] and [quarter, k]."""
    quarter, k = np.arange(n // 4 + 1), np.arange(m + 1)
    angle = 2 * np.pi / n * np.outer(k, quarter)
    twice = np.where(k == 0, 1.0, 2.0)[:, None]
    once = np.where(quarter % (n // 4) == 0, 0.5, 1.0)[:, None] / n  # both ends are their own mirror images
    to_grid = [twice * np.cos(angle), -twice * np.sin(angle)]
    from_grid = [once * np.cos(angle).T, -once * np.sin(angle).T]
    return (
        tuple(part[start::2] for part in to_grid for start in (0, 1)),
        tuple(part[:, start::2] for part in from_grid for start in (0, 1)),
    )


def to_nodes(modes: Any, n: int) -> Any:
    """Modes ``[..., m + 1]`` of wavenumbers 0 to m < n / 2 to values ``[..., n + 4]`` in the order of `order`."""
    to, _ = _matrices(n, modes.shape[-1] - 1)
    parts = (modes.real[..., ::2], modes.real[..., 1::2], modes.imag[..., ::2], modes.imag[..., 1::2])
    ce, co, se, so = (part @ jnp.asarray(matrix, part.dtype) for part, matrix in zip(parts, to, strict=True))
    near, far, odd_near, odd_far = ce + co, ce - co, se + so, so - se
    return jnp.concatenate([near + odd_near, far + odd_far, near - odd_near, far - odd_far], -1)


def from_nodes(values: Any, m: int) -> Any:
    """Values ``[..., n + 4]`` at the nodes to modes ``[..., m + 1]``."""
    near, far, mirror_near, mirror_far = jnp.split(values, 4, -1)
    even_near, even_far, odd_near, odd_far = near + mirror_near, far + mirror_far, near - mirror_near, far - mirror_far
    parts = (even_near + even_far, even_near - even_far, odd_near - odd_far, odd_near + odd_far)
    _, fro = _matrices(values.shape[-1] - 4, m)
    ce, co, se, so = (part @ jnp.asarray(matrix, part.dtype) for part, matrix in zip(parts, fro, strict=True))
    return jax.lax.complex(_interleaved(ce, co), _interleaved(se, so))


def _interleaved(even: Any, odd: Any) -> Any:
    count = even.shape[-1] + odd.shape[-1]
    if odd.shape[-1] < even.shape[-1]:
        odd = jnp.concatenate([odd, jnp.zeros_like(even[..., :1])], -1)
    return jnp.stack([even, odd], -1).reshape((*even.shape[:-1], -1))[..., :count]
