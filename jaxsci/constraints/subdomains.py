"""A grid in parts: one for each expert."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, is_traced, is_whole


def _layout(shape: tuple[int, ...], axes: Sequence[str], split: Mapping[str, int], trailing: int) -> tuple[int, list[int]]:
    """The position of the grid's first axis, and the number of parts along each of its axes."""
    check_keys("split of", split, axes)
    first = len(shape) - trailing - len(axes)
    if first < 0:
        raise ValueError(f"split_grid: an array with the grid axes {tuple(axes)} and {trailing} more has the shape {shape}.")
    parts = [split.get(c, 1) for c in axes]
    for c, n, k in zip(axes, shape[first:], parts, strict=False):
        if not is_whole(k) or k < 1 or n % k:
            raise ValueError(f"split_grid: {n} grid points of {c} cannot be split into {k} equal parts.")
    return first, parts


def split_grid(values: Any, axes: Sequence[str], split: Mapping[str, int], trailing: int = 1) -> Any:
    """Values on a grid as K equal sub-domains: ``[..., *grid, N]`` to ``[K, ..., *part, N]``.

    Args:
      axes: the names of the grid's axes, in order.
      split: the number of parts by axis: ``{"x": 4}``, ``{"x": 2, "y": 2}``; K is their product, the last axis runs fastest.
      trailing: axes after the grid's: 1 for basis functions, 0 for a field.
    Raises:
      KeyError, ValueError: an axis is unknown, or its points do not divide into so many parts.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> js.constraints.split_grid(jnp.zeros((3, 101, 1024, 16)), ("t", "x"), {"x": 4}).shape
      (4, 3, 101, 256, 16)
    """
    values = jnp.asarray(values)
    first, parts = _layout(values.shape, axes, split, trailing)
    grid, rest = values.shape[first : first + len(parts)], values.shape[first + len(parts) :]
    cut = values.reshape(*values.shape[:first], *(x for n, k in zip(grid, parts, strict=True) for x in (k, n // k)), *rest)
    moved = jnp.moveaxis(cut, [first + 2 * i for i in range(len(parts))], range(len(parts)))
    return moved.reshape(math.prod(parts), *moved.shape[len(parts) :])


def join_grid(values: Any, axes: Sequence[str], split: Mapping[str, int], trailing: int = 0) -> Any:
    """The inverse of `split_grid`; by default of a field, ``[K, ..., *part]`` to ``[..., *grid]``.

    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> field = jnp.arange(24.0).reshape(2, 12)
      >>> parts = js.constraints.split_grid(field, ("t", "x"), {"x": 3}, trailing=0)
      >>> bool((js.constraints.join_grid(parts, ("t", "x"), {"x": 3}) == field).all())
      True
    """
    values = jnp.asarray(values)
    check_keys("split of", split, axes)
    parts = [split.get(c, 1) for c in axes]
    first = values.ndim - 1 - trailing - len(axes)
    cut = values.reshape(*parts, *values.shape[1:])
    moved = jnp.moveaxis(cut, range(len(parts)), [first + 2 * i for i in range(len(parts))])
    shape = moved.shape
    grid = [shape[first + 2 * i] * shape[first + 2 * i + 1] for i in range(len(parts))]
    return moved.reshape(*shape[:first], *grid, *shape[first + 2 * len(parts) :])


def neighbours(
    axes: Sequence[str], split: Mapping[str, int], periodic: Sequence[str] = ()
) -> tuple[tuple[int, int, str], ...]:
    """The pairs of sub-domains that share a face, lower and upper, and the axis that it is normal to.

    Example:
      >>> import jaxsci as js
      >>> js.constraints.neighbours(("t", "x"), {"x": 3})
      ((0, 1, 'x'), (1, 2, 'x'))
    """
    parts = [split.get(c, 1) for c in axes]
    number = {place: i for i, place in enumerate(itertools.product(*map(range, parts)))}
    out = []
    for i, c in enumerate(axes):
        for place, k in number.items():
            upper = (*place[:i], (place[i] + 1) % parts[i], *place[i + 1 :])
            if place[i] + 1 < parts[i] or (c in periodic and parts[i] > 1):
                out.append((k, number[upper], c))
    return tuple(out)


def partition_of_unity(points: Any, edges: Any, overlap: Any) -> Any:
    """Smooth weights of overlapping windows along one coordinate: they add up to one, and all slopes are continuous.

    Experts on windows that overlap give the field ``sum_k weights[k] u_k``, as smooth as its parts: no jump, no constraint.

    Args:
      points: ``[...]``.
      edges: where one window passes into the next, increasing; K - 1 of them.
      overlap: the width of the passage around each edge.
    Returns:
      ``[K, ...]``; window k is zero outside (edges[k - 1] - overlap / 2, edges[k] + overlap / 2).
    Raises:
      ValueError: edges that are nearer to each other than the overlap, or an overlap that is not positive.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> weights = js.constraints.partition_of_unity(jnp.linspace(0.0, 1.0, 5), [0.5], 0.5)
      >>> print(weights[0], float(weights.sum(0).min()))
      [1.  1.  0.5 0.  0. ] 1.0
    """
    points = jnp.asarray(points)
    edges = jnp.asarray(edges, points.dtype)
    if not is_traced(edges) and not is_traced(overlap):
        gaps = np.diff(np.asarray(edges, float))
        if not (np.asarray(overlap) > 0 and (gaps >= overlap).all()):
            raise ValueError(
                "partition_of_unity: edges must increase by the overlap or more, which is positive; got edges "
                f"{np.asarray(edges).tolist()} and overlap {overlap}."
            )
    passage = jnp.clip((points - edges.reshape(-1, *(1,) * points.ndim)) / overlap + 0.5, 0.0, 1.0)
    safe = jnp.clip(passage, 0.01, 0.99)  # beyond, the step is 0 or 1 to forty digits
    step = jax.nn.sigmoid(1 / (1 - safe) - 1 / safe)
    rising = jnp.where(passage <= 0.01, 0.0, jnp.where(passage >= 0.99, 1.0, step))
    above = jnp.concatenate([jnp.ones((1, *points.shape), points.dtype), rising])
    below = jnp.concatenate([rising, jnp.zeros((1, *points.shape), points.dtype)])
    return above - below


def rebalanced(edges: Any, errors: Any) -> Any:
    """Edges of as many intervals, narrower where the error is large: each has an equal share of it.

    For the host, between trainings: shapes stay as they are, so that nothing is compiled again. The density of the error is
    lifted by its mean, so that no interval grows to more than about twice its share.

    Args:
      edges: K + 1 increasing numbers.
      errors: the root mean square residual in each interval, ``[K]``.
    Returns:
      K + 1 edges with the same ends.
    Reference: de Boor (1974), *Good approximation by splines with variable knots II*, Lecture Notes in Math. 363.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> print(f"{js.constraints.rebalanced(jnp.array([0.0, 0.5, 1.0]), jnp.array([1.0, 0.0]))[1]:.3f}")
      0.333
    """
    edges, errors = jnp.asarray(edges), jnp.asarray(errors)
    widths = jnp.diff(edges)
    mean = jnp.sum(errors * widths) / jnp.sum(widths)
    density = jnp.where(mean > 0, errors + mean, 1.0)
    shares = jnp.concatenate([jnp.zeros(1, edges.dtype), jnp.cumsum(density * widths)])
    return jnp.interp(jnp.linspace(0, 1, len(edges), dtype=edges.dtype) * shares[-1], shares, edges)
