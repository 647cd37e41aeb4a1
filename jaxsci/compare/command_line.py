"""The command ``jaxsci compare``: methods on a problem of the catalogue, or a study of solver against surrogates."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

import jax

from jaxsci._checks import unknown_name
from jaxsci._command import BadInput, clock
from jaxsci.compare.pictures import matplotlib
from jaxsci.compare.studies import FUNCTION_STUDIES, STUDIES
from jaxsci.problems import CATALOGUE, Method, Problem

METHODS = ("spectral", "adaptive", "features", "neural")
BUDGET = 60.0  # seconds of a network's fit to one problem


def run(options: argparse.Namespace) -> int:
    """The exit status.

    Raises:
      BadInput: what was asked for cannot be run.
    """
    if options.budget is not None and not options.budget > 0:
        raise BadInput(f"--budget {options.budget}: a positive number of seconds is needed.")
    _key(options)
    if options.problem in FUNCTION_STUDIES:
        from jaxsci.compare.study_command import run_function_study_command

        return run_function_study_command(options)
    if is_study(options):
        from jaxsci.compare.study_command import run_study_command

        return run_study_command(options)
    for name in ("resume", "quick", "distributed"):
        studies = [*STUDIES, *FUNCTION_STUDIES] if name == "quick" else STUDIES
        if getattr(options, name) not in (None, False):
            raise BadInput(f"--{name} is for studies ({', '.join(studies)}, or a .toml file), not for {options.problem}.")
    return _compare(options)


def is_study(options: argparse.Namespace) -> bool:
    """A study has a name of its own, or stands in a TOML file; everything else is a problem of the catalogue."""
    return options.problem in STUDIES or options.problem in FUNCTION_STUDIES or options.problem.endswith(".toml")


def wants_double(options: argparse.Namespace) -> bool:
    """Whether to compute in double precision: what solves to its last digits wants it; steppers are used in single."""
    of_steppers = is_study(options) and options.problem not in FUNCTION_STUDIES
    return (options.precision or ("float32" if of_steppers else "float64")) == "float64"


def _compare(options: argparse.Namespace) -> int:
    from jaxsci.compare import ReferenceFileError, compare, read_reference

    problem = _problem(options)
    methods, key = _methods(options, problem), _key(options)
    reference = None
    if options.reference is not None:
        if not options.reference:
            raise BadInput("--reference: the file has no name.")
        try:
            reference = read_reference(options.reference, problem)
        except ReferenceFileError as error:
            raise BadInput(str(error)) from None
    if options.out is not None:
        check_report(options.out)
    say = clock()
    print(problem)
    name = None
    if reference is not None:
        methods = {"certified reference": _Certified()} | methods
        name = f"{options.reference} ({len(reference.points)} points)"
    try:
        report = compare(problem, methods, reference=reference, reference_name=name, key=key, progress=say)
    except (ValueError, ArithmeticError) as error:  # no reference for these coefficients; failing methods have a row instead
        raise BadInput(str(error)) from None
    print(f"\n{report.table()}")
    if options.out is not None:
        try:
            folder = report.save(options.out)
        except OSError as error:
            raise BadInput(f"cannot write to {options.out}: {error.strerror or error}.") from None
        print(f"Written: {folder / 'index.html'}, cost.png, fields.png, results.json")
    return int(all(row.failure for row in report.rows))


class _Certified:
    """The problem's own reference as a method, so that a file is scored along with the methods."""

    def solve(self, problem: Problem, *, ts: Any = None, key: Any = None, progress: Any = None) -> Any:
        return problem.reference(ts)

    def __repr__(self) -> str:
        return "problem.reference()"


def _key(options: argparse.Namespace) -> Any:
    try:
        return jax.random.key(options.seed)
    except OverflowError:
        raise BadInput(f"--seed {options.seed}: the number is too large; 64 bits are at hand.") from None


def check_report(path: str) -> None:
    """A report can be drawn, and written there, as far as can be known before the work is done.

    Raises:
      BadInput: it cannot.
    """
    try:
        matplotlib()
    except ImportError as error:
        raise BadInput(str(error)) from None
    if not path:
        raise BadInput("--out: the folder has no name.")
    nearest = next(folder for folder in (Path(path), *Path(path).absolute().parents) if os.path.exists(folder))
    if not nearest.is_dir():
        raise BadInput(f"--out {path}: {nearest} is a file; give a folder.")
    if not os.access(nearest, os.W_OK):
        raise BadInput(f"--out {path}: {nearest} may not be written to.")


def _problem(options: argparse.Namespace) -> Problem:
    if options.problem not in CATALOGUE:
        raise BadInput(unknown_name("problem", options.problem, sorted([*CATALOGUE, *STUDIES, *FUNCTION_STUDIES])))
    entry = CATALOGUE[options.problem]
    values = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--set {text}: write NAME=VALUE.")
        if name not in entry.defaults:
            raise BadInput(unknown_name(f"{options.problem}: coefficient", name, entry.defaults))
        try:
            values[name] = float(value)
        except ValueError:
            raise BadInput(f"--set {text}: {value!r} is no number.") from None
        if not math.isfinite(values[name]):
            raise BadInput(f"--set {text}: a finite number is needed.")
    return entry.build(**values)


def _methods(options: argparse.Namespace, problem: Problem) -> dict[str, Method]:
    from jaxsci.learning import Neural, RandomFeatures
    from jaxsci.solvers import Adaptive, Spectral

    space = len(problem.domain.space)
    applicable = [m for m in METHODS if not (m == "spectral" and space == 0) and not (m == "adaptive" and space > 0)]
    wanted = applicable if options.methods is None else [name.strip() for name in options.methods.split(",")]
    made: dict[str, Method] = {}
    for name in wanted:
        if name not in METHODS:
            raise BadInput(f"--methods {options.methods}: {name!r} is none of {', '.join(METHODS)}.")
        if name == "spectral":
            for n in {0: (256,), 1: (256, 2048), 2: (32, 64)}.get(space, (32,)):
                made[f"spectral, n = {n}"] = Spectral(n=n)
        elif name == "adaptive":
            made["adaptive Runge-Kutta"] = Adaptive()
        elif name == "features":
            made["random features"] = RandomFeatures()
        else:
            made["neural network"] = Neural(budget=options.budget or BUDGET)
    return made
