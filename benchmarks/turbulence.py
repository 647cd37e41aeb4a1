"""The strong-baseline demonstration: Kolmogorov flow at Re = 500, finite volumes against a spectral method at equal accuracy.

The clock is that of Kochkov et al. (2021): how long the vorticity stays correlated (0.95) with a resolved solution, averaged
over starts. A plain coarse spectral method reaches the time of the finite volumes at a fraction of their cost; a surrogate
that is compared with finite volumes alone is credited with that factor.

    python benchmarks/turbulence.py       a JSON row for every grid of finite volumes, with the spectral ladder
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js
from jaxsci.compare import correlation
from jaxsci.problems import velocity_of, vorticity_of

LENGTHS = (2 * np.pi, 2 * np.pi)
BOX = js.Box(t=(0, 1), x=(0, 2 * np.pi), y=(0, 2 * np.pi))
COEFFICIENTS = {"viscosity": 1 / 500, "drag": 0.1, "forcing": 1.0}
END, EVERY, LEVEL, SCORED = 6.0, 0.25, 0.95, 64  # vorticities are compared on the coarsest grid of volumes
VOLUMES = {64: 1 / 80, 128: 1 / 160, 256: 1 / 320}  # cells: step, at a Courant number of about 1
LADDER = {32: 1 / 32, 48: 1 / 32, 64: 1 / 32, 80: 1 / 40, 96: 1 / 48, 128: 1 / 64}
TRUTH = {256: 1 / 160}
STARTS = 2


@functools.cache
def velocity_form() -> js.Equation:
    """The catalogue's Kolmogorov flow, which is in vorticity, in velocity: the force sin(4 y) along x and a linear drag."""

    def equations(u, v, p, viscosity, drag, forcing, y):
        carried = lambda f: f.t + u * f.x + v * f.y - viscosity * (f.xx + f.yy) + drag * f
        return carried(u) + p.x - forcing * js.sin(4 * y), carried(v) + p.y, u.x + v.y

    return js.Equation(equations, "u v p", name="kolmogorov_velocity")


def resampled(field: np.ndarray, n: int) -> np.ndarray:
    """A periodic field on n^2 points: the wavenumbers below n / 2 that it has."""
    modes, m = np.fft.fftshift(np.fft.fft2(np.asarray(field, float), norm="forward")), len(field)
    keep = min(m, n) // 2 - 1
    wide = np.zeros((n, n), complex)
    to, fro = slice(n // 2 - keep, n // 2 + keep + 1), slice(m // 2 - keep, m // 2 + keep + 1)
    wide[to, to] = modes[fro, fro]
    return np.fft.ifft2(np.fft.ifftshift(wide), norm="forward").real


Runner = Callable[[np.ndarray], tuple[np.ndarray, float]]  # start -> (vorticities on the scored grid, CPU seconds)


def runner(stepper, encode, vorticity, dt: float) -> Runner:
    every = round(EVERY / dt)
    program = jax.jit(lambda s, state: js.rollout(s, round(END / dt), state=state, save_every=every).fields)

    def run(start):
        state = encode(start)
        jax.block_until_ready(program(stepper, state))
        spent = time.process_time()
        fields = jax.block_until_ready(program(stepper, state))
        spent = time.process_time() - spent
        return np.stack([resampled(vorticity(f), SCORED) for f in fields]), spent

    return run


def spectral(n: int, dt: float) -> Runner:
    problem = js.problems.kolmogorov_flow(**COEFFICIENTS)
    stepper = js.stepper(problem, js.Spectral(n, dt=dt))
    return runner(stepper, lambda w: stepper.encode({"w": jnp.asarray(resampled(w, n))}), lambda f: f[0], dt)


def volumes(n: int, dt: float) -> Runner:
    problem = js.Problem(velocity_form(), BOX, coefficients=COEFFICIENTS, initial={"u": 0, "v": 0})
    stepper = js.stepper(problem, js.Staggered(n, dt=dt))

    def encode(w):
        velocity = velocity_of(jnp.asarray(resampled(w, n)), LENGTHS)
        return stepper.encode(jnp.pad(velocity, ((0, 0), (0, 1), (0, 1)), mode="wrap"))  # its nodes hold both ends

    return runner(stepper, encode, lambda f: vorticity_of(f[:2, :-1, :-1], LENGTHS), dt)


def developed(seed: int) -> np.ndarray:
    """A vorticity after 20 time units from a random start."""
    problem = js.problems.kolmogorov_flow(**COEFFICIENTS)
    start = js.problems.turbulent_vorticity(jax.random.key(seed), BOX, cutoff=8)
    stepper = js.stepper(problem, js.Spectral(96, dt=1 / 64))
    run = jax.jit(lambda s, state: js.rollout(s, 20 * 64, state=state).fields[-1, 0])
    return np.asarray(run(stepper, stepper.encode({"w": start.on_grid(96)})))


def followed(found: np.ndarray, truth: np.ndarray) -> float:
    """The time at which the mean correlation ``[starts, saves]`` falls below the level, by linear interpolation."""
    mean = np.mean(np.asarray(correlation(found, truth)), axis=0)
    below = np.flatnonzero(~(mean >= LEVEL))
    if not len(below):
        return END
    i = int(below[0])
    after = mean[i] if np.isfinite(mean[i]) else 0.0
    return float(EVERY * (i - 1 + (mean[i - 1] - LEVEL) / (mean[i - 1] - after)))


def rows() -> Iterator[dict]:
    began = time.perf_counter()
    with jax.enable_x64(False):
        starts = [developed(seed) for seed in range(STARTS)]

        def judge(make: Callable[[int, float], Runner], grids: dict[int, float], truth=None):
            found = {}
            for n, dt in grids.items():
                run = make(n, dt)
                fields, spent = zip(*(run(start) for start in starts), strict=True)
                time_followed = followed(np.stack(fields), truth) if truth is not None else END
                found[n] = (time_followed, min(spent) / END, np.stack(fields))
            return found

        truth = judge(spectral, TRUTH)[256][2]
        ladder = {n: values[:2] for n, values in judge(spectral, LADDER, truth).items()}
        finite = {n: values[:2] for n, values in judge(volumes, VOLUMES, truth).items()}
    seconds = time.perf_counter() - began
    for n, (reached, cost) in finite.items():
        enough = [(spent, m) for m, (t, spent) in ladder.items() if t >= reached]
        ours, m = min(enough) if enough else (float("nan"), None)
        yield {
            "name": f"turbulence, Kolmogorov flow Re = 500: finite volumes {n}^2 / spectral, equal time", "ours": ours,
            "theirs": cost, "ratio": cost / ours, "target": 1.0, "meets": bool(cost / ours >= 1.0), "precision": "float32",
            "seed": list(range(STARTS)), "peer": f"js.Staggered, followed to t = {reached:.2f}", "spectral_grid": m,
            "unit": "CPU seconds per time unit", "spectral": {k: [round(t, 2), s] for k, (t, s) in ladder.items()},
            "command_seconds": seconds,
        }  # fmt: skip


if __name__ == "__main__":
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    for result in rows():
        print(json.dumps(result), flush=True)
