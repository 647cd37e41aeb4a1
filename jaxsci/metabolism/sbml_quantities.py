r"""What an SBML file says of its quantities: compartments, species, parameters, stoichiometries, and what is not supported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


class SbmlQuantities:
    """The quantities of a parsed model by identifier, with the rules that define them."""

    def __init__(self, sbml: Any, model: Any, source: str):
        self.sbml, self.model = sbml, model
        self.name = model.getId() or model.getName() or Path(source).stem
        self.quantities: dict[str, Any] = {}
        for items in (model.getListOfCompartments(), model.getListOfSpecies(), model.getListOfParameters()):
            self.quantities.update({item.getId(): item for item in items})
        self.references = {
            ref.getId(): ref
            for reaction in model.getListOfReactions()
            for ref in [*reaction.getListOfReactants(), *reaction.getListOfProducts()]
            if ref.isSetId() and ref.getId()
        }
        self.quantities.update(self.references)
        self.assignment = {r.getVariable(): r for r in model.getListOfRules() if r.isAssignment()}
        self.rate_rule = {r.getVariable(): r for r in model.getListOfRules() if r.isRate()}
        self.started = {a.getSymbol(): a for a in model.getListOfInitialAssignments()}

    def fail(self, text: str) -> ValueError:
        return ValueError(f"{self.name}: {text}")

    def refuse(self) -> None:
        model = self.model
        for rule in model.getListOfRules():
            if rule.isAlgebraic():
                raise self.fail(
                    f"the algebraic rule 0 = {self.sbml.formulaToL3String(rule.getMath())} is not supported; solve it for its "
                    "unknown and write an assignment rule."
                )
            if rule.getVariable() not in self.quantities:
                raise self.fail(f"a rule defines {rule.getVariable()!r}, which does not exist.")
        for reaction in model.getListOfReactions():
            if reaction.isSetFast() and reaction.getFast():
                raise self.fail(f"reaction {reaction.getId()!r} is fast (always in equilibrium), which is not supported.")
        for event in model.getListOfEvents():
            name = event.getId() or event.getName() or "without identifier"
            if event.isSetDelay() and self.plain_number(event.getDelay().getMath()) != 0:
                raise self.fail(f"event {name!r} has a delay, which is not supported.")
            if event.isSetPriority() and self.plain_number(event.getPriority().getMath()) is None:
                raise self.fail(f"event {name!r} has a priority that is no number, which is not supported.")
        plugin = model.getPlugin("comp")
        if plugin is not None and plugin.getNumSubmodels():
            raise self.fail("it is composed of submodels, which is not supported; flatten it first (package comp).")

    @staticmethod
    def plain_number(tree: Any) -> float | None:
        if tree is not None and tree.isNumber():
            return tree.getValue()
        if tree is not None and tree.isUMinus() and tree.getChild(0).isNumber():
            return -tree.getChild(0).getValue()
        return None

    def depends_on(self, name: str, changed: Iterable[str]) -> bool:
        seen, todo = set(), [name]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            if current in changed:
                return True
            rule = self.assignment.get(current) or self.started.get(current)
            if rule is not None and rule.getMath() is not None:
                todo += _names(rule.getMath())
                if _has_time(self.sbml, rule.getMath()):
                    return True
        return False

    def locals(self, reaction: Any) -> list[Any]:
        law = reaction.getKineticLaw()
        if law is None:
            return []
        found = list(law.getListOfLocalParameters()) or list(law.getListOfParameters())
        for local in found:
            if not local.isSetValue():
                raise self.fail(f"the local parameter {local.getId()!r} of reaction {reaction.getId()!r} has no value.")
        return found

    def in_amounts(self, species: Any) -> bool:
        compartment = self.quantities.get(species.getCompartment())
        flat = compartment is not None and compartment.getSpatialDimensions() == 0
        return species.getHasOnlySubstanceUnits() or flat

    def number(self, name: str, missing: bool = False) -> float:
        """The value that the file gives to a quantity, in the unit that its identifier stands for in formulas.

        Where there is none: an error, or NaN where that is fine as long as nobody uses it.
        """
        item, kind = self.quantities[name], self.quantities[name].getElementName()
        if kind == "compartment":
            if item.isSetSize() or item.getLevel() == 1:
                return item.getSize() if item.isSetSize() else 1.0
            if item.getSpatialDimensions() == 0:
                return 1.0
            if missing:
                return np.nan
            raise self.fail(f"the compartment {name!r} has no size; give it one, or a rule.")
        if kind == "species":
            if item.isSetInitialConcentration() or item.isSetInitialAmount():
                amount = item.isSetInitialAmount()
                value = item.getInitialAmount() if amount else item.getInitialConcentration()
                if amount == self.in_amounts(item):
                    return value
                size = self.size_at_start(item.getCompartment())
                return value / size if amount else value * size
        elif kind == "speciesReference":
            if item.isSetStoichiometry() or item.getLevel() < 3:
                return item.getStoichiometry()
        elif item.isSetValue():
            return item.getValue()
        if missing:
            return np.nan
        raise self.fail(f"{kind} {name!r} has no value: give it one, an initial assignment or a rule.")

    def size_at_start(self, compartment: str) -> float:
        if compartment in self.assignment or compartment in self.started:
            rule = self.assignment.get(compartment) or self.started[compartment]
            value = self.plain_number(rule.getMath())
            if value is None:
                raise self.fail(
                    f"a species of compartment {compartment!r} is given as an amount, formulas use its concentration, and the "
                    "size is a formula: give the initial concentration instead."
                )
            return value
        return self.number(compartment)


def _names(tree: Any) -> list[str]:
    below = [name for i in range(tree.getNumChildren()) for name in _names(tree.getChild(i))]
    return below + ([tree.getName()] if tree.isName() and tree.getName() else [])


def _has_time(sbml: Any, tree: Any) -> bool:
    return tree.getType() == sbml.AST_NAME_TIME or any(
        _has_time(sbml, tree.getChild(i)) for i in range(tree.getNumChildren())
    )
