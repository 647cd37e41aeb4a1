r"""Causal weights: a time counts when the times before it are fitted.

    w(t) = exp( - 1/tolerance * int_0^t R(s) ds / T ),     R(s) the mean square residual at time s, relative to its first size

Reference: Wang, Sankaran & Perdikaris (2024; arXiv 2022), Comput. Methods Appl. Mech. Eng. 421, 116813, eq. 20 and algorithm 1.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci._checks import is_whole
from jaxsci.learning.frame import FRAME


@dataclasses.dataclass(frozen=True)
class Causal:
    """Weights of chunks of time that fall with the residual of the chunks BEFORE them.

    A tolerance far above the residual gives equal weights; one far below it leaves the first chunk alone. When every chunk
    counts (the least weight is above 0.99) the tolerance is divided by ten, as often as that happens.

    Args:
      chunks: of the interval of time, or of a window of it, of equal length.
      tolerance: of the mean square residual, integrated over the earlier part of the interval and relative to what it was
        at the beginning of the fit; what the paper calls epsilon is its inverse.
    Raises:
      ValueError: chunks or tolerance out of range; or a steady problem, which has no earlier and later.
    Example:
      >>> import jaxsci as js
      >>> js.learning.Scheme(weighting=js.learning.Causal(chunks=16)).weightings
      (Causal(chunks=16, tolerance=1.0),)
    """

    chunks: int = 32
    tolerance: float = 1.0

    def __post_init__(self):
        if not (is_whole(self.chunks) and self.chunks > 1 and self.tolerance > 0):
            raise ValueError(
                "Causal: chunks must be a whole number above 1 and tolerance positive, got "
                f"chunks={self.chunks!r}, tolerance={self.tolerance!r}."
            )

    def init(self, objective, batch):
        """The tolerance, and the mean square residual at the beginning (zero until it is known)."""
        if objective.conditions.problem.is_steady:
            raise ValueError(f"Causal: {objective.conditions.problem.name} is steady: it has no earlier and later.")
        dtype = batch.points["equation"].dtype
        return jnp.asarray(self.tolerance, dtype), jnp.zeros((), dtype)

    def weigh(self, objective, unknowns, coefficients, batch, state):
        return _weigh(self, objective, unknowns, coefficients, batch, state)


@functools.partial(jax.jit, static_argnames=("causal", "objective"))
def _weigh(causal: Causal, objective, unknowns, coefficients, batch, state):
    tolerance, reference = state
    points, weights = batch.points["equation"], batch.weights["equation"]
    squares = jnp.sum(weights * objective.residual(unknowns, coefficients, points) ** 2, axis=-1) * len(points)
    chunk = chunk_of(objective, coefficients, points[:, 0], causal.chunks)
    means = chunk_means(squares, chunk, causal.chunks)
    reference = jnp.where(reference > 0, reference, jnp.mean(means))
    by_chunk = causal_weights(means / jnp.where(reference > 0, reference, 1.0), tolerance)
    factor = by_chunk[chunk]
    tolerance = jnp.where(jnp.min(by_chunk) > 0.99, tolerance / 10, tolerance)
    return {**batch.weights, "equation": weights * factor[:, None]}, (tolerance, reference)


def causal_weights(means: Any, tolerance: Any) -> Any:
    """``[chunks]``: of every chunk, from the mean squares of the chunks strictly before it."""
    earlier = jnp.cumsum(means) - means
    return jnp.exp(-earlier / (len(means) * tolerance))


def chunk_means(squares: Any, chunk: Any, chunks: int) -> Any:
    """Mean over the points of every chunk; that of all where a chunk has none."""
    counts = jnp.zeros(chunks, squares.dtype).at[chunk].add(1.0)
    sums = jnp.zeros(chunks, squares.dtype).at[chunk].add(squares)
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1.0), jnp.mean(squares))


def chunk_of(objective: Any, coefficients: Any, t: Any, chunks: int) -> Any:
    """The chunk of a time: whole numbers from 0, in the interval of the problem or the window of the fit."""
    start, end = objective.conditions.problem.domain["t"]
    fraction = (t - start) / (end - start)
    window = coefficients[FRAME].window if FRAME in coefficients else None
    if window is not None:
        fraction = (fraction - window.start) / (window.end - window.start)
    return jnp.clip((fraction * chunks).astype(int), 0, chunks - 1)
