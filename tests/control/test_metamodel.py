"""Learned metamodels: what they start from, a system that they find, data that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.control.metamodel import fit_metamodel, metamodel, metamodel_dynamics, steady_state
from jaxsci.control.systems import predator_prey as numbers

GROWTH, CROWDING = np.array([0.3, 0.25]), np.array([[1e-3, 5e-4], [4e-4, 1e-3]])


def competition(counts, removals=0.0):
    """Two species that crowd each other: the truth that is to be found."""
    return counts * (jnp.asarray(GROWTH) - jnp.asarray(CROWDING) @ counts - removals)


def rest(removals):
    return np.linalg.solve(CROWDING, GROWTH - removals)


@pytest.fixture(scope="module")
def series():
    """Eight series of 60 steps of 2, the removals drawn anew every 20 steps."""
    rng = np.random.default_rng(0)
    actions = np.repeat(rng.uniform(0, 0.1, (8, 3, 2)), 20, axis=1)
    step = numbers.removing(hold=2)
    path = lambda s, a: jax.lax.scan(lambda s, a: (step(competition, s, a),) * 2, s, a)[1]
    starts = jnp.asarray(rng.uniform(50, 300, (8, 2)))
    counts = jax.jit(jax.vmap(path))(starts, jnp.asarray(actions))
    return jnp.concatenate([starts[:, None], counts], axis=1), jnp.asarray(actions)


@pytest.mark.slow
@pytest.mark.parametrize("sees", [False, True])
def test_a_wholly_learned_metamodel_rests_where_it_should_under_controls_it_has_not_seen(series, sees):
    blank = metamodel(
        jax.random.key(0), [200.0, 150.0], action_scale=0.1 if sees else None, network=js.networks.MLP((12, 12)), rate=0.3
    )
    optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, 600))
    found = fit_metamodel(
        blank, *series, key=jax.random.key(1), dt=2.0, window=6, batch=32, iterations=600, least=1.0, optimiser=optimiser
    )
    unseen = jnp.array([[0.03, 0.05], [0.05, 0.03], [0.02, 0.02], [0.07, 0.06]])
    rests = jax.jit(jax.vmap(lambda m, u: steady_state(m, u, jnp.array([100.0, 100.0]), time=200.0), in_axes=(None, 0)))
    truth = np.stack([rest(np.asarray(u)) for u in unseen])
    assert np.abs(rests(blank, unseen) / truth - 1).max() > 0.2  # it had to be learned
    miss = rests(found.model, unseen) / truth - 1
    assert np.abs(miss).max() < 0.06, miss
    assert found.history["loss"].shape == (600,)
    assert found.history["loss"][-50:].mean() < 1e-2 * found.history["loss"][:5].mean()


@pytest.mark.slow
def test_a_known_part_with_a_silent_network_is_the_known_part():
    known = numbers.MechanisticPredatorPrey()
    model = metamodel(jax.random.key(0), [24e3, 4e3, 1e3], known=known, rate=0.0)
    counts, u = jnp.array([23e3, 4.5e3, 1.5e3]), jnp.array([0.0, 0.01, 0.02])
    np.testing.assert_allclose(model(counts, u), known(counts, u), rtol=1e-12)
    # In the logarithms or in the counts: the same flow, as far as the steps are small.
    logs = jax.jit(metamodel_dynamics(1.0, substeps=8))(model, counts, u)
    plain = jax.jit(numbers.removing(substeps=8))(model, counts, u)
    np.testing.assert_allclose(logs, plain, rtol=1e-9)
    with jax.enable_x64(False):
        single = metamodel(jax.random.key(0), [24e3, 4e3, 1e3], action_scale=0.02)
        assert metamodel_dynamics()(single, jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float32)).dtype == jnp.float32


@pytest.mark.slow
def test_windows_that_chance_rules_or_that_are_not_known_teach_nothing(series):
    """Rows below `least` and NaN change no number of the fit; rows above do."""
    blank = metamodel(jax.random.key(0), [200.0, 150.0], network=js.networks.MLP((4,)))
    fit = lambda counts, least: fit_metamodel(
        blank, counts, series[1], key=jax.random.key(0), dt=2.0, window=6, batch=4, iterations=3, least=least
    ).history["loss"]
    counts = series[0]
    rare = counts.at[3:, 30:].set(0.5)
    unknown = counts.at[3:, 30:].set(jnp.nan)
    assert np.isfinite(fit(unknown, 1.0)).all()
    np.testing.assert_array_equal(fit(rare, 1.0), fit(unknown, 1.0))
    assert not np.allclose(fit(rare, 0.1), fit(unknown, 1.0))


def test_bad_data_are_refused_by_name(series):
    counts, actions = series
    model = metamodel(jax.random.key(0), [200.0, 150.0])
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"counts are \[series, times, 2\]"):
        fit_metamodel(model, counts[0], actions, key=key)
    with pytest.raises(ValueError, match="8 series and 60 steps, one less than times"):
        fit_metamodel(model, counts, actions[:, :-1], key=key)
    with pytest.raises(ValueError, match="window is a number of steps between 1 and 60"):
        fit_metamodel(model, counts, actions, key=key, window=61)
    with pytest.raises(ValueError, match="no window of 20 steps has all its counts at 1000000"):
        fit_metamodel(model, counts, actions, key=key, least=1e6)
    with pytest.raises(ValueError, match="iterations is a whole number"):
        fit_metamodel(model, counts, actions, key=key, iterations=0)
    with pytest.raises(ValueError, match="removals are as many as species, 2, got actions=1"):
        metamodel(key, [200.0, 150.0], actions=1)
    with pytest.raises(ValueError, match="only the network knows the actions"):
        metamodel(key, [200.0, 150.0], actions=1, removal=False)
    with pytest.raises(ValueError, match="scales are positive"):
        metamodel(key, [200.0, 0.0])
