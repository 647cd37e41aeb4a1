"""Burgers' equation, with its exact solution by the Cole-Hopf transformation."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.numpy import pi

from jaxsci.equations import equation, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet
from jaxsci.problems.domain import Box
from jaxsci.problems.formula import Formula
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import Exact

_NODES = 400  # of the quadrature, on each side


@equation("u", name="burgers", symbols={"viscosity": r"\nu"})
def burgers_equation(u, viscosity):
    """Burgers' equation: convection against diffusion."""
    return u.t + u * u.x - viscosity * u.xx


def cole_hopf(t: Any, x: Any, viscosity: Any) -> Any:
    r"""u(t, x) for u_t + u u_x = nu u_xx with u(0, x) = -sin(pi x), at ONE point.

        u = -I[sin(pi y)] / I[1],   I[g] = int g(y) exp(-cos(pi y) / (2 pi nu)) exp(-s^2) ds,   y = x - s sqrt(4 nu t)

    by the trapezoidal rule, which converges exponentially for this analytic, decaying integrand.  The exponential is scaled
    by its largest exponent, so that it neither overflows nor loses digits.  At |s| = S the Gaussian has outweighed the most
    that the cosine can vary, by 40 units of the exponent.
    Relative error below 1e-12 in float64 for viscosity >= 1e-4 (convergence study in tests/physics/test_references.py).

    Reference: Cole (1951), Quart. Appl. Math. 9, 225; Basdevant et al. (1986), Comput. Fluids 14, 23, eq. 2.2.
    """
    # The first derivative of sqrt at zero is infinite: at t = 0 the initial value is taken, with t held away from zero.
    positive = jnp.where(t > 0, t, 1.0)
    width = jnp.sqrt(4 * viscosity * positive)
    reach = jnp.sqrt(1 / (pi * viscosity) + 40)  # S: cosine bounded by 1 on either side
    near = jnp.sqrt(positive / viscosity) / 2  # slope bound of the cosine: exponent <= s sqrt(t / nu) - s^2
    reach = jnp.minimum(reach, near + jnp.sqrt(near**2 + 40))
    s = reach * jnp.asarray(np.arange(-_NODES, _NODES + 1) / _NODES, jnp.result_type(x))
    y = x - s * width
    exponent = -jnp.cos(pi * y) / (2 * pi * viscosity) - s**2
    weight = jnp.exp(exponent - jnp.max(exponent))
    u = -jnp.sum(jnp.sin(pi * y) * weight) / jnp.sum(weight)
    return jnp.where(t > 0, u, -jnp.sin(pi * x))


@catalogued(
    "Raissi, Perdikaris & Karniadakis (2019), J. Comput. Phys. 378, 686; exact by Cole (1951) and Hopf (1950)",
    thick={"viscosity": 0.01},
)
def burgers(viscosity: Any = 0.01 / pi) -> Problem:
    """u_t + u u_x = nu u_xx on [0, 1] x [-1, 1], u = 0 at the walls, u(0, x) = -sin(pi x).

    A front of width ~ 2 nu forms at x = 0 near t = 1 / pi.  nu = 0.01 / pi is the usual case; nu = 0.01, which some tables
    quote under the same name, is the variant "thick" and much easier.
    """
    return Problem(
        burgers_equation,
        Box(t=(0, 1), x=(-1, 1)),
        coefficients={"viscosity": viscosity},
        initial={"u": lambda x: -sin(pi * x)},
        boundary={"x": Dirichlet(0)},
        exact={"u": Formula(None, cole_hopf)},
        reference=Exact(floor=1e-12),
    )
