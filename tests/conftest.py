"""What the tests share: double precision and solutions that several tests look at."""

from __future__ import annotations

import functools
import os
from pathlib import Path

# Before LAPACK is loaded: its threads wait by spinning, which costs a hundredfold for small QRs on a machine that is shared.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

import jaxsci as js
from jaxsci.problems import CATALOGUE

# Set before anything is traced: the tests work in float64 and say so where they do not (`with jax.enable_x64(False)`).
jax.config.update("jax_enable_x64", True)

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of files that others made; tests that need it are skipped, and say so, where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: files made by others come with the project's workplace, not with the package")
    return SHARED


@functools.cache
def solved(name: str, method: js.problems.Method) -> js.Solution:
    """The catalogued problem solved once in the whole test session."""
    return js.solve(CATALOGUE[name].build(), method)


@functools.cache
def reference(name: str) -> js.Solution:
    """The certified reference of a catalogued problem, computed once."""
    return CATALOGUE[name].build().reference()
