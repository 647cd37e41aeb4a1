"""Batches of windows of trajectories, drawn at random from data that need not fit in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxsci._checks import is_whole
from jaxsci.surrogates.dataset import Dataset
from jaxsci.surrogates.layouts import opened
from jaxsci.surrogates.trajectories import Trajectories


class Batch(NamedTuple):
    """Some windows.

    Attributes:
      fields: ``[batch, saves, channels, *space]``.
      runs, first: which run each window is of, and its first save, ``[batch]``.
      number: of the batch, from 0; ``start=number + 1`` goes on behind it.
    """

    fields: Float[np.ndarray, "batch saves channels ..."]
    runs: Int[np.ndarray, " batch"]
    first: Int[np.ndarray, " batch"]
    number: int


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Which windows a batch has: every window of the data once an epoch, in an order that depends on seed and epoch alone."""

    runs: tuple[int, ...]
    starts: int  # windows of a run
    batch: int
    seed: int

    @property
    def windows(self) -> int:
        return len(self.runs) * self.starts

    @property
    def batches(self) -> int:
        """Of an epoch; windows that fill no batch wait for another epoch's order."""
        return self.windows // self.batch

    def of(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Runs and first saves of a batch, ``[batch]`` each."""
        epoch, place = divmod(number, self.batches)
        # A permutation that is evaluated where it is needed: one in memory would grow with the data.
        places = np.arange(place * self.batch, (place + 1) * self.batch)
        chosen = permuted(places, self.windows, (self.seed, epoch))
        return np.asarray(self.runs)[chosen // self.starts], chosen % self.starts


def stream_batches(
    source: Dataset | Trajectories,
    *,
    batch: int,
    saves: int,
    seed: int = 0,
    epochs: int | None = None,
    start: int = 0,
    runs: range | tuple[int, ...] | None = None,
    prefetch: int = 2,
) -> Iterator[Batch]:
    """Windows of consecutive saves, drawn at random, each once an epoch; the next ones are read meanwhile.

    A batch depends on seed and number alone: ``start=k`` gives the batches k, k + 1, ... of the same stream, bit for bit. Only
    the windows are read, run by run and in the file's order, into arrays that are new for every batch: prefetch + 2 batches are
    in memory, whatever the size of the file.

    Args:
      source: from `open_dataset`; or `Trajectories`, in memory.
      batch: windows at a time; the windows that are left at the end of an epoch are left out of it.
      saves: of a window, 2 for one step.
      seed: of the order.
      epochs: how often the data are gone through; without end by default.
      start: the number of the first batch.
      runs: which runs windows are taken from; all by default. Held-out runs are kept apart with it.
      prefetch: batches that a second thread reads ahead; 0 reads in this one. The thread ends with the iterator: when it is
        exhausted, closed or deleted.
    Yields:
      A `Batch`.
    Raises:
      TypeError, ValueError, IndexError: before the first batch, numbers that do not fit the data; later, a run that cannot be
        read or is not finite, naming it.
    Example:
      >>> import jax, jaxsci as js
      >>> keys = jax.random.split(jax.random.key(0), 4)
      >>> made = js.surrogates.simulate(
      ...     lambda key: js.problems.burgers(), keys, js.Spectral(n=32, dt=0.05), n=16, dt=0.1, steps=5
      ... )
      >>> batches = list(js.surrogates.stream_batches(made.data, batch=3, saves=2, epochs=1))
      >>> len(batches), batches[0].fields.shape  # 4 runs of 5 windows
      (6, (3, 2, 1, 17))
    """
    if not isinstance(source, Dataset | Trajectories):
        raise TypeError(
            f"stream_batches: the source must be a Dataset from open_dataset, or Trajectories, got {type(source).__name__}."
        )
    shape = source.shape if isinstance(source, Dataset) else tuple(source.fields.shape)
    for name, value, least in (("batch", batch, 1), ("saves", saves, 1), ("start", start, 0), ("prefetch", prefetch, 0)):
        if not (is_whole(value) and value >= least):
            raise ValueError(f"stream_batches: {name} must be a whole number >= {least}, got {value!r}.")
    if not (is_whole(seed) and seed >= 0) or not (epochs is None or (is_whole(epochs) and epochs >= 1)):
        raise ValueError(f"stream_batches: seed must be >= 0 and epochs >= 1, whole numbers, got {seed!r} and {epochs!r}.")
    chosen = tuple(range(shape[0]) if runs is None else runs)
    outside = [run for run in chosen if not (is_whole(run) and 0 <= run < shape[0])]
    if outside or not chosen:
        raise IndexError(f"stream_batches: runs must be among 0 ... {shape[0] - 1}, got {runs!r}.")
    if saves > shape[1]:
        raise ValueError(f"stream_batches: windows of {saves} saves do not fit into runs of {shape[1]}.")
    draw = _Draw(chosen, shape[1] - saves + 1, int(batch), int(seed))
    if not draw.batches:
        raise ValueError(f"stream_batches: a batch of {batch} is more than the {draw.windows} windows that there are.")
    end = None if epochs is None else epochs * draw.batches
    return _stream(source, draw, saves, start, end, prefetch)


def _stream(source: Any, draw: _Draw, saves: int, start: int, end: int | None, prefetch: int) -> Iterator[Batch]:
    with contextlib.ExitStack() as stack:
        if isinstance(source, Dataset):
            file = stack.enter_context(opened(source.path))
            shape, dtype = source.shape, source.dtype

            def window(run, first, out):
                source.window(file, run, slice(first, first + saves), out)
        else:
            fields = np.asarray(source.fields)
            shape, dtype = fields.shape, fields.dtype

            def window(run, first, out):
                out[...] = fields[run, first : first + saves]

        def make(number):
            runs, first = draw.of(number)
            out = np.empty((draw.batch, saves, *shape[2:]), dtype)
            for i in np.lexsort((first, runs)):  # in the file's order
                window(int(runs[i]), int(first[i]), out[i])
                if not _is_finite(out[i]):
                    raise ValueError(
                        f"stream_batches: run {runs[i]} is not finite near its save {first[i]}; leave it out: runs=."
                    )
            return Batch(out, runs, first, number)

        numbers = itertools.count(start) if end is None else range(start, end)
        if prefetch:
            yield from stack.enter_context(contextlib.closing(_ahead(make, numbers, prefetch)))
        else:
            yield from map(make, numbers)


def _is_finite(values: np.ndarray) -> bool:
    """By a sum, which makes no array; where it overflows, value by value."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.sum(values))) or bool(np.isfinite(values).all())


def _ahead(make: Callable[[int], Batch], numbers: Iterable[int], count: int) -> Generator[Batch]:
    """What `make` makes, made ahead by a thread that ends when the consumer does."""
    ready: queue.Queue = queue.Queue(count)
    stopped = threading.Event()

    def put(item):
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work():
        try:
            for number in numbers:
                if not put((make(number), None)):
                    return
            put((None, None))
        except BaseException as error:  # raised again where the batches are taken
            put((None, error))

    thread = threading.Thread(target=work, name="stream_batches", daemon=True)
    thread.start()
    try:
        while True:
            made, error = ready.get()
            if error is not None:
                raise error
            if made is None:
                return
            yield made
            del made  # not kept while the next one is waited for
    finally:
        stopped.set()
        thread.join()


def permuted(places: np.ndarray, count: int, seed: tuple[int, ...]) -> np.ndarray:
    """Entries at some places of a pseudo-random permutation of 0 ... count - 1, without the others.

    A Feistel network of four rounds over the next square of a power of two, applied again to what falls outside (cycle walking).

    Reference: Black & Rogaway (2002), Ciphers with arbitrary finite domains, CT-RSA, section 3.
    """
    half = max(1, math.ceil(math.log2(max(count, 2)) / 2))
    mask = np.uint64(2**half - 1)
    keys = np.random.SeedSequence(seed).generate_state(4, np.uint64)
    found = np.asarray(places, np.uint64)

    def shuffled(values):
        left, right = values >> np.uint64(half), values & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        return (left << np.uint64(half)) | right

    found = shuffled(found)
    while (outside := found >= count).any():
        found = np.where(outside, shuffled(found), found)
    return found.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every bit depends on every bit."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
