"""Families of problems: their coefficients, and that their solutions satisfy the equations at discretisation error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import smooth_gaussian_field, sorbing_column, stirred_vorticity

BOX = js.Box(x=(0, 1), y=(0, 2))


@pytest.mark.slow
def test_coefficients_are_the_papers():
    column, vortices = sorbing_column(jax.random.key(0)), stirred_vorticity(jax.random.key(0))
    assert {k: v for k, v in column.coefficients.items() if k != "start"} == {
        "diffusivity": 5e-4, "porosity": 0.29, "bulk_density": 2880.0, "sorption": 3.5e-4, "exponent": 0.874,
    }  # fmt: skip
    assert column.domain["t"] == (0, 500)
    assert vortices.coefficients["viscosity"] == 1e-4
    assert vortices.domain["t"] == (0, 5)


def test_starts_of_the_column_are_even_in_their_interval():
    starts = jax.vmap(lambda key: sorbing_column(key).coefficients["start"])(jax.random.split(jax.random.key(3), 2000))
    assert 0 < starts.min() < 1e-3
    assert 0.199 < starts.max() < 0.2
    assert abs(float(starts.mean()) - 0.1) < 0.005


@pytest.mark.slow
def test_the_smooth_field_has_the_covariance_of_its_kernel():
    keys = jax.random.split(jax.random.key(0), 4000)
    fields = jax.vmap(lambda key: smooth_gaussian_field(key, BOX, length=0.8).on_grid(18))(keys)
    found = jnp.mean(fields[:, :1, :1] * fields, axis=0)
    kernel = np.exp(-2 * np.sin(np.pi * np.arange(18) / 18) ** 2 / 0.8**2)
    np.testing.assert_allclose(found, kernel[:, None] * kernel - kernel.mean() ** 2, atol=0.08)  # less that of the mean
    assert float(jnp.abs(fields.mean(axis=(1, 2))).max()) < 1e-12


def test_a_smooth_field_has_a_cutoff():
    field = smooth_gaussian_field(jax.random.key(1), BOX)
    power = np.sum(np.asarray(field.modes) ** 2, axis=0)
    assert power[:, -1].sum() < 1e-5 * power.sum()
    with pytest.raises(ValueError, match="smooth_gaussian_field: cutoff must be a whole number"):
        smooth_gaussian_field(jax.random.key(0), BOX, cutoff=0)


@pytest.mark.slow
def test_the_columns_data_converge_and_leave_at_the_wall():
    problem, ts, x = sorbing_column(jax.random.key(2)), np.array([50.0, 200.0, 500.0]), np.linspace(0, 1, 33)
    coarse, middle, fine = (
        np.asarray(
            js.solve(problem, js.FiniteVolume(n=n, rtol=1.0 / n**2, estimate=False), ts=ts).evaluate(
                t=ts[:, None], x=x[None]
            )
        )
        for n in (64, 128, 256)
    )
    first, second = (np.linalg.norm(a - fine) / np.linalg.norm(fine) for a in (coarse, middle))
    assert second < 5e-4
    assert first > 3 * second
    slope = (fine[:, -1] - fine[:, -2]) * 32
    np.testing.assert_allclose(fine[:, -1], -5e-4 * slope, rtol=0.3)  # u = -D u_x; the slope is that of 1 / 32
    assert fine.min() > 0


@pytest.mark.slow
def test_the_vortices_keep_their_mean_and_lose_enstrophy():
    problem = stirred_vorticity(jax.random.key(1))
    w = np.asarray(js.solve(problem, js.Spectral(n=32, dt=0.1, estimate=False), ts=[0.0, 1.0, 2.0])["w"])
    assert np.abs(w.mean(axis=(1, 2))).max() < 1e-12
    enstrophy = (w**2).mean(axis=(1, 2))
    assert (np.diff(enstrophy) < 0).all()
    start = smooth_gaussian_field(jax.random.key(1), js.Box(x=(0, 1), y=(0, 1)))
    assert enstrophy[0] == pytest.approx(float(start.mean_square), rel=1e-6)
