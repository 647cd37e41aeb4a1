"""Rows of `compare.py`: batches streamed from a file that does not fit in memory, and how fast."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command import row

RUNS, SAVES, N = 410, 101, 256  # float32 of 2 channels: 21.7 GB
BATCH, WINDOW = 16, 2
MEGABYTE = 2**20


def rows_streaming(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Peak memory of a fresh process that streams batches from a 20 GB-shaped file, its growth, and the throughput."""
    batches = 60 if options.smoke else 3000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.hdf5"
        size = lay_out(path)
        command = [sys.executable, __file__, str(path), str(batches)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    about = {"precision": "float32", "dataset_gigabytes": size / 1e9, "batches": batches, "batch": [BATCH, WINDOW, 2, N, N]}
    yield row(
        "peak memory (MB) of streaming a 20 GB-shaped HDF5 file",
        ours=found["peak"], target=1000, meets=found["peak"] <= 1000 and found["growth"] <= 0.05 * found["peak"],
        growth_between_first_and_last_tenth=found["growth"], memory_before_streaming=found["before"], **about,
    )  # fmt: skip
    yield row(
        "seconds per GB of windows against plain h5py, interleaved",
        ours=found["ours"], theirs=found["theirs"], target=1.1, meets=found["ours"] <= 1.1 * found["theirs"],
        megabytes_per_second=1000 / found["ours"], peer="h5py, the same windows in the same order, one thread",
        synchronous=found["synchronous"], **about,
    )  # fmt: skip


def lay_out(path: Path) -> int:
    """The layout of PDEBench's flows, with all its structure and almost none of its bytes: chunks that were never written.

    Some are written, so that bytes are read from the disk too.
    """
    import h5py
    import numpy as np

    shape, chunks = (RUNS, SAVES, N, N), (1, 1, N, N)
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name in ("density", "Vx"):
            fields = file.create_dataset(name, shape, np.float32, chunks=chunks, fillvalue=0.5)
            for run in range(0, RUNS, 40):
                fields[run, :20] = random.normal(size=(20, N, N))
        for name in "xy":
            file[f"{name}-coordinate"] = (np.arange(N) + 0.5) / N
        file["t-coordinate"] = np.arange(SAVES) * 0.05
        return sum(file[name].size * 4 for name in ("density", "Vx"))


def measure(path: str, batches: int) -> dict[str, float]:
    """In a process of its own: what `ru_maxrss` says, and seconds by GB."""
    import functools
    import resource
    import time
    from itertools import islice

    import h5py
    import numpy as np

    from jaxsci.surrogates.batches import stream_batches
    from jaxsci.surrogates.dataset import open_dataset

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE

    data = open_dataset(path)
    before, marks = peak(), {}
    for i, batch in enumerate(islice(stream_batches(data, batch=BATCH, saves=WINDOW), batches)):
        marks[i] = peak()
        del batch
    first, last = marks[batches // 10 - 1], marks[batches - 1]

    # The same windows in turns: ahead in a thread, in this thread, and by h5py alone.
    span, seconds = max(10, batches // 30), {"ours": [], "synchronous": [], "theirs": []}

    def by_h5py(numbers):
        with h5py.File(path, "r") as file:
            for runs, starts in numbers:
                out = np.empty((BATCH, WINDOW, 2, N, N), np.float32)
                for i in np.lexsort((starts, runs)):
                    for c, name in enumerate(("density", "Vx")):
                        out[i, :, c] = file[name][runs[i], starts[i] : starts[i] + WINDOW]

    for turn in range(5):
        stream = functools.partial(stream_batches, data, batch=BATCH, saves=WINDOW, start=turn * span)
        taken = [(batch.runs, batch.first) for batch in islice(stream(), span)]
        calls = {
            "ours": lambda stream=stream: [None for _ in islice(stream(), span)],
            "synchronous": lambda stream=stream: [None for _ in islice(stream(prefetch=0), span)],
            "theirs": lambda taken=taken: by_h5py(taken),
        }
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    gigabytes = span * BATCH * WINDOW * 2 * N * N * 4 / 1e9
    rates = {name: min(found) / gigabytes for name, found in seconds.items()}
    return {"peak": last, "before": before, "growth": last - first, **rates}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
