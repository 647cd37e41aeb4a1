"""Given integrals are met to round-off by the nearest field: plain, weighted, above a bound, of a given energy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.constraints import Integral, hold_integral, project

# The compiler takes all the time here, the programs none: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
N = 12
X = np.linspace(0, 1, N)
ROWS = np.stack([np.ones(N), X, X**2]) / N
RANDOM = np.random.default_rng(3)
Y = jnp.asarray(RANDOM.normal(size=(4, N)))
VARIANCE = jnp.asarray(RANDOM.uniform(0.2, 3, N))
TOTAL = jnp.array([1.0, 0.6, 0.45])


def relative_gap(rows, total, x):
    """With exact sums."""
    x, total = np.asarray(x, float), np.atleast_1d(total)
    return max(
        abs(math.fsum(r * v for r, v in zip(row, x, strict=True)) - t) / abs(t) for row, t in zip(rows, total, strict=True)
    )


def nearest_by_active_sets(y, rows, total, variance):
    """All sets of bounded entries, for a few unknowns: the nearest feasible of the plane projections."""
    best, found = np.inf, None
    for mask in range(2 ** len(y)):
        free = np.array([mask >> i & 1 for i in range(len(y))], bool)
        if free.sum() < len(rows):
            continue
        gram = (rows[:, free] * variance[free]) @ rows[:, free].T
        if np.linalg.cond(gram) > 1e10:
            continue
        x = np.zeros(len(y))
        x[free] = y[free] - variance[free] * (rows[:, free].T @ np.linalg.solve(gram, rows[:, free] @ y[free] - total))
        distance = np.sum((x - y) ** 2 / variance)
        if (x >= -1e-13).all() and distance < best:
            best, found = distance, x
    return found


def test_the_plane_is_met_to_round_off_by_the_nearest_field():
    constraint = Integral(ROWS, TOTAL, variance=VARIANCE)
    x, info = jit(project)(constraint, Y)
    root = np.sqrt(VARIANCE)
    wanted = Y - (np.linalg.pinv(ROWS * root) @ (Y @ ROWS.T - TOTAL).T).T * root
    np.testing.assert_allclose(x, wanted, atol=1e-13)
    assert bool(info.converged.all())
    assert max(relative_gap(ROWS, TOTAL, one) for one in x) < 2e-15
    assert float(constraint.violation(Y).min()) > 0.1
    with pytest.raises(ValueError, match="violated in 4 of 4 points"):
        constraint.check(Y)


def test_long_sums_and_grids_of_two_axes_meet_1e_14():
    n = 256
    y = jnp.asarray(np.random.default_rng(0).normal(size=(n, n)) + 3)
    weights = jnp.full((n, n), 1.0 / n**2)
    constraint = Integral(weights, 2.0, event_ndim=2)
    x, info = jit(project)(constraint, y)
    assert info.status.shape == ()
    assert abs(math.fsum(np.asarray(x).ravel() / n**2) / 2.0 - 1) < 1e-14
    np.testing.assert_allclose(x - y, float(2.0 - y.mean()), atol=1e-13)


def test_above_a_bound_against_all_active_sets():
    rows, total, variance = ROWS[:2, :8] * 1.5, np.array([0.8, 0.2]), np.asarray(VARIANCE[:8])
    y = np.asarray(Y[:, :8])
    constraint = Integral(rows, total, lower=0.0, variance=variance)
    x, info = jit(project)(constraint, y)
    assert bool(info.converged.all())
    assert float(x.min()) == 0.0
    for one, at in zip(x, y, strict=True):
        np.testing.assert_allclose(one, nearest_by_active_sets(at, rows, total, variance), atol=1e-13)
        assert relative_gap(rows, total, one) < 1e-14
    np.testing.assert_array_equal(np.asarray(info.active), -(np.asarray(x) == 0).astype(int))
    again, warm = jit(lambda y, w: project(constraint, y, warm=w))(y + 1e-3, info.warm)
    assert int(warm.steps.max()) <= int(info.steps.max())
    np.testing.assert_allclose(again, jit(project)(constraint, y + 1e-3)[0], atol=1e-13)


@pytest.mark.slow
def test_of_a_given_energy():
    constraint = Integral(ROWS, TOTAL, energy=40.0, variance=VARIANCE)
    x, info = jit(project)(constraint, Y)
    assert bool(info.converged.all())
    np.testing.assert_allclose(jnp.sum(x**2 / VARIANCE, -1), 40.0, rtol=1e-14)
    assert max(relative_gap(ROWS, TOTAL, one) for one in x) < 1e-13
    # x - y is orthogonal to the set: a combination of the rows and of x.
    for one, at in zip(np.asarray(x), np.asarray(Y), strict=True):
        normals = np.concatenate([ROWS, [one / VARIANCE]]).T
        gap = (one - at) / np.asarray(VARIANCE)
        residual = gap - normals @ np.linalg.lstsq(normals, gap)[0]
        assert np.abs(residual).max() < 1e-12
    centre = project(Integral(ROWS, TOTAL, variance=VARIANCE), jnp.zeros(N))[0]
    _, info = jit(project)(constraint, centre)  # all points are equally near
    assert bool(info.converged)
    slopes = jit(jax.jacfwd(lambda y: project(constraint, y)[0]))(centre)
    assert bool(jnp.isfinite(slopes).all())


KINDS = {
    "plane": {"variance": VARIANCE},
    "covariance": {"covariance": jnp.diag(VARIANCE) + 0.1},
    "bound": {"variance": VARIANCE, "lower": jnp.asarray(RANDOM.uniform(-0.3, 0, N))},
    "energy": {"variance": VARIANCE, "energy": jnp.asarray(30.0)},
}


@pytest.mark.parametrize(
    "kind", ["bound", *(pytest.param(k, marks=pytest.mark.slow) for k in ("plane", "covariance", "energy"))]
)
def test_derivatives_in_both_modes_and_of_second_order_in_all_numbers(kind):
    given = (Integral(jnp.asarray(ROWS), TOTAL, **KINDS[kind]), Y[0])
    random = np.random.default_rng(5)
    direction = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=np.shape(leaf))) * 0.05, given)
    weights = jnp.asarray(random.normal(size=N))

    @jit
    def both(h):
        def value(h):
            constraint, y = jax.tree.map(lambda a, d: a + h * d, given, direction)
            return jnp.sum(jnp.sin(project(constraint, y)[0]) * weights)

        forward = jax.jvp(value, (h,), (1.0,))[1]
        return value(h), forward, jax.jacrev(value)(h), jax.hessian(value)(h)

    (low, low_slope, *_), (_, slope, backward, curvature), (high, high_slope, *_) = map(both, (-1e-5, 0.0, 1e-5))
    np.testing.assert_allclose(slope, (high - low) / 2e-5, rtol=1e-6)
    np.testing.assert_allclose(backward, slope, rtol=1e-10)
    np.testing.assert_allclose(curvature, (high_slope - low_slope) / 2e-5, rtol=1e-5)

    @jit
    def jacobian(constraint, y):
        return jax.jacfwd(lambda y: project(constraint, y)[0])(y)

    assert float(jnp.abs(jnp.asarray(ROWS) @ jacobian(*given)).max()) < 1e-13  # tangents keep the integrals


@pytest.mark.slow
def test_batches_of_points_and_data_are_loops():
    totals, lower = TOTAL * jnp.array([[1.0], [1.5], [2.0], [2.5]]), jnp.array([0.0, -0.1, -0.2, 0.1])
    f = jit(lambda total, lower, y: project(Integral(ROWS, total, lower=lower), y)[0])
    lower = jnp.broadcast_to(lower[:, None], Y.shape)
    looped = jnp.stack([f(*args) for args in zip(totals, lower, Y, strict=True)])
    batched = f(totals, lower, Y)
    np.testing.assert_allclose(batched, looped, atol=1e-13)
    np.testing.assert_allclose(jax.vmap(f)(totals, lower, Y), looped, atol=1e-13)
    np.testing.assert_allclose(
        project(Integral(ROWS, totals), Y)[0][2], project(Integral(ROWS, totals[2]), Y[2])[0], atol=1e-13
    )


def test_infeasible_and_degenerate_sets_have_a_status_and_finite_gradients():
    rows = jnp.asarray(ROWS)
    cases = {  # one batch, so that hard members could disturb others
        "feasible": (TOTAL, 0),
        "mean outside of the interval": (jnp.array([1.0, 1.6, 0.4]), 2),
        "second moment above the first": (jnp.array([1.0, 0.6, 0.7]), 2),
        "negative mass": (jnp.array([-1.0, 0.6, 0.45]), 2),
    }
    totals = jnp.stack([total for total, _ in cases.values()])
    f = lambda total, y: project(Integral(rows, total, lower=0.0), y)
    x, info = jit(f)(totals, Y)
    np.testing.assert_array_equal(info.status, [status for _, status in cases.values()])
    assert int(info.steps.max()) < 60
    assert bool(jnp.isfinite(x).all())
    assert float(x.min()) >= 0
    assert relative_gap(ROWS, TOTAL, x[0]) < 1e-14
    slopes = jit(jax.grad(lambda total, y: jnp.sum(f(total, y)[0] ** 2), argnums=(0, 1)))(totals, Y)
    assert all(bool(jnp.isfinite(s).all()) for s in slopes)


@pytest.mark.slow
def test_dependent_integrals_and_what_else_has_a_status():
    rows = jnp.asarray(ROWS)
    f = lambda total, y: project(Integral(rows, total, lower=0.0), y)
    twice = jnp.concatenate([rows, rows[:1]])  # an integral that is given twice
    consistent, info = jit(project)(Integral(twice, jnp.append(TOTAL, TOTAL[0]), lower=0.0), Y)
    assert bool(info.converged.all())
    np.testing.assert_allclose(consistent, f(TOTAL, Y)[0], atol=1e-12)
    _, info = project(Integral(twice, jnp.append(TOTAL, TOTAL[0] + 1)), Y)
    np.testing.assert_array_equal(info.status, 2)
    _, info = project(Integral(rows, TOTAL, energy=1.0), Y)  # the totals need more
    np.testing.assert_array_equal(info.status, 2)
    _, info = jit(lambda y: project(Integral(rows, TOTAL, lower=0.0), y, max_steps=1))(Y)
    np.testing.assert_array_equal(info.status, 1)
    _, info = project(Integral(rows, TOTAL), Y.at[1].set(jnp.nan))
    np.testing.assert_array_equal(info.status, [0, 3, 0, 0])


@pytest.mark.parametrize("kind", ["plane", *(pytest.param(k, marks=pytest.mark.slow) for k in ("bound", "energy"))])
def test_float32(kind):
    constraint = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), Integral(ROWS, TOTAL, **KINDS[kind]))
    x, info = jit(project)(constraint, jnp.asarray(Y, jnp.float32))
    assert x.dtype == jnp.float32
    assert bool(info.converged.all())
    assert (
        max(relative_gap(np.asarray(constraint.weights, float), np.asarray(constraint.total, float), one) for one in x)
        < 1e-6
    )


def test_soft_to_hard_is_the_posterior_of_a_normal_distribution():
    covariance = jnp.asarray(np.cov(RANDOM.normal(size=(N, 40))))
    constraint = Integral(ROWS, TOTAL, covariance=covariance)
    mean, spread = constraint.posterior(Y[0], noise=0.01)
    precision = np.linalg.inv(covariance) + ROWS.T @ ROWS / 0.01
    np.testing.assert_allclose(spread, np.linalg.inv(precision), atol=1e-10)
    wanted = np.linalg.solve(precision, np.linalg.solve(covariance, Y[0]) + ROWS.T @ np.asarray(TOTAL) / 0.01)
    np.testing.assert_allclose(mean, wanted, atol=1e-9)
    hard, spread = constraint.posterior(Y[0])
    np.testing.assert_allclose(hard, project(constraint, Y[0])[0], atol=1e-12)
    assert np.abs(ROWS @ spread).max() < 1e-14
    soft, _ = constraint.posterior(Y[0], noise=1e9)
    np.testing.assert_allclose(soft, Y[0], atol=1e-8)


def test_the_integral_of_a_function():
    nodes, weights = map(jnp.asarray, np.polynomial.legendre.leggauss(20))
    held = hold_integral(jnp.exp, 1.0, nodes, weights, bump=lambda x: 1 - x**2)
    values = jax.vmap(held)(nodes)
    np.testing.assert_allclose(values @ weights, 1.0, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(held)(jnp.array([-1.0, 1.0])), np.exp([-1.0, 1.0]), rtol=1e-14)
    assert abs(float(jnp.exp(nodes) @ weights) - 1.0) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Integral(ROWS[0], TOTAL), r"weights of several integrals are \[m, \*event\]"),
        (lambda: Integral(ROWS, TOTAL, lower=0.0, energy=1.0), "give one of lower, energy and covariance"),
        (lambda: project(Integral(ROWS, TOTAL, variance=-1.0), Y), "the variance must be positive"),
        (lambda: Integral(ROWS, [1.0, np.nan, 0.0]), "total holds NaN at index"),
        (lambda: project(Integral(ROWS, TOTAL), jnp.ones(5)), r"for points of the shape \(12,\), got \(5,\)"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
