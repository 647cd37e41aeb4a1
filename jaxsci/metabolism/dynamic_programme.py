"""The flux balance inside a dynamic one: which bounds move, and what follows from them within one optimal basis."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.lexicographic import (
    Vertex,
    affine_in_bounds,
    allowed,
    follow,
    nonbasic,
    slack,
    tie_breaker,
    vertex_of,
)
from jaxsci.metabolism.model import Nominal
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.presolve import Presolved, presolve
from jaxsci.metabolism.reactor import Uptake
from jaxsci.metabolism.simplex import INFEASIBLE, OPTIMAL, UNBOUNDED, Basis, tolerances
from jaxsci.metabolism.starting_vertex import Start, slack_start

ACTIVE_SET, EXHAUSTED, REPLENISHED, ENDED = range(4)
_GONE = 1e-10  # mM: what is less is used up ...
_BACK = 1e-6  # ... until it is this much again
_FAR = 1e6  # mmol/gDW/h in place of infinite bounds


class Fixed(NamedTuple):
    """What does not change with time: bounds of all variables but for the laws, and the laws."""

    objective: Any  # [reactions]
    lower: Any  # [N]
    upper: Any
    feasible: Any  # the bounds that no law touches leave something
    own: Any  # [k] the model's own uptake bounds of what is followed
    laws: Any
    reactor: Any
    tables: Any  # (feed, kLa, C*)


class Affine(NamedTuple):
    """x = constant + sum_i slope_i (the bound in force of the i-th moving variable), within a basis."""

    basic: Any  # [m]
    at_upper: Any  # [moving]
    constant: Any  # [N]
    slopes: Any  # [moving, N], 0 where such a variable is basic
    rates: Any  # [1 + moving, 1 + k]: the same for growth and the net rates of secretion


@dataclasses.dataclass(frozen=True)
class DynamicProgramme:
    """A network, what is followed, and the objectives after the first; all static. Functions of time and state y = (X, C, V)."""

    network: Network
    names: tuple[str, ...]
    levels: tuple[tuple[float, ...], ...]

    @functools.cached_property
    def small(self) -> Presolved:
        """The presolved network."""
        return presolve(self.network)

    @functools.cached_property
    def followed(self) -> np.ndarray:
        """[k] columns of the exchanges."""
        return np.array([self.network.reaction_index[name] for name in self.names])

    @functools.cached_property
    def signs(self) -> np.ndarray:
        """[k] -1 where uptake is the negative flux."""
        return self.network.uptake_signs[self.followed]

    @functools.cached_property
    def moving(self) -> np.ndarray:
        """The variables that carry what is followed, each once."""
        group = self.small.group[self.followed]
        return np.unique(group[group >= 0])

    @functools.cached_property
    def reaction_of(self) -> np.ndarray:
        """[N] a reaction to name a variable by: an exchange if it carries one."""
        exchanges = {self.network.reaction_index[name] for name in self.network.exchanges}
        columns = np.zeros(self.size, np.int32)
        for j in [*range(len(self.network.reactions)), *sorted(exchanges), *self.followed]:
            if self.small.group[j] >= 0:
                columns[self.small.group[j]] = j
        return columns

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """[m', n'], with at least one row."""
        return self.small.A if len(self.small.A) else np.zeros((1, self.small.A.shape[1]))

    @property
    def size(self) -> int:
        """N = n' + m'."""
        return sum(self.matrix.shape)

    def objectives(self, objective: Any) -> Any:
        """[K, n'] the model's, those after it, and a last one to settle what they leave."""
        dtype, last = objective.dtype, tie_breaker(self.matrix.shape[1])
        small = [self.small.reduce_objective(jnp.asarray(c, dtype)) for c in (objective, *map(np.asarray, self.levels))]
        return jnp.stack([*small, jnp.asarray(last, dtype)])

    def start(self, nominal: Nominal | None) -> Start:
        """Where searches begin: the vertex of the numbers that the model was first made of. Found once."""
        if nominal is None:
            return slack_start(self.matrix)
        return _nominal_start(self, nominal)

    def fixed(self, given: Any) -> Fixed:
        """From (objective, lower, upper, laws, reactor)."""
        objective, lower, upper, laws, reactor = given
        dtype, at, down = lower.dtype, self.followed, self.signs < 0
        own = jnp.where(down, -lower[at], upper[at])
        low, high, feasible = self.small.reduce_bounds(
            lower.at[at].set(jnp.where(down, -jnp.inf, lower[at])), upper.at[at].set(jnp.where(down, upper[at], jnp.inf))
        )
        rows = jnp.zeros(len(self.matrix), dtype)
        low, high = jnp.clip(low, -_FAR, _FAR), jnp.clip(high, -_FAR, _FAR)
        both = (jnp.concatenate([x, rows]) for x in (low, high))
        return Fixed(objective, *both, feasible, own, laws, reactor, reactor.arrays(self.names, dtype))

    def uptakes(self, fixed: Fixed, t: Any, y: Any, used_up: Any) -> Any:
        """[k] the largest uptakes, mmol/gDW/h."""
        c = jnp.maximum(y[1:-1], 0)
        by_name = dict(zip(self.names, c, strict=True))
        values = []
        for i, (name, law) in enumerate(zip(self.names, fixed.laws, strict=True)):
            value = fixed.own[i] if law is None else law(by_name, name) if isinstance(law, Uptake) else law(by_name)
            values.append(jnp.asarray(value, y.dtype))
        limits = jnp.stack(values)
        scarce = used_up & self.runs_out(fixed.laws)
        supply = self.supply(fixed, t, y) / jnp.where(y[0] > 0, y[0], 1.0)
        return jnp.where(scarce, jnp.clip(supply, 0.0, jnp.maximum(limits, 0.0)), limits)

    def supply(self, fixed: Fixed, t: Any, y: Any) -> Any:
        """[k] what flow and transfer bring, mM/h."""
        feed, kla, saturation = fixed.tables
        inflow, _ = fixed.reactor.flows(t)
        return inflow / y[-1] * (feed - y[1:-1]) + kla * (saturation - y[1:-1])

    @staticmethod
    def runs_out(laws: Any) -> np.ndarray:
        """[k]: laws that do not vanish with their substrate."""
        return np.array([law is None or (isinstance(law, Uptake) and law.km is None) for law in laws])

    def used_up(self, y: Any, before: Any) -> Any:
        """[k]: gone, or gone before and not yet back."""
        c = y[1:-1]
        return jnp.where(before, c < 0.5 * _BACK, c <= _GONE)

    def moving_bounds(self, fixed: Fixed, t: Any, y: Any, used_up: Any) -> tuple[Any, Any]:
        """Bounds of the moving variables: their own, and those of the laws."""
        limits = self.uptakes(fixed, t, y, used_up)
        low, high = fixed.lower[self.moving], fixed.upper[self.moving]
        for i, j in enumerate(self.followed):
            ratio = self.small.ratio[j]
            if ratio == 0:
                continue
            place = int(np.searchsorted(self.moving, self.small.group[j]))
            bound = self.signs[i] * limits[i] / ratio
            if (self.signs[i] < 0) == (ratio > 0):
                low = low.at[place].set(jnp.maximum(low[place], bound))
            else:
                high = high.at[place].set(jnp.minimum(high[place], bound))
        return low, high

    def all_bounds(self, fixed: Fixed, t: Any, y: Any, used_up: Any) -> tuple[Any, Any]:
        """[N] and [N]."""
        low, high = self.moving_bounds(fixed, t, y, used_up)
        return fixed.lower.at[self.moving].set(low), fixed.upper.at[self.moving].set(high)

    def judge(self, fixed: Fixed, vertex: Vertex, state: Any) -> Any:
        """The status of an optimal vertex: whether it is one of the model's own bounds."""
        x = nonbasic(vertex, *self.all_bounds(fixed, *state))
        endless = ((jnp.abs(x) >= _FAR) & (jnp.abs(vertex.reduced[0]) > tolerances(x.dtype).cost)).any()
        return jnp.where(fixed.feasible, jnp.where(endless, UNBOUNDED, OPTIMAL), INFEASIBLE)

    def affine(self, fixed: Fixed, vertex: Vertex) -> Affine:
        """The map from moving bounds to all variables."""
        matrix = jnp.asarray(self.matrix, fixed.lower.dtype)
        still = nonbasic(vertex, fixed.lower, fixed.upper).at[self.moving].set(0.0)
        is_basic = jnp.zeros(self.size, bool).at[vertex.basic].set(True)[self.moving]
        units = jnp.zeros((len(self.moving), self.size), still.dtype)
        units = units.at[np.arange(len(self.moving)), self.moving].set(jnp.where(is_basic, 0.0, 1.0))
        x = affine_in_bounds(vertex, matrix, jnp.concatenate([still[None], units]))
        weights = self.small.reduce_objective(fixed.objective)
        at, ratio = np.maximum(self.small.group[self.followed], 0), self.small.ratio[self.followed]
        growth, secretion = x[:, : len(weights)] @ weights, x[:, at] * jnp.asarray(-self.signs * ratio, x.dtype)
        rates = jnp.concatenate([growth[:, None], secretion], 1)
        return Affine(vertex.basic, vertex.at_upper[self.moving], x[0], x[1:], rates)

    def solution(self, t: Any, y: Any, args: Any) -> Any:
        """x [N]."""
        fixed, affine, used_up = args
        return affine.constant + self.in_force(fixed, affine.at_upper, t, y, used_up) @ affine.slopes

    def in_force(self, fixed: Fixed, at_upper: Any, t: Any, y: Any, used_up: Any) -> Any:
        """[moving] the bound of each moving variable that holds it."""
        low, high = self.moving_bounds(fixed, t, y, used_up)
        return jnp.where(at_upper, high, low)

    def fluxes(self, x: Any) -> Any:
        """[..., N] -> [..., reactions]."""
        return self.small.expand(x[..., : self.matrix.shape[1]])

    def rate(self, t: Any, y: Any, args: Any) -> Any:
        """dy/dt."""
        fixed, affine, used_up = args
        bounds = self.in_force(fixed, affine.at_upper, t, y, used_up)
        rates = affine.rates[0] + bounds @ affine.rates[1:]
        inflow, outflow = fixed.reactor.flows(t)
        growth = (rates[0] - inflow / y[-1]) * y[0]
        media = rates[1:] * y[0] + self.supply(fixed, t, y)
        return jnp.concatenate([growth[None], media, jnp.asarray(inflow - outflow, y.dtype)[None]])

    def margin(self, t: Any, y: Any, args: Any, **_: Any) -> Any:
        """Positive while the basis is optimal and nothing runs out; 0 at the event."""
        return self._margins(t, y, args).min()

    def cause(self, t: Any, y: Any, args: Any) -> tuple[Any, Any]:
        """(kind, reaction) of the event that is here."""
        _, affine, used_up = args
        rows, moving = len(affine.basic), len(self.moving)
        place = jnp.argmin(self._margins(t, y, args))
        columns = jnp.concatenate(
            [jnp.asarray(self.reaction_of)[affine.basic], self.reaction_of[self.moving], self.followed]
        )
        kinds = jnp.concatenate([jnp.full(rows + moving, ACTIVE_SET), jnp.where(used_up, REPLENISHED, EXHAUSTED)])
        return kinds[place].astype(jnp.int32), columns[place].astype(jnp.int32)

    def _margins(self, t: Any, y: Any, args: Any) -> Any:
        """[m' + moving + k]: of the basic variables, of the moving bounds from each other, of what may run out or come back."""
        fixed, affine, used_up = args
        lower, upper = self.all_bounds(fixed, t, y, used_up)
        xb = self.solution(t, y, args)[affine.basic]
        room = jax.lax.stop_gradient(2 * allowed(xb))
        gap = (upper - lower)[self.moving] + room
        c = y[1:-1]
        stock = jnp.where(self.runs_out(fixed.laws), jnp.where(used_up, _BACK - c, c - 0.5 * _GONE), 1.0)
        return jnp.concatenate([slack(affine.basic, xb, lower, upper) + room, gap, stock])


@functools.lru_cache(maxsize=64)
def _nominal_start(programme: DynamicProgramme, nominal: Nominal) -> Start:
    with jax.ensure_compile_time_eval():
        vertex = _followed(programme, *(np.asarray(x) for x in (nominal.objective, nominal.lower, nominal.upper)))
    return Start(Basis(np.asarray(vertex.basic), np.asarray(vertex.at_upper)), np.asarray(vertex.tableau))


@functools.partial(jax.jit, static_argnums=0)
def _followed(programme: DynamicProgramme, objective: Any, lower: Any, upper: Any) -> Vertex:
    rows = jnp.zeros(len(programme.matrix), lower.dtype)
    bounds = [jnp.clip(x, -_FAR, _FAR) for x in programme.small.reduce_bounds(lower, upper)[:2]]
    vertex = vertex_of(slack_start(programme.matrix), programme.objectives(objective))
    return follow(vertex, *(jnp.concatenate([x, rows]) for x in bounds)).vertex


@functools.lru_cache(maxsize=64)
def dynamic_programme(network: Network, names: tuple[str, ...], levels: tuple[tuple[float, ...], ...]) -> DynamicProgramme:
    """One object for equal arguments, so that what it works out is worked out once."""
    return DynamicProgramme(network, names, levels)
