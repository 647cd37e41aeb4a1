"""The parts of a problem's boundary, as `jaxsci.constraints.parts` has them: what is prescribed for one unknown, and where."""

from __future__ import annotations

from jaxsci.constraints.parts import SolidPart, WallPart, prescribed
from jaxsci.problems import Problem


def wall_parts(problem: Problem, unknown: str, axis: str) -> tuple[WallPart, ...]:
    """The walls of an axis on which something holds for an unknown, lower first."""
    parts = []
    for upper, wall in enumerate(problem.walls(axis)):
        held = prescribed(wall, unknown, problem.unknowns)
        if held[:2] != (None, None):
            where = f"the wall {axis} = {problem.domain[axis][upper]:g}"
            parts.append(WallPart(where, *held, axis, problem.domain[axis], bool(upper)))
    return tuple(parts)


def solid_parts(problem: Problem, unknown: str) -> tuple[SolidPart, ...]:
    """The solids on which something holds for an unknown."""
    parts = []
    for solid in problem.solids:
        held = prescribed(solid.wall, unknown, problem.unknowns)
        if held[:2] != (None, None):
            where, scale = f"the solid {solid.name}", min(solid.shape.size, *problem.domain.lengths) / 2
            parts.append(SolidPart(where, *held, solid.shape, problem.domain.space, scale))
    return tuple(parts)
