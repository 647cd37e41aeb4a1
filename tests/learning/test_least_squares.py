"""Least squares by QR: the minimiser, also where columns are dependent, with the digits that normal equations lose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.learning import least_squares
from jaxsci.learning.least_squares import damped, triangle

RANDOM = np.random.default_rng(0)
A, B = RANDOM.normal(size=(30, 8)), RANDOM.normal(size=30)


def test_triangle_is_r_and_the_rotated_target():
    factor, right = triangle(jnp.asarray(A), jnp.asarray(B))
    assert (np.tril(factor, -1) == 0).all()
    np.testing.assert_allclose(factor.T @ factor, A.T @ A, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(factor.T @ right, A.T @ B, rtol=1e-12, atol=1e-13)
    # |A x - b|^2 = |R x - c|^2 + what no x can reach
    unreachable = np.sum((A @ np.linalg.lstsq(A, B)[0] - B) ** 2)
    x = RANDOM.normal(size=8)
    assert float(jnp.sum((factor @ x - right) ** 2)) + unreachable == pytest.approx(np.sum((A @ x - B) ** 2), rel=1e-12)


@pytest.mark.parametrize("damping", [0.0, 0.3, 1e3, np.linspace(0.1, 2, 8)], ids=["none", "some", "large", "by column"])
def test_damped_step_is_the_minimiser_of_the_stacked_system(damping):
    stacked = np.vstack([A, np.diag(np.broadcast_to(damping, (8,)))])
    expected = np.linalg.lstsq(stacked, np.concatenate([B, np.zeros(8)]))[0]
    np.testing.assert_allclose(damped(*triangle(jnp.asarray(A), jnp.asarray(B)), damping), expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_least_squares_agrees_with_numpy(dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        found = least_squares(jnp.asarray(A, dtype), jnp.asarray(B, dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.linalg.lstsq(A, B)[0], rtol=tolerance, atol=tolerance)


def test_columns_of_very_different_size_do_no_harm():
    scale = 10.0 ** np.arange(-20, 20, 5)
    expected = np.linalg.lstsq(A, B)[0] / scale
    np.testing.assert_allclose(least_squares(jnp.asarray(A * scale), jnp.asarray(B)), expected, rtol=1e-12)


DEPENDENT = {
    "repeated": np.hstack([A, A[:, :3]]),
    "zero": np.hstack([A, np.zeros((30, 2))]),
    "more unknowns than equations": RANDOM.normal(size=(30, 50)),
}


@pytest.mark.parametrize("kind", DEPENDENT)
def test_dependent_columns_do_no_harm_to_a_target_that_can_be_reached(kind):
    matrix = DEPENDENT[kind]
    target = matrix @ RANDOM.normal(size=matrix.shape[1])
    found, shortest = np.asarray(least_squares(jnp.asarray(matrix), jnp.asarray(target))), np.linalg.lstsq(matrix, target)[0]
    assert np.linalg.norm(matrix @ found - target) < 1e-14 * np.linalg.norm(target)
    assert np.linalg.norm(found) < 5 * np.linalg.norm(shortest)


@pytest.mark.parametrize("kind", DEPENDENT)
def test_dependent_columns_disturb_a_fit_by_a_share_of_what_it_leaves(kind):
    # The part of the target that no x reaches leaks into the null space, divided by the damping: cancellation among large
    # coefficients then costs a share (0.01 to 0.1 measured) of that part, never of the target.
    matrix = DEPENDENT[kind]
    for size in (1.0, 1e-6):
        target = matrix @ RANDOM.normal(size=matrix.shape[1]) + size * B
        fitted = matrix @ np.asarray(least_squares(jnp.asarray(matrix), jnp.asarray(target)))
        best = matrix @ np.linalg.lstsq(matrix, target)[0]
        assert np.linalg.norm(fitted - best) < 0.3 * np.linalg.norm(best - target) + 1e-14 * np.linalg.norm(target)


def test_a_matrix_of_zeros_gives_zeros():
    assert (least_squares(jnp.zeros((5, 3)), jnp.ones(5)) == 0).all()


def test_the_last_digits_survive_where_normal_equations_lose_them():
    nodes = np.linspace(-1, 1, 200)
    matrix = np.vander(nodes, 24)  # condition 5e8, squared beyond 1 / eps
    truth = np.cos(np.arange(24))
    target = matrix @ truth
    residual = lambda x: np.linalg.norm(matrix @ x - target) / np.linalg.norm(target)
    by_qr = np.asarray(least_squares(jnp.asarray(matrix), jnp.asarray(target)))
    by_normal_equations = np.linalg.solve(matrix.T @ matrix, matrix.T @ target)
    assert residual(by_qr) < 1e-14
    assert np.abs(by_qr - truth).max() < 1e-5
    assert np.abs(by_normal_equations - truth).max() > 1e-3  # the negative control


def test_jit_vmap_and_grad_pass_through():
    matrix, targets = jnp.asarray(A), jnp.asarray(RANDOM.normal(size=(5, 30)))
    mapped = jax.jit(jax.vmap(least_squares, (None, 0)))(matrix, targets)
    np.testing.assert_allclose(mapped, np.linalg.lstsq(A, np.asarray(targets).T)[0].T, rtol=1e-11, atol=1e-13)
    # d/db of the minimiser is the pseudo-inverse
    jacobian = jax.jacrev(lambda b: least_squares(matrix, b))(targets[0])
    np.testing.assert_allclose(jacobian, np.linalg.pinv(A), rtol=1e-9, atol=1e-12)
