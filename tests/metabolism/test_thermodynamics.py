"""Directions from free energies: the van 't Hoff ranges by hand, directions, traced numbers, bad input."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

import jaxsci as js
from jaxsci.metabolism.thermodynamics import GAS_CONSTANT, direction_bounds, energy_ranges

TOY = js.metabolism.from_equations(
    {"in": "-> a", "split": "a <=> b + 2 c", "turn": "b <=> d", "out b": "d ->", "out c": "c ->"}
)
ENERGIES = {"split": -5.0, "turn": -40.0}
RANGES = {"a": (1e-3, 5e-3), "b": (1e-5, 1e-4), "c": (1e-4, 1e-2)}


def test_a_range_is_that_of_all_corners():
    found = energy_ranges(TOY, ENERGIES, RANGES, default=(1e-6, 1e-2), temperature=310.15)
    thermal = GAS_CONSTANT * 310.15
    values = [-5.0 + thermal * (np.log(b) + 2 * np.log(c) - np.log(a)) for a, b, c in itertools.product(*RANGES.values())]
    np.testing.assert_allclose([found.minimum[1], found.maximum[1]], [min(values), max(values)], rtol=1e-12)
    assert found.minimum[0] == -np.inf
    assert found.maximum[4] == np.inf


def test_directions_that_are_settled_are_closed():
    held = direction_bounds(TOY, ENERGIES, RANGES)
    assert held.lower[1:3].tolist() == [0.0, 0.0]  # both run forward whatever the concentrations
    assert held.upper[1:3].tolist() == [1000.0, 1000.0]
    assert isinstance(held.lower, np.ndarray)
    open_ended = direction_bounds(TOY, {"turn": -10.0})  # up to 22.8 kJ/mol either way of concentrations
    assert open_ended.lower[2] == -1000.0
    back = direction_bounds(TOY, {"turn": 40.0})
    assert (back.lower[2], back.upper[2]) == (-1000.0, 0.0)
    forced = direction_bounds(TOY.with_bounds({"turn": (1.0, 5.0)}), {"turn": 40.0})
    assert forced.lower[2] > forced.upper[2]  # which fba calls infeasible


def test_energies_may_be_traced():
    def least(energy, temperature):
        found = energy_ranges(TOY, {"split": energy}, RANGES, temperature=temperature)
        return found.minimum[1]

    by_energy, by_temperature = jax.grad(least, argnums=(0, 1))(-5.0, 300.0)
    np.testing.assert_allclose(by_energy, 1.0)
    np.testing.assert_allclose(by_temperature, GAS_CONSTANT * np.log(1e-5 * 1e-4**2 / 5e-3), rtol=1e-9)
    upper = jax.jit(lambda e: direction_bounds(TOY, {"turn": e}).upper)
    assert [float(upper(e)[2]) for e in (-10.0, 40.0)] == [1000.0, 0.0]


def test_bad_input_is_named():
    with pytest.raises(KeyError, match="'splt' does not exist"):
        direction_bounds(TOY, {"splt": 1.0})
    with pytest.raises(KeyError, match="metabolite 'x' does not exist"):
        energy_ranges(TOY, ENERGIES, {"x": (1e-3, 1e-2)})
    with pytest.raises(ValueError, match="concentration of 'a' is a range with 0 < least <= most"):
        energy_ranges(TOY, ENERGIES, {"a": (1e-2, 1e-3)})
    with pytest.raises(ValueError, match="concentration of 'a' is a pair"):
        energy_ranges(TOY, ENERGIES, {"a": 1e-2})


def test_degrees_celsius_and_energies_that_are_not_finite_are_refused():
    toy = js.metabolism.from_equations({"in": "-> a", "turn": "a <=> b", "out": "b ->"})
    with pytest.raises(ValueError, match="the temperature is in kelvin"):
        js.metabolism.direction_bounds(toy, {"turn": -3.0}, temperature=25)
    with pytest.raises(ValueError, match="the energy of 'turn' is a finite number"):
        js.metabolism.direction_bounds(toy, {"turn": float("nan")})
