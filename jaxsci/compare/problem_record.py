"""What a report says of its problem: plain JSON values, and the lines of a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsci.equations.printing import to_text
from jaxsci.problems.conditions import Wall


@dataclasses.dataclass(frozen=True)
class SavedProblem:
    """What a report says of its problem, without the problem: read from a file, it can be printed but not solved."""

    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.record["name"]

    @property
    def identity(self) -> str:
        return self.record["identity"]

    def latex(self) -> str:
        return self.record["latex"]


def describe(problem: Any) -> dict[str, Any]:
    """A problem as plain JSON values: name, identity, equation, formulas, domain, coefficients, conditions."""
    if isinstance(problem, SavedProblem):
        return dict(problem.record)
    return {
        "name": problem.name,
        "identity": problem.identity,
        "equation": repr(problem.equation),
        "latex": problem.latex(),
        "domain": {name: [float(x) for x in problem.domain[name]] for name in problem.coordinates},
        "coefficients": {k: float(v) for k, v in problem.coefficients.items() if not callable(v) and np.ndim(v) == 0},
        "initial": {
            name: to_text(formula.expression.formula) if formula.expression is not None else "a function"
            for name, formula in problem.initial.items()
        },
        "walls": {axis: "; ".join(map(_wall, problem.walls(axis))) or "periodic" for axis in problem.domain.space},
        "source": problem.source or "",
    }


def facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and texts for a reader: where it lives, with which numbers, between which walls."""
    rows = [("domain", ", ".join(f"{c} in [{low:g}, {high:g}]" for c, (low, high) in record["domain"].items()))]
    if record["coefficients"]:
        rows.append(("coefficients", ", ".join(f"{k} = {v:.10g}" for k, v in record["coefficients"].items())))
    return rows + [(f"walls of {axis}", kind) for axis, kind in record["walls"].items()]


def _wall(wall: Wall) -> str:
    if len(wall.parts) > 1:
        return " and ".join(map(_wall, wall.parts))
    held = {"": wall.single} if wall.single is not None else dict(wall.values)
    texts = [(name, "f" if f.expression is None else to_text(f.expression.formula)) for name, f in held.items()]
    return f"{wall.kind} {', '.join(f'{name} = {text}' if name else text for name, text in texts)}"
