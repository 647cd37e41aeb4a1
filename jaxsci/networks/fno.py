"""Fourier neural operators on periodic grids of any dimension."""

from __future__ import annotations

import dataclasses
import math
import string

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsci._checks import is_whole
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.layers import Activation, ActivationName, Dense, check_activation


@dataclasses.dataclass(frozen=True)
class FNO(FlaxNetwork):
    r"""A Fourier neural operator: grids in, grids out, ``[inputs, *space] -> [outputs, *space]``.

        h_0 = P a,   h_{l+1} = sigma(F^-1(R_l F h_l) + W_l h_l + b_l),   u = Q_2 sigma(Q_1 h_L)

    P, W, Q act on the channels of a point; R_l is a complex matrix for each kept wavenumber, which is why the same parameters
    serve every grid that is fine enough. It commutes with translations of a periodic grid; give the coordinates as inputs where
    it must not, and pad axes that are not periodic.

    Args:
      modes: how many wavenumbers |k| = 0 .. modes - 1 are kept along each axis; its length is the dimension.
      channels: width of the hidden fields.
      layers: how many.
      activation: see `MLP`.
    Raises:
      ValueError: a grid with 2 (modes - 1) points or fewer along an axis, when it is applied.
    Reference: Li et al. (2021), Fourier neural operator, ICLR, section 4; with weights R ~ N(0, 1 / channels), so that a kept
    mode keeps its size.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> network = js.networks.FNO(modes=(4, 4), channels=8, layers=2)
      >>> parameters = network.init(jax.random.key(0), inputs=1, outputs=2)
      >>> [jax.eval_shape(network.apply, parameters, jnp.ones((1, n, n))).shape for n in (16, 24)]
      [(2, 16, 16), (2, 24, 24)]
    """

    modes: tuple[int, ...]
    channels: int = 32
    layers: int = 4
    activation: ActivationName = "gelu"

    def __post_init__(self):
        whole = isinstance(self.modes, tuple) and all(is_whole(m) and m > 0 for m in self.modes)
        if not (whole and self.modes):
            raise ValueError(f"FNO: modes must be a tuple of positive whole numbers, one per axis, got {self.modes!r}.")
        for name in ("channels", "layers"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"FNO: {name} must be a positive whole number, got {getattr(self, name)!r}.")
        check_activation("FNO", self.activation)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Operator(self, inputs, outputs, rngs)


class _Operator(nnx.Module):
    """Channels stand last inside."""

    def __init__(self, network: FNO, inputs: int, outputs: int, rngs: nnx.Rngs):
        width = network.channels
        self.lift = Dense(inputs, width, rngs)
        self.spectral = nnx.List([SpectralConvolution(network.modes, width, rngs) for _ in range(network.layers)])
        self.pointwise = nnx.List([Dense(width, width, rngs) for _ in range(network.layers)])
        self.project = nnx.List([Dense(width, 2 * width, rngs), Dense(2 * width, outputs, rngs)])
        self.activations = nnx.List([Activation(network.activation, width) for _ in range(network.layers)])
        self.last = Activation(network.activation, 2 * width)

    def __call__(self, a):
        h = self.lift(jnp.moveaxis(a, 0, -1))
        for spectral, pointwise, activation in zip(self.spectral, self.pointwise, self.activations, strict=True):
            h = activation(spectral(h) + pointwise(h))
        return jnp.moveaxis(self.project[1](self.last(self.project[0](h))), -1, 0)


class SpectralConvolution(nnx.Module):
    """A convolution by multiplication of the low Fourier modes, ``[*space, channels] -> [*space, channels]``."""

    def __init__(self, modes: tuple[int, ...], channels: int, rngs: nnx.Rngs):
        kept = (*(2 * m - 1 for m in modes[:-1]), modes[-1])
        shape = (2, channels, channels, *kept)  # real and imaginary part, from, to, wavenumbers
        deviation = math.sqrt(0.5 / channels)
        self.weights = nnx.Param(deviation * jax.random.normal(rngs.params(), shape, jnp.result_type(float)))
        self.modes = modes

    def __call__(self, h):
        space, d = h.shape[:-1], len(self.modes)
        if len(space) != d or any(n <= 2 * (m - 1) for n, m in zip(space, self.modes, strict=True)):
            raise ValueError(
                f"FNO: a grid of {space} points cannot carry modes {self.modes}: it needs one axis for each, with more than "
                "2 (modes - 1) points."
            )
        spectrum = jnp.fft.rfftn(h, axes=range(d), norm="forward")
        spectrum = spectrum[(slice(None),) * (d - 1) + (slice(0, self.modes[-1]),)]
        for axis, m in enumerate(self.modes[:-1]):
            low = jax.lax.slice_in_dim(spectrum, 0, m, axis=axis)
            high = jax.lax.slice_in_dim(spectrum, spectrum.shape[axis] - m + 1, None, axis=axis)
            spectrum = jnp.concatenate([low, high], axis=axis)
        at = string.ascii_lowercase[:d]
        weights = self.weights[...]
        spectrum = jnp.einsum(f"{at}I,IO{at}->{at}O", spectrum, weights[0] + 1j * weights[1])
        for axis, m in enumerate(self.modes[:-1]):
            low, high = jnp.split(spectrum, [m], axis=axis)
            gap = (*spectrum.shape[:axis], space[axis] - 2 * m + 1, *spectrum.shape[axis + 1 :])
            spectrum = jnp.concatenate([low, jnp.zeros(gap, spectrum.dtype), high], axis=axis)
        return jnp.fft.irfftn(spectrum, s=space, axes=range(d), norm="forward")
