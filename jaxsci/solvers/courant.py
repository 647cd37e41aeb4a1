r"""The Courant number of a state: how many cells the fields travel in one step.

    C = dt max_x sum_j |a_j(x)| / dx_j,    a_j = d(rest)/d(b_{x_j}), the largest over equations and fields b

a is the speed at which the nonlinear terms carry b along axis j: u for Burgers, (psi_y, -psi_x) for vorticity. The linear
part is integrated exactly and does not count. A step of order 4 is unstable where dt a k > 2.83, which with the wavenumbers
that dealiasing keeps, up to 2 pi / (3 dx), is from about C = 1.35 on.
"""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import sympy

from jaxsci.equations import Equation, unknown
from jaxsci.equations.evaluation import evaluate, partials_in
from jaxsci.solvers.lines import FourierLines, Operators, structure


@functools.lru_cache(maxsize=128)
def speeds(equation: Equation) -> tuple[tuple[str, sympy.Expr], ...]:
    """(axis, a) for every first derivative that the rest of an equation holds; a without constant factor of the rate."""
    found = []
    for _, letters, formula in structure(equation).rest:
        expression = formula
        for letter in letters:
            expression = sympy.diff(expression, sympy.Symbol(letter, real=True))
        expression = expression.doit()
        for name, letters_of in sorted(partials_in(expression)):
            if letters_of in ("x", "y", "z") and equation.time_order(name):
                partial = unknown(name).d(letters_of).formula
                stand_in = sympy.Dummy(real=True)
                slope = sympy.diff(expression.subs(partial, stand_in), stand_in).subs(stand_in, partial)
                if slope != 0:
                    found.append((letters_of, slope))
    return tuple(found)


def courant_number(lines: FourierLines, operators: Operators, coefficients: Any, state: Any, t: Any, dt: Any) -> Any:
    """The Courant number of a state, a scalar; zero where nothing is carried."""
    real = jnp.zeros((), state.dtype).real.dtype
    carried = speeds(lines.equation)
    if not carried:
        return jnp.zeros((), real)
    torus = lines.torus
    needed = tuple(sorted(frozenset().union(*(partials_in(speed) for _, speed in carried))))
    values = lines.node_values(needed, operators, state)
    coordinates = {name: jnp.asarray(c, real) for name, c in torus.nodes().items()} | {"t": t}
    total: Any = jnp.zeros((), real)
    for axis in torus.axes:
        along = [jnp.abs(evaluate(a, values, coordinates, coefficients)) for name, a in carried if name == axis.name]
        total = total + functools.reduce(jnp.maximum, along, jnp.zeros((), real)) * (axis.points / axis.period)
    return jnp.max(total) * dt
