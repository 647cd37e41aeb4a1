"""Random features fitted by least squares: a neural field whose hidden layer is frozen, so that fitting is linear algebra."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci._checks import is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.equations.residual import residual
from jaxsci.learning.marching import March, Options
from jaxsci.learning.neural import advise_float64, require_concrete
from jaxsci.learning.smoothed_start import SmoothedStart
from jaxsci.learning.steady import solve_steady
from jaxsci.problems import Problem, Solution, saved_times
from jaxsci.problems.solution import sample


@dataclasses.dataclass(frozen=True)
class RandomFeatures:
    r"""A field  G + D sum_j c_j phi_j  of frozen units phi_j, whose c_j solve the equation in least squares.

    Initial and boundary conditions hold exactly, by the lift G and the distance D. The units are tanh(a_j . z + b_j) with random
    a_j and b_j; on periodic boxes the waves cos and sin of whole wavenumbers. A steady problem is one fit (Gauss-Newton where it
    is not linear). With time the field is a separable network: units of space times polynomials of time, slab after slab, each from
    the field that the one before has reached. A slab's length follows the polynomials' last terms. On one axis the units see a
    coordinate that is fine where the field varies quickly; it is chosen anew when the residual at unseen points of space exceeds
    the tolerance. Nothing about the solution is told to the method.

    Args:
      n: number of units per unknown; by default 600 for a steady problem, 200 in one dimension of space with time, 400 in more.
        Equations without space have none: there is one polynomial of time per slab and unknown.
      tolerance: relative error in time of a slab, and residual in space relative to its largest term, that are aimed at.
      scale: of the random weights, for inputs in [-1, 1]; by default chosen by trial (steady) or from n.
      points: collocation points (with time: of space); by default four per feature (three).
      budget: seconds of wall time after which slabs are no longer refined.
      grid: points per axis of the saved fields.
      continuation: of a steady nonlinear problem, a coefficient and the values, from easy to hard, at which it is solved
        before its own: ``("viscosity", (0.01, 0.003))``.
      corners: of a steady problem: whether the corners of the box get features of their own, in the square root of the
        distance. They help where the solution is not smooth there, as between walls at rest.
      lifts: of a steady problem, by unknown, a function that takes what is prescribed; see `learning.HardConditions`.
    Error estimate: the residual integrated over time, carried along by the linearised equation, relative to the field; for
      steady problems and those of second order in time the residual relative to its largest term.
    Fails when: many space dimensions (the number of features that a given accuracy needs grows quickly); jumps.
    Reference: Huang, Zhu & Siew (2006), Neurocomputing 70, 489 (frozen features); Dong & Li (2021), Comput. Methods Appl.
      Mech. Eng. 387, 114129 (collocation, least squares, time slabs).
    Example:
      >>> import jax, jaxsci as js
      >>> with jax.enable_x64(True):
      ...     problem = js.problems.poisson()
      ...     solution = js.solve(problem, js.RandomFeatures(200))
      ...     error = js.relative_l2(solution, problem.reference())
      >>> error < 1e-8
      True
    """

    n: int | None = None
    tolerance: float = 1e-8
    scale: float | None = None
    points: int | None = None
    budget: float | None = None
    grid: int = 64
    continuation: tuple[str, tuple[float, ...]] | None = None
    corners: bool = False
    lifts: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        if self.n is not None and not (is_whole(self.n) and self.n >= 10):
            raise ValueError(f"RandomFeatures: n must be a whole number >= 10, got {self.n!r}.")
        if self.points is not None and not (is_whole(self.points) and self.points >= (self.n or 10)):
            raise ValueError(f"RandomFeatures: points must be a whole number >= n = {self.n or 10}, got {self.points!r}.")
        if not (is_whole(self.grid) and self.grid > 0):
            raise ValueError(f"RandomFeatures: grid must be a positive whole number, got {self.grid!r}.")
        for name in ("tolerance", "scale", "budget"):
            value = getattr(self, name)
            if not (value is None and name != "tolerance") and not value > 0:
                raise ValueError(f"RandomFeatures: {name} must be positive, got {value!r}.")

    def solve(
        self, problem: Problem, *, ts: SavedTimes = None, key: Key | None = None, progress: Progress = None
    ) -> Solution:
        """See `jaxsci.solve`."""
        require_concrete(problem, "RandomFeatures")
        advise_float64("RandomFeatures")
        key = jax.random.key(0) if key is None else key
        if problem.is_steady:
            return solve_steady(dataclasses.replace(self, n=self.n or 600), problem, key, progress)
        ts = jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
        count = self.n or (200 if len(problem.domain.space) < 2 else 400)
        options = Options(count, self.points or 3 * count, self.tolerance, self.scale, self.budget)
        with Stopwatch() as watch:
            march = March(problem, SmoothedStart(problem), _equation(problem), options, key, progress)
            field = march.run()
        grid = {name: jnp.linspace(*problem.domain[name], self.grid + 1) for name in problem.domain.space}
        fields = sample(field, ts, grid, problem.solids)
        judgements = [fit.judgement for fit in march.fits]
        stats = {
            "slabs": len(march.fits),
            "coordinates": len(march.groups),
            "residual": max(float(j.residual) for j in judgements),
            "relative_residual": max(float(j.relative) for j in judgements),
            "iterations": sum(fit.iterations for fit in march.fits),
            "parameters": sum(fit.slab.coefficients.size for fit in march.fits),
        }
        error = jnp.asarray(march.error_estimate(fields), fields.dtype)
        return Solution(problem, ts, grid, fields, field, error, stats, watch.cost(training=True))


def _equation(problem: Problem) -> Any:
    return dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
