"""Residual convolutional networks, plain and dilated."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
from flax import nnx

from jaxsci._checks import is_whole
from jaxsci.networks.borders import Borders, check_borders, check_options, hold, per_axis
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.grid_layers import GAINS, Convolution, channels_last, dense
from jaxsci.networks.layers import Activation, ActivationName, check_activation


@dataclasses.dataclass(frozen=True)
class ResNet(FlaxNetwork):
    r"""A residual convolutional network on a grid, ``[inputs, *space] -> [outputs, *space]``.

        h_0 = P a,   h_{l+1} = h_l + C_m sigma( ... C_1 sigma(h_l)),   u = Q sigma(h_L)

    P and Q act on the channels of a node, C_i are convolutions, one for each dilation; the activation stands before the
    convolution and nothing is normalised. A node sees blocks * sum(dilations) * (kernel - 1) / 2 nodes in each direction: what
    travels further in a step cannot be learned. It is tied to its grid spacing: the same parameters run on a finer grid, as
    another function.

    Args:
      dimension: axes of the grid, 1, 2 or 3.
      channels: width of the hidden fields.
      blocks: how many.
      dilations: of a block's convolutions; (1, 2, 4, 8, 4, 2, 1) is the dilated ResNet.
      kernel: nodes along each axis, odd.
      borders: what a convolution sees beyond the grid, for all axes or a tuple of one for each. "periodic": n nodes, none twice;
        the network commutes with translations. Otherwise both walls have nodes: "even" continues every field, hidden ones too,
        as its mirror image; "odd" as minus that, and the outputs are set to zero on those walls; "zero" by zeros, from which a
        network sees where the wall is. The mirrors are seen by each convolution; the network does not commute with them, and
        "even" imposes no slope on the outputs.
      activation: see `MLP`.
    Raises:
      ValueError: a grid of another dimension, or with fewer nodes than a convolution looks beyond it, when it is applied.
    Reference: He, Zhang, Ren & Sun (2016), ECCV (activation first); Stachenfeld et al. (2022), ICLR (dilated); Gupta &
    Brandstetter (2022), arXiv:2209.15616, and Koehler et al. (2024), NeurIPS, for both as emulators of equations. The last
    convolution of a block is drawn 1 / sqrt(blocks) times smaller, so that the variance does not grow with depth.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.networks.resnet import ResNet
      >>> network = ResNet(dimension=2, channels=8, blocks=2, borders=("periodic", "odd"))
      >>> parameters = network.init(jax.random.key(0), inputs=1, outputs=1)
      >>> u = network.apply(parameters, jnp.ones((1, 8, 9)))
      >>> u.shape, float(abs(u[..., 0]).max()), bool(abs(u[..., 1]).max() > 0)
      ((1, 8, 9), 0.0, True)
    """

    dimension: int = 2
    channels: int = 32
    blocks: int = 4
    dilations: tuple[int, ...] = (1, 1)
    kernel: int = 3
    borders: Borders = "periodic"
    activation: ActivationName = "gelu"

    def __post_init__(self):
        check_options(self, "dimension", "channels", "blocks", "kernel")
        if self.kernel % 2 == 0:
            raise ValueError(f"ResNet: kernel must be odd, with a node in the middle, got {self.kernel}.")
        whole = isinstance(self.dilations, tuple) and all(is_whole(k) and k > 0 for k in self.dilations)
        if not (whole and self.dilations):
            raise ValueError(
                f"ResNet: dilations must be a tuple of positive whole numbers, as in (1, 1), got {self.dilations!r}."
            )
        check_borders("ResNet", self.borders)
        per_axis("ResNet", self.borders, self.dimension)
        check_activation("ResNet", self.activation)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Residual(self, inputs, outputs, rngs)


class _Residual(nnx.Module):
    def __init__(self, network: ResNet, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.borders = per_axis("ResNet", network.borders, network.dimension)
        self.lift = dense(inputs, network.channels, rngs)
        self.blocks = nnx.List([_Block(network, self.borders, rngs) for _ in range(network.blocks)])
        self.last = Activation(network.activation, network.channels)
        self.project = dense(network.channels, outputs, rngs, GAINS[network.activation])

    def __call__(self, a):
        h = self.lift(channels_last("ResNet", a, len(self.borders), self.lift.kernel[...]))
        for block in self.blocks:
            h = block(h)
        return jnp.moveaxis(hold(self.project(self.last(h)), self.borders), -1, 0)


class _Block(nnx.Module):
    def __init__(self, network: ResNet, borders: tuple[str, ...], rngs: nnx.Rngs):
        width, count = network.channels, len(network.dilations)
        gains = [GAINS[network.activation]] * (count - 1) + [GAINS[network.activation] / math.sqrt(network.blocks)]
        self.convolutions = nnx.List([
            Convolution("ResNet", (width, width), network.kernel, borders, rngs, gain=gain, dilation=dilation)
            for gain, dilation in zip(gains, network.dilations, strict=True)
        ])  # fmt: skip
        self.activations = nnx.List([Activation(network.activation, width) for _ in range(count)])

    def __call__(self, h):
        change = h
        for convolution, activation in zip(self.convolutions, self.activations, strict=True):
            change = convolution(activation(change))
        return h + change
