"""What a study of solver against surrogates is asked to do."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, listed
from jaxsci._types import Key
from jaxsci.compare.shifts import Shifted
from jaxsci.compare.study_report import RUNGS
from jaxsci.problems import Problem
from jaxsci.solvers import Spectral
from jaxsci.surrogates.baselines import Mean, Persistence
from jaxsci.surrogates.dynamic_modes import DMD
from jaxsci.surrogates.ridge import Ridge

STARTS, SEEDS = 16, 3  # the fewest
PLAIN: Mapping[str, Any] = {"persistence": Persistence(), "mean": Mean(), "ridge": Ridge(), "DMD": DMD()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What is compared: an equation with random starts, its solver at several resolutions, surrogates, and plain baselines.

    Args:
      name: of the study.
      family: key -> Problem, pure, as of `jaxsci.surrogates.simulate`: starts, and coefficients that differ.
      truth: the solver that makes the truth, ``js.Spectral(n=, dt=)``, finer than every rung.
      ladder: grid intervals per axis of the solver's rungs, five or more; each takes the largest step that it can.
      n: grid intervals per axis of the surrogates and the scores.
      dt: time between saves, the step of the surrogates.
      steps: saves of a scored rollout.
      surrogates: by name, ``NetworkSurrogate(...)`` or anything with the same ``fit``.
      baselines: by name, more of them; persistence, mean, ridge and DMD are always there.
      data: the solver that makes the data for the training, `truth` by default, whose seconds are counted; or the path of a file
        with runs on the study's grid, a dt apart, in any layout of `jaxsci.surrogates.open_dataset`.
      scored: the path of a file whose runs are what is scored, in place of runs of `truth`: those behind the `training_runs`
        where it is the file of `data`, else its first; the first few saves of each, on the study's grid or a finer one.
      data_names: what the files call channels and numbers, to the names of unknowns and coefficients: ``{"tensor": "u"}``.
      skip: time from a problem's start to the first save.
      training_runs, training_steps: how many runs there are to train on, and the saves of each (as `steps` by default).
      probes: starts for the search of the solver's steps; they are not scored.
      starts: scored ones, 16 or more.
      seeds: of the training of each surrogate, 3 or more.
      batches: trajectories at a time, for the seconds.
      shifts: other distributions to score on.
      shift_starts: starts of each.
      tuning: by surrogate, seconds that went into choosing its settings; nothing by default, which the report says.
      channel: the component that is drawn, and whose correlation is measured.
      title: of it, in the pictures.
      chaotic: measure the Lyapunov exponent, in whose inverse valid prediction times then are.
      gradients: measure the surrogates' gradients against the solver's; by default in one dimension.
      budget: seconds for the whole; the training gets what the rest leaves of it. None sets no limit but `Training.steps`.
      quick: allows fewer starts and seeds than a verdict needs; the report says so.
    Raises:
      ValueError: naming what does not fit.
    Example:
      >>> import jaxsci as js
      >>> from jaxsci.compare.studies import STUDIES
      >>> STUDIES["advection_waves"]("quick").ladder
      (12, 16, 24, 32, 48)
    """

    name: str
    family: Callable[[Key], Problem]
    truth: Spectral
    ladder: tuple[int, ...]
    n: int
    dt: float
    steps: int
    surrogates: Mapping[str, Any]
    baselines: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Spectral | str | None = None
    data_names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    scored: str | None = None
    skip: float = 0.0
    training_runs: int = 64
    training_steps: int | None = None
    probes: int = 4
    starts: int = STARTS
    seeds: int = SEEDS
    batches: tuple[int, ...] = (1, 64)
    shifts: tuple[Shifted, ...] = ()
    shift_starts: int = 8
    tuning: Mapping[str, float] = dataclasses.field(default_factory=dict)
    channel: int = 0
    title: str | None = None
    chaotic: bool = False
    gradients: bool | None = None
    budget: float | None = None
    quick: bool = False

    def __post_init__(self):
        what = f"Study {self.name!r}:"
        if not callable(self.family):
            raise ValueError(f"{what} family must be a function, key -> Problem, got {self.family!r}.")
        for name in ("ladder", "batches", "shifts"):
            if not isinstance(getattr(self, name), tuple | list):
                raise ValueError(f"{what} {name} must be a tuple, of one or more, got {getattr(self, name)!r}.")
        for shifted in self.shifts:
            if not isinstance(shifted, Shifted):
                raise ValueError(f"{what} shifts must be js.compare.Shifted(name=...), got {shifted!r}.")
        whole = ("n", "steps", "training_runs", "probes", "starts", "seeds", "shift_starts")
        for name in whole:
            if not (is_whole(getattr(self, name)) and getattr(self, name) >= 1):
                raise ValueError(f"{what} {name} must be a whole number >= 1, got {getattr(self, name)!r}.")
        if not (isinstance(self.dt, int | float) and math.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"{what} dt, the time between two saves, must be a number above 0, got {self.dt!r}.")
        if not all(is_whole(n) and n >= 4 for n in self.ladder) or len(set(self.ladder)) < max(RUNGS, len(self.ladder)):
            raise ValueError(
                f"{what} the ladder needs {RUNGS} grids or more, different whole numbers >= 4, got {self.ladder!r}: without the "
                "solver's own coarse grids a surrogate is compared with nothing."
            )
        if not isinstance(self.truth, Spectral) or self.truth.dt is None or isinstance(self.truth.n, tuple):
            raise ValueError(f"{what} truth must be js.Spectral(n=..., dt=...), n one number, got {self.truth!r}.")
        if max(*self.ladder, self.n) >= self.truth.n:
            raise ValueError(
                f"{what} the truth, n = {self.truth.n}, must be finer than the ladder {self.ladder} and the surrogates' {self.n}."
            )
        if not (self.data is None or isinstance(self.data, str | Spectral)):
            raise ValueError(
                f"{what} data must be js.Spectral(n=..., dt=...) or the path of a file, as text; got {self.data!r}."
            )
        if not (self.scored is None or isinstance(self.scored, str)):
            raise ValueError(f"{what} scored must be the path of a file, as text; got {self.scored!r}.")
        if not self.surrogates:
            raise ValueError(f"{what} there is no surrogate; give surrogates={{'FNO': NetworkSurrogate(...)}}.")
        used = [*PLAIN, *self.baselines, *self.surrogates, f"ETDRK{self.truth.order}"]
        twice = sorted({name for name in used if used.count(name) > 1})
        if twice:
            raise ValueError(f"{what} the name {listed(twice)} is given twice; {listed(PLAIN)} are always there.")
        if not self.batches or not all(is_whole(b) and b >= 1 for b in self.batches):
            raise ValueError(f"{what} batches must be whole numbers >= 1, got {self.batches!r}.")
        unknown = [name for name in self.tuning if name not in self.surrogates]
        if unknown:
            raise ValueError(f"{what} tuning names {listed(unknown)}, which is no surrogate: {listed(self.surrogates)}.")
        if self.budget is not None and not (isinstance(self.budget, int | float) and self.budget > 0):
            raise ValueError(f"{what} the budget is seconds, a number above 0, got {self.budget!r}.")
        for name, least, why in (("starts", STARTS, "the intervals"), ("seeds", SEEDS, "the scatter of a training")):
            if getattr(self, name) < least and not self.quick:
                raise ValueError(
                    f"{what} {why} need {least} {name} or more, got {getattr(self, name)}; quick=True (--quick) allows "
                    "it, and says so."
                )

    @property
    def truth_n(self) -> int:
        assert not isinstance(self.truth.n, tuple)  # This is a bug in jaxsci: checked when the study was made.
        return self.truth.n

    @property
    def truth_dt(self) -> float:
        assert self.truth.dt is not None  # This is a bug in jaxsci: checked when the study was made.
        return self.truth.dt

    def identity(self, key: Any) -> dict[str, str]:
        """What a record must agree in: every setting, the problem of a key, the key, the precision."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("family", "budget")}
        texts = {name: re.sub(r"(<function \S+)? at 0x[0-9a-f]+", "", repr(value)) for name, value in plain.items()}
        return texts | {
            "problem": self.family(jax.random.key(0)).identity,
            "key": str(np.asarray(jax.random.key_data(key)).tolist()),
            "precision": str(jnp.result_type(float)),
        }
