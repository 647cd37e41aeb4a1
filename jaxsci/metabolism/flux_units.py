"""The unit of fluxes as a text, "mmol/gDW/h", and as SBML writes it: a product of powers of base units.

A unit of SBML is (multiplier 10^scale kind)^exponent. SBML has no dry weight: where a definition's name speaks of it ("gDW"), its
gram is one of dry weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

USUAL = "mmol/gDW/h"

_BASES = {"mol": ("mole", 1.0), "gDW": ("gram", 1.0), "g": ("gram", 1.0), "L": ("litre", 1.0), "s": ("second", 1.0)}
_TIMES = {"min": ("second", 60.0), "h": ("second", 3600.0), "d": ("second", 86400.0)}
_PREFIXES = {"": 0, "k": 3, "m": -3, "u": -6, "n": -9, "p": -12}
_FACTOR = re.compile(r"([*/])(?:\(([^ ()]+) ([A-Za-z]+)\)|([A-Za-z]+))(?:\^([0-9.]+))?")


class UnitPart(NamedTuple):
    """(multiplier 10^scale kind)^exponent."""

    kind: str
    exponent: float
    scale: int
    multiplier: float


def unit_text(parts: Iterable[UnitPart], *, dry: bool = False) -> str:
    """The text of a unit; `dry`: grams are of dry weight.

    Example:
      >>> from jaxsci.metabolism.flux_units import UnitPart, unit_text
      >>> unit_text([UnitPart("mole", 1, -3, 1), UnitPart("gram", -1, 0, 1), UnitPart("second", -1, 0, 3600)], dry=True)
      'mmol/gDW/h'
    """
    above, below = [], []
    for part in parts:
        power = abs(part.exponent)
        factor = _factor(part, dry) + (f"^{power:g}" if power != 1 else "")
        if part.exponent:
            (above if part.exponent > 0 else below).append(factor)
    return "/".join(["*".join(above) or "1", *below]) if above or below else "dimensionless"


def _factor(part: UnitPart, dry: bool) -> str:
    kind = {"liter": "litre", "kilogram": "gram"}.get(part.kind, part.kind)
    scale, multiplier = part.scale + 3 * (part.kind == "kilogram"), part.multiplier
    if kind == "second" and scale == 0:
        if part.exponent < 0 and abs(3600 * multiplier - 1) < 1e-3:
            multiplier = 3600.0  # files of the COBRA Toolbox say 1/3600 s where they mean an hour
        for name, (_, size) in _TIMES.items():
            if multiplier == size:
                return name
    name = {"mole": "mol", "gram": "gDW" if dry else "g", "litre": "L", "second": "s"}.get(kind)
    prefix = {power: text for text, power in _PREFIXES.items()}.get(scale)
    if name is None or prefix is None:
        name, prefix, multiplier = name or kind, "", multiplier * 10.0**scale
    return prefix + name if multiplier == 1 else f"({multiplier!r} {prefix}{name})"


def unit_parts(text: str) -> list[UnitPart]:
    """The parts of a unit's text: the inverse of `unit_text`.

    Raises:
      ValueError: the text cannot be read as a product of units.
    Example:
      >>> from jaxsci.metabolism.flux_units import unit_parts
      >>> unit_parts("umol/gDW/min")[2]
      UnitPart(kind='second', exponent=-1.0, scale=0, multiplier=60.0)
    """
    rest = f"*{text}" if not text.startswith("1/") else text[1:]
    found = list(_FACTOR.finditer(rest))
    if not found or "".join(match[0] for match in found) != rest:
        raise ValueError(f"the unit {text!r} cannot be read; write it as 'mmol/gDW/h'.")
    parts = []
    for way, multiplier, scaled, plain, power in (match.groups() for match in found):
        kind, scale, size = _base(scaled or plain)
        exponent = float(power or 1.0) * (1.0 if way == "*" else -1.0)
        parts.append(UnitPart(kind, exponent, scale, size * float(multiplier or 1.0)))
    return parts


def _base(name: str) -> tuple[str, int, float]:
    if name in _TIMES:
        return _TIMES[name][0], 0, _TIMES[name][1]
    for prefix, scale in _PREFIXES.items():
        base = name.removeprefix(prefix)
        if base in _BASES and prefix + base == name:
            return _BASES[base][0], scale, _BASES[base][1]
    return name, 0, 1.0
