r"""Lorenz's system held at a steady state that it would leave.

    x1' = sigma (x2 - x1)      x2' = x1 (rho - x3) - x2 + a      x3' = x1 x2 - beta x3

Without control and above rho = 24.7 every steady state is unstable. The target is that of one of the two lobes,
c = (s, s, rho - 1) with s = sqrt(beta (rho - 1)), which stays a steady state where the action is 0.

The equation and its coefficients are those of the catalogue, `jaxsci.problems.lorenz`.

Reference: Lorenz (1963), J. Atmos. Sci. 20, 130; Vincent & Yu (1991), Dynamics and Control 1, 35, for control through one
equation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsci import problems
from jaxsci.control.dynamics import ode
from jaxsci.control.task import Task
from jaxsci.equations.evaluation import evaluate
from jaxsci.problems.ode import lorenz_equation

_UNKNOWNS = ("x1", "x2", "x3")


class Parameters(NamedTuple):
    """Of the task: the catalogue's coefficients, what an action costs, the middle of the starts and how far they are apart."""

    coefficients: Any
    penalty: Any
    start: Any
    spread: Any


def lorenz(
    *,
    sigma: Any = 10.0,
    rho: Any = 28.0,
    beta: Any = 8 / 3,
    acts_on: str = "x2",
    interval: float = 0.05,
    substeps: int = 5,
    horizon: int = 100,
    penalty: Any = 0.01,
    spread: Any = 2.0,
) -> Task:
    """Stabilise a steady state: the cost of a step is |x - c|^2 / (rho - 1)^2 + penalty a^2.

    The state is the vector x, all of it observed; the action is a number, one of shape [] or [1]. An episode begins at the
    catalogue's start plus a normal draw.

    Args:
      sigma, rho, beta: coefficients, which can be differentiated.
      acts_on: the unknown to whose rate the action is added.
      interval: length of a step of the task, over which the action is held.
      substeps: of the classical Runge-Kutta method within it.
      spread: standard deviation of the starts.
    Raises:
      ValueError: no such unknown, a number of substeps that is no positive whole one.
    Example:
      >>> import jax, jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.control.systems.lorenz import lorenz, steady_state
      >>> task = lorenz(horizon=50)
      >>> c = steady_state(task.parameters)
      >>> run = js.control.rollout(task, lambda p, x: jnp.asarray(0.0), initial=c)
      >>> bool(jnp.abs(run.final - c).max() < 1e-10)
      True
    """
    if acts_on not in _UNKNOWNS:
        raise ValueError(f"lorenz: acts_on is one of {', '.join(_UNKNOWNS)}, got {acts_on!r}.")
    problem, at = problems.lorenz(sigma=sigma, rho=rho, beta=beta), _UNKNOWNS.index(acts_on)

    def field(p, x, action):
        return rates(p, x).at[at].add(jnp.reshape(action, ()))

    def cost(p, x, action, after):
        distance = jnp.sum((x - steady_state(p)) ** 2) / (p.coefficients["rho"] - 1) ** 2
        return distance + p.penalty * jnp.sum(jnp.square(action))

    def init(p, *, key):
        return p.start + p.spread * jax.random.normal(key, (3,), p.start.dtype)

    start = jnp.stack([jnp.asarray(problem.initial[name]({}, problem.coefficients), float) for name in _UNKNOWNS])
    parameters = Parameters(problem.coefficients, penalty, start, spread)
    dynamics = ode(field, interval, substeps=substeps)
    return Task(dynamics=dynamics, cost=cost, init=init, horizon=horizon, parameters=parameters, name="lorenz")


def rates(parameters: Parameters, x: Any) -> Any:
    """dx/dt without an action, from the catalogue's equation: what its residual is short of with rates of zero."""
    values = {(name, ""): x[i] for i, name in enumerate(_UNKNOWNS)} | {
        (name, "t"): jnp.zeros_like(x[0]) for name in _UNKNOWNS
    }
    return -jnp.stack([evaluate(row.formula, values, {}, parameters.coefficients) for row in lorenz_equation.residuals])


def steady_state(parameters: Parameters) -> Any:
    """The target c, ``[3]``: the steady state with x1 > 0."""
    now = parameters.coefficients
    s = jnp.sqrt(now["beta"] * (now["rho"] - 1.0))
    return jnp.stack([s, s, jnp.asarray(now["rho"] - 1.0, s.dtype)])
