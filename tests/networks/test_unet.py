"""U-Nets: translations by whole coarse intervals, nodes on walls, mirrors, grids that cannot be halved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks.unet import UNet, _doubled


def test_interpolation_by_hand():
    coarse = jnp.asarray([[0.0], [2.0], [6.0]])
    np.testing.assert_array_equal(_doubled(coarse, ("even",))[:, 0], [0, 1, 2, 4, 6])
    np.testing.assert_array_equal(_doubled(coarse, ("periodic",))[:, 0], [0, 1, 2, 4, 6, 3])


def test_translations_by_2_to_the_levels():
    network = UNet(dimension=1, channels=2, levels=2, groups=1)
    p, apply = random_parameters(network, 1, 1), jax.jit(network.apply)
    a = np.random.default_rng(0).normal(size=(1, 12))
    u = np.asarray(apply(p, a))
    np.testing.assert_allclose(apply(p, np.roll(a, 4, 1)), np.roll(u, 4, 1), atol=1e-12)
    assert np.abs(np.asarray(apply(p, np.roll(a, 2, 1))) - np.roll(u, 2, 1)).max() > 1e-3


def test_with_symmetric_kernels_even_walls_are_mirrors():
    """On every level: the coarse grids' walls stand on nodes, and both ways between the levels are symmetric about them."""
    options = {"dimension": 1, "channels": 2, "levels": 2}
    walled, whole = UNet(borders="even", **options), UNet(**options)
    p = random_parameters(walled, 1, 1)
    p = {name: (v + v[::-1]) / 2 if v.ndim == 3 else v for name, v in p.items()}
    a = np.random.default_rng(1).normal(size=(1, 9))
    mirrored = np.concatenate([a, a[:, -2:0:-1]], 1)
    other = UNet(borders="zero", **options)
    got, expected, felt = jax.jit(lambda a, m: (walled.apply(p, a), whole.apply(p, m)[:, :9], other.apply(p, a)))(
        a, mirrored
    )
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert np.abs(np.asarray(felt - expected)).max() > 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNet(levels=0), "UNet: levels must be a positive whole number, got 0"),
        (lambda: UNet(kernel=2), "UNet: kernel must be odd"),
        (lambda: UNet(channels=6, groups=4), "UNet: groups must be None or .* divides the 6 channels, got 4"),
        (lambda: UNet(borders=("odd",)), "UNet: borders .* name 1 axes, and the network has 2"),
        (
            lambda: _at((8, 16)),
            r"UNet: axis 1 \(odd\) needs a multiple of 2\^2 = 4 nodes plus 1, as both walls have one; got 16",
        ),
        (lambda: _at((6, 17)), r"UNet: axis 0 \(periodic\) needs a multiple of 2\^2 = 4 nodes; got 6"),
        (lambda: _at((8, 1)), r"UNet: axis 1 \(odd\) needs .*; got 1\."),
    ],
)
def test_wrong_options_and_grids_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def _at(space):
    network = UNet(channels=1, levels=2, borders=("periodic", "odd"))
    return network.apply(random_parameters(network, 1, 1), jnp.ones((1, *space)))
