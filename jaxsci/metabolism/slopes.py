r"""One-sided derivatives of the optimum: what a bound is worth, and whether that holds on both sides.

The optimum V is a concave function of the bounds, piecewise linear, and has kinks. With v an optimum, whichever, the
derivative of V in a direction db of the bounds is itself a linear programme (the dual of least or largest price over all
optimal prices),

    V'(b; db) = max c.w    with   S w = 0,   w_j >= dl_j where v_j = l_j,   w_j <= du_j where v_j = u_j.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.linear_program import INFEASIBLE, OPTIMAL, maximise
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.optimum import batched, nan_unless, numbers, optimum, places, rows_of, start_at

_UNIT = 0.01  # the length of db: free variables of a programme may become 1e5 times as large


class Slopes(NamedTuple):
    """What `one_sided_slopes` returns: d optimum / d bound, [..., reactions asked for]; NaN where there is no optimum.

    Infinite where the bound cannot move to that side: the model would be infeasible.
    """

    lower_left: Any  # of the lower bound, towards smaller values
    lower_right: Any  # ... towards larger ones
    upper_left: Any
    upper_right: Any
    status: Any  # [...], of the model


def one_sided_slopes(model: StoichiometricModel, reactions: Any = None) -> Slopes:
    r"""The left and the right derivative of the optimal objective with respect to every bound.

        right = lim (V(b + h) - V(b)) / h,      left = lim (V(b) - V(b - h)) / h,       h > 0, h -> 0

    Where both agree, they are what `jax.grad` of `fba` gives; where they do not, the optimum has a kink there (a degenerate
    vertex), and `jax.grad` gives one of them or a number between. V is concave in each bound: left >= right. The one-sided
    derivatives by a weight of the objective are the ends of the flux's range over the optima: `flux_variability`.

    Four programmes for each group of reactions that the steady state ties together, each a few pivots from the optimal basis;
    exact. jit, vmap and batches work; the slopes are piecewise constant, and so their own derivative is 0.

    Args:
      model: with leading batch axes, if any.
      reactions: names, all by default.
    Raises:
      KeyError: an unknown reaction.
    Reference: Gal (1979), Postoptimal Analyses; Freund (1985), Math. Program. 33, 1; for growth: Akbari & Barton (2018), J.
      Theor. Biol. 453.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"in": "-> a", "out": "a ->"}, "out", bounds={"in": (0, 5), "out": (0, 5)})
      >>> found = js.metabolism.one_sided_slopes(toy, ["in"])
      >>> float(found.upper_left[0]), float(found.upper_right[0])
      (1.0, 0.0)
    """
    check_model("one_sided_slopes", model)
    index = places("one_sided_slopes", model, reactions)
    return batched(lambda model: _slopes(model, index), model, one_by_one=True)


def _slopes(model: StoichiometricModel, index: np.ndarray) -> Slopes:
    best = optimum(model)
    small, low, high, dtype = best.presolved, best.lower, best.upper, best.cost.dtype
    good = best.status == OPTIMAL
    group = small.group[index]
    groups = np.unique(group[group >= 0])
    count, n = len(groups), small.matrix.shape[1]
    near = 1e-8 if dtype == jnp.float64 else 1e-4
    x = jnp.where(good, best.found.x, 0.0)
    finite = lambda b: jnp.where(jnp.isinf(b), 0.0, b)  # noqa: E731
    at_low = ~jnp.isinf(low) & (x - finite(low) <= near * (1 + jnp.abs(finite(low))))
    at_high = ~jnp.isinf(high) & (finite(high) - x <= near * (1 + jnp.abs(finite(high))))
    unit = np.zeros((count, n))
    unit[np.arange(count), groups] = _UNIT
    none = np.zeros_like(unit)
    d_low, d_high = np.concatenate([unit, -unit, none, none]), np.concatenate([none, none, unit, -unit])
    found = maximise(
        best.cost,
        rows_of(small),
        jnp.where(at_low, jnp.asarray(d_low, dtype), -jnp.inf),
        jnp.where(at_high, jnp.asarray(d_high, dtype), jnp.inf),
        start=start_at(jnp.asarray(rows_of(small), dtype), best.found.basis),
    )
    change = jnp.where(
        found.status == OPTIMAL, found.value / _UNIT, jnp.where(found.status == INFEASIBLE, -jnp.inf, jnp.nan)
    )
    low_up, low_down, high_up, high_down = change.reshape(4, count)
    ends = _of_reactions(model, small, index, groups, (low_up, -low_down, high_up, -high_down), low, high)
    return Slopes(*(nan_unless(good, jnp.asarray(end, dtype)) for end in ends), best.status)


def _of_reactions(
    model: StoichiometricModel, small: Any, index: np.ndarray, groups: np.ndarray, of_groups: Any, low: Any, high: Any
) -> tuple[Any, ...]:
    """From the slopes of the variables' bounds to those of the reactions': a bound counts where it is the tightest.

    Where several reactions hold a variable's end together, one of them can tighten it but not loosen it.
    """
    low_right, low_left, high_right, high_left = of_groups
    lower, upper, _ = numbers(model, None, None, None)
    group, ratio = small.group, small.ratio
    blocked, forward = group < 0, small.ratio > 0
    if small.matrix.shape[1]:
        inverse = jnp.asarray(np.where(blocked, 0.0, 1 / np.where(blocked, 1.0, ratio)), lower.dtype)
        as_low, as_high = jnp.where(forward, lower, upper), jnp.where(forward, upper, lower)
        at = np.maximum(group, 0)

        def holds(own: Any, end: Any) -> tuple[Any, Any]:
            own, end = own * inverse, end[at]
            tight = (own == end) | (jnp.abs(own - end) <= 100 * jnp.finfo(end.dtype).eps * jnp.abs(end))
            tight &= ~blocked & ~jnp.isinf(end)
            many = jnp.zeros(small.matrix.shape[1], int).at[at].add(tight)
            return tight[index], (tight & (many[at] == 1))[index]

        (low_tight, low_alone), (high_tight, high_alone) = holds(as_low, low), holds(as_high, high)
        place = np.clip(np.searchsorted(groups, group[index]), 0, max(len(groups) - 1, 0))
        pick = lambda holder, slope: jnp.where(holder, inverse[index] * slope[place], 0.0)  # noqa: E731
        if len(groups):
            tighter_low, looser_low = pick(low_tight, low_right), pick(low_alone, low_left)
            tighter_high, looser_high = pick(high_tight, high_left), pick(high_alone, high_right)
        else:
            tighter_low = looser_low = tighter_high = looser_high = jnp.zeros(len(index), lower.dtype)
    else:
        tighter_low = looser_low = tighter_high = looser_high = jnp.zeros(len(index), lower.dtype)
    ahead = forward[index]
    stuck = blocked[index]
    lower_left = jnp.where(ahead, looser_low, looser_high)
    lower_right = jnp.where(ahead, tighter_low, tighter_high)
    upper_left = jnp.where(ahead, tighter_high, tighter_low)
    upper_right = jnp.where(ahead, looser_high, looser_low)
    lower_right = jnp.where(stuck & (lower[index] == 0), -jnp.inf, lower_right)
    upper_left = jnp.where(stuck & (upper[index] == 0), jnp.inf, upper_left)
    return lower_left, lower_right, upper_left, upper_right
