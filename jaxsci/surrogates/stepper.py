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
from jaxsci.solvers.lines import FourierLines
from jaxsci.solvers.semidiscrete import Lines
from jaxsci.solvers.stepper import stacked


class Rule(Protocol):
    """How a surrogate steps: pure functions of its parameters. Static and hashable; arrays are in the parameters.

    What is carried from step to step is the rule's own (the fields, modes of a decomposition, a bundle of saves to come).

    A rule may have ``prepare(parameters, frame) -> parameters`` besides, which adds what depends on the grid and on the values
    of the coefficients (tables of a solver inside the rule): it is called when a stepper is made and when it is told other
    coefficients, and what it added before, it makes anew.
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

    A pytree: jit, vmap, grad and scan go through it and its methods.

    Attributes:
      rule: how it steps.
      parameters: of the rule, a pytree.
      frame: the solver on the surrogate's grid, for its grid, its starts and its unknowns without a time derivative.
    """

    rule: Rule = dataclasses.field(metadata={"static": True})
    parameters: Any
    frame: Stepper

    @staticmethod
    def of(rule: Rule, parameters: Any, frame: Stepper) -> SurrogateStepper:
        """The stepper of a rule on a solver's grid, prepared for its coefficients."""
        return SurrogateStepper(rule, _prepared(rule, parameters, frame), frame)

    @property
    def problem(self) -> Problem:
        return self.frame.problem

    @property
    def dt(self) -> Any:
        return self.frame.dt

    @property
    def lines(self) -> Lines:
        """The discretisation of the frame: names and order of the evolved components."""
        return self.frame.lines

    @property
    def grid(self) -> dict[str, np.ndarray]:
        """The grid of encode and decode, one array per axis."""
        return self.frame.grid

    def with_coefficients(self, **values: Any) -> SurrogateStepper:
        """The surrogate told other coefficients; one that was not trained on them ignores what it does not see."""
        return SurrogateStepper.of(self.rule, self.parameters, self.frame.with_coefficients(**values))

    def initial(self) -> State:
        """The state at the problem's start."""
        problem, axes, dtype = self.problem, self.grid, jnp.result_type(float)
        shape = tuple(map(len, axes.values()))
        mesh = {
            name: jnp.asarray(x, dtype).reshape([-1 if i == j else 1 for j in range(len(shape))])
            for i, (name, x) in enumerate(axes.items())
        }
        fields = [problem.initial[name](mesh, problem.coefficients) for name in self.lines.component_names]
        return self.encode(jnp.stack([jnp.broadcast_to(jnp.asarray(f, dtype), shape) for f in fields]))

    def encode(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any], t: Float[ArrayLike, ""] | None = None) -> State:
        """Fields on the grid to a state, as `jaxsci.solvers.Stepper.encode`.

        Raises:
          ValueError: a shape that is not the grid's.
        """
        start = self.problem.domain["t"][0] if t is None else t
        values = self.rule.encode(self.parameters, stacked("encode", self.lines, fields))
        return State(values, jnp.asarray(start, jnp.result_type(float)))

    def step(self, state: State, coefficients: Mapping[str, Any] | None = None, *, push: Any = None) -> State:
        """The state one step later.

        Args:
          coefficients: values that the surrogate is told instead of the problem's own. A rule with a solver inside makes its
            tables anew: in a loop, `with_coefficients` once is cheaper.
          push: rates from `push`, added to the fields after the step, dt push: of first order in the step.
        """
        if coefficients is not None and hasattr(self.rule, "prepare"):
            return self.with_coefficients(**coefficients).step(state, push=push)
        check_keys("coefficient", coefficients or {}, self.problem.coefficients)
        told = dict(self.problem.coefficients) | dict(coefficients or {})
        values = self.rule.step(self.parameters, state.values, told, state.t)
        if push is not None:
            values = self.rule.encode(self.parameters, self.rule.decode(self.parameters, values) + self.dt * push)
        return State(values, state.t + self.dt)

    def push(self, fields: Float[ArrayLike, "..."] | Mapping[str, Any]) -> Float[Array, "channels ..."]:
        """Rates on the grid, fields as of `encode`, in the form in which `step` adds them: ``[channels, *space]``.

        Where unknowns without a time derivative hold a constraint, they take up what would break it, as of
        `jaxsci.solvers.Stepper.push`: of a body force on an incompressible flow the gradient part goes into the pressure.

        Raises:
          ValueError: a shape that is not the grid's; a constraint that cannot be held under a push.
        """
        rates = stacked("push", self.lines, fields)
        if set(self.problem.unknowns) <= set(self.lines.component_names):
            return rates
        return components(self.frame, State(self.frame.push(rates), jnp.asarray(self.problem.domain["t"][0])))

    def components(self, state: State) -> Float[Array, "channels ..."]:
        """A state to the evolved components on the grid."""
        return self.rule.decode(self.parameters, state.values)

    def decode(self, state: State) -> Float[Array, "unknowns ..."]:
        """A state to the unknowns on the grid, ``[unknowns, *space]``; those without a time derivative by the equation."""
        fields = self.components(state)
        names, unknowns = self.lines.component_names, self.problem.unknowns
        if set(unknowns) <= set(names):
            return fields if names == unknowns else jnp.stack([fields[names.index(name)] for name in unknowns])
        return self.frame.decode(self.frame.encode(fields, state.t))

    def __repr__(self) -> str:
        return f"SurrogateStepper({self.rule!r}, {self.problem.name}, dt {self.dt}, {', '.join(self.grid)})"


def components(solver: Stepper, state: State) -> Float[Array, "channels ..."]:
    """A solver's state to the evolved components on its grid: what its `encode` takes.

    Raises:
      ValueError: a discretisation with walls without a mirror, of an equation with unknowns that do not evolve or with u.tt.
    """
    if isinstance(solver.lines, FourierLines):
        return solver.lines.decode(state.values)
    if solver.lines.component_names == solver.problem.unknowns:
        return solver.decode(state)
    raise ValueError(
        f"{solver.problem.name}: between walls without a mirror the components {', '.join(solver.lines.component_names)} are "
        "not known on the grid; use an equation of first order in time, all of whose unknowns evolve."
    )


def _prepared(rule: Any, parameters: Any, frame: Stepper) -> Any:
    prepare = getattr(rule, "prepare", None)
    return parameters if prepare is None else prepare(parameters, frame)


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
        return SurrogateStepper.of(self.rule, self.parameters, stepper(problem, self.method))
