"""Flux sampling against cobrapy's OptGP: seconds for an effective draw.

    python benchmarks/metabolism.py --only sampling

Both draw 1,000 samples of the core model at thinning 100, set-up included (ours after a first call, which compiles); seconds
are of processor time. The effective sample sizes, of the slowest flux and the median one, are by the same rank-normalised
estimate on split chains: cobrapy's one chain, our twenty.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from command import row

import jaxsci as js
from jaxsci.metabolism.sampling import sample
from jaxsci.metabolism.sampling_diagnostics import effective_sample_size


def rows_sampling(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    if importlib.util.find_spec("cobra") is None:
        yield row("sampling: OptGP", ours=None, target=10.0, meets=False, skipped="cobra is not installed")
        return
    import cobra.sampling

    theirs = cobra.io.load_model("textbook")
    model = js.metabolism.load(theirs)
    samples, thinning = (200, 10) if options.smoke else (1000, 100)
    begun = time.process_time()
    peer = cobra.sampling.OptGPSampler(theirs, thinning=thinning, processes=1, seed=1).sample(samples).to_numpy()[None]
    peer_seconds = time.process_time() - begun
    peer_sizes = effective_sample_size(peer)[peer[0].std(axis=0) > 1e-6]
    peer_sizes = {"slowest": np.nanmin(peer_sizes), "median": np.nanmedian(peer_sizes)}
    for method in ("chrr", "optgp"):
        seconds = []
        for seed in (0, 1, 2):
            begun = time.process_time()
            draws = sample(model, key=jax.random.key(seed), samples=samples, thinning=thinning, method=method)
            seconds.append(time.process_time() - begun)
        sizes = {"slowest": np.nanmin(draws.ess), "median": np.nanmedian(draws.ess)}
        for which, size in sizes.items():
            ours, peers = 1e3 * min(seconds[1:]) / size, 1e3 * peer_seconds / peer_sizes[which]
            yield row(
                f"sampling: {method}, milliseconds an effective draw of the {which} flux, against OptGP", ours=float(ours),
                theirs=float(peers), target=10.0, meets=bool(peers >= 10 * ours), ess=float(size),
                peer_ess=float(peer_sizes[which]),
                seconds=min(seconds[1:]), peer_seconds=peer_seconds, compiling=seconds[0] - min(seconds[1:]),
                rhat=float(np.nanmax(draws.rhat)),
            )  # fmt: skip
        yield row(
            f"sampling: {method}, largest |S v| or violation of a bound", ours=draws.residual, target=1e-9,
            meets=draws.residual <= 1e-9, theirs=float(np.abs(peer @ model.stoichiometry.T).max()),
        )  # fmt: skip
