r"""A kinetic model: ordinary differential equations by name, their numbers as leaves, their operations as one graph.

    dy/dt = f(t, y, p),      y(0) = y_0(p)

The unknowns y are the quantities that change by reactions, rate rules or events; p is everything that is constant.
What an assignment rule defines is no unknown: it is put in where it is used.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import KeyErrorWithText, check_keys
from jaxsci.metabolism.kinetic_elimination import Elimination
from jaxsci.metabolism.kinetic_program import Program, SparseRows
from jaxsci.metabolism.rate_laws import Graph

_STATIC = {"static": True}


class KineticEvent(NamedTuple):
    """When `trigger` becomes true, the unknowns in `assigned` get the values of their nodes."""

    name: str
    trigger: int
    assigned: tuple[tuple[int, int], ...]  # (number of the unknown, node)
    initial: bool  # what the trigger counts as before the start
    persistent: bool
    from_trigger: bool  # values as they were when it was triggered


@dataclasses.dataclass(frozen=True, eq=False)
class KineticEquations:
    """What does not change with the numbers. Rows of the inputs: time, unknowns, parameters, switches (0 or 1)."""

    graph: Graph
    states: tuple[str, ...]
    parameters: tuple[str, ...]
    derivatives: tuple[int, ...]
    initial: tuple[int | None, ...]  # the node of an initial assignment; None where the value is a leaf
    assigned: tuple[tuple[str, int], ...]
    rates: tuple[tuple[str, int], ...]
    roots: tuple[int, ...] = ()  # of the switches: on where root > 0 ...
    strict: tuple[bool, ...] = ()  # ... or, not strict, >= 0
    events: tuple[KineticEvent, ...] = ()
    units: tuple[tuple[str, str], ...] = ()
    name: str = ""

    @property
    def rows(self) -> int:
        return 1 + len(self.states) + len(self.parameters) + len(self.roots)

    @functools.cached_property
    def field(self) -> Program:
        """F: the derivatives of the unknowns."""
        return Program(self.graph, self.derivatives, self.rows)

    @functools.cached_property
    def slopes(self) -> list[dict[int, int]]:
        """By row of F: its derivative by every input."""
        return self.graph.jacobian(self.derivatives, [node for _, node in self.rates])

    def rows_of(self, what: str) -> range:
        """The input rows of "time", "states", "parameters" or "switches"."""
        sizes = {"time": 1, "states": len(self.states), "parameters": len(self.parameters), "switches": len(self.roots)}
        start = 0
        for name, size in sizes.items():
            if name == what:
                return range(start, start + size)
            start += size
        raise KeyError(what)

    @functools.cached_property
    def jacobian(self) -> SparseRows:
        """Columns: the time, then the unknowns."""
        columns = [0, *self.rows_of("states")]
        return SparseRows(self.graph, self.slopes, columns, self.rows)

    @functools.cached_property
    def elimination(self) -> Elimination:
        """Of the matrix of a stage."""
        return Elimination(self)

    def settled(self, p: jax.Array) -> dict[int, jax.Array]:
        """What the parameters p [parameters, B] alone determine of F and its Jacobian: computed once, not in every step."""
        if "_settled" not in self.__dict__:
            nodes, moves, edge = self.graph.nodes, set(), set()
            constant = set(self.rows_of("parameters"))
            for node in self.graph.below((*self.derivatives, *self.elimination.program.roots)):
                op, args = nodes[node]
                if op == "input" and args[0] not in constant:
                    moves.add(node)
                elif op not in ("input", "const") and not moves.isdisjoint(args):
                    moves.add(node)
                    edge.update(a for a in args if a not in moves and nodes[a][0] not in ("input", "const"))
            self.__dict__["_settled"] = tuple(sorted(edge))
        nodes = self.__dict__["_settled"]
        x = jnp.zeros((self.rows, p.shape[-1]), p.dtype).at[np.array(self.rows_of("parameters"), int)].set(p)
        return dict(zip(nodes, self.program(nodes)(x), strict=True))

    @property
    def columns(self) -> list[int]:
        """Rows by which a trajectory is differentiated: unknowns; the time, where events move it; parameters.

        Without events the time is left out: the second derivative of t^1.58 has no value at 0.
        """
        return [*self.rows_of("states"), *([0] if self.roots else []), *self.rows_of("parameters")]

    @functools.cached_property
    def first_order(self) -> SparseRows:
        """By `columns`."""
        return SparseRows(self.graph, self.slopes, self.columns, self.rows)

    @functools.cached_property
    def whole_jacobian(self) -> SparseRows:
        """Columns: all inputs."""
        return SparseRows(self.graph, self.slopes, range(self.rows), self.rows)

    @functools.cached_property
    def second_order(self) -> SparseRows:
        """Derivatives, by `columns`, of the directional derivative of F along (time, unknowns).

        The direction stands in the rows behind the others.
        """
        graph = self.graph
        along = {row: graph.input(self.rows + k) for k, row in enumerate([0, *self.rows_of("states")])}
        rates = [node for _, node in self.rates if graph.nodes[node][0] not in ("const", "input")]

        def directional(node: int, stop: frozenset[int], known: dict[int, int]) -> int:
            terms = []
            for below, part in graph.gradient(node, stop).items():
                step = known[below] if below in known else along.get(graph.nodes[below][1][0])
                if step is not None:
                    terms.append(graph.apply("mul", part, step))
            return graph.sum(terms)

        inner = {node: directional(node, frozenset(), {}) for node in rates}
        moves = [directional(node, frozenset(rates), inner) for node in self.derivatives]
        slopes = graph.jacobian(moves, list(inner.values()))
        return SparseRows(graph, slopes, self.columns, self.rows + 1 + len(self.states))

    def program(self, nodes: tuple[int, ...]) -> Program:
        """The program of some nodes, made once."""
        programs = self.__dict__.setdefault("_programs", {})
        if nodes not in programs:
            programs[nodes] = Program(self.graph, nodes, self.rows)
        return programs[nodes]

    def gradients(self, nodes: tuple[int, ...]) -> SparseRows:
        """The derivatives of some nodes by all inputs, made once."""
        made = self.__dict__.setdefault("_gradients", {})
        if nodes not in made:
            made[nodes] = SparseRows(self.graph, self.graph.jacobian(nodes), range(self.rows), self.rows)
        return made[nodes]

    def switches(self, x: Any) -> Any:
        """Which inequalities hold: x [1 + unknowns + parameters, ...] -> [switches, ...] of 0 and 1."""
        if not self.roots:
            return x[:0]
        padded = jnp.concatenate([x, jnp.zeros((len(self.roots), *x.shape[1:]), x.dtype)])
        root = self.program(self.roots)(padded)
        strict = np.array(self.strict)[(slice(None),) + (None,) * (x.ndim - 1)]
        return jnp.where(jnp.where(strict, root > 0, root >= 0), jnp.ones_like(root), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def evaluate(equations: KineticEquations, nodes: tuple[int, ...], x: jax.Array) -> jax.Array:
    """Some nodes at inputs x [rows, ...], with the derivative that the graph gives."""
    return equations.program(nodes)(x)


@evaluate.defjvp
def _evaluate_jvp(equations, nodes, primals, tangents):
    (x,), (dx,) = primals, tangents
    slopes = equations.whole_jacobian if nodes == equations.derivatives else equations.gradients(nodes)
    return evaluate(equations, nodes, x), _along(equations, slopes, x, dx)


def _along(equations: KineticEquations, slopes: SparseRows, x: jax.Array, dx: jax.Array) -> jax.Array:
    entries = evaluate(equations, slopes.program.roots, x)
    wide = jnp.moveaxis(slopes.dense(entries), (0, 1), (-2, -1))
    return jnp.moveaxis(jnp.einsum("...ij,...j->...i", wide, jnp.moveaxis(dx, 0, -1)), -1, 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class KineticModel:
    r"""Kinetic laws as a vector field dy/dt = f(t, y, p).

    A pytree: `parameters` and `initial` are dictionaries of leaves by identifier (what one differentiates, batches or fits),
    `equations` is static. Made by `jaxsci.metabolism.load_kinetics`. A local parameter k of a reaction R is called "R.k".

    Args:
      parameters: everything that is constant: parameters, sizes of compartments, constant and boundary species.
      initial: values at time 0 of the unknowns that have no initial assignment; those that have one get it from the parameters.
      equations: the operations.
    Example:
      >>> import jaxsci as js
      >>> model = js.metabolism.load_kinetics('''
      ...   <sbml xmlns="http://www.sbml.org/sbml/level2/version4" level="2" version="4"><model id="decay">
      ...   <listOfCompartments><compartment id="cell" size="1"/></listOfCompartments>
      ...   <listOfSpecies><species id="A" compartment="cell" initialConcentration="2"/></listOfSpecies>
      ...   <listOfParameters><parameter id="k" value="0.5"/></listOfParameters>
      ...   <listOfReactions><reaction id="R" reversible="false">
      ...   <listOfReactants><speciesReference species="A"/></listOfReactants>
      ...   <kineticLaw><math xmlns="http://www.w3.org/1998/Math/MathML"><apply><times/><ci>cell</ci><ci>k</ci><ci>A</ci></apply>
      ...   </math></kineticLaw></reaction></listOfReactions></model></sbml>''')
      >>> model.states, model.initial_state().tolist()
      (('A',), [2.0])
      >>> model.vector_field(0.0, model.initial_state(), {"k": 3.0}).tolist()
      [-6.0]
    """

    parameters: dict[str, Any]
    initial: dict[str, Any]
    equations: KineticEquations = dataclasses.field(metadata=_STATIC)

    @property
    def states(self) -> tuple[str, ...]:
        """Identifiers of the unknowns, in the order of y."""
        return self.equations.states

    @property
    def reactions(self) -> tuple[str, ...]:
        """Identifiers of the reactions."""
        return tuple(name for name, _ in self.equations.rates)

    @property
    def assigned(self) -> tuple[str, ...]:
        """Identifiers of what assignment rules define."""
        return tuple(name for name, _ in self.equations.assigned)

    @property
    def events(self) -> tuple[str, ...]:
        """Identifiers of the events."""
        return tuple(event.name for event in self.equations.events)

    @property
    def units(self) -> dict[str, str]:
        """By identifier, as the file says; nothing is converted but by the conversion factors of the file."""
        return dict(self.equations.units)

    def replace(self, parameters: Mapping[str, Any] | None = None, initial: Mapping[str, Any] | None = None) -> KineticModel:
        """The same model with some numbers changed.

        Raises:
          KeyError: an identifier that is none of the parameters; an unknown that does not exist. The nearest one is named.
        """
        self._check(parameters, initial)
        return KineticModel(
            {**self.parameters, **(parameters or {})}, {**self.initial, **(initial or {})}, self.equations
        )  # fmt: skip

    def _check(self, parameters: Mapping[str, Any] | None, initial: Mapping[str, Any] | None) -> None:
        for given, known, other in ((parameters, self.parameters, self.states), (initial, self.states, self.parameters)):
            for name in given or {}:
                if name not in known and name in other:
                    where = "initial" if given is parameters else "parameters"
                    raise KeyErrorWithText(f"{self.equations.name}: {name!r} belongs into `{where}`.")
            check_keys(f"{self.equations.name}: the identifier", given or {}, known)

    def inputs(self, parameters: Mapping[str, Any] | None = None) -> jax.Array:
        """The parameters as one array, in the order of `parameters`' keys."""
        self._check(parameters, None)
        merged = {**self.parameters, **(parameters or {})}
        return jnp.stack([jnp.asarray(merged[name]) for name in self.equations.parameters]) if merged else jnp.zeros(0)

    def initial_state(
        self, parameters: Mapping[str, Any] | None = None, initial: Mapping[str, Any] | None = None
    ) -> jax.Array:
        """y at time 0: leaves, or initial assignments evaluated with the parameters; `initial` comes before both."""
        self._check(parameters, initial)
        equations, p = self.equations, self.inputs(parameters)
        given = {**self.initial, **(initial or {})}
        leaves = jnp.stack([jnp.asarray(given.get(name, 0.0)) for name in self.states]) if self.states else jnp.zeros(0)
        dtype = jnp.result_type(leaves, p)
        leaves = leaves.astype(dtype)
        chosen = [(i, node) for i, node in enumerate(equations.initial) if node is not None and self.states[i] not in given]
        if not chosen:
            return leaves
        x = jnp.concatenate([jnp.zeros(1, dtype), leaves, p.astype(dtype), jnp.zeros(len(equations.roots), dtype)])
        values = evaluate(equations, tuple(node for _, node in chosen), x)
        return leaves.at[np.array([i for i, _ in chosen])].set(values)

    def _x(self, t: Any, y: Any, parameters: Mapping[str, Any] | None) -> jax.Array:
        y = jnp.asarray(y)
        p = self.inputs(parameters)
        dtype = jnp.result_type(y.dtype, p.dtype)
        x = jnp.concatenate([jnp.asarray(t, dtype)[None], y.astype(dtype), p.astype(dtype)])
        return jnp.concatenate([x, jax.lax.stop_gradient(self.equations.switches(jax.lax.stop_gradient(x)))])

    def vector_field(self, t: Any, y: Any, parameters: Mapping[str, Any] | None = None) -> jax.Array:
        """f(t, y, p) [unknowns], as ``diffrax.ODETerm(model.vector_field)`` calls it; parameters left out are the model's own.

        Events are not seen by it: `jaxsci.metabolism.simulate_kinetics` handles them.
        """
        return evaluate(self.equations, self.equations.derivatives, self._x(t, y, parameters))

    def fluxes(self, t: Any, y: Any, parameters: Mapping[str, Any] | None = None) -> dict[str, jax.Array]:
        """The rate of every reaction (substance per time) by identifier."""
        return self._named(self.equations.rates, t, y, parameters)

    def observables(self, t: Any, y: Any, parameters: Mapping[str, Any] | None = None) -> dict[str, jax.Array]:
        """What the assignment rules define, by identifier."""
        return self._named(self.equations.assigned, t, y, parameters)

    def _named(self, named: tuple[tuple[str, int], ...], t: Any, y: Any, parameters: Any) -> dict[str, jax.Array]:
        if not named:
            return {}
        values = evaluate(self.equations, tuple(node for _, node in named), self._x(t, y, parameters))
        return {name: values[i] for i, (name, _) in enumerate(named)}
