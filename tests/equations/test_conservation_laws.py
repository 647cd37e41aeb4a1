"""Balance laws: what an equation's densities, fluxes, diffusion and sources are, and which equations have none."""

import pytest
import sympy

import jaxsci as js
from jaxsci.equations.conservation import balance_law, is_affine
from jaxsci.equations.expression import coefficient, coordinate, unknown
from jaxsci.problems.shocks import euler_equation

u, v, x, c = unknown("u"), unknown("v"), coordinate("x"), coefficient("c")


def law_of(function, unknowns="u"):
    return balance_law(js.Equation(function, unknowns))


def same(formula, expected):
    return sympy.simplify(formula - expected.formula) == 0


@pytest.mark.parametrize(
    ("function", "flux"),
    [
        (lambda u, c: u.t + c * u.x, c * u),
        (lambda u, c: u.t + (c * u).x, c * u),
        (lambda u: u.t + u * u.x, u**2 / 2),
        (lambda u: u.t + (u**2 / 2).x, u**2 / 2),
        (lambda u, c: u.t + (u**2 / (u**2 + c * (1 - u) ** 2)).x, u**2 / (u**2 + c * (1 - u) ** 2)),
        (lambda u: 2 * u.t + u**2 * u.x, u**3 / 3),
        (lambda u, x: u.t + (js.sin(x) * u).x, js.sin(x) * u),
    ],
)
def test_flux_is_the_one_that_was_written(function, flux):
    law = law_of(function)
    assert set(law.fluxes) == {(0, "x")}
    assert same(law.fluxes[0, "x"], flux)
    assert not law.diffusion
    assert not law.sources


@pytest.mark.parametrize(
    ("function", "diffusive"),
    [
        (lambda u, c: u.t - c * u.xx, -c * u.x),
        (lambda u: u.t - (u * u.x).x, -u * u.x),
        (lambda u: u.t - (u**3).xx, -3 * u**2 * u.x),
        (lambda u, x: u.t - ((1 + x) * u.x).x, -(1 + x) * u.x),
    ],
)
def test_diffusive_flux_holds_one_slope(function, diffusive):
    law = law_of(function)
    assert set(law.diffusion) == {(0, "x")}
    assert same(law.diffusion[0, "x"], diffusive)
    assert not law.fluxes


def test_factor_of_the_coordinates_goes_inside_and_leaves_a_source():
    law = law_of(lambda u, x, c: u.t + c * js.sin(x) * u.x)
    assert same(law.fluxes[0, "x"], c * js.sin(x) * u)
    assert same(law.sources[0], -c * js.cos(x) * u)
    law = law_of(lambda u, x: u.t - x**2 * u.xx)  # twice: x^2 u_xx = (x^2 u_x)_x - (2 x u)_x + 2 u
    assert same(law.diffusion[0, "x"], -(x**2) * u.x)
    assert same(law.fluxes[0, "x"], 2 * x * u)
    assert same(law.sources[0], -2 * u)


def test_gas_is_recovered_unknown_by_unknown():
    law = balance_law(euler_equation)
    assert [(step.unknown, step.row) for step in law.recovery] == [("density", 0), ("velocity", 1), ("pressure", 2)]
    assert all(step.slope is not None for step in law.recovery)
    assert set(law.fluxes) == {(0, "x"), (1, "x"), (2, "x")}


def test_density_that_bends_is_left_to_newton():
    law = law_of(lambda u, c: (u + c * u**2).t + u.x)
    assert same(law.densities[0], u + c * u**2)
    assert law.recovery[0].slope is None


def test_affine_formulas_are_told_from_bent_ones():
    assert is_affine((3 * u + c * u.x + x**2).formula)
    assert not is_affine((u * u.x).formula)
    assert not is_affine((u**2).formula)
    assert not is_affine((u * v).formula)


@pytest.mark.parametrize(
    ("function", "unknowns", "message"),
    [
        (lambda u: u.tt - u.xx, "u", "has one time derivative of every unknown, u has 2"),
        (lambda u, p: (u.t + p.x, u.x + p.xx), "u p", "one time derivative of every unknown, p has 0"),
        (lambda u: u.t + u.xxx, "u", r"is not part of a balance law. Mixed derivatives and orders above two"),
        (lambda u: u.t - u.xy, "u", "Mixed derivatives"),
        (lambda u: u.t + js.sin(u) * u.x, "u", r"the term sin\(u\)\*u_x is not part.*Write it in conservation form"),
        (lambda u, v: (u.t + u * v.x, v.t + v.x), "u v", "Write it in conservation form"),
        (lambda u: (1 + u) * u.t + u.x, "u", r"Write what varies inside the time derivative, as in \(u \+ u\*\*2\).t"),
        (lambda u, v: ((u * v).t + u.x, (u + v).t + v.x), "u v", "the unknowns 'u', 'v' do not follow from the densities"),
    ],
)
def test_equations_that_are_no_balance_law_are_named(function, unknowns, message):
    with pytest.raises(ValueError, match=message):
        law_of(function, unknowns)
