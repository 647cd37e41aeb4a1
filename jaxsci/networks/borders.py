"""What a network on a grid takes to be beyond its ends, axis by axis."""

from __future__ import annotations

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, listed, unknown_name

BorderName = Literal["periodic", "even", "odd", "zero"]
Borders = BorderName | tuple[BorderName, ...]

BORDERS: dict[str, str] = {
    "periodic": "u(x + L) = u(x)",
    "even": "u(-x) = u(x) about the wall's node",
    "odd": "u(-x) = -u(x) about the wall's node",
    "zero": "u = 0 outside",
}


def check_borders(network: str, borders: Any) -> None:
    """A name for all axes, or a tuple of names.

    Raises:
      TypeError, ValueError: what came, and the names there are.
    """
    names = borders if isinstance(borders, tuple) and borders else (borders,)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"{network}: borders must be one of {listed(BORDERS)}, or a tuple of one per axis, got {borders!r}."
            )
        if name not in BORDERS:
            raise ValueError(unknown_name(f"{network}: border", name, BORDERS))


def per_axis(network: str, borders: Borders, dimension: int) -> tuple[str, ...]:
    """One name for each axis.

    Raises:
      ValueError: another number of names.
    """
    names = borders if isinstance(borders, tuple) else (borders,) * dimension
    if len(names) != dimension:
        raise ValueError(f"{network}: borders {borders!r} name {len(names)} axes, and the network has {dimension}.")
    return names


def check_options(network: Any, *counts: str) -> None:
    """Fields of a description that are positive whole numbers, and its dimension, where it has one.

    Raises:
      ValueError: naming the field.
    """
    title = type(network).__name__
    for name in counts:
        value = getattr(network, name)
        if not (is_whole(value) and value > 0):
            raise ValueError(f"{title}: {name} must be a positive whole number, got {value!r}.")
    if "dimension" in counts and network.dimension > 3:
        raise ValueError(f"{title}: dimension must be 1, 2 or 3, got {network.dimension}.")


def check_modes(network: str, what: str, value: Any) -> None:
    """A tuple of positive whole numbers, one for each of 1 to 3 axes."""
    whole = isinstance(value, tuple) and all(is_whole(m) and m > 0 for m in value)
    if not (whole and 1 <= len(value) <= 3):
        raise ValueError(
            f"{network}: {what} must be a tuple of positive whole numbers, one per axis of 1 to 3, as in (16, 16), got {value!r}."
        )


def extend(network: str, h: Any, borders: tuple[str, ...], reach: int) -> Any:
    """A field ``[*space, channels]`` with `reach` more nodes beyond both ends of each axis, as the borders say.

    A grid between walls has a node on each wall, a periodic one has no node twice; mirrors stand ON the wall's node. The node
    itself keeps its value, also where the mirror image is odd.

    Raises:
      ValueError: a grid too short to look `reach` nodes beyond it.
    """
    if reach == 0:
        return h
    for axis, border in enumerate(borders):
        n = h.shape[axis]
        if n < reach + (border in ("even", "odd")):
            raise ValueError(
                f"{network}: it looks {reach} nodes beyond the grid, and axis {axis} ({border}) has only {n}; use a finer "
                "grid, or fewer levels, smaller kernels or dilations."
            )
        low, high = _beyond(h, axis, border, reach)
        h = jnp.concatenate([low, h, high], axis)
    return h


def _beyond(h: Any, axis: int, border: str, reach: int) -> tuple[Any, Any]:
    def part(start, stop):
        return h[(slice(None),) * axis + (slice(start, stop),)]

    n = h.shape[axis]
    if border == "periodic":
        return part(n - reach, n), part(0, reach)
    if border == "zero":
        nothing = jnp.zeros_like(part(0, reach))
        return nothing, nothing
    sign = -1 if border == "odd" else 1
    return sign * jnp.flip(part(1, reach + 1), axis), sign * jnp.flip(part(n - 1 - reach, n - 1), axis)


def extension(n: int, border: str) -> np.ndarray:
    """The matrix ``[period, n]`` that continues n nodes to one period: n for a periodic axis, else 2 (n - 1), the mirror
    image or zeros between the last wall and the first one's return.
    """
    own = np.eye(n)
    if border == "periodic":
        return own
    sign = {"even": 1.0, "odd": -1.0, "zero": 0.0}[border]
    return np.concatenate([own, sign * own[-2:0:-1]])


def hold(h: Any, borders: tuple[str, ...]) -> Any:
    """A field ``[*space, channels]`` that is zero on the walls whose border is "odd", and unchanged elsewhere."""
    for axis, border in enumerate(borders):
        if border == "odd":
            inner = np.ones(h.shape[axis], bool)
            inner[[0, -1]] = False
            h = jnp.where(inner.reshape((-1,) + (1,) * (h.ndim - axis - 1)), h, jnp.zeros((), h.dtype))
    return h


def waves(n: int, border: str, harmonics: int) -> np.ndarray:
    """Features ``[n, 2 harmonics]`` of the relative coordinate x of an axis: cos(k theta) and sin(k theta), k = 1 .. harmonics.

    theta = 2 pi i / n on a periodic axis, and pi i / (n - 1) between walls, where the two ends must differ.
    """
    theta = 2 * np.pi * np.arange(n) / n if border == "periodic" else np.pi * np.arange(n) / max(n - 1, 1)
    angles = theta[:, None] * np.arange(1, harmonics + 1)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
