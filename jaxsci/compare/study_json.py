"""A study as strict JSON and back: every number, nothing lost, and no NaN in the file.

JSON has no NaN and no infinity. Where one stood there is null, and the object that holds it gets a field "not_finite" that says
which: ``{"low": 9000.0, "high": null, "not_finite": {"high": "inf"}}``; in a list, ``{"errors[3]": "inf"}``.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsci.compare.problem_record import SavedProblem, describe
from jaxsci.compare.study_report import Gallery, Interval, Measurement, Shift, StudyReport, Verdict

FORMAT = "jaxsci study 1"
_PLACES = re.compile(r"(\[\d+\])*")


def to_dict(report: StudyReport) -> dict[str, Any]:
    """What results.json holds: everything but the gallery. Null stands for NaN and infinity, see "not_finite"."""
    return _plain({
        "format": FORMAT,
        "name": report.name,
        "problem": describe(report.problem),
        "settings": report.settings,
        "ts": report.ts,
        "truth": report.truth,
        "truth_error": report.truth_error,
        "measurements": [_measurement(m) for m in report.measurements],
        "verdicts": [_verdict(v) for v in report.verdicts],
        "shifts": [{"name": s.name, "errors": s.errors, "reasons": s.reasons} for s in report.shifts],
        "environment": report.environment,
        "notes": report.notes,
    })  # fmt: skip


def from_dict(record: Mapping[str, Any], gallery: Gallery) -> StudyReport:
    """The report of `to_dict`, whose pictures are given."""
    record = _restored(record)
    return StudyReport(
        name=record["name"],
        problem=SavedProblem(record["problem"]),
        settings=record["settings"],
        ts=np.asarray(record["ts"], float),
        truth=record["truth"],
        truth_error=record["truth_error"],
        measurements=tuple(map(_measurement_of, record["measurements"])),
        verdicts=tuple(map(_verdict_of, record["verdicts"])),
        shifts=tuple(
            Shift(s["name"], {k: np.asarray(v, float) for k, v in s["errors"].items()}, s["reasons"])
            for s in record["shifts"]
        ),
        gallery=gallery,
        environment=record["environment"],
        notes=tuple(record["notes"]),
    )


def _measurement(m: Measurement) -> dict[str, Any]:
    fields = {field.name: getattr(m, field.name) for field in dataclasses.fields(m)}
    return fields | {"error": m.error, "starts_blown_up": int(np.sum(~np.isfinite(m.errors)))}


def _measurement_of(record: Mapping[str, Any]) -> Measurement:
    fields = {field.name: record[field.name] for field in dataclasses.fields(Measurement)}
    for name in ("errors", "growth"):
        fields[name] = np.asarray(fields[name], float)
    for name in ("seconds", "cpu_seconds"):
        fields[name] = {int(batch): value for batch, value in fields[name].items()}
    return Measurement(**fields)


_INTERVALS = ("error", "speed_ratio", "error_ratio", "break_even")


def _verdict(v: Verdict) -> dict[str, Any]:
    fields = {field.name: getattr(v, field.name) for field in dataclasses.fields(v)}
    fields |= {name: fields[name]._asdict() for name in _INTERVALS}
    return fields | {"never": v.break_even.value == math.inf}


def _verdict_of(record: Mapping[str, Any]) -> Verdict:
    fields: dict[str, Any] = {field.name: record[field.name] for field in dataclasses.fields(Verdict)}
    for name in _INTERVALS:
        fields[name] = Interval(**fields[name])
    return Verdict(**fields)


# --- NaN and infinity ----------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """As JSON values; what is none becomes its text, so that no setting can lose a report."""
    if isinstance(value, Mapping):
        made = {str(k): _plain(v) for k, v in value.items()}
        lost: dict[str, str] = {}
        for key, held in made.items():
            made[key] = _without(held, key, lost)
        return made | ({"not_finite": lost} if lost else {})
    if hasattr(value, "tolist"):  # NumPy and JAX
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _without(value: Any, path: str, lost: dict[str, str]) -> Any:
    """Null for what is not finite, in lists of lists too, with its place in `lost`."""
    if isinstance(value, list):
        return [_without(v, f"{path}[{i}]", lost) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        lost[path] = str(value)
        return None
    return value


def _restored(value: Any) -> Any:
    """The inverse."""
    if isinstance(value, list):
        return [_restored(v) for v in value]
    if not isinstance(value, Mapping):
        return value
    made = {k: _restored(v) for k, v in value.items() if k != "not_finite"}
    for path, text in value.get("not_finite", {}).items():
        name = max((k for k in made if path.startswith(k) and _PLACES.fullmatch(path[len(k) :])), key=len)
        places = re.findall(r"\d+", path[len(name) :])
        holder, at = made, name
        for place in places:
            holder, at = holder[at], int(place)
        holder[at] = float(text)
    return made
