r"""One field on many devices: slabs of a torus, transformed with one exchange of kept modes.

On P devices each holds n_x / P planes of the grid; of the modes it holds a part of the second axis, padded with zeros to a
multiple of P. To the modes: transforms along all axes but the first, in which every device has all it needs, and only the kept
modes of these; an all-to-all exchange, after which the first axis is whole; its transform. To the grid: the same backwards.
An exchange moves (2/3)^2 of the numbers of the whole spectrum in three dimensions, and nothing else leaves a device: products,
linear operators and Runge-Kutta stages act point by point or mode by mode, and follow the placement of what they act on.

    grid   [..., n_x / P, n_y, n_z]        modes [..., 2 m_x + 1, (2 m_y + 1 + padding) / P, m_z + 1]

Reference: Takahashi (2010), *An implementation of parallel 3-D FFT with 2-D decomposition*, section 2, for slabs and pencils.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsci.solvers.torus import Torus


@dataclasses.dataclass(frozen=True)
class SlabTorus(Torus):
    """A torus of two or three axes whose fields and modes are spread over the devices of a mesh with one axis."""

    mesh: Mesh = dataclasses.field(kw_only=True)

    def __post_init__(self):
        # With automatic placement, whatever axes it was made with: what follows from slabs is the compiler's to find.
        object.__setattr__(self, "mesh", Mesh(self.mesh.devices, self.mesh.axis_names))
        if len(self.axes) < 2:
            raise ValueError(
                "Spectral: slabs over a mesh need two or three axes of space. For a batch put jax.shard_map "
                "around the vmapped rollout."
            )
        if len(self.mesh.axis_names) != 1:
            raise ValueError(
                f"Spectral: the mesh must have one axis, got {self.mesh.axis_names}: jax.make_mesh((8,), ('x',))."
            )
        if self.shape[0] % self.devices:
            raise ValueError(
                f"Spectral: the {self.shape[0]} points of the axis {self.axes[0].name} do not divide evenly over "
                f"{self.devices} devices. Give another n, or a mesh of fewer devices."
            )

    @property
    def devices(self) -> int:
        return self.mesh.size

    @property
    def _padding(self) -> int:
        return -len(super().integer_wavenumbers(1)) % self.devices

    @property
    def mode_shape(self) -> tuple[int, ...]:
        first, second, *others = super().mode_shape
        return (first, second + self._padding, *others)

    def integer_wavenumbers(self, axis: int) -> np.ndarray:
        """The padding repeats the highest one, for which every operator is finite; its modes stay zero."""
        k = super().integer_wavenumbers(axis)
        return np.concatenate([k, np.full(self._padding, k.max())]) if axis == 1 else k

    def spread(self, operator: Any) -> Any:
        """An operator ``[..., *modes]`` placed as the modes are."""
        lead = operator.ndim - len(self.axes)
        if operator.shape[lead:] != self.mode_shape:
            return operator
        return jax.lax.with_sharding_constraint(operator, NamedSharding(self.mesh, self._modes(lead)))

    def to_grid(self, modes: Any) -> Any:
        return _to_grid(self, modes)

    def from_grid(self, values: Any) -> Any:
        return _from_grid(self, values)

    def _grid(self, lead: int) -> PartitionSpec:
        return PartitionSpec(*[None] * lead, self.mesh.axis_names[0])

    def _modes(self, lead: int) -> PartitionSpec:
        return PartitionSpec(*[None] * (lead + 1), self.mesh.axis_names[0])

    def _exchange(self, array: Any, split: int, join: int) -> Any:
        return jax.lax.all_to_all(array, self.mesh.axis_names[0], split, join, tiled=True)


@functools.partial(jax.jit, static_argnums=0)
def _to_grid(torus: SlabTorus, modes: Any) -> Any:
    first = modes.ndim - len(torus.axes)

    def local(modes):
        modes = torus._exchange(torus.first_to_grid(modes), first, first + 1)
        modes = jax.lax.slice_in_dim(modes, 0, modes.shape[first + 1] - torus._padding, axis=first + 1)
        return torus.others_to_grid(modes)

    return jax.shard_map(local, mesh=torus.mesh, in_specs=torus._modes(first), out_specs=torus._grid(first))(modes)


@functools.partial(jax.jit, static_argnums=0)
def _from_grid(torus: SlabTorus, values: Any) -> Any:
    first = values.ndim - len(torus.axes)

    def local(values):
        modes = torus.others_from_grid(values)
        padding = [(0, torus._padding if axis == first + 1 else 0) for axis in range(modes.ndim)]
        return torus.first_from_grid(torus._exchange(jnp.pad(modes, padding), first + 1, first))

    return jax.shard_map(local, mesh=torus.mesh, in_specs=torus._grid(first), out_specs=torus._modes(first))(values)
