"""Transitions: what follows what, the two kinds of ends, and records that must not be believed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.datasets import Transitions, cost_to_go, minibatch, records, split_by_episode, transitions


@pytest.fixture(scope="module")
def walk():
    """A walk that ends at 3; what is observed is ten times the state. The third member never gets there."""
    task = js.control.Task(
        dynamics=lambda p, s, a: s + a,
        cost=lambda p, s, a, s1: s1**2,
        init=lambda p: jnp.asarray(0.0),
        observe=lambda p, s: {"x": 10 * s},
        constraint=lambda p, s, a: {"low": 1.0 - s},
        terminated=lambda p, s: s >= 3,
        horizon=4,
    )
    start = jnp.array([0.0, 2.0, -9.0])
    return task, js.control.rollout(task, lambda p, o: jnp.ones(()), batch=3, initial=start)


def test_rows_of_a_rollout(walk):
    task, run = walk
    data = transitions(task, run)
    assert data.episode.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]
    np.testing.assert_array_equal(data.observation["x"], [0, 10, 20, 20, -90, -80, -70, -60])
    # The last row of an episode that ended shows the state that it ended in, not the start that a rollout puts there.
    np.testing.assert_array_equal(data.next_observation["x"], [10, 20, 30, 30, -80, -70, -60, -50])
    assert data.terminated.tolist() == [False, False, True, True, False, False, False, False]
    assert data.truncated.tolist() == [False] * 7 + [True]
    np.testing.assert_array_equal(data.cost, [1, 4, 9, 9, 64, 49, 36, 25])
    np.testing.assert_array_equal(data.constraint["low"], [1, 0, 0, 0, 10, 9, 8, 7])  # >= 0: one sign


def test_one_member_without_a_batch(walk):
    task, _ = walk
    data = transitions(task, js.control.rollout(task, lambda p, o: jnp.ones(())))
    assert data.terminated.tolist() == [False, False, True]
    assert data.episode.tolist() == [0, 0, 0]


def test_records_never_join_patients():
    o = np.arange(12.0).reshape(6, 2)
    who = np.array([7, 7, 7, 3, 3, 5])
    ended = np.array([False, False, True, False, False, True])
    data = records(o, np.arange(6), -np.arange(6), who, ended=ended, constraint={"spo2": np.ones(6)})
    # Patient 3's last row has no next observation and is left out; the row before is where the record stops.
    assert data.episode.tolist() == [0, 0, 0, 1, 2]
    np.testing.assert_array_equal(data.next_observation, o[[1, 2, 2, 4, 5]])
    assert data.terminated.tolist() == [False, False, True, False, True]
    assert data.truncated.tolist() == [False, False, False, True, False]
    assert data.action.dtype == jnp.int64
    assert jnp.issubdtype(data.cost.dtype, jnp.floating)
    same_episode = who[[0, 1, 2, 3, 5]]
    following = (np.asarray(data.next_observation)[:, 0] / 2).astype(int)
    np.testing.assert_array_equal(who[following], same_episode)

    given = records(o, np.arange(6), np.ones(6), who, ended=ended, next_observation=o + 0.5)
    assert given.truncated.tolist() == [False, False, False, False, True, False]
    np.testing.assert_array_equal(given.next_observation, o + 0.5)


def test_sums_of_costs_stay_within_an_episode():
    data = records(np.zeros(5), np.zeros(5), [1.0, 2, 3, 4, 5], [0, 0, 1, 1, 1], ended=[False, True, False, False, True])
    np.testing.assert_allclose(cost_to_go(data, 0.5), [2, 2, 3 + 2 + 1.25, 6.5, 5])


def test_parts_share_no_patient():
    who = np.repeat(np.arange(10), 3)
    data = records(np.arange(30.0), np.zeros(30), np.zeros(30), who, ended=np.arange(30) % 3 == 2)
    parts = split_by_episode(data, (0.6, 0.2, 0.2), jax.random.key(0))
    assert [len(np.unique(part.episode)) for part in parts] == [6, 2, 2]
    assert sorted(np.concatenate([part.observation for part in parts])) == list(range(30))
    others = split_by_episode(data, (0.6, 0.2, 0.2), jax.random.key(1))
    assert set(np.unique(others[0].episode)) != set(np.unique(parts[0].episode))
    for part in parts:
        assert np.all(np.diff(part.observation)[np.diff(part.episode) == 0] == 1), "rows of an episode stay in order"
    with pytest.raises(ValueError, match="positive with sum 1"):
        split_by_episode(data, (0.6, 0.6), jax.random.key(0))
    with pytest.raises(ValueError, match="do not fill parts"):
        split_by_episode(data, (0.99, 0.01), jax.random.key(0))


def test_minibatches_keep_rows_together():
    data = records(np.arange(9.0), np.arange(9), np.arange(9.0), np.zeros(9), ended=np.arange(9) == 8)
    drawn = minibatch(data, jax.random.key(0), 100)
    assert isinstance(drawn, Transitions)
    np.testing.assert_array_equal(drawn.observation, drawn.cost)
    assert set(np.asarray(drawn.action)) == set(range(9))


def test_single_precision_stays():
    zero = np.zeros(3, np.float32)
    data = records(zero, zero, zero, [0, 0, 0], ended=[False, False, True])
    assert data.observation.dtype == data.cost.dtype == data.action.dtype == jnp.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": [0.0, np.nan, 0.0, 0.0]}, "observation has 1 rows that are not finite, the first in row 1"),
        ({"cost": [0.0, 0.0, np.inf, 0.0]}, "cost has 1 rows that are not finite"),
        ({"action": np.zeros(3)}, r"action has shape \(3,\), but there are 4 rows"),
        ({"action": np.array(["a", "b", "c", "d"])}, "must have numbers"),
        ({"episode": [0, 1, 0, 1]}, "rows of episode .*0.* are not consecutive"),
        ({"ended": [True, False, False, True]}, "has ended in row 0 and goes on"),
        ({"ended": [0, 1, 0, 1]}, "ended is an array of bool"),
        ({"constraint": [0.0, -1.0, 0.0, 0.0]}, "has negative costs, least -1.0"),
        ({"episode": [0, 1, 2, 3], "ended": np.zeros(4, bool)}, "no transition in these rows"),
    ],
)
def test_records_that_are_refused(change, message):
    good = {"observation": np.zeros(4), "action": np.zeros(4), "cost": np.zeros(4), "episode": [0, 0, 1, 1]}
    good |= {"ended": [False, True, False, True], "constraint": np.zeros(4)}
    records(**good)
    with pytest.raises(ValueError, match=message):
        records(**(good | change))
