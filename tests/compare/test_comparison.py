"""compare(): the same points for all, one failure loses nobody else, and a report that is written whole or not at all."""

import functools
import json
import math
import os

import jax
import numpy as np
import pytest
from conftest import reference

import jaxsci as js
from jaxsci.compare import Row, pictures
from jaxsci.compare.metrics import samples
from jaxsci.problems import CATALOGUE, Cost

HEAT = js.problems.heat()
FINE = js.Spectral(n=16)


class Exactly:
    """A method that is as wrong as it is told to be, and says what it was asked."""

    def __init__(self, factor=1.0, error=None):
        self.factor, self.error, self.asked = factor, error, None

    def solve(self, problem, *, ts=None, key=None, progress=None):
        self.asked = ts, key
        if self.error is not None:
            raise self.error
        progress("at work")
        exact = problem.reference(ts)
        field = jax.tree_util.Partial(lambda *point: self.factor * problem.exact_field(*point))
        cost = Cost(compile_seconds=1.0, training_seconds=2.0, solve_seconds=4.0)
        return js.Solution(problem, exact.ts, exact.grid, exact.fields * self.factor, field, np.float64(math.nan), {}, cost)

    def __repr__(self):
        return f"Exactly({self.factor})"


@functools.cache
def report():
    """Two methods of different accuracy and two that fail, by <hostile> names."""
    methods = {
        "coarse": Exactly(1.001),
        "fine": FINE,
        "no <b>such</b> & $x_{$": Exactly(error=ValueError("it cannot <i>be</i> done")),
        "_broken": Exactly(error=RuntimeError("out of memory")),
    }
    return js.compare(HEAT, methods)


# --- rows ------------------------------------------------------------------------------------------------------------------


def test_rows_hold_the_errors_and_the_whole_cost():
    made = Exactly(1.25)
    lines = []
    row = js.compare(HEAT, {"off by a quarter": made}, key=jax.random.key(3), progress=lines.append).rows[0]
    assert row.error == pytest.approx(0.25)
    assert row.max_error == pytest.approx(0.25)
    assert math.isnan(row.error_estimate)
    assert (row.compile_seconds, row.training_seconds, row.solve_seconds, row.total_seconds) == (1.0, 2.0, 4.0, 7.0)
    assert row.evaluations_per_second > 0
    assert row.method == "Exactly(1.25)"
    ts, key = made.asked
    np.testing.assert_allclose(ts, HEAT.times)
    assert key == jax.random.key(3)
    assert [line.split(",")[0].split(" after")[0] for line in lines] == [
        "reference: computing the certified one", f"reference: done in {lines[1].split()[3]} s", "off by a quarter: started",
        "off by a quarter: at work", "off by a quarter: error 2.5e-01",
    ]  # fmt: skip


def test_rows_of_real_methods_agree_with_relative_l2():
    rows = {row.name: row for row in report().rows}
    assert list(rows) == ["coarse", "fine", "no <b>such</b> & $x_{$", "_broken"]
    for name in ("coarse", "fine"):
        assert rows[name].error == pytest.approx(js.relative_l2(report().solutions[name], reference("heat")), rel=1e-9)
        assert rows[name].total_seconds == report().solutions[name].cost.total_seconds
    assert rows["coarse"].error == pytest.approx(1e-3)
    assert rows["fine"].error < 1e-10


def test_a_failing_method_loses_nobody_else_and_says_why():
    rows = report().rows
    assert [row.failure for row in rows] == ["", "", "it cannot <i>be</i> done", "RuntimeError: out of memory"]
    assert math.isnan(rows[2].error)
    assert list(report().solutions) == ["coarse", "fine"]


def test_a_solution_that_is_not_finite_is_a_failure():
    row = js.compare(HEAT, {"nan": Exactly(float("nan"))}).rows[0]
    assert row.failure == "the solution is not finite"


def test_what_is_no_method_is_a_failure_that_names_the_methods():
    row = js.compare(HEAT, {"oops": "spectral"}).rows[0]
    assert "str is no method. Use js.Spectral" in row.failure


def test_an_error_below_the_references_own_is_reported_as_no_more_than_that():
    def text(error, failure=""):
        return Row("m", "M()", error, 0.0, 1e-12, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, failure).error_text

    assert text(3e-13) == "<= 1e-12"
    assert text(1e-12) == "<= 1e-12"
    assert text(1.2e-12) == "1.2e-12"
    assert text(math.nan, "why") == "failed"


def test_the_table_prints_every_method_once_and_the_reasons_below():
    lines = str(report()).splitlines()
    assert lines[0].split()[:3] == ["method", "rel.", "L2"]
    assert [line.split()[0] for line in lines[2:6]] == ["coarse", "fine", "no", "_broken"]
    assert "_broken failed: RuntimeError: out of memory" in lines
    assert lines[-1] == f"Errors against the certified reference (own error {float(reference('heat').error_estimate):.0e})."
    assert len({len(line) for line in lines[:6]}) == 1, "columns line up"


# --- references ------------------------------------------------------------------------------------------------------------


def test_samples_are_scored_at_their_own_points_and_times():
    made = Exactly(2.0)
    points = np.array([[0.25, 0.5], [0.25, 0.1], [0.75, 0.3]])
    truth = samples(reference("heat"), points)
    out = js.compare(HEAT, {"double": made}, reference=truth, reference_name="three points")
    np.testing.assert_allclose(made.asked[0], [0, 0.25, 0.75])
    assert out.rows[0].error == pytest.approx(1.0)
    assert out.reference == "three points"
    assert out.rows[0].floor == 0.0


def test_a_given_solution_brings_its_own_floor():
    out = js.compare(HEAT, {"exact": Exactly()}, reference=report().solutions["fine"])
    estimate = float(report().solutions["fine"].error_estimate)
    assert out.rows[0].floor == estimate
    assert out.reference == f"the given solution (own error {estimate:.0e})"


def test_a_reference_that_is_not_finite_is_refused():
    bad = samples(reference("heat"), np.array([[0.25, 0.5]]))._replace(values=np.array([[np.nan]]))
    with pytest.raises(ValueError, match=r"heat: the reference is not finite; are the coefficients those of a well-posed"):
        js.compare(HEAT, {"exact": Exactly()}, reference=bad)


# --- what is written -------------------------------------------------------------------------------------------------------


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_save_writes_the_page_the_pictures_and_the_numbers(tmp_path):
    folder = report().save(tmp_path / "a" / "report")
    assert folder == tmp_path / "a" / "report"
    assert sorted(contents(folder)) == ["cost.png", "fields.png", "index.html", "results.json"]
    assert all(contents(folder)[name].startswith(b"\x89PNG") for name in ("cost.png", "fields.png"))
    assert [path.name for path in folder.parent.iterdir()] == ["report"], "no temporary folder is left"


def test_results_json_holds_the_rows_the_problem_and_the_environment(tmp_path):
    folder = report().save(tmp_path / "report")
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    assert found["problem"]["name"] == "heat"
    assert found["problem"]["identity"] == HEAT.identity
    assert found["problem"]["coefficients"] == {"diffusivity": 0.4}
    assert found["problem"]["domain"] == {"t": [0, 1], "x": [0, 1]}
    assert found["points"] == 51 * 257
    assert found["environment"]["precision"] == "float64"
    assert found["environment"]["versions"]["jax"] == jax.__version__
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["coarse"]["error"] == report().rows[0].error
    assert rows["_broken"]["error"] is None  # NaN is no JSON
    assert rows["_broken"]["failure"] == "RuntimeError: out of memory"


def test_saving_again_replaces_the_report_and_nothing_else(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "index.html").write_text("old")
    report().save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "index.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize("broken", ["page", "picture", "write"])
def test_an_error_in_the_middle_leaves_what_was_there(tmp_path, monkeypatch, broken):
    def fail(*_):
        raise OSError("no space left")

    folder = tmp_path / "deep" / "report"
    if broken == "write":  # the second of the four files cannot be written
        real, count = type(tmp_path).write_bytes, iter(range(9))
        monkeypatch.setattr(type(tmp_path), "write_bytes", lambda self, data: fail() if next(count) else real(self, data))
    else:
        monkeypatch.setattr("jaxsci.compare.page.page" if broken == "page" else "jaxsci.compare.pictures.draw", fail)
    with pytest.raises(OSError, match="no space left"):
        report().save(folder)
    assert not folder.exists()
    if broken != "write":
        assert not folder.parent.exists()
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("old")
    with pytest.raises(OSError, match="no space left"):
        report().save(folder)
    assert contents(folder) == {"index.html": b"old"}
    assert os.listdir(folder.parent) == ["report"]


def test_a_file_in_the_way_is_an_error_and_stays(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(NotADirectoryError, match="report is a file; give a folder to write the report to"):
        report().save(tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_without_matplotlib_the_cure_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'Pictures need matplotlib\. Install it with: pip install "jaxsci\[plot\]"'):
        report().save(tmp_path / "report")
    assert not (tmp_path / "report").exists()


# --- pictures --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_catalogued_equation_can_be_drawn(name):
    svg = pictures.equation_svg(CATALOGUE[name].build().latex())
    assert svg.startswith("<svg")
    assert svg.count("<path") > 5


def grid_report(problem, shape):
    """A report on made-up samples: pictures need shapes, not solutions."""
    axes = [np.linspace(*problem.domain[name], n) for name, n in zip(problem.coordinates, shape, strict=True)]
    points = np.stack([m.ravel() for m in np.meshgrid(*axes, indexing="ij")], axis=-1)
    truth = js.compare.Samples(points, np.sin(points.sum(axis=1))[:, None], problem.unknowns[:1], tuple(shape))
    row = Row("m", "M()", 1e-3, 1e-3, 0.0, math.nan, 0.0, 0.0, 1.0, 1.0, 1.0)
    return js.compare.Report(problem, "r", (row,), truth, {"m": truth.values * 1.001}, {}, {})


BEAM = js.Equation(lambda u: u.xx - u, name="beam")
BOX_3D = js.Equation(lambda u: u.t - u.xx - u.yy - u.zz, name="heat_3d")
SHAPES = {
    "space and time": (HEAT, (4, 5)),
    "steady, one axis": (js.Problem(BEAM, js.Box(x=(0, 1)), boundary={"x": js.Dirichlet(1)}), (7,)),
    "steady, two axes": (js.problems.poisson(), (4, 5)),
    "two axes and time": (js.problems.vortex_mixing(), (2, 4, 5)),
    "three axes and time": (
        js.Problem(BOX_3D, js.Box(t=(0, 1), x=(0, 1), y=(0, 1), z=(0, 1)), initial={"u": 0}), (2, 3, 4, 5),
    ),
    "time alone": (js.problems.lorenz(), (6,)),
    "one time": (HEAT, (1, 5)),
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_fields_of_every_shape_are_drawn(case):
    made = grid_report(*SHAPES[case])
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.draw(made).values())


def test_scattered_points_exact_agreement_and_no_result_at_all_are_drawn():
    made = grid_report(*SHAPES["space and time"])
    scattered = made.truth._replace(shape=None)
    equal = {"m": made.truth.values}
    failed = Row("m", "M()", *[math.nan] * 9, "why")
    for changed in ({"truth": scattered}, {"values": equal}, {"rows": (failed,), "values": {}}):
        assert pictures.draw(js.compare.Report(**(vars(made) | changed)))["fields"].startswith(b"\x89PNG")


def test_a_field_is_drawn_where_its_points_are():
    heat = HEAT
    uneven = np.array([0.0, 0.1, 0.5])  # of a domain that ends at 1
    points = np.stack([m.ravel() for m in np.meshgrid(uneven, [0.0, 0.25, 1.0], indexing="ij")], axis=-1)
    truth = js.compare.Samples(points, points[:, :1], ("u",), (3, 3))
    figure = pictures._images(js.compare.Report(heat, "r", (), truth, {}, {}, {}))
    corners = figure.axes[0].collections[0].get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], [0, 0.05, 0.3, 0.5])  # cells end half-way to the neighbour
    np.testing.assert_allclose(corners[:, 0, 1], [0, 0.125, 0.625, 1])
