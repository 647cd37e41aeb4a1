"""Steps chosen from the embedded estimate: they meet the tolerance, follow the solution and give up where there is none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.semidiscrete import Times, relative_difference, states_with_static_steps
from jaxsci.solvers.step_control import states_with_controlled_steps

BURGERS = js.problems.burgers(viscosity=0.05)


def run(problem, rtol, ts=(0.0, 0.4, 1.0), *, n=64, order=4, most=10**6, parts=1):
    times = Times.of(problem, ts)
    return states_with_controlled_steps(
        discretise(problem, n), order, problem, times, jnp.asarray(rtol), jnp.asarray(most), parts
    )


@functools.cache
def truth():
    times = Times.of(BURGERS, (0.0, 0.4, 1.0))
    return states_with_static_steps(discretise(BURGERS, 64), 4, False, 2000, "tape", BURGERS, times)


def test_the_error_follows_the_tolerance():
    exact = truth()
    runs = [run(BURGERS, rtol) for rtol in (1e-4, 1e-6, 1e-8)]
    errors = [float(relative_difference(r.states, exact)) for r in runs]
    assert all(bool(r.succeeded) for r in runs)
    assert all(0.01 * rtol < error < 3 * rtol for rtol, error in zip((1e-4, 1e-6, 1e-8), errors, strict=True))
    steps = [int(r.steps) for r in runs]
    assert steps[1] / steps[0] == pytest.approx(100**0.25, rel=0.3)  # the estimate is of order four
    assert all(int(r.rejected) <= 6 for r in runs)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_lower_orders_are_controlled_too(order):
    loose, tight = (run(BURGERS, rtol, order=order) for rtol in (1e-3, 1e-4))
    exact = truth()
    errors = [float(relative_difference(r.states, exact)) for r in (loose, tight)]
    assert errors[1] < 3e-3
    assert errors[1] < errors[0] / 3
    assert int(tight.steps) > int(loose.steps)


@pytest.mark.slow
def test_saved_times_are_met_whatever_they_are():
    ts = np.array([0.0, 0.013, 0.4, 0.401, 1.0])
    some = run(BURGERS, 1e-7, ts).states
    assert float(relative_difference(some[jnp.asarray([0, 2, 4])], run(BURGERS, 1e-7).states)) < 3e-7
    assert int(run(BURGERS, 1e-2, np.linspace(0, 1, 101)).steps) == 100  # no step is longer than an interval
    assert int(run(BURGERS, 1e-2, np.linspace(0, 1, 101), parts=2.0).steps) == 200


def test_steps_are_short_where_the_solution_is_fast():
    equation = js.Equation(
        lambda u, t, x: u.t - 0.1 * u.xx + u**3 + 80 * js.sin(40 * t) * js.exp(-(((t - 0.5) / 0.1) ** 2)) * u, name="pulse"
    )
    problem = js.Problem(equation, js.Box(t=(0, 1), x=(0, 1)), initial={"u": lambda x: 1 + 0.5 * js.cos(2 * np.pi * x)})
    quiet, loud, whole = (int(run(problem, 1e-5, [0.0, end], n=8).steps) for end in (0.2, 0.8, 1.0))
    assert loud > 5 * max(quiet, whole - loud)


def test_no_solution_ends_soon_and_says_so():
    backwards = js.Problem(
        js.Equation(lambda u: u.t + u.xx + u * u.x, name="backwards"), js.Box(t=(0, 1), x=(0, 1)),
        initial={"u": lambda x: js.sin(2 * np.pi * x)},
    )  # fmt: skip
    failed = run(backwards, 1e-6, most=20_000)
    assert not bool(failed.succeeded)
    assert jnp.isfinite(failed.states[0]).all()
    assert jnp.isnan(failed.states[-1]).all()


def test_too_few_steps_are_a_failure_and_not_a_wrong_answer():
    failed = run(BURGERS, 1e-8, most=20)
    assert not bool(failed.succeeded)
    assert jnp.isnan(failed.states[-1]).all()


def test_a_batch_chooses_for_each_member():
    viscosities = jnp.asarray([0.05, 0.5])

    def steps_of(viscosity):
        found = run(js.problems.burgers(viscosity=viscosity), 1e-6)
        return found.steps, found.states

    steps, states = jax.jit(jax.vmap(steps_of))(viscosities)
    alone = run(BURGERS, 1e-6)
    assert int(steps[0]) == int(alone.steps) > int(steps[1])
    assert float(relative_difference(states[0], alone.states)) < 1e-12


@pytest.mark.slow
def test_single_precision_stops_at_its_own_rounding():
    with jax.enable_x64(False):
        solution = js.solve(js.problems.burgers(viscosity=0.05), js.Spectral(64, rtol=1e-12), ts=[0.0, 1.0])
        assert solution.fields.dtype == jnp.float32
        assert solution.error_estimate < 1e-3
        assert jnp.isfinite(solution.fields).all()
