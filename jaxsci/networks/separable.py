"""Separable networks: a network for each coordinate, and sums of products of them."""

from __future__ import annotations

import dataclasses
import functools
import operator
import string
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.networks.functional import Network, Parameters, joined, part_of


@dataclasses.dataclass(frozen=True)
class SPINN:
    r"""N(z)_o = sum_{r=1}^rank prod_i f_i(z_i)_{r,o}: a sum of products of functions of one coordinate each.

    On a tensor grid of n points along each of d axes the networks run at d n points in place of n^d, and so do their derivatives
    along an axis in forward mode; only the sum over the rank costs the product. `on_grid` is for that; differentiate it by
    `jax.jvp` in an axis. At single points it is a network like any other.

    Args:
      factor: the network of one coordinate: any, and the same for all.
      rank: how many products.
      groups: how many inputs belong to each coordinate, ``(1, 2)`` where the second is periodic and comes as cos and sin; by
        default one each.
    Reference: Cho, Nam, Yang, Yun, Hong & Park (2023), Separable PINN, NeurIPS, eq. 5.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> network = js.networks.SPINN(js.networks.MLP((16,)), rank=8)
      >>> parameters = network.init(jax.random.key(0), inputs=3, outputs=1)
      >>> t, x, y = jnp.linspace(0, 1, 5), jnp.linspace(-1, 1, 6), jnp.linspace(-1, 1, 7)
      >>> network.on_grid(parameters, (t, x, y)).shape
      (5, 6, 7, 1)
      >>> u_t = jax.jvp(lambda t: network.on_grid(parameters, (t, x, y)), (t,), (jnp.ones(5),))[1]
    """

    factor: Network
    rank: int = 32
    groups: tuple[int, ...] | None = None

    def __post_init__(self):
        if not (callable(getattr(self.factor, "init", None)) and callable(getattr(self.factor, "apply", None))):
            raise TypeError(f"SPINN: factor must be a network, as js.networks.MLP((32, 32)), got {self.factor!r}.")
        if not (is_whole(self.rank) and self.rank > 0):
            raise ValueError(f"SPINN: rank must be a positive whole number, got {self.rank!r}.")
        whole = isinstance(self.groups, tuple) and all(is_whole(size) and size > 0 for size in self.groups)
        if self.groups is not None and not (whole and self.groups):
            raise ValueError(f"SPINN: groups must be a tuple of positive whole numbers, as in (1, 2), got {self.groups!r}.")

    def _groups(self, inputs: int) -> tuple[int, ...]:
        groups = (1,) * inputs if self.groups is None else self.groups
        if sum(groups) != inputs:
            raise ValueError(f"SPINN: the groups {groups!r} have {sum(groups)} inputs together, but there are {inputs}.")
        return groups

    def init(self, key: Key, inputs: int, outputs: int) -> Parameters:
        groups = self._groups(inputs)
        keys = jax.random.split(key, len(groups))
        return joined({
            str(i): self.factor.init(keys[i], size, self.rank * outputs) for i, size in enumerate(groups)
        })  # fmt: skip

    def apply(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        groups = self._groups(jnp.shape(z)[0])
        starts = [sum(groups[:i]) for i in range(len(groups))]
        factors = [
            self._factor(parameters, i, z[a : a + size]) for i, (a, size) in enumerate(zip(starts, groups, strict=True))
        ]
        return jnp.sum(functools.reduce(operator.mul, factors), axis=0)

    def on_grid(self, parameters: Parameters, axes: Sequence[Any]) -> Float[Array, "*grid outputs"]:
        """Values on a tensor grid.

        Args:
          axes: the inputs of each coordinate, ``[n_i]``, or ``[n_i, size]`` for a group of several.
        """
        columns = [axis[:, None] if jnp.ndim(axis) == 1 else axis for axis in map(jnp.asarray, axes)]
        if len(columns) != len(self._groups(sum(column.shape[1] for column in columns))):
            raise ValueError(f"SPINN.on_grid: {len(columns)} axes were given for the groups {self.groups!r}.")
        factors = [
            jax.vmap(functools.partial(self._factor, parameters, i))(column) for i, column in enumerate(columns)
        ]  # [n_i, rank, outputs]
        letters = string.ascii_lowercase[: len(factors)]
        terms = ",".join(f"{letter}RO" for letter in letters)
        return jnp.einsum(f"{terms}->{letters}O", *factors)

    def _factor(self, parameters: Parameters, i: int, z: Any) -> Any:
        """f_i, ``[rank, outputs]``."""
        return self.factor.apply(part_of(parameters, str(i)), z).reshape(self.rank, -1)
