"""The phi functions of numbers and matrices against 50 digits, their identities and their derivatives."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from scipy.linalg import expm

from jaxsci.solvers.phi import phi_matrices, phi_numbers

phi_numbers, phi_matrices = jax.jit(phi_numbers), jax.jit(phi_matrices)  # one program per shape


def phi_in_50_digits(z, k):
    with mpmath.workdps(50):
        z = mpmath.mpmathify(z)
        if abs(z) < 1e-8:
            return complex(sum(z**j / mpmath.factorial(j + k) for j in range(8)))
        return complex((mpmath.exp(z) - sum(z**j / mpmath.factorial(j) for j in range(k))) / z**k)


ARGUMENTS = [
    *(0.0, 1e-12, -1e-8, 1e-4, -0.01, 0.5, -0.999999, 0.999999),
    *(-1.000001, 1.000001, -3.0, 5.0, -50.0, -1e4, -1e9),
    *(1e-9j, 0.9j, 1.1j, -40j, 1e5j, -0.7 + 0.7j, -0.8 + 0.8j, -2.0 + 30j),
]


def test_phi_of_numbers_agrees_with_fifty_digits():
    found = [np.asarray(p) for p in phi_numbers(jnp.asarray(ARGUMENTS, complex))]
    for k in range(4):
        expected = np.array([phi_in_50_digits(z, k) for z in ARGUMENTS])
        assert np.abs(found[k] - expected).max() < 3e-15  # all are at most exp(5)
        if k:  # phi_0 far left is zero; the others decay like 1 / z, and keep their digits
            assert (np.abs(found[k] - expected) / np.abs(expected)).max() < 2e-14


def test_phi_of_numbers_at_zero_is_one_over_factorial():
    assert [float(p) for p in phi_numbers(jnp.zeros(()))] == [1 / math.factorial(k) for k in range(4)]


def test_phi_of_numbers_differentiates_on_either_side_of_the_switch():
    for z in (0.0, 0.3, -0.999, -1.0, -1.001, -20.0):
        slopes = [float(s) for s in jax.jacfwd(phi_numbers)(z)]
        expected = [((phi_in_50_digits(z + 1e-5, k) - phi_in_50_digits(z - 1e-5, k)) / 2e-5).real for k in range(4)]
        assert slopes == pytest.approx(expected, abs=1e-9)


def test_phi_in_float32_is_accurate_to_single_precision():
    with jax.enable_x64(False):
        found = phi_numbers(jnp.asarray([-1e-3, -0.5, -1.5, -30.0]))
        assert all(p.dtype == jnp.float32 for p in found)
    for k in range(4):
        expected = [phi_in_50_digits(z, k).real for z in (-1e-3, -0.5, -1.5, -30.0)]
        assert np.asarray(found[k]) == pytest.approx(expected, rel=2e-6)


def phi_by_augmented_exponential(z, highest):
    """phi_k is a block of the exponential of [[Z, I, 0], [0, 0, I], [0, 0, 0]] (Al-Mohy & Higham 2011)."""
    n = len(z)
    big = np.zeros(((highest + 1) * n,) * 2)
    big[:n, :n] = z
    big[: highest * n, n:] += np.eye(highest * n)
    return [expm(big)[:n, k * n : (k + 1) * n] for k in range(highest + 1)]


@pytest.mark.parametrize("size", [1e-6, 0.3, 1.0, 7.0, 60.0])
def test_phi_of_matrices_agrees_with_an_augmented_exponential(size):
    matrix = np.random.default_rng(0).normal(size=(5, 5)) - 3 * np.eye(5)
    matrix *= size / np.abs(matrix).sum(axis=1).max()
    for found, expected in zip(phi_matrices(matrix), phi_by_augmented_exponential(matrix, 3), strict=True):
        assert np.abs(found - expected).max() < 1e-13 * max(1.0, np.abs(expected).max())


def test_phi_of_a_matrix_and_of_its_eigenvalues_agree():
    vectors = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    values = np.array([0.0, -1e-5, -0.4, -3.0, -200.0, -1e5])
    matrix = vectors @ np.diag(values) @ vectors.T
    numbers = phi_numbers(values)
    for k, found in enumerate(phi_matrices(matrix)):
        assert np.abs(found - vectors @ np.diag(numbers[k]) @ vectors.T).max() < 1e-9  # 1e5 eps, squared repeatedly


def test_phi_of_matrices_takes_each_matrix_of_a_batch_for_itself():
    batch = np.stack([0.1 * np.eye(2), [[-40.0, 3.0], [0.0, -90.0]], np.zeros((2, 2))])
    together = phi_matrices(batch)
    for i, one in enumerate(batch):
        for found, expected in zip(together, phi_by_augmented_exponential(one, 3), strict=True):
            assert np.abs(found[i] - expected).max() < 1e-14


def test_phi_of_matrices_differentiates():
    base, direction = np.random.default_rng(2).normal(size=(2, 3, 3))
    value = jax.jit(lambda s: phi_matrices(base + s * direction)[3])
    slope = jax.jvp(value, (2.0,), (1.0,))[1]
    assert np.allclose(slope, (value(2.0 + 1e-6) - value(2.0 - 1e-6)) / 2e-6, rtol=1e-7, atol=1e-7)
