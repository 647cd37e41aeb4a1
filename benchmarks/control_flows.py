"""Control of the Kuramoto-Sivashinsky equation: steps of the environment against controlgym's, and how far the states are apart.

    python benchmarks/control.py --only flows

Both take controlgym's settings (L = 32 pi, 256 points, eight actuators, held actions) from the same start. Its step of 0.5 is 99
steps of 0.005, not 100 (``int(0.5 // 0.005)``), and ours is as long. The states are compared after t = 10. All of it in double
precision, where theirs is; the sum of the final states is returned, so that nothing can be left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import least_cpu_seconds, row

import jaxsci as js
from jaxsci.control.systems.flows import kuramoto_sivashinsky

STEP = 99 * 0.005
SUBSTEPS = 5  # of order 4


def our_task(horizon: int, start: Any, substeps: int = SUBSTEPS) -> Any:
    return kuramoto_sivashinsky(
        length=32 * math.pi, n=256, actuators=8, sensors=10, support="interval", width=0.1 * 32 * math.pi,
        interval=STEP, substeps=substeps, horizon=horizon, penalty=1 / 256, starts=start[None],
    )  # fmt: skip


def controlgym_run(start: Any, actions: Any) -> tuple[Any, float]:
    """The states after each action, and processor seconds a step, the least of them."""
    env = importlib.import_module("controlgym.envs").KuramotoSivashinskyEnv(sensor_noise_cov=0.0, seed=0)
    env.reset(state=np.asarray(start))
    states, least = [], math.inf
    for action in np.asarray(actions):
        begin = time.process_time()
        env.step(action)
        least = min(least, time.process_time() - begin)
        states.append(env.state)
    return np.stack(states), least


def rows_kuramoto_sivashinsky(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Seconds of a step of the environment at batch 1 and 64, and the error of the state at t = 10."""
    horizon = 2 if options.smoke else 20
    x = 2 * np.pi * np.arange(256) / 256
    start = np.cos(x) * np.sin(6 * x)
    actions = 0.3 * np.random.default_rng(0).standard_normal((horizon, 8))
    try:
        theirs, their_seconds = controlgym_run(start, actions)
    except ImportError:
        theirs, their_seconds = None, None
    task = our_task(horizon, jnp.asarray(start))
    run = jax.jit(lambda u, a: js.control.rollout(task, js.control.sequence, a, jax.random.key(0), initial=u).final)
    error = None
    if theirs is not None:
        error = float(np.linalg.norm(run(start, actions) - theirs[-1]) / np.linalg.norm(theirs[-1]))
    yield row(
        f"flows: Kuramoto-Sivashinsky, state after {horizon} steps, relative difference from controlgym", ours=error,
        target=1e-4, meets=error is not None and error <= 1e-4, substeps=SUBSTEPS,
    )  # fmt: skip
    many = jax.jit(lambda u, a: jax.vmap(lambda u: run(u, a))(u))
    for batch, least in ((1, 50), (64, 400)):
        starts = jnp.asarray(start) * (1 + 0.01 * jnp.arange(batch))[:, None]
        call = (lambda: run(start, actions)) if batch == 1 else functools.partial(many, starts, actions)
        seconds = least_cpu_seconds({"ours": call}, 2 if options.smoke else 10)["ours"] / (horizon * batch)
        meets = their_seconds is not None and their_seconds >= least * seconds
        yield row(
            f"flows: Kuramoto-Sivashinsky, seconds a step at batch {batch} / controlgym", ours=seconds, theirs=their_seconds,
            target=f"ratio {least}", meets=meets, substeps=SUBSTEPS,
        )  # fmt: skip


def rows_gradient(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The gradient of a rollout with respect to all actions, against differences and in multiples of the rollout's time."""
    horizon = 2 if options.smoke else 20
    x = 2 * np.pi * np.arange(256) / 256
    task = our_task(horizon, jnp.asarray(np.cos(x) * np.sin(6 * x)))
    actions = 0.3 * jax.random.normal(jax.random.key(1), (horizon, 8))
    loss = js.control.objective(task, js.control.sequence, remat="step")
    value = jax.jit(lambda a: loss(a, jax.random.key(0)))
    slope = jax.jit(jax.grad(lambda a: loss(a, jax.random.key(0))))
    direction = jax.random.normal(jax.random.key(2), actions.shape)
    central = lambda h: (value(actions + h * direction) - value(actions - h * direction)) / (2 * h)
    exact = (4 * central(5e-4) - central(1e-3)) / 3
    error = float(jnp.abs(jnp.vdot(slope(actions), direction) / exact - 1))
    yield row(
        f"flows: Kuramoto-Sivashinsky, gradient over {horizon} steps, relative error against differences", ours=error,
        target=1e-6, meets=error <= 1e-6,
    )  # fmt: skip
    calls = {"forward": lambda: value(actions), "gradient": lambda: slope(actions)}
    seconds = least_cpu_seconds(calls, 2 if options.smoke else 10)
    times = seconds["gradient"] / seconds["forward"]
    yield row(
        "flows: Kuramoto-Sivashinsky, gradient with a state per step kept, in multiples of the rollout", ours=times, target=5,
        meets=times <= 5,
    )  # fmt: skip
