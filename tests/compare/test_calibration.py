"""Scores of uncertainty against numbers by hand, against the integral that defines them, and on ensembles that are calibrated."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.compare.calibration import (
    PIT,
    coverage,
    crps,
    ensemble_pit,
    expected_calibration_error,
    gaussian_crps,
    gaussian_pit,
    pit_histogram,
    spread_skill,
)


def calibrated(members=5, count=20_000, seed=0, spread=1.0):
    """Members and truth from one distribution, or members that are too narrow or too wide."""
    random = np.random.default_rng(seed)
    centre = random.normal(size=count) * 3
    return centre + spread * random.normal(size=(members, count)), centre + random.normal(size=count)


def test_crps_of_few_members_by_hand():
    # Members 0 and 1: mean |x - y| = 1/2 for y = 0, sum_ij |x_i - x_j| = 2.
    assert float(crps(np.array([0.0, 1.0]), 0.0, definition="energy")) == 0.25
    assert float(crps(np.array([0.0, 1.0]), 0.0, definition="fair")) == 0.0
    # 0, 1, 3 with y = 2: mean |x - y| = 4/3, the sum is 12.
    assert float(crps(np.array([3.0, 0.0, 1.0]), 2.0, definition="energy")) == pytest.approx(4 / 3 - 12 / 18)
    assert float(crps(np.array([3.0, 0.0, 1.0]), 2.0, definition="fair")) == pytest.approx(4 / 3 - 12 / 12)
    assert float(crps(np.array([3.0]), 1.0, definition="energy")) == 2.0


def test_crps_is_the_integral_that_defines_it():
    members, truth = np.array([-0.7, 0.1, 0.4, 1.9]), 0.9
    x = np.linspace(-2, 3, 500_001)
    below = (members[:, None] <= x).mean(0)
    integral = ((below - (x >= truth)) ** 2).sum() * (x[1] - x[0])
    assert float(crps(members, truth, definition="energy")) == pytest.approx(integral, abs=1e-4)


@pytest.mark.slow
def test_fair_crps_does_not_depend_on_the_number_of_members():
    few, many = (crps(*calibrated(members, seed=members)) for members in (2, 16))
    assert float(few) == pytest.approx(1 / math.sqrt(math.pi), abs=0.015)  # of N(0, 1): E|x - y| - E|x - x'| / 2
    assert float(many) == pytest.approx(1 / math.sqrt(math.pi), abs=0.015)
    assert float(crps(*calibrated(2), definition="energy")) > 0.8  # favours more members: 1.5 / sqrt(pi)


def test_gaussian_crps_by_hand_and_as_the_limit_of_ensembles():
    assert float(gaussian_crps(0.0, 1.0, 0.0)) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi))  # 0.23370
    z = 1.5
    phi, below = math.exp(-z * z / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(z / math.sqrt(2)))
    expected = 2 * (z * (2 * below - 1) + 2 * phi - 1 / math.sqrt(math.pi))
    assert float(gaussian_crps(1.0, 2.0, 4.0)) == pytest.approx(expected)
    quantiles = np.asarray(jax.scipy.stats.norm.ppf((np.arange(4000) + 0.5) / 4000))
    assert float(gaussian_crps(1.0, 2.0, 4.0)) == pytest.approx(
        float(crps(1 + 2 * quantiles, 4.0, definition="energy")), rel=1e-3
    )
    np.testing.assert_allclose(gaussian_crps(np.zeros(2), np.array([0.0, 1.0]), np.array([-3.0, 0.0]), average=False)[0], 3)


def test_spread_skill_by_hand_and_when_calibrated():
    # Members 0 and 2: variance 2, corrected by 3/2; the mean is off by 1.
    assert float(spread_skill(np.array([0.0, 2.0]), 2.0)) == pytest.approx(math.sqrt(3))
    for members in (2, 8):
        assert float(spread_skill(*calibrated(members))) == pytest.approx(1, abs=0.03)
    assert float(spread_skill(*calibrated(8, spread=0.25))) < 0.35


def test_pit_and_rank_histogram_by_hand():
    members = np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None], (3, 4))
    pit = ensemble_pit(members, np.array([0.0, 2.5, 2.0, 9.0]))
    np.testing.assert_allclose(pit.low, [0, 0.5, 0.25, 0.75])
    np.testing.assert_allclose(pit.high, [0.25, 0.75, 0.75, 1])  # equal to the second member: ranks 1 and 2 alike
    np.testing.assert_allclose(pit_histogram(pit, bins=4), [0.25, 0.125, 0.375, 0.25])
    np.testing.assert_allclose(pit_histogram(pit, bins=1), [1.0])
    np.testing.assert_allclose(coverage(pit, [0.0, 0.5, 1.0]), [0, 0.5, 1])


def test_coverage_and_error_of_a_gaussian_by_hand():
    truth = np.array([0.0, 0.5, -1.0, 2.5])  # within the central 68.27 %: the first three, up to the edge
    pit = gaussian_pit(np.zeros(4), 1.0, truth)
    np.testing.assert_allclose(coverage(pit, [0.3, 0.6, 0.7, 0.95]), [0.25, 0.5, 0.75, 0.75])
    point = PIT(np.full(3, 0.5), np.full(3, 0.5))
    # below every level from 1/2: |F - p| is p for 0.05 .. 0.45 and 1 - p for 0.5 .. 0.95
    assert float(expected_calibration_error(point)) == pytest.approx((2.25 + 2.75) / 19)
    assert float(expected_calibration_error(point, [0.25, 0.75])) == 0.25


@pytest.mark.slow
def test_calibrated_ensembles_are_found_calibrated_and_others_not():
    for members in (1, 4):
        pit = ensemble_pit(*calibrated(members))
        assert float(expected_calibration_error(pit)) < 0.01
        np.testing.assert_allclose(coverage(pit, [0.5, 0.9]), [0.5, 0.9], atol=0.015)
        np.testing.assert_allclose(pit_histogram(pit), 0.1, atol=0.01)
    narrow = ensemble_pit(*calibrated(9, spread=0.3))
    assert float(expected_calibration_error(narrow)) > 0.05
    assert float(coverage(narrow, 0.9)) < 0.7
    histogram = pit_histogram(narrow)
    assert histogram[0] > 2 * histogram[4]  # a U


@pytest.mark.slow
def test_what_is_not_finite():
    members = np.array([[0.0, 0.0], [1.0, np.nan]])
    np.testing.assert_allclose(crps(members, np.zeros(2), average=False), [0, np.inf])
    np.testing.assert_allclose(gaussian_crps(np.array([np.nan]), 1.0, np.zeros(1), average=False), [np.inf])
    pit = ensemble_pit(members, np.zeros(2))
    assert np.isnan(pit.low[1])
    assert np.isnan(coverage(pit, 0.5))
    assert np.isnan(pit_histogram(pit, bins=2)).any()


@pytest.mark.slow
def test_transformations_and_single_precision():
    members, truth = calibrated(4, count=6)
    for score in (crps, spread_skill):
        value = score(members, truth)
        assert float(jax.jit(score)(members, truth)) == pytest.approx(float(value))
        assert np.isfinite(jax.grad(lambda x, s=score: s(x, truth))(jnp.asarray(members))).all()
        single = score(jnp.asarray(members, jnp.float32), jnp.asarray(truth, jnp.float32))
        assert single.dtype == jnp.float32
        assert float(single) == pytest.approx(float(value), rel=1e-4)
    slopes = jax.grad(gaussian_crps, argnums=(0, 1))(jnp.array(0.0), jnp.array(0.0), jnp.array(0.0))
    assert np.isfinite(slopes).all()
    assert jax.jit(coverage)(ensemble_pit(members, truth), jnp.array([0.5])).shape == (1,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crps(np.ones((3, 2)), np.ones(3)), r"\[members, \*rest\] for a truth \[\*rest\], got \(3, 2\) and \(3,\)"),
        (lambda: crps(np.ones((1, 2)), np.ones(2)), "at least 2 members, got 1"),
        (lambda: crps(np.ones((2, 2)), np.ones(2), definition="quantile"), "'quantile' does not exist"),
        (lambda: spread_skill(np.ones((1, 2)), np.ones(2)), "at least 2 members"),
        (lambda: gaussian_crps(np.ones(2), 1.0, np.ones(3)), r"one shape, got \(2,\) and \(3,\)"),
        (lambda: gaussian_pit(np.ones(2), np.ones(3), np.ones(2)), r"broadcast to \(2,\), got shape \(3,\)"),
        (lambda: coverage(gaussian_pit(0.0, 1.0, 0.0), 1.5), "between 0 and 1, got 1.5"),
        (lambda: pit_histogram(gaussian_pit(0.0, 1.0, 0.0), bins=0), "bins must be a whole number >= 1, got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
