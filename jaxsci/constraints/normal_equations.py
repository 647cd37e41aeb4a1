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

    def cut(x: Any, axis: int) -> Any:
        x = jnp.broadcast_to(x, (*x.shape[:axis], m, *x.shape[axis + 1 :])) if x.shape[axis] == 1 else x
        # The last point again: nothing is evaluated where the equation might be singular.
        widths = [(0, count * size - m if i == axis else 0) for i in range(x.ndim)]
        x = jnp.pad(x, widths, mode="edge")
        return jnp.moveaxis(x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :]), axis, 0)

    weight = jnp.where(jnp.arange(count * size) < m, jnp.pad(rows.weight, (0, count * size - m)), 0)
    each = lambda of: tuple(cut(x, 0) for x in of)  # noqa: E731
    pieces = (cut(rows.matrix, 1), cut(rows.shift, 1), each(rows.bent), each(rows.bent_shift), each(rows.columns))
    return Chunks((*pieces, weight.reshape(count, size)), rows)


def _piece(rows: Rows, piece: tuple[Any, ...]) -> Rows:
    names = ("matrix", "shift", "bent", "bent_shift", "columns", "weight")
    return dataclasses.replace(rows, **dict(zip(names, piece, strict=True)))


def _linearised(rows: Rows, omega: Any) -> tuple[Any, Any]:
    """The weighted residual [rows, m] and its Jacobian [rows, m, N]."""
    value, jacobian = rows.matrix @ omega + rows.shift, rows.matrix
    if rows.pointwise is not None:
        here = tuple(p @ omega + s for p, s in zip(rows.bent, rows.bent_shift, strict=True))
        value = value + rest(rows, here)
        for k, p in enumerate(rows.bent):
            jacobian = jacobian + slope(lambda h: rest(rows, h), here, k)[..., None] * p
    return value * rows.weight, jacobian * rows.weight[:, None]


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
    total = Model(jnp.zeros((), dtype), jnp.zeros(size, dtype), jnp.zeros((size, size), dtype))

    for chunk in chunks:
        before = total

        def one(piece: tuple[Any, ...], rows: Rows = chunk.rows) -> Model:
            here = _piece(rows, piece)
            value, jacobian = _linearised(here, omega)
            value_flat, jacobian = value.reshape(-1), jacobian.reshape(-1, rows.size)
            jacobian = jacobian if basis is None else jacobian @ basis
            hessian = jacobian.T @ jacobian
            if full and rows.pointwise is not None:
                bend = _curvature(here, omega, value)
                hessian = hessian + (bend if basis is None else basis.T @ bend @ basis)
            return Model(value_flat @ value_flat / 2, jacobian.T @ value_flat, hessian)

        def scanned(pieces: Any, one: Any = one, before: Model = before) -> Model:
            return jax.lax.scan(lambda s, p: (jax.tree.map(jnp.add, s, one(p)), None), before, pieces)[0]

        def at_once(pieces: Any, one: Any = one, before: Model = before) -> Model:
            return jax.tree.map(lambda x, t: t + x.sum(0), jax.vmap(one)(pieces), before)

        if chunk.pieces[-1].shape[0] == 1:
            total = at_once(chunk.pieces)
        else:
            total = jax.lax.platform_dependent(chunk.pieces, cpu=scanned, default=at_once)
    return total
