"""Equations in many dimensions: numbered coordinates, the forward Laplacian against second derivatives, its estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.equations.expression import coordinate, sorted_letters, split_letters
from jaxsci.equations.laplacian import FEWEST, estimated_laplacian, gradient_and_laplacian, laplacian_of

NAMES = tuple(f"x{i}" for i in range(1, FEWEST + 1))
RANDOM = np.random.default_rng(0)
WEIGHTS = jnp.asarray(RANDOM.normal(size=(FEWEST, 5)) / 3)
POINTS = jnp.asarray(RANDOM.uniform(0.2, 0.9, size=(7, FEWEST)))
LAPLACE = js.Equation(lambda u, c: u * u.x2 - c * sum(u.d(a, a) for a in NAMES), "u")


def network(*x):
    """Products, quotients, powers, a network layer, a slice and a branch."""
    z = jnp.stack(x)
    hidden = jnp.tanh(z @ WEIGHTS + 0.1)
    front = jnp.exp(-x[0] * x[1]) / (1 + x[2] ** 2) * jnp.sqrt(1 + x[3])
    return jnp.sum(hidden[1:] ** 3) + front * hidden[0] + jnp.maximum(x[0], x[4] - 2.0) * jnp.where(x[1] > 0, x[5], 0.0)


def test_letters_are_split_and_sorted_by_coordinate():
    assert split_letters("txx10x1") == ["t", "x", "x10", "x1"]
    assert sorted_letters("x10x2tx10") == "tx2x10x10"
    assert repr(js.Equation(lambda u: u.d("x10", "x2") + u.x1x1, "u")) == "u_x1x1 + u_x2x10 = 0"


def test_an_unknown_may_have_the_name_of_a_numbered_coordinate():
    assert js.Equation(lambda x1: x1.t + x1, "x1").coordinates == ("t",)


@pytest.mark.slow
def test_rules_agree_with_the_hessian():
    with_time = lambda *x: network(*x) * x[0]
    for field, summed in ((network, (True,) * FEWEST), (with_time, (False, *[True] * (FEWEST - 2), False))):
        got = jax.jit(lambda p, f=field, s=summed: gradient_and_laplacian(f, tuple(p.T), s))(POINTS)
        alone = lambda z, f=field: f(*z)
        hessian = jax.jit(jax.vmap(jax.hessian(alone)))(POINTS)
        np.testing.assert_allclose(got[0], jax.vmap(alone)(POINTS), rtol=1e-13)
        np.testing.assert_allclose(got[1].T, jax.vmap(jax.grad(alone))(POINTS), rtol=1e-11, atol=1e-13)
        expected = jnp.einsum("pii,i->p", hessian, jnp.asarray(summed, float))
        np.testing.assert_allclose(got[2], expected, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
def test_the_residual_uses_it_where_only_the_sum_occurs():
    assert laplacian_of(LAPLACE) == NAMES
    residual = js.residual(LAPLACE)
    columns = tuple(POINTS.T)
    assert residual.summed_partials(network, columns) is not None
    by_sum = jax.jit(lambda p: residual(network, {"c": 0.3}, p))(POINTS)
    one_by_one = residual.from_partials(residual.field_partials(network, columns), columns, {"c": 0.3})
    np.testing.assert_allclose(by_sum, one_by_one, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "equation",
    [
        lambda u: u.xx + u.yy,  # few coordinates
        lambda u: sum(u.d(a, a) for a in NAMES) + u.x1x1,  # no common factor
        lambda u: sum(u.d(a, a) ** 2 for a in NAMES),  # not linear in the sum
        lambda u: sum(u.d(a, a) for a in NAMES) + u.x1x2,  # a mixed derivative beside
        lambda u: sum(u.d(a, a) for a in NAMES) + u.x1x1x1,  # a third one
    ],
    ids=["few", "factor", "squares", "mixed", "third"],
)
def test_and_nowhere_else(equation):
    assert laplacian_of(js.Equation(equation, "u")) == ()


def test_a_common_factor_may_be_a_field():
    assert laplacian_of(js.Equation(lambda u: (1 + u**2) * sum(u.d(a, a) for a in NAMES) - u, "u")) == NAMES


def test_an_operation_without_rule_falls_back():
    strange = lambda *x: jnp.sum(jnp.sort(jnp.stack(x)) ** 2)
    residual = js.residual(LAPLACE)
    assert residual.summed_partials(strange, tuple(POINTS.T)) is None


@pytest.mark.slow
def test_manufactured_solutions_know_numbered_coordinates():
    x = [coordinate(name) for name in NAMES]
    exact = sum((js.sin(a) for a in x[1:]), js.sin(x[0]))
    problem = js.manufactured(
        js.Equation(lambda u: -sum(u.d(a, a) for a in NAMES), "u", name="poisson"),
        js.Box(**dict.fromkeys(NAMES, (0, 2 * np.pi))),
        coefficients={},
        exact={"u": exact},
    )
    assert problem.coordinates == NAMES
    values = js.residual(problem)(problem.exact_field, None, POINTS)
    assert jnp.abs(values).max() < 1e-13


@pytest.mark.slow
def test_the_estimate_is_unbiased_and_exact_with_all_directions():
    columns, summed = tuple(POINTS.T), (True,) * FEWEST
    exact = gradient_and_laplacian(network, columns, summed)[2]
    draw = jax.jit(lambda key, m: estimated_laplacian(network, columns, summed, key, m), static_argnums=1)
    np.testing.assert_allclose(draw(jax.random.key(0), FEWEST), exact, rtol=1e-11)
    few = jax.lax.map(lambda key: draw(key, 4), jax.random.split(jax.random.key(1), 2000))
    deviation = jnp.std(few, axis=0)
    assert (deviation > 1e-3).all()
    assert (jnp.abs(jnp.mean(few, axis=0) - exact) < 4.5 * deviation / 2000**0.5).all()


def test_the_residual_can_be_estimated():
    residual = js.residual(LAPLACE)
    estimate = jax.jit(lambda m: residual.estimate(network, {"c": 0.3}, POINTS, jax.random.key(3), m), static_argnums=0)
    np.testing.assert_allclose(estimate(FEWEST), residual(network, {"c": 0.3}, POINTS), rtol=1e-11, atol=1e-12)
    assert (jnp.abs(estimate(2) - estimate(FEWEST)) > 1e-4).any()
    with pytest.raises(ValueError, match="do not occur as one Laplacian over many coordinates; call the residual itself"):
        js.residual(js.problems.poisson()).estimate(lambda x, y: x * y, None, jnp.ones((3, 2)), jax.random.key(0))


def test_a_problem_in_ten_dimensions_is_solved_by_its_exact_solution():
    problem = js.problems.screened_poisson(10)
    points = jnp.asarray(RANDOM.uniform(size=(5, 10)))
    values = js.residual(problem)(problem.exact_field, None, points)
    assert jnp.abs(values).max() < 1e-12
    wrong = js.residual(problem)(lambda *x: problem.exact_field(*x) * 1.01, None, points)
    assert jnp.abs(wrong).max() > 1e-2
    with pytest.raises(ValueError, match="dimensions must be a whole number from 2 to 100, got 1"):
        js.problems.screened_poisson(1)


def test_the_number_of_directions_is_checked():
    with pytest.raises(
        ValueError, match=f"directions must lie between 1 and the {FEWEST} coordinates of the Laplacian, got 99"
    ):
        estimated_laplacian(network, tuple(POINTS.T), (True,) * FEWEST, jax.random.key(0), 99)


def test_numbered_coordinates_that_do_not_exist_are_named():
    with pytest.raises(AttributeError, match="no attribute 'x101'"):
        js.Equation(lambda u: u.x101, "u")
    with pytest.raises(ValueError, match="coordinate 'x0' does not exist"):
        js.Box(x0=(0, 1))
