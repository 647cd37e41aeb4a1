"""Values, slopes and Robin conditions hold to round-off whatever the function: edges and corners, discs, boxes, periods."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.constraints import hold_boundary, hold_periodic

# The compiler takes all the time here, the programs none: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RANDOM = np.random.default_rng(0)
FIRST, BIAS, LAST = (jnp.asarray(RANDOM.normal(size=s)) for s in ((2, 8), 8, 8))
f = lambda x, y: x**2 + x * y + y  # an exact solution: its values and slopes agree in all corners
fx = lambda x, y: 2 * x + y
fy = lambda x, y: x + 1
DART = js.Polygon([(0, 0), (2, -1), (0.8, 0), (2, 1)])  # the third corner is re-entrant
L = js.Polygon([(0, 0), (2, 0), (2, 1), (1, 1.2), (0.8, 2), (0, 2.2)])  # no right angles but one; one corner is re-entrant


def network(x):
    return jnp.tanh(x @ FIRST.astype(x.dtype) + BIAS.astype(x.dtype)) @ LAST.astype(x.dtype)


def along(n):
    """The exact slope along a direction."""
    return lambda x, y: float(n[0]) * fx(x, y) + float(n[1]) * fy(x, y)


def robin(n):
    return lambda x, y: along(n)(x, y) + 1.5 * f(x, y)


def sides(kinds, inside=True, shape=L):
    """(kind, start, end, normal out of the domain, condition) by edge."""
    corners = np.array(shape.vertices)
    for kind, a, b in zip(kinds, corners, np.roll(corners, -1, 0), strict=True):
        t = (b - a) / np.linalg.norm(b - a)
        n = np.array([t[1], -t[0]]) * (1 if inside else -1)
        held = {"D": js.Dirichlet(f), "N": js.Neumann(along(n)), "R": js.Robin(1.5, robin(n)), "-": None}[kind]
        yield kind, a, b, n, held


def gaps(u, kinds, inside=True, dtype=float, shape=L):
    """The largest violation on each edge, near its corners too, and the field in the corners."""
    fractions = np.concatenate([RANDOM.uniform(0, 1, 30), [1e-6, 1e-3, 1 - 1e-3, 1 - 1e-6]])
    edges = list(sides(kinds, inside, shape))
    points = np.stack([a + fractions[:, None] * (b - a) for _, a, b, *_ in edges])
    corners = np.array(shape.vertices)[None].repeat(len(edges), 0)
    points = np.concatenate([points, corners], axis=1)
    values, slopes = jit(jax.vmap(jax.vmap(lambda x: (u(x), jax.jacfwd(u)(x)))))(jnp.asarray(points, dtype))
    count, found = len(fractions), []
    x, y = points[..., 0], points[..., 1]
    exact, gradient = x**2 + x * y + y, np.stack([2 * x + y, x + 1], -1)
    for i, (kind, _, _, n, _) in enumerate(edges):
        value, slope = values[i, :count] - exact[i, :count], (slopes[i, :count] - gradient[i, :count]) @ n
        found.append(float(np.abs({"D": value, "N": slope, "R": slope + 1.5 * value, "-": 0 * value}[kind]).max()))
    return found, values[0, count:] - exact[0, count:], slopes[0, count:] - gradient[0, count:]


@pytest.mark.parametrize(
    ("kinds", "inside"),
    [
        ("DNRD", True),
        pytest.param("DNRNDD", True, marks=pytest.mark.slow),
        pytest.param("DDDDDD", True, marks=pytest.mark.slow),
        pytest.param("NNNNNN", True, marks=pytest.mark.slow),
        pytest.param("RRNRRR", True, marks=pytest.mark.slow),
        pytest.param("D-DNNR", True, marks=pytest.mark.slow),
        pytest.param("DNRDNR", False, marks=pytest.mark.slow),
    ],
)
def test_a_polygon_with_corners_holds_every_kind_to_round_off(kinds, inside):
    shape = DART if len(kinds) == 4 else L
    conditions = tuple(held for *_, held in sides(kinds, inside, shape))
    u = hold_boundary(network, {(~shape if inside else shape): conditions})
    found, values, slopes = gaps(u, kinds, inside, shape=shape)
    assert max(found) < 2e-13, found
    for i, (before, after) in enumerate(zip(kinds[-1] + kinds[:-1], kinds, strict=True)):  # in the corner itself
        if "D" in before + after:
            assert abs(values[i]) < 1e-13
        elif before + after == "NN":
            assert np.abs(slopes[i]).max() < 1e-12
        if before + after == "DD":
            assert np.abs(slopes[i]).max() < 1e-12


def test_the_control_a_plain_network_violates():
    assert min(gaps(network, "DNRNDD")[0]) > 0.1


@pytest.mark.slow
def test_the_control_a_wrong_normal_is_seen():
    kinds = "DNRNDD"
    wrong = hold_boundary(network, {L: tuple(held for *_, held in sides(kinds))})  # the slopes of the inside, held outside
    found = gaps(wrong, kinds)[0]
    assert min(found[1:4]) > 0.1  # slopes and Robin
    assert max(found[0], *found[4:]) < 1e-13  # values have no side


@pytest.mark.slow
@pytest.mark.parametrize("kinds", ["DDDDDD", "NNNNNN", "DNRNDD"])
def test_second_derivatives_stay_bounded_at_corners(kinds):
    u = hold_boundary(network, {~L: tuple(held for *_, held in sides(kinds))})
    hessian = jit(jax.vmap(jax.hessian(u)))
    largest = []
    for radius in (1e-1, 1e-3, 1e-5):
        angle = np.random.default_rng(1).uniform(0, 2 * np.pi, 40)
        around = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        points = (np.array(L.vertices)[:, None] + around).reshape(-1, 2)
        inside = np.asarray(L(*map(jnp.asarray, points.T))) < 0
        largest.append(float(np.abs(hessian(jnp.asarray(points)))[inside].max()))
    assert max(largest) < 200
    assert largest[2] < 3 * largest[1]  # a singularity would grow a hundredfold


def test_a_disc_and_a_ring_hold_different_kinds():
    ring = {~js.Disc((0.0, 0.0), 2.0): js.Robin(0.5, lambda x: x), js.Disc((0.3, 0.2), 0.5): js.Dirichlet(lambda y: y)}
    u = hold_boundary(network, ring)
    angle = np.linspace(0, 6, 30)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    value_and_slope = jit(jax.vmap(jax.value_and_grad(u)))
    outer, inner = jnp.asarray(2 * circle), jnp.asarray(0.5 * circle + [0.3, 0.2])
    value, slope = value_and_slope(outer)
    np.testing.assert_allclose(np.sum(slope * circle, -1) + 0.5 * value, outer[:, 0], atol=1e-13)
    np.testing.assert_allclose(value_and_slope(inner)[0], inner[:, 1], atol=1e-14)
    assert np.std(value) > 0.1


@pytest.mark.slow
def test_boxes_hold_all_kinds_in_one_and_two_dimensions():
    box = js.Box(x=(0, 2), y=(-1, 1))
    held = {"x": (js.Dirichlet(f), js.Neumann(fx)), "y": (js.Robin(1.0, lambda x, y: f(x, y) - fy(x, y)), js.Dirichlet(f))}
    u = hold_boundary(network, held, box=box)
    s = jnp.linspace(0, 1, 9)
    value_and_slope = jit(jax.vmap(jax.value_and_grad(u)))
    exact = jit(jax.vmap(jax.value_and_grad(lambda x: x[0] ** 2 + x[0] * x[1] + x[1])))
    for i, (fixed, which) in enumerate([((0, 0.0), "D"), ((0, 2.0), "N"), ((1, -1.0), "R"), ((1, 1.0), "D")]):
        axis, at = fixed
        other = 2 * s if axis else 2 * s - 1
        points = jnp.stack([jnp.full(9, at), other] if axis == 0 else [other, jnp.full(9, at)], -1)
        (value, slope), (v, g) = value_and_slope(points), exact(points)
        gap = {"D": value - v, "N": slope[:, axis] - g[:, axis], "R": value - v - (slope - g)[:, 1]}[which]
        assert float(jnp.abs(gap).max()) < 1e-13, i
    line = hold_boundary(lambda x: jnp.sin(5 * x[0]), {"x": (js.Neumann(2), js.Dirichlet(1))}, box=js.Box(x=(0, 1)))
    np.testing.assert_allclose(jax.grad(lambda x: line(x[None]))(0.0), 2.0, rtol=1e-14)
    np.testing.assert_allclose(line(jnp.array([1.0])), 1.0, rtol=1e-14)


@pytest.mark.slow
def test_periods_with_a_wall_along_the_other_axis():
    inside = hold_periodic(lambda z: jnp.sin(z[0] + 2 * z[1] * z[2]) + z[2], (2.0, None))
    u = hold_boundary(inside, {js.HalfPlane((0, 0), (0, 1)): js.Dirichlet(lambda x: js.cos(np.pi * x))})
    points = jnp.asarray(RANDOM.uniform(0, 1, (10, 2)))
    jets = jit(jax.vmap(lambda x: (u(x), jax.grad(u)(x), jax.hessian(u)(x))))
    for here, there in zip(jets(points), jets(points + jnp.array([2.0, 0.0])), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-12)
    wall = points.at[:, 1].set(0)
    np.testing.assert_allclose(jax.vmap(u)(wall), jnp.cos(jnp.pi * wall[:, 0]), atol=1e-15)
    assert float(jnp.ptp(jax.vmap(u)(points))) > 0.3


@pytest.mark.slow
def test_data_are_differentiated_and_several_values_hold_together():
    room = ~js.problems.rectangle((0, 1), (0, 1))
    held = (js.Dirichlet(lambda x, k: k * x), js.Dirichlet(lambda k, y: k + 0 * y), None, js.Neumann(lambda k: k))
    pair = lambda x: jnp.stack([jnp.sin(x[0] + 2 * x[1]), x[0] * x[1]])

    @jax.jit
    def values(k, x):
        return hold_boundary(pair, {room: held}, coefficients={"k": k})(x)

    x = jnp.asarray(RANDOM.uniform(0.1, 0.9, (3, 4, 2)))
    assert values(2.0, x).shape == (3, 4, 2)
    bottom = jnp.array([0.3, 0.0])
    np.testing.assert_allclose(values(2.0, bottom), [0.6, 0.6], atol=1e-15)
    slope = jax.jvp(lambda k: values(k, x), (2.0,), (1.0,))[1]
    np.testing.assert_allclose(slope, (values(2.001, x) - values(1.999, x)) / 0.002, atol=1e-9)
    np.testing.assert_allclose(jax.grad(lambda k: values(k, x).sum())(2.0), slope.sum(), rtol=1e-12)
    np.testing.assert_allclose(jax.jvp(lambda k: values(k, bottom), (2.0,), (1.0,))[1], 0.3, rtol=1e-14)


@pytest.mark.slow
def test_float32():
    kinds = "DNRNDD"
    with jax.enable_x64(False):
        u = hold_boundary(network, {~L: tuple(held for *_, held in sides(kinds))})
        found, values, _ = gaps(u, kinds, dtype=jnp.float32)
    assert values.dtype == np.float64 or values.dtype == np.float32
    assert max(found) < 2e-4, found


SQUARE = js.problems.rectangle((0, 1), (0, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hold_boundary(network, {~SQUARE: (js.Dirichlet(0), js.Dirichlet(1), None, None)}),
         r"edge 0 of the polygon and edge 1 of the polygon prescribe the values 0.0 and 1.0 in their corner \(1.0, 0.0\)"),
        (lambda: hold_boundary(network, {"x": (js.Dirichlet(0), ()), "y": (js.Dirichlet(1), ())}, box=js.Box(x=(0, 1), y=(0, 1))),
         "the wall x = 0 disagrees by 1 with what the other walls"),
        (lambda: hold_boundary(network, {~SQUARE: (js.Dirichlet(0),)}), "1 conditions for a polygon with 4 edges"),
        (lambda: hold_boundary(network, {"x": js.Dirichlet(0)}), "by axis with box="),
        (lambda: hold_boundary(network, {"z": js.Dirichlet(0)}, box=js.Box(x=(0, 1))), "give conditions by axis, x; got 'z'"),
        (lambda: hold_boundary(network, {}), "conditions are a dictionary"),
        (lambda: hold_boundary(network, {~SQUARE: js.Dirichlet(u=0)}), "without names"),
        (lambda: hold_boundary(network, {"x": js.Periodic()}, box=js.Box(x=(0, 1))), "is periodic; give the function"),
        (lambda: hold_periodic(network, (1.0,))(jnp.ones(2)), "1 periods for points with 2 coordinates"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
