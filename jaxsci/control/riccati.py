r"""A quadratic model along a trajectory, and its minimum by Riccati's recursion.

    min  sum_t  q_t . dz_t + dz_t . W_t dz_t / 2  +  p . dx_T + dx_T . P dx_T / 2      dz_t = (dx_t, du_t)
    dx_{t+1} = A_t dx_t + B_t du_t,     dx_0 = 0      (low <= u + du <= high)

With V_T = P, v_T = p and, backwards, Q = W + [A B]^T V' [A B] and q = q + [A B]^T v' (' is the next step),

    K = -Q_uu^-1 Q_ux,    k = -Q_uu^-1 q_u,    V = Q_xx + K^T Q_uu K + K^T Q_ux + Q_xu K,    v = q_x + K^T (Q_uu k + q_u) + Q_xu k

A cross term W_ux belongs to W: whoever makes W positive semidefinite does so for the whole matrix, not for its diagonal blocks.

References: Bertsekas (2017), Dynamic Programming and Optimal Control, vol. 1, section 3.1; Tassa, Mansard & Todorov (2014),
ICRA, equations 11 and 17-23, for bounds of the actions.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_BOX_STEPS = 20  # of the projected Newton method in one step's box, which needs about as many as there are bounds to find


class Quadratic(NamedTuple):
    """A model of second order along a trajectory of T steps with n states and m actions."""

    transition: Float[Array, "T n n+m"]  # [A B]
    slope: Float[Array, "T n+m"]  # q
    curvature: Float[Array, "T n+m n+m"]  # W
    final_slope: Float[Array, " n"]  # p
    final_curvature: Float[Array, "n n"]  # P


class Feedback(NamedTuple):
    """The minimum: du_t = offsets_t + gains_t dx_t.

    Attributes:
      gains: K.
      offsets: k.
      linear, quadratic: a step of alpha along the offsets changes the model by alpha linear + alpha^2 quadratic / 2.
      definite: every (damped) Q_uu was positive definite, on the actions that are free.
    """

    gains: Float[Array, "T m n"]
    offsets: Float[Array, "T m"]
    linear: Float[Array, ""]
    quadratic: Float[Array, ""]
    definite: Bool[Array, ""]


def backward(
    model: Quadratic,
    *,
    damping: Any = 0.0,
    room: tuple[Any, Any] | None = None,
    pinned: Any = None,
    definite: bool = True,
) -> Feedback:
    """Riccati's recursion.

    Args:
      model: what is to be minimised.
      damping: Q_uu gets this share of its mean diagonal added to the diagonal (Levenberg and Marquardt, without a unit).
      room: how far down and up each action may go, ``[T, m]`` each: the minimum is then found in the box of each step by itself,
        and an action that stays at its bound has no gain.
      pinned: ``[T, m]``, actions that do not move.
      definite: factor by Cholesky, NaN where Q_uu is not positive definite; else by elimination, which only needs it regular.
    """
    states = model.final_slope.shape[-1]
    actions = model.slope.shape[-1] - states
    dtype = model.slope.dtype
    eye = jnp.eye(actions, dtype=dtype)

    def once(carry, given):
        v, value, sums, fine = carry
        moves, q, w, room, pins = given
        q = q + moves.T @ v
        w = w + moves.T @ value @ moves
        q_x, q_u = q[:states], q[states:]
        q_xx, q_ux, q_uu = w[:states, :states], w[states:, :states], w[states:, states:]
        damped = q_uu + damping * (jnp.mean(jnp.abs(jnp.diagonal(q_uu))) + jnp.finfo(dtype).tiny) * eye
        free = jnp.ones(actions, bool) if pins is None else ~pins
        if room is not None:
            k, free = _in_box(damped, q_u, *room)
        solve, good = _factor(damped, free, definite)
        if room is None:
            k = -solve(jnp.where(free, q_u, 0)[:, None])[:, 0]
        gain = -solve(jnp.where(free[:, None], q_ux, 0))
        change = q_uu @ k
        v = q_x + gain.T @ (change + q_u) + q_ux.T @ k
        value = q_xx + gain.T @ q_uu @ gain + gain.T @ q_ux + q_ux.T @ gain
        sums = sums + jnp.stack([k @ q_u, k @ change])
        return (v, (value + value.T) / 2, sums, fine & good), (gain, k)

    start = (model.final_slope, model.final_curvature, jnp.zeros(2, dtype), jnp.asarray(True))
    steps = (model.transition, model.slope, model.curvature, room, pinned)
    (_, _, sums, fine), (gains, offsets) = jax.lax.scan(once, start, steps, reverse=True)
    return Feedback(gains, offsets, sums[0], sums[1], fine & jnp.isfinite(sums).all())


def solve_hessian(model: Quadratic, right: Float[Array, "T m"], pinned: Any = None) -> Float[Array, "T m"]:
    """du with H du = right, where H is the second derivative of the model in all actions, states following; 0 where pinned."""
    states = model.final_slope.shape[-1]
    slope = jnp.zeros_like(model.slope).at[:, states:].set(-right)
    feedback = backward(
        model._replace(slope=slope, final_slope=jnp.zeros_like(model.final_slope)), pinned=pinned, definite=False
    )

    def once(dx, given):
        moves, gain, offset = given
        du = offset + gain @ dx
        return moves @ jnp.concatenate([dx, du]), du

    return jax.lax.scan(once, jnp.zeros_like(model.final_slope), (model.transition, feedback.gains, feedback.offsets))[1]


def costates(model: Quadratic) -> Float[Array, "T n"]:
    """lambda_{t+1}, t = 0 ... T - 1: the derivative of the cost still to come in the state, the actions held."""
    states = model.final_slope.shape[-1]

    def once(after, given):
        moves, q = given
        return q[:states] + moves[:, :states].T @ after, after

    return jax.lax.scan(once, model.final_slope, (model.transition, model.slope), reverse=True)[1]


def nearest_semidefinite(matrices: Float[Array, "... d d"]) -> Float[Array, "... d d"]:
    """The nearest positive semidefinite matrices (in Frobenius norm): negative eigenvalues become 0.

    Matrices that are semidefinite pass as they are, and where all of a batch are, nothing is decomposed.
    """
    size = matrices.shape[-1]
    return _nearest(matrices.reshape(-1, size, size)).reshape(matrices.shape)


@jax.custom_batching.custom_vmap
def _nearest(matrices: Any) -> Any:
    """Of ``[many, d, d]``."""
    size, dtype = matrices.shape[-1], matrices.dtype
    scale = jnp.max(jnp.abs(matrices), axis=(1, 2), keepdims=True)
    shifted = matrices + (8 * size * jnp.finfo(dtype).eps * scale + jnp.finfo(dtype).tiny) * jnp.eye(size, dtype=dtype)
    fine = jnp.isfinite(jnp.linalg.cholesky(shifted)).all(axis=(1, 2)) | ~jnp.isfinite(matrices).all(axis=(1, 2))

    def clipped(_):
        values, vectors = jnp.linalg.eigh(jnp.where(fine[:, None, None], jnp.eye(size, dtype=dtype), matrices))
        return jnp.where(fine[:, None, None], matrices, (vectors * jnp.maximum(values, 0)[:, None]) @ vectors.mT)

    return jax.lax.cond(fine.all(), lambda _: matrices, clipped, None)


@_nearest.def_vmap
def _nearest_of_batch(axis_size, in_batched, matrices):
    """The batch joins the other axis: a condition on all of them stays a condition (a mapped one computes both branches)."""
    size = matrices.shape[-1]
    return _nearest(matrices.reshape(-1, size, size)).reshape(matrices.shape), True


def _factor(matrix: Any, free: Any, definite: bool) -> tuple[Any, Any]:
    """A function that solves with the free rows and columns (0 in the others), and whether they were positive definite."""
    size = matrix.shape[-1]
    both = free[:, None] & free
    matrix = jnp.where(both, matrix, jnp.eye(size, dtype=matrix.dtype))
    if size == 1:
        return lambda right: right / matrix[0, 0], matrix[0, 0] > 0
    factor = jnp.linalg.cholesky(matrix)
    good = jnp.isfinite(factor).all()
    if definite:
        return lambda right: jax.scipy.linalg.cho_solve((factor, True), right), good
    return functools.partial(jnp.linalg.solve, matrix), good


def _in_box(matrix: Any, slope: Any, down: Any, up: Any) -> tuple[Any, Any]:
    """The k that minimises k.Qk/2 + q.k in a box around 0, and which of its components are free (projected Newton)."""
    if matrix.shape[-1] == 1:
        k = jnp.clip(-slope / matrix[0], down, up)
        return k, (down < k) & (k < up)
    shares = 0.5 ** jnp.arange(8, dtype=matrix.dtype)

    def held(k):
        gradient = slope + matrix @ k
        return gradient, ~(((k <= down) & (gradient > 0)) | ((k >= up) & (gradient < 0)) | (down == up))

    def unsettled(carry):
        return carry[1] & (carry[2] < _BOX_STEPS)

    def improve(carry):
        k, _, i = carry
        gradient, free = held(k)
        step = -_factor(matrix, free, definite=True)[0](jnp.where(free, gradient, 0)[:, None])[:, 0]
        tried = jnp.clip(k + shares[:, None] * step, down, up)
        values = tried @ slope + 0.5 * jnp.sum((tried @ matrix) * tried, axis=1)
        best = tried[jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))]
        moved = jnp.max(jnp.abs(best - k)) > 8 * jnp.finfo(k.dtype).eps * jnp.max(jnp.abs(best))
        return best, moved, i + 1

    k, _, _ = jax.lax.while_loop(unsettled, improve, (jnp.clip(jnp.zeros_like(slope), down, up), jnp.asarray(True), 0))
    return k, held(k)[1]
