"""Scores against rollouts made by hand, and seconds against work that is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare.ladder import rung
from jaxsci.compare.measure import Candidate, errors_of, measurement, metrics_of, residual_on, rollouts, time_in_turns
from jaxsci.compare.shifts import Fitted, Shifted, enlarged, score_shift, scored_starts
from jaxsci.surrogates.baselines import Persistence
from jaxsci.surrogates.ridge import Ridge
from jaxsci.surrogates.simulate import simulate

TRUTH = js.Spectral(n=48, dt=0.05)


def family(key, speed=1.0, periods=1):
    box = js.Box(t=(0, 1), x=(0, 2 * np.pi * periods))
    terms = {"coefficients": {"speed": speed}, "initial": {"u": 0}, "boundary": {"x": js.Periodic()}}
    problem = js.Problem(js.problems.advection().equation, box, **terms, name="waves")
    return problem.with_initial(u=js.problems.random_fourier_series(key, box, cutoff=3 * periods))


def various(key):
    return family(key, speed=1 + jax.random.uniform(key))


@pytest.fixture(scope="module")
def scored():
    return scored_starts(family, jax.random.split(jax.random.key(0), 4), TRUTH, n=16, dt=0.1, steps=5, skip=0.2)


@pytest.fixture(scope="module")
def data():
    keys = jax.random.split(jax.random.key(1), 8)
    return simulate(family, keys, js.Spectral(n=16, dt=0.1), n=16, dt=0.1, steps=5).data


def as_candidate(fitted, name="ridge"):
    return Candidate(name, "baseline", "", Fitted(fitted))


def test_the_truth_is_the_exact_solution_on_the_scores_grid(scored):
    key = jax.random.split(jax.random.key(0), 4)[2]
    start = family(key).coefficients["u_start"]
    x = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for k in (0, 5):
        exact = jax.vmap(start)(jnp.asarray(x) - 0.2 - 0.1 * k)
        assert np.asarray(scored.truth[2, k, 0]) == pytest.approx(np.asarray(exact), abs=1e-12)
    assert scored.starts.shape == (4, 1, 48)
    assert scored.ts == pytest.approx(0.1 * np.arange(6))


def test_a_rung_is_scored_as_its_own_rollout(scored):
    made = rollouts(rung(12, scored.dt, 2), scored)
    assert made.fields.shape == (4, 5, 1, 16)
    assert made.run_seconds >= 0
    assert errors_of(made.fields, scored).max() < 1e-12, "three waves fit on twelve points, and steps are exact"
    wrong = scored.truth[:, 1:] * 1.25
    assert errors_of(wrong, scored) == pytest.approx(np.full((4, 5), 0.25))


def test_persistence_has_the_error_of_standing_still(scored, data):
    made = rollouts(as_candidate(Persistence().fit(data)), scored)
    expected = np.linalg.norm(scored.truth[:, 1:] - scored.truth[:, :1], axis=(2, 3)) / np.linalg.norm(
        scored.truth[:, 1:], axis=(2, 3)
    )
    found = measurement(as_candidate(Persistence().fit(data)), scored, made)
    assert found.errors == pytest.approx(expected.mean(axis=1))
    assert found.growth == pytest.approx(np.median(expected, axis=0))


def test_what_blows_up_is_infinitely_wrong(scored):
    fields = scored.truth[:, 1:].copy()
    fields[1, 3:] = np.nan
    errors = errors_of(fields, scored)
    assert np.isinf(errors[1, 3:]).all()
    assert (errors[[0, 2, 3]] == 0).all()
    assert (errors[1, :3] == 0).all()
    made = rollouts(rung(12, scored.dt, 1), scored)
    found = metrics_of(made._replace(fields=fields), scored)
    assert found["blown_up"] == 0.25
    assert found["correlation_time"] < 0.5


def test_metrics_of_an_exact_rollout_and_of_one_that_stands_still(scored, data):
    residual = residual_on(js.stepper(scored.problem, js.Spectral(n=16, dt=0.05)), 0.1)
    exact = metrics_of(rollouts(rung(16, scored.dt, 1), scored), scored, residual=residual)
    assert exact["correlation_time"] == pytest.approx(0.5)
    assert exact["valid_prediction_time"] == pytest.approx(0.5)
    assert max(exact[k] for k in ("blown_up", "spectrum_error", "conservation_drift", "residual")) < 1e-9
    still = metrics_of(
        rollouts(as_candidate(Persistence().fit(data)), scored), scored, residual=residual, lyapunov_time=0.25
    )
    assert still["residual"] == pytest.approx(1)
    assert still["correlation_time"] < 0.3
    assert still["valid_prediction_time"] < 2


@pytest.mark.slow
def test_every_start_is_stepped_with_its_own_coefficients():
    many = scored_starts(various, jax.random.split(jax.random.key(3), 3), TRUTH, n=16, dt=0.1, steps=3, skip=0.0)
    assert list(many.numbers) == ["speed"]
    assert len(many.numbers["speed"]) == 3
    assert errors_of(rollouts(rung(16, 0.1, 1), many).fields, many).max() < 1e-12
    swapped = dataclasses.replace(many, numbers={"speed": many.numbers["speed"][::-1]})
    assert errors_of(rollouts(rung(16, 0.1, 1), swapped).fields, many)[0].max() > 1e-3
    timed = time_in_turns([rung(16, 0.1, 1)], many, (1, 4), seconds=0.0, rounds=(1, 1))
    assert timed[0][4].wall > 0


def test_more_steps_take_more_seconds_and_a_batch_costs_less_for_each(scored):
    few, many = (dataclasses.replace(rung(48, scored.dt, 1), substeps=m) for m in (1, 400))
    said = []
    cheap, dear = time_in_turns([few, many], scored, (1, 16), seconds=1.0, rounds=(3, 5), progress=said.append)
    assert dear[1].wall > 4 * cheap[1].wall
    assert dear[1].cpu > 2 * cheap[1].cpu
    assert cheap[16].wall < cheap[1].wall
    assert "in turns" in said[-1]


def test_a_part_of_a_long_rollout_is_timed_and_counted_as_the_whole(scored):
    job = [dataclasses.replace(rung(48, scored.dt, 1), substeps=400)]
    whole = time_in_turns(job, scored, (1,), seconds=0.5, rounds=(3, 5))[0][1].wall
    part = time_in_turns(job, scored, (1,), estimates=[1.0], seconds=0.5, rounds=(3, 5))[0][1].wall
    assert 0.4 < part / whole < 2.5, "two saves of five, extrapolated"


@pytest.mark.parametrize("batches", [(0,), (1.5,), ("1",)])
def test_batches_that_are_none_are_named(scored, batches):
    with pytest.raises(ValueError, match="batches must be whole numbers"):
        time_in_turns([rung(16, 0.1, 1)], scored, batches)


def test_another_speed_shifts_a_surrogate_but_not_the_solver(data):
    shifted = Shifted(name="speed 1.5", family=lambda key: family(key, speed=1.5))
    scored = scored_starts(shifted.family, jax.random.split(jax.random.key(5), 3), TRUTH, n=16, dt=0.1, steps=3, skip=0.0)
    found = score_shift(shifted, scored, [rung(16, 0.1, 1), as_candidate(Ridge().fit(data))])
    assert found.errors["ETDRK4, n = 16, dt = 0.1"].max() < 1e-12
    assert found.errors["ridge"].mean() > 0.05
    assert not found.reasons


@pytest.mark.slow
def test_a_larger_box_takes_larger_grids_or_a_reason(data):
    shifted = Shifted(name="twice the box", family=lambda key: family(key, periods=2), scale=2)
    truth = js.Spectral(n=96, dt=0.05)
    scored = scored_starts(shifted.family, jax.random.split(jax.random.key(5), 3), truth, n=32, dt=0.1, steps=3, skip=0.0)
    found = score_shift(shifted, scored, [rung(16, 0.1, 1), as_candidate(Persistence().fit(data), "still"), *[
        as_candidate(dataclasses.replace(Ridge().fit(data)), "ridge")]])  # fmt: skip
    assert found.errors["ETDRK4, n = 16, dt = 0.1"].max() < 1e-12
    assert "still" in found.errors
    assert ("ridge" in found.errors) != ("ridge" in found.reasons)
    assert enlarged(rung(16, 0.1, 1), 2).make.n == 32


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, "give a family"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 4, "scale": 2}, "larger box"),
        ({"scale": 0}, "scale must be"),
    ],
)
def test_a_shift_that_shifts_nothing_is_named(settings, what):
    with pytest.raises(ValueError, match=what):
        Shifted(name="s", **settings)
