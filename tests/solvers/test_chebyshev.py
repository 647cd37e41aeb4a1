"""Chebyshev collocation: nodes and matrices, walls of every kind, interpolation, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers.collocation import CollocationLines, chebyshev_derivative, chebyshev_nodes, fourier_derivative
from jaxsci.solvers.discretise import discretise

# --- matrices --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 5, 16])
def test_chebyshev_matrix_differentiates_polynomials_exactly(n):
    x, matrix = chebyshev_nodes(n), chebyshev_derivative(n)
    assert x[0] == -1
    assert x[-1] == 1
    assert (np.diff(x) > 0).all()
    for degree in range(n + 1):
        slope = degree * x ** max(degree - 1, 0)
        assert np.abs(matrix @ x**degree - slope).max() < 1e-13 * n**2


def test_chebyshev_matrix_keeps_its_digits_on_large_grids():
    x = chebyshev_nodes(256)
    error = np.abs(chebyshev_derivative(256) @ np.sin(20 * x) - 20 * np.cos(20 * x)).max()
    assert error < 1e-9  # eps n^2 times 20 is 3e-10; the textbook formula for the differences loses three digits more


@pytest.mark.parametrize("points", [8, 9])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_fourier_matrix_differentiates_waves_exactly(points, order):
    x = 2 * np.pi * np.arange(points) / points
    wave = lambda shift: np.sin(2 * x + 0.4 + shift)
    found = fourier_derivative(points, order) @ wave(0.0)
    assert np.abs(found - 2**order * wave(order * np.pi / 2)).max() < 1e-13


# --- walls -----------------------------------------------------------------------------------------------------------------


@js.equation("u")
def diffusion(u, diffusivity):
    return u.t - diffusivity * u.xx


def with_walls(exact, walls, equation=diffusion, **options):
    box, coefficients = js.Box(t=(0, 1), x=(0, 2)), {"diffusivity": 0.3}
    return js.manufactured(equation, box, coefficients=coefficients, exact={"u": exact}, boundary={"x": walls}, **options)


def field(t, x):
    return js.exp(-t) * js.sin(2 * x + 0.5) + x**2 * js.cos(3 * t)


def slope(t, x):
    return 2 * js.exp(-t) * js.cos(2 * x + 0.5) + 2 * x * js.cos(3 * t)


WALLS = {
    "one of each": (js.Dirichlet(field), js.Neumann(slope)),
    "the other way round": (js.Neumann(slope), js.Dirichlet(field)),
}


def run(problem, n, dt, steps):
    """(stepper, the fields after some steps, the exact ones)."""
    stepper = js.stepper(problem, js.Spectral(n, dt=dt))
    mesh = np.meshgrid(*stepper.grid.values(), indexing="ij")

    @jax.jit
    def both(stepper):
        state = jax.lax.fori_loop(0, steps, lambda _, s: stepper.step(s), stepper.initial())
        exact = jax.vmap(lambda *x: problem.exact_field(state.t, *x)[0])(*(m.ravel() for m in mesh))
        return stepper.decode(state)[0], exact.reshape(mesh[0].shape)

    return stepper, *map(np.asarray, both(stepper))


@pytest.mark.parametrize("kind", WALLS)
def test_moving_walls_of_every_kind_are_held(kind):
    problem = with_walls(field, WALLS[kind])
    stepper, fields, exact = run(problem, 16, 0.01, 50)
    assert isinstance(stepper.lines, CollocationLines)
    error = np.abs(fields - exact)
    assert error.max() < 1e-6  # 3.4e-7 in the layer at a held wall, whose values force the stiffest modes
    assert error[4:-4].max() < 3e-9  # 9e-10 away from it


def test_second_time_derivatives_pass_with_walls_that_move():
    wave = js.Equation(lambda u, diffusivity: u.tt - diffusivity * u.xx)
    problem = with_walls(field, js.Dirichlet(field), equation=wave)
    _, fields, exact = run(problem, 16, 0.01, 50)
    assert np.abs(fields - exact).max() < 1e-7


def test_walls_and_a_periodic_axis_go_together():
    equation = js.Equation(lambda u, diffusivity: u.t - diffusivity * (u.xx + u.yy) + u * u.y)
    exact = lambda t, x, y: js.exp(-t) * (1 + x) * js.cos(np.pi * y)
    problem = js.manufactured(
        equation,
        js.Box(t=(0, 1), x=(0, 1), y=(0, 2)),
        coefficients={"diffusivity": 0.2},
        exact={"u": exact},
        boundary={"x": (js.Dirichlet(lambda t, y: exact(t, 0, y)), js.Neumann(lambda t, y: js.exp(-t) * js.cos(np.pi * y)))},
    )
    _, fields, exact = run(problem, (6, 8), 0.02, 25)
    assert np.abs(fields - exact).max() < 3e-7  # measured 1.4e-7


def test_corners_belong_to_the_first_wall_and_steady_fields_are_exact():
    laplace = js.Equation(lambda u: u.xx + u.yy)
    exact = lambda x, y: js.exp(x) * js.sin(y)
    problem = js.Problem(
        laplace,
        js.Box(x=(0, 1), y=(0, 2)),
        boundary={
            "x": (js.Dirichlet(lambda y: js.sin(y)), js.Neumann(lambda x, y: js.exp(x) * js.sin(y))),
            "y": js.Dirichlet(exact),
        },
        exact={"u": exact},
    )
    solution = js.solve(problem, js.Spectral((12, 14)))
    mesh = jnp.meshgrid(*solution.grid.values(), indexing="ij")
    assert jnp.max(jnp.abs(solution["u"] - jnp.exp(mesh[0]) * jnp.sin(mesh[1]))) < 1e-11
    assert float(solution.evaluate(x=0.3, y=1.234)) == pytest.approx(np.exp(0.3) * np.sin(1.234), abs=1e-11)


def test_variable_coefficients_and_sources_are_carried():
    equation = js.Equation(lambda u, x, diffusivity: u.t - (diffusivity * (1 + x) * u.x).x)
    problem = with_walls(field, js.Dirichlet(field), equation=equation)
    _, fields, exact = run(problem, 10, 1e-3, 100)  # the varying part is stepped explicitly: dt < 3 / (0.2 n^4)
    assert np.abs(fields - exact).max() < 1e-6


# --- interpolation ---------------------------------------------------------------------------------------------------------


def test_interpolation_is_exact_for_polynomials_and_finite_at_the_nodes():
    lines = discretise(with_walls(field, js.Dirichlet(field)), 8)
    polynomial = lambda x: 1 + x - x**3 + 0.1 * x**8
    profile = polynomial(lines.grid()["x"])[None]
    points = np.array([0.0, 0.1, *lines.grid()["x"][2:4], 2.0])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda x: lines.at_point(profile, (x,))[0])))(points)
    assert np.asarray(value) == pytest.approx(polynomial(points), abs=1e-12)
    assert np.asarray(slope) == pytest.approx(1 - 3 * points**2 + 0.8 * points**7, abs=1e-10)


def test_tail_tells_resolved_from_unresolved():
    lines = discretise(with_walls(field, js.Dirichlet(field)), 32)
    x = lines.grid()["x"]
    assert lines.tail(jnp.asarray(np.exp(x))[None]) < 1e-14
    assert lines.tail(jnp.asarray(np.sign(x - 0.9))[None]) > 0.03


# --- refusals --------------------------------------------------------------------------------------------------------------


def test_derivatives_above_the_second_are_refused_by_name():
    equation = js.Equation(lambda u: u.t + u.xxx)
    box, wall = js.Box(t=(0, 1), x=(0, 1)), {"x": js.Dirichlet(0)}
    problem = js.Problem(equation, box, initial={"u": 0.0}, boundary=wall, name="stokes wave")
    with pytest.raises(ValueError, match=r"stokes wave has a derivative of order 3 along x.*only periodic boxes"):
        js.solve(problem, js.Spectral(8, dt=0.1))


def test_constraints_with_walls_are_refused():
    flow = js.problems.navier_stokes_velocity()
    walls = js.Dirichlet(u=1, v=0, p=0)
    initial = {"u": 1.0, "v": 0.0}
    problem = js.Problem(
        flow.equation, flow.domain, coefficients=flow.coefficients, initial=initial, boundary={"x": walls}, name="channel"
    )
    with pytest.raises(ValueError, match="channel has walls and a constraint"):
        js.solve(problem, js.Spectral(8, dt=0.1))


def test_a_wall_without_a_condition_is_refused_by_name():
    equation = js.Equation(lambda u, v: (u.t - u.xx + v, v.t - v.xx), "u v", name="pair")
    problem = js.Problem(
        equation, js.Box(t=(0, 1), x=(0, 1)), initial={"u": 0.0, "v": 0.0}, boundary={"x": js.Dirichlet(u=1)}
    )
    with pytest.raises(ValueError, match="pair has no condition for v on the walls of x"):
        js.solve(problem, js.Spectral(8, dt=0.1))


def test_too_many_dense_unknowns_are_refused_with_the_cure():
    problem = js.Problem(
        js.Equation(lambda u: u.xx + u.yy - 1),
        js.Box(x=(0, 1), y=(0, 1)),
        boundary={"x": js.Dirichlet(1), "y": js.Dirichlet(1)},
    )
    with pytest.raises(ValueError, match=r"9801 unknowns are too many \(at most 4096\). Use a smaller n"):
        js.solve(problem, js.Spectral(100))
