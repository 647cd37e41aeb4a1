"""Solids and walls with conditions of several kinds as parts of a problem: identity, pytree, checks, refusals."""

import jax
import pytest

import jaxsci as js
from jaxsci.problems import Mixed
from jaxsci.problems.flow import velocity_equation

BOX = js.Box(t=(0, 1), x=(0, 1), y=(0, 1))
WALL, OUTFLOW = js.Dirichlet(u=0, v=0), (js.Neumann(u=0, v=0), js.Dirichlet(p=0))
DISC = lambda x, y, radius: js.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2) - radius


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
            lambda: problem_with((WALL, (js.Neumann(u=0), js.Dirichlet(u=0)))),
            "one condition for an unknown, but has two for 'u'",
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
    [js.Spectral(n=8), js.Adaptive(n=8), js.Neural(js.networks.MLP((4,)), budget=1.0), js.RandomFeatures(16)],
    ids=lambda method: type(method).__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_methods_that_carry_neither_say_so(method):
    with pytest.raises(ValueError, match=r"has a solid, which this method does not carry; use js.Staggered"):
        js.solve(problem_with(WALL, solid=DISC, radius=0.1), method)
    with pytest.raises(ValueError, match=r"different kinds of condition on one wall of 'x'.*use js.Staggered"):
        js.solve(problem_with(), method)


def test_force_needs_a_solid():
    solution = js.problems.heat().reference(ts=[0.0, 1.0])
    with pytest.raises(ValueError, match="force_on_solid: heat has no solid"):
        js.solvers.force_on_solid(solution)
