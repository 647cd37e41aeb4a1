"""What a study of solver against surrogates found: plain numbers and arrays, from which every form of the report is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

Family = Literal["solver", "surrogate", "baseline"]
Bound = Literal["", "at most", "at least"]  # what a ratio is where the ladder does not reach
RUNGS = 5  # the fewest grids of the solver that a report of trajectories may hold


class Wording(NamedTuple):
    """What the report calls one run, what it starts from, and its error."""

    run: str
    start: str
    error: str


TRAJECTORIES = Wording("trajectory", "start", "the mean over the saves of the nRMSE, then over the starts")
VALUES = Wording("value", "input", "|f - y| in units of the root mean square of y, then the mean over the inputs")


class Interval(NamedTuple):
    """An estimate with its 5 and 95 per cent bounds (bootstrap over initial conditions)."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One stepper on the scored starts: a rung of the solver's ladder, a surrogate's seed, or a baseline.

    Attributes:
      name: of the candidate, the same for its seeds and its rungs ("FNO", "ETDRK4").
      family: of the candidate.
      detail: what tells it from others of the name, as text: "n = 32, dt = 1/16", "seed 1".
      resolution, dt: grid intervals per axis and step; None where it has none.
      seed: of its training; None where nothing was drawn.
      errors: ``[starts]``, the score of each start over the horizon: the mean over saves of the nRMSE; inf where it blew up.
      growth: ``[saves]``, the median over starts of the nRMSE at each save (the start itself left out).
      seconds: by batch size, wall seconds of the rollout PER TRAJECTORY: the least of several, in turns with the others,
        without compilation.
      cpu_seconds: the same in processor time.
      compile_seconds: tracing and compiling, of the rollout.
      data_seconds, training_seconds, tuning_seconds: what it cost before its first trajectory.
      parameters: how many numbers were learned.
      cut_short: how far its training came where the budget ended it, "2 of 200 steps".
      metrics: by name, one number each: "correlation_time", "valid_prediction_time", "spectrum_error", "conservation_drift",
        "residual", "blown_up" (share of starts), "gradient_error", ...; NaN where it has none.
    """

    name: str
    family: Family
    detail: str
    resolution: int | None
    dt: float | None
    seed: int | None
    errors: np.ndarray
    growth: np.ndarray
    seconds: Mapping[int, float]
    cpu_seconds: Mapping[int, float]
    compile_seconds: float
    data_seconds: float = 0.0
    training_seconds: float = 0.0
    tuning_seconds: float = 0.0
    parameters: int = 0
    cut_short: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def error(self) -> float:
        """The mean over starts; inf where one blew up."""
        return float(np.mean(self.errors))

    @property
    def upfront_seconds(self) -> float:
        """Data, training and tuning."""
        return self.data_seconds + self.training_seconds + self.tuning_seconds


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One surrogate (all its seeds) against the ladder, at one batch size.

    Attributes:
      name, batch: of the candidate, and trajectories at a time.
      error: of the surrogate.
      speed_ratio: seconds of the solver at the surrogate's error over the surrogate's seconds; above 1 the surrogate is faster.
        A bound where the ladder does not reach that error, see `speed_bound`; NaN where the surrogate blew up.
      speed_bound: "", or what the ratio is: "at most" that (even the cheapest rung is more accurate than the surrogate) or "at
        least" that (no rung is as accurate).
      error_ratio: the surrogate's error over that of the solver in the same time; below 1 the surrogate is more accurate;
        NaN where even the cheapest rung takes longer.
      break_even: trajectories after which data, training and tuning are paid back; inf is "never".
      upfront_seconds: data + training + tuning.
      error_bound: "", or "at least" where even the dearest rung takes less time: a finer one would err less.
    """

    name: str
    batch: int
    error: Interval
    speed_ratio: Interval
    speed_bound: Bound
    error_ratio: Interval
    break_even: Interval
    upfront_seconds: float
    error_bound: Bound = ""


@dataclasses.dataclass(frozen=True)
class Shift:
    """Errors under another distribution than that of the training: other coefficients, a longer time, a larger box.

    Attributes:
      name: as text, "viscosity 0.005", "twice the time", "twice the box".
      errors: by candidate (name, and for the solver its rung, "ETDRK4, n = 32, dt = 0.01"), ``[starts]``; a candidate that
        cannot do it is left out.
      reasons: by candidate, why it was left out.
    """

    name: str
    errors: Mapping[str, np.ndarray]
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Gallery:
    """One scored start for the pictures: the scalar that is shown, on the scoring grid.

    Attributes:
      title: of the scalar, "vorticity w".
      ts: ``[saves]``, the start included.
      axes: by name, the grid.
      truth: ``[saves, *space]``.
      fields: by candidate, the same; NaN after it blew up.
    """

    title: str
    ts: np.ndarray
    axes: Mapping[str, np.ndarray]
    truth: np.ndarray
    fields: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """The whole outcome: of trajectories, or of values of a function, which have no saves.

    Attributes:
      name: of the study.
      problem: one member of its family, a `jaxsci.Problem`.
      settings: what was asked for, as plain JSON values: resolutions, dt, steps, numbers of runs, seeds, budgets.
      ts: ``[saves]``, times of `Measurement.growth`.
      truth: what the truth is, as text, and its own error in the unit of the scores.
      truth_error: of the truth, from a finer run.
      measurements: of the ladder (at least five rungs), the surrogates and the baselines.
      verdicts: of each surrogate at each batch size.
      shifts: out of distribution.
      gallery: what to draw.
      environment: machine, versions, load, precision.
      notes: sentences that a reader must know: what was cut, what failed and why.
    Raises:
      ValueError: there is a surrogate, and the solver's rungs have fewer than five resolutions: without its own coarse grids a
        surrogate is compared with nothing. Of values: there is no solver.
    """

    name: str
    problem: Any
    settings: Mapping[str, Any]
    ts: np.ndarray
    truth: str
    truth_error: float
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    shifts: tuple[Shift, ...]
    gallery: Gallery
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        solvers = [m for m in self.measurements if m.family == "solver"]
        judged = any(m.family == "surrogate" for m in self.measurements)
        if judged and not solvers:
            raise ValueError(f"StudyReport {self.name!r}: there is no solver: the surrogates are compared with nothing.")
        rungs = {m.resolution for m in solvers}
        if judged and self.wording is TRAJECTORIES and len(rungs) < RUNGS:
            raise ValueError(
                f"StudyReport {self.name!r}: the solver is there at {len(rungs)} resolutions, and {RUNGS} or more are needed: "
                "without its own coarse grids a surrogate is compared with nothing."
            )

    @property
    def wording(self) -> Wording:
        return TRAJECTORIES if len(self.ts) else VALUES

    def table(self) -> str:
        """The report for a terminal."""
        from jaxsci.compare.study_text import study_text

        return study_text(self)

    def save(self, folder: str | Path) -> Path:
        """Write index.html (self-contained), results.json, measurements.csv, gallery.npz and *.png; see `save_study`."""
        from jaxsci.compare.study_files import save_study

        return save_study(self, folder)

    def __repr__(self) -> str:
        return self.table()
