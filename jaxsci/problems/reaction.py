"""Reaction and diffusion: Allen-Cahn, Fisher-KPP, Gray-Scott, FitzHugh-Nagumo."""

from __future__ import annotations

from typing import Any

from jax.numpy import pi

from jaxsci.equations import cos, equation, exp, sin, sqrt
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Dirichlet, Neumann, Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.manufactured import manufactured
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged


@equation("u", name="allen_cahn", symbols={"diffusivity": "D", "rate": "r"})
def allen_cahn_equation(u, diffusivity, rate):
    """Allen and Cahn: two phases, -1 and 1."""
    return u.t - diffusivity * u.xx - rate * (u - u**3)


@equation("u", name="fisher_kpp", symbols={"diffusivity": "D", "rate": "r"})
def fisher_kpp_equation(u, diffusivity, rate):
    """Fisher, Kolmogorov, Petrovsky and Piskunov: logistic growth that spreads."""
    return u.t - diffusivity * u.xx - rate * u * (1 - u)


@equation("u v", name="gray_scott", symbols={"diffusivity_u": "D_u", "diffusivity_v": "D_v", "feed": "F", "kill": "k"})
def gray_scott_equation(u, v, diffusivity_u, diffusivity_v, feed, kill):
    """Gray and Scott: a substrate u that feeds an autocatalyst v."""
    return (
        u.t - diffusivity_u * (u.xx + u.yy) + u * v**2 - feed * (1 - u),
        v.t - diffusivity_v * (v.xx + v.yy) - u * v**2 + (feed + kill) * v,
    )


@equation("u v", name="fitzhugh_nagumo", symbols={"diffusivity_u": "D_u", "diffusivity_v": "D_v", "threshold": "k"})
def fitzhugh_nagumo_equation(u, v, diffusivity_u, diffusivity_v, threshold):
    """FitzHugh and Nagumo: an activator u and its inhibitor v."""
    return (
        u.t - diffusivity_u * (u.xx + u.yy) - u + u**3 + threshold + v,
        v.t - diffusivity_v * (v.xx + v.yy) - u + v,
    )


@catalogued("Raissi, Perdikaris & Karniadakis (2019), J. Comput. Phys. 378, 686, section 3.2")
def allen_cahn(diffusivity: Any = 1e-4, rate: Any = 5.0) -> Problem:
    """u_t = D u_xx + r (u - u^3) on [0, 1] x [-1, 1], periodic, u(0, x) = x^2 cos(pi x).

    The periodic continuation of the initial field has a kink at x = +-1, which the usual reference files do not resolve
    (their error is 1.5e-5).  This reference does: 8,192 points against 16,384.
    """
    return Problem(
        allen_cahn_equation,
        Box(t=(0, 1), x=(-1, 1)),
        coefficients={"diffusivity": diffusivity, "rate": rate},
        initial={"u": lambda x: x**2 * cos(pi * x)},
        boundary={"x": Periodic()},
        reference=converged("spectral", n=8192, rtol=1e-10),
    )


@catalogued("Ablowitz & Zeppetella (1979), Bull. Math. Biol. 41, 835: the travelling wave of speed 5 / sqrt(6)")
def fisher_kpp(diffusivity: Any = 1.0, rate: Any = 1.0) -> Problem:
    """u_t = D u_xx + r u (1 - u) on [0, 2] x [-10, 10], the exact wave (1 + exp(sqrt(r / 6 D) x - 5 r t / 6))^-2 at the walls."""

    def travelling_wave(t, x, diffusivity, rate):
        return (1 + exp(sqrt(rate / (6 * diffusivity)) * x - 5 * rate / 6 * t)) ** -2

    return Problem(
        fisher_kpp_equation,
        Box(t=(0, 2), x=(-10, 10)),
        coefficients={"diffusivity": diffusivity, "rate": rate},
        initial={"u": lambda x, diffusivity, rate: travelling_wave(0, x, diffusivity, rate)},
        boundary={"x": Dirichlet(travelling_wave)},
        exact={"u": travelling_wave},
    )


@catalogued("manufactured; equations of Gray & Scott (1984), Chem. Eng. Sci. 39, 1087")
def gray_scott(diffusivity_u: Any = 0.02, diffusivity_v: Any = 0.01, feed: Any = 0.04, kill: Any = 0.06) -> Problem:
    """Gray-Scott on [0, 1] x [-1, 1]^2, periodic, with the sources that make two given decaying waves exact."""
    return manufactured(
        gray_scott_equation,
        Box(t=(0, 1), x=(-1, 1), y=(-1, 1)),
        coefficients={
            "diffusivity_u": diffusivity_u, "diffusivity_v": diffusivity_v, "feed": feed, "kill": kill,
        },
        boundary={"x": Periodic(), "y": Periodic()},
        exact={
            "u": lambda t, x, y: 0.6 + 0.3 * exp(-t) * cos(pi * x) * cos(pi * y),
            "v": lambda t, x, y: 0.3 + 0.2 * exp(-t / 2) * cos(pi * (x + y)),
        },
    )  # fmt: skip


@catalogued("Pearson (1993), Science 261, 189: equations and coefficients, smooth start")
def gray_scott_spot(diffusivity_u: Any = 1.6e-4, diffusivity_v: Any = 8e-5, feed: Any = 0.04, kill: Any = 0.06) -> Problem:
    """Gray-Scott on [0, 200] x [-0.5, 0.5]^2, periodic: a smooth spot of v in a sea of u grows into a ring."""
    spot = lambda x, y: exp(-((1 - cos(2 * pi * x)) + (1 - cos(2 * pi * y))) * 4)  # noqa: E731
    return Problem(
        gray_scott_equation,
        Box(t=(0, 200), x=(-0.5, 0.5), y=(-0.5, 0.5)),
        coefficients={
            "diffusivity_u": diffusivity_u, "diffusivity_v": diffusivity_v, "feed": feed, "kill": kill,
        },
        initial={"u": lambda x, y: 1 - spot(x, y) / 2, "v": lambda x, y: spot(x, y) / 4},
        boundary={"x": Periodic(), "y": Periodic()},
        reference=converged("spectral", n=96, rtol=1e-8),
    )  # fmt: skip


@catalogued("Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix D.9: equations and coefficients, smooth start")
def reaction_diffusion(diffusivity_u: Any = 1e-3, diffusivity_v: Any = 5e-3, threshold: Any = 5e-3) -> Problem:
    """FitzHugh-Nagumo on [0, 5] x [-1, 1]^2 between insulated walls.

    The benchmark starts from noise; here the start is smooth, and has no slope at the walls.
    """

    return Problem(
        fitzhugh_nagumo_equation,
        Box(t=(0, 5), x=(-1, 1), y=(-1, 1)),
        coefficients={"diffusivity_u": diffusivity_u, "diffusivity_v": diffusivity_v, "threshold": threshold},
        initial={
            "u": lambda x, y: 0.4 * sin(pi * x / 2) * cos(pi * y) + 0.3 * cos(pi * x) * sin(pi * y / 2),
            "v": lambda x, y: 0.3 * sin(pi * x / 2) * sin(pi * y / 2),
        },
        boundary={"x": Neumann(u=0, v=0), "y": Neumann(u=0, v=0)},
        reference=converged("spectral", n=96, rtol=1e-8),
    )
