"""MOMA after all 95 single reaction knock-outs of the core model, against cobrapy.

    python benchmarks/metabolism.py --only moma

Quadratic: against osqp through cobrapy (the solver "osqp" of optlang up to 1.7, "hybrid" of later ones, which needs highspy).
Linear MOMA and relaxed ROOM: against GLPK. Seconds are of processor time; compiling is apart. osqp's growth rates are far from
converged, so ours are judged by the published value for PGI, and theirs shown beside them.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from command import least_cpu_seconds, row

import jaxsci as js
from jaxsci.metabolism.moma import moma, room

_PGI_GROWTH, _PGI_DISTANCE = 0.81784361115, 220.4804840370565


def rows_moma(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if importlib.util.find_spec("cobra") is None:
        yield row("moma: against cobrapy", ours=None, target=80.0, meets=False, skipped="cobra is not installed")
        return
    import cobra.exceptions
    from cobra.util.solver import solvers

    theirs = cobra.io.load_model("textbook")
    model = js.metabolism.load(theirs)
    solution = cobra.flux_analysis.pfba(theirs)
    solution.fluxes[abs(solution.fluxes) < 1e-9] = 0.0
    solution.objective_value = theirs.slim_optimize()  # of growth: that of a parsimonious solution is the sum of its fluxes
    wild = solution.fluxes.to_numpy()
    pgi, growth = model.index("PGI"), int(np.argmax(model.objective))
    chosen = np.array([pgi, 0, 1, 2, 3]) if options.smoke else np.arange(len(model.reactions))
    masks = (1 - np.eye(len(model.reactions)))[chosen]
    low, high, place = model.lower * masks, model.upper * masks, int(np.flatnonzero(chosen == pgi)[0])

    calls = {
        "quadratic": jax.jit(lambda a, b: moma(model, wild, lower=a, upper=b)),
        "linear": jax.jit(lambda a, b: moma(model, wild, lower=a, upper=b, linear=True)),
        "room": jax.jit(lambda a, b: room(model, wild, lower=a, upper=b, delta=0.0, epsilon=0.0)),
    }
    quadratic = next((name for name in ("osqp", "hybrid") if name in solvers), None)
    peers = {
        "quadratic": (quadratic, lambda: cobra.flux_analysis.moma(theirs, solution=solution, linear=False)),
        "linear": ("glpk", lambda: cobra.flux_analysis.moma(theirs, solution=solution, linear=True)),
        "room": ("glpk", lambda: cobra.flux_analysis.room(theirs, solution=solution, linear=True)),
    }
    for name, call in calls.items():
        begun = time.process_time()
        result = jax.block_until_ready(call(low, high))
        compiling = time.process_time() - begun
        seconds = least_cpu_seconds({name: lambda call=call: call(low, high)}, 3)[name]
        solver, peer = peers[name]
        if solver is None:
            yield row(f"moma: {name}, seconds", ours=seconds, target=80.0, meets=False, skipped="optlang has no QP solver")
            continue
        theirs = cobra.io.load_model("textbook")  # a fresh one: limits of one solver would stay for the next
        theirs.solver = solver
        begun, found = time.process_time(), np.full((len(chosen), 2), np.nan)
        for place_k, k in enumerate(chosen):
            with theirs:
                theirs.reactions.get_by_id(model.reactions[k]).knock_out()
                try:
                    answer = peer()
                except cobra.exceptions.OptimizationError:
                    continue
                if answer.status == "optimal":
                    found[place_k] = answer.objective_value, answer.fluxes.iloc[growth]
        spent = time.process_time() - begun
        target = 80.0 if name == "quadratic" else 1.0
        yield row(
            f"moma: {name}, {len(chosen)} knock-outs, seconds", ours=seconds, theirs=spent, target=target,
            meets=spent >= target * seconds, compiling=compiling, infeasible=int(np.sum(np.asarray(result.status) != 0)),
            peer=solver, peer_without_answer=int(np.isnan(found[:, 0]).sum()),
        )  # fmt: skip
        if name == "quadratic":
            error = abs(float(result.objective[place]) - _PGI_GROWTH)
            yield row(
                "moma: quadratic, growth without PGI, error", ours=error, target=1e-7, meets=error <= 1e-7,
                theirs=abs(found[place, 1] - _PGI_GROWTH), distance_error=abs(float(result.distance[place]) - _PGI_DISTANCE),
                peer_growth_off_by_at_most=float(np.nanmax(abs(found[:, 1] - np.asarray(result.objective)))),
            )  # fmt: skip
        else:
            error = float(np.nanmax(abs(found[:, 0] - np.asarray(result.distance)) / (1 + abs(found[:, 0]))))
            yield row(f"moma: {name}, objective, relative difference", ours=error, target=1e-7, meets=error <= 1e-7)


def rows_genome_moma(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """iJO1366 without each of 24 genes drawn at random, by the conditions that prove a nearest flux; one of them by cobrapy."""
    name = "moma: quadratic, iJO1366"
    if options.smoke or importlib.util.find_spec("cobra") is None:
        reason = "too long for a smoke test" if options.smoke else "cobra is not installed"
        yield row(name, ours=None, target=0, meets=options.smoke, skipped=reason)
        return
    import cobra.exceptions
    import pandas
    from cobra.util.solver import solvers

    model = js.metabolism.load("iJO1366")
    wild = np.array(js.metabolism.parsimonious_fba(model).fluxes)
    genes = np.random.default_rng(0).choice(len(model.genes), 24, replace=False)
    out = [model.knock_out(model.genes[g]) for g in genes]
    low, high = (np.stack([getattr(m, side) for m in out]) for side in ("lower", "upper"))
    call = jax.jit(lambda a, b: moma(model, wild, lower=a, upper=b))
    begun = time.process_time()
    jax.block_until_ready(call(low, high))
    first, begun = time.process_time() - begun, time.process_time()
    found = jax.block_until_ready(call(low, high))
    seconds = (time.process_time() - begun) / len(genes)
    residual = float(np.nanmax(abs(np.asarray(found.fluxes) @ model.network.matrix.T)))
    failed = int((np.asarray(found.status) != 0).sum())
    yield row(
        f"{name}, knock-outs of 24 that do not end", ours=failed, target=0, meets=failed == 0, residual=residual,
        steps=[int(k) for k in np.asarray(found.steps)], compiling=first - seconds * len(genes),
    )  # fmt: skip
    solver = next((name for name in ("osqp", "hybrid") if name in solvers), None)
    if solver is None:
        return
    theirs = cobra.io.load_model("iJO1366")
    theirs.solver = solver
    spent, off, missing = [], [], 0
    for k in range(3):
        with theirs:
            theirs.genes.get_by_id(model.genes[int(genes[k])]).knock_out()
            solution = cobra.Solution(0.0, "optimal", pandas.Series(wild, model.reactions))
            begun = time.process_time()
            try:
                answer = cobra.flux_analysis.moma(theirs, solution=solution, linear=False)
            except cobra.exceptions.OptimizationError:
                missing += 1
            else:
                off.append(float(abs(answer.fluxes[list(model.reactions)].to_numpy() - np.asarray(found.fluxes[k])).max()))
            spent.append(time.process_time() - begun)
    yield row(
        f"{name}, seconds a knock-out", ours=seconds, theirs=float(np.mean(spent)), target=1.0,
        meets=bool(np.mean(spent) >= seconds), peer=solver, peer_without_answer=missing, fluxes_apart=off, peer_knock_outs=3,
    )  # fmt: skip
