"""POD-Galerkin: the solver's own right-hand side between the leading modes of the data."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci._types import Key, Progress
from jaxsci.solvers import Stepper, etdrk
from jaxsci.solvers.lines import FourierLines
from jaxsci.surrogates.closed_form import as_parameters, checked_fields, fitted
from jaxsci.surrogates.decompositions import check_rank, proper_orthogonal_decomposition, to_coefficients, to_fields
from jaxsci.surrogates.stepper import FittedSurrogate
from jaxsci.surrogates.trajectories import Trajectories

_LARGEST_TENSOR = 48  # the rank up to which a quadratic right-hand side is a table of rank^3 numbers
_MOST_STEPS = 64  # per save
_TOLERANCE = 1e-4  # of a step between saves, relative to what it changes


@dataclasses.dataclass(frozen=True)
class GalerkinRule:
    """da/dt = L a + N(a, t), stepped by ETDRK4; the coefficients of the basis are what is carried."""

    steps: int  # per save
    tensor: bool  # N as a quadratic polynomial in a; otherwise on the grid

    def prepare(self, parameters: Any, frame: Stepper) -> Any:
        """The reduced right-hand side and its tables for the frame's coefficients."""
        basis = {name: parameters[name] for name in ("mean", "modes", "analysis")}
        linear, form = reduced(basis, frame, self.tensor)
        return basis | {"linear": linear, "form": form, "frame": frame, "tables": _tables(linear, frame.dt / self.steps)}

    def encode(self, parameters: Any, fields: Any) -> Any:
        return to_coefficients(parameters, fields)

    def step(self, parameters: Any, carry: Any, coefficients: Any, t: Any) -> Any:
        one = lambda a, i: (self.short_step(parameters, parameters["tables"], a, t, i), None)  # noqa: E731
        return jax.lax.scan(one, carry, jnp.arange(self.steps))[0]

    def short_step(self, parameters: Any, table: etdrk.Tables, a: Any, t: Any, i: Any) -> Any:
        """The i-th step from a save at t."""
        rest = reduced_rest(parameters, parameters["frame"])
        if self.tensor:
            rest = lambda a, t: evaluate_form(parameters["form"], a)  # noqa: E731
        return etdrk.step("dense", 4, table, rest, a, t + i * table.h).astype(a.dtype)

    def decode(self, parameters: Any, carry: Any) -> Any:
        return to_fields(parameters, carry)


@functools.partial(jax.jit, static_argnames=("tensor",))
def reduced(basis: Any, frame: Stepper, tensor: bool) -> tuple[Any, Any]:
    """L on the coefficients, ``[rank, rank]``, and where asked the quadratic form of N(a)."""
    image = jax.vmap(lambda mode: _projected_linear(basis, frame, mode))(basis["modes"])
    form = quadratic_form(reduced_rest(basis, frame), len(image), image.dtype) if tensor else None
    return image.T, form


@jax.jit
def _tables(linear: Any, h: Any) -> etdrk.Tables:
    return etdrk.tables("dense", linear, jnp.asarray(h, linear.dtype), 4)


def reduced_rest(basis: Any, frame: Stepper) -> Any:
    """N(a, t): the projection of the rest of the solver's right-hand side at mean + a . modes, and of L mean."""
    constant = _projected_linear(basis, frame, basis["mean"])
    lines = frame.lines
    if not lines.has_rest:
        return lambda a, t: constant + 0 * a

    def rest(a: Any, t: Any) -> Any:
        state = lines.encode(to_fields(basis, a))
        rate = lines.nonlinear(frame.operators, frame.problem.coefficients, state, t)
        return constant + _projected(basis, lines.decode(rate))

    return rest


def _projected_linear(basis: Any, frame: Stepper, fields: Any) -> Any:
    rate = etdrk.apply(frame.lines.kind, frame.operators.linear, frame.lines.encode(fields))
    return _projected(basis, frame.lines.decode(rate))


def _projected(basis: Any, rates: Any) -> Any:
    analysis = basis["analysis"]
    return (analysis.reshape(len(analysis), -1) @ rates.ravel()).astype(analysis.dtype)


def quadratic_form(rest: Any, rank: int, dtype: Any) -> tuple[Any, Any, Any]:
    """c, J and Q of N(a) = c + J a + a Q a: value, slopes and half the second derivatives at zero, a row at a time."""
    zero, at = jnp.zeros(rank, dtype), jnp.zeros((), dtype)
    function = lambda a: rest(a, at)  # noqa: E731
    slope = lambda a, e: jax.jvp(function, (a,), (e,))[1]  # noqa: E731
    unit = jnp.eye(rank, dtype=dtype)
    linear = jax.lax.map(lambda e: slope(zero, e), unit)
    second = jax.lax.map(lambda e: jax.vmap(lambda d: jax.jvp(lambda a: slope(a, d), (zero,), (e,))[1])(unit), unit)
    return function(zero), linear.T, jnp.moveaxis(second, -1, 0) / 2


def evaluate_form(form: tuple[Any, Any, Any], a: Any) -> Any:
    """c + J a + a Q a."""
    constant, linear, quadratic = form
    return constant + linear @ a + (quadratic @ a) @ a


@dataclasses.dataclass(frozen=True)
class POD:
    r"""POD-Galerkin: the equation itself, projected on the leading modes of the data.

        da_i/dt = <phi_i, F(mean + sum_j a_j phi_j)>,    F the solver's right-hand side

    F is that of the spectral solver on the data's grid, from the one equation. Its linear part is exact over a step
    (ETDRK4 with a dense matrix). Where F is quadratic, which is tried with numbers, and the rank is at most 48, its projection is
    computed once, as rank^3 numbers; otherwise it is evaluated on the grid, at the cost of the solver's own steps.
    Coefficients may change: the projection is then made anew.

    Args:
      rank: how many modes, or a fraction below 1 for the share of the variance that they hold.
      steps: of the time stepping between two saves; None for as many (1, 2, 4, ... 64) as change nothing above 1e-4.
    Fails when: the modes that were left out matter (they take energy from the others, and nothing stands for that: rollouts of
      turbulence grow), or a start lies outside the basis. Axes with walls need a mirror.
    Reference: Holmes, Lumley, Berkooz & Rowley (2012), *Turbulence, Coherent Structures, Dynamical Systems and Symmetry*,
      section 4.1.
    Example:
      >>> import jax, jaxsci as js
      >>> problem = js.problems.heat()
      >>> s = js.stepper(problem, js.Spectral(n=16, dt=0.1))
      >>> starts = jax.random.normal(jax.random.key(0), (20, 1, 17))
      >>> run = lambda u: js.rollout(s, 3, state=s.encode(u), save_every=1).fields
      >>> data = js.surrogates.Trajectories(problem, jax.vmap(run)(starts), {}, dt=0.1)
      >>> fitted = js.stepper(problem, js.surrogates.POD(rank=15).fit(data))
      >>> error = fitted.decode(fitted.step(fitted.encode(data.fields[0, 1]))) - data.fields[0, 2]
      >>> bool(abs(error).max() < 1e-5)
      True
    """

    rank: int | float = 0.999
    steps: int | None = None

    def __post_init__(self):
        check_rank("POD", self.rank)
        if self.rank is None:
            raise ValueError("POD: give the rank, a whole number or a share of the variance such as 0.999.")
        if self.steps is not None and not (isinstance(self.steps, int) and self.steps >= 1):
            raise ValueError(f"POD: steps must be a whole number >= 1 or None, got {self.steps!r}.")

    def fit(
        self, data: Trajectories, *, key: Key | None = None, budget: float | None = None, progress: Progress = None
    ) -> FittedSurrogate:
        """See the class; key and budget are not used, as nothing is drawn or iterated.

        Raises:
          TypeError, ValueError: no trajectories, not finite, a rank beyond what the data give, or walls without a mirror.
        """
        with Stopwatch() as watch:
            fields = checked_fields("POD", data, saves=1)
            frame = data.frame()
            if not isinstance(frame.lines, FourierLines):
                raise ValueError(
                    f"POD: {data.problem.name} has walls without a mirror, whose conditions no basis keeps; use DMD or Ridge."
                )
            basis = proper_orthogonal_decomposition(data, fields, rank=self.rank, name="POD")
            parameters = as_parameters(basis.parameters(), fields)
            starts = jnp.asarray(basis.coefficients(fields[:8, 0]), parameters["mean"].dtype)
            quadratic = is_quadratic(parameters, frame, np.asarray(starts))
            rule = GalerkinRule(1, quadratic and basis.rank <= _LARGEST_TENSOR)
            rule = dataclasses.replace(rule, steps=self.steps or _enough_steps(rule, parameters, frame, starts))
            stats = {
                "parameters": basis.modes.size + basis.mean.size, "rank": basis.rank, "energy": basis.energy,
                "quadratic": quadratic, "tensor": rule.tensor, "steps_per_save": rule.steps,
            }  # fmt: skip
            if progress is not None:
                progress(f"POD: rank {basis.rank}, {rule.steps} steps per save")
        return fitted(rule, parameters, data, watch, stats)


def is_quadratic(basis: Any, frame: Stepper, starts: np.ndarray) -> bool:
    """Third differences of N vanish along a random direction of the data's size, and N does not depend on the time."""
    size = np.sqrt(np.mean(np.sum(starts**2, axis=-1))) or 1.0
    direction = np.random.default_rng(0).normal(size=starts.shape[-1])
    direction = direction / np.linalg.norm(direction) * size
    places = jnp.asarray(np.array([0, 1, 2, 3, 1])[:, None] * direction, starts.dtype)
    times = jnp.asarray([0, 0, 0, 0, 0.7310585], starts.dtype)
    *values, later = np.asarray(_rests(basis, frame, places, times), float)
    scale = max(np.abs(value).max() for value in values) or 1.0
    tolerance = 1e4 * float(np.finfo(starts.dtype).eps) * scale
    third = values[3] - 3 * values[2] + 3 * values[1] - values[0]
    return bool(np.abs(third).max() <= tolerance and np.abs(later - values[1]).max() <= tolerance)


@jax.jit
def _rests(basis: Any, frame: Stepper, places: Any, times: Any) -> Any:
    return jax.vmap(reduced_rest(basis, frame))(places, times)


def _enough_steps(rule: GalerkinRule, parameters: Any, frame: Stepper, starts: Any) -> int:
    """Doubled until a step between saves changes by less than 1e-4 of what it does."""
    made, steps = rule.prepare(parameters, frame), 1
    before = _to_next_save(rule, made, starts, frame.dt, steps)
    while steps < _MOST_STEPS:
        after = _to_next_save(rule, made, starts, frame.dt, 2 * steps)
        if float(jnp.linalg.norm(after - before)) <= _TOLERANCE * float(jnp.linalg.norm(after - starts)):
            break
        before, steps = after, 2 * steps
    return steps


@functools.partial(jax.jit, static_argnames=("rule",))
def _to_next_save(rule: GalerkinRule, made: Any, starts: Any, dt: Any, steps: Any) -> Any:
    """One program for every number of steps."""
    table = _tables(made["linear"], dt / steps)

    def run(a: Any) -> Any:
        zero = jnp.zeros((), a.dtype)
        return jax.lax.fori_loop(0, steps, lambda i, a: rule.short_step(made, table, a, zero, i), a)

    return jax.vmap(run)(starts)
