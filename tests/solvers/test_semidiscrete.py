"""Running through saved times: refinement of the times between, and the error of interpolating."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import solved

import jaxsci as js
from jaxsci.solvers.semidiscrete import refine_times, relative_difference

S = js.Spectral


def test_times_are_refined_evenly_and_the_saved_ones_stay():
    ts = np.array([0.0, 1.0, 1.5, 4.0])
    fine = refine_times(ts, 3)
    assert np.allclose(fine, [0, 1 / 3, 2 / 3, 1, 7 / 6, 4 / 3, 1.5, 1.5 + 2.5 / 3, 1.5 + 5 / 3, 4])
    assert np.isin(ts, fine).all()
    assert np.array_equal(refine_times(ts, 1), ts)


def test_relative_difference_is_the_largest_over_the_fields():
    b = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 5)))
    b = b.at[:, 1].multiply(1e-6)  # a trace species
    a = b.at[:, 1].multiply(1.01)
    assert float(relative_difference(a, b)) == pytest.approx(0.01)


def test_interpolation_nodes_are_added_until_the_tolerance_is_met():
    loose, tight = solved("advection", S(8, rtol=1e-5)), solved("advection", S(8))
    counts = [len(s.field.times.ts) for s in (loose, tight)]
    assert counts == [151, 351]  # the error falls with the sixth power of the distance
    assert all(len(s.ts) == 51 and s.fields.shape[0] == 51 for s in (loose, tight))
    t, x = np.random.default_rng(0).uniform(size=(2, 300)) * [[1], [2 * np.pi]]
    for solution, tolerance in ((loose, 1e-5), (tight, 1e-8)):
        error = solution.evaluate(t=t, x=x) - jnp.sin(x - 80 * t)
        assert jnp.linalg.norm(error) < tolerance * jnp.linalg.norm(jnp.sin(x - 80 * t))


def test_two_saved_times_are_enough():
    problem = js.problems.heat()
    solution = js.solve(problem, S(8), ts=[0.0, 1.0])
    assert solution.fields.shape == (2, 1, 9)
    assert len(solution.field.times.ts) > 2  # nothing between two times can be trusted without more of them
    exact = float(problem.exact_field(0.37, 0.4)[0])
    assert float(solution.evaluate(t=0.37, x=0.4)) == pytest.approx(exact, rel=1e-5)
    assert solution.error_estimate < 1e-5


def test_the_field_passes_through_the_saved_values():
    solution = solved("advection", S(8))
    x = np.asarray(solution.grid["x"])
    for i in (0, 17, 50):
        assert jnp.allclose(solution.evaluate(t=float(solution.ts[i]), x=x), solution["u"][i], atol=1e-13)


def test_uneven_times_take_a_table_each_and_agree_with_even_ones():
    problem, method = js.problems.kdv(), S(32, dt=0.005, estimate=False, rtol=1.0)
    even = js.solve(problem, method, ts=[0.0, 0.1, 0.2])
    uneven = js.solve(problem, method, ts=[0.0, 0.05, 0.2])
    assert jnp.allclose(even.fields[-1], uneven.fields[-1], atol=1e-6)
    assert jnp.array_equal(even.fields[0], uneven.fields[0])
