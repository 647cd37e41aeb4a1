"""A study in a folder: index.html, results.json, measurements.csv, gallery.npz and pictures, and back from there."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxsci.compare.report_folder import writable_folder, write_files
from jaxsci.compare.study_json import FORMAT, from_dict, to_dict
from jaxsci.compare.study_report import Gallery, Measurement, StudyReport
from jaxsci.compare.study_tables import batches


def save_study(report: StudyReport, folder: str | Path) -> Path:
    """Write a study in all its forms: one page to read, and its numbers and pictures beside it.

    ``index.html`` holds everything that it shows. ``results.json`` is strict JSON with all but the fields (null for NaN and
    infinity, the field "not_finite" tells them apart), ``measurements.csv`` one line per measurement and batch size,
    ``gallery.npz`` the fields of the pictures, and ``pareto.png``, ``growth.png``, ``rollout.png`` are for slides.
    All is made first and written under other names, so that a failure leaves what was there before.

    Args:
      report: of a study.
      folder: where to; made where it does not exist. Files of other names are left alone.
    Returns:
      The folder.
    Raises:
      TypeError: something else than a `StudyReport`.
      ImportError: matplotlib, which draws the pictures, is not installed.
      NotADirectoryError: there is a file of that name.
    Example:
      >>> from jaxsci.compare.study_files import save_study
      >>> save_study("results", "folder")
      Traceback (most recent call last):
      TypeError: save_study takes a StudyReport, got 'results'; make one with jaxsci.compare.run_study.
    """
    from jaxsci.compare.study_page import study_page
    from jaxsci.compare.study_pictures import draw_study

    if not isinstance(report, StudyReport):
        raise TypeError(f"save_study takes a StudyReport, got {report!r}; make one with jaxsci.compare.run_study.")
    target = writable_folder(folder)
    contents = {f"{name}.png": picture for name, picture in draw_study(report).items()}
    contents["gallery.npz"] = _gallery_bytes(report.gallery)
    contents["measurements.csv"] = study_csv(report).encode()
    contents["results.json"] = study_json(report).encode()
    contents["index.html"] = study_page(report).encode()  # last: a folder with a new page has new numbers too
    write_files(target, contents)
    return target


def read_study(folder: str | Path) -> StudyReport:
    """A study that `save_study` wrote, to be printed, drawn or written again.

    Its ``problem`` can tell its name, identity and formulas, but not be solved: a file holds no functions.

    Raises:
      FileNotFoundError: the folder has no results.json or no gallery.npz.
      ValueError: they are not what `save_study` writes.
    Example:
      >>> from jaxsci.compare.study_files import read_study
      >>> read_study("no such folder")
      Traceback (most recent call last):
      FileNotFoundError: no such folder has no results.json; give the folder of a saved study.
    """
    folder = Path(folder)
    for name in ("results.json", "gallery.npz"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}; give the folder of a saved study.")
    try:
        record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'results.json'} is not JSON ({error}); was it written by hand?") from None
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise ValueError(f"{folder / 'results.json'} has the format {found!r}, this reads {FORMAT!r}; save the study again.")
    if not zipfile.is_zipfile(folder / "gallery.npz"):
        raise ValueError(f"{folder / 'gallery.npz'} is not a NumPy archive; save the study again.")
    try:
        return from_dict(record, _gallery_of(folder / "gallery.npz"))
    except (KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder}: a part of the study cannot be read ({error}); save the study again.") from None


def study_json(report: StudyReport) -> str:
    """The text of results.json."""
    return json.dumps(to_dict(report), indent=1, allow_nan=False, ensure_ascii=False)


def study_csv(report: StudyReport) -> str:
    """One line per measurement and batch size: a blown-up error is "inf", what does not exist is empty."""
    metrics = list(dict.fromkeys(name for m in report.measurements for name in m.metrics))
    starts = max((m.errors.size for m in report.measurements), default=0)
    saves = len(report.ts)
    plain = ("name", "family", "detail", "resolution", "dt", "seed")
    costs = ("compile_seconds", "data_seconds", "training_seconds", "tuning_seconds", "parameters", "cut_short")
    head = [*plain, "batch", "error", "starts", "starts_blown_up", "seconds", "cpu_seconds", *costs, *metrics,
            *(f"error_of_start_{i}" for i in range(starts)), *(f"error_at_t={float(t):.10g}" for t in report.ts)]  # fmt: skip
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for m in report.measurements:
        for batch in batches(report):
            if batch not in m.seconds:
                continue
            writer.writerow(map(_cell, (
                *(getattr(m, name) for name in plain), batch, m.error, m.errors.size, _blown(m), m.seconds[batch],
                m.cpu_seconds.get(batch), *(getattr(m, name) for name in costs), *(m.metrics.get(name) for name in metrics),
                *_padded(m.errors, starts), *_padded(m.growth, saves),
            )))  # fmt: skip
    return out.getvalue()


def _blown(m: Measurement) -> int:
    return int(np.sum(~np.isfinite(m.errors)))


def _padded(values: np.ndarray, size: int) -> list[Any]:
    return [*map(float, values), *[None] * (size - len(values))]


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return value if isinstance(value, str | int) else repr(float(value))


def _gallery_bytes(gallery: Gallery) -> bytes:
    """Names as one array, so that no name becomes a file's."""
    arrays: dict[str, Any] = {
        "title": np.array(gallery.title),
        "ts": np.asarray(gallery.ts),
        "axis_names": np.array(list(gallery.axes), dtype=str),
        "truth": np.asarray(gallery.truth),
        "names": np.array(list(gallery.fields), dtype=str),
    }
    arrays |= {f"axis_{i}": np.asarray(axis) for i, axis in enumerate(gallery.axes.values())}
    arrays |= {f"field_{i}": np.asarray(field) for i, field in enumerate(gallery.fields.values())}
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _gallery_of(file: Path) -> Gallery:
    with np.load(file) as held:
        axes = {str(name): held[f"axis_{i}"] for i, name in enumerate(held["axis_names"])}
        fields = {str(name): held[f"field_{i}"] for i, name in enumerate(held["names"])}
        return Gallery(str(held["title"]), held["ts"], axes, held["truth"], fields)
