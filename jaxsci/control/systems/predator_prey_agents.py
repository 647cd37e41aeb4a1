r"""Wolves, sheep and grass as agents on a torus: the predator-prey "medical digital twin", its removals as the control.

A tick, in the order of the original:

1. every sheep turns by U{0..49} - U{0..49} degrees, goes 1 forward, loses 1 of energy, eats where its patch is green (the first
   to arrive; + `sheep_gain`, the patch turns brown for `regrowth` ticks and one more), dies below 0, and with probability
   `sheep_birth` halves its energy and hatches a copy that turns by U[0, 360) and goes 1 forward;
2. every wolf turns, goes and loses 1 likewise, eats one sheep at random of those on its patch (+ `wolf_gain`), dies below 0, and
   hatches with probability `wolf_birth`;
3. the control removes green patches, sheep and wolves (`removal`: each with a probability, or so many of them);
4. brown patches come a tick nearer to green.

The original asks one animal after the other in a random order. Nothing that an animal does before it eats depends on another,
so all may move at once, and who comes first on a patch is drawn by random priorities: a scatter of maxima. Wolves that share a
patch are served one a round, until none that is hungry has a sheep left. The law of a tick is the original's.

Animals live in arrays of a fixed size with a mask; newborns take free places, found by cumulative sums. A birth without a place
is lost and sets `overflow`: look at it, or call `check_capacity`.

References: Wilensky (1997), NetLogo Wolf Sheep Predation; settings and control of Fonseca, Boettcher & Laubenbacher (2024),
arXiv:2402.05750 (PLoS Comput. Biol. 2025, 1012138), datasets I-V.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxsci._checks import is_traced, is_whole, unknown_name
from jaxsci._types import Key
from jaxsci.control.dynamics import mixed

Removal = Literal["probability", "number"]

_STATIC = {"static": True}
_MOST = 2**15  # places: two cumulative sums go in one integer
_CHUNK = 512  # births that are placed at once
_GREEN = -1  # the clock of a green patch; brown ones count down to it


class Animals(NamedTuple):
    """Sheep or wolves, ``[places]`` each.

    Attributes:
      x, y: position on the torus, in patches, within [0, side).
      heading: degrees.
      energy: in units of one step.
      alive: the place is taken.
    """

    x: Float[Array, " places"]
    y: Float[Array, " places"]
    heading: Float[Array, " places"]
    energy: Float[Array, " places"]
    alive: Bool[Array, " places"]


class AgentState(NamedTuple):
    """All there is.

    Attributes:
      counts: green patches, sheep, wolves: what a metamodel knows, and along which `jaxsci.control.mixed` differentiates.
      clocks: ticks until a patch turns green; -1 where it is.
      sheep, wolves: `Animals`.
      overflow: somewhere before, a birth found no place: what follows is not the model's.
    """

    counts: Float[Array, " 3"]
    clocks: Int[Array, " patches"]
    sheep: Animals
    wolves: Animals
    overflow: Bool[Array, ""]


class _Draws(NamedTuple):
    """The random words of a tick, one of each for a place."""

    turn: Any
    birth: Any
    order: Any  # who comes first; its halves exchanged, who is eaten first
    removal: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PredatorPreyAgents:
    """The agent-based model: settings, start and tick. The defaults are those of the published datasets.

    Args:
      sheep_gain, wolf_gain: energy of a meal.
      sheep_birth, wolf_birth: probability to hatch, per tick.
      side: of the torus, in patches.
      regrowth: where the clock of an eaten patch starts; it is brown for one tick more.
      sheep, wolves: how many at the start, with energies U{0 .. 2 gain - 1}; half the patches are green.
      sheep_places, wolf_places: sizes of the arrays.
      removal: what an action [grass, sheep, wolves] is: a "probability" per head and tick, or a "number" per tick: whole (it is
        rounded), drawn without replacement, at most all.
      hold: ticks of a step, the action held.
    Raises:
      ValueError: sizes that are no whole positive numbers, more animals than places, an unknown kind of removal.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> model = PredatorPreyAgents(side=16, sheep=40, wolves=10, sheep_places=128, wolf_places=64)
      >>> state = model.init(jax.random.key(0))
      >>> after = model.step(state, jnp.zeros(3), key=jax.random.key(1))
      >>> bool(after.counts[1] == after.sheep.alive.sum()), bool(after.overflow)
      (True, False)
    """

    sheep_gain: Any = 4.0
    wolf_gain: Any = 20.0
    sheep_birth: Any = 0.04
    wolf_birth: Any = 0.05
    side: int = dataclasses.field(metadata=_STATIC, default=255)
    regrowth: int = dataclasses.field(metadata=_STATIC, default=30)
    sheep: int = dataclasses.field(metadata=_STATIC, default=2500)
    wolves: int = dataclasses.field(metadata=_STATIC, default=1250)
    sheep_places: int = dataclasses.field(metadata=_STATIC, default=8192)
    wolf_places: int = dataclasses.field(metadata=_STATIC, default=4096)
    removal: Removal = dataclasses.field(metadata=_STATIC, default="probability")
    hold: int = dataclasses.field(metadata=_STATIC, default=1)

    def __post_init__(self):
        for name in ("side", "regrowth", "sheep_places", "wolf_places", "hold"):
            if not is_whole(getattr(self, name)) or getattr(self, name) < 1:
                raise ValueError(f"PredatorPreyAgents: {name} is a whole number >= 1, got {getattr(self, name)!r}.")
            if name.endswith("places") and getattr(self, name) > _MOST:
                raise ValueError(f"PredatorPreyAgents: {name} is at most {_MOST}, got {getattr(self, name)!r}.")
        for name, places in (("sheep", self.sheep_places), ("wolves", self.wolf_places)):
            if not is_whole(getattr(self, name)) or not 0 <= getattr(self, name) <= places:
                raise ValueError(
                    f"PredatorPreyAgents: {name} at the start lie between 0 and their places, {places}, got "
                    f"{getattr(self, name)!r}. Give more places."
                )
        if self.removal not in get_args(Removal):
            raise ValueError(f"PredatorPreyAgents: {unknown_name('removal', str(self.removal), get_args(Removal))}")

    def init(self, key: Key) -> AgentState:
        """A start at random."""
        patches = self.side**2
        sizes = np.cumsum([patches, patches, 4 * self.sheep_places])
        draws = jax.random.bits(key, (sizes[-1] + 4 * self.wolf_places,), jnp.uint32)
        colour, clock, of_sheep, of_wolves = jnp.split(draws, sizes)
        clocks = jnp.floor(self.regrowth * _unit(clock, jnp.result_type(float))).astype(jnp.int32)
        clocks = jnp.where(colour < np.uint32(2**31), _GREEN, clocks)
        sheep = _settle(of_sheep.reshape(4, -1), self.side, self.sheep, self.sheep_gain)
        wolves = _settle(of_wolves.reshape(4, -1), self.side, self.wolves, self.wolf_gain)
        return AgentState(_counts(clocks, sheep, wolves), clocks, sheep, wolves, jnp.asarray(False))

    def step(self, state: AgentState, action: Float[Array, " 3"], *, key: Key) -> AgentState:
        """`hold` ticks with the same action.

        Args:
          action: [grass, sheep, wolves], as `removal` says.
        """
        if self.hold == 1:
            return self.tick(state, action, key)
        return jax.lax.scan(lambda s, k: (self.tick(s, action, k), None), state, jax.random.split(key, self.hold))[0]

    def tick(self, state: AgentState, action: Float[Array, " 3"], key: Key) -> AgentState:
        """One tick: see the head of this file."""
        animal_key, grass_key = jax.random.split(key)
        # All the draws of the animals at once: a call of the generator costs more to compile than anything else here.
        draws = jax.random.bits(animal_key, (4 * (self.sheep_places + self.wolf_places),), jnp.uint32)
        of_sheep, of_wolves = jnp.split(draws, [4 * self.sheep_places])
        of_sheep, of_wolves = _Draws(*of_sheep.reshape(4, -1)), _Draws(*of_wolves.reshape(4, -1))
        sheep, clocks, full = self._sheep_go(state.sheep, state.clocks, of_sheep)
        prey = (_priorities((of_sheep.order << 16) | (of_sheep.order >> 16)), _patches(sheep, self.side), sheep.alive)
        eaten, wolves, also_full = self._wolves_go(prey, state.wolves, of_wolves)
        sheep = sheep._replace(alive=sheep.alive & ~eaten)

        remove = _each if self.removal == "probability" else _so_many
        sheep = sheep._replace(alive=sheep.alive & ~remove(of_sheep.removal, sheep.alive, action[1]))
        wolves = wolves._replace(alive=wolves.alive & ~remove(of_wolves.removal, wolves.alive, action[2]))
        green = clocks == _GREEN
        # Without a control on the grass, which is the usual case, its many draws are spared.
        mown = jax.lax.cond(
            action[0] > 0,
            lambda: remove(jax.random.bits(grass_key, green.shape, jnp.uint32), green, action[0]),
            lambda: jnp.zeros_like(green),
        )
        clocks = jnp.maximum(jnp.where(mown, self.regrowth, clocks) - 1, _GREEN)
        return AgentState(_counts(clocks, sheep, wolves), clocks, sheep, wolves, state.overflow | full | also_full)

    def _sheep_go(self, sheep, clocks, draws):
        sheep = _walk(sheep, draws.turn, self.side)
        patch, order = _patches(sheep, self.side), _priorities(draws.order)
        first = _first(order, patch, sheep.alive, self.side)
        eats = sheep.alive & (first[patch] == order) & (clocks[patch] == _GREEN)
        clocks = jnp.where((first > 0) & (clocks == _GREEN), self.regrowth, clocks)
        sheep, full = _hatch(_fed(sheep, eats, self.sheep_gain), draws.birth, self.sheep_birth, self.side)
        return sheep, clocks, full

    def _wolves_go(self, prey, wolves, draws):
        wolves = _walk(wolves, draws.turn, self.side)
        eaten, eats = _meals(prey, (_priorities(draws.order), _patches(wolves, self.side), wolves.alive), self.side)
        wolves, full = _hatch(_fed(wolves, eats, self.wolf_gain), draws.birth, self.wolf_birth, self.side)
        return eaten, wolves, full


def agent_dynamics(metamodel: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The agents as the dynamics of a `Task` whose parameters are ``{"agents": PredatorPreyAgents(...), ...}``.

    Args:
      metamodel: ``(field, counts, action) -> counts`` over the same ticks, such as `removing` makes; the field is
        ``parameters["metamodel"]``. Then the values are those of the agents, and derivatives go through the metamodel, from
        counts and actions to counts (`jaxsci.control.mixed`). Without one nothing here has a derivative.
    """

    def agents(parameters, state, action, *, key):
        return parameters["agents"].step(state, action, key=key)

    if metamodel is None:
        return agents

    def numbers(parameters, state, action):
        return state._replace(counts=metamodel(parameters["metamodel"], state.counts, action))

    return mixed(agents, numbers)


def check_capacity(state: AgentState) -> AgentState:
    """The state as it is; raises where a birth found no place.

    Raises:
      RuntimeError: births were lost in some member.
    """
    if not is_traced(state.overflow) and np.any(np.asarray(state.overflow)):
        sizes = f"{state.sheep.alive.shape[-1]} places for sheep and {state.wolves.alive.shape[-1]} for wolves"
        raise RuntimeError(f"PredatorPreyAgents: births were lost, {sizes} are too few. Raise sheep_places or wolf_places.")
    return state


def _counts(clocks, sheep, wolves):
    whole = jnp.stack([jnp.sum(clocks == _GREEN), jnp.sum(sheep.alive), jnp.sum(wolves.alive)])
    return whole.astype(sheep.energy.dtype)


def _settle(draws, side, count, gain):
    x, y, heading, energy = (_unit(row, jnp.result_type(float)) for row in draws)
    alive = jnp.arange(draws.shape[1]) < count
    return Animals(side * x, side * y, jnp.floor(360 * heading), jnp.floor(2 * gain * energy), alive)


def _unit(draws, dtype):
    """Uniform in [0, 1), in steps of 2^-24."""
    return (draws >> 8).astype(dtype) * jnp.asarray(2.0**-24, dtype)


def _walk(animals, draws, side):
    """Turn by U{0..49} - U{0..49} degrees, each from half a word (its probabilities hold to a part in a thousand), and go."""
    turn = (((draws >> 16) * 50) >> 16).astype(jnp.int32) - (((draws & 0xFFFF) * 50) >> 16).astype(jnp.int32)
    return _forward(animals, turn.astype(animals.x.dtype), side)._replace(energy=animals.energy - 1)


def _forward(animals, turn, side):
    """Turn, and go one patch; over the border to the other side."""
    heading = animals.heading + turn
    heading = heading - 360 * jnp.floor(heading / 360)
    angle = jnp.deg2rad(heading)
    over = lambda z: jnp.where(z >= side, z - side, jnp.where(z < 0, z + side, z))  # noqa: E731
    return animals._replace(x=over(animals.x + jnp.sin(angle)), y=over(animals.y + jnp.cos(angle)), heading=heading)


def _patches(animals, side):
    """The number of each one's patch. A position just below 0 may round to `side` on its way over the border."""
    column, row = (jnp.minimum(z.astype(jnp.int32), side - 1) for z in (animals.x, animals.y))
    return column * side + row


def _priorities(draws):
    """Random and distinct: the place itself in the low bits, the draw above it; never 0, which stands for nobody."""
    places = draws.shape[0]
    low = np.uint32(2 ** (places - 1).bit_length() - 1)
    return (draws & ~low) | jnp.arange(places, dtype=jnp.uint32) | np.uint32(2**31)


def _first(priority, patch, here, side):
    """The highest priority on each patch, 0 where nobody is."""
    table = jnp.zeros(side**2, jnp.uint32)
    return table.at[jnp.where(here, patch, side**2)].max(priority, mode="drop")


def _meals(sheep, wolves, side):
    """Which sheep are eaten and which wolves eat: one of each a patch and round."""
    (prey, prey_patch, grazing), (rank, patch, here) = sheep, wolves

    def serve(carry):
        grazing, hungry = carry
        victim, eater = _first(prey, prey_patch, grazing, side), _first(rank, patch, hungry, side)
        finds = victim[patch] > 0
        eats = hungry & finds & (eater[patch] == rank)
        eaten = grazing & (eater[prey_patch] > 0) & (victim[prey_patch] == prey)
        return (grazing & ~eaten, hungry & finds & ~eats), eats

    def again(carry):
        rest, fed = carry
        rest, eats = serve(rest)
        return rest, fed | eats

    rest, fed = serve((grazing, here))
    (left, _), fed = jax.lax.while_loop(lambda carry: jnp.any(carry[0][1]), again, (rest, fed))
    return grazing & ~left, fed


def _fed(animals, eats, gain):
    energy = animals.energy + jnp.where(eats, gain, 0.0)
    return animals._replace(energy=energy, alive=animals.alive & (energy >= 0))


def _hatch(animals, draws, probability, side):
    """Halve the energies of those who hatch, and put the young in free places; and whether there were too few."""
    draws = _unit(draws, animals.energy.dtype)
    hatches = animals.alive & (draws < probability)
    animals = animals._replace(energy=jnp.where(hatches, animals.energy / 2, animals.energy))
    places = animals.alive.shape[0]
    both = jnp.cumsum(hatches.astype(jnp.uint32) << 16 | (~animals.alive).astype(jnp.uint32), dtype=jnp.uint32)
    births, room = (both >> 16).astype(jnp.int32), (both & 0xFFFF).astype(jnp.int32)
    count = jnp.minimum(births[-1], room[-1])
    parents, free = _numbered(hatches, births), _numbered(~animals.alive, room)

    def some(carry):
        """The young are few beside the places: a chunk of them at a time, as a rule a single one."""
        done, animals = carry
        which = done + jnp.arange(min(_CHUNK, places))
        parent = parents[which]
        old = Animals(*(leaf[parent] for leaf in animals))
        # A draw that is below p is uniform in [0, p): the turn of the young needs no other.
        young = _forward(old, 360 * draws[parent] / probability, side)
        to = jnp.where(which < count, free[which], places)
        return done + _CHUNK, Animals(*(leaf.at[to].set(new, mode="drop") for leaf, new in zip(animals, young, strict=True)))

    animals = jax.lax.while_loop(lambda carry: carry[0] < count, some, (jnp.int32(0), animals))[1]
    return animals, births[-1] > room[-1]


def _numbered(which, number):
    """The places of those that are marked, in their order."""
    places = which.shape[0]
    here = jnp.arange(places, dtype=jnp.int32)
    return jnp.zeros_like(here).at[jnp.where(which, number - 1, places)].set(here, mode="drop")


def _each(draws, here, probability):
    return here & (_unit(draws, jnp.result_type(float)) < probability)


def _so_many(draws, here, number):
    """So many of those that are here, without replacement: the threshold of their priorities by bisection, bit by bit."""
    priority = _priorities(draws)
    number = jnp.clip(jnp.round(number), 0, jnp.sum(here)).astype(jnp.int32)

    def bit(i, threshold):
        higher = threshold | (jnp.uint32(2**31) >> i.astype(jnp.uint32))
        return jnp.where(jnp.sum(here & (priority >= higher)) >= number, higher, threshold)

    threshold = jax.lax.fori_loop(0, 32, bit, jnp.uint32(0))
    return here & (priority >= threshold) & (number > 0)
