"""The record of a study on disk: what is finished is read back and never computed again.

A stage is a function without arguments whose result is made of numbers, texts, arrays, lists, dictionaries and dataclasses. It is
one file, arrays and a description of what holds them; nothing in it is run when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsci.compare.hosts import agree, first_says, is_first

_IDENTITY = "study.json"  # what the study is, beside its stages


class NotRecordable(TypeError):
    """A value that has no place in a record."""


class StudyRecord:
    """Stages by name, in a folder or, without one, in memory alone.

    Args:
      folder: made with the first stage where it is not there; None keeps nothing.
      identity: what the study is, by name; a folder with another one is refused.
      resume: whether there may be stages already.
    Attributes:
      seconds: by stage, what it took when it was computed.
    Raises:
      ValueError: the folder holds stages and resume is False, or those of another study.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, identity: Mapping[str, str], resume: bool):
        self.folder = None if folder is None else Path(folder)
        self.seconds: dict[str, float] = {}
        self.identity = dict(identity)
        if self.folder is None and resume:
            raise ValueError("run_study: resume=True needs the folder in which the record is.")
        first_says(lambda: self._begin(identity, resume))

    def _begin(self, identity: Mapping[str, str], resume: bool) -> bytes:
        path = None if self.folder is None else self.folder / _IDENTITY
        if path is None or not path.exists():
            return b""
        if not resume:
            raise ValueError(
                f"run_study: {self.folder} holds the record of a study; give resume=True to go on from it, or another folder."
            )
        known = json.loads(path.read_text())
        other = [name for name, text in identity.items() if known.get(name) != text]
        if other:
            raise ValueError(
                f"run_study: {self.folder} holds the record of another study: its {', '.join(other)} differ. Give another folder."
            )
        return b""

    def stage(
        self,
        name: str,
        compute: Callable[[], Any],
        say: Callable[[str], None] = lambda text: None,
        *,
        together: bool = False,
    ) -> Any:
        """The result of a stage: from the record, or computed and recorded.

        Of several processes the first computes and tells the others, or all do `together`; what the first has counts for all,
        its seconds too. What has no place in a record is computed by each.
        """
        known = first_says(lambda: self._read(name))
        if known:
            self.seconds[name], value = _unpacked(known)
            say(f"{name}: from the record")
            return value
        several, mine = jax.process_count() > 1, []

        def work() -> bytes:
            began = time.perf_counter()
            mine.append(compute())
            self.seconds[name] = time.perf_counter() - began
            if self.folder is None and not several:
                return b""
            try:
                return _packed(self.seconds[name], mine[0])
            except NotRecordable as error:
                say(f"{name}: not recorded, {error}")
                return b""

        made = work() if together and several else b""
        packed = first_says((lambda: made) if together and several else work)
        if not packed:
            value = mine[0] if mine else compute()
            if several:
                self.seconds[name] = agree(self.seconds.get(name))
            return value
        if self.folder is not None and is_first():
            if not (self.folder / _IDENTITY).exists():  # with the first stage: what fails before leaves no folder behind
                self.folder.mkdir(parents=True, exist_ok=True)
                _write(self.folder / _IDENTITY, json.dumps(self.identity, indent=1).encode())
            _write(self.folder / f"{_file_name(name)}.npz", packed)
        if not several:
            return mine[0]
        self.seconds[name], value = _unpacked(packed)
        return value

    def _read(self, name: str) -> bytes:
        path = None if self.folder is None else self.folder / f"{_file_name(name)}.npz"
        return path.read_bytes() if path is not None and path.exists() else b""

    def folder_of(self, name: str) -> Path | None:
        """Where a stage may keep a record of its own while it runs: none of several processes."""
        return None if self.folder is None or jax.process_count() > 1 else self.folder / _file_name(name)


def _packed(seconds: float, value: Any) -> bytes:
    arrays: dict[str, Any] = {}
    shape = json.dumps({"seconds": seconds, "value": encoded(value, arrays)})
    file = io.BytesIO()
    np.savez(file, shape=np.asarray(shape), **arrays)
    return file.getvalue()


def _unpacked(packed: bytes) -> tuple[float, Any]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    shape = json.loads(str(arrays.pop("shape")))
    return shape["seconds"], decoded(shape["value"], arrays)


def encoded(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; its arrays go into `arrays`.

    Raises:
      NotRecordable: it holds something else.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, jax.Array | np.ndarray):
        if not isinstance(value, np.ndarray) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            raise NotRecordable("it holds a random key")
        name = f"a{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"array": name}
    if isinstance(value, Mapping):
        return {"dict": [[encoded(k, arrays), encoded(v, arrays)] for k, v in value.items()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encoded(getattr(value, f.name), arrays) for f in dataclasses.fields(value) if f.init}
        return {"class": _path(type(value)), "fields": fields}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {
            "class": _path(type(value)),
            "fields": {k: encoded(v, arrays) for k, v in zip(value._fields, value, strict=True)},
        }
    if isinstance(value, list | tuple):
        return {type(value).__name__: [encoded(v, arrays) for v in value]}
    if callable(value) and hasattr(value, "__qualname__"):
        return {"name": _path(value)}
    raise NotRecordable(f"it holds a {type(value).__name__}")


def decoded(shape: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `encoded`; arrays are NumPy's."""
    if not isinstance(shape, dict):
        return shape
    if "array" in shape:
        return arrays[shape["array"]]
    if "dict" in shape:
        return {decoded(k, arrays): decoded(v, arrays) for k, v in shape["dict"]}
    if "list" in shape:
        return [decoded(v, arrays) for v in shape["list"]]
    if "tuple" in shape:
        return tuple(decoded(v, arrays) for v in shape["tuple"])
    if "name" in shape:
        return _named(shape["name"])
    kind = _named(shape["class"])
    if not (isinstance(kind, type) and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields"))):
        raise ValueError(f"the record names {shape['class']}, which is no dataclass.")
    return kind(**{name: decoded(v, arrays) for name, v in shape["fields"].items()})


def _path(thing: Any) -> str:
    path = f"{thing.__module__}:{thing.__qualname__}"
    try:
        found = _named(path)
    except ValueError:
        found = None
    if found is not thing:
        raise NotRecordable(f"it holds {path}, which has no name of its own")
    return path


def _named(path: str) -> Any:
    """Of a module that is loaded already: reading a record imports nothing."""
    module, _, names = path.partition(":")
    found = sys.modules.get(module)
    for name in names.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise ValueError(
            f"the record names {path}, which is not there: it was written by another version, or import it first."
        )
    return found


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _write(path: Path, content: bytes) -> None:
    """Under a temporary name first, so that a file is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
