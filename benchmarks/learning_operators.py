"""Operators trained on the residual of a family, against the solver that would have solved each member: when do they break even?

    python benchmarks/learning.py --only operators

A row trains one operator without data and evaluates it on 64 new members, all of them in one compiled call, at 51 times and
all grid points. The solver beside it is the first of three `Spectral` runs, from the cheapest on, whose own worst error over the
same members is no larger, mapped over them in the same way. `ours` and `theirs` are CPU seconds of
this process for one member, without compilation; `worst` and `solver_worst` are errors.
`break_even` is the number of members from which training has paid, null where the solver is the faster one per member as well.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import row

import jaxsci as js
from jaxsci.learning import Even, FirstOrder, LevenbergMarquardt, PhysicsInformedOperator, Scheme
from jaxsci.networks import FNO, MLP, DeepONet

MEMBERS = 64
TIMES = np.linspace(0, 1, 51)


def heat(key):
    return js.problems.heat(diffusivity=jax.random.uniform(key, minval=0.1, maxval=0.5))


def burgers(key):
    return js.problems.burgers(viscosity=jax.random.uniform(key, minval=0.05, maxval=0.2))


BOX = js.Box(t=(0, 1), x=(0, 1))
RING = js.Problem(
    js.problems.burgers().equation,
    BOX,
    coefficients={"viscosity": 0.02},
    initial={"u": lambda x: js.sin(2 * np.pi * x)},
    name="periodic Burgers",
)


def starts(key):
    one, two = jax.random.split(key)
    start = js.problems.random_fourier_series(two, BOX, cutoff=2, rms=0.5)
    return RING.with_coefficients(viscosity=jax.random.uniform(one, minval=0.02, maxval=0.05)).with_initial(u=start)


LEAST_SQUARES = (FirstOrder(steps=300, points=1000), LevenbergMarquardt(points=2000, steps=80))
ADAM = FirstOrder(optax.adam(optax.cosine_decay_schedule(5e-3, 1000)), steps=1000, points=16, resample=25)
ROWS = {
    "heat, diffusivity in [0.1, 0.5], DeepONet": PhysicsInformedOperator(
        heat, DeepONet(MLP((8,)), MLP((12, 12)), sensors=1, rank=8), LEAST_SQUARES, budget=None
    ),
    "burgers, viscosity in [0.05, 0.2], DeepONet": PhysicsInformedOperator(
        burgers, DeepONet(MLP((10,)), MLP((14, 14)), sensors=1, rank=12), LEAST_SQUARES, budget=None
    ),
    "burgers, viscosity in [0.05, 0.2], MLP": PhysicsInformedOperator(burgers, MLP((14,) * 3), LEAST_SQUARES, budget=None),
    "periodic burgers, random starts, FNO": PhysicsInformedOperator(
        starts, FNO(modes=(8,), channels=16, layers=3), ADAM, Scheme(Even()), budget=None, grid=32, nodes=9
    ),
}


def per_member(evaluate, members) -> tuple[np.ndarray, float]:
    """Fields of all members by one compiled call, and CPU seconds per member of the second call."""
    mapped = jax.jit(jax.vmap(evaluate))
    fields = jax.block_until_ready(mapped(members))
    start = time.process_time()
    jax.block_until_ready(mapped(members))
    return np.asarray(fields), (time.process_time() - start) / MEMBERS


def relative(fields, truth) -> np.ndarray:
    axes = tuple(range(1, fields.ndim))
    return np.sqrt(np.sum((fields - truth) ** 2, axis=axes) / np.sum(truth**2, axis=axes))


def measure(name: str, operator: PhysicsInformedOperator, seed: int) -> dict[str, Any]:
    """One operator against the solver that reaches its worst error; costs are CPU seconds per member."""
    start = time.process_time()
    trained = operator.fit(jax.random.key(seed))
    training = time.process_time() - start
    members = jax.vmap(operator.family)(jax.random.split(jax.random.key(1000 + seed), MEMBERS))
    fields, seconds = per_member(lambda problem: trained(problem, ts=TIMES).fields, members)
    n = operator.grid

    def spectral(size: int, steps: int):
        method = js.Spectral(n=size, dt=1 / steps, estimate=False)
        periodic = "random starts" in name

        def evaluate(problem):
            solved = js.solve(problem, method, ts=TIMES).fields
            if periodic:  # the far end of the period is not saved
                solved = jnp.concatenate([solved, solved[..., :1]], axis=-1)
            return solved[..., :: max(size // n, 1)]

        return evaluate

    truth, _ = per_member(spectral(4 * n, 400), members)
    errors = relative(fields, truth)
    for size, steps in ((n, 50), (2 * n, 50), (2 * n, 100)):
        solved, cost = per_member(spectral(size, steps), members)
        error = relative(solved, truth).max()
        if error <= errors.max():
            break
    return row(
        name, ours=seconds, theirs=cost, target=1.0, meets=cost > seconds, seed=seed, worst=errors.max(),
        median=statistics.median(errors.tolist()), training_seconds=training, parameters=trained.stats["parameters"],
        residual=trained.stats["residual"], solver=f"Spectral(n={size}, dt=1/{steps})", solver_worst=error,
        break_even=round(training / (cost - seconds)) if cost > seconds else None,
    )  # fmt: skip


def rows(seeds: Sequence[int] = (0,), only: str = "") -> Iterator[dict[str, Any]]:
    """Every row whose name contains `only`, for every seed."""
    for name, operator in ROWS.items():
        if only in name:
            for seed in seeds:
                yield measure(name, operator, seed)
