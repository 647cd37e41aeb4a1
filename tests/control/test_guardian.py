"""The guardian: its density and threshold against closed forms, its derivative, and what it keeps a policy from."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsci as js
from jaxsci.control.behaviour_cloning import behaviour_cloning
from jaxsci.control.datasets import Transitions, transitions
from jaxsci.control.guardian import fit_guardian, guarded, outside_share
from jaxsci.control.offline_models import fit_dynamics, guarded_policy, model_task

KEYS = jax.random.split(jax.random.key(0), 8)
NETWORK = js.networks.MLP((16,), "silu")
DOSE = js.control.NetworkPolicy(NETWORK, low=0.0, high=3.0, center=1.5)


def rows(observation, action):
    zero = jnp.zeros(len(action))
    return Transitions(observation, action, zero, observation, zero > 1, zero > 1, None, jnp.arange(len(action)))


def correlated(key, count):
    """Observations of two numbers; the action follows the first but for a tenth."""
    o, noise = jax.random.normal(key, (count, 2)), jax.random.normal(jax.random.fold_in(key, 1), (count,))
    return rows({"x": o}, o[:, 0] + 0.1 * noise)


@pytest.fixture(scope="module")
def guardian():
    return fit_guardian(correlated(KEYS[0], 600), alpha=0.05)


@pytest.mark.slow
def test_the_density_is_a_sum_of_kernels_and_integrates_to_one():
    o, a = jnp.array([0.0, 1.0, 3.0] * 10), jnp.array([0.0, 2.0, 1.0] * 10)
    found = fit_guardian(rows(o, a), bandwidth=0.4)
    x = np.stack([o, a], axis=1)
    kernel = np.linalg.inv(
        0.4**2 * np.cov(np.stack([o, a]) / np.std(x, axis=0)[:, None]) * np.outer(np.std(x, 0), np.std(x, 0))
    )
    apart = np.array([1.5, 0.5]) - x
    values = np.exp(-0.5 * np.einsum("ni,ij,nj->n", apart, kernel, apart)) * np.sqrt(np.linalg.det(kernel)) / (2 * np.pi)
    np.testing.assert_allclose(found.log_density(1.5, 0.5), np.log(values.mean()), rtol=1e-10)
    grid = np.linspace(-5, 8, 121)
    density = jax.vmap(lambda p, q: jnp.exp(found.log_density(p, q)))(*map(np.ravel, np.meshgrid(grid, grid)))
    np.testing.assert_allclose(density.sum() * (grid[1] - grid[0]) ** 2, 1, atol=1e-3)


@pytest.mark.slow
def test_fresh_data_lie_outside_as_often_as_said(guardian):
    """By leave-one-out: of fresh rows of the same kind alpha is outside. Densities that count a row's own kernel promise less."""
    fresh = correlated(KEYS[1], 2000)
    share = float(outside_share(guardian, fresh))
    assert 0.03 <= share <= 0.085
    densities = jax.vmap(guardian.log_density)
    data = correlated(KEYS[0], 600)
    naive = float(jnp.quantile(densities(data.observation, data.action), 0.05))
    assert naive > float(guardian.log_threshold)
    assert float(jnp.mean(densities(fresh.observation, fresh.action) < naive)) > share + 0.01


def test_it_sees_combinations_that_never_came_together(guardian):
    at = lambda x, a: guardian.excess({"x": jnp.array([x, 0.0])}, a)
    assert at(1.0, 1.0) < 0
    assert at(-1.0, -1.0) < 0
    assert at(1.0, -1.0) > 10
    assert bool(guardian.outside({"x": jnp.array([1.0, 0.0])}, -1.0))
    far = [float(at(0.0, 2.0**k)) for k in range(8)]
    assert all(a < b for a, b in itertools.pairwise(far)), "the further the worse, without an end"


def test_soft_guard_and_its_derivative(guardian):
    o = {"x": jnp.array([0.3, -0.2])}
    for action in (0.3, 0.9, 3.0, 40.0):
        value, slope = jax.value_and_grad(lambda a: guardian.soft(o, a))(action)
        np.testing.assert_allclose(value, np.logaddexp(0, guardian.excess(o, action)), rtol=1e-12)
        central = (guardian.soft(o, action + 1e-5) - guardian.soft(o, action - 1e-5)) / 2e-5
        np.testing.assert_allclose(slope, central, rtol=1e-5, atol=1e-7)
    assert guardian.soft(o, 0.3) < np.log(2) < guardian.soft(o, 3.0)
    np.testing.assert_allclose(guardian.soft(o, 40.0), guardian.excess(o, 40.0), rtol=1e-9)


@pytest.mark.slow
def test_a_guarded_task_has_one_more_constraint_and_the_same_costs(guardian):
    task = js.control.Task(
        dynamics=lambda p, s, a, *, t: s + p * a,
        cost=lambda p, s, a, s1: s1[0] ** 2,
        init=lambda p: jnp.array([1.0, 0.0]),
        observe=lambda p, s: {"x": s},
        constraint=lambda p, s, a: {"low": 0.5 - s[0]},
        horizon=3,
        parameters=0.1,
    )
    policy = lambda gain, o: gain * o["x"][0]
    plain = js.control.rollout(task, policy, -1.0)
    for soft, of in ((False, guardian.excess), (True, guardian.soft)):
        run = js.control.rollout(guarded(task, guardian, soft=soft), policy, -1.0)
        np.testing.assert_array_equal(run.total, plain.total)
        np.testing.assert_array_equal(run.constraints["task"]["low"], plain.constraints["low"])
        np.testing.assert_allclose(run.constraints["guard"], jax.vmap(of)(run.observations, run.actions), rtol=1e-12)
    assert run.constraints["guard"].min() > 0.6  # the action against the observation was never seen


def test_bad_arguments():
    data = correlated(KEYS[0], 30)
    with pytest.raises(ValueError, match="alpha is a share"):
        fit_guardian(data, alpha=5)
    with pytest.raises(TypeError, match="one_hot"):
        fit_guardian(data._replace(action=jnp.arange(30)))
    with pytest.raises(ValueError, match="20 rows at least, got 10"):
        fit_guardian(jax.tree.map(lambda leaf: leaf[:10], data))
    with pytest.raises(ValueError, match="bandwidth is positive"):
        fit_guardian(data, bandwidth=-1.0)
    with pytest.raises(TypeError, match="floating point"):
        fit_dynamics(data._replace(action=jnp.arange(30)), key=KEYS[0])
    with pytest.raises(ValueError, match="belongs to a constraint, and there is none"):
        guarded_policy(DOSE, None, data, key=KEYS[0], cost=lambda *_: 0.0, horizon=2, limit=1.0, alpha=None, model=_MODEL)


_MODEL = object()  # never looked at: the refusal comes before


# A patient whose illness falls with the dose; above 1 it poisons, which no record shows.
def illness(p, s, a, *, key):
    return 0.9 * s - 0.5 * a + 4 * jnp.maximum(a - 1, 0) ** 2 + 0.02 * jax.random.normal(key)


def clinician(p, s, *, key):
    return jnp.clip(0.2 * s + 0.15 * jax.random.normal(key), 0.0, 0.9)


TRUE = js.control.Task(
    dynamics=illness,
    cost=lambda p, s, a, s1: s1**2,
    init=lambda p, *, key: jax.random.uniform(key, minval=2.0, maxval=4.0),
    constraint=lambda p, s, a: {"dose": a - 0.3},
    horizon=8,
)


@pytest.fixture(scope="module")
def clinic():
    run = js.control.rollout(TRUE, clinician, None, KEYS[2], batch=80)
    data = transitions(TRUE, run)
    model, history = fit_dynamics(data, key=KEYS[3], network=NETWORK, members=3, iterations=400, batch=64)
    return data, model, history, float(run.total.mean())


def learnt(clinic, **options):
    data, model, _, _ = clinic
    start = behaviour_cloning(DOSE, DOSE.init(KEYS[4], jnp.asarray(2.0)), data, key=KEYS[7], iterations=200, batch=64).params
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(1e-2, 400, 0.1)))
    options = {
        "cost": TRUE.cost,
        "horizon": 8,
        "model": model,
        "iterations": 400,
        "batch": 32,
        "optimiser": optimiser,
    } | options
    found = guarded_policy(DOSE, start, data, key=KEYS[5], **options)
    assert found.environment_steps == 0
    in_model = js.control.rollout(found.state.task, DOSE, found.params, KEYS[6], batch=200).total.mean()
    run = js.control.rollout(TRUE, DOSE, found.params, KEYS[6], batch=200)
    return found, float(in_model), run


@pytest.mark.slow
def test_the_ensemble_learns_the_dynamics_where_the_data_are(clinic):
    data, model, history, _ = clinic
    assert history["loss"][-1] < 0.02
    errors = jax.vmap(lambda o, a: model(o, a))(data.observation, data.action) - data.next_observation
    assert float(jnp.sqrt(jnp.mean(errors**2))) < 0.03  # the noise of a step is 0.02
    assert model.spread(3.0, 3.0) > 10 * model.spread(3.0, 0.6)
    task = model_task(model, data, cost=TRUE.cost, horizon=8, draw=True)
    starts = js.control.rollout(task, DOSE, DOSE.init(KEYS[4], jnp.asarray(0.0)), KEYS[5], batch=100).states[:, 0]
    assert np.isin(starts, data.observation[::8]).all()
    assert len(np.unique(starts)) > 40


@pytest.mark.slow
def test_guarded_beats_unguarded(clinic):
    """The three figures of a guard: it stays in the data, keeps what it promises, and is better than what was done."""
    data, _, _, behaviour = clinic
    guardian = fit_guardian(data, alpha=0.05, points=300)
    _, careless_promise, careless = learnt(clinic, alpha=None)
    _, promise, run = learnt(clinic, guardian=guardian)
    outside = float(outside_share(guardian, transitions(TRUE, run)))
    careless_outside = float(outside_share(guardian, transitions(TRUE, careless)))
    gap, careless_gap = abs(promise - float(run.total.mean())), abs(careless_promise - float(careless.total.mean()))
    assert outside <= 0.07 < careless_outside
    assert careless_gap >= 5 * gap
    assert float(run.total.mean()) < behaviour
    assert float(careless.total.mean()) > behaviour, "what the careless one promised was never true"


@pytest.mark.slow
def test_a_tighter_limit_reduces_violations(clinic):
    guardian = fit_guardian(clinic[0], alpha=0.05, points=300)
    violated, costs = [], []
    for limit in (1.2, 0.6, 0.2):
        found, _, run = learnt(clinic, guardian=guardian, constraint=TRUE.constraint, limit=limit, penalty=3.0)
        violated.append(float(jnp.mean(jnp.sum(jnp.maximum(run.constraints["dose"], 0), axis=1))))
        costs.append(float(run.total.mean()))
        assert violated[-1] <= 1.25 * limit + 0.1
        assert found.state.multipliers["task"]["dose"] > 0, "the limit binds"
    assert violated[0] > violated[1] > violated[2]
    assert costs[1] < costs[2]
