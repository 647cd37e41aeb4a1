r"""A mixture of experts (PI-HC-MoE): the domain in K parts, each with coefficients of its own.

Without interfaces the K problems know nothing of each other: over the devices of a mesh each solves its own, in a loop that
waits for nobody. See `jaxsci.constraints.interfaces` for fields that are continuous from part to part.

Reference: Chalapathi, Du & Krishnapriyan (2024), *Scaling physics-informed hard constraints with mixture-of-experts*, ICLR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxsci.constraints.constraint import ProjectionInfo, project
from jaxsci.constraints.interfaces import Interfaces, solve_joined
from jaxsci.constraints.members import batch_shape, over_members, select
from jaxsci.constraints.pde_layer import MAX_ITERATIONS, PDEConstraint, event_ndims


def solve_experts(
    constraint: PDEConstraint,
    start: Any,
    *,
    interfaces: Interfaces | None = None,
    mesh: jax.sharding.Mesh | None = None,
    axis: str = "experts",
    tol: float | None = None,
    max_steps: int | None = None,
) -> tuple[Any, ProjectionInfo]:
    """The coefficients of K experts, each on its own sub-domain.

    The same as `project` of a constraint whose rows have a leading axis of experts; with a mesh every device takes K / devices
    of them, and no device waits for another before all are done.

    Args:
      constraint: with rows ``[K, ...batch, m, N]``, as from `equation_rows` of partial derivatives that `split_grid` cut.
        Conditions that hold everywhere have no axis K, or the same rows for each expert.
      start: ``[K, ...batch, N]``, or ``[N]`` for all.
      interfaces: where fields are equal from part to part, to round-off; then all experts take their last steps together.
      mesh: devices; `axis` is the name of the mesh's axis along which the experts lie, and its size divides K.
      tol, max_steps: see `project`.
    Returns:
      (omega ``[K, ...batch, N]``, info); the field of expert k is ``b @ omega[k]`` on its sub-domain.
    Raises:
      ValueError: the mesh has no such axis, or its size does not divide K.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0.0, 1.0, 40).reshape(2, 20)  # two parts
      >>> powers = jnp.stack([jnp.ones_like(x), x, x**2], -1)
      >>> rows = js.constraints.linear_rows(powers, jnp.abs(x - 0.5))
      >>> omega, info = js.constraints.solve_experts(js.constraints.PDEConstraint((rows,)), jnp.zeros(3))
      >>> print(omega.shape, bool(info.converged.all()))
      (2, 3) True
    """
    rows = (*constraint.rows, *constraint.exact)
    shape = batch_shape(rows, event_ndims(rows))
    shape = jnp.broadcast_shapes(shape, jnp.shape(start)[:-1])
    if not shape:
        raise ValueError("solve_experts: the rows have no leading axis of experts; cut the basis by split_grid.")
    start = jnp.broadcast_to(start, (*shape, jnp.shape(start)[-1]))
    if interfaces is not None:
        if constraint.matrix_free:
            raise ValueError("solve_experts: with interfaces the solve is direct; leave matrix_free out.")
        if constraint.exact or mesh is not None:
            raise ValueError(
                "solve_experts: with interfaces there can be no exact rows, and no mesh; shard the arrays and use jit."
            )
        return _joined(constraint, interfaces, start, tol, max_steps)
    if mesh is None:
        return project(constraint, start, tol=tol, max_steps=max_steps)
    if axis not in mesh.shape:
        raise ValueError(f"solve_experts: the mesh has no axis {axis!r}, only {tuple(mesh.shape)}.")
    if shape[0] % mesh.shape[axis]:
        raise ValueError(f"solve_experts: {shape[0]} experts do not divide among {mesh.shape[axis]} devices of {axis!r}.")
    leaves, structure = jax.tree.flatten(constraint)
    ndims = jax.tree.leaves((event_ndims(constraint.rows), event_ndims(constraint.exact)))
    # Leaves with the axis of experts lie along the mesh; the others are on every device.
    own = [jnp.ndim(x) - n == len(shape) for x, n in zip(leaves, ndims, strict=True)]

    def local(leaves: list[Any], start: Any) -> tuple[Any, ProjectionInfo]:
        return project(structure.unflatten(leaves), start, tol=tol, max_steps=max_steps)

    along, everywhere = PartitionSpec(axis), PartitionSpec()
    specs = [along if o else everywhere for o in own]
    return jax.shard_map(local, mesh=mesh, in_specs=(specs, along), out_specs=along)(leaves, start)


def _joined(
    constraint: PDEConstraint, faces: Interfaces, start: Any, tol: Any, max_steps: Any
) -> tuple[Any, ProjectionInfo]:
    """Members of the batch one after the other or all at once, each with all of its experts."""
    experts, tol = start.shape[0], float(jnp.finfo(start.dtype).eps) ** 0.625 if tol is None else tol
    batch_ndim = start.ndim - 2

    def inward(x: Any, n: int) -> Any:
        """The axis of experts behind the batch: [..., K, *event]."""
        if jnp.ndim(x) - n <= batch_ndim:  # shared by all experts
            return jnp.broadcast_to(jnp.expand_dims(x, -n - 1), (*x.shape[: x.ndim - n], experts, *x.shape[x.ndim - n :]))
        return jnp.moveaxis(x, 0, -n - 1)

    ndims = event_ndims(constraint.rows)
    sides = [jnp.moveaxis(x, 0, -n - 1) for x, n in ((faces.left, 2), (faces.right, 2), (faces.jump, 1))]
    tree = (jax.tree.map(inward, constraint.rows, ndims), sides, inward(start, 1))
    events = jax.tree.map(lambda n: n + 1, (ndims, [2, 2, 1], 1))
    steps, cpu = MAX_ITERATIONS if max_steps is None else max_steps, jax.default_backend() == "cpu"

    def one(tree: Any) -> tuple[Any, ProjectionInfo]:
        rows, sides, omega = tree
        return solve_joined(rows, Interfaces(faces.pairs, *sides), omega, tol, steps, cpu)

    omega, info = over_members(one, tree, events, one_by_one=cpu)

    def outward(x: Any, n: int = 0) -> Any:
        return jnp.moveaxis(x, -n - 1, 0)

    omega = outward(omega, 1)
    each = {name: outward(getattr(info, name)) for name in ("converged", "status", "residual", "steps")}
    return omega, info._replace(**each, warm=jax.lax.stop_gradient(omega))


class Remembered(NamedTuple):
    """The coefficients of the last training step, sample by sample: where the next one starts from.

    Attributes:
      omega: ``[samples, ..., N]``.
      known: which samples have been solved, ``[samples]``.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> memory = js.constraints.Remembered.empty(100, jnp.zeros(3))
      >>> ids = jnp.array([4, 7])
      >>> start = memory.recall(ids)  # of a batch: [2, 3]
      >>> memory = memory.remember(ids, start + 1.0, jnp.array([True, False]))
      >>> print(memory.recall(ids))
      [[1. 1. 1.]
       [0. 0. 0.]]
    """

    omega: Any
    known: Any

    @staticmethod
    def empty(samples: int, start: Any) -> Remembered:
        """Nothing solved yet: every sample starts from `start`, ``[..., N]``."""
        start = jnp.asarray(start)
        return Remembered(jnp.broadcast_to(start, (samples, *start.shape)), jnp.zeros(samples, bool))

    def recall(self, ids: Any) -> Any:
        """Where the samples of a batch start from, ``[batch, ..., N]``."""
        return self.omega[ids]

    def remember(self, ids: Any, omega: Any, converged: Any) -> Remembered:
        """Keep what converged; a sample that did not keeps what it had."""
        converged = jnp.asarray(converged).reshape(len(ids), -1).all(axis=1)
        kept = select(converged, jax.lax.stop_gradient(omega), self.omega[ids])
        return Remembered(self.omega.at[ids].set(kept), self.known.at[ids].set(self.known[ids] | converged))
