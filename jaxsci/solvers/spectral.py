"""The spectral method: Fourier (or Chebyshev) in space, exponential time differencing in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci.problems import Cost, Problem, Solution, saved_times
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.rollout import (
    InterpolatedField,
    Lines,
    Times,
    finish,
    states_with_static_steps,
    states_with_traced_steps,
)
from jaxsci.solvers.steady import solve_steady
from jaxsci.solvers.stepper import Stepper

_MOST_STEPS = 2**21  # where step halving gives up


@dataclasses.dataclass(frozen=True)
class Spectral:
    r"""Spectral in space, exponential Runge-Kutta (ETDRK) in time; one direct solve for a steady linear problem.

    Space: Fourier series on periodic axes; sine or cosine series (a mirror) on axes with homogeneous Dirichlet or Neumann
    walls, where the equation has that mirror symmetry; Chebyshev collocation otherwise.
    Time: the linear constant-coefficient part exactly, the rest by a Runge-Kutta scheme of the given order.

    Args:
      n: grid intervals per axis, one number or one per spatial axis in order. A nonlinear equation keeps the lower two
        thirds of the wavenumbers of that grid, which frees quadratic products of aliasing.
      order: 1 to 4.
      dt: the largest step; each interval between saved times is divided evenly. With None the step is halved until two
        runs agree to `rtol` and the last is returned. None needs concrete numbers: under jit, grad or vmap give dt.
      rtol: relative L2 tolerance in time for ``dt=None``.
      estimate: with a given dt, run once more with twice the step for the error estimate (its time is in
        ``stats["estimate_seconds"]``, not in the cost).
    Error estimate: the difference of two step sizes (Richardson) plus the share of the field in the highest sixth of the
      kept modes. Between saved times the interpolation adds an error of sixth order in their distance.
    Fails when: the field has a jump (the series converges slowly: read the error estimate), or walls hold a condition that
      neither a mirror nor a Chebyshev grid can carry (an error says so).
    Example:
      >>> import jaxsci as js
      >>> solution = js.solve(js.problems.heat(), js.Spectral(n=32))
      >>> solution.fields.shape, bool(solution.error_estimate < 1e-5)
      ((51, 1, 33), True)
    Reference: Cox & Matthews (2002); Krogstad (2005); Kassam & Trefethen (2005), SIAM J. Sci. Comput. 26, 1214.
    """

    n: int | tuple[int, ...] = 256
    order: int = 4
    dt: float | None = None
    rtol: float = 1e-8
    estimate: bool = True

    def __post_init__(self):
        sizes = self.n if isinstance(self.n, tuple) else (self.n,)
        if not all(isinstance(n, int) and n >= 4 for n in sizes):
            raise ValueError(f"Spectral: n must be whole numbers >= 4, got {self.n!r}.")
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"Spectral: order must be 1, 2, 3 or 4, got {self.order!r}.")
        if self.dt is not None and not (math.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"Spectral: dt must be positive, got {self.dt!r}.")

    def solve(self, problem: Problem, *, ts: Any = None, key: Any = None, progress: Callable | None = None) -> Solution:
        """See `jaxsci.solve`. Deterministic: the key is not used."""
        del key
        lines = discretise(problem, self.n)
        if problem.is_steady:
            return solve_steady(problem, lines)
        ts = saved_times(problem, ts)
        dtype = jnp.result_type(float)
        times = Times(jnp.asarray(ts, dtype), jnp.asarray(problem.domain["t"][0], dtype))
        intervals = np.diff(ts, prepend=problem.domain["t"][0])
        uniform = len(ts) > 1 and intervals[0] == 0 and np.ptp(intervals[1:]) <= 1e-9 * intervals[1:].max()
        plan = _Plan(lines, self.order, uniform, problem, times, float(intervals.max()), len(ts))
        if self.dt is not None:
            return self._with_step(plan, max(1, math.ceil(plan.longest / self.dt * (1 - 1e-9))))
        if is_traced(problem):
            raise ValueError(
                "Spectral(dt=None) finds its step by comparing runs, which needs concrete numbers. Under jit, grad or vmap "
                "give the step: js.Spectral(n=..., dt=...); a first run outside reports a good one in stats['dt']."
            )
        return self._halving(plan, progress)

    def stepper(self, problem: Problem) -> Stepper:
        """See `jaxsci.stepper`."""
        if self.dt is None:
            raise ValueError("stepper: give the step, as in js.Spectral(n=256, dt=1e-2).")
        if problem.is_steady:
            raise ValueError(f"stepper: {problem.name} is steady; there is nothing to step.")
        return Stepper.of(problem, discretise(problem, self.n), self.order, self.dt)

    def _with_step(self, plan: _Plan, steps: int) -> Solution:
        stats: dict[str, Any] = {"dt": plan.longest / steps, "steps": steps * plan.intervals}
        unknown = jnp.asarray(jnp.nan)
        if is_traced(plan.problem):
            return plan.solution(plan.static_run(steps), unknown, stats, Cost())
        with Stopwatch() as watch:
            states = jax.block_until_ready(plan.static_run(steps))
        error = unknown
        if self.estimate:
            with Stopwatch() as extra:
                error = self._error(plan, plan.traced_run(max(steps // 2, 1)), states, steps)
            stats["estimate_seconds"] = extra.wall_seconds
        return plan.solution(states, error, stats, Cost(watch.compile_seconds, 0.0, watch.run_seconds))

    def _error(self, plan: _Plan, coarse: Any, fine: Any, steps: int) -> Any:
        if not plan.lines.has_rest:
            return jnp.zeros(())
        ratio = steps / max(steps // 2, 1)
        return relative_difference(coarse, fine) / max(ratio**self.order - 1, 1)

    def _halving(self, plan: _Plan, progress: Callable | None) -> Solution:
        with Stopwatch() as watch:
            steps = max(1, math.ceil(64 / plan.intervals)) if plan.lines.has_rest else 1
            states, taken = plan.traced_run(steps), steps
            tolerance = max(self.rtol, 20 * float(jnp.finfo(plan.times.ts.dtype).eps))
            error, before = 0.0 if not plan.lines.has_rest else math.inf, math.inf
            while error > tolerance or not math.isfinite(error):
                if 2 * steps * plan.intervals > _MOST_STEPS:
                    break
                steps *= 2
                finer = plan.traced_run(steps)
                before, error = error, float(relative_difference(states, finer)) / (2**self.order - 1)
                states, taken = finer, taken + steps
                if progress is not None:
                    progress(f"step {plan.longest / steps:.2e}: error in time {error:.1e}")
                if error < 1e3 * tolerance and error > before / 2:  # smaller steps no longer help: round-off
                    break
            jax.block_until_ready(states)
        stats = {"dt": plan.longest / steps, "steps": taken * plan.intervals}
        return plan.solution(states, jnp.asarray(error), stats, Cost(watch.compile_seconds, 0.0, watch.run_seconds))


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A discretised problem and the times it is wanted at."""

    lines: Lines
    order: int
    uniform: bool
    problem: Problem
    times: Times
    longest: float  # interval between saved times
    intervals: int

    def static_run(self, steps: int) -> Any:
        return states_with_static_steps(self.lines, self.order, self.uniform, steps, self.problem, self.times)

    def traced_run(self, steps: int) -> Any:
        return states_with_traced_steps(self.lines, self.order, self.uniform, jnp.asarray(steps), self.problem, self.times)

    def solution(self, states: Any, error_in_time: Any, stats: dict[str, Any], cost: Cost) -> Solution:
        run = finish(self.lines, self.problem, self.times, states)
        field = InterpolatedField(self.lines, self.times, run.profiles, run.slopes, run.curvatures)
        grid = {name: jnp.asarray(x, self.times.ts.dtype) for name, x in self.lines.grid().items()}
        error = jnp.asarray(error_in_time + run.tail, run.fields.dtype)
        return Solution(self.problem, self.times.ts, grid, run.fields, field, error, stats, cost)


@jax.jit
def relative_difference(a: Any, b: Any) -> Any:
    """Relative L2 difference of two sets of states, the largest over components."""
    axes = (0, *range(2, a.ndim))
    norm = lambda v: jnp.sqrt(jnp.sum(jnp.abs(v) ** 2, axis=axes))  # noqa: E731
    return jnp.max(norm(a - b) / jnp.maximum(norm(b), jnp.finfo(b.dtype).tiny))


def is_traced(problem: Problem) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(problem))
