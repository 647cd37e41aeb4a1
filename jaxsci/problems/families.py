"""Families of problems with random starts, ``key -> Problem``: what operators and constrained networks are trained on.

The two problems of Chalapathi, Du & Krishnapriyan (2024), Scaling physics-informed hard constraints with mixture-of-experts,
ICLR, arXiv:2402.13412, sections 4.1 and 4.2, with their coefficients. A family maps over keys: ``jax.vmap(family)(keys)``.
"""

from __future__ import annotations

from typing import Any

import jax

from jaxsci._types import Key
from jaxsci.equations import erf
from jaxsci.problems.conditions import Dirichlet, Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.flow import vorticity_equation
from jaxsci.problems.porous import diffusion_sorption_equation
from jaxsci.problems.problem import Problem
from jaxsci.problems.random_fields import smooth_gaussian_field

DIFFUSIVITY = 5e-4
_BEYOND = 1 + DIFFUSIVITY  # where u, continued along its slope at x = 1, is zero


def sorbing_column(key: Key, layer: float = 0.0) -> Problem:
    r"""R(u) u_t = D u_xx on 0 < t <= 500, from a random constant in (0, 0.2), with u = 1 at x = 0.

    The conditions of PDEBench: its starts are constants, not fields, and at x = 1 the solute leaves, u = -D u_x. (Its papers
    print u = D u_x, with which the problem is ill-posed: exp(2000 (x - 1)) grows within milliseconds. Its program, whose data
    are used, has the sign of an outflow.) D = 5e-4 is a length here, the distance at which the tangent at the wall reaches zero:
    the box ends there, at x = 1 + D with u = 0, which differs by O(D^2 u_xx) and which every method of this package carries.

    Args:
      key: draws the constant, the coefficient `start`.
      layer: the width of two layers, erf((x or 1 + D - x) / layer), by which the constant meets the walls' values at t = 0
        instead of by jumps, for grids that cannot show a jump: after t that of a jump is about 0.025 sqrt(t).
    Reference: Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix D.6, and its sim_diff_sorp.py.
    Example:
      >>> import jax, jaxsci as js
      >>> solution = js.solve(js.problems.sorbing_column(jax.random.key(0)), js.FiniteVolume(n=32, estimate=False), ts=[250, 500])
      >>> solution.fields.shape
      (2, 1, 32)
    """
    return Problem(
        diffusion_sorption_equation,
        Box(t=(0, 500), x=(0, _BEYOND)),
        coefficients={
            "diffusivity": DIFFUSIVITY, "porosity": 0.29, "bulk_density": 2880.0, "sorption": 3.5e-4, "exponent": 0.874,
            "start": jax.random.uniform(key, maxval=0.2),
        },
        initial={"u": lambda x, start: _column_start(x, start, layer)},
        boundary={"x": (Dirichlet(1), Dirichlet(0))},
        name="sorbing_column",
    )  # fmt: skip


def _column_start(x: Any, start: Any, layer: float) -> Any:
    if not layer:
        return start + 0 * x
    return 1 - (1 - start) * erf(x / layer) - start * (1 - erf((_BEYOND - x) / layer))


def stirred_vorticity(key: Key, viscosity: Any = 1e-4) -> Problem:
    """2-D Navier-Stokes in vorticity form on the periodic unit square, t in [0, 5], without a force.

    The start is a periodic Gaussian field of length scale 0.8 (`smooth_gaussian_field`) and mean zero; its amplitude, which the
    paper does not give, is one.

    Example:
      >>> import jax, jaxsci as js
      >>> problem = js.problems.stirred_vorticity(jax.random.key(0))
      >>> js.solve(problem, js.Spectral(n=32, dt=0.05, estimate=False), ts=[0, 5])["w"].shape
      (2, 32, 32)
    """
    box = Box(t=(0, 5), x=(0, 1), y=(0, 1))
    still = Problem(
        vorticity_equation,
        box,
        coefficients={"viscosity": viscosity},
        initial={"w": 0},
        boundary={"x": Periodic(), "y": Periodic()},
        name="stirred_vorticity",
    )
    return still.with_initial(w=smooth_gaussian_field(key, box, length=0.8))
