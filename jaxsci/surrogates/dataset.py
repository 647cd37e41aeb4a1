"""A data set of trajectories in a file, of which only what is asked for is read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, listed
from jaxsci.problems import Problem
from jaxsci.solvers.lines import structure
from jaxsci.surrogates.layouts import Described, Layout, described, even_gap, opened, read_window
from jaxsci.surrogates.trajectories import Trajectories

_OFF = 1e-3  # relative, of lengths that must agree


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Trajectories in a file, from `open_dataset`; nothing of the fields is in memory.

    Attributes:
      path: of the file.
      layout: "jaxsci", "pdebench" or "the_well".
      shape: of the fields, ``(runs, saves, channels, *space)``.
      dtype: in which they are stored.
      names: of the channels.
      times: of the saves, ``[saves]``.
      axes: coordinates of the grid by axis.
      periodic: by axis, whether it is; None where the file does not say.
      numbers: by name, what differs between the runs, ``[runs]``.
      constants: by name, numbers that all runs share.
      left_out: other arrays of the file that are no channels: fields that do not change in time, tensors.
    """

    path: Path
    layout: str
    shape: tuple[int, ...]
    dtype: np.dtype
    found: Described = dataclasses.field(repr=False)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self.found.parts for name in part.channels)

    @property
    def times(self) -> np.ndarray:
        return self.found.times

    @property
    def dt(self) -> float:
        """Time between saves."""
        return even_gap("the times of the saves", self.times)

    @property
    def axes(self) -> dict[str, np.ndarray]:
        return self.found.axes

    @property
    def periodic(self) -> dict[str, bool | None]:
        return self.found.periodic

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        return self.found.numbers

    @property
    def constants(self) -> dict[str, float]:
        return self.found.constants

    @property
    def left_out(self) -> tuple[str, ...]:
        return self.found.left_out

    def read(self, runs: int | slice | Sequence[int] = slice(None), saves: slice = slice(None)) -> np.ndarray:
        """Some runs' saves, ``[runs, saves, channels, *space]``; the rest stays on disk.

        Raises:
          IndexError: a run that is not there.
          ValueError: the file was cut short.
        """
        chosen = self._chosen(runs)
        first, last, step = saves.indices(self.shape[1])
        if step < 1:
            raise ValueError(f"{self.path.name}: saves are read forwards, got the step {step}.")
        out = np.empty((len(chosen), len(range(first, last, step)), *self.shape[2:]), self.dtype)
        with opened(self.path) as file:
            for i, run in enumerate(chosen):
                self.window(file, run, slice(first, last, step), out[i])
        return out

    def window(self, file: Any, run: int, saves: slice, out: np.ndarray) -> None:
        """Saves of one run of the opened file to ``out [saves, channels, *space]``.

        Raises:
          ValueError: they cannot be read.
        """
        try:
            read_window(file, self.found, run, saves, out)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{self.path}: run {run} cannot be read, the file is damaged or was cut short: {said}"
            ) from None

    def _chosen(self, runs: Any) -> list[int]:
        count = self.shape[0]
        if isinstance(runs, slice):
            return list(range(count)[runs])
        chosen = [runs] if is_whole(runs) else list(runs)
        for run in chosen:
            if not (is_whole(run) and -count <= run < count):
                raise IndexError(f"{self.path.name}: run {run!r} is not there; there are {count}.")
        return [int(run) % count for run in chosen]

    def trajectories(
        self,
        problem: Problem,
        runs: int | slice | Sequence[int] = slice(None),
        saves: slice = slice(None),
        *,
        rename: Mapping[str, str] | None = None,
    ) -> Trajectories:
        """Some runs as `Trajectories` of a problem, which are then in memory.

        Args:
          problem: the equation, on the box of the data.
          runs, saves: what to read.
          rename: what the file calls channels and numbers, to the names of the problem's unknowns and coefficients.
        Returns:
          Channels in the order of the problem's; numbers of the file that are coefficients of the problem are told, whether they
          differ between the runs or not.
        Raises:
          ValueError: channels, axes, lengths or walls that are not the problem's, or fields that are not finite.
        Example:
          >>> import jax, tempfile, pathlib, jaxsci as js
          >>> keys = jax.random.split(jax.random.key(0), 2)
          >>> made = js.surrogates.simulate(
          ...     lambda key: js.problems.burgers(), keys, js.Spectral(n=32, dt=0.05), n=16, dt=0.1, steps=3
          ... )
          >>> path = pathlib.Path(tempfile.mkdtemp()) / "burgers.h5"
          >>> js.surrogates.write_trajectories(path, made.data)
          >>> js.surrogates.open_dataset(path).trajectories(js.problems.burgers(), runs=[1], saves=slice(2)).fields.shape
          (1, 2, 1, 17)
        """
        renamed = dict(rename or {})
        unknown = [name for name in renamed if name not in {*self.names, *self.numbers, *self.constants}]
        if unknown:
            raise ValueError(f"{self.path.name}: rename: {listed(unknown)} is not there; there are {listed(self.names)}.")
        order = self._order(problem, [renamed.get(name, name) for name in self.names])
        self._check_space(problem)
        chosen = self._chosen(runs)
        fields = self.read(chosen, saves)[:, :, order]
        bad = [run for run, values in zip(chosen, fields, strict=True) if not np.isfinite(values).all()]
        if bad:
            raise ValueError(f"{self.path}: run {bad[0]} is not finite ({len(bad)} such runs); leave them out with runs=.")
        known = lambda given: {renamed.get(k, k): v for k, v in given.items() if renamed.get(k, k) in problem.coefficients}  # noqa: E731
        numbers = {name: values[chosen] for name, values in known(self.numbers).items()}
        problem = problem.with_coefficients(**known(self.constants), **{name: float(v[0]) for name, v in numbers.items()})
        step = saves.indices(self.shape[1])[2]
        return Trajectories(problem, jnp.asarray(fields), numbers, self.dt * step)

    def _order(self, problem: Problem, names: list[str]) -> list[int]:
        wanted = [name + "_t" * order for name, order in structure(problem.equation).components]
        if set(wanted) <= set(names):
            return [names.index(name) for name in wanted]
        if len(wanted) == len(names) == 1:
            return [0]
        raise ValueError(
            f"{self.path.name}: {problem.name} evolves {listed(wanted)}, and the file has {listed(names)}; say which is which: "
            f"rename={{{names[0]!r}: {wanted[0]!r}, ...}}."
        )

    def _check_space(self, problem: Problem) -> None:
        space = problem.domain.space
        if len(space) != len(self.axes):
            raise ValueError(
                f"{self.path.name}: the file has the axes {listed(self.axes)}, {problem.name} has {listed(space)}."
            )
        for axis, (name, x) in zip(space, self.axes.items(), strict=True):
            lower, upper = problem.domain[axis]
            walls = bool(problem.walls(axis))
            if self.periodic[name] is not None and self.periodic[name] == walls:
                kinds = ("walls", "is periodic") if walls else ("no walls", "has walls")
                raise ValueError(
                    f"{self.path.name}: {problem.name} has {kinds[0]} on the axis {axis}, which {kinds[1]} in the file."
                )
            if walls:  # Chebyshev nodes as well as even ones
                if abs(x[0] - lower) + abs(x[-1] - upper) > _OFF * (upper - lower):
                    raise ValueError(
                        f"{self.path.name}: points on the axis {name} go from {x[0]:.6g} to {x[-1]:.6g}, and {problem.name} has "
                        f"walls at {lower:g} and {upper:g}, which must be the first and the last point."
                    )
                continue
            length = even_gap(f"{self.path.name}: points on the axis {name}", x) * len(x)
            if abs(length - (upper - lower)) > _OFF * (upper - lower):
                raise ValueError(
                    f"{self.path.name}: the axis {name} has the period {length:.6g} in the file and {upper - lower:.6g} in "
                    f"{problem.name}; give the problem that box."
                )


def open_dataset(path: str | Path, layout: Layout = "auto") -> Dataset:
    """A data set in a file, without reading its fields.

    Args:
      path: of an HDF5 or NetCDF-4 file, or of a Zarr folder.
      layout: "jaxsci", "pdebench" (all four of its layouts), "the_well"; "auto" looks what the file holds.
    Raises:
      FileNotFoundError, ImportError, ValueError: no such file, no package for it, or not one of these layouts: what is missing,
        or which array has which shape.
    Reference: Takamoto et al. (2022), PDEBench, arXiv:2210.07182; Ohana et al. (2024), The Well, arXiv:2412.00568: their files.
    Example:
      >>> import h5py, numpy as np, tempfile, pathlib, jaxsci as js
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "1D_Advection_Sols_beta0.4.hdf5"
      >>> with h5py.File(path, "w") as file:
      ...     file["tensor"] = np.zeros((10, 5, 64), np.float32)
      ...     file["x-coordinate"], file["t-coordinate"] = (np.arange(64) + 0.5) / 64, np.arange(6) * 0.1
      >>> data = js.surrogates.open_dataset(path)
      >>> data.layout, data.shape, data.names, round(data.dt, 6)
      ('pdebench', (10, 5, 1, 64), ('tensor',), 0.1)
    """
    path = Path(path)
    with opened(path) as file:
        try:
            name, found = described(path, layout, file)
            part = found.parts[0].array
            dtype = file[part if isinstance(found.runs, int) else part.format(run=found.runs[0])].dtype
        except (OSError, ValueError) as error:
            said = str(error)
            raise ValueError(said if said.startswith((str(path), "open_dataset")) else f"{path}: {said}") from None
    runs = found.runs if isinstance(found.runs, int) else len(found.runs)
    channels = sum(len(part.channels) for part in found.parts)
    shape = (runs, len(found.times), channels, *map(len, found.axes.values()))
    return Dataset(path, name, shape, np.dtype(dtype), found)
