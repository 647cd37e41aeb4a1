r"""SBML kinetic models (levels 1 to 3) read into a `KineticModel`.

A species stands for its concentration, or for its amount where the file says ``hasOnlySubstanceUnits``; kinetic laws give
substance per time. For a species of a compartment of size V, with stoichiometries s_r and conversion factor c:

    dn/dt = c sum_r s_r v_r,        d[n/V]/dt = (dn/dt - [n/V] dV/dt) / V
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsci._checks import listed
from jaxsci.metabolism.kinetic_model import KineticEquations, KineticEvent, KineticModel
from jaxsci.metabolism.mathml import Translator
from jaxsci.metabolism.rate_laws import Graph
from jaxsci.metabolism.sbml_quantities import SbmlQuantities


def load_kinetics(path: str | os.PathLike[str]) -> KineticModel:
    """A kinetic model from an SBML file, or from a string that holds the XML.

    Read: kinetic laws of any MathML (also piecewise, function definitions, time), local parameters, assignment and rate rules,
    initial assignments, events without delay, compartments (also of variable size), amounts and concentrations, boundary and
    constant species, variable stoichiometry, conversion factors, units (as text). Constraints are not looked at.

    Args:
      path: of an .xml or .sbml file; or the XML itself.
    Returns:
      A `KineticModel`; values are float64 where x64 is on.
    Raises:
      ImportError: python-libsbml is missing; it comes with ``pip install "jaxsci[metabolism]"``.
      FileNotFoundError: no such file.
      ValueError: no SBML, or something in it that is not supported (algebraic rules, delays, fast reactions, submodels, an
        operator) or not complete (no kinetic law, no value): the element is named.
    Example:
      See `KineticModel`.
    Source: Hucka and others, The systems biology markup language (SBML), level 3 version 2 core (2019).
    """
    try:
        import libsbml as sbml
    except ImportError as missing:
        raise ImportError(
            'Kinetic models are read by python-libsbml, which is not installed: pip install "jaxsci[metabolism]".'
        ) from missing
    text = os.fspath(path)
    if text.lstrip().startswith("<"):
        document, source = sbml.readSBMLFromString(text.strip()), "the string"
    else:
        if not Path(text).is_file():
            raise FileNotFoundError(f"There is no SBML file {text!r}.")
        document, source = sbml.readSBML(text), text
    severe = [document.getError(i) for i in range(document.getNumErrors())]
    severe = [error for error in severe if error.getSeverity() >= sbml.LIBSBML_SEV_ERROR]
    if severe or document.getModel() is None:
        said = severe[0].getMessage().strip().splitlines()[0] if severe else "it holds no model"
        line = f" (line {severe[0].getLine()})" if severe else ""
        raise ValueError(f"{source} is not valid SBML: {said}{line}")
    return _Reader(sbml, document.getModel(), source).read()


class _Reader(SbmlQuantities):
    def __init__(self, sbml: Any, model: Any, source: str):
        super().__init__(sbml, model, source)
        self.graph = Graph()
        self.roots: list[tuple[int, bool]] = []
        self._inlined: dict[tuple[str, bool], int] = {}
        self._open: list[str] = []
        self.at_start = False  # translating what holds at time 0

    # ---- who is an unknown, who a parameter ----------------------------------------------------------------------------

    def read(self) -> KineticModel:
        model = self.model
        self.refuse()
        changed = set(self.rate_rule)
        for reaction in model.getListOfReactions():
            for ref in [*reaction.getListOfReactants(), *reaction.getListOfProducts()]:
                species = self.quantities.get(ref.getSpecies())
                if species is None:
                    raise self.fail(
                        f"reaction {reaction.getId()!r} names the species {ref.getSpecies()!r}, which is not there."
                    )
                if not species.getBoundaryCondition() and not species.getConstant():
                    changed.add(species.getId())
        for event in model.getListOfEvents():
            changed.update(a.getVariable() for a in event.getListOfEventAssignments())
        changed -= set(self.assignment)
        variable = {c.getId() for c in model.getListOfCompartments() if c.getId() in changed | set(self.assignment)}
        for species in model.getListOfSpecies():  # thinned by a compartment that grows, constant amounts too
            own = species.getId()
            if species.getCompartment() in variable and not self.in_amounts(species) and own not in self.assignment:
                changed.add(own)
        changed -= set(self.assignment)
        for name in self.started:  # a constant that is made of what changes keeps its first value
            if name not in changed and name not in self.assignment and self.depends_on(name, changed):
                changed.add(name)
        species = [s.getId() for s in model.getListOfSpecies()]
        self.states = [n for n in species if n in changed] + [
            n for n in self.quantities if n in changed and n not in species
        ]
        fixed = [n for n in self.quantities if n not in changed and n not in self.assignment and n not in self.started]
        fixed = [n for n in fixed if n not in self.references]
        values = {name: self.number(name, missing=True) for name in fixed}
        for reaction in model.getListOfReactions():
            for local in self.locals(reaction):
                values[f"{reaction.getId()}.{local.getId()}"] = local.getValue()
        self.parameters = values
        order = {n: 1 + i for i, n in enumerate([*self.states, *values])}
        self.row = {name: self.graph.input(row) for name, row in order.items()}
        self.time = self.graph.input(0)
        functions = {f.getId(): f.getMath() for f in model.getListOfFunctionDefinitions()}
        self.translate = Translator(
            self.graph, self.resolve, self.time, functions, lambda: list(self.quantities), self.relation
        )  # fmt: skip
        return self.assemble()

    # ---- identifiers to nodes ------------------------------------------------------------------------------------------

    def resolve(self, name: str) -> int | None:
        if name in self.row and not (self.at_start and name in self.started):
            return self.row[name]
        rule = self.assignment.get(name) or self.started.get(name)
        if rule is None:
            if name in self.references:
                return self.graph.const(self.number(name))
            return self.rate_nodes(name)
        key = (name, self.at_start)
        if key not in self._inlined:
            if name in self._open:
                raise self.fail(f"the rules define {listed([*self._open, name])} by one another: a circle.")
            self._open.append(name)
            constant = name not in self.assignment  # an initial assignment: what holds at time 0
            outer, self.at_start = self.at_start, self.at_start or constant
            kind = "initial assignment" if constant else "assignment rule"
            self._inlined[key] = self.translate(rule.getMath(), f"{self.name}: the {kind} of {name!r}")
            self.at_start = outer
            self._open.pop()
        return self._inlined[key]

    def known(self, name: str) -> int:
        """The node of an identifier that must be there."""
        node = self.resolve(name)
        if node is None:
            raise self.fail(f"{name!r} is used but not defined.")
        return node

    def rate_nodes(self, name: str) -> int | None:
        """The rate of a reaction, whose identifier stands for it in formulas."""
        reaction = self.model.getReaction(name)
        if reaction is None:
            return None
        key = (name, self.at_start)
        if key not in self._inlined:
            law = reaction.getKineticLaw()
            if law is None:
                raise self.fail(f"reaction {name!r} has no kinetic law.")
            if name in self._open:
                raise self.fail(f"the rate of {name!r} is defined by itself.")
            self._open.append(name)
            local = {p.getId(): self.row[f"{name}.{p.getId()}"] for p in self.locals(reaction)}
            self._inlined[key] = self.translate(law.getMath(), f"{self.name}: the kinetic law of reaction {name!r}", local)
            self._open.pop()
        return self._inlined[key]

    def relation(self, a: int, b: int, strict: bool) -> int:
        """An inequality a > b: a switch where it can change in time, which is located, never stepped over."""
        graph = self.graph
        root = graph.apply("sub", a, b)
        inputs = {graph.nodes[n][1][0] for n in graph.below([root]) if graph.nodes[n][0] == "input"}
        if self.at_start or not any(row <= len(self.states) for row in inputs):
            return graph.apply("lt", b, a) if strict else graph.apply("le", b, a)
        if any(row > len(self.row) for row in inputs):  # an inequality about what another one switches
            return graph.apply("lt", b, a) if strict else graph.apply("le", b, a)
        if (root, strict) not in self.roots:
            self.roots.append((root, strict))
        return graph.input(1 + len(self.row) + self.roots.index((root, strict)))

    # ---- the equations -------------------------------------------------------------------------------------------------

    def assemble(self) -> KineticModel:
        graph, model, do = self.graph, self.model, self.graph.apply
        rates = {reaction.getId(): self.known(reaction.getId()) for reaction in model.getListOfReactions()}
        amounts: dict[str, list[int]] = {}
        for reaction in model.getListOfReactions():
            for sign, refs in ((-1.0, reaction.getListOfReactants()), (1.0, reaction.getListOfProducts())):
                for ref in refs:
                    count = do("mul", graph.const(sign), self.stoichiometry(ref, reaction.getId()))
                    amounts.setdefault(ref.getSpecies(), []).append(do("mul", count, rates[reaction.getId()]))
        slope: dict[str, int] = {}
        for name in self.states:
            if name in self.rate_rule:
                slope[name] = self.translate(self.rate_rule[name].getMath(), f"{self.name}: the rate rule of {name!r}")
        for name in self.states:
            slope.setdefault(name, self.species_slope(name, amounts, slope))
        events = tuple(self.event(event, k) for k, event in enumerate(self.ordered_events()))
        self.at_start = True
        initial = tuple(self.known(name) if name in self.started else None for name in self.states)
        self.at_start = False
        derived = [n for n in self.quantities if n in self.assignment or (n in self.started and n not in self.states)]
        assigned = tuple((name, self.known(name)) for name in derived if name not in self.references)
        nodes = [
            *slope.values(),
            *(n for n in initial if n is not None),
            *(n for _, n in assigned),
            *(r for r, _ in self.roots),
        ]
        nodes += [node for event in events for node in (event.trigger, *(n for _, n in event.assigned))]
        used = {graph.nodes[n][1][0] for n in graph.below(nodes) if graph.nodes[n][0] == "input"}
        for name, value in self.parameters.items():
            if np.isnan(value) and graph.nodes[self.row[name]][1][0] in used:
                self.number(name)  # says what is missing
        equations = KineticEquations(
            graph=graph,
            states=tuple(self.states),
            parameters=tuple(self.parameters),
            derivatives=tuple(slope[name] for name in self.states),
            initial=initial,
            assigned=assigned,
            rates=tuple(rates.items()),
            roots=tuple(root for root, _ in self.roots),
            strict=tuple(strict for _, strict in self.roots),
            events=events,
            units=tuple(self.units()),
            name=self.name,
        )
        leaves = {name: jnp.asarray(self.number(name)) for name in self.states if name not in self.started}
        return KineticModel({n: jnp.asarray(v) for n, v in self.parameters.items()}, leaves, equations)

    def stoichiometry(self, ref: Any, reaction: str) -> int:
        if ref.isSetStoichiometryMath():
            where = f"{self.name}: the stoichiometry of {ref.getSpecies()!r} in reaction {reaction!r}"
            return self.translate(ref.getStoichiometryMath().getMath(), where)
        name = ref.getId() if ref.isSetId() else ""
        if name in self.row or name in self.assignment or name in self.started:
            node = self.resolve(name)
            assert node is not None
            return node
        if not ref.isSetStoichiometry() and ref.getLevel() > 2:
            raise self.fail(f"the stoichiometry of {ref.getSpecies()!r} in reaction {reaction!r} has no value.")
        return self.graph.const(ref.getStoichiometry() / (ref.getDenominator() if ref.getLevel() == 1 else 1))

    def species_slope(self, name: str, amounts: dict[str, list[int]], slope: dict[str, int]) -> int:
        graph, do, item = self.graph, self.graph.apply, self.quantities[name]
        if item.getElementName() != "species":
            return graph.const(0)  # changed by events only
        free = not item.getBoundaryCondition() and not item.getConstant()
        flow = graph.sum(amounts.get(name, []) if free else [])
        factor = item.getConversionFactor() or self.model.getConversionFactor()
        if factor:
            flow = do("mul", flow, self.known(factor))
        if self.in_amounts(item):
            return flow
        where = item.getCompartment()
        size = self.resolve(where)
        if size is None:
            raise self.fail(f"species {name!r} is in the compartment {where!r}, which does not exist.")
        growth = self.growth(where, size, slope)
        if graph.value(growth) != 0:
            flow = do("sub", flow, do("mul", self.row[name], growth))
        return do("div", flow, size)

    def growth(self, compartment: str, size: int, slope: dict[str, int]) -> int:
        """dV/dt."""
        graph, do = self.graph, self.graph.apply
        if compartment in slope:
            return slope[compartment]
        if compartment not in self.assignment:
            return graph.const(0)
        terms = []
        for node, part in graph.gradient(size).items():
            row = graph.nodes[node][1][0]
            if row == 0:
                terms.append(part)
            elif row <= len(self.states):
                state = self.states[row - 1]
                if state not in slope:
                    raise self.fail(
                        f"the size of compartment {compartment!r} depends on the species {state!r}: not supported."
                    )
                terms.append(do("mul", part, slope[state]))
        return graph.sum(terms)

    def ordered_events(self) -> list[Any]:
        """The highest priority first; without one, in the order of the file."""

        def priority(event: Any) -> float:
            number = self.plain_number(event.getPriority().getMath()) if event.isSetPriority() else None
            return -np.inf if number is None else number

        return sorted(self.model.getListOfEvents(), key=priority, reverse=True)

    def event(self, event: Any, k: int) -> KineticEvent:
        do = self.graph.apply
        name = event.getId() or event.getName() or f"event {k + 1}"
        if event.getTrigger() is None:
            raise self.fail(f"event {name!r} has no trigger.")
        trigger = self.translate(event.getTrigger().getMath(), f"{self.name}: the trigger of event {name!r}")
        assigned: dict[str, int] = {}
        for assignment in event.getListOfEventAssignments():
            target = assignment.getVariable()
            if target not in self.row or target not in self.states:
                raise self.fail(f"event {name!r} assigns {target!r}, which a rule defines or which does not exist.")
            assigned[target] = self.translate(assignment.getMath(), f"{self.name}: event {name!r}, assignment of {target!r}")
        for target in list(assigned):  # amounts stay where a compartment is resized
            for species in self.model.getListOfSpecies():
                own = species.getId()
                stays = species.getCompartment() == target and own in self.states and own not in assigned
                if stays and not self.in_amounts(species):
                    ratio = do("div", self.row[target], assigned[target])
                    assigned[own] = do("mul", self.row[own], ratio)
        modern, rule = event.getLevel() > 2, event.getTrigger()
        return KineticEvent(
            name,
            trigger,
            tuple((self.states.index(target), node) for target, node in assigned.items()),
            bool(rule.getInitialValue()) if modern else True,
            bool(rule.getPersistent()) if modern else True,
            bool(event.getUseValuesFromTriggerTime()),
        )

    def units(self) -> Iterable[tuple[str, str]]:
        printed = self.sbml.UnitDefinition.printUnits
        for name, item in self.quantities.items():
            if name not in self.references and (definition := item.getDerivedUnitDefinition()) is not None:
                yield name, printed(definition, True)
