"""Intervals keep their promise: over repeated experiments a 95 % interval holds the truth about 95 times in a hundred."""

import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Observations, fit

LOGISTIC = js.Equation(lambda u, rate, capacity: u.t - rate * u * (1 - u / capacity), name="logistic")
TRUE = {"rate": 1.5, "capacity": 2.0}
T = np.linspace(0.25, 4, 16)
CLEAN = TRUE["capacity"] / (1 + 9 * np.exp(-TRUE["rate"] * T))


def covered(method, noise, hidden, repetitions):
    """The share of 95 % intervals that hold the true coefficient, by name; new noise in every repetition."""
    guess = js.Problem(
        LOGISTIC, js.Box(t=(0, 4)), coefficients={"rate": 1.2, "capacity": 1.5}, initial={"u": 0.2}
    )  # fmt: skip
    hits = dict.fromkeys(TRUE, 0)
    for seed in range(repetitions):
        values = CLEAN + noise * np.random.default_rng(seed).normal(size=T.size)
        data = Observations({"t": T}, {"u": values}, None if hidden else noise)
        intervals = fit(guess, data, tuple(TRUE), method, positive=tuple(TRUE)).interval()
        for name, (low, high) in intervals.items():
            hits[name] += float(low) < TRUE[name] < float(high)
    return {name: count / repetitions for name, count in hits.items()}


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [False, True], ids=["known noise", "estimated noise"])
def test_intervals_of_a_learned_fit_cover(hidden):
    shares = covered(js.RandomFeatures(25), 0.03, hidden, 100)
    assert all(0.90 <= share <= 0.99 for share in shares.values()), shares


@pytest.mark.slow
@pytest.mark.parametrize("method", [js.RandomFeatures(25), js.Adaptive()], ids=["features", "solver"])
def test_intervals_cover_in_many_repetitions(method):
    shares = covered(method, 0.03, True, 400)
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares  # 3.5 standard deviations of the count


@pytest.mark.slow
def test_an_overconfident_noise_is_caught():
    """Negative control: with a quarter of the true noise the intervals miss far too often."""
    values = [CLEAN + 0.03 * np.random.default_rng(seed).normal(size=T.size) for seed in range(30)]
    guess = js.Problem(LOGISTIC, js.Box(t=(0, 4)), coefficients=TRUE, initial={"u": 0.2})
    hits = 0
    for value in values:
        inverse = fit(guess, Observations({"t": T}, {"u": value}, 0.03 / 4), "rate", js.RandomFeatures(25))
        low, high = inverse.interval()["rate"]
        hits += float(low) < TRUE["rate"] < float(high)
        assert inverse.misfit > 4, "and the misfit says so"
    assert hits < 20
