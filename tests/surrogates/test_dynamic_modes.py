"""DMD: the propagator's eigenvalues, ranks, and what keeps a growing mode in bounds."""

import jax.numpy as jnp
import numpy as np
import pytest
from solved_runs import check_transformations, normal_starts, relative_errors, solved_runs

import jaxsci as js
from jaxsci.surrogates import Trajectories
from jaxsci.surrogates.dynamic_modes import DMD, drawn_back


@pytest.fixture(scope="module")
def heated():
    return solved_runs(js.problems.heat(), 8, 0.02, normal_starts(12, 1, 9), 4)


def test_eigenvalues_of_heat(heated):
    """exp(-kappa pi^2 k^2 dt), k = 1 ... 7."""
    fitted = DMD().fit(heated)
    exact = np.exp(-0.4 * np.pi**2 * np.arange(1, 8) ** 2 * 0.02)
    np.testing.assert_allclose(fitted.stats["eigenvalues"], exact, atol=1e-8)
    np.testing.assert_allclose(fitted.stats["spectral_radius"], exact[0], atol=1e-10)
    unseen = solved_runs(js.problems.heat(), 8, 0.02, normal_starts(4, 1, 9, seed=2), 4)
    assert relative_errors(fitted, unseen).max() < 1e-8


def test_eigenvalues_of_advection():
    """exp(-i k c dt) for k = -7 ... 7, all of modulus 1."""
    data = solved_runs(js.problems.advection(speed=1.0), 16, 0.1, normal_starts(8, 1, 16), 6)
    found = DMD(rank=15).fit(data).stats["eigenvalues"]
    np.testing.assert_allclose(np.sort(np.angle(found)), 0.1 * np.arange(-7, 8), atol=1e-8)
    np.testing.assert_allclose(np.abs(found), 1, atol=1e-8)


def test_a_truncated_rank_keeps_the_leading_modes(heated):
    fitted = DMD(rank=2).fit(heated)
    assert fitted.stats["rank"] == 2
    assert 0.5 < fitted.stats["energy"] < 1
    assert DMD(rank=0.999999).fit(heated).stats["rank"] > 2
    errors = relative_errors(fitted, heated)
    assert errors.max() > 0.01  # what was left out is missing
    assert fitted.stats["parameters"] == 2 * 2 + 2


def test_a_growing_mode_is_drawn_back_where_asked():
    """u_t = u + 0.01 u_xx grows by exp(0.1) a step in its mean; clipped, it stays."""
    problem = js.Problem(js.Equation(lambda u: u.t - u - 0.01 * u.xx, "u"), js.Box(t=(0, 1), x=(0, 1)), initial={"u": 0.0})
    data = solved_runs(problem, 8, 0.1, normal_starts(8, 1, 8), 4)
    growing, kept = DMD(rank=7).fit(data), DMD(rank=7, stable=True).fit(data)
    np.testing.assert_allclose(growing.stats["spectral_radius"], np.exp(0.1), rtol=1e-8)
    np.testing.assert_allclose(kept.stats["spectral_radius"], 1, rtol=1e-8)

    def largest_of(fitted):
        s = js.stepper(problem, fitted)
        return np.abs(js.rollout(s, 2000, state=s.encode(data.fields[0, 0])).fields).max()

    assert largest_of(growing) > 1e50
    assert largest_of(kept) < 100


def test_drawn_back_keeps_what_is_inside():
    matrix = np.array([[0.0, -2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.5]])
    found = drawn_back(matrix)
    assert found.dtype == float
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(found)), [-1j, 1j, 0.5], atol=1e-12)
    inside = np.diag([0.5, -0.9])
    assert drawn_back(inside) is inside


def test_one_run_is_enough(heated):
    alone = Trajectories(heated.problem, heated.fields[:1], {}, 0.02)
    assert np.isfinite(relative_errors(DMD().fit(alone), alone)).all()


def test_transformations(heated):
    check_transformations(DMD(rank=5).fit(heated), heated)


def test_bad_input(heated):
    with pytest.raises(ValueError, match="rank 8 is more than the 7 independent fields in the data"):
        DMD(rank=8).fit(heated)
    for rank in (0, 1.5, "all", True):
        with pytest.raises(ValueError, match="DMD: rank must be a whole number >= 1, a share"):
            DMD(rank=rank)
    with pytest.raises(ValueError, match="run 0 of the data is not finite"):
        DMD().fit(Trajectories(heated.problem, heated.fields.at[0].set(jnp.inf), {}, 0.02))
