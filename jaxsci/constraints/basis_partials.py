"""Partial derivatives of basis functions: of values on a grid by differences or transforms, of functions by propagation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import check_keys, listed
from jaxsci.equations import Equation, partial_derivatives
from jaxsci.equations.evaluation import Partial
from jaxsci.equations.expression import multi_index, split_letters


def _equation(problem: Any) -> Equation:
    return problem if isinstance(problem, Equation) else problem.equation


def basis_partials(problem: Any, basis: Callable[..., Any], points: Mapping[str, Any]) -> dict[Partial, Any]:
    """What an equation needs of basis functions that are given as functions, in one forward pass.

    Args:
      problem: a `jaxsci.Problem`, or an `Equation`.
      basis: of ONE point's coordinates, in the problem's order; ``[N]`` where there is one unknown, or a dict of that by
        unknown. May close over a network's parameters.
      points: the columns of all coordinates, ``[m]``.
    Returns:
      by (unknown, letters) the partial derivatives ``[m, N]``, and the values as (unknown, "").
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> heat = js.problems.heat()
      >>> points = {"t": jnp.ones(4), "x": jnp.linspace(0.0, 1.0, 4)}
      >>> partials = js.constraints.basis_partials(heat, lambda t, x: jnp.stack([t * x, x**2, t]), points)
      >>> sorted(partials), partials["u", "xx"][0].tolist()
      ([('u', ''), ('u', 't'), ('u', 'xx')], [0.0, 2.0, 0.0])
    """
    equation = _equation(problem)
    coordinates = tuple(getattr(problem, "coordinates", equation.coordinates))
    if not isinstance(points, Mapping):
        raise TypeError(f"points are columns by coordinate, {{{coordinates[0]!r}: [m], ...}}, got {type(points).__name__}.")
    check_keys("coordinate", points, coordinates, complete=True)
    wanted = equation.partials | {(name, "") for name in equation.unknowns}
    return partials_of(basis, equation.unknowns, coordinates, points, wanted)


def partials_of(
    basis: Any, unknowns: Sequence[str], coordinates: Sequence[str], points: Mapping[str, Any], wanted: Any
) -> Any:
    """The wanted (unknown, letters) of basis functions at points, each [m, N]."""

    def by_unknown(*point: Any) -> dict[str, Any]:
        value = basis(*point)
        if isinstance(value, Mapping):
            check_keys("unknown", value, unknowns, complete=True)
            return dict(value)
        if len(unknowns) != 1:
            raise ValueError(f"the basis must return a dict by unknown, {{name: [N]}}, for {listed(unknowns)}.")
        return {unknowns[0]: jnp.asarray(value)}

    columns = tuple(jnp.asarray(points[c]) for c in coordinates)
    for name, value in jax.eval_shape(by_unknown, *(c[0] for c in columns)).items():
        if len(value.shape) != 1:
            raise ValueError(
                f"the basis must return [N] for {name} at ONE point, the values of N functions; got {value.shape}."
            )
    indices = {letters: multi_index(letters, tuple(coordinates)) for _, letters in wanted}
    values = partial_derivatives(by_unknown, columns, sorted(set(indices.values())))
    out = {(name, letters): values[indices[letters]][name] for name, letters in sorted(wanted)}
    m = columns[0].shape[0]
    return {p: jnp.broadcast_to(v, (m, *v.shape[-1:])) for p, v in out.items()}


def grid_partials(
    problem: Any,
    values: Any,
    spacing: Mapping[str, Any],
    *,
    periodic: Sequence[str] = (),
    accuracy: int = 4,
) -> dict[Partial, Any]:
    """What an equation needs of basis functions that are given by their values on an even grid.

    Args:
      problem: a `jaxsci.Problem`, or an `Equation`.
      values: ``[..., *grid, N]``, the grid's axes in the order of `spacing`; or a dict of that by unknown. A field without
        basis functions has N = 1.
      spacing: the distance between grid points by coordinate: ``{"t": dt, "x": dx}``. May be traced.
      periodic: coordinates that are differentiated by a Fourier transform (the far end is not on the grid); the others are by
        differences of this `accuracy`, one-sided at the ends.
    Returns:
      by (unknown, letters) the partial derivatives in the shape of the values, and the values as (unknown, "").
    Raises:
      KeyError, ValueError: an unknown or coordinate is missing, or the grid is too small.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.arange(32) / 32
      >>> values = jnp.broadcast_to(jnp.sin(2 * jnp.pi * x), (9, 32))[..., None]  # one function, constant in time
      >>> partials = js.constraints.grid_partials(js.problems.heat(), values, {"t": 0.1, "x": 1 / 32}, periodic=("x",))
      >>> error = partials["u", "xx"] + (2 * jnp.pi) ** 2 * values
      >>> error.shape, bool(abs(error).max() < 1e-3)
      ((9, 32, 1), True)
    """
    equation = _equation(problem)
    axes = tuple(spacing)
    check_keys("coordinate", dict.fromkeys(periodic), axes)
    if not isinstance(values, Mapping):
        if len(equation.unknowns) != 1:
            raise ValueError(f"grid_partials: give the values by unknown, for {listed(equation.unknowns)}.")
        values = {equation.unknowns[0]: values}
    check_keys("unknown", values, equation.unknowns, complete=True)
    known: dict[Partial, Any] = {(name, ""): jnp.asarray(v) for name, v in values.items()}
    for name, value in values.items():
        if np.ndim(value) < len(axes) + 1:
            raise ValueError(
                f"grid_partials: {name} must have the shape [..., {', '.join(axes)}, N], got {np.shape(value)}."
            )
    for name, letters in sorted(equation.partials):
        value = known[name, ""]
        names = split_letters(letters)
        check_keys("spacing of", dict.fromkeys(names), axes)
        for c in sorted(set(names)):
            axis = value.ndim - 1 - len(axes) + axes.index(c)
            value = grid_derivative(value, axis, spacing[c], names.count(c), periodic=c in periodic, accuracy=accuracy)
        known[name, letters] = value
    return known


def grid_derivative(
    values: Any, axis: int, spacing: Any, order: int = 1, *, periodic: bool = False, accuracy: int = 4
) -> Any:
    """The derivative of values on an even grid along one axis, of this order.

    Reference: Fornberg (1988), *Generation of finite difference formulas*, Math. Comp. 51, 699.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0.0, 1.0, 11)
      >>> print(jnp.abs(js.constraints.grid_derivative(x**3, 0, 0.1, 2) - 6 * x).max() < 1e-4)
      True
    """
    values = jnp.moveaxis(jnp.asarray(values), axis, 0)
    n = values.shape[0]
    if periodic:
        waves = 2 * math.pi * jnp.fft.rfftfreq(n, dtype=values.dtype) / spacing
        symbol = (1j * waves) ** order
        if order % 2 and n % 2 == 0:  # the highest wave has no slope on the grid
            symbol = symbol.at[-1].set(0)
        symbol = symbol.reshape(-1, *(1,) * (values.ndim - 1))
        return jnp.moveaxis(jnp.fft.irfft(symbol * jnp.fft.rfft(values, axis=0), n, axis=0), 0, axis)
    half = (order - 1 + accuracy) // 2
    width = order + accuracy
    if n < max(width, 2 * half + 1):
        raise ValueError(f"grid_derivative: order {order} with accuracy {accuracy} needs {width} grid points, got {n}.")
    inner = _stencil(np.arange(-half, half + 1), order)
    middle = sum(w * values[i : n - 2 * half + i] for i, w in enumerate(inner) if abs(w) > 1e-14)
    first = jnp.asarray([_stencil(np.arange(width) - i, order) for i in range(half)], values.dtype)
    last = (-1) ** order * first[::-1, ::-1]
    ends = [jnp.tensordot(edge, part, 1) for edge, part in ((first, values[:width]), (last, values[n - width :]))]
    out = jnp.concatenate([ends[0], middle, ends[1]]) / spacing**order
    return jnp.moveaxis(out, 0, axis)


def _stencil(offsets: np.ndarray, order: int) -> np.ndarray:
    powers = np.vander(offsets.astype(float), increasing=True).T
    return np.linalg.solve(powers, math.factorial(order) * np.eye(len(offsets))[order])


def at_places(partials: Mapping[Partial, Any], places: Any, grid: Sequence[int]) -> dict[Partial, Any]:
    """Values on a grid at sampled places: ``[..., *grid, N]`` to ``[..., m, N]``.

    Args:
      places: indices into the flattened grid, ``[m]``; the same for the whole batch.
      grid: the grid's shape.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> sampled = js.constraints.at_places({("u", ""): jnp.zeros((2, 9, 32, 5))}, jnp.arange(0, 288, 3), (9, 32))
      >>> sampled["u", ""].shape
      (2, 96, 5)
    """

    def one(value: Any) -> Any:
        batch = value.shape[: value.ndim - len(grid) - 1]
        return jnp.take(value.reshape(*batch, math.prod(grid), value.shape[-1]), places, axis=-2)

    return {p: one(v) for p, v in partials.items()}
