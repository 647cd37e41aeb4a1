"""Options of the layers: random weight factorisation and adaptive activations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_parameters import random_parameters

from jaxsci.networks import MLP, SIREN, ModifiedMLP, PirateNet

KEY = jax.random.key(5)
Z = jnp.array([0.4, -0.9])


def test_a_factorised_network_starts_as_the_plain_one_and_its_gradient_is_another():
    plain, factorised = MLP((3000,)), MLP((3000,), factorised=True)
    p, q = plain.init(KEY, 2, 1), factorised.init(KEY, 2, 1)
    log_scale = np.asarray(q["layers/0/log_scale"])
    assert log_scale.mean() == pytest.approx(1.0, abs=0.01)
    assert log_scale.std() == pytest.approx(0.1, rel=0.05)

    @functools.partial(jax.jit, static_argnames="network")
    def before_and_after(network, parameters):
        """The value, and the value after a step down the gradient of its square."""
        square = lambda p: network.apply(p, Z)[0] ** 2
        moved = jax.tree.map(lambda leaf, slope: leaf - 1e-3 * slope, parameters, jax.grad(square)(parameters))
        return network.apply(parameters, Z)[0], network.apply(moved, Z)[0]

    (start, there), (same_start, elsewhere) = before_and_after(plain, p), before_and_after(factorised, q)
    np.testing.assert_allclose(same_start, start, rtol=1e-12)
    assert abs(there - elsewhere) > 1e-4 * abs(there)


@pytest.mark.parametrize("kind", [MLP, ModifiedMLP, PirateNet, SIREN])
def test_every_dense_layer_of_a_factorised_network_is_factorised(kind):
    names = random_parameters(kind((6, 6), factorised=True), 2, 1)
    kernels = [name for name in names if name.endswith("kernel")]
    assert len(kernels) >= 3
    assert all(names[name.replace("kernel", "log_scale")].shape == names[name].shape[1:] for name in kernels)


def test_scales_multiply_columns():
    network = MLP((3,), factorised=True)
    q = random_parameters(network, 2, 2)
    kernels = [np.asarray(q[f"layers/{k}/kernel"]) * np.exp(q[f"layers/{k}/log_scale"]) for k in (0, 1)]
    expected = np.tanh(Z @ kernels[0] + q["layers/0/bias"]) @ kernels[1] + q["layers/1/bias"]
    np.testing.assert_allclose(network.apply(q, Z), expected, rtol=1e-13)


def test_adaptive_slopes_start_at_one_and_multiply_what_enters():
    plain, adaptive = MLP((5, 4)), MLP((5, 4), adaptive=True)
    p = random_parameters(plain, 2, 1)
    q = adaptive.init(KEY, 2, 1) | p
    assert (adaptive.apply(q, Z) == plain.apply(p, Z)).all()
    steeper = q | {"activations/0/slope": jnp.asarray(2.5)}
    scaled = p | {name: 2.5 * p[name] for name in ("layers/0/kernel", "layers/0/bias")}
    np.testing.assert_allclose(adaptive.apply(steeper, Z), plain.apply(scaled, Z), rtol=1e-13)


def test_stan_is_its_formula():
    network = MLP((3,), "stan")
    q = random_parameters(network, 2, 1) | {"activations/0/beta": jnp.array([0.5, 1.0, -2.0])}
    h = np.asarray(Z @ q["layers/0/kernel"] + q["layers/0/bias"])
    expected = (np.tanh(h) + q["activations/0/beta"] * h * np.tanh(h)) @ q["layers/1/kernel"] + q["layers/1/bias"]
    np.testing.assert_allclose(network.apply(q, Z), expected, rtol=1e-13)
