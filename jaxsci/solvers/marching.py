"""Steps of a balance law in time: Strang splitting of implicit diffusion and explicit fluxes, by a Courant number or given.

One step is a palindrome of second-order parts, diffusion along each axis around the fluxes and sources (Heun's method, which
is strong-stability preserving):

    D_x(dt/2) D_y(dt/2) H(dt) D_y(dt/2) D_x(dt/2)

Reference: Strang (1968), SIAM J. Numer. Anal. 5, 506; Shu & Osher (1988), J. Comput. Phys. 77, 439.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.problems import Problem
from jaxsci.solvers.diffusion import Which, diffuse
from jaxsci.solvers.semidiscrete import Times
from jaxsci.solvers.volumes import Volumes

_GROWTH, _SHRINK = 3.0, 0.2  # bounds of the ratio of two neighbouring steps
_SMALL = 1e-6  # the first step where only the tolerance decides, as a part of the whole time


class March(NamedTuple):
    """States at the saved times, and what happened on the way."""

    states: Any  # [T, unknowns, *cells]
    steps: Any
    smallest: Any  # the smallest step
    courant: Any  # the largest Courant number, at the saved times where the step is given
    lowest: Any  # [unknowns]: the least average, likewise
    succeeded: Any  # the end was reached


class _Counts(NamedTuple):
    steps: Any
    smallest: Any
    courant: Any
    lowest: Any


def parts_of_a_step(volumes: Volumes) -> list[tuple[Which | None, float, float]]:
    """(diffusion along an axis, or None for fluxes and sources; where it begins; how long it is), as parts of the step."""
    law = volumes.law
    diffusions = [
        (volumes, i, row, volumes.own_unknown(row, axis))
        for i, axis in enumerate(volumes.names)
        for row in range(len(law.densities))
        if (row, axis) in law.diffusion
    ]
    if law.fluxes or law.sources:
        before = [(which, 0.0, 0.5) for which in diffusions]
        after = [(which, 0.5, 0.5) for which in reversed(diffusions)]
        return [*before, (None, 0.0, 1.0), *after]
    groups = [[which for which in diffusions if which[1] == i] for i in range(len(volumes.names))]
    groups = [group for group in groups if group]
    outer = [which for group in groups[:-1] for which in group]
    before, after = [(w, 0.0, 0.5) for w in outer], [(w, 0.5, 0.5) for w in reversed(outer)]
    return [*before, *((which, 0.0, 1.0) for which in groups[-1]), *after]


def step(volumes: Volumes, u: Any, t: Any, dt: Any, coefficients: Any) -> tuple[Any, Any, Any]:
    """The averages a step later, the relative size of its second-order part, and its Courant number.

    The second-order part is what the methods of first order within the diffusion and the sources miss; fluxes do not enter,
    whose error the cells decide.
    """
    error, courant = jnp.zeros((), u.dtype), jnp.zeros((), u.dtype)
    for which, start, length in parts_of_a_step(volumes):
        now, span = t + start * dt, length * dt
        if which is None:
            u, missed, rate = _heun(volumes, u, now, span, coefficients)
            courant = rate * dt
        else:
            _, i, _, k = which
            along, gap = diffuse(which, jnp.moveaxis(u[k], i, -1), now, span, coefficients)
            u, missed = u.at[k].set(jnp.moveaxis(along, -1, i)), _norm(gap) / _norm(along)
        error = jnp.maximum(error, missed)
    return u, error, courant


def _heun(volumes: Volumes, u: Any, t: Any, dt: Any, coefficients: Any) -> tuple[Any, Any, Any]:
    centres = volumes.centres(u.dtype)
    start = volumes.densities(u, centres, coefficients)
    rate, source, courant = volumes.explicit_rates(u, t, coefficients)
    middle = volumes.recover(start + dt * rate, u, centres, coefficients)
    second, later, _ = volumes.explicit_rates(middle, t + dt, coefficients)
    densities = start + dt / 2 * (rate + second)
    missed = jnp.zeros((), u.dtype)
    if volumes.law.sources:
        by_row = jax.vmap(_norm)
        missed = jnp.max(by_row(dt / 2 * (later - source)) / jnp.maximum(by_row(densities), jnp.finfo(u.dtype).tiny))
    return volumes.recover(densities, middle, centres, coefficients), missed, courant


def _norm(values: Any) -> Any:
    """Root of the summed squares, with slope 0 at 0."""
    total = jnp.sum(values**2)
    return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1)), 0) + jnp.finfo(total.dtype).tiny


# --- a given step ------------------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("volumes", "steps", "saved_start"))
def march_with_static_steps(volumes: Volumes, steps: int, saved_start: bool, problem: Problem, times: Times) -> March:
    """A fixed number of steps per interval: differentiable in reverse, with one state per step in memory."""
    dtype, coefficients = times.ts.dtype, problem.coefficients
    initial = volumes.initial_state(problem, dtype)

    @functools.partial(jax.checkpoint, prevent_cse=False)  # the loop prevents it
    def advance(u, t, dt):
        return step(volumes, u, t, dt, coefficients)[0]

    def interval(u, span):
        start, end = span
        dt = (end - start) / steps
        _, _, rate = volumes.explicit_rates(u, start, coefficients)
        u, _ = jax.lax.scan(lambda u, k: (advance(u, start + k * dt, dt), None), u, jnp.arange(steps))
        return u, (u, rate * dt)

    starts = jnp.concatenate([times.start[None], times.ts[:-1]])
    spans = (starts[1:], times.ts[1:]) if saved_start else (starts, times.ts)
    _, (states, courant) = jax.lax.scan(interval, initial, spans)
    states = jnp.concatenate([initial[None], states]) if saved_start else states
    gaps, everywhere = (spans[1] - spans[0]) / steps, jnp.moveaxis(states, 1, 0)
    done, taken = jnp.isfinite(states).all(), jnp.asarray(steps * len(spans[0]))
    return March(states, taken, jnp.min(gaps), jnp.max(courant), _lowest(everywhere), done)


def _lowest(u: Any) -> Any:
    return jnp.min(u.reshape(len(u), -1), axis=1)


# --- a step found on the way ---------------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("volumes", "cfl", "rtol", "max_steps"))
def march_with_found_steps(
    volumes: Volumes, cfl: float, rtol: float, max_steps: int, problem: Problem, times: Times
) -> March:
    """Steps from the Courant number and the tolerance; not differentiable in reverse."""
    dtype, coefficients = times.ts.dtype, problem.coefficients
    initial = volumes.initial_state(problem, dtype)
    has_fluxes, law = bool(volumes.law.fluxes), volumes.law
    judged = bool(law.sources or law.diffusion)
    whole = times.ts[-1] - times.start

    def limit(u, t):
        if not has_fluxes:
            return whole
        _, _, rate = volumes.explicit_rates(u, t, coefficients)
        return jnp.where(rate > 0, cfl / jnp.where(rate > 0, rate, 1), whole)

    def interval(carry, end):
        def unfinished(carry):
            u, t, _, counts = carry
            return (t < end) & (counts.steps < max_steps) & jnp.isfinite(u).all()

        def one(carry):
            u, t, wished, counts = carry
            left = end - t
            longest = jnp.minimum(limit(u, t), wished)
            pieces = jnp.maximum(jnp.ceil(left / longest * (1 - 1e-6)), 1)
            dt = left / pieces
            new, error, courant = step(volumes, u, t, dt, coefficients)
            accepted, following = jnp.asarray(True), whole
            if judged:
                ratio = 0.9 * jnp.sqrt(rtol / jnp.maximum(error, 1e-3 * rtol))
                ratio = jnp.where(jnp.isfinite(error), ratio, _SHRINK)
                following = dt * jnp.clip(ratio, _SHRINK, _GROWTH)
                accepted = (error <= 2 * rtol) | (dt <= 1e-12 * whole)
            u = jnp.where(accepted, new, u)
            t = jnp.where(accepted, jnp.where(pieces <= 1, end, t + dt), t)
            counts = _Counts(
                counts.steps + 1,
                jnp.where(accepted, jnp.minimum(counts.smallest, dt), counts.smallest),
                jnp.where(accepted, jnp.maximum(counts.courant, courant), counts.courant),
                jnp.minimum(counts.lowest, _lowest(u)),
            )
            return u, t, following, counts

        carry = jax.lax.while_loop(unfinished, one, carry)
        return carry, carry[0]

    first = _SMALL * whole if judged else whole
    counts = _Counts(jnp.asarray(0), whole, jnp.zeros((), dtype), _lowest(initial))
    carry = (initial, jnp.asarray(times.start, dtype), jnp.asarray(first, dtype), counts)
    (_, t, _, counts), states = jax.lax.scan(interval, carry, times.ts)
    done = (t >= times.ts[-1]) & jnp.isfinite(states).all()
    return March(states, *counts, done)
