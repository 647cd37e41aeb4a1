"""Trajectories made by a solver: many runs of one equation, in batches that fit in memory, with what they cost."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import ArrayLike, Float, Int, PRNGKeyArray

from jaxsci._checks import check_keys, is_traced, is_whole
from jaxsci._timing import Cost, Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.equations.evaluation import coordinates_in
from jaxsci.problems import Problem, stepper
from jaxsci.solvers import Spectral, Stepper
from jaxsci.surrogates.resample import resample, resampling_fault
from jaxsci.surrogates.stepper import components
from jaxsci.surrogates.trajectories import Trajectories

Family = Callable[[Key], Problem]

_BATCH_BYTES = 2**28  # of a batch in memory by default
_WORKING_ARRAYS = 24  # of the size of a state: stages of a step and their transforms
_TOLERANCE = 1e-6  # relative, of steps that divide a time


class Simulated(NamedTuple):
    """What `simulate` made.

    Attributes:
      data: the `Trajectories`.
      cost: seconds of compiling (``compile_seconds``) and of drawing, stepping and resampling (``solve_seconds``).
      first_bad_step: for each key the solver's step, counted from the start, at whose end the first save that is not finite was
        made; -1 for a run that is in the data.
    """

    data: Trajectories
    cost: Cost
    first_bad_step: Int[np.ndarray, " keys"]

    def __repr__(self) -> str:
        lost = int((self.first_bad_step >= 0).sum())
        return f"Simulated({self.data!r}, {self.cost.total_seconds:.3g} s" + (f", {lost} runs dropped)" if lost else ")")


def simulate(
    family: Family,
    keys: PRNGKeyArray,
    method: Spectral,
    *,
    n: int | tuple[int, ...],
    dt: float,
    steps: int,
    skip: float = 0.0,
    coefficients: Mapping[str, Float[ArrayLike, "..."]] | None = None,
    batch: int | None = None,
    drop: bool = False,
    mesh: Mesh | None = None,
    progress: Progress = None,
) -> Simulated:
    """Solve the problem of every key from its start, and save every dt on the grid of n intervals.

    Runs are stepped together in batches, one program for all of them. What a run is depends on its key alone; the size of the
    batch changes its numbers by round-off. The equation's linear tables are made once where no coefficient of it differs between
    the runs, and else once a run.

    Args:
      family: a pure function, key -> Problem, under vmap as well: draws of one equation with other starts and other scalar
        coefficients. ``lambda key: problem`` has one run.
      keys: ``[runs]``, ``jax.random.split(jax.random.key(0), runs)``.
      method: the solver and its step, ``js.Spectral(n=, dt=)``: choose it by its own error, as truth.
      n: grid intervals of the saves, at most the solver's; fields are resampled by their Fourier series (`resample`).
      dt: time between saves, a multiple of the solver's step.
      steps: saves after the first: a run has steps + 1.
      skip: time from the problem's start to the first save, in which transients die out.
      coefficients: values that replace the family's, numbers or ``[runs]``.
      batch: runs at a time; by default what 256 MiB hold, about.
      drop: leave out runs that are not finite, and say so, instead of raising.
      mesh: a `jax.sharding.Mesh` with one axis, over whose devices the runs of a batch are spread.
      progress: called with a line of text for every batch.
    Returns:
      A `Simulated`. Its ``data.numbers`` hold the scalar coefficients of the equation and of the walls in which the runs differ;
      ``data.problem`` is that of the first key.
    Raises:
      TypeError: a method that is no `Spectral`, a family that gives no `Problem`.
      ValueError: steps that do not divide dt or skip, grids that do not fit, runs that differ in a coefficient that is no number,
        a skip where the equation depends on t itself, or a run that blew up (which, when, and the cure).
    Example:
      >>> import jax, jaxsci as js
      >>> keys = jax.random.split(jax.random.key(0), 4)
      >>> made = js.surrogates.simulate(js.problems.stirred_vorticity, keys, js.Spectral(n=32, dt=0.05), n=16, dt=0.1, steps=5)
      >>> made.data
      Trajectories(stirred_vorticity, fields (4, 6, 1, 16, 16) float32, dt 0.1)
    """
    with Stopwatch() as watch:
        plan = _plan(family, keys, method, n, dt, steps, skip, coefficients or {})
        fields, bad = _run_all(plan, keys, batch, mesh, progress)
    lost = np.flatnonzero(bad >= 0)
    if len(lost) and (not drop or len(lost) == len(bad)):
        i = int(lost[0])
        raise ValueError(
            f"simulate: {len(lost)} of {len(bad)} runs of {plan.stepper.problem.name} are not finite, run {i} first, at step "
            f"{bad[i]}; take a smaller step than dt={method.dt:g} or a finer grid than n={method.n}"
            + ("." if drop else ", or drop=True to leave such runs out.")
        )
    kept = bad < 0
    if len(lost) and progress is not None:
        progress(f"{len(lost)} of {len(bad)} runs were not finite and are left out: {', '.join(map(str, lost[:8]))}")
    numbers = {name: values[kept] for name, values in plan.numbers.items()}
    data = Trajectories(plan.stepper.problem, jnp.asarray(fields if kept.all() else fields[kept]), numbers, float(dt))
    return Simulated(data, watch.cost(), bad)


@dataclasses.dataclass(frozen=True)
class _Schedule:
    """What is static in the program of a batch."""

    varying: tuple[str, ...]  # the coefficients that differ between the runs and that the stepper's tables depend on
    n: tuple[int, ...]
    skip: int  # steps before the first save
    every: int  # steps between saves
    saves: int


class _Plan(NamedTuple):
    schedule: _Schedule
    stepper: Stepper  # of the first key's problem
    own: list[
        dict[str, Any]
    ]  # of each run, the coefficients that it has for itself: those that vary, and what only its start has
    numbers: dict[str, Any]  # [runs] each


def _plan(
    family: Any, keys: Any, method: Any, n: Any, dt: Any, steps: Any, skip: Any, coefficients: Mapping[str, Any]
) -> _Plan:
    """Everything that can be wrong is found here, before anything long is computed."""
    if not isinstance(method, Spectral) or method.dt is None:
        raise TypeError(f"simulate: the method must be js.Spectral(n=..., dt=...) with its step, got {method!r}.")
    if not callable(family):
        raise TypeError(f"simulate: the family must be a function, key -> Problem, got {type(family).__name__}.")
    if getattr(keys, "ndim", 0) < 1 or not len(keys):
        raise ValueError("simulate: keys must be one or more, jax.random.split(jax.random.key(0), runs).")
    if not (is_whole(steps) and steps >= 1):
        raise ValueError(f"simulate: steps must be a whole number >= 1, got {steps!r}.")
    every, spin_up = _whole("dt", dt, method.dt, least=1), _whole("skip", skip, method.dt, least=0)
    drawn = _drawn(family, keys)
    first = drawn[0]
    if spin_up and depends_on_time(first):
        raise ValueError(f"simulate: {first.name} depends on t itself, so that its runs begin at its start; leave skip out.")
    told = _told(coefficients, first, len(keys))
    drawn = [problem.with_coefficients(**{name: v[i] for name, v in told.items()}) for i, problem in enumerate(drawn)]
    dynamic = _dynamic(first)
    varying = {name: values for name in dynamic if (values := _values(name, drawn)) is not None}
    own = [name for name in first.coefficients if name in varying or name not in dynamic]
    solver = stepper(drawn[0], method)
    schedule = _Schedule(tuple(varying), _sizes(solver, n), spin_up, every, steps + 1)
    return _Plan(schedule, solver, [{name: problem.coefficients[name] for name in own} for problem in drawn], varying)


def _told(coefficients: Mapping[str, Any], problem: Problem, runs: int) -> dict[str, list[Any]]:
    """Values in every run of the coefficients that replace the family's."""
    check_keys("coefficient", coefficients, problem.coefficients)
    told = {}
    for name, value in coefficients.items():
        if np.shape(value) not in ((), (runs,)):
            raise ValueError(
                f"simulate: {name} must be a number or one for each of {runs} runs, got shape {np.shape(value)}."
            )
        told[name] = list(np.asarray(value)) if np.ndim(value) else [value] * runs
    return told


def _values(name: str, drawn: list[Problem]) -> np.ndarray | None:
    """A coefficient's values ``[runs]``; None where it is the same in all.

    Raises:
      ValueError: it differs and is no number.
    """
    given = [problem.coefficients[name] for problem in drawn]
    leaves = [jax.tree.leaves(value) for value in given]
    if all(a is b or np.array_equal(a, b) for run in leaves[1:] for a, b in zip(run, leaves[0], strict=True)):
        return None
    if any(np.ndim(value) if jax.tree.structure(value).num_nodes == 1 else True for value in given):
        raise ValueError(f"simulate: runs may differ in scalar coefficients; {name} differs and is no number.")
    return np.asarray(given, jnp.result_type(float))


def _whole(what: str, value: Any, step: float, least: int) -> int:
    count = round(value / step) if isinstance(value, int | float) and math.isfinite(value) else -1
    if count < least or abs(count * step - value) > _TOLERANCE * max(value, step):
        raise ValueError(
            f"simulate: {what} must be a multiple of the solver's step {step:g}, {least} or more, got {value!r}."
        )
    return count


def depends_on_time(problem: Problem) -> bool:
    """Whether its equation or its conditions at the walls name t."""
    walls = [wall for axis in problem.domain.space for wall in problem.walls(axis)]
    formulas = [formula for wall in walls for formula in wall.for_unknowns(problem.unknowns).values()]
    return any("t" in coordinates_in(residual.formula) for residual in problem.equation.residuals) or any(
        "t" in formula.coordinates for formula in formulas
    )


def _dynamic(problem: Problem) -> set[str]:
    """The coefficients that more than the start depends on."""
    only_starts = {name for formula in problem.initial.values() for name in formula.arguments}
    equation = problem.equation
    used = set(equation.coefficients) | set(equation.functions)
    for axis in problem.domain.space:
        for wall in problem.walls(axis):
            used |= {name for formula in wall.for_unknowns(problem.unknowns).values() for name in formula.arguments}
    return {name for name in problem.coefficients if name in used or name not in only_starts}


def _sizes(solver: Stepper, n: Any) -> tuple[int, ...]:
    problem = solver.problem
    space = problem.domain.space
    sizes = n if isinstance(n, tuple) else (n,) * len(space)
    walls = tuple(bool(problem.walls(axis)) for axis in space)
    fine = tuple(len(x) - wall for x, wall in zip(solver.grid.values(), walls, strict=True))
    if len(sizes) != len(space) or not all(is_whole(size) and size >= 4 for size in sizes):
        raise ValueError(f"simulate: n must be whole numbers >= 4, one or one for each of {', '.join(space)}, got {n!r}.")
    if any(size > points for size, points in zip(sizes, fine, strict=True)):
        raise ValueError(f"simulate: the saves' grid n={n} is finer than the solver's, {fine}; give the solver a larger n.")
    fault = resampling_fault(space, walls, fine, sizes)
    if fault:
        raise ValueError(f"simulate: {fault}.")
    return sizes


def _drawn(family: Family, keys: Any) -> list[Problem]:
    """The problem of each key, drawn one by one: what a run starts from must not depend on the others."""
    draw, constants = _compiled(family)
    return [
        draw(key).with_coefficients(**{name: value for name, (value,) in constants.items()}) for key in keys
    ]  # what depends on no key stays as it was given: a Python number


@functools.lru_cache(maxsize=32)
def _compiled(family: Family) -> tuple[Callable[[Key], Problem], dict[str, Any]]:
    """The family as one program, and its coefficients that hold no key, in tuples, known once it has been called."""
    constants = {}

    def draw(key):
        problem = family(key)
        if not isinstance(problem, Problem):
            raise TypeError(f"simulate: the family must return a js.Problem, got {type(problem).__name__}.")
        constants.update({name: (value,) for name, value in problem.coefficients.items() if not is_traced(value)})
        return problem

    return jax.jit(draw), constants


def _run_all(plan: _Plan, keys: Any, batch: int | None, mesh: Mesh | None, progress: Progress) -> tuple[Any, Any]:
    """Fields ``[runs, saves, channels, *space]`` and the first bad steps ``[runs]``, on the host."""
    schedule, runs = plan.schedule, len(keys)
    devices = 1
    if mesh is not None:
        if not isinstance(mesh, Mesh) or len(mesh.axis_names) != 1:
            raise TypeError(
                f"simulate: mesh must be a jax.sharding.Mesh with one axis, jax.make_mesh((8,), ('x',)); got {mesh!r}."
            )
        devices = mesh.size
    if batch is not None and not (is_whole(batch) and batch >= 1):
        raise ValueError(f"simulate: batch must be a whole number >= 1, got {batch!r}.")
    size = min(batch or _affordable(plan) * devices, runs)
    size = math.ceil(runs / math.ceil(runs / size))  # batches of one size, and of as little padding as can be
    size = math.ceil(size / devices) * devices
    place, solver = (lambda tree, spec: tree), plan.stepper
    if mesh is not None:
        place = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))  # noqa: E731
        solver = place(solver, PartitionSpec())
    fields, bad = None, np.empty(runs, int)
    with Stopwatch() as watch:
        for first in range(0, runs, size):
            here = np.minimum(np.arange(first, first + size), runs - 1)  # the last batch is filled up with its last run
            own = jax.tree.map(lambda *leaves: np.stack(leaves), *[plan.own[i] for i in here])
            found, steps = _run_batch(
                schedule, mesh, size, solver, place(own, PartitionSpec(*(mesh.axis_names if mesh else ())))
            )
            if fields is None:
                fields = np.empty((runs, *found.shape[1:]), found.dtype)
            found, steps, count = np.asarray(found), np.asarray(steps), min(size, runs - first)
            fields[first : first + count], bad[first : first + count] = found[:count], steps[:count]
            if progress is not None:
                done = first + count
                left = watch.elapsed / done * (runs - done)
                progress(f"{done} of {runs} runs simulated in {watch.elapsed:.1f} s, about {left:.1f} s left")
    return fields, bad


def _affordable(plan: _Plan) -> int:
    """Runs of a batch within the memory of one."""
    solver, schedule = plan.stepper, plan.schedule
    itemsize = jnp.dtype(jnp.result_type(float)).itemsize
    channels = len(solver.lines.component_names)
    state = math.prod(len(x) for x in solver.grid.values()) * channels * itemsize
    saves = math.prod(schedule.n) * channels * itemsize * schedule.saves
    return max(1, _BATCH_BYTES // (_WORKING_ARRAYS * state + 2 * saves))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _run_batch(schedule: _Schedule, mesh: Mesh | None, size: int, solver: Stepper, own: Any) -> tuple[Any, Any]:
    def many(solver, own):
        return jax.vmap(lambda mine: _run(schedule, solver, mine), axis_size=size)(own)

    if mesh is None:
        return many(solver, own)
    size //= mesh.size
    runs = PartitionSpec(mesh.axis_names[0])
    over = jax.shard_map(many, mesh=mesh, in_specs=(PartitionSpec(), runs), out_specs=runs, check_vma=False)
    return over(solver, own)


def _run(schedule: _Schedule, solver: Stepper, own: Mapping[str, Any]) -> tuple[Any, Any]:
    """One run: its saves, and the first step whose save is not finite."""
    if schedule.varying:
        solver = solver.with_coefficients(**{name: own[name] for name in schedule.varying})
    solver = dataclasses.replace(solver, problem=solver.problem.with_coefficients(**own))

    def save(state, steps):
        state = jax.lax.fori_loop(0, steps, lambda _, s: solver.step(s), state)
        return state, resample(components(solver, state), solver.problem, schedule.n)

    counts = np.array([schedule.skip] + [schedule.every] * (schedule.saves - 1))
    _, fields = jax.lax.scan(save, solver.initial(), counts)
    finite = jnp.isfinite(fields).all(axis=range(1, fields.ndim))
    return fields, jnp.where(finite.all(), -1, schedule.skip + schedule.every * jnp.argmin(finite))
