"""The figures of physics-informed learning: accuracy within a time, beside the numerical solver's time and published figures.

    python benchmarks/learning.py                   a table
    python benchmarks/learning.py --json            one JSON object per line
    python benchmarks/learning.py --only burgers    groups or rows whose name contains the word
    python benchmarks/learning.py --seeds 5         runs per row; an error is their median
    python benchmarks/learning.py --smoke           small rows, to see that it runs

Groups: marching (random features in time), steady, inverse, optimisers (networks, and the forward Laplacian), peers (DeepXDE and
jinns, each in an environment of its own: `--deepxde PYTHON --jinns PYTHON`), operators. Every fit starts from cleared compilation
caches, so that seconds include compilation; `cpu_seconds` stand beside, and `solver_seconds` is the time that a numerical solver
of this package takes to the same error. An error is relative L2 against the problem's certified reference.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
from command import row, run

import jaxsci as js

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jaxsci", "jax", "jaxlib", "flax", "optax", "diffrax", "numpy")
GROUPS = ("marching", "steady", "inverse", "optimisers", "peers", "operators")


def smoke() -> Iterator[dict[str, Any]]:
    """One small fit of every kind."""
    features = js.RandomFeatures(200)
    network = js.Neural(js.networks.MLP((8, 8)), optimiser=js.learning.LevenbergMarquardt(steps=30))
    for name, problem, method, target in (
        ("poisson, RandomFeatures", js.problems.poisson(), features, 1e-9),
        ("heat, RandomFeatures", js.problems.heat(), features, 1e-8),
        ("heat, Neural", js.problems.heat(), network, 1e-3),
    ):
        error = js.relative_l2(js.solve(problem, method), problem.reference())
        yield row(name, ours=error, target=target, meets=error <= target)


def group(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a neighbouring file."""
    if options.smoke:
        yield from smoke() if name == GROUPS[0] else ()
        return
    module = importlib.import_module(f"learning_{name}")
    seeds = tuple(range(options.seeds))
    only = "" if options.only in name else options.only
    more = {"deepxde": options.deepxde, "jinns": options.jinns} if name == "peers" else {}
    yield from module.rows(seeds, only, **more)


if __name__ == "__main__":
    run(__doc__, {name: functools.partial(group, name) for name in GROUPS}, PACKAGES, 1, ("deepxde", "jinns"))
