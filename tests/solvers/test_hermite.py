"""Quintic Hermite interpolation in time: exact for quintics, of order six, with the given slopes at the nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.hermite import locate, quintic


def nodes_of(function, ts):
    first, second = jax.grad(function), jax.grad(jax.grad(function))
    return [jax.vmap(f)(ts) for f in (function, first, second)]


def test_quintics_are_interpolated_exactly():
    quintic_itself = lambda t: 1 - t + 2 * t**2 - 3 * t**3 + 0.5 * t**4 - 0.2 * t**5
    ts = jnp.asarray([0.0, 0.3, 1.0, 1.1])
    at = lambda t: quintic(ts, *nodes_of(quintic_itself, ts), t)
    for t in (0.0, 0.17, 0.3, 0.77, 1.1):
        assert float(at(t)) == pytest.approx(quintic_itself(t), abs=1e-14)
        assert float(jax.grad(at)(t)) == pytest.approx(float(jax.grad(quintic_itself)(t)), abs=1e-12)


def test_value_slope_and_curvature_are_those_given_at_the_nodes():
    ts = jnp.asarray([0.0, 0.5, 2.0])
    values, slopes, curvatures = np.random.default_rng(0).normal(size=(3, 3))
    at = lambda t: quintic(ts, jnp.asarray(values), jnp.asarray(slopes), jnp.asarray(curvatures), t)
    for i, t in enumerate(ts):
        assert float(at(t)) == pytest.approx(values[i])
        assert float(jax.grad(at)(t)) == pytest.approx(slopes[i])
        assert float(jax.grad(jax.grad(at))(t)) == pytest.approx(curvatures[i])


def test_interpolation_is_of_order_six_and_its_slope_of_order_five():
    function, errors = (lambda t: jnp.sin(3 * t) * jnp.exp(t)), []
    points = jnp.linspace(0.0, 1.0, 301)
    for intervals in (8, 16, 32):
        ts = jnp.linspace(0.0, 1.0, intervals + 1)
        nodes = nodes_of(function, ts)
        at = lambda t, ts=ts, nodes=nodes: quintic(ts, *nodes, t)
        value, slope = jax.jit(jax.vmap(jax.value_and_grad(at)))(points)
        exact, exact_slope = jax.vmap(jax.value_and_grad(function))(points)
        errors.append([jnp.max(jnp.abs(value - exact)), jnp.max(jnp.abs(slope - exact_slope))])
    orders = np.polyfit(np.log([8, 16, 32]), np.log(np.asarray(errors)), 1)[0]
    assert -orders == pytest.approx([6, 5], abs=0.2)


def test_states_of_any_shape_and_dtype_pass():
    ts = jnp.asarray([0.0, 1.0])
    values = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 4)) * (1 + 1j))
    zeros = jnp.zeros_like(values)
    assert jnp.allclose(quintic(ts, values, zeros, zeros, 0.5), values.mean(axis=0))


@pytest.mark.parametrize(("t", "index"), [(-1.0, 0), (0.0, 0), (0.99, 0), (1.0, 1), (2.5, 1), (3.0, 1), (9.0, 1)])
def test_times_are_located_in_their_interval_and_clipped(t, index):
    assert int(locate(jnp.asarray([0.0, 1.0, 3.0]), t)) == index
