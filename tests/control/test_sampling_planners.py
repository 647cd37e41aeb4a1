"""MPPI and CEM against iLQR, on the same task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control.ilqr import CONVERGED, NOT_FINITE, ilqr
from jaxsci.control.sampling_planners import _noise, cem, mppi
from jaxsci.control.task import Task

PENDULUM = Task(
    dynamics=lambda p, s, a: {
        "angle": s["angle"] + 0.05 * s["speed"],
        "speed": s["speed"] + 0.75 * jnp.sin(s["angle"]) + a["torque"],
    },
    cost=lambda p, s, a, s1: 2 * (1 - jnp.cos(s["angle"])) + 0.1 * s["speed"] ** 2 + 0.1 * a["torque"] ** 2,
    init=lambda p: {"angle": jnp.asarray(1.0), "speed": jnp.asarray(0.0)},
    horizon=15,
)
GUESS = {"torque": jnp.zeros(15)}
KEYS = jax.random.split(jax.random.key(0), 3)


@pytest.mark.slow
def test_costs_come_near_the_optimum_and_bounds_hold():
    best = jax.jit(lambda: ilqr(PENDULUM, GUESS, low=-1.0, high=1.0))()
    options = {"std": 0.5, "low": -1.0, "high": 1.0, "samples": 128, "iterations": 40}
    for planner in (mppi, cem):
        plan = jax.jit(jax.vmap(lambda key, planner=planner: planner(PENDULUM, GUESS, key=key, **options)))(KEYS)
        assert (plan.status == CONVERGED).all()
        assert (plan.cost > best.cost - 1e-6).all()
        assert (plan.cost < 1.02 * best.cost).all()
        assert np.abs(plan.actions["torque"]).max() <= 1.0
        assert plan.states["angle"].shape == (3, 16)
        assert float(np.ptp(plan.cost)) > 0  # each key its own draws


def test_sequences_that_are_not_finite_have_no_weight():
    """Beyond 0.3 the cost is NaN: planned is with the others; where all are NaN, the status says so."""
    task = Task(
        dynamics=lambda p, s, a: s + a,
        cost=lambda p, s, a, s1: jnp.where(a > 0.3, jnp.nan, (s1 - 1) ** 2) + 0 * s,
        init=lambda p: jnp.asarray(0.0), horizon=2,
    )  # fmt: skip
    for planner in (mppi, cem):
        options = {"key": KEYS[0], "std": 0.2, "samples": 64, "iterations": 15}
        plan = jax.jit(jax.vmap(lambda s, planner=planner, o=options: planner(task, jnp.zeros(2), s, **o)))(
            jnp.array([0.0, jnp.nan])
        )
        assert plan.status.tolist() == [CONVERGED, NOT_FINITE]
        assert 0.2 < plan.actions[0, 0] <= 0.3


def test_noise_has_the_correlation_and_the_variance_asked_for():
    noise = np.asarray(_noise(KEYS[0], (20000, 6, 1), jnp.zeros(()).dtype, 0.8))[..., 0]
    np.testing.assert_allclose(np.cov(noise.T)[0, :4], 0.8 ** np.arange(4), atol=0.03)
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.03)


def test_bad_calls_are_refused_by_name():
    with pytest.raises(ValueError, match="mppi: actions have the horizon, 15, as leading axis"):
        mppi(PENDULUM, jnp.zeros(3), key=KEYS[0], std=1.0)
    with pytest.raises(TypeError, match="cem: actions are floating point"):
        cem(PENDULUM, jnp.zeros(15, int), key=KEYS[0], std=1.0)
    with pytest.raises(ValueError, match="elite is a whole number from 2 to samples"):
        cem(PENDULUM, GUESS, key=KEYS[0], std=1.0, samples=8, elite=9)
    with pytest.raises(ValueError, match="mppi: give both bounds"):
        mppi(PENDULUM, GUESS, key=KEYS[0], std=1.0, low=0.0)
    with pytest.raises(ValueError, match="std is a number or has an action's structure"):
        mppi(PENDULUM, GUESS, key=KEYS[0], std={"force": 1.0})
