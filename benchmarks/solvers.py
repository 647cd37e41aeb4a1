"""The figures of the solvers: speed per step and per digit against named peers, gradients and their memory, orders, walls, truth.

    python benchmarks/solvers.py                  a table
    python benchmarks/solvers.py --json           one JSON object per line
    python benchmarks/solvers.py --only ks        groups or rows whose name contains the word
    python benchmarks/solvers.py --smoke          one small row of every kind, to see that it runs

Both sides of a race run in one process, interleaved, with synchronous dispatch; a speed is a ratio of minimum CPU times, and
median wall times stand beside. Groups: steps, ks, gradients, orders, and those of the neighbouring files walls,
finite_volume, truth and turbulence.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import diffrax
import exponax
import jax
import jax.numpy as jnp
import numpy as np

import jaxsci as js
from jaxsci.problems.flow import velocity_equation_3d, vorticity_equation
from jaxsci.solvers.discretise import discretise
from jaxsci.solvers.semidiscrete import Times, states_with_traced_steps

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_enable_async_dispatch", False)  # so that the CPU time is all on the books when a call returns

PACKAGES = ("jaxsci", "jax", "jaxlib", "exponax", "diffrax", "numpy")
VERSIONS = {package: version(package) for package in PACKAGES} | {"python": platform.python_version()}
CIRCLE = (0.0, 2 * np.pi)
Race = dict[str, tuple[float, float]]  # by contestant: minimum CPU seconds, median wall seconds


def row(name: str, *, ours: float, target: float, meets: bool, theirs: float | None = None, **more) -> dict:
    ratio = theirs / ours if theirs else None
    basics = {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "target": target, "meets": bool(meets)}
    return basics | {"precision": "float64", "seed": 0} | more


def race(contestants: dict[str, Callable[[], object]], repeats: int, seconds: float = 60.0) -> Race:
    """Minimum CPU and median wall seconds of a call, the contestants taking turns."""
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    calls = {}
    for name, call in contestants.items():
        jax.block_until_ready(call())  # compile
        began = time.perf_counter()
        jax.block_until_ready(call())
        calls[name] = max(1, math.ceil(0.05 / (time.perf_counter() - began)))  # the clock of a process lags by milliseconds
    began = time.perf_counter()
    for _ in range(repeats):
        for name, call in contestants.items():
            started, spent = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                jax.block_until_ready(call())
            cpu[name].append((time.process_time() - spent) / calls[name])
            wall[name].append((time.perf_counter() - started) / calls[name])
        if time.perf_counter() - began > seconds:
            break
    return {name: (min(cpu[name]), statistics.median(wall[name])) for name in contestants}


def speed(name: str, result: Race, target: float, peer: str, per: float = 1.0, **more) -> dict:
    (ours, our_wall), (theirs, their_wall) = result["ours"], result["theirs"]
    walls = {"wall_ours": our_wall / per, "wall_theirs": their_wall / per}
    return row(
        name, ours=ours / per, theirs=theirs / per, target=target, meets=theirs / ours >= target, peer=peer,
        unit="minimum CPU seconds", **walls, **more,
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=(1,))
def many_steps(stepper, steps, state):
    return jax.lax.scan(lambda s, _: (stepper.step(s), None), state, length=steps)[0]


def theirs_many(stepper, steps):
    return jax.jit(lambda modes: jax.lax.scan(lambda s, _: (stepper.step_fourier(s), None), modes, length=steps)[0])


# --- one step against exponax --------------------------------------------------------------------------------------------


def vortices(viscosity: float = 1e-3) -> js.Problem:
    start = lambda x, y: 2 * js.cos(x) * js.cos(y) + js.sin(2 * x + y) + js.cos(x - 3 * y) + js.sin(3 * x)
    box = js.Box(t=(0, 1), x=CIRCLE, y=CIRCLE)
    return js.Problem(vorticity_equation, box, coefficients={"viscosity": viscosity}, initial={"w": start})


def taylor_green(viscosity: float = 1e-2) -> js.Problem:
    initial = {
        "u": lambda x, y, z: js.sin(x) * js.cos(y) * js.cos(z),
        "v": lambda x, y, z: -js.cos(x) * js.sin(y) * js.cos(z),
        "w": 0,
    }
    box = js.Box(t=(0, 1), x=CIRCLE, y=CIRCLE, z=CIRCLE)
    return js.Problem(velocity_equation_3d, box, coefficients={"viscosity": viscosity}, initial=initial)


def one_step(name: str, problem: js.Problem, n: int, dt: float, theirs, sign: float, steps: int, repeats: int) -> dict:
    """ETDRK4 in modes, theirs and ours; the fields after the race agree."""
    axes = tuple(range(1, 1 + len(problem.domain.space)))
    stepper = js.stepper(problem, js.Spectral(n, dt=dt))
    state = stepper.initial()
    fields = stepper.decode(state)[: len(stepper.lines.component_names)]
    modes, other = jnp.fft.rfftn(sign * fields, axes=axes), theirs_many(theirs, steps)
    ours_after = np.asarray(stepper.decode(many_steps(stepper, steps, state)))[: len(fields)]
    theirs_after = sign * np.asarray(jnp.fft.irfftn(other(modes), s=(n,) * len(axes), axes=axes))
    difference = np.linalg.norm(ours_after - theirs_after) / np.linalg.norm(ours_after)
    assert difference < (1e-4 if ours_after.dtype == np.float32 else 1e-9), difference
    result = race({"ours": lambda: many_steps(stepper, steps, state), "theirs": lambda: other(modes)}, repeats)
    more = {"per": steps, "precision": str(ours_after.dtype), "difference": float(difference)}
    return speed(name, result, 1.35, "exponax ETDRK4 step_fourier", **more)


def steps(smoke: bool) -> Iterator[dict]:
    def vorticity(n, x64, count, repeats):
        with jax.enable_x64(x64):
            theirs = exponax.stepper.NavierStokesVorticity(2, 2 * np.pi, n, 1e-3, diffusivity=1e-3, order=4)
            name = f"step, 2-D vorticity {n}^2 {'float64' if x64 else 'float32'}"
            return one_step(name, vortices(), n, 1e-3, theirs, -1.0, count, repeats)

    if smoke:
        yield vorticity(32, False, 50, 3)
        return
    yield vorticity(256, False, 20, 15)
    yield vorticity(128, True, 40, 15)
    with jax.enable_x64(False):
        theirs = exponax.stepper.NavierStokesVelocity(3, 2 * np.pi, 64, 1e-2, diffusivity=1e-2, order=4)
        yield one_step("step, 3-D Taylor-Green 64^3 float32", taylor_green(), 64, 1e-2, theirs, 1.0, 3, 9)


# --- Kuramoto-Sivashinsky --------------------------------------------------------------------------------------------------

KS_LENGTH = 32 * np.pi
KS_EQUATION = js.Equation(lambda u: u.t + u * u.x + u.xx + u.xxxx, name="kuramoto_sivashinsky_standard")


def on_the_attractor() -> js.Problem:
    """The standard equation on [0, 32 pi] from a state on its attractor, for ten time units."""
    start = {"u": lambda x: js.cos(x / 16) * (1 + js.sin(x / 16))}
    warm = js.stepper(js.Problem(KS_EQUATION, js.Box(t=(0, 1), x=(0, KS_LENGTH)), initial=start), js.Spectral(256, dt=0.05))
    values = warm.decode(many_steps(warm, 3000, warm.initial()))[0]
    box, initial = js.Box(t=(0, 10), x=(0, KS_LENGTH)), {"u": lambda x, start: start(x)}
    return js.Problem(
        KS_EQUATION, box, coefficients={"start": jax.tree_util.Partial(_at_grid_point, values)}, initial=initial
    )


def _at_grid_point(values, x):
    return values[jnp.round(x * len(values) / KS_LENGTH).astype(int)]


def relative(a, b) -> float:
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


def ks(smoke: bool) -> Iterator[dict]:
    if smoke:
        return
    problem = on_the_attractor()
    for x64 in (False, True):
        with jax.enable_x64(x64):
            theirs = exponax.stepper.KuramotoSivashinskyConservative(1, KS_LENGTH, 256, 0.05, order=4)
            start = jax.tree.map(lambda values: values.astype(jnp.result_type(float)), problem.coefficients["start"])
            single = problem.with_coefficients(start=start)
            stepper = js.stepper(single, js.Spectral(256, dt=0.05))
            state, other = stepper.initial(), theirs_many(theirs, 2000)
            modes = jnp.fft.rfft(stepper.decode(state))
            result = race({"ours": lambda: many_steps(stepper, 2000, state), "theirs": lambda: other(modes)}, 15)  # noqa: B023
            name = f"ks, one step of one trajectory, N = 256, {'float64' if x64 else 'float32'}"
            more = {"per": 2000, "precision": "float64" if x64 else "float32"}
            yield speed(name, result, 1.8, "exponax ETDRK4 step_fourier", **more)
    yield from ks_per_digit(problem)


def ks_per_digit(problem: js.Problem) -> Iterator[dict]:
    """Cost to an accuracy: our default call with nothing but a tolerance, against others at the step that they need."""
    lines = discretise(problem, 256)
    ends = Times.of(problem, [0.0, 10.0])
    truth = lines.decode(states_with_traced_steps(lines, 4, True, jnp.asarray(20_000), problem, ends)[-1])[0]

    def ours(rtol):
        call = jax.jit(lambda p: js.solve(p, js.Spectral(256, rtol=rtol), ts=[0.0, 10.0]).fields[-1, 0])
        return lambda: call(problem)

    def fixed(count):
        return lambda: states_with_traced_steps(lines, 4, True, jnp.asarray(count), problem, ends)

    def theirs(count):
        stepper = exponax.stepper.KuramotoSivashinskyConservative(
            1, KS_LENGTH, 256, 10.0 / count
        )  # as its call is, of order 2
        call = jax.jit(lambda u: jax.lax.fori_loop(0, count, lambda _, v: stepper(v), u))
        start = problem.coefficients["start"].args[0][None]
        return lambda: call(start)

    rtol = 1e-4
    default = ours(rtol)
    count = 25
    while relative(theirs(count)()[0], truth) > 1e-4:
        count = int(count * 1.25)
    result = race({"ours": default, "theirs": theirs(count)}, 25)
    error, other = relative(default(), truth), relative(theirs(count)()[0], truth)
    while error > 1e-4:  # what was asked for is a tolerance of a step: ask for less until the end meets it
        rtol /= 1.25
        default = ours(rtol)
        error = relative(default(), truth)
    result = race({"ours": default, "theirs": theirs(count)}, 25)
    yield speed(
        "ks, cost to 1e-4: default calls",
        result,
        8.0,
        f"exponax default call, its order 2, {count} steps",
        errors=[error, other],
        rtol=rtol,
    )

    k = 2 * jnp.pi / KS_LENGTH * jnp.arange(129)
    kept = k < 2 / 3 * k[-1]

    def field(t, y, _):  # as one writes it down: all modes, products dealiased by the 2/3 rule
        modes = jax.lax.complex(y[0], y[1])
        product = jnp.fft.rfft(jnp.fft.irfft(jnp.where(kept, modes, 0), 256) ** 2)
        change = (k**2 - k**4) * modes - 0.5j * k * jnp.where(kept, product, 0)
        return jnp.stack([change.real, change.imag])

    @functools.partial(jax.jit, static_argnums=0)
    def explicit(tolerance, start):
        control = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        y, term = jnp.stack([start.real, start.imag]), diffrax.ODETerm(field)
        options = {"stepsize_controller": control, "max_steps": 400_000}
        end = diffrax.diffeqsolve(term, diffrax.Tsit5(), 0.0, 10.0, None, y, **options).ys[0]
        return jnp.fft.irfft(jax.lax.complex(end[0], end[1]), 256)

    start, loose = jnp.fft.rfft(problem.coefficients["start"].args[0]), 1e-3
    while relative(explicit(loose, start), truth) > 3e-5:
        loose /= 10
    rtol = 3e-5
    while relative(ours(rtol)(), truth) > 3e-5:
        rtol /= 1.25
    accurate = ours(rtol)
    result = race({"ours": accurate, "theirs": lambda: explicit(loose, start)}, 5)
    errors = [relative(accurate(), truth), relative(explicit(loose, start), truth)]
    peer = f"diffrax Tsit5 on the same equation in Fourier modes, tolerance {loose:g}"
    yield speed("ks, cost to 3e-5", result, 300.0, peer, errors=errors, rtol=rtol)

    error = errors[0]
    low, high = 10, 2000  # the fewest equal steps that are as accurate
    while high - low > 1:
        middle = (low + high) // 2
        good = relative(lines.decode(fixed(middle)()[-1])[0], truth) <= error
        low, high = (low, middle) if good else (middle, high)
    controlled = jax.jit(lambda p: js.solve(p, js.Spectral(256, rtol=rtol), ts=[0.0, 10.0]).fields[-1, 0])
    equal = jax.jit(lambda p: js.solve(p, js.Spectral(256, dt=10.0 / high), ts=[0.0, 10.0]).fields[-1, 0])
    result = race({"ours": lambda: controlled(problem), "theirs": lambda: equal(problem)}, 25)
    (ours_cpu, _), (best, _) = result["ours"], result["theirs"]
    yield row(
        "ks, chosen steps against the best equal ones at equal error", ours=ours_cpu, theirs=best, target=1.3,
        meets=ours_cpu / best <= 1.3, cost_ratio=ours_cpu / best, steps=high, peer="the same scheme, step found by bisection",
        unit="minimum CPU seconds, target is ours / theirs",
    )  # fmt: skip


# --- gradients ---------------------------------------------------------------------------------------------------------------


def gradients(smoke: bool) -> Iterator[dict]:
    for count, target in ((100, 30.0),) if smoke else ((100, 30.0), (1000, 200.0)):
        with jax.enable_x64(False):
            yield gradient_memory(32 if smoke else 128, count, target)
    for x64, target in ((True, 1e-8), (False, 3e-5)):
        with jax.enable_x64(x64):
            yield finite_differences(8 if smoke else 16, target)
    yield adjoint_identity(8 if smoke else 16)


def gradient_memory(n: int, count: int, target: float) -> dict:
    """Bytes and CPU time of d(sum of squares after `count` steps)/d(start), everything kept against our default."""
    stepper = js.stepper(vortices(), js.Spectral(n, dt=1e-3))
    state = stepper.initial()

    def loss(fields, stepper, policy):
        return jnp.sum(js.rollout(stepper, count, state=stepper.encode(fields), gradient=policy).fields[-1, 0] ** 2)

    fields = stepper.decode(state)[:1]
    programs = {
        name: jax.jit(jax.grad(loss), static_argnums=2).lower(fields, stepper, policy).compile()
        for name, policy in {"ours": "sqrt" if n < 64 else "auto", "theirs": "tape"}.items()
    }
    memory = {name: getattr(program.memory_analysis(), "temp_size_in_bytes", 0) for name, program in programs.items()}
    result = race(
        {name: functools.partial(program, fields, stepper) for name, program in programs.items()}, 5 if count < 500 else 3
    )
    a, b = programs["ours"](fields, stepper), programs["theirs"](fields, stepper)
    foretold = js.gradient_memory(stepper.step, state, count)
    slowdown = result["ours"][0] / result["theirs"][0]
    return row(
        f"memory of a gradient, {n}^2 x {count} steps", ours=memory["ours"], theirs=memory["theirs"], target=target,
        meets=memory["theirs"] / memory["ours"] >= target and slowdown <= 2, cpu_ratio=slowdown, cpu_ratio_limit=2.0,
        foretold={"ours": foretold["sqrt"], "theirs": foretold["tape"]}, difference=relative(a, b), unit="bytes",
        peer="the tape of a plain scan", precision="float32",
    )  # fmt: skip


def ten_steps(n: int):
    stepper = js.stepper(taylor_green(1e-3), js.Spectral(n, dt=0.05))
    start = stepper.decode(stepper.initial())[:3]
    run = jax.jit(lambda fields: js.rollout(stepper, 10, state=stepper.encode(fields), gradient="sqrt").fields[-1, :3])
    return start, run


def finite_differences(n: int, target: float) -> dict:
    """The gradient of the mean square velocity after ten steps along random directions, against central differences."""
    start, run = ten_steps(n)
    mean_square = jax.jit(lambda fields: jnp.mean(run(fields) ** 2))
    gradient, directions = (
        jax.jit(jax.grad(mean_square))(start),
        jax.random.normal(jax.random.key(0), (10, *start.shape), start.dtype),
    )
    slopes = np.array([float(jnp.sum(gradient * d)) for d in directions])
    errors = {}
    with jax.enable_x64(True):  # differences of float32 numbers would tell about their own rounding
        start, run = ten_steps(n)
        mean_square = jax.jit(lambda fields: jnp.mean(run(fields) ** 2))
        for eps in (1e-3, 1e-4, 1e-5, 1e-6):
            ends = [[float(mean_square(start + sign * eps * d)) for sign in (1, -1)] for d in np.asarray(directions, float)]
            found = np.array([(ahead - behind) / (2 * eps) for ahead, behind in ends])
            errors[eps] = float(np.linalg.norm(found - slopes) / np.linalg.norm(slopes))
    best, precision = min(errors, key=errors.__getitem__), str(gradient.dtype)
    return row(
        f"gradient against finite differences, 3-D Taylor-Green {n}^3, 10 steps, {precision}", ours=errors[best],
        target=target, meets=errors[best] <= target, best_eps=best, errors=errors, precision=precision, directions=10,
        differences="float64",
    )  # fmt: skip


def adjoint_identity(n: int) -> dict:
    start, run = ten_steps(n)
    v, w = (jax.random.normal(key, start.shape) for key in jax.random.split(jax.random.key(0)))
    forward, backward = jax.jvp(run, (start,), (v,))[1], jax.vjp(run, start)[1](w)[0]
    left, right = float(jnp.sum(forward * w)), float(jnp.sum(v * backward))
    size = float(jnp.linalg.norm(forward) * jnp.linalg.norm(w))
    error = abs(left - right) / size
    return row(f"<Jv, w> - <v, J'w>, 3-D Taylor-Green {n}^3, 10 steps", ours=error, target=1e-12, meets=error <= 1e-12)


# --- orders ------------------------------------------------------------------------------------------------------------------


def orders(smoke: bool) -> Iterator[dict]:
    """Measured orders of the exponential integrators: Burgers, smooth and not stiff; KS, where steps resolve little."""
    box, initial = js.Box(t=(0, 0.5), x=(0, 1)), {"u": lambda x: 1 + js.sin(2 * np.pi * x)}
    burgers = js.Problem(js.problems.burgers().equation, box, coefficients={"viscosity": 0.02}, initial=initial)
    for order in (4,) if smoke else (2, 3, 4):
        lines, times = discretise(burgers, 48), Times.of(burgers, [0.0, 0.5])
        end = lambda count, order: states_with_traced_steps(lines, order, True, jnp.asarray(count), burgers, times)[-1]  # noqa: B023
        truth, counts = end(4000, 4), (40, 80, 160)
        errors = [relative(end(count, order), truth) for count in counts]
        slope = -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])
        yield row(
            f"order of ETDRK{order}, Burgers",
            ours=slope,
            target=float(order),
            meets=abs(slope - order) <= 0.15,
            errors=errors,
        )


# --- the command ---------------------------------------------------------------------------------------------------------------


def groups() -> dict[str, Callable[[bool], Iterator[dict]]]:
    made: dict[str, Callable[[bool], Iterator[dict]]] = {"steps": steps, "ks": ks, "gradients": gradients, "orders": orders}
    for name in ("turbulence", "truth", "finite_volume", "walls"):
        made[name] = functools.partial(_neighbour, name)
    return made


def _neighbour(name: str, smoke: bool) -> Iterator[dict]:
    """The rows of a neighbouring file; a smoke run takes the first."""
    rows = importlib.import_module(name).rows()
    yield from itertools.islice(rows, 1) if smoke else rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--only", default="", metavar="WORD", help="groups or rows whose name contains it")
    parser.add_argument("--smoke", action="store_true", help="small rows")
    options = parser.parse_args()
    every = groups()
    chosen = {name: make for name, make in every.items() if options.only in name} or every
    for name, make in chosen.items():
        for result in make(options.smoke):
            if options.only not in name and options.only not in result["name"]:
                continue
            result = result | {"cores": os.cpu_count(), "versions": VERSIONS}
            if options.json:
                print(json.dumps(result), flush=True)
                continue
            said = {k: f"{v:.3g}" if isinstance(v, float | int) else str(v) for k, v in result.items()}
            theirs = f"; theirs {said['theirs']}, ratio {said['ratio']}" if result.get("theirs") else ""
            verdict = "meets" if result["meets"] else "MISSES"
            print(f"{said['name']:72s} {said['ours']}{theirs}; target {said['target']}: {verdict}", flush=True)


if __name__ == "__main__":
    main()
