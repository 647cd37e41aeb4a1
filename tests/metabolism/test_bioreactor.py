"""The bioreactor as a task of `jaxsci.control`, which the two folders do not know of each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.bioreactor import bioreactor
from jaxsci.metabolism.reactor import Reactor, Uptake

TOY = js.metabolism.from_equations({"food": "-> a", "growth": "10 a ->"}, "growth")


@pytest.fixture(scope="module")
def task():
    vessel = bioreactor(
        TOY,
        {"food": Uptake(5.0, 1.0)},
        0.1,
        {"food": 1.0},
        Reactor(feed={"food": 100.0}),
        dt=0.5,
        feed_price=2.0,
        max_events=2,
    )
    return js.control.Task(horizon=3, **vessel._asdict())


def plan(phi, s, t):
    return phi[t]


@pytest.mark.slow
def test_gradient_of_a_feeding_plan(task):
    feeds = jnp.array([0.02, 0.05, 0.01])
    total = jax.jit(lambda f: js.control.rollout(task, plan, f).total)
    value, slope = jax.jit(jax.value_and_grad(lambda f: js.control.rollout(task, plan, f).total))(feeds)
    h = 1e-5
    differences = [(total(feeds.at[i].add(h)) - total(feeds.at[i].add(-h))) / (2 * h) for i in range(3)]
    np.testing.assert_allclose(value, total(feeds), rtol=1e-12)
    np.testing.assert_allclose(slope, differences, rtol=1e-4, atol=1e-9)


@pytest.mark.slow
def test_mass_is_conserved(task):
    """Food fed = food left + 10 times the biomass made."""
    feeds = jnp.array([0.02, 0.05, 0.01])
    state = task.first_state()
    made = 0.0
    for f in feeds:
        after = task.dynamics(task.parameters, state, f)
        made -= float(task.cost(task.parameters, state, f, after)) - 2.0 * float(f) * 0.5
        state = after
    np.testing.assert_allclose(state["volume"], 1 + 0.5 * float(feeds.sum()), rtol=1e-9)
    left = state["concentrations"]["food"] * state["volume"]
    np.testing.assert_allclose(100 * 0.5 * float(feeds.sum()) + 1.0, left + 10 * made, rtol=1e-8)


def test_wrong_input():
    laws, reactor = {"food": Uptake(5.0, 1.0)}, Reactor(feed={"food": 100.0})
    with pytest.raises(ValueError, match="dt is a number of hours"):
        bioreactor(TOY, laws, 0.1, {"food": 1.0}, reactor, dt=0.0)
    with pytest.raises(KeyError, match="product 'ethanol'"):
        bioreactor(TOY, laws, 0.1, {"food": 1.0}, reactor, dt=1.0, product="ethanol")
