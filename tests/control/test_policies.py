"""Policies and straight-through estimators: densities that integrate to one, bounds, draws, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.control
SMALL = js.networks.MLP((4,))
OBSERVATION = {"level": jnp.asarray(0.3), "rates": jnp.array([1.0, -2.0])}


def test_a_network_policy_keeps_its_bounds_and_takes_any_pytree():
    policy = c.NetworkPolicy(SMALL, actions=2, low=(-1.0, 0.0), high=(1.0, 5.0), center=(0.0, 1.0, 1.0), scale=2.0)
    params = policy.init(jax.random.key(0), OBSERVATION)
    many = jax.vmap(lambda k: policy(jax.tree.map(lambda p: 50 * jax.random.normal(k, p.shape), params), OBSERVATION))
    actions = many(jax.random.split(jax.random.key(1), 200))
    assert actions.shape == (200, 2)
    assert np.all(actions >= jnp.array([-1.0, 0.0]))
    assert np.all(actions <= jnp.array([1.0, 5.0]))
    assert np.all(actions.max(axis=0) - actions.min(axis=0) > jnp.array([1.9, 4.9]))
    moved = OBSERVATION | {"rates": OBSERVATION["rates"] + 1.0}
    assert not np.allclose(policy(params, OBSERVATION), policy(params, moved))


@pytest.mark.slow
def test_the_density_of_a_squashed_action_integrates_to_one_and_is_that_of_its_draws():
    policy = c.GaussianPolicy(SMALL, low=-2.0, high=3.0, log_std=-0.3)
    params = policy.init(jax.random.key(0), OBSERVATION)
    edges = np.linspace(-2.0, 3.0, 4001)
    middles = (edges[1:] + edges[:-1]) / 2
    density = np.exp(jax.vmap(lambda a: policy.log_prob(params, OBSERVATION, a))(middles))
    np.testing.assert_allclose(density.sum() * (edges[1] - edges[0]), 1.0, rtol=1e-6)
    drawn = jax.vmap(lambda k: policy(params, OBSERVATION, key=k))(jax.random.split(jax.random.key(1), 20_000))
    below = np.cumsum(density) * (edges[1] - edges[0])
    for place in (0.25, 0.5, 0.75):
        where = middles[np.searchsorted(below, place)]
        assert abs(float((drawn < where).mean()) - place) < 4 * np.sqrt(0.25 / 20_000)
    assert policy.log_prob(params, OBSERVATION, drawn[0]).shape == ()


def test_an_unbounded_gaussian_is_the_normal_law():
    policy = c.GaussianPolicy(SMALL, actions=2, log_std=0.2)
    params = policy.init(jax.random.key(0), OBSERVATION)
    mean, action = policy.mode(params, OBSERVATION), jnp.array([0.4, -1.0])
    expected = jax.scipy.stats.norm.logpdf(action, mean, np.exp(0.2)).sum()
    np.testing.assert_allclose(policy.log_prob(params, OBSERVATION, action), expected, rtol=1e-12)
    np.testing.assert_allclose(policy.entropy(params, OBSERVATION), 2 * (0.2 + 0.5 * np.log(2 * np.pi * np.e)), rtol=1e-12)


def test_a_categorical_policy_draws_what_it_says():
    policy = c.CategoricalPolicy(3, SMALL)
    params = policy.init(jax.random.key(2), OBSERVATION)
    probabilities = np.exp([policy.log_prob(params, OBSERVATION, i) for i in range(3)])
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-12)
    drawn = jax.vmap(lambda k: policy(params, OBSERVATION, key=k))(jax.random.split(jax.random.key(1), 20_000))
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, probabilities, atol=0.015)
    assert int(policy.mode(params, OBSERVATION)) == int(np.argmax(probabilities))
    np.testing.assert_allclose(
        policy.entropy(params, OBSERVATION), -(probabilities * np.log(probabilities)).sum(), rtol=1e-12
    )


@pytest.mark.slow
def test_draws_through_have_the_derivatives_of_their_means():
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn, slope = jax.vmap(lambda k: jax.value_and_grad(lambda p: c.bernoulli_through(k, p))(0.3))(keys)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert abs(float(drawn.mean()) - 0.3) < 0.03
    assert np.all(slope == 1.0)
    logits = jnp.array([0.5, -0.2, 0.1])
    hot = jax.vmap(lambda k: c.categorical_through(k, logits))(keys)
    assert np.all(hot.sum(axis=1) == 1.0)
    np.testing.assert_allclose(hot.mean(axis=0), jax.nn.softmax(logits), atol=0.03)
    relaxed = jax.vmap(jax.jacobian(lambda z, k: c.categorical_through(k, z, 0.5)), in_axes=(None, 0))(logits, keys)
    assert np.all(np.diagonal(relaxed.mean(axis=0)) > 0)
    assert float(c.round_through(2.6)) == 3.0


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        policy = c.GaussianPolicy(SMALL, low=-1.0, high=1.0)
        params = policy.init(jax.random.key(0), jnp.zeros(2))
        assert policy(params, jnp.zeros(2), key=jax.random.key(0)).dtype == jnp.float32


@pytest.mark.parametrize("kind", [c.NetworkPolicy, c.GaussianPolicy])
def test_bad_bounds_are_refused(kind):
    with pytest.raises(ValueError, match="give both bounds"):
        kind(low=0.0)
    with pytest.raises(ValueError, match="low must be below high"):
        kind(low=(0.0, 1.0), high=(1.0, 1.0))
