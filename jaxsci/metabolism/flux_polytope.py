r"""The polytope {S v = 0, l <= v <= u} made ready for sampling: what is fixed, coordinates for the rest, a centre and directions.

    v = expand(x),     x = centre + basis c,     matrix basis = 0,     low <= x <= high

All of it on the host, in float64, once for a model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.optimize import linprog

from jaxsci.metabolism.model import Nominal
from jaxsci.metabolism.optimum import reduced
from jaxsci.metabolism.presolve import Presolved

_THINNEST = 1e-8  # mmol/gDW/h: what is narrower counts as flat; also about what double precision can tell at bounds of 1,000
_NEWTON = 200


class FluxPolytope(NamedTuple):
    """A polytope with an inside. Variables are those of the presolved network: [groups], see `Presolved`."""

    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray  # analytic: where the product of the distances to all bounds is largest
    basis: np.ndarray  # [groups, dimension], orthonormal; rows of zeros where a flux is fixed
    shape: np.ndarray  # [dimension, dimension]: its columns span the ellipsoid of the barrier at the centre


def flux_polytope(presolved: Presolved, lower: np.ndarray, upper: np.ndarray, names: tuple[str, ...]) -> FluxPolytope:
    """Facial reduction, null space and analytic centre.

    Raises:
      ValueError: infeasible bounds, or fluxes without limit, with a reaction's name.
    """
    matrix = presolved.A
    low, high, _, possible = reduced(presolved.network, Nominal(lower, upper, np.zeros(len(lower))))
    leader = [names[int(np.argmax(presolved.group == k))] for k in range(len(low))]
    if not possible:
        where = f": {leader[int(np.argmax(low - high))]!r} has none left" if (low > high).any() else ""
        raise ValueError(f"sample: no flux satisfies S v = 0 and the bounds{where}; widen them.")
    inside, flat = _inner_point(matrix, low, high)
    _check_bounded(matrix, low, high, leader)
    # A bound that no flux leaves is an equation; what it fixes is exactly the bound.
    fixed = flat[0] | flat[1]
    inside = np.where(flat[0], low, np.where(flat[1], high, inside))
    basis = np.zeros((len(low), 0))
    if not fixed.all():
        free = scipy.linalg.null_space(matrix[:, ~fixed], rcond=1e-11) if len(matrix) else np.eye((~fixed).sum())
        basis = np.zeros((len(low), free.shape[1]))
        basis[~fixed] = np.where(np.abs(free) < 1e-12, 0, free)
    inside = _on_rows(matrix, inside, fixed)
    centre, shape = _analytic_centre(inside, basis, low, high)
    return FluxPolytope(low, high, centre, basis, shape)


def _inner_point(matrix: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A point off every bound that can be left, and which bounds [2, groups] cannot be, by one linear programme.

    max sum(s)  with  A x = 0,  x - s_l >= low z,  x + s_u <= high z,  0 <= s <= 1,  1 <= z <= 1 / _THINNEST:  scaled up far
    enough every slack that can be positive is 1 (Freund, Roundy & Todd 1985), so that no threshold judges small fluxes.
    """
    n, m = len(low), len(matrix)
    sides = [np.flatnonzero(np.isfinite(low)), np.flatnonzero(np.isfinite(high))]
    count = sum(map(len, sides))
    above = np.zeros((count, n + count + 1))
    k = np.arange(len(sides[0]))
    above[k, sides[0]], above[k, -1] = -1, low[sides[0]]
    k = np.arange(len(sides[1])) + len(sides[0])
    above[k, sides[1]], above[k, -1] = 1, -high[sides[1]]
    above[:, n : n + count] = np.eye(count)
    rows = np.hstack([matrix, np.zeros((m, count + 1))])
    cost = np.concatenate([np.zeros(n), -np.ones(count), [0.0]])
    bounds = [(None, None)] * n + [(0, 1)] * count + [(1, 1 / _THINNEST)]
    found = linprog(
        cost, A_ub=scipy.sparse.csr_array(above), b_ub=np.zeros(count), A_eq=scipy.sparse.csr_array(rows) if m else None,
        b_eq=np.zeros(m) if m else None, bounds=bounds, method="highs",
    )  # fmt: skip
    if found.status != 0:
        raise ValueError(f"sample: no flux satisfies S v = 0 and the bounds ({found.message.strip()}); widen them.")
    slack = found.x[n : n + count]
    flat = np.zeros((2, n), bool)
    flat[0, sides[0]] = slack[: len(sides[0])] < 0.5
    flat[1, sides[1]] = slack[len(sides[0]) :] < 0.5
    return found.x[:n] / found.x[-1], flat


def _check_bounded(matrix: np.ndarray, low: np.ndarray, high: np.ndarray, names: list[str]) -> None:
    """Only what has an infinite bound can be without limit: one programme for each of those."""
    for sign, ends in ((1, high), (-1, low)):
        for k in np.flatnonzero(np.isinf(ends)):
            cost = np.zeros(len(low))
            cost[k] = -sign
            bounds = np.stack([np.where(np.isfinite(low), 0, -1), np.where(np.isfinite(high), 0, 1)], axis=1)
            found = linprog(cost, A_eq=matrix, b_eq=np.zeros(len(matrix)), bounds=bounds, method="highs")
            if -found.fun > 0.5:
                raise ValueError(f"sample: the flux of {names[k]!r} has no limit; give it a finite bound.")


def _on_rows(matrix: np.ndarray, x: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Moved onto A x = 0 to round-off, what is fixed held."""
    for _ in range(3):
        x = x.copy()
        x[~fixed] -= np.linalg.lstsq(matrix[:, ~fixed], matrix @ x, rcond=1e-12)[0]
    return x


def _analytic_centre(x: np.ndarray, basis: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Damped Newton steps on  -sum log(x - low) - sum log(high - x)  from an inner point; the inverse root of its Hessian."""
    moving = np.any(basis != 0, axis=1)
    start, c = x, np.zeros(basis.shape[1])
    factor = np.eye(len(c))
    for _ in range(_NEWTON if len(c) else 0):
        with np.errstate(divide="ignore"):
            below, above = (np.where(moving, 1 / d, 0) for d in (x - low, high - x))
        hessian = basis.T @ ((below**2 + above**2)[:, None] * basis)
        # Scaled to a unit diagonal: slacks range over ten orders.
        root = np.sqrt(np.diag(hessian))
        factor = np.linalg.cholesky(hessian / np.outer(root, root))
        slope = basis.T @ (below - above)
        step = scipy.linalg.cho_solve((factor, True), slope / root) / root
        decrement = np.sqrt(max(slope @ step, 0))
        c = c + step / (1 + decrement if decrement > 0.25 else 1)
        x = start + basis @ c
        factor = root[:, None] * factor
        if decrement < 1e-6:
            break
    return x, scipy.linalg.solve_triangular(factor, np.eye(len(c)), lower=True, trans="T") if len(c) else np.eye(0)
