"""The strong-baseline demonstration: Kolmogorov flow at Re = 500, finite volumes against a spectral method at equal accuracy.

The clock is that of Kochkov et al. (2021): how long the vorticity stays correlated (0.95) with a resolved solution, averaged
over starts. A plain coarse spectral method reaches the time of the finite volumes at a fraction of their cost; a surrogate
that is compared with finite volumes alone is credited with that factor.

    python benchmarks/turbulence.py       two JSON rows for every resolution, and the ratios
"""

from __future__ import annotations

import numpy as np

import jaxsci as js
from jaxsci.problems.flow import velocity_equation, vorticity_equation

CIRCLE = (0.0, 2 * np.pi)
END, SAVES, LEVEL = 6.0, 24, 0.95
VISCOSITY, DRAG, WAVE = 1 / 500, 0.1, 4


def flows(end: float) -> tuple[js.Problem, js.Problem]:
    """The same flow in vorticity and in velocity: forcing sin(4 y) along x, drag 0.1."""
    box = js.Box(t=(0, end), x=CIRCLE, y=CIRCLE)

    def forced_vorticity(w, psi, viscosity, drag, y):
        carried, poisson = vorticity_equation.function(w, psi, viscosity)
        return carried + drag * w + WAVE * js.cos(WAVE * y), poisson

    def forced_velocity(u, v, p, viscosity, drag, y):
        along, across, continuity = velocity_equation.function(u, v, p, viscosity)
        return along + drag * u - js.sin(WAVE * y), across + drag * v, continuity

    coefficients = {"viscosity": VISCOSITY, "drag": DRAG}
    spectral = js.Problem(
        js.Equation(forced_vorticity, "w psi", name="kolmogorov_vorticity"), box, coefficients=coefficients, initial={"w": 0}
    )
    staggered = js.Problem(
        js.Equation(forced_velocity, "u v p", name="kolmogorov_velocity"),
        box,
        coefficients=coefficients,
        initial={"u": 0, "v": 0},
    )
    return spectral, staggered
