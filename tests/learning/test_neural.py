"""Neural: a real error on an easy problem, repeatable by its key, and messages for what cannot work."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference, solved

import jaxsci as js
from jaxsci.learning import FirstOrder, LevenbergMarquardt

MLP = js.networks.MLP
HEAT = js.Neural(MLP((8, 8)), optimiser=LevenbergMarquardt(steps=40), budget=None)
QUICK = js.Neural(
    MLP((6,)), optimiser=(FirstOrder(steps=20, points=50), LevenbergMarquardt(steps=30)), budget=None, estimate=False
)
LOGISTIC = js.Equation(lambda u, rate: u.t - rate * u * (1 - u), name="logistic")


def logistic(rate=1.0):
    return js.Problem(LOGISTIC, js.Box(t=(0, 2)), coefficients={"rate": rate}, initial={"u": 0.1})


def logistic_error(solution, rate=1.0):
    t = np.linspace(0, 2, 51)
    return np.abs(np.asarray(solution.evaluate(t=t)) - 1 / (1 + 9 * np.exp(-rate * t))).max()


@functools.cache
def quick(seed=None):
    return js.solve(logistic(), QUICK, key=None if seed is None else jax.random.key(seed))


@pytest.mark.slow
def test_a_small_network_learns_the_heat_equation():
    solution = solved("heat", HEAT)
    error = js.relative_l2(solution, reference("heat"))
    assert error < 5e-4  # measured 4.6e-5, in seconds
    assert error < float(solution.error_estimate) < 300 * error
    assert solution.stats["parameters"] == (2 * 8 + 8) + (8 * 8 + 8) + (8 + 1)
    assert solution.stats["steps"] == 40
    assert solution.stats["stopped"] == "steps"
    assert solution.cost.training_seconds > 0 == solution.cost.solve_seconds


@pytest.mark.slow
def test_the_solution_holds_its_conditions_and_is_evaluated_anywhere():
    solution = solved("heat", HEAT)
    x = np.linspace(0, 1, 51)
    np.testing.assert_allclose(solution.evaluate(t=0.0, x=x), np.sin(np.pi * x), atol=1e-15)
    np.testing.assert_allclose(solution.evaluate(t=x, x=1.0), 0.0, atol=1e-15)
    np.testing.assert_allclose(
        solution.evaluate(t=solution.ts[3], x=solution.grid["x"]), solution["u"][3], rtol=1e-13, atol=1e-15
    )
    assert solution.fields.shape == (51, 1, 65)
    # between the saved points it is the network, not an interpolation
    residual = js.residual(js.problems.heat())(
        solution.field, None, {"t": jnp.full(7, 0.413), "x": jnp.linspace(0.03, 0.97, 7)}
    )
    assert float(jnp.abs(residual).max()) < 20 * solution.stats["residual"]


@pytest.mark.slow
def test_an_ode_is_learned_by_one_optimiser_after_another():
    assert logistic_error(quick()) < 1e-5
    assert quick().stats["steps"] == 50
    assert quick().fields.shape == (51, 1)
    assert quick().grid == {}


@pytest.mark.slow
def test_the_key_repeats_the_fit_and_another_key_is_another_fit():
    assert (quick(0).fields == quick().fields).all(), "key 0 is the default"
    assert not (quick(1).fields == quick(0).fields).all()
    again = js.solve(logistic(), QUICK, key=jax.random.key(1))
    assert (again.fields == quick(1).fields).all()
    assert again.stats == quick(1).stats


def test_coefficients_are_those_of_the_problem():
    solution = js.solve(logistic(2.0), QUICK)
    assert logistic_error(solution, 2.0) < 1e-4
    assert logistic_error(solution, 1.0) > 0.1


def test_saved_times_and_grid_are_as_asked():
    solution = js.solve(logistic(), QUICK, ts=[0.0, 0.5, 2.0])
    np.testing.assert_allclose(solution.ts, [0, 0.5, 2.0])
    np.testing.assert_allclose(solution.fields[:, 0], quick().evaluate(t=[0.0, 0.5, 2.0]), rtol=1e-13)


def test_a_spent_budget_gives_the_untrained_network_and_says_so():
    solution = js.solve(logistic(), dataclasses.replace(QUICK, budget=1e-9))
    assert solution.stats["stopped"] == "budget"
    assert solution.stats["steps"] == 0
    assert logistic_error(solution) > 0.1
    assert float(solution.error_estimate) > 0.1, "and the estimate knows"


def test_progress_is_told_by_the_optimisers():
    lines = []
    js.solve(logistic(), QUICK, progress=lines.append)
    assert len(lines) == 2
    assert lines[0].startswith("FirstOrder step 20: residual ")


@pytest.mark.slow
def test_a_system_is_learned_with_one_output_per_unknown():
    rotation = js.Equation(lambda u, v: (u.t - v, v.t + u), "u v", name="rotation")
    problem = js.Problem(rotation, js.Box(t=(0, 2)), initial={"u": 0.0, "v": 1.0})
    solution = js.solve(problem, js.Neural(MLP((8,)), optimiser=LevenbergMarquardt(steps=40), budget=None, estimate=False))
    t = np.linspace(0, 2, 51)
    np.testing.assert_allclose(solution.fields, np.stack([np.sin(t), np.cos(t)], axis=-1), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimiser": "adam"}, TypeError, r"Neural: optimiser must be js\.learning\.FirstOrder\(\.\.\.\).*got 'adam'"),
        ({"optimiser": ()}, TypeError, r"optimiser must be .* a tuple of such, got \(\)"),
        ({"optimiser": [FirstOrder()]}, TypeError, r"or a tuple of such, got \[FirstOrder"),
        ({"network": "mlp"}, TypeError, r"Neural: network must have init and apply, as js\.networks\.MLP\(\(20, 20\)\) has"),
        ({"network": (16, 16)}, TypeError, "network must have init and apply"),
        ({"budget": 0}, ValueError, "budget must be a positive number of seconds, a text .* or None, got 0"),
        ({"budget": float("nan")}, ValueError, "budget must be a positive number of seconds, a text .* or None, got nan"),
        ({"grid": 0}, ValueError, "grid must be a positive whole number, got 0"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        js.Neural(**options)


@pytest.mark.slow
def test_float32_works_and_says_what_to_do():
    with jax.enable_x64(False):
        with pytest.warns(UserWarning, match=r"Neural works in float32.*jax\.config\.update\('jax_enable_x64', True\)"):
            solution = js.solve(logistic(), dataclasses.replace(QUICK, optimiser=QUICK.optimiser[1]))
        assert solution.fields.dtype == jnp.float32
        error = logistic_error(solution)
    assert error < 1e-2


@pytest.mark.parametrize("transform", [jax.jit, jax.grad, jax.vmap])
def test_tracing_through_the_fit_is_refused_with_the_way_out(transform):
    def final(rate):
        return js.solve(logistic(rate), QUICK).fields[-1, 0]

    message = r"Neural fits on the host and cannot run under jit, grad or vmap; use js\.Spectral or js\.Adaptive there"
    with pytest.raises(TypeError, match=message):
        transform(final)(jnp.ones(2) if transform is jax.vmap else 1.5)


@pytest.mark.slow
def test_burgers_at_its_usual_viscosity_to_1e_4():
    method = js.Neural(MLP((12,) * 5), budget=165, estimate=False)
    assert js.relative_l2(js.solve(js.problems.burgers(), method), reference("burgers")) < 1e-4


def test_a_scheme_that_is_a_part_of_one_is_told_where_it_goes():
    with pytest.raises(TypeError, match=r"as js.learning.Scheme\(weighting="):
        js.Neural(scheme=js.learning.Causal())
