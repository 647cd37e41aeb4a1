r"""After a knock-out, before evolution: the fluxes nearest to those of the wild type.

    quadratic MOMA   min |v - w|_2^2          linear MOMA   min |v - w|_1          ROOM (relaxed)   min sum_j y_j

over  S v = 0,  lower <= v <= upper,  w the reference. Quadratic MOMA is a Euclidean projection: its fluxes are unique, and
differentiable in the reference and in the bounds. The other two are linear programmes, whose fluxes may not be unique.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from jaxsci._checks import is_traced
from jaxsci.metabolism.linear_program import INFEASIBLE, NOT_FINITE, OPTIMAL, maximise
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.optimum import check_optimal, fluxes_of
from jaxsci.metabolism.presolve import independent_rows, presolve
from jaxsci.metabolism.quadratic import nearest_fluxes


class Adjustment(NamedTuple):
    """The fluxes nearest to a reference; leading axes are a batch. NaN where `status` is not OPTIMAL, the derivative 0."""

    objective: Any  # c.v of the model's objective: the growth rate, 1/h
    fluxes: Any  # [..., reactions], mmol/gDW/h
    distance: Any  # what was minimised: |v - w|^2 of quadratic MOMA, |v - w|_1 of linear MOMA, sum_j y_j of ROOM
    status: Any  # OPTIMAL 0, INFEASIBLE 1, UNBOUNDED 2, MAX_STEPS 3, NOT_FINITE 4
    steps: Any

    def check(self) -> Adjustment:
        """Itself, if all members are optimal.

        Raises:
          RuntimeError: naming the members that are not.
        """
        check_optimal("moma", self.status, {INFEASIBLE: "lower the demand (as ATPM's) that cannot be met"})
        return self


def moma(
    model: StoichiometricModel, reference: Any, *, lower: Any = None, upper: Any = None, linear: bool = False
) -> Adjustment:
    r"""Minimisation of metabolic adjustment: the feasible fluxes nearest to the reference.

        min_v |v - w|^2     or, linear,     min_v sum_j |v_j - w_j|        with  S v = 0,  lower <= v <= upper

    Quadratic: exact to round-off by Newton's method on the dual, in the presolved network (see `presolve`); the derivative of
    fluxes and growth in reference and bounds is by the implicit function theorem, and one-sided where a flux has just reached a
    bound. Linear: by `maximise`; a vertex of the nearest fluxes, which may not be the only ones.

    Args:
      model: with the bounds of the mutant, as ``model.knock_out(...)`` has them; the objective is evaluated, not optimised.
      reference: w, the fluxes of the wild type [..., reactions], or a result that has them, as a rule of `parsimonious_fba`:
        those of plain FBA are not unique.
      lower, upper: [..., reactions] in place of the model's, leading axes a batch: ``model.lower * masks`` for knock-outs.
      linear: the sum of absolute differences in place of squares.
    Returns:
      an `Adjustment`, with the `status` of each member: infeasible knock-outs hold up nobody.
    Raises:
      ValueError: a reference or bounds of another length. TypeError: a reference without fluxes; no model.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> S = np.array([[1.0, -1.0, -1.0, 0.0], [0.0, 1.0, 1.0, -1.0]])
      >>> network = js.metabolism.Network(S, ("in", "short", "long", "out"), ("a", "b"))
      >>> model = js.metabolism.StoichiometricModel(network, np.zeros(4), np.full(4, 10.0), np.eye(4)[3])
      >>> mutant = js.metabolism.moma(model.knock_out("short"), np.array([9.0, 6.0, 3.0, 9.0]))
      >>> print(mutant.fluxes.round(3), int(mutant.status))
      [7. 0. 7. 7.] 0

    Source: Segre, Vitkup & Church (2002) PNAS 99:15112; linear: Becker et al. (2007) Nature Protocols 2:727.
    """
    reference, lower, upper, known = _inputs("moma", model, reference, lower, upper)
    if linear:
        one = jnp.ones_like(reference)
        return _piecewise_linear(model, reference, reference, one, one, lower, upper, known)
    found = nearest_fluxes(presolve(model.network), reference, lower, upper)
    distance = jnp.sum((found.fluxes - reference) ** 2, axis=-1)
    return _adjustment(model, found.fluxes, distance, jnp.where(known, found.status, NOT_FINITE), found.steps)


def room(
    model: StoichiometricModel,
    reference: Any,
    *,
    lower: Any = None,
    upper: Any = None,
    delta: Any = 0.03,
    epsilon: Any = 1e-3,
) -> Adjustment:
    r"""Regulatory on/off minimisation, relaxed: as few reactions as may be that leave the reference's neighbourhood.

        min sum_j y_j    with   S v = 0,  lower <= v <= upper,  0 <= y_j <= 1,
        w_j^l + y_j (l_j - w_j^l) <= v_j <= w_j^u + y_j (u_j - w_j^u),      w^l, w^u = w -+ (delta |w| + epsilon)

    The original asks for y_j in {0, 1}, a mixed-integer programme; this is its linear relaxation, a lower bound on the number.
    Eliminating y leaves a cost of (v - w^u)/(u - w^u) above and (w^l - v)/(w^l - l) below the neighbourhood.

    Args:
      model, reference, lower, upper: as for `moma`. Bounds should be finite: leaving towards an infinite one costs nothing.
      delta, epsilon: relative and absolute width of the neighbourhood.
    Returns:
      an `Adjustment` with sum_j y_j as its `distance`; the fluxes are a vertex, which may not be the only optimum.
    Raises:
      ValueError: a reference or bounds of another length; a negative delta or epsilon. TypeError: as `moma`.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> S = np.array([[1.0, -1.0, -1.0, 0.0], [0.0, 1.0, 1.0, -1.0]])
      >>> network = js.metabolism.Network(S, ("in", "short", "long", "out"), ("a", "b"))
      >>> model = js.metabolism.StoichiometricModel(network, np.zeros(4), np.full(4, 10.0), np.eye(4)[3])
      >>> mutant = js.metabolism.room(model.knock_out("short"), np.array([9.0, 6.0, 3.0, 9.0]), delta=0.0, epsilon=0.0)
      >>> print(mutant.fluxes, f"{mutant.distance:.4f}")
      [9. 0. 9. 9.] 1.8571

    Source: Shlomi, Berkman & Ruppin (2005) PNAS 102:7695.
    """
    for name, value in (("delta", delta), ("epsilon", epsilon)):
        if not is_traced(value) and not (np.asarray(value) >= 0).all():
            raise ValueError(f"room: {name}, a width of the neighbourhood, is >= 0, got {value!r}.")
    reference, lower, upper, known = _inputs("room", model, reference, lower, upper)
    width = delta * jnp.abs(reference) + epsilon
    low, high = reference - width, reference + width
    below, above = (jnp.where(gap > 0, 1 / jnp.where(gap > 0, gap, 1), 0) for gap in (low - lower, upper - high))
    return _piecewise_linear(model, low, high, below, above, lower, upper, known)


def _piecewise_linear(
    model: Any, low: Any, high: Any, below: Any, above: Any, lower: Any, upper: Any, known: Any
) -> Adjustment:
    """min below.max(low - v, 0) + above.max(v - high, 0):  v = c + p - q with c between low and high, p and q >= 0.

    Without any of p and q the slopes of the costs all have the right sign, so that the dual simplex method starts at once.
    """
    S, zero = _independent(model.network), jnp.zeros_like(lower)
    beyond = lambda v, end: jnp.maximum(v - end, 0)  # noqa: E731
    least, most = jnp.minimum(jnp.maximum(low, lower), high), jnp.maximum(jnp.minimum(high, upper), low)
    # c = low + (what is free of charge): the programme's numbers are then differences from the reference.
    start = jnp.concatenate([least - low, beyond(lower, high), beyond(low, upper)], -1)
    end = jnp.concatenate([most - low, beyond(upper, high), beyond(low, lower)], -1)
    crossed = (lower > upper).any(-1)
    # At c = high: p counts from high, and c is free below it only where p = 0, which the costs see to.
    cost = -jnp.concatenate([zero, above, below], -1)
    right = -low @ jnp.asarray(S.T, low.dtype)
    found = maximise(cost, np.concatenate([S, S, -S], axis=1), start, end, right, right)
    change, up, down = jnp.split(jnp.where(found.status[..., None] == OPTIMAL, found.x, 0), 3, axis=-1)
    status = jnp.where(known, jnp.where(crossed, INFEASIBLE, found.status), NOT_FINITE)
    return _adjustment(model, low + change + up - down, -found.value, status, found.steps)


@functools.lru_cache(maxsize=64)
def _independent(network: Network) -> np.ndarray:
    """Rows of S that all others follow from: the right sides have rounding errors, with which dependent rows would contradict."""
    return network.dense[independent_rows(scipy.sparse.csr_array(network.matrix))]


def _adjustment(model: Any, fluxes: Any, distance: Any, status: Any, steps: Any) -> Adjustment:
    good = status == OPTIMAL
    growth = jnp.sum(jnp.where(good[..., None], fluxes, 0) * jnp.asarray(model.objective, fluxes.dtype), axis=-1)
    hide = lambda value, good: jnp.where(good, value, jnp.nan)  # noqa: E731
    return Adjustment(
        hide(growth, good), hide(fluxes, good[..., None]), hide(distance, good), status, steps.reshape(status.shape)
    )


def _inputs(what: str, model: StoichiometricModel, reference: Any, lower: Any, upper: Any) -> tuple[Any, Any, Any, Any]:
    """Reference and bounds of one batch shape and dtype, and which members have numbers only; the others have zeros."""
    check_model(what, model)
    reference = fluxes_of(what, reference)
    count = len(model.reactions)
    given = {"reference": reference, "lower": model.lower if lower is None else lower}
    given["upper"] = model.upper if upper is None else upper
    for name, value in given.items():
        shape = np.shape(value)
        if shape[-1:] != (count,):
            raise ValueError(f"{what}: {name} is [..., {count} reactions], got the shape {list(shape)}.")
        if name != "reference" and not is_traced(value) and np.isnan(np.asarray(value)).any():
            raise ValueError(f"{what}: {name} has an entry that is not a number; infinite bounds mean none.")
    own = [value for value in given.values() if isinstance(value, jax.Array)]
    dtype = jnp.result_type(*own) if own else jnp.result_type(float)
    shape = jnp.broadcast_shapes(*(np.shape(value) for value in given.values()), np.shape(model.objective))
    reference, lower, upper = (jnp.broadcast_to(jnp.asarray(value, dtype), shape) for value in given.values())
    known = jnp.isfinite(reference).all(-1) & ~(jnp.isnan(lower) | jnp.isnan(upper)).any(-1)
    keep = lambda a: jnp.where(known[..., None], a, 0)  # noqa: E731
    return keep(reference), keep(lower), keep(upper), known
