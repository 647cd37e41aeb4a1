"""The loop of a training: iterations in compiled chunks on the device, for one seed or for many, and what stands around them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxsci._timing import Stopwatch
from jaxsci._types import Progress
from jaxsci.surrogates.fit_record import FitRecord
from jaxsci.surrogates.losses import residual_loss, window_loss
from jaxsci.surrogates.network_rule import NetworkRule
from jaxsci.surrogates.piece_stream import PieceStream
from jaxsci.surrogates.solver_step import SolverStep
from jaxsci.surrogates.training import Training, TrainingState, final, start, update

_LONGEST = 256  # iterations between two looks at the clock
_CHUNK_SECONDS = 1.0
_PROGRESS_SECONDS = 2.0
_MOST_WINDOWS = 64  # of the held-out error


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is static of a training. Hashable, so that a second fit of the same kind compiles nothing."""

    rule: NetworkRule
    training: Training
    dt: float
    residual: SolverStep | None = None
    mesh: Mesh | None = None
    many: bool = False  # seeds at once: state and keys have a leading axis


class Material(NamedTuple):
    """The arrays of a training, on the device.

    Attributes:
      fields: ``[runs, saves, channels, *space]``; None where pieces come in a stream.
      numbers: by name, ``[runs]``: all in which the runs differ.
      coefficients: of the problem, those that are numbers.
      prepared: the rule's parameters without those of the network.
      unit: of the loss, ``[channels]``.
      start: the time of the first save.
      solver: of the residual, a stepper, or None.
      unlabelled: ``[states, channels, *space]`` or None: for the residual alone.
    """

    fields: Any
    numbers: Mapping[str, Any]
    coefficients: Mapping[str, Any]
    prepared: Mapping[str, Any]
    unit: Any
    start: Any
    solver: Any = None
    unlabelled: Any = None


# --- one iteration -----------------------------------------------------------------------------------------------------------


def draw(plan: Plan, material: Material, key: Any, saves: int) -> dict[str, Any]:
    """What an iteration is made from, each with a leading axis of the batch: runs, starts and keys."""
    count = plan.training.batch
    run_key, start_key, noise_key, other_key = jax.random.split(key, 4)
    drawn: dict[str, Any] = {"key": jax.random.split(noise_key, count)}
    if material.fields is not None:
        runs, all_saves = material.fields.shape[:2]
        drawn["run"] = jax.random.randint(run_key, (count,), 0, runs)
        drawn["start"] = jax.random.randint(start_key, (count,), 0, all_saves - saves + 1)
    if material.unlabelled is not None:
        drawn["other"] = jax.random.randint(other_key, (count,), 0, len(material.unlabelled))
    return drawn


def augmented(plan: Plan, material: Material, drawn: dict[str, Any], key: Any, saves: int) -> dict[str, Any]:
    """The same with the windows themselves, to which the symmetries were applied."""
    if plan.training.augment is None:
        return drawn
    if "window" not in drawn:
        drawn = drawn | jax.vmap(functools.partial(_window, plan, material, saves))(drawn["run"], drawn["start"])
    windows = drawn["window"][:, :saves]
    made = plan.training.augment(jax.random.split(key, 5)[4], windows)  # `draw` takes the first four
    if jnp.shape(made) != windows.shape:
        raise ValueError(
            f"Training: augment made {jnp.shape(made)} of windows of shape {windows.shape}; it keeps the shape."
        )
    return drawn | {"window": jnp.asarray(made, windows.dtype)}


def _window(plan: Plan, material: Material, saves: int, run: Any, start: Any) -> dict[str, Any]:
    """Of a run of the material: its saves from one on, their time and the run's numbers."""
    at = (run, start, *(0,) * (material.fields.ndim - 2))
    window = jax.lax.dynamic_slice(material.fields, at, (1, saves, *material.fields.shape[2:]))[0]
    t = material.start + plan.dt * start.astype(window.dtype)
    return {"window": window, "t": t, "numbers": {name: values[run] for name, values in material.numbers.items()}}


def sample_loss(plan: Plan, saves: int, network: Any, material: Material, drawn: Mapping[str, Any]) -> Any:
    """The loss of one window, drawn from the material or come in a stream."""
    rule, training = plan.rule, plan.training
    if "window" not in drawn:
        drawn = dict(drawn) | _window(plan, material, saves, drawn["run"], drawn["start"])
    window, t, numbers = drawn["window"][:saves], drawn.get("t", material.start), drawn["numbers"]  # a stream has no times
    evaluate, solver = _functions(plan, network, material, numbers)
    begin = window[0]
    if "noise" in drawn:
        scale = material.prepared["scales"]["scale"].reshape(-1, *(1,) * (begin.ndim - 1))
        begin = begin + drawn["noise"] * scale * jax.random.normal(drawn["key"], begin.shape, begin.dtype)
    loss = window_loss(
        evaluate,
        window,
        t,
        material.unit,
        bundle=rule.bundle,
        dt=plan.dt,
        cut=training.cut,
        pushforward=training.pushforward,
        start=begin,
        weight=training.residual,
        solver=solver,
    )
    if "other" in drawn:
        fields = material.unlabelled[drawn["other"]]
        evaluate, solver = _functions(plan, network, material, {})
        unit = material.unit.reshape(-1, *(1,) * (fields.ndim - 1))
        found = evaluate(fields, material.start)
        loss = loss + training.residual * residual_loss(found, fields, material.start, unit, plan.dt, solver)
    return loss


def _functions(plan: Plan, network: Any, material: Material, numbers: Mapping[str, Any]) -> tuple[Any, Any]:
    """The evaluation, and the solver's step of the residual, for one run's numbers."""
    rule, told = plan.rule, dict(material.coefficients) | dict(numbers)
    parameters, solver = dict(material.prepared) | {"network": network}, material.solver
    if numbers and "solver" in parameters:
        parameters["solver"] = parameters["solver"].with_coefficients(**numbers)
    if numbers and solver is not None:
        solver = solver.with_coefficients(**numbers)

    def evaluate(fields, t):
        return rule.evaluate(parameters, fields, told, t)

    found: Any = jax.checkpoint(evaluate) if plan.training.rematerialise else evaluate
    return found, None if plan.residual is None else functools.partial(plan.residual.advance, solver)


def batch_loss(plan: Plan, saves: int, network: Any, material: Material, drawn: Mapping[str, Any]) -> Any:
    """The mean over a batch; over a mesh each device takes its part of the batch."""

    def mean(network, material, drawn):
        one = functools.partial(sample_loss, plan, saves)
        return jnp.mean(jax.vmap(one, in_axes=(None, None, 0))(network, material, drawn))

    if plan.mesh is None:
        return mean(network, material, drawn)
    (axis,) = plan.mesh.axis_names
    whole, parts = PartitionSpec(), PartitionSpec(axis)
    over = jax.shard_map(
        lambda *given: jax.lax.pmean(mean(*given), axis),
        mesh=plan.mesh,
        in_specs=(whole, whole, parts),
        out_specs=whole,
    )
    return over(network, material, drawn)


@functools.partial(jax.jit, static_argnames=("plan", "unroll"))
def advance(
    plan: Plan,
    unroll: int,
    state: TrainingState,
    key: Any,
    material: Material,
    pieces: Any,
    first: Any,
    count: Any,
    horizon: Any,
) -> tuple[TrainingState, Any]:
    """`count` iterations from the one with the number `first`: the state after them, and their losses in the first places.

    What an iteration draws depends on the key and on its number alone, so that it does not matter where chunks begin.

    Args:
      pieces: of a stream, ``(windows [count, batch, saves, ...], numbers {name: [count, batch]})``; None without one.
      horizon: of how many iterations these are, for the learning rate.
    """
    saves, training = unroll * plan.rule.bundle + 1, plan.training

    def one(state, key):
        def iterate(i, carry):
            state, losses = carry
            own_key = jax.random.fold_in(key, first + i)
            drawn = draw(plan, material, own_key, saves)
            if pieces is not None:
                drawn |= {"window": pieces[0][i], "numbers": {name: v[i] for name, v in pieces[1].items()}}
            drawn = augmented(plan, material, drawn, own_key, saves)
            if training.noise:
                level = training.noise_level((first + i).astype(losses.dtype), horizon)
                drawn["noise"] = jnp.full(training.batch, level, losses.dtype)
            loss, gradient = jax.value_and_grad(functools.partial(batch_loss, plan, saves))(state.network, material, drawn)
            losses = losses.at[i].set(jnp.where(state.broken, jnp.nan, loss))
            return update(training, state, loss, gradient, (first + i).astype(losses.dtype), horizon), losses

        losses = jnp.full(_LONGEST, jnp.nan, material.unit.dtype)
        return jax.lax.fori_loop(0, count, iterate, (state, losses))

    return over_seeds(one)(state, key) if plan.many else one(state, key)


def over_seeds(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one seed for all of them: at once on an accelerator; in turns on a processor, which gains nothing from a
    batch of seeds.
    """
    if jax.default_backend() == "cpu":
        return lambda *seeds: jax.lax.map(lambda one: function(*one), seeds)
    return jax.vmap(function)


class HeldOut(NamedTuple):
    """Windows that are not trained on: ``[windows, K + 1, channels, *space]``, their numbers and times."""

    windows: Any
    numbers: Mapping[str, Any]
    ts: Any


def held_out(fields: Any, numbers: Mapping[str, Any], bundle: int, dt: float, begin: float) -> HeldOut | None:
    """At most 64 windows, evenly from the runs and their times; None without runs."""
    runs, saves = fields.shape[:2]
    places = [(r, s) for s in range(0, saves - bundle) for r in range(runs)]
    if not places:
        return None
    picked = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, _MOST_WINDOWS).round().astype(int))]
    run, at = (np.asarray(v) for v in zip(*picked, strict=True))
    windows = np.stack([np.asarray(fields[r, s : s + bundle + 1]) for r, s in picked])
    dtype = jnp.result_type(float)
    ts = jnp.asarray(begin + dt * at, dtype)
    return HeldOut(jnp.asarray(windows, dtype), {name: jnp.asarray(v)[run] for name, v in numbers.items()}, ts)


@functools.partial(jax.jit, static_argnames=("plan",))
def held_out_error(plan: Plan, network: Any, material: Material, held: HeldOut) -> Any:
    """Relative L2 error of one evaluation over its K saves, channels in units of their standard deviation: mean over windows."""
    scale = material.prepared["scales"]["scale"].reshape(-1, *(1,) * (held.windows.ndim - 3))

    def one(network):
        def error(given):
            window, numbers, t = given
            evaluate, _ = _functions(dataclasses.replace(plan, residual=None), network, material, numbers)
            found = evaluate(window[0], t)
            norm = lambda v: jnp.sqrt(jnp.sum((v / scale) ** 2))  # noqa: E731
            return norm(found - window[1:]) / norm(window[1:])

        return jnp.mean(jax.lax.map(error, tuple(held), batch_size=8))

    return over_seeds(one)(network) if plan.many else one(network)


# --- the loop ------------------------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    """What the loop ends with; leading axes of seeds where the plan has many.

    Attributes:
      network: the last parameters whose loss was finite.
      losses: ``[(seeds,) iterations]``.
      stopped: "steps", "budget", "not finite" or "batches" (the stream has ended); of each seed.
      seconds: of the iterations, without compilation.
      error: held out; NaN where nothing is.
    """

    network: Any
    losses: np.ndarray
    stopped: list[str]
    seconds: float
    error: np.ndarray


def run(
    plan: Plan,
    network: Any,
    key: Any,
    material: Material,
    held: HeldOut | None,
    *,
    budget: float | None = None,
    progress: Progress = None,
    record: FitRecord | None = None,
    stream: Callable[[int], PieceStream] | None = None,
) -> Trained:
    """Train until the steps, the budget, the stream or the numbers end."""
    training = plan.training
    begin = jax.vmap(functools.partial(start, training)) if plan.many else functools.partial(start, training)
    state = begin(network)
    losses = np.zeros((*jnp.shape(key), 0), material.unit.dtype)
    seconds, stopped, horizon = 0.0, "", float(training.steps)
    if record is not None and (known := record.restore(state)) is not None:
        state, losses, seconds, stopped, horizon = known
    if plan.mesh is not None:
        everywhere = NamedSharding(plan.mesh, PartitionSpec())
        state, material, held, raw = jax.device_put((state, material, held, jax.random.key_data(key)), everywhere)
        key = jax.random.wrap_key_data(raw, impl=jax.random.key_impl(key))  # a key itself cannot be put on other hosts
    done, chunk, said, pace = losses.shape[-1], 1, -math.inf, math.nan
    pieces = None if stream is None or stopped else stream(done)
    try:
        while not stopped:
            unroll, until = training.stage(done, horizon)
            count = int(min(chunk, until - done, training.steps - done))
            given = None
            if pieces is not None:
                if (found := pieces.next()) is None:
                    stopped = "batches"
                    break
                count, given = found
                count = min(count, training.steps - done)
            with Stopwatch() as watch:
                state, new = jax.block_until_ready(advance(plan, unroll, state, key, material, given, done, count, horizon))
            spent = _agreed(watch.run_seconds, plan.mesh)
            seconds += spent
            pace = spent / count
            losses = np.concatenate([losses, np.asarray(new)[..., :count]], axis=-1)
            done += count
            chunk = max(1, min(_LONGEST, 8 * chunk, int(_CHUNK_SECONDS / max(pace, 1e-9))))
            if budget is not None:
                horizon = min(float(training.steps), done + max(budget - seconds, 0.0) / max(pace, 1e-9))
                chunk = max(1, min(chunk, int((budget - seconds) / max(pace, 1e-9))))
            if bool(jnp.all(state.broken)):
                stopped = "not finite"
            elif done >= training.steps:
                stopped = "steps"
            elif budget is not None and seconds >= budget:
                stopped = "budget"
            if progress is not None and (stopped or seconds - said > _PROGRESS_SECONDS):
                progress(_line(plan, state, material, held, losses, done, pace))
                said = seconds
            if record is not None:
                record.keep(state, losses, seconds, stopped, horizon)
    finally:
        if pieces is not None:
            pieces.close()
    network = (jax.vmap(final) if plan.many else final)(state)
    error = np.full(jnp.shape(key), np.nan) if held is None else np.asarray(held_out_error(plan, network, material, held))
    broken = np.atleast_1d(np.asarray(state.broken))
    return Trained(network, losses, ["not finite" if b else stopped for b in broken], seconds, error)


def _agreed(seconds: float, mesh: Mesh | None) -> float:
    """Over several hosts the seconds of the first: they decide how far a chunk goes, and all must go as far."""
    if mesh is None or not mesh.is_multi_process:
        return seconds
    return float(multihost_utils.broadcast_one_to_all(np.float32(seconds)))


def _line(plan: Plan, state: Any, material: Material, held: HeldOut | None, losses: Any, done: int, pace: float) -> str:
    """Loss (the mean of the last iterations, the median over seeds), held-out error, windows per second."""
    seeds = losses.shape[0] if plan.many else 1
    loss = np.median(np.mean(losses[..., -16:], axis=-1))
    text = f"step {done} of {plan.training.steps}: loss {loss:.3e}"
    if held is not None:
        network = (jax.vmap(final) if plan.many else final)(state)
        error = np.median(np.asarray(held_out_error(plan, network, material, held)))
        text += f", held-out error {error:.3e}"
    return text + f", {seeds * plan.training.batch / max(pace, 1e-9):.0f} samples/s"
