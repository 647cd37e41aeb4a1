"""Layers behind networks of Flax, values that are not finite, and arguments in the wrong order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsci as js

C = js.constraints
SHARES = C.Simplex()
X = jnp.ones((4, 2))


def test_behind_a_network_of_flax_values_keep_the_constraint_and_gradients_pass():
    net = nnx.Sequential(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.data(C.Layer(SHARES)))
    loss, gradient = nnx.jit(nnx.value_and_grad(lambda net: jnp.sum(net(X)[:, 0] ** 2)))(net)
    SHARES.check(net(X))
    linear = lambda kernel: jnp.sum(SHARES.project(X @ kernel)[0][:, 0] ** 2)
    value, expected = jax.value_and_grad(linear)(net.layers[0].kernel[...])
    assert loss == pytest.approx(float(value))
    np.testing.assert_allclose(gradient["layers"][0]["kernel"][...], expected, rtol=1e-6, atol=1e-12)


def test_what_is_not_finite_stays_that_and_is_told():
    y = jnp.array([[jnp.nan, 1.0, 2.0], [1.0, 2.0, 3.0]])
    layer = C.Layer(C.Simplex())
    assert np.isnan(layer(y)[0]).all()
    assert float(layer(y)[1].sum()) == pytest.approx(1)
    assert layer.info(y).status.tolist() == [3, 0]
    assert layer.info(y).residual.tolist() == [np.inf, 0.0]


def test_the_constraint_comes_first():
    with pytest.raises(TypeError, match="the constraint comes first, then the function"):
        C.Layer(jnp.tanh, C.Simplex())
