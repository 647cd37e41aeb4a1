"""U-Nets on grids of any dimension."""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax.numpy as jnp
from flax import nnx

from jaxsci._checks import is_whole
from jaxsci.networks.borders import Borders, check_borders, check_options, hold, per_axis
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.grid_layers import GAINS, Convolution, GroupNorm, channels_last, dense
from jaxsci.networks.layers import Activation, ActivationName, check_activation


@dataclasses.dataclass(frozen=True)
class UNet(FlaxNetwork):
    r"""A U-Net of residual blocks, ``[inputs, *space] -> [outputs, *space]``.

    Down: `blocks` blocks h + C_2 sigma(C_1 sigma(h)), then a convolution centred on every second node; `levels` times, with
    `growth` times as many channels each. Up: linear interpolation to twice as many nodes, next to the fields that were there on
    the way down, and blocks again. So a node sees far for a small price, and the finest scales pass by the skips.

    A coarse grid is every second node of the finer one. A periodic axis has a multiple of 2^levels nodes, an axis between walls
    one more, as both walls keep their nodes on every level. On periodic axes the network commutes with translations by 2^levels
    nodes, and not by fewer.

    Args:
      dimension: axes of the grid, 1, 2 or 3.
      channels: width of the hidden fields on the finest grid.
      levels: how often the grid is halved.
      blocks: on each level and way.
      growth: of the channels from level to level.
      kernel: nodes along each axis, odd.
      groups: of the channels, normalised over all nodes before each activation; none by default. The norm removes the size of
        the fields, which a time step may need.
      borders: see `ResNet`.
      activation: see `MLP`.
    Raises:
      ValueError: a grid that cannot be halved so often, when it is applied.
    Reference: Ronneberger, Fischer & Brox (2015), MICCAI; Ho, Jain & Abbeel (2020), NeurIPS, appendix B, and Gupta &
    Brandstetter (2022), arXiv:2209.15616 ("modern U-Net"), for the residual blocks, here without attention, and with linear
    interpolation where they have a transposed convolution, which imprints its stride on the fields.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.networks.unet import UNet
      >>> network = UNet(dimension=2, channels=4, levels=2, borders=("periodic", "even"))
      >>> parameters = network.init(jax.random.key(0), inputs=1, outputs=2)
      >>> [jax.eval_shape(network.apply, parameters, jnp.ones((1, n, n + 1))).shape for n in (8, 12)]
      [(2, 8, 9), (2, 12, 13)]
    """

    dimension: int = 2
    channels: int = 16
    levels: int = 3
    blocks: int = 1
    growth: int = 2
    kernel: int = 3
    groups: int | None = None
    borders: Borders = "periodic"
    activation: ActivationName = "gelu"

    def __post_init__(self):
        check_options(self, "dimension", "channels", "levels", "blocks", "growth", "kernel")
        if self.kernel % 2 == 0:
            raise ValueError(f"UNet: kernel must be odd, with a node in the middle, got {self.kernel}.")
        if self.groups is not None and not (is_whole(self.groups) and self.groups > 0 and self.channels % self.groups == 0):
            raise ValueError(
                f"UNet: groups must be None or a positive whole number that divides the {self.channels} channels, got "
                f"{self.groups!r}."
            )
        check_borders("UNet", self.borders)
        per_axis("UNet", self.borders, self.dimension)
        check_activation("UNet", self.activation)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Levels(self, inputs, outputs, rngs)


class _Levels(nnx.Module):
    def __init__(self, network: UNet, inputs: int, outputs: int, rngs: nnx.Rngs):
        borders = per_axis("UNet", network.borders, network.dimension)
        widths = [network.channels * network.growth**level for level in range(network.levels + 1)]

        def blocks(inputs: int, width: int) -> nnx.List:
            sizes = [(inputs, width)] + [(width, width)] * (network.blocks - 1)
            return nnx.List([_Block(network, size, borders, rngs) for size in sizes])

        def halved(size: tuple[int, int]) -> Convolution:
            return Convolution("UNet", size, network.kernel, borders, rngs, stride=2)

        pairs = list(itertools.pairwise(widths))
        self.lift = Convolution("UNet", (inputs, widths[0]), network.kernel, borders, rngs)
        self.down = nnx.List([blocks(width, width) for width in widths])
        self.halve = nnx.List([halved(pair) for pair in pairs])
        self.narrow = nnx.List([dense(wide, width, rngs) for width, wide in pairs])
        self.up = nnx.List([blocks(2 * width, width) for width in widths[:-1]])
        self.last = _Sigma(network, widths[0])
        self.project = dense(widths[0], outputs, rngs, GAINS[network.activation])
        self.borders, self.levels = borders, network.levels

    def __call__(self, a):
        h = channels_last("UNet", a, len(self.borders), self.lift.kernel[...])
        self._check_grid(h.shape[:-1])
        h = self.lift(h)
        passed = []
        for level, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h)
            if level < self.levels:
                passed.append(h)
                h = self.halve[level](h)
        for level in reversed(range(self.levels)):
            h = jnp.concatenate([_doubled(self.narrow[level](h), self.borders), passed[level]], -1)
            for block in self.up[level]:
                h = block(h)
        return jnp.moveaxis(hold(self.project(self.last(h)), self.borders), -1, 0)

    def _check_grid(self, space: tuple[int, ...]) -> None:
        multiple = 2**self.levels
        for axis, (n, border) in enumerate(zip(space, self.borders, strict=True)):
            extra = 0 if border == "periodic" else 1
            if n <= extra or (n - extra) % multiple:
                wanted = f"a multiple of 2^{self.levels} = {multiple} nodes" + (
                    " plus 1, as both walls have one" if extra else ""
                )
                raise ValueError(f"UNet: axis {axis} ({border}) needs {wanted}; got {n}. Change the grid or levels.")


class _Sigma(nnx.Module):
    """The activation, after a norm where there is one."""

    def __init__(self, network: UNet, width: int):
        self.norm = None if network.groups is None else GroupNorm(width, network.groups)
        self.activation = Activation(network.activation, width)

    def __call__(self, h):
        return self.activation(h if self.norm is None else self.norm(h))


class _Block(nnx.Module):
    def __init__(self, network: UNet, sizes: tuple[int, int], borders: tuple[str, ...], rngs: nnx.Rngs):
        inputs, width = sizes
        gain, depth = GAINS[network.activation], network.blocks * (2 * network.levels + 1)
        self.sigmas = nnx.List([_Sigma(network, inputs), _Sigma(network, width)])
        self.convolutions = nnx.List([
            Convolution("UNet", (inputs, width), network.kernel, borders, rngs, gain=gain),
            Convolution("UNet", (width, width), network.kernel, borders, rngs, gain=gain / math.sqrt(depth)),
        ])  # fmt: skip
        self.shortcut = None if inputs == width else dense(inputs, width, rngs)

    def __call__(self, h):
        change = h
        for sigma, convolution in zip(self.sigmas, self.convolutions, strict=True):
            change = convolution(sigma(change))
        return change + (h if self.shortcut is None else self.shortcut(h))


def _doubled(h, borders: tuple[str, ...]):
    """Linear interpolation to twice as many intervals; the coarse nodes keep their values."""
    for axis, border in enumerate(borders):
        own = jnp.moveaxis(h, axis, 0)
        here, there = (own, jnp.roll(own, -1, 0)) if border == "periodic" else (own[:-1], own[1:])
        finer = jnp.stack([here, (here + there) / 2], 1).reshape(2 * here.shape[0], *here.shape[1:])
        h = jnp.moveaxis(finer if border == "periodic" else jnp.concatenate([finer, own[-1:]]), 0, axis)
    return h
