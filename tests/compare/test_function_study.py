"""Studies of functions: errors and costs told right, baselines always there, and the same report as of trajectories."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare.study_report import StudyReport
from jaxsci.compare.study_tables import tables
from jaxsci.compare.study_text import study_text


def draw(seed, n, k=2):
    return np.random.default_rng(seed).uniform(-1, 1, (n, k))


def slow(x):
    """A function of two outputs in other units, with no solution where x0 < -0.9."""
    work = jax.lax.fori_loop(0, 400, lambda i, y: jnp.sin(y) + x, x)  # to have something to save
    y = jnp.stack([1 + x[:, 0] + 2 * x[:, 1], 100 * (x[:, 0] - 1)], axis=1) + 0 * work
    return jnp.where(x[:, :1] < -0.9, jnp.nan, y)


def off(share):
    return js.compare.Fit(lambda x, y, key: lambda z: (1 + share) * slow_table(z))


def slow_table(z):
    return jnp.stack([1 + z[:, 0] + 2 * z[:, 1], 100 * (z[:, 0] - 1)], axis=1)


def fails(x, y, key):
    raise ValueError("the pairs do not please it")


@pytest.fixture(scope="module")
def study():
    return js.compare.FunctionStudy(
        "two numbers", {"the loop": slow}, draw(0, 64), draw(1, 48),
        {
            "a thousandth off": off(1e-3),
            "told more": dataclasses.replace(off(1e-3), solves=True, told="everything"),
            "hopeless": js.compare.Fit(fails),
            "network": js.surrogates.NetworkRegression(js.networks.MLP((8,)), steps=20),
        },
        shifts={"far away": 3 + draw(2, 20)}, seeds=2, batches=(1, 32), gradients=True, quick=True, inputs=("a", "b"),
        tuning={"network": 100.0},
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(study):
    return js.compare(study)


def measured(report, name):
    return [m for m in report.measurements if m.name == name]


def test_errors_are_in_units_of_each_output(study, report):
    x = np.asarray(study.scored_inputs)
    y = np.asarray(slow_table(x[x[:, 0] >= -0.9]))
    expected = np.sqrt(((1e-3 * y / np.sqrt((y**2).mean(0))) ** 2).mean(1))
    (first, second) = measured(report, "a thousandth off")
    np.testing.assert_allclose(first.errors, expected, rtol=1e-3 if jnp.result_type(float) == jnp.float32 else 1e-10)
    assert second.seed == 1
    assert first.metrics["gradient_error"] == pytest.approx(1e-3, rel=1e-2)
    assert first.metrics["largest_error"] == pytest.approx(first.errors.max())
    assert measured(report, "the loop")[0].error == 0, "the truth is the solver"


def test_affine_least_squares_is_exact_for_an_affine_function_and_the_mean_explains_nothing(report):
    (affine,), (mean,), (near,) = (measured(report, n) for n in ("affine least squares", "mean", "nearest neighbour"))
    assert affine.error < 1e-5 < 1e-2 < near.error < mean.error
    assert mean.metrics["one_minus_q2"] > 0.9
    assert near.metrics["one_minus_q2"] < 0.2
    assert mean.family == near.family == affine.family == "baseline"


def test_costs_are_counted_once_and_the_break_even_follows(study, report):
    (plain, *_), (told, *_), (network, *_) = (measured(report, n) for n in ("a thousandth off", "told more", "network"))
    assert plain.data_seconds > 0 == told.data_seconds
    assert network.tuning_seconds == 100
    assert network.parameters == 2 * 8 + 8 + 8 * 2 + 2 + 8, "with the units of inputs and outputs"
    for v in report.verdicts:
        ours, solver = measured(report, v.name), measured(report, "the loop")[0].seconds[v.batch]
        spent = np.mean([m.data_seconds + m.training_seconds + m.tuning_seconds for m in ours])
        own = ours[0].seconds[v.batch]
        assert v.upfront_seconds == pytest.approx(spent)
        assert not v.speed_bound
        assert v.break_even.value == pytest.approx(spent / (solver - own) if solver > own else math.inf)
        assert v.speed_ratio.value == pytest.approx(solver / own)
    assert {(v.name, v.batch) for v in report.verdicts} == {
        (n, b) for n in ("a thousandth off", "told more", "network") for b in (1, 32)
    }


def test_it_is_said_what_was_left_out_and_who_was_told_what(report):
    text = " ".join(report.notes)
    assert "hopeless could not be fitted: the pairs do not please it" in text
    assert not measured(report, "hopeless")
    assert "of 64 training inputs have no solution" in text
    assert "told more is told everything." in text
    assert "quick" in text
    assert "no cheaper form" in text


def test_another_distribution_is_scored_in_the_same_units(report):
    (shift,) = report.shifts
    assert shift.errors["the loop"].max() == 0
    assert shift.errors["a thousandth off"].mean() > measured(report, "a thousandth off")[0].error
    assert shift.errors["mean"].mean() > 2


def test_the_report_is_told_drawn_written_and_read_like_any_other(report, tmp_path):
    text = study_text(report)
    assert "per value" in text
    assert "trajector" not in text
    assert "saves" not in text
    assert "bootstrap over the inputs" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "Truth: the loop, which is its own truth and has no error beside it." in text
    assert "Seconds repeat within" in text
    assert next(t for t in tables(report) if t.key == "front").rows[0][:2] == ("the loop", "its own truth")
    (metrics,) = (t for t in tables(report) if t.key == "metrics")
    assert [note.split(":")[0] for note in metrics.notes] == ["Gradient error", "Largest error", "1 - Q2"]
    assert [t.title for t in tables(report)][2] == "Beside the error"
    folder = report.save(tmp_path / "out")
    assert {p.name for p in folder.iterdir()} == {
        "index.html",
        "results.json",
        "measurements.csv",
        "gallery.npz",
        "pareto.png",
    }
    page = (folder / "index.html").read_text()
    assert "a in [" in page
    assert "trajector" not in page
    assert 'id="growth"' not in page
    again = js.compare.read_study(folder)
    assert study_text(again) == text


def test_without_a_solver_there_is_no_report(report):
    with pytest.raises(ValueError, match="there is no solver"):
        dataclasses.replace(report, measurements=tuple(m for m in report.measurements if m.family != "solver"))
    assert isinstance(report, StudyReport)


def test_a_ladder_of_solvers_is_matched_between_its_rungs():
    """The solver's own looser form is what a surrogate has to beat."""

    def sums(terms):
        def solver(x):
            term = lambda i, y: y + jnp.sin((i + 1.0) * x[:, 0]) / (i + 1.0) ** 2
            return jax.lax.fori_loop(0, terms, term, jnp.zeros(len(x), x.dtype))

        return solver

    rough = js.compare.Fit(lambda x, y, key: sums(30))
    study = js.compare.FunctionStudy(
        "series", {"4000": sums(4000), "400": sums(400), "40": sums(40)}, draw(0, 20, 1), draw(1, 64, 1), {"30": rough},
        seeds=1, batches=(64,), quick=True,
    )  # fmt: skip
    report = js.compare(study)
    errors = [measured(report, n)[0].error for n in ("4000", "400", "40", "30")]
    assert errors == sorted(errors)
    assert errors[0] == 0
    (verdict,) = report.verdicts
    assert verdict.speed_ratio.value == pytest.approx(
        measured(report, "40")[0].seconds[64] / measured(report, "30")[0].seconds[64]
    ), "not against the solver of 4,000 terms"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"solvers": {}}, "solvers is a mapping"),
        ({"surrogates": {"f": lambda x, y, key: None}}, "wrap a plain function in jaxsci.compare.Fit"),
        ({"scored_inputs": draw(0, 15)}, "16 scored inputs or more"),
        ({"scored_inputs": draw(0, 20, 3)}, "scored_inputs is .n, k. with the k of the training"),
        ({"training_inputs": np.array([[0.0, np.nan]])}, "training_inputs must be finite, and row 0"),
        ({"shifts": {"far": np.zeros(3)}}, "shift 'far' is"),
        ({"inputs": ("a",)}, "2 inputs and 1 names"),
        ({"seeds": 0}, "seeds is a whole number"),
        ({"batches": (1.5,)}, "batches are whole numbers"),
        ({"tuning": {"unet": 3.0}}, "names 'unet', which is no surrogate"),
    ],
)
def test_bad_studies_are_refused_by_name(study, change, says):
    with pytest.raises(ValueError, match=says):
        dataclasses.replace(study, **change)


def test_a_surrogate_of_another_shape_and_a_function_without_solutions_are_named(study):
    wrong = {"sum": js.compare.Fit(lambda x, y, key: lambda z: z.sum(1))}
    with pytest.raises(ValueError, match=r"sum returns \[\d+\], and the solver \[\d+, 2\]"):
        js.compare(dataclasses.replace(study, surrogates=wrong, tuning={}))
    with pytest.raises(ValueError, match="0 of 48 scored inputs have a solution, and 16 are needed"):
        js.compare(dataclasses.replace(study, truth=lambda x: np.full((len(x), 2), np.nan)))


@pytest.mark.slow
def test_growth_of_e_coli_by_flux_balance_and_by_its_surrogates():
    report = js.compare(js.compare.named_study("e_coli_growth", "quick"))
    error = {m.name: m.error for m in report.measurements}
    assert error["planes from prices"] < error["planes from growth"] < error["network 64-64"] < error["affine least squares"]
    assert any("have no solution" in note for note in report.notes)
    assert all(v.speed_ratio.value > 1 for v in report.verdicts if v.name == "planes from prices")
