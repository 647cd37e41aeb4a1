"""Reconstruction: a limited linear profile in each cell, from cell averages.

    u(x) = u_i + s_i (x - x_i) / h,    s_i = phi(u_i - u_{i-1}, u_{i+1} - u_i)

With a limiter phi that vanishes where its arguments differ in sign, no new extremum arises (total variation diminishing).

Reference: van Leer (1979), J. Comput. Phys. 32, 101; Sweby (1984), SIAM J. Numer. Anal. 21, 995;
  LeVeque (2002), *Finite Volume Methods for Hyperbolic Problems*, section 6.9 to 6.12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp


def minmod(a: Any, b: Any) -> Any:
    """The smaller of two differences of one sign, else 0: the most dissipative second-order limiter."""
    return (jnp.sign(a) + jnp.sign(b)) / 2 * jnp.minimum(jnp.abs(a), jnp.abs(b))


def van_leer(a: Any, b: Any) -> Any:
    """The harmonic mean 2 a b / (a + b) of two differences of one sign, else 0: differentiable for a b > 0."""
    product = a * b
    rises = product > 0
    return jnp.where(rises, 2 * product / jnp.where(rises, a + b, 1), 0)


def monotonized_central(a: Any, b: Any) -> Any:
    """The central difference, held below twice either side: the sharpest of the three."""
    size = jnp.minimum(jnp.abs(a + b) / 2, 2 * jnp.minimum(jnp.abs(a), jnp.abs(b)))
    return (jnp.sign(a) + jnp.sign(b)) / 2 * size


def central(a: Any, b: Any) -> Any:
    """The central difference without a limit: for smooth fields; it rings at jumps."""
    return (a + b) / 2


LIMITERS: dict[str, Callable[[Any, Any], Any]] = {
    "minmod": minmod,
    "van_leer": van_leer,
    "mc": monotonized_central,
    "none": central,
}


def slopes(extended: Any, limiter: str) -> Any:
    """Differences s across each cell but the first and the last: ``[..., n] -> [..., n - 2]``."""
    difference = jnp.diff(extended, axis=-1)
    return LIMITERS[limiter](difference[..., :-1], difference[..., 1:])
