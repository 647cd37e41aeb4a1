r"""A residual measured in the norm that goes with its equation: by sine coefficients over powers of their wavenumbers.

    |r|^2 = sum over k of (r_k / |k|^m)^2,        r_k the coefficients of r in prod_i sqrt(2) sin(k_i x_i)

for an equation of order 2 m or 2 m + 1. It bounds the error of the solution with its first m derivatives, where the mean square
of r asks for 2 m: a fit in it does not spend itself on walls and corners where the highest derivatives are large.

Reference: Bramble, Lazarov & Pasciak (1997), Math. Comput. 66, 935: least squares in a dual norm.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci.equations.evaluation import partials_in
from jaxsci.equations.expression import split_letters
from jaxsci.problems import Problem


@dataclasses.dataclass(frozen=True)
class DualNorm:
    """Gauss points of a box and the map from residuals there to their weighted sine coefficients. Static.

    Args:
      lengths: of the box, by axis.
      powers: m of each equation.
    Example:
      >>> import jax.numpy as jnp
      >>> norm = DualNorm((1.0,), (1,))
      >>> fractions = norm.fractions(16)
      >>> rows = norm(jnp.sin(3 * jnp.pi * fractions[0])[:, None])  # as much as sqrt(1 / 2) / (3 pi)
      >>> print(f"{float(jnp.sqrt(jnp.mean(rows**2))):.4f}")
      0.0750
    """

    lengths: tuple[float, ...]
    powers: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem) -> DualNorm:
        """That of a steady problem.

        Raises:
          ValueError: the domain is no box with walls all around.
        """
        space = problem.domain.space
        periodic = [axis for axis in space if not problem.walls(axis)]
        if problem.solids or periodic:
            what = f"{periodic[0]} is periodic" if periodic else "it has solids"
            raise ValueError(
                f"RandomFeatures: weak=True is for boxes with walls on all sides, but {what} in {problem.name}; leave it out."
            )
        orders = [
            max((len(split_letters(letters)) for _, letters in partials_in(r.formula)), default=0)
            for r in problem.equation.residuals
        ]
        return cls(tuple(problem.domain.lengths), tuple(order // 2 for order in orders))

    def fractions(self, count: int) -> list[Any]:
        """Points as fractions of the way between the walls, one column per axis: `count` of Gauss on each."""
        nodes, _ = np.polynomial.legendre.leggauss(count)
        mesh = np.meshgrid(*[(nodes + 1) / 2] * len(self.lengths), indexing="ij")
        return [jnp.asarray(m.ravel(), jnp.result_type(float)) for m in mesh]

    def __call__(self, values: Any) -> Any:
        """``[points, equations, ...]`` at these points to rows of this shape, whose mean square is |r|^2."""
        axes = len(self.lengths)
        count = round(values.shape[0] ** (1 / axes))
        nodes, weights = np.polynomial.legendre.leggauss(count)
        waves = np.arange(1, count + 1)
        sines = np.sin(np.pi * np.outer(waves, (nodes + 1) / 2)) * weights * np.sqrt(count / 2)
        rows = values.reshape(*(count,) * axes, *values.shape[1:])
        for axis in range(axes):
            rows = jnp.moveaxis(jnp.tensordot(jnp.asarray(sines, values.dtype), rows, (1, axis)), 0, axis)
        numbers = np.meshgrid(*(np.pi * waves / length for length in self.lengths), indexing="ij")
        size = np.sqrt(np.sum(np.square(numbers), axis=0)).ravel()
        scale = jnp.asarray(np.stack([size**-power for power in map(float, self.powers)], axis=1), values.dtype)
        return rows.reshape(values.shape) * scale.reshape(scale.shape + (1,) * (values.ndim - 2))
