"""Steady flows: Kovasznay's, the lid-driven cavity as a stream function, flow past two discs; and a potential with four holes."""

from __future__ import annotations

from typing import Any

from jaxsci.equations import Equation, equation
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet, Neumann
from jaxsci.problems.domain import Box
from jaxsci.problems.geometry import Disc
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged
from jaxsci.problems.wall_flow import kovasznay


@equation("u v p", name="steady_navier_stokes", symbols={"viscosity": r"\nu"})
def steady_velocity_equation(u, v, p, viscosity):
    """2-D steady Navier-Stokes: velocity (u, v) and kinematic pressure p."""
    return (
        u * u.x + v * u.y + p.x - viscosity * (u.xx + u.yy),
        u * v.x + v * v.y + p.y - viscosity * (v.xx + v.yy),
        u.x + v.y,
    )


def stress_terms(u, v, q, s, viscosity):
    """2-D steady Navier-Stokes in the stresses that a plane x = const feels: q = p - 2 nu u_x and s = nu (u_y + v_x).

    Where nothing holds the fluid at such a plane, both vanish: Dirichlet conditions, which velocity and pressure do not have.
    """
    return (
        u * u.x + v * u.y + q.x - s.y,
        u * v.x + v * v.y + q.y - s.x + 4 * viscosity * u.xy,
        s - viscosity * (u.y + v.x),
        u.x + v.y,
    )


stress_equation = Equation(stress_terms, "u v q s", name="steady_stress_flow", symbols={"viscosity": r"\nu"})


@equation("psi", name="steady_stream_function", symbols={"viscosity": r"\nu"})
def stream_function_equation(psi, viscosity):
    """2-D steady Navier-Stokes for the stream function: u = psi_y, v = -psi_x."""
    return (
        viscosity * (psi.xxxx + 2 * psi.xxyy + psi.yyyy)
        - psi.y * (psi.xxx + psi.xyy)
        + psi.x * (psi.xxy + psi.yyy)
    )  # fmt: skip


@equation("u", name="laplace")
def laplace_equation(u):
    """Laplace's equation."""
    return u.xx + u.yy


@catalogued("Kovasznay (1948), Proc. Camb. Phil. Soc. 44, 58")
def steady_kovasznay(viscosity: Any = 1 / 40) -> Problem:
    """Steady 2-D Navier-Stokes on [-0.5, 1] x [-0.5, 1.5]: the flow of `kovasznay`, its velocity given on all sides; Re = 40."""
    known = kovasznay(viscosity=viscosity)
    sides = Dirichlet(u=known.exact["u"], v=known.exact["v"])
    return Problem(
        steady_velocity_equation,
        Box(x=known.domain["x"], y=known.domain["y"]),
        coefficients={"viscosity": viscosity},
        boundary={"x": sides, "y": sides},
        exact=known.exact,
    )


def _cavity(viscosity: Any, lid: Any, *, n: int, regularised: bool) -> Problem:
    wall = (Dirichlet(psi=0), Neumann(psi=0))
    return Problem(
        stream_function_equation,
        Box(x=(0, 1), y=(0, 1)),
        coefficients={"viscosity": viscosity},
        boundary={"x": (wall, wall), "y": (wall, (Dirichlet(psi=0), Neumann(psi=lid)))},
        reference=converged("cavity", n=n, regularised=regularised),
    )


@catalogued("Shih, Tan & Hwang (1989), Int. J. Numer. Methods Fluids 9, 185: the lid's speed")
def steady_regularised_cavity(viscosity: Any = 0.01) -> Problem:
    """Steady 2-D Navier-Stokes on [0, 1]^2 for the stream function: the lid y = 1 moves with u = 16 x^2 (1 - x)^2; Re = 100."""
    return _cavity(viscosity, lambda x: 16 * x**2 * (1 - x) ** 2, n=40, regularised=True)


@catalogued("Ghia, Ghia & Shin (1982), J. Comput. Phys. 48, 387", re100={"viscosity": 0.01})
def steady_lid_driven_cavity(viscosity: Any = 1e-3) -> Problem:
    """Steady 2-D Navier-Stokes on [0, 1]^2 for the stream function: the lid y = 1 moves with u = 1; Re = 1000.

    The velocity jumps in the upper corners. A field holds it with `jaxsci.solvers.cavity_lift`.
    """
    return _cavity(viscosity, 1, n=48, regularised=False)


@catalogued("Hao et al. (2023), PINNacle, arXiv:2306.08827, appendix B: Poisson 2d-C, by its COMSOL reference")
def laplace_four_discs() -> Problem:
    """Laplace on [-0.5, 0.5]^2 less discs of radius 0.1 about (+-0.3, +-0.3): u = 1 on the square, 0 on the discs."""
    discs = {f"disc_{i}": Disc((0.3 * a, 0.3 * b), 0.1) for i, (a, b) in enumerate([(-1, -1), (1, -1), (-1, 1), (1, 1)])}
    held = {name: Dirichlet(0) for name in discs}
    return Problem(
        laplace_equation,
        Box(x=(-0.5, 0.5), y=(-0.5, 0.5)),
        boundary={"x": Dirichlet(1), "y": Dirichlet(1)} | held,
        solid=discs,
    )


@catalogued("Hao et al. (2023), PINNacle, arXiv:2306.08827, appendix B: NS 2d-C, by its COMSOL reference")
def flow_past_two_discs(viscosity: Any = 1.0) -> Problem:
    """Steady 2-D Navier-Stokes on [0, 8]^2 less discs of radius 1 about (6, 6) and 0.5 about (2, 1).

    Inflow u = y (8 - y) / 16 at x = 0; no slip elsewhere; at x = 8 the fluid leaves without traction, q = p - 2 nu u_x = 0 and
    s = nu (u_y + v_x) = 0.  The benchmark states p = 0 only, which is one condition too few; its reference has this one.  The
    pressure is p = q + 2 nu u_x.  At the corners of the outlet, between a wall and nothing, it grows as r^-0.41 without bound.
    """
    rest = Dirichlet(u=0, v=0)
    inflow, outflow = Dirichlet(u=lambda y: y * (8 - y) / 16, v=0), Dirichlet(q=0, s=0)
    return Problem(
        stress_equation,
        Box(x=(0, 8), y=(0, 8)),
        coefficients={"viscosity": viscosity},
        boundary={"x": (inflow, outflow), "y": rest, "large": rest, "small": rest},
        solid={"large": Disc((6, 6), 1), "small": Disc((2, 1), 0.5)},
    )
