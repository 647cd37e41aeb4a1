r"""Flux balance analysis: the fluxes of a network at steady state that serve an objective best.

max c.v     with     S v = 0,     lower <= v <= upper
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.metabolism.linear_program import INFEASIBLE, NOT_FINITE, OPTIMAL, UNBOUNDED
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.optimum import Optimum, check_optimal, is_known, nan_unless, numbers, optimum_of
from jaxsci.metabolism.regularised import regularised_fluxes

_CURES = {
    INFEASIBLE: "no flux meets all bounds: open an uptake, or lower a demand (farkas_ray names the metabolites; it is 0 "
    "where a lower bound is above its upper one)",
    UNBOUNDED: "the objective can grow for ever: bound the reactions of unbounded_ray",
    NOT_FINITE: "a bound or a weight is NaN",
}


class FluxBalance(NamedTuple):
    """What `fba` returns; leading axes are the batch. Where there is no optimum, numbers are NaN and `status` says why."""

    objective: Any  # [...]: c.v, for a biomass reaction the growth rate in 1/h
    fluxes: Any  # [..., reactions], mmol/gDW/h
    shadow_prices: Any  # [..., metabolites]: d objective / d b_i with S v = b: what one unit more to be made of it changes
    reduced_costs: Any  # [..., reactions]: c - S'y, d objective / d (the bound that holds the flux)
    status: Any  # OPTIMAL 0, INFEASIBLE 1, UNBOUNDED 2, MAX_STEPS 3, NOT_FINITE 4
    gap: Any  # by how much the prices' bound sum_j max(d_j l_j, d_j u_j) is above the objective: certified
    farkas_ray: Any  # [..., metabolites]: where infeasible, y with  max over the bounds of (-S'y).v < 0; else 0
    unbounded_ray: Any  # [..., reactions]: where unbounded, a direction with S v = 0 that improves for ever; else 0
    steps: Any  # pivots

    def check(self) -> FluxBalance:
        """Itself, if every member has an optimum.

        Raises:
          RuntimeError: naming the members that have none, and why.
        """
        check_optimal("fba", self.status, _CURES)
        return self


def fba(
    model: StoichiometricModel,
    lower: Any = None,
    upper: Any = None,
    objective: Any = None,
    *,
    regularisation: Any = None,
) -> FluxBalance:
    r"""Flux balance: max c.v with S v = 0 and lower <= v <= upper, exactly; of one experiment, or of a batch.

    The fluxes are a vertex, found by the simplex method (batched, all from one start) and exact to round-off. Everything works
    under jit, vmap (which makes the batch larger), grad, jacfwd and jacrev; float32 and float64.

    **Derivatives.** The objective's with respect to a bound is the reduced cost of the reaction, with respect to a weight its
    flux (the envelope theorem); the fluxes' is that of the vertex. They are exact where the optimum is not degenerate. At a
    kink of the objective they are those of one side (`one_sided_slopes` gives both). Where the optimal fluxes are not unique
    (they seldom are), the derivative is that of the vertex returned, which another start or another order of reactions may
    change: to train through fluxes use `regularisation`. Docs: metabolism, "The derivative of a degenerate optimum".

    Args:
      model: of it the network is used, and `lower`, `upper`, `objective` where they are not given here.
      lower, upper: [..., reactions] in mmol/gDW/h; a knock-out is 0 and 0.
      objective: c, [..., reactions]; or the name of a reaction, or ``{name: weight}``. The batch is what the three broadcast to.
      regularisation: a number e > 0: max c.v - e |v|^2 / 2 instead, whose optimum is unique and has continuous fluxes,
        differentiable almost everywhere in both directions. `objective` is c.v of it; prices carry no derivative.
    Returns:
      A `FluxBalance`. A member that is infeasible, unbounded or not finite has that status, NaN for its numbers and
      derivative 0, and does not disturb others.
    Raises:
      ValueError: a last axis that is not the number of reactions; NaN in numbers that are known; regularisation <= 0.
      KeyError: an objective that is no reaction. TypeError: a name or a file in place of a model: see `load`.
    Reference: Varma & Palsson (1994), AEM 60, 3724; Orth, Thiele & Palsson (2010), Nat. Biotechnol. 28, 245.
    Example:
      >>> import jax, jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> print(f"{js.metabolism.fba(model).objective:.4f}")
      0.8739
      >>> growth = lambda glucose: js.metabolism.fba(model.with_medium({**model.medium, "EX_glc__D_e": glucose})).objective
      >>> print(f"{jax.grad(growth)(10.0):.5f}")
      0.09166
    """
    check_model("fba", model)
    lower, upper, objective = numbers(model, lower, upper, objective)
    if regularisation is not None:
        return _regularised(model, lower, upper, objective, regularisation)
    return _answer(optimum_of(model, lower, upper, objective), lower, upper, objective)


def _answer(best: Optimum, lower: Any, upper: Any, objective: Any) -> FluxBalance:
    """The optimum of the presolved programme as fluxes and prices of the network."""
    small, found, status = best.presolved, best.found, best.status
    optimal = status == OPTIMAL
    keep = lambda x: jnp.where(optimal[..., None], x, 0.0)  # noqa: E731
    fluxes = small.expand(keep(found.x))
    rows, columns = small.A.shape  # where presolve left no row, the programme has one of zeros
    prices, costs = small.expand_duals(
        keep(found.row_prices[..., :rows]), keep(found.reduced_costs), lower, upper, objective
    )
    infeasible, endless = (status == INFEASIBLE)[..., None], (status == UNBOUNDED)[..., None]
    pi = jnp.where(infeasible, -found.ray[..., columns : columns + rows], 0.0)
    from_rows, _ = small.expand_duals(pi, -pi @ jnp.asarray(small.A, pi.dtype), lower, upper, jnp.zeros_like(lower))
    from_bounds, _ = small.conflict(lower, upper)
    crossed = (jnp.abs(pi).max(-1, keepdims=True, initial=0.0) == 0) | best.crossed[..., None]
    farkas = jnp.where(infeasible, jnp.where(crossed, from_bounds, from_rows), 0.0)
    return FluxBalance(
        objective=nan_unless(optimal, _without_round_off(found.value, fluxes, objective)),
        fluxes=nan_unless(optimal, fluxes),
        shadow_prices=nan_unless(optimal, prices),
        reduced_costs=nan_unless(optimal, costs),
        status=status,
        gap=nan_unless(optimal, found.gap),
        farkas_ray=farkas,
        unbounded_ray=jnp.where(endless, small.expand(jnp.where(endless, found.ray[..., :columns], 0.0)), 0.0),
        steps=found.steps,
    )


def _without_round_off(value: Any, fluxes: Any, objective: Any) -> Any:
    """0 where c.v is nothing but the rounding errors of fluxes that cancel, as of a lethal knock-out; the derivative stays."""
    scale = jnp.abs(fluxes).max(-1, initial=0.0) * jnp.abs(objective).max(-1, initial=0.0)
    nothing = jnp.abs(value) <= jnp.finfo(value.dtype).eps * scale
    return value - jax.lax.stop_gradient(jnp.where(nothing, value, 0.0))


def _regularised(model: StoichiometricModel, lower: Any, upper: Any, objective: Any, strength: Any) -> FluxBalance:
    known = is_known(lower, upper, objective)
    found = regularised_fluxes(model.network, lower, upper, jnp.where(known[..., None], objective, 0.0), strength)
    fluxes, prices = found.fluxes, found.shadow_prices
    value = (objective * fluxes).sum(-1)
    costs = objective - strength * fluxes - prices @ jnp.asarray(model.stoichiometry, prices.dtype)
    ends = jnp.where(costs == 0, 0.0, costs * jnp.where(costs > 0, upper, lower)).sum(-1)
    gap = jnp.maximum(ends - ((objective - strength * fluxes) * fluxes).sum(-1), 0.0)
    no_ray = jnp.zeros_like(prices), jnp.zeros_like(fluxes)
    status = jnp.where(known, found.status, NOT_FINITE)
    return FluxBalance(value, fluxes, prices, costs, status, gap, *no_ray, found.steps)
