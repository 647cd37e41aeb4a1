"""Beyond the ends of a grid: values by hand, and convolutions against the field continued to a whole period."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsci.networks.borders import BORDERS, check_borders, extend, extension, hold, per_axis, waves
from jaxsci.networks.grid_layers import GAINS, Convolution, GroupNorm
from jaxsci.networks.layers import ACTIVATIONS


@pytest.mark.parametrize(
    ("border", "expected"),
    [
        ("periodic", [3, 4, 1, 2, 3, 4, 1, 2]),
        ("even", [3, 2, 1, 2, 3, 4, 3, 2]),
        ("odd", [-3, -2, 1, 2, 3, 4, -3, -2]),
        ("zero", [0, 0, 1, 2, 3, 4, 0, 0]),
    ],
)
def test_four_nodes_by_hand(border, expected):
    got = extend("Net", jnp.arange(1.0, 5.0)[:, None], (border,), 2)
    np.testing.assert_array_equal(got[:, 0], expected)


def test_axes_are_continued_one_after_the_other():
    h = jnp.arange(6.0).reshape(3, 2, 1)
    got = extend("Net", h, ("even", "periodic"), 1)[..., 0]
    np.testing.assert_array_equal(got, [[3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2], [5, 4, 5, 4], [3, 2, 3, 2]])
    assert extend("Net", h, ("even", "periodic"), 0) is h


def test_periods_by_hand():
    u = np.array([5.0, 1.0, 2.0, 7.0])
    np.testing.assert_array_equal(extension(4, "periodic") @ u, u)
    np.testing.assert_array_equal(extension(4, "even") @ u, [5, 1, 2, 7, 2, 1])
    np.testing.assert_array_equal(extension(4, "odd") @ u, [5, 1, 2, 7, -2, -1])
    np.testing.assert_array_equal(extension(4, "zero") @ u, [5, 1, 2, 7, 0, 0])


@pytest.mark.parametrize("border", ["even", "odd"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_sees_the_mirrored_field(border, stride):
    """Any kernel: equal to that on the periodic continuation, at the nodes between the walls; an odd field is zero on them."""
    rngs = nnx.Rngs(params=0)
    walled = Convolution("Net", (2, 3), 3, (border, "periodic"), rngs, stride=stride, dilation=2)
    whole = Convolution("Net", (2, 3), 3, ("periodic", "periodic"), rngs, stride=stride, dilation=2)
    whole.kernel, whole.bias = walled.kernel, walled.bias
    h = np.random.default_rng(0).normal(size=(5, 4, 2))
    if border == "odd":
        h[[0, -1]] = 0
    continued = np.tensordot(extension(5, border), h, 1)
    n = 4 // stride + 1
    np.testing.assert_allclose(walled(jnp.asarray(h)), whole(jnp.asarray(continued))[:n], atol=1e-13)
    other = {"even": "zero", "odd": "even"}[border]  # the walls are felt
    walled.borders = (other, "periodic")
    assert np.abs(np.asarray(walled(jnp.asarray(h)) - whole(jnp.asarray(continued))[:n])).max() > 0.1


@pytest.mark.parametrize(("d", "stride", "dilation"), [(1, 1, 3), (2, 2, 1), (3, 1, 2), (3, 2, 1)])
def test_a_convolution_is_its_sum(d, stride, dilation):
    """Node by node in NumPy; the sum of two-dimensional ones in three dimensions too."""
    layer = Convolution("Net", (2, 3), 3, ("zero",) * d, nnx.Rngs(params=0), stride=stride, dilation=dilation)
    h = np.random.default_rng(1).normal(size=(*(5, 6, 4)[:d], 2))
    kernel = np.asarray(layer.kernel[...])
    expected = np.zeros((*(-(-n // stride) for n in h.shape[:-1]), 3))
    for node in np.ndindex(expected.shape[:-1]):
        for offset in np.ndindex(kernel.shape[:d]):
            at = tuple(stride * i + dilation * (k - 1) for i, k in zip(node, offset, strict=True))
            if all(0 <= i < n for i, n in zip(at, h.shape, strict=False)):
                expected[node] += h[at] @ kernel[offset]
    np.testing.assert_allclose(layer(jnp.asarray(h)), expected, atol=1e-12)


def test_odd_walls_are_held_at_zero_and_others_are_not():
    h = jnp.ones((3, 4, 2))
    held = np.asarray(hold(h, ("odd", "even")))
    assert (held[[0, 2]] == 0).all()
    assert (held[1] == 1).all()
    assert hold(h, ("zero", "periodic")) is h


def test_waves_fit_the_axis():
    np.testing.assert_allclose(waves(4, "periodic", 1), [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-15)
    np.testing.assert_allclose(waves(3, "odd", 2), [[1, 1, 0, 0], [0, -1, 1, 0], [-1, 1, 0, 0]], atol=1e-15)


def test_gains_keep_the_variance():
    z, weights = np.polynomial.hermite_e.hermegauss(200)
    for name, gain in GAINS.items():
        value = np.asarray(ACTIVATIONS[name](jnp.asarray(z))) * (1 + z if name == "stan" else 1)
        assert gain == pytest.approx((weights @ value**2 / weights.sum()) ** -0.5, abs=1e-4)
    assert GAINS.keys() == ACTIVATIONS.keys()


def test_groups_are_standardised_over_nodes_and_channels():
    h = np.random.default_rng(2).normal(3.0, 2.0, size=(5, 4, 6))
    h[..., 3:] *= 10
    got = np.asarray(GroupNorm(6, 2)(jnp.asarray(h)))
    for group in (got[..., :3], got[..., 3:]):
        assert group.mean() == pytest.approx(0, abs=1e-12)
        assert group.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: check_borders("Net", "evn"), ValueError, "Net: border 'evn' does not exist.*Did you mean 'even'"),
        (
            lambda: check_borders("Net", ("odd", 3)),
            TypeError,
            r"Net: borders must be one of 'periodic', .* got \('odd', 3\)",
        ),
        (lambda: check_borders("Net", ()), TypeError, r"Net: borders must be one of .* got \(\)"),
        (lambda: per_axis("Net", ("odd",), 2), ValueError, r"Net: borders \('odd',\) name 1 axes, and the network has 2"),
        (
            lambda: extend("Net", jnp.ones((3, 2, 1)), ("periodic", "even"), 2),
            ValueError,
            r"Net: it looks 2 nodes beyond the grid, and axis 1 \(even\) has only 2",
        ),
    ],
)
def test_wrong_borders_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
    for name in BORDERS:
        check_borders("Net", (name, "periodic"))
