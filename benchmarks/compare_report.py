"""The report of `jaxsci compare` itself: is its break-even number the same twice, what does the whole command take."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from command import row

import jaxsci as js
from jaxsci.compare.studies import STUDIES
from jaxsci.compare.study import Study, run_study

SPEED, LENGTH = 300.0, 2 * math.pi


def _carried_waves(key: Any) -> js.Problem:
    """Burgers' equation on a fast stream: the solver's steps are as short as the stream is fast, the waves change slowly.

    Made so that a surrogate pays back, for a break-even number that is finite. A person would solve it in a moving frame.
    """
    problem = js.Problem(
        js.Equation(lambda u, viscosity, speed: u.t + (speed + u) * u.x - viscosity * u.xx, name="carried_waves"),
        js.Box(t=(0, 4), x=(0, LENGTH)),
        coefficients={"viscosity": 0.1, "speed": SPEED},
        initial={"u": 0},
    )
    return problem.with_initial(u=js.problems.random_fourier_series(key, problem.domain, cutoff=3, rms=0.3))


def carried_waves(smoke: bool = False) -> Study:
    training = js.surrogates.Training(steps=200 if smoke else 8000, batch=16)
    return Study(
        name="carried_waves", family=_carried_waves, truth=js.Spectral(n=96, dt=1 / 8192), ladder=(16, 20, 24, 32, 48), n=32,
        dt=0.5, steps=8, training_runs=16 if smoke else 64,
        surrogates={"FNO": js.surrogates.NetworkSurrogate(js.networks.FNO(modes=(8,), channels=6, layers=2), training=training)},
        starts=4 if smoke else 16, seeds=1 if smoke else 3, quick=smoke,
    )  # fmt: skip


def rows_twice(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with jax.enable_x64(False):
        reports = [run_study(carried_waves(options.smoke)) for _ in range(2)]
    for batch in (1, 64):
        first, second = (next(v for v in report.verdicts if v.batch == batch) for report in reports)
        a, b = first.break_even.value, second.break_even.value
        apart = 0.0 if a == b else max(a, b) / min(a, b) - 1
        yield row(
            f"report twice: break-even runs, batch {batch}", ours=apart, target=0.2, meets=apart <= 0.2, precision="float32",
            break_even=[a if math.isfinite(a) else "never", b if math.isfinite(b) else "never"],
            speed_ratio=[first.speed_ratio.value, second.speed_ratio.value], bound=[first.speed_bound, second.speed_bound],
            error=[first.error.value, second.error.value], upfront_seconds=[first.upfront_seconds, second.upfront_seconds],
        )  # fmt: skip


def rows_ladder(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every named study has the solver's coarse grids in the picture."""
    fewest = min(len(make().ladder) for make in STUDIES.values())
    yield row("rungs of the solver's ladder in a report, the fewest", ours=fewest, target=5, meets=fewest >= 5)


def rows_command(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The whole command, as a user runs it, compilation included."""
    more = ["--quick", "--budget", "30"] if options.smoke else []
    with tempfile.TemporaryDirectory() as folder:
        name = "advection_waves" if options.smoke else "kolmogorov"
        command = [sys.executable, "-m", "jaxsci", "compare", name, "--out", f"{folder}/report", *more]
        began = time.perf_counter()
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - began
        lines = sum(line.startswith("[") for line in run.stdout.splitlines())
        size = (Path(folder) / "report" / "index.html").stat().st_size
    yield row(
        f"jaxsci compare {name}: seconds", ours=seconds, target=900.0, meets=seconds <= 900, precision="float32",
        progress_lines=lines, page_bytes=size, said=run.stdout.split("\n\n")[1].split("\n\n")[0],
    )  # fmt: skip
