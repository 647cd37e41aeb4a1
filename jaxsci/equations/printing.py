"""Printing of formulas: LaTeX for people, plain text for error messages, a canonical string for identities."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from jaxsci.equations.expression import sorted_letters


def subscript(derivative: sympy.Derivative) -> str:
    """The coordinates of a derivative in the order t, x, y, z, x1, x2, ...: "txx"."""
    return sorted_letters("".join(str(variable) * int(count) for variable, count in derivative.variable_count))


def _reading_order(term: sympy.Expr) -> tuple:
    """Time derivatives first, then nonlinear terms, then by order of derivative: u_t + u u_x - nu u_xx."""
    indices = [subscript(d) for d in term.atoms(sympy.Derivative)]
    in_time = max((index.count("t") for index in indices), default=0)
    highest = max((len(index) for index in indices), default=0)
    return (-in_time, highest if term.atoms(AppliedUndef) else 99, canonical(term))


class _Subscripts:
    """What the LaTeX and the text printer share: u_xx for derivatives, u for u(t, x), terms in reading order."""

    def _as_ordered_terms(self, expr, order=None):
        return sorted(sympy.Add.make_args(expr), key=_reading_order)

    def _print_AppliedUndef(self, expr, exp=None):
        name = self._print(sympy.Symbol(expr.func.__name__))  # ty: ignore[missing-attribute]
        return name if exp is None else f"{name}^{{{exp}}}"


class _Latex(_Subscripts, LatexPrinter):
    def _print_Symbol(self, expr, style="plain"):
        """A name of several letters is upright: it is no product."""
        text = super()._print_Symbol(expr, style)
        if not re.match("[A-Za-z]{2}", text):
            return text
        name = expr.name.replace("_", r"\_")
        return rf"\mathrm{{{name}}}"

    def _print_Function(self, expr, exp=None):
        if isinstance(expr, AppliedUndef):
            return self._print_AppliedUndef(expr, exp)
        return super()._print_Function(expr, exp)

    def _print_Derivative(self, expr):
        inner = self._print(expr.expr)
        if not isinstance(expr.expr, AppliedUndef):
            inner = rf"\left({inner}\right)"
        elif "_{" in inner:  # TeX allows one subscript: x_{1,t}
            return f"{inner.removesuffix('}')},{subscript(expr)}}}"
        return f"{inner}_{{{subscript(expr)}}}"

    def _print_CoefficientCall(self, expr, exp=None):
        symbol, orders, *arguments = expr.args
        marks = "".join(f"\\partial_{{{i + 1}}}" * int(order) for i, order in enumerate(orders))
        inner = ", ".join(self._print(argument) for argument in arguments)
        text = rf"{marks}{self._print(symbol)}\left({inner}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class _Text(_Subscripts, StrPrinter):
    def _print_Function(self, expr):
        if isinstance(expr, AppliedUndef):
            return self._print_AppliedUndef(expr)
        return super()._print_Function(expr)

    def _print_Derivative(self, expr):
        inner = self._print(expr.expr)
        return f"{inner if isinstance(expr.expr, AppliedUndef) else f'({inner})'}_{subscript(expr)}"

    def _print_CoefficientCall(self, expr):
        symbol, orders, *arguments = expr.args
        marks = "".join(f"d{i + 1}" * int(order) for i, order in enumerate(orders))
        return f"{marks}{symbol}({', '.join(self._print(argument) for argument in arguments)})"

    def _print_Float(self, expr):
        return f"{float(expr):g}"


def to_latex(formula: sympy.Expr, symbols: Mapping[str, str] | None = None) -> str:
    """LaTeX, with derivatives as subscripts; symbols gives the LaTeX of coefficients by name."""
    names = {sympy.Symbol(name, real=True): latex for name, latex in (symbols or {}).items()}
    names |= {sympy.Symbol(name): latex for name, latex in (symbols or {}).items()}
    settings = {"symbol_names": names, "min": -4, "max": 5}
    text = _Latex(settings).doprint(formula)
    if r"\mathrm" in text:  # words want a space between factors
        return _Latex(settings | {"mul_symbol": r" \, "}).doprint(formula)
    return text


def to_text(formula: sympy.Expr) -> str:
    """Plain text, with derivatives as subscripts."""
    return _Text().doprint(formula)


def canonical(formula: sympy.Basic) -> str:
    """A string that depends on the formula alone: not on the order it was written in, nor on SymPy's own ordering."""
    if isinstance(formula, sympy.Float):
        return float(formula).hex()
    if isinstance(formula, sympy.NumberSymbol):
        return f"number {formula}"  # so that a coefficient may be called pi
    if isinstance(formula, AppliedUndef):
        return formula.func.__name__
    if isinstance(formula, sympy.Derivative):
        return f"d({canonical(formula.expr)},{subscript(formula)})"
    if not formula.args:
        return str(formula)
    parts = [canonical(argument) for argument in formula.args]
    if isinstance(formula, sympy.Add | sympy.Mul):
        parts.sort()
    return f"{type(formula).__name__}({','.join(parts)})"


def digest(*parts: str) -> str:
    """Sixteen hexadecimal digits that identify the parts."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]
