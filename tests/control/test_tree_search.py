"""Tree search against value iteration, and with actions drawn from a policy."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control.task import Task
from jaxsci.control.tree_growth import grower
from jaxsci.control.tree_search import tree_search

needs_mctx = pytest.mark.skipif(importlib.util.find_spec("mctx") is None, reason="mctx is not installed")
KEY = jax.random.key(0)
STATES, CHOICES, HORIZON = 6, 3, 4
NEXT = jax.random.randint(jax.random.key(1), (STATES, CHOICES), 0, STATES)
PRICE = jax.random.uniform(jax.random.key(2), (STATES, CHOICES))
LAST = 2 * jax.random.uniform(jax.random.key(3), (STATES,))


@needs_mctx
def test_the_best_first_action_of_every_state():
    """More simulations than the tree has nodes: the finite horizon's optimum, terminal cost and discount included, no guess."""
    table = Task(
        dynamics=lambda p, s, a: NEXT[s, a], cost=lambda p, s, a, s1: PRICE[s, a], terminal=lambda p, s: LAST[s],
        init=lambda p: jnp.asarray(0), horizon=HORIZON, discount=0.9,
    )  # fmt: skip
    value = LAST
    for _ in range(HORIZON):
        costs = PRICE + 0.9 * value[NEXT]
        value = costs.min(axis=1)
    search = lambda together: tree_search(
        table, lambda p, s: jnp.zeros(CHOICES), key=KEY, initial=jnp.arange(STATES), batch=STATES, simulations=200,
        noise=0.0, together=together,
    )  # fmt: skip
    found = jax.jit(lambda: search(None))()
    np.testing.assert_array_equal(found.action, costs.argmin(axis=1))
    assert not np.array_equal(found.action, PRICE.argmin(axis=1))  # one step is not enough
    assert found.weights.shape == (STATES, CHOICES)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-6)
    assert (found.cost >= value - 1e-6).all()  # a mean over visits: no less than the optimum
    parts = jax.jit(lambda: search(4))()
    np.testing.assert_array_equal(parts.action, found.action)


@needs_mctx
def test_ends_are_respected_and_continuous_actions_proposed():
    """Two ways to end at once, by a small price or a large one; a state that has ended costs nothing more."""
    task = Task(
        dynamics=lambda p, s, a: s + a["push"], cost=lambda p, s, a, s1: (a["push"] - 0.5) ** 2 + 1.0,
        terminated=lambda p, s: jnp.abs(s) > 0.2, init=lambda p: jnp.asarray(0.0), horizon=50,
    )  # fmt: skip
    draw = lambda p, s, *, key: {"push": jax.random.uniform(key, minval=-1.0)}
    found = jax.jit(
        lambda: tree_search(
            task, draw, key=KEY, proposals=16, simulations=64, noise=0.0, value=lambda p, s: jnp.asarray(3.0)
        )
    )()
    proposed = np.asarray(found.proposals["push"])
    assert found.action["push"] == proposed[np.abs(proposed - 0.5).argmin()] == proposed[found.index]


@needs_mctx
@pytest.mark.parametrize("max_depth", [None, 2])
def test_trees_are_those_of_mctx(max_depth):
    """Every number of every tree, where members end their ways up at different depths and where the depth is limited."""
    import mctx

    members, simulations = 5, 40
    prior, price = jax.random.normal(jax.random.key(4), (2, STATES, CHOICES))

    def recurrent(_, key, action, state):
        after = NEXT[state, action]
        noise = 0.1 * jax.random.normal(key, state.shape)
        told = mctx.RecurrentFnOutput(
            reward=noise - price[state, action],
            discount=jnp.full(members, 0.9),
            prior_logits=prior[after],
            value=LAST[after],
        )
        return told, after

    state = jnp.arange(members)
    root = mctx.RootFnOutput(prior_logits=prior[state], value=LAST[state], embedding=state)
    search = lambda **loop: jax.jit(lambda: mctx.gumbel_muzero_policy(
        None, KEY, root, recurrent, simulations, max_depth=max_depth, max_num_considered_actions=CHOICES, **loop
    ))()  # fmt: skip
    theirs = search()
    ours = search(loop_fn=grower(recurrent, simulations=simulations, considered=CHOICES, max_depth=max_depth))
    assert int(theirs.search_tree.node_visits[:, 0].min()) == simulations + 1
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_what_is_missing_or_wrong_is_said(monkeypatch):
    task = Task(dynamics=lambda p, s, a: s, cost=lambda p, s, a, s1: s, init=lambda p: jnp.asarray(0.0), horizon=2)
    monkeypatch.setitem(sys.modules, "mctx", None)
    with pytest.raises(ImportError, match=r"pip install jaxsci\[planning\]"):
        tree_search(task, lambda p, s: jnp.zeros(2), key=KEY)
    monkeypatch.setitem(sys.modules, "mctx", object())
    with pytest.raises(ValueError, match="simulations is a whole number >= 1, got 0"):
        tree_search(task, lambda p, s: jnp.zeros(2), key=KEY, simulations=0)
    with pytest.raises(ValueError, match="this prior draws actions"):
        tree_search(task, lambda p, s, *, key: s, key=KEY)
    with pytest.raises(ValueError, match="proposals are drawn by a prior with a keyword key"):
        tree_search(task, lambda p, s: s, key=KEY, proposals=4)
