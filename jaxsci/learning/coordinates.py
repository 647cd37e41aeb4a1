"""A coordinate that is fine where a field varies quickly: the sum of bumps of density that it needs and no more."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

BUMPS = 8  # at most
_BASE = 4.0  # units of the coordinate over a smooth interval
_ENOUGH = 2.0  # bumps are added where more than this times the density at hand is needed


class Coordinate(NamedTuple):
    r"""s(x), from -1 to 1 over an interval, of density  ds/dx ~ base + sum_j bump(kappa_j (x - c_j)).

    Between walls a bump is  asinh(kappa (x - c)), on a periodic interval the Moebius map of the circle
    theta / 2 + arctan(q sin theta / (1 - q cos theta)), both of slope kappa at their centre.
    """

    centres: Any  # [bumps]
    steepness: Any  # [bumps], kappa; 0 for none

    def raw(self, x: Any, lower: float, upper: float, periodic: bool) -> Any:
        """The coordinate before scaling: a unit of it is a length over which the field varies."""
        y = jnp.asarray(x)[..., None] - self.centres
        length = upper - lower
        if not periodic:
            return _BASE * x / length + jnp.sum(jnp.arcsinh(self.steepness * y), axis=-1)
        q, theta = self._eccentricity(length), 2 * math.pi * y / length
        bumps = theta / 2 + jnp.arctan(q * jnp.sin(theta) / (1 - q * jnp.cos(theta)))
        return _BASE * x / length + jnp.sum(jnp.where(self.steepness > 0, bumps, 0.0), axis=-1)

    def _eccentricity(self, length: float) -> Any:
        ratio = self.steepness * length / math.pi  # of the density at the centre to its mean
        return jnp.clip((ratio - 1) / (ratio + 1), 0.0, 1.0)

    def forward(self, x: Any, lower: float, upper: float, periodic: bool) -> Any:
        """s(x) in [-1, 1]."""
        low, high = (self.raw(jnp.full_like(x, end), lower, upper, periodic) for end in (lower, upper))
        return 2 * (self.raw(x, lower, upper, periodic) - low) / (high - low) - 1

    def extent(self, lower: float, upper: float, periodic: bool) -> float:
        """The length of the interval in units of the coordinate before scaling."""
        low, high = (float(self.raw(jnp.asarray(end), lower, upper, periodic)) for end in (lower, upper))
        return high - low


def uniform(dtype: Any = None) -> Coordinate:
    """The coordinate without bumps."""
    nothing = jnp.zeros(BUMPS, dtype or jnp.result_type(float))
    return Coordinate(nothing, nothing)


def needed_density(derivatives: dict[int, np.ndarray]) -> np.ndarray:
    """How quickly fields vary, ``[points]``: the largest over their derivatives p of |u^(p) / size of u|^(1/p)."""
    values = derivatives[0]
    span = np.maximum(np.ptp(values, axis=0), 1e-300)
    rates = [np.abs(d / span) ** (1 / p) for p, d in derivatives.items() if p > 0]
    return np.max(np.stack(rates), axis=(0, 2))


def adapted(x: np.ndarray, density: np.ndarray, lower: float, upper: float, periodic: bool) -> Coordinate:
    """The coordinate whose density follows a needed one, bump by bump, each where the most is missing.

    Args:
      x, density: points, ``[points]``, and what is needed there.
    """
    centres, steepness = np.zeros(BUMPS), np.zeros(BUMPS)
    length = upper - lower
    have = np.full(len(x), _BASE / length)
    for j in range(BUMPS):
        ratio = density / have
        at = int(np.argmax(ratio))
        if not ratio[at] > _ENOUGH:
            break
        centres[j], steepness[j] = x[at], density[at]
        y = x - centres[j]
        if periodic:
            kappa = steepness[j] * length / math.pi
            q = max((kappa - 1) / (kappa + 1), 0.0)
            circle = (1 - q**2) / (1 + q**2 - 2 * q * np.cos(2 * math.pi * y / length))
            have = have + math.pi / length * circle
        else:
            have = have + steepness[j] / np.sqrt(1 + (steepness[j] * y) ** 2)
    dtype = jnp.result_type(float)
    return Coordinate(jnp.asarray(centres, dtype), jnp.asarray(steepness, dtype))
