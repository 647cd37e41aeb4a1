"""What a study trains on and scores: the user's files, and problems with walls."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare import study as study_module
from jaxsci.compare.shifts import Shifted
from jaxsci.compare.study import Study
from jaxsci.compare.study_checks import check_study
from jaxsci.compare.study_data import made_runs, made_truth
from jaxsci.compare.study_outcome import notes_of, over_budget, truth_text
from jaxsci.surrogates.ridge import Ridge

BOX = js.Box(t=(0, 1), x=(0, 2 * np.pi))
WAVES = js.Problem(
    js.Equation(lambda u, speed: u.t + speed * u.x), BOX, coefficients={"speed": 1.0}, initial={"u": 0},
    boundary={"x": js.Periodic()}, name="waves",
)  # fmt: skip
KEYS = jax.random.split(jax.random.key(5), 12)


@dataclasses.dataclass(frozen=True)
class Linear:
    """Ridge regression under another name."""

    def fit(self, data, *, key=None, budget=None, progress=None):
        return Ridge(penalty=1e-3).fit(data)


def family(key):
    return WAVES.with_initial(u=js.problems.random_fourier_series(key, BOX, cutoff=7, rms=1.0))


STUDY = Study(
    name="small", family=family, truth=js.Spectral(n=32, dt=1 / 8), ladder=(8, 10, 12, 16, 20), n=16, dt=0.25, steps=3,
    surrogates={"linear": Linear()}, training_runs=5, probes=2, starts=4, seeds=2, batches=(2,), quick=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A file of twelve runs on 24 intervals, and what is in it."""
    path = str(tmp_path_factory.mktemp("runs") / "runs.h5")
    made = js.surrogates.simulate(family, KEYS, js.Spectral(n=32, dt=1 / 8), n=24, dt=0.25, steps=4).data
    js.surrogates.write_trajectories(path, made)
    return path, np.asarray(made.fields)


def test_runs_of_the_file_behind_those_of_the_training_are_scored(runs):
    path, fields = runs
    study = dataclasses.replace(STUDY, n=24, ladder=(8, 10, 12, 16, 20), data=path, scored=path)
    found = made_truth(study, KEYS, lambda text: None)
    np.testing.assert_array_equal(found["starts"], fields[5:11, 0])
    np.testing.assert_array_equal(found["truth"], fields[5:11, :4])
    assert found["floor"] < 1e-5  # the solver that made the file
    assert found["numbers"] == {}
    assert found["fixed"]["speed"] == 1


def test_another_file_is_scored_from_its_first_run_on_a_coarser_grid(runs):
    path, fields = runs
    found = made_truth(dataclasses.replace(STUDY, scored=path), KEYS, lambda text: None)
    assert found["starts"].shape == (6, 1, 24)
    np.testing.assert_allclose(found["truth"][:, 0, 0], js.surrogates.resample(fields[:6, 0, 0], (False,), 16), atol=1e-6)


def test_runs_that_blow_up_say_where_to_look():
    def growing(key):
        equation = js.Equation(lambda u, nu: u.t + nu * u.xx, name="backwards")
        start = js.problems.random_fourier_series(key, BOX, cutoff=7, rms=1.0)
        return js.Problem(equation, BOX, coefficients={"nu": 50.0}, initial={"u": start}, boundary={"x": js.Periodic()})

    with pytest.raises(ValueError, match=r"^Study 'small': .*5 of 5 runs .* signs in the equation .* starts, and .* step"):
        made_runs(dataclasses.replace(STUDY, family=growing), KEYS[:5], lambda text: None)


def test_a_budget_that_did_not_suffice_is_said():
    study = dataclasses.replace(STUDY, budget=20.0)
    assert over_budget(study, {"data": 12.0, "fit linear": 11.0}) == []
    (said,) = over_budget(study, {"data": 30.0, "ladder": 38.0})
    assert said.startswith("It took 68 s in the place of the budget's 20 s")
    assert over_budget(STUDY, {"data": 1e6}) == [], "there is none"


def test_a_solver_that_is_far_off_the_file_is_said(runs):
    study = dataclasses.replace(STUDY, scored=runs[0], data=runs[0])
    assert truth_text(study).startswith("runs of ")
    near, far = (notes_of(study, floor, {}, {"speed": np.array([0.5, 2.0])}) for floor in (1e-3, 0.4))
    assert near[0].startswith("Every run has a speed of its own, from 0.5 to 2 where scored")
    assert any("0.1 % off them" in note for note in near)
    assert not any("another equation" in note for note in near)
    assert any("another equation" in note for note in far)
    assert any("the data cost is not counted" in note for note in near)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"n": 24, "training_runs": 8, "data": "same"},
            "holds 12 runs, and 8 to train on and 6 to score are needed: 4 starts",
        ),
        ({"starts": 11}, "holds 12 runs, and 13 to score are needed"),
        ({"steps": 5}, "have 5 saves, and 6 are needed"),
        ({"dt": 0.5}, r"saves are 0\.25 apart, those of the study 0\.5"),
        ({"n": 26}, r"its grid has \(24,\) intervals, and the scores are taken on 26: set n"),
        ({"family": lambda key: family(key).with_coefficients(speed=2.0)}, "its speed is 1, that of the study 2"),
    ],
)
def test_what_does_not_fit_the_file_is_named(runs, changes, said):
    changes = {k: runs[0] if v == "same" else v for k, v in changes.items()}
    with pytest.raises(ValueError, match=said):
        made_truth(dataclasses.replace(STUDY, scored=runs[0], **changes), KEYS, print)


def test_training_runs_of_other_coefficients_are_refused(runs):
    other = dataclasses.replace(STUDY, n=24, data=runs[0], family=lambda key: family(key).with_coefficients(speed=2.0))
    with pytest.raises(ValueError, match="its speed is 1, that of the study 2"):
        made_runs(other, KEYS, print)
    drawn = dataclasses.replace(
        other, family=lambda key: family(key).with_coefficients(speed=jax.random.uniform(key, minval=0.5, maxval=2))
    )
    assert made_runs(drawn, KEYS, lambda text: None)["fixed"]["speed"] == 1


def test_an_equation_that_names_the_time_needs_the_files_times(runs):
    pushed = js.Problem(
        js.Equation(lambda u, t, speed: u.t + speed * u.x + t * u), js.Box(t=(1, 2), x=BOX["x"]), coefficients={"speed": 1.0},
        initial={"u": 0}, boundary={"x": js.Periodic()}, name="pushed",
    )  # fmt: skip
    with pytest.raises(ValueError, match="begin at t = 0, and pushed, which depends on t itself, at 1"):
        made_runs(dataclasses.replace(STUDY, n=24, data=runs[0], family=lambda key: pushed), KEYS, print)


# --- walls ---------------------------------------------------------------------------------------------------------------------


def between_walls(key):
    return js.problems.burgers(viscosity=0.1).with_coefficients(viscosity=jax.random.uniform(key, minval=0.1, maxval=0.3))


WALLED = dataclasses.replace(
    STUDY, family=between_walls, truth=js.Spectral(n=96, dt=1 / 80), ladder=(8, 16, 24, 32, 48), n=8, dt=0.1
)


def test_grids_that_share_no_nodes_are_refused_between_walls():
    check_study(WALLED)
    check_study(STUDY)
    bad = dataclasses.replace(WALLED, ladder=(8, 12, 24, 32, 48))
    with pytest.raises(
        ValueError, match=r"walls on x.* n = 8 and divide the truth's 96, and 12 is not; give ladder=\(8, 16"
    ):
        study_module.run_study(bad)
    wider = Shifted(name="twice the box", family=between_walls, scale=2)
    with pytest.raises(ValueError, match="'twice the box' is a larger box"):
        study_module.run_study(dataclasses.replace(WALLED, shifts=(wider,)))


def network(**training):
    fno = js.networks.FNO(modes=(training.pop("modes", 4),), channels=4, layers=1)
    numbers = training.pop("numbers", ())
    return js.surrogates.NetworkSurrogate(fno, numbers, training=js.surrogates.Training(**training))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"surrogates": {"FNO": network(unroll=9)}}, "surrogate 'FNO': the data have 4 saves a run, and unroll 9"),
        ({"surrogates": {"FNO": network(modes=12)}}, r"surrogate 'FNO': .*cannot carry modes \(12,\)"),
        ({"surrogates": {"FNO": network(numbers=("sped",))}}, "numbers: coefficient 'sped' .*mean 'speed'"),
        ({"surrogates": {"FNO": network(numbers=("speed",))}}, "numbers: speed is the same in all runs"),
        ({"channel": 1}, "channel must be the number of a component, 0 to 0, got 1"),
        ({"truth": js.Spectral(n=32, dt=0.1)}, "dt = 0.25 must be a whole number of steps of truth, whose dt is 0.1"),
        ({"data": js.Spectral(n=32, dt=0.25), "skip": 0.3}, "skip = 0.3 must be a whole number of steps of truth"),
    ],
)
def test_what_cannot_be_trained_or_stepped_is_refused_before_anything_is_solved(changed, said):
    with pytest.raises(ValueError, match=said):
        check_study(dataclasses.replace(STUDY, **changed))


def test_shifts_are_several():
    with pytest.raises(ValueError, match="shifts must be a tuple, of one or more, got Shifted"):
        dataclasses.replace(STUDY, shifts=Shifted(name="twice the time", steps=6))
    with pytest.raises(ValueError, match=r"shifts must be js.compare.Shifted\(name=...\), got 'long'"):
        dataclasses.replace(STUDY, shifts=("long",))


@pytest.mark.slow
def test_a_study_between_walls_runs():
    report = study_module.run_study(WALLED)
    errors = [m.error for m in report.measurements if m.family == "solver"]
    assert report.truth_error < 1e-3 * max(errors)
    assert all(np.isfinite(errors))
    assert {m.name for m in report.measurements if m.family == "surrogate"} == {"linear"}
