"""PPO: known optima with continuous actions and with whole numbers, how far a round moves, constraints, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.control.critic import Critic
from jaxsci.control.ppo import ppo

SMALL = Critic(network=js.networks.MLP((16,)), epochs=4, minibatches=4, averaging=0.0, learning_rate=5e-3)


@pytest.mark.slow
def test_the_optimum_of_a_linear_quadratic_task():
    """s' = s + a, cost s^2 + 0.5 a^2: the optimal cost is E s_0^2 times the number of the Riccati recursion."""
    horizon, p = 12, 0.0
    for _ in range(horizon):
        p = 1 + 0.5 * p / (0.5 + p)
    task = js.control.Task(
        dynamics=lambda _, s, a: s + a,
        cost=lambda _, s, a, s1: s**2 + 0.5 * a**2,
        init=lambda _, key: jax.random.normal(key),
        horizon=horizon,
    )
    policy = js.control.GaussianPolicy(network=js.networks.MLP((8,)))
    start = policy.init(jax.random.key(1), task)
    found = ppo(
        task, policy, start, key=jax.random.key(0), iterations=60, window=12, critic=SMALL, epochs=6, minibatches=4,
        optimiser=optax.adam(optax.linear_schedule(1e-2, 0.0, 60 * 24)),
    )  # fmt: skip
    x, w = np.polynomial.hermite_e.hermegauss(15)  # the expectation over normal starts
    mean = lambda params: float(
        js.control.rollout(task, policy.mode, params, initial=jnp.asarray(x), batch=15).total @ w / w.sum()
    )
    assert mean(start) > 1.1 * p
    assert p <= mean(found.params) < 1.05 * p
    assert found.environment_steps == 60 * 64 * 12
    assert float(found.params["log_std"][0]) < float(start["log_std"][0])  # less noise costs less


CHAIN = js.control.Task(  # a walk on whole numbers: to 0 by the shortest way, and the end at +5
    dynamics=lambda p, s, a: s + a - 1,
    cost=lambda p, s, a, s1: jnp.abs(s1).astype(float) + 20.0 * (s1 >= 5),
    init=lambda p, key: jax.random.randint(key, (), -3, 4),
    horizon=6,
    terminated=lambda p, s: s >= 5,
    constraint=lambda p, s, a: (a == 0).astype(float) - 0.5,
)


@pytest.fixture(scope="module")
def walks():
    policy = js.control.CategoricalPolicy(3, network=js.networks.MLP((16,)), scale=2.0)
    start = policy.init(jax.random.key(1), CHAIN)
    options = {"key": jax.random.key(0), "window": 6, "batch": 64, "critic": SMALL, "iterations": 40, "minibatches": 4}
    options["optimiser"] = optax.adam(1e-2)
    return policy, start, options, ppo(CHAIN, policy, start, **options)


@pytest.mark.slow
def test_the_shortest_way_on_whole_numbers(walks):
    policy, _, _, found = walks
    best = jnp.array([jnp.argmin(jnp.abs(s + jnp.arange(3) - 1)) for s in range(-3, 4)])
    got = jax.vmap(policy.mode, in_axes=(None, 0))(found.params, jnp.arange(-3, 4))
    np.testing.assert_array_equal(got, best)
    run = js.control.rollout(CHAIN, policy.mode, found.params, initial=jnp.arange(-3, 4), batch=7)
    np.testing.assert_allclose(run.total, [3, 1, 0, 0, 0, 1, 3])


@pytest.mark.slow
def test_constraints_are_priced(walks):
    """A step to the left violates by 1/2: with a price on it the walk takes fewer of them."""
    policy, start, options, free = walks
    held = ppo(
        CHAIN, policy, start, constraints=js.control.PIDLagrangian(proportional=20.0, integral=5.0, limit=0.02), **options
    )
    violation = lambda found: float(np.mean(found.history["violation"][-5:]))
    assert violation(free) > 0.3
    assert violation(held) < 0.3 * violation(free)


@pytest.mark.slow
def test_a_round_stays_near_the_policy_that_acted(walks):
    policy, start, options, found = walks
    assert found.history["divergence"].max() < 0.2
    short = options | {"iterations": 3, "epochs": 8, "optimiser": optax.adam(0.2)}
    bold = ppo(CHAIN, policy, start, **short, most_divergence=np.inf)
    timid = ppo(CHAIN, policy, start, **short, most_divergence=1e-3)
    assert bold.history["skipped"].tolist() == [0, 0, 0]
    assert timid.history["skipped"].min() > 0.5
    assert timid.history["divergence"].max() < bold.history["divergence"].max()
    still = ppo(CHAIN, policy, start, **short, most_divergence=-1.0)  # nothing is near enough
    assert all(bool((a == b).all()) for a, b in zip(jax.tree.leaves(still.params), jax.tree.leaves(start), strict=True))


def test_what_cannot_be_is_refused_by_name(walks):
    with pytest.raises(ValueError, match="ppo: needs a policy with log_prob and entropy"):
        ppo(CHAIN, lambda p, s: s, None, key=jax.random.key(0))
    with pytest.raises(
        ValueError, match="ppo: the cost of an endless task is only finite with a discount below 1; task has 1"
    ):
        ppo(CHAIN, walks[0], walks[1], key=jax.random.key(0), endless=True)
