"""Deep operator networks between fields on grids."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsci.networks.borders import Borders, check_borders, check_modes, check_options, hold, per_axis
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.grid_layers import GAINS, Perceptron, Positions, channels_last
from jaxsci.networks.layers import Activation, ActivationName, check_activation, check_widths


@dataclasses.dataclass(frozen=True)
class GridDeepONet(FlaxNetwork):
    r"""A deep operator network from fields to fields on a grid, ``[inputs, *space] -> [outputs, *space]``.

        u_o(x) = sum_{r=1}^rank branch(a)_{r,o} trunk(x)_{r,o} / sqrt(rank) + bias_o

    The branch sees the inputs on a fixed coarse grid of sensors, whatever the grid they come on: along periodic axes the modes
    that the sensors hold, read off at the sensors, so that every grid that resolves a field gives the same numbers; between
    walls means with hat functions as wide as the sensors' spacing. The trunk sees waves of the relative coordinates, and is
    the same for a whole batch. What the sensors do not see is lost, so the network suits smooth fields and starts of few
    parameters; it commutes with no translation. For a network of numbers and coordinates see `DeepONet`.

    Args:
      sensors: nodes of the coarse grid along each axis; its length is the dimension. Between walls, both walls' nodes included.
      branch, trunk: widths of the hidden layers.
      rank: how many products.
      harmonics: waves along each axis that the trunk sees.
      borders: as `ResNet`'s: a "periodic" axis has n nodes; others have nodes on both walls; outputs are set to zero on walls
        that are "odd"; "even" and "zero" are the same here.
      activation: see `MLP`.
    Raises:
      ValueError: a grid with fewer nodes than sensors along an axis, when it is applied.
    Reference: Lu, Jin, Pang, Zhang & Karniadakis (2021), Nat. Mach. Intell. 3, 218, eq. 2 (unstacked); Lu et al. (2022),
    Comput. Methods Appl. Mech. Eng. 393, 114778, section 3.1, for waves as the trunk's inputs and the scale.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.networks.grid_deeponet import GridDeepONet
      >>> network = GridDeepONet(sensors=(8,), branch=(16,), trunk=(16,), rank=8)
      >>> parameters = network.init(jax.random.key(0), inputs=1, outputs=1)
      >>> on = lambda n: network.apply(parameters, jnp.sin(2 * jnp.pi * jnp.arange(n) / n)[None])
      >>> f"{float(abs(on(32)[:, ::2] - on(16)).max()):.3f}"
      '0.000'
    """

    sensors: tuple[int, ...] = (16, 16)
    branch: tuple[int, ...] = (128, 128)
    trunk: tuple[int, ...] = (128, 128, 128)
    rank: int = 64
    harmonics: int = 4
    borders: Borders = "periodic"
    activation: ActivationName = "gelu"

    def __post_init__(self):
        check_modes("GridDeepONet", "sensors", self.sensors)
        for name in ("branch", "trunk"):
            check_widths(f"GridDeepONet: {name}", getattr(self, name))
        check_options(self, "rank", "harmonics")
        check_borders("GridDeepONet", self.borders)
        names = per_axis("GridDeepONet", self.borders, len(self.sensors))
        if any(s < 2 and name != "periodic" for s, name in zip(self.sensors, names, strict=True)):
            raise ValueError(f"GridDeepONet: an axis between walls needs 2 sensors or more, got {self.sensors}.")
        check_activation("GridDeepONet", self.activation)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Products(self, inputs, outputs, rngs)


class _Products(nnx.Module):
    def __init__(self, network: GridDeepONet, inputs: int, outputs: int, rngs: nnx.Rngs):
        self.borders = per_axis("GridDeepONet", network.borders, len(network.sensors))
        self.sensors, self.rank = network.sensors, network.rank
        seen, made = inputs * math.prod(network.sensors), network.rank * outputs
        self.branch = Perceptron((seen, *network.branch, made), network.activation, rngs)
        self.positions = Positions(network.trunk[0], self.borders, network.harmonics, rngs)
        self.first = Activation(network.activation, network.trunk[0])
        self.trunk = Perceptron((*network.trunk, made), network.activation, rngs, taken=GAINS[network.activation])
        self.shift = nnx.Param(jnp.zeros(network.trunk[0], jnp.result_type(float)))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.result_type(float)))

    def __call__(self, a):
        count = math.prod(self.sensors)
        readings = jnp.zeros((self.branch.layers[0].kernel[...].shape[0] // count, 1))  # as many inputs as it takes
        a = channels_last("GridDeepONet", a, len(self.borders), readings)
        space = a.shape[:-1]
        for axis, (n, sensors, border) in enumerate(zip(space, self.sensors, self.borders, strict=True)):
            if n < sensors:
                raise ValueError(
                    f"GridDeepONet: axis {axis} has {n} nodes for {sensors} sensors; use a finer grid or fewer."
                )
            matrix = jnp.asarray(restriction(n, sensors, border), a.dtype)
            a = jnp.moveaxis(jnp.tensordot(matrix, a, (1, axis)), 0, axis)
        weights = self.branch(a.reshape(-1)).reshape(self.rank, -1)
        basis = self.trunk(self.first(self.positions(space) + self.shift[...]))
        basis = basis.reshape(*space, *weights.shape)
        u = jnp.einsum("...ro,ro->...o", basis, weights) / math.sqrt(self.rank) + self.bias[...]
        return jnp.moveaxis(hold(u, self.borders), -1, 0)


@functools.lru_cache(maxsize=32)
def restriction(n: int, sensors: int, border: str) -> np.ndarray:
    """The matrix ``[sensors, n]`` from an axis' nodes to its sensors."""
    if border == "periodic":
        distance = 2 * np.pi * (np.arange(sensors)[:, None] / sensors - np.arange(n) / n)
        k = np.arange(1, (sensors - 1) // 2 + 1)
        return (1 + 2 * np.cos(distance[..., None] * k).sum(-1)) / n
    distance = np.linspace(0, 1, sensors)[:, None] - np.linspace(0, 1, n)
    hats = np.maximum(1 - np.abs(distance) * (sensors - 1), 0)
    return hats / hats.sum(1, keepdims=True)
