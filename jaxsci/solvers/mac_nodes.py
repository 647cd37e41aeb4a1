"""Between the staggered grid and its nodes, where solutions are given: interpolation by cubics, and between the nodes too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.problems import Problem
from jaxsci.solvers import mac_stencils as stencils
from jaxsci.solvers.fast_diagonal import along_axis
from jaxsci.solvers.mac_flow import MacFlow, Values
from jaxsci.solvers.mac_grid import MacAxis, lagrange_weights, periodic_weights


def to_nodes(flow: MacFlow, problem: Problem, values: Values, t: Any) -> Any:
    """The unknowns at the nodes, ``[unknowns, *nodes]``; on walls they have their prescribed values."""
    found = {
        name: _component_at_nodes(flow, problem, i, array, t)
        for i, (name, array) in enumerate(zip(flow.flow.velocity, values.velocity, strict=True))
    }
    found[flow.flow.pressure] = _component_at_nodes(flow, problem, None, values.pressure, t)
    return jnp.stack([found[name] for name in problem.unknowns])


def _component_at_nodes(flow: MacFlow, problem: Problem, component: int | None, array: Any, t: Any) -> Any:
    """A component (None: the pressure) carried from centres to nodes, one axis after the other."""
    places = stencils.positions(flow.axes, component, t.dtype)
    if component is not None:
        array = stencils.all_faces(flow.axes, array, component)
        places[component] = _nodes(flow, component, t.dtype)
    for j, axis in enumerate(flow.axes):
        if j == component:
            continue
        if axis.periodic:
            matrix = periodic_weights(axis.centres, axis.x, axis.x[-1] - axis.x[0])
        else:
            known = [_is_held(flow, component, j, end) for end in (0, 1)]
            ends = [
                jnp.broadcast_to(flow.on_side(j, end, component, places, problem.coefficients, t),
                                 stencils.cut(array, j, 0, 1).shape)
                for end in (0, 1)
            ]  # fmt: skip
            array = jnp.concatenate([*ends[: known[0]], array, *(ends[1:] if known[1] else [])], axis=j)
            points = axis.extended[0 if known[0] else 1 : None if known[1] else -1]
            matrix = lagrange_weights(points, axis.x)
        array = along_axis(jnp.asarray(matrix, array.dtype), array, j)
        places[j] = _nodes(flow, j, t.dtype)
    if component is None:
        return array
    # On the walls that it crosses a component is known: near their edges interpolation would mix in what others hold.
    known = [
        jnp.broadcast_to(flow.on_side(component, end, component, places, problem.coefficients, t), near.shape)
        if flow.sides[component] is not None and _is_held(flow, component, component, end) else near
        for end, near in enumerate((stencils.cut(array, component, 0, 1), stencils.cut(array, component, -1, None)))
    ]  # fmt: skip
    return jnp.concatenate([known[0], stencils.cut(array, component, 1, -1), known[1]], axis=component)


def _is_held(flow: MacFlow, component: int | None, axis: int, end: int) -> bool:
    sides = flow.sides[axis]
    assert sides is not None
    return sides[end].is_open if component is None else sides[end].kinds[component] == "dirichlet"


def _nodes(flow: MacFlow, axis: int, dtype: Any) -> Any:
    return jnp.asarray(flow.axes[axis].x, dtype).reshape([-1 if k == axis else 1 for k in range(len(flow.axes))])


def from_nodes(flow: MacFlow, fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """Velocity components at the nodes to their faces."""
    out = []
    for i, name in enumerate(flow.flow.velocity):
        array = stencils.own_faces(flow.axes, fields[name], i)
        for j, axis in enumerate(flow.axes):
            if j != i:
                array = along_axis(jnp.asarray(lagrange_weights(axis.x, axis.centres), array.dtype), array, j)
        out.append(array)
    return tuple(out)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NodalField:
    """A flow between its saved times and nodes: cubics along every coordinate. A field of ONE point."""

    axes: tuple[MacAxis, ...] = dataclasses.field(metadata={"static": True})
    ts: Any  # [T]
    fields: Any  # [T, unknowns, *nodes]

    @property
    def interval(self) -> tuple[Any, Any]:
        """The times between which there is something to interpolate."""
        return self.ts[0], self.ts[-1]

    def __call__(self, t: Any, *point: Any) -> Any:
        values, firsts, weights = self.fields, [], []
        for i, (nodes, x) in enumerate(zip((self.ts, *self._nodes()), (t, *point), strict=True)):
            if i and self.axes[i - 1].periodic:
                values = _wrapped(values, i + 1)
            first, weight = _local_weights(jnp.asarray(nodes, values.dtype), x)
            firsts.append(first)
            weights.append(weight)
        sizes = [len(weight) for weight in weights]
        start = [firsts[0], jnp.zeros_like(firsts[0]), *firsts[1:]]
        block = jax.lax.dynamic_slice(values, start, [sizes[0], values.shape[1], *sizes[1:]])
        for weight in weights[:0:-1]:
            block = block @ weight
        return weights[0] @ block

    def _nodes(self) -> list[np.ndarray]:
        """By axis; one more beyond either end of a periodic one."""
        out = []
        for axis in self.axes:
            x = np.asarray(axis.nodes)
            length = x[-1] - x[0]
            out.append(np.concatenate([x[-2:-1] - length, x, x[1:2] + length]) if axis.periodic else x)
        return out


def _wrapped(values: Any, position: int) -> Any:
    low, high = stencils.cut(values, position, -2, -1), stencils.cut(values, position, 1, 2)
    return jnp.concatenate([low, values, high], axis=position)


def _local_weights(nodes: Any, x: Any) -> tuple[Any, Any]:
    """The first of the four nodes around x (fewer where there are fewer), and their weights in the cubic through them."""
    count = min(4, nodes.shape[0])
    first = jnp.clip(jnp.searchsorted(nodes, x, side="right") - count // 2, 0, nodes.shape[0] - count)
    near = jax.lax.dynamic_slice_in_dim(nodes, first, count)
    weights = []
    for k in range(count):
        factors = [(x - near[m]) / (near[k] - near[m]) for m in range(count) if m != k]
        weights.append(jnp.prod(jnp.stack(factors)))
    return first, jnp.stack(weights)
