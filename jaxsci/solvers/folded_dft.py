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
def _matrices(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """To the nodes ``[part, k, quarter]`` and from them ``[part, quarter, k]``; the parts are the cosines of even and of odd
    k, then the sines. The odd wavenumbers may be one fewer: a row of zeros."""
    quarter, k = np.arange(n // 4 + 1), np.arange(2 * (m // 2 + 1)).reshape(-1, 2).T  # [parity, half of the wavenumbers]
    angle = 2 * np.pi / n * k[:, :, None] * quarter
    kept = np.where(k <= m, 1.0, 0.0)[:, :, None]
    twice = kept * np.where(k == 0, 1.0, 2.0)[:, :, None]
    once = kept * np.where(quarter % (n // 4) == 0, 0.5, 1.0) / n  # both ends are their own mirror images
    to = np.concatenate([twice * np.cos(angle), -twice * np.sin(angle)])
    fro = np.concatenate([once * np.cos(angle), -once * np.sin(angle)])
    return to, np.swapaxes(fro, 1, 2)


def to_nodes(modes: Any, n: int) -> Any:
    """Modes ``[..., m + 1]`` of wavenumbers 0 to m < n / 2 to values ``[..., n + 4]`` in the order of `order`."""
    lead, count = modes.shape[:-1], modes.shape[-1]
    to, _ = _matrices(n, count - 1)
    if count % 2:
        modes = jnp.concatenate([modes, jnp.zeros_like(modes[..., :1])], -1)
    parts = jnp.stack([modes.real, modes.imag], -2).reshape(*lead, 2, -1, 2)
    parts = jnp.swapaxes(parts, -1, -2).reshape(*lead, 4, -1)
    found = jnp.einsum("...ak,akq->...aq", parts, jnp.asarray(to, parts.dtype))
    ce, co, se, so = (found[..., i, :] for i in range(4))
    near, far, odd_near, odd_far = ce + co, ce - co, se + so, so - se
    return jnp.concatenate([near + odd_near, far + odd_far, near - odd_near, far - odd_far], -1)


def from_nodes(values: Any, m: int) -> Any:
    """Values ``[..., n + 4]`` at the nodes to modes ``[..., m + 1]``."""
    lead, (_, fro) = values.shape[:-1], _matrices(values.shape[-1] - 4, m)
    near, far, mirror_near, mirror_far = jnp.split(values, 4, -1)
    even_near, even_far, odd_near, odd_far = near + mirror_near, far + mirror_far, near - mirror_near, far - mirror_far
    parts = jnp.stack([even_near + even_far, even_near - even_far, odd_near - odd_far, odd_near + odd_far], -2)
    found = jnp.einsum("...aq,aqk->...ak", parts, jnp.asarray(fro, values.dtype))
    found = jnp.swapaxes(found.reshape(*lead, 2, 2, -1), -1, -2).reshape(*lead, 2, -1)[..., : m + 1]
    return jax.lax.complex(found[..., 0, :], found[..., 1, :])
