r"""The transforms of a short axis as small matrices: what beats a fast Fourier transform there is its overhead.

A real series splits four ways, cosines and sines, even and odd wavenumbers. Each part is symmetric or antisymmetric about
x = 0 and about a quarter of the period, so that a quarter of the grid holds it:

    u(x_j) = sum_k w_k Re(c_k) cos(2 pi k j / n) - sum_k w_k Im(c_k) sin(2 pi k j / n),    w_0 = 1, w_k = 2,

four matrices of (n / 4 + 1) x (m + 1) / 2 numbers instead of one of n x 2 (m + 1). On a processor the whole 1-D step of one
trajectory is two to four times as fast as with library transforms up to n = 256 (`python benchmarks/solvers.py --only ks`).
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


@functools.cache
def _matrices(n: int, m: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """(to the grid, from it): for cosines of even and odd k, then sines of even and odd k; [k, quarter] and [quarter, k]."""
    quarter, k = np.arange(n // 4 + 1), np.arange(m + 1)
    angle = 2 * np.pi / n * np.outer(k, quarter)
    twice = np.where(k == 0, 1.0, 2.0)[:, None]
    once = np.where(quarter == n // 4, 0.5, 1.0)[:, None] / n  # the quarter's end is its own mirror image
    to_grid = [twice * np.cos(angle), -twice * np.sin(angle)]
    from_grid = [once * np.cos(angle).T, -once * np.sin(angle).T]
    return (
        tuple(part[start::2] for part in to_grid for start in (0, 1)),
        tuple(part[:, start::2] for part in from_grid for start in (0, 1)),
    )


def to_grid(modes: Any, n: int) -> Any:
    """Modes ``[..., m + 1]`` of wavenumbers 0 to m < n / 2 to values ``[..., n]``."""
    to, _ = _matrices(n, modes.shape[-1] - 1)
    parts = (modes.real[..., ::2], modes.real[..., 1::2], modes.imag[..., ::2], modes.imag[..., 1::2])
    ce, co, se, so = (part @ jnp.asarray(matrix, part.dtype) for part, matrix in zip(parts, to, strict=True))
    back = lambda values: jnp.flip(values, -1)  # noqa: E731
    even = jnp.concatenate([ce + co, back((ce - co)[..., :-1])], -1)  # about x = 0, on half of the period
    odd = jnp.concatenate([se + so, back((so - se)[..., :-1])], -1)
    return jnp.concatenate([even + odd, back((even - odd)[..., 1:-1])], -1)


def from_grid(values: Any, m: int) -> Any:
    """Values ``[..., n]`` to modes ``[..., m + 1]``."""
    n = values.shape[-1]
    half, quarter = n // 2 + 1, n // 4 + 1
    back = lambda values: jnp.flip(values, -1)  # noqa: E731
    ahead, behind = values[..., :half], jnp.concatenate([values[..., :1], back(values[..., half - 1 :])], -1)
    ends = np.where(np.arange(half) % (half - 1) == 0, 0.5, 1.0).astype(values.dtype)  # x = 0 and its opposite count once
    even, odd = ends * (ahead + behind), ahead - behind
    far = lambda part: back(part[..., quarter - 1 :])  # noqa: E731
    near_even, near_odd = even[..., :quarter], odd[..., :quarter]
    parts = (near_even + far(even), near_even - far(even), near_odd - far(odd), near_odd + far(odd))
    _, fro = _matrices(n, m)
    ce, co, se, so = (part @ jnp.asarray(matrix, part.dtype) for part, matrix in zip(parts, fro, strict=True))
    return jax.lax.complex(_interleaved(ce, co), _interleaved(se, so))


def _interleaved(even: Any, odd: Any) -> Any:
    count = even.shape[-1] + odd.shape[-1]
    if odd.shape[-1] < even.shape[-1]:
        odd = jnp.concatenate([odd, jnp.zeros_like(even[..., :1])], -1)
    return jnp.stack([even, odd], -1).reshape((*even.shape[:-1], -1))[..., :count]
