"""Random features: their spread, their stretched coordinate, their derivatives, and how slabs follow one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import HardConditions
from jaxsci.learning.feature_fit import Fitter, letters_to_indices
from jaxsci.learning.features import Slab, Stretch, basis, draw, place, stretched_axis

KEY = jax.random.key(5)
COUNT = 7


def slab_of(problem, stretch, start=0.25, end=0.5, scale=1.5):
    conditions = HardConditions(problem)
    weights, biases = draw(KEY, conditions.input_size, COUNT, scale)
    coefficients = jax.random.normal(jax.random.key(6), (len(problem.unknowns), COUNT))
    return conditions, Slab(weights, biases, stretch, jnp.asarray(start), jnp.asarray(end), coefficients)


FRONT = Stretch(jnp.asarray(0.3), jnp.asarray(40.0))
PLAIN = Stretch(jnp.asarray(0.5), jnp.asarray(1e-4))


def test_units_switch_inside_the_domain_and_repeat_with_the_key():
    weights, biases = draw(KEY, 3, 4000, 2.0)
    # tanh(a . z + b) is zero somewhere in the cube: |b| <= |a|_1
    assert (jnp.abs(biases) <= jnp.abs(weights).sum(axis=0)).all()
    assert float(weights.std()) == pytest.approx(2.0, rel=0.03)
    again = draw(KEY, 3, 4000, 2.0)
    assert (again[0] == weights).all()
    assert (again[1] == biases).all()
    assert not np.allclose(draw(jax.random.key(6), 3, 4000, 2.0)[0], weights)


def test_stretched_coordinate_inverts_fills_the_interval_and_is_steep_at_its_centre():
    x = jnp.linspace(-1, 2, 301)
    s = FRONT.forward(x, -1.0, 2.0)
    np.testing.assert_allclose(FRONT.inverse(s, -1.0, 2.0), x, atol=1e-13)
    np.testing.assert_allclose(s[jnp.array([0, -1])], [-1, 1], atol=1e-14)
    assert (jnp.diff(s) > 0).all()
    slope = jax.jit(jax.vmap(jax.grad(lambda x: FRONT.forward(x, -1.0, 2.0))))(x)
    # d asinh(k y)/dy = k / sqrt(1 + k^2 y^2): the ratio of centre to wall
    assert float(slope[130] / slope[0]) == pytest.approx(np.sqrt(1 + (40 * 1.3) ** 2), rel=1e-9)
    assert float(jnp.argmax(slope)) == 130  # x = 0.3


def test_a_steepness_near_zero_leaves_the_coordinate_as_it_is():
    x = jnp.linspace(0, 1, 11)
    np.testing.assert_allclose(PLAIN.forward(x, 0.0, 1.0), 2 * x - 1, atol=1e-8)


def test_only_a_single_axis_with_walls_is_stretched():
    axes = {
        name: stretched_axis(HardConditions(getattr(js.problems, name)()))
        for name in ("burgers", "kdv", "poisson", "lorenz")
    }
    assert axes == {"burgers": "x", "kdv": None, "poisson": None, "lorenz": None}


@pytest.mark.parametrize("name", ["heat", "wave", "poisson"])
def test_derivatives_of_the_features_agree_with_nested_jacobians(name):
    problem = getattr(js.problems, name)()
    conditions, slab = slab_of(problem, FRONT if name == "heat" else PLAIN)
    samples = Fitter.of(problem).samples(slab, [], KEY, 5)

    def features(*point):
        return basis(conditions, slab, dict(zip(problem.coordinates, point, strict=True)))[0]

    @jax.jit
    def nested(*columns):
        out = {}
        for letters, index in letters_to_indices(problem).items():
            function = features
            for axis, order in enumerate(index):
                for _ in range(order):
                    function = jax.jacfwd(function, argnums=axis)
            out[letters] = jax.vmap(function)(*columns)
        return out

    for letters, expected in nested(*samples.columns).items():
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(samples.features[letters][:, 0], expected, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize(("name", "order"), [("heat", 1), ("wave", 2)])
def test_a_slab_starts_from_zero_and_goes_on_after_its_end(name, order):
    problem = getattr(js.problems, name)()
    conditions, slab = slab_of(problem, PLAIN)
    at = jax.jit(jax.vmap(lambda t: basis(conditions, slab, {"t": t, "x": jnp.asarray(0.4)})[0]))
    step = 1e-4
    before, start, near = at(jnp.array([0.1, 0.25, 0.25 + step]))
    assert (before == 0).all(), "earlier slabs are left as they are"
    assert (start == 0).all()
    assert float(jnp.abs(near).max()) == pytest.approx(0, abs=20 * step**order)  # like (t - start)^order
    end, later, much_later = at(jnp.array([0.5, 0.75, 1.0]))
    if order == 1:
        np.testing.assert_allclose(later, end, rtol=1e-14)
    else:
        np.testing.assert_allclose(much_later - later, later - end, rtol=1e-11, atol=1e-13)
        slope = (end - at(jnp.array([0.5 - 1e-6]))[0]) / 1e-6
        np.testing.assert_allclose((later - end) / 0.25, slope, rtol=1e-3, atol=1e-4)


def test_features_vanish_on_walls_that_hold_a_value():
    conditions, slab = slab_of(js.problems.heat(), FRONT)
    for x in (0.0, 1.0):
        assert float(jnp.abs(basis(conditions, slab, {"t": jnp.asarray(0.4), "x": jnp.asarray(x)})).max()) < 1e-15


def test_points_of_a_slab_crowd_at_the_front_and_their_volumes_undo_it():
    problem = js.problems.heat()
    conditions, slab = slab_of(problem, FRONT)
    unit = jnp.stack(jnp.meshgrid(*[(jnp.arange(200) + 0.5) / 200] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    (t, x), volume = place(conditions, slab, unit)
    assert (float(t.min()), float(t.max())) == pytest.approx((0.25, 0.5), abs=1e-3)
    assert float(jnp.mean(jnp.abs(x - 0.3) < 0.05)) > 0.39  # a tenth of the interval, two fifths of the points
    # weighted by volume a mean over the points is one over space: of 1, and of x^2
    assert float(volume.mean()) == pytest.approx(1.0, rel=1e-3)
    assert float((volume * x**2).mean()) == pytest.approx(1 / 3, rel=1e-3)
