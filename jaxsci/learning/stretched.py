r"""A stretched coordinate of a network's inputs: fine around a front.

    z -> g(z),   g(z) = 2 (asinh(k (z - c)) - low) / (high - low) - 1,   low, high = asinh(k (-1 - c)), asinh(k (1 - c))

maps [-1, 1] onto itself, with a slope at c that is k / asinh(k) or so times as steep; what is O(1/k) wide there is O(1) wide
in g.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp

from jaxsci._checks import is_whole
from jaxsci.learning.features import Stretch
from jaxsci.networks import Network


@dataclasses.dataclass(frozen=True)
class Stretched:
    """A network that sees one of its inputs stretched around a centre.

    Args:
      network: the network behind the stretch.
      axis: which input; they are the problem's coordinates in the order t, x, y, z, each in [-1, 1] (periodic ones are two).
      centre: in [-1, 1], of the input's scale.
      steepness: k; 1 hardly stretches, 100 resolves a hundredth of the interval.
      learned: centre and steepness are parameters, which start from these values, or fixed.
    Raises:
      ValueError: an option is out of range.
    Example:
      >>> import jax, jaxsci as js
      >>> network = js.learning.Stretched(js.networks.MLP((8, 8)), axis=1, steepness=30.0)  # x of (t, x), around 0
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> sorted(parameters)[-2:]
      ['stretch/centre', 'stretch/log_steepness']
    """

    network: Network
    axis: int
    centre: float = 0.0
    steepness: float = 10.0
    learned: bool = True

    def __post_init__(self):
        if not (is_whole(self.axis) and self.axis >= 0 and -1 <= self.centre <= 1 and self.steepness > 0):
            raise ValueError(
                "Stretched: axis must be the number of an input, centre lie in [-1, 1] and steepness be positive, got "
                f"axis={self.axis!r}, centre={self.centre!r}, steepness={self.steepness!r}."
            )

    def init(self, key: Any, inputs: int, outputs: int) -> dict[str, Any]:
        if self.axis >= inputs:
            raise ValueError(f"Stretched: axis must be less than {inputs}, the number of inputs, got {self.axis}.")
        parameters = self.network.init(key, inputs, outputs)
        if not self.learned:
            return parameters
        dtype = jnp.result_type(float)
        centre, steepness = jnp.asarray(self.centre, dtype), jnp.asarray(math.log(self.steepness), dtype)
        return parameters | {"stretch/centre": centre, "stretch/log_steepness": steepness}

    def apply(self, parameters: dict[str, Any], z: Any) -> Any:
        inner = {name: value for name, value in parameters.items() if not name.startswith("stretch/")}
        if self.learned:  # the logarithm keeps the steepness positive
            stretch = Stretch(parameters["stretch/centre"], jnp.exp(parameters["stretch/log_steepness"]))
        else:
            stretch = Stretch(jnp.asarray(self.centre, z.dtype), jnp.asarray(self.steepness, z.dtype))
        stretched = stretch.forward(z[self.axis], -1.0, 1.0)
        return self.network.apply(inner, jnp.concatenate([z[: self.axis], stretched[None], z[self.axis + 1 :]]))
