r"""Operators on grids with physics: a Fourier neural operator from a start to its whole evolution, trained on the residual.

On a periodic grid and the Chebyshev nodes t_0 < ... < t_K of the time interval (t_0 its start),

    u(t_k, x) = u_0(x) + s_k N_k[u_0, coefficients](x),   s = (t - t_0) / (t_K - t_0),

so that the start holds exactly; N_k are the channels of the network. The derivatives that the equation contains are those of the
interpolant: a differentiation matrix in time and Fourier multipliers in space; the equation is evaluated at all nodes by the
same residual as everywhere else.

Reference: Li, Zheng, Kovachki et al. (2024), Physics-informed neural operator (PINO), ACM/IMS J. Data Sci. 1, 9; Trefethen
(2000), *Spectral Methods in MATLAB*, ch. 3, 6.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci._checks import listed
from jaxsci.learning.operator_objective import OperatorObjective
from jaxsci.problems import Problem
from jaxsci.problems.fourier_series import FourierSeries

_MOST = 128  # members that a loss looks at


def check_grid_problem(problem: Problem) -> None:
    """Periodic in space and of first order in time.

    Raises:
      ValueError: it is not.
    """
    if problem.equation.functions:
        raise ValueError(
            f"{problem.name}: an FNO sees starts and scalar coefficients, not {listed(problem.equation.functions)}, which the "
            "equation calls. Use a js.networks.DeepONet."
        )
    walls = [axis for axis in problem.domain.space if problem.walls(axis)]
    orders = {name: 0 if problem.is_steady else problem.time_order(name) for name in problem.unknowns}
    if walls or set(orders.values()) != {1} or not problem.domain.space:
        raise ValueError(
            f"{problem.name}: an FNO is trained on problems that are periodic in space and of first order in time; this one has "
            f"walls of {walls or 'no axis'} and time orders {orders}. Use a js.networks.DeepONet."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridObjective(OperatorObjective):
    """The residual over a family on a grid; of a point ``[coordinates, numbers]`` only the member counts."""

    n: int  # odd: the interpolant has every mode of the grid, and no Nyquist mode is without a derivative
    nodes: int  # of time, the start included

    # --- the grid ----------------------------------------------------------------------------------------------------

    @property
    def _box(self) -> Any:
        return self.conditions.problem.domain

    @property
    def _space(self) -> tuple[int, ...]:
        return (self.n,) * len(self._box.space)

    def columns(self, dtype: Any) -> dict[str, Any]:
        """The coordinates on the grid, each ``[nodes, *space]``."""
        axes = {"t": self._times()[0]}
        axes |= {a: self._box[a][0] + np.ptp(self._box[a]) * np.arange(self.n) / self.n for a in self._box.space}
        mesh = np.meshgrid(*axes.values(), indexing="ij")
        return {name: jnp.asarray(values, dtype) for name, values in zip(axes, mesh, strict=True)}

    def _times(self) -> tuple[np.ndarray, np.ndarray]:
        """Chebyshev nodes, increasing, and their differentiation matrix."""
        start, end = self._box["t"]
        k = np.arange(self.nodes)
        s = -np.cos(np.pi * k / (self.nodes - 1))
        weight = np.where((k == 0) | (k == self.nodes - 1), 2.0, 1.0) * (-1.0) ** k
        with np.errstate(divide="ignore"):
            matrix = (weight[:, None] / weight) / (s[:, None] - s)
        np.fill_diagonal(matrix, 0.0)
        np.fill_diagonal(matrix, -matrix.sum(axis=1))
        return start + (end - start) * (s + 1) / 2, matrix * 2 / (end - start)

    # --- the field ---------------------------------------------------------------------------------------------------

    def _scalars(self) -> list[int]:
        """Which of the varying numbers are scalar coefficients: these enter as channels, those of a start by its values."""
        at, found, varying = 0, [], self.members.varying.tolist()
        for _, value in sorted(self.conditions.problem.coefficients.items()):
            sizes = [np.size(leaf) for leaf in jax.tree.leaves(value)]
            if sizes == [1] and at in varying:
                found.append(varying.index(at))
            at += sum(sizes)
        return found

    def init(self, key, coefficients):
        del coefficients
        unknowns = len(self.conditions.problem.unknowns)
        inputs = unknowns + len(self._scalars())
        return {"network": self.network.init(key, inputs, unknowns * (self.nodes - 1)), "coefficients": {}}

    def values(self, unknowns: Any, coefficients: Any) -> Any:
        """The field of one member at all nodes, ``[unknowns, nodes, *space]``."""
        problem, dtype = self.conditions.problem, jnp.result_type(*jax.tree.leaves(unknowns["network"]))
        columns = self.columns(dtype)
        here = {name: values[0] for name, values in columns.items() if name != "t"}
        start = jnp.stack([problem.initial[u](here, coefficients) for u in problem.unknowns])
        numbers = self.members.standardised(self.members.numbers(coefficients))
        constants = [jnp.broadcast_to(numbers[i], (1, *self._space)) for i in self._scalars()]
        change = self.network.apply(unknowns["network"], jnp.concatenate([start, *constants]).astype(dtype))
        change = change.reshape(len(problem.unknowns), self.nodes - 1, *self._space)
        elapsed = (self._times()[0] - self._box["t"][0]) / np.ptp(self._box["t"])
        elapsed = jnp.asarray(elapsed[1:], dtype).reshape(-1, *(1,) * len(self._space))
        return jnp.concatenate([start[:, None], start[:, None] + elapsed * change], axis=1)

    def field(self, unknowns, coefficients):
        """The interpolant: Chebyshev in time and Fourier in space."""
        values = self.values(unknowns, coefficients)
        nodes, d = np.arange(self.nodes), len(self._space)
        vandermonde = np.cos(np.outer(np.pi * (1 - nodes / (self.nodes - 1)), nodes))  # T_k at the nodes
        in_time = jnp.einsum("kj,uj...->uk...", jnp.asarray(np.linalg.inv(vandermonde), values.dtype), values)
        modes = jnp.fft.rfftn(in_time, axes=range(2, 2 + d), norm="forward")
        m = (self.n - 1) // 2
        for axis in range(2, 1 + d):
            low = jax.lax.slice_in_dim(modes, 0, m + 1, axis=axis)
            high = jax.lax.slice_in_dim(modes, self.n - m, None, axis=axis)
            modes = jnp.concatenate([low, high], axis=axis)
        modes = modes[..., : m + 1]
        parts = jnp.stack([modes.real, modes.imag], axis=2)  # [unknowns, nodes, 2, *modes]
        start, end = self._box["t"]
        lower = tuple(self._box[axis][0] for axis in self._box.space)

        def field(t, *point):
            s = 2 * (t - start) / (end - start) - 1
            polynomials = [jnp.ones_like(s), s]
            for _ in range(2, self.nodes):
                polynomials.append(2 * s * polynomials[-1] - polynomials[-2])
            now = jnp.einsum("k,uk...->u...", jnp.stack(polynomials), parts)
            return jnp.stack([FourierSeries(part, lower, self._box.lengths)(*point) for part in now])

        return field

    # --- the objective -----------------------------------------------------------------------------------------------

    def _member_residual(self, unknowns: Any, coefficients: Any) -> Any:
        """At all nodes of one member, ``[nodes * space * equations]``."""
        values = self.values(unknowns, coefficients)
        matrix = jnp.asarray(self._times()[1], values.dtype)
        names = self.conditions.problem.unknowns
        columns = {name: column.ravel() for name, column in self.columns(values.dtype).items()}

        @functools.cache
        def derivative(name: str, letters: str) -> Any:
            value = values[names.index(name)]
            for _ in range(letters.count("t")):
                value = jnp.einsum("kj,j...->k...", matrix, value)
            space = letters.replace("t", "")
            return (self._in_space(value, space) if space else value).ravel()

        partials = {partial: derivative(*partial) for partial in sorted(self.equation.equation.partials)}
        ordered = tuple(columns[name] for name in self.equation.coordinates)
        return self.equation.from_partials(partials, ordered, coefficients).ravel()

    def _in_space(self, value: Any, letters: str) -> Any:
        d = len(self._space)
        modes = jnp.fft.rfftn(value, axes=range(1, 1 + d))
        for i, axis in enumerate(self._box.space):
            order = letters.count(axis)
            k = np.arange(self.n // 2 + 1) if i == d - 1 else np.fft.fftfreq(self.n, 1 / self.n)
            symbol = (2j * np.pi / self._box.lengths[i] * k) ** order
            modes = modes * jnp.asarray(symbol.reshape([-1 if j == i else 1 for j in range(d)]), modes.dtype)
        return jnp.fft.irfftn(modes, s=self._space, axes=range(1, 1 + d))

    def observe(self, solution, samples, key):
        """The values of a solution at all nodes, one row: no samples are drawn."""
        columns = self.columns(jnp.result_type(float))
        numbers = self.members.numbers(solution.problem.coefficients)
        point = jnp.concatenate([jnp.zeros(len(columns), numbers.dtype), numbers])
        values = solution.evaluate(**{name: columns[name] for name in self.conditions.problem.coordinates})
        return point[None], values.ravel()[None]

    def part(self, name, unknowns, coefficients, points, target):
        def of_member(point):
            _, member = self._split(coefficients, point)
            if name == "equation":
                return self._member_residual(unknowns, member)
            return self.values(unknowns, member).ravel()

        many = len(points) > _MOST  # candidates of a sampling: in pieces, for their memory
        values = jax.lax.map(of_member, points, batch_size=_MOST) if many else jax.vmap(of_member)(points)
        return values if target is None else values - target

    def residual(self, unknowns, coefficients, points):
        return self.part("equation", unknowns, coefficients, points, None)

    def loss(self, unknowns, coefficients, batch):
        """The mean square over members and nodes, and that of the misfit."""
        few = {name: points[:_MOST] if name == "equation" else points for name, points in batch.points.items()}
        return sum(jnp.mean(part**2) for part in self.parts(unknowns, coefficients, batch._replace(points=few)).values())

    def linearise(self, unknowns, coefficients, batch):
        raise TypeError("An FNO has too many parameters for a least-squares step: train it by js.learning.FirstOrder(...).")
