"""Chebyshev collocation: an equation on a box with walls that hold any linear condition, by dense matrices.

The unknowns live at tensor-product nodes (Chebyshev-Lobatto points along an axis with walls, equidistant ones along a
periodic axis).  At wall nodes the boundary condition takes the place of the equation and is solved for:

    B u = g(t)   gives   u_wall = -B_w^-1 B_i u_inner + B_w^-1 g(t),

so the state holds inner nodes only and the walls follow exactly, time-dependent values included.  The matrices are dense:
meant for one space dimension, or for small steady problems in two.

Reference: Trefethen (2000), *Spectral Methods in MATLAB*, ch. 6, 7, 13; Weideman & Reddy (2000), ACM TOMS 26, 465.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations import Equation
from jaxsci.equations.evaluation import evaluate
from jaxsci.problems import Formula, Problem
from jaxsci.solvers.etdrk import Kind
from jaxsci.solvers.lines import Structure, structure

_LARGEST = 4096  # inner unknowns that a dense matrix may have


@functools.cache
def chebyshev_nodes(intervals: int) -> np.ndarray:
    """Chebyshev-Lobatto points on [-1, 1], increasing: ``[intervals + 1]``."""
    return np.sin(np.pi * np.arange(-intervals, intervals + 1, 2) / (2 * intervals))


@functools.cache
def chebyshev_derivative(intervals: int) -> np.ndarray:
    """The first-derivative matrix at the Chebyshev-Lobatto points, ``[intervals + 1, intervals + 1]``.

    Node differences by trigonometric identities and diagonals by row sums, which keeps round-off at eps * n^2.
    """
    n = intervals
    k = np.arange(n + 1)
    theta = np.pi * (n - k) / n  # x_k = cos theta_k
    difference = 2 * np.sin((theta[None, :] + theta[:, None]) / 2) * np.sin((theta[None, :] - theta[:, None]) / 2)
    weight = np.where((k == 0) | (k == n), 2.0, 1.0) * (-1.0) ** k
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = (weight[:, None] / weight[None, :]) / difference
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


@functools.cache
def fourier_derivative(points: int, order: int) -> np.ndarray:
    """The derivative matrix on an equidistant periodic grid of period 2 pi (without the Nyquist mode at odd orders)."""
    k = np.fft.fftfreq(points, 1 / points)
    symbol = (1j * k) ** order
    if points % 2 == 0 and order % 2 == 1:
        symbol[points // 2] = 0
    return np.real(np.fft.ifft(symbol[:, None] * np.fft.fft(np.eye(points), axis=0), axis=0))


class Operators(NamedTuple):
    """L on the inner nodes, and what the right-hand side needs."""

    linear: Any  # [S I, S I]
    rates: Any  # [S, R]: rest rows -> rates


@dataclasses.dataclass(frozen=True)
class CollocationLines:
    """An equation at tensor-product nodes of a box. Static and hashable.

    States are ``[S * inner nodes]``; profiles are the values of every unknown at all nodes, ``[unknowns, *nodes]``.
    """

    equation: Equation
    axes: tuple[tuple[str, float, float, int, bool], ...]  # name, lower, upper, intervals, periodic
    walls: tuple[tuple[str, str, int, str, Formula], ...]  # unknown, axis, end (0 or 1), kind, value

    @staticmethod
    def of(problem: Problem, sizes: tuple[int, ...]) -> CollocationLines:
        """Raises ValueError where this discretisation cannot carry the problem."""
        parts = structure(problem.equation)
        domain, name = problem.domain, problem.name
        if parts.algebraic and parts.components:
            raise ValueError(f"Spectral: {name} has walls and a constraint; only periodic boxes and mirrors carry that yet.")
        axes, walls = [], []
        for axis, size in zip(domain.space, sizes, strict=True):
            ends = problem.walls(axis)
            axes.append((axis, *domain[axis], size, not ends))
            if not ends:
                continue
            highest = max(letters.count(axis) for _, letters in problem.equation.partials)
            if highest > 2:
                raise ValueError(
                    f"Spectral: {name} has a derivative of order {highest} along {axis}, which needs more than one condition "
                    "per wall; only periodic boxes carry that yet."
                )
            for end, wall in enumerate(ends):
                values = wall.for_unknowns(problem.unknowns)
                missing = [u for u in problem.unknowns if u not in values]
                if missing:
                    raise ValueError(f"Spectral: {name} has no condition for {', '.join(missing)} on the walls of {axis}.")
                walls += [(u, axis, end, wall.kind, formula) for u, formula in values.items()]
        lines = CollocationLines(problem.equation, tuple(axes), tuple(walls))
        unknowns = len(parts.components or parts.algebraic) * int(lines.inner.sum())
        if unknowns > _LARGEST:
            raise ValueError(
                f"Spectral: {name} needs Chebyshev collocation, whose matrices are dense; {unknowns} unknowns are too many "
                f"(at most {_LARGEST}). Use a smaller n."
            )
        return lines

    # --- the grid ------------------------------------------------------------------------------------------------------

    @property
    def parts(self) -> Structure:
        return structure(self.equation)

    @property
    def kind(self) -> Kind:
        return "dense"

    @property
    def has_rest(self) -> bool:
        return bool(self.parts.rest) or any(not value.is_zero for *_, value in self.walls)

    @property
    def is_linear(self) -> bool:
        return not self.parts.needed

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(u + "_t" * k for u, k in self.parts.components)

    def grid(self) -> dict[str, np.ndarray]:
        out = {}
        for name, lower, upper, size, periodic in self.axes:
            unit = np.arange(size) / size if periodic else (chebyshev_nodes(size) + 1) / 2
            out[name] = lower + (upper - lower) * unit
        return out

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size + (not periodic) for *_, size, periodic in self.axes)

    def _mesh(self, dtype: Any) -> dict[str, Any]:
        mesh = np.meshgrid(*self.grid().values(), indexing="ij")
        return {name: jnp.asarray(m.ravel(), dtype) for (name, *_), m in zip(self.axes, mesh, strict=True)}

    @property
    def inner(self) -> np.ndarray:
        """True at the nodes on no wall, ``[nodes]``."""
        inside: Any = np.ones(self.shape, bool)
        for i, (*_, periodic) in enumerate(self.axes):
            if not periodic:
                k = np.arange(self.shape[i]).reshape([-1 if j == i else 1 for j in range(len(self.axes))])
                inside = inside & (k > 0) & (k < self.shape[i] - 1)
        return inside.ravel()

    def derivative(self, letters: str) -> np.ndarray:
        """The matrix of a partial derivative, ``[nodes, nodes]``."""
        total = np.ones((1, 1))
        for name, lower, upper, size, periodic in self.axes:
            order = letters.count(name)
            if periodic:
                factor = (2 * np.pi / (upper - lower)) ** order * fourier_derivative(size, order)
            else:
                factor = np.linalg.matrix_power(2 / (upper - lower) * chebyshev_derivative(size), order)
            total = np.kron(total, factor)
        return total

    def _walls_of(self, unknown: str) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, Formula]]]:
        """(E, F, values): u = E u_inner + F g, with g stacked from the formulas at their wall nodes."""
        inner = self.inner
        operator = np.zeros((len(inner), len(inner)))
        index = np.indices(self.shape).reshape(len(self.axes), -1)
        claimed, values = inner.copy(), []
        for name, axis, end, kind, formula in self.walls:
            if name != unknown:
                continue
            i = [a[0] for a in self.axes].index(axis)
            on_wall = (index[i] == (0 if end == 0 else self.shape[i] - 1)) & ~claimed  # a corner goes to the first wall
            claimed |= on_wall
            rows = np.eye(len(inner)) if kind == "dirichlet" else self.derivative(axis)
            operator[on_wall] = rows[on_wall]
            values.append((np.flatnonzero(on_wall), formula))
        wall = ~inner
        solve = np.linalg.inv(operator[np.ix_(wall, wall)]) if wall.any() else np.zeros((0, 0))
        extend = np.zeros((len(inner), int(inner.sum())))
        extend[inner] = np.eye(int(inner.sum()))
        extend[wall] = -solve @ operator[np.ix_(wall, inner)]
        spread = np.zeros((len(inner), int(wall.sum())))
        spread[wall] = solve
        return extend, spread, values

    def _fill(self, unknown: str, time_order: int, inner_values: Any, coefficients: Mapping[str, Any], t: Any) -> Any:
        """Values at all nodes of the time derivative `time_order` of an unknown, from those at inner nodes."""
        extend, spread, values = self._walls_of(unknown)
        dtype = inner_values.dtype
        full = jnp.asarray(extend, dtype) @ inner_values
        if all(formula.is_zero for _, formula in values):
            return full
        mesh = self._mesh(dtype)
        wall_index = np.flatnonzero(~self.inner)

        def held(time):
            g = jnp.zeros(len(wall_index), dtype)
            for nodes, formula in values:
                here = {name: x[nodes] for name, x in mesh.items()} | {"t": jnp.broadcast_to(time, nodes.shape)}
                g = g.at[np.searchsorted(wall_index, nodes)].set(formula(here, coefficients).astype(dtype))
            return g

        for _ in range(time_order):
            held = _time_derivative(held)
        return full + jnp.asarray(spread, dtype) @ held(jnp.asarray(t, dtype))

    # --- operators -----------------------------------------------------------------------------------------------------

    def _linear(self, coefficients: Mapping[str, Any], dtype: Any) -> tuple[dict, dict]:
        """S as numbers {(row, unknown)} and A as matrices {(row, component)} on all nodes."""
        parts = self.parts
        mass: dict[tuple[int, str], Any] = {}
        matrices: dict[tuple[int, tuple[str, int]], Any] = {}
        for term in parts.linear:
            factor = jnp.asarray(evaluate(term.factor, {}, {}, coefficients), dtype)
            component = (term.unknown, term.letters.count("t"))
            if component in parts.components or (not parts.components):
                matrix = factor * jnp.asarray(self.derivative(term.letters), dtype)
                key = (term.row, component)
                matrices[key] = matrices[key] + matrix if key in matrices else matrix
            elif set(term.letters) <= {"t"}:
                mass[term.row, term.unknown] = mass.get((term.row, term.unknown), 0.0) + factor
            else:
                raise ValueError(
                    f"Spectral: the mixed derivative {term.unknown}_{term.letters} needs a periodic box or a mirror."
                )
        return mass, matrices

    def operators(self, coefficients: Mapping[str, Any], dtype: Any) -> Operators:
        parts, unknowns = self.parts, self.equation.unknowns
        n, count = len(unknowns), int(self.inner.sum())
        mass, matrices = self._linear(coefficients, dtype)
        square = jnp.stack([jnp.stack([jnp.asarray(mass.get((row, u), 0.0), dtype) for u in unknowns]) for row in range(n)])
        inverse = jnp.linalg.inv(square)
        extends = {u: jnp.asarray(self._walls_of(u)[0], dtype) for u in unknowns}
        rows = []
        for u, k in parts.components:
            blocks = []
            for v, j in parts.components:
                block = jnp.zeros((count, count), dtype)
                if (u, k + 1) in parts.components:
                    block = jnp.eye(count, dtype=dtype) if (v, j) == (u, k + 1) else block
                else:
                    for row in range(n):
                        if (row, (v, j)) in matrices:
                            acting = (matrices[row, (v, j)] @ extends[v])[np.flatnonzero(self.inner)]
                            block = block - inverse[unknowns.index(u), row] * acting
                blocks.append(block)
            rows.append(jnp.concatenate(blocks, axis=1))
        rates = jnp.stack([
            jnp.zeros(n, dtype) if (u, k + 1) in parts.components else -inverse[unknowns.index(u)]
            for u, k in parts.components
        ])  # fmt: skip
        return Operators(jnp.concatenate(rows, axis=0), rates)

    def nonlinear(self, operators: Operators, coefficients: Mapping[str, Any], state: Any, t: Any) -> Any:
        """The rest at the inner nodes, and what the walls' values add to the linear part."""
        parts, dtype = self.parts, state.dtype
        inner = np.flatnonzero(self.inner)
        parts_of_state = dict(zip(parts.components, state.reshape(len(parts.components), -1), strict=True))
        full = {(u, k): self._fill(u, k, v, coefficients, t) for (u, k), v in parts_of_state.items()}
        rows = self._rest(full, coefficients, dtype, t)
        _, matrices = self._linear(coefficients, dtype)
        zeros = jnp.zeros(len(inner), dtype)
        for (row, (u, k)), matrix in matrices.items():
            walls_only = self._fill(u, k, zeros, coefficients, t)
            if any(not formula.is_zero for _, formula in self._walls_of(u)[2]):
                rows[row] = rows[row] + matrix @ walls_only
        stacked = jnp.stack([row[inner] for row in rows])
        return (operators.rates @ stacked).ravel()

    def _rest(self, full: dict[tuple[str, int], Any], coefficients: Mapping[str, Any], dtype: Any, t: Any) -> list[Any]:
        parts = self.parts
        values = {
            (u, letters): jnp.asarray(self.derivative(letters.replace("t", "")), dtype) @ full[u, letters.count("t")]
            for u, letters in parts.needed
        }
        coordinates = self._mesh(dtype) | {"t": t}

        def differentiate(value, letters):
            return jnp.asarray(self.derivative(letters), dtype) @ value

        rows = [jnp.zeros(len(self.inner), dtype) for _ in self.equation.residuals]
        for term in parts.rest:
            value = jnp.asarray(evaluate(term.formula, values, coordinates, coefficients, differentiate), dtype)
            value = jnp.broadcast_to(value, rows[0].shape)
            rows[term.row] = rows[term.row] + (differentiate(value, term.letters) if term.letters else value)
        return rows

    # --- states, profiles, fields ----------------------------------------------------------------------------------------

    def initial_state(self, problem: Problem, dtype: Any) -> Any:
        mesh = self._mesh(dtype)
        fields = [problem.initial[name](mesh, problem.coefficients) for name in self.component_names]
        return self.encode(jnp.stack([jnp.asarray(f, dtype).reshape(self.shape) for f in fields]))

    def encode(self, components: Any) -> Any:
        inner = np.flatnonzero(self.inner)
        return components.reshape(len(components), -1)[:, inner].ravel()

    def profile(self, operators: Operators, coefficients: Mapping[str, Any], state: Any, t: Any) -> Any:
        del operators
        pieces = dict(zip(self.parts.components, state.reshape(len(self.parts.components), -1), strict=True))
        rows = [self._fill(u, 0, pieces[u, 0], coefficients, t) for u in self.equation.unknowns]
        return jnp.stack(rows).reshape(-1, *self.shape)

    def steady_profile(self, problem: Problem, dtype: Any) -> Any:
        unknowns, inner = self.equation.unknowns, np.flatnonzero(self.inner)
        _, matrices = self._linear(problem.coefficients, dtype)
        rows = self._rest({}, problem.coefficients, dtype, jnp.zeros((), dtype))
        zeros = jnp.zeros(len(inner), dtype)
        held = {u: self._fill(u, 0, zeros, problem.coefficients, 0.0) for u in unknowns}
        blocks = []
        for row in range(len(rows)):
            line = []
            for u in unknowns:
                matrix = matrices.get((row, (u, 0)), jnp.zeros((len(self.inner),) * 2, dtype))
                rows[row] = rows[row] + matrix @ held[u]
                line.append((matrix @ jnp.asarray(self._walls_of(u)[0], dtype))[inner])
            blocks.append(jnp.concatenate(line, axis=1))
        solved = jnp.linalg.solve(jnp.concatenate(blocks), -jnp.concatenate([row[inner] for row in rows]))
        pieces = solved.reshape(len(unknowns), -1)
        filled = [self._fill(u, 0, piece, problem.coefficients, 0.0) for u, piece in zip(unknowns, pieces, strict=True)]
        return jnp.stack(filled).reshape(-1, *self.shape)

    def decode(self, profile: Any) -> Any:
        return profile

    def at_point(self, profile: Any, point: tuple[Any, ...]) -> Any:
        """Barycentric interpolation written as a polynomial in the Chebyshev basis, so that it differentiates anywhere."""
        for (_, lower, upper, size, periodic), x in zip(self.axes, point, strict=True):
            weights = _fourier_weights(size, lower, upper, x) if periodic else chebyshev_weights(size, lower, upper, x)
            profile = jnp.tensordot(profile, weights.astype(profile.dtype), axes=(1, 0))
        return profile

    def tail(self, profile: Any) -> Any:
        """Share of the norm in the highest sixth of the expansion coefficients of any axis."""
        worst = jnp.zeros((), profile.dtype)
        for i, (*_, size, periodic) in enumerate(self.axes):
            if periodic:
                modes = jnp.fft.rfft(profile, axis=1 + i)
            else:
                modes = jnp.moveaxis(
                    jnp.asarray(_to_chebyshev(size), profile.dtype) @ jnp.moveaxis(profile, 1 + i, -2), -2, 1 + i
                )
            power = jnp.sum(jnp.abs(jnp.moveaxis(modes, 1 + i, 0).reshape(modes.shape[1 + i], -1)) ** 2, axis=1)
            share = jnp.sum(power[-max(len(power) // 6, 1) :]) / jnp.maximum(jnp.sum(power), jnp.finfo(power.dtype).tiny)
            worst = jnp.maximum(worst, jnp.sqrt(share))
        return worst


def _time_derivative(function: Any) -> Any:
    return lambda t: jax.jvp(function, (t,), (jnp.ones_like(t),))[1]


@functools.cache
def _to_chebyshev(intervals: int) -> np.ndarray:
    """Values at the Lobatto points to coefficients of T_0 .. T_n."""
    k = np.arange(intervals + 1)
    values = np.cos(np.outer(np.pi * (intervals - k) / intervals, k))  # T_k at the nodes
    return np.linalg.inv(values)


def chebyshev_weights(intervals: int, lower: float, upper: float, x: Any) -> Any:
    """w with u(x) = sum_j w_j u_j: the Chebyshev polynomials at x by their recurrence, times values -> coefficients."""
    s = (2 * x - lower - upper) / (upper - lower)

    def recurrence(pair, _):
        before, now = pair
        return (now, 2 * s * now - before), now

    _, tail = jax.lax.scan(recurrence, (jnp.ones_like(s), s), length=intervals)
    polynomials = jnp.concatenate([jnp.ones_like(s)[None], tail])
    return polynomials @ jnp.asarray(_to_chebyshev(intervals), polynomials.dtype)


def _fourier_weights(points: int, lower: float, upper: float, x: Any) -> Any:
    """The periodic cardinal functions at x (the Nyquist mode left out)."""
    k = np.arange(1, (points - 1) // 2 + 1)
    angle = 2 * np.pi * ((x - lower) / (upper - lower) - np.arange(points) / points)
    return (1 + 2 * jnp.sum(jnp.cos(k[:, None] * angle), axis=0)) / points
