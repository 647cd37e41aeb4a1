"""Variable projection: the last layer is solved for exactly, and only what is nonlinear is descended in."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci.learning.least_squares import damped, least_squares, triangle
from jaxsci.learning.levenberg_marquardt import DampedState, LevenbergMarquardt, Model, boldest, settle
from jaxsci.learning.objective import Batch, Objective, Unknowns
from jaxsci.learning.optimiser import check_positive, repeat


@dataclasses.dataclass(frozen=True)
class VariableProjection(LevenbergMarquardt):
    r"""Levenberg-Marquardt on the reduced problem  min_w min_c |r(w, c)|^2,  c the parameters that the network is linear in.

    Which these are (the last layer's) is found by trying the network.  Every candidate w is judged with its own best c: for a
    linear equation one least-squares solve, for a nonlinear one a few Gauss-Newton steps.  The step in w is that of the joint
    Jacobian with no damping on c, which is the Gauss-Newton step of the reduced problem in Kaufman's approximation.  Fewer
    steps than `LevenbergMarquardt`, each a little dearer; the start needs no care, since c is optimal from the first step on.

    Args:
      inner: Gauss-Newton steps for c at every candidate; one is exact where the equation is linear.
    Reference: Golub & Pereyra (1973), SIAM J. Numer. Anal. 10, 413; Kaufman (1975), BIT 15, 49; Ruhe & Wedin (1980), SIAM
      Rev. 22, 318, algorithm 2.
    """

    inner: int = 2

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "inner")

    def init(self, objective, unknowns, coefficients):
        if not linear_names(objective):
            raise ValueError(
                f"VariableProjection: no parameter of {objective.network!r} enters linearly; use LevenbergMarquardt."
            )
        return super().init(objective, unknowns, coefficients)

    def advance(self, objective, coefficients, state, batch, count):
        return _advance(self, objective, count, state, coefficients, batch)


@functools.lru_cache(maxsize=64)
def linear_leaves(network: Any, inputs: int, outputs: int) -> tuple[str, ...]:
    """Names of the parameters in which a network is jointly affine, found by trying: last leaves first, as many as go."""
    with jax.ensure_compile_time_eval():
        parameters = network.init(jax.random.key(0), inputs, outputs)
        random = np.random.default_rng(0)
        dtype = jnp.result_type(*parameters.values())
        moves = {k: jnp.asarray(random.normal(size=v.shape), dtype) for k, v in parameters.items()}
        z = jnp.asarray(random.uniform(-1, 1, (8, inputs)), dtype)

        @jax.jit
        def curvature(moved):
            """The second difference of the outputs along a move of the marked parameters, beside their size."""

            def at(a):
                return jax.vmap(lambda z: network.apply({k: v + a * moved[k] * moves[k] for k, v in parameters.items()}, z))(
                    z
                )

            values = [at(a) for a in (-1.0, 0.0, 1.0)]
            return jnp.abs(values[0] - 2 * values[1] + values[2]).max() / sum(jnp.abs(v).max() for v in values)

        found: tuple[str, ...] = ()
        for name in sorted(parameters, reverse=True):
            marks = {k: np.asarray(k in (*found, name), dtype) for k in parameters}
            if float(curvature(marks)) < 100 * float(jnp.finfo(dtype).eps):
                found = (*found, name)
    return found


def linear_names(objective: Objective) -> tuple[str, ...]:
    """The linear parameters of an objective's network."""
    network: Any = objective.network  # hashable, which its protocol does not say
    return linear_leaves(network, objective.conditions.input_size, len(objective.conditions.problem.unknowns))


def join(unknowns: Unknowns, linear: dict[str, Any]) -> Unknowns:
    """The unknowns with other values of the linear parameters."""
    return unknowns | {"network": unknowns["network"] | linear}


def solve_linear(objective: Objective, unknowns: Unknowns, coefficients: Any, batch: Batch, steps: int) -> tuple[Any, Any]:
    """The unknowns with the best linear parameters after so many Gauss-Newton steps that descend, and the loss."""
    names = linear_names(objective)
    start, unravel = ravel_pytree({name: unknowns["network"][name] for name in names})

    def loss(c):
        return jnp.sum(objective.rows(join(unknowns, unravel(c)), coefficients, batch) ** 2)

    def improve(_, carry):
        c, before = carry
        value, slope = _linearise(objective, lambda c: join(unknowns, unravel(c)), c, coefficients, batch)
        candidate = c + least_squares(slope, -value)
        after = loss(candidate)
        better = (after < before) | ~jnp.isfinite(before)
        return jnp.where(better, candidate, c), jnp.where(better, after, before)

    c, value = jax.lax.fori_loop(0, steps, improve, (start, loss(start)))
    return join(unknowns, unravel(c)), value


def _linearise(objective: Objective, insert: Any, c: Any, coefficients: Any, batch: Batch) -> tuple[Any, Any]:
    """Weighted residuals and their Jacobian in the linear parameters alone."""
    values, slopes = [], []
    for name, points in batch.points.items():

        def at_point(point, target, weight, name=name):
            def of_parameters(c):
                target_ = None if target is None else target[None]
                return jnp.sqrt(weight) * objective.part(name, insert(c), coefficients, point[None], target_)[0]

            return of_parameters(c), jax.jacrev(of_parameters)(c)

        value, slope = jax.vmap(at_point)(points, batch.targets.get(name), batch.weights[name])
        values.append(value.ravel())
        slopes.append(slope.reshape(-1, c.size))
    return jnp.concatenate(values), jnp.concatenate(slopes)


@functools.partial(jax.jit, static_argnames=("method", "objective", "count"))
def _advance(method, objective, count, state, coefficients, batch):
    unknowns, _ = solve_linear(objective, state.unknowns, coefficients, batch, method.inner)  # best for these points
    state = state._replace(unknowns=unknowns)
    return repeat(lambda state: _step(method, objective, state, coefficients, batch), state, count)


def _step(method: VariableProjection, objective: Objective, state: DampedState, coefficients, batch) -> DampedState:
    """The boldest step in w that keeps its promise, every candidate with its best c."""
    flat, unravel = ravel_pytree(state.unknowns)
    value, jacobian = objective.linearise(state.unknowns, coefficients, batch)
    model = Model(*triangle(jacobian, -value), None)
    nonlinear = jnp.asarray(_is_nonlinear(objective, state.unknowns), flat.dtype)
    least = jnp.finfo(flat.dtype).eps * jnp.linalg.norm(model.factor)

    def attempt(damping):
        change = damped(model.factor, model.right, jnp.maximum(damping * nonlinear, least))
        candidate, loss = solve_linear(objective, unravel(flat + change), coefficients, batch, method.inner)
        return ravel_pytree(candidate)[0], loss, model.decrease(change)

    loss = jnp.sum(value**2)
    candidate, damping, accepted = boldest(attempt, flat, state.damping, loss, method.target_ratio)
    return settle(state, unravel(candidate), loss, damping, accepted, model.slope)


def _is_nonlinear(objective: Objective, unknowns: Unknowns) -> np.ndarray:
    """Which of the flattened unknowns are damped: all but the linear parameters. Known from shapes alone."""
    names = linear_names(objective)
    marks = jax.tree.map(lambda leaf: np.ones(np.shape(leaf)), unknowns)
    marks["network"] |= {name: np.zeros(np.shape(unknowns["network"][name])) for name in names}
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(marks)])
