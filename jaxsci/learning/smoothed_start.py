r"""Starts with a kink at the seam of a periodic axis, which diffusion smooths from the first moment on.

Where the slope of a start jumps by J at a point s, the lift of `HardConditions` would keep that kink for all times.  Here it is
let go as diffusion lets it go:  |x - s| J / 2  becomes

    J / 2 E(t, x),   E = d erf(d / w) + w exp(-d^2 / w^2) / sqrt(pi),   d = |x - s|,  w = sqrt(4 D t),

which solves E_t = D E_xx and starts from d.  What the equation does beyond its diffusion is left to the features, and is smoother
by the factor t.

Reference: Carslaw & Jaeger (1959), Conduction of Heat in Solids, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy

from jaxsci.equations.evaluation import evaluate
from jaxsci.equations.splitting import split
from jaxsci.learning.conditions import HardConditions, Point

_IMAGES = 1  # of the seam on either side; they add up to a periodic field while diffusion reaches a third of the period


class SmoothedStart(HardConditions):
    """Hard conditions whose lift lets the kink of a start at a periodic seam diffuse; otherwise `HardConditions`."""

    def lift(self, unknown: str, point: Point, coefficients: Mapping[str, Any]) -> Any:
        value = super().lift(unknown, point, coefficients)
        axis = self._smoothed_axis(unknown)
        if axis is None:
            return value
        lower, upper = self.problem.domain[axis]
        jump = self._slope(unknown, axis, lower, coefficients) - self._slope(unknown, axis, upper, coefficients)
        diffusivity = self._diffusivity(unknown, axis, coefficients)
        elapsed = point["t"] - self.problem.domain["t"][0]
        x = point[axis]
        distances = [x - (lower - k * (upper - lower)) for k in range(_IMAGES + 1)]  # without | |: right at the seams too
        distances += [upper + k * (upper - lower) - x for k in range(_IMAGES + 1)]
        return value + jump / 2 * sum(_smoothed(distance, diffusivity, elapsed) for distance in distances)

    def _smoothed_axis(self, unknown: str) -> str | None:
        """The axis whose seam may have a kink: the only one, periodic, of an unknown that diffuses along it."""
        problem = self.problem
        space = problem.domain.space
        if (
            problem.is_steady
            or len(space) != 1
            or self.axis_kind(space[0]) != "periodic"
            or problem.time_order(unknown) != 1
        ):
            return None
        return space[0] if self._diffusion_terms(unknown, space[0]) is not None else None

    def _diffusion_terms(self, unknown: str, axis: str) -> tuple[sympy.Expr, sympy.Expr] | None:
        """The factors of u_xx and u_t in the row that evolves the unknown, where no higher derivative is there."""
        linear = {
            (term.row, term.letters): term.factor for term in split(self.problem.equation).linear if term.unknown == unknown
        }
        highest = max((len(letters) for name, letters in self.problem.equation.partials if name == unknown), default=0)
        for (row, letters), rate in linear.items():
            if letters == "t" and (row, 2 * axis) in linear and highest == 2:
                return linear[row, 2 * axis], rate
        return None

    def _diffusivity(self, unknown: str, axis: str, coefficients: Mapping[str, Any]) -> Any:
        terms = self._diffusion_terms(unknown, axis)
        assert terms is not None
        second, rate = (evaluate(factor, {}, {}, coefficients) for factor in terms)
        return -second / rate

    def _slope(self, unknown: str, axis: str, at: float, coefficients: Mapping[str, Any]) -> Any:
        def start(x):
            return self.problem.initial[unknown]({axis: x}, coefficients)

        x = jnp.asarray(at, jnp.result_type(float))
        return jax.jvp(start, (x,), (jnp.ones_like(x),))[1]

    def _check_lift_along(self, axis: str, inside: Point) -> None:
        """A kink of what is smoothed is allowed; a jump of the value is not."""
        names = [name for name in self.problem.unknowns if self._smoothed_axis(name) == axis]
        if not names:
            super()._check_lift_along(axis, inside)
            return
        problem, coefficients = self.problem, self.problem.coefficients
        lower, upper = problem.domain[axis]
        duration = np.ptp(problem.domain["t"])
        for name in names:
            low, high = (float(problem.initial[name]({axis: jnp.asarray(x)}, coefficients)) for x in (lower, upper))
            kink = float(self._slope(name, axis, lower, coefficients) - self._slope(name, axis, upper, coefficients))
            size = max(1.0, abs(low))
            reach = math.sqrt(4 * float(self._diffusivity(name, axis, coefficients)) * duration) / (upper - lower)
            too_far = abs(kink) * (upper - lower) > 1e-3 * size and not reach < 1 / 3
            if not abs(low - high) <= 1e-4 * size or too_far:
                raise ValueError(
                    f"{problem.name}: the start of {name} must be periodic in {axis}, but its value jumps by "
                    f"{abs(low - high):.2g} and its slope by {abs(kink):.2g} there (a slope may, where diffusion reaches less "
                    "than a third of the period); a field that keeps the start exactly would keep that for all times. Use "
                    "js.Spectral."
                )


def _smoothed(distance: Any, diffusivity: Any, elapsed: Any) -> Any:
    """E - d, which is w (exp(-z^2) / sqrt(pi) - z erfc(z)) with z = d / w, and 0 at the start."""
    positive = elapsed > 0
    width = jnp.sqrt(4 * diffusivity * jnp.where(positive, elapsed, 1.0))
    z = distance / width
    near = z < 8.0  # beyond, it is below 1e-28, and its derivatives too
    safe = jnp.where(near, z, 8.0)
    value = width * (jnp.exp(-(safe**2)) / np.sqrt(np.pi) - safe * jax.scipy.special.erfc(safe))
    return jnp.where(positive & near, value, 0.0)
