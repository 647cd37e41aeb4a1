"""Features of space and time together, in slabs: steady problems (one slab), and waves between walls.

Least squares over a long slab leaves no room for the spurious modes that grow when waves between walls are marched in
short ones; everything of first order in time is marched by `jaxsci.learning.marching`.
"""

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

from jaxsci.learning.feature_fit import Fitted, Fitter
from jaxsci.learning.features import Slab, Stretch, basis, draw, stretched_axis
from jaxsci.learning.marching import Options
from jaxsci.problems import Problem

_SHORTEST = 1 / 128  # slab, as a share of the whole time
_FAILED = 1e-2  # relative residual above which a fit counts as failed: its slab is cut until one succeeds


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
class SpaceTimeMarch:
    """The march through time, slab after slab."""

    options: Options
    fitter: Fitter
    key: Any
    progress: Callable[[str], None] | None

    @property
    def problem(self) -> Problem:
        return self.fitter.problem

    def run(self) -> list[Fitted]:
        start, end = self.problem.domain["t"]
        began, done, fits, hopeless = time.perf_counter(), start, [], False
        length = (end - start) * (1.0 if self.fitter.is_linear else 1 / 8)
        shortest = (end - start) * _SHORTEST
        while done < end - 1e-9 * (end - start):
            late = self.options.budget is not None and time.perf_counter() - began > self.options.budget
            length = min(length, end - done)
            if end - done < 1.5 * length:  # no sliver at the end
                length = end - done
            fit, tried = self._best_fit(fits, done, done + length), length
            while fit.relative > self.options.tolerance and tried / 2 >= shortest and not (late or hopeless):
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
                2.0 if fit.relative < self.options.tolerance / 8 else 1.4 if fit.relative < self.options.tolerance else 1.0
            )
        return fits

    # --- one slab ------------------------------------------------------------------------------------------------------

    def _best_fit(self, fits: list[Fitted], start: float, end: float) -> Fitted:
        """The fit of a slab with the best of the candidates for scale and stretch."""
        history = [fit.slab for fit in fits]
        candidates = self._candidates(history, start)
        count = self.options.count
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
        per_feature = self.options.points / self.options.count
        return self.fitter.fit(slab, history, points, math.ceil(per_feature * count))

    def _candidates(self, history: list[Slab], start: float) -> list[tuple[np.ndarray, Stretch]]:
        """(scale by input, stretch) to try."""
        conditions = self.fitter.conditions
        stretches = self._stretches(history, start)
        if self.options.scale is not None:
            pairs = [(self.options.scale, self.options.scale)]
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
