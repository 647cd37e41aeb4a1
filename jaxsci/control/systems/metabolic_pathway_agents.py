r"""The metabolic pathway as agents: molecules and enzymes that wander over a torus of 100 x 100 patches and meet.

In a tick, in this order (positions are continuous, a patch is the unit square they lie in):

1. every free molecule takes a step of length 1, every enzyme of 0.1, in a random direction;
2. an enzyme with a free site goes through the molecules on its patch in random order and binds the first that succeeds, each with
   the probability of its kind; two sites of the enzyme O are not filled in the same tick;
3. an enzyme that held something and has bound nothing new throws one die: release, catalysis (the molecule it holds changes
   kind) or, for O, release of its activator R;
4. the feed arrives at random places; a fraction of a molecule is kept for the next tick;
5. every molecule that has been free all through the tick is washed out with probability D.

Two devices keep this exact without a loop over pairs. (a) Of n molecules that succeed with probability k each, visited in random
order among others, the first success has a visiting time t in [0, 1] with P(t > x) = (1 - k x)^n, so one uniform number per
enzyme and kind draws who comes first: t = (1 - V^{1/n}) / k, and none where t > 1. (b) Which of the n it is does not matter for
the law: they are exchangeable, and the one with the greatest random number is taken. ONE difference to a loop over enzymes
remains: where two enzymes of a patch choose the same molecule in the same tick, which is rare, the second binds
nothing in that tick. (Counting molecules by patch instead would be no exact lumping: where in its patch a molecule stands decides
where it goes next; redrawing that each tick makes molecules diffuse 4/pi and enzymes 40/pi times as fast.)

A molecule keeps its place in the arrays through binding, catalysis and release, so that shapes are fixed; empty places wait for
the feed. `PathwayAgents.observed` has the totals as floating-point numbers, in the form of the equations' state: that is the leaf
through which ``mixed`` (values of agents, derivatives of the equations) passes.

Reference: Fonseca, Bottcher, Mehrad & Laubenbacher (2025), PLoS Comput. Biol. 21, e1012138: rules and probabilities are those of
the program in its repository.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsci._checks import is_whole
from jaxsci._types import Key
from jaxsci.control.systems.metabolic_pathway import (
    METABOLITES,
    PathwayKinetics,
    PathwayState,
    pathway_start,
    pathway_yield,
)
from jaxsci.control.task import Task

ENZYMES = ("A", "E", "I", "O")
_NONE, _S, _P, _Q, _R, _T = range(6)  # kinds of molecules; 0 is an empty place


def _table(entries: dict[tuple[str, int, int], float]) -> np.ndarray:
    """Probabilities a tick, ``[enzyme, activator bound or not, kind of molecule]``, from percentages."""
    table = np.zeros((4, 2, 6))
    for (enzyme, active, kind), percent in entries.items():
        table[ENZYMES.index(enzyme), active, kind] = percent / 100
    return table


_BIND = _table(
    {("A", 0, _S): 4, ("A", 0, _P): 2, ("A", 0, _R): 8, ("E", 0, _P): 8, ("E", 0, _Q): 2, ("I", 0, _Q): 2, ("I", 0, _R): 2}
    | {("O", 0, _P): 4, ("O", 0, _T): 2, ("O", 1, _P): 32, ("O", 1, _T): 1}
)
_RELEASE = _table(
    {("A", 0, _S): 2, ("A", 0, _P): 4, ("A", 0, _R): 1, ("E", 0, _P): 2, ("E", 0, _Q): 4, ("I", 0, _Q): 0.5, ("I", 0, _R): 4}
    | {("O", 0, _P): 2, ("O", 0, _T): 4, ("O", 1, _P): 1, ("O", 1, _T): 8}
)
_CATALYSE = _table({("A", 0, _S): 2, ("E", 0, _P): 3, ("I", 0, _Q): 2, ("O", 0, _P): 2, ("O", 1, _P): 10})
_PRODUCT = np.array([_P, _Q, _R, _T])
_ACTIVATE, _DEACTIVATE = 0.16, 0.01


class PathwayAgents(NamedTuple):
    """The state of the agents.

    Attributes:
      positions: of the molecules, in [0, size)^2; of a bound molecule, where it was bound.
      kinds: of the molecules: 0 for an empty place, then S, P, Q, R, T.
      bound: whether an enzyme holds the molecule.
      enzymes: positions of the enzymes, a quarter of them each A, E, I, O.
      sites: which molecule an enzyme holds where it catalyses; -1 for none.
      activators: which R the enzyme O holds besides; -1 for none.
      waiting: the fraction of a molecule still to be fed.
      lost: molecules of the feed that found no empty place: an error of `capacity`, to be looked at where it is not 0.
      observed: totals of the free molecules and what has come and gone, in the form of the equations' state.
    """

    positions: Float[Array, "molecules 2"]
    kinds: Int[Array, " molecules"]
    bound: Bool[Array, " molecules"]
    enzymes: Float[Array, "enzymes 2"]
    sites: Int[Array, " enzymes"]
    activators: Int[Array, " enzymes"]
    waiting: Any
    lost: Any
    observed: PathwayState


def scattered_agents(key: Key, amounts: Any, *, capacity: int, enzymes: int = 200, size: int = 100) -> PathwayAgents:
    """Free molecules and enzymes at random places.

    Args:
      key: for the places.
      amounts: whole numbers of S, P, Q, R, T.
      capacity: places for molecules, those to be fed included.
      enzymes: of each of the four kinds.
      size: patches along a side of the torus.
    Raises:
      ValueError: amounts that are no five whole numbers, or more than the capacity.
    """
    counts = [int(count) for count in np.asarray(amounts)]
    if len(counts) != 5 or min(counts) < 0 or not np.array_equal(counts, np.asarray(amounts)):
        raise ValueError(f"scattered_agents: amounts has five whole numbers, of {', '.join(METABOLITES)}; got {amounts}.")
    if sum(counts) > capacity:
        raise ValueError(f"scattered_agents: {sum(counts)} molecules need a capacity of as many, got capacity={capacity}.")
    dtype = jnp.result_type(float)
    places, enzyme_places = jax.random.split(key)
    kinds = np.repeat(np.arange(6), [capacity - sum(counts), *counts])[::-1].copy()
    return PathwayAgents(
        positions=size * jax.random.uniform(places, (capacity, 2), dtype),
        kinds=jnp.asarray(kinds, jnp.int32),
        bound=jnp.zeros(capacity, bool),
        enzymes=size * jax.random.uniform(enzyme_places, (4 * enzymes, 2), dtype),
        sites=jnp.full(4 * enzymes, -1, jnp.int32),
        activators=jnp.full(4 * enzymes, -1, jnp.int32),
        waiting=jnp.zeros((), dtype),
        lost=jnp.zeros((), jnp.int32),
        observed=pathway_start(jnp.asarray(counts, dtype)),
    )


def pathway_tick(agents: PathwayAgents, feed: Any, *, key: Key, size: int = 100, dilution: Any = 0.0005) -> PathwayAgents:
    """One tick; see the head of this file. `feed` is in molecules a tick and need not be whole."""
    walk, walk_enzymes, pick, bind, die, place, wash = jax.random.split(key, 7)
    free = (agents.kinds > 0) & ~agents.bound
    positions = _walk(walk, agents.positions, 1.0, size)
    enzymes = _walk(walk_enzymes, agents.enzymes, 0.1, size)
    agents = agents._replace(positions=positions, enzymes=enzymes)

    census = _census(pick, agents, free, size)
    agents, fresh = _bind(bind, agents, census, size)
    agents = _separate(die, agents, fresh)

    washed = free & ~agents.bound & jax.random.bernoulli(wash, dilution, free.shape)
    due = agents.waiting + feed
    whole = jnp.floor(due + 1e-4)  # so that 200 feeds of 0.35 are 70, in single precision too
    empty = agents.kinds == _NONE
    arrives = empty & (jnp.cumsum(empty) <= whole)
    place = size * jax.random.uniform(place, positions.shape, positions.dtype)
    positions = jnp.where(arrives[:, None], place, agents.positions)
    kinds = jnp.where(arrives, _S, jnp.where(washed, _NONE, agents.kinds))

    arrived = jnp.sum(arrives, dtype=jnp.int32)
    totals = jnp.stack([jnp.sum(~agents.bound & (kinds == kind)) for kind in range(_S, _T + 1)])
    totals, past = totals.astype(positions.dtype), agents.observed
    observed = PathwayState(
        totals,
        past.supplied + arrived.astype(positions.dtype),
        past.harvested + dilution * (totals[3] + totals[4]),
    )
    lost = agents.lost + whole.astype(jnp.int32) - arrived
    return agents._replace(positions=positions, kinds=kinds, waiting=due - whole, lost=lost, observed=observed)


def _walk(key: Key, positions: Any, length: float, size: int) -> Any:
    angle = 2 * jnp.pi * jax.random.uniform(key, positions.shape[:1], positions.dtype)
    moved = positions + length * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return moved - size * jnp.floor(moved / size)


def _patch(positions: Any, size: int) -> Any:
    """The number of the patch; rounding may put a position at `size` itself, which is no patch."""
    cell = jnp.minimum(positions.astype(jnp.int32), size - 1)
    return cell[:, 0] * size + cell[:, 1]


class _Census(NamedTuple):
    """Of the free molecules of each kind on each patch: how many, and the index of one of them at random."""

    many: Any
    one: Any


def _census(key: Key, agents: PathwayAgents, free: Any, size: int) -> _Census:
    capacity, cells = free.shape[0], 5 * size * size
    cell = jnp.where(free, (agents.kinds - 1) * (size * size) + _patch(agents.positions, size), cells)
    many = jnp.zeros(cells, jnp.int32).at[cell].add(1, mode="drop")
    # The greatest of random numbers wins; below their leading bits stands the index of the molecule.
    bits = max(capacity - 1, 1).bit_length()
    lot = (jax.random.bits(key, (capacity,), jnp.uint32) >> 1).astype(jnp.int32)
    lot = (lot >> bits << bits) | jnp.arange(capacity, dtype=jnp.int32)
    one = jnp.zeros(cells, jnp.int32).at[cell].max(lot, mode="drop")
    return _Census(many.reshape(5, -1), (one & ((1 << bits) - 1)).reshape(5, -1))


def _bind(key: Key, agents: PathwayAgents, census: _Census, size: int) -> tuple[PathwayAgents, Any]:
    """Enzymes bind; and which of them did."""
    count, capacity = agents.sites.shape[0], agents.kinds.shape[0]
    kind, dtype = jnp.arange(count) // (count // 4), agents.positions.dtype
    active = agents.activators >= 0
    rate = jnp.where(agents.sites[:, None] < 0, jnp.asarray(_BIND, dtype)[kind, active.astype(int), 1:], 0.0)
    can_activate = (kind == ENZYMES.index("O")) & ~active
    rate = rate.at[:, _R - 1].add(jnp.where(can_activate, _ACTIVATE, 0.0))

    here = _patch(agents.enzymes, size)
    many = census.many[:, here].T
    draw = jax.random.uniform(key, many.shape, dtype)
    possible = (many > 0) & (rate > 0)
    time = -jnp.expm1(jnp.log(draw) / jnp.maximum(many, 1)) / jnp.where(rate > 0, rate, 1.0)
    time = jnp.where(possible & (time <= 1), time, 2.0)
    first = jnp.argmin(time, axis=1)
    wanted = jnp.where(jnp.min(time, axis=1) <= 1, census.one[first, here], capacity)
    # Each molecule goes to one enzyme: of two that want it, to the first.
    number = jnp.arange(count, dtype=jnp.int32)
    owner = jnp.full(capacity, count, jnp.int32).at[wanted].min(number, mode="drop")
    won = (wanted < capacity) & (owner[jnp.minimum(wanted, capacity - 1)] == number)
    activates = won & can_activate & (first == _R - 1)
    agents = agents._replace(
        bound=agents.bound | (owner < count),
        sites=jnp.where(won & ~activates, wanted, agents.sites),
        activators=jnp.where(activates, wanted, agents.activators),
    )
    return agents, won


def _separate(key: Key, agents: PathwayAgents, fresh: Any) -> PathwayAgents:
    """Release, catalysis and deactivation by enzymes that have not bound in this tick, and one of the three at most."""
    count, capacity = agents.sites.shape[0], agents.kinds.shape[0]
    kind, dtype = jnp.arange(count) // (count // 4), agents.positions.dtype
    active = agents.activators >= 0
    held = jnp.where(agents.sites >= 0, agents.kinds[agents.sites], _NONE)
    of = (kind, active.astype(int), held)
    release, catalyse = jnp.asarray(_RELEASE, dtype)[of], jnp.asarray(_CATALYSE, dtype)[of]
    deactivate = jnp.where(active, _DEACTIVATE, 0.0).astype(dtype)
    die = jax.random.uniform(key, (count,), dtype)
    releases = ~fresh & (die < release)
    catalyses = ~fresh & ~releases & (die < release + catalyse)
    deactivates = ~fresh & ~releases & ~catalyses & (die < release + catalyse + deactivate)

    kinds = agents.kinds.at[jnp.where(catalyses, agents.sites, capacity)].set(
        jnp.asarray(_PRODUCT, jnp.int32)[kind], mode="drop"
    )
    # What is released stands where its enzyme stands.
    left = jnp.where(releases, agents.sites, jnp.where(deactivates, agents.activators, capacity))
    return agents._replace(
        kinds=kinds,
        bound=agents.bound.at[left].set(False, mode="drop"),
        positions=agents.positions.at[left].set(agents.enzymes, mode="drop"),
        sites=jnp.where(releases, -1, agents.sites),
        activators=jnp.where(deactivates, -1, agents.activators),
    )


def lifted(dynamics: Callable[..., Any]) -> Callable[..., Any]:
    """Dynamics of the equations' state as dynamics of the agents' state, of which they move the totals only.

    The surrogate of ``js.control.objective(task, policy, gradient="mixed", surrogate=lifted(metabolic_pathway().dynamics))``.
    """

    def step(parameters, agents, action):
        return agents._replace(observed=dynamics(parameters, agents.observed, action))

    return step


def metabolic_pathway_agents(
    *,
    initial: Any = (100, 0, 0, 0, 0),
    horizon: int = 100,
    ticks: int = 200,
    capacity: int = 4096,
    enzymes: int = 200,
    size: int = 100,
) -> Task:
    """The task of `metabolic_pathway` with agents instead of equations: the same action, observation, cost and parameters (of
    which the agents use the dilution; their own probabilities are those of the head of this file).

    Args:
      initial: whole numbers of S, P, Q, R, T at the start.
      horizon, ticks: as of `metabolic_pathway`.
      capacity: places for molecules; a feed that finds none is counted in the state's `lost`.
      enzymes: of each kind.
      size: patches along a side.
    """
    if not is_whole(ticks) or ticks < 1:
        raise ValueError(f"metabolic_pathway_agents: ticks is a whole number >= 1, the length of a step; got {ticks!r}.")
    scattered_agents(jax.random.key(0), initial, capacity=capacity, enzymes=enzymes, size=size)  # to refuse bad numbers here

    def init(kinetics, *, key):
        return scattered_agents(key, initial, capacity=capacity, enzymes=enzymes, size=size)

    def dynamics(kinetics, agents, fed, *, key):
        feed = jnp.asarray(fed, agents.positions.dtype) / ticks

        def tick(agents, key):
            return pathway_tick(agents, feed, key=key, size=size, dilution=kinetics.dilution), None

        return jax.lax.scan(tick, agents, jax.random.split(key, ticks))[0]

    return Task(
        dynamics=dynamics,
        cost=lambda kinetics, s, a, after: jnp.zeros((), after.positions.dtype),
        terminal=lambda kinetics, s: -pathway_yield(s.observed),
        init=init,
        observe=lambda kinetics, s: jnp.log1p(s.observed.amounts),
        horizon=horizon,
        parameters=PathwayKinetics(),
        name="metabolic_pathway_agents",
    )
