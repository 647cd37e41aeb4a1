"""The transformer: attention in NumPy, permutations of the nodes, what the positions tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_parameters import random_parameters

from jaxsci.networks.functional import functional
from jaxsci.networks.transolver import PhysicsAttention, Transolver


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_attention_head_by_head_as_in_the_paper():
    """Equations 2 to 5 in their order, where the module applies the dense maps to the tokens."""
    heads, size, slices, nodes = 2, 3, 4, 7
    p, apply = functional(PhysicsAttention(heads * size, heads, slices, nnx.Rngs(params=0)))
    random = np.random.default_rng(0)
    p = {name: random.normal(size=leaf.shape) for name, leaf in p.items()}
    p["temperature"] = np.array([[0.5], [1.5]])
    h = random.normal(size=(nodes, heads * size))
    states, features = (h @ p[f"{name}/kernel"] + p[f"{name}/bias"] for name in ("states", "features"))
    out = []
    for head in range(heads):
        x, f = (field[:, head * size : (head + 1) * size] for field in (states, features))
        w = softmax((x @ p["slices/kernel"] + p["slices/bias"]) / p["temperature"][head])
        tokens = w.T @ f / (w.sum(0)[:, None] + 1e-5)
        query, key, value = (tokens @ p["tokens"][i] for i in range(3))
        out.append(w @ (softmax(query @ key.T / np.sqrt(size)) @ value))
    expected = np.concatenate(out, 1) @ p["join/kernel"] + p["join/bias"]
    np.testing.assert_allclose(jax.jit(apply)(p, h), expected, atol=1e-12)


def test_without_positions_it_commutes_with_permutations():
    options = {"dimension": 1, "slices": 3, "channels": 4, "heads": 2, "layers": 1}
    a, order = np.random.default_rng(1).normal(size=(2, 8)), np.random.default_rng(2).permutation(8)
    for harmonics in (0, 1):
        network = Transolver(harmonics=harmonics, **options)
        p, apply = random_parameters(network, 2, 1), jax.jit(network.apply)
        difference = np.abs(np.asarray(apply(p, a[:, order])) - np.asarray(apply(p, a))[:, order]).max()
        assert (difference < 1e-13) == (harmonics == 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Transolver(heads=3), "Transolver: 3 heads must divide the 64 channels"),
        (lambda: Transolver(slices=0), "Transolver: slices must be a positive whole number, got 0"),
        (lambda: Transolver(harmonics=-1), "Transolver: harmonics must be a whole number, 0 for none, got -1"),
        (lambda: Transolver(dimension=0), "Transolver: dimension must be a positive whole number, got 0"),
        (lambda: Transolver(borders="wall"), "Transolver: border 'wall' does not exist"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_field_of_another_dimension_is_named():
    network = Transolver(dimension=2, slices=2, channels=2, heads=1, layers=1)
    with pytest.raises(ValueError, match=r"Transolver: a field with 2 axes has shape \[inputs, x, y\], got \(1, 8\)"):
        network.apply(random_parameters(network, 1, 1), jnp.ones((1, 8)))
