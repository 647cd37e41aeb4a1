"""Errors of solutions, each with its definition."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from jaxsci._checks import check_keys, is_traced, listed
from jaxsci.problems import Problem, Solution

_PER_AXIS = {0: 1, 1: 257, 2: 41, 3: 17}  # scoring points along a spatial axis, by the number of axes


class Samples(NamedTuple):
    """A field's values at points: what errors are computed from."""

    points: np.ndarray  # [N, coordinates], in the order of the problem's coordinates
    values: np.ndarray  # [N, unknowns]
    unknowns: tuple[str, ...]
    shape: tuple[int, ...] | None  # of the tensor grid that the points form, time first; None for scattered points


def scoring_points(problem: Problem) -> tuple[np.ndarray, tuple[int, ...]]:
    """The problem's saved times crossed with an even grid in space, ``[N, coordinates]``, and the grid's shape."""
    per_axis = _PER_AXIS[len(problem.domain.space)]
    axes = [] if problem.is_steady else [np.asarray(problem.times)]
    axes += [np.linspace(*problem.domain[name], per_axis) for name in problem.domain.space]
    mesh = np.meshgrid(*axes, indexing="ij")
    return np.stack([m.ravel() for m in mesh], axis=-1), mesh[0].shape


def evaluate_at(solution: Solution, points: np.ndarray) -> np.ndarray:
    """A solution's values at points, ``[N, unknowns]``."""
    columns = dict(zip(solution.problem.coordinates, points.T, strict=True))
    values = np.asarray(solution.evaluate(**columns))
    return np.atleast_2d(values).T if values.ndim == 1 else np.moveaxis(values, 0, -1)


def samples(solution: Solution, points: np.ndarray | None = None, shape: tuple[int, ...] | None = None) -> Samples:
    """A solution at its problem's scoring points, or at the given ones."""
    if points is None:
        points, shape = scoring_points(solution.problem)
    return Samples(points, evaluate_at(solution, points), solution.problem.unknowns, shape)


def relative_errors(values: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Relative L2 and relative maximum error over the points, each the largest over the unknowns.

        max_u |a_u - b_u|_2 / |b_u|_2      and      max_u max |a_u - b_u| / max |b_u|

    Unknowns of different size count alike: a trace species is not hidden behind a bulk one.
    """
    tiny = np.finfo(float).tiny
    gap = np.abs(values - truth)
    l2 = np.linalg.norm(gap, axis=0) / np.maximum(np.linalg.norm(truth, axis=0), tiny)
    largest = gap.max(axis=0) / np.maximum(np.abs(truth).max(axis=0), tiny)
    return float(l2.max()), float(largest.max())


def check_same_problem(what: str, problem: Problem, other: Problem) -> None:
    """Errors are of one problem: equation, coefficients, domain and conditions. Batches and traced values are let through."""
    if any(is_traced(leaf) or np.ndim(leaf) for p in (problem, other) for leaf in jax.tree.leaves(p)):
        return
    if problem.identity != other.identity:
        raise ValueError(
            f"{what}: the two solve different problems, {problem!r} ({problem.identity}) and {other!r} ({other.identity})."
        )


def relative_l2(
    solution: Solution, reference: Solution | Samples, points: Float[ArrayLike, "points coordinates"] | None = None
) -> float:
    """Relative L2 error of a solution: the root of the summed squares of the difference over that of the reference.

    Args:
      solution: what is scored.
      reference: what is taken as true: another solution of the problem, or `Samples` read from a file.
      points: where, ``[N, coordinates]``; by default the problem's scoring points (51 times and 257, 41^2 or 17^3 points in
        space), or those of the samples.
    Returns:
      max over the unknowns of |a - b|_2 / |b|_2. A value below ``reference.error_estimate`` says no more than "below it".
    Raises:
      ValueError: the two solve different problems (equation, coefficients, domain, conditions), or the points do not fit.
    Example:
      >>> import jaxsci as js
      >>> problem = js.problems.heat()
      >>> js.relative_l2(js.solve(problem, js.Spectral(n=32)), problem.reference()) < 1e-5
      True
    """
    if isinstance(reference, Samples):
        if points is not None:
            raise ValueError("relative_l2: samples are known at their own points only; leave out `points`.")
        truth = reference
    else:
        check_same_problem("relative_l2", solution.problem, reference.problem)
        coordinates = solution.problem.coordinates
        given = None if points is None else np.asarray(points, float)
        if given is not None and (given.ndim != 2 or given.shape[1] != len(coordinates)):
            raise ValueError(f"relative_l2: points must be [N, {len(coordinates)}], the columns {listed(coordinates)}; "
                             f"got shape {given.shape}.")  # fmt: skip
        truth = samples(reference, given)
    check_keys("unknown", dict.fromkeys(truth.unknowns), solution.problem.unknowns)
    index = [solution.problem.unknowns.index(name) for name in truth.unknowns]
    return relative_errors(evaluate_at(solution, truth.points)[:, index], truth.values)[0]


def correlation(a: Float[ArrayLike, "..."], b: Float[ArrayLike, "..."], axes: int = 2) -> jax.Array:
    """The correlation of two fields over their last axes: <a b> / sqrt(<a^2> <b^2>), without subtracting means.

    Of two vorticities it tells how long a flow is followed: to the time at which it falls below 0.95.

    Args:
      a, b: on one grid, ``[*batch, *space]``.
      axes: how many of the last axes are space.
    Returns:
      ``[*batch]``, 1 for equal fields.
    Reference: Kochkov et al. (2021), PNAS 118, e2101784118.
    Example:
      >>> import jax.numpy as jnp, jaxsci as js
      >>> x = jnp.linspace(0, 2 * jnp.pi, 16, endpoint=False)
      >>> print(f"{js.compare.correlation(jnp.sin(x), jnp.sin(x + jnp.pi / 3), axes=1):.3f}")
      0.500
    """
    over = tuple(range(-axes, 0))
    product = lambda f, g: jnp.sum(jnp.asarray(f) * jnp.asarray(g), axis=over)  # noqa: E731
    return product(a, b) / jnp.sqrt(product(a, a) * product(b, b))


def evaluations_per_second(solution: Solution, repeats: int = 3, count: int = 10_000) -> float:
    """Points evaluated per second by the compiled `Solution.evaluate`, the best of some repeats."""
    import time

    random = np.random.default_rng(0)
    problem = solution.problem
    box = {c: solution.interval if c == "t" else problem.domain[c] for c in problem.coordinates}
    points = {c: jnp.asarray(random.uniform(*ends, size=count)) for c, ends in box.items()}
    solution.evaluate(**points).block_until_ready()
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        solution.evaluate(**points).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return count / best
