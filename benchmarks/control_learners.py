"""Learners on equal terms: SHAC, PPO, an evolution strategy and PGPE on the same tasks, by evaluations of the dynamics.

    python benchmarks/control.py --only learners

All have the same network, start from the same weights where their policies have the same form, and count every evaluation of the
dynamics over all members in the same way (a member that waits for the end of a window counts; the reverse pass does not: it costs
time, which the rows print). What is compared is the deterministic policy (the mode, the mean) on starts and draws that no
learner has seen, the same for all. On the fishery each learner has the same budget for its tuning: four rates of its optimiser,
tried with a seed that is not in the race, and three seeds race. On Kuramoto-Sivashinsky, which takes much longer, the settings
were chosen by hand in a few runs each, and one seed races; its row says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import row

import jaxsci as js
from jaxsci.control.critic import Critic
from jaxsci.control.evolution import evolution_strategy, pgpe
from jaxsci.control.ppo import ppo
from jaxsci.control.shac import shac
from jaxsci.control.systems.fishery import fishery
from jaxsci.control.systems.flows import kuramoto_sivashinsky

MLP = js.networks.MLP((32, 32))

# Iterations, members (rollouts of a candidate), rate of the optimiser; PPO's standard deviation at the start is exp(log_std).
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "fishery": {
        "SHAC": {"iterations": 100, "batch": 16, "rate": 5e-3},
        "PPO": {"iterations": 150, "batch": 64, "rate": 1e-3, "log_std": -2.0},
        "ES": {"iterations": 100, "batch": 4, "rate": 2e-2},
        "PGPE": {"iterations": 100, "batch": 4, "rate": 2e-2},
    },
    "Kuramoto-Sivashinsky": {
        "SHAC": {"iterations": 300, "batch": 16, "rate": 5e-3},
        "PPO": {"iterations": 500, "batch": 64, "rate": 2e-3, "log_std": -1.0},
        "ES": {"iterations": 100, "batch": 4, "rate": 3e-2},
        "PGPE": {"iterations": 100, "batch": 4, "rate": 3e-2},
    },
}
WINDOWS = {"SHAC": 25, "PPO": 50}
POPULATION = 64
TUNED = "fishery"
RATES = {  # apart by factors of two, around what is usual for each
    "SHAC": (2.5e-3, 5e-3, 1e-2, 2e-2),
    "PPO": (5e-4, 1e-3, 2e-3, 4e-3),
    "ES": (1e-2, 2e-2, 4e-2, 8e-2),
    "PGPE": (1e-2, 2e-2, 4e-2, 8e-2),
}
TUNING_SEED = 99


def race_tasks(smoke: bool) -> dict[str, tuple[Any, dict[str, Any], Any]]:
    """The tasks, how the policy sees and acts, and the action of a policy that does nothing."""
    horizon = 10 if smoke else 100
    stock = fishery(decision="escapement", horizon=horizon)
    flow = kuramoto_sivashinsky(length=22.0, n=64, actuators=4, horizon=horizon)
    return {
        "fishery": (stock, {"low": 0.0, "high": 15.0, "center": 6.0, "scale": 3.0}, jnp.asarray(15.0)),
        "Kuramoto-Sivashinsky": (flow, {"actions": 4, "low": -1.0, "high": 1.0, "scale": 1.3}, jnp.zeros(4)),
    }


def searched(learner: str, task: Any, forms: dict[str, Any], seed: int, smoke: bool, settings: dict[str, Any]) -> Any:
    """A search and the costs of its deterministic policy after each iteration."""
    iterations, batch, rate = settings["iterations"], settings["batch"], settings["rate"]
    if smoke:
        iterations, batch = 2, 2
    plain = js.control.NetworkPolicy(network=MLP, **forms)
    gaussian = js.control.GaussianPolicy(network=MLP, log_std=settings.get("log_std", -1.0), **forms)
    policy: Any = gaussian if learner == "PPO" else plain
    start = policy.init(jax.random.key(seed + 1), task)
    act = gaussian.mode if learner == "PPO" else plain

    def evaluate(params):
        return jnp.mean(js.control.rollout(task, act, params, jax.random.key(1000), batch=4 if smoke else 32).total)

    shared: dict[str, Any] = {"key": jax.random.key(seed), "iterations": iterations, "batch": batch, "evaluate": evaluate}
    window = min(WINDOWS.get(learner, 1), task.horizon)
    if learner == "SHAC":
        adam = optax.adam(optax.linear_schedule(rate, 0.0, iterations), b1=0.7, b2=0.95)
        optimiser = optax.chain(optax.clip_by_global_norm(1.0), adam)
        critic = Critic(learning_rate=2e-3)
        return evaluate(start), shac(task, policy, start, window=window, optimiser=optimiser, critic=critic, **shared)
    if learner == "PPO":
        adam = optax.adam(optax.linear_schedule(rate, 0.0, iterations * 64))
        optimiser = optax.chain(optax.clip_by_global_norm(0.5), adam)
        return evaluate(start), ppo(task, policy, start, window=window, optimiser=optimiser, **shared)
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, iterations))
    search = {"ES": evolution_strategy, "PGPE": pgpe}[learner]
    population = 4 if smoke else POPULATION
    return evaluate(start), search(task, policy, start, population=population, optimiser=optimiser, **shared)


def curve_of(learner: str, task: Any, forms: Any, seed: int, smoke: bool, settings: Any) -> tuple[Any, Any]:
    """The evaluations so far and the cost of the deterministic policy, from the start on."""
    first, found = searched(learner, task, forms, seed, smoke, settings)
    costs = np.concatenate([[float(first)], found.history["evaluation"]])
    return np.concatenate([[0], found.history["environment_steps"]]), costs


def tuned(task: Any, forms: Any, idle: float, smoke: bool, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the rate, of four for each learner, that came to 95 % of what anybody reached with the fewest evaluations."""
    rates = {learner: those[:1] if smoke else those for learner, those in RATES.items()}
    tried = {
        (learner, rate): curve_of(learner, task, forms, TUNING_SEED, smoke, settings[learner] | {"rate": rate})
        for learner, those in rates.items()
        for rate in those
    }
    best = min(float(np.nanmin(costs)) for _, costs in tried.values())
    level = idle - 0.95 * (idle - best)

    def worth(learner, rate):
        steps, costs = tried[learner, rate]
        needed = first_at(steps, costs, level)
        return (steps[-1] + 1 if needed is None else needed, float(np.nanmin(costs)))

    chosen = {
        learner: min(those, key=lambda rate, learner=learner: worth(learner, rate)) for learner, those in rates.items()
    }
    return {learner: settings[learner] | {"rate": rate} for learner, rate in chosen.items()}


def rows_race(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Steps to a share of the best improvement that anybody made over the policy that does nothing."""
    for name, (task, forms, nothing) in race_tasks(options.smoke).items():
        key, batch = jax.random.key(1000), 4 if options.smoke else 32
        idle = float(jnp.mean(js.control.rollout(task, lambda _, o, a=nothing: a, None, key, batch=batch).total))
        settings, equal = SETTINGS[name], name == TUNED
        if equal:
            settings = tuned(task, forms, idle, options.smoke, settings)
        seeds = range(max(3, options.seeds) if equal and not options.smoke else options.seeds)
        tuning = "four rates each, with another seed" if equal else "by hand, a few runs each"
        ratios = []
        for seed in seeds:
            curves, seconds = {}, {}
            for learner in settings:
                begun = time.process_time()
                curves[learner] = curve_of(learner, task, forms, seed, options.smoke, settings[learner])
                seconds[learner] = time.process_time() - begun
            for told_row in race_rows(name, curves, idle, seconds, seed):
                if told_row["target"]:
                    ratios.append(told_row["ratio"] if told_row["meets"] or told_row["reached"] else 0.0)
                rates = {learner: chosen["rate"] for learner, chosen in settings.items()}
                yield told_row | {"tuning": tuning, "rates": rates, "seeds": len(seeds)}
        if len(seeds) > 1:
            yield row(
                f"learners: {name}, the next learner's evaluations / SHAC's, least of {len(seeds)} seeds", ours=min(ratios),
                target=10, meets=min(ratios) >= 10, seed=list(seeds), ratios=ratios, tuning=tuning,
            )  # fmt: skip


def race_rows(name: str, curves: Any, idle: float, seconds: Any, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each level: 95 % is the target; 99 % and the last costs are said too."""
    best = min(float(np.nanmin(costs)) for _, costs in curves.values())
    last = {learner: float(costs[-1]) for learner, (_, costs) in curves.items()}
    for share in (0.95, 0.99):
        level = idle - share * (idle - best)
        needed = {learner: first_at(steps, costs, level) for learner, (steps, costs) in curves.items()}
        budget = {learner: int(steps[-1]) for learner, (steps, _) in curves.items()}
        others = {learner: needed[learner] or budget[learner] for learner in curves if learner != "SHAC"}
        nearest = min(others, key=lambda learner: others[learner])
        reached = needed["SHAC"] is not None
        ours, theirs = needed["SHAC"] or budget["SHAC"], others[nearest]
        yield row(
            f"learners: {name}, evaluations to {share:.0%} of the best, SHAC",
            ours=ours, theirs=theirs, target="a tenth" if share == 0.95 else None,
            meets=reached and theirs >= 10 * ours if share == 0.95 else reached, seed=seed, nearest=nearest,
            at_least=needed[nearest] is None, reached=reached, needed=needed, budget=budget, idle=idle, best=best, last=last,
            curves={learner: told(*curve) for learner, curve in curves.items()}, cpu_seconds=seconds,
            precision=str(jnp.result_type(float)),
        )  # fmt: skip


def first_at(steps: Any, costs: Any, level: float) -> int | None:
    """The evaluations after which the cost is at a level or below for the first time: lucky moments count for everybody."""
    below = np.flatnonzero(costs <= level)
    return int(steps[below[0]]) if len(below) else None


def told(steps: Any, costs: Any, points: int = 8) -> list[tuple[int, float]]:
    """Points of a curve, evenly spread in the logarithm of the steps."""
    chosen = np.unique(np.geomspace(1, len(steps) - 1, points).astype(int))
    return [(int(steps[i]), float(costs[i])) for i in chosen]
