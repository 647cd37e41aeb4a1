"""Whether a projection's derivative is what finite differences say, where they can say anything."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.constraints.constraint import Constraint, project


class GradientCheck(NamedTuple):
    """What `check_gradient` found.

    Attributes:
      errors: by number of the constraint, as ``.A``, and ``y``: |derivative - difference| over the largest entry of either.
      adjoint: |<g, J d> - <J^T g, d>| over the size of its terms: that the vjp is the transpose of the jvp.
      degenerate: members of the batch whose active inequalities differ on the two sides, or which have no solution on one of
        them: no derivative exists there, and they are left out of `errors`;  [...]. Two bounds that are one number are moved
        apart, which crosses them: there too.
      good: whether the errors of the other members are what finite differences can be expected to leave.
    """

    errors: dict[str, float]
    adjoint: float
    degenerate: Any
    good: bool


def check_gradient(
    constraint: Constraint, y: Any, *, key: Any = None, step: float = 1e-6, tol: float = 1e-5
) -> GradientCheck:
    """Compare derivatives of ``project(constraint, y)`` along random directions with central differences, number by number.

    Args:
      constraint: with its numbers; each is moved along a direction of its own.
      y: ``[..., *event]``, float64: in float32 differences have no digits left.
      key: of the directions, a ``jax.random.key``; by default key 0.
      step: of the differences.
      tol: of `GradientCheck.good`.
    Raises:
      ValueError: for points in float32.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> with jax.enable_x64(True):
      ...     ball = js.constraints.Polytope(jnp.ones((1, 3)), jnp.ones(1), lower=0.0)
      ...     print(js.constraints.check_gradient(ball, jnp.array([0.9, 0.6, -0.4])).good)
      True
    """
    y = jnp.asarray(y)
    y = y if jnp.issubdtype(y.dtype, jnp.floating) else y.astype(jnp.result_type(float))
    if y.dtype != jnp.float64:
        raise ValueError(f"check_gradient: differences need float64, got {y.dtype}; switch x64 on (jax_enable_x64).")
    key = jax.random.key(0) if key is None else key
    leaves, structure = jax.tree_util.tree_flatten_with_path(constraint)
    numbers = {"y": y} | {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    moved = [name for name, value in numbers.items() if _moves(name, value)]
    batch = y.shape[: y.ndim - constraint.event_ndim]

    def solve(numbers):
        rebuilt = jax.tree_util.tree_unflatten(structure, [numbers[jax.tree_util.keystr(path)] for path, _ in leaves])
        return project(rebuilt, numbers["y"])

    def along(numbers, directions, size):
        return {name: value + size * directions[name] if name in directions else value for name, value in numbers.items()}

    @jax.jit
    def compare(numbers, directions):
        chosen = {name: jnp.asarray(numbers[name]) for name in directions}
        point = lambda chosen: solve(numbers | chosen)[0]  # noqa: E731
        tangent = jax.jvp(point, (chosen,), (directions,))[1]
        above, below = (solve(along(numbers, directions, size)) for size in (step, -step))
        jumped = _differs(above[1].active, below[1].active, batch) | ~(above[1].converged & below[1].converged)
        return tangent, (above[0] - below[0]) / (2 * step), jumped

    errors, degenerate = {}, np.zeros(batch, bool)
    axes = tuple(range(-constraint.event_ndim, 0))
    still = {name: jnp.zeros_like(jnp.asarray(numbers[name])) for name in moved}  # so that it is compiled once
    for name, part in zip(moved, jax.random.split(key, len(moved)), strict=True):
        value = jnp.asarray(numbers[name])
        direction = jnp.where(jnp.isfinite(value), jax.random.normal(part, value.shape, value.dtype), 0)
        tangent, difference, jumped = map(np.asarray, compare(numbers, still | {name: direction}))
        off = np.abs(tangent - difference).max(axis=axes) / max(np.abs(tangent).max(), np.abs(difference).max(), 1e-12)
        errors[name] = float(np.max(np.where(jumped, 0, off), initial=0))
        degenerate |= jumped
    adjoint = _adjoint(lambda chosen: solve(numbers | chosen)[0], {name: numbers[name] for name in moved}, key)
    good = all(error <= tol for error in errors.values()) and adjoint <= 1e-8
    return GradientCheck(errors, adjoint, degenerate, good)


def _moves(name: str, value: Any) -> bool:
    """Numbers with a value, none of a factor that was prepared, no indices of a sparse matrix."""
    floating = jnp.issubdtype(jnp.result_type(value), jnp.floating)
    return floating and bool(np.isfinite(np.asarray(value)).any()) and not name.startswith(".factor")


def _differs(above: Any, below: Any, batch: tuple[int, ...]) -> Any:
    found = jnp.zeros(batch, bool)
    for a, b in zip(jax.tree.leaves(above), jax.tree.leaves(below), strict=True):
        found |= (a != b).reshape((*batch, -1)).any(axis=-1)
    return found


def _adjoint(function: Any, at: Any, key: Any) -> float:
    leaves, structure = jax.tree.flatten(at)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves) + 1)
    direction = structure.unflatten(
        [
            jnp.where(jnp.isfinite(leaf), jax.random.normal(k, jnp.shape(leaf), float), 0)
            for leaf, k in zip(leaves, keys[1:], strict=True)
        ]
    )

    @jax.jit
    def both(at, direction):
        out, tangent = jax.jvp(function, (at,), (direction,))
        weight = jax.random.normal(keys[0], out.shape, out.dtype)
        back = jax.vjp(function, at)[1](weight)[0]
        terms = [jnp.sum(b * d) for b, d in zip(jax.tree.leaves(back), jax.tree.leaves(direction), strict=True)]
        forward = jnp.sum(weight * tangent)
        size = jnp.abs(weight * tangent).sum() + sum(jnp.abs(term) for term in terms)
        return jnp.abs(forward - sum(terms)) / jnp.maximum(size, 1e-300)

    return float(both(at, direction))
