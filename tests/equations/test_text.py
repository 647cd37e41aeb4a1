"""Formulas as text: the same equation as the function, and nothing but formulas."""

import pytest

import jaxsci as js
from jaxsci.equations import Equation, function_of_text


def test_a_text_is_the_same_equation_as_the_function():
    written = Equation(function_of_text("u.t + u * u.x = nu * u.xx"))
    function = Equation(lambda u, nu: u.t + u * u.x - nu * u.xx)
    assert written.identity == function.identity
    assert written.coefficients == ("nu",)


@pytest.mark.slow
def test_a_system_with_functions_coordinates_and_constants():
    texts = ["w.t + psi.y * w.x - psi.x * w.y - nu * (w.xx + w.yy) + 4 * f * cos(4 * y)", "psi.xx + psi.yy + w"]
    written = Equation(function_of_text(texts), "w psi")
    assert written.coefficients == ("f", "nu")
    assert written.coordinates == ("t", "x", "y")
    problem = js.Problem(
        written,
        js.Box(t=(0, 1), x=(0, 6.283185307179586), y=(0, 6.283185307179586)),
        coefficients={"f": 1.0, "nu": 0.1},
        initial={"w": function_of_text("sin(2 * pi * x / (2 * pi)) * -cos(y) ** 2")},
    )
    assert js.solve(problem, js.Spectral(n=16, dt=0.1, estimate=False), ts=[0, 1])["w"].shape == (2, 16, 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("u.t - ", "cannot be read"),
        ("u.t = 1 = 2", "more than one equals sign"),
        ("u^2", r"Powers are written \*\*"),
        ("__import__('os')", "function '__import__' does not exist"),
        ("u.__class__", "derivatives? .*__class__"),
        ("sinn(x)", "Did you mean 'sin'"),
        ("sin(x, y)", "takes one argument"),
        ("sin + x", "without an argument"),
        ("[u]", "holds"),
        ("'a' * u", "no finite number"),
        ("1e999 * u", "no finite number"),
        ("u if x else 0", "holds"),
        ("", "A formula is text"),
        (3, "A formula is text"),
    ],
)
def test_what_is_no_formula_is_said(text, said):
    with pytest.raises(ValueError, match=said):
        function_of_text([text])
