r"""Proper orthogonal decomposition (POD): the few fields in which most of the data's variance lies.

    u(x) = mean(x) + sum_i a_i phi_i(x),    a_i = <phi_i, u - mean>,    <u, v> = sum_c int u_c v_c dx / s_c^2

s_c is the root mean square of channel c over the data, so that channels of different units count alike. The phi_i are the left
singular vectors of the saves (Sirovich 1987), by trapezoids in space.

Reference: Sirovich (1987), Q. Appl. Math. 45, 561; Holmes, Lumley, Berkooz & Rowley (2012), *Turbulence, Coherent Structures,
Dynamical Systems and Symmetry*, section 3.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsci._checks import is_whole
from jaxsci.surrogates.closed_form import check_grid
from jaxsci.surrogates.trajectories import Trajectories

_MOST_SNAPSHOTS = 1000  # that a basis is made of, evenly among all saves


class Basis(NamedTuple):
    """Orthonormal fields.

    Attributes:
      mean: ``[channels, *space]``; zero where the saves were not centred.
      modes: phi, ``[rank, channels, *space]``.
      weights: of the inner product, ``[channels, *space]``.
      singular_values: of all modes there are, also those that were left out.
    """

    mean: np.ndarray
    modes: np.ndarray
    weights: np.ndarray
    singular_values: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.modes)

    @property
    def energy(self) -> float:
        """The share of the variance in the basis."""
        squared = self.singular_values**2
        return float(squared[: self.rank].sum() / squared.sum()) if squared.sum() > 0 else 1.0

    def cut(self, rank: int) -> Basis:
        """The leading modes."""
        return self._replace(modes=self.modes[:rank])

    def coefficients(self, fields: np.ndarray) -> np.ndarray:
        """Fields ``[..., channels, *space]`` to ``[..., rank]``, in double precision."""
        analysis = (self.modes * self.weights).reshape(self.rank, -1)
        lead = fields.shape[: fields.ndim - self.mean.ndim]
        return (fields - self.mean).reshape(*lead, -1) @ analysis.T

    def parameters(self) -> dict[str, np.ndarray]:
        """What `to_coefficients` and `to_fields` need."""
        return {"mean": self.mean, "modes": self.modes, "analysis": self.modes * self.weights}


def to_coefficients(parameters: Any, fields: Any) -> Any:
    """Fields ``[channels, *space]`` to ``[rank]``."""
    analysis = parameters["analysis"]
    check_grid(fields, analysis.shape[1:])
    return analysis.reshape(len(analysis), -1) @ jnp.ravel(fields - parameters["mean"])


def to_fields(parameters: Any, coefficients: Any) -> Any:
    """The inverse of `to_coefficients` on the basis."""
    return parameters["mean"] + jnp.tensordot(coefficients, parameters["modes"], axes=1)


def proper_orthogonal_decomposition(
    data: Trajectories, fields: np.ndarray, *, rank: int | float | None = None, center: bool = True, name: str = "POD"
) -> Basis:
    """The POD of all saves of all runs.

    Args:
      fields: of the data, on the host.
      rank: how many modes, or as a fraction below 1 the share of the variance that they must hold; None for all that stand
        above rounding.
      center: subtract the mean over the saves first.
    Raises:
      ValueError: a rank that is neither, or larger than the data give.
    """
    check_rank(name, rank)
    flat = fields.reshape(-1, *fields.shape[2:])
    mean = np.mean([np.mean(run, axis=0, dtype=float) for run in fields], axis=0) if center else np.zeros(flat.shape[1:])
    snapshots = flat[np.unique(np.linspace(0, len(flat) - 1, min(len(flat), _MOST_SNAPSHOTS)).round().astype(int))] - mean
    axes = (0, *range(2, snapshots.ndim))
    weights = quadrature(data)
    scale = np.sqrt(np.mean(snapshots**2 * weights, axis=axes) / weights.mean())
    scale = np.where(scale > 0, scale, 1.0).reshape(-1, *(1,) * weights.ndim)
    weights = np.broadcast_to(weights / scale**2, mean.shape)
    rows = (snapshots * np.sqrt(weights)).reshape(len(snapshots), -1)
    _, singular_values, vectors = np.linalg.svd(rows, full_matrices=False)
    rounding = singular_values[0] * max(rows.shape) * np.finfo(fields.dtype).eps
    there = max(1, int(np.count_nonzero(singular_values > rounding)))
    count = _count(name, rank, singular_values[:there])
    modes = vectors[:count].reshape(count, *mean.shape) / np.sqrt(weights)
    return Basis(mean, modes, np.array(weights), singular_values[:there])


def check_rank(name: str, rank: Any) -> None:
    """A whole number, a share of the variance, or None."""
    fraction = isinstance(rank, float) and 0 < rank < 1
    if not (rank is None or fraction or (is_whole(rank) and rank >= 1)):
        raise ValueError(
            f"{name}: rank must be a whole number >= 1, a share of the variance between 0 and 1, or None, got {rank!r}."
        )


def _count(name: str, rank: int | float | None, singular_values: np.ndarray) -> int:
    there = len(singular_values)
    if rank is None:
        return there
    if isinstance(rank, float):
        share = np.cumsum(singular_values**2) / max(np.sum(singular_values**2), np.finfo(float).tiny)
        return min(there, int(np.searchsorted(share, rank * (1 - 1e-15))) + 1)
    if rank > there:
        raise ValueError(
            f"{name}.fit: rank {rank} is more than the {there} independent fields in the data; lower it, or add runs."
        )
    return int(rank)


def quadrature(data: Trajectories) -> np.ndarray:
    """Weights of the trapezoidal rule on the data's grid, ``[*space]``, their sum the volume."""
    grid = data.frame().grid
    total = np.ones(())
    for axis, x in grid.items():
        x = np.asarray(x, float)
        low, high = data.problem.domain[axis]
        if data.problem.walls(axis):
            gaps = np.diff(x)
            weight = np.concatenate([gaps, [0.0]]) / 2 + np.concatenate([[0.0], gaps]) / 2
        else:
            weight = np.full(len(x), (high - low) / len(x))
        total = total[..., None] * weight
    return total


def rank_ladder(basis: Basis, samples: int) -> list[int]:
    """Ranks to choose from: half octaves up to what the basis and the samples allow."""
    most = max(1, min(basis.rank, samples))
    steps = {round(2 ** (k / 2)) for k in range(2 * math.ceil(math.log2(most)) + 1)} if most > 1 else {1}
    return sorted({min(most, r) for r in steps} | {most})


@dataclasses.dataclass(frozen=True)
class AffineModesRule:
    """a' = A a + b on the coefficients of a basis, which are what is carried."""

    def encode(self, parameters: Any, fields: Any) -> Any:
        return to_coefficients(parameters, fields)

    def step(self, parameters: Any, carry: Any, coefficients: Any, t: Any) -> Any:
        return parameters["matrix"] @ carry + parameters["constant"]

    def decode(self, parameters: Any, carry: Any) -> Any:
        return to_fields(parameters, carry)
