"""What goes in, what comes out, and who makes and uses one metabolite: tables of a flux distribution."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxsci._checks import is_traced
from jaxsci.metabolism.linear_program import STATUS
from jaxsci.metabolism.model import StoichiometricModel, check_model
from jaxsci.metabolism.names import unknown
from jaxsci.metabolism.optimum import fluxes_of

_ELEMENT = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")


class ExchangeRow(NamedTuple):
    """One boundary reaction: `flux` of its metabolite in mmol/gDW/h, > 0 into the cell; `carbon` atoms (nan: no formula)."""

    metabolite: str
    reaction: str
    flux: float
    carbon: float
    carbon_share: float  # of the carbon that goes the same way, 0 to 1


class Summary(NamedTuple):
    """What a flux distribution takes up and secretes; prints as a table."""

    objective: tuple[tuple[str, float], ...]  # (reaction, weight)
    value: float
    uptake: tuple[ExchangeRow, ...]
    secretion: tuple[ExchangeRow, ...]

    def table(self) -> str:
        """The tables as text."""
        terms = " + ".join(f"{weight:g} {name}" for name, weight in self.objective) or "none"
        parts = [
            f"Objective\n=========\n{terms} = {_round_off(self.value):.10g}"
            if self.objective
            else "Objective\n=========\nnone"
        ]
        heads = ("Metabolite", "Reaction", "Flux", "C-Number", "C-Flux")
        for title, rows in (("Uptake", self.uptake), ("Secretion", self.secretion)):
            cells = [
                (
                    r.metabolite,
                    r.reaction,
                    f"{r.flux:.4g}",
                    "?" if math.isnan(r.carbon) else f"{r.carbon:g}",
                    _percent(r.carbon_share),
                )
                for r in rows
            ]
            parts.append(f"{title}\n{'-' * len(title)}\n{aligned(heads, cells)}")
        return "\n\n".join(parts) + "\n"

    def __str__(self) -> str:
        return self.table()


class ReactionRow(NamedTuple):
    """One reaction of a metabolite: `flux` of the metabolite (> 0: made), and its share of all that is made or used."""

    reaction: str
    flux: float
    share: float
    equation: str


class MetaboliteSummary(NamedTuple):
    """Who makes and who uses a metabolite; prints as a table."""

    metabolite: str
    name: str
    formula: str
    producing: tuple[ReactionRow, ...]
    consuming: tuple[ReactionRow, ...]

    def table(self) -> str:
        """The tables as text."""
        parts = [f"{self.metabolite}\n{'=' * len(self.metabolite)}\n{self.name or 'no name'}, formula {self.formula or '?'}"]
        for title, rows in (("Producing reactions", self.producing), ("Consuming reactions", self.consuming)):
            cells = [(_percent(r.share), f"{r.flux:.4g}", r.reaction, _shortened(r.equation)) for r in rows]
            text = aligned(("Percent", "Flux", "Reaction", "Definition"), cells, left=(2, 3))
            parts.append(f"{title}\n{'-' * len(title)}\n{text}")
        return "\n\n".join(parts) + "\n"

    def __str__(self) -> str:
        return self.table()


def summary(model: StoichiometricModel, solution: Any, threshold: float = 1e-7) -> Summary:
    """The uptakes and secretions of a flux distribution, the largest first, with the carbon that each carries.

    Args:
      model: whose boundary reactions are looked at, and whose objective is evaluated.
      solution: what `fba` and its kind return for one model, fluxes [reactions], or ``{reaction: flux}`` (others are 0).
      threshold: smaller fluxes are not listed, mmol/gDW/h.
    Raises:
      ValueError: a batch, fluxes that are not finite (an infeasible programme has none), another number of fluxes;
      TypeError: fluxes that are traced, a result that has none (as of `flux_variability`).
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"EX_a": "a <=>", "turn": "a -> 2 b", "EX_b": "b ->"}, "EX_b")
      >>> print(js.metabolism.summary(toy, {"EX_a": -1.5, "turn": 1.5, "EX_b": 3.0}))
      Objective
      =========
      1 EX_b = 3
      <BLANKLINE>
      Uptake
      ------
      Metabolite Reaction Flux C-Number C-Flux
               a     EX_a  1.5        ?      -
      <BLANKLINE>
      Secretion
      ---------
      Metabolite Reaction Flux C-Number C-Flux
               b     EX_b   -3        ?      -
      <BLANKLINE>
    """
    fluxes = concrete_fluxes(model, solution)
    network, matrix = model.network, model.network.matrix
    found: dict[bool, list[ExchangeRow]] = {True: [], False: []}
    for reaction in network.boundary:
        j = network.reaction_index[reaction]
        k = matrix.indptr[j]
        metabolite, flux = network.metabolites[matrix.indices[k]], float(matrix.data[k] * fluxes[j])
        if abs(flux) >= threshold:
            carbon = atoms(network.detail("metabolites", metabolite, "formula")).get("C", 0.0)
            found[flux > 0].append(ExchangeRow(metabolite, reaction, flux, carbon, math.nan))
    sides = []
    for into in (True, False):
        rows = sorted(found[into], key=lambda row: (-abs(row.flux), row.reaction))
        total = sum(abs(row.flux) * row.carbon for row in rows if not math.isnan(row.carbon))
        sides.append(tuple(r._replace(carbon_share=abs(r.flux) * r.carbon / total if total else math.nan) for r in rows))
    weights = np.asarray(model.objective, np.float64)
    if weights.ndim > 1:
        raise ValueError(
            f"{model.name}: a summary is of one model, this is a batch of {list(weights.shape[:-1])}; take one."
        )
    terms = tuple((network.reactions[j], float(weights[j])) for j in np.flatnonzero(weights))
    return Summary(terms, float(weights @ fluxes), *sides)


def metabolite_summary(
    model: StoichiometricModel, solution: Any, metabolite: str, threshold: float = 1e-7
) -> MetaboliteSummary:
    """The reactions that make and that use a metabolite, the largest first, with their percentages.

    Args:
      model, solution, threshold: as in `summary`.
      metabolite: its identifier.
    Raises:
      KeyError: no metabolite of that name; else as in `summary`.
    Example:
      >>> import jaxsci as js
      >>> toy = js.metabolism.from_equations({"EX_a": "a <=>", "turn": "a -> 2 b", "EX_b": "b ->"}, "EX_b")
      >>> print(js.metabolism.metabolite_summary(toy, {"EX_a": -1.5, "turn": 1.5, "EX_b": 3.0}, "b").producing)
      (ReactionRow(reaction='turn', flux=3.0, share=1.0, equation='a --> 2 b'),)
    """
    fluxes, network = concrete_fluxes(model, solution), model.network
    if metabolite not in network.metabolite_index:
        raise unknown(f"{model.name}: metabolite", metabolite, network.metabolites)
    row = network.dense[network.metabolite_index[metabolite]]
    sides = []
    for sign in (1.0, -1.0):
        rates = {int(j): float(row[j] * fluxes[j]) for j in np.flatnonzero(row) if sign * row[j] * fluxes[j] >= threshold}
        total = sum(rates.values())
        rows = [
            ReactionRow(network.reactions[j], rate, rate / total, equation(model, network.reactions[j]))
            for j, rate in sorted(rates.items(), key=lambda item: (-abs(item[1]), item[0]))
        ]
        sides.append(tuple(rows))
    name, formula = (str(network.detail("metabolites", metabolite, key) or "") for key in ("name", "formula"))
    return MetaboliteSummary(metabolite, name, formula, *sides)


def equation(model: StoichiometricModel, reaction: str) -> str:
    """The equation of a reaction in words: ``"atp_c + f6p_c --> adp_c + fdp_c + h_c"``; ``<=>`` if its bounds allow both ways.

    Raises:
      KeyError: an unknown reaction.
    """
    j, matrix = model.index(reaction), model.network.matrix
    part = slice(matrix.indptr[j], matrix.indptr[j + 1])
    sides: dict[bool, list[str]] = {True: [], False: []}
    for i, value in zip(matrix.indices[part], matrix.data[part], strict=True):
        size = abs(float(value))
        sides[value > 0].append(model.metabolites[i] if size == 1 else f"{size:g} {model.metabolites[i]}")
    low, up = (float(np.min(np.asarray(model.lower)[..., j])), float(np.max(np.asarray(model.upper)[..., j])))
    arrow = "<=>" if low < 0 < up else "<--" if low < 0 else "-->"
    return " ".join(filter(None, (" + ".join(sorted(sides[False])), arrow, " + ".join(sorted(sides[True])))))


def atoms(formula: str | None) -> dict[str, float]:
    """The numbers of atoms in a formula without brackets: ``atoms("C6H12O6")["C"] == 6``; all nan where it cannot be read."""
    found: dict[str, float] = {}
    if not formula or _ELEMENT.sub("", formula):
        return {"C": math.nan}
    for element, count in _ELEMENT.findall(formula):
        found[element] = found.get(element, 0.0) + (float(count) if count else 1.0)
    return found


def concrete_fluxes(model: StoichiometricModel, solution: Any) -> np.ndarray:
    """The fluxes [reactions] of one solution, on the host; see `summary` for what it takes and what it raises."""
    check_model("fluxes", model)
    given = fluxes_of(model.name, solution)
    if is_traced(given):
        raise TypeError(f"{model.name}: tables and files need numbers; call this outside jit, grad and vmap.")
    if isinstance(given, Mapping):
        unknown_names = [name for name in given if name not in model.network.reaction_index]
        if unknown_names:
            raise unknown(f"{model.name}: reaction", unknown_names[0], model.reactions)
        given = [float(given.get(name, 0.0)) for name in model.reactions]
    fluxes = np.asarray(given, np.float64)
    n = len(model.reactions)
    if fluxes.shape != (n,):
        raise ValueError(
            f"{model.name}: the fluxes of one solution, [{n}], are needed, got shape {list(fluxes.shape)}"
            + ("; take one of the batch." if fluxes.shape[-1:] == (n,) else ".")
        )
    if not np.isfinite(fluxes).all():
        status = getattr(solution, "status", None)
        why = f" (status: {STATUS[int(status)]})" if status is not None and np.ndim(status) == 0 else ""
        raise ValueError(f"{model.name}: there are no fluxes to show: they are not finite{why}.")
    return fluxes


def aligned(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = ()) -> str:
    """A table in text; the columns of `left` start at the left, the others end at the right."""
    lines = [tuple(heads), *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    return "\n".join(
        " ".join(
            cell.ljust(w) if k in left else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _round_off(value: float) -> float:
    return 0.0 if abs(value) < 1e-12 else value


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.2f}%"


def _shortened(text: str, width: int = 96) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
