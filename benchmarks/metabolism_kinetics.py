"""Kinetic SBML models: trajectories against libRoadRunner, the gradient of Chassagnole 2002, 256 parameter sets at once.

    python benchmarks/metabolism.py --only kinetics

Seconds are processor seconds, of all threads. The peer runs CVODE; its tolerances stand in the rows with the error reached.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import row

from jaxsci.metabolism.kinetic_sbml import load_kinetics
from jaxsci.metabolism.kinetic_simulation import simulate_kinetics

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "metabolic" / "kinetic_sbml"
CHASSAGNOLE = DATA / "Chassagnole2002.xml"


def missing() -> str | None:
    if not DATA.is_dir():
        return f"{DATA} is not there"
    return None if importlib.util.find_spec("roadrunner") else "libroadrunner is not installed"


def peer_of(file: Path, states: tuple[str, ...], rtol: float, atol: float) -> Any:
    """RoadRunner with the local parameters made global, so that a loop can set them."""
    import libsbml

    roadrunner = importlib.import_module("roadrunner")
    document = libsbml.readSBML(str(file))
    properties = libsbml.ConversionProperties()
    properties.addOption("promoteLocalParameters", True)
    document.convert(properties)
    peer = roadrunner.RoadRunner(libsbml.writeSBMLToString(document))
    peer.integrator.relative_tolerance, peer.integrator.absolute_tolerance = rtol, atol
    peer.integrator.maximum_num_steps = 1_000_000
    peer.timeCourseSelections = [f"[{s}]" for s in states]
    return peer


def seconds_of(call: Any, rounds: int) -> float:
    best = np.inf
    for _ in range(rounds):
        begun = time.process_time()
        jax.block_until_ready(call())
        best = min(best, time.process_time() - begun)
    return best


def rows_trajectories(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The largest difference on [0, 10], over the largest value of each species; CVODE at 1e-12 and 1e-15."""
    if why := missing():
        yield row("kinetics: trajectories", ours=None, target=1e-6, meets=False, skipped=why)
        return
    for file in sorted(DATA.glob("*.xml"))[: 2 if options.smoke else None]:
        model = load_kinetics(file)
        theirs = np.array(peer_of(file, model.states, 1e-12, 1e-15).simulate(0, 10, 500))
        run = simulate_kinetics(model, np.linspace(0, 10, 500), rtol=1e-10, atol=1e-12, max_steps=20_000)
        error = float(np.max(np.abs(run.values - theirs) / np.abs(theirs).max(axis=0)))
        name = f"kinetics: {file.stem} against roadrunner"
        yield row(name, ours=error, target=1e-6, meets=error <= 1e-6, steps=int(run.steps), rtol=1e-10, atol=1e-12)


def rows_gradient(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Least squares over 500 times on [0, 10], all species, by all parameters."""
    if not CHASSAGNOLE.is_file():
        yield row("kinetics: gradient", ours=None, target=0.3, meets=False, skipped=f"{CHASSAGNOLE} is not there")
        return
    model = load_kinetics(CHASSAGNOLE)
    times = jnp.linspace(0.0, 10.0, 50 if options.smoke else 500)
    reference = simulate_kinetics(model, times).values
    scale = jnp.max(jnp.abs(reference), axis=0)

    for rtol, atol in ((1e-6, 1e-8), (1e-8, 1e-10)):

        def loss(p, rtol=rtol, atol=atol):
            return jnp.mean(
                ((simulate_kinetics(model, times, p, rtol=rtol, atol=atol).values - 0.9 * reference) / scale) ** 2
            )

        jax.clear_caches()
        begun = time.process_time()
        gradient = jax.jit(jax.grad(loss)).lower(model.parameters).compile()
        compiling = time.process_time() - begun
        slope = gradient(model.parameters)
        spent = seconds_of(lambda gradient=gradient: gradient(model.parameters), 2 if options.smoke else 10)
        value, worst = jax.jit(loss), 0.0
        for name in list(model.parameters)[3::35]:
            h = 1e-4 * abs(float(model.parameters[name]))
            up, down = (value({**model.parameters, name: model.parameters[name] + s}) for s in (h, -h))
            worst = max(worst, abs(float(slope[name] - (up - down) / (2 * h))) / abs(float((up - down) / (2 * h))))
        more = {"rtol": rtol, "atol": atol, "parameters": len(model.parameters)}
        yield row(
            f"kinetics: Chassagnole 2002 gradient, seconds at {rtol:g}", ours=spent, target=0.3, meets=spent <= 0.3, **more
        )
        yield row(
            "kinetics: its compile seconds, tracing included", ours=compiling, target=10.0, meets=compiling <= 10, **more
        )
        yield row("kinetics: it against differences", ours=worst, target=1e-4, meets=worst <= 1e-4, **more)


def rows_batch(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Parameter sets (10 % noise on all kinetic parameters), 500 times each, at tolerances that give errors alike."""
    if why := missing():
        yield row("kinetics: batch", ours=None, target=5.0, meets=False, skipped=why)
        return
    members, count = (8, 50) if options.smoke else (256, 500)
    model = load_kinetics(CHASSAGNOLE)
    names = [n for n in model.parameters if n not in ("extracellular", "cytosol")]
    factors = np.exp(0.1 * np.random.default_rng(0).normal(size=(members, len(names))))
    sets = {n: jnp.asarray(float(model.parameters[n]) * factors[:, i]) for i, n in enumerate(names)}
    times = jnp.linspace(0.0, 10.0, count)

    def loop(peer):
        ids = list(peer.model.getGlobalParameterIds())
        index = [ids.index(n.replace(".", "_")) for n in names]
        table, out = np.stack([np.asarray(sets[n]) for n in names], axis=1), []
        for values in table:
            peer.reset()
            peer.model.setGlobalParameterValues(index, values)
            out.append(np.array(peer.simulate(0, 10, count)))
        return np.stack(out)

    truth = loop(peer_of(CHASSAGNOLE, model.states, 1e-12, 1e-15))
    scale = np.abs(truth).max(axis=1, keepdims=True)
    error = lambda found: float(np.max(np.abs(found - truth) / scale))
    for ours, theirs in (((1e-4, 1e-6), (1e-6, 1e-10)), ((1e-6, 1e-8), (1e-8, 1e-12))):
        peer = peer_of(CHASSAGNOLE, model.states, *theirs)
        begun = time.process_time()
        batch = jax.jit(
            jax.vmap(lambda q, o=ours: simulate_kinetics(model, times, q, rtol=o[0], atol=o[1], max_steps=1024).values)
        ).lower(sets).compile()  # fmt: skip
        compiling = time.process_time() - begun
        found, other = batch(sets), loop(peer)
        spent, peers = np.inf, np.inf
        for _ in range(1 if options.smoke else 3):
            spent = min(spent, seconds_of(lambda batch=batch: batch(sets), 1))
            peers = min(peers, seconds_of(lambda peer=peer: loop(peer), 1))
        yield row(
            f"kinetics: {members} parameter sets by vmap, seconds at {ours[0]:g}", ours=spent, theirs=peers, target=5.0,
            meets=peers / spent >= 5, error=error(found), error_of_theirs=error(other), tolerances=list(ours),
            tolerances_of_theirs=list(theirs), compile_seconds=compiling,
        )  # fmt: skip
