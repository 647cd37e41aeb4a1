"""Expressions: algebra, derivatives by attribute, functions of expressions and arrays, and how they print."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import jaxsci as js
from jaxsci.equations import coefficient, coordinate, unknown

u, v = unknown("u"), unknown("v")
x, t = coordinate("x"), coordinate("t")
nu = coefficient("nu")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (u.t + u * u.x - nu * u.xx, "u_t + u*u_x - nu*u_xx"),
        ((u * u).x, "(u**2)_x"),
        (u.d("x", "t"), "u_tx"),  # in the order t, x, y, z, however it was written
        (u.xyx, "u_xxy"),
        (2 - u, "-u + 2"),
        (1 / u, "1/u"),
        (2**u, "2**u"),
        (+u, "u"),
        (-u, "-u"),
        (u**0.5, "u**0.5"),
        (js.sqrt(u.x**2 + 1), "sqrt(u_x**2 + 1)"),
        (nu(u) * u.x, "nu(u)*u_x"),
        (js.sin(math.pi * x), "sin(pi*x)"),  # a float that is a multiple of pi is that multiple
        (0.01 / math.pi * u, "0.0031831*u"),
    ],
)
def test_expressions_print_as_people_write_them(expression, text):
    assert repr(expression) == f"Expression({text})"


@pytest.mark.parametrize(
    ("expression", "latex"),
    [
        (u.t, "$u_{t}$"),
        (u**2, "$u^{2}$"),
        ((u * v).xx, r"$\left(u v\right)_{xx}$"),
        (u.x**2, r"$\left(u_{x}\right)^{2}$"),
        (unknown("x1").t, "$x_{1,t}$"),  # two subscripts one after the other are an error in TeX
        (nu(u), r"$\nu\left(u\right)$"),
    ],
)
def test_latex_of_expressions(expression, latex):
    assert expression._repr_latex_() == latex


def test_derivative_of_what_does_not_vary_is_zero_and_of_coordinates_is_taken():
    assert nu.x == js.Expression(0)
    assert x.t == js.Expression(0)
    assert (x**3).xx == 6 * x
    assert js.sin(x * t).x == t * js.cos(x * t)


def test_product_rule_is_kept_unexpanded_and_expands_to_the_same():
    product = (u * u).x
    assert product != 2 * u * u.x  # conservative form stays as written ...
    assert js.Expression(product.formula.doit()) == 2 * u * u.x  # ... and means this


def test_mixed_derivatives_commute():
    assert u.xt == u.tx
    assert u.x.t == u.tx
    assert u.xx.x == u.xxx


def test_numpy_scalars_join_in_from_either_side():
    assert np.float64(0.5) * u == 0.5 * u
    assert jnp.asarray(0.5) * u == 0.5 * u
    assert u - np.float32(0.5) == u - 0.5


def test_python_number_is_not_rounded_to_a_multiple_of_pi():
    assert (3.14159 * u).formula.coeff(u.formula) == pytest.approx(3.14159, abs=0)
    # 0.01 / pi is no simple multiple of pi and keeps its bits.
    assert float((0.01 / math.pi * u).formula.coeff(u.formula)) == 0.01 / math.pi


FUNCTIONS = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sinh": np.sinh,
    "cosh": np.cosh, "tanh": np.tanh, "arctan": np.arctan, "erf": scipy.special.erf, "absolute": np.abs,
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_work_on_arrays_and_in_equations(name):
    """The same js.sin takes an array and an expression, and the expression evaluates to the array's value."""
    function, points = getattr(js, name), np.linspace(0.2, 1.3, 5)
    np.testing.assert_allclose(function(points), FUNCTIONS[name](points), rtol=1e-14)
    assert function.__name__ == name
    equation = js.Equation(lambda u, x: u.x - function(x * 1.5))  # u.x is 0 for a constant field
    residual = js.residual(equation)(lambda x: 0.0 * x, None, points[:, None])
    np.testing.assert_allclose(-residual[:, 0], FUNCTIONS[name](1.5 * points), rtol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (lambda: u.w, AttributeError, "no attribute 'w'.*coordinates t, x, y, z"),
        (lambda: u.xw, AttributeError, "no attribute 'xw'"),
        (lambda: u.d("w"), ValueError, "coordinate 'w' does not exist; there is 't', 'x', 'y', 'z'"),
        (lambda: bool(u), TypeError, "no truth value"),
        (lambda: u + np.ones(3), TypeError, "got ndarray. Pass arrays and traced values as coefficients"),
        (lambda: np.ones(3) * u, TypeError, "got ndarray"),
        (lambda: u + "nu", TypeError, "got str"),
        (lambda: 1j * u, TypeError, "got complex"),
        (lambda: jnp.ones(3) * u, TypeError, "Pass arrays and traced values as coefficients"),
        (lambda: jax.jit(lambda a: (a * u, a)[1])(1.0), TypeError, "Pass arrays and traced values as coefficients"),
        (lambda: float("inf") * u, ValueError, "finite numbers, got inf"),
        (lambda: u + float("nan"), ValueError, "finite numbers, got nan"),
        (lambda: u(x), TypeError, r"cannot be called; only a coefficient can, as in conductivity\(x\)"),
        (lambda: x(u), TypeError, "cannot be called"),
    ],
)
def test_what_an_expression_cannot_do_is_said(wrong, error, match):
    with pytest.raises(error, match=match):
        wrong()


def test_equal_expressions_hash_alike():
    assert len({u.t + nu * u.xx, nu * u.xx + u.t, u.t - nu * u.xx}) == 2
    assert u.t != "u_t"
