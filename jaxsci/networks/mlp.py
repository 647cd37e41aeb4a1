"""Trunks of a field: a multilayer perceptron, and two whose layers are mixed by gates."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx

from jaxsci.networks.embeddings import Embedding, FourierFeatures, check_embedding
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.layers import Activation, ActivationName, Dense, check_activation, check_widths


@dataclasses.dataclass(frozen=True)
class _Trunk(FlaxNetwork):
    """Options that go with every trunk."""

    widths: tuple[int, ...]
    activation: ActivationName = "tanh"
    embedding: Embedding | None = None
    factorised: bool = False
    adaptive: bool = False

    one_width: ClassVar[bool] = True  # the gates are as wide as every layer

    def __post_init__(self):
        name = type(self).__name__
        check_widths(name, self.widths, equal=self.one_width)
        check_activation(name, self.activation)
        check_embedding(name, self.embedding)

    def _features(self, inputs: int) -> int:
        return inputs if self.embedding is None else self.embedding.features(inputs)

    def _embedding(self, inputs: int) -> Any:
        return None if self.embedding is None else self.embedding.module(inputs)

    def _dense(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> Dense:
        return Dense(inputs, outputs, rngs, factorised=self.factorised)

    def _activations(self, count: int) -> nnx.List:
        return nnx.List([Activation(self.activation, self.widths[0], adaptive=self.adaptive) for _ in range(count)])


@dataclasses.dataclass(frozen=True)
class MLP(_Trunk):
    """A multilayer perceptron: z_{k+1} = activation(W_k z_k + b_k), linear at the end.

    Args:
      widths: sizes of the hidden layers.
      activation: one of "tanh", "sin", "gelu", "silu", "stan"; smooth, since a residual differentiates it twice or more.
      embedding: of the inputs, such as `FourierFeatures`; none by default.
      factorised: random weight factorisation: the same function at the start, another path from there.
      adaptive: a trainable slope in each activation.
    Dtype: parameters are made in the default floating-point type (float64 where x64 is on).
    Reference: Glorot & Bengio (2010) for the initial weights; see `jaxsci.networks.layers` for the two options.
    Example:
      >>> import jax, jaxsci as js
      >>> network = js.networks.MLP((20, 20))
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> sum(leaf.size for leaf in parameters.values())
      501
    """

    one_width = False

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Layers(self, inputs, outputs, rngs)


class _Layers(nnx.Module):
    """The module that Flax builds; the library sees its parameters and a pure function only."""

    def __init__(self, trunk: MLP, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.embedding = trunk._embedding(inputs)
        sizes = (trunk._features(inputs), *trunk.widths, outputs)
        self.layers = nnx.List([trunk._dense(a, b, rngs) for a, b in itertools.pairwise(sizes)])
        self.activations = nnx.List([
            Activation(trunk.activation, width, adaptive=trunk.adaptive) for width in trunk.widths
        ])  # fmt: skip

    def __call__(self, z):
        z = z if self.embedding is None else self.embedding(z)
        for layer, activation in zip(self.layers, self.activations):  # noqa: B905  the last layer is linear
            z = activation(layer(z))
        return self.layers[-1](z)


class _Gates(nnx.Module):
    """u and v of the features, and g u + (1 - g) v."""

    def __init__(self, trunk: _Trunk, features: int, rngs: nnx.Rngs):
        self.u, self.v = (trunk._dense(features, trunk.widths[0], rngs) for _ in range(2))
        self.activations = trunk._activations(2)

    def __call__(self, features):
        return self.activations[0](self.u(features)), self.activations[1](self.v(features))


@dataclasses.dataclass(frozen=True)
class ModifiedMLP(_Trunk):
    r"""A multilayer perceptron whose hidden layers pass two gates.

        u = sigma(W_u z + b_u),  v = sigma(W_v z + b_v),  h_0 = z,
        g = sigma(W_k h_k + b_k),  h_{k+1} = g u + (1 - g) v

    The inputs reach every layer, multiplied with what was made of them; about twice the cost of an `MLP`.

    Args: as `MLP`; all widths are one number.
    Reference: Wang, Teng & Perdikaris (2021), SIAM J. Sci. Comput. 43, A3055, section 2.6 (the first layer gated too).
    Example:
      >>> import jax, jaxsci as js
      >>> parameters = js.networks.ModifiedMLP((20, 20)).init(jax.random.key(0), inputs=2, outputs=1)
      >>> sum(leaf.size for leaf in parameters.values())
      621
    """

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Gated(self, inputs, outputs, rngs)


class _Gated(nnx.Module):
    def __init__(self, trunk: ModifiedMLP, inputs: int, outputs: int, rngs: nnx.Rngs):
        features = trunk._features(inputs)
        self.embedding = trunk._embedding(inputs)
        self.gates = _Gates(trunk, features, rngs)
        sizes = (features, *trunk.widths, outputs)
        self.layers = nnx.List([trunk._dense(a, b, rngs) for a, b in itertools.pairwise(sizes)])
        self.activations = trunk._activations(len(trunk.widths))

    def __call__(self, z):
        z = z if self.embedding is None else self.embedding(z)
        u, v = self.gates(z)
        for layer, activation in zip(self.layers, self.activations):  # noqa: B905  the last layer is linear
            z = _mix(activation(layer(z)), u, v)
        return self.layers[-1](z)


def _mix(g, u, v):
    return g * u + (1 - g) * v


@dataclasses.dataclass(frozen=True)
class PirateNet(_Trunk):
    r"""Physics-informed residual adaptive blocks: a deep network that starts as a linear map of its features.

        f = sigma(W_1 x + b_1),  p = f u + (1 - f) v,  g = sigma(W_2 p + b_2),  q = g u + (1 - g) v,
        h = sigma(W_3 q + b_3),  x <- alpha h + (1 - alpha) x

    with alpha = 0 at the start, so that every block is the identity and depth comes in as far as training asks for it. x are the
    features of the embedding, u and v gates made of them as in `ModifiedMLP`.

    Args: as `MLP`; `widths` has one entry for each block, all the same number; the embedding is `FourierFeatures` by default.
    Reference: Wang, Li, Chen & Perdikaris (2024), PirateNets, J. Mach. Learn. Res. 25, 402, section 4.
    Example:
      >>> import jax, jaxsci as js
      >>> network = js.networks.PirateNet((20, 20))
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> float(parameters["blocks/0/alpha"]), parameters["last/kernel"].shape
      (0.0, (64, 1))
    """

    embedding: Embedding | None = dataclasses.field(default_factory=FourierFeatures)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Pirate(self, inputs, outputs, rngs)


class _Block(nnx.Module):
    def __init__(self, trunk: PirateNet, features: int, rngs: nnx.Rngs):
        width = trunk.widths[0]
        self.layers = nnx.List([trunk._dense(a, b, rngs) for a, b in ((features, width), (width, width), (width, features))])
        inner, last = trunk._activations(2), Activation(trunk.activation, features, adaptive=trunk.adaptive)
        self.activations = nnx.List([*inner, last])
        self.alpha = nnx.Param(jnp.zeros((), jnp.result_type(float)))

    def __call__(self, x, u, v):
        f, g, h = self.activations
        mixed = _mix(f(self.layers[0](x)), u, v)
        mixed = _mix(g(self.layers[1](mixed)), u, v)
        alpha = self.alpha[...]
        return alpha * h(self.layers[2](mixed)) + (1 - alpha) * x


class _Pirate(nnx.Module):
    def __init__(self, trunk: PirateNet, inputs: int, outputs: int, rngs: nnx.Rngs):
        features = trunk._features(inputs)
        self.embedding = trunk._embedding(inputs)
        self.gates = _Gates(trunk, features, rngs)
        self.blocks = nnx.List([_Block(trunk, features, rngs) for _ in trunk.widths])
        self.last = trunk._dense(features, outputs, rngs)

    def __call__(self, z):
        x = z if self.embedding is None else self.embedding(z)
        u, v = self.gates(x)
        for block in self.blocks:
            x = block(x, u, v)
        return self.last(x)
