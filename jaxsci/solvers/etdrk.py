r"""Exponential time differencing Runge-Kutta: du/dt = L u + N(u, t), the linear part exactly.

Order 4 is Krogstad's scheme, which has the smaller error constant and keeps more of its order on stiff problems than that
of Cox & Matthews; orders 2 and 3 are those of Cox & Matthews.  L is diagonal (numbers) or made of matrices; the schemes
see it only through `apply`.

Every order has an embedded estimate that costs nothing: the last stage's nonlinear part, taken at the end of the step from a
lower-order value, against the nonlinear part at the new state, which the next step needs anyway. It is of size h^(p+1) for
orders p = 1 and 2 and h^p for 3 and 4 (a 4(3) pair, "first same as last").

Reference: Cox & Matthews (2002), J. Comput. Phys. 176, 430, eq. 20-25; Krogstad (2005), J. Comput. Phys. 203, 72, eq. 51;
Balac & Mahe (2013), Comput. Phys. Commun. 184, 1211, for the estimate in the interaction picture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.solvers.phi import phi_matrices, phi_numbers

Kind = Literal["diagonal", "blocks", "dense"]


def combine(matrix: Any, values: Any) -> Any:
    """``[i, j, *modes]`` times ``[j, *modes]``, mode by mode, as sums that the compiler fuses with what stands around them."""
    return jnp.stack([sum(row[j] * values[j] for j in range(len(values))) for row in matrix])


def apply(kind: Kind, operator: Any, state: Any) -> Any:
    """A function of L times a state: numbers elementwise, a matrix per mode ``[S, S, *modes]``, or one dense matrix."""
    if kind == "diagonal":
        return operator * state
    return operator @ state if kind == "dense" else combine(operator, state)


class Tables(NamedTuple):
    """What a step of size h needs to know of the linear part."""

    h: Any
    exponential: Any  # exp(h L)
    gain: Any  # exp(h L) - 1
    half: Any  # exp(h L / 2); None below order 3
    weights: tuple[Any, ...]  # of the stages, by order, h included


def tables(kind: Kind, linear: Any, h: Any, order: int) -> Tables:
    """The tables of one step size for a method of the given order."""
    if kind == "blocks":
        linear = jnp.moveaxis(linear, (0, 1), (-2, -1))
    phi = phi_numbers if kind == "diagonal" else phi_matrices
    z = h * linear
    exponential, phi1, phi2, *phi3 = phi(z, 3 if order >= 3 else 2)
    gain = z * phi1 if kind == "diagonal" else z @ phi1
    half, weights = None, (h * phi1, h * phi2)
    if order >= 3:
        half, half1, half2 = phi(z / 2, 2)
        first, last = phi1 - 3 * phi2 + 4 * phi3[0], 4 * phi3[0] - phi2
        if order == 3:
            weights = (h / 2 * half1, h * phi1, h * first, h * (4 * phi2 - 8 * phi3[0]), h * last)
        else:
            middle = 2 * phi2 - 4 * phi3[0]
            weights = (h / 2 * half1, h * half2, h * phi1, 2 * h * phi2, h * first, h * middle, h * last)
    made = exponential, gain, half, weights
    if kind == "blocks":
        made = jax.tree.map(lambda m: jnp.moveaxis(m, (-2, -1), (0, 1)), made)
    return Tables(h, *made)


Nonlinear = Callable[[Any, Any], Any]


def step(kind: Kind, order: int, table: Tables, nonlinear: Nonlinear | None, state: Any, t: Any) -> Any:
    """One step of size h from t. Without a nonlinear part the step is exact, whatever h is."""
    if nonlinear is None:
        return apply(kind, table.exponential, state)
    return _step(kind, order, table, nonlinear, state, t, nonlinear(state, t))[0]


def step_with_error(
    kind: Kind, order: int, table: Tables, nonlinear: Nonlinear, state: Any, t: Any, n0: Any
) -> tuple[Any, Any, Any]:
    """One step, the nonlinear part at its end, and the embedded estimate of its error.

    Args:
      n0: nonlinear(state, t).
    """
    new, weight, last = _step(kind, order, table, nonlinear, state, t, n0)
    end = nonlinear(new, t + table.h)
    return new, end, apply(kind, weight, end - last)


def _step(kind: Kind, order: int, table: Tables, nonlinear: Nonlinear, state: Any, t: Any, n0: Any) -> tuple[Any, Any, Any]:
    """The new state, and weight and value of the stage that stands for its end."""
    h, _, gain, half, weights = table
    times = functools.partial(apply, kind)
    # u + (exp(h L) - 1) u, not exp(h L) u: the rounding of exp(h L) is the same in every step and would add up over them.
    linear = state + times(gain, state)
    if order <= 2:
        a = linear + times(weights[0], n0)
        if order == 1:
            return a, weights[1], n0
        na = nonlinear(a, t + h)
        return a + times(weights[1], na - n0), weights[1], na
    at_half = times(half, state)
    na = nonlinear(at_half + times(weights[0], n0), t + h / 2)
    if order == 3:
        _, whole, first, middle, last = weights
        nb = nonlinear(linear + times(whole, 2 * na - n0), t + h)
        return linear + times(first, n0) + times(middle, na) + times(last, nb), last, nb
    quarter, second, whole, twice, first, middle, last = weights
    nb = nonlinear(at_half + times(quarter, n0) + times(second, na - n0), t + h / 2)
    nc = nonlinear(linear + times(whole, n0) + times(twice, nb - n0), t + h)
    return linear + times(first, n0) + times(middle, na + nb) + times(last, nc), last, nc
