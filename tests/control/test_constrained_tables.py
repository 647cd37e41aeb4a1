"""Constrained tables: the linear program against closed forms, the Lagrangian against the program, limits, signs, names."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control.constrained_tables import constrained_policy, lagrangian_policy
from jaxsci.control.tables import TabularMDP, occupancy, policy_iteration

LIMITS = (4.0, 3.0, 2.0, 1.0, 0.5, 0.02)


def problem(seed=0, states=20, actions=4, constraints=2):
    """Random costs of both signs; in every state some action costs no safety, so that any limit >= 0 can be kept."""
    draw = np.random.default_rng(seed)
    transitions = draw.dirichlet(np.full(states, 0.3), size=(states, actions))
    costs = draw.normal(size=(states, actions))
    safety = draw.uniform(size=(constraints, states, actions))
    safety[:, np.arange(states), draw.integers(actions, size=states)] = 0
    return TabularMDP(jnp.asarray(transitions), jnp.asarray(costs), 0.9, jnp.full(states, 1 / states)), safety


@pytest.fixture(scope="module")
def solved():
    mdp, safety = problem()
    exact = [constrained_policy(mdp, safety, limit) for limit in LIMITS]
    ours = [lagrangian_policy(mdp, safety, limit) for limit in LIMITS]
    return mdp, safety, exact, ours


def test_lagrangian_meets_the_linear_program(solved):
    _, _, exact, ours = solved
    for truth, found in zip(exact, ours, strict=True):
        assert truth.status == found.status == "optimal"
        assert abs(found.value - truth.value) <= 1e-6 * abs(truth.value)
        assert found.bound <= truth.value + 1e-6
        assert found.value - found.bound <= 1e-6 * max(1, abs(found.value))
        assert found.violations.max() <= 1e-9
        assert truth.violations.max() <= 1e-6
        np.testing.assert_allclose(found.policy.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(found.multipliers, truth.multipliers, atol=1e-3)


def test_tighter_limits_cost_more_and_violate_less(solved):
    """The published code let violations LOWER the cost, and its limit bound nothing: both would fail here."""
    _, _, exact, ours = solved
    for results in (exact, ours):
        for loose, tight in itertools.pairwise(results):
            assert tight.value > loose.value
            assert np.all(tight.spent <= loose.spent + 1e-9) or tight.spent.sum() < loose.spent.sum()
            assert tight.multipliers.sum() > 0, "the limit binds"
    # A policy that knows no limits spends more than any of the limits that bind.
    mdp, safety, _, _ = solved
    free = occupancy(mdp, policy_iteration(mdp).policy)
    assert np.einsum("csa,sa->c", safety, free).max() > LIMITS[1]


def test_what_is_reported_is_what_the_policy_costs(solved):
    mdp, safety, exact, ours = solved
    for found in (exact[3], ours[3]):
        visits = occupancy(mdp, jnp.asarray(found.policy))
        np.testing.assert_allclose(found.value, float(jnp.sum(visits * mdp.costs)), rtol=1e-10)
        np.testing.assert_allclose(found.spent, np.einsum("csa,sa->c", safety, visits), rtol=1e-8)
    assert (ours[3].policy.max(axis=1) < 1 - 1e-6).any(), "the best policy draws lots"


def test_multipliers_are_the_derivative_of_the_value_in_the_limit(solved):
    mdp, safety, exact, _ = solved
    for i in range(2):
        step = 1e-4 * np.eye(2)[i]
        up, down = (constrained_policy(mdp, safety, 2.0 + s).value for s in (step, -step))
        np.testing.assert_allclose((down - up) / 2e-4, exact[2].multipliers[i], atol=1e-3)


def test_closed_form_and_no_limits():
    mdp = TabularMDP(jnp.ones((1, 2, 1)), jnp.array([[1.0, 0.0]]), 0.5, jnp.ones(1))
    unsafe = jnp.array([[0.0, 1.0]])
    for solve in (constrained_policy, lagrangian_policy):
        for limit in (0.0, 0.5, 2.0):  # of a total occupancy of 2, `limit` may be unsafe
            found = solve(mdp, unsafe, limit)
            np.testing.assert_allclose([found.value, found.policy[0, 1]], [2 - limit, limit / 2], atol=1e-9)
        free = solve(mdp, jnp.zeros((0, 1, 2)), jnp.zeros(0))
        np.testing.assert_allclose(free.value, 0, atol=1e-12)
        assert free.multipliers.shape == (0,)


def test_infeasible_is_said_by_name():
    mdp, safety = problem(1)
    safety = safety + 0.1  # at least 0.1 a step: 1 in all
    for solve in (constrained_policy, lagrangian_policy):
        found = solve(mdp, safety, 0.5)
        assert found.status == "infeasible"
        assert found.bound == np.inf
        np.testing.assert_allclose(found.violations.sum(), 1.0, rtol=0.5)
    a, b = (solve(mdp, safety, 0.5).violations.sum() for solve in (constrained_policy, lagrangian_policy))
    np.testing.assert_allclose(b, a, rtol=2e-3)  # the least total violation


def test_unavailable_actions_and_a_discount_of_one():
    """A walk to an end, undiscounted: the fast way is unsafe, a third way is closed."""
    transitions = np.zeros((3, 3, 3))
    transitions[0, 0, [0, 2]] = 0.5, 0.5  # slow: two steps on average
    transitions[0, 1, 2] = transitions[0, 2, 2] = 1.0
    transitions[1:, :, 2] = 1.0
    costs = np.array([[1.0, 1.0, np.inf], [0, 0, np.inf], [0, 0, 0]])
    mdp = TabularMDP(jnp.asarray(transitions), jnp.asarray(costs), 1.0, jnp.array([1.0, 0, 0]))
    unsafe = np.zeros((3, 3))
    unsafe[0, 1] = 1.0
    for solve in (constrained_policy, lagrangian_policy):
        np.testing.assert_allclose([solve(mdp, unsafe, limit).value for limit in (0.0, 0.5, 1.0)], [2, 1.5, 1], atol=1e-9)
        assert solve(mdp, unsafe, 0.5).policy[0, 2] == 0
    forever = TabularMDP(jnp.ones((1, 1, 1)), jnp.ones((1, 1)), 1.0, jnp.ones(1))
    with pytest.raises(ValueError, match="must lead to an end"):
        lagrangian_policy(forever, jnp.zeros((1, 1)), 0.0)


def test_bad_arguments():
    mdp, safety = problem()
    for solve in (constrained_policy, lagrangian_policy):
        with pytest.raises(ValueError, match="a violation would be a gain"):
            solve(mdp, -safety, 1.0)
        with pytest.raises(ValueError, match=r"constraint_costs are \[constraint, 20, 4\]"):
            solve(mdp, safety[:, :-1], 1.0)
        with pytest.raises(ValueError, match="limits are 2 finite numbers"):
            solve(mdp, safety, [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="give the table a start"):
            solve(TabularMDP(mdp.transitions, mdp.costs, 0.9), safety, 1.0)
    with pytest.raises(ValueError, match="after 2 policy iterations value and bound are"):
        lagrangian_policy(mdp, safety, 2.0, iterations=2)
