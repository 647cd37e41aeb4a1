"""Layers: a constraint behind any function, hard or on the way from soft to hard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxsci.constraints.constraint import NOT_FINITE, Constraint, ProjectionInfo, constraint, project
from jaxsci.constraints.members import select


@constraint("function")
class Layer:
    """A function whose values satisfy a constraint:  x -> project(constraint, function(x)).

    Without a function it is a layer by itself, for anything that composes callables: ``flax.linen.Sequential([net, Layer(c)])``,
    ``flax.nnx.Sequential(net, flax.nnx.data(Layer(c)))`` (whose modules want to be told that there are arrays in what they hold).
    The constraint is a pytree: its numbers can be trained or batched.

    A value that is not finite stays that, so that a loss tells of it; `info` says what became of each value.

    Args:
      constraint: what holds.
      function: what comes before it; None for the identity.
      hardness: from 0 (the function as it is) to 1 (the constraint holds): the value is y + hardness (project(y) - y). A
        number, or a traced one: see `harden`.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> shares = js.constraints.Polytope(jnp.ones((1, 3)), jnp.ones(1), lower=0.0)
      >>> network = js.constraints.Layer(shares, jnp.sin)  # any function
      >>> print(network(jnp.array([1.0, 2.0, 3.0])).sum())
      1.0
    """

    constraint: Constraint
    function: Callable[..., Any] | None = None
    hardness: Any = 1.0

    def __post_init__(self):
        if isinstance(self.function, Constraint) or callable(self.constraint):
            raise TypeError("Layer: the constraint comes first, then the function, as in Layer(Simplex(), jnp.tanh).")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        y = self._before(*args, **kwargs)
        point, info = project(self.constraint, y)
        point = select(info.status == NOT_FINITE, jnp.full_like(point, jnp.nan), point)
        if isinstance(self.hardness, float) and self.hardness == 1:
            return point  # y + (x - y) would round
        return jnp.where(self.hardness == 1, point, y + self.hardness * (point - y))

    def info(self, *args: Any, **kwargs: Any) -> ProjectionInfo:
        """What the projection of these values tells about itself."""
        return project(self.constraint, self._before(*args, **kwargs))[1]

    def _before(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if self.function is None else self.function(*args, **kwargs)


def harden(step: Any, begin: int, end: int) -> Any:
    """A schedule from soft to hard: 0 before step `begin`, 1 from `end` on, smooth (cubic) in between.

    For `Layer(..., hardness=harden(step, ...))`, and with ``(1 - hardness) * constraint.penalty(y)`` in the loss: training then
    starts without the layer and ends on the constraint.
    Raises:
      ValueError: if it ends before it begins.
    Example:
      >>> import jaxsci as js
      >>> [float(js.constraints.harden(step, 100, 300)) for step in (0, 200, 300)]
      [0.0, 0.5, 1.0]
    """
    if end <= begin:
        raise ValueError(f"harden: must end after it begins, got begin={begin}, end={end}.")
    part = jnp.clip((jnp.asarray(step) - begin) / (end - begin), 0, 1)
    return part * part * (3 - 2 * part)
