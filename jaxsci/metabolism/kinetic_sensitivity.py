r"""The derivative of the recorded trajectory, exact for the steps that were taken, in both directions.

With the stages of a step, w_i = W^-T (cotangent of k_i), f_i = f at stage i, and u_i the derivative of f at the start of the step
along (d_i h, k_i), which is how the Jacobian inside the method is differentiated:

    tangents:     W dk_i = D f_i [dy + sum_j a_ij dk_j, dp] + D u_i [dy, dp] + sum_j C_ij dk_j / h
    cotangents:   what this is transposed, i = 8..1

The derivatives of f and u of a chunk of steps, and of all their stages, are evaluated at once before the recursion begins.
Arrays are [..., B]: the members stand last; M tangents stand before them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.metabolism.kinetic_events import jump
from jaxsci.metabolism.kinetic_integration import Record, read_off
from jaxsci.metabolism.kinetic_model import KineticEquations
from jaxsci.metabolism.rosenbrock import NODES, SLOPES, STAGES, WEIGHTS, A, C, stacked, stage_matrix

CHUNK = 16


class _Slopes(NamedTuple):
    """Of a chunk of steps, [S] of them."""

    inverted: jax.Array  # [S, n, n, B]
    first: jax.Array  # [S, 8, entries, B]
    second: jax.Array  # [S, 8, entries, B]


def _slopes(equations: KineticEquations, record: Record, p: jax.Array) -> _Slopes:
    steps, n, members = record.y.shape
    dtype = record.y.dtype
    many = steps * members

    def flat(v, rows):  # [S, rows, B] -> [rows, S B]
        return jnp.moveaxis(v, 1, 0).reshape(rows, many)

    used = record.h > 0
    t, h = (jnp.where(used, v, other).reshape(many) for v, other in ((record.t, 0.0), (record.h, 1.0)))
    parameters = jnp.broadcast_to(p[:, None], (len(p), steps, members)).reshape(len(p), many)
    x = stacked(t, flat(record.y, n), parameters, flat(record.z, record.z.shape[1]))
    inverted = jnp.moveaxis(stage_matrix(equations, x, h)[0].reshape(n, n, steps, members), 2, 0)
    k = jnp.transpose(record.k, (2, 1, 0, 3)).reshape(n, STAGES, many)
    inner = x[1 : n + 1, None] + jnp.einsum("ij,njb->nib", jnp.asarray(A, dtype), k)
    at = t + jnp.asarray(NODES, dtype)[:, None] * h
    wide = jnp.broadcast_to(x[:, None], (len(x), STAGES, many))
    stages = jnp.concatenate([at[None], inner, wide[n + 1 :]]).reshape(len(x), STAGES * many)
    direction = jnp.concatenate([(jnp.asarray(SLOPES, dtype)[:, None] * h)[None], k])
    both = jnp.concatenate([wide, direction]).reshape(len(x) + n + 1, STAGES * many)

    def apart(v):  # [entries, 8 S B] -> [S, 8, entries, B]
        return jnp.transpose(v.reshape(len(v), STAGES, steps, members), (2, 1, 0, 3))

    first = apart(equations.first_order.program.tape(stages))
    return _Slopes(inverted, first, apart(equations.second_order.program.tape(both)))


def _state_part(equations: KineticEquations, sparse: Any, entries: jax.Array) -> jax.Array:
    """[S, 8, entries, B] -> the columns of unknowns (and time): [S, n, columns, 8, B]."""
    count = len(equations.states) + bool(equations.roots)
    return jnp.transpose(sparse.dense(jnp.moveaxis(entries, 2, 0), slice(0, count)), (2, 0, 1, 3, 4))


def _parameter_part(equations: KineticEquations, sparse: Any, entries: jax.Array) -> jax.Array:
    """[S, 8, entries, B] -> [S, n, parameters, 8, B]."""
    count = len(equations.states) + bool(equations.roots)
    return jnp.transpose(sparse.dense(jnp.moveaxis(entries, 2, 0), slice(count, None)), (2, 0, 1, 3, 4))


def _chunk(record: Record, at: Any) -> Record:
    return Record(*(jax.lax.dynamic_slice_in_dim(v, at * CHUNK, CHUNK) for v in record))


def _last_chunk(record: Record) -> jax.Array:
    used = jnp.any(record.h > 0, axis=1)
    return jnp.max(jnp.where(used, jnp.arange(len(used)), -1)) // CHUNK


def cotangents(equations: KineticEquations, record: Record, ts: Any, p: Any, out: Any) -> tuple[Any, Any]:
    """From those of the trajectory, out [T, n, B], to those of y_0 [n, B] and p [q, B]."""
    n, members = record.y.shape[1:]
    dtype, timed = record.y.dtype, bool(equations.roots)
    first_t = record.t if timed else jax.lax.stop_gradient(record.t)
    _, back = jax.vjp(lambda t, y, k: read_off(record._replace(t=t, y=y, k=k), ts), first_t, record.y, record.k)
    t_out, y_out, k_out = back(out)
    a, c, weights = (jnp.asarray(v, dtype) for v in (A, C, WEIGHTS))

    def chunk(carry):
        at, y_bar, t_bar, p_bar = carry
        part = _chunk(record, at)
        s = _slopes(equations, part, p)
        one, two = (
            _state_part(equations, sparse, e)
            for sparse, e in ((equations.first_order, s.first), (equations.second_order, s.second))
        )
        cut = [jax.lax.dynamic_slice_in_dim(v, at * CHUNK, CHUNK) for v in (t_out, y_out, k_out)]

        def back_step(carry, given):
            y_bar, t_bar, p_bar = carry
            r, inverted, one, two, t_in, y_in, k_in = given
            used = r.h > 0
            h = jnp.where(used, r.h, 1)
            y_new, t_new, p_new = y_bar, t_bar, p_bar
            if timed:
                y_new, t_new, p_new = _jump_back(equations, r, p, y_bar, t_bar, p_bar)
            k_bar = k_in + weights[:, None, None] * y_new
            y_new, t_new = y_new + y_in, t_new + t_in

            def back_stage(j, carry):
                w, k_bar, y_new, t_new = carry
                i = STAGES - 1 - j
                w_i = jnp.sum(inverted * k_bar[i][:, None], axis=0)
                g = jnp.sum(one[:, :, i] * w_i[:, None], axis=0)
                k_bar = k_bar + a[i][:, None, None] * g[:n] + c[i][:, None, None] * w_i / h
                return w.at[i].set(w_i), k_bar, y_new + g[:n], t_new + (g[n] if timed else 0)

            carry = (jnp.zeros_like(k_bar), k_bar, y_new, t_new)
            w, _, y_new, t_new = jax.lax.fori_loop(0, STAGES, back_stage, carry)
            g = jnp.einsum("rcib,irb->cb", two, w)
            y_new, t_new = y_new + g[:n], t_new + (g[n] if timed else 0)
            w = jnp.where(used, w, 0)
            carry = jnp.where(used, y_new, y_bar), jnp.where(used, t_new, t_bar), jnp.where(used, p_new, p_bar)
            return carry, w

        given = (part, s.inverted, one, two, *cut)
        (y_bar, t_bar, p_bar), w = jax.lax.scan(back_step, (y_bar, t_bar, p_bar), given, reverse=True)
        count = n + timed
        for sparse, entries in ((equations.first_order, s.first), (equations.second_order, s.second)):
            mine = sparse.column >= count
            weight = w[:, :, sparse.row[mine]]
            terms = jnp.where(weight == 0, 0, entries[:, :, mine] * weight)  # slots not used may hold NaN
            p_bar = p_bar.at[sparse.column[mine] - count].add(jnp.sum(terms, axis=(0, 1)))
        return at - 1, y_bar, t_bar, p_bar

    start = (_last_chunk(record), jnp.zeros((n, members), dtype), jnp.zeros(members, dtype), jnp.zeros_like(p))
    _, y_bar, _, p_bar = jax.lax.while_loop(lambda carry: carry[0] >= 0, chunk, start)
    # Times before the first step ended there: read_off gives them to the first slot already.
    return y_bar, p_bar


def _jump_back(equations: KineticEquations, r: Record, p: Any, y_bar: Any, t_bar: Any, p_bar: Any) -> tuple[Any, Any, Any]:
    y1 = r.y + jnp.sum(jnp.asarray(WEIGHTS, r.y.dtype)[:, None, None] * r.k, axis=0)

    def pull():
        _, back = jax.vjp(lambda t, y, p: jump(equations, t, y, p, r.z, r.flips)[:2], r.t + r.h, y1, p)
        t, y, more = back((t_bar, y_bar))
        hit = jnp.any(r.flips, axis=0)
        return jnp.where(hit, y, y_bar), jnp.where(hit, t, t_bar), jnp.where(hit, p_bar + more, p_bar)

    return jax.lax.cond(jnp.any(r.flips), pull, lambda: (y_bar, t_bar, p_bar))


def tangents(equations: KineticEquations, record: Record, ts: Any, p: Any, dy: Any, dp: Any) -> Any:
    """From those of y_0 [n, M, B] and p [q, M, B] to those of the trajectory, [T, n, M, B]."""
    n, members = record.y.shape[1:]
    many, dtype, timed = dy.shape[1], record.y.dtype, bool(equations.roots)
    a, c, weights = (jnp.asarray(v, dtype) for v in (A, C, WEIGHTS))

    def chunk(carry):
        at, dy, dt, out = carry
        part = _chunk(record, at)
        s = _slopes(equations, part, p)
        pairs = ((equations.first_order, s.first), (equations.second_order, s.second))
        one, two = (_state_part(equations, sparse, e) for sparse, e in pairs)
        by_p = sum(_parameter_part(equations, sparse, e) for sparse, e in pairs)

        def forward_step(carry, given):
            dy, dt = carry
            r, inverted, one, two, by_p = given
            used = r.h > 0
            h = jnp.where(used, r.h, 1)
            known = jnp.einsum("rcib,cmb->irmb", by_p, dp) + jnp.einsum("rcib,cmb->irmb", two[:, :n], dy)
            if timed:
                known = known + jnp.einsum("rib,mb->irmb", one[:, n] + two[:, n], dt)

            def stage(i, dk):
                inner = dy + jnp.tensordot(a[i], dk, 1)
                right = known[i] + jnp.einsum("rcb,cmb->rmb", one[:, :n, i], inner) + jnp.tensordot(c[i], dk, 1) / h
                return dk.at[i].set(jnp.einsum("rcb,cmb->rmb", inverted, right))

            dk = jax.lax.fori_loop(0, STAGES, stage, jnp.zeros((STAGES, n, many, members), dtype))
            dk = jnp.where(used, dk, 0)
            dy1, dt1 = dy + jnp.tensordot(weights, dk, 1), dt
            if timed:
                dy1, dt1 = _jump_along(equations, r, p, dy1, dt, dp)
            return (jnp.where(used, dy1, dy), jnp.where(used, dt1, dt)), (dt, dy, dk)

        (dy, dt), (t_dot, y_dot, k_dot) = jax.lax.scan(forward_step, (dy, dt), (part, s.inverted, one, two, by_p))

        def read(t_dot, y_dot, k_dot):
            moved = (t_dot if timed else jnp.zeros_like(part.t), y_dot, k_dot)
            return jax.jvp(lambda t, y, k: read_off(part._replace(t=t, y=y, k=k), ts), (part.t, part.y, part.k), moved)[1]

        found = jax.vmap(read, in_axes=(1, 2, 3), out_axes=2)(t_dot, y_dot, k_dot)
        begun = jnp.min(jnp.where(jnp.isfinite(part.t), part.t, jnp.inf), axis=0)
        return at + 1, dy, dt, jnp.where((ts >= begun)[:, None, None], found, out)

    last = _last_chunk(record)
    start = (jnp.zeros_like(last), dy, jnp.zeros((many, members), dtype), jnp.broadcast_to(dy, (len(ts), *dy.shape)))
    return jax.lax.while_loop(lambda carry: carry[0] <= last, chunk, start)[-1]


def _jump_along(equations: KineticEquations, r: Record, p: Any, dy: Any, dt: Any, dp: Any) -> tuple[Any, Any]:
    y1 = r.y + jnp.sum(jnp.asarray(WEIGHTS, r.y.dtype)[:, None, None] * r.k, axis=0)

    def push():
        def one(dy, dt, dp):
            after = lambda t, y, p: jump(equations, t, y, p, r.z, r.flips)[:2]  # noqa: E731
            return jax.jvp(after, (r.t + r.h, y1, p), (dt, dy, dp))[1]

        t, y = jax.vmap(one, in_axes=(1, 0, 1), out_axes=(0, 1))(dy, dt, dp)
        hit = jnp.any(r.flips, axis=0)
        return jnp.where(hit, y, dy), jnp.where(hit, t, dt)

    return jax.lax.cond(jnp.any(r.flips), push, lambda: (dy, dt))
