"""What a study's report says of itself: its settings, and the sentences that a reader must know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxsci.compare.study_settings import Study
from jaxsci.compare.study_tables import number

_ALIEN = 0.1  # the error of the solver against a file above which the file may be of another equation


def truth_text(study: Study) -> str:
    """What the truth is."""
    if study.scored is not None:
        return f"runs of {study.scored}"
    return f"ETDRK{study.truth.order}, n = {study.truth_n}, dt = {study.truth_dt:.4g}, double precision"


def busy(environment: Mapping[str, Any]) -> list[str]:
    """Whether others worked on the machine while seconds were taken."""
    load, cores = environment.get("load"), environment.get("cores")
    if not load or not cores or float(load) <= 1.5 * float(cores):
        return []
    return [
        f"The machine was busy while seconds were taken (load {float(load):.1f} on {cores} cores): they are larger than on an "
        "idle one, and not equally so for all."
    ]


def scattered(scatters: Iterable[float]) -> list[str]:
    """How well the seconds are known: by how much the least of half the rounds is above that of all."""
    known = list(scatters)
    if not known:
        return []
    return [
        f"Seconds repeat within {number(100 * float(np.median(known)))} % (half of the programs) to {number(100 * max(known))} % "
        "(all): the least of half the rounds against that of all. Ratios of seconds are no better known, and N*, which divides "
        "by a difference of two, is far less where a ratio is near 1."
    ]


def over_budget(study: Study, seconds: Mapping[str, float]) -> list[str]:
    """Data, truth, ladder, scores and timing are made whatever the budget is."""
    spent, budget = sum(seconds.values()), study.budget
    if budget is None or spent <= 1.2 * budget:
        return []
    return [
        f"It took {number(spent)} s in the place of the budget's {number(budget)} s: data, truth, ladder, scores and timing are "
        "made whatever they take, compiling included, and a tenth of the budget at least goes to the trainings."
    ]


def notes_of(study: Study, floor: float, devices: Mapping[str, int], drawn: Mapping[str, np.ndarray]) -> list[str]:
    """What was asked for that bears on the figures.

    Args:
      floor: the truth's own error.
      devices: by what was made or trained, how many did it.
      drawn: coefficients in which the scored starts differ, [starts].
    """
    notes = [
        f"Every run has a {name} of its own, from {np.min(values):.4g} to {np.max(values):.4g} where scored; the identity is "
        "that of one of them."
        for name, values in drawn.items()
    ]
    if isinstance(study.data, str):
        notes.append(f"What the data cost is not counted: they came from {study.data}.")
    if study.scored is not None:
        notes.append(
            f"The truth is the runs of {study.scored}; the solver at n = {study.truth_n} is {100 * floor:.2g} % off them, which "
            "is the floor of all errors."
        )
        if floor > _ALIEN:
            notes.append("That is much: the file may be of other coefficients, of another equation, or too coarse.")
    many = {name: count for name, count in devices.items() if count > 1}
    if many:
        spread = ", ".join(f"{name} on {count}" for name, count in many.items())
        notes.append(
            f"Several devices: {spread}. Their seconds are those of all of them together; errors and seconds of every solver and "
            "surrogate are of one device."
        )
    if study.quick:
        notes.append(
            f"This is a quick study, of {study.starts} starts, {study.training_runs} runs to train on and {study.seeds} "
            f"{'training' if study.seeds == 1 else 'trainings'} of each surrogate: do not quote it."
        )
    if not study.tuning:
        notes.append("No tuning is counted: the settings of the surrogates were taken as they are.")
    else:
        stated = ", ".join(f"{name} {number(float(spent), 3)} s" for name, spent in study.tuning.items())
        notes.append(
            f"The seconds of tuning are those that the study states ({stated}): they were not measured in this run"
            + (", and chose the settings of the whole study." if study.quick else ".")
        )
    return notes


def settings_of(
    study: Study,
    seed: int,
    seconds: Mapping[str, float],
    devices: Mapping[str, int],
    lyapunov_time: float,
    drawn: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What was asked for, as JSON values, and the seconds of the stages; `drawn` are the ends of the coefficients as scored."""
    stages: dict[str, float] = {}
    for name, spent in seconds.items():
        kind = name.split()[0]
        kind = name if kind == "fit" and name.removeprefix("fit ") in study.surrogates else kind
        stages[kind] = round(stages.get(kind, 0.0) + spent, 2)
    return {
        "ladder": list(study.ladder), "resolution": study.n, "dt": study.dt, "steps": study.steps, "skip": study.skip,
        "starts": study.starts, "training_runs": study.training_runs, "training_steps": study.training_steps or study.steps,
        "seeds": list(range(study.seeds)), "seed": seed, "batches": list(study.batches), "budget_seconds": study.budget,
        "lyapunov_time": lyapunov_time if study.chaotic else None, "quick": study.quick,
        "drawn": {name: [float(np.min(values)), float(np.max(values))] for name, values in drawn.items()},
        "devices": dict(devices), "hosts": jax.process_count(), "stage_seconds": stages,
    }  # fmt: skip
