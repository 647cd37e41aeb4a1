r"""Losses of a learned step on a window of saves.

One evaluation predicts the next K saves from one, e(u) = (e_1, ..., e_K), K = 1 unless saves are bundled. From the first save
u_0 of a window, U evaluations one after the other predict \hat u_1 ... \hat u_{UK}, each from the last save of the one before.
With one unit s_c for each channel (the size of its change from save to save) the loss of the window is

    mean_j |\hat u_j - u_j|^2 / s^2  +  weight  mean_j |\hat u_j - Phi(\hat u_{j-1})|^2 / s^2

where Phi is the solver's own step and means are over saves, channels and places. The second term needs no labels; it vanishes
for the solver's own trajectories, to round-off, as it is made of the same discrete operators. The gradient goes through both of
its sides.

Reference: Um et al. (2020), Solver-in-the-loop, NeurIPS (unrolled); Brandstetter, Worrall & Welling (2022), Message passing
neural PDE solvers, ICLR, sections 3.1 and 3.2 (pushforward, temporal bundling); Sanchez-Gonzalez et al. (2020), ICML (noise);
Koehler et al. (2024), APEBench, NeurIPS, section 3 (unrolled and diverted chains: the residual here is theirs).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

Evaluate = Callable[[Any, Any], Any]  # (fields [channels, *space], t) -> [K, channels, *space]


def chain(
    evaluate: Evaluate,
    fields: Float[Array, "channels ..."],
    t: Any,
    *,
    evaluations: int,
    span: float,
    cut: int | None = None,
) -> Float[Array, "saves channels ..."]:
    """Evaluations one after the other, each from the last save of the one before: ``[evaluations K, channels, *space]``.

    Args:
      evaluate: ``(fields, t) -> [K, channels, *space]``.
      fields, t: where and when to begin.
      span: time that one evaluation covers.
      cut: the gradient goes back through at most so many evaluations: what a block of them begins from counts as given.
    """

    if cut is not None and cut < evaluations:
        is_given = (jnp.arange(evaluations) % cut == 0) & (jnp.arange(evaluations) > 0)
    else:
        is_given = None

    def one(carry, given):
        fields, t = carry
        if given is not None:  # one program for every block: a loop over blocks would hold the network three times
            fields = jnp.where(given, jax.lax.stop_gradient(fields), fields)
        found = evaluate(fields, t)
        return (found[-1], t + span), found

    carry = fields, jnp.asarray(t, fields.dtype)
    if evaluations == 1:
        return one(carry, None)[1]
    found = jax.lax.scan(one, carry, is_given, length=evaluations)[1]
    return found.reshape(-1, *found.shape[2:])


def window_loss(
    evaluate: Evaluate,
    window: Float[Array, "saves channels ..."],
    t: Any,
    unit: Float[ArrayLike, " channels"],
    *,
    bundle: int,
    dt: float,
    cut: int | None = None,
    pushforward: bool = False,
    start: Float[Array, "channels ..."] | None = None,
    weight: float = 0.0,
    solver: Callable[[Any, Any], Any] | None = None,
) -> Float[Array, ""]:
    """The loss of one window of saves, ``[U bundle + 1, channels, *space]``; see above.

    Args:
      evaluate: ``(fields, t) -> [bundle, channels, *space]``.
      t: of the window's first save.
      unit: s, ``[channels]``.
      cut: see `chain`.
      pushforward: all evaluations but the last are made without gradient, and the last alone is scored.
      start: what to begin from instead of the window's first save, the same with noise.
      weight, solver: of the residual, ``(fields, t) -> fields`` one save later.
    """
    evaluations, left = divmod(len(window) - 1, bundle)
    if left or evaluations < 1:
        raise ValueError(f"a window of {len(window)} saves is no start and a multiple of {bundle} saves (the bundle).")
    span, start = bundle * dt, window[0] if start is None else start
    t = jnp.asarray(t, window.dtype)
    if pushforward and evaluations > 1:
        before = chain(evaluate, start, t, evaluations=evaluations - 1, span=span)
        start, t = jax.lax.stop_gradient(before[-1]), t + (evaluations - 1) * span
        window, evaluations = window[-1 - bundle :], 1
    found = chain(evaluate, start, t, evaluations=evaluations, span=span, cut=cut)
    unit = jnp.asarray(unit, window.dtype).reshape(-1, *(1,) * (window.ndim - 2))
    loss = jnp.mean(((found - window[1:]) / unit) ** 2)
    if weight:
        loss = loss + weight * residual_loss(found, start, t, unit, dt, solver)
    return loss


def residual_loss(found: Any, start: Any, t: Any, unit: Any, dt: float, solver: Any) -> Float[Array, ""]:
    """mean_j |u_j - Phi(u_{j-1})|^2 / s^2 of predicted saves ``[saves, channels, *space]`` and the fields before them."""
    before = jnp.concatenate([start[None], found[:-1]])
    times = t + dt * jnp.arange(len(found))
    return jnp.mean(((found - jax.vmap(solver)(before, times)) / unit) ** 2)
