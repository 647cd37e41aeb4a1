"""A report's files on disk: all of them, or what was there before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def writable_folder(folder: str | Path) -> Path:
    """The folder, which may not be a file.

    Raises:
      NotADirectoryError: there is a file of that name.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(f"{target} is a file; give a folder to write the report to.")
    return target


def write_files(target: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by name, in their order: first to a temporary folder, so that a failure leaves what was there."""
    target.mkdir(parents=True, exist_ok=True)
    try:  # the temporary folder is on the same file system, whatever is mounted at the target
        with tempfile.TemporaryDirectory(prefix=".report-", dir=target) as made:
            for name, content in contents.items():
                (Path(made) / name).write_bytes(content)
            for name in contents:
                os.replace(Path(made) / name, target / name)
    except BaseException:
        with contextlib.suppress(OSError):
            target.rmdir()  # if it is empty
        raise
