"""Domains: boxes with named coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jaxsci._checks import KeyErrorWithText, unknown_name
from jaxsci.equations.expression import COORDINATES, PLAIN


class Box:
    """A box in time and space, one named interval per coordinate.

    Args:
      **intervals: ``t=(0, 1), x=(-1, 1)``: (lower, upper), finite, lower < upper; names among t, x, y, z, or x1, x2, ...
    Example:
      >>> import jaxsci as js
      >>> box = js.Box(t=(0, 1), x=(-1, 1))
      >>> box["x"], box.space, box.lengths
      ((-1.0, 1.0), ('x',), (2.0,))
    """

    def __init__(self, **intervals: tuple[float, float]):
        for name, interval in intervals.items():
            if name not in COORDINATES:
                raise ValueError(unknown_name("coordinate", name, PLAIN))
            try:
                lower, upper = (float(end) for end in interval)
            except (TypeError, ValueError):
                raise ValueError(f"Box: {name} must be an interval (lower, upper), got {interval!r}.") from None
            if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
                raise ValueError(f"Box: {name} must be finite with lower < upper, got {interval!r}.")
        if not intervals:
            raise ValueError("Box: give at least one coordinate, as in Box(t=(0, 1), x=(-1, 1)).")
        self._intervals = tuple((c, (float(intervals[c][0]), float(intervals[c][1]))) for c in COORDINATES if c in intervals)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The names, in the order t, x, y, z."""
        return tuple(name for name, _ in self._intervals)

    @property
    def space(self) -> tuple[str, ...]:
        """The names without t."""
        return tuple(name for name in self.coordinates if name != "t")

    @property
    def lengths(self) -> tuple[float, ...]:
        """Lengths of the spatial intervals."""
        return tuple(self[name][1] - self[name][0] for name in self.space)

    def __getitem__(self, name: str) -> tuple[float, float]:
        for known, interval in self._intervals:
            if known == name:
                return interval
        raise KeyErrorWithText(unknown_name("coordinate", name, self.coordinates))

    def __contains__(self, name: Any) -> bool:
        return name in self.coordinates

    def __iter__(self) -> Iterator[str]:
        return iter(self.coordinates)

    def __repr__(self) -> str:
        return f"Box({', '.join(f'{name}=({low:g}, {high:g})' for name, (low, high) in self._intervals)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and self._intervals == other._intervals

    def __hash__(self) -> int:
        return hash(self._intervals)
