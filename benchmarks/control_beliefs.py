"""Stopping on beliefs against Wald's exact test, designs by information, reasoning chains, the metabolic pathway and its agents.

python benchmarks/control.py --only beliefs
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import row

import jaxsci as js
from jaxsci.control import systems

PUBLISHED = {1.0: (1245.6, 167.6, 176.7, 108.3, 302.8), 0.2: (231.5, 43.5, 47.6, 29.7, 48.3)}  # S, P, Q, R, T of the agents


def rows_beliefs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    cells, seeds = (200 if options.smoke else 1000), range(options.seeds)
    for cost in (0.03, 0.01, 0.003):
        values = js.control.stopping_values(js.control.bernoulli_test((0.4, 0.6), cost), cells=cells)
        high, exact = float(values.thresholds()[1]), js.control.wald_threshold(0.6, cost)
        off = abs(high - exact) * cells
        yield row(
            f"beliefs: dynamic programme, price {cost}: cells from Wald's threshold",
            ours=off, target=1, meets=off <= 1, cells=cells, threshold=high, wald=exact,
        )  # fmt: skip
    cost, prior = 0.01, np.linspace(0.0005, 0.9995, 1000)
    task, exact = (
        js.control.stopping_task(js.control.bernoulli_test((0.4, 0.6), cost), horizon=60),
        js.control.wald_threshold(0.6, cost),
    )
    stages = ((0.02, 1e-2), (0.004, 3e-3), (0.001, 1e-3), (0.0003, 3e-4))
    for seed in seeds:
        x, start = jnp.asarray(0.6), time.perf_counter()
        for temperature, rate in stages:
            steps = 60 if options.smoke else 200
            found = js.control.analytic_policy_gradient(
                task, js.control.ConfidenceThreshold(temperature), x, key=jax.random.key(seed), iterations=steps,
                batch=256 if options.smoke else 1024, optimiser=optax.adam(optax.cosine_decay_schedule(rate, steps)),
            )  # fmt: skip
            x = found.params
        seconds = time.perf_counter() - start
        off = abs(float(x) - exact) * cells
        yield row("beliefs: threshold learned by gradient, cells from Wald's", ours=off, target=1, meets=off <= 1, seed=seed,
                  cells=cells, learned=float(x), wald=exact, seconds=seconds)  # fmt: skip
        paid, least = (js.control.wald_cost(0.6, cost, t, prior).mean() for t in (float(x), exact))
        yield row("beliefs: its expected cost above the least, exactly evaluated", ours=float(paid / least - 1), target=0.005,
                  meets=bool(paid / least - 1 <= 0.005), seed=seed)  # fmt: skip


def rows_information(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    problems = 20 if options.smoke else 500
    subsets = jnp.array(list(itertools.combinations(range(10), 4)))

    @jax.jit
    def share(key):
        phi = jax.random.normal(key, (10, 3)) * jnp.array([1.0, 1.0, 0.3])
        gains = jax.vmap(lambda s: js.control.linear_gaussian_information(phi[s], jnp.eye(3), 0.5))(subsets)
        return js.control.greedy_design(phi, jnp.eye(3), 0.5, 4).information[-1] / jnp.max(gains)

    shares = np.array([share(key) for key in jax.random.split(jax.random.key(0), problems)])
    worst = float(shares.min())
    yield row("beliefs: greedy design, least share of the best of all subsets", ours=1 - worst, target=float(np.exp(-1)),
              meets=worst >= 1 - np.exp(-1), share=worst, mean=float(shares.mean()), problems=problems)  # fmt: skip

    phi = jnp.array([[1.0, 0.0], [0.5, 1.0]])
    exact = float(js.control.linear_gaussian_information(phi, jnp.eye(2), 0.5))
    estimate = jax.jit(
        lambda key: js.control.nested_information(
            key,
            phi,
            lambda *, key: jax.random.normal(key, (2,)),
            lambda theta, design, *, key: design @ theta + 0.5 * jax.random.normal(key, (2,)),
            lambda y, theta, design: -2 * jnp.sum((y - design @ theta) ** 2),
            outer=500 if options.smoke else 20_000,
            inner=500 if options.smoke else 2000,
        )
    )(jax.random.key(0))
    error, allowed = abs(float(estimate.value) - exact), 4 * float(estimate.standard_error) + 0.005
    yield row("beliefs: nested estimate of the gain, nats from the closed form", ours=error, target=allowed,
              meets=error <= allowed, exact=exact)  # fmt: skip


def rows_chain(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    policy = js.control.CategoricalPolicy(5, network=js.networks.MLP((16,)))

    def through(params, observation, *, key):
        return js.control.categorical_through(key, policy.logits(params, observation))

    for name, effect, price, horizon in (("whole steps", 1.0, 0.1, 5), ("half steps", 0.5, 0.05, 6)):
        task = systems.letter_chain(effect=effect, price=price, horizon=horizon)
        _, best = systems.best_chain(task)
        for how, act, gradient, rate in (("score", policy, "score", 1e-2), ("straight-through", through, "pathwise", 5e-3)):
            for seed in range(options.seeds):
                params = policy.init(jax.random.key(seed), task)
                found = js.control.analytic_policy_gradient(
                    task, act, params, key=jax.random.key(seed), iterations=60 if options.smoke else 400, batch=128,
                    gradient=gradient, optimiser=optax.adam(rate),
                )  # fmt: skip
                reward = -float(js.control.rollout(task, policy.mode, found.params).total)
                yield row(f"beliefs: letter chain, {name}, {how}: reward below the best", ours=best - reward, target=0.01,
                          meets=best - reward <= 0.01, best=best, seed=seed)  # fmt: skip


def rows_pathway(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    kinetics = systems.PathwayKinetics()
    golden = np.array([1247.8, 161.3, 178.7, 105.6, 306.5])
    steady = np.asarray(systems.pathway_steady_state(kinetics, 1.0))
    off = float(np.abs(steady - golden).max())
    yield row(
        "beliefs: pathway, steady state at feed 1 against the integrated one", ours=off, target=0.05, meets=off <= 0.05
    )

    task = systems.metabolic_pathway(horizon=20 if options.smoke else 100)
    sweep = jax.jit(jax.vmap(lambda u: -js.control.rollout(task, lambda u, o: u, u).total))(jnp.arange(0.0, 801.0))
    network = js.control.NetworkPolicy(
        js.networks.MLP((16,)), low=0.0, high=800.0, center=(5.0, 4.0, 4.0, 3.0, 4.0), scale=1.5
    )
    iterations, start = (20 if options.smoke else 400), time.perf_counter()
    found = js.control.analytic_policy_gradient(
        task, network, network.init(jax.random.key(0), task), iterations=iterations, batch=None, gradient="straight_through",
        optimiser=optax.adam(optax.cosine_decay_schedule(2e-2, iterations)),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    whole = lambda params, o: js.control.round_through(network(params, o))
    best, feed = float(sweep.max()), int(sweep.argmax())
    learned = -float(js.control.rollout(task, whole, found.params).total)
    yield row("beliefs: pathway, best constant whole feed's yield over the network's", ours=best / learned, target=1.0,
              meets=learned >= best, network=learned, constant=best, feed=feed, seconds=seconds)  # fmt: skip
    if options.smoke:
        return

    agents = systems.metabolic_pathway_agents()
    on_agents = jax.jit(lambda key: -js.control.rollout(agents, whole, found.params, key).total)
    held = jax.jit(lambda key: -js.control.rollout(agents, lambda u, o: u, float(feed), key).total)
    lifted, constant = (float(np.mean([f(jax.random.key(seed)) for seed in range(3)])) for f in (on_agents, held))
    yield row("beliefs: the network's yield on the equations less on agents", ours=abs(lifted / learned - 1), target=0.05,
              meets=abs(lifted / learned - 1) <= 0.05, agents=lifted, equations=learned, constant_on_agents=constant)  # fmt: skip


def rows_agents(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Means over several runs from the steady state of the equations, the beginnings left out.

    Amounts fluctuate as independent molecules do, and for as long as these stay, 1 / dilution = 2000 ticks: the 60,000 ticks of
    one run know 30 R to 5 % only, as much as the target. Hence several runs, whose scatter says how well the mean is known.
    """
    block, blocks, runs = (100, 3, 2) if options.smoke else (5000, 14, 6)
    for feed, target in PUBLISHED.items():
        start = np.round(systems.pathway_steady_state(systems.PathwayKinetics(), feed)).astype(int)

        @jax.jit
        def run(state, key, feed=feed):
            def one(state, key):
                after = systems.pathway_tick(state, feed, key=key)
                return after, after.observed.amounts

            return jax.lax.scan(one, state, jax.random.split(key, block))

        means, spent, lost = np.zeros((runs, blocks, 5)), [], 0
        for i in range(runs):
            place, *keys = jax.random.split(jax.random.key(i), 1 + blocks)
            state = systems.scattered_agents(place, start, capacity=4096 if feed == 1.0 else 1024)
            for j, key in enumerate(keys):
                begin = time.process_time()
                state, amounts = jax.block_until_ready(run(state, key))
                spent.append(time.process_time() - begin)
                means[i, j] = np.mean(amounts, axis=0)
            lost += int(state.lost)
        each = means[:, 2:].mean(axis=1) / np.array(target)
        error, scatter = each.mean(axis=0) - 1, each.std(axis=0, ddof=1) / np.sqrt(runs)
        worst = float(np.abs(error).max())
        yield row(f"beliefs: agents at feed {feed}, worst of five totals from published", ours=worst, target=0.05,
                  meets=worst <= 0.05, error=error.tolist(), standard_error=scatter.tolist(), runs=runs, published=list(target),
                  ticks_a_second=block / min(spent), lost=lost)  # fmt: skip


GROUPS = {
    "beliefs": rows_beliefs,
    "information": rows_information,
    "chain": rows_chain,
    "pathway": rows_pathway,
    "agents": rows_agents,
}
