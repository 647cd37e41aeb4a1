"""Errors of fields on a grid, each with the definition of whoever reports it: the same word stands for different numbers.

Arrays are ``[*batch, channels, *space]``; `space` is the number of spatial axes. The functions are pure: jit, vmap and grad go
through them, in the precision of what comes in. Where the prediction holds a number that is not finite the error is infinite:
a rollout that blew up is the worst, and an average over samples with one of them says so. NaN in the truth stays NaN.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_real, is_whole, unknown_name

NRMSEDefinition = Literal["apebench", "exponax", "pdebench", "well"]


def check_fields(
    what: str, prediction: ArrayLike, truth: ArrayLike, space: int, extra: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Both as arrays of one shape and floating dtype, with at least `extra` axes before the spatial ones.

    Raises:
      ValueError: shapes that differ, or too few axes.
      TypeError: not real numbers.
    """
    a, b = (as_fields(what, name, x, space, extra) for name, x in (("prediction", prediction), ("truth", truth)))
    if a.shape != b.shape:
        raise ValueError(f"{what}: prediction and truth must have one shape, got {a.shape} and {b.shape}.")
    return a, b


def as_fields(what: str, name: str, fields: ArrayLike, space: int, extra: int = 1) -> jax.Array:
    """The fields as an array of floating dtype, with at least `extra` axes before the spatial ones.

    Raises:
      ValueError: too few axes, or none of them spatial.
      TypeError: not real numbers.
    """
    array = jnp.asarray(fields)
    if jnp.issubdtype(array.dtype, jnp.integer):
        array = array.astype(jnp.result_type(float))
    check_real(f"{what}: {name}", array)
    if not is_whole(space) or space < 1:
        raise ValueError(f"{what}: space is the number of spatial axes, a whole number >= 1; got {space!r}.")
    if array.ndim < space + extra:
        axes = {1: "[*batch, channels, *space]", 2: "[*batch, saves, channels, *space]"}[extra]
        raise ValueError(
            f"{what}: {name} must be {axes} with {space} spatial {'axis' if space == 1 else 'axes'}, "
            f"at least {space + extra} axes; got shape {array.shape}."
        )
    if 0 in array.shape:
        raise ValueError(f"{what}: {name} is empty, shape {array.shape}.")
    return array


def root(square: Any) -> jax.Array:
    """The square root, with a gradient of zero where it is zero: an exact prediction is at a minimum."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), jnp.where(square == 0, 0, jnp.nan))


def ratio(error: Any, size: Any) -> jax.Array:
    """error / size; zero where both are zero."""
    nothing = (error == 0) & (size == 0)
    return jnp.where(nothing, 0, error / jnp.where(nothing, 1, size))


def worst_where_bad(error: Any, prediction: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The error, infinite where the prediction is not finite somewhere over the axes."""
    return jnp.where(jnp.isfinite(prediction).all(axis=axes), error, jnp.inf)


def _over(space: int, channels: bool = False) -> tuple[int, ...]:
    return tuple(range(-space - channels, 0))


def rmse(prediction: ArrayLike, truth: ArrayLike, *, space: int, average: bool = True) -> Float[Array, "..."]:
    """The root mean square error, sqrt(mean_x e^2), of each sample and channel.

    Args:
      prediction, truth: ``[*batch, channels, *space]``.
      space: how many of the last axes are space.
      average: whether to return the mean over samples and channels, or ``[*batch, channels]``.
    Returns:
      In the unit of the fields. PDEBench's RMSE and The Well's; it is not the root of the mean over samples.
    Raises:
      ValueError: shapes that differ, or too few axes.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import rmse
      >>> float(rmse(jnp.array([[3.0, 0.0, 4.0, 0.0]]), jnp.zeros((1, 4)), space=1))
      2.5
    """
    a, b = check_fields("rmse", prediction, truth, space)
    over = _over(space)
    error = worst_where_bad(root(jnp.mean((a - b) ** 2, axis=over)), a, over)
    return jnp.mean(error) if average else error


def mae(prediction: ArrayLike, truth: ArrayLike, *, space: int, average: bool = True) -> Float[Array, "..."]:
    """The mean absolute error, mean_x |e|, of each sample and channel; arguments and result as of `rmse`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import mae
      >>> float(mae(jnp.array([[3.0, 0.0, -4.0, 0.0]]), jnp.zeros((1, 4)), space=1))
      1.75
    """
    a, b = check_fields("mae", prediction, truth, space)
    over = _over(space)
    error = worst_where_bad(jnp.mean(jnp.abs(a - b), axis=over), a, over)
    return jnp.mean(error) if average else error


def maximum_error(prediction: ArrayLike, truth: ArrayLike, *, space: int, average: bool = False) -> Float[Array, "..."]:
    """The largest absolute error: max |e| over samples, channels and space.

    PDEBench's maximum is over the samples of a batch too, and is then averaged over channels and times: it grows with the
    number of samples. Take it per channel and time with ``average=False`` on slices for that.

    Args:
      prediction, truth: ``[*batch, channels, *space]``.
      space: how many of the last axes are space.
      average: whether to return the mean over samples and channels of max_x |e| instead.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import maximum_error
      >>> a = jnp.array([[1.0, -2.0], [0.5, 0.0]])
      >>> [float(maximum_error(a, 0 * a, space=1, average=average)) for average in (False, True)]
      [2.0, 1.25]
    """
    a, b = check_fields("maximum_error", prediction, truth, space)
    over = _over(space)
    error = worst_where_bad(jnp.max(jnp.abs(a - b), axis=over), a, over)
    return jnp.mean(error) if average else jnp.max(error)


def nrmse(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    space: int,
    definition: NRMSEDefinition = "apebench",
    average: bool = True,
    eps: float = 1e-7,
) -> Float[Array, "..."]:
    """The normalised root mean square error, with e = prediction - truth and y = truth:

    - ``"apebench"``: |e|_2 / |y|_2 of each sample over channels and space together, then the mean over samples (a mean of
      ratios, no ratio of means): APEBench (Koehler et al. 2024) with the version of its metrics with which it was published.
      It is also the relative L2 error of Li et al. (2021).
    - ``"exponax"``: the sum over channels of |e_c|_2 / |y_c|_2, then the mean over samples: what the same function of those
      metrics does since their version 0.2. Equal for one channel; C times as large for C channels that are alike.
    - ``"pdebench"``: sqrt(mean_x e_c^2) / sqrt(mean_x y_c^2) of each sample, channel and time, then the mean over all of them:
      PDEBench (Takamoto et al. 2022).
    - ``"well"``: sqrt(mean_x e_c^2 / (mean_x y_c^2 + eps)) of each sample, time and field, then the mean: The Well (Ohana et
      al. 2024). It differs from PDEBench's where a field is small, of the order of sqrt(eps).

    A channel that is zero in the truth makes "exponax" and "pdebench" infinite (zero where the prediction is zero, too).

    Args:
      prediction, truth: ``[*batch, channels, *space]``; saves are part of the batch.
      space: how many of the last axes are space.
      definition: one of these.
      average: whether to return the mean over everything, or one number per sample, ``[*batch]``; ``[*batch, channels]`` for
        "pdebench" and "well".
      eps: of "well", in the squared unit of the fields.
    Raises:
      ValueError: shapes that differ, too few axes, or an unknown definition.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import nrmse
      >>> truth = jnp.stack([jnp.full(8, 4.0), jnp.full(8, 3.0)])  # two channels
      >>> prediction = truth + jnp.array([[1.0], [0.0]])
      >>> [f"{nrmse(prediction, truth, space=1, definition=d):.4f}" for d in ("apebench", "exponax", "pdebench", "well")]
      ['0.2000', '0.2500', '0.1250', '0.1250']
    """
    if definition not in get_args(NRMSEDefinition):
        raise ValueError(f"nrmse: {unknown_name('definition', definition, get_args(NRMSEDefinition))}")
    a, b = check_fields("nrmse", prediction, truth, space)
    over = _over(space, channels=definition == "apebench")
    error, size = jnp.mean((a - b) ** 2, axis=over), jnp.mean(b**2, axis=over)
    value = root(error / (size + eps)) if definition == "well" else ratio(root(error), root(size))
    value = worst_where_bad(value, a, over)
    if definition == "exponax":
        value = jnp.sum(value, axis=-1)
    return jnp.mean(value) if average else value


def vrmse(
    prediction: ArrayLike, truth: ArrayLike, *, space: int, average: bool = True, eps: float = 1e-7
) -> Float[Array, "..."]:
    """The variance-scaled root mean square error of The Well, sqrt(mean_x e^2 / (var_x y + eps)): 1 is to predict the mean.

    The variance is mean_x (y - mean_x y)^2, as in the paper's formula. The program that comes with the data divides by one
    point less, which makes its figures smaller by the factor sqrt(1 - 1/N) on N points, and left eps out for some time.

    Args:
      prediction, truth: ``[*batch, channels, *space]``; saves are part of the batch.
      space: how many of the last axes are space.
      average: whether to return the mean over samples, times and fields, or ``[*batch, channels]``.
      eps: in the squared unit of the fields.
    Raises:
      ValueError: shapes that differ, or too few axes.
    Reference: Ohana et al. (2024), The Well, arXiv:2412.00568, appendix on metrics.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import nrmse, vrmse
      >>> truth = 10 + jnp.sin(jnp.arange(16) * jnp.pi / 8)[None]
      >>> mean = jnp.full((1, 16), 10.0)
      >>> print(f"{vrmse(mean, truth, space=1):.3f} {nrmse(mean, truth, space=1):.3f}")
      1.000 0.071
    """
    a, b = check_fields("vrmse", prediction, truth, space)
    over = _over(space)
    value = root(jnp.mean((a - b) ** 2, axis=over) / (jnp.var(b, axis=over) + eps))
    value = worst_where_bad(value, a, over)
    return jnp.mean(value) if average else value


def scaled_l2(prediction: ArrayLike, truth: ArrayLike, *, average: bool = True) -> Float[Array, "..."]:
    """PDEArena's scaled L2 loss, |e|_2 / |y|_2 of each sample over times, channels and space together.

    Late times of a field that grows weigh more than in the mean of `nrmse` over times.

    Args:
      prediction, truth: ``[samples, ...]``: everything after the first axis is flattened.
      average: whether to return the mean over samples, or ``[samples]``.
    Raises:
      ValueError: shapes that differ, or a single axis.
    Reference: Gupta & Brandstetter (2023), Transactions on Machine Learning Research, arXiv:2209.15616.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import nrmse, scaled_l2
      >>> truth = jnp.array([1.0, 3.0])[None, :, None, None] * jnp.ones((1, 2, 1, 8))  # one sample, two times
      >>> prediction = truth.at[:, 1].add(1)
      >>> print(f"{scaled_l2(prediction, truth):.4f} {nrmse(prediction, truth, space=1):.4f}")
      0.3162 0.1667
    """
    a, b = check_fields("scaled_l2", prediction, truth, 1)
    over = tuple(range(1, a.ndim))
    value = worst_where_bad(ratio(root(jnp.sum((a - b) ** 2, axis=over)), root(jnp.sum(b**2, axis=over))), a, over)
    return jnp.mean(value) if average else value


def conserved_rmse(prediction: ArrayLike, truth: ArrayLike, *, space: int, average: bool = True) -> Float[Array, "..."]:
    """PDEBench's cRMSE: sqrt(mean_samples (mean_x e)^2), the root mean square over samples of the error of the mean.

    Args:
      prediction, truth: ``[samples, *batch, channels, *space]``: the root mean square is over the first axis.
      space: how many of the last axes are space.
      average: whether to return the mean over the other axes (times, channels), or ``[*batch, channels]``.
    Raises:
      ValueError: shapes that differ, or too few axes.
    Reference: Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix B. The sum is divided by the number of points.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import conserved_rmse
      >>> error = jnp.array([[[1.0, -1.0, 1.0, -1.0]], [[2.0, 2.0, 2.0, -2.0]]])  # means 0 and 1
      >>> print(f"{conserved_rmse(error, 0 * error, space=1):.4f}")
      0.7071
    """
    a, b = check_fields("conserved_rmse", prediction, truth, space, 2)
    over = _over(space)
    mean = worst_where_bad(jnp.mean(a - b, axis=over), a, over)
    value = root(jnp.mean(mean**2, axis=0))
    return jnp.mean(value) if average else value


def boundary_rmse(prediction: ArrayLike, truth: ArrayLike, *, space: int, average: bool = True) -> Float[Array, "..."]:
    """PDEBench's bRMSE: the root mean square error over the first and last points of every axis, of each sample and channel.

    A point on two faces (a corner in two dimensions) counts twice, as there. Their program for three dimensions adds up the
    channels under the root; here each channel has its own, as theirs has in one and two dimensions.

    Args:
      prediction, truth: ``[*batch, channels, *space]``.
      space: how many of the last axes are space.
      average: whether to return the mean over samples and channels, or ``[*batch, channels]``.
    Raises:
      ValueError: shapes that differ, or too few axes.
    Reference: Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix B.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.field_errors import boundary_rmse
      >>> print(f"{boundary_rmse(jnp.array([[3.0, 9.0, 9.0, 4.0]]), jnp.zeros((1, 4)), space=1):.4f}")
      3.5355
    """
    a, b = check_fields("boundary_rmse", prediction, truth, space)
    square = (a - b) ** 2
    total, points = jnp.zeros(a.shape[: a.ndim - space], square.dtype), 0
    for axis in range(-space, 0):
        others = tuple(range(-space + 1, 0))
        for end in (0, -1):
            total = total + jnp.sum(jnp.take(square, end, axis=axis), axis=others)
        points += 2 * math.prod(a.shape[-space:]) // a.shape[axis]
    value = worst_where_bad(root(total / points), a, _over(space))
    return jnp.mean(value) if average else value
