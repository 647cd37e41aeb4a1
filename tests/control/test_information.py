"""Expected information gain: the closed form, estimates, greedy designs against brute force, gradients in the design."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsci.control import information as info

KEYS = jax.random.split(jax.random.key(0), 5)
PHI = jax.random.normal(KEYS[0], (9, 3))
ROOT = jax.random.normal(KEYS[1], (3, 3))
SIGMA = ROOT @ ROOT.T + 0.1 * jnp.eye(3)
gain = jax.jit(info.linear_gaussian_information)


def test_the_closed_form():
    # It is the fall of the entropy of the parameters, half a log-ratio of determinants, for few measurements and for many.
    posterior = jax.jit(info.linear_gaussian_posterior)
    for rows in (2, 9):
        after = posterior(PHI[:rows], SIGMA, 0.7)
        fall = 0.5 * (np.linalg.slogdet(SIGMA)[1] - np.linalg.slogdet(after)[1])
        np.testing.assert_allclose(gain(PHI[:rows], SIGMA, 0.7), fall, rtol=1e-11)
        direct = 0.5 * np.linalg.slogdet(np.eye(rows) + PHI[:rows] @ SIGMA @ PHI[:rows].T / 0.49)[1]
        np.testing.assert_allclose(gain(PHI[:rows], SIGMA, 0.7), direct, rtol=1e-11)
    # One noise for each measurement; a chain rule: measurements one after another add up.
    noise = jnp.linspace(0.3, 1.2, 9)
    first, then = slice(0, 2), slice(2, 9)
    between = posterior(PHI[first], SIGMA, noise[first])
    parts = gain(PHI[first], SIGMA, noise[first]) + gain(PHI[then], between, noise[then])
    np.testing.assert_allclose(gain(PHI, SIGMA, noise), parts, rtol=1e-11)
    assert float(gain(jnp.zeros((2, 3)), SIGMA, 1.0)) == 0


def test_gradients_in_the_design_and_an_optimum_found_by_them():
    value, slope = jax.jit(jax.value_and_grad(info.linear_gaussian_information, argnums=(0, 2)))(PHI, SIGMA, 0.7)
    direction = jax.random.normal(KEYS[2], PHI.shape)
    h = 1e-5
    near = (gain(PHI + h * direction, SIGMA, 0.7) - gain(PHI - h * direction, SIGMA, 0.7)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(slope[0], direction), near, rtol=1e-8)
    np.testing.assert_allclose(slope[1], (gain(PHI, SIGMA, 0.7 + h) - gain(PHI, SIGMA, 0.7 - h)) / (2 * h), rtol=1e-8)
    assert float(slope[1]) < 0 < float(value)
    # A straight line a + b x on [-1, 1], two measurements: the best places are the ends, and gradient ascent finds them.
    line = lambda x: info.linear_gaussian_information(jnp.stack([jnp.ones(2), jnp.tanh(x)], axis=1), jnp.eye(2), 0.1)
    climb = jax.jit(lambda x: jax.lax.fori_loop(0, 300, lambda _, x: x + 0.3 * jax.grad(line)(x), x))
    np.testing.assert_allclose(jnp.sort(jnp.tanh(climb(jnp.array([0.1, 0.3])))), [-1, 1], atol=0.02)


def test_greedy_designs_keep_their_guarantee():
    """At least 1 - 1/e of the best subset (by trying all) on forty problems; it is not always the best, and chance is worse."""
    shares, pairs = [], []
    choose = jax.jit(info.greedy_design, static_argnames=("count", "repeated"))
    subsets = jnp.array(list(itertools.combinations(range(9), 3)))
    best_of = jax.jit(lambda phi: jax.vmap(lambda s: info.linear_gaussian_information(phi[s], SIGMA, 0.5))(subsets))
    for seed in range(40):
        phi = jax.random.normal(jax.random.key(seed), (9, 3)) * jnp.array([1.0, 1.0, 0.3])
        found = choose(phi, SIGMA, 0.5, 3)
        gains = best_of(phi)
        np.testing.assert_allclose(found.information[-1], gain(phi[found.chosen], SIGMA, 0.5), rtol=1e-9)
        shares.append(float(found.information[-1] / gains.max()))
        pairs.append(float(gains.mean() / gains.max()))
        # The gain of one more falls from choice to choice.
        steps = np.diff(np.concatenate([[0.0], found.information]))
        assert (np.diff(steps) < 1e-12).all()
        assert len(set(found.chosen.tolist())) == 3
    assert 1 - 1 / np.e <= min(shares) < 1
    assert max(shares) <= 1 + 1e-12
    assert np.mean(pairs) < np.mean(shares)
    np.testing.assert_allclose(found.covariance, info.linear_gaussian_posterior(phi[found.chosen], SIGMA, 0.5), atol=1e-12)
    one_matters = jnp.zeros((9, 3)).at[0, 0].set(1.0).at[1, 2].set(0.01)
    assert choose(one_matters, jnp.eye(3), 0.1, 3, repeated=True).chosen.tolist() == [0, 0, 0]


@pytest.mark.slow
def test_nested_estimates_of_the_closed_form():
    """Fresh inner draws overestimate, contrastive ones underestimate; both close in on the truth, and so does the gradient."""
    phi, sigma, noise = PHI[:2] * 0.5, jnp.eye(3), 0.7
    prior = lambda *, key: jax.random.normal(key, (3,))
    measure = lambda theta, design, *, key: design @ theta + noise * jax.random.normal(key, (2,))
    log_likelihood = lambda y, theta, design: -0.5 * jnp.sum(((y - design @ theta) / noise) ** 2)

    def estimate(key, design, inner, contrastive):
        return info.nested_information(
            key, design, prior, measure, log_likelihood, outer=1000, inner=inner, contrastive=contrastive
        )

    exact = gain(phi, sigma, noise)
    few = jax.jit(lambda key, d: (estimate(key, d, 5, False), estimate(key, d, 5, True)))(KEYS[3], phi)
    assert few[0].value - 4 * few[0].standard_error > exact > few[1].value + 4 * few[1].standard_error
    many = jax.jit(jax.value_and_grad(lambda d, key: estimate(key, d, 200, True)[0]))
    value, slope = many(phi, KEYS[4])
    np.testing.assert_allclose(value, exact, atol=4 * float(few[1].standard_error) + 0.01)
    true_slope = jax.jit(jax.grad(info.linear_gaussian_information))(phi, sigma, noise)
    assert float(jnp.linalg.norm(slope - true_slope) / jnp.linalg.norm(true_slope)) < 0.1


def test_bad_designs_are_refused_by_name():
    with pytest.raises(ValueError, match=r"design is \[measurements, parameters\]"):
        info.linear_gaussian_information(PHI, jnp.eye(2), 1.0)
    with pytest.raises(ValueError, match=r"noise is a number or \[9\]"):
        info.linear_gaussian_information(PHI, SIGMA, jnp.ones(3))
    with pytest.raises(ValueError, match="count is a whole number from 1 to 9"):
        info.greedy_design(PHI, SIGMA, 1.0, 10)
    with pytest.raises(ValueError, match="outer >= 2 and inner >= 1"):
        info.nested_information(KEYS[0], PHI, None, None, None, outer=1)
