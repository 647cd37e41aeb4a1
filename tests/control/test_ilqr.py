"""Plans by second-order sweeps: exact on linear-quadratic tasks, derivatives of the optimum, bounds, statuses, feedback."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxsci.control.ilqr import CONVERGED, MAX_STEPS, NOT_FINITE, SADDLE, ilqr, track
from jaxsci.control.policies import sequence
from jaxsci.control.receding_horizon import RecedingHorizon
from jaxsci.control.riccati import nearest_semidefinite
from jaxsci.control.rollout import rollout
from jaxsci.control.task import Task

STEPS = 20


def swing(p, s, a):
    speed = s[1] + 0.05 * (p["gravity"] * 1.5 * jnp.sin(s[0]) + 3 * a)
    return jnp.stack([s[0] + 0.05 * speed, speed])


PENDULUM = Task(
    dynamics=swing,
    cost=lambda p, s, a, s1: p["angle"] * (1 - jnp.cos(s[0])) + 0.1 * s1[1] ** 2 + 0.01 * a**2,
    terminal=lambda p, s: 20 * (1 - jnp.cos(s[0])) + s[1] ** 2,
    init=lambda p: jnp.array([2.0, 0.3]),
    horizon=STEPS,
    parameters={"gravity": 10.0, "angle": 2.0},
    discount=0.99,
)
GUESS = jnp.zeros(STEPS)
START = {"state": jnp.array([2.0, 0.3]), "parameters": {"gravity": 10.0, "angle": 2.0}, "discount": 0.99, "bound": 4.0}
FLAT, BACK = ravel_pytree(START)


def planned(flat, bounded, curvature):
    d = BACK(flat)
    bounds = {"low": -d["bound"], "high": d["bound"]} if bounded else {}
    task = PENDULUM.replace(discount=d["discount"])
    return ilqr(task, GUESS, d["state"], parameters=d["parameters"], curvature=curvature, tol=1e-13, **bounds)


def results_of(plan):
    return {"actions": plan.actions, "states": plan.states, "gains": plan.gains, "cost": plan.cost}


def differences(f, h=1e-4):
    """Central differences with Richardson's extrapolation, all points in one batch."""
    steps = jnp.concatenate([c * h * jnp.eye(FLAT.size) for c in (1, -1, 0.5, -0.5)])
    up, down, half_up, half_down = jnp.split(jax.jit(jax.vmap(f))(FLAT + steps), 4)
    return ((4 * (half_up - half_down) / h - (up - down) / (2 * h)) / 3).T


@pytest.mark.parametrize(
    ("bounded", "curvature"), [(True, "gauss_newton"), pytest.param(False, "newton", marks=pytest.mark.slow)]
)
def test_derivatives_of_a_plan_are_those_of_the_optimum(bounded, curvature):
    """In start, dynamics, cost, discount and bounds; Gauss-Newton's sweeps have no part in them."""
    f = lambda v: ravel_pytree(results_of(planned(v, bounded, curvature)))[0]

    def forward(v):
        plan = planned(v, bounded, curvature)
        return ravel_pytree(results_of(plan))[0], (plan.actions, plan.status)

    slope, (actions, status) = jax.jit(jax.jacfwd(forward, has_aux=True))(FLAT)
    assert int(status) == CONVERGED
    held = np.abs(actions) == 4.0
    assert held.any() == bounded
    assert not held.all()
    exact = differences(f)
    np.testing.assert_allclose(slope, exact, atol=2e-6 * np.abs(exact).max())
    names = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(START)
        for _ in range(leaf_size(leaf))
    ]
    moved = np.abs(slope).max(axis=0)
    assert (moved[["bound" not in name or bounded for name in names]] > 1e-2).all()


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [False, True])
def test_the_rule_is_transposed(bounded):
    f = lambda v: ravel_pytree(results_of(planned(v, bounded, "newton")))[0]
    slope = jax.jit(jax.jacfwd(f))(FLAT)
    weights = jnp.sin(jnp.arange(len(slope)))
    np.testing.assert_allclose(jax.jit(jax.grad(lambda v: weights @ f(v)))(FLAT), weights @ slope, rtol=1e-7, atol=1e-7)


def leaf_size(leaf):
    return int(np.size(leaf))


@pytest.mark.slow
def test_second_derivatives():
    g = lambda v: jnp.sum(jnp.sin(3 * jnp.arange(STEPS)) * planned(v, False, "newton").actions)
    hessian = jax.jit(jax.jacfwd(jax.grad(g)))(FLAT)
    exact = differences(jax.grad(g))
    np.testing.assert_allclose(hessian, exact, atol=1e-5 * np.abs(exact).max())


@functools.cache
def linear():
    """A random time-varying task with cross terms, states and actions as pytrees, and its dense solution."""
    keys = jax.random.split(jax.random.key(0), 5)
    steps, n, m = 12, 3, 2
    a = jnp.eye(n) + 0.2 * jax.random.normal(keys[0], (steps, n, n))
    b = jax.random.normal(keys[1], (steps, n, m))
    root = jax.random.normal(keys[2], (steps, n + m, n + m))
    w = root @ root.mT + 0.1 * jnp.eye(n + m)
    q = jax.random.normal(keys[3], (steps, n + m))
    x0 = jax.random.normal(keys[4], (n,))
    flat = lambda s, u: jnp.concatenate([s["x"], s["y"][None], u["left"][None], u["right"][None]])

    def dynamics(p, s, u, *, t):
        z = flat(s, u)
        x = p["a"][t] @ z[:n] + p["b"][t] @ z[n:]
        return {"x": x[:2], "y": x[2]}

    def cost(p, s, u, s1, *, t):
        z = flat(s, u)
        return z @ p["w"][t] @ z / 2 + p["q"][t] @ z

    task = Task(
        dynamics=dynamics,
        cost=cost,
        terminal=lambda p, s: jnp.sum(s["x"] ** 2) + 3 * s["y"] ** 2,
        init=lambda p: {"x": x0[:2], "y": x0[2]},
        horizon=steps,
        parameters={"a": a, "b": b, "w": w, "q": q},
        discount=0.9,
    )
    return task, {"left": jnp.ones(steps), "right": jnp.zeros(steps)}


@pytest.mark.slow
def test_linear_quadratic_tasks_take_one_step():
    task, guess = linear()
    plan = jax.jit(lambda: ilqr(task, guess))()
    assert (int(plan.status), int(plan.steps)) == (CONVERGED, 1)
    # The same minimum without any recursion: the cost is a quadratic function of all actions.
    actions, back = ravel_pytree(guess)
    total = jax.jit(lambda v, s: rollout(task, lambda p, s, *, t: jax.tree.map(lambda x: x[t], p), back(v), initial=s).total)
    state, to_state = ravel_pytree(task.first_state())
    slope, curvature = jax.grad(total), jax.hessian(total)
    h, g = jax.jit(lambda: (curvature(actions, to_state(state)), slope(actions, to_state(state))))()
    best = actions - jnp.linalg.solve(h, g)
    np.testing.assert_allclose(ravel_pytree(plan.actions)[0], best, atol=1e-11)
    np.testing.assert_allclose(plan.cost, total(best, to_state(state)), rtol=1e-13)
    mixed = jax.jit(jax.jacfwd(lambda s: slope(best, to_state(s))))(state)
    first = -jnp.linalg.solve(h, mixed).reshape(2, task.horizon, 3)[:, 0]
    np.testing.assert_allclose(plan.gains[0], first, atol=1e-11)
    assert plan.states["x"].shape == (13, 2)


@pytest.mark.slow
def test_bounds_hold_and_the_rest_is_stationary():
    """Two actions, each with its own bounds, against a projected gradient on the quadratic function of all actions."""
    task, guess = linear()
    low, high = {"left": -0.3, "right": -0.5}, {"left": 0.1, "right": 0.2}
    plan = jax.jit(lambda: ilqr(task, guess, low=low, high=high))()
    assert int(plan.status) == CONVERGED
    actions, back = ravel_pytree(plan.actions)
    down, up = (ravel_pytree(jax.tree.map(lambda b, g: jnp.full_like(g, b), bound, guess))[0] for bound in (low, high))
    slope = jax.jit(jax.grad(lambda v: rollout(task, sequence, back(v)).total))(actions)
    on_low, on_high = np.asarray(actions == down), np.asarray(actions == up)
    assert on_low.any()
    assert on_high.any()
    assert not (on_low | on_high).all()
    assert (slope[on_low] > 0).all()
    assert (slope[on_high] < 0).all()
    np.testing.assert_allclose(slope[~(on_low | on_high)], 0, atol=1e-7)
    held = (on_low | on_high).reshape(2, task.horizon).T  # [horizon, actions]
    np.testing.assert_array_equal(np.asarray(plan.gains)[held], 0)
    assert (np.abs(np.asarray(plan.gains)[~held]).max(axis=1) > 1e-6).all()


@pytest.mark.slow
def test_statuses_of_one_batch():
    """At the top of a hill no direction goes down to first order: stationary, and no minimum. Nobody disturbs another."""
    hill = Task(
        dynamics=lambda p, s, a: s + a, cost=lambda p, s, a, s1: jnp.cos(s1) + 0.1 * a**2,
        init=lambda p: jnp.asarray(0.0), horizon=2,
    )  # fmt: skip
    plans = jax.jit(jax.vmap(lambda s: ilqr(hill, jnp.zeros(2), s)))(jnp.array([0.0, jnp.nan, 1.0]))
    assert plans.status.tolist() == [SADDLE, NOT_FINITE, CONVERGED]
    assert np.isfinite(plans.cost[::2]).all()


@pytest.mark.slow
def test_an_early_end_is_reported():
    assert int(jax.jit(lambda: ilqr(PENDULUM, GUESS, max_steps=1).status)()) == MAX_STEPS


@pytest.mark.slow
def test_single_precision():
    f32 = lambda x: jnp.asarray(x, jnp.float32)
    plan = jax.jit(lambda s: ilqr(PENDULUM, f32(GUESS), s))(f32([2.0, 0.3]))
    assert plan.actions.dtype == plan.states.dtype == plan.gains.dtype == jnp.float32
    assert int(plan.status) == CONVERGED
    double = planned(FLAT, False, "newton")
    np.testing.assert_allclose(plan.actions, double.actions, atol=2e-4 * np.abs(double.actions).max())


def test_the_projection_is_joint():
    """With a cross term, blocks that are semidefinite each make no semidefinite matrix."""
    matrix = jnp.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    fine = jnp.diag(jnp.array([0.0, 1.0, 2.0]))
    nearest = jax.jit(jax.vmap(nearest_semidefinite))(jnp.stack([matrix, fine]))
    np.testing.assert_allclose(nearest[0], [[1.5, 1.5, 0], [1.5, 1.5, 0], [0, 0, 3]], atol=1e-14)
    np.testing.assert_array_equal(nearest[1], fine)


@pytest.mark.slow
def test_warm_starts_find_what_cold_ones_find():
    control = RecedingHorizon(PENDULUM.replace(horizon=12), jnp.zeros(12), functools.partial(ilqr, low=-8.0, high=8.0))
    true = PENDULUM.replace(parameters={"gravity": 12.0, "angle": 2.0}, horizon=8)
    run, cold = jax.jit(lambda: (control.run(true), rollout(true, control)))()
    np.testing.assert_allclose(run.actions, cold.actions, atol=1e-6)
    assert np.abs(run.actions).max() <= 8.0


@pytest.fixture(scope="module")
def plan():
    return jax.jit(lambda: ilqr(PENDULUM, GUESS))()


@pytest.mark.slow
def test_feedback_is_the_plan_of_a_neighbour_to_first_order(plan):
    """Costs exceed the neighbour's optimum by the fourth power of the distance; without feedback by the second."""
    run = jax.jit(jax.vmap(lambda s: rollout(PENDULUM, track, plan, initial=s).total - ilqr(PENDULUM, plan.actions, s).cost))
    excess = run(jnp.array([[2.02, 0.3], [2.04, 0.3]]))
    assert 0 < excess[0] < 1e-5
    assert 3.5 < np.log2(excess[1] / excess[0]) < 4.5


def test_receding_horizon(plan):
    """The first action is the plan's; the plans after it look one step further."""
    run = jax.jit(lambda: RecedingHorizon(PENDULUM, GUESS).run(PENDULUM.replace(horizon=2)))()
    np.testing.assert_allclose(run.actions[0], plan.actions[0], atol=1e-6)
    assert abs(float(run.actions[1] - plan.actions[1])) > 1e-4
    model = PENDULUM
    with pytest.raises(ValueError, match="a planner that draws needs keys"):
        RecedingHorizon(model, GUESS, lambda m, a, s, *, key: plan)(None, jnp.zeros(2))
    with pytest.raises(TypeError, match="the planner is a function"):
        RecedingHorizon(model, GUESS, "ilqr")


def test_bad_calls_are_refused_by_name():
    with pytest.raises(ValueError, match=r"horizon, 20, as leading axis; got shapes \[\(3,\)\]"):
        ilqr(PENDULUM, jnp.zeros(3))
    with pytest.raises(TypeError, match="one floating-point type, got float32, float64"):
        ilqr(PENDULUM, jnp.zeros(STEPS, jnp.float32))
    with pytest.raises(ValueError, match="give both bounds"):
        ilqr(PENDULUM, GUESS, low=-1.0)
    with pytest.raises(ValueError, match="low must be below high"):
        ilqr(PENDULUM, GUESS, low=1.0, high=-1.0)
    with pytest.raises(ValueError, match="curvature 'newtn' does not exist"):
        ilqr(PENDULUM, GUESS, curvature="newtn")
    with pytest.raises(ValueError, match="has terminated; an end that depends on the state"):
        ilqr(PENDULUM.replace(terminated=lambda p, s: s[0] > 9), GUESS)
    with pytest.raises(ValueError, match="is random; plan with its mean"):
        ilqr(PENDULUM.replace(dynamics=lambda p, s, a, *, key: s), GUESS)
