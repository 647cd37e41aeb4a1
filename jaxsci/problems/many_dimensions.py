"""Problems in as many dimensions as are asked for, which only sampled methods can take."""

from __future__ import annotations

from jax.numpy import pi

from jaxsci._checks import is_whole
from jaxsci.equations import Equation, cos, exp
from jaxsci.equations.expression import coordinate
from jaxsci.problems.domain import Box
from jaxsci.problems.manufactured import manufactured
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import Exact


def screened_poisson(dimensions: int = 10) -> Problem:
    r"""-(u_{x1 x1} + ... + u_{xd xd}) + u = f on the torus [0, 1]^d;  u = exp((1/d) sum_i cos(2 pi x_i)).

    The solution is no sum of functions of one coordinate, and of size one everywhere.  It is not in the catalogue, whose
    problems every method can take: no grid fills ten dimensions.  Ask for few points per axis (``js.Neural(grid=1)``) and
    score at random points.

    Args:
      dimensions: 2 to 100.
    Example:
      >>> import jaxsci as js
      >>> js.problems.screened_poisson(3).coordinates
      ('x1', 'x2', 'x3')
    """
    if not (is_whole(dimensions) and 2 <= dimensions <= 100):
        raise ValueError(f"screened_poisson: dimensions must be a whole number from 2 to 100, got {dimensions!r}.")
    names = [f"x{i}" for i in range(1, dimensions + 1)]
    waves = [cos(2 * pi * coordinate(name)) for name in names]
    return manufactured(
        Equation(lambda u: u - sum(u.d(name, name) for name in names), "u", name="screened_poisson"),
        Box(**dict.fromkeys(names, (0, 1))),
        coefficients={},
        exact={"u": exp(sum(waves[1:], waves[0]) / dimensions)},
        reference=Exact(points=1),
    )
