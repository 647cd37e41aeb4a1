"""Correlations of fields on grids, ``out[x] = sum_y h[stride x + dilation y] w[y]``, whose derivatives stay fast in loops.

A derivative of a correlation is a correlation again, of other operands. JAX writes it with the operands as they lie, and XLA's
pass that brings such a one into the form of its fast kernel on processors visits a program's outermost computation only: inside
of a loop, where training takes place, derivatives are computed entry by entry, 20 to 30 times slower. This primitive writes every
derivative in the fast kernel's form to begin with, channels last. It is linear in each argument: both modes and all orders pass.

Its operands have an axis of members in front, so that networks of many seeds are one program: on a processor they take turns,
which is faster than the one correlation in groups that JAX makes of them (and makes of ours elsewhere).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching

from jaxsci.networks.primitives import primitive, varies


def correlate(h: Any, w: Any, stride: int = 1, dilation: int = 1) -> Any:
    """``[batch, *space, inputs]`` with ``[*kernel, inputs, outputs]``, where the kernel fits: ``[batch, *fewer, outputs]``."""
    reach = dilation * (w.shape[0] - 1)
    centres = [(size - reach - 1) // stride + 1 for size in h.shape[1:-1]]
    h = h[(slice(None), *(slice(stride * (n - 1) + reach + 1) for n in centres))]  # what is left over no kernel reaches
    options = {"stride": stride, "dilation": dilation, "spread": 1, "pads": (0,) * len(centres)}
    if varies(h) or varies(w):
        return _one(h, w, **options)
    return _correlation.bind(h[None], w[None], **options)[0]


def _one(h, w, stride, dilation, spread, pads):
    """One member's; `spread` - 1 zeros between neighbours of h, and `pads` zeros at both ends of each axis."""
    d = h.ndim - 2
    axes = "XYZ"[:d]
    names = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    pads = [(p, p) for p in pads]
    return jax.lax.conv_general_dilated(h, w, (stride,) * d, pads, (spread,) * d, (dilation,) * d, dimension_numbers=names)


def _compute(h, w, **options):
    if h.shape[0] == 1:
        return _one(h[0], w[0], **options)[None]
    return jax.vmap(lambda h, w: _one(h, w, **options))(h, w)


def _compute_in_turns(h, w, **options):
    if h.shape[0] == 1:
        return _compute(h, w, **options)
    return jax.lax.map(lambda pair: _one(*pair, **options), (h, w))


_correlation = primitive("correlation", _compute, cpu=_compute_in_turns)


def _to_fields(ct, h, w, *, stride, dilation, spread, pads):
    """The kernel, mirrored and from outputs to inputs, over the cotangents, as far apart as they were taken."""
    del h
    d = w.ndim - 3
    mirrored = jnp.swapaxes(jnp.flip(w, tuple(range(1, 1 + d))), -1, -2)
    pads = tuple(dilation * (n - 1) - p for n, p in zip(w.shape[1:-2], pads, strict=True))
    return _correlation.bind(ct, mirrored, stride=spread, dilation=dilation, spread=stride, pads=pads)


def _to_kernel(ct, h, w, *, stride, dilation, spread, pads):
    """The cotangents are the kernel and the batch is summed over, where channels were."""
    del w
    h, ct = jnp.swapaxes(h, 1, -1), jnp.moveaxis(ct, 1, -2)
    return jnp.moveaxis(_correlation.bind(h, ct, stride=dilation, dilation=stride, spread=spread, pads=pads), 1, -2)


ad.defbilinear(_correlation, _to_fields, _to_kernel)


def _batch(args, dims, **options):
    (h, w), (at, other) = args, dims
    if other is None:  # more of the batch
        h = jnp.moveaxis(h, at, 1)
        size = h.shape[1]
        out = _correlation.bind(h.reshape(h.shape[0], -1, *h.shape[3:]), w, **options)
        return out.reshape(out.shape[0], size, -1, *out.shape[2:]), 1
    w = jnp.moveaxis(w, other, 0)
    size = w.shape[0]
    h = jnp.broadcast_to(h, (size, *h.shape)) if at is None else jnp.moveaxis(h, at, 0)
    out = _correlation.bind(h.reshape(-1, *h.shape[2:]), w.reshape(-1, *w.shape[2:]), **options)
    return out.reshape(size, -1, *out.shape[1:]), 0


batching.primitive_batchers[_correlation] = _batch
