"""Out of distribution: the same candidates under other coefficients, over a longer time, in a larger box."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci._types import Key, Progress
from jaxsci.compare.measure import Candidate, Scored, errors_of, rollouts
from jaxsci.compare.study_report import Shift
from jaxsci.problems import Problem
from jaxsci.solvers import Spectral
from jaxsci.surrogates.resample import resample
from jaxsci.surrogates.simulate import simulate
from jaxsci.surrogates.stepper import FittedSurrogate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shifted:
    """Another distribution than that of the training, on which the trained surrogates are scored as they are.

    Args:
      name: of it, "viscosity 0.005", "twice the time".
      family: key -> Problem; that of the study by default.
      steps: the horizon in saves; that of the study by default.
      scale: by which all grids are larger, for a family on a larger box: 2 for twice the box.
    Raises:
      ValueError: a scale or steps that are no whole numbers >= 1, or nothing that is shifted.
    Example:
      >>> from jaxsci.compare.shifts import Shifted
      >>> Shifted(name="twice the time", steps=40).scale
      1
    """

    name: str
    family: Callable[[Key], Problem] | None = None
    steps: int | None = None
    scale: int = 1

    def __post_init__(self):
        if not (is_whole(self.scale) and self.scale >= 1):
            raise ValueError(f"Shifted {self.name!r}: scale must be a whole number >= 1, got {self.scale!r}.")
        if self.steps is not None and not (is_whole(self.steps) and self.steps >= 1):
            raise ValueError(f"Shifted {self.name!r}: steps must be a whole number >= 1, got {self.steps!r}.")
        if self.family is None and (self.steps is None or self.scale != 1):
            raise ValueError(f"Shifted {self.name!r}: give a family (a larger box needs one), or steps for a longer time.")


def scored_starts(
    family: Callable[[Key], Problem],
    keys: Any,
    truth: Spectral,
    *,
    n: int,
    dt: float,
    steps: int,
    skip: float,
    double: bool = True,
    progress: Progress = None,
) -> Scored:
    """Starts and their truth, by the solver `truth`; computed in double precision, in whatever precision the program is.

    Args:
      family: key -> Problem.
      keys: ``[starts]``.
      n: grid intervals per axis of the scores.
      dt, steps, skip: as of `jaxsci.surrogates.simulate`.
      double: whether to use double precision.
    """
    problem = family(keys[0])  # in the precision of the candidates
    with jax.enable_x64(double or jnp.result_type(float) == jnp.float64):
        made = simulate(family, keys, truth, n=truth.n, dt=dt, steps=steps, skip=skip, progress=progress)
        fields = np.asarray(made.data.fields)
        numbers = {name: np.asarray(values) for name, values in made.data.numbers.items()}
        sizes = (n,) * len(problem.domain.space)
        saves = np.stack([np.asarray(resample(jnp.asarray(run), problem, sizes)) for run in fields])
    return Scored(problem, numbers, fields[:, 0], saves, float(dt), sizes)


def score_shift(shifted: Shifted, scored: Scored, candidates: Sequence[Candidate], progress: Progress = None) -> Shift:
    """Errors of every candidate that can do it, and why the others cannot."""
    errors, reasons = {}, {}
    for candidate in candidates:
        name = candidate.label if candidate.family == "solver" else candidate.name
        try:
            made = rollouts(enlarged(candidate, shifted.scale), scored)
        except (ValueError, TypeError) as error:
            reasons[name] = " ".join(str(error).split())[:300]
            continue
        errors[name] = errors_of(made.fields, scored).mean(axis=1)
        if progress is not None:
            progress(f"{shifted.name}: {name}, error {errors[name].mean():.2e}")
    return Shift(shifted.name, errors, reasons)


def enlarged(candidate: Candidate, scale: int) -> Candidate:
    """The candidate on a grid that is larger by a factor, the spacing kept."""
    make: Any = candidate.make
    if scale == 1:
        return candidate
    if isinstance(make, Fitted):
        sizes = make.fitted.method.n
        sizes = tuple(scale * n for n in sizes) if isinstance(sizes, tuple) else scale * sizes
        method = dataclasses.replace(make.fitted.method, n=sizes)
        return dataclasses.replace(candidate, make=Fitted(dataclasses.replace(make.fitted, method=method)))
    return dataclasses.replace(candidate, make=dataclasses.replace(make, n=scale * make.n))


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The stepper of a fitted surrogate, of a problem."""

    fitted: FittedSurrogate

    def __call__(self, problem: Problem) -> Any:
        return self.fitted.stepper(problem)
