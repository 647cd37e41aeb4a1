"""A study as tables: the same cells for the terminal and for the page. Numbers become text here and nowhere else."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxsci.compare.study_report import TRAJECTORIES, VALUES, Interval, Measurement, StudyReport, Verdict

METRICS = {  # how the known metrics are called, in the order of the table
    "correlation_time": "correlation time",
    "valid_prediction_time": "valid prediction time",
    "spectrum_error": "spectrum error",
    "conservation_drift": "conservation drift",
    "residual": "residual",
    "gradient_error": "gradient error",
    "largest_error": "largest error",
    "one_minus_q2": "1 - Q2",
    "blown_up": "blown up",
}
_DEFINITIONS = {  # what stands under the table, of those that are in it; docs/compare.md has the whole
    "correlation_time": "Correlation time: t until the mean correlation with the truth falls below 0.95.",
    "valid_prediction_time": "Valid prediction time: until the error exceeds 0.4 of the truth's root mean square.",
    "spectrum_error": "Spectrum error: decades between the energy spectra of the later half, in the mean over shells; a grid "
    "that is coarser than that of the scores has nothing in the last of them.",
    "conservation_drift": "Conservation drift: of what the equation keeps, from start to end, relative to its size at the start.",
    "residual": "Residual: of a step against the solver's own on the grid of the scores, relative to the change in it; 1 is to "
    "stand still. It is no error: a finer grid is off that grid too.",
    "gradient_error": "Gradient error: relative L2 of the gradient, against the solver's.",
    "largest_error": "Largest error: of all inputs.",
    "one_minus_q2": "1 - Q2: mean square error over the variance of the truth; 1 is to give the mean.",
    "blown_up": "Blown up: the share of starts that ended in values that are not finite.",
}
_SHARES = ("blown_up",)  # metrics that are shares of starts, told in per cent


class Table(NamedTuple):
    """Cells as text: the first column names the row.

    Attributes:
      key: what the table is, for code: "verdicts", "front", "metrics", "shifts", "cost".
      title: what the table is, for people.
      head: of the columns.
      rows: as long as the head.
      families: of each row: "solver", "surrogate" or "baseline".
      notes: sentences that belong under it.
    """

    key: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    families: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Group(NamedTuple):
    """What has one row: a rung of the ladder, a baseline, or all seeds of a surrogate."""

    label: str
    family: str
    members: tuple[Measurement, ...]


def tables(report: StudyReport) -> tuple[Table, ...]:
    """Everything that is told in tables, in the order of the page; a table without rows is left out."""
    made = (_verdicts(report), _front(report), _metrics(report), _shifts(report), _cost(report))
    return tuple(table for table in made if table.rows)


def solver_name(report: StudyReport) -> str:
    """What the ladder is made of."""
    names = dict.fromkeys(m.name for m in report.measurements if m.family == "solver")
    return together(list(names)) if names else "the solver"


def together(names: Sequence[str]) -> str:
    """A; A and B; A, B and C."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def batches(report: StudyReport) -> list[int]:
    """Every batch size that was timed or judged."""
    return sorted({b for m in report.measurements for b in m.seconds} | {v.batch for v in report.verdicts})


def groups(report: StudyReport) -> list[Group]:
    """The measurements, seeds of one name together: the ladder first, then the surrogates, then the baselines."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for m in report.measurements:
        label = f"{m.name}, {m.detail}" if m.family != "surrogate" and m.detail else m.name
        found.setdefault((m.family, label), []).append(m)
    order = {"solver": 0, "surrogate": 1, "baseline": 2}
    made = [
        Group(f"{label} ({len(members)} seeds)" if len(members) > 1 else label, family, tuple(members))
        for (family, label), members in found.items()
    ]
    return sorted(made, key=lambda group: order[group.family])


# --- numbers as text -----------------------------------------------------------------------------------------------------------


def number(value: float, digits: int = 2) -> str:
    """At least so many significant digits, with thousands separated: 4.1, 12,000, 3.2e6, 3.2e-5."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value == 0:
        return "0"
    mantissa, power = f"{value:.{digits - 1}e}".split("e")  # rounded: 999,999 is 1.0e6
    if not -3 <= int(power) <= 5:
        return f"{mantissa}e{int(power)}"
    return f"{float(f'{mantissa}e{power}'):,.{max(digits - 1 - int(power), 0)}f}"


def percent(value: float, digits: int = 2) -> str:
    """An error as a share: 12 %, 0.34 %, 3.1e-6; an infinite one blew up."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "blew up"
    return number(value, digits) if 0 < abs(value) < 1e-4 else f"{number(100 * value, digits)} %"


def apart(less: float, more: float) -> tuple[str, str]:
    """Two errors in as many digits as tell them apart, up to four: 100.2 % and 100.4 %."""
    told = [(percent(less, digits), percent(more, digits)) for digits in (2, 3, 4)]
    return next((pair for pair in told if pair[0] != pair[1]), told[0])


def seconds(value: float) -> str:
    """A time in the unit that suits it: 1.2 us, 0.34 ms, 12 s, 25 min, 3.1 h."""
    if not math.isfinite(value) or value == 0:
        return number(value)
    for unit, size, least in (("h", 3600.0, 7200.0), ("min", 60.0, 600.0), ("s", 1.0, 1.0)):
        if value >= least:
            return f"{number(value / size, 3 if value / size >= 10 else 2)} {unit}"
    if value < 1e-4:
        return f"{number(1e6 * value, 3 if value >= 1e-5 else 2)} us"
    return f"{number(1000 * value, 3 if value >= 0.01 else 2)} ms"


def runs(value: float) -> str:
    """A number of trajectories."""
    if not math.isfinite(value):
        return "never" if value == math.inf else "-"
    return number(math.ceil(value)) if value > 99 else str(math.ceil(value))


def interval(estimate: Interval, form: Callable[[float], str] = number, *, bare: bool = False) -> str:
    """4.1 (3.2 to 5.0) or 12 (9.6 to 15) %; the value alone where there are no bounds. Bare: 4.1, from 3.2 to 5.0."""
    value, low, high = (form(float(x)) for x in estimate)
    if "-" in (low, high) or low == high == value or value == "blew up":
        return value
    units = {text.partition(" ")[2] for text in (value, low, high)}
    if len(units) == 1 and (unit := units.pop()) and "infinite" not in (low, high) and low != "blew up":
        numbers = [text.removesuffix(f" {unit}") for text in (value, low, high)]
        return f"{numbers[0]} ({numbers[1]} to {numbers[2]}) {unit}"
    return f"{value}, from {low} to {high}" if bare else f"{value} ({low} to {high})"


def spread(values: Iterable[float], form: Callable[[float], str] = number) -> str:
    """The median over seeds, with the least and the most of them."""
    known = sorted(v for v in map(float, values) if not math.isnan(v))
    if not known:
        return "-"
    return interval(Interval(statistics.median(known), known[0], known[-1]), form)


def speed(verdict: Verdict) -> str:
    """The error-matched speed ratio as a cell, with the side on which it is bounded."""
    if not math.isfinite(verdict.error.value):
        return "-"
    text, bound = interval(verdict.speed_ratio), verdict.speed_bound
    if bound and text != "-":
        return f"{bound} {number(verdict.speed_ratio.value)}"
    return {"": text, "at most": "the cheapest rung is better", "at least": "no rung is as good"}[bound]


def accuracy(verdict: Verdict) -> str:
    """The runtime-matched error ratio as a cell; a bound where the solver has no rung that takes as long."""
    bound, ratio = verdict.error_bound, verdict.error_ratio
    return f"{bound} {number(ratio.value)}" if bound and math.isfinite(ratio.value) else interval(ratio)


def payback(estimate: Interval, speed_bound: str = "") -> str:
    """The number of runs as a cell, with the side on which it is bounded; where it is never, the best case beside it."""
    if estimate.value == math.inf:
        return f"never (at best {runs(estimate.low)})" if math.isfinite(estimate.low) and not speed_bound else "never"
    if speed_bound and math.isfinite(estimate.value):
        return f"{'at least' if speed_bound == 'at most' else 'at most'} {runs(estimate.value)}"
    return interval(estimate, runs)


def short(text: str, most: int) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


# --- the tables ----------------------------------------------------------------------------------------------------------------


def _verdicts(report: StudyReport) -> Table:
    solver = solver_name(report)
    cut = {m.name for m in report.measurements if m.cut_short}
    rows = tuple(
        (
            verdict.name + ", cut short" * (verdict.name in cut), str(verdict.batch), interval(verdict.error, percent),
            speed(verdict), accuracy(verdict),
            payback(verdict.break_even, verdict.speed_bound), seconds(verdict.upfront_seconds),
        )
        for verdict in report.verdicts
    )  # fmt: skip
    head = (
        "surrogate",
        "batch",
        "error",
        "speed ratio at its error",
        "error ratio in its time",
        "runs to pay back, N*",
        "up front",
    )
    notes = (
        f"Speed ratio: seconds of {solver} at the surrogate's error over the surrogate's; above 1 the surrogate is faster.",
        f"Error ratio: the surrogate's error over that of {solver} in the same time; below 1 the surrogate is more accurate, "
        "at least that where no rung takes as long, and - where even the cheapest takes longer.",
        "Errors, and what was spent up front (data, training, tuning): of several seeds the median. In brackets: the 5 and 95 "
        f"per cent bounds of a bootstrap over the {report.wording.start}s and the seeds; times are the least of many rounds, "
        "whose noise is not in the bounds.",
    )
    return Table("verdicts", "Verdicts", head, rows, ("surrogate",) * len(rows), notes)


def _front(report: StudyReport) -> Table:
    every = batches(report)
    found = groups(report)
    exact = lambda group: report.wording is VALUES and group.family == "solver" and group.members[0].error == 0  # noqa: E731
    rows = tuple(
        (
            group.label,
            "its own truth" if exact(group) else spread((m.error for m in group.members), percent),
            *(spread((m.seconds.get(b, math.nan) for m in group.members), seconds) for b in every),
            *(spread((m.cpu_seconds.get(b, math.nan) for m in group.members), seconds) for b in every),
            spread((m.compile_seconds for m in group.members), seconds),
        )
        for group in found
    )
    head = ("candidate", "error", *(f"wall time, batch {b}" for b in every), *(f"processor time, batch {b}" for b in every),
            "compile")  # fmt: skip
    notes = (
        f"Error: {report.wording.error}. Times are per {report.wording.run}, without compiling. "
        "Of several seeds: the median, with the least and the most.",
    )
    return Table("front", "Error and cost", head, rows, tuple(group.family for group in found), notes)


def _metrics(report: StudyReport) -> Table:
    present = dict.fromkeys(
        name for m in report.measurements for name, value in m.metrics.items() if not math.isnan(float(value))
    )
    names = [name for name in METRICS if name in present] + [name for name in present if name not in METRICS]
    found = groups(report)
    rows = tuple(
        (
            group.label,
            *(
                spread((float(m.metrics.get(n, math.nan)) for m in group.members), percent if n in _SHARES else number)
                for n in names
            ),
        )
        for group in found
        if names
    )
    known = dict(METRICS)
    if report.settings.get("lyapunov_time"):
        known["valid_prediction_time"] += f", in Lyapunov times of {number(float(report.settings['lyapunov_time']))}"
    head = ("candidate", *(known.get(name, name.replace("_", " ")) for name in names))
    title = "Over a long time" if report.wording is TRAJECTORIES else "Beside the error"
    notes = [_DEFINITIONS[name] for name in names if name in _DEFINITIONS]
    if "correlation_time" in names and len(report.ts):
        notes.append(f"The rollouts end at t = {number(float(report.ts[-1]))}: times that last so long may be longer.")
    notes = tuple(notes)
    return Table("metrics", title, head, rows, tuple(group.family for group in found), notes)


def _shifts(report: StudyReport) -> Table:
    """Errors in distribution beside those out of it."""
    family = {m.name: m.family for m in report.measurements}
    names = dict.fromkeys(name for shift in report.shifts for name in (*shift.errors, *shift.reasons))
    home = {group.members[0].name: group for group in groups(report) if group.family != "solver"}
    rungs = {f"{m.name}, {m.detail}" if m.detail else m.name: m for m in report.measurements if m.family == "solver"}

    def at_home(name: str) -> str:
        if name in home:
            return spread((m.error for m in home[name].members), percent)
        return percent(rungs[name].error) if name in rungs else "-"

    def cell(shift, name: str) -> str:
        if name not in shift.errors:
            return "-"
        errors = np.asarray(shift.errors[name], float)
        bad = np.sum(~np.isfinite(errors))
        return percent(float(np.mean(errors))) if not bad else f"blew up on {bad} of {errors.size}"

    order = {"solver": 0, "surrogate": 1, "baseline": 2}
    rows = sorted(
        (
            (family.get(name, "solver"), (name, at_home(name), *(cell(shift, name) for shift in report.shifts)))
            for name in names
        ),
        key=lambda row: order[row[0]],
    )
    known = (
        ["Of the solver: for each surrogate the cheapest rung that is as accurate as trained, or the most accurate one."]
        if report.wording is TRAJECTORIES
        else []
    )
    known += ["As trained: of several seeds the median, with the least and the most; otherwise the first seed."]
    reasons = (f"{name}, {shift.name}: {why}" for shift in report.shifts for name, why in shift.reasons.items())
    notes = (*known, *reasons)
    head = ("candidate", "as trained", *(shift.name for shift in report.shifts))
    title = "Out of distribution"
    return Table("shifts", title, head, tuple(row for _, row in rows), tuple(family for family, _ in rows), notes)


def _cost(report: StudyReport) -> Table:
    found = [g for g in groups(report) if g.family != "solver"]

    parts: tuple[Callable[[Measurement], float], ...] = (
        lambda m: m.data_seconds, lambda m: m.training_seconds, lambda m: m.tuning_seconds, lambda m: m.upfront_seconds,
        lambda m: m.compile_seconds,
    )  # fmt: skip
    rows = tuple(
        (
            group.label,
            f"{group.members[0].parameters:,}",
            *(spread((part(m) for m in group.members), seconds) for part in parts),
        )
        for group in found
    )
    head = ("candidate", "parameters", "data", "training", "tuning", "together", "compile")
    notes = (
        "Data, training and tuning without compiling, which is beside them. The seconds of the stages, below, are all that "
        "passed: compiling, scoring and timing too, and all seeds.",
    )
    return Table("cost", "What it cost before the first run", head, rows, tuple(g.family for g in found), notes)
