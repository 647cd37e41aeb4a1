"""The pointwise residual: how far any differentiable field is from satisfying an equation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import check_keys, check_real, listed
from jaxsci.equations.equation import Equation
from jaxsci.equations.evaluation import Partial, evaluate
from jaxsci.equations.expression import multi_index, split_letters
from jaxsci.equations.laplacian import estimated_laplacian, gradient_and_laplacian, laplacian_of
from jaxsci.equations.partials import partial_derivatives
from jaxsci.equations.taylor import NoRule

Field = Callable[..., Any]  # of one point's coordinates: a scalar, an array [unknowns], or a dict by unknown


def check_coefficients(
    equation: Equation, coefficients: Mapping[str, Any], names: tuple[str, ...] | None = None, *, complete: bool = True
) -> None:
    """Coefficients by the right names (the equation's own by default), each a real scalar, or a function where called."""
    check_keys("coefficient", coefficients, equation.coefficients if names is None else names, complete=complete)
    for name, value in coefficients.items():
        if name in equation.functions and not callable(value):
            raise TypeError(f"coefficient {name} is called in the equation and must be a function, got {value!r}.")
        if callable(value):
            if name in equation.coefficients and name not in equation.functions:
                raise TypeError(f"coefficient {name} must be a number, since the equation does not call it; got {value!r}.")
            continue
        check_real(f"coefficient {name}", value)
        if np.shape(value) != ():
            raise ValueError(
                f"coefficient {name} must be a scalar, got shape {np.shape(value)}. For a batch use jax.vmap; for a "
                f"coefficient that varies, write {name}(x) in the equation and give a function."
            )


def stack_unknowns(value: Any, unknowns: tuple[str, ...]) -> Any:
    """A field's value at one point as an array [unknowns], whichever of the three forms it came in."""
    if isinstance(value, Mapping):
        check_keys("unknown", value, unknowns, complete=True)
        return jnp.stack([jnp.asarray(value[name]) for name in unknowns])
    value = jnp.asarray(value)
    expected = (len(unknowns),)
    if value.shape == () and expected == (1,):
        return value[None]
    if value.shape != expected:
        form = "a scalar" if expected == (1,) else f"shape {expected}, one entry for each of {listed(unknowns)},"
        raise ValueError(
            f"the field must return {form} per point, got shape {value.shape}. Write it for ONE point (each coordinate a "
            "scalar); the library batches it."
        )
    return value


@dataclasses.dataclass(frozen=True)
class PointwiseResidual:
    """The residual of an equation at points; made by `jaxsci.residual`. Hashable where its defaults are."""

    equation: Equation
    coordinates: tuple[str, ...]
    names: tuple[str, ...]  # of the coefficients that may be given
    defaults: tuple[tuple[str, Any], ...] = ()  # their values where none is given; compared, so that no jit takes old ones

    def __call__(
        self,
        field: Field,
        coefficients: Mapping[str, Any] | None = None,
        points: Float[Array, "points coordinates"] | Mapping[str, Float[Array, " points"]] | None = None,
    ) -> Float[Array, "points equations"]:
        if points is None:
            raise TypeError("residual(problem)(field, coefficients, points): the points are missing.")
        columns = self._columns(points)
        values = dict(self.defaults) | dict(coefficients or {})
        check_coefficients(self.equation, values, self.names)
        partials = self.summed_partials(field, columns) or self.field_partials(field, columns)
        return self.from_partials(partials, columns, values)

    def field_partials(self, field: Field, columns: tuple[Any, ...]) -> dict[Partial, Any]:
        """Every partial derivative that occurs in the equation, each of shape [points]."""

        def stacked(*point):
            return stack_unknowns(field(*point), self.equation.unknowns)

        indices = {letters: multi_index(letters, self.coordinates) for _, letters in self.equation.partials}
        values = partial_derivatives(stacked, columns, sorted(set(indices.values())))
        position = {name: i for i, name in enumerate(self.equation.unknowns)}
        return {
            (name, letters): values[indices[letters]][:, position[name]] for name, letters in sorted(self.equation.partials)
        }

    def summed_partials(self, field: Field, columns: tuple[Any, ...]) -> dict[Partial, Any] | None:
        """What the equation needs where its second derivatives occur only as a Laplacian in many dimensions; None elsewhere.

        The whole sum stands in the place of its first term, and zero in that of the others.
        """
        over = laplacian_of(self.equation)
        if not over:
            return None

        def stacked(*point):
            return stack_unknowns(field(*point), self.equation.unknowns)

        try:
            value, gradient, laplacian = gradient_and_laplacian(stacked, columns, [c in over for c in self.coordinates])
        except NoRule:
            return None
        rows = {c: gradient[i] for i, c in enumerate(self.coordinates)}
        return self._with_laplacian(over, lambda names: rows[names[0]] if names else value, laplacian)

    def _with_laplacian(self, over: tuple[str, ...], lower: Callable, laplacian: Any) -> dict[Partial, Any]:
        """Partial derivatives by name, ``lower(coordinates) -> [points, unknowns]`` below the second order."""
        out: dict[Partial, Any] = {}
        for name, letters in sorted(self.equation.partials):
            i, names = self.equation.unknowns.index(name), split_letters(letters)
            if len(names) == 2:
                out[name, letters] = laplacian[:, i] if names[0] == over[0] else jnp.zeros((), laplacian.dtype)
            else:
                out[name, letters] = lower(names)[:, i]
        return out

    def estimate(
        self,
        field: Field,
        coefficients: Mapping[str, Any] | None,
        points: Float[Array, "points coordinates"] | Mapping[str, Float[Array, " points"]],
        key: Any,
        directions: int = 16,
    ) -> Float[Array, "points equations"]:
        """The residual with its Laplacian in many dimensions estimated from few directions, other ones at every point.

        Unbiased for an equation that is linear in the Laplacian, which it checks. The square of one estimate is not unbiased
        for the square; the product of two with different keys is.

        Args:
          key: of the directions.
          directions: second derivatives per point; the cost does not depend on the number of coordinates.
        Raises:
          ValueError: the second derivatives do not occur as a Laplacian only, or the number of directions is out of range.
        Reference: Shi et al. (2024), *Stochastic Taylor derivative estimator*, NeurIPS.
        """
        over = laplacian_of(self.equation)
        if not over:
            raise ValueError(
                f"estimate: the second derivatives of {self.equation.name} do not occur as one Laplacian over many coordinates; "
                "call the residual itself."
            )
        columns, values = self._columns(points), dict(self.defaults) | dict(coefficients or {})
        check_coefficients(self.equation, values, self.names)

        def stacked(*point):
            return stack_unknowns(field(*point), self.equation.unknowns)

        laplacian = estimated_laplacian(stacked, columns, [c in over for c in self.coordinates], key, directions)
        needed = {tuple(split_letters(letters)) for _, letters in self.equation.partials}
        indices = {names: tuple(names.count(c) for c in self.coordinates) for names in needed if len(names) < 2}
        lower = partial_derivatives(stacked, columns, sorted(indices.values())) if indices else {}
        partials = self._with_laplacian(over, lambda names: lower[indices[tuple(names)]], laplacian)
        return self.from_partials(partials, columns, values)

    def from_partials(
        self, partials: Mapping[Partial, Any], columns: tuple[Any, ...], coefficients: Mapping[str, Any]
    ) -> Float[Array, "points equations"]:
        """The residual from partial derivatives already at hand: linear algebra on features starts here."""
        coordinates = dict(zip(self.coordinates, columns, strict=True))
        shape = jnp.shape(columns[0])
        rows = [
            jnp.broadcast_to(evaluate(r.formula, partials, coordinates, coefficients), shape)
            for r in self.equation.residuals
        ]
        return jnp.stack(rows, axis=-1)

    def _columns(self, points: Any) -> tuple[Any, ...]:
        if isinstance(points, Mapping):
            check_keys("coordinate", points, self.coordinates, complete=True)
            columns = tuple(jnp.asarray(points[name]) for name in self.coordinates)
            if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
                shapes = {name: column.shape for name, column in zip(self.coordinates, columns, strict=True)}
                raise ValueError(f"points: the coordinates must be 1-D arrays of one length, got shapes {shapes}.")
        else:
            points = jnp.asarray(points)
            if points.ndim != 2 or points.shape[1] != len(self.coordinates):
                raise ValueError(
                    f"points must have shape (points, {len(self.coordinates)}), the columns {listed(self.coordinates)}; "
                    f"got shape {points.shape}."
                )
            columns = tuple(points[:, i] for i in range(len(self.coordinates)))
        for name, column in zip(self.coordinates, columns, strict=True):
            if not jnp.issubdtype(column.dtype, jnp.floating):
                raise TypeError(f"points: coordinate {name} must be floating point, got dtype {column.dtype}.")
        return columns


def residual(problem: Any) -> PointwiseResidual:
    r"""The pointwise residual of a problem's equation, for any differentiable field.

    Args:
      problem: a `jaxsci.Problem`, or an `Equation` alone (then every coefficient must be given).
    Returns:
      ``r(field, coefficients, points) -> [points, equations]``, where

      - `field` is a function of ONE point's coordinates, in the order of ``r.coordinates``: ``field(t, x)``; it returns a
        scalar, an array ``[unknowns]`` or a dict by unknown. It may close over parameters and be differentiated in them;
      - `coefficients` is a dict by name, ``None`` for the problem's own; missing ones are taken from the problem;
      - `points` is ``[points, coordinates]`` or a dict of columns.

      Only the partial derivatives that occur in the equation are computed, all in one batched forward pass. jit, vmap,
      grad (in parameters, coefficients and points) work; the dtype is the field's.
    Raises:
      KeyError, TypeError, ValueError: before tracing, naming the coefficient, coordinate or shape that is wrong.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> heat = js.problems.heat(diffusivity=1.0)
      >>> exact = lambda t, x: jnp.exp(-jnp.pi**2 * t) * jnp.sin(jnp.pi * x)
      >>> r = js.residual(heat)(exact, None, jnp.array([[0.1, 0.3], [0.2, 0.7]]))
      >>> r.shape, bool(jnp.abs(r).max() < 1e-5)
      ((2, 1), True)
    """
    if isinstance(problem, Equation):
        return PointwiseResidual(problem, problem.coordinates, problem.coefficients)
    if not isinstance(getattr(problem, "equation", None), Equation):
        raise TypeError(f"residual: give a Problem or an Equation, got {type(problem).__name__}.")
    defaults = tuple(problem.coefficients.items())
    return PointwiseResidual(problem.equation, problem.coordinates, tuple(problem.coefficients), defaults)
