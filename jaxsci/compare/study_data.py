"""What a study trains on and what it scores: runs of its own solver, or of the user's files."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsci.compare.hosts import all_say, part_here, share_of, spans_hosts
from jaxsci.compare.ladder import rung
from jaxsci.compare.measure import Scored, errors_of, rollouts
from jaxsci.compare.shifts import scored_starts
from jaxsci.compare.study_settings import Study
from jaxsci.problems import Problem
from jaxsci.solvers import Spectral
from jaxsci.surrogates.dataset import open_dataset
from jaxsci.surrogates.resample import resample, resampling_fault
from jaxsci.surrogates.simulate import depends_on_time, simulate
from jaxsci.surrogates.trajectories import Trajectories
from jaxsci.surrogates.trajectory_files import provenance_of

Say = Callable[[str], None]


def made_together(study: Study, mesh: Mesh | None) -> bool:
    """Whether every process makes a part of the data."""
    return spans_hosts(mesh) and not isinstance(study.data, str) and share_of(study.training_runs) is not None


def made_runs(study: Study, keys: Any, say: Say, mesh: Mesh | None = None) -> dict[str, Any]:
    """``fields [runs, saves, channels, *space]``, ``numbers {name: [runs]}``, the ``seconds`` that they cost, and ``devices``;
    of a file the ``fixed`` coefficients too.

    Over a mesh the runs are spread over its devices, those of several hosts by host; what they cost is the seconds of all the
    devices together. Runs in a file cost what is not known here: no seconds are counted.

    Raises:
      ValueError: a file with another grid, step or coefficient than the study's, or fields of another equation.
    """
    if isinstance(study.data, str):
        steps = study.training_steps or study.steps
        found = runs_of_file(study, study.data, slice(study.training_runs), steps, _problems(study, keys))
        if set(found.intervals) != {study.n}:
            raise ValueError(
                f"{study.data}: its grid has {found.intervals} intervals, that of the study {study.n}; set n to that."
            )
        say(f"data: {len(found)} runs of {study.data}")
        return _plain(found) | {"fixed": _fixed(found.problem), "seconds": 0.0, "devices": 1}
    here, devices = part_here(mesh), 1 if mesh is None else mesh.size
    if not made_together(study, mesh):
        devices = 1 if here is None else here.size
        found, seconds = _simulated(study, keys, say, here)
        return found | {"seconds": devices * seconds, "devices": devices}
    parts = []
    for told in all_say(lambda: _packed(*_simulated(study, keys[share_of(study.training_runs)], say, here))):
        with np.load(io.BytesIO(told), allow_pickle=False) as file:
            parts.append({name: file[name] for name in file.files})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    seconds, fields = float(whole.pop("seconds").max()), whole.pop("fields")
    return {"fields": fields, "numbers": whole, "seconds": devices * seconds, "devices": devices}


def _simulated(study: Study, keys: Any, say: Say, mesh: Mesh | None) -> tuple[dict[str, Any], float]:
    method = study.data if isinstance(study.data, Spectral) else study.truth
    try:
        made = simulate(
            study.family, keys, method, n=study.n, dt=study.dt, steps=study.training_steps or study.steps, skip=study.skip,
            mesh=mesh, progress=lambda text: say(f"data: {text}"),
        )  # fmt: skip
    except ValueError as error:
        if "are not finite" not in str(error):
            raise
        raise ValueError(
            f"Study {study.name!r}: {str(error).split(';')[0]}. Look at the signs in the equation (diffusion is u.t = + c * u.xx "
            "with c > 0), at the size of the starts, and at the step and the grid of the solver that makes the data, "
            f"dt = {method.dt:g} and n = {method.n}."
        ) from None
    return _plain(made.data), made.cost.solve_seconds


def _plain(data: Trajectories) -> dict[str, Any]:
    return {"fields": np.asarray(data.fields), "numbers": {name: np.asarray(v) for name, v in data.numbers.items()}}


def _packed(made: dict[str, Any], seconds: float) -> bytes:
    file = io.BytesIO()
    np.savez(file, fields=made["fields"], seconds=np.full(1, seconds), **made["numbers"])
    return file.getvalue()


def _fixed(problem: Problem) -> dict[str, float]:
    """The coefficients that a file gave to a problem, and the others that are numbers."""
    return {k: float(v) for k, v in problem.coefficients.items() if not callable(v) and np.ndim(v) == 0}


# --- what is scored ------------------------------------------------------------------------------------------------------------


def made_truth(study: Study, keys: Any, say: Say) -> dict[str, Any]:
    """``starts`` and ``truth`` as of `Scored`, the ``numbers`` in which they differ, the ``fixed`` coefficients of a file, and
    the truth's own error, ``floor``.

    Made by the study's solver for the truth, whose error is that against a finer one; or runs of a file, whose error is that of
    the solver for the truth against them: what no solver of this equation can be expected to go below.

    Raises:
      ValueError: as of `made_runs`, or a file with too few runs or saves.
    """
    substeps, few = round(study.dt / study.truth_dt), min(4, study.starts)
    saves: dict[str, Any] = {"n": study.n, "dt": study.dt, "steps": study.steps, "skip": study.skip}
    if study.scored is not None:
        all_, solver = _scored_runs(study, keys), rung(study.truth_n, study.dt, substeps, study.truth.order)
    else:
        all_ = scored_starts(study.family, keys, study.truth, **saves, progress=lambda text: say(f"truth: {text}"))
        solver = rung(2 * round(0.75 * study.truth_n), study.dt, 2 * substeps, study.truth.order)
        if any(all_.walls):  # a field between walls cannot be brought to a finer grid: solved there from its beginning
            finer = dataclasses.replace(study.truth, n=2 * study.truth_n, dt=study.truth_dt / 2)
            found = scored_starts(study.family, keys[:few], finer, **saves)
            floor = float(np.mean(errors_of(found.truth[:, 1:], all_.part(slice(0, few)))))
            say(f"truth: its own error is {floor:.2e}, from n = {finer.n}, dt = {finer.dt:.4g}")
            return {"starts": all_.starts, "truth": all_.truth, "numbers": dict(all_.numbers), "fixed": {}, "floor": floor}
    fixed = {} if study.scored is None else _fixed(all_.problem)
    with jax.enable_x64(True):
        part = all_.part(slice(0, few))
        part = dataclasses.replace(part, problem=study.family(keys[0]).with_coefficients(**fixed))
        floor = float(np.mean(errors_of(rollouts(solver, part).fields, part)))
    say(f"truth: its own error is {floor:.2e}, from {solver.detail}")
    return {"starts": all_.starts, "truth": all_.truth, "numbers": dict(all_.numbers), "fixed": fixed, "floor": floor}


def _scored_runs(study: Study, keys: Any) -> Scored:
    """Runs of a file that were not trained on, the saves on the grid of the scores."""
    assert study.scored is not None  # This is a bug in jaxsci: asked where there is no file.
    same = isinstance(study.data, str) and Path(study.data).resolve() == Path(study.scored).resolve()
    first = study.training_runs if same else 0
    count = study.starts + study.probes
    stored = open_dataset(study.scored)
    if stored.shape[0] < first + count:
        trained = f"{first} to train on and " if same else ""
        raise ValueError(
            f"{study.scored}: it holds {stored.shape[0]} runs, and {trained}{count} to score are needed: {study.starts} starts "
            f"and {study.probes} probes."
        )
    if stored.shape[1] < study.steps + 1:
        raise ValueError(
            f"{study.scored}: its runs have {stored.shape[1]} saves, and {study.steps + 1} are needed: a start and steps = "
            f"{study.steps}."
        )
    found = runs_of_file(study, study.scored, slice(first, first + count), study.steps, _problems(study, keys))
    problem, sizes = found.problem, (study.n,) * len(found.intervals)
    walls = tuple(bool(problem.walls(axis)) for axis in problem.domain.space)
    fault = resampling_fault(problem.domain.space, walls, found.intervals, sizes)
    if min(found.intervals) < study.n or fault:
        raise ValueError(
            f"{study.scored}: its grid has {found.intervals} intervals, and the scores are taken on {study.n}: "
            f"{fault or 'set n to no more than the file has'}."
        )
    fields = np.asarray(found.fields)
    saves = np.stack([np.asarray(resample(jnp.asarray(run), walls, sizes)) for run in fields])
    numbers = {name: np.asarray(v) for name, v in found.numbers.items() if np.ptp(v) > 0}
    return Scored(problem, numbers, fields[:, 0], saves, study.dt, sizes)


def _problems(study: Study, keys: Any) -> list[Problem]:
    """Two members of the family: what is the same in both is fixed."""
    return [study.family(keys[0]), study.family(keys[-1])]


def runs_of_file(study: Study, path: str, runs: slice, steps: int, family: list[Problem]) -> Trajectories:
    """Runs of a file, with the step and the coefficients of the study.

    Raises:
      ValueError: naming what differs.
    """
    stored = open_dataset(path)
    if not np.isclose(stored.dt, study.dt, rtol=1e-4):
        raise ValueError(f"{path}: its saves are {stored.dt:.6g} apart, those of the study {study.dt:.6g}; set dt to that.")
    problem, begin = family[0], float(stored.times[0])
    if depends_on_time(problem) and abs(begin - problem.domain["t"][0]) > 1e-3 * study.dt:
        raise ValueError(
            f"{path}: its saves begin at t = {begin:g}, and {problem.name}, which depends on t itself, at "
            f"{problem.domain['t'][0]:g}; give the problem the times of the file."
        )
    found = stored.trajectories(problem, runs, slice(steps + 1), rename=dict(study.data_names))
    if not len(found) or found.fields.shape[1] < 2:
        raise ValueError(
            f"{path}: it holds {stored.shape[0]} runs of {stored.shape[1]} saves; runs of two or more are needed."
        )
    if stored.layout == "jaxsci":  # whose files say what was the same in all runs
        said = {k: v for k, v in provenance_of(path)["coefficients"].items() if k not in found.numbers}
        said = {k: v for k, v in said.items() if k in problem.coefficients}
        found = dataclasses.replace(found, problem=found.problem.with_coefficients(**said))
    for name, value in problem.coefficients.items():
        told = found.numbers.get(name, found.problem.coefficients[name])
        if callable(value) or callable(told) or np.ndim(value) or family[1].coefficients[name] != value:
            continue
        if not np.allclose(np.asarray(told, float), float(value), rtol=1e-5):
            low, high = float(np.min(told)), float(np.max(told))
            has = f"{low:.6g}" if low == high else f"from {low:.6g} to {high:.6g}"
            raise ValueError(
                f"{path}: its {name} is {has}, that of the study {float(value):.6g}; give the study the coefficient of the file."
            )
    return found
