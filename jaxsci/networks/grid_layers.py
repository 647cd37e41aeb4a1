"""The layers of networks on grids, fields as ``[*space, channels]``: convolutions that know the borders, dense maps, norms.

Initial weights keep the variance of what passes: N(0, g^2 / fan-in) with g = 1 where the input is a field, and g from `GAINS`
where it has passed an activation.

Reference: He, Zhang, Ren & Sun (2015), ICCV, eq. 10, with the gain of each activation in place of rectifiers' sqrt(2).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsci.networks.borders import extend, waves
from jaxsci.networks.correlation import correlate
from jaxsci.networks.layers import Activation, ActivationName, Dense, normal

# 1 / sqrt(E sigma(z)^2) for z ~ N(0, 1)
GAINS: dict[str, float] = {"tanh": 1.5925, "sin": 1.5209, "gelu": 1.5336, "silu": 1.6765, "stan": 0.9316}


def dense(inputs: int, outputs: int, rngs: nnx.Rngs, gain: float = 1.0) -> Dense:
    """A dense map that keeps the variance, times gain^2."""
    return Dense(inputs, outputs, rngs, kernel_init=nnx.initializers.normal(gain / math.sqrt(inputs)))


class Perceptron(nnx.Module):
    """Dense maps of these sizes with activations between them.

    `taken` is the gain of the first, 1 for a field as it comes; the variance of what comes out is `gain`^2.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: ActivationName,
        rngs: nnx.Rngs,
        *,
        taken: float = 1.0,
        gain: float = 1.0,
    ):
        gains = [taken] + [GAINS[activation]] * (len(sizes) - 2)
        gains[-1] *= gain
        self.layers = nnx.List([
            dense(a, b, rngs, g) for (a, b), g in zip(itertools.pairwise(sizes), gains, strict=True)
        ])  # fmt: skip
        self.activations = nnx.List([Activation(activation, width) for width in sizes[1:-1]])

    def __call__(self, h):
        for layer, activation in zip(self.layers, self.activations):  # noqa: B905  the last layer is linear
            h = activation(layer(h))
        return self.layers[-1](h)


class Convolution(nnx.Module):
    """A convolution with an odd kernel, centred on every node or on every second one.

    XLA's CPU convolution of two axes is fast with channels last; that of three is 8 times slower than the sum of two-dimensional
    ones over the first axis of the kernel, which is what is done here (and nothing is lost by it elsewhere).
    """

    def __init__(
        self,
        network: str,
        sizes: tuple[int, int],
        kernel: int,
        borders: tuple[str, ...],
        rngs: nnx.Rngs,
        *,
        gain: float = 1.0,
        stride: int = 1,
        dilation: int = 1,
    ):
        d, dtype = len(borders), jnp.result_type(float)
        deviation = gain / math.sqrt(sizes[0] * kernel**d)
        self.kernel = nnx.Param(normal(rngs.params(), (*(kernel,) * d, *sizes), deviation))
        self.bias = nnx.Param(jnp.zeros(sizes[1], dtype))
        self.network, self.borders, self.stride, self.dilation = network, borders, stride, dilation

    def __call__(self, h):
        weights = self.kernel[...]
        h = extend(self.network, h, self.borders, self.dilation * (weights.shape[0] // 2))
        if len(self.borders) < 3:
            return correlate(h[None], weights, self.stride, self.dilation)[0] + self.bias[...]
        centres = h.shape[0] - self.dilation * (weights.shape[0] - 1)
        planes = (h[i * self.dilation :][: centres : self.stride] for i in range(weights.shape[0]))
        products = (correlate(p, w, self.stride, self.dilation) for p, w in zip(planes, weights, strict=True))
        return sum(products, start=self.bias[...])


class GroupNorm(nnx.Module):
    """(h - mean) / deviation over all nodes and the channels of a group, times a scale, plus a shift; Wu & He (2018), ECCV."""

    def __init__(self, channels: int, groups: int):
        dtype = jnp.result_type(float)
        self.scale, self.shift = nnx.Param(jnp.ones(channels, dtype)), nnx.Param(jnp.zeros(channels, dtype))
        self.groups = groups

    def __call__(self, h):
        split = h.reshape(-1, self.groups, h.shape[-1] // self.groups)
        return _standardised(split, (0, 2)).reshape(h.shape) * self.scale[...] + self.shift[...]


class LayerNorm(nnx.Module):
    """(h - mean) / deviation over the channels of a node, times a scale, plus a shift; Ba, Kiros & Hinton (2016)."""

    def __init__(self, channels: int):
        dtype = jnp.result_type(float)
        self.scale, self.shift = nnx.Param(jnp.ones(channels, dtype)), nnx.Param(jnp.zeros(channels, dtype))

    def __call__(self, h):
        return _standardised(h, (-1,)) * self.scale[...] + self.shift[...]


def _standardised(h: Any, axes: tuple[int, ...]) -> Any:
    centred = h - jnp.mean(h, axes, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axes, keepdims=True) + 1e-5)


class Positions(nnx.Module):
    """A dense map of the relative coordinates' waves, ``[*space, outputs]``: axis by axis, so that no mesh of waves is made."""

    def __init__(self, outputs: int, borders: tuple[str, ...], harmonics: int, rngs: nnx.Rngs):
        deviation = 1 / math.sqrt(harmonics * len(borders))
        shape = (len(borders), 2 * harmonics, outputs)
        self.weights = nnx.Param(normal(rngs.params(), shape, deviation))
        self.borders, self.harmonics = borders, harmonics

    def __call__(self, space: tuple[int, ...]):
        total: Any = 0
        for axis, (n, border, weights) in enumerate(zip(space, self.borders, self.weights[...], strict=True)):
            line = jnp.asarray(waves(n, border, self.harmonics), weights.dtype) @ weights
            total = total + line.reshape((1,) * axis + (n,) + (1,) * (len(space) - axis - 1) + (-1,))
        return total


def channels_last(network: str, a: Any, dimension: int, weights: Any) -> Any:
    """``[inputs, *space] -> [*space, inputs]``, for weights ``[..., inputs, outputs]``.

    Raises:
      ValueError: another number of axes, or of inputs than the weights take.
    """
    if a.ndim != dimension + 1:
        raise ValueError(
            f"{network}: a field with {dimension} axes has shape [inputs, {', '.join('xyz'[:dimension])}], got {a.shape}. "
            "Give the network the dimension of the grid; for a batch use jax.vmap."
        )
    if a.shape[0] != weights.shape[-2]:
        raise ValueError(f"{network}: these parameters take {weights.shape[-2]} input fields, got {a.shape[0]}.")
    return jnp.moveaxis(a, 0, -1)
