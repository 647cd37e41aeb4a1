"""Steady linear problems: one direct solve, on series and on Chebyshev grids."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference, solved

import jaxsci as js

S = js.Spectral


@pytest.mark.parametrize(("name", "n"), [("poisson", 4), ("helmholtz", 16)])
def test_catalogued_steady_problems_are_solved_to_round_off(name, n):
    solution = solved(name, S(n))
    assert js.relative_l2(solution, reference(name)) < 2e-14
    assert solution.ts is None
    assert solution.fields.shape == (1, n + 1, n + 1)


def test_an_indefinite_helmholtz_is_solved_too():
    problem = js.problems.helmholtz(wavenumber=10.0)
    assert js.relative_l2(js.solve(problem, S(16)), problem.reference()) < 1e-13


@pytest.mark.slow
def test_poisson_with_uneven_walls_converges_exponentially():
    held = js.Dirichlet(lambda x, y: js.exp(x + y / 2))
    problem = js.manufactured(
        js.Equation(lambda u: -(u.xx + u.yy)),
        js.Box(x=(0, 1), y=(-1, 1)),
        coefficients={},
        exact={"u": lambda x, y: js.exp(x + y / 2)},
        boundary={"x": held, "y": held},
    )
    errors = [js.relative_l2(js.solve(problem, S(n)), problem.reference()) for n in (4, 8)]
    assert all(e < limit for e, limit in zip(errors, (1e-4, 1e-10), strict=True))  # measured 3.2e-5, 3.6e-11


def test_a_periodic_poisson_has_mean_zero():
    problem = js.Problem(js.Equation(lambda u, x: u.xx + js.sin(2 * np.pi * x)), js.Box(x=(0, 1)))
    solution = js.solve(problem, S(16))
    x = solution.grid["x"]
    assert jnp.allclose(solution["u"], jnp.sin(2 * jnp.pi * x) / (4 * jnp.pi**2), atol=1e-16)


@pytest.mark.parametrize("boundary", [js.Periodic(), js.Neumann(0)], ids=["periodic", "neumann"])
def test_a_load_with_a_mean_that_nothing_balances_is_refused(boundary):
    equation = js.Equation(lambda u, x: u.xx + js.cos(2 * np.pi * x) + 3)
    with pytest.raises(ValueError, match=r"left with a residual of .* of its load.*no solution"):
        js.solve(js.Problem(equation, js.Box(x=(0, 1)), boundary={"x": boundary}), S(16))


def test_a_steady_system_is_solved_in_one_go():
    # A stream function and its vorticity: lap psi = -w, w = source
    problem = js.Problem(
        js.Equation(lambda w, psi, x, y: (psi.xx + psi.yy + w, w - 2 * js.cos(x) * js.cos(y)), "w psi"),
        js.Box(x=(0, 2 * np.pi), y=(0, 2 * np.pi)),
    )
    solution = js.solve(problem, S(8))
    x, y = np.meshgrid(solution.grid["x"], solution.grid["y"], indexing="ij")
    assert jnp.allclose(solution["psi"], np.cos(x) * np.cos(y), atol=1e-15)
    assert jnp.allclose(solution["w"], 2 * np.cos(x) * np.cos(y), atol=1e-15)


def test_one_dimension_with_walls_of_two_kinds():
    equation = js.Equation(lambda u, x: u.xx - js.exp(x))
    problem = js.Problem(equation, js.Box(x=(0, 1)), boundary={"x": (js.Neumann(2), js.Dirichlet(-1))})
    solution = js.solve(problem, S(16))
    x = solution.grid["x"]
    assert jnp.allclose(solution["u"][:], jnp.exp(x) + x - jnp.e - 2, atol=1e-13)  # u' = exp(x) + 1, u(1) = -1
