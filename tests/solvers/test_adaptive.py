"""`js.Adaptive`: tolerances, stiffness, error estimates, interpolation, PDEs by the method of lines, its refusals."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference, solved

import jaxsci as js

A = js.Adaptive


@js.equation("u v")
def oscillator(u, v, frequency):
    return u.t - frequency * v, v.t + frequency * u


def oscillating(frequency=3.0):
    return js.Problem(oscillator, js.Box(t=(0, 2)), coefficients={"frequency": frequency}, initial={"u": 0.0, "v": 1.0})


# --- accuracy ----------------------------------------------------------------------------------------------------------


def test_the_error_follows_the_tolerance():
    errors = []
    for rtol in (1e-9, 1e-11, 1e-13):
        solution = js.solve(oscillating(), A(rtol=rtol, atol=rtol, estimate=False))
        errors.append(float(jnp.max(jnp.abs(solution["u"] - jnp.sin(3 * solution.ts)))))
    assert errors[0] < 2e-7  # measured 5.8e-8, 1.8e-9, 5.8e-11: a tolerance bounds the error of a step, not their sum
    assert errors[0] > 15 * errors[1] > 15 * 15 * errors[2]


def points_in_time(problem, count=300):
    nodes = problem.times  # between saved times, on the scale of the problem
    at = np.random.default_rng(3).uniform(0, len(nodes) - 1, count)
    return np.interp(at, np.arange(len(nodes)), nodes)[:, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "ratio"),  # how many times the error between saved times the estimate is
    [
        ("lorenz", A(rtol=1e-8, atol=1e-8), 9.5),
        ("lorenz", A(rtol=1e-10, atol=1e-10), 7),
        ("lotka_volterra", A(rtol=1e-8, atol=1e-8), 9.7),
        ("lotka_volterra", A(rtol=1e-10, atol=1e-10), 6.1),
        ("robertson", A(rtol=1e-4, atol=1e-8), 4.7),
        ("robertson", A(rtol=1e-7, atol=1e-11), 3.1),
    ],
)
def test_error_estimates_are_honest_between_the_saved_times_too(name, method, ratio):
    solution = solved(name, method)
    error = js.relative_l2(solution, reference(name), points_in_time(solution.problem))
    assert error < solution.error_estimate < 2 * ratio * error


# --- choice of solver ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_stiff_systems_get_an_implicit_solver():
    assert solved("robertson", A(rtol=1e-4, atol=1e-8)).stats["steps"] < 1000  # an explicit one would need over 1e14
    assert solved("robertson", A(rtol=1e-4, atol=1e-8)).stats["succeeded"]


@pytest.mark.slow
def test_any_solver_of_diffrax_can_be_given():
    fixed = js.solve(oscillating(), A(rtol=1e-5, atol=1e-5, solver=diffrax.Bosh3(), estimate=False))
    usual = js.solve(oscillating(), A(rtol=1e-5, atol=1e-5, estimate=False))
    assert fixed.stats["steps"] > 2 * usual.stats["steps"]  # order 3 against 5
    assert jnp.allclose(fixed.fields, usual.fields, atol=2e-4)


def test_giving_up_is_reported_and_named():
    solution = js.solve(js.problems.lorenz(), A(max_steps=16, estimate=False))
    assert not solution.stats["succeeded"]
    with pytest.raises(FloatingPointError, match=r"lorenz: the integration did not reach its end.*rtol.*max_steps"):
        solution.check()


# --- PDEs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_walls_that_move_pass_through_the_method_of_lines():
    solution = js.solve(js.problems.fisher_kpp(), A(n=20, rtol=1e-6, atol=1e-8))
    error = js.relative_l2(solution, reference("fisher_kpp"))
    assert error < 1e-5  # measured 1.7e-6; the estimate is dominated by ten times the tolerance, 1.2e-4
    assert error < solution.error_estimate < 1e-3


# --- gradients -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_forward_mode_gradients_agree_with_the_closed_form():  # reverse mode: tests/test_conformance.py
    method = A(rtol=1e-9, atol=1e-9, solver=diffrax.Dopri8(), adjoint=diffrax.ForwardMode())
    final = lambda frequency: js.solve(oscillating().with_coefficients(frequency=frequency), method, ts=[0.0, 2.0]).fields[
        -1, 0
    ]
    assert float(jax.jacfwd(final)(3.0)) == pytest.approx(2 * np.cos(6.0), rel=1e-7)


# --- refusals --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"rtol": 0.0}, {"rtol": -1e-3}, {"atol": -1e-9}, {"rtol": float("nan")}])
def test_impossible_tolerances_are_refused(options):
    with pytest.raises(ValueError, match="rtol must be positive and atol not negative"):
        A(**options)


def test_steady_problems_are_sent_elsewhere():
    with pytest.raises(ValueError, match=r"poisson is steady; use js.Spectral, js.RandomFeatures or js.Neural"):
        js.solve(js.problems.poisson(), A())
