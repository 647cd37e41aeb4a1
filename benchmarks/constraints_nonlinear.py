"""Bonds and angles of a long chain, and smooth sets from many starts.

    python benchmarks/constraints.py --only nonlinear

Figures are the largest over all conditions; `cpu_seconds` is of the processor, without compilation.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from command import row

import jaxsci as js

ATOMS = 200


def chain(atoms: int, seed: int) -> tuple[Any, Any]:
    """All lengths and angles of a chain of atoms with different masses, and a conformation that has them."""
    rng = np.random.default_rng(seed)
    lengths, angles = rng.uniform(1.3, 1.7, atoms - 1), rng.uniform(1.7, 2.1, atoms - 2)
    x = js.constraints.from_internal(*map(jnp.asarray, (lengths, angles, rng.uniform(-3, 3, atoms - 3))))
    pairs, triples = [(i, i + 1) for i in range(atoms - 1)], [(i, i + 1, i + 2) for i in range(atoms - 2)]
    masses = jnp.asarray(rng.uniform(1, 16, atoms))
    return js.constraints.Bonds(pairs, jnp.asarray(lengths), triples, jnp.asarray(angles), masses), x


def rows_bonds(options: Any) -> Iterator[dict[str, Any]]:
    """Positions thrown off by 0.1 (7 % of a bond) in each coordinate, and the tangent of their projection."""
    atoms = 20 if options.smoke else ATOMS
    with jax.enable_x64(True):
        for seed in range(options.seeds):
            bonds, x = chain(atoms, seed)
            rng = np.random.default_rng(seed)
            y, v = x + 0.1 * rng.normal(size=x.shape), jnp.asarray(rng.normal(size=x.shape))
            forward = jax.jit(lambda y, bonds=bonds: js.constraints.project(bonds, y))
            pushed = jax.jit(lambda y, v, f=forward: jax.jvp(lambda y: f(y)[0], (y,), (v,)))
            jax.block_until_ready((forward(y), pushed(y, v)))
            start = time.process_time()
            point, info = jax.block_until_ready(forward(y))
            seconds = time.process_time() - start
            start = time.process_time()
            _, tangent = jax.block_until_ready(pushed(y, v))
            with_tangent = time.process_time() - start
            error = float(jnp.abs(bonds.residual(point)).max())
            rate = lambda w, bonds=bonds, point=point: jax.jvp(bonds.residual, (point,), (w,))[1]
            yield row(
                f"bonds and angles of a chain of {atoms} atoms", ours=error, target=1e-12,
                meets=error <= 1e-12 and bool(info.converged), seed=seed, steps=int(info.steps), cpu_seconds=seconds,
            )  # fmt: skip
            for name, w in (("derivative of the projection", tangent), ("projected velocity", bonds.tangent(point, v))):
                off = float(jnp.abs(rate(w)).max())
                yield row(
                    f"{name}: change of lengths and angles, {atoms} atoms", ours=off, target=1e-12, meets=off <= 1e-12,
                    seed=seed, cpu_seconds=with_tangent, size=float(jnp.abs(w).max()),
                )  # fmt: skip


def rows_smooth_sets(options: Any) -> Iterator[dict[str, Any]]:
    """Random starts on sets that are not convex, redundant or empty: how many end without the right status, or as NaN."""
    count = 200 if options.smoke else 20_000
    two = lambda x, c: jnp.stack([jnp.sum(x**2) - 1, jnp.sum((x - c) ** 2) - 1])
    torus = lambda x, r: (jnp.hypot(x[0], x[1]) - r[0]) ** 2 + x[2] ** 2 - r[1] ** 2
    curved = lambda x, a: jnp.stack([1.5 - x @ x, x[2] - jnp.sin(3 * x[0])])
    empty = lambda x, _: jnp.stack([x @ x - 1, x[0] - 3])
    make = js.constraints.Nonlinear
    sets = {
        "ellipsoid": (lambda x, a: jnp.sum((x / a) ** 2) - 1, None, [3.0, 1.0, 0.3], 0),
        "torus": (torus, None, [2.0, 0.5], 0),
        "two spheres": (two, None, [1.0, 0.3, 0.0], 0),
        "hyperbola outside of a ball": (lambda x, a: x[0] * x[1] - a, curved, 0.5, 0),
        "redundant": (lambda x, r: (x @ x - r**2) * jnp.stack([1.0, 2.0 + x[0], 3.0]), None, 1.0, 0),
        "empty": (empty, None, 0.0, js.constraints.INFEASIBLE),
    }
    for dtype in ("float64", "float32"):
        with jax.enable_x64(dtype == "float64"):
            for name, (equality, inequality, data, status) in sets.items():
                constraint = make(equality, inequality, jnp.asarray(data, dtype))
                y = jnp.asarray(2 * np.random.default_rng(0).normal(size=(count, 3)), dtype)
                jax.block_until_ready(js.constraints.project(constraint, y))
                start = time.process_time()
                point, info = jax.block_until_ready(js.constraints.project(constraint, y))
                seconds = time.process_time() - start
                wrong = int(jnp.sum((info.status != status) | ~jnp.isfinite(point).all(-1)))
                largest = float(jnp.max(jnp.where(info.converged, info.residual, 0)))
                yield row(
                    f"nonlinear, {name}: wrong of {count}, {dtype}", ours=wrong, target=0, meets=wrong == 0, precision=dtype,
                    residual=largest, steps=float(info.steps.mean()), cpu_seconds=seconds,
                )  # fmt: skip
