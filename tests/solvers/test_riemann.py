"""The HLL flux and the eigenvalues that bound its waves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.riemann import extreme_eigenvalues, hll


def with_eigenvalues(values, seed=0):
    """100 matrices with these eigenvalues and random eigenvectors, ``[100, n, n]``."""
    vectors = np.random.default_rng(seed).normal(size=(100, len(values), len(values)))
    return vectors @ np.diag(values) @ np.linalg.inv(vectors)


def entries(matrices):
    return [[jnp.asarray(matrices[:, i, j]) for j in range(matrices.shape[1])] for i in range(matrices.shape[1])]


@pytest.mark.parametrize("values", [[-0.7], [1.0, 2.5], [-3.0, 3.0], [-1.0, 0.5, 4.0], [-2.0, 0.0, 2.0], [1.0, 1.0, 3.0]])
def test_up_to_three_eigenvalues_are_exact(values):
    matrices = with_eigenvalues(values)
    condition = np.linalg.cond(matrices).max() if len(values) > 1 and 0 not in values else 1e3
    lowest, highest = extreme_eigenvalues(entries(matrices))
    tolerance = 1e-13 * max(condition, 1e3) if len(set(values)) == len(values) else 1e-5  # double: root of round-off
    np.testing.assert_allclose(lowest, min(values), atol=tolerance)
    np.testing.assert_allclose(highest, max(values), atol=tolerance)


@pytest.mark.parametrize("scale", [1.0, 1e100, 1e-100])
def test_more_eigenvalues_are_bounded(scale):
    values = np.array([-1.0, 0.5, 0.5, 2.0, -3.0])
    lowest, highest = extreme_eigenvalues(entries(scale * with_eigenvalues(values)))
    np.testing.assert_array_equal(lowest, -highest)
    assert (highest >= 3.0 * scale * (1 - 1e-12)).all()
    assert (highest <= 3.0 * scale * 1.25).all()  # measured: at most 1.16, of badly conditioned eigenvectors


def test_eigenvalues_have_slopes_where_two_or_all_meet():
    def highest(a, n):
        matrix = [[a if i == j else jnp.zeros(()) for j in range(n)] for i in range(n)]
        return extreme_eigenvalues(matrix)[1]

    for n in (1, 2, 3):
        assert float(jax.grad(highest)(2.0, n)) == pytest.approx(1.0)


def test_flux_of_equal_states_is_theirs():
    q, f = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[0.5, 2.0]])
    np.testing.assert_allclose(hll(q, q, f, f, jnp.asarray([-1.0, 0.0]), jnp.asarray([1.0, 0.0])), f)


def test_flux_is_upwind_where_all_waves_go_one_way():
    left, right = jnp.asarray([[3.0]]), jnp.asarray([[5.0]])
    f, g = 2 * left, 2 * right
    assert hll(left, right, f, g, jnp.asarray([2.0]), jnp.asarray([2.5])) == f
    assert hll(left, right, -f, -g, jnp.asarray([-2.5]), jnp.asarray([-2.0])) == -g
