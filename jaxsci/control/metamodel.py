r"""Metamodels: differential equations for the counts of an agent-based model, learned from its time series under control.

    d log s_i / dt = known_i(s) / s_i - u_i + N_i(log(s / scale), u / action_scale)

The logarithms keep every count positive, make the errors relative and treat rare and frequent species alike. `known` is what one
believes already (a mechanistic model, or nothing); u_i s_i is the removal of the control; the network N corrects both. Counts
alone are not all that the agents know (energies, ages, who is where), so that N is a closure: exact where the rest follows the
counts, as in every steady state.

The fit is by multiple shooting: windows of the series, the equation solved from the counts at their beginning, mean squares
of the relative error along them (large errors by Huber: linearly).

References: Chen, Rubanova, Bettencourt & Duvenaud (2018), arXiv:1806.07366 (neural ODEs); Rackauckas et al. (2020),
arXiv:2001.04385 (a known part and a network); Bock (1981) for multiple shooting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import is_whole
from jaxsci._types import Key, Progress
from jaxsci.control.checks import check_counts
from jaxsci.control.dynamics import ode
from jaxsci.control.policy_gradient import in_chunks
from jaxsci.networks import MLP

_STATIC = {"static": True}
_LEAST = 1e-3  # counts below stand for none: their logarithm has no use


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Metamodel:
    """A differential equation for counts; see the head of this file. Made by `metamodel`, trained by `fit_metamodel`.

    Args:
      weights: of the network.
      scale: of the counts, ``[species]``; their typical sizes.
      action_scale: of the actions, ``[actions]``, or None where the network does not see them.
      rate: of the network's output, per unit of time.
      known: ``(counts) -> d counts / dt`` without control, a pytree that can be called, or None.
      network: from `jaxsci.networks`.
      removal: the action is a removal per head, u_i; False where only the network knows what an action does.
    """

    weights: Any
    scale: Float[Array, " species"]
    action_scale: Float[Array, " actions"] | None
    rate: Any
    known: Any = None
    network: Any = dataclasses.field(metadata=_STATIC, default=MLP((32, 32)))
    removal: bool = dataclasses.field(metadata=_STATIC, default=True)

    def rates(self, logs: Float[Array, " species"], action: Float[Array, " actions"]) -> Float[Array, " species"]:
        """d log s / dt."""
        seen = logs - jnp.log(self.scale)
        if self.action_scale is not None:
            seen = jnp.concatenate([seen, action / self.action_scale])
        rates = self.rate * self.network.apply(self.weights, seen)
        if self.known is not None:
            counts = jnp.exp(logs)
            rates = rates + self.known(counts) / counts
        return rates - action if self.removal else rates

    def __call__(self, counts: Float[Array, " species"], action: Float[Array, " actions"]) -> Float[Array, " species"]:
        """d s / dt."""
        return counts * self.rates(jnp.log(jnp.maximum(counts, _LEAST)), action)


def metamodel(
    key: Key,
    scale: Any,
    *,
    actions: int | None = None,
    action_scale: Any = None,
    known: Any = None,
    network: Any = None,
    rate: float = 0.1,
    removal: bool = True,
) -> Metamodel:
    """A metamodel whose network is small at the start: where there is a known part, it begins there.

    Args:
      key: for the weights.
      scale, action_scale, rate, known, removal: as of `Metamodel`. With an `action_scale` the network sees the actions.
      actions: numbers of an action; as many as species by default.
      network: two layers of 32 by default.
    Raises:
      ValueError: scales that are not positive, actions that cannot be removals of the species.
    """
    scale = jnp.asarray(scale, jnp.result_type(float))
    species = scale.shape[0]
    actions = species if actions is None else actions
    if removal and actions != species:
        raise ValueError(
            f"metamodel: removals are as many as species, {species}, got actions={actions}. Pass removal=False where an action "
            "is something else; the network must see it then (action_scale=...)."
        )
    if not removal and action_scale is None:
        raise ValueError("metamodel: without removal=True only the network knows the actions: give their action_scale.")
    if action_scale is not None:
        action_scale = jnp.broadcast_to(jnp.asarray(action_scale, scale.dtype), (actions,))
    if not bool(jnp.all(scale > 0)) or (action_scale is not None and not bool(jnp.all(action_scale > 0))):
        raise ValueError(f"metamodel: scales are positive, got scale={scale}, action_scale={action_scale}.")
    network = MLP((32, 32)) if network is None else network
    weights = network.init(key, species + (0 if action_scale is None else actions), species)
    return Metamodel(
        weights=weights,
        scale=scale,
        action_scale=action_scale,
        rate=jnp.asarray(rate, scale.dtype),
        known=known,
        network=network,
        removal=removal,
    )


def metamodel_dynamics(dt: float = 1.0, *, substeps: int = 1) -> Callable[..., Any]:
    """``(model, counts, action) -> counts``, dt later, the action held: dynamics of a `Task` whose parameters are a `Metamodel`.

    Classical Runge-Kutta steps in the logarithms: no count comes to 0 or below.
    """
    step = _in_logs(dt, substeps)
    return lambda model, counts, action: jnp.exp(step(model, jnp.log(jnp.maximum(counts, _LEAST)), action))


def _in_logs(dt, substeps):
    return ode(lambda model, logs, action: model.rates(logs, action), dt, substeps=substeps)


class MetamodelFit(NamedTuple):
    """What a fit returns.

    Attributes:
      model: the trained `Metamodel`.
      history: "loss" by iteration: the mean square of the relative error, large ones counted linearly.
    """

    model: Metamodel
    history: dict[str, np.ndarray]


def fit_metamodel(
    model: Metamodel,
    counts: Float[ArrayLike, "series times species"],
    actions: Float[ArrayLike, "series steps actions"],
    *,
    key: Key,
    dt: float = 1.0,
    substeps: int = 1,
    window: int = 20,
    batch: int = 64,
    iterations: int = 1000,
    optimiser: optax.GradientTransformation | None = None,
    least: float = 10.0,
    robust: float = 0.2,
    train_known: bool = False,
    progress: Progress = None,
) -> MetamodelFit:
    """Minimise the mean over windows of the squares of log s(t_k) - log s_k, k = 1 .. window, large ones (`robust`) apart.

    Args:
      model: where it starts, from `metamodel` or from an earlier fit (with shorter windows, say).
      counts: time series, one more time than there are steps; NaN at the end of those that are shorter.
      actions: held over each step.
      key: for the choice of windows.
      dt, substeps: time between two rows, and Runge-Kutta steps in it.
      window: steps of a window. Long ones see steady states, short ones are trained faster.
      batch, iterations, optimiser: windows of an iteration, and the optimiser from optax; by default Adam from 3e-3 to 0 by a
        cosine, behind a clip of the gradient's norm at 1.
      least: windows in which a count falls below are left out: there chance rules, and no differential equation.
      robust: relative error from which on the loss grows linearly (Huber): a window in which a species all but dies out by
        chance would outweigh all others.
      train_known: the numbers of the known part are trained too.
      progress: called with a line of text ten times.
    Raises:
      ValueError: shapes that do not belong together, no window in the data.
    """
    counts, actions = jnp.asarray(counts, jnp.result_type(float)), jnp.asarray(actions, jnp.result_type(float))
    _check_series(model, counts, actions, window)
    check_counts("fit_metamodel", iterations=iterations, batch=batch)
    starts = _starts(np.asarray(counts), window, least)
    if optimiser is None:
        optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, iterations)))
    logs, step = jnp.log(jnp.maximum(counts, _LEAST)), _in_logs(dt, substeps)

    def trained(free):
        return dataclasses.replace(model, **free)

    def loss(free, chosen):
        here = trained(free)

        def one(series, start):
            seen = jax.lax.dynamic_slice_in_dim(logs[series], start, window + 1)
            held = jax.lax.dynamic_slice_in_dim(actions[series], start, window)

            def onward(now, action):
                now = step(here, now, action)
                return now, now

            _, path = jax.lax.scan(onward, seen[0], held)
            return jnp.mean(2 * optax.huber_loss(path, seen[1:], delta=robust))

        return jnp.mean(jax.vmap(one)(chosen[:, 0], chosen[:, 1]))

    def iteration(carry, i):
        free, state = carry
        chosen = starts[jax.random.randint(jax.random.fold_in(key, i), (batch,), 0, len(starts))]
        value, slope = jax.value_and_grad(loss)(free, chosen)
        updates, state = optimiser.update(slope, state, free)
        return (optax.apply_updates(free, updates), state), {"loss": value}

    free = {"weights": model.weights} | ({"known": model.known} if train_known and model.known is not None else {})
    (free, _), history = in_chunks(iteration, (free, optimiser.init(free)), iterations, progress)
    return MetamodelFit(trained(free), history)


def steady_state(
    model: Callable[..., Any], action: Float[ArrayLike, " actions"], start: Float[ArrayLike, " species"],
    *, time: float = 4000.0, dt: float = 2.0,
) -> Float[Array, " species"]:  # fmt: skip
    """The counts at which a constant action lets a metamodel rest: the mean over the last fifth of a time, of what it does then.

    Args:
      model: ``(counts, action) -> d counts / dt``.
      action, start: held, and where it begins.
      time, dt: how long, by classical Runge-Kutta steps of dt.
    """
    steps = int(time / dt)
    move = ode(lambda model, counts, action: model(counts, action), dt)
    action, start = jnp.asarray(action, jnp.result_type(float)), jnp.asarray(start, jnp.result_type(float))

    def onward(now, _):
        now = move(model, now, action)
        return now, now

    return jnp.mean(jax.lax.scan(onward, start, length=steps)[1][-(steps // 5) :], axis=0)


def _starts(counts: np.ndarray, window: int, least: float) -> Any:
    """(series, first row) of every window whose counts are all known and large enough."""
    good = np.isfinite(counts).all(axis=-1) & (np.nan_to_num(counts).min(axis=-1) >= least)
    whole = np.lib.stride_tricks.sliding_window_view(good, window + 1, axis=1).all(axis=-1)
    starts = np.argwhere(whole)
    if not len(starts):
        raise ValueError(
            f"fit_metamodel: no window of {window} steps has all its counts at {least} or more; give longer series, a shorter "
            "window or a lower least=."
        )
    return jnp.asarray(starts)


def _check_series(model: Metamodel, counts: Any, actions: Any, window: int) -> None:
    species = model.scale.shape[0]
    if counts.ndim != 3 or counts.shape[2] != species:
        raise ValueError(f"fit_metamodel: counts are [series, times, {species}], got shape {counts.shape}.")
    if actions.ndim != 3 or actions.shape[:2] != (counts.shape[0], counts.shape[1] - 1):
        raise ValueError(
            f"fit_metamodel: actions are [series, steps, actions] with {counts.shape[0]} series and {counts.shape[1] - 1} steps, "
            f"one less than times, got shape {actions.shape}."
        )
    if not is_whole(window) or not 1 <= window < counts.shape[1]:
        raise ValueError(f"fit_metamodel: window is a number of steps between 1 and {counts.shape[1] - 1}, got {window!r}.")
