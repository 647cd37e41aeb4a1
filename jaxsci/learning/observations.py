"""What was observed: values of some unknowns, or of their derivatives, at points, with noise and gaps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from jaxsci._checks import check_keys, listed
from jaxsci.equations.evaluation import Partial
from jaxsci.equations.expression import sorted_letters, split_letters
from jaxsci.problems import Problem


@dataclasses.dataclass(frozen=True)
class Observations:
    """Values of a problem's unknowns, or of their derivatives, at points, in any order and anywhere in the domain.

    Args:
      points: by coordinate, ``[N]`` (a single number holds for all points).
      values: by unknown, ``[N]``; NaN where a value is missing. Unknowns that were not observed are left out. A derivative is
        named as in an equation: ``"psi.y"`` is a velocity where psi is a stream function (through a learned field only).
      noise: standard deviation of independent Gaussian errors: one number, or one by name of `values`. None estimates it from
        the misfit, as the same share of the root mean square under every name.
    Example:
      >>> import jaxsci as js
      >>> js.learning.Observations({"t": [0.0, 1.0, 2.0]}, {"prey": [10.0, float("nan"), 2.1]}, noise=0.1)
      Observations(2 values of 'prey' at 3 points, noise 0.1)
    """

    points: Mapping[str, Float[ArrayLike, " N"]]
    values: Mapping[str, Float[ArrayLike, " N"]]
    noise: float | Mapping[str, float] | None = None

    def __repr__(self) -> str:
        counts = {name: np.isfinite(np.asarray(value, float)).sum() for name, value in self.values.items()}
        size = max((np.size(value) for value in self.values.values()), default=0)
        shown = "estimated" if self.noise is None else self.noise
        return f"Observations({sum(counts.values())} values of {listed(counts)} at {size} points, noise {shown})"


class Data(NamedTuple):
    """Observations as arrays in the order of a problem's coordinates, a column for each of their names."""

    points: Any  # [N, coordinates]
    targets: Any  # [N, names], zero where there is none
    present: Any  # [N, names], whether there is one
    noise: Any  # [names]: the standard deviation, or where it is estimated the root mean square
    known: bool  # whether the noise was given
    seen: tuple[Partial, ...]  # by name, (unknown, letters of the derivative)

    @property
    def names(self) -> list[str]:
        """As the observations give them."""
        return [name + ("." if letters else "") + letters for name, letters in self.seen]

    @property
    def total(self) -> int:
        """How many values there are."""
        return int(np.sum(self.present))

    @property
    def weights(self) -> Any:
        """Of the squares, so that a misfit by one standard deviation everywhere sums to one: ``[N, names]``."""
        return jnp.where(self.present, 1 / (self.noise**2 * self.total), 0.0)


def prepare(problem: Problem, data: Observations) -> Data:
    """Check observations against a problem, and stack them.

    Raises:
      TypeError, KeyError, ValueError: naming the coordinate, unknown or number that is wrong.
    """
    if not isinstance(data, Observations):
        raise TypeError(
            "fit(problem, data, ...): data must be js.learning.Observations({'t': ...}, {'u': ...}), got "
            f"{type(data).__name__}."
        )
    check_keys("observed unknown", {name.partition(".")[0]: None for name in data.values}, problem.unknowns)
    check_keys("coordinate of the observations", data.points, problem.coordinates, complete=True)
    if not data.values:
        raise ValueError(f"Observations: no values; give some of {listed(problem.unknowns)}.")
    seen = {name: _partial(problem, name) for name in data.values}
    values = {name: np.asarray(value, float) for name, value in data.values.items()}
    shapes = {name: value.shape for name, value in values.items()}
    size = next(iter(values.values())).shape
    if len(set(shapes.values())) != 1 or len(size) != 1 or size[0] < 1:
        raise ValueError(f"Observations: values must be 1-D arrays of one length, got shapes {shapes}.")
    columns = []
    for name in problem.coordinates:
        column = np.asarray(data.points[name], float)
        if column.shape not in ((), size):
            raise ValueError(
                f"Observations: {name} must be a number or have shape {size} as the values, got {column.shape}."
            )
        low, high = problem.domain[name]
        slack = 1e-6 * (high - low)
        if not (column.min() >= low - slack and column.max() <= high + slack):
            raise ValueError(
                f"Observations: {name} must lie in [{low:g}, {high:g}], where the problem lives, got "
                f"[{column.min():g}, {column.max():g}]."
            )
        columns.append(np.broadcast_to(column, size))
    dtype = jnp.result_type(float)
    stacked = np.stack([*values.values()], axis=-1)
    if np.isinf(stacked).any():
        raise ValueError("Observations: a value is infinite; a missing one is NaN.")
    present = np.isfinite(stacked)
    if not present.any():
        raise ValueError("Observations: every value is missing (NaN).")
    targets = np.where(present, stacked, 0.0)
    noise = _noise(data, targets, present)
    points = np.stack(columns, axis=-1)
    return Data(
        jnp.asarray(points, dtype), jnp.asarray(targets, dtype), jnp.asarray(present), jnp.asarray(noise, dtype),
        data.noise is not None, tuple(seen.values()),
    )  # fmt: skip


def _partial(problem: Problem, name: str) -> Partial:
    unknown, dot, letters = name.partition(".")
    names = split_letters(letters)
    if (dot and not names) or [c for c in names if c not in problem.coordinates]:
        raise ValueError(
            f"Observations: {name!r} is no derivative of {unknown}; write {unknown}.{problem.coordinates[-1]} with any of the "
            f"coordinates {listed(problem.coordinates)} after the dot."
        )
    return unknown, sorted_letters(letters)


def _noise(data: Observations, targets: np.ndarray, present: np.ndarray) -> np.ndarray:
    if data.noise is None:
        size = np.sqrt((targets**2).sum(axis=0) / np.maximum(present.sum(axis=0), 1))
        return np.where(size > 0, size, 1.0)
    given = data.noise if isinstance(data.noise, Mapping) else dict.fromkeys(data.values, data.noise)
    check_keys("noise of", given, data.values, complete=True)
    for name, value in given.items():
        if not (np.ndim(value) == 0 and math.isfinite(value) and value > 0):
            raise ValueError(f"Observations: the noise of {name} must be a positive number or None, got {value!r}.")
    return np.asarray([given[name] for name in data.values], float)
