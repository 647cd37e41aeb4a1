"""Tables: closed forms, brute force over all plans, bounds that hold, derivatives, and tables that are none."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control.rollout import rollout
from jaxsci.control.tables import (
    TabularMDP,
    finite_horizon,
    occupancy,
    policy_evaluation,
    policy_iteration,
    value_iteration,
)


def table(states=6, actions=3, discount=0.9, seed=0):
    random = np.random.default_rng(seed)
    transitions = random.dirichlet(np.full(states, 0.3), (states, actions))
    start = random.dirichlet(np.ones(states))
    return TabularMDP(
        jnp.asarray(transitions), jnp.asarray(random.normal(size=(states, actions))), discount, jnp.asarray(start)
    )


MDP = table()


@pytest.fixture(scope="module")
def solved():
    return value_iteration(MDP), policy_iteration(MDP)


def test_both_iterations_satisfy_bellman_and_agree_to_rounding(solved):
    by_value, by_policy = solved
    for found in solved:
        assert bool(found.converged)
        np.testing.assert_allclose(found.values, MDP.action_values(found.values).min(axis=1), atol=2e-14)
        assert float(found.bound) <= 1e-12
    np.testing.assert_allclose(by_value.values, by_policy.values, atol=1e-13)
    np.testing.assert_array_equal(by_value.policy, by_policy.policy)
    assert int(by_policy.iterations) < 8 < int(by_value.iterations)
    # The best of all 3^6 policies, one by one: in every state at once.
    every = jnp.asarray(list(itertools.product(range(3), repeat=6)))
    values = jax.vmap(lambda policy: policy_evaluation(MDP, policy))(every)
    np.testing.assert_allclose(by_policy.values, values.min(axis=0), atol=1e-13)


def test_the_bound_holds_and_too_few_sweeps_say_so(solved):
    few = value_iteration(MDP, sweeps=20)
    assert not bool(few.converged)
    error = float(jnp.abs(few.values - solved[1].values).max())
    assert 1e-3 < error <= float(few.bound) < 20 * error
    loose = value_iteration(MDP, tolerance=1e-3)
    assert bool(loose.converged)
    assert int(loose.iterations) < int(solved[0].iterations) / 2
    assert float(jnp.abs(loose.values - solved[1].values).max()) <= 1e-3


def test_a_policy_that_has_begun_elsewhere_and_ties():
    again = policy_iteration(MDP, initial=jnp.zeros(6, int))
    np.testing.assert_allclose(again.values, policy_iteration(MDP).values, atol=1e-13)
    same = TabularMDP(jnp.repeat(MDP.transitions[:, :1], 3, axis=1), jnp.repeat(MDP.costs[:, :1], 3, axis=1), 0.99)
    assert bool(policy_iteration(same).converged)


def test_evaluation_is_the_series_and_the_occupancy_its_dual():
    chances = np.random.default_rng(5).dirichlet(np.ones(3), 6)
    matrix = np.einsum("sa,sat->st", chances, MDP.transitions)
    value, term = np.zeros(6), np.sum(chances * MDP.costs, axis=1)
    for _ in range(400):
        value, term = value + term, 0.9 * matrix @ term
    np.testing.assert_allclose(policy_evaluation(MDP, chances), value, atol=1e-13)
    visits = occupancy(MDP, chances)
    np.testing.assert_allclose(visits.sum(), 10.0, rtol=1e-13)
    np.testing.assert_allclose(jnp.sum(visits * MDP.costs), MDP.start @ value, atol=1e-13)
    whole = jnp.array([0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(policy_evaluation(MDP, whole), policy_evaluation(MDP, jnp.eye(3)[whole]), atol=1e-14)
    np.testing.assert_allclose(occupancy(MDP, whole), occupancy(MDP, jnp.eye(3)[whole]), atol=1e-13)


def test_backward_induction_is_the_best_of_all_plans():
    small = table(3, 2, 1.0, seed=1)
    terminal = np.array([0.5, -1.0, 0.2])
    plan = finite_horizon(small, 3, terminal=terminal)
    costs, transitions, rows = np.asarray(small.costs), np.asarray(small.transitions), np.arange(3)

    def worth(policies):
        value = terminal
        for policy in np.asarray(policies)[::-1]:
            value = costs[rows, policy] + transitions[rows, policy] @ value
        return value

    every = np.array(list(itertools.product(range(2), repeat=9))).reshape(-1, 3, 3)  # an action for each step and state
    np.testing.assert_allclose(plan.values[0], np.min([worth(policies) for policies in every], axis=0), atol=1e-14)
    np.testing.assert_allclose(worth(plan.policy), plan.values[0], atol=1e-14)
    np.testing.assert_array_equal(plan.values[-1], terminal)
    # A long horizon with a discount: the values of the endless one.
    np.testing.assert_allclose(finite_horizon(MDP, 400).values[0], policy_iteration(MDP).values, atol=1e-13)


def test_derivatives_of_the_optimal_values(solved):
    weights = jnp.arange(1.0, 7.0)
    random = np.random.default_rng(8)
    turn = random.normal(size=MDP.transitions.shape) * MDP.transitions
    turn -= MDP.transitions * turn.sum(axis=-1, keepdims=True)  # rows that go on summing to one
    push = random.normal(size=MDP.costs.shape)

    def moved(h):
        return TabularMDP(MDP.transitions + h * turn, MDP.costs + h * push, 0.9 + 0.1 * h, MDP.start)

    def worth(h):
        plan = finite_horizon(moved(h), 5).values[0]
        return jnp.stack([weights @ v for v in (value_iteration(moved(h)).values, policy_iteration(moved(h)).values, plan)])

    steps = jnp.array([1e-5, -1e-5])
    exact, (above, below) = jax.jit(lambda h: (jax.jacrev(worth)(h), jax.vmap(worth)(steps)))(0.0)
    np.testing.assert_allclose(exact, (above - below) / 2e-5, rtol=1e-7)
    assert float(jnp.abs(exact).min()) > 1.0


def test_an_action_that_is_not_available_is_not_taken():
    barred = TabularMDP(MDP.transitions, MDP.costs.at[jnp.arange(6), policy_iteration(MDP).policy].set(jnp.inf), 0.9)
    for found in (value_iteration(barred), policy_iteration(barred)):
        assert np.isfinite(found.values).all()
        assert not np.any(np.asarray(found.policy) == np.asarray(policy_iteration(MDP).policy))
        assert float((found.values - policy_iteration(MDP).values).min()) > 0
    chances = jnp.where(jnp.isfinite(barred.costs), 0.5, 0.0)
    assert np.isfinite(policy_evaluation(barred, chances)).all()


def test_the_table_as_a_task_costs_what_the_table_says(solved):
    task = MDP.task(horizon=60)  # 0.9^60 = 0.002
    policy = solved[1].policy
    run = jax.jit(lambda key: rollout(task, lambda params, s: params[s], policy, key, batch=4000).total)(jax.random.key(0))
    expected = MDP.start @ finite_horizon(TabularMDP(MDP.transitions, MDP.costs, 0.9), 60).values[0]
    assert abs(float(run.mean() - expected)) < 4 * float(run.std()) / 4000**0.5 + 0.01
    with pytest.raises(ValueError, match="a task begins somewhere"):
        TabularMDP(MDP.transitions, MDP.costs).task(3)


def test_single_precision_and_other_layouts(solved):
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), MDP)
    for method in (value_iteration, policy_iteration):
        found = method(single)
        assert found.values.dtype == jnp.float32
        assert bool(found.converged)
        np.testing.assert_allclose(found.values, solved[1].values, atol=1e-4)
    other = TabularMDP.by_actions(jnp.swapaxes(MDP.transitions, 0, 1), MDP.costs, 0.9)
    np.testing.assert_array_equal(other.transitions, MDP.transitions)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transitions": MDP.transitions.at[2, 1].mul(0.9)}, r"transitions of state, action \(2, 1\) sums to 0.9"),
        ({"transitions": MDP.transitions.at[2, 1, 0].add(2).at[2, 1, 1].add(-2)}, "are not negative"),
        ({"transitions": jnp.swapaxes(MDP.transitions, 0, 1)}, "Use TabularMDP.by_actions"),
        ({"costs": MDP.costs[:, 0]}, r"costs \[state, action\]; got \[6, 3, 6\] and \[6\]"),
        ({"costs": MDP.costs.at[0, 0].set(jnp.nan)}, "got NaN or -inf"),
        ({"costs": MDP.costs.at[4].set(jnp.inf)}, "state 4 has no action"),
        ({"start": jnp.ones(6)}, "start sums to 6"),
        ({"start": jnp.ones(5) / 5}, "distribution over the 6 states"),
        ({"discount": 1.5}, "between 0 and 1"),
        ({"discount": 1.0}, "needs a discount below 1"),
    ],
)
def test_tables_that_are_none_are_refused(changes, said):
    fields = {"transitions": MDP.transitions, "costs": MDP.costs, "discount": 0.9, "start": MDP.start} | changes
    with pytest.raises(ValueError, match=said):
        value_iteration(TabularMDP(**fields))


def test_policies_and_horizons_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"whole numbers \[6\] or probabilities \[6, 3\]"):
        policy_evaluation(MDP, jnp.zeros(5, int))
    with pytest.raises(ValueError, match="not with probabilities"):
        policy_iteration(MDP, initial=jnp.full((6, 3), 1 / 3))
    with pytest.raises(ValueError, match="the horizon is a number of steps"):
        finite_horizon(MDP, 0)
    with pytest.raises(ValueError, match="has no start"):
        occupancy(TabularMDP(MDP.transitions, MDP.costs), jnp.zeros(6, int))
