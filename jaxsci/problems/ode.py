"""Systems of ordinary differential equations."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxsci.equations import equation
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.domain import Box
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import converged


@equation("x1 x2 x3", name="lorenz", symbols={"sigma": r"\sigma", "rho": r"\rho", "beta": r"\beta"})
def lorenz_equation(x1, x2, x3, sigma, rho, beta):
    """Lorenz: three modes of convection."""
    return (
        x1.t - sigma * (x2 - x1),
        x2.t - x1 * (rho - x3) + x2,
        x3.t - x1 * x2 + beta * x3,
    )


@equation("prey predator", name="lotka_volterra", symbols={})
def lotka_volterra_equation(prey, predator, birth, predation, growth, death):
    """Lotka and Volterra: prey and predator."""
    return (
        prey.t - birth * prey + predation * prey * predator,
        predator.t - growth * prey * predator + death * predator,
    )


@equation("y1 y2 y3", name="robertson", symbols={"k1": "k_1", "k2": "k_2", "k3": "k_3"})
def robertson_equation(y1, y2, y3, k1, k2, k3):
    """Robertson: three reactions whose speeds differ by nine orders of magnitude."""
    return (
        y1.t + k1 * y1 - k3 * y2 * y3,
        y2.t - k1 * y1 + k3 * y2 * y3 + k2 * y2**2,
        y3.t - k2 * y2**2,
    )


@catalogued("Lorenz (1963), J. Atmos. Sci. 20, 130", steady={"rho": 15.0})
def lorenz(sigma: Any = 10.0, rho: Any = 28.0, beta: Any = 8 / 3) -> Problem:
    """The Lorenz system on [0, 3] from (-8, 7, 27)."""
    return Problem(
        lorenz_equation,
        Box(t=(0, 3)),
        coefficients={"sigma": sigma, "rho": rho, "beta": beta},
        initial={"x1": -8.0, "x2": 7.0, "x3": 27.0},
        reference=converged("adaptive", rtol=1e-12, atol=1e-13),
    )


@catalogued("Lotka (1925), Elements of Physical Biology; Volterra (1926), Nature 118, 558")
def lotka_volterra(birth: Any = 1.1, predation: Any = 0.4, growth: Any = 0.1, death: Any = 0.4) -> Problem:
    """Predator and prey on [0, 20] from (10, 10). V = growth prey - death log prey + predation predator - birth log predator
    is conserved."""
    return Problem(
        lotka_volterra_equation,
        Box(t=(0, 20)),
        coefficients={"birth": birth, "predation": predation, "growth": growth, "death": death},
        initial={"prey": 10.0, "predator": 10.0},
        reference=converged("adaptive", rtol=1e-12, atol=1e-13),
    )


@catalogued("Robertson (1966); Hairer & Wanner (1996), Solving ODEs II, section IV.1, eq. 1.4")
def robertson(k1: Any = 0.04, k2: Any = 3e7, k3: Any = 1e4) -> Problem:
    """Robertson's kinetics on [0, 1e11] from (1, 0, 0): rates over nine orders of magnitude; y1 + y2 + y3 = 1."""
    return Problem(
        robertson_equation,
        Box(t=(0, 1e11)),
        coefficients={"k1": k1, "k2": k2, "k3": k3},
        initial={"y1": 1.0, "y2": 0.0, "y3": 0.0},
        times=(0.0, *np.logspace(-6, 11, 69)),
        reference=converged("adaptive", rtol=1e-9, atol=1e-13),
    )
