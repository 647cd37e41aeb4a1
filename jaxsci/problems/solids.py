"""What is cut out of a box: shapes by name, with the conditions that hold on them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import listed, unknown_name
from jaxsci.equations.expression import COORDINATES
from jaxsci.problems.conditions import Mixed, Wall
from jaxsci.problems.domain import Box
from jaxsci.problems.formula import Formula
from jaxsci.problems.geometry import Shape


@dataclasses.dataclass(frozen=True)
class Solid:
    """A shape under a name, and what is held on its boundary."""

    name: str
    shape: Shape
    wall: Wall

    def identity(self, unknowns: tuple[str, ...], box: Mapping[str, Any], coefficients: Mapping[str, Any]) -> str:
        return f"{self.shape!r}:{self.wall.identity(unknowns, box, coefficients)}"


def solids_of(problem: str, domain: Box, given: Any, boundary: Mapping[str, Any]) -> tuple[Solid, ...]:
    """The solids that `Problem(solid=...)` gives; none where it gives a function.

    Raises:
      TypeError, ValueError: no shape, a name that is a coordinate's, a shape without a condition or in other dimensions.
    """
    shapes = {"solid": given} if isinstance(given, Shape) else given
    if not isinstance(shapes, Mapping):
        return ()
    out = []
    for name, shape in shapes.items():
        if not isinstance(shape, Shape):
            raise TypeError(f"{problem}: the solid {name!r} must be a shape such as js.Disc((0, 0), 1), got {shape!r}.")
        if name in COORDINATES:
            raise ValueError(f"{problem}: a solid cannot be called {name!r}, which is a coordinate.")
        wall = boundary.get(name)
        wall = Mixed(*wall) if isinstance(wall, tuple) else wall
        if not isinstance(wall, Wall) or wall.kind == "outflow":
            strange = [key for key in boundary if key not in domain.space and key not in shapes]
            hint = f" {unknown_name('The name', strange[0], shapes)}" if strange else ""
            raise ValueError(
                f"{problem}: say what holds on the solid {name!r}, boundary={{{name!r}: js.Dirichlet(0)}}, a condition or a "
                f"tuple of them; got {boundary.get(name)!r}.{hint}"
            )
        try:
            shape(*(sum(domain[axis]) / 2 for axis in domain.space))
        except ValueError:
            raise ValueError(f"{problem}: the solid {name!r} must live in {listed(domain.space)}; got {shape!r}.") from None
        out.append(Solid(name, shape, wall))
    return tuple(out)


@dataclasses.dataclass(frozen=True)
class SolidDistance:
    """The least of the shapes' functions, of named coordinates: negative in every solid."""

    space: tuple[str, ...]
    shapes: tuple[Shape, ...]

    def __call__(self, *point: Any) -> Any:
        values = [jnp.asarray(shape(*point)) for shape in self.shapes]
        return jnp.min(jnp.stack(values), axis=0)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in self.space])


def merged(domain: Box, solids: tuple[Solid, ...]) -> Formula | None:
    """All solids as one signed function, for the methods that take such a one."""
    return Formula(None, SolidDistance(domain.space, tuple(solid.shape for solid in solids))) if solids else None


def covers(solids: tuple[Solid, ...], domain: Box, axis: str) -> bool:
    """Whether both walls of an axis lie in the solids, so that nothing can be held on them."""
    if not solids:
        return False
    random = np.random.default_rng(0).uniform(size=(256, len(domain.space)))
    slack = 1e-6 * max(domain.lengths)  # a wall may be the boundary of the solid
    for end in domain[axis]:
        point = [
            np.full(256, end) if name == axis else np.ptp(domain[name]) * random[:, i] + domain[name][0]
            for i, name in enumerate(domain.space)
        ]
        with jax.ensure_compile_time_eval():
            values = np.min([np.asarray(solid.shape(*point)) for solid in solids], axis=0)
        if not (values <= slack).all():
            return False
    return True
