"""The hybrid: fluxes conserve mass whatever was learned, gradients are exact, and learning from growth recovers a known law."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsci import networks
from jaxsci.metabolism.files import load
from jaxsci.metabolism.growth_surrogate import GrowthSurrogate, growth_planes
from jaxsci.metabolism.hybrid import Hybrid, NeuralUptake
from jaxsci.metabolism.reaction_text import from_equations
from jaxsci.metabolism.uptake_process import GaussianProcessUptake

TOY = from_equations({"sugar": "-> a", "acid": "-> b", "turn": "a -> 2 b", "growth": "10 b ->"}, "growth")
PAIR = ("sugar", "acid")
NAMES = ("EX_glc__D_e", "EX_fru_e", "EX_ac_e")


@pytest.fixture(scope="module")
def core():
    return load("e_coli_core")


@pytest.fixture(scope="module")
def neural(core):
    law = NeuralUptake(networks.MLP((6,)), largest=jnp.array([10.0, 10.0, 10.0]))
    hybrid = Hybrid(core, NAMES, law)
    return hybrid, law.init(jax.random.key(0), 3), jnp.array([[8.0, 3.0, 5.0], [5.0, 7.0, 0.0]])


@pytest.fixture(scope="module")
def balance(neural):
    return jax.jit(neural[0])


@pytest.mark.slow
def test_fluxes_conserve_mass_and_take_up_no_more_than_was_learned(core, neural, balance):
    hybrid, params, media = neural
    found = balance(params, media).check()
    assert float(jnp.abs(found.fluxes @ core.stoichiometry.T).max()) < 1e-9
    uptakes = hybrid.uptakes(params, media)
    places = [core.index(name) for name in NAMES]
    assert (np.asarray(-found.fluxes[:, places]) <= np.asarray(uptakes) + 1e-9).all()
    assert float(uptakes[1, 2]) == 0, "what is absent is not taken up"
    shrunk = jax.tree.map(lambda x: 0 * x, params)
    np.testing.assert_allclose(hybrid.uptakes(shrunk, media), media, rtol=1e-12)


@pytest.mark.slow
def test_the_gradient_in_the_networks_parameters_is_that_of_finite_differences(neural, balance):
    hybrid, params, media = neural
    slopes = jax.jit(jax.grad(lambda params: hybrid(params, media).objective.sum()))(params)

    def growth(params):
        return balance(params, media).objective.sum()

    h = 1e-5
    for name, leaf in params.items():
        step = jnp.zeros_like(leaf).at[(0,) * leaf.ndim].set(h)
        by_hand = (growth({**params, name: leaf + step}) - growth({**params, name: leaf - step})) / (2 * h)
        assert float(slopes[name][(0,) * leaf.ndim]) == pytest.approx(float(by_hand), rel=1e-6, abs=1e-9)


@pytest.mark.slow
def test_planes_give_the_same_growth(core, neural, balance):
    hybrid, params, media = neural
    planes = growth_planes(core, NAMES, hybrid.uptakes(params, media))
    np.testing.assert_allclose(planes(hybrid.uptakes(params, media)), balance(params, media).objective, rtol=1e-9)


@pytest.mark.slow
def test_training_through_flux_balance_recovers_uptake_laws():
    """Growth measured with true uptakes 0.6 sugar and 0.9 acid; the network is told growth alone."""
    random = np.random.default_rng(0)
    media = jnp.asarray(random.uniform(2, 10, (24, 2)))
    growth = (2 * 0.6 * media[:, 0] + 0.9 * media[:, 1]) / 10
    law = NeuralUptake(networks.MLP((4,)), largest=jnp.array([10.0, 10.0]))
    hybrid = Hybrid(TOY, PAIR, law)
    planes = growth_planes(TOY, PAIR, media[:1])
    params = law.init(jax.random.key(1), 2)
    optimiser = optax.adam(0.03)

    def loss(params):
        return jnp.mean((planes(hybrid.uptakes(params, media)) - growth) ** 2)

    @jax.jit
    def train(params):
        def step(carried, _):
            params, state = carried
            change, state = optimiser.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, change), state), None

        return jax.lax.scan(step, (params, optimiser.init(params)), None, length=200)[0][0]

    trained = train(params)
    assert float(loss(params)) > 0.05
    assert float(loss(trained)) < 1e-3
    new = jnp.array([[3.0, 8.0], [9.0, 4.0]])
    np.testing.assert_allclose(hybrid(trained, new).objective, (1.2 * new[:, 0] + 0.9 * new[:, 1]) / 10, rtol=0.1)


@pytest.mark.slow
def test_a_shared_capacity_and_what_flux_balance_knows_enter():
    knowledge = GrowthSurrogate(jnp.array([[0.2, 0.1]]), jnp.zeros(1))
    law = NeuralUptake(networks.MLP((4,)), shared=True, knowledge=knowledge, typical=2.0)
    params = law.init(jax.random.key(0), 2)
    assert {leaf.shape for leaf in params.values()} == {(3, 4), (4,), (4, 1), (1,)}
    u = law(params, jnp.array([3.0, 6.0]))
    assert float(u[1] / u[0]) == pytest.approx(2.0)
    assert float(jax.grad(lambda x: law(params, jnp.array([3.0, x])).sum())(6.0)) != 0


def measured(noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    media = np.concatenate([np.eye(5), random.integers(0, 2, (75, 5))])
    media[media.sum(1) == 0] = 1
    knowledge = GrowthSurrogate(jnp.array([[0.3, 0.2, 0.2, 0.1, 0.1]]), jnp.zeros(1))
    able = np.asarray(knowledge(media))
    growth = 0.5 * able + 0.2 * np.tanh(3 * able) - 0.05 * media[:, 3] * media[:, 0]
    return knowledge, jnp.asarray(media), jnp.asarray(growth + noise * random.normal(size=80))


@pytest.mark.slow
def test_the_process_predicts_media_it_has_not_seen_and_says_how_well():
    knowledge, media, growth = measured(noise=0.01)
    law = GaussianProcessUptake(knowledge, steps=40)
    params = law.fit(media[:60], growth[:60])
    mean, deviation = law.growth(params, media[60:])
    left = np.asarray(growth[60:] - mean)
    total = np.square(np.asarray(growth[60:]) - float(growth[60:].mean())).sum()
    assert 1 - left @ left / total > 0.95
    noise = float(jnp.exp(params.logarithms[1] / 2) * params.scales[-1])
    assert 0.005 < noise < 0.02
    assert (np.abs(left) < 3 * np.hypot(noise, deviation)).mean() > 0.9
    # Through the law and flux balance comes the same growth.
    np.testing.assert_allclose(knowledge(law(params, media[60])), mean[0], rtol=1e-10)
    # Where nothing was measured it is less certain.
    assert float(law.growth(params, 3 * media[60])[1]) > 2 * float(deviation[0])


def test_the_evidence_is_that_of_the_joint_normal_density():
    knowledge, media, growth = measured(noise=0.01)
    law = GaussianProcessUptake(knowledge, steps=40)
    params = law.fit(media, growth)
    able = np.asarray(knowledge(media))
    places, scale = np.asarray(params.places), float(params.scales[-1])
    variance, noise, length, length_able = np.exp(np.asarray(params.logarithms))
    gaps = np.square(places[:, None, :] - places[None, :, :])
    K = variance * np.exp(-gaps[..., :-1].sum(-1) / (2 * length**2) - gaps[..., -1] / (2 * length_able**2)) + noise * np.eye(
        80
    )
    left = np.asarray(growth) - float(params.mean) * able
    _, determinant = np.linalg.slogdet(2 * np.pi * scale**2 * K)
    by_hand = -left @ np.linalg.solve(scale**2 * K, left) / 2 - determinant / 2
    assert float(params.evidence) == pytest.approx(by_hand, rel=1e-9)
    inverse = np.linalg.inv(K)
    assert float(params.mean) == pytest.approx(able @ inverse @ np.asarray(growth) / (able @ inverse @ able), rel=1e-8)


@pytest.mark.slow
def test_weight_zero_leaves_a_medium_out_and_folds_are_one_call():
    knowledge, media, growth = measured(noise=0.01)
    law = GaussianProcessUptake(knowledge, steps=15)
    keep = np.ones(80)
    keep[::4] = 0
    wild = jnp.where(keep > 0, growth, 100.0)  # what is left out must not be seen
    folds = law.fit(media, wild, np.stack([keep, keep]))
    alone = law.fit(media[keep > 0], growth[keep > 0])
    np.testing.assert_allclose(folds.evidence, jnp.full(2, alone.evidence), rtol=1e-6)
    second = jax.tree.map(lambda x: x[1], folds)
    np.testing.assert_allclose(law.growth(second, media)[0], law.growth(alone, media)[0], rtol=1e-5)
    np.testing.assert_allclose(law.growth(second, media)[1], law.growth(alone, media)[1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_process_in_front_of_flux_balance():
    knowledge = growth_planes(TOY, PAIR, np.array([[1.0, 1.0]]))
    media = jnp.asarray(np.random.default_rng(0).uniform(1, 3, (20, 2)))
    growth = 0.7 * knowledge(media)
    law = GaussianProcessUptake(knowledge, steps=20)
    params = law.fit(media, growth)
    found = jax.jit(lambda params: Hybrid(TOY, PAIR, law)(params, media))(params)
    np.testing.assert_allclose(found.objective, growth, rtol=0.02)
    assert float(jnp.abs(found.fluxes @ TOY.stoichiometry.T).max()) < 1e-12


def test_bad_input_is_refused_with_a_cure(core):
    with pytest.raises(ValueError, match="'turn' is no exchange"):
        Hybrid(TOY, ("turn",), lambda params, medium: medium)
    with pytest.raises(TypeError, match="uptake is a function"):
        Hybrid(TOY, PAIR, 3.0)
    hybrid = Hybrid(TOY, PAIR, lambda params, medium: medium[:1])
    with pytest.raises(ValueError, match=r"a medium is \[\.\.\., 2 exchanges\]"):
        hybrid.uptakes(None, jnp.ones(3))
    with pytest.raises(ValueError, match="one bound for each of 2 exchanges, got 1"):
        hybrid.uptakes(None, jnp.ones(2))
    negative = Hybrid(TOY, PAIR, lambda params, medium: -medium)
    assert (np.asarray(negative.uptakes(None, jnp.ones(2))) == 0).all()
    demand = GaussianProcessUptake(GrowthSurrogate(jnp.ones((1, 2)), jnp.array([-0.5])))
    with pytest.raises(ValueError, match="proportional to all bounds"):
        demand.fit(jnp.ones((3, 2)), jnp.ones(3))
    law = GaussianProcessUptake(GrowthSurrogate(jnp.ones((1, 2)), jnp.zeros(1)))
    with pytest.raises(ValueError, match="growth \\[media\\]"):
        law.fit(jnp.ones((3, 2)), jnp.ones(4))
    with pytest.raises(ValueError, match="must be finite"):
        law.fit(jnp.ones((3, 2)), jnp.array([1.0, jnp.nan, 1.0]))
    with pytest.raises(ValueError, match="some of them > 0"):
        law.fit(jnp.ones((3, 2)), jnp.ones(3), jnp.zeros(3))
    with pytest.raises(ValueError, match="one positive growth rate"):
        law.fit(jnp.zeros((3, 2)), jnp.ones(3))
