"""Tasks and rollouts: the sums that they are, ends of both kinds, keys, batches, devices, and what bad input is told."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.control
TASK = c.Task(
    dynamics=lambda p, s, a: s + p["dt"] * a,
    cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2,
    init=lambda p: jnp.asarray(1.0),
    horizon=7,
    parameters={"dt": 0.1},
    terminal=lambda p, s: 3 * s**2,
    constraint=lambda p, s, a: {"speed": -a - 1.0},
    discount=0.9,
)


def proportional(gain, s):
    return -gain * s


def walk(p, s, a, *, key):
    return s + a + 0.1 * jax.random.normal(key)


RANDOM = c.Task(
    dynamics=walk, cost=lambda p, s, a, s1: s1**2, init=lambda p, *, key: jax.random.normal(key), horizon=5, name="walk"
)


def test_a_rollout_is_the_loop_that_it_says():
    run = c.rollout(TASK, proportional, 2.0)
    s, total = 1.0, 0.0
    for t in range(7):
        a = -2.0 * s
        s1 = s + 0.1 * a
        np.testing.assert_allclose([run.states[t], run.actions[t]], [s, a], rtol=1e-15)
        np.testing.assert_allclose(run.constraints["speed"][t], -a - 1.0, rtol=1e-14)
        total += 0.9**t * (s1**2 + 0.1 * a**2)
        s = s1
    np.testing.assert_allclose(run.final, s, rtol=1e-15)
    np.testing.assert_allclose(run.total, total + 0.9**7 * 3 * s**2, rtol=1e-14)
    assert bool(run.truncated)
    assert not bool(run.terminated)


def test_one_that_ends_stays_costs_nothing_and_pays_no_terminal_cost():
    task = TASK.replace(terminated=lambda p, s: s > 2.0, dynamics=lambda p, s, a: s + a, terminal=lambda p, s: 100.0 * s)
    run = c.rollout(task, lambda speed, s: speed, jnp.asarray(0.4))  # 1.4, 1.8, 2.2: ends after the third step
    assert run.alive.tolist() == [True] * 3 + [False] * 4
    np.testing.assert_allclose(run.states, [1.0, 1.4, 1.8, 2.2, 2.2, 2.2, 2.2])
    assert not np.any(run.costs[3:])
    assert bool(run.terminated)
    assert not bool(run.truncated)
    np.testing.assert_allclose(run.total, sum(0.9**t * c for t, c in enumerate(run.costs)), rtol=1e-14)
    slow = c.rollout(task, lambda speed, s: speed, jnp.asarray(0.1))
    assert bool(slow.truncated)
    assert float(slow.total) > 100 * 0.9**7  # the horizon ended this one: it pays


def test_derivatives_are_finite_after_an_end_where_the_dynamics_have_none():
    """sqrt has an infinite slope at 0, where this one ends: a plain `where` around it gives NaN."""
    task = c.Task(
        dynamics=lambda p, s, a: jnp.sqrt(s) * a,
        cost=lambda p, s, a, s1: s1,
        init=lambda p: jnp.asarray(1.0),
        horizon=4,
        terminated=lambda p, s: s <= 0,
    )
    slope = jax.grad(c.objective(task, lambda a, s, *, t: a[t]))(jnp.array([0.5, 0.0, 1.0, 1.0]))
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope[1], np.sqrt(0.5), rtol=1e-14)


def test_members_of_a_batch_are_what_each_is_alone():
    key = jax.random.key(3)
    many = jax.jit(lambda key: c.rollout(RANDOM, proportional, 0.3, key, batch=4))(key)
    alone = jax.jit(lambda key: c.rollout(RANDOM, proportional, 0.3, key))
    for member, own in enumerate(jax.random.split(key, 4)):
        np.testing.assert_array_equal(many.states[member], alone(own).states)
    given = c.rollout(RANDOM, proportional, 0.3, key, batch=4, initial=many.states[:, 0])
    np.testing.assert_array_equal(given.states, many.states)  # the draws of the steps do not depend on who drew the start


def test_no_key_where_nothing_is_random_and_a_clear_word_where_something_is():
    c.rollout(TASK, proportional, 1.0, batch=2)
    with pytest.raises(ValueError, match="walk: init and dynamics draw random numbers: pass a key"):
        c.rollout(RANDOM, proportional, 1.0)
    with pytest.raises(ValueError, match="the policy draws random numbers"):
        c.rollout(TASK, lambda p, s, *, key: jax.random.normal(key), 1.0)


def test_an_action_does_not_reach_back():
    """Changing a_5 leaves s_0 .. s_5 as they are, to the last bit; s_6 moves."""
    actions = jnp.linspace(-1.0, 1.0, 7)
    before = c.rollout(TASK, c.sequence, actions).states
    after = c.rollout(TASK, c.sequence, actions.at[5].add(1.0)).states
    np.testing.assert_array_equal(before[:6], after[:6])
    assert before[6] != after[6]


@pytest.mark.slow
def test_spread_over_devices_without_talking():
    program = """
        import jax, jax.numpy as jnp, numpy as np, jaxsci as js
        c = js.control
        task = c.Task(dynamics=lambda p, s, a, *, key: s + a + jax.random.normal(key), cost=lambda p, s, a, s1: s1**2,
                      init=lambda p: jnp.asarray(1.0), horizon=5)
        mesh = jax.make_mesh((4,), ("members",), axis_types=(jax.sharding.AxisType.Auto,))
        policy = lambda gain, s: -gain * s
        run = lambda mesh: jax.jit(lambda key: c.rollout(task, policy, 0.3, key, batch=8, mesh=mesh))
        here, there = run(None)(jax.random.key(0)), run(mesh)(jax.random.key(0))
        assert len(there.states.sharding.device_set) == 4, there.states.sharding
        np.testing.assert_array_equal(here.states, there.states)
        text = run(mesh).lower(jax.random.key(0)).compile().as_text()
        assert not any(word in text for word in ("all-reduce", "all-gather", "collective-permute", "all-to-all"))
        slope = lambda mesh: jax.jit(jax.grad(c.objective(task, policy, batch=8, mesh=mesh)))(0.3, jax.random.key(0))
        np.testing.assert_allclose(slope(None), slope(mesh), rtol=1e-6)
        print("spread")
    """
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == "spread", done.stderr[-2000:]


def test_single_precision_stays_single():
    with jax.enable_x64(False):
        run = c.rollout(TASK, proportional, jnp.float32(2.0))
        assert {leaf.dtype.name for leaf in jax.tree.leaves((run.states, run.costs, run.total))} == {"float32"}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"horizon": 0}, ValueError, "horizon is a number of steps"),
        ({"horizon": 2.5}, ValueError, "horizon"),
        ({"discount": 1.5}, ValueError, "discount lies between 0 and 1"),
        ({"cost": 3.0}, TypeError, "cost must be a function"),
        ({"observe": 3.0}, TypeError, "observe must be a function"),
    ],
)
def test_bad_tasks_are_refused(changes, error, words):
    with pytest.raises(error, match=words):
        TASK.replace(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dynamics": lambda p, s, a: {"s": s}, "cost": lambda p, s, a, s1: s}, "another structure"),
        ({"dynamics": lambda p, s, a: jnp.stack([s, s])}, r"the state is float64\[\] at the start and float64\[2\] after"),
        ({"init": lambda p: jnp.asarray(1)}, r"int64\[\] at the start and float64"),
        ({"cost": lambda p, s, a, s1: jnp.stack([s, s])}, "the cost of one member is a scalar"),
        ({"constraint": lambda p, s, a: jnp.stack([s, s])}, "the constraint of one member is a scalar"),
    ],
)
def test_functions_that_do_not_fit_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        c.rollout(TASK.replace(**changes), proportional, 1.0)


def test_bad_calls_are_refused():
    with pytest.raises(TypeError, match=r"the task is a jaxsci.control.Task, got dict"):
        c.rollout({}, proportional, 1.0)
    with pytest.raises(TypeError, match=r"made by jax.random.key\(0\), got the number 0"):
        c.rollout(RANDOM, proportional, 1.0, 0)
    with pytest.raises(TypeError, match="the policy is a function"):
        c.rollout(TASK, 3.0, 1.0)
    with pytest.raises(ValueError, match="batch is a whole number"):
        c.rollout(TASK, proportional, 1.0, batch=0)
    with pytest.raises(ValueError, match="its leading axis is the batch, 3"):
        c.rollout(TASK, proportional, 1.0, batch=3, initial=jnp.ones(2))


def test_a_task_is_a_pytree_of_its_numbers():
    leaves = jax.tree.leaves(TASK)
    assert leaves == [0.1, 0.9]
    totals = jax.vmap(lambda dt: c.rollout(TASK.replace(parameters={"dt": dt}), proportional, 2.0).total)(
        jnp.array([0.1, 0.2])
    )
    np.testing.assert_allclose(totals[0], c.rollout(TASK, proportional, 2.0).total)
    assert totals[0] != totals[1]


def test_functions_that_hold_arrays_and_have_no_hash_are_functions_too():
    @dataclasses.dataclass(frozen=True)
    class Table:
        gains: dict

        def __call__(self, params, s, *, t):
            return -self.gains["gain"][t] * s

    run = c.rollout(TASK, Table({"gain": jnp.full(7, 2.0)}), None)
    np.testing.assert_allclose(run.total, c.rollout(TASK, proportional, 2.0).total, rtol=1e-15)
