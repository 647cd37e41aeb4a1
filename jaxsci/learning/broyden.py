"""Self-scaled quasi-Newton methods: a dense inverse Hessian from gradients alone."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci._checks import unknown_name
from jaxsci.learning.line_search import Trial, strong_wolfe
from jaxsci.learning.objective import Unknowns
from jaxsci.learning.optimiser import CONVERGED, NOT_FINITE, RUNNING, STAGNATED, check_positive, repeat

_FAILURES = 2  # line searches in a row that found no decrease, from the gradient's direction the last time
UPDATES = ("broyden", "bfgs")


class BroydenState(NamedTuple):
    """See `jaxsci.learning.optimiser.State`."""

    unknowns: Unknowns
    loss: Any
    status: Any
    inverse: Any  # of the Hessian, [parameters, parameters]
    steps: Any  # since the inverse was the identity
    failures: Any  # in a row


@dataclasses.dataclass(frozen=True)
class SelfScaledBroyden:
    r"""min_p L(p) by p += a d, d = -H grad L, with a dense inverse Hessian H that gradients teach, scaled at every step.

        H+ = (H - Hy y'H / y'Hy + phi (y'Hy) v v') / tau + s s' / y's,   v = s / y's - Hy / y'Hy

    with s the step and y the change of the gradient.  `update` "bfgs" has phi = 1, tau = min(1, y's / s'Bs), "broyden" the
    scaled switch between BFGS and DFP of Al-Baali and Khalfan.  Steps satisfy the strong Wolfe conditions, so H stays
    positive definite.  A step costs two or three gradients and the square of the number of parameters: longer narrow networks
    than `LevenbergMarquardt` can take.

    Args:
      update: "broyden" or "bfgs".
      points: collocation points.
      resample: draw new points after so many steps; the inverse Hessian is kept.
      steps: where to stop without a budget.
    Reference: Al-Baali & Khalfan (2005), Appl. Math. Comput. 161, 213; Urban, Stefanou & Pons (2025), J. Comput. Phys. 523,
      113656, eqs. 13-20; Kiyani et al. (2025), arXiv:2501.16371.
    """

    update: Literal["broyden", "bfgs"] = "broyden"
    points: int = 4000
    resample: int = 200
    steps: int = 20_000

    def __post_init__(self):
        check_positive(self, "points", "resample", "steps")
        if self.update not in UPDATES:
            raise ValueError(unknown_name("SelfScaledBroyden: update", self.update, UPDATES))

    @property
    def chunk(self) -> int:
        return min(20, self.resample)

    def count(self, parameters: int, equations: int) -> int:
        return self.points

    def init(self, objective, unknowns, coefficients):
        flat, _ = ravel_pytree(unknowns)
        zero = jnp.asarray(0)
        return BroydenState(
            unknowns, jnp.asarray(jnp.inf, flat.dtype), zero, jnp.eye(flat.size, dtype=flat.dtype), zero, zero
        )

    def advance(self, objective, coefficients, state, batch, count):
        return _advance(self, objective, count, state, coefficients, batch)


class _Walk(NamedTuple):
    """A state within one batch, with the loss and its gradient at the unknowns."""

    flat: Any
    value: Any
    gradient: Any
    inverse: Any
    steps: Any
    failures: Any
    status: Any


@functools.partial(jax.jit, static_argnames=("method", "objective", "count"))
def _advance(method, objective, count, state, coefficients, batch):
    flat, unravel = ravel_pytree(state.unknowns)
    evaluate = jax.value_and_grad(lambda flat: objective.loss(unravel(flat), coefficients, batch))
    value, gradient = evaluate(flat)
    walk = _Walk(flat, value, gradient, state.inverse, state.steps, state.failures, state.status)
    walk = repeat(functools.partial(_step, method, evaluate), walk, count)
    return BroydenState(unravel(walk.flat), walk.value, walk.status, walk.inverse, walk.steps, walk.failures)


def _step(method: SelfScaledBroyden, evaluate, walk: _Walk) -> _Walk:
    direction = -walk.inverse @ walk.gradient
    slope = direction @ walk.gradient
    descends = slope < 0  # round-off may spoil a nearly singular H: begin again from the gradient
    direction = jnp.where(descends, direction, -walk.gradient)
    slope = jnp.where(descends, slope, -walk.gradient @ walk.gradient)
    steps = jnp.where(descends, walk.steps, 0)
    size = jnp.maximum(jnp.linalg.norm(walk.gradient), jnp.finfo(walk.flat.dtype).tiny)
    first = jnp.where(steps == 0, jnp.minimum(1.0, 1.0 / size), 1.0)

    def along(step):
        value, gradient = evaluate(walk.flat + step * direction)
        return value, gradient @ direction, gradient

    start = Trial(jnp.zeros_like(walk.value), walk.value, slope, walk.gradient)
    found = strong_wolfe(along, start, first)
    moved = found.step > 0
    s, y = found.step * direction, found.gradient - walk.gradient
    identity = jnp.eye(len(s), dtype=s.dtype)
    scale = (s @ y) / jnp.maximum(y @ y, jnp.finfo(s.dtype).tiny)
    inverse = jnp.where(steps == 0, scale * identity, walk.inverse)  # Nocedal & Wright, eq. 6.20
    bold = jnp.where(steps == 0, s @ s / scale, -found.step * (s @ walk.gradient))  # s'Bs, with B s = -a g
    teaches = moved & (s @ y > 0)
    inverse = jnp.where(teaches, updated(method.update, inverse, s, y, bold), walk.inverse)
    failures = jnp.where(moved, 0, walk.failures + 1)
    status = _status(walk, slope, failures)
    inverse = jnp.where(moved, inverse, identity)
    return _Walk(walk.flat + s, found.value, found.gradient, inverse, jnp.where(moved, steps + 1, 0), failures, status)


def _status(walk: _Walk, slope: Any, failures: Any) -> Any:
    rounding = jnp.finfo(walk.value.dtype).eps * jnp.abs(walk.value)
    ended = jnp.where(-slope <= rounding, CONVERGED, jnp.where(failures >= _FAILURES, STAGNATED, RUNNING))
    return jnp.where(jnp.isfinite(walk.value), ended, NOT_FINITE)


def updated(update: str, inverse: Any, s: Any, y: Any, bold: Any) -> Any:
    """The inverse Hessian after a step s that changed the gradient by y; `bold` is s'Bs, B the Hessian before.

    It satisfies the secant equation H+ y = s, and is positive definite where H is and y's > 0.
    """
    ys, hy = y @ s, inverse @ y
    yhy = y @ hy
    v = s / ys - hy / yhy
    phi, tau = scaling(update, bold / ys, yhy / ys, len(s))
    return (inverse - jnp.outer(hy, hy) / yhy + phi * yhy * jnp.outer(v, v)) / tau + jnp.outer(s, s) / ys


def scaling(update: str, b: Any, h: Any, n: int) -> tuple[Any, Any]:
    """phi and tau from b = s'Bs / y's and h = y'Hy / y's (Urban et al., eqs. 13-20). b h >= 1 by Cauchy and Schwarz."""
    if update == "bfgs":
        return 1.0, jnp.minimum(1.0, 1 / b)
    a = jnp.maximum(h * b - 1, jnp.finfo(jnp.result_type(b)).eps)
    c = jnp.sqrt(a / (1 + a))
    lower = jnp.minimum(1.0, h * (1 - c))
    theta = jnp.maximum((lower - 1) / a, jnp.minimum(1 / lower, (1 - b) / b))
    sigma = 1 + theta * a
    root = jnp.abs(sigma) ** (-1 / max(n - 1, 1))
    tau = jnp.where(theta <= 0, jnp.minimum(lower * root, sigma), lower * jnp.minimum(root, 1 / theta))
    return (1 - theta) / sigma, tau
