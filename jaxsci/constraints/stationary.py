"""The stationary point of a sum of squares over sampled points, and its derivative in all data. See `pde_layer`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.basis_rows import Rows
from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS, NOT_FINITE, SADDLE, ProjectionInfo
from jaxsci.constraints.descent import curved_step, damped_step, descend, start
from jaxsci.constraints.normal_equations import Model, in_chunks, model

SWITCH = 1e-3  # of the residual's size: where Newton's steps take over


class Coordinates(NamedTuple):
    """omega = start + basis z; the columns that the mask leaves out are zero.

    Attributes:
      basis: in which the Jacobian at the start has orthonormal columns, and exact rows do not change;  [N, N].
      mask: [N].
      normal: orthonormal rows that span those of the exact conditions, zero where the mask leaves them out;  [k, N].
      normal_mask: [k].
      combine: normal = combine' C, for C the exact conditions' matrix;  [conditions, k].
    """

    basis: Any
    mask: Any
    normal: Any
    normal_mask: Any
    combine: Any


def stacked(rows: tuple[Rows, ...]) -> tuple[Any, Any]:
    """Linear rows as one weighted system, matrix [M, N] and residual at zero [M]."""
    matrices = [(part.matrix * part.weight[:, None]).reshape(-1, part.size) for part in rows]
    shifts = [(part.shift * part.weight).reshape(-1) for part in rows]
    return jnp.concatenate(matrices), jnp.concatenate(shifts)


def solve_one(
    rows: tuple[Rows, ...], exact: tuple[Rows, ...], omega: Any, tol: Any, max_steps: Any, gauss_newton: bool, method: Any
) -> tuple[Any, ProjectionInfo]:
    """The solution from a start, one member of a batch; see `PDEConstraint.nearest`.

    `method` is how: (search, attach), of matrices (`DIRECT`) or of products with vectors (`matrix_free.MATRIX_FREE`).
    """
    search, attach = method
    rows, exact = jax.tree.map(lambda x: jnp.asarray(x), (rows, exact))
    finite = jnp.all(jnp.stack([jnp.isfinite(x).all() for x in (*jax.tree.leaves((rows, exact)), omega)]))
    # Zeros in place of what cannot be solved: a NaN in one member must not reach another, nor a gradient.
    rows, exact, omega = jax.tree.map(lambda x: jnp.where(finite, x, 0), (rows, exact, omega))
    fixed = jax.tree.map(jax.lax.stop_gradient, (rows, exact, omega))
    found = search(*fixed, tol, max_steps)
    omega = attach(gauss_newton, found.omega, found.coordinates, rows, exact)
    status = jnp.where(finite, found.status, NOT_FINITE)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(part.unweighted(omega)), initial=0.0) for part in (*rows, *exact)]))
    info = ProjectionInfo(
        status == CONVERGED, status, jnp.where(finite, jax.lax.stop_gradient(largest), jnp.inf), found.steps, None,
        jax.lax.stop_gradient(omega),
    )  # fmt: skip
    return omega, info


class Held(NamedTuple):
    """The exact conditions as orthonormal rows; see `Coordinates`."""

    normal: Any
    normal_mask: Any
    combine: Any


def meet(exact: tuple[Rows, ...], omega: Any) -> tuple[Any, Held, Any]:
    """The nearest point on which the exact rows hold, the rows made orthonormal, and whether they contradict each other."""
    size, dtype, eps = omega.shape[0], omega.dtype, jnp.finfo(omega.dtype).eps
    if not exact:
        return omega, Held(jnp.zeros((0, size), dtype), jnp.zeros(0, bool), jnp.zeros((0, 0), dtype)), jnp.zeros((), bool)
    matrix, shift = stacked(exact)
    left, values, normal = jnp.linalg.svd(matrix, full_matrices=False)
    mask = values > eps * max(matrix.shape) * values[0]
    combine = left * jnp.where(mask, 1 / jnp.where(mask, values, 1), 0)
    normal = normal * mask[:, None]
    for _ in range(2):  # the second time what rounding left
        omega = omega - normal.T @ (combine.T @ (matrix @ omega + shift))
    left_over = jnp.max(jnp.abs(matrix @ omega + shift), initial=0.0)
    size_of = jnp.max(jnp.abs(matrix) @ jnp.abs(omega) + jnp.abs(shift), initial=0.0)
    return omega, Held(normal, mask, combine), left_over > eps**0.75 * size_of


class Found(NamedTuple):
    """What a search ends with; `scale` is the size of the residual that the tolerance is a share of."""

    omega: Any
    coordinates: Any
    status: Any
    steps: Any
    scale: Any


def search(rows: tuple[Rows, ...], exact: tuple[Rows, ...], omega: Any, tol: Any, max_steps: Any) -> Found:
    """From a start to the stationary point; nothing here is differentiated."""
    size, dtype, eps = omega.shape[0], omega.dtype, jnp.finfo(omega.dtype).eps
    keep = jnp.eye(size, dtype=dtype)
    omega, held, broken = meet(exact, omega)
    if exact:
        keep = keep - held.normal.T @ held.normal
    chunks = tuple(in_chunks(part) for part in rows)
    if all(part.is_linear for part in rows):
        matrix, shift = stacked(rows)
        value = matrix @ omega + shift
        triangle = jnp.linalg.qr(jnp.concatenate([matrix @ keep, value[:, None]], axis=1), mode="r")
        triangle = jnp.pad(triangle, ((0, max(0, size + 1 - triangle.shape[0])), (0, 0)))
        left, values, right = jnp.linalg.svd(triangle[:size, :size])
        # Against the matrix as it was: where the exact rows leave no direction free, all values are rounding errors.
        mask = values > eps * max(matrix.shape) * jnp.maximum(values[0], jnp.max(jnp.linalg.norm(matrix, axis=0)))
        basis = keep @ (right.T * jnp.where(mask, 1 / jnp.where(mask, values, 1), 0))
        scale = jnp.linalg.norm(value) + jnp.linalg.norm(matrix @ omega)
        omega = omega - basis @ (left.T @ triangle[:size, size])
        steps = jnp.ones((), int)
    else:
        first = model(chunks, omega)
        free = keep @ first.hessian @ keep
        # What the exact rows fix is told by an eigenvalue that no Gauss-Newton matrix has.
        fixed = jnp.maximum(jnp.trace(free), eps * jnp.trace(first.hessian))
        fixed = jnp.where(fixed > 0, fixed, 1.0)
        values, vectors = jnp.linalg.eigh(free - fixed * (jnp.eye(size, dtype=dtype) - keep))
        mask = values > -fixed / 2
        # What the start does not feel, the solution may: nothing else is left out here.
        floor = jnp.where(values[-1] > 0, 16 * size * eps * values[-1], 1.0)
        basis = keep @ (vectors * mask * jax.lax.rsqrt(jnp.maximum(values, floor)))
        scale = jnp.sqrt(2 * first.cost) + jnp.sqrt(jnp.maximum(omega @ first.hessian @ omega, 0))

        def rough(omega: Any) -> Any:
            here = model(chunks, omega)
            return here._replace(gradient=basis.T @ here.gradient, hessian=basis.T @ here.hessian @ basis)

        goal = jnp.maximum(tol, SWITCH) * scale
        state = descend(start(rough(omega), omega, jnp.zeros((), int)), rough, damped_step, basis, mask, goal, max_steps)
        omega, steps = state.omega, state.steps
    here = model(chunks, omega, basis, full=True)
    # Directions that nothing depends on are told from the others where the search ends.
    values, vectors = jnp.linalg.eigh(jnp.where(mask[:, None] & mask, here.hessian, 0))
    mask = jnp.abs(values) > 16 * size * eps * jnp.max(jnp.abs(values))
    turn = vectors * jnp.where(mask, jax.lax.rsqrt(jnp.where(mask, jnp.abs(values), 1)), 0)
    basis = basis @ turn
    begin = start(Model(here.cost, turn.T @ here.gradient, turn.T @ here.hessian @ turn), omega, steps)
    fine = lambda omega: model(chunks, omega, basis, full=True)  # noqa: E731
    state = descend(begin._replace(damping=begin.damping * 0 + eps), fine, curved_step, basis, mask, tol * scale, max_steps)
    hessian = jnp.where(mask[:, None] & mask, state.model.hessian, 0) + jnp.diag(jnp.where(mask, 0.0, 1.0))
    convex = jnp.linalg.eigvalsh(hessian)[0] > 0
    reached = jnp.linalg.norm(state.model.gradient) <= tol * scale
    status = jnp.where(reached, jnp.where(convex, CONVERGED, SADDLE), MAX_STEPS)
    status = jnp.where(broken, INFEASIBLE, status)
    return Found(state.omega, Coordinates(basis, mask, *held), status, state.steps, scale)


def lagrangian(omega: Any, multipliers: Any, combine: Any, rows: tuple[Rows, ...], exact: tuple[Rows, ...]) -> Any:
    """Lagrange's function."""
    total = sum(jnp.sum(part.values(omega) ** 2) for part in rows) / 2
    return total + multipliers @ held_values(omega, combine, exact)


def held_values(omega: Any, combine: Any, exact: tuple[Rows, ...]) -> Any:
    """The exact conditions' residual in orthonormal combinations."""
    if not exact:
        return jnp.zeros(combine.shape[1], omega.dtype)
    matrix, shift = stacked(exact)
    return combine.T @ (matrix @ omega + shift)


def _attach_rule(gauss_newton, primals, tangents):
    omega, at, rows, exact = primals
    omega = _attach(gauss_newton, omega, at, rows, exact)
    drows, dexact = tangents[2:]
    size, count = omega.shape[0], at.normal.shape[0]
    slopes = stacked(exact)[0] if exact else jnp.zeros((0, size), omega.dtype)
    normal = at.combine.T @ slopes  # at.normal, with its derivative
    # Everything in the columns of one basis, in which the system is well scaled: the free directions, then the normals.
    frame = jnp.concatenate([at.basis, at.normal.T], axis=1)
    here = model(tuple(in_chunks(part) for part in rows), omega, frame, full=not gauss_newton)
    across = normal @ frame
    idle = jnp.concatenate([~at.mask, ~at.normal_mask])
    gram = across[:, size:] @ across[:, size:].T + jnp.diag(jnp.where(at.normal_mask, 0.0, 1.0))
    multipliers = -jnp.linalg.solve(gram, across[:, size:] @ here.gradient[size:]) if count else jnp.zeros(0, omega.dtype)
    gradient = jax.grad(lagrangian)
    moved = jax.jvp(lambda r, e: gradient(omega, multipliers, at.combine, r, e), (rows, exact), (drows, dexact))[1]
    held = jax.jvp(lambda e: held_values(omega, at.combine, e), (exact,), (dexact,))[1]
    matrix = jnp.block([
        [here.hessian + jnp.diag(jnp.where(idle, 1.0, 0.0)), across.T],
        [across, jnp.diag(jnp.where(at.normal_mask, 0.0, -1.0))],
    ]).astype(omega.dtype)  # fmt: skip
    right = jnp.concatenate([jnp.where(idle, 0, frame.T @ moved), held])
    change = -jnp.linalg.solve(regular(matrix), right)
    return omega, frame @ change[: size + count]


def regular(matrix: Any) -> Any:
    """The matrix, or the identity where it is not finite or singular: derivatives stay finite where they mean nothing."""
    values = jnp.linalg.eigvalsh(jax.lax.stop_gradient(matrix))
    small = jnp.min(jnp.abs(values)) <= 8 * jnp.finfo(matrix.dtype).eps * jnp.max(jnp.abs(values))
    return jnp.where(small | ~jnp.isfinite(matrix).all(), jnp.eye(len(matrix), dtype=matrix.dtype), matrix)


_attach = jax.custom_jvp(lambda gauss_newton, omega, at, rows, exact: omega, nondiff_argnums=(0,))
_attach.defjvp(_attach_rule)
DIRECT = search, _attach
