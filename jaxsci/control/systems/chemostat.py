r"""A culture fed with what it grows on: the chemostat, whose volume stays, and the fed batch, whose volume grows.

Biomass X and substrate S in g / l, volume V in l, time in h; growth after Monod, mu(S) = mu_max S / (K + S):

    chemostat, dilution rate D:    X' = (mu - D) X           S' = D (S_in - S) - mu X / Y
    fed batch, feed F = D V:       the same with D = F / V   V' = F

What was fed is somewhere: X + Y S - Y S_in decays as exp(-int D) in the chemostat, whatever mu is, and (X + Y S - Y S_in) V is
constant in the fed batch. In the chemostat D X is largest, of all constant D, at

    D_m = mu_max (1 - sqrt(K / (K + S_in))),      and above D_c = mu_max S_in / (K + S_in) the culture is washed out.

Numbers: mu_max = 1 / h, K = 0.2 g / l, Y = 0.5, S_in = 10 g / l, those of the curves of Herbert, Elsworth & Telling.

Reference: Monod (1950), Ann. Inst. Pasteur 79, 390; Herbert, Elsworth & Telling (1956), J. Gen. Microbiol. 14, 601.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci.control.dynamics import ode
from jaxsci.control.task import Task


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Culture:
    """Numbers of a culture, which can be differentiated, varied and batched.

    Attributes:
      growth: mu_max, 1 / h.
      half: K, the substrate at which half of it is reached, g / l.
      yield_: Y, biomass per substrate.
      feed: S_in, the substrate in the feed, g / l.
      most: the largest dilution rate (1 / h) or feed (l / h) of the pump; actions are clipped to [0, most].
      biomass, substrate, volume: where an episode begins.
      capacity: the volume that must not be exceeded, l (fed batch).
    """

    growth: Any = 1.0
    half: Any = 0.2
    yield_: Any = 0.5
    feed: Any = 10.0
    most: Any = 1.5
    biomass: Any = 0.5
    substrate: Any = 5.0
    volume: Any = 1.0
    capacity: Any = 4.0

    def rate(self, substrate: Any) -> Any:
        """mu(S)."""
        return self.growth * substrate / (self.half + substrate)

    @property
    def washout(self) -> Any:
        """D_c, above which no culture lasts."""
        return self.rate(self.feed)

    @property
    def best_dilution(self) -> Any:
        """D_m, the constant dilution rate whose steady state yields most biomass per time."""
        return self.growth * (1 - jnp.sqrt(self.half / (self.half + self.feed)))

    def steady(self, dilution: Any) -> Chemostat:
        """The steady state at a dilution rate below D_c."""
        substrate = self.half * dilution / (self.growth - dilution)
        return Chemostat(self.yield_ * (self.feed - substrate), substrate)


class Chemostat(NamedTuple):
    """State of the chemostat."""

    biomass: Any
    substrate: Any


class FedBatch(NamedTuple):
    """State of the fed batch."""

    biomass: Any
    substrate: Any
    volume: Any


def chemostat(culture: Culture | None = None, *, interval: float = 0.25, substeps: int = 4, horizon: int = 96) -> Task:
    """Harvest biomass: a step of `interval` hours costs -D X times the interval. The action is D, a number of shape [] or [1].

    The harvest of a step is that of the state before it. Greed washes the culture out: above D_c nothing is left to harvest.
    A short horizon ends with a washout, since what stands in the vessel is harvested too; `terminal` is up to the user.

    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.control.systems.chemostat import Culture, chemostat
      >>> task = chemostat(horizon=400)
      >>> held = lambda dilution, state: jnp.asarray(dilution)
      >>> best = float(Culture().best_dilution)
      >>> [f"{-float(js.control.rollout(task, held, d).costs[-1]) / 0.25:.3f}" for d in (0.5, best, 1.2)]  # g / (l h)
      ['2.450', '3.772', '0.000']
    """
    return Task(
        dynamics=ode(_chemostat, interval, substeps=substeps),
        cost=lambda p, state, action, after: -interval * _pumped(p, action) * state.biomass,
        init=lambda p: Chemostat(*_floats(p.biomass, p.substrate)),
        observe=lambda p, state: jnp.stack(state),
        horizon=horizon,
        parameters=Culture() if culture is None else culture,
        name="chemostat",
    )


def fed_batch(culture: Culture | None = None, *, interval: float = 0.25, substeps: int = 4, horizon: int = 32) -> Task:
    """Grow as much as the vessel holds: the cost is -X V at the end; V <= capacity is a constraint, for the step after it.

    The action is the feed F in l / h, a number of shape [] or [1]. What is fed too fast stays as substrate in the vessel, what
    is fed too slowly is missing at the end.
    """
    dynamics = ode(_fed_batch, interval, substeps=substeps)
    return Task(
        dynamics=dynamics,
        cost=lambda p, state, action, after: jnp.zeros_like(state.biomass),
        terminal=lambda p, state: -state.biomass * state.volume,
        constraint=lambda p, state, action: state.volume + interval * _pumped(p, action) - p.capacity,
        init=lambda p: FedBatch(*_floats(p.biomass, p.substrate, p.volume)),
        observe=lambda p, state: jnp.stack(state),
        horizon=horizon,
        parameters=Culture() if culture is None else culture,
        name="fed_batch",
    )


def _chemostat(p: Culture, state: Chemostat, action: Any) -> Chemostat:
    growth, dilution = p.rate(state.substrate) * state.biomass, _pumped(p, action)
    return Chemostat(growth - dilution * state.biomass, dilution * (p.feed - state.substrate) - growth / p.yield_)


def _fed_batch(p: Culture, state: FedBatch, action: Any) -> FedBatch:
    fed = _pumped(p, action)
    inside = _chemostat(dataclasses.replace(p, most=jnp.inf), Chemostat(state.biomass, state.substrate), fed / state.volume)
    return FedBatch(*inside, fed)


def _pumped(p: Culture, action: Any) -> Any:
    return jnp.clip(jnp.reshape(action, ()), 0.0, p.most)


def _floats(*values: Any) -> list[Any]:
    return [jnp.asarray(value, jnp.result_type(float)) for value in values]
