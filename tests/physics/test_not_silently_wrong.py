"""What once gave a plausible and wrong answer: each is right now, or refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import reference

import jaxsci as js
from jaxsci.learning import HardConditions
from jaxsci.solvers.discretise import discretise

heat = js.Equation(lambda u, k: u.t - k * u.xx)


def heated(initial, boundary, **coefficients) -> js.Problem:
    box = js.Box(t=(0, 1), x=(0, 1))
    return js.Problem(heat, box, coefficients={"k": 1.0} | coefficients, initial={"u": initial}, boundary={"x": boundary})


@pytest.mark.parametrize("boundary", [js.Neumann(0), js.Periodic()], ids=["neumann", "periodic"])
def test_a_start_that_breaks_the_conditions_is_not_kept_for_all_times(boundary):
    # u = x solves u_t = u_xx, so that no residual would ever tell that it is not periodic and has a slope at the walls.
    with pytest.raises(ValueError, match=r"start of u must .* x, .*(jumps|slope) by 1.*js\.Spectral"):
        HardConditions(heated(lambda x: x, boundary))


def test_a_method_with_one_step_per_saved_time_estimates_its_error():
    problem = js.problems.burgers()
    solution = js.solve(problem, js.Spectral(n=128, order=1, dt=0.02), ts=np.linspace(0, 0.2, 11))
    assert solution.stats["steps"] == 10
    exact = reference("burgers").evaluate(t=solution.ts[:, None], x=solution.grid["x"])
    error = float(jnp.linalg.norm(solution["u"] - exact) / jnp.linalg.norm(exact))
    assert error / 2 < float(solution.error_estimate) < 4 * error


def test_a_solution_is_not_extrapolated_in_time():
    solution = js.solve(js.problems.heat(), js.Spectral(n=16), ts=[0.0, 0.05, 0.1])
    with pytest.raises(ValueError, match=r"coordinate t must lie in \[0, 0.1\], got \[1, 1\]"):
        solution.evaluate(t=1.0, x=0.5)
    with pytest.raises(ValueError, match=r"coordinate t must lie in"):
        js.relative_l2(solution, reference("heat"))


def test_a_small_term_that_breaks_the_mirror_is_seen():
    equation = js.Equation(lambda u, x: u.t - u.xx - 1e-5 * js.exp(x))
    problem = js.Problem(equation, js.Box(t=(0, 1), x=(0, 1)), initial={"u": 0.0}, boundary={"x": js.Dirichlet(0)})
    assert type(discretise(problem, 16)).__name__ == "CollocationLines"
    u = js.solve(problem, js.Spectral(n=16)).evaluate(t=1.0, x=0.5)
    # the steady state of u_xx = -c exp(x), u(0) = u(1) = 0; the slowest mode has decayed to exp(-pi^2) of itself
    assert float(u) == pytest.approx(1e-5 * (1 + (np.e - 1) * 0.5 - np.exp(0.5)), rel=1e-3)


def test_a_start_that_is_not_zero_at_the_wall_does_not_stay_there():
    solution = js.solve(heated(1.0, js.Dirichlet(0)), js.Spectral(n=64))
    x = jnp.array([0.0, 0.5, 1.0])
    exact = 4 / np.pi * np.exp(-(np.pi**2)) * np.sin(np.pi * x)  # the first mode, the others are gone at t = 1
    assert jnp.abs(solution.evaluate(t=1.0, x=x) - exact).max() < 1e-7  # 4/pi is met as 1/n^2 where the start jumps


@pytest.mark.slow
def test_a_time_derivative_inside_a_product_is_found():
    equation = js.Equation(lambda u: u.t - 0.1 * u.xx + u * (u * u).t)  # (1 + 2 u^2) u_t = 0.1 u_xx
    problem = js.Problem(equation, js.Box(t=(0, 1), x=(0, 1)), initial={"u": lambda x: js.sin(2 * np.pi * x)})
    solution = js.solve(problem, js.Spectral(n=48))
    points = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (20, 2)))
    assert jnp.abs(js.residual(problem)(solution.field, None, points)).max() < 1e-5
    assert 0.03 < jnp.abs(solution["u"][-1]).max() < 0.05  # without the factor 0.02


def test_the_reference_of_another_problem_is_refused():
    other = js.problems.heat(diffusivity=0.2).reference()
    solution = js.solve(js.problems.heat(diffusivity=0.1), js.Spectral(n=16))
    with pytest.raises(ValueError, match=r"different problems, .*diffusivity=0\.1.*diffusivity=0\.2"):
        js.relative_l2(solution, other)
    with pytest.raises(ValueError, match="compare: the two solve different problems"):
        js.compare(js.problems.heat(), {}, reference=other)


def test_an_identity_does_not_depend_on_the_precision():
    def identity():
        return heated(lambda x: jnp.where(x < 0.5, x, 1 - x) / 3, js.Dirichlet(0)).identity

    with jax.enable_x64(False):
        in_float32 = identity()
    assert identity() == in_float32


@pytest.mark.slow
def test_a_learned_closure_between_walls_is_differentiable():
    equation = js.Equation(lambda u, net: u.t - u.xx - net(u))

    def total(slope):
        net = jax.tree_util.Partial(lambda slope, u: slope * u, slope)
        start = {"u": lambda x: js.sin(np.pi * x)}
        box, walls = js.Box(t=(0, 0.1), x=(0, 1)), {"x": js.Dirichlet(0)}
        problem = js.Problem(equation, box, coefficients={"net": net}, initial=start, boundary=walls)
        return jnp.sum(js.solve(problem, js.Spectral(n=8, dt=0.01, estimate=False), ts=[0.0, 0.1]).fields[-1])

    # u = exp((slope - pi^2) t) sin(pi x), so that d(total)/d(slope) = t total
    value, slope = jax.value_and_grad(total)(0.3)
    assert float(slope) == pytest.approx(0.1 * float(value), rel=1e-6)


def test_a_residual_takes_functions_of_parameters_with_rules_of_their_own():
    residual = js.residual(js.problems.heat(diffusivity=0.0))
    points = jnp.full((3, 2), 0.3)

    def first(theta):  # u = exp(-softplus(theta) t) x, u_t = -softplus(theta) u
        return residual(lambda t, x: jnp.exp(-jax.nn.softplus(theta) * t) * x, {"diffusivity": 0.0}, points)[0, 0]

    rate = np.log1p(np.exp(0.2))
    assert float(first(0.2)) == pytest.approx(-rate * np.exp(-rate * 0.3) * 0.3, rel=1e-12)
    assert np.isfinite(jax.grad(first)(0.2))


@pytest.mark.slow
def test_a_solution_that_never_becomes_finite_is_given_up_and_named():
    problem = js.problems.kuramoto_sivashinsky(hyperdiffusion=-0.1)  # antidiffusion at all lengths
    solution = js.solve(problem, js.Spectral(n=16))
    assert not solution.stats["succeeded"]
    with pytest.raises(FloatingPointError, match=r"did not reach its end.*ill-posed"):
        solution.check()


@pytest.mark.slow
def test_levenberg_marquardt_says_that_it_met_a_number_that_is_not_finite():
    equation = js.Equation(lambda u, x: u.xx + js.log(x))  # log of negative numbers
    problem = js.Problem(equation, js.Box(x=(-1, 1)), boundary={"x": js.Dirichlet(0)})
    method = js.Neural(js.networks.MLP((4,)), optimiser=js.learning.LevenbergMarquardt(steps=3), estimate=False)
    assert js.solve(problem, method).stats["stopped"] == "not finite"


def test_whole_numbers_of_numpy_and_whole_coefficients_are_numbers():
    assert js.Spectral(n=np.int64(16)).n == 16
    assert js.networks.MLP((np.int32(4),))
    with jax.enable_x64(False):
        assert js.problems.wave(speed=50_000).coefficients["speed"] == 50_000.0
    assert float(jax.grad(lambda c: js.problems.wave(speed=c).exact_field(0.1, 0.3)[0])(2.0)) != 0.0


@pytest.mark.slow
def test_what_a_solver_does_before_its_first_step_is_in_its_cost():
    jax.clear_caches()
    solution = js.solve(js.problems.lotka_volterra(), js.Adaptive(rtol=1e-4, estimate=False))
    assert solution.cost.compile_seconds > 0.0
    assert solution.stats["estimate_seconds"] == 0.0
