r"""Polynomials of a time slab: what carries a field through it, and the points at which the equation is asked to hold.

In a slab of scaled time tau in [0, 1] the highest time derivative of an unknown is sum_k c_k l_k(tau), the Lagrange polynomials
of the Radau points; the unknown itself is its start plus their repeated integrals from 0, so that it is continued exactly.
Collocation at these points is the Radau IIA Runge-Kutta method: of order 2 K - 1 at the slab's end, and stiffly stable.

Reference: Hairer & Wanner (1996), Solving Ordinary Differential Equations II, section IV.5.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.polynomial import legendre


@functools.cache
def radau_points(count: int) -> np.ndarray:
    """The Radau points in (0, 1], the last of which is 1: zeros of P_K(2 tau - 1) - P_{K-1}(2 tau - 1)."""
    points = (np.sort(legendre.legroots([0.0] * (count - 1) + [-1.0, 1.0]).real) + 1) / 2
    points[-1] = 1.0
    return points


@functools.cache
def _series(integrals: int, count: int) -> np.ndarray:
    """Legendre coefficients in 2 tau - 1, ``[count + integrals, count]``, of the integrated Lagrange polynomials."""
    series = np.linalg.inv(legendre.legvander(2 * radau_points(count) - 1, count - 1))
    for _ in range(integrals):
        series = legendre.legint(series, lbnd=-1, scl=0.5)
    return series


def integrals(tau: Any, times: int, count: int) -> Any:
    """The Lagrange polynomials integrated `times` times from 0, at scaled times of any shape: ``[*shape, count]``."""
    series = _series(times, count)
    x = 2 * jnp.asarray(tau) - 1
    values = [jnp.ones_like(x), x]
    for n in range(1, len(series) - 1):  # Bonnet's recursion
        values.append(((2 * n + 1) * x * values[n] - n * values[n - 1]) / (n + 1))
    return jnp.stack(values[: len(series)], axis=-1) @ jnp.asarray(series, x.dtype)


def tail(integrals_: int, count: int) -> np.ndarray:
    """What the last two Legendre polynomials carry of the integrated sum_k c_k l_k, ``[2, count]``: the error in time."""
    return _series(0, count)[-2:] / (2 * (2 * count - 1)) ** integrals_


class Modes(NamedTuple):
    """I = S diag(mu^order) S^-1 for the integration `order` times, which decouples the times of a slab."""

    multipliers: np.ndarray  # [count], complex
    vectors: np.ndarray  # [count, count]
    inverse: np.ndarray  # [count, count]


@functools.cache
def modes(order: int, count: int) -> Modes:
    """The modes of integration at the Radau points; of no integration where the order is 0."""
    if order == 0:
        return Modes(np.ones(count, complex), np.eye(count, dtype=complex), np.eye(count, dtype=complex))
    matrix = legendre.legvander(2 * radau_points(count) - 1, count - 1 + order) @ _series(order, count)
    values, vectors = np.linalg.eig(matrix)
    return Modes((values + 0j) ** (1 / order), vectors + 0j, np.linalg.inv(vectors) + 0j)
