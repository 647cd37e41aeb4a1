"""Soft, hard and hard with a mixture of experts on the two problems of Chalapathi, Du & Krishnapriyan (ICLR 2024).

    python benchmarks/constraints_moe.py                    a table; thirteen minutes of one core
    python benchmarks/constraints_moe.py --json             one JSON object per line
    python benchmarks/constraints_moe.py --only vortices    one problem
    python benchmarks/constraints_moe.py --figure networks.png    the rows, and a figure of their networks
    python benchmarks/constraints_moe.py --only splitting --figure docs/constraints_moe.png    the same of partitions

Networks of one size, start, batch and number of Adam steps, trained without data on the residual; errors are relative L2 over the
grid, mean and standard deviation over starts that training never saw, against our own solvers. The size is in each row, and in
`moe_problems`. Seconds are of the processor, compilation included where a row says training.

The group `splitting` has no network: K experts with polynomials of their own on boxes that are chosen from the error, against the
best of all uniform grids of as many boxes, best by its true error. Its targets are our own.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import row, run
from moe_problems import Column, Front, Setting, Vortices, fronts

import jaxsci as js

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jaxsci", "jax", "jaxlib", "flax", "optax", "numpy")
KINDS = ("soft", "hard", "experts", "mixture")
NAMES = {"soft": "PI-SC", "hard": "PI-HC", "experts": "PI-HC-MoE, independent", "mixture": "PI-HC-MoE, blended"}
STEPS = {"column": 150, "vortices": 60}
MEMBERS = 8
TARGETS = {"column": (0.48, 5.0), "vortices": (0.71, 2.0)}


def combined(setting: Setting, kind: str, unknowns: dict[str, Any], start: Any) -> Any:
    """The field, or those of the experts with a leading axis; see `moe_problems`."""
    basis = setting.basis(unknowns["network"], start)
    if kind == "soft":
        return setting.field(basis, unknowns["omega"], start)
    basis = setting.blend(basis) if kind == "mixture" else basis
    rows = setting.rows(basis, start, split=kind == "experts")
    shape = (setting.experts, rows[0].size) if kind == "experts" else (rows[0].size,)
    omega, _ = js.constraints.project(js.constraints.PDEConstraint(rows), jnp.zeros(shape), tol=1e-5, max_steps=40)
    if kind == "experts":
        return jax.vmap(lambda own: setting.field(basis, own, start))(omega)
    return setting.field(basis, omega, start)


def loss(setting: Setting, kind: str, unknowns: dict[str, Any], start: Any) -> Any:
    """The sum of the root mean squares of the equation on the full grid and of each condition, as in the paper.

    The residual of independent experts is that of each in its own window: a jump has none.
    """
    field = combined(setting, kind, unknowns, start)
    if kind == "experts":
        equation, *held = jax.vmap(lambda own: setting.residual(own, start))(field)
        parts = (setting.assemble(equation), *held)
    else:
        parts = setting.residual(field, start)
    return sum(jnp.sqrt(jnp.mean(part**2)) for part in parts)


class Trained(NamedTuple):
    """A trained network; what it says of the unseen starts, and the errors of that."""

    fields: np.ndarray
    errors: np.ndarray
    unknowns: Any
    losses: list[float]
    training_seconds: float
    inference_seconds: float  # of one start


def relative(found: Any, truth: Any) -> np.ndarray:
    size = lambda v: np.linalg.norm(np.asarray(v).reshape(len(v), -1), axis=1)
    return size(found - truth) / size(truth)


def train(setting: Setting, kind: str, steps: int, seed: int, batch: int | None = None) -> tuple[Any, list[float]]:
    """Adam with clipping, from starts that are drawn anew for every step."""
    with jax.enable_x64(False):
        network = setting.init(jax.random.key(seed))
    unknowns = {"network": network, "omega": jnp.full(setting.functions, 1 / setting.functions)}
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(setting.rate, steps)))

    def mean_loss(unknowns: Any, key: Any) -> Any:
        starts = jax.vmap(setting.start)(jax.random.split(key, batch or setting.batch))
        return jnp.mean(jax.vmap(lambda start: loss(setting, kind, unknowns, start))(starts))

    @jax.jit
    def step(unknowns: Any, state: Any, key: Any) -> Any:
        value, slope = jax.value_and_grad(mean_loss)(unknowns, key)
        change, state = optimiser.update(slope, state)
        return optax.apply_updates(unknowns, change), state, value

    state, losses = optimiser.init(unknowns), []
    for key in jax.random.split(jax.random.key(1000 + seed), steps):
        unknowns, state, value = step(unknowns, state, key)
        losses.append(float(value))
    return unknowns, losses


def measured(setting: Setting, kind: str, steps: int, seed: int, truth: np.ndarray, starts: Any) -> Trained:
    clock = time.process_time()
    unknowns, losses = train(setting, kind, steps, seed)
    training = time.process_time() - clock

    @jax.jit
    def output(unknowns: Any, starts: Any) -> Any:
        def one(start: Any) -> Any:
            field = combined(setting, kind, unknowns, start)
            return setting.values(setting.assemble(field) if kind == "experts" else field, start)

        return jax.lax.map(one, starts)

    fields = np.asarray(output(unknowns, starts))
    clock = time.process_time()
    jax.block_until_ready(output(unknowns, starts))
    inference = (time.process_time() - clock) / len(truth)
    return Trained(fields, relative(fields, truth), unknowns, losses, training, inference)


def unseen(setting: Setting, count: int) -> tuple[Any, Any]:
    """Keys and starts of the test set."""
    keys = jax.random.split(jax.random.key(77), count)
    return keys, jax.vmap(setting.start)(keys)


@functools.cache  # the rows and the figure
def compared(setting: Setting, steps: int, seeds: int, members: int) -> tuple[np.ndarray, dict[str, list[Trained]]]:
    """The truth, and every kind trained with every seed."""
    keys, starts = unseen(setting, members)
    truth = setting.truth(keys)
    made = {kind: [measured(setting, kind, steps, seed, truth, starts) for seed in range(seeds)] for kind in KINDS}
    return truth, made


def jump(setting: Setting, unknowns: Any, kind: str, starts: Any) -> float:
    """The largest difference of neighbours' fields where their windows meet, over the rms of the field."""
    return max(float(setting.jump(combined(setting, kind, unknowns, start), start)) for start in starts)


def rows(setting: Setting, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if options.smoke:
        losses = train(setting, "soft", 3, 0)[1]
        yield row(f"{setting.name}: loss after three steps of PI-SC", ours=losses[-1], target=2.0, meets=losses[-1] < 2.0)
        return
    steps, members = STEPS[setting.name], MEMBERS
    truth, made = compared(setting, steps, options.seeds, members)
    _, starts = unseen(setting, members)
    mean = {kind: float(np.mean([t.errors for t in runs])) for kind, runs in made.items()}
    size = {
        "size": setting.size,
        "steps": steps,
        "batch": setting.batch,
        "members": members,
        "seed": list(range(options.seeds)),
    }
    for kind, runs in made.items():
        yield row(
            f"{setting.name}: error of {NAMES[kind]}", ours=mean[kind], target=None, meets=True,
            deviation=float(np.std([t.errors for t in runs])), by_seed=[float(t.errors.mean()) for t in runs],
            training_seconds=float(np.mean([t.training_seconds for t in runs])), loss=runs[0].losses[-1],
            inference_seconds=runs[0].inference_seconds, **size,
        )  # fmt: skip
    most, least = TARGETS[setting.name]
    for kind in ("mixture", "experts"):
        ratio = mean[kind] / mean["hard"]
        yield row(
            f"{setting.name}: error({NAMES[kind]}) / error(PI-HC)", ours=ratio, target=most, meets=ratio <= most, **size
        )
    ratio = mean["soft"] / mean["mixture"]
    yield row(
        f"{setting.name}: error(PI-SC) / error({NAMES['mixture']})", ours=ratio, target=least, meets=ratio >= least, **size
    )
    found = {kind: jump(setting, made[kind][0].unknowns, kind, starts[:4]) for kind in ("mixture", "experts")}
    yield row(
        f"{setting.name}: interface jump, blended", ours=found["mixture"], theirs=found["experts"], target=1e-10,
        meets=found["mixture"] <= 1e-10, **size,
    )  # fmt: skip
    yield solver_row(setting, truth, made["mixture"][0], size)


def solver_row(setting: Setting, truth: np.ndarray, best: Trained, size: dict[str, Any]) -> dict[str, Any]:
    """The coarsest run of our numerical solver that is as accurate as the network on the same grid, per start."""
    keys, _ = unseen(setting, size["members"])
    for n in setting.coarser:
        setting.truth(keys[:2], n)  # compilation
        clock = time.process_time()
        error = float(relative(setting.truth(keys[:2], n), truth[:2]).mean())
        seconds = (time.process_time() - clock) / 2
        if error <= best.errors.mean():
            break
    return row(
        f"{setting.name}: seconds of the network / of our solver at its accuracy", ours=best.inference_seconds / seconds,
        target=1.0, meets=best.inference_seconds <= seconds, network_seconds=best.inference_seconds, solver_seconds=seconds,
        solver=f"n = {n}", solver_error=error, **size,
    )  # fmt: skip


def figure(path: str, seeds: int) -> None:
    """Truth, and what soft, hard and mixture make of the first unseen start; from the networks of the rows."""
    import matplotlib.pyplot as plt

    kinds = ("soft", "hard", "mixture")
    sheet, axes = plt.subplots(2, 4, figsize=(11, 5.2), layout="constrained")
    for line, setting in zip(axes, SETTINGS, strict=True):
        truth, made = compared(setting, STEPS[setting.name], seeds, MEMBERS)
        line[0].set_title(f"{setting.name}: our solver", fontsize=10)
        setting.draw(line[0], truth[0], truth[0])
        for ax, kind in zip(line[1:], kinds, strict=True):
            setting.draw(ax, made[kind][0].fields[0], truth[0])
            ax.set_title(f"{NAMES[kind]}: {100 * made[kind][0].errors[0]:.1f} %", fontsize=10)
    sheet.savefig(path, dpi=110)


# --- partitions from the error -----------------------------------------------------------------------------------------------

SPLIT_TARGETS = {"step": 3.0, "shock": 1.5, "crossing": 0.95}  # our own; no axis suits the last: not worse
BOXES = 8


class Partitioned(NamedTuple):
    """One problem with as many boxes from the error and uniform ones."""

    front: Front
    experts: Any
    found: Any
    error: float
    uniform: dict[tuple[int, int], float]  # true errors by the parts along t and x
    best: Any
    seconds: float


@functools.cache  # the rows and the figure
def partitioned(which: int, count: int, low: bool) -> Partitioned:
    front = fronts()[which]
    experts = front.experts({"t": 2, "x": 3} if low else None)
    clock = time.process_time()
    found = js.constraints.split_by_error(experts, count)
    seconds = time.process_time() - clock
    splits = [(n, count // n) for n in range(1, count + 1) if count % n == 0]
    grids = {s: js.constraints.Boxes.grid(front.problem.domain, {"t": s[0], "x": s[1]}) for s in splits}
    solved = {s: js.constraints.split_by_error(experts, count, boxes=boxes) for s, boxes in grids.items()}
    uniform = {s: front.error(experts, of.boxes, of.omega)[1] for s, of in solved.items()}
    best = solved[min(uniform, key=lambda s: uniform[s])]
    return Partitioned(front, experts, found, front.error(experts, found.boxes, found.omega)[1], uniform, best, seconds)


def rows_splitting(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """error uniform / error split at the same K, and what is left of the indicator."""
    count = 3 if options.smoke else BOXES
    for which, front in enumerate(fronts()):
        made = partitioned(which, count, options.smoke)
        target, theirs = 0.9 if options.smoke else SPLIT_TARGETS[front.name], min(made.uniform.values())
        faces = made.experts.interfaces(made.found.boxes)
        yield row(
            f"splitting: {front.name}, K = {count}: error of uniform / of split boxes", ours=made.error, theirs=theirs,
            target=f"ratio >= {target}", meets=theirs >= target * made.error, cpu_seconds=made.seconds,
            uniform={f"{t} x {x}": e for (t, x), e in made.uniform.items()}, reason=made.found.reason,
            indicator=[made.found.history[0].before, *(split.settled for split in made.found.history)],
            uniform_indicator={f"{t} x {x}": e for (t, x), e in made.found.even.items()}, solves=made.found.solves,
            boxes=np.concatenate([made.found.boxes.lower, made.found.boxes.upper], 1).tolist(),
        )  # fmt: skip
        gap = float(np.abs(faces.gap(made.found.omega)).max())
        yield row(
            f"splitting: {front.name}, K = {count}: jump of values and scaled slopes",
            ours=gap,
            target=1e-10,
            meets=gap <= 1e-10,
        )


def splitting_figure(path: str) -> None:
    """The solution with the boxes from the error over it, and the errors of the best uniform grid and of these boxes."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    sheet, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    for which, line in enumerate(axes):
        made = partitioned(which, BOXES, False)
        front = made.front
        t, x = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 401), indexing="ij")
        drawn = line[0].pcolormesh(x, t, np.asarray(front.exact(t, x)), cmap="coolwarm", rasterized=True)
        sheet.colorbar(drawn, ax=line[0])
        line[0].set_title(f"{front.name}: solution, {BOXES} boxes from the error", fontsize=10)
        pairs = {"uniform": made.best, "split": made.found}
        errors = {name: front.error(made.experts, of.boxes, of.omega) for name, of in pairs.items()}
        most = max(float(np.abs(difference).max()) for difference, _ in errors.values())
        for ax, (name, (difference, error)) in zip(line[1:], errors.items(), strict=True):
            shades = LogNorm(1e-4 * most, most)
            drawn = ax.pcolormesh(
                x, t, np.maximum(np.abs(difference), 1e-4 * most), norm=shades, cmap="magma", rasterized=True
            )
            ax.set_title(
                f"|error|, {'best uniform grid' if name == 'uniform' else 'split'}: {100 * error:.2g} %", fontsize=10
            )
        sheet.colorbar(drawn, ax=line[2])
        for ax, of, ink in zip(line, (made.found, made.best, made.found), ("black", "white", "white"), strict=True):
            for low, high in zip(of.boxes.lower, of.boxes.upper, strict=True):
                t_size, x_size = high - low
                ax.add_patch(Rectangle((low[1], low[0]), x_size, t_size, fill=False, edgecolor=ink, linewidth=0.9))
            ax.set(xlabel="x", ylabel="t", xlim=(0, 1), ylim=(0, 1))
    sheet.savefig(path, dpi=110)


SETTINGS = Column(), Vortices()


def rows_both(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of both problems."""
    for setting in SETTINGS:
        yield from rows(setting, options)


GROUPS = {setting.name: functools.partial(rows, setting) for setting in SETTINGS} | {"splitting": rows_splitting}

if __name__ == "__main__":
    at = sys.argv.index("--figure") if "--figure" in sys.argv else None
    picture = None if at is None else [sys.argv.pop(at), sys.argv.pop(at)][1]
    run(__doc__, GROUPS, PACKAGES, 1)
    if picture and "splitting" in sys.argv:
        splitting_figure(picture)
    elif picture:
        figure(picture, 1)
