"""What identifies a problem: everything that its solution depends on, as text, hashed."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxsci._checks import is_traced
from jaxsci.equations.printing import digest


def identity_of(problem: Any) -> str:
    """See `jaxsci.Problem.identity`."""
    coefficients, domain = problem.coefficients, problem.domain
    parts = [problem.equation.identity, repr(domain._intervals)]
    for name, value in sorted(coefficients.items()):
        if is_traced(value):
            raise TypeError(f"identity: coefficient {name} is traced and has no value; ask outside jit, grad and vmap.")
        parts.append(f"{name}={_coefficient_text(problem, name, value)}")
    space = {name: domain[name] for name in domain.space}
    parts += [f"{k}:{f.identity(space, coefficients)}" for k, f in sorted(problem.initial.items())]
    box = {name: domain[name] for name in problem.coordinates}
    for axis in domain.space:
        walls = problem.walls(axis)
        parts += [f"{axis}:{wall.identity(problem.unknowns, box, coefficients)}" for wall in walls] or [f"{axis}:periodic"]
    for solid in problem.solids:
        parts.append(f"solid:{solid.identity(problem.unknowns, box, coefficients)}")
    if problem.solid is not None and not problem.solids:
        parts.append(f"solid:{problem.solid.identity(space, coefficients)}")
    return digest(*parts)


def _coefficient_text(problem: Any, name: str, value: Any) -> str:
    """The number, bit by bit; for a function the numbers that it holds and its values at fixed points."""
    leaves = [leaf for leaf in jax.tree.leaves(value) if not callable(leaf)]
    text = str([np.asarray(leaf, float).tobytes().hex() for leaf in leaves])
    if dataclasses.is_dataclass(value):
        text += str([getattr(value, field.name) for field in dataclasses.fields(value) if field.metadata.get("static")])
    if name in problem.equation.functions:
        points = np.random.default_rng(0).uniform(-1, 1, size=(problem.equation.functions[name], 64))
        with jax.enable_x64(True):
            text += ",".join(f"{v:.6e}" for v in np.asarray(jax.vmap(value)(*points), float))
    return text
