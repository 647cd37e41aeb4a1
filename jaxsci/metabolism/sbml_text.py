"""What cobrapy neither reads nor writes of SBML with flux balance constraints: what kind of model it is, its units, all digits.

libsbml writes 15 digits of a number, which is one of many of float64; 17 are one.
"""

from __future__ import annotations

import gzip
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from jaxsci.metabolism.flux_units import USUAL, UnitPart, unit_parts, unit_text

_TAG = re.compile(r"<(?:parameter|reaction|listOfReactants|listOfProducts|speciesReference|fbc:fluxObjective) [^>]*>")
_DEFINITION = re.compile(r'(<unitDefinition )id="mmol_per_gDW_per_hr"(>\s*<listOfUnits>).*?(</listOfUnits>)', re.DOTALL)


class Said(NamedTuple):
    """What a file says of itself."""

    kinetic: str | None  # a reaction with a rate law, in a file without flux balance constraints
    units: str  # of its fluxes
    uncharged: tuple[int, ...] = ()  # the places of the species of which no charge is known, in a file with the constraints


def look(path: Path, name: str) -> Said:
    """Read what kind of SBML a file is, and the unit of its flux bounds; of what is no XML nothing is said here.

    Raises:
      ValueError: bounds in several units.
    """
    constraints, kinetic, species, uncharged = False, None, 0, []
    units: dict[str, str | None] = {}
    definitions: dict[str, str] = {}
    bounds: set[str] = set()
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            for event, found in ElementTree.iterparse(file, ("start-ns", "end")):
                if event == "start-ns":
                    constraints |= "/fbc/" in found[1]
                    continue
                kind = _local(found.tag)
                if kind == "unitDefinition":
                    definitions[found.get("id", "")] = _unit(found)
                elif kind in ("parameter", "localParameter"):
                    units[found.get("id", "")] = found.get("units")
                elif kind == "reaction":
                    bounds |= {
                        value for key, value in found.attrib.items() if _local(key) in ("lowerFluxBound", "upperFluxBound")
                    }
                    kinetic = kinetic or _rate_law(found)
                elif kind == "species":
                    if not any(_local(key) == "charge" for key in found.attrib):
                        uncharged.append(species)
                    species += 1
                if kind in ("reaction", "species", "annotation", "notes"):
                    found.clear()
    except (ElementTree.ParseError, OSError, EOFError):
        return Said(None, USUAL)  # cobrapy says what is wrong with it
    # The bounds of files without the constraints are parameters of what stands for a rate law.
    own = {units.get(bound) for bound in bounds or ("LOWER_BOUND", "UPPER_BOUND")} - {None}
    texts = sorted({definitions.get(unit) or unit_text([UnitPart(unit, 1, 0, 1)]) for unit in own if unit})
    if len(texts) > 1:
        raise ValueError(f"{name}: its flux bounds are in several units, {', '.join(texts)}; convert them to one.")
    units_of_fluxes = texts[0] if texts else USUAL
    return Said(None, units_of_fluxes, tuple(uncharged)) if constraints else Said(kinetic, units_of_fluxes)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _unit(definition: ElementTree.Element) -> str:
    dry = "dw" in f"{definition.get('id')} {definition.get('name')}".lower() or "dry" in str(definition.get("name")).lower()
    parts = [
        UnitPart(
            part.get("kind", ""),
            float(part.get("exponent", 1)),
            int(part.get("scale", 0)),
            float(part.get("multiplier", 1)),
        )
        for part in definition.iter()
        if _local(part.tag) == "unit"
    ]
    return unit_text(parts, dry=dry)


def _rate_law(reaction: ElementTree.Element) -> str | None:
    """The reaction's name if it has a rate law; old files have bounds in its place."""
    for law in reaction:
        if _local(law.tag) == "kineticLaw":
            names = {part.get("id") for part in law.iter()}
            return None if names & {"LOWER_BOUND", "UPPER_BOUND", "FLUX_VALUE"} else reaction.get("id", "without a name")
    return None


def exact(text: str, made: Any, units: str) -> str:
    """The file that cobrapy wrote of a model, with every number in full and the unit of its fluxes.

    Args:
      text: SBML of `made`, a ``cobra.Model``, whose order it has.
      units: as `unit_text` has it.
    Raises:
      ValueError: a unit that cannot be read, a number that is denormal.
    """
    reactions = dict(zip(_identifiers(text), made.reactions, strict=True))
    bounds = {}
    for tag in re.findall(r"<reaction [^>]*>", text):
        reaction = reactions[_get(tag, "id")]
        bounds[_get(tag, "fbc:lowerFluxBound")] = reaction.lower_bound
        bounds[_get(tag, "fbc:upperFluxBound")] = reaction.upper_bound
    coefficients: Iterator[float] = iter(())

    def whole(match: re.Match[str]) -> str:
        nonlocal coefficients
        tag = match[0]
        if tag.startswith("<parameter"):
            if not _get(tag, "units"):  # of the bounds that reactions share cobrapy writes no unit
                tag = tag.replace("<parameter ", '<parameter units="mmol_per_gDW_per_hr" ')
            return _put(tag, "value", bounds.get(_get(tag, "id")))
        if tag.startswith("<reaction "):
            column = reactions[_get(tag, "id")].metabolites.values()
            # cobrapy keeps their order on both sides, and libsbml writes what is used before what is made.
            coefficients = iter([-x for x in column if x < 0] + [x for x in column if x >= 0])
            return tag
        if tag.startswith("<speciesReference"):
            return _put(tag, "stoichiometry", next(coefficients))
        return _put(tag, "fbc:coefficient", reactions[_get(tag, "fbc:reaction")].objective_coefficient)

    text = _TAG.sub(whole, text)
    return text if units == USUAL else _with_units(text, units)


def _identifiers(text: str) -> list[str]:
    return [_get(tag, "id") for tag in re.findall(r"<reaction [^>]*>", text)]


def _get(tag: str, key: str) -> str:
    found = re.search(rf'\s{re.escape(key)}="([^"]*)"', tag)
    return found[1] if found else ""


def _put(tag: str, key: str, value: float | None) -> str:
    """The tag with the number in full; infinite ones stay as they are, and so does what is not ours."""
    if value is None or not math.isfinite(value):
        return tag
    if 0 < abs(value) < sys.float_info.min:
        raise ValueError(
            f"{value!r} cannot stand in SBML, whose readers refuse numbers so small; write 0 for it, or save as .json."
        )
    return re.sub(rf'(\s{re.escape(key)}=")[^"]*"', lambda match: f'{match[1]}{float(value)!r}"', tag, count=1)


def _with_units(text: str, units: str) -> str:
    parts = "".join(
        f'<unit kind="{p.kind}" exponent="{p.exponent:g}" scale="{p.scale}" multiplier="{p.multiplier!r}"/>'
        for p in unit_parts(units)
    )
    name = re.sub(r"[^A-Za-z0-9_]", "_", "_per_".join(units.split("/")))
    name = name if name[0].isalpha() else f"_{name}"
    text = _DEFINITION.sub(lambda match: f'{match[1]}id="{name}"{match[2]}{parts}{match[3]}', text)
    return text.replace('units="mmol_per_gDW_per_hr"', f'units="{name}"')
