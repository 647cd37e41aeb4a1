"""Random initial conditions as Fourier series: pure functions of a `jax.random.key`, for jit and vmap.

A key stands for one function, whatever precision is in use: the random bits are the same, only what is computed from them is
more or less precise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.problems.domain import Box
from jaxsci.problems.fourier_series import (
    FourierSeries,
    hermitian,
    mode_weights,
    series_on,
    wave_vectors,
    wavenumbers,
)

_FINER = 8  # grid points per highest wavenumber where a maximum is looked for


def random_fourier_series(key: Key, box: Box, *, cutoff: int = 5, rms: Float[ArrayLike, ""] | None = None) -> FourierSeries:
    """White noise with the wavenumbers above the cutoff removed, mean zero: the usual random start of benchmarks.

    Independent normal coefficients, of one variance, of all modes with integer wavenumbers |k_i| <= cutoff along each axis,
    k = 0 excepted. This is the "random truncated Fourier series" of APEBench and exponax, without their grid.

    Args:
      key: a `jax.random.key`.
      box: its spatial axes are those of the field.
      cutoff: the highest integer wavenumber along each axis.
      rms: the root mean square over the box; without it max |f| = 1, as found on a grid of 8 points per shortest wave.
    Raises:
      ValueError: a cutoff below 1, or a box without space.
    Reference: Koehler et al. (2024), APEBench, NeurIPS Datasets and Benchmarks.
    Example:
      >>> import jax, jaxsci as js
      >>> box = js.Box(t=(0, 1), x=(0, 1))
      >>> starts = jax.vmap(lambda key: js.problems.random_fourier_series(key, box))(jax.random.split(jax.random.key(0), 4))
      >>> jax.vmap(lambda start: start.on_grid(64))(starts).shape
      (4, 64)
    """
    highest = _highest("random_fourier_series", box, cutoff)
    series = series_on(box, _noise(key, highest))
    if rms is not None:
        return series.scaled(rms / jnp.sqrt(series.mean_square))
    return series.scaled(1 / jnp.max(jnp.abs(series.on_grid(tuple(_FINER * m for m in highest)))))


def gaussian_random_field(
    key: Key,
    box: Box,
    *,
    cutoff: int = 32,
    scale: Float[ArrayLike, ""] = 7.0**1.5,
    shift: Float[ArrayLike, ""] = 49.0,
    power: Float[ArrayLike, ""] = 2.5,
) -> FourierSeries:
    r"""A sample of the Gaussian field N(0, C) with covariance C = scale (-lap + shift)^-power, periodic, mean zero.

    By its Karhunen-Loeve series: independent modes with E |c_k|^2 = scale (|k|^2 + shift)^-power / volume, truncated at the
    cutoff. The defaults are the vorticity of Li et al. on the unit square; a Matern field of smoothness s in d dimensions has
    power = s + d / 2 and shift = 2 s / length^2.

    Args:
      key: a `jax.random.key`.
      box: its spatial axes are those of the field.
      cutoff: the highest integer wavenumber along each axis.
      scale, shift, power: of the covariance.
    Raises:
      ValueError: a cutoff below 1, or a box without space.
    Reference: Li et al. (2021), Fourier neural operator, ICLR, section 5.3 and appendix A.3.
    Example:
      >>> import jax, jaxsci as js
      >>> w = js.problems.gaussian_random_field(jax.random.key(0), js.Box(x=(0, 1), y=(0, 1)), cutoff=16)
      >>> w.on_grid(64).shape
      (64, 64)
    """
    highest = _highest("gaussian_random_field", box, cutoff)
    squared = np.sum(wave_vectors(highest, box.lengths) ** 2, axis=0)
    variance = scale * (squared + shift) ** (-jnp.asarray(power)) / math.prod(box.lengths)
    return series_on(box, _noise(key, highest) * jnp.sqrt(variance))


def smooth_gaussian_field(key: Key, box: Box, *, length: Float[ArrayLike, ""] = 0.8, cutoff: int = 8) -> FourierSeries:
    r"""A sample of the periodic Gaussian field of unit variance with the periodic kernel, less its mean.

        E f(x) f(y) = exp(-2 sum_i sin^2(pi (x_i - y_i) / L_i) / length^2),    L_i the lengths of the box

    MacKay's periodic kernel, whose samples are analytic: a mode of wavenumbers k has variance prod_i exp(-s) I_{k_i}(s) with
    s = 1 / length^2 and the modified Bessel functions I, of which what lies beyond the cutoff is left out (1e-9 of the
    variance by default).

    Args:
      key: a `jax.random.key`.
      box: its spatial axes are those of the field.
      length: of the kernel, in units in which a period is pi.
      cutoff: the highest integer wavenumber along each axis.
    Raises:
      ValueError: a cutoff below 1, or a box without space.
    Reference: MacKay (1998), Introduction to Gaussian processes, eq. 47.
    Example:
      >>> import jax, jaxsci as js
      >>> w = js.problems.smooth_gaussian_field(jax.random.key(0), js.Box(x=(0, 1), y=(0, 1)))
      >>> w.on_grid(32).shape
      (32, 32)
    """
    highest = _highest("smooth_gaussian_field", box, cutoff)
    angle = 2 * np.pi * np.arange(8 * (cutoff + 1)) / (8 * (cutoff + 1))
    kernel = jnp.exp((np.cos(angle) - 1) / jnp.asarray(length) ** 2)  # of one axis, as 2 sin^2 = 1 - cos
    spectrum = jnp.maximum(np.cos(np.outer(np.arange(cutoff + 1), angle)) @ kernel / len(angle), 0.0)  # exp(-s) I_k(s)
    variance = jnp.ones(())
    for i in range(len(highest)):
        variance = variance[..., None] * spectrum[np.abs(wavenumbers(highest, i))]
    return series_on(box, _noise(key, highest) * jnp.sqrt(variance))


def random_velocity(
    key: Key,
    box: Box,
    *,
    cutoff: int,
    spectrum: Callable[[Any], Any],
    energy: Float[ArrayLike, ""] = 0.5,
) -> tuple[FourierSeries, ...]:
    """A random solenoidal velocity with a given energy spectrum, mean zero, in two or three dimensions.

    Gaussian modes, projected on those with k . u = 0, whose energy summed over shells of |k| is E(k) but for a constant. Modes
    with a wavenumber above the cutoff along some axis are left out; of the others the total energy <|u|^2> / 2 is `energy`,
    exactly and for every key.

    Args:
      key: a `jax.random.key`.
      box: its spatial axes, two or three.
      cutoff: the highest integer wavenumber along each axis.
      spectrum: E as a function of |k| > 0 (with the 2 pi / length in it), of arrays.
      energy: the mean of |u|^2 / 2 over the box.
    Returns:
      One `FourierSeries` for each component.
    Raises:
      ValueError: a cutoff below 1, or a box of other than two or three dimensions.
    Example:
      >>> import jax, jaxsci as js
      >>> box = js.Box(x=(0, 6.2832), y=(0, 6.2832), z=(0, 6.2832))
      >>> u, v, w = js.problems.random_velocity(jax.random.key(0), box, cutoff=4, spectrum=lambda k: k**4 * 2.0**-(k**2))
      >>> print(f"{u.mean_square + v.mean_square + w.mean_square:.4f}")
      1.0000
    """
    d = len(box.space)
    if d not in (2, 3):
        raise ValueError(f"random_velocity: the box must have two or three spatial axes, got {box!r}.")
    highest = _highest("random_velocity", box, cutoff)
    k = wave_vectors(highest, box.lengths)
    length = np.sqrt(np.sum(k**2, axis=0))
    safe = np.where(length > 0, length, 1.0)
    noise = jnp.stack([_noise(one, highest) for one in jax.random.split(key, d)])
    direction = k / safe
    noise = noise - direction[:, None] * jnp.sum(direction[:, None] * noise, axis=0)
    per_mode = jnp.where(length > 0, spectrum(safe) / safe ** (d - 1), 0.0)  # a shell holds about k^(d - 1) modes
    modes = noise * jnp.sqrt(per_mode)
    total = jnp.sum(mode_weights(highest) * jnp.sum(modes**2, axis=(0, 1))) / 2
    return tuple(series_on(box, m) for m in modes * jnp.sqrt(energy / total))


def turbulent_vorticity(
    key: Key, box: Box, *, cutoff: int = 32, peak: Float[ArrayLike, ""] = 6.0, energy: Float[ArrayLike, ""] = 0.5
) -> FourierSeries:
    """The vorticity of McWilliams' start of decaying turbulence in two dimensions: E(k) ~ k / (1 + (k / peak)^4).

    Args:
      key: a `jax.random.key`.
      box: its spatial axes, two; McWilliams' are 2 pi long.
      cutoff: the highest integer wavenumber along each axis.
      peak: where the spectrum turns from k to k^-3.
      energy: the mean of |u|^2 / 2 over the box, exactly.
    Returns:
      w = v_x - u_y of `random_velocity`.
    Raises:
      ValueError: a cutoff below 1, or a box of another dimension.
    Reference: McWilliams (1984), J. Fluid Mech. 146, 21, section 3.
    Example:
      >>> import jax, jaxsci as js
      >>> box = js.Box(x=(0, 6.2832), y=(0, 6.2832))
      >>> js.problems.turbulent_vorticity(jax.random.key(0), box, cutoff=20)
      FourierSeries(modes up to (20, 20) on lengths (6.2832, 6.2832))
    """
    if len(box.space) != 2:
        raise ValueError(f"turbulent_vorticity: the box must have two spatial axes, got {box!r}.")
    u, v = random_velocity(key, box, cutoff=cutoff, spectrum=lambda k: k / (1 + (k / peak) ** 4), energy=energy)
    kx, ky = wave_vectors(u.highest, box.lengths)
    times_i = lambda modes: jnp.stack([-modes[1], modes[0]])  # noqa: E731
    return series_on(box, times_i(kx * v.modes - ky * u.modes))


def _highest(what: str, box: Box, cutoff: int) -> tuple[int, ...]:
    if not box.space:
        raise ValueError(f"{what}: {box!r} has no spatial axis.")
    if not (is_whole(cutoff) and cutoff >= 1):
        raise ValueError(f"{what}: cutoff must be a whole number >= 1, got {cutoff!r}.")
    return (int(cutoff),) * len(box.space)


def _noise(key: Key, highest: tuple[int, ...]) -> Any:
    """Modes of white noise, ``[2, *modes]``: E |c_k|^2 = 1 with c_-k = conj c_k, and c_0 = 0."""
    shape = (2, *(2 * m + 1 for m in highest[:-1]), highest[-1] + 1)
    dtype = jnp.result_type(float)
    odd = 2 * (jax.random.bits(key, shape, jnp.uint32) >> 9).astype(jnp.int32) + 1 - 2**23  # exact in single precision too
    normal = jax.scipy.special.erfinv(odd.astype(dtype) / 2**23)  # of variance 1/2
    plane = normal[..., 0] * math.sqrt(2)  # averaging with the mirror image halves the variance
    modes = hermitian(normal.at[..., 0].set(plane))
    return modes.at[(slice(None), *(0,) * len(highest))].set(0.0)
