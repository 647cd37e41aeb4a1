"""POD-Galerkin: the equation on a subspace, exact where the subspace is invariant."""

import jax.numpy as jnp
import numpy as np
import pytest
from solved_runs import check_transformations, normal_starts, relative_errors, solved_runs

import jaxsci as js
from jaxsci.surrogates import Trajectories
from jaxsci.surrogates.galerkin import POD


@pytest.fixture(scope="module")
def heated():
    return solved_runs(js.problems.heat(), 8, 0.02, normal_starts(12, 1, 9), 3)


def burgers_runs(runs, seed=0):
    """Sines up to the third harmonic, on 16 intervals, which keep five of them."""
    x = np.linspace(-1, 1, 17)
    sines = np.sin(np.pi * np.arange(1, 4)[:, None] * x)
    starts = normal_starts(runs, 3, seed=seed) @ sines
    return solved_runs(js.problems.burgers(viscosity=0.1), 16, 0.02, 0.5 * starts[:, None], 6, substeps=4)


def test_heat_is_exact_on_its_modes(heated):
    """All seven modes: the propagator of heat, whatever the step."""
    fitted = POD(rank=7).fit(heated)
    assert fitted.stats["steps_per_save"] == 1
    unseen = solved_runs(js.problems.heat(), 8, 0.02, normal_starts(4, 1, 9, seed=2), 4)
    assert relative_errors(fitted, unseen).max() < 1e-11


def test_other_coefficients_are_the_equation_s(heated):
    """Nothing was fitted to dynamics: twice the diffusivity is as exact."""
    fitted = POD(rank=7).fit(heated)
    problem = heated.problem.with_coefficients(diffusivity=0.8)
    other = solved_runs(problem, 8, 0.02, normal_starts(2, 1, 9, seed=2), 4)
    assert relative_errors(fitted, other).max() < 1e-11


@pytest.mark.slow
def test_burgers_with_all_modes_is_the_solver():
    """A quadratic equation: the tensor gives the solver's own right-hand side."""
    data, unseen = burgers_runs(12), burgers_runs(3, seed=1)
    fitted = POD(rank=5).fit(data)
    assert fitted.stats["quadratic"]
    assert fitted.stats["tensor"]
    assert relative_errors(fitted, unseen).max() < 1e-3  # of the steps in time
    finer = POD(rank=5, steps=16).fit(data)
    assert relative_errors(finer, unseen).max() < 1e-6
    assert relative_errors(POD(rank=2).fit(data), unseen).max() > 0.05  # what was left out matters


@pytest.mark.slow
def test_a_cubic_equation_is_evaluated_on_the_grid():
    problem = js.Problem(
        js.Equation(lambda u: u.t - u + u**3 - 0.1 * u.xx, "u"), js.Box(t=(0, 1), x=(0, 2)), initial={"u": 0.0}
    )
    data = solved_runs(problem, 12, 0.05, 0.5 * normal_starts(10, 1, 12), 4, substeps=4)
    fitted = POD(rank=0.9999999999, steps=4).fit(data)
    assert not fitted.stats["quadratic"]
    assert not fitted.stats["tensor"]
    assert relative_errors(fitted, data)[:, 1:].max() < 1e-5


@pytest.mark.slow
def test_transformations(heated):
    check_transformations(POD(rank=7).fit(heated), heated)


def test_bad_input(heated):
    with pytest.raises(ValueError, match="POD: give the rank"):
        POD(rank=None)
    with pytest.raises(ValueError, match="steps must be a whole number >= 1 or None, got 0"):
        POD(steps=0)
    with pytest.raises(ValueError, match="rank 8 is more than the 7 independent fields"):
        POD(rank=8).fit(heated)
    problem = js.problems.fisher_kpp()
    s = js.stepper(problem, js.Spectral(n=8, dt=0.02))
    data = Trajectories(problem, jnp.asarray(js.rollout(s, 1).fields)[None], {}, 0.02)
    with pytest.raises(ValueError, match="fisher_kpp has walls without a mirror"):
        POD(rank=1).fit(data)
