"""Burgers 0.01/pi by DeepXDE, jinns and `js.Neural`: the same machine, the same wall time, each in a process of its own.

    python -m venv dde && dde/bin/pip install deepxde "jax[cpu]" flax optax
    python -m venv jin && jin/bin/pip install jinns "jax[cpu]"
    python benchmarks/learning.py --only peers --deepxde dde/bin/python --jinns jin/bin/python

A row's ratio is their error over ours. DeepXDE's JAX backend has first-order methods only; its example is taken as it is. jinns
gets our hard conditions and Adam. Seconds are wall time from the process's start, imports and compilation included. Where an
environment is missing the row says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from command import row

HERE = Path(__file__).parent
TARGET = 100.0
OURS = """
import sys, time
start = time.perf_counter()
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import jaxsci as js
optimiser = (js.learning.FirstOrder(steps=500), js.learning.SelfScaledBroyden())
budget = float(sys.argv[1]) - (time.perf_counter() - start) - 3
method = js.Neural(js.networks.MLP((20,) * 4), optimiser=optimiser, budget=budget, estimate=False)
solution = js.solve(js.problems.burgers(), method, key=jax.random.key(int(sys.argv[2])))
points = np.load(sys.argv[3])
np.save(sys.argv[4], np.asarray(solution.evaluate(t=points[:, 0], x=points[:, 1])))
"""


def rows(
    seeds: Sequence[int] = (0,),
    only: str = "",
    *,
    deepxde: str | None = None,
    jinns: str | None = None,
    seconds: float = 120.0,
) -> Iterator[dict[str, Any]]:
    """One row per peer and seed."""
    import numpy as np

    import jaxsci as js

    problem = js.problems.burgers()
    t, x = np.meshgrid(np.linspace(0, 1, 51), np.linspace(-1, 1, 257), indexing="ij")
    points = np.stack([t.ravel(), x.ravel()], axis=-1)
    truth = np.asarray(problem.reference().evaluate(t=points[:, 0], x=points[:, 1]))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "points.npy", points)

        def error(command: list[str], seed: int) -> tuple[float, float, float]:
            out = Path(folder) / "out.npy"
            out.unlink(missing_ok=True)
            before, start = os.times(), time.perf_counter()
            subprocess.run([*command, str(seconds), str(seed), f"{folder}/points.npy", str(out)], check=True, stdout=2)
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            gap = np.linalg.norm(np.load(out) - truth) / np.linalg.norm(truth)
            return float(gap), time.perf_counter() - start, cpu

        for seed in seeds:
            ours, took, cpu = error([sys.executable, "-c", OURS], seed)
            for peer, python in (("deepxde", deepxde), ("jinns", jinns)):
                made: dict[str, Any] = {"name": f"burgers, {peer}", "target": TARGET, "seed": seed}
                more: dict[str, Any] = {"seconds": took, "cpu_seconds": cpu}
                if python is None:
                    yield row(**made, ours=ours, meets=False, **more, note=f"no environment: give --{peer} PYTHON")
                    continue
                theirs, their_seconds, their_cpu = error([python, str(HERE / "peers" / f"{peer}_burgers.py")], seed)
                more |= {
                    "their_seconds": their_seconds,
                    "their_cpu_seconds": their_cpu,
                    "their_version": _version(python, peer),
                }
                yield row(**made, ours=ours, theirs=theirs, meets=theirs / ours >= TARGET, **more)


def _version(python: str, package: str) -> str:
    command = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", command], check=True, capture_output=True, text=True).stdout.strip()
