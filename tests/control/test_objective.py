"""The objective and its four gradients: against finite differences and one another; memory, cuts, multipliers, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js

c = js.control
TASK = c.Task(
    dynamics=lambda p, s, a: s + p * (a - s**3),
    cost=lambda p, s, a, s1: (s1 - 1.0) ** 2 + 0.1 * a**2,
    init=lambda p: jnp.asarray(0.5),
    horizon=12,
    parameters=0.1,
    constraint=lambda p, s, a: {"push": a - 0.3, "pull": -a - 0.3},
    discount=0.95,
    terminal=lambda p, s: s**2,
)


def affine(params, s):
    return params[0] + params[1] * s


PARAMS = jnp.array([0.4, -0.2])


def differences(f, x, h=1e-6):
    return np.array([(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.size)])


@pytest.fixture(scope="module")
def tape():
    return jax.jit(jax.value_and_grad(c.objective(TASK, affine, remat="tape")))(PARAMS)


def test_the_value_is_the_rollouts_and_the_slope_that_of_finite_differences(tape):
    loss = jax.jit(c.objective(TASK, affine))
    np.testing.assert_allclose(tape[0], c.rollout(TASK, affine, PARAMS).total, rtol=1e-14)
    np.testing.assert_allclose(tape[1], differences(loss, PARAMS), rtol=1e-8)
    by_parameters = jax.grad(lambda p: loss(PARAMS, parameters=p))(0.1)
    ends = [loss(PARAMS, parameters=0.1 + h) for h in (-1e-6, 1e-6)]
    np.testing.assert_allclose(by_parameters, (ends[1] - ends[0]) / 2e-6, rtol=1e-8)


@pytest.mark.parametrize("remat", ["auto", "step", "sqrt", "recursive"])
def test_what_is_remembered_changes_nothing(tape, remat):
    value, slope = jax.jit(jax.value_and_grad(c.objective(TASK, affine, remat=remat)))(PARAMS)
    np.testing.assert_allclose(value, tape[0], rtol=1e-15)
    np.testing.assert_allclose(slope, tape[1], rtol=1e-14)


def test_remembering_states_takes_less_memory_than_the_tape():
    policy = c.NetworkPolicy()
    params = policy.init(jax.random.key(0), TASK)

    def temporary(remat):
        slope = jax.jit(jax.grad(c.objective(TASK.replace(horizon=100), policy, batch=64, remat=remat)))
        return slope.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporary("step") < temporary("tape") / 10


@pytest.mark.slow
def test_score_function_is_unbiased():
    """Within the error of the mean of the pathwise slope, which is exact; without a baseline it is not near."""
    noisy = c.GaussianPolicy(js.networks.MLP((4,)), log_std=-1.0)
    params = noisy.init(jax.random.key(0), TASK)
    keys = jax.random.split(jax.random.key(1), 16)
    slopes = {
        gradient: jax.jit(jax.vmap(jax.grad(c.objective(TASK, noisy, gradient=gradient, batch=256)), in_axes=(None, 0)))(
            params, keys
        )
        for gradient in ("score", "pathwise")
    }
    for name in params:
        score, path = slopes["score"][name], slopes["pathwise"][name]
        spread = np.sqrt((score.std(axis=0) ** 2 + path.std(axis=0) ** 2) / len(keys))
        assert np.all(np.abs(score.mean(axis=0) - path.mean(axis=0)) < 5 * spread + 1e-12)
        assert np.any(np.abs(path.mean(axis=0)) > 5 * spread)  # not by noise alone
    values = [c.objective(TASK, noisy, gradient=g, batch=8)(params, keys[0]) for g in ("score", "pathwise")]
    np.testing.assert_allclose(*values, rtol=1e-12)


def test_straight_through_rounds_forward_and_has_a_slope_backward():
    task = TASK.replace(dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: (s1 - 3.0) ** 2)
    loss = c.objective(task, affine, gradient="straight_through")
    rounded = c.rollout(task, lambda params, s: jnp.round(affine(params, s)), jnp.array([2.4, 0.0]))
    np.testing.assert_allclose(loss(jnp.array([2.4, 0.0])), rounded.total, rtol=1e-15)
    assert float(jax.grad(loss)(jnp.array([2.4, 0.0]))[0]) < -1.0
    plain = c.objective(task, lambda params, s: jnp.round(affine(params, s)))
    assert float(jax.grad(plain)(jnp.array([2.4, 0.0]))[0]) == 0.0


def test_mixed_has_the_values_of_one_and_the_slopes_of_the_other():
    stairs = TASK.replace(dynamics=lambda p, s, a: s + jnp.floor(1e4 * p * (a - s**3)) / 1e4)
    loss = c.objective(stairs, affine, gradient="mixed", surrogate=TASK.dynamics)
    value, slope = jax.value_and_grad(loss)(PARAMS)
    np.testing.assert_allclose(value, c.rollout(stairs, affine, PARAMS).total, rtol=1e-15)
    smooth = jax.grad(c.objective(TASK, affine))(PARAMS)
    np.testing.assert_allclose(slope, smooth, rtol=2e-2)
    assert np.abs(slope - smooth).max() > 0  # along the stairs' own states
    blind = jax.grad(c.objective(stairs.replace(cost=lambda p, s, a, s1: (s1 - 1.0) ** 2), affine))(PARAMS)
    assert not np.allclose(blind, smooth, rtol=0.5)


def test_cuts_keep_the_value_and_a_critic_stands_for_what_is_cut(tape):
    cut = jax.value_and_grad(c.objective(TASK, affine, truncate=4))(PARAMS)
    np.testing.assert_allclose(cut[0], tape[0], rtol=1e-14)
    assert not np.allclose(cut[1], tape[1], rtol=1e-2)
    np.testing.assert_allclose(jax.grad(c.objective(TASK, affine, truncate=12))(PARAMS), tape[1], rtol=1e-14)

    # The exact cost to go of this policy as the critic gives back the whole slope: here for two windows of six.
    rest = TASK.replace(horizon=6)

    def exact(params, s):
        return c.rollout(rest, affine, params, initial=s).total

    loss = c.objective(TASK, affine, truncate=6, critic=exact)
    value, slope = jax.value_and_grad(lambda params: loss(params, critic_params=PARAMS))(PARAMS)
    np.testing.assert_allclose(value, tape[0], rtol=1e-14)
    np.testing.assert_allclose(slope, tape[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("constraints", "every"),
    [
        (c.AugmentedLagrangian(penalty=5.0, limit=0.01), 10),
        (c.PIDLagrangian(proportional=1.0, integral=0.1, limit=0.01), 1),
    ],
)
def test_constraints_end_at_their_limit(constraints, every):
    """The multiplier finds the price: violation at the limit, cost above the free one, and at most a little above the best."""
    run = c.analytic_policy_gradient(
        TASK, c.sequence, jnp.zeros(12), batch=None, iterations=1500, constraints=constraints, multiplier_every=every
    )
    free = c.analytic_policy_gradient(TASK, c.sequence, jnp.zeros(12), batch=None, iterations=1500)
    assert free.history["cost"].shape == (1500,)
    assert free.history["environment_steps"][-1] == free.environment_steps == 1500 * 12
    over = c.rollout(TASK, c.sequence, free.params).constraints["push"]
    assert float(jnp.maximum(over, 0).sum()) > 0.1
    np.testing.assert_allclose(run.history["violation['push']"][-1], 0.01, atol=2e-3)
    assert run.history["violation['pull']"][-1] < 1e-12
    assert run.history["cost"][-1] > free.history["cost"][-1]


def test_multipliers_follow_their_formulas():
    augmented = c.AugmentedLagrangian(penalty=4.0, limit=0.5)
    lam = augmented.update({"g": jnp.asarray(2.0)}, augmented.init({"g": jnp.zeros(())}))
    assert float(lam["g"]) == 4.0 * 1.5
    assert float(augmented.update({"g": jnp.asarray(0.0)}, lam)["g"]) == 6.0 - 2.0
    np.testing.assert_allclose(augmented.loss(1.0, {"g": jnp.asarray(2.0)}, lam), 1.0 + ((6.0 + 6.0) ** 2 - 36.0) / 8)
    pid = c.PIDLagrangian(proportional=1.0, integral=0.5, differential=2.0, limit=0.5)
    state = pid.update({"g": jnp.asarray(2.0)}, pid.init({"g": jnp.zeros(())}))
    np.testing.assert_allclose(state.multiplier["g"], 1.5 + 0.75 + 2.0 * 2.0)
    np.testing.assert_allclose(pid.loss(1.0, {"g": jnp.asarray(2.0)}, state), (1.0 + 6.25 * 2.0) / 7.25)
    with pytest.raises(ValueError, match="limit is a number or has the constraint's structure"):
        c.AugmentedLagrangian(limit={"other": 1.0}).update({"g": jnp.asarray(2.0)}, {"g": jnp.asarray(0.0)})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gradient": "pathwize"}, "Did you mean 'pathwise'"),
        ({"remat": "none"}, "gradient policy 'none' does not exist"),
        ({"gradient": "mixed"}, "go together"),
        ({"surrogate": TASK.dynamics}, "go together"),
        ({"gradient": "score"}, "needs a policy with log_prob"),
        ({"truncate": 0}, "truncate is a number of steps"),
        ({"critic": lambda p, s: s}, "give truncate"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        c.objective(TASK, affine, **options)


def test_options_that_need_something_say_so():
    with pytest.raises(ValueError, match="batch >= 2"):
        c.objective(TASK, c.GaussianPolicy(), gradient="score", batch=1)
    with pytest.raises(ValueError, match="has no constraint"):
        c.objective(TASK.replace(constraint=None), affine, constraints=c.PIDLagrangian())
    with pytest.raises(ValueError, match="takes multipliers"):
        c.objective(TASK, affine, constraints=c.PIDLagrangian())(PARAMS)
    with pytest.raises(ValueError, match="iterations is a whole number"):
        c.analytic_policy_gradient(TASK, affine, PARAMS, iterations=0)


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted():
    task = TASK.replace(cost=lambda p, s, a, s1: jnp.where(a > 0.5, jnp.sqrt(0.5 - a), a))
    run = c.analytic_policy_gradient(task, lambda p, s: p, jnp.asarray(0.6), batch=None, iterations=3)
    assert run.history["skipped"].all()
    assert float(run.params) == 0.6


def test_progress_is_told():
    said = []
    c.analytic_policy_gradient(TASK, affine, PARAMS, batch=None, iterations=20, progress=said.append)
    assert len(said) == 10
    assert said[-1].startswith("20/20: cost ")
