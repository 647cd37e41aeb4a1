"""Exact weak solutions: jumps travel at the speeds that conservation demands, and published values are met."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.problems.shocks import breaking_wave


def riemann_states(gamma=1.4):
    """(density, velocity, pressure) of Sod's tube at t = 0.2, ``[x, 3]``."""
    problem = js.problems.sod(gamma=gamma)
    return jax.jit(jax.vmap(lambda x: problem.exact_field(jnp.asarray(0.2), x)))


def test_sod_has_the_published_states():
    """Toro (2009), table 4.3, test 1."""
    middle_left, middle_right = np.asarray(riemann_states()(jnp.asarray([0.6, 0.75])))
    assert middle_left == pytest.approx([0.42632, 0.92745, 0.30313], abs=5e-6)
    assert middle_right == pytest.approx([0.26557, 0.92745, 0.30313], abs=5e-6)


@pytest.mark.parametrize("gamma", [1.4, 5 / 3])
def test_shock_of_sod_satisfies_rankine_and_hugoniot(gamma):
    x = jnp.linspace(0.7, 0.99, 20001)
    states = np.asarray(riemann_states(gamma)(x))
    k = np.argmax(np.abs(np.diff(states[:, 2])))
    speed = (float(x[k]) - 0.5) / 0.2
    behind, before = states[k], states[k + 1]
    conserved = lambda r, v, p: np.array([r, r * v, p / (gamma - 1) + r * v**2 / 2])
    flux = lambda r, v, p: np.array([r * v, r * v**2 + p, (p * gamma / (gamma - 1) + r * v**2 / 2) * v])
    jump = flux(*behind) - flux(*before)
    np.testing.assert_allclose(jump, speed * (conserved(*behind) - conserved(*before)), atol=2e-4)  # speed to a point
    assert np.linalg.norm(jump) > 0.5
    assert behind[0] > before[0]  # a gas is compressed by a shock: entropy


def test_sod_conserves_and_is_continuous_in_the_fan():
    x = jnp.asarray((np.arange(20000) + 0.5) / 20000)
    density, velocity, pressure = np.asarray(riemann_states()(x)).T
    assert density.mean() == pytest.approx((1 + 0.125) / 2, abs=2e-5)
    assert (density * velocity).mean() == pytest.approx(0.2 * (1 - 0.1), abs=5e-5)  # what the pressures at the ends push
    assert (pressure / 0.4 + density * velocity**2 / 2).mean() == pytest.approx((1 + 0.1) / 2 / 0.4, abs=5e-5)
    fan = x < 0.6
    assert np.abs(np.diff(density[fan])).max() < 3e-4
    assert np.ptp((pressure / density**1.4)[fan]) < 1e-14  # isentropic


def test_breaking_wave_conserves_and_has_its_shock_where_it_should():
    x = jnp.asarray(2 * np.pi * (np.arange(4001) + 0.5) / 4001)
    for t, height in ((0.5, None), (2.0, True)):
        u = np.asarray(jax.jit(jax.vmap(lambda x, t=t: breaking_wave(jnp.asarray(t), x, 0.5, 1.0)))(x))
        assert u.mean() == pytest.approx(0.5, abs=1e-3)
        k = np.argmin(np.diff(u))
        if height:
            assert float(x[k]) == pytest.approx(np.pi + 0.5 * t, abs=2 * np.pi / 4001)
            assert u[k] + u[k + 1] == pytest.approx(2 * 0.5, abs=1e-3)  # the speed is the mean of both sides
            assert u[k] - u[k + 1] == pytest.approx(2 * np.sin(1.895494267), abs=2e-3)  # s + 2 sin s = pi has s = 1.2461...
        else:
            assert np.abs(np.diff(u)).max() < 0.01
