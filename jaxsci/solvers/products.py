r"""The rest of an equation as few products to be transformed: what a pseudo-spectral step spends its time on.

Each product is evaluated on the grid and transformed once, however often it occurs. Where the equations of motion are
incompressible, three identities save transforms; none changes the Galerkin-truncated equation, only its cost:

    sum_j u_j b_{x_j}          = sum_j (u_j b)_{x_j}                              where sum_j u_{j, x_j} = 0
    u_i^2 and a pressure       : u_i^2 - u_n^2, the gradient of u_n^2 goes into the pressure
    psi_y w_x - psi_x w_y      = s [(d_xx - d_yy)(psi_x psi_y) + d_xy (psi_y^2 - psi_x^2)]   where w = s lap psi

So 2-D vorticity takes 2 + 2 transforms instead of 4 + 1, and 3-D velocity 3 + 5 instead of 12 + 3.

Reference: Basdevant (1983), J. Comput. Phys. 50, 209, eq. 4 and 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sympy
from sympy.core.function import AppliedUndef

from jaxsci.equations.evaluation import Partial, coordinates_in, partial_of, partials_in
from jaxsci.equations.expression import COORDINATES, unknown
from jaxsci.equations.splitting import LinearTerm, RestTerm

_COORDINATES = tuple(sympy.Symbol(name, real=True) for name in COORDINATES)


class Use(NamedTuple):
    """factor * (product)_letters, in equation `row`."""

    row: int
    letters: str
    factor: sympy.Expr
    product: int


class Products(NamedTuple):
    """Formulas that are evaluated on the grid, where they are used, and the partial derivatives that they need."""

    formulas: tuple[sympy.Expr, ...]
    uses: tuple[Use, ...]
    needed: tuple[Partial, ...]


def gather(terms: Sequence[RestTerm]) -> Products:
    """Each formula once, whatever its constant factor and wherever it occurs."""
    formulas: list[sympy.Expr] = []
    uses = []
    for row, letters, formula in terms:
        factor, product = formula.as_independent(AppliedUndef, *_COORDINATES, as_Add=False)
        if -product in formulas:
            factor, product = -factor, -product
        if product not in formulas:
            formulas.append(product)
        uses.append(Use(row, letters, factor, formulas.index(product)))
    needed = frozenset().union(*(partials_in(formula) for formula in formulas)) if formulas else frozenset()
    return Products(tuple(formulas), tuple(uses), tuple(sorted(needed)))


class Parts(NamedTuple):
    """A rest without its sources, and the sources: terms with neither an unknown nor the time, transformed once for all."""

    others: tuple[RestTerm, ...]
    sources: tuple[RestTerm, ...]


def separate_sources(rest: Sequence[RestTerm]) -> Parts:
    """Split the rest, term by term."""
    others, sources = [], []
    for row, letters, formula in rest:
        is_source = lambda f: not partials_in(f) and "t" not in coordinates_in(f)  # noqa: E731
        parts = sympy.Add.make_args(formula)
        fixed = sympy.Add(*(part for part in parts if is_source(part)))
        others += [RestTerm(row, letters, formula - fixed)] if formula != fixed else []
        sources += [RestTerm(row, letters, fixed)] if fixed != 0 else []
    return Parts(tuple(others), tuple(sources))


def economical(linear: Sequence[LinearTerm], rest: Sequence[RestTerm], algebraic: Sequence[str]) -> tuple[RestTerm, ...]:
    """The rest in the form that takes the fewest transforms, the same up to the gradient of a pressure.

    Args:
      linear: with constraints differentiated in time, as `structure` has them.
      algebraic: the unknowns without a time derivative.
    """
    carriers = _divergence_free(linear)
    if carriers:
        rest = _without_trace(linear, _carried(rest, carriers), carriers, algebraic)
    stream = _stream_function(linear, algebraic)
    return _jacobian(rest, *stream) if stream else tuple(rest)


def _divergence_free(linear: Sequence[LinearTerm]) -> dict[str, str]:
    """{"x": "u", "y": "v"} where a row says c (u_x + v_y)_t = 0; empty where none does."""
    for row in {term.row for term in linear}:
        terms = [term for term in linear if term.row == row]
        axes = [term.letters.removeprefix("t") for term in terms]
        is_rate = all(term.letters == "t" + axis and len(axis) == 1 for term, axis in zip(terms, axes, strict=True))
        different = len(set(axes)) == len({term.unknown for term in terms}) == len(terms) > 1
        if is_rate and different and len({term.factor for term in terms}) == 1:
            return dict(sorted(zip(axes, (term.unknown for term in terms), strict=True)))
    return {}


def _value(name: str, letters: str = "") -> sympy.Expr:
    expression = unknown(name)
    return (expression.d(*letters) if letters else expression).formula


def _advection(term: RestTerm) -> tuple[tuple[str, str, str], sympy.Expr] | None:
    """((a, b, axis), c) where a term is c a b_axis; c (a^2)_axis is one too."""
    constant, varying = term.formula.as_independent(AppliedUndef, *_COORDINATES, as_Add=False)
    factors = [partial_of(factor) for factor in sympy.Mul.make_args(varying)]
    if isinstance(varying, sympy.Pow) and varying.exp == 2 and len(term.letters) == 1:
        base = partial_of(varying.base)
        return ((base[0], base[0], term.letters), 2 * constant) if base and not base[1] else None
    if term.letters or len(factors) != 2 or None in factors:
        return None
    (a, none), (b, axis) = sorted((f for f in factors if f), key=lambda partial: len(partial[1]))
    return ((a, b, axis), constant) if not none and axis in ("x", "y", "z") else None


def _split_advections(rest: Sequence[RestTerm]) -> tuple[dict[tuple[int, str, str, str], sympy.Expr], list[RestTerm]]:
    """{(row, a, b, axis): c} for every c a b_axis in the rest, and the other terms."""
    found: dict[tuple[int, str, str, str], sympy.Expr] = {}
    others: dict[tuple[int, str], sympy.Expr] = {}
    for row, letters, formula in rest:
        for part in sympy.Add.make_args(formula):
            advection = _advection(RestTerm(row, letters, part))
            if advection is None:
                others[row, letters] = others.get((row, letters), sympy.S.Zero) + part
            else:
                key, constant = advection
                found[row, *key] = found.get((row, *key), sympy.S.Zero) + constant
    return found, [RestTerm(*key, formula) for key, formula in others.items()]


def _written_back(found: dict[tuple[int, str, str, str], sympy.Expr]) -> list[RestTerm]:
    """The advections that no identity took, as they were: one product for those of a row, squares in conservation form."""
    plain: dict[int, sympy.Expr] = {}
    squares = []
    for (row, a, b, axis), constant in found.items():
        if a == b:
            squares.append(RestTerm(row, axis, constant / 2 * _value(a) ** 2))
        else:
            plain[row] = plain.get(row, sympy.S.Zero) + constant * _value(a) * _value(b, axis)
    return squares + [RestTerm(row, "", formula) for row, formula in plain.items()]


def _merged(terms: Sequence[RestTerm]) -> tuple[RestTerm, ...]:
    """Undifferentiated terms of one row are one product; others stay apart, so that equal products can be shared."""
    plain: dict[int, sympy.Expr] = {}
    for term in terms:
        if not term.letters:
            plain[term.row] = plain.get(term.row, sympy.S.Zero) + term.formula
    return tuple(term for term in terms if term.letters) + tuple(RestTerm(row, "", f) for row, f in plain.items() if f != 0)


def _carried(rest: Sequence[RestTerm], carriers: dict[str, str]) -> tuple[RestTerm, ...]:
    """sum_j u_j b_{x_j} in conservation form, where all of its terms are there with one factor."""
    found, others = _split_advections(rest)
    fluxes = []
    for row, b in sorted({(row, b) for row, _, b, _ in found}):
        keys = [(row, u, b, axis) for axis, u in carriers.items()]
        factors = {found.get(key) for key in keys}
        if len(factors) == 1 and None not in factors:
            fluxes += [RestTerm(row, key[3], found.pop(key) * _value(key[1]) * _value(b)) for key in keys]
    return _merged([*fluxes, *_written_back(found), *others])


def _without_trace(
    linear: Sequence[LinearTerm], rest: Sequence[RestTerm], carriers: dict[str, str], algebraic: Sequence[str]
) -> tuple[RestTerm, ...]:
    """(u_i^2)_{x_i} less the gradient of u_n^2, where a pressure takes that up."""
    last = list(carriers.values())[-1]
    for pressure in algebraic:
        slopes = [term for term in linear if term.unknown == pressure]
        rows = {term.letters: term.row for term in slopes}
        squares = {axis: RestTerm(rows[axis], axis, _value(u) ** 2) for axis, u in carriers.items() if axis in rows}
        is_gradient = len(slopes) == len(rows) == len(squares) == len(carriers)
        held = any((pressure, "") in partials_in(term.formula) for term in rest)
        if is_gradient and not held and len({term.factor for term in slopes}) == 1 and set(squares.values()) <= set(rest):
            others = [term for term in rest if term not in set(squares.values())]
            return (*others, *(t._replace(formula=t.formula - _value(last) ** 2) for t in list(squares.values())[:-1]))
    return tuple(rest)


def _stream_function(linear: Sequence[LinearTerm], algebraic: Sequence[str]) -> tuple[str, str, sympy.Expr] | None:
    """(w, psi, s) where a row says w = s (psi_xx + psi_yy)."""
    for row in {term.row for term in linear}:
        terms = {(term.unknown, term.letters): term.factor for term in linear if term.row == row}
        for psi in algebraic:
            curvature = terms.get((psi, "xx"))
            others = [key for key in terms if key not in ((psi, "xx"), (psi, "yy"))]
            if curvature is not None and curvature == terms.get((psi, "yy")) and len(others) == 1 and not others[0][1]:
                return others[0][0], psi, -curvature / terms[others[0]]
    return None


def _jacobian(rest: Sequence[RestTerm], w: str, psi: str, s: sympy.Expr) -> tuple[RestTerm, ...]:
    """psi_y w_x - psi_x w_y by two products of the velocity."""
    x, y = _value(psi, "x"), _value(psi, "y")
    forward, backward = y * _value(w, "x"), x * _value(w, "y")
    made = []
    for term in rest:
        constant = term.formula.coeff(forward) if not term.letters else sympy.S.Zero
        if constant == 0 or term.formula.coeff(backward) != -constant:
            made.append(term)
            continue
        row, c = term.row, constant * s
        made += [RestTerm(row, "xx", c * x * y), RestTerm(row, "yy", -c * x * y), RestTerm(row, "xy", c * (y**2 - x**2))]
        left = sympy.expand(term.formula - constant * (forward - backward))
        made += [RestTerm(row, "", left)] if left != 0 else []
    return tuple(made)
