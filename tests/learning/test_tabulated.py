"""Tabulated features: the same numbers as the general objective; derivatives as observations; too few features are noticed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Observations, fit
from jaxsci.learning.free import LearnedField
from jaxsci.learning.objective import Batch
from jaxsci.learning.observations import prepare
from jaxsci.learning.stages import Frozen
from jaxsci.learning.tabulated import TabulatedField

MOVING = js.Equation(
    lambda u, v, speed, kappa: (u.t + speed * u.x - v, v - kappa * u.xx + 0.1 * u * v * kappa**2), "u v", name="moving"
)
BURGERS = js.Equation(lambda u, kappa: u.t + 0.5 * u * u.x - kappa * u.xx, name="burgers")
KAPPA, NOISE = 0.3, 1e-2


def window(equation, **coefficients):
    whole = js.Problem(
        equation, js.Box(t=(0, 2), x=(0, 2 * np.pi)), coefficients=coefficients,
        initial={"u": 0.0}, boundary={"x": js.Periodic()},
    )  # fmt: skip
    return whole.window(t=(0.2, 1.2), x=(1, 4))


@functools.cache
def scattered(count, noise=NOISE):
    """Burgers' equation by Cole and Hopf, u = -4 kappa f_x / f with f of the heat equation: u and u_x with noise."""
    random = np.random.default_rng(1)
    t, x = random.uniform(0.2, 1.2, count), random.uniform(1, 4, count)
    wave = 0.5 * np.exp(-KAPPA * t)
    f, fx, fxx = 1 + wave * np.cos(x), -wave * np.sin(x), -wave * np.cos(x)
    u, ux = -4 * KAPPA * fx / f, -4 * KAPPA * (fxx / f - (fx / f) ** 2)
    noisy = lambda a: a + noise * random.normal(size=count)
    return {"t": t, "x": x}, {"u": noisy(u), "u.x": noisy(ux)}


@pytest.mark.slow
def test_rows_and_jacobian_are_those_of_the_general_objective():
    random = np.random.default_rng(0)
    problem = window(MOVING, speed=1.5, kappa=0.3)
    place = {"t": random.uniform(0.2, 1.2, 12), "x": random.uniform(1, 4, 12)}
    seen = {"v": random.normal(size=12), "u.xx": np.where(np.arange(12) % 3, random.normal(size=12), np.nan)}
    data = prepare(problem, Observations(place, seen, {"v": 0.1, "u.xx": 0.2}))
    arguments = (problem, Frozen(7, 1.0, 1.0, 3), ("speed", "kappa"), ("kappa",), data.seen)
    general, tabulated = LearnedField.with_free(*arguments), TabulatedField.with_free(*arguments)
    unknowns = general.init(jax.random.key(0), problem.coefficients)
    unknowns = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), unknowns)
    points = jnp.asarray(np.stack([place["t"], place["x"]], axis=-1)[:5])
    observed = Batch({"data": data.points}, {"data": data.weights}, {"data": data.targets})

    def parts(objective):
        equation = Batch({"equation": objective.at_equation(points)}, {"equation": jnp.full((5, 2), 0.7)}, {})
        for batch in (equation, objective.at_data(observed)):
            yield jax.jit(lambda batch: objective.linearise(unknowns, problem.coefficients, batch))(batch)

    (value, jacobian), (gap, influence) = parts(tabulated)
    (value_, jacobian_), (gap_, influence_) = parts(general)
    np.testing.assert_allclose(value, value_, rtol=1e-12)
    np.testing.assert_allclose(jacobian, jacobian_, rtol=1e-11, atol=1e-12)
    # the observations only up to a rotation of their rows
    np.testing.assert_allclose(gap @ gap, gap_ @ gap_, rtol=1e-12)
    np.testing.assert_allclose(influence.T @ gap, influence_.T @ gap_, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(influence.T @ influence, influence_.T @ influence_, rtol=1e-11, atol=1e-11)


@functools.cache
def fitted(units):
    data = Observations(*scattered(400), NOISE)
    return fit(window(BURGERS, kappa=1.0), data, "kappa", js.RandomFeatures(units, scale=0.8, grid=8), positive="kappa")


@pytest.mark.slow
def test_derivatives_are_observations():
    inverse = fitted(120)
    low, high = map(float, inverse.interval(0.99)["kappa"])
    assert low < KAPPA < high
    assert high / low < 1.1, "and it says something"
    assert inverse.settled
    assert inverse.misfit == pytest.approx(1.0, abs=0.15)
    assert inverse.noise == {"u": NOISE, "u.x": NOISE}


@pytest.mark.slow
def test_features_that_cannot_follow_end_the_descent_early():
    """The equation is not pressed onto a field that cannot obey it, which would bend coefficient and interval."""
    poor, rich = fitted(12), fitted(120)
    assert not poor.settled
    assert poor.tau > 3 * rich.tau
    assert "still depends" in poor.summary()
    assert float(poor.deviations["kappa"]) > float(rich.deviations["kappa"])


def test_a_solver_takes_values_only():
    place, values = scattered(400)
    with pytest.raises(ValueError, match=r"u\.x is a derivative, which only js\.RandomFeatures"):
        fit(window(BURGERS, kappa=1.0), Observations(place, {"u.x": values["u.x"]}, NOISE), "kappa", js.Spectral(16))
