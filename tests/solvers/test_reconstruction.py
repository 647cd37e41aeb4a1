"""Limiters: exact on lines, flat at extrema, inside the region in which no total variation grows."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.reconstruction import LIMITERS, slopes

TVD = ("minmod", "van_leer", "mc")


@pytest.mark.parametrize("name", LIMITERS)
def test_a_line_is_kept(name):
    np.testing.assert_allclose(slopes(0.3 * jnp.arange(8.0) - 1, name), 0.3)
    np.testing.assert_allclose(slopes(jnp.ones(6), name), 0)


@pytest.mark.parametrize("name", TVD)
def test_limiter_lies_in_the_region_of_diminishing_variation(name):
    """Sweby's: 0 <= phi <= 2 min(|a|, |b|) with the sign of both, 0 where they differ; and it is symmetric."""
    a, b = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1000)))
    phi = LIMITERS[name](a, b)
    assert (phi[a * b <= 0] == 0).all()
    assert (phi * a >= 0).all()
    assert (jnp.abs(phi) <= 2 * jnp.minimum(jnp.abs(a), jnp.abs(b)) * (1 + 1e-15)).all()
    np.testing.assert_allclose(LIMITERS[name](b, a), phi, rtol=1e-15)


def test_limiters_are_ordered_by_their_sharpness():
    a, b = jnp.asarray(np.abs(np.random.default_rng(0).normal(size=(2, 1000))))
    sizes = [LIMITERS[name](a, b) for name in TVD]
    assert (sizes[0] <= sizes[1] * (1 + 1e-15)).all()
    assert (sizes[1] <= sizes[2] * (1 + 1e-15)).all()
    assert (sizes[0] < 0.99 * sizes[2]).any()
