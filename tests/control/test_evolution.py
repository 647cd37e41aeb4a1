"""Evolution strategies: ranks, the direction of the gradient, learned deviations, a known optimum, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import jaxsci as js
from jaxsci.control.evolution import evolution_strategy, pgpe, ranks

CURVATURE = jnp.array([100.0, 1.0, 1.0])
BOWL = js.control.Task(  # one step, whose action is the parameters: a quadratic function of them
    dynamics=lambda p, s, a: a,
    cost=lambda p, s, a, s1: jnp.sum(CURVATURE * (s1 - p) ** 2),
    init=lambda p: jnp.zeros(3),
    horizon=1,
    parameters=jnp.array([0.3, -0.2, 0.1]),
)


def action(params, observation):
    return params


def test_ranks_are_centred_and_ties_share():
    costs = jnp.array([3.0, 1.0, 1.0, 7.0, -2.0, 3.0, 3.0])
    np.testing.assert_allclose(ranks(costs), (scipy.stats.rankdata(costs) - 1) / 6 - 0.5, atol=1e-15)
    bad = ranks(jnp.array([jnp.nan, 1.0, jnp.inf, 0.0]))
    np.testing.assert_allclose(bad, [1 / 3, -1 / 6, 1 / 3, -1 / 2], atol=1e-15)
    assert float(ranks(jnp.ones(4)).max()) == 0


def test_the_direction_is_that_of_the_gradient():
    start = jnp.array([0.5, 0.9, 0.7])
    step = evolution_strategy(
        BOWL, action, start, key=jax.random.key(0), iterations=1, population=4000, batch=1, deviation=1e-3,
        optimiser=optax.sgd(1.0),
    )  # fmt: skip
    slope = jax.grad(js.control.objective(BOWL, action))(start)
    moved = start - step.params
    assert jnp.vdot(moved, slope) / jnp.linalg.norm(moved) / jnp.linalg.norm(slope) > 0.995
    assert step.environment_steps == 4000
    np.testing.assert_allclose(step.state["deviation"], 1e-3, rtol=1e-12)  # nothing learns it here


def test_deviations_shrink_where_the_function_is_steep():
    found = pgpe(
        BOWL, action, jnp.array([0.5, 0.9, 0.7]), key=jax.random.key(0), iterations=150, batch=1, population=32,
        optimiser=optax.adam(optax.cosine_decay_schedule(3e-2, 150)),
    )  # fmt: skip
    np.testing.assert_allclose(found.params, BOWL.parameters, atol=0.02)
    spread = found.state["deviation"]
    assert float(spread[0]) < 0.3 * float(spread[1:].min())


def test_the_optimum_of_a_linear_quadratic_task():
    horizon, p = 12, 0.0
    for _ in range(horizon):
        p = 1 + 0.5 * p / (0.5 + p)
    task = js.control.Task(
        dynamics=lambda _, s, a: s + a,
        cost=lambda _, s, a, s1: s**2 + 0.5 * a**2,
        init=lambda _, key: jax.random.normal(key),
        horizon=horizon,
    )
    gains = lambda k, s, *, t: -k[t] * s
    start = jnp.zeros(horizon)
    for search in (evolution_strategy, pgpe):
        found = search(
            task, gains, start, key=jax.random.key(0), iterations=150, population=32, batch=8,
            optimiser=optax.adam(optax.cosine_decay_schedule(3e-2, 150)),
        )  # fmt: skip
        cost = float(js.control.rollout(task, gains, found.params, initial=jnp.asarray(1.0)).total)
        assert p <= cost < 1.01 * p < float(js.control.rollout(task, gains, start, initial=jnp.asarray(1.0)).total)
        assert found.environment_steps == 150 * 32 * 8 * horizon


def test_constraints_are_ranked_with_the_costs():
    """The limit is what a population of this deviation violates when its mean is just allowed, 0.05 / sqrt(2 pi)."""
    held = BOWL.replace(constraint=lambda p, s, a: a[1] + 0.5)
    options = {"key": jax.random.key(0), "iterations": 200, "batch": 1, "optimiser": optax.adam(1e-2)}
    found = evolution_strategy(
        held, action, jnp.zeros(3), constraints=js.control.AugmentedLagrangian(penalty=1.0, limit=0.02), **options
    )
    assert -0.62 < float(found.params[1]) < -0.48
    assert found.history["violation"][-20:].mean() < 0.03
    assert float(BOWL.parameters[1]) > -0.3  # where it would be without the constraint


def test_what_breaks_counts_as_the_worst_and_bad_input_is_refused():
    fragile = BOWL.replace(cost=lambda p, s, a, s1: jnp.sum((s1 - p) ** 2) + 0 * jnp.sqrt(s1[0]))
    found = evolution_strategy(fragile, action, jnp.full(3, 0.02), key=jax.random.key(0), iterations=50, batch=1)
    assert found.history["broken"][0] > 0.2
    assert np.isfinite(found.history["cost"]).all()
    assert float(found.params[0]) > 0.15
    with pytest.raises(ValueError, match="pgpe: the population is made of pairs, an even number; got 7"):
        pgpe(BOWL, action, jnp.zeros(3), key=jax.random.key(0), population=7)
    with pytest.raises(ValueError, match=r"evolution_strategy: params has dtype int.*; real numbers only"):
        evolution_strategy(BOWL, action, jnp.zeros(3, int), key=jax.random.key(0))
