r"""The nearest point of several convex sets, from their projections P_1 ... P_k alone.

With multipliers z_1 ... z_{k-1} (that of the last set is what remains),

    x(z) = P_k(y - sum_i z_i),    F_i(z) = P_i(x(z) + z_i / s) - x(z),    F(z) = 0  at the solution,

and z -> z - s F(z) is the proximal gradient step (Dykstra's) of the dual problem. Its forward-backward envelope

    E(z) = <w, x> - |x|^2 / 2 + sum_i <z_i - s F_i, P_i> + (<x, F_i> + |F_i|^2 / 2) s,    w = y - sum_i z_i,

less |y|^2 / 2, falls with that step for s < 1 / (k - 1), by at least (1 - s (k - 1)) s |F|^2 / 2. So it globalises Newton's
step, which is taken with the derivatives of the projections. It is at least -|c - y|^2 / 2 for every common point c:
where it falls without end there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS, Constraint, ProjectionInfo
from jaxsci.constraints.members import select

MOST = 200  # Newton steps; ten are usual
HALVINGS = 9  # of Newton's step, before Dykstra's is taken
DERIVATIVES = 3  # orders that are exact: steps of the chord method at the solution


class State(NamedTuple):
    """Of the iteration, for each member of the batch."""

    z: Any
    shift: Any
    kept: Any  # the z of the least residual so far, and that residual
    best: Any
    reach: Any  # the size of y and of the points found first
    stalled: Any
    steps: Any
    status: Any


def nearest_common_point(
    whole: Constraint, members: Sequence[Constraint], y: Any, tol: float | None, max_steps: int | None, warm: Any
) -> tuple[Any, ProjectionInfo]:
    """The point, differentiable in `y` and the members' numbers, and what became of it."""
    event = y.shape[y.ndim - whole.event_ndim :]
    batch = jnp.broadcast_shapes(
        *(jax.eval_shape(lambda y, c=member: c.project(y)[0], y).shape[: -whole.event_ndim] for member in members)
    )
    y = jnp.broadcast_to(y, batch + event).reshape(*batch, -1)
    n, others = y.shape[-1], len(members) - 1
    size = (1 - 0.05) / others

    def projection(member, w):
        return member.project(w.reshape(*batch, *event))[0].reshape(*batch, n)

    def evaluated(members, y, z):
        x = projection(members[-1], y - jnp.sum(z, axis=-2))
        return x, jnp.stack([projection(members[i], x + z[..., i, :] / size) for i in range(others)], axis=-2)

    def equation(members, y, z):
        x, points = evaluated(members, y, z)
        return points - x[..., None, :]

    fixed, still = jax.lax.stop_gradient((members, y))
    z = (
        jnp.zeros((*batch, others, n), y.dtype)
        if warm is None
        else jnp.broadcast_to(warm, (*batch, others, n)).astype(y.dtype)
    )
    scale = 1 + jnp.max(jnp.abs(still), axis=-1)
    search = _Search(
        lambda z: evaluated(fixed, still, z),
        lambda z: _linearised(lambda i, w: projection(fixed[i], w), still, z, size),
        still,
        size,
        16 * jnp.finfo(y.dtype).eps * scale if tol is None else tol + 0 * scale,
        scale,
    )
    last = search.run(jax.lax.stop_gradient(z), MOST if max_steps is None else max_steps)
    converged = last.status == CONVERGED

    # Newton's matrix at the solution, kept: p steps from there have p derivatives of the solution, by the implicit rule.
    inverse = _pseudo_inverse(search.linearised(last.z)[2], _small(y.dtype))
    inverse = jax.lax.stop_gradient(jnp.where(converged[..., None, None], inverse, 0))
    start = jax.lax.stop_gradient(jnp.where(converged[..., None, None], last.z, last.kept))
    z = jax.lax.fori_loop(0, DERIVATIVES, lambda _, z: z - _apply(inverse, equation(members, y, z)), start)
    x, points = evaluated(members, y, z)

    middle = (x + jnp.sum(points, axis=-2)) / (others + 1)  # the sets do not meet: between where they are nearest
    x = jnp.where(converged[..., None], x, middle).reshape(*batch, *event)
    info = ProjectionInfo(converged, last.status, whole.violation(x), last.steps, None, start)
    return x, info


class _Search(NamedTuple):
    """The iteration: `evaluated` gives x and all P_i at z, `linearised` the matrix F' as well."""

    evaluated: Any
    linearised: Any
    y: Any
    size: Any
    tol: Any
    scale: Any

    def run(self, z, max_steps):
        none = jnp.zeros(z.shape[:-2], int)
        best = jnp.full(none.shape, jnp.inf, z.dtype)

        def going(state):
            return (state.status == MAX_STEPS) & (state.steps < max_steps)

        def step(state):
            return select(going(state), self.step(state), state)

        start = State(z, jnp.full_like(best, 1e-2), z, best, self.scale, none, none, none + MAX_STEPS)
        return jax.lax.while_loop(lambda state: going(state).any(), step, start)

    def step(self, state):
        z = state.z
        x, points, matrix = self.linearised(z)
        f = points - x[..., None, :]
        error, before = _largest(f), self.envelope(z, x, points)
        best = jnp.minimum(state.best, error)
        reach = jnp.where(
            state.steps == 0, self.scale + jnp.maximum(_largest(points), _largest(x[..., None, :])), state.reach
        )
        shift = jnp.clip(state.shift * error / self.scale, _small(z.dtype) ** (2 / 3), 1)
        matrix = matrix + shift[..., None, None] * jnp.eye(matrix.shape[-1], dtype=z.dtype)
        newton = jnp.linalg.solve(matrix, -f.reshape(*f.shape[:-2], -1, 1)).reshape(f.shape)
        newton = jnp.where(jnp.isfinite(newton).all(axis=(-2, -1), keepdims=True), newton, 0)
        fall = 0.1 * (0.05 * self.size / 2) * jnp.sum(f * f, axis=(-2, -1))

        def trial(carry):
            tried, part, good, *_ = carry
            part = jnp.where(good | (tried == 0), part, jnp.where(tried < HALVINGS, part / 2, 0))  # 2, 1, 1/2, ..., 0
            share = part[..., None, None]
            new = jnp.where(share == 2, 8 * z, z - (1 - share) * self.size * f + share * newton)
            x, points = self.evaluated(new)
            # A residual less than half of any before passes as well: differences of the envelope drown in round-off first.
            good = (self.envelope(new, x, points) <= before - fall) | (_largest(points - x[..., None, :]) <= best / 2)
            return tried + 1, part, good, new, x, points

        def going(carry):
            return (carry[0] <= HALVINGS) & ~carry[2].all()

        # An envelope that falls while the residual does not runs away to where no common point is: the sooner the better.
        first = (0, jnp.where(state.stalled >= 8, 2.0, jnp.ones_like(error)), jnp.zeros(error.shape, bool), z, x, points)
        _, part, _, z, x, points = jax.lax.while_loop(going, trial, first)

        error_now = _largest(points - x[..., None, :])
        stalled = jnp.where(error_now < best / 2, 0, state.stalled + 1)
        # Projections that iterate themselves may not reach the tolerance: where nothing improves, a thousand of it passes.
        reached = (error_now <= self.tol) | ((error_now <= 1000 * self.tol) & (stalled >= 3))
        # Minus the envelope is a bound from below of |c - y|^2 / 2 for every common point c.
        far = jnp.finfo(z.dtype).eps ** (-1 / 3) * reach
        empty = (stalled >= 5) & (self.envelope(z, x, points) < -0.5 * far**2)
        status = jnp.where(reached, CONVERGED, jnp.where(empty, INFEASIBLE, MAX_STEPS))
        shift = jnp.where(part >= 1, jnp.minimum(state.shift, 1) / 4, jnp.minimum(state.shift * 4, self.scale / error))
        shift = jnp.maximum(shift, 1e-4)
        wide = (..., None, None)
        kept = jnp.where((error < state.best)[wide], state.z, state.kept)
        kept = jnp.where((error_now < best)[wide], z, kept)
        return State(z, shift, kept, jnp.minimum(error_now, best), reach, stalled, state.steps + 1, status)

    def envelope(self, z, x, points):
        f = points - x[..., None, :]
        w = self.y - jnp.sum(z, axis=-2)
        smooth = jnp.sum(w * x - x * x / 2 - self.y * self.y / 2, axis=-1)
        rest = (z - self.size * f) * points + self.size * (x[..., None, :] * f + f * f / 2)
        return smooth + jnp.sum(rest, axis=(-2, -1))


def _linearised(projection, y, z, size):
    """x, P_i, and F', dense:  dF_i = J_i (dz_i / s + dx) - dx  with  dx = -J_k sum_i dz_i;  [..., (k - 1) n, (k - 1) n]."""
    others, n = z.shape[-2:]
    unit = jnp.eye(n, dtype=y.dtype)

    def jacobian(i, w):
        point, push = jax.linearize(lambda w: projection(i, w), w)
        return point, jnp.moveaxis(jax.vmap(lambda e: push(jnp.broadcast_to(e, w.shape)))(unit), 0, -1)

    x, last = jacobian(-1, y - jnp.sum(z, axis=-2))
    points, own = zip(*(jacobian(i, x + z[..., i, :] / size) for i in range(others)), strict=True)
    rows = [
        jnp.concatenate([last - j @ last + (j / size if i == k else 0) for k in range(others)], axis=-1)
        for i, j in enumerate(own)
    ]
    return x, jnp.stack(points, axis=-2), jnp.concatenate(rows, axis=-2)


def _largest(f):
    return jnp.max(jnp.abs(f), axis=(-2, -1))


def _apply(matrix, f):
    return jnp.einsum("...ij,...j->...i", matrix, f.reshape(*f.shape[:-2], -1)).reshape(f.shape)


def _pseudo_inverse(matrix, shift):
    """(M' M + shift I)^-1 M': nothing along directions that the matrix does not see."""
    turned = jnp.swapaxes(matrix, -1, -2)
    inverse = jnp.linalg.solve(turned @ matrix + shift * jnp.eye(matrix.shape[-1], dtype=matrix.dtype), turned)
    return jnp.where(jnp.isfinite(inverse).all(axis=(-2, -1), keepdims=True), inverse, 0)


def _small(dtype):
    return float(jnp.finfo(dtype).eps) ** 0.75  # 2e-12 in double precision
