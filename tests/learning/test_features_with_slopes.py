"""Features in time slabs hold slopes and Robin conditions, and refuse what they do not carry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

HEAT = js.Equation(lambda u, k: u.t - k * u.xx, name="heat")


def rod(left, right, **more):
    box = js.Box(t=(0, 0.5), x=(0, 1))
    return js.Problem(
        HEAT, box, coefficients={"k": 1.0}, initial={"u": lambda x: x * x - 2 * x}, boundary={"x": (left, right)}, **more
    )


@pytest.mark.slow
def test_heat_between_a_value_and_a_slope():
    problem = rod(js.Dirichlet(lambda t: 2 * t), js.Neumann(0))  # u = x^2 - 2 x + 2 t
    solution = js.solve(problem, js.RandomFeatures(60, scale=1.0), ts=[0.0, 0.5])
    x = np.asarray(solution.grid["x"])
    np.testing.assert_allclose(solution["u"][-1], x * x - 2 * x + 1, atol=5e-6)  # measured 1e-6
    slope = jax.grad(lambda x: solution.field(jnp.asarray(0.3), x)[0])(jnp.asarray(1.0))
    assert abs(float(slope)) < 1e-12


def test_rates_that_are_coefficients_are_refused():
    problem = rod(js.Dirichlet(lambda t: 2 * t), js.Robin(lambda k: k, lambda t, k: k * (2 * t - 1)))
    with pytest.raises(ValueError, match=r"a Robin rate that is a coefficient \(on the wall x = 1\); use js.Neural"):
        js.solve(problem, js.RandomFeatures(60, scale=1.0), ts=[0.0, 0.5])
