"""Boundary conditions on the walls of a box and on the shapes that are cut out of it."""

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

    def rates_for(self, unknowns: tuple[str, ...]) -> Mapping[str, Formula]:
        """The rates of a Robin condition; none for the others."""
        return {}

    def identity(self, unknowns: tuple[str, ...], box: Mapping[str, Any], coefficients: Mapping[str, Any]) -> str:
        """What tells it from other conditions; see `Formula.identity`."""
        values = self.for_unknowns(unknowns)
        texts = [f"{k}:{f.identity(box, coefficients)}" for k, f in sorted(values.items())]
        rates = [f"{k}:{f.identity(box, coefficients)}" for k, f in sorted(self.rates_for(unknowns).items())]
        return f"{self.kind}:{texts}{rates or ''}"

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

    On a shape, the derivative along the normal that points into the shape, out of the domain.

    Example:
      >>> import jaxsci as js
      >>> boundary = {"x": (js.Dirichlet(1), js.Neumann(0))}  # held at the lower wall, insulated at the upper
    """

    kind = "neumann"


class Robin(Wall):
    """n . grad u + rate u = value, where n points out of the domain, on walls and on shapes alike.

    Args:
      rate: a number, or a function of coordinates and coefficients.
      value: the same.
      **values: by unknown the pair (rate, value).
    Example:
      >>> import jaxsci as js
      >>> cooled, two = js.Robin(2.0, 0.5), js.Robin(u=(1.0, 0), v=(lambda y: y, 1))
    """

    kind = "robin"

    def __init__(self, rate: Any = None, value: Any = 0, /, **values: tuple[Any, Any]):
        if (rate is None) == (not values) or any(not isinstance(v, tuple) or len(v) != 2 for v in values.values()):
            raise TypeError(
                "Robin: give a rate and a value, Robin(2.0, 0.5), or such pairs by unknown, Robin(u=(2.0, 0.5))."
            )
        single = None if rate is None else value
        super().__init__(single, **{name: value for name, (_, value) in values.items()})
        self.rate = None if rate is None else Formula.of(rate)
        self.rates: tuple[tuple[str, Formula], ...] = tuple((k, Formula.of(r)) for k, (r, _) in sorted(values.items()))

    def rates_for(self, unknowns: tuple[str, ...]) -> Mapping[str, Formula]:
        return dict(self.rates) if self.rate is None else {unknowns[0]: self.rate}

    def __repr__(self) -> str:
        return f"Robin({self.rate}, {self.single})" if self.single else f"Robin({dict(self.rates)}, {dict(self.values)})"


class Mixed(Wall):
    """Conditions of different kinds on one wall; in a problem's boundary a tuple of them, empty where nothing is held.

    An unknown has one of them, or two that clamp it: its value and its slope, for equations of fourth order.

    Example:
      >>> import jaxsci as js
      >>> wall, outflow = js.Dirichlet(u=0, v=0), (js.Neumann(u=0, v=0), js.Dirichlet(p=0))
      >>> boundary = {"x": (wall, outflow), "y": wall}
      >>> clamped, free = (js.Dirichlet(w=0), js.Neumann(w=0)), ()
    """

    kind = "mixed"

    def __init__(self, *parts: Wall):
        for part in parts:
            if not isinstance(part, Dirichlet | Neumann | Robin) or part.single is not None:
                raise ValueError(f"A wall with several conditions names their unknowns, as in Dirichlet(p=0); got {part!r}.")
        held = [(name, part.kind == "dirichlet") for part in parts for name, _ in part.values]
        twice = sorted({name for name, is_value in held if held.count((name, is_value)) > 1})
        if twice:
            raise ValueError(
                f"A wall holds one condition for an unknown (or its value and its slope), but has two for {listed(twice)}: "
                f"{parts!r}."
            )
        self.single = None
        self.values = tuple(sorted({k: v for part in parts[::-1] for k, v in part.values}.items()))
        self._parts = parts

    @property
    def parts(self) -> tuple[Wall, ...]:
        return self._parts

    def identity(self, unknowns: tuple[str, ...], box: Mapping[str, Any], coefficients: Mapping[str, Any]) -> str:
        kinds = [self.kind_for(name, unknowns) for name, _ in self.values]
        several = self.clamps or any(part.kind == "robin" for part in self._parts)
        parts = [part.identity(unknowns, box, coefficients) for part in self._parts] if several else ""
        return f"{super().identity(unknowns, box, coefficients)}{kinds}{parts}"

    @property
    def clamps(self) -> bool:
        """Whether some unknown has both its value and its slope held."""
        return sum(len(part.values) for part in self._parts) > len(self.values)

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
