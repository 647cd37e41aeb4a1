"""What the family of flux balance shares: the optimum in presolved variables, its vertex as a start, and one row more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.fba import numbers, start_of
from jaxsci.metabolism.linear_program import INFEASIBLE, NOT_FINITE, LinearSolution, maximise
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.presolve import Presolved, presolve
from jaxsci.metabolism.simplex import Basis
from jaxsci.metabolism.starting_vertex import Start


class Optimum(NamedTuple):
    """Flux balance of one model in presolved variables."""

    presolved: Presolved
    cost: Any  # [n'] weights, and bounds
    lower: Any
    upper: Any
    found: LinearSolution
    status: Any  # of the model: a bound that crosses another, or is NaN, counts


def optimum(model: StoichiometricModel) -> Optimum:
    """The vertex that `fba` finds, before it is written in fluxes. Of one model; a batch goes through `batched`."""
    lower, upper, objective = numbers(model, None, None, None)
    small = presolve(model.network)
    low, high, whole = small.reduce_bounds(lower, upper)
    cost = small.reduce_objective(objective)
    start = start_of(model.network, model.nominal) if len(small.A) else None
    found = maximise(cost, rows_of(small), low, high, start=start)
    known = ~(jnp.isnan(lower) | jnp.isnan(upper)).any(-1) & jnp.isfinite(objective).all(-1)
    status = jnp.where(known, jnp.where(whole, found.status, INFEASIBLE), NOT_FINITE)
    return Optimum(small, cost, low, high, found, status)


def batched(solve: Callable[..., Any], model: StoichiometricModel, *more: Any, one_by_one: bool = False) -> Any:
    """``solve(model, *more)`` of one model, for every member of the leading axes that the model's leaves and `more` have.

    Args:
      more: numbers, of the batch's shape or scalars.
      one_by_one: programmes that start where their own model's optimum is: the matrices are then not stored side by side.
    """
    n = len(model.reactions)
    lower, upper, objective = numbers(model, None, None, None)
    shape = jnp.broadcast_shapes(lower.shape[:-1], *(np.shape(x) for x in more))
    if not shape:
        return solve(_with(model, lower, upper, objective), *more)
    leaves = tuple(jnp.broadcast_to(x, (*shape, n)).reshape(-1, n) for x in (lower, upper, objective))
    rest = tuple(jnp.broadcast_to(jnp.asarray(x, lower.dtype), shape).reshape(-1) for x in more)

    def one(own: Any) -> Any:
        return solve(_with(model, *own[:3]), *own[3:])

    found = jax.lax.map(one, leaves + rest) if one_by_one else jax.vmap(one)(leaves + rest)
    return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), found)


def _with(model: StoichiometricModel, lower: Any, upper: Any, objective: Any) -> StoichiometricModel:
    return StoichiometricModel(model.network, lower, upper, objective, model.nominal)


def rows_of(presolved: Presolved) -> np.ndarray:
    """The presolved matrix; one row of zeros where presolve left none."""
    return presolved.A if len(presolved.A) else np.zeros((1, presolved.A.shape[1]))


def start_at(A: Any, basis: Basis) -> Start:
    """The start at a basis that was found inside a program: its tableau B^-1 [A, -1], refined once."""
    A = jnp.asarray(A)
    full = jnp.concatenate([A, -jnp.eye(A.shape[0], dtype=A.dtype)], 1)
    B = full[:, basis.basic]
    factor = jax.scipy.linalg.lu_factor(B)
    tableau = jax.scipy.linalg.lu_solve(factor, full)
    tableau = tableau + jax.scipy.linalg.lu_solve(factor, full - B @ tableau)
    return Start(basis, jnp.where(jnp.abs(tableau) < 1e-13, 0.0, tableau))


def with_row(start: Start, row: Any) -> Start:
    """The start of the same programme with one row more, whose own value is basic: known without any search."""
    tableau = jnp.asarray(start.tableau, row.dtype)
    rows, count = tableau.shape
    whole = jnp.concatenate([row, jnp.zeros(rows, row.dtype)])
    last = whole[start.basis.basic] @ tableau - whole
    none = jnp.zeros((rows, 1), row.dtype)
    tableau = jnp.concatenate(
        [jnp.concatenate([tableau, none], 1), jnp.concatenate([last, jnp.ones(1, row.dtype)])[None]], 0
    )
    basic = jnp.concatenate([jnp.asarray(start.basis.basic), jnp.array([count])])
    return Start(Basis(basic, jnp.concatenate([jnp.asarray(start.basis.at_upper), jnp.zeros(1, bool)])), tableau)


def required(value: Any, fraction: Any) -> Any:
    """The least objective that counts as `fraction` of the optimum; below an optimum that is negative, too."""
    return value - (1 - fraction) * jnp.abs(value)


def check_fraction(what: str, fraction: Any) -> None:
    """A known fraction lies in [0, 1].

    Raises:
      ValueError: it does not.
    """
    if not isinstance(fraction, jax.Array) and not ((np.asarray(fraction) >= 0) & (np.asarray(fraction) <= 1)).all():
        raise ValueError(f"{what}: fraction is the part of the optimum that is kept, from 0 to 1, got {fraction!r}.")


def nan_unless(optimal: Any, value: Any) -> Any:
    """NaN where there is no optimum, with derivative 0."""
    return jnp.where(jnp.reshape(optimal, jnp.shape(optimal) + (1,) * (jnp.ndim(value) - jnp.ndim(optimal))), value, jnp.nan)


def places(what: str, model: StoichiometricModel, reactions: Any) -> np.ndarray:
    """The columns of named reactions; of all where None."""
    if reactions is None:
        return np.arange(len(model.reactions))
    if isinstance(reactions, str):
        raise TypeError(f"{what}: reactions is a list of names, got the text {reactions!r}; write [{reactions!r}].")
    return np.array([model.index(name) for name in reactions], int)


@functools.lru_cache(maxsize=64)
def weights(presolved: Presolved) -> np.ndarray:
    """[n']: how many mmol/gDW/h of flux, in all reactions of a group together, one unit of its variable is."""
    kept = presolved.group >= 0
    return np.bincount(presolved.group[kept], np.abs(presolved.ratio[kept]), minlength=presolved.matrix.shape[1])
