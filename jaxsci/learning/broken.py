"""Where a fit that is not finite broke: the first number that is none, from the parameters to the terms of the equation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.equations.evaluation import evaluate
from jaxsci.equations.printing import to_text
from jaxsci.learning.objective import Batch, Coefficients, Objective, Unknowns


def first_broken(objective: Objective, unknowns: Unknowns, coefficients: Coefficients, batch: Batch) -> str:
    """In words what is not finite first: the parameters, a derivative, a term of the equation, or a part of the loss."""
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(unknowns)):
        return "the parameters"
    equation, points = objective.equation, batch.points["equation"]
    columns = tuple(points[:, i] for i in range(points.shape[1]))
    values = objective.all_coefficients(unknowns, coefficients)
    partials = equation.field_partials(objective.field(unknowns, coefficients), columns)
    for (name, letters), partial in sorted(partials.items(), key=lambda item: len(item[0][1])):
        if not _finite(partial):
            return f"{name}_{letters}" if letters else name
    here = dict(zip(equation.coordinates, columns, strict=True))
    for row, expression in enumerate(equation.equation.residuals, start=1):
        for term in expression.formula.as_ordered_terms():
            if not _finite(evaluate(term, partials, here, values)):
                return f"the term {to_text(term)} of equation {row}"
    for part, residual in objective.parts(unknowns, coefficients, batch).items():
        if not _finite(residual):
            return f"the residual of the {part}"
    return "the loss or its gradient"


def _finite(values: Any) -> bool:
    return bool(jnp.isfinite(jnp.asarray(values)).all())
