"""A whole study of a small problem, its record, and what is refused."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare import study as study_module
from jaxsci.compare.study import Study, run_study
from jaxsci.compare.study_data import made_runs
from jaxsci.compare.study_record import NotRecordable, StudyRecord, decoded, encoded
from jaxsci.networks.fno import FNO
from jaxsci.surrogates.network_surrogate import NetworkSurrogate
from jaxsci.surrogates.ridge import Ridge
from jaxsci.surrogates.training import Training

BOX = js.Box(t=(0, 1), x=(0, 2 * np.pi))
FITS = []


def family(key):
    """Nine waves, carried along: a grid of n points keeps those below n / 2, and those exactly."""
    terms = {"coefficients": {"speed": 1.0}, "initial": {"u": 0}, "boundary": {"x": js.Periodic()}}
    problem = js.Problem(js.problems.advection().equation, BOX, **terms, name="waves")
    return problem.with_initial(u=js.problems.random_fourier_series(key, BOX, cutoff=9, rms=1.0))


@dataclasses.dataclass(frozen=True)
class Counted:
    """Ridge regression, which says that it was fitted."""

    name: str

    def fit(self, data, *, key=None, budget=None, progress=None):
        FITS.append((self.name, budget))
        return Ridge(penalty=1e-3).fit(data)


@dataclasses.dataclass(frozen=True)
class Broken:
    """Cannot be fitted."""

    def fit(self, data, **others):
        raise ValueError("no such luck")


SMALL = Study(
    name="small", family=family, truth=js.Spectral(n=32, dt=1 / 8), ladder=(8, 10, 12, 16, 20), n=24, dt=0.25, steps=3,
    surrogates={"linear": Counted("linear"), "broken": Broken()}, training_runs=6, probes=2, starts=4, seeds=2, batches=(2,),
    quick=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A study, the folder of its record, and what it said."""
    folder, said = tmp_path_factory.mktemp("record"), []
    FITS.clear()
    report = run_study(SMALL, folder=folder, progress=said.append, budget=30.0)
    return report, folder, said, tuple(FITS)


def test_a_report_has_all_rungs_baselines_and_seeds(ran):
    report, _, _, fits = ran
    families = {f: {m.name for m in report.measurements if m.family == f} for f in ("solver", "baseline", "surrogate")}
    assert families == {"solver": {"ETDRK4"}, "baseline": {"persistence", "mean", "ridge", "DMD"}, "surrogate": {"linear"}}
    assert {m.resolution for m in report.measurements if m.family == "solver"} == set(SMALL.ladder)
    assert [m.seed for m in report.measurements if m.family == "surrogate"] == [0, 1]
    assert [name for name, _ in fits] == ["linear", "linear"]
    assert all(budget <= 30 for _, budget in fits)
    for m in report.measurements:
        assert m.errors.shape == (4,)
        assert m.growth.shape == (3,)
        assert set(m.seconds) == set(m.cpu_seconds) == {2}
        assert all(t > 0 for t in m.seconds.values())


def test_the_rungs_converge_to_the_truth(ran):
    report = ran[0]
    best = {n: min(m.error for m in report.measurements if m.family == "solver" and m.resolution == n) for n in SMALL.ladder}
    assert best[8] > best[12] > best[16] > 1e-2
    assert best[20] < 1e-5
    assert report.truth_error < 1e-12


def test_verdicts_gallery_notes_and_settings(ran):
    report = ran[0]
    assert [(v.name, v.batch) for v in report.verdicts] == [("linear", 2)]
    surrogate = [m for m in report.measurements if m.family == "surrogate"]
    assert report.verdicts[0].error.value == pytest.approx(np.mean([m.errors for m in surrogate]))
    assert report.verdicts[0].upfront_seconds == pytest.approx(
        np.mean([m.data_seconds + m.training_seconds for m in surrogate])
    )
    assert surrogate[0].data_seconds > 0
    assert any("quick study" in note for note in report.notes)
    assert any("broken could not be fitted: no such luck" in note for note in report.notes)
    assert any("No tuning is counted" in note for note in report.notes)
    assert report.gallery.truth.shape == (4, 24)
    assert {"linear", "persistence"} < set(report.gallery.fields)
    assert all(f.shape == (4, 24) for f in report.gallery.fields.values())
    assert report.gallery.fields["persistence"][3] == pytest.approx(report.gallery.truth[0], abs=1e-5)
    json.dumps(report.settings)


def test_progress_is_told_of_every_stage(ran):
    said = "\n".join(ran[2])
    for word in ("data:", "truth: its own error", "ladder: n = 8", "linear, seed 1: error", "timing:", "verdicts"):
        assert word in said


def test_a_finished_study_is_read_from_its_record(ran, monkeypatch):
    report, folder, _, _ = ran
    FITS.clear()
    for name in ("made_runs", "scored_starts", "ladder", "rollouts", "time_in_turns"):
        monkeypatch.setattr(study_module, name, lambda *a, **k: pytest.fail("a finished stage was run again"))
    again = run_study(SMALL, folder=folder, resume=True)
    assert [name for name, _ in FITS] == []
    assert repr(again.verdicts) == repr(report.verdicts)
    assert repr(again.measurements) == repr(report.measurements)


def test_a_stage_that_is_missing_is_run_alone(ran, monkeypatch):
    report, folder, _, _ = ran
    (folder / "seconds.npz").unlink()
    monkeypatch.setattr(study_module, "rollouts", lambda *a, **k: pytest.fail("a finished stage was run again"))
    FITS.clear()
    again = run_study(SMALL, folder=folder, resume=True)
    assert FITS == []
    assert [m.error for m in again.measurements] == [m.error for m in report.measurements]


def test_another_study_or_none_is_refused_in_its_folder(ran):
    _, folder, _, _ = ran
    with pytest.raises(ValueError, match="resume=True"):
        run_study(SMALL, folder=folder)
    with pytest.raises(ValueError, match="another study: its steps"):
        run_study(dataclasses.replace(SMALL, steps=4), folder=folder, resume=True)
    with pytest.raises(ValueError, match="its key"):
        run_study(SMALL, seed=1, folder=folder, resume=True)
    with pytest.raises(ValueError, match="needs the folder"):
        run_study(SMALL, resume=True)


def test_a_report_of_a_surrogate_without_the_solvers_rungs_cannot_be_made(ran):
    report = ran[0]
    fewer = tuple(m for m in report.measurements if m.resolution != 8 or m.family != "solver")
    with pytest.raises(ValueError, match="the solver is there at 4 resolutions"):
        dataclasses.replace(report, measurements=fewer)
    dataclasses.replace(report, measurements=tuple(m for m in fewer if m.family != "surrogate"))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ladder": (8, 10, 12, 16)}, "the ladder needs 5 grids"),
        ({"ladder": (8, 8, 10, 12, 16)}, "the ladder needs 5 grids"),
        ({"ladder": (8, 10, 12, 16, 32)}, "must be finer than the ladder"),
        ({"truth": js.Spectral(n=32)}, "truth must be js.Spectral"),
        ({"surrogates": {}}, "there is no surrogate"),
        ({"surrogates": {"ridge": Ridge()}}, "'ridge' is given twice"),
        ({"quick": False}, "need 16 starts or more, got 4; quick=True"),
        ({"quick": False, "starts": 16}, "need 3 seeds or more, got 2"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"batches": ()}, "batches must be"),
        ({"tuning": {"FNO": 3.0}}, "tuning names 'FNO'"),
        ({"budget": 0}, "budget is seconds"),
        ({"family": None}, "family must be a function"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, what):
    with pytest.raises(ValueError, match=what):
        dataclasses.replace(SMALL, **changes)


def test_a_ladder_that_cannot_be_solved_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(study_module, "ladder", lambda *a, **k: ([], ["no rung"]))
    run = study_module._Run(SMALL, 0, None, False, None)
    with pytest.raises(ValueError, match="only 0 grids of the ladder"):
        run.clocks([], None)


# --- the record ----------------------------------------------------------------------------------------------------------------


def test_training_runs_may_come_from_a_file(tmp_path):
    path = str(tmp_path / "runs.h5")
    keys = jax.random.split(jax.random.key(5), 5)
    made = js.surrogates.simulate(family, keys, SMALL.truth, n=SMALL.n, dt=SMALL.dt, steps=6).data
    js.surrogates.write_trajectories(path, made)
    study = dataclasses.replace(SMALL, data=path, training_runs=4)
    found = made_runs(study, keys, lambda text: None)
    np.testing.assert_array_equal(found["fields"], np.asarray(made.fields)[:4, : SMALL.steps + 1])
    assert found["seconds"] == 0
    with pytest.raises(ValueError, match=r"saves are 0\.25 apart, those of the study 0\.5"):
        made_runs(dataclasses.replace(study, dt=0.5), keys, print)
    with pytest.raises(ValueError, match=r"grid has \(24,\) intervals, that of the study 16; set n"):
        made_runs(dataclasses.replace(study, n=16), keys, print)


def test_what_fails_before_its_first_stage_leaves_no_folder(tmp_path):
    def fails():
        raise ValueError("no")

    record = StudyRecord(tmp_path / "record", {"name": "x"}, False)
    with pytest.raises(ValueError, match="no"):
        record.stage("data", fails)
    assert not list(tmp_path.iterdir())
    assert StudyRecord(tmp_path / "record", {"name": "y"}, False).stage("data", lambda: 1) == 1
    with pytest.raises(ValueError, match="the record of another study: its name"):
        StudyRecord(tmp_path / "record", {"name": "x"}, True)


def test_values_come_back_from_a_record_as_they_were():
    value = {
        "a": [1, 2.5, None, "text", True, math.inf], 7: (np.arange(3.0), jax.numpy.ones((2, 2))),
        "rule": FNO(modes=(3,), channels=4), "training": Training(steps=3, unroll=((0.0, 1), (0.5, 2))), "stage": Counted("x"),
    }  # fmt: skip
    arrays = {}
    shape = json.loads(json.dumps(encoded(value, arrays)))
    found = decoded(shape, arrays)
    assert found["a"] == value["a"]
    assert found["rule"] == value["rule"]
    assert found["training"] == value["training"]
    assert found["stage"] == value["stage"]
    assert isinstance(found[7], tuple)
    assert found[7][0] == pytest.approx(np.arange(3.0))


def test_what_cannot_be_recorded_is_computed_again(tmp_path):
    with pytest.raises(NotRecordable, match="no name of its own"):
        encoded(lambda: 0, {})
    record, calls, said = StudyRecord(tmp_path, {"name": "x"}, False), [], []
    for _ in range(2):
        record.stage("odd", lambda: calls.append(0) or (lambda: 0), said.append)
        record.stage("plain", lambda: calls.append(1) or 3)
    assert calls == [0, 1, 0]
    assert "not recorded" in said[0]


def test_a_record_runs_nothing_that_it_names(tmp_path):
    with pytest.raises(ValueError, match="is no dataclass"):
        decoded({"class": "os:system", "fields": {"command": "true"}}, {})
    with pytest.raises(ValueError, match="not there"):
        decoded({"class": "no_such_module:Thing", "fields": {}}, {})


@pytest.mark.slow
def test_a_network_is_trained_recorded_and_read_back(tmp_path):
    network = NetworkSurrogate(FNO(modes=(3,), channels=4, layers=1), training=Training(steps=3, batch=2))
    study = dataclasses.replace(SMALL, surrogates={"FNO": network}, starts=2, seeds=2, batches=(1,))
    run = study_module._Run(study, 0, tmp_path, False, None)
    data, seconds = run.training_data()
    first = run.learned_surrogates(data, seconds)
    again = study_module._Run(study, 0, tmp_path, True, None).learned_surrogates(data, seconds)
    assert [c.label for c in first] == ["FNO, seed 0", "FNO, seed 1"]
    for a, b in zip(first, again, strict=True):
        assert a.stats == b.stats
        assert a.make.fitted.rule == b.make.fitted.rule
        jax.tree.map(np.testing.assert_array_equal, a.make.fitted.parameters, b.make.fitted.parameters)
