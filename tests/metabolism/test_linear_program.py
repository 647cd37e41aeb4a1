"""Linear programmes in batches against HiGHS: optima, prices, certificates from their definitions, derivatives, precision."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.optimize import linprog

from jaxsci.metabolism import simplex
from jaxsci.metabolism.linear_program import maximise, starting_vertex
from jaxsci.metabolism.simplex import INFEASIBLE, NOT_FINITE, OPTIMAL, UNBOUNDED

B, M, N = 48, 4, 8
NAMES = ("A", "c", "lower", "upper", "row_lower", "row_upper")


@jax.jit
def everything(A, c, lower, upper, row_lower, row_upper, of_value, of_x):
    """The solutions, and the derivative of  of_value . value + of_x . x  with respect to all numbers."""

    def solve(numbers):
        found = maximise(numbers[1], numbers[0], *numbers[2:])
        good = found.status == OPTIMAL
        x = jnp.where(good[:, None], found.x, 0.0)
        return jnp.sum(of_value * jnp.where(good, found.value, 0.0)) + jnp.sum(of_x * x), found

    gradient, found = jax.grad(solve, has_aux=True)((A, c, lower, upper, row_lower, row_upper))
    return found, gradient


def programmes(seed: int, whole: bool):
    """Feasible by construction (but for the last eight); `whole` numbers, which make many ties."""
    draw = np.random.default_rng(seed)
    if whole:
        A = draw.integers(-1, 2, (B, M, N)).astype(float)
        c = draw.integers(-1, 2, (B, N)).astype(float)
        lower, upper = -draw.integers(0, 2, (B, N)).astype(float), draw.integers(0, 3, (B, N)).astype(float)
        row_lower = row_upper = np.zeros((B, M))
        row_lower = np.where(draw.random((B, M)) < 0.3, -1.0, row_lower)
        return A, c, lower, upper, row_lower, row_upper
    A = draw.normal(size=(B, M, N)) * (draw.random((B, M, N)) < 0.7)
    c = draw.normal(size=(B, N))
    lower, upper = -draw.uniform(0, 4, (B, N)), draw.uniform(0, 4, (B, N))
    inside = draw.uniform(lower, upper)
    rows = np.einsum("bmn,bn->bm", A, inside)
    gap = np.where(draw.random((B, M)) < 0.5, 0.0, draw.uniform(0, 2, (B, M)))
    row_lower, row_upper = rows - gap, rows + gap
    row_lower[draw.random((B, M)) < 0.2] = -np.inf
    lower[draw.random((B, N)) < 0.1] = -np.inf
    row_lower[-8:-4, 0] = row_upper[-8:-4, 0] = 1e3  # out of reach
    lower[-8:-4] = np.maximum(lower[-8:-4], -9.0)
    A[-4:, :, 0], c[-4:, 0], upper[-4:, 0] = 0.0, 1.0, np.inf  # nothing holds the first variable
    return A, c, lower, upper, row_lower, row_upper


def highs(A, c, lower, upper, row_lower, row_upper):
    held = row_lower == row_upper
    rows = np.concatenate([A[~held], -A[~held]])
    right = np.concatenate([row_upper[~held], -row_lower[~held]])
    finite = np.isfinite(right)
    found = linprog(
        -c,
        A_ub=rows[finite] if finite.any() else None,
        b_ub=right[finite] if finite.any() else None,
        A_eq=A[held] if held.any() else None,
        b_eq=row_lower[held] if held.any() else None,
        bounds=np.stack([lower, upper], 1),
        method="highs",
    )
    return found.status, -found.fun if found.status == 0 else np.nan


@pytest.fixture(scope="module", params=[False, True], ids=["random", "degenerate"])
def case(request):
    numbers = programmes(3, request.param)
    draw = np.random.default_rng(5)
    weights = draw.normal(size=B), draw.normal(size=(B, N))
    found, gradient = everything(*numbers, *weights)
    return numbers, weights, jax.tree.map(np.asarray, found), jax.tree.map(np.asarray, gradient), request.param


def test_values_and_statuses_are_those_of_highs(case):
    numbers, _, found, _, whole = case
    for k in range(B):
        status, value = highs(*(x[k] for x in numbers))
        ours = {0: OPTIMAL, 2: INFEASIBLE, 3: UNBOUNDED, 4: UNBOUNDED}[status]
        assert found.status[k] == ours, (k, status)
        np.testing.assert_allclose(found.value[k], value, rtol=1e-9, atol=1e-9)
    if not whole:
        assert set(found.status.tolist()) == {OPTIMAL, INFEASIBLE, UNBOUNDED}


def test_points_are_feasible_and_prices_prove_the_optimum(case):
    (A, c, lower, upper, row_lower, row_upper), _, found, _, _ = case
    for k in np.flatnonzero(found.status == OPTIMAL):
        x, y = found.x[k], found.row_prices[k]
        assert (x >= lower[k] - 1e-9).all()
        assert (x <= upper[k] + 1e-9).all()
        rows = A[k] @ x
        assert (rows >= row_lower[k] - 1e-9).all()
        assert (rows <= row_upper[k] + 1e-9).all()
        d = c[k] - A[k].T @ y
        np.testing.assert_allclose(found.reduced_costs[k], d, atol=1e-10)
        worth = lambda p, low, high: sum(pi * (high[i] if pi > 0 else low[i]) for i, pi in enumerate(p) if abs(pi) > 1e-12)
        bound = worth(d, lower[k], upper[k]) + worth(y, row_lower[k], row_upper[k])
        np.testing.assert_allclose(bound, found.value[k], atol=1e-8)
        assert 0 <= found.gap[k] <= 1e-8


def test_rays_are_proofs(case):
    (A, c, lower, upper, row_lower, row_upper), _, found, _, whole = case
    for k in np.flatnonzero(found.status == INFEASIBLE):
        ray = found.ray[k]  # ray . (x, A x) is 0 for every x, but positive for all values between the bounds
        np.testing.assert_allclose(ray[:N] + A[k].T @ ray[N:], 0, atol=1e-9)
        ends = zip(
            np.where(np.abs(ray) < 1e-11, 0, ray), [*lower[k], *row_lower[k]], [*upper[k], *row_upper[k]], strict=True
        )
        assert sum(r * (low if r > 0 else high) for r, low, high in ends if r) > 1e-9
    for k in np.flatnonzero(found.status == UNBOUNDED):
        w = found.ray[k, :N]
        assert c[k] @ w > 1e-9
        assert not (np.isfinite(upper[k]) & (w > 1e-9)).any()
        assert not (np.isfinite(lower[k]) & (w < -1e-9)).any()
        rows = A[k] @ w
        assert not (np.isfinite(row_upper[k]) & (rows > 1e-9)).any()
        assert not (np.isfinite(row_lower[k]) & (rows < -1e-9)).any()
    assert np.isnan(found.value[found.status != OPTIMAL]).all()
    assert whole or (found.status == UNBOUNDED).sum() >= 4


def test_derivatives_are_those_of_finite_differences():
    """In every number at once, along random directions, of members whose vertex is not degenerate."""
    numbers = programmes(3, whole=False)
    draw = np.random.default_rng(5)
    of_value, of_x = draw.normal(size=B), draw.normal(size=(B, N))
    found, gradient = everything(*numbers, of_value, of_x)
    ways = [np.where(np.isfinite(x), draw.normal(size=x.shape), 0.0) for x in numbers]
    held = numbers[4] == numbers[5]
    ways[5] = np.where(held, ways[4], ways[5])
    step = 1e-6
    ends = []
    for sign in (1, -1):
        moved, _ = everything(*(x + sign * step * w for x, w in zip(numbers, ways, strict=True)), of_value, of_x)
        ends.append(np.asarray(of_value * moved.value + (of_x * moved.x).sum(1)))
    differences = (ends[0] - ends[1]) / (2 * step)
    parts = [np.where(np.isfinite(x), np.asarray(g) * w, 0.0) for x, g, w in zip(numbers, gradient, ways, strict=True)]
    ours = sum(p.reshape(B, -1).sum(1) for p in parts)
    good = np.asarray(found.status) == OPTIMAL
    assert good.sum() >= 36
    np.testing.assert_allclose(ours[good], differences[good], rtol=1e-5, atol=1e-6)
    for g in gradient:  # nothing comes from members without an optimum
        assert (np.asarray(g)[~good] == 0).all()
        assert np.isfinite(np.asarray(g)).all()


def test_no_number_disturbs_another_member():
    numbers = programmes(3, whole=False)
    weights = np.ones(B), np.zeros((B, N))
    before, _ = everything(*numbers, *weights)
    spoilt = [x.copy() for x in numbers]
    spoilt[1][0, 2] = np.nan
    spoilt[2][1, 3] = np.nan
    spoilt[2][2, 1], spoilt[3][2, 1] = 1.0, 0.5
    after, gradient = everything(*spoilt, *weights)
    assert np.asarray(after.status)[:3].tolist() == [NOT_FINITE, NOT_FINITE, INFEASIBLE]
    assert all(np.isfinite(np.asarray(g)).all() for g in gradient)
    for a, b in zip((before.value, before.x, before.status), (after.value, after.x, after.status), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[3:], np.asarray(b)[3:])


@pytest.mark.slow
def test_one_shared_matrix_a_start_and_both_methods_agree():
    """Primal and dual, from the slack basis, from an optimal one: the same optima, in fewer steps from the better start."""
    draw = np.random.default_rng(11)
    A, lower, upper = draw.normal(size=(M, N)), -np.ones(N), 2 * np.ones(N)
    c = draw.normal(size=N)
    near = c + 0.1 * draw.normal(size=(20, N))
    start = starting_vertex(A, c, lower, upper)
    cold = jax.jit(lambda c: maximise(c, A, lower, upper))(near)
    warm = jax.jit(lambda c: maximise(c, A, lower, upper, start=start, primal=True))(near)
    assert (np.asarray(cold.status) == OPTIMAL).all()
    assert (np.asarray(warm.status) == OPTIMAL).all()
    np.testing.assert_allclose(warm.value, cold.value, atol=1e-11)
    np.testing.assert_allclose(warm.x, cold.x, atol=1e-10)
    np.testing.assert_allclose(warm.row_prices, cold.row_prices, atol=1e-10)
    assert warm.steps.sum() < cold.steps.sum()


@pytest.mark.slow
def test_vmap_is_a_larger_batch():
    A = np.array([[1.0, 1.0, 0.5]])

    def best(room):
        found = maximise(jnp.array([2.0, 3.0, 0.9]), A, 0.0, jnp.array([4.0, 3.0, 2.0]), -jnp.inf, room)
        return found.value, found.x

    rooms = jnp.array([0.5, 2.0, 5.0, 7.5, 20.0])

    @jax.jit
    @jax.vmap
    def each(room):
        (value, point), slope = jax.value_and_grad(best, has_aux=True)(room)
        return value, point, slope

    values, points, slopes = each(rooms)
    np.testing.assert_allclose(values, [1.5, 6.0, 13.0, 17.9, 18.8], atol=1e-12)
    np.testing.assert_allclose(slopes, [3.0, 3.0, 2.0, 1.8, 0.0], atol=1e-12)
    np.testing.assert_allclose(points[2], [2.0, 3.0, 0.0], atol=1e-12)


@pytest.mark.slow
def test_float32():
    numbers = programmes(3, whole=False)
    exact, _ = everything(*numbers, np.zeros(B), np.zeros((B, N)))
    with jax.enable_x64(False):
        found = jax.jit(lambda A, c, *rest: maximise(c, A, *rest))(*(jnp.asarray(x, jnp.float32) for x in numbers))
        assert found.value.dtype == jnp.float32
        found = jax.tree.map(np.asarray, found)
    np.testing.assert_array_equal(found.status, exact.status)
    np.testing.assert_allclose(found.value, exact.value, rtol=2e-4, atol=2e-4)


def test_a_vector_is_no_matrix():
    with pytest.raises(ValueError, match=r"A is \[..., m, n\], got shape \[3\]"):
        maximise(jnp.ones(3), jnp.ones(3), 0.0, 1.0)


def test_no_rows_leave_the_bounds():
    found = maximise(jnp.array([1.0, -2.0]), np.zeros((0, 2)), -1.0, 3.0)
    assert (float(found.value), found.x.tolist(), found.row_prices.shape) == (5.0, [3.0, -1.0], (0,))
    assert found.reduced_costs.tolist() == [1.0, -2.0]


def test_prices_of_an_ill_conditioned_basis_are_refined_in_twice_the_precision(monkeypatch):
    """Hilbert's matrix, of condition 5e8: the prices are those of exact fractions, which working precision gives to 1e-9 only."""
    A, c = scipy.linalg.hilbert(7), np.array([1.0, -1.0, 2.0, 0.5, 1.0, -2.0, 1.0])
    rows = [[Fraction(a) for a in row] + [Fraction(b)] for row, b in zip(A.T, c, strict=True)]
    for k in range(7):  # Gauss and Jordan
        rows[k] = [a / rows[k][k] for a in rows[k]]
        rows = [row if i == k else [a - row[k] * b for a, b in zip(row, rows[k], strict=True)] for i, row in enumerate(rows)]
    exact = np.array([float(row[-1]) for row in rows])
    monkeypatch.setattr(simplex, "_DOUBTFUL", -1.0)  # every certificate is looked at again
    found = maximise(c, A, 0.0, 1.0, A @ np.full(7, 0.5), A @ np.full(7, 0.5))
    assert found.status == OPTIMAL
    np.testing.assert_allclose(found.row_prices, exact, rtol=1e-14)
