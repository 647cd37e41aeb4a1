"""Natural gradients: the steepest descent in a metric of function space, with a line search over powers of two."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci._checks import unknown_name
from jaxsci.learning.least_squares import damped, triangle
from jaxsci.learning.objective import Batch, Unknowns
from jaxsci.learning.optimiser import CONVERGED, NOT_FINITE, RUNNING, STAGNATED, check_positive, enough_points, repeat

METRICS = ("energy", "field")
_HALVINGS = 31  # step lengths 1, 1/2, ..., 2^-30


class NaturalState(NamedTuple):
    """See `jaxsci.learning.optimiser.State`."""

    unknowns: Unknowns
    loss: Any
    status: Any


@dataclasses.dataclass(frozen=True)
class NaturalGradient:
    r"""p -= a G^+ grad L(p), with the Gram matrix G of the tangent functions in a metric of function space.

    "energy": G_ij = <D d_i u, D d_j u>, D the equation linearised at u. For a residual loss this is the Gauss-Newton matrix,
    so that the direction is argmin |J d + r|, found by QR of J.
    "field": G_ij = <d_i u, d_j u> in L2, the network's own Jacobian: the descent of the loss in u itself. It differs from
    Gauss-Newton by the operator, whose condition number it keeps: useful where the residual is close to u (data, integral
    equations), slow for differential operators of high order.

    The length a is the best of 1, 1/2, ..., 2^-30, all evaluated.

    Args:
      metric: "energy" or "field".
      points: collocation points; by default 2.2 per parameter.
      resample: draw new points after so many steps.
      cutoff: damping relative to the largest singular value; None leaves it at the square root of round-off.
      steps: where to stop without a budget.
    Reference: Mueller & Zeinhofer (2023), *Achieving high accuracy with PINNs via energy natural gradient descent*, ICML,
      eqs. 8-12; Amari (1998), Neural Comput. 10, 251.
    """

    metric: Literal["energy", "field"] = "energy"
    points: int | None = None
    resample: int = 10
    cutoff: float | None = None
    steps: int = 2000

    def __post_init__(self):
        check_positive(self, "resample", "steps", *(["points"] if self.points is not None else []))
        if self.metric not in METRICS:
            raise ValueError(unknown_name("NaturalGradient: metric", self.metric, METRICS))
        if self.cutoff is not None and not 0 <= self.cutoff < 1:
            raise ValueError(f"NaturalGradient: cutoff must lie between 0 and 1, got {self.cutoff!r}.")

    @property
    def chunk(self) -> int:
        return 1

    def count(self, parameters: int, equations: int) -> int:
        return self.points or enough_points(parameters, equations)

    def init(self, objective, unknowns, coefficients):
        dtype = jnp.result_type(*jax.tree.leaves(unknowns))
        return NaturalState(unknowns, jnp.asarray(jnp.inf, dtype), jnp.asarray(RUNNING))

    def advance(self, objective, coefficients, state, batch, count):
        return _advance(self, objective, count, state, coefficients, batch)


@functools.partial(jax.jit, static_argnames=("method", "objective", "count"))
def _advance(method, objective, count, state, coefficients, batch):
    return repeat(lambda state: _step(method, objective, state, coefficients, batch), state, count)


def _step(method: NaturalGradient, objective, state: NaturalState, coefficients, batch: Batch) -> NaturalState:
    flat, unravel = ravel_pytree(state.unknowns)

    def loss(flat):
        return jnp.sum(objective.rows(unravel(flat), coefficients, batch) ** 2)

    direction, value, promised = _direction(method, objective, state.unknowns, coefficients, batch)
    lengths = 0.5 ** jnp.arange(_HALVINGS, dtype=flat.dtype)
    losses = jax.lax.map(lambda a: loss(flat + a * direction), lengths)
    losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    best = jnp.argmin(losses)
    better = losses[best] < value
    new = jnp.where(better, flat + lengths[best] * direction, flat)
    rounding = jnp.sqrt(jnp.finfo(value.dtype).eps) * 1e-2 * value
    ended = jnp.where(promised <= rounding, CONVERGED, jnp.where(better, RUNNING, STAGNATED))
    return NaturalState(unravel(new), value, jnp.where(jnp.isfinite(value), ended, NOT_FINITE))


def _direction(method: NaturalGradient, objective, unknowns, coefficients, batch: Batch) -> tuple[Any, Any, Any]:
    """The natural direction, the loss, and the decrease that the linear model promises."""
    value, jacobian = objective.linearise(unknowns, coefficients, batch)
    if method.metric == "energy":
        factor, right = triangle(jacobian, -value)
        direction = damped(factor, right, _cutoff(method, factor))
    else:
        tangent = _field_jacobian(objective, unknowns, coefficients, batch.points["equation"])
        factor, _ = triangle(tangent, jnp.zeros(len(tangent), value.dtype))
        gradient = jacobian.T @ value
        cutoff = _cutoff(method, factor)
        # (R'R + m^2)^-1 g by the triangle of R stacked on m: no square of R is formed
        stacked = jnp.concatenate([factor, cutoff * jnp.eye(len(factor), dtype=factor.dtype)])
        root = jnp.linalg.qr(stacked, mode="r")
        half = jax.scipy.linalg.solve_triangular(root, -gradient, trans=1)
        direction = jax.scipy.linalg.solve_triangular(root, half)
    slope = jacobian @ direction
    along = -((slope @ value) ** 2) / jnp.maximum(slope @ slope, jnp.finfo(value.dtype).tiny)
    return direction, value @ value, -along


def _cutoff(method: NaturalGradient, factor: Any) -> Any:
    relative = jnp.sqrt(jnp.finfo(factor.dtype).eps) if method.cutoff is None else method.cutoff
    return relative * jnp.linalg.norm(factor) + jnp.finfo(factor.dtype).tiny


def _field_jacobian(objective, unknowns, coefficients, points: Any) -> Any:
    """The tangent functions at points, over the root of their number: ``[points * unknowns, parameters]``."""
    flat, unravel = ravel_pytree(unknowns)

    def at_point(point):
        return jax.jacrev(lambda flat: objective.field(unravel(flat), coefficients)(*point))(flat)

    return jax.vmap(at_point)(points).reshape(-1, flat.size) / jnp.sqrt(float(len(points)))
