"""Random features fitted by least squares: a neural field whose hidden layer is frozen, so that fitting is linear algebra."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxsci._checks import check_keys, is_whole
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress, SavedTimes
from jaxsci.equations.residual import PointwiseResidual, residual
from jaxsci.learning.certificate import certified
from jaxsci.learning.conditions import HardConditions
from jaxsci.learning.feature_fit import Fitter
from jaxsci.learning.marching import March, MarchConditions, Options
from jaxsci.learning.neural import advise_float64, require_concrete
from jaxsci.learning.space_time_march import FeatureField, SpaceTimeMarch
from jaxsci.learning.standing_waves import StandingWaves
from jaxsci.learning.steady import solve_steady
from jaxsci.problems import Problem, Solution, saved_times
from jaxsci.problems.solution import sample


@dataclasses.dataclass(frozen=True)
class RandomFeatures:
    r"""A field  G + D sum_j c_j phi_j  of frozen units phi_j, whose c_j solve the equation in least squares.

    Initial and boundary conditions hold exactly, by the lift G and the distance D. A problem of first order in time is marched
    with a separable network, random tanh units of space (on periodic boxes the waves of whole wavenumbers) times polynomials of
    time, in slabs that each start from the field that the one before has reached. A slab's length follows the polynomials' last
    terms. On one axis the units see a coordinate that is fine where the field varies quickly, chosen anew when the residual at
    unseen points exceeds the tolerance. So are waves in periodic boxes, and between walls that mirror them (by standing waves).
    Steady problems, and waves between other walls in a few long slabs, are fitted with random tanh units of all coordinates
    together. Nothing about the solution is told to the method.

    Args:
      n: number of units per unknown; by default 200 in one dimension of space with time, 400 in more, and 600 where
        space and time go together. Equations without space have polynomials of time alone.
      tolerance: relative error in time of a slab, and residual in space relative to its largest term, that are aimed at.
      scale: of the random weights, for inputs in [-1, 1]; by default from n, or by trial.
      points: collocation points, in marches those of space; by default three per unit, four where space and time go together.
      budget: seconds of wall time after which slabs are no longer refined.
      grid: points per axis of the saved fields.
      continuation: of a steady nonlinear problem, a coefficient and the values, from easy to hard, at which it is solved
        before its own: ``("viscosity", (0.01, 0.003))``.
      corners: of a steady problem: whether the corners of the box get features of their own, in the square root of the
        distance. They help where the solution is not smooth there, as between walls at rest.
      weak: of a steady problem in a box: whether the residual is measured in the norm in which it bounds the solution's error,
        `learning.DualNorm`, on a grid of Gauss points. It helps where the highest derivatives are large: with boundary layers,
        with corners, in equations of fourth order.
      lifts: of a steady problem, by unknown, a function that takes what is prescribed; see `learning.HardConditions`.
      estimate: of problems that are not marched, compute the error estimate by `jaxsci.learning.certify`; without it the
        estimate is the residual relative to its largest term: an indication.
    Error estimate: in marches the residual integrated over time and carried along by the linearised equation, relative to the
      field; otherwise that of `jaxsci.learning.Certificate`.
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
    weak: bool = False
    lifts: tuple[tuple[str, Any], ...] = ()
    estimate: bool = True

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
        if self.continuation is not None:
            check_keys("continuation: coefficient", {self.continuation[0]: None}, problem.coefficients)
        if problem.is_steady:
            solution = solve_steady(dataclasses.replace(self, n=self.n or 600), problem, key, progress)
            return certified(solution) if self.estimate else solution
        only_steady = {"weak": self.weak, "corners": self.corners, "continuation": self.continuation, "lifts": self.lifts}
        for name, given in only_steady.items():
            if given:
                raise ValueError(
                    f"RandomFeatures: {name}={given!r} is for steady problems, but {problem.name} has a t; leave it out."
                )
        with Stopwatch() as watch:
            conditions = _march_conditions(problem)
            marches = conditions is not None
            if conditions is not None:
                march = March(problem, conditions, _equation(problem), self._options(problem, marches), key, progress)
                field = march.run()
                judged = [(fit.judgement.residual, fit.judgement.relative) for fit in march.fits]
                counts = [(fit.iterations, fit.slab.coefficients.size) for fit in march.fits]
            else:
                fitter = Fitter.of(problem)
                fits = SpaceTimeMarch(self._options(problem, marches), fitter, key, progress).run()
                slabs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(fit.slab for fit in fits))
                field = FeatureField(fitter.conditions, problem, slabs)
                judged = [(fit.residual, fit.relative) for fit in fits]
                counts = [(fit.iterations, fit.slab.coefficients.size) for fit in fits]
        ts = jnp.asarray(saved_times(problem, ts), jnp.result_type(float))
        grid = {name: jnp.linspace(*problem.domain[name], self.grid + 1) for name in problem.domain.space}
        fields = sample(field, ts, grid, problem.solids)
        error = march.error_estimate(fields) if marches else max(float(relative) for _, relative in judged)
        stats = {
            "slabs": len(judged),
            "residual": max(float(residual) for residual, _ in judged),
            "relative_residual": max(float(relative) for _, relative in judged),
            "iterations": sum(iterations for iterations, _ in counts),
            "parameters": sum(size for _, size in counts),
        }
        error = jnp.asarray(error, fields.dtype)
        solution = Solution(problem, ts, grid, fields, field, error, stats, watch.cost(training=True))
        return certified(solution) if self.estimate and not marches else solution

    def _options(self, problem: Problem, marches: bool) -> Options:
        if marches:
            count = self.n or (200 if len(problem.domain.space) < 2 else 400)
            return Options(count, self.points or 3 * count, self.tolerance, self.scale, self.budget)
        count = self.n or 600
        return Options(count, self.points or 4 * count, self.tolerance, self.scale, self.budget)


def _march_conditions(problem: Problem) -> HardConditions | None:
    """The conditions of a march in short slabs; None where those cannot carry it.

    They carry what is of first order in time, and waves in periodic boxes or between walls that mirror them.  Units that hold
    values by a factor do not hold slopes (Neumann's and Robin's walls, where no mirror does), and between walls they have
    spurious modes that grow where nothing damps them: such problems need units of space and time.
    """
    walls = any(problem.walls(axis) for axis in problem.domain.space)
    if walls and any(problem.time_order(name) > 1 for name in problem.unknowns):
        return StandingWaves.of(problem)
    conditions = MarchConditions(problem)
    return None if any(conditions.needs_slopes(name) for name in problem.unknowns) else conditions


def _equation(problem: Problem) -> PointwiseResidual:
    return dataclasses.replace(residual(problem), defaults=())  # the coefficients are arguments
