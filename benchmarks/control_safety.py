"""Safety: constrained tables against the linear program, and policies from data alone with and without a guardian.

    python benchmarks/control.py --only safety

The figures of a guardian are of the TRUE system, which no policy saw: the share of its states and actions whose density is below
the guardian's own threshold; how far the cost promised by the learnt model is from the true one, unguarded / guarded, with the
standard errors of both gaps (where the unguarded one is within two of its own there is nothing to cut) and both root mean squares
over the patients (`by_patient`: in the mean, what is promised too much to one hides what is promised too little to another); the
true cost beside that of the policy that made the data.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import least_cpu_seconds, row

import jaxsci as js
from jaxsci.control.behaviour_cloning import behaviour_cloning
from jaxsci.control.constrained_tables import constrained_policy, lagrangian_policy
from jaxsci.control.datasets import transitions
from jaxsci.control.guardian import fit_guardian, outside_share
from jaxsci.control.offline_models import fit_dynamics, guarded_policy
from jaxsci.control.systems.glucose import GlucoseState, glucose, milliunits_per_minute
from jaxsci.control.systems.sepsis import synthetic_sepsis
from jaxsci.control.tables import TabularMDP

ALPHA = 0.05


def random_table(seed: int, states: int, actions: int) -> tuple[TabularMDP, np.ndarray]:
    """Each action leads to five states; two safety costs, which some action of every state avoids."""
    draw = np.random.default_rng(seed)
    moves = np.zeros((states, actions, states))
    for s, a in itertools.product(range(states), range(actions)):
        moves[s, a, draw.choice(states, 5, replace=False)] = draw.dirichlet(np.ones(5))
    safety = draw.uniform(size=(2, states, actions))
    safety[:, np.arange(states), draw.integers(actions, size=states)] = 0
    costs = draw.normal(size=(states, actions))
    return TabularMDP(jnp.asarray(moves), jnp.asarray(costs), 0.95, jnp.full(states, 1 / states)), safety


def rows_constrained(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    size = (30, 4) if options.smoke else (300, 10)
    for seed in range(1 if options.smoke else max(3, options.seeds)):
        sepsis = synthetic_sepsis(seed)
        mdp, safety = random_table(seed, *size)
        spent = float(constrained_policy(sepsis.mdp, sepsis.vasopressors, 100.0).spent[0])
        cases = {
            f"random, {size[0]} x {size[1]}": (mdp, safety, (6.0, 3.0, 1.0, 0.3)),
            "synthetic sepsis": (sepsis.mdp, sepsis.vasopressors, tuple(spent * s for s in (0.9, 0.6, 0.3, 0.1))),
        }
        for name, (table, costs, limits) in cases.items():
            truth = [constrained_policy(table, costs, limit) for limit in limits]
            ours = [lagrangian_policy(table, costs, limit) for limit in limits]
            apart = max(abs(a.value - b.value) / abs(b.value) for a, b in zip(ours, truth, strict=True))
            violation = max(float(found.violations.max()) for found in ours)
            steps = np.diff([found.value for found in ours])
            spending = np.diff([float(found.spent.sum()) for found in ours])
            title = f"constrained {name}"
            yield row(f"{title}: cost against the linear program", ours=apart, target=0.005, meets=apart <= 0.005, seed=seed)
            yield row(f"{title}: violation", ours=violation, target=1e-3, meets=violation <= 1e-3, seed=seed)
            good = bool((steps >= 0).all() and (spending <= 1e-9).all())
            yield row(
                f"{title}: monotone in the limit", ours=float(steps.min()), target="tighter costs more, spends less", meets=good,
                seed=seed, values=[found.value for found in ours],
            )  # fmt: skip
    calls = {"ours": lambda: lagrangian_policy(mdp, safety, 1.0), "program": lambda: constrained_policy(mdp, safety, 1.0)}
    seconds = least_cpu_seconds(calls, 1 if options.smoke else 3)
    ratio = seconds["program"] / seconds["ours"]
    yield row(
        f"constrained random, {size[0]} x {size[1]}: linear program / multipliers, CPU", ours=seconds["ours"],
        theirs=seconds["program"], target=1.0, meets=ratio >= 1.0,
    )  # fmt: skip


class Clinic(NamedTuple):
    """A true system, what its clinicians do, a policy to train, and how much of everything."""

    name: str
    task: js.control.Task
    behaviour: Callable[..., Any]
    policy: js.control.NetworkPolicy
    patients: int
    iterations: int
    network: Any


def poisoning() -> Clinic:
    """An illness that falls with the dose; a dose above 1 poisons, and no record has one above 0.9."""

    def dynamics(p, s, a, *, key):
        return 0.9 * s - 0.5 * a + 4 * jnp.maximum(a - 1, 0) ** 2 + 0.02 * jax.random.normal(key)

    def behaviour(p, s, *, key):
        return jnp.clip(0.2 * s + 0.15 * jax.random.normal(key), 0.0, 0.9)

    task = js.control.Task(
        dynamics=dynamics,
        cost=lambda p, s, a, s1: s1**2,
        init=lambda p, *, key: jax.random.uniform(key, minval=2.0, maxval=4.0),
        constraint=lambda p, s, a: {"dose": a - 0.3},
        horizon=8,
    )
    network = js.networks.MLP((16,), "silu")
    policy = js.control.NetworkPolicy(network, low=0.0, high=3.0, center=1.5)
    return Clinic("poisoning", task, behaviour, policy, 80, 400, network)


def diabetes(most: float = 60.0) -> Clinic:
    """Four hours after a meal, infusions every 10 minutes: up to `most` mU/min in the records, 150 at the pump.

    Within 60 the records reach all that a good policy needs. With 25 they leave a hole where it would go.
    """

    def init(p, *, key):
        level, meal = jax.random.uniform(key, (2,))
        return GlucoseState(100 + 120 * level, jnp.zeros_like(level), 15 * jnp.ones_like(level), 4 * meal)

    def behaviour(p, s, *, key):
        wanted = milliunits_per_minute(1.0) + 0.15 * (s.glucose - 110) - 1500 * s.remote
        return jnp.clip(wanted + 8 * jax.random.normal(key), 0.0, most)

    task = glucose(horizon=24, minutes=10.0).replace(init=init)
    policy = js.control.NetworkPolicy(
        js.networks.MLP((32, 32)), low=0.0, high=150.0, center=(140.0, 0.005, 20.0, 1.0), scale=(40.0, 0.005, 10.0, 1.0)
    )
    name = "glucose" if most == 60 else f"glucose, records up to {most:g} mU/min"
    return Clinic(name, task, behaviour, policy, 40, 300, js.networks.MLP((48, 48), "silu"))


class Learnt(NamedTuple):
    """What a policy promised, what it cost in truth, and the share of its visits that lie outside."""

    promised: float
    cost: float
    outside: float
    violation: float
    error: float  # standard error of promised - cost
    apart: float  # root mean square over the patients of promised - cost: errors of both signs do not cancel in it


def learnt(clinic: Clinic, data: Any, judge: Any, model: Any, start: Any, key: Any, iterations: int, **extra: Any) -> Learnt:
    """A policy from the data, tried in the model and in the true system, on the same 400 patients."""
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(1e-2, iterations, 0.1)))
    found = guarded_policy(
        clinic.policy, start, data, key=key, cost=clinic.task.cost, horizon=clinic.task.horizon, model=model,
        parameters=clinic.task.parameters, iterations=iterations, batch=32, optimiser=optimiser, **extra,
    )  # fmt: skip
    key = jax.random.fold_in(key, 1)
    run = js.control.rollout(clinic.task, clinic.policy, found.params, key, batch=400)
    first = jax.tree.map(lambda leaf: leaf[:, 0], run.observations)  # the same patients, so that their differences drop out
    promised = js.control.rollout(found.state.task, clinic.policy, found.params, key, batch=400, initial=first).total
    (constraint,) = run.constraints.values()
    violation = jnp.mean(jnp.sum(jnp.maximum(constraint, 0.0), axis=1))
    outside = outside_share(judge, transitions(clinic.task, run))
    error = jnp.std(promised - run.total) / 20
    apart = jnp.sqrt(jnp.mean((promised - run.total) ** 2))
    return Learnt(*map(float, (promised.mean(), run.total.mean(), outside, violation, error, apart)))


def rows_guardian(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    clinics = (poisoning(),) if options.smoke else (poisoning(), diabetes(), diabetes(25.0))
    for clinic, seed in itertools.product(clinics, range(1 if options.smoke else max(3, options.seeds))):
        began = time.process_time()
        short = 10 if options.smoke else 1
        keys = jax.random.split(jax.random.key(seed), 7)
        run = js.control.rollout(clinic.task, clinic.behaviour, None, keys[0], batch=clinic.patients)
        data = transitions(clinic.task, run)
        many = js.control.rollout(clinic.task, clinic.behaviour, None, keys[1], batch=400)
        behaviour = float(many.total.mean())
        guardian = fit_guardian(data, alpha=ALPHA, points=600, key=keys[2])
        own = float(outside_share(guardian, transitions(clinic.task, many)))
        model, _ = fit_dynamics(data, key=keys[3], network=clinic.network, members=3, iterations=1200 // short, batch=128)
        first = jax.tree.map(lambda leaf: leaf[0], data.observation)
        start = behaviour_cloning(
            clinic.policy, clinic.policy.init(keys[4], first), data, key=keys[5], iterations=300 // short, batch=128
        ).params  # fmt: skip
        shared = (clinic, data, guardian, model, start, keys[6], clinic.iterations // short)
        free = learnt(*shared, alpha=None)
        held = learnt(*shared, guardian=guardian)
        more = {
            "seed": seed, "behaviour": behaviour, "guarded": held._asdict(), "unguarded": free._asdict(),
            "behaviour_outside": own, "cpu_seconds": time.process_time() - began,
        }  # fmt: skip
        title, most = f"guardian on {clinic.name}", ALPHA + 0.02
        yield row(f"{title}: outside in truth", ours=held.outside, target=most, meets=held.outside <= most, **more)
        gap, careless = abs(held.promised - held.cost), abs(free.promised - free.cost)
        yield row(
            f"{title}: gap promised - true", ours=gap, theirs=careless, target=5.0, meets=careless >= 5 * gap,
            errors=[held.error, free.error], nothing_to_cut=careless <= 2 * free.error, by_patient=[held.apart, free.apart],
            **more,
        )  # fmt: skip
        yield row(
            f"{title}: true cost / behaviour", ours=held.cost / behaviour, target=1.0, meets=held.cost <= behaviour, **more
        )
        if clinic.name == "poisoning":
            limits = (1.2, 0.6) if options.smoke else (1.2, 0.6, 0.2)
            each = [
                learnt(*shared, guardian=guardian, constraint=clinic.task.constraint, limit=limit, penalty=3.0)
                for limit in limits
            ]
            violations = [found.violation for found in each]
            falls = bool(np.all(np.diff(violations) < 0))
            yield row(
                f"{title}: tighter limits, fewer violations", ours=violations[-1], target="falling with the limit", meets=falls,
                seed=seed, limits=list(limits), violations=violations, costs=[found.cost for found in each],
            )  # fmt: skip
