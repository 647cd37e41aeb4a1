"""Envelopes: HiGHS at every point, corners from a fine grid and by hand, derivatives of the curve."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import jaxsci as js
from jaxsci.metabolism import INFEASIBLE
from jaxsci.metabolism.envelopes import envelope_corners, production_envelope, robustness

MODEL = js.metabolism.load("e_coli_core")
ACETATE = MODEL.index("EX_ac_e")
CORNERS = ([0.0, 7.19918271, 10.62195696, 20.0], [0.873921507, 0.708943693, 0.617037408, 0.0])


def highs(model, reaction, at, sign):
    lower, upper = np.array(model.lower, float), np.array(model.upper, float)
    lower[reaction] = upper[reaction] = at
    found = linprog(
        -sign * np.asarray(model.objective), A_eq=model.stoichiometry, b_eq=np.zeros(len(model.metabolites)),
        bounds=np.stack([lower, upper], 1), method="highs",
    )  # fmt: skip
    return -sign * found.fun if found.status == 0 else np.nan


@pytest.mark.slow
def test_the_acetate_envelope_is_that_of_highs():
    found = jax.jit(lambda model: production_envelope(model, "EX_ac_e", 9))(MODEL)
    np.testing.assert_allclose(found.flux, np.linspace(0, 20, 9), atol=1e-9)
    for k in range(9):
        at = float(np.clip(found.flux[k], 0, 20 - 1e-9))
        np.testing.assert_allclose(found.maximum[k], highs(MODEL, ACETATE, at, 1.0), atol=1e-7)
        np.testing.assert_allclose(found.minimum[k], highs(MODEL, ACETATE, at, -1.0), atol=1e-7)


@pytest.mark.slow
def test_slopes_are_differences_and_a_point_outside_is_infeasible():
    at = np.array([2.0, 2.0 + 1e-4, 9.0, 9.0 + 1e-4, 15.0, 15.0 + 1e-4, 21.0])
    found = jax.jit(lambda at: robustness(MODEL, "EX_ac_e", at))(at)
    values = np.asarray(found.objective)
    np.testing.assert_allclose(found.slope[:6:2], (values[1:6:2] - values[:6:2]) / 1e-4, atol=1e-8)
    assert int(found.status[6]) == INFEASIBLE
    assert np.isnan(values[6])
    np.testing.assert_allclose(np.asarray(found.fluxes)[:6, ACETATE], at[:6], atol=1e-12)


@pytest.mark.slow
def test_corners_are_where_the_curve_bends():
    flux, growth = envelope_corners(MODEL, "EX_ac_e")
    np.testing.assert_allclose(flux, CORNERS[0], atol=1e-6)
    np.testing.assert_allclose(growth, CORNERS[1], atol=1e-8)
    for at in np.linspace(0, 19.99, 23):
        np.testing.assert_allclose(np.interp(at, flux, growth), highs(MODEL, ACETATE, at, 1.0), atol=1e-8)


@pytest.mark.slow
def test_corners_by_hand():
    """The product costs one a, growth two; b runs out first."""
    toy = js.metabolism.from_equations(
        {"a": "-> a", "b": "-> b", "grow": "a + b ->", "make": "a -> p", "out": "p ->"}, "grow",
        bounds={"a": (0, 10), "b": (0, 6)},
    )  # fmt: skip
    flux, growth = envelope_corners(toy, "out")
    np.testing.assert_allclose(flux, [0, 4, 10], atol=1e-9)
    np.testing.assert_allclose(growth, [6, 6, 0], atol=1e-9)


def test_wrong_input():
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        robustness(MODEL, "EX_ac_e", 1)
    with pytest.raises(KeyError, match="EX_ac"):
        production_envelope(MODEL, "EX_acc_e")
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda m: jnp.asarray(envelope_corners(m, "EX_ac_e")[0]))(MODEL)


def test_an_infeasible_model_is_infeasible_at_every_point():
    toy = js.metabolism.from_equations({"in": "-> a", "out": "a ->"}, "out").with_bounds(
        {"in": (0.0, 1.0), "out": (2.0, 9.0)}
    )
    found = js.metabolism.production_envelope(toy, "in", points=3)
    assert (np.asarray(found.status) == js.metabolism.INFEASIBLE).all()
    assert np.isnan(found.maximum).all()
