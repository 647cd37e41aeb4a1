"""Certificates: the error equation's answer against the true error, where it damps, keeps and amplifies."""

import dataclasses
import functools

import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import LevenbergMarquardt, certify
from jaxsci.learning.certificate import stencil

FACTOR = 10  # stated: true <= estimate <= FACTOR * true

LOGISTIC = js.Equation(lambda u, rate: u.t - rate * u * (1 - u), name="logistic")


def logistic():
    exact = {"u": lambda t, rate: 1 / (1 + 9 * js.exp(-rate * t))}
    return js.Problem(LOGISTIC, js.Box(t=(0, 4)), coefficients={"rate": 1.5}, initial={"u": 0.1}, exact=exact)


@functools.cache
def rough():
    return js.solve(logistic(), js.RandomFeatures(12, tolerance=1.0, estimate=False))


@pytest.mark.slow
def test_an_ode_by_features_and_by_a_network():
    network = js.Neural(js.networks.MLP((6,)), optimiser=LevenbergMarquardt(steps=10), budget=None, estimate=False)
    for solution in (rough(), js.solve(logistic(), network)):
        certificate = certify(solution)
        error = js.relative_l2(solution, logistic().reference())
        assert certificate.kind == "error equation"
        assert error < certificate.estimate < FACTOR * error
        assert certificate.times.shape == certificate.growth.shape


@pytest.mark.slow
def test_the_growth_of_the_error_is_the_error():
    certificate = certify(rough())
    t = np.asarray(certificate.times)
    error = np.abs(np.asarray(rough().evaluate(t=t)) - 1 / (1 + 9 * np.exp(-1.5 * t)))
    np.testing.assert_allclose(certificate.growth, error, rtol=0.05, atol=0.05 * error.max())


@pytest.mark.slow
def test_a_perturbed_field_is_noticed():
    """Negative control: a field that is wrong by one per cent is certified with one per cent, not with its small residual."""

    class Wrong:
        def __call__(self, t):
            return 1 / (1 + 9 * js.exp(-1.5 * t)) + 0.01 * t**2 / 16

    import jax

    wrong = dataclasses.replace(rough(), field=jax.tree_util.Partial(Wrong()))
    t = np.linspace(0, 4, 2001)
    true = np.sqrt(np.mean((0.01 * t**2 / 16) ** 2) / np.mean((1 / (1 + 9 * np.exp(-1.5 * t))) ** 2))
    assert true < certify(wrong).estimate < 3 * true


@pytest.mark.parametrize("name", ["poisson", pytest.param("heat", marks=pytest.mark.slow)])
def test_partial_differential_equations(name):
    problem = getattr(js.problems, name)()
    solution = js.solve(problem, js.RandomFeatures(60, estimate=False))
    certificate, error = certify(solution), js.relative_l2(solution, problem.reference())
    assert error < certificate.estimate < FACTOR * error
    assert certificate.residual > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "factor"),
    [
        ("helmholtz", js.RandomFeatures(100, estimate=False), FACTOR),
        ("wave", js.RandomFeatures(10, tolerance=1e-3, estimate=False), FACTOR),
        ("lotka_volterra", js.RandomFeatures(30, tolerance=1e-3, estimate=False), FACTOR),
        ("lorenz", js.RandomFeatures(40, tolerance=1e-3, estimate=False), 100),  # chaotic: the halved resolution is far off
    ],
)
def test_reliability_on_the_catalogue(name, method, factor):
    problem = getattr(js.problems, name)()
    solution = js.solve(problem, method)
    error = js.relative_l2(solution, problem.reference())
    assert error < certify(solution).estimate < factor * error


def test_what_cannot_be_solved_says_so():
    """A pressure has no rate: the residual is all that is said."""
    problem = js.problems.navier_stokes_vorticity()
    exact = problem.reference(ts=[0.0, 0.5, 1.0])
    certificate = certify(exact)
    assert certificate.kind == "residual"
    assert certificate.growth is None
    assert certificate.estimate < 1e-12


@pytest.mark.parametrize("order", [1, 2, 3])
def test_stencils_are_exact_for_polynomials(order):
    nodes = np.array([-0.3, 0.1, 0.2, 0.7, 1.0])
    for degree in range(len(nodes)):
        exact = np.polynomial.Polynomial.basis(degree).deriv(order)(0.25)
        assert stencil(nodes, 0.25, order) @ nodes**degree == pytest.approx(exact, abs=1e-10)
