"""Steppers: one step of a solver as a pure function, for loops, losses and controllers that people write themselves."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_keys
from jaxsci.equations.evaluation import evaluate
from jaxsci.problems import Problem
from jaxsci.solvers import etdrk
from jaxsci.solvers.courant import courant_number
from jaxsci.solvers.lines import FourierLines, structure
from jaxsci.solvers.semidiscrete import Lines, nonlinear_part


class State(NamedTuple):
    """What a stepper carries: the solver's own representation of the fields, and the time."""

    values: Any
    t: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stepper:
    """A solver's step; made by `jaxsci.stepper`. A pytree: jit, vmap, grad and scan go through it and its methods.

    Attributes:
      problem: with the coefficients of the prepared tables.
      dt: the step.
    """

    lines: Lines = dataclasses.field(metadata={"static": True})
    order: int = dataclasses.field(metadata={"static": True})
    problem: Problem
    dt: Any
    operators: Any
    tables: etdrk.Tables

    @staticmethod
    def of(problem: Problem, lines: Lines, order: int, dt: Any) -> Stepper:
        operators, tables = _prepare(lines, order, problem.coefficients, jnp.asarray(dt, jnp.result_type(float)))
        return Stepper(lines, order, problem, dt, operators, tables)

    def with_coefficients(self, **values: Any) -> Stepper:
        """The stepper for other coefficients, its tables computed once: do this outside a loop."""
        return Stepper.of(self.problem.with_coefficients(**values), self.lines, self.order, self.dt)

    def initial(self) -> State:
        """The state at the problem's start."""
        dtype = self.tables.h.dtype
        values = self.lines.initial_state(self.problem, dtype)
        t = jnp.asarray(self.problem.domain["t"][0], dtype)
        return State(values.astype(jnp.result_type(values, self.operators.linear)), t)

    def step(self, state: State, coefficients: Mapping[str, Any] | None = None, *, push: Any = None) -> State:
        """The state one step later.

        Args:
          coefficients: values that replace the problem's own for this step. The tables are then made anew, which costs
            more than the step itself on small grids: in a loop, `with_coefficients` once is cheaper.
          push: added to the right-hand side and held over the step, in the form that `push` returns.
        """
        if coefficients is not None:
            return self.with_coefficients(**coefficients).step(state, push=push)
        nonlinear = nonlinear_part(self.lines, self.operators, self.problem.coefficients)
        if push is not None:
            nonlinear = _pushed(nonlinear, push)
        values = etdrk.step(self.lines.kind, self.order, self.tables, nonlinear, state.values, state.t)
        return State(values, state.t + self.tables.h)

    def encode(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any], t: Float[ArrayLike, ""] | None = None) -> State:
        """Fields on the grid to a state.

        Args:
          fields: ``[evolved fields, *space]``, a dict by name (``u``, and ``u_t`` where the equation has u.tt), or
            ``[*space]`` for a single one. Unknowns without a time derivative are not part of it.
          t: the time; the problem's start by default.
        Raises:
          ValueError: a shape that is not the grid's.
        """
        fields = stacked("encode", self.lines, fields)
        start = self.problem.domain["t"][0] if t is None else t
        values = self.lines.encode(fields)
        return State(values.astype(jnp.result_type(values, self.operators.linear)), jnp.asarray(start, self.tables.h.dtype))

    def push(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any]) -> Any:
        """Rates on the grid, fields as of `encode`, in the form in which `step` adds them.

        Where unknowns without a time derivative hold a constraint, they take up what would break it: of a body force on an
        incompressible flow the gradient part goes into the pressure.

        Raises:
          ValueError: a shape that is not the grid's; a constraint that this stepper cannot hold under a push.
        """
        values = self.encode(fields).values
        parts = structure(self.problem.equation)
        if not parts.algebraic:
            return values
        constraints = {row for _, row in parts.algebraic}
        own = {t.unknown: t for t in parts.linear if t.letters == "t" and t.row not in constraints}
        terms = [own[name] for name, k in parts.components if k == 0 and name in own]
        plain = len(terms) == len(parts.components) and all(term.row in parts.rest_rows for term in terms)
        if not (plain and isinstance(self.lines, FourierLines)):
            raise ValueError(
                f"push: {self.problem.name} has unknowns without a time derivative, and how they answer a push is only known "
                "on periodic axes, for equations of first order in time that all have a nonlinear term."
            )
        rows = [jnp.zeros_like(values[0])] * len(parts.rest_rows)
        for term, value in zip(terms, values, strict=True):
            factor = evaluate(term.factor, {}, {}, self.problem.coefficients)
            rows[parts.rest_rows.index(term.row)] = -factor * value  # the residual's side
        return etdrk.combine(self.operators.rates, rows)

    def decode(self, state: State) -> Float[Array, "unknowns ..."]:
        """A state to the unknowns on the grid, ``[unknowns, *space]``."""
        profile = self.lines.profile(self.operators, self.problem.coefficients, state.values, state.t)
        return self.lines.decode(profile)

    def courant(self, state: State) -> Float[Array, ""]:
        """The Courant number of a state: cells per step that the nonlinear terms carry the fields; NaN with walls."""
        if not isinstance(self.lines, FourierLines):
            return jnp.full((), jnp.nan, self.tables.h.dtype)
        return courant_number(self.lines, self.operators, self.problem.coefficients, state.values, state.t, self.tables.h)

    def __repr__(self) -> str:
        return f"Stepper({self.problem.name}, order {self.order}, dt {self.dt}, {', '.join(self.grid)})"

    @property
    def grid(self) -> dict[str, np.ndarray]:
        """The grid of encode and decode, one array per axis."""
        return self.lines.grid()


def stacked(what: str, lines: Lines, fields: Any) -> Any:
    """Evolved fields on the grid, by name, stacked, or a single one: ``[evolved fields, *space]``.

    Raises:
      ValueError: a shape that is not the grid's.
    """
    names = lines.component_names
    shape = tuple(len(axis) for axis in lines.grid().values())
    if isinstance(fields, Mapping):
        check_keys("field", fields, names, complete=True)
        fields = jnp.stack([jnp.asarray(fields[name]) for name in names])
    fields = jnp.asarray(fields)
    if fields.shape == shape and len(names) == 1:
        fields = fields[None]
    if fields.shape != (len(names), *shape):
        raise ValueError(
            f"{what}: the fields {', '.join(names)} on this grid have shape {(len(names), *shape)}, got {fields.shape}. "
            "For a batch use jax.vmap."
        )
    return fields


def _pushed(nonlinear: Any, push: Any) -> Any:
    return (lambda state, t: push) if nonlinear is None else (lambda state, t: nonlinear(state, t) + push)


@functools.partial(jax.jit, static_argnames=("lines", "order"))
def _prepare(lines: Lines, order: int, coefficients: Any, dt: Any) -> tuple[Any, etdrk.Tables]:
    operators = lines.operators(coefficients, dt.dtype)
    return operators, etdrk.tables(lines.kind, operators.linear, dt, order)
