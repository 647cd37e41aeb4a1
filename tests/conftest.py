"""What the tests share: double precision and solutions that several tests look at."""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

# Before LAPACK is loaded: its threads wait by spinning, which costs a hundredfold for small QRs on a machine that is shared.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jaxlib
import pytest

import jaxsci as js
from jaxsci.problems import CATALOGUE

# Set before anything is traced: the tests work in float64 and say so where they do not (`with jax.enable_x64(False)`).
jax.config.update("jax_enable_x64", True)


@functools.cache
def compiler_flags() -> str:
    """What XLA is told where programs are small and run once: to compile them quickly.

    Without optimisations, and with the older of its two writers of fused loops, compiling takes a third of the time. XLA ends the
    process at a flag that it does not know, hence the look into the library: the older writer will go one day.
    """
    flags = ["--xla_backend_optimization_level=0"]
    older = "xla_cpu_use_fusion_emitters"
    library = Path(jaxlib.__file__).parent / "libjax_common.so"
    if library.exists():
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(older.encode()) >= 0:
                flags.append(f"--{older}=false")
    return " ".join(flags)


def pytest_configure(config: pytest.Config) -> None:
    """The default tests spend their time compiling small programs; the slow ones, and the benchmarks, run what users run."""
    if "not slow" in config.option.markexpr and "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " " + compiler_flags()


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs() -> Iterator[None]:
    """Every compiled program keeps pieces of memory mapped, and Linux allows 65,530 of those to a process."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 40_000:
        jax.clear_caches()


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
