"""Deep operator networks."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.networks.functional import Network, Parameters, joined, part_of


@dataclasses.dataclass(frozen=True)
class DeepONet:
    r"""G(s)(z)_o = sum_{r=1}^rank branch(s)_{r,o} trunk(z)_{r,o} + bias_o: functions z -> G(s)(z) in a basis, weighted by s.

    The first `sensors` inputs describe the problem (numbers that determine its start, its coefficients) and go to the branch, the
    others are coordinates and go to the trunk. So it is a network of ONE input like any other.

    Args:
      branch, trunk: networks, any.
      sensors: how many inputs go to the branch.
      rank: how many products.
    Reference: Lu, Jin, Pang, Zhang & Karniadakis (2021), Nat. Mach. Intell. 3, 218, eq. 2 (unstacked).
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> MLP = js.networks.MLP
      >>> network = js.networks.DeepONet(branch=MLP((16,)), trunk=MLP((16,)), sensors=5, rank=8)
      >>> parameters = network.init(jax.random.key(0), inputs=7, outputs=1)
      >>> network.apply(parameters, jnp.ones(7)).shape
      (1,)
    """

    branch: Network
    trunk: Network
    sensors: int
    rank: int = 32

    def __post_init__(self):
        for name in ("branch", "trunk"):
            part = getattr(self, name)
            if not (callable(getattr(part, "init", None)) and callable(getattr(part, "apply", None))):
                raise TypeError(f"DeepONet: {name} must be a network, as js.networks.MLP((32, 32)), got {part!r}.")
        for name in ("sensors", "rank"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"DeepONet: {name} must be a positive whole number, got {getattr(self, name)!r}.")

    def init(self, key: Key, inputs: int, outputs: int) -> Parameters:
        if inputs <= self.sensors:
            raise ValueError(
                f"DeepONet: {self.sensors} of the inputs go to the branch, which leaves none of {inputs} for the trunk."
            )
        first, second = jax.random.split(key)
        parts = {
            "branch": self.branch.init(first, self.sensors, self.rank * outputs),
            "trunk": self.trunk.init(second, inputs - self.sensors, self.rank * outputs),
        }
        return joined(parts) | {"bias": jnp.zeros(outputs, jnp.result_type(float))}

    def apply(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        weights = self.branch.apply(part_of(parameters, "branch"), z[: self.sensors])
        basis = self.trunk.apply(part_of(parameters, "trunk"), z[self.sensors :])
        return jnp.sum((weights * basis).reshape(self.rank, -1), axis=0) + parameters["bias"]
