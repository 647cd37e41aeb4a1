r"""A metabolic pathway in a chemostat: S -> P -> Q -> R, a branch P -> T, and two effects of R that close loops.

    S --A--> P --E--> Q --I--> R        P --O--> T        R inhibits A (competitively) and activates O

Amounts are molecules, time is ticks of the agent-based model that these five equations stand for (`metabolic_pathway_agents`):

    S' = u - F_A - D S,  P' = F_A - F_E - F_O - D P,  Q' = F_E - F_I - D Q,  R' = F_I - D R,  T' = F_O - D T

    F_A = v_A s / (1 + s + p + r)          s = S / S_A,  p = P / P_A,  r = R / R_A
    F_E = v_E p / (1 + p + q)              p = P / P_E,  q = Q / Q_E
    F_I = v_I q / (1 + q + r)              q = Q / Q_I,  r = R / R_I
    F_O = (v_O p + v_OR r p') / (1 + p + T / T_O + r (1 + p' + T / T_OR))
                                           p = P / P_O,  r = R / R_O,  p' = P / P_OR

The sum of the five obeys M' = u - D M whatever the rates, so that a steady state has M = u / D exactly.

What is decided is the feed, a whole number of molecules for every step of control. The objective is a ratio, the yield: product
that has left with the outflow, the integral of D (R + T), over all molecules supplied, those of the start included. (The program
of the source ends with another ratio, substrate over product that has left. Over an episode that begins with a stock it is least
where nothing is fed at all, and so is of no use for control.) The steady yield is greatest, 0.206, at a feed of one a tick.

Reference: Fonseca, Bottcher, Mehrad & Laubenbacher (2025), PLoS Comput. Biol. 21, e1012138, with the parameters of its
repository (mechanistic model C: fitted to the agents in batch and at feeds 1.0 and 0.2).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsci._checks import is_whole
from jaxsci.control.dynamics import ode
from jaxsci.control.task import Task

METABOLITES = ("S", "P", "Q", "R", "T")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class PathwayKinetics:
    """The coefficients of the rates and the dilution; see the head of this file. Molecules and ticks."""

    v_A: Any = 2.64446640558550
    S_A: Any = 6914.65232751257
    P_A: Any = 24119.1733356704
    R_A: Any = 1291.78780305338
    v_E: Any = 3.34356194466207
    P_E: Any = 3594.79818496842
    Q_E: Any = 17601.6585503908
    v_I: Any = 2.57390072789384
    Q_I: Any = 8489.16090388438
    R_I: Any = 21221.0908879279
    v_O: Any = 0.302156187324374
    P_O: Any = 1568.14536443261
    v_OR: Any = 8.97847898824731
    R_O: Any = 351.513289087267
    P_OR: Any = 2323.27749676967
    T_O: Any = 2.61913653349181e26  # that is: without R bound, T does not inhibit O
    T_OR: Any = 123792.255792294
    dilution: Any = 0.0005


class PathwayState(NamedTuple):
    """Free molecules, and what has come and gone since the start.

    Attributes:
      amounts: S, P, Q, R, T.
      supplied: molecules at the start and those fed since.
      harvested: product that has left with the outflow: the integral of D (R + T).
    """

    amounts: Float[Array, "5"]
    supplied: Any
    harvested: Any


def pathway_fluxes(kinetics: PathwayKinetics, amounts: Float[Array, "5"]) -> Float[Array, "4"]:
    """F_A, F_E, F_I, F_O, in molecules a tick."""
    k = kinetics
    S, P, Q, R, T = amounts
    F_A = k.v_A * (S / k.S_A) / (1 + S / k.S_A + P / k.P_A + R / k.R_A)
    F_E = k.v_E * (P / k.P_E) / (1 + P / k.P_E + Q / k.Q_E)
    F_I = k.v_I * (Q / k.Q_I) / (1 + Q / k.Q_I + R / k.R_I)
    active = R / k.R_O
    above = k.v_O * (P / k.P_O) + k.v_OR * active * (P / k.P_OR)
    F_O = above / (1 + P / k.P_O + T / k.T_O + active * (1 + P / k.P_OR + T / k.T_OR))
    return jnp.stack([F_A, F_E, F_I, F_O])


def pathway_field(kinetics: PathwayKinetics, state: PathwayState, feed: Any) -> PathwayState:
    """The time derivative of the state at a feed in molecules a tick: a vector field for `jaxsci.control.ode`."""
    amounts, D = state.amounts, kinetics.dilution
    F_A, F_E, F_I, F_O = pathway_fluxes(kinetics, amounts)
    feed = jnp.asarray(feed, amounts.dtype)
    rates = jnp.stack([feed - F_A, F_A - F_E - F_O, F_E - F_I, F_I, F_O]) - D * amounts
    return PathwayState(rates, feed, D * (amounts[3] + amounts[4]))


def pathway_start(amounts: Any) -> PathwayState:
    """The state with these amounts, and nothing fed or harvested yet."""
    amounts = jnp.asarray(amounts, jnp.result_type(float))
    return PathwayState(amounts, jnp.sum(amounts), jnp.zeros((), amounts.dtype))


def pathway_steady_state(kinetics: PathwayKinetics, feed: Any) -> Float[Array, "5"]:
    """The amounts at which a constant feed (molecules a tick) holds the pathway, by Newton's method; differentiable.

    Example:
      >>> from jaxsci.control.systems import PathwayKinetics, pathway_steady_state
      >>> print(pathway_steady_state(PathwayKinetics(), 1.0).round(1))
      [1247.8  161.3  178.7  105.6  306.5]
    """
    dtype = jnp.result_type(float)
    total = jnp.asarray(feed, dtype) / kinetics.dilution
    # In units of the total the steady amounts have one size; positive iterates stay positive by way of the logarithm.
    first = jnp.log(total) + jnp.log(jnp.asarray([0.6, 0.1, 0.1, 0.05, 0.15], dtype))

    def residual(logs, total, kinetics):
        rates = pathway_field(kinetics, pathway_start(jnp.exp(logs)), total * kinetics.dilution)
        return rates.amounts / (total * kinetics.dilution)

    def newton(logs, _):
        step = jnp.linalg.solve(jax.jacfwd(residual)(logs, total, kinetics), residual(logs, total, kinetics))
        return logs - jnp.clip(step, -1.0, 1.0), None

    stopped = jax.lax.stop_gradient
    found = stopped(jax.lax.scan(newton, first, length=30)[0])
    # One more step from a point where the residual vanishes has the derivative of the implicit function.
    slope = stopped(jax.jacfwd(residual)(found, total, kinetics))
    return jnp.exp(found - jnp.linalg.solve(slope, residual(found, total, kinetics)))


def pathway_yield(state: PathwayState) -> Any:
    """Product that has left over molecules supplied, between 0 and 1."""
    return state.harvested / state.supplied


def metabolic_pathway(
    kinetics: PathwayKinetics | None = None,
    *,
    initial: Any = (100.0, 0.0, 0.0, 0.0, 0.0),
    horizon: int = 100,
    ticks: int = 200,
    substeps: int = 2,
) -> Task:
    """The pathway in a chemostat as a task: the action is the number of molecules of S fed during a step of control.

    Train integer feeds with ``gradient="straight_through"``. A ratio is no sum over steps: nothing is paid in a step, and the
    negative `pathway_yield` at the end.

    Args:
      kinetics: the parameters of the task.
      initial: amounts of S, P, Q, R, T at the start.
      horizon: steps of control.
      ticks: the length of a step, over which the feed is spread evenly.
      substeps: of the Runge-Kutta method within a step.
    Raises:
      ValueError: initial amounts that are no five numbers >= 0 with one > 0, a number of ticks below 1.
    Example:
      >>> import jaxsci as js
      >>> task = js.control.systems.metabolic_pathway()
      >>> print(f"{js.control.rollout(task, lambda feed, observation: feed, 200.0).total:.4f}")
      -0.1592
    """
    initial = jnp.asarray(initial, jnp.result_type(float))
    if initial.shape != (5,) or not bool(jnp.all(initial >= 0) & jnp.any(initial > 0)):
        raise ValueError(
            f"metabolic_pathway: initial has five amounts, of {', '.join(METABOLITES)}, none < 0 and one > 0; got {initial}."
        )
    if not is_whole(ticks) or ticks < 1:
        raise ValueError(f"metabolic_pathway: ticks is a whole number >= 1, the length of a step; got {ticks!r}.")

    def field(kinetics, state, fed):
        return pathway_field(kinetics, state, jnp.asarray(fed, state.amounts.dtype) / ticks)

    return Task(
        dynamics=ode(field, float(ticks), substeps=substeps),
        cost=lambda kinetics, s, a, after: jnp.zeros((), after.amounts.dtype),
        terminal=lambda kinetics, s: -pathway_yield(s),
        init=lambda kinetics: pathway_start(initial),
        observe=lambda kinetics, s: jnp.log1p(s.amounts),
        horizon=horizon,
        parameters=PathwayKinetics() if kinetics is None else kinetics,
        name="metabolic_pathway",
    )
