"""A surrogate is a stepper: the solver's signature around a rule that was learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxsci._checks import check_keys
from jaxsci._timing import Cost
from jaxsci.problems import Problem, stepper
from jaxsci.solvers import Spectral, State, Stepper


class Rule(Protocol):
    """How a surrogate steps: pure functions of its parameters. Static and hashable; arrays are in the parameters.

    What is carried from step to step is the rule's own (the fields, modes of a decomposition, a bundle of saves to come).
    """

    def encode(self, parameters: Any, fields: Float[Array, "channels ..."]) -> Any:
        """Fields to what is carried."""
        ...

    def step(self, parameters: Any, carry: Any, coefficients: Mapping[str, Any], t: Any) -> Any:
        """What is carried one step later; t is the time before it."""
        ...

    def decode(self, parameters: Any, carry: Any) -> Float[Array, "channels ..."]:
        """What is carried to fields."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SurrogateStepper:
    """A surrogate with the signature of `jaxsci.solvers.Stepper`: rollouts, control tasks and constraint layers take either.

    Attributes:
      rule: how it steps.
      parameters: of the rule, a pytree.
      frame: the solver on the surrogate's grid, for its grid, its starts and its unknowns without a time derivative.
    """

    rule: Rule = dataclasses.field(metadata={"static": True})
    parameters: Any
    frame: Stepper

    @property
    def problem(self) -> Problem:
        return self.frame.problem

    @property
    def dt(self) -> Any:
        return self.frame.dt

    @property
    def grid(self) -> dict[str, np.ndarray]:
        """The grid of encode and decode, one array per axis."""
        return self.frame.grid

    def with_coefficients(self, **values: Any) -> SurrogateStepper:
        """The surrogate told other coefficients; one that was not trained on them ignores what it does not see."""
        return dataclasses.replace(self, frame=self.frame.with_coefficients(**values))

    def initial(self) -> State:
        """The state at the problem's start."""
        problem, axes = self.problem, self.grid
        mesh = jnp.meshgrid(*(jnp.asarray(x, jnp.result_type(float)) for x in axes.values()), indexing="ij")
        grid, shape = dict(zip(axes, mesh, strict=True)), mesh[0].shape
        names = self.frame.lines.component_names
        fields = [problem.initial[name](grid, problem.coefficients) for name in names]
        return self.encode(jnp.stack([jnp.broadcast_to(jnp.asarray(f, mesh[0].dtype), shape) for f in fields]))

    def encode(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any], t: Float[ArrayLike, ""] | None = None) -> State:
        """Fields on the grid to a state, as `jaxsci.solvers.Stepper.encode`.

        Raises:
          ValueError: a shape that is not the grid's.
        """
        names = self.frame.lines.component_names
        shape = tuple(len(axis) for axis in self.grid.values())
        if isinstance(fields, Mapping):
            check_keys("field", fields, names, complete=True)
            fields = jnp.stack([jnp.asarray(fields[name]) for name in names])
        fields = jnp.asarray(fields)
        if fields.shape == shape and len(names) == 1:
            fields = fields[None]
        if fields.shape != (len(names), *shape):
            raise ValueError(
                f"encode: the fields {', '.join(names)} on this grid have shape {(len(names), *shape)}, got {fields.shape}. "
                "For a batch use jax.vmap."
            )
        start = self.problem.domain["t"][0] if t is None else t
        return State(self.rule.encode(self.parameters, fields), jnp.asarray(start, jnp.result_type(float)))

    def step(self, state: State, coefficients: Mapping[str, Any] | None = None, *, push: Any = None) -> State:
        """The state one step later.

        Args:
          coefficients: values that the surrogate is told instead of the problem's own.
          push: rates from `push`, added to the fields after the step, dt push: of first order in the step.
        """
        told = dict(self.problem.coefficients) | dict(coefficients or {})
        values = self.rule.step(self.parameters, state.values, told, state.t)
        if push is not None:
            values = self.rule.encode(self.parameters, self.rule.decode(self.parameters, values) + self.dt * push)
        return State(values, state.t + self.dt)

    def push(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any]) -> Any:
        """Rates on the grid, fields as of `encode`, in the form in which `step` adds them."""
        carry = self.encode(fields).values
        return self.rule.decode(self.parameters, carry)

    def components(self, state: State) -> Float[Array, "channels ..."]:
        """A state to the evolved components on the grid."""
        return self.rule.decode(self.parameters, state.values)

    def decode(self, state: State) -> Float[Array, "unknowns ..."]:
        """A state to the unknowns on the grid, ``[unknowns, *space]``; those without a time derivative by the equation."""
        fields = self.components(state)
        if self.frame.lines.component_names == self.problem.unknowns:
            return fields
        return self.frame.decode(self.frame.encode(fields, state.t))

    def __repr__(self) -> str:
        return f"SurrogateStepper({self.rule!r}, {self.problem.name}, dt {self.dt}, {', '.join(self.grid)})"


@dataclasses.dataclass(frozen=True)
class FittedSurrogate:
    """What a fit returns; ``js.stepper(problem, fitted)`` steps it.

    Attributes:
      rule, parameters: of the surrogate.
      method: the solver whose grid and step are the surrogate's.
      cost: of the fit; what the data cost is not in it.
      stats: what there is to say about the fit, ``"parameters"`` (how many numbers) among it.
      history: the loss of each iteration, empty where nothing was iterated.
    """

    rule: Rule
    parameters: Any
    method: Spectral
    cost: Cost
    stats: Mapping[str, Any]
    history: np.ndarray

    def stepper(self, problem: Problem) -> SurrogateStepper:
        """See `jaxsci.stepper`."""
        return SurrogateStepper(self.rule, self.parameters, stepper(problem, self.method))
