"""Half-spaces, the simplex, balls, cones, shapes and symmetries: nearest points, derivatives, batches, bad input."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxsci as js

c = js.constraints
N = 5
KEYS = jax.random.split(jax.random.key(0), 8)
Y = 2 * jax.random.normal(KEYS[0], (40, N))
A = jax.random.normal(KEYS[1], (N,))
CENTER = jax.random.normal(KEYS[2], (N,)) / 2
T = jnp.array([0.0, 0.5, 1.5, 2.0, 3.5])
MATRICES = jax.random.normal(KEYS[3], (12, 4, 4))

# name: the constraint of its numbers, those numbers, points
CASES = {
    "half-space": (c.HalfSpace, (A, jnp.asarray(-0.5)), Y),
    "simplex": (c.Simplex, (jnp.asarray(1.5),), Y),
    "ball": (c.Ball, (jnp.asarray(1.2), CENTER), Y),
    "second-order cone": (c.SecondOrderCone, (jnp.asarray(0.7),), Y),
    "semidefinite": (c.PositiveSemidefinite, (jnp.asarray(0.1),), MATRICES),
    "monotone": (c.Monotone, (jnp.asarray(0.2),), Y),
    "falling": (lambda gap: c.Monotone(gap, decreasing=True), (jnp.asarray(0.0),), Y),
    "convex": (c.Convex, (T,), Y),
    "concave": (lambda t: c.Convex(t, concave=True), (T,), Y),
    "even": (lambda: c.Symmetric(c.reflections((N,))), (), Y),
}
MIRRORED = {"concave", "falling"}
every = pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in MIRRORED else ()) for n in CASES])


def projected(make):
    return lambda y, *data: make(*data).project(y)[0]


@every
def test_points_are_in_the_set_and_nearest(name):
    make, data, y = CASES[name]
    constraint = make(*data)
    f = jax.jit(lambda y: (*constraint.project(y), constraint.penalty(constraint.project(y)[0])))
    x, info, penalty = f(y)
    assert bool(info.converged.all())
    assert float(info.residual.max()) <= 3e-15
    # For a convex set x is nearest if and only if no point c of the set has (y - x) . (c - x) > 0.
    far, points, others = (np.asarray(v).reshape(len(y), -1) for v in (y - x, x, x))
    angles = far @ others.T - np.sum(far * points, axis=-1, keepdims=True)
    assert angles.max() <= 1e-13
    assert np.abs(far).max() > 0.1  # there was something to do
    np.testing.assert_allclose(f(x)[0], x, atol=3e-15)
    assert float(penalty.max()) <= 1e-28
    x32, info32, _ = f(y.astype(jnp.float32))
    assert x32.dtype == jnp.float32
    assert float(info32.residual.max()) <= 1e-6
    np.testing.assert_allclose(x32, x, atol=5e-6)


def default(*names):
    """All cases, those not named among the slow tests: they take long to compile."""
    return [pytest.param(n, marks=() if n in names else pytest.mark.slow) for n in CASES]


@pytest.mark.parametrize("name", default("half-space", "simplex", "second-order cone"))
def test_derivatives_in_the_point_and_all_numbers(name):
    """jvp, vjp, jacfwd, jacrev and the Hessian of a function of the point, against central differences."""
    make, data, y = CASES[name]
    args = (y[0], *data)
    flat, back = jax.flatten_util.ravel_pytree(args)
    f = lambda v: projected(make)(*back(v)).ravel()
    weights = jnp.cos(jnp.arange(y[0].size))
    g = lambda v: jnp.sum(jnp.sin(weights * f(v)))
    h = 1e-5
    near = jnp.concatenate([flat + h * jnp.eye(flat.size), flat - h * jnp.eye(flat.size)])
    forward, reverse, hessian, gradients, values = jax.jit(
        lambda v, near: (
            jax.jacfwd(f)(v),
            jax.jacrev(f)(v),
            jax.hessian(g)(v),
            jax.vmap(jax.grad(g))(near),
            jax.vmap(f)(near),
        )
    )(flat, near)
    np.testing.assert_allclose(forward, (values[: flat.size] - values[flat.size :]).T / (2 * h), atol=2e-9)
    np.testing.assert_allclose(reverse, forward, atol=1e-13)
    np.testing.assert_allclose(hessian, (gradients[: flat.size] - gradients[flat.size :]) / (2 * h), atol=2e-8)


@pytest.mark.parametrize("name", default("simplex", "ball", "monotone"))
def test_members_do_not_see_each_other(name):
    """A batch, of points and of all numbers, is its members one by one, and a NaN stays where it is."""
    make, data, y = CASES[name]
    many = [jnp.stack([d + 0.01 * i for i in range(3)]) for d in data]
    f = lambda y, *data: make(*data).project(y)
    together, batched = jax.jit(f), jax.jit(jax.vmap(f))
    x, _ = together(y[:3], *many)
    np.testing.assert_allclose(x, batched(y[:3], *many)[0], atol=1e-14)
    broken, info = together(y[:3].at[1].set(jnp.nan), *many)
    assert np.isfinite(broken).all()
    assert info.status.tolist() == [c.CONVERGED, c.NOT_FINITE, c.CONVERGED]
    np.testing.assert_allclose(broken[::2], x[::2], atol=1e-14)


@pytest.mark.slow
def test_where_pieces_meet_the_derivative_is_that_of_the_inside():
    for constraint, y in ((c.HalfSpace(A, A @ A), A), (c.Ball(0.0), jnp.zeros(N)), (c.Monotone(), jnp.ones(N))):
        np.testing.assert_array_equal(jax.jit(jax.jacobian(lambda y, f=constraint: f.project(y)[0]))(y), jnp.eye(N))
    for constraint in (c.SecondOrderCone(), c.Ball(1.0), c.Simplex()):
        hessians = jax.jit(jax.vmap(jax.hessian(lambda y, f=constraint: jnp.sum(f.project(y)[0] ** 3))))
        assert np.isfinite(hessians(jnp.stack([jnp.zeros(N), jnp.ones(N), -jnp.eye(N)[-1], jnp.eye(N)[-1]]))).all()


def test_empty_sets_are_said_to_be_empty():
    for constraint in (c.HalfSpace(jnp.zeros(N), -1.0), c.Simplex(-1.0), c.Ball(-0.1), c.SecondOrderCone(-1.0)):
        (x, info), tangent = jax.jit(lambda y, dy, f=constraint: jax.jvp(f.project, (y,), (dy,)))(Y[:2], Y[2:4])
        assert info.status.tolist() == [c.INFEASIBLE] * 2
        assert np.isfinite(x).all()
        assert np.isfinite(tangent[0]).all()
    mixed = c.Simplex(jnp.array([1.0, -1.0, 0.0])).project(Y[:3])[1]
    assert mixed.status.tolist() == [c.CONVERGED, c.INFEASIBLE, c.CONVERGED]


@pytest.mark.slow
def test_simplex_far_away_and_of_nothing():
    x, info = c.Simplex().project(jnp.array([1e9, 1e9 + 0.5, -1e9]))
    np.testing.assert_allclose(x, [0.25, 0.75, 0.0], atol=1e-15)
    assert info.active.tolist() == [0, 0, -1]
    np.testing.assert_array_equal(c.Simplex(0.0).project(Y)[0], 0)


def test_equal_eigenvalues():
    """The derivative where eigh's own is NaN, against the divided differences written out."""
    q, _ = np.linalg.qr(np.asarray(MATRICES[0]))
    values = np.array([2.0, 2.0, -1.0, -1.0])
    x = jnp.asarray(q * values @ q.T)
    dx = np.asarray(MATRICES[1] + MATRICES[1].T)
    f = jax.jit(lambda x: c.PositiveSemidefinite().project(x)[0])
    ratios = np.where(values[:, None] == values, values > 0, 2 / 3)
    exact = q @ (ratios * (q.T @ dx @ q)) @ q.T
    np.testing.assert_allclose(jax.jvp(f, (x,), (dx,))[1], exact, atol=1e-14)
    np.testing.assert_allclose(jax.vjp(f, x)[1](dx)[0], exact, atol=1e-14)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(f(x) * dx)))
    second = jax.jvp(gradient, (x,), (dx,))[1]
    h = 1e-5
    np.testing.assert_allclose(second, (gradient(x + h * dx) - gradient(x - h * dx)) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(jax.jvp(f, (0 * x,), (dx,))[1], dx / 2)  # in the apex: the mean of both sides
    assert not np.isfinite(jax.jvp(lambda x: jnp.linalg.eigh(x)[1], (jnp.eye(4),), (dx,))[1]).all()


@pytest.mark.slow
def test_semidefinite_residual_and_penalty():
    cone = c.PositiveSemidefinite(0.5)
    x = jnp.diag(jnp.array([0.5, 0.2, 1.0])).at[0, 1].set(0.125)
    assert cone.residual(x).shape == (6,)
    with pytest.raises(ValueError, match=r"PositiveSemidefinite: violated, by 0\.3"):
        cone.check(jnp.diag(jnp.array([0.5, 0.2, 1.0])))
    gradient = jax.grad(cone.penalty)(x)
    np.testing.assert_allclose(gradient, x - cone.project(x)[0], atol=1e-15)


def test_monotone_is_isotonic_regression():
    """Against the min-max formula, on long and adverse sequences."""
    rng = np.random.default_rng(0)
    monotone = jax.jit(c.Monotone().project)
    for y in (rng.normal(size=80), -(np.arange(80.0) ** 2), np.round(rng.normal(size=80)), np.sin(np.arange(80))):
        sums = np.concatenate([[0], np.cumsum(y)])
        i, j = np.indices((80, 80))
        means = np.where(i <= j, (sums[j + 1] - sums[i]) / np.maximum(j - i + 1, 1), np.nan)
        exact = [max(means[a, k:].min() for a in range(k + 1)) for k in range(80)]
        x, info = monotone(jnp.asarray(y))
        np.testing.assert_allclose(x, exact, atol=1e-13 * np.abs(y).max())
        assert bool(info.converged)


@pytest.mark.parametrize("n", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_convex_satisfies_its_optimality_conditions(n):
    """Slopes that do not fall, multipliers that are not negative, one of both zero; from noise to nearly convex."""
    noise = jax.random.normal(KEYS[4], (60, n))
    t = jnp.linspace(0, 1, n)
    convex = jax.jit(c.Convex().project)
    for y in (noise, 0.1 * noise + jnp.sin(5 * t), jnp.cumsum(jnp.cumsum(noise, -1), -1), 1e-9 * noise + t**2):
        x, info = convex(y)
        scale = float(jnp.abs(y).max())
        bends = np.diff(x, 2)
        multipliers = np.cumsum(np.cumsum(x - y, axis=-1), axis=-1)[:, :-2]
        assert bool(info.converged.all())
        assert bends.min() >= -4e-15 * scale
        assert multipliers.min() >= -1e-14 * n * scale
        assert np.abs(multipliers * bends).max() <= 1e-14 * n * scale**2
        assert np.abs(np.sum(x - y, axis=-1)).max() <= 1e-14 * n * scale
        assert int(info.steps.max()) <= 3 * n
    x, info = jax.jit(lambda y: c.Convex().project(y, max_steps=1))(noise)
    assert (np.asarray(info.status) == c.MAX_STEPS).any()
    assert np.isfinite(x).all()


def test_groups():
    turns = c.quarter_turns((3, 3))
    square = turns * c.reflections((3, 3), (0,))
    assert (turns.order, square.order, c.cyclic_shifts((6,), step=2).order) == (4, 8, 3)
    assert square == c.reflections((3, 3), (1,)) * turns
    assert hash(square) == hash(c.reflections((3, 3), (1,)) * turns)
    assert square != turns
    y = jax.random.normal(KEYS[5], (2, 3, 3))
    x = c.Symmetric(square).project(y)[0]
    for image in (jnp.rot90(x, axes=(1, 2)), x[:, ::-1], x[:, :, ::-1], jnp.swapaxes(x, 1, 2)):
        np.testing.assert_allclose(image, x, atol=1e-15)
    odd = c.Symmetric(c.reflections((N,), odd=True)).project(Y)[0]
    np.testing.assert_allclose(odd, -odd[:, ::-1], atol=1e-15)
    periodic = c.Symmetric(c.cyclic_shifts((6,), step=2)).project(jnp.arange(6.0))[0]
    np.testing.assert_allclose(periodic, [2, 3, 2, 3, 2, 3])
    assert c.Symmetric(square).residual(y).shape == (2, 9)
    jax.jit(lambda s, y: s.project(y))(c.Symmetric(turns), y)  # static, hashed


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="HalfSpace: normal must be a vector"):
        c.HalfSpace(1.0, 1.0)
    with pytest.raises(ValueError, match="HalfSpace: offset holds NaN"):
        c.HalfSpace(A, jnp.nan)
    with pytest.raises(ValueError, match=r"HalfSpace: normal has the shape \(5,\) but points have 3 entries"):
        c.HalfSpace(A, 1.0).project(jnp.ones(3))
    with pytest.raises(ValueError, match="Ball: center has the shape"):
        c.Ball(1.0, CENTER).project(jnp.ones(3))
    with pytest.raises(TypeError, match="Simplex: total must be real numbers"):
        c.Simplex([1j])
    with pytest.raises(ValueError, match=r"SecondOrderCone: a point .* has at least two entries"):
        c.SecondOrderCone().project(jnp.ones(1))
    with pytest.raises(ValueError, match="PositiveSemidefinite: points are square"):
        c.PositiveSemidefinite().project(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="Convex: positions must rise"):
        c.Convex(jnp.array([0.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="Convex: positions have the shape"):
        c.Convex(T).project(jnp.ones(3))
    with pytest.raises(TypeError, match="Symmetric: give a Group"):
        c.Symmetric(3)
    with pytest.raises(ValueError, match="Symmetric: the group acts on points of shape"):
        c.Symmetric(c.reflections((4,))).project(jnp.ones(3))
    with pytest.raises(ValueError, match=r"Group: permutations must be rows that hold each of 0 .. 2 once"):
        c.Group((3,), [0, 0, 1])
    with pytest.raises(ValueError, match="Group: signs must be"):
        c.Group((3,), [0, 2, 1], [2, 1, 1])
    with pytest.raises(ValueError, match="more than 10000 elements"):
        c.Group((9,), [[1, 2, 3, 4, 5, 6, 7, 8, 0], [1, 0, 2, 3, 4, 5, 6, 7, 8]])
    with pytest.raises(ValueError, match="points of one shape"):
        c.reflections((3,)) * c.reflections((4,))
    with pytest.raises(ValueError, match="quarter_turns: the two axes"):
        c.quarter_turns((3, 4))
    with pytest.raises(TypeError, match=r"Ball: radius must be an array of real numbers.* got str"):
        c.Ball("a")
    with pytest.raises(TypeError, match=r"BCOO.from_scipy_sparse\), got csr_matrix"):
        c.Polytope(scipy.sparse.csr_matrix(np.eye(2)), jnp.ones(2))
    with pytest.raises(ValueError, match="DivergenceFreeSpectral: lengths must be positive"):
        c.DivergenceFreeSpectral((1.0, -1.0))


def test_what_projects_passes_the_check_whatever_its_size():
    """In single precision, where sums of large entries round by more than small ones."""
    draw = np.random.default_rng(0)
    for made, points in (
        (c.Simplex(100.0), draw.normal(size=(50, 40)) * 100),
        (c.Ball(1000.0), draw.normal(size=(50, 9)) * 1e4),
    ):
        point, info = made.project(jnp.asarray(points, jnp.float32))
        assert info.converged.all()
        made.check(point)
        with pytest.raises(ValueError, match="or give tol"):
            made.check(point * 1.001)


def test_a_radius_and_a_total_of_zero_have_the_derivative_from_above():
    y = jnp.array([3.0, 4.0])
    assert jax.jacobian(lambda r: c.Ball(r).project(y)[0])(0.0).tolist() == pytest.approx([0.6, 0.8])
    assert jax.jacobian(lambda t: c.Simplex(t).project(y)[0])(0.0).tolist() == [0.0, 1.0]


@pytest.mark.slow
def test_numbers_that_cannot_be_moved_are_no_false_alarm():
    """A source with a mean that no field with periods has; below a radius of zero there is no ball."""
    cells = c.DivergenceFreeDiscrete((jnp.array([0.1, 0.2, 0.3]), 0.1), periodic=(False, True))
    found = c.check_gradient(cells, jax.random.normal(jax.random.key(0), (2, 3, 4)))
    assert found.good
    assert found.degenerate
    assert c.check_gradient(c.Ball(0.0), jnp.array([3.0, 4.0])).good
    assert c.check_gradient(c.Simplex(), jnp.array([1, 0, 3])).good
