"""The JSON form of a model, as BiGG publishes it and cobrapy reads it: a dictionary of metabolites, reactions and genes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse

from jaxsci.metabolism.flux_units import USUAL
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.network import KINDS, Network

_MODEL_KEYS = (*KINDS, "id", "units", "objective_direction")
_REACTION_KEYS = ("id", "metabolites", "lower_bound", "upper_bound", "gene_reaction_rule", "objective_coefficient")


def from_dictionary(content: Any, name: str = "model") -> StoichiometricModel:
    """The model of a dictionary in BiGG's form; `name` is what errors call it, and the model too if it says no id.

    Beside BiGG's keys it may have ``units``, of fluxes, "mmol/gDW/h" by default, and ``objective_direction``: the weights of
    "min" change their sign, and the model remembers ``minimised``. A file that is written has the weights of a maximum, as
    cobrapy reads them.

    Raises:
      ValueError: it is no model: a key is missing, an identifier stands twice, a reaction uses an unknown metabolite, a bound
        or a coefficient is not a number, lower > upper, a gene rule cannot be read, a direction or a unit is none. One line,
        with the place.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{name}: a model is a JSON object with metabolites, reactions and genes, got {_kind(content)}.")
    missing = [key for key in ("metabolites", "reactions") if key not in content]
    if missing:
        raise ValueError(f"{name}: this is no model: {' and '.join(missing)} missing.")
    entries = {kind: _entries(name, kind, content.get(kind, [])) for kind in KINDS}
    rows = {identifier: i for i, identifier in enumerate(entries["metabolites"])}
    reactions = entries["reactions"]
    lower, upper, objective = (np.zeros(len(reactions)) for _ in range(3))
    place: list[tuple[int, int]] = []
    values, rules = [], []
    for j, (identifier, reaction) in enumerate(reactions.items()):
        who = f"{name}: reaction {identifier!r}"
        for key in ("metabolites", "lower_bound", "upper_bound"):
            if key not in reaction:
                raise ValueError(f"{who}: {key} missing.")
        if not isinstance(reaction["metabolites"], Mapping):
            raise ValueError(
                f"{who}: metabolites are an object {{identifier: coefficient}}, got {reaction['metabolites']!r}."
            )
        for metabolite, coefficient in reaction["metabolites"].items():
            if metabolite not in rows:
                raise ValueError(str(unknown(f"{who}: metabolite", metabolite, rows)))
            place.append((rows[metabolite], j))
            values.append(_number(f"{who}: the coefficient of {metabolite!r}", coefficient))
        lower[j] = _number(f"{who}: lower_bound", reaction["lower_bound"], infinite=True)
        upper[j] = _number(f"{who}: upper_bound", reaction["upper_bound"], infinite=True)
        objective[j] = _number(f"{who}: objective_coefficient", reaction.get("objective_coefficient", 0.0))
        rules.append(reaction.get("gene_reaction_rule") or "")
    index = np.array(place, int).reshape(-1, 2).T
    matrix = scipy.sparse.coo_array((values, (index[0], index[1])), shape=(len(rows), len(reactions)))
    details = {
        "model": {key: value for key, value in content.items() if key not in _MODEL_KEYS},
        "metabolites": {i: _without(entry, ("id",)) for i, entry in entries["metabolites"].items()},
        "reactions": {i: _without(entry, _REACTION_KEYS) for i, entry in reactions.items()},
        "genes": {i: _without(entry, ("id",)) for i, entry in entries["genes"].items()},
    }
    direction, units = content.get("objective_direction", "max"), content.get("units", USUAL)
    if direction not in ("max", "min"):
        raise ValueError(f"{name}: objective_direction is 'max' or 'min', got {direction!r}.")
    if direction == "min":
        objective, details["model"] = 0.0 - objective, {**details["model"], "minimised": True}
    if not isinstance(units, str) or not units:
        raise ValueError(f"{name}: units are those of fluxes, a text like {USUAL!r}, got {units!r}.")
    title = str(content.get("id") or name)
    try:
        network = Network(
            matrix, tuple(reactions), tuple(rows), tuple(entries["genes"]), tuple(rules), title, details, units
        )
        return StoichiometricModel(network, lower, upper, objective).check()
    except ValueError as error:  # it speaks of the model's name: the file's is what the user knows
        raise ValueError(f"{name}: {str(error).removeprefix(f'{title}: ')}") from None


def to_dictionary(model: StoichiometricModel) -> dict[str, Any]:
    """The dictionary in BiGG's form, ready for JSON: an infinite bound is the text "inf" or "-inf", as cobrapy writes it.

    Raises:
      ValueError: a batch of models, or bounds that make no sense.
    """
    model.check()
    network, matrix = model.network, model.network.matrix
    lower, upper, objective = (np.asarray(x, np.float64) for x in (model.lower, model.upper, model.objective))
    if max(lower.ndim, upper.ndim, objective.ndim) > 1:
        raise ValueError(
            f"{model.name}: a file holds one model, this is a batch of shape {list(lower.shape[:-1])}; take one."
        )
    details = network.details
    reactions = []
    for j, identifier in enumerate(network.reactions):
        part = slice(matrix.indptr[j], matrix.indptr[j + 1])
        entry = {
            "id": identifier,
            "name": "",
            "metabolites": {
                network.metabolites[i]: float(x) for i, x in zip(matrix.indices[part], matrix.data[part], strict=True)
            },
            "lower_bound": _bound(lower[j]),
            "upper_bound": _bound(upper[j]),
            "gene_reaction_rule": network.gene_rules[j],
        }
        if objective[j]:
            entry["objective_coefficient"] = float(objective[j])
        reactions.append(entry | dict(details.get("reactions", {}).get(identifier, {})))
    others = {
        kind: [
            {"id": identifier, "name": ""} | dict(details.get(kind, {}).get(identifier, {}))
            for identifier in getattr(network, kind)
        ]
        for kind in ("metabolites", "genes")
    }
    for entry in others["metabolites"]:
        entry.setdefault("compartment", "")
    return {
        "metabolites": others["metabolites"],
        "reactions": reactions,
        "genes": others["genes"],
        "id": network.name,
        "units": network.units,
        **details.get("model", {}),
    }


def read_json(text: str, name: str) -> StoichiometricModel:
    """The model of a JSON text.

    Raises:
      ValueError: no JSON, or JSON that is no model (see `from_dictionary`).
    """
    try:
        content = json.loads(text, object_pairs_hook=_once(name))
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: this is not JSON (line {error.lineno}: {error.msg}).") from None
    return from_dictionary(content, name)


def write_json(model: StoichiometricModel) -> str:
    """The JSON text of a model, one line for each metabolite, reaction and gene."""
    content = to_dictionary(model)
    lines = []
    for key, value in content.items():
        if key in KINDS and value:
            inner = ",\n".join(json.dumps(entry) for entry in value)
            lines.append(f"{json.dumps(key)}:[\n{inner}\n]")
        else:
            lines.append(f"{json.dumps(key)}:{json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _once(name: str):
    def pairs(items):
        made = dict(items)
        if len(made) < len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{name}: the key {twice!r} stands twice in one object.")
        return made

    return pairs


def _entries(name: str, kind: str, entries: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(entries, list):
        raise ValueError(f"{name}: {kind} are a list of objects, got {_kind(entries)}.")
    found: dict[str, Mapping[str, Any]] = {}
    for k, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str) or not entry["id"]:
            raise ValueError(f"{name}: {kind}: entry {k} has no id.")
        if entry["id"] in found:
            raise ValueError(f"{name}: {kind}: the id {entry['id']!r} stands more than once.")
        found[entry["id"]] = entry
    return found


def _number(what: str, value: Any, infinite: bool = False) -> float:
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = float("nan")
    if math.isnan(number) or (math.isinf(number) and not infinite):
        raise ValueError(f"{what} is a {'' if infinite else 'finite '}number, got {value!r}.")
    return number


def _bound(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def _without(entry: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """What is left; an empty name, which writing adds, is the same as none."""
    return {k: v for k, v in entry.items() if k not in keys and not (k in ("name", "compartment") and v == "")}


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
