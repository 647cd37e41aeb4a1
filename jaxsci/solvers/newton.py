"""Newton's method with the derivative of its root: by the implicit function theorem, to any order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_MOST = 50  # iterations; a root that is not found shows as NaN


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 3))
def root(function: Callable, solve: Callable, guess: Any, static: Any, arguments: Any) -> Any:
    """w with function(static, w, arguments) = 0, near a guess; NaN where the iteration does not settle.

    Args:
      function: closes over nothing that is traced.
      solve: ``solve(static, w, arguments, r)`` is J(w)^-1 r with the Jacobian J of the function in w.
    """

    def unsettled(carry):
        _, change, iteration = carry
        return (change > 1) & (iteration < _MOST)

    def improve(carry):
        w, _, iteration = carry
        step = solve(static, w, arguments, function(static, w, arguments))
        return w - step, jnp.max(jnp.abs(step)) / (tolerance * (jnp.max(jnp.abs(w)) + tiny)), iteration + 1

    # An update of this size leaves an error of about its square.
    tolerance, tiny = 0.1 * jnp.finfo(guess.dtype).eps ** 0.5, jnp.finfo(guess.dtype).tiny
    w, change, _ = jax.lax.while_loop(unsettled, improve, (guess, jnp.asarray(jnp.inf, guess.dtype), 0))
    return jnp.where(change <= 1, w, jnp.nan)


@root.defjvp
def _root_jvp(function, solve, static, primals, tangents):
    guess, arguments = primals
    w = root(function, solve, guess, static, arguments)
    change = jax.jvp(lambda a: function(static, w, a), (arguments,), (tangents[1],))[1]
    return w, -solve(static, w, arguments, change)
