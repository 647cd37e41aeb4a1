"""The coarse solver as a surrogate: its rollout is the solver's, whatever the grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solved_runs import check_transformations, solved_runs

import jaxsci as js
from jaxsci.surrogates import Trajectories
from jaxsci.surrogates.coarse_solver import CoarseSolver


def waves(n, dt=0.02):
    """Smooth starts of the Kuramoto-Sivashinsky equation."""
    problem = js.problems.kuramoto_sivashinsky()
    x = js.stepper(problem, js.Spectral(n=n, dt=dt)).grid["x"]
    low, high = problem.domain["x"]
    z = 2 * np.pi * (x - low) / (high - low)
    return solved_runs(problem, n, dt, np.stack([np.cos(z), np.sin(2 * z)])[:, None], 4)


@pytest.mark.parametrize("n", [32, pytest.param(48, marks=pytest.mark.slow)])
def test_rollout_is_that_of_the_solver(n):
    """Three saves of the coarse solver's own run, on the points that the grids share."""
    data = waves(96)
    s = js.stepper(data.problem, CoarseSolver(n=n, dt=0.01).fit(data))
    own = js.stepper(data.problem, js.Spectral(n=n, dt=0.01))
    start = data.fields[0, 0]
    ours = js.rollout(s, 3, state=s.encode(start), save_every=1).fields
    its = js.rollout(own, 6, state=own.encode(start[:, :: 96 // n]), save_every=2).fields
    np.testing.assert_allclose(ours[..., :: 96 // n], its, atol=1e-10)


def test_on_the_grid_of_the_data_it_is_the_truth():
    data = waves(32)
    s = js.stepper(data.problem, CoarseSolver(n=32).fit(data))
    found = js.rollout(s, 3, state=s.encode(data.fields[0, 0]), save_every=1).fields
    np.testing.assert_allclose(found, data.fields[0], atol=1e-12)


@pytest.mark.slow
def test_two_dimensions_of_unequal_sizes_and_an_unknown_without_rate():
    problem = js.problems.kolmogorov_flow()
    own = js.stepper(problem, js.Spectral(n=(16, 24), dt=0.01))
    start = own.lines.decode(own.initial().values)
    fine = js.stepper(problem, js.Spectral(n=(32, 48), dt=0.02))
    data = Trajectories(problem, fine.lines.decode(fine.initial().values)[None, None], {}, 0.02)
    s = js.stepper(problem, CoarseSolver(n=(16, 24), dt=0.01).fit(data))
    ours = js.rollout(s, 2, save_every=1).fields
    its = js.rollout(own, 4, state=own.encode(start), save_every=2).fields
    assert ours.shape == (3, 2, 32, 48)
    np.testing.assert_allclose(ours[..., ::2, ::2], its, atol=1e-10)


@pytest.mark.slow
def test_walls_with_a_mirror_and_a_finer_solver():
    problem = js.problems.burgers(viscosity=0.1)
    s = js.stepper(problem, js.Spectral(n=32, dt=0.02))
    data = Trajectories(problem, js.rollout(s, 1).fields[:1][None], {}, 0.02)
    finer = js.stepper(problem, CoarseSolver(n=64, dt=0.02).fit(data))
    its = js.rollout(js.stepper(problem, js.Spectral(n=64, dt=0.02)), 5, save_every=1).fields
    np.testing.assert_allclose(js.rollout(finer, 5, save_every=1).fields, its[..., ::2], atol=1e-7)


@pytest.mark.slow
def test_it_follows_the_coefficients():
    problem = js.problems.burgers(viscosity=0.1)
    s = js.stepper(problem, js.Spectral(n=32, dt=0.02))
    data = Trajectories(problem, js.rollout(s, 1).fields[:1][None], {}, 0.02)
    fitted = CoarseSolver(n=32).fit(data)
    told = js.stepper(problem, fitted)
    thick = problem.with_coefficients(viscosity=0.3)
    expected = js.rollout(js.stepper(thick, js.Spectral(n=32, dt=0.02)), 3).fields[-1]
    np.testing.assert_allclose(js.rollout(told.with_coefficients(viscosity=0.3), 3).fields[-1], expected, atol=1e-12)
    np.testing.assert_allclose(js.rollout(js.stepper(thick, fitted), 3).fields[-1], expected, atol=1e-12)
    state = told.initial()
    for _ in range(3):
        state = told.step(state, {"viscosity": 0.3})
    np.testing.assert_allclose(told.decode(state), expected, atol=1e-12)
    slope = jax.grad(lambda v: jnp.sum(js.rollout(told.with_coefficients(viscosity=v), 3).fields[-1] ** 2))(0.1)
    values = [float(jnp.sum(js.rollout(told.with_coefficients(viscosity=v), 3).fields[-1] ** 2)) for v in (0.0999, 0.1001)]
    np.testing.assert_allclose(slope, (values[1] - values[0]) / 2e-4, rtol=1e-5)


def test_what_it_costs_and_says():
    fitted = CoarseSolver(n=32, dt=0.006).fit(waves(96))
    assert fitted.stats == {"parameters": 0, "steps_per_save": 4, "dt": 0.005}
    assert jax.tree.leaves(fitted.parameters) == []


@pytest.mark.slow
def test_transformations():
    data = waves(32)
    check_transformations(CoarseSolver(n=16, dt=0.01).fit(data), data)


def test_bad_input():
    with pytest.raises(ValueError, match=r"n must be whole numbers >= 4, got 2\.5"):
        CoarseSolver(n=2.5)
    with pytest.raises(ValueError, match="dt must be positive, or None"):
        CoarseSolver(n=32, dt=-1.0)
    with pytest.raises(ValueError, match="order must be 1, 2, 3 or 4, got 5"):
        CoarseSolver(n=32, order=5)
    with pytest.raises(ValueError, match="n has 2 entries for the 1 axes x"):
        CoarseSolver(n=(16, 16)).fit(waves(32))
    problem = js.problems.fisher_kpp()
    s = js.stepper(problem, js.Spectral(n=16, dt=0.02))
    data = Trajectories(problem, js.rollout(s, 1).fields[None], {}, 0.02)
    with pytest.raises(ValueError, match="fisher_kpp has walls without a mirror"):
        CoarseSolver(n=16).fit(data)
