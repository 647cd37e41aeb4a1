"""A small model written down: ``{"PGI": "g6p <=> f6p"}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse

from jaxsci._checks import check_keys
from jaxsci.metabolism.model import StoichiometricModel
from jaxsci.metabolism.network import Network

_ARROW = re.compile(r"\s*(<=+>|<-+>|-+>|=+>)\s*")
_TERM = re.compile(r"(?:\(?([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\)?\s+)?(\S+)")


def from_equations(
    reactions: Mapping[str, str],
    objective: Any = None,
    *,
    bounds: Mapping[str, tuple[Any, Any]] | None = None,
    gene_rules: Mapping[str, str] | None = None,
    name: str = "network",
) -> StoichiometricModel:
    """A model out of equations such as ``"2 a + b -> c"``; an empty side is the outside.

    Args:
      reactions: name -> equation. ``->`` runs forward, bounds (0, 1000); ``<=>`` both ways, bounds (-1000, 1000).
        Metabolites are numbered in the order in which they appear.
      objective: as in `StoichiometricModel.with_objective`; nothing by default.
      bounds: (lower, upper) of some reactions.
      gene_rules: of some reactions.
      name: what to call the network.
    Raises:
      ValueError: an equation that cannot be read; KeyError: bounds, rules or an objective of an unknown reaction.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations(
      ...     {"uptake": "-> a", "fast": "a -> b", "slow": "a -> 2 b", "growth": "b ->"}, "growth",
      ...     bounds={"uptake": (0, 10), "slow": (0, 3)}, gene_rules={"slow": "g1 and g2"})
      >>> toy.stoichiometry
      array([[ 1., -1., -1.,  0.],
             [ 0.,  1.,  2., -1.]])
      >>> toy.medium
      {'uptake': 10.0}
    """
    rows: dict[str, int] = {}
    place, values = [], []
    lower, upper = np.zeros(len(reactions)), np.full(len(reactions), 1000.0)
    for j, (reaction, text) in enumerate(reactions.items()):
        sides = _ARROW.split(text.strip()) if isinstance(text, str) else []
        if len(sides) != 3:
            raise ValueError(
                f"{name}: reaction {reaction!r}: {text!r} is no equation; write it as 'a + 2 b -> c' or 'a <=> b'."
            )
        if sides[1].startswith("<"):
            lower[j] = -1000.0
        for side, sign in ((sides[0], -1.0), (sides[2], 1.0)):
            for term in re.split(r"\s+\+\s+", side.strip()) if side.strip() else ():
                match = _TERM.fullmatch(term)
                if not match:
                    raise ValueError(f"{name}: reaction {reaction!r}: {term!r} is no 'metabolite' or '2 metabolite'.")
                place.append((rows.setdefault(match[2], len(rows)), j))
                values.append(sign * float(match[1] or 1.0))
    index = np.array(place, int).reshape(-1, 2).T
    matrix = scipy.sparse.coo_array((values, (index[0], index[1])), shape=(len(rows), len(reactions)))
    check_keys(f"{name}: the reaction of a gene rule", gene_rules or {}, reactions)
    rules = [(gene_rules or {}).get(reaction, "") for reaction in reactions]
    network = Network(matrix, tuple(reactions), tuple(rows), gene_rules=tuple(rules), name=name)
    model = StoichiometricModel(network, lower, upper, np.zeros(len(reactions))).with_bounds(bounds or {})
    return model if objective is None else model.with_objective(objective)
