"""Solids and walls with conditions of several kinds as parts of a problem: identity, pytree, checks, refusals."""

import jax
import pytest

import jaxsci as js
from jaxsci.problems import Mixed
from jaxsci.problems.flow import velocity_equation

BOX = js.Box(t=(0, 1), x=(0, 1), y=(0, 1))
WALL, OUTFLOW = js.Dirichlet(u=0, v=0), (js.Neumann(u=0, v=0), js.Dirichlet(p=0))
DISC = lambda x, y, radius: js.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2) - radius


INFLOW = (js.Dirichlet(u=lambda y: y * (1 - y), v=0), OUTFLOW)


def problem_with(x=(WALL, OUTFLOW), solid=None, **coefficients):
    return js.Problem(
        velocity_equation, BOX, coefficients={"viscosity": 0.1, **coefficients}, initial={"u": 0, "v": 0},
        boundary={"x": x, "y": WALL}, solid=solid,
    )  # fmt: skip


def test_a_side_may_hold_several_kinds():
    low, high = problem_with().walls("x")
    assert high == Mixed(*OUTFLOW)
    assert hash(high) == hash(Mixed(*OUTFLOW))
    assert high != Mixed(js.Neumann(u=0), js.Dirichlet(p=0, v=0))
    unknowns = ("u", "v", "p")
    assert [high.kind_for(name, unknowns) for name in unknowns] == ["neumann", "neumann", "dirichlet"]
    assert low.kind_for("p", unknowns) is None
    assert repr(high) == repr(tuple(Mixed(*OUTFLOW).parts))


def test_kinds_and_solids_are_part_of_the_identity():
    other = (js.Neumann(u=0), js.Dirichlet(p=0, v=0))
    problems = [
        problem_with(), problem_with((WALL, other)), problem_with((OUTFLOW, WALL)),
        problem_with(solid=DISC, radius=0.1), problem_with(solid=DISC, radius=0.2),
        problem_with(solid=lambda x, y: x - 0.5),
    ]  # fmt: skip
    assert len({problem.identity for problem in problems}) == len(problems)
    assert problem_with().identity == problem_with().identity


def test_a_problem_with_a_solid_is_a_pytree():
    problem = problem_with(solid=DISC, radius=0.1)
    leaves, structure = jax.tree.flatten(problem)
    assert leaves == [0.1, 0.1]
    again = jax.tree.unflatten(structure, leaves)
    assert again.identity == problem.identity
    assert hash(structure) == hash(jax.tree.structure(problem_with(solid=DISC, radius=0.3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: problem_with(solid=lambda t, x: x - t), "the solid depends on the coordinate 't'"),
        (lambda: problem_with(solid=lambda x, r: x - r), "the solid uses 'r', which is no coefficient"),
        (
            lambda: problem_with((WALL, (js.Neumann(u=0), js.Robin(u=(1, 0))))),
            r"one condition for an unknown .*, but has two for 'u'",
        ),
        (lambda: problem_with((WALL, (js.Neumann(0), js.Dirichlet(p=0)))), "names their unknowns"),
        (lambda: problem_with((WALL, (js.Neumann(u=0), 3.0))), "names their unknowns"),
    ],
)
def test_wrong_sides_and_solids_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "method",
    [js.Spectral(n=8), js.Adaptive(n=8)],
    ids=lambda method: type(method).__name__,
)
def test_methods_that_carry_neither_say_so(method):
    with pytest.raises(ValueError, match=r"has a solid, which this method does not carry; use js.Staggered"):
        js.solve(problem_with(WALL, solid=DISC, radius=0.1), method)
    with pytest.raises(ValueError, match=r"different kinds of condition on one wall of 'x'.*use js.Staggered"):
        js.solve(problem_with(), method)


@pytest.mark.parametrize(
    "method", [js.Neural(js.networks.MLP((4,)), budget=1.0, estimate=False), js.RandomFeatures(16)], ids=["n", "f"]
)
def test_fields_carry_shapes_but_no_functions(method):
    with pytest.raises(ValueError, match=r"has a solid that is given by a function, which Neural and .* give shapes"):
        js.solve(problem_with(WALL, solid=DISC, radius=0.1), method)


# --- shapes with conditions --------------------------------------------------------------------------------------------------


def with_shape(post, x=WALL, shape=None):
    shape = js.Disc((0.5, 0.5), 0.1) if shape is None else shape
    return js.Problem(
        velocity_equation, BOX, coefficients={"viscosity": 0.1}, initial={"u": 0, "v": 0},
        boundary={"x": x, "y": WALL, "post": post}, solid={"post": shape},
    )  # fmt: skip


def test_shapes_and_what_holds_on_them_are_part_of_the_identity():
    slip = (js.Neumann(u=0), js.Dirichlet(v=0))
    problems = [
        with_shape(WALL), with_shape(slip), with_shape(js.Dirichlet(u=1, v=0)), with_shape(js.Neumann(u=0, v=0)),
        with_shape(js.Robin(u=(1, 0))), with_shape(js.Robin(u=(2, 0))), with_shape((js.Dirichlet(u=0), js.Neumann(u=0))),
        with_shape(WALL, shape=js.Disc((0.5, 0.5), 0.2)), with_shape(WALL, shape=~js.Disc((0.5, 0.5), 0.1)),
    ]  # fmt: skip
    assert len({problem.identity for problem in problems}) == len(problems)
    again = jax.tree.unflatten(*jax.tree.flatten(problems[1])[::-1])
    assert again.identity == problems[1].identity
    assert again.solids == problems[1].solids


@pytest.mark.slow
def test_staggered_takes_shapes_at_rest_and_refuses_other_conditions():
    times = [0.0, 0.1]
    method = js.Staggered(n=8, dt=0.05, estimate=False)
    flow = js.solve(with_shape(WALL, x=INFLOW, shape=js.Disc((0.5, 0.5), 0.25)), method, ts=times)
    free = js.solve(problem_with(x=INFLOW), method, ts=times)
    assert abs(flow["u"][-1, 4, 4]) < 0.5 * abs(free["u"][-1, 4, 4])  # in the disc
    for held, what in [
        (js.Dirichlet(u=1, v=0), "a condition other than zero values"),
        (js.Robin(u=(1, 0)), "a Robin condition"),
        ((js.Dirichlet(u=0, v=0), js.Neumann(u=0)), "a clamped unknown"),
    ]:
        with pytest.raises(ValueError, match=f"Staggered: .* has {what} on the solid post"):
            js.solve(with_shape(held), method, ts=times)
    with pytest.raises(ValueError, match=r"Staggered: .* a Robin condition on a wall of x.* use js.RandomFeatures"):
        js.solve(with_shape(WALL, x=js.Robin(u=(1, 0), v=(1, 0))), method, ts=times)


def test_walls_inside_a_shape_have_no_condition_and_are_not_periodic():
    laplace = js.Equation(lambda u: u.xx + u.yy, name="laplace")
    ring = {"rim": ~js.Disc((0, 0), 1), "hole": js.Disc((0, 0), 0.5)}
    box = js.Box(x=(-1, 1), y=(-1, 1))
    problem = js.Problem(laplace, box, solid=ring, boundary={"rim": js.Dirichlet(0), "hole": js.Dirichlet(1)})
    assert [wall.parts for wall in problem.walls("x")] == [(), ()]
    with pytest.raises(ValueError, match=r"y is periodic, which a field with solids cannot hold"):
        js.learning.HardConditions(
            js.Problem(laplace, box, solid=ring["hole"], boundary={"x": js.Dirichlet(0), "solid": js.Dirichlet(1)})
        )


@pytest.mark.parametrize(
    ("solid", "boundary", "error", "message"),
    [
        ({"post": js.Disc((0, 0), 1)}, {}, ValueError, r"say what holds on the solid 'post', boundary=\{'post'"),
        ({"post": js.Disc((0, 0, 0), 1)}, {"post": WALL}, ValueError, "the solid 'post' must live in 'x', 'y'"),
        ({"x": js.Disc((0, 0), 1)}, {}, ValueError, "a solid cannot be called 'x', which is a coordinate"),
        ({"post": 1.0}, {"post": WALL}, TypeError, "must be a shape such as js.Disc"),
        ({"post": js.Disc((0, 0), 1)}, {"post": WALL, "past": WALL}, KeyError, "'past' does not exist"),
        ({"post": js.Disc((0, 0), 1)}, {"post": js.Dirichlet(q=0)}, KeyError, "unknown on the solid post 'q'"),
    ],
)
def test_wrong_shapes_are_refused(solid, boundary, error, message):
    with pytest.raises(error, match=message):
        js.Problem(
            velocity_equation, BOX, coefficients={"viscosity": 0.1}, initial={"u": 0, "v": 0}, boundary=boundary, solid=solid
        )


def test_force_needs_a_solid():
    solution = js.problems.heat().reference(ts=[0.0, 1.0])
    with pytest.raises(ValueError, match="force_on_solid: heat has no solid"):
        js.solvers.force_on_solid(solution)
