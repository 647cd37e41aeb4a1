"""One exponential Runge-Kutta step: exact where it must be, and of its order on small systems."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from jaxsci.solvers import etdrk

KINDS = ("diagonal", "blocks", "dense")
LINEAR = np.array([[-30.0, 2.0], [1.0, -0.5]])


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def step(kind, order, linear, nonlinear, state, h):
    return etdrk.step(kind, order, etdrk.tables(kind, linear, h, order), nonlinear, state, 0.0)


def in_form(kind, matrix, state):
    """The same 2 x 2 system as numbers, as one matrix per mode (three equal modes), or as a dense matrix."""
    if kind == "blocks":
        return np.broadcast_to(matrix[..., None], (2, 2, 3)), np.broadcast_to(state[:, None], (2, 3))
    return (np.diag(matrix) if kind == "diagonal" else matrix), state


@pytest.mark.parametrize("kind", KINDS)
def test_linear_systems_are_stepped_exactly(kind):
    matrix = np.diag(np.diag(LINEAR)) if kind == "diagonal" else LINEAR
    linear, state = in_form(kind, matrix, np.array([1.0, -2.0]))
    expected = expm(0.7 * matrix) @ np.array([1.0, -2.0])
    expected = expected[:, None] if kind == "blocks" else expected
    assert np.abs(np.asarray(step(kind, 4, linear, None, state, 0.7)) - expected).max() < 1e-14


@pytest.mark.parametrize(
    ("kind", "order", "degree"),
    [("diagonal", 1, 0), ("diagonal", 2, 1), ("diagonal", 3, 2), ("dense", 2, 1), ("dense", 4, 2), ("blocks", 3, 2)],
)
def test_forcings_that_are_polynomials_in_time_are_integrated_exactly(kind, order, degree):
    # u' = L u + t^degree with the exact solution by quadrature of the variation of constants
    matrix = np.diag(np.diag(LINEAR)) if kind == "diagonal" else LINEAR
    linear, state = in_form(kind, matrix, np.array([1.0, -2.0]))
    found = step(kind, order, linear, lambda u, t: jnp.full_like(u, t**degree), state, 0.5)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    s = 0.25 * (nodes + 1)
    forced = sum(0.25 * w * expm((0.5 - x) * matrix) @ np.full(2, x**degree) for x, w in zip(s, weights, strict=True))
    expected = expm(0.5 * matrix) @ np.array([1.0, -2.0]) + forced
    assert np.abs(np.asarray(found).reshape(2, -1) - expected[:, None]).max() < 2e-14


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_step_has_a_local_error_one_order_above_its_order(order):
    # u' = -2 u + (u^2 + 2 u): u' = u^2, u = 1 / (2 - t) from 1/2; the nonlinearity undoes the stiffness
    errors = []
    rate = lambda u, t: u**2 + 2 * u
    for h in (0.1, 0.05):
        found = step("diagonal", order, np.array([-2.0]), rate, np.array([0.5]), h)
        errors.append(abs(float(found[0]) - 1 / (2 - h)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.25)


def test_explicit_time_is_passed_on():
    table = etdrk.tables("diagonal", jnp.asarray([-1.0]), jnp.asarray(0.1), 4)
    rate = lambda u, t: jnp.cos(t) + jnp.sin(t) + 0 * u  # u' = -u + cos t + sin t: u = sin t
    found = jnp.sin(jnp.asarray([1.0]))
    for i in range(10):
        found = etdrk.step("diagonal", 4, table, rate, found, 1.0 + i * 0.1)
    assert float(found[0]) == pytest.approx(np.sin(2.0), abs=2e-7)  # measured 1.1e-7; without its time: 0.1


@pytest.mark.parametrize(("order", "rate"), [(1, 2), (2, 3), (3, 3), (4, 4)])
def test_embedded_estimates_have_their_order_and_bound_the_error(order, rate):
    nonlinear = lambda u, t: u**2 + 2 * u  # u' = u^2 again
    estimates, errors = [], []
    for h in (0.1, 0.05):
        table, start = etdrk.tables("diagonal", jnp.asarray([-2.0]), jnp.asarray(h), order), jnp.asarray([0.5])
        new, end, estimate = etdrk.step_with_error("diagonal", order, table, nonlinear, start, 0.0, nonlinear(start, 0.0))
        assert jnp.array_equal(end, nonlinear(new, h))
        estimates.append(abs(float(estimate[0])))
        errors.append(abs(float(new[0]) - 1 / (2 - h)))
    assert np.log2(estimates[0] / estimates[1]) == pytest.approx(rate, abs=0.25)
    assert all(0.2 * error < estimate for error, estimate in zip(errors, estimates, strict=True))
