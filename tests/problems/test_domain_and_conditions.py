"""Boxes, wall conditions and formulas: what they hold, and what they say of what they cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems import Formula

box = js.Box(x=(-1, 3), t=(0, 2))


def test_box_orders_its_coordinates_and_knows_its_lengths():
    assert box.coordinates == tuple(box) == ("t", "x")
    assert box.space == ("x",)
    assert box.lengths == (4.0,)
    assert box["t"] == (0.0, 2.0)
    assert "x" in box
    assert "y" not in box
    assert repr(box) == "Box(t=(0, 2), x=(-1, 3))"


def test_equal_boxes_are_one_key():
    assert len({box, js.Box(t=(0, 2), x=(-1, 3)), js.Box(t=(0, 2), x=(-1, 4))}) == 2
    assert box != "Box(t=(0, 2), x=(-1, 3))"


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (lambda: js.Box(), ValueError, "at least one coordinate"),
        (lambda: js.Box(w=(0, 1)), ValueError, "coordinate 'w' does not exist; there is 't', 'x', 'y', 'z'"),
        (lambda: js.Box(x=(1, 0)), ValueError, r"x must be finite with lower < upper, got \(1, 0\)"),
        (lambda: js.Box(t=(0, np.inf)), ValueError, "t must be finite"),
        (lambda: js.Box(t=(0, np.nan)), ValueError, "t must be finite"),
        (lambda: js.Box(y=1), ValueError, r"y must be an interval \(lower, upper\), got 1"),
        (lambda: js.Box(y=(0, 1, 2)), ValueError, r"y must be an interval"),
        (lambda: js.Box(y="ab"), ValueError, r"y must be an interval"),
        (lambda: box["z"], KeyError, "coordinate 'z' does not exist; there is 't', 'x'"),
        (lambda: js.Dirichlet(), TypeError, r"Dirichlet: give one value, or values by unknown, as in Dirichlet\(u=0, v=1\)"),
        (lambda: js.Neumann(0, u=1), TypeError, "Neumann: give one value, or"),
        (lambda: js.Dirichlet(np.ones(3)), TypeError, "condition is a number, an expression, or a function.*got array"),
        (lambda: js.Dirichlet("sin"), TypeError, "condition is a number.*got 'sin'"),
        (lambda: js.Dirichlet(lambda *x: x), TypeError, "argument 'x' must be a plain named argument"),
    ],
)
def test_wrong_boxes_and_conditions_are_refused(wrong, error, match):
    with pytest.raises(error, match=match):
        wrong()


def test_conditions_compare_by_what_they_say():
    conditions = [js.Dirichlet(0), js.Dirichlet(0.0 * 1), js.Dirichlet(u=0), js.Neumann(0), js.Dirichlet(lambda t: t)]
    assert js.Dirichlet(0) == js.Dirichlet(0)
    assert js.Dirichlet(lambda t: js.sin(t)) == js.Dirichlet(lambda t: js.sin(t))
    assert js.Dirichlet(0) != js.Neumann(0)
    assert js.Dirichlet(0) != js.Dirichlet(u=0)
    assert len(set(conditions[:1] + conditions[2:])) == 4
    assert js.Periodic() == js.Periodic()


# --- formulas ---------------------------------------------------------------------------------------------------------


def symbolic(x, amplitude):
    return amplitude * js.sin(np.pi * x)


def opaque(x, amplitude):
    return jnp.where(x > 0, amplitude * jnp.sin(jnp.pi * x), 0.0)


def test_functions_become_expressions_where_they_can():
    made, kept = Formula.of(symbolic), Formula.of(opaque)
    assert repr(made.expression) == "Expression(amplitude*sin(pi*x))"
    assert kept.expression is None
    assert made.arguments == ("amplitude", "x")
    assert kept.arguments == ("x", "amplitude")
    assert made.coordinates == kept.coordinates == ("x",)
    assert made.latex({"amplitude": "A"}) == r"A \sin{\left(\pi x \right)}"
    assert kept.latex() == r"\mathrm{opaque}"
    assert Formula.of(made) is made


def test_zero_is_recognised_and_what_only_looks_like_it_is_not():
    assert Formula.of(0).is_zero
    assert Formula.of(lambda x: x - x).is_zero
    assert not Formula.of(lambda x: 0.0 * jnp.sin(x)).is_zero  # opaque: nobody can know


@pytest.mark.parametrize("function", [symbolic, opaque, 3.0, lambda amplitude: 2 * amplitude, lambda x: x])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_formulas_fill_the_broadcast_shape_in_the_dtype_of_the_coordinates(function, dtype):
    x, y = jnp.linspace(-1, 1, 5, dtype=dtype)[:, None], jnp.linspace(0, 1, 3, dtype=dtype)
    amplitude = jnp.asarray(2.0, dtype)
    values = Formula.of(function)({"x": x, "y": y}, {"amplitude": amplitude})
    arguments = {"x": x, "amplitude": amplitude}
    names = Formula.of(function).arguments
    concrete = {symbolic: lambda x, amplitude: amplitude * jnp.sin(jnp.pi * x)}.get(function, function)
    expected = concrete(**{n: arguments[n] for n in names}) if callable(concrete) else concrete
    assert values.shape == (5, 3)
    assert values.dtype == dtype
    np.testing.assert_allclose(values, np.broadcast_to(expected, (5, 3)), atol=4 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("function", [symbolic, opaque])
def test_formulas_pass_jit_vmap_and_grad(function):
    formula, x = Formula.of(function), jnp.linspace(0.1, 0.9, 4)
    expected = jnp.sin(jnp.pi * x)  # the slope in the amplitude
    at = lambda amplitude: formula({"x": x}, {"amplitude": amplitude})
    np.testing.assert_allclose(jax.jit(jax.jacrev(at))(2.0), expected, atol=1e-15)
    np.testing.assert_allclose(jax.vmap(at)(jnp.arange(3.0)), jnp.arange(3.0)[:, None] * expected, atol=1e-15)


def test_identity_of_an_opaque_formula_is_in_its_values_over_the_box():
    """Two steps that differ only far from the unit interval are two problems."""
    step = lambda where: Formula.of(lambda x: jnp.where(x > where, 1.0, 0.0)).identity({"x": (0.0, 10.0)}, {})
    assert step(3.0) == step(3.0)
    assert step(3.0) != step(5.0)
