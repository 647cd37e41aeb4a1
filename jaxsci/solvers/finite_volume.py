"""Finite volumes with limiters: conservation laws with shocks, porous media, reaction and diffusion between walls."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, results_are_traced
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.equations.conservation import balance_law
from jaxsci.equations.evaluation import partials_in
from jaxsci.problems import Cost, Problem, Solution
from jaxsci.problems.reference import RECIPES
from jaxsci.solvers.hermite import locate
from jaxsci.solvers.marching import March, march_with_found_steps, march_with_static_steps
from jaxsci.solvers.reconstruction import LIMITERS, slopes
from jaxsci.solvers.semidiscrete import Times, relative_difference
from jaxsci.solvers.volumes import Volumes

_FEWEST = 4  # cells per axis


@dataclasses.dataclass(frozen=True)
class FiniteVolume:
    r"""Finite volumes for balance laws: shocks, walls and diffusion, conservative to round-off.

        d/dt M(u) + d/dx F(u) + ... = d/dx (D u_x) + ... - S(u)

    with densities, fluxes and sources taken from the equation. Space: limited linear reconstruction and the HLL flux, whose
    wave speeds are the eigenvalues of the flux Jacobian, derived from the equation too. Time: Heun's method for fluxes and
    sources, an L-stable implicit one for diffusion along each axis, in Strang's order. Second order where the field is
    smooth, first at shocks, which travel at the right speed.

    Args:
      n: cells per axis, one number or one per spatial axis in order, at least 4.
      limiter: ``"van_leer"``, ``"mc"`` (sharper), ``"minmod"`` (more dissipative), or ``"none"`` for smooth fields.
      cfl: the Courant number, sum over the axes of speed * dt / cell, that each step is chosen by. Above 1/2 the total
        variation may grow, above 1 the method is unstable.
      rtol: tolerance of a step in diffusion and sources (of the first-order method within it, relative L2).
      dt: the largest step instead; each interval between saved times is divided evenly. Reverse mode (``jax.grad``) needs it.
      max_steps: where to give up with dt=None; ``solution.check()`` then says so.
      estimate: solve with half and a quarter of the cells too, for the error estimate (time in
        ``stats["estimate_seconds"]``).
    Walls: `Dirichlet` for every unknown is an inflow, `Outflow` lets waves leave, and `Neumann` holds a slope. An unknown
      without a condition on a wall has slope zero there: ``Dirichlet(velocity=0)`` alone reflects a gas.
    Solution: ``fields`` are cell averages, ``grid`` has the centres of the cells; `evaluate` takes the linear profile in each
      cell, limited, and is linear between saved times.
    Error estimate: of the saved fields, from three numbers of cells: second order where their differences fall at least
      threefold, else order 1/2, that of a jump in L2. ``stats`` has the number of steps, the smallest one (``dt``), the
      largest Courant number and the least value of every unknown (with dt given: at the saved times).
    Raises:
      ValueError: the equation is no balance law, or has a diffusion that couples unknowns.
    Reference: van Leer (1979), J. Comput. Phys. 32, 101; Harten, Lax & van Leer (1983), SIAM Rev. 25, 35.
    Example:
      >>> import jaxsci as js
      >>> burgers = js.Equation(lambda u: u.t + (u * u / 2).x)
      >>> problem = js.Problem(burgers, js.Box(t=(0, 1), x=(0, 2)), initial={"u": lambda x: js.sin(3.141592653589793 * x)})
      >>> solution = js.solve(problem, js.FiniteVolume(n=64))
      >>> solution.fields.shape, bool(abs(solution["u"].sum(axis=-1)).max() < 1e-4)
      ((51, 1, 64), True)
    """

    n: int | tuple[int, ...] = 256
    limiter: str = "van_leer"
    cfl: float = 0.5
    rtol: float = 1e-4
    dt: float | None = None
    max_steps: int = 1_000_000
    estimate: bool = True

    def __post_init__(self):
        sizes = self.n if isinstance(self.n, tuple) else (self.n,)
        if not all(is_whole(n) and n >= _FEWEST for n in sizes):
            raise ValueError(f"FiniteVolume: n must be whole numbers >= {_FEWEST}, got {self.n!r}.")
        if self.limiter not in LIMITERS:
            raise ValueError(f"FiniteVolume: limiter must be one of {', '.join(LIMITERS)}, got {self.limiter!r}.")
        for name, value in {"cfl": self.cfl, "rtol": self.rtol, "dt": 1.0 if self.dt is None else self.dt}.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"FiniteVolume: {name} must be positive, got {value!r}.")

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`. Deterministic: the key is not used."""
        del key, progress
        with Stopwatch() as watch:
            volumes, times = volumes_of(problem, self.n, self.limiter), Times.of(problem, ts)
            march = jax.block_until_ready(self._march(volumes, problem, times))
            solution = _solution(volumes, problem, times, march)
        if results_are_traced(problem):
            return solution
        extra = None
        if self.estimate:
            with Stopwatch() as extra:
                solution = dataclasses.replace(solution, error_estimate=self._estimate(volumes, problem, times, march))
        stats = solution.stats | {"estimate_seconds": extra.wall_seconds if extra else 0.0}
        return dataclasses.replace(solution, stats=stats, cost=watch.cost())

    def _march(self, volumes: Volumes, problem: Problem, times: Times, coarser: int = 1) -> March:
        if self.dt is None:
            rtol = self.rtol * coarser**2  # of steps that are longer by this factor
            return march_with_found_steps(volumes, self.cfl, rtol, self.max_steps, problem, times)
        gaps = np.diff(np.asarray(times.ts), prepend=np.asarray(times.start))
        steps = max(1, math.ceil(float(gaps.max()) / (coarser * self.dt) * (1 - 1e-5)))
        return march_with_static_steps(volumes, steps, bool(gaps[0] == 0), problem, times)

    def _estimate(self, volumes: Volumes, problem: Problem, times: Times, march: March) -> Any:
        """The error of the saved fields, from the differences to fewer cells."""
        differences, finer = [], march.states
        for coarser in (2, 4):
            fewer = tuple(n // coarser for n in volumes.shape)
            if min(fewer) < _FEWEST:
                break
            other = dataclasses.replace(volumes, axes=tuple((*a[:3], n) for a, n in zip(volumes.axes, fewer, strict=True)))
            states = self._march(other, problem, times, coarser).states
            differences.append(float(relative_difference(_averages(finer, states.shape), states)))
            finer = states
        if not differences:
            return jnp.asarray(jnp.nan, times.ts.dtype)
        ratio = differences[1] / max(differences[0], 1e-300) if len(differences) > 1 else 0.0
        falls = min(ratio, 4.0) if ratio > 3 else math.sqrt(2)  # a jump has order 1/2 in L2, and its differences scatter
        return jnp.asarray(differences[0] / (falls - 1), times.ts.dtype)


def volumes_of(problem: Problem, n: int | tuple[int, ...], limiter: str) -> Volumes:
    """The problem on cells.

    Raises:
      ValueError: it is steady, has no space, is no balance law, or its diffusion couples unknowns.
    """
    space, name = problem.domain.space, problem.name
    if problem.is_steady or not space:
        raise ValueError(
            f"FiniteVolume: {name} {'is steady' if space else 'has no space'}; it solves u_t + (f(u))_x + ... = 0."
        )
    problem.check_values("FiniteVolume")
    if problem.solid is not None:
        raise ValueError(f"FiniteVolume: {name} has a solid, which this method does not carry; use js.Staggered.")
    sizes = n if isinstance(n, tuple) else (n,) * len(space)
    if len(sizes) != len(space):
        raise ValueError(f"FiniteVolume: n has {len(sizes)} entries for the {len(space)} axes {', '.join(space)}.")
    law = balance_law(problem.equation)
    for (row, axis), flux in law.diffusion.items():
        names = {u for u, _ in partials_in(flux)}
        if len(names | {u for u, _ in partials_in(law.densities[row])}) > 1:
            raise ValueError(
                f"FiniteVolume: in equation {row + 1} of {name} the diffusion along {axis} couples the unknowns "
                f"{', '.join(sorted(names))}, which its implicit steps do not carry: u_t and (D(u) u_{axis})_{axis} of one "
                "unknown in each equation."
            )
    axes = tuple((axis, *problem.domain[axis], size) for axis, size in zip(space, sizes, strict=True))
    volumes = Volumes(problem.equation, axes, tuple(problem.boundary[axis] for axis in space), limiter)
    if len(problem.unknowns) == 1:
        for axis in space:
            for wall in problem.walls(axis):
                if wall.kind != "outflow" and not wall.for_unknowns(problem.unknowns):
                    raise ValueError(f"FiniteVolume: {name} has no condition on a wall of {axis}.")
    return volumes


def _averages(fields: Any, shape: tuple[int, ...]) -> Any:
    """Averages ``[T, unknowns, *cells]`` over fewer cells, whose faces may fall anywhere."""
    for axis in range(2, fields.ndim):
        many, few = fields.shape[axis], shape[axis]
        edges = np.arange(few + 1) * many / few
        overlap = np.minimum(edges[1:, None], np.arange(1, many + 1)) - np.maximum(edges[:-1, None], np.arange(many))
        weights = jnp.asarray(np.maximum(overlap, 0) * few / many, fields.dtype)
        fields = jnp.moveaxis(jnp.tensordot(fields, weights, axes=(axis, 1)), -1, axis)
    return fields


@functools.partial(jax.jit, static_argnames=("volumes",))
def _profiles(volumes: Volumes, problem: Problem, times: Times, states: Any) -> Any:
    """Limited differences across every cell along every axis, ``[T, axes, unknowns, *cells]``."""

    def at_time(pair):
        u, t = pair
        out = []
        for i in range(len(volumes.axes)):
            extended = volumes.extend(i, jnp.moveaxis(u, 1 + i, -1), 1, t, problem.coefficients)
            out.append(jnp.moveaxis(slopes(extended, volumes.limiter), -1, 1 + i))
        return jnp.stack(out)

    return jax.lax.map(at_time, (states, times.ts))


def _solution(volumes: Volumes, problem: Problem, times: Times, march: March) -> Solution:
    dtype = times.ts.dtype
    field = VolumeField(volumes, times, march.states, _profiles(volumes, problem, times, march.states))
    stats = {"steps": march.steps, "dt": march.smallest, "courant": march.courant, "succeeded": march.succeeded}
    stats |= {f"least_{u}": march.lowest[k] for k, u in enumerate(problem.unknowns)}
    if not results_are_traced(problem):
        kinds = {"steps": int, "succeeded": bool}
        stats = {name: kinds.get(name, float)(value) for name, value in stats.items()}
    grid = {name: jnp.asarray(x, dtype) for name, x in volumes.grid().items()}
    return Solution(problem, jnp.asarray(times.ts), grid, march.states, field, jnp.asarray(jnp.nan, dtype), stats, Cost())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VolumeField:
    """Cell averages as a field of one point: a limited linear profile in each cell, linear between saved times."""

    volumes: Volumes = dataclasses.field(metadata={"static": True})
    times: Times
    averages: Any  # [T, unknowns, *cells]
    differences: Any  # [T, axes, unknowns, *cells]

    @property
    def interval(self) -> tuple[Any, Any]:
        """The times between which there is something to interpolate."""
        return self.times.ts[0], self.times.ts[-1]

    def __call__(self, t: Any, *point: Any) -> Any:
        cells, offsets = [], []
        for (_, lower, upper, n), x in zip(self.volumes.axes, point, strict=True):
            position = (x - lower) / (upper - lower) * n
            cell = jnp.clip(jnp.floor(position).astype(int), 0, n - 1)
            cells.append(cell)
            offsets.append(position - cell - 0.5)
        ts = jnp.asarray(self.times.ts)
        k = locate(ts, t)
        weight = (t - ts[k]) / (ts[k + 1] - ts[k])

        def at(k):
            value = self.averages[(k, slice(None), *cells)]
            for i, offset in enumerate(offsets):
                value = value + offset * self.differences[(k, i, slice(None), *cells)]
            return value

        return (1 - weight) * at(k) + weight * at(k + 1)


def _finite_volume_reference(problem: Problem, ts: Any, *, n: int, rtol: float) -> Solution:
    return FiniteVolume(n=n, rtol=rtol).solve(problem, ts=ts).check()


RECIPES["finite_volume"] = _finite_volume_reference
