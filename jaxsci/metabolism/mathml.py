r"""MathML, as libsbml parses it, into the graph of a model's operations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxsci._checks import unknown_name
from jaxsci.metabolism.rate_laws import Graph

AVOGADRO = 6.02214179e23  # the value that SBML Level 3 Version 1 fixes

_ONE = {
    "exp": "exp",
    "ln": "log",
    "abs": "abs",
    "floor": "floor",
    "ceiling": "ceil",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "not": "not",
}
# 1 over a function, and the inverse functions of 1 over the argument.
_RECIPROCAL = {"sec": "cos", "csc": "sin", "cot": "tan", "sech": "cosh", "csch": "sinh", "coth": "tanh"}
_OF_RECIPROCAL = {"arcsec": "acos", "arccsc": "asin", "arccot": "atan"}


class Translator:
    """Turns trees into nodes of one graph.

    Args:
      graph: where the nodes go.
      resolve: the node that an identifier stands for; None where there is none.
      time: the node of the time.
      functions: function definitions by identifier.
      relation: makes the node of an inequality a > b (``strict``) or a >= b, so that a model may turn it into a switch.
    """

    def __init__(
        self,
        graph: Graph,
        resolve: Callable[[str], int | None],
        time: int,
        functions: Mapping[str, Any],
        known: Callable[[], list[str]],
        relation: Callable[[int, int, bool], int],
    ):
        self.graph, self.resolve, self.time = graph, resolve, time
        self.functions, self.known, self.relation = functions, known, relation

    def __call__(self, tree: Any, where: str, local: Mapping[str, int] | None = None) -> int:
        """The node of a tree; `where` names the element it belongs to, `local` the parameters that only it sees.

        Raises:
          ValueError: an identifier that nothing defines, an operator that is not supported, a wrong number of arguments.
        """
        if tree is None:
            raise ValueError(f"{where} has no mathematics: its <math> element is missing or could not be read.")
        return self._node(tree, where, dict(local or {}), ())

    def _node(self, tree: Any, where: str, local: dict[str, int], inside: tuple[str, ...]) -> int:
        import libsbml as sbml

        graph, kind = self.graph, tree.getType()
        if kind == sbml.AST_NAME_TIME:
            return self.time
        if kind == sbml.AST_NAME_AVOGADRO:
            return graph.const(AVOGADRO)
        if tree.isConstant():
            values = {sbml.AST_CONSTANT_E: math.e, sbml.AST_CONSTANT_PI: math.pi, sbml.AST_CONSTANT_TRUE: 1.0}
            return graph.const(values.get(kind, 0.0))
        if tree.isNumber():
            return graph.const(tree.getValue())
        if kind in (sbml.AST_FUNCTION_DELAY, sbml.AST_FUNCTION_RATE_OF):
            name = "delay" if kind == sbml.AST_FUNCTION_DELAY else "rateOf"
            raise ValueError(
                f"{where} uses {name}(...), which is not supported: a vector field knows the present state only."
            )
        if kind == sbml.AST_NAME:
            return self._symbol(tree.getName(), where, local)
        children = [tree.getChild(i) for i in range(tree.getNumChildren())]
        if kind == sbml.AST_FUNCTION:
            return self._call(tree.getName(), children, where, local, inside)
        args = [self._node(child, where, local, inside) for child in children]
        name = sbml.formulaToL3String(tree) if kind == sbml.AST_UNKNOWN else _operator(sbml, tree)
        return self._apply(name, args, where)

    def _symbol(self, name: str, where: str, local: dict[str, int]) -> int:
        node = local.get(name)
        node = self.resolve(name) if node is None else node
        if node is None:
            raise ValueError(f"{where}: " + unknown_name("the identifier", name, [*local, *self.known()]))
        return node

    def _call(self, name: str, children: list, where: str, local: dict[str, int], inside: tuple[str, ...]) -> int:
        if name not in self.functions:
            raise ValueError(f"{where}: " + unknown_name("the function", name, self.functions))
        if name in inside:
            raise ValueError(f"The function definition {name!r} calls itself, which SBML forbids.")
        body = self.functions[name]
        arguments = [body.getChild(i).getName() for i in range(body.getNumChildren() - 1)]
        if len(arguments) != len(children):
            raise ValueError(f"{where}: the function {name!r} takes {len(arguments)} arguments, got {len(children)}.")
        values = [self._node(child, where, local, inside) for child in children]
        inner = dict(zip(arguments, values, strict=True))
        return self._node(body.getChild(len(arguments)), f"{where}, function {name!r}", inner, (*inside, name))

    def _apply(self, name: str, args: list[int], where: str) -> int:
        graph, do = self.graph, self.graph.apply
        if name in ("plus", "times"):
            return graph.sum(args) if name == "plus" else (graph.product(args) if args else graph.const(1))
        if name == "minus" and len(args) in (1, 2):
            return do("neg", *args) if len(args) == 1 else do("sub", *args)
        if name == "divide" and len(args) == 2:
            return do("div", *args)
        if name == "power" and len(args) == 2:
            return do("pow", *args)
        if name == "root" and len(args) in (1, 2):
            degree, base = (graph.const(2), args[0]) if len(args) == 1 else args
            return do("pow", base, do("div", graph.const(1), degree))
        if name == "log" and len(args) in (1, 2):
            base, x = (graph.const(10), args[0]) if len(args) == 1 else args
            return do("div", do("log", x), do("log", base))
        if name in _ONE and len(args) == 1:
            return do(_ONE[name], *args)
        if name in _RECIPROCAL and len(args) == 1:
            return do("div", graph.const(1), do(_RECIPROCAL[name], *args))
        if name in _OF_RECIPROCAL and len(args) == 1:
            return do(_OF_RECIPROCAL[name], do("div", graph.const(1), *args))
        if name in ("min", "max", "and", "or") and args:
            return _folded(graph, name, args)
        if name in ("and", "or"):
            return graph.const(float(name == "and"))
        if name == "xor":
            return _folded(graph, "xor", args) if args else graph.const(0)
        if name in ("gt", "geq", "lt", "leq", "eq") and len(args) >= 2:
            return _folded(graph, "and", [self._compare(name, a, b) for a, b in itertools.pairwise(args)])
        if name == "neq" and len(args) == 2:
            return do("not", do("eq", *args))
        if name == "implies" and len(args) == 2:
            return do("or", do("not", args[0]), args[1])
        if name == "piecewise" and args:
            result = args[-1] if len(args) % 2 else graph.const(math.nan)
            for k in range(len(args) // 2 - 1, -1, -1):
                result = do("where", args[2 * k + 1], args[2 * k], result)
            return result
        if name == "quotient" and len(args) == 2:
            return self._truncated(do("div", *args))
        if name == "rem" and len(args) == 2:
            return do("sub", args[0], do("mul", args[1], self._truncated(do("div", *args))))
        if name == "factorial" and len(args) == 1 and (value := graph.value(args[0])) is not None:
            return graph.const(math.gamma(value + 1))
        raise ValueError(f"{where} uses the MathML operator {name!r} with {len(args)} arguments, which is not supported.")

    def _truncated(self, x: int) -> int:
        do = self.graph.apply
        return do("mul", do("sign", x), do("floor", do("abs", x)))

    def _compare(self, name: str, a: int, b: int) -> int:
        if name == "eq":
            return self.graph.apply("eq", a, b)
        if name in ("lt", "leq"):
            a, b = b, a
        return self.relation(a, b, name in ("gt", "lt"))


def _folded(graph: Graph, name: str, args: list[int]) -> int:
    result = args[0]
    for other in args[1:]:
        result = graph.apply("not", graph.apply("eq", result, other)) if name == "xor" else graph.apply(name, result, other)
    return result


def _operator(sbml: Any, tree: Any) -> str:
    """The MathML name of an operator: libsbml's number for it, spelled."""
    special = {
        sbml.AST_PLUS: "plus",
        sbml.AST_MINUS: "minus",
        sbml.AST_TIMES: "times",
        sbml.AST_DIVIDE: "divide",
        sbml.AST_POWER: "power",
    }
    kind = tree.getType()
    if kind in special:
        return special[kind]
    for prefix in ("AST_FUNCTION_", "AST_LOGICAL_", "AST_RELATIONAL_"):
        for name in dir(sbml):
            if name.startswith(prefix) and getattr(sbml, name) == kind:
                return name[len(prefix) :].lower()
    return f"number {kind}"
