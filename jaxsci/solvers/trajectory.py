"""Many steps of a stepper: trajectories, with what became of them and with a choice of what their gradient remembers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxsci._checks import is_whole
from jaxsci._types import Progress
from jaxsci.solvers.gradients import GradientPolicy, check_policy, repeat


class Status(NamedTuple):
    """What became of a rollout.

    Attributes:
      first_bad_step: the first step after which the state was not finite; -1 where it always was.
      courant: the largest Courant number at the saved times; NaN where the stepper does not know it.
      courant_step: the step at which it was found.
    """

    first_bad_step: Int[Array, ""]
    courant: Float[Array, ""]
    courant_step: Int[Array, ""]


class Trajectory(NamedTuple):
    """Saved fields of a rollout, the state to go on from, and its status.

    Attributes:
      ts: times of the saved fields, ``[saves]``.
      fields: ``[saves, unknowns, *space]`` on the stepper's ``grid``, unknowns in the order of ``stepper.problem.unknowns``.
      final: the state at the end, for ``state=`` of another rollout.
      status: a `Status`.
    """

    ts: Float[Array, " saves"]
    fields: Float[Array, "saves unknowns ..."]
    final: Any
    status: Status

    def __repr__(self) -> str:
        shape = lambda leaf: f"{jnp.shape(leaf)} {jnp.result_type(leaf)}"  # noqa: E731
        return f"Trajectory(ts {shape(self.ts)}, fields {shape(self.fields)}, status {self.status})"


def rollout(
    stepper: Any,
    steps: int,
    *,
    state: Any = None,
    save_every: int | None = None,
    gradient: GradientPolicy = "auto",
    progress: Progress = None,
) -> Trajectory:
    """Step many times and save now and then; jit, vmap and grad go through it.

    Args:
      stepper: from `jaxsci.stepper`, or anything with ``step(state)``, ``decode(state)`` and ``initial()``.
      steps: how many steps.
      state: where to begin, ``stepper.initial()`` by default. A trajectory's ``final`` goes on where it ended.
      save_every: steps between saved fields, which include the first and the last; must divide steps. By default the two
        ends alone. Fields are computed at these steps only.
      gradient: what reverse mode remembers: "tape" everything, "step" the state at every step, "sqrt" two levels of
        checkpoints, "recursive" more of them, "forward" nothing (forward mode alone); "auto" the tape where it is small,
        else "sqrt". See `jaxsci.gradient_memory` for the bytes.
      progress: called with a line of text at every saved step, inside jit too.
    Returns:
      A `Trajectory`. A state that is not finite does not raise: see its ``status``.
    Raises:
      ValueError: numbers that do not fit, or an unknown policy.
    Example:
      >>> import jaxsci as js
      >>> s = js.stepper(js.problems.vortex_mixing(), js.Spectral(n=32, dt=1e-2))
      >>> trajectory = js.rollout(s, 20, save_every=10)
      >>> trajectory.fields.shape, int(trajectory.status.first_bad_step)
      ((3, 2, 32, 32), -1)
    """
    save_every = steps if save_every is None else save_every
    check_saves("rollout", steps, save_every)
    check_policy("rollout", gradient)
    state = stepper.initial() if state is None else state

    def one(carry, i):
        state, bad = carry
        state = stepper.step(state)
        return state, jnp.where((bad < 0) & ~is_finite(state), i + 1, bad)

    def until_saved(carry, k):
        carry = repeat(lambda c, i: one(c, k * save_every + i), carry, save_every, gradient)
        return carry, saved(carry[0], (k + 1) * save_every)

    def saved(state, at):
        if progress is not None:
            jax.debug.callback(lambda i, t: progress(f"step {i} of {steps}, t = {t:.6g}"), at, state.t)
        return state.t, stepper.decode(state), courant_of(stepper, state)

    keeps_all = gradient in ("tape", "forward") or steps == save_every  # else begin again from each saved state
    body = until_saved if keeps_all else jax.checkpoint(until_saved)
    start = state.t, stepper.decode(state), courant_of(stepper, state)
    bad = jnp.where(is_finite(state), -1, 0)
    (final, bad), later = jax.lax.scan(body, (state, bad), jnp.arange(steps // save_every))
    ts, fields, courant = jax.tree.map(lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b]), start, later)
    worst = jnp.argmax(jnp.where(jnp.isfinite(courant), courant, -1))
    return Trajectory(ts, fields, final, Status(bad, courant[worst], worst * save_every))


def check_saves(what: str, steps: Any, save_every: Any) -> None:
    """Raise where steps are no multiple of the steps between saves."""
    if not (is_whole(steps) and is_whole(save_every) and steps >= 1 and save_every >= 1 and steps % save_every == 0):
        raise ValueError(
            f"{what}: steps must be a multiple of save_every, whole numbers >= 1; got {steps!r}, {save_every!r}."
        )


def is_finite(state: Any) -> Any:
    """A sum is finite where all its terms are, and reads the state once."""
    leaves = [jnp.sum(leaf) for leaf in jax.tree.leaves(state) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return jnp.all(jnp.stack([jnp.isfinite(jax.lax.stop_gradient(leaf)) for leaf in leaves]))


def courant_of(stepper: Any, state: Any) -> Any:
    """The Courant number of a state; NaN where the stepper does not know it."""
    courant = getattr(stepper, "courant", None)
    return jax.lax.stop_gradient(courant(state)) if courant else jnp.full((), jnp.nan, jnp.result_type(float))
