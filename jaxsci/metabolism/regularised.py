r"""Flux balance with a strictly convex objective, for training through fluxes.

    max c.v - e |v|^2 / 2     with     S v = 0,     lower <= v <= upper

Its optimum is the point of the polytope nearest to c / e: unique, and continuous in every number.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci import constraints
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.simplex import INFEASIBLE, MAX_STEPS, NOT_FINITE, OPTIMAL


def regularised_fluxes(network: Network, lower: Any, upper: Any, objective: Any, strength: Any) -> tuple[Any, Any, Any]:
    """(fluxes, shadow prices, status); see `fba`."""
    if isinstance(strength, int | float) and not strength > 0:
        raise ValueError(f"fba: regularisation is a number > 0, got {strength!r}; leave it out for the exact optimum.")
    S = jnp.asarray(network.dense, lower.dtype)
    far = objective / strength
    polytope = constraints.Polytope(A=S, b=jnp.zeros(S.shape[0], S.dtype), lower=lower, upper=upper)
    fluxes, info = constraints.project(polytope, far)
    codes = {constraints.CONVERGED: OPTIMAL, constraints.INFEASIBLE: INFEASIBLE, constraints.NOT_FINITE: NOT_FINITE}
    status = jnp.full(jnp.shape(info.status), MAX_STEPS)
    for theirs, ours in codes.items():
        status = jnp.where(info.status == theirs, ours, status)
    optimal = (status == OPTIMAL)[..., None]
    # c - e v - S'y is 0 between the bounds: the prices are the least-squares solution there.
    free = (fluxes > lower) & (fluxes < upper)
    rest = jnp.where(free, objective - strength * fluxes, 0.0)
    prices = _least_squares(S, free.astype(S.dtype), rest)
    return jnp.where(optimal, fluxes, jnp.nan), jnp.where(optimal, prices, jnp.nan), status


def _least_squares(S: Any, weights: Any, rest: Any) -> Any:
    """y of least norm with  sum_j w_j (rest_j - (S'y)_j)^2  least."""
    normal = jnp.einsum("in,...n,jn->...ij", S, weights, S)
    values, vectors = jnp.linalg.eigh(normal)
    tiny = 1e3 * np.finfo(S.dtype).eps * jnp.abs(values).max(-1, keepdims=True)
    inverse = jnp.where(values > tiny, 1 / jnp.where(values > tiny, values, 1.0), 0.0)
    right = jnp.einsum("in,...n->...i", S, rest)
    return jnp.einsum("...ik,...k,...jk,...j->...i", vectors, inverse, vectors, right)
