"""Studies to be reported: fields of real rollouts, scores and times of a made-up but plausible kind."""

import functools
import math

import numpy as np

import jaxsci as js
from jaxsci.compare.study_report import Gallery, Interval, Measurement, Shift, StudyReport, Verdict

HOSTILE = '<script>alert("x")</script> & $x_{$ </script>'
STARTS, SAVES = 16, 32


@functools.cache
def fields_of(name, n, steps):
    if name == "quick":
        ts, x = np.linspace(0, 1, SAVES + 1), np.arange(n) * 2 * np.pi / n
        return js.problems.kolmogorov_flow(), ts, np.sin(x[:, None] + 2 * x - 4 * ts[:, None, None])
    problem = {"kolmogorov": js.problems.kolmogorov_flow, "ks": js.problems.kuramoto_sivashinsky}[name]()
    stepper = js.stepper(problem, js.Spectral(n=n, dt=1 / steps))
    made = js.rollout(stepper, steps=steps, save_every=steps // SAVES)
    return problem, np.asarray(made.ts), np.asarray(made.fields[:, 0])


def measurement(name, family, detail, error, seconds, **more):
    draw = np.random.default_rng(sum(map(ord, name + detail)))
    errors = error * np.exp(0.3 * draw.standard_normal(STARTS))
    if math.isinf(error):
        errors = np.where(np.arange(STARTS) % 3 == 0, np.inf, 0.7)
    size = np.median(errors[np.isfinite(errors)])
    growth = size * np.exp(np.linspace(-2.5, 0.9, SAVES))
    if math.isinf(error):
        growth = np.where(np.arange(SAVES) > 22, np.inf, growth)
    metrics = {
        "correlation_time": min(5.0, 1 / math.sqrt(size)), "valid_prediction_time": 0.3 / size, "spectrum_error": size / 3,
        "conservation_drift": size / 50 if family != "solver" else 1e-7, "residual": size * 2, "oddity": 3.0,
        "blown_up": float(np.mean(~np.isfinite(errors))), "gradient_error": size * 1.4 if family == "surrogate" else math.nan,
    }  # fmt: skip
    fixed = {"resolution": None, "dt": None, "seed": None, "compile_seconds": 1.3, "metrics": metrics}
    times = {1: seconds, 64: seconds / 4}
    return Measurement(
        name=name, family=family, detail=detail, errors=errors, growth=growth, seconds=times,
        cpu_seconds={b: 1.6 * s for b, s in times.items()}, **fixed | more,
    )  # fmt: skip


def interval(value, low=0.8, high=1.25):
    return Interval(value, value * low, value * high)


@functools.cache
def study(flow="kolmogorov", hostile=False):
    """Of "kolmogorov" or "ks" with fields of a real rollout, or "quick" with made-up waves."""
    n = {"kolmogorov": 32, "ks": 128, "quick": 8}[flow]
    problem, ts, truth = fields_of(flow, n, 64 if flow == "kolmogorov" else 1024)
    blurred = (truth + sum(np.roll(truth, k, axis=1) for k in (-2, -1, 1, 2))) / 5
    drift = np.linspace(0, 1, len(ts)).reshape(-1, *[1] * (truth.ndim - 1))
    broken = np.where(drift > 0.6, np.nan, truth * (1 + 3 * drift**2))
    unet = HOSTILE if hostile else "U-Net"
    ladder = tuple(
        measurement(
            "ETDRK4", "solver", f"n = {k}, dt = 1/{k // 2}", 1.2 * (12 / k) ** 3.2, 2e-4 * k**1.7, resolution=k, dt=2 / k
        )
        for k in (12, 16, 24, 32, 48, 64)
    )
    learned = tuple(
        measurement(
            name, "surrogate", f"seed {seed}", error * (1 + 0.1 * seed), seconds, seed=seed, parameters=count,
            data_seconds=96.0, training_seconds=400.0 + 30 * seed, tuning_seconds=120.0,
        )
        for name, error, seconds, count in (
            ("FNO", 0.12, 0.09, 1_188_353), (unet, 0.2, 0.02, 80_112), ("ResNet", math.inf, 0.05, 70_001),
        )
        for seed in range(3)
    )  # fmt: skip
    plain = tuple(
        measurement(name, "baseline", "", error, seconds, training_seconds=cost, data_seconds=96.0 if cost else 0.0)
        for name, error, seconds, cost in (
            ("persistence", 0.9, 2e-4, 0.0), ("mean", 1.0, 1e-4, 0.1), ("ridge", 0.62, 0.004, 1.2), ("DMD", 0.5, 0.003, 2.2),
            ("coarse solver", 0.4, 0.016, 0.0), ("coarse + correction", 0.1, 0.13, 300.0),
        )
    )  # fmt: skip
    nan, inf = math.nan, math.inf
    unknown = Interval(nan, nan, nan)
    verdicts = (
        Verdict("FNO", 1, interval(0.12), interval(0.24), "", interval(7.6), Interval(inf, inf, inf), 646.0),
        Verdict("FNO", 64, interval(0.12), interval(0.31), "", interval(5.1), Interval(inf, inf, inf), 646.0),
        Verdict(unet, 1, interval(0.2), interval(0.9), "", interval(1.1), Interval(inf, 41_200.0, inf), 646.0),
        Verdict(unet, 64, interval(0.2), interval(2.4), "", interval(0.42), Interval(12_345.0, 9_012.0, 16_400.0), 646.0),
        Verdict("ResNet", 1, Interval(inf, 0.7, inf), unknown, "at most", unknown, Interval(inf, inf, inf), 646.0),
        Verdict("ResNet", 64, Interval(inf, 0.7, inf), unknown, "at most", unknown, Interval(inf, inf, inf), 646.0),
    )
    names = ("ETDRK4, n = 32, dt = 1/16", "FNO", unet, "persistence")
    shifts = (
        Shift("viscosity 0.005", {k: 0.2 * (1 + i) * np.ones(8) for i, k in enumerate(names)}),
        Shift("twice the time", {k: 0.3 * (1 + i) * np.ones(8) for i, k in enumerate(names[:2])} | {unet: np.array([0.5, inf])}),
        Shift("twice the box", {names[0]: 0.1 * np.ones(8)}, {"FNO": "its modes are tied to the box", unet: "it <b>cannot</b>"}),
    )  # fmt: skip
    shown = {"ETDRK4, n = 16": truth + drift * (blurred - truth), "FNO": truth + 0.25 * drift * np.roll(truth, 3, axis=1),
             unet: broken,
             "persistence": np.repeat(truth[:1], len(ts), axis=0)}  # fmt: skip
    grid = np.arange(n) * 2 * np.pi / n
    axes = {"x": grid} if flow == "ks" else {"x": grid, "y": grid}
    return StudyReport(
        name=f"{flow} study",
        problem=problem,
        settings={
            "command": f"jaxsci compare {flow} --budget 900 --seed 0", "dt": 0.25, "lyapunov_time": 1.7,
            "resolutions": [12, 16, 24, 32, 48, 64],
            "starts": STARTS, "training_runs": 64, "seeds": [0, 1, 2], "budget_seconds": None, "resumed": False,
        },
        ts=ts[1:],
        truth="ETDRK4, n = 128, dt = 1/64",
        truth_error=2.1e-4,
        measurements=ladder + learned + plain,
        verdicts=verdicts,
        shifts=shifts,
        gallery=Gallery("vorticity w" if flow != "ks" else "u", ts, axes, truth, shown),
        environment={
            "python": "3.11.2", "machine": "x86_64", "cores": 2, "load": 0.41, "device": "cpu: cpu", "precision": "float32",
            "versions": {"jaxsci": "0.1", "jax": "0.10.0"},
        },
        notes=("ResNet was trained for 400 s of its 600 s: the budget was spent.",),
    )  # fmt: skip
