"""A network as a function's surrogate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
REGRESSION = js.surrogates.NetworkRegression(js.networks.MLP((16,)), steps=3000, batch=64)


def test_it_learns_two_outputs_of_far_different_units():
    y = np.stack([1e-6 * np.sin(2 * X[:, 0]), 1e6 * (3 + X[:, 0] * X[:, 1])], axis=1)
    function = REGRESSION.fit(X, y, key=jax.random.key(0))
    error = np.asarray(function(jnp.asarray(X))) - y
    assert (np.sqrt((error**2).mean(0)) < 0.1 * y.std(0)).all()


def test_it_takes_any_batch_is_a_pytree_and_has_a_gradient():
    regression = js.surrogates.NetworkRegression(js.networks.MLP((4,)), steps=3)
    function = regression.fit(X, X[:, 0], key=jax.random.key(0))
    assert function(X[0]).shape == ()
    assert function(X[:6].reshape(2, 3, 2)).shape == (2, 3)
    doubled = jax.tree.map(lambda leaf: 1 * leaf, function)
    assert float(doubled(X[0])) == float(function(X[0]))
    assert jax.grad(function)(jnp.asarray(X[0])).shape == (2,)
    again = regression.fit(X, X[:, 0], key=jax.random.key(0))
    assert np.array_equal(again(X), function(X)), "one key, one function"


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X[:, 0], X[:, 0], "inputs are"),
        (X, X[:5, 0], "inputs are"),
        (X[:0], X[:0, 0], "inputs are"),
        (X, np.full(200, np.nan), "must be finite"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(x, y, says):
    with pytest.raises(ValueError, match=says):
        REGRESSION.fit(x, y, key=jax.random.key(0))


@pytest.mark.parametrize("change", [{"steps": 0}, {"batch": 1.5}, {"learning_rate": 0.0}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        js.surrogates.NetworkRegression(js.networks.MLP((4,)), **change)
