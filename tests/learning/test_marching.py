"""The march in slabs: exact starts, invariants, coordinates that follow the field, errors that are carried along."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import HardConditions
from jaxsci.learning.coordinates import uniform
from jaxsci.learning.space_features import draw_basis, units

ADVECTION = js.RandomFeatures(11, tolerance=1e-9)


@functools.cache
def advected():
    return js.solve(js.problems.advection(speed=5.0), ADVECTION)


@pytest.mark.slow
def test_waves_on_a_circle_are_exact_in_space():
    problem = js.problems.advection(speed=5.0)
    error = js.relative_l2(advected(), problem.reference())
    assert error < 1e-11  # measured 1e-14 at speed 80
    assert error < 10 * float(advected().error_estimate) < 1e-6


@pytest.mark.slow
def test_slabs_join_without_a_jump_and_start_exactly():
    solution = advected()
    assert solution.stats["slabs"] > 2
    meet, x = jnp.asarray(solution.field.slabs.start)[1:], 0.7
    below, above = (jax.vmap(lambda t: solution.field(t, x)[0])(meet * (1 + s)) for s in (-1e-12, 1e-12))
    np.testing.assert_allclose(below, above, atol=1e-10)
    xs = jnp.linspace(0, 2 * np.pi, 9)
    np.testing.assert_allclose(jax.vmap(lambda x: solution.field(0.0, x)[0])(xs), np.sin(xs), atol=1e-15)
    np.testing.assert_allclose(solution.field(1.0, 0.0), solution.field(1.0, 2 * np.pi), atol=1e-13)


def test_periodic_units_are_the_longest_waves():
    conditions = HardConditions(js.problems.advection())
    basis = draw_basis(conditions, uniform(), 5, None, jax.random.key(0))
    x = 1.1  # the first inputs run from -pi to pi
    expected = [1, np.cos(x - np.pi), np.sin(x - np.pi), np.cos(2 * (x - np.pi)), np.sin(2 * (x - np.pi))]
    found = units(conditions, basis, {"x": jnp.asarray(x)})[0]
    np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(expected)), atol=1e-12)


@pytest.mark.slow
def test_linear_invariants_are_kept_to_round_off():
    loss = js.Equation(lambda a, b, rate: (a.t + rate * a**2, b.t - rate * a**2), "a b", name="loss")
    problem = js.Problem(loss, js.Box(t=(0, 100)), coefficients={"rate": 2.0}, initial={"a": 1.0, "b": 0.0})
    solution = js.solve(problem, js.RandomFeatures(tolerance=1e-8))
    np.testing.assert_allclose(solution.fields.sum(axis=1), 1.0, rtol=1e-14)
    t = np.asarray(solution.ts)
    np.testing.assert_allclose(solution["a"], 1 / (1 + 2 * t), rtol=1e-7)


@pytest.mark.slow
def test_the_estimate_follows_an_instability():
    growth = js.Equation(lambda u, rate: u.t - rate * u, name="growth")
    estimates = []
    for rate in (-6.0, 6.0):
        problem = js.Problem(growth, js.Box(t=(0, 1)), coefficients={"rate": rate}, initial={"u": 1.0})
        solution = js.solve(problem, js.RandomFeatures(tolerance=1e-6))
        field, t = np.asarray(solution.fields)[:, 0], np.asarray(solution.ts)
        error = np.linalg.norm(field - np.exp(rate * t)) / np.linalg.norm(np.exp(rate * t))
        assert error < float(solution.error_estimate) < 1e-2
        estimates.append(float(solution.error_estimate) * np.sqrt(np.mean(field**2)))
    assert estimates[1] > 20 * estimates[0]  # in units of the field


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "bound"),
    [
        ("burgers", {"n": 200, "tolerance": 1e-9}, 1e-9),  # measured 5e-11
        ("allen_cahn", {"n": 257, "points": 500, "tolerance": 1e-7}, 2e-6),  # measured 8e-7, the reference's floor 6e-7
        ("kdv", {"n": 257, "points": 400, "tolerance": 1e-8}, 1e-7),  # measured 9e-9
        ("kuramoto_sivashinsky", {"n": 385, "points": 520, "tolerance": 1e-6}, 1e-6),  # measured 4e-9
        ("robertson", {"tolerance": 1e-8}, 1e-6),  # measured 3e-9
    ],
)
def test_records(name, options, bound):
    problem = getattr(js.problems, name)()
    assert js.relative_l2(js.solve(problem, js.RandomFeatures(**options)), problem.reference()) < bound
