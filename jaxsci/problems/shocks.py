"""Conservation laws with shocks: Burgers without viscosity, and Sod's shock tube. Both have exact weak solutions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.numpy import pi

from jaxsci.equations import equation, sin
from jaxsci.problems.catalogue import catalogued
from jaxsci.problems.conditions import Outflow, Periodic
from jaxsci.problems.domain import Box
from jaxsci.problems.formula import Formula
from jaxsci.problems.problem import Problem
from jaxsci.problems.reference import Exact


@equation("u", name="inviscid_burgers")
def inviscid_burgers_equation(u):
    """Burgers' equation without viscosity, a conservation law."""
    return u.t + (u**2 / 2).x


@equation("density velocity pressure", name="euler", symbols={"gamma": r"\gamma"})
def euler_equation(density, velocity, pressure, gamma):
    """Euler's equations of an ideal gas in one dimension: mass, momentum, energy."""
    energy = pressure / (gamma - 1) + density * velocity**2 / 2
    return (
        density.t + (density * velocity).x,
        (density * velocity).t + (density * velocity**2 + pressure).x,
        energy.t + ((energy + pressure) * velocity).x,
    )


def breaking_wave(t: Any, x: Any, mean: Any, amplitude: Any) -> Any:
    """u(t, x) for u_t + (u^2 / 2)_x = 0 with u(0, x) = mean + amplitude sin x, periodic in 2 pi, at ONE point.

    In the frame that moves with the mean, a shock stands at distance pi from the centre of the rarefaction once
    amplitude * t > 1, and what reaches a point d < pi from that centre left from the foot s of its characteristic,

        d = s + amplitude t sin s,    u = mean + amplitude sin s,

    the smallest root. The right-hand side is concave up to pi, so that Newton's method rises to that root from s = 0.
    Reference: Whitham (1974), *Linear and Nonlinear Waves*, section 2.8.
    """
    d = x - mean * t
    d = d - 2 * pi * jnp.round(d / (2 * pi))
    size, steepness = jnp.abs(d), amplitude * t

    def improve(_, s):
        slope = jnp.maximum(1 + steepness * jnp.cos(s), jnp.finfo(s.dtype).eps)
        return s - (s + steepness * jnp.sin(s) - size) / slope

    s = jax.lax.fori_loop(0, 60, improve, jnp.zeros_like(size))
    return mean + amplitude * jnp.sign(d) * jnp.sin(s)


def shock_tube(t: Any, x: Any, gamma: Any, unknown: int) -> Any:
    """One unknown (0 density, 1 velocity, 2 pressure) of the exact solution of Sod's Riemann problem, at ONE point.

    Between the two waves pressure and velocity are constant; Newton's method finds the pressure at which the velocities
    behind a wave into either side agree. A wave that compresses is a shock, one that expands a fan.
    Reference: Toro (2009), *Riemann Solvers and Numerical Methods for Fluid Dynamics*, chapter 4.
    """
    (density_l, u_l, p_l), (density_r, u_r, p_r) = _LEFT, _RIGHT
    c_l, c_r = jnp.sqrt(gamma * p_l / density_l), jnp.sqrt(gamma * p_r / density_r)
    power = (gamma - 1) / (2 * gamma)

    def gain(p, density, p0, c):  # of velocity across a wave from the pressure p0 to p
        shock = (p - p0) * jnp.sqrt(2 / density / ((gamma + 1) * p + (gamma - 1) * p0))
        fan = 2 * c / (gamma - 1) * ((p / p0) ** power - 1)
        return jnp.where(p > p0, shock, fan)

    def mismatch(p):
        return gain(p, density_l, p_l, c_l) + gain(p, density_r, p_r, c_r) + u_r - u_l

    def improve(_, p):
        value, slope = jax.jvp(mismatch, (p,), (jnp.ones_like(p),))
        return jnp.maximum(p - value / slope, 1e-3 * p)

    p = jax.lax.fori_loop(0, 20, improve, jnp.full_like(c_l, (p_l + p_r) / 2))
    u = (u_l + u_r + gain(p, density_r, p_r, c_r) - gain(p, density_l, p_l, c_l)) / 2
    moves = t > 0
    speed = jnp.where(moves, (x - _DIAPHRAGM) / jnp.where(moves, t, 1), jnp.where(x < _DIAPHRAGM, -jnp.inf, jnp.inf))
    left = _side(speed, gamma, (density_l, u_l, p_l), c_l, u, p)
    # The right side is the left one seen in a mirror.
    right = _side(-speed, gamma, (density_r, -u_r, p_r), c_r, -u, p)
    state = jnp.where(speed < u, left, right * jnp.asarray([1, -1, 1]))
    return state[unknown]


def _side(speed: Any, gamma: Any, state: tuple[float, float, float], c: Any, u: Any, p: Any) -> Any:
    """Density, velocity and pressure at x / t = speed to the left of the contact, behind or before the left wave."""
    density0, u0, p0 = state
    ratio, squeeze = p / p0, (gamma - 1) / (gamma + 1)
    before = jnp.stack([jnp.full_like(c, density0), jnp.full_like(c, u0), jnp.full_like(c, p0)])
    # a shock
    behind = jnp.stack([density0 * (ratio + squeeze) / (squeeze * ratio + 1), u, p])
    front = u0 - c * jnp.sqrt((gamma + 1) / (2 * gamma) * ratio + (gamma - 1) / (2 * gamma))
    shocked = jnp.where(speed < front, before, behind)
    # a fan
    inner = c * ratio ** ((gamma - 1) / (2 * gamma))
    behind = jnp.stack([density0 * ratio ** (1 / gamma), u, p])
    inside = (speed > u0 - c) & (speed < u - inner)
    here = jnp.where(inside, speed, u0 - c)
    depth = 2 / (gamma + 1) + squeeze / c * (u0 - here)  # the speed of sound in the fan over that before it
    velocity = 2 / (gamma + 1) * (c + (gamma - 1) / 2 * u0 + here)
    fan = jnp.stack([density0 * depth ** (2 / (gamma - 1)), velocity, p0 * depth ** (2 * gamma / (gamma - 1))])
    fanned = jnp.where(speed < u0 - c, before, jnp.where(inside, fan, behind))
    return jnp.where(p > p0, shocked, fanned)


_LEFT, _RIGHT, _DIAPHRAGM = (1.0, 0.0, 1.0), (0.125, 0.0, 0.1), 0.5


def _start(k: int) -> Formula:
    return Formula(None, lambda x: jnp.where(x < _DIAPHRAGM, _LEFT[k], _RIGHT[k]))


def _exact(k: int) -> Formula:
    return Formula(None, lambda t, x, gamma: shock_tube(t, x, gamma, k))


# Made once, so that two problems built alike are equal.
_START, _EXACT = tuple(map(_start, range(3))), tuple(map(_exact, range(3)))


@catalogued("Whitham (1974), Linear and Nonlinear Waves, section 2.8: a sine wave that breaks")
def burgers_shock(mean: Any = 0.5, amplitude: Any = 1.0) -> Problem:
    """u_t + (u^2 / 2)_x = 0 on [0, 2] x [0, 2 pi], periodic, u(0, x) = mean + amplitude sin x.

    At t = 1 / amplitude a shock forms at x = pi + mean t and moves with the mean; its height decays.
    """
    return Problem(
        inviscid_burgers_equation,
        Box(t=(0, 2), x=(0, 2 * pi)),
        coefficients={"mean": mean, "amplitude": amplitude},
        initial={"u": lambda x, mean, amplitude: mean + amplitude * sin(x)},
        boundary={"x": Periodic()},
        exact={"u": Formula(None, breaking_wave)},
        reference=Exact(floor=1e-13),
    )


@catalogued("Sod (1978), J. Comput. Phys. 27, 1")
def sod(gamma: Any = 1.4) -> Problem:
    """Sod's shock tube: Euler's equations on [0, 0.2] x [0, 1], open ends, from (1, 0, 1) and (0.125, 0, 0.1) beside x = 1/2.

    A fan, a contact and a shock leave the diaphragm; the exact solution is self-similar.
    """
    names = euler_equation.unknowns
    return Problem(
        euler_equation,
        Box(t=(0, 0.2), x=(0, 1)),
        coefficients={"gamma": gamma},
        initial=dict(zip(names, _START, strict=True)),
        boundary={"x": Outflow()},
        exact=dict(zip(names, _EXACT, strict=True)),
        reference=Exact(floor=1e-13),
    )
