"""Flux balance and its family against cobrapy with GLPK, in one process.

    python benchmarks/metabolism.py --only fba

Media: uptakes of glucose uniform in 1-20, oxygen 0-40, ammonium 1-20, phosphate 0.5-10, seed 0; three of 1,000 are infeasible.
Seconds are processor seconds of one core; compilation is a row of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import least_cpu_seconds, row

import jaxsci as js
from jaxsci.metabolism import OPTIMAL, fba
from jaxsci.metabolism.parsimonious import parsimonious_fba
from jaxsci.metabolism.variability import flux_variability

OPEN = ("EX_glc__D_e", "EX_o2_e", "EX_nh4_e", "EX_pi_e")
GROWTH = {"textbook": 0.8739215069684279, "iJO1366": 0.9823718127269633, "salmonella": 0.4884545868920533}


def has_cobra() -> bool:
    return importlib.util.find_spec("cobra") is not None


def seconds(call: Callable[[], Any]) -> float:
    begun = time.process_time()
    jax.block_until_ready(call())
    return time.process_time() - begun


def media(count: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    return np.stack([draw.uniform(*ends, count) for ends in ((1, 20), (0, 40), (1, 20), (0.5, 10))], 1)


@functools.cache
def core() -> tuple[Any, np.ndarray]:
    model = js.metabolism.load("e_coli_core")
    return model, np.array([model.index(name) for name in OPEN])


def bounds(uptakes: Any) -> Any:
    model, places = core()
    return jnp.tile(jnp.asarray(model.lower), (len(uptakes), 1)).at[:, places].set(-uptakes)


@jax.jit
def solve(uptakes: Any) -> Any:
    """Objective, fluxes, prices, reduced costs, status of every medium."""
    model, _ = core()
    found = fba(model, bounds(uptakes))
    return found.objective, found.fluxes, found.shadow_prices, found.reduced_costs, found.status


@jax.jit
def solve_with_gradients(uptakes: Any) -> Any:
    """The same, and d growth / d uptake."""
    model, _ = core()

    def total(uptakes: Any) -> Any:
        found = fba(model, bounds(uptakes))
        return jnp.where(found.status == OPTIMAL, found.objective, 0.0).sum(), found

    gradient, found = jax.grad(total, has_aux=True)(uptakes)
    return found.objective, found.fluxes, found.shadow_prices, found.reduced_costs, found.status, gradient


def cobra_loop(uptakes: np.ndarray) -> Callable[[], Any]:
    """cobrapy's own way: one warm model, `optimize` for each medium (fluxes and prices)."""
    peer = js.metabolism.to_cobra(core()[0])
    reactions = [peer.reactions.get_by_id(name) for name in OPEN]

    def loop() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = []
            for medium in uptakes:
                for reaction, uptake in zip(reactions, medium, strict=True):
                    reaction.lower_bound = -uptake
                found = peer.optimize()
                out.append(found.objective_value if found.status == "optimal" else np.nan)
            return np.array(out)

    return loop


def rows_growth(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    spec = importlib.util.find_spec("cobra")
    names = ("textbook",) if options.smoke or spec is None or spec.origin is None else tuple(GROWTH)
    for name in names:
        if name == "textbook":
            model = js.metabolism.load("e_coli_core")
        else:
            assert spec is not None
            assert spec.origin is not None
            model = js.metabolism.load(Path(spec.origin).parent / "data" / f"{name}.xml.gz")
        spent = seconds(lambda model=model: fba(model))
        found = fba(model)
        error = abs(float(found.objective) / GROWTH[name] - 1)
        residual = float(np.abs(model.network.matrix @ np.asarray(found.fluxes)).max())
        yield row(
            f"fba: growth of {name}, relative error to GLPK", ours=error, target=1e-9, meets=error <= 1e-9,
            residual=residual, gap=float(found.gap), first_seconds=spent,
        )  # fmt: skip


def rows_media(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    count = 32 if options.smoke else 1000
    uptakes = media(count)
    compiling = seconds(lambda: solve(uptakes))
    with_gradients = seconds(lambda: solve_with_gradients(uptakes))
    yield row("fba: compile seconds, with gradients", ours=with_gradients, target=None, meets=True, without=compiling)
    infeasible = np.asarray(solve(uptakes)[4]) != OPTIMAL
    healthy = uptakes.copy()
    healthy[infeasible] = uptakes[~infeasible][: infeasible.sum()]
    calls = {
        "ours": lambda: solve(uptakes), "gradients": lambda: solve_with_gradients(uptakes), "healthy": lambda: solve(healthy)
    }  # fmt: skip
    spent = least_cpu_seconds(calls, 2 if options.smoke else 10)
    theirs, errors = None, 0.0
    if has_cobra():
        loop = cobra_loop(uptakes)
        values = loop()
        theirs = min(seconds(loop) for _ in range(1 if options.smoke else 3))
        ours = np.asarray(solve(uptakes)[0])
        assert (np.isnan(values) == np.isnan(ours)).all()
        errors = float(np.nanmax(np.abs(ours - values)))
    for name, which, target in (("fluxes and prices", "ours", 5.0), ("and gradients", "gradients", 3.0)):
        ratio = theirs / spent[which] if theirs else None
        yield row(
            f"fba: {count} media of the core model, {name}: seconds", ours=spent[which], theirs=theirs, target=f">= {target:g} x",
            meets=ratio is not None and ratio >= target, growth_error=errors, infeasible=int(infeasible.sum()),
        )  # fmt: skip
    share = spent["ours"] / spent["healthy"]
    yield row(
        "fba: time with infeasible media among them / without", ours=share, target=1.2, meets=share <= 1.2,
        infeasible=int(infeasible.sum()),
    )  # fmt: skip


def rows_gradients(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Growth's against the certificate's prices and differences, the fluxes' against differences; media near a kink left out."""
    count = 32 if options.smoke else 200
    uptakes = media(count)
    *_, costs, status, gradient = solve_with_gradients(uptakes)
    good = np.asarray(status) == OPTIMAL
    _, places = core()
    by_price = np.abs(np.asarray(gradient) + np.asarray(costs)[:, places])[good].max()
    step = 1e-4
    ends = [[solve(uptakes + sign * step * np.eye(4)[k]) for sign in (1, -1)] for k in range(4)]
    slopes = np.stack([(np.asarray(a[0]) - np.asarray(b[0])) / (2 * step) for a, b in ends], 1)
    here = np.asarray(solve(uptakes)[0])
    bend = np.stack([np.asarray(a[0]) + np.asarray(b[0]) - 2 * here for a, b in ends], 1)
    smooth = good & (np.abs(bend) < 1e-9).all(1)
    by_difference = np.abs(np.asarray(gradient) - slopes)[smooth].max()
    worst = max(by_price, by_difference)
    yield row(
        "fba: gradient of growth by uptakes, error", ours=float(worst), target=1e-8, meets=worst <= 1e-8,
        media=int(smooth.sum()), to_prices=float(by_price), to_differences=float(by_difference),
    )  # fmt: skip

    @jax.jit
    def along(uptakes: Any, ways: Any) -> Any:
        return jax.jvp(lambda u: fba(core()[0], bounds(u)).fluxes, (uptakes,), (ways,))[1]

    ways = np.random.default_rng(1).normal(size=uptakes.shape)
    moved = [np.asarray(solve(uptakes + s * step * ways)[1]) for s in (1, -1)]
    middle = np.asarray(solve(uptakes)[1])
    straight = good & (np.abs(moved[0] + moved[1] - 2 * middle).max(1) < 1e-7)
    error = np.abs(np.asarray(along(uptakes, ways)) - (moved[0] - moved[1]) / (2 * step))[straight].max()
    yield row(
        "fba: gradient of fluxes by uptakes, error to differences", ours=float(error), target=1e-6, meets=error <= 1e-6,
        media=int(straight.sum()),
    )  # fmt: skip


def rows_variability(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    model, _ = core()
    ranges = jax.jit(lambda model, fraction: flux_variability(model, fraction=fraction))
    compiling = seconds(lambda: ranges(model, 1.0))
    if has_cobra():
        from cobra.flux_analysis import flux_variability_analysis

        peer = js.metabolism.to_cobra(model)
    for fraction in (1.0, 0.95):
        calls: dict[str, Callable[[], Any]] = {"ours": lambda f=fraction: ranges(model, f)}
        if has_cobra():
            calls["theirs"] = lambda f=fraction: flux_variability_analysis(
                peer, fraction_of_optimum=f, processes=1
            ).to_numpy()
        spent = least_cpu_seconds(calls, 1 if options.smoke else 5)
        theirs, error = spent.get("theirs"), None
        if has_cobra():
            table = flux_variability_analysis(peer, fraction_of_optimum=fraction, processes=1).loc[list(model.reactions)]
            found = ranges(model, fraction)
            error = max(float(np.abs(np.asarray(getattr(found, k)) - table[k]).max()) for k in ("minimum", "maximum"))
        yield row(
            f"fba: flux variability of the core model, {fraction:.0%}: seconds", ours=spent["ours"], theirs=theirs,
            target=">= 1 x", meets=bool(theirs and theirs / spent["ours"] >= 1 and error is not None and error <= 1e-7),
            error=error, compile_seconds=compiling,
        )  # fmt: skip


def rows_parsimonious(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    count = 8 if options.smoke else 100
    model, _ = core()
    uptakes = media(count)
    least = jax.jit(lambda uptakes: parsimonious_fba(dataclasses.replace(model, lower=bounds(uptakes))))
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: least(uptakes)}
    totals = None
    if has_cobra():
        from cobra.exceptions import OptimizationError
        from cobra.flux_analysis import pfba

        peer = js.metabolism.to_cobra(model)
        reactions = [peer.reactions.get_by_id(name) for name in OPEN]

        def theirs() -> Any:
            out = []
            for medium in uptakes:
                for reaction, uptake in zip(reactions, medium, strict=True):
                    reaction.lower_bound = -uptake
                try:
                    out.append(pfba(peer).objective_value)
                except OptimizationError:
                    out.append(np.nan)
            return np.array(out)

        calls["theirs"] = theirs
        totals = theirs()
    spent = least_cpu_seconds(calls, 1 if options.smoke else 3)
    error = None
    if totals is not None:
        ours = np.asarray(least(uptakes).total)
        error = float(np.nanmax(np.abs(ours / totals - 1)))
    yield row(
        f"fba: parsimonious, {count} media of the core model: seconds", ours=spent["ours"], theirs=spent.get("theirs"),
        target=">= 1 x", meets=bool(spent.get("theirs", 0) >= spent["ours"]), total_error=error,
    )  # fmt: skip
