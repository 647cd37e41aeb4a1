"""The figures of hard constraints: accuracy, derivatives, and times against other packages.

    python benchmarks/constraints.py                 a table
    python benchmarks/constraints.py --json          one JSON object per line
    python benchmarks/constraints.py --only polytope groups or rows whose name contains the word
    python benchmarks/constraints.py --smoke         small rows, to see that it runs

Groups: polytope (against pinet, qpax, jaxopt, cvxpylayers and proxsuite where they are installed, else ``theirs`` is null), sets,
fields, nonlinear, dc3 (a network trained behind a polytope), pde (the layer, against optimistix and jaxopt), moe (soft, hard
and experts on the paper's two problems: a quarter of an hour). The smoke leaves dc3 and moe out. Times are the least processor
seconds of several calls, interleaved with those of the peer, in this process, which should be pinned to one core (``taskset -c
0``); it asks its libraries for one thread.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
from collections.abc import Iterator
from typing import Any

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before any library reads them
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
from command import run

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jaxsci", "jax", "jaxlib", "pinet-hcnn", "qpax", "jaxopt", "cvxpylayers", "proxsuite", "optimistix", "numpy")
GROUPS = {
    "polytope": ("rows_race", "rows_harder", "rows_gradients", "rows_single_precision", "rows_random", "rows_warm"),
    "sets": ("rows_sets",),
    "fields": ("rows_divergence", "rows_integrals", "rows_boundary"),
    "nonlinear": ("rows_bonds", "rows_smooth_sets"),
    "dc3": ("rows_dc3",),
    "pde": ("rows_iteration", "rows_mixture"),
    "moe": ("rows_both",),
}


def group(name: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a neighbouring file."""
    if options.smoke and name in ("dc3", "moe"):
        return
    module = importlib.import_module(f"constraints_{name}")
    for rows in GROUPS[name]:
        yield from getattr(module, rows)(options)


if __name__ == "__main__":
    run(__doc__, {name: functools.partial(group, name) for name in GROUPS}, PACKAGES)
