"""Cones: the second-order cone and the positive semidefinite matrices."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import Constraint, ProjectionInfo, check_numbers, closed_form, constraint
from jaxsci.constraints.members import joined
from jaxsci.constraints.sets import length, positive_part, unless_empty


@constraint()
class SecondOrderCone(Constraint):
    r"""{(u, t) : |u| <= slope t}: the bound t is the LAST entry of a point, u are the others.

    With s = (t + slope |u|) / (1 + slope^2) the projection is the point itself inside, zero where slope |u| <= -t (inside the
    polar cone), else  (slope s u / |u|, s).  A slope other than one is a cone of friction, or of an opening angle.

    Args:
      slope: ``[...]``, positive; where it is negative the set is empty.
    Reference:
      Fukushima, Luo and Tseng (2002), "Smoothing functions for second-order-cone complementarity problems", SIAM J. Optim. 12.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, _ = js.constraints.SecondOrderCone().project(jnp.array([3.0, 4.0, 1.0]))
      >>> print(jnp.array_str(x, precision=3, suppress_small=True))
      [1.8 2.4 3. ]
    """

    slope: Any = 1.0

    def __post_init__(self):
        check_numbers("SecondOrderCone", slope=self.slope)

    def residual(self, x: Any) -> Any:
        slope = jnp.asarray(self.slope, x.dtype)
        return positive_part(length(_split(x)[0]) - slope * x[..., -1])[..., None]

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        u, t = _split(y)
        slope = jnp.asarray(self.slope, y.dtype)
        empty, slope = slope < 0, positive_part(slope)
        norm = length(u)
        inside, polar = norm <= slope * t, slope * norm <= -t
        s = (t + slope * norm) / (1 + slope**2)
        sides = (slope * s / jnp.where(norm > 0, norm, 1))[..., None] * u
        sides, s = jnp.broadcast_arrays(sides, s[..., None])[0], s[..., None]
        border = jnp.concatenate([sides, s], axis=-1)
        x = jnp.where(inside[..., None], y, jnp.where(polar[..., None], 0, border))
        x, info = closed_form(self, x, active=(norm >= slope * t).astype(int)[..., None])
        return x, unless_empty(info, empty)


@constraint()
class PositiveSemidefinite(Constraint):
    r"""Symmetric matrices whose eigenvalues are at least `floor`; a point is a matrix ``[..., n, n]``.

    The projection replaces the eigenvalues l by max(l, floor) and keeps the eigenvectors; of a matrix that is not symmetric
    it takes the symmetric part, which is the nearest. Its derivative is that of the matrix absolute value |X|, the solution
    of  |X| D + D |X| = X dX + dX X  (X less the floor), in which eigenvalues that are equal do no harm. Where two of X vanish
    the derivative takes the mean of both sides there.

    Args:
      floor: of the eigenvalues, ``[...]``.
    Reference:
      Higham (1988), "Computing a nearest symmetric positive semidefinite matrix", Linear Algebra Appl. 103;
      Malick and Sendov (2006), "Clarke generalized Jacobian of the projection onto the cone of positive semidefinite
      matrices", Set-Valued Analysis 14.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x, _ = js.constraints.PositiveSemidefinite().project(jnp.array([[1.0, 2.0], [2.0, 1.0]]))
      >>> print(jnp.array_str(x, precision=3, suppress_small=True))
      [[1.5 1.5]
       [1.5 1.5]]
    """

    floor: Any = 0.0

    event_ndim = 2  # ty: ignore[incompatible-attribute-override]

    def __post_init__(self):
        check_numbers("PositiveSemidefinite", floor=self.floor)

    def residual(self, x: Any) -> Any:
        """How far each eigenvalue is below the floor, and each pair of entries from symmetric;  [..., n (n + 1) / 2]."""
        n = _order(x)
        _, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(_symmetric(x)), symmetrize_input=False)
        # The derivative of an eigenvalue is v . dX v; that of the vectors does not enter, and is infinite where two are equal.
        values = jnp.einsum("...ik,...ij,...jk->...k", vectors, _symmetric(x), vectors)
        rows, columns = jnp.triu_indices(n, 1)
        skew = (x - jnp.swapaxes(x, -1, -2))[..., rows, columns]
        short = positive_part(jnp.asarray(self.floor, x.dtype)[..., None] - values)
        return joined((short, skew))

    def penalty(self, x: Any) -> Any:
        """Half the squared distance to the set;  [...]."""
        return jnp.sum((x - self._projected(x)) ** 2, axis=(-2, -1)) / 2

    def nearest(self, y: Any, tol: float | None, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        return closed_form(self, self._projected(y))

    def _projected(self, y):
        ground = jnp.asarray(self.floor, y.dtype)[..., None, None] * jnp.eye(_order(y), dtype=y.dtype)
        return ground + _positive(_symmetric(y) - ground)


@jax.custom_jvp
def _positive(x):
    values, vectors = jnp.linalg.eigh(x, symmetrize_input=False)
    return _symmetric((vectors * positive_part(values)[..., None, :]) @ jnp.swapaxes(vectors, -1, -2))


@_positive.defjvp
def _positive_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    positive = _positive(x)  # itself of known derivative: the rule can be differentiated again
    absolute = 2 * positive - x
    values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(absolute), symmetrize_input=False)
    sums = values[..., :, None] + values[..., None, :]
    smallest = x.shape[-1] * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(values), axis=-1, initial=0.0)[..., None, None]
    inverse = jnp.where(sums > smallest, 1 / jnp.where(sums > smallest, sums, 1), 0)

    def lyapunov(s):
        return absolute @ s + s @ absolute

    def solve(_, right):
        turned = jnp.swapaxes(vectors, -1, -2) @ right @ vectors
        return vectors @ (inverse * turned) @ jnp.swapaxes(vectors, -1, -2)

    d_absolute = jax.lax.custom_linear_solve(lyapunov, x @ dx + dx @ x, solve, symmetric=True)
    return positive, (dx + d_absolute) / 2


def _symmetric(x):
    return (x + jnp.swapaxes(x, -1, -2)) / 2


def _order(x):
    if x.shape[-1] != x.shape[-2]:
        raise ValueError(f"PositiveSemidefinite: points are square matrices [..., n, n], got the shape {x.shape}.")
    return x.shape[-1]


def _split(x):
    if x.shape[-1] < 2:
        raise ValueError(f"SecondOrderCone: a point (u, t) has at least two entries, got the shape {x.shape}.")
    return x[..., :-1], x[..., -1]
