"""A coordinate that follows the field: it fills [-1, 1], is fine where it is asked to be, and is smooth around a circle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.learning.coordinates import adapted, needed_density, uniform
from jaxsci.learning.space_features import inverse

X = np.linspace(-1, 1, 4001)


def front(width=0.01, centre=0.3):
    z = (X - centre) / width
    return {0: np.tanh(z)[:, None], 1: (1 / np.cosh(z) ** 2 / width)[:, None]}


def test_the_needed_density_is_the_inverse_width_of_a_front():
    density = needed_density(front())
    assert density.max() == pytest.approx(1 / 0.01 / 2, rel=1e-3)  # u_x over the jump of 2
    assert X[density.argmax()] == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("periodic", [False, True])
def test_an_adapted_coordinate_is_fine_at_the_front_and_inverts(periodic):
    coordinate = adapted(X, needed_density(front()), -1.0, 1.0, periodic)
    s = coordinate.forward(jnp.asarray(X), -1.0, 1.0, periodic)
    assert (np.diff(s) > 0).all()
    np.testing.assert_allclose(s[jnp.array([0, -1])], [-1, 1], atol=1e-13)
    slope = np.diff(s) / np.diff(X)
    assert X[slope.argmax()] == pytest.approx(0.3, abs=2e-3)
    assert slope.max() > 10 * np.median(slope)
    wanted = np.linspace(-0.99, 0.99, 41)
    x = inverse(coordinate, wanted, -1.0, 1.0, periodic)
    np.testing.assert_allclose(coordinate.forward(jnp.asarray(x), -1.0, 1.0, periodic), wanted, atol=1e-10)


def test_on_a_circle_it_has_one_slope_at_both_ends():
    coordinate = adapted(X, needed_density(front(centre=0.95)), -1.0, 1.0, True)
    slope = jax.grad(lambda x: coordinate.forward(x, -1.0, 1.0, True))
    assert float(slope(-1.0)) == pytest.approx(float(slope(1.0)), rel=1e-10)
    assert float(slope(1.0)) > 3 * float(slope(0.0)), "the front reaches around the seam"


def test_without_a_front_it_is_even():
    np.testing.assert_allclose(uniform().forward(jnp.asarray(X), -1.0, 1.0, False), X, atol=1e-14)
    smooth = {0: np.sin(X)[:, None], 1: np.cos(X)[:, None]}
    assert (adapted(X, needed_density(smooth), -1.0, 1.0, False).steepness == 0).all()
