"""Inverse problems: the same answer by features, network and solver; noise, gaps, scales, intervals; messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import LevenbergMarquardt, Observations, fit

DECAY = js.Equation(lambda u, rate, source: u.t + rate * u - source, name="decay")
FEATURES = js.RandomFeatures(20)
NETWORK = js.Neural(js.networks.MLP((8,)), optimiser=LevenbergMarquardt(steps=30), budget=None, estimate=False)
RATE, NOISE = 1.7, 1e-2
T = np.linspace(0.1, 2, 20)


def decay(rate=1.0, source=0.0):
    coefficients = {"rate": rate, "source": source}
    return js.Problem(DECAY, js.Box(t=(0, 2)), coefficients=coefficients, initial={"u": 1.0})


def measured(seed=0, noise=NOISE):
    """Exponential decay with Gaussian noise: known standard deviation unless the caller hides it."""
    return np.exp(-RATE * T) + NOISE * np.random.default_rng(seed).normal(size=T.size)


@functools.cache
def fitted(method, noise=NOISE):
    return fit(decay(), Observations({"t": T}, {"u": measured()}, noise), "rate", method)


def by_hand():
    """The maximum of the likelihood and its curvature, from the closed form of the solution."""
    rate = RATE
    for _ in range(50):
        model, slope = np.exp(-rate * T), -T * np.exp(-rate * T)
        rate += slope @ (measured() - model) / (slope @ slope)
    return rate, NOISE / np.sqrt(np.sum((T * np.exp(-rate * T)) ** 2))


@pytest.mark.parametrize(
    ("method", "near"),
    [
        (FEATURES, 0.05),
        pytest.param(NETWORK, 0.5, marks=pytest.mark.slow),
        pytest.param(js.Adaptive(), 0.05, marks=pytest.mark.slow),
    ],
    ids=["features", "network", "solver"],
)
def test_the_fit_is_the_likeliest_and_its_deviation_the_curvature(method, near):
    rate, deviation = by_hand()
    inverse = fitted(method)
    assert float(inverse.coefficients["rate"]) == pytest.approx(rate, abs=near * deviation)  # measured: 0.003, 0.3, 0.001
    assert float(inverse.deviations["rate"]) == pytest.approx(deviation, rel=1e-2)  # measured: at most 1e-3
    low, high = inverse.interval()["rate"]
    assert float(high - low) == pytest.approx(2 * 1.95996 * deviation, rel=1e-2)
    assert inverse.solution.problem.coefficients["rate"] == inverse.coefficients["rate"]
    np.testing.assert_allclose(inverse.solution.evaluate(t=T), np.exp(-float(inverse.coefficients["rate"]) * T), atol=1e-3)
    # the field's own spread: none at the start, |du/drate| times the coefficient's elsewhere
    np.testing.assert_allclose(inverse.spread(t=T), deviation * T * np.exp(-rate * T), rtol=2e-2)
    assert float(inverse.spread(t=0.0)) < 1e-6


def test_the_interval_does_not_depend_on_how_strictly_the_equation_holds():
    """tau is where it has ceased to matter; a lax equation would leave the coefficient less sure."""
    inverse = fitted(FEATURES)
    assert inverse.settled
    assert 0 < inverse.tau < 1e-2
    assert float(inverse.deviations["rate"]) == pytest.approx(by_hand()[1], rel=1e-2)
    assert float(inverse.posterior.effective) == pytest.approx(1.0, abs=2e-2), "one parameter is left to the data"


def test_unknown_noise_is_estimated():
    inverse = fitted(FEATURES, None)
    gap = measured() - np.exp(-float(inverse.coefficients["rate"]) * T)
    assert inverse.noise["u"] == pytest.approx(np.sqrt(gap @ gap / (T.size - 1)), rel=1e-2)
    low, high = inverse.interval()["rate"]
    student = 2.0930  # of 19 degrees of freedom
    assert float(high - low) == pytest.approx(2 * student * float(inverse.deviations["rate"]), rel=1e-3)


@pytest.mark.slow
def test_missing_values_count_for_nothing():
    holes = measured().copy()
    holes[::2] = np.nan
    inverse = fit(decay(), Observations({"t": T}, {"u": holes}, NOISE), "rate", FEATURES)
    half = fit(decay(), Observations({"t": T[1::2]}, {"u": holes[1::2]}, NOISE), "rate", FEATURES)
    for name in ("coefficients", "deviations"):
        assert float(getattr(inverse, name)["rate"]) == pytest.approx(float(getattr(half, name)["rate"]), rel=1e-5)


@pytest.mark.slow
def test_coefficients_of_any_unit_and_sign():
    """A rate a million times larger in a box a million times shorter is the same problem."""
    fast = js.Problem(DECAY, js.Box(t=(0, 2e-6)), coefficients={"rate": 1e6, "source": 0.0}, initial={"u": 1.0})
    data = Observations({"t": T * 1e-6}, {"u": measured()}, NOISE)
    inverse = fit(fast, data, "rate", FEATURES, positive="rate")
    assert float(inverse.coefficients["rate"]) == pytest.approx(1e6 * by_hand()[0], rel=1e-3)
    low, high = map(float, inverse.interval()["rate"])
    assert np.sqrt(low * high) == pytest.approx(float(inverse.coefficients["rate"]), rel=1e-9), "in the logarithm"
    assert 0 < low < high


@pytest.mark.slow
def test_what_the_data_cannot_tell_is_said():
    """Of a product only the product is seen: the quotient's direction is reported, and the product is sure all the same."""
    twice = js.Equation(lambda u, a, b: u.t + a * b * u, name="product")
    problem = js.Problem(twice, js.Box(t=(0, 2)), coefficients={"a": 1.0, "b": 1.5}, initial={"u": 1.0})
    inverse = fit(problem, Observations({"t": T}, {"u": measured()}, NOISE), ("a", "b"), js.Adaptive(), positive=("a", "b"))
    (direction,) = inverse.undetermined
    assert abs(direction["a"]) == pytest.approx(np.sqrt(0.5), rel=1e-4)
    assert direction["a"] == pytest.approx(-direction["b"], rel=1e-4)
    assert "not determined" in inverse.summary()
    assert float(inverse.coefficients["a"] * inverse.coefficients["b"]) == pytest.approx(by_hand()[0], rel=1e-4)
    assert fitted(FEATURES).undetermined == []
    assert "rate = 1.7" in fitted(FEATURES).summary()


def test_a_window_needs_no_conditions():
    """Where nothing is prescribed, the observations are what the field starts from."""
    inside = decay().window(t=(0.5, 2))
    inverse = fit(inside, Observations({"t": T[5:]}, {"u": measured()[5:]}, NOISE), "rate", FEATURES)
    assert float(inverse.posterior.effective) == pytest.approx(2.0, abs=0.05), "the rate and the start"
    low, high = inverse.interval(0.999)["rate"]
    assert float(low) < RATE < float(high)
    with pytest.raises(ValueError, match=r"Adaptive: nothing is prescribed in this window of decay.*js\.learning\.fit"):
        js.solve(inside, js.Adaptive())


@pytest.mark.slow
def test_an_unknown_start_is_a_coefficient():
    heat = js.Equation(lambda u, diffusivity: u.t - diffusivity * u.xx, name="heat")
    problem = js.Problem(heat, js.Box(t=(0, 1), x=(0, 2 * np.pi)), coefficients={"diffusivity": 0.3}, initial={"u": 0.0})
    modes = jnp.zeros((2, 3))
    series = js.problems.FourierSeries(modes, (0.0,), (2 * np.pi,))
    random = np.random.default_rng(3)
    t, x = random.uniform(0.2, 1, 60), random.uniform(0, 2 * np.pi, 60)
    values = 0.5 + np.cos(x) * np.exp(-0.5 * t) + 0.6 * np.sin(2 * x) * np.exp(-2.0 * t)
    data = Observations({"t": t, "x": x}, {"u": values}, noise=1e-4)
    inverse = fit(problem.with_initial(u=series), data, ("diffusivity", "u_start"), js.Spectral(n=16, dt=0.1))
    assert float(inverse.coefficients["diffusivity"]) == pytest.approx(0.5, abs=1e-3)
    start = jax.vmap(inverse.coefficients["u_start"])(jnp.linspace(0, 6, 13))
    np.testing.assert_allclose(
        start, 0.5 + np.cos(np.linspace(0, 6, 13)) + 0.6 * np.sin(2 * np.linspace(0, 6, 13)), atol=2e-3
    )
    assert inverse.deviations["u_start"].modes.shape == (2, 3)


# --- bad input -----------------------------------------------------------------------------------------------------------

GOOD = Observations({"t": T}, {"u": np.ones(20)}, 0.1)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"t": T}, TypeError, r"data must be js\.learning\.Observations.*got dict"),
        (Observations({"t": T}, {"v": T}), KeyError, "observed unknown 'v' does not exist; there is 'u'"),
        (Observations({"x": T}, {"u": T}), KeyError, "coordinate of the observations 'x' does not exist"),
        (Observations({}, {"u": T}), KeyError, "coordinate of the observations 't' missing"),
        (Observations({"t": T}, {"v.t": T}), KeyError, "observed unknown 'v' does not exist; there is 'u'"),
        (Observations({"t": T}, {"u.x": T}), ValueError, r"'u\.x' is no derivative of u; write u\.t with any of"),
        (Observations({"t": T}, {}), ValueError, "no values; give some of 'u'"),
        (Observations({"t": T}, {"u": T[:3]}), ValueError, r"t must be a number or have shape \(3,\) as the values"),
        (
            Observations({"t": T + 1}, {"u": T}),
            ValueError,
            r"t must lie in \[0, 2\], where the problem lives, got \[1\.1, 3\]",
        ),
        (Observations({"t": T}, {"u": T * np.nan}), ValueError, "every value is missing"),
        (Observations({"t": T}, {"u": T * np.inf}), ValueError, "a value is infinite; a missing one is NaN"),
        (Observations({"t": T}, {"u": T}, 0.0), ValueError, "noise of u must be a positive number or None, got 0.0"),
    ],
)
def test_wrong_data_are_named(data, error, message):
    with pytest.raises(error, match=message):
        fit(decay(), data, "rate", FEATURES)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"free": "rat"}, KeyError, "free coefficient 'rat' does not exist.*Did you mean 'rate'"),
        ({"free": ()}, ValueError, "free must name one or more different coefficients, got none"),
        ({"free": ("rate", "rate")}, ValueError, "one or more different"),
        ({"positive": "source"}, KeyError, "positive coefficient 'source' does not exist; there is 'rate'"),
        ({"free": "source", "positive": "source"}, ValueError, "source must be a number above zero at the start, got 0.0"),
        ({"method": "adam"}, TypeError, r"method must be js\.RandomFeatures\(\.\.\.\).*got 'adam'"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        fit(decay(), GOOD, **({"free": "rate", "method": FEATURES} | options))


def test_intervals_have_a_level():
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        fitted(FEATURES).interval(95)


def test_observations_say_what_they_are():
    assert repr(Observations({"t": T[:3]}, {"u": [1.0, np.nan, 2.0]})) == (
        "Observations(2 values of 'u' at 3 points, noise estimated)"
    )


def test_windows_lie_inside():
    with pytest.raises(ValueError, match=r"window: t must lie in \[0, 2\], got \[1, 3\]"):
        decay().window(t=(1, 3))
