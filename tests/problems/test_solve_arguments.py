"""`solve` and `stepper`: what they hand on, and what they say of arguments that are none."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import Method

heat, burgers = js.problems.heat(), js.problems.burgers(viscosity=0.2)
METHOD = js.Spectral(n=8, dt=0.1)


@dataclasses.dataclass(frozen=True)
class Own:
    """A user's method: the exact solution, and a note of what it was given."""

    seen: list = dataclasses.field(default_factory=list, compare=False)

    def solve(self, problem, *, ts=None, key=None, progress=None):
        self.seen.append((ts, key, progress))
        return problem.reference(ts)


def test_any_object_with_a_solve_is_a_method():
    method: Method = Own()
    ts, key = np.asarray([0.0, 0.5]), jax.random.key(3)
    solution = js.solve(heat, method, ts=ts, key=key, progress=print)
    assert method.seen == [(ts, key, print)]
    np.testing.assert_array_equal(solution.ts, ts)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: js.solve(3, METHOD), r"solve\(problem, method\): the first argument must be a Problem, got int"),
        (lambda: js.solve(METHOD, heat), "first argument must be a Problem, got Spectral"),
        (lambda: js.solve(heat, "spectral"), r"str is no method. Use js.Spectral\(...\), js.Staggered"),
        (lambda: js.solve(heat, js.Spectral), r"Spectral is a class; give .*js.Spectral\(...\)"),
        (lambda: js.stepper(3, METHOD), "stepper.*must be a Problem, got int"),
        (lambda: js.stepper(heat, js.Adaptive()), r"Adaptive has no single step; use js.Spectral\(n=..., dt=...\)"),
        (lambda: js.stepper(heat, js.Spectral), "has no single step"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(call, match):
    with pytest.raises(TypeError, match=match):
        call()


@pytest.mark.parametrize("solve", [lambda ts: js.solve(heat, METHOD, ts=ts), lambda ts: heat.reference(ts)])
@pytest.mark.parametrize(
    ("ts", "match"),
    [
        ([0.5], r"at least two times, got shape \(1,\)"),
        (0.5, r"at least two times, got shape \(\)"),
        ([[0.0, 1.0]], r"at least two times, got shape \(1, 2\)"),
        ([], "at least two times"),
        ([0.5, 0.2], r"must increase and lie in \[0, 1\], got 0.5 to 0.2 \(2 times\)"),
        ([0.5, 0.5], "must increase"),
        ([0.0, 2.0], r"must increase and lie in \[0, 1\], got 0 to 2"),
        ([-1.0, 1.0], "must increase and lie in"),
        ([0.0, np.nan], "must increase"),
    ],
)
def test_times_that_cannot_be_saved_at_are_refused(solve, ts, match):
    with pytest.raises(ValueError, match=match):
        solve(ts)


def test_times_must_be_concrete():
    with pytest.raises(TypeError, match=r"ts must be concrete.*Pass a NumPy array"):
        jax.jit(lambda ts: js.solve(heat, METHOD, ts=ts).fields)(jnp.asarray([0.0, 1.0]))


def test_times_are_where_the_solution_is_saved_and_no_more():
    """The same values at a time, whatever other times are saved."""
    few, many = js.solve(heat, METHOD, ts=[0.0, 0.5]), js.solve(heat, METHOD, ts=np.linspace(0, 1, 11))
    np.testing.assert_array_equal(few.ts, [0.0, 0.5])
    np.testing.assert_allclose(few.fields[1], many.fields[5], atol=1e-14)
    assert js.problems.poisson().reference(ts=[0, 1]).ts is None  # no time to save at


@pytest.mark.slow
def test_problem_that_jit_does_not_see_is_solved_inside_it_too():
    """A loss under jit may solve a fixed problem: nothing is traced in it, and its solution has no value yet."""
    inside = jax.jit(lambda scale: scale * js.solve(heat, METHOD).fields)(2.0)
    np.testing.assert_allclose(inside, 2 * js.solve(heat, METHOD).fields, atol=1e-14)
    chosen = jax.jit(lambda scale: scale * js.solve(burgers, js.Spectral(n=16), ts=[0.0, 0.5]).fields)(2.0)
    np.testing.assert_allclose(chosen, 2 * js.solve(burgers, js.Spectral(n=16), ts=[0.0, 0.5]).fields, atol=1e-6)
    with pytest.raises(TypeError, match="cannot run under jit"):
        jax.jit(lambda scale: scale * js.solve(heat, js.RandomFeatures(20)).fields)(2.0)


def test_a_coefficient_that_is_not_finite_is_named():
    problem = js.problems.heat(diffusivity=float("nan"))
    with pytest.raises(ValueError, match="heat: the coefficient diffusivity must be finite, got nan"):
        js.solve(problem, js.Spectral(n=8))


def test_a_solid_whose_condition_is_misspelt_is_told_the_name():
    laplace = js.Equation(lambda u: u.xx + u.yy, name="laplace")
    walls = {"x": js.Dirichlet(0), "y": js.Dirichlet(0), "hol": js.Dirichlet(1)}
    with pytest.raises(ValueError, match="The name 'hol' does not exist; there is 'hole'"):
        js.Problem(laplace, js.Box(x=(-1, 1), y=(-1, 1)), solid={"hole": js.Disc((0, 0), 0.3)}, boundary=walls)
