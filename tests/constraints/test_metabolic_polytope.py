"""`Polytope` where bounds are a thousand times the fluxes and meet at corners: the core metabolism of E. coli, genes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxsci as js
from jaxsci.constraints import CONVERGED, INFEASIBLE, Polytope, dual, project

# Knock-outs whose dual stalled at its rounding errors, others with many bounds at a corner, and two that no flux survives.
OUT, DEAD = (16, 43, 45, 53, 61, 66, 10, 19), (51, 73)


@pytest.fixture(scope="module")
def knock_outs():
    model = js.metabolism.load("e_coli_core")
    S, lower, upper = (np.asarray(a, float) for a in (model.stoichiometry, model.lower, model.upper))
    out = np.array(OUT + DEAD)
    low, high = np.tile(lower, (len(out), 1)), np.tile(upper, (len(out), 1))
    low[np.arange(len(out)), out] = high[np.arange(len(out)), out] = 0
    cost = -np.asarray(model.objective, float)
    zeros, sides = np.zeros(len(S)), np.stack([lower, upper], 1)
    y = scipy.optimize.linprog(cost, A_eq=S, b_eq=zeros, bounds=sides).x
    feasible = [
        scipy.optimize.linprog(0 * y, A_eq=S, b_eq=zeros, bounds=np.stack(b, 1)).status == 0
        for b in zip(low, high, strict=True)
    ]
    solve = jax.jit(lambda low, high, y: project(Polytope(A=jnp.asarray(S), b=jnp.asarray(zeros), lower=low, upper=high), y))
    return S, low, high, y, np.array(feasible), solve(jnp.asarray(low), jnp.asarray(high), jnp.asarray(y))


def test_only_the_impossible_ones_are_infeasible(knock_outs):
    *_, feasible, (_, info) = knock_outs
    assert feasible.tolist() == [True] * len(OUT) + [False] * len(DEAD)
    np.testing.assert_array_equal(info.status, np.where(feasible, CONVERGED, INFEASIBLE))
    assert info.steps[: len(OUT)].max() < 150  # 100 of them of the ascent


def test_points_satisfy_the_optimality_conditions(knock_outs):
    S, low, high, y, feasible, (x, info) = knock_outs
    multipliers = np.asarray(info.warm.multipliers)
    again = np.clip(y + multipliers @ S, low, high)
    np.testing.assert_allclose(np.asarray(x)[feasible], again[feasible], atol=1e-9)
    assert np.abs(np.asarray(x) @ S.T)[feasible].max() < 1e-9


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_small_slopes_count_against_large_bounds(dtype):
    # x_1 + slope x_2 = 1 with x_1 <= 1 - 500 slope and x_2 <= 1000: feasible, by what a slope near rounding makes up for.
    slope = 4e2 * float(jnp.finfo(dtype).eps)
    rows = dual.Rows(
        jnp.asarray([[1, slope]], dtype),
        jnp.ones((1, 1), dtype),
        jnp.zeros((2, 1), dtype),
        jnp.asarray([[1 - 500 * slope], [1000]], dtype),
        jnp.ones((), dtype),
    )
    ray = jnp.ones((1, 1), dtype)
    assert not dual._farkas(rows, ray, rows.matrix.T @ ray).any()
    short = rows._replace(upper=jnp.asarray([[0.5], [1]], dtype))
    assert dual._farkas(short, ray, rows.matrix.T @ ray).all()
