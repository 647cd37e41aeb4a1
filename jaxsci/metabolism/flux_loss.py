r"""The physics-informed loss of a flux distribution: how far it is from what a network can carry.

    S v = 0,     lower <= v <= upper,     v_j = what is known of it (a measurement, a rate law)

It is the soft twin of `fba` and of a projection onto the same set: it can be put on the output of any network, costs two
products with S, and is zero exactly on the feasible set; but it only asks, it does not enforce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_traced
from jaxsci.metabolism.model import StoichiometricModel, check_model

TERMS = ("balance", "bounds", "known")


class FluxResiduals(NamedTuple):
    """What `flux_residuals` returns, all in mmol/gDW/h and all 0 where the fluxes are feasible; leading axes are the batch."""

    balance: Any  # [..., metabolites]: S v, what piles up of each
    bounds: Any  # [..., reactions]: v - upper above it, v - lower (negative) below it, else 0
    known: Any  # [..., names]: v_j less what is known of it, in the order given


def flux_residuals(model: StoichiometricModel, fluxes: Any, known: Mapping[str, Any] | None = None) -> FluxResiduals:
    """By how much fluxes break each law of a model.

    Args:
      model: its network and bounds; bounds may be a batch.
      fluxes: [..., reactions] in mmol/gDW/h; or ``{reaction: flux}`` with an entry for every reaction.
      known: fluxes that are known, ``{reaction: value}``: measured, or what a rate law gives at the concentrations at hand;
        values may be traced and are broadcast to the batch.
    Raises:
      ValueError: a last axis that is not the number of reactions. KeyError: an unknown reaction; one that is missing.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> model = js.metabolism.from_equations({"in": "-> a", "turn": "a -> b", "out": "b ->"}, bounds={"in": (0, 5)})
      >>> found = js.metabolism.flux_residuals(model, jnp.array([6.0, 4.0, 4.0]), known={"out": 3.5})
      >>> [part.tolist() for part in found]
      [[2.0, 0.0], [1.0, 0.0, 0.0], [0.5]]
    """
    check_model("flux_residuals", model)
    v = _fluxes(model, fluxes)
    places = np.array([model.index(name) for name in known or ()], int)
    values = [jnp.asarray(value, v.dtype) for value in (known or {}).values()]
    lower, upper = jnp.asarray(model.lower, v.dtype), jnp.asarray(model.upper, v.dtype)
    return FluxResiduals(
        balance=v @ jnp.asarray(model.stoichiometry.T, v.dtype),
        bounds=jnp.maximum(v - upper, 0) + jnp.minimum(v - lower, 0),
        known=jnp.stack([v[..., j] - value for j, value in zip(places, values, strict=True)], -1)
        if values
        else jnp.zeros((*v.shape[:-1], 0), v.dtype),
    )


def flux_loss(
    model: StoichiometricModel, *, known: Mapping[str, Any] | None = None, weights: Mapping[str, Any] | None = None
) -> Callable[[Any], Any]:
    r"""The loss of fluxes under a model's laws: a function ``fluxes -> loss``, for the output of any network.

        L(v) = w_balance |S v|^2 + w_bounds |max(v - upper, 0) + min(v - lower, 0)|^2 + w_known |v_K - known|^2

    It is convex, >= 0, and 0 exactly where the fluxes are feasible (and agree with what is known). Works under jit, vmap and
    grad; the model's bounds and the known values may be traced. Infinite bounds cost nothing.

    **What it does not do.** A network trained with it obeys the laws to about the square root of its loss. Where S v = 0 has to
    hold, project (`jaxsci.constraints.project` on a `Polytope`) or let `fba` make the fluxes (`Hybrid`).

    Args:
      model: the network and its bounds.
      known: as in `flux_residuals`.
      weights: of the terms ``"balance"``, ``"bounds"``, ``"known"``; 1 where not given. A weight is a number, or an array with
        one number for each metabolite, reaction or known flux (1 / variance of a measurement).
    Returns:
      A function of fluxes [..., reactions], or ``{reaction: flux}``, with values [...], one a member: average them for training.
    Raises:
      KeyError: an unknown term, or an unknown reaction. ValueError: a negative weight, fluxes of another length.
    Reference: Faulon et al. (2023), Nat. Commun. 14, 4669, eq. 7, where the loss of a trained hybrid is such a sum.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> model = js.metabolism.from_equations({"in": "-> a", "turn": "a -> b", "out": "b ->"}, bounds={"in": (0, 5)})
      >>> loss = js.metabolism.flux_loss(model, known={"out": 3.5}, weights={"known": 10.0})
      >>> print(loss(jnp.array([6.0, 4.0, 4.0])), loss(jnp.array([3.5, 3.5, 3.5])))
      7.5 0.0
      >>> print(jax.grad(loss)(jnp.array([6.0, 4.0, 4.0])))
      [ 6. -4. 10.]
    """
    check_model("flux_loss", model)
    given = dict(weights or {})
    check_keys("flux_loss: the weight", given, TERMS)
    for term, weight in given.items():
        if not is_traced(weight) and not (np.asarray(weight) >= 0).all():
            raise ValueError(f"flux_loss: the weight of {term!r} is a number >= 0, got {weight!r}.")
    for name in known or ():
        model.index(name)

    def loss(fluxes: Any) -> Any:
        found = flux_residuals(model, fluxes, known)
        return sum((jnp.asarray(given.get(term, 1.0), r.dtype) * r**2).sum(-1) for term, r in found._asdict().items())

    return loss


def _fluxes(model: StoichiometricModel, fluxes: Any) -> Any:
    """[..., reactions], of floating type."""
    n = len(model.reactions)
    if isinstance(fluxes, Mapping):
        for name in fluxes:
            model.index(name)
        check_keys(f"{model.network.name}: the flux of", fluxes, model.reactions, complete=True)
        fluxes = jnp.stack(jnp.broadcast_arrays(*(fluxes[name] for name in model.reactions)), -1)
    fluxes = jnp.asarray(fluxes)
    if not fluxes.ndim or fluxes.shape[-1] != n:
        raise ValueError(f"{model.network.name}: fluxes are [..., {n} reactions], got shape {list(fluxes.shape)}.")
    return fluxes if jnp.issubdtype(fluxes.dtype, jnp.floating) else fluxes.astype(jnp.result_type(float))
