r"""Production envelopes: the best and the least objective at every rate of another reaction.

    V(t) = max c.v     with     S v = 0,   lower <= v <= upper,   v_j = t

V is concave and piecewise linear: its slopes are prices, its corners can be found exactly.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole, results_are_traced
from jaxsci.metabolism.fba import fba
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.optimum import numbers
from jaxsci.metabolism.variability import flux_variability

_AT_ONCE = 8


class Robustness(NamedTuple):
    """What `robustness` returns."""

    flux: Any  # [points] of the reaction
    objective: Any  # [points], the largest; NaN where the flux is infeasible
    slope: Any  # [points], d objective / d flux; at a corner that of one side
    fluxes: Any  # [points, reactions]
    status: Any


class Envelope(NamedTuple):
    """What `production_envelope` returns."""

    flux: Any  # [points] of the reaction
    minimum: Any  # [points], of the objective; NaN where the flux is infeasible
    maximum: Any
    status: Any  # of the maximum


def robustness(model: StoichiometricModel, reaction: str, points: Any = 20) -> Robustness:
    """Robustness analysis: the optimum as a function of one flux.

    Args:
      model: one model; `jax.vmap` makes it many.
      reaction: its name.
      points: how many, equally spaced over all that the reaction can do, or the fluxes themselves.
    Raises:
      KeyError: an unknown reaction. ValueError: less than 2 points. TypeError: several reactions, points that are no numbers.
    Reference: Edwards & Palsson (2000), Biotechnol. Prog. 16, 927.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> found = js.metabolism.robustness(model, "EX_o2_e", np.array([-20.0, -10.0, 0.0]))
      >>> print(np.array2string(np.asarray(found.objective), precision=4))
      [0.8326 0.5591 0.2117]
    """
    j, at, (lower, upper, objective) = _fixed("robustness", model, reaction, points)
    found = fba(model, lower, upper, objective)
    return Robustness(at, found.objective, found.reduced_costs[:, j], found.fluxes, found.status)


def production_envelope(model: StoichiometricModel, reaction: str, points: Any = 20) -> Envelope:
    """The range of the objective at every flux of a product's reaction.

    Args:
      model, reaction, points: as in `robustness`.
    Raises:
      KeyError: an unknown reaction. ValueError: less than 2 points. TypeError: several reactions, points that are no numbers.
    Reference: Edwards, Ibarra & Palsson (2001), Nat. Biotechnol. 19, 125.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> found = js.metabolism.production_envelope(model, "EX_ac_e", points=3)
      >>> print(f"{found.flux[-1]:.3f} {found.maximum[0]:.4f} {found.maximum[1]:.4f}")
      20.000 0.8739 0.6337
    """
    _, at, (lower, upper, objective) = _fixed("production_envelope", model, reaction, points)
    signs = jnp.array([1.0, -1.0], objective.dtype)[:, None, None]
    found = fba(model, lower, upper, signs * objective)
    return Envelope(at, 0.0 - found.objective[1], found.objective[0], found.status[0])


def envelope_corners(model: StoichiometricModel, reaction: str) -> tuple[np.ndarray, np.ndarray]:
    """The corners of the upper boundary: (fluxes, objectives), between which it is straight. On the host, exact.

    From both ends, the optimal prices give straight lines above the boundary; where two of them meet, the boundary either
    passes (a corner), or has a further line.

    Raises:
      KeyError: an unknown reaction. TypeError: numbers that are traced. ValueError: no flux is feasible, or any is.
    Example:
      >>> import jax, numpy as np, jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> with jax.enable_x64(True):
      ...     flux, growth = js.metabolism.envelope_corners(model, "EX_ac_e")
      >>> print([round(abs(x), 3) for x in flux.tolist()], [round(abs(x), 4) for x in growth.tolist()])
      [0.0, 7.199, 10.622, 20.0] [0.8739, 0.7089, 0.617, 0.0]
    """
    check_model("envelope_corners", model)
    if results_are_traced(model):
        raise TypeError(
            "envelope_corners: how many there are depends on the numbers; call it outside of jit, grad and vmap."
        )
    ends = flux_variability(model, [reaction], fraction=0.0)
    first, last = float(ends.minimum[0]), float(ends.maximum[0])
    if not (np.isfinite(first) and np.isfinite(last)):
        raise ValueError(f"envelope_corners: {reaction!r} runs from {first:g} to {last:g}; the corners need a finite range.")

    def values(at: list[float]) -> list[tuple[float, float, float]]:
        known: list[tuple[float, float, float]] = []
        for k in range(0, len(at), _AT_ONCE):
            part = at[k : k + _AT_ONCE]
            found = robustness(model, reaction, np.array(part + part[-1:] * (_AT_ONCE - len(part))))
            known += list(zip(part, np.asarray(found.objective).tolist(), np.asarray(found.slope).tolist(), strict=False))
        return known

    if last - first <= 1e-9 * max(1.0, abs(last)):
        return np.array([first]), np.array([values([first])[0][1]])
    done, todo = values([first, last]), []
    size = max(1.0, *(abs(point[1]) for point in done))
    todo = [tuple(done)]
    while todo:
        pairs, at = [], []
        for a, b in todo:
            width = b[0] - a[0]
            rise = b[1] - a[1]
            straight = min(abs(a[2] * width - rise), abs(b[2] * width - rise)) <= 1e-9 * size
            if straight or width <= 1e-9 * max(1.0, abs(a[0])) or a[2] <= b[2]:
                continue
            pairs.append((a, b))
            at.append(a[0] + (rise - b[2] * width) / (a[2] - b[2]))
        todo = []
        for (a, b), new in zip(pairs, values(at), strict=True):
            done.append(new)
            if abs(new[1] - (a[1] + a[2] * (new[0] - a[0]))) > 1e-9 * size:  # else a corner: straight on both sides
                todo += [(a, new), (new, b)]
    return _without_straight(sorted(done), size)


def _without_straight(points: list[tuple[float, float, float]], size: float) -> tuple[np.ndarray, np.ndarray]:
    kept = points[:1]
    for here, after in itertools.pairwise(points[1:]):
        before = kept[-1]
        share = (here[0] - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
        if here[1] - (before[1] + share * (after[1] - before[1])) > 1e-8 * size:
            kept.append(here)
    kept.append(points[-1])
    return np.array([p[0] for p in kept]), np.array([p[1] for p in kept])


def _fixed(what: str, model: StoichiometricModel, reaction: str, points: Any) -> tuple[int, Any, tuple[Any, Any, Any]]:
    """The reaction's place, the fluxes, and the model's numbers with the reaction held at each."""
    check_model(what, model)
    if not isinstance(reaction, str):
        raise TypeError(f"{what}: reaction is the name of one, got {reaction!r}; call it once for each.")
    j = model.index(reaction)
    lower, upper, objective = numbers(model, None, None, None)
    if lower.ndim > 1:
        raise ValueError(f"{what}: one model at a time, got a batch of shape {list(lower.shape[:-1])}; use jax.vmap.")
    if is_whole(points):
        if points < 2:
            raise ValueError(f"{what}: at least 2 points, got {points}.")
        ends = flux_variability(model, [reaction], fraction=0.0)
        at = jnp.linspace(ends.minimum[0], ends.maximum[0], points)
        nothing = jnp.isnan(ends.minimum[0])  # the model is infeasible by itself, and its own bounds say so
    else:
        if not isinstance(points, np.ndarray | jax.Array | list | tuple):
            raise TypeError(f"{what}: points is how many, or the fluxes [k] themselves, got {points!r}.")
        at, nothing = jnp.asarray(points, lower.dtype), False
    if at.ndim != 1:
        raise ValueError(f"{what}: points is a number or an array [k], got the shape {list(at.shape)}.")
    whole = tuple(jnp.broadcast_to(x, (len(at), len(model.reactions))) for x in (lower, upper, objective))
    low, high = (_put(bound, j, jnp.where(nothing, bound[:, j], at)) for bound in whole[:2])
    return j, at, (low, high, whole[2])


def _put(bound: jax.Array, j: int, at: Any) -> jax.Array:
    return bound.at[:, j].set(at)
