r"""Parsimonious flux balance: of all optimal fluxes those with the least total.

min sum_j |v_j|     with     S v = 0,   lower <= v <= upper,   c.v >= fraction * max c.v
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxsci.metabolism.linear_program import OPTIMAL, maximise
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.optimum import batched, check_fraction, nan_unless, optimum, required, weights, with_row
from jaxsci.metabolism.split_program import held, joined, split_bounds, split_matrix, split_start


class ParsimoniousFlux(NamedTuple):
    """What `parsimonious_fba` returns; leading axes are the batch. NaN where `status` is not OPTIMAL."""

    objective: Any  # c.v
    total: Any  # sum_j |v_j|, mmol/gDW/h
    fluxes: Any  # [..., reactions], mmol/gDW/h
    status: Any  # OPTIMAL 0, INFEASIBLE 1, UNBOUNDED 2, MAX_STEPS 3, NOT_FINITE 4
    steps: Any  # pivots of both programmes


def parsimonious_fba(model: StoichiometricModel, fraction: Any = 1.0) -> ParsimoniousFlux:
    r"""Parsimonious flux balance (pFBA): the least sum_j |v_j| that reaches a fraction of the optimal objective.

    Two linear programmes, both exact. With ``fraction=1.0`` the second one has no row for the objective: a flux is optimal if
    and only if every variable with a reduced cost is at the bound which that asks for (complementary slackness), so that the
    optimal fluxes are a box of the same matrix, and nothing is lost to a tolerance. `total` is unique; the fluxes nearly always.

    Batches, jit, vmap and derivatives are as in `fba`: `total` and `fluxes` are those of a vertex, whose derivative is exact
    where the vertex is not degenerate, and of one side else.

    Args:
      model: with leading batch axes, if any.
      fraction: from 0 to 1, a number or one of each member; may be traced.
    Returns:
      A `ParsimoniousFlux`.
    Raises:
      ValueError: a fraction outside of [0, 1].
    Reference: Lewis et al. (2010), Mol. Syst. Biol. 6, 390.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> found = js.metabolism.parsimonious_fba(model)
      >>> print(f"{found.objective:.4f} {found.total:.2f}")
      0.8739 518.42
    """
    check_model("parsimonious_fba", model)
    check_fraction("parsimonious_fba", fraction)
    if isinstance(fraction, int | float) and fraction == 1:
        return batched(_of_optima, model)
    return batched(_of_fraction, model, fraction)


def _of_optima(model: StoichiometricModel) -> ParsimoniousFlux:
    best = optimum(model)
    good = best.status == OPTIMAL
    tolerance = 1e-10 if best.cost.dtype == jnp.float64 else 1e-5
    reduced = jnp.where(good, best.found.reduced_costs, 0.0)
    low, high = held(reduced, best.lower, best.upper, tolerance)
    size = jnp.asarray(weights(best.presolved), best.cost.dtype)
    start = split_start(model.network, model.nominal)
    cost = -jnp.concatenate([size, size])
    found = maximise(cost, split_matrix(model.network), *split_bounds(low, high), start=start)
    return _answer(best, found)


def _of_fraction(model: StoichiometricModel, fraction: Any) -> ParsimoniousFlux:
    best = optimum(model)
    value = jnp.where(best.status == OPTIMAL, best.found.value, 0.0)
    size = jnp.asarray(weights(best.presolved), best.cost.dtype)
    row = jnp.concatenate([best.cost, -best.cost])
    matrix = jnp.concatenate([jnp.asarray(split_matrix(model.network), row.dtype), row[None]])
    start = with_row(split_start(model.network, model.nominal), row)
    none = jnp.zeros(matrix.shape[0] - 1, row.dtype)
    least = jnp.concatenate([none, required(value, fraction)[None]])
    most = jnp.concatenate([none, jnp.full(1, jnp.inf, row.dtype)])
    cost = -jnp.concatenate([size, size])
    return _answer(best, maximise(cost, matrix, *split_bounds(best.lower, best.upper), least, most, start=start))


def _answer(best: Any, found: Any) -> ParsimoniousFlux:
    status = jnp.where(best.status == OPTIMAL, found.status, best.status)
    good = status == OPTIMAL
    z = joined(jnp.where(good, found.x, 0.0))
    return ParsimoniousFlux(
        nan_unless(good, best.cost @ z),
        nan_unless(good, jnp.where(good, -found.value, 0.0)),
        nan_unless(good, best.presolved.expand(z)),
        status,
        best.found.steps + found.steps,
    )
