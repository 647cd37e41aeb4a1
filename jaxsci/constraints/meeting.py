r"""The nearest point of several convex sets, from their projections P_1 ... P_k alone.

With multipliers z_1 ... z_{k-1} (that of the last set is what remains),

    x(z) = P_k(y - sum_i z_i),    F_i(z) = P_i(x(z) + z_i / s) - x(z),    F(z) = 0  at the solution,

and z -> z - s F(z) is the proximal gradient step (Dykstra's) of the dual problem. Its forward-backward envelope

    E(z) = <w, x> - |x|^2 / 2 + sum_i <z_i - s F_i, P_i> + (<x, F_i> + |F_i|^2 / 2) s,    w = y - sum_i z_i,

falls with that step for s < 1 / (k - 1), by at least (1 - s (k - 1)) s |F|^2 / 2, so that it globalises Newton's step, which is
taken with the derivatives of the projections; where the multipliers are not
unique F' is singular, and the step the shortest of those that solve its equation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS, Constraint, ProjectionInfo

MOST = 200  # Newton steps; ten are usual
HALVINGS = 8  # of Newton's step, before Dykstra's is taken
DERIVATIVES = 3  # orders that are exact: steps of the chord method at the solution


class State(NamedTuple):
    """Of the iteration, for each member of the batch."""

    z: Any
    x: Any
    points: Any
    envelope: Any
    shift: Any
    best: Any
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
        lambda z, x: _derivative(lambda i, w: projection(fixed[i], w), still, z, x, size),
        still,
        size,
        16 * jnp.finfo(y.dtype).eps * scale if tol is None else tol + 0 * scale,
        scale,
    )
    last = search.run(jax.lax.stop_gradient(z), MOST if max_steps is None else max_steps)
    converged = last.status == CONVERGED

    # Newton's matrix at the solution, kept: p steps from there have p derivatives of the solution, by the implicit rule.
    matrix = search.newton(last.z, last.x)
    inverse = _least_squares(matrix, jnp.eye(others * n, dtype=y.dtype), _small(y.dtype))
    inverse = jax.lax.stop_gradient(jnp.where(converged[..., None, None], inverse, 0))
    z = jax.lax.stop_gradient(last.z)
    for _ in range(DERIVATIVES):
        z = z - _apply(inverse, equation(members, y, z))
    x, points = evaluated(members, y, z)

    middle = (x + jnp.sum(points, axis=-2)) / (others + 1)  # the sets do not meet: between where they are nearest
    x = jnp.where(converged[..., None], x, middle).reshape(*batch, *event)
    info = ProjectionInfo(converged, last.status, whole.violation(x), last.steps, None, last.z)
    return x, info


class _Search(NamedTuple):
    """The iteration: `evaluated` gives (x, P_i) at z, `newton` the matrix F'."""

    evaluated: Any
    newton: Any
    y: Any
    size: Any
    tol: Any
    scale: Any

    def envelope(self, z, x, points):
        f = points - x[..., None, :]
        w = self.y - jnp.sum(z, axis=-2)
        smooth = jnp.sum(w * x - x * x / 2 - self.y * self.y / 2, axis=-1)
        rest = (z - self.size * f) * points + self.size * (x[..., None, :] * f + f * f / 2)
        return smooth + jnp.sum(rest, axis=(-2, -1))

    def separated(self, z, x, points):
        """No common point is near: far along -F (the gap, where there is one) the support planes say |c| |e| >= -t for any."""
        f = points - x[..., None, :]
        far = self.scale / jnp.finfo(z.dtype).eps ** (2 / 3)
        z = z - (far / jnp.maximum(jnp.max(jnp.abs(f), axis=(-2, -1)), self.tol))[..., None, None] * f
        x, points = self.evaluated(z)
        f = points - x[..., None, :]
        w = self.y - jnp.sum(z, axis=-2)
        t = jnp.sum((z - self.size * f) * points, axis=(-2, -1)) + jnp.sum((w - x) * x, axis=-1)
        e = self.y - x - self.size * jnp.sum(f, axis=-2)
        away = jnp.max(jnp.abs(z), axis=(-2, -1)) * (1000 * self.tol)  # of round-off
        return -t > far / 1000 * jnp.linalg.norm(e, axis=-1) + away

    def judged(self, z, x, points, best, stalled):
        error = jnp.max(jnp.abs(points - x[..., None, :]), axis=(-2, -1))
        stalled = jnp.where(error < best / 2, 0, stalled + 1)
        # Projections that iterate themselves may not reach the tolerance: where nothing improves, a thousand of it passes.
        reached = (error <= self.tol) | ((error <= 1000 * self.tol) & (stalled >= 3))
        status = jnp.where(
            reached, CONVERGED, jnp.where((stalled >= 5) & self.separated(z, x, points), INFEASIBLE, MAX_STEPS)
        )
        return status, jnp.minimum(error, best), stalled

    def run(self, z, max_steps):
        x, points = self.evaluated(z)
        none = jnp.zeros(x.shape[:-1], int)
        status, best, stalled = self.judged(z, x, points, jnp.full(x.shape[:-1], jnp.inf, x.dtype), none)
        first = State(z, x, points, self.envelope(z, x, points), 1e-2 + 0 * best, best, stalled, none, status)

        def going(state):
            return ((state.status == MAX_STEPS) & (state.steps < max_steps)).any()

        def step(state):
            new = self.step(state)
            done = (state.status != MAX_STEPS) | (state.steps >= max_steps)

            def frozen(old, now):
                return jnp.where(done.reshape(done.shape + (1,) * (now.ndim - done.ndim)), old, now)

            return jax.tree.map(frozen, state, new)

        return jax.lax.while_loop(going, step, first)

    def step(self, state):
        z, x, points = state.z, state.x, state.points
        f = points - x[..., None, :]
        error = jnp.max(jnp.abs(f), axis=(-2, -1))
        shift = jnp.clip(state.shift * error / self.scale, _small(z.dtype) ** (2 / 3), 1)
        matrix = self.newton(z, x)
        matrix = matrix + shift[..., None, None] * jnp.eye(matrix.shape[-1], dtype=z.dtype)
        newton = jnp.linalg.solve(matrix, -f.reshape(*f.shape[:-2], -1, 1)).reshape(f.shape)
        newton = jnp.where(jnp.isfinite(newton).all(axis=(-2, -1), keepdims=True), newton, 0)
        square = jnp.sum(f * f, axis=(-2, -1))
        fall = 0.1 * 0.05 * self.size / 2 * square

        def trial(part):
            part = part[..., None, None]
            new = z - (1 - part) * self.size * f + part * newton
            x, points = self.evaluated(new)
            error_now = jnp.max(jnp.abs(points - x[..., None, :]), axis=(-2, -1))
            envelope = self.envelope(new, x, points)
            good = (envelope <= state.envelope - fall) | (error_now <= state.best / 2)
            return new, x, points, envelope, good

        def shorter(carry):
            part, tried, *_ = carry
            tried = tried + 1
            part = jnp.where(carry[-1], part, jnp.where(tried < HALVINGS, part / 2, 0))
            return part, tried, *trial(part)

        whole = jnp.ones_like(error)

        def going(carry):
            return (carry[1] < HALVINGS) & ~carry[-1].all()

        part, _, new, x, points, envelope, _ = jax.lax.while_loop(going, shorter, (whole, 0, *trial(whole)))
        shift = jnp.where(part == 1, jnp.minimum(state.shift, 1) / 4, jnp.minimum(state.shift * 4, self.scale / error))
        status, best, stalled = self.judged(new, x, points, state.best, state.stalled)
        return State(new, x, points, envelope, jnp.maximum(shift, 1e-4), best, stalled, state.steps + 1, status)


def _derivative(projection, y, z, x, size):
    """F', dense:  dF_i = J_i (dz_i / s + dx) - dx  with  dx = -J_k sum_i dz_i;  [..., (k - 1) n, (k - 1) n]."""
    others, n = z.shape[-2:]
    unit = jnp.eye(n, dtype=y.dtype)

    def jacobian(i, w):
        _, push = jax.linearize(lambda w: projection(i, w), w)
        return jnp.moveaxis(jax.vmap(lambda e: push(jnp.broadcast_to(e, w.shape)))(unit), 0, -1)

    last = jacobian(-1, y - jnp.sum(z, axis=-2))
    own = [jacobian(i, x + z[..., i, :] / size) for i in range(others)]
    rows = [
        jnp.concatenate([last - j @ last + (j / size if i == k else 0) for k in range(others)], -1)
        for i, j in enumerate(own)
    ]
    return jnp.concatenate(rows, axis=-2)


def _apply(matrix, f):
    return jnp.einsum("...ij,...j->...i", matrix, f.reshape(*f.shape[:-2], -1)).reshape(f.shape)


def _least_squares(matrix, right, shift):
    """The d of least |matrix d - right|^2 + shift |d|^2: nothing along directions that the matrix does not see."""
    turned = jnp.swapaxes(matrix, -1, -2)
    d = jnp.linalg.solve(turned @ matrix + shift * jnp.eye(matrix.shape[-1], dtype=matrix.dtype), turned @ right)
    return jnp.where(jnp.isfinite(d).all(axis=(-2, -1), keepdims=True), d, 0)


def _small(dtype):
    return float(jnp.finfo(dtype).eps) ** 0.75  # 2e-12 in double precision
