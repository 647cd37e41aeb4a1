r"""Features tabulated at the points of a fit, in a window: every step of the descent is then linear algebra.

In a window nothing is prescribed, and the field is linear in what is fitted, u_k = sum_j c_kj phi_j.  The partial derivatives
of the phi_j at the points of the equation never change; with them the Jacobian is a product,

    dR/dc_kj = sum over partial derivatives D of  dR/d(D u_k)  D phi_j.

The observations are linear in c, so that an orthogonal factorisation [A | y] = Q T replaces their many rows by the triangle T
once and for all: |A c - y| = |T (c, -1)|.

Reference: Golub & Van Loan (2013), *Matrix Computations*, section 5.3 (least squares by QR).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxsci.equations.expression import multi_index
from jaxsci.equations.partials import partial_derivatives
from jaxsci.learning.free import LearnedField
from jaxsci.learning.objective import Batch, Coefficients, Unknowns


class Table(NamedTuple):
    """All features at points, and their partial derivatives."""

    columns: tuple[Any, ...]  # coordinates, each [points]
    features: dict[str, Any]  # {letters: [points, M]}


@dataclasses.dataclass(frozen=True)
class TabulatedField(LearnedField):
    """A window's field of frozen features. The points of a batch are a `Table` ("equation") and a triangle ("data")."""

    def at_equation(self, points: Any) -> Table:
        return _tabulate(self, tuple(points.T), tuple(sorted({letters for _, letters in self.equation.equation.partials})))

    def at_data(self, observed: Batch) -> Batch:
        """The triangle T of the weighted observations, ``[P + 1, P + 1]`` for P coefficients of features."""
        table = _tabulate(self, tuple(observed.points["data"].T), tuple(sorted({letters for _, letters in self.seen})))
        triangle = _condense(self, table, observed.targets["data"], observed.weights["data"])
        return Batch({"data": triangle}, {"data": jnp.ones(len(triangle), triangle.dtype)}, {})

    def columns(self, points):
        return points.columns

    def partials(self, unknowns, coefficients, points):
        weights = unknowns["network"]["coefficients"]
        index = self.equation.equation.unknowns.index
        return {key: points.features[key[1]] @ weights[index(key[0])] for key in sorted(self.equation.equation.partials)}

    def residual(self, unknowns, coefficients, points):
        partials = self.partials(unknowns, coefficients, points)
        return self.equation.from_partials(partials, points.columns, self.all_coefficients(unknowns, coefficients))

    def rows(self, unknowns, coefficients, batch):
        parts = []
        for name, points in batch.points.items():
            if name == "data":
                parts.append(points @ jnp.append(unknowns["network"]["coefficients"].ravel(), -1.0))
            else:
                parts.append((jnp.sqrt(batch.weights[name]) * self.residual(unknowns, coefficients, points)).ravel())
        return jnp.concatenate(parts)

    def linearise(self, unknowns, coefficients, batch):
        count = ravel_pytree(unknowns["coefficients"])[0].size
        slopes = []
        for name, points in batch.points.items():
            if name == "data":
                slopes.append(jnp.pad(points[:, :-1], ((0, 0), (count, 0))))
            else:
                slopes.append(self._slopes(unknowns, coefficients, points, jnp.sqrt(batch.weights[name])))
        return self.rows(unknowns, coefficients, batch), jnp.concatenate(slopes)

    def _slopes(self, unknowns: Unknowns, coefficients: Coefficients, table: Table, roots: Any) -> Any:
        """The Jacobian of the equation's rows: the coefficients' columns first, as in the flattened unknowns."""
        partials = self.partials(unknowns, coefficients, table)
        values = self.all_coefficients(unknowns, coefficients)
        function = lambda given: self.equation.from_partials(given, table.columns, values)  # noqa: E731
        zeros = {key: jnp.zeros_like(value) for key, value in partials.items()}
        blocks: dict[str, Any] = dict.fromkeys(self.equation.equation.unknowns, 0.0)
        for key in partials:
            _, slope = jax.jvp(function, (partials,), ({**zeros, key: jnp.ones_like(partials[key])},))
            blocks[key[0]] += (roots * slope)[:, :, None] * table.features[key[1]][:, None, :]
        flat, unravel = ravel_pytree(unknowns["coefficients"])

        def of_coefficients(flat):
            given = self.all_coefficients(unknowns | {"coefficients": unravel(flat)}, coefficients)
            return roots * self.equation.from_partials(partials, table.columns, given)

        columns = [jax.jacfwd(of_coefficients)(flat), *blocks.values()]
        return jnp.concatenate(columns, axis=2).reshape(roots.size, -1)


@functools.partial(jax.jit, static_argnames=("objective", "letters"))
def _tabulate(objective: TabulatedField, columns: tuple[Any, ...], letters: tuple[str, ...]) -> Table:
    coordinates = objective.equation.coordinates
    index = {name: multi_index(name, coordinates) for name in letters}
    network: Any = objective.network  # its units are not in the protocol
    units = objective.conditions.field(network.units_at, {})
    values = partial_derivatives(units, columns, sorted(set(index.values())))
    return Table(columns, {name: values[index[name]] for name in letters})


@functools.partial(jax.jit, static_argnames=("objective",))
def _condense(objective: TabulatedField, table: Table, targets: Any, weights: Any) -> Any:
    names = objective.equation.equation.unknowns
    blocks = []
    for i, (name, letters) in enumerate(objective.seen):
        block = jnp.stack([table.features[letters] * (name == other) for other in names], axis=1)
        blocks.append(jnp.sqrt(weights[:, i, None]) * jnp.append(block.reshape(len(block), -1), targets[:, i, None], axis=1))
    matrix = jnp.concatenate(blocks)
    missing = max(matrix.shape[1] - len(matrix), 0)
    return jnp.linalg.qr(jnp.pad(matrix, ((0, missing), (0, 0))), mode="r")
