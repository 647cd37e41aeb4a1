"""Partitions from the error: smaller true errors than uniform ones where there is a layer, exact continuity, honest history."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erfc

import jaxsci as js

C = js.constraints


def exact_front(t, x, diffusivity=2e-4, speed=0.05):
    """A step that is carried and smeared out, as steep as 0.02."""
    return 0.5 * erfc((x - 0.35 - speed * t) / jnp.sqrt(4 * diffusivity * (t + 0.1)))


FRONT = js.Problem(
    js.Equation(lambda u, speed, diffusivity: u.t + speed * u.x - diffusivity * u.xx, name="front"),
    js.Box(t=(0, 1), x=(0, 1)),
    coefficients={"speed": 0.05, "diffusivity": 2e-4},
    initial={"u": lambda x: exact_front(0.0, x)},
    boundary={"x": (js.Dirichlet(lambda t: exact_front(t, 0.0)), js.Dirichlet(lambda t: exact_front(t, 1.0)))},
)
EXPERTS = C.BoxExperts(FRONT, C.legendre_basis({"t": 2, "x": 5}), {"t": 4, "x": 7}, weight=10.0)
COUNT = 3


def exact_layer(x, diffusivity=0.02):
    """A boundary layer of the width 0.02 at x = 1."""
    return jnp.exp(-x) + jnp.exp((x - 1) / diffusivity)


LAYER = js.Problem(
    js.Equation(lambda u, diffusivity, x: u.x - diffusivity * u.xx + (1 + diffusivity) * js.exp(-x), name="layer"),
    js.Box(x=(0, 1)),
    coefficients={"diffusivity": 0.02},
    boundary={"x": (js.Dirichlet(float(exact_layer(0.0))), js.Dirichlet(float(exact_layer(1.0))))},
)
LINE = C.BoxExperts(LAYER, C.legendre_basis({"x": 5}), 7, weight=10.0)
PARTS = 4


def true_error(experts, result, exact):
    axes = {c: np.linspace(*experts.problem.domain[c], n) for c, n in zip(result.boxes.axes[::-1], (201, 41), strict=False)}
    axes = {c: axes[c] for c in result.boxes.axes}
    points = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij"), strict=True))
    truth = np.asarray(exact(**points))
    return float(np.linalg.norm(experts.field(result.boxes, result.omega, points)["u"] - truth) / np.linalg.norm(truth))


@functools.cache
def found(experts=EXPERTS, count=COUNT):
    return C.split_by_error(experts, count)


def solved(experts, boxes):
    """A partition as it is: nothing is left to be cut."""
    return C.split_by_error(experts, boxes.count, boxes=boxes)


def grids(experts, count):
    axes = tuple(experts.problem.domain)
    splits = [(n, count // n) for n in range(1, count + 1) if count % n == 0]
    return [solved(experts, C.Boxes.grid(experts.problem.domain, dict(zip(axes, s, strict=True)))) for s in splits]


def test_a_layer_gets_the_small_boxes_and_a_far_smaller_error_than_a_uniform_grid():
    here, uniform = found(LINE, PARTS), solved(LINE, C.Boxes.grid(LAYER.domain, {"x": PARTS}))
    error, even = true_error(LINE, here, exact_layer), true_error(LINE, uniform, exact_layer)
    assert here.reason == "count"
    assert here.boxes.count == uniform.boxes.count == PARTS
    assert error < even / 100, (error, even)
    np.testing.assert_allclose(here.even[(PARTS,)], uniform.error, rtol=1e-9)
    assert float(here.boxes.upper[np.argmin(here.boxes.volumes), 0]) == 1.0
    # The gain is that of the places: the same boxes in a mirror are worse than the uniform ones.
    wrong = solved(LINE, C.Boxes(here.boxes.axes, 1 - here.boxes.upper, 1 - here.boxes.lower))
    assert true_error(LINE, wrong, exact_layer) > even


@pytest.mark.slow
def test_the_history_is_what_was_measured():
    here = found(LINE, PARTS)
    assert len(here.history) == PARTS - 1
    again = C.split_by_error(LINE, PARTS)
    assert again.history == here.history  # the same every time
    np.testing.assert_array_equal(again.boxes.lower, here.boxes.lower)
    assert here.history[0].before == C.split_by_error(LINE, PARTS, tolerance=1e9).error  # one box is enough for that
    for split, following in zip(here.history, here.history[1:], strict=False):
        assert split.settled == following.before
    for split in here.history:
        assert split.after == min(split.tried.values()) == split.tried[split.box, split.axis, split.at]
        assert split.settled <= split.after < split.before
        assert split.converged
    assert here.error <= here.history[-1].settled
    fresh = solved(LINE, here.boxes)  # the final partition from scratch
    np.testing.assert_allclose(fresh.errors, here.errors, rtol=1e-6)
    np.testing.assert_allclose(LINE.errors(here.boxes, here.omega), here.errors, rtol=1e-9)
    seen = LINE.constraint(here.boxes).residual(here.omega)  # by the fit
    assert here.error**2 > float(jnp.sum(seen**2))


@pytest.mark.slow
def test_values_and_slopes_are_continuous_between_the_points_too():
    here = found()
    finer = dataclasses.replace(EXPERTS, points={"t": 9, "x": 11})  # points of faces that no row has
    faces = finer.interfaces(here.boxes)
    assert len(faces.pairs) >= COUNT - 1
    assert faces.left.shape == (len(faces.pairs), 2 * 11, EXPERTS.size)
    assert float(jnp.abs(faces.gap(here.omega)).max()) < 1e-11
    assert float(jnp.abs(faces.gap(here.omega + 0.1 * np.random.default_rng(0).normal(size=here.omega.shape))).max()) > 0.1


@pytest.mark.slow
def test_a_moving_front_in_eight_boxes():
    experts = C.BoxExperts(FRONT, C.legendre_basis({"t": 3, "x": 6}), {"t": 5, "x": 8}, weight=10.0)
    here, others = C.split_by_error(experts, 8), grids(experts, 8)
    error, uniform = (
        true_error(experts, here, exact_front),
        min(true_error(experts, other, exact_front) for other in others),
    )
    assert here.boxes.count == 8
    assert {split.axis for split in here.history} == {"t", "x"}
    assert error < uniform / 3, (error, uniform)
    np.testing.assert_allclose(min(here.even.values()), min(other.error for other in others), rtol=1e-6)


@pytest.mark.slow
def test_the_layer_on_the_boxes_is_that_of_other_experts_and_its_gradient_flows():
    here = found()
    faces = EXPERTS.interfaces(here.boxes)
    point = {"t": 0.7, "x": 0.4}

    @jax.jit
    def solve(speed):
        layer = EXPERTS.constraint(here.boxes, {"speed": speed})
        # The same for all: devices share them.
        assert layer.rows[0].matrix.shape == (COUNT, 1, 4 * 7, EXPERTS.size)
        return C.solve_experts(layer, jnp.zeros(EXPERTS.size), interfaces=faces)

    omega, info = solve(0.05)
    assert bool(info.converged.all())
    assert float(jnp.abs(faces.gap(omega)).max()) < 1e-12
    np.testing.assert_allclose(omega, here.omega, atol=1e-7)
    value = lambda speed: EXPERTS.field(here.boxes, solve(speed)[0], point)["u"]
    slope = jax.grad(value)(0.05)
    h = 1e-5
    np.testing.assert_allclose(slope, (value(0.05 + h) - value(0.05 - h)) / (2 * h), rtol=1e-5)
    assert abs(float(slope)) > 0.1
    mesh = jax.make_mesh((1,), ("experts",), axis_types=(jax.sharding.AxisType.Auto,))
    apart = [C.solve_experts(EXPERTS.constraint(here.boxes), jnp.zeros(EXPERTS.size), mesh=m)[0] for m in (None, mesh)]
    np.testing.assert_allclose(*apart, atol=1e-9)


@pytest.mark.slow
def test_a_burgers_front():
    """Nonlinear: every trial starts from the field of the partition before it."""
    exact = lambda t, x: 0.1 - jnp.tanh((x - 0.25 - 0.1 * t) / 0.04)
    problem = js.Problem(
        js.Equation(lambda u, nu: u.t + u * u.x - nu * u.xx, name="burgers front"),
        js.Box(t=(0, 1), x=(0, 1)),
        coefficients={"nu": 0.02},
        initial={"u": lambda x: exact(0.0, x)},
        boundary={"x": (js.Dirichlet(lambda t: exact(t, 0.0)), js.Dirichlet(lambda t: exact(t, 1.0)))},
    )
    experts = C.BoxExperts(problem, C.legendre_basis({"t": 3, "x": 6}), {"t": 5, "x": 8}, weight=10.0)
    here, others = C.split_by_error(experts, 8), grids(experts, 8)
    assert all(split.converged for split in here.history)
    error = true_error(experts, here, exact)
    uniform = min(true_error(experts, other, exact) for other in others)
    assert error < uniform / 1.5, (error, uniform)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heat", "poisson"])
def test_a_smooth_solution_is_not_made_worse(name):
    problem = getattr(js.problems, name)()
    experts = C.BoxExperts(problem, C.legendre_basis(dict.fromkeys(problem.domain, 5)), 7)
    here, others = C.split_by_error(experts, 4), grids(experts, 4)
    assert here.error <= min(other.error for other in others) * (1 + 1e-9)
    assert here.reason == "a uniform grid is as good"
    exact = lambda **p: jax.vmap(lambda *z: problem.exact_field(*z)[0])(*(v.ravel() for v in p.values())).reshape(41, -1)
    errors = [true_error(experts, other, exact) for other in others]
    assert true_error(experts, here, exact) < 1.2 * min(errors)


@pytest.mark.slow
def test_single_precision_finds_the_same_boxes():
    with jax.enable_x64(False):
        here = C.split_by_error(EXPERTS, COUNT)
        assert here.omega.dtype == jnp.float32
        np.testing.assert_allclose(here.error, found().error, rtol=1e-2)
        gap = jnp.abs(EXPERTS.interfaces(here.boxes).gap(here.omega)).max()
    assert float(gap) < 1e-5
    np.testing.assert_allclose(here.boxes.lower, found().boxes.lower, atol=1e-2)


@pytest.mark.slow
def test_periodic_domains_close_around_and_enough_is_enough():
    problem = js.problems.advection(speed=0.5)
    experts = C.BoxExperts(problem, C.legendre_basis({"t": 4, "x": 6}), 8)
    first = C.split_by_error(experts, 1)
    assert (first.reason, first.history, first.solves) == ("count", (), 1)
    enough = first.error / 3
    here = C.split_by_error(experts, 8, tolerance=enough, margin=np.inf)
    assert here.reason == "tolerance"
    assert here.boxes.count < 8
    assert here.error <= enough < first.error
    pairs = here.boxes.faces(("x",)).pairs
    assert len(pairs) > len(here.boxes.faces().pairs)
    ends = [experts.field(here.boxes, here.omega, {"t": 0.3, "x": x})["u"] for x in problem.domain["x"]]
    np.testing.assert_allclose(*ends, atol=1e-10)


# --- boxes ------------------------------------------------------------------------------------------------------------


def test_boxes_know_their_faces():
    boxes = C.Boxes.grid({"x": (0.0, 3.0), "y": (0.0, 1.0)}, {"x": 3}).cut(1, "y", 0.25)
    faces = boxes.faces()
    assert faces.pairs == ((0, 1), (0, 3), (1, 2), (3, 2), (1, 3))
    np.testing.assert_array_equal(faces.normal, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(faces.lower[1], [1.0, 0.25])
    np.testing.assert_array_equal(faces.upper[1], [1.0, 1.0])
    assert set(boxes.faces(("x",)).pairs) - set(faces.pairs) == {(2, 0)}
    assert set(boxes.faces(("y",)).pairs) - set(faces.pairs) == {(0, 0), (2, 2), (3, 1)}
    np.testing.assert_array_equal(boxes.find({"x": [0.5, 1.5, 1.5, 3.0], "y": [0.5, 0.1, 0.5, 1.0]}), [0, 1, 3, 2])
    assert C.Boxes.grid({"x": (0, 1)}).faces().pairs == ()


def test_legendre_polynomials_are_orthonormal():
    nodes, weights = np.polynomial.legendre.leggauss(6)
    values = jax.vmap(C.legendre_basis({"x": 5}))(nodes)
    np.testing.assert_allclose(values.T @ (weights[:, None] / 2 * values), np.eye(6), atol=1e-14)


def test_bad_input_is_named():
    unit = {"t": (0.0, 1.0), "x": (0.0, 1.0)}
    with pytest.raises(ValueError, match="box 0 goes from 0 to 1 along x, it cannot be cut at 1"):
        C.Boxes.grid(unit).cut(0, "x", 1.0)
    with pytest.raises(ValueError, match="the box must be among 0 to 0"):
        C.Boxes.grid(unit).cut(1, "x", 0.5)
    with pytest.raises(KeyError, match="'z' does not exist"):
        C.Boxes.grid(unit).cut(0, "z", 0.5)
    with pytest.raises(ValueError, match="positive integers"):
        C.Boxes.grid(unit, {"x": 0})
    with pytest.raises(ValueError, match="0 and 1 overlap"):
        C.Boxes(("x",), [[0.0], [0.5]], [[0.6], [1.0]])
    with pytest.raises(ValueError, match="there are holes"):
        C.Boxes(("x",), [[0.0], [0.7]], [[0.6], [1.0]])
    with pytest.raises(ValueError, match="lower < upper"):
        C.Boxes(("x",), [[0.0], [np.nan]], [[0.6], [1.0]])
    with pytest.raises(ValueError, match="outside of the boxes"):
        C.Boxes.grid(unit).find({"t": 0.5, "x": 2.0})
    with pytest.raises(ValueError, match="numbers of points must be positive"):
        C.BoxExperts(FRONT, EXPERTS.basis, 0)
    with pytest.raises(ValueError, match="2 x 2 points of a box cannot hold N = 18 functions"):
        C.BoxExperts(FRONT, EXPERTS.basis, 2)
    with pytest.raises(KeyError, match="points along 'x' missing"):
        C.BoxExperts(FRONT, EXPERTS.basis, {"t": 4})
    with pytest.raises(ValueError, match="whole numbers"):
        C.legendre_basis({"x": -1})
    with pytest.raises(ValueError, match="at least the 2 boxes"):
        C.split_by_error(EXPERTS, 1, boxes=C.Boxes.grid(FRONT.domain, {"x": 2}))
    with pytest.raises(ValueError, match="tolerance must be 0 or more"):
        C.split_by_error(EXPERTS, 2, tolerance=-1.0)
    with pytest.raises(ValueError, match="margin must be 0 or more"):
        C.split_by_error(EXPERTS, 2, margin=np.nan)
    with pytest.raises(ValueError, match="the boxes must fill"):
        C.split_by_error(EXPERTS, 2, boxes=C.Boxes.grid({"t": (0, 1), "x": (0, 2)}))
    with pytest.raises(TypeError, match="where to cut has no derivative"):
        jax.jit(lambda speed: C.split_by_error(EXPERTS, 2, coefficients={"speed": speed}).error)(0.1)
