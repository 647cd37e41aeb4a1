"""Cells: a balance law on a uniform grid of volumes, with walls by ghost cells.

States are cell averages of the unknowns, ``[unknowns, *cells]``.  Inside the methods that work along an axis this axis is the
last one.  Two ghost cells continue the averages beyond a wall:

    value g       2 g - u   (a mirror that flips the sign about g); where every unknown has one, an inflow: the outer state
                  at the face is g itself
    slope s       u -+ (2 k - 1) h s for the k-th cell   (an even mirror and a line)
    no condition  u         (an even mirror)
    outflow       the last cell's value
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy

from jaxsci.equations import Equation
from jaxsci.equations.conservation import BalanceLaw, balance_law, is_affine, wave_speeds
from jaxsci.equations.evaluation import evaluate, partials_in
from jaxsci.equations.expression import unknown
from jaxsci.problems import Formula, Periodic, Problem
from jaxsci.problems.conditions import Boundary
from jaxsci.solvers.newton import root
from jaxsci.solvers.reconstruction import slopes
from jaxsci.solvers.riemann import extreme_eigenvalues, hll, safe_root

_ZERO = None  # an entry of a matrix that is zero for every state
_GAUSS = np.polynomial.legendre.leggauss(3)  # per cell and axis, for initial averages


@dataclasses.dataclass(frozen=True)
class Volumes:
    """An equation on cells. Static and hashable; coefficients are arguments of its methods."""

    equation: Equation
    axes: tuple[tuple[str, float, float, int], ...]  # name, lower, upper, cells
    boundary: tuple[Boundary, ...]  # by axis
    limiter: str

    @property
    def law(self) -> BalanceLaw:
        return balance_law(self.equation)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, *_ in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(n for *_, n in self.axes)

    def width(self, i: int) -> float:
        """The length of a cell along an axis."""
        _, lower, upper, n = self.axes[i]
        return (upper - lower) / n

    def grid(self) -> dict[str, np.ndarray]:
        """The centres of the cells."""
        return {name: lower + (upper - lower) * (np.arange(n) + 0.5) / n for name, lower, upper, n in self.axes}

    def faces(self, i: int) -> np.ndarray:
        _, lower, upper, n = self.axes[i]
        return lower + (upper - lower) * np.arange(n + 1) / n

    def mesh(self, i: int, along: Any, dtype: Any) -> dict[str, Any]:
        """Coordinates that broadcast over ``[*other axes, along]``: centres of the other axes, the given ones of axis i."""
        order = [j for j in range(len(self.axes)) if j != i] + [i]
        out = {}
        for position, j in enumerate(order):
            values = along if j == i else self.grid()[self.names[j]]
            out[self.names[j]] = jnp.asarray(values, dtype).reshape([-1 if k == position else 1 for k in range(len(order))])
        return out

    def initial_state(self, problem: Problem, dtype: Any) -> Any:
        """Cell averages of the initial fields, by Gauss's rule with three points."""
        nodes, weights = _GAUSS
        points, factors = {}, np.ones((1,) * (2 * len(self.axes)))
        for i, (name, centres) in enumerate(self.grid().items()):
            along = centres[:, None] + self.width(i) / 2 * nodes
            shape = [1] * (2 * len(self.axes))
            shape[i], shape[len(self.axes) + i] = along.shape
            points[name] = jnp.asarray(along, dtype).reshape(shape)
            shape[i] = 1
            factors = factors * (weights / 2).reshape(shape)
        fields = [problem.initial[u](points, problem.coefficients) for u in self.equation.unknowns]
        inner = tuple(range(len(self.axes), 2 * len(self.axes)))
        return jnp.stack([jnp.sum(jnp.asarray(f, dtype) * jnp.asarray(factors, dtype), axis=inner) for f in fields])

    # --- the law, cell by cell -------------------------------------------------------------------------------------------

    def _values(self, formula: Any, u: Any, coordinates: Mapping[str, Any], coefficients: Any) -> Any:
        partials = {(name, ""): u[k] for k, name in enumerate(self.equation.unknowns)}
        value = evaluate(formula, partials, coordinates, coefficients)
        return jnp.broadcast_to(jnp.asarray(value, u.dtype), u.shape[1:])

    def densities(self, u: Any, coordinates: Mapping[str, Any], coefficients: Any) -> Any:
        """M: ``[unknowns, ...] -> [rows, ...]``."""
        return jnp.stack([self._values(m, u, coordinates, coefficients) for m in self.law.densities])

    def recover(self, densities: Any, guess: Any, coordinates: Mapping[str, Any], coefficients: Any) -> Any:
        """The unknowns that have these densities; the guess is where a scalar root is looked for."""
        found = list(guess)
        for step in self.law.recovery:
            k, target = self.equation.unknowns.index(step.unknown), densities[step.row]
            now = jnp.stack(found)
            if step.slope is None:
                arguments = (now, target, coordinates, coefficients)
                found[k] = root(_density_gap, _density_step, now[k], (self, k, step.row), arguments)
                continue
            rest = target - self._values(step.rest, now, coordinates, coefficients) if step.rest != 0 else target
            found[k] = rest if step.slope == 1 else rest / self._values(step.slope, now, coordinates, coefficients)
        return jnp.stack(found)

    def fluxes(self, i: int, u: Any, coordinates: Mapping[str, Any], coefficients: Any) -> Any:
        """F along an axis: ``[unknowns, ...] -> [rows, ...]``."""
        rows = range(len(self.law.densities))
        formulas = [self.law.fluxes.get((row, self.names[i])) for row in rows]
        zero = jnp.zeros(u.shape[1:], u.dtype)
        return jnp.stack([zero if f is None else self._values(f, u, coordinates, coefficients) for f in formulas])

    def sources(self, u: Any, coordinates: Mapping[str, Any], coefficients: Any) -> Any:
        """S: ``[unknowns, ...] -> [rows, ...]``."""
        zero = jnp.zeros(u.shape[1:], u.dtype)
        formulas = [self.law.sources.get(row) for row in range(len(self.law.densities))]
        return jnp.stack([zero if f is None else self._values(f, u, coordinates, coefficients) for f in formulas])

    def speeds(self, i: int, u: Any, coordinates: Mapping[str, Any], coefficients: Any) -> tuple[Any, Any]:
        """The smallest and the largest wave speed of states: the eigenvalues of dF/dM = (dF/du) (dM/du)^-1.

        By formula where the characteristic polynomial has factors of second degree at most, else from the matrix.
        """
        law, names = self.law, self.equation.unknowns
        formulas = wave_speeds(self.equation, self.names[i])
        if formulas is not None:
            lowest, highest = [], []
            for centre, discriminant in formulas:
                middle = self._values(centre, u, coordinates, coefficients)
                spread = 0
                if discriminant != 0:
                    spread = safe_root(self._values(discriminant, u, coordinates, coefficients))
                lowest.append(middle - spread)
                highest.append(middle + spread)
            return functools.reduce(jnp.minimum, lowest), functools.reduce(jnp.maximum, highest)
        rows = range(len(law.densities))

        def slope(formula, k):  # None where it is zero
            derivative = sympy.diff(formula, unknown(names[k]).formula)
            return None if derivative == 0 else self._values(derivative, u, coordinates, coefficients)

        per_density = [[_ZERO] * len(rows) for _ in names]  # du / dM by forward substitution
        for step in law.recovery:
            k = names.index(step.unknown)
            own = slope(law.densities[step.row], k)
            others = [None if j == k else slope(law.densities[step.row], j) for j in range(len(names))]
            for row in rows:
                change = _dot(others, [per_density[j][row] for j in range(len(names))])
                unit = jnp.ones_like(own) if step.row == row else _ZERO
                rest = unit if change is _ZERO else -change if unit is _ZERO else unit - change
                per_density[k][row] = _ZERO if rest is _ZERO else rest / own
        fluxes = [law.fluxes.get((row, self.names[i]), sympy.S.Zero) for row in rows]
        slopes_of = [[slope(flux, k) for k in range(len(names))] for flux in fluxes]
        zero = jnp.zeros(u.shape[1:], u.dtype)
        matrix = [[_dot(line, [per_density[k][row] for k in range(len(names))]) for row in rows] for line in slopes_of]
        return extreme_eigenvalues([[zero if entry is _ZERO else entry for entry in line] for line in matrix])

    # --- along an axis -----------------------------------------------------------------------------------------------------

    def walls(self, i: int) -> tuple[Any, ...]:
        condition = self.boundary[i]
        return () if isinstance(condition, Periodic) else condition

    def wall_value(self, i: int, end: int, formula: Formula, t: Any, coefficients: Any, dtype: Any) -> Any:
        """A wall formula on ``[*other axes, 1]``."""
        here = self.mesh(i, [self.axes[i][1 + end]], dtype) | {"t": jnp.asarray(t, dtype)}
        return jnp.asarray(formula(here, coefficients), dtype)

    def ghost(self, i: int, end: int, name: str, t: Any, coefficients: Any, dtype: Any) -> tuple[Any, float, float]:
        """(a, b, c) such that the k-th ghost cell is a + b * mirrored cell + c * (2 k - 1) * a Neumann slope's step."""
        wall = self.walls(i)[end]
        kind = wall.kind_for(name, self.equation.unknowns)
        if kind is None:
            return jnp.zeros((), dtype), 1.0, 0.0
        formula = wall.for_unknowns(self.equation.unknowns)[name]
        value = self.wall_value(i, end, formula, t, coefficients, dtype)
        if kind == "dirichlet":
            return 2 * value, -1.0, 0.0
        return value * self.width(i) * (1 if end else -1), 1.0, 1.0

    def extend(self, i: int, u: Any, cells: int, t: Any, coefficients: Any) -> Any:
        """The averages with ghost cells: ``[unknowns, ..., n] -> [unknowns, ..., n + 2 cells]``."""
        if not self.walls(i):
            return jnp.concatenate([u[..., -cells:], u, u[..., :cells]], axis=-1)
        distance = jnp.asarray(2 * np.arange(cells) + 1, u.dtype)
        sides = []
        for end, wall in enumerate(self.walls(i)):
            if wall.kind == "outflow":
                edge = u[..., -1:] if end else u[..., :1]
                sides.append(jnp.broadcast_to(edge, (*u.shape[:-1], cells)))
                continue
            mirrored = jnp.flip(u[..., -cells:] if end else u[..., :cells], -1)
            order = distance if end else distance[::-1]
            ghosts = []
            for k, name in enumerate(self.equation.unknowns):
                a, b, c = self.ghost(i, end, name, t, coefficients, u.dtype)
                ghosts.append(a * (order if c else 1) + b * mirrored[k])
            sides.append(jnp.stack(ghosts))
        return jnp.concatenate([sides[0], u, sides[1]], axis=-1)

    def inflow(self, i: int, end: int, t: Any, coefficients: Any, dtype: Any) -> list[Any] | None:
        """The state that a wall holds, where it holds one for every unknown."""
        wall = self.walls(i)[end]
        unknowns = self.equation.unknowns
        if any(wall.kind_for(u, unknowns) != "dirichlet" for u in unknowns):
            return None
        values = wall.for_unknowns(unknowns)
        return [self.wall_value(i, end, values[u], t, coefficients, dtype) for u in unknowns]

    def face_fluxes(self, i: int, u: Any, t: Any, coefficients: Any) -> tuple[Any, Any]:
        """Fluxes through the faces ``[rows, ..., n + 1]``, and the largest speed at the faces of each cell ``[..., n]``."""
        extended = self.extend(i, u, 2, t, coefficients)
        half = slopes(extended, self.limiter) / 2
        cells = extended[..., 1:-1]
        left, right = (cells + half)[..., :-1], (cells - half)[..., 1:]
        for end in range(len(self.walls(i))):
            held = self.inflow(i, end, t, coefficients, u.dtype)
            if held is not None:
                outer = jnp.stack([jnp.broadcast_to(g, (*u.shape[1:-1], 1)) for g in held])
                if end:
                    right, cells = (jnp.concatenate([v[..., :-1], outer], -1) for v in (right, cells))
                else:
                    left, cells = (jnp.concatenate([outer, v[..., 1:]], -1) for v in (left, cells))
        faces, centres = self.faces(i), self.grid()[self.names[i]]
        outside = np.concatenate([[centres[0] - self.width(i)], centres, [centres[-1] + self.width(i)]])
        clock = {"t": t}
        slowest, fastest = self.speeds(i, cells, self.mesh(i, outside, u.dtype) | clock, coefficients)
        slowest = jnp.minimum(slowest[..., :-1], slowest[..., 1:])
        fastest = jnp.maximum(fastest[..., :-1], fastest[..., 1:])
        here = self.mesh(i, faces, u.dtype) | clock
        speeds = wave_speeds(self.equation, self.names[i])
        if len(self.equation.unknowns) == 1 and not (speeds and is_affine(speeds[0][0])):
            # the flux may be steepest between the two states
            middle, _ = self.speeds(i, (left + right) / 2, here, coefficients)
            slowest, fastest = jnp.minimum(slowest, middle), jnp.maximum(fastest, middle)
        bound = jnp.maximum(-slowest, fastest)
        flux = hll(
            self.densities(left, here, coefficients), self.densities(right, here, coefficients),
            self.fluxes(i, left, here, coefficients), self.fluxes(i, right, here, coefficients), slowest, fastest,
        )  # fmt: skip
        return flux, jnp.maximum(bound[..., :-1], bound[..., 1:])

    def explicit_rates(self, u: Any, t: Any, coefficients: Any) -> tuple[Any, Any, Any]:
        """d(densities)/dt of fluxes and sources, the sources alone, and the largest rate sum_a |speed| / h of any cell."""
        changes, rates, sources = [], [], jnp.zeros((), u.dtype)
        for i, name in enumerate(self.names):
            if any(axis == name for _, axis in self.law.fluxes):
                moved = jnp.moveaxis(u, 1 + i, -1)
                flux, largest = self.face_fluxes(i, moved, t, coefficients)
                changes.append(jnp.moveaxis((flux[..., :-1] - flux[..., 1:]) / self.width(i), -1, 1 + i))
                rates.append(jnp.moveaxis(largest / self.width(i), -1, i))
        if self.law.sources:
            sources = -self.sources(u, self.centres(u.dtype) | {"t": t}, coefficients)
            changes.append(sources)
        courant = jnp.max(functools.reduce(operator.add, rates)) if rates else jnp.zeros((), u.dtype)
        return functools.reduce(operator.add, changes or [jnp.zeros_like(u)]), sources, courant

    def centres(self, dtype: Any) -> dict[str, Any]:
        """The centres of the cells, shaped to broadcast over them."""
        return self.mesh(len(self.axes) - 1, self.grid()[self.names[-1]], dtype)

    def own_unknown(self, row: int, axis: str) -> int:
        """The unknown that diffuses along an axis in a row: the only one there."""
        names = {name for name, _ in partials_in(self.law.diffusion[row, axis]) | partials_in(self.law.densities[row])}
        (name,) = names
        return self.equation.unknowns.index(name)


def _dot(a: list[Any], b: list[Any]) -> Any:
    """The sum of products, where None stands for zero."""
    products = [x * y for x, y in zip(a, b, strict=True) if x is not _ZERO and y is not _ZERO]
    return functools.reduce(operator.add, products) if products else _ZERO


def _density_gap(static: tuple, w: Any, arguments: Any) -> Any:
    volumes, k, row = static
    u, target, coordinates, coefficients = arguments
    return volumes._values(volumes.law.densities[row], u.at[k].set(w), coordinates, coefficients) - target


def _density_step(static: tuple, w: Any, arguments: Any, gap: Any) -> Any:
    slope = jax.jvp(lambda v: _density_gap(static, v, arguments), (w,), (jnp.ones_like(w),))[1]
    return gap / slope
