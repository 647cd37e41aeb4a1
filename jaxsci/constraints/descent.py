"""Levenberg and Marquardt's method on small dense models of a large sum of squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.constraints.normal_equations import Model


class Descent(NamedTuple):
    """Where an iteration stands."""

    omega: Any
    model: Model
    damping: Any
    growth: Any
    steps: Any
    stuck: Any  # no step lowers the cost any more


def start(model: Model, omega: Any, steps: Any) -> Descent:
    """Before the first step."""
    zero = jnp.sum(omega) * 0  # of the data, so that on a mesh it varies as they do
    return Descent(omega, model, 1e-3 + zero, 2 + zero, steps + zero.astype(int), zero > 0)


def damped_step(model: Model, damping: Any, mask: Any) -> Any:
    """-(H + damping)^-1 g for a positive semidefinite H; zero where the mask is."""
    hessian = model.hessian + jnp.diag(jnp.where(mask, damping, 1.0))
    factor = jax.scipy.linalg.cho_factor(hessian)
    return -jax.scipy.linalg.cho_solve(factor, jnp.where(mask, model.gradient, 0))


def curved_step(model: Model, damping: Any, mask: Any) -> Any:
    """The same for any symmetric H: its eigenvalues are taken positive, so that the step goes down from a saddle too."""
    hessian = jnp.where(mask[:, None] & mask, model.hessian, 0) + jnp.diag(jnp.where(mask, 0.0, 1.0))
    values, vectors = jnp.linalg.eigh(hessian)
    return -vectors @ ((vectors.T @ jnp.where(mask, model.gradient, 0)) / (jnp.abs(values) + damping))


def descend(
    state: Descent,
    model_at: Callable[[Any], Model],
    step_of: Callable[[Model, Any, Any], Any],
    basis: Any,
    mask: Any,
    tolerance: Any,
    max_steps: Any,
) -> Descent:
    """Steps omega + basis z with the damping led by the gain ratio, until the gradient in z is below the tolerance.

    Reference: Nielsen (1999), *Damping parameter in Marquardt's method*, IMM-REP-1999-05.
    """
    eps = jnp.finfo(state.omega.dtype).eps

    def unfinished(s: Descent) -> Any:
        size = jnp.linalg.norm(s.model.gradient)
        return ~(size <= tolerance) & jnp.isfinite(size) & (s.steps < max_steps) & ~s.stuck

    def step(s: Descent) -> Descent:
        z = step_of(s.model, s.damping, mask)
        omega = s.omega + basis @ z
        new = model_at(omega)
        expected = -(s.model.gradient @ z + z @ (s.model.hessian @ z) / 2)
        gain = s.model.cost - new.cost
        # Where the cost is exact to fewer digits than the step is small, the gradient decides.
        flat = jnp.abs(gain) <= 16 * eps * s.model.cost
        better = jnp.linalg.norm(new.gradient) < 0.9 * jnp.linalg.norm(s.model.gradient)
        ratio = jnp.where(flat, jnp.where(better, 1.0, -1.0), gain / jnp.where(expected > 0, expected, 1.0))
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new)]).all()
        accept = finite & (ratio > 1e-4)
        shrink = jnp.clip(1 - (2 * ratio - 1) ** 3, 1 / 9, 2.0)
        damping = jnp.where(accept, jnp.maximum(s.damping * shrink, eps), s.damping * s.growth)
        stuck = ~accept & ((flat & finite) | (damping > 1e12))
        pick = lambda a, b: jnp.where(accept, a, b)  # noqa: E731
        return Descent(
            pick(omega, s.omega), jax.tree.map(pick, new, s.model), damping, pick(2.0, 2 * s.growth), s.steps + 1, stuck
        )

    return jax.lax.while_loop(unfinished, step, state)
