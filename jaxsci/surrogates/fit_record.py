"""The record of a surrogate's fit on disk: stopped at any moment, it goes on from there bit for bit."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.learning.checkpoints import Record, restored
from jaxsci.surrogates.trajectories import Trajectories


class FitRecord:
    """A folder with what a training carries, saved now and then, when it is interrupted (Ctrl-C, SIGTERM) and when it ends.

    Args:
      folder: of this fit alone.
      resume: whether there may be a record, to go on from.
      identity: what must agree for that: see `identity_of`.
      every: seconds between saves.
    Raises:
      ValueError: there is a record and resume is False, or it is of another fit.
    """

    def __init__(self, folder: str | os.PathLike[str], resume: bool, identity: dict[str, str], every: float = 60.0):
        path = Path(folder)
        if not resume and path.is_dir() and any(child.name.startswith("save-") for child in path.iterdir()):
            raise ValueError(f"fit: {path} holds the record of a fit; give resume=True to go on from it, or another folder.")
        self._record = Record(path, identity, every)

    def watching(self) -> contextlib.AbstractContextManager[None]:
        """Within it a first signal saves before it acts."""
        return self._record.watching()

    def restore(self, state: Any) -> tuple[Any, np.ndarray, float, str, float] | None:
        """State, losses, seconds, stopped ("" where it is to go on) and horizon of the record; None where it is new."""
        known = self._record.begin()
        if known is None:
            return None
        *leaves, losses = known.arrays
        numbers = known.numbers
        stopped = numbers["stopped"] if known.finished else ""  # what ended by its budget goes on with a new one
        return restored(state, leaves), losses, numbers["seconds"], stopped, numbers["horizon"]

    def keep(self, state: Any, losses: np.ndarray, seconds: float, stopped: str, horizon: float) -> None:
        """Save where the time has come or the fit has ended."""
        numbers = {"seconds": seconds, "stopped": stopped, "horizon": horizon}
        arrays = lambda: [*map(np.asarray, jax.tree.leaves(state)), losses]  # noqa: E731
        if stopped in ("steps", "not finite"):
            self._record.finish(arrays(), numbers)
        else:
            self._record.keep(arrays, numbers, last=bool(stopped))


def identity_of(surrogate: Any, data: Trajectories, key: Any) -> dict[str, str]:
    """What a record must agree in: the surrogate, every number of the data, the key, the precision."""
    digest = hashlib.blake2b(digest_size=8)
    fields = np.asarray(data.fields)
    for run in fields:
        digest.update(np.ascontiguousarray(run).tobytes())
    for name, values in sorted(data.numbers.items()):
        digest.update(name.encode() + np.ascontiguousarray(np.asarray(values)).tobytes())
    return {
        "surrogate": re.sub(r" at 0x[0-9a-f]+", "", repr(surrogate)),
        "data": f"{data.problem.name} {data.problem.identity} {fields.shape} dt {data.dt} {digest.hexdigest()}",
        "key": str(np.asarray(jax.random.key_data(key)).tolist()),
        "precision": str(jnp.result_type(float)),
    }
