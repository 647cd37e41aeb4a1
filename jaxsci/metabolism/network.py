"""The network: what reacts with what, and under which genes. It holds no numbers that change from one experiment to the next."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import scipy.sparse

from jaxsci._checks import KeyErrorWithText
from jaxsci.metabolism.flux_units import USUAL
from jaxsci.metabolism.gene_rules import GeneRules, rule_text

KINDS = ("metabolites", "reactions", "genes")
_OUTSIDE = ("e", "C_e", "e0", "extracellular", "extraorganism", "out", "external", "extracell")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Network:
    r"""A metabolic network: the stoichiometric matrix S with its names and gene rules.

        dx/dt = S v,     S_ij = molecules of metabolite i that one turn of reaction j makes (negative: uses)

    It is fixed, and equal to another by its content, not by its address (a digest, computed once): in a
    `StoichiometricModel` it is the part that `jax.jit` compiles for.

    Args:
      matrix: S, [metabolites, reactions]; dense or scipy sparse. `matrix` is then a ``csc_array`` of float64.
      reactions, metabolites: their identifiers, each once.
      genes: identifiers; those that only the rules name are added at the end.
      gene_rules: one string a reaction, ``"(b1 and b2) or b3"``; "" for a reaction that needs no gene.
      name: what to call it.
      details: all else a file said, kept for saving: ``{"metabolites": {identifier: {...}}, "reactions": ..., "genes": ...,
        "model": {...}}``. Do not change it.
      units: of the fluxes; a text, nothing is converted. `dynamic_fba` needs the usual ones.
    Raises:
      ValueError: shapes that do not fit, an identifier twice, an entry of S that is not finite, a rule that cannot be read.
    Example:
      >>> import numpy as np, jaxsci as js
      >>> S = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
      >>> network = js.metabolism.Network(S, ("in", "turn", "out"), ("a", "b"))
      >>> network.reaction_index["turn"], network.boundary, network == js.metabolism.Network(S, ("in", "turn", "out"), ("a", "b"))
      (1, ('in', 'out'), True)
    """

    matrix: Any
    reactions: tuple[str, ...]
    metabolites: tuple[str, ...]
    genes: tuple[str, ...] = ()
    gene_rules: tuple[str, ...] = ()
    name: str = "network"
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    units: str = USUAL
    rules: GeneRules = dataclasses.field(init=False)
    digest: str = dataclasses.field(init=False)
    _hash: int = dataclasses.field(init=False)

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)

        for field in ("reactions", "metabolites", "genes", "gene_rules"):
            put(field, tuple(getattr(self, field)))
        for field in ("reactions", "metabolites", "genes"):
            _check_once(self.name, field, getattr(self, field))
        if not self.gene_rules:
            put("gene_rules", ("",) * len(self.reactions))
        matrix = scipy.sparse.csc_array(self.matrix, dtype=np.float64, copy=True)
        matrix.eliminate_zeros()
        matrix.sort_indices()
        shape = (len(self.metabolites), len(self.reactions))
        if matrix.shape != shape:
            raise ValueError(
                f"{self.name}: the stoichiometric matrix is [metabolites, reactions] = {list(shape)}, got {list(matrix.shape)}."
            )
        if len(self.gene_rules) != shape[1]:
            raise ValueError(f"{self.name}: one gene rule a reaction ({shape[1]}), got {len(self.gene_rules)}; '' for none.")
        if not np.isfinite(matrix.data).all():
            raise ValueError(f"{self.name}: the stoichiometric matrix has an entry that is not finite.")
        put("matrix", matrix)
        rules = GeneRules.parse(self.gene_rules, self.genes, self.reactions)
        put("rules", rules)
        put("genes", rules.genes)
        put("digest", self._digest())
        put("_hash", hash(self.digest))

    def _digest(self) -> str:
        rules = [rule_text(tree) for tree in self.rules.trees]  # however the file bracketed them
        said = [self.name, self.reactions, self.metabolites, self.genes, rules, self.details, self.units]
        text = json.dumps(said, sort_keys=True, default=str)
        content = hashlib.sha256(text.encode())
        for array in (self.matrix.indptr, self.matrix.indices, self.matrix.data):
            content.update(np.ascontiguousarray(array, np.float64).tobytes())
        return content.hexdigest()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Network) and self.digest == other.digest)

    def __repr__(self) -> str:
        return (
            f"Network({self.name}: {len(self.metabolites)} metabolites, {len(self.reactions)} reactions, "
            f"{len(self.genes)} genes)"
        )

    @functools.cached_property
    def dense(self) -> np.ndarray:
        """S as a NumPy array that cannot be written to."""
        dense = self.matrix.toarray()
        dense.flags.writeable = False
        return dense

    @functools.cached_property
    def reaction_index(self) -> dict[str, int]:
        """The column of every reaction."""
        return {name: j for j, name in enumerate(self.reactions)}

    @functools.cached_property
    def metabolite_index(self) -> dict[str, int]:
        """The row of every metabolite."""
        return {name: i for i, name in enumerate(self.metabolites)}

    @functools.cached_property
    def gene_index(self) -> dict[str, int]:
        """The place of every gene."""
        return {name: k for k, name in enumerate(self.genes)}

    def detail(self, kind: str, identifier: str, key: str, default: Any = None) -> Any:
        """What the file said of one thing: ``network.detail("metabolites", "atp_c", "formula")``; `default` where nothing."""
        if kind not in KINDS:
            raise KeyErrorWithText(f"details are of {', '.join(KINDS)}; got {kind!r}.")
        return self.details.get(kind, {}).get(identifier, {}).get(key, default)

    @functools.cached_property
    def compartments(self) -> tuple[str | None, ...]:
        """The compartment of every metabolite, None where no one said."""
        return tuple(self.detail("metabolites", name, "compartment") for name in self.metabolites)

    @functools.cached_property
    def boundary(self) -> tuple[str, ...]:
        """The reactions with one metabolite: exchanges, sinks and demands."""
        return tuple(self.reactions[j] for j in np.flatnonzero(np.diff(self.matrix.indptr) == 1))

    @functools.cached_property
    def exchanges(self) -> tuple[str, ...]:
        """The boundary reactions of the outside: of the external compartment, less sinks and demands.

        Where no compartments are known, every boundary reaction is one.
        """
        rows = {name: self.matrix.indices[self.matrix.indptr[self.reaction_index[name]]] for name in self.boundary}
        outside = self._outside(rows.values())
        if outside is None:
            return self.boundary
        inner = ("SK_", "DM_", "sink_", "demand_", "R_SK_", "R_DM_")
        return tuple(n for n in self.boundary if self.compartments[rows[n]] == outside and not n.startswith(inner))

    def _outside(self, boundary_rows: Iterable[int]) -> str | None:
        """The compartment that is the outside: by its usual name, else where most boundary reactions end."""
        known = {c for c in self.compartments if c is not None}
        for name in _OUTSIDE:
            if name in known:
                return name
        titles = self.details.get("model", {}).get("compartments", {})
        for name in sorted(known):
            if "extracell" in str(titles.get(name, "")).lower():
                return name
        counts = Counter(c for row in boundary_rows if (c := self.compartments[row]) is not None)
        return counts.most_common(1)[0][0] if counts else None

    @functools.cached_property
    def uptake_signs(self) -> np.ndarray:
        """[reactions]: -1 where uptake is the backward flux of an exchange (``a ->``), 1 where it is the forward one, 0 else."""
        signs = np.zeros(len(self.reactions))
        for name in self.exchanges:
            j = self.reaction_index[name]
            signs[j] = np.sign(self.matrix.data[self.matrix.indptr[j]])
        return signs


def _check_once(name: str, what: str, identifiers: tuple[str, ...]) -> None:
    wrong = [i for i in identifiers if not isinstance(i, str) or not i]
    if wrong:
        raise ValueError(f"{name}: the identifiers of {what} are words, got {wrong[0]!r}.")
    if len(set(identifiers)) != len(identifiers):
        twice = [i for i, count in Counter(identifiers).items() if count > 1]
        raise ValueError(f"{name}: {what} have one identifier each; {', '.join(twice[:5])} stands more than once.")
