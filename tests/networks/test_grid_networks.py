"""What every network on a grid holds: one template for all grids, pure functions, both precisions, walls, gradients."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks import FNO
from jaxsci.networks.factorised_fno import FactorisedFNO
from jaxsci.networks.grid_deeponet import GridDeepONet
from jaxsci.networks.resnet import ResNet
from jaxsci.networks.transolver import Transolver
from jaxsci.networks.unet import UNet

WALLED = ("periodic", "odd")
# name: (network, two grids)
NETWORKS = {
    "fno": (FNO((2,), 3, 1), (6,), (8,)),
    "factorised fno": (FactorisedFNO((2,), 3, 1), (6,), (8,)),
    "factorised fno, walls": (FactorisedFNO((2, 2), 2, 1, shared=True, borders=WALLED), (4, 5), (6, 6)),
    "resnet": (ResNet(1, 3, 1, (1, 2)), (6,), (8,)),
    "resnet, walls": (ResNet(2, 2, 1, (1,), borders=WALLED), (4, 5), (6, 6)),
    "unet": (UNet(1, 2, 1, groups=1), (6,), (8,)),
    "unet, walls": (UNet(2, 2, 1, borders=WALLED), (4, 5), (6, 7)),
    "transolver": (Transolver(1, 3, 4, 2, 1), (6,), (8,)),
    "transolver, walls": (Transolver(2, 3, 4, 2, 1, harmonics=1, borders=WALLED), (4, 5), (6, 6)),
    "deeponet": (GridDeepONet((3,), (4,), (4,), 2), (6,), (8,)),
    "deeponet, walls": (GridDeepONet((3, 2), (4,), (4,), 2, borders=WALLED), (4, 5), (6, 6)),
}
QUICK = ("factorised fno, walls", "unet", "transolver, walls")
each = pytest.mark.parametrize("name", NETWORKS)
DEEP = {
    "factorised fno": FactorisedFNO((4, 4), 16, 6),
    "resnet": ResNet(2, 8, 6),
    "dilated resnet": ResNet(2, 8, 2, (1, 2, 4, 4, 2, 1)),
    "unet": UNet(2, 8, 3),
    "transolver": Transolver(2, 8, 16, 4, 6),
    "deeponet": GridDeepONet((8, 8)),
}


def field(space, inputs=2, seed=0):
    return np.random.default_rng(seed).normal(size=(inputs, *space))


@functools.cache
def parameters_of(name):
    return random_parameters(NETWORKS[name][0], 2, 3)


@each
def test_one_template_for_every_grid_and_number_of_outputs(name):
    network, *grids = NETWORKS[name]
    for wide in (True, False):
        with jax.enable_x64(wide):
            parameters = jax.eval_shape(lambda: network.init(jax.random.key(0), 2, 3))
            dtype = jnp.dtype(jnp.float64 if wide else jnp.float32)
            assert {leaf.dtype for leaf in parameters.values()} == {dtype}
            for space in grids:
                value = jax.eval_shape(network.apply, parameters, jnp.zeros((2, *space), dtype))
                assert (value.shape, value.dtype) == ((3, *space), dtype)


@each
def test_networks_are_values(name):
    network = NETWORKS[name][0]
    again = pickle.loads(pickle.dumps(network))
    assert (again, hash(again)) == (network, hash(network))


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_batches_precisions_and_gradients(name):
    """One program: vmap is the loop, float32 near float64, every parameter matters, and odd walls are held."""
    network, space, _ = NETWORKS[name]
    parameters, a = parameters_of(name), np.stack([field(space, seed=seed) for seed in range(2)])

    @jax.jit
    def everything(parameters, a):
        each, pull = jax.vjp(lambda p: jax.vmap(network.apply, (None, 0))(p, a), parameters)
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (parameters, a[0]))
        return each, network.apply(parameters, a[1]), network.apply(*single), pull(jnp.cos(each))[0]

    both, second, narrow, gradient = everything(parameters, a)
    np.testing.assert_allclose(both[1], second, atol=1e-12)
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, both[0], rtol=1e-4, atol=1e-4)
    dead = [name for name, leaf in gradient.items() if not (np.isfinite(leaf).all() and np.abs(leaf).max() > 0)]
    assert not dead
    if getattr(network, "borders", None) == WALLED:
        assert np.abs(np.asarray(both)[..., [0, -1]]).max() == 0
        assert np.abs(np.asarray(both)[..., 1:-1]).max() > 0


def test_three_dimensions_are_served():
    networks = [FactorisedFNO((2,) * 3), ResNet(3), UNet(3, 4, 1), Transolver(3), GridDeepONet((4, 4, 2))]
    for network in networks:
        parameters = jax.eval_shape(lambda network=network: network.init(jax.random.key(0), 2, 3))
        value = jax.eval_shape(network.apply, parameters, jnp.zeros((2, 6, 4, 8)))
        assert value.shape == (3, 6, 4, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_the_variance_at_the_start_is_of_order_one(name):
    network = DEEP[name]
    parameters = jax.jit(lambda key: network.init(key, 2, 1))(jax.random.key(0))
    assert 0.2 < np.asarray(jax.jit(network.apply)(parameters, field((16, 16)))).std() < 3


@each
def test_wrong_fields_are_named(name):
    network, space, _ = NETWORKS[name]
    if isinstance(network, FNO):
        return
    title = type(network).__name__
    with pytest.raises(ValueError, match=rf"{title}: these parameters take 2 input fields, got 1"):
        jax.eval_shape(network.apply, parameters_of(name), jnp.zeros((1, *space)))
    with pytest.raises(ValueError, match=rf"{title}: a field with {len(space)} axes has shape \[inputs, x"):
        jax.eval_shape(network.apply, parameters_of(name), jnp.zeros((2, *space, 4)))
    with pytest.raises(ValueError, match=rf"{title}: border 'periodc' does not exist.*Did you mean 'periodic'"):
        type(network)(**(vars(network) | {"borders": "periodc"}))
