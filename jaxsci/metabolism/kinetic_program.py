r"""A graph of operations as a JAX program that compiles in half a second, whatever its size.

Few members: a tape. The operations are scheduled into lines of up to 32 equal ones (list scheduling, the longest chain first); a
loop takes a line, gathers its arguments from one buffer, does the operation and writes the results behind those that are there.
XLA sees a loop with one branch for each kind of operation. Sums, products and differences are all of the kind a * b + c.
Many members: the operations one by one, each on a vector over the members. That takes XLA seconds to compile and, for 256
members, a tenth of the tape's time to run. XLA computes a cheap value anew in every loop that uses it, unless a division made it;
a value that costs enough is therefore divided by one (Chassagnole 2002: substitution 25 us instead of 350, factors 240 for 610).
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.rate_laws import Graph

WIDTH = 32
KEEP = 8  # operations that would be done again, from which on a value is kept
MANY = 24  # members from which on straight-line code pays (Chassagnole 2002: 0.6 us against 6 us a member and evaluation)

_DO: dict[str, Any] = {
    "fma": lambda a, b, c: a * b + c,
    "add": jnp.add,
    "sub": jnp.subtract,
    "mul": jnp.multiply,
    "div": jnp.divide,
    "pow": jnp.power,
    "neg": jnp.negative,
    "exp": jnp.exp,
    "log": jnp.log,
    "sqrt": jnp.sqrt,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tan": jnp.tan,
    "asin": jnp.arcsin,
    "acos": jnp.arccos,
    "atan": jnp.arctan,
    "sinh": jnp.sinh,
    "cosh": jnp.cosh,
    "tanh": jnp.tanh,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "min": jnp.minimum,
    "max": jnp.maximum,
    "lt": lambda a, b: jnp.where(a < b, jnp.ones_like(a), 0),
    "le": lambda a, b: jnp.where(a <= b, jnp.ones_like(a), 0),
    "eq": lambda a, b: jnp.where(a == b, jnp.ones_like(a), 0),
    "and": jnp.minimum,
    "or": jnp.maximum,
    "not": lambda a: 1 - a,
    "where": lambda c, a, b: jnp.where(c > 0.5, a, b),
    "safelog": lambda a: jnp.log(jnp.where(a > 0, a, 1)),
}
_LEAVES = ("const", "input")
_KEPT = ("div", "pow", "exp", "log", "sqrt")  # what XLA never does twice


def power(a: jax.Array, b: jax.Array) -> jax.Array:
    """a ** b by logarithm and exponential: a third of the time of XLA's power, and the logarithm is shared among exponents."""
    size = jnp.exp(b * jnp.log(jnp.abs(a)))
    odd = jnp.floor(0.5 * b) != 0.5 * b
    signed = jnp.where(jnp.floor(b) == b, jnp.where(odd, -size, size), jnp.nan)
    return jnp.where(b == 0, 1.0, jnp.where(a < 0, signed, size))


class Program:
    """``program(x)``: x [rows, ...] -> [roots, ...]; the axes behind the first are a batch. Not differentiable by itself.

    ``program(x, known)``: with the values of some nodes, which are then not computed again.
    """

    def __init__(self, graph: Graph, roots: Sequence[int], rows: int):
        self.graph, self.roots, self.rows = graph, tuple(roots), rows
        self.order = graph.below(roots)
        self._tape: _Tape | None = None

    def __call__(self, x: jax.Array, known: Mapping[int, jax.Array] | None = None) -> jax.Array:
        if not self.roots:
            return jnp.zeros((0, *x.shape[1:]), x.dtype)
        return self.line_by_line(x, known or {}) if x.ndim == 2 and x.shape[1] >= MANY else self.tape(x)

    def line_by_line(self, x: jax.Array, known: Mapping[int, jax.Array]) -> jax.Array:
        nodes, found, cost = self.graph.nodes, dict(known), dict.fromkeys(known, 0)
        order = [node for node in self.graph.below(self.roots, frozenset(known)) if node not in known]
        uses = collections.Counter(a for node in order if nodes[node][0] not in _LEAVES for a in nodes[node][1])
        one = jnp.where(x[0] == x[0], jnp.ones_like(x[0]), x[0])  # not known to be one before it runs
        for node in order:
            op, args = nodes[node]
            cost[node] = 0
            if op == "input":
                found[node] = x[args[0]]
            elif op == "const":
                found[node] = jnp.asarray(args[0], x.dtype)
            else:
                found[node] = (power if op == "pow" else _DO[op])(*[found[a] for a in args])
                if op not in _KEPT:
                    cost[node] = 1 + sum(cost[a] for a in args)
                    if cost[node] * (uses[node] - 1) > KEEP:
                        found[node], cost[node] = found[node] / one, 0
        return jnp.stack([jnp.broadcast_to(found[root], x.shape[1:]) for root in self.roots])

    def tape(self, x: jax.Array) -> jax.Array:
        if self._tape is None:
            self._tape = _Tape(self.graph, self.roots, self.rows)
        return self._tape(x)


class SparseRows:
    """A matrix of derivatives: a program for the entries that are not zero, and where each of them stands."""

    def __init__(self, graph: Graph, rows: Sequence[dict[int, int]], columns: Sequence[int], inputs: int):
        wanted = {row: k for k, row in enumerate(columns)}
        entries, places = [], []
        for i, row in enumerate(rows):
            for node, part in row.items():
                column = wanted.get(graph.nodes[node][1][0])
                if column is not None:
                    entries.append(part)
                    places.append((i, column))
        self.shape = (len(rows), len(columns))
        self.row, self.column = np.array(places, int).reshape(-1, 2).T
        self.program = Program(graph, entries, inputs)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Row and column of every entry."""
        return list(zip(self.row.tolist(), self.column.tolist(), strict=True))

    def dense(self, values: jax.Array, columns: slice = slice(None)) -> jax.Array:
        """The entries [entries, ...] set into the matrix [rows, columns, ...]."""
        where = np.full(self.shape, len(self.row))
        where[self.row, self.column] = np.arange(len(self.row))
        where = where[:, columns]
        padded = jnp.concatenate([values, jnp.zeros((1, *values.shape[1:]), values.dtype)])
        return padded.at[where.reshape(-1)].get(mode="promise_in_bounds").reshape(*where.shape, *values.shape[1:])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.dense(self.program(x))


class _Tape:
    def __init__(self, graph: Graph, roots: Sequence[int], rows: int):
        ops = _with_products_added(graph, roots)
        users: dict[int, list[int]] = {}
        waits = {}
        for node, (_, args) in ops.items():
            below = {a for a in args if a in ops}
            waits[node] = len(below)
            for a in below:
                users.setdefault(a, []).append(node)
        height: dict[int, int] = {}  # how many lines must follow
        for node in sorted(ops, reverse=True):
            height[node] = 1 + max((height[user] for user in users.get(node, ())), default=0)
        ready: dict[str, list[int]] = {}
        for node in ops:
            if not waits[node]:
                ready.setdefault(ops[node][0], []).append(node)
        leaves = {a for _, args in ops.values() for a in args} | set(roots)
        constants = sorted(n for n in leaves if graph.nodes[n][0] == "const")
        self.constants = np.array([graph.value(n) for n in constants], float)
        place = {n: graph.nodes[n][1][0] for n in leaves if graph.nodes[n][0] == "input"}
        place.update({n: rows + k for k, n in enumerate(constants)})
        self.first = rows + len(constants)
        self.kinds: list[str] = []
        kind, index = [], []
        while any(ready.values()):
            op = max((o for o in ready if ready[o]), key=lambda o: (max(height[n] for n in ready[o]), len(ready[o])))
            chosen = sorted(ready[op], key=lambda n: (-height[n], n))[:WIDTH]
            ready[op] = sorted(set(ready[op]) - set(chosen))
            line = np.zeros((3, WIDTH), np.int32)
            # Idle lanes repeat the first: they compute nothing that could trap.
            for lane in range(WIDTH):
                node = chosen[lane] if lane < len(chosen) else chosen[0]
                line[: len(ops[node][1]), lane] = [place[a] for a in ops[node][1]]
            for lane, node in enumerate(chosen):
                place[node] = self.first + len(kind) * WIDTH + lane
            if op not in self.kinds:
                self.kinds.append(op)
            kind.append(self.kinds.index(op))
            index.append(line)
            for user in (u for node in chosen for u in users.get(node, ())):
                waits[user] -= 1
                if not waits[user]:
                    ready.setdefault(ops[user][0], []).append(user)
        self.kind, self.index = np.array(kind, np.int32), np.array(index, np.int32).reshape(-1, 3, WIDTH)
        self.final = np.array([place[root] for root in roots], np.int32)
        self.arguments = {op: len(args) for op, args in ops.values()}

    def __call__(self, x: jax.Array) -> jax.Array:
        wide, lines = (slice(None),) + (None,) * (x.ndim - 1), len(self.kind)
        constants = jnp.broadcast_to(jnp.asarray(self.constants, x.dtype)[wide], (len(self.constants), *x.shape[1:]))
        buffer = jnp.concatenate([x, constants, jnp.zeros((lines * WIDTH, *x.shape[1:]), x.dtype)])
        kind, index = jnp.asarray(self.kind), jnp.asarray(self.index)

        def branch(op):
            def run(buffer, line):
                taken = [buffer.at[line[k]].get(mode="promise_in_bounds") for k in range(self.arguments[op])]
                return _DO[op](*taken)

            return run

        branches = [branch(op) for op in self.kinds]

        def body(i, buffer):
            line = jax.lax.switch(kind[i], branches, buffer, index[i])
            return jax.lax.dynamic_update_slice_in_dim(buffer, line, self.first + i * WIDTH, 0)

        if lines:
            buffer = jax.lax.fori_loop(0, lines, body, buffer)
        return buffer.at[self.final].get(mode="promise_in_bounds")


def _with_products_added(graph: Graph, roots: Sequence[int]) -> dict[int, tuple[str, tuple[int, ...]]]:
    """The operations by node; sums, products, differences and signs as a * b + c, a product that is only added joins the sum."""
    zero, one, minus = graph.const(0), graph.const(1), graph.const(-1)
    ops: dict[int, tuple[str, tuple[int, ...]]] = {}
    for node in graph.below(roots):
        op, args = graph.nodes[node]
        if op == "add":
            ops[node] = "fma", (args[0], one, args[1])
        elif op == "sub":
            ops[node] = "fma", (args[1], minus, args[0])
        elif op == "mul":
            ops[node] = "fma", (*args, zero)
        elif op == "neg":
            ops[node] = "fma", (args[0], minus, zero)
        elif op not in _LEAVES:
            ops[node] = op, args
    uses: dict[int, int] = dict.fromkeys(roots, 1)
    for _, args in ops.values():
        for a in args:
            uses[a] = uses.get(a, 0) + 1
    for node in list(ops):
        op, args = graph.nodes[node]
        if op == "add":
            for product, other in (args, args[::-1]):
                if product in ops and graph.nodes[product][0] == "mul" and uses[product] == 1:
                    ops[node] = "fma", (*ops.pop(product)[1][:2], other)
                    break
    return ops
