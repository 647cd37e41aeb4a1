r"""Conditions that hold exactly: an ansatz for a field that satisfies initial and boundary conditions whatever the network.

    u(t, x) = G(t, x) + D(t, x) N(z(t, x))

G (the *lift*) takes the prescribed values, D (the *distance*) vanishes where a value is prescribed, and the *inputs* z make N
periodic on periodic axes and even at u_x = 0 walls.  G is a transfinite interpolation: walls one axis after another, then the
start.  Nothing is penalised, and the residual is the only loss.

Reference: Lagaris, Likas & Fotiadis (1998), IEEE Trans. Neural Netw. 9, 987; Coons (1967) for the interpolation; Dong & Ni
(2021), J. Comput. Phys. 435, 110242, for periodic inputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.problems import Problem

Point = dict[str, Any]  # ONE point, by coordinate


@dataclasses.dataclass(frozen=True)
class HardConditions:
    """The ansatz of a problem. Static; coefficients are arguments."""

    problem: Problem  # used for its static part only

    def __post_init__(self):
        _check_kinds(self.problem)
        if not is_traced(self.problem):
            with jax.ensure_compile_time_eval():  # the values are known, also where the ansatz is made under jit
                self._check_agreement()

    def __hash__(self) -> int:
        return hash(self.problem._static())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HardConditions) and self.problem._static() == other.problem._static()

    # --- inputs of the network ---------------------------------------------------------------------------------------

    @property
    def input_size(self) -> int:
        return sum(2 if self.axis_kind(axis) == "periodic" else 1 for axis in self.problem.coordinates)

    def axis_kind(self, axis: str) -> str:
        """How an axis enters the network: "plain", "periodic", or "even" (mirrored at u_x = 0 walls)."""
        if axis == "t":
            return "plain"
        walls = self.problem.walls(axis)
        if not walls:
            return "periodic"
        return "even" if all(wall.kind == "neumann" for wall in walls) else "plain"

    def inputs(self, point: Point) -> Any:
        """What the network sees, ``[input_size]``, each in [-1, 1]."""
        return jnp.stack([z for axis in self.problem.coordinates for z in self.axis_inputs(axis, point[axis])])

    def axis_inputs(self, axis: str, value: Any) -> list[Any]:
        """The inputs that one coordinate gives."""
        lower, upper = self.problem.domain[axis]
        fraction = (value - lower) / (upper - lower)
        kind = self.axis_kind(axis)
        if kind == "periodic":
            return [jnp.cos(2 * math.pi * fraction), jnp.sin(2 * math.pi * fraction)]
        return [jnp.cos(math.pi * fraction) if kind == "even" else 2 * fraction - 1]

    # --- distance ----------------------------------------------------------------------------------------------------

    def distance(self, unknown: str, point: Point) -> Any:
        """D: zero on Dirichlet walls, and at the start of order one (two where the equation has u_tt); about 1 elsewhere."""
        d = self.distance_in_space(unknown, point)
        if not self.problem.is_steady:
            start, end = self.problem.domain["t"]
            d = d * ((point["t"] - start) / (end - start)) ** self.problem.time_order(unknown)
        return d

    def distance_in_space(self, unknown: str, point: Point) -> Any:
        """The factor of D that vanishes on Dirichlet walls."""
        d = jnp.ones_like(next(iter(point.values())))
        for axis in self.problem.domain.space:
            if self._holds(unknown, axis) and self.axis_kind(axis) == "plain":
                lower, upper = self.problem.domain[axis]
                s = (point[axis] - lower) / (upper - lower)
                d = d * (4 * s * (1 - s))
        return d

    def _holds(self, unknown: str, axis: str) -> bool:
        return any(unknown in wall.for_unknowns(self.problem.unknowns) for wall in self.problem.walls(axis))

    # --- lift --------------------------------------------------------------------------------------------------------

    def lift(self, unknown: str, point: Point, coefficients: Mapping[str, Any]) -> Any:
        """G: a smooth function that takes the prescribed values."""
        problem = self.problem
        value: Callable[[Point], Any] = self._wall_lift(unknown, coefficients)
        if problem.is_steady or problem.time_order(unknown) == 0:
            return value(point)
        start = problem.domain["t"][0]
        elapsed = point["t"] - start
        initial = {k: v for k, v in point.items() if k != "t"}
        total = value(point)
        walls_are_zero = all(self._is_homogeneous(unknown, axis) for axis in problem.domain.space)
        for k in range(problem.time_order(unknown)):
            target = problem.initial[unknown + "_t" * k](initial, coefficients)
            if not walls_are_zero:
                at_start = value
                for _ in range(k):
                    at_start = _time_derivative(at_start)
                target = target - at_start({**point, "t": jnp.full_like(point["t"], start)})
            total = total + target * (elapsed**k / math.factorial(k))
        return total

    def _is_homogeneous(self, unknown: str, axis: str) -> bool:
        if not self._holds(unknown, axis):
            return True
        return all(wall.for_unknowns(self.problem.unknowns)[unknown].is_zero for wall in self.problem.walls(axis))

    def _wall_lift(self, unknown: str, coefficients: Mapping[str, Any]) -> Callable[[Point], Any]:
        problem = self.problem
        function: Callable[[Point], Any] = lambda point: jnp.zeros_like(next(iter(point.values())))  # noqa: E731
        for axis in problem.domain.space:
            if not self._holds(unknown, axis) or self._is_homogeneous(unknown, axis):
                continue
            function = self._blend(function, unknown, axis, coefficients)
        return function

    def _blend(self, before: Callable[[Point], Any], unknown: str, axis: str, coefficients: Mapping[str, Any]):
        lower, upper = self.problem.domain[axis]
        low, high = (wall.for_unknowns(self.problem.unknowns)[unknown] for wall in self.problem.walls(axis))

        def after(point: Point) -> Any:
            s = (point[axis] - lower) / (upper - lower)
            at_low = {**point, axis: jnp.full_like(point[axis], lower)}
            at_high = {**point, axis: jnp.full_like(point[axis], upper)}
            gap_low = low(at_low, coefficients) - before(at_low)
            gap_high = high(at_high, coefficients) - before(at_high)
            return before(point) + (1 - s) * gap_low + s * gap_high

        return after

    def _check_agreement(self) -> None:
        """The lift takes the walls' values: it cannot where walls, or a wall and the start, disagree on their common edge."""
        problem = self.problem
        random = np.random.default_rng(0).uniform(size=(64, len(problem.coordinates)))
        inside = {
            c: problem.domain[c][0] + np.ptp(problem.domain[c]) * random[:, i] for i, c in enumerate(problem.coordinates)
        }
        for axis in problem.domain.space:
            if self.axis_kind(axis) != "plain":
                self._check_lift_along(axis, {c: jnp.asarray(v, jnp.result_type(float)) for c, v in inside.items()})
            for wall, end in zip(problem.walls(axis), problem.domain[axis], strict=False):
                if wall.kind != "dirichlet":
                    continue
                point = {c: jnp.asarray(v, jnp.result_type(float)) for c, v in {**inside, axis: np.full(64, end)}.items()}
                for name, value in wall.for_unknowns(problem.unknowns).items():
                    wanted = value(point, problem.coefficients)
                    gap = float(jnp.max(jnp.abs(self.lift(name, point, problem.coefficients) - wanted)))
                    if not gap <= 1e-4 * max(1.0, float(jnp.max(jnp.abs(wanted)))):
                        raise ValueError(
                            f"{problem.name}: {name} on the wall {axis} = {end:g} disagrees by {gap:.2g} with what the other "
                            f"walls or the start prescribe (the value of {name}, or its first time derivative) on their common "
                            "edge; a smooth field cannot hold both. Change one of them, or use js.Spectral."
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

        def field(*coordinates):
            point = dict(zip(self.problem.coordinates, coordinates, strict=True))
            outputs = network(self.inputs(point))
            values = [
                self.lift(name, point, coefficients) + self.distance(name, point) * outputs[i]
                for i, name in enumerate(self.problem.unknowns)
            ]
            return jnp.stack(values)

        return field


def _time_derivative(function: Callable[[Point], Any]) -> Callable[[Point], Any]:
    def slope(point):
        def along(t):
            return function({**point, "t": t})

        return jax.jvp(along, (point["t"],), (jnp.ones_like(point["t"]),))[1]

    return slope


def _check_kinds(problem: Problem) -> None:
    """Conditions that this ansatz can hold."""
    problem.check_plain("Neural and RandomFeatures")
    for axis in problem.domain.space:
        walls = problem.walls(axis)
        if not walls:
            continue
        kinds = {wall.kind for wall in walls}
        if "outflow" in kinds:
            raise ValueError(f"{problem.name}: an Outflow wall of {axis} is for finite volumes; a field cannot hold it.")
        names = [set(wall.for_unknowns(problem.unknowns)) for wall in walls]
        if len(kinds) > 1 or names[0] != names[1]:
            raise ValueError(f"{problem.name}: both walls of {axis} must hold the same kind of condition for a hard ansatz.")
        if kinds == {"neumann"}:
            values = [v for wall in walls for v in wall.for_unknowns(problem.unknowns).values()]
            if not all(value.is_zero for value in values) or names[0] != set(problem.unknowns):
                raise ValueError(
                    f"{problem.name}: Neumann walls of {axis} can be held exactly only at zero and for every unknown; "
                    "js.Spectral carries the others."
                )
