r"""Fitting one time slab: Newton's method for features of space times polynomials of time, decoupled mode by mode.

A field is settled parts (the lift, what earlier slabs have reached) plus  sum_k,m c_km I[l_k](tau) phi_m(x),  so every partial
derivative is affine in c.  The residual holds at the Radau times in least squares over points of space.  Linearised about the
mean of the slab it is

    sum_j  I^j c A_j^T = -r,      I: integration at the Radau times,  A_j: features weighted by the slopes of the residual,

and in the eigenvectors of I every mode mu is a least-squares problem in space alone, with the matrix  sum_j mu^j A_j.  One QR of
the stacked A_j conditions them all; then each is solved by its normal equations, and iterated with the true residual, so that
the mean linearisation and all round-off of the solution are corrected.

Reference: Hairer & Wanner (1996), section IV.8 (simplified Newton iterations, eigenvectors of I).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations.expression import multi_index
from jaxsci.equations.partials import partial_derivatives
from jaxsci.equations.residual import PointwiseResidual
from jaxsci.learning.conditions import HardConditions
from jaxsci.learning.space_features import space_letters
from jaxsci.learning.time_polynomials import integrals, modes, radau_points, tail
from jaxsci.problems import Problem

_ITERATIONS = 25  # with one linearisation


class Samples(NamedTuple):
    """Points of space, with what does not depend on the slab's coefficients there."""

    columns: tuple[Any, ...]  # the points, one array per axis
    volume: Any  # [points], what each stands for
    features: dict[str, Any]  # {letters of space: [points, unknowns, M]}
    settled: dict[str, Any]  # the same of what earlier slabs have reached: [orders in time, points, unknowns]


class Slab(NamedTuple):
    """An interval of time and the coefficients of its polynomials."""

    start: Any
    length: Any
    coefficients: Any  # [K, unknowns, M], of the highest time derivative times length^order


@functools.partial(jax.jit, static_argnames=("conditions", "letters"))
def lift_partials(
    conditions: HardConditions, problem: Problem, times: Any, columns: tuple[Any, ...], letters: tuple[str, ...]
) -> dict[str, Any]:
    """Partial derivatives of the lift at times x points, ``{letters: [times, points, unknowns]}``."""

    def at_point(*point):
        here = dict(zip(problem.coordinates, point, strict=True))
        return jnp.stack([conditions.lift(name, here, problem.coefficients) for name in problem.unknowns])

    points = len(columns[0]) if columns else 1
    mesh = [jnp.repeat(times, points), *(jnp.tile(column, len(times)) for column in columns)]
    indices = {k: multi_index(k, problem.coordinates) for k in letters}
    values = partial_derivatives(at_point, mesh, sorted(set(indices.values())))
    return {k: values[index].reshape(len(times), points, -1) for k, index in indices.items()}


def wanted(problem: Problem) -> list[tuple[str, str]]:
    """The partial derivatives that the equation contains, and the unknowns themselves."""
    return sorted({*problem.equation.partials, *((name, "") for name in problem.unknowns)})


def partials_of(problem: Problem, samples: Samples, lift: dict[str, Any], slab: Slab, tau: Any) -> dict[Any, Any]:
    """All wanted partial derivatives, each ``[times, points]``."""
    elapsed = slab.length * tau[:, None]
    out = {}
    for name, letters in wanted(problem):
        i, q, space = problem.unknowns.index(name), letters.count("t"), space_letters(letters)
        order = problem.time_order(name)
        value = lift[letters][..., i]
        factor = jnp.ones_like(elapsed)
        for p in range(q, order):  # Taylor polynomial of the slab's start
            value = value + samples.settled[space][p, :, i] * factor
            factor = factor * elapsed / (p - q + 1)
        inside = (
            integrals(tau, order - q, len(slab.coefficients)) @ slab.coefficients[:, i] @ samples.features[space][:, i].T
        )
        out[name, letters] = value + inside / slab.length**q
    return out


def _function(equation: PointwiseResidual, problem: Problem, samples: Samples, slab: Slab, tau: Any) -> Any:
    """The pointwise function of the partial derivatives: ``[times, points, equations]``."""
    shape = (len(tau), len(samples.volume))
    columns = [jnp.broadcast_to((slab.start + slab.length * tau)[:, None], shape)]
    columns += [jnp.broadcast_to(column, shape) for column in samples.columns]
    return lambda values: equation.from_partials(values, tuple(columns), problem.coefficients)


def _slopes(function: Any, partials: dict[Any, Any]) -> dict[Any, Any]:
    """The derivative of the residual by every partial derivative."""
    zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
    return {
        key: jax.jvp(function, (partials,), ({**zeros, key: jnp.ones_like(value)},))[1] for key, value in partials.items()
    }


class Factors(NamedTuple):
    """A linearised slab, factorised."""

    scale: Any  # [columns]
    triangle: Any  # [columns, columns], R
    blocks: Any  # [powers of mu, rows, columns], A_j R^-1
    modes: Any  # [K, columns, columns], Cholesky factors of the modes


@functools.partial(jax.jit, static_argnames=("equation", "order"))
def factorise(
    equation: PointwiseResidual, problem: Problem, samples: Samples, lift: dict[str, Any], slab: Slab, order: int
) -> Factors:
    """Linearise about the slab's coefficients, mean over its times, and factorise every mode."""
    tau = jnp.asarray(radau_points(len(slab.coefficients)), slab.coefficients.dtype)
    partials = partials_of(problem, samples, lift, slab, tau)
    slopes = _slopes(_function(equation, problem, samples, slab, tau), partials)
    points, unknowns, count = samples.features[""].shape
    equations = len(problem.equation.residuals)
    blocks = jnp.zeros((order + 1, points, equations, unknowns, count), slab.coefficients.dtype)
    for (name, letters), slope in slopes.items():
        i, q = problem.unknowns.index(name), letters.count("t")
        block = jnp.mean(slope, axis=0)[:, :, None] * samples.features[space_letters(letters)][:, i][:, None]
        blocks = blocks.at[problem.time_order(name) - q, :, :, i].add(block / slab.length**q)
    blocks = blocks.reshape(order + 1, points * equations, unknowns * count)
    norms = jnp.sqrt(jnp.sum(blocks**2, axis=(0, 1)))
    scale = 1 / jnp.where(norms > 0, norms, 1.0)
    blocks = blocks * scale
    columns = unknowns * count
    damping = jnp.sqrt(float(columns)) * jnp.finfo(blocks.dtype).eps * jnp.eye(columns, dtype=blocks.dtype)
    blocks, triangle = jnp.linalg.qr(jnp.concatenate([*blocks, damping]))
    blocks = blocks[:-columns].reshape(order + 1, -1, columns)
    grams = jnp.einsum("irm,jrn->ijmn", blocks, blocks)
    dtype = jnp.result_type(blocks, jnp.complex64)
    multipliers = modes(order, len(slab.coefficients)).multipliers
    powers = jnp.asarray(multipliers[:, None] ** np.arange(order + 1), dtype)  # [K, powers]
    normal = jnp.einsum("ki,kj,ijmn->kmn", powers.conj(), powers, grams)
    # What only the damping holds: those directions are left alone.
    rest = jnp.eye(columns) * (1 + 1e2 * jnp.finfo(blocks.dtype).eps) - jnp.einsum("iimn->mn", grams)
    return Factors(scale, triangle, blocks, jnp.linalg.cholesky(normal + rest))


def solve_modes(factors: Factors, values: Any, order: int) -> tuple[Any, Any]:
    """The coefficients ``[K, columns]`` of which the linearised residual is `values`, ``[K, rows]``, and their size."""
    spectrum = modes(order, len(factors.modes))
    dtype = factors.modes.dtype
    powers = jnp.asarray(spectrum.multipliers[:, None] ** np.arange(order + 1), dtype)
    rows = jnp.asarray(spectrum.inverse, dtype) @ values
    right = jnp.einsum("kj,kjm->km", powers.conj(), jnp.einsum("jrm,kr->kjm", factors.blocks.astype(dtype), rows))
    change = jax.vmap(lambda lower, b: jax.scipy.linalg.cho_solve((lower, True), b))(factors.modes, right)
    change = (jnp.asarray(spectrum.vectors, dtype) @ change).real
    return jax.scipy.linalg.solve_triangular(factors.triangle, change.T).T * factors.scale, jnp.linalg.norm(change)


@jax.jit
def carry(factors: Factors, disturbance: Any) -> Any:
    """Where the linearised slab takes a disturbance of its start, ``[unknowns, M]``, of equations of first order in time."""
    start = factors.triangle @ (disturbance.reshape(-1) / factors.scale)
    rows = factors.blocks[1] @ start  # the residual of a field that stays at the disturbance
    values = jnp.broadcast_to(rows, (factors.modes.shape[0], rows.size))
    change, _ = solve_modes(factors, values, 1)
    at_end = integrals(jnp.ones((), rows.dtype), 1, len(change)) @ change
    return disturbance - at_end.reshape(disturbance.shape)


@functools.partial(jax.jit, static_argnames=("equation", "order"))
def iterate(
    equation: PointwiseResidual,
    problem: Problem,
    samples: Samples,
    lift: dict[str, Any],
    slab: Slab,
    factors: Factors,
    order: int,
    enough: Any,
) -> tuple[Any, Any, Any, Any]:
    """Newton steps with one factorisation, while each is less than half of the one before and more than `enough`.

    Returns:
      The coefficients, the sizes of the first and of the last step, and how many there were.
    """
    tau = jnp.asarray(radau_points(len(slab.coefficients)), slab.coefficients.dtype)
    function = _function(equation, problem, samples, slab, tau)

    def step(coefficients):
        values = function(partials_of(problem, samples, lift, slab._replace(coefficients=coefficients), tau))
        change, size = solve_modes(factors, values.reshape(len(tau), -1), order)
        return coefficients - change.reshape(coefficients.shape), size

    def body(state):
        coefficients, last, _, _, first, steps = state
        new, size = step(coefficients)
        first = jnp.where(steps == 0, size, first)
        return new, size, last, coefficients, first, steps + 1

    def goes_on(state):
        _, size, before, _, first, steps = state
        return (steps < _ITERATIONS) & (size > enough * first) & ((steps < 2) | (size < 0.5 * before))

    infinite = jnp.asarray(jnp.inf, slab.coefficients.dtype)
    start = (slab.coefficients, infinite, infinite, slab.coefficients, jnp.ones_like(infinite), 0)
    new, size, before, old, first, steps = jax.lax.while_loop(goes_on, body, start)
    grew = ~(size < before)  # also for NaN: the last step is not taken
    coefficients = jnp.where(grew & (steps > 1), old, new)
    return coefficients, first, jnp.where(grew & (steps > 1), before, size), steps


class Judgement(NamedTuple):
    """How well a slab fits, at points that the fit has not seen."""

    in_space: Any  # relative residual at the times of the fit: what more features would reduce
    in_time: Any  # share of the field in the last polynomials of time: what a shorter slab would reduce
    relative: Any  # residual relative to its largest term
    residual: Any  # root mean square over space and time, in units of the highest time derivative


@functools.partial(jax.jit, static_argnames=("equation",))
def judge(
    equation: PointwiseResidual, problem: Problem, samples: Samples, lift: dict[str, Any], slab: Slab, tau: Any
) -> Judgement:
    """The residual, equation by equation, and the polynomials' tail, unknown by unknown.

    Args:
      tau: scaled times, those of the fit and as many others.
    """
    partials = partials_of(problem, samples, lift, slab, tau)
    function = _function(equation, problem, samples, slab, tau)
    share = samples.volume / jnp.sum(samples.volume)

    def size(values):  # [times, points, ...] -> [...]
        return jnp.sqrt(jnp.tensordot(share, jnp.mean(values**2, axis=0), axes=1))

    slopes = _slopes(function, partials)
    terms = [size(slope * partials[key][..., None]) for key, slope in slopes.items()]
    rates, tails, sizes = [], [], []
    for i, name in enumerate(problem.unknowns):
        order = problem.time_order(name)
        sizes.append(size(partials[name, ""]))
        tails.append(size(tail(order, len(slab.coefficients)) @ slab.coefficients[:, i] @ samples.features[""][:, i].T))
        if order:
            slope = slopes[name, "t" * order]
            rates.append(size(slope))
            terms.append(size(slope * partials[name, ""][..., None]) / slab.length**order)
    largest = jnp.maximum(jnp.max(jnp.stack(terms), axis=0), jnp.finfo(tau.dtype).tiny)
    rate = jnp.max(jnp.stack(rates), axis=0)
    values, count = function(partials), len(tau) // 2
    sizes = jnp.stack(sizes)
    floor = jnp.finfo(tau.dtype).eps * jnp.max(sizes) + jnp.finfo(tau.dtype).tiny
    return Judgement(
        jnp.max(size(values[:count]) / largest),
        jnp.max(jnp.stack(tails) / jnp.maximum(sizes, floor)),
        jnp.max(size(values) / largest),
        jnp.linalg.norm(size(values) / jnp.where(rate > 0, rate, largest)),
    )
