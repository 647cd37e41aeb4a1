"""Is a surrogate worth it for a function that a solver evaluates, y = f(x) of numbers? `js.compare(FunctionStudy(...))`.

The sister of `Study`, which is of trajectories: the same report, verdicts and break-even, with inputs in the place of starts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Progress
from jaxsci.compare.comparison import environment
from jaxsci.compare.function_fits import BASELINES, Function, FunctionFit
from jaxsci.compare.problem_record import SavedProblem
from jaxsci.compare.study_outcome import busy, scattered
from jaxsci.compare.study_report import Family, Gallery, Measurement, Shift, StudyReport
from jaxsci.compare.turns import clocked, take_turns
from jaxsci.compare.verdicts import judge

_FEWEST = 16  # scored inputs


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionStudy:
    r"""What to compare.

    The error of a candidate f at an input is that of all outputs, each in units of its own root mean square s over the inputs,

        e_i = sqrt( mean_j ((f_j(x_i) - y_j(x_i)) / s_j)^2 ).

    Args:
      name: of the study.
      solvers: by name, functions of a batch, [n, k] -> [n] or [n, m], that JAX can compile. The first makes the training outputs
        and, unless `truth` is given, the truth. More of them (a looser tolerance, another algorithm) are a ladder.
      training_inputs: [n, k].
      scored_inputs: [starts, k], 16 or more, drawn apart from those.
      surrogates: by name, what is fitted to the training pairs: `jaxsci.surrogates.NetworkRegression`, `Fit`, or anything with
        ``fit(inputs, outputs, *, key)``. The mean, the best affine function and the nearest neighbour are always there.
      truth: what is scored against, of any kind that takes a batch.
      truth_error: its own error, in the unit of the scores.
      inputs: names of the k numbers.
      formula: of the function, in LaTeX. source: where it comes from.
      shifts: by name, [n, k] inputs of another distribution.
      seeds: fits of each surrogate.
      batches: inputs at a time, where seconds are taken.
      gradients: whether the gradient of the outputs' sum is compared with the solver's, too.
      tuning: by surrogate, seconds that went into finding its settings.
      coarser: whether the solver could be cheaper at a larger error than the cheapest in `solvers`; see `judge`.
      quick: whether the report is to say that it is not to be quoted.
    Raises:
      ValueError: no solver or surrogate; shapes that do not fit; inputs that are not finite; too few of them.
    """

    name: str
    solvers: Mapping[str, Function]
    training_inputs: Any
    scored_inputs: Any
    surrogates: Mapping[str, FunctionFit]
    truth: Function | None = None
    truth_error: float = 0.0
    inputs: tuple[str, ...] = ()
    formula: str = "y = f(x)"
    source: str = ""
    shifts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int = 3
    batches: tuple[int, ...] = (1, 64)
    gradients: bool = False
    tuning: Mapping[str, float] = dataclasses.field(default_factory=dict)
    coarser: bool = False
    quick: bool = False

    def __post_init__(self):
        where = f"FunctionStudy {self.name!r}"
        for what in ("solvers", "surrogates"):
            if not isinstance(getattr(self, what), Mapping) or not getattr(self, what):
                raise ValueError(f"{where}: {what} is a mapping from names with one entry or more.")
        without = [name for name, surrogate in self.surrogates.items() if not hasattr(surrogate, "fit")]
        if without:
            raise ValueError(
                f"{where}: surrogate {without[0]!r} has no fit(inputs, outputs, *, key); wrap a plain function in "
                "jaxsci.compare.Fit."
            )
        named = {"training_inputs": self.training_inputs, "scored_inputs": self.scored_inputs}
        arrays = {
            name: np.asarray(x, float) for name, x in (named | {f"shift {k!r}": v for k, v in self.shifts.items()}).items()
        }
        width = arrays["training_inputs"].shape[-1:]
        for name, array in arrays.items():
            if array.ndim != 2 or array.shape[-1:] != width or not len(array):
                raise ValueError(f"{where}: {name} is [n, k] with the k of the training, got shape {list(array.shape)}.")
            if not np.isfinite(array).all():
                row = int(np.argmax(~np.isfinite(array).all(1)))
                raise ValueError(f"{where}: {name} must be finite, and row {row} is not.")
        if len(arrays["scored_inputs"]) < _FEWEST:
            raise ValueError(f"{where}: {_FEWEST} scored inputs or more are needed, got {len(arrays['scored_inputs'])}.")
        if self.inputs and len(self.inputs) != width[0]:
            raise ValueError(f"{where}: there are {width[0]} inputs and {len(self.inputs)} names.")
        if not (is_whole(self.seeds) and self.seeds >= 1):
            raise ValueError(f"{where}: seeds is a whole number >= 1, got {self.seeds!r}.")
        if not self.batches or not all(is_whole(b) and b >= 1 for b in self.batches):
            raise ValueError(f"{where}: batches are whole numbers >= 1, got {self.batches!r}.")
        unknown = set(self.tuning) - set(self.surrogates)
        if unknown:
            raise ValueError(f"{where}: tuning names {sorted(unknown)[0]!r}, which is no surrogate of the study.")


def run_function_study(study: FunctionStudy, *, seed: int = 0, progress: Progress = None) -> StudyReport:
    """Fit, score and time all candidates, in the precision and on the device that are in use.

    Inputs at which the truth has no solution (NaN) are left out, and the report says how many. A surrogate whose fit raises a
    ValueError is left out with its reason.

    Args:
      seed: of the fits.
      progress: called with a line of text now and then.
    Raises:
      ValueError: too few inputs have a solution; a candidate returns another shape.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> draw = lambda seed, n: jax.random.uniform(jax.random.key(seed), (n, 2))
      >>> roots = lambda x: jax.lax.fori_loop(0, 50, lambda i, y: 0.5 * (y + x.sum(1) / y), 1 + x.sum(1))  # Heron's method
      >>> line = js.compare.Fit(lambda x, y, key: lambda z: 0.5 + 0.5 * z.sum(1))
      >>> study = js.compare.FunctionStudy("roots", {"Heron": roots}, draw(0, 64), draw(1, 32), {"a line": line}, seeds=1)
      >>> report = js.compare(study)
      >>> [m.name for m in report.measurements], report.verdicts[0].error.value < 0.2
      (['Heron', 'mean', 'affine least squares', 'nearest neighbour', 'a line'], True)
    """
    return _Run(study, seed, progress or (lambda text: None)).report()


@dataclasses.dataclass
class _Candidate:
    """A function, and what is known of it."""

    name: str
    family: Family
    function: Function
    seed: int | None = None
    costs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.program = jax.jit(lambda x: self.function(x))

    @property
    def label(self) -> str:
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"


class _Run:
    """The stages of one study."""

    def __init__(self, study: FunctionStudy, seed: int, say: Callable[[str], None]):
        self.study, self.seed, self.say, self.notes = study, seed, say, list[str]()
        self.solvers = [_Candidate(name, "solver", function) for name, function in study.solvers.items()]

    def report(self) -> StudyReport:
        study = self.study
        x, y, data_seconds = self.training_pairs()
        scored, truth = self.solved(study.scored_inputs, "scored inputs", least=_FEWEST)
        self.unit = _unit(truth)
        found = [*self.solvers, *self.fitted(BASELINES, "baseline", x, y, data_seconds)]
        found += self.fitted(study.surrogates, "surrogate", x, y, data_seconds)
        slopes = self.slopes(self.solvers[0], scored) if study.gradients else None
        measured = [self.score(c, scored, truth, slopes) for c in found]
        measured = self.timed(found, measured, scored)
        ladder = [m for m in measured if m.family == "solver"]
        seeds = {name: [m for m in measured if (m.name, m.family) == (name, "surrogate")] for name in study.surrogates}
        verdicts = tuple(
            judge(seeds[name], ladder, batch, coarser=study.coarser)
            for name in seeds
            if seeds[name]
            for batch in study.batches
        )
        self.say("verdicts: done")
        return StudyReport(
            name=study.name, problem=self.problem(scored), settings=self.settings(x, scored), ts=np.zeros(0),
            truth=next(iter(study.solvers)) if study.truth is None else "the given function", truth_error=study.truth_error,
            measurements=tuple(measured), verdicts=verdicts, shifts=self.shifts(found),
            gallery=Gallery("", np.zeros(0), {}, np.zeros(0), {}), environment=self.environment, notes=tuple(self.all_notes()),
        )  # fmt: skip

    # --- pairs ---------------------------------------------------------------------------------------------------------------

    def training_pairs(self) -> tuple[Any, Any, float]:
        """Inputs, outputs, and the solver's seconds for all of them, compiled before."""
        x = jnp.asarray(self.study.training_inputs, jnp.result_type(float))
        program = self.solvers[0].program
        jax.block_until_ready(program(x))
        with Stopwatch() as watch:
            y = jax.block_until_ready(program(x))
        self.say(f"data: {len(x)} inputs solved in {watch.run_seconds:.3g} s")
        x, y = self.known(x, y, "training inputs", least=1)
        return x, y, watch.run_seconds

    def solved(self, inputs: Any, what: str, least: int) -> tuple[Any, Any]:
        x = jnp.asarray(inputs, jnp.result_type(float))
        truth = self.solvers[0].program if self.study.truth is None else self.study.truth
        return self.known(x, jnp.asarray(truth(x)), what, least)

    def known(self, x: Any, y: Any, what: str, least: int) -> tuple[Any, Any]:
        """Without what has no solution."""
        if y.ndim not in (1, 2) or len(y) != len(x):
            raise ValueError(
                f"FunctionStudy {self.study.name!r}: a solver takes {list(x.shape)} to [n] or [n, m], got {list(y.shape)}."
            )
        good: np.ndarray = np.all(np.isfinite(np.asarray(y)).reshape(len(y), -1), axis=1)
        if good.sum() < least:
            raise ValueError(
                f"FunctionStudy {self.study.name!r}: {int(good.sum())} of {len(good)} {what} have a solution, and "
                f"{least} are needed."
            )
        if not good.all():
            self.notes.append(f"{int((~good).sum())} of {len(good)} {what} have no solution and are left out.")
        return x[good], y[good]

    # --- candidates ----------------------------------------------------------------------------------------------------------

    def fitted(
        self, fits: Mapping[str, FunctionFit], family: Family, x: Any, y: Any, data_seconds: float
    ) -> list[_Candidate]:
        made = []
        for name, fit in fits.items():
            count = self.study.seeds if family == "surrogate" else 1
            try:
                for k, key in enumerate(jax.random.split(jax.random.key(self.seed), count)):
                    with Stopwatch() as watch:
                        function = jax.block_until_ready(fit.fit(x, y, key=key))
                    costs = {
                        "training_seconds": watch.run_seconds,
                        "data_seconds": 0.0 if getattr(fit, "solves", False) else data_seconds,
                        "tuning_seconds": float(self.study.tuning.get(name, 0.0)),
                        "parameters": sum(
                            int(np.size(leaf)) for leaf in jax.tree.leaves(function) if hasattr(leaf, "dtype")
                        ),
                    }
                    made.append(_Candidate(name, family, function, k if family == "surrogate" else None, costs))
            except ValueError as error:
                made = [c for c in made if c.name != name]
                self.notes.append(f"{name} could not be fitted: {' '.join(str(error).split())}")
                continue
            self.say(f"{name}: fitted in {watch.run_seconds:.3g} s")
            if told := getattr(fit, "told", ""):
                self.notes.append(f"{name} is told {told}.")
            if getattr(fit, "solves", False):
                self.notes.append(f"{name} asks the solver itself: the seconds of its data are in its training.")
        return made

    def errors(self, candidate: _Candidate, x: Any, truth: Any) -> np.ndarray:
        """[n], inf where it is not finite."""
        found = np.asarray(candidate.program(x), float)
        if found.shape != truth.shape:
            raise ValueError(
                f"FunctionStudy {self.study.name!r}: {candidate.name} returns {list(found.shape)}, and the solver "
                f"{list(truth.shape)}."
            )
        return _errors(found, np.asarray(truth, float), self.unit)

    def score(self, candidate: _Candidate, x: Any, truth: Any, slopes: Any) -> Measurement:
        with Stopwatch() as watch:
            errors = self.errors(candidate, x, truth)
        y, found = np.asarray(truth, float), np.asarray(candidate.program(x), float)
        spread = ((y - y.mean(0)) ** 2).sum()
        metrics = {
            "largest_error": float(errors.max()),
            "one_minus_q2": float(((found - y) ** 2).sum() / spread) if spread > 0 else math.nan,
        }
        if slopes is not None:
            own = self.slopes(candidate, x)
            size = np.linalg.norm(slopes, axis=1)
            metrics["gradient_error"] = float(np.median(np.linalg.norm(own - slopes, axis=1)[size > 0] / size[size > 0]))
        self.say(f"{candidate.label}: error {errors.mean():.3g}")
        return Measurement(
            name=candidate.name, family=candidate.family, detail="" if candidate.seed is None else f"seed {candidate.seed}",
            resolution=None, dt=None, seed=candidate.seed, errors=errors, growth=np.zeros(0), seconds={}, cpu_seconds={},
            compile_seconds=watch.compile_seconds, metrics=metrics, **candidate.costs,
        )  # fmt: skip

    def slopes(self, candidate: _Candidate, x: Any) -> np.ndarray:
        """The gradient of the sum of an input's outputs, in their units, [n, k]."""
        total = lambda x: jnp.sum(candidate.function(x) / self.unit)  # noqa: E731
        return np.asarray(jax.jit(jax.grad(total))(x), float)

    def timed(self, candidates: list[_Candidate], measured: list[Measurement], x: Any) -> list[Measurement]:
        """With seconds: those of the first seed for all seeds of a surrogate, whose programs are one."""
        jobs: dict[tuple[str, str, int], Any] = {}
        for c in candidates:
            if c.seed in (None, 0):
                for batch in self.study.batches:
                    rows = x[np.resize(np.arange(len(x)), batch)]
                    jobs[c.family, c.name, batch] = clocked(lambda c=c, rows=rows: c.program(rows), float(batch))
        take_turns(list(jobs.values()), seconds=20.0 if self.study.quick else 60.0, progress=self.say)
        self.environment, scatters = environment(), [job.least.scatter for job in jobs.values()]
        self.notes += [*busy(self.environment), *scattered(scatters)]
        made = []
        for m in measured:
            least = {b: jobs[m.family, m.name, b].least for b in self.study.batches}
            seconds, cpu = ({b: t[i] for b, t in least.items()} for i in (0, 1))
            made.append(dataclasses.replace(m, seconds=seconds, cpu_seconds=cpu))
        return made

    def shifts(self, candidates: list[_Candidate]) -> tuple[Shift, ...]:
        """Errors in units of the outputs as scored, so that they can be set beside those."""
        made = []
        for name, inputs in self.study.shifts.items():
            x, truth = self.solved(inputs, f"inputs of {name!r}", least=1)
            errors = {c.name: self.errors(c, x, truth) for c in candidates if c.seed in (None, 0)}
            made.append(Shift(name, errors))
        return tuple(made)

    # --- what the report says of itself --------------------------------------------------------------------------------------

    def problem(self, x: Any) -> SavedProblem:
        names = self.study.inputs or tuple(f"x{i}" for i in range(x.shape[1]))
        ends = zip(np.asarray(x.min(0)), np.asarray(x.max(0)), strict=True)
        domain = {name: [float(low), float(high)] for name, (low, high) in zip(names, ends, strict=True)}
        return SavedProblem({
            "name": self.study.name, "identity": "", "equation": self.study.formula, "latex": self.study.formula,
            "domain": domain, "coefficients": {}, "initial": {}, "walls": {}, "source": self.study.source,
        })  # fmt: skip

    def settings(self, x: Any, scored: Any) -> dict[str, Any]:
        study = self.study
        return {
            "training_inputs": len(x), "scored_inputs": len(scored), "seeds": list(range(study.seeds)), "seed": self.seed,
            "batches": list(study.batches), "quick": study.quick,
        }  # fmt: skip

    def all_notes(self) -> list[str]:
        study, notes = self.study, list(dict.fromkeys(self.notes))
        if len(study.solvers) == 1 and not study.coarser:
            notes.append(
                f"{next(iter(study.solvers))} solves or does not: there is no cheaper form of it with a larger error."
            )
        if study.quick:
            notes.append("This is a quick study, of few inputs and short trainings: do not quote it.")
        if not study.tuning:
            notes.append("No tuning is counted: the settings of the surrogates were taken as they are.")
        return notes


def _unit(y: Any) -> Any:
    """The root mean square of each output; 1 where it is 0."""
    size = jnp.sqrt(jnp.mean(y**2, axis=0))
    return jnp.where(size > 0, size, 1.0)


def _errors(found: np.ndarray, truth: np.ndarray, unit: Any) -> np.ndarray:
    off = ((found - truth) / np.asarray(unit)).reshape(len(truth), -1)
    errors = np.sqrt((off**2).mean(1))
    return np.where(np.isfinite(errors), errors, np.inf)
