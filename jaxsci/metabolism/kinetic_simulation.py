r"""Trajectories of kinetic models, with derivatives in both directions and batches by vmap."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced, is_whole
from jaxsci.metabolism import kinetic_sensitivity as sensitivity
from jaxsci.metabolism.kinetic_events import begin
from jaxsci.metabolism.kinetic_integration import EVENTS, MAX_STEPS, STEP_TOO_SMALL, Record, integrate
from jaxsci.metabolism.kinetic_model import KineticEquations, KineticModel

_WINDOW = 64  # steps between readings of the times asked for: what they take of 256 members stays in the cache
_WHAT = {
    MAX_STEPS: "took max_steps steps before the last time; give more, or larger tolerances",
    STEP_TOO_SMALL: "needed steps too small to matter: the solution, or its derivative, is not finite there",
    EVENTS: "has events that trigger one another without end",
}


class Trajectory(NamedTuple):
    """What `simulate_kinetics` returns.

    Attributes:
      times: [T].
      values: [T, unknowns], in the order of ``model.states``; NaN behind the time where the integration stopped.
      status: 0 done, 1 too many steps, 2 step too small, 3 events without end.
      steps: attempted steps.
    """

    times: jax.Array
    values: jax.Array
    status: jax.Array
    steps: jax.Array

    def check(self) -> Trajectory:
        """Itself.

        Raises:
          RuntimeError: some member did not get to its last time; the message says which and why.
        """
        for code, what in _WHAT.items():
            members = np.flatnonzero(np.asarray(self.status) == code)
            if len(members):
                who = "the trajectory" if np.ndim(self.status) == 0 else f"members {members[:10].tolist()}: the trajectory"
                raise RuntimeError(f"{who} {what}.")
        return self


class _Options(NamedTuple):
    rtol: float
    atol: float
    max_steps: int


def simulate_kinetics(
    model: KineticModel,
    ts: Any,
    parameters: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | None = None,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 4096,
) -> Trajectory:
    r"""The solution of dy/dt = f(t, y, p), y(0) = y_0(p), at the times ts, through all events.

    Rodas5P (stiff, order 5) with steps such that the estimated error e of each has

        sqrt(mean_i (e_i / (atol + rtol max(|y_i|, |y_i'|)))^2) <= 1.

    Events and the pieces of piecewise laws begin at times located to rounding; of two values at the time of an event the later
    one is given. Differentiable in parameters and initial values, once, in both directions (`jax.grad`, `jax.jvp`,
    `jax.jacfwd`): the exact derivative of the steps taken, with the motion of the events. The times have no derivative. Under
    vmap every member has steps of its own. ``diffrax.ODETerm(model.vector_field)`` is the same system without its events.

    Args:
      model: from `load_kinetics`.
      ts: times [T], increasing, the first >= 0; the integration begins at 0.
      parameters: values by identifier for some of ``model.parameters``.
      initial: values at time 0 by identifier for some of ``model.states``; they come before initial assignments.
      rtol: relative tolerance. With float32 ask for 1e-4.
      atol: absolute tolerance, in the units of the unknowns. Oscillators want 1e-9 and less: errors of the phase add up.
      max_steps: of every member; memory for derivatives is proportional to it.
    Returns:
      A `Trajectory`.
    Raises:
      KeyError: an identifier that does not exist, with the nearest one that does.
      ValueError: times that do not increase or begin before 0; tolerances that are no positive numbers.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> model = js.metabolism.load_kinetics('''
      ...   <sbml xmlns="http://www.sbml.org/sbml/level2/version4" level="2" version="4"><model id="decay">
      ...   <listOfParameters><parameter id="k" value="0.5"/><parameter id="x" value="2" constant="false"/></listOfParameters>
      ...   <listOfRules><rateRule variable="x"><math xmlns="http://www.w3.org/1998/Math/MathML">
      ...   <apply><minus/><apply><times/><ci>k</ci><ci>x</ci></apply></apply></math></rateRule></listOfRules></model></sbml>''')
      >>> end = lambda k: js.metabolism.simulate_kinetics(model, jnp.array([1.0]), {"k": k}, rtol=1e-4, atol=1e-6).values[-1, 0]
      >>> print(f"{end(0.5):.3f} {jax.grad(end)(0.5):.3f}")  # 2 exp(-k) and its derivative
      1.213 -1.213

    Source: Steinebach, Construction of Rosenbrock-Wanner method Rodas5P, BIT 63 (2023); for the cotangents Daescu, Sandu and
      Carmichael, Direct and adjoint sensitivity analysis of chemical kinetic systems with KPP II, Atmos. Environ. 37 (2003).
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (isinstance(value, float | int) and 0 < value < 1):
            raise ValueError(f"{name} is a number between 0 and 1, got {value!r}.")
    if not is_whole(max_steps) or max_steps < 1:
        raise ValueError(f"max_steps is a whole number >= 1, got {max_steps!r}.")
    y, p = model.initial_state(parameters, initial), model.inputs(parameters)
    if y.ndim != 1 or p.ndim != 1:
        raise ValueError(f"Values are scalars, got {y.shape[1:] or p.shape[1:]}: map over batches with jax.vmap.")
    dtype = jnp.result_type(y.dtype, p.dtype)
    if jnp.ndim(ts) != 1 or not jnp.size(ts):
        raise ValueError(f"ts are times [T], got shape {jnp.shape(ts)}.")
    if not is_traced(ts):
        times = np.asarray(ts, float)
        if not np.all(np.diff(times) >= 0) or not times[0] >= 0 or not np.all(np.isfinite(times)):
            raise ValueError(f"ts must increase from a time >= 0 and be finite, got {times[:5]} ...")
    times = jax.lax.stop_gradient(jnp.asarray(ts, dtype))
    options = _Options(float(rtol), float(atol), -(-int(max_steps) // sensitivity.CHUNK) * sensitivity.CHUNK)
    values, status, steps = _solve(model.equations, options, times, y.astype(dtype), p.astype(dtype))
    return Trajectory(times, values, status, steps)


# ---- batches: what vmap adds goes into the axis of members that the integrator has ------------------------------------------


def _over_members(function: Any) -> Any:
    """A function of arrays with the members leading, as one that takes a single member and knows what vmap does with it."""

    def many(*args):
        return function(*args)

    mapped = jax.custom_batching.custom_vmap(many)

    @mapped.def_vmap
    def _(size, batched, *args):
        full = [a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip(args, batched, strict=True)]
        members = full[0].shape[1]
        out = mapped(*(a.reshape(size * members, *a.shape[2:]) for a in full))
        out = jax.tree.map(lambda a: a.reshape(size, members, *a.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    def single(*args):
        return jax.tree.map(lambda a: a[0], mapped(*(a[None] for a in args)))

    return single


def _last(*arrays: jax.Array) -> list[jax.Array]:
    return [jnp.moveaxis(a, 0, -1) for a in arrays]


def _started(equations: KineticEquations, y: Any, p: Any) -> tuple[Any, Any, Any]:
    return begin(equations, jnp.zeros(y.shape[-1:], y.dtype), y, p)


@functools.cache
def _forward(equations: KineticEquations, options: _Options, recorded: bool) -> Any:
    def run(ts, y, p):
        ts, y, p = _last(ts, y, p)
        y, z, done = _started(equations, y, p)
        slots = 0 if recorded else min(_WINDOW, options.max_steps)
        rtol, atol, most = options
        values, status, steps, record = integrate(equations, ts, y, p, z, rtol, atol, most, slots)
        out = values, jnp.where(done, status, EVENTS), steps
        first = lambda tree: jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), tree)  # noqa: E731
        return first((out, record)) if recorded else first(out)

    return _over_members(run)


@functools.cache
def _backward(equations: KineticEquations) -> Any:
    def run(ts, p, y, out, *record):
        ts, p, y, out, *rest = _last(ts, p, y, out, *record)
        y_bar, p_bar = sensitivity.cotangents(equations, Record(*rest), ts, p, out)
        if equations.events:
            _, back = jax.vjp(lambda y, p: _started(equations, y, p)[0], y, p)
            y_bar, more = back(y_bar)
            p_bar = p_bar + more
        return jnp.moveaxis(y_bar, -1, 0), jnp.moveaxis(p_bar, -1, 0)

    return _over_members(run)


@functools.cache
def _along(equations: KineticEquations) -> Any:
    """Tangents: vmap over them alone keeps one set of steps."""

    def with_tangents(ts, p, y, dy, dp, *record):  # members lead; dy, dp: [B, M, ...]
        ts, p, y, dy, dp, *rest = _last(ts, p, y, dy, dp, *record)
        dy, dp = jnp.swapaxes(dy, 0, 1), jnp.swapaxes(dp, 0, 1)
        if equations.events:
            push = lambda dy, dp: jax.jvp(lambda y, p: _started(equations, y, p)[0], (y, p), (dy, dp))[1]  # noqa: E731
            dy = jax.vmap(push, 1, 1)(dy, dp)
        out = sensitivity.tangents(equations, Record(*rest), ts, p, dy, dp)
        return jnp.transpose(out, (3, 2, 0, 1))  # [B, M, T, n]

    over_members = _over_members(with_tangents)  # one member, [M, ...]

    @jax.custom_batching.custom_vmap
    def one(ts, p, y, dy, dp, *record):
        return over_members(ts, p, y, dy[None], dp[None], *record)[0]

    @one.def_vmap
    def _(size, batched, ts, p, y, dy, dp, *record):
        full = [a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip((dy, dp), batched[3:5], strict=True)]
        if not any(batched[:3]) and not any(batched[5:]):
            return over_members(ts, p, y, *full, *record), True
        rest = [a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip((ts, p, y), batched[:3], strict=True)]
        steps = [a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip(record, batched[5:], strict=True)]
        out = jax.vmap(over_members)(*rest, full[0][:, None], full[1][:, None], *steps)
        return out[:, 0], True

    return one


# ---- the derivative: a linear map that JAX may push forward or pull back ----------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solve(equations: KineticEquations, options: _Options, ts: Any, y: Any, p: Any) -> Any:
    return _forward(equations, options, False)(ts, y, p)


@jax.custom_jvp
def _once(record: Any) -> Any:
    return record


@_once.defjvp
def _once_jvp(primals, tangents):
    raise NotImplementedError(
        "simulate_kinetics is differentiable once; for a second derivative difference the gradients, or use "
        "diffrax.ODETerm(model.vector_field)."
    )


@_solve.defjvp
def _solve_jvp(equations, options, primals, tangents):
    ts, y, p = primals
    _, dy, dp = tangents
    (values, status, steps), record = _forward(equations, options, True)(ts, y, p)
    known = _once((ts, y, p, *record))

    # custom_linear_solve is JAX's one linear map with both directions given: of (I, 0; -L, I) (d, v) = (d', 0), v = L d'.
    def forth(_, right):
        (dy, dp), _ = right
        ts, y, p, *record = known
        return (dy, dp), _along(equations)(ts, p, y, dy, dp, *record)

    def back(_, right):
        (y_bar, p_bar), out = right
        ts, y, p, *record = known
        more = _backward(equations)(ts, p, y, out, *record)
        return (y_bar + more[0], p_bar + more[1]), jnp.zeros_like(out)

    # JAX transposes it only if every part of the right side is linear in something: none may be a plain zero.
    nothing = 0 * (jnp.sum(dy) + jnp.sum(dp))
    right = ((dy + nothing, dp + nothing), jnp.zeros_like(values) + nothing)
    _, d_values = jax.lax.custom_linear_solve(lambda v: v, right, forth, back)
    zero = lambda v: np.zeros(v.shape, jax.dtypes.float0)  # noqa: E731
    return (values, status, steps), (d_values, zero(status), zero(steps))
