"""The boundary between Flax modules and the library: flat parameter dictionaries and pure functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsci._checks import check_keys
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
        check_keys("parameter", parameters, names, complete=True)
        state = jax.tree.unflatten(structure, [parameters[name] for name in names])
        return nnx.merge(graph, state)(*inputs)

    return dict(zip(names, (leaf for _, leaf in leaves), strict=True)), apply


class FlaxNetwork:
    """``init`` and ``apply`` of a frozen description that builds one Flax module.

    Shapes live in the parameters only: a module computes from the arrays that it is given, so that one template serves every
    number of outputs, and no array of it is kept.
    """

    def module(self, inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Module:
        """The Flax module, with parameters in the default floating-point type."""
        raise NotImplementedError(f"{type(self).__name__} must build its module.")

    def init(self, key: Key, inputs: int, outputs: int) -> Parameters:
        return functional(self.module(inputs, outputs, nnx.Rngs(params=key)))[0]

    def apply(self, parameters: Parameters, z: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        return _pure(self, jnp.shape(z)[0])(parameters, z)


@functools.lru_cache(maxsize=64)
def _pure(network: Any, inputs: int) -> Callable[[Parameters, Any], Any]:
    """The pure function of a network's structure, made once."""
    return functional(nnx.eval_shape(lambda: network.module(inputs, 1, nnx.Rngs(params=jax.random.key(0)))))[1]


# --- networks made of networks ------------------------------------------------------------------------------------------


def joined(parts: dict[str, Parameters]) -> Parameters:
    """The parameters of several networks in one flat dictionary: ``{"branch": {"bias": b}}`` to ``{"branch/bias": b}``."""
    return {f"{part}/{name}": leaf for part, parameters in parts.items() for name, leaf in parameters.items()}


def part_of(parameters: Parameters, part: str) -> Parameters:
    """The parameters of one of them, by its own names."""
    start = part + "/"
    return {name.removeprefix(start): leaf for name, leaf in parameters.items() if name.startswith(start)}
