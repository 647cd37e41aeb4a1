"""Two products of fields ``[*space, (batch,) channels]`` that read their operands as they lie, also in derivatives.

A general product transposes to what it contracts, and the rules of JAX write a derivative as the transpose of a product: on a
processor each is a copy of a field across its rows, several times the cost of the product. These primitives know another form
of their own derivative. They are linear in each argument, so that both modes of differentiation and all orders pass.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching

from jaxsci.networks.primitives import primitive, varies


def left_product(matrix: np.ndarray, h: Any, axes: tuple[int, ...]) -> Any:
    """A constant ``[*new, *old]`` times h, contracted over its `axes`; the new axes come first."""
    to = tuple(range(matrix.ndim - len(axes)))
    product = _compute_left if varies(h) else _left.bind
    return product(h, jnp.asarray(matrix, h.dtype), axes=axes, to=to, back=False)


def affine(h: Any, kernel: Any) -> Any:
    """``[..., inputs]`` times ``[inputs, outputs]``."""
    return (_compute_right if varies(h) or varies(kernel) else _right.bind)(h, kernel)


# --- a constant from the left -------------------------------------------------------------------------------------------


def _compute_left(h, matrix, *, axes, to, back):
    """Contract `axes` of h; what is new stands at `to`. Backwards, with the transposed matrix."""
    new, old = len(to), len(axes)
    columns = tuple(range(old)) if back else tuple(range(new, new + old))
    found = jax.lax.dot_general(matrix, h, ((columns, axes), ((), ())))
    return jnp.moveaxis(found, tuple(range(new)), to)


_left = primitive("left_product", _compute_left)
ad.defjvp(_left, lambda t, h, matrix, **options: _left.bind(t, matrix, **options), None)


def _transpose_left(ct, h, matrix, *, axes, to, back):
    del h
    return (ct if type(ct) is ad.Zero else _left.bind(ct, matrix, axes=to, to=axes, back=not back)), None


def _batch_left(args, dims, *, axes, to, back):
    (h, matrix), (at, other) = args, dims
    if other is not None:
        raise TypeError("This is a bug in jaxsci: the matrix of a transform is a constant.")
    axes = tuple(a + (a >= at) for a in axes)
    kept = [i for i in range(h.ndim) if i not in axes]
    free = [i for i in range(len(kept) - 1 + len(to)) if i not in to]  # of the result, without the batch
    place = kept.index(at)
    now = free[place] if place < len(free) else len(free) + len(to)
    return _left.bind(h, matrix, axes=axes, to=tuple(t + (t >= now) for t in to), back=back), now


ad.primitive_transposes[_left] = _transpose_left
batching.primitive_batchers[_left] = _batch_left


# --- parameters from the right ------------------------------------------------------------------------------------------


def _compute_right(h, kernel):
    return (h.reshape(-1, h.shape[-1]) @ kernel).reshape(*h.shape[:-1], kernel.shape[-1])


def _compute_outer(h, g):
    """The sum over all points of the products of two fields' channels, ``[inputs, outputs]``."""
    flat = (h.reshape(-1, h.shape[-1]), g.reshape(-1, g.shape[-1]))
    return jax.lax.dot_general(*flat, (((0,), (0,)), ((), ())))


_right = primitive("affine", _compute_right)
_outer = primitive("outer_product", _compute_outer)
ad.defbilinear(
    _right,
    lambda ct, h, kernel: _right.bind(ct, kernel.T),
    lambda ct, h, kernel: _outer.bind(h, ct),
)
ad.defbilinear(
    _outer,
    lambda ct, h, g: _right.bind(g, ct.T),
    lambda ct, h, g: _right.bind(h, ct),
)


def _batch_right(args, dims):
    (h, kernel), (at, other) = args, dims
    if other is None and at < h.ndim - 1:
        return _right.bind(h, kernel), at
    if other is None:
        return _right.bind(jnp.moveaxis(h, at, 0), kernel), 0
    return jax.vmap(lambda h, k: jax.lax.dot_general(h, k, (((h.ndim - 1,), (0,)), ((), ()))), (at, other))(h, kernel), 0


def _batch_outer(args, dims):
    def one(h, g):
        points = tuple(range(h.ndim - 1))
        return jax.lax.dot_general(h, g, ((points, points), ((), ())))

    return jax.vmap(one, dims)(*args), 0


batching.primitive_batchers[_right] = _batch_right
batching.primitive_batchers[_outer] = _batch_outer
