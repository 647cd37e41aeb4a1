"""Polytopes: equations, inequalities and bounds, all linear."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

from jaxsci._checks import is_traced
from jaxsci.constraints import polytope_solve
from jaxsci.constraints.constraint import (
    CONVERGED,
    INFEASIBLE,
    MAX_STEPS,
    NOT_FINITE,
    Constraint,
    ProjectionInfo,
    check_numbers,
    constraint,
)
from jaxsci.constraints.dual import clip, largest
from jaxsci.constraints.factor import Factor, factor
from jaxsci.constraints.members import joined
from jaxsci.constraints.polytope_data import Data, where_known
from jaxsci.constraints.polytope_solve import Warm

_MAX_STEPS = 200


@constraint()
class Polytope(Constraint):
    r"""{x in R^n:  A x = b,  lower <= x <= upper,  C_lower <= C x <= C_upper}; every part may be left out.

    The projection is found by the dual (accelerated ascent, then semismooth Newton steps), and is exact to round-off. Its
    derivative in the point and in all of the numbers below is that of the solution; see `jaxsci.constraints.project`.
    Leading axes of any array are a batch, broadcast against that of the points: one A for all, or one for each.

    Args:
      A: ``[..., m, n]``, or a sparse ``jax.experimental.sparse.BCOO`` ``[m, n]``, which stays sparse. Rows may depend on each
        other.
      b: ``[..., m]``.
      lower: ``[..., n]`` or a number; -inf, and None, for no bound.
      upper: likewise.
      C: ``[..., p, n]`` or sparse ``[p, n]``.
      C_lower: ``[..., p]`` or a number.
      C_upper: likewise.
    Raises:
      ValueError: for shapes that do not fit, NaN, and a lower bound above the upper one, where the numbers are known; NaN in a
        point, or in traced numbers, is the status of that member, whose point is then that of y = 0.
      TypeError: for what is no number.
    Infeasible data have ``info.status == INFEASIBLE``, found by a certificate (Farkas); the point is one of least violation of
    the rows, scaled to be orthonormal. Where two bounds are one number, its derivative belongs to ``lower`` (of a variable), to
    ``C_upper`` (of a row).
    ``info.active`` has two entries, for the variables ``[..., n]`` and for the rows of C ``[..., p]``: -1 and 1 at a lower and at
    an upper bound, 0 between, and 2 for rows of C whose bounds are equal.

    Reference: the projection is that of Li, Sun & Toh (2020), Math. Program. 179, 419, without their outer iteration.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> shares = js.constraints.Polytope(A=jnp.ones((1, 3)), b=jnp.ones(1), lower=0.0)
      >>> project = lambda y, b: js.constraints.project(js.constraints.Polytope(jnp.ones((1, 3)), b, 0.0), y)[0]
      >>> show = lambda x: print(jnp.array_str(jnp.abs(x), precision=3, suppress_small=True))
      >>> show(project(jnp.array([0.9, 0.6, -0.4]), jnp.ones(1)))
      [0.65 0.35 0.  ]
      >>> show(jax.jacobian(project, argnums=1)(jnp.array([0.9, 0.6, -0.4]), jnp.ones(1))[:, 0])
      [0.5 0.5 0. ]
    """

    A: Any = None
    b: Any = None
    lower: Any = None
    upper: Any = None
    C: Any = None
    C_lower: Any = None
    C_upper: Any = None
    factor: Factor | None = None  # filled by `prepare`

    def __post_init__(self):
        for name in ("A", "b", "lower", "upper", "C", "C_lower", "C_upper"):
            value = getattr(self, name)
            check_numbers("Polytope", **{name: value.data if isinstance(value, BCOO) else value})
            if value is not None and not isinstance(value, BCOO):
                object.__setattr__(self, name, jnp.asarray(value))
        _check_rows("A", self.A, "b", self.b)
        if (self.A is None) != (self.b is None):
            raise ValueError("Polytope: A and b belong together; give both, or neither.")
        if self.C is None and not (self.C_lower is None and self.C_upper is None):
            raise ValueError(
                "Polytope: C_lower and C_upper bound the rows of C; give C, or bound the variables by lower, upper."
            )
        if self.C is not None and self.C_lower is None and self.C_upper is None:
            raise ValueError("Polytope: C needs C_lower, C_upper, or both.")
        for name, bound in (("C_lower", self.C_lower), ("C_upper", self.C_upper)):
            _check_rows("C", self.C, name, bound)
        if self.A is not None and self.C is not None and self.A.shape[-1] != self.C.shape[-1]:
            raise ValueError(
                f"Polytope: A has {self.A.shape[-1]} columns and C {self.C.shape[-1]}; both need one a variable."
            )
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            for matrix_name, matrix in (("A", self.A), ("C", self.C)):
                if matrix is not None and bound is not None and bound.ndim and bound.shape[-1] not in (1, matrix.shape[-1]):
                    raise ValueError(
                        f"Polytope: {name} has {bound.shape[-1]} entries and {matrix_name} {matrix.shape[-1]} columns; "
                        "give one a variable, or a number."
                    )
        _check_order("lower", self.lower, "upper", self.upper)
        _check_order("C_lower", self.C_lower, "C_upper", self.C_upper)

    def prepare(self) -> Polytope:
        """With the factorisation of A and C."""
        if self.A is None and self.C is None:
            return self
        return dataclasses.replace(self, factor=factor(self.A, self.C))

    def residual(self, x: Any) -> Any:
        """A x - b, then the positive parts of what is outside the bounds of x and of C x."""
        parts = []
        if self.A is not None:
            parts.append(_product(self.A, x) - self.b)
        for value, lower, upper in self._bounded(x):
            below = jnp.zeros_like(value) if lower is None else jnp.maximum(lower - value, 0)
            parts.append(below if upper is None else below + jnp.maximum(value - upper, 0))
        if not parts:
            return jnp.zeros((*x.shape[:-1], 0), x.dtype)
        return joined(parts)

    def _bounded(self, x: Any) -> list[tuple[Any, Any, Any]]:
        bounded = [(x, self.lower, self.upper)] if not (self.lower is None and self.upper is None) else []
        return bounded if self.C is None else [*bounded, (_product(self.C, x), self.C_lower, self.C_upper)]

    def nearest(self, y: Any, tol: Any, max_steps: int | None, warm: Any) -> tuple[Any, ProjectionInfo]:
        n = y.shape[-1]
        for name, matrix in (("A", self.A), ("C", self.C)):
            if matrix is not None and matrix.shape[-1] != n:
                raise ValueError(f"Polytope: a point has {n} entries and {name} {matrix.shape[-1]} columns.")
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            if bound is not None and bound.ndim and bound.shape[-1] not in (1, n):
                raise ValueError(
                    f"Polytope: a point has {n} entries and {name} {bound.shape[-1]}; give one a variable, or a number."
                )
        data, batch = self._flat(y)
        known = _finite(jax.lax.stop_gradient(data))
        data = where_known(data, known)
        fixed = jax.lax.stop_gradient(data)
        shared = self.factor
        if shared is None:
            shared = None if data.A is None and data.C is None else factor(fixed.A, fixed.C)
        shared = jax.lax.stop_gradient(shared)
        tol, enough = _tolerance(fixed, tol)
        if warm is not None:
            warm = self._flat_warm(warm, batch)
        found = polytope_solve.nearest(fixed, shared, tol, enough, warm, _MAX_STEPS if max_steps is None else max_steps)
        if shared is None:  # bounds alone
            x, multipliers = clip(data.y, data.lower, data.upper), found.multipliers
        else:
            x, multipliers = polytope_solve.attach(data, shared, found.x, found.multipliers, found.held)
        crossed = (fixed.lower > fixed.upper).any(0) | (fixed.C_lower > fixed.C_upper).any(0)
        status = jnp.where(known, jnp.where(crossed, INFEASIBLE, found.status), NOT_FINITE)
        residual = polytope_solve.violation(fixed, found.x)
        status = jnp.where((status == CONVERGED) & (residual > enough), MAX_STEPS, status)
        active = jnp.where(x <= fixed.lower, -1, jnp.where(x >= fixed.upper, 1, 0)).astype(jnp.int8)
        m = 0 if data.A is None else data.A.shape[-2]
        warm = Warm(jax.lax.stop_gradient(multipliers), found.slack)
        info = (status == CONVERGED, status, residual, found.steps, (active, found.held[m:]), warm)
        x, info = jax.tree.map(lambda a: a.T.reshape(batch + a.shape[:-1]), (x, info))
        return x, ProjectionInfo(*info)

    def _flat_warm(self, warm: Any, batch: tuple[int, ...]) -> Warm:
        counts = tuple(0 if matrix is None else matrix.shape[-2] for matrix in (self.A, self.C))
        wanted = Warm((*batch, sum(counts)), (*batch, counts[1]))
        if not isinstance(warm, Warm) or tuple(map(jnp.shape, warm)) != tuple(wanted):
            given = [jnp.shape(leaf) for leaf in jax.tree.leaves(warm)]
            raise ValueError(
                "Polytope: warm must be info.warm of a projection on a polytope with as many rows and of the same batch, arrays "
                f"of the shapes {list(wanted)}; got {type(warm).__name__} with {given}."
            )
        count = int(np.prod(batch, dtype=int))
        return Warm(*(jnp.reshape(leaf, (count, shape[-1])).T for leaf, shape in zip(warm, wanted, strict=True)))

    def _flat(self, y: Any) -> tuple[Data, tuple[int, ...]]:
        """The data with the batch in one axis, the last, of length 1 where all share them; of matrices the first, or none."""
        n = y.shape[-1]
        vectors = {
            "b": jnp.zeros(0) if self.b is None else self.b,
            "lower": -jnp.inf if self.lower is None else self.lower,
            "upper": jnp.inf if self.upper is None else self.upper,
            "C_lower": jnp.zeros(0) if self.C is None else -jnp.inf if self.C_lower is None else self.C_lower,
            "C_upper": jnp.zeros(0) if self.C is None else jnp.inf if self.C_upper is None else self.C_upper,
        }
        sizes = {"lower": n, "upper": n, "b": 0 if self.A is None else self.A.shape[-2]}
        sizes["C_lower"] = sizes["C_upper"] = 0 if self.C is None else self.C.shape[-2]
        matrices = {name: matrix for name, matrix in (("A", self.A), ("C", self.C)) if matrix is not None}
        dtype = jnp.result_type(y, *(v for v in vectors.values() if jnp.size(v)), *(m.dtype for m in matrices.values()))
        batches = [y.shape[:-1], *(jnp.shape(v)[:-1] for v in vectors.values()), *(m.shape[:-2] for m in matrices.values())]
        try:
            batch = jnp.broadcast_shapes(*batches)
        except ValueError:
            raise ValueError(
                f"Polytope: the batches {batches} of points, b, bounds and matrices do not fit each other."
            ) from None
        count = int(np.prod(batch, dtype=int))

        def vector(value, size):
            value = jnp.asarray(value, dtype)
            value = jnp.broadcast_to(value, (*value.shape[:-1], size))
            if value.size == size:
                return value.reshape(1, size).T
            return jnp.broadcast_to(value, (*batch, size)).reshape(count, size).T

        def matrix(value):
            if value is None:
                return None
            if isinstance(value, BCOO):
                return BCOO((value.data.astype(dtype), value.indices), shape=value.shape)
            value, shape = value.astype(dtype), value.shape[-2:]
            whole = value.size == shape[0] * shape[1]
            return value.reshape(shape) if whole else jnp.broadcast_to(value, (*batch, *shape)).reshape(count, *shape)

        flat = {name: vector(value, sizes[name]) for name, value in vectors.items()}
        y = jnp.broadcast_to(y.astype(dtype), (*batch, n)).reshape(count, n).T
        return Data(
            y, matrix(self.A), flat["b"], flat["lower"], flat["upper"], matrix(self.C), flat["C_lower"], flat["C_upper"]
        ), batch


def _finite(data: Data) -> Any:
    """Which members have numbers only: no NaN anywhere, nothing infinite but bounds;  [B]."""
    known = jnp.isfinite(data.b).all(0)
    for bound in (data.lower, data.upper, data.C_lower, data.C_upper):
        known &= ~jnp.isnan(bound).any(0)
    for matrix in (data.A, data.C):
        if matrix is not None:
            known &= jnp.isfinite(matrix.data).all() if isinstance(matrix, BCOO) else jnp.isfinite(matrix).all((-1, -2))
    return jnp.broadcast_to(known, data.y.shape[-1:])


def _tolerance(data: Data, tol: Any) -> tuple[Any, Any]:
    """Of a row, for each member, some rounding errors of its terms: what to aim at, and what will do where that cannot be
    reached, as at corners that hardly push. What is given is both."""
    if tol is not None:
        given = jnp.full(data.y.shape[-1], tol, data.y.dtype)
        return given, given
    size = jnp.sqrt(jnp.sum(clip(data.y, data.lower, data.upper) ** 2, axis=0))
    terms = largest(data.b) + polytope_solve.longest(data) * size
    rounding = jnp.finfo(data.y.dtype).eps * jnp.maximum(terms, 1e-30)
    return 16 * rounding, (128 if data.y.dtype == jnp.float64 else 16) * rounding


def _product(matrix: Any, x: Any) -> Any:
    """A x over the last axis, any leading ones."""
    if isinstance(matrix, BCOO):
        return (matrix @ x.reshape(-1, x.shape[-1]).T).T.reshape(*x.shape[:-1], matrix.shape[0])
    return jnp.einsum("...mn,...n->...m", matrix, x)


def _check_rows(matrix_name: str, matrix: Any, name: str, vector: Any) -> None:
    if matrix is None or vector is None:
        return
    if matrix.ndim < 2:
        raise ValueError(f"Polytope: {matrix_name} must be a matrix [rows, n], got the shape {matrix.shape}.")
    if vector.ndim and vector.shape[-1] not in (1, matrix.shape[-2]):
        raise ValueError(
            f"Polytope: {matrix_name} has {matrix.shape[-2]} rows and {name} {vector.shape[-1]} entries; give one a row."
        )


def _check_order(lower_name: str, lower: Any, upper_name: str, upper: Any) -> None:
    for name, bound, none in ((lower_name, lower, np.inf), (upper_name, upper, -np.inf)):
        if bound is not None and not is_traced(bound) and (np.asarray(bound) == none).any():
            raise ValueError(f"Polytope: {name} holds {none}, which no number meets; leave a bound out by {-none}.")
    if lower is None or upper is None or is_traced((lower, upper)):
        return
    try:
        crossed = np.argwhere(np.asarray(lower) > np.asarray(upper))
    except ValueError:
        raise ValueError(
            f"Polytope: {lower_name} {lower.shape} and {upper_name} {upper.shape} do not fit each other."
        ) from None
    if len(crossed):
        where = f" at index {tuple(map(int, crossed[0]))}" if crossed[0].size else ""
        raise ValueError(f"Polytope: {lower_name} is above {upper_name}{where}; no point is between them.")
