"""Fields from grid to grid: exact where they are band-limited, and honest where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.surrogates.resample import resample

PERIODIC, WALLS = (False,), (True,)


def nodes(n):
    return np.arange(n) / n


def band_limited(x):
    return 0.3 + np.cos(2 * np.pi * x) - 2 * np.sin(6 * np.pi * x)


@pytest.mark.parametrize(("before", "after"), [(64, 8), (64, 9), (9, 64), (8, 12), (15, 7), (16, 16)])
def test_band_limited_fields_are_exact_on_every_grid(before, after):
    np.testing.assert_allclose(
        resample(band_limited(nodes(before)), PERIODIC, after), band_limited(nodes(after)), atol=1e-13
    )


def test_the_cosine_of_the_smaller_grids_highest_mode_survives_both_ways():
    coarse = np.array([1.0, -1.0] * 4)  # cos(8 pi x) on 8 points
    fine = resample(coarse, PERIODIC, 32)
    np.testing.assert_allclose(fine, np.cos(8 * np.pi * nodes(32)), atol=1e-14)
    np.testing.assert_allclose(resample(fine, PERIODIC, 8), coarse, atol=1e-14)


@pytest.mark.parametrize("n", [7, 8])
def test_there_and_back_returns_any_field(n):
    field = np.random.default_rng(0).normal(size=(3, n, n))
    there = resample(field, (False, False), (12, 20))
    np.testing.assert_allclose(resample(there, (False, False), n), field, atol=1e-13)


def test_what_the_new_grid_cannot_carry_is_filtered_not_aliased():
    high = np.cos(2 * np.pi * 7 * nodes(32))  # on 8 points it would look like cos(2 pi x)
    np.testing.assert_allclose(resample(high, PERIODIC, 8), 0, atol=1e-14)
    assert abs(high[::4] - np.cos(2 * np.pi * nodes(8))).max() < 1e-13  # the alias, which taking points would give


def test_walls_keep_both_ends_and_take_nodes():
    x = np.linspace(0, 1, 13)
    np.testing.assert_array_equal(resample(x**2, WALLS, 4), x[::3] ** 2)


def test_axes_of_both_kinds_by_the_problem():
    problem = js.problems.heat()  # walls at both ends
    assert resample(np.zeros((2, 1, 33)), problem, 8).shape == (2, 1, 9)
    mixed = resample(band_limited(nodes(16))[:, None] * np.linspace(0, 1, 9), (False, True), (8, 4))
    np.testing.assert_allclose(mixed, band_limited(nodes(8))[:, None] * np.linspace(0, 1, 5), atol=1e-13)


def test_derivatives_are_those_of_a_linear_map_and_precision_is_kept():
    field = np.random.default_rng(1).normal(size=8)
    jacobian = jax.jacobian(lambda f: resample(f, PERIODIC, 5))(jnp.asarray(field))
    np.testing.assert_allclose(jacobian @ field, resample(field, PERIODIC, 5), atol=1e-13)
    np.testing.assert_allclose(jacobian.sum(axis=1), 1, atol=1e-13)  # a constant stays
    assert resample(jnp.ones(8, jnp.float32), PERIODIC, 4).dtype == jnp.float32


@pytest.mark.parametrize(
    ("field", "walls", "n", "message"),
    [
        (np.ones(13), WALLS, 5, "12 intervals, no multiple of 5"),
        (np.ones(8), PERIODIC, 1, "whole numbers >= 2"),
        (np.ones(8), PERIODIC, (4, 4), "one for each of 1 axes"),
        (np.ones(8), (False, False), 4, r"must end in 2 axes of space, got shape \(8,\)"),
    ],
)
def test_what_does_not_fit_is_refused(field, walls, n, message):
    with pytest.raises(ValueError, match=message):
        resample(field, walls, n)
