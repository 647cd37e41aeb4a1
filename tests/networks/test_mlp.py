"""The multilayer perceptron: sizes, dtype, keys, errors."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.networks import MLP

KEY = jax.random.key(7)


@pytest.mark.parametrize("widths", [(6,), (5, 4), (3, 3, 3)])
def test_sizes(widths):
    parameters = MLP(widths).init(KEY, inputs=2, outputs=3)
    sizes = (2, *widths, 3)
    expected = {}
    for k, (a, b) in enumerate(itertools.pairwise(sizes)):
        expected |= {f"layers/{k}/kernel": (a, b), f"layers/{k}/bias": (b,)}
    assert {name: leaf.shape for name, leaf in parameters.items()} == expected
    assert MLP(widths).apply(parameters, jnp.ones(2)).shape == (3,)


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("tanh", np.tanh),
        ("sin", np.sin),
        ("silu", lambda s: s / (1 + np.exp(-s))),
        ("gelu", lambda s: s / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (s + 0.044715 * s**3)))),
    ],
)
def test_the_network_is_its_formula(activation, function):
    network = MLP((4, 4), activation)
    p = {name: leaf + 0.05 for name, leaf in network.init(KEY, 2, 1).items()}  # biases that are not zero
    z = np.array([0.4, -0.9])
    hidden = z
    for k in range(2):
        hidden = function(hidden @ np.asarray(p[f"layers/{k}/kernel"]) + np.asarray(p[f"layers/{k}/bias"]))
    expected = hidden @ np.asarray(p["layers/2/kernel"]) + np.asarray(p["layers/2/bias"])
    np.testing.assert_allclose(network.apply(p, jnp.asarray(z)), expected, rtol=1e-13)


def test_the_key_decides_the_parameters():
    network = MLP((8,))
    first, again, other = (network.init(key, 2, 1) for key in (KEY, KEY, jax.random.key(8)))
    assert all((first[name] == again[name]).all() for name in first)
    assert not np.allclose(first["layers/0/kernel"], other["layers/0/kernel"])


def test_weights_have_the_spread_of_glorot_and_biases_are_zero():
    parameters = MLP((200, 200)).init(KEY, 2, 1)
    assert float(parameters["layers/1/kernel"].std()) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert (parameters["layers/1/bias"] == 0).all()


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_dtype_is_the_default_floating_point_type(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        network = MLP((4,))
        parameters = network.init(jax.random.key(0), 2, 1)
        assert {leaf.dtype for leaf in parameters.values()} == {jnp.dtype(dtype)}
        assert network.apply(parameters, jnp.ones(2, dtype)).dtype == dtype


def test_networks_are_values():
    assert MLP((4, 4)) == MLP((4, 4))
    assert hash(MLP((4, 4))) == hash(MLP((4, 4)))
    assert MLP((4, 4)) != MLP((4, 4), "sin")
    with pytest.raises(dataclasses.FrozenInstanceError):
        MLP((4,)).widths = (5,)


@pytest.mark.parametrize("widths", [(), (0,), (4, -1), (4.0,), 16, [16, 16], ("a",)])
def test_wrong_widths(widths):
    with pytest.raises(
        ValueError, match=r"MLP: widths must be a tuple of positive whole numbers, as in \(20, 20, 20\), got"
    ):
        MLP(widths)


def test_wrong_activation_names_the_nearest():
    with pytest.raises(ValueError, match=r"activation 'tahn' does not exist.*Did you mean 'tanh'"):
        MLP((4,), "tahn")
