"""``jaxsci sweep``: studies x seeds, each once, divided among however many processes are started with the same folder."""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
from pathlib import Path
from typing import Any

from jaxsci._command import BadInput, clock
from jaxsci.compare.command_line import check_report
from jaxsci.compare.hosts import first_says, is_first, mesh_of
from jaxsci.compare.study import run_study
from jaxsci.compare.study_command import study_of
from jaxsci.compare.study_files import save_study
from jaxsci.compare.study_report import StudyReport
from jaxsci.compare.sweep import sweep

_HEAD = (
    "study",
    "seed",
    "surrogate",
    "batch",
    "error",
    "speed_ratio",
    "speed_bound",
    "error_ratio",
    "error_bound",
    "break_even",
    "upfront_seconds",
)


def run_sweep_command(options: argparse.Namespace) -> int:
    """The exit status: 1 where a job failed, 0 where all are done or in the hands of other processes.

    Raises:
      BadInput: what was asked for cannot be run.
    """
    if options.budget is not None and not options.budget > 0:
        raise BadInput(f"--budget {options.budget}: a positive number of seconds is needed.")
    stems = [Path(name).stem for name in options.studies]
    if twice := [name for stem, name in zip(stems, options.studies, strict=True) if stems.count(stem) > 1]:
        raise BadInput(f"{' and '.join(twice)} would have the same folder; give studies whose files have different names.")
    studies = {name: study_of(name, quick=options.quick) for name in options.studies}
    first_says(lambda: check_report(options.out) or b"")
    say, mesh = clock() if is_first() else (lambda text: None), mesh_of(options.device)

    def job(study: Any, seed: int, folder: Path) -> list[list[Any]]:
        told = lambda text: say(f"{study.name}, seed {seed}: {text}")  # noqa: E731
        report = run_study(
            study, seed=seed, folder=folder / "record", resume=True, budget=options.budget, progress=told, mesh=mesh
        )
        if is_first():
            save_study(report, folder / "report")
        return _lines(report, seed)

    jobs = {
        f"{Path(name).stem}-seed-{seed}": lambda folder, study=study, seed=seed: job(study, seed, folder)
        for name, study in studies.items()
        for seed in options.seeds
    }
    try:
        found = sweep(jobs, options.out, progress=say)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("go on with the same command") from None
    except ValueError as error:
        raise BadInput(str(error)) from None
    lines = [line for name in jobs for line in found.done.get(name, [])]
    path = Path(options.out) / "sweep.csv"
    if is_first():
        _write(path, lines)
    print(
        f"{len(found.done)} of {len(jobs)} done, {len(found.elsewhere)} at other processes, {len(found.failed)} failed: {path}"
    )
    for name, why in found.failed.items():
        print(f"{name} failed: {why}")
    return int(bool(found.failed))


def _lines(report: StudyReport, seed: int) -> list[list[Any]]:
    return [
        [
            report.name, seed, v.name, v.batch, _number(v.error.value), _number(v.speed_ratio.value), v.speed_bound,
            _number(v.error_ratio.value), v.error_bound,
            "never" if math.isinf(v.break_even.value) else _number(v.break_even.value), _number(v.upfront_seconds),
        ]
        for v in report.verdicts
    ]  # fmt: skip


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _write(path: Path, lines: list[list[Any]]) -> None:
    """Under a name of this process first: others may be writing the same."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEAD)
    writer.writerows(lines)
    made = path.with_suffix(f".{os.getpid()}.tmp")
    made.write_text(text.getvalue())
    os.replace(made, path)
