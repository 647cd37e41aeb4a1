r"""Flux variability: how far every flux can go while the objective stays near its optimum.

min, max v_j     with     S v = 0,   lower <= v <= upper,   c.v >= fraction * max c.v
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsci._checks import results_are_traced
from jaxsci.metabolism.linear_program import MAX_STEPS, OPTIMAL, UNBOUNDED, LinearSolution, maximise
from jaxsci.metabolism.loopless import loopless_ranges
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.optimum import (
    batched,
    check_fraction,
    nan_unless,
    optimum,
    places,
    required,
    rows_of,
    start_at,
    with_row,
)
from jaxsci.metabolism.starting_vertex import by_highs

_AT_ONCE = 256  # programmes between two lines of progress


class FluxRange(NamedTuple):
    """What `flux_variability` returns; leading axes are the batch. NaN where `status` is not OPTIMAL."""

    minimum: Any  # [..., reactions asked for], mmol/gDW/h; infinite where nothing bounds the flux
    maximum: Any
    status: Any  # [...]: OPTIMAL 0, or why the model itself has no optimum; MAX_STEPS 3 if one programme did not end
    steps: Any  # pivots of all programmes together


def flux_variability(
    model: StoichiometricModel,
    reactions: Any = None,
    fraction: Any = 1.0,
    *,
    loopless: bool = False,
    progress: Callable[[str], None] | None = None,
) -> FluxRange:
    r"""Flux variability analysis: the range of every flux over all flux distributions that reach a fraction of the optimum.

    Two programmes for each group of reactions that the steady state ties together, by the primal simplex method from the
    vertex of flux balance, which is feasible for all of them and near most. Exact, with derivatives as in `fba`.

    Cycles inside the network, which no thermodynamics allows, widen ranges to the bounds. ``loopless=True`` takes the extremes
    over the fluxes without such cycles (the loop law): the vertices found are certified where they contain no cycle, and a
    mixed-integer programme decides the others (by HiGHS, on the host: one model, known numbers, no derivative).

    Args:
      model: with leading batch axes, if any; its members are then done one after the other.
      reactions: names, all by default.
      fraction: of the optimum that is kept, from 0 to 1; 0 keeps c.v >= 0. Of an optimum w < 0 it is w - (1 - fraction) |w|.
      loopless: see above.
      progress: called with a line of text now and then; of one model with known numbers.
    Returns:
      A `FluxRange`, in the order of `reactions`.
    Raises:
      ValueError: a fraction outside of [0, 1]. KeyError: an unknown reaction.
      TypeError: `loopless` of numbers that are traced; ValueError: of a batch.
    Reference: Mahadevan & Schilling (2003), Metab. Eng. 5, 264. Loop law: Schellenberger, Lewis & Palsson (2011), Biophys. J.
      100, 544.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> found = js.metabolism.flux_variability(model, ["PGI", "EX_ac_e"], fraction=0.9)
      >>> print(f"{found.minimum[0]:.4f} {found.maximum[0]:.4f} {found.maximum[1]:.4f}")
      -14.2990 9.8388 3.8136
    """
    check_model("flux_variability", model)
    check_fraction("flux_variability", fraction)
    index = places("flux_variability", model, reactions)
    if loopless:
        if results_are_traced((model, fraction)):
            raise TypeError(
                "flux_variability: loopless ranges are found on the host; call it outside of jit, grad and vmap."
            )
        if any(np.ndim(x) > 1 for x in (model.lower, model.upper, model.objective)) or np.ndim(fraction):
            raise ValueError("flux_variability: loopless ranges are of one model; a batch goes through a loop.")
    solve = functools.partial(_ranges, index=index, progress=progress)
    found = batched(lambda model, fraction: solve(model, fraction=fraction), model, fraction, one_by_one=True)
    ranges = FluxRange(*found[:4])
    if loopless and int(ranges.status) == OPTIMAL:
        return _without_loops(model, index, ranges, found[4], found[5], progress)
    return ranges


def _ranges(model: StoichiometricModel, fraction: Any, index: np.ndarray, progress: Any) -> tuple[Any, ...]:
    best = optimum(model)
    small, dtype = best.presolved, best.cost.dtype
    good = best.status == OPTIMAL
    value = jnp.where(good, best.found.value, 0.0)
    matrix = jnp.asarray(rows_of(small), dtype)
    start = with_row(start_at(matrix, best.found.basis), best.cost)
    matrix = jnp.concatenate([matrix, best.cost[None]])
    none = jnp.zeros(matrix.shape[0] - 1, dtype)
    floor = required(value, fraction)
    least = jnp.concatenate([none, floor[None]])
    most = jnp.concatenate([none, jnp.full(1, jnp.inf, dtype)])
    group = small.group[index]
    groups = np.unique(group[group >= 0])
    unit = np.zeros((len(groups), small.matrix.shape[1]))
    unit[np.arange(len(groups)), groups] = 1.0
    cost = jnp.asarray(np.concatenate([unit, -unit]), dtype)
    programmes = (cost, matrix, best.lower, best.upper, least, most, start)
    found = _extremes(*programmes) if results_are_traced(programmes) else _on_the_host(programmes, progress)
    far = jnp.where(found.status == UNBOUNDED, jnp.inf, jnp.where(found.status == OPTIMAL, found.value, 0.0))
    ends = (far[: len(groups)], -far[len(groups) :])  # the largest and the least value of every group
    place = np.clip(np.searchsorted(groups, group), 0, max(len(groups) - 1, 0))
    ratio = jnp.asarray(np.where(group >= 0, small.ratio[index], 0.0), dtype)
    moves = group >= 0

    def times(end: Any) -> Any:
        return (
            jnp.where(moves, ratio * jnp.where(moves, end[place], 0.0), 0.0) if len(groups) else jnp.zeros(len(index), dtype)
        )

    top, bottom = times(ends[0]), times(ends[1])
    stuck = ((found.status != OPTIMAL) & (found.status != UNBOUNDED)).any()
    status = jnp.where(good & stuck, MAX_STEPS, best.status)
    fine = status == OPTIMAL
    rates = nan_unless(fine, jnp.where(ratio > 0, bottom, top)), nan_unless(fine, jnp.where(ratio > 0, top, bottom))
    return *rates, status, best.found.steps + found.steps.sum(), small.expand(found.x), floor


def _extremes(cost: Any, matrix: Any, low: Any, high: Any, least: Any, most: Any, start: Any) -> LinearSolution:
    return maximise(cost, matrix, low, high, least, most, start=start, primal=True)


def _on_the_host(programmes: Any, progress: Callable[[str], None] | None) -> LinearSolution:
    """The same a part at a time; what the batched search gives up, HiGHS (Huangfu & Hall 2018) solves."""
    cost, *rest = programmes
    count = len(cost)
    size = min(count, _AT_ONCE)
    padded = jnp.concatenate([cost, jnp.zeros((-count % size if size else 0, cost.shape[1]), cost.dtype)])
    parts = []
    for part in range(math.ceil(count / size) if size else 0):
        parts.append(jax.tree.map(np.asarray, _extremes_compiled(padded[part * size :][:size], *rest)))
        if progress is not None:
            progress(f"{min((part + 1) * size, count):,} of {count:,} ends of ranges known")
    if not parts:
        return _extremes(*programmes)
    found = jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)
    matrix, low, high, least = (np.asarray(x, np.float64) for x in rest[:4])
    sparse = scipy.sparse.csc_array(matrix)
    for k in np.flatnonzero(found.status == MAX_STEPS):
        other = by_highs(cost[k], sparse[:-1], low, high, A_ub=-matrix[-1:], b_ub=-least[-1:])
        if other.status == 0:
            found.status[k], found.value[k], found.x[k] = OPTIMAL, -other.fun, other.x
        elif other.status == 3:
            found.status[k] = UNBOUNDED
    return found


_extremes_compiled = jax.jit(_extremes)


def _without_loops(
    model: StoichiometricModel, index: np.ndarray, ranges: FluxRange, vertices: Any, floor: Any, progress: Any
) -> FluxRange:
    from jaxsci.metabolism.presolve import presolve

    group = presolve(model.network).group[index]
    groups = np.unique(group[group >= 0])
    minimum, maximum = loopless_ranges(
        model, index, np.asarray(ranges.minimum), np.asarray(ranges.maximum), np.asarray(vertices), float(floor),
        np.searchsorted(groups, group), len(groups), progress,
    )  # fmt: skip
    return ranges._replace(minimum=jnp.asarray(minimum), maximum=jnp.asarray(maximum))
