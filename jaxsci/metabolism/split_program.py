r"""Flux programmes in which |v| counts: forward and backward flux apart.

    z = p - q,     p in [l+, u+],   q in [(-u)+, (-l)+]     so that     |z| = p + q  wherever p and q are not both positive

in presolved variables, every one of which carries a group of reactions, v_j = ratio_j z. Where the bounds exclude 0 one of the
two is a constant or both share the interval's sign, which the bounds of p and q say by themselves: nothing depends on the
numbers' signs, so that one matrix [A, -A] serves all media and knock-outs.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.linear_program import starting_vertex
from jaxsci.metabolism.model import Nominal
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.optimum import reduced, rows_of, start_of, weights
from jaxsci.metabolism.presolve import presolve
from jaxsci.metabolism.starting_vertex import Start, slack_start


@functools.lru_cache(maxsize=64)
def split_matrix(network: Network) -> np.ndarray:
    """[A, -A] of the presolved network."""
    A = rows_of(presolve(network))
    return np.concatenate([A, -A], axis=1)


def split_bounds(low: Any, high: Any) -> tuple[Any, Any]:
    """Bounds of z [..., n'] as bounds of (p, q) [..., 2 n']; at 0 the derivative is that of the forward side."""
    xp = jnp if isinstance(low, jax.Array) or isinstance(high, jax.Array) else np
    zero = xp.zeros_like(low)
    above, below = low >= 0, high >= 0
    start = xp.concatenate([xp.where(above, low, zero), xp.where(below, zero, -high)], -1)
    end = xp.concatenate([xp.where(below, high, zero), xp.where(above, zero, -low)], -1)
    return start, end


def joined(pq: Any) -> Any:
    """(p, q) -> z = p - q."""
    n = pq.shape[-1] // 2
    return pq[..., :n] - pq[..., n:]


@functools.lru_cache(maxsize=64)
def split_start(network: Network, nominal: Nominal | None) -> Start:
    """The vertex of least total flux among the optima of the numbers that the model was first made of (by HiGHS, once)."""
    small, matrix = presolve(network), split_matrix(network)
    if nominal is None or not reduced(network, nominal).whole:
        return slack_start(matrix)
    low, high, cost, _ = reduced(network, nominal)
    base = start_of(network, nominal)
    weight = np.concatenate([cost, np.zeros(small.matrix.shape[0])])
    costs = (weight - weight[base.basis.basic] @ base.tableau)[: len(cost)]
    size = weights(small)
    return starting_vertex(matrix, -np.concatenate([size, size]), *split_bounds(*held(costs, low, high, 1e-9)))


def held(reduced: Any, low: Any, high: Any, tolerance: float) -> tuple[Any, Any]:
    """Complementary slackness: an optimum has every variable whose reduced cost is not 0 at the bound that this asks for."""
    xp = jnp if isinstance(reduced, jax.Array) else np
    up, down = reduced > tolerance, reduced < -tolerance
    return xp.where(up, high, low), xp.where(down, low, high)
