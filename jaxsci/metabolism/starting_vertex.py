"""Where the simplex method starts: the optimal basis of one programme, found on the host, and its tableau."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize

from jaxsci.metabolism.simplex import Basis

_ZERO = 1e-9


class Start(NamedTuple):
    """A basis of [A, -1] and what all programmes that start there share."""

    basis: Basis  # basic [m], at_upper [N]
    tableau: Any  # B^-1 [A, -1], [m, N]


def slack_start(matrix: Any) -> Start:
    """The rows' own values are the basis: known without any search, and far from every optimum."""
    rows, columns = matrix.shape
    basis = Basis(np.arange(columns, columns + rows), np.zeros(columns + rows, bool))
    return Start(basis, np.concatenate([-np.asarray(matrix), np.eye(rows)], axis=1))


def optimal_start(matrix: Any, cost: Any, lower: Any, upper: Any) -> Start:
    """The optimal basis of max cost.x with [A, -1] x = 0, lower <= x <= upper; the slack basis where there is no optimum.

    The optimum is HiGHS' (Huangfu & Hall 2018), by way of SciPy. It reports no basis; one is chosen from its vertex: first the
    variables between their bounds, then those at a bound with reduced cost 0, as many as are independent.

    Args:
      matrix: A, NumPy [m, n]; the rest NumPy [n + m], possibly infinite.
    """
    rows = len(matrix)
    full = np.concatenate([matrix, -np.eye(rows)], axis=1)
    with np.errstate(all="ignore"):
        found = scipy.optimize.linprog(
            -cost,
            A_eq=scipy.sparse.csc_array(full),
            b_eq=np.zeros(rows),
            bounds=np.stack([lower, upper], 1),
            method="highs-ds",
        )
    if found.status != 0:
        return slack_start(matrix)
    x = found.x
    reduced = cost + found.eqlin.marginals @ full
    inside = np.minimum(x - lower, upper - x) > _ZERO
    spare = ~inside & (np.abs(reduced) <= _ZERO)
    basic = np.zeros(0, int)
    for group in (inside, spare, ~inside & ~spare):
        if len(basic) < rows:
            basic = _completed(full, basic, np.flatnonzero(group))
    basic = np.sort(basic)
    solved = scipy.linalg.lu_factor(full[:, basic])
    tableau = scipy.linalg.lu_solve(solved, full)
    tableau += scipy.linalg.lu_solve(solved, full - full[:, basic] @ tableau)
    tableau[np.abs(tableau) < 1e-13] = 0.0
    return Start(Basis(basic, np.isfinite(upper) & (upper - x <= x - lower)), tableau)


def by_highs(cost: Any, A: Any, low: Any, high: Any, **more: Any) -> Any:
    """SciPy's result of max cost.x with A x = 0, low <= x <= high by HiGHS, as tightly as it can: for what a search gives up.

    `more` are further rows, ``A_ub=, b_ub=``. Status 0 is optimal, 2 infeasible, 3 unbounded.
    """
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    bounds = np.stack([low, high], 1)
    return scipy.optimize.linprog(
        -np.asarray(cost), A_eq=A, b_eq=np.zeros(A.shape[0]), bounds=bounds, method="highs-ds", options=options, **more
    )


def _completed(full: np.ndarray, basic: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """`basic` with as many of the candidates as stay independent, by QR with pivoting of what `basic` leaves of them."""
    if not len(candidates):
        return basic
    sizes = np.linalg.norm(full[:, candidates], axis=0)
    columns = full[:, candidates] / np.where(sizes > 0, sizes, 1.0)  # a column of zeros is never independent
    if len(basic):
        known = scipy.linalg.qr(full[:, basic], mode="economic")[0]
        columns = columns - known @ (known.T @ columns)
    _, r, order = scipy.linalg.qr(columns, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > _ZERO).sum())
    return np.concatenate([basic, candidates[order[: min(rank, full.shape[0] - len(basic))]]])
