"""Long trajectories that go to a file while they are computed, and go on after whatever stopped them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_traced, is_whole
from jaxsci._types import Progress
from jaxsci.equations import Equation
from jaxsci.solvers import trajectory_file
from jaxsci.solvers.trajectory import Status, check_saves, courant_of, is_finite
from jaxsci.solvers.trajectory_file import Checkpoint, Layout

_CHUNK_BYTES = 2**24  # of the fields in memory by default
_LONGEST_CHUNK = 64  # saves


def stream(
    stepper: Any,
    path: str | Path,
    steps: int,
    *,
    save_every: int,
    state: Any = None,
    resume: bool = False,
    chunk: int | None = None,
    progress: Progress = None,
) -> StoredTrajectory:
    """Step many times and write the fields to a file now and then; a run that is stopped goes on where it was.

    The file holds the solver's own state beside the fields, so that a run that was interrupted at any moment (Ctrl-C, a kill,
    a power cut) and resumed writes the same numbers, bit for bit, as one that was not: on the same kind of machine and with
    the same versions. Only a chunk of saves is in memory at a time. Readers may look on meanwhile.

    Args:
      stepper: from `jaxsci.stepper`, or any pytree with ``step``, ``decode``, ``initial``, ``grid`` and ``problem``.
      path: of a file that ends in ``.h5``, or of a folder that ends in ``.zarr``; xarray opens both.
      steps: how many steps from the start, a multiple of save_every.
      save_every: steps between saved fields, which include the first and the last.
      state: where to begin, ``stepper.initial()`` by default.
      resume: go on with the run that the file holds; begin where there is no file.
      chunk: saves that are computed, written and made valid at a time; by default 64, or what 16 MiB hold.
      progress: called with a line of text for every chunk.
    Returns:
      The `StoredTrajectory`. A state that is not finite ends the run: the saves before it stay, ``status`` says the step, and
      ``check()`` raises.
    Raises:
      ValueError: numbers that do not fit, another ending, or a file that holds another run (the message says what differs).
      FileExistsError: there is a file and ``resume`` is not set.
      ImportError: h5py or zarr is not installed.
    Example:
      >>> import tempfile, jaxsci as js
      >>> s = js.stepper(js.problems.burgers(), js.Spectral(n=64, dt=1e-3))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     stored = js.stream(s, f"{folder}/run.h5", 200, save_every=20)
      ...     stored["u"].shape, stored["u"][-1, 32].shape, float(stored.ts[-1])
      ((11, 65), (), 0.2...)
    """
    path = trajectory_file.check_path("stream", path)
    check_saves("stream", steps, save_every)
    if chunk is not None and not (is_whole(chunk) and chunk >= 1):
        raise ValueError(f"stream: chunk must be a whole number >= 1, got {chunk!r}.")
    if is_traced((stepper, state)):
        raise TypeError("stream: it writes a file, which cannot be traced. Call it outside jit, grad and vmap.")
    start = stepper.initial() if state is None else state
    layout = _layout(stepper, start, steps // save_every + 1, chunk)
    run = _settings(stepper, layout, steps, save_every, None if state is None else start)
    if not path.exists():
        bad = -1 if bool(is_finite(start)) else 0
        layout = layout._replace(attributes=run | _provenance(stepper))
        trajectory_file.create(path, layout, Checkpoint(0, 0, bad, 0, math.nan, _to_bytes(start)))
    elif not resume:
        raise FileExistsError(f"stream: {path} exists. Go on with it by resume=True, or give another path.")
    else:
        trajectory_file.check_same(path, trajectory_file.describe(path)[0], run)
    _run(stepper, path, layout, start, steps, save_every, progress)
    return read_trajectory(path)


def _run(stepper: Any, path: Path, layout: Layout, start: Any, steps: int, save_every: int, progress: Progress) -> None:
    at = trajectory_file.describe(path)[1]
    state = _from_bytes(at.state, start)
    while at.saves < layout.saves and at.first_bad_step < 0:
        began, count = time.perf_counter(), min(layout.chunk, layout.saves - at.saves)
        new, bad, ts, fields, courant = jax.block_until_ready(
            _saves(stepper, state, at.saves, save_every, layout.chunk, count)
        )
        bad = int(bad)
        good = count if bad < 0 else -(-bad // save_every) - at.saves
        if good < count:  # the state at the last good save
            new = _saves(stepper, state, at.saves, save_every, layout.chunk, good)[0] if good else state
        worst, where = at.courant, at.courant_step
        for i, value in enumerate(np.asarray(courant)[:good]):
            if value > worst or (math.isnan(worst) and not math.isnan(value)):
                worst, where = float(value), (at.saves + i) * save_every
        after = Checkpoint(0, at.saves + good, bad, where, worst, _to_bytes(new))
        at = trajectory_file.append(path, at, np.asarray(ts)[:good], np.asarray(fields)[:good], after)
        state = new
        if progress is not None:
            done = max(at.saves - 1, 0) * save_every
            rate = good * save_every / (time.perf_counter() - began)
            said = f"step {done} of {steps}, t = {float(state.t):.6g}, Courant number {worst:.3g}, {rate:.3g} steps/s"
            progress(said if bad < 0 else f"{said}: not finite after step {bad}")


@functools.partial(jax.jit, static_argnames=("chunk",))
def _saves(stepper: Any, state: Any, done: Any, save_every: Any, chunk: int, count: Any) -> Any:
    """The next `count` saves in buffers of `chunk`, from the state at the last of the `done` ones (at none: the start).

    One program for every count, so that it makes no difference in any bit where a run was stopped. Steps end where the state
    is not finite.
    """

    def step(carry):
        i, state, _ = carry
        state = stepper.step(state)
        return i + 1, state, jnp.where(is_finite(state), -1, i + 1)

    def saved(i, carry):
        state, bad, buffers = carry
        before = jnp.maximum(done + i - 1, 0) * save_every  # steps
        end = (done + i) * save_every
        _, state, bad = jax.lax.while_loop(lambda c: (c[0] < end) & (c[2] < 0), step, (before, state, bad))
        now = state.t, stepper.decode(state), courant_of(stepper, state)
        return state, bad, jax.tree.map(lambda buffer, value: buffer.at[i].set(value), buffers, now)

    shapes = jax.eval_shape(lambda s: (s.t, stepper.decode(s), courant_of(stepper, s)), state)
    empty = jax.tree.map(lambda shape: jnp.zeros((chunk, *shape.shape), shape.dtype), shapes)
    state, bad, (ts, fields, courant) = jax.lax.fori_loop(0, count, saved, (state, jnp.asarray(-1), empty))
    return state, bad, ts, fields, courant


def _layout(stepper: Any, start: Any, saves: int, chunk: int | None) -> Layout:
    grid = {name: np.asarray(x) for name, x in stepper.grid.items()}
    if np.ndim(start.t):
        raise ValueError(
            f"stream: one trajectory at a time, got a batch of shape {np.shape(start.t)}; call it for every member."
        )
    fields = jax.eval_shape(stepper.decode, start)
    fitting = _CHUNK_BYTES // max(math.prod(fields.shape) * fields.dtype.itemsize, 1)
    chunk = min(saves, max(1, min(fitting, _LONGEST_CHUNK)) if chunk is None else chunk)
    grid = {name: x.astype(fields.dtype) for name, x in grid.items()}
    return Layout(saves, chunk, stepper.problem.unknowns, grid, fields.dtype, {})


def _settings(stepper: Any, layout: Layout, steps: int, save_every: int, state: Any) -> dict[str, Any]:
    """What decides the numbers of a run, for a file to be compared with."""
    problem = stepper.problem
    coefficients = {k: float(v) if np.ndim(v) == 0 and not callable(v) else str(v) for k, v in problem.coefficients.items()}
    return {
        "problem": problem.name, "equation": repr(problem.equation), "domain": repr(problem.domain),
        "coefficients": json.dumps(coefficients), "identity": problem.identity,
        "method": type(stepper).__name__, **_options(stepper), "dt": float(stepper.dt),
        "n": " x ".join(str(len(x)) for x in layout.grid.values()),
        "grid": _digest(b"".join(np.asarray(x).tobytes() for x in stepper.grid.values())), "dtype": str(layout.dtype),
        "steps": int(steps), "save_every": int(save_every), "chunk": int(layout.chunk),
        "start": "initial" if state is None else _digest(_to_bytes(state)),
    }  # fmt: skip


def _options(method: Any, prefix: str = "") -> dict[str, bool | int | float | str]:
    """The plain numbers and words in a dataclass and in those that it holds: order, share of kept modes and the like."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(method) if dataclasses.is_dataclass(method) else ():
        value = getattr(method, field.name)
        if isinstance(value, bool | int | float | str):
            found[prefix + field.name] = value
        elif not isinstance(value, Equation):
            found |= _options(value, f"{prefix}{field.name}.")
    return found


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _provenance(stepper: Any) -> dict[str, str]:
    """What is written down beside that."""
    versions = {}
    for package in ("jaxsci", "jax", "jaxlib"):
        try:
            versions[f"{package}_version"] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[f"{package}_version"] = "0+unknown"
    return {"source": stepper.problem.source, "platform": jax.default_backend(), **versions}


def _to_bytes(state: Any) -> bytes:
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))


def _from_bytes(data: bytes, like: Any) -> Any:
    """The inverse, with the structure, types and places of another state."""
    leaves, structure = jax.tree.flatten(like)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    ends = np.cumsum([0] + [leaf.nbytes for leaf in leaves])
    if ends[-1] != len(data):
        raise ValueError(f"The stored state has {len(data)} bytes, the stepper's has {ends[-1]}: it is another method's.")
    made = []
    for first, last, leaf in zip(ends, ends[1:], leaves, strict=False):
        part = np.frombuffer(data[first:last], leaf.dtype).reshape(leaf.shape)
        made.append(jax.device_put(part, leaf.sharding) if leaf.committed else jnp.asarray(part))
    return jax.tree.unflatten(structure, made)


# --- reading back ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class StoredTrajectory:
    """A trajectory in a file; made by `jaxsci.stream` and `jaxsci.read_trajectory`. Fields are loaded where they are indexed.

    Attributes:
      path: of the file.
      attributes: where it comes from: problem, equation, coefficients, dt, n, dtype, versions.
      ts: times of the saves that are there, ``[T]``.
      grid: coordinates of the fields, one 1-D array per axis.
      status: the first step after which the state was not finite (-1: none), and the largest Courant number at the saves.
    """

    path: Path
    attributes: dict[str, Any]
    ts: np.ndarray
    grid: dict[str, np.ndarray]
    status: Status
    checkpoint: Checkpoint = dataclasses.field(repr=False)

    @property
    def unknowns(self) -> tuple[str, ...]:
        return tuple(self.attributes["unknowns"].split())

    @property
    def is_complete(self) -> bool:
        """All saves are there."""
        return len(self.ts) == self.attributes["steps"] // self.attributes["save_every"] + 1

    def __getitem__(self, name: str) -> StoredField:
        """``stored["u"]``: one unknown's field, ``[T, *space]``, not loaded yet."""
        check_keys("unknown", {name: None}, self.unknowns)
        shape = (len(self.ts), *(len(x) for x in self.grid.values()))
        return StoredField(self.path, name, shape, np.dtype(self.attributes["dtype"]))

    def final(self, stepper: Any) -> Any:
        """The solver's state at the last save, to go on with: by `jaxsci.rollout`, or by `jaxsci.stream` to another file.

        Args:
          stepper: the one that wrote it, or one with the same kind of state (another dt, other coefficients).
        Raises:
          ValueError: another kind of state.
        """
        return _from_bytes(self.checkpoint.state, stepper.initial())

    def check(self) -> StoredTrajectory:
        """Raise where the run ended because its state was not finite; return it otherwise.

        Raises:
          FloatingPointError: with the step, and the cure.
        """
        bad = int(self.status.first_bad_step)
        if bad < 0:
            return self
        raise FloatingPointError(
            f"{self.path.name}: the state is not finite after step {bad}; {len(self.ts)} saves before it are there. The Courant "
            f"number was at most {float(self.status.courant):.3g} at them. A smaller step (dt) or a finer grid (n) is the usual "
            "cure; final() is the state at the last good save."
        )


@dataclasses.dataclass(frozen=True)
class StoredField:
    """A field in a file, indexed like an array along time and space; ``numpy.asarray`` loads all of it."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        if key and key[0] is Ellipsis:
            key = (slice(None),) * (self.ndim - len(key) + 1) + key[1:]
        first, *rest = key or (slice(None),)
        if not (is_whole(first) or isinstance(first, slice)):
            raise TypeError(f"Index the saves of {self.name} by a whole number or a slice, got {type(first).__name__}.")
        at = range(len(self))[first]  # of the saves that are there; the file has room for all
        if isinstance(at, range):
            return trajectory_file.read(self.path, self.name, (slice(at.start, at.stop, at.step), *rest))
        return trajectory_file.read(self.path, self.name, (at, *rest))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def read_trajectory(path: str | Path) -> StoredTrajectory:
    """Open a trajectory that `jaxsci.stream` wrote, finished or not, without loading its fields.

    Raises:
      FileNotFoundError, ValueError: there is none, or the file is something else.
      ImportError: h5py or zarr is not installed.
    Example:
      >>> import tempfile, jaxsci as js
      >>> s = js.stepper(js.problems.burgers(), js.Spectral(n=64, dt=1e-3))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = js.stream(s, f"{folder}/run.h5", 200, save_every=20)
      ...     stored = js.read_trajectory(f"{folder}/run.h5")
      ...     stored["u"][::5].shape, stored.attributes["problem"], int(stored.status.first_bad_step)
      ((3, 65), 'burgers', -1)
    """
    path = trajectory_file.check_path("read_trajectory", path)
    if not path.exists():
        raise FileNotFoundError(f"read_trajectory: {path} does not exist.")
    attributes, at = trajectory_file.describe(path)
    ts = trajectory_file.read(path, "t", slice(0, at.saves))
    grid = {name: trajectory_file.read(path, name, slice(None)) for name in attributes["axes"].split()}
    status = Status(*map(np.asarray, (at.first_bad_step, at.courant, at.courant_step)))
    return StoredTrajectory(path, attributes, ts, grid, status, at)
