"""Smooth nonlinear equalities and inequalities."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci.constraints.constraint import CONVERGED, Constraint, ProjectionInfo, check_numbers, constraint
from jaxsci.constraints.kkt import nearest

Condition = Callable[[Any, Any], Any]


@constraint("equality", "inequality", "batch_ndim")
class Nonlinear(Constraint):
    r"""{x in R^n :  h(x, data) = 0,  g(x, data) <= 0},  h and g twice differentiable functions of ONE point.

    The projection solves the KKT conditions  x - y + h'(x)' p + g'(x)' q = 0,  h = 0,  0 <= q, g <= 0, q.g = 0  by Newton's
    method with an augmented Lagrangian for what is far away (`jaxsci.constraints.kkt`); `converged` says that they hold to
    round-off, at a local minimiser of the distance.  A set that is not convex may have several: the one found is the one
    that the descent from `y` leads to.  INFEASIBLE stands for a local minimiser of |h|^2 + |max(g, 0)|^2 that is no point of
    the set.  Redundant conditions (a Jacobian without full rank) are no obstacle.

    Derivatives are exact in `y` and `data`.  An inequality that holds with equality and has no multiplier counts as inactive;
    at points that have not converged they are zero.  ``info.active`` has the inequalities, +1 where active, and ``info.warm``
    is ``(point, multipliers)``, equalities first.

    Args:
      equality: ``h(x, data) -> [conditions]`` or a scalar, with ``x`` of shape ``[n]``; None for none.
      inequality: ``g(x, data)``, the same.
      data: a pytree of arrays, whatever the functions take; differentiable. All points share them, unless `batch_ndim` says more.
      batch_ndim: leading axes of every leaf of `data` that are a batch, which is broadcast against that of the points.
    Raises:
      TypeError: where a condition is no function of (x, data).
      ValueError: without conditions, for NaN in `data`, or where a condition returns more than one axis.
    Reference: Nocedal & Wright (2006), *Numerical Optimization*, sections 17.4 and 18.1; Wright (1998), Comput. Optim. Appl.
      11, 253 (stabilised SQP).
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> ellipse = js.constraints.Nonlinear(lambda x, axes: jnp.sum((x / axes) ** 2) - 1, data=jnp.array([2.0, 1.0]))
      >>> point, info = js.constraints.project(ellipse, jnp.array([[3.0, 0.0], [0.0, -0.5]]))
      >>> print(jnp.abs(point - jnp.array([[2.0, 0.0], [0.0, -1.0]])).max() < 1e-4, info.converged)
      True [ True  True]
    """

    equality: Condition | None = None
    inequality: Condition | None = None
    data: Any = ()
    batch_ndim: int = 0

    def __post_init__(self):
        for name in ("equality", "inequality"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise TypeError(f"Nonlinear: {name} must be a function of (x, data), got {function!r}.")
            if function is not None and not _takes_two(function):
                raise TypeError(
                    f"Nonlinear: {name} must be a function of two arguments, (x, data); data are () where there are none."
                )
        if self.equality is None and self.inequality is None:
            raise ValueError("Nonlinear: there is no condition; give equality=h, inequality=g, or both.")
        if not is_whole(self.batch_ndim) or self.batch_ndim < 0:
            raise ValueError(f"Nonlinear: batch_ndim must be a whole number of axes, 0 or more, got {self.batch_ndim!r}.")
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.data):
            name = f"data{jax.tree_util.keystr(path)}"
            check_numbers("Nonlinear", **{name: leaf})
            if hasattr(leaf, "ndim") and leaf.ndim < self.batch_ndim:
                raise ValueError(
                    f"Nonlinear: {name} has the shape {leaf.shape}, with fewer axes than batch_ndim = {self.batch_ndim}."
                )

    @property
    def _system(self) -> Dense:
        return Dense(self.equality, self.inequality)

    def residual(self, x: Any) -> Any:
        def one(x, data):
            value = self._system.conditions(x, data)
            equal = jnp.arange(value.size) < self._system.equalities(x, data)
            return jnp.where(equal, value, jnp.maximum(value, 0))

        return self._map(one, jnp.asarray(x))

    def nearest(self, y, tol, max_steps, warm):
        found, active = self._map(partial(_nearest, self._system, tol, max_steps), y, *(() if warm is None else warm))
        info = ProjectionInfo(
            found.status == CONVERGED,
            found.status,
            found.residual,
            found.steps,
            None if self.inequality is None else active,
            jax.lax.stop_gradient((found.point, found.multipliers)),
        )
        return found.point, info

    def _map(self, function, *points):
        """The function of one point and its data, over the batch of both."""
        axes = self.batch_ndim
        data = jax.tree.map(jnp.asarray, self.data)
        leading = [leaf.shape[:axes] for leaf in jax.tree.leaves(data)]
        try:
            batch = np.broadcast_shapes(points[0].shape[:-1], *leading)
        except ValueError:
            raise ValueError(
                f"Nonlinear: the batch of the points, {points[0].shape[:-1]}, does not fit the batch of the data, "
                f"{sorted(set(leading))}."
            ) from None

        def flat(v, lead):
            return jnp.broadcast_to(v, batch + v.shape[lead:]).reshape(math.prod(batch), *v.shape[lead:])

        if axes == 0:  # shared: not copied for each point
            over, data_axes = data, None
        else:
            over, data_axes = jax.tree.map(lambda v: flat(v, axes), data), 0
        points = [flat(p, p.ndim - 1) for p in points]
        result = jax.vmap(function, (0, data_axes, *(0,) * (len(points) - 1)))(points[0], over, *points[1:])
        return jax.tree.map(lambda v: v.reshape(*batch, *v.shape[1:]), result)


def _takes_two(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # of some built-in functions nothing is known
        return True
    return True


@partial(jax.jit, static_argnums=(0, 1, 2))
def _nearest(system, tol, max_steps, y, data, *warm):
    found = nearest(system, y, data, tol, max_steps, warm or None)
    return found, found.active[system.equalities(y, data) :].astype(int)


@dataclasses.dataclass(frozen=True)
class Dense:
    """Conditions without a structure; see `jaxsci.constraints.kkt.System`."""

    equality: Condition | None
    inequality: Condition | None

    def conditions(self, x, data):
        return jnp.concatenate([self._one(f, x, data) for f in (self.equality, self.inequality) if f is not None])

    def equalities(self, x, data):
        return 0 if self.equality is None else jax.eval_shape(lambda: self._one(self.equality, x, data)).shape[0]

    def metric(self, x, data):
        return jnp.ones_like(x)

    def scale(self, x, data):
        """|c_i'|, and where that vanishes |c_i| over a length."""
        length = jnp.maximum(jnp.max(jnp.abs(x)), 1)
        size = jnp.linalg.norm(self._jacobian(x, data), axis=-1) + jnp.abs(self.conditions(x, data)) / length
        return jnp.where(jnp.isfinite(size) & (size > 0), size, 1)

    def factor(self, x, data, multipliers, weights, ridge):
        jacobian = self._jacobian(x, data)
        bending = jax.jacfwd(jax.grad(lambda x: jnp.vdot(multipliers, self.conditions(x, data))))(x)
        matrix = bending + jacobian.T @ (weights[:, None] * jacobian) + (1 + ridge) * jnp.eye(x.size, dtype=x.dtype)
        lower = jnp.linalg.cholesky(matrix)
        exists = jnp.isfinite(lower).all()
        return jnp.where(exists, lower, jnp.eye(x.size, dtype=x.dtype)), exists

    def solve(self, factor, v):
        half = jax.scipy.linalg.solve_triangular(factor, v, lower=True)
        return jax.scipy.linalg.solve_triangular(factor, half, lower=True, trans=1)

    def _jacobian(self, x, data):
        count = jax.eval_shape(lambda: self.conditions(x, data)).shape[0]
        return (jax.jacrev if count < x.size else jax.jacfwd)(self.conditions)(x, data)

    @staticmethod
    def _one(function, x, data):
        value = jnp.asarray(function(x, data))
        if value.ndim > 1:
            raise ValueError(f"Nonlinear: a condition must return a number or one axis for ONE point, got {value.shape}.")
        return value.reshape(-1).astype(x.dtype)
