"""Nearest points of smooth sets against closed forms, sampled curves, numpy's KKT systems and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxsci as js
from jaxsci.constraints import CONVERGED, INFEASIBLE, MAX_STEPS, NOT_FINITE, Nonlinear, project


def sphere(x, data):
    return jnp.sum(x**2) - data**2


def ellipsoid(x, axes):
    return jnp.sum((x / axes) ** 2) - 1


def torus(x, radii):
    return (jnp.sqrt(x[0] ** 2 + x[1] ** 2 + 1e-300) - radii[0]) ** 2 + x[2] ** 2 - radii[1] ** 2


def in_halves(x, data):
    return data["G"] @ x - data["h"]


def mixed_equality(x, d):
    return jnp.sum(d["a"] * x**2) - d["r"] ** 2


def mixed_inequality(x, d):
    return jnp.stack([x[0] * x[1] - d["b"], x @ d["w"] - 1.0])


MIXED = {
    "a": jnp.array([1.0, 2.0, 0.5, 1.0]),
    "r": jnp.array(1.3),
    "b": jnp.array(0.05),
    "w": jnp.array([0.3, -0.4, 0.5, 2.0]),
}


def draws(*shape, seed=0, scale=2.0):
    return scale * np.random.default_rng(seed).normal(size=shape)


# --- points --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float64, 2e-14), (jnp.float32, 1e-5)])
def test_sphere_and_torus_against_their_closed_forms(dtype, tolerance):
    y = draws(500, 3)
    point, info = project(Nonlinear(sphere, data=jnp.asarray(1.5, dtype)), jnp.asarray(y, dtype))
    assert (info.status == CONVERGED).all()
    assert point.dtype == dtype
    assert info.residual.max() < tolerance
    assert np.abs(point - 1.5 * y / np.linalg.norm(y, axis=-1, keepdims=True)).max() < 10 * tolerance
    ring = 2 * y[:, :2] / np.linalg.norm(y[:, :2], axis=-1, keepdims=True)
    centre = np.concatenate([ring, np.zeros((500, 1))], -1)
    nearest = centre + 0.5 * (y - centre) / np.linalg.norm(y - centre, axis=-1, keepdims=True)
    if dtype == jnp.float32:
        return
    point, info = project(Nonlinear(torus, data=jnp.asarray([2.0, 0.5], dtype)), jnp.asarray(y, dtype))
    assert (info.status == CONVERGED).all()
    far = np.linalg.norm(y[:, :2], axis=-1) > 0.3  # from its axis, where the nearest point is not one
    assert np.abs(point - nearest)[far].max() < 30 * tolerance


@pytest.mark.slow
def test_ellipse_against_its_sampled_points():
    """The distance is that of the best of a million points, from outside; a feasible point by Gauss-Newton alone is farther."""
    axes, y = np.array([3.0, 0.7]), draws(40, 2, seed=1, scale=5.0)
    y = y[(y**2 / axes**2).sum(-1) > 1]
    angle = np.linspace(0, 2 * np.pi, 20_001)
    curve = axes * np.stack([np.cos(angle), np.sin(angle)], -1)
    sampled = np.sqrt(((y[:, None] - curve) ** 2).sum(-1)).min(1)
    point, info = project(Nonlinear(ellipsoid, data=jnp.asarray(axes)), jnp.asarray(y))
    ours = np.linalg.norm(point - y, axis=-1)
    assert info.converged.all()
    assert np.abs(ours - sampled).max() < 1e-6
    radial = y / np.sqrt((y**2 / axes**2).sum(-1, keepdims=True))  # feasible too, but not nearest
    assert (np.linalg.norm(radial - y, axis=-1) - ours).max() > 1e-2


@pytest.mark.slow
def test_half_spaces_against_the_multipliers_that_numpy_finds():
    """Every sign pattern of the multipliers is tried: the one that fits is the solution of the quadratic program."""
    rng = np.random.default_rng(2)
    G, h, y = rng.normal(size=(3, 4)), rng.uniform(0.2, 1, 3), draws(100, 4, seed=3)
    constraint = Nonlinear(None, in_halves, {"G": jnp.asarray(G), "h": jnp.asarray(h)})
    point, info = project(constraint, jnp.asarray(y))
    assert info.converged.all()
    for one, found, active in zip(y, point, info.active, strict=True):
        best = None
        for pattern in np.ndindex(2, 2, 2):
            rows = np.flatnonzero(pattern)
            multipliers = np.linalg.solve(G[rows] @ G[rows].T, G[rows] @ one - h[rows]) if len(rows) else np.zeros(0)
            x = one - G[rows].T @ multipliers
            if (multipliers >= 0).all() and (G @ x <= h + 1e-12).all():
                best = x, pattern
        assert np.abs(found - best[0]).max() < 1e-13
        assert tuple(active) == best[1]


@pytest.mark.parametrize(
    ("equality", "inequality", "data", "n"),
    [
        pytest.param(
            lambda x, c: jnp.stack([jnp.sum(x**2) - 1, jnp.sum((x - c) ** 2) - 1]),
            None,
            jnp.array([1.0, 0.3, 0.0]),
            3,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda x, a: x[0] * x[1] - a,
            lambda x, a: jnp.stack([1.5 - x @ x, x[2] - jnp.sin(3 * x[0])]),
            jnp.array(0.5),
            3,
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda x, a: x[1] - a * x[0] ** 2, lambda x, a: 0.5 - x[0], jnp.array(10.0), 2, marks=pytest.mark.slow),
        (lambda x, r: (x @ x - r**2) * jnp.stack([1.0, 2.0 + x[0], 3.0]), None, jnp.array(1.0), 4),  # rank 1 of 3
    ],
    ids=["two spheres", "not convex", "curved valley", "redundant"],
)
def test_thousands_of_starts_end_at_points_that_satisfy_the_kkt_conditions(equality, inequality, data, n):
    y = jnp.asarray(draws(2000, n, seed=4)).at[0].set(0.0)
    constraint = Nonlinear(equality, inequality, data)
    point, info = project(constraint, y)
    assert (info.status == CONVERGED).all()
    assert info.residual.max() < 1e-12
    assert (constraint.residual(point).shape[-1],) == info.warm[1].shape[1:]

    def stationarity(x, y, p):
        conditions = [f for f in (equality, inequality) if f is not None]
        values = lambda x: jnp.concatenate([jnp.atleast_1d(f(x, data)) for f in conditions])
        return x - y + jax.vjp(values, x)[1](p)[0]

    slope = jax.jit(jax.vmap(stationarity))(point, y, info.warm[1])
    assert jnp.abs(slope).max() < 3e-12
    if inequality is not None:
        assert (info.warm[1][:, 1:] >= 0).all()


@pytest.mark.slow
def test_members_far_apart_do_not_disturb_each_other_and_nan_stays_where_it_is():
    y = jnp.array([[3.0, 0.1], [0.0, 0.0], [jnp.nan, 1.0], [1e3, 2e3], [1e-9, 0.0]])
    constraint = Nonlinear(ellipsoid, data=jnp.array([2.0, 1.0]))
    point, info = project(constraint, y)
    assert info.status.tolist() == [CONVERGED, CONVERGED, NOT_FINITE, CONVERGED, CONVERGED]
    assert jnp.isfinite(point).all()
    alone, _ = project(constraint, y[0])
    assert jnp.abs(alone - point[0]).max() < 1e-15


@pytest.mark.slow
def test_points_inside_are_left_alone():
    y = jnp.array([[0.1, 0.2], [0.0, 0.0]])
    point, info = project(Nonlinear(None, sphere, jnp.array(1.0)), y)
    assert (point == y).all()
    assert info.steps.tolist() == [0, 0]
    assert (info.active == 0).all()


@pytest.mark.parametrize("dtype", [jnp.float64, pytest.param(jnp.float32, marks=pytest.mark.slow)])
def test_empty_sets_are_infeasible_with_the_least_violating_point(dtype):
    """x.x = 1 and x_0 = 3 contradict each other; the least of the squares is where its derivative (numpy's root) vanishes."""
    apart = Nonlinear(lambda x, at: jnp.stack([x @ x - 1, x[0] - at]), data=jnp.asarray(3.0, dtype))
    point, info = project(apart, jnp.asarray(draws(100, 2, seed=5), dtype))
    assert (info.status == INFEASIBLE).all()
    roots = np.roots([2.0, 0, -1, -3])  # of (x^2 - 1)^2 / 2 + (x - 3)^2 / 2
    (least,) = roots[np.abs(roots.imag) < 1e-9].real
    assert np.abs(point - np.array([least, 0.0])).max() < (1e-6 if dtype == jnp.float64 else 3e-2)
    assert (info.residual > 0.5).all()
    gradient = jax.grad(lambda y: jnp.sum(project(apart, y)[0]))(jnp.ones(2, dtype))
    assert (gradient == 0).all()


@pytest.mark.slow
def test_too_few_steps_say_so_and_warm_starts_need_fewer():
    constraint = Nonlinear(ellipsoid, data=jnp.array([3.0, 1.0, 0.3]))
    y = jnp.asarray(draws(50, 3, seed=6))
    _, cold = project(constraint, y)
    _, short = project(constraint, y, max_steps=1)
    assert MAX_STEPS in short.status.tolist()
    moved = y * 1.01
    warm_point, warm = project(constraint, moved, warm=cold.warm)
    again, _ = project(constraint, moved)
    assert warm.converged.all()
    assert warm.steps.mean() < 0.5 * cold.steps.mean()
    assert jnp.median(jnp.abs(warm_point - again).max(-1)) < 1e-14
    _, loose = project(constraint, y, tol=1e-3)
    assert loose.converged.all()
    assert loose.residual.max() <= 1e-3
    assert loose.steps.sum() < cold.steps.sum()


# --- derivatives ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_derivatives_of_all_orders_and_modes_against_finite_differences_in_points_and_all_data():
    flat, unravel = ravel_pytree(MIXED)

    def nearest(y, v):
        return project(Nonlinear(mixed_equality, mixed_inequality, unravel(v)), y)[0]

    def loss(y, v):
        return jnp.sum(jnp.sin(3 * nearest(y, v)) * jnp.arange(1.0, 5))

    step = 1e-5
    batch = lambda f: jax.jit(jax.vmap(f, (0, 0)))
    y = draws(4, 4, seed=1, scale=1.0)
    _, info = project(Nonlinear(mixed_equality, mixed_inequality, MIXED), jnp.asarray(y))
    assert set(np.asarray(info.active).ravel().tolist()) == {0, 1}

    def differences(f, y):
        """Of f(y, v), by all entries of y and v."""
        both = np.concatenate([y, flat])
        plus, minus = (both + s * step * np.eye(len(both)) for s in (1, -1))
        up, down = (np.asarray(f(jnp.asarray(p[:, :4]), jnp.asarray(p[:, 4:]))) for p in (plus, minus))
        return np.moveaxis(up - down, 0, -1) / (2 * step)

    together = lambda pair: jnp.concatenate(pair, -1)
    forward = jax.jit(lambda y, v: together(jax.jacfwd(nearest, (0, 1))(y, v)))
    reverse = jax.jit(lambda y, v: together(jax.jacrev(nearest, (0, 1))(y, v)))
    gradient = lambda y, v: together(jax.grad(loss, (0, 1))(y, v))
    hessian = jax.jit(lambda y, v: together(jax.jacfwd(gradient, (0, 1))(y, v)))
    value, slope = batch(nearest), batch(gradient)
    for one in y:
        first, second = differences(value, one), differences(slope, one)
        assert np.abs(forward(one, flat) - first).max() < 1e-8
        assert np.abs(forward(one, flat) - reverse(one, flat)).max() < 1e-13
        assert np.abs(hessian(one, flat) - second).max() < 1e-7 * max(1, np.abs(second).max())
    assert np.abs(first).max() > 0.1  # what was compared is not nothing


@pytest.mark.slow
def test_derivatives_against_finite_differences_along_a_direction():
    """jvp, vjp and the derivative of the vjp, in the points and in all data at once, for four active sets."""
    flat, unravel = ravel_pytree(MIXED)
    y = jnp.asarray(draws(4, 4, seed=1, scale=1.0))
    direction = (jnp.asarray(draws(4, 4, seed=8, scale=0.3)), jnp.asarray(draws(10, seed=9, scale=0.3)))
    weight = jnp.arange(1.0, 5)

    def everything(y, v):
        nearest = lambda y, v: project(Nonlinear(mixed_equality, mixed_inequality, unravel(v)), y)[0]
        gradient = lambda y, v: jax.vjp(nearest, y, v)[1](jnp.broadcast_to(weight, y.shape))
        point, push = jax.jvp(nearest, (y, v), direction)
        pull, second = jax.jvp(gradient, (y, v), direction)
        return point, push, pull, second

    everything = jax.jit(everything)
    _, push, pull, second = everything(y, flat)
    step = 1e-5
    ends = [everything(*jax.tree.map(lambda a, d: a + s * step * d, (y, flat), direction)) for s in (1, -1)]  # noqa: B023
    assert jnp.abs(push - (ends[0][0] - ends[1][0]) / (2 * step)).max() < 1e-8
    assert jnp.abs(push).max() > 0.01
    transposed = sum(jnp.vdot(p, d) for p, d in zip(pull, direction, strict=True))
    assert jnp.abs(jnp.sum(push * weight) - transposed) < 1e-12
    for ours, plus, minus in zip(second, ends[0][2], ends[1][2], strict=True):
        assert jnp.abs(ours - (plus - minus) / (2 * step)).max() < 1e-6 * jnp.abs(ours).max()


@pytest.mark.slow
def test_derivative_of_redundant_conditions_is_that_of_one():
    many = lambda y, r: project(Nonlinear(lambda x, r: (x @ x - r**2) * jnp.array([1.0, 1.0, 3.0]), data=r), y)[0]
    one = lambda y, r: r * y / jnp.linalg.norm(y)
    y, r = jnp.array([0.7, -1.0, 0.4]), jnp.array(1.2)
    for ours, exact in zip(jax.jacrev(many, (0, 1))(y, r), jax.jacrev(one, (0, 1))(y, r), strict=True):
        assert jnp.abs(ours - exact).max() < 1e-12


@pytest.mark.slow
def test_float32_derivative_reaches_its_round_off():
    y, r = jnp.array([0.7, -1.0, 0.4], jnp.float32), jnp.array(1.2, jnp.float32)
    ours = jax.jacrev(lambda y: project(Nonlinear(sphere, data=r), y)[0])(y)
    exact = jax.jacrev(lambda y: r * y / jnp.linalg.norm(y))(y)
    assert ours.dtype == jnp.float32
    assert jnp.abs(ours - exact).max() < 2e-6


@pytest.mark.slow
def test_derivative_is_finite_where_the_nearest_point_is_not_one():
    """At the centre of a circle, and at a corner whose inequality has no multiplier, which counts as inactive."""
    circle = Nonlinear(sphere, data=jnp.array(1.0))
    assert jnp.isfinite(jax.jacfwd(lambda y: project(circle, y)[0])(jnp.zeros(2))).all()
    disc = Nonlinear(None, sphere, jnp.array(1.0))
    assert jnp.abs(jax.jacfwd(lambda y: project(disc, y)[0])(jnp.array([1.0, 0.0])) - jnp.eye(2)).max() < 1e-12


# --- batches -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_batched_data_vmap_and_a_loop_agree():
    y, axes = jnp.asarray(draws(4, 1, 2, seed=7)), jnp.array([[2.0, 1.0], [1.0, 3.0], [0.5, 0.5]])
    point, info = jax.jit(lambda y, a: project(Nonlinear(ellipsoid, data=a, batch_ndim=1), y))(y, axes)
    assert point.shape == (4, 3, 2)
    assert info.status.shape == (4, 3)
    single = lambda y, a: project(Nonlinear(ellipsoid, data=a), y)[0]
    mapped = jax.vmap(lambda y: jax.vmap(lambda a: single(y, a))(axes))(y[:, 0])
    assert jnp.abs(point - mapped).max() < 1e-14
    assert jnp.abs(point[1, 2] - single(y[1, 0], axes[2])).max() < 1e-14
    assert Nonlinear(ellipsoid, data=axes, batch_ndim=1).residual(point).shape == (4, 3, 1)


def test_protocol_of_all_constraints():
    disc = Nonlinear(None, sphere, jnp.array(1.0))
    assert disc.residual(jnp.array([2.0, 0.0])).tolist() == [3.0]
    assert disc.penalty(jnp.array([[2.0, 0.0], [0.0, 0.5]])).tolist() == [4.5, 0.0]
    inside = jnp.array([0.3, 0.3])
    assert disc.check(inside) is not None
    with pytest.raises(ValueError, match="Nonlinear: violated, by 3"):
        disc.check(jnp.array([2.0, 0.0]))


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Nonlinear(), ValueError, "there is no condition"),
        (lambda: Nonlinear(3.0), TypeError, "equality must be a function of \\(x, data\\), got 3.0"),
        (lambda: Nonlinear(lambda x: x @ x - 1), TypeError, "equality must be a function of two arguments"),
        (lambda: Nonlinear(sphere, data=jnp.array(jnp.nan)), ValueError, "data holds NaN"),
        (lambda: Nonlinear(sphere, data=jnp.ones(2), batch_ndim=2), ValueError, "fewer axes than batch_ndim = 2"),
        (lambda: Nonlinear(sphere, data=jnp.ones(2), batch_ndim=-1), ValueError, "whole number of axes"),
        (lambda: project(Nonlinear(lambda x, _: x[:, None] * x), jnp.ones(2)), ValueError, "one axis for ONE point"),
        (lambda: project(Nonlinear(sphere, data=jnp.ones(3), batch_ndim=1), jnp.ones((2, 2))), ValueError, "does not fit"),
        (lambda: project(Nonlinear(sphere, data=1.0), jnp.ones(2, complex)), TypeError, "real numbers"),
    ],
)
def test_bad_input_is_refused_by_name(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.slow
def test_conditions_that_are_not_finite_are_reported():
    point, info = project(Nonlinear(lambda x, _: jnp.log(x[0])), jnp.array([[-1.0], [2.0]]))
    assert info.status.tolist() == [NOT_FINITE, CONVERGED]
    assert jnp.isfinite(point).all()
    assert js.constraints.STATUS[int(info.status[0])].startswith("not finite")
