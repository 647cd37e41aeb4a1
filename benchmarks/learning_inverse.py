"""Figures of inverse problems: coefficients from data, by random features and through a solver, and the intervals' coverage.

    python benchmarks/learning.py --only inverse

Seconds are wall time with compilation, from cleared caches; cpu_seconds beside them. `solver_seconds` and `solver_error` are
those of the same call through the numerical solver, from the guess that the row names.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from command import medians, timed

import jaxsci as js


def worst(inverse, true):
    return max(abs(float(inverse.coefficients[name]) / value - 1) for name, value in true.items())


def lorenz(seeds: Sequence[int]) -> dict[str, Any]:
    """sigma, rho, beta from 30 clean values of the three unknowns on [0, 3], from a guess half as large."""
    true = {"sigma": 10.0, "rho": 15.0, "beta": 8 / 3}
    solution = js.solve(js.problems.lorenz(**true), js.Adaptive(rtol=1e-12, atol=1e-13))
    t = np.linspace(0.1, 3, 30)
    values = np.asarray(solution.evaluate(t=t))
    data = js.learning.Observations({"t": t}, {f"x{i + 1}": values[i] for i in range(3)})
    guess = js.problems.lorenz(sigma=5.0, rho=8.0, beta=1.0)
    fit, free = js.learning.fit, tuple(true)
    runs = [timed(lambda k=seed: fit(guess, data, free, js.RandomFeatures(150), key=jax.random.key(k))) for seed in seeds]
    near = js.problems.lorenz(sigma=9.5, rho=14.5, beta=2.6)  # from the far guess the solver's descent stops far away
    solver = timed(lambda: fit(near, data, free, js.Adaptive(rtol=1e-10, atol=1e-12)))
    errors = [worst(run.result, true) for run in runs]
    return medians(
        "lorenz coefficients, clean data", seeds, errors, runs, 1e-6, 60, theirs=1e-4,
        peer="3-4 digits in published examples", solver_seconds=solver.seconds, solver_error=worst(solver.result, true),
        solver_guess="within 5 per cent",
    )  # fmt: skip


def viscosities(
    name: str, seeds: Sequence[int], true: float, guess: js.Problem, method: Any, data: Callable[[int], Any]
) -> dict[str, Any]:
    """A row of viscosities from a window without conditions, where no solver can be run."""
    runs = []
    for seed in seeds:
        seen, key = data(seed), jax.random.key(seed)
        runs.append(timed(lambda d=seen, k=key: js.learning.fit(guess, d, "viscosity", method, positive="viscosity", key=k)))
    found = [run.result for run in runs]
    intervals = [inverse.interval()["viscosity"] for inverse in found]
    covers = [bool(low < true < high) for low, high in intervals]
    errors = [worst(inverse, {"viscosity": true}) for inverse in found]
    made = medians(
        name, seeds, errors, runs, 1e-2, 300, theirs=5.7e-2, peer="Raissi et al. (2019), cylinder wake, 1 % noise",
        covers=covers, settled=[inverse.settled for inverse in found], solver_seconds=None,
    )  # fmt: skip
    return made | {"meets": made["meets"] and all(covers)}


def noisy(seed: int, intervals: dict[str, tuple[float, float]], count: int, clean: Callable[..., dict[str, Any]]) -> Any:
    """Scattered observations with 1 % noise."""
    random = np.random.default_rng(seed)
    points = {name: random.uniform(*interval, count) for name, interval in intervals.items()}
    values = clean(*points.values())
    noise = {name: 0.01 * value.std() for name, value in values.items()}
    seen = {name: value + noise[name] * random.normal(size=count) for name, value in values.items()}
    return js.learning.Observations(points, seen, noise)


@js.equation("psi")
def stream_equation(psi, viscosity):
    """2-D Navier-Stokes for the stream function alone: u = psi_y, v = -psi_x, and no pressure is left."""
    carried = psi.y * (psi.xxx + psi.xyy) - psi.x * (psi.xxy + psi.yyy)
    return psi.txx + psi.tyy + carried - viscosity * (psi.xxxx + 2 * psi.xxyy + psi.yyyy)


WINDOW = {"t": (0, 1), "x": (0.5, 5.5), "y": (0.5, 5.5)}


def window(seeds: Sequence[int], *, pressure: bool = False) -> dict[str, Any]:
    """The viscosity of vortices in a stream from 5000 scattered velocities with 1 % noise in a window without conditions.

    With the stream function as the only unknown, or with velocity and an unobserved pressure.
    """
    true, count = 0.05, 5000
    flow, start = js.problems.navier_stokes_velocity(viscosity=true), js.problems.navier_stokes_velocity(viscosity=0.2)
    periodic = {"x": js.Periodic(), "y": js.Periodic()}
    stream = js.Problem(
        stream_equation, flow.domain, coefficients={"viscosity": 0.2}, initial={"psi": 0.0}, boundary=periodic
    )
    guess = (start if pressure else stream).window(**WINDOW)
    method = js.RandomFeatures(400, scale=0.7, points=900) if pressure else js.RandomFeatures(1000, scale=0.6, points=3000)
    method = dataclasses.replace(method, grid=8)

    def clean(*columns):
        u, v, _ = np.asarray(jax.vmap(flow.exact_field)(*columns)).T
        return {"u": u, "v": v} if pressure else {"psi.y": u, "psi.x": -v}

    name = f"viscosity in a window, 1 % noise, {'velocity and pressure' if pressure else 'stream function'}"
    return viscosities(name, seeds, true, guess, method, lambda seed: noisy(seed, WINDOW, count, clean))


def street(seeds: Sequence[int]) -> dict[str, Any]:
    """The viscosity of a street of vortices of alternating sign in a stream: 10 000 velocities with 1 % noise in a window.

    Two rows of Gaussian vortices (radius 0.6, pi apart) that stir one another, by the spectral solver in the frame of the stream.
    """
    true, count = 0.02, 10_000
    box, intervals = js.Box(t=(0, 2), x=(0, 2 * np.pi), y=(0, 2 * np.pi)), {"t": (0, 2), "x": (1, 4), "y": (1.6, 4.6)}
    periodic = {"x": js.Periodic(), "y": js.Periodic()}

    def start(x, y):
        places = [(sign, side * np.pi / 2 + i * np.pi, np.pi + (2 * side - 1) * 0.45) for i in range(-1, 3)
                  for sign, side in ((1, 0), (-1, 1))]  # fmt: skip
        return sum(2.5 * sign * js.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.36) for sign, a, b in places)

    whole = js.Problem(
        js.problems.navier_stokes_vorticity().equation, box, coefficients={"viscosity": true}, initial={"w": start},
        boundary=periodic,
    )  # fmt: skip
    field = js.solve(whole, js.Spectral(n=64)).field
    stream = lambda t, x, y: y + field(t, x - t, y)[1]
    guess = js.Problem(stream_equation, box, coefficients={"viscosity": 0.08}, initial={"psi": 0.0}, boundary=periodic)

    def clean(*columns):
        return dict(zip(("psi.x", "psi.y"), map(np.asarray, jax.vmap(jax.grad(stream, (1, 2)))(*columns)), strict=True))

    method = js.RandomFeatures(1500, scale=0.8, points=4500, grid=8)
    data = lambda seed: noisy(seed, intervals, count, clean)
    name = "viscosity of a vortex street in a window, 1 % noise"
    return viscosities(name, seeds, true, guess.window(**intervals), method, data)


ROWS = {"street": street, "lorenz": lorenz, "window": window, "window_pressure": functools.partial(window, pressure=True)}


def rows(seeds: Sequence[int] = (0,), only: str = "") -> Iterator[dict[str, Any]]:
    """The rows, one after another."""
    for name, make in ROWS.items():
        if only in name:
            yield make(seeds)
