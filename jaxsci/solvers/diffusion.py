"""Implicit diffusion along one axis of cells: second order, L-stable, one tridiagonal solve per Newton step.

    d/dt M(w) = R(w, t) = -(V_{i+1/2} - V_{i-1/2}) / h,    V at a face from (w_left + w_right) / 2 and (w_right - w_left) / h

by the two-stage SDIRK method with g = 1 - 1/sqrt(2), written for the density M so that its sum is conserved:

    M(w1) = M(w0) + g dt R(w1, t + g dt),    M(w2) = M(w0) + (1 - g)/g (M(w1) - M(w0)) + g dt R(w2, t + dt).

Reference: Alexander (1977), SIAM J. Numer. Anal. 14, 1006.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax.linalg import tridiagonal_solve

from jaxsci.equations.conservation import is_affine
from jaxsci.equations.evaluation import evaluate
from jaxsci.solvers.newton import root
from jaxsci.solvers.volumes import Volumes

_GAMMA = 1 - 0.5**0.5

Which = tuple[Volumes, int, int, int]  # the cells, the axis, the row of the law and the unknown that diffuses


def diffuse(which: Which, w: Any, t: Any, dt: Any, coefficients: Any) -> tuple[Any, Any]:
    """One step of an unknown's averages ``[..., n]``, and the difference to the method of first order within it."""
    start = _density(which, w, coefficients)
    first = _stage(which, w, start, t + _GAMMA * dt, _GAMMA * dt, coefficients)
    gain = _density(which, first, coefficients) - start
    target = start + (1 - _GAMMA) / _GAMMA * gain
    second = _stage(which, first, target, t + dt, _GAMMA * dt, coefficients)
    error = (_density(which, second, coefficients) - start - gain / _GAMMA) / _density_slope(which, second, coefficients)
    return second, error


def _stage(which: Which, guess: Any, target: Any, t: Any, step: Any, coefficients: Any) -> Any:
    """w with M(w) = target + step R(w, t)."""
    arguments = (target, t, step, coefficients)
    if is_linear(which):
        return guess - _solve(which, guess, arguments, _gap(which, guess, arguments))
    return root(_gap, _solve, guess, which, arguments)


def is_linear(which: Which) -> bool:
    """Whether one Newton step solves a stage exactly: neither density nor diffusive flux bends."""
    volumes, i, row, _ = which
    return is_affine(volumes.law.diffusion[row, volumes.names[i]]) and is_affine(volumes.law.densities[row])


def _density(which: Which, w: Any, coefficients: Any) -> Any:
    volumes, i, row, _ = which
    here = volumes.mesh(i, volumes.grid()[volumes.names[i]], w.dtype)
    return _formula(which, volumes.law.densities[row], w, None, here, coefficients)


def _density_slope(which: Which, w: Any, coefficients: Any) -> Any:
    return jax.jvp(lambda v: _density(which, v, coefficients), (w,), (jnp.ones_like(w),))[1]


def _formula(which: Which, formula: Any, w: Any, slope: Any, coordinates: Any, coefficients: Any) -> Any:
    volumes, i, _, k = which
    name = volumes.equation.unknowns[k]
    value = evaluate(formula, {(name, ""): w, (name, volumes.names[i]): slope}, coordinates, coefficients)
    return jnp.broadcast_to(jnp.asarray(value, w.dtype), w.shape)


def _ghosts(which: Which, t: Any, coefficients: Any, dtype: Any) -> list[tuple[Any, float]]:
    """(a, b) by end such that the ghost cell beyond the wall is a + b * the cell before it; none where periodic."""
    volumes, i, _, k = which
    ends = range(len(volumes.walls(i)))
    return [volumes.ghost(i, end, volumes.equation.unknowns[k], t, coefficients, dtype)[:2] for end in ends]


def _sides(which: Which, w: Any, t: Any, coefficients: Any) -> tuple[Any, Any]:
    """The averages to the left and to the right of every face, ``[..., n + 1]``."""
    if not which[0].walls(which[1]):
        return jnp.concatenate([w[..., -1:], w], -1), jnp.concatenate([w, w[..., :1]], -1)
    (a, b), (c, d) = _ghosts(which, t, coefficients, w.dtype)
    return jnp.concatenate([a + b * w[..., :1], w], -1), jnp.concatenate([w, c + d * w[..., -1:]], -1)


def _flux(which: Which, left: Any, right: Any, t: Any, coefficients: Any) -> Any:
    """V at the faces."""
    volumes, i, row, _ = which
    here = volumes.mesh(i, volumes.faces(i), left.dtype) | {"t": t}
    formula = volumes.law.diffusion[row, volumes.names[i]]
    return _formula(which, formula, (left + right) / 2, (right - left) / volumes.width(i), here, coefficients)


def _gap(which: Which, w: Any, arguments: Any) -> Any:
    target, t, step, coefficients = arguments
    flux = _flux(which, *_sides(which, w, t, coefficients), t, coefficients)
    return _density(which, w, coefficients) - target + step / which[0].width(which[1]) * jnp.diff(flux, axis=-1)


def _solve(which: Which, w: Any, arguments: Any, right_hand_side: Any) -> Any:
    """J^-1 r with the tridiagonal Jacobian J of the gap, from the slopes of V in its two states."""
    _, t, step, coefficients = arguments
    ratio = step / which[0].width(which[1])
    left, right = _sides(which, w, t, coefficients)
    ones, zeros = jnp.ones_like(left), jnp.zeros_like(left)
    flux = lambda a, b: _flux(which, a, b, t, coefficients)  # noqa: E731
    by_left = ratio * jax.jvp(flux, (left, right), (ones, zeros))[1]
    by_right = ratio * jax.jvp(flux, (left, right), (zeros, ones))[1]
    lower, upper = -by_left[..., :-1], by_right[..., 1:]
    diagonal = _density_slope(which, w, coefficients) + by_left[..., 1:] - by_right[..., :-1]
    ghosts = _ghosts(which, t, coefficients, w.dtype)
    if not ghosts:
        return _periodic_solve(lower, diagonal, upper, right_hand_side)
    diagonal = diagonal.at[..., 0].add(ghosts[0][1] * lower[..., 0]).at[..., -1].add(ghosts[1][1] * upper[..., -1])
    return _tridiagonal(lower, diagonal, upper, right_hand_side[..., None])[..., 0]


def _tridiagonal(lower: Any, diagonal: Any, upper: Any, columns: Any) -> Any:
    return tridiagonal_solve(lower.at[..., 0].set(0), diagonal, upper.at[..., -1].set(0), columns)


def _periodic_solve(lower: Any, diagonal: Any, upper: Any, right_hand_side: Any) -> Any:
    """Two corner entries more: a correction of rank one (Sherman and Morrison)."""
    pivot = -diagonal[..., :1]
    corner, wrap = upper[..., -1:], lower[..., :1]
    middle = jnp.zeros_like(diagonal[..., 2:])
    column = jnp.concatenate([pivot, middle, corner], -1)
    changed = diagonal - jnp.concatenate([pivot, middle, corner * wrap / pivot], -1)
    both = _tridiagonal(lower, changed, upper, jnp.stack([right_hand_side, column], -1))
    y, z = both[..., 0], both[..., 1]
    weight = wrap / pivot
    factor = (y[..., :1] + weight * y[..., -1:]) / (1 + z[..., :1] + weight * z[..., -1:])
    return y - factor * z
