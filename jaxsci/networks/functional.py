"""The boundary between Flax modules and the library: flat parameter dictionaries and pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxsci._types import Key

Parameters = dict[str, Any]  # {"layers/0/kernel": array, ...}


class Network(Protocol):
    """A network as the library uses it: how to make parameters, and a pure function of them and of ONE input.

    `jaxsci.networks.MLP` is one; so is any object with these two methods, a wrapper of a Linen or Equinox network included.
    """

    def init(self, key: Key, inputs: int, outputs: int) -> Parameters:
        """Parameters for `inputs` numbers in and `outputs` numbers out, in the default floating-point type."""
        ...

    def apply(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        """``[inputs] -> [outputs]``."""
        ...


def functional(module: nnx.Module) -> tuple[Parameters, Callable[..., Any]]:
    """Split an NNX module into a flat, string-keyed parameter dictionary and a pure function.

    Flat string keys survive `numpy.savez`, safetensors, orbax and `jax.export`, and print well. The function can be jitted,
    differentiated and mapped like any other; the module itself is not used again.

    Returns:
      ``(parameters, apply)`` with ``apply(parameters, *inputs)``.
    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxsci.networks import functional
      >>> parameters, apply = functional(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
      >>> sorted(parameters), apply(parameters, jnp.ones(2)).shape
      (['bias', 'kernel'], (3,))
    """
    graph, state = nnx.split(module)
    leaves, structure = jax.tree_util.tree_flatten_with_path(nnx.as_pure(state))
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]

    def apply(parameters: Parameters, *inputs: Any) -> Any:
        state = jax.tree.unflatten(structure, [parameters[name] for name in names])
        return nnx.merge(graph, state)(*inputs)

    return dict(zip(names, (leaf for _, leaf in leaves), strict=True)), apply
