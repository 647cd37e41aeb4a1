"""Errors by wavenumber, and energy spectra. Of fields on periodic grids, ``[*batch, channels, *space]``, every axis even.

A mode of a real field and its complex conjugate are one wave: all sums here run over both, (k, -l) as well as (k, l), so that
Parseval's identity holds to round-off: bands add up to the mean square, shells to half of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import unknown_name
from jaxsci.compare.field_errors import as_fields, check_fields, ratio, root
from jaxsci.problems.flow_fields import energy_by_shell

BandDefinition = Literal["parseval", "pdebench"]


class EnergySpectrum(NamedTuple):
    """Energy by shell of wavenumbers.

    Attributes:
      wavenumbers: the middles of the shells, ``[shells]``, in radians per length.
      energy: in each shell, ``[*batch, shells]``; the sum over shells is half the mean square.
    """

    wavenumbers: Float[Array, " shells"]
    energy: Float[Array, "*batch shells"]


def fourier_bands(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    space: int,
    edges: Sequence[float] = (4, 12),
    definition: BandDefinition = "parseval",
    relative: bool = False,
    average: bool = True,
) -> Float[Array, "... bands"]:
    """The root mean square error in bands of |k|, by default PDEBench's low (k < 4), middle (4 <= k < 12) and high (k >= 12).

    - ``"parseval"``: with e_k the Fourier coefficients of the error, normalised so that sum_k |e_k|^2 = mean_x e^2, the error
      of a band is (sum over ALL its modes of |e_k|^2)^(1/2), of each sample and channel. The squares of the bands add up to the
      mean square error.
    - ``"pdebench"``: the fRMSE of the program of PDEBench (Takamoto et al. 2022). In one dimension (mean_samples |e_k|^2)^(1/2)
      for k = 0 .. n/2, one of each pair; in two and three, shells of floor(|k|) that hold the first quadrant alone (all
      k_i >= 0, below n_i / 2; waves along (k, -l) do not count), up to the smallest n_i / 2, and the same root of each shell.
      A band is the MEAN over its wavenumbers or shells. Its squares add up to nothing in particular, and an empty band is NaN.
      Lengths are 1, as in its evaluations.

    k counts waves across the box, along each axis; on a box that is not a cube it is no physical wavenumber.

    Args:
      prediction, truth: ``[*batch, channels, *space]``. For "pdebench" the first axis is the samples.
      space: how many of the last axes are space.
      edges: between the bands, increasing; n edges make n + 1 bands.
      definition: one of these.
      relative: whether to divide by the root mean square of the truth in the same band ("parseval" only); a band in which the
        truth has nothing is infinite.
      average: whether to return the mean over samples and channels, ``[bands]``, or ``[*batch, channels, bands]``;
        for "pdebench" without its first axis.
    Raises:
      ValueError: shapes that differ, too few axes, edges that do not increase, or an unknown definition.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.spectra import fourier_bands
      >>> x = jnp.arange(32) * jnp.pi / 16
      >>> error = 3 + jnp.sin(5 * x) + 0.1 * jnp.cos(16 * x)
      >>> [f"{band:.4f}" for band in fourier_bands(error[None], jnp.zeros((1, 32)), space=1)]
      ['3.0000', '0.7071', '0.1000']
    """
    if definition not in get_args(BandDefinition):
        raise ValueError(f"fourier_bands: {unknown_name('definition', definition, get_args(BandDefinition))}")
    edges = [float(edge) for edge in edges]
    if any(b <= a for a, b in itertools.pairwise([0.0, *edges])):
        raise ValueError(f"fourier_bands: edges must increase from above 0, got {edges}.")
    a, b = check_fields("fourier_bands", prediction, truth, space, 1 + (definition == "pdebench"))
    shape = a.shape[-space:]
    if definition == "pdebench":
        if relative:
            raise ValueError('fourier_bands: PDEBench\'s bands are not relative; use definition="parseval" for that.')
        bands = _pdebench_bands(a - b, space, edges)
        return _mean_but_last(bands) if average else bands
    members = np.searchsorted(edges, _wavenumber(shape), side="right")  # the band of each mode
    bands = root(_sum_into(_power(a - b, space), members, len(edges) + 1))
    if relative:
        bands = ratio(bands, root(_sum_into(_power(b, space), members, len(edges) + 1)))
    bands = jnp.where(jnp.isfinite(a).all(axis=tuple(range(-space, 0)))[..., None], bands, jnp.inf)
    return _mean_but_last(bands) if average else bands


def energy_spectrum(fields: ArrayLike, *, space: int, lengths: Sequence[float] | None = None) -> EnergySpectrum:
    """The energy 1/2 sum_channels |u_k|^2 in shells of width 2 pi / L around each wavenumber, L the longest side of the box.

    Shell m holds the modes with (m - 1/2) <= |k| L / (2 pi) < (m + 1/2), up to the corners of the grid's modes, so that the
    shells add up to half the mean square of the fields, exactly. Of velocities it is the kinetic energy, of a vorticity the
    enstrophy. It is the energy IN a shell; divide by the width for a density.

    Args:
      fields: ``[*batch, channels, *space]`` on a periodic, even grid.
      space: how many of the last axes are space.
      lengths: of the box, one per axis; 2 pi by default, for which wavenumbers are whole numbers.
    Returns:
      An `EnergySpectrum`; NaN where the fields are not finite.
    Raises:
      ValueError: too few axes, or lengths that do not fit.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.spectra import energy_spectrum
      >>> x = jnp.arange(16) * jnp.pi / 8
      >>> spectrum = energy_spectrum(jnp.sin(x)[:, None] * jnp.cos(x)[None, None, :], space=2)  # the modes (+-1, +-1)
      >>> spectrum.energy.shape, f"{spectrum.energy[1]:.4f}"
      ((12,), '0.1250')
    """
    array = as_fields("energy_spectrum", "fields", fields, space)
    lengths = [2 * math.pi] * space if lengths is None else [float(length) for length in lengths]
    if len(lengths) != space or not all(length > 0 for length in lengths):
        raise ValueError(f"energy_spectrum: lengths must be {space} positive numbers, one per spatial axis; got {lengths}.")
    wavenumbers, energy = energy_by_shell(array, tuple(lengths))
    return EnergySpectrum(jnp.asarray(wavenumbers, array.dtype), energy)


def spectrum_error(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    space: int,
    lengths: Sequence[float] | None = None,
    floor: float = 1e-8,
) -> Float[Array, ""]:
    """The mean of |log10(E_prediction / E_truth)| over the shells in which the truth holds energy: 1 is a factor of ten.

    E are energy spectra in the mean over everything before the channels (samples, saves), as the statistics of a chaotic flow
    are compared: where phases are lost, a spectrum can still be right. The shell k = 0 is left out.

    Args:
      prediction, truth: ``[*batch, channels, *space]``; saves that the two share, the transient left out by the caller.
      space, lengths: as of `energy_spectrum`.
      floor: a shell counts where the truth's energy is above this share of its largest one; less in the prediction counts as
        that much. In single precision round-off is at about 1e-14.
    Returns:
      A number: 0 for equal spectra, NaN where the truth holds no wave, infinite where the prediction is not finite.
    Raises:
      ValueError: shapes that differ, or too few axes.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.spectra import spectrum_error
      >>> x = jnp.arange(32) * jnp.pi / 16
      >>> truth = (jnp.sin(x) + 0.1 * jnp.sin(2 * x))[None]
      >>> print(f"{spectrum_error(10**0.5 * truth, truth, space=1):.4f} {spectrum_error(-truth, truth, space=1):.4f}")
      1.0000 0.0000
    """
    a, b = check_fields("spectrum_error", prediction, truth, space)
    ours, theirs = (_mean_but_last(energy_spectrum(x, space=space, lengths=lengths).energy)[1:] for x in (a, b))
    least = floor * jnp.max(theirs)
    counts = theirs > least
    safe = jnp.where(counts, theirs, 1)
    decades = jnp.abs(jnp.log10(jnp.maximum(jnp.where(counts, ours, 1), jnp.where(counts, least, 1)) / safe))
    error = jnp.sum(jnp.where(counts, decades, 0)) / jnp.sum(counts)
    return jnp.where(jnp.isfinite(a).all(), error, jnp.inf)


def _wavenumber(shape: tuple[int, ...]) -> np.ndarray:
    """The length of the wave vector of each mode of a real transform, in waves across the box."""
    waves = [np.fft.fftfreq(n, 1 / n) for n in shape[:-1]] + [np.arange(shape[-1] // 2 + 1.0)]
    return np.sqrt(sum(k**2 for k in np.meshgrid(*waves, indexing="ij")))


def _power(fields: jax.Array, space: int) -> jax.Array:
    """|u_k|^2 of the modes of a real transform, each with its conjugate: their sum is the mean square."""
    shape = fields.shape[-space:]
    modes = jnp.fft.rfftn(fields, axes=tuple(range(-space, 0)), norm="forward")
    weights = np.full(shape[-1] // 2 + 1, 2.0)
    weights[0] = 1
    if shape[-1] % 2 == 0:
        weights[-1] = 1  # the highest wave of an even grid is its own conjugate
    return (modes.real**2 + modes.imag**2) * jnp.asarray(weights, fields.dtype)


def _sum_into(power: jax.Array, members: np.ndarray, count: int) -> jax.Array:
    """Sums over the modes of each member, ``[..., count]``."""
    flat = jnp.moveaxis(power.reshape(*power.shape[: power.ndim - members.ndim], -1), -1, 0)
    return jnp.moveaxis(jax.ops.segment_sum(flat, jnp.asarray(members.ravel()), count), 0, -1)


def _pdebench_bands(error: jax.Array, space: int, edges: list[float]) -> jax.Array:
    """``[samples, *batch, channels, *space]`` to ``[*batch, channels, bands]``."""
    shape = error.shape[-space:]
    if space == 1:
        modes = jnp.fft.rfft(error, norm="forward")
        square = modes.real**2 + modes.imag**2
    else:
        halves = tuple(slice(n // 2) for n in shape)
        modes = jnp.fft.fftn(error, axes=tuple(range(-space, 0)), norm="forward")[(..., *halves)]
        mesh = np.meshgrid(*(np.arange(n // 2) for n in shape), indexing="ij")
        shells, count = np.floor(np.sqrt(sum(k**2 for k in mesh))).astype(int), min(shape) // 2
        square = _sum_into(modes.real**2 + modes.imag**2, np.minimum(shells, count), count + 1)[..., :count]
    value = root(jnp.mean(square, axis=0))
    members = np.searchsorted(edges, np.arange(value.shape[-1]), side="right")
    means = [jnp.mean(value[..., members == band], axis=-1) if (members == band).any() else jnp.full(value.shape[:-1], jnp.nan)
             for band in range(len(edges) + 1)]  # fmt: skip
    bands = jnp.stack(means, axis=-1)
    return jnp.where(jnp.isnan(value).any(axis=-1)[..., None], jnp.inf, bands)


def _mean_but_last(values: jax.Array) -> jax.Array:
    return jnp.mean(values, axis=tuple(range(values.ndim - 1)))
