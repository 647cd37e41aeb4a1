"""Easier problems to begin with."""

from __future__ import annotations

from typing import Any

from jaxsci._checks import check_keys
from jaxsci.problems import Problem


class Curriculum:
    """Values of coefficients that a fit goes through before it comes to those of the problem.

    The stages have half of the budget; each starts from the one before and ends where its residual is good enough.

    Args:
      tolerance: the scaled residual that is good enough for a stage.
      **coefficients: by name, as many values for each.
    Raises:
      ValueError: no values, or different numbers of them.
    Reference: Krishnapriyan et al. (2021), *Characterizing possible failure modes in physics-informed neural networks*,
      NeurIPS, section 5.1.
    Example:
      >>> import jaxsci as js
      >>> js.learning.Curriculum(viscosity=(0.1, 0.01)).stages(js.problems.burgers())
      [{'viscosity': 0.1}, {'viscosity': 0.01}]
    """

    def __init__(self, tolerance: float = 1e-2, /, **coefficients: tuple[float, ...]):
        values = {name: tuple(map(float, value)) for name, value in coefficients.items()}
        if not values or len({len(value) for value in values.values()}) != 1 or not next(iter(values.values())):
            raise ValueError(
                f"Curriculum: give as many values for every coefficient, as in Curriculum(viscosity=(0.1, 0.01)), got {values}."
            )
        if not tolerance > 0:
            raise ValueError(f"Curriculum: tolerance must be positive, got {tolerance!r}.")
        self.tolerance, self.values = tolerance, tuple(sorted(values.items()))

    def stages(self, problem: Problem) -> list[dict[str, Any]]:
        """The coefficients of the problem, stage by stage."""
        check_keys("Curriculum: coefficient", dict(self.values), problem.coefficients)
        count = len(self.values[0][1])
        return [dict(problem.coefficients) | {name: values[i] for name, values in self.values} for i in range(count)]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.values)
        return f"Curriculum({self.tolerance:g}, {values})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curriculum) and (self.tolerance, self.values) == (other.tolerance, other.values)

    def __hash__(self) -> int:
        return hash((self.tolerance, self.values))
