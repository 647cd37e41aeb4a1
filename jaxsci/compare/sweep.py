"""Many jobs, each once: in one process or in many, on one host or on several that share a folder, stopped and gone on with."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxsci._types import Progress
from jaxsci.compare.hosts import agree, is_first

_BEAT, _STALE = 20.0, 180.0  # seconds between signs of life of a claim, and after which it counts as left behind


class Swept(NamedTuple):
    """What became of the jobs of a sweep, by name.

    Attributes:
      done: finished, now or before, with what each returned.
      elsewhere: being worked on by another process.
      failed: the error of each, as text; they are tried again next time.
    """

    done: dict[str, Any]
    elsewhere: tuple[str, ...]
    failed: dict[str, str]


def sweep(jobs: Mapping[str, Callable[[Path], Any]], folder: str | os.PathLike[str], *, progress: Progress = None) -> Swept:
    """Run the jobs that are not done yet, each in a folder of its own.

    A job is a function of its folder, in which it may keep what it needs to go on after an interruption; what it returns is
    written as JSON when it is finished, and it is then never run again. Processes that are started with the same jobs and the
    same folder, on one host or on several, divide the jobs among themselves: a job is claimed by making a file that must not be
    there (which file systems do for one process alone), and a claim without a sign of life for three minutes is given up.
    Processes that met by `jax.distributed` count as one: the first of them claims and writes, and all of them run every job.

    Args:
      jobs: by name (letters, digits, ``. _ - , =`` and spaces), what to run.
      folder: where; made if it is not there.
      progress: called with a line of text at the start and the end of each job.
    Returns:
      What is done, what others are at, and what failed; a job that fails does not stop the others.
    Raises:
      ValueError: a name that is no name of a folder.
    Example:
      >>> import tempfile
      >>> from jaxsci.compare import sweep
      >>> jobs = {f"seed {i}": (lambda folder, i=i: {"error": 0.1 * i}) for i in range(2)}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     first, again = sweep(jobs, folder), sweep(dict.fromkeys(jobs, None), folder)
      >>> again.done
      {'seed 0': {'error': 0.0}, 'seed 1': {'error': 0.1}}
    """
    for name in jobs:
        if not re.fullmatch(r"[\w.,= -]+", name) or name.strip(". ") != name:
            raise ValueError(f"sweep: {name!r} is no name for a job; use letters, digits, spaces and . _ - , = only.")
    say = progress or (lambda text: None)
    done, elsewhere, failed = {}, [], {}
    for name, job in jobs.items():
        own = Path(folder) / name
        if is_first():
            own.mkdir(parents=True, exist_ok=True)
        with _claim(own) if is_first() else contextlib.nullcontext(False) as ours:
            file = own / "done.json"
            known, ours = agree([file.read_text() if is_first() and file.exists() else None, ours])
            if known is not None:
                done[name] = json.loads(known)
                say(f"{name}: done before")
                continue
            if not ours:
                elsewhere.append(name)
                say(f"{name}: another process is at it")
                continue
            began = time.perf_counter()
            say(f"{name}: started")
            try:
                result = json.loads(json.dumps(job(own)))  # as it will be read again
                if is_first():
                    (own / "done.tmp").write_text(json.dumps(result, indent=1))
            except Exception as error:  # the other jobs are not lost
                failed[name] = f"{type(error).__name__}: {error}"
                if is_first():
                    (own / "failed.txt").write_text(traceback.format_exc())
                say(f"{name}: failed, {failed[name]}")
                continue
            if is_first():
                os.replace(own / "done.tmp", file)
                (own / "failed.txt").unlink(missing_ok=True)
            done[name] = result
            say(f"{name}: done in {time.perf_counter() - began:.1f} s")
    return Swept(done, tuple(elsewhere), failed)


@contextlib.contextmanager
def _claim(folder: Path) -> Generator[bool]:
    """Whether the folder is this process's for the time of the block."""
    path = folder / "claimed"
    with contextlib.suppress(FileNotFoundError):
        if _is_left_behind(path):
            path.unlink()
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        yield False
        return
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        stop.set()
        thread.join()
        path.unlink(missing_ok=True)


def _is_left_behind(path: Path) -> bool:
    """Its process is gone from this host, or no sign of life came for long."""
    age = time.time() - path.stat().st_mtime
    try:
        owner = json.loads(path.read_text())
    except ValueError:  # it is being written
        return age > _STALE
    if owner["host"] == socket.gethostname():
        try:
            os.kill(owner["process"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, alive
            pass
    return age > _STALE
