"""Linear transport: advection, heat, wave. Exact solutions in closed form."""

from __future__ import annotations

from typing import Any

from jax.numpy import pi

from jaxsci.equations import cos, equation, exp, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet, Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.problem import Problem


@equation("u", name="advection", symbols={"speed": "c"})
def advection_equation(u, speed):
    """Transport at a constant speed."""
    return u.t + speed * u.x


@equation("u", name="heat", symbols={"diffusivity": r"\kappa"})
def heat_equation(u, diffusivity):
    """Diffusion."""
    return u.t - diffusivity * u.xx


@equation("u", name="wave", symbols={"speed": "c"})
def wave_equation(u, speed):
    """Waves of one speed."""
    return u.tt - speed**2 * u.xx


@catalogued("Krishnapriyan et al. (2021), NeurIPS; speed 80 as in Wang et al. (2023), arXiv:2308.08468", slow={"speed": 1.0})
def advection(speed: Any = 80.0) -> Problem:
    """u_t + c u_x = 0 on [0, 1] x [0, 2 pi], periodic, u(0, x) = sin x. A sine that travels 80 lengths of a radian."""
    return Problem(
        advection_equation,
        Box(t=(0, 1), x=(0, 2 * pi)),
        coefficients={"speed": speed},
        initial={"u": lambda x: sin(x)},
        boundary={"x": Periodic()},
        exact={"u": lambda t, x, speed: sin(x - speed * t)},
    )


@catalogued("Lu et al. (2021), DeepXDE, the heat equation of its gallery")
def heat(diffusivity: Any = 0.4) -> Problem:
    """u_t = kappa u_xx on [0, 1] x [0, 1], u = 0 at the walls, u(0, x) = sin(pi x)."""
    return Problem(
        heat_equation,
        Box(t=(0, 1), x=(0, 1)),
        coefficients={"diffusivity": diffusivity},
        initial={"u": lambda x: sin(pi * x)},
        boundary={"x": Dirichlet(0)},
        exact={"u": lambda t, x, diffusivity: exp(-(pi**2) * diffusivity * t) * sin(pi * x)},
    )


@catalogued("Wang, Yu & Perdikaris (2022), J. Comput. Phys. 449, 110768, section 7.2")
def wave(speed: Any = 2.0) -> Problem:
    """u_tt = c^2 u_xx on [0, 1] x [0, 1], u = 0 at the walls, u(0, x) = sin(pi x) + sin(4 pi x) / 2, u_t(0, x) = 0."""
    return Problem(
        wave_equation,
        Box(t=(0, 1), x=(0, 1)),
        coefficients={"speed": speed},
        initial={"u": lambda x: sin(pi * x) + sin(4 * pi * x) / 2, "u_t": 0},
        boundary={"x": Dirichlet(0)},
        exact={"u": lambda t, x, speed: sin(pi * x) * cos(pi * speed * t) + sin(4 * pi * x) * cos(4 * pi * speed * t) / 2},
    )
