"""Equations: what their function may be, what they know, how they print, when two of them are the same."""

import os
import subprocess
import sys

import numpy as np
import pytest
import sympy

import jaxsci as js
from jaxsci.equations import coordinate, unknown
from jaxsci.equations.splitting import split
from jaxsci.problems import Formula

u = unknown("u")
burgers = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, "u", symbols={"viscosity": r"\nu"})
vorticity = js.Equation(
    lambda w, psi, viscosity: (w.t + psi.y * w.x - psi.x * w.y - viscosity * (w.xx + w.yy), psi.xx + psi.yy + w), "w psi"
)


def test_what_an_equation_knows_of_itself():
    assert burgers.coefficients == ("viscosity",)
    assert burgers.coordinates == ("t", "x")
    assert burgers.partials == {("u", ""), ("u", "t"), ("u", "x"), ("u", "xx")}
    assert burgers.time_order("u") == 1
    assert vorticity.unknowns == ("w", "psi")
    assert vorticity.coordinates == ("t", "x", "y")
    assert len(vorticity.residuals) == 2


def test_explicit_coordinates_count_and_unused_arguments_do_not():
    forced = js.Equation(lambda u, y, nu, unused: u.x - nu * y, "u")
    assert forced.coordinates == ("x", "y")
    assert forced.coefficients == ("nu",)
    assert forced.time_order("u") == 0


def test_products_expand_to_the_partial_derivatives_that_the_residual_needs():
    assert js.Equation(lambda u: u.t + (u * u).x).partials == {("u", ""), ("u", "t"), ("u", "x")}
    assert js.Equation(lambda u: u.tt - js.sin(u).xx).partials == {("u", ""), ("u", "tt"), ("u", "x"), ("u", "xx")}


def test_coefficients_that_are_called_are_functions():
    closure = js.Equation(lambda u, x, net, conductivity: u.t - (conductivity(x, u) * u.x).x - net(u))
    assert closure.functions == {"net": 1, "conductivity": 2}
    assert closure.coefficients == ("conductivity", "net")


def test_decorator_and_constructor_make_the_same_equation():
    @js.equation("u", symbols={"viscosity": r"\nu"})
    def decorated(u, viscosity):
        return u.t + u * u.x - viscosity * u.xx

    assert decorated == burgers
    assert hash(decorated) == hash(burgers)
    assert (decorated.name, burgers.name) == ("decorated", "equation")
    assert decorated.latex() == burgers.latex()


@pytest.mark.parametrize(
    ("function", "unknowns", "error", "match"),
    [
        (lambda v: v.t, "u", ValueError, "unknown 'u' is no argument .* whose arguments are 'v'"),
        (lambda u, v: u.t, "u v", ValueError, "unknown 'v' does not occur in the equation u_t = 0"),
        (lambda u: 3.0, "u", ValueError, "must return an expression .*got 3.0"),
        (lambda u: (u.t, None), "u", ValueError, "must return an expression .*got None"),
        (lambda *u: u[0].t, "u", TypeError, "argument 'u' must be a plain named argument"),
        (lambda u, **k: u.t, "u", TypeError, "argument 'k' must be a plain named argument"),
        (lambda u: u.t, "", ValueError, "one or more different names .*got none"),
        (lambda u: u.t, "u u", ValueError, "different names .*got 'u', 'u'"),
        (lambda t: t + 1, "t", ValueError, "other than t, x, y, z; got 't'"),
        (lambda u: u.t if u else u.x, "u", TypeError, "no truth value"),
        (lambda u: u.t + u.w, "u", AttributeError, "no attribute 'w'"),
    ],
)
def test_functions_that_make_no_equation_are_refused(function, unknowns, error, match):
    with pytest.raises(error, match=match):
        js.Equation(function, unknowns)


def test_printing():
    assert repr(burgers) == "u_t + u*u_x - viscosity*u_xx = 0"
    assert burgers.latex() == r"u_{t} + u u_{x} - \nu u_{xx} = 0"
    assert vorticity.latex().split(r" \\ ")[1] == r"w + \psi_{xx} + \psi_{yy} = 0"
    words = js.Equation(lambda u, speed, growth_rate: u.t + speed**2 * u.x - growth_rate * u)
    assert words.latex() == r"u_{t} - \mathrm{growth\_rate} \, u + \mathrm{speed}^{2} \, u_{x} = 0"
    assert burgers._repr_latex_() == r"$\displaystyle\begin{gathered}" + burgers.latex() + r"\end{gathered}$"


def test_source_enters_with_a_minus():
    u, source = js.Equation(lambda u: u.xx).residuals[0], js.Equation(lambda u, f: u.xx - f).residuals[0]
    made = js.Equation(lambda u: u.xx).with_source([u - source])  # source = f
    assert made == js.Equation(lambda u, f: u.xx - f)
    assert made.coefficients == ("f",)


def test_exact_solutions_substitute_to_zero():
    """u = -2 nu phi_x / phi solves Burgers when phi solves the heat equation (Cole-Hopf), here a two-soliton phi."""

    def cole_hopf(t, x, viscosity):
        a = js.exp(viscosity * t + x)
        b = js.exp(4 * viscosity * t - 2 * x)
        return -2 * viscosity * (a - 2 * b) / (1 + a + b)

    (left,) = burgers.substitute({"u": Formula.of(cole_hopf).expression})
    assert left.formula.simplify() == 0


# --- identity -------------------------------------------------------------------------------------------------------


def test_identity_depends_on_the_equation_and_not_on_how_it_is_written():
    same = [
        js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, name="other"),
        js.Equation(lambda viscosity, u: -viscosity * u.xx + u.x * u + u.t, symbols={"viscosity": r"\mu"}),
        js.Equation(lambda u, viscosity, unused=0: u.t + u * u.x - viscosity * u.d("x", "x")),
    ]
    assert {e.identity for e in same} == {burgers.identity}
    different = [
        js.Equation(lambda u, viscosity: u.t + u * u.x + viscosity * u.xx),  # sign
        js.Equation(lambda u, nu: u.t + u * u.x - nu * u.xx),  # coefficient's name
        js.Equation(lambda v, viscosity: v.t + v * v.x - viscosity * v.xx, "v"),  # unknown's name
        js.Equation(lambda u, viscosity: u.t + (u * u / 2).x - viscosity * u.xx),  # form: a solver treats it differently
        js.Equation(lambda u, viscosity: u.t + u * u.x - 2 * viscosity * u.xx),
        js.Equation(lambda u, viscosity: u.t + u * u.y - viscosity * u.yy),
        js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xxx),
        js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity(u) * u.xx),
    ]
    assert len({e.identity for e in [burgers, *different]}) == 9


def test_numbers_are_identified_to_the_last_bit():
    def with_number(number):
        return js.Equation(lambda u: u.t - number * u.xx).identity

    assert with_number(0.1) == with_number(np.float64(0.1))
    assert len({with_number(k) for k in (0.1, np.nextafter(0.1, 1), 0.01, 0.01 / np.pi)}) == 4


def test_coefficient_may_be_called_like_a_constant():
    named_pi = js.Equation(lambda u, pi: u.t - pi * u.xx)
    named_e = js.Equation(lambda u, E: u.t - E * u.xx)
    assert named_pi != js.Equation(lambda u: u.t - np.pi * u.xx)
    assert named_e != js.Equation(lambda u: u.t - js.exp(js.Expression(1)) * u.xx)
    assert named_pi.coefficients == ("pi",)


_IDENTITIES = """
import jaxsci as js
for entry in js.problems.CATALOGUE.values():
    for label, problem in entry.problems().items():
        print(entry.name, label, problem.identity, problem.equation.identity, problem.latex(), problem)
"""


@pytest.mark.slow
def test_identities_and_printing_are_the_same_in_every_process(capsys):
    """SymPy orders some arguments by hash, and Python's string hashes differ from process to process."""
    exec(_IDENTITIES, {})
    here = capsys.readouterr().out
    assert here.count("\n") >= 20
    for seed in "1", "2":
        environment = os.environ | {"PYTHONHASHSEED": seed, "JAX_ENABLE_X64": "0"}
        command = [sys.executable, "-c", _IDENTITIES]
        there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        assert there.stdout == here


# --- splitting ------------------------------------------------------------------------------------------------------


def _linear(equation):
    return {(term.row, term.unknown, term.letters): str(term.factor) for term in split(equation).linear}


def _rest(equation):
    return {(term.row, term.letters): js.Expression(term.formula) for term in split(equation).rest}


def test_burgers_splits_into_symbol_and_conservative_flux():
    assert _linear(burgers) == {(0, "u", "t"): "1", (0, "u", "xx"): "-viscosity"}
    assert _rest(burgers) == {(0, "x"): u * u / 2}


def test_terms_are_collected_by_what_they_act_on():
    equation = js.Equation(lambda u, a, b: 2 * u.t + a * (u.xx + b * u).xx + u**2 * u.x + a * u.xxxx - 3 * (u * u.y).x)
    assert _linear(equation) == {(0, "u", "t"): "2", (0, "u", "xxxx"): "2*a", (0, "u", "xx"): "a*b"}
    # u^2 u_x = (u^3 / 3)_x and (u u_y)_x = (u^2 / 2)_xy
    assert _rest(equation) == {(0, "x"): u**3 / 3, (0, "xy"): -3 * (u * u) / 2}


def test_terms_that_cancel_vanish():
    equation = js.Equation(lambda u: u.t + u.x - (u - u * u).x)
    assert _linear(equation) == {(0, "u", "t"): "1"}
    assert _rest(equation) == {(0, "x"): u * u}


def test_varying_factors_and_sources_are_no_symbol():
    equation = js.Equation(lambda u, x, t, k: u.t - (k(x) * u.x).x + x * u - js.sin(t))
    assert _linear(equation) == {(0, "u", "t"): "1"}
    assert set(_rest(equation)) == {(0, "x"), (0, "")}


def test_systems_split_row_by_row():
    assert _linear(vorticity)[1, "psi", "yy"] == "1"
    assert _linear(vorticity)[1, "w", ""] == "1"
    assert _linear(vorticity)[0, "w", "yy"] == "-viscosity"
    assert set(_rest(vorticity)) == {(0, "")}


@pytest.mark.parametrize(
    "function",
    [
        lambda u, v: (u.t**2 - u.xx, v.t),
        lambda u, v: (u.t + u * v.t, v.t - v.xx),
        lambda u, v: (u * u.t + v.t, v.t - v.xx),
    ],
)
def test_time_derivatives_that_cannot_be_solved_for_are_named(function):
    with pytest.raises(ValueError, match=r"highest time derivative must stand alone .* found it in the term .*u"):
        split(js.Equation(function, "u v"))


@pytest.mark.parametrize(
    ("function", "letters", "rest"),
    [
        (lambda u: (1 + u) * u.t - u.xx, "t", -u.xx / (1 + u)),
        (lambda u: (u + u**3).t - u.xx, "t", -u.xx / (1 + 3 * u**2)),
        (lambda u, x: x * u.t - u.xx, "t", -u.xx / coordinate("x")),
        (lambda u: u.tt + u * u.tt - u.xx, "tt", -u.xx / (1 + u)),
    ],
)
def test_varying_factor_of_the_only_time_derivative_divides_the_rest(function, letters, rest):
    equation = js.Equation(function)
    assert _linear(equation) == {(0, "u", letters): "1"}
    (found,) = (term for term in split(equation).rest)
    assert found.letters == ""
    assert sympy.simplify(found.formula - rest.formula) == 0


def test_lower_time_derivatives_may_be_nonlinear():
    assert _rest(js.Equation(lambda u: u.tt + u * u.t - u.xx)) == {(0, ""): u * u.t}
