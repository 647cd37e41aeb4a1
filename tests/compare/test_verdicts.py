"""Ratios, censoring, break-even and their bootstrap, on ladders whose answers are known."""

import dataclasses
import math

import numpy as np
import pytest

from jaxsci.compare.study_report import Measurement
from jaxsci.compare.study_tables import accuracy
from jaxsci.compare.verdicts import error_at_seconds, judge, seconds_at_error

ERRORS, SECONDS = np.array([0.3, 0.1, 0.01, 0.001]), np.array([0.5, 1.0, 4.0, 16.0])


def made(errors, seconds, family="solver", name="ETDRK4", **more):
    errors = np.broadcast_to(errors, 16) if np.ndim(errors) == 0 else np.asarray(errors)
    return Measurement(name, family, "", None, None, None, errors, np.zeros(3), {1: seconds}, {1: seconds}, 0.0, **more)


def power_law(exponent, scale=1.0, starts=None):
    """T = scale E^-exponent, at six errors."""
    factor = np.ones(16) if starts is None else starts
    return [made(e * factor, scale * e**-exponent) for e in 10.0 ** -np.arange(6)]


def test_between_two_rungs_the_time_is_a_power_of_the_error():
    found = seconds_at_error(ERRORS, SECONDS, np.array([0.1, 10**-1.5, 10**-2.25]))
    assert found.seconds == pytest.approx([1.0, 2.0, 4.0 * 4**0.25])
    assert (found.side == 0).all()


def test_beyond_the_ladder_the_times_are_bounds():
    found = seconds_at_error(ERRORS, SECONDS, np.array([0.5, 0.3, 1e-4]))
    assert found.seconds.tolist() == [0.5, 0.5, 16.0]
    assert found.side.tolist() == [-1, -1, 1]


def test_the_order_of_the_rungs_and_rungs_that_are_beaten_change_nothing():
    errors, seconds = np.append(ERRORS, [0.2, 0.05]), np.append(SECONDS, [2.0, 20.0])  # both beaten by cheaper rungs
    at = np.geomspace(2e-3, 0.2, 9)
    shuffled = np.random.default_rng(0).permutation(6)
    expected = seconds_at_error(ERRORS, SECONDS, at).seconds
    assert seconds_at_error(errors[shuffled], seconds[shuffled], at).seconds == pytest.approx(expected)
    for t in (1.0, 3.0, 17.0):
        assert error_at_seconds(errors[shuffled], seconds[shuffled], t) == pytest.approx(
            error_at_seconds(ERRORS, SECONDS, t)
        )


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_rung_that_blew_up_is_no_rung(bad):
    errors = np.array([bad, 0.1, 0.01])
    found = seconds_at_error(errors, np.array([0.5, 1.0, 4.0]), np.array([0.5, 10**-1.5]))
    assert found.seconds == pytest.approx([1.0, 2.0])
    assert found.side.tolist() == [-1, 0]
    assert np.isnan(error_at_seconds(errors, np.array([0.5, 1.0, 4.0]), 0.7))


def test_the_error_in_a_time():
    assert error_at_seconds(ERRORS, SECONDS, 2.0) == pytest.approx(10**-1.5)
    assert error_at_seconds(ERRORS, SECONDS, 99.0) == pytest.approx(0.001)
    assert np.isnan(error_at_seconds(ERRORS, SECONDS, 0.4))


def test_a_ladder_without_a_finite_rung_is_refused():
    with pytest.raises(ValueError, match="no rung with a finite error"):
        seconds_at_error(np.array([np.inf, np.nan]), np.array([1.0, 2.0]), np.array([0.1]))


def test_a_faster_surrogate_pays_back_after_its_costs_over_what_a_run_saves():
    # E = 10^-2.5 on T = E^-1: the solver takes 316.2 s, the surrogate 16.2 s.
    surrogate = made(10**-2.5, 16.2278, "surrogate", "FNO", data_seconds=100.0, training_seconds=450.0, tuning_seconds=50.0)
    found = judge([surrogate], power_law(1.0), 1)
    assert found.speed_ratio.value == pytest.approx(316.228 / 16.2278, rel=1e-4)
    assert found.break_even.value == pytest.approx(600 / 300, rel=1e-4)
    assert found.error_ratio.value == pytest.approx(10**-2.5 * 16.2278, rel=1e-4)
    assert found.upfront_seconds == 600
    assert found.speed_bound == ""
    assert found.break_even.low == found.break_even.high == found.break_even.value, "all starts are alike"


def test_a_slower_surrogate_never_pays_back():
    found = judge([made(0.01, 100.1, "surrogate", "FNO", training_seconds=1.0)], power_law(1.0), 1)
    assert found.break_even.value == math.inf
    assert found.speed_ratio.value < 1
    assert found.error_ratio.value > 1


def test_less_accurate_than_the_coarsest_rung_is_a_bound_from_below():
    slow, fast = (made(2.0, t, "surrogate", "FNO", training_seconds=30.0) for t in (2.0, 0.25))
    found = judge([slow], power_law(1.0), 1)
    assert found.speed_bound == "at most"
    assert found.speed_ratio.value == 0.5
    assert found.break_even.value == math.inf
    found = judge([fast], power_law(1.0), 1)
    assert found.speed_bound == "at most"
    assert found.break_even.value == pytest.approx(40)
    assert found.break_even.high == math.inf


def test_more_accurate_than_every_rung_is_a_bound_from_above():
    found = judge([made(1e-7, 1.0, "surrogate", "FNO", training_seconds=30.0)], power_law(1.0), 1)
    assert found.speed_bound == "at least"
    assert found.speed_ratio.value == pytest.approx(1e5)
    assert found.break_even.value == pytest.approx(30 / (1e5 - 1))
    assert found.break_even.low == 0
    found = judge([made(1e-7, 2e5, "surrogate", "FNO", training_seconds=30.0)], power_law(1.0), 1)
    assert math.isnan(found.break_even.value), "a finer solver may be dearer than the surrogate, or not"


def test_slower_than_the_finest_rung_the_error_ratio_is_a_bound():
    ladder = power_law(1.0)
    finest = max(m.seconds[1] for m in ladder)
    slow, quick = (judge([made(0.01, t, "surrogate", "FNO")], ladder, 1) for t in (1.01 * finest, 0.99 * finest))
    assert slow.error_ratio.value == pytest.approx(0.01 / min(m.errors.mean() for m in ladder))
    assert slow.error_ratio.high == math.inf, "a finer rung would err less"
    assert accuracy(slow).startswith("at least ")
    assert slow.error_bound == "at least"
    assert math.isfinite(quick.error_ratio.high)
    assert not quick.error_bound
    known = judge([made(0.01, 1.01 * finest, "surrogate", "FNO")], ladder, 1, coarser=False)
    assert math.isfinite(known.error_ratio.high), "there is no other form of the solver"


def test_a_surrogate_that_blew_up_has_no_ratio():
    errors = np.full(16, 0.01)
    errors[3] = np.inf
    found = judge([made(errors, 1e-3, "surrogate", "FNO")], power_law(1.0), 1)
    assert found.error.value == math.inf
    assert math.isnan(found.speed_ratio.value)
    assert found.break_even.value == math.inf
    assert math.isfinite(found.error.low) or found.error.low == math.inf


def test_of_several_seeds_the_median_counts_and_their_scatter_is_in_the_bounds():
    seeds = [made(e, 1.0, "surrogate", "FNO", training_seconds=c) for e, c in ((0.01, 10.0), (0.09, 20.0), (0.02, 60.0))]
    found = judge(seeds, power_law(1.0), 1)
    assert found.error == pytest.approx((0.02, 0.01, 0.09)), "the starts are alike"
    assert found.upfront_seconds == 20
    blown = judge([*seeds[:2], dataclasses.replace(seeds[2], errors=np.full(16, np.inf))], power_law(1.0), 1)
    assert (blown.error.value, blown.error.high) == (0.09, math.inf)
    assert (blown.speed_ratio.low, blown.break_even.high) == (0, math.inf), "a seed that blew up saves nothing"


def test_a_rung_that_is_the_truth_itself_has_no_error_to_compare_with():
    ladder = [made(0.1, 1.0), made(0.0, 4.0)]
    found = judge([made(0.01, 2.0, "surrogate", "FNO", training_seconds=4.0)], ladder, 1)
    assert found.speed_ratio.value == 2.0, "nothing lies between it and the next: it is what one has at a smaller error"
    assert found.error_ratio.value == pytest.approx(0.1), "in less time than it takes there is the other one"
    assert judge([made(0.01, 5.0, "surrogate", "FNO")], ladder, 1).error_ratio.value == math.inf


def test_starts_are_drawn_together_for_surrogate_and_ladder():
    hard = np.exp(np.random.default_rng(0).standard_normal(16))
    together = judge([made(0.01 * hard, 1.0, "surrogate", "FNO")], power_law(1.0, starts=hard), 1)
    apart = judge([made(0.01 * hard[::-1], 1.0, "surrogate", "FNO")], power_law(1.0, starts=hard), 1)
    assert together.speed_ratio.low == pytest.approx(together.speed_ratio.high), "what makes a start hard cancels"
    assert apart.speed_ratio.high > 1.5 * apart.speed_ratio.low, "and here it does not"


def test_the_bootstrap_covers_the_true_ratio_in_about_nine_cases_of_ten():
    random, inside, cases = np.random.default_rng(1), 0, 200
    truth = 100.0  # T = 1 / E at the error 0.01, in which the starts scatter by a tenth
    for case in range(cases):
        errors = 0.01 * (1 + 0.3 * random.standard_normal(24))
        ladder = [dataclasses.replace(rung, errors=np.full(24, rung.errors[0])) for rung in power_law(1.0)]
        found = judge([made(errors, 1.0, "surrogate", "FNO")], ladder, 1, resamples=400, seed=case)
        inside += found.speed_ratio.low <= truth <= found.speed_ratio.high
    assert 0.80 * cases <= inside <= 0.96 * cases


def test_the_same_data_give_the_same_verdict():
    surrogate = [made(0.01 * (1 + np.arange(16) / 16), 5.0, "surrogate", "FNO", training_seconds=9.0)]
    assert judge(surrogate, power_law(1.0), 1) == judge(surrogate, power_law(1.0), 1)


def test_what_cannot_be_judged_is_named():
    good = made(0.01, 1.0, "surrogate", "FNO")
    with pytest.raises(ValueError, match="needs a surrogate and a ladder"):
        judge([], power_law(1.0), 1)
    with pytest.raises(ValueError, match="not timed at batch 64"):
        judge([good], power_law(1.0), 64)
    with pytest.raises(ValueError, match="the same starts"):
        judge([made(np.ones(8), 1.0, "surrogate", "FNO")], power_law(1.0), 1)
