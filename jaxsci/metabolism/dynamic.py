r"""Dynamic flux balance: cells that optimise at every moment, in a medium that they change.

    dX/dt = (mu - D) X,    dC_i/dt = r_i X + D (feed_i - C_i) + kLa_i (C*_i - C_i),    dV/dt = F - F_out,    D = F / V

mu and the exchange rates r are those of the flux balance whose uptake bounds are laws of the concentrations. Between two changes
of the optimal basis they are an affine function of those bounds (`lexicographic`): no programme is solved while time goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix

from jaxsci._checks import is_traced
from jaxsci.metabolism.dynamic_programme import ENDED, DynamicProgramme, dynamic_programme
from jaxsci.metabolism.fba import numbers
from jaxsci.metabolism.lexicographic import follow
from jaxsci.metabolism.linear_program import STATUS
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.reactor import Reactor, Uptake
from jaxsci.metabolism.simplex import MAX_STEPS, NOT_FINITE, OPTIMAL

KINDS = ("a bound becomes active", "is used up", "is there again", "no flux meets all bounds")


class Events(NamedTuple):
    """What happened when, in order; unused places have time infinity and kind -1."""

    times: Any  # [..., max_events], h
    kinds: Any  # ACTIVE_SET, EXHAUSTED, REPLENISHED, ENDED
    reactions: Any  # the column of the reaction whose bound it is


class DynamicFluxBalance(NamedTuple):
    """What `dynamic_fba` returns. After `end` numbers are NaN."""

    times: Any  # [T], h
    biomass: Any  # [T], gDW/L
    concentrations: dict[str, Any]  # exchange -> [T], mM
    volume: Any  # [T], L
    growth: Any  # [T], 1/h: the objective
    fluxes: Any  # [T, reactions], mmol/gDW/h
    events: Events
    end: Any  # h: the last time, or where the cells' demands could no longer be met
    final: dict[str, Any]  # biomass, concentrations and volume at `end`
    status: Any  # OPTIMAL 0, INFEASIBLE 1 (ended before the last time), UNBOUNDED 2, MAX_STEPS 3, NOT_FINITE 4
    steps: Any  # of the integrator

    def describe(self, model: StoichiometricModel) -> str:
        """The events of one run as lines of text."""
        if np.ndim(self.status):
            raise ValueError("describe: one run at a time; take one with jax.tree.map(lambda x: x[i], runs).")
        rows = zip(*(np.asarray(x) for x in self.events), strict=True)
        lines = [f"{t:10.4f} h  {model.reactions[j]}: {KINDS[k]}" for t, k, j in rows if k >= 0]
        return "\n".join([*lines, f"{float(self.end):10.4f} h  end: {STATUS[int(self.status)]}"])


def dynamic_fba(
    model: StoichiometricModel,
    uptake: Mapping[str, Any],
    biomass: Any,
    concentrations: Mapping[str, Any],
    ts: Any,
    *,
    reactor: Reactor | None = None,
    then: Sequence[Any] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_events: int = 16,
) -> DynamicFluxBalance:
    r"""Growth of a culture by dynamic flux balance, integrated from event to event.

    The cells optimise the model's objective, whose value is their growth rate; of all optima they take the best in the first
    objective of `then`, then in the second, and so on, which makes the rates of exchange unique and continuous (lexicographic
    optima; Hoeffner, Harwood & Barton 2013). Where a flux meets a bound, the optimal basis changes: diffrax finds the time,
    a few pivots find the new basis, and the integration goes on. A substrate whose law does not vanish with it (`Uptake` with
    km None) is followed until it is used up, and from there on lives on what flows in. The run ends early where no flux meets
    all bounds any more (a maintenance demand, say).

    Works under jit, vmap and reverse-mode differentiation (grad, jacrev), in the laws, the reactor, the start and the model's
    bounds; times of events are differentiable too. In the model's objective the derivative is 0.

    Args:
      model: bounds in mmol/gDW/h. Its own uptake bound holds for exchanges in `concentrations` that have no law; those that
        are in neither are as the model says at all times.
      uptake: exchange -> `Uptake`, or a function of the concentrations; it replaces the model's uptake bound.
      biomass: X at the start, gDW/L.
      concentrations: exchange -> C at the start, mM: what is followed.
      ts: [T] increasing, h; ts[0] is the start.
      reactor: a batch by default.
      then: reactions (their flux is maximised), {reaction: weight} or arrays [reactions]. By default the exchanges followed, in
        their order: the least uptake and the most secretion. What is still left is settled by weights of no meaning.
      solver: Tsit5 by default; ``diffrax.Kvaerno5()`` where laws are stiff.
      rtol, atol: of the integration. max_events: that a run may have; a run with more has status MAX_STEPS.
    Returns:
      A `DynamicFluxBalance`.
    Raises:
      KeyError: a name that is no exchange, or a law or a feed of what is not followed.
      ValueError: times that do not increase, a negative concentration.
    Reference: Varma & Palsson (1994), Appl. Environ. Microbiol. 60, 3724; Mahadevan, Edwards & Doyle (2002), Biophys. J. 83, 1331.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> toy = js.metabolism.from_equations({"food": "-> a", "growth": "10 a ->"}, "growth")
      >>> run = js.metabolism.dynamic_fba(
      ...     toy, {"food": js.metabolism.Uptake(10.0)}, 0.1, {"food": 9.0}, jnp.array([0.0, 1.0, 3.0]))
      >>> print(run.biomass.round(4), run.describe(toy))
      [0.1    0.2718 1.    ]     2.3026 h  food: is used up
          3.0000 h  end: optimal
    """
    names = tuple(concentrations)
    reactor = Reactor() if reactor is None else reactor
    _check(model, uptake, biomass, concentrations, ts, reactor)
    levels = _levels(model, names if then is None else then, names if then is None else ())
    lower, upper, objective = numbers(model, None, None, None)
    if lower.ndim != 1:
        raise ValueError(f"dynamic_fba: one model a call, got a batch of shape {list(lower.shape[:-1])}; use jax.vmap.")
    dtype = jnp.result_type(
        lower.dtype, *(x.dtype for x in jax.tree.leaves((uptake, reactor, biomass, concentrations, ts)) if isinstance(x, jax.Array))
    )
    laws = tuple(uptake.get(name) for name in names)
    laws = tuple(law if law is None or isinstance(law, Uptake) else jax.tree_util.Partial(law) for law in laws)
    given = (objective.astype(dtype), lower.astype(dtype), upper.astype(dtype), laws, reactor)
    y = jnp.stack([jnp.asarray(x, dtype) for x in (biomass, *concentrations.values(), reactor.volume)])
    solver = diffrax.Tsit5() if solver is None else solver
    tolerances = (rtol, atol)
    with jax.ensure_compile_time_eval():
        programme = dynamic_programme(model.network, names, levels)
    out = _run(programme, max_events, solver, tolerances, given, y, jnp.asarray(ts, dtype))
    return _answer(names, jnp.asarray(ts, dtype), *out)


class _Carry(NamedTuple):
    t: Any
    y: Any
    vertex: Any
    used_up: Any  # [k]
    what: Any  # (kind, reaction) of the event that ended the last segment
    going: Any
    status: Any
    steps: Any
    ys: Any  # [T, 2 + k]
    x: Any  # [T, N]: the programme's variables


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    programme: DynamicProgramme, max_events: int, solver: Any, tolerances: tuple[float, float], given: Any, y: Any, ts: Any
) -> Any:
    """Segments between events."""
    dtype = y.dtype
    nan = jnp.full(len(ts), jnp.nan, dtype)
    objective, lower, upper, *_ = given
    vertex = programme.first_vertex(jax.lax.stop_gradient(objective))
    known = [jnp.isfinite(x).all() for x in (y, objective, ts)]
    finite = jnp.stack([*known, ~jnp.isnan(jnp.concatenate([lower, upper])).any()]).all()
    carry = _Carry(
        ts[0],
        jnp.where(finite, y, 1.0),
        vertex,
        programme.used_up(y, jnp.zeros(len(programme.names), bool)),
        (jnp.asarray(-1, jnp.int32), jnp.asarray(0, jnp.int32)),
        finite,
        jnp.where(finite, OPTIMAL, NOT_FINITE).astype(jnp.int32),
        jnp.asarray(0),
        jnp.broadcast_to(nan[:, None], (len(ts), len(y))),
        jnp.broadcast_to(nan[:, None], (len(ts), programme.size)),
    )
    segment = functools.partial(_segment, programme, solver, tolerances, given, ts)

    def step(carry: _Carry, _: Any) -> Any:
        skip = lambda c: (c, (jnp.asarray(jnp.inf, dtype), jnp.asarray(-1, jnp.int32), jnp.asarray(0, jnp.int32)))  # noqa: E731
        return jax.lax.cond(carry.going, segment, skip, carry)

    carry, events = jax.lax.scan(step, carry, length=max_events)
    status = jnp.where(carry.going, MAX_STEPS, carry.status)
    fluxes = programme.fluxes(carry.x)
    return carry, status, fluxes, fluxes @ objective, Events(*events)


def _segment(programme: DynamicProgramme, solver: Any, tolerances: Any, given: Any, ts: Any, carry: _Carry) -> Any:
    """New basis, then on to the next event."""
    fixed = programme.fixed(given)
    state = jax.lax.stop_gradient((carry.t, carry.y, carry.used_up))
    found = follow(carry.vertex, *jax.lax.stop_gradient(programme.all_bounds(fixed, *state)))
    status = jnp.where(found.status == OPTIMAL, programme.judge(fixed, found.vertex, state), found.status)
    lives = status == OPTIMAL
    args = (fixed, programme.affine(fixed, found.vertex), carry.used_up)
    sharp = 100 * float(jnp.finfo(carry.y.dtype).eps)
    # A run that has ended goes nowhere.
    stop = jnp.where(lives, ts[-1], carry.t)
    out = diffrax.diffeqsolve(
        diffrax.ODETerm(programme.rate),
        solver,
        carry.t,
        stop,
        None,
        carry.y,
        args=args,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=jnp.clip(ts, carry.t, stop)), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=diffrax.PIDController(rtol=tolerances[0], atol=tolerances[1]),
        event=diffrax.Event(programme.margin, optimistix.Bisection(sharp, sharp), direction=False),
        max_steps=4096,
        throw=False,
    )
    saved, (y_end,) = out.ys
    t_end = out.ts[1][0]
    happened = out.event_mask & lives
    ended = ~lives | (out.result != diffrax.RESULTS.successful) & (out.result != diffrax.RESULTS.event_occurred)
    t_end, y_end = jnp.where(ended, carry.t, t_end), jnp.where(ended, carry.y, y_end)
    here = (ts >= carry.t) & (ts <= t_end) & lives
    ys = jnp.where(here[:, None], saved, carry.y)  # what lies elsewhere is replaced by something harmless
    x = jax.vmap(lambda t, y: programme.solution(t, y, args))(jnp.where(here, ts, carry.t), ys)
    failed = ended & lives
    what = programme.cause(t_end, y_end, args)
    new = _Carry(
        t_end,
        y_end,
        found.vertex,
        jnp.where(happened, programme.used_up(jax.lax.stop_gradient(y_end), carry.used_up), carry.used_up),
        what,
        happened,
        jnp.where(failed, MAX_STEPS, status).astype(jnp.int32),
        carry.steps + out.stats["num_steps"],
        jnp.where(here[:, None], saved, carry.ys),
        jnp.where(here[:, None], x, carry.x),
    )
    kind = jnp.where(lives, carry.what[0], ENDED)
    time = jnp.where(kind >= 0, carry.t, jnp.inf)
    return new, (time, kind.astype(jnp.int32), carry.what[1])


def _answer(names: tuple[str, ...], ts: Any, carry: _Carry, status: Any, fluxes: Any, growth: Any, events: Events) -> Any:
    ys, y = carry.ys, carry.y
    final = {"biomass": y[0], "concentrations": dict(zip(names, y[1:-1], strict=True)), "volume": y[-1]}
    return DynamicFluxBalance(
        times=ts,
        biomass=ys[:, 0],
        concentrations={name: ys[:, 1 + i] for i, name in enumerate(names)},
        volume=ys[:, -1],
        growth=growth,
        fluxes=fluxes,
        events=events,
        end=carry.t,
        final=final,
        status=status,
        steps=carry.steps,
    )


def _levels(model: StoichiometricModel, then: Sequence[Any], exchanges: tuple[str, ...]) -> tuple[tuple[float, ...], ...]:
    """The objectives after the first, as weights of the reactions."""
    if isinstance(then, str | Mapping) or not isinstance(then, Sequence):
        raise TypeError(f"dynamic_fba: then is a sequence of objectives, ['EX_ac_e'] say; got {then!r}.")
    levels = []
    for item in then:
        weights = np.asarray(model.with_objective(item).objective, float)
        if item in exchanges:  # an exchange written `-> a` secretes backwards
            weights = weights * -model.network.uptake_signs[model.index(item)]
        levels.append(tuple(weights.tolist()))
    return tuple(levels)


def _check(model: Any, uptake: Any, biomass: Any, concentrations: Any, ts: Any, reactor: Reactor) -> None:
    if not concentrations:
        raise ValueError("dynamic_fba: concentrations name what is followed, {'EX_glc__D_e': 10.0} say; got none.")
    for name in concentrations:
        if name not in model.exchanges:
            raise unknown(f"{model.name}: exchange", name, model.exchanges)
    inhibitors = [n for law in uptake.values() if isinstance(law, Uptake) for n in law.inhibition]
    for what, named in (("uptake", uptake), ("feed", reactor.feed), ("transfer", reactor.transfer), ("inhibition", inhibitors)):
        for name in named:
            if name not in concentrations:
                raise unknown(f"dynamic_fba: concentrations are followed by name; {what} of", name, concentrations)
    for name, value in {"biomass": biomass, **concentrations}.items():
        if np.ndim(value):
            raise ValueError(f"dynamic_fba: {name} is one number a run, got shape {list(np.shape(value))}; use jax.vmap.")
        if not is_traced(value) and not float(value) >= 0:
            raise ValueError(f"dynamic_fba: {name} is >= 0 at the start, got {value!r}.")
    if np.ndim(ts) != 1 or len(ts) < 2:
        raise ValueError(f"dynamic_fba: ts is [T], the start and at least one time more, got shape {list(np.shape(ts))}.")
    if not is_traced(ts) and not (np.diff(np.asarray(ts)) > 0).all():
        raise ValueError("dynamic_fba: ts increases.")
    for name, law in uptake.items():
        if not callable(law):
            raise TypeError(f"dynamic_fba: uptake of {name} is a jaxsci.metabolism.Uptake or a function, got {law!r}.")
