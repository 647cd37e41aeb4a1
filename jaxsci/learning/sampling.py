"""Where the equation is asked for: collocation points, evenly spread or denser where the residual is large."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jaxsci._checks import is_whole
from jaxsci.learning.collocation import in_domain
from jaxsci.learning.frame import FRAME
from jaxsci.learning.objective import Coefficients, Objective, Unknowns


class Sampling(Protocol):
    """How collocation points are drawn: pure, frozen and hashable."""

    def draw(
        self,
        objective: Objective,
        unknowns: Unknowns,
        coefficients: Coefficients,
        key: Any,
        count: int,
        previous: Any = None,
        draws: int = 0,
    ) -> Any:
        """``[count, coordinates]``; `previous` are the points before, None at the first draw, `draws` how many there were."""
        ...


@dataclasses.dataclass(frozen=True)
class Even:
    """Evenly spread points, drawn anew each time or, where `keep` says so, once."""

    keep: bool = False

    def draw(self, objective, unknowns, coefficients, key, count, previous=None, draws=0):
        return previous if self.keep and previous is not None else collocation(objective, coefficients, key, count)


@dataclasses.dataclass(frozen=True)
class ResidualDensity:
    r"""Points drawn without replacement, with probability proportional to |r|^k / mean |r|^k + c, out of quasi-random ones.

    Args:
      k, c: of the density; c = 0 and a large k look only where the residual is largest.
      pool: candidates per point.
      kept: fraction of the points that is kept for good at every draw: the set is refined (RAR-D) until all are kept, where 0
        distributes all of them anew (RAD).
    Reference: Wu et al. (2023), Comput. Methods Appl. Mech. Eng. 403, 115671, eq. 2, algorithms 2 (RAD) and 3 (RAR-D).
    """

    k: float = 1.0
    c: float = 1.0
    pool: int = 4
    kept: float = 0.0

    def __post_init__(self):
        if not (self.k >= 0 and self.c >= 0 and self.k + self.c > 0 and 0 <= self.kept <= 1):
            raise ValueError(
                "ResidualDensity: k and c must not be negative, nor both zero, and kept lie between 0 and 1, got "
                f"k={self.k!r}, c={self.c!r}, kept={self.kept!r}."
            )
        if not (is_whole(self.pool) and self.pool > 0):
            raise ValueError(f"ResidualDensity: pool must be a positive whole number, got {self.pool!r}.")

    def draw(self, objective, unknowns, coefficients, key, count, previous=None, draws=0):
        new = _by_density(self, objective, unknowns, coefficients, key, count)
        if previous is None or not self.kept:
            return new
        is_kept = jnp.arange(count) < jnp.round(self.kept * draws * count)  # of the draws before, each its part
        return jnp.where(is_kept[:, None], previous, new)


@dataclasses.dataclass(frozen=True)
class Retain:
    """Points whose residual is above the mean are retained, the others released and drawn anew, evenly (R3).

    Reference: Daw et al. (2023), *Mitigating propagation failures in physics-informed neural networks using
    retain-resample-release (R3) sampling*, ICML, algorithm 1.
    """

    def draw(self, objective, unknowns, coefficients, key, count, previous=None, draws=0):
        fresh = collocation(objective, coefficients, key, count)
        return fresh if previous is None else _retained(objective, unknowns, coefficients, previous, fresh)


@functools.partial(jax.jit, static_argnames=("objective",))
def _retained(objective: Objective, unknowns, coefficients, previous: Any, fresh: Any) -> Any:
    size = residual_size(objective, unknowns, coefficients, previous)
    return jnp.where((size > jnp.mean(size))[:, None], previous, fresh)


@functools.partial(jax.jit, static_argnames=("sampling", "objective", "count"))
def _by_density(sampling: ResidualDensity, objective: Objective, unknowns, coefficients, key, count: int) -> Any:
    spread, choice = jax.random.split(key)
    pool = collocation(objective, coefficients, spread, sampling.pool * count)
    size = residual_size(objective, unknowns, coefficients, pool) ** sampling.k
    weight = sampling.c + size / jnp.maximum(jnp.mean(size), jnp.finfo(size.dtype).tiny)
    return pool[jax.random.choice(choice, len(pool), (count,), replace=False, p=weight / jnp.sum(weight))]


def residual_size(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, points: Any) -> Any:
    """The norm over the equations of the residual, each in units of its scale where the fit has one: ``[points]``."""
    residual = objective.residual(unknowns, coefficients, points)
    return jnp.linalg.norm(residual / row_scales(coefficients), axis=-1)


def row_scales(coefficients: Coefficients) -> Any:
    """By what the loss divides the rows of the residual: ``[equations]``, or 1."""
    return coefficients[FRAME].rows if FRAME in coefficients else 1.0


@functools.partial(jax.jit, static_argnames=("objective", "count"))
def collocation(objective: Objective, coefficients: Coefficients, key: Any, count: int) -> Any:
    """Evenly spread points of the domain or, where the fit has one, of its window of time: ``[count, coordinates]``."""
    points = even_points(objective, key, count)
    window = coefficients[FRAME].window if FRAME in coefficients else None
    if window is None:
        return points
    start, end = objective.conditions.problem.domain["t"]
    inside = window.start + (window.end - window.start) * (points[:, 0] - start) / (end - start)
    return points.at[:, 0].set(start + (end - start) * inside)


def even_points(objective: Objective, key: Any, count: int) -> Any:
    """Evenly spread points of the problem's domain, ``[count, coordinates]``."""
    points = jnp.stack(in_domain(objective.conditions.problem, count, key), axis=-1)
    return objective.extend(points, jax.random.fold_in(key, 1))
