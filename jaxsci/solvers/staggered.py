"""Incompressible flow with walls: the staggered finite-volume method."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, results_are_traced
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.problems import Cost, Problem, Solution
from jaxsci.problems.reference import RECIPES
from jaxsci.solvers import mac_stencils as stencils
from jaxsci.solvers.incompressible import flow_of, sides_of
from jaxsci.solvers.mac_flow import MacFlow, Operators, Values
from jaxsci.solvers.mac_grid import axes_of
from jaxsci.solvers.mac_nodes import NodalField, to_nodes
from jaxsci.solvers.mac_step import ADVECTIVE_LIMIT, DIFFUSIVE_LIMIT, MacStepper, advance
from jaxsci.solvers.semidiscrete import Times

_COURANT = 1.2  # that dt=None aims at
_MOST_TRIES = 6


@dataclasses.dataclass(frozen=True)
class Staggered:
    r"""Incompressible Navier-Stokes in velocity and pressure, with walls: finite volumes on a staggered grid.

    Space: conservative central differences of second order on the grid of Harlow and Welch, even or stretched.
    Time: Runge-Kutta for advection, Crank-Nicolson for diffusion, incremental pressure correction: second order. Pressure and
    diffusion are solved directly, by fast diagonalisation; the divergence is round-off.
    Sides: periodic; ``Dirichlet(u=.., v=..)`` for walls, moving lids and inflows; ``(Neumann(u=0, v=0), Dirichlet(p=0))`` for
    outflows; Neumann for single tangential components (no shear). Solids (`Problem`'s `solid`) by volume penalisation.

    Args:
      n: cells per axis, one even number or one per spatial axis in order.
      dt: the largest step; each interval between saved times is divided evenly. With None it is chosen from the Courant
        number, and reduced where the flow grows faster. None needs concrete numbers: under jit, grad or vmap give dt.
      stretch: by axis, how strongly the cells cluster at both ends: ``{"y": 1.5}`` for the tanh of that strength.
      nodes: by axis, the cell boundaries themselves, ``{"x": js.solvers.clustered(...)}``; they take the place of n there.
      solid_cells: width of the smooth edge of a solid, in cells.
      steady: stop stepping when the relative rate of change of the velocity falls below this; later saved times repeat the
        state. Under jit, grad or vmap all steps are taken.
      estimate: run once more with half the cells and twice the step for the error estimate; its time is in
        ``stats["estimate_seconds"]`` and not in the cost.
    Solution: at the nodes of the grid, walls included; the pressure has no mean where no side holds it. ``stats`` has ``dt``,
      ``steps``, ``cfl`` (the largest Courant number at the saved times), ``divergence`` (the largest, relative to the Courant
      rate), ``change`` (the rate of change at the end, relative to the velocity: small in a steady state), ``net_inflow`` (the
      share of what is prescribed that had to be corrected), and ``force`` ``[T, dims]`` where there is a solid.
    Error estimate: a third of the difference to the coarser run (Richardson), the larger of velocity and pressure.
    Fails when: the grid does not resolve the flow: central differences answer with wiggles, and the estimate is large.
    Reference: Harlow & Welch (1965), Phys. Fluids 8, 2182; Le & Moin (1991), J. Comput. Phys. 92, 369.
    Example:
      >>> import jaxsci as js
      >>> problem = js.problems.lid_driven_cavity(viscosity=0.1)
      >>> solution = js.solve(problem, js.Staggered(n=16, dt=0.05, estimate=False), ts=[0.0, 1.0])
      >>> solution.fields.shape, bool(solution["u"][-1].min() < -0.1)
      ((2, 3, 17, 17), True)
    """

    n: int | tuple[int, ...] = 64
    dt: float | None = None
    stretch: Mapping[str, float] | tuple[tuple[str, float], ...] = ()
    nodes: Mapping[str, Sequence[float]] | tuple[tuple[str, tuple[float, ...]], ...] = ()
    solid_cells: float = 1.0
    steady: float | None = None
    estimate: bool = True

    def __post_init__(self):
        sizes = self.n if isinstance(self.n, tuple) else (self.n,)
        if not all(is_whole(n) and n >= 4 and n % 2 == 0 for n in sizes):
            raise ValueError(f"Staggered: n must be even whole numbers >= 4, got {self.n!r}.")
        if self.dt is not None and not (math.isfinite(self.dt) and self.dt > 0):
            raise ValueError(f"Staggered: dt must be positive, got {self.dt!r}.")
        if not self.solid_cells > 0:
            raise ValueError(f"Staggered: solid_cells must be positive, got {self.solid_cells!r}.")
        if self.steady is not None and not self.steady > 0:
            raise ValueError(f"Staggered: steady must be a positive rate or None, got {self.steady!r}.")
        stretch, nodes = self._options()
        if not all(math.isfinite(value) and value > 0 for _, value in stretch):
            raise ValueError(f"Staggered: the strength of stretching must be positive, got {dict(stretch)!r}.")
        object.__setattr__(self, "stretch", stretch)  # hashable
        object.__setattr__(self, "nodes", nodes)

    def _options(self) -> tuple[tuple[tuple[str, float], ...], tuple[tuple[str, tuple[float, ...]], ...]]:
        """stretch and nodes in a form that can be hashed."""
        stretch = sorted((name, float(value)) for name, value in dict(self.stretch).items())
        return tuple(stretch), tuple(sorted((name, tuple(map(float, x))) for name, x in dict(self.nodes).items()))

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`. Deterministic: the key is not used."""
        del key
        with Stopwatch() as watch:
            flow = self.discretise(problem)
            times = Times.of(problem, ts)
            operators = flow.operators(times.ts.dtype)
            if results_are_traced(problem):
                if self.dt is None:
                    raise ValueError(
                        "Staggered(dt=None) finds its step from the flow, which needs concrete numbers. Under jit, grad or "
                        "vmap give the step: js.Staggered(n=..., dt=...); a first run outside reports one in stats['dt']."
                    )
                steps = _steps(times, self.dt)
                return _solution(problem, flow, times, steps, _run(flow, steps, operators, problem, times), jnp.nan, {})
            self._check(problem, flow, times)
            run, steps, tries = self._run(problem, flow, operators, times, progress)
            error, extra = math.nan, None
            if self.estimate:
                with Stopwatch() as extra:
                    error = self._difference(problem, flow, times, steps, run) / 3
        stats = {"tries": tries, "estimate_seconds": extra.wall_seconds if extra else 0.0}
        solution = _solution(problem, flow, times, steps, run, error, stats)
        return dataclasses.replace(solution, cost=watch.cost(without=extra))

    def stepper(self, problem: Problem) -> MacStepper:
        """See `jaxsci.stepper`."""
        if self.dt is None:
            raise ValueError("stepper: give the step, as in js.Staggered(n=64, dt=1e-2).")
        flow = self.discretise(problem)
        dtype = jnp.result_type(float)
        return MacStepper(flow, problem, jnp.asarray(self.dt, dtype), flow.operators(dtype))

    def discretise(self, problem: Problem) -> MacFlow:
        """The problem on its grid.

        Raises:
          ValueError: it is no incompressible flow, or its sides or sizes do not fit.
        """
        if problem.is_steady:
            raise ValueError(f"Staggered: {problem.name} is steady; give it a time derivative and step to the steady state.")
        flow = flow_of(problem.equation, problem.domain.space)
        sides = sides_of(problem, flow)
        ends = [(False, False) if side is None else (side[0].is_open, side[1].is_open) for side in sides]
        return MacFlow(axes_of(problem, self.n, *self._options(), ends), flow, sides, self.solid_cells)

    def _check(self, problem: Problem, flow: MacFlow, times: Times) -> None:
        net = abs(float(_net_inflow(flow, problem, jnp.asarray(times.start))))
        if net > 0.05:
            raise ValueError(
                f"Staggered: the sides of {problem.name} prescribe a net inflow of {net:.0%} of what flows through them, but "
                "the fluid is incompressible. Open a side, as in (js.Neumann(u=0, v=0), js.Dirichlet(p=0))."
            )
        longest = float(_gaps(times).max()) / _steps(times, self.dt) if self.dt is not None else 0.0
        limit = _diffusive_step(problem, flow)
        if longest > limit:
            raise ValueError(
                f"Staggered: on periodic boxes diffusion is explicit, and dt must be below {limit:.2e} here, got {longest:.2e}."
            )

    def _run(
        self, problem: Problem, flow: MacFlow, operators: Operators, times: Times, progress: Progress
    ) -> tuple[_Run, int, int]:
        """The run, its steps per interval, and how often it was tried."""
        if self.dt is not None:
            steps = _steps(times, self.dt)
            return jax.block_until_ready(_run(flow, steps, operators, problem, times, self.steady)), steps, 1
        dt = min(_first_step(problem, flow, operators, times), 0.9 * _diffusive_step(problem, flow))
        tries = 0
        while True:
            tries += 1
            steps = _steps(times, dt)
            run = jax.block_until_ready(_run(flow, steps, operators, problem, times, self.steady))
            largest = float(run.courant.max()) * float(_gaps(times).max()) / steps
            if progress is not None:
                progress(f"step {dt:.2e}: Courant number {largest:.2g}")
            if largest <= 0.9 * ADVECTIVE_LIMIT or tries == _MOST_TRIES:
                return run, steps, tries
            dt *= max(_COURANT / largest, 0.1) if math.isfinite(largest) else 0.25

    def _difference(self, problem: Problem, flow: MacFlow, times: Times, steps: int, run: _Run) -> float:
        """Relative difference to the run with half the cells and twice the step."""
        if any(axis.n % 2 or axis.n < 8 for axis in flow.axes):
            return math.nan
        coarse = dataclasses.replace(flow, axes=tuple(axis.coarser() for axis in flow.axes))
        other = _run(coarse, max(1, steps // 2), coarse.operators(times.ts.dtype), problem, times, self.steady)
        shared = run.fields[(slice(None), slice(None), *(slice(None, None, 2),) * len(flow.axes))]
        return float(_relative_difference(flow, problem.unknowns, other.fields, shared))


class _Run(NamedTuple):
    """A flow at its saved times."""

    fields: Any  # [T, unknowns, *nodes]
    courant: Any  # [T], of a unit step
    divergence: Any  # [T]
    change: Any  # [T]
    force: Any  # [T, dims], or None
    steps: Any = None  # [], taken in all


def _gaps(times: Times) -> np.ndarray:
    """Lengths of the intervals that end at the saved times; the first is zero where the start is saved."""
    return np.diff(np.asarray(times.ts), prepend=np.asarray(times.start))


def _steps(times: Times, dt: float) -> int:
    """Steps per interval such that none is longer than dt, a few more where that makes whole blocks of about their root."""
    steps = max(1, math.ceil(float(_gaps(times).max()) / dt * (1 - 1e-5)))
    return -(-steps // math.isqrt(steps)) * math.isqrt(steps)


def _first_step(problem: Problem, flow: MacFlow, operators: Operators, times: Times) -> float:
    """From the Courant number at the start; of a fluid at rest, a hundredth of the longest interval."""
    rate, longest = float(_start_rate(flow, operators, problem, times)), float(_gaps(times).max())
    return min(longest / 4, _COURANT / rate) if rate > 0 else longest / 100


@functools.partial(jax.jit, static_argnames=("flow",))
def _start_rate(flow: MacFlow, operators: Operators, problem: Problem, times: Times) -> Any:
    """The Courant number of a unit step at the start, lids and inflows counted at the start and at the end."""
    rates = [flow.courant(flow.initial(operators, problem, times.ts.dtype).velocity)]
    for t in (times.start, times.ts[-1]):
        walls = flow.walls(problem.coefficients, jnp.asarray(t))
        for i, axis in enumerate(flow.axes):
            held = [v for v in walls.normal[i] or () if v is not None]
            for j in range(len(flow.axes)):
                held += [v for kind, v in walls.ends(i, j) or () if kind == "dirichlet"]
            rates += [jnp.max(jnp.abs(v)) / axis.widths.min() for v in held]
    return jnp.max(jnp.stack(rates))


def _diffusive_step(problem: Problem, flow: MacFlow) -> float:
    if not flow.is_periodic:
        return math.inf
    fastest = sum(4 / axis.widths[0] ** 2 for axis in flow.axes)
    return DIFFUSIVE_LIMIT / (fastest * float(flow.viscosity(problem.coefficients, float)))


def _run(
    flow: MacFlow, steps: int, operators: Operators, problem: Problem, times: Times, steady: float | None = None
) -> _Run:
    keeps_start = bool(_gaps(times)[0] == 0)
    if results_are_traced(problem):  # may be differentiated
        return _compiled_run(flow, steps, keeps_start, operators, problem, times, None, None)
    limit = jnp.asarray(0.0 if steady is None else steady, times.ts.dtype)
    return _compiled_run(flow, None, keeps_start, operators, problem, times, jnp.asarray(steps), limit)


@functools.partial(jax.jit, static_argnames=("flow", "steps", "keeps_start"))
def _compiled_run(
    flow: MacFlow,
    steps: int | None,
    keeps_start: bool,
    operators: Operators,
    problem: Problem,
    times: Times,
    count: Any,
    steady: Any,
) -> _Run:
    steps = count if steps is None else steps
    ts = jnp.asarray(times.ts)
    starts = jnp.concatenate([jnp.asarray(times.start)[None], ts[:-1]])
    initial = flow.initial(operators, problem, ts.dtype)

    @jax.checkpoint
    def interval(values, span):
        start, end = span
        values, taken = advance(flow, operators, problem, values, start, (end - start) / steps, steps, steady)
        return values, (values, taken)

    @jax.checkpoint
    def saved(pair):
        return _saved(flow, operators, problem, *pair)

    first = 1 if keeps_start else 0
    _, (states, taken) = jax.lax.scan(interval, initial, (starts[first:], ts[first:]))
    if keeps_start:
        states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), initial, states)
    return jax.lax.map(saved, (states, ts))._replace(steps=jnp.sum(taken))


def _saved(flow: MacFlow, operators: Operators, problem: Problem, values: Values, t: Any) -> _Run:
    velocity = values.velocity
    pressure = flow.pressure(operators, problem, velocity, t)
    resistances = flow.resistance(problem, t.dtype)
    slopes = stencils.gradient(flow.axes, pressure, flow.walls(problem.coefficients, t).pressure)
    rates = [r - g for r, g in zip(flow.rate(problem, velocity, t, resistances), slopes, strict=True)]
    size = lambda arrays: jnp.sqrt(sum(jnp.sum(a**2) for a in arrays))  # noqa: E731
    norm, courant = size(velocity), flow.courant(velocity)
    tiny = jnp.finfo(t.dtype).tiny
    return _Run(
        to_nodes(flow, problem, Values(velocity, pressure), t),
        courant,
        jnp.max(jnp.abs(stencils.divergence(flow.axes, velocity))) / jnp.maximum(courant, tiny),
        size(rates) / jnp.maximum(norm, tiny),
        None if problem.solid is None else flow.force_on_solid(problem, velocity),
    )


@functools.partial(jax.jit, static_argnames=("flow",))
def _net_inflow(flow: MacFlow, problem: Problem, t: Any) -> Any:
    return flow.net_inflow(problem.coefficients, t)


def _solution(
    problem: Problem, flow: MacFlow, times: Times, steps: int, run: _Run, error: Any, more: dict[str, Any]
) -> Solution:
    dt = float(_gaps(times).max()) / steps
    stats: dict[str, Any] = {
        "dt": dt,
        "steps": run.steps,
        "cfl": jnp.max(run.courant) * dt,
        "divergence": jnp.max(run.divergence),
        "change": run.change[-1],
        "net_inflow": _net_inflow(flow, problem, jnp.asarray(times.ts[-1])),
    }
    if run.force is not None:
        stats["force"] = run.force
    ts = jnp.asarray(times.ts)
    grid = {name: jnp.asarray(x, ts.dtype) for name, x in flow.grid().items()}
    field = NodalField(flow.axes, ts, run.fields)
    return Solution(problem, ts, grid, run.fields, field, jnp.asarray(error, ts.dtype), stats | more, Cost())


def force_on_solid(solution: Solution) -> Any:
    """The force of the fluid on the solids of a problem over the fluid's density, drag along x first.

    The integral of what holds the fluid back inside them; exact in momentum. Differentiable like the solution.

    Args:
      solution: by `Staggered`, of a problem with a `solid`.
    Returns:
      ``[T, dims]`` at the saved times; in three dimensions per whole span.
    Raises:
      ValueError: the problem has no solid.
    Example:
      >>> import jaxsci as js
      >>> solution = js.solve(js.problems.cylinder(), js.Staggered(n=(44, 8), dt=0.05, estimate=False), ts=[0.0, 0.5])
      >>> bool(js.solvers.force_on_solid(solution)[-1, 0] > 0)
      True
    """
    if "force" not in solution.stats:
        raise ValueError(
            f"force_on_solid: {solution.problem.name} has no solid, or was not solved by js.Staggered. Give js.Problem(solid=...)"
            " and solve it by js.Staggered(...)."
        )
    return solution.stats["force"]


def _relative_difference(flow: MacFlow, unknowns: tuple[str, ...], a: Any, b: Any) -> Any:
    """Of the velocity as a whole and of the pressure, each over all times; the larger."""
    moving = np.array([name in flow.flow.velocity for name in unknowns])
    norm = lambda v: jnp.sqrt(jnp.sum(v**2))  # noqa: E731
    speed = norm(b[:, moving])
    # A pressure is compared with the larger of itself and the dynamic pressure: it may vanish.
    scale = jnp.maximum(norm(b[:, ~moving]), norm(jnp.sum(b[:, moving] ** 2, axis=1)))
    return jnp.maximum(norm((a - b)[:, moving]) / speed, norm((a - b)[:, ~moving]) / scale)


def _staggered_reference(problem: Problem, ts: Any, **options: Any) -> Solution:
    """A run whose stated error is that of the run with half its cells, from the difference of the two."""
    solution = Staggered(**options).solve(problem, ts=ts)
    return dataclasses.replace(solution, error_estimate=3 * solution.error_estimate)


RECIPES["staggered"] = _staggered_reference
