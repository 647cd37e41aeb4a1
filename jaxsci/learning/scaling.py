r"""Scales that make a fit independent of units: of what the network gives, and of the rows of the residual.

A field is  lift + distance * U N(z).  With z in [-1, 1] the network's size U is the size of the lift or, where it is larger,
what the network must be for its linear effect on the residual to be of the size of the lift's residual,

    U_j = max( |G_j|,  max_r |r_r(G)| / |dr_r(G)[D N_j]| ),

and a row is divided by its size for the network as it starts.  In other units (lengths, times, the unknowns, the equation
multiplied by a number) both change as what they divide, and the fit is the same.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci.learning.frame import FRAME, Frame
from jaxsci.learning.objective import Coefficients, Objective, Unknowns
from jaxsci.learning.sampling import collocation

_POINTS = 1024


def with_frame(objective: Objective, unknowns: Unknowns, coefficients: Coefficients) -> Coefficients:
    """The coefficients with a frame beside them, whose scales are those of a fit that starts from these unknowns."""
    points = collocation(objective, coefficients, jax.random.key(20261121), _POINTS)
    return dict(coefficients) | {FRAME: _frame(objective, unknowns, coefficients, points)}


@functools.partial(jax.jit, static_argnames=("objective",))
def _frame(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> Frame:
    conditions, network = objective.conditions, functools.partial(objective.network.apply, unknowns["network"])
    values = objective.all_coefficients(unknowns, coefficients)
    inputs = jax.ShapeDtypeStruct((conditions.input_size,), points.dtype)
    outputs = jax.eval_shape(network, inputs).shape[0]

    def residual(factors):
        return objective.equation(conditions.field(lambda z: factors * network(z), values), values, points)

    nothing = jnp.zeros(outputs, points.dtype)
    size = lambda array: jnp.sqrt(jnp.mean(array**2, axis=0))  # noqa: E731
    of_lift, effects = [], []
    at_lift = size(residual(nothing))
    for j in range(outputs):
        _, effect = jax.jvp(residual, (nothing,), (nothing.at[j].set(1.0),))
        effects.append(jnp.max(jnp.where(size(effect) > 0, at_lift / jnp.where(size(effect) > 0, size(effect), 1.0), 0.0)))
    lift = conditions.field(lambda z: jnp.zeros(outputs, z.dtype), values)
    of_lift = size(jax.vmap(lambda point: lift(*point))(points))
    scale = jnp.stack(effects)
    if of_lift.shape == scale.shape:  # the network gives the unknowns themselves
        scale = jnp.maximum(scale, of_lift)
    scale = jnp.where(scale > 0, scale, 1.0)
    rows = size(residual(scale))
    return Frame(scale, jnp.where(rows > 0, rows, 1.0))
