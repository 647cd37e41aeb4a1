"""Flows with actuators: the attractor, the actuators' places, gradients, a feedback that calms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.systems.flows import kolmogorov_flow, kuramoto_sivashinsky

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def task():
    return kuramoto_sivashinsky(horizon=40)


def test_the_attractor_of_22_and_rest(task):
    """The energy is that of the chaotic attractor, and u = 0 stays where it is though it is unstable."""
    starts = task.parameters.starts
    assert starts.shape == (64, 64)
    assert 1.0 < float(jnp.mean(starts**2)) < 2.0  # u_rms is about 1.2 there
    np.testing.assert_allclose(starts.mean(axis=1), 0.0, atol=1e-10)  # the mean is conserved without actuators
    run = js.control.rollout(task, lambda p, o: jnp.zeros(4), None, initial=jnp.zeros(64))
    assert float(jnp.abs(run.final).max()) == 0.0
    assert float(run.total) == 0.0


def test_episodes_begin_at_different_places_and_the_sensors_see_them(task):
    run = js.control.rollout(task.replace(horizon=1), lambda p, o: jnp.zeros(4), None, KEY, batch=3)
    assert len(np.unique(np.asarray(run.states[:, 0, 0]))) == 3
    np.testing.assert_array_equal(run.observations, run.states[:, :, ::8])
    np.testing.assert_allclose(run.costs, jnp.mean(run.states**2, axis=-1))


@pytest.mark.slow
def test_gradient_of_a_rollout_in_actions_length_and_penalty(task):
    start, n = task.parameters.starts[0], 10
    short = task.replace(horizon=n)
    stepper = short.parameters.equation.stepper

    def loss(actions, scale, penalty):
        moved = stepper.with_coefficients(advection=scale * stepper.problem.coefficients["advection"])
        p = short.parameters._replace(equation=short.parameters.equation._replace(stepper=moved), penalty=penalty)
        return js.control.objective(short, js.control.sequence)(actions, KEY, parameters=p, initial=start)

    value, slopes = jax.jit(loss), jax.jit(jax.grad(loss, (0, 1, 2)))
    at = (0.3 * jax.random.normal(KEY, (n, 4)), jnp.asarray(1.0), jnp.asarray(0.1))
    found = slopes(*at)
    for i, h in ((0, 1e-4), (1, 1e-4), (2, 1e-4)):
        step = jnp.zeros(()) + h if i else h * jax.random.normal(jax.random.key(1), (n, 4))
        moved = lambda sign, i=i, step=step: [x + sign * step if j == i else x for j, x in enumerate(at)]
        expected = (value(*moved(1)) - value(*moved(-1))) / 2
        assert float(jnp.vdot(found[i], step)) == pytest.approx(float(expected), rel=1e-6)


def test_intervals_are_those_of_controlgym():
    """0.1 of the length, 256 points, 8 actuators: 25 or 26 points around the middle of each part."""
    still = np.zeros((1, 256))
    made = kuramoto_sivashinsky(
        length=32 * np.pi, n=256, actuators=8, sensors=10, support="interval", width=3.2 * np.pi, starts=still
    )  # fmt: skip
    shapes = np.asarray(made.parameters.equation.shapes[:, 0])
    for i in range(8):
        centre = int((0.5 + i) * 32)
        expected = np.zeros(256)
        expected[int(centre - 12.8) : int(centre + 12.8)] = 1
        np.testing.assert_array_equal(shapes[i], expected)
    assert made.observe(made.parameters, jnp.arange(256.0)).tolist() == [25.0 * i for i in range(10)]


@pytest.mark.slow
def test_kolmogorov_flow_its_laminar_state_and_its_patches():
    """The laminar flow is steady; the patches push along x; the gradient is a finite difference."""
    n, nu, drag = 16, 1 / 40, 0.1
    y = 2 * np.pi * np.arange(n) / n
    laminar = np.broadcast_to(-4 * np.cos(4 * y) / (16 * nu + drag), (n, n))
    made = kolmogorov_flow(n=n, horizon=3, starts=laminar[None], substeps=2)
    still = js.control.rollout(made, lambda p, seen: jnp.zeros(4), None, KEY)
    np.testing.assert_allclose(still.final, laminar, atol=1e-10)
    u, v = still.observations[0]
    np.testing.assert_allclose(u, np.sin(4 * y)[::4][None] / (16 * nu + drag) + np.zeros((4, 4)), atol=1e-12)
    np.testing.assert_allclose(v, 0, atol=1e-12)
    np.testing.assert_allclose(still.costs, nu * np.mean(laminar**2), rtol=1e-10)
    loss = jax.jit(js.control.objective(made, js.control.sequence, remat="step"))
    a, d = jax.random.normal(KEY, (2, 3, 4))
    slope = jnp.vdot(jax.jit(jax.grad(loss))(a, KEY), d)
    assert float(slope) == pytest.approx(float(loss(a + 1e-4 * d, KEY) - loss(a - 1e-4 * d, KEY)) / 2e-4, rel=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="gaussian"):
        kuramoto_sivashinsky(support="gauss")
    with pytest.raises(ValueError, match="actuators is a whole number"):
        kuramoto_sivashinsky(actuators=0)
    with pytest.raises(ValueError, match=r"\[starts, 64\]"):
        kuramoto_sivashinsky(starts=np.zeros((3, 32)))
    with pytest.raises(ValueError, match=r"\[starts, 16, 16\]"):
        kolmogorov_flow(n=16, starts=np.zeros((16, 16)))
