"""Returns against plain loops, with both kinds of end; members that go on from window to window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.returns import advantages, lambda_returns, n_step_returns
from jaxsci.control.windows import live, new_members, of_finished, priced, restarted, window_length

STEPS, GAMMA, TRACE = 14, 0.9, 0.8


@pytest.fixture(scope="module")
def record():
    """Several episodes in a row: one terminated, one truncated, one that the record cuts."""
    rng = np.random.default_rng(0)
    costs, values, after = rng.normal(size=(3, STEPS))
    terminated, truncated = np.zeros((2, STEPS), bool)
    terminated[4], truncated[9] = True, True
    inside = ~(terminated | truncated)[:-1]
    after[:-1][inside] = values[1:][inside]  # V' is the next record's V but at the ends
    return costs, values, after, terminated, truncated


def plain_n_step(record, n, t):
    """The costs of at most n steps and then a value, by the definition."""
    costs, _, after, terminated, truncated = record
    total, weight = 0.0, 1.0
    for k in range(t, min(t + n, STEPS)):
        total, weight = total + weight * costs[k], weight * GAMMA
        if terminated[k]:
            return total
        if truncated[k] or k == STEPS - 1 or k == t + n - 1:
            return total + weight * after[k]
    raise AssertionError


def plain_lambda(record, t):
    """(1 - lambda) sum_n lambda^(n-1) G^(n), the rest of the weight on the longest."""
    terminated, truncated = record[3:]
    longest = next((k for k in range(t, STEPS) if terminated[k] or truncated[k]), STEPS - 1) - t + 1
    total = sum((1 - TRACE) * TRACE ** (n - 1) * plain_n_step(record, n, t) for n in range(1, longest))
    return total + TRACE ** (longest - 1) * plain_n_step(record, longest, t)


def test_returns_are_those_of_the_definitions(record):
    costs, values, after, terminated, truncated = map(jnp.asarray, record)
    for n in (1, 3, 20):
        got = n_step_returns(costs, after, terminated, truncated, steps=n, discount=GAMMA)
        np.testing.assert_allclose(got, [plain_n_step(record, n, t) for t in range(STEPS)], atol=1e-14)
    got = lambda_returns(costs, after, terminated, truncated, discount=GAMMA, trace=TRACE)
    np.testing.assert_allclose(got, [plain_lambda(record, t) for t in range(STEPS)], atol=1e-14)
    # The advantages are TD(lambda) targets less the values where V' is the V of the next record.
    gains = advantages(costs, values, after, terminated, truncated, discount=GAMMA, trace=TRACE)
    np.testing.assert_allclose(gains, got - values, atol=1e-14)
    single = advantages(costs, values, after, terminated, truncated, discount=GAMMA, trace=0.0)
    np.testing.assert_allclose(single, costs + GAMMA * np.where(terminated, 0, after) - values, atol=1e-14)


def test_an_end_is_of_one_kind(record):
    """After termination nothing is to come; after truncation the value of the state in which the episode was cut."""
    costs, values, after, terminated, truncated = map(jnp.asarray, record)
    swapped = lambda_returns(costs, after, truncated, terminated, discount=GAMMA, trace=TRACE)
    right = lambda_returns(costs, after, terminated, truncated, discount=GAMMA, trace=TRACE)
    np.testing.assert_allclose(swapped[4] - right[4], GAMMA * after[4], atol=1e-14)
    np.testing.assert_allclose(right[9] - swapped[9], GAMMA * after[9], atol=1e-14)
    # Neither lets anything through from the episode behind it.
    other = costs.at[5].add(100.0).at[10].add(100.0)
    moved = jnp.abs(lambda_returns(other, after, terminated, truncated, discount=GAMMA, trace=TRACE) - right) > 0
    assert moved.tolist() == [t in (5, 10) for t in range(STEPS)]
    moved = advantages(other, values, after, terminated, truncated, trace=1.0) - advantages(
        costs, values, after, terminated, truncated, trace=1.0
    )
    assert (moved[:5] == 0).all()
    assert (moved[6:10] == 0).all()
    merged = lambda_returns(costs, after, terminated | truncated, truncated, discount=GAMMA, trace=TRACE)
    assert float(jnp.abs(merged - right)[9]) > 0.1


def test_members_are_trailing_axes_and_precision_stays(record):
    many = [jnp.stack([jnp.asarray(leaf)] * 3, axis=1) for leaf in record]
    one = advantages(*map(jnp.asarray, record), discount=GAMMA)
    np.testing.assert_allclose(advantages(*many, discount=GAMMA), jnp.stack([one] * 3, axis=1), atol=1e-15)
    single = [jnp.asarray(leaf, jnp.float32) if leaf.dtype == float else jnp.asarray(leaf) for leaf in record]
    assert advantages(*single, discount=GAMMA).dtype == jnp.float32
    assert n_step_returns(single[0], *single[2:], steps=2).dtype == jnp.float32


def test_bad_records_are_refused(record):
    costs, values, after, terminated, truncated = map(jnp.asarray, record)
    with pytest.raises(ValueError, match=r"advantages: costs, values and ends have one shape.*\(14,\) and \(13,\)"):
        advantages(costs, values, after[1:], terminated, truncated)
    with pytest.raises(ValueError, match="n_step_returns: steps is a whole number >= 1, got 0"):
        n_step_returns(costs, after, terminated, truncated, steps=0)


# --- windows -----------------------------------------------------------------------------------------------------------------

COUNTER = js.control.Task(  # the state counts its steps; who starts above 9.5 ends by itself at 12
    dynamics=lambda p, s, a: s + a,
    cost=lambda p, s, a, s1: s1,
    init=lambda p, key: jnp.floor(jax.random.uniform(key, (), minval=0.0, maxval=1.0) * 2) * 9.0,
    horizon=7,
    terminal=lambda p, s: 1000.0 + s,
    constraint=lambda p, s, a: s - 10.0,
    terminated=lambda p, s: s >= 12.0,
    discount=0.5,
)


def policy(params, observation):
    return jnp.ones_like(observation)


@pytest.fixture(scope="module")
def lived():
    steps, count = window_length(COUNTER, 4)
    assert (steps, count) == (4, 2)  # 7 = 4 + 3: the last window has a step too many, which waits

    @jax.jit
    def windows(key):
        members = new_members(COUNTER, policy, None, key, 8)
        starts, seen = members.carry.state, []
        for i in range(4):
            members = restarted(COUNTER, policy, None, jax.random.fold_in(key, i), members, jnp.zeros(8, bool))
            begun = members.carry.state
            members, window = jax.vmap(lambda m: live(COUNTER, policy, None, m, steps))(members)
            seen.append((begun, window, members))
        return starts, seen

    return windows(jax.random.key(3))


def test_windows_make_the_episode_of_a_rollout(lived):
    starts, seen = lived
    assert set(np.asarray(starts)) == {0.0, 9.0}
    run = js.control.rollout(COUNTER, policy, initial=starts, batch=8)
    (_, first, _), (_, second, after) = seen[:2]
    long = starts == 0
    costs = jnp.concatenate([first.costs, second.costs], axis=1)[:, :7]
    np.testing.assert_allclose(costs[long], run.costs[long])
    np.testing.assert_array_equal(second.alive[long], [[True] * 3 + [False]] * int(long.sum()))
    np.testing.assert_array_equal(second.truncated[long], [[False] * 2 + [True, False]] * int(long.sum()))
    assert not bool(second.terminated[long].any())
    np.testing.assert_allclose(second.terminal[long], 1007.0)
    np.testing.assert_allclose(second.observations[long, 3:], 7.0)
    np.testing.assert_array_equal(second.times[long], [[4, 5, 6, 7, 7]] * int(long.sum()))
    # Those that end by themselves owe no terminal cost, end within the first window, and begin anew with the second.
    np.testing.assert_array_equal(first.alive[~long], [[True] * 3 + [False]] * int((~long).sum()))
    np.testing.assert_array_equal(first.terminated[~long], [[False] * 2 + [True, False]] * int((~long).sum()))
    assert not bool(first.truncated.any())
    assert float(jnp.abs(first.terminal).max()) == 0
    np.testing.assert_array_equal(second.times[~long, 0], 0)
    np.testing.assert_allclose(seen[0][2].last_total[~long], run.total[~long])
    np.testing.assert_allclose(after.last_total[long], run.total[long])
    np.testing.assert_allclose(after.last_violation[~long], 1 / 4)  # max(11 - 10, 0) at t = 2


def test_restarts_are_fresh_and_only_for_those_who_are_due(lived):
    _, seen = lived
    begun = np.stack([begun for begun, _, _ in seen])
    ended = np.stack([np.asarray((w.terminated | w.truncated).any(axis=1)) for _, w, _ in seen])
    for i in range(3):
        assert set(begun[i + 1][ended[i]]) <= {0.0, 9.0}
        final = np.asarray(seen[i][1].observations[:, -1])
        np.testing.assert_array_equal(begun[i + 1][~ended[i]], final[~ended[i]])
    again = begun[1:][ended[:3]]
    assert {0.0, 9.0} <= set(again)  # both starts are drawn again, not a copy of the first


def test_broken_members_begin_anew_and_the_mean_is_of_finished_episodes(lived):
    members = lived[1][3][2]
    total, violation = of_finished(members)
    np.testing.assert_allclose(total, members.last_total[members.finished].mean())
    np.testing.assert_allclose(violation, members.last_violation[members.finished].mean())
    new = new_members(COUNTER, policy, None, jax.random.key(0), 8)
    assert np.isnan(of_finished(new)[0])
    broken = new._replace(carry=new.carry._replace(state=new.carry.state.at[2].set(jnp.nan)), t=new.t + 1)
    also = jnp.arange(8) == 5
    healed = restarted(COUNTER, policy, None, jax.random.key(1), broken, also)
    assert np.isfinite(healed.carry.state).all()
    assert healed.t.tolist() == [0 if i in (2, 5) else 1 for i in range(8)]


def test_priced_costs_have_the_gradient_of_the_lagrangian(lived):
    """dL(J, v) = prices . d(J, v), whatever the Lagrangian."""
    window = jax.tree.map(lambda leaf: leaf[0], lived[1][1][1])
    for lagrangian, multipliers in (
        (js.control.AugmentedLagrangian(penalty=3.0, limit=0.1), jnp.asarray(0.7)),
        (js.control.PIDLagrangian().init(jnp.zeros(())), None),
    ):
        if multipliers is None:
            multipliers = lagrangian._replace(multiplier=jnp.asarray(0.4))
            lagrangian = js.control.PIDLagrangian()
        v = jnp.asarray(0.5)
        got, of_cost = priced(lagrangian, multipliers, window, v)
        slope = [jax.grad(lagrangian.loss, argnums=i)(2.0, v, multipliers) for i in (0, 1)]
        np.testing.assert_allclose(got.costs, slope[0] * window.costs + slope[1] * window.violations, atol=1e-14)
        np.testing.assert_allclose(got.terminal, of_cost * window.terminal)
    assert priced(None, None, window, None)[0] is window
