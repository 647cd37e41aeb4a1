r"""Certificates: how far a learned field is from the solution, from the equation of its own error.

With a field w whose residual is R[w] = r, the error e = w - u satisfies  R[w] - R[w - e] = r : exactly, and where e is small it
is the linearised equation  J[w] e = r.  This is solved for e by a numerical method that shares nothing with the fit: implicit
midpoint steps in time and polynomial stencils on nodes in space that crowd where w is steep.  A few digits of e are enough, so
that it costs little; it is solved at two resolutions, and their difference is added to the answer.

The initial and boundary conditions of e are zero: the certificate counts what a fit does to the equation, and takes the field's
own conditions as exact (they are, behind `HardConditions`).

Reference: Oden & Prudhomme (2002), J. Comput. Phys. 176, 313 (error by the linearised residual equation); Skeel (1986), SIAM J.
Numer. Anal. 23, 1 (defect correction); Fornberg (1988), Math. Comput. 51, 699 (stencils on any nodes).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._timing import Stopwatch
from jaxsci.equations.residual import PointwiseResidual, residual
from jaxsci.learning.collocation import in_domain
from jaxsci.problems import Problem, Solution

_NODES = {0: 1, 1: 129, 2: 25}  # per axis, by the number of space dimensions, shared by the unknowns
_STEPS = {0: 2000, 1: 400, 2: 100}
_STENCIL = 7  # nodes, on periodic axes
_SAFETY = 2.0  # the estimate is meant to be an upper bound


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is known about the error of a solution.

    Attributes:
      estimate: relative L2 error, the largest of the unknowns': meant from above, by twice the size of the numerical error
        field plus what halving its resolution changes.
      kind: "error equation", or "residual" where that cannot be solved here (three dimensions, walls of several kinds, systems
        with an unknown that has no time derivative, such as a pressure): then `estimate` is the residual integrated over time,
        relative to the field, and an indication only.
      residual: root mean square of the equation's residual at points that no fit has seen.
      times: where the error was computed, ``[T]``; None for a steady problem and for kind "residual".
      growth: root mean square of the error over space at these times, ``[T]``; None with them.
    """

    estimate: float
    kind: str
    residual: float
    times: Any = None
    growth: Any = None


class _Grid(NamedTuple):
    """Nodes of space with their volumes, and what differentiates on them: letters -> ``[nodes, nodes]``."""

    points: Any  # [nodes, space]
    volume: Any  # [nodes], sum one
    derivatives: dict[str, Any]
    walls: Any  # [unknowns, nodes]: 1 where a row is replaced by a condition
    conditions: Any  # [unknowns, nodes, nodes]: the rows that replace


def certify(solution: Solution) -> Certificate:
    """An error estimate of a learned solution, computed apart from its fit.

    Args:
      solution: of `Neural` or `RandomFeatures`; any solution whose field can be differentiated as often as the equation asks.
    Returns:
      A `Certificate`. Its estimate is infinite where the error equation has no finite solution.
    Example:
      >>> import jax, jaxsci as js
      >>> with jax.enable_x64(True):
      ...     problem = js.problems.poisson()
      ...     solution = js.solve(problem, js.RandomFeatures(60))
      ...     error = js.relative_l2(solution, problem.reference())
      ...     certificate = js.learning.certify(solution)
      >>> certificate.kind, bool(error < certificate.estimate < 10 * error)
      ('error equation', True)
    """
    problem = solution.problem
    equation = dataclasses.replace(residual(problem), defaults=())
    size = float(_residual_size(equation, problem, solution.field))
    scale = np.sqrt(np.mean(np.asarray(solution.fields, float) ** 2, axis=_all_but_unknowns(solution)))
    scale = np.where(scale > 0, scale, 1.0)
    if not _is_solvable(problem):
        duration = 1.0 if problem.is_steady else np.ptp(problem.domain["t"])
        return Certificate(size * duration / float(np.sqrt(np.mean(scale**2))), "residual", size)
    dimensions = len(problem.domain.space)
    runs = []
    for share in (1, 2):
        grid = _grid(solution, max((_NODES[dimensions] - 1) // share + 1, 1))
        runs.append(_errors(equation, problem, solution.field, grid, _times(problem, _STEPS[dimensions] // share)))
    (times, error, growth), (_, coarse, _) = runs
    error, coarse = np.asarray(error, float) / scale, np.asarray(coarse, float) / scale
    estimate = float(np.max(_SAFETY * error + np.abs(error - coarse)))
    estimate = estimate if math.isfinite(estimate) else math.inf
    return Certificate(estimate, "error equation", size, *((None, None) if times is None else (times, growth)))


def certified(solution: Solution) -> Solution:
    """The solution with the estimate of its certificate; the time it took is in ``stats["estimate_seconds"]``."""
    with Stopwatch() as watch:
        certificate = certify(solution)
    stats = solution.stats | {"certificate": certificate.kind, "estimate_seconds": watch.wall_seconds}
    estimate = jnp.asarray(certificate.estimate, solution.fields.dtype)
    return dataclasses.replace(solution, error_estimate=estimate, stats=stats)


def _all_but_unknowns(solution: Solution) -> tuple[int, ...]:
    fields = solution.fields.ndim
    axis = fields - 1 - len(solution.problem.domain.space)
    return tuple(i for i in range(fields) if i != axis)


def _is_solvable(problem: Problem) -> bool:
    space = problem.domain.space
    if len(space) > 2 or problem.is_window or problem.solid is not None:
        return False
    if len(problem.equation.residuals) != len(problem.unknowns):
        return False
    if not problem.is_steady and any(problem.time_order(u) == 0 for u in problem.unknowns):
        return False
    kinds = {wall.kind for axis in space for wall in problem.walls(axis)}
    everywhere = all(
        set(wall.for_unknowns(problem.unknowns)) == set(problem.unknowns) for a in space for wall in problem.walls(a)
    )
    return kinds <= {"dirichlet", "neumann"} and everywhere


def _times(problem: Problem, steps: int) -> Any:
    """Ends of the steps: even between the problem's own saved times, so that a logarithmic scale stays one."""
    if problem.is_steady:
        return None
    saved = np.asarray(problem.times, float)
    each = max(steps // (len(saved) - 1), 1)
    return jnp.asarray(np.interp(np.arange(each * (len(saved) - 1) + 1) / each, np.arange(len(saved)), saved))


@functools.partial(jax.jit, static_argnames=("equation",))
def _residual_size(equation: PointwiseResidual, problem: Problem, field: Any) -> Any:
    points = jnp.stack(in_domain(problem, 1024, jax.random.key(20261122)), axis=-1)
    values = equation(field, problem.coefficients, points)
    return jnp.sqrt(jnp.mean(values**2))


# --- space -----------------------------------------------------------------------------------------------------------


def stencil(nodes: np.ndarray, at: float, order: int) -> np.ndarray:
    """Weights of the derivative of the given order at a point, exact for polynomials through all nodes.

    From the Vandermonde system in coordinates scaled to the stencil: seven nodes leave it well conditioned.
    """
    size = np.abs(nodes - at).max()
    powers = np.vander((nodes - at) / size, increasing=True).T
    target = np.zeros(len(nodes))
    target[order] = math.factorial(order) / size**order
    return np.linalg.solve(powers, target)


def _derivative(x: np.ndarray, order: int, period: float | None) -> np.ndarray:
    """The matrix of a derivative on nodes, ``[n, n]``."""
    # Narrow where there are walls: wide one-sided stencils let waves grow.
    n, width = len(x), min(2 * ((order + 1) // 2) + 1 if period is None else _STENCIL, len(x))
    matrix = np.zeros((n, n))
    for i in range(n):
        if period is None:
            first = min(max(i - width // 2, 0), n - width)
            columns = np.arange(first, first + width)
            places = x[columns]
        else:
            columns = np.arange(i - width // 2, i - width // 2 + width)
            places = x[columns % n] + period * (columns // n)
        np.add.at(matrix[i], columns % n, stencil(places, x[i], order))
    return matrix


def _nodes(solution: Solution, axis: str, n: int) -> np.ndarray:
    """Nodes that spread the length of the field's graph evenly, as steep as it is at any time; even where it is smooth."""
    lower, upper = solution.problem.domain[axis]
    periodic = not solution.problem.walls(axis)
    share = np.linspace(0, 1, n, endpoint=not periodic)
    if len(solution.problem.domain.space) > 1:
        return lower + (upper - lower) * share
    fine = np.linspace(lower, upper, 2001)
    ts = solution.problem.times
    columns = (fine,)
    if ts is not None:
        few = ts[:: max(len(ts) // 20, 1)]
        columns = (np.repeat(few, len(fine)), np.tile(fine, len(few)))
    values = np.asarray(solution.evaluate(**dict(zip(solution.problem.coordinates, columns, strict=True))), float)
    values = values.reshape(-1, len(fine))  # [unknowns * times, nodes]
    span = np.ptp(values, axis=1, keepdims=True)
    slopes = np.abs(np.gradient(values, fine, axis=1)) * (upper - lower) / np.where(span > 0, span, 1.0)
    density = 1 + slopes.max(axis=0)
    kernel = np.hanning(101)
    density = np.convolve(np.pad(density, 50, mode="wrap" if periodic else "edge"), kernel / kernel.sum(), "valid")
    length = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(share * length[-1], length, fine)


def _grid(solution: Solution, n: int) -> _Grid:
    problem = solution.problem
    space, count = problem.domain.space, len(problem.unknowns)
    needed = sorted({letters.replace("t", "") for _, letters in problem.equation.partials} | {""})
    if not space:
        one = jnp.ones((1, 1))
        return _Grid(jnp.zeros((1, 0)), jnp.ones(1), {"": one}, jnp.zeros((count, 1)), jnp.zeros((count, 1, 1)))
    axes, widths, matrices = {}, {}, {}
    for axis in space:
        lower, upper = problem.domain[axis]
        period = None if problem.walls(axis) else upper - lower
        axes[axis] = x = _nodes(solution, axis, n)
        ends = np.concatenate([[x[-1] - period], x, [x[0] + period]]) if period else np.concatenate([x[:1], x, x[-1:]])
        widths[axis] = (ends[2:] - ends[:-2]) / 2
        orders = {letters.count(axis) for letters in needed} | {1}
        matrices[axis] = {k: np.eye(n) if k == 0 else _derivative(x, k, period) for k in orders}
    whole = lambda letters: functools.reduce(lambda a, b: np.kron(a, b), [matrices[a][letters.count(a)] for a in space])  # noqa: E731
    mesh = np.meshgrid(*axes.values(), indexing="ij")
    volume = functools.reduce(np.multiply.outer, widths.values()).ravel()
    nodes = volume.size
    walls, rows = np.zeros((count, nodes)), np.zeros((count, nodes, nodes))
    for i, axis in enumerate(space):
        for wall, end in zip(problem.walls(axis), (0, n - 1), strict=False):
            here = np.flatnonzero(np.indices(mesh[0].shape)[i].ravel() == end)
            condition = np.eye(nodes) if wall.kind == "dirichlet" else whole(axis)
            walls[:, here], rows[:, here] = 1.0, condition[here]
    derivatives = {letters: jnp.asarray(whole(letters)) for letters in needed}
    points = jnp.asarray(np.stack([m.ravel() for m in mesh], axis=-1))
    return _Grid(points, jnp.asarray(volume / volume.sum()), derivatives, jnp.asarray(walls), jnp.asarray(rows))


# --- the error equation ----------------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames=("equation",))
def _errors(equation: PointwiseResidual, problem: Problem, field: Any, grid: _Grid, times: Any) -> tuple[Any, Any, Any]:
    """Root mean square of the error by unknown, ``[unknowns]``, and over time."""
    unknowns, nodes = problem.unknowns, len(grid.volume)

    def solve(state, start, end):
        """The state at the end of a step; one Newton step from zero is the linearised equation, the others are exact."""
        h = end - start
        columns = tuple(jnp.full(nodes, (start + end) / 2) if c == "t" else grid.points[:, problem.domain.space.index(c)]
                        for c in problem.coordinates)  # fmt: skip
        given = equation.field_partials(field, columns)

        def error_partials(rates):
            out = {}
            for u, letters in given:
                i, order = unknowns.index(u), problem.time_order(u)
                k = letters.count("t")
                middle = sum((h / 2) ** (j - k) * state[j][i] for j in range(k, order)) + (h / 2) ** (order - k) * rates[i]
                out[u, letters] = grid.derivatives[letters.replace("t", "")] @ middle
            return out

        def balance(partials):
            moved = {key: given[key] - partials[key] for key in given}
            return -equation.from_partials(moved, columns, problem.coefficients)

        def newton(_, rates):
            partials = error_partials(rates)
            zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
            blocks = [[jnp.zeros((nodes, nodes)) for _ in unknowns] for _ in equation.equation.residuals]
            for u, letters in given:
                slope = jax.jvp(balance, (partials,), (zeros | {(u, letters): jnp.ones(nodes)},))[1]
                j, k = unknowns.index(u), letters.count("t")
                matrix = (h / 2) ** (problem.time_order(u) - k) * grid.derivatives[letters.replace("t", "")]
                for i, row in enumerate(blocks):
                    row[j] = row[j] + slope[:, i, None] * matrix
            value = balance(partials).T
            for i in range(len(unknowns)):  # on a wall the condition on e, which its rates satisfy as well
                mask = grid.walls[i][:, None]
                value = value.at[i].set(jnp.where(mask[:, 0] > 0, grid.conditions[i] @ rates[i], value[i]))
                for j in range(len(unknowns)):
                    wanted = grid.conditions[i] if i == j else jnp.zeros((nodes, nodes))
                    blocks[i][j] = jnp.where(mask > 0, wanted, blocks[i][j])
            change = jnp.linalg.solve(jnp.block(blocks), -value.ravel())
            return rates + change.reshape(rates.shape)

        rates = jax.lax.fori_loop(0, 2, newton, jnp.zeros((len(unknowns), nodes)))
        return rates, h

    if times is None:
        rates, _ = solve((), 0.0, 0.0)
        return None, jnp.sqrt(jnp.sum(grid.volume * rates**2, axis=1)), None
    most = max(problem.time_order(u) for u in unknowns)

    def step(state, ends):
        rates, h = solve(state, *ends)
        new = []
        for k in range(most):
            rows = []
            for i, u in enumerate(unknowns):
                order = problem.time_order(u)
                known = sum(h ** (j - k) / math.factorial(j - k) * state[j][i] for j in range(k, order))
                tail = h ** (order - k) / math.factorial(order - k) * rates[i] if k < order else 0.0
                rows.append(known + tail + jnp.zeros(nodes))
            new.append(jnp.stack(rows))
        return tuple(new), jnp.sum(grid.volume * new[0] ** 2, axis=1)

    state = tuple(jnp.zeros((len(unknowns), nodes)) for _ in range(most))
    _, squares = jax.lax.scan(step, state, (times[:-1], times[1:]))
    weights = jnp.diff(times) / (times[-1] - times[0])
    total = jnp.sqrt(jnp.sum(weights[:, None] * squares, axis=0))
    return times[1:], total, jnp.sqrt(jnp.sum(squares, axis=1))
