"""`js.Spectral`: its options and their errors, its steps, its error estimates, what it takes and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference, solved

import jaxsci as js

S = js.Spectral
HEAT = js.problems.heat()


# --- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 0, -8, 8.0, "8", (16, 3), (16.0, 16)])
def test_grids_too_small_or_not_whole_are_refused(n):
    with pytest.raises(ValueError, match="n must be whole numbers >= 4, got"):
        S(n)


@pytest.mark.parametrize("dt", [0, 0.0, -1e-3, float("nan"), float("inf")])
def test_steps_that_are_not_positive_are_refused(dt):
    with pytest.raises(ValueError, match="dt must be positive, got"):
        S(16, dt=dt)


@pytest.mark.parametrize("order", [0, 5, 2.5, "4"])
def test_orders_that_do_not_exist_are_refused(order):
    with pytest.raises(ValueError, match="order must be 1, 2, 3 or 4, got"):
        S(16, order=order)


def test_sizes_must_match_the_axes():
    with pytest.raises(ValueError, match="n has 2 entries for the 1 axes x"):
        js.solve(HEAT, S((16, 16)))


def test_methods_are_values():
    assert S(16, dt=0.1) == S(16, dt=0.1) != S(16)
    assert hash(S(16, dt=0.1)) == hash(S(16, dt=0.1))
    with pytest.raises(AttributeError, match="cannot assign"):
        S(16).n = 32


# --- what it cannot solve, and which method can ----------------------------------------------------------------------------


def test_odes_are_sent_to_adaptive():
    with pytest.raises(ValueError, match=r"lorenz has no space to discretise; use js.Adaptive\(\)"):
        js.solve(js.problems.lorenz(), S(16))


def test_steady_nonlinear_problems_are_sent_to_the_learners():
    problem = js.Problem(js.Equation(lambda u: u.xx + u**2, name="bump"), js.Box(x=(0, 1)), boundary={"x": js.Dirichlet(1)})
    with pytest.raises(ValueError, match=r"bump is steady and nonlinear.*js.Neural or js.RandomFeatures"):
        js.solve(problem, S(16))


def final_sum(viscosity, **options):
    return js.solve(js.problems.burgers(viscosity=viscosity), S(16, **options), ts=[0.0, 0.5, 1.0]).fields[-1].sum()


@pytest.mark.slow
def test_chosen_steps_pass_jit_vmap_and_forward_mode():
    plain = [float(final_sum(v, rtol=1e-6)) for v in (0.1, 0.2)]
    batched = jax.jit(jax.vmap(lambda v: final_sum(v, rtol=1e-6)))(jnp.asarray([0.1, 0.2]))
    assert np.allclose(batched, plain, rtol=1e-5, atol=1e-6)
    slope = jax.jit(lambda v: jax.jvp(lambda v: final_sum(v, rtol=1e-8), (v,), (1.0,))[1])(0.1)
    with_steps = jax.jit(jax.grad(lambda v: final_sum(v, dt=0.005)))(0.1)
    assert float(slope) == pytest.approx(float(with_steps), rel=1e-5)


@pytest.mark.slow
def test_chosen_steps_have_no_reverse_mode_and_say_what_has():
    with pytest.raises(TypeError, match=r"Give the step, js.Spectral\(n=..., dt=...\)"):
        jax.grad(final_sum)(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["sqrt"])
def test_gradient_policies_give_one_gradient(gradient):
    expected = jax.jit(jax.grad(lambda v: final_sum(v, dt=0.05, gradient="auto")))(0.1)
    assert float(jax.jit(jax.grad(lambda v: final_sum(v, dt=0.05, gradient=gradient)))(0.1)) == pytest.approx(
        float(expected), rel=1e-12
    )


# --- steps and saved times ---------------------------------------------------------------------------------------------------


def test_a_given_step_is_the_longest_and_is_reported():
    solution = js.solve(HEAT, S(8, dt=0.03, estimate=False))  # intervals of 0.02 are not divided
    assert solution.stats["dt"] == pytest.approx(0.02)
    assert solution.stats["steps"] == 50
    solution = js.solve(HEAT, S(8, dt=0.015, estimate=False))
    assert solution.stats["dt"] == pytest.approx(0.01)
    assert solution.stats["steps"] == 100


def test_saved_times_do_not_decide_the_accuracy():
    problem, method = js.problems.burgers(viscosity=0.05), S(64, dt=0.005, estimate=False, rtol=1.0)
    even = js.solve(problem, method, ts=np.linspace(0, 1, 11))
    sparse = js.solve(problem, method, ts=[0.31, 0.32, 1.0])  # the start is not saved, the intervals differ
    assert sparse.fields.shape == (3, 1, 65)
    assert np.allclose(sparse.fields[-1], even.fields[-1], atol=1e-7)
    exact = jax.jit(jax.vmap(lambda x: problem.exact_field(0.31, x)[0]))(even.grid["x"])
    assert np.allclose(sparse.fields[0, 0], exact, atol=2e-6)


def test_steps_are_chosen_until_the_tolerance_is_met_at_the_end():
    problem, lines = js.problems.burgers(viscosity=0.1), []
    truth = js.solve(problem, S(32, dt=1e-3, estimate=False, rtol=1.0)).fields
    for rtol in (1e-4, 1e-9):
        solution = js.solve(problem, S(32, rtol=rtol), progress=lines.append)
        difference = float(jnp.linalg.norm(solution.fields - truth) / jnp.linalg.norm(truth))
        assert difference < rtol
    assert len(lines) >= 2
    assert all("error in time" in line for line in lines)


def test_linear_problems_take_one_exact_step_per_saved_time():
    solution = solved("heat", S(8))
    assert solution.stats["steps"] == 50
    assert js.relative_l2(solution, reference("heat")) < 1e-14


# --- error estimates ---------------------------------------------------------------------------------------------------------

ESTIMATED = [  # (problem, method, how many times the error at points between saved times and grid points the estimate is)
    ("advection", S(8, rtol=1e-5), 1.7),
    ("advection", S(8), 1.7),
    ("burgers", S(512, rtol=1e-6), 3.8),
    pytest.param("burgers", S(1024, rtol=1e-6), 12.5, marks=pytest.mark.slow),
    ("fisher_kpp", S(16), 2.0),
    pytest.param("fisher_kpp", S(32), 43.0, marks=pytest.mark.slow),
    pytest.param("gray_scott", S(8), 1.1, marks=pytest.mark.slow),
    ("wave", S(8, rtol=1e-5), 1.7),
    ("wave", S(8), 1.7),
]


def random_points(problem, count=400):
    random = np.random.default_rng(7)
    return np.stack([random.uniform(*problem.domain[c], count) for c in problem.coordinates], axis=-1)


@pytest.mark.parametrize(("name", "method", "ratio"), ESTIMATED)
def test_error_estimates_are_honest_and_no_gross_exaggeration(name, method, ratio):
    solution = solved(name, method)
    error = js.relative_l2(solution, reference(name), random_points(solution.problem))
    assert error < solution.error_estimate < 3 * ratio * error


def test_unresolved_fields_are_told_by_the_estimate():
    solution = solved("burgers", S(512, rtol=1e-6))
    assert solution.error_estimate > 1e-3


def test_without_an_estimate_it_says_so():
    solution = js.solve(js.problems.burgers(viscosity=0.1), S(16, dt=0.02, estimate=False))
    assert jnp.isnan(solution.error_estimate)


def test_a_given_step_is_estimated_by_one_of_twice_its_length():
    problem, ts = js.problems.burgers(viscosity=0.1), np.linspace(0, 1, 5)
    solution = js.solve(problem, S(64, order=2, dt=0.025), ts=ts)
    truth = js.solve(problem, S(64, dt=1e-3, estimate=False, rtol=1.0), ts=ts).fields
    error = float(jnp.linalg.norm(solution.fields - truth) / jnp.linalg.norm(truth))
    assert error < solution.error_estimate < 3 * error  # measured 1.7 times the error


# --- failures at run time ------------------------------------------------------------------------------------------------------


def test_a_run_that_blows_up_is_named_with_its_time_and_the_cure():
    problem = js.Problem(
        js.Equation(lambda u: u.t - u.xx - 50 * u**2, name="runaway"),
        js.Box(t=(0, 1), x=(0, 1)),
        initial={"u": lambda x: 1 + js.cos(2 * np.pi * x) / 2},
    )
    solution = js.solve(problem, S(16, dt=0.01, estimate=False), ts=np.linspace(0, 1, 6))
    with pytest.raises(FloatingPointError, match=r"runaway: the solution is not finite from t = 0.2 on. A smaller step"):
        solution.check()


# --- dtypes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_float32_problems_stay_float32():
    with jax.enable_x64(False):
        solution = js.solve(js.problems.burgers(viscosity=0.1), S(16, dt=0.02))
        assert {leaf.dtype for leaf in jax.tree.leaves((solution.fields, solution.ts, solution.grid))} == {
            jnp.dtype("float32")
        }
        assert solution.evaluate(t=0.3, x=0.1).dtype == jnp.float32
        tolerant = js.solve(js.problems.burgers(viscosity=0.1), S(16, rtol=1e-12))  # below float32: stops at its round-off
    double = js.solve(js.problems.burgers(viscosity=0.1), S(16, dt=0.02)).fields
    assert np.allclose(solution.fields, double, atol=2e-5)
    assert np.allclose(tolerant.fields, double, atol=2e-5)
