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
from jaxsci.metabolism.lexicographic import follow, vertex_of
from jaxsci.metabolism.linear_program import STATUS
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.optimum import check_optimal
from jaxsci.metabolism.reactor import Reactor, Uptake
from jaxsci.metabolism.simplex import INFEASIBLE, MAX_STEPS, NOT_FINITE, OPTIMAL, UNBOUNDED

KINDS = ("a bound becomes active", "is used up", "is there again", "no flux meets all bounds")

_MAX_STEPS = 4096
_CURES = {
    INFEASIBLE: "no flux meets all bounds any more, as where nothing pays for maintenance: lower that demand, or feed",
    UNBOUNDED: "nothing bounds the objective: give uptakes laws",
    MAX_STEPS: "it takes more events or steps: raise max_events, or take a solver for stiff equations",
    NOT_FINITE: "a number of the model, the laws or the start is not finite",
}


class Events(NamedTuple):
    """What happened when, in order; unused places have time infinity and kind -1."""

    times: Any  # [..., max_events], h
    kinds: Any  # ACTIVE_SET, EXHAUSTED, REPLENISHED, ENDED
    reactions: Any  # the column of the reaction whose bound it is


class DynamicFluxBalance(NamedTuple):
    """What `dynamic_fba` returns.

    A run may end before its last time: where no flux meets all bounds any more (INFEASIBLE: a maintenance demand that nothing
    left can pay for), where the objective has no bound, or after too many events or steps. `end` says when, `status` why, and
    `check()` raises then. Rows at later times are NaN in all columns, for nothing is known of such cells: they do not live on
    with the last values. `final` has the last state that is known; ``numpy.nanmax`` and the like go over rows up to the end.
    """

    times: Any  # [T], h
    biomass: Any  # [T], gDW/L; NaN after `end`, as all that follows
    concentrations: dict[str, Any]  # exchange -> [T], mM
    volume: Any  # [T], L
    growth: Any  # [T], 1/h: the objective
    fluxes: Any  # [T, reactions], mmol/gDW/h
    events: Events
    end: Any  # h: the last time, or where the cells' demands could no longer be met
    final: dict[str, Any]  # biomass, concentrations and volume at `end`
    status: Any  # OPTIMAL 0, INFEASIBLE 1 (ended before the last time), UNBOUNDED 2, MAX_STEPS 3, NOT_FINITE 4
    steps: Any  # of the integrator

    def check(self) -> DynamicFluxBalance:
        """Itself, if every run reached its last time.

        Raises:
          RuntimeError: naming the first run that did not, when it ended and why.
        """
        ends = np.atleast_1d(np.asarray(self.end))
        wrong = np.atleast_1d(np.asarray(self.status)) != OPTIMAL
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0])
            cures = {
                code: f"{text} (it ended after {ends[first]:.4f} h; later rows are NaN)" for code, text in _CURES.items()
            }
            check_optimal("dynamic_fba", self.status, cures)
        return self

    def describe(self, model: StoichiometricModel) -> str:
        """The events of one run as lines of text; the last one says when and how it ended."""
        if np.ndim(self.status):
            raise ValueError("describe: one run at a time; take one with jax.tree.map(lambda x: x[i], runs).")
        rows = zip(*(np.asarray(x) for x in self.events), strict=True)
        lines = [f"{t:10.4f} h  {model.reactions[j]}: {KINDS[k]}" for t, k, j in rows if k >= 0]
        early = "" if int(self.status) == OPTIMAL else "; rows after it are NaN"
        return "\n".join([*lines, f"{float(self.end):10.4f} h  end: {STATUS[int(self.status)]}{early}"])


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
    adjoint: diffrax.AbstractAdjoint | None = None,
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
    all bounds any more (a maintenance demand, say): `end` is then that time, `status` INFEASIBLE, and rows after it are NaN.

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
      adjoint: how to differentiate; in reverse mode by default. ``diffrax.ForwardMode()`` for jvp and jacfwd, which are cheaper,
        and much cheaper to compile, for a handful of parameters.
      rtol, atol: of the integration. max_events: that a run may have; a run with more has status MAX_STEPS.
    Returns:
      A `DynamicFluxBalance`.
    Raises:
      KeyError: a name that is no exchange, or a law or a feed of what is not followed.
      ValueError: times that do not increase, a negative concentration, a model with fluxes in other units.
    Reference: Varma & Palsson (1994), Appl. Environ. Microbiol. 60, 3724; Mahadevan, Edwards & Doyle (2002),
      Biophys. J. 83, 1331; Hoeffner, Harwood & Barton (2013), Biotechnol. Bioeng. 110, 792.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> toy = js.metabolism.from_equations({"food": "-> a", "growth": "10 a ->"}, "growth")
      >>> with jax.enable_x64(True):
      ...     run = js.metabolism.dynamic_fba(
      ...         toy, {"food": js.metabolism.Uptake(10.0)}, 0.1, {"food": 9.0}, jnp.array([0.0, 1.0, 3.0]))
      ...     print(run.biomass.round(4), run.describe(toy))
      [0.1    0.2718 1.    ]     2.3026 h  food: is used up
          3.0000 h  end: optimal
    """
    names = tuple(concentrations)
    reactor = Reactor() if reactor is None else reactor
    _check(model, uptake, biomass, concentrations, ts, reactor)
    levels = _levels(model, names if then is None else then, names if then is None else ())
    if any(np.ndim(x) != 1 for x in (model.lower, model.upper, model.objective)):
        raise ValueError(
            f"dynamic_fba: one model a call, got a batch of shape {list(np.shape(model.lower)[:-1])}; use jax.vmap."
        )
    laws = tuple(uptake.get(name) for name in names)
    laws = tuple(law if law is None or isinstance(law, Uptake) else jax.tree_util.Partial(law) for law in laws)
    solver = diffrax.Tsit5() if solver is None else solver
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
    leaves = jax.tree.leaves((model, laws, reactor, biomass, dict(concentrations), ts))
    arrays = [x.dtype for x in leaves if isinstance(x, jax.Array)]
    floating = [x for x in arrays if jnp.issubdtype(x, jnp.floating)]
    dtype = jnp.result_type(*floating) if floating else jnp.result_type(float)
    programme = dynamic_programme(model.network, names, levels)
    start = (biomass, *concentrations.values(), reactor.volume)
    given = ((model.objective, model.lower, model.upper), laws, reactor)
    how = _How(solver, adjoint, rtol, atol, max_events, str(dtype))
    return _run(programme, how, programme.start(model.nominal), given, start, ts)


class _How(NamedTuple):
    """Of the integration: static."""

    solver: Any
    adjoint: Any
    rtol: float
    atol: float
    max_events: int
    dtype: str


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
    segment: Any  # [T]: in which segment a time lies, -1 for none


class _Segment(NamedTuple):
    """What is kept of a segment; [max_events, ...]."""

    event: Any  # that began it: (time, kind, reaction)
    constant: Any
    slopes: Any
    at_upper: Any
    used_up: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(programme: DynamicProgramme, how: _How, start: Any, given: Any, y: Any, ts: Any) -> Any:
    """All segments, and the fluxes at the times asked for."""
    numbers, laws, reactor = given
    dtype = jnp.dtype(how.dtype)
    objective, lower, upper = (jnp.asarray(x, dtype) for x in numbers)
    given = (objective, lower, upper, laws, reactor)
    y, ts = jnp.stack([jnp.asarray(x, dtype) for x in y]), jnp.asarray(ts, dtype)
    known = [jnp.isfinite(x).all() for x in jax.tree.leaves((y, objective, ts, given[3:]))]
    finite = jnp.stack([*known, ~jnp.isnan(jnp.concatenate([lower, upper])).any()]).all()
    fixed = programme.fixed(given)
    nobody = jnp.zeros(len(programme.names), bool)
    y = jnp.where(finite, y, 1.0)
    begin = _Carry(
        t=ts[0],
        y=y,
        vertex=vertex_of(start, jax.lax.stop_gradient(programme.objectives(objective))),
        used_up=programme.used_up(y, nobody),
        what=(jnp.asarray(-1, jnp.int32), jnp.asarray(0, jnp.int32)),
        going=finite,
        status=jnp.where(finite, OPTIMAL, NOT_FINITE).astype(jnp.int32),
        steps=jnp.asarray(0),
        ys=jnp.full((len(ts), len(y)), jnp.nan, dtype),
        segment=jnp.full(len(ts), -1),
    )
    moving, size = len(programme.moving), programme.size
    nothing = (jnp.asarray(jnp.inf, dtype), jnp.asarray(-1, jnp.int32), jnp.asarray(0, jnp.int32))
    empty = _Segment(
        nothing, jnp.zeros(size, dtype), jnp.zeros((moving, size), dtype), jnp.zeros(moving, bool), jnp.zeros_like(nobody)
    )

    def step(carry: _Carry, number: Any) -> Any:
        go = lambda c: _segment(programme, how, fixed, ts, number, c)  # noqa: E731
        # Under vmap the condition is one for all members, so that nothing is done where nobody goes on.
        return jax.lax.cond(_any_member(carry.going), go, lambda c: (c, empty), carry)

    end, kept = jax.lax.scan(step, begin, jnp.arange(how.max_events))
    status = jnp.where(end.going, MAX_STEPS, end.status)

    def fluxes(t: Any, y: Any, segment: Any) -> Any:
        there = segment >= 0
        mine = jax.tree.map(lambda x: x[segment], kept)
        y = jnp.where(there, y, 1.0)
        x = mine.constant + programme.in_force(fixed, mine.at_upper, t, y, mine.used_up) @ mine.slopes
        return jnp.where(there, programme.fluxes(x), jnp.nan)

    v, names = jax.vmap(fluxes)(ts, end.ys, end.segment), programme.names
    named = lambda y: dict(zip(names, (y[..., 1 + i] for i in range(len(names))), strict=True))  # noqa: E731
    return DynamicFluxBalance(
        times=ts,
        biomass=end.ys[:, 0],
        concentrations=named(end.ys),
        volume=end.ys[:, -1],
        growth=v @ objective,
        fluxes=v,
        events=Events(*kept.event),
        end=end.t,
        final={"biomass": end.y[0], "concentrations": named(end.y), "volume": end.y[-1]},
        status=status,
        steps=end.steps,
    )


@jax.custom_batching.custom_vmap
def _any_member(going: Any) -> Any:
    """Of one member itself; of a batch, whether any of it goes on."""
    return going


@_any_member.def_vmap
def _any_of_batch(size: int, batched: Any, going: Any) -> Any:
    return _any_member(going.any()), False


def _segment(programme: DynamicProgramme, how: _How, fixed: Any, ts: Any, number: Any, at: _Carry) -> Any:
    """The basis for what there is now, then on to the next event. A member that has ended stays as it is."""
    state = jax.lax.stop_gradient((at.t, at.y, at.used_up))
    found = follow(at.vertex, *jax.lax.stop_gradient(programme.all_bounds(fixed, *state)))
    status = jnp.where(found.status == OPTIMAL, programme.judge(fixed, found.vertex, state), found.status)
    status = jnp.where(at.going, status, at.status)
    lives = at.going & (status == OPTIMAL)
    affine = programme.affine(fixed, found.vertex)
    args = (fixed, affine, at.used_up)
    stop = jnp.where(lives, ts[-1], at.t)
    sharp = 100 * float(jnp.finfo(at.y.dtype).eps)
    out = diffrax.diffeqsolve(
        diffrax.ODETerm(programme.rate),
        how.solver,
        at.t,
        stop,
        None,
        at.y,
        args=args,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=jnp.clip(ts, at.t, stop)), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=diffrax.PIDController(rtol=how.rtol, atol=how.atol),
        event=diffrax.Event(programme.margin, optimistix.Bisection(sharp, sharp), direction=False),
        adjoint=how.adjoint,
        max_steps=_MAX_STEPS,
        throw=False,
    )
    saved, (y_end,) = out.ys
    happened = lives & out.event_mask
    arrived = happened | (out.result == diffrax.RESULTS.successful)
    moved = lives & arrived
    t_end, y_end = jnp.where(moved, out.ts[1][0], at.t), jnp.where(moved, y_end, at.y)
    here = (ts >= at.t) & (ts <= t_end) & moved
    after = _Carry(
        t=t_end,
        y=y_end,
        vertex=found.vertex,
        used_up=jnp.where(happened, programme.used_up(jax.lax.stop_gradient(y_end), at.used_up), at.used_up),
        what=programme.cause(t_end, y_end, args),
        going=happened,
        status=jnp.where(lives & ~arrived, MAX_STEPS, status).astype(jnp.int32),
        steps=at.steps + jnp.where(lives, out.stats["num_steps"], 0),
        ys=jnp.where(here[:, None], saved, at.ys),
        segment=jnp.where(here, number, at.segment),
    )
    kind = jnp.where(at.going, jnp.where(lives, at.what[0], ENDED), -1).astype(jnp.int32)
    event = (jnp.where(kind >= 0, at.t, jnp.inf), kind, at.what[1])
    return after, _Segment(event, affine.constant, affine.slopes, affine.at_upper, at.used_up)


def _levels(model: StoichiometricModel, then: Sequence[Any], exchanges: tuple[str, ...]) -> tuple[tuple[float, ...], ...]:
    """The objectives after the first, as weights of the reactions."""
    if isinstance(then, str | Mapping) or not isinstance(then, Sequence):
        raise TypeError(f"dynamic_fba: then is a sequence of objectives, ['EX_ac_e'] say; got {then!r}.")
    levels, none = [], np.zeros(len(model.reactions))
    known = StoichiometricModel(model.network, none, none, none, model.nominal)  # the model's own numbers may be traced
    for item in then:
        weights = np.asarray(known.with_objective(item).objective, float)
        if item in exchanges:  # an exchange written `-> a` secretes backwards
            weights = weights * -model.network.uptake_signs[model.index(item)]
        levels.append(tuple(weights.tolist()))
    return tuple(levels)


def _check(model: Any, uptake: Any, biomass: Any, concentrations: Any, ts: Any, reactor: Reactor) -> None:
    check_model("dynamic_fba", model, usual_units=True)
    if not concentrations:
        raise ValueError("dynamic_fba: concentrations name what is followed, {'EX_glc__D_e': 10.0} say; got none.")
    for name in concentrations:
        if name not in model.exchanges:
            raise unknown(f"{model.name}: exchange", name, model.exchanges)
    inhibitors = [n for law in uptake.values() if isinstance(law, Uptake) for n in law.inhibition]
    for what, named in (
        ("uptake", uptake),
        ("feed", reactor.feed),
        ("transfer", reactor.transfer),
        ("inhibition", inhibitors),
    ):
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
