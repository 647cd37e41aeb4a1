"""Optimal stopping on beliefs: the dynamic programme against Wald's exact test, and thresholds that are learned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.control.stopping import grid_weights

st = js.control

CELLS = 200


@functools.partial(jax.jit, static_argnames="cells")
def solved(test, cells=CELLS):
    values = st.stopping_values(test, cells=cells)
    return values, values.thresholds() if len(test.losses[0]) == 2 else None


@jax.jit
def value_of(values, beliefs):
    return jax.vmap(values.value)(beliefs)


@jax.jit
def actions_of(values, beliefs):
    return jax.vmap(values.action)(beliefs)


@pytest.mark.parametrize("cost", [0.03, 0.01, 0.003])
def test_the_thresholds_are_walds_within_a_cell(cost):
    values, (low, high) = solved(st.bernoulli_test((0.4, 0.6), cost))
    exact = st.wald_threshold(0.6, cost)
    assert 0 <= (high - exact) * CELLS <= 0.5  # a lower bound of the value asks a little too long, never too short
    np.testing.assert_allclose(low, 1 - high, atol=1e-12)
    # Values are lower bounds, within O(cells^-2).
    belief = np.linspace(0.02, 0.98, 49)
    found = value_of(values, jnp.stack([1 - belief, belief], axis=-1))
    gap = st.wald_cost(0.6, cost, exact, belief) - found
    assert gap.min() > -1e-9
    assert gap.max() < 2e-3 * 0.5
    # The prior 1/2 stays on a lattice of odds 1.5^n: no bound is better than the whole number that the threshold picks, and at
    # that bound Wald's relation (1 - error) / error = A holds without overshoot.
    bounds = np.arange(0, 30)
    belief_at = 1.5**bounds / (1 + 1.5**bounds)
    costs = [float(st.wald_cost(0.6, cost, b, 0.5)) for b in belief_at]
    assert belief_at[np.argmin(costs) - 1] < exact <= belief_at[np.argmin(costs)]
    np.testing.assert_allclose(found[24], min(costs), rtol=5e-3)


def test_walds_cost_is_that_of_a_simulation():
    rng, p, cost, bound, n = np.random.default_rng(0), 0.6, 0.01, 0.8, 20_000
    for prior in (0.5, 0.63):
        truth = rng.random(n) < prior
        odds, tosses = np.full(n, np.log(prior / (1 - prior))), np.zeros(n)
        limit = np.log(bound / (1 - bound))
        while (open_ := np.abs(odds) < limit).any():
            heads = rng.random(n) < np.where(truth, p, 1 - p)
            odds += np.where(open_, np.where(heads, 1, -1) * np.log(p / (1 - p)), 0)
            tosses += open_
        paid = cost * tosses + ((odds > 0) != truth)
        exact = st.wald_cost(p, cost, bound, prior)
        assert abs(paid.mean() - exact) < 4 * paid.std() / np.sqrt(n)
    assert st.wald_threshold(0.6, 0.3) == 0.5  # not worth a toss
    with pytest.raises(ValueError, match="1/2 < probability < 1"):
        st.wald_cost(0.4, 0.01, 0.8, 0.5)


def test_a_query_that_tells_all():
    """V = min(b, 1 - b, c) and thresholds c and 1 - c; a dearer query of that kind changes nothing, nor does a useless one."""
    perfect = jnp.eye(2)[None]
    test = st.SequentialTest(likelihoods=perfect, costs=jnp.array([0.13]), losses=1 - jnp.eye(2))
    _, (low, high) = solved(test)
    np.testing.assert_allclose((low, high), (0.13, 0.87), atol=1e-12)
    useless = jnp.full((1, 2, 2), 0.5)
    more = st.SequentialTest(
        likelihoods=jnp.concatenate([useless, perfect, perfect]), costs=jnp.array([0.001, 0.2, 0.13]), losses=1 - jnp.eye(2)
    )
    values, (low, high) = solved(more)
    np.testing.assert_allclose((low, high), (0.13, 0.87), atol=1e-12)
    assert actions_of(values, jnp.array([[0.5, 0.5], [0.05, 0.95]])).tolist() == [3, 0]
    never = st.SequentialTest(likelihoods=useless, costs=jnp.array([0.001]), losses=1 - jnp.eye(2))
    assert np.isnan(solved(never)[1]).all()


def test_unequal_losses_move_both_thresholds():
    """Missing hypothesis 1 costs four times as much: the indifferent belief is 1/5 and the interval lies around it."""
    test = st.bernoulli_test((0.4, 0.6), 0.01)
    _, (low, high) = solved(test)
    dear = st.SequentialTest(likelihoods=test.likelihoods, costs=test.costs, losses=jnp.array([[0.0, 4.0], [1.0, 0.0]]))
    _, (low_dear, high_dear) = solved(dear)
    assert low_dear < 0.2 < high_dear
    assert low_dear < low
    assert high_dear < high


@pytest.mark.slow
def test_three_hypotheses_contain_the_problem_of_two():
    """Where the third is excluded the values are those of two hypotheses on the same grid; and its policy pays what they say."""
    cells = 30
    three, _ = solved(st.bernoulli_test((0.2, 0.5, 0.8), 0.02), cells)
    two, _ = solved(st.bernoulli_test((0.2, 0.5), 0.02), cells)
    p = jnp.linspace(0, 1, 41)
    inside = value_of(three, jnp.stack([1 - p, p, 0 * p], axis=-1))
    np.testing.assert_allclose(inside, value_of(two, jnp.stack([1 - p, p], axis=-1)), atol=1e-9)
    # The grid of weights reproduces any affine function, so also the belief itself.
    belief = jax.random.dirichlet(jax.random.key(0), jnp.ones(3), (20,))
    numbers = jnp.stack(jnp.meshgrid(jnp.arange(cells + 1), jnp.arange(cells + 1), indexing="ij"), axis=-1).reshape(-1, 2)
    places, weights = jax.jit(jax.vmap(lambda b: grid_weights(b, cells)))(belief)
    sums = jnp.stack([belief[:, 1] + belief[:, 2], belief[:, 2]], axis=-1)
    np.testing.assert_allclose(jnp.einsum("nv,nvi->ni", weights, numbers[places]) / cells, sums, atol=1e-12)
    assert float(weights.min()) >= 0
    task = st.query_task(three.test, prior=(1 / 3, 1 / 3, 1 / 3), horizon=60)
    policy = lambda values, belief: values.action(belief)
    run = jax.jit(lambda key: js.control.rollout(task, policy, three, key, batch=2000))(jax.random.key(1))
    value = float(value_of(three, jnp.ones((1, 3)) / 3)[0])
    error = float(run.total.std()) / np.sqrt(2000)
    assert float(run.terminated.mean()) > 0.99
    assert -0.002 - 4 * error < float(run.total.mean()) - value < 0.02 + 4 * error  # the value is a bound from below


@pytest.mark.slow
def test_the_two_tasks_cost_the_same_under_one_policy():
    """A sharp threshold: the carried probability is 0 or 1, and both tasks pay Wald's exact cost."""
    test = st.bernoulli_test((0.4, 0.6), 0.01)
    sharp = st.ConfidenceThreshold()
    asks = lambda x, belief: jnp.where(sharp(x, belief) > 0, 0, 1)
    exact = float(st.wald_cost(0.6, 0.01, 0.8, 0.5))
    for task, policy in ((st.stopping_task, sharp), (st.query_task, asks)):
        chosen = task(test, prior=(0.5, 0.5), horizon=150)
        run = jax.jit(lambda key, t=chosen, f=policy: js.control.rollout(t, f, 0.8, key, batch=4000))(jax.random.key(0))
        error = float(run.total.std()) / np.sqrt(4000)
        assert abs(float(run.total.mean()) - exact) < 4 * error


@pytest.mark.slow
def test_a_threshold_learned_by_gradient_lands_on_the_best():
    """Annealed: a sigmoid of width 0.02, then 0.004, then 0.001; the expected cost is then evaluated exactly."""
    cost = 0.01
    task = st.stopping_task(st.bernoulli_test((0.4, 0.6), cost), horizon=40)
    x = jnp.asarray(0.65)
    for temperature, rate in ((0.02, 2e-2), (0.004, 5e-3), (0.001, 1e-3)):
        found = js.control.analytic_policy_gradient(
            task, st.ConfidenceThreshold(temperature), x, key=jax.random.key(0), iterations=80, batch=256,
            optimiser=optax.adam(optax.cosine_decay_schedule(rate, 80)),
        )  # fmt: skip
        x = found.params
    best = st.wald_threshold(0.6, cost)
    assert abs(float(x) - best) < 1 / CELLS
    prior = np.linspace(0.005, 0.995, 199)
    paid, least = (st.wald_cost(0.6, cost, t, prior).mean() for t in (float(x), best))
    assert 0 <= paid / least - 1 < 0.005
    assert st.wald_cost(0.6, cost, 0.65, prior).mean() / least - 1 > 0.02  # where it began


def test_straight_through_thresholds_have_the_hard_cost_and_the_soft_slope():
    task = st.stopping_task(st.bernoulli_test((0.4, 0.6), 0.01), horizon=10)
    belief = jnp.array([0.3, 0.7])
    hard, soft = st.ConfidenceThreshold(0.05, hard=True), st.ConfidenceThreshold(0.05)
    assert float(hard(0.69, belief)) == 1
    assert float(hard(0.71, belief)) == 0
    np.testing.assert_allclose(jax.grad(hard)(0.69, belief), jax.grad(soft)(0.69, belief))
    cost = lambda policy: js.control.rollout(task, policy, 0.7, jax.random.key(3), batch=50).total.mean()
    costs = jax.jit(lambda: [cost(policy) for policy in (hard, st.ConfidenceThreshold(), soft)])()
    assert float(costs[0]) == float(costs[1])
    assert abs(float(costs[2] - costs[0])) > 1e-4


def test_bad_problems_are_refused_by_name():
    good = st.bernoulli_test((0.4, 0.6), 0.01)
    with pytest.raises(ValueError, match="must be probabilities that sum to 1"):
        st.SequentialTest(likelihoods=jnp.ones((1, 2, 2)), costs=jnp.ones(1), losses=jnp.eye(2))
    with pytest.raises(ValueError, match="costs nothing is asked for ever"):
        st.bernoulli_test((0.4, 0.6), 0.0)
    with pytest.raises(ValueError, match="1 queries and 2 hypotheses"):
        st.SequentialTest(likelihoods=good.likelihoods, costs=jnp.ones(2), losses=good.losses)
    with pytest.raises(ValueError, match=r"\[queries, hypotheses, outcomes\]"):
        st.SequentialTest(likelihoods=good.likelihoods[0], costs=jnp.ones(1), losses=good.losses)
    with pytest.raises(ValueError, match="at least two probabilities"):
        st.bernoulli_test((0.4,), 0.01)
    with pytest.raises(ValueError, match="cells is a whole number"):
        st.stopping_values(good, cells=0)
    two = st.SequentialTest(likelihoods=jnp.concatenate([good.likelihoods] * 2), costs=jnp.ones(2), losses=good.losses)
    with pytest.raises(ValueError, match="does not say which to ask"):
        st.stopping_task(two)
    with pytest.raises(ValueError, match="a probability for each of 2 hypotheses"):
        st.query_task(good, prior=(0.5, 0.6))
    with pytest.raises(ValueError, match="thresholds are of two hypotheses"):
        st.StoppingValues(good, jnp.zeros((3, 3)), 0).thresholds()


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        values, (_, high) = solved(st.bernoulli_test((0.4, 0.6), 0.01), cells=50)
        assert values.table.dtype == jnp.float32
        assert int(values.sweeps) < 1000
        assert high.dtype == jnp.float32
        assert abs(float(high) - st.wald_threshold(0.6, 0.01)) < 1 / 50
