r"""Constraints on a policy: E sum_t gamma^t max(g_i(s_t, a_t), 0) <= limit_i, by multipliers.

With v_i that expected violation (never negative: one sign everywhere) and h_i = v_i - limit_i, an objective minimises

    augmented Lagrangian   J + sum_i (max(0, lambda_i + rho h_i)^2 - lambda_i^2) / (2 rho),
                           lambda_i <- max(0, lambda_i + rho h_i)
    PID-Lagrangian         (J + sum_i lambda_i v_i) / (1 + sum_i lambda_i),
                           lambda_i = max(0, K_P h_i + I_i + K_D max(0, v_i - v_i^before)),  I_i <- max(0, I_i + K_I h_i)

References: Rockafellar (1973), J. Optim. Theory Appl. 12, 555; Stooke, Achiam & Abbeel (2020), arXiv:2007.03964, algorithm 2.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp


def _spread(limit: Any, like: Any) -> Any:
    """A limit for each constraint: one number for all, or a pytree of them."""
    if jax.tree.structure(limit) == jax.tree.structure(like):
        return limit
    if jax.tree.structure(limit) == jax.tree.structure(0.0) and jnp.ndim(limit) == 0:
        return jax.tree.map(lambda _: limit, like)
    raise ValueError(f"limit is a number or has the constraint's structure, {jax.tree.structure(like)}; got {limit!r}.")


def _check(who: str, least: float, **numbers: Any) -> None:
    """Plain numbers are no less than that; JAX may put anything else in their place."""
    for name, value in numbers.items():
        if isinstance(value, int | float) and not value >= least:
            raise ValueError(f"{who}: {name} is a number >= {least}, got {value!r}.")


def _sum(tree: Any) -> Any:
    return sum(jax.tree.leaves(tree), start=jnp.zeros(()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentedLagrangian:
    """Multipliers and a quadratic penalty; the formulas are those of `jaxsci.control.lagrangian`.

    Args:
      penalty: rho.
      limit: of the expected discounted violation, a number or a pytree like the constraint's; 0 asks for none at all.
    """

    every: ClassVar[int] = 20  # steps on `loss` between updates: the multiplier of a loss that is not minimised overshoots

    penalty: Any = 10.0
    limit: Any = 0.0

    def __post_init__(self):
        _check("AugmentedLagrangian", least=0, limit=self.limit)
        if isinstance(self.penalty, int | float) and not self.penalty > 0:
            raise ValueError(f"AugmentedLagrangian: penalty is a number above 0, got {self.penalty!r}.")

    def init(self, like: Any) -> Any:
        """Multipliers 0 for violations like these."""
        return jax.tree.map(lambda leaf: jnp.zeros_like(leaf), like)

    def loss(self, cost: Any, violation: Any, multipliers: Any) -> Any:
        """What is minimised."""
        excess = jax.tree.map(jnp.subtract, violation, _spread(self.limit, violation))
        term = lambda lam, h: (jnp.maximum(lam + self.penalty * h, 0.0) ** 2 - lam**2) / (2 * self.penalty)  # noqa: E731
        return cost + _sum(jax.tree.map(term, multipliers, excess))

    def update(self, violation: Any, multipliers: Any) -> Any:
        """Multipliers after a number of steps on `loss`."""
        excess = jax.tree.map(jnp.subtract, violation, _spread(self.limit, violation))
        return jax.tree.map(lambda lam, h: jnp.maximum(lam + self.penalty * h, 0.0), multipliers, excess)


class PIDState(NamedTuple):
    """Multiplier, its integral, and the violation before."""

    multiplier: Any
    integral: Any
    before: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PIDLagrangian:
    """Multipliers set by a controller with proportional, integral and differential terms; see `jaxsci.control.lagrangian`.

    Args:
      proportional, integral, differential: K_P, K_I and K_D.
      limit: of the expected discounted violation, a number or a pytree like the constraint's.
    """

    every: ClassVar[int] = 1

    proportional: Any = 0.1
    integral: Any = 0.01
    differential: Any = 0.0
    limit: Any = 0.0

    def __post_init__(self):
        gains = {"proportional": self.proportional, "integral": self.integral, "differential": self.differential}
        _check("PIDLagrangian", least=0, limit=self.limit, **gains)

    def init(self, like: Any) -> PIDState:
        """Multipliers 0 for violations like these."""
        zero = jax.tree.map(lambda leaf: jnp.zeros_like(leaf), like)
        return PIDState(zero, zero, zero)

    def loss(self, cost: Any, violation: Any, state: PIDState) -> Any:
        """What is minimised."""
        weighted = _sum(jax.tree.map(jnp.multiply, state.multiplier, violation))
        return (cost + weighted) / (1 + _sum(state.multiplier))

    def update(self, violation: Any, state: PIDState) -> PIDState:
        """Multipliers after a step on `loss`."""
        excess = jax.tree.map(jnp.subtract, violation, _spread(self.limit, violation))
        integral = jax.tree.map(lambda i, h: jnp.maximum(i + self.integral * h, 0.0), state.integral, excess)

        def controlled(h, i, v, before):
            return jnp.maximum(self.proportional * h + i + self.differential * jnp.maximum(v - before, 0.0), 0.0)

        multiplier = jax.tree.map(controlled, excess, integral, violation, state.before)
        return PIDState(multiplier, integral, violation)
