r"""Equations at sampled points, as functions of the coefficients of N basis functions.

For u = u_0 + sum_i omega_i b_i every partial derivative of u is linear in omega, (d_k u)(x_j) = p_k + P_k omega with
P_k[j, i] = (d_k b_i)(x_j). A residual of an equation is then pointwise in d such numbers,

    r(omega) = w * (L omega + l + F(P_1 omega + p_1, ..., P_d omega + p_d; x, c) - target) / sqrt(m),

where everything that is linear in the unknowns stands in L, and F is what is left of the equation's one definition. The
Jacobian is  L + sum_k diag(F_k) P_k:  no basis function is ever differentiated in omega.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import sympy
from sympy.core.function import AppliedUndef

from jaxsci._checks import check_keys
from jaxsci.constraints.constraint import check_numbers
from jaxsci.constraints.members import over_members
from jaxsci.equations import Equation
from jaxsci.equations.evaluation import Partial, coordinates_in, evaluate, partial_of, partials_in


@dataclasses.dataclass(frozen=True)
class Pointwise:
    """Residuals of an equation at a point, split into what is linear in the unknowns and the rest. Static and hashable.

    Args:
      equation: the `Equation`; `rows` are those of its residuals that are taken.
      floors: (unknown, delta): where the unknown stands in a nonlinear term, (u + sqrt(u^2 + 4 delta^2)) / 2 stands there.
    """

    equation: Equation
    rows: tuple[int, ...]
    floors: tuple[tuple[str, float], ...] = ()

    @functools.cached_property
    def formulas(self) -> tuple[sympy.Expr, ...]:
        return tuple(self.equation.residuals[row].formula.doit() for row in self.rows)

    @functools.cached_property
    def partials(self) -> tuple[Partial, ...]:
        return tuple(sorted(frozenset().union(*map(partials_in, self.formulas))))

    @functools.cached_property
    def _slopes(self) -> tuple[tuple[sympy.Dummy, ...], list[list[sympy.Expr]]]:
        """Symbols in place of the partial derivatives, and the derivatives of every formula in them."""
        symbols = {p: sympy.Dummy(f"p{i}", real=True) for i, p in enumerate(self.partials)}
        nodes = {n: partial_of(n) for f in self.formulas for n in f.atoms(sympy.Derivative, AppliedUndef)}
        known = {n: symbols[p] for n, p in nodes.items() if p in symbols}
        # From the outside in, so that u_x is not taken for a derivative of what stands for u.
        replaced = [f.xreplace(known) for f in self.formulas]
        return tuple(symbols.values()), [[sympy.diff(f, s) for s in symbols.values()] for f in replaced]

    @functools.cached_property
    def nonlinear(self) -> tuple[Partial, ...]:
        """The partial derivatives on which some residual depends in any other way than by a factor known beforehand."""
        symbols, slopes = self._slopes
        return tuple(p for k, p in enumerate(self.partials) if any(row[k].free_symbols & set(symbols) for row in slopes))

    @property
    def linear(self) -> tuple[Partial, ...]:
        return tuple(p for p in self.partials if p not in self.nonlinear)

    @functools.cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs k <= l of nonlinear partials with a second derivative that is not zero."""
        symbols, slopes = self._slopes
        at = [self.partials.index(p) for p in self.nonlinear]
        bent = lambda k, l: any(symbols[l] in row[k].free_symbols for row in slopes)  # noqa: E731, E741
        return tuple((i, j) for i, k in enumerate(at) for j, l in enumerate(at) if i <= j and bent(k, l))  # noqa: E741

    def __call__(
        self,
        values: Mapping[Partial, Any],
        columns: tuple[Any, ...],
        coefficients: Mapping[str, Any],
        shape: tuple[int, ...],
    ) -> Any:
        """The residuals [rows, *shape]; partial derivatives that are not given are zero."""
        zeros = dict.fromkeys(self.partials, jnp.zeros((), jnp.result_type(*values.values(), *columns, jnp.float32)))
        coordinates = dict(zip(self.equation.coordinates, columns, strict=True))
        full = zeros | dict(values)
        rows = [evaluate(f, full, coordinates, coefficients) for f in self.formulas]
        return jnp.stack([jnp.broadcast_to(row, shape) for row in rows])

    def rest(self, values: Sequence[Any], columns: tuple[Any, ...], coefficients: Mapping[str, Any]) -> Any:
        """F [rows, points] of the nonlinear partials' values, each [points]."""
        given = dict(zip(self.nonlinear, values, strict=True))
        for unknown, delta in self.floors:
            if (unknown, "") in given:
                given[unknown, ""] = smooth_floor(given[unknown, ""], delta)
        return self(given, columns, coefficients, jnp.shape(values[0]))

    def factors(self, columns: tuple[Any, ...], coefficients: Mapping[str, Any], one: Any) -> tuple[Any, ...]:
        """For each linear partial its factor in each row, [rows, points]; `one` is ones, [points]."""
        ones = dict.fromkeys(self.partials, one)

        def factor(p: Partial) -> Any:
            return jax.jvp(lambda v: self(ones | {p: v}, columns, coefficients, one.shape), (one,), (one,))[1]

        return tuple(map(factor, self.linear))


def smooth_floor(value: Any, delta: Any) -> Any:
    """(u + sqrt(u^2 + 4 delta^2)) / 2: positive and smooth, delta at u = 0, u + delta^2 / u for u >> delta."""
    root = jnp.sqrt(value**2 + 4 * delta**2)
    # For u < 0 the sum cancels: delta^2 over the conjugate is the same number.
    low = 2 * delta**2 / jnp.where(value < 0, root - value, 1.0)
    return jnp.where(value < 0, low, (value + root) / 2)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["matrix", "shift", "bent", "bent_shift", "columns", "numbers", "functions", "weight"],
    meta_fields=["pointwise"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Residuals at m points; see the module's docstring. Made by `equation_rows` and `linear_rows`. Leading axes: a batch.

    Attributes:
      matrix: L;  [..., rows, m, N].
      shift: l minus the target;  [..., rows, m].
      bent: the P_k of the partials in F;  each [..., m, N].
      bent_shift: their p_k;  each [..., m].
      columns: the points' coordinates, where F asks for them;  each [..., m].
      numbers, functions: the coefficients of the equation, [...] the numbers, as they are the functions.
      weight: w / sqrt(m);  [..., m].
      pointwise: F; None where the residual is linear.
    """

    matrix: Any
    shift: Any
    bent: tuple[Any, ...]
    bent_shift: tuple[Any, ...]
    columns: tuple[Any, ...]
    numbers: dict[str, Any]
    functions: dict[str, Any]
    weight: Any
    pointwise: Pointwise | None

    @property
    def is_linear(self) -> bool:
        return self.pointwise is None

    @property
    def size(self) -> int:
        """N."""
        return self.matrix.shape[-1]

    def values(self, omega: Any) -> Any:
        """The weighted residuals of one member of a batch, [rows, m]."""
        return self.unweighted(omega) * self.weight

    def unweighted(self, omega: Any) -> Any:
        """The residuals of one member of a batch, [rows, m]."""
        out = jnp.einsum("rmn,n->rm", self.matrix, omega) + self.shift
        if self.pointwise is not None:
            here = [p @ omega + s for p, s in zip(self.bent, self.bent_shift, strict=True)]
            out = out + self.pointwise.rest(here, self.columns, self.numbers | self.functions)
        return out

    def event_ndims(self) -> Rows:
        """How many trailing axes of each leaf are one member's; functions have no others."""
        each = lambda of, n: jax.tree.map(lambda _: n, of)  # noqa: E731
        functions = jax.tree.map(jnp.ndim, self.functions)
        bent = each(self.bent, 2), each(self.bent_shift, 1)
        return Rows(3, 2, *bent, each(self.columns, 1), each(self.numbers, 0), functions, 1, self.pointwise)


def equation_rows(
    problem: Any,
    partials: Mapping[Partial, Any],
    points: Mapping[str, Any],
    coefficients: Mapping[str, Any] | None = None,
    *,
    offset: Mapping[Partial, Any] | None = None,
    target: Any = 0.0,
    weight: Any = 1.0,
    equations: Sequence[int] | None = None,
    floor: Mapping[str, float] | None = None,
) -> Rows:
    r"""The residual of an equation at m points, for u = offset + sum_i omega_i b_i.

    Every basis function b_i is a whole field: where the equation has several unknowns, b_i has a value for each, and they
    share omega_i.

    Args:
      problem: a `jaxsci.Problem`, or an `Equation` (then all coefficients must be given).
      partials: by (unknown, letters) the values of the basis functions' partial derivatives, ``[..., m, N]``:
        ``{("u", "t"): b_t, ("u", "xx"): b_xx}``; ("u", "") is b itself. Those that the residual holds are asked for by name;
        others may be there. `grid_partials` and `basis_partials` make them.
      points: the columns of coordinates, ``[..., m]``; only those that occur in the equation are looked at.
      coefficients: by name; the problem's own where not given. One number for each member of the batch, or a function.
      offset: partial derivatives of a field that is added, ``[..., m]``; zero where not given.
      target: what the residual equals, ``[..., m]`` or ``[..., equations, m]``.
      weight: a number, ``[...]``, or one for each point, ``[..., m]``. The sum over the points is divided by m, so that rows
        of different number weigh the same; ``weight=sqrt(m)`` is the plain sum.
      equations: which of the problem's equations; all by default.
      floor: by unknown a delta > 0: in nonlinear terms (u + sqrt(u^2 + 4 delta^2)) / 2 stands for u, which keeps powers such
        as u^(n - 1), n < 1, smooth where u is zero or negative.
    Raises:
      KeyError, ValueError: naming the partial derivative, coefficient or coordinate that is missing or has the wrong shape.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0.0, 1.0, 5)
      >>> powers = jnp.stack([x**2, x**3], -1), jnp.stack([2 + 0 * x, 6 * x], -1)  # b and b_xx
      >>> equation = js.Equation(lambda u, f: u.xx - f)
      >>> rows = js.constraints.equation_rows(equation, {("u", "xx"): powers[1]}, {"x": x}, {"f": 2.0})
      >>> omega, info = js.constraints.project(js.constraints.PDEConstraint((rows,)), jnp.zeros(2))
      >>> print(bool(info.converged), (powers[0] @ omega).round(4))
      True [0.     0.0625 0.25   0.5625 1.    ]
    """
    equation = problem if isinstance(problem, Equation) else getattr(problem, "equation", None)
    if not isinstance(equation, Equation):
        raise TypeError(f"equation_rows: give a Problem or an Equation, got {type(problem).__name__}.")
    count = len(equation.residuals)
    taken = tuple(range(count)) if equations is None else tuple(equations)
    if not taken or not all(0 <= row < count for row in taken):
        raise ValueError(f"equation_rows: equations must be among 0 to {count - 1}, got {equations!r}.")
    check_keys("floor of", floor or {}, equation.unknowns)
    if any(not delta > 0 for delta in (floor or {}).values()):
        raise ValueError(f"equation_rows: a floor must be positive, got {floor!r}.")
    pointwise = Pointwise(equation, taken, tuple(sorted((floor or {}).items())))
    values = _matrices(pointwise, partials)
    shape, dtype = next(iter(values.values())).shape, jnp.result_type(*values.values())
    check_numbers("equation_rows", target=target, weight=weight)
    numbers, functions = _coefficients(problem, equation, coefficients, dtype)
    columns = _columns(pointwise, points, shape[-2], dtype)
    shifts = {p: jnp.asarray((offset or {}).get(p, 0.0), dtype) * jnp.ones(shape[-2], dtype) for p in pointwise.partials}
    target = jnp.asarray(target, dtype) + jnp.zeros((len(taken), shape[-2]), dtype)

    weights = _weights(weight, shape[-2], dtype)
    parts = {"basis": values, "columns": columns, "numbers": numbers, "shifts": shifts, "target": target}
    ndims = jax.tree.map(lambda _: 1, parts) | {
        "basis": dict.fromkeys(values, 2), "numbers": dict.fromkeys(numbers, 0), "target": 2,
    }  # fmt: skip

    def linear_part(one: dict[str, Any]) -> tuple[Any, Any]:
        factors = pointwise.factors(one["columns"], one["numbers"] | functions, jnp.ones(shape[-2], dtype))
        matrix, constant = jnp.zeros((len(taken), *shape[-2:]), dtype), -one["target"]
        for factor, p in zip(factors, pointwise.linear, strict=True):
            matrix, constant = matrix + factor[..., None] * one["basis"][p], constant + factor * one["shifts"][p]
        return matrix, constant

    matrix, constant = over_members(linear_part, parts, ndims)
    if pointwise.nonlinear:
        bent, bent_shift = ({p: of[p] for p in pointwise.nonlinear} for of in (values, shifts))
        return Rows(
            matrix,
            constant,
            tuple(bent.values()),
            tuple(bent_shift.values()),
            columns,
            numbers,
            functions,
            weights,
            pointwise,
        )
    # What is left of an affine equation are its sources.
    rest = over_members(
        lambda one: pointwise({}, one["columns"], one["numbers"] | functions, shape[-2:-1]),
        {k: parts[k] for k in ("columns", "numbers")},
        {k: ndims[k] for k in ("columns", "numbers")},
    )
    return Rows(matrix, constant + rest, (), (), (), {}, {}, weights, None)


def linear_rows(matrix: Any, target: Any = 0.0, *, weight: Any = 1.0) -> Rows:
    """matrix omega = target: values and slopes that are prescribed, in whatever combination.

    Args:
      matrix: what each basis function has there, ``[..., m, N]``: b on the points of the start, b_x + b / D on a wall.
      target: ``[..., m]``, less what an offset has there.
      weight: as in `equation_rows`.
    Raises:
      ValueError: a shape is wrong, or there are NaN.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> js.constraints.linear_rows(jnp.ones((7, 3)), jnp.zeros(7)).matrix.shape
      (1, 7, 3)
    """
    check_numbers("linear_rows", target=target, weight=weight)
    matrix = _matrix("matrix", matrix)
    m, dtype = matrix.shape[-2], matrix.dtype
    target = jnp.asarray(target, dtype) + jnp.zeros(m, dtype)
    if target.shape[-1] != m:
        raise ValueError(f"linear_rows: target must have the shape [..., {m}], as the matrix has rows; got {target.shape}.")
    return Rows(matrix[..., None, :, :], -target[..., None, :], (), (), (), {}, {}, _weights(weight, m, dtype), None)


def _matrix(name: str, value: Any) -> Any:
    value = jnp.asarray(value)
    if value.ndim < 2 or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"{name} must be real numbers [..., m, N], points by basis functions; got {value.dtype}{value.shape}."
        )
    return value


def _matrices(pointwise: Pointwise, partials: Mapping[Partial, Any]) -> dict[Partial, Any]:
    missing = [p for p in pointwise.partials if p not in partials]
    if missing:
        raise ValueError(
            f"equation_rows: {pointwise.equation} needs the partial derivatives {missing} of the basis, got {sorted(partials)}."
        )
    values = {p: _matrix(f"partials[{p}]", partials[p]) for p in pointwise.partials}
    shapes = {p: v.shape for p, v in values.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"equation_rows: partials must have one shape [..., m, N], got {shapes}.")
    return values


def _coefficients(problem: Any, equation: Equation, given: Mapping[str, Any] | None, dtype: Any) -> tuple[dict, dict]:
    """The numbers and the functions among the coefficients of the equation."""
    own = {} if problem is equation else dict(problem.coefficients)
    check_keys("coefficient", given or {}, {*equation.coefficients, *own})
    values = own | dict(given or {})
    values = {k: v for k, v in values.items() if k in equation.coefficients}
    check_keys("coefficient", values, equation.coefficients, complete=True)
    functions = {k: as_pytree(v) for k, v in values.items() if callable(v)}
    return {k: jnp.asarray(v, dtype) for k, v in values.items() if k not in functions}, functions


def _columns(pointwise: Pointwise, points: Mapping[str, Any], m: int, dtype: Any) -> tuple[Any, ...]:
    names = pointwise.equation.coordinates
    explicit = frozenset().union(*map(coordinates_in, pointwise.formulas))
    check_keys("coordinate", {c: points[c] for c in points if c in explicit}, sorted(explicit), complete=True)
    columns = tuple(jnp.asarray(points.get(c, 0.0), dtype) + jnp.zeros(m, dtype) for c in names)
    wrong = {c: column.shape for c, column in zip(names, columns, strict=True) if column.shape[-1] != m}
    if wrong:
        raise ValueError(
            f"equation_rows: each coordinate must have the shape [..., {m}], as the partials have; got {wrong}."
        )
    return columns


def _weights(weight: Any, m: int, dtype: Any) -> Any:
    return (jnp.asarray(weight, dtype) + jnp.zeros(m, dtype)) / math.sqrt(m)


def as_pytree(function: Any) -> Any:
    """A plain function as a pytree without leaves, so that it passes through jit."""
    return function if jax.tree.structure(function) != jax.tree.structure(0) else jax.tree_util.Partial(function)
