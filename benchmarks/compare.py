"""The figures of solver against surrogate: operator networks against their peers, streaming, and the report itself.

    python benchmarks/compare.py                a table
    python benchmarks/compare.py --json         one JSON object per line
    python benchmarks/compare.py --only report  groups (operators.flow is one part of a group) or rows whose name contains it
    python benchmarks/compare.py --smoke        small rows, to see that it runs
    python benchmarks/compare.py --apebench PYTHON --neuralop PYTHON     of environments that have the peers

Groups: operators (advection as APEBench has it, Navier-Stokes as Li et al. have it, throughput against neuraloperator), data
(streaming a file of 20 GB), report (the same twice, the whole command). Peers without an environment leave ``theirs`` null.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before any library reads them
    os.environ.setdefault(_name, "1")

from command import groups_of, run

PACKAGES = ("jaxsci", "jax", "jaxlib", "flax", "optax", "h5py", "numpy")
GROUPS = ("operators", "data", "report")

if __name__ == "__main__":
    run(__doc__, groups_of("compare", GROUPS), PACKAGES, pythons=("apebench", "neuralop"))
