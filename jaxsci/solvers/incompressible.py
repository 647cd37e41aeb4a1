"""Recognising the incompressible Navier-Stokes equations in an equation that somebody wrote, and what its walls hold.

    u_t + u u_x + v u_y + p_x - nu (u_xx + u_yy) - f_u = 0,  the same for v,  u_x + v_y = 0

in two or three dimensions.  The unknowns may have other names and the momentum equations any body force f of coordinates,
coefficients and velocities without derivatives; advection may be written in conservation form.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import sympy

from jaxsci._checks import listed
from jaxsci.equations import Equation
from jaxsci.equations.evaluation import coordinates_in, partials_in
from jaxsci.equations.expression import unknown
from jaxsci.equations.printing import to_text
from jaxsci.problems import Formula, Problem
from jaxsci.problems.conditions import Wall


class Flow(NamedTuple):
    """An incompressible Navier-Stokes system. Hashable."""

    velocity: tuple[str, ...]  # the component along each axis
    pressure: str
    viscosity: sympy.Expr
    forces: tuple[sympy.Expr, ...]  # along each axis


@functools.lru_cache(maxsize=128)
def flow_of(equation: Equation, space: tuple[str, ...]) -> Flow:
    """The parts of an equation that is the incompressible Navier-Stokes system along these axes.

    Raises:
      ValueError: it is another system; the message says what is missing.
    """
    velocity = [u for u in equation.unknowns if equation.time_order(u) == 1]
    others = [u for u in equation.unknowns if u not in velocity]
    if len(space) not in (2, 3) or len(velocity) != len(space) or len(others) != 1:
        raise _refusal(equation, f"a velocity with {listed(space)} for axes and one pressure without a time derivative")
    (pressure,) = others
    rows = [sympy.expand(residual.formula.doit()) for residual in equation.residuals]
    at = lambda name, letters: _partial(name, letters)  # noqa: E731

    ordered = []
    for axis in space:  # the component of an axis is the one in whose equation p is differentiated along it
        found = [u for row in rows for u in velocity if row.has(at(u, "t")) and row.has(at(pressure, axis))]
        if len(found) != 1:
            raise _refusal(equation, f"one momentum equation with {pressure}_{axis}, the gradient of the pressure")
        ordered += found
    divergence = sympy.Add(*(at(u, axis) for u, axis in zip(ordered, space, strict=True)))
    constraints = [row for row in rows if not any(row.has(at(u, "t")) for u in velocity)]
    if len(constraints) != 1 or not _is_constant(sympy.cancel(constraints[0] / divergence)):
        raise _refusal(equation, f"the constraint {to_text(divergence)} = 0")

    first = next(row for row in rows if row.has(at(ordered[0], "t")))
    viscosity = -first.coeff(at(ordered[0], space[0] * 2))
    if not _is_constant(viscosity) or viscosity == 0:
        raise _refusal(equation, "a constant viscosity times the Laplacian of each component")
    forces = []
    for u, axis in zip(ordered, space, strict=True):
        (row,) = (row for row in rows if row.has(at(u, "t")))
        advection = sympy.Add(*(at(w, "") * at(u, a) for w, a in zip(ordered, space, strict=True)))
        laplacian = sympy.Add(*(at(u, a * 2) for a in space))
        rest = sympy.expand(at(u, "t") + advection + at(pressure, axis) - viscosity * laplacian - row)
        # In conservation form advection holds u (u_x + v_y) too, which is zero.
        rest = sympy.expand(rest + rest.coeff(at(u, axis)).coeff(at(u, "")) * -at(u, "") * divergence)
        if any(letters or name == pressure for name, letters in partials_in(rest)):
            raise _refusal(
                equation,
                f"{to_text(at(u, 't') + advection)} + {pressure}_{axis} - viscosity * laplacian of {u} and a body force without "
                f"derivatives; left over is {to_text(rest)}",
            )
        forces.append(rest)
    return Flow(tuple(ordered), pressure, viscosity, tuple(forces))


def _partial(name: str, letters: str) -> sympy.Expr:
    return (getattr(unknown(name), letters) if letters else unknown(name)).formula


def _is_constant(formula: sympy.Expr) -> bool:
    return not partials_in(formula) and not coordinates_in(formula)


def _refusal(equation: Equation, missing: str) -> ValueError:
    return ValueError(
        f"Staggered solves the incompressible Navier-Stokes equations in velocity and pressure, but {equation.name} lacks "
        f"{missing}. For other equations use js.Spectral."
    )


@dataclasses.dataclass(frozen=True)
class Side:
    """What one end of one axis holds. Static and hashable.

    Attributes:
      is_open: the pressure is given and the velocity through the side is free.
      kinds: for each component whether its value ("dirichlet") or its slope along the axis ("neumann") is given.
      values: for each component the given value or slope.
      pressure: its given value where the side is open.
    """

    is_open: bool
    kinds: tuple[str, ...]
    values: tuple[Formula, ...]
    pressure: Formula | None


def sides_of(problem: Problem, flow: Flow) -> tuple[tuple[Side, Side] | None, ...]:
    """The two sides of each axis, None where it is periodic.

    Raises:
      ValueError: a side without a condition for each component, or with a combination that makes no well-posed flow.
    """
    problem.check_values("Staggered")
    sides: list[tuple[Side, Side] | None] = []
    for i, axis in enumerate(problem.domain.space):
        walls = problem.walls(axis)
        ends = [_side(problem, flow, i, f"{axis} = {x:g}", w) for x, w in zip(problem.domain[axis], walls, strict=False)]
        sides.append((ends[0], ends[1]) if ends else None)
    return tuple(sides)


def _side(problem: Problem, flow: Flow, axis: int, where: str, wall: Wall) -> Side:
    values: Mapping[str, Formula] = wall.for_unknowns(problem.unknowns)
    kinds: dict[str, Any] = {name: wall.kind_for(name, problem.unknowns) for name in values}
    missing = [u for u in flow.velocity if u not in values]
    normal, pressure = flow.velocity[axis], flow.pressure
    if missing:
        raise ValueError(f"Staggered: {problem.name} holds no condition for {listed(missing)} on the side {where}.")
    if kinds.get(pressure) == "neumann":
        raise ValueError(
            f"Staggered: leave out the slope of {pressure} on the side {where} of {problem.name}: it follows from the velocity."
        )
    is_open = kinds[normal] == "neumann"
    if is_open != (pressure in values) or (is_open and not values[normal].is_zero):
        raise ValueError(
            f"Staggered: on the side {where} of {problem.name} either hold {normal} and leave {pressure} free (a wall, an "
            f"inflow), as in js.Dirichlet({normal}=0, ...), or hold {pressure} and let {normal} leave without slope, as in "
            f"(js.Neumann({normal}=0, ...), js.Dirichlet({pressure}=0))."
        )
    ordered = tuple(values[u] for u in flow.velocity)
    return Side(is_open, tuple(kinds[u] for u in flow.velocity), ordered, values.get(pressure))
