"""The figures of control: gradients and rollouts against other packages, named systems, planning, learning, safety.

    python benchmarks/control.py                 a table
    python benchmarks/control.py --json          one JSON object per line
    python benchmarks/control.py --only rollouts groups or rows whose name contains the word
    python benchmarks/control.py --smoke         small rows, to see that it runs

Groups: rollouts (against gymnax and gymnasium), flows (Kuramoto-Sivashinsky against controlgym), agents (predator and prey,
against Mesa), fishery, planning, learners (SHAC, PPO, evolution), safety, beliefs, models (a surrogate against the solver).
Peers that are not installed leave ``theirs`` null. Times are the least processor seconds of several calls, interleaved with
those of the peer, in this process, which should be pinned to one core (``taskset -c 0``); it asks its libraries for one thread.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before any library reads them
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax
from command import groups_of, run

jax.config.update("jax_enable_x64", True)

PACKAGES = ("jaxsci", "jax", "jaxlib", "diffrax", "gymnax", "gymnasium", "controlgym", "mesa", "mctx", "numpy")
GROUPS = ("rollouts", "flows", "agents", "fishery", "planning", "learners", "safety", "beliefs", "models")


if __name__ == "__main__":
    run(__doc__, groups_of("control", GROUPS), PACKAGES)
