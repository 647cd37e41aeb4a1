"""Reference fields from files: COMSOL's text export, .npz, HDF5, NetCDF and Zarr.

A file that cannot be used gives one sentence (`ReferenceFileError`) that names what is wrong and what was expected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsci._checks import listed
from jaxsci.compare.metrics import Samples
from jaxsci.problems import Problem


class ReferenceFileError(ValueError):
    """A reference file that cannot be used; the message is one line for the user."""


def read_reference(path: str | Path, problem: Problem) -> Samples:
    """A field from a file, as samples of a problem's unknowns.

    Formats, by suffix:
      ``.dat .txt .csv``: COMSOL's text export: lines beginning with %, the last of which names the columns (coordinates, then
        fields, as ``u (1) @ t=0.1`` for one column per time); numbers below.
      ``.npz .h5 .hdf5``: one 1-D array per coordinate and one array ``[*coordinates]`` per unknown, by name.
      ``.nc .zarr``: the same as an xarray dataset (needs ``pip install "jaxsci[data]"``).
    Unknowns that the file lacks are not scored; at least one is needed.

    Raises:
      ReferenceFileError: missing, empty, truncated, malformed, wrongly shaped, not finite, or outside the problem's box.
    Example:
      >>> import tempfile, numpy as np, jaxsci as js
      >>> path = tempfile.mkdtemp() + "/measured.npz"
      >>> t, x = np.linspace(0, 1, 5), np.linspace(0, 1, 9)
      >>> np.savez(path, t=t, x=x, u=np.exp(-4 * t[:, None]) * np.sin(np.pi * x))
      >>> js.read_reference(path, js.problems.heat()).values.shape
      (45, 1)
    """
    path = Path(path)
    if not os.path.exists(path):
        raise ReferenceFileError(f"{path}: no such file.")
    readers = {
        ".dat": _read_comsol, ".txt": _read_comsol, ".csv": _read_comsol, ".npz": _read_npz,
        ".h5": _read_hdf5, ".hdf5": _read_hdf5, ".nc": _read_xarray, ".zarr": _read_xarray,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise ReferenceFileError(f"{path}: the suffix {path.suffix!r} is none of {listed(readers)}.")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise ReferenceFileError(f"{path}: this is a folder; a file is needed (only .zarr may be a folder).")
    if path.is_file() and path.stat().st_size == 0:
        raise ReferenceFileError(f"{path}: the file is empty.")
    samples = readers[path.suffix.lower()](path, problem)
    return _checked(path, samples, problem)


def _checked(path: Path, samples: Samples, problem: Problem) -> Samples:
    if samples.values.size == 0:
        raise ReferenceFileError(f"{path}: there are no values in it.")
    for what, array in (("coordinates", samples.points), ("values", samples.values)):
        bad = ~np.isfinite(array)
        if bad.any():
            raise ReferenceFileError(f"{path}: {int(bad.sum())} of {bad.size} {what} are NaN or infinite.")
    for i, name in enumerate(problem.coordinates):
        lower, upper = problem.domain[name]
        low, high = samples.points[:, i].min(), samples.points[:, i].max()
        slack = 1e-6 * (upper - lower)
        if low < lower - slack or high > upper + slack:
            raise ReferenceFileError(
                f"{path}: coordinate {name} runs over [{low:g}, {high:g}], outside [{lower:g}, {upper:g}] of {problem.name}."
            )
    points = np.clip(samples.points, *np.array([problem.domain[name] for name in problem.coordinates]).T)
    return samples._replace(points=points)


# --- COMSOL ----------------------------------------------------------------------------------------------------------------

_COLUMN = re.compile(r"(?P<name>\S+)\s*\((?P<unit>[^)]*)\)(?:\s*@\s*t\s*=\s*(?P<time>[-+0-9.eE]+))?")


def _read_comsol(path: Path, problem: Problem) -> Samples:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ReferenceFileError(f"{path}: not a text file; a COMSOL export is expected under this suffix.") from None
    except OSError as error:
        raise ReferenceFileError(f"{path}: cannot be read ({_first_line(error)}).") from None
    header = [line[1:].strip() for line in lines if line.startswith("%")]
    body = [line for line in lines if line.strip() and not line.startswith("%")]
    if not header:
        raise ReferenceFileError(f"{path}: no header; a COMSOL export begins with lines that start with %.")
    facts = dict(line.split(":", 1) for line in header if ":" in line.split("@")[0])
    columns = list(_COLUMN.finditer(header[-1]))
    if not columns:
        raise ReferenceFileError(f"{path}: the last header line names no field like 'u (1)': {header[-1][:60]!r}.")
    space = header[-1][: columns[0].start()].lower().split()
    if tuple(space) != problem.domain.space:
        raise ReferenceFileError(
            f"{path}: its coordinates are {listed(space)}, those of {problem.name} are {listed(problem.domain.space)}."
        )
    rows = _numbers(path, body, len(space) + len(columns))
    _same_count(path, facts, "Nodes", len(rows), "rows")
    _same_count(path, facts, "Expressions", len(columns), "columns of values")
    return _from_columns(path, problem, rows[:, : len(space)], columns, rows[:, len(space) :])


def _numbers(path: Path, body: list[str], width: int) -> np.ndarray:
    rows = []
    for number, line in enumerate(body, 1):
        words = line.replace(",", " ").split()
        if len(words) != width:
            raise ReferenceFileError(f"{path}: data row {number} has {len(words)} columns, the header names {width}.")
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise ReferenceFileError(
                f"{path}: data row {number} holds something that is no number: {line.strip()[:60]!r}."
            ) from None
    if not rows:
        raise ReferenceFileError(f"{path}: a header, but no data below it.")
    return np.array(rows)


def _same_count(path: Path, facts: Mapping[str, str], name: str, found: int, what: str) -> None:
    stated = facts.get(name, "").strip()
    if stated.isdigit() and int(stated) != found:
        raise ReferenceFileError(f"{path}: the header announces {stated} {what}, the file has {found}; is it truncated?")


def _from_columns(path: Path, problem: Problem, space: np.ndarray, columns: list, values: np.ndarray) -> Samples:
    """One column per unknown and time (or per unknown, where steady) to samples."""
    times: dict[str, dict[float, np.ndarray]] = {}
    for column, data in zip(columns, values.T, strict=True):
        name, time = column["name"], column["time"]
        if name not in problem.unknowns:
            raise ReferenceFileError(
                f"{path}: the field {name!r} is no unknown of {problem.name}: {listed(problem.unknowns)}."
            )
        if (time is None) != problem.is_steady:
            expected = "none, as it is steady" if problem.is_steady else "a time in each column, as in 'u (1) @ t=0.1'"
            raise ReferenceFileError(f"{path}: {problem.name} wants {expected}.")
        try:
            at_time = 0.0 if time is None else float(time)
        except ValueError:
            raise ReferenceFileError(f"{path}: the header holds a time that is no number: {time!r}.") from None
        if at_time in times.setdefault(name, {}):
            raise ReferenceFileError(f"{path}: the header names {name} at t = {at_time:g} twice.")
        times[name][at_time] = data
    unknowns = tuple(name for name in problem.unknowns if name in times)
    at = sorted(times[unknowns[0]])
    if any(sorted(times[name]) != at for name in unknowns):
        raise ReferenceFileError(f"{path}: the fields {listed(unknowns)} are given at different times.")
    fields = np.stack([np.stack([times[name][t] for t in at]) for name in unknowns], axis=-1)  # [T, nodes, unknowns]
    if problem.is_steady:
        return Samples(space, fields[0], unknowns, None)
    points = np.concatenate([np.column_stack([np.full(len(space), t), space]) for t in at])
    is_grid = space.shape[1] == 1 and (np.diff(space[:, 0]) > 0).all()
    return Samples(points, fields.reshape(-1, len(unknowns)), unknowns, (len(at), len(space)) if is_grid else None)


# --- arrays by name ----------------------------------------------------------------------------------------------------------


def _read_npz(path: Path, problem: Problem) -> Samples:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy raises whatever the zip, the header or the pickle guard raises
        raise ReferenceFileError(f"{path}: not a readable .npz file ({_first_line(error)}).") from None
    return _from_arrays(path, problem, arrays)


def _read_hdf5(path: Path, problem: Problem) -> Samples:
    h5py = _optional("h5py", path)
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: np.asarray(item) for name, item in file.items() if isinstance(item, h5py.Dataset)}
    except Exception as error:  # h5py passes on whatever the library reports, in exceptions of many kinds
        raise ReferenceFileError(f"{path}: not a readable HDF5 file ({_first_line(error)}).") from None
    return _from_arrays(path, problem, arrays)


def _read_xarray(path: Path, problem: Problem) -> Samples:
    xarray = _optional("xarray", path)
    try:
        options = {"engine": "zarr", "consolidated": False} if path.suffix.lower() == ".zarr" else {}
        with xarray.open_dataset(path, decode_times=False, **options) as dataset:  # t in "seconds" stays a number
            order = problem.coordinates
            present = [name for name in problem.unknowns if name in dataset]
            for name in present:
                if set(dataset[name].dims) != set(order):
                    raise ReferenceFileError(
                        f"{path}: {name} has the dimensions {listed(map(str, dataset[name].dims))}, expected {listed(order)}."
                    )
            arrays = {name: np.asarray(dataset[name].transpose(*order)) for name in present}
            arrays |= {name: np.asarray(dataset[name]) for name in order if name in dataset.coords}
    except ReferenceFileError:
        raise
    except Exception as error:  # its backends have exceptions of their own
        raise ReferenceFileError(f"{path}: xarray cannot read it ({_first_line(error)}).") from None
    return _from_arrays(path, problem, arrays)


def _from_arrays(path: Path, problem: Problem, arrays: Mapping[str, np.ndarray]) -> Samples:
    missing = [name for name in problem.coordinates if name not in arrays]
    unknowns = tuple(name for name in problem.unknowns if name in arrays)
    if missing or not unknowns:
        raise ReferenceFileError(
            f"{path}: expected the coordinates {listed(problem.coordinates)} and at least one of the unknowns "
            f"{listed(problem.unknowns)}; found {listed(arrays)}."
        )
    for name in (*problem.coordinates, *unknowns):
        if not np.issubdtype(arrays[name].dtype, np.number) or np.iscomplexobj(arrays[name]):
            raise ReferenceFileError(f"{path}: {name} must hold real numbers, got dtype {arrays[name].dtype}.")
    axes = [np.asarray(arrays[name], float) for name in problem.coordinates]
    for name, axis in zip(problem.coordinates, axes, strict=True):
        if axis.ndim != 1:
            raise ReferenceFileError(f"{path}: the coordinate {name} must be 1-D, got shape {axis.shape}.")
    shape = tuple(len(axis) for axis in axes)
    for name in unknowns:
        if arrays[name].shape != shape:
            raise ReferenceFileError(
                f"{path}: {name} has shape {arrays[name].shape}, expected {shape}, the lengths of {listed(problem.coordinates)}."
            )
    values = np.stack([np.asarray(arrays[name], float) for name in unknowns], axis=-1)
    for i, (name, axis) in enumerate(zip(problem.coordinates, axes, strict=True)):
        order = np.argsort(axis)  # a file may run from top to bottom
        axes[i], values = axis[order], np.take(values, order, axis=i)
        if (np.diff(axes[i]) == 0).any():
            raise ReferenceFileError(f"{path}: the coordinate {name} holds the same number twice.")
    values = values.reshape(-1, len(unknowns))
    mesh = np.meshgrid(*axes, indexing="ij")
    return Samples(np.stack([m.ravel() for m in mesh], axis=-1), values, unknowns, shape)


def _optional(module: str, path: Path) -> Any:
    try:
        return __import__(module)
    except ImportError:
        raise ReferenceFileError(f'{path}: reading it needs {module}. Install it with: pip install "jaxsci[data]"') from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
