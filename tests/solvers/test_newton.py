"""Roots by Newton's method: exact first and second derivatives in both modes, and a NaN where there is no root."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.solvers.newton import root


def gap(power, w, arguments):
    return w**power - arguments["a"]


def step(power, w, arguments, r):
    return r / (power * w ** (power - 1))


def cube_root(a):
    return root(gap, step, jnp.ones_like(a), 3, {"a": a})


def test_root_and_its_derivatives_of_first_and_second_order():
    a = jnp.asarray([0.5, 2.0, 30.0])
    np.testing.assert_allclose(cube_root(a), np.cbrt(a), rtol=1e-14)
    one = lambda x: cube_root(x[None])[0]
    for mode in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(jax.vmap(mode(one))(a), np.cbrt(a) / (3 * a), rtol=1e-13)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(one)))(a), -2 / 9 * np.cbrt(a) / a**2, rtol=1e-12)
    np.testing.assert_allclose(jax.jit(cube_root)(a), cube_root(a), rtol=1e-15)


def test_root_that_does_not_exist_is_nan():
    assert jnp.isnan(root(gap, step, jnp.ones(1), 2, {"a": jnp.asarray([-1.0])})).all()


def test_single_precision_is_reached():
    with jax.enable_x64(False):
        found = cube_root(jnp.asarray([7.0]))
        assert found.dtype == jnp.float32
        assert float(found[0]) == pytest.approx(7 ** (1 / 3), rel=3e-7)
