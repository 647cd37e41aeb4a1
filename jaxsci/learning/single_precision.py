"""Passes in two precisions: any optimiser in float32, handing over to one in float64."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.learning.objective import Unknowns
from jaxsci.learning.optimiser import Optimiser


class SinglePrecisionState(NamedTuple):
    """See `jaxsci.learning.optimiser.State`."""

    unknowns: Unknowns  # in the precision of the fit
    loss: Any
    status: Any
    inner: Any  # of the optimiser, in float32


@dataclasses.dataclass(frozen=True)
class SinglePrecision:
    """Any optimiser, in float32 inside a float64 fit: half the time and memory a step, to about four digits of the residual.

    Unknowns come in and go out in the fit's precision, so the next optimiser goes on in float64 by itself:
    ``optimiser=(SinglePrecision(FirstOrder()), LevenbergMarquardt())``.

    Args:
      optimiser: what runs in float32.
    Example:
      >>> import jaxsci as js
      >>> js.learning.SinglePrecision(js.learning.FirstOrder(steps=500)).steps
      500
    """

    optimiser: Optimiser

    def __post_init__(self):
        if not callable(getattr(self.optimiser, "advance", None)):
            raise TypeError(
                f"SinglePrecision: give an optimiser, as in SinglePrecision(FirstOrder()), got {self.optimiser!r}."
            )

    @property
    def steps(self) -> int:
        return self.optimiser.steps

    @property
    def chunk(self) -> int:
        return self.optimiser.chunk

    @property
    def resample(self) -> int:
        return self.optimiser.resample

    def count(self, parameters: int, equations: int) -> int:
        return self.optimiser.count(parameters, equations)

    def init(self, objective, unknowns, coefficients):
        with jax.enable_x64(False):  # for these lines alone: what the residual makes itself is float32 too
            inner = self.optimiser.init(objective, _single(unknowns), _single(coefficients))
        return SinglePrecisionState(unknowns, inner.loss, inner.status, inner)

    def advance(self, objective, coefficients, state, batch, count):
        with jax.enable_x64(False):
            inner = self.optimiser.advance(objective, _single(coefficients), state.inner, _single(batch), count)
        unknowns = jax.tree.map(lambda new, old: new.astype(old.dtype), inner.unknowns, state.unknowns)
        return SinglePrecisionState(unknowns, inner.loss, inner.status, inner)


def _single(tree: Any) -> Any:
    """Floating-point leaves in float32; whole numbers, plain Python numbers and functions as they are."""

    def cast(leaf):
        floats = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, jnp.float32) if floats else leaf

    return jax.tree.map(cast, tree)
