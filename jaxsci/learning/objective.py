"""The one objective of every fit: the residual of an equation for a network behind hard conditions, and data beside it.

Losses, Jacobians, weights, the neural tangent kernel, inverse problems and their uncertainty all derive from `Objective`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxsci._checks import check_keys
from jaxsci.equations.residual import PointwiseResidual, residual
from jaxsci.learning.conditions import HardConditions
from jaxsci.learning.frame import FRAME, framed
from jaxsci.learning.outputs import Ansatz, Output, with_outputs
from jaxsci.learning.smoothed_start import SmoothedStart
from jaxsci.networks import Network
from jaxsci.problems import Problem

Coefficients = Mapping[str, Any]  # of the problem, by name; where a fit has a frame, it stands beside them under FRAME
Unknowns = dict[str, Any]  # what a fit changes: {"network": its parameters, "coefficients": the free ones}


class Batch(NamedTuple):
    """What one step of a fit looks at, by part: "equation", and with observations "data".

    The loss is the sum over all parts and points of weight times residual squared; equal weights are one over the number of
    points, so that a part counts by its mean square.
    """

    points: dict[str, Float[Array, "points coordinates"]]
    weights: dict[str, Float[Array, "points rows"]]
    targets: dict[str, Float[Array, "points unknowns"]]  # of the parts that compare with a value; the equation has none


def equal_weights(points: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """One over the number of points, for every part: ``{part: [points, rows]}``."""
    return {part: jnp.full((len(p), rows[part]), 1.0 / len(p), p.dtype) for part, p in points.items()}


@dataclasses.dataclass(frozen=True)
class Objective:
    """Residuals of a network at points. Static and hashable; what is fitted and the coefficients are arguments."""

    conditions: HardConditions | Ansatz
    network: Network
    equation: PointwiseResidual
    free: tuple[str, ...] = ()  # coefficients that are fitted with the network

    @staticmethod
    def of(problem: Problem, network: Network, free: tuple[str, ...] = (), outputs: tuple[Output, ...] = ()) -> Objective:
        check_keys("free coefficient", dict.fromkeys(free), problem.coefficients)
        equation = dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
        return Objective(with_outputs(SmoothedStart(problem), outputs), network, equation, free)

    def init(self, key: Any, coefficients: Coefficients) -> Unknowns:
        """Fresh parameters, and the free coefficients at their values."""
        unknowns = len(self.conditions.problem.unknowns)
        parameters = self.network.init(key, self.conditions.input_size, unknowns)
        start = {name: jax.tree.map(jnp.asarray, coefficients[name]) for name in self.free}
        return {"network": parameters, "coefficients": start}

    def all_coefficients(self, unknowns: Unknowns, coefficients: Coefficients) -> dict[str, Any]:
        """The given coefficients with the fitted ones in their place."""
        given = {name: value for name, value in coefficients.items() if name != FRAME}
        return given | unknowns["coefficients"]

    def field(self, unknowns: Unknowns, coefficients: Coefficients) -> Any:
        """The field: a function of ONE point, ``[unknowns]``, that holds the conditions for any parameters."""
        network = functools.partial(self.network.apply, unknowns["network"])
        if FRAME in coefficients:
            network = framed(self.network.apply, unknowns["network"], coefficients[FRAME], self.time_order)
        return self.conditions.field(network, self.all_coefficients(unknowns, coefficients))

    def extend(self, points: Float[Array, "points coordinates"], key: Any) -> Any:
        """Points of the domain with whatever else a point of this objective has: nothing here, its member for a family."""
        del key
        return points

    @property
    def time_order(self) -> int:
        """The highest order of a time derivative; zero for a steady problem."""
        problem = self.conditions.problem
        return 0 if problem.is_steady else max(problem.time_order(name) for name in problem.unknowns)

    def residual(
        self, unknowns: Unknowns, coefficients: Coefficients, points: Float[Array, "points coordinates"]
    ) -> Float[Array, "points equations"]:
        """The residual of the equation: the core that everything else is made of."""
        return self.equation(self.field(unknowns, coefficients), self.all_coefficients(unknowns, coefficients), points)

    def part(self, name: str, unknowns: Unknowns, coefficients: Coefficients, points: Any, target: Any) -> Any:
        """The residual of one part, ``[points, rows]``: of the equation, or the field less what was observed."""
        if name == "equation":
            return self.residual(unknowns, coefficients, points)
        return jax.vmap(lambda point: self.field(unknowns, coefficients)(*point))(points) - target

    def parts(self, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> dict[str, Any]:
        """Unweighted residuals by part, ``{part: [points, rows]}``."""
        return {
            name: self.part(name, unknowns, coefficients, points, batch.targets.get(name))
            for name, points in batch.points.items()
        }

    def loss(self, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Any:
        """The weighted sum of squares."""
        parts = self.parts(unknowns, coefficients, batch)
        return sum(jnp.sum(batch.weights[name] * parts[name] ** 2) for name in parts)

    def rows(self, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Float[Array, " rows"]:
        """All weighted residuals in one vector, whose square is the loss."""
        parts = self.parts(unknowns, coefficients, batch)
        return jnp.concatenate([(jnp.sqrt(batch.weights[name]) * parts[name]).ravel() for name in parts])

    def linearise(self, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> tuple[Any, Any]:
        """`rows` and their Jacobian ``[rows, parameters]`` in the flattened unknowns.

        One reverse pass per point gives its rows: each residual depends on its own point only.
        """
        flat, unravel = ravel_pytree(unknowns)
        values, slopes = [], []
        for name, points in batch.points.items():

            def at_point(point, target, weight, name=name):
                def of_parameters(flat):
                    target_ = None if target is None else target[None]
                    value = self.part(name, unravel(flat), coefficients, point[None], target_)[0]
                    return jnp.sqrt(weight) * value

                return of_parameters(flat), jax.jacrev(of_parameters)(flat)

            value, slope = jax.vmap(at_point)(points, batch.targets.get(name), batch.weights[name])
            values.append(value.ravel())
            slopes.append(slope.reshape(-1, flat.size))
        return jnp.concatenate(values), jnp.concatenate(slopes)


@functools.partial(jax.jit, static_argnames=("objective",))
def residual_at(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> Any:
    """The residual at points, compiled: ``[points, equations]``."""
    return objective.residual(unknowns, coefficients, points)
