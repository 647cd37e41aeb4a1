"""Adaptive time stepping by diffrax: ODEs, and PDEs by the method of lines."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import results_are_traced
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.problems import Cost, Problem, Solution
from jaxsci.problems.reference import RECIPES
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.lines import FourierLines
from jaxsci.solvers.semidiscrete import InterpolatedField, Lines, Times, densify, finish, rate, relative_difference
from jaxsci.solvers.spectral import Spectral
from jaxsci.solvers.torus import Torus

_STIFF = 1e4  # fastest rate times duration beyond which an implicit solver is chosen


@dataclasses.dataclass(frozen=True)
class Adaptive:
    """Adaptive Runge-Kutta methods of diffrax, on ODE systems and (by the method of lines) on PDEs.

    A PDE is discretised in space as `Spectral` does it, and its stiff linear part is stepped like the rest: for
    semilinear PDEs `Spectral` is the better method, often by orders of magnitude.

    Args:
      rtol, atol: tolerances of the step size controller.
      n: grid intervals per axis for a PDE; not used for an ODE.
      solver: a diffrax solver. By default an implicit one (Kvaerno5) for an ODE whose fastest rate times the duration
        exceeds 1e4, or whose coefficients are traced; else Dopri8 for rtol < 1e-7, Tsit5 above.
      adjoint: how to differentiate, a diffrax adjoint; by default reverse mode with recursive checkpoints. For forward mode
        (``jax.jvp``, ``jax.jacfwd``) give ``diffrax.ForwardMode()``.
      max_steps: where to give up; ``solution.check()`` then says so.
      estimate: run once more with ten times the tolerances for the error estimate (time in ``stats["estimate_seconds"]``).
    Reference: Kidger (2021), *On neural differential equations*, and the solvers cited there.
    Example:
      >>> import jaxsci as js
      >>> js.solve(js.problems.lotka_volterra(), js.Adaptive(rtol=1e-4)).fields.shape
      (51, 2)
    """

    rtol: float = 1e-8
    atol: float = 1e-10
    n: int | tuple[int, ...] = 128
    solver: Any = None
    adjoint: Any = None
    max_steps: int = 16_384
    estimate: bool = True

    def __post_init__(self):
        if not (self.rtol > 0 and self.atol >= 0):
            raise ValueError(f"Adaptive: rtol must be positive and atol not negative, got {self.rtol!r}, {self.atol!r}.")

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`. Deterministic: the key is not used."""
        del key, progress
        with Stopwatch() as watch:  # discretising and choosing the solver are part of the cost
            solution, extra = self._solve(problem, ts)
        if results_are_traced(problem):
            return solution
        stats = solution.stats | {"estimate_seconds": extra.wall_seconds if extra else 0.0}
        return dataclasses.replace(solution, stats=stats, cost=watch.cost(without=extra))

    def _solve(self, problem: Problem, ts: SavedTimes) -> tuple[Solution, Stopwatch | None]:
        """The solution, and the part of the time that went into its error estimate."""
        if problem.is_steady:
            raise ValueError(f"Adaptive: {problem.name} is steady; use js.Spectral, js.RandomFeatures or js.Neural.")
        problem.check_plain("Adaptive")
        space = problem.domain.space
        lines = self._lines(problem)
        dtype = jnp.result_type(float)
        times = Times.of(problem, ts)
        solver = self._choose(problem, lines, times)
        adjoint = self.adjoint if self.adjoint is not None else diffrax.RecursiveCheckpointAdjoint()
        tolerances = jnp.asarray([self.rtol, self.atol], dtype)

        def integrate(times: Times, factor: float = 1.0, dense: bool = False) -> _Integration:
            return _integrate(lines, solver, adjoint, self.max_steps, dense, problem, times, factor * tolerances)

        grid = {name: jnp.asarray(x, dtype) for name, x in lines.grid().items()}
        if results_are_traced(problem):
            out = integrate(times)
            run = finish(lines, problem, times, out.states)
            field = InterpolatedField(lines, times, run.profiles, run.slopes, run.curvatures)
            stats = {"steps": out.steps, "succeeded": out.succeeded}
            unknown = jnp.asarray(jnp.nan)
            return Solution(problem, jnp.asarray(times.ts), grid, run.fields, field, unknown, stats, Cost()), None
        error, extra = math.nan, None
        out = jax.block_until_ready(integrate(times, dense=not space))
        if self.estimate:
            with Stopwatch() as extra:
                error = float(relative_difference(integrate(times, 10.0).states, out.states))
        if space:
            target = max(error, 10 * self.rtol) if math.isfinite(error) else 10 * self.rtol
            run, field, gap = densify(lines, problem, times, out.states, lambda t: integrate(t).states, target)
            fields, error = run.fields, error + gap + run.tail
        else:
            fields, field = out.states, DenseField(out.interpolation, times)
        stats = {"steps": int(out.steps), "succeeded": bool(out.succeeded)}
        total = jnp.asarray(error, dtype)
        return Solution(problem, jnp.asarray(times.ts), grid, fields, field, total, stats, Cost()), extra

    def _lines(self, problem: Problem) -> Lines:
        if problem.domain.space:
            return discretise(problem, self.n)
        return FourierLines(problem.equation, Torus(()), ((),) * len(problem.unknowns))

    def chosen(self, problem: Problem) -> Adaptive:
        """With the solver that it takes for the problem's own coefficients written down, so that tracing changes nothing."""
        lines = self._lines(problem)
        return dataclasses.replace(self, solver=self._choose(problem, lines, Times.of(problem, None)))

    def _choose(self, problem: Problem, lines: Lines, times: Times) -> Any:
        if self.solver is not None:
            return self.solver
        if not problem.domain.space and (results_are_traced(problem) or _fastest_rate(lines, problem, times) > _STIFF):
            return diffrax.Kvaerno5()
        return diffrax.Dopri8() if self.rtol < 1e-7 else diffrax.Tsit5()


def _fastest_rate(lines: Lines, problem: Problem, times: Times) -> float:
    """Largest |eigenvalue| of the Jacobian at the start, times the duration."""
    jacobian = np.asarray(_jacobian_at_start(lines, problem, times))
    if not np.isfinite(jacobian).all():
        return math.nan
    return float(np.abs(np.linalg.eigvals(jacobian)).max() * (times.ts[-1] - times.start))


@functools.partial(jax.jit, static_argnames=("lines",))
def _jacobian_at_start(lines: Lines, problem: Problem, times: Times) -> Any:
    operators = lines.operators(problem.coefficients, times.ts.dtype)
    start = lines.initial_state(problem, times.ts.dtype)
    return jax.jacfwd(lambda s: rate(lines, operators, problem.coefficients, s, times.start))(start)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DenseField:
    """The solution of an ODE by the solver's own interpolant, which is as accurate as its steps."""

    interpolation: Any
    times: Times

    @property
    def interval(self) -> tuple[Any, Any]:
        """The times between which the steps were taken."""
        return self.times.start, self.times.ts[-1]

    def __call__(self, t: Any) -> Any:
        return self.interpolation.evaluate(t)


class _Integration(NamedTuple):
    states: Any
    interpolation: Any
    steps: Any
    succeeded: Any


@functools.partial(jax.jit, static_argnames=("lines", "solver", "adjoint", "max_steps", "dense"))
def _integrate(
    lines: Lines,
    solver: Any,
    adjoint: Any,
    max_steps: int,
    dense: bool,
    problem: Problem,
    times: Times,
    tolerances: Any,
) -> _Integration:
    """States at the saved times. Complex states travel as pairs of real ones, which diffrax supports fully."""
    operators = lines.operators(problem.coefficients, times.ts.dtype)
    initial = lines.initial_state(problem, times.ts.dtype)
    is_complex = jnp.iscomplexobj(initial)

    def vector_field(t, y, _):
        state = jax.lax.complex(y[0], y[1]) if is_complex else y
        change = rate(lines, operators, problem.coefficients, state, t)
        return jnp.stack([change.real, change.imag]) if is_complex else change

    out = diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field),
        solver,
        times.start,
        times.ts[-1],
        None,
        jnp.stack([initial.real, initial.imag]) if is_complex else initial,
        saveat=diffrax.SaveAt(ts=times.ts, dense=dense),
        stepsize_controller=diffrax.PIDController(rtol=tolerances[0], atol=tolerances[1]),
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )
    states = jax.lax.complex(out.ys[:, 0], out.ys[:, 1]) if is_complex else out.ys
    return _Integration(states, out.interpolation, out.stats["num_steps"], out.result == diffrax.RESULTS.successful)


def _spectral_reference(problem: Problem, ts: Any, *, n: int, rtol: float) -> Solution:
    """n points at steps that meet rtol, against 2 n and a sixteenth of their tolerance: that bounds the error of the former."""
    coarse = Spectral(n=n, rtol=rtol).solve(problem, ts=ts)
    fine = Spectral(n=2 * n, rtol=coarse.stats.get("step_rtol", rtol) / 16, estimate=False).solve(problem, ts=ts)
    return _with_difference(coarse, fine)


def _adaptive_reference(
    problem: Problem, ts: Any, *, rtol: float, atol: float, n: int = 128, stiff: bool = False
) -> Solution:
    """Tolerances against a tenth of them, and n intervals against 2 n in space: the difference bounds the looser run's error."""
    eps = float(jnp.finfo(jnp.result_type(float)).eps)
    rtol, atol = max(rtol, 20 * eps), max(atol, eps)  # what the precision can follow
    solver = diffrax.Kvaerno5() if stiff else None
    loose = Adaptive(rtol=10 * rtol, atol=10 * atol, n=n, solver=solver, estimate=False).solve(problem, ts=ts)
    tight = Adaptive(rtol=rtol, atol=atol, n=2 * n, solver=solver, estimate=False).solve(problem, ts=ts)
    return _with_difference(loose.check(), tight.check())


def _with_difference(coarse: Solution, fine: Solution) -> Solution:
    every = tuple(max(round(len(b) / len(a)), 1) for a, b in zip(coarse.grid.values(), fine.grid.values(), strict=True))
    shared = fine.fields[(slice(None), slice(None), *(slice(None, None, step) for step in every))]
    # A kink's error counts for more among few points than among many: state the larger.
    few = (slice(None), slice(None), *(slice(None, None, max(len(x) // 256, 1)) for x in coarse.grid.values()))
    difference = jnp.maximum(
        relative_difference(coarse.fields, shared), relative_difference(coarse.fields[few], shared[few])
    )
    floor = jnp.maximum(difference, 10 * jnp.finfo(fine.fields.dtype).eps)
    return dataclasses.replace(fine, error_estimate=floor)


RECIPES["spectral"] = _spectral_reference
RECIPES["adaptive"] = _adaptive_reference
