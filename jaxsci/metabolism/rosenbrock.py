r"""Rodas5P: a stiffly accurate Rosenbrock method of order 5 with 8 stages, error estimate and dense output of order 4.

    (I / (gamma h) - J) k_i = f(t + c_i h, y + sum_j a_ij k_j) + sum_j C_ij k_j / h + d_i h f_t,      i = 1..8
    y_1 = y + sum_i m_i k_i,      error = k_8

One Jacobian and one factorisation a step, no iteration: the same instructions for every member, so it maps over members without
loss.
Arrays are [..., B]: the members stand last.

Source: Steinebach, Construction of Rosenbrock-Wanner method Rodas5P, BIT Numerical Mathematics 63 (2023).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsci.metabolism.kinetic_model import KineticEquations
from jaxsci.metabolism.kinetic_program import MANY

STAGES = 8
GAMMA = 0.21193756319429014


def _lower(rows: list[list[float]]) -> np.ndarray:
    out = np.zeros((STAGES, STAGES))
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


_LAST = [-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946]
A = _lower(
    [
        [],
        [3.0],
        [2.849394379747939, 0.45842242204463923],
        [-6.954028509809101, 2.489845061869568, -10.358996098473584],
        [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
        _LAST,
        [*_LAST, 1.0],
        [*_LAST, 1.0, 1.0],
    ]
)
C = _lower(
    [
        [],
        [-14.155112264123755],
        [-17.97296035885952, -2.859693295451294],
        [147.12150275711716, -1.41221402718213, 71.68940251302358],
        [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
        [24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471],
        [30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623, -28.087943162872662],
        [
            37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
            -54.66780262877968, -9.48861652309627,
        ],
    ]
)  # fmt: skip
NODES = np.array([0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0])
SLOPES = np.array([GAMMA, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0, 0, 0])
WEIGHTS = np.array([*_LAST, 1.0, 1.0, 1.0])
DENSE = np.array(
    [
        [
            25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204, 0.524948541321073,
            1.1241088310450404, 0.4272876194431874, -0.17202221070155493,
        ],
        [
            -9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796, 20.176138334709044,
            15.98066361424651, -6.789040303419874, -6.710236069923372,
        ],
        [
            11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643, -52.072871366152654,
            -59.78993625266729, -0.15582684282751913, 4.883087185713722,
        ],
    ]
)  # fmt: skip


def stacked(t: jax.Array, y: jax.Array, p: jax.Array, z: jax.Array) -> jax.Array:
    """The inputs of the programs: [1 + unknowns + parameters + switches, B]."""
    return jnp.concatenate([t[None], y, p, z])


def inverse(matrix: jax.Array) -> jax.Array:
    """Of every member: [n, n, B] -> [n, n, B]. LAPACK, member by member, is four times as fast as elimination by all at once."""
    return jnp.moveaxis(jnp.linalg.inv(jnp.moveaxis(matrix, -1, 0)), 0, -1)


def stage_matrix(equations: KineticEquations, x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(I / (gamma h) - J)^-1 [n, n, B] and f_t [n, B]."""
    n = len(equations.states)
    slopes = equations.jacobian(x)
    return inverse(jnp.eye(n, dtype=x.dtype)[..., None] / (GAMMA * h) - slopes[:, 1:]), slopes[:, 0]


def step(
    equations: KineticEquations, t: Any, h: Any, y: Any, p: Any, z: Any, known: Mapping[int, jax.Array] | None = None
) -> tuple[jax.Array, jax.Array]:
    """One step of every member: its stages k [8, n, B] and where it leads, y_1 [n, B].

    Few members: one dense inverse. Many: the elimination written out. `known`: ``equations.settled(p)``, for many.
    """
    n, dtype = len(equations.states), y.dtype
    x = stacked(t, y, p, z)
    if y.shape[-1] >= MANY and equations.elimination.worth:
        factors, f_t = equations.elimination.factors(x, h, GAMMA, known)
        solve = functools.partial(equations.elimination.solve, factors)
    else:
        inverted, f_t = stage_matrix(equations, x, h)
        solve = lambda right: jnp.sum(inverted * right[None], axis=1)  # noqa: E731
    a, c, nodes, slopes = (jnp.asarray(v, dtype) for v in (A, C, NODES, SLOPES))

    def stage(i, k):
        inner = y + jnp.sum(a[i][:, None, None] * k, axis=0)
        right = equations.field(stacked(t + nodes[i] * h, inner, p, z), known)
        right = right + jnp.sum(c[i][:, None, None] * k, axis=0) / h + slopes[i] * h * f_t
        return jax.lax.dynamic_update_index_in_dim(k, solve(right), i, 0)

    k = jax.lax.fori_loop(0, STAGES, stage, jnp.zeros((STAGES, n, y.shape[-1]), dtype))
    return k, y + jnp.sum(jnp.asarray(WEIGHTS, dtype)[:, None, None] * k, axis=0)


def inside(theta: jax.Array, y: jax.Array, k: jax.Array) -> jax.Array:
    """Between the ends of a step: theta [...] in [0, 1], y [n, ...], k [8, n, ...] -> [n, ...]."""
    coefficients = jnp.tensordot(jnp.asarray(np.vstack([WEIGHTS, DENSE]), y.dtype), k, 1)
    return polynomial(theta, y, coefficients)


def polynomial(theta: jax.Array, y: jax.Array, coefficients: jax.Array) -> jax.Array:
    """The same from y_1 - y and the three coefficients of the dense output, [4, n, ...]."""
    change, first, second, third = coefficients
    return y + theta * (change + (1 - theta) * (first + theta * (second + theta * third)))
