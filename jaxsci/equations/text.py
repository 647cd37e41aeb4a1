"""Formulas written as text, for files and command lines: parsed, never executed."""

from __future__ import annotations

import ast
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from jaxsci._checks import listed, unknown_name
from jaxsci.equations.expression import absolute, arctan, cos, cosh, erf, exp, log, sin, sinh, sqrt, tan, tanh

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "abs": absolute, "arctan": arctan, "cos": cos, "cosh": cosh, "erf": erf, "exp": exp, "log": log, "sin": sin, "sinh": sinh,
    "sqrt": sqrt, "tan": tan, "tanh": tanh,
}  # fmt: skip
CONSTANTS = {"pi": math.pi}
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


def function_of_text(text: str | Sequence[str]) -> Callable[..., Any]:
    """A formula, or several, as a function of the names in it: what `Equation`, and the conditions of a problem, are given.

    Numbers, names, ``+ - * / **``, parentheses, derivatives as ``u.xx`` and ``(u * v).x``, and the functions abs, arctan, cos,
    cosh, erf, exp, log, sin, sinh, sqrt, tan, tanh; pi is the number. ``lhs = rhs`` is ``lhs - (rhs)``.

    Args:
      text: one formula, or a sequence of them, for which the function returns a tuple.
    Raises:
      ValueError: the text is no formula; the message shows the place.
    Example:
      >>> from jaxsci.equations import Equation, function_of_text
      >>> Equation(function_of_text("u.t + u * u.x = nu * u.xx"))
      u_t + u*u_x - nu*u_xx = 0
    """
    texts = (text,) if isinstance(text, str) else tuple(text)
    trees = [_parsed(one) for one in texts]
    names = sorted({n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)} - {*FUNCTIONS, *CONSTANTS})

    def function(*values: Any, **named: Any) -> Any:
        given = inspect.Signature(parameters).bind(*values, **named).arguments
        found = tuple(_value(tree, given) for tree in trees)
        return found[0] if isinstance(text, str) else found

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    function.__signature__ = inspect.Signature(parameters)  # ty: ignore[missing-attribute]
    function.__name__ = "<lambda>"
    return function


def _parsed(text: Any) -> ast.expr:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"A formula is text such as 'u.t - nu * u.xx', got {text!r}.")
    sides = text.split("=")
    if len(sides) > 2:
        raise ValueError(f"The formula {text!r} has more than one equals sign; give a system as a list of formulas.")
    joined = sides[0] if len(sides) == 1 else f"({sides[0]}) - ({sides[1]})"
    try:
        tree = ast.parse(joined.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"The formula {text!r} cannot be read: {getattr(error, 'msg', error)}.") from None
    _check(tree, text)
    return tree


def _check(node: ast.AST, text: str) -> None:
    """Only what a formula is made of."""
    if isinstance(node, ast.Constant):
        ok = isinstance(node.value, int | float) and not isinstance(node.value, bool) and math.isfinite(node.value)
        if not ok:
            raise ValueError(f"The formula {text!r} holds {node.value!r}, which is no finite number.")
        return
    if isinstance(node, ast.Name):
        if node.id in FUNCTIONS:
            raise ValueError(f"The formula {text!r} uses the function {node.id} without an argument: {node.id}(x).")
        return
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        _check(node.left, text)
        _check(node.right, text)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        _check(node.operand, text)
    elif isinstance(node, ast.Attribute):
        if not node.attr.isalnum():
            raise ValueError(f"The formula {text!r} has a derivative .{node.attr}; they are written as u.t or u.xx.")
        _check(node.value, text)
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            called = ast.unparse(node.func)
            raise ValueError(f"The formula {text!r}: {unknown_name('function', called, FUNCTIONS)}")
        if len(node.args) != 1 or node.keywords:
            raise ValueError(f"The formula {text!r}: {node.func.id} takes one argument.")
        _check(node.args[0], text)
    else:
        hint = " Powers are written **." if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor) else ""
        raise ValueError(
            f"The formula {text!r} holds {ast.unparse(node)!r}; a formula is made of numbers, names, + - * / **, derivatives "
            f"as u.xx and {listed(FUNCTIONS)}.{hint}"
        )


def _value(node: ast.expr, given: dict[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return CONSTANTS[node.id] if node.id in CONSTANTS else given[node.id]
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, given), _value(node.right, given))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, given))
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, given), node.attr)
    assert isinstance(node, ast.Call)  # `_check` let nothing else through
    assert isinstance(node.func, ast.Name)
    return FUNCTIONS[node.func.id](_value(node.args[0], given))
