"""Diffusion and sorption: finite volumes against the similarity solution, by SciPy, and against Chebyshev collocation."""

import functools

import numpy as np
import pytest
from conftest import reference, solved
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import jaxsci as js
from jaxsci.problems import CATALOGUE


@functools.cache
def similarity_profile():
    """u(x / sqrt(t)) on the half line: -(s / 2) R(u) u' = D u'', u(0) = 1, u(inf) = 0.1, by shooting."""
    c = CATALOGUE["diffusion_sorption"].build().coefficients
    strength = (1 - c["porosity"]) / c["porosity"] * c["bulk_density"] * c["sorption"] * c["exponent"]

    def rates(s, y):
        retardation = 1 + strength * max(y[0], 1e-6) ** (c["exponent"] - 1)
        return [y[1], -s / 2 * retardation * y[1] / c["diffusivity"]]

    def shoot(slope, **options):
        return solve_ivp(rates, (0, 0.14), [1.0, slope], method="DOP853", rtol=1e-12, atol=1e-13, **options)

    slope = brentq(lambda slope: shoot(slope).y[0, -1] - 0.1, -60, -20, xtol=1e-12)
    return shoot(slope, dense_output=True).sol


def similarity(t, x):
    return np.where(x / np.sqrt(t) < 0.14, similarity_profile()(np.minimum(x / np.sqrt(t), 0.14))[0], 0.1)


@pytest.mark.slow
def test_1024_cells_agree_with_the_similarity_solution():
    """As long as the far wall is not felt."""
    solution = solved("diffusion_sorption", js.FiniteVolume(n=1024, estimate=False))
    x = np.asarray(solution.grid["x"])
    for k in (0, 1, 3):
        t = float(solution.ts[k])
        exact = similarity(t, x)
        error = np.linalg.norm(solution["u"][k] - exact) / np.linalg.norm(exact)
        assert error < 6e-5  # measured 1.6e-5 at t = 10
    assert np.ptp(similarity(float(solution.ts[3]), x)) > 0.85


def test_no_value_leaves_the_bounds_and_what_came_in_is_there():
    solution = solved("diffusion_sorption", js.FiniteVolume(n=1024, estimate=False))
    u, c = np.asarray(solution["u"]), solution.problem.coefficients
    assert u.min() >= 0.1 - 1e-12
    assert u.max() <= 1 + 1e-12
    assert np.diff(u, axis=1).max() < 1e-13  # falls monotonically
    density = u + (1 - c["porosity"]) / c["porosity"] * c["bulk_density"] * c["sorption"] * u ** c["exponent"]
    slope = 2 * (1 - u[:, 0]) * 1024  # at the wall
    inflow = c["diffusivity"] * np.trapezoid(slope[9:], solution.ts[9:])
    assert density[-1].mean() - density[9].mean() == pytest.approx(inflow, rel=1e-3)


@pytest.mark.slow
def test_finite_volumes_agree_with_the_reference():
    truth = reference("diffusion_sorption")
    assert float(truth.error_estimate) < 1e-5
    solution = js.solve(CATALOGUE["diffusion_sorption"].build(), js.FiniteVolume(n=1024))
    error = js.relative_l2(solution, truth)
    assert error < 2e-5
    assert error / 10 < float(solution.error_estimate) < 10 * error
    late = np.stack(np.meshgrid(np.asarray(solution.ts[:5]), np.linspace(0.005, 0.3, 50)), -1).reshape(-1, 2)
    values = np.asarray(truth.evaluate(t=late[:, 0], x=late[:, 1]))
    exact = np.array([similarity(t, np.asarray(x)) for t, x in late])
    assert np.linalg.norm(values - exact) / np.linalg.norm(exact) < 1e-6


@pytest.mark.slow
def test_reaction_and_diffusion_between_insulated_walls_agree_with_the_cosine_series():
    problem = CATALOGUE["reaction_diffusion"].build()
    truth = js.solve(problem, js.Spectral(n=96, rtol=1e-7), ts=[0.0, 2.5, 5.0])
    errors = []
    for n in (32, 64):
        solution = js.solve(problem, js.FiniteVolume(n=n, estimate=False), ts=[0.0, 2.5, 5.0]).check()
        x, y = np.meshgrid(solution.grid["x"], solution.grid["y"], indexing="ij")
        exact = np.asarray(truth.evaluate(t=5.0, x=x, y=y))
        errors.append(np.linalg.norm(solution.fields[-1] - exact) / np.linalg.norm(exact))
    assert errors[1] < 5e-3
    assert errors[0] > 3 * errors[1]
