"""The spectral method: Fourier (or Chebyshev) in space, exponential time differencing in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsci._checks import is_whole, results_are_traced
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.problems import Cost, Problem, Solution
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.gradients import GradientPolicy, check_policy, refuse_reverse_mode
from jaxsci.solvers.semidiscrete import (
    InterpolatedField,
    Lines,
    Times,
    densify,
    finish,
    relative_difference,
    states_with_static_steps,
    states_with_traced_steps,
)
from jaxsci.solvers.steady import solve_steady
from jaxsci.solvers.step_control import ControlledRun, states_with_controlled_steps
from jaxsci.solvers.stepper import Stepper

_MOST_STEPS = 2**19  # of one run with chosen steps
_TIGHTEST = 1e-6  # of the tolerance of a step, relative to the tolerance asked for at the end


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
      dt: the largest step; each interval between saved times is divided evenly. With None the steps are chosen from an
        embedded error estimate, tightened until two runs say that the error at the end is below `rtol`. Under jit, vmap and
        forward-mode differentiation it is one run whose steps each err by `rtol`; reverse mode needs dt.
      rtol: relative L2 tolerance in time, of the steps for ``dt=None`` and of interpolation between saved times.
      estimate: run once more, with twice the given step or ten times the tolerance, for the error estimate; its time is in
        ``stats["estimate_seconds"]`` and not in the cost. Without it ``dt=None`` is one run at the tolerance `rtol`.
      gradient: what reverse-mode differentiation remembers of the steps, with a given dt; see `jaxsci.rollout`.
      mesh: a `jax.sharding.Mesh` with one axis, over whose devices a 2-D or 3-D field is spread in slabs of its first axis;
        the number of its points must be a multiple of theirs.
    Error estimate: the difference of the two runs (Richardson), plus the measured error of interpolation in time, plus
      the share of the field in the highest sixth of the kept modes.
    Fails when: the field has a jump (the series converges slowly: read the error estimate), or walls hold a condition that
      neither a mirror nor a Chebyshev grid can carry (an error says so).
    Reference: Cox & Matthews (2002); Krogstad (2005); Kassam & Trefethen (2005), SIAM J. Sci. Comput. 26, 1214.
    Example:
      >>> import jaxsci as js
      >>> solution = js.solve(js.problems.heat(), js.Spectral(n=32))
      >>> solution.fields.shape, bool(solution.error_estimate < 1e-5)
      ((51, 1, 33), True)
    """

    n: int | tuple[int, ...] = 256
    order: int = 4
    dt: float | None = None
    rtol: float = 1e-8
    estimate: bool = True
    gradient: GradientPolicy = "auto"
    mesh: Mesh | None = None

    def __post_init__(self):
        sizes = self.n if isinstance(self.n, tuple) else (self.n,)
        if not all(is_whole(n) and n >= 4 for n in sizes):
            raise ValueError(f"Spectral: n must be whole numbers >= 4, got {self.n!r}.")
        if self.order not in (1, 2, 3, 4):
            raise ValueError(f"Spectral: order must be 1, 2, 3 or 4, got {self.order!r}.")
        if self.dt is not None and not (math.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"Spectral: dt must be positive, got {self.dt!r}.")
        if not (math.isfinite(self.rtol) and self.rtol > 0):
            raise ValueError(f"Spectral: rtol must be positive, got {self.rtol!r}.")
        check_policy("Spectral", self.gradient)
        if not (self.mesh is None or isinstance(self.mesh, Mesh)):
            raise TypeError(f"Spectral: mesh must be a jax.sharding.Mesh, got {self.mesh!r}: jax.make_mesh((8,), ('x',)).")

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`. Deterministic: the key is not used."""
        del key
        with Stopwatch() as watch:  # discretising is part of the cost
            solution, extra = self._solve(problem, ts, progress)
        if results_are_traced(problem):
            return solution
        stats = solution.stats | {"estimate_seconds": extra.wall_seconds if extra else 0.0}
        return dataclasses.replace(solution, stats=stats, cost=watch.cost(without=extra))

    def _solve(self, problem: Problem, ts: SavedTimes, progress: Progress) -> tuple[Solution, Stopwatch | None]:
        """The solution, and the part of the time that went into its error estimate."""
        lines = discretise(problem, self.n, self.mesh)
        if problem.is_steady:
            return solve_steady(problem, lines)
        plan = _Plan(lines, self.order, problem, Times.of(problem, ts), self.gradient)
        if self.dt is not None or not plan.lines.has_rest:  # without a rest a step is exact, whatever its length
            return self._with_step(plan, self.dt or plan.longest)
        if not results_are_traced(problem):
            return self._controlled(plan, progress)
        controlled = plan.controlled_run(plan.times, self.rtol)
        run = finish(plan.lines, problem, plan.times, refuse_reverse_mode(controlled.states))
        stats = {"steps": controlled.steps, "rejected": controlled.rejected, "succeeded": controlled.succeeded}
        return plan.solution(run, None, jnp.nan, stats), None

    def stepper(self, problem: Problem) -> Stepper:
        """See `jaxsci.stepper`."""
        if self.dt is None:
            raise ValueError("stepper: give the step, as in js.Spectral(n=256, dt=1e-2).")
        if problem.is_steady:
            raise ValueError(f"stepper: {problem.name} is steady; there is nothing to step.")
        return Stepper.of(problem, discretise(problem, self.n, self.mesh), self.order, self.dt)

    def _with_step(self, plan: _Plan, dt: float) -> tuple[Solution, Stopwatch | None]:
        steps = plan.steps(dt)
        stats: dict[str, Any] = {"dt": plan.longest / steps, "steps": steps * plan.intervals}
        if results_are_traced(plan.problem):
            run = finish(plan.lines, plan.problem, plan.times, plan.static_run(dt))
            return plan.solution(run, None, jnp.nan, stats), None
        error, extra = (0.0 if not plan.lines.has_rest else math.nan), None
        states = jax.block_until_ready(plan.static_run(dt))
        if self.estimate and plan.lines.has_rest:
            with Stopwatch() as extra:
                other = steps // 2 or 2  # a single step is compared with two
                difference = float(relative_difference(plan.traced_run(plan.times, other), states))
                error = difference / abs((steps / other) ** self.order - 1)
        tolerance = max(self.rtol, error) if math.isfinite(error) else self.rtol
        integrate = lambda times: plan.traced_run(times, dataclasses.replace(plan, times=times).steps(dt))  # noqa: E731
        run, field, gap = plan.densify(states, integrate, tolerance)
        return plan.solution(run, field, error + gap, stats), extra

    def _controlled(self, plan: _Plan, progress: Progress) -> tuple[Solution, Stopwatch | None]:
        """Runs with steps chosen from the embedded estimate, tightened until two runs say that `rtol` is met at the end."""
        tolerance = max(self.rtol, 20 * float(jnp.finfo(plan.times.ts.dtype).eps))
        local, run = tolerance, plan.controlled_run(plan.times, tolerance)
        taken, error, extra = int(run.steps), math.nan, None
        while self.estimate:
            with Stopwatch() as watch:
                before, error = error, plan.error_of(run, local)
            extra = watch
            if progress is not None:
                progress(f"{int(run.steps)} steps: error in time {error:.1e}")
            # Further steps do not help where the error falls no more (round-off) or is not finite (no solution).
            stuck = not math.isfinite(error) or (error < 1e3 * tolerance and error > before / 2)
            if error <= tolerance or stuck or local <= tolerance * _TIGHTEST:
                break
            local /= min(max(2 * error / tolerance, 4.0), 100.0)
            run = plan.controlled_run(plan.times, local)
            taken += int(run.steps)
        goal = max(self.rtol, error) if math.isfinite(error) else self.rtol
        dense, field, gap = plan.densify(run.states, lambda times: plan.controlled_run(times, local).states, goal)
        stats = {
            "steps": taken, "rejected": int(run.rejected), "dt": plan.duration / max(int(run.steps), 1), "step_rtol": local,
            "succeeded": bool(run.succeeded),
        }  # fmt: skip
        return plan.solution(dense, field, error + gap, stats), extra


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A discretised problem and the times it is wanted at."""

    lines: Lines
    order: int
    problem: Problem
    times: Times
    gradient: GradientPolicy = "auto"

    @property
    def gaps(self) -> np.ndarray:
        return _gaps(self.times)

    @property
    def longest(self) -> float:
        return float(self.gaps.max())

    @property
    def duration(self) -> float:
        return float(self.times.ts[-1] - self.times.start)

    @property
    def intervals(self) -> int:
        return int(np.count_nonzero(self.gaps))

    def steps(self, dt: float) -> int:
        """Steps per interval such that none is longer than dt."""
        return max(1, math.ceil(self.longest / dt * (1 - 1e-5)))

    def static_run(self, dt: float) -> Any:
        return states_with_static_steps(
            self.lines, self.order, _is_uniform(self.times), self.steps(dt), self.gradient, self.problem, self.times
        )

    def traced_run(self, times: Times, steps: int) -> Any:
        return states_with_traced_steps(self.lines, self.order, _is_uniform(times), jnp.asarray(steps), self.problem, times)

    def error_of(self, run: ControlledRun, rtol: float) -> float:
        """Estimated error of a run with chosen steps, from another one.

        The error is proportional to the tolerance, so that runs at r and 10 r differ by nine errors of the former, here taken
        as four to be safe. Where saved times and not the tolerance set the steps, the run is compared with half of them.
        """
        looser = self.controlled_run(self.times, 10 * rtol)
        if int(looser.steps) <= 0.75 * int(run.steps):
            return float(relative_difference(looser.states, run.states)) / 4
        return float(relative_difference(run.states, self.controlled_run(self.times, rtol, parts=2).states))

    def controlled_run(self, times: Times, rtol: float, parts: int = 1) -> ControlledRun:
        numbers = jnp.asarray(rtol, times.ts.dtype), jnp.asarray(_MOST_STEPS), jnp.asarray(parts, times.ts.dtype)
        return states_with_controlled_steps(self.lines, self.order, self.problem, times, *numbers)

    def densify(
        self, states: Any, integrate: Callable[[Times], Any], tolerance: float
    ) -> tuple[Any, InterpolatedField, float]:
        return densify(self.lines, self.problem, self.times, states, integrate, tolerance)

    def solution(self, run: Any, field: Any, error: float, stats: dict[str, Any]) -> Solution:
        if field is None:
            field = InterpolatedField(self.lines, self.times, run.profiles, run.slopes, run.curvatures)
        grid = {name: jnp.asarray(x, self.times.ts.dtype) for name, x in self.lines.grid().items()}
        total = jnp.asarray(error + run.tail, run.fields.dtype)
        return Solution(self.problem, jnp.asarray(self.times.ts), grid, run.fields, field, total, stats, Cost())


def _gaps(times: Times) -> np.ndarray:
    """Lengths of the intervals that end at the saved times; the first is zero where the start is saved."""
    return np.diff(np.asarray(times.ts), prepend=np.asarray(times.start))


def _is_uniform(times: Times) -> bool:
    """The start is saved and all intervals are equal but for rounding, so that one table serves them all."""
    ts, gaps = np.asarray(times.ts), _gaps(times)
    rounding = 8 * np.finfo(gaps.dtype).eps * np.abs(ts).max()
    return bool(len(gaps) > 1 and gaps[0] == 0 and np.ptp(gaps[1:]) <= rounding)
