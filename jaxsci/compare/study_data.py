"""What the surrogates of a study are trained on: runs of the study's own solver, or of the user's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxsci.compare.study_settings import Study
from jaxsci.solvers import Spectral
from jaxsci.surrogates.dataset import open_dataset
from jaxsci.surrogates.simulate import simulate


def made_runs(study: Study, keys: Any, say: Callable[[str], None]) -> dict[str, Any]:
    """``fields [runs, saves, channels, *space]``, ``numbers {name: [runs]}`` and the ``seconds`` that they cost.

    Runs in a file cost what is not known here: no seconds are counted.

    Raises:
      ValueError: a file with another grid or another step than the study's, or fields of another equation.
    """
    steps = study.training_steps or study.steps
    if study.data is None or isinstance(study.data, Spectral):
        made = simulate(
            study.family, keys, study.data or study.truth, n=study.n, dt=study.dt, steps=steps, skip=study.skip,
            progress=lambda text: say(f"data: {text}"),
        )  # fmt: skip
        numbers = {name: np.asarray(values) for name, values in made.data.numbers.items()}
        return {"fields": np.asarray(made.data.fields), "numbers": numbers, "seconds": made.cost.solve_seconds}
    stored = open_dataset(study.data)
    if not np.isclose(stored.dt, study.dt, rtol=1e-4):
        raise ValueError(
            f"{study.data}: its saves are {stored.dt:.6g} apart, those of the study {study.dt:.6g}; set dt to that."
        )
    found = stored.trajectories(
        study.family(keys[0]), slice(study.training_runs), slice(steps + 1), rename=dict(study.data_names)
    )
    if set(found.intervals) != {study.n}:
        raise ValueError(
            f"{study.data}: its grid has {found.intervals} intervals, that of the study {study.n}; set n to that."
        )
    say(f"data: {len(found)} runs of {study.data}")
    numbers = {name: np.asarray(values) for name, values in found.numbers.items()}
    return {"fields": np.asarray(found.fields), "numbers": numbers, "seconds": 0.0}
