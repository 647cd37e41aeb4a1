"""Korteweg-de Vries and Kuramoto-Sivashinsky: odd and fourth derivatives on periodic boxes."""

from __future__ import annotations

from typing import Any

from jax.numpy import pi

from jaxsci.equations import cos, equation, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged


@equation("u", name="kdv", symbols={"dispersion": r"\delta"})
def kdv_equation(u, dispersion):
    """Korteweg and de Vries: steepening against dispersion."""
    return u.t + u * u.x + dispersion * u.xxx


@equation(
    "u",
    name="kuramoto_sivashinsky",
    symbols={"advection": r"\alpha", "antidiffusion": r"\beta", "hyperdiffusion": r"\gamma"},
)
def kuramoto_sivashinsky_equation(u, advection, antidiffusion, hyperdiffusion):
    """Kuramoto and Sivashinsky: growth of long waves, damping of short ones."""
    return u.t + advection * u * u.x + antidiffusion * u.xx + hyperdiffusion * u.xxxx


@catalogued("Zabusky & Kruskal (1965), Phys. Rev. Lett. 15, 240: delta = 0.022^2")
def kdv(dispersion: Any = 0.022**2) -> Problem:
    """u_t + u u_x + delta u_xxx = 0 on [0, 1] x [-1, 1], periodic, u(0, x) = cos(pi x). A wave breaks into solitons."""
    return Problem(
        kdv_equation,
        Box(t=(0, 1), x=(-1, 1)),
        coefficients={"dispersion": dispersion},
        initial={"u": lambda x: cos(pi * x)},
        boundary={"x": Periodic()},
        reference=converged("spectral", n=512, rtol=1e-11),
    )


@catalogued("Wang, Sankaran & Perdikaris (2024), Comput. Methods Appl. Mech. Eng. 421, 116813, section 5.2")
def kuramoto_sivashinsky(
    advection: Any = 100 / 16, antidiffusion: Any = 100 / 16**2, hyperdiffusion: Any = 100 / 16**4
) -> Problem:
    """u_t + alpha u u_x + beta u_xx + gamma u_xxxx = 0 on [0, 1] x [0, 2 pi], periodic, u(0, x) = cos x (1 + sin x).

    The chaotic case: small errors grow by five orders of magnitude until t = 1.
    """
    return Problem(
        kuramoto_sivashinsky_equation,
        Box(t=(0, 1), x=(0, 2 * pi)),
        coefficients={"advection": advection, "antidiffusion": antidiffusion, "hyperdiffusion": hyperdiffusion},
        initial={"u": lambda x: cos(x) * (1 + sin(x))},
        boundary={"x": Periodic()},
        reference=converged("spectral", n=512, rtol=1e-9),
    )
