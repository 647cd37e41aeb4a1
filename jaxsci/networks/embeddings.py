"""Embeddings: what a network does to its inputs before the first layer. Any of them goes with any trunk."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsci._checks import is_whole


class Embedding(Protocol):
    """A frozen description of a map of ONE input ``[inputs]`` to features."""

    def features(self, inputs: int) -> int:
        """How many features there are."""
        ...

    def module(self, inputs: int) -> Any:
        """A Flax module that computes them."""
        ...


def check_embedding(network: str, embedding: Any) -> None:
    """An embedding, or none."""
    if embedding is None or (
        callable(getattr(embedding, "features", None)) and callable(getattr(embedding, "module", None))
    ):
        return
    raise TypeError(
        f"{network}: embedding must be None or one of jaxsci.networks, as FourierFeatures(scales=(1.0, 5.0)), got {embedding!r}."
    )


def _check_count(name: str, what: str, count: Any) -> None:
    if not (is_whole(count) and count > 0):
        raise ValueError(f"{name}: {what} must be a positive whole number, got {count!r}.")


@dataclasses.dataclass(frozen=True)
class FourierFeatures:
    r"""Random Fourier features of several scales: [cos(B z), sin(B z)] with B_ij ~ N(0, scale^2), fixed.

    A network learns the low frequencies of its inputs first; the scales decide which of the target's are low. In radians per
    unit of z, where inputs fill [-1, 1]: a scale of pi k puts about k waves along an axis.

    Args:
      scales: standard deviations of the frequencies, each with `count` random rows of B.
      count: frequencies per scale; each gives two features.
      seed: of B, which is part of the description and no parameter.
    Reference: Tancik et al. (2020), NeurIPS, eq. 5 (with their 2 pi in the scale); Wang, Wang & Perdikaris (2021), Comput.
    Methods Appl. Mech. Eng. 384, 113938, eq. 3.18, for several scales.
    Example:
      >>> import jax, jaxsci as js
      >>> features = js.networks.FourierFeatures(scales=(1.0, 10.0), count=16)
      >>> parameters = js.networks.MLP((20,), embedding=features).init(jax.random.key(0), inputs=2, outputs=1)
      >>> parameters["layers/0/kernel"].shape
      (64, 20)
    """

    scales: tuple[float, ...] = (2.0,)
    count: int = 32
    seed: int = 0

    def __post_init__(self):
        positive = isinstance(self.scales, tuple) and all(
            isinstance(s, float | int) and 0 < s < math.inf for s in self.scales
        )
        if not (positive and self.scales):
            raise ValueError(
                f"FourierFeatures: scales must be a tuple of positive numbers, as in (1.0, 10.0), got {self.scales!r}."
            )
        _check_count("FourierFeatures", "count", self.count)

    def features(self, inputs: int) -> int:
        return 2 * self.count * len(self.scales)

    def module(self, inputs: int) -> nnx.Module:
        return _Fourier(self)


class _Fourier(nnx.Module):
    def __init__(self, description: FourierFeatures):
        self.description = description

    def __call__(self, z):
        frequencies = jnp.asarray(_frequencies(self.description, z.shape[0]), z.dtype)
        angles = frequencies @ z
        return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)])


@functools.lru_cache(maxsize=32)
def _frequencies(description: FourierFeatures, inputs: int) -> np.ndarray:
    """B, ``[scales * count, inputs]``: made again from its seed wherever it is needed."""
    normal = np.random.default_rng(description.seed).normal(size=(len(description.scales), description.count, inputs))
    return (np.asarray(description.scales)[:, None, None] * normal).reshape(-1, inputs)


@dataclasses.dataclass(frozen=True)
class PeriodicEmbedding:
    r"""Some inputs replaced by [cos(k w z_i), sin(k w z_i)], w = 2 pi / period, k = 1 .. harmonics: periodic exactly.

    `jaxsci.learning.HardConditions` does this for the periodic axes of a problem; here is what it leaves: a quantity that is
    periodic in time, a period that is not known, a field without a problem.

    Args:
      axes: which inputs, by index; the others pass unchanged, before these.
      period: in units of z: 2.0 is the whole of [-1, 1].
      harmonics: how many multiples of the frequency.
      trainable: one frequency for each of the axes becomes a parameter that starts at w.
    Reference: Dong & Ni (2021), J. Comput. Phys. 435, 110242; Wang, Sankaran, Wang & Perdikaris (2023), arXiv:2308.08468,
    section 5.2, for trainable periods in time.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> network = js.networks.MLP((8,), embedding=js.networks.PeriodicEmbedding(axes=(1,), harmonics=2))
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> here, there = (network.apply(parameters, jnp.array([0.3, x])) for x in (-0.5, 1.5))
      >>> bool(jnp.abs(here - there)[0] < 1e-6)
      True
    """

    axes: tuple[int, ...]
    period: float = 2.0
    harmonics: int = 1
    trainable: bool = False

    def __post_init__(self):
        whole = isinstance(self.axes, tuple) and all(is_whole(axis) and axis >= 0 for axis in self.axes)
        if not (whole and self.axes and len(set(self.axes)) == len(self.axes)):
            raise ValueError(
                f"PeriodicEmbedding: axes must be a tuple of different indices of inputs, as in (1,), got {self.axes!r}."
            )
        if not 0 < self.period < math.inf:
            raise ValueError(f"PeriodicEmbedding: period must be positive, got {self.period!r}.")
        _check_count("PeriodicEmbedding", "harmonics", self.harmonics)

    def features(self, inputs: int) -> int:
        if max(self.axes) >= inputs:
            raise ValueError(f"PeriodicEmbedding: axes are {self.axes!r}, but there are only {inputs} inputs.")
        return inputs - len(self.axes) + 2 * self.harmonics * len(self.axes)

    def module(self, inputs: int) -> nnx.Module:
        return _Periodic(self)


class _Periodic(nnx.Module):
    def __init__(self, description: PeriodicEmbedding):
        self.description = description
        frequencies = jnp.full(len(description.axes), 2 * math.pi / description.period, jnp.result_type(float))
        self.frequencies = nnx.Param(frequencies) if description.trainable else None

    def __call__(self, z):
        axes = self.description.axes
        rest = [z[i : i + 1] for i in range(z.shape[0]) if i not in axes]
        frequencies = 2 * math.pi / self.description.period if self.frequencies is None else self.frequencies[...]
        angles = jnp.stack([z[i] for i in axes]) * frequencies
        multiples = angles[:, None] * np.arange(1, self.description.harmonics + 1, dtype=z.dtype)
        return jnp.concatenate([*rest, jnp.cos(multiples).ravel(), jnp.sin(multiples).ravel()])


@dataclasses.dataclass(frozen=True)
class Harmonics:
    r"""Pairs of inputs that are cos and sin of one angle, followed by cos(k a) and sin(k a) for k = 2 .. count.

    Periodic axes of a problem reach a network as such pairs (`jaxsci.learning.HardConditions`). The multiples come from
    (cos a + i sin a)^k, so that the period stays exact.

    Args:
      pairs: indices (cos, sin) of the inputs: ((1, 2),) for a field of t and a periodic x.
      count: the highest multiple.
    Reference: Dong & Ni (2021), J. Comput. Phys. 435, 110242, section 2.2.
    Example:
      >>> import jax, jaxsci as js
      >>> network = js.networks.MLP((8,), embedding=js.networks.Harmonics(pairs=((1, 2),), count=4))
      >>> network.init(jax.random.key(0), inputs=3, outputs=1)["layers/0/kernel"].shape
      (9, 8)
    """

    pairs: tuple[tuple[int, int], ...]
    count: int = 4

    def __post_init__(self):
        of_two = isinstance(self.pairs, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.pairs)
        if not (of_two and self.pairs and all(is_whole(i) and i >= 0 for pair in self.pairs for i in pair)):
            raise ValueError(
                f"Harmonics: pairs must be a tuple of (cos, sin) indices of inputs, as in ((1, 2),), got {self.pairs!r}."
            )
        _check_count("Harmonics", "count", self.count)

    def features(self, inputs: int) -> int:
        if max(max(pair) for pair in self.pairs) >= inputs:
            raise ValueError(f"Harmonics: pairs are {self.pairs!r}, but there are only {inputs} inputs.")
        return inputs + 2 * (self.count - 1) * len(self.pairs)

    def module(self, inputs: int) -> nnx.Module:
        return _Harmonics(self)


class _Harmonics(nnx.Module):
    def __init__(self, description: Harmonics):
        self.description = description

    def __call__(self, z):
        features = [z]
        for i, j in self.description.pairs:
            cos, sin = z[i], z[j]
            for _ in range(2, self.description.count + 1):
                cos, sin = cos * z[i] - sin * z[j], cos * z[j] + sin * z[i]
                features.append(jnp.stack([cos, sin]))
        return jnp.concatenate(features)
