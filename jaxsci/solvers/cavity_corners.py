"""The corners of a lid-driven cavity: the first two terms of the flow where the lid meets a wall; see `jaxsci.solvers.cavity`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.polynomial import Polynomial

# A function of the angle: the sum over k of Re(P_k(a) exp(i k a)), by k.
Angular = dict[int, Polynomial]

_P, _C = math.pi, 1 / (math.pi**2 / 4 - 1)
# Creeping flow under a lid of speed 1 that leaves a wall at a right angle (Taylor 1962).
STOKES: Angular = {1: Polynomial([1j * _C * _P**2 / 4, _C * (1 - 1j * _P / 2)])}
# The solution of g'''' + 4 g'' = (f (f + f''))' that is clamped at lid and wall.
_RAMP, _SLOPE, _TWIST = _P * (_P**4 + 14 * _P**2 - 24) / 1024, _P**2 * (8 + _P**2) / 256, (_P**2 + 12) / 128
INERTIAL: Angular = {
    0: _C**2 * Polynomial([-_RAMP, _SLOPE]),
    2: _C**2
    * Polynomial([
        _RAMP + 1j * (_SLOPE + _TWIST) / 2,
        _TWIST - 1j * _P * (6 + _P**2) / 64,
        -_P / 16 - 1j * (4 - _P**2) / 64,
    ]),
}  # fmt: skip


def _derivative(angular: Angular) -> Angular:
    return {k: p.deriv() + 1j * k * p for k, p in angular.items()}


def angular_value(angular: Angular, a: Any, xp: Any = np) -> Any:
    """The values of a function of the angle."""
    terms = [
        a**j * (c.real * xp.cos(k * a) - c.imag * xp.sin(k * a)) for k, p in angular.items() for j, c in enumerate(p.coef)
    ]
    return sum(terms)


class Parts(NamedTuple):
    """A stream function and what the equation needs of it, on a grid."""

    psi: Any
    x: Any  # psi_x
    y: Any
    qx: Any  # (lap psi)_x
    qy: Any
    q: Any  # lap psi of the polynomial part
    biharmonic: Any  # lap lap psi of the singular part

    def __add__(self, other: Any) -> Parts:
        return Parts(*(a + b for a, b in zip(self, other, strict=True)))

    def scaled(self, factor: Any) -> Parts:
        return Parts(*(factor * a for a in self))

    def mirrored(self) -> Parts:
        """The same in 1 - x, on a grid that the mirror maps to itself."""
        signs = (1, -1, 1, -1, 1, 1, 1)
        return Parts(*(sign * np.flip(a, 0) for sign, a in zip(signs, self, strict=True)))


def corner_parts(x: Any, y: Any, m: int, angular: Angular) -> Parts:
    """r^m g(a) about the upper left corner, in polar coordinates: no differences of large numbers near the corner."""
    r, a = np.hypot(x, 1 - y), np.arctan2(1 - y, x)
    g = [angular]
    for _ in range(4):
        g.append(_derivative(g[-1]))
    g0, g1, g2, g3, g4 = (angular_value(f, a) for f in g)
    h0, h1, h2 = m**2 * g0 + g2, m**2 * g1 + g3, m**2 * g2 + g4  # lap psi = r^(m-2) h
    cos, sin = np.cos(a), np.sin(a)

    def gradient(radial, tangential):  # y runs against the angle
        return radial * cos - tangential * sin, -(radial * sin + tangential * cos)

    px, py = gradient(m * r ** (m - 1) * g0, r ** (m - 1) * g1)
    qx, qy = gradient((m - 2) * r ** (m - 3.0) * h0, r ** (m - 3.0) * h1)
    biharmonic = 0 * r if m == 1 else r ** (m - 4.0) * ((m - 2) ** 2 * h0 + h2)
    return Parts(r**m * g0, px, py, qx, qy, 0 * r, biharmonic)


def corner_flow(x: Any, y: Any, viscosity: Any) -> Any:
    """S at ONE point; at the corners themselves it has the slopes that it has on the lid."""

    def left(x):
        x = jnp.where((x == 0) & (y == 1), 1e-30, x)
        r, a = jnp.sqrt(x**2 + (1 - y) ** 2), jnp.arctan2(1 - y, x)
        return r * angular_value(STOKES, a, jnp), r**2 * angular_value(INERTIAL, a, jnp)

    (stokes, inertial), (mirrored, other) = left(x), left(1 - x)
    return stokes + mirrored + (inertial - other) / viscosity  # a mirror turns the flow around: even terms change sign
