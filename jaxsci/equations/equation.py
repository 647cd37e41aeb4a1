"""Equations: residuals in unknowns and their partial derivatives, written once as a Python function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxsci._checks import listed
from jaxsci.equations.evaluation import Partial, coordinates_in, partials_in
from jaxsci.equations.expression import (
    COORDINATES,
    PLAIN,
    CoefficientCall,
    Expression,
    NeedsNumbered,
    coefficient,
    coordinate,
    split_letters,
    unknown,
)
from jaxsci.equations.printing import canonical, digest, to_latex, to_text


def symbolic_arguments(function: Callable, unknowns: Sequence[str] = (), numbered: bool = False) -> dict[str, Expression]:
    """The arguments of a function as symbols: unknowns by their names, t, x, y, z (and x1, ...) as coordinates, others
    coefficients."""
    made: dict[str, Expression] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{function!r}: argument {name!r} must be a plain named argument, not *args or **kwargs.")
        if name in unknowns:
            made[name] = unknown(name, numbered)
        else:
            made[name] = (coordinate if name in COORDINATES else coefficient)(name)
    return made


class Equation:
    r"""A differential equation, or a system of them, written once: ``residual = 0``.

    The function's arguments say what is what: names listed in `unknowns` are unknown fields; ``t, x, y, z`` are
    coordinates; every other argument is a coefficient, whose value is given with the problem.  It returns the residual
    (a tuple of them for a system).  Partial derivatives are attributes: ``u.t``, ``u.xx``, ``(u * v).x``.  In many dimensions
    the coordinates are ``x1, x2, ...``: ``sum(u.d(c, c) for c in ("x1", "x2", "x3", "x4"))``.

    From this one definition the library derives the pointwise residual of any field (`jaxsci.residual`), a solver's
    right-hand side, the printed form and the identity.

    Args:
      function: the residual in symbols; called here.
      unknowns: names of the unknown fields, separated by spaces (or a sequence).
      name: a name for messages and reports; the function's own by default.
      symbols: LaTeX for coefficient names, e.g. ``{"viscosity": r"\nu"}``.
    Attributes:
      residuals: one `Expression` per equation.
      coefficients, coordinates: the names that occur.
      functions: the coefficients that are called, as in ``conductivity(x)``, with their number of arguments.
      partials: the partial derivatives that a pointwise residual needs, products expanded: ``("u", "xx")``, ...
    Raises:
      ValueError: no unknown occurs, or the function does not return expressions.
    Example:
      >>> import jaxsci as js
      >>> burgers = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, "u", symbols={"viscosity": r"\nu"})
      >>> burgers.latex()
      'u_{t} + u u_{x} - \\nu u_{xx} = 0'
      >>> burgers.coefficients, burgers.coordinates
      (('viscosity',), ('t', 'x'))
    """

    def __init__(
        self,
        function: Callable[..., Any],
        unknowns: str | Sequence[str] = "u",
        *,
        name: str | None = None,
        symbols: Mapping[str, str] | None = None,
    ):
        names = tuple(unknowns.split()) if isinstance(unknowns, str) else tuple(unknowns)
        if not names or len(set(names)) < len(names) or set(names) & set(PLAIN):
            raise ValueError(f"Unknowns must be one or more different names other than t, x, y, z; got {listed(names)}.")
        arguments = symbolic_arguments(function, names)
        missing = [u for u in names if u not in arguments]
        if missing:
            raise ValueError(
                f"The unknown {listed(missing)} is no argument of the equation's function, whose arguments are "
                f"{listed(arguments)}."
            )
        try:
            returned = function(**arguments)
        except NeedsNumbered:  # many dimensions: once more, with unknowns that depend on all of them
            returned = function(**symbolic_arguments(function, names, numbered=True))
        residuals = returned if isinstance(returned, tuple | list) else (returned,)
        for residual in residuals:
            if not isinstance(residual, Expression):
                raise ValueError(
                    f"The equation's function must return an expression (or a tuple of them), got {residual!r}."
                )
        own_name = getattr(function, "__name__", "<lambda>").replace("<lambda>", "equation")
        self._define(name or own_name, names, tuple(residuals), dict(symbols or {}))

    def _define(self, name, unknowns, residuals, symbols):
        self.name: str = name
        self.unknowns: tuple[str, ...] = unknowns
        self.residuals: tuple[Expression, ...] = residuals
        self.symbols: dict[str, str] = symbols
        formulas = [residual.formula for residual in residuals]
        expanded = [formula.doit() for formula in formulas]
        self.partials: frozenset[Partial] = frozenset().union(*map(partials_in, expanded))
        occurring = {c for _, letters in self.partials for c in split_letters(letters)}
        occurring |= set().union(*map(coordinates_in, formulas))
        self.coordinates: tuple[str, ...] = tuple(c for c in COORDINATES if c in occurring)
        free = {s.name for formula in formulas for s in formula.free_symbols} - set(COORDINATES)
        self.coefficients: tuple[str, ...] = tuple(sorted(free))
        calls = set().union(*(formula.atoms(CoefficientCall) for formula in formulas))
        self.functions: dict[str, int] = {str(call.args[0]): len(call.args) - 2 for call in calls}
        unused = [u for u in unknowns if all(u != name for name, _ in self.partials)]
        if unused:
            raise ValueError(f"The unknown {listed(unused)} does not occur in the equation {self}.")

    def with_source(self, sources: Sequence[Expression]) -> Equation:
        """The same equations with a right-hand side: residual = source."""
        new = object.__new__(Equation)
        residuals = tuple(r - s for r, s in zip(self.residuals, sources, strict=True))
        new._define(self.name, self.unknowns, residuals, self.symbols)
        return new

    def substitute(self, fields: Mapping[str, Expression]) -> tuple[Expression, ...]:
        """The residuals of given formulas, symbolically: zero for an exact solution, the source of a manufactured one."""
        numbered = any(name not in PLAIN for name in self.coordinates)
        replacement = {unknown(name, numbered).formula: fields[name].formula for name in self.unknowns}
        return tuple(Expression(r.formula.subs(replacement).doit()) for r in self.residuals)

    def time_order(self, unknown: str) -> int:
        """The highest time derivative of an unknown: 0 for a pressure, 1 for heat, 2 for waves."""
        return max(letters.count("t") for name, letters in self.partials if name == unknown)

    @functools.cached_property
    def identity(self) -> str:
        """Sixteen hexadecimal digits that identify the equation: unknowns, coefficients' names and structure."""
        return digest(",".join(self.unknowns), *(canonical(residual.formula) for residual in self.residuals))

    def latex(self) -> str:
        """The equation as people write it; a system as an ``aligned`` environment without the environment's delimiters."""
        return r" \\ ".join(f"{to_latex(r.formula, self.symbols)} = 0" for r in self.residuals)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle\begin{{gathered}}{self.latex()}\end{{gathered}}$"

    def __repr__(self) -> str:
        return "; ".join(f"{to_text(r.formula)} = 0" for r in self.residuals)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equation) and self.identity == other.identity and self.unknowns == other.unknowns

    def __hash__(self) -> int:
        return hash(self.identity)


def equation(unknowns: str | Sequence[str] = "u", **options: Any) -> Callable[[Callable], Equation]:
    """Decorator form of `Equation`.

    Example:
      >>> import jaxsci as js
      >>> @js.equation("u")
      ... def heat(u, diffusivity):
      ...     return u.t - diffusivity * u.xx
      >>> heat
      u_t - diffusivity*u_xx = 0
    """
    return functools.partial(Equation, unknowns=unknowns, **options)
