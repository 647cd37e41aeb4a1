"""Implicit diffusion along an axis: order in time, stiffness, walls, nonlinear densities and fluxes, conservation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.diffusion import _periodic_solve, diffuse, is_linear
from jaxsci.solvers.finite_volume import volumes_of

run = jax.jit(diffuse, static_argnums=0)


def which_of(function, n, coefficients=None, **boundary):
    problem = js.Problem(
        js.Equation(function), js.Box(t=(0, 1), x=(0, 1)), initial={"u": 0.0}, coefficients=coefficients, boundary=boundary
    )
    volumes = volumes_of(problem, n, "none")
    return (volumes, 0, 0, 0), jnp.asarray(volumes.grid()["x"]), problem.coefficients


def heat(n, **boundary):
    return which_of(lambda u, k: u.t - k * u.xx, n, {"k": 1.0}, **boundary)


def test_periodic_solve_agrees_with_a_dense_one():
    random = np.random.default_rng(0)
    lower, upper, right = random.normal(size=(3, 4, 7))
    diagonal = random.normal(size=(4, 7)) + 5
    got = _periodic_solve(*map(jnp.asarray, (lower, diagonal, upper, right)))
    for k in range(4):
        matrix = np.diag(diagonal[k]) + np.roll(np.diag(lower[k]), -1, 1) + np.roll(np.diag(upper[k]), 1, 1)
        np.testing.assert_allclose(got[k], np.linalg.solve(matrix, right[k]), rtol=1e-12)


def test_order_in_time_is_two():
    """Against the exact decay of the grid's own cosine, so that space has no part in it."""
    which, x, coefficients = heat(16, x=js.Neumann(0))
    start = jnp.cos(jnp.pi * x)
    rate = 2 * (1 - np.cos(np.pi / 16)) * 16**2
    errors = []
    for steps in (4, 8, 16):
        u = start
        for _ in range(steps):
            u, _ = run(which, u, 0.0, 0.2 / steps, coefficients)
        errors.append(float(jnp.max(jnp.abs(u - np.exp(-0.2 * rate) * start))))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.abs(orders - 2) == pytest.approx(0, abs=0.15)  # measured 1.94, 1.97


def test_stiff_modes_die_at_once():
    which, _, coefficients = heat(64)
    noise = jnp.asarray(np.random.default_rng(0).normal(size=64))
    u, _ = run(which, noise, 0.0, 1e6, coefficients)
    assert float(jnp.max(jnp.abs(u - noise.mean()))) < 1e-6
    assert float(u.sum()) == pytest.approx(float(noise.sum()), abs=1e-4)  # dt / h^2 roundings


@pytest.mark.parametrize("boundary", [{}, {"x": js.Neumann(0)}])
def test_sum_of_a_bent_density_is_kept(boundary):
    which, x, coefficients = which_of(lambda u: (u + js.sqrt(u)).t - ((1 + u**2) * u.x).x, 32, **boundary)
    assert not is_linear(which)
    u = 1 + 0.9 * jnp.sin(2 * jnp.pi * x) ** 3
    before = float(jnp.sum(u + jnp.sqrt(u)))
    for _ in range(5):
        u, _ = run(which, u, 0.0, 0.01, coefficients)
    assert float(jnp.sum(u + jnp.sqrt(u))) == pytest.approx(before, rel=1e-14)
    assert float(jnp.ptp(u)) < 0.9  # and it has diffused


@pytest.mark.parametrize(
    ("walls", "exact"),
    [
        ((js.Dirichlet(1), js.Dirichlet(3)), lambda x: 1 + 2 * x),
        ((js.Dirichlet(1), js.Neumann(-2)), lambda x: 1 - 2 * x),
        ((js.Neumann(0.5), js.Dirichlet(2)), lambda x: 1.5 + 0.5 * x),
        ((js.Dirichlet(2), js.Outflow()), lambda x: 2 + 0 * x),
    ],
)
def test_walls_hold_their_values_and_slopes(walls, exact):
    which, x, coefficients = heat(10, x=walls)
    assert is_linear(which)
    u = jnp.zeros(10)
    for _ in range(4):
        u, _ = run(which, u, 0.0, 1e6, coefficients)  # to the steady state
    np.testing.assert_allclose(u, exact(x), atol=1e-8)


def test_porous_medium_spreads_as_barenblatt_found():
    """u_t = (u^2)_xx has the solution t^(-1/3) (C - x^2 / (12 t^(2/3)))_+, whose front moves at a finite speed."""
    exact = lambda t, x: t ** (-1 / 3) * jnp.maximum(0.05 - x**2 / (12 * t ** (2 / 3)), 0)
    problem = js.Problem(
        js.Equation(lambda u: u.t - (u**2).xx), js.Box(t=(1, 3), x=(-2, 2)),
        initial={"u": lambda x: exact(1.0, x)}, boundary={"x": js.Neumann(0)},
    )  # fmt: skip
    errors = []
    for n in (50, 100):
        solution = js.solve(problem, js.FiniteVolume(n=n, estimate=False), ts=[1.0, 3.0]).check()
        u, x = solution["u"][-1], solution.grid["x"]
        errors.append(float(jnp.linalg.norm(u - exact(3.0, x)) / jnp.linalg.norm(exact(3.0, x))))
        assert float(u.sum()) == pytest.approx(float(solution["u"][0].sum()), rel=1e-13)
        assert solution.stats["least_u"] > -1e-6
    assert errors[1] < 5e-3
    assert errors[1] < errors[0] / 1.7
