"""Cones, shapes, moments and intersections: how well points hold, and derivatives against central differences.

    python benchmarks/constraints.py --only sets

A gradient's error is relative, against central differences with Richardson's extrapolation in double precision; steps and
processor seconds (without compilation) are those of the whole batch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from command import row

import jaxsci as js

c = js.constraints


def measured(name: str, make: Any, data: tuple, points: Any, seed: int) -> Iterator[dict[str, Any]]:
    """Two rows: the largest violation in a batch, and the error of the gradient in a point and all numbers."""
    f = jax.jit(lambda y: make(*data).project(y))
    jax.block_until_ready(f(points))
    start = time.process_time()
    _, info = jax.block_until_ready(f(points))
    spent = time.process_time() - start
    worst = float(info.residual.max()) if bool(info.converged.all()) else float("inf")
    yield row(
        f"sets: {name}, violation", ours=worst, target=1e-12, meets=worst <= 1e-12, seed=seed, batch=len(points),
        steps=int(info.steps.max()), cpu_seconds=spent,
    )  # fmt: skip

    flat, back = jax.flatten_util.ravel_pytree((points[0], *data))
    g = jax.jit(lambda v: jnp.sum(jnp.sin(make(*back(v)[1:]).project(back(v)[0])[0])))
    direction = jax.random.normal(jax.random.key(seed + 99), flat.shape)
    central = lambda h: (g(flat + h * direction) - g(flat - h * direction)) / (2 * h)
    exact = (4 * central(5e-5) - central(1e-4)) / 3
    ours = jnp.vdot(jax.jit(jax.grad(g))(flat), direction)
    error = float(jnp.abs(ours - exact) / jnp.maximum(1e-3, jnp.abs(exact)))
    yield row(f"sets: {name}, gradient in everything", ours=error, target=1e-8, meets=error <= 1e-8, seed=seed)


def rows_sets(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    batch = 50 if options.smoke else 1000
    for seed in range(options.seeds):
        keys = jax.random.split(jax.random.key(seed), 4)
        y, a = 2 * jax.random.normal(keys[0], (batch, 10)), jax.random.normal(keys[1], (10,))
        values = jax.random.normal(keys[2], (3, 10))
        yield from measured("second-order cone", c.SecondOrderCone, (jnp.asarray(0.7),), y, seed)
        matrices = jax.random.normal(keys[3], (batch, 6, 6))
        yield from measured("semidefinite 6 x 6", c.PositiveSemidefinite, (jnp.asarray(0.1),), matrices, seed)
        yield from measured("monotone", c.Monotone, (jnp.asarray(0.1),), y, seed)
        yield from measured("convex", c.Convex, (jnp.linspace(0, 1, 10) ** 1.5,), y, seed)
        yield from measured("tilted moments", c.TiltedMoments, (values, values.mean(axis=1)), jnp.exp(y), seed)
        lens = lambda r, a, b: c.Ball(r) & c.HalfSpace(a, b)
        yield from measured("ball and half-space", lens, (jnp.asarray(1.5), a, jnp.asarray(-1.0)), y, seed)
        mixed = lambda s, b, a: c.SecondOrderCone(s) & c.Ball(b) & c.HalfSpace(a, 0.1)
        yield from measured("cone, ball, half-space", mixed, (jnp.asarray(0.8), jnp.asarray(1.5), a), y, seed)
