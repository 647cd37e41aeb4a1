"""Transforms of a short axis by folded matrices are the transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers import folded_dft

SIZES = [(8, 2), (64, 21)] + [pytest.param(*s, marks=pytest.mark.slow) for s in ((16, 5), (12, 4), (256, 85), (16, 7))]


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("x64", [True, False])
def test_they_agree_with_the_library_and_with_each_other(n, m, x64):
    with jax.enable_x64(x64):
        random = np.random.default_rng(0)
        modes = random.normal(size=(2, 3, m + 1)) + 1j * random.normal(size=(2, 3, m + 1))
        modes[..., 0] = modes[..., 0].real
        modes = jnp.asarray(modes)
        tolerance = 3000 * float(jnp.finfo(modes.real.dtype).eps)
        values = folded_dft.to_nodes(modes, n)
        grid = jnp.fft.irfft(modes, n, norm="forward")
        assert values.dtype == grid.dtype
        assert float(jnp.abs(values - grid[..., folded_dft.order(n)]).max()) < tolerance
        assert float(jnp.abs(folded_dft.from_nodes(values, m) - modes).max()) < tolerance
        rough = jnp.asarray(random.normal(size=(3, n)))  # with modes above m
        expected = jnp.fft.rfft(rough, norm="forward")[..., : m + 1]
        assert float(jnp.abs(folded_dft.from_nodes(rough[..., folded_dft.order(n)], m) - expected).max()) < tolerance


def test_every_grid_point_is_among_the_nodes_and_four_are_there_twice():
    order = folded_dft.order(16)
    points, counts = np.unique(order, return_counts=True)
    assert np.array_equal(points, np.arange(16))
    assert np.array_equal(points[counts == 2], [0, 4, 8, 12])


def test_only_short_axes_that_fold_twice_are_taken():
    assert folded_dft.applies_to(256)
    assert folded_dft.applies_to(12)
    assert not folded_dft.applies_to(18)
    assert not folded_dft.applies_to(512)
