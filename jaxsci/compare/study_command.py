"""``jaxsci compare`` of a study: solver against surrogates, recorded as it goes, with the whole report at the end."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxsci._command import BadInput, clock
from jaxsci.compare.command_line import check_report
from jaxsci.compare.function_study import run_function_study
from jaxsci.compare.hosts import first_says, is_first, mesh_of
from jaxsci.compare.studies import FUNCTION_STUDIES, STUDIES
from jaxsci.compare.study import Study, run_study
from jaxsci.compare.study_checks import check_study
from jaxsci.compare.study_files import save_study
from jaxsci.compare.study_report import StudyReport
from jaxsci.compare.study_text import study_text
from jaxsci.compare.study_toml import StudyFileError, study_of_file
from jaxsci.surrogates.dataset import open_dataset

RECORD = "record"  # in the report's folder: what --resume goes on from


def run_study_command(options: argparse.Namespace) -> int:
    """The exit status.

    Raises:
      BadInput: what was asked for cannot be run.
    """
    for name in ("reference", "set", "methods"):
        if getattr(options, name):
            raise BadInput(f"--{name} is for problems of the catalogue; {options.problem} is a study.")
    if options.resume and options.out is None:
        raise BadInput("--resume goes on with what is in a folder: give --out FOLDER.")
    study = study_of(options.problem, quick=options.quick)
    record = None if options.out is None else Path(options.out) / RECORD
    first_says(lambda: _check(options, record))
    mesh, say = mesh_of(options.device), clock() if is_first() else None
    print(f"{study.name}: {_identity(study)}")
    try:
        report = run_study(
            study, seed=options.seed, folder=record, resume=options.resume, budget=options.budget, progress=say, mesh=mesh
        )
    except (ValueError, OSError, ImportError) as error:
        where = "" if options.problem in STUDIES else f"{options.problem}: "
        raise BadInput(f"{where}{error}") from None
    except KeyboardInterrupt:
        kept = record is not None and record.exists()
        raise KeyboardInterrupt("go on with the same command and --resume" if kept else "") from None
    return _told(report, options)


def run_function_study_command(options: argparse.Namespace) -> int:
    """The same of a study of a function, which takes a minute or two and keeps no record.

    Raises:
      BadInput: what was asked for cannot be run.
    """
    for name in ("reference", "set", "methods", "resume", "budget", "distributed"):
        if getattr(options, name) not in (None, False, []):
            raise BadInput(f"--{name} is not for {options.problem}, the study of a function.")
    if options.out is not None:
        check_report(options.out)
    study = FUNCTION_STUDIES[options.problem]("quick" if options.quick else "default")
    report = run_function_study(study, seed=options.seed, progress=clock())
    return _told(report, options)


def _identity(study: Study) -> str:
    """One of the problems of the family, and what each has of its own."""
    first, second = (study.family(key) for key in jax.random.split(jax.random.key(0)))
    length = f"; scored over t = {study.steps * study.dt:g}, in {study.steps} saves"
    plain = {k: float(v) for k, v in first.coefficients.items() if not callable(v) and jnp.ndim(v) == 0}
    own = [name for name, value in plain.items() if value != float(second.coefficients[name])]
    return f"{first}" + (f"; every run draws its {' and '.join(own)}, this is one of them" if own else "") + length


def _told(report: StudyReport, options: argparse.Namespace) -> int:
    """Print the report, and write it where it was asked for."""
    report = dataclasses.replace(report, settings={**report.settings, "command": _command(options)})
    print(f"\n{study_text(report)}")
    if options.out is not None and is_first():
        try:
            folder = save_study(report, options.out)
        except OSError as error:
            raise BadInput(f"cannot write to {options.out}: {error.strerror or error}.") from None
        print(f"Written: {folder / 'index.html'}, results.json, measurements.csv, *.png")
    return int(not report.verdicts)  # no surrogate could be judged


def _check(options: argparse.Namespace, record: Path | None) -> bytes:
    """What can be known of the folder before the work is done, by the process that writes."""
    if record is not None:
        check_report(options.out)
        if record.exists() and not options.resume:
            raise BadInput(f"--out {options.out}: it holds a study; go on with it by --resume, or give another folder.")
    return b""


def _command(options: argparse.Namespace) -> str:
    """What was typed."""
    words = ["jaxsci", "compare", options.problem, "--seed", str(options.seed)]
    for name in ("budget", "device", "precision", "out"):
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    return " ".join([*words, "--quick"] if options.quick else words)


def study_of(name: str, *, quick: bool = False) -> Study:
    """A study by its name, or from a TOML file.

    Raises:
      BadInput: there is none, or the file says something that cannot be, or names data that cannot be read.
    """
    if name in STUDIES:
        study = STUDIES[name]("quick" if quick else "default")
    else:
        try:
            study = study_of_file(name)
        except StudyFileError as error:
            raise BadInput(str(error)) from None
        try:
            check_study(study)
        except ValueError as error:
            said = str(error).removeprefix(f"Study {study.name!r}: ")
            said, found = re.subn(r"^surrogate '(.*?)'", r"[surrogates.\1]", said)
            raise BadInput(f"{name}: {said if found else f'[study]: {said}'}") from None
        for entry in ("data", "scored"):
            if isinstance(path := getattr(study, entry), str):
                try:
                    open_dataset(path)
                except (OSError, ImportError, ValueError) as error:
                    cure = (
                        "Give the path of a file with runs, from the folder of this one; without it the solver makes them."
                    )
                    told = error if isinstance(error, ImportError) else f"{str(error).removesuffix('.')}. {cure}"
                    raise BadInput(f"{name}: [study] {entry}: {told}") from None
    return dataclasses.replace(study, quick=True) if quick else study
