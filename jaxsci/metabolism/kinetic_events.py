r"""Where an inequality of a kinetic model changes its truth: located in time, and the events that it triggers.

A switch k is on while root_k(t, y, p) > 0 (>= 0). During a step the switches stand still, so the vector field is smooth; where a
root changes its sign the step is cut. At the time t_e of the first change, with the rate of the root along the trajectory,

    dt_e = -(d root / d(t, y, p)) . (dt, dy, dp) / (d root / dt)

is how t_e moves with everything before, which is what makes trajectories through events differentiable.
Arrays are [..., B]: the members stand last.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.kinetic_model import KineticEquations, evaluate
from jaxsci.metabolism.rosenbrock import inside, stacked, step

_PASSES = 4  # events that trigger events that trigger events ...
_GRID = np.array([0.25, 0.5, 0.75, 1.0])


def roots(equations: KineticEquations, t: Any, y: Any, p: Any, z: Any) -> jax.Array:
    """[switches, B]."""
    return evaluate(equations, equations.roots, stacked(t, y, p, z))


def _wrong(root: jax.Array, z: jax.Array) -> jax.Array:
    """Switches that stand otherwise than the sign of their root."""
    return jnp.where(z > 0.5, root < 0, root > 0)


def locate(equations: KineticEquations, t: Any, h: Any, y: Any, k: Any, y1: Any, p: Any, z: Any, ok: Any) -> tuple[Any, ...]:
    """Cuts the steps in which a switch changes: (h, k, y_1, flips [switches, B]). Only members with `ok` are looked at.

    The dense output is bisected; the step is then taken anew with the length found, which Newton's method improves twice.
    """
    grid = jnp.asarray(_GRID, y.dtype)
    lanes = jnp.arange(y.shape[-1])

    def changed(theta):
        return _wrong(roots(equations, t + theta * h, inside(theta, y, k), p, z), z)

    def search(_):
        seen = jnp.stack([jnp.any(changed(jnp.full_like(h, g)), axis=0) for g in grid])
        first = jnp.argmax(seen, axis=0)
        crossed = jnp.any(seen, axis=0) & ok
        high = grid[first]
        low = high - grid[0]

        def halve(_, ends):
            low, high = ends
            middle = 0.5 * (low + high)
            yes = jnp.any(changed(middle), axis=0)
            return jnp.where(yes, low, middle), jnp.where(yes, middle, high)

        low, high = jax.lax.fori_loop(0, 52, halve, (low, high))
        flips = changed(high) & crossed
        which = jnp.argmax(flips, axis=0)
        near = jnp.maximum(high - 1e-4, 0.0)
        at_high, at_near = (roots(equations, t + s * h, inside(s, y, k), p, z)[which, lanes] for s in (high, near))
        rate = (at_high - at_near) / jnp.maximum(high - near, 1e-300)

        def retake(i, carry):
            theta, _, _ = carry
            cut = jnp.where(crossed, theta * h, h)
            k2, end = step(equations, t, cut, y, p, z)
            value = roots(equations, t + cut, end, p, z)[which, lanes]
            move = jnp.where(crossed & (rate != 0) & (i < 2), value / jnp.where(rate == 0, 1, rate), 0)
            return jnp.clip(theta - jnp.where(jnp.isfinite(move), move, 0), 1e-14, 1), k2, end

        theta = jnp.maximum(high, 1e-14)
        theta, k2, end = jax.lax.fori_loop(0, 3, retake, (theta, k, y1))
        return jnp.where(crossed, theta * h, h), k2, end, flips

    coarse = jnp.any(jnp.stack([jnp.any(changed(jnp.full_like(h, g)), axis=0) for g in grid]) & ok)
    return jax.lax.cond(coarse, search, lambda _: (h, k, y1, jnp.zeros(z.shape, bool)), None)


def jump(equations: KineticEquations, t: Any, y: Any, p: Any, z: Any, flips: Any) -> tuple[Any, Any, Any, Any]:
    """What happens at the end of a step that was cut: (t, y, z, all events done).

    The values are those that came in, but for the events; the derivatives hold the motion of the time of the event.
    """
    fixed = jax.lax.stop_gradient
    lanes, which = jnp.arange(y.shape[-1]), jnp.argmax(flips, axis=0)
    moved = jnp.any(flips, axis=0)
    slope = fixed(evaluate(equations, equations.derivatives, fixed(stacked(t, y, p, z))))
    x = fixed(stacked(t, y, p, z))
    along = jnp.concatenate([jnp.ones_like(x[:1]), slope, jnp.zeros_like(x[1 + len(y) :])])
    rate = jax.jvp(lambda v: evaluate(equations, equations.roots, v), (x,), (along,))[1][which, lanes]
    value = roots(equations, t, y, p, z)[which, lanes]
    shift = jnp.where(moved & (rate != 0), -(value - fixed(value)) / jnp.where(rate == 0, 1, rate), 0)
    t, y = t + shift, y + slope * shift
    return (t, *cascade(equations, t, y, p, z, jnp.where(flips, 1 - z, z), _triggers(equations, t, y, p, z)))


def _triggers(equations: KineticEquations, t: Any, y: Any, p: Any, z: Any) -> jax.Array:
    nodes = tuple(event.trigger for event in equations.events)
    return jax.lax.stop_gradient(equations.program(nodes)(jax.lax.stop_gradient(stacked(t, y, p, z)))) > 0.5


def cascade(
    equations: KineticEquations, t: Any, y: Any, p: Any, before: Any, z: Any, triggered: Any
) -> tuple[Any, Any, Any]:
    """Events whose triggers have become true, and those that become true by them: (y, z, all done)."""
    if not equations.events:
        return y, z, jnp.ones(y.shape[-1:], bool)

    def one(carry, _):
        y, z, old = carry
        now = _triggers(equations, t, y, p, z)
        pending, start, root = now & ~old, y, roots(equations, t, y, p, z)
        for e, event in enumerate(equations.events):
            fire = pending[e]
            if not event.persistent and e:
                fire = fire & _triggers(equations, t, y, p, _reset(equations, t, root, y, p, z))[e]
            x = stacked(t, start if event.from_trigger else y, p, z)
            values = evaluate(equations, tuple(node for _, node in event.assigned), x)
            rows = np.array([row for row, _ in event.assigned], int)
            y = y.at[rows].set(jnp.where(fire, values, y[rows])) if len(rows) else y
        return (y, _reset(equations, t, root, y, p, z), now), None

    (y, z, old), _ = jax.lax.scan(one, (y, z, triggered), None, length=_PASSES)
    return y, z, ~jnp.any(_triggers(equations, t, y, p, z) & ~old, axis=0)


def _reset(equations: KineticEquations, t: Any, root: Any, y: Any, p: Any, z: Any) -> jax.Array:
    """Switches whose roots an event has changed stand as their roots say; the others stay, at their roots too."""
    after = roots(equations, t, y, p, z)
    strict = np.array(equations.strict)[:, None]
    say = jnp.where(jnp.where(strict, after > 0, after >= 0), jnp.ones_like(after), 0)
    return jax.lax.stop_gradient(jnp.where(after != root, say, z))


def begin(equations: KineticEquations, t: Any, y: Any, p: Any) -> tuple[Any, Any, Any]:
    """Switches at the start, and the events that fire there because their triggers count as false before: (y, z, done)."""
    z = jax.lax.stop_gradient(equations.switches(jax.lax.stop_gradient(jnp.concatenate([t[None], y, p]))))
    if not equations.events:
        return y, z, jnp.ones(y.shape[-1:], bool)
    start = np.array([event.initial for event in equations.events])[:, None]
    old = jnp.broadcast_to(start, (len(equations.events), y.shape[-1]))
    return cascade(equations, t, y, p, z, z, old)
