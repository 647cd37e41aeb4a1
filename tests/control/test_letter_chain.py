"""Reasoning chains as rollouts: the optimum by trying all chains, and policies that find it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.control import systems
from jaxsci.control.systems.letter_chain import quality

POLICY = js.control.CategoricalPolicy(5, network=js.networks.MLP((16,)))


def through(params, observation, *, key):
    return js.control.categorical_through(key, POLICY.logits(params, observation))


def test_the_best_chain_weighs_quality_against_steps():
    for price, actions, reward in ((0.1, [1, 2, 0, 0, 0], 0.8), (0.6, [0, 0, 0, 0, 0], 0.0)):
        found, best = systems.best_chain(systems.letter_chain(price=price))
        assert found.tolist() == actions
        np.testing.assert_allclose(best, reward, atol=1e-12)
    # Rules that do half their work are repeated, the more often the less a step costs.
    chains = [systems.letter_chain(effect=0.5, price=price, horizon=6) for price in (0.3, 0.1, 0.03)]
    lengths = [np.count_nonzero(systems.best_chain(chain)[0]) for chain in chains]
    assert lengths == sorted(lengths)
    assert lengths[0] == 0
    assert lengths[-1] == 6
    # A chain of one rule by hand: after "AB" with eta = 1/2 the thought is (e_A + e_B) / 2.
    task = systems.letter_chain((("AB",),), goal="B", effect=0.5, price=0.1, horizon=2)
    run = js.control.rollout(task, lambda p, o, *, t: jnp.where(t == 0, 1, 0))
    p = task.parameters
    np.testing.assert_allclose(run.states.thought[1], (p.embeddings[0] + p.embeddings[1]) / 2, atol=1e-12)
    np.testing.assert_allclose(run.costs, [0.1, -np.sqrt(0.5)], atol=1e-12)
    np.testing.assert_allclose(p.embeddings @ p.embeddings.T, np.eye(2), atol=1e-12)


@pytest.mark.slow
def test_whole_numbers_and_weights_cost_the_same():
    task = systems.letter_chain(effect=0.5, price=0.05)
    chain = jnp.array([1, 3, 2, 0, 1])
    whole = js.control.rollout(task, js.control.sequence, chain)
    weights = js.control.rollout(task, js.control.sequence, jax.nn.one_hot(chain, 5))
    np.testing.assert_array_equal(whole.costs, weights.costs)
    assert whole.costs[4] == 0  # nothing costs after the answer
    forced = js.control.rollout(task, lambda p, o: 1)
    np.testing.assert_allclose(forced.total, 0.25 - quality(task.parameters, forced.final.thought), atol=1e-12)
    # The gradient in the weights is that of the cost, answers included.
    total = jax.jit(lambda w: js.control.rollout(task, js.control.sequence, w).total)
    w = jax.random.dirichlet(jax.random.key(0), jnp.ones(5), (5,))
    d = jax.random.normal(jax.random.key(1), w.shape)
    _, slope = jax.jvp(total, (w,), (d,))
    np.testing.assert_allclose(slope, (total(w + 1e-5 * d) - total(w - 1e-5 * d)) / 2e-5, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["score", "through"])
def test_policies_learn_the_best_chain(how):
    task = systems.letter_chain(price=0.1)
    _, best = systems.best_chain(task)
    params = POLICY.init(jax.random.key(0), task)
    before = js.control.rollout(task, POLICY.mode, params).total
    # The biased gradient of straight-through choices needs small steps: at 0.02 two seeds of six answer at once for ever.
    policy, gradient, rate = (POLICY, "score", 2e-2) if how == "score" else (through, "pathwise", 5e-3)
    found = js.control.analytic_policy_gradient(
        task, policy, params, key=jax.random.key(1), iterations=200, batch=64, gradient=gradient, optimiser=optax.adam(rate)
    )
    after = js.control.rollout(task, POLICY.mode, found.params)
    np.testing.assert_allclose(-after.total, best, atol=1e-9)
    assert after.actions[:3].tolist() == [1, 2, 0]
    assert -before < best - 0.1


def test_bad_chains_are_refused_by_name():
    with pytest.raises(ValueError, match="goal 'Z' is in no rule"):
        systems.letter_chain(goal="Z")
    with pytest.raises(ValueError, match="4 letters need a dimension of as many"):
        systems.letter_chain(dimension=3)
    with pytest.raises(ValueError, match="one end for each beginning"):
        systems.letter_chain((("AB", "AC"),))
    with pytest.raises(ValueError, match="are too many to try"):
        systems.best_chain(systems.letter_chain(horizon=10))
    with pytest.raises(ValueError, match="a whole number or 5 weights"):
        js.control.rollout(systems.letter_chain(), lambda p, o: jnp.ones(3))
