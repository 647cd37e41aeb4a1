"""The spectral lid-driven cavity as a function: its corner terms, derivatives, transformations and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.solvers import cavity, cavity_corners

# The compiler takes all the time here: let it optimise less.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
N = 12  # small: nothing here is about accuracy


@functools.cache
def flow(viscosity=0.02, n=N):
    return js.solvers.steady_cavity(viscosity, n=n).check()


def angle_terms(angular, order):
    """The terms of an angular function's derivatives at points that include lid and wall."""
    for _ in range(order):
        angular = cavity_corners._derivative(angular)
    return cavity_corners.angular_value(angular, np.linspace(0, np.pi / 2, 9))


def test_corner_terms_solve_their_equations():
    f, _, f2, f3, f4 = (angle_terms(cavity.STOKES, k) for k in range(5))
    np.testing.assert_allclose(f + 2 * f2 + f4, 0, atol=1e-14)  # r f is biharmonic
    g, g1, g2, _, g4 = (angle_terms(cavity.INERTIAL, k) for k in range(5))
    f1 = angle_terms(cavity.STOKES, 1)
    np.testing.assert_allclose(g4 + 4 * g2, f1 * (f + f2) + f * (f1 + f3), atol=1e-13)
    assert [f[0], f[-1], f1[0], f1[-1]] == pytest.approx([0, 0, -1, 0], abs=1e-14)  # the lid's speed, walls at rest
    assert [g[0], g[-1], g1[0], g1[-1]] == pytest.approx([0, 0, 0, 0], abs=1e-14)
    assert np.abs(g).max() > 1e-3


def test_parts_about_a_corner_are_derivatives_of_one_function():
    """By interpolation: a polynomial through the values in a small box, differentiated exactly."""
    nodes, chebyshev = np.cos(np.pi * (np.arange(12) + 0.5) / 12), np.polynomial.chebyshev
    mesh = np.meshgrid(0.4 + 0.1 * nodes, 0.6 + 0.1 * nodes, indexing="ij")
    got = cavity_corners.corner_parts(*mesh, 2, cavity.INERTIAL)
    series = np.linalg.solve(chebyshev.chebvander(nodes, 11), got.psi)
    series = np.linalg.solve(chebyshev.chebvander(nodes, 11), series.T).T

    def d(i, j):
        slopes = chebyshev.chebder(chebyshev.chebder(series, i, axis=0), j, axis=1) * 10 ** (i + j)
        return chebyshev.chebval2d(0.0, 0.0, slopes)

    want = [d(0, 0), d(1, 0), d(0, 1), d(3, 0) + d(1, 2), d(2, 1) + d(0, 3), d(4, 0) + 2 * d(2, 2) + d(0, 4)]
    here = cavity_corners.corner_parts(np.asarray(0.4), np.asarray(0.6), 2, cavity.INERTIAL)
    np.testing.assert_allclose([*here[:5], here.biharmonic], want, rtol=1e-6, atol=1e-7)


@functools.cache
def at_points():
    """(u, v, psi, w, u_x, u_y, v_x, v_y) at points, compiled once."""

    def at(flow, x, y):
        slopes = jax.jacfwd(lambda z: flow(*z))(jnp.stack([x, y])).ravel()
        return jnp.stack([*flow(x, y), flow.stream_function(x, y), flow.vorticity(x, y), *slopes])

    compiled = jit(lambda flow, x, y: jax.vmap(at, (None, 0, 0))(flow, x, y))
    return lambda x, y: compiled(flow(), jnp.asarray(x), jnp.asarray(y))


@pytest.mark.slow
def test_walls_are_held():
    s, zero, one = np.linspace(0, 1, 7), np.zeros(7), np.ones(7)
    np.testing.assert_allclose(at_points()(s, one)[:, :3], np.tile([1.0, 0, 0], (7, 1)), atol=1e-11)  # both corners too
    still = s.copy()
    still[-1] = 0.5  # not the corner
    for wall in (at_points()(s, zero), at_points()(zero, still), at_points()(one, still)):
        np.testing.assert_allclose(wall[:, :3], 0, atol=1e-9)


@pytest.mark.slow
def test_vorticity_is_the_curl_of_a_solenoidal_velocity():
    _, _, _, w, u_x, u_y, v_x, v_y = at_points()(np.linspace(0.1, 0.9, 7), np.linspace(0.3, 0.95, 7)).T
    np.testing.assert_allclose(w, v_x - u_y, atol=1e-11)
    np.testing.assert_allclose(u_x + v_y, 0, atol=1e-11)
    assert np.abs(w).max() > 1


@pytest.mark.slow
def test_derivatives_in_the_viscosity_are_those_of_the_equation():
    def circulation(viscosity):
        return js.solvers.steady_cavity(viscosity, n=N).stream_function(0.45, 0.6)

    at, step = 0.02, 1e-5
    both = jit(jax.value_and_grad(circulation))
    value, slope = both(at)
    (above, slope_above), (below, slope_below) = both(at + step), both(at - step)
    assert float(value) == pytest.approx(float(flow().stream_function(0.45, 0.6)), rel=1e-10)
    assert float(slope) == pytest.approx(float(above - below) / (2 * step), rel=1e-4)
    curvature = jit(jax.jacfwd(jax.grad(circulation)))(at)  # the implicit function theorem applied twice
    assert float(curvature) == pytest.approx(float(slope_above - slope_below) / (2 * step), rel=1e-4)


@pytest.mark.slow  # the compiler's seconds
def test_a_batch_of_viscosities_is_one_call():
    flows = jax.vmap(lambda nu: js.solvers.steady_cavity(nu, n=N))(jnp.asarray([0.02, 0.05]))
    assert jnp.allclose(flows.values[0], flow().values, atol=1e-9)
    assert jnp.allclose(flows.values[1], flow(0.05).values, atol=1e-9)
    flows.check()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="n must be a whole number >= 12, got 8"):
        js.solvers.steady_cavity(0.01, n=8)
    with pytest.raises(ValueError, match=r"viscosity must be positive, got -0\.01"):
        js.solvers.steady_cavity(-0.01)
    with pytest.raises(ValueError, match=r"viscosity must be a scalar, got shape \(2,\).*jax.vmap"):
        js.solvers.steady_cavity(jnp.ones(2), n=N)
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 only"):
        js.solvers.steady_cavity(0.01)


def test_a_failed_newton_iteration_is_told():
    failed = js.solvers.steady_cavity(1e-5, n=12)  # far too few polynomials
    assert not failed.change < 1e-3
    with pytest.raises(FloatingPointError, match=r"steady_cavity: Newton's method stopped.*larger n"):
        failed.check()


@pytest.mark.slow
def test_a_regularised_lid_has_its_speed_and_other_walls_rest():
    flow = js.solvers.steady_cavity(0.01, n=18, regularised=True).check()
    x = jnp.linspace(0, 1, 7)
    np.testing.assert_allclose(jax.vmap(flow, (0, None))(x, 1.0)[:, 0], 16 * x**2 * (1 - x) ** 2, atol=1e-12)
    for at in ((x, 0 * x), (0 * x, x), (0 * x + 1, x)):
        np.testing.assert_allclose(jax.vmap(flow)(*at), 0, atol=1e-12)
    finer = js.solvers.steady_cavity(0.01, n=24, regularised=True)
    assert abs(flow.stream_function(0.5, 0.5) - finer.stream_function(0.5, 0.5)) < 1e-6  # measured 4e-9 from n = 24 to 32
    assert float(finer.stream_function(0.5, 0.5)) == pytest.approx(-0.05164011, abs=1e-7)


def test_the_lift_has_what_the_walls_prescribe():
    slopes = jit(jax.vmap(jax.value_and_grad(js.solvers.cavity_lift, argnums=(0, 1)), in_axes=(0, 0, None)))
    s, zero = jnp.linspace(0.05, 0.95, 7), jnp.zeros(7)
    for x, y, speed in ((s, zero, 0), (s, zero + 1, 1), (zero, s, 0), (zero + 1, s, 0)):
        value, (along_x, along_y) = slopes(x, y, 0.01)
        np.testing.assert_allclose(value, 0, atol=2e-11)  # 1 / viscosity times round-off
        np.testing.assert_allclose(along_x, 0, atol=1e-10)
        np.testing.assert_allclose(along_y, speed, atol=1e-10)
