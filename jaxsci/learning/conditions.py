r"""Conditions that hold exactly: an ansatz for a field that satisfies initial and boundary conditions whatever the network.

    u(t, x) = G(t, x) + H[N](t, x)

G (the *lift*) takes the prescribed values and slopes; H makes of any function one that has none of them, by a factor that
vanishes where a value is prescribed and by subtracting the slopes where slopes are.  The *inputs* z of N are periodic on
periodic axes and even on axes along which the problem is its own mirror image.  Nothing is penalised, and the residual is the
only loss.

On the walls of a box G and H are transfinite interpolations, one axis after another: on axis x with walls at s = 0 and 1

    f  ->  f + sum over its walls of  a(s) (value - f(wall)) + b(s) (slope - f_x(wall)),

with Hermite's cubics a and b (linear a where no slope is held), which leaves alone what holds on the other axes. Solids
follow one by one, with the weights of `jaxsci.constraints.parts`:

    f  ->  f + psi (value - f),        f  ->  f + psi b (slope - n . grad f).

Reference: Lagaris, Likas & Fotiadis (1998), IEEE Trans. Neural Netw. 9, 987; Coons (1967) for the interpolation; Leake &
Mortari (2020), Mach. Learn. Knowl. Extr. 2, 37, for functions less their projections; Sukumar & Srivastava (2022), Comput.
Methods Appl. Mech. Eng. 389, 114333, for solids; Dong & Ni (2021), J. Comput. Phys. 435, 110242, for periodic inputs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_traced
from jaxsci.constraints.boundary import periodic_inputs
from jaxsci.constraints.parts import (
    Function,
    Part,
    Point,
    SolidPart,
    WallPart,
    blend,
    weight,
    with_slope,
    with_value,
)
from jaxsci.learning.distance import solid_parts, wall_parts
from jaxsci.problems import Formula, Problem
from jaxsci.problems.geometry import boundary_points
from jaxsci.solvers.discretise import respects_mirror


@dataclasses.dataclass(frozen=True, eq=False)
class HardConditions:
    """The ansatz of a problem. Static and hashable; coefficients are arguments.

    Args:
      problem: only its static part is used.
      lifts: by unknown a function of coordinates and coefficients that takes what is prescribed, in place of the
        interpolation: one that has a singularity of the solution, or is close to it.
    Raises:
      ValueError: naming what cannot be held.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> laplace = js.Equation(lambda u: u.xx + u.yy, name="laplace")
      >>> problem = js.Problem(laplace, js.Box(x=(0, 1), y=(0, 1)), solid={"hole": js.Disc((0.5, 0.5), 0.25)},
      ...     boundary={"x": js.Dirichlet(0), "y": js.Dirichlet(0), "hole": js.Dirichlet(1)})
      >>> field = js.learning.HardConditions(problem).field(lambda z: jnp.sin(3 * z[:1]), {})  # any network
      >>> print(f"{field(jnp.array(1.0), jnp.array(0.3))[0]:.3f} {field(jnp.array(0.75), jnp.array(0.5))[0]:.3f}")
      0.000 1.000
    """

    problem: Problem
    lifts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    even: tuple[str, ...] = dataclasses.field(init=False)  # axes whose mirror images the inputs share

    def __post_init__(self):
        _check_kinds(self.problem)
        check_keys("lift of", self.lifts, self.problem.unknowns)
        object.__setattr__(self, "lifts", {name: Formula.of(lift) for name, lift in self.lifts.items()})
        object.__setattr__(self, "even", tuple(a for a in self.problem.domain.space if _is_mirror(self.problem, a)))
        if not is_traced(self.problem):
            with jax.ensure_compile_time_eval():  # the values are known, also where the ansatz is made under jit
                self._check_agreement()

    def _static(self) -> tuple:
        return type(self), self.problem._static(), tuple(sorted(self.lifts.items(), key=lambda item: item[0])), self.even

    def __hash__(self) -> int:
        return hash(self._static())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HardConditions) and self._static() == other._static()

    # --- inputs of the network ---------------------------------------------------------------------------------------

    @property
    def input_size(self) -> int:
        return sum(2 if self.axis_kind(axis) == "periodic" else 1 for axis in self.problem.coordinates)

    def axis_kind(self, axis: str) -> str:
        """How an axis enters the network: "plain", "periodic", or "even" (mirrored at u_x = 0 walls)."""
        if axis == "t":
            return "plain"
        if not self.problem.walls(axis):
            return "periodic"
        return "even" if axis in self.even else "plain"

    def inputs(self, point: Point) -> Any:
        """What the network sees, ``[input_size]``, each in [-1, 1]."""
        return jnp.stack([z for axis in self.problem.coordinates for z in self.axis_inputs(axis, point[axis])])

    def axis_inputs(self, axis: str, value: Any) -> list[Any]:
        """The inputs that one coordinate gives."""
        lower, upper = self.problem.domain[axis]
        fraction = (value - lower) / (upper - lower)
        kind = self.axis_kind(axis)
        if kind == "periodic":
            return periodic_inputs(fraction)
        return [jnp.cos(math.pi * fraction) if kind == "even" else 2 * fraction - 1]

    # --- the parts of the boundary -----------------------------------------------------------------------------------

    def walls(self, unknown: str, axis: str) -> tuple[WallPart, ...]:
        """The walls of an axis that the ansatz has to see to: even inputs hold their slopes already."""
        return () if self.axis_kind(axis) != "plain" else wall_parts(self.problem, unknown, axis)

    def all_walls(self, unknown: str) -> tuple[WallPart, ...]:
        return tuple(wall for axis in self.problem.domain.space for wall in self.walls(unknown, axis))

    def solids(self, unknown: str) -> tuple[SolidPart, ...]:
        return solid_parts(self.problem, unknown)

    def others(self, unknown: str, part: SolidPart) -> tuple[WallPart | SolidPart, ...]:
        """The parts that a correction on a solid must leave alone."""
        return (*self.all_walls(unknown), *(other for other in self.solids(unknown) if other != part))

    def needs_slopes(self, unknown: str) -> bool:
        """Whether a factor alone does not make a function hold the conditions."""
        return any(part.needs_slope for part in (*self.all_walls(unknown), *self.solids(unknown)))

    # --- homogeneous conditions ----------------------------------------------------------------------------------------

    def distance(self, unknown: str, point: Point) -> Any:
        """D: zero where a value is held, at the start of order one (two where the equation has u_tt); about 1 elsewhere."""
        d = self.distance_in_space(unknown, point)
        if not self.problem.is_steady:
            start, end = self.problem.domain["t"]
            d = d * ((point["t"] - start) / (end - start)) ** self.problem.time_order(unknown)
        return d

    def distance_in_space(self, unknown: str, point: Point) -> Any:
        """The factor of D that vanishes on walls and solids, twice where they clamp."""
        d = self._distance_to_walls(unknown, point)
        for part in () if self.needs_slopes(unknown) else self.solids(unknown):
            d = d * part.distance(point) ** part.order
        return d

    def _distance_to_walls(self, unknown: str, point: Point) -> Any:
        d = jnp.ones_like(next(iter(point.values())))
        for axis in self.problem.domain.space:
            parts = [part for part in self.walls(unknown, axis) if part.order]
            for part in parts:
                d = d * (part.distance(point) if len(parts) == 2 else part.fraction(point)) ** part.order
        return d

    def homogeneous(
        self, unknown: str, function: Function, coefficients: Mapping[str, Any], in_time: bool = True
    ) -> Function:
        """H: the function, changed so that all values and slopes that are prescribed for an unknown become zero; those of the
        start only where told."""
        distance = self.distance if in_time else self.distance_in_space
        changed: Function = lambda point: distance(unknown, point) * function(point)  # noqa: E731
        if not self.needs_slopes(unknown):
            return changed
        for axis in self.problem.domain.space:
            for wall in self.walls(unknown, axis):
                if wall.needs_slope:
                    changed = with_slope(changed, wall, coefficients, zero=True)
        for part in self.solids(unknown):
            changed = self._without(changed, unknown, part, coefficients)
        return changed

    def _without(self, function: Function, unknown: str, part: SolidPart, coefficients: Mapping[str, Any]) -> Function:
        others = self.others(unknown, part)
        if part.needs_slope:
            return with_slope(function, part, coefficients, others, zero=True)
        return lambda point: (1 - weight(part, others, point)) ** part.order * function(point)

    # --- lift ----------------------------------------------------------------------------------------------------------

    def lift(self, unknown: str, point: Point, coefficients: Mapping[str, Any]) -> Any:
        """G: a smooth function that takes the prescribed values and slopes."""
        problem = self.problem
        if unknown in self.lifts:
            return self.lifts[unknown](point, coefficients)
        value = self._lift_in_space(unknown, coefficients)
        if problem.is_steady or problem.time_order(unknown) == 0:
            return value(point)
        start = problem.domain["t"][0]
        elapsed = point["t"] - start
        initial = {k: v for k, v in point.items() if k != "t"}
        total = value(point)
        for k in range(problem.time_order(unknown)):
            target = problem.initial[unknown + "_t" * k](initial, coefficients)
            if not self._is_homogeneous(unknown):
                at_start = value
                for _ in range(k):
                    at_start = _time_derivative(at_start)
                target = target - at_start({**point, "t": jnp.full_like(point["t"], start)})
            total = total + target * (elapsed**k / math.factorial(k))
        return total

    def _is_homogeneous(self, unknown: str) -> bool:
        return all(_is_zero(part) for part in (*self.all_walls(unknown), *self.solids(unknown)))

    def _lift_in_space(self, unknown: str, coefficients: Mapping[str, Any]) -> Function:
        function: Function = lambda point: jnp.zeros_like(next(iter(point.values())))  # noqa: E731
        if self._is_homogeneous(unknown):
            return function
        for axis in self.problem.domain.space:
            parts = self.walls(unknown, axis)
            if parts:
                function = blend(function, parts, coefficients)
        for part in self.solids(unknown):
            others = self.others(unknown, part)
            if part.value is not None:
                function = with_value(function, part, coefficients, others)
            if part.slope is not None:
                function = with_slope(function, part, coefficients, others)
        return function

    # --- agreement -----------------------------------------------------------------------------------------------------

    def _check_agreement(self) -> None:
        """The lift takes what the parts prescribe: it cannot where they, or one and the start, disagree where they meet."""
        problem = self.problem
        random = np.random.default_rng(0).uniform(size=(64, len(problem.coordinates)))
        real = functools.partial(jnp.asarray, dtype=jnp.result_type(float))
        inside = {
            c: real(problem.domain[c][0] + np.ptp(problem.domain[c]) * random[:, i])
            for i, c in enumerate(problem.coordinates)
        }
        for axis in problem.domain.space:
            if self.axis_kind(axis) != "plain":
                self._check_lift_along(axis, inside)
        for name in problem.unknowns:
            for part in (*self.all_walls(name), *self.solids(name)):
                if isinstance(part, WallPart):
                    point = part.on(inside)
                else:
                    box = [problem.domain[axis] for axis in part.space]
                    place = boundary_points(part.shape, box, 64)
                    count = min(64, len(place[0]))
                    point = {c: v[:count] for c, v in inside.items()} | dict(zip(part.space, map(real, place), strict=True))
                if problem.solids:  # what lies in a solid is no part of the boundary
                    free = np.asarray(self.is_free(point, but=part))
                    point = {c: v[free] for c, v in point.items()}
                self._check_part(name, part, point)

    def is_free(self, point: Point, but: Part | None = None, margin: float = 1e-3) -> Any:
        """Whether points lie outside all solids (but one), by more than a share of their scale."""
        free = jnp.ones(jnp.shape(next(iter(point.values()))), bool)
        for solid in self.problem.solids:
            if but is None or but.where != f"the solid {solid.name}":
                here = tuple(point[axis] for axis in self.problem.domain.space)
                free &= solid.shape(*here) > margin * min(solid.shape.size, *self.problem.domain.lengths)
        return free

    def _check_part(self, name: str, part: WallPart | SolidPart, point: Point) -> None:
        problem, coefficients = self.problem, self.problem.coefficients
        if not len(next(iter(point.values()))):
            return
        lift = lambda point: self.lift(name, point, coefficients)  # noqa: E731
        found = []
        if part.value is not None:
            wanted = part.value(point, coefficients)
            found.append(("the value", jax.vmap(lift)(point) - wanted, wanted))
        if part.slope is not None:
            gaps = jax.vmap(lambda point: part.slope_gap(lift, point, coefficients)[1])(point)
            length = min(problem.domain.lengths)
            found.append(("the slope", gaps * length, part.slope(point, coefficients) * length))
        for what, gaps, wanted in found:
            gap = float(jnp.max(jnp.abs(gaps)))
            if not gap <= 1e-4 * max(1.0, float(jnp.max(jnp.abs(wanted)))):
                raise ValueError(
                    f"{problem.name}: {name} on {part.where} disagrees by {gap:.2g} in {what} with what the other walls, the "
                    f"solids or the start prescribe (for {name}, or its first time derivative) where they meet; a smooth field "
                    "cannot hold both. Change one of them, or use js.Spectral."
                )

    def _check_lift_along(self, axis: str, inside: Point) -> None:
        """The lift of a start is kept for all times, and so would be a jump or a kink of it where the field has none."""
        problem, periodic = self.problem, self.axis_kind(axis) == "periodic"
        for name in problem.unknowns:

            def lift(x, name=name):
                return self.lift(name, {**inside, axis: x}, problem.coefficients)

            values, slopes = [], []
            for end in problem.domain[axis]:
                x = jnp.full_like(inside[axis], end)
                value, slope = jax.jvp(lift, (x,), (jnp.ones_like(x),))
                values.append(value)
                slopes.append(slope)
            size = max(1.0, float(jnp.max(jnp.abs(lift(inside[axis])))))
            jump = float(jnp.max(jnp.abs(values[0] - values[1]))) if periodic else 0.0
            bend = slopes[0] - slopes[1] if periodic else jnp.maximum(jnp.abs(slopes[0]), jnp.abs(slopes[1]))
            kink = float(jnp.max(jnp.abs(bend)))
            if not (jump <= 1e-4 * size and kink * np.ptp(problem.domain[axis]) <= 1e-3 * size):
                wanted = f"be periodic in {axis}" if periodic else f"have no slope at the walls of {axis}"
                raise ValueError(
                    f"{problem.name}: the start of {name} must {wanted}, but its value jumps by {jump:.2g} and its slope by "
                    f"{kink:.2g} there; a field that keeps the start exactly would keep that for all times. Use js.Spectral."
                )

    # --- the field -----------------------------------------------------------------------------------------------------

    def field(self, network: Callable[[Any], Any], coefficients: Mapping[str, Any]) -> Callable[..., Any]:
        """The field of a network ``z -> [unknowns]``: a function of ONE point, ``[unknowns]``."""

        def outputs(point):
            return network(self.inputs(point))

        def field(*coordinates):
            point = dict(zip(self.problem.coordinates, coordinates, strict=True))
            here = outputs(point)  # once for all unknowns that need a factor only
            values = []
            for i, name in enumerate(self.problem.unknowns):
                if self.needs_slopes(name):
                    part = self.homogeneous(name, outputs, coefficients)(point)[i]
                else:
                    part = self.distance(name, point) * here[i]
                values.append(self.lift(name, point, coefficients) + part)
            return jnp.stack(values)

        return field


def _time_derivative(function: Function) -> Function:
    def slope(point):
        def along(t):
            return function({**point, "t": t})

        return jax.jvp(along, (point["t"],), (jnp.ones_like(point["t"]),))[1]

    return slope


# --- what can be held ----------------------------------------------------------------------------------------------------------


def _is_zero(part: Part) -> bool:
    return all(formula is None or formula.is_zero for formula in (part.value, part.slope))


def _is_mirror(problem: Problem, axis: str) -> bool:
    """Whether no slope on both walls of an axis is all that holds there, and the equation is its own mirror image."""
    walls, unknowns = problem.walls(axis), problem.unknowns
    if not walls or problem.solids or any(wall.kind != "neumann" for wall in walls):
        return False
    values = [wall.for_unknowns(unknowns) for wall in walls]
    if not all(set(v) == set(unknowns) and all(f.is_zero for f in v.values()) for v in values):
        return False
    return respects_mirror(problem, axis, dict.fromkeys(unknowns, 1))


def _check_kinds(problem: Problem) -> None:
    """Conditions that this ansatz can hold."""
    if problem.solid is not None and not problem.solids:
        raise ValueError(
            f"{problem.name} has a solid that is given by a function, which Neural and RandomFeatures do not carry; give shapes, "
            "solid={'name': js.Disc(...)}, with what holds on them, or use js.Staggered."
        )
    for axis in problem.domain.space:
        walls = problem.walls(axis)
        if any(wall.kind == "outflow" for wall in walls):
            raise ValueError(f"{problem.name}: an Outflow wall of {axis} is for finite volumes; a field cannot hold it.")
        if not walls and problem.solids:
            raise ValueError(
                f"{problem.name}: {axis} is periodic, which a field with solids cannot hold: their distances are not periodic. "
                f"Say what holds on the walls of {axis}, boundary={{{axis!r}: ...}}; () where nothing does."
            )
