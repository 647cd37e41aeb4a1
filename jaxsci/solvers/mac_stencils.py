"""Second-order differences on the staggered grid, in two or three dimensions.

A velocity is a tuple of arrays, one per axis, each on its own faces; along its own axis a component holds all n + 1 faces
of a walled axis, the walls included, and n of a periodic one.  `Walls` holds what the sides prescribe at one time.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.solvers.mac_grid import MacAxis

Axes = tuple[MacAxis, ...]
Velocity = tuple[Any, ...]
Ends = tuple[tuple[str, Any], ...] | None  # (kind, value) at the lower and the upper end


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Walls:
    """Values on the sides at one time; None along periodic axes.

    Attributes:
      kinds: by component and axis, "dirichlet" or "neumann" for the lower and the upper end.
      normal: by axis, a pair of values (None at an open end) of the component through the side, ``[..., 1, ...]``.
      tangential: by component and axis, the pair of values that the kinds say.
      pressure: by axis, a pair of values at open ends, None at others.
    """

    kinds: tuple[tuple[Any, ...], ...] = dataclasses.field(metadata={"static": True})
    normal: tuple[Any, ...]
    tangential: tuple[tuple[Any, ...], ...]
    pressure: tuple[Any, ...]

    def ends(self, component: int, axis: int) -> Ends:
        """Kind and value of a component at both ends of another axis."""
        values = self.tangential[component][axis]
        return None if values is None else tuple(zip(self.kinds[component][axis], values, strict=True))


def cut(array: Any, axis: int, start: int | None, stop: int | None) -> Any:
    """array[start:stop] along one axis."""
    return array[(slice(None),) * axis + (slice(start, stop),)]


def along(vector: Any, axis: int, array: Any) -> Any:
    """A vector in the shape and type in which it multiplies an array along one axis."""
    return jnp.asarray(vector, array.dtype).reshape([-1 if i == axis else 1 for i in range(array.ndim)])


def difference(array: Any, axis: int) -> Any:
    """array[1:] - array[:-1] along one axis."""
    return cut(array, axis, 1, None) - cut(array, axis, None, -1)


def joined(*parts: Any, axis: int) -> Any:
    """The parts one after the other along an axis."""
    return jnp.concatenate(parts, axis=axis)


def all_faces(axes: Axes, component: Any, axis: int) -> Any:
    """A component with the n + 1 faces of its own axis, also where that is periodic."""
    return joined(component, cut(component, axis, 0, 1), axis=axis) if axes[axis].periodic else component


def own_faces(axes: Axes, values: Any, axis: int) -> Any:
    """The inverse of `all_faces`."""
    return cut(values, axis, None, -1) if axes[axis].periodic else values


def extended(axes: Axes, component: Any, axis: int, ends: Ends) -> Any:
    """Values at centres with one more at either end: on the wall, or across a periodic end."""
    if ends is None:
        return joined(cut(component, axis, -1, None), component, cut(component, axis, 0, 1), axis=axis)
    near = (cut(component, axis, 0, 1), cut(component, axis, -1, None))
    steps = (-axes[axis].spacings[0], axes[axis].spacings[-1])
    low, high = (
        jnp.broadcast_to(value if kind == "dirichlet" else inner + step * value, inner.shape)
        for (kind, value), inner, step in zip(ends, near, steps, strict=True)
    )
    return joined(low, component, high, axis=axis)


def at_nodes(axes: Axes, values: Any, axis: int) -> Any:
    """Extended values at centres interpolated to the n + 1 nodes."""
    weight = along(axes[axis].above, axis, values)
    return (1 - weight) * cut(values, axis, None, -1) + weight * cut(values, axis, 1, None)


def with_walls(axes: Axes, velocity: Velocity, walls: Walls) -> Velocity:
    """The velocity with its prescribed values on the faces that lie on walls."""
    out = []
    for i, component in enumerate(velocity):
        if walls.normal[i] is not None:
            low, high = walls.normal[i]
            shape = cut(component, i, 0, 1).shape
            first = cut(component, i, 0, 1) if low is None else jnp.broadcast_to(low, shape)
            last = cut(component, i, -1, None) if high is None else jnp.broadcast_to(high, shape)
            component = joined(first, cut(component, i, 1, -1), last, axis=i)
        out.append(component)
    return tuple(out)


def divergence(axes: Axes, velocity: Velocity) -> Any:
    """Of a velocity, at the cell centres: the net outflow of each cell over its volume."""
    parts = [
        difference(all_faces(axes, component, i), i) * along(1 / axes[i].widths, i, component)
        for i, component in enumerate(velocity)
    ]
    return sum(parts[1:], parts[0])


def gradient(axes: Axes, pressure: Any, held: tuple[Any, ...] | None = None) -> Velocity:
    """Of a pressure, on the faces; zero on walls. At open ends the pressure is held at the given values, by default zero."""
    out = []
    for i, axis in enumerate(axes):
        if axis.periodic:
            padded = joined(cut(pressure, i, -1, None), pressure, axis=i)
            out.append(difference(padded, i) * along(1 / axis.spacings[:-1], i, pressure))
            continue
        ends = [cut(pressure, i, 0, 1), cut(pressure, i, -1, None)]  # no slope
        for k in (0, 1):
            if axis.open_ends[k]:
                value = held[i][k] if held is not None else 0.0
                ends[k] = jnp.broadcast_to(jnp.asarray(value, pressure.dtype), ends[k].shape)
        out.append(difference(joined(ends[0], pressure, ends[1], axis=i), i) * along(1 / axis.spacings, i, pressure))
    return tuple(out)


def _face_balance(axes: Axes, flux: Any, axis: int, mirror: float) -> Any:
    """d/dx on a component's own faces of a flux at the centres; beyond walls the flux is its mirror image times a sign."""
    first, last = cut(flux, axis, 0, 1), cut(flux, axis, -1, None)
    if axes[axis].periodic:
        change = difference(joined(last, flux, axis=axis), axis)
        return change * along(1 / axes[axis].face_widths[:-1], axis, flux)
    change = difference(joined(mirror * first, flux, mirror * last, axis=axis), axis)
    return change * along(1 / axes[axis].face_widths, axis, flux)


def _cell_balance(axes: Axes, flux: Any, axis: int) -> Any:
    """d/dx at the centres of a flux at the nodes."""
    return difference(flux, axis) * along(1 / axes[axis].widths, axis, flux)


def advection(axes: Axes, velocity: Velocity, walls: Walls) -> Velocity:
    """div(u u_i), conservative and central: second order, and without numerical dissipation."""
    full = [all_faces(axes, component, i) for i, component in enumerate(velocity)]
    out: list[Any] = []
    for i in range(len(axes)):
        at_centres = (cut(full[i], i, 1, None) + cut(full[i], i, None, -1)) / 2
        out.append(_face_balance(axes, at_centres**2, i, 1.0))
    for i in range(len(axes)):
        for j in range(i + 1, len(axes)):  # the flux of u_i along j is that of u_j along i: both live on their edges
            first = at_nodes(axes, _extended_full(axes, full[i], i, j, walls), j)
            second = at_nodes(axes, _extended_full(axes, full[j], j, i, walls), i)
            flux = first * second
            out[i] = out[i] + _cell_balance(axes, own_faces(axes, flux, i), j)
            out[j] = out[j] + _cell_balance(axes, own_faces(axes, flux, j), i)
    return tuple(out)


def _extended_full(axes: Axes, full: Any, component: int, axis: int, walls: Walls) -> Any:
    ends = walls.ends(component, axis)
    if ends is not None and axes[component].periodic:  # the wall's values have the component's own n faces
        ends = tuple(
            (kind, joined(v, cut(v, component, 0, 1), axis=component) if v.shape[component] > 1 else v) for kind, v in ends
        )
    return extended(axes, full, axis, ends)


def laplacian(axes: Axes, velocity: Velocity, walls: Walls) -> Velocity:
    """Of each component, on its own faces; at walls from the prescribed values half a cell away."""
    out = []
    for i, component in enumerate(velocity):
        slope = difference(all_faces(axes, component, i), i) * along(1 / axes[i].widths, i, component)
        total = _face_balance(axes, slope, i, -1.0)
        for j in range(len(axes)):
            if j != i:
                values = extended(axes, component, j, walls.ends(i, j))
                total = total + _cell_balance(axes, difference(values, j) * along(1 / axes[j].spacings, j, values), j)
        out.append(total)
    return tuple(out)


def positions(axes: Axes, component: int | None, dtype: Any) -> list[Any]:
    """Coordinates of a component's faces (None: of the centres) by axis, each in the shape that broadcasts."""
    vectors = [axis.x[: axis.faces] if i == component else axis.centres for i, axis in enumerate(axes)]
    return [jnp.asarray(v, dtype).reshape([-1 if k == i else 1 for k in range(len(axes))]) for i, v in enumerate(vectors)]


def face_volumes(axes: Axes, component: int, dtype: Any) -> Any:
    """Of the control volumes around a component's faces; half ones on walls."""
    vectors = [axis.widths for axis in axes]
    own = axes[component].face_widths[: axes[component].faces].copy()
    if not axes[component].periodic:
        own[[0, -1]] /= 2
    vectors[component] = own
    out = np.ones(())
    for i, vector in enumerate(vectors):
        out = out * vector.reshape([-1 if k == i else 1 for k in range(len(axes))])
    return jnp.asarray(out, dtype)
