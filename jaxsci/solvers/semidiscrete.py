"""Running a semi-discrete problem through a list of times, and turning the states into a solution."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.problems import Problem, saved_times
from jaxsci.solvers import etdrk
from jaxsci.solvers.gradients import GradientPolicy, repeat
from jaxsci.solvers.hermite import quintic


class Lines(Protocol):
    """An equation discretised in space: d(state)/dt = L state + N(state, t). Static and hashable.

    Between a state and the fields stands a *profile*: the unknowns in the form that the discretisation interpolates
    (Fourier modes, or values at nodes with the walls filled in).
    """

    @property
    def kind(self) -> etdrk.Kind: ...
    @property
    def has_rest(self) -> bool: ...
    @property
    def is_linear(self) -> bool: ...
    @property
    def component_names(self) -> tuple[str, ...]: ...
    def grid(self) -> dict[str, np.ndarray]: ...
    def initial_state(self, problem: Problem, dtype: Any) -> Any: ...
    def operators(self, coefficients: Any, dtype: Any) -> Any: ...
    def nonlinear(self, operators: Any, coefficients: Any, state: Any, t: Any) -> Any: ...
    def profile(self, operators: Any, coefficients: Any, state: Any, t: Any) -> Any: ...
    def encode(self, components: Any) -> Any: ...
    def decode(self, profile: Any) -> Any: ...
    def at_point(self, profile: Any, point: tuple[Any, ...]) -> Any: ...
    def tail(self, profile: Any) -> Any: ...
    def steady_profile(self, problem: Problem, dtype: Any) -> Any: ...


class Times(NamedTuple):
    """Saved times, and where the first interval begins; it is empty where the start is saved."""

    ts: Any  # [T]
    start: Any  # []

    @staticmethod
    def of(problem: Problem, ts: Any) -> Times:
        """NumPy arrays, which keep their values under jit: they decide how many steps there are."""
        dtype = jnp.result_type(float)
        return Times(np.asarray(saved_times(problem, ts), dtype), np.asarray(problem.domain["t"][0], dtype))


def rate(lines: Lines, operators: Any, coefficients: Any, state: Any, t: Any) -> Any:
    """d(state)/dt."""
    linear = etdrk.apply(lines.kind, operators.linear, state)
    return linear + lines.nonlinear(operators, coefficients, state, t) if lines.has_rest else linear


def nonlinear_part(lines: Lines, operators: Any, coefficients: Any) -> Any:
    """N(state, t), or None where there is none."""
    if not lines.has_rest:
        return None
    return lambda state, t: lines.nonlinear(operators, coefficients, state, t)


@functools.partial(jax.jit, static_argnames=("lines", "order", "uniform", "steps", "gradient"))
def states_with_static_steps(
    lines: Lines, order: int, uniform: bool, steps: int, gradient: GradientPolicy, problem: Problem, times: Times
) -> Any:
    """States at the saved times, with a fixed number of steps per interval: differentiable in reverse."""
    return _states(lines, order, uniform, steps, gradient, problem, times)


@functools.partial(jax.jit, static_argnames=("lines", "order", "uniform"))
def states_with_traced_steps(lines: Lines, order: int, uniform: bool, steps: Any, problem: Problem, times: Times) -> Any:
    """The same with the number of steps traced: one program for every step size, not differentiable in reverse."""
    return _states(lines, order, uniform, steps, "forward", problem, times)


def _states(
    lines: Lines, order: int, uniform: bool, steps: Any, gradient: GradientPolicy, problem: Problem, times: Times
) -> Any:
    dtype = times.ts.dtype
    coefficients = problem.coefficients
    operators = lines.operators(coefficients, dtype)
    nonlinear = nonlinear_part(lines, operators, coefficients)
    initial = lines.initial_state(problem, dtype)
    starts = jnp.concatenate([times.start[None], times.ts[:-1]])
    # The mean interval: a single one is a difference of near numbers, whose rounding would add up over all of them.
    even = (times.ts[-1] - times.start) / max(len(times.ts) - 1, 1)
    shared = etdrk.tables(lines.kind, operators.linear, even / steps, order) if uniform else None

    def to_next(state, span):
        start, end = span
        table = shared
        if table is None:
            table = etdrk.tables(lines.kind, operators.linear, (end - start) / steps, order)
        return (state := _advance(lines, order, table, nonlinear, state, start, steps, gradient)), state

    # Between saved times the backward pass begins again from the saved state.
    interval = to_next if gradient in ("tape", "forward") else jax.checkpoint(to_next)
    if uniform:  # the first interval is empty, the others are equal
        initial = initial.astype(jnp.result_type(initial, operators.linear))
        _, states = jax.lax.scan(interval, initial, (starts[1:], times.ts[1:]))
        return jnp.concatenate([initial[None], states])
    _, states = jax.lax.scan(interval, initial.astype(jnp.result_type(initial, operators.linear)), (starts, times.ts))
    return states


def _advance(lines: Lines, order: int, table: Any, nonlinear: Any, state: Any, t: Any, steps: Any, gradient: Any) -> Any:
    """`steps` steps from t; a traced number of them is a loop."""
    if nonlinear is None and not is_traced(steps) and steps == 1:
        return etdrk.step(lines.kind, order, table, None, state, t)

    def step(state, i):
        return etdrk.step(lines.kind, order, table, nonlinear, state, t + i * table.h)

    if is_traced(steps):
        return jax.lax.fori_loop(0, steps, lambda i, state: step(state, i), state)
    return repeat(step, state, steps, gradient)


class Run(NamedTuple):
    """States turned into what a solution holds."""

    fields: Any  # [T, unknowns, *box]
    profiles: Any  # [T, ...], with first and second time derivatives for interpolation
    slopes: Any
    curvatures: Any
    tail: Any  # share of the norm in the highest modes, the largest over time


@functools.partial(jax.jit, static_argnames=("lines",))
def finish(lines: Lines, problem: Problem, times: Times, states: Any) -> Run:
    """Fields on the grid, and profiles with two time derivatives, at every saved time."""
    operators = lines.operators(problem.coefficients, times.ts.dtype)

    def flow(state, t):
        return rate(lines, operators, problem.coefficients, state, t)

    def profile(state, t):
        return lines.profile(operators, problem.coefficients, state, t)

    def along(function, state, t):  # d/dt of function(state(t), t) along the flow
        return jax.jvp(function, (state, t), (flow(state, t), jnp.ones_like(t)))

    def at_time(pair):
        state, t = pair
        value, slope = along(profile, state, t)
        _, curvature = along(lambda s, u: along(profile, s, u)[1], state, t)
        return value, slope, curvature

    profiles, slopes, curvatures = jax.lax.map(at_time, (states, times.ts))
    tail = jnp.max(jax.vmap(lines.tail)(profiles))
    return Run(lines.decode(profiles), profiles, slopes, curvatures, tail)


_MOST_PARTS = 64  # of an interval between saved times, for interpolation


@jax.jit
def _interpolation_error(ts: Any, run: Run) -> Any:
    """Relative error of interpolating between these times, from what doubling their distance does to it (order 6)."""
    count = (ts.shape[0] - 1) // 2 * 2 + 1  # odd: the last time that is skipped has a neighbour on either side
    coarse = [v[:count:2] for v in (ts, run.profiles, run.slopes, run.curvatures)]
    guess = jax.vmap(lambda t: quintic(*coarse, t))(ts[1:count:2])
    return relative_difference(guess, run.profiles[1:count:2]) / 2**6


def refine_times(ts: Any, parts: int) -> Any:
    """Each interval divided evenly into parts."""
    fractions = np.arange(parts) / parts
    inner = np.asarray(ts)[:-1, None] + np.diff(np.asarray(ts))[:, None] * fractions
    return np.concatenate([inner.ravel(), np.asarray(ts)[-1:]])


def densify(
    lines: Lines, problem: Problem, times: Times, states: Any, integrate: Callable[[Times], Any], tolerance: float
) -> tuple[Run, InterpolatedField, float]:
    """Add states between the saved ones until interpolation in time meets a tolerance.

    Args:
      integrate: states at other times, as accurate as `states`.
    Returns:
      The run at the saved times, the interpolant, and the estimated relative error of interpolating.
    """
    run = finish(lines, problem, times, states)
    dense, nodes = times, run
    error = float(_interpolation_error(times.ts, run)) if len(times.ts) >= 3 else math.inf
    if error > tolerance:
        parts = min(1.2 * (error / tolerance) ** (1 / 6), _MOST_PARTS) if math.isfinite(error) else 8
        dense = times._replace(ts=refine_times(times.ts, math.ceil(parts)).astype(times.ts.dtype))
        nodes = finish(lines, problem, dense, integrate(dense))
        error = float(_interpolation_error(dense.ts, nodes))
    field = InterpolatedField(lines, dense, nodes.profiles, nodes.slopes, nodes.curvatures)
    return run, field, error


@jax.jit
def relative_difference(a: Any, b: Any) -> Any:
    """Relative L2 difference over times and space ``[T, fields, ...]``, the largest over fields."""
    axes = (0, *range(2, a.ndim))
    norm = lambda v: jnp.sqrt(jnp.sum(jnp.abs(v) ** 2, axis=axes))  # noqa: E731
    return jnp.max(norm(a - b) / jnp.maximum(norm(b), jnp.finfo(b.dtype).tiny))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InterpolatedField:
    """A solution between its saved times and grid points: quintic Hermite in time, the discretisation's own in space."""

    lines: Lines = dataclasses.field(metadata={"static": True})
    times: Times
    profiles: Any
    slopes: Any
    curvatures: Any

    @property
    def interval(self) -> tuple[Any, Any]:
        """The times between which there is something to interpolate."""
        return self.times.ts[0], self.times.ts[-1]

    def __call__(self, t: Any, *point: Any) -> Any:
        profile = quintic(jnp.asarray(self.times.ts), self.profiles, self.slopes, self.curvatures, t)
        return self.lines.at_point(profile, point)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SteadyField:
    """A steady solution between its grid points."""

    lines: Lines = dataclasses.field(metadata={"static": True})
    profile: Any

    def __call__(self, *point: Any) -> Any:
        return self.lines.at_point(self.profile, point)
