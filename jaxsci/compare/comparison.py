"""compare(problem, methods) -> Report: the same physics, the same points, the whole cost."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci.compare.metrics import Samples, check_same_problem, evaluate_at, evaluations_per_second, relative_errors, samples
from jaxsci.compare.report_folder import writable_folder, write_files
from jaxsci.problems import Method, Problem, Solution, solve

_PACKAGES = ("jaxsci", "jax", "jaxlib", "flax", "optax", "diffrax", "numpy", "sympy")


@dataclasses.dataclass(frozen=True)
class Row:
    """One method's outcome. Times are seconds of wall time; errors are relative to the reference."""

    name: str
    method: str
    error: float  # relative L2, at the reference's points
    max_error: float  # relative maximum
    floor: float  # the reference's own error: an error below it means no more than "below it"
    error_estimate: float  # what the method itself thinks its error is
    compile_seconds: float
    training_seconds: float
    solve_seconds: float
    total_seconds: float
    evaluations_per_second: float
    failure: str = ""  # why there is no result, where there is none

    @property
    def error_text(self) -> str:
        if self.failure:
            return "failed"
        return f"<= {self.floor:.0e}" if self.error <= self.floor else f"{self.error:.1e}"


@dataclasses.dataclass(frozen=True)
class Report:
    """The comparison: rows, and what is needed to draw and to repeat it.

    Attributes:
      rows: one `Row` per method, in the order given.
      truth: the reference at the scoring points.
      values: by method, its values there, ``[points, unknowns]``.
      solutions: by method, its `Solution`.
    Example:
      >>> import jaxsci as js
      >>> report = js.compare(js.problems.heat(), {"spectral": js.Spectral(n=16)})
      >>> report.rows[0].name, report.rows[0].error_text
      ('spectral', '<= 1e-05')
    """

    problem: Problem
    reference: str
    rows: tuple[Row, ...]
    truth: Samples
    values: Mapping[str, np.ndarray]
    solutions: Mapping[str, Solution]
    environment: Mapping[str, Any]

    def table(self) -> str:
        """The comparison as text, one line per method."""
        head = ("method", "rel. L2", "rel. max", "estimate", "compile s", "train s", "solve s", "total s", "evals/s")
        lines = [head]
        for row in self.rows:
            if row.failure:
                lines.append((row.name, "failed", *[""] * 7))
                continue
            estimate = f"{row.error_estimate:.1e}" if math.isfinite(row.error_estimate) else "-"
            seconds = (row.compile_seconds, row.training_seconds, row.solve_seconds, row.total_seconds)
            lines.append((
                row.name, row.error_text, f"{row.max_error:.1e}", estimate,
                *(f"{s:.2f}" if s >= 0.005 else ("0" if s == 0 else f"{s:.0e}") for s in seconds),
                f"{row.evaluations_per_second:.1e}",
            ))  # fmt: skip
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        texts = ["  ".join(w.ljust(n) if i == 0 else w.rjust(n) for i, (w, n) in enumerate(zip(line, widths, strict=True)))
                 for line in lines]  # fmt: skip
        texts.insert(1, "-" * len(texts[0]))
        texts += [f"{row.name} failed: {row.failure}" for row in self.rows if row.failure]
        return "\n".join([*texts, f"Errors against {self.reference}."])

    def to_dict(self) -> dict[str, Any]:
        """What results.json holds; NaN as null."""
        problem = self.problem
        return {
            "problem": {
                "name": problem.name,
                "identity": problem.identity,
                "equation": repr(problem.equation),
                "latex": problem.latex(),
                "domain": {name: problem.domain[name] for name in problem.coordinates},
                "coefficients": {k: float(v) for k, v in problem.coefficients.items() if not callable(v)},
                "source": problem.source,
            },
            "reference": self.reference,
            "points": len(self.truth.points),
            "rows": [_finite(dataclasses.asdict(row)) for row in self.rows],
            "environment": dict(self.environment),
        }

    def save(self, directory: str | Path) -> Path:
        """Write index.html (self-contained), *.png and results.json.

        Everything is made first and written to a temporary folder, so that a failure leaves what was there before.

        Raises:
          ImportError: matplotlib, which draws the pictures, is not installed.
          NotADirectoryError: there is a file of that name.
        """
        from jaxsci.compare.page import page
        from jaxsci.compare.pictures import draw

        target = writable_folder(directory)
        pictures = draw(self)
        contents = {f"{name}.png": picture for name, picture in pictures.items()}
        contents["results.json"] = json.dumps(self.to_dict(), indent=1, allow_nan=False).encode()
        contents["index.html"] = page(self, pictures).encode()
        write_files(target, contents)
        return target

    def __repr__(self) -> str:
        return self.table()


def compare(
    problem: Problem,
    methods: Mapping[str, Method],
    *,
    reference: Solution | Samples | None = None,
    reference_name: str | None = None,
    key: Any = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Solve a problem by several methods and score them against one reference, with their whole cost.

    Every method is scored at the same points: the problem's scoring points, or those of a reference from a file. It solves for
    the times at which it is scored, so that no interpolation in time enters.

    Args:
      problem: what to solve.
      methods: by name, in the order of the table.
      reference: a `Solution`, or `Samples` from `jaxsci.compare.read_reference`; the problem's certified one by default.
      reference_name: how the report calls it.
      key: a `jax.random.key` for methods that draw random numbers.
      progress: called with a line of text now and then.
    Returns:
      A `Report`. A method that cannot solve the problem has a row that says why; the others are not lost.
    Example:
      >>> import jaxsci as js
      >>> report = js.compare(js.problems.heat(), {"spectral": js.Spectral(n=16), "Tsit5": js.Adaptive(n=16, rtol=1e-4)})
      >>> [row.name for row in report.rows], report.rows[0].error < 1e-5
      (['spectral', 'Tsit5'], True)
    """
    say = progress or (lambda text: None)
    floor = 0.0
    if reference is None:
        say("reference: computing the certified one")
        with Stopwatch() as watch:
            reference = problem.reference()
        say(f"reference: done in {watch.wall_seconds:.1f} s, own error {float(reference.error_estimate):.0e}")
        reference_name = reference_name or "the certified reference"
    if isinstance(reference, Solution):
        check_same_problem("compare", problem, reference.problem)
        floor = float(reference.error_estimate)
        name = f"{reference_name or 'the given solution'} (own error {floor:.0e})"
        truth = samples(reference)
    else:
        truth, name = reference, reference_name or "the given samples"
    if not np.isfinite(truth.values).all():
        raise ValueError(f"{problem.name}: the reference is not finite; are the coefficients those of a well-posed problem?")
    ts = None if problem.is_steady else _times(problem, truth)
    rows, values, solutions = [], {}, {}
    for label, method in methods.items():
        say(f"{label}: started")
        try:
            with Stopwatch() as watch:
                solution = solve(problem, method, ts=ts, key=key, progress=lambda text, label=label: say(f"{label}: {text}"))
            there = evaluate_at(solution, truth.points)[:, [problem.unknowns.index(u) for u in truth.unknowns]]
            row = _scored(label, method, solution, there, truth, floor)
        except Exception as error:  # whatever one method raises, what the others have done is kept
            expected = isinstance(error, ValueError | TypeError) and str(error)
            rows.append(_failed(label, method, floor, str(error) if expected else f"{type(error).__name__}: {error}"))
            say(f"{label}: failed, {rows[-1].failure}")
            continue
        rows.append(row)
        solutions[label], values[label] = solution, there
        say(f"{label}: error {rows[-1].error_text} after {watch.wall_seconds:.1f} s")
    return Report(problem, name, tuple(rows), truth, values, solutions, environment())


def _times(problem: Problem, truth: Samples) -> np.ndarray | None:
    """The times at which the truth is known, with the start of the problem."""
    times = np.unique(truth.points[:, problem.coordinates.index("t")])
    times = np.concatenate([[problem.domain["t"][0]], times])
    keep = np.concatenate([[True], np.diff(times) > 1e-12 * (times[-1] - times[0])])
    return times[keep] if keep.sum() > 1 else problem.times


def _scored(label: str, method: Method, solution: Solution, values: np.ndarray, truth: Samples, floor: float) -> Row:
    error, largest = relative_errors(values, truth.values)
    cost = solution.cost
    failure = "" if math.isfinite(error) else "the solution is not finite"
    return Row(
        label, repr(method), error, largest, floor, float(solution.error_estimate), cost.compile_seconds,
        cost.training_seconds, cost.solve_seconds, cost.total_seconds, evaluations_per_second(solution), failure,
    )  # fmt: skip


def _failed(label: str, method: Method, floor: float, why: str) -> Row:
    nan = math.nan
    return Row(label, repr(method), nan, nan, floor, nan, nan, nan, nan, nan, nan, why)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def environment() -> dict[str, Any]:
    """Machine, precision and versions: what a figure depends on besides the code."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    (device,) = jnp.zeros(()).devices()  # where arrays are made: the process's own choice
    here = jax.local_devices(backend=device.platform)
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "device": f"{device.platform}{f':{here.index(device)}' if len(here) > 1 else ''}: {device.device_kind}",
        "precision": str(jnp.result_type(float)),
        "versions": versions,
    }
