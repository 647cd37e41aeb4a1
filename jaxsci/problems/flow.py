"""Incompressible Navier-Stokes: in two dimensions in both of its usual forms, in three in velocity and pressure.

Sign convention: the vorticity is w = v_x - u_y and the stream function has u = psi_y, v = -psi_x, hence lap psi = -w.
"""

from __future__ import annotations

from typing import Any

from jax.numpy import pi

from jaxsci.equations import cos, equation, exp, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged


@equation("w psi", name="navier_stokes_vorticity", symbols={"viscosity": r"\nu"})
def vorticity_equation(w, psi, viscosity):
    """2-D Navier-Stokes: vorticity w = v_x - u_y, stream function psi with u = psi_y, v = -psi_x."""
    return (
        w.t + psi.y * w.x - psi.x * w.y - viscosity * (w.xx + w.yy),
        psi.xx + psi.yy + w,
    )


@equation("u v p", name="navier_stokes_velocity", symbols={"viscosity": r"\nu"})
def velocity_equation(u, v, p, viscosity):
    """2-D Navier-Stokes: velocity (u, v) and kinematic pressure p."""
    return (
        u.t + u * u.x + v * u.y + p.x - viscosity * (u.xx + u.yy),
        v.t + u * v.x + v * v.y + p.y - viscosity * (v.xx + v.yy),
        u.x + v.y,
    )


@equation("u v w p", name="navier_stokes_velocity_3d", symbols={"viscosity": r"\nu"})
def velocity_equation_3d(u, v, w, p, viscosity):
    """3-D Navier-Stokes: velocity (u, v, w) and kinematic pressure p."""
    carried = lambda f: f.t + u * f.x + v * f.y + w * f.z - viscosity * (f.xx + f.yy + f.zz)  # noqa: E731
    return (carried(u) + p.x, carried(v) + p.y, carried(w) + p.z, u.x + v.y + w.z)


_BOX = Box(t=(0, 1), x=(0, 2 * pi), y=(0, 2 * pi))
_BOUNDARY = {"x": Periodic(), "y": Periodic()}


@catalogued("Taylor & Green (1937), Proc. R. Soc. A 158, 499, in two dimensions")
def navier_stokes_vorticity(viscosity: Any = 0.01) -> Problem:
    """2-D Navier-Stokes in vorticity and stream function on [0, 1] x [0, 2 pi]^2, periodic: decaying Taylor-Green vortices."""
    return Problem(
        vorticity_equation,
        _BOX,
        coefficients={"viscosity": viscosity},
        initial={"w": lambda x, y: 2 * cos(x) * cos(y)},
        boundary=_BOUNDARY,
        exact={
            "w": lambda t, x, y, viscosity: 2 * cos(x) * cos(y) * exp(-2 * viscosity * t),
            "psi": lambda t, x, y, viscosity: cos(x) * cos(y) * exp(-2 * viscosity * t),
        },
    )


@catalogued("Taylor & Green (1937), Proc. R. Soc. A 158, 499, carried along by a uniform stream (1, 1/2)")
def navier_stokes_velocity(viscosity: Any = 0.01) -> Problem:
    """2-D Navier-Stokes in velocity and pressure on [0, 1] x [0, 2 pi]^2, periodic: Taylor-Green vortices in a stream.

    The stream keeps the nonlinear terms at work, which cancel for the vortices at rest.
    """

    def moving(x, y, t):
        return x - t, y - t / 2

    def u(t, x, y, viscosity):
        x, y = moving(x, y, t)
        return 1 - cos(x) * sin(y) * exp(-2 * viscosity * t)

    def v(t, x, y, viscosity):
        x, y = moving(x, y, t)
        return 0.5 + sin(x) * cos(y) * exp(-2 * viscosity * t)

    def p(t, x, y, viscosity):
        x, y = moving(x, y, t)
        return -(cos(2 * x) + cos(2 * y)) / 4 * exp(-4 * viscosity * t)

    return Problem(
        velocity_equation,
        _BOX,
        coefficients={"viscosity": viscosity},
        initial={"u": lambda x, y, viscosity: u(0, x, y, viscosity), "v": lambda x, y, viscosity: v(0, x, y, viscosity)},
        boundary=_BOUNDARY,
        exact={"u": u, "v": v, "p": p},
    )


@catalogued("jaxsci: five Fourier modes of different length, so that the nonlinear terms do not cancel")
def vortex_mixing(viscosity: Any = 0.05) -> Problem:
    """2-D Navier-Stokes in vorticity and stream function on [0, 1] x [0, 2 pi]^2, periodic: vortices that stir one another."""
    return Problem(
        vorticity_equation,
        _BOX,
        coefficients={"viscosity": viscosity},
        initial={"w": lambda x, y: 2 * cos(x) * cos(y) + sin(2 * x + y) + cos(x - 3 * y) + sin(3 * x)},
        boundary=_BOUNDARY,
        reference=converged("spectral", n=96, rtol=1e-9),
    )
