"""Residual networks: the formula in NumPy, translations, mirrors, walls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks.resnet import ResNet


def test_the_formula_in_numpy():
    network = ResNet(dimension=1, channels=2, blocks=2, dilations=(1, 2), activation="tanh")
    p = random_parameters(network, 1, 1)
    a = np.random.default_rng(0).normal(size=(1, 7))

    def convolve(h, name, dilation):
        kernel = p[f"{name}/kernel"]
        return sum(np.roll(h, -dilation * (k - 1), 0) @ kernel[k] for k in range(3)) + p[f"{name}/bias"]

    h = a.T @ p["lift/kernel"] + p["lift/bias"]
    for block in range(2):
        change = convolve(np.tanh(h), f"blocks/{block}/convolutions/0", 1)
        h = h + convolve(np.tanh(change), f"blocks/{block}/convolutions/1", 2)
    expected = np.tanh(h) @ p["project/kernel"] + p["project/bias"]
    np.testing.assert_allclose(jax.jit(network.apply)(p, jnp.asarray(a)), expected.T, atol=1e-13)


def test_translations_along_the_periodic_axis_alone():
    network = ResNet(dimension=2, channels=3, blocks=1, borders=("periodic", "zero"))
    p, apply = random_parameters(network, 1, 2), jax.jit(network.apply)
    a = np.random.default_rng(1).normal(size=(1, 5, 5))
    u = np.asarray(apply(p, a))
    np.testing.assert_allclose(apply(p, np.roll(a, 2, 1)), np.roll(u, 2, 1), atol=1e-13)
    assert np.abs(np.asarray(apply(p, np.roll(a, 2, 2))) - np.roll(u, 2, 2)).max() > 0.01


def test_with_symmetric_kernels_even_walls_are_mirrors():
    """The whole network between walls is that on the mirrored period; with other kernels hidden fields are not symmetric."""
    walled = ResNet(dimension=1, channels=3, blocks=2, dilations=(1, 2), borders="even")
    whole = ResNet(dimension=1, channels=3, blocks=2, dilations=(1, 2))
    p = random_parameters(walled, 1, 1)
    symmetric = {name: (v + v[::-1]) / 2 if "convolutions" in name and v.ndim == 3 else v for name, v in p.items()}
    a = np.random.default_rng(2).normal(size=(1, 6))
    mirrored = np.concatenate([a, a[:, -2:0:-1]], 1)
    compare = jax.jit(lambda p: (walled.apply(p, a), whole.apply(p, mirrored)[:, :6]))
    np.testing.assert_allclose(*compare(symmetric), atol=1e-13)
    got, other = compare(p)
    assert np.abs(np.asarray(got - other)).max() > 0.01


def test_a_node_sees_as_far_as_the_docstring_says():
    network = ResNet(dimension=1, channels=2, blocks=2, dilations=(1, 2), borders="zero")
    p = random_parameters(network, 1, 1)
    slope = jax.jit(jax.grad(lambda a: network.apply(p, a)[0, 10]))(jnp.ones((1, 21)))
    assert np.flatnonzero(np.abs(np.asarray(slope[0])) > 0).tolist() == list(range(10 - 6, 10 + 7))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(dimension=4), "ResNet: dimension must be 1, 2 or 3, got 4"),
        (lambda: ResNet(blocks=0), "ResNet: blocks must be a positive whole number, got 0"),
        (lambda: ResNet(kernel=4), "ResNet: kernel must be odd, with a node in the middle, got 4"),
        (lambda: ResNet(dilations=()), r"ResNet: dilations must be a tuple of positive whole numbers, .* got \(\)"),
        (lambda: ResNet(dilations=2), "ResNet: dilations must be a tuple"),
        (lambda: ResNet(activation="relu"), "ResNet: activation 'relu' does not exist"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
