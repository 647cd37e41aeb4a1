"""Shapes: who is inside, that the distance has slope one on the boundary, and how sets combine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import rectangle
from jaxsci.problems.geometry import boundary_points

BOX = ((-2.0, 2.0), (-2.0, 2.0))
POINTS = np.random.default_rng(0).uniform(-2, 2, size=(2, 2000))
DISC, SQUARE, FLOOR = js.Disc((0.3, 0.1), 0.8), rectangle((-1, 0.4), (-0.7, 1)), js.HalfPlane((0, -0.5), (0.2, 1))
SHAPES = {
    "disc": DISC, "square": SQUARE, "half plane": FLOOR, "either": DISC | SQUARE, "both": DISC & SQUARE,
    "less": SQUARE - DISC, "all but": ~(DISC | FLOOR), "three": (DISC | SQUARE) & ~FLOOR,
    "L": js.Polygon([(0, 0), (1, 0), (1, 0.4), (0.5, 0.4), (0.5, 1), (0, 1)]),
}  # fmt: skip


def inside(x, y, corners):
    """Whether points lie in a polygon, by the parity of the edges that a ray to the right crosses."""
    a = np.asarray(corners)
    b = np.roll(a, -1, axis=0)
    crosses = (a[:, 1, None] > y) != (b[:, 1, None] > y)
    slope = (b[:, 0] - a[:, 0])[:, None] / np.where(crosses, (b[:, 1] - a[:, 1])[:, None], 1)
    return (crosses & (x < a[:, 0, None] + (y - a[:, 1, None]) * slope)).sum(0) % 2 == 1


def spiral(turns):
    """A band that winds inwards: reflex corners inside reflex corners."""
    angle = np.linspace(0, turns, 9 * turns) * np.pi
    out = np.stack([np.cos(angle), np.sin(angle)], 1) * (1.8 - 0.45 * angle / np.pi)[:, None] / 1.2
    return [*out.tolist(), *(out * (1 - 0.15 / np.linalg.norm(out, axis=1))[:, None])[::-1].tolist()]


@pytest.mark.parametrize("corners", [
    [(0, 0), (1, 0.2), (0.2, 1)], [(0, 0), (0, 1), (1, 1), (1, 0)], SHAPES["L"].vertices,
    [(-1, -1), (0, -0.2), (1, -1), (0.3, 0), (1, 1), (0, 0.3), (-1, 1), (-0.2, 0)],  # a star
    [(-1.5, -1), (1.5, -1), (1.5, 1), (-0.5, 1), (-0.5, 0), (0.5, 0), (0.5, 0.5), (1, 0.5), (1, -0.5), (-1, -0.5), (-1, 1),
     (-1.5, 1)], spiral(3),
])  # fmt: skip
def test_polygons_know_their_inside(corners):
    x, y = POINTS
    truth = inside(x, y, corners)
    assert 0 < truth.sum() < truth.size
    for order in (corners, corners[::-1]):
        np.testing.assert_array_equal(np.asarray(js.Polygon(order)(x, y)) < 0, truth)


def test_sets_combine():
    d, s, f = (np.asarray(shape(*POINTS)) < 0 for shape in (DISC, SQUARE, FLOOR))
    truth = {
        "either": d | s, "both": d & s, "less": s & ~d, "all but": ~(d | f), "three": (d | s) & ~f, "disc": d,
        "half plane": f,
    }  # fmt: skip
    for name, wanted in truth.items():
        np.testing.assert_array_equal(np.asarray(SHAPES[name](*POINTS)) < 0, wanted, err_msg=name)
    assert ~~DISC == DISC
    assert hash(DISC | SQUARE) == hash(js.Disc((0.3, 0.1), 0.8) | SQUARE)


@pytest.mark.parametrize("name", SHAPES)
def test_the_function_is_the_distance_to_first_order(name):
    """Next to the boundary its value is the distance that one has walked along the normal."""
    shape = SHAPES[name]
    x, y = map(jnp.asarray, boundary_points(shape, BOX, 40))
    assert len(x) == 40
    gx, gy = jax.vmap(jax.grad(shape, argnums=(0, 1)))(x, y)
    for step in (1e-7, -1e-7):
        walked = shape(x + step * gx, y + step * gy)
        assert np.abs(walked - step).max() < 1e-3 * abs(step)
    assert not np.isnan(np.asarray(jax.grad(shape)(0.4, 1.0))).any()  # a corner of the square


def test_points_of_a_boundary_lie_on_it():
    x, y = boundary_points(SHAPES["less"], BOX, 200)
    on_disc = np.abs(np.hypot(x - 0.3, y - 0.1) - 0.8) < 1e-12
    on_square = (np.abs(x + 1) < 1e-12) | (np.abs(x - 0.4) < 1e-12) | (np.abs(y + 0.7) < 1e-12) | (np.abs(y - 1) < 1e-12)
    assert (on_disc | on_square).all()
    assert on_disc.any()
    assert on_square.any()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: js.Disc((0, 0), 0), ValueError, "radius must be positive"),
        (lambda: js.Disc(0, 1), TypeError, "centre must be numbers"),
        (lambda: js.HalfPlane((0, 0), (0, 0)), ValueError, "normal must have a direction"),
        (lambda: js.Polygon([(0, 0), (1, 1)]), ValueError, "three or more points"),
        (lambda: js.Polygon([(0, 0), (1, 1), (2, 2)]), ValueError, "must enclose an area"),
        (lambda: js.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), ValueError, "not cross each other"),
    ],
)
def test_wrong_shapes_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_shapes_work_in_float32_and_in_space():
    with jax.enable_x64(False):
        assert SHAPES["L"](jnp.float32(0.2), jnp.float32(0.3)).dtype == jnp.float32
    ball = js.Disc((0, 0, 1), 0.5) | js.HalfPlane((0, 0, 0), (0, 0, 1))
    assert float(ball(0.0, 0.0, 1.0)) < 0 < float(ball(2.0, 0.0, 1.0))
