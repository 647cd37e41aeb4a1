"""What every network of one point holds: pure functions, both precisions, and derivatives by Taylor rules alone."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.equations.taylor import propagate
from jaxsci.networks import (
    MLP,
    SIREN,
    SPINN,
    DeepONet,
    FourierFeatures,
    Harmonics,
    Mixture,
    ModifiedMLP,
    PeriodicEmbedding,
    PirateNet,
)

SMALL = MLP((4,), factorised=True)
# name: (network, number of parameters for two inputs and two outputs)
NETWORKS = {
    "mlp": (MLP((5, 4)), 15 + 24 + 10),
    "adaptive": (MLP((5, 4), "sin", adaptive=True), 15 + 24 + 10 + 2),
    "stan": (MLP((5, 4), "stan"), 15 + 24 + 10 + 9),
    "gelu": (MLP((5,), "gelu"), 15 + 12),
    "silu": (MLP((5,), "silu", factorised=True, adaptive=True), 15 + 12 + 8),
    "fourier": (MLP((5,), embedding=FourierFeatures((1.0, 3.0), count=3)), 65 + 12),
    "periodic": (MLP((5,), embedding=PeriodicEmbedding((1,), harmonics=2)), 30 + 12),
    "trainable period": (MLP((5,), embedding=PeriodicEmbedding((0, 1), trainable=True)), 25 + 12 + 2),
    "harmonics": (MLP((5,), embedding=Harmonics(((0, 1),), 3)), 35 + 12),
    "modified": (ModifiedMLP((5, 5), "silu", FourierFeatures(count=2), factorised=True, adaptive=True), 143),
    "pirate": (PirateNet((5, 5), embedding=FourierFeatures(count=2)), 50 + 2 * (25 + 30 + 24 + 1) + 10),
    "siren": (SIREN((5, 4), omega=3.0), 15 + 24 + 10),
    "spinn": (SPINN(MLP((5,)), rank=3), 2 * (10 + 36)),
    "grouped spinn": (SPINN(SIREN((5,), omega=2.0), rank=3, groups=(2,)), 15 + 36),
    "deeponet": (DeepONet(MLP((5,)), MLP((4,)), sensors=1, rank=3), 46 + 38 + 2),
    "mixture": (Mixture(SMALL, ((1, 1), (3, 2)), trainable=True), 7 * (22 + 6) + 14),
}
each = pytest.mark.parametrize("name", NETWORKS)


@functools.cache
def every():
    return {name: random_parameters(network, 2, 2) for name, (network, _) in NETWORKS.items()}


@each
def test_parameters_are_counted_flat_and_of_the_default_type(name):
    network, count = NETWORKS[name]
    for wide in (True, False):
        with jax.enable_x64(wide):
            parameters = jax.eval_shape(lambda: network.init(jax.random.key(3), 2, 2))
            assert sum(leaf.size for leaf in parameters.values()) == count
            dtype = jnp.dtype(jnp.float64 if wide else jnp.float32)
            assert {leaf.dtype for leaf in parameters.values()} == {dtype}
            value = jax.eval_shape(network.apply, parameters, jnp.zeros(2))
            assert (value.shape, value.dtype) == ((2,), dtype)


@each
def test_networks_are_values(name):
    network, _ = NETWORKS[name]
    again = pickle.loads(pickle.dumps(network))
    assert (again, hash(again)) == (network, hash(network))


def test_keys_decide_the_parameters_of_every_part():
    network = Mixture(SPINN(SIREN((2,)), rank=1), ((2, 1),))
    make = jax.jit(lambda key: network.init(key, 2, 1))
    one, two, other = (make(jax.random.key(k)) for k in (3, 3, 4))
    assert not np.allclose(one["experts/0/layers/0/kernel"][0], one["experts/0/layers/0/kernel"][1])
    assert not np.allclose(one["experts/0/layers/0/kernel"], one["experts/1/layers/0/kernel"])
    for name in one:
        assert (one[name] == two[name]).all()
        assert name.endswith("1/bias") or not np.allclose(one[name], other[name])


WANTED = [(1, 1), (0, 2)]  # and all that is below them on the way


@pytest.mark.slow
def test_derivatives_by_taylor_rules_agree_with_nested_jvp():
    """`propagate` raises where an operation has no rule: none falls back. One compilation for all networks."""
    random = np.random.default_rng(0)
    columns = tuple(jnp.asarray(random.uniform(-1, 1, size=4)) for _ in range(2))

    def fields(parameters):
        return lambda t, x: {name: NETWORKS[name][0].apply(p, jnp.stack([t, x])) for name, p in parameters.items()}

    @jax.jit
    def by_rules(parameters):
        return propagate(jax.vmap(fields(parameters)), columns, WANTED)

    @jax.jit
    def by_jvp(parameters):
        def nested(index):
            function = jax.vmap(fields(parameters))
            for axis, order in enumerate(index):
                for _ in range(order):
                    function = _slope(function, axis)
            return function(*columns)

        return {index: nested(index) for index in WANTED}

    got, expected = by_rules(every()), by_jvp(every())
    for name in NETWORKS:
        for index in WANTED:
            scale = max(float(jnp.abs(expected[index][name]).max()), 1.0)
            assert float(jnp.abs(got[name][index] - expected[index][name]).max()) < 1e-13 * scale, (name, index)


def _slope(function, axis):
    def slope(*columns):
        along = lambda column: function(*columns[:axis], column, *columns[axis + 1 :])
        return jax.jvp(along, (columns[axis],), (jnp.ones_like(columns[axis]),))[1]

    return slope


@pytest.mark.slow
def test_float32_agrees_with_float64_and_jit_and_vmap_pass():
    z = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, size=(3, 2)))
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), every())

    @jax.jit
    def values(parameters, z):
        return {name: jax.vmap(NETWORKS[name][0].apply, (None, 0))(p, z) for name, p in parameters.items()}

    wide, narrow = values(every(), z), values(single, z.astype(jnp.float32))
    for name in NETWORKS:
        assert narrow[name].dtype == jnp.float32, name
        np.testing.assert_allclose(narrow[name], wide[name], rtol=3e-5, atol=3e-5, err_msg=name)


@pytest.mark.slow
def test_every_parameter_matters():
    """A parameter without influence is a mistake in wiring: its gradient is zero for every input."""
    z = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, size=(5, 2)))

    @jax.jit
    def slopes(parameters):
        def total(parameters):
            values = [jax.vmap(NETWORKS[name][0].apply, (None, 0))(p, z) for name, p in parameters.items()]
            return sum(jnp.sum(jnp.sin(value + 0.1)) for value in values)

        return jax.grad(total)(parameters)

    for name, gradient in slopes(every()).items():
        assert all(bool((jnp.abs(leaf) > 0).any()) for leaf in gradient.values()), name


def test_parameters_of_another_network_are_refused():
    parameters = every()
    with pytest.raises(KeyError, match=r"parameter 'layers/2/bias', 'layers/2/kernel' missing; got 'layers/0/bias'"):
        MLP((5, 4)).apply(parameters["gelu"], jnp.ones(2))
    with pytest.raises(KeyError, match=r"parameter 'layers/0/log_scale' does not exist"):
        MLP((5,), "silu", adaptive=True).apply(parameters["silu"], jnp.ones(2))


@pytest.mark.parametrize("network", [ModifiedMLP, PirateNet])
def test_gated_networks_have_one_width(network):
    with pytest.raises(ValueError, match=rf"{network.__name__}: .* all widths must be equal, as in .* got \(4, 5\)"):
        network((4, 5))
    with pytest.raises(ValueError, match=f"{network.__name__}: widths must be a tuple"):
        network(4)
    with pytest.raises(ValueError, match=f"{network.__name__}: activation 'sine' does not exist.*Did you mean 'sin'"):
        network((4, 4), "sine")
    with pytest.raises(
        TypeError, match=f"{network.__name__}: embedding must be None or one of jaxsci.networks, .* got 'fourier'"
    ):
        network((4, 4), embedding="fourier")
