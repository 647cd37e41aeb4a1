"""Rollouts and their gradients: the pendulum of every library of environments, against gymnax and gymnasium.

    python benchmarks/control.py --only rollouts

The same policy, starts and steps for all, in single precision as is their custom; the gradients are compared in double. Every
final state and every cost enters a number that is returned, so that no compiler can leave anything out. A gymnasium loop is
timed by the step, with the policy in NumPy. The policy's network alone is timed beside them (with its states remembered and the
rest computed again, where it is differentiated): all evaluate it, and it bounds what any rollout can win.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from command import least_cpu_seconds, row

import jaxsci as js
from jaxsci.control.systems.pendulum import State, pendulum

WIDTHS = (3, 64, 64, 1)


def policy(params: Any, seen: Any) -> Any:
    """A perceptron 64-64 with tanh; the others' environments limit its torque, and so does ours."""
    for weights, bias in params[:-1]:
        seen = jnp.tanh(seen @ weights + bias)
    weights, bias = params[-1]
    return seen @ weights + bias


def inputs(batch: int) -> tuple[Any, Any]:
    """Parameters of the policy and starts, in the precision that holds."""
    keys = jax.random.split(jax.random.key(0), len(WIDTHS))
    params = [
        (jax.random.normal(key, (a, b), jnp.float32).astype(float) / np.sqrt(a), jnp.zeros(b))
        for key, a, b in zip(keys[1:], WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]
    angle, rate = jax.random.uniform(keys[0], (2, batch), jnp.float32, -1.0, 1.0).astype(float)
    return params, State(jnp.pi * angle, rate)


def our_loss(batch: int, horizon: int) -> Callable[..., Any]:
    loss = js.control.objective(pendulum(horizon=horizon), policy, batch=batch)
    return lambda params, start: loss(params, initial=start)


def our_rollout(batch: int, horizon: int) -> Callable[..., Any]:
    """The mean cost and the sum of the final angles."""
    task = pendulum(horizon=horizon)

    def run(params, start):
        told = js.control.rollout(task, policy, params, batch=batch, initial=start)
        return jnp.mean(told.total), jnp.sum(told.final.angle)

    return run


def gymnax_rollout(batch: int, horizon: int) -> Callable[..., Any]:
    """The same by gymnax's differentiable environment: the mean cost and the sum of the final angles."""
    gymnax = importlib.import_module("gymnax")
    EnvState = importlib.import_module("gymnax.environments.classic_control.pendulum").EnvState

    env, numbers = gymnax.make("Pendulum-v1")
    env = env.with_transition_gradients()
    numbers = numbers.replace(max_steps_in_episode=horizon + 1)  # or the last step would return a fresh start

    def member(params, key, start):
        state = EnvState(theta=start.angle, theta_dot=start.rate, last_u=jnp.zeros_like(start.angle), time=0)

        def step(carry, key):
            seen, state = carry
            seen, state, reward, *_ = env.step(key, state, policy(params, seen), numbers)
            return (seen, state), -reward

        (_, state), costs = jax.lax.scan(step, (env.get_obs(state), state), jax.random.split(key, horizon))
        return jnp.sum(costs), state.theta

    def run(params, start):
        keys = jax.random.split(jax.random.key(0), batch)
        totals, angles = jax.vmap(member, in_axes=(None, 0, 0))(params, keys, start)
        return jnp.mean(totals), jnp.sum(angles)

    return run


def network_alone(batch: int, horizon: int) -> Callable[..., Any]:
    """What everybody evaluates, and nothing else: the policy, step by step, what it says added to what it sees next."""

    def run(params, start):
        def step(seen, _):
            return seen + 1e-3 * jax.vmap(policy, in_axes=(None, 0))(params, seen), None

        seen = jnp.stack([start.angle, start.rate, start.angle], axis=1)
        return jnp.mean(jax.lax.scan(jax.checkpoint(step, prevent_cse=False), seen, length=horizon)[0])

    return run


def gymnasium_seconds(params: Any, steps: int) -> float:
    """Processor seconds of one step of a loop in Python, the least of three runs."""
    gymnasium = importlib.import_module("gymnasium")

    weights = jax.tree.map(np.asarray, params)
    env = gymnasium.make("Pendulum-v1", max_episode_steps=steps + 1)
    least = float("inf")
    for seed in range(3):
        seen, _ = env.reset(seed=seed)
        start = time.process_time()
        for _ in range(steps):
            for w, b in weights[:-1]:
                seen = np.tanh(seen @ w + b)
            seen, *_ = env.step(seen @ weights[-1][0] + weights[-1][1])
        least = min(least, (time.process_time() - start) / steps)
    return least


def compiled(function: Callable[..., Any], *args: Any) -> tuple[Callable[[], Any], float]:
    """A call without arguments, and the MB of temporary memory that it needs."""
    program = jax.jit(function).lower(*args).compile()
    memory: Any = program.memory_analysis()
    return lambda: program(*args), memory.temp_size_in_bytes / 1e6


def rows_gradient(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The gradient of rollouts: seconds, temporary memory, and how far the two are apart."""
    batch, horizon = (64, 20) if options.smoke else (2048, 200)
    size = f"{batch} x {horizon}"
    with jax.enable_x64(False):
        args = inputs(batch)
        ours, our_memory = compiled(jax.value_and_grad(our_loss(batch, horizon)), *args)
        alone = compiled(jax.value_and_grad(network_alone(batch, horizon)), *args)[0]
        calls = {"ours": ours, "network": alone}
        theirs: Any = _gymnax_gradient(batch, horizon, args)
        if theirs:
            calls["gymnax"] = theirs[0]
        seconds = least_cpu_seconds(calls, 2 if options.smoke else 10)
        single = _difference(ours(), theirs[0]()) if theirs else None
    double = None
    if theirs:
        args = inputs(batch)
        other: Any = _gymnax_gradient(batch, horizon, args)
        exact = jax.value_and_grad(our_loss(batch, horizon))
        double = _difference(jax.jit(exact)(*args), other[0]())
    their_seconds, their_memory = seconds.get("gymnax"), theirs[1] if theirs else None
    faster = bool(their_seconds) and their_seconds >= 2.5 * seconds["ours"]
    yield row(
        f"rollouts: gradient {size}, seconds / gymnax", ours=seconds["ours"], theirs=their_seconds, target="ratio 2.5",
        meets=faster, precision="float32", network_alone=seconds["network"],
        ratio_if_all_else_were_free=their_seconds / seconds["network"] if their_seconds else None,
    )  # fmt: skip
    yield row(
        f"rollouts: gradient {size}, temporary MB / gymnax", ours=our_memory, theirs=their_memory, target="ratio 80",
        meets=bool(their_memory) and their_memory >= 80 * our_memory, precision="float32",
    )  # fmt: skip
    yield row(
        f"rollouts: gradient {size}, relative difference from gymnax", ours=double, target=1e-6,
        meets=double is not None and double <= 1e-6, single_precision=single,
    )  # fmt: skip


def rows_forward(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rollouts alone, costs and final states kept: seconds against gymnax, and by the step against a gymnasium loop."""
    batch, horizon = (64, 20) if options.smoke else (2048, 200)
    with jax.enable_x64(False):
        params, start = inputs(batch)
        calls = {
            "ours": compiled(our_rollout(batch, horizon), params, start)[0],
            "network": compiled(network_alone(batch, horizon), params, start)[0],
        }
        with contextlib.suppress(ImportError):
            calls["gymnax"] = compiled(gymnax_rollout(batch, horizon), params, start)[0]
        seconds = least_cpu_seconds(calls, 2 if options.smoke else 10)
        ours, apart = seconds["ours"], None
        if "gymnax" in calls:
            apart = float(jnp.abs(calls["ours"]()[0] / calls["gymnax"]()[0] - 1))
    theirs, network = seconds.get("gymnax"), seconds["network"]
    yield row(
        f"rollouts: forward {batch} x {horizon}, seconds / gymnax", ours=ours, theirs=theirs, target="ratio 2",
        meets=bool(theirs) and theirs >= 2 * ours, precision="float32", relative_difference_of_costs=apart,
        network_alone=network, ratio_if_all_else_were_free=theirs / network if theirs else None,
    )  # fmt: skip
    try:
        theirs = gymnasium_seconds(params, 200 if options.smoke else 5000)
    except ImportError:
        theirs = None
    ours, network = ours / (batch * horizon), network / (batch * horizon)
    yield row(
        f"rollouts: forward {batch} x {horizon}, seconds a step / gymnasium loop", ours=ours, theirs=theirs, target="ratio 300",
        meets=bool(theirs) and theirs >= 300 * ours, precision="float32", network_alone=network,
        ratio_if_all_else_were_free=theirs / network if theirs else None,
    )  # fmt: skip


def _gymnax_gradient(batch: int, horizon: int, args: Any) -> tuple[Callable[[], Any], float] | None:
    try:
        run = gymnax_rollout(batch, horizon)
    except ImportError:
        return None
    return compiled(jax.value_and_grad(lambda params, start: run(params, start)[0]), *args)


def _difference(ours: Any, theirs: Any) -> float:
    a, b = (jax.flatten_util.ravel_pytree(gradient)[0] for _, gradient in (ours, theirs))
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
