"""What an optimiser is: a frozen description with two pure functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxsci._checks import is_whole
from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns

# The status of a state, and the same in words: a fit that was still running ended by its steps.  Converged means that the
# model of the loss promises no decrease above round-off; stagnated, that it does and none of the steps tried keeps it.
RUNNING, CONVERGED, NOT_FINITE, STAGNATED = 0, 1, 2, 3
STOPPED = ("steps", "converged", "not finite", "stagnated")


class State(Protocol):
    """What an optimiser carries: a NamedTuple of arrays with these entries, and whatever else it needs."""

    unknowns: Unknowns
    loss: Any  # at the last step's batch
    status: Any  # RUNNING, CONVERGED, NOT_FINITE or STAGNATED


class Optimiser(Protocol):
    """How to make a loss small: pure functions, so that fits can be mapped over seeds, stopped and resumed."""

    @property
    def steps(self) -> int:
        """At most how many."""
        ...

    @property
    def chunk(self) -> int:
        """Steps between two looks at the clock."""
        ...

    @property
    def resample(self) -> int:
        """Steps for which points and weights are kept."""
        ...

    def count(self, parameters: int, equations: int) -> int:
        """Collocation points for so many parameters and equations."""
        ...

    def init(self, objective: Objective, unknowns: Unknowns, coefficients: Coefficients) -> Any:
        """The first state."""
        ...

    def advance(self, objective: Objective, coefficients: Coefficients, state: Any, batch: Batch, count: int) -> Any:
        """The state after `count` steps, compiled; unchanged from the step on at which its status ceases to be RUNNING."""
        ...


def repeat(step: Callable[[Any], Any], state: Any, count: int) -> Any:
    """`count` steps, compiled once; the state stays as it is from the step on at which its status ceases to be RUNNING."""

    def body(state, _):
        return jax.tree.map(functools.partial(jnp.where, state.status == RUNNING), step(state), state), None

    return jax.lax.scan(body, state, length=count)[0]


def enough_points(parameters: int, equations: int) -> int:
    """Collocation points that leave a least-squares step 2.2 rows per parameter."""
    return max(256, int(2.2 * parameters / equations))


def check_positive(optimiser: Any, *names: str) -> None:
    """Whole numbers above zero.

    Raises:
      ValueError: naming the optimiser and the option.
    """
    for name in names:
        value = getattr(optimiser, name)
        if not (is_whole(value) and value > 0):
            raise ValueError(f"{type(optimiser).__name__}: {name} must be a positive whole number, got {value!r}.")
