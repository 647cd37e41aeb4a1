r"""A PDE as a constraint on the coefficients of basis functions (PI-HC).

A network gives N functions b_i over the domain, the constraint finds omega for which the equation and its conditions hold for
u = u_0 + sum_i omega_i b_i at m sampled points:

    omega = argmin |r(omega)|^2 / 2    subject to    C omega = d.

Linear equations take one orthogonal factorisation; nonlinear ones Levenberg and Marquardt's steps in coordinates z in which
the first Jacobian has orthonormal columns, and Newton's at the end, so that omega is stationary to round-off.

At a stationary point the derivative in all data (basis functions, coefficients, targets, weights) follows from

    J' r + C' mu = 0, C omega = d:     [H  C'] [d omega]       [d(J' r + C' mu)]
                                       [C  0 ] [d mu   ]  =  - [d(C omega - d) ]  at fixed omega and mu,

with the whole Hessian H = J'J + sum_j r_j r_j'', not Gauss and Newton's part of it.

Reference: Negiar, Mahoney & Krishnapriyan (2023), ICLR; Chalapathi, Du & Krishnapriyan (2024), ICLR.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.constraints.basis_rows import Rows
from jaxsci.constraints.constraint import Constraint, ProjectionInfo, constraint
from jaxsci.constraints.matrix_free import MATRIX_FREE
from jaxsci.constraints.members import over_members
from jaxsci.constraints.stationary import DIRECT, solve_one

MAX_ITERATIONS = 100


@constraint("gauss_newton", "matrix_free")
class PDEConstraint(Constraint):
    r"""The coefficients omega, ``[..., N]``, for which equations hold at sampled points, and conditions with them.

    ``project(constraint, start)`` goes from `start` to the minimum of the weighted mean squares of `rows` that it leads to,
    with `exact` held to round-off. Where the basis is rank-deficient, that is the minimum nearest to `start` if all rows are
    linear, and one of the minima if not. The derivative is
    that of the minimum, in everything that the rows hold; see the module's docstring.

    Args:
      rows: what holds in the sense of least squares, from `equation_rows` and `linear_rows`.
      exact: linear rows that hold exactly.
      gauss_newton: derivatives with J'J in place of the whole Hessian: cheaper by half, and exact where the residual is zero.
      matrix_free: steps and derivatives by conjugate gradients on products with J and J', neither J nor J'J being formed. It
        pays where N is large and the basis, its columns scaled to unit length, well conditioned; where it is rank-deficient,
        the minimum is the one nearest to `start` in those units. `exact` rows are still factored.
    Info:
      `residual` is the largest residual of any row, weights left out. `status` is SADDLE where the point is stationary and no
      minimum, so that derivatives mean nothing; INFEASIBLE where the exact rows contradict each other; `warm` is omega.
    Raises:
      TypeError, ValueError: rows are missing, have different N, or the exact ones are nonlinear.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0.0, 1.0, 21)
      >>> b = jnp.stack([jnp.sin(jnp.pi * x), jnp.sin(2 * jnp.pi * x)], -1)
      >>> b_xx = -(jnp.pi * jnp.arange(1, 3)) ** 2 * b
      >>> poisson = js.Equation(lambda u, f, x: u.xx + f(x))
      >>> source = jax.tree_util.Partial(lambda x: 4 * jnp.pi**2 * jnp.sin(2 * jnp.pi * x))
      >>> rows = js.constraints.equation_rows(poisson, {("u", "xx"): b_xx}, {"x": x}, {"f": source})
      >>> omega, info = js.constraints.project(js.constraints.PDEConstraint((rows,)), jnp.zeros(2))
      >>> print(jnp.abs(omega.round(4)), bool(info.converged))
      [0. 1.] True
    """

    rows: tuple[Rows, ...]
    exact: tuple[Rows, ...] = ()
    gauss_newton: bool = False
    matrix_free: bool = False

    def __post_init__(self):
        for name in ("rows", "exact"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, Rows) else value)
        parts = (*self.rows, *self.exact) if isinstance(self.rows, tuple) and isinstance(self.exact, tuple) else ()
        if not all(isinstance(part, Rows) for part in parts):
            return  # a pytree of something else: what jax makes inside transformations
        if not self.rows:
            raise ValueError("PDEConstraint: give rows, as from equation_rows(problem, ...).")
        if any(not part.is_linear for part in self.exact):
            raise ValueError("PDEConstraint: exact rows must be linear; give nonlinear ones as rows, with a larger weight.")
        sizes = [getattr(part.matrix, "shape", None) for part in parts]
        if None not in sizes and len({shape[-1] for shape in sizes if shape}) > 1:
            raise ValueError(f"PDEConstraint: all rows must have the same N, the last axis, got {sizes}.")

    def __repr__(self) -> str:
        shapes = [f"{name}: {[jnp.shape(part.matrix) for part in getattr(self, name)]}" for name in ("rows", "exact")]
        return f"PDEConstraint({', '.join(shapes)})"

    @property
    def is_linear(self) -> bool:
        return all(part.is_linear for part in self.rows)

    def residual(self, x: Any) -> Any:
        """The weighted residuals of all rows, one after the other;  [..., conditions]."""

        def one(tree: Any) -> Any:
            rows, omega = tree
            return jnp.concatenate([part.values(omega).reshape(-1) for part in rows])

        rows = (*self.rows, *self.exact)
        return over_members(one, (rows, x), (event_ndims(rows), 1))

    def violation(self, x: Any) -> Any:
        """The largest residual of any row, weights left out;  [...]."""
        rows = (*self.rows, *self.exact)
        return over_members(lambda tree: _largest(*tree), (rows, x), (event_ndims(rows), 1))

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        if y.shape[-1] != (size := self.rows[0].size):
            raise ValueError(f"PDEConstraint: a point has N = {size} coefficients, as its rows; got the shape {y.shape}.")
        start = y if warm is None else warm
        tol = float(jnp.finfo(y.dtype).eps) ** 0.625 if tol is None else tol
        steps = MAX_ITERATIONS if max_steps is None else max_steps

        def one(tree: Any) -> tuple[Any, ProjectionInfo]:
            return solve_one(*tree, tol, steps, self.gauss_newton, MATRIX_FREE if self.matrix_free else DIRECT)

        tree = (self.rows, self.exact, start)
        ndims = (event_ndims(self.rows), event_ndims(self.exact), 1)
        # On a processor every member takes as many steps as it needs; elsewhere all go together, the finished ones at rest.
        return over_members(one, tree, ndims, one_by_one=jax.default_backend() == "cpu")


def event_ndims(rows: tuple[Rows, ...]) -> tuple[Rows, ...]:
    """How many trailing axes of each leaf are one member's."""
    return tuple(part.event_ndims() for part in rows)


def _largest(rows: tuple[Rows, ...], omega: Any) -> Any:
    bare = [part.unweighted(omega) for part in rows]
    return jnp.max(jnp.stack([jnp.max(jnp.abs(value), initial=0.0) for value in bare]))
