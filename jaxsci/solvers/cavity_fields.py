"""The lid-driven cavity for fields: its reference as a recipe, and a lift for an ansatz that knows the corners."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from jaxsci._timing import Cost
from jaxsci._types import SavedTimes
from jaxsci.problems import Problem, Solution
from jaxsci.problems.reference import RECIPES
from jaxsci.problems.solution import sample
from jaxsci.solvers.cavity import WALL_DEGREE, CavityFlow, polynomial_lift, steady_cavity
from jaxsci.solvers.cavity_corners import corner_flow
from jaxsci.solvers.collocation import chebyshev_nodes


@functools.cache
def _coefficients(m: int) -> np.ndarray:
    """Chebyshev coefficients of the polynomial that goes with the corners' terms r^m f, ``[x, y]``."""
    degree = WALL_DEGREE + 3
    nodes = (chebyshev_nodes(degree) + 1) / 2
    values = polynomial_lift(nodes, m).psi
    expand = np.linalg.inv(chebyshev.chebvander(2 * nodes - 1, degree))
    return expand @ values @ expand.T


def cavity_lift(x: Any, y: Any, viscosity: Any) -> Any:
    """A stream function at ONE point with the walls' values and slopes of the cavity whose lid moves with u = 1.

    The first two terms of the flow about the upper corners, where the vorticity is unbounded, and a polynomial; what is left
    of the solution vanishes on the walls with its slope, and is of third order in the corners. Differentiable any number of
    times inside.

    Reference: see `steady_cavity`.
    Example:
      >>> import jax, jaxsci as js
      >>> slope = jax.grad(js.solvers.cavity_lift, argnums=1)
      >>> print(f"{slope(0.3, 1.0, 0.01):.3f} {abs(slope(0.3, 0.0, 0.01)):.3f}")
      1.000 0.000
    """
    dtype = jnp.result_type(float, x)
    t_x, t_y = (_chebyshev(2 * jnp.asarray(s, dtype) - 1) for s in (x, y))
    stokes, inertial = (t_x @ jnp.asarray(_coefficients(m), dtype) @ t_y for m in (1, 2))
    return corner_flow(x, y, viscosity) + stokes + inertial / viscosity


def _chebyshev(s: Any) -> Any:
    """T_0(s), ..., by T_(n + k) = 2 T_n T_k - T_(n - k): twice as many with every step, so that little is compiled."""
    out = jnp.stack([jnp.ones_like(s), s])
    while len(out) < WALL_DEGREE + 4:
        out = jnp.concatenate([out, 2 * out[-1] * out[1:] - out[:-1][::-1]])
    return out[: WALL_DEGREE + 4]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StreamFunction:
    """The stream function of a `CavityFlow` as a field of ONE point."""

    flow: CavityFlow

    def __call__(self, x: Any, y: Any) -> Any:
        return self.flow.stream_function(x, y)[None]


def _reference(problem: Problem, ts: SavedTimes, *, n: int, regularised: bool, grid: int = 64) -> Solution:
    """The flow at degree n. Its stated error is the velocity's, which that of the stream function is below."""
    viscosity = problem.coefficients["viscosity"]
    flow = steady_cavity(viscosity, n=n, regularised=regularised).check()
    axes = {name: jnp.linspace(*problem.domain[name], grid + 1) for name in problem.domain.space}
    field = StreamFunction(flow)
    return Solution(problem, None, axes, sample(field, None, axes), field, flow.error_estimate, {}, Cost())


RECIPES["cavity"] = _reference
