r"""Files that hold a long trajectory: HDF5 (``.h5``) or Zarr (``.zarr``), written piece by piece, sound at every moment.

A file has the arrays ``t [T]`` and one per unknown ``[T, *space]`` with named dimensions, a coordinate per axis, and
attributes that say where it comes from. All are laid out in full when the file is made, under another name, so that a file is
there whole or not at all. From then on nothing but numbers is written: the structure of an HDF5 file never changes (contiguous
arrays, allocated early), which is what a program that is killed would otherwise leave torn.

A *commit* makes a piece valid: the fields reach the disk, then their times, then a checkpoint, which says how many saves count
and holds the state to go on from. There are two slots for it, written in turn, each with its own sequence number and checksum:
whatever interrupts a write, the slot before it is good. Saves that do not count have no time (NaN).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import struct
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxsci._checks import listed

_EXTRA = {".h5": "h5py", ".zarr": "zarr"}
_NUMBERS = struct.Struct("<qqqqd")
_SLOTS, _TIMES, _CHECKSUM = "resume/checkpoint", "t", 16


class Checkpoint(NamedTuple):
    """How far a file is: the saves that count, the status of the run up to there, and the state at the last of them."""

    sequence: int
    saves: int
    first_bad_step: int
    courant_step: int
    courant: float
    state: bytes

    def pack(self) -> np.ndarray:
        text = _NUMBERS.pack(*self[:-1]) + self.state
        return np.frombuffer(text + hashlib.blake2b(text, digest_size=_CHECKSUM).digest(), np.uint8)

    @staticmethod
    def unpack(slot: np.ndarray) -> Checkpoint | None:
        """None where the checksum does not fit: the slot was being written when something ended the program."""
        data = slot.tobytes()
        text, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
        if hashlib.blake2b(text, digest_size=_CHECKSUM).digest() != checksum:
            return None
        return Checkpoint(*_NUMBERS.unpack(text[: _NUMBERS.size]), text[_NUMBERS.size :])


class Layout(NamedTuple):
    """What is decided when a file is made."""

    saves: int
    chunk: int  # saves that are written at a time
    unknowns: tuple[str, ...]
    grid: Mapping[str, np.ndarray]
    dtype: Any
    attributes: Mapping[str, str | int | float]


def check_path(what: str, path: Any) -> Path:
    """A path with an ending that can be written here.

    Raises:
      ValueError: another ending.
      ImportError: the package for it is not installed.
    """
    path = Path(path)
    if path.suffix not in _EXTRA:
        raise ValueError(f"{what}: {path.name} must end in .h5 (HDF5) or .zarr (Zarr).")
    try:
        importlib.import_module(_EXTRA[path.suffix])
    except ImportError:
        needed = f"{what}: {path.suffix} files need {_EXTRA[path.suffix]}."
        raise ImportError(f'{needed} Install it with: pip install "jaxsci[data]"') from None
    return path


def create(path: Path, layout: Layout, checkpoint: Checkpoint) -> None:
    """A new file without saves, made beside its place and moved there when it is whole."""
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    space = {name: len(x) for name, x in layout.grid.items()}
    with _opened(part, "w", path.suffix) as file:
        names = {"unknowns": " ".join(layout.unknowns), "axes": " ".join(layout.grid)}
        file.group.attrs.update({**layout.attributes, **names})
        for name, x in layout.grid.items():
            file.array(name, {name: len(x)}, x.dtype, len(x), x)
        file.array(_TIMES, {_TIMES: layout.saves}, layout.dtype, layout.chunk, np.full(layout.saves, np.nan, layout.dtype))
        for name in layout.unknowns:
            file.array(name, {_TIMES: layout.saves, **space}, layout.dtype, layout.chunk)
        slot = checkpoint.pack()
        file.array(_SLOTS, {"slot": 2, "byte": len(slot)}, np.uint8, 1, np.stack([slot, np.zeros_like(slot)]))
        file.finish()
    os.replace(part, path)
    _sync_folder(path.parent)


def append(path: Path, before: Checkpoint, ts: Any, fields: Any, after: Checkpoint) -> Checkpoint:
    """Write the saves ``fields [saves, unknowns, *space]`` behind those that count, and make them count.

    Returns:
      The checkpoint as it is in the file.
    """
    after = after._replace(sequence=before.sequence + 1)
    with _opened(path, "r+", path.suffix) as file:
        if len(ts):
            for i, name in enumerate(file.group.attrs["unknowns"].split()):
                file.write(name, before.saves, fields[:, i])
            file.sync()
            file.write(_TIMES, before.saves, ts)
            file.sync()
        file.write(_SLOTS, after.sequence % 2, after.pack()[None])
        file.sync()
    return after


def read(path: Path, name: str, key: Any = ()) -> np.ndarray:
    """A part of an array, ``array[key]``; nothing else is loaded."""
    with _opened(path, "r", path.suffix) as file:
        return np.asarray(file.group[name][key])


def describe(path: Path) -> tuple[dict[str, Any], Checkpoint]:
    """The attributes, and how far the file is.

    Raises:
      ValueError: it is no such file, or no checkpoint in it is whole.
    """
    with _opened(path, "r", path.suffix) as file:
        if _SLOTS not in file.group:
            raise ValueError(f"{path} was not written by jaxsci.stream: it has no {_SLOTS}.")
        found = [Checkpoint.unpack(slot) for slot in file.slots()]
        whole = [checkpoint for checkpoint in found if checkpoint is not None]
        if not whole:
            raise ValueError(f"{path}: both checkpoints are damaged. Its fields can be read with h5py, zarr or xarray.")
        attributes = {name: getattr(value, "item", lambda v=value: v)() for name, value in file.group.attrs.items()}
        return attributes, max(whole)


# --- the two formats ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path, mode: Literal["r", "r+", "w"], suffix: str) -> Generator[Any]:
    if suffix == ".zarr":
        import zarr

        yield _Zarr(path, zarr.open_group(path, mode=mode, zarr_format=3))
        return
    import h5py

    # Without a lock: readers may look on while a run writes, and must not be able to stop it. The structure never changes.
    with h5py.File(path, mode, locking=False) as file:
        yield _Hdf5(file)


class _Hdf5:
    """An HDF5 file with dimension scales, as NetCDF-4 has them."""

    def __init__(self, file: Any):
        self.group = file

    def array(self, name: str, dims: Mapping[str, int], dtype: Any, chunk: int, data: Any = None) -> None:
        del chunk  # contiguous
        from h5py import h5d, h5p

        layout = h5p.create(h5p.DATASET_CREATE)
        layout.set_layout(h5d.CONTIGUOUS)
        layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5d.FILL_TIME_NEVER)  # a sparse file; what is not written yet has no time
        made = self.group.create_dataset(name, tuple(dims.values()), dtype, dcpl=layout)
        if data is not None:
            made[...] = data
        if tuple(dims) == (name,):
            made.make_scale(name)
        elif name != _SLOTS:
            for i, dim in enumerate(dims):
                made.dims[i].attach_scale(self.group[dim])

    def finish(self) -> None:
        self.sync()

    def slots(self) -> list[np.ndarray]:
        return list(self.group[_SLOTS][...])

    def write(self, name: str, first: int, values: Any) -> None:
        self.group[name][first : first + len(values)] = np.asarray(values)

    def sync(self) -> None:
        self.group.flush()
        os.fsync(self.group.id.get_vfd_handle())


class _Zarr:
    """A folder of Zarr version 3: one file per chunk."""

    def __init__(self, path: Path, group: Any):
        self.path, self.group = path, group
        self.written: list[Path] = []

    def array(self, name: str, dims: Mapping[str, int], dtype: Any, chunk: int, data: Any = None) -> None:
        shape = tuple(dims.values())
        made = self.group.create_array(
            name, shape=shape, dtype=dtype, chunks=(min(chunk, shape[0]), *shape[1:]), dimension_names=list(dims),
            fill_value=np.nan if np.issubdtype(dtype, np.floating) else 0, compressors=None,
        )  # fmt: skip
        if data is not None:
            made[...] = data

    def finish(self) -> None:
        import zarr

        # Version 3 has no word on it yet, of which Zarr warns; xarray warns where it is missing.
        with warnings.catch_warnings(action="ignore"):
            zarr.consolidate_metadata(self.path)
        self.written = list(self.path.rglob("*"))
        self.sync()

    def slots(self) -> list[np.ndarray]:
        found = []
        for slot in range(2):
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # a file that was cut short
                found.append(self.group[_SLOTS][slot])
        return found

    def write(self, name: str, first: int, values: Any) -> None:
        array = self.group[name]
        chunk = self.path / name / "c" / str(first // array.chunks[0])
        # What a run that was killed left there does not count, may be cut short, and must not be read to be completed.
        shutil.rmtree(chunk) if chunk.is_dir() else chunk.unlink(missing_ok=True)
        array[first : first + len(values)] = np.asarray(values)
        self.written += [chunk, *chunk.rglob("*"), chunk.parent]

    def sync(self) -> None:
        for path in self.written:
            _sync_folder(path) if path.is_dir() else _sync_file(path)
        self.written = []


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:  # some systems sync only what may be written
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_same(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise where a file holds another run, naming what differs."""
    different = [name for name, value in here.items() if there.get(name) != value]
    if different:
        values = "; ".join(f"{name} is {there.get(name)!r} there and {here[name]!r} here" for name in different)
        raise ValueError(
            f"{path.name} holds another run, which differs in {listed(different)}: {values}. "
            "Give another path, or the arguments that it was begun with."
        )
