"""The catalogue: problems frozen under a name, so that two tables that name one mean the same thing."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxsci._checks import check_keys
from jaxsci.problems.problem import Problem


@dataclasses.dataclass(frozen=True)
class Entry:
    """A catalogued problem: how to build it, its variants by label, and where its definition comes from."""

    name: str
    build: Callable[..., Problem]
    variants: Mapping[str, Mapping[str, Any]]
    source: str

    @property
    def defaults(self) -> dict[str, Any]:
        return {name: parameter.default for name, parameter in inspect.signature(self.build).parameters.items()}

    def problems(self) -> dict[str, Problem]:
        """The default problem and every variant, by label."""
        return {"default": self.build()} | {label: self.build(**dict(values)) for label, values in self.variants.items()}


CATALOGUE: dict[str, Entry] = {}


def catalogued(source: str, **variants: Mapping[str, Any]) -> Callable[[Callable[..., Problem]], Callable[..., Problem]]:
    """Enter a function ``(**coefficients) -> Problem`` in the catalogue under its own name.

    Args:
      source: author, year, and what is taken from there.
      **variants: other coefficient values that published tables use under the same name.
    """

    def enter(function: Callable[..., Problem]) -> Callable[..., Problem]:
        name = str(getattr(function, "__name__", "problem"))
        known = tuple(inspect.signature(function).parameters)

        @functools.wraps(function)
        def build(**coefficients: Any) -> Problem:
            check_keys(f"{name}: coefficient", coefficients, known)
            problem = function(**coefficients)
            problem.name, problem.source = name, source
            return problem

        CATALOGUE[name] = Entry(name, build, variants, source)
        return build

    return enter
