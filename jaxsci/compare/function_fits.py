"""What fits a surrogate to pairs of inputs and outputs, and the plain ones that every study of a function contains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
from jax.tree_util import Partial

from jaxsci._types import Key

Function = Callable[[Any], Any]  # inputs [n, k] -> outputs [n] or [n, m]; NaN where there is no solution


class FunctionFit(Protocol):
    """What makes a surrogate of pairs of inputs and outputs; `jaxsci.surrogates.NetworkRegression` is one."""

    def fit(self, inputs: Any, outputs: Any, *, key: Key) -> Function:
        """From inputs [n, k] and outputs [n] or [n, m], all finite."""
        ...


@dataclasses.dataclass(frozen=True)
class Fit:
    """A plain function of (inputs, outputs, key) as a `FunctionFit`, and what the surrogate is told.

    Args:
      function: returns the surrogate.
      told: what it learns from, as text: "growth and prices".
      solves: it calls the solver itself, as it needs more than the outputs: the study's data are then not charged to it, and the
        seconds of its own solves stand in its training.
    """

    function: Callable[[Any, Any, Key], Function]
    told: str = ""
    solves: bool = False

    def fit(self, inputs: Any, outputs: Any, *, key: Key) -> Function:
        return self.function(inputs, outputs, key)


def _mean(x: Any, y: Any, key: Key) -> Function:
    return Partial(lambda value, z: jnp.broadcast_to(value, (*z.shape[:-1], *value.shape)), y.mean(0))


def _affine(x: Any, y: Any, key: Key) -> Function:
    table = jnp.linalg.lstsq(jnp.c_[x, jnp.ones(len(x), x.dtype)], y.reshape(len(y), -1))[0]
    return Partial(lambda table, z: z @ table[:-1] + table[-1], table.reshape(-1, *y.shape[1:]))


def _nearest(x: Any, y: Any, key: Key) -> Function:
    """In units of the inputs' deviations."""
    size = jnp.where(x.std(0) > 0, x.std(0), 1.0)

    def look_up(size, x, y, z):
        known = x / size
        return y[jnp.argmin((known**2).sum(1) / 2 - (z / size) @ known.T, axis=-1)]

    return Partial(look_up, size, x, y)


# As `Partial`s they are pytrees, whose numbers the report counts.
BASELINES: dict[str, FunctionFit] = {
    "mean": Fit(_mean), "affine least squares": Fit(_affine), "nearest neighbour": Fit(_nearest),
}  # fmt: skip
