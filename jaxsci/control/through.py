"""Straight-through estimators: whole numbers and events forward, the derivative of what they round backward.

The derivative is not that of the function (which is 0 almost everywhere) and is biased; it is what makes integer controls
trainable by gradients.

Reference: Bengio, Leonard & Courville (2013), arXiv:1308.3432, section 4; Jang, Gu & Poole (2017), arXiv:1611.01144.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsci._types import Key


def through(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`function` forward, the identity backward: ``through(jnp.round)``.

    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> value, slope = jax.value_and_grad(js.control.through(jnp.round))(1.7)
      >>> print(value, slope)
      2.0 1.0
    """
    return lambda x: jax.tree.map(lambda leaf: leaf + jax.lax.stop_gradient(function(leaf) - leaf), x)


def round_through(x: Any) -> Any:
    """The nearest whole number, with the derivative of the identity; leaf by leaf."""
    return through(jnp.round)(x)


def bernoulli_through(key: Key, probability: Float[Array, "..."]) -> Float[Array, "..."]:
    """A draw of 0 or 1 with the given probability of 1, whose derivative in the probability is taken to be 1.

    That is the derivative of the mean, so that sums of many draws have the right one.
    """
    drawn = jax.random.bernoulli(key, probability).astype(jnp.result_type(probability))
    return probability + jax.lax.stop_gradient(drawn - probability)


def categorical_through(
    key: Key, logits: Float[Array, "... choices"], temperature: Any = 1.0
) -> Float[Array, "... choices"]:
    """A one-hot draw from softmax(logits); backward, the derivative of the softmax of the same draw at a temperature (Gumbel)."""
    noisy = logits + jax.random.gumbel(key, jnp.shape(logits), jnp.result_type(logits))
    soft = jax.nn.softmax(noisy / temperature)
    hard = jax.nn.one_hot(jnp.argmax(noisy, axis=-1), jnp.shape(logits)[-1], dtype=soft.dtype)
    return soft + jax.lax.stop_gradient(hard - soft)
