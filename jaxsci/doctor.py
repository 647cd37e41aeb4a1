"""``jaxsci doctor``: what this installation runs on, and whether it computes what it should.

The self-test takes a few seconds: a solve against an exact solution in both precisions, a gradient against a finite difference,
and small numeric checks of the compiler below us against NumPy, at the sizes at which jax 0.10.2 went wrong in silence
(https://github.com/jax-ml/jax/issues/39103).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REQUIRED = ("jax", "jaxlib", "numpy", "scipy", "sympy", "flax", "optax", "diffrax", "orbax-checkpoint", "jaxtyping")
EXTRAS = {
    "matplotlib": "plot", "h5py": "data", "netCDF4": "data", "xarray": "data", "zarr": "data", "cobra": "metabolism",
    "mctx": "planning",
}  # fmt: skip
KNOWN_BAD = {
    ("jax", "0.10.2"): "compiles some batched products wrongly on CPUs; install another: pip install 'jax!=0.10.2'",
    ("jaxlib", "0.10.2"): "compiles some batched products wrongly on CPUs; install another: pip install 'jaxlib!=0.10.2'",
}
ROUND_OFF = {"float32": 2e-6, "float64": 4e-15}  # of the largest value: about 20 units in the last place


class Check(NamedTuple):
    """One self-test: its name, what was measured, what it may be at most, and seconds; or what it raised."""

    name: str
    error: float
    bound: float
    seconds: float
    raised: str = ""

    @property
    def ok(self) -> bool:
        return not self.raised and self.error <= self.bound  # not so for NaN

    def line(self) -> str:
        """As it is printed."""
        found = self.raised or f"error {self.error:.1e} (at most {self.bound:.0e})"
        return f"  {'ok   ' if self.ok else 'WRONG'} {self.name}: {found}, {self.seconds:.2f} s"


def report(*, quick: bool = False) -> tuple[str, int]:
    """What is installed, what it runs on, and a self-test of a few seconds.

    Args:
      quick: leave the self-test out.
    Returns:
      The text, and the status: 0 if all is well; 1 if a check failed, a required package is missing or a version is known to
      be wrong.
    Example:
      >>> from jaxsci import doctor
      >>> text, status = doctor.report(quick=True)
      >>> status, text.splitlines()[0].split()[0]
      (0, 'jaxsci')
    """
    lines, wrong = [*_versions(), "", *_machine(), "", *_extras()], bool(_faults())
    lines += ["", *(f"WRONG: {fault}" for fault in _faults())] if wrong else []
    if not quick:
        import jaxsci.solvers  # noqa: F401  # loading is no part of the test's time

        start, processor = time.perf_counter(), time.process_time()
        checks = self_test()
        spent = time.perf_counter() - start, time.process_time() - processor
        failed = [check for check in checks if not check.ok]
        wrong = wrong or bool(failed)
        lines += ["", "self-test", *(check.line() for check in checks)]
        lines.append(
            f"  {len(checks) - len(failed)} of {len(checks)} checks ok, {spent[0]:.1f} s ({spent[1]:.1f} s of processor)"
        )
    elif not wrong:
        lines += ["", "No self-test was asked for."]
    if wrong:
        lines.append("This installation gives wrong results or lacks something; see the lines marked WRONG.")
    return "\n".join(lines), int(wrong)


def self_test() -> list[Check]:
    """All checks, in both precisions whatever the caller's is."""
    import jax

    checks = []
    for dtype in ROUND_OFF:
        # Accelerators multiply float32 matrices in fewer bits unless they are told not to.
        with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
            checks.append(_run(f"Burgers against its exact solution, {dtype}", _burgers, dtype))
            checks.append(_run(f"Fourier transforms against NumPy, {dtype}", _fourier, dtype))
            checks.append(_run(f"solves, QR and singular values against NumPy, {dtype}", _matrices, dtype))
            checks.append(_run(f"batched small products (a compiler of jax 0.10.2 failed), {dtype}", _products, dtype))
            if dtype == "float64":
                checks.append(_run("gradient through a solver against a finite difference, float64", _gradient, dtype))
    return checks


def _run(name: str, measure: Callable[[str], tuple[float, float]], dtype: str) -> Check:
    start = time.perf_counter()
    try:
        error, bound = measure(dtype)
        return Check(name, float(error), bound, time.perf_counter() - start)
    except Exception as problem:  # whatever is broken here, the other checks are still worth their line
        text = " ".join(str(problem).split())[:200]
        return Check(name, float("nan"), 0.0, time.perf_counter() - start, f"{type(problem).__name__}: {text}")


# --- what is computed: (largest error relative to the largest value, bound) -----------------------------------------------


def _difference(found: Any, expected: Any) -> float:
    import numpy as np

    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise ValueError(f"shape {found.shape} where it should be {expected.shape}")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@functools.cache
def _burgers_program(slope: bool) -> Any:
    """Compiled, as a function of a: mean square of u at t = 1/2 from -a sin(pi x), and u; its slope where asked for."""
    import jax
    import jax.numpy as jnp

    from jaxsci.problems import burgers, stepper
    from jaxsci.solvers import Spectral

    def run(a: Any) -> Any:
        s = stepper(burgers(viscosity=0.1), Spectral(n=96, dt=0.5 / 200))
        start = s.initial()
        end, _ = jax.lax.scan(lambda state, _: (s.step(state), None), start._replace(values=a * start.values), length=200)
        u = s.decode(end)[0]
        return jnp.mean(u**2), u

    return jax.jit(jax.value_and_grad(run, has_aux=True) if slope else lambda a: (run(a), None))


def _burgers(dtype: str) -> tuple[float, float]:
    """Against Cole & Hopf's solution, by Gauss-Hermite quadrature."""
    import numpy as np

    viscosity, t = 0.1, 0.5
    nodes, weights = np.polynomial.hermite.hermgauss(80)
    y = np.linspace(-1, 1, 97)[:, None] - np.sqrt(4 * viscosity * t) * nodes
    heat = weights * np.exp(-np.cos(np.pi * y) / (2 * np.pi * viscosity))
    exact = -np.sum(heat * np.sin(np.pi * y), axis=1) / np.sum(heat, axis=1)
    (_, found), _ = _burgers_program(dtype == "float64")(1.0)
    return _difference(found, exact), {"float32": 1e-5, "float64": 1e-9}[dtype]


def _gradient(dtype: str) -> tuple[float, float]:
    """The slope by reverse mode and by a difference of order 4."""
    run, h = _burgers_program(True), 1e-3
    values = [float(run(1 + k * h)[0][0]) for k in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    return _difference(run(1.0)[1], difference), 1e-9


def _fourier(dtype: str) -> tuple[float, float]:
    """A spectral shift, forward and back, at lengths that are and are not powers of two."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    worst = 0.0
    for shape in ((256,), (1_025,), (48, 33)):
        u = np.random.default_rng(0).normal(size=shape).astype(dtype)
        k = np.fft.rfftfreq(shape[-1], 1 / shape[-1])
        symbol = (1j * k * np.exp(-0.3j * k - k / shape[-1])).astype(np.result_type(dtype, 1j))
        run = jax.jit(lambda u, symbol, shape=shape: jnp.fft.irfftn(symbol * jnp.fft.rfftn(u), s=shape))
        expected = np.fft.irfftn(symbol * np.fft.rfftn(u.astype(float)), s=shape, axes=range(len(shape)))
        worst = max(worst, _difference(run(u, symbol), expected))
    return worst, ROUND_OFF[dtype]


def _matrices(dtype: str) -> tuple[float, float]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    random = np.random.default_rng(0)
    a = (random.normal(size=(64, 64)) / 8 + 2 * np.eye(64)).astype(dtype)
    b = random.normal(size=(64, 3)).astype(dtype)

    @jax.jit
    def run(a: Any, b: Any) -> Any:
        q, r = jnp.linalg.qr(a)
        return a @ b, q @ r, jnp.linalg.solve(a, b), jnp.linalg.svd(a, compute_uv=False)

    product, factored, solved, singular = run(a, b)
    a, b = a.astype(float), b.astype(float)
    expected = (a @ b, a, np.linalg.solve(a, b), np.linalg.svd(a, compute_uv=False))
    worst = max(_difference(*pair) for pair in zip((product, factored, solved, singular), expected, strict=True))
    return worst, 10 * ROUND_OFF[dtype]  # condition number 3


def _products(dtype: str) -> tuple[float, float]:
    """|M x|^2 and x . M x row by row, at the sizes around which the compiler changes its plan: one wrong row is enough."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    random, worst = np.random.default_rng(0), 0.0
    for n in (16_385, 32_769):
        for k in (2, 3, 4):
            matrix, rows = random.normal(size=(k, k)).astype(dtype), random.normal(size=(n, k)).astype(dtype)
            run = jax.jit(jax.vmap(lambda row, m: (jnp.sum((m @ row) ** 2), row @ (m @ row)), in_axes=(0, None)))
            squares, forms = run(rows, matrix)
            product = rows.astype(float) @ matrix.astype(float).T
            worst = max(worst, _difference(squares, (product**2).sum(axis=1)))
            worst = max(worst, _difference(forms, (product * rows).sum(axis=1)))
    return worst, ROUND_OFF[dtype]


# --- what there is ---------------------------------------------------------------------------------------------------------


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> list[str]:
    lines = [
        f"jaxsci {_version('jaxsci') or '(not installed as a package)'}, Python {platform.python_version()}, {sys.platform}"
    ]
    return [*lines, *(f"  {name} {_version(name) or 'MISSING'}" for name in REQUIRED)]


def _faults() -> list[str]:
    """What is missing or known to be wrong, a sentence each."""
    missing = [f"{name} is not installed: pip install {name}" for name in REQUIRED if _version(name) is None]
    return missing + [f"{name} {bad} {why}" for (name, bad), why in KNOWN_BAD.items() if _version(name) == bad]


def _extras() -> list[str]:
    lines = ["extras"]
    for module, extra in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        lines.append(f"  {module} {_version(module) or ''}" if there else f'  {module} no: pip install "jaxsci[{extra}]"')
    return lines


def _machine() -> list[str]:
    import jax
    import jax.numpy as jnp

    lines = ["devices"]
    for device in jax.devices():
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        lines.append(
            f"  {device.platform} {device.id}: {device.device_kind}" + (f", {limit / 2**30:.1f} GiB" if limit else "")
        )
    double = jnp.result_type(float) == jnp.float64
    precision = "float64 (x64 is on)" if double else "float32 (x64 is off: JAX_ENABLE_X64=1 turns it on)"
    products = getattr(jax.config, "jax_default_matmul_precision", None) or "the device's default"
    lines.append(f"  default precision {precision}, matrix products in {products}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    lines.append(f"  {cores} cores of {os.cpu_count()}, load {load} (1, 5, 15 minutes){_memory()}")
    return lines


def _memory() -> str:
    file = Path("/proc/meminfo")
    if not file.exists():
        return ""
    rows = dict(row.split(":", 1) for row in file.read_text().splitlines() if ":" in row)
    found = {name: int(rows[name].split()[0]) / 2**20 for name in ("MemAvailable", "MemTotal") if name in rows}
    return f", {found['MemAvailable']:.1f} of {found['MemTotal']:.1f} GiB memory free" if len(found) == 2 else ""
