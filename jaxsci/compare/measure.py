"""Steppers on the scored starts: errors, metrics, and seconds taken in turns.

A candidate is anything that makes a stepper of a problem: a rung of the solver's ladder, a trained surrogate, a baseline. All of
them start from the same fields, brought to their own grid, and are scored on one grid against one truth.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci._types import Progress
from jaxsci.compare.conservation import conservation_drift, invariants, on_grid, physics_residual
from jaxsci.compare.field_errors import nrmse
from jaxsci.compare.predictability import correlation_time, valid_prediction_time
from jaxsci.compare.spectra import spectrum_error
from jaxsci.compare.study_report import Family, Measurement
from jaxsci.compare.turns import Clocked, Timing, clocked, take_turns
from jaxsci.problems import Problem
from jaxsci.solvers import Stepper
from jaxsci.surrogates.resample import resample

_LONG = 0.5  # seconds above which fewer saves are timed


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is measured.

    Attributes:
      name, family, detail, resolution, dt, seed: as of `jaxsci.compare.study_report.Measurement`.
      make: from a problem to its stepper; jax.vmap goes through it where coefficients differ from start to start.
      substeps: of the stepper between two saves.
      stats: the other fields of the `Measurement`, as far as they are known: seconds of training, parameters.
    """

    name: str
    family: Family
    detail: str
    make: Callable[[Problem], Any]
    resolution: int | None = None
    dt: float | None = None
    seed: int | None = None
    substeps: int = 1
    stats: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name}, {self.detail}" if self.detail else self.name


@dataclasses.dataclass(frozen=True)
class Scored:
    """Starts, and what becomes of them.

    Attributes:
      problem: one of them.
      numbers: by coefficient in which they differ, its values ``[starts]``.
      starts: ``[starts, channels, *space]`` on the grid of the truth.
      truth: ``[starts, 1 + steps, channels, *space]`` on the grid of the scores, the start included.
      dt: time between saves.
      n: intervals per axis of the grid of the scores.
    """

    problem: Problem
    numbers: Mapping[str, np.ndarray]
    starts: np.ndarray
    truth: np.ndarray
    dt: float
    n: tuple[int, ...]

    @property
    def space(self) -> int:
        return len(self.n)

    @property
    def walls(self) -> tuple[bool, ...]:
        return tuple(bool(self.problem.walls(axis)) for axis in self.problem.domain.space)

    @property
    def steps(self) -> int:
        return self.truth.shape[1] - 1

    @property
    def ts(self) -> np.ndarray:
        """Times of all saves, from zero."""
        return self.dt * np.arange(self.steps + 1)

    def part(self, rows: slice) -> Scored:
        """Some of the starts."""
        numbers = {name: values[rows] for name, values in self.numbers.items()}
        return dataclasses.replace(self, numbers=numbers, starts=self.starts[rows], truth=self.truth[rows])


class Rollouts(NamedTuple):
    """What a candidate made of the starts.

    Attributes:
      fields: ``[starts, steps, channels, *space]`` on the grid of the scores, without the start.
      compile_seconds: of the program.
      run_seconds: of its first run, for all starts.
    """

    fields: np.ndarray
    compile_seconds: float
    run_seconds: float


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is static in a rollout."""

    steps: int
    substeps: int | None  # None: an argument of the program
    mapped: bool  # there is a stepper for each start
    walls: tuple[bool, ...]
    n: tuple[int, ...] | None  # the grid of the saves; None where only the end is wanted, on the stepper's own


@functools.partial(jax.jit, static_argnames="plan")
def _roll(stepper: Any, fields: Any, t: Any, substeps: Any, plan: _Plan) -> Any:
    """Rollouts of a batch: all saves, or the end alone."""
    count = substeps if plan.substeps is None else plan.substeps

    def one(stepper: Any, fields: Any) -> Any:
        def save(state: Any, _: Any) -> Any:
            state = jax.lax.fori_loop(0, count, lambda i, s: stepper.step(s), state)
            return state, None if plan.n is None else resample(on_grid(stepper, state), plan.walls, plan.n)

        state = stepper.encode(fields, t)
        state, saves = jax.lax.scan(save, state, None, length=plan.steps)
        return on_grid(stepper, state) if plan.n is None else saves

    return jax.vmap(one, in_axes=(0 if plan.mapped else None, 0))(stepper, fields)


def steppers(make: Callable[[Problem], Any], scored: Scored) -> Any:
    """The stepper for all starts; one for each, stacked, where they differ in coefficients."""
    if not scored.numbers:
        return make(scored.problem)
    dtype = jnp.result_type(float)
    told = {name: jnp.asarray(values, dtype) for name, values in scored.numbers.items()}
    return jax.vmap(lambda told: make(scored.problem.with_coefficients(**told)))(told)


def _inputs(make: Callable[[Problem], Any], scored: Scored) -> tuple[Any, Any, Any]:
    """Stepper, starts on its grid, and their time."""
    stepper = steppers(make, scored)
    own = tuple(len(axis) - wall for axis, wall in zip(stepper.grid.values(), scored.walls, strict=True))
    dtype = jnp.result_type(float)
    fields = _resampled(jnp.asarray(scored.starts, dtype), scored.walls, own)
    return stepper, fields, jnp.asarray(scored.problem.domain["t"][0], dtype)


_resampled = jax.jit(resample, static_argnums=(1, 2))


def rollouts(candidate: Candidate, scored: Scored) -> Rollouts:
    """The candidate from every start, on the grid of the scores."""
    stepper, fields, t = _inputs(candidate.make, scored)
    plan = _Plan(scored.steps, candidate.substeps, bool(scored.numbers), scored.walls, scored.n)
    with Stopwatch() as watch:
        saves = np.asarray(_roll(stepper, fields, t, None, plan=plan))
    return Rollouts(saves, watch.compile_seconds, watch.run_seconds)


def search_rollouts(make: Callable[[Problem], Any], scored: Scored, substeps: int) -> np.ndarray:
    """As `rollouts`, one program for every number of substeps: for a search."""
    stepper, fields, t = _inputs(make, scored)
    plan = _Plan(scored.steps, None, bool(scored.numbers), scored.walls, scored.n)
    return np.asarray(_roll(stepper, fields, t, jnp.asarray(substeps), plan))


def errors_of(fields: np.ndarray, scored: Scored) -> np.ndarray:
    """The nRMSE (APEBench's definition) at each save, ``[starts, steps]``; inf from where it blew up."""
    return np.asarray(_errors(fields, scored.truth[:, 1:].astype(fields.dtype), space=scored.space))


@functools.partial(jax.jit, static_argnames="space")
def _errors(fields: Any, truth: Any, space: int) -> Any:
    return nrmse(fields, truth, space=space, average=False)


def measurement(
    candidate: Candidate, scored: Scored, made: Rollouts, *, metrics: Mapping[str, float] | None = None
) -> Measurement:
    """Its errors, and what is known of its cost; the seconds come later, from `time_in_turns`."""
    errors = errors_of(made.fields, scored)
    return Measurement(
        name=candidate.name, family=candidate.family, detail=candidate.detail, resolution=candidate.resolution, dt=candidate.dt,
        seed=candidate.seed, errors=errors.mean(axis=1), growth=np.median(errors, axis=0), seconds={}, cpu_seconds={},
        compile_seconds=made.compile_seconds, metrics=dict(metrics or {}), **candidate.stats,
    )  # fmt: skip


def metrics_of(
    made: Rollouts, scored: Scored, *, channel: int = 0, lyapunov_time: float = 1.0, residual: Any = None, checked: int = 4
) -> dict[str, float]:
    """The other metrics of a candidate's rollouts, each by the definition of the function of its name.

    Correlation is that of one channel. The spectrum is that of the later half of the saves. The drift is the largest over the
    integrals that the equation keeps, at the end. The residual is that of a few starts, where the coefficients do not differ.

    Args:
      channel: the one whose correlation is meant.
      lyapunov_time: the unit of the valid prediction time.
      residual: from `residual_on`; None leaves it out.
      checked: starts that go into the residual.
    """
    dtype = made.fields.dtype
    truth = scored.truth.astype(dtype)
    fields = np.concatenate([truth[:, :1], made.fields], axis=1)
    what = _What(
        scored.space, tuple(scored.problem.domain.lengths), tuple(invariants(scored.problem)), channel,
        has_spectrum=not any(scored.walls) and all(n % 2 == 0 for n in scored.n),
    )  # fmt: skip
    found = _metrics(fields, truth, jnp.asarray(scored.ts, dtype), lyapunov_time, what)
    if residual is not None and not scored.numbers:
        found["residual"] = residual(fields[:checked])
    bad = ~np.isfinite(made.fields).all(axis=tuple(range(1, made.fields.ndim)))
    return {name: float(value) for name, value in found.items()} | {"blown_up": float(np.mean(bad))}


class _What(NamedTuple):
    """What is static in the metrics."""

    space: int
    lengths: tuple[float, ...]
    kept: tuple[Any, ...]  # integrals that the equation keeps
    channel: int
    has_spectrum: bool


@functools.partial(jax.jit, static_argnames="what")
def _metrics(fields: Any, truth: Any, ts: Any, lyapunov_time: Any, what: _What) -> dict[str, Any]:
    space, half = what.space, fields.shape[1] // 2
    one = slice(what.channel, what.channel + 1)
    found = {
        "correlation_time": correlation_time(fields[:, :, one], truth[:, :, one], ts, space=space),
        "valid_prediction_time": valid_prediction_time(fields, truth, ts, space=space, lyapunov_time=lyapunov_time),
    }
    if what.has_spectrum:
        late, true = fields[:, -half:], truth[:, -half:]
        found["spectrum_error"] = spectrum_error(late, true, space=space, lengths=what.lengths)
    drifts = [conservation_drift(fields, name, space=space, lengths=what.lengths, average=False) for name in what.kept]
    if drifts:
        found["conservation_drift"] = jnp.max(jnp.stack([jnp.max(jnp.mean(d[:, -1], axis=0)) for d in drifts]))
    return found


def residual_on(solver: Stepper, dt: float) -> Callable[[Any], Any]:
    """The physics residual of rollouts with saves every dt, by the solver on their grid, as one program for all candidates."""
    return jax.jit(functools.partial(physics_residual, solver, dt=dt))


# --- seconds -------------------------------------------------------------------------------------------------------------------


def time_in_turns(
    candidates: Sequence[Candidate],
    scored: Scored,
    batches: Sequence[int],
    *,
    estimates: Sequence[float] | None = None,
    seconds: float = 60.0,
    rounds: tuple[int, int] = (5, 40),
    progress: Progress = None,
) -> list[dict[int, Timing]]:
    """Seconds per trajectory of every candidate at every batch size, from programs that are run in turns.

    A program takes fields on the candidate's grid to the fields at the end of the horizon; it is compiled before. Of a rollout
    that takes longer than half a second the first saves alone are timed, as many as fit, and the rest is taken to cost the
    same; a rollout that takes less than 10 ms is run several times in a row. What counts is the least of the rounds: other work
    on the machine can only add to a time.

    Args:
      candidates: of one precision and device.
      scored: whose starts are rolled out, again and again where a batch holds more.
      batches: trajectories at a time.
      estimates: by candidate, seconds of a trajectory, to choose how many saves are timed; measured if not given.
      seconds: for all the rounds; the fewest rounds are run whatever they take.
      rounds: the fewest and the most; they end where no minimum has fallen by 1 per cent in the last five.
      progress: called with a line of text now and then.
    Raises:
      ValueError: a batch size that is none.
    """
    if not all(isinstance(batch, int) and batch >= 1 for batch in batches):
        raise ValueError(f"time_in_turns: batches must be whole numbers >= 1, got {tuple(batches)!r}.")
    jobs: dict[tuple[int, int], Clocked] = {}
    for i, candidate in enumerate(candidates):
        guess = None if estimates is None else estimates[i]
        for batch in batches:
            jobs[i, batch] = _clocked(candidate, scored, batch, guess)
        if progress is not None:
            progress(f"timing: {candidate.label} compiled")
    take_turns(list(jobs.values()), seconds=seconds, rounds=rounds, progress=progress)
    return [{batch: jobs[i, batch].least for batch in batches} for i in range(len(candidates))]


def _clocked(candidate: Candidate, scored: Scored, batch: int, guess: float | None) -> Clocked:
    rows = np.resize(np.arange(len(scored.starts)), batch)
    many = dataclasses.replace(
        scored.part(slice(0, len(scored.starts))),
        numbers={name: values[rows] for name, values in scored.numbers.items()},
        starts=scored.starts[rows],
    )
    stepper, fields, t = _inputs(candidate.make, many)

    def program(saves: int) -> Callable[[], Any]:
        plan = _Plan(saves, candidate.substeps, bool(many.numbers), many.walls, None)
        return lambda: _roll(stepper, fields, t, None, plan=plan)

    saves = scored.steps
    if guess is not None and guess * batch > _LONG:
        saves = max(1, math.floor(scored.steps * _LONG / (guess * batch)))
    return clocked(program(saves), batch * saves / scored.steps)
