"""Sinusoidal representation networks."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.layers import Dense, check_widths


@dataclasses.dataclass(frozen=True)
class SIREN(FlaxNetwork):
    r"""A perceptron of sines, z_{k+1} = sin(omega (W_k z_k + b_k)), initialised so that depth does not change its statistics.

    W ~ U(-1/n, 1/n) in the first layer and U(-c, c), c = sqrt(6/n) / omega, in the others, n being the inputs of the layer. What
    enters the second sine is normal with variance 1, and layer by layer the variance tends to v = 1 - exp(-2 v) = 0.80: it
    neither vanishes nor grows. The first layer's biases are phases from all of the circle, the others zero.

    Args:
      widths: sizes of the hidden layers.
      omega: the frequency of the first layer, in radians per unit of z: about the highest that the field has.
      factorised: see `MLP`.
    Reference: Sitzmann, Martel, Bergman, Lindell & Wetzstein (2020), NeurIPS, theorem 1.8 of the supplement and section 3.2.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> network = js.networks.SIREN((256, 256), omega=10.0)
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> bool(jnp.abs(parameters["layers/1/kernel"]).max() <= (6 / 256) ** 0.5 / 10)
      True
    """

    widths: tuple[int, ...]
    omega: float = 30.0
    factorised: bool = False

    def __post_init__(self):
        check_widths("SIREN", self.widths)
        if not 0 < self.omega < math.inf:
            raise ValueError(f"SIREN: omega must be positive, got {self.omega!r}.")

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Sines(self, inputs, outputs, rngs)


class _Sines(nnx.Module):
    def __init__(self, network: SIREN, inputs: int, outputs: int, rngs: nnx.Rngs):
        first = Dense(
            inputs,
            network.widths[0],
            rngs,
            factorised=network.factorised,
            kernel_init=_even(1 / inputs),
            bias_init=_even(math.pi / network.omega),
        )
        rest = [
            Dense(a, b, rngs, factorised=network.factorised, kernel_init=_even(math.sqrt(6 / a) / network.omega))
            for a, b in itertools.pairwise((*network.widths, outputs))
        ]
        self.layers = nnx.List([first, *rest])
        self.omega = network.omega

    def __call__(self, z):
        for layer in self.layers[:-1]:
            z = jnp.sin(self.omega * layer(z))
        return self.layers[-1](z)


def _even(bound: float) -> Any:
    def initial(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initial
