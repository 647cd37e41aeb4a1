"""The rest in the form that takes the fewest transforms: how many it takes, and that it is the same rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import jaxsci as js
from jaxsci.problems.flow import velocity_equation, velocity_equation_3d, vorticity_equation
from jaxsci.solvers.etdrk import combine
from jaxsci.solvers.lines import FourierLines, structure
from jaxsci.solvers.torus import Axis, Torus

scaled = js.Equation(  # the other sign of the stream function, a factor, a drag and a forcing
    lambda w, psi, c, x, y: (
        w.t + c * (psi.x * w.y - psi.y * w.x) + 0.1 * w**2 - 0.01 * (w.xx + w.yy) - js.cos(x) * js.sin(y),
        2 * psi.xx + 2 * psi.yy - 3 * w,
    ),
    "w psi",
    name="scaled",
)
FLOWS = {
    "vorticity": vorticity_equation,
    "velocity": velocity_equation,
    "velocity 3-D": velocity_equation_3d,
    "scaled": scaled,
}


def lines_of(equation, sizes):
    axes = tuple(Axis(name, 0.0, length, n) for name, length, n in zip("xyz", (2.0, 3.0, 5.0), sizes, strict=False))
    return FourierLines(equation, Torus(axes), ((1,) * len(axes),) * len(equation.unknowns))


def solenoidal_state(lines, operators, seed=0):
    """A random state; minus the rates that a rest equal to it would cause is its projection on what the constraints allow."""
    fields = np.random.default_rng(seed).normal(size=(len(lines.component_names), *lines.torus.shape))
    state = lines.encode(jnp.asarray(fields))
    return -combine(operators.rates, state) if lines.parts.projected else state


@pytest.mark.parametrize(
    ("name", "back", "forth"),
    [("vorticity", 2, 2), ("velocity", 2, 2), ("velocity 3-D", 3, 5), ("scaled", 3, 3)],  # scaled: w and w^2 besides
)
def test_flows_take_the_known_least_number_of_transforms(name, back, forth):
    form = structure(FLOWS[name]).economical
    assert (len(form.needed), len(form.formulas)) == (back, forth)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [(n, (12, 10)) for n in ("vorticity", "velocity", "scaled")]
    + [pytest.param("velocity 3-D", (8, 6, 10), marks=pytest.mark.slow)],
)
def test_the_economical_form_gives_the_same_rates(name, sizes):
    lines = lines_of(FLOWS[name], sizes)
    coefficients = {"viscosity": 0.1, "c": 0.7}
    operators = jax.jit(lambda: lines.operators(coefficients, jnp.dtype(float)))()
    state = solenoidal_state(lines, operators)
    rates = lines.nonlinear(operators, coefficients, state, 0.3)
    plain = combine(operators.rates, lines.rest_modes(operators, coefficients, state, 0.3))
    size = float(jnp.abs(plain).max())
    assert size > 0.05
    assert float(jnp.abs(rates - plain).max()) < 1e-13 * size


def test_on_a_field_with_divergence_the_forms_differ():
    """The identity needs the constraint: the negative control of the test above."""
    lines = lines_of(velocity_equation, (12, 10))
    coefficients = {"viscosity": 0.1}
    operators = lines.operators(coefficients, jnp.dtype(float))
    state = lines.encode(jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 10))))
    assert float(jnp.abs(lines.nonlinear(operators, coefficients, state, 0.0)).max()) > 0.1
    form = structure(velocity_equation)
    advective = sum(sympy.Abs(t.formula) for t in form.rest)  # as it was written
    assert advective.has(sympy.Derivative)
    assert not any(f.has(sympy.Derivative) for f in form.economical.formulas)


def test_a_pressure_that_occurs_elsewhere_keeps_its_trace():
    weighted = js.Equation(
        lambda u, v, p: (u.t + u * u.x + v * u.y + p.x + 0.1 * p * u, v.t + u * v.x + v * v.y + p.y, u.x + v.y),
        "u v p",
        name="weighted",
    )
    assert len(structure(weighted).economical.formulas) == 4  # u^2, uv, v^2 and p u


def test_different_viscosities_are_not_taken_for_a_projected_diagonal():
    uneven = js.Equation(
        lambda u, v, p: (u.t + u * u.x + v * u.y + p.x - 0.1 * u.xx, v.t + u * v.x + v * v.y + p.y - 0.2 * v.xx, u.x + v.y),
        "u v p",
        name="uneven",
    )
    assert structure(velocity_equation).projected
    assert structure(velocity_equation).diagonal
    assert not structure(uneven).projected
    assert not structure(uneven).diagonal


def test_sources_are_transformed_once_and_for_all():
    forced = js.Equation(lambda u, f, t, x: u.t + u * u.x - f * js.cos(x) - js.sin(t) * js.cos(2 * x), name="forced")
    form = structure(forced)
    assert len(form.sources.formulas) == 1
    assert len(form.economical.formulas) == 2  # the square, and what depends on time
    lines = FourierLines(forced, Torus((Axis("x", 0.0, 2 * np.pi, 16),)), ((1,),))
    slope = jax.grad(lambda f: jnp.real(lines.operators({"f": f}, jnp.dtype(float)).source[0, 1]))(2.0)
    assert float(slope) == pytest.approx(-0.5)  # cos x has the coefficient 1/2, the rest stands on the left


def test_products_that_occur_twice_are_evaluated_once():
    twice = js.Equation(lambda u, v: (u.t + (u * v).x, v.t - 3 * (u * v).y), "u v", name="twice")
    form = structure(twice).economical
    assert len(form.formulas) == 1
    assert [(use.row, use.letters, float(use.factor)) for use in form.uses] == [(0, "x", 1.0), (1, "y", -3.0)]
