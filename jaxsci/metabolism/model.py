"""The stoichiometric model: a network with the bounds and the objective of one experiment, or of many."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.metabolism.flux_units import USUAL
from jaxsci.metabolism.names import reaction_or_gene, unknown
from jaxsci.metabolism.network import Network


@dataclasses.dataclass(frozen=True, eq=False)
class Nominal:
    """The numbers that a model was first made of: where the search for its optima starts from. Equal by content."""

    lower: np.ndarray
    upper: np.ndarray
    objective: np.ndarray
    _digest: bytes = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        arrays = [np.array(x, np.float64) for x in (self.lower, self.upper, self.objective)]
        for name, array in zip(("lower", "upper", "objective"), arrays, strict=True):
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        object.__setattr__(self, "_digest", hashlib.sha256(b"".join(x.tobytes() for x in arrays)).digest())

    def __hash__(self) -> int:
        return hash(self._digest)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Nominal) and self._digest == other._digest)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class StoichiometricModel:
    r"""A network with bounds on its fluxes and an objective.

        max c.v     with     S v = 0,     lower <= v <= upper

    Fluxes are in mmol per gram of dry weight and hour (that of a biomass reaction is the growth rate, 1/h). An exchange is
    written ``a ->``: a negative flux is uptake. The leaves are `lower`, `upper` and `objective`, each [..., reactions]; the
    network is static. As loaded they are NumPy arrays of float64 whatever JAX's precision is, so that saving loses nothing;
    a transformation takes them in JAX's.

    Every method returns a new model. Values may be traced, and may be batches: a value of shape [k] gives a model whose three
    leaves are [k, reactions], ready for `jax.vmap`.

    Args:
      network: a `Network`.
      lower, upper: the bounds, mmol/gDW/h; infinite where there is none.
      objective: c, maximised.
      nominal: the first such numbers that were known; set by itself, and kept by what changes them.
    Raises:
      ValueError: a last axis that is not the number of reactions.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> model
      StoichiometricModel(e_coli_core: 72 metabolites, 95 reactions, 137 genes)
      >>> model.medium["EX_glc__D_e"]
      10.0
      >>> anaerobic = model.with_bounds({"EX_o2_e": (0.0, 1000.0)})
      >>> "EX_o2_e" in anaerobic.medium
      False
      >>> batch = model.with_medium({**model.medium, "EX_glc__D_e": np.linspace(1.0, 10.0, 4)})
      >>> batch.lower.shape
      (4, 95)
      >>> float(model.knock_out("b1779").upper[model.index("GAPD")])
      0.0
    """

    network: Network = dataclasses.field(metadata={"static": True})
    lower: Any
    upper: Any
    objective: Any
    nominal: Nominal | None = dataclasses.field(metadata={"static": True}, default=None)

    def __post_init__(self):
        n = len(self.network.reactions)
        for name in ("lower", "upper", "objective"):
            value = getattr(self, name)
            if isinstance(value, list | tuple | float | int) and not isinstance(value, bool) and np.ndim(value):
                value = np.asarray(value, float)
                object.__setattr__(self, name, value)
            # JAX also rebuilds a model out of things that are no arrays (axes, structures): those have no shape to check.
            shape = getattr(value, "shape", None)
            if isinstance(shape, tuple) and not isinstance(value, jax.sharding.Sharding) and shape[-1:] != (n,):
                raise ValueError(f"{self.network.name}: {name} is [..., {n} reactions], got shape {list(shape)}.")
        leaves = (self.lower, self.upper, self.objective)
        if self.nominal is None and all(not is_traced(x) and np.shape(x) == (n,) for x in leaves):
            object.__setattr__(self, "nominal", Nominal(*leaves))

    def __repr__(self) -> str:
        size = np.shape(self.lower)[:-1] if hasattr(self.lower, "shape") else ()
        batch = f", batch {list(size)}" if size else ""
        return f"StoichiometricModel({repr(self.network)[8:-1]}{batch})"

    @property
    def stoichiometry(self) -> np.ndarray:
        """S, [metabolites, reactions], a NumPy array."""
        return self.network.dense

    @property
    def name(self) -> str:
        """The network's name."""
        return self.network.name

    @property
    def reactions(self) -> tuple[str, ...]:
        """Identifiers, in the order of the fluxes."""
        return self.network.reactions

    @property
    def metabolites(self) -> tuple[str, ...]:
        """Identifiers, in the order of the rows of S."""
        return self.network.metabolites

    @property
    def genes(self) -> tuple[str, ...]:
        """Identifiers."""
        return self.network.genes

    @property
    def units(self) -> str:
        """Of the fluxes and their bounds, as the file declares it: "mmol/gDW/h" unless it says otherwise."""
        return self.network.units

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The reactions that bring metabolites in from outside, or out: see `Network.exchanges`."""
        return self.network.exchanges

    @property
    def medium(self) -> dict[str, float]:
        """The largest uptake of every exchange that allows one, mmol/gDW/h > 0. The bounds must be known and of one model."""
        if is_traced((self.lower, self.upper)):
            raise TypeError(
                f"{self.name}: the medium has no values inside jit, grad or vmap; read it outside, or use `lower`."
            )
        lower, upper = np.asarray(self.lower), np.asarray(self.upper)
        if lower.ndim != 1 or upper.ndim != 1:
            raise ValueError(
                f"{self.name}: one model has a medium, a batch of shape {list(lower.shape[:-1])} has many; take one."
            )
        signs = self.network.uptake_signs
        uptake = np.where(signs < 0, -lower, np.where(signs > 0, upper, 0.0))
        return {name: float(uptake[j]) for name in self.exchanges if uptake[j := self.index(name)] > 0}

    def index(self, reaction: str) -> int:
        """The column of a reaction.

        Raises:
          KeyError: no reaction of that name; the message offers the nearest ones.
        """
        place = self.network.reaction_index.get(reaction) if isinstance(reaction, str) else None
        if place is None:
            raise unknown(f"{self.name}: reaction", reaction, self.reactions)
        return place

    def check(self) -> StoichiometricModel:
        """The model itself, if its numbers make sense; those that are traced are not looked at.

        Raises:
          ValueError: a bound that is not a number, lower > upper, an objective that is not finite; it names the reaction.
        """
        if is_traced((self.lower, self.upper, self.objective)):
            return self
        lower, upper, weights = np.broadcast_arrays(*(np.asarray(x) for x in (self.lower, self.upper, self.objective)))
        for wrong, what in (
            (np.isnan(lower) | np.isnan(upper), "a bound is not a number (infinite ones mean unbounded)"),
            (lower > upper, "the lower bound is above the upper one"),
            ((lower == np.inf) | (upper == -np.inf), "no flux lies between the bounds"),
            (~np.isfinite(weights), "the weight in the objective is not finite"),
        ):
            if wrong.any():
                at = tuple(np.argwhere(wrong)[0])
                raise ValueError(
                    f"{self.name}: reaction {self.reactions[at[-1]]!r}: {what}; bounds {lower[at]:g} and {upper[at]:g}, "
                    f"weight {weights[at]:g}."
                )
        return self

    def with_bounds(self, bounds: Mapping[str, tuple[Any, Any]]) -> StoichiometricModel:
        """Other bounds for some reactions: ``{"PFK": (0.0, 5.0)}``; None keeps a side.

        Raises:
          KeyError: an unknown reaction. ValueError: lower > upper, or not a number, where that is known; no pair.
          TypeError: no dictionary.
        """
        low, up = {}, {}
        for name, pair in _mapping(self, "bounds", bounds, "{'PFK': (0.0, 5.0)}").items():
            j = self.index(name)
            try:
                first, second = pair
            except (TypeError, ValueError):
                raise ValueError(f"{self.name}: the bounds of {name!r} are a pair (lower, upper), got {pair!r}.") from None
            if first is not None:
                low[j] = first
            if second is not None:
                up[j] = second
        return self._with(lower=low, upper=up).check()

    def with_medium(self, medium: Mapping[str, Any]) -> StoichiometricModel:
        """These uptakes (mmol/gDW/h, >= 0) and no others: every other exchange may only secrete.

        Raises:
          KeyError: a name that is no exchange. ValueError: a negative uptake or one that is not a number, where that is known.
          TypeError: no dictionary, or a value that is no number at all.
        """
        signs = self.network.uptake_signs
        low: dict[int, Any] = {}
        up: dict[int, Any] = {}
        for name, uptake in _mapping(self, "a medium", medium, "{'EX_glc__D_e': 10.0}").items():
            j = self.index(name)
            if signs[j] == 0:
                raise ValueError(
                    f"{self.name}: {name!r} is no exchange; an uptake is one of {', '.join(self.exchanges[:3])}, ..."
                )
            _check_number(self, name, uptake)
            if not is_traced(uptake) and not (np.asarray(uptake) >= 0).all():
                raise ValueError(f"{self.name}: the uptake of {name!r} is a number >= 0 in mmol/gDW/h, got {uptake!r}.")
            if signs[j] < 0:
                low[j] = -uptake if not isinstance(uptake, list | tuple) else -np.asarray(uptake)
            else:
                up[j] = uptake
        xp = _library(self.lower, self.upper)
        closed = dataclasses.replace(
            self,
            lower=xp.where(signs < 0, xp.maximum(self.lower, 0), self.lower),
            upper=xp.where(signs > 0, xp.minimum(self.upper, 0), self.upper),
        )
        return closed._with(lower=low, upper=up).check()

    def with_objective(self, objective: Any) -> StoichiometricModel:
        """Another objective, maximised: a reaction's name, ``{name: weight}`` or an array [..., reactions].

        Raises:
          KeyError: an unknown reaction. ValueError: an array of another length, a weight that is not finite.
        """
        if isinstance(objective, str):
            objective = {objective: 1.0}
        if isinstance(objective, Mapping):
            weights = {self.index(name): weight for name, weight in objective.items()}
            empty = dataclasses.replace(self, objective=_library(self.objective).zeros_like(self.objective))
            return empty._with(objective=weights).check()
        return dataclasses.replace(self, objective=objective).check()

    def knock_out(self, names: str | Iterable[str] | Mapping[str, Any]) -> StoichiometricModel:
        """Without some genes or reactions: the reactions that cannot go on carry no flux.

        All genes that are named go together through the gene rules: a reaction with two isozymes stops when both are gone.

        Args:
          names: of reactions or genes (a reaction, if it is both); or ``{name: level}`` with what is left of each, 0 to 1,
            possibly traced: both bounds of a reaction are multiplied by the level of its rule (see `GeneRules`).
        Raises:
          KeyError: an unknown name. ValueError: a level outside of 0 to 1, where it is known.
        """
        given = names if isinstance(names, Mapping) else dict.fromkeys([names] if isinstance(names, str) else names, 0.0)
        genes, reactions = {}, {}
        for name, level in given.items():
            if not is_traced(level) and not ((np.asarray(level) >= 0) & (np.asarray(level) <= 1)).all():
                raise ValueError(f"knock_out: what is left of {name!r} is a level from 0 to 1, got {level!r}.")
            kind, place = reaction_or_gene(self.network, name)
            (reactions if kind == "reaction" else genes)[place] = level
        xp = _library(self.lower, self.upper, *given.values())
        shape = np.broadcast_shapes((), *(np.shape(v) for v in given.values()))
        dtype = xp.result_type(self.lower, *(v for v in given.values() if hasattr(v, "dtype")))
        level = xp.ones((*shape, len(self.reactions)), dtype)
        if genes:
            present = _put(xp, xp.ones((*shape, len(self.genes)), dtype), genes)
            level = self.network.rules.reactions_active(present)
        if reactions:
            level = level * _put(xp, xp.ones((*shape, len(self.reactions)), dtype), reactions)
        whole = self._broadcast(xp, np.broadcast_shapes(shape, *(np.shape(x)[:-1] for x in (self.lower, self.upper))))

        def scaled(bound):  # an infinite bound stays infinite until nothing is left
            free = xp.isinf(bound)
            return xp.where(level == 0, xp.zeros_like(bound), xp.where(free, bound, xp.where(free, 1.0, bound) * level))

        return dataclasses.replace(whole, lower=scaled(whole.lower), upper=scaled(whole.upper))

    def _with(self, **changes: Mapping[int, Any]) -> StoichiometricModel:
        """Single entries of leaves replaced, the whole model broadcast to the batch of the values."""
        for entries in changes.values():
            for j, value in entries.items():
                _check_number(self, self.reactions[j], value)
        values = [value for entries in changes.values() for value in entries.values()]
        xp = _library(self.lower, self.upper, self.objective, *values)
        leaves = (self.lower, self.upper, self.objective)
        batch = np.broadcast_shapes((), *(np.shape(v) for v in values))
        if batch:
            batch = np.broadcast_shapes(batch, *(np.shape(x)[:-1] for x in leaves))
        whole = self._broadcast(xp, batch) if batch else self
        changed = {name: _put(xp, getattr(whole, name), entries) for name, entries in changes.items() if entries}
        return dataclasses.replace(whole, **changed)

    def _broadcast(self, xp: Any, batch: tuple[int, ...]) -> StoichiometricModel:
        n = len(self.reactions)
        leaves = {
            name: xp.broadcast_to(x, np.broadcast_shapes((*batch, n), np.shape(x)))
            for name in ("lower", "upper", "objective")
            for x in (getattr(self, name),)
        }
        return dataclasses.replace(self, **leaves)


def check_model(what: str, model: Any, *, usual_units: bool = False) -> None:
    """It is a model; and, where grams and hours count, its fluxes are in mmol/gDW/h.

    Raises:
      TypeError: something else, a name or a cobrapy model say. ValueError: fluxes in other units.
    """
    if not isinstance(model, StoichiometricModel):
        cobras = type(model).__module__.split(".")[0] == "cobra"
        cure = ": load it first, jaxsci.metabolism.load(...)" if cobras or isinstance(model, str | os.PathLike) else ""
        got = repr(model) if isinstance(model, str) else type(model).__name__
        raise TypeError(f"{what}: the first argument is a StoichiometricModel, got {got}{cure}.")
    if usual_units and model.units != USUAL:
        raise ValueError(
            f"{what}: {model.name} has fluxes in {model.units}, here they are in {USUAL}: convert its bounds, and give it a "
            "network of other `units` (dataclasses.replace)."
        )


def objective_weights(model: StoichiometricModel, objective: Any) -> Any:
    """The weights [..., reactions] of an objective as `StoichiometricModel.with_objective` takes it; arrays as they are.

    Raises:
      KeyError: an unknown reaction. ValueError: a weight that is not finite.
    """
    if not isinstance(objective, str | Mapping):
        return objective
    none = np.zeros(len(model.reactions))  # bounds that cross are not the objective's business
    return StoichiometricModel(model.network, none, none, none, model.nominal).with_objective(objective).objective


def _library(*values: Any) -> Any:
    """NumPy while everything is NumPy's or Python's, so that nothing of float64 is lost; JAX else."""
    return jnp if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(values)) else np


def _mapping(model: StoichiometricModel, what: str, given: Any, example: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        verb = "is" if what.startswith("a ") else "are"
        raise TypeError(
            f"{model.name}: {what} {verb} a dictionary, {example} say; got {type(given).__name__} {given!r:.60}."
        )
    return given


def _check_number(model: StoichiometricModel, name: str, value: Any) -> None:
    if not is_traced(value) and np.asarray(value).dtype.kind in "OSUMmb":
        raise TypeError(f"{model.name}: {name!r} is given a number or an array of numbers, got {value!r:.60}.")


def _put(xp: Any, array: Any, entries: Mapping[int, Any]) -> Any:
    """A copy of the array with the entries of its last axis replaced."""
    if xp is np:
        array = np.array(array)
        for j, value in entries.items():
            array[..., j] = value
        return array
    array = jnp.asarray(array)
    places = np.array(list(entries), int)
    values = [jnp.broadcast_to(jnp.asarray(v, array.dtype), array.shape[:-1]) for v in entries.values()]
    return array.at[..., places].set(jnp.stack(values, -1)) if values else array
