r"""One time step of an incompressible flow: Wray's three-stage Runge-Kutta with Crank-Nicolson diffusion and projection.

For each stage, with s = 2 alpha dt its length, N the explicit rate and H = (1 - alpha dt nu L)(1 + s r) for a resistance r,

    H d = dt (gamma N + zeta N_before) + s (nu L u - grad p - r u),   u* = u + d,
    L phi = div(u*) / s,   u = u* - s grad phi,   p = p + phi - (nu / 2) div(u*),

in increments, so that a steady state does not depend on the step.  On boxes that are periodic and uniform along every axis
diffusion is explicit, N holds all of it, and p is found only where it is asked for: one FFT pair per stage.

Reference: Spalart, Moser & Rogers (1991), J. Comput. Phys. 96, 297, appendix; Le & Moin (1991), J. Comput. Phys. 92, 369;
Brown, Cortez & Minion (2001), J. Comput. Phys. 168, 464, for the pressure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_keys
from jaxsci.problems import Problem
from jaxsci.solvers import mac_stencils as stencils
from jaxsci.solvers.fast_diagonal import apply_function, inverse_or_zero
from jaxsci.solvers.gradients import repeat
from jaxsci.solvers.mac_flow import MacFlow, Operators, Values
from jaxsci.solvers.mac_nodes import from_nodes, to_nodes
from jaxsci.solvers.stepper import State

GAMMA = (8 / 15, 5 / 12, 3 / 4)
ZETA = (0.0, -17 / 60, -5 / 12)
ALPHA = (4 / 15, 1 / 15, 1 / 6)
ADVECTIVE_LIMIT = math.sqrt(3)  # largest Courant number on the imaginary axis
DIFFUSIVE_LIMIT = 2.5  # largest dt * |eigenvalue| on the real axis


def step(flow: MacFlow, operators: Operators, problem: Problem, resistances: Any, values: Values, t: Any, dt: Any) -> Values:
    """The flow one step later."""
    stage = _explicit_stage if flow.is_periodic else _implicit_stage

    def one(carry: Any, weights: Any) -> Any:
        values, before, t = carry
        weights = _Stage(*weights)
        values, rate = stage(flow, operators, problem, resistances, values, before, t, dt, weights)
        return (values, rate, t + 2 * weights.alpha * dt), None

    weights = tuple(jnp.asarray(w, dt.dtype) for w in (GAMMA, ZETA, ALPHA))
    nothing = jax.tree.map(jnp.zeros_like, values.velocity)
    return jax.lax.scan(one, (values, nothing, t), weights)[0][0]


class _Stage(NamedTuple):
    gamma: Any
    zeta: Any
    alpha: Any


def _explicit_stage(flow, operators, problem, resistances, values, before, t, dt, stage):
    walls = flow.walls(problem.coefficients, t)
    viscosity = flow.viscosity(problem.coefficients, dt.dtype)
    explicit = flow.explicit_rate(problem.coefficients, values.velocity, walls, t)
    diffused = stencils.laplacian(flow.axes, values.velocity, walls)
    rate = tuple(a + viscosity * b for a, b in zip(explicit, diffused, strict=True))
    moved = []
    for u, r, new, old in zip(values.velocity, resistances, rate, before, strict=True):
        u = u + dt * (stage.gamma * new + stage.zeta * old)
        moved.append(u if r is None else u / (1 + 2 * stage.alpha * dt * r))
    velocity, _ = flow.project(operators, tuple(moved))
    return Values(velocity, values.pressure), rate


def _implicit_stage(flow, operators, problem, resistances, values, before, t, dt, stage):
    axes, coefficients = flow.axes, problem.coefficients
    length = 2 * stage.alpha * dt
    now, then = flow.walls(coefficients, t), flow.walls(coefficients, t + length)
    between = jax.tree.map(lambda a, b: (a + b) / 2, now, then)
    viscosity = flow.viscosity(coefficients, dt.dtype)
    explicit = flow.explicit_rate(coefficients, values.velocity, now, t)
    diffused = stencils.laplacian(axes, stencils.with_walls(axes, values.velocity, between), between)
    slopes = stencils.gradient(axes, values.pressure, between.pressure)

    def helmholtz(total):
        return 1 / (1 - length / 2 * viscosity * total)

    moved = []
    for i, (u, r) in enumerate(zip(values.velocity, resistances, strict=True)):
        source = dt * (stage.gamma * explicit[i] + stage.zeta * before[i]) + length * (viscosity * diffused[i] - slopes[i])
        if r is not None:
            source = source - length * r * u
        change = apply_function(operators.velocity[i], helmholtz, source)
        moved.append(u + (change if r is None else change / (1 + length * r)))
    moved = stencils.with_walls(axes, tuple(moved), then)
    outflow = stencils.divergence(axes, moved)
    potential = apply_function(operators.pressure, inverse_or_zero, outflow / length)
    corrections = stencils.gradient(axes, potential)
    velocity = tuple(u - length * g for u, g in zip(moved, corrections, strict=True))
    return Values(velocity, values.pressure + potential - viscosity / 2 * outflow), explicit


def relative_change(before: Any, after: Any) -> Any:
    """|after - before| / |after|, with all components in one norm."""
    size = lambda arrays: jnp.sqrt(sum(jnp.sum(a**2) for a in arrays))  # noqa: E731
    difference = size([a - b for a, b in zip(after, before, strict=True)])
    return difference / jnp.maximum(size(after), jnp.finfo(after[0].dtype).tiny)


def advance(
    flow: MacFlow, operators: Operators, problem: Problem, values: Values, t: Any, dt: Any, steps: Any, steady: Any
) -> tuple[Values, Any]:
    """Equal steps, as many as given; the flow after them, and how many were taken.

    A static number of them is differentiable in reverse and keeps a state for each block of about sqrt(steps), and for each
    step of one block at a time. A traced number is not, and needs no new compilation for another number; it ends where the
    relative rate of change falls below `steady`.
    """
    resistances = flow.resistance(problem, dt.dtype)

    def one(state, _=None):
        values, t = state
        return step(flow, operators, problem, resistances, values, t, dt), t + dt

    if not isinstance(steps, int):

        def goes_on(carry):
            k, _, change = carry
            return (k < steps) & ~(change < steady)

        def another(carry):
            k, state, _ = carry
            new = one(state)
            return k + 1, new, relative_change(state[0].velocity, new[0].velocity) / dt

        start = (jnp.zeros_like(steps), (values, t), jnp.full_like(dt, jnp.inf))
        taken, state, _ = jax.lax.while_loop(goes_on, another, start)
        return state[0], taken

    return repeat(one, (values, t), steps, "sqrt")[0], jnp.asarray(steps)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MacStepper:
    """A flow's step, made by `jaxsci.stepper`. A pytree: jit, vmap, grad and scan go through it and its methods.

    Attributes:
      problem: with the coefficients of the step.
      dt: the step.
    """

    flow: MacFlow = dataclasses.field(metadata={"static": True})
    problem: Problem
    dt: Any
    operators: Operators

    def with_coefficients(self, **values: Any) -> MacStepper:
        """The stepper for other coefficients."""
        return dataclasses.replace(self, problem=self.problem.with_coefficients(**values))

    def initial(self) -> State:
        """The state at the problem's start: velocities on their faces, pressure at the centres."""
        values = self.flow.initial(self.operators, self.problem, self.dt.dtype)
        return State(values, jnp.asarray(self.problem.domain["t"][0], self.dt.dtype))

    def step(self, state: State, coefficients: Mapping[str, Any] | None = None) -> State:
        """The state one step later, optionally with other values of coefficients."""
        problem = self.problem if coefficients is None else self.problem.with_coefficients(**coefficients)
        resistances = self.flow.resistance(problem, self.dt.dtype)
        values = step(self.flow, self.operators, problem, resistances, state.values, state.t, self.dt)
        return State(values, state.t + self.dt)

    def encode(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any], t: Float[ArrayLike, ""] | None = None) -> State:
        """Velocities at the nodes to a state, made to keep the walls and continuity.

        Args:
          fields: ``[components, *nodes]``, or a dict by name.
          t: the time; the problem's start by default.
        Raises:
          ValueError: a shape that is not the grid's.
        """
        names = self.flow.flow.velocity
        shape = (len(names), *(len(axis.nodes) for axis in self.flow.axes))
        if isinstance(fields, Mapping):
            check_keys("field", fields, names, complete=True)
            fields = jnp.stack([jnp.asarray(fields[name]) for name in names])
        fields = jnp.asarray(fields, self.dt.dtype)
        if fields.shape != shape:
            raise ValueError(
                f"encode: the fields {', '.join(names)} at the nodes have shape {shape}, got {fields.shape}. "
                "For a batch use jax.vmap."
            )
        start = jnp.asarray(self.problem.domain["t"][0] if t is None else t, self.dt.dtype)
        velocity = from_nodes(self.flow, dict(zip(names, fields, strict=True)))
        return State(self.flow.admissible(self.operators, self.problem, velocity, start), start)

    def decode(self, state: State) -> Float[Array, "unknowns ..."]:
        """A state to the unknowns at the nodes, ``[unknowns, *nodes]``."""
        velocity = state.values.velocity
        pressure = self.flow.pressure(self.operators, self.problem, velocity, state.t)
        return to_nodes(self.flow, self.problem, Values(velocity, pressure), state.t)

    def courant(self, state: State) -> Float[Array, ""]:
        """The Courant number of a state: cells per step that the flow crosses, added up over the axes."""
        return self.flow.courant(state.values.velocity) * self.dt

    @property
    def grid(self) -> dict[str, np.ndarray]:
        """The nodes of encode and decode, one array per axis."""
        return self.flow.grid()
