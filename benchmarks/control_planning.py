"""Planning: iLQR and its derivatives, sampling planners against it, tree search.

    python benchmarks/control.py --only planning

The pendulum hangs (or nearly) and is swung up: 50 steps of 0.05 s, semi-implicit Euler.
Seconds are processor seconds of one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from command import least_cpu_seconds, row
from jax.flatten_util import ravel_pytree

from jaxsci.control.ilqr import CONVERGED, ilqr
from jaxsci.control.sampling_planners import cem, mppi
from jaxsci.control.task import Task
from jaxsci.control.tree_search import tree_search


def swing(p, s, a):
    speed = s[1] + 0.05 * (1.5 * p["gravity"] * jnp.sin(s[0]) + 3 * a)
    return jnp.stack([s[0] + 0.05 * speed, speed])


def pendulum(horizon: int) -> Task:
    return Task(
        dynamics=swing,
        cost=lambda p, s, a, s1: 2 * p["angle"] * (1 - jnp.cos(s[0])) + 0.1 * s[1] ** 2 + 0.01 * a**2,
        terminal=lambda p, s: 20 * (1 - jnp.cos(s[0])) + s[1] ** 2,
        init=lambda p: jnp.array([jnp.pi, 0.0]),
        horizon=horizon,
        parameters={"gravity": 10.0, "angle": 1.0},
    )


def rows_ilqr(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    horizon, batch = (10, 4) if options.smoke else (50, 64)
    task = pendulum(horizon)
    guess = jnp.full(horizon, 0.01)
    start = task.first_state()
    starts = start + 0.5 * jax.random.normal(jax.random.key(0), (batch, 2))
    one = jax.jit(lambda s: ilqr(task, guess, s))
    many = jax.jit(jax.vmap(lambda s: ilqr(task, guess, s)))
    begun = time.process_time()
    jax.block_until_ready(one(start))
    compiling = time.process_time() - begun
    yield row("planning: ilqr, compile seconds", ours=compiling, target=8.0, meets=compiling <= 8.0)
    spent = least_cpu_seconds({"one": lambda: one(start), "many": lambda: many(starts)}, 2 if options.smoke else 10)
    plans = many(starts)
    share = float(jnp.mean(plans.status == CONVERGED))
    # No peer in this process: trajax, measured apart, took 7.7 ms and 447 ms for a pendulum of 50 steps.
    for name, members in (("one", 1), ("many", batch)):
        yield row(
            f"planning: ilqr, {members} x {horizon} steps, milliseconds", ours=1e3 * spent[name], target=None, meets=share == 1,
            converged=share, sweeps=int(plans.steps.max()),
        )  # fmt: skip


def rows_ilqr_gradients(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Of the first action in start, cost and dynamics; trajax raises an exception here."""
    horizon = 10 if options.smoke else 30
    task = pendulum(horizon)
    flat, back = ravel_pytree({"start": jnp.array([2.0, 0.3]), "parameters": task.parameters})

    def first(v):
        d = back(v)
        return ilqr(task, jnp.zeros(horizon), d["start"], parameters=d["parameters"], tol=1e-13).actions[0]

    slope = jax.jit(jax.grad(first))(flat)
    h = 1e-4 * jnp.eye(flat.size)
    values = jax.jit(jax.vmap(first))(jnp.concatenate([flat + h, flat - h, flat + h / 2, flat - h / 2])).reshape(4, -1)
    exact = (4 * (values[2] - values[3]) / 1e-4 - (values[0] - values[1]) / 2e-4) / 3
    for name in ("start", "parameters"):
        ours, right = (ravel_pytree(back(v)[name])[0] for v in (slope, exact))
        error = float(jnp.max(jnp.abs(ours - right)) / jnp.max(jnp.abs(right)))
        yield row(f"planning: ilqr, gradient in {name}", ours=error, target=1e-3, meets=error <= 1e-3, theirs=None)


def rows_sampling(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The cost over that of the best local optimum that iLQR finds from the sampled plans."""
    horizon, iterations = (10, 5) if options.smoke else (30, 40)
    task = pendulum(horizon)
    start = jnp.array([2.0, 0.0])
    bounds: dict[str, Any] = {"low": -5.0, "high": 5.0}
    for name, planner in (("mppi", mppi), ("cem", cem)):

        def both(key, planner=planner):
            plan = planner(
                task, jnp.zeros(horizon), start, key=key, std=4.0, correlation=0.5, iterations=iterations, **bounds
            )
            return plan.cost, ilqr(task, plan.actions, start, **bounds).cost

        for seed in range(options.seeds):
            cost, best = jax.jit(both)(jax.random.key(seed))
            excess = float(cost / best - 1)
            yield row(f"planning: {name}, cost above iLQR's", ours=excess, target=0.03, meets=excess <= 0.03, seed=seed)


def rows_tree_search(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Simulations a second with 64 members and 16 choices, in single precision; the peer is mctx, its loop and the same model."""
    if importlib.util.find_spec("mctx") is None:
        yield row("planning: tree search", ours=None, target=2.0, meets=False, skipped="mctx is not installed")
        return
    members, counts = (4, (8, 16)) if options.smoke else (64, (32, 128))
    moves = 0.3 * jax.random.normal(jax.random.key(1), (16, 4), jnp.float32)
    cost = lambda s: jnp.sum((s - 0.5) ** 2)
    task = Task(
        dynamics=lambda p, s, a: jnp.tanh(s + p[a]),
        cost=lambda p, s, a, s1: cost(s1),
        init=lambda p, *, key: jax.random.normal(key, (4,), jnp.float32),
        horizon=1000,
        parameters=moves,
        discount=0.97,
    )

    def ours(simulations):
        return jax.jit(
            lambda key: tree_search(
                task, lambda p, s: s @ moves.T, key=key, value=lambda p, s: cost(s), batch=members, simulations=simulations
            )
        )  # fmt: skip

    def theirs(simulations):
        mctx: Any = importlib.import_module("mctx")

        def edge(_, key, action, state):
            state = jnp.tanh(state + moves[action])
            worth = -jax.vmap(cost)(state)
            discount = jnp.full(members, 0.97, jnp.float32)
            told = mctx.RecurrentFnOutput(reward=worth, discount=discount, prior_logits=state @ moves.T, value=worth)
            return told, state

        @jax.jit
        def search(key):
            state = jax.random.normal(key, (members, 4), jnp.float32)
            root = mctx.RootFnOutput(prior_logits=state @ moves.T, value=-jax.vmap(cost)(state), embedding=state)
            out = mctx.gumbel_muzero_policy(None, key, root, edge, simulations)
            return out.action, out.action_weights, out.search_tree.summary()

        return search

    key = jax.random.key(0)
    calls = {f"{made.__name__} {n}": made(n) for n in counts for made in (ours, theirs)}
    spent = least_cpu_seconds({name: lambda f=f: f(key) for name, f in calls.items()}, 2 if options.smoke else 5)
    speed = {name: members * int(name.split()[1]) / seconds for name, seconds in spent.items()}
    few, most = counts
    falls = {who: speed[f"{who} {few}"] / speed[f"{who} {most}"] for who in ("ours", "theirs")}
    yield row(
        f"planning: tree search, simulations a second fall from {few} to {most} by", ours=falls["ours"], theirs=falls["theirs"],
        target=2.0, meets=falls["ours"] <= 2, precision="float32", few=speed[f"ours {few}"], many=speed[f"ours {most}"],
        their_few=speed[f"theirs {few}"], their_many=speed[f"theirs {most}"],
    )  # fmt: skip
