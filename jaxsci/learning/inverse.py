r"""Inverse problems: coefficients from observations, by a learned field or through a numerical solver, with their uncertainty.

A learned field and the coefficients are fitted together,

    min  sum_i |u(x_i) - y_i|^2 / sigma^2  +  (N / tau^2) mean |R[u] / s|^2,

where s is the size of the equation's terms and tau the share of it by which the equation may fail.  tau falls by tens until
neither the coefficients nor their standard deviations change: from there on the physics is a strong constraint, and tau drops
out of the answer.  A large tau at first makes the start easy: the field follows the data before it obeys the equation, so that
nothing is integrated with wrong coefficients, which is where fits through a solver get lost on long or chaotic orbits.

Reference: Raissi, Perdikaris & Karniadakis (2019), J. Comput. Phys. 378, 686 (inverse problems); Ramsay et al. (2007),
J. R. Stat. Soc. B 69, 741 (a field between data and equation); Nocedal & Wright (2006), section 17.1 (penalties by stages).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsci._checks import check_finite, check_keys, listed
from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.learning.free import SolvedField, values_of
from jaxsci.learning.neural import Neural, NeuralField, advise_float64, require_concrete
from jaxsci.learning.objective import Coefficients, Unknowns
from jaxsci.learning.observations import Data, Observations, prepare
from jaxsci.learning.posterior import Posterior
from jaxsci.learning.random_features import RandomFeatures
from jaxsci.learning.stages import NOISE, Stage, feature_stages, network_stages, run_stages, through_solver
from jaxsci.problems import Problem, Solution
from jaxsci.problems.solution import sample

_UNFITTED = 2.0  # mean square misfit in standard deviations above which the summary warns
_UNDETERMINED = 1.0  # relative standard deviation above which a combination of coefficients counts as not determined


@dataclasses.dataclass(frozen=True)
class Inverse:
    """Fitted coefficients, the field, and how sure they are.

    Attributes:
      coefficients: the free coefficients at their fitted values.
      solution: the fitted field, a `Solution` of the problem with these coefficients.
      posterior: the Gaussian of everything that was fitted; see `interval` and `spread`.
      noise: standard deviation of the observations by name, as given or as estimated.
      misfit: mean square of the misfit in standard deviations: about one where the model is right and the noise as given.
      tau: the share of its terms by which the equation was allowed to fail in the last stage; zero through a solver.
      settled: whether the answer had ceased to depend on tau (always so through a solver).
      stopped: why the last fit ended: "steps", "budget", "converged", "not finite".
    """

    coefficients: dict[str, Any]
    solution: Solution
    posterior: Posterior
    noise: dict[str, float]
    misfit: float
    tau: float
    settled: bool
    stopped: str
    _fit: Stage = dataclasses.field(repr=False)

    @property
    def deviations(self) -> dict[str, Any]:
        """Standard deviations of the coefficients (of a function's parameters, in its own structure), to first order."""
        flat, unravel = ravel_pytree(self._fit.unknowns["coefficients"])
        spread = unravel(jnp.asarray(np.sqrt(np.diag(self.posterior.covariance)), flat.dtype))
        slope = lambda change: values_of(change, self._fit.coefficients, self._fit.positive)  # noqa: E731
        slopes = jax.jvp(slope, (self._fit.unknowns["coefficients"],), (spread,))[1]
        return {name: jax.tree.map(jnp.abs, slopes[name]) for name in self.coefficients}

    def interval(self, level: float = 0.95) -> dict[str, tuple[Any, Any]]:
        """Central intervals of the coefficients: (low, high) by name.

        Normal where the noise is known and Student's where it was estimated; of positive coefficients in the logarithm.
        """
        if not 0 < level < 1:
            raise ValueError(f"interval: level must lie between 0 and 1, got {level!r}.")
        width = _quantile(level, self._fit.known, self._fit.count - float(self.posterior.effective))
        centre = self._fit.unknowns["coefficients"]
        flat, unravel = ravel_pytree(centre)
        spread = unravel(jnp.asarray(width * np.sqrt(np.diag(self.posterior.covariance)), flat.dtype))
        ends = []
        for sign in (-1, 1):
            moved = jax.tree.map(lambda c, s: c + sign * s, centre, spread)  # noqa: B023
            ends.append(values_of(moved, self._fit.coefficients, self._fit.positive))
        return {
            name: (jax.tree.map(jnp.minimum, ends[0][name], ends[1][name]),
                   jax.tree.map(jnp.maximum, ends[0][name], ends[1][name]))
            for name in self.coefficients
        }  # fmt: skip

    @property
    def undetermined(self) -> list[dict[str, float]]:
        """Combinations of relative changes of the coefficients that the data leave open: none where all are identifiable.

        Each is the direction, a share by name, along which the relative standard deviation exceeds one.
        """
        names = _entries(self._fit.unknowns["coefficients"])
        values, directions = self.posterior.sensitivities
        open_ = np.sqrt(float(self.posterior.variance)) > _UNDETERMINED * values
        return [
            dict(zip(names, np.round(row, 6).tolist(), strict=True))
            for row, is_open in zip(directions, open_, strict=True)
            if is_open
        ]

    def spread(self, **coordinates: Any) -> Any:
        """Posterior standard deviation of the field at points: shaped as `Solution.evaluate` shapes its values."""
        problem = self.solution.problem
        check_keys("coordinate", coordinates, problem.coordinates, complete=True)
        arrays = [jnp.asarray(coordinates[name], self.solution.fields.dtype) for name in problem.coordinates]
        shape = jnp.broadcast_shapes(*(a.shape for a in arrays))
        points = jnp.stack([jnp.broadcast_to(a, shape).ravel() for a in arrays], axis=-1)
        slopes = _field_slopes(self._fit.objective, self._fit.unknowns, self._fit.coefficients, points)
        out = self.posterior.spread(slopes).T.reshape((len(problem.unknowns), *shape))
        return out[0] if len(problem.unknowns) == 1 else out

    def summary(self) -> str:
        """One line per coefficient, with its interval, and what is not determined."""
        lines = []
        for name, (low, high) in self.interval().items():
            if np.ndim(low) == 0 and not callable(low):
                lines.append(f"{name} = {float(self.coefficients[name]):.8g}, 95 % in [{float(low):.8g}, {float(high):.8g}]")
            else:
                lines.append(f"{name}: {ravel_pytree(low)[0].size} parameters")
        lines += [f"not determined: {direction}" for direction in self.undetermined]
        if self._fit.known and self.misfit > _UNFITTED:
            lines.append(
                f"the field misses the data by {self.misfit**0.5:.1f} standard deviations: model, noise or features fail"
            )
        if not self.settled:
            lines.append(f"the answer still depends on how strictly the equation holds (tau = {self.tau:.0e})")
        return "\n".join(lines)


def fit(
    problem: Problem,
    data: Observations,
    free: str | Sequence[str],
    method: Any,
    *,
    positive: str | Sequence[str] = (),
    key: Key | None = None,
    progress: Progress = None,
) -> Inverse:
    r"""Coefficients of a problem, and its field, from observations.

    Args:
      problem: the equation and conditions, with first guesses as coefficients. A start that is unknown is a coefficient too:
        ``problem.with_initial(u=series)`` makes it ``u_start``. Of a `Problem.window` nothing but the equation is used.
      data: an `Observations`.
      free: names of the coefficients to fit: numbers, or functions with parameters (a `FourierSeries`) where the equation
        calls them.
      method: `RandomFeatures` (`n` features per unknown over the whole time, fitted with the coefficients by Gauss-Newton) or
        `Neural` (its network and optimisers); or a numerical method, `Adaptive` or `Spectral`, which solves the problem anew
        for every guess.
      positive: names of free coefficients that are positive; they are fitted as logarithms.
      key, progress: as in `jaxsci.solve`.
    Returns:
      An `Inverse`: coefficients, solution, intervals.
    Raises:
      TypeError, KeyError, ValueError: what is wrong with the problem, the data or a name, before anything is fitted.
      FloatingPointError: through a solver, where the problem has no finite solution at the first guess.
    Dtype: the default floating-point type; float32 ends near three digits and says so.
    Reference: see `jaxsci.learning.inverse`.
    Example:
      >>> import jax, numpy as np, jaxsci as js
      >>> decay = js.Equation(lambda u, rate: u.t + rate * u, name="decay")
      >>> with jax.enable_x64(True):
      ...     problem = js.Problem(decay, js.Box(t=(0, 2)), coefficients={"rate": 1.0}, initial={"u": 1.0})
      ...     t = np.linspace(0.1, 2, 20)
      ...     data = js.learning.Observations({"t": t}, {"u": np.exp(-1.7 * t)}, noise=1e-3)
      ...     inverse = js.learning.fit(problem, data, free="rate", method=js.RandomFeatures(20))
      >>> round(float(inverse.coefficients["rate"]), 6), bool(inverse.deviations["rate"] < 2e-3)
      (1.7, True)
    """
    names, logarithmic = _names(free), _names(positive)
    _check_free(problem, names, logarithmic)
    require_concrete(problem, "fit")
    check_finite(problem)
    observed = prepare(problem, data)
    key = jax.random.key(0) if key is None else key
    with Stopwatch() as watch:
        if isinstance(method, RandomFeatures | Neural):
            advise_float64("fit")
            stage = feature_stages if isinstance(method, RandomFeatures) else network_stages
            done = run_stages(stage(problem, observed, names, logarithmic, method, key, progress), progress)
        elif callable(getattr(method, "solve", None)):
            done = through_solver(problem, observed, names, logarithmic, method, progress)
        else:
            raise TypeError(
                "fit: method must be js.RandomFeatures(...), js.Neural(...), or a numerical method such as js.Adaptive(), got "
                f"{method!r}."
            )
        values = values_of(done.unknowns["coefficients"], done.coefficients, logarithmic)
        fitted = problem.with_coefficients(**{name: _plain(value) for name, value in values.items()})
    if isinstance(method, RandomFeatures | Neural):
        solution = _solution(fitted, problem, done, method, watch)
    else:
        solution = method.solve(fitted)
    return _result(done, values, solution, observed)


# --- results ---------------------------------------------------------------------------------------------------------


def _result(done: Stage, values: dict[str, Any], solution: Solution, data: Data) -> Inverse:
    size = np.asarray(data.noise, float)
    sigma = size if data.known else size * NOISE * math.sqrt(float(done.posterior.variance))
    noise = dict(zip(data.names, sigma.tolist(), strict=True))
    return Inverse(
        values,
        solution,
        done.posterior,
        noise,
        float(done.posterior.misfit / done.posterior.variance),
        done.tau,
        done.settled,
        done.stopped,
        done,
    )


def _solution(fitted: Problem, problem: Problem, done: Stage, method: Any, watch: Stopwatch) -> Solution:
    field = NeuralField(done.objective, done.unknowns, problem)
    ts = None if problem.is_steady else jnp.asarray(fitted.times, jnp.result_type(float))
    grid = {name: jnp.linspace(*problem.domain[name], method.grid + 1) for name in problem.domain.space}
    fields = sample(field, ts, grid)
    spread = jnp.sqrt(jnp.mean(fields**2))
    stats = {"steps": done.steps, "stopped": done.stopped, "parameters": ravel_pytree(done.unknowns)[0].size}
    error = jnp.asarray(jnp.nan, fields.dtype) * spread
    return Solution(fitted, ts, grid, fields, field, error, stats, watch.cost(training=True))


@functools.partial(jax.jit, static_argnames=("objective",))
def _field_slopes(objective: Any, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> Any:
    """Derivatives of the field in the flattened unknowns, ``[points, unknowns, P]``."""
    flat, unravel = ravel_pytree(unknowns)
    if isinstance(objective, SolvedField):
        return jax.jacfwd(lambda flat: objective.values(unravel(flat), coefficients, points))(flat)
    at_point = lambda flat, point: objective.field(unravel(flat), coefficients)(*point)  # noqa: E731
    return jax.vmap(jax.jacrev(at_point), in_axes=(None, 0))(flat, points)


def _quantile(level: float, known: bool, freedom: float) -> float:
    """Of the normal distribution, or of Student's by its expansion in one over the degrees of freedom (to 1 % from 4 on).

    Reference: Abramowitz & Stegun (1964), 26.7.5.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    if known:
        return z
    nu = max(freedom, 1.0)
    return z + (z**3 + z) / (4 * nu) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu**2)


# --- checks ----------------------------------------------------------------------------------------------------------


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 and not callable(value) else value


def _entries(change: Mapping[str, Any]) -> list[str]:
    """One name for every scaled variable, in their order: ``rate``, or ``u_start[3]``."""
    out = []
    for name in sorted(change):
        size = ravel_pytree(change[name])[0].size
        out += [name] if size == 1 else [f"{name}[{i}]" for i in range(size)]
    return out


def _check_free(problem: Any, names: tuple[str, ...], positive: tuple[str, ...]) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"fit(problem, data, ...): the first argument must be a Problem, got {type(problem).__name__}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"fit: free must name one or more different coefficients, got {listed(names)}.")
    check_keys("free coefficient", dict.fromkeys(names), problem.coefficients)
    check_keys("positive coefficient", dict.fromkeys(positive), names)
    for name in names:
        value = problem.coefficients[name]
        if callable(value) and not [leaf for leaf in jax.tree.leaves(value) if not callable(leaf)]:
            raise ValueError(
                f"fit: the free coefficient {name} is a function without parameters; give one that is a pytree, such as a "
                "jaxsci.problems.FourierSeries or jax.tree_util.Partial(function, parameters)."
            )
        if name in positive and (callable(value) or not float(value) > 0):
            raise ValueError(
                f"fit: the positive coefficient {name} must be a number above zero at the start, got {value!r}; for a function "
                f"write exp({name}(x)) in the equation."
            )
