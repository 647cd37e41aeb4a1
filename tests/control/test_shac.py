"""SHAC: a known optimum, the gradient of a window, where the critic enters and where not, constraints, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.control.critic import Critic
from jaxsci.control.shac import shac

A, B = jnp.array([[1.0, 0.1], [0.0, 1.0]]), jnp.array([[0.0], [0.1]])
HORIZON = 20
LINEAR_QUADRATIC = js.control.Task(
    dynamics=lambda p, s, a: A @ s + B @ a,
    cost=lambda p, s, a, s1: s @ s + 0.1 * a @ a,
    init=lambda p, key: jax.random.normal(key, (2,)),
    horizon=HORIZON,
)
SMALL = Critic(network=js.networks.MLP((16,)), epochs=4, learning_rate=5e-3)


def optimum():
    """trace P_0 of the Riccati recursion: the expected cost from starts of unit covariance."""
    P = np.zeros((2, 2))
    for _ in range(HORIZON):
        K = np.linalg.solve(0.1 * np.eye(1) + B.T @ P @ B, B.T @ P @ A)
        P = np.eye(2) + A.T @ P @ (A - B @ K)
    return float(np.trace(P))


def expected(policy, params):
    """The exact expected cost of a linear policy: the sum over two orthogonal unit starts."""
    return float(js.control.rollout(LINEAR_QUADRATIC, policy, params, initial=jnp.eye(2), batch=2).total.sum())


def gains(K, s, *, t):
    return -K[t] @ s


@pytest.mark.slow
def test_the_optimum_of_a_linear_quadratic_task():
    adam = optax.adam(optax.cosine_decay_schedule(0.1, 120), b1=0.7, b2=0.95)
    start = jnp.zeros((HORIZON, 1, 2))
    found = shac(
        LINEAR_QUADRATIC, gains, start, key=jax.random.key(0), iterations=120, batch=32, window=10, optimiser=adam, critic=SMALL,
        evaluate=lambda K: jnp.sum(K**2),
    )  # fmt: skip
    assert expected(gains, start) > 2 * optimum()
    assert 0 <= expected(gains, found.params) / optimum() - 1 < 0.02
    assert found.environment_steps == 120 * 32 * 10 == found.history["environment_steps"][-1]
    assert np.isnan(found.history["cost"][0])  # nobody has finished an episode
    assert found.history["cost"][-20:].mean() < 0.6 * found.history["cost"][1:4].mean()
    np.testing.assert_allclose(found.history["evaluation"][-1], jnp.sum(found.params**2), rtol=1e-12)


# One step of gradient descent shows the gradient that was used; a critic of known weights, what it added.


class Known:
    """V(z) = w . z with weights that nobody draws."""

    weights = (0.7, -0.4)

    def init(self, key, inputs, outputs):
        return jnp.array(self.weights[:inputs])

    def apply(self, params, z):
        return jnp.array([params @ z])


FIXED = js.control.Task(
    dynamics=lambda p, s, a: s + 0.3 * jnp.sin(s) + a,
    cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
    init=lambda p: jnp.asarray(1.0),
    horizon=6,
    discount=0.9,
    terminal=lambda p, s: 2 * s**2,
)


def feedback(params, s):
    return -params["gain"] * s + params["bias"]


START = {"gain": jnp.asarray(0.2), "bias": jnp.asarray(0.1)}
KNOWN = Critic(network=Known(), epochs=1, minibatches=1)


def slope_of(task, **options):
    """The gradient of the first iteration."""
    options = {"iterations": 1, "batch": 2, "optimiser": optax.sgd(1.0), "critic": KNOWN} | options
    found = shac(task, feedback, START, key=jax.random.key(0), **options)
    return {name: START[name] - found.params[name] for name in START}


def exact(task, steps, to_come=None):
    """The gradient of the core's objective over so many steps with another value at their end, a step."""
    loss = js.control.objective(task.replace(horizon=steps, terminal=to_come), feedback)
    return jax.tree.map(lambda leaf: leaf / steps, jax.grad(loss)(START))


@pytest.mark.slow
def test_where_the_critic_enters_and_where_not():
    """The horizon of a finite task owes its terminal cost, that of an endless one the critic's value, like a window's end."""
    close = lambda got, wanted: [np.testing.assert_allclose(got[name], wanted[name], rtol=1e-12) for name in START]
    w = Known.weights
    close(slope_of(FIXED, window=100, remat="step"), exact(FIXED, 6, FIXED.terminal))
    close(slope_of(FIXED, window=3), exact(FIXED, 3, lambda p, s: w[0] * s + w[1] * 3 / 6))
    close(slope_of(FIXED, window=6, endless=True), exact(FIXED, 6, lambda p, s: w[0] * s))
    # Who ends by itself owes nothing, in an endless task neither.
    ends = FIXED.replace(terminated=lambda p, s: s > 1.5)
    assert bool(js.control.rollout(ends, feedback, START).terminated)
    close(slope_of(ends, window=6, endless=True), exact(ends, 6))


@pytest.mark.slow
def test_constraints_hold_and_cost_something():
    task = js.control.Task(
        dynamics=lambda p, s, a: s + a,
        cost=lambda p, s, a, s1: (s1 - 1) ** 2,
        init=lambda p, key: 0.1 * jax.random.normal(key),
        horizon=8,
        constraint=lambda p, s, a: a - 0.2,
    )
    policy = lambda params, s: params[0] - params[1] * s
    held = shac(
        task, policy, jnp.ones(2), key=jax.random.key(0), iterations=150, batch=16, window=4, critic=KNOWN,
        optimiser=optax.adam(0.02), constraints=js.control.PIDLagrangian(proportional=2.0, integral=0.5, limit=0.05),
    )  # fmt: skip
    at_once = js.control.rollout(task, policy, jnp.ones(2), jax.random.key(1), batch=100)  # the best without the constraint
    assert float(jnp.maximum(at_once.constraints, 0.0).sum(axis=1).mean()) > 0.7
    assert held.history["violation"][-20:].mean() < 0.1
    assert held.history["cost"][-20:].mean() > float(at_once.total.mean()) + 0.2
    assert float(held.state["multipliers"].integral) > 0


@pytest.mark.slow
def test_single_precision_stays_and_gradients_that_are_not_finite_change_nothing():
    with jax.enable_x64(False):
        broken = FIXED.replace(dynamics=lambda p, s, a: s + jnp.sqrt(a - a))  # 0 with an infinite derivative
        start = jax.tree.map(jnp.float32, START)
        start["bias"] = jnp.float32(0.1)
        found = shac(broken, feedback, start, key=jax.random.key(0), iterations=1, batch=2, window=6, critic=KNOWN)
    assert found.history["skipped"].tolist() == [True]
    assert found.params == start
    assert {leaf.dtype for leaf in jax.tree.leaves(found.params)} == {jnp.dtype("float32")}


def test_what_cannot_be_is_refused_by_name():
    key = jax.random.key(0)
    whole = js.control.CategoricalPolicy(3)
    with pytest.raises(ValueError, match=r"shac: an action of dtype int.* has no derivative. Use js.control.ppo"):
        shac(FIXED, whole, whole.init(key, jnp.zeros(())), key=key)
    with pytest.raises(ValueError, match="shac: the cost of an endless task is only finite with a discount below 1"):
        shac(FIXED.replace(discount=1.0), feedback, START, key=key, endless=True)
    with pytest.raises(ValueError, match="shac: task has no constraint for PIDLagrangian to hold"):
        shac(FIXED, feedback, START, key=key, constraints=js.control.PIDLagrangian())
    with pytest.raises(ValueError, match="shac: window is a whole number >= 1, got 0"):
        shac(FIXED, feedback, START, key=key, window=0)
