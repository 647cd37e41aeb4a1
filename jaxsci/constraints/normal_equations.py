"""One pass over the sampled points: the cost, its gradient and its Hessian (Gauss-Newton's, or in full).

The points go through in chunks that stay in the cache: their partial derivatives are read once, and neither the residual nor
the Jacobian is ever stored for all points. Padding has no weight.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.basis_rows import Rows

CHUNK = 400  # points; five [400, 64] arrays of doubles are a megabyte


class Model(NamedTuple):
    """cost + gradient . step + step . hessian step / 2, of half the sum of squares."""

    cost: Any
    gradient: Any
    hessian: Any


class Chunks(NamedTuple):
    """Rows with their points in chunks: every leaf that has points starts with the axis of chunks."""

    pieces: tuple[Any, ...]  # matrix, shift, bent, bent_shift, columns, weight
    rows: Rows  # whose other leaves all chunks share


def in_chunks(rows: Rows) -> Chunks:
    """Split the points once, before the iterations."""
    m = rows.matrix.shape[-2]
    count = math.ceil(m / CHUNK)
    size = math.ceil(m / count)

    def cut(x: Any, axis: int, mode: str = "edge") -> Any:
        widths = [(0, count * size - m if i == axis else 0) for i in range(x.ndim)]
        x = jnp.pad(x, widths, mode=mode)
        return jnp.moveaxis(x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :]), axis, 0)

    # Padding repeats the last point: nothing is evaluated where the equation might be singular; its weight is zero.
    each = lambda of: tuple(cut(x, 0) for x in of)  # noqa: E731
    matrix, shift = rows.matrix * rows.weight[:, None], rows.shift * rows.weight
    linear = cut(matrix, 1, "constant"), cut(shift, 1, "constant")
    others = each(rows.bent), each(rows.bent_shift), each(rows.columns), cut(rows.weight, 0, "constant")
    return Chunks((*linear, *others), rows)


def _piece(rows: Rows, piece: tuple[Any, ...]) -> Rows:
    names = ("matrix", "shift", "bent", "bent_shift", "columns", "weight")
    return dataclasses.replace(rows, **dict(zip(names, piece, strict=True)))


def _linearised(rows: Rows, omega: Any) -> tuple[list[Any], list[Any]]:
    """By equation the weighted residual [m] and its Jacobian [m, N], of rows whose linear part has its weights already."""
    here = tuple(p @ omega + s for p, s in zip(rows.bent, rows.bent_shift, strict=True))
    values, jacobians = [], []
    for e in range(rows.matrix.shape[0]):  # one after the other: a product of plain matrices is the fastest there is
        value, jacobian = rows.matrix[e] @ omega + rows.shift[e], rows.matrix[e]
        if here:
            value = value + rest(rows, here)[e] * rows.weight
            for k, p in enumerate(rows.bent):
                jacobian = jacobian + (slope(lambda h, e=e: rest(rows, h)[e], here, k) * rows.weight)[:, None] * p
        values.append(value)
        jacobians.append(jacobian)
    return values, jacobians


def rest(rows: Rows, here: tuple[Any, ...]) -> Any:
    """F of the nonlinear partials' values, [rows, m]."""
    assert rows.pointwise is not None  # This is a bug in jaxsci: linear rows have no rest.
    return rows.pointwise.rest(here, rows.columns, rows.numbers | rows.functions)


def slope(function: Any, here: tuple[Any, ...], k: int) -> Any:
    """The derivative of an elementwise function in its k-th argument."""
    along = lambda v: function((*here[:k], v, *here[k + 1 :]))  # noqa: E731
    return jax.jvp(along, (here[k],), (jnp.ones_like(here[k]),))[1]


def _curvature(rows: Rows, omega: Any, value: Any) -> Any:
    """sum over the points of residual times its second derivative in omega, [N, N]."""
    here = tuple(p @ omega + s for p, s in zip(rows.bent, rows.bent_shift, strict=True))
    weighted = value * rows.weight
    total = lambda h: jnp.sum(weighted * rest(rows, h), axis=0)  # noqa: E731
    out = jnp.zeros((rows.size, rows.size), rows.matrix.dtype)
    for k, l in rows.pointwise.pairs if rows.pointwise is not None else ():  # noqa: E741
        second = slope(lambda h, k=k: slope(total, h, k), here, l)
        product = (second[:, None] * rows.bent[k]).T @ rows.bent[l]
        out = out + (product if k == l else product + product.T)
    return out


def model(chunks: tuple[Chunks, ...], omega: Any, basis: Any = None, full: bool = False) -> Model:
    """The cost at omega and its derivatives in z, omega + basis z (in omega itself without a basis).

    Args:
      full: the Hessian with the second derivatives of the residual; Gauss-Newton's, positive semidefinite, otherwise.
    """
    size = omega.shape[0] if basis is None else basis.shape[1]
    dtype = omega.dtype
    zero = jnp.sum(omega) * 0  # of the data, so that on a mesh it varies as they do
    total = Model(zero, jnp.zeros(size, dtype) + zero, jnp.zeros((size, size), dtype) + zero)

    for chunk in chunks:
        before = total

        def one(piece: tuple[Any, ...], rows: Rows = chunk.rows) -> Model:
            here = _piece(rows, piece)
            values, jacobians = _linearised(here, omega)
            jacobians = [jacobian if basis is None else jacobian @ basis for jacobian in jacobians]
            hessian = sum(jacobian.T @ jacobian for jacobian in jacobians)
            if full and rows.pointwise is not None:
                bend = _curvature(here, omega, jnp.stack(values))
                hessian = hessian + (bend if basis is None else basis.T @ bend @ basis)
            pairs = list(zip(values, jacobians, strict=True))
            return Model(sum(v @ v for v in values) / 2, sum(j.T @ v for v, j in pairs), hessian)

        def scanned(pieces: Any, one: Any = one, before: Model = before) -> Model:
            return jax.lax.scan(lambda s, p: (jax.tree.map(jnp.add, s, one(p)), None), before, pieces)[0]

        def at_once(pieces: Any, one: Any = one, before: Model = before) -> Model:
            return jax.tree.map(lambda x, t: t + x.sum(0), jax.vmap(one)(pieces), before)

        if chunk.pieces[-1].shape[0] == 1:
            total = at_once(chunk.pieces)
        else:
            total = jax.lax.platform_dependent(chunk.pieces, cpu=scanned, default=at_once)
    return total
