"""The method of lines on a torus: a problem as d(state)/dt = L state + N(state, t), derived from its equation.

The equation is split (`jaxsci.equations.splitting`), and its linear part becomes one small matrix problem per Fourier mode:

    S w + A e + N = 0.

e holds the *evolved* components (an unknown with u_tt brings u and u_t); w holds the rates of the highest of them and the
*algebraic* unknowns, those without a time derivative (a pressure, a stream function); N is the transformed rest.
A row without a rate is a constraint.  One that holds no algebraic unknown either (u_x + v_y = 0) is differentiated in time,
which in the case of a pressure is the Leray projection.  Where no term of an algebraic unknown survives (the mean of a
pressure), its mode is set to zero: the gauge.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import listed
from jaxsci.equations import Equation
from jaxsci.equations.evaluation import Partial, evaluate, partials_in
from jaxsci.equations.splitting import LinearTerm, RestTerm, split
from jaxsci.problems import Problem
from jaxsci.solvers.etdrk import Kind, combine
from jaxsci.solvers.products import Products, economical, gather, separate_sources
from jaxsci.solvers.torus import Torus


class Structure(NamedTuple):
    """What the splitting says about an equation, independent of any grid and of the coefficients' values."""

    linear: tuple[LinearTerm, ...]
    rest: tuple[RestTerm, ...]
    rest_rows: tuple[int, ...]  # the rows that have a rest
    needed: tuple[Partial, ...]  # the partial derivatives that occur in the rest
    products: Products  # the rest less its sources
    economical: Products  # the same up to the gradient of a pressure: enough for the rates of the state
    sources: Products  # what holds neither an unknown nor the time
    components: tuple[tuple[str, int], ...]  # the state: (unknown, number of time derivatives)
    algebraic: tuple[tuple[str, int], ...]  # (unknown, the constraint row that determines it)
    diagonal: bool  # L couples no two components
    projected: bool  # L commutes with a projection and acts on each component alone


class Operators(NamedTuple):
    """The linear maps of a problem for given coefficients."""

    linear: Any  # L: [S, *modes] where diagonal, [S, S, *modes] otherwise
    rates: Any  # rest rows -> rates of the state: [S, R, *modes]
    algebraic: Any  # state -> algebraic unknowns: [Q, S, *modes]
    algebraic_rest: Any  # rest rows -> algebraic unknowns: [Q, R, *modes]
    source: Any  # the sources of the rest rows, [R, *modes]; None where there are none


@functools.lru_cache(maxsize=128)
def structure(equation: Equation) -> Structure:
    """Order the parts of an equation for time stepping.

    Raises:
      ValueError: the system has another number of equations than of unknowns, or a constraint that cannot be resolved.
    """
    unknowns = equation.unknowns
    rows = range(len(equation.residuals))
    if len(rows) != len(unknowns):
        raise ValueError(f"{equation.name}: {len(rows)} equations for the {len(unknowns)} unknowns {listed(unknowns)}.")
    linear, rest = split(equation)
    order = {u: equation.time_order(u) for u in unknowns}
    components = tuple((u, k) for u in unknowns for k in range(order[u]))
    dynamic = {term.row for term in linear if order[term.unknown] and term.letters.count("t") == order[term.unknown]}
    linear, constraints = list(linear), [row for row in rows if row not in dynamic]
    algebraic_names = [u for u in unknowns if order[u] == 0]
    if len(constraints) != len(algebraic_names):
        raise ValueError(
            f"{equation.name}: {len(algebraic_names)} unknowns have no time derivative ({listed(algebraic_names)}), but "
            f"{len(constraints)} equations have none; the two numbers must agree."
        )
    for row in constraints:
        if any(term.row == row and term.unknown in algebraic_names for term in linear):
            continue
        if any(term.row == row for term in rest):
            raise ValueError(f"{equation.name}: the constraint in row {row + 1} must be linear with constant coefficients.")
        linear = [term._replace(letters="t" + term.letters) if term.row == row else term for term in linear]
        if not any(term.row == row and term.letters.count("t") == order[term.unknown] for term in linear):
            raise ValueError(f"{equation.name}: the constraint in row {row + 1} does not determine any rate.")
    # Pair each algebraic unknown with a constraint row; one that stands in the row comes first.
    pairs, free = [], list(constraints)
    for name in algebraic_names:
        own = [row for row in free if any(term.row == row and term.unknown == name for term in linear)]
        pairs.append((name, (own or free)[0]))
        free.remove(pairs[-1][1])
    needed = tuple(sorted(frozenset().union(*(partials_in(term.formula) for term in rest)))) if rest else ()
    rest_rows = tuple(sorted({term.row for term in rest}))
    linear = tuple(linear)
    parts = separate_sources(rest)
    projected = _is_projected(unknowns, order, constraints, linear)
    diagonal = projected or _is_diagonal(unknowns, order, components, linear)
    forms = gather(parts.others), gather(economical(linear, parts.others, algebraic_names)), gather(parts.sources)
    return Structure(linear, rest, rest_rows, needed, *forms, components, tuple(pairs), diagonal, projected)


def _is_projected(unknowns, order, constraints, linear) -> bool:
    """Whether all evolved unknowns have one and the same linear operator and the constraints hold rates alone.

    Then a state that satisfies the constraints keeps doing so under the operator without the projection, which is diagonal:
    viscosity in an incompressible flow.
    """
    evolved = [u for u in unknowns if order[u]]
    if not constraints or any(order[u] > 1 for u in evolved):
        return False
    row_of = {term.unknown: term.row for term in linear if term.letters == "t" and term.row not in constraints}
    operators: dict[str, dict[str, Any]] = {u: {} for u in evolved}
    for term in linear:
        if term.row in constraints:
            if order[term.unknown] == 0 or term.letters[:1] != "t":
                return False
        elif order[term.unknown]:
            if row_of.get(term.unknown) != term.row:
                return False
            operators[term.unknown][term.letters] = term.factor
    return len(set(row_of.values())) == len(evolved) and all(o == operators[evolved[0]] for o in operators.values())


def _is_diagonal(unknowns, order, components, linear) -> bool:
    """Whether -S^-1 A couples no two components, from where S and A can be nonzero at all."""
    n = len(unknowns)
    couples, feeds = np.eye(n, dtype=bool), np.zeros((n, len(components)), bool)
    for term in linear:
        if term.letters.count("t") == order[term.unknown]:
            couples[term.row, unknowns.index(term.unknown)] = True
        else:
            feeds[term.row, components.index((term.unknown, term.letters.count("t")))] = True
    for _ in range(n):
        couples = couples | (couples.astype(int) @ couples.astype(int) > 0)
    reach = couples.astype(int) @ feeds.astype(int) > 0
    if any(order[u] > 1 for u in unknowns):
        return False
    return all(
        u == v or not reach[unknowns.index(u), j] for u in unknowns for j, (v, _) in enumerate(components) if order[u]
    )


@dataclasses.dataclass(frozen=True)
class FourierLines:
    """An equation on a torus. Static and hashable; coefficients are arguments of its methods.

    States are ``[S, *modes]``: the kept Fourier modes of every evolved component. On a torus without axes the state is the
    vector of an ODE.
    """

    equation: Equation
    torus: Torus
    signs: tuple[tuple[int, ...], ...]  # by unknown and axis: -1 where the mirror flips the sign

    @property
    def parts(self) -> Structure:
        return structure(self.equation)

    @property
    def kind(self) -> Kind:
        return "diagonal" if self.parts.diagonal else "blocks"

    @property
    def has_rest(self) -> bool:
        return bool(self.parts.rest)

    @property
    def is_linear(self) -> bool:
        """Whether the rest holds no unknown: at most a source."""
        return not self.parts.needed

    @property
    def component_names(self) -> tuple[str, ...]:
        """The evolved components: u, and u_t where the equation has u.tt."""
        return tuple(u + "_t" * k for u, k in self.parts.components)

    # --- the linear part ---------------------------------------------------------------------------------------------

    def operators(self, coefficients: Mapping[str, Any], dtype: Any) -> Operators:
        """L and the maps around it, differentiable in the coefficients; dtype is the real type to work in."""
        parts, unknowns, modes = self.parts, self.equation.unknowns, self.torus.mode_shape
        n, size = len(unknowns), len(parts.components)
        zero = jnp.zeros(modes, dtype)
        matrix = [[zero] * n for _ in range(n)]
        known = [[zero] * size for _ in range(n)]
        for term in parts.linear:
            factor = jnp.asarray(evaluate(term.factor, {}, {}, coefficients), dtype)
            value = factor * self.torus.symbol(term.letters.replace("t", ""), np.dtype(dtype))
            component = (term.unknown, term.letters.count("t"))
            if component in parts.components:
                j = parts.components.index(component)
                known[term.row][j] = known[term.row][j] + value
            else:
                j = unknowns.index(term.unknown)
                matrix[term.row][j] = matrix[term.row][j] + value
        weight = dict.fromkeys(range(n), jnp.ones(modes, dtype))
        for name, row in parts.algebraic:
            dead = self._undetermined(name)
            matrix[row] = [jnp.where(dead, 1.0 if u == name else 0.0, m) for u, m in zip(unknowns, matrix[row], strict=True)]
            known[row] = [jnp.where(dead, 0.0, value) for value in known[row]]
            weight[row] = jnp.where(dead, 0.0, weight[row])
        inverse = _inverse(matrix, _parities(parts, unknowns), modes)
        solved = [[-sum(row[k] * known[k][j] for k in range(n)) for j in range(size)] for row in inverse]
        forced = [[-row[r] * weight[r] for r in parts.rest_rows] for row in inverse]  # w = solved e + forced N
        linear, rates = [], []
        for i, (u, k) in enumerate(parts.components):
            own = unknowns.index(u)
            if (u, k + 1) in parts.components:  # d/dt u = u_t, the next component
                linear.append([jnp.full(modes, float(j == i + 1), dtype) for j in range(size)])
                rates.append([jnp.zeros(modes, dtype)] * len(parts.rest_rows))
            elif parts.projected:
                row = next(term.row for term in parts.linear if (term.unknown, term.letters) == (u, "t"))
                linear.append([-known[row][j] / matrix[row][own] if i == j else zero for j in range(size)])
                rates.append(forced[own])
            else:
                linear.append(solved[own])
                rates.append(forced[own])
        if not parts.components:
            total = jnp.zeros((n, 0, *modes), dtype)
        elif parts.diagonal:
            total = jnp.stack([jnp.broadcast_to(row[i], modes) for i, row in enumerate(linear)])
        else:
            total = _stacked(linear, modes)
        at = [unknowns.index(name) for name, _ in parts.algebraic]
        pick = lambda rows: _stacked([rows[i] for i in at], modes) if at and rows[at[0]] else None  # noqa: E731
        source = self._source_modes(coefficients, dtype) if parts.sources.uses else None
        made = Operators(total, _stacked(rates, modes) if rates and rates[0] else None, pick(solved), pick(forced), source)
        return jax.tree.map(self.torus.spread, made)

    def _undetermined(self, name: str) -> np.ndarray:
        """The modes at which every term of an algebraic unknown differentiates along an axis with k = 0."""
        dead = np.ones((1,) * len(self.torus.axes), bool)
        for term in self.parts.linear:
            if term.unknown == name:
                dead = dead & (np.asarray(self.torus.symbol(term.letters, np.dtype(float))) == 0)
        return np.broadcast_to(dead, self.torus.mode_shape)

    # --- the rest ----------------------------------------------------------------------------------------------------

    def nonlinear(self, operators: Operators, coefficients: Mapping[str, Any], state: Any, t: Any) -> Any:
        """N(state, t): the rest, evaluated on the grid and transformed back."""
        return combine(operators.rates, self._rows(self.parts.economical, operators, coefficients, state, t))

    def rest_modes(self, operators: Operators, coefficients: Mapping[str, Any], state: Any, t: Any) -> Any:
        """The transformed rest of each row that has one, ``[R, *modes]``."""
        return self._rows(self.parts.products, operators, coefficients, state, t)

    def _rows(self, products: Products, operators: Operators, coefficients: Mapping[str, Any], state: Any, t: Any) -> Any:
        if not products.formulas:
            return operators.source
        real = jnp.zeros((), state.dtype).real.dtype
        values = self.node_values(products.needed, operators, state)
        rows = self._transformed(products, values, coefficients, real, t)
        return rows if operators.source is None else rows + operators.source

    def _source_modes(self, coefficients: Mapping[str, Any], dtype: Any) -> Any:
        return self._transformed(self.parts.sources, {}, coefficients, jnp.zeros((), dtype).dtype, jnp.zeros((), dtype))

    def node_values(self, needed: tuple[Partial, ...], operators: Operators, state: Any) -> dict[Partial, Any]:
        """The partial derivatives that products need, at the nodes: one batch of transforms."""
        if not needed:
            return {}
        parts, torus = self.parts, self.torus
        real = jnp.zeros((), state.dtype).real.dtype
        modes = dict(zip(parts.components, state, strict=True))
        if any(name in dict(parts.algebraic) for name, _ in needed):
            algebraic = combine(operators.algebraic, state)
            modes |= {(name, 0): a for (name, _), a in zip(parts.algebraic, algebraic, strict=True)}
        stacked = [
            modes[name, letters.count("t")] * torus.symbol(letters.replace("t", ""), real) for name, letters in needed
        ]
        return dict(zip(needed, torus.to_nodes(jnp.stack(stacked)), strict=True))

    def _transformed(self, products: Products, values: dict[Partial, Any], coefficients: Any, real: Any, t: Any) -> Any:
        """Products at the nodes, transformed in one batch and added up by row, ``[R, *modes]``."""
        parts, torus = self.parts, self.torus
        coordinates = {name: jnp.asarray(c, real) for name, c in torus.nodes().items()} | {"t": t}

        def differentiate(value, letters):
            return torus.to_nodes(torus.from_nodes(value) * torus.symbol(letters, real))

        def at_nodes(formula):
            value = evaluate(formula, values, coordinates, coefficients, differentiate)
            return jnp.broadcast_to(jnp.asarray(value, real), torus.node_shape)

        modes = torus.from_nodes(jnp.stack([at_nodes(formula) for formula in products.formulas]))
        rows = {row: jnp.zeros((), modes.dtype) for row in parts.rest_rows}
        for use in products.uses:
            factor = jnp.asarray(evaluate(use.factor, {}, {}, coefficients), real) * torus.symbol(use.letters, real)
            rows[use.row] = rows[use.row] + modes[use.product] * factor
        return jnp.stack([jnp.broadcast_to(rows[row], torus.mode_shape) for row in parts.rest_rows])

    # --- states and fields ---------------------------------------------------------------------------------------------

    def grid(self) -> dict[str, np.ndarray]:
        return self.torus.box_grid()

    def initial_state(self, problem: Problem, dtype: Any) -> Any:
        grid = {
            name: jnp.asarray(x, dtype).reshape([-1 if i == j else 1 for j in range(len(self.torus.axes))])
            for i, (name, x) in enumerate(self.grid().items())
        }
        fields = [problem.initial[name](grid, problem.coefficients) for name in self.component_names]
        return self.encode(jnp.stack([jnp.broadcast_to(jnp.asarray(f, dtype), self.torus.box_shape) for f in fields]))

    def profile(self, operators: Operators, coefficients: Mapping[str, Any], state: Any, t: Any) -> Any:
        """The modes of every unknown, algebraic ones included: ``[unknowns, *modes]``."""
        parts = self.parts
        modes = {name: state[i] for i, (name, k) in enumerate(parts.components) if k == 0}
        if parts.algebraic:
            found = [combine(operators.algebraic, state)] if parts.components else []
            if parts.rest:
                rows = self.rest_modes(operators, coefficients, state, t)
                found.append(combine(operators.algebraic_rest, rows))
            values = sum(found[1:], found[0])
            modes |= {name: value for (name, _), value in zip(parts.algebraic, values, strict=True)}
        return jnp.stack([modes[name] for name in self.equation.unknowns])

    def steady_profile(self, problem: Problem, dtype: Any) -> Any:
        """The solution of a steady linear equation: every unknown is algebraic, and the rest is the source."""
        operators = self.operators(problem.coefficients, dtype)
        empty = jnp.zeros((0, *self.torus.mode_shape), dtype)
        return self.profile(operators, problem.coefficients, empty, jnp.zeros((), dtype))

    def encode(self, components: Any) -> Any:
        """Box values of the evolved components, ``[S, *box]``, to a state."""
        index = {u: i for i, u in enumerate(self.equation.unknowns)}
        signs = tuple(self.signs[index[u]] for u, _ in self.parts.components)
        return self.torus.from_grid(self.torus.extend(components, signs))

    def decode(self, profile: Any) -> Any:
        """Modes of the unknowns to box values, ``[..., unknowns, *box]``."""
        return self.torus.restrict(self.torus.to_grid(profile))

    def at_point(self, profile: Any, point: tuple[Any, ...]) -> Any:
        return self.torus.at_point(profile, point)

    def tail(self, profile: Any) -> Any:
        return self.torus.tail(profile)


def _stacked(rows: list[list[Any]], modes: tuple[int, ...]) -> Any:
    return jnp.stack([jnp.stack([jnp.broadcast_to(value, modes) for value in row]) for row in rows])


def _parities(parts: Structure, unknowns: tuple[str, ...]) -> tuple[list[int], list[int]] | None:
    """Numbers r and c with: term by term, r[row] + c[unknown] is odd where the term differentiates an odd number of times.

    Odd derivatives multiply a mode by an imaginary number, so that with these phases taken out the matrix of rates and
    algebraic unknowns is real. None where terms of both kinds stand at one place.
    """
    terms = [t for t in parts.linear if (t.unknown, t.letters.count("t")) not in parts.components]
    edges = [(t.row, unknowns.index(t.unknown), len(t.letters.replace("t", "")) % 2) for t in terms]
    rows: dict[int, int] = {}
    columns: dict[int, int] = {}
    for start in range(len(unknowns)):
        rows.setdefault(start, 0)
        for row, column, odd in edges * len(unknowns):  # spread from row to unknown to row
            if row in rows:
                columns.setdefault(column, (rows[row] + odd) % 2)
            elif column in columns:
                rows[row] = (columns[column] + odd) % 2
    if any((rows[row] + columns[column] + odd) % 2 for row, column, odd in edges):
        return None
    return [rows[i] for i in range(len(unknowns))], [columns.get(i, 0) for i in range(len(unknowns))]


def _inverse(
    matrix: list[list[Any]], parities: tuple[list[int], list[int]] | None, modes: tuple[int, ...]
) -> list[list[Any]]:
    """The inverse of an n x n matrix of modes; entries are real where the phases say so."""
    n = len(matrix)
    if n == 1:
        return [[1.0 / matrix[0][0]]]
    phase = lambda k: 1j if k else 1.0  # noqa: E731
    if parities is not None:
        rows, columns = parities
        matrix = [
            [jnp.real(value / (phase(rows[i]) * phase(columns[j]))) for j, value in enumerate(row)]
            for i, row in enumerate(matrix)
        ]
    inverse = jnp.moveaxis(jnp.linalg.inv(jnp.moveaxis(_stacked(matrix, modes), (0, 1), (-2, -1))), (-2, -1), (0, 1))
    if parities is None:
        return [list(row) for row in inverse]

    def with_phase(value, odd):  # (i i)^-1 = -1, and i^-1 = -i
        return value if odd == 0 else -value if odd == 2 else -1j * value

    return [[with_phase(inverse[j, i], columns[j] + rows[i]) for i in range(n)] for j in range(n)]
