"""Projections on {A x = b, l <= x <= u}: times against other packages, derivatives against exact ones, and hard cases."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import least_cpu_seconds, row

import jaxsci as js

N, M = 100, 50
Call = Callable[[], Any]


def instances(batch: int, seed: int = 0, *, hard: bool = False) -> dict[str, Any]:
    """Random feasible projections; the hard ones have a condition number of 100 and 39 % of their bounds active."""
    rng = np.random.default_rng(seed)
    if hard:
        U, _, Vt = np.linalg.svd(rng.normal(size=(M, N)), full_matrices=False)
        A, inside, y = (
            10 * U @ np.diag(np.geomspace(1, 0.01, M)) @ Vt,
            rng.normal(size=(batch, N)),
            3 * rng.normal(size=(batch, N)),
        )
        inside = np.clip(inside, -0.97, 0.97)
    else:
        A, inside, y = rng.normal(size=(M, N)), rng.uniform(-0.5, 0.5, size=(batch, N)), rng.normal(size=(batch, N))
    numbers = {"y": y, "b": inside @ A.T, "A": A, "lower": -np.ones(N), "upper": np.ones(N)}
    return {name: jnp.asarray(value) for name, value in numbers.items()} | {"weight": jnp.asarray(rng.normal(size=y.shape))}


def pulled_back(function: Callable[..., Any], *args: Any, weight: Any) -> Call:
    """Value and vjp in all arguments, compiled."""

    def both(*args):
        value, pull = jax.vjp(function, *args)
        return value, pull(weight)

    compiled = jax.jit(both)
    return lambda: compiled(*args)


def ours(numbers: dict[str, Any], tol: float | None = 1e-9) -> Call:
    def function(y, b):
        box = (numbers["lower"], numbers["upper"])
        return js.constraints.project(js.constraints.Polytope(numbers["A"], b, *box), y, tol=tol)[0]

    return pulled_back(function, numbers["y"], numbers["b"], weight=numbers["weight"])


def pinet(numbers: dict[str, Any], sigma: float, steps: int) -> Call | None:
    try:
        p = importlib.import_module("pinet")
    except ImportError:
        return None
    column = lambda value: value.reshape(1, -1, 1)
    layer = p.Project(
        eq_constraint=p.EqualityConstraint(a_mat=numbers["A"][None], b=numbers["b"][..., None], method=None, var_b=True),
        box_constraint=p.BoxConstraint(
            p.BoxConstraintSpecification(lb=column(numbers["lower"]), ub=column(numbers["upper"]))
        ),
    )

    def function(y, b):
        point = p.ProjectionInstance(x=y[..., None], eq=p.EqualityConstraintsSpecification(b=b[..., None]))
        return layer.call(y_raw=point, n_iter=steps, sigma=sigma, omega=1.7, n_iter_bwd=25)[0].x[..., 0]

    return pulled_back(function, numbers["y"], numbers["b"], weight=numbers["weight"])


def qpax(numbers: dict[str, Any]) -> Call | None:
    try:
        q = importlib.import_module("qpax")
    except ImportError:
        return None
    G, h = jnp.concatenate([jnp.eye(N), -jnp.eye(N)]), jnp.concatenate([numbers["upper"], -numbers["lower"]])
    solve = jax.vmap(
        lambda y, b: q.solve_qp_primal(jnp.eye(N), -y, numbers["A"], b, G, h, solver_tol=1e-6, target_kappa=1e-6)
    )
    return pulled_back(solve, numbers["y"], numbers["b"], weight=numbers["weight"])


def jaxopt(numbers: dict[str, Any]) -> Call | None:
    try:
        osqp = importlib.import_module("jaxopt").BoxOSQP(tol=1e-6, maxiter=4000)
    except ImportError:
        return None
    matrix = jnp.concatenate([numbers["A"], jnp.eye(N)])

    def one(y, b):
        low, high = jnp.concatenate([b, numbers["lower"]]), jnp.concatenate([b, numbers["upper"]])
        return osqp.run(params_obj=(jnp.eye(N), -y), params_eq=matrix, params_ineq=(low, high)).params.primal[0]

    return pulled_back(jax.vmap(one), numbers["y"], numbers["b"], weight=numbers["weight"])


def cvxpylayers(numbers: dict[str, Any]) -> Call | None:
    try:
        cp, layers = importlib.import_module("cvxpy"), importlib.import_module("cvxpylayers.jax")
    except ImportError:
        return None
    x, y, b = cp.Variable(N), cp.Parameter(N), cp.Parameter(M)
    A, low, high = (np.asarray(numbers[name]) for name in ("A", "lower", "upper"))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x - y)), [A @ x == b, x >= low, x <= high])
    layer = layers.CvxpyLayer(problem, parameters=[y, b], variables=[x])

    def call():
        value, pull = jax.vjp(lambda y, b: layer(y, b)[0], numbers["y"], numbers["b"])
        return value, pull(numbers["weight"])

    return call


def proxsuite(numbers: dict[str, Any]) -> Call | None:
    try:
        dense = importlib.import_module("proxsuite").proxqp.dense
    except ImportError:
        return None
    y, b, A, low, high, weight = (np.asarray(numbers[k]) for k in ("y", "b", "A", "lower", "upper", "weight"))
    identity = np.eye(N)

    def call():
        out = []
        for k in range(len(y)):
            qp = dense.QP(N, M, N, False)  # bounds as rows: 0.8's derivative of its own box constraints ends the process
            qp.settings.eps_abs, qp.settings.eps_rel = 1e-6, 0.0
            qp.init(identity, -y[k], A, b[k], identity, low, high)
            qp.solve()
            dense.compute_backward(qp, np.concatenate([weight[k], np.zeros(M + N)]), 1e-6, 1e-7, 1e-7)
            out.append((qp.results.x.copy(), qp.model.backward_data.dL_dg.copy()))
        return out

    return call


def rows_race(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    batch, rounds = (32, 1) if options.smoke else (1024, 7)
    numbers = instances(batch)
    name = f"polytope: {batch} points of R^100 on {{A x = b, -1 <= x <= 1}}, forward and vjp, seconds"
    settings = (
        ("best of pinet's settings (sigma 0.2, 50 steps)", 0.2, 50, 3),
        ("pinet's default sigma (150 steps)", 1.0, 150, 6),
    )
    calls = {label: pinet(numbers, sigma, steps) for label, sigma, steps, _ in settings}
    least = least_cpu_seconds({"ours": ours(numbers)} | {k: call for k, call in calls.items() if call}, rounds)
    for label, _, _, target in settings:
        theirs = least.get(label)
        yield row(
            f"{name}; {label}",
            ours=least["ours"],
            theirs=theirs,
            target=target,
            meets=bool(theirs and theirs / least["ours"] >= target),
        )
    if options.smoke:
        return
    for label, make, size, target in (
        ("proxsuite", proxsuite, 64, 30),
        ("qpax", qpax, 8, 100),
        ("cvxpylayers", cvxpylayers, 16, 300),
        ("jaxopt BoxOSQP", jaxopt, 4, 1000),
    ):
        call = make({k: v[:size] if k in ("y", "b", "weight") else v for k, v in numbers.items()})
        theirs = None if call is None else least_cpu_seconds({"theirs": call}, 2)["theirs"] * batch / size
        meets = bool(theirs and theirs / least["ours"] >= target)
        yield row(f"{name}; {label}, timed on {size}", ours=least["ours"], theirs=theirs, target=target, meets=meets)


def rows_harder(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    numbers = instances(32 if options.smoke else 1024, hard=True)
    calls = {"ours": ours(numbers), "pinet": pinet(numbers, 0.02, 400)}
    least = least_cpu_seconds({k: call for k, call in calls.items() if call}, 1 if options.smoke else 7)
    share = least["ours"] / least["pinet"] if "pinet" in least else None
    yield row(
        "polytope: condition number 100, 39 % active, forward and vjp, seconds; pinet sigma 0.02, 400 steps",
        ours=least["ours"], theirs=least.get("pinet"), target="ours / theirs <= 0.5", meets=bool(share and share <= 0.5),
    )  # fmt: skip


def exact_tangent(numbers: dict[str, np.ndarray], d: dict[str, np.ndarray], k: int) -> np.ndarray:
    """dx of member k from the optimality conditions, by dense elimination on the active set, refined once."""
    A, y = numbers["A"], numbers["y"][k]
    mu = np.zeros(M)
    for _ in range(200):  # Newton's method on the dual, serial, with a line search
        z = y + A.T @ mu
        x = np.clip(z, numbers["lower"], numbers["upper"])
        free, short = (z > numbers["lower"]) & (z < numbers["upper"]), numbers["b"][k] - A @ x
        if np.abs(short).max() < 1e-13:
            break
        step = np.linalg.solve((A * free) @ A.T + 1e-12 * np.eye(M), short)
        value = lambda m: (
            0.5 * np.sum((np.clip(y + A.T @ m, -1, 1) - y) ** 2) + m @ (numbers["b"][k] - A @ np.clip(y + A.T @ m, -1, 1))
        )
        length = 1.0
        while length > 1e-6 and value(mu + length * step) < value(mu) + 1e-4 * length * (short @ step):
            length /= 2
        mu = mu + length * step
    low, high = z <= numbers["lower"], z >= numbers["upper"]
    moved = np.where(free, d["y"][k] + d["A"].T @ mu, np.where(low, d["lower"], np.where(high, d["upper"], 0)))
    w = np.linalg.solve((A * free) @ A.T, d["b"][k] - d["A"] @ x - A @ moved)
    w = w + np.linalg.solve((A * free) @ A.T, d["b"][k] - d["A"] @ x - A @ (moved + free * (A.T @ w)))
    return moved + free * (A.T @ w)


def rows_gradients(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    batch = 8 if options.smoke else 128
    numbers = instances(batch)
    names = ("y", "b", "A", "lower", "upper")
    args = {name: numbers[name] for name in names}
    rng = np.random.default_rng(1)
    d = {name: rng.normal(size=args[name].shape) for name in names}

    def function(args):
        return js.constraints.project(js.constraints.Polytope(*(args[k] for k in ("A", "b", "lower", "upper"))), args["y"])[
            0
        ]

    plain = {name: np.asarray(value) for name, value in args.items()}
    exact = np.stack([exact_tangent(plain, d, k) for k in range(batch)])
    tangent = jax.jit(lambda args, d: jax.jvp(function, (args,), (d,))[1])(args, {k: jnp.asarray(v) for k, v in d.items()})
    error = float(np.abs(np.asarray(tangent) - exact).max() / np.abs(exact).max())
    yield row(
        "polytope: jvp in y, b, A, l and u at once, against dense elimination", ours=error, target=1e-8, meets=error <= 1e-8
    )
    weight = np.asarray(numbers["weight"])
    pulled = jax.jit(lambda args: jax.vjp(function, args)[1](numbers["weight"])[0])(args)
    sides = sum(float(np.sum(np.asarray(pulled[k]) * d[k])) for k in names), float(np.sum(weight * exact))
    error = abs(sides[0] - sides[1]) / float(np.abs(weight * exact).sum())
    yield row("polytope: vjp in all of them, along that direction", ours=error, target=1e-8, meets=error <= 1e-8)


def rows_single_precision(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    numbers = {k: v.astype(jnp.float32) for k, v in instances(32 if options.smoke else 1024).items()}
    project = jax.jit(lambda A, b, y: js.constraints.project(js.constraints.Polytope(A, b, -1.0, 1.0), y)[0])
    x = np.asarray(project(numbers["A"], numbers["b"], numbers["y"]), float)
    worst = float(np.abs(x @ np.asarray(numbers["A"], float).T - np.asarray(numbers["b"], float)).max())
    yield row(
        "polytope: violation in float32, the worst sample", ours=worst, target=1e-6, meets=worst <= 1e-6, precision="float32"
    )


def rows_random(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Small random instances of three kinds, whose status is known by construction."""
    rng, count, n, m = np.random.default_rng(0), 300 if options.smoke else 100_000, 6, 3
    kind = rng.integers(3, size=count)  # feasible, degenerate (dependent rows, a vertex), infeasible
    A = rng.normal(size=(count, m, n))
    A[kind == 1, 2] = A[kind == 1, 0] + A[kind == 1, 1]
    inside = rng.uniform(-0.9, 0.9, size=(count, n))
    inside[kind == 1] = np.sign(inside[kind == 1])
    b = np.einsum("kmn,kn->km", A, inside)
    beyond = np.abs(A[:, 0]).sum(axis=1) * rng.uniform(1.05, 3, size=count)  # more than row 0 can be in the box
    b[kind == 2, 0] = beyond[kind == 2]
    y = 2 * rng.normal(size=(count, n))
    Polytope, CODES = js.constraints.Polytope, js.constraints

    def both(A, b, y):
        (x, info), pull = jax.vjp(lambda A, b, y: js.constraints.project(Polytope(A, b, -1.0, 1.0), y), A, b, y)
        zeros = jax.tree.map(
            lambda v: np.zeros(v.shape, jax.dtypes.float0) if v.dtype.kind in "ib" else jnp.zeros_like(v), info
        )
        return x, info.status, pull((jnp.ones_like(x), zeros))

    solve, part = jax.jit(both), count // 10
    nans = wrong = 0
    for at in range(0, count, part):
        piece = slice(at, at + part)
        x, status, pulled = solve(*(jnp.asarray(v[piece]) for v in (A, b, y)))
        finite = np.isfinite(np.asarray(x)).all(axis=1)
        for leaf in pulled:
            finite &= np.isfinite(np.asarray(leaf)).reshape(part, -1).all(axis=1)
        nans += int((~finite).sum())
        wrong += int((np.asarray(status) != np.where(kind[piece] == 2, CODES.INFEASIBLE, CODES.CONVERGED)).sum())
    name = f"polytope: {count} random instances, a third infeasible, a third degenerate"
    yield row(f"{name}: NaN in points or gradients", ours=nans, target=0, meets=nans == 0)
    yield row(f"{name}: wrong status", ours=wrong, target=0, meets=wrong == 0)


def rows_warm(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    numbers = instances(32 if options.smoke else 1024)
    rng = np.random.default_rng(2)
    box = (numbers["lower"], numbers["upper"])
    start = time.process_time()
    project = jax.jit(
        lambda y, b, warm: js.constraints.project(js.constraints.Polytope(numbers["A"], b, *box), y, tol=1e-9, warm=warm)
    )
    _, info = jax.block_until_ready(project(numbers["y"], numbers["b"], None))
    spent = time.process_time() - start
    y = numbers["y"] * (1 + 0.01 * jnp.asarray(rng.normal(size=numbers["y"].shape)))
    calls = {"warm": lambda: project(y, numbers["b"], info.warm)[0], "cold": lambda: project(y, numbers["b"], None)[0]}
    least = least_cpu_seconds(calls, 2 if options.smoke else 7)
    share = least["warm"] / least["cold"]
    yield row(
        "polytope: warm start after a drift of 1 %, share of a cold start",
        ours=share,
        target=0.4,
        meets=share <= 0.4,
        **least,
    )
    yield row(
        "polytope: compilation of a layer, seconds (with tracing and one call)", ours=spent, target=3, meets=spent <= 3
    )
