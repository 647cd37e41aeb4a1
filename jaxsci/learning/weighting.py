"""How much each residual counts: weights of the squares in the loss."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns


class Weighting(Protocol):
    """Factors on the equal weights of a batch: pure, frozen and hashable. Its state is a pytree of arrays."""

    def init(self, objective: Objective, batch: Batch) -> Any:
        """The first state, for a batch with equal weights."""
        ...

    def weigh(
        self, objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch, state: Any
    ) -> tuple[dict[str, Any], Any]:
        """New weights for the batch, ``{part: [points, rows]}``, and the next state."""
        ...


@dataclasses.dataclass(frozen=True)
class Equal:
    """Every point counts the same."""

    def init(self, objective, batch):
        return ()

    def weigh(self, objective, unknowns, coefficients, batch, state):
        return batch.weights, state
