"""Grids: Riccati's values, probabilities of cells, quadratures, two axes, and grids that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control.grid_programming import (
    GridPolicy,
    binned,
    discretised,
    gauss_hermite,
    interpolated,
    lognormal,
    normal,
    points,
)
from jaxsci.control.rollout import rollout
from jaxsci.control.tables import policy_iteration
from jaxsci.control.task import Task

LINEAR = Task(
    dynamics=lambda p, s, a: p * s + a,
    cost=lambda p, s, a, after: s**2 + a**2,
    init=lambda p: jnp.asarray(0.7),
    horizon=60,
    parameters=0.9,
    discount=0.95,
)


def riccati(a, b, q, r, discount):
    """P of V = x^T P x, by iteration, and the gain of u = -gain x."""
    p = np.zeros_like(q)
    for _ in range(2000):
        gain = np.linalg.solve(r + discount * b.T @ p @ b, discount * b.T @ p @ a)
        p = q + discount * a.T @ p @ (a - b @ gain)
    return p, gain


def test_a_linear_quadratic_task_has_riccatis_values_and_policy():
    one = np.ones((1, 1))
    p, gain = riccati(0.9 * one, one, one, one, 0.95)
    n = 81
    grid, actions = jnp.linspace(-1, 1, n), jnp.linspace(-1, 1, 4 * n)
    mdp = discretised(LINEAR, grid, actions)
    mdp.check()
    found = policy_iteration(mdp)
    np.testing.assert_allclose(found.values, p[0, 0] * grid**2, atol=3e-3)
    np.testing.assert_allclose(actions[found.policy], -gain[0, 0] * grid, atol=1.5 / n)
    assert abs(float(mdp.start @ found.values) - p[0, 0] * 0.49) < 3e-3
    run = rollout(LINEAR, GridPolicy(grid, actions), found.policy)
    assert abs(float(run.total) - p[0, 0] * 0.49) < 1e-3


@pytest.mark.slow
def test_two_axes_against_riccati():
    a, b = np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[0.0], [0.5]])
    p, _ = riccati(a, b, np.eye(2), np.eye(1), 0.8)
    task = Task(
        dynamics=lambda _, s, u: jnp.asarray(a) @ s + jnp.asarray(b)[:, 0] * u,
        cost=lambda _, s, u, after: s @ s + u**2,
        init=lambda _: jnp.asarray([0.3, -0.2]),
        horizon=40,
        discount=0.8,
    )
    grid = (jnp.linspace(-2, 2, 25), jnp.linspace(-1.5, 1.5, 19))
    actions = jnp.linspace(-2, 2, 21)
    mdp = discretised(task, grid, actions)
    mdp.check()
    every = points(grid)
    assert every.shape == (25 * 19, 2)
    np.testing.assert_array_equal(every[1], [-2, grid[1][1]])
    found = policy_iteration(mdp)
    exact = np.einsum("ni,ij,nj->n", every, p, every)
    inner = np.abs(every).max(axis=1) <= 0.6
    np.testing.assert_allclose(found.values[inner], exact[inner], atol=0.2)
    np.testing.assert_allclose(mdp.start @ every, [0.3, -0.2], atol=1e-14)  # interpolation keeps the mean
    policy = GridPolicy(grid, actions)
    np.testing.assert_allclose(policy(found.policy, every[237]), actions[found.policy[237]], atol=1e-12)


def test_cells_have_the_probability_of_their_distribution():
    grid = jnp.linspace(0, 15, 301)
    shares = jax.jit(binned(lambda p, s, a, x: lognormal(x, s - a, 0.05), grid))
    for median in (3.0, 8.0, 14.9):
        row = shares(None, median, 0.0)
        np.testing.assert_allclose(row.sum(), 1, atol=1e-14)
        assert float(row.min()) >= 0
    row = shares(None, 8.0, 0.0)
    np.testing.assert_allclose(row @ grid, 8 * np.exp(0.05**2 / 2), atol=1e-4)
    np.testing.assert_allclose(jnp.sqrt(row @ grid**2 - (row @ grid) ** 2), 8 * 0.05, rtol=5e-3)
    np.testing.assert_array_equal(shares(None, 8.0, 8.0), jnp.eye(301)[0])
    gradient = jax.jit(jax.grad(lambda m: binned(lambda p, s, a, x: lognormal(x, m, 0.05), grid)(None, 0.0, 0.0) @ grid))
    np.testing.assert_allclose(gradient(8.0), np.exp(0.05**2 / 2), rtol=1e-3)
    assert np.isfinite(gradient(0.0))
    plain = binned(lambda p, s, a, x: normal(x, s, a), grid)(None, 7.0, 0.5)
    np.testing.assert_allclose(plain @ (grid - 7) ** 2, 0.25 + 0.05**2 / 12, rtol=1e-6)  # Sheppard's correction


def test_a_quadrature_has_the_moments_of_the_normal():
    nodes, weights = gauss_hermite(4)
    for power, moment in ((0, 1), (2, 1), (3, 0), (4, 3), (6, 15)):
        np.testing.assert_allclose(weights @ nodes**power, moment, atol=1e-12)
    assert abs(weights @ nodes**8 - 105) > 1  # one degree too many
    grid = jnp.linspace(-6, 6, 2401)
    shares = interpolated(lambda p, s, a, z: s + a + 0.3 * z, grid, nodes, weights)
    row = shares(None, 1.0, 0.5)
    np.testing.assert_allclose(row @ grid, 1.5, atol=1e-12)
    np.testing.assert_allclose(row @ (grid - 1.5) ** 2, 0.09, atol=1e-5)


@pytest.mark.slow
def test_noise_costs_what_it_must():
    """V = P x^2 + gamma / (1 - gamma) P sigma^2 of a linear quadratic task with noise, by quadrature."""
    one = np.ones((1, 1))
    p, _ = riccati(0.9 * one, one, one, one, 0.95)
    grid = jnp.linspace(-2, 2, 161)
    noisy = interpolated(lambda c, s, a, z: c * s + a + 0.1 * z, grid, *gauss_hermite(3))
    found = policy_iteration(discretised(LINEAR, grid, jnp.linspace(-2, 2, 161), shares=noisy))
    np.testing.assert_allclose(found.values[80], 0.95 / 0.05 * p[0, 0] * 0.01, rtol=0.04)


def test_who_has_terminated_stays_and_costs_nothing():
    task = LINEAR.replace(terminated=lambda p, s: s <= 0, cost=lambda p, s, a, after: 1.0 + 0 * s)
    grid = jnp.arange(-10, 11) / 10.0
    mdp = discretised(task, grid, jnp.linspace(-0.2, 0.2, 5))
    np.testing.assert_array_equal(mdp.transitions[:11], np.broadcast_to(np.eye(21)[:11, None], (11, 5, 21)))
    np.testing.assert_array_equal(mdp.costs[:11], 0)
    assert float(mdp.costs[11:].min()) == 1


def test_the_nearest_point_and_between_points():
    states, actions = jnp.array([0.0, 1.0, 3.0]), jnp.array([0.0, 10.0])
    params = jnp.array([0, 1, 0])
    between, nearest = GridPolicy(states, actions), GridPolicy(states, actions, nearest=True)
    np.testing.assert_allclose([between(params, x) for x in (-1.0, 0.25, 1.0, 2.5, 9.0)], [0, 2.5, 10, 2.5, 0])
    np.testing.assert_allclose([nearest(params, x) for x in (0.4, 0.6, 1.9, 2.1)], [0, 10, 10, 0])


def test_what_cannot_be_put_on_a_grid_is_refused():
    noisy = LINEAR.replace(dynamics=lambda p, s, a, *, key: s)
    grid = jnp.linspace(0, 1, 5)
    with pytest.raises(ValueError, match="a grid needs their distribution"):
        discretised(noisy, grid, grid)
    with pytest.raises(ValueError, match="cost depends on time, and a table does not"):
        discretised(LINEAR.replace(cost=lambda p, s, a, after, *, t: s * t), grid, grid)
    with pytest.raises(ValueError, match="increasing array of at least two points"):
        discretised(LINEAR, grid[::-1], grid)
    with pytest.raises(ValueError, match="increasing array of at least two points"):
        discretised(LINEAR, grid, grid[:1])
    with pytest.raises(ValueError, match="cells are for scalar states"):
        binned(lambda *_: 0.0, (grid, grid))
