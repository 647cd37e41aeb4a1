"""Levenberg-Marquardt by orthogonal factorisation, with target-ratio control of the damping."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci.learning.least_squares import damped, triangle
from jaxsci.learning.objective import Unknowns
from jaxsci.learning.optimiser import CONVERGED, NOT_FINITE, RUNNING, check_positive

_ATTEMPTS = 30  # dampings tried in one step
_FAILURES = 3  # steps in a row without a good damping, after which the descent has converged


class DampedState(NamedTuple):
    """See `jaxsci.learning.optimiser.State`."""

    unknowns: Unknowns
    loss: Any
    status: Any
    damping: Any
    failures: Any  # in a row


@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt:
    r"""min_p |r(p)|^2 by steps  argmin |r + J d|^2 + mu^2 |d|^2,  each from a QR factorisation of the Jacobian.

    J is never squared: its small singular values, which carry the last digits, survive.  The damping follows the *target
    ratio* rule: the boldest step is taken whose actual decrease is at least `target_ratio` of the predicted one.

    Args:
      points: collocation points; by default 2.2 per parameter.
      resample: draw new points after so many steps. Keeping them for some steps matters: drawn at every step, their noise
        stalls the descent.
      target_ratio: of actual to predicted decrease.
      damping: the first one, beside a Jacobian whose rows are weighted (one over the root of their number); afterwards it
        is halved or doubled.
      steps: where to stop without a budget.
    Reference: Levenberg (1944); Marquardt (1963); Nocedal & Wright (2006), *Numerical Optimization*, section 10.3.
    """

    points: int | None = None
    resample: int = 10
    target_ratio: float = 0.15
    damping: float = 0.03
    steps: int = 2000

    def __post_init__(self):
        check_positive(self, "resample", "steps", *(["points"] if self.points is not None else []))
        if not (0 < self.target_ratio < 1 and self.damping > 0):
            raise ValueError(
                "LevenbergMarquardt: target_ratio must lie between 0 and 1 and damping be positive, got "
                f"{self.target_ratio!r} and {self.damping!r}."
            )

    @property
    def chunk(self) -> int:
        return 1

    def count(self, parameters: int, equations: int) -> int:
        return self.points or max(256, int(2.2 * parameters / equations))

    def init(self, objective, unknowns, coefficients):
        dtype = jnp.result_type(*jax.tree.leaves(unknowns))
        zero = jnp.asarray(0)
        return DampedState(unknowns, jnp.asarray(jnp.inf, dtype), zero, jnp.asarray(self.damping, dtype), zero)

    def advance(self, objective, coefficients, state, batch, count):
        return _advance(self, objective, count, state, coefficients, batch)


@functools.partial(jax.jit, static_argnames=("method", "objective", "count"))
def _advance(method, objective, count, state, coefficients, batch):
    def body(state, _):
        new = _step(method, objective, state, coefficients, batch)
        return jax.tree.map(functools.partial(jnp.where, state.status == RUNNING), new, state), None

    return jax.lax.scan(body, state, length=count)[0]


def _step(method: LevenbergMarquardt, objective, state: DampedState, coefficients, batch) -> DampedState:
    """The boldest damped step that keeps its promise, or the same unknowns where none does."""
    flat, unravel = ravel_pytree(state.unknowns)
    value, jacobian = objective.linearise(state.unknowns, coefficients, batch)
    factor, right = triangle(jacobian, -value)
    square = jnp.sum(value**2)

    def attempt(damping):
        change = damped(factor, right, damping)
        predicted = jnp.sum(right**2) - jnp.sum((right - factor @ change) ** 2)
        actual = square - jnp.sum(objective.rows(unravel(flat + change), coefficients, batch) ** 2)
        return flat + change, actual / predicted >= method.target_ratio  # false for NaN

    def tries(carry):
        return ~carry[2] & (carry[3] < _ATTEMPTS)

    def another(carry):
        damping = 2 * carry[0]
        return damping, *attempt(damping), carry[3] + 1

    first = state.damping / 2
    damping, candidate, accepted, _ = jax.lax.while_loop(tries, another, (first, *attempt(first), 1))
    failures = jnp.where(accepted, 0, state.failures + 1)
    converged = (failures >= _FAILURES) | (square == 0)
    status = jnp.where(jnp.isfinite(square), jnp.where(converged, CONVERGED, RUNNING), NOT_FINITE)
    keep = accepted & jnp.isfinite(square)
    return DampedState(unravel(jnp.where(keep, candidate, flat)), square, status, damping, failures)
