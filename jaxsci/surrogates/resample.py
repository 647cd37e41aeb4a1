"""Fields from one grid to another: periodic axes by their Fourier series, axes with walls by leaving nodes out."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_real, is_whole
from jaxsci.problems import Problem


def resample(
    fields: Float[ArrayLike, "..."], problem: Problem | tuple[bool, ...], n: int | tuple[int, ...]
) -> Float[Array, "..."]:
    r"""Fields on another grid of the same box.

    On a periodic axis of N points the trigonometric interpolant is evaluated on n points,

        u(x) = sum_{|k| < N/2} c_k exp(2 pi i k x / L) + c_{N/2} cos(pi N x / L),

    of which n < N keeps |k| < n/2 and the cosine of k = n/2: the field is filtered, not aliased. It is exact where the field
    has no wavenumbers above n/2, and the mean is kept. On an axis with walls every (N / n)-th of N + 1 nodes is taken, both ends
    among them: exact values of a field that the coarser grid need not resolve.

    Pure; jit, vmap and grad go through it.

    Args:
      fields: ``[..., *space]``; an axis with walls has a point more than intervals.
      problem: whose axes these are; or by axis, whether it has walls.
      n: intervals of the new grid, one number or one per axis.
    Returns:
      ``[..., *space]`` in the precision of the fields.
    Raises:
      ValueError: sizes that do not fit, or an axis with walls whose intervals are no multiple of the new ones: between nodes the
        values are not known.
    Reference: Trefethen (2000), Spectral Methods in MATLAB, chapter 3 (the interpolant and its mode N/2).
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0, 1, 64, endpoint=False)
      >>> coarse = js.surrogates.resample(jnp.sin(2 * jnp.pi * x), (False,), 16)
      >>> coarse.shape, bool(abs(coarse - jnp.sin(2 * jnp.pi * x[::4])).max() < 1e-6)
      ((16,), True)
    """
    check_real("resample: fields", fields)
    fields = jnp.asarray(fields)
    walls = tuple(bool(problem.walls(axis)) for axis in problem.domain.space) if isinstance(problem, Problem) else problem
    sizes = n if isinstance(n, tuple) else (n,) * len(walls)
    if len(sizes) != len(walls) or not all(is_whole(size) and size >= 2 for size in sizes):
        raise ValueError(f"resample: n must be whole numbers >= 2, one or one for each of {len(walls)} axes, got {n!r}.")
    if fields.ndim < len(walls):
        raise ValueError(f"resample: the fields must end in {len(walls)} axes of space, got shape {fields.shape}.")
    first = fields.ndim - len(walls)
    for i, (has_walls, size) in enumerate(zip(walls, sizes, strict=True)):
        along = jnp.moveaxis(fields, first + i, -1)
        along = _thinned(along, size) if has_walls else _resampled(along, size)
        fields = jnp.moveaxis(along, -1, first + i)
    return fields


def _thinned(fields: Any, n: int) -> Any:
    intervals = fields.shape[-1] - 1
    if intervals % n:
        raise ValueError(
            f"resample: an axis with walls has {intervals} intervals, no multiple of {n}, and its values are known at its nodes "
            "only; choose a grid that divides them."
        )
    return fields[..., :: intervals // n]


def _resampled(fields: Any, n: int) -> Any:
    points = fields.shape[-1]
    if points == n:
        return fields
    modes = jnp.fft.rfft(fields, norm="forward")
    least = min(points, n)
    kept = modes[..., : least // 2 + 1]
    if (
        least % 2 == 0
    ):  # the cosine of the smaller grid's mode least/2 is one mode there, and half a pair of modes on the larger
        kept = kept.at[..., -1].multiply(2.0 if n < points else 0.5)
    room = [(0, 0)] * (modes.ndim - 1) + [(0, n // 2 + 1 - kept.shape[-1])]
    return jnp.fft.irfft(jnp.pad(kept, room), n, norm="forward").astype(fields.dtype)


def resampling_fault(space: tuple[str, ...], walls: tuple[bool, ...], points: tuple[int, ...], n: tuple[int, ...]) -> str:
    """Why fields of so many intervals cannot go to another grid, "" where they can."""
    for axis, has_walls, before, after in zip(space, walls, points, n, strict=True):
        if has_walls and before % after:
            return (
                f"the axis {axis} has walls and {before} intervals, no multiple of {after}, and is known at its nodes only"
            )
    return ""
