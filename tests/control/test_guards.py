"""Reports on gradients: exponents and adjoints that are known, and what is not finite found by step, member and leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.control


def linear(factor, horizon=30):
    return c.Task(
        dynamics=lambda p, s, a: factor * s + a,
        cost=lambda p, s, a, s1: s1**2,
        init=lambda p: jnp.asarray(1.0),
        horizon=horizon,
        name="linear",
    )


def proportional(gain, s):
    return -gain * s


def test_exponent_adjoints_and_gradient_of_a_linear_loop():
    report = c.gradient_report(linear(1.0, horizon=6), proportional, 0.5, batch=1)
    np.testing.assert_allclose(report.lyapunov, np.log(0.5), rtol=1e-12)
    s = 0.5 ** np.arange(7)
    adjoint = np.array([sum(2 * s[k] * 0.5 ** (k - t) for k in range(t + 1, 7)) for t in range(6)])
    np.testing.assert_allclose(report.state_norms[0], adjoint, rtol=1e-12)
    # dJ / da_t goes by way of s_{t+1} alone.
    behind = np.array([2 * s[t + 1] + (adjoint[t + 1] if t < 5 else 0.0) for t in range(6)])
    np.testing.assert_allclose(report.action_norms[0], behind, rtol=1e-12)
    np.testing.assert_allclose(report.gradient, jax.grad(c.objective(linear(1.0, horizon=6), proportional))(0.5), rtol=1e-12)
    assert report.problems == ()
    report.check()


def test_a_horizon_too_long_for_its_exponent_is_warned_of():
    report = c.gradient_report(linear(2.0), proportional, 0.0, batch=2)
    with pytest.warns(UserWarning, match="a factor 1e\\+09 over the horizon of 30 steps.*truncate=6"):
        report.check()
    assert c.gradient_report(linear(2.0, horizon=10), proportional, 0.0, batch=2).problems == ()


def test_lorenz_has_its_exponent():
    """0.9056 per unit of time (Sprott 2003, table A.1); over 3,000 steps of 0.01 to a few per cent."""
    field = lambda p, s, a: jnp.stack([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 8 / 3 * s[2]])
    task = c.Task(
        dynamics=c.ode(field, dt=0.01),
        cost=lambda p, s, a, s1: s1[0] ** 2,
        init=lambda p, *, key: jnp.array([1.0, 1.0, 20.0]) + jax.random.normal(key, (3,)),
        horizon=3000,
        name="lorenz",
    )
    report = c.gradient_report(task, lambda p, s: 0.0 * p, 0.0, jax.random.key(0), batch=4)
    np.testing.assert_allclose(report.lyapunov.mean() / 0.01, 0.9056, rtol=0.1)
    assert "pathwise gradients are noise" in report.problems[0]


START = {"x": jnp.array([1.0, 0.5, 1.0]), "count": jnp.zeros(3, int)}


def falling(cost, dynamics=None):
    down = lambda p, s, a: {"x": s["x"] - 0.2 * a, "count": s["count"] + 1}
    return c.Task(
        dynamics=dynamics or down,
        cost=cost,
        init=lambda p: {"x": jnp.asarray(1.0), "count": jnp.asarray(0)},
        horizon=6,
        name="falling",
    )


def test_what_is_not_finite_is_named_by_step_member_and_leaf():
    of_cost = c.gradient_report(falling(lambda p, s, a, s1: jnp.sqrt(s1["x"])), lambda p, s: p, 1.0, batch=3, initial=START)
    assert "falling: the cost is not finite, first at step 2 of member 1 (3 members in all)" in of_cost.problems[0]
    with pytest.raises(FloatingPointError, match="first at step 2 of member 1"):
        of_cost.check()
    roots = falling(
        lambda p, s, a, s1: s1["x"] ** 2, lambda p, s, a: {"x": jnp.sqrt(s["x"] - 0.2 * a), "count": s["count"] + 1}
    )
    of_state = c.gradient_report(roots, lambda p, s: p, 3.0, batch=3, initial=START)
    assert "the state['x'] is not finite, first at step 1 of member 1" in of_state.problems[0]
    kinked = falling(lambda p, s, a, s1: jnp.where(s1["x"] > 0.75, s1["x"], jnp.sqrt(jnp.maximum(s1["x"] - 0.75, 0.0))))
    of_slope = c.gradient_report(kinked, lambda p, s: p, 1.0, batch=3, initial=START | {"x": jnp.array([9.0, 9.0, 1.4])})
    assert (
        "the derivative by the state['x'] is not finite, counted from the end, first at step 5 of member 2"
        in of_slope.problems[0]
    )


def test_gradients_that_grow_without_chaos_are_told():
    """Not by an exponent: one step is steep, 1e10 times what the end is."""
    task = c.Task(
        dynamics=lambda p, s, a, *, t: jnp.where(t == 1, 1e9 * s, 1e-3 * s) + a,
        cost=lambda p, s, a, s1, *, t: jnp.where(t == 1, s1, 1e-3 * s1),
        init=lambda p: jnp.asarray(1.0),
        horizon=6,
    )
    report = c.gradient_report(task, proportional, 0.0, batch=1)
    assert "grows to" in report.problems[0]
    assert "at step 1," in report.problems[0]
