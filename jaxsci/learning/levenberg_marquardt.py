"""Levenberg-Marquardt by orthogonal factorisation, with target-ratio control of the damping."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci.learning.least_squares import damped, triangle
from jaxsci.learning.objective import Unknowns
from jaxsci.learning.optimiser import CONVERGED, NOT_FINITE, RUNNING, STAGNATED, check_positive, enough_points, repeat

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
    ratio* rule: the boldest step is taken whose actual decrease is at least `target_ratio` of the predicted one.  Where
    parameters outnumber residuals the step is computed in its dual form, whose cost is the cube of the latter.

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
    damping: float = 1e-3
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
        return self.points or enough_points(parameters, equations)

    def init(self, objective, unknowns, coefficients):
        dtype = jnp.result_type(*jax.tree.leaves(unknowns))
        zero = jnp.asarray(0)
        return DampedState(unknowns, jnp.asarray(jnp.inf, dtype), zero, jnp.asarray(self.damping, dtype), zero)

    def advance(self, objective, coefficients, state, batch, count):
        return _advance(self, objective, count, state, coefficients, batch)


@functools.partial(jax.jit, static_argnames=("method", "objective", "count"))
def _advance(method, objective, count, state, coefficients, batch):
    return repeat(lambda state: _step(method, objective, state, coefficients, batch), state, count)


def _step(method: LevenbergMarquardt, objective, state: DampedState, coefficients, batch) -> DampedState:
    """The boldest damped step that keeps its promise, or the same unknowns where none does."""
    flat, unravel = ravel_pytree(state.unknowns)
    value, jacobian = objective.linearise(state.unknowns, coefficients, batch)
    model = Model.of(jacobian, value)

    def attempt(damping):
        z = damped(model.factor, model.right, damping)
        candidate = flat + model.expand(z)
        loss = jnp.sum(objective.rows(unravel(candidate), coefficients, batch) ** 2)
        return candidate, loss, model.decrease(z)

    loss = jnp.sum(value**2)
    candidate, damping, accepted = boldest(attempt, flat, state.damping, loss, method.target_ratio)
    return settle(state, unravel(candidate), loss, damping, accepted, model.slope)


# --- what the damped methods share ---------------------------------------------------------------------------------------


class Model(NamedTuple):
    """The linear model |J d + r|^2 in fewest numbers: |R z - c|^2 with d = z, or d = Q z where rows are fewer than columns.

    The second is the *dual* form: every useful step lies in the row space of J, J' = Q R, whose dimension is the number of
    rows.  Its damped steps are the same, (J'J + m^2)^-1 J'r = J'(JJ' + m^2)^-1 r, and cost the cube of that number.
    """

    factor: Any  # [n, n]
    right: Any  # [n]
    basis: Any  # Q, [columns, n], or None

    @staticmethod
    def of(jacobian: Any, value: Any) -> Model:
        if jacobian.shape[0] >= jacobian.shape[1]:
            return Model(*triangle(jacobian, -value), None)
        basis, factor = jnp.linalg.qr(jacobian.T)
        return Model(factor.T, -value, basis)

    def expand(self, z: Any) -> Any:
        """The change of the unknowns."""
        return z if self.basis is None else self.basis @ z

    def decrease(self, z: Any) -> Any:
        """By how much the model falls."""
        change = self.factor @ z
        return jnp.sum(change * (2 * self.right - change))

    @property
    def slope(self) -> Any:
        """|J'r| / |J|: what is left of the residual along the Jacobian, zero at a minimum."""
        return jnp.linalg.norm(self.factor.T @ self.right) / jnp.linalg.norm(self.factor)


def boldest(attempt: Callable[[Any], Any], start: Any, damping: Any, loss: Any, target_ratio: float) -> tuple[Any, Any, Any]:
    """The candidate with the smallest damping that keeps its promise, from half of the last one upwards by doubling.

    Args:
      attempt: of a damping, ``(candidate, its loss, the decrease that the model promises)``.
      start: the candidate where none is accepted.
    Returns:
      (candidate, damping, whether it was accepted)
    """

    def another(carry):
        _, damping, _, tried = carry
        candidate, value, promised = attempt(2 * damping)
        accepted = (loss - value) / promised >= target_ratio  # false for NaN
        return jnp.where(accepted, candidate, start), 2 * damping, accepted, tried + 1

    first = (start, damping / 4, jnp.asarray(False), 0)  # one body: the attempt is compiled once
    return jax.lax.while_loop(lambda carry: ~carry[2] & (carry[3] < _ATTEMPTS), another, first)[:3]


def settle(state: DampedState, unknowns: Any, loss: Any, damping: Any, accepted: Any, slope: Any) -> DampedState:
    """The next state, with its status: three steps without a good damping end a descent.

    It has converged where `slope`, that of `Model`, is the root of round-off beside the residual.
    """
    failures = jnp.where(accepted, 0, state.failures + 1)
    small = 10 * jnp.sqrt(jnp.finfo(loss.dtype).eps) * jnp.sqrt(loss)
    ended = jnp.where(slope <= small, CONVERGED, STAGNATED)
    status = jnp.where(loss == 0, CONVERGED, jnp.where(failures >= _FAILURES, ended, RUNNING))
    status = jnp.where(jnp.isfinite(loss), status, NOT_FINITE)
    return DampedState(unknowns, loss, status, damping, failures)
