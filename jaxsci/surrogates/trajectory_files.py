"""Trajectories in files with where they come from: HDF5, NetCDF-4 and Zarr, written whole or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsci.problems import Problem
from jaxsci.solvers.lines import structure
from jaxsci.surrogates.dataset import Dataset, open_dataset
from jaxsci.surrogates.layouts import FORMAT, opened
from jaxsci.surrogates.trajectories import Trajectories

_PACKAGES = {".h5": "h5py", ".hdf5": "h5py", ".nc": "h5py", ".zarr": "zarr"}
_CHUNK_BYTES = 2**20  # of a chunk, at most: a window of a few saves should not read many more
_OFF = 1e-6  # relative, of numbers that must agree: files are in single precision at worst


def write_trajectories(path: str | Path, data: Trajectories, *, provenance: Mapping[str, Any] | None = None) -> None:
    """Trajectories to a file that says where they come from.

    The file has ``fields [run, save, channel, *space]`` with named dimensions and their coordinates, ``number_<name> [run]`` for
    what differs between the runs, and attributes: the problem's name, equation, box, coefficients and identity, grid and step,
    precision, versions, and the time of writing. NetCDF-4 is HDF5 with named dimensions, so that ``.h5`` and ``.nc`` differ in
    the name alone; xarray opens all three. It is written under another name and moved to its place when it is whole.

    Args:
      path: ending in ``.h5``, ``.hdf5``, ``.nc`` or ``.zarr``; what is there is replaced.
      data: finite.
      provenance: what only the caller knows, as JSON can hold it or as it prints: ``{"solver": method, "seed": 0, "skip": 50}``.
    Raises:
      TypeError, ValueError, ImportError: no `Trajectories`, another ending, runs that are not finite, or no package for it.
    Example:
      >>> import jax, tempfile, pathlib, jaxsci as js
      >>> method = js.Spectral(n=32, dt=0.05)
      >>> keys = jax.random.split(jax.random.key(0), 2)
      >>> made = js.surrogates.simulate(lambda key: js.problems.burgers(), keys, method, n=16, dt=0.1, steps=3)
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "burgers.h5"
      >>> js.surrogates.write_trajectories(path, made.data, provenance={"solver": method, "seed": 0})
      >>> js.surrogates.read_trajectories(path, js.problems.burgers())
      Trajectories(burgers, fields (2, 4, 1, 17) float32, dt 0.1)
    """
    path = Path(path)
    if path.suffix not in _PACKAGES:
        raise ValueError(f"write_trajectories: {path.name} must end in one of {', '.join(_PACKAGES)}.")
    if not isinstance(data, Trajectories):
        raise TypeError(f"write_trajectories: data must be Trajectories, got {type(data).__name__}.")
    fields = np.asarray(data.fields)
    space = data.problem.domain.space
    channels = _channels(data.problem)
    if fields.ndim != 3 + len(space) or fields.shape[2] != len(channels) or not len(fields):
        raise ValueError(
            f"write_trajectories: fields must be [runs, saves, {len(channels)} for {', '.join(channels)}, {', '.join(space)}], "
            f"got shape {fields.shape}."
        )
    bad = [i for i, run in enumerate(fields) if not np.isfinite(run).all()]
    if bad:
        raise ValueError(f"write_trajectories: run {bad[0]} is not finite ({len(bad)} such runs); leave them out.")
    package = _PACKAGES[path.suffix]
    try:
        importlib.import_module(package)
    except ImportError:
        raise ImportError(
            f'write_trajectories: {path.suffix} files need {package}. Install it with: pip install "jaxsci[data]"'
        ) from None
    arrays = {
        "run": (("run",), np.arange(len(fields))),
        "time": (("time",), np.arange(fields.shape[1]) * data.dt),
        "channel": (("channel",), np.arange(len(channels))),
        **{name: ((name,), np.asarray(x)) for name, x in data.frame().grid.items()},
        "fields": (("run", "time", "channel", *space), fields),
        **{f"number_{name}": (("run",), np.asarray(values)) for name, values in data.numbers.items()},
    }
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        (_write_zarr if package == "zarr" else _write_hdf5)(part, arrays, _attributes(data, channels, provenance or {}))
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(part, path)
    finally:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def read_trajectories(path: str | Path, problem: Problem | None = None) -> Trajectories:
    """Trajectories that `write_trajectories` wrote, whole in memory; `open_dataset` and `stream_batches` read parts.

    Args:
      path: of the file.
      problem: that they must be of: a file of another equation, box, boundary or coefficients is refused, with what differs. The
        coefficients in which the runs differ, and the start, may be others.
    Raises:
      FileNotFoundError, ImportError, ValueError: no such file, no package for it, another layout, another problem, values that
        are not finite, a file that was cut short; or no problem is given, and the file cannot say it: equations are code.
    Example: see `write_trajectories`.
    """
    dataset = open_dataset(path, "jaxsci")
    if problem is None:
        about = provenance_of(path)
        raise ValueError(
            f"read_trajectories: {dataset.path.name} holds runs of {about['problem']}, {about['equation']}; an equation is code, "
            "so give the problem: read_trajectories(path, problem)."
        )
    about = provenance_of(path)
    _check_same(dataset, about, problem)
    return dataclasses.replace(dataset.trajectories(problem), dt=float(about["dt"]))


def provenance_of(path: str | Path) -> dict[str, Any]:
    """What a file of `write_trajectories` says about itself: its attributes.

    Raises:
      FileNotFoundError, ImportError, ValueError: as of `open_dataset`.
    """
    with opened(path) as file:
        found = {name: getattr(value, "item", lambda v=value: v)() for name, value in file.attrs.items()}
    if found.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by write_trajectories; open_dataset reads other layouts.")
    for name in ("coefficients", "box", "provenance", "versions"):
        found[name] = json.loads(found[name])
    return found


def _attributes(data: Trajectories, channels: tuple[str, ...], provenance: Mapping[str, Any]) -> dict[str, Any]:
    problem = data.problem
    packages = {name: importlib.metadata.version(name) for name in ("jaxsci", "jax", "numpy")}
    return {
        "format": FORMAT,
        "problem": problem.name,
        "identity": problem.identity,
        "equation": repr(problem.equation),
        "equation_identity": problem.equation.identity,
        "box": _text({name: problem.domain[name] for name in problem.domain.space}),
        "boundary": _boundary(problem),
        "coefficients": _text(_scalars(problem)),
        "numbers": " ".join(data.numbers),
        "channels": " ".join(channels),
        "axes": " ".join(problem.domain.space),
        "walls": " ".join(axis for axis in problem.domain.space if problem.walls(axis)),
        "n": " ".join(map(str, data.intervals)),
        "dt": float(data.dt),
        "precision": str(np.dtype(data.fields.dtype)),
        "device": jax.default_backend(),
        "versions": _text(packages),
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "provenance": _text(dict(provenance)),
    }


def _text(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON does not know: numbers of arrays, and what prints."""
    if isinstance(value, np.ndarray | np.generic | jax.Array) and not jax.dtypes.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        return np.asarray(value).tolist()
    return repr(value)


def _channels(problem: Problem) -> tuple[str, ...]:
    return tuple(name + "_t" * order for name, order in structure(problem.equation).components)


def _scalars(problem: Problem) -> dict[str, float]:
    """The coefficients that are numbers; those of the start are not part of a data set's identity."""
    values = {name: value for name, value in problem.coefficients.items() if np.ndim(value) == 0 and not callable(value)}
    return {name: float(value) for name, value in values.items() if name in problem.equation.coefficients}


def _boundary(problem: Problem) -> str:
    return "; ".join(f"{axis}: {', '.join(map(repr, problem.walls(axis))) or 'periodic'}" for axis in problem.domain.space)


def _check_same(dataset: Dataset, about: Mapping[str, Any], problem: Problem) -> None:
    """What the runs' dynamics depend on is the same there and here.

    Raises:
      ValueError: naming what differs, there and here.
    """
    different = []
    if about["equation_identity"] != problem.equation.identity:
        different.append(f"the equation is {about['equation']} there and {problem.equation!r} here")
    box = {name: list(problem.domain[name]) for name in problem.domain.space}
    if {name: list(ends) for name, ends in about["box"].items()} != box:
        different.append(f"the box is {about['box']} there and {box} here")
    if about["boundary"] != _boundary(problem):
        different.append(f"the boundary is {about['boundary']} there and {_boundary(problem)} here")
    here = _scalars(problem)
    for name, value in about["coefficients"].items():
        if name in dataset.numbers or name not in here:
            continue
        if abs(here[name] - value) > _OFF * max(abs(value), abs(here[name])):
            different.append(f"{name} is {value:g} there and {here[name]:g} here")
    if different:
        raise ValueError(f"{dataset.path} holds runs of another problem: {'; '.join(different)}.")


# --- the formats -------------------------------------------------------------------------------------------------------------


def _chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Whole fields of some consecutive saves of one run."""
    a_save = max(1, int(np.prod(shape[2:]))) * itemsize
    return (1, max(1, min(shape[1], _CHUNK_BYTES // a_save)), *shape[2:])


def _write_hdf5(path: Path, arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    import h5py

    with h5py.File(path, "w", track_order=True) as file:  # NetCDF-4 wants the order of creation
        file.attrs.update(attributes)
        for name, (dims, values) in arrays.items():
            chunks = _chunks(values.shape, values.itemsize) if name == "fields" else None
            made = file.create_dataset(name, data=values, chunks=chunks)
            if dims == (name,):
                made.make_scale(name)
            else:
                for i, dim in enumerate(dims):
                    made.dims[i].attach_scale(file[dim])
        file.flush()
        os.fsync(file.id.get_vfd_handle())


def _write_zarr(path: Path, arrays: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(attributes)
    for name, (dims, values) in arrays.items():
        chunks = _chunks(values.shape, values.itemsize) if name == "fields" else values.shape
        made = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=chunks, dimension_names=list(dims), compressors=None
        )
        made[...] = values
    with warnings.catch_warnings(action="ignore"):  # version 3 has no word on it yet, of which Zarr warns
        zarr.consolidate_metadata(path)
