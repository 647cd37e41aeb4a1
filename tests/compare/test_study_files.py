"""A study in a folder: strict JSON that loses nothing, one CSV line per measurement and batch, all or nothing on the disc."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
from study_example import HOSTILE, study

from jaxsci.compare import study_page, study_pictures
from jaxsci.compare.study_files import read_study, save_study, study_csv, study_json
from jaxsci.compare.study_json import _plain, _restored
from jaxsci.compare.study_text import study_text


def strict(text):
    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_study(study("quick", hostile=True), tmp_path_factory.mktemp("study") / "deep" / "folder")


def test_every_form_is_written_and_nothing_else(saved):
    assert sorted(p.name for p in saved.iterdir()) == [
        "gallery.npz", "growth.png", "index.html", "measurements.csv", "pareto.png", "results.json", "rollout.png",
    ]  # fmt: skip
    from matplotlib.image import imread

    for name in ("growth", "pareto", "rollout"):
        assert min(imread(saved / f"{name}.png").shape[:2]) > 500
    assert (saved / "index.html").read_text().startswith("<!doctype html>")


def test_json_is_strict_and_tells_what_is_not_finite(saved):
    found = strict((saved / "results.json").read_text())
    assert found["problem"]["name"] == "kolmogorov_flow"
    assert found["problem"]["walls"] == {"x": "periodic", "y": "periodic"}
    verdict = found["verdicts"][2]
    assert verdict["name"] == HOSTILE
    assert verdict["break_even"] == {
        "value": None,
        "low": 41_200.0,
        "high": None,
        "not_finite": {"value": "inf", "high": "inf"},
    }
    assert [v["never"] for v in found["verdicts"]] == [True, True, True, False, True, True]
    resnet = next(m for m in found["measurements"] if m["name"] == "ResNet")
    assert resnet["error"] is None
    assert resnet["starts_blown_up"] == 6
    assert resnet["errors"][:2] == [None, 0.7]
    assert resnet["not_finite"]["errors[0]"] == "inf"
    assert resnet["not_finite"]["error"] == "inf"
    assert "gallery" not in found
    timed = study("quick").measurements[0].seconds
    assert found["measurements"][0]["seconds"] == {"1": timed[1], "64": timed[64]}


def same(a, b):
    """Equal with NaN equal to itself, arrays by value, mappings and records by field."""
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | float):
        return bool(np.array_equal(a, b, equal_nan=True))
    return a == b


def test_a_saved_study_is_read_back(saved):
    report, back = study("quick", hostile=True), read_study(saved)
    for field in dataclasses.fields(report):
        if field.name != "problem":
            assert same(getattr(report, field.name), getattr(back, field.name)), field.name
    assert back.problem.identity == report.problem.identity
    assert back.problem.latex() == report.problem.latex()
    assert study_text(back) == study_text(report)
    assert study_json(back) == study_json(report)
    assert study_csv(back) == study_csv(report)
    assert not same(report.measurements[0], report.measurements[1]), "the comparison can fail"


def test_a_study_that_was_read_can_be_written_again(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(study_pictures, "draw_study", lambda report: {})  # they take long
    again = save_study(read_study(saved), tmp_path)
    for name in ("results.json", "measurements.csv", "index.html"):
        assert (again / name).read_bytes() == (saved / name).read_bytes(), name


def test_what_is_not_finite_survives_in_every_corner():
    values = {
        "a": math.inf, "b": [1.0, math.nan, [-math.inf]], "c": {"d": [math.inf], "e[2]": [0.0, math.inf]}, "f": None,
        "g": (True, 3, "x"), "h": [{"i": math.nan}],
    }  # fmt: skip
    plain = _plain(values)
    strict(json.dumps(plain, allow_nan=False))
    assert plain["not_finite"] == {"a": "inf", "b[1]": "nan", "b[2][0]": "-inf"}
    back = _restored(json.loads(json.dumps(plain)))
    assert same(back, values | {"g": [True, 3, "x"]})


def test_a_setting_of_another_kind_becomes_its_text():
    report = dataclasses.replace(study("quick"), settings={"path": complex(1, 2), "n": np.int64(3), "x": np.float32(0.5)})
    assert strict(study_json(report))["settings"] == {"path": "(1+2j)", "n": 3, "x": 0.5}


def test_csv_has_a_line_per_measurement_and_batch():
    report = study("quick", hostile=True)
    rows = list(csv.DictReader(study_csv(report).splitlines()))
    assert len(rows) == 2 * len(report.measurements)
    assert {row["batch"] for row in rows} == {"1", "64"}
    first, m = rows[1], report.measurements[0]
    assert (first["name"], first["detail"], first["batch"]) == ("ETDRK4", "n = 12, dt = 1/6", "64")
    assert float(first["error"]) == m.error
    assert float(first["seconds"]) == m.seconds[64]
    assert float(first["error_of_start_3"]) == m.errors[3]
    assert float(first["error_at_t=1"]) == m.growth[-1]
    assert first["gradient_error"] == ""
    assert first["seed"] == ""
    resnet = next(row for row in rows if row["name"] == "ResNet")
    assert (resnet["error"], resnet["starts_blown_up"], resnet["seed"]) == ("inf", "6", "0")
    assert any(row["name"] == HOSTILE for row in rows)


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    monkeypatch.setattr(study_pictures, "draw_study", lambda report: {"pareto": b"new"})
    monkeypatch.setattr(study_page, "study_page", lambda report: "new")
    save_study(study("quick"), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken(report):
        raise RuntimeError("no picture today")

    monkeypatch.setattr(study_page, "study_page", broken)
    with pytest.raises(RuntimeError, match="no picture today"):
        save_study(study("quick", hostile=True), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    with pytest.raises(RuntimeError):
        save_study(study("quick"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_failing_disc_leaves_no_rubbish(tmp_path, monkeypatch):
    monkeypatch.setattr(study_pictures, "draw_study", lambda report: {})
    monkeypatch.setattr(study_page, "study_page", lambda report: "new")

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_study(study("quick"), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_told_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file; give a folder"):
        save_study(study("quick"), tmp_path / "file")
    with pytest.raises(TypeError, match="takes a StudyReport, got 3"):
        save_study(3, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no results\.json; give the folder of a saved study"):
        read_study(tmp_path)
    for name in ("results.json", "gallery.npz"):
        (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_study(tmp_path)
    (tmp_path / "results.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="has the format 'other', this reads 'jaxsci study 1'"):
        read_study(tmp_path)
    (tmp_path / "results.json").write_text('{"format": "jaxsci study 1"}')
    with pytest.raises(ValueError, match="is not a NumPy archive"):
        read_study(tmp_path)
    np.savez(tmp_path / "gallery.npz", title=np.array("u"))
    with pytest.raises(ValueError, match="cannot be read"):
        read_study(tmp_path)
