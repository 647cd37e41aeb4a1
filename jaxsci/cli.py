"""The command line: ``jaxsci problems``, ``jaxsci compare PROBLEM --out FOLDER``, ``jaxsci fba MODEL``.

Bad input gives one line on the error stream and exit status 2; nothing is written then.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jaxsci.problems import Method, Problem

METHODS = ("spectral", "adaptive", "features", "neural")


class _Parser(argparse.ArgumentParser):
    """argparse with one line per error."""

    def error(self, message: str) -> NoReturn:
        raise _BadInput(f"{message} (see {self.prog} --help)")


class _BadInput(Exception):
    """What the user typed cannot be run; the message is the line to print."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    # Before LAPACK is loaded: its threads wait by spinning, which on a busy machine costs a small QR more than they gain it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        options = _parser().parse_args(arguments)
        return options.run(options)
    except _BadInput as error:
        print(f"jaxsci: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxsci: stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxsci", description="Write the physics once; solve it, learn it, and compare.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("problems", help="list the catalogue: equations, variants, sources")
    listing.set_defaults(run=_problems)

    compare = commands.add_parser("compare", help="solve a problem by several methods and write a report")
    compare.add_argument("problem", help="a name from `jaxsci problems`")
    compare.add_argument("--out", metavar="FOLDER", help="write index.html, *.png and results.json there")
    compare.add_argument(
        "--reference", metavar="FILE", help="score against a field from a file (.dat, .npz, .h5, .nc, .zarr)"
    )
    compare.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="a coefficient; may be repeated")
    compare.add_argument("--methods", default=None, help=f"some of {','.join(METHODS)}, separated by commas")
    compare.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="for the network's fit (default 60)")
    compare.add_argument("--seed", type=int, default=0, help="of random points, features and networks (default 0)")
    compare.set_defaults(run=_compare)

    fba = commands.add_parser("fba", help="flux balance of a metabolic model: growth, uptakes, secretions")
    fba.add_argument("model", help="a file (.json as of BiGG, .xml in SBML; .gz), or a name: e_coli_core, iJO1366, ...")
    fba.add_argument(
        "--medium", metavar="FILE", help="exchange and largest uptake in mmol/gDW/h (.json, .toml, .csv); no others"
    )
    fba.add_argument(
        "--knockout", metavar="NAME", nargs="+", action="extend", default=[], help="genes or reactions to delete"
    )
    fba.add_argument("--objective", metavar="REACTION", help="the flux to maximise (default: what the model says)")
    fba.add_argument("--out", metavar="FILE", help="write all fluxes there (.json or .csv)")
    fba.add_argument("--top", type=int, default=10, metavar="N", help="list the N largest fluxes too (default 10)")
    fba.set_defaults(run=_fba)
    return parser


def _problems(options: argparse.Namespace) -> int:
    from jaxsci.problems import CATALOGUE

    for name, entry in sorted(CATALOGUE.items()):
        made = entry.problems()
        print(f"{name}\n    {made['default'].equation}")
        for label, problem in made.items():
            values = ", ".join(f"{k} = {v:.6g}" for k, v in problem.coefficients.items())
            print(f"    {label + ':':10s} {problem.identity}  {values}".rstrip())
        print(f"    source: {entry.source}\n")
    return 0


def _compare(options: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_enable_x64", True)  # an application may: residuals and least squares want float64

    from jaxsci.compare import ReferenceFileError, compare, read_reference
    from jaxsci.compare.pictures import matplotlib

    problem = _problem(options)
    methods, key = _methods(options, problem), _key(options)
    reference = None
    if options.reference is not None:
        if not options.reference:
            raise _BadInput("--reference: the file has no name.")
        try:
            reference = read_reference(options.reference, problem)
        except ReferenceFileError as error:
            raise _BadInput(str(error)) from None
    if options.out is not None:
        try:
            matplotlib()
        except ImportError as error:
            raise _BadInput(str(error)) from None
        _check_folder(options.out)
    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - began:6.1f} s] {text}", flush=True)

    print(problem)
    name = None
    if reference is not None:
        methods = {"certified reference": _Certified()} | methods
        name = f"{options.reference} ({len(reference.points)} points)"
    try:
        report = compare(problem, methods, reference=reference, reference_name=name, key=key, progress=say)
    except (ValueError, ArithmeticError) as error:  # no reference for these coefficients; failing methods have a row instead
        raise _BadInput(str(error)) from None
    print(f"\n{report.table()}")
    if options.out is not None:
        try:
            folder = report.save(options.out)
        except OSError as error:
            raise _BadInput(f"cannot write to {options.out}: {error.strerror or error}.") from None
        print(f"Written: {folder / 'index.html'}, cost.png, fields.png, results.json")
    return int(all(row.failure for row in report.rows))


class _Certified:
    """The problem's own reference as a method, so that a file is scored along with the methods."""

    def solve(self, problem: Problem, *, ts: Any = None, key: Any = None, progress: Any = None) -> Any:
        return problem.reference(ts)

    def __repr__(self) -> str:
        return "problem.reference()"


def _fba(options: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_enable_x64", True)  # an application may: fluxes are exact to round-off

    from jaxsci.metabolism.command_line import run

    try:
        text, status = run(options)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise _BadInput(f"{named}{error.strerror}." if error.strerror else str(error)) from None
    except (ValueError, KeyError, ImportError) as error:
        raise _BadInput(str(error)) from None
    print(text)
    return status


def _key(options: argparse.Namespace) -> Any:
    import jax

    try:
        return jax.random.key(options.seed)
    except OverflowError:
        raise _BadInput(f"--seed {options.seed}: the number is too large; 64 bits are at hand.") from None


def _check_folder(path: str) -> None:
    """The report can be written there, as far as can be known before the work is done."""
    import os
    from pathlib import Path

    if not path:
        raise _BadInput("--out: the folder has no name.")
    nearest = next(folder for folder in (Path(path), *Path(path).absolute().parents) if os.path.exists(folder))
    if not nearest.is_dir():
        raise _BadInput(f"--out {path}: {nearest} is a file; give a folder.")
    if not os.access(nearest, os.W_OK):
        raise _BadInput(f"--out {path}: {nearest} may not be written to.")


def _problem(options: argparse.Namespace) -> Problem:
    from jaxsci._checks import unknown_name
    from jaxsci.problems import CATALOGUE

    if options.problem not in CATALOGUE:
        raise _BadInput(unknown_name("problem", options.problem, sorted(CATALOGUE)))
    entry = CATALOGUE[options.problem]
    values = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise _BadInput(f"--set {text}: write NAME=VALUE.")
        if name not in entry.defaults:
            raise _BadInput(unknown_name(f"{options.problem}: coefficient", name, entry.defaults))
        try:
            values[name] = float(value)
        except ValueError:
            raise _BadInput(f"--set {text}: {value!r} is no number.") from None
        if not math.isfinite(values[name]):
            raise _BadInput(f"--set {text}: a finite number is needed.")
    return entry.build(**values)


def _methods(options: argparse.Namespace, problem: Problem) -> dict[str, Method]:
    from jaxsci.learning import Neural, RandomFeatures
    from jaxsci.solvers import Adaptive, Spectral

    if not options.budget > 0:
        raise _BadInput(f"--budget {options.budget}: a positive number of seconds is needed.")
    space = len(problem.domain.space)
    applicable = [m for m in METHODS if not (m == "spectral" and space == 0) and not (m == "adaptive" and space > 0)]
    wanted = applicable if options.methods is None else [name.strip() for name in options.methods.split(",")]
    made: dict[str, Method] = {}
    for name in wanted:
        if name not in METHODS:
            raise _BadInput(f"--methods {options.methods}: {name!r} is none of {', '.join(METHODS)}.")
        if name == "spectral":
            for n in {0: (256,), 1: (256, 2048), 2: (32, 64)}.get(space, (32,)):
                made[f"spectral, n = {n}"] = Spectral(n=n)
        elif name == "adaptive":
            made["adaptive Runge-Kutta"] = Adaptive()
        elif name == "features":
            made["random features"] = RandomFeatures()
        else:
            made["neural network"] = Neural(budget=options.budget)
    return made
