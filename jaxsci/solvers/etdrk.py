r"""Exponential time differencing Runge-Kutta: du/dt = L u + N(u, t), the linear part exactly.

Order 4 is Krogstad's scheme, which has the smaller error constant and keeps more of its order on stiff problems than that
of Cox & Matthews; orders 2 and 3 are those of Cox & Matthews.  L is diagonal (numbers) or made of matrices; the schemes
see it only through `apply`.

Reference: Cox & Matthews (2002), J. Comput. Phys. 176, 430, eq. 20-25; Krogstad (2005), J. Comput. Phys. 203, 72, eq. 51.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci._checks import is_traced
from jaxsci.solvers.phi import phi_matrices, phi_numbers

Kind = Literal["diagonal", "blocks", "dense"]


def apply(kind: Kind, operator: Any, state: Any) -> Any:
    """A function of L times a state: numbers elementwise, a matrix per mode, or one dense matrix."""
    if kind == "diagonal":
        return operator * state
    if kind == "dense":
        return operator @ state
    return jnp.einsum("...ij,j...->i...", operator, state)


class Tables(NamedTuple):
    """phi functions of h L and h L / 2, and the step h: what a step needs to know of the linear part."""

    h: Any
    whole: tuple[Any, ...]  # phi_0 .. phi_3 of h L
    half: tuple[Any, ...]  # phi_0 .. phi_2 of h L / 2
    gain: Any  # exp(h L) - 1


def tables(kind: Kind, linear: Any, h: Any, order: int) -> Tables:
    """The tables of one step size for a method of the given order."""
    phi = phi_numbers if kind == "diagonal" else phi_matrices
    highest = min(order, 3)
    z = h * linear
    whole = phi(z, highest)
    gain = z * whole[1] if kind == "diagonal" else z @ whole[1]
    return Tables(h, whole, phi(z / 2, 2) if order >= 3 else (), gain)


def step(kind: Kind, order: int, table: Tables, nonlinear: Callable[[Any, Any], Any] | None, state: Any, t: Any) -> Any:
    """One step of size h from t. Without a nonlinear part the step is exact, whatever h is."""
    h, whole, half, gain = table

    def times(operator, value):
        return apply(kind, operator, value)

    if nonlinear is None:
        return times(whole[0], state)
    # u + (exp(h L) - 1) u, not exp(h L) u: the rounding of exp(h L) is the same in every step and would add up over them.
    linear = state + times(gain, state)
    n0 = nonlinear(state, t)
    if order == 1:
        return linear + h * times(whole[1], n0)
    if order == 2:
        a = linear + h * times(whole[1], n0)
        return a + h * times(whole[2], nonlinear(a, t + h) - n0)
    phi1, phi2, phi3 = whole[1:]
    at_half = times(half[0], state)
    na = nonlinear(at_half + (h / 2) * times(half[1], n0), t + h / 2)
    if order == 3:
        b = linear + h * times(phi1, 2 * na - n0)
        nb = nonlinear(b, t + h)
        return linear + h * (
            times(phi1 - 3 * phi2 + 4 * phi3, n0) + times(4 * phi2 - 8 * phi3, na) + times(4 * phi3 - phi2, nb)
        )
    b = at_half + (h / 2) * times(half[1], n0) + h * times(half[2], na - n0)
    nb = nonlinear(b, t + h / 2)
    c = linear + h * (times(phi1, n0) + 2 * times(phi2, nb - n0))
    nc = nonlinear(c, t + h)
    return linear + h * (
        times(phi1 - 3 * phi2 + 4 * phi3, n0) + times(2 * phi2 - 4 * phi3, na + nb) + times(4 * phi3 - phi2, nc)
    )


def advance(
    kind: Kind, order: int, table: Tables, nonlinear: Callable[[Any, Any], Any] | None, state: Any, t: Any, steps: Any
) -> Any:
    """`steps` steps. A Python int unrolls into a scan (differentiable in reverse); a traced one into a loop."""
    if nonlinear is None and not is_traced(steps) and steps == 1:
        return step(kind, order, table, None, state, t)
    if isinstance(steps, int):

        def body(carry, i):
            return step(kind, order, table, nonlinear, carry, t + i * table.h), None

        return jax.lax.scan(body, state, jnp.arange(steps))[0]
    return jax.lax.fori_loop(0, steps, lambda i, s: step(kind, order, table, nonlinear, s, t + i * table.h), state)
