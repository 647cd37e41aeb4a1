"""Offline learning: what the data did, what they allow, and which end of a record cuts a target."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.behaviour_cloning import behaviour_cloning
from jaxsci.control.conservative_q import conservative_q
from jaxsci.control.datasets import Transitions, records
from jaxsci.control.implicit_q import implicit_q
from jaxsci.control.tables import TabularMDP, policy_evaluation, value_iteration

KEY = jax.random.key(0)
STATES, CHOICES = 5, 3
NETWORK = js.networks.MLP((16,), "silu")
CHOOSES = js.control.CategoricalPolicy(CHOICES, NETWORK)
DOSES = js.control.GaussianPolicy(NETWORK, low=-2.0, high=2.0, log_std=-1.0)
SHARP = {"expectile": 0.9, "sharpness": 10.0}
QUICK = {"iterations": 300, "batch": 16, "learning_rate": 1e-2, "following": 0.1}
SOONER = {"iterations": 800, "batch": 128, "learning_rate": 5e-3, "following": 0.05}


@pytest.fixture(scope="module")
def table():
    """A table, and records of a policy that takes the best action with a probability of one half."""
    draw = np.random.default_rng(0)
    transitions = draw.dirichlet(np.full(STATES, 0.3), size=(STATES, CHOICES))
    mdp = TabularMDP(jnp.asarray(transitions), jnp.asarray(draw.uniform(size=(STATES, CHOICES))), 0.7, jnp.full(STATES, 0.2))
    best = np.asarray(value_iteration(mdp).policy)
    shares = 0.25 + 0.25 * np.eye(CHOICES)[best]
    episodes, length = 300, 10
    state = draw.integers(STATES, size=episodes)
    rows = []
    for _ in range(length):
        action = np.array([draw.choice(CHOICES, p=shares[s]) for s in state])
        after = np.array([draw.choice(STATES, p=transitions[s, a]) for s, a in zip(state, action, strict=True)])
        rows.append((state, action, after))
        state = after
    s, a, s1 = (np.stack(column, axis=1).reshape(-1) for column in zip(*rows, strict=True))
    one_hot = np.eye(STATES)
    data = records(
        one_hot[s], a, np.asarray(mdp.costs)[s, a], np.repeat(np.arange(episodes), length),
        ended=np.zeros(len(s), bool), next_observation=one_hot[s1],
    )  # fmt: skip
    return mdp, data, shares


@pytest.fixture(scope="module")
def doses():
    """One step in which more is better, without an end: doses between -1/2 and 1/2 were seen, 2 is allowed."""
    o, a = jax.random.uniform(KEY, (2, 600), minval=-1.0, maxval=1.0)
    a = a / 2
    return Transitions(o, a, -a, o, jnp.ones(600, bool), jnp.zeros(600, bool), None, jnp.arange(600))


def cost_of(mdp, params):
    policy = np.array([int(CHOOSES.mode(params, jnp.eye(STATES)[s])) for s in range(STATES)])
    return float(mdp.start @ policy_evaluation(mdp, policy))


def test_behaviour_cloning_finds_the_probabilities(table):
    _, data, shares = table
    found = behaviour_cloning(CHOOSES, CHOOSES.init(KEY, jnp.zeros(STATES)), data, key=KEY, iterations=300, batch=256)
    probabilities = jax.vmap(lambda o: jax.nn.softmax(CHOOSES.logits(found.params, o)))(jnp.eye(STATES))
    np.testing.assert_allclose(probabilities, shares, atol=0.06)
    assert found.environment_steps == 0
    assert found.history["loss"][-50:].mean() < found.history["loss"][:5].mean()


def test_weights_choose_what_is_cloned(doses):
    weights = (doses.action > 0).astype(float)
    found = behaviour_cloning(lambda p, o: p, jnp.asarray(0.0), doses, key=KEY, weights=weights, iterations=400)
    np.testing.assert_allclose(found.params, 0.25, atol=0.02)
    with pytest.raises(ValueError, match="finite and >= 0"):
        behaviour_cloning(lambda p, o: p, jnp.asarray(0.0), doses, key=KEY, weights=-weights)


@pytest.mark.slow
def test_both_learners_come_close_to_the_best_policy(table):
    mdp, data, shares = table
    optimum, behaviour = (
        float(mdp.start @ values) for values in (value_iteration(mdp).values, policy_evaluation(mdp, shares))
    )
    start = CHOOSES.init(KEY, jnp.zeros(STATES))
    ours = {
        "conservative": conservative_q(CHOOSES, start, data, key=KEY, discount=0.7, conservatism=0.02, **SOONER),
        "implicit": implicit_q(CHOOSES, start, data, key=KEY, discount=0.7, network=NETWORK, **SHARP, **SOONER),
    }
    for name, found in ours.items():
        regret = (cost_of(mdp, found.params) - optimum) / (behaviour - optimum)
        assert regret <= 0.05, (name, regret)
    # Values are costs to come, in the units of the costs. The logits of the conservative one are minus them.
    values = jax.vmap(lambda o: -CHOOSES.logits(ours["conservative"].params, o))(jnp.eye(STATES))
    exact = mdp.action_values(value_iteration(mdp).values)
    np.testing.assert_allclose(values, exact, atol=0.25)
    assert np.corrcoef(np.ravel(values), np.ravel(exact))[0, 1] > 0.95
    states = jax.vmap(lambda o: ours["implicit"].state.state(o, ())[0])(jnp.eye(STATES))
    np.testing.assert_allclose(states, value_iteration(mdp).values, atol=0.25)


@pytest.mark.parametrize("terminated", [pytest.param(True, marks=pytest.mark.slow), False])
def test_only_an_end_cuts_the_target(terminated):
    """A cost of 1 a step, discount 1/2, records of one step: an end is worth 1, a record that merely stops 1 + 1/2 + ... = 2."""
    o, a = jnp.zeros((64, 1)), jnp.arange(64) % CHOICES
    data = Transitions(o, a, jnp.ones(64), o, jnp.full(64, terminated), jnp.full(64, not terminated), None, jnp.arange(64))
    start = CHOOSES.init(KEY, jnp.zeros(1))
    q = conservative_q(CHOOSES, start, data, key=KEY, discount=0.5, conservatism=0.0, **QUICK)
    v = implicit_q(CHOOSES, start, data, key=KEY, discount=0.5, network=NETWORK, **QUICK)
    expected = 1.0 if terminated else 2.0
    np.testing.assert_allclose([q.history["value"][-1], v.history["value"][-1]], expected, atol=0.03)


@pytest.mark.slow
def test_pessimism_keeps_doses_where_the_data_are(doses):
    """The critic extrapolates that a dose of 2 is best; nobody tried. Without conservatism that is what is chosen."""
    start = DOSES.init(KEY, jnp.asarray(0.0))
    options = {"key": KEY, "network": NETWORK, "samples": 5} | SOONER
    mode = lambda found: np.asarray(jax.vmap(lambda o: DOSES.mode(found.params, o))(jnp.linspace(-1, 1, 5)))
    careless = mode(conservative_q(DOSES, start, doses, conservatism=0.0, **options))
    careful = mode(conservative_q(DOSES, start, doses, conservatism=1.0, **options))
    assert careless.min() > 1.5
    assert careful.max() < 0.75
    implicit = mode(implicit_q(DOSES, start, doses, key=KEY, network=NETWORK, **SHARP, **SOONER))
    assert implicit.max() < 0.55
    assert implicit.min() > 0.2, "better than what was done on average, 0"


def test_bad_arguments(table, doses):
    _, data, _ = table
    start = CHOOSES.init(KEY, jnp.zeros(STATES))
    for learn in (conservative_q, implicit_q):
        with pytest.raises(TypeError, match="data are Transitions"):
            learn(CHOOSES, start, {"cost": 1}, key=KEY)
        with pytest.raises(ValueError, match="iterations is a whole number"):
            learn(CHOOSES, start, data, key=KEY, iterations=0)
        with pytest.raises(ValueError, match="whole numbers from 0 to 1; the data have"):
            learn(js.control.CategoricalPolicy(2), start, data, key=KEY)
        with pytest.raises(ValueError, match="discount is a number from 0 to 1"):
            learn(CHOOSES, start, data, key=KEY, discount=1.5)
    with pytest.raises(ValueError, match="expectile lies in"):
        implicit_q(CHOOSES, start, data, key=KEY, expectile=1.0)
    with pytest.raises(TypeError, match="GaussianPolicy with bounds"):
        conservative_q(js.control.GaussianPolicy(), start, doses, key=KEY)
