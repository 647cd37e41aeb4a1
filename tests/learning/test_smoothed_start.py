"""A kink at the seam diffuses as the heat equation says; starts without one are left as they are; jumps are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import HardConditions
from jaxsci.learning.smoothed_start import SmoothedStart

HEAT = js.Equation(lambda u, diffusivity: u.t - diffusivity * u.xx, name="heat")


def kinked(diffusivity=0.01, start=lambda x: x**2):
    box = js.Box(t=(0, 1), x=(-1, 1))
    return js.Problem(
        HEAT, box, coefficients={"diffusivity": diffusivity}, initial={"u": start}, boundary={"x": js.Periodic()}
    )


def lift_of(problem, conditions):
    return lambda t, x: conditions.lift("u", {"t": t, "x": x}, problem.coefficients)


@pytest.mark.slow
def test_what_is_added_solves_the_heat_equation_and_starts_from_the_kink():
    problem = kinked()
    lift = lift_of(problem, SmoothedStart(problem))
    added = lambda t, x: lift(t, x) - x**2
    t, x = jnp.full(9, 0.2), jnp.linspace(-1, -0.6, 9)
    rate = jax.vmap(jax.grad(added, 0))(t, x)
    bend = jax.vmap(jax.grad(jax.grad(added, 1), 1))(t, x)
    np.testing.assert_allclose(rate, 0.01 * bend, atol=1e-12)
    assert float(jnp.abs(rate).max()) > 0.05
    np.testing.assert_allclose(jax.vmap(added)(jnp.zeros(9), x), 0.0, atol=1e-15)


def test_the_lift_has_no_kink_after_the_start():
    problem = kinked()
    smoothed, kept = lift_of(problem, SmoothedStart(problem)), lambda x: x**2
    slope = jax.grad(smoothed, 1)
    assert float(slope(0.1, -1.0)) == pytest.approx(float(slope(0.1, 1.0)), abs=1e-12)
    assert float(slope(0.1, -1.0)) == pytest.approx(0.0, abs=1e-12), "a field that is even about the seam"
    assert jax.grad(kept)(-1.0) != jax.grad(kept)(1.0), "the negative control"


def test_a_smooth_start_is_lifted_as_by_hard_conditions():
    problem = kinked(start=lambda x: js.cos(np.pi * x))
    point = {"t": jnp.asarray(0.3), "x": jnp.asarray(0.9)}
    plain = HardConditions(problem).lift("u", point, problem.coefficients)
    np.testing.assert_allclose(SmoothedStart(problem).lift("u", point, problem.coefficients), plain, atol=1e-13)


def test_jumps_and_kinks_that_diffuse_all_around_are_refused():
    with pytest.raises(ValueError, match=r"its value jumps by 2 and its slope by 0 there \(a slope may.*js\.Spectral"):
        SmoothedStart(kinked(start=lambda x: x))
    with pytest.raises(ValueError, match=r"jumps by 0 and its slope by 4 there \(a slope may, where diffusion reaches less"):
        SmoothedStart(kinked(diffusivity=1.0))


@pytest.mark.slow
def test_random_features_start_from_a_kink():
    solution = js.solve(kinked(), js.RandomFeatures(24, tolerance=1e-2, grid=8), ts=[0.0, 0.5])
    x = np.asarray(solution.grid["x"])
    np.testing.assert_allclose(solution["u"][0], x**2, atol=1e-12)
    assert abs(float(solution["u"][-1, 0])) < 0.95  # the seam, 1 at the start, is rounded off
    assert float(solution.error_estimate) < 0.1


@pytest.mark.slow
def test_a_network_starts_from_a_kink():
    optimiser = js.learning.LevenbergMarquardt(steps=3, points=60)
    field = js.solve(kinked(), js.Neural(js.networks.MLP((4,)), optimiser=optimiser, grid=4, estimate=False)).field
    slope = jax.grad(lambda t, x: field(t, x)[0], 1)
    assert float(slope(0.1, -1.0)) == pytest.approx(float(slope(0.1, 1.0)), abs=1e-12)
    np.testing.assert_allclose(
        jax.vmap(lambda x: field(0.0, x)[0])(jnp.linspace(-1, 1, 5)), [1, 0.25, 0, 0.25, 1], atol=1e-15
    )
