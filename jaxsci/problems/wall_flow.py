"""Incompressible flows with walls: the lid-driven cavity, a channel, Kovasznay's flow behind a grid, a cylinder in a channel."""

from __future__ import annotations

from typing import Any

from jax.numpy import pi

from jaxsci.equations import cos, equation, exp, sin, sqrt
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet, Neumann, Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.flow import velocity_equation
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged


@equation("u v p", name="channel_flow", symbols={"viscosity": r"\nu", "force": "f"})
def channel_equation(u, v, p, viscosity, force):
    """2-D Navier-Stokes with a uniform body force along x, which stands for a mean pressure gradient."""
    return (
        u.t + u * u.x + v * u.y + p.x - viscosity * (u.xx + u.yy) - force,
        v.t + u * v.x + v * v.y + p.y - viscosity * (v.xx + v.yy),
        u.x + v.y,
    )


@catalogued("Ghia, Ghia & Shin (1982), J. Comput. Phys. 48, 387", re400={"viscosity": 1 / 400}, re1000={"viscosity": 1e-3})
def lid_driven_cavity(viscosity: Any = 0.01) -> Problem:
    """2-D Navier-Stokes on [0, 100] x [0, 1]^2 between walls, of which the upper moves with u = 1; at rest at the start.

    Published values are those of the steady state: at the end the rate of change is below 1e-5 up to Re = 1 / viscosity = 1000.
    """
    return Problem(
        velocity_equation,
        Box(t=(0, 100), x=(0, 1), y=(0, 1)),
        coefficients={"viscosity": viscosity},
        initial={"u": 0, "v": 0},
        boundary={"x": Dirichlet(u=0, v=0), "y": (Dirichlet(u=0, v=0), Dirichlet(u=1, v=0))},
        reference=converged("staggered", n=64, stretch=(("x", 1.5), ("y", 1.5)), steady=1e-7),
    )


@catalogued("Poiseuille flow that starts: White (1974), Viscous Fluid Flow, section 3-4; the slowest mode of the series")
def channel(viscosity: Any = 0.1, force: Any = 0.8) -> Problem:
    """2-D Navier-Stokes with a force along x on [0, 4] x [0, 1]^2, periodic in x, at rest on the walls y = 0 and 1.

    u = f / (2 nu) (y (1 - y) - (8 / pi^3) sin(pi y) exp(-nu pi^2 t)): all but the slowest mode of the start have decayed.
    """

    def u(t, y, viscosity, force):
        return force / (2 * viscosity) * (y * (1 - y) - 8 / pi**3 * sin(pi * y) * exp(-viscosity * pi**2 * t))

    return Problem(
        channel_equation,
        Box(t=(0, 4), x=(0, 1), y=(0, 1)),
        coefficients={"viscosity": viscosity, "force": force},
        initial={"u": lambda y, viscosity, force: u(0, y, viscosity, force), "v": 0},
        boundary={"x": Periodic(), "y": Dirichlet(u=0, v=0)},
        exact={"u": u, "v": 0, "p": 0},
    )


@catalogued("Kovasznay (1948), Proc. Camb. Phil. Soc. 44, 58")
def kovasznay(viscosity: Any = 1 / 40) -> Problem:
    """2-D Navier-Stokes on [0, 1] x [-0.5, 1] x [-0.5, 1.5]: the steady flow behind a grid, given on all sides; Re = 40.

    u = 1 - exp(l x) cos(2 pi y), v = l / (2 pi) exp(l x) sin(2 pi y) with l = 1 / (2 nu) - sqrt(1 / (4 nu^2) + 4 pi^2), and p
    without mean.
    """
    low, high = -0.5, 1.0

    def rate(viscosity):
        return 1 / (2 * viscosity) - sqrt(1 / (4 * viscosity**2) + 4 * pi**2)

    def u(x, y, viscosity):
        return 1 - exp(rate(viscosity) * x) * cos(2 * pi * y)

    def v(x, y, viscosity):
        return rate(viscosity) / (2 * pi) * exp(rate(viscosity) * x) * sin(2 * pi * y)

    def p(x, viscosity):
        decay = 2 * rate(viscosity)
        return ((exp(decay * high) - exp(decay * low)) / (decay * (high - low)) - exp(decay * x)) / 2

    return Problem(
        velocity_equation,
        Box(t=(0, 1), x=(low, high), y=(-0.5, 1.5)),
        coefficients={"viscosity": viscosity},
        initial={"u": u, "v": v},
        boundary={"x": Dirichlet(u=u, v=v), "y": Dirichlet(u=u, v=v)},
        exact={"u": u, "v": v, "p": p},
    )


@catalogued("Schaefer & Turek (1996), Notes Numer. Fluid Mech. 52, 547: case 2D-1")
def cylinder(viscosity: Any = 1e-3, inflow: Any = 0.3) -> Problem:
    """2-D Navier-Stokes on [0, 8] x [0, 2.2] x [0, 0.41]: a cylinder of radius 0.05 about (0.2, 0.2) in a channel, Re = 20.

    The inflow is the parabola with the largest velocity `inflow`; the flow begins with it everywhere and becomes steady. With
    the mean velocity U = 2 inflow / 3 and the diameter D the drag coefficient is 2 F_x / (U^2 D) = 5.57953523, the lift
    coefficient 0.010618948 and the pressure difference between front and back 0.11752017 (John & Matthies 2001).
    """
    parabola = lambda y, inflow: 4 * inflow * y * (0.41 - y) / 0.41**2  # noqa: E731
    return Problem(
        velocity_equation,
        Box(t=(0, 8), x=(0, 2.2), y=(0, 0.41)),
        coefficients={"viscosity": viscosity, "inflow": inflow},
        initial={"u": parabola, "v": 0},
        boundary={
            "x": (Dirichlet(u=parabola, v=0), (Neumann(u=0, v=0), Dirichlet(p=0))),
            "y": Dirichlet(u=0, v=0),
        },
        solid=lambda x, y: sqrt((x - 0.2) ** 2 + (y - 0.2) ** 2) - 0.05,
        reference=converged("staggered", n=(440, 84)),
    )
