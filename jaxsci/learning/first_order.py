"""Stochastic descent by any optax transformation."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxsci.learning.objective import Unknowns
from jaxsci.learning.optimiser import NOT_FINITE, RUNNING, check_positive, repeat


class DescentState(NamedTuple):
    """See `jaxsci.learning.optimiser.State`."""

    unknowns: Unknowns
    loss: Any
    status: Any
    inner: Any  # of the optax transformation


@dataclasses.dataclass(frozen=True)
class FirstOrder:
    """Stochastic descent of the loss by an optax transformation: a rough start for a second-order method.

    Args:
      transformation: any `optax.GradientTransformation`, as `jaxsci.learning.soap(3e-3)`, `optax.contrib.muon(1e-3)` or, with
        a line search of its own, `optax.lbfgs()`; by default Adam from 3e-3, halved four times on the way.
      steps: how many.
      points: per step; drawn anew every `resample` steps.
    """

    transformation: optax.GradientTransformation | None = None
    steps: int = 1000
    points: int = 2000
    resample: int = 100

    def __post_init__(self):
        check_positive(self, "steps", "points", "resample")

    @property
    def chunk(self) -> int:
        return self.resample

    def count(self, parameters: int, equations: int) -> int:
        return self.points

    @property
    def _transformation(self) -> optax.GradientTransformation:
        return self.transformation or _default_adam(self.steps)

    def init(self, objective, unknowns, coefficients):
        dtype = jnp.result_type(*jax.tree.leaves(unknowns))
        return DescentState(unknowns, jnp.asarray(jnp.inf, dtype), jnp.asarray(RUNNING), self._transformation.init(unknowns))

    def advance(self, objective, coefficients, state, batch, count):
        return _descend(objective, self._transformation, count, state, coefficients, batch)


@functools.lru_cache(maxsize=8)
def _default_adam(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.exponential_decay(3e-3, max(steps // 4, 1), 0.5))


@functools.partial(jax.jit, static_argnames=("objective", "transformation", "count"))
def _descend(objective, transformation, count, state, coefficients, batch):
    def loss(unknowns):
        return objective.loss(unknowns, coefficients, batch)

    update = optax.with_extra_args_support(transformation).update

    def step(state):
        value, gradient = jax.value_and_grad(loss)(state.unknowns)
        extra = {"value": value, "grad": gradient, "value_fn": loss}  # for line searches
        updates, inner = update(gradient, state.inner, state.unknowns, **extra)
        finite = jnp.isfinite(value)
        kept = state._replace(loss=value, status=jnp.where(finite, RUNNING, NOT_FINITE))
        new = kept._replace(unknowns=optax.apply_updates(state.unknowns, updates), inner=inner)
        return jax.tree.map(functools.partial(jnp.where, finite), new, kept)

    return repeat(step, state, count)
