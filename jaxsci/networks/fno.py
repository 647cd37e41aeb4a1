r"""Fourier neural operators on grids of any dimension.

What costs time on a processor is not the arithmetic but fast transforms of all modes of which few are kept, complex products
and copies. Here the kept modes are sums over the grid, one real matrix product per axis, and the mixing of channels is one real
product per mode. Fields are held as ``[x_d, ..., x_1, (batch,) channels]``: then every product reads its operands as they lie,
and every copy moves whole rows of channels. A batch axis of `jax.vmap` is put there by a product of no contracted axis.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsci._checks import is_whole
from jaxsci.networks.functional import FlaxNetwork
from jaxsci.networks.grid_products import affine, left_product
from jaxsci.networks.layers import Activation, ActivationName, Dense, check_activation, normal

Border = Literal["periodic", "even", "odd"]


@dataclasses.dataclass(frozen=True)
class FNO(FlaxNetwork):
    r"""A Fourier neural operator: grids in, grids out, ``[inputs, *space] -> [outputs, *space]``.

        h_0 = P a,   h_{l+1} = sigma(F^-1(R_l F h_l) + W_l h_l + b_l),   u = Q_2 sigma(Q_1 h_L)

    P, W, Q act on the channels of a point; R_l is a complex matrix for each kept wavenumber, which is why the same parameters
    serve every grid that is fine enough. It commutes with translations of a periodic grid; give the coordinates as inputs where
    it must not.

    Args:
      modes: how many wavenumbers |k| = 0 .. modes - 1 are kept along each axis; its length is the dimension.
      channels: width of the hidden fields.
      layers: how many.
      activation: see `MLP`.
      borders: of each axis, periodic if not given. "even" and "odd" are for the n + 1 nodes between two walls, both included:
        the network works on the mirror images, a period of 2 n nodes, and the output is the even part of what it finds (a zero
        slope at the walls) or the odd part (zero at the walls). All inputs and outputs are mirrored alike.
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
    borders: tuple[Border, ...] = ()

    def __post_init__(self):
        whole = isinstance(self.modes, tuple) and all(is_whole(m) and m > 0 for m in self.modes)
        if not (whole and self.modes):
            raise ValueError(f"FNO: modes must be a tuple of positive whole numbers, one per axis, got {self.modes!r}.")
        for name in ("channels", "layers"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"FNO: {name} must be a positive whole number, got {getattr(self, name)!r}.")
        known = isinstance(self.borders, tuple) and all(b in ("periodic", "even", "odd") for b in self.borders)
        if not known or len(self.borders) not in (0, len(self.modes)):
            raise ValueError(
                f'FNO: borders must be "periodic", "even" or "odd" for each of {len(self.modes)} axes, got {self.borders!r}.'
            )
        check_activation("FNO", self.activation)

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        return _Operator(self, inputs, outputs, rngs)


class _Operator(nnx.Module):
    """Inside, fields are ``[x_d, ..., x_1, channels]``."""

    def __init__(self, network: FNO, inputs: int, outputs: int, rngs: nnx.Rngs):
        width = network.channels
        self.lift = Dense(inputs, width, rngs)
        self.spectral = nnx.List([SpectralConvolution(network.modes, width, rngs) for _ in range(network.layers)])
        self.pointwise = nnx.List([Dense(width, width, rngs) for _ in range(network.layers)])
        self.project = nnx.List([Dense(width, 2 * width, rngs), Dense(2 * width, outputs, rngs)])
        self.activations = nnx.List([Activation(network.activation, width) for _ in range(network.layers)])
        self.last = Activation(network.activation, 2 * width)
        self.borders = network.borders

    def __call__(self, a):
        for axis, border in enumerate(self.borders, 1):
            a = _extended(a, axis, border)
        d = a.ndim - 1
        # Not a transposition, which vmap would write with the batch axis first.
        every = jnp.ones(a.shape[:0:-1], a.dtype)
        a = jax.lax.dot_general(every, a, (((), ()), (tuple(range(d)), tuple(range(d, 0, -1)))))
        ones = 1.0 + 0.0 * a[..., :1]  # a batch axis where the fields have theirs
        h = _dense(self.lift, a, ones)
        for spectral, pointwise, activation in zip(self.spectral, self.pointwise, self.activations, strict=True):
            h = activation(spectral(h) + _dense(pointwise, h, ones))
        u = jnp.transpose(_dense(self.project[1], self.last(_dense(self.project[0], h, ones)), ones))
        for axis, border in enumerate(self.borders, 1):
            u = _restricted(u, axis, border)
        return u


def _dense(layer, h, ones):
    """The layer at every point; its bias as a product as well, for vmap moves the batch axis of a sum to the front."""
    return affine(h, layer.kernel[...]) + affine(ones, layer.bias[...][None])


def _extended(a, axis, border):
    """A field on the n + 1 nodes between two walls, mirrored to 2 n nodes of a period."""
    if border == "periodic":
        return a
    inner = jnp.flip(jax.lax.slice_in_dim(a, 1, a.shape[axis] - 1, axis=axis), axis)
    return jnp.concatenate([a, inner if border == "even" else -inner], axis)


def _restricted(u, axis, border):
    """The even or the odd part of a field about the first wall, on the nodes between the walls."""
    if border == "periodic":
        return u
    mirrored = jnp.roll(jnp.flip(u, axis), 1, axis)
    part = 0.5 * (u + mirrored if border == "even" else u - mirrored)
    return jax.lax.slice_in_dim(part, 0, u.shape[axis] // 2 + 1, axis=axis)


class SpectralConvolution(nnx.Module):
    """A convolution by multiplication of the low Fourier modes, ``[*reversed space, channels]`` to the same."""

    def __init__(self, modes: tuple[int, ...], channels: int, rngs: nnx.Rngs):
        kept = (*(2 * m - 1 for m in modes[:-1]), modes[-1])
        shape = (2, channels, channels, *kept)  # real and imaginary part, from, to, wavenumbers
        deviation = math.sqrt(0.5 / channels)
        self.weights = nnx.Param(normal(rngs.params(), shape, deviation))
        self.modes = modes

    def __call__(self, h):
        space, d = h.shape[-2::-1], len(self.modes)
        if len(space) != d or any(n <= 2 * (m - 1) for n, m in zip(space, self.modes, strict=True)):
            raise ValueError(
                f"FNO: a grid of {space} points cannot carry modes {self.modes}: it needs one axis for each, with more than "
                "2 (modes - 1) points."
            )
        to, _ = _last_axis(space[-1], self.modes[-1])
        s = left_product(to, h, (0,))  # [2, k_d, x_{d-1}, ..., x_1, channels]
        for i in range(d - 2, -1, -1):
            to, _ = _other_axis(space[i], self.modes[i])
            s = left_product(to, s, (0, d - i))  # [2, k_i, ..., k_d, x_{i-1}, ..., channels]
        w = jnp.moveaxis(self.weights[...], (0, 1, 2), (-1, -3, -2))  # [*k, from, to, 2]
        w = jax.lax.optimization_barrier(w)  # else the copy runs where it is read, out of order
        modes = (tuple(range(1, d + 1)), tuple(range(d)))
        p = jax.lax.dot_general(s, w, (((s.ndim - 1,), (d,)), modes))  # [*k, 2, to, 2]
        real, imaginary = (jax.lax.index_in_dim(p, part, d, keepdims=False) for part in (0, 1))
        s = jnp.stack([real[..., 0] - imaginary[..., 1], real[..., 1] + imaginary[..., 0]], d)  # [*k, 2, to]
        for i in range(d - 1):
            _, fro = _other_axis(space[i], self.modes[i])
            s = left_product(fro, s, (0, d) if i == 0 else (i + 1, 1))  # [x_i, 2, x_{i-1}, ..., k_{i+1}, ..., to]
        _, fro = _last_axis(space[-1], self.modes[-1])
        return left_product(fro, s, (0, d) if d == 1 else (d, 1))


@functools.cache
def _last_axis(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A real series to its coefficients of k = 0 .. m - 1, ``[2, m, n]``, and back, ``[n, m, 2]``."""
    k = np.arange(m)
    angle = 2 * np.pi / n * (np.outer(k, np.arange(n)) % n)
    waves = np.stack([np.cos(angle), -np.sin(angle)])
    twice = np.where(k == 0, 1.0, 2.0)[:, None]
    return waves / n, (twice * waves).transpose(2, 1, 0)


@functools.cache
def _other_axis(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A complex series to its coefficients of |k| < m, ``[2, 2 m - 1, 2, n]``, and back, ``[n, 2, 2 m - 1, 2]``."""
    k = np.concatenate([np.arange(m), np.arange(1 - m, 0)])
    angle = 2 * np.pi / n * (np.outer(k, np.arange(n)) % n)
    c, s = np.cos(angle), np.sin(angle)
    to = np.stack([np.stack([c, s], 1), np.stack([-s, c], 1)]) / n
    fro = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)  # [k, 2, n, 2]
    return to, fro.transpose(2, 1, 0, 3)
