r"""Steps of Rodas5P until the last time asked for, and what must be known of them to differentiate the trajectory.

The steps are kept in a record with a slot for every attempt. A trajectory that is only looked at needs few slots at a time: when
they are full, the times that lie in them are read off and the slots are used again.
Arrays are [..., B]: the members stand last; every member has its own steps, and the loop ends when the last one is through.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism import kinetic_events as happen
from jaxsci.metabolism.kinetic_model import KineticEquations
from jaxsci.metabolism.kinetic_program import MANY
from jaxsci.metabolism.rosenbrock import DENSE, STAGES, WEIGHTS, polynomial, stacked, step

DONE, MAX_STEPS, STEP_TOO_SMALL, EVENTS = 0, 1, 2, 3


class Record(NamedTuple):
    """By slot: where the step began, its length (0: rejected or not used), its stages, whether an event ended it."""

    t: jax.Array  # [N, B]; infinite where not used
    h: jax.Array  # [N, B]
    y: jax.Array  # [N, n, B]
    k: jax.Array  # [N, 8, n, B]; [N, 4, n, B], the coefficients of the dense output, where nothing else is asked of them
    z: jax.Array  # [N, switches, B]
    flips: jax.Array  # [N, switches, B] bool


class _State(NamedTuple):
    t: jax.Array
    h: jax.Array
    y: jax.Array
    z: jax.Array
    status: jax.Array  # -1: running
    last_error: jax.Array
    slot: jax.Array
    steps: jax.Array  # [B]
    record: Record


def empty(slots: int, stages: int, n: int, switches: int, members: int, dtype: Any) -> Record:
    """A record without steps."""
    zeros = lambda *shape: jnp.zeros((slots, *shape, members), dtype)  # noqa: E731
    flips = jnp.zeros((slots, switches, members), bool)
    return Record(zeros() + jnp.inf, zeros(), zeros(n), zeros(stages, n), zeros(switches), flips)


def read_off(record: Record, ts: jax.Array) -> jax.Array:
    """The trajectory at times ts [T, B]: [T, n, B], by the last step that begins at or before each; times have no derivative.

    Linear in `y` and `k` of the record, which is what both directions of differentiation use.
    """
    matrix = jnp.asarray(np.vstack([WEIGHTS, DENSE]), record.y.dtype)

    def member(given):  # one at a time: its record then fits the cache
        t, h, y, k, ts = given
        slot = jnp.clip(jnp.searchsorted(t, ts, side="right") - 1, 0, len(t) - 1)
        step = h[slot]
        theta = jnp.where(step > 0, (ts - t[slot]) / jnp.where(step > 0, step, 1), 0)[:, None]
        taken = (jnp.einsum("cs,tsn->tcn", matrix, k) if k.shape[1] == STAGES else k)[slot]
        return polynomial(theta, y[slot], jnp.moveaxis(taken, 1, 0))

    first = [jnp.moveaxis(v, -1, 0) for v in (*record[:4], ts)]
    return jnp.moveaxis(jax.lax.map(member, tuple(first)), 0, -1)


def _first_length(equations: KineticEquations, t: Any, y: Any, p: Any, z: Any, span: Any, rtol: float, atol: float) -> Any:
    scale = atol + rtol * jnp.abs(y)
    size = jnp.sqrt(jnp.mean((y / scale) ** 2, axis=0))
    speed = jnp.sqrt(jnp.mean((equations.field(stacked(t, y, p, z)) / scale) ** 2, axis=0))
    guess = jnp.where((size > 1e-5) & (speed > 1e-5), 0.01 * size / jnp.where(speed > 0, speed, 1), 1e-6 * span)
    return jnp.clip(jnp.where(jnp.isfinite(guess), guess, 1e-6 * span), 1e-12 * span, span)


def integrate(
    equations: KineticEquations, ts: Any, y: Any, p: Any, z: Any, rtol: float, atol: float, max_steps: int, slots: int = 0
) -> tuple[Any, Any, Any, Record]:
    """From time 0 through ts [T, B]: values [T, n, B] (NaN where it did not get), status [B], steps [B], the record.

    Without `slots` the record holds every attempt with its stages, as derivatives need it; with them no more than so many.
    """
    n, members = y.shape
    dtype, end = y.dtype, ts[-1]
    stages, slots = (4 if slots else STAGES), slots or max_steps
    outline = jnp.asarray(np.vstack([WEIGHTS, DENSE]), dtype)
    t = jnp.zeros(members, dtype)
    span = jnp.where(end > 0, end, 1)
    tiny = 8 * jnp.finfo(dtype).eps
    known = equations.settled(p) if members >= MANY else None

    def running(s: _State):
        return jnp.any(s.status < 0) & (s.slot < slots) & jnp.any(s.steps < max_steps)

    def attempt(s: _State) -> _State:
        active = s.status < 0
        left = end - s.t
        last = s.h >= left * (1 - 1e-6)
        h = jnp.where(active, jnp.where(last, left, jnp.where(s.h > 0.6 * left, 0.5 * left, s.h)), span)
        k, y1 = step(equations, s.t, h, s.y, p, s.z, known)
        scale = atol + rtol * jnp.maximum(jnp.abs(s.y), jnp.abs(y1))
        error = jnp.sqrt(jnp.mean((k[-1] / scale) ** 2, axis=0))
        bad = ~jnp.isfinite(error) | ~jnp.all(jnp.isfinite(y1), axis=0)
        error = jnp.where(bad, 1e6, jnp.maximum(error, 1e-10))
        ok = active & (error <= 1)
        # Proportional and integral: the growth is damped by the error of the step before.
        grow = 0.9 * error**-0.17 * jnp.where(error <= 1, s.last_error**0.05, 1.0)
        next_h = h * jnp.clip(jnp.where(error <= 1, grow, 0.9 * error**-0.2), 0.2, 6.0)
        t1 = jnp.where(last, end, s.t + h)
        flips = jnp.zeros(s.z.shape, bool)
        if equations.roots:
            cut, k, y1, flips = happen.locate(equations, s.t, h, s.y, k, y1, p, s.z, ok)
            moved = jnp.any(flips, axis=0)
            t1, h = jnp.where(moved, s.t + cut, t1), cut
        k = jnp.where(ok, k if stages == STAGES else jnp.einsum("cs,snb->cnb", outline, k), 0)
        record = Record(
            *(
                jax.lax.dynamic_update_index_in_dim(old, new, s.slot, 0)
                for old, new in zip(
                    s.record, (jnp.where(active, s.t, jnp.inf), jnp.where(ok, h, 0), s.y, k, s.z, flips & ok), strict=True
                )
            )
        )  # fmt: skip
        y1, z1, done = jnp.where(ok, y1, s.y), s.z, jnp.ones(members, bool)
        if equations.roots:
            _, y2, z2, done = jax.lax.cond(
                jnp.any(flips & ok),
                lambda: happen.jump(equations, t1, y1, p, s.z, flips & ok),
                lambda: (t1, y1, s.z, jnp.ones(members, bool)),
            )
            hit = jnp.any(flips, axis=0) & ok
            y1, z1, done = jnp.where(hit, y2, y1), jnp.where(hit, z2, s.z), done | ~hit
        t1 = jnp.where(ok, t1, s.t)
        steps = s.steps + active
        status = jnp.where(active & (t1 >= end), DONE, s.status)
        status = jnp.where((status < 0) & (next_h < tiny * jnp.maximum(jnp.abs(t1), 1e-9 * span)), STEP_TOO_SMALL, status)
        status = jnp.where((status < 0) & ~done, EVENTS, status)
        status = jnp.where((status < 0) & (steps >= max_steps), MAX_STEPS, status)
        return _State(
            t1, next_h, y1, z1, status, jnp.where(ok, error, s.last_error), s.slot + 1, steps, record
        )  # fmt: skip

    def window(carry):
        s, values = carry
        begun = s.t
        s = s._replace(slot=jnp.zeros((), jnp.int32), record=s.record._replace(t=jnp.full_like(s.record.t, jnp.inf)))
        s = jax.lax.while_loop(running, attempt, s)
        found = jnp.where((ts >= begun)[:, None], read_off(s.record, ts), values)
        return s, found

    record = empty(slots, stages, n, len(equations.roots), members, dtype)
    h = _first_length(equations, t, y, p, z, span, rtol, atol)
    status = jnp.where(end > 0, -1, DONE).astype(jnp.int32)
    start = _State(
        t, h, y, z, status, jnp.ones(members, dtype), jnp.zeros((), jnp.int32), jnp.zeros(members, jnp.int32), record
    )
    values = jnp.broadcast_to(y, (len(ts), n, members))
    s, values = jax.lax.while_loop(lambda c: jnp.any(c[0].status < 0), window, (start, values))
    values = jnp.where((ts <= s.t)[:, None], values, jnp.nan)
    return values, s.status, s.steps, s.record
