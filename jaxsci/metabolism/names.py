"""Names that a user typed, and the nearest ones there are. Models have thousands: only a few are shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jaxsci._checks import KeyErrorWithText, listed

if TYPE_CHECKING:
    from jaxsci.metabolism.network import Network


def unknown(what: str, got: object, known: Iterable[str]) -> KeyErrorWithText:
    """The error for a name that does not exist, with at most three near ones."""
    known = list(known)
    if not isinstance(got, str):
        return KeyErrorWithText(f"{what}: a name is a text, got {got!r}.")
    near = difflib.get_close_matches(got, known, n=3, cutoff=0.5)
    if not near:  # the right word in another case, or a part of it
        near = [name for name in known if got.lower() in name.lower()][:3]
    if near:
        hint = f" Did you mean {' or '.join(repr(name) for name in near)}?"
    elif len(known) <= 12:
        hint = f" There is {listed(known)}."
    else:
        hint = f" There are {len(known)}, such as {listed(known[:3])}."
    return KeyErrorWithText(f"{what} {got!r} does not exist.{hint}")


def reaction_or_gene(network: Network, name: str) -> tuple[str, int]:
    """("reaction" | "gene", its place).

    Raises:
      KeyError: neither.
    """
    if name in network.reaction_index:
        return "reaction", network.reaction_index[name]
    if name in network.gene_index:
        return "gene", network.gene_index[name]
    raise unknown(f"{network.name}: reaction or gene", name, (*network.reactions, *network.genes))
