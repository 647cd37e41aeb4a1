"""Multilayer perceptrons for fields."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsci._checks import is_whole, unknown_name
from jaxsci._types import Key
from jaxsci.networks.functional import Parameters, functional

Activation = Literal["tanh", "sin", "gelu", "silu"]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
}


class _Layers(nnx.Module):
    """The module that Flax builds; the library sees its parameters and a pure function only."""

    def __init__(self, sizes: tuple[int, ...], activation: Activation, dtype: Any, *, rngs: nnx.Rngs):
        self.layers = nnx.List([
            nnx.Linear(a, b, param_dtype=dtype, dtype=None, kernel_init=nnx.initializers.glorot_normal(), rngs=rngs)
            for a, b in itertools.pairwise(sizes)
        ])  # fmt: skip
        self.activation = activation

    def __call__(self, z):
        for layer in self.layers[:-1]:
            z = ACTIVATIONS[self.activation](layer(z))
        return self.layers[-1](z)


@dataclasses.dataclass(frozen=True)
class MLP:
    """A multilayer perceptron: z_{k+1} = activation(W_k z_k + b_k), linear at the end.

    Args:
      widths: sizes of the hidden layers.
      activation: one of "tanh", "sin", "gelu", "silu"; smooth, since a residual differentiates it twice or more.
    Dtype: parameters are made in the default floating-point type (float64 where x64 is on).
    Reference: Glorot & Bengio (2010) for the initial weights.
    Example:
      >>> import jax, jaxsci as js
      >>> network = js.networks.MLP((20, 20))
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> sum(leaf.size for leaf in parameters.values())
      501
    """

    widths: tuple[int, ...]
    activation: Activation = "tanh"

    def __post_init__(self):
        whole = isinstance(self.widths, tuple) and all(is_whole(width) and width > 0 for width in self.widths)
        if not (whole and self.widths):
            raise ValueError(
                f"MLP: widths must be a tuple of positive whole numbers, as in (20, 20, 20), got {self.widths!r}."
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(unknown_name("MLP: activation", self.activation, ACTIVATIONS))

    def init(self, key: Key, inputs: int, outputs: int) -> Parameters:
        return functional(self._module(key, inputs, outputs))[0]

    def apply(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        inputs, outputs = parameters["layers/0/kernel"].shape[0], parameters[f"layers/{len(self.widths)}/bias"].shape[0]
        return _apply(self, inputs, outputs)(parameters, z)

    def _module(self, key: Any, inputs: int, outputs: int) -> nnx.Module:
        sizes = (inputs, *self.widths, outputs)
        return _Layers(sizes, self.activation, jnp.result_type(float), rngs=nnx.Rngs(params=key))


@functools.lru_cache(maxsize=64)
def _apply(network: MLP, inputs: int, outputs: int) -> Callable[[Parameters, Any], Any]:
    """The pure function of a network's structure, made once. The module is only a template: no array of it is kept."""
    graph_of = nnx.eval_shape(lambda: network._module(jax.random.key(0), inputs, outputs))
    return functional(graph_of)[1]
