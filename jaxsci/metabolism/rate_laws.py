r"""Rate laws as one graph of elementary operations: simplified as it is built, equal terms kept once, differentiated by symbol.

A node is a whole number. Its operation and arguments stand in `Graph.nodes`; arguments come before the node, so that the order
of the numbers is an order of evaluation. Truth values are the numbers 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# What an operation does to Python numbers: constants are folded where the graph is built.
_FOLD = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "neg": lambda a: -a,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "abs": abs,
    "sign": lambda a: float((a > 0) - (a < 0)),
    "floor": lambda a: float(math.floor(a)),
    "ceil": lambda a: float(math.ceil(a)),
    "min": min,
    "max": max,
    "lt": lambda a, b: float(a < b),
    "le": lambda a, b: float(a <= b),
    "eq": lambda a, b: float(a == b),
    "and": lambda a, b: float(a > 0.5 and b > 0.5),
    "or": lambda a, b: float(a > 0.5 or b > 0.5),
    "not": lambda a: float(a <= 0.5),
    "where": lambda c, a, b: a if c > 0.5 else b,
    "safelog": lambda a: math.log(a) if a > 0 else 0.0,
}
_COMMUTES = frozenset(("add", "mul", "min", "max", "and", "or", "eq"))
OPERATIONS = frozenset(_FOLD)


class Graph:
    """Nodes ``(operation, arguments)``; a constant is ``("const", value)``, an input ``("input", row)``."""

    def __init__(self):
        self.nodes: list[tuple[str, tuple]] = []
        self._known: dict[tuple, int] = {}

    def _node(self, op: str, args: tuple) -> int:
        # -0.0 == 0.0 and 1 == True as keys: harmless, they are equal numbers here too.
        key = (op, args)
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(key)
        return self._known[key]

    def const(self, value: float) -> int:
        return self._node("const", (float(value),))

    def input(self, row: int) -> int:
        return self._node("input", (row,))

    def value(self, node: int) -> float | None:
        """The number that a constant is; None for anything else."""
        op, args = self.nodes[node]
        return args[0] if op == "const" else None

    def apply(self, op: str, *args: int) -> int:
        """The node of an operation on nodes, simplified."""
        values = [self.value(a) for a in args]
        known = [v for v in values if v is not None]
        if len(known) == len(values):
            try:
                folded = _FOLD[op](*known)
            except (ArithmeticError, ValueError):
                folded = math.nan
            if isinstance(folded, float | int) and math.isfinite(folded):
                return self.const(folded)
        simple = self._simplified(op, args, values)
        if simple is not None:
            return simple
        if op in _COMMUTES:
            args = tuple(sorted(args))
        return self._node(op, args)

    def _simplified(self, op: str, args: tuple[int, ...], values: list[float | None]) -> int | None:
        a, va = args[0], values[0]
        b, vb = (args[1], values[1]) if len(args) > 1 else (a, None)
        if op == "add":
            if va == 0:
                return b
            if vb == 0:
                return a
            for one, other in ((a, b), (b, a)):  # x + (-y) = x - y
                if self.nodes[other][0] == "neg":
                    return self.apply("sub", one, self.nodes[other][1][0])
        elif op == "sub":
            if vb == 0:
                return a
            if va == 0:
                return self.apply("neg", b)
            if a == b:
                return self.const(0)
            if self.nodes[b][0] == "neg":
                return self.apply("add", a, self.nodes[b][1][0])
        elif op == "mul":
            if va == 0 or vb == 0:
                return self.const(0)
            for one, v, other in ((a, vb, b), (b, va, a)):
                if v == 1:
                    return one
                if v == -1:
                    return self.apply("neg", one)
                if self.nodes[other][0] == "neg":
                    return self.apply("neg", self.apply("mul", one, self.nodes[other][1][0]))
        elif op == "div":
            if va == 0:
                return self.const(0)
            if vb == 1:
                return a
            if vb is not None and vb != 0:
                return self.apply("mul", a, self.const(1 / vb))
            if va != 1:  # one reciprocal for all that is divided by the same
                return self.apply("mul", a, self.apply("div", self.const(1), b))
        elif op == "neg" and self.nodes[a][0] == "neg":
            return self.nodes[a][1][0]
        elif op == "pow":
            return self._power(a, va, b, vb)
        elif op == "where":
            if va is not None:
                return args[1] if va > 0.5 else args[2]
            if args[1] == args[2]:
                return args[1]
        return None

    def _power(self, a: int, va: float | None, b: int, vb: float | None) -> int | None:
        if vb == 0:
            return self.const(1)
        if vb == 1:
            return a
        if vb == 0.5:
            return self.apply("sqrt", a)
        if vb is not None and vb == round(vb) and abs(vb) <= 32:  # products: cheaper, and exact for a negative base
            whole, result, square = abs(int(vb)), self.const(1), a
            while whole:
                if whole & 1:
                    result = self.apply("mul", result, square)  # 1 times the first one is that one
                whole >>= 1
                if whole:
                    square = self.apply("mul", square, square)
            return result if vb > 0 else self.apply("div", self.const(1), result)
        if va is not None and va > 0:
            return self.apply("exp", self.apply("mul", b, self.const(math.log(va))))
        return None

    def sum(self, terms: Sequence[int]) -> int:
        """A balanced tree of sums: its depth is the logarithm of their number."""
        terms = list(terms) or [self.const(0)]
        while len(terms) > 1:
            pairs = [self.apply("add", a, b) for a, b in zip(terms[::2], terms[1::2], strict=False)]
            terms = pairs + terms[len(pairs) * 2 :]
        return terms[0]

    def product(self, factors: Sequence[int]) -> int:
        """A balanced tree of products."""
        factors = list(factors) or [self.const(1)]
        while len(factors) > 1:
            pairs = [self.apply("mul", a, b) for a, b in zip(factors[::2], factors[1::2], strict=False)]
            factors = pairs + factors[len(pairs) * 2 :]
        return factors[0]

    def below(self, roots: Iterable[int], stop: frozenset[int] = frozenset()) -> list[int]:
        """All that the roots are made of, in an order of evaluation; not what lies below `stop`."""
        seen, todo = set(), list(roots)
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            op, args = self.nodes[node]
            if op not in ("const", "input") and node not in stop:
                todo.extend(args)
        return sorted(seen)

    def gradient(self, root: int, stop: frozenset[int] = frozenset()) -> dict[int, int]:
        """Derivatives by the inputs, and by the nodes of `stop` (which are not looked into), that the root depends on.

        Reverse accumulation: every node of the root is passed once, so the derivatives cost a small multiple of the root.
        """
        order = self.below([root], stop)
        terms: dict[int, list[int]] = {root: [self.const(1)]}
        found: dict[int, int] = {}
        for node in reversed(order):
            if node not in terms:
                continue
            outer = self.sum(terms.pop(node))
            op, args = self.nodes[node]
            if op == "input" or node in stop:
                found[node] = outer
            elif op != "const" and self.value(outer) != 0:
                for arg, part in self._partials(node, op, args, outer):
                    terms.setdefault(arg, []).append(part)
        return {node: part for node, part in found.items() if self.value(part) != 0}

    def _partials(self, node: int, op: str, args: tuple[int, ...], outer: int) -> list[tuple[int, int]]:
        """`outer` times the derivative of the node by each argument that it has a derivative by."""
        do, const = self.apply, self.const
        a = args[0]
        b = args[1] if len(args) > 1 else a
        if op == "add":
            return [(a, outer), (b, outer)]
        if op == "sub":
            return [(a, outer), (b, do("neg", outer))]
        if op == "mul":
            return [(a, do("mul", outer, b)), (b, do("mul", outer, a))]
        if op == "div":
            part = do("div", outer, b)
            return [(a, part), (b, do("neg", do("mul", part, node)))]
        if op == "neg":
            return [(a, do("neg", outer))]
        if op == "pow":
            slope = do("mul", b, do("pow", a, do("sub", b, const(1))))
            return [(a, do("mul", outer, slope)), (b, do("mul", outer, do("mul", node, do("safelog", a))))]
        if op in ("exp", "sqrt"):
            return [(a, do("mul", outer, node) if op == "exp" else do("div", do("mul", const(0.5), outer), node))]
        if op in ("log", "safelog"):
            return [(a, do("div", outer, a))]
        if op == "where":
            zero = const(0)
            return [(args[1], do("where", a, outer, zero)), (args[2], do("where", a, zero, outer))]
        if op in ("min", "max"):
            first = do("le", a, b) if op == "min" else do("le", b, a)
            return [(a, do("where", first, outer, const(0))), (b, do("where", first, const(0), outer))]
        if op == "abs":
            return [(a, do("mul", outer, do("sign", a)))]
        slope = self._slope(op, a, node)
        return [] if slope is None else [(a, do("mul", outer, slope))]

    def _slope(self, op: str, a: int, node: int) -> int | None:
        """Of the trigonometric and hyperbolic functions; None for what is constant in pieces."""
        do, one = self.apply, self.const(1)
        square = lambda x: do("mul", x, x)  # noqa: E731
        if op == "sin":
            return do("cos", a)
        if op == "cos":
            return do("neg", do("sin", a))
        if op == "tan":
            return do("add", one, square(node))
        if op in ("asin", "acos"):
            slope = do("div", one, do("sqrt", do("sub", one, square(a))))
            return slope if op == "asin" else do("neg", slope)
        if op == "atan":
            return do("div", one, do("add", one, square(a)))
        if op == "sinh":
            return do("cosh", a)
        if op == "cosh":
            return do("sinh", a)
        if op == "tanh":
            return do("sub", one, square(node))
        return None

    def jacobian(self, roots: Sequence[int], cuts: Iterable[int] = ()) -> list[dict[int, int]]:
        """For every root its derivatives by the inputs it depends on; `cuts` (rates) are differentiated once for all roots."""
        cuts = frozenset(c for c in cuts if self.nodes[c][0] not in ("const", "input"))
        inner = {cut: self.gradient(cut) for cut in cuts}
        rows = []
        for root in roots:
            terms: dict[int, list[int]] = {}
            for node, part in self.gradient(root, cuts).items():
                if node in cuts:
                    for below, slope in inner[node].items():
                        terms.setdefault(below, []).append(self.apply("mul", part, slope))
                else:
                    terms.setdefault(node, []).append(part)
            rows.append({node: self.sum(parts) for node, parts in sorted(terms.items())})
        return rows
