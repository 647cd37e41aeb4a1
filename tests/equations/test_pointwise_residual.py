"""The pointwise residual: values against hand-made derivatives, its transformations, and its messages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

burgers = js.Equation(lambda u, viscosity: u.t + u * u.x - viscosity * u.xx, "u", name="burgers")
box = js.Box(t=(0, 1), x=(-1, 1))
problem = js.Problem(burgers, box, coefficients={"viscosity": 0.1}, initial={"u": lambda x: js.sin(np.pi * x)})
r = js.residual(problem)
points = np.random.default_rng(0).uniform(-1, 1, size=(7, 2))


def field(t, x):
    return jnp.exp(-t) * jnp.sin(2 * x)


def by_hand(points, viscosity):
    t, x = np.asarray(points).T
    u, u_x = np.exp(-t) * np.sin(2 * x), 2 * np.exp(-t) * np.cos(2 * x)
    return (-u + u * u_x + 4 * viscosity * u)[:, None]


def test_residual_is_what_the_derivatives_by_hand_give():
    np.testing.assert_allclose(r(field, None, points), by_hand(points, 0.1), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "same_field",
    [lambda t, x: jnp.stack([field(t, x)]), lambda t, x: {"u": field(t, x)}],
)
def test_field_may_be_a_scalar_an_array_or_a_dict(same_field):
    np.testing.assert_allclose(r(same_field, None, points), by_hand(points, 0.1), rtol=1e-12, atol=1e-15)


def test_points_may_be_columns_by_name():
    columns = {"x": points[:, 1], "t": points[:, 0]}
    np.testing.assert_array_equal(r(field, None, columns), r(field, None, points))


def test_no_points_give_no_rows():
    assert r(field, None, points[:0]).shape == (0, 1)


def test_coefficients_replace_the_problem_s_own():
    np.testing.assert_allclose(r(field, {"viscosity": 0.7}, points), by_hand(points, 0.7), rtol=1e-12, atol=1e-15)
    alone = js.residual(burgers)
    assert alone.coordinates == ("t", "x")
    np.testing.assert_array_equal(alone(field, {"viscosity": 0.7}, points), r(field, {"viscosity": 0.7}, points))


def test_conservative_form_means_the_same_at_points():
    conservative = js.Equation(lambda u, viscosity: u.t + (u * u / 2 - viscosity * u.x).x)
    got = js.residual(conservative)(field, {"viscosity": 0.1}, points)
    np.testing.assert_allclose(got, by_hand(points, 0.1), rtol=1e-12, atol=1e-15)


def test_repeated_coordinates_in_a_derivative_add_up():
    third = js.residual(js.Equation(lambda u: u.xtx))(lambda t, x: jnp.sin(t) * x**4, None, points)
    np.testing.assert_allclose(third[:, 0], 12 * points[:, 1] ** 2 * np.cos(points[:, 0]), rtol=1e-13)


def test_systems_give_one_column_per_equation():
    """Taylor-Green vortices and a field that is no solution, against derivatives by hand."""
    flow = js.problems.navier_stokes_velocity(viscosity=0.3)
    three = np.random.default_rng(1).uniform(0, 1, size=(5, 3))
    assert js.residual(flow).coordinates == ("t", "x", "y")
    np.testing.assert_allclose(js.residual(flow)(flow.exact_field, None, three), np.zeros((5, 3)), atol=1e-14)

    def other(t, x, y):
        return {"p": x * y, "u": t * y**2, "v": x**2}  # in any order

    t, x, y = three.T
    u_row = y**2 + x**2 * 2 * t * y + y - 0.3 * 2 * t
    v_row = t * y**2 * 2 * x + x - 0.3 * 2
    expected = np.stack([u_row, v_row, np.zeros(5)], axis=-1)
    np.testing.assert_allclose(js.residual(flow)(other, None, three), expected, rtol=1e-13, atol=1e-14)


def test_explicit_coordinates_and_coefficient_functions():
    """-(k(x) u_x)_x + net(u) = sin(x) with k and net functions: their slopes come from the product and chain rules."""
    equation = js.Equation(lambda u, x, conductivity, net: -(conductivity(x) * u.x).x + net(u).x - js.sin(x))
    values = {"conductivity": lambda x: 1 + x**2, "net": jnp.tanh}
    x = points[:, 1]
    got = js.residual(equation)(lambda x: x**3, values, points[:, 1:])[:, 0]
    expected = -(2 * x * 3 * x**2 + (1 + x**2) * 6 * x) + 3 * x**2 / np.cosh(x**3) ** 2 - np.sin(x)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_learned_closure_is_one_line_and_differentiates_in_its_parameters():
    @js.equation("u")
    def closed(u, network):
        return u.t - network(u)

    def network(weights):
        return jax.tree_util.Partial(lambda w, u: w[0] * jnp.tanh(w[1] * u), weights)

    def loss(weights):
        return jnp.sum(js.residual(closed)(lambda t: jnp.exp(-t), {"network": network(weights)}, points[:, :1]) ** 2)

    weights = jnp.asarray([0.5, -1.2])
    gradient = jax.jit(jax.grad(loss))(weights)
    for i in range(2):
        step = 1e-5 * jnp.eye(2)[i]
        difference = (loss(weights + step) - loss(weights - step)) / 2e-5
        assert gradient[i] == pytest.approx(float(difference), rel=1e-8)


# --- transformations --------------------------------------------------------------------------------------------------


def mean_square(viscosity, points):
    return jnp.mean(r(field, {"viscosity": viscosity}, points) ** 2)


def test_jit_and_vmap_equal_a_loop():
    many = jnp.asarray([0.05, 0.1, 0.4])
    together = jax.jit(jax.vmap(lambda k: r(field, {"viscosity": k}, points)))(many)
    assert together.shape == (3, 7, 1)
    for k, row in zip(many, together, strict=True):
        np.testing.assert_allclose(row, by_hand(points, float(k)), rtol=1e-12, atol=1e-15)


def test_gradient_in_coefficients_and_points_equals_finite_differences():
    by_coefficient, by_point = jax.jit(jax.grad(mean_square, argnums=(0, 1)))(0.1, jnp.asarray(points))
    h = 1e-6
    difference = (mean_square(0.1 + h, points) - mean_square(0.1 - h, points)) / (2 * h)
    assert float(by_coefficient) == pytest.approx(float(difference), rel=1e-8)
    moved = np.zeros_like(points)
    moved[3, 1] = h
    difference = (mean_square(0.1, points + moved) - mean_square(0.1, points - moved)) / (2 * h)
    assert float(by_point[3, 1]) == pytest.approx(float(difference), rel=1e-7)


def test_gradient_through_the_problem_equals_that_by_name():
    through = jax.grad(lambda p: jnp.mean(js.residual(p)(field, None, points) ** 2))(problem)
    assert isinstance(through, js.Problem)
    assert float(through.coefficients["viscosity"]) == pytest.approx(float(jax.grad(mean_square)(0.1, points)), rel=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_that_of_the_points(dtype):
    got = r(field, None, jnp.asarray(points, dtype))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, by_hand(points, 0.1), atol=20 * jnp.finfo(dtype).eps)


def test_static_argument_does_not_keep_old_coefficients():
    """Residuals of two problems that differ in a coefficient are different static arguments of one jitted function."""
    evaluate = jax.jit(lambda residual: residual(field, None, points), static_argnums=0)
    other = js.residual(problem.with_coefficients(viscosity=0.7))
    np.testing.assert_allclose(evaluate(r), by_hand(points, 0.1), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(evaluate(other), by_hand(points, 0.7), rtol=1e-12, atol=1e-15)
    assert dataclasses.replace(other, defaults=()) == dataclasses.replace(r, defaults=())


def test_coefficients_of_the_conditions_are_no_strangers_to_the_residual():
    with_amplitude = js.Problem(
        burgers, box, coefficients={"viscosity": 0.1, "amplitude": 2.0}, initial={"u": lambda x, amplitude: amplitude * x}
    )
    np.testing.assert_array_equal(js.residual(with_amplitude)(field, None, points), r(field, None, points))


# --- messages ---------------------------------------------------------------------------------------------------------

columns = {"t": points[:, 0], "x": points[:, 1]}


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: r(field), TypeError, "points are missing"),
        (lambda: r(field, {"viscosty": 0.1}, points), KeyError, "'viscosty' does not exist.*Did you mean 'viscosity'?"),
        (lambda: r(field, {"viscosity": np.ones(7)}, points), ValueError, r"viscosity must be a scalar.*\(7,\).*jax.vmap"),
        (lambda: r(field, {"viscosity": 1j}, points), TypeError, "viscosity must be real floating point, got dtype complex"),
        (lambda: r(field, {"viscosity": True}, points), TypeError, "viscosity must be real floating point, got dtype bool"),
        (lambda: r(field, {"viscosity": "0.1"}, points), TypeError, "viscosity must be a real number or array, got '0.1'"),
        (lambda: r(field, {"viscosity": None}, points), TypeError, "viscosity must be a real number or array, got None"),
        (lambda: r(field, {"viscosity": jnp.sin}, points), TypeError, "viscosity must be a number.*does not call it"),
        (lambda: js.residual(burgers)(field, None, points), KeyError, "coefficient 'viscosity' missing"),
        (lambda: r(field, None, {"t": columns["t"]}), KeyError, "coordinate 'x' missing; got 't'"),
        (
            lambda: r(field, None, columns | {"y": columns["x"]}),
            KeyError,
            "coordinate 'y' does not exist; there is 't', 'x'",
        ),
        (lambda: r(field, None, columns | {"x": np.ones(3)}), ValueError, r"one length, got shapes .*'x': \(3,\)"),
        (
            lambda: r(field, None, points[:, :1]),
            ValueError,
            r"shape \(points, 2\), the columns 't', 'x'; got shape \(7, 1\)",
        ),
        (lambda: r(field, None, points[0]), ValueError, r"got shape \(2,\)"),
        (lambda: r(field, None, np.ones((3, 2), int)), TypeError, "coordinate t must be floating point, got dtype int"),
        (lambda: r(lambda t, x: jnp.stack([t, x]), None, points), ValueError, r"return a scalar.*\(2,\).*ONE point"),
        (lambda: r(lambda t, x: {"v": t}, None, points), KeyError, "unknown 'v' does not exist; there is 'u'"),
        (lambda: js.residual(3), TypeError, "give a Problem or an Equation, got int"),
    ],
)
def test_wrong_arguments_are_named(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_field_of_a_system_must_return_every_unknown():
    lorenz = js.residual(js.problems.lorenz())
    with pytest.raises(ValueError, match=r"shape \(3,\), one entry for each of 'x1', 'x2', 'x3',.*got shape \(\)"):
        lorenz(jnp.sin, None, points[:, :1])
    with pytest.raises(KeyError, match="unknown 'x3' missing; got 'x1', 'x2'"):
        lorenz(lambda t: {"x1": t, "x2": t}, None, points[:, :1])


def test_coefficient_that_is_called_must_be_a_function():
    equation = js.Equation(lambda u, network: u.t - network(u))
    with pytest.raises(TypeError, match=r"network is called in the equation and must be a function, got 3.0"):
        js.residual(equation)(jnp.sin, {"network": 3.0}, points[:, :1])
