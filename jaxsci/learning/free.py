"""What is fitted in an inverse problem: free coefficients in scaled variables, with a learned field or through a solver.

A positive coefficient is c = c0 exp(s), any other number c = c0 + |c0| s, and the parameters of a coefficient that is a function
change as they are.  The variables s start at zero and are of order one, whatever the coefficients' units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci.equations.evaluation import Partial
from jaxsci.equations.expression import multi_index
from jaxsci.equations.partials import partial_derivatives
from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns, residual
from jaxsci.learning.outputs import Output, with_outputs
from jaxsci.learning.smoothed_start import SmoothedStart
from jaxsci.networks import Network
from jaxsci.problems import Problem
from jaxsci.solvers import Adaptive


def start_of(names: tuple[str, ...], coefficients: Coefficients) -> dict[str, Any]:
    """The scaled variables at the given coefficients: zeros."""
    return {name: jax.tree.map(lambda leaf: jnp.zeros_like(jnp.asarray(leaf, float)), coefficients[name]) for name in names}


def values_of(change: Mapping[str, Any], coefficients: Coefficients, positive: tuple[str, ...]) -> dict[str, Any]:
    """The free coefficients at scaled variables."""

    def value(name, here):
        if name in positive:
            return here * jnp.exp(change[name])
        unit = 1.0 if callable(here) else jnp.where(here == 0, 1.0, jnp.abs(here))
        return jax.tree.map(lambda base, step: base + unit * step, here, change[name])

    return {name: value(name, coefficients[name]) for name in change}


@dataclasses.dataclass(frozen=True)
class Open:
    """The ansatz of a window: the network itself, as nothing is prescribed. Static; see `HardConditions`."""

    problem: Problem

    def __hash__(self) -> int:
        return hash(self.problem._static())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Open) and self.problem._static() == other.problem._static()

    @property
    def input_size(self) -> int:
        return len(self.problem.coordinates)

    def field(self, network: Callable[[Any], Any], coefficients: Coefficients) -> Callable[..., Any]:
        """The field of a network: a function of ONE point, each coordinate scaled to [-1, 1]."""
        low, high = np.asarray([self.problem.domain[name] for name in self.problem.coordinates]).T

        def field(*coordinates):
            return network((2 * jnp.stack(coordinates) - (low + high)) / (high - low))

        return field


@dataclasses.dataclass(frozen=True)
class LearnedField(Objective):
    """The objective of a learned field with free coefficients in scaled variables."""

    positive: tuple[str, ...] = ()
    seen: tuple[Partial, ...] = ()  # what the observations are of

    @classmethod
    def with_free(
        cls,
        problem: Problem,
        network: Network,
        names: tuple[str, ...],
        positive: tuple[str, ...],
        seen: tuple[Partial, ...],
        outputs: tuple[Output, ...] = (),
    ) -> Self:
        equation = dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
        if problem.is_window and outputs:
            raise ValueError(
                f"fit: {problem.name} is a window without conditions, in which Neural's outputs do not hold; leave them out."
            )
        conditions: Any = Open(problem) if problem.is_window else with_outputs(SmoothedStart(problem), outputs)
        return cls(conditions, network, equation, names, positive, seen)

    def init(self, key, coefficients):
        unknowns = len(self.conditions.problem.unknowns)
        parameters = self.network.init(key, self.conditions.input_size, unknowns)
        return {"network": parameters, "coefficients": start_of(self.free, coefficients)}

    def all_coefficients(self, unknowns, coefficients):
        return dict(coefficients) | values_of(unknowns["coefficients"], coefficients, self.positive)

    def at_equation(self, points: Any) -> Any:
        """Points of the equation as its part of a batch has them."""
        return points

    def at_data(self, observed: Batch) -> Batch:
        """Observations as a batch has them."""
        return observed

    def columns(self, points: Any) -> tuple[Any, ...]:
        """The coordinates of such points."""
        return tuple(points.T)

    def partials(self, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> dict[Partial, Any]:
        """The partial derivatives that occur in the equation, ``[points]`` each."""
        return self.equation.field_partials(self.field(unknowns, coefficients), tuple(points.T))

    def part(self, name, unknowns, coefficients, points, target):
        if name == "equation":
            return self.residual(unknowns, coefficients, points)
        coordinates, field = self.equation.coordinates, self.field(unknowns, coefficients)
        names = self.equation.equation.unknowns
        index = [multi_index(letters, coordinates) for _, letters in self.seen]
        values = partial_derivatives(field, tuple(points.T), sorted(set(index)))
        columns = [values[i][:, names.index(key[0])] for i, key in zip(index, self.seen, strict=True)]
        return jnp.stack(columns, axis=-1) - target


@dataclasses.dataclass(frozen=True)
class SolvedField:
    """The same through a numerical solver: the field is a function of the coefficients, and the data the only residual."""

    problem: Problem  # used for its static part only
    method: Any
    ts: tuple[float, ...]  # where the solver saves; between them its own interpolation
    free: tuple[str, ...]
    positive: tuple[str, ...] = ()
    seen: tuple[Partial, ...] = ()  # what the observations are of: values of unknowns only

    def __hash__(self) -> int:
        return hash(self._key())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SolvedField) and self._key() == other._key()

    def _key(self) -> tuple:
        return (self.problem._static(), self.method, self.ts, self.free, self.positive, self.seen)

    @staticmethod
    def of(
        problem: Problem,
        method: Any,
        times: np.ndarray,
        names: tuple[str, ...],
        positive: tuple[str, ...],
        seen: tuple[Partial, ...],
    ) -> SolvedField:
        if isinstance(method, Adaptive):
            method = dataclasses.replace(method.chosen(problem), adjoint=diffrax.ForwardMode(), estimate=False)
        elif hasattr(method, "estimate"):
            method = dataclasses.replace(method, estimate=False)
        return SolvedField(problem, method, tuple(map(float, times)), names, positive, seen)

    def init(self, key: Any, coefficients: Coefficients) -> Unknowns:
        return {"coefficients": start_of(self.free, coefficients)}

    def all_coefficients(self, unknowns: Unknowns, coefficients: Coefficients) -> dict[str, Any]:
        return dict(coefficients) | values_of(unknowns["coefficients"], coefficients, self.positive)

    def values(self, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> Any:
        """The solution at points, ``[points, unknowns]``."""
        problem = self.problem.with_coefficients(**self.all_coefficients(unknowns, coefficients))
        ts = None if problem.is_steady else np.asarray(self.ts)
        field = self.method.solve(problem, ts=ts).field
        return jax.vmap(lambda point: field(*point))(points)

    def rows(self, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Any:
        seen = np.asarray([self.problem.unknowns.index(name) for name, _ in self.seen])
        gap = self.values(unknowns, coefficients, batch.points["data"])[:, seen] - batch.targets["data"]
        return (jnp.sqrt(batch.weights["data"]) * gap).ravel()

    def linearise(self, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> tuple[Any, Any]:
        """`rows` and their Jacobian in the flattened variables, forward: there are few."""
        flat, unravel = ravel_pytree(unknowns)

        def twice(flat):
            value = self.rows(unravel(flat), coefficients, batch)
            return value, value

        jacobian, value = jax.jacfwd(twice, has_aux=True)(flat)
        return value, jacobian
