"""The DC3 family: a network that answers 10,000 programs with 50 equalities and 50 inequalities each, and cannot violate one.

    python benchmarks/constraints.py --only dc3

    minimise  y'Qy / 2 + p'y  (convex)  or  y'Qy / 2 + p'sin(y)  (not convex),   A y = x,  G y <= h,   y in R^100,

with Q = diag(U[0, 1]), p ~ U[0, 1], A and G ~ N(0, 1), x ~ U[-1, 1]^50 and h = sum_j |G A^+|_j, so that y = A^+ x is feasible
for every x (Donti, Rolnick & Kolter, DC3, ICLR 2021; seed 17).  The network, two layers of 200 units, sees x; its answer is
projected on the set, and the mean objective is minimised through the projection.  References: for the convex objective its
active set in numpy, for the other the best of several starts of scipy's SLSQP, on some of the test programs.  (IPOPT's -14.28,
which HardNet-Aff's authors print beside their -14.10, is for draws of their own: with these the optimum is near -11.6.)
"""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import row

import jaxsci as js

Layer = Callable[[Any, Any], Any]  # (answers [B, n], programs x [B, rows]) -> points [B, n]


class Family(NamedTuple):
    Q: Any  # the diagonal, [n]
    p: Any
    A: Any
    G: Any
    h: Any
    train: Any  # [programs, rows]
    test: Any


def family(n: int = 100, rows: int = 50, inequalities: int = 50, programs: int = 10_000) -> Family:
    """The draws of DC3's own script in its order; a sixth of the programs for tests, as many for validation, unused here."""
    rng = np.random.RandomState(17)
    Q, p = rng.random(n), rng.random(n)
    A = rng.normal(loc=0, scale=1.0, size=(rows, n))
    x = rng.uniform(-1, 1, size=(programs, rows))
    G = rng.normal(loc=0, scale=1.0, size=(inequalities, n))
    h = np.sum(np.abs(G @ np.linalg.pinv(A)), axis=1)
    train = int(programs * 10 / 12)
    tests = (programs - train) // 2
    return Family(*map(jnp.asarray, (Q, p, A, G, h, x[:train], x[-tests:])))


def objective(problem: Family, y: Any, convex: bool) -> Any:
    return jnp.sum(problem.Q * y**2, -1) / 2 + jnp.sum(problem.p * (y if convex else jnp.sin(y)), -1)


def violations(problem: Family, y: Any, x: Any) -> tuple[float, float]:
    """The largest of the equalities and of the inequalities."""
    equal = jnp.abs(y @ problem.A.T - x).max()
    return float(equal), float(jnp.maximum(y @ problem.G.T - problem.h, 0).max())


# --- layers --------------------------------------------------------------------------------------------------------------


def ours(problem: Family) -> Layer:
    """Our projection, its factor prepared once."""
    polytope = js.constraints.Polytope(problem.A, problem.test[0], C=problem.G, C_upper=problem.h)
    prepared = js.constraints.prepare(polytope)
    return lambda y, x: js.constraints.project(dataclasses.replace(prepared, b=x), y)[0]


def pinets(problem: Family) -> Layer | None:
    """Pi-net with its published setting for this family; None where it is not installed."""
    try:
        pinet = importlib.import_module("pinet")
    except ImportError:
        return None
    equality = pinet.EqualityConstraint(problem.A[None], problem.test[:1, :, None], method=None, var_b=True)
    below = jnp.full_like(problem.h, -jnp.inf)
    inequality = pinet.AffineInequalityConstraint(problem.G[None], below[None, :, None], problem.h[None, :, None])
    equilibration = pinet.EquilibrationParams(max_iter=25, tol=1e-3, ord=2.0, col_scaling=False, update_mode="Gauss")
    layer = pinet.Project(eq_constraint=equality, ineq_constraint=inequality, equilibration_params=equilibration)

    def project(y, x):
        given = pinet.ProjectionInstance(x=y[..., None], eq=pinet.EqualityConstraintsSpecification(b=x[..., None]))
        return layer.call(y_raw=given, n_iter=50, sigma=0.0681, omega=1.7, n_iter_bwd=25)[0].x[..., 0]

    return project


# --- training ------------------------------------------------------------------------------------------------------------


class Trained(NamedTuple):
    objective: float  # mean over the test programs
    equality: float  # largest violations over the test programs
    inequality: float
    seconds_per_epoch: float  # of the processor, without compilation
    predict: Callable[[Any], Any]


def train(
    problem: Family, layer: Layer, convex: bool, epochs: int, seed: int = 0, batch: int = 200, rate: float = 2e-3
) -> Trained:
    """Adam with a cosine schedule on the mean objective of the projected answers."""
    count = len(problem.train) // batch
    sizes = (problem.train.shape[1], 200, 200, problem.Q.size)
    keys = jax.random.split(jax.random.key(seed), len(sizes))
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=False)
    parameters = [(jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o)) for k, i, o in shapes]
    parameters[-1] = (
        0.1 * parameters[-1][0],
        parameters[-1][1],
    )  # answers near the set at first, where projections are cheap
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, epochs * count, 0.01))

    def answer(parameters, x):
        hidden = x
        for weight, bias in parameters[:-1]:
            hidden = jax.nn.relu(hidden @ weight + bias)
        return layer(hidden @ parameters[-1][0] + parameters[-1][1], x)

    def loss(parameters, x):
        return jnp.mean(objective(problem, answer(parameters, x), convex))

    @jax.jit
    def epoch(parameters, state, key):
        order = jax.random.permutation(key, len(problem.train))[: count * batch].reshape(count, batch)

        def step(carry, chosen):
            parameters, state = carry
            value, slope = jax.value_and_grad(loss)(parameters, problem.train[chosen])
            change, state = optimiser.update(slope, state)
            return (optax.apply_updates(parameters, change), state), value

        return jax.lax.scan(step, (parameters, state), order)

    state = optimiser.init(parameters)
    compiled = epoch.lower(parameters, state, keys[-1]).compile()
    start = time.process_time()
    for k in jax.random.split(keys[-1], epochs):
        (parameters, state), _ = jax.block_until_ready(compiled(parameters, state, k))
    seconds = (time.process_time() - start) / epochs
    predict = jax.jit(answer)
    y = predict(parameters, problem.test)
    mean = float(objective(problem, y, convex).mean())
    return Trained(mean, *violations(problem, y, problem.test), seconds, lambda x: predict(parameters, x))


# --- references ----------------------------------------------------------------------------------------------------------


def convex_optimum(problem: Family, x: np.ndarray) -> float:
    """The quadratic program's value, by KKT systems over active sets."""
    Q, p, A, G, h = map(np.asarray, problem[:5])
    inverse = 1 / np.maximum(Q, 1e-9)
    rows = np.concatenate([A, G])
    gram, right = (rows * inverse) @ rows.T, np.concatenate([x, h]) + rows @ (inverse * p)
    active = np.arange(len(rows)) < len(A)
    for _ in range(500):  # a primal-dual active set: y minimises, with those that are violated or pushed upon
        multipliers = np.zeros(len(rows))
        multipliers[active] = np.linalg.lstsq(gram[np.ix_(active, active)], -right[active], rcond=None)[0]
        y = -inverse * (p + rows.T @ multipliers)
        change = (rows @ y - np.concatenate([x, h])) + multipliers > 1e-11
        change[: len(A)] = True
        if (change == active).all():
            break
        active = change
    else:
        raise RuntimeError("the active set cycles")
    return float(np.sum(Q * y**2) / 2 + p @ y)


def best_of_starts(problem: Family, x: np.ndarray, starts: int, seed: int) -> float:
    """The least local minimum that SLSQP finds for the objective with the sines."""
    from scipy.optimize import minimize

    Q, p, A, G, h = map(np.asarray, problem[:5])
    value = lambda y: np.sum(Q * y**2) / 2 + p @ np.sin(y)
    slope = lambda y: Q * y + p * np.cos(y)
    conditions = (
        {"type": "eq", "fun": lambda y: A @ y - x, "jac": lambda y: A},
        {"type": "ineq", "fun": lambda y: h - G @ y, "jac": lambda y: -G},
    )
    centre, rng, found = np.linalg.pinv(A) @ x, np.random.default_rng(seed), []
    for k in range(starts):
        start = centre + (k > 0) * rng.normal(size=len(p))
        result = minimize(value, start, jac=slope, constraints=conditions, method="SLSQP", options={"maxiter": 500})
        feasible = np.abs(A @ result.x - x).max() < 1e-6 and (G @ result.x - h).max() < 1e-6
        found += [result.fun] if feasible else []
    return float(min(found))


def rows_dc3(options: Any) -> Iterator[dict[str, Any]]:
    """Both objectives with our layer, and the seconds of an epoch with Pi-net's."""
    with jax.enable_x64(True):
        problem = family(12, 6, 6, 600) if options.smoke else family()
        epochs, tests, starts = (2, 2, 1) if options.smoke else (100, 20, 8)
        peer = pinets(problem)
        for name, convex in (("convex", True), ("sine", False)):
            some = np.asarray(problem.test[:tests])
            best = [convex_optimum(problem, x) if convex else best_of_starts(problem, x, starts, 0) for x in some]
            trained = train(problem, ours(problem), convex, epochs)
            theirs = train(problem, peer, convex, max(2, epochs // 20)).seconds_per_epoch if peer else None
            here = float(objective(problem, trained.predict(problem.test[:tests]), convex).mean())
            gap = (here - np.mean(best)) / abs(np.mean(best))
            yield row(
                f"dc3, {name}: objective above the optimum, relative", ours=gap, target=0.01, meets=bool(gap <= 0.01),
                objective=trained.objective, objective_there=here, optimum_there=float(np.mean(best)), programs=tests,
                epochs=epochs,
            )  # fmt: skip
            worst = max(trained.equality, trained.inequality)
            yield row(
                f"dc3, {name}: largest violation of {len(problem.test)} programs", ours=worst, target=1e-8, meets=worst <= 1e-8,
                equality=trained.equality, inequality=trained.inequality,
            )  # fmt: skip
            faster = theirs is None or trained.seconds_per_epoch <= theirs
            yield row(
                f"dc3, {name}: processor seconds of an epoch", ours=trained.seconds_per_epoch, target=theirs, meets=faster,
                theirs=theirs, peer="pinet-hcnn: n_iter 50, sigma 0.0681, omega 1.7, n_iter_bwd 25",
            )  # fmt: skip
