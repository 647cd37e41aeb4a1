"""Periodic flows with known truth: exact decay in two and three dimensions, and the standard starts of turbulence."""

from __future__ import annotations

from typing import Any

import jax
from jax.numpy import pi

from jaxsci.equations import cos, equation, exp, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.domain import Box
from jaxsci.problems.flow import velocity_equation_3d, vorticity_equation
from jaxsci.problems.problem import Problem
from jaxsci.problems.random_fields import turbulent_vorticity
from jaxsci.problems.reference import Exact, converged


@equation("w psi", name="kolmogorov_flow", symbols={"viscosity": r"\nu", "drag": r"\alpha", "forcing": "f"})
def kolmogorov_equation(w, psi, y, viscosity, drag, forcing):
    """2-D Navier-Stokes in vorticity, forced by the body force f sin(4 y) along x, with linear drag."""
    return (
        w.t + psi.y * w.x - psi.x * w.y - viscosity * (w.xx + w.yy) + drag * w + 4 * forcing * cos(4 * y),
        psi.xx + psi.yy + w,
    )


_SQUARE = {"x": (0, 2 * pi), "y": (0, 2 * pi)}
_CUBE = _SQUARE | {"z": (0, 2 * pi)}


@catalogued(
    "Kochkov et al. (2021), PNAS 118, e2101784118: k = 4, drag 0.1 (there 1 / nu = 1000); start: jaxsci",
    kochkov={"viscosity": 0.001},
)
def kolmogorov_flow(viscosity: Any = 0.02, drag: Any = 0.1, forcing: Any = 1.0) -> Problem:
    """Kolmogorov flow on [0, 1] x [0, 2 pi]^2, periodic.

    u_t + ... = f sin(4 y) e_x - drag u, hence w_t + ... = -4 f cos(4 y) - drag w.

    The Reynolds number is 1 / viscosity where f = 1. The start is a laminar stream of about half the force with vortices in it;
    `Problem.with_initial` gives it another one.
    """
    return Problem(
        kolmogorov_equation,
        Box(t=(0, 1), **_SQUARE),
        coefficients={"viscosity": viscosity, "drag": drag, "forcing": forcing},
        initial={"w": lambda x, y: -2 * cos(4 * y) + 2 * cos(x) * cos(y) + sin(2 * x + y) + cos(x - 3 * y)},
        reference=converged("spectral", n=96, rtol=1e-9),
    )


def mcwilliams_start(x: Any, y: Any) -> Any:
    """The vorticity of one sample of McWilliams' spectrum with the wavenumbers up to 10."""
    box = Box(**_SQUARE)
    return turbulent_vorticity(jax.random.key(1984), box, cutoff=10)(x, y)


@catalogued("McWilliams (1984), J. Fluid Mech. 146, 21, section 3: spectrum and energy 1/2; viscosity and cutoff: jaxsci")
def decaying_turbulence(viscosity: Any = 0.05) -> Problem:
    """Decaying turbulence in two dimensions on [0, 1/4] x [0, 2 pi]^2, periodic, from McWilliams' spectrum up to wavenumber 10.

    One sample (`turbulent_vorticity` of key 1984); `Problem.with_initial` takes others.
    """
    return Problem(
        vorticity_equation,
        Box(t=(0, 0.25), **_SQUARE),
        coefficients={"viscosity": viscosity},
        initial={"w": mcwilliams_start},
        reference=converged("spectral", n=96, rtol=1e-8),
        times=(0.0, 0.05, 0.1, 0.15, 0.2, 0.25),
    )


@catalogued("Batchelor (1967), An Introduction to Fluid Dynamics, section 4.3: the decay of a unidirectional shear")
def shear_decay(viscosity: Any = 0.1) -> Problem:
    """2-D Navier-Stokes in vorticity and stream function on [0, 1] x [0, 2 pi]^2, periodic: u = sin(y) exp(-nu t), v = 0."""
    return Problem(
        vorticity_equation,
        Box(t=(0, 1), **_SQUARE),
        coefficients={"viscosity": viscosity},
        initial={"w": lambda y: -cos(y)},
        exact={
            "w": lambda t, y, viscosity: -cos(y) * exp(-viscosity * t),
            "psi": lambda t, y, viscosity: -cos(y) * exp(-viscosity * t),
        },
    )


@catalogued("Arnold, Beltrami and Childress: Dombre et al. (1986), J. Fluid Mech. 167, 353, eq. 1.1, A = B = C = 1")
def abc_flow(viscosity: Any = 0.05) -> Problem:
    """3-D Navier-Stokes in velocity and pressure on [0, 1] x [0, 2 pi]^3, periodic: the ABC flow, which is its own curl.

    u = sin z + cos y, v = sin x + cos z, w = sin y + cos x, times exp(-nu t). The pressure balances the nonlinear terms,
    p = -|u|^2 / 2 but for its mean: each nonlinear term is at work and only their gradient is left.
    """
    decay = lambda t, viscosity: exp(-viscosity * t)  # noqa: E731
    u, v, w = (lambda y, z: sin(z) + cos(y)), (lambda x, z: sin(x) + cos(z)), (lambda x, y: sin(y) + cos(x))
    pressure = lambda x, y, z: -(sin(z) * cos(y) + sin(x) * cos(z) + sin(y) * cos(x))  # noqa: E731
    return Problem(
        velocity_equation_3d,
        Box(t=(0, 1), **_CUBE),
        coefficients={"viscosity": viscosity},
        initial={"u": u, "v": v, "w": w},
        exact={
            "u": lambda t, y, z, viscosity: u(y, z) * decay(t, viscosity),
            "v": lambda t, x, z, viscosity: v(x, z) * decay(t, viscosity),
            "w": lambda t, x, y, viscosity: w(x, y) * decay(t, viscosity),
            "p": lambda t, x, y, z, viscosity: pressure(x, y, z) * decay(t, viscosity) ** 2,
        },
        reference=Exact(points=16),
    )


@catalogued("Taylor & Green (1937), Proc. R. Soc. A 158, 499; viscosity and time short enough for small grids: jaxsci")
def taylor_green_3d(viscosity: Any = 0.2) -> Problem:
    """3-D Navier-Stokes in velocity and pressure on [0, 1/4] x [0, 2 pi]^3, periodic: the Taylor-Green vortex.

    u = sin x cos y cos z, v = -cos x sin y cos z, w = 0 at the start: vortices that stretch one another into smaller ones.
    """
    return Problem(
        velocity_equation_3d,
        Box(t=(0, 0.25), **_CUBE),
        coefficients={"viscosity": viscosity},
        initial={
            "u": lambda x, y, z: sin(x) * cos(y) * cos(z),
            "v": lambda x, y, z: -cos(x) * sin(y) * cos(z),
            "w": 0.0,
        },
        reference=converged("spectral", n=20, rtol=1e-8),
        times=(0.0, 0.125, 0.25),
    )
