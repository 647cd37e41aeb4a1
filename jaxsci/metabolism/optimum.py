"""What the family of flux balance shares: the optimum in presolved variables, its vertex as a start, and one row more."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.linear_program import (
    INFEASIBLE,
    NOT_FINITE,
    OPTIMAL,
    STATUS,
    LinearSolution,
    maximise,
    starting_vertex,
)
from jaxsci.metabolism.model import Nominal, StoichiometricModel, objective_weights
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.presolve import ROUNDING, Presolved, presolve
from jaxsci.metabolism.simplex import Basis
from jaxsci.metabolism.starting_vertex import Start, slack_start


class Optimum(NamedTuple):
    """Flux balance in presolved variables, of one model or of a batch."""

    presolved: Presolved
    cost: Any  # [..., n'] weights, and bounds
    lower: Any
    upper: Any
    found: LinearSolution
    status: Any  # of the model: a bound that crosses another, or is NaN, counts
    crossed: Any  # bounds that presolve merged leave no flux


def optimum(model: StoichiometricModel) -> Optimum:
    """The vertex that `fba` finds, before it is written in fluxes. Of one model; a batch goes through `batched`."""
    return optimum_of(model, *numbers(model, None, None, None))


def optimum_of(model: StoichiometricModel, lower: Any, upper: Any, objective: Any) -> Optimum:
    """The same for other numbers, ``[..., reactions]``."""
    small = presolve(model.network)
    low, high, whole = small.reduce_bounds(lower, upper)
    cost = small.reduce_objective(objective)
    start = start_of(model.network, model.nominal) if len(small.A) else None
    found = maximise(cost, rows_of(small), low, high, start=start)
    status = jnp.where(is_known(lower, upper, objective), jnp.where(whole, found.status, INFEASIBLE), NOT_FINITE)
    return Optimum(small, cost, low, high, found, status, ~whole)


def is_known(lower: Any, upper: Any, objective: Any) -> Any:
    """Whether a member's numbers are numbers; bounds may be infinite."""
    return ~(jnp.isnan(lower) | jnp.isnan(upper)).any(-1) & jnp.isfinite(objective).all(-1)


def numbers(model: StoichiometricModel, lower: Any, upper: Any, objective: Any) -> tuple[Any, Any, Any]:
    """Bounds and objective, of the model where not given, as arrays of one shape and one floating dtype.

    Raises:
      ValueError: a last axis that is not the number of reactions, or none; NaN in what is known. KeyError: an unknown reaction.
    """
    n = len(model.reactions)
    given = {"lower": lower, "upper": upper, "objective": objective_weights(model, objective)}
    for name, value in given.items():
        if value is not None and np.ndim(value) == 0:  # it would be broadcast to all reactions
            more = ", the name of a reaction or {name: weight}" if name == "objective" else ""
            raise ValueError(f"fba: {name} is [..., {n} reactions]{more}, got {value!r}.")
    values = {name: getattr(model, name) if value is None else value for name, value in given.items()}
    arrays = {name: value for name, value in values.items() if isinstance(value, jax.Array)}
    dtype = jnp.result_type(*(a.dtype for a in arrays.values())) if arrays else jnp.result_type(float)
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    for name, value in values.items():
        if np.ndim(value) and np.shape(value)[-1] != n:
            raise ValueError(f"fba: {name} is [..., {n} reactions], got shape {list(np.shape(value))}.")
        if not isinstance(value, jax.Array) and np.isnan(np.asarray(value, float)).any():
            raise ValueError(f"fba: {name} has an entry that is not a number; infinite bounds mean unbounded.")
    batch = jnp.broadcast_shapes(*(np.shape(v)[:-1] for v in values.values()), ())
    lower, upper, objective = (jnp.broadcast_to(jnp.asarray(v, dtype), (*batch, n)) for v in values.values())
    return lower, upper, objective


def fluxes_of(what: str, solution: Any) -> Any:
    """The fluxes of a result that has them; what is no result, an array say, as it is.

    Raises:
      TypeError: a result without fluxes (as of `flux_variability`), or a text.
    """
    given = getattr(solution, "fluxes", solution)
    if isinstance(given, str) or (isinstance(given, tuple) and hasattr(given, "_fields")):
        got = repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
        raise TypeError(
            f"{what}: fluxes are needed, as fba, parsimonious_fba or moma return them, got {got}, which has none."
        )
    return given


class Reduced(NamedTuple):
    """Known numbers of a model in presolved variables, NumPy float64 whatever JAX's precision is."""

    low: np.ndarray  # [n']
    high: np.ndarray
    cost: np.ndarray
    whole: bool  # the bounds of reactions that share a variable, or have none, leave something


@functools.lru_cache(maxsize=64)
def reduced(network: Network, nominal: Nominal) -> Reduced:
    """What `Presolved.reduce_bounds` and `reduce_objective` make of these numbers, on the host and once."""
    small = presolve(network)
    kept, count = small.group >= 0, small.matrix.shape[1]
    group, inverse = small.group[kept], 1 / small.ratio[kept]
    ends = np.stack([nominal.lower[kept] * inverse, nominal.upper[kept] * inverse])
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(low, group, ends.min(0))
    np.minimum.at(high, group, ends.max(0))
    slack = ROUNDING * np.finfo(float).eps * np.where(np.isinf(low), 0.0, abs(low))
    none = (nominal.lower[~kept] <= 0) & (nominal.upper[~kept] >= 0)
    whole = bool((nominal.lower <= nominal.upper).all() and (low <= high + slack).all() and none.all())
    high = np.where((low > high) & (low <= high + slack), low, high)
    cost = np.bincount(group, small.ratio[kept] * nominal.objective[kept], count)
    return Reduced(*(_fixed(x) for x in (low, high, cost)), whole)


def _fixed(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@functools.lru_cache(maxsize=64)
def start_of(network: Network, nominal: Nominal | None) -> Start:
    """Where searches on a presolved network start: at the optimum of the numbers that the model was first made of."""
    small = presolve(network)
    if nominal is None or not small.A.size:
        return slack_start(small.A)
    numbers = reduced(network, nominal)
    return starting_vertex(small.A, numbers.cost, numbers.low, numbers.high) if numbers.whole else slack_start(small.A)


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


def check_optimal(what: str, status: Any, cures: Mapping[int, str]) -> None:
    """Every member has an optimum.

    Args:
      cures: what to do, by status; of others the search did not end.
    Raises:
      RuntimeError: naming the first member that has none, and why.
    """
    codes = np.atleast_1d(np.asarray(status))
    wrong = np.argwhere(codes != OPTIMAL)
    if len(wrong):
        first = tuple(int(i) for i in wrong[0])
        label = f"member {first}" if np.ndim(status) else "the programme"
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        code = int(codes[first])
        cure = cures.get(code, "the search did not end; scale the bounds")
        raise RuntimeError(f"{what}: {label}{more} is {STATUS[code]}: {cure}.")
