"""Marching through time in slabs whose length and whose coordinate follow the residual."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations.evaluation import partials_in
from jaxsci.equations.residual import PointwiseResidual
from jaxsci.equations.splitting import split
from jaxsci.learning.conditions import HardConditions, Point
from jaxsci.learning.coordinates import Coordinate, adapted, needed_density, uniform
from jaxsci.learning.marched_field import MarchedField, advance, settle
from jaxsci.learning.slab_fit import (
    Factors,
    Judgement,
    Samples,
    Slab,
    carry,
    factorise,
    iterate,
    judge,
    lift_partials,
    wanted,
)
from jaxsci.learning.smoothed_start import SmoothedStart
from jaxsci.learning.space_features import (
    Basis,
    adapted_axis,
    draw_basis,
    is_periodic,
    place,
    space_letters,
    unit_partials,
)
from jaxsci.learning.time_polynomials import radau_points
from jaxsci.problems import Problem

_REJECTIONS = 40  # of one slab, at most
_FAILED = 1e-2  # relative residual above which a fit counts as failed
_LINEARISATIONS = 6
_QUIET = 1.0  # seconds between two lines of progress
_DEGREE = 8  # polynomials of time in a slab, per unknown


class MarchConditions(SmoothedStart):
    """Conditions of a march. Where there is no space the march carries the start, which may decay without cancellation."""

    def lift(self, unknown: str, point: Point, coefficients: Mapping[str, Any]) -> Any:
        if not self.problem.domain.space:
            return jnp.zeros_like(point["t"])
        return super().lift(unknown, point, coefficients)


class Options(NamedTuple):
    """What `jaxsci.RandomFeatures` was told."""

    count: int
    points: int
    tolerance: float
    scale: float | None
    budget: float | None


class Group(NamedTuple):
    """A basis and what the slabs that used it have reached."""

    basis: Basis
    reached: Any  # [orders in time, unknowns, M]


class Fitted(NamedTuple):
    """A slab that was taken."""

    slab: Slab
    group: int
    reached: Any  # [groups so far, orders in time, unknowns, M], at the slab's start
    judgement: Judgement
    iterations: int


class March:
    """The state of one march."""

    def __init__(
        self,
        problem: Problem,
        conditions: HardConditions,
        equation: PointwiseResidual,
        options: Options,
        key: Any,
        progress: Callable[[str], None] | None,
    ):
        self.problem, self.conditions, self.equation = problem, conditions, equation
        self.options = options._replace(tolerance=max(options.tolerance, 8 * float(jnp.finfo(float).eps)))
        self.progress, self.told = progress, -math.inf
        self.order = max(problem.time_order(u) for u in problem.unknowns)
        self.degree = _DEGREE
        self.draw_key, self.point_key, judge_key = jax.random.split(key, 3)
        times = np.random.default_rng(np.asarray(jax.random.key_data(judge_key)).sum())
        between = radau_points(self.degree) - times.uniform(0.2, 0.8, size=self.degree) * np.diff(
            radau_points(self.degree), prepend=0.0
        )
        self.judged = jnp.asarray(np.concatenate([radau_points(self.degree), between]), jnp.result_type(float))
        self.letters = tuple(sorted({letters for _, letters in wanted(problem)}))
        self.space = tuple(sorted({space_letters(letters) for letters in self.letters}))
        self.dtype = jnp.result_type(float)
        self.groups: list[Group] = []
        self.fits: list[Fitted] = []
        self.is_linear = not any(partials_in(term.formula) for term in split(problem.equation).rest)
        self.error, self.errors = 0.0, []  # estimated, after each slab
        self.disturbance, self.disturbed = None, 0
        self.stuck = 0.0  # residual in space that no other coordinate has reduced

    # --- bases -------------------------------------------------------------------------------------------------------

    def samples_of(self, basis: Basis, count: int, key: Any) -> Samples:
        columns, volume = place(self.conditions, basis, count, key)
        features = unit_partials(self.conditions, basis, columns, self.space)
        settled = settle(features, jnp.zeros((self.order, len(self.problem.unknowns), features[""].shape[-1]), self.dtype))
        for group in self.groups:
            more = settle(unit_partials(self.conditions, group.basis, columns, self.space), group.reached)
            settled = jax.tree.map(jnp.add, settled, more)
        return Samples(columns, volume, features, settled)

    def frame(self, coordinate: Coordinate) -> Frame:
        basis = draw_basis(self.conditions, coordinate, self.options.count, self.options.scale, self.draw_key)
        fitting = self.samples_of(basis, self.options.points, None)
        return Frame(basis, fitting, self.samples_of(basis, self.options.points, self.point_key))

    def coordinate(self, t: float, factor: float, extra: Frame | None = None, slab: Slab | None = None) -> Coordinate:
        """The coordinate that the field at the march's time t wants, or at the end of a slab that was tried."""
        axis = adapted_axis(self.conditions)
        if axis is None or self.is_linear:
            return uniform()
        lower, upper = self.problem.domain[axis]
        x = np.linspace(lower, upper, 2001)
        if extra is not None:
            x = np.unique(np.concatenate([x, np.asarray(extra.fitting.columns[0])]))
            x = np.interp(np.linspace(0, 1, 2001 + self.options.points), np.linspace(0, 1, len(x)), x)
        derivatives = self.profile(t, jnp.asarray(x, self.dtype), (axis, 2 * axis, 4 * axis), extra, slab)
        density = factor * needed_density(derivatives)
        return adapted(x, density, lower, upper, is_periodic(self.conditions))

    def profile(self, t: float, x: Any, orders: tuple[str, ...], extra: Frame | None, slab: Slab | None) -> dict[int, Any]:
        """The field and its derivatives in space at a time, ``{order: [points, unknowns]}``."""
        orders = ("", *orders)
        lift = lift_partials(self.conditions, self.problem, jnp.full(1, t, self.dtype), (x,), orders)
        total = {k: v[0] for k, v in lift.items()}
        for group in self.groups:
            features = unit_partials(self.conditions, group.basis, (x,), orders)
            total = {k: total[k] + settle(features, group.reached)[k][0] for k in orders}
        if extra is not None and slab is not None:
            gained = advance(jnp.zeros((self.order, *slab.coefficients.shape[1:]), self.dtype), slab, self.orders)
            features = unit_partials(self.conditions, extra.basis, (x,), orders)
            total = {k: total[k] + settle(features, gained)[k][0] for k in orders}
        return {len(k): np.asarray(v) for k, v in total.items()}

    @property
    def orders(self) -> tuple[int, ...]:
        return tuple(self.problem.time_order(u) for u in self.problem.unknowns)

    # --- one slab ----------------------------------------------------------------------------------------------------

    def fit(self, frame: Frame, start: float, length: float) -> tuple[Slab, Judgement, int, Factors]:
        """Newton's method on one slab, linearised anew while that halves the steps; with the last factors."""
        problem, order = self.problem, self.order
        nothing = jnp.zeros((self.degree, len(problem.unknowns), frame.fitting.features[""].shape[-1]), self.dtype)
        slab = Slab(jnp.asarray(start, self.dtype), jnp.asarray(length, self.dtype), nothing)
        times = start + length * jnp.asarray(radau_points(self.degree), self.dtype)
        lift = lift_partials(self.conditions, problem, times, frame.fitting.columns, self.letters)
        steps, whole, last = 0, 0.0, math.inf
        enough = max(1e-3 * self.options.tolerance, 1e-14)
        for attempt in itertools.count(1):
            factors = factorise(self.equation, problem, frame.fitting, lift, slab, order)
            found = iterate(self.equation, problem, frame.fitting, lift, slab, factors, order, enough)
            coefficients, first, size, more = found
            slab = slab._replace(coefficients=coefficients)
            steps, whole = steps + int(more), max(whole, float(first))
            if self.is_linear or attempt == _LINEARISATIONS or not enough * whole < float(size) < last / 2:  # also for NaN
                break
            last = float(size)
        times = start + length * self.judged
        lift = lift_partials(self.conditions, problem, times, frame.judging.columns, self.letters)
        judgement = judge(self.equation, self.problem, frame.judging, lift, slab, self.judged)
        converged = (
            self.is_linear
            or float(size) < max(1e-5, 2 * enough) * whole
            or float(judgement.in_space) < self.options.tolerance
        )
        if not converged:
            judgement = judgement._replace(in_time=jnp.asarray(jnp.inf))
        return slab, judgement, steps, factors

    # --- all slabs ---------------------------------------------------------------------------------------------------

    def run(self) -> MarchedField:
        start, end = self.problem.domain["t"]
        began = time.perf_counter()
        frame = self.frame(self.coordinate(start, 1.0))
        self.groups.append(Group(frame.basis, self.start(frame)))
        frame = frame._replace(fitting=self.settled(frame.fitting), judging=self.settled(frame.judging))
        length, done, hopeless = self.first_length(frame), start, False
        while done < end - 1e-12 * (end - start):
            tolerance, searched = self.options.tolerance, False
            if end - done < 1.3 * length:  # no sliver at the end
                length = end - done
            for _ in range(_REJECTIONS):
                slab, judgement, steps, factors = self.fit(frame, done, length)
                in_space, in_time = (float(v) if math.isfinite(v) else math.inf for v in judgement[:2])
                late = self.options.budget is not None and time.perf_counter() - began > self.options.budget
                if hopeless or (late and in_time < math.inf):
                    break
                if in_time > tolerance:
                    length *= max(0.2, 0.8 * (tolerance / in_time) ** (1 / self.degree))
                    continue
                if in_space > tolerance and in_space > 2 * self.stuck and not searched:
                    searched = True
                    found = self.search(done, length, frame, slab, in_space)
                    if found is not None:
                        frame = found
                        continue
                break
            else:
                hopeless = True
            self.follow_error(frame, slab, factors, judgement)
            frame = self.take(frame, slab, judgement, steps)
            done += float(slab.length)
            if self.progress is not None and time.perf_counter() - self.told > _QUIET:
                self.told = time.perf_counter()
                self.progress(f"RandomFeatures to t = {done:.3g}: relative residual {judgement.relative:.1e}")
            length *= min(3.0, 0.8 * (tolerance / max(in_time, 1e-300)) ** (1 / self.degree))
            if late:
                length = 2 * float(slab.length)
            if hopeless:
                length = max(length, (end - start) / 64)
        return self.field()

    def follow_error(self, frame: Frame, slab: Slab, factors: Factors, judgement: Judgement) -> None:
        """Carry a random disturbance of the size of the error so far through the slab, and add the slab's residual to it."""
        features, volume = frame.judging.features[""], frame.judging.volume

        def size(disturbance):
            values = jnp.einsum("num,um->nu", features, disturbance)
            return float(jnp.sqrt(jnp.sum(volume[:, None] * values**2) / jnp.sum(volume)))

        shape = slab.coefficients.shape[1:]
        if self.order > 1:
            return
        if self.disturbance is None or self.disturbance.shape != shape or self.disturbed != len(self.groups):
            self.disturbance = jax.random.normal(jax.random.fold_in(self.draw_key, len(self.fits)), shape, self.dtype)
            self.disturbed = len(self.groups)
        error, before = self.error, size(self.disturbance)
        after = carry(factors, self.disturbance * (error / before)) if error > 0 and before > 0 else self.disturbance
        error = size(after) if error > 0 else 0.0
        self.error = error + float(judgement.residual) * float(slab.length)
        self.disturbance = after
        self.errors.append(self.error)

    def error_estimate(self, fields: Any) -> float:
        """See `jaxsci.RandomFeatures`, Error estimate."""
        relative = max(float(fit.judgement.relative) for fit in self.fits)
        if self.order > 1 or not self.errors:
            return relative
        return max(self.errors) / max(float(jnp.sqrt(jnp.mean(fields**2))), 1e-300)

    def start(self, frame: Frame) -> Any:
        """What is reached before the first slab: nothing beyond the lift, but the start itself where there is no space."""
        start = self.zeros(frame)
        if self.problem.domain.space:
            return start
        for i, name in enumerate(self.problem.unknowns):
            for q in range(self.problem.time_order(name)):
                start = start.at[q, i, 0].set(self.problem.initial[name + "_t" * q]({}, self.problem.coefficients))
        return start

    def settled(self, samples: Samples) -> Samples:
        """Samples of the first slab, with what is reached there."""
        return samples._replace(settled=settle(samples.features, self.groups[0].reached))

    def zeros(self, frame: Frame) -> Any:
        """Nothing reached: ``[orders in time, unknowns, M]``."""
        return jnp.zeros((self.order, len(self.problem.unknowns), frame.fitting.features[""].shape[-1]), self.dtype)

    def first_length(self, frame: Frame) -> float:
        """A thousandth of the time in which the start changes by itself."""
        start, end = self.problem.domain["t"]
        whole = (end - start) / 8
        if self.order > 1:
            return whole
        tau = self.judged
        guess = jnp.zeros((self.degree, len(self.problem.unknowns), frame.fitting.features[""].shape[-1]), self.dtype)
        slab = Slab(jnp.asarray(start, self.dtype), jnp.asarray(1e-9 * whole, self.dtype), guess)
        lift = lift_partials(self.conditions, self.problem, start + slab.length * tau, frame.judging.columns, self.letters)
        found = judge(self.equation, self.problem, frame.judging, lift, slab, tau)
        values = np.asarray(lift[""][0] + frame.judging.settled[""][0])
        rate, size = float(found.residual), float(np.sqrt(np.mean(values**2)))
        return min(whole, 1e-4 * max(size, 1e-12) / rate) if rate > 0 else whole

    def search(self, start: float, length: float, frame: Frame, slab: Slab, in_space: float) -> Frame | None:
        """The coordinate of the smallest residual in space, where one halves it."""
        if adapted_axis(self.conditions) is None or self.is_linear:
            self.stuck = in_space
            return None
        best, found = in_space / 2, None
        for factor in (0.5, 1.0, 2.0, 4.0):
            candidate = self.frame(self.coordinate(start + length, factor, frame, slab))
            _, judgement, _, _ = self.fit(candidate, start, length)
            if float(judgement.in_space) < best:
                best, found = float(judgement.in_space), candidate
        if found is None:
            self.stuck = in_space
            return None
        self.stuck = best / 1.9 if best > self.options.tolerance else 0.0
        self.groups.append(Group(found.basis, self.zeros(found)))
        return found

    def take(self, frame: Frame, slab: Slab, judgement: Judgement, steps: int) -> Frame:
        reached = [group.reached for group in self.groups]
        self.fits.append(Fitted(slab, len(self.groups) - 1, jnp.stack(reached), judgement, steps))
        nothing = slab._replace(coefficients=jnp.zeros_like(slab.coefficients))
        for i, group in enumerate(self.groups):
            mine = slab if i == len(self.groups) - 1 else nothing
            self.groups[i] = group._replace(reached=advance(group.reached, mine, self.orders))
        new = []
        for samples in (frame.fitting, frame.judging):
            gained = settle(samples.features, advance(jnp.zeros_like(reached[-1]), slab, self.orders))
            settled = {}
            for k, value in samples.settled.items():
                moved = [
                    sum(value[p] * slab.length ** (p - q) / math.factorial(p - q) for p in range(q, self.order))
                    for q in range(self.order)
                ]
                settled[k] = jnp.stack(moved) + gained[k]
            new.append(samples._replace(settled=settled))
        return Frame(frame.basis, *new)

    def field(self) -> MarchedField:
        stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
        groups = len(self.groups)
        padded = [jnp.pad(f.reached, ((0, groups - len(f.reached)), (0, 0), (0, 0), (0, 0))) for f in self.fits]
        return MarchedField(
            self.conditions,
            self.problem,
            stack([group.basis for group in self.groups]),
            stack([fit.slab for fit in self.fits]),
            jnp.asarray([fit.group for fit in self.fits]),
            jnp.stack(padded),
        )


class Frame(NamedTuple):
    """A basis with its points."""

    basis: Basis
    fitting: Samples
    judging: Samples
