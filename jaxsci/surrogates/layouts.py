"""Data sets of trajectories in files, whoever made them: how they are laid out, and windows of them without the rest.

Layouts that are known, and where they are defined:

* PDEBench (Takamoto et al. 2022, NeurIPS Datasets and Benchmarks; ``data_gen_NLE/Data_Merge.py``, ``gen_diff_react.py`` and
  ``data_io.py`` of its repository): ``tensor [run, save, *space]``; ``density, pressure, Vx, Vy, Vz [run, save, *space]``; a
  group for each run, ``0000/data [save, *space, channel]`` with ``0000/grid/{x, y, t}``; ``velocity, particles [run, save,
  *space, channel]`` with ``t [run, save]``. Coordinates are in ``x-coordinate``, ..., and ``t-coordinate``, which may have
  entries to spare.
* The Well (Ohana et al. 2024, NeurIPS Datasets and Benchmarks; ``docs/data_format.md`` of its repository): ``t0_fields``,
  ``t1_fields`` and ``t2_fields`` of scalars, vectors and tensors ``[run, save, *space, components]``, with ``dimensions``,
  ``boundary_conditions`` and ``scalars``.
* Our own, of `write_trajectories`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from jaxsci._checks import listed, unknown_name

Layout = Literal["auto", "jaxsci", "pdebench", "the_well"]
Place = Literal["none", "first", "last"]  # where an array has its channels: it has none, before or behind space

FORMAT = "jaxsci trajectories 1"  # the attribute `format` of our own files
_UNEVEN = 1e-3  # relative, of the gaps between saves and between points: the files are in single precision


class Part(NamedTuple):
    """An array of a file: one or more channels of all runs, or of one run where ``{run}`` stands in its name."""

    array: str
    channels: tuple[str, ...]
    place: Place


class Described(NamedTuple):
    """What a layout says about a file."""

    parts: tuple[Part, ...]
    runs: tuple[str, ...] | int  # names of the groups, or how many
    times: np.ndarray
    axes: dict[str, np.ndarray]
    periodic: dict[str, bool | None]  # None where the file does not say
    numbers: dict[str, np.ndarray]  # [runs]
    constants: dict[str, float]
    left_out: tuple[str, ...]


def opened(path: str | Path) -> Any:
    """The file's root group, to be read, as a context.

    Raises:
      FileNotFoundError, ImportError, ValueError: it is not there, its package is not, or it is no such file or was cut short.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    package = "zarr" if path.is_dir() else "h5py"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise ImportError(f'{path.name}: reading it needs {package}. Install it with: pip install "jaxsci[data]"') from None
    try:
        if path.is_dir():
            return _Opened(module.open_group(path, mode="r"))
        return module.File(path, "r", locking=False)
    except Exception as error:  # whatever the package raises on what it cannot read
        kind = "a Zarr group" if path.is_dir() else "an HDF5 or NetCDF-4 file, or was cut short"
        raise ValueError(f"{path} is not {kind}: {' '.join(str(error).split())[:200]}") from None


class _Opened:
    """A Zarr group as a context, as an HDF5 file is one."""

    def __init__(self, group: Any):
        self.group = group

    def __enter__(self) -> Any:
        return self.group

    def __exit__(self, *reason: object) -> None:
        pass


def described(path: Path, layout: str, file: Any) -> tuple[str, Described]:
    """The layout's name, found by what the file holds where it is "auto", and what it says.

    Raises:
      ValueError: no layout that is known, or one that lacks something, naming it.
    """
    if layout not in get_args(Layout):
        raise ValueError("open_dataset: " + unknown_name("the layout", str(layout), get_args(Layout)))
    names = set(file.keys())
    for known, (fits, describe) in _LAYOUTS.items():
        if layout == known or (layout == "auto" and fits(file, names)):
            try:
                return known, describe(file)
            except KeyError as error:
                raise ValueError(
                    f"{path}: as {known} it should have {_missing(error)}; it has {listed(sorted(names)[:12])}."
                ) from None
    raise ValueError(
        f"{path} has none of the layouts {listed(_LAYOUTS)}: it holds {listed(sorted(names)[:12])}. Arrays [runs, saves, "
        "channels, *space] go into js.surrogates.Trajectories as they are."
    )


def _missing(error: KeyError) -> str:
    return str(error).strip("\"'")


def even_gap(what: str, values: np.ndarray) -> float:
    """The gap between values that must be even.

    Raises:
      ValueError: they are not.
    """
    gaps = np.diff(np.asarray(values, float))
    if (
        not len(gaps)
        or not np.isfinite(gaps).all()
        or gaps.min() <= 0
        or np.ptp(gaps) > _UNEVEN * gaps.mean() + _rounding(values)
    ):
        raise ValueError(f"{what} must be two or more, increasing and evenly spaced, got {np.asarray(values)[:6]} ....")
    return float((values[-1] - values[0]) / len(gaps))


def _rounding(values: np.ndarray) -> float:
    kind = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(float)
    return 8 * float(np.finfo(kind).eps) * float(np.abs(values).max())


# --- PDEBench ----------------------------------------------------------------------------------------------------------------


def _is_pdebench(file: Any, names: set[str]) -> bool:
    groups = [name for name in names if name.isdigit()]
    return (
        bool(names & {"tensor", "density"}) or {"velocity", "t"} <= names or any("data" in file[name] for name in groups[:1])
    )


def _pdebench(file: Any) -> Described:
    names = set(file.keys())
    groups = tuple(sorted(name for name in names if name.isdigit()))
    if groups:
        first = file[groups[0]]
        data, grid = first["data"], first["grid"]
        axes = {name: np.asarray(grid[name]) for name in "xyz" if name in grid}
        channels = ("u",) if data.shape[-1] == 1 else tuple(f"u{i}" for i in range(data.shape[-1]))
        parts = (Part("{run}/data", channels, "last"),)
        return _checked(Described(parts, groups, np.asarray(grid["t"]), axes, dict.fromkeys(axes), {}, {}, ()), file)
    constants = {name: float(value) for name, value in file.attrs.items() if np.ndim(value) == 0 and _is_number(value)}
    if "velocity" in names:
        velocity = file["velocity"]
        axes = {name: (np.arange(n) + 0.5) / n for name, n in zip("xyz", velocity.shape[2:-1], strict=False)}
        parts = [Part("velocity", tuple(f"velocity_{name}" for name in axes), "last")]
        if "particles" in names:
            parts.append(Part("particles", ("particles",), "last"))
        left = tuple(sorted(names - {"velocity", "particles", "t"}))
        times = np.asarray(file["t"][0] if file["t"].ndim == 2 else file["t"])
        return _checked(
            Described(tuple(parts), velocity.shape[0], times, axes, dict.fromkeys(axes), {}, constants, left), file
        )
    fields = ("tensor",) if "tensor" in names else tuple(f for f in ("density", "pressure", "Vx", "Vy", "Vz") if f in names)
    data = file[fields[0]]
    axes: dict[str, np.ndarray] = {name: np.asarray(file[f"{name}-coordinate"]) for name in "xyz"[: data.ndim - 2]}
    times = np.asarray(file["t-coordinate"])[: data.shape[1]]
    left = tuple(sorted(name for name in names - set(fields) if not name.endswith("-coordinate")))
    parts = tuple(Part(name, (name,), "none") for name in fields)
    return _checked(Described(parts, data.shape[0], times, axes, dict.fromkeys(axes), {}, constants, left), file)


def _is_number(value: Any) -> bool:
    return np.issubdtype(np.asarray(value).dtype, np.number)


# --- The Well ----------------------------------------------------------------------------------------------------------------


def _the_well(file: Any) -> Described:
    dimensions = file["dimensions"]
    space = _names(dimensions.attrs["spatial_dims"])
    axes = {name: np.asarray(dimensions[name]) for name in space}
    parts, left, runs = [], [], 0
    for order, group in enumerate(("t0_fields", "t1_fields", "t2_fields")):
        if group not in file:
            continue
        for name in _names(file[group].attrs.get("field_names", sorted(file[group].keys()))):
            array = file[f"{group}/{name}"]
            varies = all(bool(array.attrs.get(what, True)) for what in ("sample_varying", "time_varying"))
            if not (varies and np.all(array.attrs.get("dim_varying", True)) and order < 2):
                left.append(name)
                continue
            channels = (name,) if order == 0 else tuple(f"{name}_{space[i]}" for i in range(array.shape[-1]))
            parts.append(Part(f"{group}/{name}", channels, "none" if order == 0 else "last"))
            runs = array.shape[0]
    numbers, constants = {}, {}
    scalars = file.get("scalars", {})
    for name in scalars:
        array = scalars[name]
        if bool(array.attrs.get("time_varying", False)):
            left.append(name)
        elif bool(array.attrs.get("sample_varying", False)):
            numbers[name] = np.asarray(array, float)
        else:
            constants[name] = float(np.asarray(array).reshape(-1)[0])
    periodic: dict[str, bool | None] = dict.fromkeys(space)
    for condition in file.get("boundary_conditions", {}).values():
        for name in _names(condition.attrs.get("associated_dims", ())):
            kind = condition.attrs.get("bc_type", "")
            kind = kind.decode() if isinstance(kind, bytes) else str(kind)
            if name in periodic:
                periodic[name] = kind.lower() == "periodic"
    times = np.asarray(dimensions["time"])
    times = times[0] if times.ndim == 2 else times
    return _checked(Described(tuple(parts), runs, times, axes, periodic, numbers, constants, tuple(left)), file)


def _names(values: Any) -> list[str]:
    return [
        value.decode() if isinstance(value, bytes) else str(value) for value in np.atleast_1d(np.asarray(values, object))
    ]


# --- ours --------------------------------------------------------------------------------------------------------------------


def _own(file: Any) -> Described:
    space = tuple(str(file.attrs["axes"]).split())
    axes = {name: np.asarray(file[name]) for name in space}
    parts = (Part("fields", tuple(str(file.attrs["channels"]).split()), "first"),)
    numbers = {name: np.asarray(file[f"number_{name}"]) for name in str(file.attrs["numbers"]).split()}
    walls = str(file.attrs["walls"]).split()
    periodic: dict[str, bool | None] = {name: name not in walls for name in space}
    return _checked(
        Described(parts, file["fields"].shape[0], np.asarray(file["time"]), axes, periodic, numbers, {}, ()), file
    )


_LAYOUTS: Mapping[str, tuple[Callable[[Any, set[str]], bool], Callable[[Any], Described]]] = {
    "jaxsci": (lambda file, names: file.attrs.get("format") == FORMAT, _own),
    "the_well": (lambda file, names: "dimensions" in names and bool(names & {"t0_fields", "t1_fields"}), _the_well),
    "pdebench": (_is_pdebench, _pdebench),
}


def _checked(found: Described, file: Any) -> Described:
    """Every array has the shape that the layout says.

    Raises:
      ValueError: naming the array, its shape and the one that it should have.
    """
    if not found.parts:
        raise ValueError("no field varies in time and space.")
    space = tuple(map(len, found.axes.values()))
    every_run = isinstance(found.runs, int)
    runs = found.runs if isinstance(found.runs, int) else len(found.runs)
    for part in found.parts:
        array = file[part.array if isinstance(found.runs, int) else part.array.format(run=found.runs[0])]
        count = (len(part.channels),)
        shape = {"none": space, "first": (*count, *space), "last": (*space, *count)}[part.place]
        shape = ((runs,) if every_run else ()) + (len(found.times), *shape)
        if tuple(array.shape) != shape:
            raise ValueError(f"{part.array} has shape {tuple(array.shape)}, and by its coordinates it should have {shape}.")
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"{part.array} holds {array.dtype}, and fields are floating point.")
    for name, values in found.numbers.items():
        if values.shape != (runs,):
            raise ValueError(f"the number {name} has shape {values.shape}, and there are {runs} runs.")
    even_gap("the times of the saves", found.times)
    return found


def read_window(file: Any, found: Described, run: int, saves: slice, out: np.ndarray) -> None:
    """Consecutive saves of one run to ``out [saves, channels, *space]``; nothing else is read."""
    first = 0
    for part in found.parts:
        if isinstance(found.runs, int):
            values = file[part.array][run, saves]
        else:
            values = file[part.array.format(run=found.runs[run])][saves]
        last = first + len(part.channels)
        if part.place == "none":
            out[:, first] = values
        else:
            out[:, first:last] = values if part.place == "first" else np.moveaxis(values, -1, 1)
        first = last
