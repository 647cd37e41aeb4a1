"""Poisson and Helmholtz on a square."""

from __future__ import annotations

from typing import Any

from jax.numpy import pi

from jaxsci.equations import equation, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet
from jaxsci.problems.domain import Box
from jaxsci.problems.manufactured import manufactured
from jaxsci.problems.problem import Problem


@equation("u", name="poisson")
def poisson_equation(u):
    """Minus the Laplacian; the load is added by `manufactured`."""
    return -(u.xx + u.yy)


@equation("u", name="helmholtz", symbols={"wavenumber": "k"})
def helmholtz_equation(u, wavenumber):
    """Helmholtz: time-harmonic waves."""
    return u.xx + u.yy + wavenumber**2 * u


@catalogued("Mueller & Zeinhofer (2023), ICML, section 4.1")
def poisson() -> Problem:
    """-(u_xx + u_yy) = 2 pi^2 sin(pi x) sin(pi y) on [0, 1]^2, u = 0 at the walls; u = sin(pi x) sin(pi y)."""
    return manufactured(
        poisson_equation,
        Box(x=(0, 1), y=(0, 1)),
        coefficients={},
        boundary={"x": Dirichlet(0), "y": Dirichlet(0)},
        exact={"u": lambda x, y: sin(pi * x) * sin(pi * y)},
    )


@catalogued("Wang, Teng & Perdikaris (2021), SIAM J. Sci. Comput. 43, A3055, section 4.1", hard={"wavenumber": 10.0})
def helmholtz(wavenumber: Any = 1.0) -> Problem:
    """u_xx + u_yy + k^2 u = q on [-1, 1]^2, u = 0 at the walls; q such that u = sin(pi x) sin(4 pi y)."""
    return manufactured(
        helmholtz_equation,
        Box(x=(-1, 1), y=(-1, 1)),
        coefficients={"wavenumber": wavenumber},
        boundary={"x": Dirichlet(0), "y": Dirichlet(0)},
        exact={"u": lambda x, y: sin(pi * x) * sin(4 * pi * y)},
    )
