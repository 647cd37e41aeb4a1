"""Taylor arithmetic: every partial derivative that is asked for, in one forward pass.

A *stream* is a quantity together with the partial derivatives of it that are wanted, stored as
``{multi-index: array}``; an absent entry is an exact zero.  `propagate` reads the jaxpr of a function and
carries streams through it: linear operations act on each entry alone, products follow Leibniz, elementwise
functions follow Faa di Bruno.  Compared with nesting `jax.grad` or `jax.jvp` per derivative, nothing is computed twice
(``u_xx`` yields ``u`` and ``u_x`` on the way), and the program that XLA compiles is a flat one.

The rules cover the operations that networks, ansatz functions and interpolants are made of.  An operation without a
rule raises `NoRule`, and the caller falls back on nested `jax.jvp`: slower, never wrong.

Reference: Griewank & Walther (2008), *Evaluating Derivatives*, ch. 13; Constantine & Savits (1996) for the
multivariate Faa di Bruno formula.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

MultiIndex = tuple[int, ...]  # how often to differentiate along each coordinate
Stream = dict[MultiIndex, Any]  # the value (all zeros) and the derivatives carried with it


class NoRule(Exception):
    """The function contains an operation that has no Taylor rule here."""


# --- multi-indices -------------------------------------------------------------------------------------------------


def lower_set(wanted: Sequence[MultiIndex]) -> tuple[MultiIndex, ...]:
    """All multi-indices below a wanted one, lowest order first: what Leibniz and Faa di Bruno need on the way."""
    below = {low for index in wanted for low in itertools.product(*(range(n + 1) for n in index))}
    return tuple(sorted(below, key=lambda index: (sum(index), index)))


@functools.cache
def _leibniz(index: MultiIndex) -> tuple[tuple[int, MultiIndex, MultiIndex], ...]:
    """The terms (binomial, beta, alpha - beta) of the derivative `index` of a product."""
    return tuple(
        (
            math.prod(math.comb(n, k) for n, k in zip(index, low, strict=True)),
            low,
            tuple(n - k for n, k in zip(index, low, strict=True)),
        )
        for low in itertools.product(*(range(n + 1) for n in index))
    )


def _set_partitions(items: list[int]):
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for partition in _set_partitions(rest):
        yield [[first], *partition]
        for i, block in enumerate(partition):
            yield [*partition[:i], [first, *block], *partition[i + 1 :]]


@functools.cache
def _faa_di_bruno(index: MultiIndex) -> tuple[tuple[int, tuple[MultiIndex, ...]], ...]:
    """The terms (count, blocks) of the derivative `index` of f(u): count f^(len(blocks)) prod_b u_b."""
    slots = [axis for axis, n in enumerate(index) for _ in range(n)]
    counts: Counter[tuple[MultiIndex, ...]] = Counter()
    for partition in _set_partitions(list(range(len(slots)))):
        blocks = []
        for block in partition:
            orders = [0] * len(index)
            for slot in block:
                orders[slots[slot]] += 1
            blocks.append(tuple(orders))
        counts[tuple(sorted(blocks))] += 1
    return tuple((count, blocks) for blocks, count in sorted(counts.items()))


# --- elementwise functions: the derivatives f, f', f'', ... at the value ---------------------------------------------


def _polynomial_in_value(value_function, slope: Sequence[float]):
    """Derivatives of a function with f' = slope(f), a polynomial: tanh' = 1 - tanh^2, exp' = exp, ..."""

    def derivatives(u, order, **_):
        y = value_function(u)
        polynomial, out = np.polynomial.Polynomial([0.0, 1.0]), [y]
        for _ in range(order):
            polynomial = polynomial.deriv() * np.polynomial.Polynomial(slope)
            out.append(functools.reduce(lambda acc, c: acc * y + float(c), polynomial.coef[::-1], jnp.zeros_like(y)))
        return out

    return derivatives


def _tanh_derivatives(u, order, **_):
    y = jnp.tanh(u)
    out = [y]
    if order >= 1:
        out.append(1.0 - y * y)
    if order >= 2:
        out.append(-2.0 * y * out[1])
    if order >= 3:
        out.append(out[1] * (6.0 * y * y - 2.0))
    if order >= 4:
        out.append(out[2] * (12.0 * y * y - 8.0))
    if order >= 5:
        out += _polynomial_in_value(jnp.tanh, [1.0, 0.0, -1.0])(u, order)[5:]
    return out


def _sin_derivatives(u, order, **_):
    s, c = jnp.sin(u), jnp.cos(u)
    return [(s, c, -s, -c)[k % 4] for k in range(order + 1)]


def _cos_derivatives(u, order, **_):
    s, c = jnp.sin(u), jnp.cos(u)
    return [(c, -s, -c, s)[k % 4] for k in range(order + 1)]


def _exp_derivatives(u, order, **_):
    return [jnp.exp(u)] * (order + 1)


def _log_derivatives(u, order, **_):
    r = 1.0 / u
    return [jnp.log(u)] + [(-1.0) ** (k - 1) * math.factorial(k - 1) * r**k for k in range(1, order + 1)]


def _power_derivatives(u, order, *, y, **_):
    """u^y for a constant exponent y (0^0 = 1, so that polynomials are right at zero)."""
    out, factor = [], 1.0
    for k in range(order + 1):
        if factor == 0.0:
            out.append(jnp.zeros_like(u))
        else:
            exponent = y - k
            power = u**exponent if isinstance(y, int) else jnp.power(u, exponent)
            out.append(factor * power)
        factor *= y - k
    return out


def _abs_derivatives(u, order, **_):
    return [jnp.abs(u), jnp.sign(u)][: order + 1] + [jnp.zeros_like(u)] * (order - 1)


def _by_jvp(primitive):
    """Derivatives of any other elementwise operation, by differentiating that one operation alone."""

    def derivatives(u, order, **parameters):
        def push(f):
            return lambda v: jax.jvp(f, (v,), (jnp.ones_like(v),))[1]

        functions = [functools.partial(primitive.bind, **parameters)]
        for _ in range(order):
            functions.append(push(functions[-1]))
        return [f(u) for f in functions]

    return derivatives


_ELEMENTWISE: dict[str, Callable] = {
    "tanh": _tanh_derivatives,
    "sin": _sin_derivatives,
    "cos": _cos_derivatives,
    "exp": _exp_derivatives,
    "log": _log_derivatives,
    "logistic": _polynomial_in_value(jax.nn.sigmoid, [0.0, 1.0, -1.0]),
    "integer_pow": _power_derivatives,
    "square": functools.partial(_power_derivatives, y=2),
    "sqrt": functools.partial(_power_derivatives, y=0.5),
    "rsqrt": functools.partial(_power_derivatives, y=-0.5),
    "abs": _abs_derivatives,
}
_ELEMENTWISE_BY_JVP = {
    *("tan", "sinh", "cosh", "asin", "acos", "atan", "asinh", "acosh", "atanh"),
    *("erf", "erfc", "erf_inv", "expm1", "log1p", "exp2", "cbrt", "lgamma", "digamma"),
}
# Linear in every operand together: each derivative passes through alone, and absent operands count as zero.
_LINEAR = {
    *("add", "add_any", "sub", "neg", "real", "imag", "complex", "conj", "copy", "copy_p"),
    *("reshape", "broadcast_in_dim", "transpose", "squeeze", "expand_dims", "slice", "rev", "stack", "concatenate"),
    *("reduce_sum", "cumsum", "convert_element_type", "reduce_precision"),
}
# Linear in the first operand; the others (indices, padding) carry no derivatives.
_LINEAR_IN_FIRST = {"gather", "dynamic_slice", "pad"}
_BILINEAR = {"mul", "dot_general"}
_PIECEWISE_CONSTANT = {
    *("floor", "ceil", "round", "sign", "stop_gradient", "argmax", "argmin", "iota"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "is_finite"),
}
_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_lin"}


def _compose(derivatives, stream: Stream, indices, **parameters) -> Stream:
    """f(u) for an elementwise f, given the list of its derivatives at the value."""
    value, zero = stream[indices[0]], indices[0]
    carried = [index for index in stream if index != zero]
    if not carried:
        return {zero: derivatives(value, 0, **parameters)[0]}
    terms = {
        index: [(n, blocks) for n, blocks in _faa_di_bruno(index) if all(block in stream for block in blocks)]
        for index in indices[1:]
    }
    order = max((len(blocks) for entries in terms.values() for _, blocks in entries), default=0)
    f = derivatives(value, order, **parameters)
    out = {zero: f[0]}
    for index, entries in terms.items():
        # Group by the order of f', so that each f^(k) is multiplied once.
        by_order: dict[int, Any] = {}
        for count, blocks in entries:
            product = functools.reduce(jnp.multiply, (stream[block] for block in blocks))
            product = product if count == 1 else count * product
            by_order[len(blocks)] = by_order[len(blocks)] + product if len(blocks) in by_order else product
        if by_order:
            out[index] = functools.reduce(jnp.add, (f[k] * product for k, product in by_order.items()))
    return out


def _product(bind, a: Stream, b: Stream, indices) -> Stream:
    out: Stream = {}
    for index in indices:
        for count, low, high in _leibniz(index):
            if low in a and high in b:
                term = bind(a[low], b[high])
                term = term if count == 1 else count * term
                out[index] = out[index] + term if index in out else term
    return out


def _linear(bind, operands: list[Stream], indices) -> Stream:
    out: Stream = {}
    for index in indices:
        if any(index in operand for operand in operands):
            out[index] = bind(*(o[index] if index in o else jnp.zeros_like(o[indices[0]]) for o in operands))
    return out


def _apply(equation, operands: list[Stream], indices) -> list[Stream]:
    """One operation of the jaxpr, on streams."""
    name, parameters = equation.primitive.name, equation.params
    zero = indices[0]

    def bind(*values):
        return equation.primitive.bind(*values, **parameters)

    if all(len(operand) == 1 for operand in operands):  # nothing is differentiated here
        if name in _CALLS:
            return _evaluate(_inner(parameters), operands, indices)
        if name.startswith("custom_"):  # carries functions beside its numbers
            raise NoRule(name)
        out = equation.primitive.bind(*(operand[zero] for operand in operands), **parameters)
        return [{zero: o} for o in (out if equation.primitive.multiple_results else [out])]
    if name in _CALLS:
        return _evaluate(_inner(parameters), operands, indices)
    to_integer = name == "convert_element_type" and not jnp.issubdtype(parameters["new_dtype"], jnp.inexact)
    if name in _PIECEWISE_CONSTANT or to_integer:
        return [{zero: bind(*(operand[zero] for operand in operands))}]
    if name == "abs" and jnp.iscomplexobj(operands[0][zero]):  # not analytic
        raise NoRule("abs of a complex value")
    if name in _ELEMENTWISE:
        extra = {"y": parameters["y"]} if name == "integer_pow" else {}
        return [_compose(_ELEMENTWISE[name], operands[0], indices, **extra)]
    if name in _ELEMENTWISE_BY_JVP:
        return [_compose(_by_jvp(equation.primitive), operands[0], indices, **parameters)]
    if name in _LINEAR:
        return [_linear(bind, operands, indices)]
    if name in _LINEAR_IN_FIRST and all(len(operand) == 1 for operand in operands[1:]):
        first, rest = operands[0], [operand[zero] for operand in operands[1:]]
        if name == "pad":  # the padding value is a constant: its derivatives are zero
            zeros = jnp.zeros_like(rest[0])
            return [{index: bind(first[index], rest[0] if index == zero else zeros) for index in first}]
        return [{index: bind(first[index], *rest) for index in first}]
    if name in _BILINEAR:
        return [_product(bind, *operands, indices)]
    if name == "div":
        numerator, denominator = operands
        if len(denominator) == 1:
            return [{index: bind(value, denominator[zero]) for index, value in numerator.items()}]
        reciprocal = _compose(functools.partial(_power_derivatives, y=-1), denominator, indices)
        return [_product(jnp.multiply, numerator, reciprocal, indices)]
    if name == "pow" and len(operands[1]) == 1:
        exponent = operands[1][zero]

        def derivatives(u, order):
            out, factor = [], 1.0
            for k in range(order + 1):
                power = jnp.power(u, jnp.where(factor == 0.0, 0, exponent - k))  # no 0 * inf at u = 0
                out.append(factor * power)
                factor = factor * (exponent - k)
            return out

        return [_compose(derivatives, operands[0], indices)]
    if name in ("max", "min"):
        a, b = operands
        first = a[zero] >= b[zero] if name == "max" else a[zero] <= b[zero]
        return [_linear(lambda p, q: jnp.where(first, p, q), [a, b], indices)]
    if name == "select_n" and len(operands[0]) == 1:
        which = operands[0][zero]
        return [_linear(lambda *cases: equation.primitive.bind(which, *cases), operands[1:], indices)]
    raise NoRule(name)


def _inner(parameters) -> core.ClosedJaxpr:
    jaxpr = parameters["jaxpr"] if "jaxpr" in parameters else parameters["call_jaxpr"]
    return jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else core.ClosedJaxpr(jaxpr, ())


def _evaluate(closed: core.ClosedJaxpr, arguments: list[Stream], indices) -> list[Stream]:
    zero = indices[0]
    jaxpr = closed.jaxpr
    environment: dict[Any, Stream] = {}

    def read(atom) -> Stream:
        return {zero: atom.val} if isinstance(atom, core.Literal) else environment[atom]

    environment.update(
        zip(jaxpr.constvars, ({zero: constant} for constant in closed.consts), strict=True),
    )
    environment.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        outputs = _apply(equation, [read(atom) for atom in equation.invars], indices)
        environment.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def propagate(function: Callable, coordinates: Sequence[jax.Array], wanted: Sequence[MultiIndex]) -> Any:
    """Partial derivatives of `function` with respect to its arguments, in one forward pass.

    Args:
      function: maps arrays (one per coordinate, all of one shape) to a pytree of arrays, elementwise in the points
        (that is: already batched).
      coordinates: the arrays to evaluate at.
      wanted: multi-indices over the coordinates.
    Returns:
      The function's output pytree, with ``{multi-index: array}`` in place of each array (every wanted index present).
    Raises:
      NoRule: an operation in `function` has no Taylor rule; differentiate by nested `jax.jvp` instead.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*coordinates)
    indices = lower_set([*wanted, (0,) * len(coordinates)])
    arguments: list[Stream] = []
    for axis, coordinate in enumerate(coordinates):
        unit = tuple(int(i == axis) for i in range(len(coordinates)))
        seed = {indices[0]: coordinate}
        if unit in indices:
            seed[unit] = jnp.ones_like(coordinate)
        arguments.append(seed)
    streams = _evaluate(closed, arguments, indices)
    filled = [
        {index: stream[index] if index in stream else jnp.zeros_like(stream[indices[0]]) for index in wanted}
        for stream in streams
    ]
    return jax.tree.unflatten(jax.tree.structure(shape), filled)
