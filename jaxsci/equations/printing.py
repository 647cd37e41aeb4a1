"""Printing of formulas: LaTeX for people, plain text for error messages, a canonical string for identities."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import sympy
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from jaxsci.equations.expression import COORDINATES


def subscript(derivative: sympy.Derivative) -> str:
    """The coordinates of a derivative in the order t, x, y, z: "txx"."""
    counts = {str(variable): int(count) for variable, count in derivative.variable_count}
    return "".join(name * counts.get(name, 0) for name in COORDINATES)


def _reading_order(term: sympy.Expr) -> tuple:
    """Time derivatives first, then nonlinear terms, then by order of derivative: u_t + u u_x - nu u_xx."""
    indices = [subscript(d) for d in term.atoms(sympy.Derivative)]
    in_time = max((index.count("t") for index in indices), default=0)
    highest = max((len(index) for index in indices), default=0)
    return (-in_time, highest if term.atoms(AppliedUndef) else 99, canonical(term))


class _Subscripts:
    """What the LaTeX and the text printer share: u_xx for derivatives, u for u(t, x), terms in reading order."""

    def _as_ordered_terms(self, formula, order=None):
        return sorted(sympy.Add.make_args(formula), key=_reading_order)

    def _print_AppliedUndef(self, formula, exp=None):
        name = self._print(sympy.Symbol(formula.func.__name__))
        return name if exp is None else f"{name}^{{{exp}}}"


class _Latex(_Subscripts, LatexPrinter):
    def _print_Function(self, formula, exp=None):
        if isinstance(formula, AppliedUndef):
            return self._print_AppliedUndef(formula, exp)
        return super()._print_Function(formula, exp)

    def _print_Derivative(self, formula):
        inner = self._print(formula.expr)
        if not isinstance(formula.expr, AppliedUndef):
            inner = rf"\left({inner}\right)"
        return f"{inner}_{{{subscript(formula)}}}"

    def _print_CoefficientCall(self, formula, exp=None):
        symbol, orders, *arguments = formula.args
        marks = "".join(f"\\partial_{{{i + 1}}}" * int(order) for i, order in enumerate(orders))
        inner = ", ".join(self._print(argument) for argument in arguments)
        text = rf"{marks}{self._print(symbol)}\left({inner}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class _Text(_Subscripts, StrPrinter):
    def _print_Function(self, formula):
        if isinstance(formula, AppliedUndef):
            return self._print_AppliedUndef(formula)
        return super()._print_Function(formula)

    def _print_Derivative(self, formula):
        inner = self._print(formula.expr)
        return f"{inner if isinstance(formula.expr, AppliedUndef) else f'({inner})'}_{subscript(formula)}"

    def _print_CoefficientCall(self, formula):
        symbol, orders, *arguments = formula.args
        marks = "".join(f"d{i + 1}" * int(order) for i, order in enumerate(orders))
        return f"{marks}{symbol}({', '.join(self._print(argument) for argument in arguments)})"

    def _print_Float(self, formula):
        return f"{float(formula):g}"


def to_latex(formula: sympy.Expr, symbols: Mapping[str, str] | None = None) -> str:
    names = {sympy.Symbol(name, real=True): latex for name, latex in (symbols or {}).items()}
    names |= {sympy.Symbol(name): latex for name, latex in (symbols or {}).items()}
    return _Latex({"symbol_names": names, "min": -4, "max": 5}).doprint(formula)


def to_text(formula: sympy.Expr) -> str:
    return _Text().doprint(formula)


def canonical(formula: sympy.Basic) -> str:
    """A string that depends on the formula alone: not on the order it was written in, nor on SymPy's own ordering."""
    if isinstance(formula, sympy.Float):
        return float(formula).hex()
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
