"""What a reader got wrong without a word: every one of these ran, and returned numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.control.datasets import records

c = js.control
KEY = jax.random.key(0)
TASK = c.Task(
    dynamics=lambda p, s, a: s + 0.1 * a, cost=lambda p, s, a, s1: s1**2 + 0.1 * a**2, init=lambda p: jnp.asarray(1.0), horizon=4,
)  # fmt: skip
STAY, GO = [[1.0, 0.0], [0.0, 1.0]], [[0.1, 0.9], [0.0, 1.0]]
MDP = c.TabularMDP.by_actions(jnp.array([STAY, GO]), jnp.array([[1.0, 1.5], [0.0, 0.0]]), 0.9, start=jnp.array([1.0, 0.0]))
OBSERVED = np.linspace(-1, 1, 8)
DATA = records(OBSERVED, -0.5 * OBSERVED, np.zeros(8), np.zeros(8), ended=np.arange(8) == 7)
KS = c.actuated(js.problems.kuramoto_sivashinsky(), js.Spectral(n=16, dt=0.01), np.ones((2, 16)))


def gain(k, s):
    return -k * s


def clone(policy=lambda k, o: k * o, params=0.0, **more):
    return c.behaviour_cloning(policy, jnp.asarray(params), DATA, key=KEY, iterations=1, **more)


def mppi(**options):
    return c.mppi(TASK, jnp.zeros(4), key=KEY, **{"std": 1.0, **options})


def ppo(**options):
    policy = c.GaussianPolicy(network=js.networks.MLP((2,)))
    return c.ppo(TASK, policy, policy.init(KEY, TASK), key=KEY, iterations=1, **options)


def shac(**options):
    return c.shac(TASK, gain, jnp.asarray(0.5), key=KEY, iterations=1, **options)


def conservative(**options):
    return c.conservative_q(c.CategoricalPolicy(2), None, DATA, key=KEY, iterations=1, **options)


def implicit(**options):
    return c.implicit_q(gain, jnp.asarray(0.5), DATA, key=KEY, iterations=1, **options)


def evolve(**options):
    return c.evolution_strategy(TASK, gain, jnp.asarray(0.5), key=KEY, iterations=1, **options)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: c.policy_iteration(MDP, initial=jnp.array([0, 9])), ValueError, "from 0 to 1; the policy has 9 in state 1"),
        (lambda: c.policy_evaluation(MDP, jnp.array([-1, 0])), ValueError, "the policy has -1 in state 0"),
        (lambda: c.policy_evaluation(MDP, jnp.ones((2, 2))), ValueError, r"the policy of state \(0,\) sums to 2"),
        (lambda: c.occupancy(MDP, jnp.array([[1.5, -0.5], [1, 0]])), ValueError, "the policy holds -0.5"),
        (lambda: c.value_iteration(c.TabularMDP([[[1.0]]], [[1.0]], 0.9)), TypeError, "transitions is an array .* got list"),
        (
            lambda: c.value_iteration(c.TabularMDP(MDP.transitions, jnp.ones((2, 2), int), 0.9)),
            TypeError,
            "costs is an array of floating-point numbers, got int",
        ),
        (
            lambda: c.rollout(TASK.replace(terminal=lambda p, s: s * jnp.ones(3)), gain, 1.0),
            ValueError,
            r"the terminal cost of one member is a scalar, got shape \(3,\)",
        ),
        (lambda: c.rollout(TASK, c.sequence, jnp.zeros(3)), ValueError, "a sequence has the horizon, 4, as leading axis"),
        (
            lambda: c.regress(c.SquaredExponential(1.0, 0.1), OBSERVED, OBSERVED).predict(jnp.ones((1, 2))),
            ValueError,
            r"inputs of 1 axes, \[m, 1\]; got \[1, 2\]",
        ),
        (lambda: clone(lambda k, o: k * o * jnp.ones(3)), ValueError, r"actions have shape \(3,\), those of the data \(\)"),
        (lambda: clone(weights=np.zeros(8)), ValueError, "not all of them 0"),
        (lambda: clone(weights=np.full(8, np.nan)), ValueError, "finite"),
        (lambda: mppi(temperature=-1.0), ValueError, "mppi: temperature is a number from 0"),
        (lambda: mppi(shrink=-2.0), ValueError, "mppi: shrink is a number from 0 to 1"),
        (lambda: mppi(correlation=1.5), ValueError, "mppi: correlation is a number"),
        (lambda: mppi(std=0.0), ValueError, "mppi: std is a number above 0"),
        (lambda: c.cem(TASK, jnp.zeros(4), key=KEY, std=1.0, keep=2.0), ValueError, "cem: keep is a number from 0 to 1"),
        (lambda: evolve(deviation=0.0), ValueError, "evolution_strategy: deviation is a number above 0"),
        (lambda: evolve(constraints=0.1), TypeError, r"constraints is a method, AugmentedLagrangian\(limit=...\)"),
        (lambda: ppo(trace=1.5), ValueError, "ppo: trace is a number from 0 to 1, got 1.5"),
        (lambda: ppo(clip=0.0), ValueError, "ppo: clip is a number above 0"),
        (lambda: ppo(epochs=0), ValueError, "ppo: epochs is a whole number >= 1"),
        (lambda: ppo(multiplier_every=0), ValueError, "ppo: multiplier_every is a whole number >= 1"),
        (lambda: shac(trace=-0.1), ValueError, "shac: trace is a number from 0 to 1"),
        (lambda: c.Critic(minibatches=0), ValueError, "Critic: minibatches is a whole number >= 1"),
        (lambda: c.Critic(averaging=2.0), ValueError, "Critic: averaging is a number from 0 to 1"),
        (lambda: conservative(conservatism=-1.0), ValueError, "conservative_q: conservatism is a number from 0"),
        (lambda: conservative(following=2.0), ValueError, "conservative_q: following is a number from 0 to 1"),
        (lambda: implicit(sharpness=-1.0), ValueError, "implicit_q: sharpness is a number from 0"),
        (lambda: implicit(learning_rate=0.0), ValueError, "implicit_q: learning_rate is a number above 0"),
        (
            lambda: c.linear_gaussian_posterior(jnp.ones((2, 3)), jnp.eye(2), 1.0),
            ValueError,
            r"linear_gaussian_posterior: design is .*got \(2, 3\) and \(2, 2\)",
        ),
        (
            lambda: c.greedy_design(jnp.ones((2, 2)), jnp.eye(2), 0.0, count=1),
            ValueError,
            "greedy_design: noise is a number above 0",
        ),
        (lambda: c.AugmentedLagrangian(penalty=0.0), ValueError, "penalty is a number above 0"),
        (lambda: c.PIDLagrangian(integral=-1.0), ValueError, "integral is a number >= 0"),
        (lambda: c.ode(lambda p, s, a: a, dt=0.0), ValueError, "dt, the length of a step, is a number above 0"),
        (lambda: c.ode(lambda s, a: a, dt=0.1), TypeError, r"the field is called with \(parameters, state, action\)"),
        (lambda: c.pushed(KS, jnp.zeros(16), jnp.zeros(2)), TypeError, r"begin with p.stepper.initial\(\)"),
        (lambda: c.pushed(KS, KS.stepper.initial(), jnp.zeros(3)), ValueError, "an action has 2 actuators"),
        (
            lambda: c.pushed(KS, KS.stepper.initial(), jnp.zeros(2), substeps=0),
            ValueError,
            "substeps is a whole number >= 1",
        ),
        (
            lambda: c.analytic_policy_gradient(TASK, lambda k, s: jnp.where(k * s > 0, 1, 0), jnp.asarray(1.0), batch=None),
            ValueError,
            "analytic_policy_gradient: an action of dtype int32 has no derivative|int64",
        ),
        (
            lambda: c.ilqr(TASK.replace(init=lambda p, key: jnp.ones(())), jnp.zeros(4)),
            ValueError,
            "give the state to plan from",
        ),
    ],
)
def test_it_is_refused_by_name(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_random_start_is_none_of_a_planners_business_who_is_given_the_state():
    task = TASK.replace(init=lambda p, key: jax.random.normal(key))
    plan, known = c.ilqr(task, jnp.zeros(4), jnp.asarray(1.0)), c.ilqr(TASK, jnp.zeros(4))
    assert plan.cost == known.cost
    run = c.RecedingHorizon(task, jnp.zeros(4)).run(task, key=KEY)
    assert run.total < c.rollout(task, gain, 0.0, KEY).total


def test_a_gradient_that_is_exactly_zero_is_a_problem():
    rounded = c.gradient_report(TASK, lambda k, s: jnp.round(k * s), jnp.asarray(0.7), batch=2)
    assert "the gradient by params is exactly zero" in rounded.problems[0]
    assert c.gradient_report(TASK, lambda k, s: c.round_through(k * s), jnp.asarray(0.7), batch=2).problems == ()


def test_a_fit_is_taken_for_its_parameters():
    fit = c.SurrogateFit({"w": jnp.ones(2)}, np.zeros(1), 0.0)
    step = lambda p, s, a: s + p["w"][0] * a
    made = c.with_surrogate(TASK, step, fit)
    assert c.rollout(made, gain, 0.0).final == 1.0
    assert made.parameters.surrogate is fit.parameters
