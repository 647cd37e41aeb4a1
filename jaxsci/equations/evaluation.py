"""Evaluation of a formula in JAX, given the values of what occurs in it."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import sympy
from sympy.core.function import AppliedUndef

from jaxsci.equations.expression import COORDINATES, CoefficientCall
from jaxsci.equations.printing import subscript

Partial = tuple[str, str]  # an unknown and the coordinates it is differentiated along: ("u", "xx"); ("u", "") is u

_FUNCTIONS: dict[Any, Callable] = {
    sympy.sin: jnp.sin,
    sympy.cos: jnp.cos,
    sympy.tan: jnp.tan,
    sympy.exp: jnp.exp,
    sympy.log: jnp.log,
    sympy.sinh: jnp.sinh,
    sympy.cosh: jnp.cosh,
    sympy.tanh: jnp.tanh,
    sympy.atan: jnp.arctan,
    sympy.erf: jax.scipy.special.erf,
    sympy.Abs: jnp.abs,
    sympy.sign: jnp.sign,
}


def partial_of(node: sympy.Basic) -> Partial | None:
    """("u", "xx") for the node u_xx, ("u", "") for u; None for anything else."""
    if isinstance(node, AppliedUndef):
        return node.func.__name__, ""
    if isinstance(node, sympy.Derivative) and isinstance(node.expr, AppliedUndef):
        return node.expr.func.__name__, subscript(node)
    return None


def partials_in(formula: sympy.Basic) -> frozenset[Partial]:
    """The unknowns and the partial derivatives of unknowns that a formula contains."""
    here = partial_of(formula)
    if here is not None:
        return frozenset({here})
    return frozenset().union(*(partials_in(argument) for argument in formula.args)) if formula.args else frozenset()


def coordinates_in(formula: sympy.Basic) -> frozenset[str]:
    """The coordinates that occur explicitly (not as arguments of an unknown)."""
    if partial_of(formula) is not None:
        return frozenset()
    if isinstance(formula, sympy.Derivative):
        return coordinates_in(formula.expr)
    if isinstance(formula, sympy.Symbol):
        return frozenset({formula.name}) & frozenset(COORDINATES)
    return frozenset().union(*(coordinates_in(argument) for argument in formula.args)) if formula.args else frozenset()


def _power(base: Any, exponent: sympy.Expr, value: Callable) -> Any:
    if exponent.is_Integer:
        n = int(exponent)
        return 1.0 / base ** (-n) if n < 0 else base**n
    if exponent == sympy.Rational(1, 2):
        return jnp.sqrt(base)
    if exponent == sympy.Rational(-1, 2):
        return 1.0 / jnp.sqrt(base)
    return base ** value(exponent)


def _call(function: Callable, orders: tuple[int, ...], arguments: list[Any]) -> Any:
    """A coefficient that is a function, differentiated in its arguments as often as `orders` says, elementwise.

    A function of one point is mapped over all of them, unless it says by an attribute `broadcasts` that it takes arrays.
    """
    if getattr(function, "broadcasts", False) and not any(orders):
        return function(*arguments)
    for position, order in enumerate(orders):
        for _ in range(order):
            function = _slope(function, position)
    arguments = jnp.broadcast_arrays(*arguments)
    shape = arguments[0].shape
    return jax.vmap(function)(*(jnp.ravel(a) for a in arguments)).reshape(shape)


def _slope(function: Callable, position: int) -> Callable:
    def slope(*arguments):
        def along(value):
            return function(*arguments[:position], value, *arguments[position + 1 :])

        return jax.jvp(along, (arguments[position],), (jnp.ones_like(arguments[position]),))[1]

    return slope


def evaluate(
    formula: sympy.Expr,
    partials: Mapping[Partial, Any],
    coordinates: Mapping[str, Any],
    coefficients: Mapping[str, Any],
    differentiate: Callable[[Any, str], Any] | None = None,
) -> Any:
    """The value of a formula, elementwise in whatever shape its ingredients have.

    Args:
      partials: the value of each unknown and partial derivative that occurs.
      coordinates, coefficients: their values.
      differentiate: how to differentiate a computed value, ``(value, "xx") -> value``: what a grid can do.  Without it a
        derivative of a compound expression is expanded by the product rule.
    """
    known: dict[sympy.Basic, Any] = {}

    def value(node: sympy.Basic) -> Any:
        if node not in known:
            known[node] = compute(node)
        return known[node]

    def compute(node: sympy.Basic) -> Any:
        partial = partial_of(node)
        if partial is not None:
            return partials[partial]
        if isinstance(node, sympy.Symbol):
            return coordinates[node.name] if node.name in coordinates else coefficients[node.name]
        if isinstance(node, sympy.Integer):
            return int(node)
        if isinstance(node, sympy.Number):
            return float(node)
        if isinstance(node, sympy.NumberSymbol):
            return math.pi if node is sympy.pi else float(node)
        if isinstance(node, sympy.Derivative):
            if differentiate is None:
                return value(node.doit())
            return differentiate(value(node.expr), subscript(node))
        if isinstance(node, CoefficientCall):
            symbol, orders, *arguments = node.args
            times = tuple(int(str(order)) for order in orders.args)
            return _call(coefficients[str(symbol)], times, [value(a) for a in arguments])
        if isinstance(node, sympy.Add):
            return functools.reduce(operator.add, (value(term) for term in node.args))
        if isinstance(node, sympy.Mul):
            return _product(node, value)
        if isinstance(node, sympy.Pow):
            return _power(value(node.base), node.exp, value)
        if node.func in _FUNCTIONS:
            return _FUNCTIONS[node.func](*(value(argument) for argument in node.args))
        raise TypeError(f"{node.func.__name__} has no meaning in an equation yet: add it to evaluation._FUNCTIONS.")

    return value(formula)


def _product(node: sympy.Mul, value: Callable) -> Any:
    """A product, with its negative powers gathered into one division, so that a / b is rounded once."""
    inverses = [f for f in node.args if isinstance(f, sympy.Pow) and f.exp.is_Integer and int(f.exp) < 0]
    factors = [value(f) for f in node.args if f not in inverses] or [1.0]
    numerator = functools.reduce(operator.mul, factors)
    if not inverses:
        return numerator
    return numerator / functools.reduce(operator.mul, (value(f.base**-f.exp) for f in inverses))
