"""Boundary conditions on the walls of a box."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxsci._checks import listed
from jaxsci.problems.formula import Formula


@dataclasses.dataclass(frozen=True)
class Periodic:
    """The field and all its derivatives agree at both ends of the interval.

    Example:
      >>> import jaxsci as js
      >>> boundary = {"x": js.Periodic()}
    """


class Wall:
    """A condition on one wall: a value for every unknown that is held there."""

    kind: str

    def __init__(self, value: Any = None, /, **values: Any):
        """One value for the only unknown, ``Dirichlet(0)``, or values by unknown, ``Dirichlet(u=0, v=1)``."""
        if (value is None) == (not values):
            raise TypeError(f"{type(self).__name__}: give one value, or values by unknown, as in Dirichlet(u=0, v=1).")
        self.single = None if value is None else Formula.of(value)
        self.values: tuple[tuple[str, Formula], ...] = tuple((k, Formula.of(v)) for k, v in sorted(values.items()))

    def for_unknowns(self, unknowns: tuple[str, ...]) -> Mapping[str, Formula]:
        if self.single is None:
            return dict(self.values)
        if len(unknowns) != 1:
            raise ValueError(
                f"{type(self).__name__}: with the unknowns {listed(unknowns)} name them: {type(self).__name__}(u=..., v=...)."
            )
        return {unknowns[0]: self.single}

    @property
    def parts(self) -> tuple[Wall, ...]:
        """The conditions of one kind that it is made of."""
        return (self,)

    def kind_for(self, unknown: str, unknowns: tuple[str, ...]) -> str | None:
        """The kind of condition that an unknown has here; None where it has none."""
        return next((part.kind for part in self.parts if unknown in part.for_unknowns(unknowns)), None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.single if self.single else dict(self.values)})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.kind, self.single, self.values))


class Dirichlet(Wall):
    """The unknown's value on the wall: a number, or a function of coordinates and coefficients.

    Example:
      >>> import jaxsci as js
      >>> left, right = js.Dirichlet(0), js.Dirichlet(lambda t: js.sin(t))
    """

    kind = "dirichlet"


class Neumann(Wall):
    """The unknown's derivative on the wall, along the coordinate (u_x on both walls of x; not the outward normal).

    Example:
      >>> import jaxsci as js
      >>> boundary = {"x": (js.Dirichlet(1), js.Neumann(0))}  # held at the lower wall, insulated at the upper
    """

    kind = "neumann"


class Mixed(Wall):
    """Conditions of different kinds for different unknowns on one wall; in a problem's boundary a tuple of them.

    Example:
      >>> import jaxsci as js
      >>> wall, outflow = js.Dirichlet(u=0, v=0), (js.Neumann(u=0, v=0), js.Dirichlet(p=0))
      >>> boundary = {"x": (wall, outflow), "y": wall}
    """

    kind = "mixed"

    def __init__(self, *parts: Wall):
        for part in parts:
            if not isinstance(part, Dirichlet | Neumann) or part.single is not None:
                raise ValueError(f"A wall with several conditions names their unknowns, as in Dirichlet(p=0); got {part!r}.")
        names = [name for part in parts for name, _ in part.values]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"A wall holds one condition for an unknown, but has two for {listed(twice)}: {parts!r}.")
        super().__init__(**{name: value for part in parts for name, value in part.values})
        self._parts = parts

    @property
    def parts(self) -> tuple[Wall, ...]:
        return self._parts

    def __repr__(self) -> str:
        return repr(self._parts)

    def __hash__(self) -> int:
        return hash((self.kind, self._parts))


class Outflow(Wall):
    """An open wall without values: waves leave through it, and what lies beyond continues the field evenly.

    Example:
      >>> import jaxsci as js
      >>> boundary = {"x": (js.Dirichlet(1), js.Outflow())}  # enters at the lower wall, leaves at the upper
    """

    kind = "outflow"

    def __init__(self):
        self.single = None
        self.values = ()

    def __repr__(self) -> str:
        return "Outflow()"


Boundary = Periodic | tuple[Wall, Wall]
