"""Expressions: what an equation is written in.

An `Expression` is a formula in unknown fields, their partial derivatives, coordinates and coefficients.  Arithmetic is
ordinary, and an attribute made of coordinate letters differentiates: ``u.t``, ``u.xx``, ``(u * u).x``.  SymPy carries
the algebra (docs/design.md has the measurement behind that choice); this class adds the notation and nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import sympy

from jaxsci._checks import is_traced, unknown_name

PLAIN = ("t", "x", "y", "z")
COORDINATES = (*PLAIN, *(f"x{i}" for i in range(1, 101)))  # x1 ... x100 where three axes are not enough
_SYMBOLS = {name: sympy.Symbol(name, real=True) for name in COORDINATES}

_NAMES = f"{', '.join(PLAIN)} (or, in many dimensions, x1 ... x100)"


class NeedsNumbered(Exception):
    """A numbered coordinate meets an unknown that was made for t, x, y, z."""


def split_letters(letters: str) -> list[str]:
    """The coordinates of a partial derivative one by one: "txx" is t, x, x and "x1x10" is x1, x10."""
    return re.findall(r"x\d+|.", letters)


def multi_index(letters: str, coordinates: Iterable[str]) -> tuple[int, ...]:
    """How often a partial derivative differentiates by each coordinate: "txx" in t, x, y is (1, 2, 0)."""
    names = split_letters(letters)
    return tuple(names.count(c) for c in coordinates)


def sorted_letters(letters: str) -> str:
    """The same in the order t, x, y, z, x1, x2, ..."""
    return "".join(sorted(split_letters(letters), key=COORDINATES.index))


Number: TypeAlias = "float | int | Expression"


class CoefficientCall(sympy.Function):
    """A coefficient that is a function, applied to arguments: ``conductivity(x)``, ``network(u)``.

    Arguments: the coefficient's symbol, how often it is differentiated in each argument, then the arguments.
    """

    is_real = True

    @classmethod
    def eval(cls, *_):
        return None

    def _eval_derivative(self, s):
        symbol, orders, *arguments = self.args
        terms = []
        for position, argument in enumerate(arguments):
            raised = [int(str(order)) + (i == position) for i, order in enumerate(orders.args)]
            terms.append(CoefficientCall(symbol, sympy.Tuple(*raised), *arguments) * sympy.diff(argument, s))
        return sympy.Add(*terms)


class Expression:
    """A formula of an equation.

    Example:
      >>> from jaxsci.equations import unknown
      >>> u = unknown("u")
      >>> (u * u).x
      Expression((u**2)_x)
      >>> u.t + u * u.x - 0.1 * u.xx
      Expression(u_t + u*u_x - 0.1*u_xx)
    """

    __slots__ = ("formula",)
    __array_ufunc__ = None  # NumPy leaves the arithmetic to us instead of building object arrays

    def __init__(self, formula: Any):
        self.formula = formula.formula if isinstance(formula, Expression) else sympy.sympify(formula)

    # Derivatives ---------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_") or not name or any(c not in COORDINATES for c in split_letters(name)):
            raise AttributeError(
                f"An expression has no attribute {name!r}. Partial derivatives are written with the coordinates "
                f"{_NAMES}: u.t, u.xx, (u * v).x."
            )
        return self.d(*split_letters(name))

    def d(self, *coordinates: str) -> Expression:
        """The partial derivative along the named coordinates: ``u.d("x", "x")`` is ``u.xx``."""
        for name in coordinates:
            if name not in COORDINATES:
                raise ValueError(unknown_name("coordinate", name, PLAIN))
        variables = [_SYMBOLS[name] for name in coordinates]
        if any(name not in PLAIN for name in coordinates):
            plain = [u for u in self.formula.atoms(sympy.core.function.AppliedUndef) if len(u.args) == len(PLAIN)]
            if plain:
                raise NeedsNumbered(
                    f"{plain[0].func} is an unknown of t, x, y, z: make it with unknown(name, numbered=True)."
                )
        if not self.formula.has(*set(variables)):
            return Expression(0)
        if not self.formula.atoms(sympy.core.function.AppliedUndef):
            return Expression(sympy.diff(self.formula, *variables))
        inner = self.formula
        if isinstance(inner, sympy.Derivative):  # u.x.t is u.tx: partial derivatives commute
            inner, variables = inner.expr, [*inner.variables, *variables]
        return Expression(sympy.Derivative(inner, *sorted(variables, key=lambda symbol: COORDINATES.index(symbol.name))))

    # Arithmetic ----------------------------------------------------------------------------------------------------

    def __add__(self, other: Number) -> Expression:
        return Expression(self.formula + _formula(other))

    def __sub__(self, other: Number) -> Expression:
        return Expression(self.formula - _formula(other))

    def __mul__(self, other: Number) -> Expression:
        return Expression(self.formula * _formula(other))

    def __truediv__(self, other: Number) -> Expression:
        return Expression(self.formula / _formula(other))

    def __pow__(self, other: Number) -> Expression:
        return Expression(self.formula ** _formula(other))

    def __radd__(self, other: Number) -> Expression:
        return Expression(_formula(other) + self.formula)

    def __rsub__(self, other: Number) -> Expression:
        return Expression(_formula(other) - self.formula)

    def __rmul__(self, other: Number) -> Expression:
        return Expression(_formula(other) * self.formula)

    def __rtruediv__(self, other: Number) -> Expression:
        return Expression(_formula(other) / self.formula)

    def __rpow__(self, other: Number) -> Expression:
        return Expression(_formula(other) ** self.formula)

    def __neg__(self) -> Expression:
        return Expression(-self.formula)

    def __pos__(self) -> Expression:
        return self

    def __call__(self, *arguments: Number) -> Expression:
        """Apply a coefficient that is a function (its value is then a callable): ``conductivity(x)``, ``network(u)``."""
        if not isinstance(self.formula, sympy.Symbol) or self.formula.name in COORDINATES:
            raise TypeError(f"{self!r} cannot be called; only a coefficient can, as in conductivity(x) or network(u).")
        orders = sympy.Tuple(*[0] * len(arguments))
        return Expression(CoefficientCall(self.formula, orders, *(_formula(argument) for argument in arguments)))

    # Identity and printing -----------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.formula == other.formula

    def __hash__(self) -> int:
        return hash(self.formula)

    def __bool__(self) -> bool:
        raise TypeError("An expression has no truth value: an equation is written without if, and, or, <, >.")

    def __repr__(self) -> str:
        from jaxsci.equations.printing import to_text

        return f"Expression({to_text(self.formula)})"

    def _repr_latex_(self) -> str:
        from jaxsci.equations.printing import to_latex

        return f"${to_latex(self.formula)}$"


def _formula(value: Number) -> sympy.Expr:
    if isinstance(value, Expression):
        return value.formula
    if isinstance(value, int | float):
        return _number(value)
    if getattr(value, "shape", None) == () and not is_traced(value):  # a NumPy or JAX scalar: its value is fixed here,
        return _number(value.item())
    raise TypeError(
        f"An equation is written in numbers, unknowns, coordinates and coefficients; got {type(value).__name__}. "
        "Pass arrays and traced values as coefficients: they are arguments of the equation's function."
    )


def _number(value: int | float) -> sympy.Expr:
    """A number as SymPy has it; a float that is a simple multiple of pi becomes that multiple, so that it prints as one
    and sin(pi * 1) is zero."""
    if not math.isfinite(value):
        raise ValueError(f"An equation is written in finite numbers, got {value!r}.")
    if isinstance(value, float) and value != 0.0:
        for denominator in range(1, 13):
            numerator = round(value * denominator / math.pi)
            if 0 < abs(numerator) <= 1000 and numerator * math.pi / denominator == value:
                return sympy.Rational(numerator, denominator) * sympy.pi
    return sympy.sympify(value)


def unknown(name: str, numbered: bool = False) -> Expression:
    """The unknown field `name`, a function of t, x, y, z, or of these and x1 ... x100: SymPy's work grows with them."""
    field: Any = sympy.Function(name, real=True)  # a class, which SymPy's hints do not say
    return Expression(field(*(_SYMBOLS[c] for c in (COORDINATES if numbered else PLAIN))))


def coordinate(name: str) -> Expression:
    """The coordinate `name`: one of t, x, y, z, x1, ..., x100."""
    return Expression(_SYMBOLS[name])


def coefficient(name: str) -> Expression:
    """The coefficient `name`, whose value is given with the problem."""
    return Expression(sympy.Symbol(name, real=True))


# --- functions of expressions, which are the functions of arrays too ------------------------------------------------


def _function(name: str, symbolic: Any) -> Callable[[Any], Any]:
    def apply(argument):
        if isinstance(argument, Expression):
            return Expression(symbolic(argument.formula))
        import jax
        import jax.numpy as jnp

        return getattr(jnp if hasattr(jnp, name) else jax.scipy.special, name)(argument)

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = f"""The function {name} of an expression (symbolic) or of an array (``jax.numpy``), elementwise.

    Example:
      >>> import jaxsci as js
      >>> js.Equation(lambda u: u.t - js.{name}(u))
      u_t - {symbolic.__name__}(u) = 0
    """
    return apply


sin = _function("sin", sympy.sin)
cos = _function("cos", sympy.cos)
tan = _function("tan", sympy.tan)
exp = _function("exp", sympy.exp)
log = _function("log", sympy.log)
sqrt = _function("sqrt", sympy.sqrt)
sinh = _function("sinh", sympy.sinh)
cosh = _function("cosh", sympy.cosh)
tanh = _function("tanh", sympy.tanh)
arctan = _function("arctan", sympy.atan)
erf = _function("erf", sympy.erf)
absolute = _function("absolute", sympy.Abs)
