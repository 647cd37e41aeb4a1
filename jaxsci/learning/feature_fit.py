"""Gauss-Newton for random features: the compiled core of `jaxsci.RandomFeatures`.

A field is settled parts (the lift, earlier slabs) plus features times coefficients, so every partial derivative is affine in
the coefficients and is computed once per set of points.  The residual is a pointwise function of these partial derivatives;
its Jacobian in the coefficients is the features' derivatives weighted by the slopes of that function.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.equations.evaluation import partials_in
from jaxsci.equations.expression import multi_index
from jaxsci.equations.partials import partial_derivatives
from jaxsci.equations.residual import PointwiseResidual, residual
from jaxsci.equations.splitting import split
from jaxsci.learning.collocation import quasi_random
from jaxsci.learning.conditions import HardConditions
from jaxsci.learning.features import Slab, basis, place
from jaxsci.learning.least_squares import least_squares
from jaxsci.problems import Problem


class Fitted(NamedTuple):
    """A slab with its coefficients, judged at points that the fit has not seen."""

    slab: Slab
    residual: float  # root mean square over space and time
    relative: float  # the same, relative to the largest term of the residual
    iterations: int


class Samples(NamedTuple):
    """Collocation points of a slab, with everything that does not depend on the coefficients."""

    columns: tuple[Any, ...]  # the points, one array per coordinate
    volume: Any  # [points], what each stands for
    features: dict[str, Any]  # {letters: [points, unknowns, M]}
    settled: dict[str, Any]  # {letters: [points, unknowns]}


@dataclasses.dataclass(frozen=True)
class Fitter:
    """A problem prepared for fitting slabs of features."""

    problem: Problem
    conditions: HardConditions
    equation: PointwiseResidual

    @staticmethod
    def of(problem: Problem) -> Fitter:
        equation = dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
        conditions = HardConditions(problem)
        parts = [part for u in problem.unknowns for part in (*conditions.all_walls(u), *conditions.solids(u))]
        named = [part for part in parts if part.rate is not None and set(part.rate.arguments) - set(problem.coordinates)]
        if named or problem.solids:
            raise ValueError(
                f"RandomFeatures: in time {problem.name} can have neither solids nor a Robin rate that is a coefficient (on "
                f"{named[0].where if named else 'none'}); use js.Neural, or give the rate as a number."
            )
        return Fitter(problem, conditions, equation)

    @property
    def is_linear(self) -> bool:
        """Whether the equation is linear with constant coefficients, up to a source: one least-squares solve."""
        return not any(partials_in(term.formula) for term in split(self.problem.equation).rest)

    def samples(self, slab: Slab, history: list[Slab], key: Any, count: int) -> Samples:
        unit = quasi_random(count, len(self.problem.coordinates), key)
        columns, volume = place(self.conditions, slab, unit)
        settled = _lift_partials(self.conditions, self.problem, columns)
        for earlier in history:
            settled = _add(settled, _feature_partials(self.conditions, earlier, columns), earlier.coefficients)
        return Samples(columns, volume, _feature_partials(self.conditions, slab, columns), settled)

    def fit(self, slab: Slab, history: list[Slab], key: Any, count: int, most: int = 12) -> Fitted:
        """Gauss-Newton with step halving, from the slab's coefficients until the residual no longer falls by half."""
        fitting, judging = jax.random.split(key)
        samples = self.samples(slab, history, fitting, count)
        coefficients = slab.coefficients
        size, _ = map(float, _measure(self.equation, samples, coefficients, self.problem))
        iterations = 0
        while iterations < (1 if self.is_linear else most):
            change = _gauss_newton(self.equation, samples, coefficients, self.problem)
            iterations += 1
            before = size
            for halvings in range(4):
                candidate = coefficients + change * 0.5**halvings
                size, _ = map(float, _measure(self.equation, samples, candidate, self.problem))
                if size < before:  # false for NaN
                    coefficients = candidate
                    break
            if not size < before / 2:
                break
        fresh = self.samples(slab, history, judging, count)
        size, term = map(float, _measure(self.equation, fresh, coefficients, self.problem))
        size = size if math.isfinite(size) else math.inf
        return Fitted(slab._replace(coefficients=coefficients), size, size / max(term, 1e-300), iterations)


def letters_to_indices(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The partial derivatives that the equation needs, as multi-indices over the problem's coordinates."""
    needed = sorted({letters for _, letters in problem.equation.partials})
    return {letters: multi_index(letters, problem.coordinates) for letters in needed}


@functools.partial(jax.jit, static_argnames=("conditions",))
def _feature_partials(conditions: HardConditions, slab: Slab, columns: tuple[Any, ...]) -> dict[str, Any]:
    problem = conditions.problem

    def at_point(*point):
        return basis(conditions, slab, dict(zip(problem.coordinates, point, strict=True)))

    return _by_letters(problem, at_point, columns)


@functools.partial(jax.jit, static_argnames=("conditions",))
def _lift_partials(conditions: HardConditions, problem: Problem, columns: tuple[Any, ...]) -> dict[str, Any]:
    def at_point(*point):
        here = dict(zip(problem.coordinates, point, strict=True))
        return jnp.stack([conditions.lift(name, here, problem.coefficients) for name in problem.unknowns])

    return _by_letters(problem, at_point, columns)


def _by_letters(problem: Problem, at_point: Any, columns: tuple[Any, ...]) -> dict[str, Any]:
    indices = letters_to_indices(problem)
    values = partial_derivatives(at_point, columns, sorted(set(indices.values())))
    return {letters: values[index] for letters, index in indices.items()}


@jax.jit
def _add(settled: dict[str, Any], features: dict[str, Any], coefficients: Any) -> dict[str, Any]:
    return {k: settled[k] + jnp.einsum("pum,um->pu", features[k], coefficients) for k in settled}


def _residual_of_partials(equation: PointwiseResidual, samples: Samples, coefficients: Any, problem: Problem):
    """The pointwise function of the partial derivatives, and their values."""
    totals = _add(samples.settled, samples.features, coefficients)
    partials = {(u, k): totals[k][:, problem.unknowns.index(u)] for u, k in sorted(problem.equation.partials)}
    return lambda values: equation.from_partials(values, samples.columns, problem.coefficients), partials


@functools.partial(jax.jit, static_argnames=("equation",))
def _gauss_newton(equation: PointwiseResidual, samples: Samples, coefficients: Any, problem: Problem) -> Any:
    """The change of the coefficients, ``[unknowns, M]``, that solves the linearised residual in least squares."""
    function, partials = _residual_of_partials(equation, samples, coefficients, problem)
    zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
    columns: dict[str, Any] = {}
    for u, k in partials:
        _, slope = jax.jvp(function, (partials,), ({**zeros, (u, k): jnp.ones_like(partials[u, k])},))
        term = slope[:, :, None] * samples.features[k][:, None, problem.unknowns.index(u), :]  # [points, equations, M]
        columns[u] = columns[u] + term if u in columns else term
    value = function(partials)
    jacobian = jnp.stack([columns[u] for u in problem.unknowns], axis=2).reshape(value.size, -1)
    return least_squares(jacobian, -value.reshape(-1)).reshape(coefficients.shape)


@functools.partial(jax.jit, static_argnames=("equation",))
def _measure(equation: PointwiseResidual, samples: Samples, coefficients: Any, problem: Problem) -> tuple[Any, Any]:
    """Root mean square, over space and time, of the residual and of the largest of its linearised terms."""
    function, partials = _residual_of_partials(equation, samples, coefficients, problem)
    zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}

    def size(values):
        return jnp.sqrt(jnp.sum(samples.volume[:, None] * values**2) / jnp.sum(samples.volume))

    terms = [jax.jvp(function, (partials,), ({**zeros, key: value},))[1] for key, value in partials.items()]
    return size(function(partials)), jnp.max(jnp.stack([size(term) for term in terms]))
