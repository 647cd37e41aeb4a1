r"""The phi functions of exponential integrators.

    phi_0(z) = exp(z),   phi_{k+1}(z) = (phi_k(z) - 1/k!) / z,   phi_k(0) = 1/k!

for numbers (a diagonal linear part) and for matrices (one small matrix per Fourier mode, or one dense one).

Reference: Hochbruck & Ostermann (2010), *Exponential integrators*, Acta Numerica 19, eq. 2.4; Skaflestad & Wright (2009),
*The scaling and modified squaring method for matrix functions related to the exponential*, for the matrices.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_TERMS = 20  # of the Taylor series: the remainder at |z| = 1 is 1/21! = 2e-20
_DOUBLINGS = 40  # a matrix of norm up to 2^40 is scaled below 1


def phi_numbers(z: Any, highest: int = 3) -> tuple[Any, ...]:
    """phi_0 .. phi_highest of real or complex numbers, elementwise: Taylor below |z| = 1, the recurrence above.

    The recurrence loses 1/|z|^k of relative accuracy, so at |z| >= 1 it loses nothing that matters. Safe to differentiate:
    each branch sees only arguments at which it is finite.
    """
    small = jnp.abs(z) < 1.0
    near, far = jnp.where(small, z, 0.0), jnp.where(small, 1.0, z)
    exact = [jnp.exp(far)]
    for k in range(highest):
        exact.append((exact[k] - 1.0 / math.factorial(k)) / far)
    series = [_taylor(near, highest)]
    for k in reversed(range(highest)):  # phi_k = z phi_{k+1} + 1 / k!, which loses nothing
        series.insert(0, near * series[0] + 1.0 / math.factorial(k))
    return tuple(jnp.where(small, s, e) for s, e in zip(series, exact, strict=True))


def _taylor(z: Any, k: int) -> Any:
    total = jnp.full_like(z, 1.0 / math.factorial(k + _TERMS - 1))
    for j in reversed(range(_TERMS - 1)):
        total = total * z + 1.0 / math.factorial(k + j)
    return total


def phi_matrices(z: Any, highest: int = 3) -> tuple[Any, ...]:
    """phi_0 .. phi_highest of matrices ``[..., n, n]``: Taylor of the scaled matrix, then doubling.

    phi_0(2z) = phi_0(z)^2 and phi_k(2z) = 2^-k (phi_0(z) phi_k(z) + sum_{j=1..k} phi_j(z) / (k - j)!).
    The number of doublings follows the norm of each matrix, inside a loop of fixed length, so that it differentiates.
    """
    n = z.shape[-1]
    identity = jnp.eye(n, dtype=z.dtype)
    norm = jnp.max(jnp.sum(jnp.abs(jax.lax.stop_gradient(z)), axis=-1), axis=-1)
    doublings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(norm, 1e-30))) + 1, 0, _DOUBLINGS).astype(jnp.int32)
    scaled = z / (2.0 ** doublings.astype(z.real.dtype))[..., None, None]
    last = identity * (1.0 / math.factorial(highest + _TERMS - 1))
    for j in reversed(range(_TERMS - 1)):
        last = last @ scaled + identity * (1.0 / math.factorial(highest + j))
    values = [jnp.broadcast_to(last, z.shape)]
    for k in reversed(range(highest)):
        values.insert(0, scaled @ values[0] + identity * (1.0 / math.factorial(k)))

    def double(values, i):
        phi0 = values[0]
        doubled = [phi0 @ phi0]
        for k in range(1, highest + 1):
            tail = sum(values[j] * (1.0 / math.factorial(k - j)) for j in range(1, k + 1))
            doubled.append((phi0 @ values[k] + tail) / 2.0**k)
        active = (i < doublings)[..., None, None]
        return tuple(jnp.where(active, new, old) for new, old in zip(doubled, values, strict=True)), None

    values, _ = jax.lax.scan(double, tuple(values), np.arange(_DOUBLINGS))
    return values
