r"""Enzyme capacity: growth when the protein that catalyses has a price.

    max c.v     with     S v = 0,   lower <= v <= upper,   sum_j (M_j / k_j) |v_j| <= P

M_j the enzyme's mass, k_j its turnover number, P the mass of metabolic enzymes in a gram of dry weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_traced
from jaxsci.metabolism.linear_program import INFEASIBLE, NOT_FINITE, OPTIMAL, maximise
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.optimum import batched, nan_unless, numbers, with_row
from jaxsci.metabolism.presolve import presolve
from jaxsci.metabolism.split_program import joined, split_bounds, split_matrix, split_start


class EnzymeBalance(NamedTuple):
    """What `enzyme_capacity` returns; leading axes are the batch. NaN where `status` is not OPTIMAL."""

    objective: Any  # c.v
    fluxes: Any  # [..., reactions], mmol/gDW/h
    enzyme: Any  # [..., reactions], g/gDW: M_j |v_j| / k_j
    price: Any  # d objective / d budget: what a gram of enzyme more is worth; 0 where there is enough
    status: Any
    steps: Any


def enzyme_capacity(model: StoichiometricModel, turnover: Any, molecular_weight: Any, budget: Any) -> EnzymeBalance:
    r"""Flux balance with one limit on the mass of all enzymes: overflow metabolism without a limit on oxygen.

    The limit is one row with coefficients M_j / k_j on forward and backward flux; the growth rate is differentiable in turnover
    numbers, weights and budget, as well as in bounds and objective (d objective / d k_j = price M_j |v_j| / k_j^2).

    Args:
      model: with leading batch axes, if any.
      turnover: k_cat in 1/s, ``{reaction: number}``, possibly traced, or an array [reactions]; reactions that are not named, or
        have an infinite one, need no enzyme. The same for both directions.
      molecular_weight: of the enzymes in kDa (g/mmol): ``{reaction: number}`` with the same names, an array, or one number.
      budget: P in g/gDW; broadcasts against the model's batch.
    Returns:
      An `EnzymeBalance`.
    Raises:
      KeyError: an unknown reaction, or a weight without a turnover number. ValueError: a number that is not positive, where
      that is known; an array of another shape; a model whose fluxes are in other units than mmol/gDW/h.
    Reference: Beg et al. (2007), PNAS 104, 12663; Sanchez et al. (2017), Mol. Syst. Biol. 13, 935 (GECKO); Bekiaris & Klamt
      (2020), BMC Bioinformatics 21, 19 (sMOMENT, this form).
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"in": "-> a", "cheap": "a -> b", "rich": "a -> 2 b", "out": "b ->"}, "out",
      ...                                    bounds={"in": (0, 10)})
      >>> found = js.metabolism.enzyme_capacity(toy, {"cheap": 100.0, "rich": 10.0}, {"cheap": 36.0, "rich": 36.0}, 0.004)
      >>> print(f"{found.objective:.4f} {found.fluxes[1]:.4f} {found.fluxes[2]:.4f} {found.price:.1f}")
      13.3333 6.6667 3.3333 1111.1
    """
    check_model("enzyme_capacity", model, usual_units=True)
    inverse = _of_reactions("turnover", model, turnover, jnp.inf)
    mass = _of_reactions("molecular_weight", model, molecular_weight, 0.0)
    if isinstance(turnover, Mapping) and isinstance(molecular_weight, Mapping):
        check_keys("enzyme_capacity: turnover of an enzyme with a weight:", molecular_weight, turnover)
        check_keys("enzyme_capacity: the molecular weight of", turnover, molecular_weight)
    if not is_traced(budget) and not (np.asarray(budget) > 0).all():
        raise ValueError(f"enzyme_capacity: budget is a mass in g/gDW > 0, got {budget!r}.")
    free = jnp.isinf(inverse)
    cost = jnp.where(free, 0.0, mass / (3600 * jnp.where(free, 1.0, inverse)))
    return batched(lambda model, budget: _balance(model, cost, budget), model, budget)


def _of_reactions(what: str, model: StoichiometricModel, given: Any, default: float) -> Any:
    """[reactions], of a dictionary, an array or a number."""
    n = len(model.reactions)
    known = [v for v in (given.values() if isinstance(given, Mapping) else [given]) if not is_traced(v)]
    if any(not (np.asarray(v) > 0).all() for v in known) and not (what == "molecular_weight" and np.ndim(given) == 1):
        raise ValueError(f"enzyme_capacity: {what} is > 0; leave a reaction out that needs no enzyme.")
    dtype = numbers(model, None, None, None)[0].dtype
    if isinstance(given, Mapping):
        index = np.array([model.index(name) for name in given], int)
        values = [jnp.asarray(v, dtype) for v in given.values()]
        return jnp.full(n, default, dtype).at[index].set(jnp.stack(values)) if values else jnp.full(n, default, dtype)
    if np.shape(given) not in ((), (n,)):
        raise ValueError(f"enzyme_capacity: {what} is [{n} reactions], got the shape {list(np.shape(given))}.")
    return jnp.broadcast_to(jnp.asarray(given, dtype), (n,))


def _balance(model: StoichiometricModel, cost: Any, budget: Any) -> EnzymeBalance:
    lower, upper, objective = numbers(model, None, None, None)
    small = presolve(model.network)
    low, high, whole = small.reduce_bounds(lower, upper)
    weight = small.reduce_objective(objective)
    kept = small.group >= 0
    share = cost[kept] * jnp.asarray(np.abs(small.ratio[kept]), cost.dtype)
    row = jnp.zeros(small.matrix.shape[1], cost.dtype).at[small.group[kept]].add(share)
    # In units in which the largest coefficient is 1.
    scale = 1 / jnp.maximum(jax.lax.stop_gradient(row.max(initial=0.0)), jnp.finfo(row.dtype).tiny * 1e8)
    both = jnp.concatenate([row, row]) * scale
    matrix = jnp.concatenate([jnp.asarray(split_matrix(model.network), both.dtype), both[None]])
    none = jnp.zeros(matrix.shape[0] - 1, both.dtype)
    most = jnp.concatenate([none, (budget * scale)[None]])
    least = jnp.concatenate([none, jnp.full(1, -jnp.inf, both.dtype)])
    start = with_row(split_start(model.network, model.nominal), both)
    double = jnp.concatenate([weight, -weight])
    found = maximise(double, matrix, *split_bounds(low, high), least, most, start=start)
    known = ~(jnp.isnan(lower) | jnp.isnan(upper)).any() & jnp.isfinite(objective).all() & jnp.isfinite(cost).all()
    status = jnp.where(known, jnp.where(whole, found.status, INFEASIBLE), NOT_FINITE)
    good = status == OPTIMAL
    fluxes = small.expand(joined(jnp.where(good, found.x, 0.0)))
    return EnzymeBalance(
        nan_unless(good, jnp.where(good, found.value, 0.0)),
        nan_unless(good, fluxes),
        nan_unless(good, cost * jnp.abs(fluxes)),
        nan_unless(good, jnp.where(good, found.row_prices[-1], 0.0) * scale),
        status,
        found.steps,
    )
