"""A network that compiles in no time, and data in closed form, for the tests of training."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js
from jaxsci.surrogates import Trajectories


@dataclasses.dataclass(frozen=True)
class Stencil:
    """Three taps on one axis, linear, or with a tanh on top."""

    curved: bool = False
    size: float = 0.3

    def init(self, key, inputs, outputs):
        return {"taps": self.size * jax.random.normal(key, (outputs, inputs, 3)), "bias": jnp.zeros(outputs)}

    def apply(self, parameters, a):
        near = jnp.stack([jnp.roll(a, k, axis=1) for k in (-1, 0, 1)], axis=1)
        out = jnp.einsum("oik,ikx->ox", parameters["taps"], near) + parameters["bias"][:, None]
        return jnp.tanh(out) if self.curved else out


def waves(runs=6, saves=12, n=16, dt=0.1, seed=0, speeds=None):
    """Sums of three sines that travel at speed 1, or each run at its own."""
    random = np.random.default_rng(seed)
    speed = np.ones(runs) if speeds is None else np.asarray(speeds, float)
    x, t = 2 * np.pi * np.arange(n) / n, dt * np.arange(saves)
    fields = np.zeros((runs, saves, 1, n))
    for mode in (1, 2, 3):
        size, phase = random.normal(size=runs), random.uniform(0, 2 * np.pi, runs)
        angle = mode * (x - (speed[:, None] * t)[:, :, None]) + phase[:, None, None]
        fields[:, :, 0] += size[:, None, None] * np.sin(angle)
    numbers = {} if speeds is None else {"speed": jnp.asarray(speed)}
    return Trajectories(js.problems.advection(speed=1.0), jnp.asarray(fields), numbers, dt)
