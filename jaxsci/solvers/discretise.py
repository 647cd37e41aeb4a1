"""Choosing the discretisation that a problem's boundary asks for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sympy
from jax.sharding import Mesh

from jaxsci._checks import is_traced
from jaxsci.equations import Equation
from jaxsci.equations.evaluation import evaluate
from jaxsci.problems import Problem
from jaxsci.solvers.collocation import CollocationLines
from jaxsci.solvers.lines import FourierLines, structure
from jaxsci.solvers.semidiscrete import Lines
from jaxsci.solvers.slabs import SlabTorus
from jaxsci.solvers.torus import Axis, Torus


def discretise(problem: Problem, n: int | tuple[int, ...], mesh: Mesh | None = None) -> Lines:
    """Fourier where every axis is periodic or a mirror, Chebyshev collocation otherwise.

    Raises:
      ValueError: the problem has no space, the sizes do not fit, or no discretisation here carries its walls.
    """
    problem.check_plain("Spectral")
    space = problem.domain.space
    if not space:
        raise ValueError(f"Spectral: {problem.name} has no space to discretise; use js.Adaptive().")
    sizes = n if isinstance(n, tuple) else (n,) * len(space)
    if len(sizes) != len(space):
        raise ValueError(f"Spectral: n has {len(sizes)} entries for the {len(space)} axes {', '.join(space)}.")
    signs = mirror_signs(problem)
    if signs is not None:
        return fourier_lines(problem, sizes, signs, mesh)
    if mesh is not None:
        raise ValueError(
            f"Spectral: {problem.name} has walls without a mirror, whose Chebyshev grid does not go over a mesh."
        )
    return CollocationLines.of(problem, sizes)


def fourier_lines(
    problem: Problem, sizes: tuple[int, ...], signs: tuple[tuple[int, ...], ...], mesh: Mesh | None = None
) -> FourierLines:
    """The problem on a torus, with two thirds of the modes kept where it is nonlinear."""
    domain = problem.domain
    axes = tuple(
        Axis(name, *domain[name], size, bool(problem.walls(name))) for name, size in zip(domain.space, sizes, strict=True)
    )
    kept = 2 / 3 if structure(problem.equation).needed else 1.0
    torus = Torus(axes, kept) if mesh is None else SlabTorus(axes, kept, mesh=mesh)
    return FourierLines(problem.equation, torus, signs)


def mirror_signs(problem: Problem) -> tuple[tuple[int, ...], ...] | None:
    """By unknown and axis, the sign with which a mirror at the walls continues the field; None where no mirror fits.

    A wall with u = 0 continues u oddly, one with u_x = 0 evenly; both walls of an axis must agree, every unknown needs a
    condition, and the equation must keep the symmetry.
    """
    space, unknowns = problem.domain.space, problem.unknowns
    signs = {u: [1] * len(space) for u in unknowns}
    for i, axis in enumerate(space):
        walls = problem.walls(axis)
        if not walls:
            continue
        for u in unknowns:
            kinds = {wall.kind for wall in walls if u in wall.for_unknowns(unknowns)}
            values = [wall.for_unknowns(unknowns).get(u) for wall in walls]
            if len(kinds) != 1 or any(value is None or not value.is_zero for value in values):
                return None
            signs[u][i] = -1 if kinds == {"dirichlet"} else 1
        if not respects_mirror(problem, axis, {u: signs[u][i] for u in unknowns}):
            return None
    return tuple(tuple(signs[u]) for u in unknowns)


def respects_mirror(problem: Problem, axis: str, signs: dict[str, int]) -> bool:
    """Whether the reflection at either wall maps the equation to plus or minus itself, tried at random values.

    A mirror at the wall c maps the coordinate to 2 c - x, an unknown to its sign times itself and each derivative along the
    axis to one more sign. The random values make an accidental agreement impossible in practice.
    """
    equation: Equation = problem.equation
    random = np.random.default_rng(0)
    names = sorted(equation.partials)
    values = {p: random.normal(size=8) for p in names}
    coordinates = {c: random.uniform(*problem.domain[c], size=8) for c in problem.coordinates}
    # Functions are called as they are, with numbers in place of parameters that are traced.
    coefficients: dict[str, Any] = {
        name: jax.tree.map(lambda leaf: random.normal(size=jnp.shape(leaf)) if is_traced(leaf) else leaf, value)
        if callable(value)
        else random.uniform(0.5, 1.5)
        for name, value in problem.coefficients.items()
    }
    # Term by term, since a small term would be lost beside the others.
    rows = [sympy.Add.make_args(sympy.expand(r.formula.doit())) for r in equation.residuals]

    def terms(row, values, coordinates):
        with jax.ensure_compile_time_eval():  # the values are concrete under jit too
            found = [evaluate(term, values, coordinates, coefficients) for term in row]
            return np.stack([np.asarray(jnp.broadcast_to(value, (8,)), float) for value in found])

    flipped = {(u, k): signs[u] * (-1) ** k.count(axis) * v for (u, k), v in values.items()}
    for wall in problem.domain[axis]:
        mirrored = coordinates | {axis: 2 * wall - coordinates[axis]}
        for row in rows:
            a, b = terms(row, values, coordinates), terms(row, flipped, mirrored)
            scale = 1e-4 * (np.abs(a).max(axis=1) + 1e-30)
            kept, negated = np.abs(a - b).max(axis=1) < scale, np.abs(a + b).max(axis=1) < scale
            if not (kept.all() or negated.all()):
                return False
    return True
