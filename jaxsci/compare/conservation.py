"""What a trajectory should keep, and the equation that it should obey: drift of integrals, known invariants, residuals."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jaxtyping import Array, ArrayLike, Float
from sympy.core.function import AppliedUndef

from jaxsci._checks import is_traced, unknown_name
from jaxsci.compare.field_errors import as_fields, ratio, root
from jaxsci.equations.expression import COORDINATES, unknown
from jaxsci.problems import Problem
from jaxsci.solvers import State
from jaxsci.surrogates.stepper import components

Integral = Literal["mass", "momentum", "energy", "enstrophy"]

_SYMBOLS = tuple(sympy.Symbol(name, real=True) for name in COORDINATES)


def conservation_drift(
    fields: ArrayLike,
    functional: Integral | Callable[[Any], Any] = "mass",
    *,
    space: int,
    lengths: Sequence[float] | None = None,
    weights: ArrayLike | None = None,
    average: bool = True,
) -> Float[Array, "..."]:
    """How far an integral moves along a trajectory, relative to its size at the first save.

        drift(t) = |I(t) - I(0)| / int |density(u(0))|,    I(t) = int density(u(t))

    The size is the integral of the absolute density: |I(0)| itself where the density has one sign, and not zero for a field of
    zero mean. Of the densities:

    - ``"mass"``: each channel, relative to its own size;
    - ``"momentum"``: each channel, relative to int |u|_2, the channels together: for the velocities of a flow, or their product
      with a density;
    - ``"energy"``: 1/2 sum_channels u^2;
    - ``"enstrophy"``: 1/2 w^2, with w the channel where there is one, and the curl of the channels where there are as many as
      axes (2 or 3), by Fourier derivatives on the periodic box `lengths`;
    - a function from fields ``[channels, *space]`` to a density ``[*space]``, or to several ``[densities, *space]``.

    It says how far the integral moves, not whether it should be kept: see `invariants`, or compare with the solver's drift.

    Args:
      fields: ``[*batch, saves, channels, *space]``.
      functional: a name or a density.
      space: how many of the last axes are space.
      lengths: of the box, one per axis, for the curl; 2 pi by default.
      weights: of the quadrature, ``[*space]``, up to a factor; equal ones by default, as on a periodic grid.
      average: whether to return the mean over the batch of the largest drift over the saves, or every save's,
        ``[*batch, saves]``. Of several densities the one that drifts most counts.
    Returns:
      0 for an integral that is kept; infinite where the fields are not finite.
    Raises:
      ValueError: an unknown name, too few axes, or channels that have no curl.
    Example:
      >>> import jax.numpy as jnp
      >>> from jaxsci.compare.conservation import conservation_drift
      >>> x = jnp.arange(16) * jnp.pi / 8
      >>> decaying = jnp.array([1.0, 0.9, 0.8])[:, None, None] * jnp.sin(x)  # [saves, channels, x]
      >>> print(f"{conservation_drift(decaying, 'energy', space=1):.3f} {conservation_drift(decaying + 1, space=1):.3f}")
      0.360 0.000
    """
    array = as_fields("conservation_drift", "fields", fields, space, 2)
    shape = array.shape[-space:]
    if not callable(functional) and functional not in get_args(Integral):
        raise ValueError(f"conservation_drift: {unknown_name('integral', str(functional), get_args(Integral))}")
    if functional == "enstrophy":
        _check_curl(array.shape[-space - 1], space)
    weights = jnp.ones(shape, array.dtype) if weights is None else jnp.asarray(weights, array.dtype)
    if weights.shape != shape:
        raise ValueError(f"conservation_drift: weights must have the shape of space, {shape}; got {weights.shape}.")
    sides = [2 * math.pi] * space if lengths is None else [float(length) for length in lengths]
    if len(sides) != space:
        raise ValueError(f"conservation_drift: lengths must be {space} numbers, one per spatial axis; got {sides}.")

    def densities(u):
        if callable(functional):
            return jnp.reshape(functional(u), (-1, *shape))
        if functional in ("mass", "momentum"):
            return u
        squared = u if functional == "energy" else _curl(u, sides)
        return 0.5 * jnp.sum(squared**2, axis=0, keepdims=True)

    def integral(density):
        return jnp.sum(density * weights, axis=tuple(range(1, density.ndim)))

    def of_run(run):
        start = densities(run[0])
        sizes = root(jnp.sum(start**2, axis=0, keepdims=True)) if functional == "momentum" else jnp.abs(start)
        moved = jax.vmap(lambda u: jnp.abs(integral(densities(u) - start)))(run)
        drift = jnp.max(ratio(moved, integral(sizes)), axis=-1)
        return jnp.where(jnp.isfinite(run).all(axis=tuple(range(1, run.ndim))), drift, jnp.inf)

    drift = jax.vmap(of_run)(array.reshape(-1, *array.shape[-space - 2 :])).reshape(array.shape[: -space - 1])
    return jnp.mean(jnp.max(drift, axis=-1)) if average else drift


def invariants(problem: Problem) -> tuple[Integral, ...]:
    """The integrals that the equation is seen to keep on a periodic box: "mass" (of every evolved unknown) and "energy".

    A rate is kept out of an integral if and only if it is a divergence, and it is one if and only if its Euler operator
    (variational derivative) vanishes; both are looked at symbolically, with the coefficients that are zero left out. Where an
    equation has unknowns without a time derivative, as the pressure of an incompressible flow, multiples of its constraint by
    the unknowns and by the energy are tried. What is not named may still be conserved: this finds no Casimirs, and smooth
    solutions are assumed (a shock of Burgers' equation loses energy), and an equation with a source is taken to keep nothing.

    Args:
      problem: first order in time; where an axis has walls nothing is claimed.
    Returns:
      Names for `conservation_drift`. "energy" is 1/2 sum u^2 over the evolved unknowns, whatever they stand for.
    Reference: Olver (1993), Applications of Lie Groups to Differential Equations, theorem 4.7.
    Example:
      >>> import jaxsci as js
      >>> from jaxsci.compare.conservation import invariants
      >>> invariants(js.problems.kdv()), invariants(js.problems.kuramoto_sivashinsky())
      (('mass', 'energy'), ('mass',))
    """
    space = problem.domain.space
    if problem.is_steady or not space or problem.solids or any(problem.walls(axis) for axis in space):
        return ()
    plain = {k: v for k, v in problem.coefficients.items() if not callable(v) and not is_traced(v) and np.ndim(v) == 0}
    return _invariants(problem.equation, tuple(name for name, value in plain.items() if float(value) == 0))


@functools.lru_cache(maxsize=64)
def _invariants(equation: Any, zero: tuple[str, ...]) -> tuple[Integral, ...]:
    fields = {name: unknown(name).formula for name in equation.unknowns}
    t, rates, constraints = _SYMBOLS[0], {}, []
    for residual in equation.residuals:
        gone = {s: 0 for s in residual.formula.free_symbols if s.name in zero}
        row = residual.formula.doit().subs(gone).expand()
        slopes = [d for d in row.atoms(sympy.Derivative) if t in d.variables]
        if not slopes:
            constraints.append(row)
            continue
        factor = row.coeff(slopes[0])
        name = slopes[0].expr.func.__name__
        if len(slopes) > 1 or slopes[0].variables != (t,) or name not in fields or name in rates:
            return ()
        if factor.atoms(AppliedUndef) or factor.free_symbols & set(_SYMBOLS):
            return ()
        rates[name] = sympy.expand((row - factor * slopes[0]) / factor)
    energy = sum(fields[name] ** 2 for name in rates) / 2
    multipliers = [*fields.values(), energy] if constraints else []
    found: list[Integral] = []
    if all(_is_divergence(rate, fields, constraints, [fields[name]] if constraints else []) for name, rate in rates.items()):
        found.append("mass")
    if _is_divergence(
        sympy.expand(sum(fields[name] * rate for name, rate in rates.items())), fields, constraints, multipliers
    ):
        found.append("energy")
    return tuple(found)


def _is_divergence(density: Any, fields: dict[str, Any], constraints: list[Any], multipliers: list[Any]) -> bool:
    """Whether the density is a divergence, up to a sum of constraints times multipliers with constant factors."""
    nothing = dict.fromkeys(fields.values(), sympy.S.Zero)
    if sympy.expand(density.subs(nothing).doit()) != 0:  # a source
        return False
    extra = [c * m for c, m in itertools.product(constraints, multipliers)]
    factors = sympy.symbols(f"factor:{len(extra)}") if extra else ()
    total = sympy.expand(density + sum(f * e for f, e in zip(factors, extra, strict=True)))
    conditions: list[Any] = []
    for field in fields.values():
        euler = sympy.expand(_euler(total, field))
        marks = {part: sympy.Dummy() for part in euler.atoms(sympy.Derivative, AppliedUndef)}
        plain = sympy.simplify(
            euler.xreplace(marks)
        )  # fields and derivatives are independent: every coefficient must vanish
        if plain == 0:
            continue
        if not factors or not plain.is_polynomial(*marks.values()):
            return False
        conditions += sympy.Poly(plain, *marks.values()).coeffs()
    return not conditions or bool(sympy.linsolve(conditions, list(factors)))


def _euler(density: Any, field: Any) -> Any:
    """sum_k (-D)^k d density / d u_k over the derivatives u_k of a field, itself among them."""
    marks = {d: sympy.Dummy() for d in density.atoms(sympy.Derivative)}
    back = {mark: d for d, mark in marks.items()}
    plain = density.xreplace(marks)
    total = plain.diff(field).xreplace(back)
    for slope, mark in marks.items():
        if slope.expr == field:
            total += (-1) ** len(slope.variables) * sympy.diff(plain.diff(mark).xreplace(back), *slope.variables)
    return total.doit()


def physics_residual(
    stepper: Any,
    fields: ArrayLike,
    *,
    dt: float | None = None,
    start: float | None = None,
    average: bool = True,
) -> Float[Array, "..."]:
    """How far a trajectory is from the equation, as the solver discretises it:

        ( sum_k |u_(k+1) - Phi(u_k)|_2^2 / sum_k |Phi(u_k) - u_k|_2^2 )^(1/2)

    with Phi the solver from one save to the next. It needs no truth. The solver's own trajectory gives round-off (relative to the
    change in a step: 1e-7 |u| / |Phi(u) - u| in single precision), standing still gives 1 exactly, and a trajectory that is worse
    than standing still gives more. The norms are of the values on the grid.

    Args:
      stepper: of the solver, on the grid of the fields, with a step that divides the time between saves.
      fields: ``[*batch, saves, channels, *space]``, the evolved components as of `jaxsci.surrogates.Trajectories`.
      dt: time between saves; the stepper's step by default.
      start: time of the first save, where the equation depends on time; the problem's by default.
      average: whether to return the mean over the batch, or ``[*batch]``.
    Returns:
      A number >= 0; infinite where the fields are not finite.
    Raises:
      ValueError: shapes that are not the grid's, a single save, or a step that does not divide `dt`.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> from jaxsci.compare.conservation import physics_residual
      >>> s = js.stepper(js.problems.burgers(), js.Spectral(n=64, dt=1e-2))
      >>> fields = js.rollout(s, 5, save_every=1).fields
      >>> standing = jnp.broadcast_to(fields[:1], fields.shape)
      >>> bool(physics_residual(s, fields) < 1e-4), f"{physics_residual(s, standing):.2f}"
      (True, '1.00')
    """
    shape = tuple(len(axis) for axis in stepper.grid.values())
    array = as_fields("physics_residual", "fields", fields, len(shape), 2)
    saves = array.shape[-len(shape) - 2]
    if array.shape[-len(shape) :] != shape or saves < 2:
        raise ValueError(
            f"physics_residual: fields must be [*batch, saves >= 2, channels, {', '.join(map(str, shape))}], on the stepper's "
            f"grid; got shape {array.shape}."
        )
    step = float(stepper.dt)
    times = 1 if dt is None else round(dt / step)
    if times < 1 or (dt is not None and abs(times * step - dt) > 1e-4 * dt):
        raise ValueError(f"physics_residual: the time between saves, {dt}, is no multiple of the stepper's step {step:g}.")
    begin = stepper.problem.domain["t"][0] if start is None else start

    def advance(u, t):
        state = stepper.encode(u, t)
        state = jax.lax.scan(lambda s, _: (stepper.step(s), None), state, length=times)[0]
        return on_grid(stepper, state).astype(u.dtype)

    def of_run(run):
        reached = jax.vmap(advance)(run[:-1], begin + times * step * jnp.arange(saves - 1))
        value = ratio(root(jnp.sum((run[1:] - reached) ** 2)), root(jnp.sum((reached - run[:-1]) ** 2)))
        return jnp.where(jnp.isfinite(run).all(), value, jnp.inf)

    flat = array.reshape(-1, *array.shape[-len(shape) - 2 :])
    value = jax.lax.map(of_run, flat).reshape(array.shape[: -len(shape) - 2])
    return jnp.mean(value) if average else value


def on_grid(stepper: Any, state: Any) -> Float[Array, "channels ..."]:
    """A solver's or a surrogate's state to the evolved components on its grid: what its ``encode`` takes."""
    own = getattr(stepper, "components", None)
    if own is not None:
        return own(state)
    return components(stepper, State(*state)) if hasattr(stepper, "lines") else stepper.decode(state)


def _check_curl(channels: int, space: int) -> None:
    if channels != 1 and not (channels == space and space in (2, 3)):
        raise ValueError(
            f"conservation_drift: the enstrophy needs one channel (the vorticity), or as many velocities as axes (2 or 3); "
            f"got {channels} channels on {space} axes."
        )


def _curl(u: Any, lengths: list[float]) -> Any:
    """The vorticity; a single channel is one already."""
    if len(u) == 1:
        return u
    space = u.ndim - 1

    def slope(field, axis):
        n = field.shape[axis]
        waves = np.fft.fftfreq(n, lengths[axis] / (2 * math.pi * n))
        waves[n // 2] *= n % 2  # the highest wave of an even grid has no derivative on it
        modes = jnp.fft.fft(field, axis=axis) * (1j * waves.reshape([-1 if i == axis else 1 for i in range(space)]))
        return jnp.fft.ifft(modes, axis=axis).real.astype(u.dtype)

    pairs = [(1, 2), (2, 0), (0, 1)] if space == 3 else [(0, 1)]
    return jnp.stack([slope(u[j], i) - slope(u[i], j) for i, j in pairs])
