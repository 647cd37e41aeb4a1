r"""Experts whose fields are equal where their sub-domains meet.

    min  sum_k |r_k(omega_k)|^2 / 2    subject to    left_i omega_k - right_i omega_l = jump_i    at every interface i = (k, l).

The experts first solve for themselves; then all take Newton's steps together in coordinates z in which each Jacobian is
orthonormal. There the traces are reduced to orthonormal rows Q, Q z = c, by singular values (what is below round-off couples
nothing), and a step eliminates the experts one by one:

    step_k = -H_k^-1 (g_k + Q_k' mu),      (sum_k Q_k H_k^-1 Q_k') mu = -sum_k Q_k H_k^-1 g_k.

Directions that an expert's own rows do not feel and its traces do (an inner sub-domain has no conditions, so that no row knows
its mean) are settled by its neighbours: H_k is lifted there by the root of round-off, and the next step takes back what that
did.

A trace takes as many degrees of freedom from the experts as it has directions: two experts with the same N basis functions,
all of them felt at the interface, can only be equal. Leave functions that vanish there, or blend overlapping windows
(`jaxsci.constraints.partition_of_unity`).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.constraints.basis_rows import Rows
from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS, NOT_FINITE, SADDLE, ProjectionInfo
from jaxsci.constraints.descent import descend, start
from jaxsci.constraints.normal_equations import Model, in_chunks, model
from jaxsci.constraints.stationary import SWITCH, Coordinates, regular, search


@functools.partial(jax.tree_util.register_dataclass, data_fields=["left", "right", "jump"], meta_fields=["pairs"])
@dataclasses.dataclass(frozen=True, eq=False)
class Interfaces:
    """left_i omega_k - right_i omega_l = jump_i for pairs (k, l) of experts.

    Args:
      pairs: (k, l) for each interface, as `neighbours` lists them.
      left: what each basis function of expert k has at q points of the interface, ``[interfaces, ...batch, q, N]``; stack its
        normal derivatives below the values for slopes that are continuous as well.
      right: the same of expert l.
      jump: what an offset of l has there less that of k, ``[interfaces, ...batch, q]``.
    Raises:
      ValueError: the shapes do not agree.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> js.constraints.Interfaces(((0, 1),), jnp.ones((1, 5, 3)), jnp.ones((1, 5, 3))).jump.shape
      (1, 5)
    """

    pairs: tuple[tuple[int, int], ...]
    left: Any
    right: Any
    jump: Any = 0.0

    def __post_init__(self):
        object.__setattr__(self, "pairs", tuple((int(k), int(l)) for k, l, *_ in self.pairs))  # noqa: E741
        if not all(hasattr(x, "shape") for x in (self.left, self.right)):
            return
        shape = jnp.shape(self.left)
        if jnp.shape(self.right) != shape or len(shape) < 3 or shape[0] != len(self.pairs):
            raise ValueError(
                f"Interfaces: left and right must have the shape [{len(self.pairs)}, ..., q, N], got {shape} and "
                f"{jnp.shape(self.right)}."
            )
        if not hasattr(self.jump, "shape") or jnp.ndim(self.jump) == 0:
            object.__setattr__(self, "jump", jnp.zeros(shape[:-1], self.left.dtype) + self.jump)

    def gap(self, omega: Any) -> Any:
        """left omega_k - right omega_l - jump for omega ``[K, ...batch, N]``;  ``[interfaces, ...batch, q]``."""
        k, l = np.array(self.pairs).T  # noqa: E741
        below, above = (jnp.einsum("...qn,...n->...q", m, omega[of]) for m, of in ((self.left, k), (self.right, l)))
        return below - above - self.jump


class Frame(NamedTuple):
    """Coordinates of all experts at once.

    Attributes:
      basis: each expert's, ``[K, N, N]``, with the mask of its columns ``[K, N]``.
      reduce: the gap in orthonormal rows is ``reduce' gap``, ``[interfaces q, R]``; those outside `held` are zero.
    """

    basis: Any
    mask: Any
    reduce: Any
    held: Any


def solve_joined(rows: tuple[Rows, ...], faces: Interfaces, omega: Any, tol: Any, max_steps: Any, one_by_one: bool):
    """Experts [K, N] with all faces closed; rows whose every leaf starts with the axis of experts. One member of a batch."""
    finite = jnp.all(jnp.stack([jnp.isfinite(x).all() for x in (*jax.tree.leaves((rows, faces)), omega)]))
    rows, faces, omega = jax.tree.map(lambda x: jnp.where(finite, x, 0), (rows, faces, omega))
    fixed = jax.tree.map(jax.lax.stop_gradient, (rows, faces, omega))
    omega, frame, status, steps = _joint_search(*fixed, tol, max_steps, one_by_one)
    omega = _attach(omega, frame, rows, faces)
    status = jnp.where(finite, status, NOT_FINITE)
    bare = [jnp.max(jnp.abs(jax.vmap(lambda r, w: r.unweighted(w))(part, omega)), axis=(1, 2)) for part in rows]
    largest = jax.lax.stop_gradient(jnp.max(jnp.stack(bare), axis=0))
    status = jnp.broadcast_to(status, omega.shape[:1])
    info = ProjectionInfo(
        status == CONVERGED,
        status,
        jnp.where(finite, largest, jnp.inf),
        steps,
        None,
        jax.lax.stop_gradient(omega),
    )
    return omega, info


def _traces(faces: Interfaces, basis: Any) -> Any:
    """d gap / d z, [interfaces q, K N]."""
    count, q, n = faces.left.shape
    total = jnp.zeros((count, q, basis.shape[0], n), basis.dtype)
    for i, (k, l) in enumerate(faces.pairs):  # noqa: E741
        total = total.at[i, :, k].add(faces.left[i] @ basis[k]).at[i, :, l].add(-faces.right[i] @ basis[l])
    return total.reshape(count * q, -1)


def _told_by_neighbours(faces: Interfaces, at: Coordinates) -> tuple[Coordinates, Any]:
    """Every expert's coordinates with those directions that its traces feel and its rows do not, and who has any;  [K]."""
    sides = [
        (k, m) for i, pair in enumerate(faces.pairs) for k, m in zip(pair, (faces.left[i], faces.right[i]), strict=True)
    ]
    count, eps = at.basis.shape[0], jnp.finfo(at.basis.dtype).eps
    each = [jnp.concatenate([jnp.zeros_like(faces.left[0]), *(m for k, m in sides if k == own)]) for own in range(count)]
    most = max(len(rows) for rows in each)
    traces = jnp.stack([jnp.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in each])

    def one(traces: Any, basis: Any, mask: Any) -> tuple[Any, Any, Any]:
        length = jnp.linalg.norm(basis, axis=0)
        span, values, _ = jnp.linalg.svd(basis / jnp.where(length > 0, length, 1))
        rest = span * (values <= eps**0.75 * jnp.maximum(values[0], 1))  # what the coordinates do not reach
        size = jnp.max(jnp.abs(traces))
        _, felt, turn = jnp.linalg.svd(traces @ rest, full_matrices=True)
        felt = jnp.pad(felt, (0, max(0, basis.shape[0] - felt.shape[0])))[: basis.shape[0]]
        new = felt > eps**0.75 * jnp.where(size > 0, size, 1)
        columns = rest @ turn.T * jnp.where(new, 1 / jnp.where(new, felt, 1), 0)
        place = jnp.argsort(mask, stable=True)  # the idle ones first; there are at least as many as new columns
        return basis.at[:, place].add(columns), mask.at[place].set(mask[place] | new), jnp.any(new)

    basis, mask, some = jax.vmap(one)(traces, at.basis, at.mask)
    return at._replace(basis=basis, mask=mask), some


def _dense(blocks: Any) -> Any:
    """[K, N, N] on the diagonal of [K N, K N]."""
    count, n, _ = blocks.shape
    return jnp.einsum("kij,kl->kilj", blocks, jnp.eye(count, dtype=blocks.dtype)).reshape(count * n, count * n)


def _all_models(rows: tuple[Rows, ...], omega: Any, basis: Any) -> Model:
    """The whole model of the sum over experts, in their coordinates."""

    def one(tree: Any) -> Model:
        rows, omega, basis = tree
        return model(tuple(in_chunks(part) for part in rows), omega, basis, full=True)

    each = jax.vmap(one)((rows, omega, basis))
    return Model(each.cost.sum(), each.gradient.reshape(-1), _dense(each.hessian))


def _joint_search(rows: tuple[Rows, ...], faces: Interfaces, omega: Any, tol: Any, max_steps: Any, one_by_one: bool):
    count, n = omega.shape
    eps = jnp.finfo(omega.dtype).eps

    def local(tree: Any) -> Any:
        rows, omega = tree
        return search(rows, (), omega, jnp.maximum(tol, SWITCH), max_steps)

    apart = jax.lax.map(local, (rows, omega)) if one_by_one else jax.vmap(local)((rows, omega))
    omega, scale, steps = apart.omega, jnp.linalg.norm(apart.scale), apart.steps
    at, lifted = _told_by_neighbours(faces, apart.coordinates)
    traces = _traces(faces, at.basis)
    left, values, across = jnp.linalg.svd(traces, full_matrices=False)
    held = values > eps**0.75 * values[0]
    reduce = left * jnp.where(held, 1 / jnp.where(held, values, 1), 0)
    across = across * held[:, None]
    frame = Frame(at.basis, at.mask, reduce, held)
    basis = _dense(at.basis)

    def closed(omega: Any) -> Any:
        return omega - jnp.einsum(
            "kij,kj->ki", at.basis, (across.T @ (reduce.T @ faces.gap(omega).reshape(-1))).reshape(count, n)
        )

    def here(flat: Any) -> Model:
        found = _all_models(rows, flat.reshape(count, n), at.basis)
        return found._replace(gradient=found.gradient - across.T @ (across @ found.gradient))

    def schur(found: Model, damping: Any, mask: Any) -> Any:
        """The experts' own steps, then what closes the faces."""
        blocks = jnp.einsum("kikj->kij", found.hessian.reshape(count, n, count, n))
        blocks = jnp.where(at.mask[:, :, None] & at.mask[:, None, :], blocks, 0)
        lift = jnp.where(lifted, eps**0.5 * jnp.max(jnp.abs(blocks)), 0)[:, None]
        size, vectors = jnp.linalg.eigh(blocks + jax.vmap(jnp.diag)(jnp.where(at.mask, 0.0, 1.0)))
        size = jnp.maximum(jnp.abs(size), lift) + damping
        right = jnp.concatenate([jnp.where(mask, found.gradient, 0)[None], across]).reshape(-1, count, n)
        inverse = jnp.einsum("kij,kj,klj,rkl->rki", vectors, 1 / size, vectors, right).reshape(len(right), -1)
        matrix = across @ inverse[1:].T + jnp.diag(jnp.where(held, 0.0, 1.0))
        multipliers = -jnp.linalg.solve(matrix, across @ inverse[0])
        return -(inverse[0] + multipliers @ inverse[1:])

    omega = closed(closed(omega))
    begin = start(here(omega.reshape(-1)), omega.reshape(-1), jnp.max(steps))
    begin = begin._replace(damping=begin.damping * 0 + eps)
    mask = at.mask.reshape(-1)
    state = descend(begin, here, schur, basis, mask, tol * scale, max_steps + jnp.max(steps))
    free = jnp.eye(count * n, dtype=omega.dtype) - across.T @ across
    inside = free @ jnp.where(mask[:, None] & mask, state.model.hessian, 0) @ free
    convex = jnp.linalg.eigvalsh(inside + across.T @ across + jnp.diag(jnp.where(mask, 0.0, 1.0)))[0] > 0
    reached = jnp.linalg.norm(state.model.gradient) <= tol * scale
    omega = closed(state.omega.reshape(count, n))
    gap = jnp.max(jnp.abs(faces.gap(omega)))
    size = jnp.max(jnp.abs(faces.left)) * jnp.max(jnp.abs(omega)) + jnp.max(jnp.abs(faces.jump))
    status = jnp.where(reached, jnp.where(convex, CONVERGED, SADDLE), MAX_STEPS)
    status = jnp.where(gap > eps**0.625 * size, INFEASIBLE, status)
    return omega, frame, status, steps + (state.steps - jnp.max(steps))


def _lagrangian(omega: Any, multipliers: Any, reduce: Any, rows: tuple[Rows, ...], faces: Interfaces) -> Any:
    total = sum(jnp.sum(jax.vmap(lambda r, w: r.values(w))(part, omega) ** 2) for part in rows) / 2
    return total + multipliers @ (reduce.T @ faces.gap(omega).reshape(-1))


@jax.custom_jvp
def _attach(omega: Any, frame: Frame, rows: tuple[Rows, ...], faces: Interfaces) -> Any:
    return omega


@_attach.defjvp
def _attach_rule(primals, tangents):
    omega, frame, rows, faces = primals
    omega = _attach(omega, frame, rows, faces)
    count, n = omega.shape
    here = _all_models(rows, omega, frame.basis)
    across = frame.reduce.T @ _traces(faces, frame.basis)
    gram = across @ across.T + jnp.diag(jnp.where(frame.held, 0.0, 1.0))
    multipliers = -jnp.linalg.solve(gram, across @ here.gradient)
    gradient = jax.grad(_lagrangian)
    moved = jax.jvp(lambda *data: gradient(omega, multipliers, frame.reduce, *data), (rows, faces), tangents[2:])[1]
    held = jax.jvp(lambda f: frame.reduce.T @ f.gap(omega).reshape(-1), (faces,), (tangents[3],))[1]
    idle = ~frame.mask.reshape(-1)
    matrix = jnp.block([
        [here.hessian + jnp.diag(jnp.where(idle, 1.0, 0.0)), across.T],
        [across, jnp.diag(jnp.where(frame.held, 0.0, -1.0))],
    ]).astype(omega.dtype)  # fmt: skip
    moved = jnp.einsum("kij,ki->kj", frame.basis, moved).reshape(-1)
    change = -jnp.linalg.solve(regular(matrix), jnp.concatenate([jnp.where(idle, 0, moved), held]))
    return omega, jnp.einsum("kij,kj->ki", frame.basis, change[: count * n].reshape(count, n))
