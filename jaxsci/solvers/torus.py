"""Fourier series on a torus: grids, kept modes, transforms, interpolation.

A box with periodic axes is a torus.  An axis with walls becomes one by a mirror: the field is continued past the wall
with its sign kept (Neumann) or flipped (Dirichlet), and the torus is twice as long.

A state holds the *kept modes* only: along each axis the wavenumbers |k| <= m, where the grid of n points has room for more.
With m < n/3 (the 2/3 rule) products of two fields are free of aliasing.  Transforms are normalised so that a mode is the
Fourier coefficient itself, whatever the grid.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.solvers import folded_dft


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a torus: an interval, and whether the torus is the interval or the interval and its mirror image."""

    name: str
    lower: float
    upper: float
    intervals: int  # grid intervals on [lower, upper]
    mirrored: bool = False

    @property
    def period(self) -> float:
        return (self.upper - self.lower) * (2 if self.mirrored else 1)

    @property
    def points(self) -> int:
        """Grid points on the torus."""
        return self.intervals * (2 if self.mirrored else 1)

    @property
    def box_points(self) -> int:
        """Grid points in the box: both walls belong to it, the far end of a period does not."""
        return self.intervals + int(self.mirrored)

    def coordinates(self) -> np.ndarray:
        """The grid on the torus, beginning with the grid in the box."""
        return self.lower + self.period * np.arange(self.points) / self.points


@dataclasses.dataclass(frozen=True)
class Torus:
    """Axes and the fraction of the representable wavenumbers that is kept. No axes at all: a point (an ODE)."""

    axes: tuple[Axis, ...]
    kept: float = 2 / 3

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.points for axis in self.axes)

    @property
    def highest(self) -> tuple[int, ...]:
        """The highest kept wavenumber of each axis, below Nyquist: an odd derivative of the Nyquist mode has no meaning."""
        return tuple(math.ceil(self.kept * n / 2 - 1e-9) - 1 for n in self.shape)

    @property
    def mode_shape(self) -> tuple[int, ...]:
        """Kept modes; the last axis holds k >= 0 only, since fields are real."""
        if not self.axes:
            return ()
        return (*(2 * m + 1 for m in self.highest[:-1]), self.highest[-1] + 1)

    def _along(self, axis: int, values: np.ndarray) -> np.ndarray:
        return values.reshape([-1 if i == axis else 1 for i in range(len(self.axes))])

    def integer_wavenumbers(self, axis: int) -> np.ndarray:
        m = self.highest[axis]
        last = axis == len(self.axes) - 1
        return np.arange(m + 1) if last else np.concatenate([np.arange(m + 1), np.arange(-m, 0)])

    def wavenumbers(self, name: str, dtype: Any) -> np.ndarray:
        """2 pi k / period along the named axis, shaped to broadcast against modes."""
        axis = [a.name for a in self.axes].index(name)
        k = 2 * np.pi / self.axes[axis].period * self.integer_wavenumbers(axis)
        return self._along(axis, k).astype(dtype)

    def symbol(self, letters: str, dtype: Any) -> Any:
        """What the derivative `letters` multiplies a mode by, (i k_x)^2 for "xx": real where the order is even."""
        value: Any = np.ones((1,) * len(self.axes), dtype)
        for axis in self.axes:
            order = letters.count(axis.name)
            if order:
                value = value * self.wavenumbers(axis.name, dtype) ** order
        phase = 1j ** (len(letters) % 4)
        return value * (phase.real if len(letters) % 2 == 0 else np.asarray(phase, np.result_type(dtype, np.complex64)))

    # --- transforms ------------------------------------------------------------------------------------------------

    def to_grid(self, modes: Any) -> Any:
        """Modes ``[..., *kept]`` to values ``[..., *torus grid]``."""
        if not self.axes:
            return modes
        first = modes.ndim - len(self.axes)
        if len(self.axes) == 3:  # the first axis alone, for the kept modes of the other two: a third of the work less
            return self.others_to_grid(self.first_to_grid(modes))
        for i in range(len(self.axes) - 1):
            modes = self._padded(modes, first + i, i)
        return jnp.fft.irfftn(modes, s=self.shape, axes=tuple(range(first, modes.ndim)), norm="forward")

    def _padded(self, modes: Any, axis: int, i: int) -> Any:
        """Zeros between the low and the high wavenumbers that array axis `axis` keeps of torus axis i."""
        m = self.highest[i]
        low, high = jnp.split(modes, [m + 1], axis=axis)
        gap = jnp.zeros((*modes.shape[:axis], self.shape[i] - 2 * m - 1, *modes.shape[axis + 1 :]), modes.dtype)
        return jnp.concatenate([low, gap, high], axis=axis)

    def _cropped(self, modes: Any, axis: int, i: int) -> Any:
        """The inverse of `_padded`."""
        m = self.highest[i]
        low = jax.lax.slice_in_dim(modes, 0, m + 1, axis=axis)
        high = jax.lax.slice_in_dim(modes, modes.shape[axis] - m, None, axis=axis)
        return jnp.concatenate([low, high], axis=axis)

    def from_grid(self, values: Any) -> Any:
        """Values ``[..., *torus grid]`` to kept modes."""
        if not self.axes:
            return values
        first = values.ndim - len(self.axes)
        if len(self.axes) == 3:
            return self.first_from_grid(self.others_from_grid(values))
        modes = jnp.fft.rfftn(values, axes=tuple(range(first, values.ndim)), norm="forward")[..., : self.highest[-1] + 1]
        for i in range(len(self.axes) - 1):
            modes = self._cropped(modes, first + i, i)
        return modes

    # The first axis and the others apart: what a transform in three dimensions and one over many devices are made of.

    def first_to_grid(self, modes: Any) -> Any:
        """Modes ``[..., *kept]`` to ``[..., n_x, *kept]``."""
        first = modes.ndim - len(self.axes)
        padded = self._padded(jnp.moveaxis(modes, first, -1), modes.ndim - 1, 0)
        return jnp.moveaxis(jnp.fft.ifft(padded, norm="forward"), -1, first)

    def others_to_grid(self, modes: Any) -> Any:
        """``[..., n_x, *kept]`` to values, whatever the length of x."""
        first, others = modes.ndim - len(self.axes), len(self.axes) - 1
        for i in range(1, others):
            modes = self._padded(modes, first + i, i)
        return jnp.fft.irfftn(modes, s=self.shape[1:], axes=tuple(range(-others, 0)), norm="forward")

    def others_from_grid(self, values: Any) -> Any:
        """The inverse of `others_to_grid`."""
        first, others = values.ndim - len(self.axes), len(self.axes) - 1
        modes = jnp.fft.rfftn(values, axes=tuple(range(-others, 0)), norm="forward")[..., : self.highest[-1] + 1]
        for i in range(1, others):
            modes = self._cropped(modes, first + i, i)
        return modes

    def first_from_grid(self, modes: Any) -> Any:
        """The inverse of `first_to_grid`."""
        first = modes.ndim - len(self.axes)
        modes = jnp.fft.fft(jnp.moveaxis(modes, first, -1), norm="forward")
        return jnp.moveaxis(self._cropped(modes, modes.ndim - 1, 0), -1, first)

    def spread(self, operator: Any) -> Any:
        """An operator ``[..., *modes]`` placed as the modes are: here, on one device, as it is."""
        return operator

    # --- nodes: where products are evaluated, the grid in whatever order is fastest to transform ----------------------

    @property
    def is_folded(self) -> bool:
        return len(self.axes) == 1 and folded_dft.applies_to(self.shape[0])

    @property
    def node_shape(self) -> tuple[int, ...]:
        return (self.shape[0] + 4,) if self.is_folded else self.shape

    def nodes(self) -> dict[str, np.ndarray]:
        """Coordinates of the nodes, each axis shaped to broadcast."""
        grid = self.torus_grid()
        return {name: x[folded_dft.order(len(x))] for name, x in grid.items()} if self.is_folded else grid

    def to_nodes(self, modes: Any) -> Any:
        """Modes ``[..., *kept]`` to values ``[..., *nodes]``."""
        return folded_dft.to_nodes(modes, self.shape[0]) if self.is_folded else self.to_grid(modes)

    def from_nodes(self, values: Any) -> Any:
        """Values ``[..., *nodes]`` to kept modes."""
        return folded_dft.from_nodes(values, self.highest[0]) if self.is_folded else self.from_grid(values)

    # --- the box inside the torus ------------------------------------------------------------------------------------

    def box_grid(self) -> dict[str, np.ndarray]:
        """The grid in the box, one array per axis."""
        return {axis.name: axis.coordinates()[: axis.box_points] for axis in self.axes}

    def torus_grid(self) -> dict[str, np.ndarray]:
        """The grid on the torus, each axis shaped to broadcast."""
        return {axis.name: self._along(i, axis.coordinates()) for i, axis in enumerate(self.axes)}

    @property
    def box_shape(self) -> tuple[int, ...]:
        return tuple(axis.box_points for axis in self.axes)

    def extend(self, values: Any, signs: tuple[tuple[int, ...], ...]) -> Any:
        """Box values ``[unknowns, *box]`` to the torus; signs[unknown][axis] is -1 where the mirror flips the sign."""
        for i, axis in enumerate(self.axes):
            if axis.mirrored:
                inner = jnp.flip(jax.lax.slice_in_dim(values, 1, axis.intervals, axis=1 + i), axis=1 + i)
                sign = jnp.asarray([s[i] for s in signs], values.dtype).reshape((-1,) + (1,) * len(self.axes))
                ends = self._along(i, np.isin(np.arange(axis.box_points), (0, axis.intervals)))
                values = jnp.where(ends & (sign < 0), 0, values)  # an odd field vanishes at the walls
                values = jnp.concatenate([values, sign * inner], axis=1 + i)
        return values

    def restrict(self, values: Any) -> Any:
        """Torus values ``[..., *torus]`` to the box."""
        box = tuple(slice(0, axis.box_points) for axis in self.axes)
        return values[(..., *box)]

    def at_point(self, modes: Any, point: tuple[Any, ...]) -> Any:
        """The series ``[channels, *kept]`` at ONE point of space, ``[channels]``: the interpolant between grid points."""
        for i in range(len(self.axes)):  # one axis at a time, the last one (half a spectrum) last
            axis = self.axes[i]
            k = jnp.asarray(2 * np.pi / axis.period * self.integer_wavenumbers(i), jnp.result_type(point[i]))
            angle = k * (point[i] - axis.lower)
            wave = jnp.cos(angle) + 1j * jnp.sin(angle)
            if i == len(self.axes) - 1:
                weights = np.where(self.integer_wavenumbers(i) == 0, 1.0, 2.0).astype(k.dtype)
                return jnp.real(modes @ (weights * wave))
            modes = jnp.tensordot(modes, wave, axes=(1, 0))
        return modes

    def tail(self, modes: Any) -> Any:
        """Share of the field's norm in the outermost sixth of the kept modes, the sign of an unresolved field."""
        if not self.axes:
            return jnp.zeros(())
        outer: Any = np.zeros((1,) * len(self.axes), bool)
        for i, m in enumerate(self.highest):
            outer = outer | self._along(i, np.abs(self.integer_wavenumbers(i)) > 5 * m / 6)
        power = jnp.abs(modes) ** 2
        axes = tuple(range(modes.ndim - len(self.axes), modes.ndim))
        total = jnp.sum(power, axis=axes)
        return jnp.sqrt(
            jnp.max(jnp.sum(power * outer, axis=axes)) / jnp.maximum(jnp.max(total), jnp.finfo(total.dtype).tiny)
        )
