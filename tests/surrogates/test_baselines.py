"""Persistence and the mean: their errors are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from solved_runs import check_transformations, normal_starts, relative_errors, rolled_out, solved_runs

import jaxsci as js
from jaxsci.surrogates import Trajectories
from jaxsci.surrogates.baselines import Mean, Persistence


@pytest.fixture(scope="module")
def waves():
    """A sine that travels: u = sin(x - t)."""
    problem = js.problems.advection(speed=1.0)
    x = js.stepper(problem, js.Spectral(n=16, dt=0.1)).grid["x"]
    return solved_runs(problem, 16, 0.1, np.sin(x)[None, None], 11)


def test_persistence_errs_by_what_a_wave_moves(waves):
    """|sin(x - t) - sin x| / |sin x| = 2 |sin(t / 2)|."""
    errors = relative_errors(Persistence().fit(waves), waves)[0]
    np.testing.assert_allclose(errors, 2 * np.sin(0.1 * np.arange(11) / 2), atol=1e-13)


def test_mean_is_the_mean_of_all_saves_of_all_runs():
    fields = normal_starts(3, 4, 1, 16)
    data = Trajectories(js.problems.advection(speed=1.0), jnp.asarray(fields), {}, 0.1)
    fitted = Mean().fit(data)
    np.testing.assert_allclose(rolled_out(fitted, data)[:, 1:], np.broadcast_to(fields.mean((0, 1)), (3, 3, 1, 16)))
    assert fitted.stats["parameters"] == 16


def test_mean_has_a_variance_scaled_error_of_one_for_steady_statistics():
    """sqrt(mean (m - u)^2 / var u) -> 1 for homogeneous fields of mean zero, within the noise of the mean of 2,000 saves."""
    fields = normal_starts(200, 10, 1, 16)
    data = Trajectories(js.problems.advection(speed=1.0), jnp.asarray(fields), {}, 0.1)
    error = rolled_out(Mean().fit(data), data)[:, 1:] - fields[:, 1:]
    vrmse = np.sqrt(np.mean(error**2) / np.mean((fields - fields.mean(-1, keepdims=True))[:, 1:] ** 2))
    assert abs(vrmse - np.sqrt(16 / 15)) < 5e-3  # the variance about a mean over 16 points loses a sixteenth


def test_transformations(waves):
    check_transformations(Persistence().fit(waves), waves)
    check_transformations(Mean().fit(waves), waves)


def test_single_precision_stays_single(waves):
    with jax.enable_x64(False):
        data = Trajectories(waves.problem, jnp.asarray(np.asarray(waves.fields), jnp.float32), {}, 0.1)
        for baseline in (Persistence(), Mean()):
            s = js.stepper(data.problem, baseline.fit(data))
            assert js.rollout(s, 2).fields.dtype == jnp.float32


@pytest.mark.parametrize("baseline", [Persistence(), Mean()])
def test_bad_data(baseline, waves):
    with pytest.raises(TypeError, match=r"must be jaxsci.surrogates.Trajectories, got ndarray"):
        baseline.fit(np.zeros(3))
    broken = Trajectories(waves.problem, waves.fields.at[0, 3].set(jnp.nan), {}, 0.1)
    with pytest.raises(ValueError, match="run 0 of the data is not finite"):
        baseline.fit(broken)
    with pytest.raises(ValueError, match=r"must be \[runs, saves, channels, x\], got shape"):
        baseline.fit(Trajectories(waves.problem, waves.fields[0], {}, 0.1))


def test_another_grid_is_refused(waves):
    fitted = Mean().fit(waves)
    with pytest.raises(ValueError, match=r"grid it was fitted on, \(1, 16\), and got \(1, 32\)"):
        fitted.rule.encode(fitted.parameters, jnp.zeros((1, 32)))
