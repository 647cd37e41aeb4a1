"""Pieces of a data set that is larger than memory, stacked and brought to the device by a thread while the last ones are used."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np


class PieceStream:
    """Groups of pieces, at most three of them in memory: in use, ready, and being read.

    Args:
      batches: an iterable of pieces, ``[batch, saves, channels, *space]`` or with these as ``fields``, or of pairs ``(piece,
        {name: [batch]})``; or a function of the number of the first piece that returns one. Where it is none, the pieces before
        the first are read and thrown away.
      first: number of the first piece.
      group: pieces in a group.
      shape: of every piece; it may have more saves.
      names: of the numbers that come with a piece.
      dtype, sharding: of the arrays on the device.
    """

    def __init__(
        self,
        batches: Iterable[Any] | Callable[[int], Iterable[Any]],
        first: int,
        *,
        group: int,
        shape: tuple[int, ...],
        names: Sequence[str],
        dtype: Any,
        sharding: Any = None,
    ):
        self._shape, self._names, self._dtype, self._sharding = shape, tuple(names), dtype, sharding
        pieces: Any = batches(first) if callable(batches) else itertools.islice(batches, first, None)
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(iter(pieces), group), daemon=True)
        self._thread.start()

    def next(self) -> tuple[int, Any] | None:
        """How many pieces, and these, ``(windows [group, ...], numbers {name: [group, batch]})``; None at the end."""
        found = self._queue.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _read(self, pieces: Any, group: int) -> None:
        try:
            while not self._stop.is_set():
                found = [self._checked(piece) for piece in itertools.islice(pieces, group)]
                if not found:
                    break
                count, found = len(found), found + [found[-1]] * (group - len(found))  # one shape, compiled once
                windows = np.stack([window for window, _ in found])
                numbers = {name: np.stack([n[name] for _, n in found]) for name in self._names}
                self._queue.put((count, jax.device_put((windows, numbers), self._sharding)))
                if count < group:
                    break
            self._queue.put(None)
        except BaseException as error:  # it is raised where the pieces are used
            self._queue.put(error)

    def _checked(self, piece: Any) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        if hasattr(piece, "fields"):  # of `stream_batches`
            piece = piece.fields
        window, numbers = piece if isinstance(piece, tuple) else (piece, {})
        window = np.asarray(window)
        batch, saves, *rest = self._shape
        if (
            window.ndim != len(self._shape)
            or window.shape[0] != batch
            or window.shape[1] < saves
            or list(window.shape[2:]) != rest
        ):
            raise ValueError(
                f"fit: a piece of the batches has shape {window.shape}, expected [batch, saves, channels, *space] = "
                f"{self._shape} with these saves (the longest unrolling, and its start) or more."
            )
        missing = [name for name in self._names if name not in numbers]
        if missing:
            raise ValueError(
                f"fit: the runs differ in {', '.join(missing)}: give batches of pairs (piece, {{name: [batch]}}) with it, as in "
                "((b.fields, {'viscosity': values[b.runs]}) for b in stream_batches(...))."
            )
        dtype = self._dtype
        return window[:, :saves].astype(dtype), {name: np.asarray(numbers[name], dtype) for name in self._names}
