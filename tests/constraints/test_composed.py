"""Intersections, parts, entries: the common nearest point, its derivatives, and what there is none of."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.constraints
N = 4
KEYS = jax.random.split(jax.random.key(0), 4)
Y = 3 * jax.random.normal(KEYS[0], (60, N))
A = jax.random.normal(KEYS[1], (N,))


def lens(radius, normal, offset):
    return c.Ball(radius) & c.HalfSpace(normal, offset)


DATA = (jnp.asarray(1.5), A, jnp.asarray(-0.4))


@pytest.mark.slow
def test_ball_and_half_space_against_the_closed_form():
    """Where both bind, the point lies on a circle of known middle and radius; a NaN and an empty member beside it."""
    batch = jnp.full(len(Y), -0.4).at[7].set(-9.0)
    f = jax.jit(lambda y, offset: lens(1.5, A, offset).project(y))
    y = Y.at[3].set(jnp.nan)
    x, info = f(y, batch)
    status = np.asarray(info.status)
    assert status[3] == c.NOT_FINITE
    assert status[7] == c.INFEASIBLE
    assert (np.delete(status, [3, 7]) == c.CONVERGED).all()
    assert np.isfinite(x).all()
    assert float(np.delete(info.residual, [3, 7]).max()) <= 2e-14
    middle = -0.4 * A / (A @ A)
    along = Y - (Y @ A / (A @ A))[:, None] * A
    circle = middle + along * (jnp.sqrt(1.5**2 - middle @ middle) / jnp.linalg.norm(along, axis=-1))[:, None]
    ball = c.Ball(1.5).project(Y)[0]
    plane = Y - jnp.maximum(Y @ A + 0.4, 0)[:, None] * A / (A @ A)
    exact = jnp.where((ball @ A <= -0.4)[:, None], ball, circle)
    exact = jnp.where((jnp.linalg.norm(plane, axis=-1) <= 1.5)[:, None], plane, exact)
    np.testing.assert_allclose(np.delete(x, [3, 7], 0), np.delete(exact, [3, 7], 0), atol=1e-13)
    # Where the sets do not meet: half way between the ball's point nearest to the plane and the plane.
    gap = -A / jnp.linalg.norm(A)
    np.testing.assert_allclose(x[7], gap * (1.5 + 9 / jnp.linalg.norm(A)) / 2, atol=0.05)
    alone = f(y[:1], batch[:1])[0]
    np.testing.assert_allclose(alone[0], x[0], atol=1e-14)


@pytest.mark.slow
def test_derivatives_of_an_intersection_in_everything():
    """Both sets bind; jvp, vjp and the Hessian against central differences."""
    flat, back = jax.flatten_util.ravel_pytree((2 * Y[0] / jnp.linalg.norm(Y[0]) + A, *DATA))
    f = lambda v: lens(*back(v)[1:]).project(back(v)[0])[0]
    g = lambda v: jnp.sum(jnp.sin(f(v) * jnp.arange(1, N + 1)))
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
    assert abs(float(jnp.linalg.norm(f(flat))) - 1.5) < 1e-13
    assert abs(float(A @ f(flat) + 0.4)) < 1e-13
    np.testing.assert_allclose(forward, (values[: flat.size] - values[flat.size :]).T / (2 * h), atol=2e-9)
    np.testing.assert_allclose(reverse, forward, atol=1e-12)
    np.testing.assert_allclose(hessian, (gradients[: flat.size] - gradients[flat.size :]) / (2 * h), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [
        (c.SecondOrderCone(), c.Ball(1.0, 0.4), c.Monotone()),  # whose apex lies inside of the ball
        (c.Simplex(), c.Monotone(), c.Convex()),
        (c.HalfSpace(A, -1.0), c.HalfSpace(-A, 1.0)),
        (c.Simplex(), c.HalfSpace(A, float(A.min()) + 0.3)),
        (c.Simplex(), c.Simplex()),
    ],
    ids=lambda members: " ".join(type(m).__name__ for m in members),
)
def test_intersections_of_many_kinds(members):
    """Feasible at round-off, and nearest: no other of the points found is on y's side of the tangent plane."""
    whole = c.Intersection(members)
    f = jax.jit(whole.project)
    x, info = f(Y)
    assert bool(info.converged.all())
    assert float(info.residual.max()) <= 1e-12
    far = Y - x
    assert float((far @ x.T - jnp.sum(far * x, axis=-1, keepdims=True)).max()) <= 1e-11
    warm, again = jax.jit(lambda y, warm: whole.project(y, warm=warm))(Y, info.warm)
    np.testing.assert_allclose(warm, x, atol=1e-11)
    assert float(again.steps.mean()) < float(info.steps.mean()) or int(info.steps.max()) == 1
    jacobians = jax.jit(jax.vmap(jax.jacrev(lambda y: whole.project(y)[0])))(Y)
    np.testing.assert_allclose(jacobians, jnp.swapaxes(jacobians, 1, 2), atol=1e-8)  # of a projection: symmetric
    eigenvalues = jnp.linalg.eigvalsh(jacobians)
    assert float(eigenvalues.min()) >= -1e-8
    assert float(eigenvalues.max()) <= 1 + 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [
        (c.Ball(1.0), c.Ball(1.0, 1.5)),
        (c.HalfSpace(A, -1.0), c.HalfSpace(-A, 0.9)),
        (c.Simplex(), c.HalfSpace(A, float(A.min()) - 0.3), c.Ball(0.7), c.Monotone()),
    ],
    ids=str,
)
def test_sets_that_do_not_meet(members):
    f = jax.jit(lambda y, dy: jax.jvp(c.Intersection(members).project, (y,), (dy,)))
    (x, info), (dx, _) = f(Y, Y)
    assert (info.status == c.INFEASIBLE).all()
    assert np.isfinite(x).all()
    assert np.isfinite(dx).all()
    assert float(info.residual.min()) > 0.01


@pytest.mark.slow
def test_parts_and_entries():
    parts = c.Parts(
        {"shares": c.Simplex(), "field": c.Parts({"u": c.On(c.Ball(1.0), [0, -1]), "v": c.On(c.Simplex(), slice(1, 3))})}
    )
    y = {"shares": Y, "field": {"u": Y, "v": Y}, "free": "as it is"}
    x, info = parts.project(y)
    np.testing.assert_array_equal(x["shares"], c.Simplex().project(Y)[0])
    np.testing.assert_array_equal(x["field"]["u"][:, 1:3], Y[:, 1:3])
    np.testing.assert_array_equal(x["field"]["u"][:, [0, 3]], c.Ball(1.0).project(Y[:, [0, 3]])[0])
    np.testing.assert_array_equal(x["field"]["v"][:, [0, 3]], Y[:, [0, 3]])
    np.testing.assert_array_equal(x["field"]["v"][:, 1:3], c.Simplex().project(Y[:, 1:3])[0])
    assert x["free"] == "as it is"
    assert info.converged.shape == (60,)
    assert set(info.active) == {"shares", "field"}
    assert parts.check(x) is x
    assert parts.residual(y).shape == (60, 5 + 1 + 3)
    np.testing.assert_allclose(parts.penalty(x), 0, atol=1e-28)
    with pytest.raises(ValueError, match="part 'shares': Simplex: violated in 60 of 60 points"):
        parts.check(y)
    _, broken = parts.project({**y, "shares": Y.at[2].set(jnp.inf)})
    assert broken.status[:4].tolist() == [0, 0, c.NOT_FINITE, 0]


@pytest.mark.slow
def test_polytopes_and_half_spaces_are_one_polytope():
    plane, box = c.Polytope(A[None], jnp.zeros(1)), c.Polytope(lower=-0.5, upper=0.7)
    side = c.HalfSpace(jnp.ones(N), 0.1)
    together = c.Polytope(A[None], jnp.zeros(1), -0.5, 0.7, C=jnp.ones((1, N)), C_upper=jnp.array([0.1]))
    x, info = jax.jit(lambda y: (plane & box & side).project(y))(Y)
    expected, _ = jax.jit(together.project)(Y)
    assert (np.asarray(info.status) == c.CONVERGED).all()
    np.testing.assert_allclose(x, expected, atol=1e-12)
    assert bool((x.sum(axis=-1) > 0.1 - 1e-9).any())  # the half-space binds somewhere


def test_bad_compositions_are_refused_by_name():
    ball = c.Ball(1.0)
    with pytest.raises(TypeError, match=r"Ball & ...: a constraint can only be intersected with another, got float"):
        ball & 1.0
    with pytest.raises(TypeError, match="Intersection: give a list"):
        c.Intersection(ball)
    with pytest.raises(TypeError, match="Intersection: members must be constraints, got int"):
        c.Intersection([ball, 3])
    with pytest.raises(ValueError, match=r"equally many axes, got Ball \(1\), PositiveSemidefinite \(2\)"):
        ball & c.PositiveSemidefinite()
    with pytest.raises(TypeError, match="Parts cannot be a member"):
        ball & c.Parts({"a": ball})
    with pytest.raises(TypeError, match="Parts: 'a' must be a constraint"):
        c.Parts({"a": 1.0})
    with pytest.raises(TypeError, match="Parts: points are dictionaries"):
        c.Parts({"a": ball}).project(Y)
    with pytest.raises(KeyError, match="'a' missing"):
        c.Parts({"a": ball}).project({"b": Y})
    with pytest.raises(TypeError, match="On: index must be a slice or places"):
        c.On(ball, 3)
    with pytest.raises(ValueError, match="On: places must be distinct"):
        c.On(ball, [1, 1])
    with pytest.raises(ValueError, match="On: places must lie in points of 4 entries"):
        c.On(ball, [1, 4]).project(Y)
    with pytest.raises(ValueError, match="On: the constraint must be on points with one axis"):
        c.On(c.PositiveSemidefinite(), [0, 1])
    assert len((ball & ball & (ball & ball)).constraints) == 4
