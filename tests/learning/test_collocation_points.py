"""Collocation points: evenly spread, inside the box, and denser where the residual is large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning.collocation import in_box, quasi_random
from jaxsci.learning.objective import Objective
from jaxsci.learning.sampling import ResidualDensity, even_points

KEY = jax.random.key(3)


def largest_gap(points):
    """Between neighbours on the circle, times the number of points: 1 for even spacing."""
    sorted_points = np.sort(np.asarray(points)[:, 0])
    return np.diff(sorted_points, append=sorted_points[0] + 1).max() * len(points)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_quasi_random_points_integrate_better_than_random_ones(dimensions):
    count = 4000
    function = lambda p: np.prod(1 + np.sin(2 * np.pi * p) ** 2, axis=1)  # integral 1.5^d over the cube
    error = lambda p: abs(function(np.asarray(p)).mean() - 1.5**dimensions)
    points = quasi_random(count, dimensions, KEY)
    assert points.shape == (count, dimensions)
    assert ((points >= 0) & (points < 1)).all()
    monte_carlo = np.mean([error(np.random.default_rng(seed).uniform(size=(count, dimensions))) for seed in range(10)])
    assert error(points) < monte_carlo / 10


def test_points_on_a_line_leave_no_gap():
    # The golden ratio's three-distance theorem: no gap above phi^2 / sqrt(5) = 1.17 of the mean at the best counts, 1.9 at any.
    assert max(largest_gap(quasi_random(count, 1, KEY)) for count in (10, 100, 987, 5000)) < 1.9
    assert largest_gap(np.random.default_rng(0).uniform(size=(5000, 1))) > 5  # what even means


def test_the_key_shifts_the_points_and_repeats():
    first, again, other = (quasi_random(50, 2, key) for key in (KEY, KEY, jax.random.key(4)))
    assert (first == again).all()
    shift = (other - first) % 1.0
    np.testing.assert_allclose(np.cos(2 * np.pi * shift), np.cos(2 * np.pi * shift[:1].repeat(50, 0)), atol=1e-12)
    assert (np.abs(shift[0]) > 1e-3).all()


def test_points_of_a_box_fill_it():
    box = js.Box(t=(2, 3), x=(-5, -1))
    t, x = in_box(box, quasi_random(2000, 2, KEY))
    for column, (low, high) in ((t, box["t"]), (x, box["x"])):
        assert ((column >= low) & (column <= high)).all()
        assert float(column.mean()) == pytest.approx((low + high) / 2, abs=0.01 * (high - low))
        assert float(column.max() - column.min()) > 0.99 * (high - low)


@pytest.fixture(scope="module")
def objective():
    return Objective.of(js.problems.heat(), js.networks.MLP((8,)))


def test_drawn_points_are_denser_where_the_residual_is_large(objective):
    coefficients = js.problems.heat().coefficients
    unknowns = objective.init(KEY, coefficients)
    size = jax.jit(lambda points: jnp.linalg.norm(objective.residual(unknowns, coefficients, points), axis=-1))
    drawn, again = (ResidualDensity().draw(objective, unknowns, coefficients, KEY, 1000) for _ in range(2))
    even = even_points(objective, KEY, 1000)
    assert drawn.shape == even.shape == (1000, 2)
    r = size(even)
    weight = (1 + r / r.mean()) / 2  # the density that is drawn from, relative to an even one
    # Out of a pool of four times as many, without replacement: the pool thins out where the density is largest.
    expected = float((r * weight).mean())
    assert float(size(drawn).mean()) == pytest.approx(expected, rel=0.06)
    assert expected > 1.15 * float(size(even).mean())
    assert (again == drawn).all()
    assert len(np.unique(np.asarray(drawn), axis=0)) == 1000  # without replacement
