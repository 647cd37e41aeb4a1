"""Random features fitted by least squares: a neural field whose hidden layer is frozen, so that fitting is linear algebra."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.learning.feature_fit import Fitted, Fitter
from jaxsci.learning.features import Slab, Stretch, basis, draw, stretched_axis
from jaxsci.learning.neural import advise_float64, require_concrete
from jaxsci.learning.steady import solve_steady
from jaxsci.problems import Problem, Solution, saved_times
from jaxsci.problems.solution import sample

_SHORTEST = 1 / 128  # slab, as a share of the whole time
_FAILED = 1e-2  # relative residual above which a fit counts as failed: its slab is cut until one succeeds


@dataclasses.dataclass(frozen=True)
class RandomFeatures:
    r"""A field  G + D sum_j c_j tanh(a_j . z + b_j)  with random, frozen a_j and b_j, whose c_j solve the equation in least
    squares: one solve where the equation is linear, Gauss-Newton where it is not.

    Initial and boundary conditions hold exactly, by the lift G and the distance D. Time is cut into slabs, whose length
    follows the residual; each starts from the field that the one before has reached. On an interval with walls the features
    see a stretched coordinate, whose centre and steepness are chosen slab by slab, by trial fits with a third of the
    features, among candidates at the steepest places of the field: nothing about the solution is told to the method.

    Args:
      n: number of features per unknown and slab.
      tolerance: residual relative to its largest term that decides the length of the time slabs. Slabs are halved while it
        is exceeded and halving helps.
      scale: of the random weights, for inputs in [-1, 1]; by default chosen by trial.
      points: collocation points per slab; by default four per feature.
      budget: seconds of wall time after which slabs are no longer refined.
      grid: points per axis of the saved fields.
      continuation: of a steady nonlinear problem, a coefficient and the values, from easy to hard, at which it is solved
        before its own: ``("viscosity", (0.01, 0.003))``.
      corners: of a steady problem: whether the corners of the box get features of their own, in the square root of the
        distance. They help where the solution is not smooth there, as between walls at rest.
      lifts: of a steady problem, by unknown, a function that takes what is prescribed; see `learning.HardConditions`.
    Error estimate: as in `Neural`.
    Fails when: a front moves across many widths within a slab; many space dimensions (the number of features that a given
      accuracy needs grows quickly).
    Reference: Huang, Zhu & Siew (2006), Neurocomputing 70, 489 (frozen features); Dong & Li (2021), Comput. Methods Appl.
      Mech. Eng. 387, 114129 (collocation, least squares, time slabs).
    Example:
      >>> import jax, jaxsci as js
      >>> with jax.enable_x64(True):
      ...     problem = js.problems.poisson()
      ...     solution = js.solve(problem, js.RandomFeatures(200))
      ...     error = js.relative_l2(solution, problem.reference())
      >>> error < 1e-8
      True
    """

    n: int = 600
    tolerance: float = 1e-6
    scale: float | None = None
    points: int | None = None
    budget: float | None = None
    grid: int = 64
    continuation: tuple[str, tuple[float, ...]] | None = None
    corners: bool = False
    lifts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        if not (is_whole(self.n) and self.n >= 10):
            raise ValueError(f"RandomFeatures: n must be a whole number >= 10, got {self.n!r}.")
        if self.points is not None and not (is_whole(self.points) and self.points >= self.n):
            raise ValueError(f"RandomFeatures: points must be a whole number >= n = {self.n}, got {self.points!r}.")
        if not (is_whole(self.grid) and self.grid > 0):
            raise ValueError(f"RandomFeatures: grid must be a positive whole number, got {self.grid!r}.")
        for name in ("tolerance", "scale", "budget"):
            value = getattr(self, name)
            if not (value is None and name != "tolerance") and not value > 0:
                raise ValueError(f"RandomFeatures: {name} must be positive, got {value!r}.")

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`."""
        require_concrete(problem, "RandomFeatures")
        advise_float64("RandomFeatures")
        if problem.is_steady:
            return solve_steady(self, problem, jax.random.key(0) if key is None else key, progress)
        ts = jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
        with Stopwatch() as watch:
            march = _March(self, Fitter.of(problem), jax.random.key(0) if key is None else key, progress)
            fits = march.run()
        slabs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(fit.slab for fit in fits))
        field = FeatureField(march.fitter.conditions, problem, slabs)
        grid = {name: jnp.linspace(*problem.domain[name], self.grid + 1) for name in problem.domain.space}
        fields = sample(field, ts, grid, problem.solids)
        stats = {
            "slabs": len(fits),
            "residual": max(fit.residual for fit in fits),
            "relative_residual": max(fit.relative for fit in fits),
            "iterations": sum(fit.iterations for fit in fits),
            "parameters": sum(fit.slab.coefficients.size for fit in fits),
        }
        error = jnp.asarray(_estimate_error(problem, fits, fields), fields.dtype)
        return Solution(problem, ts, grid, fields, field, error, stats, watch.cost(training=True))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FeatureField:
    """Fitted features of all slabs as a field of ONE point."""

    conditions: Any = dataclasses.field(metadata={"static": True})
    problem: Problem
    slabs: Slab  # stacked along a leading axis

    def __call__(self, *coordinates: Any) -> Any:
        point = dict(zip(self.problem.coordinates, coordinates, strict=True))
        lift = jnp.stack([self.conditions.lift(u, point, self.problem.coefficients) for u in self.problem.unknowns])
        parts = jax.vmap(lambda slab: jnp.einsum("um,um->u", basis(self.conditions, slab, point), slab.coefficients))
        return lift + jnp.sum(parts(self.slabs), axis=0)


@dataclasses.dataclass(frozen=True)
class _March:
    """The march through time, slab after slab."""

    method: RandomFeatures
    fitter: Fitter
    key: Any
    progress: Callable[[str], None] | None

    @property
    def problem(self) -> Problem:
        return self.fitter.problem

    def run(self) -> list[Fitted]:
        if self.problem.is_steady:
            return [self._best_fit([], 0.0, 1.0)]
        start, end = self.problem.domain["t"]
        began, done, fits, hopeless = time.perf_counter(), start, [], False
        length = (end - start) * (1.0 if self.fitter.is_linear else 1 / 8)
        shortest = (end - start) * _SHORTEST
        while done < end - 1e-9 * (end - start):
            late = self.method.budget is not None and time.perf_counter() - began > self.method.budget
            length = min(length, end - done)
            if end - done < 1.5 * length:  # no sliver at the end
                length = end - done
            fit, tried = self._best_fit(fits, done, done + length), length
            while fit.relative > self.method.tolerance and tried / 2 >= shortest and not (late or hopeless):
                tried /= 2
                half = self._best_fit(fits, done, done + tried)
                if half.relative < fit.relative / 3:
                    fit, length = half, tried
                elif fit.relative < _FAILED:
                    break  # the features are the limit, not the slab
            hopeless = hopeless or (fit.relative > _FAILED and tried / 2 < shortest)
            fits.append(fit)
            done += length
            if self.progress is not None:
                self.progress(f"RandomFeatures to t = {done:.3g}: relative residual {fit.relative:.1e}")
            length *= (
                2.0 if fit.relative < self.method.tolerance / 8 else 1.4 if fit.relative < self.method.tolerance else 1.0
            )
        return fits

    # --- one slab ------------------------------------------------------------------------------------------------------

    def _best_fit(self, fits: list[Fitted], start: float, end: float) -> Fitted:
        """The fit of a slab with the best of the candidates for scale and stretch."""
        history = [fit.slab for fit in fits]
        candidates = self._candidates(history, start)
        count = self.method.n
        if len(candidates) > 1:
            trial = max(count // 3, 20) if not self.fitter.is_linear else count
            tried = [self._fit(history, start, end, trial, *candidate) for candidate in candidates]
            best = min(range(len(tried)), key=lambda i: tried[i].residual)
            if trial == count:
                return tried[best]
            candidates = [candidates[best]]
        return self._fit(history, start, end, count, *candidates[0])

    def _fit(self, history: list[Slab], start: float, end: float, count: int, scale: Any, stretch: Stretch) -> Fitted:
        features, points = jax.random.split(jax.random.fold_in(self.key, len(history)))
        conditions = self.fitter.conditions
        weights, biases = draw(features, conditions.input_size, count, jnp.asarray(scale)[:, None])
        dtype = weights.dtype
        coefficients = jnp.zeros((len(self.problem.unknowns), count), dtype)
        slab = Slab(weights, biases, stretch, jnp.asarray(start, dtype), jnp.asarray(end, dtype), coefficients)
        per_feature = (self.method.points or 4 * self.method.n) / self.method.n
        return self.fitter.fit(slab, history, points, math.ceil(per_feature * count))

    def _candidates(self, history: list[Slab], start: float) -> list[tuple[np.ndarray, Stretch]]:
        """(scale by input, stretch) to try."""
        conditions = self.fitter.conditions
        stretches = self._stretches(history, start)
        if self.method.scale is not None:
            pairs = [(self.method.scale, self.method.scale)]
        elif self.fitter.is_linear:
            pairs = [(1.0, 1.0), (2.0, 2.0)]
        else:  # slabs are short: the field varies less in time than in space
            pairs = [(0.5, 2.0), (0.5, 5.0)] if stretched_axis(conditions) else [(0.5, 1.0), (0.5, 2.5)]
        is_time = [axis == "t" for axis in self.problem.coordinates for _ in conditions.axis_inputs(axis, jnp.zeros(()))]
        scales = [np.where(is_time, in_time, in_space) for in_time, in_space in pairs]
        return [(scale, stretch) for stretch in stretches for scale in scales]

    def _stretches(self, history: list[Slab], start: float) -> list[Stretch]:
        """No stretch, and stretches around the steepest places of the field at the slab's start."""
        axis = stretched_axis(self.fitter.conditions)
        dtype = jnp.result_type(float)
        lower, upper = self.problem.domain[axis] if axis else (-1.0, 1.0)
        plain = Stretch(jnp.asarray((lower + upper) / 2, dtype), jnp.asarray(1e-3 / (upper - lower), dtype))
        if axis is None or self.fitter.is_linear:
            return [plain]
        x = jnp.linspace(lower, upper, 2001)
        profile = np.asarray(_profile(self.fitter, history, start, x))
        span = np.ptp(profile, axis=0).max()
        slope = np.abs(np.gradient(profile, np.asarray(x), axis=0)).max(axis=1)
        if span == 0 or slope.max() == 0:
            return [plain]
        places = _peaks(slope)[:3]
        out = [] if slope.max() * (upper - lower) > 20 * span else [plain]
        for place in places:
            steepness = 4 * slope[place] / span
            for factor in (0.5, 1.0, 2.0):
                out.append(Stretch(x[place], jnp.asarray(factor * steepness, dtype)))
        return out


def _profile(fitter: Fitter, history: list[Slab], t: float, x: Any) -> Any:
    """The field at a slab's start, ``[points, unknowns]``."""
    columns = (jnp.full_like(x, t), x)
    total = _lift_values(fitter.conditions, fitter.problem, columns)
    for slab in history:  # one after the other: a stack of them would be compiled anew for every number of slabs
        total = total + _slab_values(fitter.conditions, slab, columns)
    return total


@functools.partial(jax.jit, static_argnames=("conditions",))
def _lift_values(conditions: Any, problem: Problem, columns: tuple[Any, ...]) -> Any:
    def at_point(*coordinates):
        point = dict(zip(problem.coordinates, coordinates, strict=True))
        return jnp.stack([conditions.lift(u, point, problem.coefficients) for u in problem.unknowns])

    return jax.vmap(at_point)(*columns)


@functools.partial(jax.jit, static_argnames=("conditions",))
def _slab_values(conditions: Any, slab: Slab, columns: tuple[Any, ...]) -> Any:
    def at_point(*coordinates):
        point = dict(zip(conditions.problem.coordinates, coordinates, strict=True))
        return jnp.einsum("um,um->u", basis(conditions, slab, point), slab.coefficients)

    return jax.vmap(at_point)(*columns)


def _peaks(values: np.ndarray) -> list[int]:
    """Indices of local maxima above half of the largest value, largest first."""
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    local = (padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:]) & (values > values.max() / 2)
    return sorted(np.flatnonzero(local).tolist(), key=lambda i: -values[i])


def _estimate_error(problem: Problem, fits: list[Fitted], fields: Any) -> float:
    size = max(float(jnp.sqrt(jnp.mean(fields**2))), 1e-300)
    if problem.is_steady or max(problem.time_order(u) for u in problem.unknowns) > 1:
        return max(fit.relative for fit in fits)
    return sum(fit.residual * float(fit.slab.end - fit.slab.start) for fit in fits) / size
