r"""Random features on steady problems: one least-squares solve where the equation is linear, Gauss-Newton where it is not.

    u_k = G_k + H_k[sum_j c_kj tanh(a_j . z_j(x) + b_j)] + constant

A feature sees the box (z is the ansatz' inputs) or the neighbourhood of one place where the solution varies fast, in
coordinates in which it varies slowly (`jaxsci.learning.places`): around a disc, at a corner that juts into the domain.  Points
are spread accordingly, or are those of the norm that goes with the equation (`jaxsci.learning.dual_norm`).  An unknown
of which only derivatives occur, a pressure between walls, is without mean.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci.constraints.parts import Point
from jaxsci.equations.evaluation import partials_in
from jaxsci.equations.expression import multi_index
from jaxsci.equations.partials import partial_derivatives
from jaxsci.equations.residual import PointwiseResidual, residual
from jaxsci.equations.splitting import split
from jaxsci.learning.collocation import in_box, in_domain, is_free
from jaxsci.learning.conditions import HardConditions
from jaxsci.learning.dual_norm import DualNorm
from jaxsci.learning.features import draw
from jaxsci.learning.least_squares import least_squares
from jaxsci.learning.places import Place, places_of
from jaxsci.problems import Problem, Solution
from jaxsci.problems.solution import sample

_MOST = 30  # Gauss-Newton steps
_GAUGE_NODES = 48  # per axis


class Features(NamedTuple):
    """Frozen units, those of the box first, then those of each place; and what was fitted."""

    units: tuple[tuple[Any, Any], ...]  # (weights [inputs, M], biases [M])
    coefficients: dict[str, Any]  # {unknown: [M of all units together]}
    constants: dict[str, Any]  # {unknown: what makes it have no mean}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SteadyField:
    """Fitted features as a field of ONE point."""

    conditions: HardConditions = dataclasses.field(metadata={"static": True})
    places: tuple[Place, ...] = dataclasses.field(metadata={"static": True})
    problem: Problem
    features: Features

    def __call__(self, *coordinates: Any) -> Any:
        point = dict(zip(self.problem.coordinates, coordinates, strict=True))
        coefficients = self.problem.coefficients
        values = []
        for name in self.problem.unknowns:
            hidden = self.conditions.homogeneous(
                name, lambda p: unit_values(self.conditions, self.places, self.features, p), coefficients
            )
            fitted = hidden(point) @ self.features.coefficients[name]
            values.append(self.conditions.lift(name, point, coefficients) + fitted + self.features.constants[name])
        return jnp.stack(values)


def unit_values(conditions: HardConditions, places: tuple[Place, ...], features: Features, point: Point) -> Any:
    """All units at ONE point, ``[M]``."""
    inputs = [conditions.inputs(point), *(place.inputs(point) for place in places)]
    return jnp.concatenate([jnp.tanh(z @ w + b) for z, (w, b) in zip(inputs, features.units, strict=True)])


def solve_steady(method: Any, problem: Problem, key: Any, progress: Callable[[str], None] | None) -> Solution:
    """`jaxsci.RandomFeatures` on a steady problem; `method` is that."""
    with Stopwatch() as watch:
        conditions = HardConditions(problem, dict(method.lifts))
        equation = dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
        norm = DualNorm.of(problem) if method.weak else None
        fitter = SteadyFitter(conditions, places_of(problem, method.corners), equation, _is_linear(problem), norm)
        fit = _best(method, fitter, problem, key, progress)
        features = fit.features._replace(constants=gauge(fitter, problem, fit.features))
        field = SteadyField(conditions, fitter.places, problem, features)
        grid = {name: jnp.linspace(*problem.domain[name], method.grid + 1) for name in problem.domain.space}
        fields = sample(field, None, grid, problem.solids)
    stats = {
        "slabs": 1,
        "residual": fit.residual,
        "relative_residual": fit.relative,
        "iterations": fit.iterations,
        "parameters": sum(c.size for c in features.coefficients.values()),
    }
    return Solution(
        problem, None, grid, fields, field, jnp.asarray(fit.relative, fields.dtype), stats, watch.cost(training=True)
    )


def _is_linear(problem: Problem) -> bool:
    return not any(partials_in(term.formula) for term in split(problem.equation).rest)


def _best(method: Any, fitter: SteadyFitter, problem: Problem, key: Any, progress: Any) -> SteadyFit:
    """The fit with the best scale: tried at full size where that is one solve, with a third of the features otherwise."""
    scales = (1.0, 2.0, 4.0) if method.scale is None else (method.scale,)
    trial = method.n if fitter.is_linear else max(method.n // 3, 20)
    scale = scales[0]
    if len(scales) > 1:
        tried = [fitter.fit(problem, method, trial, s, key) for s in scales]
        best = min(range(len(scales)), key=lambda i: tried[i].residual)
        if fitter.is_linear:
            return tried[best]
        scale = scales[best]
        if progress is not None:
            progress(f"RandomFeatures: scale {scale:g}, relative residual {tried[best].relative:.1e} in the trial")
    name, values = method.continuation or ("", ())
    fit = None
    for value in values:  # an easier problem first
        fit = fitter.fit(problem.with_coefficients(**{name: value}), method, method.n, scale, key, fit)
        if progress is not None:
            progress(f"RandomFeatures: {name} = {value:g}, relative residual {fit.relative:.1e}")
    return fitter.fit(problem, method, method.n, scale, key, fit)


# --- the fit -----------------------------------------------------------------------------------------------------------------


class SteadyFit(NamedTuple):
    """Fitted features, judged at points that the fit has not seen."""

    features: Features
    residual: float
    relative: float
    iterations: int


class _Samples(NamedTuple):
    """Points with everything that does not depend on the coefficients."""

    columns: tuple[Any, ...]
    features: dict[Any, Any]  # {(unknown, letters): [points, M]}
    lifts: dict[Any, Any]  # {(unknown, letters): [points]}


@dataclasses.dataclass(frozen=True)
class SteadyFitter:
    """A steady problem prepared for fitting; static."""

    conditions: HardConditions
    places: tuple[Place, ...]
    equation: PointwiseResidual
    is_linear: bool
    norm: DualNorm | None = None  # what the residual is measured in; by default the mean square over points

    def fit(
        self, problem: Problem, method: Any, count: int, scale: float, key: Any, before: SteadyFit | None = None
    ) -> SteadyFit:
        """Gauss-Newton with step halving until the residual no longer falls; from another fit's coefficients."""
        drawing, fitting, judging = jax.random.split(key, 3)
        features = self.draw(count, scale, drawing) if before is None else before.features
        rows = math.ceil(count * (method.points or 4 * method.n) / method.n)
        samples = _sample(self.conditions, self.places, features, problem, self.points(problem, rows, fitting))
        coefficients = features.coefficients
        size, _ = map(float, _measure(self.equation, self.norm, samples, coefficients, problem))
        iterations = 0
        while iterations < (1 if self.is_linear else _MOST):
            change = _gauss_newton(self.equation, self.norm, samples, coefficients, problem)
            iterations += 1
            before_step = size
            for halvings in range(6):
                candidate = jax.tree.map(lambda c, d, h=0.5**halvings: c + h * d, coefficients, change)
                size, _ = map(float, _measure(self.equation, self.norm, samples, candidate, problem))
                if size < before_step:  # false for NaN
                    coefficients = candidate
                    break
            else:
                break
            if halvings == 0 and size > 0.9 * before_step:
                break
        features = features._replace(coefficients=coefficients)
        unseen = self.points(problem, rows if self.norm is None else 5 * rows // 4, judging)
        fresh = _sample(self.conditions, self.places, features, problem, unseen)
        size, term = map(float, _measure(self.equation, self.norm, fresh, coefficients, problem))
        size = size if math.isfinite(size) else math.inf
        return SteadyFit(features, size, size / max(term, 1e-300), iterations)

    def points(self, problem: Problem, count: int, key: Any) -> tuple[Any, ...]:
        """At least `count` collocation points, those of the norm where there is one."""
        if self.norm is None:
            return spread(problem, self.places, count, key)
        along = math.ceil(count ** (1 / len(problem.coordinates)))
        return in_box(problem.domain, jnp.stack(self.norm.fractions(along), axis=1))

    def draw(self, count: int, scale: float, key: Any) -> Features:
        """Half of the units for the box and half for all places together; all for the box where there are none."""
        problem, places = self.conditions.problem, self.places
        share = count // (2 * len(places)) if places else 0
        sizes = [(self.conditions.input_size, count - share * len(places)), *((place.size, share) for place in places)]
        keys = jax.random.split(key, len(sizes))
        units = tuple(draw(k, inputs, m, jnp.asarray(scale)) for k, (inputs, m) in zip(keys, sizes, strict=True))
        zeros = {name: jnp.zeros(count, units[0][0].dtype) for name in problem.unknowns}
        return Features(units, zeros, {name: jnp.zeros((), units[0][0].dtype) for name in problem.unknowns})


def spread(problem: Problem, places: tuple[Place, ...], count: int, key: Any) -> tuple[Any, ...]:
    """Collocation points: even ones, a third of all around the places."""
    keys = jax.random.split(key, 1 + len(places))
    near = count // (3 * len(places)) if places else 0
    columns = [in_domain(problem, count - near * len(places), keys[0])]
    for place, k in zip(places, keys[1:], strict=True):
        around = place.around(problem, 4 * near, k)
        inside = np.asarray(is_free(problem, around))
        for axis, column in zip(problem.coordinates, around, strict=True):
            low, high = problem.domain[axis]
            inside = inside & np.asarray((column > low) & (column < high))
        chosen = np.flatnonzero(inside)[:near]
        chosen = np.resize(chosen, near) if len(chosen) else chosen  # of one size, so that nothing is compiled anew
        columns.append(tuple(column[chosen] for column in around))
    return tuple(jnp.concatenate(parts) for parts in zip(*columns, strict=True))


@functools.partial(jax.jit, static_argnames=("conditions", "places"))
def _sample(
    conditions: HardConditions, places: tuple[Place, ...], features: Features, problem: Problem, columns: tuple[Any, ...]
) -> _Samples:
    hidden, lifts = {}, {}
    for name in problem.unknowns:
        needed = sorted(letters for u, letters in problem.equation.partials if u == name)
        index = {letters: multi_index(letters, problem.coordinates) for letters in needed}

        def units(*place, name=name):
            point = dict(zip(problem.coordinates, place, strict=True))
            return conditions.homogeneous(
                name, lambda p: unit_values(conditions, places, features, p), problem.coefficients
            )(point)

        def lift(*place, name=name):
            return conditions.lift(name, dict(zip(problem.coordinates, place, strict=True)), problem.coefficients)

        for function, into in ((units, hidden), (lift, lifts)):
            values = partial_derivatives(function, columns, sorted(set(index.values())))
            into.update({(name, letters): values[index[letters]] for letters in needed})
    return _Samples(columns, hidden, lifts)


def _residual(equation: PointwiseResidual, samples: _Samples, coefficients: dict[str, Any], problem: Problem):
    """The pointwise function of the partial derivatives, and their values."""
    partials = {key: samples.lifts[key] + f @ coefficients[key[0]] for key, f in samples.features.items()}
    return lambda values: equation.from_partials(values, samples.columns, problem.coefficients), partials


@functools.partial(jax.jit, static_argnames=("equation", "norm"))
def _gauss_newton(
    equation: PointwiseResidual, norm: DualNorm | None, samples: _Samples, coefficients: dict[str, Any], problem: Problem
) -> Any:
    """The change of the coefficients that solves the linearised residual in least squares."""
    function, partials = _residual(equation, samples, coefficients, problem)
    zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
    columns: dict[str, Any] = {}
    for key in partials:
        _, slope = jax.jvp(function, (partials,), ({**zeros, key: jnp.ones_like(partials[key])},))
        term = slope[:, :, None] * samples.features[key][:, None, :]  # [points, equations, M]
        columns[key[0]] = columns[key[0]] + term if key[0] in columns else term
    value = function(partials)
    jacobian = jnp.concatenate([columns[u] for u in problem.unknowns], axis=2)
    if norm is not None:
        jacobian, value = norm(jacobian), norm(value)
    change = least_squares(jacobian.reshape(value.size, -1), -value.reshape(-1))
    return dict(zip(problem.unknowns, jnp.split(change, len(problem.unknowns)), strict=True))


@functools.partial(jax.jit, static_argnames=("equation", "norm"))
def _measure(
    equation: PointwiseResidual, norm: DualNorm | None, samples: _Samples, coefficients: dict[str, Any], problem: Problem
) -> tuple[Any, Any]:
    """Root mean square of the residual and of the largest of its linearised terms."""
    function, partials = _residual(equation, samples, coefficients, problem)
    zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
    size = lambda values: jnp.sqrt(jnp.mean((values if norm is None else norm(values)) ** 2))  # noqa: E731
    terms = [jax.jvp(function, (partials,), ({**zeros, key: value},))[1] for key, value in partials.items()]
    return size(function(partials)), jnp.max(jnp.stack([size(term) for term in terms]))


# --- the mean of a pressure --------------------------------------------------------------------------------------------------


def gauge(fitter: SteadyFitter, problem: Problem, features: Features) -> dict[str, Any]:
    """By unknown what to add so that it has no mean, where nothing else fixes its constant; 0 elsewhere."""
    loose = [name for name in problem.unknowns if _is_loose(fitter.conditions, name)]
    zero = jnp.zeros_like(next(iter(features.constants.values())))
    constants = dict.fromkeys(problem.unknowns, zero)
    if not loose:
        return constants
    nodes, weights = np.polynomial.legendre.leggauss(_GAUGE_NODES)
    space = problem.domain.space
    mesh = np.meshgrid(*(low + (high - low) * (nodes + 1) / 2 for low, high in map(problem.domain.__getitem__, space)))
    weight = functools.reduce(np.multiply.outer, [weights] * len(space)).ravel()
    columns = tuple(jnp.asarray(m.ravel(), zero.dtype) for m in mesh)
    weight = jnp.asarray(weight, zero.dtype) * is_free(problem, columns)
    field = SteadyField(fitter.conditions, fitter.places, problem, features)
    values = jax.jit(lambda field, columns: jax.vmap(field)(*columns))(field, columns)
    means = jnp.sum(jnp.where(weight[:, None] > 0, values, 0.0) * weight[:, None], axis=0) / jnp.sum(weight)
    return constants | {name: -means[problem.unknowns.index(name)] for name in loose}


def _is_loose(conditions: HardConditions, unknown: str) -> bool:
    problem = conditions.problem
    held = (*conditions.all_walls(unknown), *conditions.solids(unknown))
    fixed = any(part.value is not None or part.rate is not None for part in held)
    return not fixed and (unknown, "") not in problem.equation.partials
