"""Surrogates of dynamics, and the comparison of the policies found on several models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.control


def drift(p, s, a):
    return {"x": s["x"] + 0.1 * s["v"], "v": s["v"] + 0.1 * (a - p["stiffness"] * jnp.sin(s["x"]))}


TASK = c.Task(
    dynamics=drift,
    cost=lambda p, s, a, s1: (s1["x"] - 1.0) ** 2 + 0.05 * a**2,
    init=lambda p, *, key: {"x": jax.random.uniform(key, minval=-1.0), "v": jnp.asarray(0.0)},
    horizon=15,
    parameters={"stiffness": jnp.asarray(2.0)},
    name="spring",
)
POLICY = c.NetworkPolicy(js.networks.MLP((8,)), low=-4.0, high=4.0)


@pytest.fixture(scope="module")
def params():
    return POLICY.init(jax.random.key(0), TASK)


@pytest.fixture(scope="module")
def fitted(params):
    explorer = c.GaussianPolicy(js.networks.MLP((8,)), low=-4.0, high=4.0, log_std=0.5)
    runs = c.rollout(TASK, explorer, explorer.init(jax.random.key(1), TASK), jax.random.key(2), batch=64)
    surrogate = c.Surrogate(js.networks.MLP((32,)))
    return surrogate, runs, c.fit_surrogate(surrogate, runs, key=jax.random.key(3), iterations=600, unroll=2)


@pytest.mark.slow
def test_a_surrogate_learns_the_step(fitted):
    surrogate, _, fit = fitted
    assert fit.one_step_error < 0.15
    assert fit.history[-50:].mean() < 1e-2 * fit.history[0]
    state = {"x": jnp.asarray(0.3), "v": jnp.asarray(-0.2)}
    after, truth = surrogate(fit.parameters, state, 1.0), drift(TASK.parameters, state, 1.0)
    assert abs(after["v"] - truth["v"]) < 0.04  # a step is 0.2 in size
    untrained = surrogate.init(jax.random.key(9), fitted[1])
    assert abs(surrogate(untrained, state, 1.0)["v"] - truth["v"]) > 2 * abs(after["v"] - truth["v"])


@pytest.mark.slow
def test_steps_after_an_end_are_not_learned(fitted):
    """Members that stand still after their end would teach that nothing moves."""
    surrogate, runs, _ = fitted
    ended = runs._replace(alive=runs.alive.at[:, 5:].set(False))
    wrong = ended._replace(states=jax.tree.map(lambda s: s.at[:, 6:].set(99.0), ended.states))
    fits = [c.fit_surrogate(surrogate, r, key=jax.random.key(3), iterations=5).history for r in (ended, wrong)]
    scale = [surrogate.init(jax.random.key(0), r)["step"] for r in (ended, wrong)]
    np.testing.assert_allclose(*fits, rtol=1e-12)
    np.testing.assert_allclose(scale[0], scale[1], rtol=1e-12)


@pytest.mark.slow
def test_the_comparison_pays_the_surrogates_policy_on_the_solver(fitted, params):
    surrogate, _, fit = fitted
    wrong = lambda p, s, a: drift({"stiffness": -2.0}, s, a)
    report = c.compare(
        TASK,
        {"solver": TASK.dynamics, "surrogate": c.with_surrogate(TASK, surrogate, fit.parameters), "wrong": wrong},
        POLICY,
        params,
        key=jax.random.key(5),
        batch=32,
        iterations=150,
        repeats=2,
    )
    solver, learned, bad = report.rows
    assert solver.regret == 0.0
    assert solver.speed_ratio == 1.0
    assert not np.any(solver.error_growth)
    assert solver.promised_cost == pytest.approx(solver.policy_cost, rel=1e-12)
    assert 0 < learned.error_growth[0] < learned.error_growth[-1] < 0.3
    assert bad.error_growth[-1] > learned.error_growth[-1]
    assert abs(learned.relative_regret) < 0.1
    assert bad.regret > 10 * abs(learned.regret)
    assert bad.promised_cost != pytest.approx(bad.policy_cost, rel=0.03)
    table = report.table()
    assert table.splitlines()[0].startswith("model")
    assert "Costs are those on solver." in table
    test_key = jax.random.split(jax.random.key(5))[1]
    for row in report.rows:
        again = c.rollout(TASK, POLICY, report.params[row.name], test_key, batch=32).total.mean()
        assert row.policy_cost == pytest.approx(float(again), rel=1e-9)


def test_bad_arguments_are_refused(fitted, params):
    surrogate, runs, _ = fitted
    with pytest.raises(ValueError, match="give two models or more"):
        c.compare(TASK, {"solver": TASK.dynamics}, POLICY, params, key=jax.random.key(0))
    with pytest.raises(TypeError, match="neither dynamics"):
        c.compare(TASK, {"solver": TASK.dynamics, "other": 3.0}, POLICY, params, key=jax.random.key(0))
    with pytest.raises(ValueError, match="has horizon 3, the task 15"):
        c.compare(TASK, {"solver": TASK.dynamics, "other": TASK.replace(horizon=3)}, POLICY, params, key=jax.random.key(0))
    with pytest.raises(ValueError, match="rollouts with a batch"):
        c.fit_surrogate(surrogate, jax.tree.map(lambda leaf: leaf[0], runs), key=jax.random.key(0))
    with pytest.raises(ValueError, match="unroll is between 1 and the horizon, 15"):
        c.fit_surrogate(surrogate, runs, key=jax.random.key(0), unroll=16)
    whole = runs._replace(states=runs.states | {"x": jnp.zeros((64, 15), int)})
    with pytest.raises(ValueError, match=r"leaf \['x'\] is int"):
        c.fit_surrogate(surrogate, whole, key=jax.random.key(0))
