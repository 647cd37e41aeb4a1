r"""Expected information gain: what an experiment is worth before it is made, and which to make.

The gain of a design xi is the mutual information of parameters and data,

    EIG(xi) = E_{theta, y | xi} [ log p(y | theta, xi) - log p(y | xi) ]        in nats.

For y = Phi theta + e with theta ~ N(m, Sigma), e ~ N(0, s^2 I) it is closed: EIG = 1/2 log det(I + Phi Sigma Phi^T / s^2), the
same for every y, so that an adaptive policy gains nothing over a design made beforehand. Elsewhere it is estimated.

As a function of the SET of measurements the gain is monotone and submodular where measurements are independent given theta: the
greedy design has at least (1 - 1/e) of the best gain of its size.

References: Lindley (1956), Ann. Math. Stat. 27, 986; Chaloner & Verdinelli (1995), Stat. Sci. 10, 273; Nemhauser, Wolsey & Fisher
(1978), Math. Program. 14, 265; Krause & Guestrin (2005), UAI; Rainforth et al. (2018), ICML (nested estimates); Foster et al.
(2020), AISTATS (the contrastive bound).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.control.checks import check_range


def linear_gaussian_information(
    design: Float[Array, "measurements parameters"], covariance: Float[Array, "parameters parameters"], noise: Any
) -> Float[Array, ""]:
    """1/2 log det(I + Phi Sigma Phi^T / s^2), in nats; differentiable in everything.

    Args:
      design: Phi, a row for each measurement.
      covariance: Sigma, of the parameters before.
      noise: s, the standard deviation of a measurement's error: a number, or one for each measurement.
    Raises:
      ValueError: shapes that do not fit, a noise that is not above 0.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> twice = js.control.linear_gaussian_information(jnp.ones((2, 1)), jnp.eye(1), 1.0)
      >>> print(f"{twice:.4f}")  # log(3) / 2
      0.5493
    """
    _check("linear_gaussian_information", "design", design, covariance, noise)
    scaled = design / (jnp.asarray(noise)[:, None] if jnp.ndim(noise) else noise)
    if scaled.shape[0] <= scaled.shape[1]:
        matrix = scaled @ covariance @ scaled.T
    else:
        # The smaller determinant of the two that are equal, det(I + A B) = det(I + B A), and symmetric.
        root = _root(covariance)
        matrix = root.T @ (scaled.T @ scaled) @ root
    factor = jnp.linalg.cholesky(jnp.eye(matrix.shape[0], dtype=matrix.dtype) + (matrix + matrix.T) / 2)
    return jnp.sum(jnp.log(jnp.diagonal(factor)))


def linear_gaussian_posterior(
    design: Float[Array, "measurements parameters"], covariance: Float[Array, "parameters parameters"], noise: Any
) -> Float[Array, "parameters parameters"]:
    """The covariance of the parameters after the measurements: Sigma - Sigma Phi^T (Phi Sigma Phi^T + s^2 I)^-1 Phi Sigma.

    Args and errors: of `linear_gaussian_information`.
    """
    _check("linear_gaussian_posterior", "design", design, covariance, noise)
    spread = covariance @ design.T
    total = design @ spread + jnp.diag(jnp.broadcast_to(jnp.asarray(noise, design.dtype) ** 2, design.shape[:1]))
    after = covariance - spread @ jnp.linalg.solve(total, spread.T)
    return (after + after.T) / 2


class GreedyDesign(NamedTuple):
    """Which measurements, in the order of choice, the gain after each (nats), and the parameters' covariance at the end."""

    chosen: Int[Array, " count"]
    information: Float[Array, " count"]
    covariance: Float[Array, "parameters parameters"]


def greedy_design(
    candidates: Float[Array, "candidates parameters"],
    covariance: Float[Array, "parameters parameters"],
    noise: Any,
    count: int,
    *,
    repeated: bool = False,
) -> GreedyDesign:
    """Choose measurements one after another, each the most informative given those before.

    The gain of one more, phi, is 1/2 log(1 + phi^T Sigma' phi / s^2) with the covariance Sigma' so far: O(candidates
    parameters^2) a choice. At least 1 - 1/e = 0.632 of the best gain of `count` measurements; of repeated ones too.

    Args:
      candidates: a row Phi for each measurement that could be made.
      covariance: Sigma, of the parameters before.
      noise: s, a number or one for each candidate.
      count: how many to choose.
      repeated: whether a measurement may be made more than once.
    Raises:
      ValueError: more measurements than candidates, where none may be repeated; shapes that do not fit, a noise that is not
        above 0.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> design = js.control.greedy_design(jnp.array([[1.0, 0.0], [0.9, 0.0], [0.0, 0.5]]), jnp.eye(2), 0.1, count=2)
      >>> print(design.chosen)
      [0 2]
    """
    _check("greedy_design", "candidates", candidates, covariance, noise)
    if not is_whole(count) or count < 1 or (not repeated and count > candidates.shape[0]):
        raise ValueError(
            f"greedy_design: count is a whole number from 1 to {candidates.shape[0]} (candidates), got {count!r}."
        )
    variance = jnp.broadcast_to(jnp.asarray(noise, candidates.dtype) ** 2, candidates.shape[:1])

    def choose(carry, _):
        covariance, free, total = carry
        spread = candidates @ covariance
        signal = jnp.sum(spread * candidates, axis=1) / variance
        best = jnp.argmax(jnp.where(free, signal, -jnp.inf))
        row = spread[best]
        covariance = covariance - jnp.outer(row, row) / (variance[best] * (1 + signal[best]))
        total = total + 0.5 * jnp.log1p(signal[best])
        free = free if repeated else free.at[best].set(False)
        return (covariance, free, total), (best, total)

    start = (covariance, jnp.ones(candidates.shape[0], bool), jnp.zeros((), candidates.dtype))
    (covariance, _, _), (chosen, information) = jax.lax.scan(choose, start, length=count)
    return GreedyDesign(chosen, information, covariance)


class InformationEstimate(NamedTuple):
    """An estimate in nats, and its standard error over the outer draws (the bias of the inner mean is not in it)."""

    value: Float[Array, ""]
    standard_error: Float[Array, ""]


def nested_information(
    key: Key,
    design: Any,
    prior: Callable[..., Any],
    measure: Callable[..., Any],
    log_likelihood: Callable[..., Any],
    *,
    outer: int = 1000,
    inner: int = 1000,
    contrastive: bool = False,
) -> InformationEstimate:
    r"""The expected information gain of any model that can be simulated and whose likelihood is known, by nested Monte Carlo.

        EIG ~ 1/N sum_n [ log p(y_n | theta_n0) - log (1/M sum_m p(y_n | theta_nm)) ]

    With fresh theta_nm the mean is too large by O(1/M). With ``contrastive=True`` theta_n0 is one of the M: then it is too small
    whatever M is, and at most log M: a bound to maximise. Differentiable in the design where `measure` draws its noise apart from
    the design (y = g(theta, design) + noise).

    Args:
      key: of the draws.
      design: any pytree.
      prior: ``(key=) -> theta``.
      measure: ``(theta, design, key=) -> y``, one draw of the data.
      log_likelihood: ``(y, theta, design) -> log p(y | theta, design)``.
      outer, inner: N and M.
    Raises:
      ValueError: fewer than two outer draws or no inner ones.
    """
    if not is_whole(outer) or not is_whole(inner) or outer < 2 or inner < 1:
        raise ValueError(f"nested_information: outer >= 2 and inner >= 1 are whole numbers, got {outer!r} and {inner!r}.")

    def one(key):
        own, noise, others = jax.random.split(key, 3)
        theta = prior(key=own)
        y = measure(theta, design, key=noise)
        given = log_likelihood(y, theta, design)
        fresh = inner - 1 if contrastive else inner

        def of(key):
            return log_likelihood(y, prior(key=key), design)

        logs = jax.vmap(of)(jax.random.split(others, fresh))
        logs = jnp.concatenate([logs, given[None]]) if contrastive else logs
        return given - (jax.nn.logsumexp(logs) - jnp.log(inner))

    gains = jax.lax.map(one, jax.random.split(key, outer), batch_size=min(outer, 256))
    return InformationEstimate(jnp.mean(gains), jnp.std(gains, ddof=1) / jnp.sqrt(outer))


def _check(who: str, what: str, design: Any, covariance: Any, noise: Any) -> None:
    """Shapes, and a noise above 0."""
    if jnp.ndim(design) != 2 or jnp.shape(covariance) != (jnp.shape(design)[1],) * 2:
        raise ValueError(
            f"{who}: {what} is [measurements, parameters] and covariance [parameters, parameters]; got {jnp.shape(design)} and "
            f"{jnp.shape(covariance)}."
        )
    if jnp.ndim(noise) and jnp.shape(noise) != jnp.shape(design)[:1]:
        raise ValueError(f"{who}: noise is a number or [{jnp.shape(design)[0]}], got {jnp.shape(noise)}.")
    check_range(who, 0, np.inf, open_low=True, noise=noise)


def _root(covariance: Any) -> Any:
    """L with L L^T = Sigma."""
    return jnp.linalg.cholesky((covariance + covariance.T) / 2)
