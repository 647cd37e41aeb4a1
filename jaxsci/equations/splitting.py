"""Splitting: the linear constant-coefficient part of an equation, and the rest, as a solver on a grid wants them.

Each residual is a sum of terms.  A term ``c * (partial derivative of one unknown)`` whose factor c holds neither an
unknown nor a coordinate is *linear*: on a grid it acts by its symbol.  Everything else is the *rest*, kept in conservation
form where it was written so, or can be: ``u u_x`` is ``(u^2 / 2)_x``, which costs one transform less.
"""

from __future__ import annotations

from typing import NamedTuple

import sympy
from sympy.core.function import AppliedUndef

from jaxsci.equations.equation import Equation
from jaxsci.equations.evaluation import Partial, coordinates_in, partial_of, partials_in
from jaxsci.equations.expression import COORDINATES, sorted_letters
from jaxsci.equations.printing import subscript, to_text

_SYMBOLS = {name: sympy.Symbol(name, real=True) for name in COORDINATES}


class LinearTerm(NamedTuple):
    """factor * unknown_letters, in equation `row`."""

    row: int
    unknown: str
    letters: str
    factor: sympy.Expr


class RestTerm(NamedTuple):
    """(formula)_letters, in equation `row`; letters is "" where nothing is differentiated from outside."""

    row: int
    letters: str
    formula: sympy.Expr


class Split(NamedTuple):
    """An equation as linear terms plus rest; residual = sum of all of them."""

    linear: tuple[LinearTerm, ...]
    rest: tuple[RestTerm, ...]


def split(equation: Equation) -> Split:
    """Split every residual of an equation.

    Raises:
      ValueError: a time derivative occurs nonlinearly, or several with varying factors, so that no row can be solved for one.
    """
    linear: dict[tuple[int, str, str], sympy.Expr] = {}
    rest: dict[tuple[int, str], sympy.Expr] = {}
    highest = {u: equation.time_order(u) for u in equation.unknowns}
    for row, residual in enumerate(equation.residuals):
        for letters, term in expanded_terms(_with_constant_rate(residual.formula), ""):
            found = _linear_factor(term)
            if found is not None:
                factor, (unknown, inner) = found
                key = (row, unknown, sorted_letters(letters + inner))
                linear[key] = linear.get(key, sympy.S.Zero) + factor
                continue
            evolving = [p for p in partials_in(term.doit()) if highest[p[0]] > 0 and p[1].count("t") >= highest[p[0]]]
            if evolving or "t" in letters:
                raise ValueError(
                    f"{equation.name}: the highest time derivative must stand alone with a constant factor, as in "
                    f"2 * u.t, or be the only one in its equation; found it in the term "
                    f"{to_text(term)}{'_' + letters if letters else ''}."
                )
            rest[row, letters] = rest.get((row, letters), sympy.S.Zero) + term
    return Split(
        tuple(LinearTerm(*key, factor) for key, factor in linear.items() if factor != 0),
        tuple(RestTerm(*key, formula) for key, formula in rest.items() if formula != 0),
    )


def _with_constant_rate(formula: sympy.Expr) -> sympy.Expr:
    """R(u, x) u_t + ... as u_t + .../R, where this is the only time derivative; any other formula as it is."""
    if not formula.has(_SYMBOLS["t"]):
        return formula
    expanded = formula.doit()
    rates = [d for d in expanded.atoms(sympy.Derivative) if "t" in subscript(d)]
    if len(rates) != 1 or partial_of(rates[0]) is None:
        return formula
    (rate,) = rates
    factor = sympy.diff(expanded, rate)
    if factor.has(rate) or not (factor.atoms(AppliedUndef) or coordinates_in(factor)):
        return formula
    return rate + sympy.Add(*(term / factor for term in sympy.Add.make_args(sympy.expand(expanded - factor * rate))))


def expanded_terms(formula: sympy.Expr, outer: str) -> list[tuple[str, sympy.Expr]]:
    """The terms of (formula)_outer as (letters, term) with term not differentiated from outside any more than letters say."""
    out = []
    expanded = sympy.expand(formula, power_base=False, power_exp=False, log=False)
    for term in sympy.Add.make_args(expanded):
        constant, varying = term.as_independent(AppliedUndef, *_SYMBOLS.values(), as_Add=False)
        if isinstance(varying, sympy.Derivative) and partial_of(varying) is None:
            out += [(letters, constant * t) for letters, t in expanded_terms(varying.expr, outer + subscript(varying))]
        else:
            out.append(_conservative(constant, varying, outer))
    return out


def _conservative(constant: sympy.Expr, varying: sympy.Expr, outer: str) -> tuple[str, sympy.Expr]:
    """u^p u_x is (u^(p+1) / (p+1))_x."""
    if isinstance(varying, sympy.Mul) and len(varying.args) == 2:
        for power, slope in (varying.args, varying.args[::-1]):
            base, exponent = power.as_base_exp()
            is_slope = isinstance(slope, sympy.Derivative) and isinstance(slope.expr, AppliedUndef)
            if (
                is_slope
                and slope.expr == base
                and exponent.is_Integer
                and exponent > 0
                and subscript(slope) in ("x", "y", "z")
            ):
                return outer + subscript(slope), constant * base ** (exponent + 1) / (exponent + 1)
    return outer, constant * varying


def _linear_factor(term: sympy.Expr) -> tuple[sympy.Expr, Partial] | None:
    constant, varying = term.as_independent(AppliedUndef, *_SYMBOLS.values(), as_Add=False)
    partial = partial_of(varying)
    if partial is None or coordinates_in(constant):
        return None
    return constant, partial
