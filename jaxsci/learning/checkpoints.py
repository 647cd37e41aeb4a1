"""The record of a fit on disk: stopped at any moment, it goes on from there bit for bit.

A fit is a sequence of *legs*, one optimiser from where the last one ended. The record keeps the result of every leg that is
finished, and all that the running one carries: the optimiser's state, points, weights, the best so far. A fit that is started
again runs the same program from its beginning, takes the results of finished legs from the record, and computes on where it
ends; so whatever decides which leg comes next (windows that were halved, stages of a curriculum) decides again as it did.

Every save is a folder of its own, which orbax writes under another name and moves into place when it is whole; the one before
is deleted only then.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np

_NAME = re.compile(r"save-(\d+)")


class Known(NamedTuple):
    """What a record has of a leg."""

    arrays: list[Any]
    numbers: dict[str, Any]
    finished: bool


class Record:
    """The record of one fit in a folder. What it holds of the running leg is a list of arrays and a dictionary of numbers.

    Args:
      folder: made where it is not there.
      identity: what the fit is of, by name; another fit's record is refused.
      every: seconds between saves.
    Raises:
      ValueError: the folder holds the record of another fit, or files that are none.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, str], every: float = 60.0):
        self.folder, self.identity, self.every = Path(folder), dict(identity), every
        self._finished: list[tuple[list[Any], dict[str, Any]]] = []
        self._current: tuple[list[Any], dict[str, Any]] | None = None
        self._number, self._leg, self._elapsed = 0, 0, 0.0
        self._signal: int | None = None
        self._closed = False
        self._began = self._saved = time.perf_counter()
        if self.folder.is_dir():
            self._read()

    @property
    def elapsed(self) -> float:
        """Seconds that the fit has taken, over all the runs of the program."""
        return self._elapsed + time.perf_counter() - self._began

    # --- legs ----------------------------------------------------------------------------------------------------------

    def begin(self) -> Known | None:
        """The next leg, or None where it is new."""
        if self._closed:
            return None
        self._leg += 1
        if self._leg <= len(self._finished):
            return Known(*self._finished[self._leg - 1], True)
        return None if self._current is None else Known(*self._current, False)

    def finish(self, arrays: list[Any], numbers: dict[str, Any]) -> None:
        """The leg has ended with this result."""
        if self._closed:
            return
        self._finished.append((list(map(np.asarray, arrays)), numbers))
        self._current = None
        self._write()

    def keep(self, arrays: Callable[[], list[Any]], numbers: dict[str, Any], last: bool = False) -> None:
        """Save the running leg where the time has come; after a signal save it and let the signal do what it does.

        Where the budget of the whole fit ends here, this is the `last` save: what comes after is for this run alone.
        """
        if self._closed:
            return
        if last or self._signal is not None or time.perf_counter() - self._saved > self.every:
            self._current = list(map(np.asarray, arrays())), numbers
            self._write()
        self._closed = last
        if self._signal is not None:
            raise _Interrupted(self._signal)

    # --- signals -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self) -> Generator[None]:
        """Ctrl-C and SIGTERM end the fit at the next step, after a save; a second one acts at once."""
        if threading.current_thread() is not threading.main_thread():  # only it may be told of signals
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number
            for each, handler in before.items():
                signal.signal(each, handler)

        for number in before:
            signal.signal(number, note)
        try:
            yield
        except _Interrupted as interrupted:
            signal.raise_signal(interrupted.number)  # the handlers are those from before again
            raise KeyboardInterrupt from None  # where a handler of the program's own let it go on: the fit ends all the same
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # --- the disk ------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        import orbax.checkpoint as ocp

        legs = [*self._finished, *([] if self._current is None else [self._current])]
        about = {
            "identity": self.identity,
            "elapsed": self.elapsed,
            "running": self._current is not None,
            "numbers": [numbers for _, numbers in legs],
        }
        tree = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        tree |= {f"{i}/{j}".replace("/", "_"): array for i, (arrays, _) in enumerate(legs) for j, array in enumerate(arrays)}
        self._number += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        with ocp.PyTreeCheckpointer() as writer:
            writer.save(self.folder.resolve() / f"save-{self._number}", tree, force=True)
        for path, number in self._saves():
            if number < self._number:
                shutil.rmtree(path, ignore_errors=True)
        self._saved = time.perf_counter()

    def _read(self) -> None:
        import orbax.checkpoint as ocp

        saves = self._saves()
        if not saves:
            if any(self.folder.iterdir()) and not any(path.name.startswith("save-") for path in self.folder.iterdir()):
                raise ValueError(f"{self.folder} holds other files and no record of a fit; give a folder of its own.")
            return
        path, self._number = max(saves, key=lambda save: save[1])
        with ocp.PyTreeCheckpointer() as reader:
            tree = reader.restore(path.resolve())
        about = json.loads(bytes(np.asarray(tree["about"], np.uint8)))
        for name, mine in self.identity.items():
            if about["identity"].get(name) != mine:
                raise ValueError(
                    f"{self.folder} holds the record of another fit: its {name} is {about['identity'].get(name)}, and this "
                    f"fit's is {mine}. Give another folder, or delete this one."
                )
        legs = []
        for i, numbers in enumerate(about["numbers"]):
            names = sorted((name for name in tree if name.startswith(f"{i}_")), key=lambda name: int(name.split("_")[1]))
            legs.append(([np.asarray(tree[name]) for name in names], numbers))
        self._current = legs.pop() if about["running"] else None
        self._finished, self._elapsed = legs, about["elapsed"]

    def _saves(self) -> list[tuple[Path, int]]:
        """Whole saves with their numbers; orbax's half-written ones have other names."""
        found = [(path, _NAME.fullmatch(path.name)) for path in self.folder.iterdir()]
        return [(path, int(match[1])) for path, match in found if match]


class _Interrupted(BaseException):
    """A signal came; the record is saved."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def restored(structure: Any, arrays: list[Any]) -> Any:
    """Saved arrays in the structure, the shapes and the types of a pytree."""
    leaves, treedef = jax.tree.flatten(structure)
    if [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in leaves] != [(a.shape, a.dtype) for a in arrays]:
        raise ValueError("the record of this fit was written by another version of the program; delete it and begin anew.")
    return jax.tree.unflatten(treedef, [jax.numpy.asarray(a) for a in arrays])
