r"""The stationary point of a sum of squares by products with vectors alone: neither the Jacobian nor J'J is ever formed.

The residual is linearised once at each point (`jax.linearize`, `jax.linear_transpose`), and a step T z is the solution of

    (T' H T + damping) z = -T' g,      T = P D,    D = 1 / |column of J|,    P = 1 - Q'Q for exact conditions Q omega = d,

by conjugate gradients, with H = J'J on the way and the whole Hessian at the end. The outer iteration is that of the direct
method, and sets the goal of the inner one: what it leaves is a share of T'g that goes to zero with |T'g|.

Whether the end is reached tells Newton's decrement (g' H^-1 g)^(1/2), as in the direct method: what the coefficients could still
take away from the residual, whatever the condition of J.

Reference: Dembo, Eisenstat & Steihaug (1982), SIAM J. Numer. Anal. 19, 400 (how exact a step must be); Steihaug (1983), SIAM J.
Numer. Anal. 20, 626 (a direction of negative curvature ends the inner iteration).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.basis_rows import Rows
from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS, SADDLE
from jaxsci.constraints.descent import descend, start
from jaxsci.constraints.normal_equations import Model, rest, slope
from jaxsci.constraints.stationary import SWITCH, Found, held_values, lagrangian, meet, stacked

Product = Callable[[Any], Any]


class Frame(NamedTuple):
    """T of omega = start + T z, a matrix that is never formed.

    Attributes:
      scale: D, [N].
      normal, normal_mask, combine: Q and where it comes from; see `stationary.Coordinates`.
    """

    scale: Any
    normal: Any
    normal_mask: Any
    combine: Any

    def __matmul__(self, z: Any) -> Any:
        return self._free(self.scale * z)

    def adjoint(self, gradient: Any) -> Any:
        """T' g."""
        return self.scale * self._free(gradient)

    def _free(self, omega: Any) -> Any:
        return omega - self.normal.T @ (self.normal @ omega)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["omega"], meta_fields=["at"])
@dataclasses.dataclass(frozen=True)
class Hessian:
    """A second derivative by its products: ``at(omega)`` linearises, and what it returns multiplies."""

    omega: Any
    at: Callable[[Any], Product]

    def __matmul__(self, z: Any) -> Any:
        return self.at(self.omega)(z)


def residual(rows: tuple[Rows, ...], omega: Any) -> Any:
    """The weighted residuals of all rows, one after the other."""
    return jnp.concatenate([part.values(omega).reshape(-1) for part in rows])


def column_lengths(rows: tuple[Rows, ...], omega: Any) -> Any:
    """|J e_i| for every i; what the point does not feel has a small length, but none is zero.  [N]."""
    square = jnp.zeros_like(omega)
    for part in rows:
        here = tuple(p @ omega + s for p, s in zip(part.bent, part.bent_shift, strict=True))
        for e in range(part.matrix.shape[0]):
            column = part.matrix[e]
            for k, p in enumerate(part.bent):
                column = column + slope(lambda h, e=e, part=part: rest(part, h)[e], here, k)[:, None] * p
            square = square + jnp.sum((part.weight[:, None] * column) ** 2, axis=0)
    floor = 16 * omega.shape[0] * jnp.finfo(omega.dtype).eps * jnp.max(square)
    return jnp.sqrt(jnp.where(floor > 0, jnp.maximum(square, floor), 1.0))


def second(rows: tuple[Rows, ...], omega: Any, full: bool) -> Product:
    """v -> H v at omega: the whole Hessian of half the sum of squares, or J'J."""
    if full:
        return jax.linearize(jax.grad(lambda w: jnp.sum(residual(rows, w) ** 2) / 2), omega)[1]
    push = jax.linearize(lambda w: residual(rows, w), omega)[1]
    pull = jax.linear_transpose(push, omega)
    return lambda v: pull(push(v))[0]


class Inner(NamedTuple):
    """What conjugate gradients end with: z, right' z in sum over the steps, and whether a curvature was negative."""

    z: Any
    decrement: Any
    concave: Any


def conjugate_gradients(product: Product, right: Any, share: Any) -> Inner:
    """Solve product(z) = right until |rest| <= share |right|, or where the curvature is not positive.

    If it is negative in the first direction already, that direction is taken as far as the opposite curvature would lead.
    """
    size, eps = right.shape[0], jnp.finfo(right.dtype).eps

    def body(carry):
        count, z, left, direction, square, decrement, norm, going, concave = carry
        applied = product(direction)
        curvature, length = direction @ applied, direction @ direction
        norm = jnp.maximum(norm, jnp.linalg.norm(applied) / jnp.sqrt(jnp.where(length > 0, length, 1)))
        idle = 16 * size * eps * norm * length  # of rounding: nothing depends on such a direction
        concave = concave | (curvature < -idle)
        taken = (curvature > idle) | ((count == 0) & concave)
        step = jnp.where(taken, square / jnp.where(taken, jnp.abs(curvature), 1), 0)
        z, left = z + step * direction, left - step * applied
        new = left @ left
        direction = left + jnp.where(taken, new / square, 0) * direction
        going = taken & ~concave & (new > goal) & jnp.isfinite(new)
        return count + 1, z, left, direction, new, decrement + step * square, norm, going, concave

    square = right @ right
    goal, zero = share**2 * square, 0 * square  # of the data, so that on a mesh it varies as they do
    begin = (0, 0 * right, right, right, square, zero, zero, (square > goal) & jnp.isfinite(square), zero > 0)
    # Rounding costs the directions their independence, so that N steps need not be enough.
    _, z, *_, decrement, _, _, concave = jax.lax.while_loop(lambda c: c[-2] & (c[0] < 4 * size + 20), body, begin)
    return Inner(z, jnp.sqrt(decrement), concave)


def search(rows: tuple[Rows, ...], exact: tuple[Rows, ...], omega: Any, tol: Any, max_steps: Any) -> Found:
    """From a start to the stationary point; nothing here is differentiated. See `stationary.search`."""
    eps = jnp.finfo(omega.dtype).eps
    omega, held, broken = meet(exact, omega)
    linear = all(part.is_linear for part in rows)
    value, push = jax.linearize(lambda w: residual(rows, w), omega)
    scale = jnp.linalg.norm(value) + jnp.linalg.norm(push(omega))
    mask = jnp.ones(omega.shape, bool)

    def descended(omega: Any, steps: Any, full: bool, goal: Any, damping: Any = None) -> tuple[Any, Frame]:
        frame = Frame(1 / column_lengths(rows, omega), *held)

        def at(omega: Any) -> Product:
            hessian = second(rows, omega, full)
            return lambda z: frame.adjoint(hessian(frame @ z))

        def model_at(omega: Any) -> Model:
            value, back = jax.vjp(lambda w: residual(rows, w), omega)
            return Model(value @ value / 2, frame.adjoint(back(value)[0]), Hessian(omega, at))

        def step_of(model: Model, damping: Any, mask: Any) -> Any:
            product, size = model.hessian.at(model.hessian.omega), jnp.linalg.norm(model.gradient)
            need = 0.3 * goal / jnp.where(size > 0, size, 1)
            share = need if linear else jnp.minimum(0.1, jnp.maximum(size / jnp.where(scale > 0, scale, 1), need))
            return -conjugate_gradients(lambda z: product(z) + damping * z, model.gradient, share).z

        begin = start(model_at(omega), omega, steps)
        begin = begin if damping is None else begin._replace(damping=begin.damping * 0 + damping)
        return descend(begin, model_at, step_of, frame, mask, goal, max_steps), frame

    steps = jnp.zeros((), int)
    if not linear:
        state, _ = descended(omega, steps, False, jnp.maximum(tol, SWITCH) * scale)
        omega, steps = state.omega, state.steps
    # In columns of unit length the gradient bounds the decrement only by way of the condition: it goes well below.
    state, frame = descended(omega, steps, not linear, jnp.maximum(1e-4 * tol, 4 * eps) * scale, eps)
    product = state.model.hessian.at(state.omega)
    reached = conjugate_gradients(product, state.model.gradient, 0.1).decrement <= tol * scale
    concave = jnp.zeros((), bool)
    if not linear:  # conjugate gradients on a vector that holds all directions meet the negative ones
        anything = jax.random.normal(jax.random.key(0), omega.shape, omega.dtype)
        concave = conjugate_gradients(product, product(anything), jnp.sqrt(eps)).concave
    status = jnp.where(reached, jnp.where(concave, SADDLE, CONVERGED), MAX_STEPS)
    status = jnp.where(broken, INFEASIBLE, status)
    return Found(state.omega, frame, status, state.steps, scale)


def _attach_rule(gauss_newton, primals, tangents):
    omega, at, rows, exact = primals
    omega = _attach(gauss_newton, omega, at, rows, exact)
    drows, dexact = tangents[2:]
    count = at.normal.shape[0]
    normal = at.combine.T @ stacked(exact)[0] if exact else at.normal  # at.normal, with its derivative
    multipliers = jnp.zeros(count, omega.dtype)
    if count:
        gram = normal @ normal.T + jnp.diag(jnp.where(at.normal_mask, 0.0, 1.0))
        slope_here = jax.grad(lambda w: jnp.sum(residual(rows, w) ** 2) / 2)(omega)
        multipliers = -jnp.linalg.solve(gram, normal @ slope_here)
    gradient = jax.grad(lagrangian)
    moved = jax.jvp(lambda r, e: gradient(omega, multipliers, at.combine, r, e), (rows, exact), (drows, dexact))[1]
    held = jax.jvp(lambda e: held_values(omega, at.combine, e), (exact,), (dexact,))[1]
    hessian = second(rows, omega, not gauss_newton)

    def system(x: Any) -> Any:
        change, force = x[: len(omega)], x[len(omega) :]
        below = normal @ change - jnp.where(at.normal_mask, 0, force)
        return jnp.concatenate([hessian(change) + normal.T @ force, below])

    solved = functools.partial(_saddle_solve, at)
    change = jax.lax.custom_linear_solve(system, -jnp.concatenate([moved, held]), solved, symmetric=True)
    return omega, change[: len(omega)]


def _saddle_solve(at: Frame, system: Callable[[Any], Any], right: Any) -> Any:
    """What the exact conditions ask for, and conjugate gradients in what they leave free; zero where nothing is felt."""
    size = at.scale.shape[0]
    across, along = right[:size], right[size:]
    hessian = lambda v: system(jnp.concatenate([v, 0 * along]))[:size]  # noqa: E731
    change = at.normal.T @ along
    begin = at.adjoint(across - hessian(change))
    goal = 8 * jnp.finfo(begin.dtype).eps * jnp.linalg.norm(begin)
    for _ in range(2):  # the second time what rounding left
        left = at.adjoint(across - hessian(change))
        length = jnp.linalg.norm(left)
        share = jnp.minimum(1, goal / jnp.where(length > 0, length, 1))
        change = change + at @ conjugate_gradients(lambda z: at.adjoint(hessian(at @ z)), left, share).z
    change = jnp.where(jnp.isfinite(change), change, 0)
    force = at.normal @ (across - hessian(change)) - jnp.where(at.normal_mask, 0, along)
    return jnp.concatenate([change, force])


_attach = jax.custom_jvp(lambda gauss_newton, omega, at, rows, exact: omega, nondiff_argnums=(0,))
_attach.defjvp(_attach_rule)
MATRIX_FREE = search, _attach
