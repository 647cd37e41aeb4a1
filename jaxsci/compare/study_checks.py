"""What can be known of a study before anything is solved: that its grids, steps and networks fit each other."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from jaxsci._checks import is_whole, unknown_name
from jaxsci.compare.study_settings import Study
from jaxsci.problems import Problem, stepper
from jaxsci.solvers import Spectral
from jaxsci.surrogates.fit_course import check_fit
from jaxsci.surrogates.network_surrogate import NetworkSurrogate
from jaxsci.surrogates.stepper import components
from jaxsci.surrogates.trajectories import Trajectories

_TOLERANCE = 1e-6  # of a time, within which it is a whole number of steps


def check_study(study: Study) -> None:
    """Times are whole steps; the channel exists; networks take the grid, the runs and the numbers; grids between walls share
    their nodes.

    Raises:
      ValueError: naming the study and what does not fit.
    """
    first, second = (study.family(key) for key in jax.random.split(jax.random.key(0)))
    _check_times(study)
    _check_walls(study, first)
    frame = stepper(first, Spectral(n=study.n, dt=study.dt))
    shape = jax.eval_shape(lambda: components(frame, frame.initial())).shape
    if not (is_whole(study.channel) and 0 <= study.channel < shape[0]):
        raise ValueError(
            f"Study {study.name!r}: channel must be the number of a component, 0 to {shape[0] - 1}, got {study.channel!r}."
        )
    for name, surrogate in study.surrogates.items():
        if isinstance(surrogate, NetworkSurrogate):
            _check_network(study, name, surrogate, (first, second), shape)


def _check_times(study: Study) -> None:
    methods = {"truth": study.truth} | ({"data": study.data} if isinstance(study.data, Spectral) else {})
    for name, method in methods.items():
        for what, time in (("dt", study.dt), ("skip", study.skip)):
            if method.dt is None or not math.isclose(time, round(time / method.dt) * method.dt, rel_tol=_TOLERANCE):
                raise ValueError(
                    f"Study {study.name!r}: {what} = {time:g} must be a whole number of steps of {name}, whose dt is "
                    f"{method.dt}; change one of them."
                )


def _check_network(
    study: Study, name: str, surrogate: NetworkSurrogate, drawn: tuple[Problem, Problem], shape: tuple[int, ...]
) -> None:
    """By the shape of the data to come: their values do not matter."""
    first, second = drawn
    what = f"Study {study.name!r}: surrogate {name!r}"
    for told in surrogate.numbers:
        if told not in first.coefficients:
            names = [k for k, v in first.coefficients.items() if not callable(v)]
            raise ValueError(f"{what}, numbers: {unknown_name('coefficient', told, names)}")
        if not isinstance(study.data, str) and np.array_equal(first.coefficients[told], second.coefficients[told]):
            raise ValueError(f"{what}, numbers: {told} is the same in all runs; leave it out, or draw it in the family.")
    saves = (study.training_steps or study.steps) + 1
    values: Any = np.zeros(2)
    nothing: Any = np.broadcast_to(np.zeros((), np.float32), (2, saves, *shape))  # takes no memory
    try:
        check_fit(surrogate, Trajectories(first, nothing, dict.fromkeys(surrogate.numbers, values), study.dt))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: {str(error).removeprefix('fit: ')}") from None


def _check_walls(study: Study, problem: Problem) -> None:
    """Between walls a field is known at its nodes alone: grids must share them."""
    walls = [axis for axis in problem.domain.space if problem.walls(axis)]
    bad = [n for n in study.ladder if n % study.n or study.truth_n % n]
    shifted = [s.name for s in study.shifts if s.scale != 1]
    if walls and bad:
        n = study.n
        raise ValueError(
            f"Study {study.name!r}: {problem.name} has walls on {', '.join(walls)}, between which fields are known at "
            f"nodes only: each grid of the ladder must be a multiple of n = {n} and divide the truth's {study.truth_n}, and "
            f"{', '.join(map(str, bad))} {'is' if len(bad) == 1 else 'are'} not; give ladder=({n}, {2 * n}, {3 * n}, {4 * n}, "
            f"{6 * n}) and a truth with n={12 * n}, for one."
        )
    if walls and shifted:
        raise ValueError(
            f"Study {study.name!r}: the shift {shifted[0]!r} is a larger box, and {problem.name} has walls; leave it out."
        )
