"""Dynamics for a task: vector fields with the control held over a step, equations of the catalogue with actuators, and a mixture
of two models, one forward and one backward.

A step never sees the next action: the control is constant over it (zero-order hold).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_traced, is_whole
from jaxsci.control.calling import call, check_arguments, is_random
from jaxsci.problems import Problem, stepper

_UNROLLED = 2  # substeps that are written out; more are a loop, which compiles in no time


def ode(field: Callable[..., Any], dt: Any, *, solver: Any = "rk4", substeps: int = 1) -> Callable[..., Any]:
    """Dynamics of ds/dt = field(parameters, s, a), the action held over the step.

    Args:
      field: ``(parameters, state, action) -> d(state)/dt``, any pytree.
      dt: the length of a step.
      solver: "rk4" (the classical one), or a diffrax solver, such as ``diffrax.Tsit5()`` or an implicit one, with
        steps of a fixed size; Newton's iterations end at eps^(2/3) where their tolerances are not given.
      substeps: of the solver within a step.
    Raises:
      ValueError: an unknown solver, a bad number of substeps, a step that is not positive.
      TypeError: a field that takes other arguments.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> decay = js.control.ode(lambda rate, s, a: a - rate * s, dt=0.1)
      >>> print(f"{decay(2.0, jnp.asarray(1.0), 0.0):.6f}")  # exp(-0.2) = 0.818731
      0.818733
    """
    if not is_whole(substeps) or substeps < 1:
        raise ValueError(f"ode: substeps is a whole number >= 1, got {substeps!r}.")
    if not is_traced(dt) and not (np.isfinite(dt) and dt > 0):
        raise ValueError(f"ode: dt, the length of a step, is a number above 0, got {dt!r}.")
    check_arguments("ode: the field", field, ("parameters", "state", "action"))
    if solver == "rk4":

        def step(parameters, state, action):
            h = dt / substeps
            once = lambda s: _rk4(lambda s: field(parameters, s, action), s, h)  # noqa: E731
            if substeps > _UNROLLED:
                return jax.lax.scan(lambda s, _: (once(s), None), jax.tree.map(jnp.asarray, state), length=substeps)[0]
            for _ in range(substeps):
                state = once(state)
            return state

        return step
    if not isinstance(solver, diffrax.AbstractSolver):
        raise ValueError(f'ode: solver is "rk4" or a diffrax solver, diffrax.Tsit5() say; got {solver!r}.')
    term = diffrax.ODETerm(lambda t, s, args: field(args[0], s, args[1]))

    def held(parameters, state, action):
        """By a loop over the solver's own step: no estimate of the error, no interpolation, no adjoint but the loop's."""
        state, parameters, action = jax.tree.map(jnp.asarray, (state, parameters, action))  # of one type in all stages
        dtype = jnp.result_type(float, *jax.tree.leaves(state))
        one, args = _with_tolerances(solver, dtype), (parameters, action)
        times = jnp.asarray(dt / substeps, dtype) * jnp.arange(substeps + 1)
        solver_state = one.init(term, times[0], times[1], state, args)
        for i in range(substeps):
            state, _, _, solver_state, _ = one.step(
                term, times[i], times[i + 1], state, args, solver_state, made_jump=jnp.asarray(i == 0)
            )
        return state

    return held


def _with_tolerances(solver: Any, dtype: Any) -> Any:
    """An implicit solver's Newton iterations end by a tolerance that it takes from a control of the step; here is none."""
    finder = getattr(solver, "root_finder", None)
    if finder is None or isinstance(finder.rtol, float | int | jax.Array):
        return solver
    tolerance = float(jnp.finfo(dtype).eps) ** (2 / 3)
    finder = dataclasses.replace(finder, rtol=tolerance, atol=tolerance, norm=_largest)
    return dataclasses.replace(solver, root_finder=finder)


def _largest(tree: Any) -> Any:
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))


def _rk4(field: Callable[[Any], Any], state: Any, h: Any) -> Any:
    moved = lambda step, slope: jax.tree.map(lambda s, k: s + step * k, state, slope)  # noqa: E731
    k1 = field(state)
    k2 = field(moved(h / 2, k1))
    k3 = field(moved(h / 2, k2))
    k4 = field(moved(h, k3))
    return jax.tree.map(lambda s, a, b, c, d: s + h / 6 * (a + 2 * b + 2 * c + d), state, k1, k2, k3, k4)


class Actuated(NamedTuple):
    """An equation of the catalogue that actions push; the parameters of a task whose dynamics are `pushed`.

    Attributes:
      stepper: of the equation, a pytree with its coefficients: a solver's, or a surrogate's with the same signature.
      shapes: what one unit of each actuator adds to the right-hand side, ``[actuators, evolved fields, *space]``.
    """

    stepper: Any  # Stepper or SurrogateStepper
    shapes: Any


def actuated(problem: Problem, method: Any, shapes: Mapping[str, Any] | Any) -> Actuated:
    """A problem with actuators: u_t = (what the equation says) + sum_i a_i shape_i(x), solved by a method with a fixed step.

    On an incompressible flow in velocities the gradient part of the force goes into the pressure (`jaxsci.Stepper.push`).

    Args:
      problem: evolves in time, such as ``js.problems.kuramoto_sivashinsky()``.
      method: with a step, such as ``js.Spectral(n=64, dt=0.05)``, or a fitted surrogate of `jaxsci.surrogates`.
      shapes: ``[actuators, *space]`` on the method's grid for a single field, or a dict by field, or a function of the grid's
        coordinates that returns one of these.
    Raises:
      TypeError: a method whose step takes no push.
      ValueError: shapes that are not the grid's.
    """
    solver = stepper(problem, method)
    if not (callable(getattr(solver, "push", None)) and hasattr(solver, "lines")):
        raise TypeError(f"actuated: a step of {type(method).__name__} cannot be pushed; use js.Spectral(n=..., dt=...).")
    grid = solver.grid
    if callable(shapes):
        shapes = shapes(**dict(zip(grid, np.meshgrid(*grid.values(), indexing="ij"), strict=True)))
    fields = solver.lines.component_names
    space = tuple(len(axis) for axis in grid.values())
    if not isinstance(shapes, Mapping):
        if len(fields) != 1:
            raise ValueError(f"actuated: this equation evolves {', '.join(fields)}; give the shapes as a dict by name.")
        shapes = {fields[0]: shapes}
    shapes = {str(name): jnp.asarray(value) for name, value in shapes.items()}
    found = {name: value.shape for name, value in shapes.items()}
    count = {shape[0] for shape in found.values() if shape}
    if len(count) != 1 or any(shape[1:] != space for shape in found.values()) or set(found) - set(fields):
        raise ValueError(
            f"actuated: shapes are [actuators, {', '.join(map(str, space))}] for fields among {', '.join(fields)}; got {found}."
        )
    zero = jnp.zeros((*count, *space))
    return Actuated(solver, jnp.stack([shapes.get(name, zero) for name in fields], axis=1))


def pushed(parameters: Actuated, state: Any, action: Any, *, substeps: int = 1) -> Any:
    """The dynamics of an `Actuated` equation: `substeps` steps of its stepper with the action held.

    Args:
      parameters: from `actuated`; its ``stepper.initial()`` is the problem's start, ``stepper.encode(fields)`` that of fields
        ``[evolved fields, *space]``, and ``stepper.decode(state)`` the fields of a state: what costs are made of.
      state: of the stepper.
      action: ``[actuators]``.
      substeps: of the stepper in one step of the task.
    Raises:
      ValueError: another number of actions or substeps.
      TypeError: a state that is none of the stepper's.
    """
    if not is_whole(substeps) or substeps < 1:
        raise ValueError(f"pushed: substeps is a whole number >= 1, got {substeps!r}.")
    own = jax.eval_shape(parameters.stepper.initial) if isinstance(state, jax.Array | np.ndarray) else state
    if jax.tree.structure(own) != jax.tree.structure(state):
        raise TypeError("pushed: the state is the stepper's: begin with p.stepper.initial(), or p.stepper.encode(fields).")
    if jnp.shape(action) != parameters.shapes.shape[:1]:
        raise ValueError(f"pushed: an action has {parameters.shapes.shape[0]} actuators, got shape {jnp.shape(action)}.")
    force = jnp.tensordot(action, parameters.shapes, axes=1)
    push = parameters.stepper.push(force)
    if substeps == 1:
        return parameters.stepper.step(state, push=push)
    return jax.lax.scan(lambda s, _: (parameters.stepper.step(s, push=push), None), state, length=substeps)[0]


def mixed(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """Dynamics with the values of one model and the derivatives of another: s' = forward(s, a), ds' = d backward(s, a).

    For a model without useful derivatives (agents, integers, a black box) beside a differentiable one of the same states (a
    surrogate, a metamodel). The values are those of `forward` to the last bit; the derivative is taken along its states.

    Args:
      forward, backward: dynamics of the same signature; leaves of the state that are not floating point have no derivative.
    """

    def dynamics(parameters, state, action, *, key=None):
        stopped = jax.lax.stop_gradient((parameters, state, action))
        value = call(forward, *stopped, key=key)
        slope = call(backward, parameters, state, action, key=key)
        return jax.tree.map(_value_with_slope, value, slope)

    def without_key(parameters, state, action):
        return dynamics(parameters, state, action)

    return dynamics if is_random(forward) or is_random(backward) else without_key


@jax.custom_jvp
def _value_with_slope(value: Any, slope: Any) -> Any:
    return value


@_value_with_slope.defjvp
def _(primals, tangents):
    return primals[0], tangents[1]
