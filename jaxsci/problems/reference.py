"""References: solutions that state their own error, against which methods are scored.

A recipe is a static part of a `Problem`.  `Exact` evaluates a closed form.  `Converged` runs a numerical method at two
resolutions and states their difference: a convergence study made on the spot, for whatever coefficients the problem has.
The numerical methods live in a folder above this one, so they enter their recipes in `RECIPES` when they are imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxsci._timing import Cost
from jaxsci._types import SavedTimes
from jaxsci.problems.solution import Solution, sample, saved_times


class Reference(Protocol):
    """A static, hashable recipe for a certified solution."""

    def solution(self, problem: Any, ts: SavedTimes = None) -> Solution: ...


@dataclasses.dataclass(frozen=True)
class Exact:
    """The problem's exact solution, evaluated.

    Args:
      floor: relative L2 error of the evaluation in float64: that of a quadrature, or round-off, which the default covers for
        arguments of sines and exponentials up to about 100. In lower precision a hundred roundings, if they are more.
    """

    floor: float = 1e-14
    points: int = 64  # per axis, of the sampled fields

    def solution(self, problem: Any, ts: SavedTimes = None) -> Solution:
        domain = problem.domain
        ts = None if problem.is_steady else jnp.asarray(saved_times(problem, ts), float)
        grid = {name: jnp.linspace(*domain[name], self.points + 1) for name in domain.space}
        field = ExactField(problem)
        fields = sample(field, ts, grid)
        floor = max(self.floor, 100 * float(jnp.finfo(fields.dtype).eps))
        return Solution(problem, ts, grid, fields, field, jnp.asarray(floor), {}, Cost())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExactField:
    """The exact solution of a problem as a field of one point."""

    problem: Any

    def __call__(self, *point: Any) -> Any:
        return self.problem.exact_field(*point)


RECIPES: dict[str, Callable[..., Solution]] = {}


@dataclasses.dataclass(frozen=True)
class Converged:
    """A numerical solution at a resolution that is compared with half of it; the difference is the stated error.

    The finer run is the reference and the stated error is that of the coarser one, which bounds it from above for any
    convergent method.

    Args:
      recipe: which numerical method, by the name it registered (``"spectral"``, ``"adaptive"``).
      options: its options, as pairs.
    """

    recipe: str
    options: tuple[tuple[str, Any], ...] = ()

    def solution(self, problem: Any, ts: SavedTimes = None) -> Solution:
        if self.recipe not in RECIPES:
            raise RuntimeError(f"The reference of {problem.name} needs the solvers: import jaxsci.solvers first.")
        ts = None if problem.is_steady else saved_times(problem, ts)
        return RECIPES[self.recipe](problem, ts, **dict(self.options))


def converged(recipe: str, **options: Any) -> Converged:
    """A `Converged` reference with its options by name."""
    return Converged(recipe, tuple(sorted(options.items())))
