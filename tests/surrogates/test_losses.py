"""Losses of a learned step: chains written out by hand, what is cut, what is pushed forward, and the residual of the solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsci as js
from jaxsci.surrogates.losses import chain, residual_loss, window_loss
from jaxsci.surrogates.solver_step import SolverStep

WINDOW = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)))  # saves, channels, points
UNIT = jnp.asarray([1.0, 2.0])


def scaled(a):
    return lambda fields, t: (a * fields)[None]


def loss(a, **options):
    return window_loss(scaled(a), WINDOW, 0.0, UNIT, bundle=1, dt=0.1, **options)


def by_hand(predictions, targets):
    return sum(jnp.mean(((p - t) / UNIT[:, None]) ** 2) for p, t in zip(predictions, targets, strict=True)) / len(targets)


def test_an_unrolled_loss_and_its_gradient_are_those_of_the_chain_written_out():
    def explicit(a):
        return by_hand([a * WINDOW[0], a * (a * WINDOW[0]), a * (a * (a * WINDOW[0])), a**4 * WINDOW[0]], WINDOW[1:])

    expected = jax.value_and_grad(explicit)(0.9)
    np.testing.assert_allclose(jax.value_and_grad(loss)(0.9), expected, rtol=1e-13)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_cut_chain_has_the_same_loss_and_the_gradient_of_its_blocks(cut):
    def explicit(a):
        fields, found = WINDOW[0], []
        for i in range(4):
            fields = a * (jax.lax.stop_gradient(fields) if i % cut == 0 else fields)
            found.append(fields)
        return by_hand(found, WINDOW[1:])

    value, slope = jax.value_and_grad(lambda a: loss(a, cut=cut))(0.9)
    assert float(value) == pytest.approx(float(loss(0.9)), rel=1e-13)
    assert float(slope) == pytest.approx(float(jax.grad(explicit)(0.9)), rel=1e-13)
    assert abs(float(slope) - float(jax.grad(loss)(0.9))) > 1e-3  # the whole chain's is another


def test_a_cut_chain_does_not_reach_back_to_its_beginning():
    end = lambda fields, cut: jnp.sum(chain(scaled(0.9), fields, 0.0, evaluations=4, span=0.1, cut=cut)[-1])
    assert not np.any(jax.grad(end)(WINDOW[0], 2))
    np.testing.assert_allclose(jax.grad(end)(WINDOW[0], 4), 0.9**4, rtol=1e-13)
    np.testing.assert_allclose(jax.grad(end)(WINDOW[0], None), 0.9**4, rtol=1e-13)


def test_pushforward_scores_the_last_evaluation_on_what_the_others_made():
    def last(a):
        return by_hand([a * jax.lax.stop_gradient(a**3 * WINDOW[0])], WINDOW[4:])

    found = jax.value_and_grad(lambda a: loss(a, pushforward=True))(0.9)
    np.testing.assert_allclose(found, jax.value_and_grad(last)(0.9), rtol=1e-13)


def test_a_bundle_predicts_its_saves_from_the_last_of_the_one_before():
    pair = lambda fields, t: jnp.stack([2 * fields, 3 * fields + t])
    found = chain(pair, WINDOW[0], 1.0, evaluations=2, span=0.5)
    second = 3 * WINDOW[0] + 1.0
    np.testing.assert_allclose(found, [2 * WINDOW[0], second, 2 * second, 3 * second + 1.5], rtol=1e-14)
    value = window_loss(pair, WINDOW, 1.0, UNIT, bundle=2, dt=0.25)
    assert float(value) == pytest.approx(float(by_hand(list(found), WINDOW[1:])), rel=1e-13)


def test_a_window_that_is_no_multiple_of_the_bundle_is_refused():
    with pytest.raises(ValueError, match="window of 5 saves"):
        window_loss(scaled(1.0), WINDOW, 0.0, UNIT, bundle=3, dt=0.1)


def test_the_residual_by_hand():
    solver = lambda fields, t: fields + t
    value = loss(0.9, weight=0.5, solver=solver)
    found = [0.9**k * WINDOW[0] for k in range(5)]
    residual = by_hand(found[1:], [u + 0.1 * k for k, u in enumerate(found[:-1])])
    assert float(value) == pytest.approx(float(loss(0.9) + 0.5 * residual), rel=1e-12)


@pytest.mark.slow
def test_the_residual_of_the_solvers_own_trajectory_is_round_off_and_that_of_another_is_not():
    problem = js.problems.burgers()
    problem = js.Problem(problem.equation, js.Box(t=(0, 1), x=(0, 1)), coefficients=problem.coefficients,
                         initial={"u": lambda x: js.sin(2 * jnp.pi * x)})  # fmt: skip
    frame = js.stepper(problem, js.Spectral(n=32, dt=0.02))
    within = SolverStep(js.Spectral(n=32, dt=0.005), 0.02, (32,))
    assert within.substeps == 4
    solver = within.solver(frame)
    fields = js.rollout(solver, 20, save_every=4).fields
    advance = jax.jit(lambda u, t: within.advance(solver, u, t))
    own = residual_loss(fields[1:], fields[0], 0.0, jnp.ones((1, 1)), 0.02, advance)
    assert float(own) < 1e-25
    assert float(residual_loss(fields[1:] * 1.01, fields[0], 0.0, jnp.ones((1, 1)), 0.02, advance)) > 1e-7
