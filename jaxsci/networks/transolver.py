"""A transformer for fields: attention among a few tokens, each a weighted mean over the grid."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsci._checks import is_whole
from jaxsci.networks.borders import Borders, check_borders, check_options, hold, per_axis
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.grid_layers import GAINS, LayerNorm, Perceptron, Positions, channels_last, dense
from jaxsci.networks.layers import Activation, ActivationName, Dense, check_activation, normal


@dataclasses.dataclass(frozen=True)
class Transolver(FlaxNetwork):
    r"""A transformer with physics attention, ``[inputs, *space] -> [outputs, *space]``, at a cost linear in the nodes.

        h <- h + A(norm(h)),   h <- h + W_2 sigma(W_1 norm(h))

    A, for each head with node features x_i and f_i (two dense maps of the norm):

        w_ig = softmax_g(x_i S / tau),   z_g = sum_i w_ig f_i / sum_i w_ig,   z' = softmax(Q z (K z)^T / sqrt(c)) V z,
        A_i = sum_g w_ig z'_g, all heads through a last dense map

    so that nodes in a like state share a slice g, and attention is among slices. It knows where a node is from waves of the
    relative coordinates that are added to the inputs, and commutes with no translation; with harmonics=0 it does not know, and
    commutes with every permutation of the nodes.

    Args:
      dimension: axes of the grid, 1, 2 or 3.
      slices: tokens of a head.
      channels: width of the hidden fields.
      heads: of the attention; divides the channels.
      layers: how many.
      expansion: the dense layers are this many times wider.
      harmonics: waves along each axis by which a node knows its place.
      borders: as `ResNet`'s: a "periodic" axis has n nodes and waves of its period; others have nodes on both walls and waves of
        twice the length; outputs are set to zero on walls that are "odd"; "even" and "zero" are the same here.
      activation: see `MLP`.
    Raises:
      ValueError: a grid of another dimension, when it is applied.
    Reference: Wu, Luo, Wang, Wang & Long (2024), Transolver, ICML, section 3.2 and eqs. 2-5; dense maps of a node as on
    irregular meshes (they use convolutions on grids), one S for all heads, tau trainable from 0.5.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.networks.transolver import Transolver
      >>> network = Transolver(dimension=1, slices=4, channels=8, heads=2, layers=2)
      >>> parameters = network.init(jax.random.key(0), inputs=1, outputs=2)
      >>> [jax.eval_shape(network.apply, parameters, jnp.ones((1, n))).shape for n in (16, 24)]
      [(2, 16), (2, 24)]
    """

    dimension: int = 2
    slices: int = 32
    channels: int = 64
    heads: int = 4
    layers: int = 4
    expansion: int = 2
    harmonics: int = 4
    borders: Borders = "periodic"
    activation: ActivationName = "gelu"

    def __post_init__(self):
        check_options(self, "dimension", "slices", "channels", "heads", "layers", "expansion")
        if self.channels % self.heads:
            raise ValueError(f"Transolver: {self.heads} heads must divide the {self.channels} channels.")
        if not (is_whole(self.harmonics) and self.harmonics >= 0):
            raise ValueError(f"Transolver: harmonics must be a whole number, 0 for none, got {self.harmonics!r}.")
        check_borders("Transolver", self.borders)
        per_axis("Transolver", self.borders, self.dimension)
        check_activation("Transolver", self.activation)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Transformer(self, inputs, outputs, rngs)


class _Transformer(nnx.Module):
    """The nodes stand in one row inside."""

    def __init__(self, network: Transolver, inputs: int, outputs: int, rngs: nnx.Rngs):
        width, wide, name = network.channels, network.channels * network.expansion, network.activation
        self.borders = per_axis("Transolver", network.borders, network.dimension)
        self.lift = nnx.List([dense(inputs, wide, rngs), dense(wide, width, rngs, GAINS[name])])
        self.positions = Positions(wide, self.borders, network.harmonics, rngs) if network.harmonics else None
        self.first = Activation(name, wide)
        layers, gain = range(network.layers), 1 / math.sqrt(network.layers)
        self.attention = nnx.List([PhysicsAttention(width, network.heads, network.slices, rngs) for _ in layers])
        self.mixing = nnx.List([Perceptron((width, wide, width), name, rngs, gain=gain) for _ in layers])
        self.norms = nnx.List([LayerNorm(width) for _ in range(2 * network.layers + 1)])
        self.project = dense(width, outputs, rngs)

    def __call__(self, a):
        a = channels_last("Transolver", a, len(self.borders), self.lift[0].kernel[...])
        h, space = self.lift[0](a), a.shape[:-1]
        h = h if self.positions is None else h + self.positions(space)
        h = self.lift[1](self.first(h)).reshape(math.prod(space), -1)
        for layer, (attention, mixing) in enumerate(zip(self.attention, self.mixing, strict=True)):
            h = h + attention(self.norms[2 * layer](h))
            h = h + mixing(self.norms[2 * layer + 1](h))
        u = self.project(self.norms[-1](h)).reshape(*space, -1)
        return jnp.moveaxis(hold(u, self.borders), -1, 0)


class PhysicsAttention(nnx.Module):
    """Attention among slices, ``[nodes, channels] -> [nodes, channels]``, see `Transolver`.

    The dense maps of a head are linear, and means are too: they are applied to the tokens, of which there are few, so that a
    node costs three products of channels x (heads slices) numbers. The gradient takes half the time that it took with heads
    apart.
    """

    def __init__(self, channels: int, heads: int, slices: int, rngs: nnx.Rngs):
        size, dtype = channels // heads, jnp.result_type(float)
        self.states, self.features = dense(channels, channels, rngs), dense(channels, channels, rngs)
        self.slices = Dense(size, slices, rngs, kernel_init=nnx.initializers.orthogonal())
        self.temperature = nnx.Param(jnp.full((heads, 1), 0.5, dtype))
        shape, deviation = (3, size, size), 1 / math.sqrt(size)
        self.tokens = nnx.Param(normal(rngs.params(), shape, deviation))  # query, key, value
        self.join = dense(channels, channels, rngs)
        self.heads = heads

    def __call__(self, h):
        heads, size = self.heads, self.tokens[...].shape[-1]
        into, shift = self._logits()
        weights = jax.nn.softmax((h @ into + shift).reshape(len(h), heads, -1))
        mass = jnp.sum(weights, 0)[..., None]
        flat = weights.reshape(len(h), -1)
        sums = (flat.T @ h).reshape(heads, -1, h.shape[-1])
        kernel, bias = self._of_head(self.features)
        tokens = (jnp.einsum("hgi,ihc->hgc", sums, kernel) + mass * bias) / (mass + 1e-5)
        query, key, value = jnp.einsum("hgc,pcd->phgd", tokens, self.tokens[...])
        attention = jax.nn.softmax(jnp.einsum("hgc,hfc->hgf", query, key) / math.sqrt(size))
        tokens = jnp.einsum("hgf,hfc->hgc", attention, value)
        joined = jnp.einsum("hgc,hco->hgo", tokens, self.join.kernel[...].reshape(heads, size, -1))
        return flat @ joined.reshape(flat.shape[1], -1) + self.join.bias[...]

    def _logits(self):
        """The map from a node to all heads' logits, ``[channels, heads slices]`` and its shift: the product of two."""
        kernel, bias = self._of_head(self.states)
        slices, temperature = self.slices.kernel[...], self.temperature[...]
        into = jnp.einsum("ihc,cg->ihg", kernel, slices) / temperature
        shift = (jnp.einsum("hxc,cg->hg", bias, slices) + self.slices.bias[...]) / temperature
        return into.reshape(len(into), -1), shift.reshape(-1)

    def _of_head(self, layer: Dense):
        """A dense map's kernel ``[channels, heads, size]`` and bias ``[heads, 1, size]``."""
        return layer.kernel[...].reshape(-1, self.heads, self.tokens[...].shape[-1]), layer.bias[...].reshape(
            self.heads, 1, -1
        )
