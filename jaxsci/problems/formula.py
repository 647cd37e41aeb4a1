"""Formulas: initial values, boundary values and exact solutions, as functions of coordinates and coefficients."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations import Expression
from jaxsci.equations.equation import symbolic_arguments
from jaxsci.equations.evaluation import coordinates_in, evaluate, partials_in
from jaxsci.equations.expression import COORDINATES
from jaxsci.equations.printing import canonical, to_latex


@dataclasses.dataclass(frozen=True)
class Formula:
    """A number, an expression or a JAX function of ONE point, as a function of named coordinates and coefficients.

    A function that works on symbols (``js.sin``, arithmetic) becomes an expression: it prints, and its identity is its
    structure. A function that needs arrays (``jnp.where``, quadrature) stays opaque and is identified by its values.
    """

    expression: Expression | None
    function: Callable[..., Any] | None = None

    @staticmethod
    def of(value: Any) -> Formula:
        if isinstance(value, Formula):
            return value
        if not callable(value) or isinstance(value, Expression):  # an expression can be called, in an equation
            try:
                return Formula(Expression(0) + value)
            except TypeError:
                raise TypeError(
                    "A condition is a number, an expression, or a function of coordinates and coefficients (traced values are "
                    f"coefficients); got {value!r}."
                ) from None
        symbols = symbolic_arguments(value)
        try:
            made = value(**symbols)
        except (TypeError, AttributeError):  # what jnp and array methods raise on symbols
            return Formula(None, value)
        return Formula(Expression(0) + made)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the coordinates and coefficients that it depends on."""
        if self.expression is not None:
            return tuple(sorted(symbol.name for symbol in self.expression.formula.free_symbols))
        assert self.function is not None  # This is a bug in jaxsci: a formula has one or the other.
        return tuple(inspect.signature(self.function).parameters)

    @property
    def coordinates(self) -> tuple[str, ...]:
        if self.expression is not None:
            return tuple(c for c in COORDINATES if c in coordinates_in(self.expression.formula))
        return tuple(c for c in COORDINATES if c in self.arguments)

    @property
    def is_zero(self) -> bool:
        return self.expression is not None and self.expression.formula == 0

    def __call__(self, coordinates: Mapping[str, Any], coefficients: Mapping[str, Any]) -> Any:
        """The values, in the broadcast shape of the coordinates."""
        shape = jnp.broadcast_shapes(*(jnp.shape(c) for c in coordinates.values())) if coordinates else ()
        dtype = jnp.result_type(float, *coordinates.values()) if not coordinates else jnp.result_type(*coordinates.values())
        if self.expression is not None:
            values = evaluate(self.expression.formula, {}, coordinates, coefficients)
            return jnp.broadcast_to(jnp.asarray(values, _wider(dtype, values)), shape)
        function = self.function
        assert function is not None
        here = [coordinates[name] if name in coordinates else coefficients[name] for name in self.arguments]
        batched = [jnp.broadcast_to(value, shape) if np.ndim(value) or name in coordinates else value
                   for name, value in zip(self.arguments, here, strict=True)]  # fmt: skip
        over_points = tuple(i for i, value in enumerate(batched) if np.shape(value) == shape and shape)
        mapped = function
        for _ in shape:
            mapped = jax.vmap(mapped, in_axes=tuple(0 if i in over_points else None for i in range(len(batched))))
        return mapped(*batched)

    def latex(self, symbols: Mapping[str, str] | None = None) -> str:
        if self.expression is not None:
            return to_latex(self.expression.formula, symbols)
        return rf"\mathrm{{{getattr(self.function, '__name__', 'function').replace('_', ' ')}}}"

    def identity(self, box: Mapping[str, tuple[float, float]], coefficients: Mapping[str, Any]) -> str:
        """Structure where it is symbolic, values at fixed points of the box where it is not."""
        if self.expression is not None:
            return canonical(self.expression.formula)
        random = np.random.default_rng(0)
        with jax.enable_x64(True):  # the identity must not depend on the precision that is in use
            columns = {name: jnp.asarray(random.uniform(*interval, size=64)) for name, interval in box.items()}
            return ",".join(f"{v:.6e}" for v in np.asarray(self(columns, coefficients), float))

    def check(self, what: str, coordinates: tuple[str, ...], coefficients: tuple[str, ...]) -> None:
        if self.expression is not None and partials_in(self.expression.formula):
            raise ValueError(f"{what} must not contain an unknown: {self.expression!r}.")
        for name in self.arguments:
            if name in COORDINATES and name not in coordinates:
                raise ValueError(f"{what} depends on the coordinate {name!r}, which it may not: only on {coordinates}.")
            if name not in COORDINATES and name not in coefficients:
                raise ValueError(f"{what} uses {name!r}, which is no coefficient of the problem: {coefficients}.")


def takes_points(value: Any) -> bool:
    """Whether it is a function of a whole point, ``f(*point)``, which does not say by name what it depends on."""
    if not callable(value) or isinstance(value, Expression | Formula):
        return False
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(value).parameters.values())


def _wider(dtype: Any, values: Any) -> Any:
    return jnp.result_type(dtype, values)
