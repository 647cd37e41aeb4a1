"""The command line: ``jaxsci problems``, ``jaxsci compare PROBLEM --out FOLDER``, ``jaxsci sweep``, ``jaxsci fba MODEL``,
``jaxsci doctor``.

Bad input gives one line on the error stream and exit status 2; nothing is written then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxsci._command import BadInput

_DEVICES = "cpu, gpu, tpu: all of them make data and train, one is timed; gpu:1: that one alone (default: what JAX finds)"
_BUDGET = (
    "of a problem: for each network's fit (default 60); of a study: for the whole, of which six tenths go to data, ladder and "
    "training, compiling included (default: its own)"
)
_HOSTS = (
    "work as one with the same command on other hosts; a launcher (srun) says who they are, or HOST:PORT,PROCESSES,NUMBER with "
    "the address of the first and the number of this one"
)


class _Parser(argparse.ArgumentParser):
    """argparse with one line per error."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    # Before LAPACK is loaded: its threads wait by spinning, which on a busy machine costs a small QR more than they gain it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        options = _parser().parse_args(arguments)
        status = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has seen enough, as in `jaxsci problems | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except BadInput as error:
        print(f"jaxsci: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"jaxsci: stopped{f'; {interrupt}' if str(interrupt) else ''}.", file=sys.stderr)
        return 130


def command() -> NoReturn:
    """The entry point of the shell: `main`, and out. A program that was stopped may still be compiling in other threads."""
    status = main()
    if status == 130:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxsci", description="Write the physics once; solve it, learn it, and compare.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("problems", help="list the catalogue: equations, variants, sources; and the studies")
    listing.set_defaults(run=_problems)

    compare = commands.add_parser("compare", help="solve by several methods, or study solver against surrogates; a report")
    compare.add_argument(
        "problem",
        help="a name from `jaxsci problems`; or a study of solver against surrogates: kolmogorov, e_coli_growth, ..., or a "
        ".toml file",
    )
    compare.add_argument("--out", metavar="FOLDER", help="write index.html, *.png and results.json there")
    compare.add_argument("--seed", type=int, default=0, help="of random points, starts and networks (default 0)")
    compare.add_argument("--budget", type=float, metavar="SECONDS", help=_BUDGET)
    compare.add_argument("--device", metavar="NAME", help=_DEVICES)
    compare.add_argument("--precision", choices=("float32", "float64"), help="(default float64; of a study float32)")
    one = compare.add_argument_group("of a problem in the catalogue")
    one.add_argument("--reference", metavar="FILE", help="score against a field from a file (.dat, .npz, .h5, .nc, .zarr)")
    one.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="a coefficient; may be repeated")
    one.add_argument("--methods", default=None, help="some of spectral,adaptive,features,neural, separated by commas")
    study = compare.add_argument_group("of a study")
    study.add_argument("--resume", action="store_true", help="go on with what --out holds; no finished stage is repeated")
    study.add_argument("--quick", action="store_true", help="small, to see that it runs; the figures say so")
    study.add_argument("--distributed", metavar="WHO", nargs="?", const="", help=_HOSTS)
    compare.set_defaults(run=_compare)

    many = commands.add_parser(
        "sweep", help="studies x seeds, each once; start it as often as there are processors or hosts"
    )
    many.add_argument("studies", nargs="+", help="names or .toml files, as of `jaxsci compare`")
    many.add_argument(
        "--out", metavar="FOLDER", required=True, help="shared by all processes; what is done there stays done"
    )
    many.add_argument("--seeds", type=int, nargs="+", default=[0], help="(default 0)")
    many.add_argument("--budget", type=float, metavar="SECONDS", help="of each study (default: its own)")
    many.add_argument("--device", metavar="NAME", help=_DEVICES)
    many.add_argument("--precision", choices=("float32", "float64"), default="float32", help="(default float32)")
    many.add_argument("--quick", action="store_true", help="small, to see that it runs; the figures say so")
    many.add_argument("--distributed", metavar="WHO", nargs="?", const="", help=_HOSTS)
    many.set_defaults(run=_sweep)

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

    doctor = commands.add_parser("doctor", help="devices, versions, precision, and a self-test of five seconds")
    doctor.add_argument("--quick", action="store_true", help="without the self-test")
    doctor.set_defaults(run=_doctor)
    return parser


def _problems(options: argparse.Namespace) -> int:
    from jaxsci.compare.studies import FUNCTION_STUDIES, STUDIES
    from jaxsci.problems import CATALOGUE

    for name, entry in sorted(CATALOGUE.items()):
        made = entry.problems()
        print(f"{name}\n    {made['default'].equation}")
        for label, problem in made.items():
            values = ", ".join(f"{k} = {v:.6g}" for k, v in problem.coefficients.items())
            print(f"    {label + ':':10s} {problem.identity}  {values}".rstrip())
        print(f"    source: {entry.source}\n")
    print("Studies of solver against surrogates, for `jaxsci compare` too:")
    for name, study in {**STUDIES, **FUNCTION_STUDIES}.items():
        print(f"{name}\n    {(study.__doc__ or '').splitlines()[0]}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from jaxsci.compare.command_line import is_study, run, wants_double

    _configure(wants_double(options), options.device, options.distributed if is_study(options) else None)
    with _heard_once():
        return run(options)


def _sweep(options: argparse.Namespace) -> int:
    from jaxsci.compare.sweep_command import run_sweep_command

    _configure(options.precision == "float64", options.device, options.distributed)
    with _heard_once():
        return run_sweep_command(options)


def _configure(double: bool, device: str | None, distributed: str | None) -> None:
    """Hosts, precision and device of the process, which are an application's to set."""
    import jax

    from jaxsci.compare.hosts import device_named, join_hosts

    jax.config.update("jax_enable_x64", double)
    if distributed is not None:
        join_hosts(distributed)
    if device is not None:
        jax.config.update("jax_default_device", device_named(device))


def _heard_once() -> contextlib.AbstractContextManager[Any]:
    """Of several processes that work as one the first alone prints."""
    from jaxsci.compare.hosts import is_first

    return contextlib.nullcontext() if is_first() else contextlib.redirect_stdout(io.StringIO())


def _doctor(options: argparse.Namespace) -> int:
    from jaxsci.doctor import report

    text, status = report(quick=options.quick)
    print(text)
    return status


def _fba(options: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_enable_x64", True)  # an application may: fluxes are exact to round-off

    from jaxsci.metabolism.command_line import run

    try:
        text, status = run(options)
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        raise BadInput(f"{named}{error.strerror}." if error.strerror else str(error)) from None
    except (ValueError, KeyError, ImportError) as error:
        raise BadInput(str(error)) from None
    print(text)
    return status
