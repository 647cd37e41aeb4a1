"""Quintic Hermite interpolation in time: exact for quintics, of order six, with the given slopes at the nodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.hermite import locate, quintic


def nodes_of(function, ts):
    first, second = jax.grad(function), jax.grad(jax.grad(function))
    return [jax.vmap(f)(ts) for f in (function, first, second)]


@jax.jit
def interpolate(ts, nodes, points):
    """Value, slope and curvature of the interpolant at points."""
    at = lambda t: quintic(ts, *nodes, t)
    return [jax.vmap(f)(points) for f in (at, jax.grad(at), jax.grad(jax.grad(at)))]


def test_quintics_are_interpolated_exactly():
    polynomial = np.polynomial.Polynomial([1, -1, 2, -3, 0.5, -0.2])
    ts, points = np.array([0.0, 0.3, 1.0, 1.1]), np.array([0.0, 0.17, 0.3, 0.77, 1.1])
    value, slope, _ = interpolate(ts, [polynomial.deriv(k)(ts) if k else polynomial(ts) for k in range(3)], points)
    assert np.asarray(value) == pytest.approx(polynomial(points), abs=1e-14)
    assert np.asarray(slope) == pytest.approx(polynomial.deriv()(points), abs=1e-12)


def test_value_slope_and_curvature_are_those_given_at_the_nodes():
    ts = np.array([0.0, 0.5, 2.0])
    nodes = list(np.random.default_rng(0).normal(size=(3, 3)))
    for found, given in zip(interpolate(ts, nodes, ts), nodes, strict=True):
        assert np.asarray(found) == pytest.approx(given, abs=1e-12)


@pytest.mark.slow
def test_interpolation_is_of_order_six_and_its_slope_of_order_five():
    function, errors = (lambda t: jnp.sin(3 * t) * jnp.exp(t)), []
    points = np.linspace(0.0, 1.0, 301)
    exact, exact_slope, _ = jax.jit(functools.partial(nodes_of, function))(points)
    for intervals in (8, 16, 32):
        ts = np.linspace(0.0, 1.0, intervals + 1)
        value, slope, _ = interpolate(ts, jax.jit(functools.partial(nodes_of, function))(ts), points)
        errors.append([np.abs(value - exact).max(), np.abs(slope - exact_slope).max()])
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
