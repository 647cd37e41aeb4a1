"""Solutions: evaluation, indexing, the verdict on non-finite members, and that they are pytrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import solved

import jaxsci as js
from jaxsci.problems import Cost

METHOD = js.Spectral(n=16, dt=0.02)
heat = js.problems.heat()


def exact(t, x, diffusivity=0.4):
    return np.exp(-(np.pi**2) * diffusivity * t) * np.sin(np.pi * x)


@pytest.fixture(scope="module")
def solution():
    return solved("heat", METHOD)


@pytest.fixture(scope="module")
def two_unknowns():
    return js.problems.gray_scott().reference(ts=[0.0, 0.5, 1.0])


@pytest.fixture(scope="module")
def batch():
    """Three members, the middle one with a negative diffusivity, which blows up."""
    return jax.vmap(lambda k: js.solve(heat.with_coefficients(diffusivity=k), METHOD))(jnp.asarray([0.1, -50.0, 0.3]))


def test_layout(solution, two_unknowns):
    assert solution.fields.shape == (51, 1, 17)
    assert solution.ts.shape == (51,)
    assert {name: axis.shape for name, axis in solution.grid.items()} == {"x": (17,)}
    assert two_unknowns.fields.shape == (3, 2, 65, 65)
    assert js.problems.poisson().reference().fields.shape == (1, 65, 65)
    np.testing.assert_allclose(
        solution["u"], exact(*np.meshgrid(solution.ts, solution.grid["x"], indexing="ij")), atol=1e-13
    )


def test_one_unknown_by_name(solution, two_unknowns):
    np.testing.assert_array_equal(solution["u"], solution.fields[:, 0])
    np.testing.assert_array_equal(two_unknowns["v"], two_unknowns.fields[:, 1])
    np.testing.assert_array_equal(js.problems.poisson().reference()["u"].shape, (65, 65))
    with pytest.raises(KeyError, match="unknown 'w' does not exist; there is 'u', 'v'"):
        two_unknowns["w"]


def test_evaluate_broadcasts_and_is_accurate_between_the_saved_points(solution):
    t, x = np.asarray([[0.013], [0.5], [0.987]]), np.asarray([0.111, 0.5])
    values = solution.evaluate(t=t, x=x)
    np.testing.assert_allclose(values, exact(t, x), atol=2e-10)  # the interpolant in time, 51 saved times
    assert solution.evaluate(t=0.5, x=0.5).shape == ()
    assert solution.evaluate(t=0, x=[0, 1]).shape == (2,)  # integers and lists are numbers
    assert solution.evaluate(t=0.5, x=[]).shape == (0,)


def test_evaluate_gives_several_unknowns_in_front(two_unknowns):
    values = two_unknowns.evaluate(t=0.5, x=[0.1, 0.2, 0.3], y=0.0)
    assert values.shape == (2, 3)
    expected = 0.3 + 0.2 * np.exp(-0.25) * np.cos(np.pi * np.asarray([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(values[1], expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("coordinates", "error", "match"),
    [
        ({"t": 0.5}, KeyError, "coordinate 'x' missing; got 't'"),
        ({"t": 0.5, "x": 0.5, "y": 0.5}, KeyError, "coordinate 'y' does not exist; there is 't', 'x'"),
        ({"t": 0.5, "x": [0.5, 1.5]}, ValueError, r"coordinate x must lie in \[0, 1\], got \[0.5, 1.5\]"),
        ({"t": -0.1, "x": 0.5}, ValueError, r"coordinate t must lie in \[0, 1\], got \[-0.1, -0.1\]"),
        ({"t": 0.5, "x": np.nan}, ValueError, r"coordinate x must lie in"),
        ({"t": [0.1, 0.2, 0.3], "x": [0.1, 0.2]}, ValueError, "Incompatible shapes"),
    ],
)
def test_evaluate_names_the_wrong_coordinate(solution, coordinates, error, match):
    with pytest.raises(error, match=match):
        solution.evaluate(**coordinates)


def test_field_of_one_point_differentiates(solution):
    slope = jax.grad(lambda x: solution.field(0.25, x)[0])(0.3)
    assert float(slope) == pytest.approx(np.pi * np.exp(-(np.pi**2) * 0.1) * np.cos(0.3 * np.pi), abs=1e-8)


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_returns_a_finite_solution(solution):
    assert solution.check() is solution


def test_check_names_problem_time_and_cure():
    broken = js.solve(heat.with_coefficients(diffusivity=-300.0), METHOD)  # e^(300 pi^2 t) overflows at t = 0.24
    with pytest.raises(FloatingPointError, match=r"heat: the solution is not finite from t = 0\.\d+ on\. A smaller step"):
        broken.check()
    first = float(broken.ts[np.isfinite(broken.fields).all(axis=(1, 2)).argmin()])
    with pytest.raises(FloatingPointError, match=f"from t = {first:g} on"):
        broken.check()


def test_check_names_the_members_of_a_batch(batch):
    with pytest.raises(FloatingPointError, match=r"from t = 0\.\d+ on in the batch members 1\."):
        batch.check()
    jax.tree.map(lambda leaf: leaf[::2], batch).check()  # without the middle one all is well
    squared = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), batch)
    with pytest.raises(FloatingPointError, match=r"in the batch members \(0, 1\), \(1, 1\)\."):
        squared.check()


def test_check_of_a_steady_solution():
    steady = js.problems.poisson().reference()
    broken = jax.tree.map(lambda leaf: leaf * np.nan, steady)
    assert steady.check() is steady
    with pytest.raises(FloatingPointError, match=r"poisson: the solution is not finite\. A smaller"):
        broken.check()


# --- pytree -----------------------------------------------------------------------------------------------------------


def test_solutions_pass_jit_and_come_out_of_it(solution):
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(solution)
    assert isinstance(doubled, js.Solution)
    np.testing.assert_array_equal(doubled.fields, 2 * solution.fields)
    inside = jax.jit(lambda s: s.evaluate(t=0.5, x=jnp.asarray([0.25, 0.5])))(solution)
    np.testing.assert_allclose(inside, exact(0.5, np.asarray([0.25, 0.5])), atol=2e-10)


def test_references_pass_jit_and_grad():
    """d/dk of the mean of exp(-pi^2 k t) sin(pi x) over the saved fields."""

    def mean(problem):
        return jnp.mean(problem.reference(ts=[0.0, 0.5]).fields)

    gradient = jax.jit(jax.grad(mean))(heat).coefficients["diffusivity"]
    expected = -(np.pi**2) * 0.5 * exact(0.5, np.linspace(0, 1, 65)).mean() / 2
    assert float(gradient) == pytest.approx(expected, rel=1e-12)
    assert jax.jit(lambda s: s.fields.sum())(heat.reference()).shape == ()


def test_batches_index_and_evaluate_member_by_member(batch):
    assert batch["u"].shape == (3, 51, 17)
    np.testing.assert_array_equal(batch["u"], batch.fields[:, :, 0])
    values = jax.vmap(lambda s: s.evaluate(t=0.5, x=0.3))(batch)
    np.testing.assert_allclose(values[::2], [exact(0.5, 0.3, k) for k in (0.1, 0.3)], atol=2e-10)


def test_repr_shows_shape_dtype_and_estimate(batch):
    assert repr(heat.reference(ts=[0.0, 1.0])) == "Solution(heat, fields (2, 1, 65) float64, error estimate 2.2e-14)"
    assert repr(batch) == "Solution(heat, fields (3, 51, 1, 17) float64, error estimate ?)"


def test_cost_adds_up():
    cost = Cost(compile_seconds=1.0, training_seconds=2.0, solve_seconds=4.0)
    assert cost.total_seconds == 7.0
    assert Cost() == (0.0, 0.0, 0.0)
    assert jax.tree.leaves(cost) == [1.0, 2.0, 4.0]
