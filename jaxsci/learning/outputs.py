r"""More that holds exactly: no divergence, positive values, a given integral, on top of initial and boundary conditions.

With the lift G and the homogeneous part H[N] of `HardConditions`, D its factor:

    divergence-free velocity    G + curl(D^2 A),     A = N_1 in the plane (u = psi_y, v = -psi_x), (N_1, N_2, N_3) in space
    positive values             G exp(H[N])
    a given integral            f + (I - Q[f]) / Q[b] b,     b = H[1] in space, Q a Gauss quadrature over the box

D^2 has neither value nor slope where a velocity is held, so that its curl has no value there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced, unknown_name
from jaxsci.constraints.curl import divergence_free
from jaxsci.constraints.integrals import hold_integral
from jaxsci.constraints.parts import Function, Point
from jaxsci.learning.conditions import HardConditions
from jaxsci.problems import Formula, Problem

Network = Callable[[Point], Any]  # ``[unknowns]`` at one point


class Output(Protocol):
    """Something that holds exactly: from the field so far ``point -> [unknowns]``, and the network's output, another field."""

    def check(self, conditions: HardConditions) -> None:
        """Refuse what cannot be held."""
        ...

    def change(
        self, conditions: HardConditions, field: Function, network: Network, coefficients: Mapping[str, Any]
    ) -> Function:
        """The field that holds it."""
        ...


@dataclasses.dataclass(frozen=True)
class Ansatz:
    """Hard conditions with more that holds exactly; used as `HardConditions` is. `jaxsci.Neural` makes one of its `outputs`.

    Args:
      conditions: the `HardConditions` of a problem.
      outputs: `DivergenceFree`, `Positive`, `Conserved`, applied one after another; an integral last.
    Raises:
      ValueError: naming what cannot be held together.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> learning, problem = js.learning, js.problems.navier_stokes_velocity()
      >>> ansatz = learning.Ansatz(learning.HardConditions(problem), (learning.DivergenceFree("u v"),))
      >>> field = ansatz.field(lambda z: jnp.sin(3 * z[:3]), problem.coefficients)  # any network
      >>> slope = jax.jacfwd(field, argnums=(1, 2))(0.3, 0.2, 0.7)
      >>> bool(abs(slope[0][0] + slope[1][1]) < 1e-5)
      True
    """

    conditions: HardConditions
    outputs: tuple[Output, ...]

    def __post_init__(self):
        if any(isinstance(output, Conserved) for output in self.outputs[:-1]):
            raise ValueError("Ansatz: Conserved must come last among the outputs: what follows would change the integral.")
        for output in self.outputs:
            output.check(self.conditions)

    @property
    def problem(self) -> Problem:
        return self.conditions.problem

    @property
    def input_size(self) -> int:
        return self.conditions.input_size

    def inputs(self, point: Point) -> Any:
        """See `HardConditions`."""
        return self.conditions.inputs(point)

    def field(self, network: Callable[[Any], Any], coefficients: Mapping[str, Any]) -> Callable[..., Any]:
        """The field of a network ``z -> [unknowns]``: a function of ONE point, ``[unknowns]``."""
        names = self.problem.coordinates
        held = self.conditions.field(network, coefficients)

        def outputs(point):
            return network(self.conditions.inputs(point))

        function: Function = lambda point: held(*(point[name] for name in names))  # noqa: E731
        for output in self.outputs:
            function = output.change(self.conditions, function, outputs, coefficients)
        return lambda *coordinates: function(dict(zip(names, coordinates, strict=True)))


def with_outputs(conditions: HardConditions, outputs: tuple[Output, ...]) -> HardConditions | Ansatz:
    """The conditions with what else is to hold, if anything is."""
    return Ansatz(conditions, outputs) if outputs else conditions


@dataclasses.dataclass(frozen=True)
class DivergenceFree:
    """A velocity without divergence: the curl of a stream function or of a vector potential.

    What the problem prescribes of the velocity must come from a lift without divergence: zero, a start without divergence
    between walls at rest, or one given to `HardConditions`.

    Args:
      velocity: the names of its components, one for each coordinate of space.
    """

    velocity: str

    def check(self, conditions: HardConditions) -> None:
        """Refuse slopes, which the curl does not hold, and a lift with divergence."""
        problem, names = conditions.problem, self.velocity.split()
        missing = [name for name in names if name not in problem.unknowns]
        if missing:
            raise ValueError(unknown_name("DivergenceFree: unknown", missing[0], problem.unknowns))
        if len(names) != len(problem.domain.space) or len(names) not in (2, 3):
            raise ValueError(
                f"DivergenceFree: name one component for each of {', '.join(problem.domain.space)}, two or three; got {names}."
            )
        if any(conditions.needs_slopes(name) for name in names):
            raise ValueError(
                f"DivergenceFree: {problem.name} prescribes slopes of the velocity, which a curl does not hold."
            )
        if is_traced(problem):
            return
        with jax.ensure_compile_time_eval():
            points = _points(problem, conditions)
            lift = lambda *place: jnp.stack(  # noqa: E731
                [conditions.lift(n, dict(zip(problem.coordinates, place, strict=True)), problem.coefficients) for n in names]
            )
            start = len(problem.coordinates) - len(names)
            slopes = jax.vmap(jax.jacfwd(lift, argnums=tuple(range(start, start + len(names)))))(*points.values())
            divergence = sum(slopes[i][:, i] for i in range(len(names)))
            size = max(float(jnp.max(jnp.abs(jnp.stack(slopes)))), 1.0)
            worst = float(jnp.max(jnp.abs(divergence)))
        if not worst < 1e-4 * size:
            raise ValueError(
                f"DivergenceFree: the lift of {problem.name} has a divergence of {worst:.2g}. Give HardConditions lifts={{...}} "
                f"of {', '.join(names)} that have none and take what the problem prescribes."
            )

    def change(
        self, conditions: HardConditions, field: Function, network: Network, coefficients: Mapping[str, Any]
    ) -> Function:
        names, space = self.velocity.split(), conditions.problem.domain.space
        places = [conditions.problem.unknowns.index(name) for name in names]
        needed = 1 if len(space) == 2 else 3  # potentials

        def potential(point):
            d = jnp.ones_like(point[space[0]])
            for name in names:
                d = d * conditions.distance_in_space(name, point) ** (2 if name == names[0] else 0)
            if not conditions.problem.is_steady:
                start, end = conditions.problem.domain["t"]
                d = d * ((point["t"] - start) / (end - start)) ** conditions.problem.time_order(names[0])
            return d * network(point)[jnp.asarray(places)]

        def changed(point):
            value = field(point)
            curl = divergence_free(lambda x: potential({**point, **dict(zip(space, x, strict=True))})[:needed])
            here = curl(jnp.stack([point[axis] for axis in space]))
            for i, name, part in zip(places, names, here, strict=True):
                value = value.at[i].set(conditions.lift(name, point, coefficients) + part)
            return value

        return changed


@dataclasses.dataclass(frozen=True)
class Positive:
    """Values above zero where the lift is, whatever the network.

    Args:
      unknown: its name. What the problem prescribes of it must be positive or zero, and its slopes zero.
    """

    unknown: str

    def check(self, conditions: HardConditions) -> None:
        """Refuse prescribed slopes, and values below zero."""
        problem, name = conditions.problem, self.unknown
        if name not in problem.unknowns:
            raise ValueError(unknown_name("Positive: unknown", name, problem.unknowns))
        parts = (*conditions.all_walls(name), *conditions.solids(name))
        if any(part.slope is not None and not (part.slope.is_zero and part.rate is None) for part in parts):
            raise ValueError(
                f"Positive: {problem.name} prescribes slopes of {name} other than zero, which it does not hold."
            )
        if problem.time_order(name) > 1:
            raise ValueError(f"Positive: {problem.name} prescribes {name}_t at the start, which it does not hold.")
        if not is_traced(problem):
            with jax.ensure_compile_time_eval():
                lift = jax.vmap(lambda point: conditions.lift(name, point, problem.coefficients))
                least = float(jnp.min(lift(_points(problem, conditions))))
            if least < 0 or np.isnan(least):
                raise ValueError(
                    f"Positive: what {problem.name} prescribes of {name}, carried into the domain, falls to {least:.2g}; it must "
                    "be positive or zero. Prescribe other values, or leave Positive out."
                )

    def change(
        self, conditions: HardConditions, field: Function, network: Network, coefficients: Mapping[str, Any]
    ) -> Function:
        i = conditions.problem.unknowns.index(self.unknown)
        exponent = conditions.homogeneous(self.unknown, lambda point: network(point)[i], coefficients)

        def changed(point):
            value = conditions.lift(self.unknown, point, coefficients) * jnp.exp(exponent(point))
            return field(point).at[i].set(value)

        return changed


@dataclasses.dataclass(frozen=True)
class Conserved:
    """An integral over the box that is given: a mass, a mean.

    Every value of the field costs nodes^dimensions evaluations of the network. To be applied last: it adds.

    Args:
      unknown: its name.
      total: the integral: a number, or a function of t and coefficients. At the start it must be that of the start.
      nodes: of the Gauss quadrature, per axis of space; the integral is exact as far as the quadrature is.
    """

    unknown: str
    total: Any
    nodes: int = 24

    def check(self, conditions: HardConditions) -> None:
        """Refuse solids, over which the quadrature does not go."""
        if self.unknown not in conditions.problem.unknowns:
            raise ValueError(unknown_name("Conserved: unknown", self.unknown, conditions.problem.unknowns))
        if conditions.problem.solids or not conditions.problem.domain.space:
            raise ValueError(
                f"Conserved: integrals are over boxes without solids; {conditions.problem.name} has another domain."
            )
        problem = conditions.problem
        if problem.is_steady or is_traced(problem):
            return
        with jax.ensure_compile_time_eval():
            start = jnp.asarray(problem.domain["t"][0], float)
            point = {name: start if name == "t" else jnp.zeros(()) for name in problem.coordinates}
            lift = lambda p: conditions.lift(self.unknown, p, problem.coefficients)  # noqa: E731
            held = float(self._integral(problem, lift, point))
            total = float(Formula.of(self.total)(point, problem.coefficients))
        if not abs(held - total) <= 1e-3 * max(abs(held), abs(total), 1e-300):
            raise ValueError(
                f"Conserved: the integral of the start of {self.unknown} in {problem.name} is {held:.6g}, not the total "
                f"{total:.6g} that is to be held; a field cannot have both. Give that of the start."
            )

    def change(
        self, conditions: HardConditions, field: Function, network: Network, coefficients: Mapping[str, Any]
    ) -> Function:
        problem, i = conditions.problem, conditions.problem.unknowns.index(self.unknown)
        space, total = problem.domain.space, Formula.of(self.total)

        def bump(point):
            return conditions.homogeneous(self.unknown, lambda p: jnp.ones_like(p[space[0]]), coefficients, in_time=False)(
                point
            )

        def changed(point):
            in_space = {axis: point[axis] for axis in space}
            held = hold_integral(
                lambda place: field({**point, **place})[i],
                total(point, coefficients),
                *self._quadrature(problem, point),
                lambda place: bump({**point, **place}),
            )
            return field(point).at[i].set(held(in_space))

        return changed

    def _integral(self, problem: Problem, function: Function, point: Point) -> Any:
        """Of a scalar function over the box, at the point's time."""
        places, weights = self._quadrature(problem, point)
        return jax.vmap(lambda place: function({**point, **place}))(places) @ weights

    def _quadrature(self, problem: Problem, point: Point) -> tuple[Point, Any]:
        """Gauss points in space and their weights."""
        space = problem.domain.space
        nodes, weights = np.polynomial.legendre.leggauss(self.nodes)
        mesh = np.meshgrid(*[nodes] * len(space), indexing="ij")
        weight = np.prod(np.meshgrid(*[weights] * len(space), indexing="ij"), axis=0).ravel()
        weight = weight * np.prod(problem.domain.lengths) / 2 ** len(space)
        dtype = point[space[0]].dtype
        places = {
            name: jnp.asarray(low + (high - low) * (m.ravel() + 1) / 2, dtype)
            for name, m, (low, high) in zip(space, mesh, map(problem.domain.__getitem__, space), strict=True)
        }
        return places, jnp.asarray(weight, dtype)


def _points(problem: Problem, conditions: HardConditions, count: int = 64) -> Point:
    random = np.random.default_rng(0)
    points = {c: jnp.asarray(random.uniform(*problem.domain[c], count), float) for c in problem.coordinates}
    free = np.asarray(conditions.is_free(points))
    return {c: column[free] for c, column in points.items()}
