"""A study as sentences and as text for a terminal: what was found in plain words first, the tables below."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

from jaxsci.compare.study_report import TRAJECTORIES, VALUES, Interval, StudyReport, Verdict
from jaxsci.compare.study_tables import (
    Table,
    apart,
    batches,
    interval,
    number,
    payback,
    percent,
    runs,
    seconds,
    short,
    solver_name,
    tables,
    together,
)  # fmt: skip

WIDTH = 120  # columns of a terminal
_EVEN = "1.0"
_NAME = 44  # of them for the first column, at most


def study_text(report: StudyReport) -> str:
    """The report for a terminal: verdicts in sentences, aligned tables, what it ran on, and what to know.

    No line is longer than 120 columns; a table that would be is cut into several with the same first column.

    Example:
      >>> import jaxsci as js, numpy as np
      >>> from jaxsci.compare.study_report import Gallery, Interval, Measurement, StudyReport, Verdict
      >>> from jaxsci.compare.study_text import study_text
      >>> def made(name, family, n, error, time):
      ...     times = {64: time}
      ...     return Measurement(name, family, "", n, None, None, np.full(16, error), np.full(2, error), times, times, 1.0)
      >>> ladder = tuple(made("ETDRK4", "solver", n, 40 / n**2, n / 2000) for n in (8, 12, 16, 20, 24))
      >>> verdict = Verdict("FNO", 64, Interval(0.12, 0.1, 0.14), Interval(0.5, 0.4, 0.625), "", Interval(3.0, 2.5, 3.6),
      ...                   Interval(np.inf, np.inf, np.inf), 600.0)
      >>> report = StudyReport("a", js.problems.heat(), {}, np.arange(2), "a fine grid", 1e-3,
      ...                      (*ladder, made("FNO", "surrogate", None, 0.12, 0.02)), (verdict,), (),
      ...                      Gallery("u", np.arange(3), {}, np.zeros(3), {}), {})
      >>> print("\\n".join(study_text(report).splitlines()[:2]))
      At the error of FNO (12 %) and batch 64, ETDRK4 is 2.0 (1.6 to 2.5) times faster than the surrogate; the surrogate never
        pays back.
    """
    lines = [_wrap(text) for text in (*lead(report), *others(report))]
    for table in tables(report):
        lines += ["", table.title, *_aligned(table), *(_wrap(note) for note in table.notes)]
    lines += ["", _wrap(f"Truth: {truth_text(report)}")]
    lines += [_wrap(f"Note: {note}") for note in report.notes]
    lines += ["", *(_wrap(f"{name}: {value}") for name, value in ran_on(report))]
    return "\n".join(lines)


# --- sentences -----------------------------------------------------------------------------------------------------------------


def lead(report: StudyReport) -> tuple[str, ...]:
    """One to three sentences: is a surrogate worth it, judged at the largest batch, and does a plain baseline do better."""
    judged = _at_largest_batch(report)
    if not judged:
        return ("No surrogate was judged.",)
    return (*_worth(report, judged), *_beaten(report, judged))


def _beaten(report: StudyReport, judged: list[Verdict]) -> tuple[str, ...]:
    """By the best of the plain baselines."""
    plain = [m for m in report.measurements if m.family == "baseline" and math.isfinite(m.error)]
    best = min(plain, key=lambda m: m.error, default=None)
    worse = [] if best is None else [v for v in judged if v.error.value > best.error]
    if best is None or not worse:
        return ()
    beaten, error = [v.name for v in worse], apart(best.error, min(v.error.value for v in worse))[0]
    who = together(beaten) if len(beaten) < len(judged) or len(judged) == 1 else "every surrogate"
    return (f"The baseline {best.name!r} ({error}) errs less than {who}.",)


def _worth(report: StudyReport, judged: list[Verdict]) -> tuple[str, ...]:
    best = min(judged, key=_rank)
    if len(judged) == 1:
        return (sentence(report, best),)
    solver = solver_name(report)
    known = [v for v in judged if v.error.value > report.truth_error and not math.isnan(v.break_even.value)]
    known = [v for v in known if not _even(report, v)]
    paying = [v.name for v in known if math.isfinite(v.break_even.value)]
    if not paying:
        verb = "pays back" if len(known) == len(judged) else "is known to pay back"
        first = f"None of the {len(judged)} surrogates {verb} against {solver} in batches of {best.batch}."
    elif len(paying) == len(judged):
        first = f"All {len(judged)} surrogates pay back against {solver} in batches of {best.batch}."
    else:
        verb = "pays" if len(paying) == 1 else "pay"
        rest = "do not" if len(known) == len(judged) else "are not known to"
        first = f"{together(paying)} {verb} back against {solver} in batches of {best.batch}; the other surrogates {rest}."
    return first, sentence(report, best)


def others(report: StudyReport) -> tuple[str, ...]:
    """The sentences of all other verdicts, which the lead has no room for."""
    said = lead(report)
    return tuple(dict.fromkeys(text for v in report.verdicts if (text := sentence(report, v)) not in said))


def sentence(report: StudyReport, verdict: Verdict) -> str:
    """One verdict in words: who is faster at equal accuracy, and whether it pays back."""
    name, solver, ratio = verdict.name, solver_name(report), verdict.speed_ratio
    cut = next((m.cut_short for m in report.measurements if m.name == name and m.cut_short), "")
    cut = f", cut short after {cut}" if cut else ""
    error, where = percent(verdict.error.value) + cut, f"batch {verdict.batch}"
    if math.isnan(verdict.error.value):
        return f"{name} has no error at {where}: nothing can be said of its speed."
    if math.isinf(verdict.error.value):
        blown = [float(m.metrics.get("blown_up", math.nan)) for m in report.measurements if m.name == name]
        share = max((b for b in blown if not math.isnan(b)), default=math.nan)
        often = f" ({percent(share)} of the starts)" if share > 0 else ""
        return f"{name} blew up{often}: it has no error at which {solver} could be timed."
    if verdict.error.value <= report.truth_error and report.wording is TRAJECTORIES:
        return (
            f"The error of {name} ({error}) is not above that of the truth itself ({percent(report.truth_error)}): "
            f"at {where} the study cannot tell it from {solver}, and a finer truth is needed."
        )
    bound = verdict.speed_bound
    if report.wording is TRAJECTORIES and bound == "at most":
        pace = _pace_of_the_cheapest(report, verdict, cut)
    else:
        pace = (_pace if report.wording is TRAJECTORIES else _pace_of_values)(name, solver, error, where, ratio, bound)
    after = "whether it pays back cannot be told" if _even(report, verdict) else _payback(verdict)
    return f"{pace}; {after}."


def _even(report: StudyReport, verdict: Verdict) -> bool:
    """A ratio of seconds that is 1 in the digits that are told; of trajectories its interval says so."""
    ratio = verdict.speed_ratio.value
    known = math.isfinite(ratio) and ratio > 0 and report.wording is VALUES
    return known and number(max(ratio, 1 / ratio)) == _EVEN


def _pace_of_values(name: str, solver: str, error: str, where: str, ratio: Interval, bound: str) -> str:
    """Who is faster where the solver may have no coarser form, which would err as much."""
    if not (math.isfinite(ratio.value) and ratio.value > 0):
        return f"{name} errs by {error}; its time at {where} cannot be compared with that of {solver}"
    faster = ratio.value >= 1
    size = number(max(ratio.value, 1 / ratio.value))
    if size == _EVEN:
        return f"{name} errs by {error}, and at {where} is as fast as {solver}, within what can be timed"
    pace = f"{size} times {'faster' if faster else 'slower'}"
    most = ("at least " if faster else "at most ") if bound == "at least" else ""
    than = f"{solver}, which errs more" if bound == "at least" else f"{solver} at that error or a smaller one"
    return f"{name} errs by {error}, and at {where} is {most}{pace} than {than}"


def _pace_of_the_cheapest(report: StudyReport, verdict: Verdict, cut: str) -> str:
    """Who is faster where the rung that takes the least time is more accurate than the surrogate."""
    ratio, where = verdict.speed_ratio.value, f"batch {verdict.batch}"
    able = [m for m in report.measurements if m.family == "solver" and math.isfinite(m.error)]
    cheapest = min(able, key=lambda m: m.seconds[verdict.batch])
    theirs, own = apart(cheapest.error, verdict.error.value)
    rung = f"rung of {solver_name(report)} (n = {cheapest.resolution}, {theirs})"
    start = f"Even the cheapest {rung} is more accurate than {verdict.name} ({own}{cut})"
    if not (math.isfinite(ratio) and ratio > 0):
        return f"{start} at {where}"
    if ratio < 1:
        return f"{start}, and at {where} it is at least {number(1 / ratio)} times faster"
    return f"{start}; at {where} {verdict.name} is at most {number(ratio)} times faster"


def _pace(name: str, solver: str, error: str, where: str, ratio: Interval, bound: str) -> str:
    """Who is faster at the error of the surrogate."""
    known = math.isfinite(ratio.value) and ratio.value > 0
    if bound == "at least":
        start = f"No rung of {solver} is as accurate as {name} ({error})"
        more = f", which at {where} is at least {number(ratio.value)} times faster than one would be"
        return start + more if known and ratio.value >= 1 else f"{start} at {where}"
    at = f"At the error of {name} ({error}) and {where}"
    if not known:
        return f"{at}, the times cannot be compared"
    if ratio.low <= 1 <= ratio.high:
        return f"{at}, neither {solver} nor the surrogate is faster beyond doubt (ratio {interval(ratio, bare=True)})"
    if ratio.value < 1:
        inverse = Interval(*(1 / x if x > 0 else math.inf for x in (ratio.value, ratio.high, ratio.low)))
        return f"{at}, {solver} is {interval(inverse)} times faster than the surrogate"
    return f"{name} is {interval(ratio)} times faster than {solver} at the same error ({error}) and {where}"


def _payback(verdict: Verdict) -> str:
    after, batch = verdict.break_even, verdict.batch
    if math.isnan(after.value):
        return "whether it pays back cannot be told"
    if math.isinf(after.value):
        lucky = math.isfinite(after.low)
        return (
            f"the surrogate never pays back (at best, after {runs(after.low)} runs)"
            if lucky
            else "the surrogate never pays back"
        )
    spent = f"the {seconds(verdict.upfront_seconds)} spent on it"
    if verdict.upfront_seconds == 0:
        return "nothing was spent on it beforehand"
    return f"{spent} pay back after {payback(after, verdict.speed_bound)} runs in batches of {batch}"


def _at_largest_batch(report: StudyReport) -> list[Verdict]:
    largest = max((v.batch for v in report.verdicts), default=0)
    return [v for v in report.verdicts if v.batch == largest]


def _rank(verdict: Verdict) -> tuple[float, ...]:
    """The surrogate's best case first: it pays back soonest, then it is fastest, then most accurate; what blew up is last."""
    big = lambda x: math.inf if math.isnan(x) else x  # noqa: E731
    ratio = verdict.speed_ratio.value
    return big(verdict.break_even.value), -(0.0 if math.isnan(ratio) else ratio), big(verdict.error.value)


def truth_text(report: StudyReport) -> str:
    """What the errors are measured against, and how good it is."""
    if report.wording is VALUES and any(m.family == "solver" and m.error == 0 for m in report.measurements):
        known = f"; it errs by {percent(report.truth_error)}" if report.truth_error > 0 else ""
        return f"{report.truth}, which is its own truth and has no error beside it{known}."
    return f"{report.truth}; its own error is {percent(report.truth_error)}."


def ran_on(report: StudyReport) -> tuple[tuple[str, str], ...]:
    """Machine, precision, versions and load, and the settings, as pairs of texts."""
    return (*flat(report.environment), *flat(report.settings))


def flat(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Plain JSON values as pairs of texts, without what there is none of."""
    known = {name: value for name, value in values.items() if value is not None and value not in ({}, [], ())}
    return tuple((str(name).replace("_", " "), _value(value)) for name, value in known.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "-"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def horizon(report: StudyReport) -> str:
    """How long the rollouts are, and over how many starts."""
    count = max((m.errors.size for m in report.measurements), default=0)
    if report.wording is VALUES:
        return f"{count} inputs; timed in batches of {' and '.join(map(str, batches(report)))}"
    end = f"{float(report.ts[-1]):g}" if len(report.ts) else "-"
    sizes = " and ".join(map(str, batches(report)))
    return f"t = {end} in {len(report.ts)} saves, over {count} starts; timed in batches of {sizes}"


# --- a terminal ----------------------------------------------------------------------------------------------------------------


def _wrap(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, subsequent_indent="  ")


def _aligned(table: Table) -> list[str]:
    """The table's lines; one that is too wide is cut into several."""
    first = [short(row[0], _NAME) for row in table.rows]
    width = max(map(len, [*first, table.head[0]]))
    blocks: list[list[int]] = [[]]
    used = width
    for i in range(1, len(table.head)):
        wide = 2 + _column(table, i)[0]
        if used + wide > WIDTH and blocks[-1]:
            blocks.append([])
            used = width
        blocks[-1].append(i)
        used += wide
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        lines += _block(table, first, width, block)
    return lines


def _column(table: Table, i: int) -> tuple[int, list[str]]:
    """A column's width, and its head in lines that fit: no wider than its cells and its longest word need."""
    cells = max((len(short(row[i], _NAME)) for row in table.rows), default=0)
    width = max(cells, 9, *(min(len(word), _NAME) for word in table.head[i].split()))
    head = [short(line, width) for line in textwrap.wrap(table.head[i], width)] or [""]
    return max(cells, *map(len, head)), head


def _block(table: Table, first: list[str], width: int, columns: list[int]) -> list[str]:
    shaped = [_column(table, i) for i in columns]
    tall = max((len(head) for _, head in shaped), default=1)
    lines = []
    for k in range(tall):
        cells = [([""] * (tall - len(head)) + head)[k].rjust(w) for w, head in shaped]
        lines.append("  ".join([(table.head[0] if k == tall - 1 else "").ljust(width), *cells]).rstrip())
    lines.append("-" * (width + sum(2 + w for w, _ in shaped)))
    for name, row in zip(first, table.rows, strict=True):
        cells = [short(row[i], _NAME).rjust(w) for i, (w, _) in zip(columns, shaped, strict=True)]
        lines.append("  ".join([name.ljust(width), *cells]).rstrip())
    return lines
