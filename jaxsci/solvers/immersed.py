r"""Immersed bodies at rest by volume penalisation, with the mask whose displacement error vanishes.

In the momentum equation stands one more force, -(mask / eta) u, where mask = (1 - tanh(2 s / delta)) / 2 and s is the signed
distance.  A mask with a sharp edge lets the flow slip: the wall seems displaced by about sqrt(nu eta).  A smooth one also
holds fluid back outside.  At delta = 2.648... sqrt(nu eta) the two cancel: the profile that solves
nu u'' = (mask / eta) u extrapolates to u = 0 exactly at s = 0, and the error is of second order in delta.  So delta, a few
cells wide, decides eta.

The force on the body is what the penalty takes from the fluid: the integral of (mask / eta) u.

Reference: Angot, Bruneau & Fabrie (1999), Numer. Math. 81, 497; Hester, Vasil & Burns (2021), J. Comput. Phys. 430, 110043.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci.problems import Problem
from jaxsci.solvers.mac_grid import MacAxis
from jaxsci.solvers.mac_stencils import face_volumes, positions

_WITHOUT_DISPLACEMENT = 2.648226340977794  # delta / sqrt(nu eta): the root of the displacement of nu u'' = (mask / eta) u


def resistance(problem: Problem, axes: tuple[MacAxis, ...], viscosity: Any, cells: float, dtype: Any) -> tuple[Any, ...]:
    """mask / eta on the faces of each component; None where there is no solid.

    Args:
      cells: delta in widths of the widest side of the local cell.
    """
    if problem.solid is None:
        return (None,) * len(axes)
    out = []
    for i in range(len(axes)):
        here = dict(zip((axis.name for axis in axes), positions(axes, i, dtype), strict=True))
        distance = problem.solid(here, problem.coefficients)
        delta = cells * _cell_size(axes, i, dtype)
        eta = (delta / _WITHOUT_DISPLACEMENT) ** 2 / viscosity
        out.append((1 - jnp.tanh(2 * distance / delta)) / (2 * eta))
    return tuple(out)


def _cell_size(axes: tuple[MacAxis, ...], component: int, dtype: Any) -> Any:
    size = np.zeros(())
    for i, axis in enumerate(axes):
        widths = axis.face_widths[: axis.faces] if i == component else axis.widths
        size = np.maximum(size, widths.reshape([-1 if k == i else 1 for k in range(len(axes))]))
    return jnp.asarray(size, dtype)


def penalty_force(axes: tuple[MacAxis, ...], resistances: tuple[Any, ...], velocity: tuple[Any, ...]) -> Any:
    """The force of the fluid on all solids over its density, ``[dims]``."""
    return jnp.stack([
        jnp.sum(r * u * face_volumes(axes, i, u.dtype)) for i, (r, u) in enumerate(zip(resistances, velocity, strict=True))
    ])  # fmt: skip
