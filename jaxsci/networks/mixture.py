"""Mixtures: networks that share a domain, each with a part of its own, blended by a partition of unity."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.networks.functional import Network, Parameters, joined, part_of


@dataclasses.dataclass(frozen=True)
class Mixture:
    r"""N(z) = sum_j g_j(z) N_j((z - c_j) / d): experts in windows of space and time, at one or several resolutions.

        g_j(z) ~ exp(-|z - c_j|^2 / 2 (overlap d)^2),  normalised: sum_j g_j = 1 at every level

    The windows are even in [-1, 1], d being their distance along each input; each expert sees its own coordinates. The gates are
    smooth to every order (what is glued together solves equations of any order) and positive everywhere; with several levels
    their mean is taken, so that coarse experts carry what the fine ones would have to agree about.

    Args:
      expert: the network in each window: any, and the same for all.
      windows: for each level the number of windows along each input: ``((4, 1),)`` for four in time, ``((1, 1), (4, 2))`` for a
        coarse level below. On an input with one window the gate does not depend.
      overlap: the width of a gate in window distances.
      trainable: the centres of the windows are parameters, which move to where they are needed.
    Cost: every expert at every point.
    Reference: Moseley, Markham & Nissen-Meyer (2023), FBPINNs, Adv. Comput. Math. 49, 62; Dolean, Heinlein, Mishra & Moseley
    (2024), Comput. Methods Appl. Mech. Eng. 429, 117116, for levels; Jacobs, Jordan, Nowlan & Hinton (1991) for gates.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> network = js.networks.Mixture(js.networks.MLP((8,)), windows=((1, 1), (4, 2)))
      >>> parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
      >>> gates = network.gates(parameters, jnp.array([0.2, -0.7]))
      >>> gates.shape, bool(jnp.abs(gates.sum() - 1) < 1e-6)
      ((9,), True)
    """

    expert: Network
    windows: tuple[tuple[int, ...], ...]
    overlap: float = 0.5
    trainable: bool = False

    def __post_init__(self):
        if not (callable(getattr(self.expert, "init", None)) and callable(getattr(self.expert, "apply", None))):
            raise TypeError(f"Mixture: expert must be a network, as js.networks.MLP((16, 16)), got {self.expert!r}.")
        levels = self.windows if isinstance(self.windows, tuple) else ()
        whole = all(isinstance(level, tuple) and level and all(is_whole(n) and n > 0 for n in level) for level in levels)
        if not (levels and whole and len({len(level) for level in levels}) == 1):
            raise ValueError(
                "Mixture: windows must be a tuple of levels, each with a positive number of windows for every input, as in "
                f"((1, 1), (4, 2)); got {self.windows!r}."
            )
        if not 0 < self.overlap < math.inf:
            raise ValueError(f"Mixture: overlap must be positive, got {self.overlap!r}.")

    def init(self, key: Key, inputs: int, outputs: int) -> Parameters:
        if inputs != len(self.windows[0]):
            raise ValueError(f"Mixture: windows are given for {len(self.windows[0])} inputs, but there are {inputs}.")
        keys = jax.random.split(key, len(_layout(self.windows)[0]))
        experts = [self.expert.init(k, inputs, outputs) for k in keys]
        parameters = joined({"experts": jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)})
        if self.trainable:
            parameters["centres"] = jnp.asarray(_layout(self.windows)[0], jnp.result_type(float))
        return parameters

    def apply(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        outputs = jax.vmap(self.expert.apply)(part_of(parameters, "experts"), self._local(parameters, z))
        return self.gates(parameters, z) @ outputs

    def gates(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " experts"]:
        """The weight of each expert at ONE point; they sum to one."""
        divided = jnp.asarray(_layout(self.windows)[2], z.dtype)  # 0 where an input has one window
        logits = -0.5 / self.overlap**2 * jnp.sum((divided * self._local(parameters, z)) ** 2, axis=-1)
        gates, start = [], 0
        for count in map(math.prod, self.windows):
            level = logits[start : start + count]
            heights = jnp.exp(level - jnp.max(jax.lax.stop_gradient(level)))
            gates.append(heights / (jnp.sum(heights) * len(self.windows)))
            start += count
        return jnp.concatenate(gates)

    def _local(self, parameters: Parameters, z: Any) -> Any:
        """The coordinates of each window, ``[experts, inputs]``: zero at its centre, one at the next."""
        centres, distances, _ = (jnp.asarray(part, z.dtype) for part in _layout(self.windows))
        return (z - (parameters["centres"] if self.trainable else centres)) / distances


@functools.lru_cache(maxsize=32)
def _layout(windows: tuple[tuple[int, ...], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, distances and whether an input is divided, each ``[experts, inputs]``, level after level."""
    centres, distances = [], []
    for level in windows:
        axes = [-1 + (2 * np.arange(n) + 1) / n for n in level]
        centres += list(itertools.product(*axes))
        distances += [[2 / n if n > 1 else 1.0 for n in level]] * math.prod(level)
    divided = np.repeat(np.asarray(windows) > 1, [math.prod(level) for level in windows], axis=0)
    return np.asarray(centres), np.asarray(distances), divided.astype(float)
