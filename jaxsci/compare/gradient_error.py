"""The gradient of a surrogate against the solver's: what a control task or an inverse problem would follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.compare.conservation import on_grid
from jaxsci.compare.field_errors import as_fields, ratio, root
from jaxsci.solvers.gradients import repeat


class GradientError(NamedTuple):
    """A surrogate's gradient against the solver's, ``[*batch]``.

    Attributes:
      relative_l2: |g - g_ref|_2 / |g_ref|_2; 1 is what a gradient of zero has, infinite where it is not finite.
      cosine: <g, g_ref> / (|g|_2 |g_ref|_2); above 0 a small step downhill on the surrogate is downhill. 0 where g is not finite.
    """

    relative_l2: Float[Array, "*batch"]
    cosine: Float[Array, "*batch"]


def gradient_error(
    stepper: Any,
    reference: Any,
    fields: ArrayLike,
    *,
    steps: int,
    functional: Callable[[Any], Any] | None = None,
    key: Key | None = None,
) -> GradientError:
    """The error of d J(u(T)) / d u(0), by reverse mode through the rollout of a surrogate and through the solver's.

    Both start from the same fields on the same grid and reach T = steps dt, the solver with as many steps as its own dt needs.
    A surrogate can be accurate in its values and useless in its gradients: it has learned the fields on the data's manifold,
    not what happens beside it. In a chaotic flow both gradients grow as exp(lambda T): stay within a few Lyapunov times.

    Args:
      stepper: of the surrogate: ``encode``, ``step``, ``dt`` and ``components`` (or ``decode``).
      reference: of the solver, on the same grid.
      fields: starts, ``[*batch, channels, *space]``, the evolved components.
      steps: of the surrogate.
      functional: from final fields ``[channels, *space]`` to a number. By default the integral against a field of white noise,
        drawn once per start: over many starts this compares the whole Jacobians, in the Frobenius norm.
      key: draws these; needed without a functional.
    Returns:
      A `GradientError`; average it over the starts as you see fit.
    Raises:
      ValueError: grids that differ, fields that are not on them, steps whose times do not meet, or no key.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.compare.gradient_error import gradient_error
      >>> problem = js.problems.advection()
      >>> s, half = (js.stepper(problem, js.Spectral(n=16, dt=dt)) for dt in (0.1, 0.05))
      >>> start = jax.random.normal(jax.random.key(0), (3, 1, 16))
      >>> found = gradient_error(s, half, start, steps=4, functional=lambda u: jnp.mean(u**2))
      >>> bool((found.relative_l2 < 1e-4).all()), [f"{c:.3f}" for c in found.cosine]
      (True, ['1.000', '1.000', '1.000'])
    """
    shapes = [tuple(len(axis) for axis in s.grid.values()) for s in (stepper, reference)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"gradient_error: surrogate and solver must have one grid, got {shapes[0]} and {shapes[1]} points; "
            "make the solver's stepper with the surrogate's n."
        )
    array = as_fields("gradient_error", "fields", fields, len(shapes[0]))
    if array.shape[-len(shapes[0]) :] != shapes[0]:
        raise ValueError(f"gradient_error: fields must be [*batch, channels, *{shapes[0]}], got shape {array.shape}.")
    if not is_whole(steps) or steps < 1:
        raise ValueError(f"gradient_error: steps must be a whole number >= 1, got {steps!r}.")
    horizon = steps * float(stepper.dt)
    step = float(reference.dt)
    their_steps = round(horizon / step)
    if their_steps < 1 or abs(their_steps * step - horizon) > 1e-4 * horizon:
        raise ValueError(
            f"gradient_error: {steps} steps of {float(stepper.dt):g} are no multiple of the solver's step, {step:g}."
        )
    if functional is None and key is None:
        raise ValueError("gradient_error: without a functional a random one is drawn: give a key.")
    flat = array.reshape(-1, *array.shape[-len(shapes[0]) - 1 :])
    noise = jnp.zeros_like(flat) if key is None else jax.random.normal(key, flat.shape, flat.dtype)

    def final(which, count, u):
        return on_grid(which, repeat(lambda state, _: which.step(state), which.encode(u), count))

    def compared(u, v):
        objective = functional or (lambda reached: jnp.sum(v * reached))
        ours = jax.grad(lambda x: objective(final(stepper, steps, x)))(u)
        theirs = jax.grad(lambda x: objective(final(reference, their_steps, x)))(u)
        norm = lambda g: root(jnp.sum(g**2))  # noqa: E731
        error, cosine = ratio(norm(ours - theirs), norm(theirs)), jnp.sum(ours * theirs) / (norm(ours) * norm(theirs))
        finite = jnp.isfinite(ours).all()
        return jnp.where(finite, error, jnp.inf), jnp.where(finite & jnp.isfinite(cosine), cosine, 0)

    found = jax.lax.map(lambda pair: compared(*pair), (flat, noise))
    return GradientError(*(x.reshape(array.shape[: -len(shapes[0]) - 1]) for x in found))
