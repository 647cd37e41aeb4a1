"""Many fits at once are the fits one by one."""

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import FirstOrder, LevenbergMarquardt, Scheme, fit_many

LOGISTIC = js.Equation(lambda u, rate: u.t - rate * u * (1 - u), name="logistic")
NETWORK = js.networks.MLP((4,))
METHOD = js.Neural(NETWORK, optimiser=FirstOrder(points=64, steps=200, resample=50), budget=None, estimate=False)
SECOND = js.Neural(NETWORK, optimiser=LevenbergMarquardt(points=64, steps=12, resample=5), budget=None, estimate=False)
RATES = [1.0, 1.0, 2.0]


def logistic(rate=1.0):
    return js.Problem(LOGISTIC, js.Box(t=(0, 2)), coefficients={"rate": rate}, initial={"u": 0.1})


@pytest.mark.slow
@pytest.mark.parametrize("method", [METHOD, pytest.param(SECOND, marks=pytest.mark.slow)], ids=["first", "second"])
def test_seeds_and_coefficients_at_once_equal_the_loop(method):
    keys, lines = jax.random.split(jax.random.key(3), 3), []
    keys = keys.at[1].set(keys[0])
    many = fit_many(logistic(), method, keys=keys, coefficients={"rate": RATES}, progress=lines.append)
    for i in (0, 2):
        alone = js.solve(logistic(RATES[i]), method, key=keys[i])
        np.testing.assert_allclose(many[i].fields, alone.fields, rtol=1e-8, atol=1e-10)
        assert many[i].problem.coefficients == alone.problem.coefficients
        assert many[i].stats["residual"] == pytest.approx(alone.stats["residual"], rel=1e-6)
        assert (many[i].stats["steps"], many[i].stats["stopped"]) == (alone.stats["steps"], alone.stats["stopped"])
    np.testing.assert_array_equal(many[0].fields, many[1].fields)  # the same fit twice
    assert not np.allclose(many[0].fields, many[2].fields, atol=1e-3)
    assert lines[-1].startswith(f"{type(method.optimiser).__name__} step {method.optimiser.steps}: residual ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give keys, or coefficients, and as many of each; got neither"),
        (
            {"coefficients": {"rate": [1.0, 2.0]}, "keys": jax.random.split(jax.random.key(0), 3)},
            "as many of each; got {'rate': 2, 'keys': 3}",
        ),
        ({"coefficients": {"rates": [1.0]}}, "coefficient 'rates' does not exist"),
    ],
)
def test_numbers_of_values_that_disagree_are_refused(options, message):
    with pytest.raises((ValueError, KeyError), match=message):
        fit_many(logistic(), METHOD, **options)


def test_what_cannot_be_mapped_is_refused():
    keys = jax.random.split(jax.random.key(0), 2)
    with pytest.raises(ValueError, match="windows and checkpoint cannot be mapped over many fits"):
        fit_many(logistic(), js.Neural(scheme=Scheme(windows=2), checkpoint="here", estimate=False), keys=keys)
    with pytest.raises(TypeError, match=r"method must be a js\.Neural, got Spectral"):
        fit_many(logistic(), js.Spectral(), keys=keys)
