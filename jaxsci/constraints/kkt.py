"""The nearest point of a smooth set {c_e(x) = 0, c_i(x) <= 0}: KKT-Newton steps, made safe by an augmented Lagrangian.

One point at a time (callers `vmap`: a while loop under vmap freezes the members that have finished).  Each iteration is one
symmetric factorisation of

    B = M + sum_i p_i c_i''(x) + J_A' J_A / w ,       A the active conditions, M the metric,

and is of one of three kinds.  *Newton* (p the multipliers, w as small as the KKT residual): a stabilised SQP step, quadratic
near a solution and bounded where J_A loses rank; taken where it halves the KKT residual.  Else *augmented Lagrangian* (p its
multipliers, w its penalty), and where B is not positive definite or the step does not descend, the same with p = 0
(Gauss-Newton), both with a line search.  A Cholesky factor of B exists only where the Hessian of the Lagrangian is positive on
the tangent space: a point is CONVERGED only with one, that is, as a minimiser.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxsci.constraints.constraint import CONVERGED, INFEASIBLE, MAX_STEPS, NOT_FINITE

RUNNING = -1
NEWTON, AUGMENTED, GAUSS_NEWTON = range(3)
_SHORTER = tuple(4.0**-k for k in range(12))  # steps tried by a line search


class System(Protocol):
    """Smooth conditions on a flat point and the linear algebra that fits their structure; hashable, holds no arrays."""

    def conditions(self, x: Any, data: Any) -> Any:
        """c(x), equalities first;  [n] -> [m]."""

    def equalities(self, x: Any, data: Any) -> int:
        """How many of the conditions are equalities."""

    def metric(self, x: Any, data: Any) -> Any:
        """The diagonal of M;  [n]."""

    def scale(self, x: Any, data: Any) -> Any:
        """Sizes of the gradients of the conditions;  [m]."""

    def factor(self, x: Any, data: Any, multipliers: Any, weights: Any, ridge: Any) -> tuple[Any, Any]:
        """The factor of M + sum_i multipliers_i c_i'' + J' diag(weights) J + ridge, and whether it exists."""

    def solve(self, factor: Any, v: Any) -> Any:
        """B^-1 v;  [n] -> [n]."""


class Found(NamedTuple):
    """What `nearest` found; multipliers are in the units of the conditions."""

    point: Any  # [n]
    multipliers: Any  # [m]
    active: Any  # [m], of bool: equalities, and inequalities with a positive multiplier
    status: Any
    residual: Any
    steps: Any


class _State(NamedTuple):
    x: Any
    multipliers: Any  # of the Newton steps, and for what the KKT residual is measured
    kkt: Any  # the KKT residual here, relative to the size of the points
    best: Any  # what a Newton step must halve
    shift: Any  # multipliers of the augmented Lagrangian
    penalty: Any  # w
    accuracy: Any  # to which the augmented Lagrangian is minimised
    violation: Any  # at the last change of shift or penalty
    size: Any  # of the gradients of the conditions where the last Newton step or outer iteration was; divides them
    kind: Any
    status: Any
    steps: Any


def nearest(system: System, y: Any, data: Any, tol: float | None, max_steps: int | None, warm: Any) -> Found:
    """argmin (x - y)' M (x - y) / 2 over the system's set, from `y` or from warm = (point, multipliers); differentiable."""
    found = _search(system, *jax.lax.stop_gradient((y, data)), tol, max_steps, jax.lax.stop_gradient(warm))
    point, multipliers = _implicit(system, y, data, found)
    return found._replace(point=point, multipliers=jax.lax.stop_gradient(multipliers))


def _search(system: System, y: Any, data: Any, tol: float | None, max_steps: int | None, warm: Any) -> Found:
    epsilon = jnp.finfo(y.dtype).eps
    root, loose = epsilon**0.5, epsilon ** (2 / 3)
    limit = 1000 if max_steps is None else max_steps
    size = system.scale(y, data)
    equal = jnp.arange(size.size) < system.equalities(y, data)
    metric = system.metric(y, data)

    def excess(value):
        return jnp.where(equal, jnp.abs(value), jnp.maximum(value, 0))

    def largest(v):
        return jnp.max(jnp.abs(v), initial=0.0)

    def scaled(x, size):
        return system.conditions(x, data) / size

    def length(x):
        return jnp.maximum(jnp.maximum(largest(x), largest(y)), jnp.finfo(y.dtype).tiny)

    def kkt(x, multipliers, size):
        value, pull = jax.vjp(lambda x: scaled(x, size), x)
        slope = metric * (x - y) + pull(multipliers)[0]
        gap = jnp.where(equal, value, jnp.minimum(-value, multipliers))
        return jnp.maximum(largest(slope), largest(gap)) / length(x)

    def lagrangian(x, shift, penalty, size):
        """The augmented Lagrangian, its multipliers and its gradient."""
        value, pull = jax.vjp(lambda x: scaled(x, size), x)
        shifted = shift + value / penalty
        multipliers = jnp.where(equal, shifted, jnp.maximum(shifted, 0))
        energy = jnp.sum(metric * (x - y) ** 2) / 2 + penalty * jnp.sum(multipliers**2) / 2
        return energy, multipliers, metric * (x - y) + pull(multipliers)[0]

    def step(s: _State) -> _State:
        newton = s.kind == NEWTON
        size = s.size

        def c(x):
            return scaled(x, size)

        closeness = jnp.clip(s.kkt, root, 1e-2)
        penalty = jnp.where(newton, closeness, s.penalty)
        shift = jnp.where(newton, s.multipliers, s.shift)
        value, pull = jax.vjp(c, s.x)
        active = equal | (value + jnp.where(newton, jnp.maximum(penalty, 0.1), penalty) * shift > 0)
        shifted = jnp.where(active, shift + value / penalty, 0)
        gradient = metric * (s.x - y) + pull(shifted)[0]
        bending = jnp.where(newton, s.multipliers * active, jnp.where(s.kind == AUGMENTED, shifted, 0))
        factor, definite = system.factor(s.x, data, bending / size, active / (penalty * size**2), 10 * closeness)
        direction = system.solve(factor, -gradient)
        definite &= jnp.isfinite(direction).all()
        direction = jnp.where(definite, direction, 0)

        # Newton: the whole step, where it halves the KKT residual.
        change = jax.jvp(c, (s.x,), (direction,))[1]
        new = jnp.where(active, shift + (value + change) / penalty, 0)
        new = jnp.where(equal, new, jnp.maximum(new, 0))
        halved = definite & (kkt(s.x + direction, new, size) <= 0.5 * s.best)

        # Augmented Lagrangian: the longest step that descends enough.
        lengths = jnp.asarray(_SHORTER, y.dtype)
        energy = lagrangian(s.x, shift, penalty, size)[0]
        slope = jnp.sum(gradient * direction)
        energies = jax.vmap(lambda t: lagrangian(s.x + t * direction, shift, penalty, size)[0])(lengths)
        descends = (energies <= energy + 1e-4 * lengths * slope) & (slope < 0)
        moved = jnp.where(newton, halved, descends.any())
        length = jnp.where(moved, jnp.where(newton, 1, lengths[jnp.argmax(descends)]), 0).astype(y.dtype)
        x = s.x + length * direction

        # The outer iteration: where the inner one is accurate enough, or can do no more.
        _, estimate, slopes = lagrangian(x, s.shift, s.penalty, size)
        violation = largest(excess(c(x)))
        stalled = (s.kind == GAUSS_NEWTON) & ~moved
        accurate = largest(slopes) <= s.accuracy * jnp.maximum(largest(metric * (x - y)), violation)
        tiny = largest(x - s.x) <= loose * largest(x)
        outer = ~newton & ((moved & (accurate | tiny)) | stalled)
        better = (violation <= 0.5 * s.violation) | (violation <= loose * largest(x))
        taken = newton & moved
        multipliers = jnp.where(taken, new, jnp.where(~newton & moved, estimate, s.multipliers))
        # Where even the smallest penalty brings nothing: the violation alone, in the conditions' own units.
        failed = outer & ~better
        last = s.penalty < root
        alone = last | (failed & (s.penalty <= root))
        penalty = jnp.where(failed & ~last, jnp.where(alone, root / 10, jnp.maximum(s.penalty / 10, root)), s.penalty)
        # Without a bound, the multipliers of conditions that contradict each other outgrow the penalty.
        bound = jnp.maximum(largest(metric * (x - y)), violation) / jnp.sqrt(s.penalty)
        shift = jnp.clip(jnp.where(taken, new, jnp.where(outer & better, estimate, s.shift)), -bound, bound)
        shift = jnp.where(alone, 0, shift)
        resize = (taken | (outer & (s.penalty >= 1e-2))) & (s.kkt > 1e-4)
        resized = jnp.where(alone & ~taken, jnp.max(size), jnp.where(resize, system.scale(x, data), size))
        multipliers, shift = multipliers * resized / size, shift * resized / size
        residual = kkt(x, multipliers, resized)

        # A KKT point without a factor is no minimiser: leave it.
        saddle = newton & ~definite & (s.kkt <= loose)
        kick = 0.05 * (largest(s.x - y) + root * largest(s.x)) * _spread(y.size, s.steps, y.dtype)
        x = jnp.where(saddle, s.x + kick, x)

        near = jnp.where(_violation(system, s.x, data, equal) <= tolerance, s.kkt, jnp.inf)
        # At round-off the same residual, compiled twice, is two numbers: both must have halved.
        improved = halved & (residual <= 0.6 * s.best)
        done = newton & definite & ((near <= tight(s.x, s.multipliers)) | (~improved & (near <= loose)))
        # A minimiser of the violation, which the smallest penalty sees little beside.
        force = pull(excess(value) * jnp.where(equal, jnp.sign(value), 1))[0]
        hopeless = outer & last & (largest(force) <= 1e-3 * largest(excess(value)))
        return _State(
            x=jnp.where(done, s.x, x),
            multipliers=jnp.where(done, s.multipliers, multipliers),
            kkt=jnp.where(saddle, jnp.inf, residual),
            best=jnp.where(saddle, jnp.inf, jnp.where(taken, residual, s.best)),
            shift=shift,
            penalty=penalty,
            accuracy=jnp.where(outer, jnp.maximum(0.3 * s.accuracy, root), s.accuracy),
            violation=jnp.where(outer, violation, s.violation),
            size=jnp.where(done, s.size, resized),
            kind=jnp.where(saddle, AUGMENTED, jnp.where(moved | stalled, NEWTON, (s.kind + 1) % 3)),
            status=jnp.where(done, CONVERGED, jnp.where(hopeless, INFEASIBLE, RUNNING)),
            steps=s.steps + 1,
        )

    tolerance = jnp.asarray(jnp.inf if tol is None else tol, y.dtype)

    def tight(x, multipliers):
        rounding = 2 * epsilon * (1 + largest(multipliers) / length(x))
        return rounding if tol is None else jnp.maximum(tol / length(x), rounding)

    none = jnp.zeros_like(size)
    if warm is None:
        # A little beside y: where c is symmetric about it, as at the centre of a circle, y itself leads nowhere.
        start = y + 0.01 * jnp.linalg.norm(excess(scaled(y, size))) * _spread(y.size, 0, y.dtype)
        start = jnp.where(jnp.isfinite(start), start, y)
    else:
        start = warm[0]
    size = system.scale(start, data)
    multipliers = none if warm is None else warm[1] * size
    residual = kkt(start, multipliers, size)
    inside = (residual <= tight(start, multipliers)) & (largest(multipliers) == 0)
    inside &= _violation(system, start, data, equal) <= tolerance
    usable = jnp.isfinite(residual) & jnp.isfinite(metric).all() & (metric > 0).all()
    state = _State(
        x=start,
        multipliers=multipliers,
        kkt=residual,
        best=residual,
        shift=multipliers,
        penalty=jnp.asarray(0.1, y.dtype),
        accuracy=jnp.asarray(0.3, y.dtype),
        violation=largest(excess(scaled(start, size))),
        size=size,
        kind=jnp.asarray(NEWTON),
        status=jnp.where(usable, jnp.where(inside, CONVERGED, RUNNING), NOT_FINITE),
        steps=jnp.asarray(0),
    )
    end = jax.lax.while_loop(lambda s: (s.status == RUNNING) & (s.steps < limit), step, state)
    point = jnp.where(jnp.isfinite(end.x), end.x, 0)
    status = jnp.where(end.status == RUNNING, MAX_STEPS, end.status)
    violation = jnp.where(status == NOT_FINITE, jnp.inf, _violation(system, point, data, equal))
    multipliers = jnp.where((status == CONVERGED) & jnp.isfinite(end.multipliers), end.multipliers, 0)
    active = (status == CONVERGED) & (equal | (multipliers > loose * jnp.max(jnp.abs(point), initial=0.0)))
    return Found(point, multipliers / end.size, active, status, violation, end.steps)


def _violation(system: System, x: Any, data: Any, equal: Any) -> Any:
    """The largest violation in the conditions' own units."""
    value = system.conditions(x, data)
    return jnp.max(jnp.where(equal, jnp.abs(value), jnp.maximum(value, 0)), initial=0.0)


def _spread(count: int, step: Any, dtype: Any) -> Any:
    """A direction without symmetries, of length one."""
    v = jnp.cos(1.0 + jnp.arange(count, dtype=dtype) * 2.39996 + jnp.asarray(step, dtype))
    return v / jnp.linalg.norm(v)


# --- the derivative ------------------------------------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _implicit(system: System, y: Any, data: Any, found: Found) -> tuple[Any, Any]:
    """The point and its multipliers as functions of `y` and `data`, by the KKT conditions that they satisfy."""
    return found.point, found.multipliers


@_implicit.defjvp
def _implicit_jvp(system, primals, tangents):
    r"""K (dx, dp) = -(the change of the KKT conditions at fixed x, p),   K = [M + p.c'', J_A'; J_A, 0], symmetric."""
    y, data, found = primals
    x, multipliers = _implicit(system, y, data, found)  # so that a derivative of this derivative knows what they depend on
    active = found.active
    solved = found.status == CONVERGED

    def conditions(y, data):
        value, pull = jax.vjp(lambda x: system.conditions(x, data), x)
        slope = system.metric(x, data) * (x - y) + pull(jnp.where(active, multipliers, 0))[0]
        return slope, jnp.where(active, value, multipliers)

    moved = jax.jvp(conditions, (y, data), tangents[:2])[1]
    right = jax.tree.map(lambda v: jnp.where(solved, -v, 0), moved)
    return (x, multipliers), kkt_solve(system, x, multipliers, data, active, right)


def kkt_solve(system: System, x: Any, multipliers: Any, data: Any, active: Any, right: tuple[Any, Any]) -> tuple[Any, Any]:
    """K^-1 right;  ([n], [m]) -> ([n], [m]).  Differentiable, and linear in `right`."""

    def matrix(v):
        def conditions(x, multipliers):
            value, pull = jax.vjp(lambda x: system.conditions(x, data), x)
            return pull(jnp.where(active, multipliers, 0))[0], jnp.where(active, value, multipliers)

        force, change = jax.jvp(conditions, (x, multipliers), v)[1]
        return system.metric(x, data) * v[0] + force, change

    frozen = jax.lax.stop_gradient((x, multipliers, data))
    join, split = jnp.concatenate, lambda v: (v[: x.size], v[x.size :])

    def joined(v):  # one array: a derivative in `y` alone has a constant second part
        return join(matrix(split(v)))

    def refined(_, b):
        return join(_refined(system, frozen, active, matrix, split(b)))

    return split(jax.lax.custom_linear_solve(joined, join(right), refined, symmetric=True))


def _refined(system: System, frozen: tuple[Any, Any, Any], active: Any, matrix: Any, right: Any) -> tuple[Any, Any]:
    """K^-1 right, from the factor of K's stabilised form and refinement, which ends at the least norm where J_A loses rank."""
    x, multipliers, data = frozen
    root = jnp.finfo(x.dtype).eps ** 0.5
    size = system.scale(x, data)
    weights = active / (root * size**2)
    factor, _ = system.factor(x, data, jnp.where(active, multipliers, 0), weights, 10 * root)

    def push(v):
        return jax.jvp(lambda x: system.conditions(x, data), (x,), (v,))[1]

    pull = jax.vjp(lambda x: system.conditions(x, data), x)[1]

    def approximate(a, b):
        dx = system.solve(factor, a + pull(weights * b)[0])
        return dx, jnp.where(active, weights * (push(dx) - b), b)

    def refine(_, solution):
        rest = jax.tree.map(jnp.subtract, right, matrix(solution))
        return jax.tree.map(jnp.add, solution, approximate(*rest))

    return jax.lax.fori_loop(0, 4, refine, approximate(*right))
