"""Whether a stated uncertainty is the error that is made: scores and reliability of ensembles and of Gaussian predictions.

Ensembles are ``[members, *rest]`` against a truth ``[*rest]``. The functions are pure and keep the precision of what comes in; a
member that is not finite makes the scores infinite.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_real, is_traced, is_whole, unknown_name
from jaxsci.compare.field_errors import ratio, root

CRPSDefinition = Literal["fair", "energy"]


class PIT(NamedTuple):
    """The probability integral transform of the truth: the interval over which it is spread, ``[*rest]`` each.

    Of a continuous forecast it is a number, low = high. Of m exchangeable members the truth has one of m + 1 ranks alike, and
    its transform is uniform over [rank / (m + 1), (rank + 1) / (m + 1)]: nothing is drawn, what follows is exact in the mean.
    """

    low: Float[Array, "*rest"]
    high: Float[Array, "*rest"]


def crps(
    ensemble: ArrayLike, truth: ArrayLike, *, definition: CRPSDefinition = "fair", average: bool = True
) -> Float[Array, "..."]:
    """The continuous ranked probability score of an ensemble of m members x_i, in the unit of the fields, lower is better:

        mean_i |x_i - y| - s sum_ij |x_i - x_j|

    - ``"fair"``: s = 1 / (2 m (m - 1)): in the mean that of the distribution from which the members come, whatever m; it
      may be negative for a single truth (Ferro 2014).
    - ``"energy"``: s = 1 / (2 m^2): the score of the step function of the members, int (F(x) - 1[x >= y])^2 dx; it favours
      small ensembles that are too narrow.

    Of one member "energy" is the absolute error, and "fair" has no meaning.

    Args:
      ensemble: ``[members, *rest]``.
      truth: ``[*rest]``.
      definition: one of these.
      average: whether to return the mean over `rest`, or ``[*rest]``.
    Raises:
      ValueError: shapes that do not fit, an unknown definition, or a single member for "fair".
    Reference: Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, 359, eq. 21; Ferro (2014), Q. J. R. Meteorol. Soc. 140, 1917.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.calibration import crps
      >>> members = jnp.array([0.0, 1.0, 3.0])  # mean |x - 1| = 1, sum_ij |x_i - x_j| = 12
      >>> [f"{crps(members, jnp.array(1.0), definition=d):.4f}" for d in ("fair", "energy")]
      ['0.0000', '0.3333']
    """
    if definition not in get_args(CRPSDefinition):
        raise ValueError(f"crps: {unknown_name('definition', definition, get_args(CRPSDefinition))}")
    x, y = _ensemble("crps", ensemble, truth, 1 + (definition == "fair"))
    m = len(x)
    ranks = jnp.arange(1 - m, m, 2, dtype=x.dtype).reshape(
        -1, *[1] * y.ndim
    )  # sum_ij |x_i - x_j| = 2 sum_i (2 i - m - 1) x_(i)
    pairs = 2 * jnp.sum(ranks * jnp.sort(x, axis=0), axis=0)
    score = jnp.mean(jnp.abs(x - y), axis=0) - pairs / (2 * m * (m - 1 if definition == "fair" else m))
    score = jnp.where(jnp.isfinite(x).all(axis=0), score, jnp.inf)
    return jnp.mean(score) if average else score


def gaussian_crps(mean: ArrayLike, deviation: ArrayLike, truth: ArrayLike, *, average: bool = True) -> Float[Array, "..."]:
    """The continuous ranked probability score of a normal distribution, with z = (y - mean) / sigma:

        sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))

    Args:
      mean, truth: ``[*rest]``.
      deviation: sigma >= 0, of a shape that broadcasts; where it is 0 the score is the absolute error.
      average: whether to return the mean, or ``[*rest]``.
    Raises:
      ValueError: shapes that do not fit.
    Reference: Gneiting & Raftery (2007), J. Am. Stat. Assoc. 102, 359, section 4.2.
    Example:
      >>> from jaxsci.compare.calibration import gaussian_crps
      >>> print(f"{gaussian_crps(0.0, 1.0, 0.0):.4f} {gaussian_crps(0.0, 0.0, -2.0):.4f}")
      0.2337 2.0000
    """
    mean, deviation, y = _gaussian("gaussian_crps", mean, deviation, truth)
    sharp = deviation == 0
    sigma = jnp.where(sharp, 1, deviation)
    z = (y - mean) / sigma
    density, below = jnp.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), jax.scipy.stats.norm.cdf(z)
    score = jnp.where(sharp, jnp.abs(y - mean), sigma * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)))
    score = jnp.where(jnp.isfinite(mean) & jnp.isfinite(deviation), score, jnp.inf)
    return jnp.mean(score) if average else score


def spread_skill(ensemble: ArrayLike, truth: ArrayLike) -> Float[Array, ""]:
    """The spread of an ensemble of m members over the error of its mean; 1 where it is calibrated, below 1 overconfident:

        ( (m + 1) / m  mean (sum_i (x_i - xbar)^2 / (m - 1)) )^(1/2) / ( mean (xbar - y)^2 )^(1/2)

    with means over everything but the members. The factor (m + 1) / m is what makes it 1 for few members too. Of a Gaussian
    prediction it is the same with the variance in place of the spread, without the factor: root(mean sigma^2) / RMSE.

    Args:
      ensemble: ``[members, *rest]``, at least two.
      truth: ``[*rest]``.
    Raises:
      ValueError: shapes that do not fit, or a single member.
    Reference: Fortin, Abaza, Anctil & Turcotte (2014), J. Hydrometeorol. 15, 1708, eq. 15.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.calibration import spread_skill
      >>> print(f"{spread_skill(jnp.array([0.0, 2.0]), jnp.array(2.0)):.4f}")  # variance 2, error of the mean 1
      1.7321
    """
    x, y = _ensemble("spread_skill", ensemble, truth, 2)
    m = len(x)
    spread = root((m + 1) / m * jnp.mean(jnp.var(x, axis=0, ddof=1)))
    return ratio(spread, root(jnp.mean((jnp.mean(x, axis=0) - y) ** 2)))


def ensemble_pit(ensemble: ArrayLike, truth: ArrayLike) -> PIT:
    """The `PIT` of a truth ``[*rest]`` in an ensemble ``[members, *rest]``; members that equal it widen the interval.

    NaN where a member or the truth is not a number.

    Raises:
      ValueError: shapes that do not fit.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.calibration import ensemble_pit
      >>> pit = ensemble_pit(jnp.array([1.0, 2.0, 3.0]), jnp.array(1.5))
      >>> float(pit.low), float(pit.high)
      (0.25, 0.5)
    """
    x, y = _ensemble("ensemble_pit", ensemble, truth, 1)
    known = ~(jnp.isnan(x).any(axis=0) | jnp.isnan(y))
    below, upto = jnp.sum(x < y, axis=0), jnp.sum(x <= y, axis=0)
    at = lambda count: jnp.where(known, count / (len(x) + 1), jnp.nan).astype(x.dtype)  # noqa: E731
    return PIT(at(below), at(upto + 1))


def gaussian_pit(mean: ArrayLike, deviation: ArrayLike, truth: ArrayLike) -> PIT:
    """The `PIT` of a truth under a normal distribution, Phi((y - mean) / sigma); shapes as of `gaussian_crps`.

    Where sigma is 0 it is 0 or 1, and NaN where the truth is met.

    Example:
      >>> from jaxsci.compare.calibration import gaussian_pit
      >>> print(f"{gaussian_pit(0.0, 2.0, 2.0).low:.4f}")
      0.8413
    """
    mean, deviation, y = _gaussian("gaussian_pit", mean, deviation, truth)
    value = jax.scipy.stats.norm.cdf((y - mean) / deviation)
    return PIT(value, value)


def coverage(pit: PIT, levels: ArrayLike) -> Float[Array, "..."]:
    """The share of truths within the central intervals that are meant to hold the shares `levels`: equal where calibrated.

    Args:
      pit: from `ensemble_pit` or `gaussian_pit`.
      levels: between 0 and 1, any shape.
    Returns:
      The shape of the levels. Below the level the prediction is overconfident.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.calibration import coverage, gaussian_pit
      >>> pit = gaussian_pit(jnp.zeros(4), 1.0, jnp.array([0.1, -0.5, 1.5, -3.0]))
      >>> [f"{share:.2f}" for share in coverage(pit, jnp.array([0.5, 0.9]))]
      ['0.50', '0.75']
    """
    levels = _levels("coverage", levels)
    return _share_below(pit, (1 + levels) / 2) - _share_below(pit, (1 - levels) / 2)


def pit_histogram(pit: PIT, bins: int = 10) -> Float[Array, " bins"]:
    """The share of the transforms in each of equal bins of [0, 1]: flat where calibrated, a U where overconfident.

    With members + 1 bins it is the rank histogram of an ensemble.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.calibration import ensemble_pit, pit_histogram
      >>> members = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0])[:, None], (3, 2))
      >>> [f"{share:.2f}" for share in pit_histogram(ensemble_pit(members, jnp.array([0.0, 2.5])), bins=4)]
      ['0.50', '0.00', '0.50', '0.00']
    """
    if not is_whole(bins) or bins < 1:
        raise ValueError(f"pit_histogram: bins must be a whole number >= 1, got {bins!r}.")
    below = _share_below(pit, jnp.arange(1, bins, dtype=pit.low.dtype) / bins)
    known = jnp.where(jnp.isnan(pit.low).any(), jnp.nan, 1.0).astype(below.dtype)
    return jnp.diff(jnp.concatenate([jnp.zeros(1, below.dtype), below, known[None]]))


def expected_calibration_error(pit: PIT, levels: ArrayLike | None = None) -> Float[Array, ""]:
    """The mean over levels p of |share of truths below the predicted quantile of p - p|: 0 where calibrated, at most 1/2.

    Args:
      pit: from `ensemble_pit` or `gaussian_pit`.
      levels: 0.05, 0.1, ... 0.95 by default.
    Reference: Kuleshov, Fenner & Ermon (2018), ICML, eq. 9, with the absolute value in place of its square.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.calibration import expected_calibration_error, gaussian_pit
      >>> truth = jnp.linspace(-2, 2, 101)
      >>> print(f"{expected_calibration_error(gaussian_pit(truth, 1.0, truth)):.4f}")  # all at their medians
      0.2632
    """
    levels = jnp.arange(1, 20, dtype=pit.low.dtype) / 20 if levels is None else _levels("expected_calibration_error", levels)
    return jnp.mean(jnp.abs(_share_below(pit, levels) - levels))


def _share_below(pit: PIT, levels: jax.Array) -> jax.Array:
    """The mean share of each transform's interval below each level; NaN where a transform is."""
    low, high = jnp.ravel(pit.low), jnp.ravel(pit.high)
    width = high - low

    def share(level):
        inside = jnp.clip((level - low) / jnp.where(width > 0, width, 1), 0, 1)
        return jnp.mean(jnp.where(jnp.isnan(low), low, jnp.where(width > 0, inside, low <= level)))

    return jax.vmap(share)(jnp.ravel(levels)).reshape(jnp.shape(levels))


def _levels(what: str, levels: ArrayLike) -> jax.Array:
    array = jnp.asarray(levels, jnp.result_type(float))
    if not is_traced(array) and not bool(((array >= 0) & (array <= 1)).all()):
        raise ValueError(f"{what}: levels must be between 0 and 1, got {levels}.")
    return array


def _ensemble(what: str, ensemble: ArrayLike, truth: ArrayLike, least: int) -> tuple[jax.Array, jax.Array]:
    x, y = (jnp.asarray(a) * 1.0 for a in (ensemble, truth))
    for name, array in (("ensemble", x), ("truth", y)):
        check_real(f"{what}: {name}", array)
    if x.ndim != y.ndim + 1 or x.shape[1:] != y.shape:
        raise ValueError(f"{what}: the ensemble must be [members, *rest] for a truth [*rest], got {x.shape} and {y.shape}.")
    if len(x) < least:
        raise ValueError(f"{what}: needs at least {least} members, got {len(x)}.")
    return x, y


def _gaussian(what: str, mean: ArrayLike, deviation: ArrayLike, truth: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
    arrays = [jnp.asarray(a) * 1.0 for a in (mean, deviation, truth)]
    for name, array in zip(("mean", "deviation", "truth"), arrays, strict=True):
        check_real(f"{what}: {name}", array)
    centre, sigma, y = arrays
    if centre.shape != y.shape:
        raise ValueError(f"{what}: mean and truth must have one shape, got {centre.shape} and {y.shape}.")
    try:
        sigma = jnp.broadcast_to(sigma, y.shape)
    except ValueError:
        raise ValueError(f"{what}: the deviation must broadcast to {y.shape}, got shape {sigma.shape}.") from None
    return centre, sigma, y
