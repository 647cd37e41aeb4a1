"""SBML with flux balance constraints (level 3, fbc), read and written by cobrapy with its python-libsbml.

cobrapy also fits the constants of its solver and prints advice while it reads; both stay inside.
"""

from __future__ import annotations

import html
import importlib
import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jaxsci._checks import listed
from jaxsci.metabolism.flux_units import USUAL
from jaxsci.metabolism.json_file import from_dictionary, to_dictionary
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.sbml_text import exact, look

_SUBSYSTEM = "jaxsci_subsystem_"
_NOWHERE = "jaxsci_nowhere"  # in SBML every metabolite has a compartment


def cobra_io() -> Any:
    """``cobra.io``, or a clear ImportError."""
    try:
        return importlib.import_module("cobra.io")
    except ImportError:
        raise ImportError(
            "SBML is read and written by cobrapy, which is not installed: pip install 'jaxsci[metabolism]' "
            "(models in JSON need nothing)."
        ) from None


@contextmanager
def _quiet() -> Generator[None]:
    """cobrapy's advice about files and its dependencies' deprecations are not the user's business here."""
    logger = logging.getLogger("cobra")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def from_cobra(model: Any, name: str = "model", units: str = USUAL) -> StoichiometricModel:
    """The model of a ``cobra.Model``: all it knows but the state of its solver. `units` are those of its fluxes.

    cobrapy can minimise; a `StoichiometricModel` maximises, so the weights of a minimised objective change their sign (and
    `to_cobra` changes it back).

    Raises:
      ValueError: it has constraints or variables of its own, or an objective that is not linear in fluxes alone.
    """
    io = cobra_io()
    _check_plain(model)
    with _quiet():
        content = dict(io.model_to_dict(model))
        reactions = content["reactions"]
        for entry, reaction in zip(reactions, model.reactions, strict=True):
            entry.pop("objective_coefficient", None)
            if weight := float(reaction.objective_coefficient):
                entry["objective_coefficient"] = weight
    for part in (content, *content["metabolites"], *reactions, *content["genes"]):
        part.update({key: _settled(part[key]) for key in ("notes", "annotation") if key in part})
    for metabolite in content["metabolites"]:
        if metabolite.get("compartment") == _NOWHERE:
            del metabolite["compartment"]
    if _NOWHERE in content.get("compartments", {}):
        content["compartments"] = {key: name for key, name in content["compartments"].items() if key != _NOWHERE}
    for gene in content["genes"]:  # cobrapy writes this for a gene without a name
        if gene.get("name") == f"G_{gene['id']}":
            del gene["name"]
    groups = []
    for group in model.groups:
        if group.id.startswith(_SUBSYSTEM):  # ours, see `_add_subsystems`
            continue
        members = sorted([type(m).__name__, m.id] for m in group.members)
        entry = {"id": group.id, "name": group.name or "", "kind": group.kind, "members": members}
        groups.append(entry | {k: _settled(v) for k in ("notes", "annotation") if (v := getattr(group, k))})
    if groups:
        content["groups"] = groups
    # `from_dictionary` turns a minimum into a maximum.
    content |= {"objective_direction": model.objective_direction, "units": units}
    return from_dictionary(content, model.id or name)


def _check_plain(model: Any) -> None:
    """A `StoichiometricModel` is S v = 0, bounds and a linear objective; what a user added to the solver would be lost."""
    own = {c.name for c in model.constraints} - {m.id for m in model.metabolites}
    fluxes = {name for r in model.reactions for name in (r.id, r.reverse_id)}
    extra = own | {v.name for v in model.variables} - fluxes
    if extra:
        raise ValueError(
            f"{model.id or 'the cobra model'}: it has constraints or variables beside its metabolites and reactions, which a "
            f"StoichiometricModel cannot hold: {listed(sorted(extra)[:5])}. Remove them (model.remove_cons_vars)."
        )
    objective = model.objective
    if not objective.is_Linear:
        raise ValueError(f"{model.id or 'the cobra model'}: its objective is not linear; a StoichiometricModel's is.")
    if constant := float(objective.expression.as_coefficients_dict().get(1, 0)):
        raise ValueError(
            f"{model.id or 'the cobra model'}: its objective has a constant, {constant:g}, which would be lost."
        )


def _settled(said: Any) -> Any:
    """Notes and annotations as cobrapy finds them again: white space in one piece, a list of one as the one itself."""
    if isinstance(said, str):
        text = " ".join(said.split())
        return text if "<" in text else html.unescape(text)
    if isinstance(said, dict):
        return {_settled(key): _settled(value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return _settled(said[0]) if len(said) == 1 else [_settled(value) for value in said]
    return said


def _is_markup(text: str) -> bool:
    """It has tags, and XML allows them as they are; "x < y" has none."""
    if "<" not in text:
        return False
    try:
        ElementTree.fromstring(f"<p>{text}</p>")
    except ElementTree.ParseError:
        return False
    return True


def _escaped(notes: Any) -> Any:
    """Notes that can be written into XML; `_settled` turns them back."""
    if isinstance(notes, str):
        return notes if _is_markup(notes) else html.escape(notes, quote=False)
    return {_escaped(str(key)): _escaped(str(value)) for key, value in notes.items()} if isinstance(notes, dict) else notes


def to_cobra(model: StoichiometricModel) -> Any:
    """A ``cobra.Model`` of the same network, bounds and objective.

    Raises:
      ImportError: cobrapy is not installed.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load("e_coli_core")
      >>> print(f"{js.metabolism.to_cobra(model).slim_optimize():.6f}")  # doctest: +SKIP
      0.873922
    """
    io = cobra_io()
    content = to_dictionary(model)
    groups = content.pop("groups", [])
    minimised = content.pop("minimised", False)
    with _quiet():
        made = io.model_from_dict(content)
        core = importlib.import_module("cobra.core")
        if minimised:
            for reaction in made.reactions:
                if weight := reaction.objective_coefficient:
                    reaction.objective_coefficient = -weight
            made.objective_direction = "min"
        lists = {"Reaction": made.reactions, "Metabolite": made.metabolites, "Gene": made.genes}
        for group in groups:
            members = [lists[kind].get_by_id(identifier) for kind, identifier in group["members"] if kind in lists]
            new = core.Group(group["id"], group["name"], members=members, kind=group["kind"])
            new.notes, new.annotation = group.get("notes", {}), group.get("annotation", {})
            made.add_groups([new])
    return made


def read_sbml(path: Path, name: str) -> StoichiometricModel:
    """The model of an SBML file.

    Raises:
      ImportError: cobrapy is not installed. ValueError: the file is no model in SBML, or a kinetic one.
    """
    io = cobra_io()
    said = look(path, name)
    if said.kinetic is not None:
        raise ValueError(
            f"{name}: this is a kinetic model (reaction {said.kinetic!r} has a rate law, and no flux has bounds): read it with "
            "jaxsci.metabolism.load_kinetics."
        )
    with _quiet():
        try:
            made = io.read_sbml_model(str(path))
        except Exception as error:  # cobra raises its own kinds, and libsbml's and the parser's
            text = " ".join(str(error).split()).removesuffix(".")
            raise ValueError(f"{name}: this is no model in SBML with flux balance constraints ({text[:160]}).") from None
    if not made.reactions:
        raise ValueError(f"{name}: this is no model in SBML with flux balance constraints: it has no reactions.")
    for k in said.uncharged:  # cobrapy takes 0
        made.metabolites[k].charge = None
    # cobrapy takes every group for a subsystem of its reactions; the standard means those of the kind "partonomy".
    parts = {r.id: g.name for g in made.groups if g.kind == "partonomy" for r in g.members}
    for group in made.groups:
        for member in group.members:
            if group.kind != "partonomy" and hasattr(member, "subsystem"):
                member.subsystem = parts.get(member.id, "")
    return from_cobra(made, name, said.units)


def write_sbml(model: StoichiometricModel, path: Path) -> None:
    """Write the model as SBML level 3 version 1 with fbc version 2, every number in full."""
    made = to_cobra(model)
    with _quiet():
        _add_subsystems(made)
        for metabolite in made.metabolites:
            metabolite.compartment = metabolite.compartment or _NOWHERE
        for part in (made, *made.metabolites, *made.reactions, *made.genes, *made.groups):
            part.notes = _escaped(part.notes)
        cobra_io().write_sbml_model(made, str(path))
    text = path.read_text(encoding="utf-8")
    path.write_text(exact(text, made, model.units), encoding="utf-8")


def _add_subsystems(made: Any) -> None:
    """SBML has no word for a reaction's subsystem: it is a group of the kind "partonomy" (SBML groups, version 1)."""
    core = importlib.import_module("cobra.core")
    known = {(g.name, m.id) for g in made.groups if g.kind == "partonomy" for m in g.members}
    missing: dict[str, list[Any]] = {}
    for reaction in made.reactions:
        if reaction.subsystem and (reaction.subsystem, reaction.id) not in known:
            missing.setdefault(reaction.subsystem, []).append(reaction)
    for k, (name, members) in enumerate(missing.items()):
        made.add_groups([core.Group(f"{_SUBSYSTEM}{k}", name, members=members, kind="partonomy")])
