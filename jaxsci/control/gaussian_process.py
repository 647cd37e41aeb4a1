r"""Gaussian-process regression, exact, small and differentiable: a model of dynamics that knows what it has not seen.

    k(x, x') = amplitude^2 exp(-|(x - x') / length|^2 / 2),      y = f(x) + noise e,  e ~ N(0, 1)
    mean(x*) = k*^T (K + noise^2 I)^-1 y,      variance(x*) = amplitude^2 - k*^T (K + noise^2 I)^-1 k*
    log p(y) = -y^T (K + noise^2 I)^-1 y / 2 - log|K + noise^2 I| / 2 - n log(2 pi) / 2

The mean of f beforehand is zero: far from the data a prediction returns to zero with the amplitude's uncertainty.

Reference: Rasmussen & Williams (2006), Gaussian Processes for Machine Learning, equations 2.23-2.30.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxsci._checks import is_traced, is_whole
from jaxsci._types import Key


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SquaredExponential:
    """What is supposed about a function before it is seen.

    Args:
      length: over which it changes, in the unit of the inputs; a number, or one for each axis of them.
      noise: standard deviation of what is added to it, in the unit of the targets.
      amplitude: standard deviation of the function itself, in the unit of the targets.
    """

    length: Any
    noise: Any
    amplitude: Any = 1.0

    def covariance(self, a: Any, b: Any) -> Float[Array, "a b"]:
        """k between inputs ``[a, axes]`` and ``[b, axes]``, without noise."""
        squared = jnp.sum(((a[:, None] - b[None]) / self.length) ** 2, axis=-1)
        return self.amplitude**2 * jnp.exp(-squared / 2)


class Regression(NamedTuple):
    """A process that has seen data. Over several kernels (`weighted`, `sampled`) every leaf has them as its leading axis.

    Attributes:
      kernel: the `SquaredExponential`.
      inputs: ``[n, axes]``.
      cholesky: the lower factor of K + noise^2 I.
      coefficients: (K + noise^2 I)^-1 y, ``[n]`` or ``[n, outputs]``.
      log_marginal_likelihood: log p(y), summed over the outputs, which share the kernel.
    """

    kernel: SquaredExponential
    inputs: Any
    cholesky: Any
    coefficients: Any
    log_marginal_likelihood: Any

    def predict(self, at: Any) -> tuple[Any, Any]:
        """Mean ``[m]`` or ``[m, outputs]`` and variance ``[m]`` of the function at inputs ``[m]`` or ``[m, axes]``. The variance
        of an observation there is larger by noise^2.

        Raises:
          ValueError: inputs of another number of axes.
        """
        at = _columns(at)
        if at.ndim != 2 or at.shape[1] != self.inputs.shape[1]:
            raise ValueError(
                f"predict: this process was given inputs of {self.inputs.shape[1]} axes, [m, {self.inputs.shape[1]}]; got "
                f"{list(at.shape)}."
            )
        cross = self.kernel.covariance(self.inputs, at)
        half = solve_triangular(self.cholesky, cross, lower=True)
        variance = self.kernel.amplitude**2 - jnp.sum(half**2, axis=0)
        return cross.T @ self.coefficients, jnp.maximum(variance, 0.0)


class ProcessPosterior(NamedTuple):
    """Processes of several kernels, and how much each is believed.

    Attributes:
      processes: a `Regression` whose leaves have the kernels as their leading axis.
      weights: their probabilities, ``[kernels]``.
    """

    processes: Regression
    weights: Any

    def mean_kernel(self) -> SquaredExponential:
        """The posterior mean of each hyper-parameter."""
        return jax.tree.map(lambda leaf: jnp.tensordot(self.weights, leaf, axes=1), self.processes.kernel)

    def predict(self, at: Any) -> tuple[Any, Any]:
        """Mean and variance of the function over all kernels, by the law of total variance."""
        means, variances = jax.vmap(lambda process: process.predict(at))(self.processes)
        mean = jnp.tensordot(self.weights, means, axes=1)
        spread = jnp.tensordot(self.weights, (means - mean) ** 2, axes=1)
        return mean, jnp.tensordot(self.weights, variances, axes=1) + spread


def regress(kernel: SquaredExponential, inputs: Any, targets: Any) -> Regression:
    """Condition a process on data.

    Args:
      kernel: a `SquaredExponential`.
      inputs: ``[n]`` or ``[n, axes]``.
      targets: ``[n]`` or ``[n, outputs]``.
    Raises:
      ValueError: data that are empty, not finite or not of one length; a hyper-parameter that is not positive.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> process = js.control.regress(js.control.SquaredExponential(1.0, 1e-3), jnp.array([0.0, 1.0]), jnp.array([0.0, 1.0]))
      >>> mean, variance = process.predict(jnp.array([1.0, 9.0]))
      >>> print(mean.round(3) + 0.0, variance.round(3) + 0.0)
      [1. 0.] [0. 1.]
    """
    inputs, targets = _columns(inputs), jnp.asarray(targets)
    _check_data(inputs, targets)
    for name in ("length", "noise", "amplitude"):
        value = getattr(kernel, name)
        if not is_traced(value) and not np.all(np.asarray(value) > 0):
            raise ValueError(
                f"regress: {name} must be positive, got {value}; for data without noise take a small one, 1e-6 say."
            )
    covariance = kernel.covariance(inputs, inputs)
    cholesky = jnp.linalg.cholesky(covariance + kernel.noise**2 * jnp.eye(len(inputs), dtype=covariance.dtype))
    half = solve_triangular(cholesky, targets, lower=True)
    coefficients = solve_triangular(cholesky.T, half, lower=False)
    outputs = 1 if targets.ndim == 1 else targets.shape[1]
    determinant = jnp.sum(jnp.log(jnp.diagonal(cholesky)))  # log|K + noise^2 I| / 2
    likelihood = -jnp.sum(half**2) / 2 - outputs * (determinant + len(inputs) * jnp.log(2 * jnp.pi) / 2)
    return Regression(kernel, inputs, cholesky, coefficients, likelihood)


def weighted(
    kernels: SquaredExponential,
    inputs: Any,
    targets: Any,
    log_prior: Callable[[SquaredExponential], Any] | None = None,
    *,
    cells: Any = 1.0,
    negligible: float = 1e-4,
) -> ProcessPosterior:
    """The posterior over hyper-parameters by a sum over a grid of kernels, w_i ~ p(y | kernel_i) p(kernel_i) cell_i.

    Args:
      kernels: a `SquaredExponential` whose leaves are all ``[kernels]``: the points of the grid (see `log_grid`).
      inputs, targets: as in `regress`.
      log_prior: the log density of one kernel; uniform by default.
      cells: the size of each point's cell in the coordinates in which the prior is a density, ``[kernels]`` or a number.
      negligible: points are left out that have, together, no more than this weight.
    Raises:
      ValueError: as `regress`; no point with a finite density. Not to be called inside jit: the data decide the shapes.
    """
    _check_data(_columns(inputs), jnp.asarray(targets))

    def density(kernel):
        prior = 0.0 if log_prior is None else log_prior(kernel)
        return regress(kernel, inputs, targets).log_marginal_likelihood + prior

    logs = np.asarray(jax.jit(jax.vmap(density))(kernels) + jnp.log(jnp.asarray(cells)))
    logs = np.where(np.isfinite(logs), logs, -np.inf)
    if not np.isfinite(logs.max()):
        raise ValueError("weighted: no kernel of the grid has a finite density; move the grid or change the prior.")
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    order = np.argsort(weights)[::-1]
    kept = order[: 1 + int(np.searchsorted(np.cumsum(weights[order]), 1 - negligible))]
    chosen = jax.tree.map(lambda leaf: jnp.asarray(leaf)[kept], kernels)
    processes = jax.jit(jax.vmap(lambda kernel: regress(kernel, inputs, targets)))(chosen)
    return ProcessPosterior(processes, jnp.asarray(weights[kept] / weights[kept].sum()))


def log_grid(lengths: tuple[float, float], noises: tuple[float, float], points: int = 40) -> SquaredExponential:
    """Kernels of amplitude 1 at all pairs of a length and a noise, both evenly spaced in their logarithms between two bounds."""
    length, noise = jnp.meshgrid(jnp.geomspace(*lengths, points), jnp.geomspace(*noises, points), indexing="ij")
    return SquaredExponential(length.ravel(), noise.ravel(), jnp.ones(points**2))


def sampled(kernels: SquaredExponential, inputs: Any, targets: Any) -> ProcessPosterior:
    """The posterior as equally weighted kernels, ``[kernels]``, that a sampler drew (`metropolis`)."""
    processes = jax.vmap(lambda kernel: regress(kernel, inputs, targets))(kernels)
    count = processes.log_marginal_likelihood.shape[0]
    return ProcessPosterior(processes, jnp.full(count, 1 / count, processes.log_marginal_likelihood.dtype))


class Samples(NamedTuple):
    """What `metropolis` drew: `draws`, their number as the leading axis of each leaf, and `accepted`, the share of proposals."""

    draws: Any
    accepted: Any


def metropolis(
    log_density: Callable[[Any], Any],
    start: Any,
    key: Key,
    *,
    steps: int = 10_000,
    burn: int = 2_000,
    every: int = 10,
    scale: Any = 0.1,
) -> Samples:
    """Random-walk Metropolis: draws from a density that is known up to a factor.

    Args:
      log_density: of a pytree of floating-point leaves; -inf where it is zero.
      start: where it begins, with a density.
      key: of the draws.
      steps, burn, every: proposals, of which the first are dropped and of the rest every so many is kept.
      scale: standard deviation of a proposal; a number or a pytree like `start`. An acceptance of 0.2 to 0.5 is good.
    Raises:
      ValueError: whole numbers that leave no draw.
    Reference: Metropolis et al. (1953), J. Chem. Phys. 21, 1087.
    """
    if not all(is_whole(value) for value in (steps, burn, every)) or every < 1 or burn < 0 or steps - burn < every:
        raise ValueError(f"metropolis: steps {steps}, burn {burn} and every {every} leave no draw.")
    start = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), start)
    leaves, structure = jax.tree.flatten(start)
    scales = jax.tree.leaves(scale)
    scales = scales * len(leaves) if len(scales) == 1 else scales

    def step(carry, i):
        here, density = carry
        *keys, choice = jax.random.split(jax.random.fold_in(key, i), len(leaves) + 1)
        moved = [x + s * jax.random.normal(k, x.shape, x.dtype) for x, s, k in zip(here, scales, keys, strict=True)]
        there = log_density(jax.tree.unflatten(structure, moved))
        taken = jnp.log(jax.random.uniform(choice, dtype=density.dtype)) < there - density
        here = [jnp.where(taken, a, b) for a, b in zip(moved, here, strict=True)]
        return (here, jnp.where(taken, there, density)), (here, taken)

    carry = (leaves, log_density(start))
    _, (path, taken) = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps)))(carry)
    return Samples(jax.tree.unflatten(structure, [leaf[burn::every] for leaf in path]), taken[burn:].mean())


def process_dynamics(
    features: Callable[[Any, Any], Any], *, draw: bool = True, low: Any = None, high: Any = None
) -> Callable[..., Any]:
    """Dynamics of a `Task` whose parameters are a `Regression` or a `ProcessPosterior`: the next state is a prediction.

    Every step draws anew from the predictive distribution of one step, noise included (and of the kernels); draws of different
    steps do not belong to one function.

    Args:
      features: ``(state, action) -> inputs`` of the process, a scalar or ``[axes]``.
      draw: draw from the predictive distribution, by a ``key``; otherwise its mean, without a key.
      low, high: bounds that the next state is clipped to.
    """

    def predicted(process, state, action):
        mean, variance = process.predict(jnp.asarray(features(state, action))[None])
        return mean[0], variance[0]

    def mean(p, state, action):
        return jnp.clip(predicted(p, state, action)[0], low, high)

    def sample(p, state, action, *, key):
        if isinstance(p, ProcessPosterior):
            key, choice = jax.random.split(key)
            chosen = jax.random.categorical(choice, jnp.log(p.weights))
            p = jax.tree.map(lambda leaf: leaf[chosen], p.processes)
        middle, variance = predicted(p, state, action)
        deviation = jnp.sqrt(variance + p.kernel.noise**2)
        return jnp.clip(middle + deviation * jax.random.normal(key, middle.shape, middle.dtype), low, high)

    return sample if draw else mean


def _columns(inputs: Any) -> Any:
    inputs = jnp.asarray(inputs)
    return inputs[:, None] if inputs.ndim == 1 else inputs


def _check_data(inputs: Any, targets: Any) -> None:
    if inputs.ndim != 2 or targets.ndim not in (1, 2) or len(inputs) != len(targets) or not len(inputs):
        raise ValueError(
            "regress: inputs are [n] or [n, axes] and targets [n] or [n, outputs] of the same n >= 1; got "
            f"{list(inputs.shape)} and {list(targets.shape)}."
        )
    if not is_traced((inputs, targets)) and not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
        raise ValueError("regress: the data hold NaN or infinity; leave those rows out.")
