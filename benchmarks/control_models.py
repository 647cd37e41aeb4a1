"""A surrogate of the Kuramoto-Sivashinsky equation against the solver it learned from, as a base for decisions."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import row

import jaxsci as js

control = js.control


@dataclasses.dataclass(frozen=True)
class Convolving:
    """A Fourier neural operator of flat states and actions: the field, and the field that the actuators make of the actions."""

    shapes: Any = dataclasses.field(hash=False, compare=False)  # [actuators, points]
    operator: Any

    def init(self, key: Any, inputs: int, outputs: int) -> Any:
        return self.operator.init(key, 2, 1)

    def apply(self, parameters: Any, z: Any) -> Any:
        points = self.shapes.shape[1]
        return self.operator.apply(parameters, jnp.stack([z[:points], z[points:] @ self.shapes]))[0]


def rows_surrogate(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Speed, growth of the error and regret; the target of the issue is that they are printed, whatever they are."""
    small = options.smoke
    task = control.systems.flows.kuramoto_sivashinsky(horizon=10 if small else 60)
    explorer = control.GaussianPolicy(actions=4, low=-1.0, high=1.0, log_std=0.0)
    members = 16 if small else 256
    start = explorer.init(jax.random.key(1), task)
    policy = control.NetworkPolicy(actions=4, low=-1.0, high=1.0, scale=1.5)
    params = policy.init(jax.random.key(0), task)
    begun = time.perf_counter()
    runs = jax.block_until_ready(control.rollout(task, explorer, start, jax.random.key(2), batch=members))
    data_seconds = time.perf_counter() - begun
    shapes = task.parameters.equation.shapes[:, 0]
    networks = {
        "MLP": js.networks.MLP((32,) if small else (256, 256), activation="gelu"),
        "FNO": Convolving(shapes, js.networks.FNO((4,), 4, 1) if small else js.networks.FNO((20,), 24, 3)),
    }
    for name, network in networks.items():
        surrogate = control.Surrogate(network)
        begun = time.perf_counter()
        iterations = 3 if small else 4000 if name == "MLP" else 1500
        fit = control.fit_surrogate(surrogate, runs, key=jax.random.key(3), iterations=iterations, batch=128, unroll=2)
        fit_seconds = time.perf_counter() - begun
        report = control.compare(
            task,
            {"solver": task, "surrogate": control.with_surrogate(task, surrogate, fit.parameters)},
            policy,
            params,
            key=jax.random.key(4),
            batch=8 if small else 64,
            iterations=2 if small else 300,
            repeats=1 if small else 7,
        )
        solver, learned = report.rows
        yield row(
            f"models: {name} against the solver, Kuramoto-Sivashinsky control: rollout speed, growth of error, regret",
            ours=solver.rollout_seconds,
            theirs=learned.rollout_seconds,
            target="printed, whichever it is",
            meets=bool(np.isfinite(learned.regret)),
            speed_of_surrogate=learned.speed_ratio,
            one_step_error=fit.one_step_error,
            error_growth=[float(learned.error_growth[i]) for i in (0, len(learned.error_growth) // 2, -1)],
            cost_before=report.start_cost,
            cost_solver_policy=solver.policy_cost,
            cost_surrogate_policy=learned.policy_cost,
            promised_by_surrogate=learned.promised_cost,
            regret=learned.regret,
            regret_standard_error=learned.standard_error,
            regret_of_gain=learned.relative_regret,
            seconds={
                "data": data_seconds,
                "fit": fit_seconds,
                "search": learned.search_seconds,
                "solver_search": solver.search_seconds,
            },
        )
