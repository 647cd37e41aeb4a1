"""Manufactured solutions: choose the solution, derive the source that makes it one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxsci._checks import check_keys
from jaxsci.equations import Equation
from jaxsci.equations.expression import coordinate
from jaxsci.problems.domain import Box
from jaxsci.problems.formula import Formula
from jaxsci.problems.problem import Problem


def manufactured(
    equation: Equation, domain: Box, *, exact: Mapping[str, Any], coefficients: Mapping[str, Any], **options: Any
) -> Problem:
    """The problem whose exact solution is `exact`: the equation with the source ``residual(exact)``, started from `exact`.

    The source is derived symbolically, so it holds for any coefficients.

    Args:
      exact: by unknown, a function of coordinates and coefficients built from ``js.sin`` and the like.
    Raises:
      ValueError: an exact solution that is no expression.
    Reference: Roache (2002), J. Fluids Eng. 124, 4.
    Example:
      >>> import jaxsci as js
      >>> heat = js.Equation(lambda u, diffusivity: u.t - diffusivity * u.xx, name="heat")
      >>> js.manufactured(heat, js.Box(t=(0, 1), x=(0, 1)), coefficients={"diffusivity": 1.0},
      ...                 exact={"u": lambda t, x: js.cos(6.283185307179586 * x) * t}).equation
      u_t - diffusivity*u_xx - cos(2*pi*x) - 4*pi**2*diffusivity*t*cos(2*pi*x) = 0
    """
    check_keys("exact solution of", exact, equation.unknowns, complete=True)
    formulas = {name: Formula.of(value) for name, value in exact.items()}
    expressions = {}
    for name, formula in formulas.items():
        if formula.expression is None:
            raise ValueError(
                f"manufactured: the exact {name} must be an expression (js.sin, js.exp, ...), not an opaque function."
            )
        expressions[name] = formula.expression
    sources = equation.substitute(expressions)
    start = domain["t"][0] if "t" in domain else 0.0
    initial = {}
    for name in equation.unknowns:
        for k in range(equation.time_order(name)):
            value = expressions[name].d(*"t" * k) if k else expressions[name]
            initial[name + "_t" * k] = Formula(_at(value, start))
    return Problem(
        equation.with_source(sources), domain, coefficients=coefficients, initial=initial, exact=formulas, **options
    )


def _at(expression: Any, start: float) -> Any:
    return type(expression)(expression.formula.subs(coordinate("t").formula, start))
