"""The figures of metabolic flux: flux balance and its family against cobrapy with GLPK, dynamics, kinetics, learning, sampling.

    python benchmarks/metabolism.py                a table
    python benchmarks/metabolism.py --json         one JSON object per line
    python benchmarks/metabolism.py --only fba     groups or rows whose name contains the word
    python benchmarks/metabolism.py --smoke        small rows, to see that it runs

Groups: fba (optima, media, gradients, flux variability), genome (deletions, pools, iJO1366), moma, dynamic (dynamic flux
balance), kinetics (SBML against libRoadRunner), learning (growth measured in 110 media, a surrogate), sampling.
Peers that are not installed leave ``theirs`` null. Times are the least processor seconds of several calls, interleaved with
those of the peer, in this process, which should be pinned to one core (``taskset -c 0``); compilation is printed apart.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before any library reads them
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
from command import groups_of, run

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jaxsci", "jax", "jaxlib", "diffrax", "cobra", "osqp", "libroadrunner", "scikit-learn", "scipy", "numpy")
GROUPS = ("fba", "genome", "moma", "dynamic", "kinetics", "learning", "sampling")


if __name__ == "__main__":
    run(__doc__, groups_of("metabolism", GROUPS), PACKAGES)
