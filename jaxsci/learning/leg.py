"""What one optimiser computes from where a fit stands, between looks at the clock: draws, steps, judgements."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns, equal_weights
from jaxsci.learning.optimiser import Optimiser
from jaxsci.learning.sampling import collocation, row_scales
from jaxsci.learning.scheme import Scheme

_CHECKS = 4096  # points at which parameters are judged


class Loop(NamedTuple):
    """All that a leg carries: with the number of its steps it is the whole of it."""

    state: Any  # of the optimiser
    points: Any
    weights: dict[str, Any]
    weighting: tuple[Any, ...]  # the states of the weightings
    best: Unknowns
    residual: Any  # of the best


@dataclasses.dataclass(frozen=True)
class Leg:
    """Functions of the loop. With `many`, of many fits at once: unknowns, coefficients and keys have a leading axis."""

    objective: Objective
    optimiser: Optimiser
    coefficients: Coefficients
    key: Any
    scheme: Scheme
    observed: Batch | None = None
    many: bool = False

    def begin(self, unknowns: Unknowns, residual: Any) -> Loop:
        """The loop before the first step, from unknowns and their residual."""
        state = self._map(lambda u, c: self.optimiser.init(self.objective, u, c))(unknowns, self.coefficients)
        state = jax.tree.map(jnp.asarray, state)
        return self.drawn(Loop(state, None, {}, (), unknowns, jnp.asarray(residual)), 0)

    def drawn(self, loop: Loop, step: int) -> Loop:
        """New points and their weights."""
        draws = step // self.optimiser.resample

        def draw(unknowns, coefficients, key, previous):
            return self.scheme.sampling.draw(
                self.objective, unknowns, coefficients, jax.random.fold_in(key, step), count, previous, draws
            )

        def weigh(unknowns, coefficients, points, states):
            batch = with_observations(self.objective, points, self.observed, coefficients)
            after = []
            for i, weighting in enumerate(self.scheme.weightings):
                state = states[i] if states else weighting.init(self.objective, batch)
                weights, state = weighting.weigh(self.objective, unknowns, coefficients, batch, state)
                batch, after = batch._replace(weights=weights), [*after, state]
            return batch.weights, tuple(after)

        unknowns, count = loop.state.unknowns, self._count(loop.state.unknowns)
        points = self._map(draw)(unknowns, self.coefficients, self.key, loop.points)
        weights, weighting = self._map(weigh)(unknowns, self.coefficients, points, loop.weighting)
        loop = loop._replace(points=points, weights=weights, weighting=weighting)
        return loop if self.scheme.mesh is None else _spread(loop, self.scheme.mesh)

    def batch(self, loop: Loop) -> Batch:
        """What the next step looks at; without the leading axis that the loop of many fits has."""
        return with_observations(self.objective, loop.points, self.observed)._replace(weights=loop.weights)

    def advanced(self, loop: Loop, length: int) -> Loop:
        """After so many steps."""

        def advance(coefficients, state, points, weights):
            batch = with_observations(self.objective, points, self.observed)._replace(weights=weights)
            return self.optimiser.advance(self.objective, coefficients, state, batch, length)

        state = self._map(advance)(self.coefficients, loop.state, loop.points, loop.weights)
        return loop._replace(state=state)

    def judged(self, loop: Loop) -> Loop:
        """The best of what there was and what there is."""
        size = self._map(lambda u, c: judge(self.objective, u, c, self.observed))
        new = size(loop.state.unknowns, self.coefficients)
        best, residual = self._map(_better)(new, loop.state.unknowns, loop.residual, loop.best)
        return loop._replace(best=best, residual=residual)

    def parts(self, loop: Loop) -> dict[str, float]:
        """Root mean squares of every row of every part, over what counts in it, of the first of many fits."""
        take = (lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)) if self.many else (lambda tree: tree)
        points, weights = take(loop.points), take(loop.weights)
        batch = with_observations(self.objective, points, self.observed)._replace(weights=weights)
        if sum(w.shape[1] for w in batch.weights.values()) == 1:
            return {"equation": float(np.max(loop.state.loss)) ** 0.5}
        sizes = _part_sizes(self.objective, take(loop.state.unknowns), take(self.coefficients), batch)
        named = {}
        for part, values in sizes.items():
            for row, value in enumerate(np.asarray(values)):
                named[part if len(values) == 1 else f"{part} {row + 1}"] = float(value)
        return named

    def _count(self, unknowns: Unknowns) -> int:
        """Collocation points: as many as the optimiser asks for, and as many for every device."""
        parameters = sum(leaf.size for leaf in jax.tree.leaves(unknowns)) // (len(self.key) if self.many else 1)
        count = self.optimiser.count(parameters, len(self.objective.conditions.problem.equation.residuals))
        devices = 1 if self.scheme.mesh is None else self.scheme.mesh.size
        return -(-count // devices) * devices

    def _map(self, function: Any) -> Any:
        return jax.vmap(function) if self.many else function


def judge(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, observed: Batch | None = None) -> Any:
    """The measure by which the best of a run is kept: the residual at fixed points, and the misfit of the data."""
    points = collocation(objective, coefficients, jax.random.key(20261121), _CHECKS)
    return _root_mean_square(objective, unknowns, coefficients, with_observations(objective, points, observed, coefficients))


@jax.jit
def _better(new: Any, unknowns: Unknowns, residual: Any, best: Unknowns) -> tuple[Unknowns, Any]:
    better = new < residual  # false for NaN
    return jax.tree.map(functools.partial(jnp.where, better), unknowns, best), jnp.where(better, new, residual)


@functools.partial(jax.jit, static_argnames=("objective",))
def _root_mean_square(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> Any:
    return jnp.sqrt(objective.loss(unknowns, coefficients, batch))


@functools.partial(jax.jit, static_argnames=("objective",))
def _part_sizes(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> dict[str, Any]:
    """Root mean squares of the rows of every part, unweighted, over the entries that have a weight."""
    parts = objective.parts(unknowns, coefficients, batch)
    counts = {name: batch.weights[name] > 0 for name in parts}
    return {
        name: jnp.sqrt(jnp.sum(jnp.where(counts[name], r, 0.0) ** 2, axis=0) / jnp.maximum(jnp.sum(counts[name], axis=0), 1))
        for name, r in parts.items()
    }


def with_observations(
    objective: Objective, points: Any, observed: Batch | None, coefficients: Coefficients | None = None
) -> Batch:
    """Collocation points with equal weights, in units of the rows' scales, and the observations with theirs."""
    rows = len(objective.conditions.problem.equation.residuals)
    weights = equal_weights({"equation": points}, {"equation": rows})
    weights["equation"] = weights["equation"] / row_scales(coefficients or {}) ** 2
    if observed is None:
        return Batch({"equation": points}, weights, {})
    return Batch({"equation": points} | observed.points, weights | observed.weights, dict(observed.targets))


def _spread(loop: Loop, mesh: jax.sharding.Mesh) -> Loop:
    """Points and their weights over the devices of a mesh, all else on every one of them.

    The compiler divides the program, whatever kind of axes the mesh has: it computes what one device would.
    """
    automatic = (jax.sharding.AxisType.Auto,) * len(mesh.axis_names)
    mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names, axis_types=automatic)
    over = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(mesh.axis_names))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    spread = jax.device_put(loop.points, over)
    weights = {part: jax.device_put(w, over if part == "equation" else everywhere) for part, w in loop.weights.items()}
    rest = jax.device_put(loop._replace(points=None, weights={}), everywhere)
    return rest._replace(points=spread, weights=weights)
