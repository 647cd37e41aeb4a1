"""Truncated Fourier series: periodic real functions that know no grid, for initial conditions."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import is_whole
from jaxsci.problems.domain import Box


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FourierSeries:
    r"""A periodic real function: f(x) = Re sum over k of w_k (a_k + i b_k) exp(i k . (x - lower)).

    k = 2 pi (integers) / lengths with integers from -m to m along each axis, but 0 to m along the last: w_k = 1 where the last
    one is 0 and 2 elsewhere, so that a + i b are the Fourier coefficients of f. A pytree (its leaf is `modes`): vmap over a
    batch of series, differentiate in their modes. A callable of ONE point, which differentiates, so that it can be a coefficient
    of a `Problem` (see `Problem.with_initial`); independent of any grid, so that two resolutions start from one function.

    Args:
      modes: a and b, real, ``[2, 2 m_1 + 1, ..., m_d + 1]``; along all axes but the last in the order 0 .. m, -m .. -1.
      lower, lengths: of the box, one per axis.
    Example:
      >>> import jax, jaxsci as js
      >>> box = js.Box(x=(0, 1), y=(0, 2))
      >>> f = js.problems.random_fourier_series(jax.random.key(0), box, cutoff=3)
      >>> f
      FourierSeries(modes up to (3, 3) on lengths (1.0, 2.0))
      >>> bool(abs(f(0.25, 0.5) - f.on_grid(8)[2, 2]) < 1e-6), bool(abs(f(0.1, 0.3) - f(1.1, -1.7)) < 1e-5)
      (True, True)
    """

    modes: Float[Array, " 2 ..."]
    lower: tuple[float, ...] = dataclasses.field(metadata={"static": True})
    lengths: tuple[float, ...] = dataclasses.field(metadata={"static": True})

    # It takes arrays that broadcast as well as numbers: the library then calls it once, and not once per point.
    broadcasts = True

    @property
    def highest(self) -> tuple[int, ...]:
        """The highest integer wavenumber of each axis."""
        *first, last = self.modes.shape[-len(self.lengths) :]
        return (*(n // 2 for n in first), last - 1)

    def __call__(self, *point: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """The value at ONE point, or at arrays that broadcast: axis by axis, so that an open mesh costs matrix products."""
        if len(point) != len(self.lengths):
            raise TypeError(f"A Fourier series on {len(self.lengths)} axes takes as many coordinates, got {len(point)}.")
        dimensions = max(map(np.ndim, point))
        arrays = [jnp.reshape(x, (1,) * (dimensions - np.ndim(x)) + np.shape(x)) for x in point]
        dtype = jnp.result_type(self.modes, *arrays)
        value = (self.modes[0] + 1j * self.modes[1])[(None,) * dimensions]
        for i, (x, lower, length) in enumerate(zip(arrays, self.lower, self.lengths, strict=True)):
            k = 2 * np.pi / length * wavenumbers(self.highest, i)
            angle = jnp.asarray(k, dtype) * (x - lower)[..., None]
            if i == len(arrays) - 1:  # half a spectrum, of a real function
                cos, sin = (np.where(k == 0, 1.0, 2.0).astype(dtype) * wave(angle) for wave in (jnp.cos, jnp.sin))
                return jnp.einsum("...k,...k->...", cos, value.real) - jnp.einsum("...k,...k->...", sin, value.imag)
            rest = "xy"[: len(arrays) - 1 - i]
            value = jnp.einsum(f"...k,...k{rest}->...{rest}", jnp.cos(angle) + 1j * jnp.sin(angle), value)
        raise AssertionError("This is a bug in jaxsci: a series without axes.")

    def on_grid(self, n: int | tuple[int, ...]) -> Float[Array, "*grid"]:
        """Values at lower + length * j / n, j = 0 .. n - 1 along each axis, by an inverse fast Fourier transform.

        Args:
          n: points per axis, one number or one per axis; at least 2 m + 1 along an axis with wavenumbers up to m.
        """
        sizes = n if isinstance(n, tuple) else (n,) * len(self.lengths)
        if len(sizes) != len(self.lengths) or not all(
            is_whole(s) and s > 2 * m for s, m in zip(sizes, self.highest, strict=True)
        ):
            raise ValueError(
                f"on_grid: n must be one whole number, or one per axis, above twice the highest wavenumbers {self.highest}; "
                f"got {n!r}."
            )
        value = self.modes[0] + 1j * self.modes[1]
        for i, (size, m) in enumerate(zip(sizes[:-1], self.highest[:-1], strict=True)):
            low, high = jnp.split(value, [m + 1], axis=i)
            gap = jnp.zeros((*value.shape[:i], size - 2 * m - 1, *value.shape[i + 1 :]), value.dtype)
            value = jnp.concatenate([low, gap, high], axis=i)
        return jnp.fft.irfftn(value, s=sizes, axes=tuple(range(len(sizes))), norm="forward")

    def plus(self, constant: Float[ArrayLike, ""]) -> FourierSeries:
        """The series of f + constant."""
        return dataclasses.replace(self, modes=self.modes.at[(0,) * self.modes.ndim].add(constant))

    @property
    def mean_square(self) -> Float[Array, ""]:
        """The mean of f^2 over the box, by Parseval."""
        return jnp.sum(mode_weights(self.highest) * jnp.sum(hermitian(self.modes) ** 2, axis=0))

    def scaled(self, factor: Any) -> FourierSeries:
        """The function times a number."""
        return dataclasses.replace(self, modes=factor * self.modes)

    def __repr__(self) -> str:
        modes = f"modes up to {self.highest}" if hasattr(self.modes, "shape") else "a tree of another kind"
        return f"FourierSeries({modes} on lengths {self.lengths})"


def wavenumbers(highest: tuple[int, ...], axis: int) -> np.ndarray:
    """The integer wavenumbers along an axis, in the order of the modes."""
    m = highest[axis]
    return np.arange(m + 1) if axis == len(highest) - 1 else np.concatenate([np.arange(m + 1), np.arange(-m, 0)])


def wave_vectors(highest: tuple[int, ...], lengths: tuple[float, ...]) -> np.ndarray:
    """2 pi (integers) / lengths of every mode, ``[d, *modes]``."""
    axes = [2 * np.pi / length * wavenumbers(highest, i) for i, length in enumerate(lengths)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def mode_weights(highest: tuple[int, ...]) -> np.ndarray:
    """How many modes of the whole spectrum each kept one stands for: 1 where the last wavenumber is 0, else 2."""
    return np.where(np.arange(highest[-1] + 1) == 0, 1.0, 2.0)


def hermitian(modes: Any) -> Any:
    """Modes ``[2, *modes]`` with c(-k) = conj c(k) where the last wavenumber is 0: those of the real part."""
    plane = modes[..., 0]
    axes = tuple(range(1, plane.ndim))
    mirror = jnp.roll(jnp.flip(plane, axes), 1, axes) if axes else plane
    sign = jnp.asarray([1.0, -1.0], modes.dtype).reshape(-1, *(1,) * len(axes))
    return modes.at[..., 0].set((plane + sign * mirror) / 2)


def series_on(box: Box, modes: Any) -> FourierSeries:
    """A series on the spatial axes of a box."""
    return FourierSeries(modes, tuple(box[name][0] for name in box.space), box.lengths)
