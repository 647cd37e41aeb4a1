r"""The Gauss-Newton (Laplace) posterior of what was fitted: its covariance from the Jacobian at the fit.

With whitened residuals w(p), whose square is minus twice the log-likelihood, the covariance of the parameters p is
(J' J)^-1 for J = dw/dp.  It is kept as the triangle R of J = Q R with the coefficients as the last columns: the last block of R
is what the data say about the coefficients once the field has been fitted (a Schur complement, never formed by squaring).

Reference: Nocedal & Wright (2006), *Numerical Optimization*, ch. 10; Gelman et al. (2013), *Bayesian Data Analysis*, ch. 4.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci.learning.least_squares import triangle
from jaxsci.learning.objective import Batch, Coefficients, Unknowns


class Posterior(NamedTuple):
    """A Gaussian over the flattened unknowns of a fit. A pytree."""

    factor: Any  # R of the scaled columns, [P, P], coefficients last
    scale: Any  # norms of the columns, [P]
    count: Any  # how many of them are coefficients
    variance: Any  # of a whitened residual: 1 where the noise is known, estimated otherwise
    effective: Any  # parameters that the data determine: the trace of the influence matrix
    misfit: Any  # mean square of the whitened data residuals

    @property
    def information(self) -> np.ndarray:
        """A, with covariance variance * (A' A)^-1 of the scaled coefficients: ``[k, k]``."""
        k = int(self.count)
        return np.asarray(self.factor)[-k:, -k:] * np.asarray(self.scale)[-k:]

    @property
    def covariance(self) -> np.ndarray:
        """Of the scaled coefficients, ``[k, k]``; infinite in every entry where some combination is not determined at all."""
        values, directions = self.sensitivities
        if values[-1] <= 1e-12 * max(values[0], 1e-300):
            values = np.where(values > 1e-12 * max(values[0], 1e-300), values, 1e-150)
        half = directions.T / values
        return float(self.variance) * half @ half.T

    @property
    def sensitivities(self) -> tuple[np.ndarray, np.ndarray]:
        """Singular values, ``[k]``, largest first, and the combinations of scaled coefficients they belong to, ``[k, k]``.

        The standard deviation along a combination is root(variance) / singular value.
        """
        _, values, directions = np.linalg.svd(self.information)
        return values, directions

    def spread(self, slopes: Any) -> Any:
        """Standard deviation of a quantity with derivatives ``[..., P]`` in the flattened unknowns."""
        k = int(self.count)
        flat = jnp.roll(jnp.reshape(slopes, (-1, slopes.shape[-1])), -k, axis=1) / self.scale
        whitened = jax.scipy.linalg.solve_triangular(self.factor, flat.T, trans=1)
        return jnp.sqrt(self.variance * jnp.sum(whitened**2, axis=0)).reshape(slopes.shape[:-1])


def posterior(
    objective: Any, unknowns: Unknowns, coefficients: Coefficients, batch: Batch, values: int, known: bool
) -> Posterior:
    """The posterior at a fit.

    Args:
      batch: "data" and, for a learned field, "equation"; the weights of the data are one over `values` noise variances, and
        those of the equation on the same scale.
      values: how many were observed.
      known: whether the noise is; if not, its variance is the misfit over the degrees of freedom that the fit has left.
    """
    factor, scale, effective, misfit = _factorise(objective, unknowns, coefficients, batch, values)
    count = ravel_pytree(unknowns["coefficients"])[0].size
    freedom = jnp.maximum(values - effective, 1.0)
    variance = jnp.ones_like(misfit) if known else misfit * values / freedom
    return Posterior(factor, scale, count, variance, effective, misfit)


@functools.partial(jax.jit, static_argnames=("objective", "values"))
def _factorise(objective: Any, unknowns: Unknowns, coefficients: Coefficients, batch: Batch, values: int) -> tuple[Any, ...]:
    k = ravel_pytree(unknowns["coefficients"])[0].size

    def part(name):
        alone = Batch(*({name: group[name]} if name in group else {} for group in batch))
        value, jacobian = objective.linearise(unknowns, coefficients, alone)
        return jnp.sqrt(float(values)) * value, jnp.roll(jnp.sqrt(float(values)) * jacobian, -k, axis=1)

    gap, influence = part("data")
    rows = [influence] + ([part("equation")[1]] if "equation" in batch.points else [])
    matrix = jnp.concatenate(rows)
    scale = jnp.linalg.norm(matrix, axis=0)
    scale = jnp.where(scale > 0, scale, 1.0)
    size = matrix.shape[1]
    # Damping at round-off makes dependent features harmless; the coefficients are left out of it.
    floor = 10 * jnp.finfo(matrix.dtype).eps * jnp.sqrt(float(size)) * jnp.where(jnp.arange(size) < size - k, 1.0, 0.0)
    first, _ = triangle(_at_least(matrix / scale), jnp.zeros(max(len(matrix), size), matrix.dtype))
    factor, _ = triangle(jnp.concatenate([first, jnp.diag(floor)]), jnp.zeros(2 * size, matrix.dtype))
    safe = jnp.where(jnp.abs(jnp.diag(factor)) > 0, 0.0, 1.0)
    solved = jax.scipy.linalg.solve_triangular(factor + jnp.diag(safe), (influence / scale).T, trans=1)
    return factor, scale, jnp.sum(solved**2), jnp.mean(gap**2) * gap.size / values


def _at_least(matrix: Any) -> Any:
    """With rows of zeros where there are fewer than columns."""
    missing = max(matrix.shape[1] - matrix.shape[0], 0)
    return jnp.pad(matrix, ((0, missing), (0, 0)))
