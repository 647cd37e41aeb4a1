"""The figures of the spine: accuracy of the numerical references, and what the machinery costs.

    python benchmarks/first_slice.py                  a table
    python benchmarks/first_slice.py --json           one JSON object per line
    python benchmarks/first_slice.py --only burgers   rows whose name contains the word
    python benchmarks/first_slice.py --smoke          two small rows, to see that it runs

Every run starts from cleared compilation caches, so that seconds include compilation. An error is the median over the seeds,
relative L2 against the problem's certified reference, and so are its seconds. `theirs` is a figure of the peer named in the
row: measured here in the same process and interleaved for speeds, published for errors, null where there is none.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does: small QRs lose by spinning threads

import jax
import jax.numpy as jnp

import jaxsci as js

jax.config.update("jax_enable_x64", True)

SEEDS = (0, 1, 2)
PACKAGES = ("jaxsci", "jax", "jaxlib", "flax", "optax", "diffrax", "numpy", "sympy")


def row(name: str, *, ours: float, target: float, meets: bool, theirs: float | None = None, **more) -> dict:
    versions = {package: version(package) for package in PACKAGES} | {"python": platform.python_version()}
    ratio = ours / theirs if theirs else None
    basics = {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "meets": bool(meets)}
    return basics | more | {"precision": "float64", "cores": os.cpu_count(), "versions": versions}


# --- accuracy within a time ------------------------------------------------------------------------------------------


def accuracy(
    name: str,
    problem: js.Problem,
    method,
    target: float | None,
    seconds: float | None,
    *,
    seeds=SEEDS,
    published=None,
    **more,
) -> dict:
    """The median error and the median time of a fresh fit or solve, compilation included."""
    reference = problem.reference()
    target = float(reference.error_estimate) if target is None else target
    errors, times = [], []
    for seed in seeds:
        jax.clear_caches()
        start = time.perf_counter()
        solution = js.solve(problem, method, key=jax.random.key(seed))
        jax.block_until_ready(solution.fields)
        times.append(time.perf_counter() - start)
        errors.append(js.relative_l2(solution, reference))
    error, took = statistics.median(errors), statistics.median(times)
    return row(
        name,
        ours=error,
        target=target,
        meets=error <= target and (seconds is None or took <= seconds),
        theirs=published,
        unit="relative L2 error",
        method=repr(method),
        seconds=round(took, 2),
        within_seconds=seconds,
        reference_error=float(reference.error_estimate),
        errors=errors,
        seed=list(seeds),
        **more,
    )


# Resolution and tolerance at which each problem meets the error of its own reference. A reference that is a convergence study
# compares n with 2 n points and half the step; the row is a run like the coarser one.
NUMERICAL = {
    "advection": js.Spectral(32),
    "heat": js.Spectral(64),
    "wave": js.Spectral(64),
    "burgers": js.Spectral(4096, rtol=1e-12),
    "kdv": js.Spectral(512, rtol=3e-11),
    "kuramoto_sivashinsky": js.Spectral(512, rtol=1e-10),
    "allen_cahn": js.Spectral(12288, rtol=1e-10),
    "gray_scott": js.Spectral(16, rtol=1e-15),
    "gray_scott_spot": js.Spectral(128, rtol=1e-9),
    "navier_stokes_vorticity": js.Spectral(16, rtol=1e-15),
    "navier_stokes_velocity": js.Spectral(16, rtol=1e-15),
    "vortex_mixing": js.Spectral(96, rtol=1e-10),
}


def numerical() -> Iterator[tuple[str, Callable[[], dict]]]:
    for problem, method in NUMERICAL.items():
        name = f"{problem}, Spectral"
        build = js.problems.CATALOGUE[problem].build
        yield name, lambda name=name, build=build, method=method: accuracy(name, build(), method, None, None, seeds=(0,))


# --- what the machinery costs ----------------------------------------------------------------------------------------


def partials(points: int = 4096, widths: tuple[int, ...] = (64,) * 4, repeats: int = 15) -> Iterator[dict]:
    """Gradient of the mean square Burgers residual: one batched Taylor pass against nested `jax.grad` per point."""
    problem, network = js.problems.burgers(), js.networks.MLP(widths)
    parameters = network.init(jax.random.key(0), inputs=2, outputs=1)
    sample = jax.random.uniform(jax.random.key(1), (points, 2), minval=jnp.array([0.0, -1.0]))
    residual, viscosity = js.residual(problem), problem.coefficients["viscosity"]

    def ours(parameters):
        field = lambda t, x: network.apply(parameters, jnp.stack([t, x]))
        return jnp.mean(residual(field, problem.coefficients, sample) ** 2)

    def nested(parameters):
        def at_point(t, x):
            u = lambda t, x: network.apply(parameters, jnp.stack([t, x]))[0]
            u_t, u_x, u_xx = jax.grad(u, 0)(t, x), jax.grad(u, 1)(t, x), jax.grad(jax.grad(u, 1), 1)(t, x)
            return u_t + u(t, x) * u_x - viscosity * u_xx

        return jnp.mean(jax.vmap(at_point)(*sample.T) ** 2)

    compiled, compile_seconds = {}, {"ours": math.inf, "nested": math.inf}
    for _ in range(3):
        for name, loss in {"ours": ours, "nested": nested}.items():
            jax.clear_caches()
            start = time.process_time()
            compiled[name] = jax.jit(jax.value_and_grad(loss)).lower(parameters).compile()
            compile_seconds[name] = min(compile_seconds[name], time.process_time() - start)
    values = {name: float(program(parameters)[0]) for name, program in compiled.items()}
    assert abs(values["ours"] / values["nested"] - 1) < 1e-10, values
    seconds = {"ours": math.inf, "nested": math.inf}
    for _ in range(repeats):
        for name, program in compiled.items():
            start = time.process_time()
            jax.block_until_ready(program(parameters))
            seconds[name] = min(seconds[name], time.process_time() - start)
    more = {"peer": "nested jax.grad per point", "unit": "minimum CPU seconds", "seed": 0}
    speed, compiling = seconds["nested"] / seconds["ours"], compile_seconds["nested"] / compile_seconds["ours"]
    label = f"burgers residual with gradient, {points} points, {len(widths)}x{widths[0]}"
    yield row(f"{label}: run", ours=seconds["ours"], theirs=seconds["nested"], target=1 / 1.4, meets=speed >= 1.4, **more)
    yield row(
        f"{label}: compile",
        ours=compile_seconds["ours"],
        theirs=compile_seconds["nested"],
        target=1.0,
        meets=compiling >= 1,
        **more,
    )


def imports(repeats: int = 5) -> Iterator[dict]:
    """CPU seconds of imports in fresh interpreters, interleaved."""
    base = "import jax, flax, optax, diffrax"
    codes = {"base": base, "jaxsci": "import jaxsci", "all of it": "import jaxsci; jaxsci.Neural, jaxsci.Spectral"}
    codes |= {"with SymPy": f"{base}, sympy"}
    best = dict.fromkeys(codes, math.inf)
    for _ in range(repeats):
        for name, code in codes.items():
            timed = f"import time\nstart = time.process_time()\n{code}\nprint(time.process_time() - start)"
            out = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout
            best[name] = min(best[name], float(out))
    more = {"peer": base, "unit": "minimum CPU seconds", "seed": None}
    for name, label in {
        "jaxsci": "import jaxsci",
        "all of it": "import and load every folder",
        "with SymPy": "SymPy",
    }.items():
        ratio = best[name] / best["base"]
        yield row(f"import: {label}", ours=best[name], theirs=best["base"], target=1.3, meets=ratio <= 1.3, **more)


def symbols() -> Iterator[dict]:
    """What SymPy costs per equation: writing one down, its hash, its LaTeX, its splitting, against compiling one step."""
    from jaxsci.equations.splitting import split

    def written():
        return js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx)

    def everything():
        equation = written()
        return equation.identity, equation.latex(), split(equation)

    everything()
    times = []
    for _ in range(5):
        start = time.process_time()
        everything()
        times.append(time.process_time() - start)
    stepper = js.stepper(js.problems.burgers(), js.Spectral(256, dt=1e-3))
    state = stepper.initial()
    start = time.process_time()
    jax.jit(stepper.step).lower(state).compile()
    compiling = time.process_time() - start
    yield row(
        "SymPy: Burgers written down, hashed, printed and split",
        ours=min(times),
        theirs=compiling,
        target=0.1,
        meets=min(times) / compiling <= 0.1,
        peer="compiling one ETDRK4 step of it",
        unit="CPU seconds",
        seed=None,
    )


def smoke() -> Iterator[tuple[str, Callable[[], dict]]]:
    yield "heat, Spectral", lambda: accuracy("heat, Spectral", js.problems.heat(), js.Spectral(64), None, None, seeds=(0,))
    yield (
        "poisson, RandomFeatures",
        lambda: accuracy("poisson, RandomFeatures", js.problems.poisson(), js.RandomFeatures(300), 1e-11, None, seeds=(0,)),
    )


def rows(only: str, is_smoke: bool) -> Iterator[dict]:
    if is_smoke:
        yield from (make() for _, make in smoke())
        return
    for group in (partials, imports, symbols):
        if not only or any(only in name for name in (group.__name__, "machinery")):
            yield from group()
    for name, make in numerical():
        if only in name:
            yield make()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--only", default="", metavar="WORD", help="rows whose name contains it")
    parser.add_argument("--smoke", action="store_true", help="two small rows")
    options = parser.parse_args()
    for result in rows(options.only, options.smoke):
        if options.json:
            print(json.dumps(result), flush=True)
            continue
        theirs = f"{result['theirs']:.2e} ({result['peer']})" if result["theirs"] else "-"
        within = f" in {result['seconds']:.1f} s" if "seconds" in result else ""
        limit = f" in {result['within_seconds']} s" if result.get("within_seconds") else ""
        verdict = "meets" if result["meets"] else "MISSES"
        print(f"{result['name']:60s} {result['ours']:.2e}{within}; target {result['target']:.2e}{limit}: {verdict}; "
              f"theirs {theirs}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
