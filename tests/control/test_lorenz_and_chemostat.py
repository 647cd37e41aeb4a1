"""Lorenz's system, cultures and the pendulum: exact solutions, steady states, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.systems.chemostat import Chemostat, Culture, chemostat, fed_batch
from jaxsci.control.systems.lorenz import lorenz, rates, steady_state
from jaxsci.control.systems.pendulum import State, pendulum

KEY = jax.random.key(0)


def test_the_rates_are_those_of_lorenz_and_the_target_is_steady():
    p = lorenz(sigma=9.0, rho=27.0, beta=2.5).parameters
    x = jnp.asarray([1.0, -2.0, 3.0])
    np.testing.assert_allclose(rates(p, x), [9 * (-2 - 1), 1 * (27 - 3) + 2, 1 * -2 - 2.5 * 3])
    np.testing.assert_allclose(rates(p, steady_state(p)), 0, atol=1e-13)


def test_a_feedback_holds_lorenz_at_what_it_leaves_by_itself():
    task = lorenz(horizon=200)
    c = steady_state(task.parameters)
    run = jax.jit(lambda gain: js.control.rollout(task, lambda g, x: -g * (x[1] - c[1]), gain, initial=c + 3.0))
    held, left = run(8.0), run(0.0)
    assert float(jnp.abs(held.final - c).max()) < 1e-3
    assert float(jnp.abs(left.states - c).max()) > 5
    assert float(held.total) < 0.5 * float(left.total)


@pytest.mark.parametrize("make", [lorenz, chemostat, fed_batch, pendulum], ids=lambda make: make.__name__)
def test_gradients_are_finite_differences(make):
    """In the actions and in every coefficient, at actions within the limits."""
    task = make(horizon=8)
    start = task.first_state(KEY)
    loss = js.control.objective(task, js.control.sequence)
    value = lambda a, p: loss(a, KEY, parameters=p, initial=start)
    actions, p = 0.4 + 0.2 * jax.random.uniform(KEY, (8,)), jax.tree.map(lambda x: jnp.asarray(x, float), task.parameters)
    slopes = jax.jit(jax.grad(value, (0, 1)))(actions, p)
    flat, back = jax.flatten_util.ravel_pytree((actions, p))
    direction = jax.random.normal(jax.random.key(1), flat.shape) * (jnp.abs(flat) > 0)
    along = jax.jit(lambda h: value(*back(flat + h * direction)))
    expected = (4 * (along(1e-4) - along(-1e-4)) / 2e-4 - (along(2e-4) - along(-2e-4)) / 4e-4) / 3
    found = jnp.vdot(jax.flatten_util.ravel_pytree(slopes)[0], direction)
    assert float(found) == pytest.approx(float(expected), rel=1e-7)


def test_what_was_fed_is_somewhere():
    """X + Y S - Y S_in decays as exp(-int D) in the chemostat; times V it is constant in the fed batch."""
    p = Culture()
    run = js.control.rollout(chemostat(horizon=40), js.control.sequence, jnp.linspace(0.1, 0.8, 40))
    missing = run.states.biomass + p.yield_ * run.states.substrate - p.yield_ * p.feed
    expected = missing[0] * np.exp(-0.25 * np.concatenate([[0], np.cumsum(np.linspace(0.1, 0.8, 40))[:-1]]))
    np.testing.assert_allclose(missing, expected, rtol=1e-7)
    fed = js.control.rollout(fed_batch(), js.control.sequence, jnp.linspace(0.0, 0.6, 32))
    missing = (fed.states.biomass + p.yield_ * fed.states.substrate - p.yield_ * p.feed) * fed.states.volume
    np.testing.assert_allclose(missing, missing[0], rtol=1e-6)
    np.testing.assert_allclose(fed.final.volume, 1 + 0.25 * np.linspace(0.0, 0.6, 32).sum(), rtol=1e-12)
    np.testing.assert_allclose(fed.total, -fed.final.biomass * fed.final.volume)
    np.testing.assert_allclose(fed.constraints[:-1], fed.states.volume[1:] - p.capacity, rtol=1e-12)


def test_steady_states_the_best_dilution_and_washout():
    culture = Culture()
    run = jax.jit(lambda d: js.control.rollout(chemostat(horizon=800), lambda d, s: d, d))
    for dilution in (0.3, 0.7):
        np.testing.assert_allclose(run(dilution).final, culture.steady(dilution), rtol=1e-9)
    assert float(run(1.05 * float(culture.washout)).final.biomass) < 1e-3
    output = lambda d: d * culture.steady(d).biomass
    best = culture.best_dilution
    assert abs(float(jax.grad(output)(best))) < 1e-12  # the closed form of Herbert, Elsworth & Telling
    assert float(best) == pytest.approx(0.860, abs=1e-3)
    assert float(culture.washout) == pytest.approx(0.980, abs=1e-3)


def test_limits_of_the_pump_and_of_the_motor():
    p, state = Culture(), Chemostat(jnp.asarray(1.0), jnp.asarray(2.0))
    task = chemostat()
    assert task.dynamics(p, state, 9.0) == task.dynamics(p, state, p.most)
    assert task.dynamics(p, state, -9.0) == task.dynamics(p, state, 0.0)
    swing = pendulum()
    one, other = (
        swing.dynamics(swing.parameters, State(jnp.asarray(0.3), jnp.asarray(0.1)), a) for a in (2.0, jnp.asarray([7.0]))
    )
    assert one == other


def test_the_pendulum_by_hand():
    """One step of the published equations, and the cost of the angle that is wrapped."""
    task = pendulum()
    p, s = task.parameters, State(jnp.asarray(4.0), jnp.asarray(-1.0))
    after = task.dynamics(p, s, 0.5)
    rate = -1.0 + (15 * np.sin(4.0) + 3 * 0.5) * 0.05
    np.testing.assert_allclose(after, [4.0 + 0.05 * rate, rate], rtol=1e-14)
    np.testing.assert_allclose(task.cost(p, s, 0.5, after), (4.0 - 2 * np.pi) ** 2 + 0.1 + 0.001 * 0.25, rtol=1e-14)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="acts_on is one of x1, x2, x3, got 'y'"):
        lorenz(acts_on="y")
