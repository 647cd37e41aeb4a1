"""What a study's report says of itself: its settings, and the sentences that a reader must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from jaxsci.compare.study_settings import Study

_ALIEN = 0.1  # the error of the solver against a file above which the file may be of another equation


def truth_text(study: Study) -> str:
    """What the truth is."""
    if study.scored is not None:
        return f"runs of {study.scored}"
    return f"ETDRK{study.truth.order}, n = {study.truth_n}, dt = {study.truth_dt:.4g}, double precision"


def notes_of(study: Study, floor: float, devices: Mapping[str, int]) -> list[str]:
    """What was asked for that bears on the figures.

    Args:
      floor: the truth's own error.
      devices: by what was made or trained, how many did it.
    """
    notes = []
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
        notes.append(f"This is a quick study, of {study.starts} starts, few runs and short trainings: do not quote it.")
    if not study.tuning:
        notes.append("No tuning is counted: the settings of the surrogates were taken as they are.")
    return notes


def settings_of(
    study: Study, seed: int, seconds: Mapping[str, float], devices: Mapping[str, int], lyapunov_time: float
) -> dict[str, Any]:
    """What was asked for, as JSON values, and the seconds of the stages."""
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
        "devices": dict(devices), "hosts": jax.process_count(), "stage_seconds": stages,
    }  # fmt: skip
