"""Presolve against HiGHS on the original problem: optima, fluxes, prices, infeasible bounds and their certificates."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import linprog

from jaxsci.metabolism.files import load
from jaxsci.metabolism.network import Network
from jaxsci.metabolism.presolve import presolve


def network(S) -> Network:
    S = np.asarray(S, float)
    return Network(S, tuple(f"r{j}" for j in range(S.shape[1])), tuple(f"m{i}" for i in range(S.shape[0])))


def random_network(seed: int) -> Network:
    """Chains, branches, dead ends, a conserved pair, a row written twice and coefficients that are no whole numbers."""
    draw = np.random.default_rng(seed)
    m = 9
    columns = [np.eye(m)[i] * draw.choice([-1.0, 1.0]) for i in (0, 3, m - 1)]
    for i in range(m - 1):
        column = np.zeros(m)
        column[i], column[i + 1] = -draw.choice([1.0, 2.0, 0.3]), draw.choice([1.0, 3.0, 0.7])
        columns.append(column)
    for _ in range(5):
        column = np.zeros(m)
        column[draw.choice(m, 3, replace=False)] = draw.choice([-2.0, -1.0, 1.0, 0.1], 3)
        columns.append(column)
    S = np.stack(columns, 1)
    S = np.concatenate([S, S[2:3] * 3, S[0:1] + S[1:2], np.zeros((1, S.shape[1]))])
    pair = np.zeros((2, S.shape[1]))  # what one has gained the other has lost, in two reactions
    pair[:, [4, 8]] = [[1.0, -1.0], [-1.0, 1.0]]
    end = np.zeros((1, S.shape[1]))
    end[0, 13] = 1.5
    return network(np.concatenate([S, pair, end]))


def highs(S, lower, upper, c):
    """(value, x, prices, status) of max c.x; status 0 optimal, 2 infeasible."""
    found = linprog(-c, A_eq=S, b_eq=np.zeros(S.shape[0]), bounds=np.stack([lower, upper], 1), method="highs")
    if found.status != 0:
        return np.nan, None, None, found.status
    return -found.fun, found.x, -found.eqlin.marginals, 0


def certificate(d, lower, upper):
    d = np.where(abs(d) < 1e-11, 0.0, d)
    return np.where(d > 0, d, 0.0) @ np.where(d > 0, upper, 0.0) + np.where(d < 0, d, 0.0) @ np.where(d < 0, lower, 0.0)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_have_the_same_optima_prices_and_infeasible_bounds(seed):
    """Seeds include networks of which some bounds are infeasible by presolve, others only by the reduced problem."""
    net = random_network(seed)
    small = presolve(net)
    S, n = net.dense, net.matrix.shape[1]
    assert small.matrix.shape[0] < S.shape[0]
    assert small.matrix.shape[1] < n
    draw = np.random.default_rng(100 + seed)
    batch = 12
    lower = np.where(draw.random((batch, n)) < 0.6, 0.0, -draw.uniform(0, 10, (batch, n)))
    upper = draw.uniform(0, 10, (batch, n))
    lower[:2], upper[:2] = -10.0, 10.0
    forced = np.arange(4, batch)
    lower[forced, draw.integers(0, n, forced.size)] = 0.5
    upper = np.maximum(upper, lower)
    c = draw.normal(size=(batch, n))
    low, high, ok = jax.jit(small.reduce_bounds)(lower, upper)
    weights = small.reduce_objective(c)
    y, d, z = np.zeros((batch, small.matrix.shape[0])), np.zeros((batch, small.matrix.shape[1])), np.zeros(low.shape)
    values = np.full(batch, np.nan)
    for k in range(batch):
        value, _, _, status = highs(S, lower[k], upper[k], c[k])
        if not ok[k]:
            assert status == 2
            continue
        values[k], z_k, y_k, reduced_status = highs(
            small.matrix, np.asarray(low[k]), np.asarray(high[k]), np.asarray(weights[k])
        )
        assert reduced_status == status
        if status == 0:
            assert values[k] == pytest.approx(value, abs=1e-9)
            z[k], y[k] = z_k, y_k
            d[k] = weights[k] - small.A.T @ y_k
    v = small.expand(z)
    prices, costs = jax.jit(small.expand_duals)(y, d, lower, upper, c)
    solved = np.isfinite(values)
    assert 2 <= solved.sum() < batch
    v, prices, costs = (np.asarray(x)[solved] for x in (v, prices, costs))
    assert abs(v @ S.T).max() < 1e-9
    assert (v > lower[solved] - 1e-9).all()
    assert (v < upper[solved] + 1e-9).all()
    np.testing.assert_allclose(np.sum(c[solved] * v, 1), values[solved], atol=1e-9)
    np.testing.assert_allclose(costs, c[solved] - prices @ S, atol=1e-9)
    for k, cost in zip(np.flatnonzero(solved), costs, strict=True):
        assert certificate(cost, lower[k], upper[k]) == pytest.approx(values[k], abs=1e-8)
    rays, products = (np.asarray(x) for x in jax.jit(small.conflict)(lower, upper))
    for k in np.flatnonzero(~np.asarray(ok)):
        np.testing.assert_allclose(products[k], -rays[k] @ S, atol=1e-12)
        assert certificate(products[k], lower[k], upper[k]) < -1e-6


@pytest.mark.slow
def test_both_kinds_of_conflict_have_a_ray():
    # in -> a -> b -> out in one group; dead is blocked.
    net = network([[1, -1, 0, 0], [0, 1, -2, 0], [0, 0, 0, 1]])
    small = presolve(net)
    lower, upper = np.zeros((3, 4)), np.full((3, 4), 10.0)
    lower[0, 3] = 1.0  # the blocked one must run
    lower[1, 2], upper[1, 0] = 3.0, 5.0  # 2 x 3 > 5
    assert small.reduce_bounds(lower, upper)[2].tolist() == [False, False, True]
    y, d = (np.asarray(x) for x in small.conflict(lower, upper))
    np.testing.assert_allclose(d, -y @ net.dense, atol=1e-15)
    np.testing.assert_allclose(d[:2], [[0, 0, 0, -1], [1, 0, -2, 0]])
    assert [certificate(d[k], lower[k], upper[k]) for k in range(2)] == [-1.0, -1.0]


@pytest.mark.slow
def test_core_model():
    model = load("e_coli_core")
    small = presolve(model.network)
    assert small.matrix.shape == (34, 62)
    assert small.blocked == ()
    assert presolve(model.network) is small
    assert repr(small) == "Presolved(e_coli_core: 72 x 95 -> 34 x 62, 0 blocked)"
    low, high, ok = small.reduce_bounds(model.lower, model.upper)
    c = small.reduce_objective(model.objective)
    value, z, y, _ = highs(small.matrix, np.asarray(low), np.asarray(high), np.asarray(c))
    assert ok
    assert value == pytest.approx(0.8739215069684279, rel=1e-12)
    prices, costs = small.expand_duals(y, c - small.A.T @ y, model.lower, model.upper, model.objective)
    assert certificate(np.asarray(costs), model.lower, model.upper) == pytest.approx(value, rel=1e-12)
    # A unit more of glucose taken up is worth 0.0916647 of growth (anchors 2.5, checked there by differences).
    assert costs[model.index("EX_glc__D_e")] == pytest.approx(-0.09166474637510469, rel=1e-10)
    assert prices[model.network.metabolite_index["glc__D_e"]] == pytest.approx(-0.09166474637510469, rel=1e-10)
    np.testing.assert_allclose(np.log2(small.row_scale) % 1, 0)
    assert abs(model.stoichiometry @ small.expand(z)).max() < 1e-12


def test_rows_that_say_nothing_new_are_removed():
    # A conserved pair (rows 2 and 3 add to nothing), a multiple, and a combination of three.
    base = np.array([[1, -1, -1, 0, 0, 0], [0, 1, 0, -1, -1, 0], [0, 0, 1, 1, 0, -1.0]])
    cofactor = np.array([[0, 1, -1, 1, 0, 0.0]])
    S = np.concatenate([base, cofactor, -cofactor, 2 * base[:1], base.sum(0, keepdims=True)])
    small = presolve(network(S))
    assert small.matrix.shape == (4, 6)
    assert np.linalg.matrix_rank(small.A) == 4 == np.linalg.matrix_rank(S)


def test_terms_that_cancel_leave_nothing():
    """0.1 + 0.2 - 0.3 is 5.6e-17 in floating point: a row of that alone would block what it must not."""
    S = [[1, -1, 0, 0, 0], [0, 1, -1, 0, 0], [0.1, 0.2, -0.3, 1, -1]]
    small = presolve(network(S))
    assert small.blocked == ()
    assert small.matrix.shape == (0, 2)
    np.testing.assert_allclose(small.expand(np.array([2.0, 3.0])) @ np.array(S).T, 0, atol=1e-15)


@pytest.mark.slow
def test_everything_blocked():
    small = presolve(network([[1, -1], [1, -2]]))
    assert small.blocked == ("r0", "r1")
    assert small.matrix.shape == (0, 0)
    lower, upper = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.ones((2, 2))
    low, _, ok = small.reduce_bounds(lower, upper)
    assert low.shape == (2, 0)
    assert ok.tolist() == [True, False]
    np.testing.assert_array_equal(small.expand(low), 0)
    y, d = small.conflict(lower, upper)
    np.testing.assert_allclose(d[1], [-1, 0])
    np.testing.assert_allclose(-y @ small.network.dense, d, atol=1e-12)
    y, d = small.expand_duals(np.zeros((2, 0)), np.zeros((2, 0)), lower, upper, np.ones(2))
    np.testing.assert_allclose(y @ small.network.dense, 1, atol=1e-12)
    np.testing.assert_array_equal(d, 0)


def test_bounds_infinite_fixed_and_crossing_by_rounding():
    small = presolve(network([[1, 3, 0], [0, 1, -1 / 3]]))  # v0 = -3 v1, v2 = 3 v1
    inf = np.inf
    low, high, ok = small.reduce_bounds(np.array([-inf, 0.0, -inf]), np.array([inf, inf, inf]))
    ends = np.asarray(small.expand(np.where(np.isinf(np.stack([low, high])), 1.0, np.stack([low, high]))))
    assert ok
    assert np.isinf([low, high]).sum() == 1
    assert 0.0 in ends[:, 1]
    fixed = 0.1 * np.array([-3.0, 1.0, 3.0])  # agree up to rounding only
    low, high, ok = small.reduce_bounds(fixed, fixed)
    assert ok
    assert low == high
    np.testing.assert_allclose(small.expand(low), fixed, rtol=1e-15)
    assert not small.reduce_bounds(fixed * [1, 1 + 1e-9, 1], fixed * [1, 1 + 1e-9, 1])[2]


@pytest.mark.slow
def test_gradients_go_to_the_binding_reaction_and_batches_are_loops():
    net = network([[1, -1, 0, 0], [0, 1, -2, 0], [1, 0, 0, -1]])  # v0 = v1 = 2 v2 = v3
    small = presolve(net)
    lower, upper = np.zeros((3, 4)), np.array([[9.0, 4.0, 3.0, 7.0], [9.0, 8.0, 3.0, 7.0], [5.0, 5.0, 5.0, 5.0]])

    def top(u):
        return small.expand(small.reduce_bounds(lower[0], u)[1])[0]

    slopes = jax.vmap(jax.grad(top))(upper)
    np.testing.assert_allclose(slopes, [[0, 1, 0, 0], [0, 0, 2, 0], [1, 0, 0, 0]])
    whole = small.reduce_bounds(lower, upper)
    for k in range(3):
        for a, b in zip(whole, small.reduce_bounds(lower[k], upper[k]), strict=True):
            np.testing.assert_array_equal(a[k], b)
    singles = small.reduce_bounds(jnp.zeros(4, jnp.float32), jnp.ones(4, jnp.float32))
    assert singles[0].dtype == jnp.float32
    assert small.expand(singles[0]).dtype == jnp.float32
    one = jnp.ones(4, jnp.float32)
    y, d = small.expand_duals(jnp.zeros(0, jnp.float32), jnp.ones(1, jnp.float32), 0 * one, one, one)
    assert y.dtype == d.dtype == jnp.float32


@pytest.mark.slow
def test_genome_scale_takes_under_two_seconds():
    pytest.importorskip("cobra")
    model = load("iJO1366")
    presolve.cache_clear()
    begun = time.process_time()
    small = presolve(model.network)
    assert time.process_time() - begun < 2
    assert small.matrix.shape == (680, 1497)
    assert len(small.blocked) == 136
    low, high, ok = small.reduce_bounds(model.lower, model.upper)
    c = small.reduce_objective(model.objective)
    value, z, y, _ = highs(small.matrix, np.asarray(low), np.asarray(high), np.asarray(c))
    assert ok
    assert value == pytest.approx(0.9823718127269633, rel=1e-9)
    prices, costs = small.expand_duals(y, c - small.matrix.T @ y, model.lower, model.upper, model.objective)
    assert certificate(np.asarray(costs), model.lower, model.upper) == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(costs, model.objective - model.network.matrix.T @ np.asarray(prices), atol=1e-12)
    assert abs(model.network.matrix @ np.asarray(small.expand(z))).max() < 1e-9
    assert isinstance(small.matrix, scipy.sparse.csc_array)
