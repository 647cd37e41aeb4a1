"""Is a surrogate worth it: a study of surrogates against a ladder of the solver, from the problem to the verdicts."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsci._types import Progress
from jaxsci.compare.comparison import environment
from jaxsci.compare.gradient_error import gradient_error
from jaxsci.compare.hosts import of_devices, part_of, spans_hosts
from jaxsci.compare.ladder import ladder, rung
from jaxsci.compare.measure import (
    Candidate,
    Scored,
    measurement,
    metrics_of,
    residual_on,
    rollouts,
    steppers,
    time_in_turns,
)
from jaxsci.compare.predictability import lyapunov_exponent
from jaxsci.compare.shifts import Fitted, Shifted, score_shift, scored_starts
from jaxsci.compare.study_checks import check_study
from jaxsci.compare.study_data import made_runs, made_together, made_truth
from jaxsci.compare.study_outcome import busy, notes_of, over_budget, scattered, settings_of, truth_text
from jaxsci.compare.study_record import StudyRecord
from jaxsci.compare.study_report import RUNGS, Gallery, Measurement, Shift, StudyReport
from jaxsci.compare.study_settings import PLAIN
from jaxsci.compare.study_settings import Study as Study
from jaxsci.compare.verdicts import judge
from jaxsci.problems import stepper
from jaxsci.solvers import Spectral
from jaxsci.surrogates.coarse_solver import CoarseRule
from jaxsci.surrogates.network_surrogate import NetworkSurrogate, fit_seeds
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories

_TRAINING_SHARE = 0.6  # of the budget that is spent when the training ends
_TIMING_SHARE = 0.1


def run_study(
    study: Study,
    *,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    budget: float | None = None,
    progress: Progress = None,
    mesh: Mesh | None = None,
) -> StudyReport:
    """Run a study: data, truth, ladder, baselines, surrogates, seconds, shifts, verdicts.

    Every finished stage is recorded in the folder; a training keeps a record of its own while it runs. A study that is resumed
    repeats nothing that is finished. Seconds are taken once, in turns, on the device and in the precision that are in use; the
    truth is computed in double precision.

    Args:
      study: what to compare.
      seed: of the starts and of the trainings.
      folder: for the record; None keeps none.
      resume: go on from the record in the folder, if there is one.
      budget: seconds for the whole, in place of the study's: about six tenths of it are spent when the training ends.
      progress: called with a line of text now and then.
      mesh: a `jax.sharding.Mesh` with one axis, over whose devices data are made and networks trained, as many of them as divide
        the batch; it may span hosts (`jax.distributed`), of whose processes all call this and the first alone writes. Errors
        and seconds are of one device, always.
    Returns:
      A `StudyReport`.
    Raises:
      ValueError: a folder with the record of another study, or a problem, solver or ladder that cannot be run.
    Fails when: the starts are not on the attractor of a chaotic problem (give `Study.skip`); the machine is busy while seconds
      are taken, which makes them larger for all, and not equally so.
    Reference: McGreivy & Hakim (2024), Nature Machine Intelligence 6, 1256; docs/compare.md.
    Example:
      >>> from jaxsci.compare.studies import STUDIES
      >>> from jaxsci.compare.study import run_study
      >>> report = run_study(STUDIES["advection_waves"]("quick"), folder="waves", progress=print)  # doctest: +SKIP
      >>> print(report.verdicts[0].break_even)  # doctest: +SKIP
    """
    if budget is not None:
        study = dataclasses.replace(study, budget=budget)
    return _Run(study, seed, folder, resume, progress, mesh).report()


class _Run:
    """The stages of one study."""

    def __init__(self, study: Study, seed: int, folder: Any, resume: bool, progress: Progress, mesh: Mesh | None = None):
        self.study, self.seed, self.mesh, self.devices = study, seed, mesh, dict[str, int]()
        check_study(study)
        self.say: Callable[[str], None] = progress or (lambda text: None)
        key = jax.random.key(seed)
        self.keys = dict(zip(("data", "truth", "fits", "shifts", "rest"), jax.random.split(key, 5), strict=True))
        self.record = StudyRecord(folder, study.identity(key), resume)
        self.notes: list[str] = []
        self.shown: dict[str, np.ndarray] = {}
        self.guesses: dict[str, float] = {}
        self.gradients: dict[str, Any] = {}

    def stage(self, name: str, compute: Callable[[], Any], *, together: bool = False) -> Any:
        return self.record.stage(name, compute, self.say, together=together)

    def report(self) -> StudyReport:
        study = self.study
        data, data_seconds = self.training_data()
        scored, probes, floor = self.truth()
        found = self.stage("ladder", lambda: self.search(probes, scored))
        self.notes += found["notes"]
        rungs = [rung(n, study.dt, m, study.truth.order) for n, m in found["rungs"]]
        self.judge, self.lyapunov = self.clocks(rungs, scored)
        self.residual = residual_on(self.judge, study.dt)
        plain = self.plain_baselines(data, data_seconds)
        learned = self.learned_surrogates(data, data_seconds)
        measured = {c.label: self.score(c, scored) for c in (*rungs, *plain, *learned)}
        self.seconds(rungs, plain, learned, measured, scored)
        ladder_ = [measured[c.label] for c in rungs]
        seeds = {name: [m for m in measured.values() if m.name == name] for name in study.surrogates}
        verdicts = tuple(judge(seeds[name], ladder_, batch) for name in seeds if seeds[name] for batch in study.batches)
        self.say("verdicts: done")
        matched = self.matched(rungs, seeds, measured)
        shifts = self.shifts([*matched, *plain, *(c for c in learned if c.seed == 0)])
        self.notes += [
            *notes_of(study, floor, self.devices, scored.numbers),
            *busy(self.environment),
            *scattered(self.scatters),
        ]
        self.notes += over_budget(study, self.record.seconds)
        settings = settings_of(study, self.seed, self.record.seconds, self.devices, self.lyapunov, scored.numbers)
        return StudyReport(
            name=study.name, problem=scored.problem, settings=settings, ts=scored.ts[1:],
            truth=truth_text(study),
            truth_error=floor, measurements=tuple(measured.values()), verdicts=verdicts, shifts=shifts,
            gallery=self.gallery(scored, [*matched, *rungs[:1], *plain[:1], *(c for c in learned if c.seed == 0)]),
            environment=self.environment, notes=tuple(self.notes),
        )  # fmt: skip

    # --- data and truth --------------------------------------------------------------------------------------------------

    def training_data(self) -> tuple[Trajectories, float]:
        study = self.study
        keys = jax.random.split(self.keys["data"], study.training_runs)
        together = made_together(study, self.mesh)
        found = self.stage("data", lambda: made_runs(study, keys, self.say, self.mesh), together=together)
        self.devices["the data"] = found.get("devices", 1)
        numbers = {name: jnp.asarray(v) for name, v in found["numbers"].items()}
        problem = study.family(keys[0]).with_coefficients(**found.get("fixed", {}))
        return Trajectories(problem, jnp.asarray(found["fields"]), numbers, study.dt), found["seconds"]

    def truth(self) -> tuple[Scored, Scored, float]:
        """Scored starts, those of the search, and the error of the truth."""
        study = self.study
        keys = jax.random.split(self.keys["truth"], study.starts + study.probes)
        found = self.stage("truth", lambda: made_truth(study, keys, self.say))
        problem = study.family(keys[0]).with_coefficients(**found.get("fixed", {}))
        sizes = (study.n,) * len(problem.domain.space)
        both = Scored(problem, found["numbers"], found["starts"], found["truth"], study.dt, sizes)
        return both.part(slice(0, study.starts)), both.part(slice(study.starts, None)), found["floor"]

    def search(self, probes: Scored, scored: Scored) -> dict[str, Any]:
        study = self.study
        small = round(study.dt / study.truth_dt)
        rungs, notes = ladder(probes, study.ladder, small, stable_on=scored, order=study.truth.order, progress=self.say)
        return {"rungs": [[c.resolution, c.substeps] for c in rungs], "notes": notes}

    def clocks(self, rungs: list[Candidate], scored: Scored) -> tuple[Any, float]:
        """The solver on the grid of the scores, for residuals and gradients; the Lyapunov time."""
        study = self.study
        grids = {c.resolution for c in rungs}
        if len(grids) < RUNGS:
            raise ValueError(
                f"Study {study.name!r}: only {len(grids)} grids of the ladder solve this problem, and {RUNGS} are needed; give "
                "finer ones, or a shorter horizon."
            )
        nearest = min(rungs, key=lambda c: (abs((c.resolution or 0) - study.n), -c.substeps))
        substeps = 2 * nearest.substeps  # a margin: exponents are measured over longer times than rungs are tried for
        method = Spectral(n=study.n, dt=study.dt / substeps, order=study.truth.order)
        solver = stepper(scored.problem, method)
        if not study.chaotic:
            return solver, 1.0

        def measure() -> float:
            state = solver.encode(jnp.asarray(scored.truth[0, 0], jnp.result_type(float)))
            steps = 10 * study.steps * substeps
            found = lyapunov_exponent(solver, state, steps=steps, key=self.keys["rest"])
            self.say(f"Lyapunov exponent {float(found.exponent):.3g} +- {float(found.standard_error):.1g}")
            return float(found.exponent)

        exponent = self.stage("lyapunov", measure)
        if not exponent > 0:
            self.notes.append(
                f"The largest Lyapunov exponent, {exponent:.2g}, is not positive: valid prediction times are in plain time."
            )
        return solver, 1 / exponent if exponent > 0 else 1.0

    # --- candidates ------------------------------------------------------------------------------------------------------

    def plain_baselines(self, data: Trajectories, data_seconds: float) -> list[Candidate]:
        made = []
        for name, baseline in {**PLAIN, **self.study.baselines}.items():
            try:
                fitted = self.stage(f"fit {name}", lambda b=baseline: b.fit(data, key=self.keys["fits"]))
            except (ValueError, TypeError) as error:
                self.fault(name, error)
                continue
            learns = fitted.stats.get("parameters", 0) > 0
            made.append(self.candidate(name, "baseline", fitted, None, data_seconds if learns else 0.0))
        return made

    def learned_surrogates(self, data: Trajectories, data_seconds: float) -> list[Candidate]:
        study, made, left, whole = self.study, [], None, 0.0
        keys = jax.random.split(self.keys["fits"], study.seeds)
        todo = list(study.surrogates)
        if study.budget is not None:
            spent = sum(self.record.seconds.values())
            left = whole = max(_TRAINING_SHARE * study.budget - spent, 0.1 * study.budget)
        for i, name in enumerate(todo):
            share = None if left is None else max(left / (len(todo) - i), whole / (2 * len(todo)))
            together = isinstance(study.surrogates[name], NetworkSurrogate) and spans_hosts(self.mesh)
            try:
                fits = self.stage(f"fit {name}", lambda n=name, s=share: self.fit(n, data, keys, s), together=together)
            except (ValueError, TypeError) as error:
                self.fault(name, error)
                continue
            if left is not None:
                left -= min(self.record.seconds[f"fit {name}"], left)
            stopped = [fitted.stats.get("stopped") for fitted in fits]
            if "budget" in stopped:
                least = min(fits, key=lambda fitted: int(fitted.stats["steps"]))
                self.notes.append(f"{name} was trained for {self.cut_short(name, least)}: the budget was spent.")
            if "not finite" in stopped:
                self.notes.append(
                    f"{name}: the training of {stopped.count('not finite')} seeds ended with a loss that is not finite."
                )
            made += [self.candidate(name, "surrogate", fitted, k, data_seconds) for k, fitted in enumerate(fits)]
        return made

    def fit(self, name: str, data: Trajectories, keys: Any, budget: float | None) -> list[FittedSurrogate]:
        """All seeds; over a mesh their seconds are those of all its devices."""
        say = lambda text: self.say(f"{name}: {text}")  # noqa: E731
        surrogate = self.study.surrogates[name]
        if not isinstance(surrogate, NetworkSurrogate):
            share = None if budget is None else budget / len(keys)
            return [surrogate.fit(data, key=key, budget=share, progress=say) for key in keys]
        folder, mesh = self.record.folder_of(f"training {name}"), part_of(self.mesh, surrogate.training.batch)
        fits = fit_seeds(
            surrogate, data, keys, budget=budget, progress=say, folder=folder, resume=folder is not None, mesh=mesh
        )
        return fits if mesh is None else [of_devices(fitted, mesh.size) for fitted in fits]

    def candidate(self, name: str, family: Any, fitted: FittedSurrogate, seed: int | None, data_seconds: float) -> Candidate:
        alone = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), fitted.parameters)  # on one device
        fitted = dataclasses.replace(fitted, parameters=alone)
        if seed == 0:
            self.devices[name] = int(fitted.stats.get("devices", 1))
        stats = {
            "data_seconds": data_seconds,
            "training_seconds": fitted.cost.training_seconds + fitted.cost.solve_seconds,
            "tuning_seconds": float(self.study.tuning.get(name, 0.0)),
            "parameters": int(fitted.stats.get("parameters", 0)),
            "cut_short": self.cut_short(name, fitted) if fitted.stats.get("stopped") == "budget" else "",
        }
        detail = "" if seed is None else f"seed {seed}"
        if isinstance(fitted.rule, CoarseRule):
            detail = f"n = {fitted.rule.method.n}, dt = {fitted.rule.method.dt:.4g}"
        return Candidate(name, family, detail, Fitted(fitted), self.study.n, self.study.dt, seed, 1, stats)

    def cut_short(self, name: str, fitted: FittedSurrogate) -> str:
        """How far the training came."""
        asked = getattr(getattr(self.study.surrogates[name], "training", None), "steps", None)
        return f"{int(fitted.stats['steps']):,}{'' if asked is None else f' of {asked:,}'} steps"

    def fault(self, name: str, error: Exception) -> None:
        text = " ".join(str(error).split())
        self.notes.append(f"{name} could not be fitted: {text}")
        self.say(f"{name}: {text}")

    # --- measurements ----------------------------------------------------------------------------------------------------

    def score(self, candidate: Candidate, scored: Scored) -> Measurement:
        study = self.study

        def compute() -> dict[str, Any]:
            made = rollouts(candidate, scored)
            metrics = metrics_of(made, scored, channel=study.channel, lyapunov_time=self.lyapunov, residual=self.residual)
            wanted = len(scored.n) == 1 if study.gradients is None else study.gradients
            if wanted and candidate.family == "surrogate" and not scored.numbers:
                metrics |= self.gradient(candidate, scored)
            found = measurement(candidate, scored, made, metrics=metrics)
            self.say(f"{candidate.label}: error {found.error:.3g}")
            return {
                "measurement": found,
                "shown": made.fields[0, :, study.channel],
                "seconds": made.run_seconds / study.starts,
            }

        found = self.stage(f"score {candidate.label}", compute)
        self.shown[candidate.label] = found["shown"]
        self.guesses[candidate.label] = found["seconds"]
        return found["measurement"]

    def gradient(self, candidate: Candidate, scored: Scored) -> dict[str, float]:
        """The error of the surrogate's gradient over a few saves: one program for all its seeds."""
        own, steps = steppers(candidate.make, scored), min(4, scored.steps)
        if candidate.name not in self.gradients:

            def error(parameters: Any, fields: Any) -> Any:
                told = dataclasses.replace(own, parameters=parameters)
                found = gradient_error(told, self.judge, fields, steps=steps, key=self.keys["rest"])
                return jnp.mean(found.relative_l2)

            self.gradients[candidate.name] = jax.jit(error)
        fields = jnp.asarray(scored.truth[:4, 0], jnp.result_type(float))
        return {"gradient_error": float(self.gradients[candidate.name](own.parameters, fields))}

    def seconds(self, rungs: Any, plain: Any, learned: Any, measured: dict[str, Measurement], scored: Scored) -> None:
        """The seconds of all, those of the first seed for all seeds of a surrogate: their programs are one."""
        study = self.study
        timed = [*rungs, *plain, *(c for c in learned if c.seed == 0)]

        def compute() -> dict[str, Any]:
            limit = 120.0 if study.budget is None else _TIMING_SHARE * study.budget
            estimates = [self.guesses[c.label] for c in timed]
            found = time_in_turns(timed, scored, study.batches, estimates=estimates, seconds=limit, progress=self.say)
            timings = {c.label: {b: list(t) for b, t in f.items()} for c, f in zip(timed, found, strict=True)}
            return {"timings": timings, "environment": environment()}

        found = self.stage("seconds", compute)
        self.environment = found["environment"]  # of the machine on which they were taken
        self.scatters = [t[2] for timings in found["timings"].values() for t in timings.values() if len(t) > 2]
        for c in (*rungs, *plain, *learned):
            label = f"{c.name}, seed 0" if c.seed is not None else c.label
            wall, cpu = ({b: t[i] for b, t in found["timings"][label].items()} for i in (0, 1))
            compiling = measured[label].compile_seconds
            measured[c.label] = dataclasses.replace(
                measured[c.label], seconds=wall, cpu_seconds=cpu, compile_seconds=compiling
            )

    def matched(self, rungs: list[Candidate], seeds: Any, measured: Any) -> list[Candidate]:
        """The rung that each surrogate is to be compared with: the cheapest that is as accurate, or the most accurate."""
        chosen: dict[str, Candidate] = {}
        batch = max(self.study.batches)  # that of the first verdict
        cost = lambda c: measured[c.label].seconds[batch]  # noqa: E731
        for group in seeds.values():
            if not group:
                continue
            error = statistics.median(m.error for m in group)
            good = [c for c in rungs if measured[c.label].error <= error]
            pick = min(good, key=cost) if good else min(rungs, key=lambda c: measured[c.label].error)
            chosen[pick.label] = pick
        return list(chosen.values())

    def shifts(self, candidates: list[Candidate]) -> tuple[Shift, ...]:
        study = self.study

        def compute(shifted: Shifted) -> Shift:
            scale = shifted.scale
            truth = dataclasses.replace(study.truth, n=scale * study.truth_n)
            family = shifted.family or study.family
            keys = jax.random.split(self.keys["shifts"], study.shift_starts)
            scored = scored_starts(
                family, keys, truth, n=scale * study.n, dt=study.dt, steps=shifted.steps or study.steps, skip=study.skip
            )
            return score_shift(shifted, scored, candidates, self.say)

        return tuple(self.stage(f"shift {s.name}", lambda s=s: compute(s)) for s in study.shifts)

    def gallery(self, scored: Scored, candidates: list[Candidate]) -> Gallery:
        study = self.study
        start = scored.truth[0, :1, study.channel]
        axes = stepper(scored.problem, Spectral(n=study.n, dt=study.dt)).grid
        fields = {}
        for c in candidates:
            name = c.label if c.family == "solver" else c.name
            shown = np.concatenate([start, self.shown[c.label]])
            fields[name] = np.where(np.isfinite(shown), shown, np.nan).astype(np.float32)
        title = study.title or scored.problem.unknowns[0]
        return Gallery(title, scored.ts, axes, scored.truth[0, :, study.channel].astype(np.float32), fields)
