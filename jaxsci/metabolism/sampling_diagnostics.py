r"""Have the chains converged? Effective sample size and R-hat, rank-normalised (Vehtari and others 2021).

On the host, in NumPy: nothing to compile, and of the last draws only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.stats
from scipy.special import ndtri


def effective_sample_size(draws: Any) -> np.ndarray:
    r"""How many independent draws tell as much of the bulk of a distribution as these do.

        ESS = C N / (1 + 2 sum_t rho_t),     rho_t = 1 - (W - mean_c gamma_c(t)) / var+

    over C split chains of N draws, whose values are replaced by normal scores of their ranks; W is the mean variance within
    chains, var+ that of all, gamma_c(t) the autocovariance. The sum ends by Geyer's initial monotone positive sequence.

    Args:
      draws: ``[chains, draws, ...]``; every entry of the trailing axes by itself. At least 4 draws a chain.
    Returns:
      ``[...]``; NaN where all draws are equal.
    Raises:
      ValueError: fewer than two axes or than four draws.
    Example:
      >>> import jax, jaxsci as js
      >>> draws = jax.random.normal(jax.random.key(0), (4, 250))
      >>> bool(abs(js.metabolism.effective_sample_size(draws) - 1000) < 150)
      True

    Source: Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021) Bayesian Analysis 16:667.
    """
    split, shape = _split(draws)
    return _ess(_scores(split)).reshape(shape)


def potential_scale_reduction(draws: Any) -> np.ndarray:
    r"""R-hat = sqrt(var+ / W): how much wider all chains together are than each of them; near 1 when they agree.

    Rank-normalised and split, the larger one of that of the values (the chains' places) and of their distances from the median
    (their widths). Below 1.01 is what the authors ask for.

    Args:
      draws: ``[chains, draws, ...]``; every entry of the trailing axes by itself. At least 4 draws a chain.
    Returns:
      ``[...]``; NaN where all draws are equal.
    Raises:
      ValueError: fewer than two axes or than four draws.
    Example:
      >>> import jax, numpy as np, jaxsci as js
      >>> draws = jax.random.normal(jax.random.key(0), (4, 250))
      >>> apart = draws + np.arange(4)[:, None]
      >>> print(f"{js.metabolism.potential_scale_reduction(draws):.2f} {js.metabolism.potential_scale_reduction(apart):.1f}")
      1.00 1.5

    Source: Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021) Bayesian Analysis 16:667.
    """
    split, shape = _split(draws)
    folded = np.abs(split - np.median(split, axis=(0, 1)))
    return np.maximum(_rhat(_scores(split)), _rhat(_scores(folded))).reshape(shape)


def _split(draws: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """The halves of each chain as chains, [2 chains, draws // 2, entries], and the shape of the entries."""
    draws = np.asarray(draws, float)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ValueError(f"draws are [chains, draws, ...] with at least 4 draws a chain, got the shape {list(draws.shape)}.")
    flat = draws.reshape(*draws.shape[:2], -1)
    half = draws.shape[1] // 2
    return np.concatenate([flat[:, :half], flat[:, -half:]]), draws.shape[2:]


def _scores(draws: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks among all draws of all chains; NaN where all draws are equal."""
    flat = draws.reshape(-1, draws.shape[-1])
    scores = ndtri((scipy.stats.rankdata(flat, axis=0) - 0.375) / (len(flat) + 0.25))
    return np.where(np.all(flat == flat[0], axis=0), np.nan, scores).reshape(draws.shape)


def _variances(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W, and var+ = (N - 1)/N W + the variance of the chains' means."""
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    return within, (n - 1) / n * within + draws.mean(axis=1).var(axis=0, ddof=1)


def _rhat(draws: np.ndarray) -> np.ndarray:
    within, both = _variances(draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(both / within)


def _ess(draws: np.ndarray) -> np.ndarray:
    chains, n = draws.shape[:2]
    length = scipy.fft.next_fast_len(2 * n, real=True)
    spectrum = scipy.fft.rfft(draws - draws.mean(axis=1, keepdims=True), length, axis=1)
    covariance = scipy.fft.irfft(np.abs(spectrum) ** 2, length, axis=1)[:, :n].mean(axis=0) / (n - 1)
    within, both = _variances(draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance) / both
    rho[0] = 1
    # Geyer: in a reversible chain the sums of neighbours are positive and fall.
    pairs = rho[: n - n % 2].reshape(n // 2, 2, -1).sum(axis=1)
    ends = np.logical_or.accumulate(~(pairs > 0), axis=0)
    pairs = np.minimum.accumulate(np.where(ends, 0, pairs), axis=0)
    # Of the first pair that does not count the first one may: it is what keeps antithetic chains from looking too good.
    last = np.take_along_axis(rho[: 2 * len(pairs) : 2], ends.argmax(axis=0)[None], axis=0)[0]
    time = 2 * pairs.sum(axis=0) - 1 + np.where(ends.any(axis=0), np.maximum(last, 0), 0)
    time = np.maximum(time, 1 / np.log10(chains * n))
    return np.where(np.isnan(both), np.nan, chains * n / time)
