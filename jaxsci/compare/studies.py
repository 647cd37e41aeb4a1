"""The studies that ``jaxsci compare`` knows by name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

from jaxsci._checks import unknown_name
from jaxsci._types import Key
from jaxsci.compare.function_study import FunctionStudy
from jaxsci.compare.growth_study import e_coli_growth
from jaxsci.compare.shifts import Shifted
from jaxsci.compare.study import Study
from jaxsci.networks.fno import FNO
from jaxsci.networks.resnet import ResNet
from jaxsci.networks.unet import UNet
from jaxsci.problems import (
    Box,
    Periodic,
    Problem,
    advection,
    burgers,
    kolmogorov_flow,
    kuramoto_sivashinsky,
    random_fourier_series,
    turbulent_vorticity,
)
from jaxsci.solvers import Spectral
from jaxsci.surrogates.coarse_solver import CoarseSolver
from jaxsci.surrogates.network_surrogate import NetworkSurrogate
from jaxsci.surrogates.training import Training

Scale = Literal["default", "quick"]


def _turbulence(key: Key, viscosity: float = 0.02, boxes: int = 1) -> Problem:
    """Kolmogorov flow from random vortices, on a square of `boxes` periods of 2 pi."""
    problem = kolmogorov_flow(viscosity=viscosity)
    if boxes > 1:
        problem = _on(problem, Box(t=(0, 1), x=(0, 2 * math.pi * boxes), y=(0, 2 * math.pi * boxes)))
    return problem.with_initial(w=turbulent_vorticity(key, problem.domain, cutoff=8 * boxes, peak=4.0, energy=0.5))


def _waves(key: Key, problem: Problem, cutoff: int = 5) -> Problem:
    return problem.with_initial(u=random_fourier_series(key, problem.domain, cutoff=cutoff, rms=1.0))


def _on(problem: Problem, box: Box) -> Problem:
    """The same equation on a periodic box."""
    axes = box.space
    return Problem(
        problem.equation, box, coefficients=problem.coefficients, initial=dict(problem.initial),
        boundary={axis: Periodic() for axis in axes}, name=problem.name,
    )  # fmt: skip


def _network(
    network: Any, scale: Scale, steps: int, *, unroll: Any = ((0.0, 1), (0.6, 3)), learning_rate: float = 1e-3, **more: Any
) -> NetworkSurrogate:
    training = Training(steps=steps if scale == "default" else 200, unroll=unroll, batch=16, learning_rate=learning_rate)
    return NetworkSurrogate(network, training=training, **more)


def kolmogorov(scale: Scale = "default") -> Study:
    """Two-dimensional turbulence kept up by a force, Reynolds number 50, on 32 x 32 points: is a surrogate worth it?"""
    quick = scale == "quick"
    return Study(
        name="kolmogorov", family=_turbulence, truth=Spectral(n=96, dt=1 / 32), data=Spectral(n=64, dt=1 / 32),
        ladder=(12, 16, 20, 24, 32, 48), n=32, dt=0.25, steps=16, skip=6.0,
        training_runs=16 if quick else 96, training_steps=32,
        surrogates={
            "FNO": _network(FNO(modes=(10, 10), channels=16, layers=3), scale, 1400, unroll=1, learning_rate=8e-3),
            "U-Net": _network(UNet(channels=8, levels=3), scale, 800, unroll=1),
            "FNO correcting a coarse solver": _network(
                FNO(modes=(8, 8), channels=10, layers=2), scale, 1500, unroll=1, learning_rate=8e-3,
                corrects=Spectral(n=16, dt=1 / 8),
            ),
        },
        # Of three learning rates and three ways to unroll, one seed each: seconds of the trainings, on two cores.
        tuning={"FNO": 163.0, "U-Net": 72.0, "FNO correcting a coarse solver": 39.0},
        baselines={"coarse solver": CoarseSolver(n=16, dt=1 / 8)},
        shifts=(
            Shifted(name="viscosity 0.01", family=functools.partial(_turbulence, viscosity=0.01)),
            Shifted(name="twice the time", steps=32),
            Shifted(name="twice the box", family=functools.partial(_turbulence, boxes=2), scale=2),
        ),
        shift_starts=4, title="vorticity w", chaotic=True, budget=120.0 if quick else 600.0,
    )  # fmt: skip


def kuramoto_sivashinsky_chaos(scale: Scale = "default") -> Study:
    """The Kuramoto-Sivashinsky equation, chaotic and stiff: steps of a surrogate against steps of an exponential integrator.

    Waves grow up to k = 16 here, and a grid must carry what damps them too: of 64 intervals none is left that does. The save is
    about a seventh of a Lyapunov time, the horizon about four and a half.
    """
    quick = scale == "quick"
    problem = kuramoto_sivashinsky()
    return Study(
        name="kuramoto_sivashinsky_chaos", family=functools.partial(_waves, problem=problem, cutoff=8),
        truth=Spectral(n=256, dt=1 / 2048), data=Spectral(n=160, dt=1 / 1024), ladder=(80, 96, 112, 128, 160, 192), n=128,
        dt=1 / 64, steps=32, skip=1.0, training_runs=32 if quick else 128, training_steps=32,
        surrogates={
            "FNO": _network(FNO(modes=(32,), channels=32, layers=4), scale, 4000),
            "ResNet": _network(ResNet(dimension=1, channels=32), scale, 6000),
        },
        shifts=(Shifted(name="twice the time", steps=64),), title="u", chaotic=True, budget=120.0 if quick else 600.0,
    )  # fmt: skip


def burgers_waves(scale: Scale = "default") -> Study:
    """Burgers' equation from random waves that steepen: a smooth problem with thin layers."""
    quick = scale == "quick"
    box = Box(t=(0, 1), x=(0, 2 * math.pi))
    family = lambda key, viscosity=0.05: _waves(key, _on(burgers(viscosity=viscosity), box))  # noqa: E731
    return Study(
        name="burgers_waves", family=family, truth=Spectral(n=384, dt=1 / 512), data=Spectral(n=192, dt=1 / 128),
        ladder=(24, 32, 48, 64, 96, 128), n=64, dt=1 / 16, steps=16, training_runs=32 if quick else 256,
        surrogates={
            "FNO": _network(FNO(modes=(16,), channels=32, layers=4), scale, 10_000),
            "ResNet": _network(ResNet(dimension=1, channels=32), scale, 10_000),
        },
        shifts=(
            Shifted(name="viscosity 0.02", family=lambda key: family(key, viscosity=0.02)),
            Shifted(name="twice the time", steps=32),
        ),
        title="u", budget=90.0 if quick else 480.0,
    )  # fmt: skip


def advection_waves(scale: Scale = "default") -> Study:
    """Transport of random waves, which the solver does exactly in one step: a surrogate has nothing to win here."""
    quick = scale == "quick"
    family = functools.partial(_waves, problem=advection(speed=1.0), cutoff=5)
    return Study(
        name="advection_waves", family=family, truth=Spectral(n=96, dt=1 / 8), ladder=(12, 16, 24, 32, 48), n=32, dt=0.25,
        steps=20, training_runs=16 if quick else 64,
        surrogates={"FNO": _network(FNO(modes=(12,), channels=16, layers=3), scale, 5000)},
        shifts=(Shifted(name="twice the time", steps=40),), title="u", budget=60.0 if quick else 240.0,
    )  # fmt: skip


STUDIES: dict[str, Callable[..., Study]] = {
    f.__name__: f for f in (kolmogorov, kuramoto_sivashinsky_chaos, burgers_waves, advection_waves)
}
FUNCTION_STUDIES: dict[str, Callable[..., FunctionStudy]] = {f.__name__: f for f in (e_coli_growth,)}


def named_study(name: str, scale: Scale = "default") -> Study | FunctionStudy:
    """A study by its name.

    Args:
      name: a key of `STUDIES` or of `FUNCTION_STUDIES`.
      scale: "default", or "quick" for a smaller one of the same kind.
    Raises:
      ValueError: no such study or scale.
    Example:
      >>> from jaxsci.compare.studies import named_study
      >>> named_study("kolmogorov").ladder
      (12, 16, 20, 24, 32, 48)
    """
    known: dict[str, Callable[..., Any]] = {**STUDIES, **FUNCTION_STUDIES}
    if name not in known:
        raise ValueError(unknown_name("study", name, known))
    if scale not in ("default", "quick"):
        raise ValueError(f"named_study: scale must be 'default' or 'quick', got {scale!r}.")
    return known[name](scale)
