"""Fields as small pictures: every save of a rollout in one palette PNG, shown frame by frame. Needs matplotlib's colours."""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from jaxsci.compare.pictures import matplotlib
from jaxsci.compare.study_report import Gallery

MOST_FRAMES = 41
MOST_PIXELS = 3_200_000  # of all pictures of a page together: about a byte each before compression
DECADES = 3  # of the errors' colours: from a thousandth of the truth's largest value to all of it
_GONE = (128, 128, 128)  # the colour of what is not a number


class Sprite(NamedTuple):
    """Frames in rows of `columns`, each with a border of one pixel that repeats its edge, as its shown size is interpolated.

    Attributes:
      png: the picture.
      frames, columns, rows: how many.
      width, height: of one frame in pixels, without its border.
    """

    png: bytes
    frames: int
    columns: int
    rows: int
    width: int
    height: int


class Film(NamedTuple):
    """The pictures of a gallery.

    Attributes:
      saves: which saves are shown.
      flat: whether space is one-dimensional: a film of one frame, time to the right and space upwards.
      truth: of the truth.
      fields, errors: by candidate.
      low, high: values at the ends of the fields' colours.
      size: the truth's largest absolute value, to which errors are relative.
      diverging: whether zero is in the middle of the colours.
    """

    saves: np.ndarray
    flat: bool
    truth: Sprite
    fields: dict[str, Sprite]
    errors: dict[str, Sprite]
    low: float
    high: float
    size: float
    diverging: bool


def film(gallery: Gallery) -> Film | None:
    """Every candidate's field and error as sprites on common colours; None where there is no space to show.

    Three-dimensional fields are shown on the plane in the middle of their last axis. Saves and points are thinned out until
    the pictures together are small enough for a page.
    """
    truth = plane(gallery.truth)
    space = truth.ndim - 1
    if space not in (1, 2) or not gallery.fields:
        return None
    saves = shown_saves(gallery)
    count = (1 + 2 * len(gallery.fields)) * (1 if space == 1 else len(saves))
    skips = _skips(truth.shape[1:] if space == 2 else truth.shape, MOST_PIXELS / count)
    low, high, size = limits(gallery)
    diverging = low < 0 < high
    colours, hot = palette("RdBu_r" if diverging else "viridis"), palette("magma")

    def shown(values: np.ndarray) -> np.ndarray:
        values = plane(values)
        frames = values[None] if space == 1 else values[saves]
        return frames[:, :: skips[0], :: skips[1]]

    def drawn(indices: np.ndarray, table: bytes) -> Sprite:
        return sprite(np.swapaxes(indices, 1, 2)[:, ::-1], table)  # the first axis to the right, the second upwards

    truth = shown(truth)
    fields = {name: shown(values) for name, values in gallery.fields.items()}
    return Film(
        saves, space == 1, drawn(levels(truth, low, high), colours),
        {name: drawn(levels(values, low, high), colours) for name, values in fields.items()},
        {name: drawn(levels(log_error(values, truth, size), -DECADES, 0), hot) for name, values in fields.items()},
        low, high, size, diverging,
    )  # fmt: skip


def plane(values: np.ndarray) -> np.ndarray:
    """What is shown of ``[saves, *space]``: all of it up to two dimensions, the middle of the others."""
    values = np.asarray(values, float)
    while values.ndim > 3:
        values = values[..., values.shape[-1] // 2]
    return values


def limits(gallery: Gallery) -> tuple[float, float, float]:
    """Ends of the colours, symmetric where the truth has both signs, and the truth's largest absolute value."""
    low, high = float(np.nanmin(gallery.truth)), float(np.nanmax(gallery.truth))
    size = max(abs(low), abs(high)) or 1.0
    if low < 0 < high:
        return -size, size, size
    return low, high if high > low else low + 1.0, size


def shown_saves(gallery: Gallery) -> np.ndarray:
    """Indices of the saves in the pictures, the first and the last among them."""
    count = len(gallery.ts)
    return np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))


def log_error(values: np.ndarray, truth: np.ndarray, size: float) -> np.ndarray:
    """The decadic logarithm of the error relative to the truth's largest value."""
    return np.log10(np.maximum(np.abs(values - truth) / size, 1e-17))


def levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as indices of a palette: 0 is not a number, 1 to 255 are the colours."""
    scaled = np.clip((values - low) / (high - low), 0, 1)
    return np.where(np.isfinite(values), 1 + np.round(254 * np.nan_to_num(scaled)), 0).astype(np.uint8)


def palette(name: str) -> bytes:
    """The colour of what is not a number, then 255 of matplotlib's map."""
    library = matplotlib()
    colours = np.asarray(library.colormaps[name](np.linspace(0, 1, 255)))[:, :3]
    return bytes(_GONE) + np.round(255 * colours).astype(np.uint8).tobytes()


def sprite(frames: np.ndarray, table: bytes) -> Sprite:
    """Frames ``[frames, height, width]`` of palette indices as one PNG."""
    count, height, width = frames.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    padded = np.pad(frames, ((0, rows * columns - count), (1, 1), (1, 1)), mode="edge")
    sheet = padded.reshape(rows, columns, height + 2, width + 2).swapaxes(1, 2).reshape(rows * (height + 2), -1)
    return Sprite(palette_png(sheet, table), count, columns, rows, width, height)


def palette_png(indices: np.ndarray, table: bytes) -> bytes:
    """A PNG of 8-bit palette indices ``[height, width]`` (ISO/IEC 15948), whose table is red, green, blue, red, ..."""
    height, width = indices.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)  # each line begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", table) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def frame_errors(gallery: Gallery, saves: np.ndarray) -> dict[str, list[Any]]:
    """By candidate, the relative L2 error of each shown save; None where it is not a number."""
    truth = np.asarray(gallery.truth, float)[saves].reshape(len(saves), -1)
    norm = np.maximum(np.linalg.norm(truth, axis=1), np.finfo(float).tiny)
    made = {}
    for name, values in gallery.fields.items():
        error = np.linalg.norm(np.asarray(values, float)[saves].reshape(len(saves), -1) - truth, axis=1) / norm
        made[name] = [float(f"{e:.4g}") if np.isfinite(e) else None for e in error]
    return made


def _skips(shape: tuple[int, ...], most: float) -> list[int]:
    """Strides that leave at most so many points of a plane, each axis no longer than 1,024."""
    skips = [-(-size // 1024) for size in shape]
    while np.prod([-(-size // skip) for size, skip in zip(shape, skips, strict=True)]) > most:
        longest = max(range(len(shape)), key=lambda i: shape[i] / skips[i])
        skips[longest] += 1
    return skips
