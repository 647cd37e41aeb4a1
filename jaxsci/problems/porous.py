"""Transport in porous media."""

from __future__ import annotations

from typing import Any

from jaxsci.equations import equation
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet, Neumann
from jaxsci.problems.domain import Box
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged


@equation("u", name="diffusion_sorption", symbols={
    "diffusivity": "D", "porosity": r"\phi", "bulk_density": r"\rho_s", "sorption": "k_f", "exponent": "n_f",
})  # fmt: skip
def diffusion_sorption_equation(u, diffusivity, porosity, bulk_density, sorption, exponent):
    """Diffusion of a solute that the solid matrix takes up by Freundlich's isotherm: what is dissolved and what is sorbed."""
    sorbed = (1 - porosity) / porosity * bulk_density * sorption * u**exponent
    return (u + sorbed).t - diffusivity * u.xx


@catalogued("Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix D.6: equation and coefficients")
def diffusion_sorption(
    diffusivity: Any = 5e-4,
    porosity: Any = 0.29,
    bulk_density: Any = 2880.0,
    sorption: Any = 3.5e-4,
    exponent: Any = 0.874,
) -> Problem:
    """R(u) u_t = D u_xx on [0, 500] x [0, 1], u(0, x) = 0.1, u = 1 at x = 0, u_x = 0 at x = 1.

    R = 1 + (1 - phi) / phi rho_s k_f n_f u^(n_f - 1) is the retardation: the equation is written for what it conserves,
    u + (1 - phi) / phi rho_s k_f u^n_f.  The benchmark starts from a random constant in (0, 0.2), here its mean, and lets
    u = D u_x at x = 1; here nothing diffuses through that end.  Start and wall disagree at x = 0, as in the benchmark: the
    default times begin at t = 10, when the jump has become a layer that a smooth reference can show.
    """
    return Problem(
        diffusion_sorption_equation,
        Box(t=(0, 500), x=(0, 1)),
        coefficients={
            "diffusivity": diffusivity, "porosity": porosity, "bulk_density": bulk_density, "sorption": sorption,
            "exponent": exponent,
        },
        initial={"u": 0.1},
        boundary={"x": (Dirichlet(1), Neumann(0))},
        times=tuple(range(10, 501, 10)),
        reference=converged("adaptive", n=64, rtol=1e-8, atol=1e-9, stiff=True),
    )  # fmt: skip
