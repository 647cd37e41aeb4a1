"""The largest steps of the solver: found where they are known, and on an equation."""

import dataclasses
import math

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.compare.ladder import _amplitude, _stable, fewest_substeps, ladder, largest_stable_step, rung
from jaxsci.compare.measure import errors_of, rollouts
from jaxsci.compare.shifts import scored_starts


def counted(error_of):
    calls = []

    def error(m):
        calls.append(m)
        return error_of(m)

    return error, calls


@pytest.mark.parametrize(
    ("error_of", "accurate", "stable"),
    [
        (lambda m: 1e-3, 1, 1),
        (lambda m: math.inf if m < 37 else 1e-3, 37, 37),
        (lambda m: math.nan if m < 5 else 1e-3 * (1 + (20 / m) ** 4), 36, 5),  # 20 / 0.1^(1/4) = 35.6
        (lambda m: 0.3 if m < 6 else 0.1, 6, 1),
    ],
)
def test_the_fewest_substeps_are_found(error_of, accurate, stable):
    error, calls = counted(error_of)
    found = fewest_substeps(error, 128)
    assert (found.substeps, found.stable_substeps) == (accurate, stable)
    assert found.error == error_of(accurate)
    assert found.error <= 1.1 * found.small_error
    assert len(calls) == len(set(calls)), "no rollout is made twice"


def test_where_nothing_is_stable_there_is_no_step():
    assert fewest_substeps(lambda m: math.inf, 16, most=256) is None
    assert fewest_substeps(lambda m: math.inf if m < 100 else 1.0, 16, most=256).substeps == 100


def test_two_rollouts_that_are_equally_wrong_are_not_taken_for_converged():
    found = fewest_substeps(lambda m: {1: 1.40, 2: 1.39}.get(m, 0.01), 32)
    assert found.substeps == 3
    assert found.stable_substeps == 1


@pytest.fixture(scope="module")
def waves():
    """Burgers' equation from random waves: starts with their truth on 32 points."""
    box = js.Box(t=(0, 1), x=(0, 2 * np.pi))
    terms = {"coefficients": {"viscosity": 0.05}, "initial": {"u": 0}, "boundary": {"x": js.Periodic()}}
    still = js.Problem(js.problems.burgers().equation, box, **terms, name="waves")

    def family(key):
        return still.with_initial(u=js.problems.random_fourier_series(key, box, cutoff=3, rms=1.0))

    keys = jax.random.split(jax.random.key(0), 3)
    return scored_starts(family, keys, js.Spectral(n=96, dt=1 / 128), n=32, dt=0.25, steps=4, skip=0.0)


def error_with(n, m, scored):
    return errors_of(rollouts(rung(n, scored.dt, m), scored).fields, scored).mean()


def test_a_rung_takes_the_largest_step_that_keeps_its_error(waves):
    found = largest_stable_step(32, waves, 32)
    fine = error_with(32, 4 * found.substeps, waves)
    assert error_with(32, found.substeps, waves) <= 1.1 * fine
    assert found.substeps == 1 or error_with(32, found.substeps - 1, waves) > 1.1 * found.small_error
    assert found.substeps < 32, "fewer than the truth took"


@pytest.mark.slow
def test_the_ladder_has_every_grid_and_the_longer_steps_that_are_stable(waves):
    said = []
    rungs, notes = ladder(waves, (12, 16, 24), 32, progress=said.append)
    assert {c.resolution for c in rungs} == {12, 16, 24}
    assert not notes
    assert len(said) == 3
    for c in rungs:
        assert c.dt == pytest.approx(waves.dt / c.substeps)
        assert c.name == "ETDRK4"
        assert f"n = {c.resolution}" in c.detail
    errors = {n: min(error_with(n, c.substeps, waves) for c in rungs if c.resolution == n) for n in (12, 16, 24)}
    assert errors[24] < errors[16] < errors[12]


@pytest.mark.slow
def test_a_step_that_is_too_long_for_a_scored_start_is_made_shorter(waves):
    wild = dataclasses.replace(waves, starts=60 * waves.starts)  # faster by sixty: its truth is not looked at
    calm, tried = ladder(waves, (12,), 32)[0], ladder(waves, (12,), 32, stable_on=wild)[0]
    assert not np.isfinite(rollouts(calm[0], wild).fields).all(), "else nothing is tested"
    assert all(np.isfinite(rollouts(c, wild).fields).all() for c in tried)
    assert tried[0].substeps > calm[0].substeps


@pytest.mark.slow
def test_a_step_is_made_shorter_where_a_scored_start_grows_without_bound(waves, monkeypatch):
    """A start that stays finite and is far off: a run of larger fields than any state there is has blown up too."""
    monkeypatch.setattr("jaxsci.compare.ladder.search_rollouts", lambda make, starts, m: starts.truth * (9 if m < 3 else 1))
    found = _stable(12, 1, 4, waves, bound=2 * _amplitude(waves.truth, 1), small=32)
    assert found == 3, "0.25 and 0.125 are too long"
    assert _stable(12, 1, 4, waves, bound=0.0, small=32) == 33, "no step keeps to the bound: it is not of the step"
