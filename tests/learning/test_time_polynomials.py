"""Polynomials of a slab: known Radau points, exact integrals, order at the slab's end, modes that decouple."""

import numpy as np
import pytest

from jaxsci.learning.time_polynomials import integrals, modes, radau_points


def test_radau_points_are_the_published_ones():
    # Hairer & Wanner (1996), section IV.5: (4 - sqrt 6) / 10, (4 + sqrt 6) / 10, 1
    np.testing.assert_allclose(radau_points(3), [(4 - 6**0.5) / 10, (4 + 6**0.5) / 10, 1.0], rtol=1e-14)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_integrals_are_exact_for_polynomials(times):
    points, tau = radau_points(8), np.linspace(0, 1, 11)
    for power in range(8):
        values = np.asarray(integrals(tau, times, 8)) @ points**power
        exact = tau ** (power + times) / np.prod(np.arange(power + 1, power + times + 1))
        np.testing.assert_allclose(values, exact, atol=1e-13)


def test_the_end_of_a_slab_is_of_twice_the_order():
    # y' = -y by collocation: (I + h A) c = -h, y(1) = 1 + b c
    errors = []
    for h in (0.2, 0.1):
        matrix = np.asarray(integrals(radau_points(3), 1, 3))
        c = np.linalg.solve(np.eye(3) + h * matrix, -h * np.ones(3))
        errors.append(abs(1 + float(np.asarray(integrals(1.0, 1, 3)) @ c) - np.exp(-h)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(6, abs=0.2)  # one step: order 2 K - 1, and one


@pytest.mark.parametrize("order", [1, 2])
def test_modes_decouple_integration(order):
    spectrum = modes(order, 8)
    matrix = np.asarray(integrals(radau_points(8), order, 8))
    rebuilt = spectrum.vectors @ np.diag(spectrum.multipliers**order) @ spectrum.inverse
    np.testing.assert_allclose(rebuilt, matrix, atol=1e-12)
    assert (spectrum.multipliers.real > 0).all(), "stable: no mode of a decaying equation grows"
