r"""Linear programmes with objectives in order, followed while their bounds move: one tableau, a few pivots at a time.

    lexmax (c_1.x, c_2.x, ..., c_K.x)     with     [A, -1] x = 0,     lower <= x <= upper

Of the optima of the first objective the best in the second, and so on. Such an optimum is a vertex whose reduced costs
d_1, ..., d_K, read as one vector a column, have the lexicographic sign that the column's bound asks for; so all objectives share
one basis and one search: the dual simplex method with a lexicographic ratio test. The reduced costs do not depend on the bounds:
when those move, a vertex stays optimal until a basic variable meets a bound, and then it is a pivot or two to the next one.
Within a vertex x is an affine function of the bounds. (The idea, for flux balances: Harwood, Hoeffner & Barton 2016,
Numer. Math. 133, 623.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.simplex import INFEASIBLE, MAX_STEPS, OPTIMAL, allowed, tolerances
from jaxsci.metabolism.starting_vertex import Start

_RUNNING = -1


class Vertex(NamedTuple):
    """A basis with its tableau and the reduced costs of every objective. It holds no bounds."""

    tableau: Any  # B^-1 [A, -1], [m, N]
    reduced: Any  # [K, N]
    basic: Any  # [m] whole numbers
    at_upper: Any  # [N]


class Followed(NamedTuple):
    """Where `follow` ended."""

    vertex: Vertex
    status: Any  # OPTIMAL, INFEASIBLE, MAX_STEPS
    pivots: Any


def vertex_of(start: Start, objectives: Any) -> Vertex:
    """The vertex of a basis for objectives [K, n], of the dtype of the objectives; optimal for no bounds in particular."""
    dtype = objectives.dtype
    tableau = jnp.asarray(start.tableau, dtype)
    basic = jnp.asarray(start.basis.basic)
    costs = jnp.concatenate([objectives, jnp.zeros((len(objectives), tableau.shape[0]), dtype)], 1)
    reduced = (costs - costs[:, basic] @ tableau).at[:, basic].set(0.0)
    return Vertex(tableau, reduced, basic, jnp.asarray(start.basis.at_upper))


def tie_breaker(count: int) -> np.ndarray:
    """Weights in [1/2, 3/2] of no meaning: as the last objective they leave one optimum."""
    wave = np.sin(12.9898 * np.arange(count) + 78.233) * 4375.85
    return 0.5 + wave - np.floor(wave)


def nonbasic(vertex: Vertex, lower: Any, upper: Any) -> Any:
    """x [N] with every nonbasic variable at its bound, and 0 for the basic ones."""
    return jnp.where(vertex.at_upper, upper, lower).at[vertex.basic].set(0.0)


def slack(basic: Any, xb: Any, lower: Any, upper: Any) -> Any:
    """[m]: how far each basic variable is from its nearer bound, negative where it is beyond."""
    return jnp.minimum(xb - lower[basic], upper[basic] - xb)


def follow(vertex: Vertex, lower: Any, upper: Any) -> Followed:
    """The optimal vertex for bounds [N], all finite, by pivots from another vertex. For one member; `jax.vmap` for more.

    A variable that no objective cares for stays at the bound where it is.
    """
    tol = tolerances(vertex.tableau.dtype)
    rows, columns = vertex.tableau.shape
    wanted = _lexicographic_sign(vertex.reduced, tol.cost)
    begin = vertex._replace(at_upper=jnp.where(wanted == 0, vertex.at_upper, wanted > 0))

    def step(carry: Any) -> Any:
        at, pivots, _ = carry
        xb = -(at.tableau * nonbasic(at, lower, upper)).sum(1)
        violation = -slack(at.basic, xb, lower, upper)
        r = jnp.argmax(violation)
        done = violation[r] <= allowed(xb)
        above = xb[r] > upper[at.basic[r]]
        side = jnp.where(lower == upper, 0.0, jnp.where(at.at_upper, -1.0, 1.0)).at[at.basic].set(0.0)
        row = at.tableau[r]
        slope = jnp.where(above, 1.0, -1.0) * row * side
        candidates = slope > tol.pivot
        stuck = ~candidates.any()
        for reduced in at.reduced:
            ratio = jnp.where(candidates, -reduced * side / jnp.where(candidates, slope, 1.0), jnp.inf)
            candidates &= ratio <= ratio.min() + tol.tie * jnp.maximum(1.0, jnp.abs(ratio.min()))
        q = jnp.argmax(jnp.where(candidates, slope, -1.0))
        status = jnp.where(done, OPTIMAL, jnp.where(stuck, INFEASIBLE, _RUNNING)).astype(jnp.int32)
        return _pivoted(at, r, q, above, status == _RUNNING), pivots + (status == _RUNNING), status

    def going(carry: Any) -> Any:
        return (carry[2] == _RUNNING) & (carry[1] < 10 * (rows + columns))

    state = (begin, jnp.asarray(0), jnp.asarray(_RUNNING, jnp.int32))
    vertex, pivots, status = jax.lax.while_loop(going, step, state)
    crossed = (lower > upper + tol.bound * jnp.maximum(1.0, 1e-3 * jnp.abs(lower))).any()
    status = jnp.where(status == _RUNNING, MAX_STEPS, jnp.where(crossed, INFEASIBLE, status))
    return Followed(vertex, status, pivots)


def _lexicographic_sign(vectors: Any, zero: float) -> Any:
    """[N] of [K, N]: the sign of the first entry of every column that is not 0."""
    sign = jnp.zeros(vectors.shape[1], vectors.dtype)
    for vector in vectors:
        sign = jnp.where((sign == 0) & (jnp.abs(vector) > zero), jnp.sign(vector), sign)
    return sign


def _pivoted(at: Vertex, r: Any, q: Any, above: Any, really: Any) -> Vertex:
    """Column q becomes basic in row r; what was basic there goes to its upper bound, or to its lower one. Or nothing happens."""
    pivot = jnp.where(really, at.tableau[r, q], 1.0)
    row = at.tableau[r]
    column = jnp.where(really, at.tableau[:, q] / pivot, 0.0).at[r].set(jnp.where(really, 1 - 1 / pivot, 0.0))
    step = jnp.where(really, at.reduced[:, q] / pivot, 0.0)
    leaving = at.basic[r]
    basic = at.basic.at[r].set(jnp.where(really, q, leaving))
    return Vertex(
        at.tableau - column[:, None] * row,
        (at.reduced - step[:, None] * row).at[:, basic].set(0.0),
        basic,
        at.at_upper.at[leaving].set(jnp.where(really, above, at.at_upper[leaving])),
    )


def affine_in_bounds(vertex: Vertex, matrix: Any, nonbasics: Any) -> Any:
    """x [..., N] from the nonbasic variables' values [..., N] (0 for the basic ones), refined once: exact to round-off.

    Linear in `nonbasics`; differentiable in it and in nothing else.
    """
    tableau, basic = jax.lax.stop_gradient((vertex.tableau, vertex.basic))
    n = matrix.shape[1]
    inverse = -tableau[:, n:]
    x = nonbasics.at[..., basic].set(-nonbasics @ tableau.T)
    residual = x[..., :n] @ matrix.T - x[..., n:]
    return x.at[..., basic].add(-residual @ inverse.T)
