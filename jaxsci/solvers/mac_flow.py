"""An incompressible flow problem on a staggered grid: what its walls hold, its rate of change, its pressure."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations.evaluation import evaluate, partials_in
from jaxsci.problems import Problem
from jaxsci.solvers import mac_stencils as stencils
from jaxsci.solvers.fast_diagonal import Diagonal, apply_function, for_centres, for_faces, inverse_or_zero
from jaxsci.solvers.immersed import penalty_force, resistance
from jaxsci.solvers.incompressible import Flow, Side
from jaxsci.solvers.mac_grid import MacAxis
from jaxsci.solvers.mac_stencils import Velocity, Walls


class Values(NamedTuple):
    """A flow on the staggered grid."""

    velocity: Velocity
    pressure: Any  # [*cells]


class Operators(NamedTuple):
    """What the grid alone decides: diagonalised operators by axis."""

    pressure: tuple[Diagonal, ...]
    velocity: tuple[tuple[Diagonal, ...], ...]  # by component and axis


@dataclasses.dataclass(frozen=True)
class MacFlow:
    """The discretisation of a flow problem: static and hashable, its operators and coefficients are arguments."""

    axes: tuple[MacAxis, ...]
    flow: Flow
    sides: tuple[tuple[Side, Side] | None, ...]
    solid_cells: float

    # --- what the grid decides -----------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def is_periodic(self) -> bool:
        """Periodic and uniform along every axis."""
        return all(axis.periodic and axis.is_uniform for axis in self.axes)

    @property
    def has_open_side(self) -> bool:
        return any(any(axis.open_ends) for axis in self.axes)

    def operators(self, dtype: Any) -> Operators:
        """Diagonalised on the host."""
        pressure = tuple(for_centres(axis, axis.open_ends, dtype) for axis in self.axes)
        velocity = tuple(
            tuple(for_faces(axis, dtype) if j == i else for_centres(axis, self._held(i, j), dtype)
                  for j, axis in enumerate(self.axes))
            for i in range(len(self.axes))
        )  # fmt: skip
        return Operators(pressure, velocity)

    def _held(self, component: int, axis: int) -> tuple[bool, bool]:
        sides = self.sides[axis]
        if sides is None:
            return False, False
        return sides[0].kinds[component] == "dirichlet", sides[1].kinds[component] == "dirichlet"

    def grid(self) -> dict[str, np.ndarray]:
        """The nodes, on which solutions are given."""
        return {axis.name: axis.x for axis in self.axes}

    # --- conditions ----------------------------------------------------------------------------------------------------

    def walls(self, coefficients: Any, t: Any) -> Walls:
        """What the sides hold at a time. Without an open side the inflow is corrected so that it has no net volume."""
        dims = range(len(self.axes))
        kinds = tuple(
            tuple(None if side is None else (side[0].kinds[i], side[1].kinds[i]) for side in self.sides) for i in dims
        )

        def both_ends(axis: int, component: int | None) -> Any:
            if self.sides[axis] is None:
                return None
            return tuple(self._on_side(axis, end, component, coefficients, t) for end in (0, 1))

        normal = [both_ends(j, j) for j in dims]
        tangential = tuple(tuple(both_ends(j, i) if j != i else None for j in dims) for i in dims)
        pressure = tuple(both_ends(j, None) for j in dims)
        if not self.has_open_side:
            normal = self._balanced(normal)
        return Walls(kinds, tuple(normal), tangential, pressure)

    def _on_side(self, axis: int, end: int, component: int | None, coefficients: Any, t: Any) -> Any:
        """A component's prescribed value (None: the pressure's) where it lives on a side; None if it is free there."""
        sides = self.sides[axis]
        assert sides is not None
        if sides[end].is_open if component == axis else component is None and not sides[end].is_open:
            return None
        places = stencils.positions(self.axes, component, t.dtype)
        return self.on_side(axis, end, component, places, coefficients, t)

    def on_side(self, axis: int, end: int, component: int | None, places: list[Any], coefficients: Any, t: Any) -> Any:
        """The formula of a side evaluated at places, whose coordinate along the axis is replaced by the side's."""
        sides = self.sides[axis]
        assert sides is not None
        formula = sides[end].pressure if component is None else sides[end].values[component]
        if formula is None or formula.is_zero:
            return jnp.zeros([1] * len(self.axes), t.dtype)
        here = list(places)
        here[axis] = jnp.full([1] * len(self.axes), self.axes[axis].nodes[-end], t.dtype)
        shape = jnp.broadcast_shapes(*(v.shape for v in here))
        spread = [jnp.broadcast_to(v, shape) for v in (t, *here)]
        return formula(dict(zip(("t", *self.names), spread, strict=True)), coefficients).astype(t.dtype)

    def net_inflow(self, coefficients: Any, t: Any) -> Any:
        """Net over total volume flux through the sides, as prescribed; 0 where nothing flows through them or one is open."""
        if self.has_open_side:
            return jnp.zeros_like(t)
        normal = [
            None if side is None else tuple(self._on_side(j, end, j, coefficients, t) for end in (0, 1))
            for j, side in enumerate(self.sides)
        ]
        net, total = self._fluxes(normal, lambda value: value), self._fluxes(normal, jnp.abs, signed=False)
        return jnp.where(total > 0, net / jnp.where(total > 0, total, 1.0), 0.0)

    def _fluxes(self, normal: Any, function: Any, signed: bool = True) -> Any:
        total: Any = 0.0
        for j, ends in enumerate(normal):
            if ends is None:
                continue
            area = functools.reduce(
                lambda product, i: product * stencils.along(self.axes[i].widths, i, ends[0]),
                [i for i in range(len(self.axes)) if i != j],
                jnp.ones([1] * len(self.axes), ends[0].dtype),
            )
            for value, sign in zip(ends, (1.0, -1.0), strict=True):
                total = total + (sign if signed else 1.0) * jnp.sum(function(value) * area)
        return total

    def _balanced(self, normal: list[Any]) -> list[Any]:
        """Each value reduced in proportion to its square, so that what flows in flows out; walls stay closed."""
        formulas = [side[k].values[j] for j, side in enumerate(self.sides) if side is not None for k in (0, 1)]
        if all(formula.is_zero for formula in formulas):
            return normal
        net, weight = self._fluxes(normal, lambda v: v), self._fluxes(normal, jnp.square, signed=False)
        factor = jnp.where(weight > 0, net / jnp.where(weight > 0, weight, 1.0), 0.0)
        return [
            None if ends is None else tuple(v - sign * factor * v**2 for v, sign in zip(ends, (1.0, -1.0), strict=True))
            for ends in normal
        ]

    def viscosity(self, coefficients: Any, dtype: Any) -> Any:
        return jnp.asarray(evaluate(self.flow.viscosity, {}, {}, coefficients), dtype)

    def resistance(self, problem: Problem, dtype: Any) -> tuple[Any, ...]:
        return resistance(problem, self.axes, self.viscosity(problem.coefficients, dtype), self.solid_cells, dtype)

    # --- physics -------------------------------------------------------------------------------------------------------

    def explicit_rate(self, coefficients: Any, velocity: Velocity, walls: Walls, t: Any) -> Velocity:
        """-div(u u_i) + f_i."""
        carried = stencils.advection(self.axes, velocity, walls)
        return tuple(
            -a if force == 0 else self._force(i, force, velocity, coefficients, t) - a
            for i, (force, a) in enumerate(zip(self.flow.forces, carried, strict=True))
        )

    def _force(self, i: int, force: Any, velocity: Velocity, coefficients: Any, t: Any) -> Any:
        """A body force on the faces of component i, the other components interpolated there."""
        places = dict(zip(self.names, stencils.positions(self.axes, i, t.dtype), strict=True))
        occurring = {name for name, _ in partials_in(force)}
        here = {}
        for j, name in enumerate(self.flow.velocity):
            if name in occurring:
                here[name, ""] = velocity[i] if j == i else self._at_faces_of(i, velocity[j], j)
        return evaluate(force, here, {"t": t, **places}, coefficients)

    def _at_faces_of(self, i: int, other: Any, j: int) -> Any:
        """Component j interpolated to the faces of component i."""
        full = stencils.all_faces(self.axes, other, j)
        centred = (stencils.cut(full, j, 1, None) + stencils.cut(full, j, None, -1)) / 2
        flat = ("neumann", jnp.zeros((), other.dtype))  # walls hold their own values: what stands there is not used
        ends = None if self.axes[i].periodic else (flat, flat)
        nodes = stencils.at_nodes(self.axes, stencils.extended(self.axes, centred, i, ends), i)
        return stencils.own_faces(self.axes, nodes, i)

    def rate(self, problem: Problem, velocity: Velocity, t: Any, resistances: Any) -> Velocity:
        """du/dt without the pressure; on walls that of the prescribed values."""
        walls, change = jax.jvp(lambda s: self.walls(problem.coefficients, s), (t,), (jnp.ones_like(t),))
        explicit = self.explicit_rate(problem.coefficients, velocity, walls, t)
        viscosity = self.viscosity(problem.coefficients, t.dtype)
        diffused = stencils.laplacian(self.axes, velocity, walls)
        out = tuple(
            a + viscosity * b - (0.0 if r is None else r * u)
            for a, b, r, u in zip(explicit, diffused, resistances, velocity, strict=True)
        )
        return stencils.with_walls(self.axes, out, change)

    def pressure(self, operators: Operators, problem: Problem, velocity: Velocity, t: Any) -> Any:
        """The pressure that keeps the velocity free of divergence, ``[*cells]``; with zero mean where no side holds it."""
        rate = self.rate(problem, velocity, t, self.resistance(problem, t.dtype))
        held = self.walls(problem.coefficients, t).pressure
        sizes = [axis.n for axis in self.axes]
        outside = stencils.gradient(self.axes, jnp.zeros(sizes, t.dtype), held)
        source = stencils.divergence(self.axes, tuple(r - g for r, g in zip(rate, outside, strict=True)))
        return apply_function(operators.pressure, inverse_or_zero, source)

    def project(self, operators: Operators, velocity: Velocity) -> tuple[Velocity, Any]:
        """The velocity less the gradient that makes it free of divergence, and its potential."""
        potential = apply_function(operators.pressure, inverse_or_zero, stencils.divergence(self.axes, velocity))
        slopes = stencils.gradient(self.axes, potential)
        return tuple(u - g for u, g in zip(velocity, slopes, strict=True)), potential

    def initial(self, operators: Operators, problem: Problem, dtype: Any) -> Values:
        """The start: the initial velocity with its walls, made free of divergence."""
        t = jnp.asarray(problem.domain["t"][0], dtype)
        velocity = []
        for i, name in enumerate(self.flow.velocity):
            places = dict(zip(self.names, stencils.positions(self.axes, i, dtype), strict=True))
            values = problem.initial[name](places, problem.coefficients).astype(dtype)
            velocity.append(jnp.broadcast_to(values, self.face_shape(i)))
        return self.admissible(operators, problem, tuple(velocity), t)

    def admissible(self, operators: Operators, problem: Problem, velocity: Velocity, t: Any) -> Values:
        """Some velocity made to keep the walls and continuity, with its pressure."""
        velocity = stencils.with_walls(self.axes, velocity, self.walls(problem.coefficients, t))
        velocity, _ = self.project(operators, velocity)
        return Values(velocity, self.pressure(operators, problem, velocity, t))

    def face_shape(self, component: int) -> tuple[int, ...]:
        return tuple(axis.faces if i == component else axis.n for i, axis in enumerate(self.axes))

    def courant(self, velocity: Velocity) -> Any:
        """max over the cells of the sum of |u_i| / width_i: the Courant number of a unit step."""
        parts = []
        for i, component in enumerate(velocity):
            size = jnp.abs(stencils.all_faces(self.axes, component, i))
            largest = jnp.maximum(stencils.cut(size, i, 1, None), stencils.cut(size, i, None, -1))
            parts.append(largest * stencils.along(1 / self.axes[i].widths, i, component))
        return jnp.max(sum(parts[1:], parts[0]))

    def force_on_solid(self, problem: Problem, velocity: Velocity) -> Any:
        """``[dims]``, over the density."""
        return penalty_force(self.axes, self.resistance(problem, velocity[0].dtype), velocity)
