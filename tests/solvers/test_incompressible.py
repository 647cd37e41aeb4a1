"""Which equations and sides are an incompressible flow, in whatever form they are written, and which are not."""

import jax
import pytest

import jaxsci as js
from jaxsci.problems.flow import velocity_equation, velocity_equation_3d
from jaxsci.solvers.incompressible import flow_of, sides_of

XY = ("x", "y")
BOX = js.Box(t=(0, 1), x=(0, 1), y=(0, 1))
WALL = js.Dirichlet(u=0, v=0)


def momentum(f, u, v, nu):
    return f.t + u * f.x + v * f.y - nu * (f.xx + f.yy)


def test_the_catalogue_s_equations_are_recognised():
    assert flow_of(velocity_equation, XY)[:2] == (("u", "v"), "p")
    flow = flow_of(velocity_equation_3d, ("x", "y", "z"))
    assert flow.velocity == ("u", "v", "w")
    assert str(flow.viscosity) == "viscosity"
    assert flow.forces == (0, 0, 0)


def test_other_names_order_and_forms_are_recognised():
    @js.equation("q b a")
    def flow(q, b, a, nu, x, t, g):
        return (
            a.x + b.y,
            b.t + (a * b).x + (b * b).y + q.y - nu * (b.xx + b.yy) - g * x * a,
            a.t + (a * a).x + (a * b).y + q.x - nu * (a.xx + a.yy) + 0.1 * a - js.sin(t),
        )

    found = flow_of(flow, XY)
    assert found.velocity == ("a", "b")
    assert found.pressure == "q"
    text = [str(force) for force in found.forces]
    assert "sin(t)" in text[0]
    assert "0.1" in text[0]
    assert "g*x" in text[1].replace(" ", "")


@pytest.mark.parametrize(
    ("function", "unknowns", "message"),
    [
        (lambda u: u.t - u.xx - u.yy, "u", "a velocity with 'x', 'y' for axes and one pressure"),
        (
            lambda u, v, p: (momentum(u, u, v, 1) + p.x, momentum(v, u, v, 1) + p.y, u.x + v.y + p),
            "u v p",
            "the constraint",
        ),
        (
            lambda u, v, p, x: (momentum(u, u, v, 1 + x) + p.x, momentum(v, u, v, 1 + x) + p.y, u.x + v.y),
            "u v p",
            "a constant viscosity times the Laplacian",
        ),
        (
            lambda u, v, p: (momentum(u, u, v, 1) + p.x, momentum(v, v, u, 1) + p.y, u.x + v.y),
            "u v p",
            "left over is",
        ),
        (
            lambda u, v, p: (momentum(u, u, v, 1) + p.x, momentum(v, u, v, 2) + p.y, u.x + v.y),
            "u v p",
            "left over is",
        ),
        (
            lambda u, v, p: (momentum(u, u, v, 1), momentum(v, u, v, 1) + p.y, u.x + v.y),
            "u v p",
            "one momentum equation with p_x",
        ),
    ],
)
def test_other_systems_are_refused_with_what_is_missing(function, unknowns, message):
    equation = js.Equation(function, unknowns, name="mine")
    with pytest.raises(ValueError, match=f"mine lacks .*{message}.*use js.Spectral"):
        flow_of(equation, XY)


PERIODIC = js.Periodic()


def problem_with(x, y=PERIODIC):
    return js.Problem(
        velocity_equation, BOX, coefficients={"viscosity": 1.0}, initial={"u": 0, "v": 0}, boundary={"x": x, "y": y}
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (js.Dirichlet(u=0), "no condition for 'v' on the side x = 0"),
        ((WALL, (js.Dirichlet(u=0, v=0), js.Dirichlet(p=0))), "on the side x = 1 .* either hold u and leave p free"),
        ((js.Neumann(u=0, v=0), WALL), "on the side x = 0 .* either hold u and leave p free"),
        ((WALL, (js.Neumann(u=1, v=0), js.Dirichlet(p=0))), "either hold u and leave p free"),
        ((WALL, (js.Dirichlet(u=0, v=0), js.Neumann(p=0))), "leave out the slope of p on the side x = 1"),
    ],
)
def test_sides_that_make_no_flow_are_refused(x, message):
    problem = problem_with(x)
    with pytest.raises(ValueError, match=message):
        sides_of(problem, flow_of(problem.equation, XY))


def test_sides_know_what_they_hold():
    problem = problem_with((WALL, (js.Neumann(u=0, v=0), js.Dirichlet(p=2))), (js.Dirichlet(v=0), js.Neumann(u=0)))
    # A pair of conditions is the lower and the upper end; each of these two lacks a component.
    with pytest.raises(ValueError, match="no condition for 'u' on the side y = 0"):
        sides_of(problem, flow_of(problem.equation, XY))
    slip = (js.Dirichlet(v=0), js.Neumann(u=0))
    problem = problem_with((WALL, (js.Neumann(u=0, v=0), js.Dirichlet(p=2))), (slip, slip))
    (low, high), (bottom, _) = sides_of(problem, flow_of(problem.equation, XY))
    assert (low.is_open, high.is_open, bottom.is_open) == (False, True, False)
    assert bottom.kinds == ("neumann", "dirichlet")


def test_steady_problems_and_net_inflow_are_refused():
    inflow = js.Dirichlet(u=1, v=0)
    with pytest.raises(ValueError, match=r"prescribe a net inflow of 100% of what flows through them.*Open a side"):
        js.solve(problem_with((inflow, WALL), WALL), js.Staggered(n=4, dt=0.1))
    with pytest.raises(ValueError, match=r"needs concrete numbers.*js.Staggered\(n=..., dt=...\)"):
        jax.jit(lambda nu: js.solve(problem_with(WALL).with_coefficients(viscosity=nu), js.Staggered(n=4)).fields)(1.0)
    with pytest.raises(ValueError, match="diffusion is explicit, and dt must be below"):
        js.solve(problem_with(js.Periodic()), js.Staggered(n=8, dt=0.1))
    with pytest.raises(ValueError, match="stepper: give the step"):
        js.stepper(problem_with(WALL), js.Staggered(n=4))
