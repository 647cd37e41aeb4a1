"""Balance laws: an equation as densities, fluxes, diffusive fluxes and sources, as a finite-volume method wants them.

Row by row, an equation of first order in time is put in the form

    d/dt M_i(u) + sum_a d/da F_ia(u, t, x) + sum_a d/da V_ia(u, u_a, t, x) + S_i(u, t, x) = 0,

with densities M, fluxes F, diffusive fluxes V (which hold first derivatives; V = -D u_x for Fick's law) and sources S.  The
form is the one in which the equation was written, with two liberties that change nothing: u^p u_x is (u^(p+1) / (p+1))_x, and
a factor f(x) that stands before a derivative goes inside, f u_x = (f u)_x - f_x u.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import sympy
from sympy.core.function import AppliedUndef

from jaxsci._checks import listed
from jaxsci.equations.equation import Equation
from jaxsci.equations.evaluation import coordinates_in, partial_of, partials_in
from jaxsci.equations.expression import COORDINATES, unknown
from jaxsci.equations.printing import to_text
from jaxsci.equations.splitting import expanded_terms

_SYMBOLS = {name: sympy.Symbol(name, real=True) for name in COORDINATES}


class Recovery(NamedTuple):
    """How an unknown follows from the density of a row and the unknowns recovered before it.

    (density - rest) / slope where the density is linear in it; a scalar root where slope is None.
    """

    unknown: str
    row: int
    slope: sympy.Expr | None
    rest: sympy.Expr


class BalanceLaw(NamedTuple):
    """An equation row by row; a missing flux, diffusive flux or source is zero."""

    densities: tuple[sympy.Expr, ...]  # M by row
    fluxes: dict[tuple[int, str], sympy.Expr]  # F by row and axis
    diffusion: dict[tuple[int, str], sympy.Expr]  # V by row and axis
    sources: dict[int, sympy.Expr]  # S by row
    recovery: tuple[Recovery, ...]  # u from M, in the order in which it can be done


@functools.lru_cache(maxsize=128)
def balance_law(equation: Equation) -> BalanceLaw:
    """The balance law that an equation states.

    Raises:
      ValueError: an unknown has no first time derivative, a term is not in conservation form, a derivative is of third or
        higher order or mixed, or the unknowns do not follow from the densities one by one.
    Example:
      >>> import jaxsci as js
      >>> from jaxsci.equations.conservation import balance_law
      >>> law = balance_law(js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx))
      >>> law.fluxes, law.diffusion
      ({(0, 'x'): u(t, x, y, z)**2/2}, {(0, 'x'): -viscosity*Derivative(u(t, x, y, z), x)})
    """
    for u in equation.unknowns:
        if equation.time_order(u) != 1:
            raise ValueError(
                f"{equation.name}: a balance law has one time derivative of every unknown, {u} has {equation.time_order(u)}. "
                "An incompressible flow is solved by js.Staggered (in velocity and pressure, with walls) or js.Spectral."
            )
    if len(equation.residuals) != len(equation.unknowns):
        raise ValueError(f"{equation.name}: {len(equation.residuals)} equations for {len(equation.unknowns)} unknowns.")
    densities = dict.fromkeys(range(len(equation.residuals)), sympy.S.Zero)
    fluxes: dict[tuple[int, str], sympy.Expr] = {}
    diffusion: dict[tuple[int, str], sympy.Expr] = {}
    sources: dict[int, sympy.Expr] = {}
    for row, residual in enumerate(equation.residuals):
        pending = expanded_terms(residual.formula, "")
        while pending:
            letters, term = _inside(*pending.pop())
            slopes = {letter for _, inner in partials_in(term) for letter in inner}
            if letters == "t" and not slopes:
                densities[row] += term
            elif letters == "" and not slopes:
                sources[row] = sources.get(row, 0) + term
            elif len(letters) == 1 and letters in "xyz" and not slopes:
                fluxes[row, letters] = fluxes.get((row, letters), 0) + term
            elif len(letters) == 1 and letters in "xyz" and slopes == {letters} and _is_first_order(term):
                diffusion[row, letters] = diffusion.get((row, letters), 0) + term
            else:
                pending += _rewritten(equation, letters, term)
    recovery = _recovery(equation, tuple(densities.values()))
    return BalanceLaw(tuple(densities.values()), fluxes, diffusion, sources, recovery)


@functools.lru_cache(maxsize=128)
def wave_speeds(equation: Equation, axis: str) -> tuple[tuple[sympy.Expr, sympy.Expr], ...] | None:
    """The wave speeds along an axis as pairs (c, d), each standing for c - sqrt(d) and c + sqrt(d).

    They are the eigenvalues of dF/dM; None where the characteristic polynomial has no factors of first and second degree only.
    For a gas they are v and v +- sqrt(gamma p / rho), as in textbooks.
    """
    law = balance_law(equation)
    fields = [unknown(name).formula for name in equation.unknowns]
    plain = {field: sympy.Dummy(name) for field, name in zip(fields, equation.unknowns, strict=True)}
    symbols, back = list(plain.values()), {symbol: field for field, symbol in plain.items()}
    rows = range(len(law.densities))
    densities = sympy.Matrix([m.xreplace(plain) for m in law.densities]).jacobian(symbols)
    fluxes = sympy.Matrix([law.fluxes.get((row, axis), sympy.S.Zero).xreplace(plain) for row in rows]).jacobian(symbols)
    if len(symbols) == 1:
        return (((fluxes[0] / densities[0]).xreplace(back), sympy.S.Zero),)
    matrix = (fluxes * densities.inv()).applyfunc(sympy.cancel)
    if not all(entry.is_rational_function(*symbols) for entry in matrix):
        return None
    speed = sympy.Dummy("speed")
    pairs = []
    for factor, _ in sympy.factor_list(sympy.numer(sympy.together(matrix.charpoly(speed).as_expr(speed))))[1]:
        polynomial = sympy.Poly(factor, speed)
        if polynomial.degree() > 2:
            return None
        if polynomial.degree() > 0:
            *square, slope, rest = polynomial.all_coeffs()
            centre = -slope / (2 * square[0]) if square else -rest / slope
            discriminant = centre**2 - rest / square[0] if square else sympy.S.Zero
            pairs.append((sympy.cancel(centre).xreplace(back), sympy.cancel(discriminant).xreplace(back)))
    wide = {centre for centre, discriminant in pairs if discriminant != 0}  # c lies between c - sqrt(d) and c + sqrt(d)
    return tuple(pair for pair in pairs if pair[1] != 0 or pair[0] not in wide)


def is_affine(formula: sympy.Expr) -> bool:
    """Whether a formula is of first degree in the unknowns and their derivatives together."""
    for kind in (sympy.Derivative, AppliedUndef):  # derivatives first: they contain the unknowns
        formula = formula.subs({node: sympy.Dummy() for node in formula.atoms(kind)})
    symbols = [s for s in formula.free_symbols if isinstance(s, sympy.Dummy)]
    return all(sympy.diff(formula, a, b) == 0 for a in symbols for b in symbols)


def _inside(letters: str, term: sympy.Expr) -> tuple[str, sympy.Expr]:
    """c u_x with a constant c is (c u)_x: bring one derivative outside; of u_xx one stays inside, which makes it diffusive."""
    if letters:
        return letters, term
    constant, varying = term.as_independent(AppliedUndef, *_SYMBOLS.values(), as_Add=False)
    partial = partial_of(varying)
    if partial is None or not partial[1]:
        return letters, term
    inner = partial[1]
    field = varying.expr  # ty: ignore[missing-attribute]
    for letter in inner[1:]:
        field = sympy.Derivative(field, _SYMBOLS[letter])
    return inner[0], constant * field


def _is_first_order(term: sympy.Expr) -> bool:
    return all(len(letters) <= 1 for _, letters in partials_in(term))


def _rewritten(equation: Equation, letters: str, term: sympy.Expr) -> list[tuple[str, sympy.Expr]]:
    """A term in a form nearer to conservation: (u^2)_xx as (2 u u_x)_x, f(x) u_x as (f u)_x - f_x u."""
    if len(letters) == 2 and letters[0] == letters[1] and not any(inner for _, inner in partials_in(term)):
        return [(letters[0], sympy.diff(term, _SYMBOLS[letters[1]]))]
    known, varying = term.as_independent(AppliedUndef, as_Add=False)
    partial = partial_of(varying)
    if letters == "" and partial is not None and partial[1] and coordinates_in(known):
        axis = partial[1][0]
        field = varying.expr  # ty: ignore[missing-attribute]
        for letter in partial[1][1:]:
            field = sympy.Derivative(field, _SYMBOLS[letter])
        return [(axis, known * field), ("", -sympy.diff(known, _SYMBOLS[axis]) * field)]
    shown = f"({to_text(term)})_{letters}" if letters else to_text(term)
    if "t" in letters or any("t" in inner for _, inner in partials_in(term)):
        cure = "Write what varies inside the time derivative, as in (u + u**2).t instead of (1 + 2 * u) * u.t."
    elif any(len(letters + inner) > 2 or len(set(letters + inner)) > 1 for _, inner in partials_in(term)):
        cure = "Mixed derivatives and orders above two are for js.Spectral."
    else:
        cure = "Write it in conservation form, as in (u * v).x."
    raise ValueError(f"{equation.name}: the term {shown} is not part of a balance law. {cure}")


def _recovery(equation: Equation, densities: tuple[sympy.Expr, ...]) -> tuple[Recovery, ...]:
    """The unknowns one by one: each time a density that holds a single one not known yet, linearly if there is a choice."""
    open_rows, found, steps = set(range(len(densities))), set(), []
    while open_rows:
        candidates = []
        for row in sorted(open_rows):
            missing = {name for name, _ in partials_in(densities[row])} - found
            if len(missing) == 1:
                (name,) = missing
                field = next(f for f in densities[row].atoms(AppliedUndef) if f.func.__name__ == name)
                slope = sympy.diff(densities[row], field)
                linear = not slope.has(field)
                rest = sympy.expand(densities[row] - slope * field) if linear else sympy.S.Zero
                candidates.append(Recovery(name, row, slope if linear else None, rest))
        if not candidates:
            left = sorted(set(equation.unknowns) - found)
            raise ValueError(
                f"{equation.name}: the unknowns {listed(left)} do not follow from the densities one by one; choose unknowns such "
                "that each density adds one, as density, velocity and pressure do."
            )
        best = min(candidates, key=lambda step: step.slope is None)
        steps.append(best)
        found.add(best.unknown)
        open_rows.remove(best.row)
    return tuple(steps)
