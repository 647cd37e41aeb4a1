r"""Exponential integration with steps chosen from the embedded estimate.

A step of size h is kept where its estimated error, relative to the field's norm, is at most `rtol`; the next one aims at

    h' = 0.9 h (rtol / error)^(1/q),    q the order of the estimate,

and h changes only where that pays (more than a fifth, or after a rejection): a new h needs new tables, which cost as much as
a step. Within the interval to the next saved time the steps are equal, so that saved times are met without a remainder.

Reference: Hairer, Norsett & Wanner (1993), *Solving ordinary differential equations I*, sect. II.4.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.problems import Problem
from jaxsci.solvers import etdrk
from jaxsci.solvers.semidiscrete import Lines, Times, nonlinear_part

_SMALLEST = 1e-12  # a step, relative to the whole time, at which the problem is given up
_TRACE = 1e-4  # a component this much smaller than the largest is measured against the largest


class ControlledRun(NamedTuple):
    """States at the saved times, and what they took."""

    states: Any
    steps: Any  # accepted
    rejected: Any
    succeeded: Any  # whether the end was reached


class _Carry(NamedTuple):
    state: Any
    t: Any
    rest: Any  # the nonlinear part at (state, t)
    wanted: Any  # the step that the error allows
    table: etdrk.Tables
    steps: Any
    rejected: Any
    alive: Any


@functools.partial(jax.jit, static_argnames=("lines", "order"))
def states_with_controlled_steps(
    lines: Lines, order: int, problem: Problem, times: Times, rtol: Any, max_steps: Any, parts: Any = 1
) -> ControlledRun:
    """States at the saved times with an estimated error of each step of at most rtol, relative L2.

    Args:
      parts: into how many steps each interval between saved times is divided at least.
    Where the end is not reached within max_steps, or the steps become too small, the missing states are NaN.
    """
    dtype = times.ts.dtype
    operators = lines.operators(problem.coefficients, dtype)
    nonlinear = nonlinear_part(lines, operators, problem.coefficients)
    initial = lines.initial_state(problem, dtype)
    initial = initial.astype(jnp.result_type(initial, operators.linear))
    exponent = -1.0 / (order + 1 if order < 3 else order)
    whole = times.ts[-1] - times.start
    rounding = 8 * jnp.finfo(dtype).eps * jnp.maximum(jnp.abs(times.start), jnp.abs(times.ts[-1]))

    def make(h):
        return etdrk.tables(lines.kind, operators.linear, h, order)

    def attempt(carry: _Carry, begin, end) -> _Carry:
        left = end - carry.t
        wanted = jnp.minimum(carry.wanted, (end - begin) / parts)
        count = jnp.maximum(jnp.ceil(left / wanted * (1 - 1e-6)), 1.0)
        h = left / count
        changed = jnp.abs(h - carry.table.h) * count > rounding
        table = jax.lax.cond(changed, make, lambda _: carry.table, h)
        new, rest, error = etdrk.step_with_error(lines.kind, order, table, nonlinear, carry.state, carry.t, carry.rest)
        size = _relative_size(error, carry.state, new) / rtol
        factor = jnp.where(jnp.isfinite(size), jnp.clip(0.9 * jnp.maximum(size, 1e-12) ** exponent, 0.2, 5.0), 0.2)
        good = size <= 1.0
        aim = jnp.where(good & (h * factor < 1.2 * carry.wanted), carry.wanted, h * factor)
        keep = functools.partial(jnp.where, good)
        return _Carry(
            keep(new, carry.state),
            keep(jnp.where(count == 1, end, carry.t + h), carry.t),
            keep(rest, carry.rest),
            aim,
            table,
            carry.steps + good,
            carry.rejected + ~good,
            carry.alive & (aim > _SMALLEST * whole) & (carry.steps + carry.rejected < max_steps),
        )

    def interval(carry: _Carry, end):
        begin = carry.t
        carry = jax.lax.while_loop(lambda c: (c.t < end) & c.alive, lambda c: attempt(c, begin, end), carry)
        return carry, jnp.where(carry.alive, carry.state, jnp.nan)

    rest = nonlinear(initial, times.start)
    first = jnp.clip(_first_step(initial, rest, rtol, exponent), 1e-6 * whole, whole)
    none = jnp.zeros((), int)
    no_table = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(make, first)
    )  # made in the first step
    carry = _Carry(initial, jnp.asarray(times.start), rest, first, no_table, none, none, jnp.asarray(True))
    carry, states = jax.lax.scan(interval, carry, jnp.asarray(times.ts))
    return ControlledRun(states, carry.steps, carry.rejected, carry.alive)


def _norms(state: Any) -> Any:
    """The norm of every component."""
    flat = state.reshape(state.shape[0], -1) if state.ndim > 1 else state[None]
    return jnp.sqrt(jnp.sum(jnp.abs(flat) ** 2, axis=1))


def _relative_size(error: Any, before: Any, after: Any) -> Any:
    scale = jnp.maximum(_norms(before), _norms(after))
    scale = jnp.maximum(scale, _TRACE * jnp.max(scale))
    return jnp.max(_norms(error) / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny))


def _first_step(state: Any, rest: Any, rtol: Any, exponent: float) -> Any:
    """A step over which the nonlinear part changes the state by a small share; the linear part is exact and sets no limit."""
    share = jnp.max(_norms(rest)) / jnp.maximum(jnp.max(_norms(state)), jnp.finfo(rest.real.dtype).tiny)
    return 0.1 * rtol ** (-exponent) / jnp.maximum(share, jnp.finfo(share.dtype).tiny)
