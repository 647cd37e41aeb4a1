"""A stretched input of a network: fine where it is told, or where it learns to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.learning import Stretched


class Line:
    """The network that gives its second input back."""

    def init(self, key, inputs, outputs):
        return {"scale": jnp.ones(())}

    def apply(self, parameters, z):
        return parameters["scale"] * z[1:2]


def test_the_input_is_stretched_and_keeps_its_interval():
    network = Stretched(Line(), axis=1, centre=0.25, steepness=40.0)
    parameters = network.init(jax.random.key(0), 2, 1)
    at = jax.vmap(lambda x: network.apply(parameters, jnp.stack([jnp.asarray(0.3), x]))[0])
    x = jnp.linspace(-1, 1, 201)
    np.testing.assert_allclose(at(x)[jnp.asarray([0, -1])], [-1, 1], atol=1e-14)
    slope = np.gradient(np.asarray(at(x)), np.asarray(x))
    assert np.argmax(slope) == 125  # x = 0.25
    assert slope.max() > 8
    fixed = Stretched(Line(), axis=1, centre=0.25, steepness=40.0, learned=False)
    assert sorted(fixed.init(jax.random.key(0), 2, 1)) == ["scale"]
    np.testing.assert_allclose(
        fixed.apply({"scale": jnp.ones(())}, jnp.asarray([0.3, 0.1])), at(jnp.asarray([0.1])), rtol=1e-13
    )


def test_centre_and_steepness_have_gradients():
    network = Stretched(Line(), axis=1, steepness=5.0)
    parameters = network.init(jax.random.key(0), 2, 1)
    value = lambda p: network.apply(p, jnp.asarray([0.0, 0.3]))[0]
    slope, step = jax.grad(value)(parameters), 1e-6
    for name in ("stretch/centre", "stretch/log_steepness"):
        moved = [value(parameters | {name: parameters[name] + sign * step}) for sign in (1, -1)]
        assert float(slope[name]) == pytest.approx(float(moved[0] - moved[1]) / (2 * step), rel=1e-7)


def test_wrong_options_are_named():
    for options in ({"axis": -1}, {"axis": 0, "centre": 2.0}, {"axis": 0, "steepness": 0.0}):
        with pytest.raises(ValueError, match="axis must be the number of an input, centre lie in"):
            Stretched(Line(), **options)
    with pytest.raises(ValueError, match="axis must be less than 2, the number of inputs, got 2"):
        Stretched(Line(), axis=2).init(jax.random.key(0), 2, 1)


@pytest.mark.slow
def test_a_layer_is_learned_better_in_its_own_coordinate():
    """eps u_xx = u - 1 from 1 on the left to 0 on the right: a layer of width 0.01 there."""
    layer = js.Equation(lambda u, eps: eps * u.xx - u + 1, name="layer")
    exact = lambda x, eps: 1 - js.exp((x - 1) / js.sqrt(eps))
    walls = {"x": (js.Dirichlet(1), js.Dirichlet(0))}
    problem = js.Problem(layer, js.Box(x=(-1, 1)), coefficients={"eps": 1e-4}, boundary=walls, exact={"u": exact})
    errors = []
    for network in (js.networks.MLP((8, 8)), Stretched(js.networks.MLP((8, 8)), axis=0, centre=1.0, steepness=50.0)):
        method = js.Neural(network, optimiser=js.learning.LevenbergMarquardt(steps=100), budget=None, estimate=False)
        errors.append(js.relative_l2(js.solve(problem, method), problem.reference()))
    assert errors[1] < errors[0]
