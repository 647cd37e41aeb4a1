"""The two layers that fields are made of: a dense map, plain or factorised, and an activation, fixed or adaptive."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxsci._checks import is_whole, unknown_name
from jaxsci._types import Key

ActivationName = Literal["tanh", "sin", "gelu", "silu", "stan"]
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": functools.partial(jax.nn.gelu, approximate=True),
    "silu": jax.nn.silu,
    "stan": jnp.tanh,  # and beta z tanh(z), see Activation
}


class Dense(nnx.Module):
    """W z + b, for an input ``[..., inputs]``.

    Factorised: W = V diag(exp s), one s for each output, with s ~ N(1, 0.1^2) and V such that W is what it would have been.
    The function at the start is the same and its gradient is not: each neuron has a step size of its own.

    Reference: Glorot & Bengio (2010) for the initial weights; Wang, Wang, Seidman & Perdikaris (2022), arXiv:2210.01274, eq.
    3.1 and section 4 for the factorisation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rngs: nnx.Rngs,
        *,
        factorised: bool = False,
        kernel_init: Callable[..., Any] | None = None,
        bias_init: Callable[..., Any] = nnx.initializers.zeros,
    ):
        dtype = jnp.result_type(float)
        kernel_key, bias_key = rngs.params(), rngs.params()
        kernel = (kernel_init or nnx.initializers.glorot_normal())(kernel_key, (inputs, outputs), dtype)
        log_scale = None
        if factorised:
            log_scale = 1.0 + 0.1 * jax.random.normal(jax.random.fold_in(bias_key, 1), (outputs,), dtype)
            kernel = kernel / jnp.exp(log_scale)
        self.log_scale = None if log_scale is None else nnx.Param(log_scale)
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(bias_init(bias_key, (outputs,), dtype))

    def __call__(self, z):
        product = z @ self.kernel[...]
        if self.log_scale is not None:
            product = product * jnp.exp(self.log_scale[...])
        return product + self.bias[...]


class Activation(nnx.Module):
    """sigma(a z): a = 1, or adaptive, one trainable slope a for the layer, which is 1 at the start.

    "stan" is tanh(z) + beta z tanh(z) with a trainable beta for each neuron, 1 at the start.

    Reference: Jagtap, Kawaguchi & Karniadakis (2020), J. Comput. Phys. 404, 109136, and Proc. R. Soc. A 476, 20200334 (a slope
    for each layer); Gnanasambandam et al. (2023), Self-scalable tanh (Stan), IEEE TPAMI 45, 15588.
    """

    def __init__(self, name: ActivationName, width: int, *, adaptive: bool = False):
        dtype = jnp.result_type(float)
        self.name = name
        self.slope = nnx.Param(jnp.ones((), dtype)) if adaptive else None
        self.beta = nnx.Param(jnp.ones(width, dtype)) if name == "stan" else None

    def __call__(self, z):
        if self.slope is not None:
            z = self.slope[...] * z
        value = ACTIVATIONS[self.name](z)
        return value if self.beta is None else value * (1.0 + self.beta[...] * z)


def normal(key: Key, shape: tuple[int, ...], deviation: float) -> Array:
    """Normal numbers in the default floating-point type, drawn flat: a processor's compiler takes seconds over several axes."""
    return deviation * jax.random.normal(key, (math.prod(shape),), jnp.result_type(float)).reshape(shape)


def check_widths(network: str, widths: Any, *, equal: bool = False) -> None:
    """Sizes of hidden layers, which some networks need to be one number."""
    whole = isinstance(widths, tuple) and all(is_whole(width) and width > 0 for width in widths)
    if not (whole and widths):
        raise ValueError(f"{network}: widths must be a tuple of positive whole numbers, as in (20, 20, 20), got {widths!r}.")
    if equal and len(set(widths)) > 1:
        raise ValueError(
            f"{network}: the hidden layers are mixed with gates of their own size, so that all widths must be equal, as in "
            f"(20, 20, 20); got {widths!r}."
        )


def check_activation(network: str, name: Any) -> None:
    """A name of the table."""
    if name not in ACTIVATIONS:
        raise ValueError(unknown_name(f"{network}: activation", str(name), ACTIVATIONS))
